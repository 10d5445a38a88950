using System;
using System.Linq;
using System.Text;
using Sidecar.Config;
using Sidecar.Config.Clusters;
using Sidecar.Filters;
using Sidecar.Routing;
using Sidecar.Telemetry.Stats;
using Sidecar.Upstream;
using Sidecar.Upstream.Discovery;
using Xunit;
using DnsFamily = Sidecar.Net.DnsFamily;
using WireCluster = Envoy.Config.Cluster.V3;
using WireEndpoint = Envoy.Config.Endpoint.V3;

namespace Sidecar.Tests.Config.Clusters;

/// <summary>Clusters and endpoints as JSON, and what comes of them; single quotes stand for double ones.</summary>
public sealed class ClusterTranslatorTests
{
    private const string Http = "'typed_extension_protocol_options': {'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {" +
        "'@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions', ";

    private const string HttpPath = "typed_extension_protocol_options[envoy.extensions.upstreams.http.v3.HttpProtocolOptions]";

    private static ConfigScope Scope() => ClusterTemplatesTests.Scope("test");

    private static byte[] Read(string type, string json)
    {
        var set = ResourceReader.ReadDocument(Encoding.UTF8.GetBytes($"{{'@type': 'type.googleapis.com/{type}', {json}}}".Replace('\'', '"')), "test.json");
        Assert.True(!set.HasErrors, string.Join("; ", set.Problems));
        return set.Resources.Single().Bytes.ToArray();
    }

    private static ClusterConfig? Translate(string fields, out ConfigScope scope)
    {
        scope = Scope();
        string name = fields.Contains("'name': ''", StringComparison.Ordinal) ? "" : "'name': 'c', ";
        return ClusterTranslator.Translate(WireCluster.Cluster.Parser.ParseFrom(Read("envoy.config.cluster.v3.Cluster", name + fields)), 1, scope);
    }

    private static ClusterConfig Accept(string fields)
    {
        var config = Translate(fields, out var scope);
        Assert.True(config is not null, string.Join("; ", scope.Rejections));
        return config;
    }

    private static string Ignored(string fields)
    {
        Assert.NotNull(Translate(fields, out var scope));
        return string.Join("; ", scope.Ignored.Select(p => p.Path));
    }

    private static EndpointSet? Endpoints(string fields, out ConfigScope scope)
    {
        scope = Scope();
        return EndpointTranslator.Translate(
            WireEndpoint.ClusterLoadAssignment.Parser.ParseFrom(Read("envoy.config.endpoint.v3.ClusterLoadAssignment", "'cluster_name': 'c', " + fields)), false, scope);
    }

    private static string Host(string address, int port = 80) => $"{{'endpoint': {{'address': {{'socket_address': {{'address': '{address}', 'port_value': {port}}}}}}}}}";

    private static string Assignment(params string[] hosts) => $"'load_assignment': {{'cluster_name': 'c', 'endpoints': [{{'lb_endpoints': [{string.Join(", ", hosts)}]}}]}}";

    [Fact]
    public void Minimal_HasEnvoysDefaults()
    {
        var config = Accept("'type': 'STATIC'");
        Assert.Equal(DiscoveryType.Static, config.Type);
        Assert.Equal(LbPolicy.RoundRobin, config.LbPolicy);
        Assert.Equal(5000, config.ConnectTimeoutMs);
        Assert.Equal(1024 * 1024, config.BufferLimitBytes);
        Assert.Equal(50, config.PanicThresholdPercent);
        Assert.Equal(UpstreamProtocol.Http1, config.Http.Protocol);
        Assert.Equal(3_600_000, config.Http.IdleTimeoutMs);
        Assert.Equal(CircuitBreakerThresholds.Default, config.Breakers.Default);
        Assert.Equal(CircuitBreakerThresholds.Default, config.Breakers.HighPriority);
        Assert.Equal("envoy.transport_sockets.raw_buffer", config.Transport.Name);
        Assert.Equal(0, config.StaticHosts!.Count);
        Assert.Equal("cluster.c.", config.Stats.Prefix);
    }

