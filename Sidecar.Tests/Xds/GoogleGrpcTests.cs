using System.Linq;
using System.Text;
using Envoy.Config.Core.V3;
using Google.Protobuf;
using Sidecar.Config;
using Sidecar.Telemetry.Stats;
using Sidecar.Tests.Harness;
using Sidecar.Wire;
using Sidecar.Xds;
using Xunit;

namespace Sidecar.Tests.Xds;

/// <summary>google_grpc services: the cluster each becomes, its metadata, and what cannot be had here.</summary>
public sealed class GoogleGrpcTests
{
    private const string Path = "Invalid dynamic_resources.ads_config.grpc_services[0].google_grpc.";

    private static (DiscoveryConfig Config, string Problems) Read(string google)
    {
        string json = $$$"""{"ads_config":{"api_type":"GRPC","transport_api_version":"V3","grpc_services":[{"google_grpc":{"stat_prefix":"ads",{{{google}}} } }] } }""";
        var problems = new WireProblems();
        byte[]? bytes = Transcoder.ReadJson(Encoding.UTF8.GetBytes($$"""{"dynamic_resources":{{json}} }"""), "envoy.config.bootstrap.v3.Bootstrap", problems);
        Assert.NotNull(bytes);
        var config = DiscoveryConfig.Read(bytes, problems);
        return (config, string.Join("; ", problems.List.Select(p => $"{p.Kind} {p.Path}: {p.Reason}")));
    }

    private static string Json(DiscoveredResource resource) => Wire.WireHarness.Write(resource.Bytes.ToArray(), "envoy.config.cluster.v3.Cluster");

    [Theory]
    [InlineData("istiod.istio-system.svc:15012", "STRICT_DNS", "\"address\":\"istiod.istio-system.svc\",\"port_value\":15012", "istiod.istio-system.svc:15012")]
    [InlineData("dns:///x.example", "STRICT_DNS", "\"address\":\"x.example\",\"port_value\":443", "x.example")]
    [InlineData("dns:x.example:1", "STRICT_DNS", "\"address\":\"x.example\",\"port_value\":1", "x.example:1")]
    [InlineData("ipv4:10.0.0.1:80", null, "\"address\":\"10.0.0.1\",\"port_value\":80", "10.0.0.1:80")]
    [InlineData("[fd00::1]:80", null, "\"address\":\"fd00::1\",\"port_value\":80", "[fd00::1]:80")]
    [InlineData("ipv6:fd00::1", null, "\"address\":\"fd00::1\",\"port_value\":443", "fd00::1")]
    [InlineData("localhost:15010", null, "\"address\":\"127.0.0.1\",\"port_value\":15010", "localhost:15010")]
    [InlineData("unix:/var/run/xds", null, "\"pipe\":{\"path\":\"/var/run/xds\"}", "localhost")]
    [InlineData("unix:///var/run/xds", null, "\"pipe\":{\"path\":\"/var/run/xds\"}", "localhost")]
    public void Target_IsTheHostOfACluster(string target, string? type, string address, string authority)
    {
        var (config, problems) = Read($"\"target_uri\":\"{target}\"");
        Assert.Equal("", problems);
        var made = Assert.Single(config.MadeClusters);
        Assert.Equal((ResourceTypes.Cluster, "google_grpc.ads"), (made.TypeUrl, made.Name));
        Assert.Contains(address, Json(made).Replace(" ", ""));
        Assert.Equal(type is not null, Json(made).Contains("STRICT_DNS"));
        Assert.Equal(("google_grpc.ads", authority), (config.Ads!.Target.Cluster, config.Ads.Target.Authority));
        Assert.Equal(["google_grpc.ads"], config.ControlPlanes);
        // And it is a cluster as any other.
        var set = new ResourceSet();
        set.Add(made, warming: false);
        Assert.Empty(new SnapshotBuilder(new StatsRegistry(1), 1, "node", () => 0).Build(set).Errors);
    }

    [Theory]
    [InlineData("")]
    [InlineData("http://x/")]
    [InlineData("x:0")]
    [InlineData("x:65536")]
    [InlineData("x:y")]
    [InlineData("unix:")]
    [InlineData(":80")]
    [InlineData("[fd00::1")]
    public void TargetThatIsNone_IsRefused(string target) => Assert.StartsWith(
        $"{Path}target_uri: '{target}' is no host with a port", Read($"\"target_uri\":\"{target}\"").Problems);

