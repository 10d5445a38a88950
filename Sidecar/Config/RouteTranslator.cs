using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Text;
using Google.Protobuf;
using Google.Protobuf.Collections;
using Google.Protobuf.WellKnownTypes;
using Sidecar.Filters;
using Sidecar.Filters.Http;
using Sidecar.Linux;
using Sidecar.Routing;
using WireCore = Envoy.Config.Core.V3;
using WireRoute = Envoy.Config.Route.V3;

namespace Sidecar.Config;

/// <summary>envoy.config.route.v3.RouteConfiguration → <see cref="RouteTable"/>.</summary>
internal static class RouteTranslator
{
    /// <summary>max_direct_response_body_size_bytes when it is not set.</summary>
    private const uint DirectBodyBytesMax = 4096;

    // What is read of a file before the limit of the route configuration is looked at.
    private const long BodyFileBytesMax = 16 * 1024 * 1024;

    /// <summary>Translates a route configuration; null, with every reason in <paramref name="scope"/>, when it is refused.</summary>
    /// <param name="wire">The resource, or the inline one of a connection manager.</param>
    /// <param name="isInline">Inline configurations validate their clusters unless told not to; those of RDS only when told to.</param>
    /// <param name="scope">Where problems go.</param>
    internal static RouteTable? Translate(WireRoute.RouteConfiguration wire, bool isInline, ConfigScope scope)
    {
        if (wire.Vhds is not null)
            scope.Reject("vhds", "on-demand virtual hosts are not supported");
        for (int i = 0; i < wire.ClusterSpecifierPlugins.Count; i++)
        {
            if (wire.ClusterSpecifierPlugins[i].IsOptional)
                scope.Ignore($"cluster_specifier_plugins[{i}]", "cluster specifier plugins are not supported; this one is optional");
            else
                scope.Reject($"cluster_specifier_plugins[{i}]", "cluster specifier plugins are not supported");
        }
        if (wire.VhostHeader.Length > 0)
            scope.Reject("vhost_header", "is not supported");
        if (wire.RequestMirrorPolicies.Count > 0)
            scope.Ignore("request_mirror_policies", RequestsNotMirrored);

        var context = new Context(wire.ValidateClusters ?? isInline, wire.MaxDirectResponseBodySizeBytes ?? DirectBodyBytesMax);
        context.IgnoreOnce("metadata", wire.Metadata, MetadataUnread, scope);
        var internalOnly = new List<byte[]>();
        foreach (string name in wire.InternalOnlyHeaders)
            internalOnly.Add(LowerBytes(name));
        var table = new RouteTable
        {
            Name = wire.Name,
            IgnorePortInHostMatching = wire.IgnorePortInHostMatching,
            IgnorePathParametersInPathMatching = wire.IgnorePathParametersInPathMatching,
            MostSpecificMutationsWin = wire.MostSpecificHeaderMutationsWins,
            Mutation = Mutation(wire.RequestHeadersToAdd, wire.RequestHeadersToRemove, wire.ResponseHeadersToAdd, wire.ResponseHeadersToRemove, scope),
            InternalOnlyHeaders = internalOnly.ToArray(),
            FilterConfigs = FilterConfigs(wire.TypedPerFilterConfig, null, "", scope),
        };
        var names = new HashSet<string>(StringComparer.Ordinal);
        for (int i = 0; i < wire.VirtualHosts.Count; i++)
            AddHost(table, wire.VirtualHosts[i], names, context, scope.At($"virtual_hosts[{i}]"));
        return scope.IsRejected ? null : table;
    }

    private const string RequestsNotMirrored = "requests are not mirrored: only the route's own cluster sees them";

    private sealed record Context(bool ValidateClusters, uint DirectBodyMax)
    {
        private readonly HashSet<string> _noted = new(StringComparer.Ordinal);

        // Istio puts metadata and a decorator on every route: one line for a table says as much as ten thousand.
        internal void IgnoreOnce(string field, IMessage? wire, string reason, ConfigScope scope)
        {
            if (wire is not null && _noted.Add(field))
                scope.Ignore(field, reason + " (named once for the whole table)");
        }
    }

    private const string MetadataUnread = "nothing here reads metadata of routes yet";

