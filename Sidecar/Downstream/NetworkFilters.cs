using System;
using System.Collections.Generic;
using Google.Protobuf;
using Sidecar.Filters;
using Sidecar.Filters.Network;
using WireHcm = Envoy.Extensions.Filters.Network.HttpConnectionManager.V3;
using WireListener = Envoy.Config.Listener.V3;
using WireRbac = Envoy.Extensions.Filters.Network.Rbac.V3;
using WireTcp = Envoy.Extensions.Filters.Network.TcpProxy.V3;

namespace Sidecar.Downstream;

/// <summary>
/// The network filters there are. To add one: one file in Filters/Network, one line in <c>s_terminals</c> or <c>s_filters</c>, one test file in
/// Sidecar.Tests/Filters/Network.
/// </summary>
internal static class NetworkFilters
{
    private static readonly Dictionary<string, Terminal> s_terminals = new()
    {
        ["envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"] = Add("envoy.filters.network.tcp_proxy", WireTcp.TcpProxy.Parser, TcpProxyFilter.Create),
        ["envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"] =
            Add("envoy.filters.network.http_connection_manager", WireHcm.HttpConnectionManager.Parser, HttpConnectionManager.Create),
    };

    /// <summary>Those that stand before a terminal one.</summary>
    private static readonly Dictionary<string, Guard> s_filters = new()
    {
        ["envoy.extensions.filters.network.rbac.v3.RBAC"] = new("envoy.filters.network.rbac", (bytes, scope) =>
            TypedConfig.TryParse(WireRbac.RBAC.Parser, bytes, scope, out var wire) ? RbacNetworkFilter.Create(wire, scope) : null),
    };

    private sealed record Guard(string Name, Func<ByteString, ConfigScope, NetworkFilterFactory?> Create);

    private sealed record Terminal(string Name, Func<ByteString, ConfigScope, int, TerminalFilterFactory?> Create);

    /// <summary>Translates the filters of a chain; null, with reasons in <paramref name="scope"/>, when they are refused.</summary>
    internal static TerminalFilterFactory? Create(IReadOnlyList<WireListener.Filter> filters, int bufferLimit, ConfigScope scope)
    {
        TerminalFilterFactory? factory = null;
        bool terminal = false;
        var before = new List<NetworkFilterFactory>();
        for (int i = 0; i < filters.Count; i++)
        {
            var wire = filters[i];
            var at = scope.At($"filters[{i}]");
            if (wire.ConfigTypeCase == WireListener.Filter.ConfigTypeOneofCase.ConfigDiscovery)
            {
                at.Reject("config_discovery", "extension discovery (ECDS) is for HTTP filters only; set typed_config");
                continue;
            }
            string type = TypedConfig.TypeName(wire.TypedConfig);
            if ((type.Length > 0 ? s_terminals.GetValueOrDefault(type) : FindByName(wire.Name)) is { } entry)
            {
                terminal = true;
                if (i < filters.Count - 1)
                    at.Reject("", $"terminal filter '{wire.Name}' must be the last filter in a network filter chain");
                factory = entry.Create(wire.TypedConfig?.Value ?? ByteString.Empty, at.At("typed_config"), bufferLimit);
            }
            else if ((type.Length > 0 ? s_filters.GetValueOrDefault(type) : FindGuard(wire.Name)) is { } guard)
            {
                if (guard.Create(wire.TypedConfig?.Value ?? ByteString.Empty, at.At("typed_config")) is { } filter)
                    before.Add(filter);
            }
            else if (ObservingFilters.Find(wire.Name, wire.TypedConfig) is { } reason)
            {
                at.Ignore("", $"{wire.Name}: {reason}");
            }
            else
            {
                at.Reject("", $"Didn't find a registered implementation for '{wire.Name}' with type URL: '{type}'");
            }
        }
        if (!terminal && !scope.IsRejected)
            scope.Reject("filters", filters.Count == 0
                ? "a chain without filters closes every connection; add envoy.filters.network.tcp_proxy or envoy.filters.network.http_connection_manager"
                : $"non-terminal filter '{filters[^1].Name}' is the last filter in a network filter chain");
        if (factory is null || before.Count == 0)
            return factory;
        NetworkFilterFactory[] guards = [.. before];
        return worker => new GuardedFilter(factory(worker), guards, worker);
    }

    private static Guard? FindGuard(string name)
    {
        foreach (var guard in s_filters.Values)
        {
            if (guard.Name == name)
                return guard;
        }
        return null;
    }

    private static Terminal? FindByName(string name)
    {
        foreach (var entry in s_terminals.Values)
        {
            if (entry.Name == name)
                return entry;
        }
        return null;
    }

    private static Terminal Add<T>(string name, MessageParser<T> parser, Func<T, ConfigScope, int, TerminalFilterFactory?> create) where T : IMessage<T> =>
        new(name, (bytes, scope, bufferLimit) => TypedConfig.TryParse(parser, bytes, scope, out var wire) ? create(wire, scope, bufferLimit) : null);
}
