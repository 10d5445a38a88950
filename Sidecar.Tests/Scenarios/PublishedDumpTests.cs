using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text;
using System.Text.Json.Nodes;
using Sidecar.Config;
using Sidecar.Tests.Harness;
using Sidecar.Wire;
using Xunit;

namespace Sidecar.Tests.Scenarios;

/// <summary>
/// Published dumps that are no answers of today's istiod to a sidecar, served over ADS all the same: what is taken, what is refused and for which reason, and
/// exactly what has no effect.
/// </summary>
[Trait("Category", "Linux")]
[Collection(ExecutableCollection.Name)]
public sealed class PublishedDumpTests
{
    private const string Folder = "testdata/istio/config-dumps/";
    private const string Package = "type.googleapis.com/envoy.";
    private const string Fault = Package + "extensions.filters.http.fault.v3.HTTPFault", Wasm = Package + "extensions.filters.http.wasm.v3.Wasm";
    private const string Statistics = "istio.io/telemetry/stats/prometheus/sidecar/";

    [SkippableTheory]
    [InlineData(true)]
    [InlineData(false)]
    public void Sidecar_OfTheYear2019_WithoutCapture_IsTakenWhole(bool delta)
    {
        // One proxy's: clusters, those that take endpoints by discovery, endpoints, listeners and routes.
        List<DiscoveredResource> dump =
        [
            .. Go("none_cds", "config.cluster.v3.Cluster", "Cluster"), .. Go("none_ecds", "config.cluster.v3.Cluster", "Cluster"),
            .. Go("none_eds", "config.endpoint.v3.ClusterLoadAssignment", "ClusterLoadAssignment"),
            .. Go("none_lds_http", "config.listener.v3.Listener", "Listener"), .. Go("none_lds_tcp", "config.listener.v3.Listener", "Listener"),
            .. Go("none_rds", "config.route.v3.RouteConfiguration", "RouteConfiguration"),
        ];
        Assert.Equal([13, 5, 12, 3], dump.GroupBy(resource => resource.TypeUrl).Select(type => type.Count()));
        // No listener of it asks for the routes of port 7071, which has its own.
        var asker = new TestSnapshot().HttpByName("asker", 0, "7071");
        const string Filters = "listener: filter_chains[].filters[].typed_config.";
        const string Routes = "virtual_hosts[].routes[].";
        AssertServed(dump, asker, delta, [], [],
            "4 cluster: load_assignment.endpoints[].locality",
            $"3 {Filters}<HttpConnectionManager>.access_log",
            $"3 {Filters}<HttpConnectionManager>.tracing",
            $"9 {Filters}<TcpProxy>.access_log[].typed_config.<FileAccessLog>",
            $"9 {Filters}access_log",
            $"1 {Filters}route_config.{Routes}decorator",
            $"2 route configuration: {Routes}decorator",
            $"2 route configuration: {Routes}route.retry_policy.retry_host_predicate[].typed_config.<PreviousHostsPredicate>");
    }

    [SkippableTheory]
    [InlineData(true)]
    [InlineData(false)]
    public void Extensions_OfWasm_AndSuchWithoutConfiguration_AreRefused_AndSoIsAListenerThatReliesOnWasm(bool delta)
    {
        var dump = ResourceReader.Read(ProjectTree.Shared(Folder + "istioctl-ecds.json")).Resources;
        string[] names =
        [
            "default.httpbin-rate-limiting", "default.display-metadata", Statistics + "Outbound/HTTP", Statistics + "Inbound/HTTP", Statistics + "Inbound/TCP",
            Statistics + "Outbound/TCP",
        ];
        Assert.Equal(names, dump.Select(resource => resource.Name));
        var askers = new TestSnapshot().Listener("asker", 0, Http(Fault, names)).Listener("wasm", 0, Http(Wasm, names[0]));
        AssertServed(dump, askers, delta, [ResourceTypes.Extension],
            [
                "Error adding/updating listener(s) wasm: filter_chains[0].filters[0].typed_config.http_filters[0].config_discovery.type_urls[0]: "
                    + $"Error: no factory found for a required type URL {Wasm}.",
                "Error adding/updating extension(s) " + string.Join(", ", names.Select((name, i) =>
                    $"{name}: typed_config: Didn't find a registered implementation for '{name}' with type URL: '{(i < 2 ? Wasm[(Package.Length - 6)..] : "")}'")),
            ]);
    }

