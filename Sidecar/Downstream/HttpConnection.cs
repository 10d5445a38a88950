using System;
using System.Diagnostics;
using Sidecar.Filters;
using Sidecar.Http;
using Sidecar.Loop;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Telemetry.Stats;

namespace Sidecar.Downstream;

/// <summary>
/// One downstream connection of an HTTP connection manager: its life, its timers and its drain. What it needs while something goes on is a
/// <see cref="HttpSession"/>: an HTTP/1 connection has one from the first byte of a request to the last of its response, an HTTP/2 connection for good.
/// </summary>
/// <remarks>
/// Worker-owned, pooled by its <see cref="HttpConnectionManager"/>. There may be ten thousand idle ones, so what only some of them need is made when first wanted.
/// </remarks>
internal sealed class HttpConnection : ConnectionHandler, ITimerOwner, IReleasable, IMemoryReleaser
{
    private enum Timer { Idle, RequestHeaders, MaxDuration, DrainEnd }

    private readonly HttpConnectionManager _manager;
    private readonly LoopTimer _idle;
    private LoopTimer? _headers;
    private LoopTimer? _maxDuration;
    private LoopTimer? _drainEnd;

    private Connection _connection = null!;
    private HttpSession? _session;
    private long _openedMs;
    private long _idleSinceMs;
    private uint _requests;
    private int _activeAtEnd;
    private bool _draining;
    private bool _codecDrains;
    private bool _closing;
    private bool _closedByPeer;
    private bool _isTls;

    internal HttpConnection(HttpConnectionManager manager)
    {
        _manager = manager;
        _idle = new LoopTimer(this, (int)Timer.Idle);
    }

    /// <summary>Place in the manager's list of connections.</summary>
    internal int Position;

    internal Connection Connection => _connection;

    /// <summary>The chain and listener it came by.</summary>
    internal ConnectionContext Context { get; private set; } = null!;

    /// <summary>None until the first bytes have told.</summary>
    internal HttpVersion Version { get; private set; }

    /// <summary>Nothing more is read from it, and what is written goes nowhere.</summary>
    internal bool IsClosing => _closing;

    private EventLoop Loop => _manager.Worker.Loop;
    private HttpConnectionManagerConfig Config => _manager.Config;
    private StatsCells Stats => _manager.Stats;

    /// <summary>What could be had by ending it: bytes to be sent, bytes not read yet, and what its streams have.</summary>
    internal long HeldBytes => _connection.UnsentBytes + _connection.BufferedInput + (_session?.HeldBytes ?? 0);

    /// <summary>Takes over an accepted connection.</summary>
    internal void Attach(Connection connection, ConnectionContext context)
    {
        _connection = connection;
        Context = context;
        _openedMs = _idleSinceMs = Loop.NowMs;
        Stats.Inc(HttpStats.CxTotal);
        Stats.Inc(HttpStats.CxActive);
        _isTls = connection.Transport is not RawTransport;
        if (_isTls)
        {
            Stats.Inc(HttpStats.CxSslTotal);
            Stats.Inc(HttpStats.CxSslActive);
        }
        connection.Handler = this;
        if (Config.CodecType == CodecType.Http1)
            Use(HttpVersion.Http11);
        else if (Config.CodecType == CodecType.Http2)
            Use(HttpVersion.Http2);
        if (Config.IdleTimeoutMs > 0)
            Loop.Schedule(_idle, Config.IdleTimeoutMs);
        if (Config.MaxConnectionDurationMs > 0)
            Loop.Schedule(_maxDuration ??= new LoopTimer(this, (int)Timer.MaxDuration), Config.MaxConnectionDurationMs);
    }

    internal override int OnData(Connection connection, ReadOnlySpan<byte> data)
    {
        if (_closing)
            return data.Length;
        if (Version == HttpVersion.None && !TryChooseVersion(data))
            return 0;
        return (_session ?? BeginSession()).OnData(data);
    }

    internal override void OnEndOfStream(Connection connection)
    {
        // As Envoy: a peer that has sent its FIN is gone, open exchanges end with it (HTTP has no half-close).
        if (_closing)
            return;
        _closedByPeer = true;
        if (_session is { } session)
        {
            _activeAtEnd = session.OpenStreams;
            session.Codec.OnEndOfInput();
            session.Codec.OnConnectionLost(Failure.DownstreamDisconnect);
        }
        CloseAfterOutput();
    }

