using System;
using System.Diagnostics;
using System.Runtime.CompilerServices;
using Sidecar.Filters;
using Sidecar.Http;
using Sidecar.Loop;
using Sidecar.Memory;
using Sidecar.Net;
using Sidecar.Routing;
using Sidecar.Telemetry;
using Sidecar.Telemetry.Stats;
using Sidecar.Tls;

namespace Sidecar.Downstream;

/// <summary>
/// One request and its response. The request goes through the filters in order, the terminal one (the router) takes it; the response comes back through
/// them in reverse:
/// <code>
///   codec ── OnHead/OnBody/OnTrailers ──▶ filter 0 ▶ filter 1 ▶ … ▶ router
///   codec ◀── SendHead/SendBody/SendTrailers ── filter 0 ◀ filter 1 ◀ … ◀ router
/// </code>
/// A filter may stop either direction; what waits is a <see cref="HeldMessage"/>. Whatever ends the stream, the filters hear OnStreamEnd once and the
/// object goes back to the pool when the event is over.
/// </summary>
/// <remarks>Worker-owned, pooled by its connection manager together with the filters it was built with.</remarks>
internal sealed class HttpStream : FilterStream, ITimerOwner, IReleasable
{
    private enum Timer { Idle, Request, MaxDuration }

    private readonly HttpConnectionManager _manager;
    private readonly HttpConnectionManagerConfig _config;
    private readonly EventLoop _loop;
    private readonly HttpFilter[] _filters;
    private readonly TerminalHttpFilter _terminal;
    private readonly LoopTimer _idle;
    private readonly LoopTimer _requestTimer;
    private readonly LoopTimer _maxDuration;
    private readonly HeldMessage _heldRequest;
    private readonly HeldMessage _heldResponse;
    // A local reply's head, or the copy of an upstream's that a filter holds.
    private readonly ResponseHead _localHead = new();
    private readonly HeaderMap _ownTrailers = new();
    private readonly StreamInfo _info = new();

    private HttpConnection _owner = null!;
    private ServerStream _stream = null!;
    private RequestHead _request = null!;
    private ResponseHead? _response;
    private Address _remote;
    private long _idleMs;
    private long _touchedMs;
    private byte[]? _localBody;
    private int _localBodyLength;

    // The highest filter that has seen the request's head.
    private int _reached;
    private bool _requestHeadEnds;
    private bool _requestEnded;

    // The request's remaining parts go nowhere: answered locally, or over.
    private bool _requestDropped;
    private bool _responseStarted;
    private bool _responseHeadEnds;
    private bool _responseSent;
    private bool _isUpgrade;
    private bool _closed;

    private RouteTable? _routeTable;
    private RouteMatchResult _match;
    private bool _matched;

    internal HttpStream(HttpConnectionManager manager)
    {
        _manager = manager;
        _config = manager.Config;
        _loop = manager.Worker.Loop;
        _heldRequest = new HeldMessage(_loop.Slab);
        _heldResponse = new HeldMessage(_loop.Slab);
        _idle = new LoopTimer(this, (int)Timer.Idle);
        _requestTimer = new LoopTimer(this, (int)Timer.Request);
        _maxDuration = new LoopTimer(this, (int)Timer.MaxDuration);
        RequestSink = new Receiver(this);
        _filters = new HttpFilter[_config.Filters.Length];
        for (int i = 0; i < _filters.Length; i++)
        {
            _filters[i] = _config.Filters[i](manager.Worker);
            _filters[i].Stream = this;
        }
        _terminal = (TerminalHttpFilter)_filters[^1];
    }

    /// <summary>Place in its connection's list of streams.</summary>
    internal int Position;

    /// <summary>What would be free without it: the request's head, and bodies that wait for a filter or for the peer.</summary>
    internal long HeldBytes => _request.ByteSize + _stream.SendPending + _heldRequest.HeldBytes + _heldResponse.HeldBytes;

    /// <summary>Where the codec delivers the request.</summary>
    internal Receiver RequestSink { get; }

