using System;
using System.Collections.Generic;
using System.Text;

namespace Sidecar.Wire;

/// <summary>
/// 2020's names: what Envoy's v2 API called differently, and the fields v3 removed. The transcoder applies them while it reads,
/// so what it writes is v3 and nothing past it knows that v2 existed. Field numbers never changed; type names are aliases in the schema.
/// </summary>
internal static class V2Names
{
    /// <summary>How a field of 2020 becomes v3.</summary>
    internal enum Upgrade : byte
    {
        /// <summary>The same value under the target's name.</summary>
        Rename,

        /// <summary>Removed, without effect; the target is the reason, which is reported.</summary>
        Gone,

        /// <summary>An untyped configuration: typed by the extension's name, into typed_config.</summary>
        Config,

        /// <summary>A map of untyped configurations by the filter's name, into the target, a map of Any.</summary>
        ConfigMap,

        /// <summary>A TLS context: into transport_socket; the target is the type of the context.</summary>
        TlsContext,

        /// <summary>A list of addresses: into load_assignment.</summary>
        Hosts,

        /// <summary>A regular expression as text: into the target, a RegexMatcher.</summary>
        Regex,

        /// <summary>A list of texts: into the target, a list of StringMatcher by exact.</summary>
        ExactList,

        /// <summary>A list of regular expressions: into the target, a list of StringMatcher by safe_regex.</summary>
        RegexList,

        /// <summary>An object holding one BoolValue: into bind_to_port.</summary>
        BindToPort,

        /// <summary>The text of a query parameter, exact or (if the sibling regex says so) a regular expression: into string_match.</summary>
        QueryValue,

        /// <summary>Read together with its sibling.</summary>
        Sibling,

        /// <summary>One message: into the target, a list.</summary>
        ToList,

        /// <summary>Into common_http_protocol_options.idle_timeout.</summary>
        IdleTimeout,

        /// <summary>Header names: into custom_tags.</summary>
        HeaderTags,

        /// <summary>A text: into the target, a StringMatcher by prefix.</summary>
        Prefix,

        /// <summary>A bool: true means codec_client_type HTTP2.</summary>
        UseHttp2,

        /// <summary>A path as regular expression: into headers, as :path.</summary>
        PathHeader,

        /// <summary>A method: into headers, as :method.</summary>
        MethodHeader,

        /// <summary>A BoolValue: false means filter_enabled with 0 %.</summary>
        CorsEnabled,

        /// <summary>A runtime key: into runtime_fraction, with 0 as default.</summary>
        MirrorKey,
    }

    /// <summary>One field of 2020: its names and what becomes of it.</summary>
    internal sealed class LegacyField(string name, Upgrade upgrade, string target)
    {
        /// <summary>snake_case, UTF-8.</summary>
        public byte[] Name { get; } = Encoding.UTF8.GetBytes(name);

        /// <summary>camelCase, UTF-8.</summary>
        public byte[] JsonName { get; } = Camel(name);

        /// <summary>What becomes of it.</summary>
        public Upgrade Upgrade { get; } = upgrade;

        /// <summary>A field or type of v3, or a reason; see Upgrade.</summary>
        public string Target { get; } = target;

        private static byte[] Camel(string name)
        {
            var camel = new StringBuilder();
            for (int i = 0; i < name.Length; i++)
                camel.Append(name[i] == '_' ? char.ToUpperInvariant(name[++i]) : name[i]);
            return Encoding.UTF8.GetBytes(camel.ToString());
        }
    }

    /// <summary>Where an extension is named; the same old name means different things in different places.</summary>
    internal enum Place : byte { Network, Http, Listener, AccessLog, TransportSocket, Other }

    /// <summary>An extension by its old name: today's name, the type of its configuration, and of its configuration on a route.</summary>
    internal readonly record struct Extension(Place Place, string OldName, string Name, string Type, string RouteType);

    /// <summary>2020's fields of the v3 message of this full name, or null.</summary>
    public static LegacyField[]? Of(string fullName) => Fields.GetValueOrDefault(fullName);

    /// <summary>The legacy field of this name in either spelling, or null.</summary>
    public static LegacyField? Find(LegacyField[] fields, ReadOnlySpan<byte> name)
    {
        foreach (LegacyField field in fields)
        {
            if (name.SequenceEqual(field.Name) || name.SequenceEqual(field.JsonName))
                return field;
        }
        return null;
    }

