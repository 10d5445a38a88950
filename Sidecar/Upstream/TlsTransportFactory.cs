using System;
using System.Text;
using Sidecar.Loop;
using Sidecar.Net;
using Sidecar.Tls;

namespace Sidecar.Upstream;

/// <summary>TLS towards the hosts of a cluster, or of one row of its <c>transport_socket_matches</c>: <c>envoy.transport_sockets.tls</c>.</summary>
/// <remarks>Shared immutable but for the slot, whose context is replaced when a secret changes.</remarks>
internal sealed class TlsTransportFactory(TlsContextSlot slot) : TransportFactory
{
    internal override string Name => "envoy.transport_sockets.tls";

    internal override bool NegotiatesProtocol => true;

    internal TlsContextSlot Slot => slot;

    internal override Transport Create(Host host, EventLoop loop, int worker, ReadOnlyMemory<byte> offered, TlsOverrides? overrides = null)
    {
        if (slot.Take(worker) is not { } context)
            return NotReadyTransport.Instance;
        byte[] serverName = context.Options.ServerNameOfHost ? HostName(host) : [];
        return TlsTransport.Connect(loop, worker, context, host, serverName, offered, overrides);
    }

    // An address is no server name (RFC 6066 section 3).
    private static byte[] HostName(Host host) =>
        host.Hostname.Length == 0 || Address.TryParseIp(host.Hostname.AsSpan(), out _) ? [] : Encoding.UTF8.GetBytes(host.Hostname + '\0');
}
