using System;
using System.Collections.Generic;
using System.Linq;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Sidecar.Config;
using Sidecar.Tests.Harness;
using Sidecar.Wire;
using Xunit;

namespace Sidecar.Tests.Scenarios;

/// <summary>
/// What a real istiod answered to two sidecars, and published dumps of others, served again over ADS: all of it is taken and acknowledged, and exactly what stands
/// here has no effect.
/// </summary>
[Trait("Category", "Linux")]
[Collection(ExecutableCollection.Name)]
public sealed partial class IstiodDumpTests
{
    private static readonly string[] s_dumps =
    [
        "istiod-1.30/default.a.config_dump.json", "istiod-1.30/default.httpbin-v1.config_dump.json", "istiod-1.30/strict-authz.a.config_dump.json", "istiod-1.30/strict-authz.httpbin-v1.config_dump.json",
        "config-dumps/istioctl-describe-http.json", "config-dumps/istioctl-endpoints.json",
    ];

    public static TheoryData<string, bool> Dumps()
    {
        var data = new TheoryData<string, bool>();
        foreach (string dump in s_dumps)
        {
            data.Add(dump, true);
            data.Add(dump, false);
        }
        return data;
    }

    [SkippableTheory]
    [MemberData(nameof(Dumps))]
    public void Answers_AreAcknowledged_AndExactlyThisHasNoEffect(string dump, bool delta)
    {
        string file = ProjectTree.Shared("testdata/istio/" + dump);
        using var ca = new TestCa();
        List<DiscoveredResource> resources = [.. Complete(ResourceReader.Read(file).Resources), .. IstiodSecrets.Resources(ca, "spiffe://cluster.local/ns/default/sa/a")];
        using var pod = new DumpedPod(resources, delta);
        pod.WaitUntilReady([ResourceTypes.Listener]);

        Assert.Contains(pod.Istiod.Methods, method => method.EndsWith(delta ? "/DeltaAggregatedResources" : "/StreamAggregatedResources", StringComparison.Ordinal));
        var status = pod.Status();
        Assert.Empty(pod.Istiod.Refusals);
        Assert.Equal(0, pod.Sidecar.Stat("listener_manager.lds.update_rejected"));
        Assert.Equal(0, pod.Sidecar.Stat("cluster_manager.cds.update_rejected"));
        foreach (var resource in resources.Where(resource => pod.Istiod.Asked.Contains(resource.TypeUrl)))
            Assert.Equal((resource.Name, "ACCEPTED"), (resource.Name, DumpedPod.StateOf(resource, status).GetProperty("status").GetString()));
        if (dump.StartsWith("istiod-1.30/", StringComparison.Ordinal))
        {
            Assert.Contains("0.0.0.0:15001", pod.Pod.ListeningAddresses());
            Assert.Contains("0.0.0.0:15006", pod.Pod.ListeningAddresses());
        }

        var idle = status.SelectMany(state => WithoutEffect(state)).GroupBy(line => line).ToDictionary(group => group.Key, group => group.Count());
        int column = Array.IndexOf(s_dumps, dump);
        var expected = s_withoutEffect.Where(row => row.Counts[column] > 0).ToDictionary(row => row.Path, row => row.Counts[column]);
        Assert.True(!Rows(idle).Except(Rows(expected)).Any(), "without effect, against the list:\n" + string.Join('\n', Rows(idle).Except(Rows(expected))));
        Assert.True(!Rows(expected).Except(Rows(idle)).Any(), "not told, against the list:\n" + string.Join('\n', Rows(expected).Except(Rows(idle))));
    }

    internal static IEnumerable<string> Rows(Dictionary<string, int> counts) =>
        counts.OrderBy(row => row.Key, StringComparer.Ordinal).Select(row => $"{row.Value} {row.Key}");

    /// <summary>What has no effect in a resource: paths without the places in lists, and the name of a filter as a whole.</summary>
    internal static IEnumerable<string> WithoutEffect(JsonElement state)
    {
        if (!state.TryGetProperty("without_effect", out var problems))
            yield break;
        foreach (var problem in problems.EnumerateArray())
        {
            string filter = FilterName().Match(problem.GetProperty("reason").GetString()!) is { Success: true } match ? $" ({match.Groups[1].Value})" : "";
            yield return state.GetProperty("kind").GetString() + ": " + Place().Replace(problem.GetProperty("path").GetString()!, "[]") + filter;
        }
    }

    [GeneratedRegex(@"\[\d+\]")]
    private static partial Regex Place();

    [GeneratedRegex(@"^([a-z_]+\.[a-z_.]+): ")]
    private static partial Regex FilterName();

    /// <summary>
    /// Adds what makes a proxy ask for the rest: a cluster for endpoints, a listener for routes; and endpoints, of which there are none, for a cluster whose own
    /// are not in the dump. Endpoints of the bootstrap's clusters are no answer of a control plane.
    /// </summary>
    internal static IEnumerable<DiscoveredResource> Complete(IReadOnlyList<DiscoveredResource> dump)
    {
        var resources = dump.Where(resource => resource.TypeUrl != ResourceTypes.ClusterLoadAssignment || !IstiodReplay.StaticClusters.Contains(resource.Name)).ToList();
        var services = resources.Where(resource => resource.TypeUrl == ResourceTypes.Cluster)
            .Select(resource => Envoy.Config.Cluster.V3.Cluster.Parser.ParseFrom(resource.Bytes.Span)).Where(cluster => cluster.EdsClusterConfig is not null)
            .Select(cluster => cluster.EdsClusterConfig.ServiceName is { Length: > 0 } service ? service : cluster.Name).ToHashSet();
        var more = new TestSnapshot();
        foreach (string name in Names(ResourceTypes.ClusterLoadAssignment).Except(services))
            more.EdsCluster(name, name);
        foreach (string name in services.Except(Names(ResourceTypes.ClusterLoadAssignment)))
            more.Assignment(name);
        foreach (string name in Names(ResourceTypes.Listener).Any() ? [] : Names(ResourceTypes.RouteConfiguration))
            more.HttpByName("listener of " + name, 0, name);
        return [.. resources, .. ResourceReader.ReadDocument(Encoding.UTF8.GetBytes(more.ToString()), "test").Resources];

        IEnumerable<string> Names(string typeUrl) => resources.Where(resource => resource.TypeUrl == typeUrl).Select(resource => resource.Name);
    }
}