    [SkippableTheory]
    [InlineData(true)]
    [InlineData(false)]
    public void Secrets_ThatADumpHasRedacted_OrThatAreEmpty_AreRefused_AuthoritiesAreTaken(bool delta)
    {
        // Whoever reads a dump leaves out what was redacted; a control plane would send it.
        var lists = JsonNode.Parse(File.ReadAllText(ProjectTree.Shared(Folder + "istioctl-secrets-istio.json")))!["configs"]![0]!.AsObject().Select(list => list.Value).OfType<JsonArray>();
        List<DiscoveredResource> dump = [.. lists.SelectMany(list => list).Select(entry => Secret(entry!["secret"]!.AsObject()))];
        Assert.Equal(["default", "ROOTCA", "configmap://some/thing"], dump.Select(secret => secret.Name));
        var askers = Tls(Tls(new TestSnapshot(), "own", "ROOTCA"), "other", "configmap://some/thing");
        AssertServed(dump, askers, delta, ["default", "configmap://some/thing"],
            [
                "Error adding/updating secret(s) default: tls_certificate.private_key: is redacted: this comes from a dump, which hides keys; "
                    + "put the key itself in its place, or the path of its file in private_key.filename, "
                    + "configmap://some/thing: type: is required: set tls_certificate, validation_context, session_ticket_keys or generic_secret",
            ]);
    }

    [SkippableTheory]
    [InlineData(true)]
    [InlineData(false)]
    public void Bootstrap_OfTheYear2018_IsTaken_SaveForItsFiltersInTheFormOfV1(bool delta)
    {
        string file = ProjectTree.Shared(Folder + "legacy-v2-envoy_local.json");
        var statics = JsonNode.Parse(File.ReadAllText(file))!["static_resources"]!;
        var sets = statics["listeners"]!.AsArray().Select(listener => V2("Listener", listener!)).Concat(statics["clusters"]!.AsArray().Select(cluster => V2("Cluster", cluster!))).ToList();
        // What these say stands in fields of v1, which no message has had since: not even a control plane could send it.
        const string Proxy = "filter_chains[0].filters[0].typed_config.<TcpProxy>";
        string[] v1 = [.. sets.SelectMany(set => set.Problems).Select(problem => $"{problem.Resource}: {problem.Path}: {problem.Reason}")];
        Assert.Equal(
            new[] { "legacy15003", "httpproxy", "grpc15011" }.SelectMany(listener => new[]
            {
                $"listener {listener}: {Proxy}.deprecated_v1: has no effect: removed from Envoy in v3; use filter chains",
                $"listener {listener}: {Proxy}.value: unknown field of envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy: neither Envoy nor this version knows it; "
                    + "check the spelling or remove it",
            }),
            v1);
        List<DiscoveredResource> dump = [.. sets.SelectMany(set => set.Resources)];
        // One cluster has the name of the bootstrap's, which nothing that is discovered replaces.
        Assert.Equal(["iptables", "http_proxy", "rds", "xds-grpc", "pilot_http", "pilot_grpc"], dump.Select(resource => resource.Name));
        AssertServed(dump, new TestSnapshot(), delta, ["iptables"],
            ["Error adding/updating listener(s) iptables: filter_chains[0].filters[0].typed_config.cluster_specifier: is required: set cluster or weighted_clusters"]);
    }

    // ---- what is served ---------------------------------------------------------------------------------------------

