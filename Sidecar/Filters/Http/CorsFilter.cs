using System;
using System.Collections.Generic;
using System.Text;
using Sidecar.Http;
using Sidecar.Routing;
using Sidecar.Telemetry;
using Sidecar.Telemetry.Stats;
using WireCore = Envoy.Config.Core.V3;
using WireMatcher = Envoy.Type.Matcher.V3;
using WireType = Envoy.Type.V3;

namespace Sidecar.Filters.Http;

using Wire = global::Envoy.Extensions.Filters.Http.Cors.V3;

/// <summary>
/// Answers CORS preflights and marks responses for allowed origins (Fetch standard, "CORS protocol"), by the route's or virtual host's policy; without a
/// policy it does nothing. Envoy: envoy.filters.http.cors.   One per stream slot, worker-owned, reused after Reset.
/// </summary>
internal sealed class CorsFilter(StatsCells stats, WorkerScope worker) : HttpFilter
{
    private readonly HeaderMap _extra = new();
    private Config? _policy;
    private bool _originAllowed;

    internal override FilterStatus OnRequestHead(RequestHead head, bool endStream)
    {
        var origin = head.Get(HeaderId.Origin);
        if (origin.IsEmpty || Stream.RouteConfig<Config>("envoy.filters.http.cors") is not { } policy)
            return FilterStatus.Continue;
        bool enabled = policy.IsEnabled(worker.Random.Next(1_000_000));
        if (!enabled && !policy.IsShadowed(worker.Random.Next(1_000_000)))
            return FilterStatus.Continue;

        bool allowed = policy.AllowsOrigin(origin);
        stats.Inc(allowed ? OriginValid : OriginInvalid);
        if (!enabled)
            return FilterStatus.Continue;

        bool preflight = head.Method == Method.Options && head.Contains(HeaderId.AccessControlRequestMethod);
        if (preflight)
        {
            if (!allowed)
                return policy.ForwardNotMatchingPreflights ? FilterStatus.Continue : ReplyPreflight();
            AllowOrigin(_extra, policy, origin);
            SetIf(_extra, HeaderId.AccessControlAllowMethods, policy.AllowMethods);
            SetIf(_extra, HeaderId.AccessControlAllowHeaders, policy.AllowHeaders);
            SetIf(_extra, HeaderId.AccessControlMaxAge, policy.MaxAge);
            if (policy.AllowPrivateNetwork && head.Get(HeaderId.AccessControlRequestPrivateNetwork).SequenceEqual("true"u8))
                _extra.Set(HeaderId.AccessControlAllowPrivateNetwork, "true"u8);
            return ReplyPreflight();
        }

        _policy = policy;
        _originAllowed = allowed;
        return FilterStatus.Continue;
    }

    internal override FilterStatus OnResponseHead(ResponseHead head, bool endStream)
    {
        if (_policy is { } policy && _originAllowed)
        {
            AllowOrigin(head, policy, Stream.Request.Get(HeaderId.Origin));
            SetIf(head, HeaderId.AccessControlExposeHeaders, policy.ExposeHeaders);
        }
        return FilterStatus.Continue;
    }

    internal override void Reset()
    {
        _extra.Reset();
        _policy = null;
        _originAllowed = false;
    }

    private FilterStatus ReplyPreflight() =>
        Stream.Reply(Failure.DirectResponse, new LocalReplyOptions { Status = 200, Details = "cors_response", Headers = _extra });

    private static void AllowOrigin(HeaderMap headers, Config policy, ReadOnlySpan<byte> origin)
    {
        headers.Set(HeaderId.AccessControlAllowOrigin, origin);
        if (policy.AllowCredentials)
            headers.Set(HeaderId.AccessControlAllowCredentials, "true"u8);
    }

    private static void SetIf(HeaderMap headers, HeaderId id, byte[] value)
    {
        if (value.Length > 0)
            headers.Set(id, value);
    }

    // ---- stats: http.<prefix>.cors.* -----------------------------------------------------------------------

    private const int OriginValid = 0;
    private const int OriginInvalid = 1;
    internal static readonly StatsSchema Schema = new(new("origin_valid"), new("origin_invalid"));

    // ---- configuration: control loop, once per update; immutable afterwards; may reject -------------------

    /// <summary>A CORS policy of a route, virtual host or route table.</summary>
    internal sealed class Config
    {
        internal required StringMatcher[] Origins { get; init; }
        internal byte[] AllowMethods { get; init; } = [];
        internal byte[] AllowHeaders { get; init; } = [];
        internal byte[] ExposeHeaders { get; init; } = [];
        internal byte[] MaxAge { get; init; } = [];
        internal bool AllowCredentials { get; init; }
        internal bool AllowPrivateNetwork { get; init; }
        internal bool ForwardNotMatchingPreflights { get; init; }
        internal uint EnabledPerMillion { get; init; } = 1_000_000;
        internal uint ShadowPerMillion { get; init; }

        internal bool IsEnabled(uint dice) => dice < EnabledPerMillion;
        internal bool IsShadowed(uint dice) => dice < ShadowPerMillion;

        internal bool AllowsOrigin(ReadOnlySpan<byte> origin)
        {
            foreach (var matcher in Origins)
            {
                if (matcher.IsExactly("*"u8) || matcher.Matches(origin))
                    return true;
            }
            return false;
        }
    }

    internal static HttpFilterFactory? Create(Wire.Cors wire, ConfigScope scope)
    {
        var stats = scope.Services.Stats.Scope(Schema, scope.StatPrefix + "cors.");
        return worker => new CorsFilter(stats.Cells(worker.Index), worker);
    }

    internal static object? CreateRouteConfig(Wire.CorsPolicy wire, ConfigScope scope) => CreatePolicy(
        wire.AllowOriginStringMatch, wire.AllowMethods, wire.AllowHeaders, wire.ExposeHeaders, wire.MaxAge, wire.AllowCredentials ?? false,
        wire.AllowPrivateNetworkAccess ?? false, wire.ForwardNotMatchingPreflights ?? true, wire.FilterEnabled, wire.ShadowEnabled, scope);

    /// <summary>A policy from its fields, which the filter's own message and the older one in route.v3 share.</summary>
    internal static Config? CreatePolicy(
        IReadOnlyList<WireMatcher.StringMatcher> origins, string methods, string headers, string expose, string maxAge, bool credentials,
        bool privateNetwork, bool forwardPreflights, WireCore.RuntimeFractionalPercent? enabled, WireCore.RuntimeFractionalPercent? shadow, ConfigScope scope)
    {
        var matchers = new List<StringMatcher>(origins.Count);
        for (int i = 0; i < origins.Count; i++)
        {
            if (scope.Services.StringMatcher(origins[i], scope.At($"allow_origin_string_match[{i}]")) is { } matcher)
                matchers.Add(matcher);
        }
        if (scope.IsRejected)
            return null;
        return new Config
        {
            Origins = matchers.ToArray(),
            AllowMethods = Encoding.UTF8.GetBytes(methods),
            AllowHeaders = Encoding.UTF8.GetBytes(headers),
            ExposeHeaders = Encoding.UTF8.GetBytes(expose),
            MaxAge = Encoding.UTF8.GetBytes(maxAge),
            AllowCredentials = credentials,
            AllowPrivateNetwork = privateNetwork,
            ForwardNotMatchingPreflights = forwardPreflights,
            EnabledPerMillion = enabled?.DefaultValue is { } share ? Fractions.PerMillion(share) : 1_000_000,
            ShadowPerMillion = shadow?.DefaultValue is { } shadowShare ? Fractions.PerMillion(shadowShare) : 0,
        };
    }
}
