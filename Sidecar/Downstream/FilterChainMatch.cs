using System;
using System.Collections.Frozen;
using System.Collections.Generic;
using Sidecar.Filters;
using Sidecar.Net;

namespace Sidecar.Downstream;

/// <summary>source_type of a filter chain match.</summary>
internal enum SourceType : byte { Any, SameIpOrLoopback, External }

/// <summary>What one filter chain asks of a connection; empty lists and 0 ask nothing.</summary>
internal sealed record FilterChainCriteria
{
    internal int DestinationPort { get; init; }
    internal IReadOnlyList<Cidr> DestinationRanges { get; init; } = [];

    /// <summary>Lower case; <c>*.example.com</c> for any name below.</summary>
    internal IReadOnlyList<string> ServerNames { get; init; } = [];
    internal string TransportProtocol { get; init; } = "";
    internal IReadOnlyList<string> ApplicationProtocols { get; init; } = [];
    internal IReadOnlyList<Cidr> DirectSourceRanges { get; init; } = [];
    internal SourceType SourceType { get; init; }
    internal IReadOnlyList<Cidr> SourceRanges { get; init; } = [];
    internal IReadOnlyList<int> SourcePorts { get; init; } = [];
}

/// <summary>
/// Chooses a filter chain by Envoy's order of specificity: destination port, destination address, server name, transport protocol,
/// application protocol, direct source address, source type, source address, source port. At each step the most specific entry that fits is followed,
/// and there is no way back: a chain without that criterion is not tried when the rest of the followed one fails.
/// </summary>
/// <remarks>Shared immutable: a tree of nine levels, built on the control loop. A lookup allocates nothing.</remarks>
internal sealed class FilterChainMatch
{
    private readonly FrozenDictionary<int, DestinationNode> _byPort;

    private FilterChainMatch(FrozenDictionary<int, DestinationNode> byPort) => _byPort = byPort;

    /// <summary>The chain for a connection, or null: then the listener's default chain applies.</summary>
    internal FilterChainConfig? Find(AcceptedConnection connection)
    {
        if (connection.Destination.IsIp && _byPort.TryGetValue(connection.Destination.Port, out var node))
            return node.Find(connection);
        return _byPort.TryGetValue(0, out node) ? node.Find(connection) : null;
    }

    /// <summary>Builds the tree.</summary>
    /// <param name="chains">Every chain with its criteria, in configured order.</param>
    /// <param name="overlaps">Called for a chain whose criteria another one has already, with both.</param>
    internal static FilterChainMatch Build(
        IReadOnlyList<(FilterChainCriteria Criteria, FilterChainConfig Chain)> chains, Action<FilterChainConfig, FilterChainConfig> overlaps)
    {
        var ports = new Dictionary<int, Builder>();
        foreach (var (criteria, chain) in chains)
        {
            if (!ports.TryGetValue(criteria.DestinationPort, out var builder))
                ports.Add(criteria.DestinationPort, builder = new Builder());
            builder.Add(criteria, chain, overlaps);
        }
        return new FilterChainMatch(Freeze(ports, static builder => new DestinationNode(builder.Destination)));
    }

    // ---- the levels, top down -------------------------------------------------------------------------------------

    private sealed class DestinationNode(Dictionary<Cidr, NameLevel> wire)
    {
        private readonly RangeTable<ServerNameNode> _ranges = Ranges(wire, static level => new ServerNameNode(level.Names));

        internal FilterChainConfig? Find(AcceptedConnection connection) => _ranges.Find(connection.Destination)?.Find(connection);
    }

    private sealed class ServerNameNode
    {
        private readonly FrozenDictionary<string, TransportNode> _names;
        private readonly FrozenDictionary<string, TransportNode>.AlternateLookup<ReadOnlySpan<char>> _lookup;

        internal ServerNameNode(Dictionary<string, TransportLevel> wire)
        {
            _names = Freeze(wire, static level => new TransportNode(level.Transports));
            _lookup = _names.GetAlternateLookup<ReadOnlySpan<char>>();
        }

