using System;
using Sidecar.Telemetry;

namespace Sidecar.Net;

/// <summary>
/// Who uses a <see cref="Connection"/>: listener filters, then a filter chain; a pool; a relay. Callbacks come on the loop's
/// thread, one at a time. Inside any of them the connection may be written to, paused, closed or given to another handler.
/// </summary>
internal abstract class ConnectionHandler
{
    /// <summary>Application bytes can flow: accepted, connected, handshake done.</summary>
    internal virtual void OnConnected(Connection connection)
    {
    }

    /// <summary>
    /// Received bytes. They are gone after the call; what was not consumed is kept and comes again, in one piece, with
    /// what follows it (or on <see cref="Connection.ResumeReading"/> or <see cref="Connection.ProcessBuffered"/>, or to the next handler).
    /// </summary>
    /// <returns>Bytes consumed, 0 to all.</returns>
    internal abstract int OnData(Connection connection, ReadOnlySpan<byte> data);

    /// <summary>
    /// The peer has sent all it will (FIN), and everything before it was presented. Our direction stays open until
    /// <see cref="Connection.ShutdownWrite"/> or a close; when both have ended, the connection closes by itself.
    /// </summary>
    internal abstract void OnEndOfStream(Connection connection);

    /// <summary>
    /// The connection is over and its descriptor closed. <see cref="Failure.None"/>: in order. The last callback; do not
    /// keep the connection past the turn, it will be another one.
    /// </summary>
    internal abstract void OnClosed(Connection connection, Failure reason);

    /// <summary>More than <see cref="Connection.HighWatermark"/> waits to be sent: stop producing.</summary>
    internal virtual void OnAboveHighWatermark(Connection connection)
    {
    }

    /// <summary>No more than <see cref="Connection.LowWatermark"/> waits: go on.</summary>
    internal virtual void OnBelowLowWatermark(Connection connection)
    {
    }

    /// <summary>Everything written so far is with the kernel.</summary>
    internal virtual void OnFlushed(Connection connection)
    {
    }
}