    internal override void OnClosed(Connection connection, Failure reason)
    {
        bool remote = _closedByPeer || reason is Failure.DownstreamDisconnect or Failure.DownstreamReset;
        // The loop's guard ended it: an exception left the codec, which may be in any state and is asked for nothing any more.
        bool broken = reason == Failure.InternalError;
        int active = Math.Max(_activeAtEnd, _session?.OpenStreams ?? 0);
        _closing = true;
        _session?.OnConnectionLost(remote ? Failure.DownstreamDisconnect : reason, reason, broken);

        var stats = Stats;
        stats.Inc(HttpStats.CxDestroy);
        stats.Inc(remote ? HttpStats.CxDestroyRemote : HttpStats.CxDestroyLocal);
        if (active > 0)
        {
            stats.Inc(HttpStats.CxDestroyActiveRq);
            stats.Inc(remote ? HttpStats.CxDestroyRemoteActiveRq : HttpStats.CxDestroyLocalActiveRq);
        }
        stats.Dec(HttpStats.CxActive);
        if (_isTls)
            stats.Dec(HttpStats.CxSslActive);
        if (Version != HttpVersion.None)
            stats.Dec(Version == HttpVersion.Http2 ? HttpStats.CxHttp2Active : HttpStats.CxHttp1Active);
        stats.Add(HttpStats.CxRxBytes, connection.BytesReceived);
        stats.Add(HttpStats.CxTxBytes, connection.BytesSent);
        stats.Record(HttpStats.CxLengthMs, Loop.NowMs - _openedMs);

        Loop.Cancel(_idle);
        Cancel(_headers);
        Cancel(_maxDuration);
        Cancel(_drainEnd);
        Context.CountClosed(_manager.Worker.Index);
        _manager.OnConnectionClosed(this);
        // Streams of this turn may still look at the connection from their own frames. One with a broken codec is not used again.
        if (!broken)
            Loop.Release(this);
    }

    internal override void OnAboveHighWatermark(Connection connection) => _session?.Codec.OnOutputBlocked(true);

    internal override void OnBelowLowWatermark(Connection connection) => _session?.Codec.OnOutputBlocked(false);

