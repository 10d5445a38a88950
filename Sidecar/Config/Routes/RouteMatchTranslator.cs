using System;
using System.Collections.Generic;
using System.Text;
using Sidecar.Filters;
using Sidecar.Routing;
using WireRoute = Envoy.Config.Route.V3;

namespace Sidecar.Config.Routes;

/// <summary>envoy.config.route.v3.RouteMatch → <see cref="RouteMatch"/>.</summary>
internal static class RouteMatchTranslator
{
    /// <summary>Translates a match; null, with every reason in <paramref name="scope"/>, when it is refused.</summary>
    internal static RouteMatch? Translate(WireRoute.RouteMatch? wire, ConfigScope scope)
    {
        if (wire is null)
        {
            scope.Reject("", "is required");
            return null;
        }
        if (wire.Cookies.Count > 0)
            scope.Reject("cookies", "matching by cookie is not supported; match the cookie header");
        if (wire.DynamicMetadata.Count > 0)
            scope.Reject("dynamic_metadata", "routes are not matched by dynamic metadata yet");
        if (wire.FilterState.Count > 0)
            scope.Reject("filter_state", "there is no filter state yet");
        if (!TryPath(wire, scope, out var kind, out string path, out var regex))
            return null;
        return new RouteMatch
        {
            Kind = kind,
            Path = Encoding.UTF8.GetBytes(path),
            Regex = regex,
            CaseSensitive = wire.CaseSensitive ?? true,
            Headers = MatcherTranslator.Headers(wire.Headers, "headers", scope),
            Query = Query(wire, scope),
            GrpcOnly = wire.Grpc is not null,
            PerMillion = wire.RuntimeFraction?.DefaultValue is { } share ? Fractions.PerMillion(share) : 1_000_000,
            CertificatePresented = wire.TlsContext?.Presented,
            CertificateValidated = wire.TlsContext?.Validated,
        };
    }

    private static bool TryPath(WireRoute.RouteMatch wire, ConfigScope scope, out PathMatchKind kind, out string path, out LinearRegex? regex)
    {
        kind = PathMatchKind.Prefix;
        path = "";
        regex = null;
        switch (wire.PathSpecifierCase)
        {
            case WireRoute.RouteMatch.PathSpecifierOneofCase.Prefix:
                path = wire.Prefix;
                return true;
            case WireRoute.RouteMatch.PathSpecifierOneofCase.Path:
                (kind, path) = (PathMatchKind.Exact, wire.Path);
                return true;
            case WireRoute.RouteMatch.PathSpecifierOneofCase.PathSeparatedPrefix:
                (kind, path) = (PathMatchKind.SeparatedPrefix, wire.PathSeparatedPrefix);
                if (path.Length < 2 || path[0] != '/' || path[^1] == '/' || path.AsSpan().IndexOfAny('?', '#') >= 0)
                    scope.Reject("path_separated_prefix", "must start with '/', not end with it, and have no query");
                return true;
            case WireRoute.RouteMatch.PathSpecifierOneofCase.SafeRegex:
                kind = PathMatchKind.Regex;
                regex = MatcherTranslator.Regex(wire.SafeRegex, RegexUse.FullMatch, scope.At("safe_regex"));
                return regex is not null;
            case WireRoute.RouteMatch.PathSpecifierOneofCase.ConnectMatcher:
                kind = PathMatchKind.Connect;
                return true;
            case WireRoute.RouteMatch.PathSpecifierOneofCase.PathMatchPolicy:
                scope.Reject("path_match_policy", "path match policies are not supported");
                return false;
            default:
                scope.Reject("path_specifier", "is required: set prefix, path, path_separated_prefix, safe_regex or connect_matcher");
                return false;
        }
    }

    private static QueryParameterMatcher[] Query(WireRoute.RouteMatch wire, ConfigScope scope)
    {
        var query = new List<QueryParameterMatcher>(wire.QueryParameters.Count);
        for (int i = 0; i < wire.QueryParameters.Count; i++)
        {
            if (MatcherTranslator.Query(wire.QueryParameters[i], scope.At("query_parameters", i)) is { } matcher)
                query.Add(matcher);
        }
        return query.ToArray();
    }
}
