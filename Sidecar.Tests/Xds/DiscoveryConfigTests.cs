using System.Linq;
using System.Text;
using Sidecar.Tests.Harness;
using Sidecar.Wire;
using Sidecar.Xds;
using Xunit;

namespace Sidecar.Tests.Xds;

/// <summary>dynamic_resources of bootstraps, Istio's among them: what is asked, where, and what is wrong, by path.</summary>
public sealed class DiscoveryConfigTests
{
    private const string Service = """{"envoy_grpc":{"cluster_name":"xds-grpc"}}""";

    private static (DiscoveryConfig Config, string Problems) Read(string dynamicResources)
    {
        var problems = new WireProblems();
        byte[]? bytes = Transcoder.ReadJson(Encoding.UTF8.GetBytes("{\"dynamic_resources\":" + dynamicResources + "}"), "envoy.config.bootstrap.v3.Bootstrap", problems);
        Assert.True(bytes is not null, string.Join("\n", problems.List));
        var config = DiscoveryConfig.Read(bytes, problems);
        return (config, string.Join("\n", problems.List.Select(problem => $"{problem.Kind} {problem.Path}: {problem.Reason}")));
    }

    private static string Ads(string type = "DELTA_GRPC", string services = Service, string version = "V3") =>
        $$"""{"ads_config":{"api_type":"{{type}}","transport_api_version":"{{version}}","grpc_services":[{{services}}] } }""";

    [Fact]
    public void IstiosBootstrap_IsDeltaAds_WithoutAFetchTimeout()
    {
        var (config, problems) = Read("""
            {
              "lds_config": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
              "cds_config": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
              "ads_config": {"api_type": "DELTA_GRPC", "set_node_on_first_message_only": true, "transport_api_version": "V3",
                             "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}]}
            }
            """);
        Assert.Equal("", problems);
        Assert.Equal("/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources", config.Ads!.Path);
        Assert.Equal("xds-grpc", config.Ads.Target.Cluster);
        Assert.Equal(["xds-grpc"], config.ControlPlanes);
        Assert.IsType<AdsOrigin>(config.Clusters);
        Assert.IsType<AdsOrigin>(config.Listeners);
        Assert.Equal(0, config.FetchTimeoutsMs[ResourceTypes.Cluster]);
        Assert.Equal(0, config.FetchTimeoutsMs[ResourceTypes.Listener]);
        Assert.True(config.IsUsed);
    }

    [Fact]
    public void NoDynamicResources_IsNoDiscovery()
    {
        var problems = new WireProblems();
        Assert.False(DiscoveryConfig.Read([], problems).IsUsed);
        Assert.Empty(problems.List);
    }

    [Theory]
    [InlineData("GRPC", "StreamAggregatedResources")]
    [InlineData("AGGREGATED_GRPC", "StreamAggregatedResources")]
    [InlineData("DELTA_GRPC", "DeltaAggregatedResources")]
    [InlineData("AGGREGATED_DELTA_GRPC", "DeltaAggregatedResources")]
    public void ApiType_IsTheMethod(string type, string method)
    {
        var (config, problems) = Read(Ads(type));
        Assert.Equal("", problems);
        Assert.EndsWith("/" + method, config.Ads!.Path);
    }