        internal FilterChainConfig? Find(AcceptedConnection connection)
        {
            string name = connection.ServerName;
            if (name.Length > 0)
            {
                if (_names.TryGetValue(name, out var exact))
                    return exact.Find(connection);
                // "*.b.c" is kept as ".b.c"; the longest suffix first.
                for (int dot = name.IndexOf('.', 1); dot > 0; dot = name.IndexOf('.', dot + 1))
                {
                    if (_lookup.TryGetValue(name.AsSpan(dot), out var suffix))
                        return suffix.Find(connection);
                }
            }
            return _names.TryGetValue("", out var any) ? any.Find(connection) : null;
        }
    }

    private sealed class TransportNode(Dictionary<string, ApplicationLevel> wire)
    {
        private readonly FrozenDictionary<string, ApplicationNode> _transports = Freeze(wire, static level => new ApplicationNode(level.Protocols));

        internal FilterChainConfig? Find(AcceptedConnection connection)
        {
            // Nobody has looked: the bytes are what they are.
            string transport = connection.TransportProtocol.Length > 0 ? connection.TransportProtocol : "raw_buffer";
            if (_transports.TryGetValue(transport, out var node))
                return node.Find(connection);
            return _transports.TryGetValue("", out node) ? node.Find(connection) : null;
        }
    }

    private sealed class ApplicationNode(Dictionary<string, SourceLevel> wire)
    {
        private readonly FrozenDictionary<string, DirectSourceNode> _protocols = Freeze(wire, static level => new DirectSourceNode(level.DirectSources));

        internal FilterChainConfig? Find(AcceptedConnection connection)
        {
            foreach (string protocol in connection.ApplicationProtocols)
            {
                if (_protocols.TryGetValue(protocol, out var match))
                    return match.Find(connection);
            }
            return _protocols.TryGetValue("", out var any) ? any.Find(connection) : null;
        }
    }

    private sealed class DirectSourceNode(Dictionary<Cidr, SourceTypeLevel> wire)
    {
        private readonly RangeTable<SourceTypeNode> _ranges = Ranges(wire, static level => new SourceTypeNode(level));

        internal FilterChainConfig? Find(AcceptedConnection connection) => _ranges.Find(connection.Connection.DirectRemoteAddress)?.Find(connection);
    }

    private sealed class SourceTypeNode(SourceTypeLevel wire)
    {
        private readonly SourceNode? _any = Make(wire, SourceType.Any);
        private readonly SourceNode? _local = Make(wire, SourceType.SameIpOrLoopback);
        private readonly SourceNode? _external = Make(wire, SourceType.External);

        internal FilterChainConfig? Find(AcceptedConnection connection)
        {
            bool local = connection.Source.IsLoopback || connection.Source.SameHost(connection.Destination);
            var specific = local ? _local : _external;
            return specific is not null ? specific.Find(connection) : _any?.Find(connection);
        }

        private static SourceNode? Make(SourceTypeLevel wire, SourceType type) => wire.Types.TryGetValue(type, out var level) ? new SourceNode(level.Sources) : null;
    }

    private sealed class SourceNode(Dictionary<Cidr, PortLevel> wire)
    {
        private readonly RangeTable<FrozenDictionary<int, FilterChainConfig>> _ranges = Ranges(wire, static level => level.Ports.ToFrozenDictionary());

        internal FilterChainConfig? Find(AcceptedConnection connection)
        {
            if (_ranges.Find(connection.Source) is not { } ports)
                return null;
            return ports.TryGetValue(connection.Source.Port, out var chain) || ports.TryGetValue(0, out chain) ? chain : null;
        }
    }

    /// <summary>Longest-prefix lookup; the ranges of one listener are few, so a list sorted longest first does.</summary>
    private sealed class RangeTable<T> where T : class
    {
        private readonly (Cidr Range, T Value)[] _ranges;
        private readonly T? _any;