    [Theory]
    [InlineData("xds:///x", "target_uri: targets of xds: are not known here: use envoy_grpc with a cluster")]
    [InlineData("dns://8.8.8.8/x", "target_uri: a name server of its own is not asked: write dns:///HOST:PORT")]
    [InlineData("ipv4:1.1.1.1:1,2.2.2.2:2", "target_uri: several addresses in one target are not taken: use envoy_grpc with a cluster of them")]
    public void TargetThatCannotBeHad_IsRefused_WithAdvice(string target, string problem) => Assert.Equal(Path + problem, Read($"\"target_uri\":\"{target}\"").Problems);

    [Fact]
    public void SslCredentials_AreTls_ThatVerifiesTheTargetsName()
    {
        var (config, problems) = Read("""
            "target_uri":"istiod.istio-system.svc:15012","channel_credentials":{"ssl_credentials":{"root_certs":{"filename":"/r.pem"},"private_key":{"filename":"/k.pem"},"cert_chain":{"filename":"/c.pem"}}}
            """);
        Assert.Equal("", problems);
        string json = Json(config.MadeClusters[0]).Replace(" ", "");
        Assert.Contains("\"alpn_protocols\":[\"h2\"]", json);
        Assert.Contains("\"tls_certificates\":[{\"certificate_chain\":{\"filename\":\"/c.pem\"},\"private_key\":{\"filename\":\"/k.pem\"}}]", json);
        Assert.Contains("\"trusted_ca\":{\"filename\":\"/r.pem\"}", json);
        Assert.Contains("\"match_typed_subject_alt_names\":[{\"san_type\":\"DNS\",\"matcher\":{\"exact\":\"istiod.istio-system.svc\"}}]", json);
        Assert.Contains("\"sni\":\"istiod.istio-system.svc\"", json);
    }

    [Fact]
    public void SslCredentialsOfAnAddressWithoutRoots_VerifyTheAddress_AgainstTheMachinesAuthorities()
    {
        string json = Json(Read("""
            "target_uri":"10.0.0.1:443","channel_credentials":{"ssl_credentials":{}}
            """).Config.MadeClusters[0]).Replace(" ", "");
        Assert.Contains("\"san_type\":\"IP_ADDRESS\",\"matcher\":{\"exact\":\"10.0.0.1\"}", json);
        Assert.Contains("\"system_root_certs\":{}", json);
        Assert.DoesNotContain("\"sni\"", json);
    }

    [Fact]
    public void Arguments_ThatHaveACounterpart_AreTaken_AndTheRestReported()
    {
        var (config, problems) = Read("""
            "target_uri":"x:1","channel_credentials":{"ssl_credentials":{}},"channel_args":{"args":{"grpc.ssl_target_name_override":{"string_value":"y"},
             "grpc.keepalive_time_ms":{"int_value":"60000"},"grpc.keepalive_timeout_ms":{"int_value":"5000"},"grpc.max_receive_message_length":{"int_value":"1000"}}}
            """);
        Assert.Equal("", problems);
        Assert.Equal(("y", 1000), (config.Ads!.Target.Authority, config.Ads.Target.MessageBytesMax));
        string json = Json(config.MadeClusters[0]).Replace(" ", "");
        Assert.Contains("\"connection_keepalive\":{\"interval\":\"60s\",\"timeout\":\"5s\"}", json);
        Assert.Contains("\"exact\":\"y\"", json);
        Assert.Equal(
            "Unsupported dynamic_resources.ads_config.grpc_services[0].google_grpc.channel_args.args[grpc.lb_policy_name]: is an argument of another gRPC library",
            Read(""" "target_uri":"x:1","channel_args":{"args":{"grpc.lb_policy_name":{"string_value":"y"}}} """).Problems);
    }

    [Theory]
    [InlineData("bad name")]
    [InlineData(":path")]
    [InlineData("grpc-timeout")]
    [InlineData("x\\r\\ny")]
    public void FileBasedMetadata_NameThatIsNone_IsRefused(string name) => Assert.StartsWith(Path + "call_credentials[0].from_plugin.typed_config.header_key: '", Read($$"""
        "target_uri":"unix:/x","channel_credentials":{"local_credentials":{} },"call_credentials":[{"from_plugin":{"name":"envoy.grpc_credentials.file_based_metadata",
         "typed_config":{"@type":"type.googleapis.com/envoy.config.grpc_credential.v3.FileBasedMetadataConfig","header_key":"{{name}}","secret_data":{"filename":"/token"} } } }]
        """).Problems);

