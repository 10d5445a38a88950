using Google.Protobuf.WellKnownTypes;
using Sidecar.Filters;
using Sidecar.Net;
using Sidecar.Upstream;
using Sidecar.Upstream.Discovery;
using WireCore = Envoy.Config.Core.V3;

namespace Sidecar.Config.Clusters;

using Wire = global::Envoy.Config.Cluster.V3;

/// <summary>Where the hosts of a cluster come from: its type, load_assignment, and the settings of DNS and of ORIGINAL_DST.</summary>
internal static class ServiceDiscoveryTranslator
{
    /// <summary>The cluster's type; a refused one counts as static.</summary>
    internal static DiscoveryType Type(Wire.Cluster wire, ConfigScope scope)
    {
        if (wire.ClusterDiscoveryTypeCase == Wire.Cluster.ClusterDiscoveryTypeOneofCase.ClusterType)
        {
            scope.Reject("cluster_type", $"cluster type '{wire.ClusterType.Name}' is not supported");
            return DiscoveryType.Static;
        }
        if (wire.Type != Wire.Cluster.Types.DiscoveryType.Eds && wire.EdsClusterConfig is not null)
            scope.Reject("eds_cluster_config", "eds_cluster_config set in a non-EDS cluster");
        switch (wire.Type)
        {
            case Wire.Cluster.Types.DiscoveryType.Static:
                return DiscoveryType.Static;
            case Wire.Cluster.Types.DiscoveryType.StrictDns:
                return DiscoveryType.StrictDns;
            case Wire.Cluster.Types.DiscoveryType.LogicalDns:
                return DiscoveryType.LogicalDns;
            case Wire.Cluster.Types.DiscoveryType.OriginalDst:
                return DiscoveryType.OriginalDst;
            case Wire.Cluster.Types.DiscoveryType.Eds:
                CheckEds(wire.EdsClusterConfig, scope.At("eds_cluster_config"));
                return DiscoveryType.Eds;
            default:
                scope.Reject("type", "value must be one of the defined enum values");
                return DiscoveryType.Static;
        }
    }

    private static void CheckEds(Wire.Cluster.Types.EdsClusterConfig? wire, ConfigScope scope)
    {
        if (wire is null)
            scope.Reject("", "is required in a cluster of type EDS");
        if (wire?.EdsConfig is not { } source)
            return;
        if (source.ConfigSourceSpecifierCase is not (WireCore.ConfigSource.ConfigSourceSpecifierOneofCase.Ads or WireCore.ConfigSource.ConfigSourceSpecifierOneofCase.Self))
            scope.Ignore("eds_config", "endpoints come from where the cluster came from");
        if (source.ResourceApiVersion == WireCore.ApiVersion.V2)
            scope.Ignore("eds_config.resource_api_version", "control planes are asked for v3 only");
    }

    /// <summary>How long the first endpoints of an EDS cluster are waited for, where it says so; 0: for ever.</summary>
    internal static long? FetchTimeoutMs(Wire.Cluster wire, DiscoveryType type, ConfigScope scope) =>
        type == DiscoveryType.Eds && wire.EdsClusterConfig?.EdsConfig?.InitialFetchTimeout is { } timeout
            ? scope.Milliseconds("eds_cluster_config.eds_config.initial_fetch_timeout", timeout, 0) : null;

    /// <summary>What load_assignment names; null where hosts come by another way (EDS, ORIGINAL_DST).</summary>
    internal static EndpointSet? Endpoints(Wire.Cluster wire, DiscoveryType type, ConfigScope scope)
    {
        if (type == DiscoveryType.OriginalDst && wire.LoadAssignment is not null)
            scope.Reject("load_assignment", "ORIGINAL_DST clusters must have no load assignment configured");
        if (type is DiscoveryType.Eds or DiscoveryType.OriginalDst)
            return null;
        if (wire.LoadAssignment is not { } assignment)
        {
            if (type == DiscoveryType.LogicalDns)
                scope.Reject("load_assignment", "LOGICAL_DNS clusters must have a single locality_lb_endpoint and a single lb_endpoint");
            return EndpointSet.Empty;
        }
        var at = scope.At("load_assignment");
        if (type == DiscoveryType.LogicalDns && (assignment.Endpoints.Count != 1 || assignment.Endpoints[0].LbEndpoints.Count != 1))
            at.Reject("endpoints", "LOGICAL_DNS clusters must have a single locality_lb_endpoint and a single lb_endpoint");
        return EndpointTranslator.Translate(assignment, namesAllowed: type is DiscoveryType.StrictDns or DiscoveryType.LogicalDns, at) ?? EndpointSet.Empty;
    }

