using System;
using System.Collections.Generic;
using System.Text;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Sidecar.Filters;
using Sidecar.Http.H1;
using Sidecar.Http.H2;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Telemetry.Stats;
using Sidecar.Upstream;
using Sidecar.Upstream.Discovery;
using WireCore = Envoy.Config.Core.V3;
using WireTls = Envoy.Extensions.TransportSockets.Tls.V3;
using WireHttp = Envoy.Extensions.Upstreams.Http.V3;
using WireLb = Envoy.Extensions.LoadBalancingPolicies;

namespace Sidecar.Config;

using Wire = global::Envoy.Config.Cluster.V3;

/// <summary>envoy.config.cluster.v3.Cluster → <see cref="ClusterConfig"/>. What would change where traffic goes or who can read it and is not supported refuses the cluster; the rest is reported.</summary>
internal static class ClusterTranslator
{
    private const string HttpProtocolOptionsKey = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

    /// <summary>Wire number of v2's ORIGINAL_DST_LB, which v3 has no name for; the same as CLUSTER_PROVIDED.</summary>
    private const int OriginalDstLb = 4;

    /// <summary>Translates a cluster; null, with every reason in <paramref name="scope"/>, when it is refused.</summary>
    internal static ClusterConfig? Translate(Wire.Cluster wire, int workers, ConfigScope scope)
    {
        if (wire.Name.Length == 0)
            scope.Reject("name", "value length must be at least 1 characters");
        var type = Discovery(wire, scope);
        ReportUnsupported(wire, scope);
        var policy = Policy(wire, type, scope, out int choiceCount, out double bias);
        var common = wire.CommonLbConfig;
        double panic = Percent(common?.HealthyPanicThreshold, 50, scope.At("common_lb_config.healthy_panic_threshold"));
        var endpoints = Endpoints(wire, type, scope);
        var transport = Transport(wire.TransportSocket, wire, scope.At("transport_socket"));
        var matches = TransportMatches(wire, scope);
        var http = Http(wire, scope);
        if (http.Protocol == UpstreamProtocol.Negotiated)
        {
            bool negotiates = transport.NegotiatesProtocol;
            foreach (var match in matches)
                negotiates &= match.Factory.NegotiatesProtocol;
            if (!negotiates)
                scope.Reject($"typed_extension_protocol_options[{HttpProtocolOptionsKey}].auto_config", $"ALPN configured for cluster {wire.Name} which has a non-ALPN transport socket");
        }
        int connectTimeoutMs = (int)Math.Min(PositiveMs("connect_timeout", wire.ConnectTimeout, 5000, scope), int.MaxValue);
        long cleanupMs = PositiveMs("cleanup_interval", wire.CleanupInterval, 5000, scope);
        var breakers = Breakers(wire, workers, scope);
        var connect = Connect(wire, scope);
        var dns = Dns(wire, scope);
        var originalDst = OriginalDst(wire, type, scope);
        if (scope.IsRejected)
            return null;

        // One text for the name, whoever keeps it.
        string name = wire.Name == scope.ResourceName ? scope.ResourceName : wire.Name;
        string statName = StatName(wire.AltStatName.Length > 0 ? wire.AltStatName : name);
        var config = new ClusterConfig
        {
            Name = name,
            Slot = scope.Services.Cluster(name).Slot,
            StatName = statName,
            Stats = scope.Services.Stats.Scope(ClusterStats.Schema, "cluster.", statName, [new StatTag("envoy.cluster_name", statName)]),
            Breakers = breakers,
            Type = type,
            ServiceName = type != DiscoveryType.Eds ? "" : wire.EdsClusterConfig.ServiceName is { Length: > 0 } service && service != name ? service : name,
            Endpoints = type == DiscoveryType.Static ? null : endpoints,
            LbPolicy = policy,
            ChoiceCount = choiceCount,
            ActiveRequestBias = bias,
            PanicThresholdPercent = panic,
            LocalityWeighted = common?.LocalityConfigSpecifierCase == Wire.Cluster.Types.CommonLbConfig.LocalityConfigSpecifierOneofCase.LocalityWeightedLbConfig,
            ConnectTimeoutMs = connectTimeoutMs,
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
        var stats = scope.Services.Stats.Scope(ClusterStats.Schema, "cluster.", statName, [new StatTag("envoy.cluster_name", statName)]);
        var limits = settings.Breakers;
        var config = settings with
        {
            Name = name,
            Slot = scope.Services.Cluster(name).Slot,
            StatName = statName,
            Stats = stats,
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

    private static string ClusterStatName(Wire.Cluster wire) => StatName(wire.AltStatName.Length > 0 ? wire.AltStatName : wire.Name);

    // ---- discovery ------------------------------------------------------------------------------------------

    private static DiscoveryType Discovery(Wire.Cluster wire, ConfigScope scope)
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
                if (wire.EdsClusterConfig is null)
                    scope.Reject("eds_cluster_config", "is required in a cluster of type EDS");
                return DiscoveryType.Eds;
            default:
                scope.Reject("type", "value must be one of the defined enum values");
                return DiscoveryType.Static;
        }
    }

    private static EndpointSet? Endpoints(Wire.Cluster wire, DiscoveryType type, ConfigScope scope)
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

    private static DnsRefresh Dns(Wire.Cluster wire, ConfigScope scope)
    {
        var family = DnsFamily.Auto;
        if ((int)wire.DnsLookupFamily is >= 0 and <= (int)DnsFamily.All)
            family = (DnsFamily)wire.DnsLookupFamily;
        else
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
            Family = family,
        };
    }

