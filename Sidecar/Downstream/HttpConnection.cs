using System;
using System.Collections.Generic;
using System.Diagnostics;
using Sidecar.Filters;
using Sidecar.Http;
using Sidecar.Http.H1;
using Sidecar.Http.H2;
using Sidecar.Loop;
using Sidecar.Memory;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Telemetry.Stats;

namespace Sidecar.Downstream;

/// <summary>
/// One downstream connection of an HTTP connection manager: chooses the codec, feeds it, opens a <see cref="HttpStream"/> per request, and
/// owns the connection's timers and its drain.
/// </summary>
/// <remarks>Worker-owned, pooled by its <see cref="HttpConnectionManager"/>, with both codecs it has ever needed.</remarks>
internal sealed class HttpConnection : ConnectionHandler, ITimerOwner, IWorkOwner, IReleasable
{
    /// <summary>A codec's own timers (flush timeout, keep-alive PING) are checked this often while there is something to time.</summary>
    private const long TickMs = 1000;

    private const int SettleWork = 0;
    private const int MoreInputWork = 1;

    private enum Timer { Idle, RequestHeaders, MaxDuration, DrainEnd, Tick }

    private readonly HttpConnectionManager _manager;
    private readonly EventLoop _loop;
    private readonly HttpConnectionManagerConfig _config;
    private readonly StatsCells _stats;
    private readonly Events _events;

    // Codecs are kept with this object and outlive connections, so they write to a chain of its own, which moves to the connection (blocks are
    // relinked) once at the end of the turn: a burst of small frames from many streams costs one send.
    private readonly BufferChain _output;
    private readonly LoopWork _settle;
    private readonly LoopWork _moreInput;
    private readonly LoopTimer _idle;
    private readonly LoopTimer _headers;

    // Made when first wanted: most connections never do, and an idle one should be small.
    private LoopTimer? _maxDuration;
    private LoopTimer? _drainEnd;
    private LoopTimer? _tick;

    private Http1ServerCodec? _http1;
    private Http2ServerCodec? _http2;

    // Streams that have not ended; the codec may count more for a moment, those whose end it has still to tell.
    private readonly List<HttpStream> _open = [];

    private Connection _connection = null!;
    private HttpCodec? _codec;
    private int _streams;
    private long _requests;
    private long _openedMs;
    private long _idleSinceMs;
    private bool _draining;
    private bool _codecDrains;
    private bool _pausedForCodec;
    private bool _closing;
    private bool _closedByPeer;
    private int _activeAtEnd;

    internal HttpConnection(HttpConnectionManager manager)
    {
        _manager = manager;
        _loop = manager.Worker.Loop;
        _config = manager.Config;
        _stats = manager.Stats;
        _events = new Events(this);
        _output = new BufferChain(_loop.Slab);
        _settle = new LoopWork(this, SettleWork);
        _moreInput = new LoopWork(this, MoreInputWork);
        _idle = new LoopTimer(this, (int)Timer.Idle);
        _headers = new LoopTimer(this, (int)Timer.RequestHeaders);
    }

    /// <summary>Place in the manager's list of connections.</summary>
    internal int Position;

    internal Connection Connection => _connection;

    /// <summary>The chain and listener it came by.</summary>
    internal ConnectionContext Context { get; private set; } = null!;

    internal HttpVersion Version => _codec?.Version ?? HttpVersion.None;

    /// <summary>Takes over an accepted connection.</summary>
    internal void Attach(Connection connection, ConnectionContext context)
    {
        _connection = connection;
        Context = context;
        _openedMs = _idleSinceMs = _loop.NowMs;
        _stats.Inc(HttpStats.CxTotal);
        _stats.Inc(HttpStats.CxActive);
        connection.Handler = this;
        if (_config.CodecType == CodecType.Http1)
            UseHttp1();
        else if (_config.CodecType == CodecType.Http2)
            UseHttp2();
        if (_config.IdleTimeoutMs > 0)
            _loop.Schedule(_idle, _config.IdleTimeoutMs);
        if (_config.MaxConnectionDurationMs > 0)
            _loop.Schedule(_maxDuration ??= new LoopTimer(this, (int)Timer.MaxDuration), _config.MaxConnectionDurationMs);
    }