    /// <summary>Where the extension holders of 2020 stand; false for a message that names no extension.</summary>
    public static bool TryPlace(string fullName, out Place place)
    {
        Place? found = fullName switch
        {
            "envoy.config.listener.v3.Filter" => Place.Network,
            "envoy.config.listener.v3.ListenerFilter" => Place.Listener,
            "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter" => Place.Http,
            "envoy.config.accesslog.v3.AccessLog" => Place.AccessLog,
            "envoy.config.core.v3.TransportSocket" => Place.TransportSocket,
            "envoy.config.trace.v3.Tracing.Http" or "envoy.config.metrics.v3.StatsSink" or
            "envoy.config.route.v3.RetryPolicy.RetryHostPredicate" or "envoy.config.route.v3.RetryPolicy.RetryPriority" => Place.Other,
            _ => null,
        };
        place = found ?? Place.Other;
        return found is not null;
    }

    /// <summary>The extension of this old or new name in this place; false when nobody knows it ("mixer").</summary>
    public static bool TryExtension(Place place, ReadOnlySpan<byte> name, out Extension extension)
    {
        string text = Encoding.UTF8.GetString(name);
        foreach (Extension candidate in Extensions)
        {
            if (candidate.Place == place && (candidate.OldName == text || candidate.Name == text))
            {
                extension = candidate;
                return true;
            }
        }
        extension = default;
        return false;
    }

    /// <summary>The number of an enum value's name that v3 changed.</summary>
    public static bool TryEnumValue(string enumName, ReadOnlySpan<byte> value, out int number)
    {
        (string Enum, string Value, int Number)[] renamed =
        [
            ("envoy.config.cluster.v3.Cluster.LbPolicy", "ORIGINAL_DST_LB", 6),      // today's CLUSTER_PROVIDED
            ("envoy.config.core.v3.ApiConfigSource.ApiType", "UNSUPPORTED_REST_LEGACY", 0),
            ("envoy.config.listener.v3.FilterChainMatch.ConnectionSourceType", "LOCAL", 1),
            ("envoy.config.trace.v3.ZipkinConfig.CollectorEndpointVersion", "HTTP_JSON_V1", 0),
        ];
        foreach ((string candidate, string old, int value3) in renamed)
        {
            if (candidate == enumName && Encoding.UTF8.GetString(value) == old)
            {
                number = value3;
                return true;
            }
        }
        number = 0;
        return false;
    }

    /// <summary>
    /// The type of an Any that 2020 had as a plain message (the resources inside of a dump's sections), or null.
    /// </summary>
    public static string? PlainType(string message, ReadOnlySpan<byte> field) => message switch
    {
        "envoy.admin.v3.ClustersConfigDump.StaticCluster" or "envoy.admin.v3.ClustersConfigDump.DynamicCluster" => "envoy.config.cluster.v3.Cluster",
        "envoy.admin.v3.ListenersConfigDump.StaticListener" or "envoy.admin.v3.ListenersConfigDump.DynamicListenerState" => "envoy.config.listener.v3.Listener",
        "envoy.admin.v3.RoutesConfigDump.StaticRouteConfig" or "envoy.admin.v3.RoutesConfigDump.DynamicRouteConfig" => "envoy.config.route.v3.RouteConfiguration",
        "envoy.admin.v3.EndpointsConfigDump.StaticEndpointConfig" or "envoy.admin.v3.EndpointsConfigDump.DynamicEndpointConfig" => "envoy.config.endpoint.v3.ClusterLoadAssignment",
        "envoy.admin.v3.SecretsConfigDump.StaticSecret" or "envoy.admin.v3.SecretsConfigDump.DynamicSecret" => "envoy.extensions.transport_sockets.tls.v3.Secret",
        _ => null,
    };