    [Theory]
    [InlineData("""{"cds_config":{"api_config_source":{"api_type":"GRPC","transport_api_version":"V3","grpc_services":[S]}}}""", "/envoy.service.cluster.v3.ClusterDiscoveryService/StreamClusters")]
    [InlineData("""{"cds_config":{"api_config_source":{"api_type":"DELTA_GRPC","transport_api_version":"V3","grpc_services":[S]}}}""", "/envoy.service.cluster.v3.ClusterDiscoveryService/DeltaClusters")]
    [InlineData("""{"lds_config":{"api_config_source":{"api_type":"DELTA_GRPC","transport_api_version":"V3","grpc_services":[S]}}}""", "/envoy.service.listener.v3.ListenerDiscoveryService/DeltaListeners")]
    [InlineData("""{"lds_config":{"api_config_source":{"api_type":"AGGREGATED_GRPC","transport_api_version":"V3","grpc_services":[S]}}}""", "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources")]
    public void SourceOfItsOwn_HasItsOwnService(string json, string path)
    {
        var (config, problems) = Read(json.Replace("S]", Service + "]"));
        Assert.Equal("", problems);
        Assert.Equal(path, Assert.IsType<GrpcOrigin>(config.Clusters ?? config.Listeners).Config.Path);
        Assert.Null(config.Ads);
        Assert.Equal(["xds-grpc"], config.ControlPlanes);
    }

    [Theory]
    [InlineData("cds_config", "/v3/discovery:clusters")]
    [InlineData("lds_config", "/v3/discovery:listeners")]
    public void Rest_IsTaken(string source, string path)
    {
        var (config, problems) = Read($$$"""{"{{{source}}}":{"api_config_source":{"api_type":"REST","transport_api_version":"V3","cluster_names":["plane"],"refresh_delay":"5s"} } }""");
        Assert.Equal("", problems);
        Assert.Equal(new RestSourceConfig("plane", path, 5000, 1000), Assert.IsType<RestOrigin>(config.Clusters ?? config.Listeners).Config);
        Assert.Equal(["plane"], config.ControlPlanes);
    }

    private const string RestPath = "Invalid dynamic_resources.cds_config.api_config_source.";

    [Theory]
    [InlineData(""" "cluster_names":["x"] """, RestPath + "refresh_delay: refresh_delay is required for REST API configuration sources")]
    [InlineData(""" "cluster_names":["x"],"refresh_delay":"0s" """, RestPath + "refresh_delay: must be at least 1 ms")]
    [InlineData(""" "cluster_names":["x"],"refresh_delay":"1s","request_timeout":"0s" """, RestPath + "request_timeout: must be at least 1 ms")]
    [InlineData(""" "refresh_delay":"1s" """, RestPath + "cluster_names: envoy.config.core.v3.ApiConfigSource must have a singleton cluster name specified")]
    [InlineData(""" "cluster_names":["x","y"],"refresh_delay":"1s" """, RestPath + "cluster_names: envoy.config.core.v3.ApiConfigSource must have a singleton cluster name specified")]
    [InlineData(""" "cluster_names":["x"],"refresh_delay":"1s","grpc_services":[{"envoy_grpc":{"cluster_name":"x"}}] """, RestPath + "grpc_services: envoy.config.core.v3.ApiConfigSource, if not a gRPC type, must not have a gRPC service specified")]
    public void WhatIsWrongWithRest_IsToldByPath(string fields, string problem) =>
        Assert.Equal(problem, Read($$$"""{"cds_config":{"api_config_source":{"api_type":"REST","transport_api_version":"V3",{{{fields}}} } } }""").Problems);

    [Theory]
    [InlineData(""" "cluster_names":["x"] """, "Invalid dynamic_resources.ads_config.cluster_names: envoy.config.core.v3.ApiConfigSource::(DELTA_)GRPC must not have a cluster name specified")]
    [InlineData(""" "refresh_delay":"1s" """, "Unsupported dynamic_resources.ads_config.refresh_delay: a stream is not polled")]
    [InlineData(""" "request_timeout":"1s" """, "Unsupported dynamic_resources.ads_config.request_timeout: a stream has no end")]
    public void WhatIsForRest_IsToldOfAStream(string field, string problem) =>
        Assert.Equal(problem, Read($$$"""{"ads_config":{"api_type":"GRPC","transport_api_version":"V3","grpc_services":[{{{Service}}}],{{{field}}} } }""").Problems);