    internal override int OnData(Connection connection, ReadOnlySpan<byte> data)
    {
        if (_closing)
            return data.Length;
        if (_codec is null && !TryChooseCodec(data))
            return 0;
        var codec = _codec!;
        if (!codec.WantsInput)
        {
            PauseForCodec();
            return 0;
        }

        codec.NowMs = _loop.NowMs;
        // HTTP/1 must know before it answers; HTTP/2 says so after its SETTINGS.
        if (_draining && !_codecDrains && codec.Version != HttpVersion.Http2)
            StartCodecDrain();
        var result = codec.Feed(data);
        if (_closing)
            return data.Length;
        if (_draining && !_codecDrains && result.Error == Failure.None)
            StartCodecDrain();
        Settle();
        if (_config.RequestHeadersTimeoutMs > 0)
            TimeHead(codec);
        if (result.Error != Failure.None)
        {
            FailConnection(result.Error);
            return data.Length;
        }
        if (result.Consumed < data.Length)
        {
            if (!codec.WantsInput)
                PauseForCodec();
            else if (codec.InputDeferred)
                DeferInput();
        }
        return result.Consumed;
    }

    internal override void OnEndOfStream(Connection connection)
    {
        // As Envoy: a peer that has sent its FIN is gone, open exchanges end with it (HTTP has no half-close).
        if (_closing)
            return;
        _activeAtEnd = _open.Count;
        _closedByPeer = true;
        _codec?.OnEndOfInput();
        _codec?.OnConnectionLost(Failure.DownstreamDisconnect);
        CloseAfterOutput();
    }

    internal override void OnClosed(Connection connection, Failure reason)
    {
        bool remote = _closedByPeer || reason is Failure.DownstreamDisconnect or Failure.DownstreamReset;
        // The loop's guard ended it: an exception left the codec, which may be in any state and is asked for nothing any more.
        bool broken = reason == Failure.InternalError;
        int active = Math.Max(_activeAtEnd, _open.Count);
        _closing = true;
        if (!broken)
            _codec?.OnConnectionLost(remote ? Failure.DownstreamDisconnect : reason);
        while (_open.Count > 0)
            _open[^1].OnConnectionLost(reason);
        Debug.Assert(_streams == 0 || broken);

        _stats.Inc(HttpStats.CxDestroy);
        _stats.Inc(remote ? HttpStats.CxDestroyRemote : HttpStats.CxDestroyLocal);
        if (active > 0)
        {
            _stats.Inc(HttpStats.CxDestroyActiveRq);
            _stats.Inc(remote ? HttpStats.CxDestroyRemoteActiveRq : HttpStats.CxDestroyLocalActiveRq);
        }
        _stats.Dec(HttpStats.CxActive);
        if (_codec is not null)
            _stats.Dec(_codec.Version == HttpVersion.Http2 ? HttpStats.CxHttp2Active : HttpStats.CxHttp1Active);
        _stats.Add(HttpStats.CxRxBytes, connection.BytesReceived);
        _stats.Add(HttpStats.CxTxBytes, connection.BytesSent);
        _stats.Record(HttpStats.CxLengthMs, _loop.NowMs - _openedMs);

        _loop.Cancel(_idle);
        _loop.Cancel(_headers);
        CancelMade(_maxDuration);
        CancelMade(_drainEnd);
        CancelMade(_tick);
        Context.CountClosed(_manager.Worker.Index);
        _manager.OnConnectionClosed(this);
        // Streams of this turn may still look at the connection from their own frames. One with a broken codec is not used again.
        if (!broken)
            _loop.Release(this);
        else
            _output.Clear();
    }

    internal override void OnAboveHighWatermark(Connection connection) => _codec?.OnOutputBlocked(true);

    internal override void OnBelowLowWatermark(Connection connection) => _codec?.OnOutputBlocked(false);

    /// <summary>End of the turn: what the codec wrote goes to the connection, and a codec that is through closes it.</summary>
    public void OnWork(LoopWork work)
    {
        if (_closing || _codec is null)
            return;
        if (work.Kind == MoreInputWork)
        {
            if (_pausedForCodec && _codec.WantsInput)
                ResumeForCodec();
            return;
        }
        if (_codec.IsFinished)
        {
            CloseAfterOutput();
            return;
        }
        if (!_output.IsEmpty)
        {
            _output.MoveAllTo(_connection.Output);
            _connection.ScheduleFlush();
        }
        if (_codec.IsOutputEnded && !_connection.WriteEnded)
            _connection.ShutdownWrite();
    }

