using System;
using System.Collections.Generic;
using Google.Protobuf;
using Sidecar.Downstream;
using Sidecar.Filters;
using Sidecar.Net;
using Sidecar.Telemetry.Stats;
using Sidecar.Tls;
using WireCore = Envoy.Config.Core.V3;
using WireTls = Envoy.Extensions.TransportSockets.Tls.V3;

namespace Sidecar.Config;

using Wire = global::Envoy.Config.Listener.V3;

/// <summary>envoy.config.listener.v3.Listener → <see cref="ListenerConfig"/>.</summary>
internal static class ListenerTranslator
{
    /// <summary>
    /// How long a TLS handshake may take where transport_socket_connect_timeout does not say. Envoy waits for ever, and so lets a peer that says nothing
    /// hold a connection; no handshake takes this long.
    /// </summary>
    private const long HandshakeTimeoutMs = 15_000;

    /// <summary>Translates a listener; null, with every reason in <paramref name="scope"/>, when it is refused.</summary>
    /// <param name="wire">The resource.</param>
    /// <param name="previous">The version in use, whose unchanged chains are kept as the same objects; null for a new listener.</param>
    /// <param name="scope">Where problems go.</param>
    internal static ListenerConfig? Translate(Wire.Listener wire, ListenerConfig? previous, ConfigScope scope)
    {
        ReportUnsupported(wire, scope);
        int bufferLimit = (int)Math.Min(wire.PerConnectionBufferLimitBytes ?? Connection.DefaultHighWatermark, int.MaxValue);
        if (bufferLimit == 0)
            scope.Reject("per_connection_buffer_limit_bytes", "must be at least 1");

        var addresses = Addresses(wire, scope);
        string statName = wire.StatPrefix.Length > 0 ? wire.StatPrefix : addresses.Count > 0 ? addresses[0].Address.ToString().Replace(':', '_') : wire.Name;
        var stats = scope.Services.Stats.Scope(ListenerStats.Schema, $"listener.{statName}.", new StatTag("envoy.listener_address", statName));

        bool transparent = wire.Transparent ?? false;
        var listenerFilters = new List<ListenerFilters.Configured>(wire.ListenerFilters.Count);
        for (int i = 0; i < wire.ListenerFilters.Count; i++)
        {
            if (ListenerFilters.Create(wire.ListenerFilters[i], transparent, scope.At($"listener_filters[{i}]")) is { } filter)
                listenerFilters.Add(filter);
        }

        var chains = new List<(FilterChainCriteria Criteria, FilterChainConfig Chain)>(wire.FilterChains.Count);
        bool drainsUnhealthy = wire.DrainType == Wire.Listener.Types.DrainType.Default;
        bool reusable = previous is not null && previous.BufferLimitBytes == bufferLimit && previous.Stats == stats && previous.DrainsUnhealthy == drainsUnhealthy
            && previous.BypassesOverload == wire.BypassOverloadManager;
        var owner = new ChainOwner(wire.Name, stats, bufferLimit, drainsUnhealthy, wire.BypassOverloadManager, reusable ? previous : null);
        for (int i = 0; i < wire.FilterChains.Count; i++)
        {
            var at = scope.At($"filter_chains[{i}]");
            var criteria = Criteria(wire.FilterChains[i].FilterChainMatch, at.At("filter_chain_match"));
            if (Chain(wire.FilterChains[i], owner, at) is { } chain)
                chains.Add((criteria, chain));
        }
        FilterChainConfig? defaultChain = null;
        if (wire.DefaultFilterChain is not null)
            defaultChain = Chain(wire.DefaultFilterChain, owner, scope.At("default_filter_chain"));
        if (wire.FilterChains.Count == 0 && wire.DefaultFilterChain is null)
            scope.Reject("filter_chains", "error adding listener: no filter chains specified");
        if (wire.DefaultFilterChain?.FilterChainMatch is not null)
            scope.Ignore("default_filter_chain.filter_chain_match", "the default chain takes what no other does, as in Envoy");

        var match = FilterChainMatch.Build(chains, (first, second) => scope.Reject(
            "filter_chains", $"error adding listener '{wire.Name}': filter chain '{second.Name}' has the same matching rules defined as '{first.Name}'"));
        if (scope.IsRejected)
            return null;
        var all = new List<FilterChainConfig>(chains.Count);
        foreach (var (_, chain) in chains)
            all.Add(chain);
        return new ListenerConfig
        {
            Name = wire.Name,
            Addresses = addresses,
            BindToPort = wire.BindToPort ?? wire.DeprecatedV1?.BindToPort ?? true,
            UseOriginalDst = wire.UseOriginalDst ?? false,
            Transparent = transparent,
            Direction = wire.TrafficDirection switch
            {
                WireCore.TrafficDirection.Inbound => TrafficDirection.Inbound,
                WireCore.TrafficDirection.Outbound => TrafficDirection.Outbound,
                _ => TrafficDirection.Unspecified,
            },
            ListenerFilters = listenerFilters,
            ListenerFiltersTimeoutMs = scope.Milliseconds("listener_filters_timeout", wire.ListenerFiltersTimeout, 15_000),
            ContinueOnListenerFiltersTimeout = wire.ContinueOnListenerFiltersTimeout,
            Chains = all,
            DefaultChain = defaultChain,
            Match = match,
            BufferLimitBytes = bufferLimit,
            DrainsUnhealthy = drainsUnhealthy,
            IgnoreGlobalLimit = wire.IgnoreGlobalConnLimit,
            BypassesOverload = wire.BypassOverloadManager,
            Stats = stats,
        };
    }

