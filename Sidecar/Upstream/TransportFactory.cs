using System;
using Sidecar.Loop;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Tls;

namespace Sidecar.Upstream;

/// <summary>Makes the transport under a new upstream connection: raw bytes, or TLS towards one kind of host.</summary>
/// <remarks>Shared immutable; <see cref="Create"/> is called on workers.</remarks>
internal abstract class TransportFactory
{
    /// <summary>The transport socket's name, for example <c>envoy.transport_sockets.raw_buffer</c>.</summary>
    internal abstract string Name { get; }

    /// <summary>TLS: the handshake agrees on an application protocol, which <c>auto_config</c> needs, and heeds <see cref="TlsOverrides"/>.</summary>
    internal virtual bool NegotiatesProtocol => false;

    /// <summary>A transport for one connection.</summary>
    /// <param name="host">Where it goes.</param>
    /// <param name="loop">The connection's loop.</param>
    /// <param name="worker">The writer index of stats.</param>
    /// <param name="offered">What may be spoken over it, of <see cref="OfferedProtocols"/>; for a configuration that names no protocols.</param>
    /// <param name="overrides">What else was asked for; null: nothing.</param>
    internal abstract Transport Create(Host host, EventLoop loop, int worker, ReadOnlyMemory<byte> offered, TlsOverrides? overrides = null);
}

/// <summary>What a pool offers by ALPN where configuration names no protocols (RFC 7301 section 3.1, in its wire form).</summary>
internal static class OfferedProtocols
{
    private static readonly byte[] s_http1 = "\bhttp/1.1"u8.ToArray();
    private static readonly byte[] s_http2 = "\x02h2"u8.ToArray();
    private static readonly byte[] s_both = "\x02h2\bhttp/1.1"u8.ToArray();

    /// <summary>Bytes of any kind: nothing.</summary>
    internal static ReadOnlyMemory<byte> None => default;

    /// <summary>Of a pool that speaks <paramref name="protocol"/>, or with none whatever the server chooses.</summary>
    internal static ReadOnlyMemory<byte> Of(HttpVersion protocol) => protocol switch
    {
        HttpVersion.None => s_both,
        HttpVersion.Http2 => s_http2,
        _ => s_http1,
    };
}

/// <summary>Plain TCP: <c>envoy.transport_sockets.raw_buffer</c>.</summary>
internal sealed class RawTransportFactory : TransportFactory
{
    internal static readonly RawTransportFactory Instance = new();

    internal override string Name => "envoy.transport_sockets.raw_buffer";

    internal override Transport Create(Host host, EventLoop loop, int worker, ReadOnlyMemory<byte> offered, TlsOverrides? overrides = null) => RawTransport.Instance;
}

/// <summary>One row of <c>transport_socket_matches</c>: hosts whose <c>envoy.transport_socket_match</c> metadata has all of <paramref name="Match"/>'s fields use this factory.</summary>
/// <param name="Name">For dumps and stats.</param>
/// <param name="Match">Fields that must all be present and equal; none matches every host.</param>
/// <param name="Factory">What such hosts use.</param>
internal sealed record TransportMatch(string Name, MetadataValue Match, TransportFactory Factory)
{
    /// <summary>The metadata key hosts are matched by.</summary>
    internal const string MetadataFilter = "envoy.transport_socket_match";

    /// <summary>True when <paramref name="metadata"/> has every field of <see cref="Match"/> with an equal value.</summary>
    internal bool Matches(Metadata metadata)
    {
        if (Match.Fields.Count == 0)
            return true;
        var facts = metadata.Find(MetadataFilter);
        if (facts is null)
            return false;
        foreach (var (name, value) in Match.Fields)
        {
            if (!value.Equals(facts.Find(name)))
                return false;
        }
        return true;
    }
}