    private static OriginalDstConfig OriginalDst(Wire.Cluster wire, DiscoveryType type, ConfigScope scope)
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

    // ---- load balancing -------------------------------------------------------------------------------------

    private static LbPolicy Policy(Wire.Cluster wire, DiscoveryType type, ConfigScope scope, out int choiceCount, out double bias)
    {
        choiceCount = 2;
        bias = 1.0;
        if (wire.LoadBalancingPolicy is { } typed)
            return TypedPolicy(typed, type, scope.At("load_balancing_policy"), ref choiceCount, ref bias);

        LbPolicy policy;
        switch (wire.LbPolicy)
        {
            case Wire.Cluster.Types.LbPolicy.RoundRobin:
                policy = LbPolicy.RoundRobin;
                if (wire.RoundRobinLbConfig?.SlowStartConfig is not null)
                    scope.Ignore("round_robin_lb_config.slow_start_config", "new hosts get their whole share at once");
                break;
            case Wire.Cluster.Types.LbPolicy.LeastRequest:
                policy = LbPolicy.LeastRequest;
                if (wire.LeastRequestLbConfig is { } least)
                {
                    var at = scope.At("least_request_lb_config");
                    choiceCount = ChoiceCount(least.ChoiceCount, at);
                    bias = Bias(least.ActiveRequestBias, at);
                    if (least.SlowStartConfig is not null)
                        at.Ignore("slow_start_config", "new hosts get their whole share at once");
                }
                break;
            case Wire.Cluster.Types.LbPolicy.Random:
                policy = LbPolicy.Random;
                break;
            case Wire.Cluster.Types.LbPolicy.RingHash:
                scope.Reject("lb_policy", "RING_HASH is not supported yet");
                return LbPolicy.RingHash;
            case Wire.Cluster.Types.LbPolicy.Maglev:
                scope.Reject("lb_policy", "MAGLEV is not supported yet");
                return LbPolicy.Maglev;
            case Wire.Cluster.Types.LbPolicy.ClusterProvided or (Wire.Cluster.Types.LbPolicy)OriginalDstLb:
                policy = LbPolicy.ClusterProvided;
                break;
            case Wire.Cluster.Types.LbPolicy.LoadBalancingPolicyConfig:
                scope.Reject("load_balancing_policy", "cluster: LB policy LOAD_BALANCING_POLICY_CONFIG needs load_balancing_policy");
                return LbPolicy.RoundRobin;
            default:
                scope.Reject("lb_policy", "value must be one of the defined enum values");
                return LbPolicy.RoundRobin;
        }
        CheckProvided(policy, type, scope, "lb_policy");
        foreach (var (field, isSet, own) in new[]
        {
            ("ring_hash_lb_config", wire.RingHashLbConfig is not null, LbPolicy.RingHash),
            ("maglev_lb_config", wire.MaglevLbConfig is not null, LbPolicy.Maglev),
            ("least_request_lb_config", wire.LeastRequestLbConfig is not null, LbPolicy.LeastRequest),
        })
        {
            if (isSet && own != policy)
                scope.Ignore(field, $"lb_policy is {Name(policy)}");
        }
        return policy;
    }

    private static void CheckProvided(LbPolicy policy, DiscoveryType type, ConfigScope scope, string field)
    {
        if (type == DiscoveryType.OriginalDst && policy != LbPolicy.ClusterProvided)
            scope.Reject(field, $"cluster: LB policy {Name(policy)} is not valid for Cluster type ORIGINAL_DST. Only 'CLUSTER_PROVIDED' is allowed with cluster type 'ORIGINAL_DST'");
        if (type != DiscoveryType.OriginalDst && policy == LbPolicy.ClusterProvided)
            scope.Reject(field, $"cluster: LB policy CLUSTER_PROVIDED is not valid for Cluster type {Name(type)}. It is allowed only with cluster type 'ORIGINAL_DST'");
    }