    public void OnRelease()
    {
        EndSession();
        _connection = null!;
        Context = null!;
        Version = HttpVersion.None;
        _requests = 0;
        _activeAtEnd = 0;
        _draining = _codecDrains = _closing = _closedByPeer = false;
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
                Stats.Inc(HttpStats.CxMaxDurationReached);
                StartDrain();
                break;
            case Timer.DrainEnd:
                OnDrainEnd();
                break;
        }
    }

    /// <summary>No new exchanges here: HTTP/2 sends GOAWAY and later its final one, HTTP/1 closes with the next response.</summary>
    internal void StartDrain()
    {
        if (_draining || _closing)
            return;
        _draining = true;
        Stats.Inc(HttpStats.CxDrainClose);
        Loop.Schedule(_drainEnd ??= new LoopTimer(this, (int)Timer.DrainEnd), Config.DrainTimeoutMs);
        if (Version != HttpVersion.Http2 || _requests > 0 || _connection.BytesReceived > 0)
            PassDrainToCodec();
    }

    /// <summary>Memory is short: the connection drains, and its client comes back when things are better.</summary>
    internal void EndForOverload()
    {
        if (_draining || _closing)
            return;
        Stats.Inc(HttpStats.CxOverloadDisableKeepAlive);
        StartDrain();
    }

    /// <summary>Tells the codec once that the connection drains; one that is not there yet hears of it when it has read something.</summary>
    internal void PassDrainToCodec()
    {
        if (!_draining || _codecDrains || _session is not { } session)
            return;
        _codecDrains = true;
        session.Codec.StartDrain();
        session.Settle();
    }

    internal void Close(Failure reason)
    {
        if (_closing)
            return;
        _closing = true;
        _connection.Close(reason);
    }

    public (int Streams, long Bytes) Release(long bytesWanted, long bytesMin, int streamsMax)
    {
        long unsent = _connection.UnsentBytes + _connection.BufferedInput;
        // What the peer does not read is the connection's, no stream's: only the whole can go. HTTP/1 has one stream anyway.
        if (unsent >= bytesMin && (unsent >= bytesWanted || Version != HttpVersion.Http2 || _session is not { OpenStreams: > 0 } || unsent * 2 >= HeldBytes))
        {
            long all = HeldBytes;
            int streams = Math.Max(1, _session?.OpenStreams ?? 0);
            _connection.Close(Failure.OverloadManager);
            return (streams, all);
        }
        return _session?.Release(bytesWanted, bytesMin, streamsMax) ?? default;
    }

    /// <summary>What was received is no HTTP of its version.</summary>
    internal void Fail(Failure error)
    {
        Stats.Inc(HttpStats.CxProtocolError);
        if (Log.IsEnabled(LogLevel.Debug))
            Log.Debug("http", $"closing {_connection.RemoteAddress}: {error.Row().Details}");
        _session!.Codec.OnConnectionLost(error);
        CloseAfterOutput();
    }

    internal void CloseAfterOutput()
    {
        _closing = true;
        _session?.MoveOutput();
        bool over = _session is { Codec: Http.H1.Http1ServerCodec { IsOver: true } } && _connection.IsInputUsedUp;
        _connection.CloseAfterFlush(over ? 0 : Config.DelayedCloseTimeoutMs, peerIsDone: over);
    }

    // ---- what the session tells ---------------------------------------------------------------------------------

    /// <summary>A request has begun.</summary>
    internal void OnNewStream()
    {
        _requests++;
        if (Config.MaxRequestsPerConnection > 0 && _requests >= Config.MaxRequestsPerConnection && !_draining)
        {
            Stats.Inc(HttpStats.CxMaxRequestsReached);
            StartDrain();
        }
    }

    /// <summary>For a stream that ended: its place among the session's is free.</summary>
    internal void OnStreamEnded(HttpStream stream) => _session!.OnStreamEnded(stream);

    /// <summary>The last open exchange is over.</summary>
    internal void OnStreamsEnded() => _idleSinceMs = Loop.NowMs;

    /// <summary>Sends what the codec wrote, and sees whether it is through, when the present event is over at the earliest.</summary>
    internal void Settle() => _session?.Settle();

    /// <summary>The codec has been fed: a head is timed from its first byte to its last; a connection between requests is the idle timeout's.</summary>
    internal void TimeHead(bool isPartial)
    {
        if (Config.HeadTimeoutMs == 0)
            return;
        if (!isPartial)
            Cancel(_headers);
        else if (_headers is not { IsArmed: true })
            Loop.Schedule(_headers ??= new LoopTimer(this, (int)Timer.RequestHeaders), Config.HeadTimeoutMs);
    }

    /// <summary>Gives the session back; the next bytes bring another.</summary>
    internal void EndSession()
    {
        if (_session is not { } session)
            return;
        _session = null;
        session.Detach();
        _manager.Return(session);
    }

    // ---- codecs -------------------------------------------------------------------------------------------------

    private bool TryChooseVersion(ReadOnlySpan<byte> data)
    {
        // codec AUTO: HTTP/2 with prior knowledge begins with its preface (RFC 9113 section 3.4), which no HTTP/1 request can.
        switch (Http.H2.Http2Preface.Detect(data))
        {
            case Http.H2.PrefaceMatch.Partial:
                return false;
            case Http.H2.PrefaceMatch.Match:
                Use(HttpVersion.Http2);
                return true;
            default:
                Use(HttpVersion.Http11);
                return true;
        }
    }

    private void Use(HttpVersion version)
    {
        Version = version;
        Stats.Inc(version == HttpVersion.Http2 ? HttpStats.CxHttp2Total : HttpStats.CxHttp1Total);
        Stats.Inc(version == HttpVersion.Http2 ? HttpStats.CxHttp2Active : HttpStats.CxHttp1Active);
        if (version == HttpVersion.Http2)
            BeginSession();
    }

    private HttpSession BeginSession()
    {
        _session = _manager.RentSession(Version);
        _session.Attach(this);
        return _session;
    }

    // ---- timers ------------------------------------------------------------------------------------------------

    private void OnIdleTimer()
    {
        // Armed once and looked at late: a request then costs no timer operation.
        long idleMs = _session is { HasStreams: true } ? 0 : Loop.NowMs - _idleSinceMs;
        if (idleMs < Config.IdleTimeoutMs)
        {
            Loop.Schedule(_idle, Config.IdleTimeoutMs - idleMs);
            return;
        }
        Stats.Inc(HttpStats.CxIdleTimeout);
        if (Version != HttpVersion.Http2)
            CloseAfterOutput();
        else
            StartDrain();
    }

    private void OnRequestHeadersTimer()
    {
        if (_closing || _session is not { Codec.IsHeadPartial: true } session)
            return;
        bool isIdle = Config.HeadTimeoutMs != Config.RequestHeadersTimeoutMs;
        Stats.Inc(isIdle ? HttpStats.RqIdleTimeout : HttpStats.RqHeaderTimeout);
        (session.Codec as Http.H1.Http1ServerCodec)?.RefuseRequest(isIdle ? Failure.StreamIdleTimeout : Failure.RequestHeaderTimeout);
        CloseAfterOutput();
    }

    private void OnDrainEnd()
    {
        if (_closing)
            return;
        if (_session is not { } session)
        {
            CloseAfterOutput();
            return;
        }
        session.Codec.FinishDrain();
        session.Settle();
    }

    private void Cancel(LoopTimer? timer)
    {
        if (timer is not null)
            Loop.Cancel(timer);
    }
}