    private static IEnumerable<DiscoveredResource> Go(string file, string message, string v2) =>
        GoDump.Read(ProjectTree.Shared($"{Folder}{file}.json"), "envoy." + message, "envoy.api.v2." + v2);

    private static ResourceSet V2(string message, JsonNode resource)
    {
        var typed = resource.DeepClone().AsObject();
        typed["@type"] = $"{Package}api.v2.{message}";
        return ResourceReader.ReadDocument(Encoding.UTF8.GetBytes(new JsonObject { ["resources"] = new JsonArray(typed) }.ToJsonString()), "dump");
    }

    private static DiscoveredResource Secret(JsonObject secret)
    {
        string type = ((string)secret["@type"]!)["type.googleapis.com/".Length..];
        var members = secret.DeepClone().AsObject();
        members.Remove("@type");
        byte[] bytes = Transcoder.ReadJson(Encoding.UTF8.GetBytes(members.ToJsonString()), type, new WireProblems())!;
        return new DiscoveredResource(ResourceTypes.Secret, (string)secret["name"]!, "1", bytes, "");
    }

    // ---- who asks for it --------------------------------------------------------------------------------------------

    private static string Http(string type, params string[] extensions) => TestSnapshot.Fill("""
        {"name": "envoy.filters.network.http_connection_manager", "typed_config": {
         "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "http",
         "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [$answer]}]},
         "http_filters": [$filters, {"name": "router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}
        """, ("answer", TestSnapshot.Answer("x")), ("filters", string.Join(',', extensions.Select(name => TestSnapshot.Fill(
            """{"name": "$name", "config_discovery": {"config_source": {"ads": {}}, "type_urls": ["$type"]}}""", ("name", name), ("type", type))))));

    private static TestSnapshot Tls(TestSnapshot snapshot, string listener, string roots) => snapshot.Http(listener, 0, TestSnapshot.Answer("x")).Tls(listener, TestSnapshot.Fill("""
        "common_tls_context": {"tls_certificate_sds_secret_configs": [{"name": "default", "sds_config": {"ads": {}}}],
         "validation_context_sds_secret_config": {"name": "$roots", "sds_config": {"ads": {}}}}
        """, ("roots", roots)));

    // ---- serving ----------------------------------------------------------------------------------------------------

    /// <param name="dump">What is looked at.</param>
    /// <param name="askers">Listeners by which a proxy asks for it.</param>
    /// <param name="delta">The form of xDS.</param>
    /// <param name="refused">Names, or whole types, of what is refused.</param>
    /// <param name="refusals">What is said about them.</param>
    /// <param name="withoutEffect">All of the rest that does nothing.</param>
    private static void AssertServed(
        IReadOnlyList<DiscoveredResource> dump, TestSnapshot askers, bool delta, string[] refused, string[] refusals, params string[] withoutEffect)
    {
        using var pod = new DumpedPod([.. dump, .. ResourceReader.ReadDocument(Encoding.UTF8.GetBytes(askers.ToString()), "askers").Resources], delta);
        pod.WaitUntilReady([.. dump.Select(resource => resource.TypeUrl).Distinct()], refusals.Length);
        string said = string.Join('\n', pod.Istiod.Refusals.Distinct());
        Assert.True(said == string.Join('\n', refusals), said);
        var status = pod.Status();
        var idle = new List<string>();
        foreach (var resource in dump)
        {
            var state = DumpedPod.StateOf(resource, status);
            string expected = IstiodReplay.StaticClusters.Contains(resource.Name) ? "STATIC"
                : refused.Contains(resource.Name) || refused.Contains(resource.TypeUrl) ? "REFUSED" : "ACCEPTED";
            Assert.Equal((resource.Name, expected), (resource.Name, state.GetProperty("status").GetString()));
            idle.AddRange(IstiodDumpTests.WithoutEffect(state));
        }
        Assert.Equal(withoutEffect, IstiodDumpTests.Rows(idle.GroupBy(line => line).ToDictionary(group => group.Key, group => group.Count())));
    }
}