    public override RequestHead Request => _request;
    public override ResponseHead? Response => _response;
    public override StreamInfo Info => _info;
    internal override StatsCells Stats => _manager.Stats;
    internal override Connection Downstream => _owner.Connection;
    internal override Address RemoteAddress => _remote;
    internal override int BufferLimit => _manager.BufferLimit;
    internal override Route? Route => Match().Route;
    internal override WeightedCluster? WeightedCluster => Match().Weighted;
    internal override VirtualHost? VirtualHost => Match().VirtualHost;
    internal override RouteTable? RouteTable => _routeTable;

    internal override void ClearRoute() => _matched = false;

    internal override T? RouteConfig<T>(string filterName) where T : class => Match().FindFilterConfig<T>(filterName);

    /// <summary>A new request begins on a connection; its head follows through <see cref="RequestSink"/>.</summary>
    internal void Attach(HttpConnection owner, ServerStream stream)
    {
        _owner = owner;
        _stream = stream;
        _request = stream.Request;
        var stats = _manager.Stats;
        stats.Inc(HttpStats.RqTotal);
        stats.Inc(HttpStats.RqActive);
        stats.Inc(owner.Version == HttpVersion.Http2 ? HttpStats.RqHttp2Total : HttpStats.RqHttp1Total);
        _info.StartMs = _loop.NowMs;
        _info.StartUnixMs = _loop.UnixMs;
        _info.FilterChainName = owner.Context.FilterChainName;
        _info.Protocol = owner.Version;
        _routeTable = _config.RouteTable ?? _manager.Worker.RouteTables[_config.RouteSlot];
        SetIdleTimeout(_config.StreamIdleTimeoutMs);
        if (_config.RequestTimeoutMs > 0)
            _loop.Schedule(_requestTimer, _config.RequestTimeoutMs);
        if (_config.MaxStreamDurationMs > 0)
            _loop.Schedule(_maxDuration, _config.MaxStreamDurationMs);
    }

    // ---- request: codec → filters ------------------------------------------------------------------------------

    private void OnHead(RequestHead head, bool endStream)
    {
        _info.Protocol = head.Version;
        if (_owner.Connection.Transport is TlsTransport tls)
            _info.DownstreamTls = tls.Facts;
        _requestHeadEnds = endStream;
        if (endStream)
            OnRequestEnd();
        if (_manager.Worker.Overload.RefusesRequest() && !_owner.Context.BypassesOverload)
        {
            RefuseForOverload();
            return;
        }
        var failure = RequestAdmission.Admit(head, _owner.Connection, _config, _manager.Worker.Random, out _remote);
        if (failure != Failure.None)
        {
            Refuse(failure);
            return;
        }
        _routeTable?.RemoveInternalOnly(head);
        if (!AdmitUpgrade(head))
        {
            Stats.Inc(HttpStats.RqWsOnNonWsRoute);
            Reply(Failure.UpgradeFailed);
            return;
        }
        if (!_config.Proxy100Continue)
            AnswerExpectation(head);
        RunRequestHead(0);
    }

    // The client waits for this before it sends its body; the proxy wants the body whatever the upstream would say (RFC 9110 section 10.1.1),
    // so it answers itself and the upstream is not asked.
    private void AnswerExpectation(RequestHead head)
    {
        if (!head.TryGet(HeaderId.Expect, out var expectation) || !Ascii.EqualsIgnoreCase(expectation, "100-continue"u8))
            return;
        head.Remove(HeaderId.Expect);
        if (_requestHeadEnds)
            return;
        _localHead.Status = 100;
        _localHead.Version = _owner.Version;
        Stats.Inc(HttpStats.Rq1xx);
        _stream.SendInformational(_localHead);
        _localHead.Reset();
    }

