using System;
using System.Linq;
using System.Text;
using Sidecar.Config;
using Sidecar.Downstream;
using Sidecar.Telemetry.Stats;
using Xunit;

namespace Sidecar.Tests.Config;

/// <summary>What a listener is refused for, by the field's path, and what becomes of one that is fine.</summary>
public class ListenerTranslatorTests
{
    private const string Address = """ "address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}} """;
    private const string Tcp = """
        {"name": "envoy.filters.network.tcp_proxy", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "t", "cluster": "up"}}
        """;
    private const string Chains = """ "filter_chains": [{"filters": [@tcp]}] """;
    private const string Router = """{"name": "envoy.filters.http.router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}""";

    [Theory]
    [InlineData("@chains", "address", "is required")]
    [InlineData(""" "address": {"socket_address": {"address": "nowhere", "port_value": 1}}, @chains """, "address.socket_address.address", "malformed IP address: nowhere")]
    [InlineData(""" "address": {"socket_address": {"address": "127.0.0.1", "port_value": 65536}}, @chains """, "address.socket_address.port_value", "at most 65535")]
    [InlineData(""" "address": {"socket_address": {"address": "127.0.0.1"}}, @chains """, "address.socket_address.port_specifier", "value is required")]
    [InlineData(""" "address": {"socket_address": {"address": "127.0.0.1", "named_port": "http"}}, @chains """, "address.socket_address.named_port", "port_value")]
    [InlineData(""" "address": {"socket_address": {"protocol": "UDP", "address": "127.0.0.1", "port_value": 1}}, @chains """, "address.socket_address.protocol", "UDP")]
    [InlineData(""" "address": {"pipe": {"path": ""}}, @chains """, "address.pipe.path", "1 to 107")]
    [InlineData(""" "address": {"envoy_internal_address": {"server_listener_name": "x"}}, @chains """, "address.envoy_internal_address", "not supported")]
    [InlineData(""" @address, "additional_addresses": [{"address": {}}], @chains """, "additional_addresses[0].address", "is required")]
    [InlineData("@address", "filter_chains", "no filter chains specified")]
    [InlineData(""" @address, "filter_chains": [{"filters": []}] """, "filter_chains[0].filters", "closes every connection")]
    [InlineData(""" @address, "filter_chains": [{"filters": [{"name": "unknown"}]}] """, "filter_chains[0].filters[0]", "Didn't find a registered implementation for 'unknown'")]
    [InlineData(""" @address, "filter_chains": [{"filters": [@tcp, @tcp]}] """, "filter_chains[0].filters[0]", "must be the last filter")]
    [InlineData(""" @address, "filter_chains": [{"filters": [@tcp]}, {"filters": [@tcp]}] """, "filter_chains", "has the same matching rules")]
    [InlineData(""" @address, "filter_chains": [{"transport_socket": {"name": "envoy.transport_sockets.tls"}, "filters": [@tcp]}] """, "filter_chains[0].transport_socket.typed_config", "DownstreamTlsContext")]
    [InlineData(""" @address, "filter_chains": [{"use_proxy_proto": true, "filters": [@tcp]}] """, "filter_chains[0].use_proxy_proto", "proxy_protocol")]
    [InlineData(""" @address, "filter_chains": [{"filter_chain_match": {"destination_port": 0}, "filters": [@tcp]}] """, "filter_chains[0].filter_chain_match.destination_port", "1 to 65535")]
    [InlineData(""" @address, "filter_chains": [{"filter_chain_match": {"server_names": ["a*.org"]}, "filters": [@tcp]}] """, "filter_chains[0].filter_chain_match.server_names[0]", "partial wildcards")]
    [InlineData(""" @address, "filter_chains": [{"filter_chain_match": {"prefix_ranges": [{"address_prefix": "1.2.3"}]}, "filters": [@tcp]}] """, "filter_chains[0].filter_chain_match.prefix_ranges[0]", "not an address range")]
    [InlineData(""" @address, "filter_chains": [{"filter_chain_match": {"prefix_ranges": [{"address_prefix": "1.2.3.4", "prefix_len": 33}]}, "filters": [@tcp]}] """, "filter_chains[0].filter_chain_match.prefix_ranges[0]", "not an address range")]
    [InlineData(""" @address, "filter_chain_matcher": {}, @chains """, "filter_chain_matcher", "not supported")]
    [InlineData(""" @address, "per_connection_buffer_limit_bytes": 0, @chains """, "per_connection_buffer_limit_bytes", "at least 1")]
    [InlineData(""" @address, "listener_filters": [{"name": "unknown"}], @chains """, "listener_filters[0]", "unknown")]
    [InlineData(""" @address, "listener_filters": [{"name": "t", "typed_config": {"@type": "@tls", "initial_read_buffer_size": 255}}], @chains """, "listener_filters[0].typed_config.initial_read_buffer_size", "256 to 65536")]
    [InlineData(""" @address, "listener_filters": [{"name": "t", "typed_config": {"@type": "@tls", "max_client_hello_size": 16385}}], @chains """, "listener_filters[0].typed_config.max_client_hello_size", "256 to 16384")]
    [InlineData(""" @address, "listener_filters": [{"name": "envoy.filters.listener.http_inspector", "filter_disabled": {}}], @chains """, "listener_filters[0].filter_disabled", "needs one of")]
    [InlineData(""" @address, "listener_filters": [{"name": "envoy.filters.listener.http_inspector", "filter_disabled": {"any_match": false}}], @chains """, "listener_filters[0].filter_disabled.any_match", "must equal true")]
    [InlineData(""" @address, "listener_filters": [{"name": "envoy.filters.listener.http_inspector", "filter_disabled": {"or_match": {"rules": [{"any_match": true}]}}}], @chains """, "listener_filters[0].filter_disabled.or_match.rules", "at least 2")]
    public void Refused_ByItsPath(string members, string path, string reason)
    {
        var error = Assert.Single(Build(members, out _).Errors);
        Assert.Equal("listener test", error.Resource);
        Assert.Equal(path, error.Path);
        Assert.Contains(reason, error.Reason);
    }

