using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text;
using Google.Protobuf;
using Sidecar.Config;
using Sidecar.Tests.Harness;
using Sidecar.Wire;
using Xunit;

namespace Sidecar.Tests.Wire;

/// <summary>Real configurations of real meshes: all of them read, and what is written reads back to the same bytes.</summary>
public sealed class CorpusTests
{
    private const string Bootstrap = "envoy.config.bootstrap.v3.Bootstrap";

    [SkippableFact]
    public void EveryGoldenBootstrap_ReadsAndSurvivesTheRoundTrip()
    {
        string[] files = Directory.GetFiles(ProjectTree.Shared("testdata/istio/bootstrap"), "*_golden.json");
        Assert.NotEmpty(files);
        foreach (string file in files)
        {
            byte[] wire = WireHarness.Read(File.ReadAllText(file), Bootstrap);
            string json = WireHarness.Write(wire, Bootstrap);
            string again = WireHarness.Write(WireHarness.Read(json, Bootstrap), Bootstrap);
            Assert.Equal(json, again);

            ResourceSet set = ResourceReader.ReadBootstrap(file);
            Assert.False(set.HasErrors, string.Join("\n", set.Problems.Where(problem => problem.IsError)));
            Assert.NotNull(set.Bootstrap);
            Assert.NotEmpty(set.Resources);
            Envoy.Config.Bootstrap.V3.Bootstrap parsed = Envoy.Config.Bootstrap.V3.Bootstrap.Parser.ParseFrom(wire);
            Assert.Equal(
                parsed.StaticResources.Clusters.Count,
                set.Resources.Count(resource => resource.TypeUrl == ResourceTypes.Cluster));
        }
    }

    [SkippableFact]
    public void IstiodDumps_ReadWholeAndEveryResourceParses()
    {
        foreach (string file in Directory.GetFiles(ProjectTree.Shared("testdata/istio/istiod-1.30"), "*.json"))
        {
            ResourceSet set = ResourceReader.Read(file);
            Assert.False(set.HasErrors, string.Join("\n", set.Problems.Where(problem => problem.IsError)));
            Assert.Contains(set.Resources, resource => resource.TypeUrl == ResourceTypes.Listener);
            Assert.Contains(set.Resources, resource => resource.TypeUrl == ResourceTypes.Cluster);
            foreach (DiscoveredResource resource in set.Resources)
                ParseAndRoundTrip(resource);
        }
    }

    [SkippableTheory]
    [InlineData("istioctl-describe-http.json")]
    [InlineData("istioctl-ecds.json")]
    [InlineData("istioctl-endpoints.json")]
    [InlineData("istioctl-secrets-istio.json")]
    public void PublishedDumps_ReadWithoutErrors(string name)
    {
        ResourceSet set = ResourceReader.Read(ProjectTree.Shared("testdata/istio/config-dumps/" + name));
        Assert.False(set.HasErrors, string.Join("\n", set.Problems.Where(problem => problem.IsError)));
        foreach (DiscoveredResource resource in set.Resources)
            ParseAndRoundTrip(resource);
    }

    [SkippableFact]
    public void BootstrapOf2018_IsRefusedOnlyForItsV1Parts()
    {
        ResourceSet set = ResourceReader.Read(ProjectTree.Shared("testdata/istio/config-dumps/legacy-v2-envoy_local.json"));
        Assert.True(set.HasErrors);
        Assert.All(
            set.Problems.Where(problem => problem.IsError),
            problem => Assert.True(
                problem.Path == "dynamic_resources.deprecated_v1" || problem.Path.EndsWith(".typed_config.<TcpProxy>.value", StringComparison.Ordinal),
                problem.ToString()));
    }

    private static void ParseAndRoundTrip(DiscoveredResource resource)
    {
        string type = resource.Type!.FullName;
        IMessage parsed = resource.TypeUrl switch
        {
            ResourceTypes.Listener => Envoy.Config.Listener.V3.Listener.Parser.ParseFrom(resource.Bytes.Span),
            ResourceTypes.Cluster => Envoy.Config.Cluster.V3.Cluster.Parser.ParseFrom(resource.Bytes.Span),
            ResourceTypes.RouteConfiguration => Envoy.Config.Route.V3.RouteConfiguration.Parser.ParseFrom(resource.Bytes.Span),
            ResourceTypes.ClusterLoadAssignment => Envoy.Config.Endpoint.V3.ClusterLoadAssignment.Parser.ParseFrom(resource.Bytes.Span),
            ResourceTypes.Secret => Envoy.Extensions.TransportSockets.Tls.V3.Secret.Parser.ParseFrom(resource.Bytes.Span),
            _ => Envoy.Config.Core.V3.TypedExtensionConfig.Parser.ParseFrom(resource.Bytes.Span),
        };
        // The generated classes write in the order of the numbers: the JSON of both must be the same.
        string json = WireHarness.Write(resource.Bytes.Span, type);
        Assert.Equal(json, WireHarness.Write(parsed.ToByteArray(), type));
        Assert.Equal(json, WireHarness.RoundTrip(json, type));
    }

    [Fact]
    public void SamplesOfTheMesh_ReadWithNothingRefused()
    {
        foreach ((string name, string[] listeners) in new[]
        {
            ("webapp", new[] { "virtualOutbound", "0.0.0.0_8888" }),
            ("calculator-v1", new[] { "virtualInbound", "virtualOutbound" }),
            ("calculator-v2", new[] { "virtualInbound", "virtualOutbound" }),
        })
        {
            ResourceSet set = ResourceReader.Read(Path.Combine(ProjectTree.Root, "Sidecar", "Samples", name + ".json"));
            Assert.False(set.HasErrors, string.Join("\n", set.Problems));
            Assert.Equal(listeners, set.Resources.Where(resource => resource.TypeUrl == ResourceTypes.Listener).Select(resource => resource.Name));
            foreach (DiscoveredResource resource in set.Resources)
                ParseAndRoundTrip(resource);
        }
    }

    [Fact]
    public void SampleOfWebapp_IsV3PastTheBorder()
    {
        ResourceSet set = ResourceReader.Read(Path.Combine(ProjectTree.Root, "Sidecar", "Samples", "webapp.json"));
        DiscoveredResource resource = set.Resources.Single(candidate => candidate.Name == "0.0.0.0_8888");
        Envoy.Config.Listener.V3.Listener listener = Envoy.Config.Listener.V3.Listener.Parser.ParseFrom(resource.Bytes.Span);
        Assert.False(listener.BindToPort);
        Assert.Null(listener.DeprecatedV1);
        Envoy.Config.Listener.V3.Filter filter = listener.FilterChains[1].Filters[0];
        Assert.Equal("envoy.filters.network.http_connection_manager", filter.Name);
        Assert.Equal("type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", filter.TypedConfig.TypeUrl);
        var manager = Envoy.Extensions.Filters.Network.HttpConnectionManager.V3.HttpConnectionManager.Parser.ParseFrom(filter.TypedConfig.Value);
        Assert.Equal(
            ["mixer", "envoy.filters.http.cors", "envoy.filters.http.fault", "envoy.filters.http.router"],
            manager.HttpFilters.Select(httpFilter => httpFilter.Name));
        Assert.Null(manager.HttpFilters[0].TypedConfig);
        Assert.Equal("type.googleapis.com/envoy.extensions.filters.http.router.v3.Router", manager.HttpFilters[3].TypedConfig.TypeUrl);
        Assert.Equal("8888", manager.Rds.RouteConfigName);
        Assert.DoesNotContain("v2.", Encoding.UTF8.GetString(resource.Bytes.Span), StringComparison.Ordinal);
    }
}