    // The first policy that is known here is taken, as in Envoy.
    private static LbPolicy TypedPolicy(Wire.LoadBalancingPolicy wire, DiscoveryType type, ConfigScope scope, ref int choiceCount, ref double bias)
    {
        for (int i = 0; i < wire.Policies.Count; i++)
        {
            var extension = wire.Policies[i].TypedExtensionConfig;
            var at = scope.At($"policies[{i}].typed_extension_config");
            string typeName = TypeName(extension?.TypedConfig);
            LbPolicy policy;
            switch (typeName)
            {
                case "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin":
                    policy = LbPolicy.RoundRobin;
                    var round = Parse(WireLb.RoundRobin.V3.RoundRobin.Parser, extension!.TypedConfig, at);
                    if (round?.SlowStartConfig is not null)
                        at.Ignore("typed_config.slow_start_config", "new hosts get their whole share at once");
                    ReportLocality(round?.LocalityLbConfig, at);
                    break;
                case "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest":
                    policy = LbPolicy.LeastRequest;
                    if (Parse(WireLb.LeastRequest.V3.LeastRequest.Parser, extension!.TypedConfig, at) is { } least)
                    {
                        var within = at.At("typed_config");
                        choiceCount = ChoiceCount(least.ChoiceCount, within);
                        bias = Bias(least.ActiveRequestBias, within);
                        if (least.SlowStartConfig is not null)
                            within.Ignore("slow_start_config", "new hosts get their whole share at once");
                        const string noScan = "hosts are chosen by choice_count draws, not by a full scan";
                        if (least.SelectionMethod == WireLb.LeastRequest.V3.LeastRequest.Types.SelectionMethod.FullScan)
                            within.Ignore("selection_method", noScan);
                        if (least.EnableFullScan == true)
                            within.Ignore("enable_full_scan", noScan);
                        ReportLocality(least.LocalityLbConfig, at);
                    }
                    break;
                case "envoy.extensions.load_balancing_policies.random.v3.Random":
                    policy = LbPolicy.Random;
                    ReportLocality(Parse(WireLb.Random.V3.Random.Parser, extension!.TypedConfig, at)?.LocalityLbConfig, at);
                    break;
                case "envoy.extensions.load_balancing_policies.cluster_provided.v3.ClusterProvided":
                    policy = LbPolicy.ClusterProvided;
                    break;
                default:
                    if (i < wire.Policies.Count - 1)
                        at.Ignore("", $"load balancing policy {typeName} is not supported; the next one is tried");
                    continue;
            }
            CheckProvided(policy, type, scope, "");
            return policy;
        }
        scope.Reject("policies", "no load balancing policy in it is supported (round_robin, least_request, random, cluster_provided are)");
        return LbPolicy.RoundRobin;
    }

    private static void ReportLocality(WireLb.Common.V3.LocalityLbConfig? wire, ConfigScope scope)
    {
        if (wire is not null)
            scope.Ignore("typed_config.locality_lb_config", "localities are not told apart by a typed policy yet; use common_lb_config.locality_weighted_lb_config");
    }

    private static int ChoiceCount(uint? wire, ConfigScope scope)
    {
        if (wire is < 2)
            scope.Reject("choice_count", "value must be greater than or equal to 2");
        return (int)Math.Min(wire ?? 2, 1000);
    }

    private static double Bias(WireCore.RuntimeDouble? wire, ConfigScope scope)
    {
        double bias = wire?.DefaultValue ?? 1.0;
        if (double.IsNaN(bias) || bias < 0)
        {
            scope.Reject("active_request_bias.default_value", "must be 0 or more");
            return 1.0;
        }
        return bias;
    }

    // ---- circuit breakers -----------------------------------------------------------------------------------

    private static CircuitBreakers Breakers(Wire.Cluster wire, int workers, ConfigScope scope)
    {
        var normal = CircuitBreakerThresholds.Default;
        var high = CircuitBreakerThresholds.Default;
        CircuitBreakerThresholds? perHost = null;
        if (wire.CircuitBreakers is { } breakers)
        {
            bool hasNormal = false;
            bool hasHigh = false;
            for (int i = 0; i < breakers.Thresholds.Count; i++)
            {
                var at = scope.At($"circuit_breakers.thresholds[{i}]");
                var threshold = breakers.Thresholds[i];
                // The first of a priority counts, as in Envoy.
                if (threshold.Priority == WireCore.RoutingPriority.Default && !hasNormal)
                    (normal, hasNormal) = (Thresholds(threshold, at), true);
                else if (threshold.Priority == WireCore.RoutingPriority.High && !hasHigh)
                    (high, hasHigh) = (Thresholds(threshold, at), true);
                else if (threshold.Priority is WireCore.RoutingPriority.Default or WireCore.RoutingPriority.High)
                    at.Ignore("", "an earlier entry for the same priority is used");
                else
                    at.Reject("priority", "value must be one of the defined enum values");
            }
            for (int i = 0; i < breakers.PerHostThresholds.Count; i++)
            {
                var at = scope.At($"circuit_breakers.per_host_thresholds[{i}]");
                var threshold = breakers.PerHostThresholds[i];
                if (threshold.MaxPendingRequests is not null || threshold.MaxRequests is not null || threshold.MaxRetries is not null
                    || threshold.MaxConnectionPools is not null || threshold.RetryBudget is not null || threshold.TrackRemaining)
                    at.Reject("", "Unsupported field in per_host_thresholds: only max_connections is supported");
                if (threshold.Priority == WireCore.RoutingPriority.Default && perHost is null)
                    perHost = new CircuitBreakerThresholds { MaxConnections = threshold.MaxConnections ?? 1024 };
                else
                    at.Ignore("", "only the first entry of priority DEFAULT is used");
            }
        }
        return new CircuitBreakers(normal, high, perHost, workers);
    }