    [Theory]
    [InlineData(""" "stat_prefix": "", "route_config": {} """, "stat_prefix", "must not be empty")]
    [InlineData(""" "stat_prefix": "t" """, "route_specifier", "set rds or route_config")]
    [InlineData(""" "stat_prefix": "t", "rds": {"config_source": {"ads": {}}} """, "rds.route_config_name", "must not be empty")]
    [InlineData(""" "stat_prefix": "t", "codec_type": "HTTP3", "route_config": {} """, "codec_type", "HTTP3")]
    [InlineData(""" "stat_prefix": "t", "route_config": {}, "upgrade_configs": [{"upgrade_type": "a"}, {"upgrade_type": "A"}] """, "upgrade_configs[1].upgrade_type", "multiple upgrade configs")]
    [InlineData(""" "stat_prefix": "t", "route_config": {}, "max_request_headers_kb": 8193 """, "max_request_headers_kb", "at most 8192")]
    [InlineData(""" "stat_prefix": "t", "route_config": {}, "common_http_protocol_options": {"max_headers_count": 0} """, "common_http_protocol_options.max_headers_count", "greater than or equal to 1")]
    [InlineData(""" "stat_prefix": "t", "route_config": {}, "stream_idle_timeout": "-1s" """, "stream_idle_timeout", "not a valid duration")]
    [InlineData(""" "stat_prefix": "t", "route_config": {}, "internal_address_config": {"cidr_ranges": [{"address_prefix": "x"}]} """, "internal_address_config.cidr_ranges[0]", "not an address range")]
    public void ConnectionManager_Refused_ByItsPath(string members, string path, string reason)
    {
        var error = Assert.Single(Build(Manager(members, "@router"), out _).Errors);
        Assert.Equal("filter_chains[0].filters[0].typed_config." + path, error.Path);
        Assert.Contains(reason, error.Reason);
    }

