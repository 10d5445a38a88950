using System;
using System.Collections.Generic;
using Google.Protobuf.WellKnownTypes;
using Sidecar.Filters;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Telemetry.Stats;
using Sidecar.Upstream;
using Sidecar.Upstream.Discovery;

namespace Sidecar.Config.Clusters;

using Wire = global::Envoy.Config.Cluster.V3;

/// <summary>envoy.config.cluster.v3.Cluster → <see cref="ClusterConfig"/>. What would change where traffic goes or who can read it and is not supported refuses the cluster; the rest is reported.</summary>
internal static class ClusterTranslator
{
    /// <summary>Translates a cluster; null, with every reason in <paramref name="scope"/>, when it is refused.</summary>
    internal static ClusterConfig? Translate(Wire.Cluster wire, int workers, ConfigScope scope)
    {
        if (wire.Name.Length == 0)
            scope.Reject("name", "value length must be at least 1 characters");
        ReportUnsupported(wire, scope);
        // One text for the name, whoever keeps it.
        string name = wire.Name == scope.ResourceName ? scope.ResourceName : wire.Name;
        string statName = StatName(wire.AltStatName.Length > 0 ? wire.AltStatName : name);

        var type = ServiceDiscoveryTranslator.Type(wire, scope);
        var endpoints = ServiceDiscoveryTranslator.Endpoints(wire, type, scope);
        long? fetchTimeoutMs = ServiceDiscoveryTranslator.FetchTimeoutMs(wire, type, scope);
        var dns = ServiceDiscoveryTranslator.Dns(wire, scope);
        var originalDst = ServiceDiscoveryTranslator.OriginalDst(wire, type, scope);
        var balancing = LoadBalancingTranslator.Translate(wire, type, scope);
        double panicThreshold = scope.Percent("common_lb_config.healthy_panic_threshold", wire.CommonLbConfig?.HealthyPanicThreshold, 50);
        var breakers = CircuitBreakersTranslator.Translate(wire.CircuitBreakers, workers, scope.At("circuit_breakers"));
        var transport = TransportSocketTranslator.Translate(wire.TransportSocket, statName, scope.At("transport_socket"));
        var matches = TransportSocketTranslator.Matches(wire, statName, scope);
        var http = HttpProtocolOptionsTranslator.Translate(wire, scope);
        CheckNegotiation(wire, http, transport, matches, scope);
        var connect = UpstreamConnectionTranslator.Translate(wire, scope);
        long connectTimeoutMs = PositiveMs("connect_timeout", wire.ConnectTimeout, 5000, scope);
        long cleanupMs = PositiveMs("cleanup_interval", wire.CleanupInterval, 5000, scope);
        if (scope.IsRejected)
            return null;

        var config = new ClusterConfig
        {
            Name = name,
            Slot = scope.Services.Cluster(name).Slot,
            StatName = statName,
            Stats = Stats(statName, scope),
            Breakers = breakers,
            Type = type,
            ServiceName = type != DiscoveryType.Eds ? "" : wire.EdsClusterConfig.ServiceName is { Length: > 0 } service && service != name ? service : name,
            FetchTimeoutMs = fetchTimeoutMs,
            Endpoints = type == DiscoveryType.Static ? null : endpoints,
            LbPolicy = balancing.Policy,
            ChoiceCount = balancing.ChoiceCount,
            ActiveRequestBias = balancing.ActiveRequestBias,
            PanicThresholdPercent = panicThreshold,
            LocalityWeighted = wire.CommonLbConfig?.LocalityConfigSpecifierCase == Wire.Cluster.Types.CommonLbConfig.LocalityConfigSpecifierOneofCase.LocalityWeightedLbConfig,
            ConnectTimeoutMs = (int)Math.Min(connectTimeoutMs, int.MaxValue),
            BufferLimitBytes = (int)Math.Min(wire.PerConnectionBufferLimitBytes ?? Connection.DefaultHighWatermark, int.MaxValue),
            Http = http,
            Connect = connect,
            Transport = transport,
            TransportMatches = matches,
            Dns = dns,
            OriginalDst = originalDst,
            CleanupIntervalMs = cleanupMs,
            CloseConnectionsOnHostHealthFailure = wire.CloseConnectionsOnHostHealthFailure,
            Metadata = MetadataTranslator.Translate(wire.Metadata),
        };
        if (type == DiscoveryType.Static)
            SetStaticHosts(config, endpoints!, workers);
        return config;
    }