    private void OnBody(ReadOnlySpan<byte> data, bool endStream)
    {
        _info.BytesReceived += data.Length;
        if (endStream)
            OnRequestEnd();
        if (_requestDropped)
            return;
        TouchIdle();
        if (_heldRequest.MustQueue)
            _heldRequest.Queue(data, endStream);
        else
            RunRequestBody(0, data, endStream);
    }

    private void OnTrailers(HeaderMap trailers)
    {
        OnRequestEnd();
        if (_requestDropped)
            return;
        if (_heldRequest.MustQueue)
            _heldRequest.Queue(trailers);
        else
            RunRequestTrailers(0, trailers);
    }

    private void OnRequestEnd()
    {
        _requestEnded = true;
        _info.RequestCompleteMs = _loop.NowMs;
        _loop.Disarm(_requestTimer);
    }

    private void RunRequestHead(int from)
    {
        try
        {
            for (int i = from; i < _filters.Length && !_requestDropped; i++)
            {
                _reached = Math.Max(_reached, i);
                if (_filters[i].OnRequestHead(_request, _requestHeadEnds) == FilterStatus.Stop && !_requestDropped)
                {
                    _heldRequest.StopAtHead(i);
                    _stream.PauseReceiving();
                    return;
                }
            }
        }
        catch (Exception exception)
        {
            OnFault(exception);
        }
    }

    private void RunRequestBody(int from, ReadOnlySpan<byte> data, bool endStream)
    {
        try
        {
            for (int i = from; i < _filters.Length && !_requestDropped; i++)
            {
                if (_filters[i].OnRequestBody(data, endStream) == FilterStatus.Stop && !_requestDropped)
                {
                    _heldRequest.StopAtBody(i, data, endStream);
                    _stream.PauseReceiving();
                    return;
                }
            }
        }
        catch (Exception exception)
        {
            OnFault(exception);
        }
    }

    private void RunRequestTrailers(int from, HeaderMap trailers)
    {
        try
        {
            for (int i = from; i < _filters.Length && !_requestDropped; i++)
            {
                if (_filters[i].OnRequestTrailers(trailers) == FilterStatus.Stop && !_requestDropped)
                {
                    _heldRequest.Queue(trailers);
                    _heldRequest.StopAtTrailers(i);
                    return;
                }
            }
        }
        catch (Exception exception)
        {
            OnFault(exception);
        }
    }

    internal override void ContinueRequest()
    {
        if (_closed || _requestDropped || !_heldRequest.IsStopped)
            return;
        var (filter, part) = _heldRequest.Resume();
        switch (part)
        {
            case MessagePart.Head:
                RunRequestHead(filter + 1);
                break;
            case MessagePart.Body:
                RunRequestBody(filter + 1, _heldRequest.Shown, _heldRequest.ShownEnd);
                break;
            case MessagePart.Trailers:
                var trailers = _heldRequest.UnseenTrailers!;
                _heldRequest.TrailersTaken();
                RunRequestTrailers(filter + 1, trailers);
                break;
        }
        HandOutRequest();
        if (part != MessagePart.Trailers && !_closed)
            _stream.ResumeReceiving();
    }

    /// <summary>Gives what queued behind a stopped filter to the whole chain, as far as nothing stops again.</summary>
    private void HandOutRequest()
    {
        var held = _heldRequest;
        while (!held.IsStopped && !_requestDropped && held.Unseen.Length > 0)
        {
            int length = held.Unseen.First.Length;
            bool last = length == held.Unseen.Length;
            bool end = last && held.UnseenEnd;
            if (end)
                held.EndTaken();
            RunRequestBody(0, held.Unseen.First, end);
            held.Unseen.Drain(Math.Min(length, held.Unseen.Length));
        }
        if (held.IsStopped || _requestDropped)
            return;
        if (held.UnseenEnd)
        {
            held.EndTaken();
            RunRequestBody(0, default, true);
        }
        else if (held.UnseenTrailers is { } trailers)
        {
            held.TrailersTaken();
            RunRequestTrailers(0, trailers);
        }
    }

    internal override void PauseRequest()
    {
        if (!_closed)
            _stream.PauseReceiving();
    }