    private static void AddHost(RouteTable table, WireRoute.VirtualHost wire, HashSet<string> names, Context context, ConfigScope scope)
    {
        if (wire.Name.Length == 0)
            scope.Reject("name", "must not be empty");
        else if (!names.Add(wire.Name))
            scope.Reject("name", $"Only unique names for virtual hosts are permitted. Duplicate entry of virtual host '{wire.Name}'");
        if (wire.Domains.Count == 0)
            scope.Reject("domains", "needs at least 1 domain");
        if (wire.Matcher is not null)
            scope.Reject("matcher", "a matcher tree is not supported; use routes");
        if (wire.RateLimits.Count > 0)
            scope.Ignore("rate_limits", "global rate limits are not applied");
        if (wire.VirtualClusters.Count > 0)
            scope.Ignore("virtual_clusters", "virtual clusters only name stats, which are not kept");
        if (wire.HedgePolicy is not null)
            scope.Ignore("hedge_policy", "requests are not hedged");
        if (wire.RequestMirrorPolicies.Count > 0)
            scope.Ignore("request_mirror_policies", RequestsNotMirrored);
        if (wire.RequireTls != WireRoute.VirtualHost.Types.TlsRequirementType.None && !System.Enum.IsDefined(wire.RequireTls))
            scope.Reject("require_tls", "must be NONE, EXTERNAL_ONLY or ALL");
        if (wire.RetryPolicyTypedConfig is not null)
            scope.Reject("retry_policy_typed_config", "is not supported; use retry_policy");
        if (wire.IncludeIsTimeoutRetryHeader)
            scope.Ignore("include_is_timeout_retry_header", "x-envoy-is-timeout-retry is not sent");
        BodyLimits(wire.PerRequestBufferLimitBytes, wire.RequestBodyBufferLimit, scope);
        context.IgnoreOnce("metadata", wire.Metadata, MetadataUnread, scope);
        var hostRetry = wire.RetryPolicy is null ? null : Retry(wire.RetryPolicy, scope.At("retry_policy"));

        var routes = new List<Route>(wire.Routes.Count);
        for (int i = 0; i < wire.Routes.Count; i++)
        {
            if (TranslateRoute(wire.Routes[i], hostRetry, context, scope.At($"routes[{i}]")) is { } route)
            {
                route.Table = table;
                routes.Add(route);
            }
        }
        var host = new VirtualHost(wire.Name, routes.ToArray())
        {
            RequireTls = (TlsRequirement)wire.RequireTls,
            IncludeRequestAttemptCount = wire.IncludeRequestAttemptCount,
            IncludeAttemptCountInResponse = wire.IncludeAttemptCountInResponse,
            Mutation = Mutation(wire.RequestHeadersToAdd, wire.RequestHeadersToRemove, wire.ResponseHeadersToAdd, wire.ResponseHeadersToRemove, scope),
            FilterConfigs = FilterConfigs(wire.TypedPerFilterConfig, wire.Cors, "cors", scope),
        };
        for (int i = 0; i < wire.Domains.Count; i++)
        {
            string domain = wire.Domains[i];
            if (domain.Length == 0 || (domain.Length > 1 && domain.IndexOf('*', 1) is > 0 and var star && star < domain.Length - 1) || (domain.Length > 2 && domain[0] == '*' && domain[^1] == '*'))
                scope.Reject($"domains[{i}]", $"'{domain}' is not a domain: a wildcard may stand at its start or at its end only");
            else if (!table.TryAdd(domain, host))
                scope.Reject($"domains[{i}]", domain == "*"
                    ? $"Only a single wildcard domain is permitted in route {table.Name}"
                    : $"Only unique values for domains are permitted. Duplicate entry of domain {domain} in route {table.Name}");
        }
    }

    private static void BodyLimits(uint? older, ulong? limit, ConfigScope scope)
    {
        const string Reason = "bodies kept for retries are limited by the listener's per_connection_buffer_limit_bytes alone";
        if (older is not null)
            scope.Ignore("per_request_buffer_limit_bytes", Reason);
        if (limit is not null)
            scope.Ignore("request_body_buffer_limit", Reason);
    }

