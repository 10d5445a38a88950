using System;
using System.Collections.Generic;
using System.Text;
using Sidecar.Filters;
using Sidecar.Routing;
using WireRoute = Envoy.Config.Route.V3;

namespace Sidecar.Config.Routes;

/// <summary>envoy.config.route.v3.VirtualHost with its routes → <see cref="VirtualHost"/>.</summary>
internal static class VirtualHostTranslator
{
    internal const string RequestsNotMirrored = "requests are not mirrored: only the route's own cluster sees them";

    /// <summary>Adds a virtual host to the table, under each of its domains. What is refused is in <paramref name="scope"/>.</summary>
    internal static void AddTo(RouteTable table, WireRoute.VirtualHost wire, RouteTableContext context, ConfigScope scope)
    {
        if (wire.Name.Length == 0)
            scope.Reject("name", "must not be empty");
        else if (!context.HostNames.Add(wire.Name))
            scope.Reject("name", $"Only unique names for virtual hosts are permitted. Duplicate entry of virtual host '{wire.Name}'");
        if (wire.Domains.Count == 0)
            scope.Reject("domains", "needs at least 1 domain");
        if (wire.RequireTls != WireRoute.VirtualHost.Types.TlsRequirementType.None && !Enum.IsDefined(wire.RequireTls))
            scope.Reject("require_tls", "must be NONE, EXTERNAL_ONLY or ALL");
        ReportUnsupported(wire, scope);
        context.ReportMetadata(wire.Metadata, scope);
        var hostRetry = wire.RetryPolicy is null ? null : RetryPolicyTranslator.Translate(wire.RetryPolicy, scope.At("retry_policy"));

        var routes = new List<Route>(wire.Routes.Count);
        for (int i = 0; i < wire.Routes.Count; i++)
        {
            if (Translate(wire.Routes[i], hostRetry, context, scope.At("routes", i)) is { } route)
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
            Mutation = HeaderMutationTranslator.Translate(wire.RequestHeadersToAdd, wire.RequestHeadersToRemove, wire.ResponseHeadersToAdd, wire.ResponseHeadersToRemove, scope),
            FilterConfigs = RouteFilterConfigTranslator.Translate(wire.TypedPerFilterConfig, scope, wire.Cors, "cors"),
        };
        AddDomains(table, host, wire.Domains, scope);
    }

    private static void AddDomains(RouteTable table, VirtualHost host, IReadOnlyList<string> domains, ConfigScope scope)
    {
        for (int i = 0; i < domains.Count; i++)
        {
            string domain = domains[i];
            if (!IsDomain(domain))
                scope.Reject($"domains[{i}]", $"'{domain}' is not a domain: a wildcard may stand at its start or at its end only");
            else if (!table.TryAdd(domain, host))
                scope.Reject($"domains[{i}]", domain == "*"
                    ? $"Only a single wildcard domain is permitted in route {table.Name}"
                    : $"Only unique values for domains are permitted. Duplicate entry of domain {domain} in route {table.Name}");
        }
    }

    // "a.example", "*.example", "a.*", or "*" alone; "**" is everything that ends in "*".
    private static bool IsDomain(string domain)
    {
        if (domain.Length == 0)
            return false;
        int inner = domain.IndexOf('*', 1);
        bool endsInWildcard = inner == domain.Length - 1;
        return inner < 0 || endsInWildcard && (domain.Length == 2 || domain[0] != '*');
    }

    private static void ReportUnsupported(WireRoute.VirtualHost wire, ConfigScope scope)
    {
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
        if (wire.RetryPolicyTypedConfig is not null)
            scope.Reject("retry_policy_typed_config", "is not supported; use retry_policy");
        if (wire.IncludeIsTimeoutRetryHeader)
            scope.Ignore("include_is_timeout_retry_header", "x-envoy-is-timeout-retry is not sent");
        ReportBodyLimits(wire.PerRequestBufferLimitBytes, wire.RequestBodyBufferLimit, scope);
    }

    private static void ReportBodyLimits(uint? older, ulong? limit, ConfigScope scope)
    {
        const string reason = "bodies kept for retries are limited by the listener's per_connection_buffer_limit_bytes alone";
        if (older is not null)
            scope.Ignore("per_request_buffer_limit_bytes", reason);
        if (limit is not null)
            scope.Ignore("request_body_buffer_limit", reason);
    }

    private static Route? Translate(WireRoute.Route wire, RetryPolicy? hostRetry, RouteTableContext context, ConfigScope scope)
    {
        if (wire.Tracing is not null)
            scope.Ignore("tracing", "traces are not produced yet");
        context.ReportDecorator(wire.Decorator, scope);
        if (wire.StatPrefix.Length > 0)
            scope.Ignore("stat_prefix", "stats of single routes are not kept");
        ReportBodyLimits(wire.PerRequestBufferLimitBytes, wire.RequestBodyBufferLimit, scope);
        context.ReportMetadata(wire.Metadata, scope);
        var match = RouteMatchTranslator.Translate(wire.Match, scope.At("match"));
        RouteAction? action = null;
        RedirectAction? redirect = null;
        DirectResponse? direct = null;
        switch (wire.ActionCase)
        {
            case WireRoute.Route.ActionOneofCase.Route_:
                action = RouteActionTranslator.Translate(wire.Route_, hostRetry, context, scope.At("route"));
                break;
            case WireRoute.Route.ActionOneofCase.Redirect:
                redirect = RouteReplyTranslator.Redirect(wire.Redirect, scope.At("redirect"));
                break;
            case WireRoute.Route.ActionOneofCase.DirectResponse:
                direct = RouteReplyTranslator.Direct(wire.DirectResponse, context.DirectBodyBytesMax, scope.At("direct_response"));
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
            Mutation = HeaderMutationTranslator.Translate(wire.RequestHeadersToAdd, wire.RequestHeadersToRemove, wire.ResponseHeadersToAdd, wire.ResponseHeadersToRemove, scope),
            DecoratorOperation = Encoding.UTF8.GetBytes(wire.Decorator?.Operation ?? ""),
            PropagateDecorator = wire.Decorator?.Propagate ?? true,
            FilterConfigs = RouteFilterConfigTranslator.Translate(wire.TypedPerFilterConfig, scope, wire.Route_?.Cors, "route.cors"),
        };
    }
}