    public void OnRelease()
    {
        _loop.Cancel(_settle);
        _loop.Cancel(_moreInput);
        _output.Clear();
        _codec?.Reset();
        _codec = null;
        _connection = null!;
        Context = null!;
        _streams = 0;
        _requests = 0;
        _activeAtEnd = 0;
        _draining = _codecDrains = _pausedForCodec = _closing = _closedByPeer = false;
        _manager.Return(this);
    }

    public void OnTimer(LoopTimer timer)
    {
        switch ((Timer)timer.Kind)
        {
            case Timer.Idle:
                OnIdleTimer();
                break;
            case Timer.RequestHeaders:
                OnRequestHeadersTimer();
                break;
            case Timer.MaxDuration:
                _stats.Inc(HttpStats.CxMaxDurationReached);
                StartDrain();
                break;
            case Timer.DrainEnd:
                OnDrainEnd();
                break;
            case Timer.Tick:
                OnTick();
                break;
        }
    }

    /// <summary>No new exchanges here: HTTP/2 sends GOAWAY and later its final one, HTTP/1 closes with the next response.</summary>
    internal void StartDrain()
    {
        if (_draining || _closing)
            return;
        _draining = true;
        _stats.Inc(HttpStats.CxDrainClose);
        _loop.Schedule(_drainEnd ??= new LoopTimer(this, (int)Timer.DrainEnd), _config.DrainTimeoutMs);
        if (_codec is not null && (_codec.Version != HttpVersion.Http2 || _requests > 0 || _connection.BytesReceived > 0))
            StartCodecDrain();
    }

    private void StartCodecDrain()
    {
        _codecDrains = true;
        _codec!.StartDrain();
        Settle();
    }

    internal void Close(Failure reason)
    {
        if (_closing)
            return;
        _closing = true;
        _connection.Close(reason);
    }

    /// <summary>Sends what the codec wrote, and sees whether it is through, at the end of this turn.</summary>
    internal void Settle() => _loop.RunAtTurnEnd(_settle);

    private bool TryChooseCodec(ReadOnlySpan<byte> data)
    {
        // codec AUTO: HTTP/2 with prior knowledge begins with its preface (RFC 9113 section 3.4), which no HTTP/1 request can.
        switch (Http2Preface.Detect(data))
        {
            case PrefaceMatch.Partial:
                return false;
            case PrefaceMatch.Match:
                UseHttp2();
                return true;
            default:
                UseHttp1();
                return true;
        }
    }

    private void UseHttp1()
    {
        _http1 ??= new Http1ServerCodec(_output, _events, _config.Http1, _manager.Worker.Http1Streams);
        _codec = _http1;
        _stats.Inc(HttpStats.CxHttp1Total);
        _stats.Inc(HttpStats.CxHttp1Active);
    }

    private void UseHttp2()
    {
        _http2 ??= new Http2ServerCodec(_output, _events, _config.Http2, _manager.Worker.Http2Pools);
        _codec = _http2;
        _stats.Inc(HttpStats.CxHttp2Total);
        _stats.Inc(HttpStats.CxHttp2Active);
        ScheduleTick();
    }

    private void ScheduleTick() => _loop.Schedule(_tick ??= new LoopTimer(this, (int)Timer.Tick), TickMs);

    private void CancelMade(LoopTimer? timer)
    {
        if (timer is not null)
            _loop.Cancel(timer);
    }

    // Requests beyond one turn's share wait until the others have had their turn. Reading waits too, or each further read of this turn would take
    // another share.
    private void DeferInput()
    {
        PauseForCodec();
        _loop.RunNextTurn(_moreInput);
    }

    private void PauseForCodec()
    {
        if (_pausedForCodec)
            return;
        _pausedForCodec = true;
        _connection.PauseReading();
    }

    private void ResumeForCodec()
    {
        _pausedForCodec = false;
        _connection.ResumeReading();
    }

    private void FailConnection(Failure error)
    {
        _stats.Inc(HttpStats.CxProtocolError);
        if (Log.IsEnabled(LogLevel.Debug))
            Log.Debug("http", $"closing {_connection.RemoteAddress}: {error.Row().Details}");
        _codec!.OnConnectionLost(error);
        CloseAfterOutput();
    }