    private static CircuitBreakerThresholds Thresholds(Wire.CircuitBreakers.Types.Thresholds wire, ConfigScope scope)
    {
        var defaults = CircuitBreakerThresholds.Default;
        RetryBudget? budget = null;
        if (wire.RetryBudget is { } wireBudget)
        {
            if (wireBudget.BudgetInterval is not null)
                scope.Ignore("retry_budget.budget_interval", "the budget is of the requests active at the moment");
            budget = new RetryBudget(Percent(wireBudget.BudgetPercent, 20, scope.At("retry_budget.budget_percent")), wireBudget.MinRetryConcurrency ?? 3);
        }
        return new CircuitBreakerThresholds
        {
            MaxConnections = wire.MaxConnections ?? defaults.MaxConnections,
            MaxPendingRequests = wire.MaxPendingRequests ?? defaults.MaxPendingRequests,
            MaxRequests = wire.MaxRequests ?? defaults.MaxRequests,
            MaxRetries = wire.MaxRetries ?? defaults.MaxRetries,
            MaxConnectionPools = wire.MaxConnectionPools ?? defaults.MaxConnectionPools,
            RetryBudget = budget,
            TrackRemaining = wire.TrackRemaining,
        };
    }

    // ---- HTTP -----------------------------------------------------------------------------------------------

    private static HttpUpstreamOptions Http(Wire.Cluster wire, ConfigScope scope)
    {
        WireHttp.HttpProtocolOptions? typed = null;
        foreach (var (key, any) in wire.TypedExtensionProtocolOptions)
        {
            var at = scope.At($"typed_extension_protocol_options[{key}]");
            if (key != HttpProtocolOptionsKey)
                at.Ignore("", "options of an extension that is not there");
            else if (TypeName(any) != HttpProtocolOptionsKey)
                at.Reject("@type", $"must be {HttpProtocolOptionsKey}, is {TypeName(any)}");
            else
                typed = Parse(WireHttp.HttpProtocolOptions.Parser, any, at);
        }
        var options = typed is not null ? TypedHttp(wire, typed, scope) : LegacyHttp(wire, scope);
        // Most clusters of a mesh ask for nothing special: they share one object.
        return options == HttpUpstreamOptions.Default ? HttpUpstreamOptions.Default : options;
    }

    private static HttpUpstreamOptions TypedHttp(Wire.Cluster wire, WireHttp.HttpProtocolOptions typed, ConfigScope scope)
    {
        foreach (var (field, isSet) in new[]
        {
            ("http_protocol_options", wire.HttpProtocolOptions is not null),
            ("http2_protocol_options", wire.Http2ProtocolOptions is not null),
            ("common_http_protocol_options", wire.CommonHttpProtocolOptions is not null),
            ("upstream_http_protocol_options", wire.UpstreamHttpProtocolOptions is not null),
            ("protocol_selection", wire.ProtocolSelection != Wire.Cluster.Types.ClusterProtocolSelection.UseConfiguredProtocol),
        })
        {
            if (isSet)
                scope.Ignore(field, "typed_extension_protocol_options has the HTTP options");
        }

        var at = scope.At($"typed_extension_protocol_options[{HttpProtocolOptionsKey}]");
        var options = ServerNames(typed.UpstreamHttpProtocolOptions, wire, at.At("upstream_http_protocol_options"));
        options = Common(typed.CommonHttpProtocolOptions, wire.MaxRequestsPerConnection, options, at.At("common_http_protocol_options"));
        for (int i = 0; i < typed.HttpFilters.Count; i++)
        {
            if (typed.HttpFilters[i].Name is not ("envoy.filters.http.upstream_codec" or "upstream_codec"))
                at.Reject($"http_filters[{i}]", $"upstream HTTP filter '{typed.HttpFilters[i].Name}' is not supported");
        }
        if (typed.HeaderValidationConfig is not null)
            at.Ignore("header_validation_config", "headers are always validated");
        if (typed.OutlierDetection is not null)
            at.Ignore("outlier_detection", "outlier detection is not supported yet");
        if (typed.RequestMirrorPolicies.Count > 0)
            at.Ignore("request_mirror_policies", "mirroring is configured by routes only");
        if (typed.HashPolicy.Count > 0)
            at.Ignore("hash_policy", "hash policies are configured by routes only");
        if (typed.RetryPolicy is not null)
            at.Ignore("retry_policy", "retries are configured by routes only");

        switch (typed.UpstreamProtocolOptionsCase)
        {
            case WireHttp.HttpProtocolOptions.UpstreamProtocolOptionsOneofCase.ExplicitHttpConfig:
                var chosen = typed.ExplicitHttpConfig;
                var within = at.At("explicit_http_config");
                if (chosen.ProtocolConfigCase == WireHttp.HttpProtocolOptions.Types.ExplicitHttpConfig.ProtocolConfigOneofCase.None)
                    within.Reject("protocol_config", "is required: http_protocol_options or http2_protocol_options");
                return chosen.Http2ProtocolOptions is not null
                    ? Both(options with { Protocol = UpstreamProtocol.Http2 }, null, chosen.Http2ProtocolOptions, within)
                    : Both(options with { Protocol = UpstreamProtocol.Http1 }, chosen.HttpProtocolOptions, null, within);
            case WireHttp.HttpProtocolOptions.UpstreamProtocolOptionsOneofCase.UseDownstreamProtocolConfig:
                var downstream = typed.UseDownstreamProtocolConfig;
                // Without http2_protocol_options there is no HTTP/2 to follow, as in Envoy.
                var protocol = downstream.Http2ProtocolOptions is null ? UpstreamProtocol.Http1 : UpstreamProtocol.Downstream;
                return Both(options with { Protocol = protocol }, downstream.HttpProtocolOptions, downstream.Http2ProtocolOptions, at.At("use_downstream_protocol_config"));
            case WireHttp.HttpProtocolOptions.UpstreamProtocolOptionsOneofCase.AutoConfig:
                var auto = typed.AutoConfig;
                if (auto.AlternateProtocolsCacheOptions is not null)
                    at.Ignore("auto_config.alternate_protocols_cache_options", "HTTP/3 is not supported");
                return Both(options with { Protocol = UpstreamProtocol.Negotiated }, auto.HttpProtocolOptions, auto.Http2ProtocolOptions, at.At("auto_config"));
            default:
                at.Reject("upstream_protocol_options", "is required: explicit_http_config, use_downstream_protocol_config or auto_config");
                return options;
        }
    }

