using Sidecar.Loop;
using Sidecar.Net;
using Sidecar.Telemetry;

namespace Sidecar.Upstream;

/// <summary>Makes the transport under a new upstream connection: raw bytes, or TLS towards one kind of host.</summary>
/// <remarks>Shared immutable; <see cref="Create"/> is called on workers.</remarks>
internal abstract class TransportFactory
{
    /// <summary>The transport socket's name, for example <c>envoy.transport_sockets.raw_buffer</c>.</summary>
    internal abstract string Name { get; }

    /// <summary>True when the handshake agrees on an application protocol, which <c>auto_config</c> needs.</summary>
    internal virtual bool NegotiatesProtocol => false;

    /// <summary>A transport for one connection.</summary>
    /// <param name="host">Where it goes.</param>
    /// <param name="loop">The connection's loop.</param>
    /// <param name="worker">The writer index of stats.</param>
    /// <param name="protocol">What will be spoken over it; none for bytes of any kind.</param>
    internal abstract Transport Create(Host host, EventLoop loop, int worker, HttpVersion protocol);
}

/// <summary>Plain TCP: <c>envoy.transport_sockets.raw_buffer</c>.</summary>
internal sealed class RawTransportFactory : TransportFactory
{
    internal static readonly RawTransportFactory Instance = new();

    internal override string Name => "envoy.transport_sockets.raw_buffer";

    internal override Transport Create(Host host, EventLoop loop, int worker, HttpVersion protocol) => RawTransport.Instance;
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