    private static void ReportUnsupported(Wire.Listener wire, ConfigScope scope)
    {
        if (wire.Name.Length == 0)
            scope.Reject("name", "must not be empty");
        if (wire.ApiListener is not null)
            scope.Reject("api_listener", "API listeners are not supported");
        if (wire.ListenerSpecifierCase == Wire.Listener.ListenerSpecifierOneofCase.InternalListener)
            scope.Reject("internal_listener", "internal listeners are not supported yet");
        if (wire.FilterChainMatcher is not null)
            scope.Reject("filter_chain_matcher", "is not supported; use filter_chain_match of the chains");
        if (wire.FcdsConfig is not null)
            scope.Reject("fcds_config", "filter chain discovery is not supported");
        for (int i = 0; i < wire.SocketOptions.Count; i++)
            scope.Ignore($"socket_options[{i}]", "socket options of a listener are not set");
        if (wire.TcpFastOpenQueueLength is not null)
            scope.Ignore("tcp_fast_open_queue_length", "TCP Fast Open is not used");
        if (wire.EnableMptcp)
            scope.Ignore("enable_mptcp", "Multipath TCP is not used");
        if (wire.AccessLog.Count > 0)
            scope.Ignore("access_log", "listeners do not log yet");
        if (wire.ConnectionBalanceConfig is not null)
            scope.Ignore("connection_balance_config", "the kernel spreads connections over the workers (SO_REUSEPORT)");
    }

    private static List<ListenOptions> Addresses(Wire.Listener wire, ConfigScope scope)
    {
        var addresses = new List<ListenOptions>(1 + wire.AdditionalAddresses.Count);
        Add(wire.Address, "address", wire.TcpKeepalive);
        for (int i = 0; i < wire.AdditionalAddresses.Count; i++)
            Add(wire.AdditionalAddresses[i].Address, $"additional_addresses[{i}].address", wire.AdditionalAddresses[i].TcpKeepalive ?? wire.TcpKeepalive);
        return addresses;

        void Add(WireCore.Address? address, string field, WireCore.TcpKeepalive? keepalive)
        {
            if (!TryAddress(address, scope.At(field), out var parsed, out bool v4Compatible, out uint mode))
                return;
            addresses.Add(new ListenOptions
            {
                Address = parsed,
                ReusePort = parsed.IsIp,
                Backlog = (int)Math.Min(wire.TcpBacklogSize ?? 4096, int.MaxValue),
                Transparent = wire.Transparent ?? false,
                FreeBind = wire.Freebind ?? false,
                IPv4Compatible = v4Compatible,
                PipeMode = mode,
                AcceptsPerEvent = (int)Math.Clamp(wire.MaxConnectionsToAcceptPerSocketEvent ?? 64, 1, 1024),
                KeepAlive = keepalive is null ? null : new KeepAlive(
                    (int)(keepalive.KeepaliveTime ?? 0), (int)(keepalive.KeepaliveInterval ?? 0), (int)(keepalive.KeepaliveProbes ?? 0)),
            });
        }
    }