    internal override void ResumeRequest()
    {
        if (!_closed)
            _stream.ResumeReceiving();
    }

    // ---- response: router → filters → codec -------------------------------------------------------------------

    internal override void SendInformational(ResponseHead head)
    {
        if (_closed || _responseStarted)
            return;
        if (head.Status == 100 && !_config.Proxy100Continue)
            return;
        TouchIdle();
        Stats.Inc(HttpStats.Rq1xx);
        _stream.SendInformational(head);
    }

    internal override void SendResponseHead(ResponseHead head, bool endStream)
    {
        if (_closed || _responseStarted)
            return;
        TouchIdle();
        _responseStarted = true;
        _response = head;
        _responseHeadEnds = endStream;
        RunResponseHead(Math.Min(_reached, _filters.Length - 2));
    }

    internal override void SendResponseBody(ReadOnlySpan<byte> data, bool endStream)
    {
        if (_closed)
            return;
        TouchIdle();
        if (_heldResponse.MustQueue)
            _heldResponse.Queue(data, endStream);
        else
            RunResponseBody(_filters.Length - 2, data, endStream);
    }

    internal override void SendResponseTrailers(HeaderMap trailers)
    {
        if (_closed)
            return;
        if (_heldResponse.MustQueue)
            QueueResponseTrailers(trailers);
        else
            RunResponseTrailers(_filters.Length - 2, trailers);
    }

    private void RunResponseHead(int from)
    {
        try
        {
            for (int i = from; i >= 0; i--)
            {
                if (_filters[i].OnResponseHead(_response!, _responseHeadEnds) == FilterStatus.Stop)
                {
                    if (_closed)
                        return;
                    HoldResponseHead();
                    _heldResponse.StopAtHead(i);
                    _terminal.OnDownstreamBlocked(true);
                    return;
                }
                if (_closed)
                    return;
            }
            SendHead(_response!, _responseHeadEnds);
        }
        catch (Exception exception)
        {
            OnFault(exception);
        }
    }

    private void RunResponseBody(int from, ReadOnlySpan<byte> data, bool endStream)
    {
        try
        {
            for (int i = Math.Min(from, _reached); i >= 0; i--)
            {
                if (_filters[i].OnResponseBody(data, endStream) == FilterStatus.Stop)
                {
                    if (_closed)
                        return;
                    _heldResponse.StopAtBody(i, data, endStream);
                    _terminal.OnDownstreamBlocked(true);
                    return;
                }
                if (_closed)
                    return;
            }
            _info.BytesSent += data.Length;
            if (endStream)
                OnResponseEnd();
            _stream.SendBody(data, endStream);
            if (endStream)
                AfterResponse();
        }
        catch (Exception exception)
        {
            OnFault(exception);
        }
    }

    private void RunResponseTrailers(int from, HeaderMap trailers)
    {
        try
        {
            for (int i = Math.Min(from, _reached); i >= 0; i--)
            {
                if (_filters[i].OnResponseTrailers(trailers) == FilterStatus.Stop)
                {
                    if (_closed)
                        return;
                    QueueResponseTrailers(trailers);
                    _heldResponse.StopAtTrailers(i);
                    return;
                }
                if (_closed)
                    return;
            }
            OnResponseEnd();
            _stream.SendTrailers(trailers);
            AfterResponse();
        }
        catch (Exception exception)
        {
            OnFault(exception);
        }
    }

    // Head and trailers are the upstream stream's own, which may be over and in other hands before a stopped filter goes on.
    private void HoldResponseHead()
    {
        if (_response == _localHead)
            return;
        var head = _response!;
        _localHead.CopyFrom(head);
        _localHead.Status = head.Status;
        _localHead.Version = head.Version;
        _localHead.Framing = head.Framing;
        _response = _localHead;
    }

    private void QueueResponseTrailers(HeaderMap trailers)
    {
        if (trailers != _ownTrailers)
        {
            _ownTrailers.Reset();
            _ownTrailers.CopyFrom(trailers);
        }
        _heldResponse.Queue(_ownTrailers);
    }