    [Theory]
    [InlineData("", "http_filters", "must not be empty")]
    [InlineData("""{"name": "mixer"}""", "http_filters[0]", "non-terminal filter 'mixer' is the last filter")]
    [InlineData("""@router, {"name": "mixer"}""", "http_filters[0]", "must be the last filter")]
    [InlineData("""{"name": "envoy.filters.http.jwt_authn"}, @router""", "http_filters[0]", "Didn't find a registered implementation")]
    public void HttpFilters_Refused_ByTheirPath(string filters, string path, string reason)
    {
        var error = Build(Manager(""" "stat_prefix": "t", "route_config": {} """, filters), out _).Errors[0];
        Assert.Equal("filter_chains[0].filters[0].typed_config." + path, error.Path);
        Assert.Contains(reason, error.Reason);
    }

    [Fact]
    public void EveryProblem_IsNamedAtOnce() =>
        Assert.Equal(3, Build(""" "address": {}, "per_connection_buffer_limit_bytes": 0, "filter_chains": [{"filters": [{"name": "unknown"}]}] """, out _).Errors.Count);

    [Fact]
    public void ObservingFilter_IsTakenWithoutEffect()
    {
        var result = Build(Manager(""" "stat_prefix": "t", "route_config": {} """, """{"name": "mixer"}, {"name": "istio_authn"}, @router"""), out _);
        Assert.Empty(result.Errors);
        Assert.Contains(result.WithoutEffect, e => e.Reason.Contains("mixer: replaced by istio.stats", StringComparison.Ordinal));
        Assert.Contains(result.WithoutEffect, e => e.Reason.Contains("istio_authn: replaced by the mTLS identity", StringComparison.Ordinal));
    }

    /// <summary>What a filter is its configuration's type says, not its name: none that decides about access is taken for one that observes.</summary>
    [Theory]
    [InlineData("istio.stats", "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor", "")]
    [InlineData("mixer", "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication", "")]
    [InlineData("istio.metadata_exchange", "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz", "")]
    [InlineData("istio.stats", "envoy.extensions.filters.http.wasm.v3.Wasm", "")]
    [InlineData("istio_authn", "istio.envoy.config.filter.http.authn.v2alpha1.FilterConfig", "")]
    [InlineData("envoy.filters.http.jwt_authn", "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication", """, "is_optional": true""")]
    [InlineData("anything", "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz", """, "is_optional": true""")]
    public void FilterThatDecidesAboutAccess_IsRefused_WhateverItsName(string name, string type, string more)
    {
        foreach (string config in new[] { Typed(type), Struct(type) })
        {
            var error = Build(Manager(""" "stat_prefix": "t", "route_config": {} """, $$"""{"name": "{{name}}", "typed_config": {{config}} {{more}} }, @router"""), out _).Errors[0];
            Assert.Equal("filter_chains[0].filters[0].typed_config.http_filters[0]", error.Path);
            Assert.StartsWith($"Didn't find a registered implementation for '{name}'", error.Reason, StringComparison.Ordinal);
        }
        Assert.Equal("filter_chains[0].filters[0]", Build($$""" @address, "filter_chains": [{"filters": [{"name": "{{name}}", "typed_config": {{Struct(type)}} }, @tcp]}] """, out _).Errors[0].Path);
    }

    [Fact]
    public void OptionalFilterThatNobodyKnows_IsPassedOver()
    {
        var result = Build(Manager(""" "stat_prefix": "t", "route_config": {} """, """{"name": "own", "is_optional": true}, @router"""), out _);
        Assert.Empty(result.Errors);
        Assert.Contains(result.WithoutEffect, e => e.Reason == "optional filter 'own' is not known here");
    }

    [Theory]
    [InlineData("stats.PluginConfig", "istio metrics are not produced")]
    [InlineData("io.istio.http.peer_metadata.Config", "peer metadata is not exchanged")]
    public void ObservingFilterOfAnyName_IsTakenWithoutEffect(string type, string reason)
    {
        var result = Build(Manager(""" "stat_prefix": "t", "route_config": {} """, $$"""{"name": "mine", "typed_config": {{Struct(type)}} }, @router"""), out _);
        Assert.Empty(result.Errors);
        Assert.Contains(result.WithoutEffect, e => e.Reason.StartsWith("mine: " + reason, StringComparison.Ordinal));
    }

    private static string Typed(string type) => $$"""{"@type": "type.googleapis.com/{{type}}"}""";

