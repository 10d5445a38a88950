using System;
using System.Diagnostics;
using System.Text;
using Sidecar.Http;
using Sidecar.Loop;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Upstream.Pools;

namespace Sidecar.Upstream;

/// <summary>
/// One exchange of the proxy's own with a cluster of this loop. Uses the cluster's pools, and so its transport, protocol options, circuit breakers and
/// stats, as a forwarded request would.
/// <code>
///   Begin ─→ waiting for a stream ─→ open: OnOpened, head, body, trailers ─→ closed
///                  └──────────────── OnFailed ───────────────────────────────┘
/// </code>
/// </summary>
/// <remarks>Owned by the loop of its clusters. Used once.</remarks>
internal abstract class ClusterCall : HttpPoolWaiter, ITimerOwner
{
    private readonly Clusters _clusters;
    private readonly string _cluster;
    private readonly Response _response;
    private LoopTimer? _deadline;
    private EventLoop? _loop;
    private HttpPool? _pool;
    private State _state;
    private bool _isSecure;

    private enum State : byte { New, Waiting, Open, Closed }

    /// <param name="clusters">The clusters of the loop it runs on.</param>
    /// <param name="cluster">Which of them is asked.</param>
    protected ClusterCall(Clusters clusters, string cluster)
    {
        _clusters = clusters;
        _cluster = cluster;
        _response = new Response(this);
    }

    internal override ResponseSink Sink => _response;

    internal bool IsOpen => _state == State.Open;

    /// <summary>More waits to be sent than windows and the connection let through: better wait for OnSendReady.</summary>
    internal bool IsSendBlocked { get; private set; }

    /// <summary>Who answers; valid once the stream is open.</summary>
    internal Address RemoteAddress { get; private set; }

    /// <summary>The stream while it is open.</summary>
    protected ClientStream? Stream { get; private set; }

    /// <summary>:scheme: that of what the call travels by (RFC 9113 section 8.3.1).</summary>
    protected ReadOnlySpan<byte> Scheme => _isSecure ? "https"u8 : "http"u8;

    /// <summary>The time this call may take; 0: no end.</summary>
    protected long TimeoutMs { get; private set; }

    // ---- what a call is -----------------------------------------------------------------------------------------

    /// <summary>The protocol it needs of this cluster; null with the reason when the cluster does not speak it.</summary>
    protected abstract HttpVersion? Version(Cluster cluster, out string problem);

    /// <summary>The host the request names.</summary>
    protected abstract string Authority { get; }

    /// <summary>The stream is open and nothing has been sent on it.</summary>
    protected abstract void OnOpened();

    protected virtual void OnSendReady()
    {
    }

    protected abstract void OnHead(ResponseHead head, bool endStream);
    protected abstract void OnBody(ReadOnlySpan<byte> data, bool endStream);
    protected abstract void OnTrailers(HeaderMap trailers);

    /// <summary>The call is over: nobody answered, or not to the end.</summary>
    /// <param name="timedOut">Its time was up.</param>
    /// <param name="message">Why, in Envoy's words.</param>
    protected abstract void OnFailed(bool timedOut, string message);

    /// <summary>Nothing more comes or goes; before anybody is told.</summary>
    protected virtual void OnEnd()
    {
    }

    // ---- for the caller -----------------------------------------------------------------------------------------

    /// <summary>Ends the call without a word to anybody.</summary>
    internal void Cancel() => End();

    /// <summary>Asks for a stream. Events may come before this returns.</summary>
    protected void Begin(long timeoutMs)
    {
        Debug.Assert(_state == State.New);
        TimeoutMs = timeoutMs;
        _state = State.Waiting;
        var cluster = _clusters.Find(_cluster);
        if (cluster is null)
        {
            Fail("Cluster not available");
            return;
        }
        if (Version(cluster, out string problem) is not { } version)
        {
            Fail(problem);
            return;
        }
        _loop = cluster.Loop;
        if (timeoutMs > 0)
        {
            _deadline = new LoopTimer(this);
            _loop.Schedule(_deadline, timeoutMs);
        }
        var host = cluster.PickHost();
        if (host is null)
        {
            Fail(Failure.NoHealthyUpstream.Row().Body);
            return;
        }
        _isSecure = host.Host.Transport.NegotiatesProtocol;
        var tls = _isSecure ? ServerNames.Overrides(cluster, Encoding.UTF8.GetBytes(Authority), []) : null;
        _pool = host.HttpPool(version, RoutingPriority.Default, overrides: tls);
        _pool.NewStream(this);
    }

    /// <summary>The call is over. A stream that is not finished both ways is reset.</summary>
    /// <returns>False when it was over before.</returns>
    protected bool End()
    {
        if (_state == State.Closed)
            return false;
        bool waiting = _state == State.Waiting;
        _state = State.Closed;
        if (_deadline is not null)
            _loop!.Cancel(_deadline);
        if (waiting)
            _pool?.Cancel(this);
        _pool = null;
        OnEnd();
        var stream = Stream;
        Stream = null;
        stream?.Reset(Failure.LocalReset);
        return true;
    }

    /// <summary>The peer's message is complete, and so is ours: the stream goes back to its connection, which may be used again.</summary>
    protected void Complete()
    {
        // What we have to say may still wait for windows: then the stream cannot stay.
        if (Stream is { SendPending: 0 })
            Stream = null;
        End();
    }

    // ---- from the pool ------------------------------------------------------------------------------------------

    internal override void OnPoolReady(ClientStream stream, HostState host, HttpPoolConnection connection)
    {
        Stream = stream;
        _state = State.Open;
        RemoteAddress = host.Host.Address;
        OnOpened();
    }

    internal override void OnPoolFailure(Failure reason, HostState host, string transportDetail) => Fail(Words(reason, transportDetail));

    public void OnTimer(LoopTimer timer)
    {
        if (End())
            OnFailed(timedOut: true, $"no end within {TimeoutMs} ms");
    }

    private void OnReset(Failure reason)
    {
        // The stream's own end: it must not be reset again.
        Stream = null;
        Fail(Words(reason, ""));
    }

    private void Fail(string message)
    {
        if (End())
            OnFailed(timedOut: false, message);
    }

    // A failure as Envoy's own calls tell it.
    private static string Words(Failure reason, string transport)
    {
        ref readonly var row = ref reason.Row();
        return row.ResetReason.Length > 0 ? Failures.ResetBody(row.ResetReason, transport) : row.Body.Length > 0 ? row.Body : row.Details;
    }

    private sealed class Response(ClusterCall owner) : ResponseSink
    {
        internal override void OnInformational(ResponseHead head)
        {
        }

        internal override void OnHead(ResponseHead head, bool endStream) => owner.OnHead(head, endStream);

        internal override void OnBody(ReadOnlySpan<byte> data, bool endStream) => owner.OnBody(data, endStream);

        internal override void OnTrailers(HeaderMap trailers) => owner.OnTrailers(trailers);

        internal override void OnReset(Failure reason) => owner.OnReset(reason);

        internal override void OnSendBlocked() => owner.IsSendBlocked = true;

        internal override void OnSendReady()
        {
            owner.IsSendBlocked = false;
            if (owner.IsOpen)
                owner.OnSendReady();
        }
    }
}