    private static HttpUpstreamOptions LegacyHttp(Wire.Cluster wire, ConfigScope scope)
    {
        var options = ServerNames(wire.UpstreamHttpProtocolOptions, wire, scope.At("upstream_http_protocol_options"));
        options = Common(wire.CommonHttpProtocolOptions, wire.MaxRequestsPerConnection, options, scope.At("common_http_protocol_options"));
        bool follows = wire.ProtocolSelection == Wire.Cluster.Types.ClusterProtocolSelection.UseDownstreamProtocol;
        if (!follows && wire.HttpProtocolOptions is not null && wire.Http2ProtocolOptions is not null)
            scope.Reject("http2_protocol_options", "cluster: Both HTTP1 and HTTP2 options may only be configured with non-default 'protocol_selection' values");
        var protocol = follows ? UpstreamProtocol.Downstream : wire.Http2ProtocolOptions is not null ? UpstreamProtocol.Http2 : UpstreamProtocol.Http1;
        return Both(options with { Protocol = protocol }, wire.HttpProtocolOptions, wire.Http2ProtocolOptions, scope);
    }

    private static HttpUpstreamOptions ServerNames(WireCore.UpstreamHttpProtocolOptions? wire, Wire.Cluster cluster, ConfigScope scope)
    {
        if (wire is null)
            return HttpUpstreamOptions.Default;
        if (cluster.TransportSocket is null && cluster.TransportSocketMatches.Count == 0)
        {
            if (wire.AutoSni)
                scope.Ignore("auto_sni", "has no effect without TLS");
            if (wire.AutoSanValidation)
                scope.Ignore("auto_san_validation", "has no effect without TLS");
        }
        string header = wire.OverrideAutoSniHeader.ToLowerInvariant();
        if (header.Length > 0 && !(header == ":authority" || Memory.Ascii.IsToken(Encoding.UTF8.GetBytes(header))))
            scope.Reject("override_auto_sni_header", "must be the name of a header");
        else if (header.Length > 0 && !wire.AutoSni && !wire.AutoSanValidation)
            scope.Ignore("override_auto_sni_header", "has no effect without auto_sni or auto_san_validation");
        return HttpUpstreamOptions.Default with
        {
            AutoServerName = wire.AutoSni,
            AutoSubjectAltName = wire.AutoSanValidation,
            ServerNameHeader = header.Length == 0 ? HttpUpstreamOptions.Default.ServerNameHeader : Encoding.UTF8.GetBytes(header),
        };
    }

