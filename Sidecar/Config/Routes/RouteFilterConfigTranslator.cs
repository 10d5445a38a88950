using System;
using System.Collections.Generic;
using Google.Protobuf.Collections;
using Google.Protobuf.WellKnownTypes;
using Sidecar.Filters;
using Sidecar.Filters.Http;
using Sidecar.Routing;
using WireRoute = Envoy.Config.Route.V3;

namespace Sidecar.Config.Routes;

/// <summary>typed_per_filter_config of a route configuration, virtual host, route or weighted cluster, and the CORS policy that older ones have beside it.</summary>
internal static class RouteFilterConfigTranslator
{
    private const string Cors = "envoy.filters.http.cors";

    /// <summary>The configuration of each filter that has one here, by the filter's name. What is refused is left out, and in <paramref name="scope"/>.</summary>
    internal static IReadOnlyDictionary<string, object> Translate(MapField<string, Any> wire, ConfigScope scope, WireRoute.CorsPolicy? cors = null, string corsField = "")
    {
        if (wire.Count == 0 && cors is null)
            return RouteTable.NoFilterConfigs;
        var configs = new Dictionary<string, object>(StringComparer.Ordinal);
        foreach (var (name, config) in wire)
        {
            if (FilterConfig(name, config, scope.At($"typed_per_filter_config[{name}]")) is { } translated)
                configs[name] = translated;
        }
        if (cors is not null)
            AddCors(configs, cors, scope.At(corsField));
        return configs;
    }

    // The policy's older place.
    private static void AddCors(Dictionary<string, object> configs, WireRoute.CorsPolicy wire, ConfigScope scope)
    {
        if (configs.ContainsKey(Cors))
        {
            scope.Ignore("", "typed_per_filter_config has a policy as well, and that one counts");
            return;
        }
        var policy = CorsFilter.CreatePolicy(
            wire.AllowOriginStringMatch, wire.AllowMethods, wire.AllowHeaders, wire.ExposeHeaders, wire.MaxAge, wire.AllowCredentials ?? false,
            wire.AllowPrivateNetworkAccess ?? false, wire.ForwardNotMatchingPreflights ?? true, wire.FilterEnabled, wire.ShadowEnabled, scope);
        if (policy is not null)
            configs[Cors] = policy;
    }

    // One filter's configuration, alone or in an envoy.config.route.v3.FilterConfig around it.
    private static object? FilterConfig(string name, Any config, ConfigScope scope)
    {
        if (TypedConfig.TypeName(config) != "envoy.config.route.v3.FilterConfig")
            return HttpFilters.CreateRouteConfig(name, config, scope);
        if (!TypedConfig.TryParse(WireRoute.FilterConfig.Parser, config.Value, scope, out var wrapper))
            return null;
        if (wrapper.Disabled || wrapper.Config is null || wrapper.Config.TypeUrl.Length == 0)
        {
            object? state = HttpFilters.CreateRouteSwitch(name, wrapper.Config, wrapper.Disabled);
            if (state is null && wrapper.Disabled)
                scope.Reject("disabled", $"'{name}' cannot be disabled for single routes");
            return state;
        }
        return HttpFilters.CreateRouteConfig(name, wrapper.Config, scope.At("config"), wrapper.IsOptional);
    }
}