    [Fact]
    public void SeedCluster_InboundStatic_IsTaken()
    {
        var config = Accept(
            "'type': 'STATIC', 'connect_timeout': '10s', 'circuit_breakers': {'thresholds': [{'max_connections': 4294967295, 'max_pending_requests': 4294967295, " +
            "'max_requests': 4294967295, 'max_retries': 4294967295}]}, 'http2_protocol_options': {'max_concurrent_streams': 1073741824}, " + Assignment(Host("127.0.0.1", 8888)));
        Assert.Equal(10_000, config.ConnectTimeoutMs);
        Assert.Equal(UpstreamProtocol.Http2, config.Http.Protocol);
        Assert.Equal(1073741824, config.Http.Http2.MaxConcurrentStreams);
        Assert.Equal(uint.MaxValue, config.Breakers.Default.MaxRequests);
        Assert.Equal("127.0.0.1:8888", config.StaticHosts!.Priorities[0].Hosts[0].Name);
    }

    [Fact]
    public void IstioOutbound_Eds_IsTaken()
    {
        var config = Accept(
            "'type': 'EDS', 'eds_cluster_config': {'eds_config': {'ads': {}}, 'service_name': 'outbound|80||a'}, 'lb_policy': 'LEAST_REQUEST', 'alt_stat_name': 'outbound|80||a;', " +
            "'least_request_lb_config': {'choice_count': 3, 'active_request_bias': {'default_value': 0.5, 'runtime_key': 'x'}}, 'common_lb_config': {'healthy_panic_threshold': {'value': 20}, 'locality_weighted_lb_config': {}}, " +
            "'metadata': {'filter_metadata': {'istio': {'default_original_port': 80, 'services': [{'host': 'a'}]}}}, " +
            "'transport_socket_matches': [{'name': 'tlsMode-disabled', 'match': {}, 'transport_socket': {'name': 'envoy.transport_sockets.raw_buffer', " +
            "'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer'}}}]");
        Assert.Equal("outbound|80||a", config.ServiceName);
        Assert.Equal("outbound|80||a;", config.StatName);
        Assert.Equal((LbPolicy.LeastRequest, 3, 0.5), (config.LbPolicy, config.ChoiceCount, config.ActiveRequestBias));
        Assert.Equal(20, config.PanicThresholdPercent);
        Assert.True(config.LocalityWeighted);
        Assert.Equal("a", config.Metadata.Find("istio", "services")!.Items[0].Find("host")!.Text);
        Assert.Equal(80, config.Metadata.Find("istio", "default_original_port")!.Number);
        Assert.Equal("tlsMode-disabled", config.TransportMatches.Single().Name);
    }

    [Fact]
    public void IstioInboundPassthrough_OriginalDst_IsTaken()
    {
        var config = Accept(
            "'type': 'ORIGINAL_DST', 'lb_policy': 'CLUSTER_PROVIDED', 'cleanup_interval': '60s', " +
            "'upstream_bind_config': {'source_address': {'address': '127.0.0.6', 'port_value': 0}, 'freebind': true, 'extra_source_addresses': [{'address': {'address': '::6', 'port_value': 0}}], " +
            "'socket_options': [{'level': 1, 'name': 36, 'int_value': 1337}]}, 'original_dst_lb_config': {'use_http_header': true, 'upstream_port_override': 8080}, " +
            "'upstream_connection_options': {'tcp_keepalive': {'keepalive_time': 300}}, " +
            Http + "'common_http_protocol_options': {'idle_timeout': '300s', 'max_requests_per_connection': 7, 'max_connection_duration': '60s', 'max_stream_duration': '5s'}, " +
            "'use_downstream_protocol_config': {'http_protocol_options': {}, 'http2_protocol_options': {}}}}");
        Assert.Equal(UpstreamProtocol.Downstream, config.Http.Protocol);
        Assert.Equal((300_000L, 7u, 60_000L, 5_000L), (config.Http.IdleTimeoutMs, config.Http.MaxRequestsPerConnection, config.Http.MaxConnectionDurationMs, config.Http.MaxStreamDurationMs));
        Assert.Equal("127.0.0.6:0", config.Connect.Source.ToString());
        Assert.Equal("[::6]:0", config.Connect.OtherFamilySource.ToString());
        Assert.True(config.Connect.FreeBind);
        Assert.Equal(1337, config.Connect.Mark);
        Assert.Equal(300, config.Connect.KeepAlive!.IdleSeconds);
        Assert.Equal(("x-envoy-original-dst-host", (ushort)8080), (config.OriginalDst.HeaderName, config.OriginalDst.PortOverride));
        Assert.Equal(60_000, config.CleanupIntervalMs);
    }