    private static bool TryAddress(WireCore.Address? wire, ConfigScope scope, out Address address, out bool v4Compatible, out uint pipeMode)
    {
        address = default;
        v4Compatible = false;
        pipeMode = 0;
        switch (wire?.AddressCase)
        {
            case WireCore.Address.AddressOneofCase.SocketAddress:
                var socket = wire.SocketAddress;
                v4Compatible = socket.Ipv4Compat;
                if (socket.ResolverName.Length > 0)
                    scope.Ignore("socket_address.resolver_name", "it is an IP address, which needs no resolver");
                if (socket.NetworkNamespaceFilepath.Length > 0)
                    scope.Reject("socket_address.network_namespace_filepath", "other network namespaces are not supported");
                if (socket.Protocol == WireCore.SocketAddress.Types.Protocol.Udp)
                    scope.Reject("socket_address.protocol", "UDP listeners are not supported");
                else if (socket.PortSpecifierCase == WireCore.SocketAddress.PortSpecifierOneofCase.NamedPort)
                    scope.Reject("socket_address.named_port", "give the port as port_value");
                else if (socket.PortSpecifierCase == WireCore.SocketAddress.PortSpecifierOneofCase.None)
                    // An explicit 0 has the kernel choose a port; none at all is a mistake.
                    scope.Reject("socket_address.port_specifier", "value is required: set port_value");
                else if (socket.PortValue > 65535)
                    scope.Reject("socket_address.port_value", "must be at most 65535");
                else if (!Address.TryParseIp(socket.Address.AsSpan(), out address, (ushort)socket.PortValue))
                    scope.Reject("socket_address.address", $"malformed IP address: {socket.Address}");
                else
                    return true;
                return false;
            case WireCore.Address.AddressOneofCase.Pipe:
                // 108 bytes of sun_path, one of them its end.
                if (wire.Pipe.Path.Length is 0 or > 107)
                {
                    scope.Reject("pipe.path", "must be 1 to 107 bytes long");
                    return false;
                }
                address = Address.Pipe(wire.Pipe.Path);
                pipeMode = wire.Pipe.Mode;
                return true;
            case WireCore.Address.AddressOneofCase.EnvoyInternalAddress:
                scope.Reject("envoy_internal_address", "internal listeners are not supported yet");
                return false;
            default:
                scope.Reject("", "is required: set socket_address or pipe");
                return false;
        }
    }

    /// <summary>What a listener gives to each of its chains. Where one of the values changes, no chain is the same as before: then there is no previous version.</summary>
    private sealed record ChainOwner(string Name, StatsScope Stats, int BufferLimit, bool DrainsUnhealthy, bool BypassesOverload, ListenerConfig? Previous);

    private static FilterChainConfig? Chain(Wire.FilterChain wire, ChainOwner owner, ConfigScope scope)
    {
        if (wire.UseProxyProto == true)
            scope.Reject("use_proxy_proto", "is not supported; use the listener filter envoy.filters.listener.proxy_protocol");
        byte[] bytes = wire.ToByteArray();
        // Problems of an unchanged chain were told when it came; but the scope is new, so it is translated all the same where it has any.
        int before = scope.Rejections.Count;
        var tls = Tls(wire.TransportSocket, owner.Stats, scope.At("transport_socket"));
        long handshakeMs = scope.Milliseconds("transport_socket_connect_timeout", wire.TransportSocketConnectTimeout, HandshakeTimeoutMs);
        var terminal = NetworkFilters.Create(wire.Filters, owner.BufferLimit, scope);
        if (terminal is null || scope.Rejections.Count > before)
            return null;
        if (owner.Previous is { } previous && FindUnchanged(previous, wire.Name, bytes) is { } unchanged)
            return unchanged;
        return new FilterChainConfig
        {
            Name = wire.Name,
            Context = new ConnectionContext(owner.Name, wire.Name, owner.Stats, owner.DrainsUnhealthy, owner.BypassesOverload),
            Terminal = terminal,
            Tls = tls,
            HandshakeTimeoutMs = (int)Math.Min(handshakeMs, int.MaxValue),
            WireBytes = bytes,
        };
    }

