using System;
using System.Collections.Generic;
using Google.Protobuf;
using Sidecar.Filters.Listener;
using Sidecar.Net;
using WireHttpInspector = Envoy.Extensions.Filters.Listener.HttpInspector.V3;
using WireListener = Envoy.Config.Listener.V3;
using WireOriginalDst = Envoy.Extensions.Filters.Listener.OriginalDst.V3;
using WireOriginalSrc = Envoy.Extensions.Filters.Listener.OriginalSrc.V3;
using WireProxyProtocol = Envoy.Extensions.Filters.Listener.ProxyProtocol.V3;
using WireTlsInspector = Envoy.Extensions.Filters.Listener.TlsInspector.V3;

namespace Sidecar.Filters;

/// <summary>
/// The listener filters there are. To add one: one file in Filters/Listener, one line in <c>s_filters</c>, one test file in
/// Sidecar.Tests/Filters/Listener.
/// </summary>
internal static class ListenerFilters
{
    private static readonly Dictionary<string, Entry> s_filters = new()
    {
        ["envoy.extensions.filters.listener.original_dst.v3.OriginalDst"] = Filter("envoy.filters.listener.original_dst", WireOriginalDst.OriginalDst.Parser, OriginalDstFilter.Create),
        ["envoy.extensions.filters.listener.original_src.v3.OriginalSrc"] =
            Filter("envoy.filters.listener.original_src", WireOriginalSrc.OriginalSrc.Parser, OriginalSrcFilter.Create),
        ["envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"] =
            Filter("envoy.filters.listener.proxy_protocol", WireProxyProtocol.ProxyProtocol.Parser, ProxyProtocolFilter.Create),
        ["envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"] = Filter("envoy.filters.listener.tls_inspector", WireTlsInspector.TlsInspector.Parser, TlsInspector.Create),
        ["envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"] =
            Filter("envoy.filters.listener.http_inspector", WireHttpInspector.HttpInspector.Parser, HttpInspector.Create),
    };

    private sealed record Entry(string Name, Func<ByteString, bool, ConfigScope, ListenerFilter?> Create);

    /// <summary>A configured listener filter, and the destination ports for which it is passed over.</summary>
    internal sealed record Configured(ListenerFilter Filter, PortPredicate? Disabled);

    /// <summary>Makes one configured listener filter; null, with the reason in <paramref name="scope"/>, when it is refused.</summary>
    internal static Configured? Create(WireListener.ListenerFilter wire, bool transparent, ConfigScope scope)
    {
        if (wire.ConfigTypeCase == WireListener.ListenerFilter.ConfigTypeOneofCase.ConfigDiscovery)
        {
            scope.Reject("config_discovery", "extension discovery (ECDS) is for HTTP filters only; set typed_config");
            return null;
        }
        string type = TypedConfig.TypeName(wire.TypedConfig);
        var entry = type.Length > 0 ? s_filters.GetValueOrDefault(type) : FindByName(wire.Name);
        if (entry is null)
        {
            scope.Reject("", $"Didn't find a registered implementation for '{wire.Name}' with type URL: '{type}'");
            return null;
        }
        var filter = entry.Create(wire.TypedConfig?.Value ?? ByteString.Empty, transparent, scope.At("typed_config"));
        var disabled = wire.FilterDisabled is null ? null : PortPredicate.Create(wire.FilterDisabled, scope.At("filter_disabled"));
        return filter is null ? null : new Configured(filter, disabled);
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

    private static Entry Filter<T>(string name, MessageParser<T> parser, Func<T, bool, ConfigScope, ListenerFilter?> create) where T : IMessage<T> =>
        new(name, (bytes, transparent, scope) => TypedConfig.TryParse(parser, bytes, scope, out var wire) ? create(wire, transparent, scope) : null);
}

/// <summary>ListenerFilter.filter_disabled: for which destination ports a filter is passed over.</summary>
/// <remarks>Shared immutable.</remarks>
internal abstract class PortPredicate
{
    /// <summary>Whether the filter is passed over for a connection that was going to this address.</summary>
    internal abstract bool Matches(in Address destination);

    /// <summary>Translates the wire form.</summary>
    internal static PortPredicate? Create(WireListener.ListenerFilterChainMatchPredicate wire, ConfigScope scope)
    {
        switch (wire.RuleCase)
        {
            case WireListener.ListenerFilterChainMatchPredicate.RuleOneofCase.AnyMatch:
                if (!wire.AnyMatch)
                    scope.Reject("any_match", "value must equal true");
                return new Any();
            case WireListener.ListenerFilterChainMatchPredicate.RuleOneofCase.DestinationPortRange:
                return new Range(wire.DestinationPortRange.Start, wire.DestinationPortRange.End);
            case WireListener.ListenerFilterChainMatchPredicate.RuleOneofCase.NotMatch:
                return Create(wire.NotMatch, scope.At("not_match")) is { } inner ? new Not(inner) : null;
            case WireListener.ListenerFilterChainMatchPredicate.RuleOneofCase.OrMatch:
                return CreateSet(wire.OrMatch, any: true, scope.At("or_match"));
            case WireListener.ListenerFilterChainMatchPredicate.RuleOneofCase.AndMatch:
                return CreateSet(wire.AndMatch, any: false, scope.At("and_match"));
            default:
                scope.Reject("", "needs one of or_match, and_match, not_match, any_match, destination_port_range");
                return null;
        }
    }

    private static PortPredicate? CreateSet(WireListener.ListenerFilterChainMatchPredicate.Types.MatchSet wire, bool any, ConfigScope scope)
    {
        var rules = new List<PortPredicate>(wire.Rules.Count);
        for (int i = 0; i < wire.Rules.Count; i++)
        {
            if (Create(wire.Rules[i], scope.At($"rules[{i}]")) is { } rule)
                rules.Add(rule);
        }
        if (wire.Rules.Count < 2)
            scope.Reject("rules", "needs at least 2 rules");
        return new Set(rules.ToArray(), any);
    }

    private sealed class Any : PortPredicate
    {
        internal override bool Matches(in Address destination) => true;
    }

    private sealed class Range(int start, int end) : PortPredicate
    {
        // As Envoy, what has no port is in every range.
        internal override bool Matches(in Address destination) => !destination.IsIp || destination.Port >= start && destination.Port < end;
    }

    private sealed class Not(PortPredicate inner) : PortPredicate
    {
        internal override bool Matches(in Address destination) => !inner.Matches(destination);
    }

    private sealed class Set(PortPredicate[] rules, bool any) : PortPredicate
    {
        internal override bool Matches(in Address destination)
        {
            foreach (var rule in rules)
            {
                if (rule.Matches(destination) == any)
                    return any;
            }
            return !any;
        }
    }
}
