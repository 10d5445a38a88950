using System.Diagnostics;
using Sidecar.Http;
using Sidecar.Memory;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Tls;

namespace Sidecar.Upstream.Pools;

/// <summary>
/// HTTP connections of one worker to one host, in one protocol (or in whichever the handshake of each agrees on) and priority, from an address of ours or
/// from one caller's. A connection is in one list, and while that is the open ones' either ready or busy:
/// <code>
///   connecting ─→ open: ready ⇄ busy ─→ draining ─→ closed
///        └───────────────┴───────┴──────┴───────────┘
/// </code>
/// <c>ready</c>: takes another stream (HTTP/1: idle; HTTP/2: below the peer's limit); the one used last comes first, so that spare
/// connections age and time out. <c>busy</c>: takes none at present. <c>draining</c>: will take none again.
/// </summary>
/// <remarks>
/// Worker-owned. Circuit breakers as in Envoy: a stream that must wait is bound by max_pending_requests, one that begins by
/// max_requests, a connection by max_connections, except that a host without any connection always gets one, and a pool by max_connection_pools.
/// </remarks>
internal sealed class HttpPool
{
    private readonly HostState _host;
    private readonly Cluster _cluster;
    private readonly RoutingPriority _priority;
    private readonly IntrusiveList<HttpPoolConnection> _connecting = new();
    private readonly IntrusiveList<HttpPoolConnection> _open = new();
    private readonly ReadyConnections _ready = new();
    private readonly IntrusiveList<HttpPoolConnection> _drainingConnections = new();
    private IntrusiveList<HttpPoolWaiter> _pending = new();
    private IntrusiveList<HttpPoolWaiter>? _failing;
    private bool _draining;
    private bool _countsAsPool;
    private HttpVersion _spoken;

    internal HttpPool(HostState host, HttpVersion protocol, RoutingPriority priority, OriginalSource? source = null, TlsOverrides? overrides = null)
    {
        _host = host;
        _cluster = host.Cluster;
        _priority = priority;
        Protocol = protocol;
        Source = source;
        Overrides = overrides;
        // Until a handshake says otherwise, as Envoy.
        _spoken = protocol == HttpVersion.None ? HttpVersion.Http2 : protocol;
    }

    /// <summary>None: what each connection's handshake agrees on (auto_config).</summary>
    internal HttpVersion Protocol { get; }

    /// <summary>What its connections ask for that the cluster's TLS configuration does not say; null: nothing.</summary>
    internal TlsOverrides? Overrides { get; }

    /// <summary>The caller's address that its connections come from; null: the cluster's own.</summary>
    internal OriginalSource? Source { get; }
    internal RoutingPriority Priority => _priority;
    internal HostState Host => _host;
    internal Cluster Cluster => _cluster;

    /// <summary>No connection and nobody waiting.</summary>
    internal bool IsIdle => _connecting.IsEmpty && _open.IsEmpty && _drainingConnections.IsEmpty && _pending.IsEmpty;

    /// <summary>Somebody waits for a connection that becomes free, or the pool for it to close.</summary>
    internal bool HasUnserved => _draining || !_pending.IsEmpty;

    internal int PendingCount => _pending.Count;
    internal int ConnectingCount => _connecting.Count;
    internal int ReadyCount => _ready.Count;
    internal int BusyCount => _open.Count - _ready.Count;
    internal int DrainingCount => _drainingConnections.Count;

    // ---- for callers ----------------------------------------------------------------------------------------

    /// <summary>
    /// Asks for a stream. Calls back before it returns when a connection is ready, or when a circuit breaker is open; else when one is
    /// connected or free, or connecting fails.
    /// </summary>
    internal void NewStream(HttpPoolWaiter waiter)
    {
        Debug.Assert(_cluster.Loop.IsCurrent);
        var ready = FirstReady();
        if (ready is not null && _pending.IsEmpty)
        {
            Attach(ready, waiter);
            return;
        }

        if (!_countsAsPool && !_cluster.Config.Breakers.CanCreate(Resource.ConnectionPools, _priority) && !MakeRoom())
        {
            // As Envoy, which has no pool then and says that there is no host.
            _cluster.Stats.Inc(ClusterStats.UpstreamCxPoolOverflow);
            waiter.OnPoolFailure(Failure.NoHealthyUpstream, _host, "");
            EndIfIdle();
            return;
        }
        if (!_cluster.Config.Breakers.CanCreate(Resource.PendingRequests, _priority))
        {
            _cluster.Stats.Inc(ClusterStats.UpstreamRqPendingOverflow);
            waiter.OnPoolFailure(Failure.UpstreamOverflow, _host, "");
            EndIfIdle();
            return;
        }
        AddPending(waiter);
        ConnectIfShort();
    }

