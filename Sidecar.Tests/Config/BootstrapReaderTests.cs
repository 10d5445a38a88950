using System.Linq;
using System.Text;
using Envoy.Config.Core.V3;
using Sidecar.Config;
using Sidecar.Wire;
using Xunit;

namespace Sidecar.Tests.Config;

/// <summary>Who we are, and where the admin pages are, by the bootstrap and the command line.</summary>
public sealed class BootstrapReaderTests
{
    private static DiscoveredResource Bootstrap(string json)
    {
        var set = ResourceReader.ReadDocument(Encoding.UTF8.GetBytes(json), "bootstrap.json");
        Assert.True(set.Bootstrap is not null, string.Join("\n", set.Problems));
        return set.Bootstrap;
    }

    private const string Node =
        """{"node":{"id":"sidecar~10.1.2.3~a.ns~ns.svc","cluster":"a.ns","locality":{"region":"r","zone":"z"},"metadata":{"ISTIO_VERSION":"1.30.0"}}}""";

    [Fact]
    public void Node_IsTakenWhole_WithWhoSpeaks()
    {
        var facts = BootstrapReader.Read(Bootstrap(Node), default, "1.2.3");
        var node = Envoy.Config.Core.V3.Node.Parser.ParseFrom(facts.Node.Span);
        Assert.Equal("sidecar~10.1.2.3~a.ns~ns.svc", node.Id);
        Assert.Equal("a.ns", node.Cluster);
        Assert.Equal("z", node.Locality.Zone);
        Assert.Equal("1.30.0", node.Metadata.Fields["ISTIO_VERSION"].StringValue);
        Assert.Equal(("sidecar", "1.2.3"), (node.UserAgentName, node.UserAgentVersion));
        Assert.Equal(["xds.config.resource-in-sotw"], node.ClientFeatures);
        Assert.Null(facts.NodeProblem);
    }

    [Fact]
    public void WhatTheBootstrapSaysOfTheSpeaker_Stays()
    {
        var facts = BootstrapReader.Read(Bootstrap("""{"node":{"id":"i","cluster":"c","user_agent_name":"me","user_agent_build_version":{"version":{"major_number":4}},"client_features":["xds.config.resource-in-sotw","f"]}}"""), default, "1.2.3");
        var node = Envoy.Config.Core.V3.Node.Parser.ParseFrom(facts.Node.Span);
        Assert.Equal(("me", "", 4u), (node.UserAgentName, node.UserAgentVersion, node.UserAgentBuildVersion.Version.MajorNumber));
        Assert.Equal(["xds.config.resource-in-sotw", "f"], node.ClientFeatures);
    }

    [Fact]
    public void CommandLine_WinsOverTheBootstrap()
    {
        var facts = BootstrapReader.Read(Bootstrap(Node), new NodeOverrides("other", "elsewhere"));
        Assert.Equal(("other", "elsewhere"), (facts.NodeId, facts.NodeCluster));
        var node = Envoy.Config.Core.V3.Node.Parser.ParseFrom(facts.Node.Span);
        Assert.Equal(("other", "elsewhere"), (node.Id, node.Cluster));
    }

    [Theory]
    [InlineData("""{"node":{"id":"i"}}""")]
    [InlineData("""{"node":{"cluster":"c"}}""")]
    [InlineData("""{"admin":{}}""")]
    public void NodeWithoutIdOrCluster_IsAProblem_InEnvoysWords(string json) => Assert.Equal(
        "node 'id' and 'cluster' are required. Set it either in 'node' config or via --service-node and --service-cluster options.",
        BootstrapReader.Read(Bootstrap(json)).NodeProblem);

    [Fact]
    public void CommandLine_GivesWhatTheBootstrapLacks() => Assert.Null(BootstrapReader.Read(Bootstrap("""{"admin":{}}"""), new NodeOverrides("i", "c")).NodeProblem);

    [Fact]
    public void AdminAddress_IsTaken()
    {
        Assert.Equal("127.0.0.1:15000", BootstrapReader.Read(Bootstrap("""{"admin":{"address":{"socket_address":{"address":"127.0.0.1","port_value":15000}}}}""")).AdminAddress.ToString());
        Assert.Null(BootstrapReader.Read(Bootstrap(Node)).AdminAddress);
    }

    [Fact]
    public void MalformedBytes_HaveNoFacts()
    {
        var facts = BootstrapReader.Read(new DiscoveredResource(ResourceTypes.Bootstrap, "", "", new byte[] { 0x0A, 0x7F }, "x"));
        Assert.Equal("", facts.NodeId);
        Assert.NotNull(facts.NodeProblem);
    }

    [Fact]
    public void WhatHasNoEffect_IsToldByPath()
    {
        var set = ResourceReader.ReadDocument(Encoding.UTF8.GetBytes("""
            {"node":{"id":"i","cluster":"c"},"stats_sinks":[{"name":"x"}],"layered_runtime":{"layers":[]},"stats_flush_interval":"5s","flags_path":"/f",
             "admin":{"access_log_path":"/dev/null"}}
            """), "bootstrap.json");
        Assert.Equal(
            ["Unsupported stats_sinks", "Unsupported layered_runtime", "Ignored stats_flush_interval", "Unsupported flags_path", "Unsupported admin.access_log_path"],
            set.Problems.Select(problem => $"{problem.Kind} {problem.Path}"));
    }

    [Theory]
    [InlineData("""{"pipe":{"path":"/run/admin"}}""", "admin.address", "is not an IP address")]
    [InlineData("""{"socket_address":{"address":"localhost","port_value":15000}}""", "admin.address.socket_address.address", "malformed IP address: localhost")]
    [InlineData("""{"socket_address":{"address":"127.0.0.1"}}""", "admin.address.socket_address.port_value", "value is required")]
    [InlineData("""{"socket_address":{"address":"127.0.0.1","port_value":1,"protocol":"UDP"}}""", "admin.address.socket_address.protocol", "on TCP")]
    [InlineData("""{"socket_address":{"address":"127.0.0.1","port_value":1,"network_namespace_filepath":"/x"}}""", "admin.address.socket_address.network_namespace_filepath", "not supported")]
    public void AdminAddressThatCannotBe_IsAnError(string address, string path, string reason)
    {
        var set = ResourceReader.ReadDocument(Encoding.UTF8.GetBytes($$"""{"admin": {"address": {{address}} } }"""), "bootstrap.json");
        var error = Assert.Single(set.Problems);
        Assert.True(error.IsError);
        Assert.Equal(path, error.Path);
        Assert.Contains(reason, error.Reason);
    }
}