    [Fact]
    public void StrictDns_IsTaken()
    {
        var config = Accept(
            "'type': 'STRICT_DNS', 'dns_refresh_rate': '60s', 'dns_jitter': '0.1s', 'respect_dns_ttl': true, 'dns_lookup_family': 'V4_ONLY', " +
            "'dns_failure_refresh_rate': {'base_interval': '1s', 'max_interval': '10s'}, " + Assignment(Host("example.com"), Host("10.0.0.1")));
        Assert.Equal(new DnsRefresh { RateMs = 60_000, JitterMs = 100, RespectTtl = true, Family = DnsFamily.V4Only, FailureBaseMs = 1000, FailureMaxMs = 10_000 }, config.Dns);
        Assert.Equal(["example.com", ""], config.Endpoints!.Localities[0].Endpoints.Select(e => e.DnsName));
        Assert.Null(config.StaticHosts);
    }

    [Fact]
    public void Breakers_ByPriorityAndPerHost()
    {
        var breakers = Accept(
            "'circuit_breakers': {'thresholds': [{'max_connections': 1}, {'priority': 'HIGH', 'max_retries': 9, 'track_remaining': true, 'retry_budget': {'budget_percent': {'value': 25}, 'min_retry_concurrency': 5}}], " +
            "'per_host_thresholds': [{'max_connections': 4}]}").Breakers;
        Assert.Equal((1u, 1024u), (breakers.Default.MaxConnections, breakers.Default.MaxRequests));
        Assert.Equal((9u, 1024u, true), (breakers.HighPriority.MaxRetries, breakers.HighPriority.MaxConnections, breakers.HighPriority.TrackRemaining));
        Assert.Equal(new RetryBudget(25, 5), breakers.HighPriority.RetryBudget);
        Assert.Equal(4u, breakers.PerHost!.MaxConnections);
    }

    [Fact]
    public void TypedPolicy_TheFirstKnownOne_IsTaken()
    {
        var config = Accept(
            "'lb_policy': 'LOAD_BALANCING_POLICY_CONFIG', 'load_balancing_policy': {'policies': [{'typed_extension_config': {'name': 'lr', " +
            "'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest', 'choice_count': 5}}}]}");
        Assert.Equal((LbPolicy.LeastRequest, 5), (config.LbPolicy, config.ChoiceCount));
    }

    [Theory]
    [InlineData("'explicit_http_config': {'http_protocol_options': {'enable_trailers': true}}", (int)UpstreamProtocol.Http1)]
    [InlineData("'explicit_http_config': {'http2_protocol_options': {}}", (int)UpstreamProtocol.Http2)]
    [InlineData("'use_downstream_protocol_config': {'http2_protocol_options': {}}", (int)UpstreamProtocol.Downstream)]
    [InlineData("'use_downstream_protocol_config': {}", (int)UpstreamProtocol.Http1)]
    public void HttpProtocol_Typed(string choice, int protocol) => Assert.Equal((UpstreamProtocol)protocol, Accept(Http + choice + "}}").Http.Protocol);

