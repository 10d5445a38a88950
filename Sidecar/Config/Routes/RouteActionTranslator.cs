using System.Collections.Generic;
using System.Text;
using Sidecar.Filters;
using Sidecar.Routing;
using WireCore = Envoy.Config.Core.V3;
using WireRoute = Envoy.Config.Route.V3;

namespace Sidecar.Config.Routes;

/// <summary>envoy.config.route.v3.RouteAction → <see cref="RouteAction"/>: to which cluster a request goes, and how.</summary>
internal static class RouteActionTranslator
{
    /// <summary>Translates an action; null, with every reason in <paramref name="scope"/>, when it has no cluster.</summary>
    /// <param name="wire">The action.</param>
    /// <param name="hostRetry">The policy of the virtual host, for routes without their own.</param>
    /// <param name="context">What holds for the whole table.</param>
    /// <param name="scope">Where problems go.</param>
    internal static RouteAction? Translate(WireRoute.RouteAction wire, RetryPolicy? hostRetry, RouteTableContext context, ConfigScope scope)
    {
        ReportUnsupported(wire, scope);
        ClusterRef? cluster = null;
        byte[] clusterHeader = [];
        WeightedCluster[] weighted = [];
        switch (wire.ClusterSpecifierCase)
        {
            case WireRoute.RouteAction.ClusterSpecifierOneofCase.Cluster:
                cluster = Cluster(wire.Cluster, "cluster", context, scope);
                break;
            case WireRoute.RouteAction.ClusterSpecifierOneofCase.ClusterHeader:
                clusterHeader = FieldNameReader.Read("cluster_header", wire.ClusterHeader, scope);
                break;
            case WireRoute.RouteAction.ClusterSpecifierOneofCase.WeightedClusters:
                weighted = Weighted(wire.WeightedClusters, context, scope.At("weighted_clusters"));
                if (weighted.Length == 0)
                    return null;
                break;
            default:
                scope.Reject("cluster_specifier", "is required: set cluster, cluster_header or weighted_clusters");
                return null;
        }
        var streams = wire.MaxStreamDuration;
        var streamScope = scope.At("max_stream_duration");
        return new RouteAction
        {
            Cluster = cluster,
            ClusterHeader = clusterHeader,
            Weighted = weighted,
            WeightedRandomHeader = FieldNameReader.Lower(wire.WeightedClusters?.HeaderName ?? ""),
            ClusterNotFoundStatus = wire.ClusterNotFoundResponseCode switch
            {
                WireRoute.RouteAction.Types.ClusterNotFoundResponseCode.NotFound => 404,
                WireRoute.RouteAction.Types.ClusterNotFoundResponseCode.InternalServerError => 500,
                _ => 503,
            },
            Priority = wire.Priority == WireCore.RoutingPriority.High ? RoutePriority.High : RoutePriority.Default,
            TimeoutMs = scope.Milliseconds("timeout", wire.Timeout, 15_000),
            IdleTimeoutMs = wire.IdleTimeout is null ? null : scope.Milliseconds("idle_timeout", wire.IdleTimeout, 0),
            MaxGrpcTimeoutMs = wire.MaxGrpcTimeout is null ? null : scope.Milliseconds("max_grpc_timeout", wire.MaxGrpcTimeout, 0),
            GrpcTimeoutOffsetMs = scope.Milliseconds("grpc_timeout_offset", wire.GrpcTimeoutOffset, 0),
            MaxStreamDurationMs = streams?.MaxStreamDuration_ is null ? null : streamScope.Milliseconds("max_stream_duration", streams.MaxStreamDuration_, 0),
            GrpcTimeoutHeaderMaxMs = streams?.GrpcTimeoutHeaderMax is null ? null : streamScope.Milliseconds("grpc_timeout_header_max", streams.GrpcTimeoutHeaderMax, 0),
            GrpcTimeoutHeaderOffsetMs = streamScope.Milliseconds("grpc_timeout_header_offset", streams?.GrpcTimeoutHeaderOffset, 0),
            Retry = wire.RetryPolicy is null ? hostRetry : RetryPolicyTranslator.Translate(wire.RetryPolicy, scope.At("retry_policy")),
            Hashes = HashPolicyTranslator.Translate(wire.HashPolicy, scope),
            PrefixRewrite = Encoding.UTF8.GetBytes(wire.PrefixRewrite),
            PathRegexRewrite = wire.RegexRewrite is null ? null : MatcherTranslator.Rewrite(wire.RegexRewrite, scope.At("regex_rewrite")),
            HostRewrite = Encoding.UTF8.GetBytes(wire.HasHostRewriteLiteral ? wire.HostRewriteLiteral : ""),
            AutoHostRewrite = wire.AutoHostRewrite ?? false,
            HostRewriteHeader = FieldNameReader.Lower(wire.HasHostRewriteHeader ? wire.HostRewriteHeader : ""),
            HostRewritePathRegex = wire.HostRewritePathRegex is null ? null : MatcherTranslator.Rewrite(wire.HostRewritePathRegex, scope.At("host_rewrite_path_regex")),
            AppendXForwardedHost = wire.AppendXForwardedHost,
            Upgrades = Upgrades(wire, scope),
        };
    }

