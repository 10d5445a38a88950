using System;
using System.Diagnostics;
using Sidecar.Memory;
using Sidecar.Net;
using Sidecar.Telemetry;

namespace Sidecar.Upstream.Pools;

/// <summary>
/// Who wants a plain connection to a host, and later keeps its accounts: part of the caller's own object. From
/// <see cref="TcpPool.Connect"/> to one of OnPoolFailure, <see cref="TcpPool.Cancel"/> or <see cref="TcpPool.Release"/> it belongs to the pool.
/// </summary>
/// <remarks>Worker-owned.</remarks>
internal abstract class TcpPoolWaiter : IntrusiveNode<TcpPoolWaiter>
{
    private Connecting? _connecting;

    /// <summary>Where it was asked for; null when free.</summary>
    internal TcpPool? Pool;

    /// <summary>The connection, while it connects and, from OnPoolReady on, while it lives.</summary>
    internal Connection? Connection;
    internal long StartMs;

    /// <summary>Stands in as the connection's handler until it is connected.</summary>
    internal ConnectionHandler ConnectingHandler => _connecting ??= new Connecting(this);

    /// <summary>
    /// Connected: set <see cref="Net.Connection.Handler"/> (or start a relay) before this returns. When the connection is over, however that
    /// came, call <see cref="TcpPool.Release"/> once.
    /// </summary>
    internal abstract void OnPoolReady(Connection connection, HostState host);

    /// <summary>There is no connection.</summary>
    /// <param name="reason">UpstreamOverflow, or why connecting failed.</param>
    /// <param name="host">The host it was to be.</param>
    /// <param name="transportDetail">Why, in the transport's or the kernel's words; may be empty.</param>
    internal abstract void OnPoolFailure(Failure reason, HostState host, string transportDetail);

    private sealed class Connecting(TcpPoolWaiter waiter) : ConnectionHandler
    {
        internal override void OnConnected(Connection connection) => waiter.Pool!.OnConnected(waiter);

        internal override int OnData(Connection connection, ReadOnlySpan<byte> data) => 0; // kept for the next handler

        internal override void OnEndOfStream(Connection connection)
        {
        }

        internal override void OnClosed(Connection connection, Failure reason) => waiter.Pool!.OnConnectFailed(waiter, reason);
    }
}

/// <summary>
/// Plain connections of one worker to one host. None is reused: each carries one session, and is made for it.
/// </summary>
/// <remarks>
/// Worker-owned. As Envoy's tcp_proxy does, a session that max_connections does not allow fails at once instead of waiting for
/// another one to end.
/// </remarks>
internal sealed class TcpPool
{
    private readonly HostState _host;
    private readonly Cluster _cluster;
    private readonly RoutingPriority _priority;
    private readonly IntrusiveList<TcpPoolWaiter> _connecting = new();
    private readonly IntrusiveList<TcpPoolWaiter> _connected = new();

    internal TcpPool(HostState host, RoutingPriority priority)
    {
        _host = host;
        _cluster = host.Cluster;
        _priority = priority;
    }

    /// <summary>No session connecting or connected.</summary>
    internal bool IsIdle => _connecting.IsEmpty && _connected.IsEmpty;

    internal int ConnectingCount => _connecting.Count;
    internal int ConnectedCount => _connected.Count;

    /// <summary>Asks for a connection. May call back with an overflow before it returns, else later.</summary>
    /// <param name="waiter">Free, and this pool's from here on.</param>
    /// <param name="source">The caller's address to come from, instead of the cluster's own; null for most.</param>
    internal void Connect(TcpPoolWaiter waiter, OriginalSource? source = null)
    {
        Debug.Assert(waiter.Pool is null);
        var config = _cluster.Config;
        var stats = _cluster.Stats;
        if (!config.Breakers.CanCreate(Resource.Connections, _priority)
            || config.Breakers.PerHost is { } perHost && _host.Cells.CxActive >= perHost.MaxConnections)
        {
            stats.Inc(ClusterStats.UpstreamCxOverflow);
            waiter.OnPoolFailure(Failure.UpstreamOverflow, _host, "");
            return;
        }
        if (!config.Breakers.CanCreate(Resource.PendingRequests, _priority))
        {
            stats.Inc(ClusterStats.UpstreamRqPendingOverflow);
            waiter.OnPoolFailure(Failure.UpstreamOverflow, _host, "");
            return;
        }

        stats.Inc(ClusterStats.UpstreamCxTotal);
        stats.Inc(ClusterStats.UpstreamCxActive);
        stats.Inc(ClusterStats.UpstreamRqPendingTotal);
        stats.Inc(ClusterStats.UpstreamRqPendingActive);
        _host.Cells.CxTotal++;
        _host.Cells.CxActive++;
        config.Breakers.Add(Resource.Connections, _priority, _cluster.Worker);
        config.Breakers.Add(Resource.PendingRequests, _priority, _cluster.Worker);

        waiter.Pool = this;
        waiter.StartMs = _cluster.Loop.NowMs;
        _connecting.AddLast(waiter);
        waiter.Connection = Connector.Connect(
            _cluster.Loop, _host.Host.Address, source, _cluster.Connect, _host.Host.Transport.Create(_host.Host, _cluster.Loop, _cluster.Worker, OfferedProtocols.None), waiter.ConnectingHandler, config.ConnectTimeoutMs);
        waiter.Connection.SetWatermarks(config.BufferLimitBytes);
    }