        internal RangeTable(List<(Cidr Range, T Value)> ranges, T? any)
        {
            ranges.Sort(static (a, b) => b.Range.PrefixLength - a.Range.PrefixLength);
            _ranges = ranges.ToArray();
            _any = any;
        }

        internal T? Find(in Address address)
        {
            foreach (ref readonly var entry in _ranges.AsSpan())
            {
                if (entry.Range.Contains(in address))
                    return entry.Value;
            }
            return _any;
        }
    }

    private static FrozenDictionary<TKey, TNode> Freeze<TKey, TLevel, TNode>(Dictionary<TKey, TLevel> levels, Func<TLevel, TNode> make) where TKey : notnull
    {
        var nodes = new Dictionary<TKey, TNode>(levels.Count);
        foreach (var (key, level) in levels)
            nodes.Add(key, make(level));
        return nodes.ToFrozenDictionary();
    }

    private static RangeTable<TNode> Ranges<TLevel, TNode>(Dictionary<Cidr, TLevel> levels, Func<TLevel, TNode> make) where TNode : class
    {
        var ranges = new List<(Cidr, TNode)>(levels.Count);
        TNode? any = null;
        foreach (var (range, level) in levels)
        {
            // The default range stands for "asks nothing", which "0.0.0.0/0" (all of IPv4) does not.
            if (range.Equals(default))
                any = make(level);
            else
                ranges.Add((range, make(level)));
        }
        return new RangeTable<TNode>(ranges, any);
    }

    // ---- building: the same levels as plain dictionaries ------------------------------------------------------------

    private sealed class NameLevel { internal readonly Dictionary<string, TransportLevel> Names = []; }

    private sealed class TransportLevel { internal readonly Dictionary<string, ApplicationLevel> Transports = []; }

    private sealed class ApplicationLevel { internal readonly Dictionary<string, SourceLevel> Protocols = []; }

    private sealed class SourceLevel { internal readonly Dictionary<Cidr, SourceTypeLevel> DirectSources = []; }

    private sealed class SourceTypeLevel { internal readonly Dictionary<SourceType, RangeLevel> Types = []; }

    private sealed class RangeLevel { internal readonly Dictionary<Cidr, PortLevel> Sources = []; }

    private sealed class PortLevel { internal readonly Dictionary<int, FilterChainConfig> Ports = []; }

    private sealed class Builder
    {
        internal readonly Dictionary<Cidr, NameLevel> Destination = [];

        internal void Add(FilterChainCriteria criteria, FilterChainConfig chain, Action<FilterChainConfig, FilterChainConfig> overlaps)
        {
            FilterChainConfig? reported = null;
            foreach (var destination in OrAny(criteria.DestinationRanges, default))
            foreach (string name in OrAny(criteria.ServerNames, ""))
            foreach (string protocol in OrAny(criteria.ApplicationProtocols, ""))
            foreach (var direct in OrAny(criteria.DirectSourceRanges, default))
            foreach (var source in OrAny(criteria.SourceRanges, default))
            foreach (int port in OrAny(criteria.SourcePorts, 0))
            {
                var ports = Level(Level(Level(Level(Level(Level(Level(Destination,
                    destination).Names,
                    name.StartsWith("*.", StringComparison.Ordinal) ? name[1..] : name).Transports,
                    criteria.TransportProtocol).Protocols,
                    protocol).DirectSources,
                    direct).Types,
                    criteria.SourceType).Sources,
                    source).Ports;
                if (ports.TryAdd(port, chain) || ports[port] == reported || ports[port] == chain)
                    continue;
                reported = ports[port];
                overlaps(reported, chain);
            }
        }

        private static IReadOnlyList<T> OrAny<T>(IReadOnlyList<T> values, T any) => values.Count > 0 ? values : [any];

        private static TLevel Level<TKey, TLevel>(Dictionary<TKey, TLevel> level, TKey key) where TKey : notnull where TLevel : new()
        {
            if (!level.TryGetValue(key, out var next))
                level.Add(key, next = new TLevel());
            return next;
        }
    }
}