    private static void ReportUnsupported(WireRoute.RouteAction wire, ConfigScope scope)
    {
        if (wire.HasClusterSpecifierPlugin || wire.InlineClusterSpecifierPlugin is not null)
            scope.Reject("cluster_specifier_plugin", "cluster specifier plugins are not supported");
        if (wire.PathRewritePolicy is not null)
            scope.Reject("path_rewrite_policy", "path rewrite policies are not supported; use prefix_rewrite or regex_rewrite");
        if (wire.PathRewrite.Length > 0)
            scope.Reject("path_rewrite", "is not supported; use prefix_rewrite or regex_rewrite");
        if (wire.HasHostRewrite)
            scope.Reject("host_rewrite", "is not supported; use host_rewrite_literal");
        if (wire.PrefixRewrite.Length > 0 && wire.RegexRewrite is not null)
            scope.Reject("regex_rewrite", "only one of prefix_rewrite and regex_rewrite can be specified");
        if (wire.InternalRedirectPolicy is not null)
            scope.Reject("internal_redirect_policy", "internal redirects are not supported");
        if (wire.InternalRedirectAction != WireRoute.RouteAction.Types.InternalRedirectAction.PassThroughInternalRedirect)
            scope.Reject("internal_redirect_action", "internal redirects are not supported");
        if (wire.MaxInternalRedirects is not null)
            scope.Ignore("max_internal_redirects", "there are no internal redirects");
        if (wire.IncludeVhRateLimits is not null)
            scope.Ignore("include_vh_rate_limits", "global rate limits are not applied");
        if (wire.FlushTimeout is not null)
            scope.Ignore("flush_timeout", "the idle timeout also holds while the last bytes are sent");
        if (wire.RequestMirrorPolicies.Count > 0)
            scope.Ignore("request_mirror_policies", VirtualHostTranslator.RequestsNotMirrored);
        if (wire.Priority is not (WireCore.RoutingPriority.Default or WireCore.RoutingPriority.High))
            scope.Reject("priority", "must be DEFAULT or HIGH");
        if (wire.MetadataMatch is not null)
            scope.Ignore("metadata_match", "subsets of a cluster are not supported; all its hosts are used");
        if (wire.RateLimits.Count > 0)
            scope.Ignore("rate_limits", "global rate limits are not applied");
        if (wire.HedgePolicy is not null)
            scope.Ignore("hedge_policy", "requests are not hedged");
        if (wire.RetryPolicyTypedConfig is not null)
            scope.Reject("retry_policy_typed_config", "is not supported; use retry_policy");
        if (wire.EarlyDataPolicy is not null)
            scope.Ignore("early_data_policy", "there is no early data");
    }