    private void CloseAfterOutput()
    {
        _closing = true;
        if (!_output.IsEmpty)
            _output.MoveAllTo(_connection.Output);
        _connection.CloseAfterFlush(_config.DelayedCloseTimeoutMs);
    }

    private HttpStream OnNewStream(ServerStream stream)
    {
        _streams++;
        _requests++;
        _loop.Cancel(_headers);
        if (_codec!.Version == HttpVersion.Http2 && _tick is not { IsArmed: true })
            ScheduleTick();
        if (_config.MaxRequestsPerConnection > 0 && _requests >= _config.MaxRequestsPerConnection && !_draining)
        {
            _stats.Inc(HttpStats.CxMaxRequestsReached);
            StartDrain();
        }
        var http = _manager.RentStream();
        http.Position = _open.Count;
        _open.Add(http);
        http.Attach(this, stream);
        return http;
    }

    /// <summary>A stream has ended, whichever way.</summary>
    internal void OnStreamEnded(HttpStream stream)
    {
        int last = _open.Count - 1;
        var moved = _open[last];
        _open[stream.Position] = moved;
        moved.Position = stream.Position;
        _open.RemoveAt(last);
    }

    private void OnStreamClosed()
    {
        _streams--;
        if (_streams == 0)
            _idleSinceMs = _loop.NowMs;
    }

    private void OnIdleTimer()
    {
        // Armed once and looked at late: a request then costs no timer operation.
        long idleMs = _streams > 0 ? 0 : _loop.NowMs - _idleSinceMs;
        if (idleMs < _config.IdleTimeoutMs)
        {
            _loop.Schedule(_idle, _config.IdleTimeoutMs - idleMs);
            return;
        }
        _stats.Inc(HttpStats.CxIdleTimeout);
        if (_codec is not { Version: HttpVersion.Http2 })
            CloseAfterOutput();
        else
            StartDrain();
    }

    // From a head's first byte to its last; a connection between requests is the idle timeout's.
    private void TimeHead(HttpCodec codec)
    {
        if (!codec.IsHeadPartial)
            _loop.Cancel(_headers);
        else if (!_headers.IsArmed)
            _loop.Schedule(_headers, _config.RequestHeadersTimeoutMs);
    }

    private void OnRequestHeadersTimer()
    {
        if (_closing || _codec is not { IsHeadPartial: true })
            return;
        _stats.Inc(HttpStats.RqHeaderTimeout);
        (_codec as Http1ServerCodec)?.RefuseRequest(Failure.RequestHeaderTimeout);
        CloseAfterOutput();
    }

    private void OnDrainEnd()
    {
        if (_closing)
            return;
        if (_codec is null)
        {
            CloseAfterOutput();
            return;
        }
        _codec.FinishDrain();
        Settle();
    }

    private void OnTick()
    {
        if (_closing || _codec is null)
            return;
        var failure = _codec.OnTick(_loop.NowMs);
        Settle();
        if (failure != Failure.None)
            FailConnection(failure);
        else if (_streams > 0 || _config.Http2.KeepaliveIntervalMs > 0)
            ScheduleTick();
    }

    /// <summary>The codec's side of the connection.</summary>
    private sealed class Events(HttpConnection owner) : ServerCodecEvents
    {
        internal override void OnOutput() => owner.Settle();

        internal override void OnWantsInput()
        {
            if (owner._pausedForCodec)
                owner.ResumeForCodec();
        }

        internal override void OnNewStream(ServerStream stream) => stream.Sink = owner.OnNewStream(stream).RequestSink;

        internal override void OnStreamClosed(CodecStream stream)
        {
            owner.OnStreamClosed();
            if (((ServerStream)stream).Sink is HttpStream.Receiver receiver)
                receiver.Stream.OnCodecClosed();
        }

        internal override bool OnRequestError(ServerStream stream, Failure error)
        {
            // A request too broken to be announced is one nevertheless: it is counted, logged and answered like any other.
            if (stream.Sink is null && error.Row().Status != 0)
                OnNewStream(stream);
            return stream.Sink is HttpStream.Receiver receiver && receiver.Stream.TryAnswerError(error);
        }
    }
}