    [Theory]
    [InlineData("'name': ''", "name")]
    [InlineData("'cluster_type': {'name': 'envoy.clusters.redis'}", "cluster_type")]
    [InlineData("'type': 'EDS'", "eds_cluster_config")]
    [InlineData("'type': 'STATIC', 'eds_cluster_config': {'eds_config': {'ads': {}}}", "eds_cluster_config")]
    [InlineData("'connect_timeout': '0s'", "connect_timeout")]
    [InlineData("'cleanup_interval': '0s'", "cleanup_interval")]
    [InlineData("'dns_refresh_rate': '0.001s'", "dns_refresh_rate")]
    [InlineData("'dns_failure_refresh_rate': {'max_interval': '1s'}", "dns_failure_refresh_rate.base_interval")]
    [InlineData("'dns_failure_refresh_rate': {'base_interval': '5s', 'max_interval': '1s'}", "dns_failure_refresh_rate.max_interval")]
    [InlineData("'lb_policy': 'RING_HASH'", "lb_policy")]
    [InlineData("'lb_policy': 'MAGLEV'", "lb_policy")]
    [InlineData("'lb_policy': 'CLUSTER_PROVIDED'", "lb_policy")]
    [InlineData("'type': 'ORIGINAL_DST'", "lb_policy")]
    [InlineData("'type': 'ORIGINAL_DST', 'lb_policy': 'CLUSTER_PROVIDED', 'load_assignment': {'cluster_name': 'c'}", "load_assignment")]
    [InlineData("'type': 'ORIGINAL_DST', 'lb_policy': 'CLUSTER_PROVIDED', 'original_dst_lb_config': {'upstream_port_override': 65536}", "original_dst_lb_config.upstream_port_override")]
    [InlineData("'type': 'ORIGINAL_DST', 'lb_policy': 'CLUSTER_PROVIDED', 'original_dst_lb_config': {'metadata_key': {'key': 'a'}}", "original_dst_lb_config.metadata_key")]
    [InlineData("'type': 'LOGICAL_DNS'", "load_assignment")]
    [InlineData("'lb_policy': 'LEAST_REQUEST', 'least_request_lb_config': {'choice_count': 1}", "least_request_lb_config.choice_count")]
    [InlineData("'common_lb_config': {'healthy_panic_threshold': {'value': 101}}", "common_lb_config.healthy_panic_threshold.value")]
    [InlineData("'circuit_breakers': {'per_host_thresholds': [{'max_requests': 4}]}", "circuit_breakers.per_host_thresholds[0]")]
    [InlineData("'http_protocol_options': {}, 'http2_protocol_options': {}", "http2_protocol_options")]
    [InlineData("'http2_protocol_options': {'max_concurrent_streams': 0}", "http2_protocol_options.max_concurrent_streams")]
    [InlineData("'common_http_protocol_options': {'max_headers_count': 0}", "common_http_protocol_options.max_headers_count")]
    [InlineData("'common_http_protocol_options': {'max_response_headers_kb': 8193}", "common_http_protocol_options.max_response_headers_kb")]
    [InlineData("'transport_socket': {'name': 'envoy.transport_sockets.tls'}", "transport_socket.typed_config")]
    [InlineData("'transport_socket': {'name': 'x'}", "transport_socket")]
    [InlineData("'transport_socket_matches': [{'name': 'm', 'transport_socket': {'name': 'envoy.transport_sockets.tls'}}]", "transport_socket_matches[0].transport_socket.typed_config")]
    [InlineData("'transport_socket_matches': [{}]", "transport_socket_matches[0].name")]
    [InlineData("'lb_subset_config': {'subset_selectors': [{'keys': ['a']}]}", "lb_subset_config")]
    [InlineData("'filters': [{'name': 'envoy.filters.network.rbac'}]", "filters[0]")]
    [InlineData("'load_balancing_policy': {'policies': []}", "load_balancing_policy.policies")]
    [InlineData("'upstream_bind_config': {'source_address': {'address': 'localhost', 'port_value': 0}}", "upstream_bind_config.source_address.address")]
    [InlineData("'upstream_bind_config': {'socket_options': [{'level': 6, 'name': 13, 'int_value': 1}]}", "upstream_bind_config.socket_options[0]")]
    [InlineData(Http + "'explicit_http_config': {}}}", HttpPath + ".explicit_http_config.protocol_config")]
    [InlineData(Http + "'common_http_protocol_options': {}}}", HttpPath + ".upstream_protocol_options")]
    [InlineData(Http + "'auto_config': {}}}", HttpPath + ".auto_config")]
    [InlineData("'upstream_http_protocol_options': {'override_auto_sni_header': 'a b'}", "upstream_http_protocol_options.override_auto_sni_header")]
    [InlineData(Http + "'explicit_http_config': {'http2_protocol_options': {}}, 'http_filters': [{'name': 'envoy.filters.http.rbac'}]}}", HttpPath + ".http_filters[0]")]
    public void Refused_ByPath(string fields, string path)
    {
        Assert.Null(Translate(fields, out var scope));
        Assert.Equal(path, Assert.Single(scope.Rejections).Path);
        Assert.NotEmpty(scope.Rejections[0].Reason);
    }