    private static string Struct(string type) => $$"""{"@type": "type.googleapis.com/xds.type.v3.TypedStruct", "type_url": "type.googleapis.com/{{type}}", "value": {} }""";

    [Fact]
    public void FieldsWithoutEffect_AreNamed()
    {
        var result = Build(""" @address, "tcp_fast_open_queue_length": 5, "enable_mptcp": true, @chains """, out _);
        Assert.Empty(result.Errors);
        Assert.Contains(result.WithoutEffect, e => e.Path == "tcp_fast_open_queue_length");
        Assert.Contains(result.WithoutEffect, e => e.Path == "enable_mptcp");
    }

    [Fact]
    public void Fingerprints_AreNotMade()
    {
        var result = Build(""" @address, "listener_filters": [{"name": "t", "typed_config": {"@type": "@tls", "enable_ja3_fingerprinting": true, "enable_ja4_fingerprinting": true}}], @chains """, out _);
        Assert.Empty(result.Errors);
        Assert.Contains(result.WithoutEffect, e => e.Path == "listener_filters[0].typed_config.enable_ja3_fingerprinting");
        Assert.Contains(result.WithoutEffect, e => e.Path == "listener_filters[0].typed_config.enable_ja4_fingerprinting");
    }

    [Fact]
    public void Fields_AreTaken()
    {
        Assert.Empty(Build(""" @address, "traffic_direction": "INBOUND", "use_original_dst": true, "bind_to_port": false, "listener_filters_timeout": "2s", "continue_on_listener_filters_timeout": true, "per_connection_buffer_limit_bytes": 32768, "default_filter_chain": {"filters": [@tcp]}, @chains """, out var listener).Errors);
        Assert.Equal(TrafficDirection.Inbound, listener!.Direction);
        Assert.True(listener.UseOriginalDst);
        Assert.False(listener.BindToPort);
        Assert.Equal(2_000, listener.ListenerFiltersTimeoutMs);
        Assert.True(listener.ContinueOnListenerFiltersTimeout);
        Assert.Equal(32768, listener.BufferLimitBytes);
        Assert.NotNull(listener.DefaultChain);
        Assert.Equal("127.0.0.1:1", listener.Addresses[0].Address.ToString());
    }

    [Fact]
    public void DeprecatedV1_BindToPort_IsHeard()
    {
        Assert.Empty(Build(""" @address, "deprecated_v1": {"bind_to_port": false}, @chains """, out var listener).Errors);
        Assert.False(listener!.BindToPort);
    }

    [Fact]
    public void Defaults_AreEnvoys()
    {
        Build(""" @address, @chains """, out var listener);
        Assert.True(listener!.BindToPort);
        Assert.False(listener.UseOriginalDst);
        Assert.Equal(15_000, listener.ListenerFiltersTimeoutMs);
        Assert.Equal(1024 * 1024, listener.BufferLimitBytes);
    }

    private static string Manager(string members, string filters) => """
        @address, "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": {
          "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", @members, "http_filters": [@filters]}}]}]
        """.Replace("@members", members, StringComparison.Ordinal).Replace("@filters", filters, StringComparison.Ordinal);

    private static SnapshotBuilder.Result Build(string members, out ListenerConfig? listener)
    {
        string json = """
            {"static_resources": {"clusters": [{"name": "up", "type": "STATIC", "connect_timeout": "1s", "load_assignment": {"cluster_name": "up"}}],
             "listeners": [{"name": "test", @members}]}}
            """.Replace("@members", members, StringComparison.Ordinal).Replace("@chains", Chains, StringComparison.Ordinal)
            .Replace("@address", Address, StringComparison.Ordinal).Replace("@tcp", Tcp, StringComparison.Ordinal).Replace("@router", Router, StringComparison.Ordinal)
            .Replace("@tls", "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector", StringComparison.Ordinal);
        var set = ResourceReader.ReadDocument(Encoding.UTF8.GetBytes(json), "test.json");
        Assert.DoesNotContain(set.Problems, p => p.IsError);
        var result = new SnapshotBuilder(new StatsRegistry(1), 1, "", () => 0).Build(set);
        listener = result.Snapshot.Listeners.SingleOrDefault();
        return result;
    }
}