    private static Route? TranslateRoute(WireRoute.Route wire, RetryPolicy? hostRetry, Context context, ConfigScope scope)
    {
        if (wire.Tracing is not null)
            scope.Ignore("tracing", "traces are not produced yet");
        context.IgnoreOnce("decorator", wire.Decorator, "it names spans, and traces are not produced yet", scope);
        if (wire.StatPrefix.Length > 0)
            scope.Ignore("stat_prefix", "stats of single routes are not kept");
        BodyLimits(wire.PerRequestBufferLimitBytes, wire.RequestBodyBufferLimit, scope);
        context.IgnoreOnce("metadata", wire.Metadata, MetadataUnread, scope);
        var match = Match(wire.Match, scope.At("match"));
        RouteAction? action = null;
        RedirectAction? redirect = null;
        DirectResponse? direct = null;
        switch (wire.ActionCase)
        {
            case WireRoute.Route.ActionOneofCase.Route_:
                action = Action(wire.Route_, hostRetry, context, scope.At("route"));
                break;
            case WireRoute.Route.ActionOneofCase.Redirect:
                redirect = Redirect(wire.Redirect, scope.At("redirect"));
                break;
            case WireRoute.Route.ActionOneofCase.DirectResponse:
                direct = Direct(wire.DirectResponse, context, scope.At("direct_response"));
                break;
            case WireRoute.Route.ActionOneofCase.NonForwardingAction:
                scope.Reject("non_forwarding_action", "is for gRPC servers; use route, redirect or direct_response");
                break;
            case WireRoute.Route.ActionOneofCase.FilterAction:
                scope.Reject("filter_action", "is not supported");
                break;
            default:
                scope.Reject("action", "is required: set route, redirect or direct_response");
                break;
        }
        if (match is null || (action is null && redirect is null && direct is null))
            return null;
        return new Route
        {
            Name = wire.Name,
            Match = match,
            Action = action,
            Redirect = redirect,
            DirectResponse = direct,
            Mutation = Mutation(wire.RequestHeadersToAdd, wire.RequestHeadersToRemove, wire.ResponseHeadersToAdd, wire.ResponseHeadersToRemove, scope),
            DecoratorOperation = Encoding.UTF8.GetBytes(wire.Decorator?.Operation ?? ""),
            PropagateDecorator = wire.Decorator?.Propagate ?? true,
            FilterConfigs = FilterConfigs(wire.TypedPerFilterConfig, wire.Route_?.Cors, "route.cors", scope),
        };
    }

    private static RouteMatch? Match(WireRoute.RouteMatch? wire, ConfigScope scope)
    {
        if (wire is null)
        {
            scope.Reject("", "is required");
            return null;
        }
        if (wire.Cookies.Count > 0)
            scope.Reject("cookies", "matching by cookie is not supported; match the cookie header");
        if (wire.DynamicMetadata.Count > 0)
            scope.Reject("dynamic_metadata", "there is no filter that sets dynamic metadata yet");
        if (wire.FilterState.Count > 0)
            scope.Reject("filter_state", "there is no filter state yet");
        var kind = PathMatchKind.Prefix;
        string path = "";
        LinearRegex? regex = null;
        switch (wire.PathSpecifierCase)
        {
            case WireRoute.RouteMatch.PathSpecifierOneofCase.Prefix:
                path = wire.Prefix;
                break;
            case WireRoute.RouteMatch.PathSpecifierOneofCase.Path:
                (kind, path) = (PathMatchKind.Exact, wire.Path);
                break;
            case WireRoute.RouteMatch.PathSpecifierOneofCase.PathSeparatedPrefix:
                (kind, path) = (PathMatchKind.SeparatedPrefix, wire.PathSeparatedPrefix);
                if (path.Length < 2 || path[0] != '/' || path[^1] == '/' || path.AsSpan().IndexOfAny('?', '#') >= 0)
                    scope.Reject("path_separated_prefix", "must start with '/', not end with it, and have no query");
                break;
            case WireRoute.RouteMatch.PathSpecifierOneofCase.SafeRegex:
                kind = PathMatchKind.Regex;
                regex = MatcherTranslator.Regex(wire.SafeRegex, RegexUse.FullMatch, scope.At("safe_regex"));
                if (regex is null)
                    return null;
                break;
            case WireRoute.RouteMatch.PathSpecifierOneofCase.ConnectMatcher:
                kind = PathMatchKind.Connect;
                break;
            case WireRoute.RouteMatch.PathSpecifierOneofCase.PathMatchPolicy:
                scope.Reject("path_match_policy", "path match policies are not supported");
                return null;
            default:
                scope.Reject("path_specifier", "is required: set prefix, path, path_separated_prefix, safe_regex or connect_matcher");
                return null;
        }
        var query = new List<QueryParameterMatcher>();
        for (int i = 0; i < wire.QueryParameters.Count; i++)
        {
            if (MatcherTranslator.Query(wire.QueryParameters[i], scope.At($"query_parameters[{i}]")) is { } matcher)
                query.Add(matcher);
        }
        return new RouteMatch
        {
            Kind = kind,
            Path = Encoding.UTF8.GetBytes(path),
            Regex = regex,
            CaseSensitive = wire.CaseSensitive ?? true,
            Headers = MatcherTranslator.Headers(wire.Headers, "headers", scope),
            Query = query.ToArray(),
            GrpcOnly = wire.Grpc is not null,
            PerMillion = wire.RuntimeFraction?.DefaultValue is { } share ? Fractions.PerMillion(share) : 1_000_000,
            CertificatePresented = wire.TlsContext?.Presented,
            CertificateValidated = wire.TlsContext?.Validated,
        };
    }

