using Sidecar.Filters;
using Sidecar.Net;
using WireCore = Envoy.Config.Core.V3;

namespace Sidecar.Config.Clusters;

using Wire = global::Envoy.Config.Cluster.V3;

/// <summary>How connections of a cluster are made: upstream_connection_options and upstream_bind_config → <see cref="ConnectOptions"/>.</summary>
internal static class UpstreamConnectionTranslator
{
    /// <summary>Translates what is set; the options of every cluster that sets nothing are one object.</summary>
    internal static ConnectOptions Translate(Wire.Cluster wire, ConfigScope scope)
    {
        var options = ConnectOptions.Default;
        if (wire.UpstreamConnectionOptions is { } connection)
            options = Connection(options, connection, scope.At("upstream_connection_options"));
        return wire.UpstreamBindConfig is { } bind ? Bind(options, bind, scope.At("upstream_bind_config")) : options;
    }

    private static ConnectOptions Connection(ConnectOptions options, Wire.UpstreamConnectionOptions wire, ConfigScope scope)
    {
        if (wire.SetLocalInterfaceNameOnUpstreamConnections)
            scope.Ignore("set_local_interface_name_on_upstream_connections", "the interface's name is not looked up");
        if (wire.HappyEyeballsConfig is not null)
            scope.Ignore("happy_eyeballs_config", "only the first address of a host is used");
        return wire.TcpKeepalive is not { } keepalive ? options : options with
        {
            KeepAlive = new KeepAlive((int)(keepalive.KeepaliveTime ?? 0), (int)(keepalive.KeepaliveInterval ?? 0), (int)(keepalive.KeepaliveProbes ?? 0)),
        };
    }

    private static ConnectOptions Bind(ConnectOptions options, WireCore.BindConfig wire, ConfigScope scope)
    {
        var source = SourceAddress(wire.SourceAddress, scope.At("source_address"));
        var other = default(Address);
        for (int i = 0; i < wire.ExtraSourceAddresses.Count; i++)
        {
            var at = scope.At("extra_source_addresses", i);
            if (wire.ExtraSourceAddresses[i].SocketOptions is not null)
                at.Reject("socket_options", "is not supported; socket_options of upstream_bind_config are set for all addresses");
            other = OtherSource(wire.ExtraSourceAddresses[i].Address, source, other, at.At("address"));
        }
        for (int i = 0; i < wire.AdditionalSourceAddresses.Count; i++)
            other = OtherSource(wire.AdditionalSourceAddresses[i], source, other, scope.At("additional_source_addresses", i));
        if (wire.LocalAddressSelector is not null)
            scope.Reject("local_address_selector", "is not supported; the address of the destination's family is used");
        options = options with { Source = source, OtherFamilySource = other, FreeBind = wire.Freebind ?? false };
        for (int i = 0; i < wire.SocketOptions.Count; i++)
            options = SetSocketOption(options, wire.SocketOptions[i], scope.At("socket_options", i));
        return options;
    }

    private static Address SourceAddress(WireCore.SocketAddress? wire, ConfigScope scope)
    {
        if (wire is null)
            return default;
        if (wire.PortSpecifierCase == WireCore.SocketAddress.PortSpecifierOneofCase.None)
            scope.Reject("port_specifier", "value is required: set port_value, to 0 for any port");
        if (wire.PortValue > ushort.MaxValue)
            scope.Reject("port_value", $"value must be less than or equal to {ushort.MaxValue}");
        if (wire.Protocol == WireCore.SocketAddress.Types.Protocol.Udp)
            scope.Reject("protocol", "UDP upstreams are not supported");
        if (wire.NetworkNamespaceFilepath.Length > 0)
            scope.Reject("network_namespace_filepath", "other network namespaces are not supported");
        if (wire.ResolverName.Length > 0)
            scope.Ignore("resolver_name", "it is an IP address, which needs no resolver");
        if (wire.Ipv4Compat)
            scope.Ignore("ipv4_compat", "is for addresses that are listened on");
        if (!Address.TryParseIp(wire.Address, out var address, (ushort)wire.PortValue))
            scope.Reject("address", $"malformed IP address: {wire.Address}");
        return address;
    }

    private static Address OtherSource(WireCore.SocketAddress? wire, in Address source, in Address other, ConfigScope scope)
    {
        var address = SourceAddress(wire, scope);
        if (address.IsNone)
            return other;
        if (!other.IsNone || address.Kind == source.Kind)
        {
            scope.Ignore("", "one source address for each IP family is used, the first");
            return other;
        }
        return address;
    }

    // By Linux's numbers (socket(7), ip(7), ipv6(7)): those of a sidecar's redirection; others are refused.
    private static ConnectOptions SetSocketOption(ConnectOptions options, WireCore.SocketOption wire, ConfigScope scope)
    {
        bool isInt = wire.ValueCase == WireCore.SocketOption.ValueOneofCase.IntValue;
        switch (wire.Level, wire.Name)
        {
            // SOL_SOCKET SO_MARK
            case (1, 36) when isInt && wire.IntValue is >= 0 and <= uint.MaxValue:
                return options with { Mark = (int)(uint)wire.IntValue };
            // IPPROTO_IP IP_TRANSPARENT, IPPROTO_IPV6 IPV6_TRANSPARENT
            case (0, 19) or (41, 75) when isInt:
                return options with { Transparent = wire.IntValue != 0 };
            // IPPROTO_IP IP_FREEBIND, IPPROTO_IPV6 IPV6_FREEBIND
            case (0, 15) or (41, 78) when isInt:
                return options with { FreeBind = wire.IntValue != 0 };
            default:
                scope.Reject("", $"socket option level {wire.Level} name {wire.Name} is not supported (SO_MARK, IP_TRANSPARENT and IP_FREEBIND are)");
                return options;
        }
    }
}