    internal override void ContinueResponse()
    {
        if (_closed || !_heldResponse.IsStopped)
            return;
        var (filter, part) = _heldResponse.Resume();
        switch (part)
        {
            case MessagePart.Head:
                RunResponseHead(filter - 1);
                break;
            case MessagePart.Body:
                RunResponseBody(filter - 1, _heldResponse.Shown, _heldResponse.ShownEnd);
                break;
            case MessagePart.Trailers:
                var trailers = _heldResponse.UnseenTrailers!;
                _heldResponse.TrailersTaken();
                RunResponseTrailers(filter - 1, trailers);
                break;
        }
        HandOutResponse();
        if (part != MessagePart.Trailers && !_closed)
            _terminal.OnDownstreamBlocked(false);
    }

    private void HandOutResponse()
    {
        var held = _heldResponse;
        while (!held.IsStopped && !_closed && held.Unseen.Length > 0)
        {
            int length = held.Unseen.First.Length;
            bool last = length == held.Unseen.Length;
            bool end = last && held.UnseenEnd;
            if (end)
                held.EndTaken();
            RunResponseBody(_filters.Length - 2, held.Unseen.First, end);
            held.Unseen.Drain(Math.Min(length, held.Unseen.Length));
        }
        if (held.IsStopped || _closed)
            return;
        if (held.UnseenEnd)
        {
            held.EndTaken();
            RunResponseBody(_filters.Length - 2, default, true);
        }
        else if (held.UnseenTrailers is { } trailers)
        {
            held.TrailersTaken();
            RunResponseTrailers(_filters.Length - 2, trailers);
        }
    }

    /// <summary>The response's head leaves: the fields every response of this proxy has, then the codec.</summary>
    private void SendHead(ResponseHead head, bool endStream)
    {
        switch (_config.ServerHeader)
        {
            case ServerHeader.Overwrite:
                head.Set(HeaderId.Server, _config.ServerName);
                break;
            case ServerHeader.AppendIfAbsent when !head.Contains(HeaderId.Server):
                head.Add(HeaderId.Server, _config.ServerName);
                break;
        }
        if (!head.Contains(HeaderId.Date))
            head.Add(HeaderId.Date, _manager.Worker.Date.Value);
        if (_config.Via.Length > 0)
            head.AppendValue(HeaderId.Via, _config.Via, ", "u8);
        if (_config.AlwaysSetRequestIdInResponse && _request.TryGet(HeaderId.XRequestId, out var requestId))
            head.Set(HeaderId.XRequestId, requestId);
        if (_manager.IsDraining || _manager.Worker.IsDraining || (_manager.Worker.FailsHealthChecks && _owner.Context.DrainsUnhealthy))
            _owner.StartDrain();
        else if (_manager.Worker.Overload.EndsKeepAlive() && !_owner.Context.BypassesOverload)
            _owner.EndForOverload();

        // The rest of the request would be read as the next one (RFC 9112 section 9.3): a reply that does not wait for it ends the connection.
        if (!_requestEnded && head == _localHead && _info.Failure != Failure.None && _owner.Version != HttpVersion.Http2)
            head.Set(HeaderId.Connection, "close"u8);

        _responseSent = true;
        _info.Status = head.Status;
        _info.ResponseStartMs = _loop.NowMs;
        CountStatus(head.Status);
        if (_isUpgrade && (head.Status == 101 || (head.Status is >= 200 and < 300 && _request.Method == Method.Connect)))
        {
            Stats.Inc(HttpStats.CxUpgradesTotal);
            Stats.Inc(HttpStats.CxUpgradesActive);
        }
        else
        {
            _isUpgrade = false;
        }

        if (endStream)
            OnResponseEnd();
        _stream.SendHead(head, endStream);
        if (endStream)
            AfterResponse();
    }