    [Fact]
    public void Paths_AreTaken()
    {
        var (config, problems) = Read("""{"cds_config":{"path_config_source":{"path":"/a/cds.json","watched_directory":{"path":"/a"}}},"lds_config":{"path":"/b/lds.json"}}""");
        Assert.Equal("", problems);
        Assert.Equal(new PathOrigin("/a/cds.json", "/a"), config.Clusters);
        Assert.Equal(new PathOrigin("/b/lds.json", ""), config.Listeners);
    }

    [Fact]
    public void Service_HasAuthority_Metadata_Limit_AndBackoff()
    {
        var (config, problems) = Read(Ads(services: """
            {"envoy_grpc":{"cluster_name":"x","authority":"istiod.istio-system.svc","max_receive_message_length":1000,
             "retry_policy":{"retry_back_off":{"base_interval":"0.1s","max_interval":"2s"}}},
             "initial_metadata":[{"key":"ClusterId","value":"k"},{"key":"bin-x","raw_value":"AQI="}]}
            """));
        Assert.Equal("", problems);
        Assert.Equal("istiod.istio-system.svc", config.Ads!.Target.Authority);
        Assert.Equal(1000, config.Ads.Target.MessageBytesMax);
        Assert.Equal((100, 2000), (config.Ads.BackoffBaseMs, config.Ads.BackoffMaxMs));
        Assert.Equal(["clusterid=6B", "bin-x=0102"], config.Ads.Target.Metadata.Select(m => $"{m.Name}={System.Convert.ToHexString(m.Value)}"));
    }

    [Fact]
    public void SecondService_IsTheFailover_AndMustBeACluster()
    {
        var (config, problems) = Read(Ads(services: """ {"envoy_grpc":{"cluster_name":"x"}},{"envoy_grpc":{"cluster_name":"y"},"initial_metadata":[{"key":"t","value":"50%%"}]} """));
        Assert.Equal("", problems);
        Assert.Equal(["x", "y"], config.ControlPlanes);
        Assert.Equal("50%", System.Text.Encoding.UTF8.GetString(config.Ads!.Failover!.Metadata[0].Value));
    }

    [Fact]
    public void Backoff_HasEnvoysDefaults()
    {
        var (config, _) = Read(Ads());
        Assert.Equal((500, 30_000), (config.Ads!.BackoffBaseMs, config.Ads.BackoffMaxMs));
        (config, _) = Read(Ads(services: """{"envoy_grpc":{"cluster_name":"x"},"retry_policy":{"retry_back_off":{"base_interval":"0.3s"}}}"""));
        Assert.Equal((300, 3000), (config.Ads!.BackoffBaseMs, config.Ads.BackoffMaxMs));
    }

    [Theory]
    [InlineData("""{"cds_config":{"ads":{}}}""", "Invalid dynamic_resources.cds_config.ads: there is no dynamic_resources.ads_config to say where ADS is")]
    [InlineData("""{"lds_config":{"ads":{}}}""", "Invalid dynamic_resources.lds_config.ads: there is no dynamic_resources.ads_config to say where ADS is")]
    [InlineData("""{"cds_config":{}}""", "Invalid dynamic_resources.cds_config: says no source: ads, path_config_source or api_config_source is expected")]
    [InlineData("""{"cds_config":{"path_config_source":{"path":""}}}""", "Invalid dynamic_resources.cds_config.path_config_source.path: is empty; it must be the path of a file")]
    [InlineData("""{"cds_config":{"path":"/a/b.yaml"}}""", "Invalid dynamic_resources.cds_config.path: YAML is not read; convert it to JSON")]
    [InlineData("""{"ads_config":{"api_type":"REST","transport_api_version":"V3"}}""", "Invalid dynamic_resources.ads_config.api_type: must be GRPC or DELTA_GRPC")]
    [InlineData("""{"ads_config":{"api_type":"GRPC","transport_api_version":"V3"}}""", "Invalid dynamic_resources.ads_config.grpc_services: is empty; a gRPC service must say where the control plane is")]
    public void WhatIsWrong_IsToldByPath(string json, string problem) => Assert.Equal(problem, Read(json).Problems);

