using System;
using Google.Protobuf.WellKnownTypes;
using Sidecar.Filters;
using Sidecar.Upstream;
using WireCore = Envoy.Config.Core.V3;
using WireLb = Envoy.Extensions.LoadBalancingPolicies;

namespace Sidecar.Config.Clusters;

using Wire = global::Envoy.Config.Cluster.V3;

/// <summary>How a host of a cluster is chosen.</summary>
/// <param name="Policy">The load balancing policy.</param>
/// <param name="ChoiceCount">LEAST_REQUEST: among how many draws.</param>
/// <param name="ActiveRequestBias">LEAST_REQUEST: how much active requests weigh against the weight of a host.</param>
internal readonly record struct LoadBalancing(LbPolicy Policy, int ChoiceCount = 2, double ActiveRequestBias = 1.0);

/// <summary>lb_policy of a cluster with its settings, or load_balancing_policy, which wins over it → <see cref="LoadBalancing"/>.</summary>
internal static class LoadBalancingTranslator
{
    /// <summary>Wire number of v2's ORIGINAL_DST_LB, which v3 has no name for; the same as CLUSTER_PROVIDED.</summary>
    private const int OriginalDstLb = 4;

    private const string NoSlowStart = "new hosts get their whole share at once";

    /// <summary>The policy of a cluster of some type; what a refused one comes to does not matter.</summary>
    internal static LoadBalancing Translate(Wire.Cluster wire, DiscoveryType type, ConfigScope scope)
    {
        ReportUnsupported(wire, scope);
        if (wire.LoadBalancingPolicy is { } typed)
            return Typed(typed, type, scope.At("load_balancing_policy"));
        if (Named(wire, scope) is not { } balancing)
            return default;
        CheckProvided(balancing.Policy, type, scope, "lb_policy");
        ReportOthers(wire, balancing.Policy, scope);
        return balancing;
    }