    private static RouteAction? Action(WireRoute.RouteAction wire, RetryPolicy? hostRetry, Context context, ConfigScope scope)
    {
        RejectUnsupported(wire, scope);
        ClusterRef? cluster = null;
        WeightedCluster[] weighted = [];
        switch (wire.ClusterSpecifierCase)
        {
            case WireRoute.RouteAction.ClusterSpecifierOneofCase.Cluster:
                cluster = Cluster(wire.Cluster, "cluster", context, scope);
                break;
            case WireRoute.RouteAction.ClusterSpecifierOneofCase.ClusterHeader:
                if (!IsFieldName(wire.ClusterHeader))
                    scope.Reject("cluster_header", "must be a header name");
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
            ClusterHeader = LowerBytes(wire.HasClusterHeader ? wire.ClusterHeader : ""),
            Weighted = weighted,
            WeightedRandomHeader = LowerBytes(wire.WeightedClusters?.HeaderName ?? ""),
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
            Retry = wire.RetryPolicy is null ? hostRetry : Retry(wire.RetryPolicy, scope.At("retry_policy")),
            Hashes = Hashes(wire, scope),
            PrefixRewrite = Encoding.UTF8.GetBytes(wire.PrefixRewrite),
            PathRegexRewrite = wire.RegexRewrite is null ? null : MatcherTranslator.Rewrite(wire.RegexRewrite, scope.At("regex_rewrite")),
            HostRewrite = Encoding.UTF8.GetBytes(wire.HasHostRewriteLiteral ? wire.HostRewriteLiteral : ""),
            AutoHostRewrite = wire.AutoHostRewrite ?? false,
            HostRewriteHeader = LowerBytes(wire.HasHostRewriteHeader ? wire.HostRewriteHeader : ""),
            HostRewritePathRegex = wire.HostRewritePathRegex is null ? null : MatcherTranslator.Rewrite(wire.HostRewritePathRegex, scope.At("host_rewrite_path_regex")),
            AppendXForwardedHost = wire.AppendXForwardedHost,
            Upgrades = Upgrades(wire, scope),
        };
    }

    private static void RejectUnsupported(WireRoute.RouteAction wire, ConfigScope scope)
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
            scope.Ignore("request_mirror_policies", RequestsNotMirrored);
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

    private static ClusterRef Cluster(string name, string field, Context context, ConfigScope scope)
    {
        if (name.Length == 0)
            scope.Reject(field, "must not be empty");
        else if (context.ValidateClusters && scope.Services.ClusterProblem(name) is { } problem)
            scope.Reject(field, "route: " + problem);
        return scope.Services.Cluster(name);
    }