    /// <summary>The caller no longer wants a stream it has not got yet. No callback follows.</summary>
    internal void Cancel(HttpPoolWaiter waiter)
    {
        if (waiter.List is not { } list)
            return;
        Debug.Assert(list == _pending || list == _failing);
        RemovePending(waiter);
        _cluster.Stats.Inc(ClusterStats.UpstreamRqCancelled);
        if (_draining)
            CloseUnwanted();
        EndIfIdle();
    }

    /// <summary>The host left or the cluster was replaced: connections close as they become idle. Who waits is still served.</summary>
    internal void Drain()
    {
        _draining = true;
        CloseUnwanted();
        for (var connection = _open.First; connection is not null;)
        {
            var next = connection.ListNext;
            if (!connection.IsReady)
                MoveTo(connection, _drainingConnections);
            connection = next;
        }
    }

    /// <summary>Closes every connection now; streams on them are reset.</summary>
    internal void CloseAll()
    {
        CloseList(_open);
        CloseList(_drainingConnections);
        CloseList(_connecting);
    }

    /// <summary>Closes the connection that rests longest; false when none does.</summary>
    internal bool TryCloseResting()
    {
        if (_ready.Bottom is not { ActiveStreams: 0 } connection)
            return false;
        connection.Close(Failure.None);
        return true;
    }

    // ---- for connections ------------------------------------------------------------------------------------

    internal void OnConnected(HttpPoolConnection connection)
    {
        _spoken = connection.Protocol;
        Place(connection);
        ServePending();
    }

    /// <summary>A connection has room again, or has none, or goes away; called at the end of a turn in which that may have changed.</summary>
    internal void OnSettled(HttpPoolConnection connection)
    {
        Place(connection);
        ServePending();
        if (_draining)
            CloseUnwanted();
    }

    /// <summary>A connection that could not be made: everybody waiting hears it, as in Envoy; who asks again meanwhile waits for the next one.</summary>
    internal void OnConnectFailed(HttpPoolConnection connection, Failure reason, string transportDetail)
    {
        Remove(connection);
        if (_pending.IsEmpty)
            return;
        var failing = _pending;
        _pending = _failing is { IsEmpty: true } spare ? spare : new IntrusiveList<HttpPoolWaiter>();
        _failing = failing;
        while (failing.First is { } waiter)
        {
            RemovePending(waiter);
            _cluster.Stats.Inc(ClusterStats.UpstreamRqPendingFailureEject);
            waiter.OnPoolFailure(reason, _host, transportDetail);
        }
        EndIfIdle();
    }

    /// <summary>An established connection has closed.</summary>
    internal void OnClosed(HttpPoolConnection connection)
    {
        Remove(connection);
        ConnectIfShort();
    }

    /// <summary>Puts a connection where it belongs by what it can do now.</summary>
    internal void Place(HttpPoolConnection connection)
    {
        if (connection.List is null)
            return;
        bool isUsable = connection.IsUsable;
        var list = isUsable ? _open : _drainingConnections;
        if (connection.List != list)
            MoveTo(connection, list);
        bool isReady = isUsable && connection.CanOpenStream;
        if (isReady == connection.IsReady)
            return;
        if (isReady)
            _ready.Push(connection);
        else
            _ready.Remove(connection);
    }

    /// <summary>A connection closes: nobody is given it any more.</summary>
    internal void TakeOut(HttpPoolConnection connection)
    {
        if (connection.IsReady)
            _ready.Remove(connection);
        connection.List?.Remove(connection);
    }

    private void MoveTo(HttpPoolConnection connection, IntrusiveList<HttpPoolConnection> list)
    {
        TakeOut(connection);
        list.AddFirst(connection);
    }

    private HttpPoolConnection? FirstReady()
    {
        while (_ready.Top is { } connection)
        {
            if (connection.IsUsable && connection.CanOpenStream)
                return connection;
            Place(connection);
        }
        return null;
    }