    private static void ReportUnsupported(Wire.Cluster wire, ConfigScope scope)
    {
        if (wire.LbSubsetConfig is { SubsetSelectors.Count: > 0 })
            scope.Reject("lb_subset_config", "subset load balancing is not supported yet");
        else if (wire.LbSubsetConfig is not null)
            scope.Ignore("lb_subset_config", "has no effect without subset_selectors");
        if (wire.CommonLbConfig is not { } common)
        return;
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

    // ---- lb_policy --------------------------------------------------------------------------------------------

    private static LoadBalancing? Named(Wire.Cluster wire, ConfigScope scope)
    {
        switch (wire.LbPolicy)
        {
            case Wire.Cluster.Types.LbPolicy.RoundRobin:
                if (wire.RoundRobinLbConfig?.SlowStartConfig is not null)
                    scope.Ignore("round_robin_lb_config.slow_start_config", NoSlowStart);
                return new LoadBalancing(LbPolicy.RoundRobin);
            case Wire.Cluster.Types.LbPolicy.LeastRequest:
                if (wire.LeastRequestLbConfig is not { } least)
                    return new LoadBalancing(LbPolicy.LeastRequest);
                var at = scope.At("least_request_lb_config");
                if (least.SlowStartConfig is not null)
                    at.Ignore("slow_start_config", NoSlowStart);
                return new LoadBalancing(LbPolicy.LeastRequest, ChoiceCount(least.ChoiceCount, at), Bias(least.ActiveRequestBias, at));
            case Wire.Cluster.Types.LbPolicy.Random:
                return new LoadBalancing(LbPolicy.Random);
            case Wire.Cluster.Types.LbPolicy.ClusterProvided or (Wire.Cluster.Types.LbPolicy)OriginalDstLb:
                return new LoadBalancing(LbPolicy.ClusterProvided);
            case Wire.Cluster.Types.LbPolicy.RingHash:
                scope.Reject("lb_policy", "RING_HASH is not supported yet; use ROUND_ROBIN, LEAST_REQUEST or RANDOM");
                return null;
            case Wire.Cluster.Types.LbPolicy.Maglev:
                scope.Reject("lb_policy", "MAGLEV is not supported yet; use ROUND_ROBIN, LEAST_REQUEST or RANDOM");
                return null;
            case Wire.Cluster.Types.LbPolicy.LoadBalancingPolicyConfig:
                scope.Reject("load_balancing_policy", "cluster: LB policy LOAD_BALANCING_POLICY_CONFIG needs load_balancing_policy");
                return null;
            default:
                scope.Reject("lb_policy", "value must be one of the defined enum values");
                return null;
        }
    }

    // Settings of a policy that is not the cluster's.
    private static void ReportOthers(Wire.Cluster wire, LbPolicy policy, ConfigScope scope)
    {
        string reason = $"lb_policy is {Name(policy)}";
        if (wire.RingHashLbConfig is not null)
            scope.Ignore("ring_hash_lb_config", reason);
        if (wire.MaglevLbConfig is not null)
            scope.Ignore("maglev_lb_config", reason);
        if (wire.LeastRequestLbConfig is not null && policy != LbPolicy.LeastRequest)
            scope.Ignore("least_request_lb_config", reason);
    }

    // ---- load_balancing_policy --------------------------------------------------------------------------------

    // The first policy that is known here is taken, as in Envoy.
    private static LoadBalancing Typed(Wire.LoadBalancingPolicy wire, DiscoveryType type, ConfigScope scope)
    {
        for (int i = 0; i < wire.Policies.Count; i++)
        {
            var at = scope.At("policies", i).At("typed_extension_config");
            var config = wire.Policies[i].TypedExtensionConfig?.TypedConfig;
            if (Known(config, at) is { } balancing)
            {
                CheckProvided(balancing.Policy, type, at, "");
                return balancing;
            }
            if (i < wire.Policies.Count - 1)
                at.Ignore("", $"load balancing policy {TypedConfig.TypeName(config)} is not supported; the next one is tried");
        }
        scope.Reject("policies", "no load balancing policy in it is supported (round_robin, least_request, random, cluster_provided are)");
        return default;
    }

    private static LoadBalancing? Known(Any? config, ConfigScope scope)
    {
        switch (TypedConfig.TypeName(config))
        {
            case "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin":
                if (TypedConfig.TryParse(WireLb.RoundRobin.V3.RoundRobin.Parser, config!.Value, scope, out var round))
                {
                    if (round.SlowStartConfig is not null)
                        scope.Ignore("typed_config.slow_start_config", NoSlowStart);
                    ReportLocality(round.LocalityLbConfig, scope.At("typed_config"));
                }
                return new LoadBalancing(LbPolicy.RoundRobin);
            case "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest":
                return TypedConfig.TryParse(WireLb.LeastRequest.V3.LeastRequest.Parser, config!.Value, scope, out var least)
                    ? LeastRequest(least, scope.At("typed_config")) : new LoadBalancing(LbPolicy.LeastRequest);
            case "envoy.extensions.load_balancing_policies.random.v3.Random":
                if (TypedConfig.TryParse(WireLb.Random.V3.Random.Parser, config!.Value, scope, out var random))
                    ReportLocality(random.LocalityLbConfig, scope.At("typed_config"));
                return new LoadBalancing(LbPolicy.Random);
            case "envoy.extensions.load_balancing_policies.cluster_provided.v3.ClusterProvided":
                return new LoadBalancing(LbPolicy.ClusterProvided);
            default:
                return null;
        }
    }

    private static LoadBalancing LeastRequest(WireLb.LeastRequest.V3.LeastRequest wire, ConfigScope scope)
    {
        if (wire.SlowStartConfig is not null)
            scope.Ignore("slow_start_config", NoSlowStart);
        const string noScan = "hosts are chosen by choice_count draws, not by a full scan";
        if (wire.SelectionMethod == WireLb.LeastRequest.V3.LeastRequest.Types.SelectionMethod.FullScan)
            scope.Ignore("selection_method", noScan);
        if (wire.EnableFullScan == true)
            scope.Ignore("enable_full_scan", noScan);
        ReportLocality(wire.LocalityLbConfig, scope);
        return new LoadBalancing(LbPolicy.LeastRequest, ChoiceCount(wire.ChoiceCount, scope), Bias(wire.ActiveRequestBias, scope));
    }

    private static void ReportLocality(WireLb.Common.V3.LocalityLbConfig? wire, ConfigScope scope)
    {
        if (wire is not null)
            scope.Ignore("locality_lb_config", "localities are not told apart by a typed policy yet; use common_lb_config.locality_weighted_lb_config");
    }

    // ---- both -------------------------------------------------------------------------------------------------

    private static void CheckProvided(LbPolicy policy, DiscoveryType type, ConfigScope scope, string field)
    {
        if (type == DiscoveryType.OriginalDst && policy != LbPolicy.ClusterProvided)
            scope.Reject(field, $"cluster: LB policy {Name(policy)} is not valid for Cluster type ORIGINAL_DST. Only 'CLUSTER_PROVIDED' is allowed with cluster type 'ORIGINAL_DST'");
        if (type != DiscoveryType.OriginalDst && policy == LbPolicy.ClusterProvided)
            scope.Reject(field, $"cluster: LB policy CLUSTER_PROVIDED is not valid for Cluster type {Name(type)}. It is allowed only with cluster type 'ORIGINAL_DST'");
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