    /// <summary>A cluster with the settings of another one, which is of a type without names to resolve or has no endpoints of its own.</summary>
    internal static ClusterConfig Like(ClusterConfig settings, EndpointSet endpoints, Metadata metadata, int workers, ConfigScope scope)
    {
        string name = scope.ResourceName;
        string statName = StatName(name);
        var limits = settings.Breakers;
        var config = settings with
        {
            Name = name,
            Slot = scope.Services.Cluster(name).Slot,
            StatName = statName,
            Stats = Stats(statName, scope),
            Breakers = new CircuitBreakers(limits.Default, limits.HighPriority, limits.PerHost, workers),
            ServiceName = settings.Type == DiscoveryType.Eds ? name : "",
            Metadata = metadata,
        };
        if (config.Type == DiscoveryType.Static)
            SetStaticHosts(config, endpoints, workers);
        return config;
    }

    private static void SetStaticHosts(ClusterConfig config, EndpointSet endpoints, int workers)
    {
        config.StaticHosts = endpoints.Build(config, null, workers);
        Membership.Write(config, null, config.StaticHosts, workers);
    }

    private static StatsScope Stats(string statName, ConfigScope scope) =>
        scope.Services.Stats.Scope(ClusterStats.Schema, "cluster.", statName, [new StatTag("envoy.cluster_name", statName)]);

    // Envoy's sanitiser for names in stats.
    private static string StatName(string name) => name.Replace("://", "_").Replace(":/", "_").Replace(':', '_').Replace('\0', '_');

    // auto_config: the version is what ALPN comes to, which every connection must then have.
    private static void CheckNegotiation(Wire.Cluster wire, HttpUpstreamOptions http, TransportFactory transport, List<TransportMatch> matches, ConfigScope scope)
    {
        if (http.Protocol != UpstreamProtocol.Negotiated)
            return;
        bool negotiates = transport.NegotiatesProtocol;
        foreach (var match in matches)
            negotiates &= match.Factory.NegotiatesProtocol;
        if (!negotiates)
            scope.Reject(
                $"typed_extension_protocol_options[{HttpProtocolOptionsTranslator.Key}].auto_config",
                $"ALPN configured for cluster {wire.Name} which has a non-ALPN transport socket");
    }

    private static void ReportUnsupported(Wire.Cluster wire, ConfigScope scope)
    {
        for (int i = 0; i < wire.Filters.Count; i++)
        {
            var at = scope.At($"filters[{i}]");
            if (ObservingFilters.Find(wire.Filters[i].Name, wire.Filters[i].TypedConfig) is { } reason)
                at.Ignore("", $"{wire.Filters[i].Name}: {reason}");
            else
                at.Reject("", $"upstream network filter '{wire.Filters[i].Name}' is not supported");
        }
        if (wire.UpstreamConfig is { } upstream && TypedConfig.TypeName(upstream.TypedConfig) is var type
            && type is not ("envoy.extensions.upstreams.http.generic.v3.GenericConnectionPoolProto" or "envoy.extensions.upstreams.tcp.generic.v3.GenericConnectionPoolProto"))
            scope.Reject("upstream_config", $"connection pool {(type.Length > 0 ? type : upstream.Name)} is not supported");
        foreach (var (field, isSet, why) in new[]
        {
            ("health_checks", wire.HealthChecks.Count > 0, "active health checks are not supported yet"),
            ("outlier_detection", wire.OutlierDetection is not null, "outlier detection is not supported yet"),
            ("preconnect_policy", wire.PreconnectPolicy is not null, "connections are made when they are needed"),
            ("connection_pool_per_downstream_connection", wire.ConnectionPoolPerDownstreamConnection, "all downstream connections of a worker share its pools"),
            ("queuing_policies", wire.QueuingPolicies is not null, "requests wait in order of arrival"),
            ("lrs_server", wire.LrsServer is not null, "loads are not reported"),
            ("track_timeout_budgets", wire.TrackTimeoutBudgets, "timeout budgets are not measured"),
            ("track_cluster_stats", wire.TrackClusterStats is not null, "sizes, timeout budgets and endpoints are not measured"),
            ("stats_matcher", wire.StatsMatcher is not null, "all stats of a cluster are kept"),
            ("per_connection_buffer_high_watermark_timeout", wire.PerConnectionBufferHighWatermarkTimeout is not null, "a full buffer only stops its producer"),
        })
        {
            if (isSet)
                scope.Ignore(field, why);
        }
    }

    private static long PositiveMs(string field, Duration? wire, long fallback, ConfigScope scope)
    {
        long ms = scope.Milliseconds(field, wire, fallback);
        if (ms == 0)
            scope.Reject(field, "value must be greater than 0s");
        return ms;
    }
}