    private void OnResponseEnd()
    {
        if (!_requestEnded)
            Stats.Inc(HttpStats.RqResponseBeforeRqComplete);
    }

    private void AfterResponse()
    {
        if (_closed)
            return;
        // The answer is out and the request still comes: what remains of it is the codec's alone, which sees to its end.
        _requestDropped = true;
        _heldRequest.Reset();
        if (_requestEnded)
            return;
        // What flow control still holds back would be lost by a reset.
        bool isSent = _stream.SendPending == 0;
        if (!_isUpgrade)
        {
            _stream.DiscardRequest();
            if (!isSent)
                return;
            _stream.Sink = null;
            Close();
        }
        else if (isSent)
        {
            // A tunnel whose upstream has ended ends with it, as in Envoy.
            _stream.Reset(Failure.None);
        }
    }

    // ---- local replies and ends ----------------------------------------------------------------------------------

    internal override FilterStatus Reply(Failure failure, scoped in LocalReplyOptions options)
    {
        if (_closed)
            return FilterStatus.Stop;
        if (_responseStarted)
        {
            ResetDownstream(failure);
            return FilterStatus.Stop;
        }
        _info.Fail(failure);
        if (options.Details is { } details)
            _info.Details = details;
        _requestDropped = true;
        _heldRequest.Reset();
        CountFailure(failure);
        // Whoever replies, an upstream request under way is not wanted any more.
        if (_reached == _filters.Length - 1)
            _terminal.Abort();

        scoped var text = options.HasBody ? options.Body : _manager.FailureText(failure);
        var body = LocalReply.Build(_request, _localHead, failure, in options, text);
        _localHead.Version = _owner.Version;
        _responseStarted = true;
        _response = _localHead;
        _responseHeadEnds = body.IsEmpty;
        KeepLocalBody(body);
        RunResponseHead(Math.Min(_reached, _filters.Length - 2));
        if (_closed || body.IsEmpty)
            return FilterStatus.Stop;
        var kept = _localBody.AsSpan(0, _localBodyLength);
        if (_heldResponse.MustQueue)
            _heldResponse.Queue(kept, true);
        else
            RunResponseBody(_filters.Length - 2, kept, true);
        return FilterStatus.Stop;
    }

    internal override void ResetDownstream(Failure failure)
    {
        if (_closed)
            return;
        _info.Fail(failure);
        CountFailure(failure);
        Stats.Inc(HttpStats.RqTxReset);
        if (_responseSent)
            Stats.Inc(HttpStats.RouterRqResetAfterResponseStarted);
        var stream = _stream;
        var owner = _owner;
        Close();
        stream.Reset(failure);
        owner.Settle();
    }

    /// <summary>The codec found the request broken after it was announced: a reply, if none has gone out yet.</summary>
    internal bool TryAnswerError(Failure error)
    {
        if (_closed || _responseStarted || error.Row().Status == 0)
            return false;
        Reply(error);
        return true;
    }

    /// <summary>Both directions are through, or the stream was reset: the codec has let go of it.</summary>
    internal void OnCodecClosed()
    {
        if (_closed)
            return;
        Close();
    }

    /// <summary>The connection is gone and the codec did not say so.</summary>
    internal void OnConnectionLost(Failure reason)
    {
        _info.Fail(reason);
        Close();
    }

    private void OnReset(Failure reason)
    {
        if (_closed)
            return;
        var failure = reason.Row().Source == FailureSource.Downstream || reason == Failure.None ? reason : Failure.DownstreamDisconnect;
        _info.Fail(failure == Failure.None ? Failure.DownstreamReset : failure);
        Stats.Inc(HttpStats.RqRxReset);
        Close();
    }

