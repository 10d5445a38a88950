using System;
using System.Diagnostics;
using Sidecar.Http;
using Sidecar.Loop;
using Sidecar.Telemetry;
using Sidecar.Tls;
using Sidecar.Upstream;
using Sidecar.Upstream.Pools;

namespace Sidecar.Filters.Http.Router;

/// <summary>
/// One try of a request: waits for a stream of the pool, sends, and receives. The router has one and starts it anew for every try, since
/// a cancelled try is never called back.
/// </summary>
/// <remarks>Worker-owned, part of its <see cref="RouterFilter"/>.</remarks>
internal sealed class UpstreamRequest : HttpPoolWaiter, IWorkOwner
{
    private enum State : byte { Idle, Waiting, Open }

    private readonly RouterFilter _router;
    private readonly Receiver _receiver;
    private State _state;
    private HttpPool? _pool;
    private HostState? _host;
    private ClientStream? _stream;
    private HttpVersion _protocol;
    private bool _sentEnd;
    private bool _receivedEnd;
    private bool _pausedReceiving;

    internal UpstreamRequest(RouterFilter router)
    {
        _router = router;
        _receiver = new Receiver(this);
        RetryWork = new LoopWork(this);
    }

    internal override ResponseSink Sink => _receiver;

    /// <summary>Ticket for the next try, in the turn after the present one.</summary>
    internal LoopWork RetryWork { get; }

    internal bool IsIdle => _state == State.Idle;

    /// <summary>A stream is open and takes more of the request.</summary>
    internal bool CanSend => _state == State.Open && !_sentEnd;

    /// <summary>The last try had sent the whole request.</summary>
    internal bool HasSentAll => _sentEnd;

    /// <summary>Why the last try could not connect, in the transport's words.</summary>
    internal string FailureDetail { get; private set; } = "";

    internal void Start(HttpPool pool)
    {
        Debug.Assert(_state == State.Idle);
        _state = State.Waiting;
        _pool = pool;
        _sentEnd = _receivedEnd = _pausedReceiving = false;
        FailureDetail = "";
        pool.NewStream(this);
    }

    /// <summary>Drops the try, wherever it is; nothing is heard of it any more.</summary>
    internal void Cancel(Failure reason)
    {
        switch (_state)
        {
            case State.Waiting:
                _state = State.Idle;
                _pool!.Cancel(this);
                break;
            case State.Open:
                var stream = _stream!;
                Count(ClusterStats.UpstreamRqTxReset);
                End();
                stream.Reset(reason);
                break;
        }
        _pool = null;
    }

    internal void SendHead(RequestHead head, bool endStream)
    {
        _sentEnd = endStream;
        _stream!.SendHead(head, endStream);
    }

    internal void SendBody(ReadOnlySpan<byte> data, bool endStream)
    {
        _sentEnd = endStream;
        _stream!.SendBody(data, endStream);
    }

    internal void SendTrailers(HeaderMap trailers)
    {
        _sentEnd = true;
        _stream!.SendTrailers(trailers);
    }

    internal void PauseReceiving(bool pause)
    {
        if (_state != State.Open || _pausedReceiving == pause)
            return;
        _pausedReceiving = pause;
        if (pause)
            _stream!.PauseReceiving();
        else
            _stream!.ResumeReceiving();
    }

    /// <summary>The response is complete and the request is not: the stream is of no more use.</summary>
    internal void ResetAfterResponse()
    {
        if (_state == State.Open)
            Cancel(Failure.None);
    }

    internal void CountTimeout()
    {
        if (_host is not null)
            _host.Cells.RqTimeout++;
    }

    internal override void OnPoolReady(ClientStream stream, HostState host, HttpPoolConnection connection)
    {
        _state = State.Open;
        _stream = stream;
        _host = host;
        _protocol = connection.Protocol;
        NoteTls(connection);
        _router.OnTryReady();
    }

    private void NoteTls(HttpPoolConnection connection)
    {
        var info = _router.Stream.Info;
        if (connection.Connection?.Transport is TlsTransport tls)
            info.UpstreamTls = tls.Facts;
        else if (info.UpstreamTls is not null)
            info.UpstreamTls = null;
    }

    internal override void OnPoolFailure(Failure reason, HostState host, string transportDetail)
    {
        _state = State.Idle;
        _host = host;
        FailureDetail = transportDetail;
        _router.OnTryFailed(reason);
    }

    public void OnWork(LoopWork work) => _router.OnRetryWork();

    private void OnHead(ResponseHead head, bool endStream)
    {
        var host = _host!;
        ClusterStats.CountResponse(host.Cluster.Stats, head.Status, isInternal: false);
        if (head.Status < 500)
            host.Cells.RqSuccess++;
        else
            host.Cells.RqError++;
        if (endStream)
            ReceivedEnd();
        _router.OnUpstreamHead(head, endStream);
    }

    private void OnBody(ReadOnlySpan<byte> data, bool endStream)
    {
        if (endStream)
            ReceivedEnd();
        _router.OnUpstreamBody(data, endStream);
    }

    private void OnTrailers(HeaderMap trailers)
    {
        ReceivedEnd();
        _router.OnUpstreamTrailers(trailers);
    }

    private void OnReset(Failure reason)
    {
        switch (reason)
        {
            case Failure.UpstreamReset:
                Count(ClusterStats.UpstreamRqRxReset);
                break;
            case Failure.UpstreamProtocolError or Failure.UpstreamHeadersTooLarge or Failure.LocalReset:
                Count(ClusterStats.UpstreamRqTxReset);
                break;
            case Failure.UpstreamConnectionTermination or Failure.UpstreamConnectionTerminationOnReuse:
                Count(ClusterStats.UpstreamRqPendingFailureEject);
                break;
        }
        End();
        _router.OnTryFailed(reason);
    }

    // As Envoy, which counts resets where streams share a connection; with HTTP/1 they are the connection's ends.
    private void Count(int stat)
    {
        if (_protocol == HttpVersion.Http2)
            _host!.Cluster.Stats.Inc(stat);
    }

    // The stream lives on while the request is still being sent; with both ends reached it is the pool's again.
    private void ReceivedEnd()
    {
        _receivedEnd = true;
        if (_sentEnd)
            End();
    }

    private void End()
    {
        _state = State.Idle;
        _stream = null;
    }

    /// <summary>The try as the codec sees it.</summary>
    private sealed class Receiver(UpstreamRequest owner) : ResponseSink
    {
        internal override void OnInformational(ResponseHead head) => owner._router.OnUpstreamInformational(head);
        internal override void OnHead(ResponseHead head, bool endStream) => owner.OnHead(head, endStream);
        internal override void OnBody(ReadOnlySpan<byte> data, bool endStream) => owner.OnBody(data, endStream);
        internal override void OnTrailers(HeaderMap trailers) => owner.OnTrailers(trailers);
        internal override void OnReset(Failure reason) => owner.OnReset(reason);
        internal override void OnSendBlocked() => owner._router.OnTrySendBlocked(true);
        internal override void OnSendReady() => owner._router.OnTrySendBlocked(false);
    }
}
