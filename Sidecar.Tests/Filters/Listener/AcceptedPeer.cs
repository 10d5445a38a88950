using System;
using System.Collections.Generic;
using Sidecar.Filters;
using Sidecar.Net;
using Sidecar.Tests.Harness;

namespace Sidecar.Tests.Filters.Listener;

/// <summary>A connection under listener filters that are asked by hand.</summary>
internal sealed class AcceptedPeer : AcceptedConnection, IDisposable
{
    private readonly TestLoop _loop = new();
    private readonly TestPeer _peer;

    internal AcceptedPeer()
    {
        _loop.ExpectsOpenConnections = true;
        (Connection, _peer) = _loop.ConnectedByTcp(new Recorder());
    }

    internal override Connection Connection { get; }
    internal override int WorkerIndex => 0;

    /// <summary>Forgets what filters found.</summary>
    internal AcceptedPeer Reset()
    {
        TransportProtocol = ServerName = "";
        ApplicationProtocols.Clear();
        return this;
    }

    /// <summary>Asks a filter after every piece, with all that has come by then, until it is done.</summary>
    internal ListenerFilterStatus Inspect(ListenerFilter filter, IReadOnlyList<ReadOnlyMemory<byte>> pieces)
    {
        var status = filter.Inspect(this, default);
        byte[] received = [];
        foreach (var piece in pieces)
        {
            if (status != ListenerFilterStatus.NeedMore)
                break;
            received = [.. received, .. piece.Span];
            status = filter.Inspect(this, received);
        }
        return status;
    }

    public void Dispose()
    {
        _peer.Dispose();
        Connection.Close(Sidecar.Telemetry.Failure.None);
        _loop.Dispose();
    }
}