    private void Close()
    {
        Debug.Assert(!_closed);
        _closed = true;
        _requestDropped = true;
        _info.EndMs = _loop.NowMs;
        _loop.Disarm(_idle);
        _loop.Disarm(_requestTimer);
        _loop.Disarm(_maxDuration);
        for (int i = 0; i <= _reached; i++)
            EndFilter(_filters[i]);

        _owner.OnStreamEnded(this);
        var stats = _manager.Stats;
        stats.Dec(HttpStats.RqActive);
        stats.Inc(HttpStats.RqCompleted);
        stats.Record(HttpStats.RqTime, _info.EndMs - _info.StartMs);
        if (_isUpgrade && _responseSent)
            stats.Dec(HttpStats.CxUpgradesActive);
        // Frames of this stream may still be on the stack; it is used again when the event is over.
        _loop.RecycleAfterEvent(this);
    }

    private void EndFilter(HttpFilter filter)
    {
        try
        {
            filter.OnStreamEnd();
        }
        catch (Exception exception)
        {
            _loop.ReportFault(exception);
        }
    }

    /// <summary>
    /// A filter is broken: a programmer's error. Caught here and not by the loop, because below this frame is a codec, maybe of another connection, in the
    /// middle of its work: this stream ends, everything else goes on.
    /// </summary>
    private void OnFault(Exception exception)
    {
        _loop.ReportFault(exception);
        ResetDownstream(Failure.InternalError);
    }

    public void OnRelease()
    {
        foreach (var filter in _filters)
            filter.Reset();
        _heldRequest.Reset();
        _heldResponse.Reset();
        _localHead.Reset();
        _ownTrailers.Reset();
        _info.Reset();
        UpstreamAlpn = [];
        _owner = null!;
        _stream = null!;
        _request = null!;
        _response = null;
        _localBodyLength = 0;
        _reached = 0;
        _requestHeadEnds = _requestEnded = _requestDropped = false;
        _responseStarted = _responseHeadEnds = _responseSent = false;
        _isUpgrade = _closed = _matched = false;
        _match = default;
        _routeTable = null;
        _manager.Return(this);
    }

    public void OnTimer(LoopTimer timer)
    {
        switch ((Timer)timer.Kind)
        {
            // Armed once and looked at late: a part of a message then costs a store.
            case Timer.Idle when _loop.NowMs - _touchedMs < _idleMs:
                _loop.Schedule(_idle, _idleMs - (_loop.NowMs - _touchedMs));
                break;
            case Timer.Idle:
                Stats.Inc(HttpStats.RqIdleTimeout);
                // 504 when it is the upstream that is silent, 408 when it is the client.
                Reply(Failure.StreamIdleTimeout, new LocalReplyOptions { Status = _requestEnded ? 504 : 408 });
                break;
            case Timer.Request:
                Stats.Inc(HttpStats.RqTimeout);
                Reply(Failure.RequestTimeout);
                break;
            case Timer.MaxDuration:
                Stats.Inc(HttpStats.RqMaxDurationReached);
                Reply(Failure.MaxDurationTimeout, new LocalReplyOptions { Status = _requestEnded ? 504 : 408 });
                break;
        }
    }