    private static HttpUpstreamOptions Common(WireCore.HttpProtocolOptions? wire, uint? legacyRequestsMax, HttpUpstreamOptions options, ConfigScope scope)
    {
        options = options with { MaxRequestsPerConnection = legacyRequestsMax ?? 0 };
        if (wire is null)
            return options;
        var http1 = options.Http1;
        var http2 = options.Http2;
        if (wire.MaxHeadersCount is { } count)
        {
            if (count == 0)
                scope.Reject("max_headers_count", "value must be greater than or equal to 1");
            int headers = (int)Math.Min(count, int.MaxValue);
            (http1, http2) = (http1 with { MaxHeaders = headers }, http2 with { MaxHeaders = headers });
        }
        if (wire.MaxResponseHeadersKb is { } kilobytes)
        {
            if (kilobytes is 0 or > 8192)
                scope.Reject("max_response_headers_kb", "value must be greater than 0 and less than or equal to 8192");
            int bytes = (int)Math.Min(kilobytes, 8192) * 1024;
            (http1, http2) = (http1 with { MaxHeadBytes = bytes }, http2 with { MaxHeaderBytes = bytes });
        }
        if (wire.HeadersWithUnderscoresAction != WireCore.HttpProtocolOptions.Types.HeadersWithUnderscoresAction.Allow)
            scope.Ignore("headers_with_underscores_action", "is for requests that come in, not for a cluster");
        return options with
        {
            Http1 = http1,
            Http2 = http2,
            IdleTimeoutMs = scope.Milliseconds("idle_timeout", wire.IdleTimeout, options.IdleTimeoutMs),
            MaxConnectionDurationMs = scope.Milliseconds("max_connection_duration", wire.MaxConnectionDuration, 0),
            MaxConnectionDurationJitterPercent = Percent(wire.MaxConnectionDurationJitter, 0, scope.At("max_connection_duration_jitter")),
            MaxRequestsPerConnection = wire.MaxRequestsPerConnection ?? options.MaxRequestsPerConnection,
            MaxStreamDurationMs = scope.Milliseconds("max_stream_duration", wire.MaxStreamDuration, 0),
        };
    }

    private static HttpUpstreamOptions Both(
        HttpUpstreamOptions options, WireCore.Http1ProtocolOptions? http1, WireCore.Http2ProtocolOptions? http2, ConfigScope scope) => options with
    {
        Http1 = Http1(http1, options.Http1, scope.At("http_protocol_options")),
        Http2 = Http2OptionsReader.Read(http2, options.Http2, scope.At("http2_protocol_options")),
    };

    private static Http1Options Http1(WireCore.Http1ProtocolOptions? wire, Http1Options options, ConfigScope scope)
    {
        if (wire is null)
            return options;
        foreach (var (field, isSet) in new[]
        {
            ("allow_absolute_url", wire.AllowAbsoluteUrl is not null), ("accept_http_10", wire.AcceptHttp10), ("allow_custom_methods", wire.AllowCustomMethods),
            ("default_host_for_http_10", wire.DefaultHostForHttp10.Length > 0),
        })
        {
            if (isSet)
                scope.Ignore(field, "is for requests that come in, not for a cluster");
        }
        return options with
        {
            EnableTrailers = wire.EnableTrailers,
            AllowChunkedLength = wire.AllowChunkedLength,
            SendFullyQualifiedUrl = wire.SendFullyQualifiedUrl,
        };
    }

    // ---- connecting -----------------------------------------------------------------------------------------

    private static ConnectOptions Connect(Wire.Cluster wire, ConfigScope scope)
    {
        var options = ConnectOptions.Default;
        if (wire.UpstreamConnectionOptions is { } connection)
        {
            var at = scope.At("upstream_connection_options");
            if (connection.TcpKeepalive is { } keepalive)
            {
                options = options with
                {
                    KeepAlive = new KeepAlive((int)(keepalive.KeepaliveTime ?? 0), (int)(keepalive.KeepaliveInterval ?? 0), (int)(keepalive.KeepaliveProbes ?? 0)),
                };
            }
            if (connection.SetLocalInterfaceNameOnUpstreamConnections)
                at.Ignore("set_local_interface_name_on_upstream_connections", "the interface's name is not looked up");
            if (connection.HappyEyeballsConfig is not null)
                at.Ignore("happy_eyeballs_config", "only the first address of a host is used");
        }
        if (wire.UpstreamBindConfig is not { } bind)
            return options;

        var bindAt = scope.At("upstream_bind_config");
        var source = SourceAddress(bind.SourceAddress, bindAt.At("source_address"));
        var other = default(Address);
        for (int i = 0; i < bind.ExtraSourceAddresses.Count; i++)
        {
            if (bind.ExtraSourceAddresses[i].SocketOptions is not null)
                bindAt.Reject($"extra_source_addresses[{i}].socket_options", "is not supported; socket_options of upstream_bind_config are set for all addresses");
            other = OtherSource(bind.ExtraSourceAddresses[i].Address, source, other, bindAt.At($"extra_source_addresses[{i}].address"));
        }
        for (int i = 0; i < bind.AdditionalSourceAddresses.Count; i++)
            other = OtherSource(bind.AdditionalSourceAddresses[i], source, other, bindAt.At($"additional_source_addresses[{i}]"));
        if (bind.LocalAddressSelector is not null)
            bindAt.Reject("local_address_selector", "is not supported; the address of the destination's family is used");
        int mark = 0;
        bool transparent = false;
        bool freeBind = bind.Freebind ?? false;
        for (int i = 0; i < bind.SocketOptions.Count; i++)
            ReadSocketOption(bind.SocketOptions[i], bindAt.At($"socket_options[{i}]"), ref mark, ref transparent, ref freeBind);
        return options with { Source = source, OtherFamilySource = other, FreeBind = freeBind, Mark = mark, Transparent = transparent };
    }