    /// <summary>The caller no longer wants a connection it has not got yet. No callback follows.</summary>
    internal void Cancel(TcpPoolWaiter waiter)
    {
        Debug.Assert(waiter.List == _connecting);
        var connection = waiter.Connection!;
        EndConnecting(waiter);
        _cluster.Stats.Inc(ClusterStats.UpstreamRqCancelled);
        EndConnection(waiter, byUpstream: false, established: false);
        connection.Handler = Closing.Instance;
        connection.Close(Failure.None);
    }

    /// <summary>A session given by OnPoolReady is over and its connection closed (or about to be).</summary>
    /// <param name="waiter">Free again after the call.</param>
    /// <param name="bytesReceived">Bytes read from the host.</param>
    /// <param name="bytesSent">Bytes sent to it.</param>
    /// <param name="byUpstream">The host closed first.</param>
    internal void Release(TcpPoolWaiter waiter, long bytesReceived, long bytesSent, bool byUpstream)
    {
        Debug.Assert(waiter.List == _connected);
        var stats = _cluster.Stats;
        _connected.Remove(waiter);
        stats.Dec(ClusterStats.UpstreamRqActive);
        _host.Cells.RqActive--;
        _cluster.Config.Breakers.Remove(Resource.Requests, _priority, _cluster.Worker);
        stats.Add(ClusterStats.UpstreamCxRxBytesTotal, bytesReceived);
        stats.Add(ClusterStats.UpstreamCxTxBytesTotal, bytesSent);
        stats.Record(ClusterStats.UpstreamCxLengthMs, _cluster.Loop.NowMs - waiter.StartMs);
        EndConnection(waiter, byUpstream, established: true);
        _host.LastUsedMs = _cluster.Loop.NowMs;
    }

    /// <summary>Sessions run to their own end; there is nothing idle to close.</summary>
    internal void Drain()
    {
    }

    /// <summary>Closes every connection now.</summary>
    internal void CloseAll()
    {
        for (var waiter = _connected.First; waiter is not null;)
        {
            var next = waiter.ListNext;
            waiter.Connection!.Close(Failure.UpstreamConnectionTermination);
            // Its owner may have released others as well.
            waiter = next?.List == _connected ? next : null;
        }
    }

    internal void OnConnected(TcpPoolWaiter waiter)
    {
        var stats = _cluster.Stats;
        EndConnecting(waiter);
        stats.Record(ClusterStats.UpstreamCxConnectMs, _cluster.Loop.NowMs - waiter.StartMs);
        stats.Inc(ClusterStats.UpstreamRqTotal);
        stats.Inc(ClusterStats.UpstreamRqActive);
        _host.Cells.RqTotal++;
        _host.Cells.RqActive++;
        _cluster.Config.Breakers.Add(Resource.Requests, _priority, _cluster.Worker);
        _connected.AddLast(waiter);
        waiter.OnPoolReady(waiter.Connection!, _host);
    }

    internal void OnConnectFailed(TcpPoolWaiter waiter, Failure reason)
    {
        var stats = _cluster.Stats;
        var connection = waiter.Connection!;
        string detail = ConnectFailure.Describe(connection, reason);
        EndConnecting(waiter);
        if (reason == Failure.UpstreamConnectTimeout)
            stats.Inc(ClusterStats.UpstreamCxConnectTimeout);
        stats.Inc(ClusterStats.UpstreamCxConnectFail);
        stats.Inc(ClusterStats.UpstreamRqPendingFailureEject);
        _host.Cells.CxConnectFail++;
        EndConnection(waiter, byUpstream: true, established: false);
        waiter.OnPoolFailure(reason == Failure.None ? Failure.UpstreamConnectFailure : reason, _host, detail);
    }

    private void EndConnecting(TcpPoolWaiter waiter)
    {
        _connecting.Remove(waiter);
        _cluster.Stats.Dec(ClusterStats.UpstreamRqPendingActive);
        _cluster.Config.Breakers.Remove(Resource.PendingRequests, _priority, _cluster.Worker);
    }

    private void EndConnection(TcpPoolWaiter waiter, bool byUpstream, bool established)
    {
        var stats = _cluster.Stats;
        waiter.Pool = null;
        waiter.Connection = null;
        _host.Cells.CxActive--;
        stats.Dec(ClusterStats.UpstreamCxActive);
        _cluster.Config.Breakers.Remove(Resource.Connections, _priority, _cluster.Worker);
        stats.Inc(ClusterStats.UpstreamCxDestroy);
        stats.Inc(byUpstream ? ClusterStats.UpstreamCxDestroyRemote : ClusterStats.UpstreamCxDestroyLocal);
        if (!established)
            return;
        stats.Inc(ClusterStats.UpstreamCxDestroyWithActiveRq);
        stats.Inc(byUpstream ? ClusterStats.UpstreamCxDestroyRemoteWithActiveRq : ClusterStats.UpstreamCxDestroyLocalWithActiveRq);
    }

    /// <summary>Handler of a connection nobody wants any more.</summary>
    private sealed class Closing : ConnectionHandler
    {
        internal static readonly Closing Instance = new();

        internal override int OnData(Connection connection, ReadOnlySpan<byte> data) => data.Length;

        internal override void OnEndOfStream(Connection connection)
        {
        }

        internal override void OnClosed(Connection connection, Failure reason)
        {
        }
    }
}
