using System.Collections.Generic;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Upstream.Pools;

namespace Sidecar.Upstream;

/// <summary>A host as one worker's cluster sees it: its counts here, and the connections to it.</summary>
/// <remarks>Worker-owned. Stays the same through endpoint updates as long as the host does; drains when the host goes.</remarks>
internal sealed class HostState(Cluster cluster, Host host)
{
    // By protocol (HTTP/1, HTTP/2) and priority; most hosts ever use one.
    private HttpPool? _http1;
    private HttpPool? _http2;
    private HttpPool? _http1High;
    private HttpPool? _http2High;
    private TcpPool? _tcp;
    private TcpPool? _tcpHigh;

    // By the caller's address, where connections come from it. Only pools with something in them: they leave by Forget.
    private Dictionary<(OriginalSource, HttpVersion, RoutingPriority), HttpPool>? _bySource;

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
        && (_tcp?.IsIdle ?? true) && (_tcpHigh?.IsIdle ?? true) && _bySource is null or { Count: 0 };

    /// <summary>The pool for a protocol, made at first use.</summary>
    internal HttpPool HttpPool(HttpVersion protocol, RoutingPriority priority, OriginalSource? source = null)
    {
        if (source is not null)
            return PoolFrom(source, protocol, priority);
        bool high = priority == RoutingPriority.High;
        if (protocol == HttpVersion.Http2)
            return high ? _http2High ??= NewPool(HttpVersion.Http2, priority) : _http2 ??= NewPool(HttpVersion.Http2, priority);
        return high ? _http1High ??= NewPool(HttpVersion.Http11, priority) : _http1 ??= NewPool(HttpVersion.Http11, priority);
    }

    private HttpPool PoolFrom(OriginalSource source, HttpVersion protocol, RoutingPriority priority)
    {
        _bySource ??= [];
        if (!_bySource.TryGetValue((source, protocol, priority), out var pool))
            _bySource.Add((source, protocol, priority), pool = NewPool(protocol, priority, source));
        return pool;
    }

    private HttpPool NewPool(HttpVersion protocol, RoutingPriority priority, OriginalSource? source = null) => new(this, protocol, priority, source);

    /// <summary>Nothing is left in a pool of a caller's address.</summary>
    internal void Forget(HttpPool pool)
    {
        var key = (pool.Source!, pool.Protocol, pool.Priority);
        // While its last waiters were told, one of them may have begun a new pool.
        if (_bySource!.TryGetValue(key, out var present) && present == pool)
            _bySource.Remove(key);
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
        foreach (var pool in PoolsBySource())
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
        foreach (var pool in PoolsBySource())
            pool.CloseAll();
    }

    // A copy: those that become idle leave the table meanwhile.
    private HttpPool[] PoolsBySource() => _bySource is null ? [] : [.. _bySource.Values];
}