    private static FilterChainConfig? FindUnchanged(ListenerConfig previous, string name, byte[] bytes)
    {
        foreach (var chain in previous.Chains)
        {
            if (chain.Name == name && chain.WireBytes.AsSpan().SequenceEqual(bytes))
                return chain;
        }
        return previous.DefaultChain is { } fallback && fallback.Name == name && fallback.WireBytes.AsSpan().SequenceEqual(bytes) ? fallback : null;
    }

    // Null: in the clear. A chain that asks for anything this cannot do is refused, never served in the clear instead.
    private static TlsContextSlot? Tls(WireCore.TransportSocket? wire, StatsScope stats, ConfigScope scope)
    {
        if (wire is null)
            return null;
        string type = TypedConfig.TypeName(wire.TypedConfig);
        if (type == "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext")
        {
            var context = WireTls.DownstreamTlsContext.Parser.ParseFrom(wire.TypedConfig!.Value);
            return scope.Services.DownstreamTls(context, stats.Prefix, stats.Tags[0], scope.At("typed_config"));
        }
        bool isRaw = type == "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer" || type.Length == 0 && wire.Name is "raw_buffer" or "envoy.transport_sockets.raw_buffer";
        if (isRaw)
            return null;
        if (type.Length == 0 && wire.Name is "tls" or "envoy.transport_sockets.tls")
            scope.Reject("typed_config", "is required: a DownstreamTlsContext");
        else
            scope.Reject("", $"Didn't find a registered implementation for '{wire.Name}' with type URL: '{type}'");
        return null;
    }

    private static FilterChainCriteria Criteria(Wire.FilterChainMatch? wire, ConfigScope scope)
    {
        if (wire is null)
            return new FilterChainCriteria();
        const string noSuffix = "matching by address suffix is not supported (Envoy does not either)";
        if (wire.AddressSuffix.Length > 0)
            scope.Reject("address_suffix", noSuffix);
        if (wire.SuffixLen is not null)
            scope.Reject("suffix_len", noSuffix);
        if (wire.DestinationPort is 0 or > 65535)
            scope.Reject("destination_port", "must be 1 to 65535");
        var names = new List<string>(wire.ServerNames.Count);
        for (int i = 0; i < wire.ServerNames.Count; i++)
        {
            string name = wire.ServerNames[i].ToLowerInvariant();
            if (name.Length == 0)
                scope.Reject($"server_names[{i}]", "must not be empty");
            else if (name == "*" || (name.Contains('*') && (!name.StartsWith("*.", StringComparison.Ordinal) || name.IndexOf('*', 1) > 0)))
                scope.Reject($"server_names[{i}]", $"partial wildcards are not supported in \"server_names\": '{wire.ServerNames[i]}'");
            else
                names.Add(name);
        }
        var ports = new List<int>(wire.SourcePorts.Count);
        foreach (uint port in wire.SourcePorts)
            ports.Add((int)Math.Min(port, 65536));
        return new FilterChainCriteria
        {
            DestinationPort = (int)(wire.DestinationPort ?? 0),
            DestinationRanges = Ranges(wire.PrefixRanges, scope.At("prefix_ranges")),
            ServerNames = names,
            TransportProtocol = wire.TransportProtocol,
            ApplicationProtocols = wire.ApplicationProtocols,
            DirectSourceRanges = Ranges(wire.DirectSourcePrefixRanges, scope.At("direct_source_prefix_ranges")),
            SourceType = (SourceType)wire.SourceType,
            SourceRanges = Ranges(wire.SourcePrefixRanges, scope.At("source_prefix_ranges")),
            SourcePorts = ports,
        };
    }

    /// <summary>Address ranges, each refused by its place in the list.</summary>
    internal static List<Cidr> Ranges(IReadOnlyList<WireCore.CidrRange> wire, ConfigScope scope)
    {
        var ranges = new List<Cidr>(wire.Count);
        for (int i = 0; i < wire.Count; i++)
        {
            if (Address.TryParseIp(wire[i].AddressPrefix.AsSpan(), out var address) && Cidr.TryCreate(address, (int)(wire[i].PrefixLen ?? 0), out var range))
                ranges.Add(range);
            else
                scope.Reject($"[{i}]", $"'{wire[i].AddressPrefix}/{wire[i].PrefixLen ?? 0}' is not an address range");
        }
        return ranges;
    }
}
