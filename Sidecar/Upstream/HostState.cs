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
        && (_tcp?.IsIdle ?? true) && (_tcpHigh?.IsIdle ?? true);

    /// <summary>The pool for a protocol, made at first use.</summary>
    internal HttpPool HttpPool(HttpVersion protocol, RoutingPriority priority)
    {
        bool high = priority == RoutingPriority.High;
        if (protocol == HttpVersion.Http2)
            return high ? _http2High ??= new HttpPool(this, HttpVersion.Http2, priority) : _http2 ??= new HttpPool(this, HttpVersion.Http2, priority);
        return high ? _http1High ??= new HttpPool(this, HttpVersion.Http11, priority) : _http1 ??= new HttpPool(this, HttpVersion.Http11, priority);
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
    }
}