    private static ClusterRef Cluster(string name, string field, RouteTableContext context, ConfigScope scope)
    {
        if (name.Length == 0)
            scope.Reject(field, "must not be empty");
        else if (context.ValidateClusters && scope.Services.ClusterProblem(name) is { } problem)
            scope.Reject(field, "route: " + problem);
        return scope.Services.Cluster(name);
    }

    private static WeightedCluster[] Weighted(WireRoute.WeightedCluster wire, RouteTableContext context, ConfigScope scope)
    {
        if (wire.UseHashPolicy == true)
            scope.Reject("use_hash_policy", "is not supported; use header_name");
        if (wire.RuntimeKeyPrefix.Length > 0)
            scope.Ignore("runtime_key_prefix", "there is no runtime; weights are as configured");
        var clusters = new List<WeightedCluster>(wire.Clusters.Count);
        ulong sum = 0;
        for (int i = 0; i < wire.Clusters.Count; i++)
        {
            var at = scope.At($"clusters[{i}]");
            var entry = wire.Clusters[i];
            if (entry.Name.Length + entry.ClusterHeader.Length == 0)
                at.Reject("", "At least one of name or cluster_header need to be specified");
            else if (entry.Name.Length > 0 && entry.ClusterHeader.Length > 0)
                at.Reject("", "Only one of name or cluster_header can be specified");
            else if (entry.ClusterHeader.Length > 0 && !FieldNameReader.IsValid(entry.ClusterHeader))
                at.Reject("cluster_header", "must be a header name");
            if (entry.MetadataMatch is not null)
                at.Ignore("metadata_match", "subsets of a cluster are not supported; all its hosts are used");
            sum += entry.Weight ?? 0;
            clusters.Add(new WeightedCluster(
                entry.Name.Length > 0 ? Cluster(entry.Name, "name", context, at) : null, FieldNameReader.Lower(entry.ClusterHeader), sum)
            {
                Mutation = HeaderMutationTranslator.Translate(entry.RequestHeadersToAdd, entry.RequestHeadersToRemove, entry.ResponseHeadersToAdd, entry.ResponseHeadersToRemove, at),
                HostRewrite = Encoding.UTF8.GetBytes(entry.HasHostRewriteLiteral ? entry.HostRewriteLiteral : ""),
                FilterConfigs = RouteFilterConfigTranslator.Translate(entry.TypedPerFilterConfig, at),
            });
        }
        if (clusters.Count == 0)
            scope.Reject("clusters", "needs at least 1 cluster");
        else if (sum == 0)
            scope.Reject("clusters", "Sum of weights in the weighted_cluster must be greater than 0.");
        else if (sum > uint.MaxValue)
            scope.Reject("clusters", $"The sum of weights of all weighted clusters of route exceeds {uint.MaxValue}");
        if (wire.TotalWeight is { } total && total != sum && sum > 0)
            scope.Reject("total_weight", $"Sum of weights in the weighted_cluster should add up to {total}, is {sum}");
        return sum is 0 or > uint.MaxValue ? [] : clusters.ToArray();
    }

    private static Dictionary<string, bool>? Upgrades(WireRoute.RouteAction wire, ConfigScope scope)
    {
        if (wire.UpgradeConfigs.Count == 0)
            return null;
        var upgrades = new Dictionary<string, bool>();
        for (int i = 0; i < wire.UpgradeConfigs.Count; i++)
        {
            var upgrade = wire.UpgradeConfigs[i];
            if (upgrade.ConnectConfig is not null)
                scope.Reject($"upgrade_configs[{i}].connect_config", "ending CONNECT here and forwarding its payload as TCP is not supported yet");
            if (!upgrades.TryAdd(upgrade.UpgradeType.ToLowerInvariant(), upgrade.Enabled ?? true))
                scope.Reject($"upgrade_configs[{i}].upgrade_type", $"Duplicate upgrade {upgrade.UpgradeType}");
        }
        return upgrades;
    }
}