    /// <summary>How often names are looked up, and for which address family.</summary>
    internal static DnsRefresh Dns(Wire.Cluster wire, ConfigScope scope)
    {
        ReportResolvers(wire, scope);
        if ((int)wire.DnsLookupFamily is < 0 or > (int)DnsFamily.All)
            scope.Reject("dns_lookup_family", "value must be one of the defined enum values");
        long failureBase = 0;
        long failureMax = 0;
        if (wire.DnsFailureRefreshRate is { } failure)
        {
            var at = scope.At("dns_failure_refresh_rate");
            if (failure.BaseInterval is null)
                at.Reject("base_interval", "value is required");
            failureBase = AboveOneMs("base_interval", failure.BaseInterval, 5000, at);
            failureMax = AboveOneMs("max_interval", failure.MaxInterval, failureBase * 10, at);
            if (failure.BaseInterval is not null && failureMax < failureBase)
                at.Reject("max_interval", "dns_failure_refresh_rate must have max_interval greater than or equal to the base_interval");
        }
        return new DnsRefresh
        {
            RateMs = AboveOneMs("dns_refresh_rate", wire.DnsRefreshRate, 5000, scope),
            JitterMs = scope.Milliseconds("dns_jitter", wire.DnsJitter, 0),
            FailureBaseMs = failureBase,
            FailureMaxMs = failureMax,
            RespectTtl = wire.RespectDnsTtl,
            Family = (DnsFamily)wire.DnsLookupFamily,
        };
    }

    private static void ReportResolvers(Wire.Cluster wire, ConfigScope scope)
    {
        const string reason = "names are resolved as /etc/resolv.conf says";
        if (wire.DnsResolvers.Count > 0)
            scope.Ignore("dns_resolvers", reason);
        if (wire.DnsResolutionConfig is not null)
            scope.Ignore("dns_resolution_config", reason);
        if (wire.TypedDnsResolverConfig is not null)
            scope.Ignore("typed_dns_resolver_config", reason + ", by the built-in resolver");
        if (wire.UseTcpForDnsLookups)
            scope.Ignore("use_tcp_for_dns_lookups", "TCP is used when an answer does not fit a datagram");
    }

    /// <summary>original_dst_lb_config.</summary>
    internal static OriginalDstConfig OriginalDst(Wire.Cluster wire, DiscoveryType type, ConfigScope scope)
    {
        if (wire.OriginalDstLbConfig is not { } lb)
            return OriginalDstConfig.Default;
        var at = scope.At("original_dst_lb_config");
        if (type != DiscoveryType.OriginalDst)
        {
            at.Ignore("", "has a meaning in clusters of type ORIGINAL_DST only");
            return OriginalDstConfig.Default;
        }
        if (lb.MetadataKey is not null)
            at.Reject("metadata_key", "a destination from metadata is not supported");
        if (lb.HttpHeaderName.Length > 0 && !lb.UseHttpHeader)
            at.Ignore("http_header_name", "has no effect without use_http_header");
        if (lb.UpstreamPortOverride is > ushort.MaxValue)
            at.Reject("upstream_port_override", $"value must be less than or equal to {ushort.MaxValue}");
        return new OriginalDstConfig
        {
            HeaderName = !lb.UseHttpHeader ? null : lb.HttpHeaderName.Length > 0 ? lb.HttpHeaderName.ToLowerInvariant() : "x-envoy-original-dst-host",
            PortOverride = (ushort)(lb.UpstreamPortOverride ?? 0),
        };
    }

    private static long AboveOneMs(string field, Duration? wire, long fallback, ConfigScope scope)
    {
        if (wire is { Seconds: 0, Nanos: <= 1_000_000 })
            scope.Reject(field, "value must be greater than 0.001s");
        return scope.Milliseconds(field, wire, fallback);
    }
}