    private static Address SourceAddress(WireCore.SocketAddress? wire, ConfigScope scope)
    {
        if (wire is null)
            return default;
        if (wire.PortSpecifierCase == WireCore.SocketAddress.PortSpecifierOneofCase.None)
            scope.Reject("port_specifier", "value is required: set port_value, to 0 for any port");
        if (wire.PortValue > ushort.MaxValue)
            scope.Reject("port_value", $"value must be less than or equal to {ushort.MaxValue}");
        if (wire.Protocol == WireCore.SocketAddress.Types.Protocol.Udp)
            scope.Reject("protocol", "UDP upstreams are not supported");
        if (wire.NetworkNamespaceFilepath.Length > 0)
            scope.Reject("network_namespace_filepath", "other network namespaces are not supported");
        if (wire.ResolverName.Length > 0)
            scope.Ignore("resolver_name", "it is an IP address, which needs no resolver");
        if (wire.Ipv4Compat)
            scope.Ignore("ipv4_compat", "is for addresses that are listened on");
        if (!Address.TryParseIp(wire.Address, out var address, (ushort)wire.PortValue))
            scope.Reject("address", $"malformed IP address: {wire.Address}");
        return address;
    }

    private static Address OtherSource(WireCore.SocketAddress? wire, in Address source, in Address other, ConfigScope scope)
    {
        var address = SourceAddress(wire, scope);
        if (address.IsNone)
            return other;
        if (!other.IsNone || address.Kind == source.Kind)
        {
            scope.Ignore("", "one source address for each IP family is used, the first");
            return other;
        }
        return address;
    }

    // By Linux's numbers (socket(7), ip(7), ipv6(7)): those of a sidecar's redirection; others are reported.
    private static void ReadSocketOption(WireCore.SocketOption wire, ConfigScope scope, ref int mark, ref bool transparent, ref bool freeBind)
    {
        bool isInt = wire.ValueCase == WireCore.SocketOption.ValueOneofCase.IntValue;
        switch (wire.Level, wire.Name)
        {
            case (1, 36) when isInt && wire.IntValue is >= 0 and <= uint.MaxValue:
                mark = (int)(uint)wire.IntValue;
                break;
            case (0, 19) or (41, 75) when isInt:
                transparent = wire.IntValue != 0;
                break;
            case (0, 15) or (41, 78) when isInt:
                freeBind = wire.IntValue != 0;
                break;
            default:
                scope.Reject("", $"socket option level {wire.Level} name {wire.Name} is not supported (SO_MARK, IP_TRANSPARENT and IP_FREEBIND are)");
                break;
        }
    }

    // A cluster that asks for anything this cannot do is refused: sending its bytes in the clear would be worse.
    private static TransportFactory Transport(WireCore.TransportSocket? wire, Wire.Cluster cluster, ConfigScope scope)
    {
        if (wire is null)
            return RawTransportFactory.Instance;
        string type = TypeName(wire.TypedConfig);
        if (type.Length == 0 && wire.Name is "envoy.transport_sockets.raw_buffer" or "raw_buffer" || type == "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer")
            return RawTransportFactory.Instance;
        if (type == "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext")
        {
            string statName = ClusterStatName(cluster);
            var context = WireTls.UpstreamTlsContext.Parser.ParseFrom(wire.TypedConfig!.Value);
            var slot = scope.Services.UpstreamTls(context, $"cluster.{statName}.", new StatTag("envoy.cluster_name", statName), scope.At("typed_config"));
            return slot is null ? RawTransportFactory.Instance : new TlsTransportFactory(slot);
        }
        if (type.Length == 0 && wire.Name is "tls" or "envoy.transport_sockets.tls")
            scope.Reject("typed_config", "is required: an UpstreamTlsContext");
        else
            scope.Reject("", $"transport socket {(type.Length > 0 ? type : wire.Name)} is not supported");
        return RawTransportFactory.Instance;
    }

    private static List<TransportMatch> TransportMatches(Wire.Cluster wire, ConfigScope scope)
    {
        var matches = new List<TransportMatch>(wire.TransportSocketMatches.Count);
        for (int i = 0; i < wire.TransportSocketMatches.Count; i++)
        {
            var match = wire.TransportSocketMatches[i];
            var at = scope.At($"transport_socket_matches[{i}]");
            if (match.Name.Length == 0)
                at.Reject("name", "value length must be at least 1 characters");
            matches.Add(new TransportMatch(match.Name, MetadataTranslator.Fields(match.Match ?? new Struct()), Transport(match.TransportSocket, wire, at.At("transport_socket"))));
        }
        if (wire.TransportSocketMatcher is not null)
            scope.Reject("transport_socket_matcher", "is not supported; use transport_socket_matches");
        return matches;
    }