    [Fact]
    public void Refused_EveryProblemIsNamed()
    {
        Assert.Null(Translate("'type': 'EDS', 'lb_policy': 'MAGLEV', 'connect_timeout': '0s', 'transport_socket': {'name': 'envoy.transport_sockets.tls'}", out var scope));
        Assert.Equal(["connect_timeout", "eds_cluster_config", "lb_policy", "transport_socket.typed_config"], scope.Rejections.Select(p => p.Path).Order(StringComparer.Ordinal));
    }

    [Theory]
    [InlineData("'outlier_detection': {}", "outlier_detection")]
    [InlineData("'filters': [{'name': 'istio.metadata_exchange'}]", "filters[0]")]
    [InlineData("'lb_policy': 'ROUND_ROBIN', 'round_robin_lb_config': {'slow_start_config': {}}", "round_robin_lb_config.slow_start_config")]
    [InlineData("'common_lb_config': {'zone_aware_lb_config': {}}", "common_lb_config.zone_aware_lb_config")]
    [InlineData("'preconnect_policy': {}", "preconnect_policy")]
    [InlineData("'track_timeout_budgets': true", "track_timeout_budgets")]
    [InlineData("'upstream_connection_options': {'happy_eyeballs_config': {}}", "upstream_connection_options.happy_eyeballs_config")]
    [InlineData("'circuit_breakers': {'thresholds': [{'max_requests': 1}, {'max_requests': 2}]}", "circuit_breakers.thresholds[1]")]
    [InlineData("'http2_protocol_options': {}, " + Http + "'explicit_http_config': {'http_protocol_options': {}}}}", "http2_protocol_options")]
    [InlineData(Http + "'explicit_http_config': {'http_protocol_options': {}}, 'upstream_http_protocol_options': {'auto_sni': true}}}", HttpPath + ".upstream_http_protocol_options.auto_sni")]
    [InlineData("'upstream_http_protocol_options': {'auto_san_validation': true}", "upstream_http_protocol_options.auto_san_validation")]
    [InlineData("'upstream_http_protocol_options': {'override_auto_sni_header': 'x'}", "upstream_http_protocol_options.override_auto_sni_header")]
    [InlineData("'common_http_protocol_options': {'max_headers_count': 32769}", "common_http_protocol_options.max_headers_count")]
    [InlineData("'common_http_protocol_options': {'max_headers_count': 32768}", "")]
    [InlineData("'type': 'STATIC'", "")]
    public void WithoutEffect_IsReportedByPath(string fields, string path) => Assert.Equal(path, Ignored(fields));

