using System;
using Sidecar.Memory;

namespace Sidecar.Net;

/// <summary>
/// What stands between a connection's descriptor and its bytes: nothing (<see cref="RawTransport"/>) or TLS. Called by the
/// connection when the descriptor is ready; keeps no timer and no event of its own.
/// </summary>
/// <remarks>Worker-owned, one per connection unless it has no state.</remarks>
internal abstract class Transport
{
    /// <summary>No handshake is outstanding: application bytes can flow.</summary>
    internal virtual bool IsReady => true;

    /// <summary>Takes the handshake as far as the socket allows; <see cref="IoStatus.Ok"/> when it is complete.</summary>
    internal virtual IoResult Handshake(int fd) => IoResult.Ok(0);

    /// <summary>Reads application bytes. <see cref="IoResult.Drained"/> is set when nothing more can be waiting.</summary>
    internal abstract IoResult Read(int fd, Span<byte> into);

    /// <summary>
    /// Sends from the head of <paramref name="from"/> and drains what it took. <see cref="IoStatus.Ok"/>: call again while
    /// anything is left; <see cref="IoStatus.WouldBlock"/>: the socket is full, wait for its edge.
    /// </summary>
    internal abstract IoResult Write(int fd, BufferChain from);

    /// <summary>Sends from memory that is not kept, and says how much was taken; the rest is the caller's to queue.</summary>
    internal abstract IoResult WriteDirect(int fd, ReadOnlySpan<byte> bytes);

    /// <summary>Bytes were taken from the chain but not by the socket yet: <see cref="Write"/> must be called again after an edge.</summary>
    internal virtual bool HasUnsent => false;

    /// <summary>Ends our direction: close_notify where there is one, then FIN.</summary>
    internal abstract void ShutdownWrite(int fd);

    /// <summary>Bytes of the peer that were read from the socket before this transport took over (a listener filter looked at them).</summary>
    internal virtual void Preload(ReadOnlySpan<byte> received) =>
        throw new InvalidOperationException("this transport cannot take over bytes read before it");

    /// <summary>Application protocol agreed on (ALPN), or empty.</summary>
    internal virtual ReadOnlySpan<byte> Protocol => default;

    /// <summary>The kernel may move bytes between this and another such connection by itself.</summary>
    internal virtual bool CanSplice => false;

    /// <summary>Why a handshake or a read failed, in words, for access logs and details; empty when errno says it all.</summary>
    internal virtual string FailureReason => "";

    /// <summary>The connection is over and nobody refers to this any more: give memory back.</summary>
    internal virtual void Release()
    {
    }
}
