using System;
using Google.Protobuf;
using Sidecar.Net;
using Sidecar.Wire;
using WireBootstrap = Envoy.Config.Bootstrap.V3;

namespace Sidecar.Config;

/// <summary>What the process itself takes from an Envoy bootstrap, besides the static resources in it.</summary>
/// <param name="NodeId">node.id; may be empty.</param>
/// <param name="AdminAddress">admin.address, or null.</param>
internal sealed record BootstrapFacts(string NodeId, Address? AdminAddress);

/// <summary>Reads <see cref="BootstrapFacts"/>.</summary>
internal static class BootstrapReader
{
    /// <summary>The facts of a bootstrap that <see cref="ResourceReader"/> has read; malformed bytes have none.</summary>
    internal static BootstrapFacts Read(DiscoveredResource bootstrap)
    {
        WireBootstrap.Bootstrap wire;
        try
        {
            wire = WireBootstrap.Bootstrap.Parser.ParseFrom(bootstrap.Bytes.Span);
        }
        catch (InvalidProtocolBufferException)
        {
            return new BootstrapFacts("", null);
        }
        Address? admin = null;
        if (wire.Admin?.Address?.SocketAddress is { } socket && Address.TryParseIp(socket.Address.AsSpan(), out var parsed, (ushort)Math.Min(socket.PortValue, 65535)))
            admin = parsed;
        return new BootstrapFacts(wire.Node?.Id ?? "", admin);
    }
}