    [Fact]
    public void FileBasedMetadata_ThatIsBroken_IsRefusedByPath()
    {
        var google = new GrpcService.Types.GoogleGrpc
        {
            TargetUri = "unix:/x", StatPrefix = "ads", ChannelCredentials = new() { LocalCredentials = new() },
            CallCredentials =
            {
                new GrpcService.Types.GoogleGrpc.Types.CallCredentials
                {
                    FromPlugin = new()
                    {
                        Name = "envoy.grpc_credentials.file_based_metadata",
                        TypedConfig = new() { TypeUrl = "type.googleapis.com/envoy.config.grpc_credential.v3.FileBasedMetadataConfig", Value = ByteString.CopyFrom(0x0a, 0x7f) },
                    },
                },
            },
        };
        var ads = new ApiConfigSource { ApiType = ApiConfigSource.Types.ApiType.Grpc, TransportApiVersion = ApiVersion.V3, GrpcServices = { new GrpcService { GoogleGrpc = google } } };
        var problems = new WireProblems();
        DiscoveryConfig.Read(new Envoy.Config.Bootstrap.V3.Bootstrap { DynamicResources = new() { AdsConfig = ads } }.ToByteArray(), problems);
        var problem = Assert.Single(problems.List);
        Assert.Equal("dynamic_resources.ads_config.grpc_services[0].google_grpc.call_credentials[0].from_plugin.typed_config", problem.Path);
        Assert.StartsWith("malformed bytes: ", problem.Reason);
    }

    [Fact]
    public void CallCredentials_AreMetadata_TokensInFilesReadForEachCall()
    {
        var (config, problems) = Read("""
            "target_uri":"unix:/x","channel_credentials":{"local_credentials":{}},"credentials_factory_name":"envoy.grpc_credentials.file_based_metadata","call_credentials":[{"access_token":"t0k"},
             {"google_iam":{"authorization_token":"a","authority_selector":"s"}},
             {"from_plugin":{"name":"envoy.grpc_credentials.file_based_metadata","typed_config":{"@type":"type.googleapis.com/envoy.config.grpc_credential.v3.FileBasedMetadataConfig",
              "secret_data":{"filename":"/token"},"header_prefix":"Bearer "}}}]
            """);
        Assert.Equal("", problems);
        Assert.Equal(
            ["authorization=Bearer t0k", "x-goog-iam-authorization-token=a", "x-goog-iam-authority-selector=s"],
            config.Ads!.Target.Metadata.Select(m => $"{m.Name}={Encoding.UTF8.GetString(m.Value)}"));
        Assert.Equal(new Sidecar.Upstream.FileMetadata("authorization", "Bearer ", "/token"), Assert.Single(config.Ads.Target.Files));
    }

    [Theory]
    [InlineData(""" "call_credentials":[{"access_token":"t"}] """, "call_credentials: tokens are not sent in the clear: give channel_credentials, ssl_credentials or local_credentials")]
    [InlineData(""" "channel_credentials":{"local_credentials":{}} """, "channel_credentials.local_credentials: are for a Unix socket or a loopback address; use ssl_credentials")]
    [InlineData(""" "channel_credentials_plugin":[{"@type":"type.googleapis.com/google.protobuf.Empty"}] """, "channel_credentials_plugin: plugins are not known here; use channel_credentials")]
    [InlineData(""" "call_credentials_plugin":[{"@type":"type.googleapis.com/google.protobuf.Empty"}] """, "call_credentials_plugin: plugins are not known here; use call_credentials")]
    [InlineData(""" "credentials_factory_name":"envoy.grpc_credentials.aws_iam" """, "credentials_factory_name: 'envoy.grpc_credentials.aws_iam' is not known here; envoy.grpc_credentials.file_based_metadata is")]
    [InlineData(""" "channel_credentials":{"ssl_credentials":{}},"call_credentials":[{"from_plugin":{"name":"x"}}] """, "call_credentials[0].from_plugin.name: 'x' is not known here; envoy.grpc_credentials.file_based_metadata with its typed_config is")]
    [InlineData(""" "channel_credentials":{"ssl_credentials":{}},"call_credentials":[{"access_token":"a\nb"}] """, null)]
    public void CredentialsThatCannotBeHad_AreRefused(string fields, string? problem) => Assert.Equal(
        problem is null ? "Invalid dynamic_resources.ads_config.grpc_services[0]: a value of its metadata holds a line end or NUL" : Path + problem, Read("\"target_uri\":\"x:1\"," + fields).Problems);

    [Theory]
    [InlineData(""" "channel_credentials":{"google_default":{}} """, "channel_credentials: ssl_credentials or local_credentials is required; no others are known here")]
    [InlineData(""" "channel_credentials":{"ssl_credentials":{}},"call_credentials":[{"google_compute_engine":{}}] """, "call_credentials[0]: access_token, google_iam or from_plugin with envoy.grpc_credentials.file_based_metadata is required; no others are known here")]
    public void CredentialsOfGooglesOwn_AreRefused(string fields, string problem) => Assert.Contains(Path + problem, Read("\"target_uri\":\"x:1\"," + fields).Problems);
}