    private static WeightedCluster[] Weighted(WireRoute.WeightedCluster wire, Context context, ConfigScope scope)
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
            else if (entry.ClusterHeader.Length > 0 && !IsFieldName(entry.ClusterHeader))
                at.Reject("cluster_header", "must be a header name");
            if (entry.MetadataMatch is not null)
                at.Ignore("metadata_match", "subsets of a cluster are not supported; all its hosts are used");
            sum += entry.Weight ?? 0;
            clusters.Add(new WeightedCluster(
                entry.Name.Length > 0 ? Cluster(entry.Name, "name", context, at) : null, LowerBytes(entry.ClusterHeader), sum)
            {
                Mutation = Mutation(entry.RequestHeadersToAdd, entry.RequestHeadersToRemove, entry.ResponseHeadersToAdd, entry.ResponseHeadersToRemove, at),
                HostRewrite = Encoding.UTF8.GetBytes(entry.HasHostRewriteLiteral ? entry.HostRewriteLiteral : ""),
                FilterConfigs = FilterConfigs(entry.TypedPerFilterConfig, null, "", at),
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

    private static HashPolicy[] Hashes(WireRoute.RouteAction wire, ConfigScope scope)
    {
        var policies = new List<HashPolicy>();
        for (int i = 0; i < wire.HashPolicy.Count; i++)
        {
            var entry = wire.HashPolicy[i];
            var at = scope.At($"hash_policy[{i}]");
            switch (entry.PolicySpecifierCase)
            {
                case WireRoute.RouteAction.Types.HashPolicy.PolicySpecifierOneofCase.Header:
                    if (!IsFieldName(entry.Header.HeaderName))
                        at.Reject("header.header_name", "must be a header name");
                    policies.Add(new HashPolicy(HashSource.Header, entry.Header.HeaderName)
                    {
                        Terminal = entry.Terminal,
                        Rewrite = entry.Header.RegexRewrite is null ? null : MatcherTranslator.Rewrite(entry.Header.RegexRewrite, at.At("header.regex_rewrite")),
                    });
                    break;
                case WireRoute.RouteAction.Types.HashPolicy.PolicySpecifierOneofCase.Cookie:
                    if (entry.Cookie.Name.Length == 0)
                        at.Reject("cookie.name", "must not be empty");
                    policies.Add(new HashPolicy(HashSource.Cookie, entry.Cookie.Name) { Terminal = entry.Terminal, CookieTail = CookieTail(entry.Cookie, at.At("cookie")) });
                    break;
                case WireRoute.RouteAction.Types.HashPolicy.PolicySpecifierOneofCase.ConnectionProperties:
                    if (entry.ConnectionProperties.SourceIp)
                        policies.Add(new HashPolicy(HashSource.SourceIp, "") { Terminal = entry.Terminal });
                    break;
                case WireRoute.RouteAction.Types.HashPolicy.PolicySpecifierOneofCase.QueryParameter:
                    policies.Add(new HashPolicy(HashSource.QueryParameter, entry.QueryParameter.Name) { Terminal = entry.Terminal });
                    break;
                default:
                    at.Reject("", "only header, cookie, connection_properties and query_parameter are supported");
                    break;
            }
        }
        return policies.ToArray();
    }

    // What follows the value of a cookie made here; null: none is made, because no ttl is given.
    private static byte[]? CookieTail(WireRoute.RouteAction.Types.HashPolicy.Types.Cookie wire, ConfigScope scope)
    {
        var tail = new StringBuilder();
        long seconds = scope.Milliseconds("ttl", wire.Ttl, 0) / 1000;
        if (seconds > 0)
            tail.Append("; Max-Age=").Append(seconds.ToString(CultureInfo.InvariantCulture));
        if (wire.Path.Length > 0)
            tail.Append("; Path=").Append(wire.Path);
        foreach (var attribute in wire.Attributes)
        {
            tail.Append("; ").Append(attribute.Name);
            if (attribute.Value.Length > 0)
                tail.Append('=').Append(attribute.Value);
        }
        tail.Append("; HttpOnly");
        foreach (char c in tail.ToString() + wire.Name)
        {
            if (!char.IsControl(c))
                continue;
            scope.Reject("", "must not have control characters");
            break;
        }
        if (wire.Ttl is not null)
            return Encoding.UTF8.GetBytes(tail.ToString());
        if (wire.Path.Length > 0)
            scope.Ignore("path", "no cookie is made without a ttl");
        if (wire.Attributes.Count > 0)
            scope.Ignore("attributes", "no cookie is made without a ttl");
        return null;
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

    private static RetryPolicy Retry(WireRoute.RetryPolicy wire, ConfigScope scope)
    {
        bool previousHosts = false;
        for (int i = 0; i < wire.RetryHostPredicate.Count; i++)
        {
            // By its type, as Envoy now does, or by its name, as it did.
            var predicate = wire.RetryHostPredicate[i];
            if (predicate.TypedConfig?.TypeUrl is { Length: > 0 } url ? url.EndsWith("/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate", StringComparison.Ordinal)
                : predicate.Name == "envoy.retry_host_predicates.previous_hosts")
                previousHosts = true;
            else
                scope.Reject($"retry_host_predicate[{i}]", $"Didn't find a registered implementation for name: '{wire.RetryHostPredicate[i].Name}'");
        }
        if (wire.RetryPriority is not null)
            scope.Ignore("retry_priority", "retries use the cluster's own priorities");
        if (wire.RetryOptionsPredicates.Count > 0)
            scope.Reject("retry_options_predicates", "is not supported");
        if (wire.RefreshClusterOnRetry)
            scope.Ignore("refresh_cluster_on_retry", "all tries go to the cluster that was chosen first");
        long? baseMs = wire.RetryBackOff?.BaseInterval is null ? null : scope.Milliseconds("retry_back_off.base_interval", wire.RetryBackOff.BaseInterval, 25);
        long? maxMs = wire.RetryBackOff?.MaxInterval is null ? null : scope.Milliseconds("retry_back_off.max_interval", wire.RetryBackOff.MaxInterval, 250);
        if (wire.RetryBackOff is not null && wire.RetryBackOff.BaseInterval is null)
            scope.Reject("retry_back_off.base_interval", "is required");
        if (baseMs < 1)
            scope.Reject("retry_back_off.base_interval", "must be greater than 0");
        if (maxMs < (baseMs ?? 0))
            scope.Reject("retry_back_off.max_interval", "must be greater than or equal to the base_interval");
        var resets = new List<ResetHeader>();
        if (wire.RateLimitedRetryBackOff is { ResetHeaders.Count: 0 })
            scope.Reject("rate_limited_retry_back_off.reset_headers", "needs at least 1 header");
        foreach (var reset in wire.RateLimitedRetryBackOff?.ResetHeaders ?? [])
        {
            if (!IsFieldName(reset.Name))
                scope.Reject($"rate_limited_retry_back_off.reset_headers[{resets.Count}].name", "must be a header name");
            resets.Add(new ResetHeader(LowerBytes(reset.Name), reset.Format == WireRoute.RetryPolicy.Types.ResetHeaderFormat.UnixTimestamp));
        }
        if (wire.HostSelectionRetryMaxAttempts < 0)
            scope.Reject("host_selection_retry_max_attempts", "must not be negative");
        var codes = new List<int>();
        foreach (uint code in wire.RetriableStatusCodes)
            codes.Add((int)Math.Min(code, 1000));
        return new RetryPolicy
        {
            On = RetryPolicy.ParseOn(Encoding.ASCII.GetBytes(wire.RetryOn)),
            NumRetries = wire.NumRetries ?? 1,
            PerTryTimeoutMs = scope.Milliseconds("per_try_timeout", wire.PerTryTimeout, 0),
            PerTryIdleTimeoutMs = scope.Milliseconds("per_try_idle_timeout", wire.PerTryIdleTimeout, 0),
            RetriableStatusCodes = codes.ToArray(),
            RetriableHeaders = MatcherTranslator.Headers(wire.RetriableHeaders, "retriable_headers", scope),
            RetriableRequestHeaders = MatcherTranslator.Headers(wire.RetriableRequestHeaders, "retriable_request_headers", scope),
            BackOffBaseMs = baseMs,
            BackOffMaxMs = maxMs,
            ResetHeaders = resets.ToArray(),
            ResetMaxMs = scope.Milliseconds("rate_limited_retry_back_off.max_interval", wire.RateLimitedRetryBackOff?.MaxInterval, 300_000),
            PreviousHosts = previousHosts,
            HostSelectionAttempts = (int)Math.Clamp(wire.HostSelectionRetryMaxAttempts, 1, 100),
        };
    }

    private static RedirectAction Redirect(WireRoute.RedirectAction wire, ConfigScope scope)
    {
        if (wire.HasPathRewrite)
            scope.Reject("path_rewrite", "is not supported; use path_redirect, prefix_rewrite or regex_rewrite");
        if (wire.PortRedirect > 65535)
            scope.Reject("port_redirect", "must be at most 65535");
        return new RedirectAction
        {
            Status = wire.ResponseCode switch
            {
                WireRoute.RedirectAction.Types.RedirectResponseCode.Found => 302,
                WireRoute.RedirectAction.Types.RedirectResponseCode.SeeOther => 303,
                WireRoute.RedirectAction.Types.RedirectResponseCode.TemporaryRedirect => 307,
                WireRoute.RedirectAction.Types.RedirectResponseCode.PermanentRedirect => 308,
                _ => 301,
            },
            Scheme = Encoding.ASCII.GetBytes(wire.HttpsRedirect ? "https" : wire.HasSchemeRedirect ? wire.SchemeRedirect : ""),
            Host = Encoding.UTF8.GetBytes(wire.HostRedirect),
            Port = wire.PortRedirect,
            StripQuery = wire.StripQuery,
            Path = wire.HasPathRedirect && wire.PathRedirect.Length > 0 ? Encoding.UTF8.GetBytes(wire.PathRedirect) : null,
            PrefixRewrite = wire.HasPrefixRewrite && wire.PrefixRewrite.Length > 0 ? Encoding.UTF8.GetBytes(wire.PrefixRewrite) : null,
            RegexRewrite = wire.RegexRewrite is null ? null : MatcherTranslator.Rewrite(wire.RegexRewrite, scope.At("regex_rewrite")),
        };
    }

    private static DirectResponse? Direct(WireRoute.DirectResponseAction wire, Context context, ConfigScope scope)
    {
        if (wire.Status is < 200 or > 599)
            scope.Reject("status", $"must be 200 to 599, is {wire.Status.ToString(CultureInfo.InvariantCulture)}");
        if (wire.BodyFormat is not null)
            scope.Reject("body_format", "formatted bodies are not supported; use body");
        byte[] body = [];
        switch (wire.Body?.SpecifierCase)
        {
            case null or WireCore.DataSource.SpecifierOneofCase.None:
                break;
            case WireCore.DataSource.SpecifierOneofCase.InlineString:
                body = Encoding.UTF8.GetBytes(wire.Body.InlineString);
                break;
            case WireCore.DataSource.SpecifierOneofCase.InlineBytes:
                body = wire.Body.InlineBytes.ToByteArray();
                break;
            case WireCore.DataSource.SpecifierOneofCase.Filename:
                try
                {
                    body = Files.ReadRegular(wire.Body.Filename, BodyFileBytesMax);
                    if (wire.Body.WatchedDirectory is not null)
                        scope.Ignore("body.watched_directory", "the file is read once");
                }
                catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
                {
                    scope.Reject("body.filename", $"cannot be read: {e.Message}");
                }
                break;
            default:
                string? value = Environment.GetEnvironmentVariable(wire.Body.EnvironmentVariable);
                if (string.IsNullOrEmpty(value))
                    scope.Reject("body.environment_variable", $"Environment variable doesn't exist: {wire.Body.EnvironmentVariable}");
                else
                    body = Encoding.UTF8.GetBytes(value);
                break;
        }
        if (body.Length > context.DirectBodyMax)
            scope.Reject("body", $"response body size is {body.Length} bytes; maximum is {context.DirectBodyMax}; raise max_direct_response_body_size_bytes");
        return scope.IsRejected ? null : new DirectResponse((int)wire.Status, body);
    }

    private static HeaderMutation Mutation(
        RepeatedField<WireCore.HeaderValueOption> requestAdd, RepeatedField<string> requestRemove,
        RepeatedField<WireCore.HeaderValueOption> responseAdd, RepeatedField<string> responseRemove, ConfigScope scope)
    {
        if (requestAdd.Count + requestRemove.Count + responseAdd.Count + responseRemove.Count == 0)
            return HeaderMutation.None;
        return new HeaderMutation
        {
            RequestAdd = Additions(requestAdd, "request_headers_to_add", scope),
            RequestRemove = Removals(requestRemove, "request_headers_to_remove", scope),
            ResponseAdd = Additions(responseAdd, "response_headers_to_add", scope),
            ResponseRemove = Removals(responseRemove, "response_headers_to_remove", scope),
        };
    }

    private static HeaderAddition[] Additions(RepeatedField<WireCore.HeaderValueOption> wire, string field, ConfigScope scope)
    {
        var additions = new List<HeaderAddition>(wire.Count);
        for (int i = 0; i < wire.Count; i++)
        {
            var at = scope.At($"{field}[{i}]");
            string name = wire[i].Header?.Key.ToLowerInvariant() ?? "";
            string value = wire[i].Header is { } header ? header.RawValue.IsEmpty ? header.Value : header.RawValue.ToStringUtf8() : "";
            if (name.StartsWith(':') || name == "host")
                at.Reject("header.key", ":-prefixed or host headers may not be modified");
            else if (!IsFieldName(name))
                at.Reject("header.key", "must be a header name");
            else if (value.AsSpan().IndexOfAny('\r', '\n', '\0') >= 0)
                at.Reject("header.value", "must not have CR, LF or NUL");
            else if (HeaderFormat.TryParse(value, out string error) is { } format)
            {
                additions.Add(new HeaderAddition(LowerBytes(name), format, Append(wire[i], at), wire[i].KeepEmptyValue));
                foreach (string fact in format.NotGathered)
                    at.Ignore("header.value", $"%{fact}% is always empty: it is not gathered yet");
            }
            else
            {
                at.Reject("header.value", error);
            }
        }
        return additions.ToArray();
    }

    // The older flag, where it is given, says the same in two values.
    private static HeaderAppend Append(WireCore.HeaderValueOption wire, ConfigScope scope)
    {
        if (wire.Append is { } append)
        {
            if (wire.AppendAction != WireCore.HeaderValueOption.Types.HeaderAppendAction.AppendIfExistsOrAdd)
                scope.Reject("append", "Both append and append_action are set and it's not allowed");
            return append ? HeaderAppend.AppendIfExistsOrAdd : HeaderAppend.OverwriteIfExistsOrAdd;
        }
        if ((uint)wire.AppendAction > (uint)HeaderAppend.OverwriteIfExists)
            scope.Reject("append_action", "is none of the four actions");
        return (HeaderAppend)wire.AppendAction;
    }

    private static byte[][] Removals(RepeatedField<string> wire, string field, ConfigScope scope)
    {
        var names = new List<byte[]>(wire.Count);
        for (int i = 0; i < wire.Count; i++)
        {
            string name = wire[i].ToLowerInvariant();
            if (name.StartsWith(':') || name == "host")
                scope.Reject($"{field}[{i}]", ":-prefixed or host headers may not be removed");
            else if (!IsFieldName(name))
                scope.Reject($"{field}[{i}]", "must be a header name");
            else
                names.Add(LowerBytes(name));
        }
        return names.ToArray();
    }

    private static IReadOnlyDictionary<string, object> FilterConfigs(MapField<string, Any> wire, WireRoute.CorsPolicy? cors, string corsField, ConfigScope scope)
    {
        if (wire.Count == 0 && cors is null)
            return RouteTable.NoFilterConfigs;
        var configs = new Dictionary<string, object>(StringComparer.Ordinal);
        foreach (var (name, config) in wire)
        {
            if (FilterConfig(name, config, scope.At($"typed_per_filter_config[{name}]")) is { } translated)
                configs[name] = translated;
        }
        // The policy's older place.
        if (cors is null)
            return configs;
        if (configs.ContainsKey("envoy.filters.http.cors"))
        {
            scope.Ignore(corsField, "typed_per_filter_config has a policy as well, and that one counts");
            return configs;
        }
        var policy = CorsFilter.CreatePolicy(
            cors.AllowOriginStringMatch, cors.AllowMethods, cors.AllowHeaders, cors.ExposeHeaders, cors.MaxAge, cors.AllowCredentials ?? false,
            cors.AllowPrivateNetworkAccess ?? false, cors.ForwardNotMatchingPreflights ?? true, cors.FilterEnabled, cors.ShadowEnabled, scope.At(corsField));
        if (policy is not null)
            configs["envoy.filters.http.cors"] = policy;
        return configs;
    }

    // One filter's configuration, alone or in an envoy.config.route.v3.FilterConfig around it.
    private static object? FilterConfig(string name, Any config, ConfigScope scope)
    {
        if (!config.TypeUrl.EndsWith("/envoy.config.route.v3.FilterConfig", StringComparison.Ordinal))
            return HttpFilters.CreateRouteConfig(name, config, scope);
        WireRoute.FilterConfig wrapper;
        try
        {
            wrapper = WireRoute.FilterConfig.Parser.ParseFrom(config.Value);
        }
        catch (InvalidProtocolBufferException e)
        {
            scope.Reject("", $"malformed bytes: {e.Message}");
            return null;
        }
        if (wrapper.Disabled)
            scope.Reject("disabled", "a filter cannot be disabled for single routes yet");
        if (wrapper.Config is null)
            return null;
        if (!wrapper.IsOptional)
            return HttpFilters.CreateRouteConfig(name, wrapper.Config, scope.At("config"));
        // Optional: what is not known here is named instead of refused.
        var trial = new ConfigScope(scope.Services, scope.ResourceName);
        object? created = HttpFilters.CreateRouteConfig(name, wrapper.Config, trial);
        foreach (var problem in trial.Rejections)
            scope.At("config").Ignore(problem.Path, problem.Reason);
        foreach (var problem in trial.Ignored)
            scope.At("config").Ignore(problem.Path, problem.Reason);
        return trial.IsRejected ? null : created;
    }

    private static bool IsFieldName(string name) => name.StartsWith(':') ? Memory.Ascii.IsToken(Encoding.UTF8.GetBytes(name[1..])) : Memory.Ascii.IsToken(Encoding.UTF8.GetBytes(name));

    private static byte[] LowerBytes(string name) => Encoding.UTF8.GetBytes(name.ToLowerInvariant());
}
