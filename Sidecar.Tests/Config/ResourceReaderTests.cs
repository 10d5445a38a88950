using System;
using System.IO;
using System.Linq;
using System.Text;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Sidecar.Config;
using Sidecar.Tests.Harness;
using Sidecar.Wire;
using Xunit;

namespace Sidecar.Tests.Config;

public sealed class ResourceReaderTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("sidecar-resources-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private string Put(string name, string text)
    {
        string path = Path.Combine(_folder, name);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path, text);
        return path;
    }

    private static ResourceSet Read(string json) => ResourceReader.ReadDocument(Encoding.UTF8.GetBytes(json), "x.json");

    private static string Names(ResourceSet set) => string.Join(" ", set.Resources.Select(resource => resource.Name));

    // ---- config dumps -----------------------------------------------------------------------------------------

    private const string Dump =
        """
        {"configs":[
         {"@type":"type.googleapis.com/envoy.admin.v3.ClustersConfigDump","versionInfo":"7",
          "staticClusters":[{"cluster":{"@type":"type.googleapis.com/envoy.config.cluster.v3.Cluster","name":"s"},"lastUpdated":"2020-02-11T01:52:11.000Z"}],
          "dynamic_active_clusters":[{"version_info":"8","cluster":{"@type":"type.googleapis.com/envoy.config.cluster.v3.Cluster","name":"a"}}],
          "dynamic_warming_clusters":[{"version_info":"9","cluster":{"@type":"type.googleapis.com/envoy.config.cluster.v3.Cluster","name":"a","type":"EDS"}},
                                      {"version_info":"9","cluster":{"@type":"type.googleapis.com/envoy.config.cluster.v3.Cluster","name":"w"}}]},
         {"@type":"type.googleapis.com/envoy.admin.v3.ListenersConfigDump",
          "dynamic_listeners":[{"name":"l","active_state":{"version_info":"3","listener":{"@type":"type.googleapis.com/envoy.config.listener.v3.Listener","name":"l"}},
                                "draining_state":{"listener":{"@type":"type.googleapis.com/envoy.config.listener.v3.Listener","name":"old"}}}]},
         {"@type":"type.googleapis.com/envoy.admin.v3.ScopedRoutesConfigDump"}]}
        """;

    [Fact]
    public void Dump_StaticActiveAndWarming_ActiveWins_DrainingIsLeftOut()
    {
        ResourceSet set = Read(Dump);
        Assert.False(set.HasErrors, string.Join("\n", set.Problems));
        Assert.Equal("s a w l", Names(set));
        Assert.Equal(["7", "8", "9", "3"], set.Resources.Select(resource => resource.Version));
        Assert.Equal(Envoy.Config.Cluster.V3.Cluster.Types.DiscoveryType.Static, Envoy.Config.Cluster.V3.Cluster.Parser.ParseFrom(set.Resources[1].Bytes.Span).Type);
        Assert.All(set.Resources, resource => Assert.Equal("x.json", resource.Source));
    }

    [Fact]
    public void Dump_OneBadResource_RefusesItselfOnly()
    {
        ResourceSet set = Read(Dump.Replace("\"name\":\"s\"", "\"name\":\"s\",\"conect_timeout\":\"1s\"", StringComparison.Ordinal));
        ConfigError error = Assert.Single(set.Problems);
        Assert.True(error.IsError);
        Assert.Equal("cluster s", error.Resource);
        Assert.Equal("conect_timeout", error.Path);
        Assert.Equal(3, error.Line);
        Assert.StartsWith("x.json:3:", error.ToString(), StringComparison.Ordinal);
        Assert.Equal("a w l", Names(set));
    }

    [Theory]
    [InlineData("""{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.Nothing"}]}""", "configs[0]", "not a section")]
    [InlineData("""{"configs":[{}]}""", "configs[0]", "\"@type\" is missing")]
    [InlineData("""{"configs":[7]}""", "configs[0]", "\"@type\" is missing")]
    [InlineData("""{"configs":{}}""", "configs", "expected a list")]
    [InlineData("""{"configs":[],"x":1}""", "x", "only \"configs\"")]
    [InlineData("""{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.ClustersConfigDump","clusters":[]}]}""", "configs[0].clusters", "unknown field")]
    [InlineData("""{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.ClustersConfigDump","static_clusters":[{"clster":{}}]}]}""", "configs[0].static_clusters[0].clster", "unknown field")]
    [InlineData("""{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.ClustersConfigDump","static_clusters":[{"cluster":{"@type":"type.googleapis.com/envoy.config.listener.v3.Listener"}}]}]}""", "configs[0].static_clusters[0].cluster", "a cluster is expected")]
    [InlineData("""{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.ClustersConfigDump","static_clusters":[{"cluster":{"@type":"type.googleapis.com/envoy.Clster"}}]}]}""", "configs[0].static_clusters[0].cluster", "unknown type")]
    public void Dump_BadEnvelope_IsReportedByPath(string json, string path, string reason)
    {
        ResourceSet set = Read(json);
        ConfigError error = Assert.Single(set.Problems, problem => problem.IsError);
        Assert.Equal(path, error.Path);
        Assert.Contains(reason, error.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void Dump_SameNameTwice_IsAnError()
    {
        ResourceSet set = Read("""
            {"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.ClustersConfigDump","static_clusters":[
             {"cluster":{"@type":"type.googleapis.com/envoy.config.cluster.v3.Cluster","name":"a"}},
             {"cluster":{"@type":"type.googleapis.com/envoy.config.cluster.v3.Cluster","name":"a"}}]}]}
            """);
        Assert.Contains("twice", Assert.Single(set.Problems).Reason, StringComparison.Ordinal);
        Assert.Equal("a", Names(set));
    }

    [Fact]
    public void Dump_UnsupportedField_IsReportedNotRefused()
    {
        ResourceSet set = Read("""
            {"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.ListenersConfigDump","static_listeners":[
             {"listener":{"@type":"type.googleapis.com/envoy.config.listener.v3.Listener","name":"l","udp_listener_config":{}}}]}]}
            """);
        ConfigError problem = Assert.Single(set.Problems);
        Assert.Equal(ConfigErrorKind.Unsupported, problem.Kind);
        Assert.Equal("udp_listener_config", problem.Path);
        Assert.Equal("l", Names(set));
        Assert.False(set.HasErrors);
    }

    [Fact]
    public void Truncated_AtEveryByte_IsOneLineThatSaysSo()
    {
        byte[] dump = File.ReadAllBytes(Path.Combine(ProjectTree.Root, "Sidecar", "Samples", "webapp.json"));
        int length = dump.AsSpan().LastIndexOf((byte)'}');
        for (int cut = 1; cut <= length; cut += 37)
        {
            ResourceSet set = ResourceReader.ReadDocument(dump[..cut], "x.json");
            ConfigError error = Assert.Single(set.Problems);
            Assert.Contains("not valid JSON", error.Reason, StringComparison.Ordinal);
            Assert.DoesNotContain('\n', error.ToString());
            Assert.Empty(set.Resources);
        }
    }

    // ---- folders ------------------------------------------------------------------------------------------------

    [Fact]
    public void Folder_FilesAndSubFolders_InEveryForm()
    {
        Put("listeners.json", """{"resources":[{"@type":"type.googleapis.com/envoy.config.listener.v3.Listener","name":"l1"},{"name":"l2"}]}""");
        Put("clusters/a.json", """{"name":"c1","hosts":[{"socket_address":{"address":"127.0.0.1","port_value":1}}]}""");
        Put("clusters/b.json", """[{"name":"c2"},{"@type":"type.googleapis.com/envoy.api.v2.Cluster","name":"c3","tls_context":{}}]""");
        Put("routes.json", """{"version_info":"5","type_url":"type.googleapis.com/envoy.config.route.v3.RouteConfiguration","resources":[{"name":"r","version":"6","resource":{"@type":"type.googleapis.com/envoy.config.route.v3.RouteConfiguration","name":"r"}}]}""");
        var response = new Envoy.Service.Discovery.V3.DiscoveryResponse { VersionInfo = "9" };
        response.Resources.Add(Any.Pack(new Envoy.Config.Endpoint.V3.ClusterLoadAssignment { ClusterName = "c2" }));
        File.WriteAllBytes(Path.Combine(_folder, "endpoints.pb"), response.ToByteArray());
        var delta = new Envoy.Service.Discovery.V3.DeltaDiscoveryResponse();
        delta.Resources.Add(new Envoy.Service.Discovery.V3.Resource { Name = "s", Version = "4", Resource_ = Any.Pack(new Envoy.Extensions.TransportSockets.Tls.V3.Secret { Name = "s" }) });
        Directory.CreateDirectory(Path.Combine(_folder, "secrets"));
        File.WriteAllBytes(Path.Combine(_folder, "secrets", "s.pb"), delta.ToByteArray());
        Put(".hidden.json", "nothing");
        Put("README.md", "nothing");
        ResourceSet set = ResourceReader.Read(_folder);
        Assert.False(set.HasErrors, string.Join("\n", set.Problems));
        Assert.Equal("c1 c2 c3 c2 l1 l2 r s", Names(set));
        Assert.Equal(["", "", "", "9", "", "", "6", "4"], set.Resources.Select(resource => resource.Version));
        Envoy.Config.Cluster.V3.Cluster first = Envoy.Config.Cluster.V3.Cluster.Parser.ParseFrom(set.Resources[0].Bytes.Span);
        Assert.Equal(1u, first.LoadAssignment.Endpoints[0].LbEndpoints[0].Endpoint.Address.SocketAddress.PortValue);
        Assert.EndsWith("a.json", set.Resources[0].Source, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("clusters.json", """{"@type":"type.googleapis.com/envoy.config.listener.v3.Listener"}""", "a cluster is expected")]
    [InlineData("clusters.json", """{"type_url":"type.googleapis.com/envoy.config.listener.v3.Listener","resources":[]}""", "by its name this file holds clusters")]
    [InlineData("clusters.json", """{"resources":7}""", "expected a list")]
    [InlineData("clusters.json", """{"resources":[7]}""", "expected an object")]
    [InlineData("clusters.json", """{"resources":[],"resourses":[]}""", "unknown field")]
    [InlineData("clusters.json", """{"nme":"c"}""", "unknown field")]
    [InlineData("clusters.json", "", "is empty")]
    [InlineData("clusters.json", "{", "truncated")]
    [InlineData("clusters.yaml", "a: b", "convert it to JSON")]
    [InlineData("clusters.pb", "\u0012\u0010x", "truncated")]
    [InlineData("clusters.pb", "{}", "if it is JSON, name it .json")]
    [InlineData("clusters.pb", "\u0012\u0003\n\u0001x", "unknown type x")]
    [InlineData("other.json", """{"name":"c"}""", "\"@type\" is missing")]
    public void Folder_BadFile_IsOneErrorThatNamesIt(string name, string text, string reason)
    {
        string path = Put(name, text);
        ConfigError error = Assert.Single(ResourceReader.Read(_folder).Problems);
        Assert.Equal(path, error.File);
        Assert.Contains(reason, error.Reason, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("null", "expected a JSON object")]
    [InlineData("  \n", "2:1: not valid JSON: the file ends too early (truncated?)")]
    [InlineData("\uFEFF", "1:1: not valid JSON: the file ends too early (truncated?)")]
    [InlineData("[] x", "not valid JSON: something follows where it ends")]
    [InlineData("{\"name\":\"c\",}", "not valid JSON: a comma with nothing after it")]
    [InlineData("// c\n{}", "1:1: not valid JSON: '/' is an invalid start of a value; if this is YAML, convert it to JSON")]
    [InlineData("name: c", "if this is YAML, convert it to JSON")]
    [InlineData("{\"name\":\"c\",\"name\":\"c\"}", "cluster c: name: is given twice")]
    [InlineData("{\"name\":\"\\ud800\"}", "half of a surrogate pair")]
    public void BadText_IsOneErrorWithItsPlace(string text, string reason)
    {
        string path = Put("clusters.json", text);
        string error = Assert.Single(ResourceReader.Read(_folder).Problems).ToString();
        Assert.StartsWith(path, error, StringComparison.Ordinal);
        Assert.Contains(reason, error, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', error);
    }

    [Fact]
    public void InvalidUtf8_IsNamedByItsPlace()
    {
        File.WriteAllBytes(Path.Combine(_folder, "clusters.json"), [(byte)'{', (byte)'\n', (byte)'"', 0xC3, (byte)'"', (byte)'}']);
        ConfigError error = Assert.Single(ResourceReader.Read(_folder).Problems);
        Assert.Equal((2, 2), (error.Line, error.Column));
        Assert.Contains("is not valid UTF-8", error.Reason, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("metadata", "filter_metadata")]
    [InlineData("typed_extension_protocol_options", null)]
    public void NestedTooDeep_IsOneError(string field, string? below)
    {
        string deep = string.Concat(Enumerable.Repeat("{\"a\":", 300)) + "1" + new string('}', 300);
        string value = below is null
            ? "{\"x\":{\"@type\":\"type.googleapis.com/google.protobuf.Struct\",\"value\":" + deep + "}}"
            : "{\"" + below + "\":{\"a\":" + deep + ",\"b\":{\"c\":1}}}";
        Put("clusters.json", "[{\"name\":\"c\",\"" + field + "\":" + value + "},{\"name\":\"next\"}]");
        ResourceSet set = ResourceReader.Read(_folder);
        ConfigError error = Assert.Single(set.Problems, problem => problem.IsError);
        Assert.Equal("cluster c", error.Resource);
        Assert.Contains("nested deeper than 100 levels", error.Reason, StringComparison.Ordinal);
        Assert.Equal("next", Assert.Single(set.Resources).Name);
    }

    [Fact]
    public void JsonOfAYamlName_IsRead()
    {
        Put("clusters.yaml", " [{\"name\":\"c\"}]");
        Assert.Equal("c", Names(ResourceReader.Read(_folder)));
        string bootstrap = Put("b.yml", "{\"static_resources\":{\"clusters\":[{\"name\":\"c\"}]}}");
        Assert.Equal("c", Names(ResourceReader.ReadBootstrap(bootstrap)));
    }

    [Fact]
    public void Bootstrap_InYaml_SaysToConvertIt() => Assert.Equal(
        "YAML is not read; convert it to JSON",
        Assert.Single(ResourceReader.ReadBootstrap(Put("envoy.yaml", "static_resources:\n  clusters: []\n")).Problems).Reason);

    [Theory]
    [InlineData("clusters.json.tmp", "files of resources end in .json or .pb")]
    [InlineData("clusters.json~", "files of resources end in .json or .pb")]
    [InlineData("more/clusters.json", "folders are named listeners, clusters")]
    [InlineData("clusters/more/a.json", "holds only files")]
    public void Folder_WhatIsPassedOver_IsTold(string name, string reason)
    {
        Put("clusters.json", """{"name":"c"}""");
        Put(name, """{"name":"other"}""");
        ResourceSet set = ResourceReader.Read(_folder);
        Assert.Equal("c", Names(set));
        ConfigError problem = Assert.Single(set.Problems);
        Assert.Equal(ConfigErrorKind.Ignored, problem.Kind);
        Assert.Contains(reason, problem.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void EmptyPath_IsAnError() => Assert.Contains("the path is empty", Assert.Single(ResourceReader.Read("").Problems).Reason, StringComparison.Ordinal);

    [SkippableFact]
    public void WhatIsNoRegularFile_IsRefusedWithoutWaiting()
    {
        Skip.IfNot(OperatingSystem.IsLinux(), "needs Linux");
        string fifo = Path.Combine(_folder, "clusters.json");
        Command.Run("mkfifo", fifo).Expect();
        Assert.Contains("is not a regular file", Assert.Single(ResourceReader.Read(_folder).Problems).Reason, StringComparison.Ordinal);
        Assert.Contains("is not a regular file", Assert.Single(ResourceReader.Read("/dev/zero").Problems).Reason, StringComparison.Ordinal);
    }

    [SkippableFact]
    public void LinkToNothing_IsNamed_AndALinkInACircleEnds()
    {
        Skip.IfNot(OperatingSystem.IsLinux(), "needs Linux");
        Put("listeners.json", """{"name":"l"}""");
        File.CreateSymbolicLink(Path.Combine(_folder, "clusters.json"), "nowhere");
        Directory.CreateSymbolicLink(Path.Combine(_folder, "routes"), ".");
        ResourceSet set = ResourceReader.Read(_folder);
        Assert.Contains(set.Problems, problem => problem.File.EndsWith("/clusters.json", StringComparison.Ordinal) && problem.Reason.StartsWith("does not exist", StringComparison.Ordinal));
    }

    [Fact]
    public void Binary_UnknownField_IsAnError()
    {
        var response = new Envoy.Service.Discovery.V3.DiscoveryResponse();
        response.Resources.Add(new Any { TypeUrl = ResourceTypes.Cluster, Value = ByteString.CopyFrom(0x0A, 1, (byte)'c', 0xF8, 0x7F, 1) });
        ResourceSet set = ResourceReader.ReadResponse(response.ToByteArray(), "x.pb");
        ConfigError error = Assert.Single(set.Problems);
        Assert.Equal(("cluster c", "#2047"), (error.Resource, error.Path));
        Assert.Empty(set.Resources);
    }

    [Fact]
    public void Path_ThatIsNotThere_IsAnError() =>
        Assert.Contains("does not exist", Assert.Single(ResourceReader.Read(Path.Combine(_folder, "no")).Problems).Reason, StringComparison.Ordinal);

    [Fact]
    public void Folder_WithNothing_IsAnError() => Assert.True(ResourceReader.Read(_folder).HasErrors);

    // ---- bootstraps -------------------------------------------------------------------------------------------------

    [Fact]
    public void Bootstrap_GivesItsStaticResourcesAndItself()
    {
        ResourceSet set = ResourceReader.ReadBootstrap(Put("b.json", """
            {"node":{"id":"n"},"static_resources":{"listeners":[{"name":"l"}],"clusters":[{"name":"c"},{"name":"d"}],"secrets":[{"name":"s"}]}}
            """));
        Assert.Empty(set.Problems);
        Assert.Equal("l c d s", Names(set));
        Assert.Equal(ResourceTypes.Bootstrap, set.Bootstrap?.TypeUrl);
        Assert.Equal("n", Envoy.Config.Bootstrap.V3.Bootstrap.Parser.ParseFrom(set.Bootstrap!.Bytes.Span).Node.Id);
    }

    [Fact]
    public void Bootstrap_ThatIsKept_HoldsTheBytesOfItsResources()
    {
        string path = Put("b.json", """{"node":{"id":"n"},"static_resources":{"clusters":[{"name":"c"},{"name":"d","connect_timeout":"1s"}]}}""");
        ResourceSet kept = ResourceReader.ReadBootstrap(path, isKept: true);
        ResourceSet apart = ResourceReader.ReadBootstrap(path);
        Assert.Equal(apart.Resources.Select(resource => Convert.ToHexString(resource.Bytes.Span)), kept.Resources.Select(resource => Convert.ToHexString(resource.Bytes.Span)));
        foreach (DiscoveredResource resource in kept.Resources)
            Assert.True(kept.Bootstrap!.Bytes.Span.Overlaps(resource.Bytes.Span));
        foreach (DiscoveredResource resource in apart.Resources)
            Assert.False(apart.Bootstrap!.Bytes.Span.Overlaps(resource.Bytes.Span));
    }

    // A bootstrap without fault is read in one pass; any fault leaves it to the readings that every document gets, and to their words.
    [Theory]
    [InlineData("""{"static_resources":{"clusters":[{"name":"c"}]}}""")]
    [InlineData("""  {"static_resources":{"clusters":[{"name":"c"}]}}  """)]
    [InlineData("\uFEFF" + """{"static_resources":{"clusters":[{"name":"c"}]}}""")]
    [InlineData("""{"static_resources":{"clusters":[{"name":"c\u00e9"}]}}""")]
    [InlineData("""{"static_resources":{"clusters":[{"name":"c\ud800"}]}}""")]
    [InlineData("""{"static_resources":{"clusters":[{"name":"c"}]}} x""")]
    [InlineData("""{"static_resources":{"clusters":[{"name":"c"}]}""")]
    [InlineData("""{"static_resources":{"clusters":[{"name":"c","x":1}]}}""")]
    [InlineData("""{"static_resources":{"clusters":[{"name":"c","name":"d"}]}}""")]
    [InlineData("""{"static_resources":{"clusters":[{"name":"c","hosts":[]}]}}""")]
    [InlineData("""{"static_resources":{"clusters":[{"name":"c","lrs_server":{"self":{}},"lrs_report_endpoint_metrics":["x"]}]},"hds_config":{}}""")]
    [InlineData("""{"@type":"type.googleapis.com/envoy.config.bootstrap.v3.Bootstrap","static_resources":{"clusters":[{"name":"c"}]}}""")]
    [InlineData("""{"@type":"type.googleapis.com/envoy.config.bootstrap.v2.Bootstrap","static_resources":{"clusters":[{"name":"c","hosts":[]}]}}""")]
    public void Bootstrap_ReadInOnePass_IsWhatTheOthersRead(string text)
    {
        string path = Put("b.json", text);
        ResourceSet once = ResourceReader.ReadBootstrap(path);
        ResourceSet document = ResourceReader.ReadDocument(File.ReadAllBytes(path), path);
        Assert.Equal(document.Problems, once.Problems);
        Assert.Equal(document.Resources.Select(resource => Convert.ToHexString(resource.Bytes.Span)), once.Resources.Select(resource => Convert.ToHexString(resource.Bytes.Span)));
        Assert.Equal(document.Bootstrap is null, once.Bootstrap is null);
    }

    [Fact]
    public void Bootstrap_IsRefusedWhole_WithEveryPath()
    {
        ResourceSet set = Read("""{"static_resources":{"listeners":[{"name":"l","filter_chains":[{"x":1}]}],"clusters":[{"name":"c","y":1}]}}""");
        Assert.Equal(["static_resources.listeners[0].filter_chains[0].x", "static_resources.clusters[0].y"], set.Problems.Select(problem => problem.Path));
        Assert.Empty(set.Resources);
        Assert.Null(set.Bootstrap);
    }

    [Fact]
    public void Bootstrap_Of2020_IsUpgraded()
    {
        ResourceSet set = Read("""{"static_resources":{"clusters":[{"name":"c","hosts":[{"socket_address":{"address":"127.0.0.1","port_value":1}}]}]}}""");
        Assert.False(set.HasErrors, string.Join("\n", set.Problems));
        Assert.NotNull(Envoy.Config.Cluster.V3.Cluster.Parser.ParseFrom(set.Resources[0].Bytes.Span).LoadAssignment);
    }
}