    // ---- endpoints ------------------------------------------------------------------------------------------

    [Fact]
    public void Endpoints_EverythingIsRead()
    {
        var endpoints = Endpoints(
            "'policy': {'overprovisioning_factor': 200, 'weighted_priority_health': true}, 'endpoints': [" +
            "{'locality': {'region': 'r', 'zone': 'z', 'sub_zone': 's'}, 'load_balancing_weight': 3, 'priority': 1, 'lb_endpoints': [" +
            "{'endpoint': {'hostname': 'h', 'address': {'socket_address': {'address': '::1', 'port_value': 81}}}, 'health_status': 'DRAINING', 'load_balancing_weight': 5, " +
            "'metadata': {'filter_metadata': {'envoy.transport_socket_match': {'tlsMode': 'istio'}}}}]}, " +
            "{'lb_endpoints': [{'endpoint': {'address': {'pipe': {'path': '/run/app.sock'}}}}]}]", out _)!;
        Assert.Equal((200u, true), (endpoints.OverprovisioningFactor, endpoints.WeightedPriorityHealth));
        var first = endpoints.Localities[0];
        Assert.Equal((new Locality("r", "z", "s"), 3u, 1u), (first.Locality, first.Weight, first.Priority));
        var host = first.Endpoints[0];
        Assert.Equal(("[::1]:81", "h", 5u, EdsHealth.Draining), (host.Address.ToString(), host.Hostname, host.Weight, host.Health));
        Assert.Equal("istio", host.Metadata.Find("envoy.transport_socket_match", "tlsMode")!.Text);
        Assert.Equal("/run/app.sock", endpoints.Localities[1].Endpoints[0].Address.ToString());
    }

    [Fact]
    public void Endpoints_Empty_IsLegal() => Assert.Empty(Endpoints("'endpoints': []", out _)!.Localities);

    [Theory]
    [InlineData("'policy': {'overprovisioning_factor': 0}", "policy.overprovisioning_factor")]
    [InlineData("'policy': {'drop_overloads': [{'category': 'x'}]}", "policy.drop_overloads[0]")]
    [InlineData("'endpoints': [{'priority': 129}]", "endpoints[0].priority")]
    [InlineData("'endpoints': [{'load_balancing_weight': 0}]", "endpoints[0].load_balancing_weight")]
    [InlineData("'endpoints': [{'lb_endpoints': [{}]}]", "endpoints[0].lb_endpoints[0].endpoint")]
    [InlineData("'endpoints': [{'lb_endpoints': [{'endpoint': {}}]}]", "endpoints[0].lb_endpoints[0].endpoint.address")]
    [InlineData("'endpoints': [{'lb_endpoints': [{'endpoint_name': 'x'}]}]", "endpoints[0].lb_endpoints[0].endpoint_name")]
    [InlineData("'endpoints': [{'lb_endpoints': [{'endpoint': {'address': {'socket_address': {'address': 'host', 'port_value': 1}}}}]}]", "endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address")]
    [InlineData("'endpoints': [{'lb_endpoints': [{'endpoint': {'address': {'socket_address': {'address': '1.2.3.4', 'port_value': 65536}}}}]}]", "endpoints[0].lb_endpoints[0].endpoint.address.socket_address.port_value")]
    [InlineData("'endpoints': [{'lb_endpoints': [{'load_balancing_weight': 0, 'endpoint': {'address': {'socket_address': {'address': '1.2.3.4', 'port_value': 1}}}}]}]", "endpoints[0].lb_endpoints[0].load_balancing_weight")]
    public void Endpoints_Refused_ByPath(string fields, string path)
    {
        Assert.Null(Endpoints(fields, out var scope));
        Assert.Equal(path, Assert.Single(scope.Rejections).Path);
    }
}