    // ---- helpers ------------------------------------------------------------------------------------------------

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private ref readonly RouteMatchResult Match()
    {
        if (!_matched)
            FindMatch();
        return ref _match;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void FindMatch()
    {
        _matched = true;
        _match = _routeTable is null ? default : _routeTable.Match(RouteInput());
        _info.RouteName = _match.Route?.Name ?? "";
        _info.VirtualHostName = _match.VirtualHost?.Name ?? "";
        if (_match.Route?.Action?.IdleTimeoutMs is { } idleMs)
            SetIdleTimeout(idleMs);
    }

    private RouteInput RouteInput() => _owner.Connection.Transport is TlsTransport tls
        ? new(_request, _manager.Worker.Random.NextUInt64(), isTls: true, Presented(tls))
        : new(_request, _manager.Worker.Random.NextUInt64(), isTls: false);

    private static ClientCertificate Presented(TlsTransport tls) =>
        !tls.HasPeer ? ClientCertificate.None : tls.IsPeerVerified ? ClientCertificate.Validated : ClientCertificate.Presented;

    private bool AdmitUpgrade(RequestHead head)
    {
        bool connect = head.Method == Method.Connect;
        if (!connect && !head.IsUpgrade)
            return true;
        if (!connect && head.Version == HttpVersion.Http10)
            return true;
        var type = connect ? "CONNECT"u8 : head.Get(HeaderId.Upgrade);
        // h2c by Upgrade is not spoken (Envoy ignores it as well): the request goes on as the HTTP/1 it is.
        if (Ascii.EqualsIgnoreCase(type, "h2c"u8))
        {
            head.Remove(HeaderId.Upgrade);
            head.Remove(HeaderId.Connection);
            head.Remove(HeaderId.Http2Settings);
            return true;
        }
        _isUpgrade = _manager.AllowsUpgrade(type, Route);
        return _isUpgrade;
    }

    private void Refuse(Failure failure)
    {
        if (failure == Failure.PathNormalizationFailed)
            Stats.Inc(HttpStats.RqFailedPathNormalization);
        else if (failure == Failure.AbsolutePathRejected)
            Stats.Inc(HttpStats.RqNonRelativePath);
        else if (failure == Failure.PathRedirect)
            _localHead.Add(HeaderId.Location, _request.Path);
        Reply(failure);
    }

    private void RefuseForOverload()
    {
        Stats.Inc(HttpStats.RqOverloadClose);
        if (_config.AppendLocalOverload)
            _localHead.Add("x-envoy-local-overloaded"u8, "true"u8);
        Reply(Failure.OverloadManager);
        // Who does not take the answer must not keep the request here: that is what an attack on memory does.
        if (!_closed && _stream.SendPending > 0)
            ResetDownstream(Failure.OverloadManager);
    }

    private void TouchIdle() => _touchedMs = _loop.NowMs;

    // The route's idle timeout replaces the manager's, 0 included.
    private void SetIdleTimeout(long ms)
    {
        _idleMs = ms;
        _touchedMs = _loop.NowMs;
        if (ms > 0)
            _loop.Schedule(_idle, ms);
        else
            _loop.Disarm(_idle);
    }

    private void CountStatus(int status)
    {
        int position = status / 100 - 1;
        if ((uint)position <= 4)
            Stats.Inc(HttpStats.Rq1xx + position);
    }

    private void CountFailure(Failure failure)
    {
        switch (failure)
        {
            case Failure.NoRoute:
                Stats.Inc(HttpStats.RouterNoRoute);
                break;
            case Failure.NoCluster:
                Stats.Inc(HttpStats.RouterNoCluster);
                break;
            case Failure.RequestPayloadTooLarge:
                Stats.Inc(HttpStats.RqTooLarge);
                break;
            case Failure.ResponsePayloadTooLarge:
                Stats.Inc(HttpStats.RsTooLarge);
                break;
        }
    }

    private void KeepLocalBody(ReadOnlySpan<byte> body)
    {
        if (_localBody is null || _localBody.Length < body.Length)
            _localBody = new byte[Math.Max(256, body.Length)];
        body.CopyTo(_localBody);
        _localBodyLength = body.Length;
    }

    /// <summary>The stream as the codec sees it.</summary>
    internal sealed class Receiver(HttpStream stream) : RequestSink
    {
        internal HttpStream Stream => stream;

        internal override void OnHead(RequestHead head, bool endStream) => stream.OnHead(head, endStream);
        internal override void OnBody(ReadOnlySpan<byte> data, bool endStream) => stream.OnBody(data, endStream);
        internal override void OnTrailers(HeaderMap trailers) => stream.OnTrailers(trailers);
        internal override void OnReset(Failure reason) => stream.OnReset(reason);
        internal override void OnSendBlocked() => stream.OnSendBlocked(true);
        internal override void OnSendReady() => stream.OnSendBlocked(false);
    }

    private void OnSendBlocked(bool blocked)
    {
        if (!_closed && _reached == _filters.Length - 1)
            _terminal.OnDownstreamBlocked(blocked);
    }
}