    private void Attach(HttpPoolConnection connection, HttpPoolWaiter waiter)
    {
        if (!_cluster.Config.Breakers.CanCreate(Resource.Requests, _priority))
        {
            _cluster.Stats.Inc(ClusterStats.UpstreamRqPendingOverflow);
            waiter.OnPoolFailure(Failure.UpstreamOverflow, _host, "");
            return;
        }
        var stream = connection.OpenStream(waiter.Sink);
        Place(connection);
        waiter.OnPoolReady(stream, _host, connection);
    }

    private void ServePending()
    {
        if (_pending.IsEmpty)
            return;
        while (_pending.First is { } waiter && FirstReady() is { } connection)
        {
            RemovePending(waiter);
            Attach(connection, waiter);
        }
        ConnectIfShort();
    }

    private void AddPending(HttpPoolWaiter waiter)
    {
        _pending.AddLast(waiter);
        _cluster.Config.Breakers.Add(Resource.PendingRequests, _priority, _cluster.Worker);
        _cluster.Stats.Inc(ClusterStats.UpstreamRqPendingTotal);
        _cluster.Stats.Inc(ClusterStats.UpstreamRqPendingActive);
    }

    private void RemovePending(HttpPoolWaiter waiter)
    {
        waiter.List!.Remove(waiter);
        _cluster.Config.Breakers.Remove(Resource.PendingRequests, _priority, _cluster.Worker);
        _cluster.Stats.Dec(ClusterStats.UpstreamRqPendingActive);
    }

    // ---- connecting -----------------------------------------------------------------------------------------

    // As many connections are under way as those waiting will fill: one each for HTTP/1, one for up to max_concurrent_streams for HTTP/2.
    private void ConnectIfShort()
    {
        long perConnection = _spoken == HttpVersion.Http2 ? _cluster.Config.Http.Http2.MaxConcurrentStreams : 1;
        if (_cluster.Config.Http.MaxRequestsPerConnection is > 0 and var requestsMax && requestsMax < perConnection)
            perConnection = requestsMax;
        while (_pending.Count > _connecting.Count * perConnection && TryConnect())
        {
        }
    }

    private bool TryConnect()
    {
        var config = _cluster.Config;
        bool allowed = config.Breakers.CanCreate(Resource.Connections, _priority)
            && (config.Breakers.PerHost is not { } perHost || _host.Cells.CxActive < perHost.MaxConnections);
        if (!allowed)
        {
            _cluster.Stats.Inc(ClusterStats.UpstreamCxOverflow);
            if (!_connecting.IsEmpty || !_open.IsEmpty)
                return false;
            MakeRoom();
        }
        if (!_countsAsPool)
        {
            _countsAsPool = true;
            config.Breakers.Add(Resource.ConnectionPools, _priority, _cluster.Worker);
        }
        var connection = _cluster.RentConnection(Protocol);
        _connecting.AddLast(connection);
        connection.Connect(this);
        return true;
    }

    // Callers are many, and make up what their pools are told apart by: a request for each of a thousand names would leave a thousand connections behind, each the
    // one that its pool always gets. Beyond the limit the rest of one makes room for the next.
    private bool MakeRoom() => IsOfCaller && _host.CloseRestingOfCaller();

    /// <summary>A caller made it up: its address, or names of its request.</summary>
    private bool IsOfCaller => Source is not null || Overrides is { HasNames: true };

    private void Remove(HttpPoolConnection connection)
    {
        TakeOut(connection);
        EndIfIdle();
    }

    // A pool counts against max_connection_pools while anything is in it. One of a caller's address or names does not outlive that: callers are many, and go.
    private void EndIfIdle()
    {
        if (!IsIdle)
            return;
        if (IsOfCaller)
            _host.Forget(this);
        if (!_countsAsPool)
            return;
        _countsAsPool = false;
        _cluster.Config.Breakers.Remove(Resource.ConnectionPools, _priority, _cluster.Worker);
    }

    // ---- draining -------------------------------------------------------------------------------------------

    private void CloseUnwanted()
    {
        if (!_pending.IsEmpty)
            return;
        CloseList(_connecting);
        for (var connection = _open.First; connection is not null;)
        {
            var next = connection.ListNext;
            if (connection.IsReady && connection.ActiveStreams == 0)
                connection.Close(Failure.None);
            else if (connection.IsReady)
                MoveTo(connection, _drainingConnections);
            connection = next;
        }
    }

    // Closing one may close others' streams, whose owners may do anything; so each step starts from the head.
    private static void CloseList(IntrusiveList<HttpPoolConnection> list)
    {
        while (list.First is { } connection)
            connection.Close(Failure.UpstreamConnectionTermination);
    }
}
