using System;
using System.Collections.Generic;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Sidecar.Filters.Http;
using Sidecar.Filters.Http.Router;
using WireAlpn = Istio.Alpn.V2Alpha1;
using WireCors = Envoy.Extensions.Filters.Http.Cors.V3;
using WireFault = Envoy.Extensions.Filters.Http.Fault.V3;
using WireHcm = Envoy.Extensions.Filters.Network.HttpConnectionManager.V3;
using WireRbac = Envoy.Extensions.Filters.Http.Rbac.V3;
using WireRouter = Envoy.Extensions.Filters.Http.Router.V3;

namespace Sidecar.Filters;

/// <summary>
/// The HTTP filters there are. To add one:
/// 1. one file in Filters/Http with the filter, its Config and its static Create;
/// 2. one line in <c>s_filters</c> below (order is irrelevant, the chain's order comes from configuration);
/// 3. one test file in Sidecar.Tests/Filters/Http.
/// </summary>
internal static class HttpFilters
{
    private const string Rbac = "envoy.filters.http.rbac";

    private static readonly Dictionary<string, Entry> s_filters = new()
    {
        ["envoy.extensions.filters.http.router.v3.Router"] = Terminal("envoy.filters.http.router", WireRouter.Router.Parser, RouterFilter.Create),
        ["istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig"] = Filter("istio.alpn", WireAlpn.FilterConfig.Parser, AlpnFilter.Create),
        ["envoy.extensions.filters.http.cors.v3.Cors"] = Filter("envoy.filters.http.cors", WireCors.Cors.Parser, CorsFilter.Create),
        ["envoy.extensions.filters.http.fault.v3.HTTPFault"] = Filter("envoy.filters.http.fault", WireFault.HTTPFault.Parser, FaultFilter.Create),
        ["envoy.extensions.filters.http.rbac.v3.RBAC"] = Filter(Rbac, WireRbac.RBAC.Parser, RbacFilter.Create) with
        {
            CreateDisabled = Filter(Rbac, WireRbac.RBAC.Parser, RbacFilter.CreateDisabled).Create,
        },
    };

    /// <summary>Per-route configuration, by its own type.</summary>
    private static readonly Dictionary<string, RouteEntry> s_routeConfigs = new()
    {
        ["envoy.extensions.filters.http.cors.v3.CorsPolicy"] = RouteConfig(WireCors.CorsPolicy.Parser, CorsFilter.CreateRouteConfig),
        ["envoy.extensions.filters.http.fault.v3.HTTPFault"] = RouteConfig(WireFault.HTTPFault.Parser, FaultFilter.CreateRouteConfig),
        ["envoy.extensions.filters.http.rbac.v3.RBACPerRoute"] = RouteConfig(WireRbac.RBACPerRoute.Parser, RbacFilter.CreateRouteConfig),
    };

    /// <summary>What became of one configured filter.</summary>
    internal readonly record struct Created(HttpFilterFactory? Factory, bool IsTerminal);

    private sealed record Entry(string Name, bool IsTerminal, Func<ByteString, ConfigScope, HttpFilterFactory?> Create)
    {
        /// <summary>Makes one that is disabled until a route enables it; null: none can.</summary>
        internal Func<ByteString, ConfigScope, HttpFilterFactory?>? CreateDisabled { get; init; }
    }

    private sealed record RouteEntry(Func<ByteString, ConfigScope, object?> Create);

    /// <summary>Name of every filter served, for /server_info and the registry's test.</summary>
    internal static IEnumerable<string> Names
    {
        get
        {
            foreach (var entry in s_filters.Values)
                yield return entry.Name;
        }
    }