    /// <summary>All extensions known by an old name.</summary>
    internal static readonly Extension[] Extensions =
    [
        new(Place.Network, "envoy.tcp_proxy", "envoy.filters.network.tcp_proxy", "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", ""),
        new(Place.Network, "envoy.http_connection_manager", "envoy.filters.network.http_connection_manager", "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", ""),
        new(Place.Network, "envoy.echo", "envoy.filters.network.echo", "envoy.extensions.filters.network.echo.v3.Echo", ""),
        new(Place.Network, "envoy.ext_authz", "envoy.filters.network.ext_authz", "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz", ""),
        new(Place.Network, "envoy.mongo_proxy", "envoy.filters.network.mongo_proxy", "envoy.extensions.filters.network.mongo_proxy.v3.MongoProxy", ""),
        new(Place.Network, "envoy.ratelimit", "envoy.filters.network.ratelimit", "envoy.extensions.filters.network.ratelimit.v3.RateLimit", ""),
        new(Place.Network, "envoy.redis_proxy", "envoy.filters.network.redis_proxy", "envoy.extensions.filters.network.redis_proxy.v3.RedisProxy", ""),
        new(Place.Network, "envoy.filters.network.sni_cluster", "envoy.filters.network.sni_cluster", "envoy.extensions.filters.network.sni_cluster.v3.SniCluster", ""),
        new(Place.Network, "envoy.filters.network.rbac", "envoy.filters.network.rbac", "envoy.extensions.filters.network.rbac.v3.RBAC", ""),
        new(Place.Http, "envoy.router", "envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router", ""),
        new(Place.Http, "envoy.cors", "envoy.filters.http.cors", "envoy.extensions.filters.http.cors.v3.Cors", "envoy.config.route.v3.CorsPolicy"),
        new(Place.Http, "envoy.fault", "envoy.filters.http.fault", "envoy.extensions.filters.http.fault.v3.HTTPFault", "envoy.extensions.filters.http.fault.v3.HTTPFault"),
        new(Place.Http, "envoy.buffer", "envoy.filters.http.buffer", "envoy.extensions.filters.http.buffer.v3.Buffer", "envoy.extensions.filters.http.buffer.v3.BufferPerRoute"),
        new(Place.Http, "envoy.csrf", "envoy.filters.http.csrf", "envoy.extensions.filters.http.csrf.v3.CsrfPolicy", "envoy.extensions.filters.http.csrf.v3.CsrfPolicy"),
        new(Place.Http, "envoy.ext_authz", "envoy.filters.http.ext_authz", "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz", "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute"),
        new(Place.Http, "envoy.grpc_http1_bridge", "envoy.filters.http.grpc_http1_bridge", "envoy.extensions.filters.http.grpc_http1_bridge.v3.Config", ""),
        new(Place.Http, "envoy.grpc_web", "envoy.filters.http.grpc_web", "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb", ""),
        new(Place.Http, "envoy.gzip", "envoy.filters.http.gzip", "envoy.extensions.filters.http.gzip.v3.Gzip", ""),
        new(Place.Http, "envoy.health_check", "envoy.filters.http.health_check", "envoy.extensions.filters.http.health_check.v3.HealthCheck", ""),
        new(Place.Http, "envoy.ip_tagging", "envoy.filters.http.ip_tagging", "envoy.extensions.filters.http.ip_tagging.v3.IPTagging", ""),
        new(Place.Http, "envoy.lua", "envoy.filters.http.lua", "envoy.extensions.filters.http.lua.v3.Lua", "envoy.extensions.filters.http.lua.v3.LuaPerRoute"),
        new(Place.Http, "envoy.rate_limit", "envoy.filters.http.ratelimit", "envoy.extensions.filters.http.ratelimit.v3.RateLimit", ""),
        new(Place.Http, "envoy.filters.http.rbac", "envoy.filters.http.rbac", "envoy.extensions.filters.http.rbac.v3.RBAC", "envoy.extensions.filters.http.rbac.v3.RBACPerRoute"),
        new(Place.Http, "envoy.filters.http.jwt_authn", "envoy.filters.http.jwt_authn", "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication", ""),
        new(Place.Http, "envoy.filters.http.grpc_stats", "envoy.filters.http.grpc_stats", "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig", ""),
        new(Place.Listener, "envoy.listener.original_dst", "envoy.filters.listener.original_dst", "envoy.extensions.filters.listener.original_dst.v3.OriginalDst", ""),
        new(Place.Listener, "envoy.listener.original_src", "envoy.filters.listener.original_src", "envoy.extensions.filters.listener.original_src.v3.OriginalSrc", ""),
        new(Place.Listener, "envoy.listener.tls_inspector", "envoy.filters.listener.tls_inspector", "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector", ""),
        new(Place.Listener, "envoy.listener.http_inspector", "envoy.filters.listener.http_inspector", "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector", ""),
        new(Place.Listener, "envoy.listener.proxy_protocol", "envoy.filters.listener.proxy_protocol", "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol", ""),
        new(Place.AccessLog, "envoy.file_access_log", "envoy.access_loggers.file", "envoy.extensions.access_loggers.file.v3.FileAccessLog", ""),
        new(Place.AccessLog, "envoy.http_grpc_access_log", "envoy.access_loggers.http_grpc", "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig", ""),
        new(Place.AccessLog, "envoy.tcp_grpc_access_log", "envoy.access_loggers.tcp_grpc", "envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig", ""),
        new(Place.TransportSocket, "raw_buffer", "envoy.transport_sockets.raw_buffer", "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer", ""),
        new(Place.Other, "envoy.zipkin", "envoy.tracers.zipkin", "envoy.config.trace.v3.ZipkinConfig", ""),
        new(Place.Other, "envoy.lightstep", "envoy.tracers.lightstep", "envoy.config.trace.v3.LightstepConfig", ""),
        new(Place.Other, "envoy.tracers.datadog", "envoy.tracers.datadog", "envoy.config.trace.v3.DatadogConfig", ""),
        new(Place.Other, "envoy.statsd", "envoy.stat_sinks.statsd", "envoy.config.metrics.v3.StatsdSink", ""),
        new(Place.Other, "envoy.dog_statsd", "envoy.stat_sinks.dog_statsd", "envoy.config.metrics.v3.DogStatsdSink", ""),
        new(Place.Other, "envoy.metrics_service", "envoy.stat_sinks.metrics_service", "envoy.config.metrics.v3.MetricsServiceConfig", ""),
        new(Place.Other, "envoy.retry_host_predicates.previous_hosts", "envoy.retry_host_predicates.previous_hosts", "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate", ""),
        new(Place.Other, "envoy.retry_host_predicates.omit_canary_hosts", "envoy.retry_host_predicates.omit_canary_hosts", "envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate", ""),
        new(Place.Other, "envoy.retry_priorities.previous_priorities", "envoy.retry_priorities.previous_priorities", "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig", ""),
    ];

