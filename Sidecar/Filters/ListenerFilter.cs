using System;
using System.Collections.Generic;
using Sidecar.Net;

namespace Sidecar.Filters;

/// <summary>What a listener filter found out.</summary>
internal enum ListenerFilterStatus : byte
{
    /// <summary>Done; the next one.</summary>
    Continue,

    /// <summary>More bytes are needed; it is asked again with all that has come by then.</summary>
    NeedMore,

    /// <summary>The connection is not acceptable.</summary>
    Close,
}

/// <summary>
/// Looks at an accepted connection, and at its first bytes, before a filter chain is chosen; takes none of them but a header that is meant for it
/// (<see cref="AcceptedConnection.TakenBytes"/>). Keeps no state of its own:
/// whatever it finds it writes to the <see cref="AcceptedConnection"/>, and with more bytes it looks again from the first.
/// </summary>
/// <remarks>Shared immutable; called on workers.</remarks>
internal abstract class ListenerFilter
{
    /// <summary>How many bytes it may ask for; 0: it needs none and is asked once, at accept.</summary>
    internal virtual int InspectBytesMax => 0;

    /// <summary>What the process must be allowed to do for it, for the operator; empty: nothing.</summary>
    internal virtual string Needs => "";

    /// <summary>Looks at the connection. <paramref name="data"/> is everything received so far that no filter has taken, maybe nothing.</summary>
    internal abstract ListenerFilterStatus Inspect(AcceptedConnection connection, ReadOnlySpan<byte> data);

    /// <summary>The peer went while this filter waited for bytes.</summary>
    internal virtual void OnPeerClosed(AcceptedConnection connection)
    {
    }
}

/// <summary>A connection between accept and its filter chain, and what listener filters know about it.</summary>
internal abstract class AcceptedConnection
{
    internal abstract Connection Connection { get; }

    /// <summary>The worker's number: the writer index of its stats cells.</summary>
    internal abstract int WorkerIndex { get; }

    /// <summary>Where it was going: the original destination once restored, else the address it came in by.</summary>
    internal Address Destination;

    /// <summary>True once a filter has restored the original destination.</summary>
    internal bool IsDestinationRestored;

    /// <summary>The peer, after PROXY protocol if there was any; who sent it is <see cref="Connection.DirectRemoteAddress"/>.</summary>
    internal Address Source;

    /// <summary><c>tls</c>, <c>raw_buffer</c>, or empty while nobody has looked.</summary>
    internal string TransportProtocol = "";

    /// <summary>Server name of the TLS ClientHello, lower case, or empty.</summary>
    internal string ServerName = "";

    /// <summary>Set by a filter that is done: so many bytes at the front were for it, and nobody else sees them.</summary>
    internal int TakenBytes;

    /// <summary>Application protocols offered or detected, most wanted first.</summary>
    internal readonly List<string> ApplicationProtocols = [];
}