    [Theory]
    [InlineData(""" {"envoy_grpc":{"cluster_name":""}} """, "Invalid dynamic_resources.ads_config.grpc_services[0].envoy_grpc.cluster_name: must not be empty")]
    [InlineData(""" {"envoy_grpc":{"cluster_name":"x"},"initial_metadata":[{"key":":path","value":"v"}]} """, "Invalid dynamic_resources.ads_config.grpc_services[0].initial_metadata[0].key: ':path' is not a name of metadata")]
    [InlineData(""" {"envoy_grpc":{"cluster_name":"x"},"retry_policy":{"retry_back_off":{"base_interval":"0s"}}} """, "Invalid dynamic_resources.ads_config.grpc_services[0].retry_policy.retry_back_off.base_interval: must be at least 1 ms")]
    [InlineData(""" {"envoy_grpc":{"cluster_name":"x"},"retry_policy":{"retry_back_off":{"base_interval":"2s","max_interval":"1s"}}} """, "Invalid dynamic_resources.ads_config.grpc_services[0].retry_policy.retry_back_off.max_interval: must be greater than or equal to base_interval")]
    [InlineData(""" {"envoy_grpc":{"cluster_name":"x"}},{"envoy_grpc":{"cluster_name":"y"}},{"envoy_grpc":{"cluster_name":"z"}} """, "Invalid dynamic_resources.ads_config.grpc_services: envoy.config.core.v3.ApiConfigSource::(DELTA_)GRPC must have no more than 2 gRPC services specified")]
    [InlineData(""" {"envoy_grpc":{"cluster_name":"x"}},{"envoy_grpc":{"cluster_name":""}} """, "Invalid dynamic_resources.ads_config.grpc_services[1].envoy_grpc.cluster_name: must not be empty")]
    [InlineData(""" {"envoy_grpc":{"cluster_name":"x"},"timeout":"1s"} """, "Unsupported dynamic_resources.ads_config.grpc_services[0].timeout: a stream of discovery has no end, as in Envoy")]
    [InlineData(""" {"envoy_grpc":{"cluster_name":"x"},"retry_policy":{"num_retries":1}} """, "Unsupported dynamic_resources.ads_config.grpc_services[0].retry_policy.num_retries: a stream is opened again for as long as the process lives")]
    [InlineData(""" {"envoy_grpc":{"cluster_name":"x"},"initial_metadata":[{"key":"t","value":"%START_TIME%"}]} """, "Invalid dynamic_resources.ads_config.grpc_services[0].initial_metadata[0].value: commands such as %START_TIME% are not known here; a percent sign itself is written %%")]
    [InlineData(""" {"envoy_grpc":{"cluster_name":"x"},"initial_metadata":[{"key":"t","value":"a\r\nb"}]} """, "Invalid dynamic_resources.ads_config.grpc_services[0]: a value of its metadata holds a line end or NUL")]
    [InlineData("{}", "Invalid dynamic_resources.ads_config.grpc_services[0]: envoy_grpc or google_grpc is expected, to say where the control plane is")]
    public void WhatIsWrongWithAService_IsToldByPath(string services, string problem) => Assert.Equal(problem, Read(Ads(services: services)).Problems);

    [Theory]
    [InlineData("V2")]
    [InlineData("AUTO")]
    public void TransportOf2020_IsRefused(string version) =>
        Assert.Equal("Invalid dynamic_resources.ads_config.transport_api_version: must be V3: AUTO and V2 are the transport of 2020", Read(Ads(version: version)).Problems);

    [Fact]
    public void MalformedBytes_AreAProblem()
    {
        var problems = new WireProblems();
        Assert.False(DiscoveryConfig.Read([0x1A, 0x7F], problems).IsUsed);
        Assert.StartsWith("malformed bytes: ", problems.List.Single().Reason);
    }
}