    private const string Upstream = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
    private const string Downstream = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
    private const string Http = "envoy.extensions.filters.network.http_connection_manager.v3.";

    private static readonly Dictionary<string, LegacyField[]> Fields = new()
    {
        ["envoy.config.cluster.v3.Cluster"] =
        [
            new("hosts", Upgrade.Hosts, "load_assignment"),
            new("tls_context", Upgrade.TlsContext, Upstream),
            new("extension_protocol_options", Upgrade.ConfigMap, "typed_extension_protocol_options"),
            new("drain_connections_on_host_removal", Upgrade.Rename, "ignore_health_on_host_removal"),
        ],
        ["envoy.config.endpoint.v3.ClusterLoadAssignment.Policy"] = [new("disable_overprovisioning", Upgrade.Gone, "removed from Envoy in v3")],
        ["envoy.config.core.v3.Node"] = [new("build_version", Upgrade.Gone, "replaced by user_agent_build_version")],
        ["envoy.config.core.v3.TransportSocket"] = [new("config", Upgrade.Config, "typed_config")],
        ["envoy.config.core.v3.HealthCheck.CustomHealthCheck"] = [new("config", Upgrade.Config, "typed_config")],
        ["envoy.config.core.v3.HealthCheck.HttpHealthCheck"] =
        [
            new("receive", Upgrade.ToList, "receive"),
            new("service_name", Upgrade.Prefix, "service_name_matcher"),
            new("use_http2", Upgrade.UseHttp2, "codec_client_type"),
        ],
        ["envoy.config.listener.v3.Listener"] = [new("deprecated_v1", Upgrade.BindToPort, "bind_to_port")],
        ["envoy.config.listener.v3.Filter"] = [new("config", Upgrade.Config, "typed_config")],
        ["envoy.config.listener.v3.ListenerFilter"] = [new("config", Upgrade.Config, "typed_config")],
        ["envoy.config.listener.v3.FilterChain"] = [new("tls_context", Upgrade.TlsContext, Downstream)],
        ["envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext"] =
        [
            new("verify_subject_alt_name", Upgrade.ExactList, "match_subject_alt_names"),
            new("require_ocsp_staple", Upgrade.Gone, "removed from Envoy in v3"),
        ],
        ["envoy.extensions.transport_sockets.tls.v3.PrivateKeyProvider"] = [new("config", Upgrade.Config, "typed_config")],
        ["envoy.config.route.v3.CorsPolicy"] =
        [
            new("allow_origin", Upgrade.ExactList, "allow_origin_string_match"),
            new("allow_origin_regex", Upgrade.RegexList, "allow_origin_string_match"),
            new("enabled", Upgrade.CorsEnabled, "filter_enabled"),
        ],
        ["envoy.config.route.v3.HeaderMatcher"] = [new("regex_match", Upgrade.Regex, "safe_regex_match")],
        ["envoy.config.route.v3.QueryParameterMatcher"] =
        [
            new("value", Upgrade.QueryValue, "string_match"),
            new("regex", Upgrade.Sibling, "value"),
        ],
        ["envoy.config.route.v3.RetryPolicy.RetryHostPredicate"] = [new("config", Upgrade.Config, "typed_config")],
        ["envoy.config.route.v3.RetryPolicy.RetryPriority"] = [new("config", Upgrade.Config, "typed_config")],
        ["envoy.config.route.v3.Route"] = [new("per_filter_config", Upgrade.ConfigMap, "typed_per_filter_config")],
        ["envoy.config.route.v3.VirtualHost"] = [new("per_filter_config", Upgrade.ConfigMap, "typed_per_filter_config")],
        ["envoy.config.route.v3.WeightedCluster.ClusterWeight"] = [new("per_filter_config", Upgrade.ConfigMap, "typed_per_filter_config")],
        ["envoy.config.route.v3.RouteAction"] =
        [
            new("host_rewrite", Upgrade.Rename, "host_rewrite_literal"),
            new("auto_host_rewrite_header", Upgrade.Rename, "host_rewrite_header"),
            new("request_mirror_policy", Upgrade.ToList, "request_mirror_policies"),
        ],
        ["envoy.config.route.v3.RouteAction.RequestMirrorPolicy"] = [new("runtime_key", Upgrade.MirrorKey, "runtime_fraction")],
        ["envoy.config.route.v3.RouteMatch"] = [new("regex", Upgrade.Regex, "safe_regex")],
        ["envoy.config.route.v3.VirtualCluster"] =
        [
            new("pattern", Upgrade.PathHeader, "headers"),
            new("method", Upgrade.MethodHeader, "headers"),
        ],
        ["envoy.config.bootstrap.v3.Bootstrap"] = [new("runtime", Upgrade.Gone, "replaced by layered_runtime")],
        ["envoy.config.accesslog.v3.AccessLog"] = [new("config", Upgrade.Config, "typed_config")],
        ["envoy.config.accesslog.v3.ExtensionFilter"] = [new("config", Upgrade.Config, "typed_config")],
        ["envoy.extensions.filters.common.fault.v3.FaultDelay"] = [new("type", Upgrade.Gone, "FIXED is the only type there was")],
        ["envoy.extensions.filters.http.dynamic_forward_proxy.v3.PerRouteConfig"] =
        [
            new("host_rewrite", Upgrade.Rename, "host_rewrite_literal"),
            new("auto_host_rewrite_header", Upgrade.Rename, "host_rewrite_header"),
        ],
        [Http + "HttpConnectionManager"] = [new("idle_timeout", Upgrade.IdleTimeout, "common_http_protocol_options")],
        [Http + "HttpConnectionManager.Tracing"] =
        [
            new("operation_name", Upgrade.Gone, "the listener's traffic_direction decides"),
            new("request_headers_for_tags", Upgrade.HeaderTags, "custom_tags"),
        ],
        [Http + "HttpFilter"] = [new("config", Upgrade.Config, "typed_config")],
        ["envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"] = [new("deprecated_v1", Upgrade.Gone, "removed from Envoy in v3; use filter chains")],
        ["envoy.config.metrics.v3.StatsSink"] = [new("config", Upgrade.Config, "typed_config")],
        ["envoy.config.trace.v3.Tracing.Http"] = [new("config", Upgrade.Config, "typed_config")],
        ["envoy.type.matcher.v3.StringMatcher"] = [new("regex", Upgrade.Regex, "safe_regex")],
    };
}
