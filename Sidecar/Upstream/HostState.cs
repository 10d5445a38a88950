using System.Collections.Generic;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Tls;
using Sidecar.Upstream.Pools;

namespace Sidecar.Upstream;

/// <summary>A host as one worker's cluster sees it: its counts here, and the connections to it.</summary>
/// <remarks>Worker-owned. Stays the same through endpoint updates as long as the host does; drains when the host goes.</remarks>
internal sealed class HostState(Cluster cluster, Host host)
{
    // By protocol (HTTP/1, HTTP/2) and priority; most hosts ever use one. Where the handshake decides it is always the second.
    private HttpPool? _http1;
    private HttpPool? _http2;
    private HttpPool? _http1High;
    private HttpPool? _http2High;
    private TcpPool? _tcp;
    private TcpPool? _tcpHigh;

    // By what the caller adds: its address, where connections come from it, and what it asks of TLS. Those that callers make up leave by Forget, once empty.
    private Dictionary<(OriginalSource?, TlsOverrides?, HttpVersion, RoutingPriority), HttpPool>? _byCaller;
    private HttpPool? _lastByCaller;

    internal Cluster Cluster { get; } = cluster;
    internal Host Host { get; } = host;

    /// <summary>This worker's counts.</summary>
    internal HostCells Cells { get; } = host.Cells(cluster.Worker);

    /// <summary>The host left its cluster: connections end as their streams do.</summary>
    internal bool IsDraining { get; private set; }

    /// <summary>When a stream or session last began; for destinations that are forgotten when unused.</summary>
    internal long LastUsedMs { get; set; }

    /// <summary>Nothing is connected or connecting to it.</summary>
    internal bool IsIdle =>
        (_http1?.IsIdle ?? true) && (_http2?.IsIdle ?? true) && (_http1High?.IsIdle ?? true) && (_http2High?.IsIdle ?? true)
        && (_tcp?.IsIdle ?? true) && (_tcpHigh?.IsIdle ?? true) && AreCallersIdle;

    /// <summary>The pool for a protocol (none: whichever the handshake agrees on), made at first use.</summary>
    internal HttpPool HttpPool(HttpVersion protocol, RoutingPriority priority, OriginalSource? source = null, TlsOverrides? overrides = null)
    {
        if (source is not null || overrides is not null)
            return PoolOfCaller(source, overrides, protocol, priority);
        bool high = priority == RoutingPriority.High;
        if (protocol is HttpVersion.Http2 or HttpVersion.None)
            return high ? _http2High ??= new HttpPool(this, protocol, priority) : _http2 ??= new HttpPool(this, protocol, priority);
        return high ? _http1High ??= new HttpPool(this, protocol, priority) : _http1 ??= new HttpPool(this, protocol, priority);
    }

    private HttpPool PoolOfCaller(OriginalSource? source, TlsOverrides? overrides, HttpVersion protocol, RoutingPriority priority)
    {
        // In a mesh every request asks for the same.
        if (_lastByCaller is { } last && last.Overrides == overrides && last.Source == source && last.Protocol == protocol && last.Priority == priority)
            return last;
        _byCaller ??= [];
        if (!_byCaller.TryGetValue((source, overrides, protocol, priority), out var pool))
            _byCaller.Add((source, overrides, protocol, priority), pool = new HttpPool(this, protocol, priority, source, overrides));
        return _lastByCaller = pool;
    }

    /// <summary>Nothing is left in a pool of a caller's own.</summary>
    internal void Forget(HttpPool pool)
    {
        if (_lastByCaller == pool)
            _lastByCaller = null;
        var key = (pool.Source, pool.Overrides, pool.Protocol, pool.Priority);
        // While its last waiters were told, one of them may have begun a new pool.
        if (_byCaller!.TryGetValue(key, out var present) && present == pool)
            _byCaller.Remove(key);
    }

    /// <summary>Closes a connection that rests in some caller's pool; false when all of them are in use.</summary>
    internal bool CloseRestingOfCaller()
    {
        foreach (var pool in _byCaller!.Values)
        {
            // It may leave the table by that: nothing is looked at afterwards.
            if (pool.TryCloseResting())
                return true;
        }
        return false;
    }

    private bool AreCallersIdle
    {
        get
        {
            if (_byCaller is null)
                return true;
            foreach (var pool in _byCaller.Values)
            {
                if (!pool.IsIdle)
                    return false;
            }
            return true;
        }
    }

    /// <summary>The pool of plain connections, made at first use.</summary>
    internal TcpPool TcpPool(RoutingPriority priority) =>
        priority == RoutingPriority.High ? _tcpHigh ??= new TcpPool(this, priority) : _tcp ??= new TcpPool(this, priority);

    /// <summary>Takes no new work: idle connections close now, busy ones when their streams end.</summary>
    internal void Drain()
    {
        IsDraining = true;
        _http1?.Drain();
        _http2?.Drain();
        _http1High?.Drain();
        _http2High?.Drain();
        _tcp?.Drain();
        _tcpHigh?.Drain();
        foreach (var pool in PoolsOfCallers())
            pool.Drain();
    }

    /// <summary>Closes every connection at once (close_connections_on_host_health_failure).</summary>
    internal void CloseAll()
    {
        _http1?.CloseAll();
        _http2?.CloseAll();
        _http1High?.CloseAll();
        _http2High?.CloseAll();
        _tcp?.CloseAll();
        _tcpHigh?.CloseAll();
        foreach (var pool in PoolsOfCallers())
            pool.CloseAll();
    }

    // A copy: those that become idle leave the table meanwhile.
    private HttpPool[] PoolsOfCallers() => _byCaller is null ? [] : [.. _byCaller.Values];
}