    // ---- the rest -------------------------------------------------------------------------------------------

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
        if (wire.LbSubsetConfig is { SubsetSelectors.Count: > 0 })
            scope.Reject("lb_subset_config", "subset load balancing is not supported yet");
        else if (wire.LbSubsetConfig is not null)
            scope.Ignore("lb_subset_config", "has no effect without subset_selectors");
        if (wire.UpstreamConfig is { } upstream && TypeName(upstream.TypedConfig) is var type
            && type is not ("envoy.extensions.upstreams.http.generic.v3.GenericConnectionPoolProto" or "envoy.extensions.upstreams.tcp.generic.v3.GenericConnectionPoolProto"))
            scope.Reject("upstream_config", $"connection pool {(type.Length > 0 ? type : upstream.Name)} is not supported");
        if (wire.CommonLbConfig is { } common)
        {
            var at = scope.At("common_lb_config");
            if (common.ZoneAwareLbConfig is not null)
                at.Ignore("zone_aware_lb_config", "hosts of the same zone are not preferred");
            if (common.UpdateMergeWindow is not null)
                at.Ignore("update_merge_window", "updates are applied as they come, without breaking connections");
            if (common.IgnoreNewHostsUntilFirstHc)
                at.Ignore("ignore_new_hosts_until_first_hc", "active health checks are not supported yet");
            if (common.CloseConnectionsOnHostSetChange)
                at.Ignore("close_connections_on_host_set_change", "connections of hosts that stay are kept");
            if (common.ConsistentHashingLbConfig is not null)
                at.Ignore("consistent_hashing_lb_config", "RING_HASH and MAGLEV are not supported yet");
            if (common.OverrideHostStatus is not null)
                at.Ignore("override_host_status", "stateful sessions are not supported");
        }
        foreach (var (field, isSet, why) in new[]
        {
            ("health_checks", wire.HealthChecks.Count > 0, "active health checks are not supported yet"),
            ("outlier_detection", wire.OutlierDetection is not null, "outlier detection is not supported yet"),
            ("dns_resolvers", wire.DnsResolvers.Count > 0, "names are resolved as /etc/resolv.conf says"),
            ("dns_resolution_config", wire.DnsResolutionConfig is not null, "names are resolved as /etc/resolv.conf says"),
            ("typed_dns_resolver_config", wire.TypedDnsResolverConfig is not null, "names are resolved as /etc/resolv.conf says, by the built-in resolver"),
            ("use_tcp_for_dns_lookups", wire.UseTcpForDnsLookups, "TCP is used when an answer does not fit a datagram"),
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
        if (wire.EdsClusterConfig?.EdsConfig is { } eds
            && eds.ConfigSourceSpecifierCase is not (WireCore.ConfigSource.ConfigSourceSpecifierOneofCase.Ads or WireCore.ConfigSource.ConfigSourceSpecifierOneofCase.Self))
            scope.Ignore("eds_cluster_config.eds_config", "endpoints come from where the cluster came from");
        if (wire.EdsClusterConfig?.EdsConfig?.InitialFetchTimeout is not null)
            scope.Ignore("eds_cluster_config.eds_config.initial_fetch_timeout", "the first endpoints are waited for 15 s");
    }

    // Envoy's sanitiser for names in stats.
    private static string StatName(string name) => name.Replace("://", "_").Replace(":/", "_").Replace(':', '_').Replace('\0', '_');

    private static double Percent(global::Envoy.Type.V3.Percent? wire, double fallback, ConfigScope scope)
    {
        if (wire is null)
            return fallback;
        if (wire.Value is >= 0 and <= 100)
            return wire.Value;
        scope.Reject("value", "value must be inside range [0, 100]");
        return fallback;
    }

    private static long PositiveMs(string field, Duration? wire, long fallback, ConfigScope scope)
    {
        long ms = scope.Milliseconds(field, wire, fallback);
        if (ms == 0)
            scope.Reject(field, "value must be greater than 0s");
        return ms;
    }

    private static long AboveOneMs(string field, Duration? wire, long fallback, ConfigScope scope)
    {
        if (wire is { Seconds: 0, Nanos: <= 1_000_000 })
            scope.Reject(field, "value must be greater than 0.001s");
        return scope.Milliseconds(field, wire, fallback);
    }

    private static string TypeName(Any? any) =>
        any is null ? "" : any.TypeUrl[(any.TypeUrl.LastIndexOf('/') + 1)..];

    private static T? Parse<T>(MessageParser<T> parser, Any any, ConfigScope scope) where T : class, IMessage<T>
    {
        try
        {
            return parser.ParseFrom(any.Value);
        }
        catch (InvalidProtocolBufferException malformed)
        {
            scope.Reject("", $"malformed bytes: {malformed.Message}");
            return null;
        }
    }

    private static string Name(LbPolicy policy) => policy switch
    {
        LbPolicy.LeastRequest => "LEAST_REQUEST",
        LbPolicy.Random => "RANDOM",
        LbPolicy.ClusterProvided => "CLUSTER_PROVIDED",
        _ => "ROUND_ROBIN",
    };

    private static string Name(DiscoveryType type) => type switch
    {
        DiscoveryType.StrictDns => "STRICT_DNS",
        DiscoveryType.LogicalDns => "LOGICAL_DNS",
        DiscoveryType.Eds => "EDS",
        _ => "STATIC",
    };
}