    /// <summary>Makes the factory of one configured filter; none, with the reason in <paramref name="scope"/>, when it is refused or has no effect.</summary>
    internal static Created Create(WireHcm.HttpFilter wire, ConfigScope scope)
    {
        string type = TypedConfig.TypeName(wire.TypedConfig);
        var entry = type.Length > 0 ? s_filters.GetValueOrDefault(type) : FindByName(wire.Name);
        if (wire.Disabled && (entry?.CreateDisabled is null || wire.ConfigTypeCase == WireHcm.HttpFilter.ConfigTypeOneofCase.ConfigDiscovery))
        {
            scope.Ignore("disabled", "the filter is disabled and no route may enable it");
            return default;
        }
        if (wire.ConfigTypeCase == WireHcm.HttpFilter.ConfigTypeOneofCase.ConfigDiscovery)
            return new Created(DiscoveredFilter.Create(wire.Name, wire.ConfigDiscovery, FindKind, scope.At("config_discovery")), IsTerminal: false);
        if (entry is not null)
        {
            var create = wire.Disabled ? entry.CreateDisabled! : entry.Create;
            return new Created(create(wire.TypedConfig?.Value ?? ByteString.Empty, scope.OfFilter(wire.Name, "typed_config")), entry.IsTerminal);
        }
        if (ObservingFilters.Find(wire.Name, wire.TypedConfig) is { } reason)
            scope.Ignore("", $"{wire.Name}: {reason}");
        // Optional is for those who do not have a filter; one that Envoy has, and that may decide about access, is not passed over in its place.
        else if (wire.IsOptional && !ObservingFilters.IsEnvoys(ObservingFilters.TypeName(wire.TypedConfig)))
            scope.Ignore("", $"optional filter '{wire.Name}' is not known here");
        else
            scope.Reject("", $"Didn't find a registered implementation for '{wire.Name}' with type URL: '{type}'");
        return default;
    }

    /// <summary>Why the configuration of a filter cannot be taken by discovery, whoever wants it; null when it can.</summary>
    internal static string? DiscoveryProblem(string name, Any? config)
    {
        string type = TypedConfig.TypeName(config);
        if (!s_filters.TryGetValue(type, out var entry))
            return $"Didn't find a registered implementation for '{name}' with type URL: '{type}'";
        return entry.IsTerminal ? $"terminal filter {name} of type {type} is not taken by discovery; set typed_config" : null;
    }

    private static DiscoveredFilter.Kind? FindKind(string type) =>
        s_filters.TryGetValue(type, out var entry) ? new DiscoveredFilter.Kind(entry.IsTerminal, entry.Create) : null;

    /// <summary>Translates one entry of a typed_per_filter_config; null when it has no effect or is refused.</summary>
    /// <param name="isOptional">A filter that Envoy does not have either may be missing; what is wrong with one that it has is refused all the same.</param>
    internal static object? CreateRouteConfig(string filterName, Any config, ConfigScope scope, bool isOptional = false)
    {
        string type = TypedConfig.TypeName(config);
        if (s_routeConfigs.TryGetValue(type, out var entry))
            return entry.Create(config.Value, scope);
        if (ObservingFilters.Find(filterName, config) is { } reason)
            scope.Ignore("", $"{filterName}: {reason}");
        else if (isOptional && !IsOfAFilterOfEnvoys(ObservingFilters.TypeName(config)))
            scope.Ignore("", $"Didn't find a registered implementation for '{filterName}' with type URL: '{type}'");
        else
            scope.Reject("", $"Didn't find a registered implementation for '{filterName}' with type URL: '{type}'");
        return null;
    }

    // Protobuf's own types are in the schema as well, and no filter's.
    private static bool IsOfAFilterOfEnvoys(string type) => ObservingFilters.IsEnvoys(type) && !type.StartsWith("google.protobuf.", StringComparison.Ordinal);

    /// <summary>
    /// What a route says about a filter with an envoy.config.route.v3.FilterConfig alone: that it is disabled, or enabled as the listener has it. Null where
    /// the filter cannot be.
    /// </summary>
    internal static object? CreateRouteSwitch(string filterName, Any? config, bool isDisabled)
    {
        bool isRbac = filterName == Rbac || TypedConfig.TypeName(config) == "envoy.extensions.filters.http.rbac.v3.RBACPerRoute";
        return !isRbac ? null : isDisabled ? RbacFilter.Rules.None : RbacFilter.Rules.OfListener;
    }

    private static Entry? FindByName(string name)
    {
        foreach (var entry in s_filters.Values)
        {
            if (entry.Name == name)
                return entry;
        }
        return null;
    }

    private static Entry Filter<T>(string name, MessageParser<T> parser, Func<T, ConfigScope, HttpFilterFactory?> create) where T : IMessage<T> =>
        new(name, IsTerminal: false, (bytes, scope) => TypedConfig.TryParse(parser, bytes, scope, out var wire) ? create(wire, scope) : null);

    private static Entry Terminal<T>(string name, MessageParser<T> parser, Func<T, ConfigScope, HttpFilterFactory?> create) where T : IMessage<T> =>
        Filter(name, parser, create) with { IsTerminal = true };

    private static RouteEntry RouteConfig<T>(MessageParser<T> parser, Func<T, ConfigScope, object?> create) where T : IMessage<T> =>
        new((bytes, scope) => TypedConfig.TryParse(parser, bytes, scope, out var wire) ? create(wire, scope) : null);
}
