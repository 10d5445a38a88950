using System;
using System.Diagnostics;
using System.Runtime.CompilerServices;
using Sidecar.Http;
using Sidecar.Loop;
using Sidecar.Memory;
using Sidecar.Net;
using Sidecar.Telemetry;

namespace Sidecar.Upstream.Pools;

/// <summary>
/// One HTTP connection to a host: the connection below, the codec on it, and the accounts of both. Also what a stream's user may ask
/// about the connection it is on.
/// </summary>
/// <remarks>
/// Worker-owned. Comes from its cluster's spares with a codec that is kept, and goes back at the end of the turn in which it closed.
/// What the codec writes collects in a chain of its own, which is sent once: at the end of the turn in HTTP/2, which many streams write to, else of the event.
/// </remarks>
internal sealed class HttpPoolConnection : IntrusiveNode<HttpPoolConnection>, IWorkOwner, ITimerOwner, IReleasable, IFaultable
{
    private const int TimerIdle = 0;
    private const int TimerDuration = 1;
    private const int TimerTick = 2;

    /// <summary>How often a codec with open streams, or with keepalive, is told the time.</summary>
    private const int TickMs = 1000;

    private static readonly LoopLocal<StrongBox<ulong>> s_lastIds = new(static _ => new StrongBox<ulong>());

    private readonly EventLoop _loop;
    private readonly Cluster _cluster;
    private readonly BufferChain _output;
    private readonly Events _events;
    private readonly Handler _handler;
    private readonly LoopWork _settle;
    private readonly LoopTimer _idleTimer;
    private readonly LoopTimer _durationTimer;
    private readonly LoopTimer _tickTimer;

    // One of the two below. Where the handshake chooses the protocol there is none from one connection's end to the next one's handshake.
    private HttpClientCodec _codec = null!;
    private HttpClientCodec? _http1Codec;
    private HttpClientCodec? _http2Codec;

    private HttpPool? _pool;
    private Connection? _connection;
    private State _state;
    private Failure _closeReason;
    private bool _closedByUs;
    private bool _endedStreams;
    private bool _inputPaused;
    private bool _noMoreStreams;
    private bool _feeding;
    private bool _gathers;
    private long _connectStartMs;
    private long _connectedMs;
    private long _sentCounted;
    private long _receivedAtIdle;
    private uint _streamsMax;

    private enum State : byte
    {
        Spare,
        Connecting,
        Open,

        /// <summary>What is queued is sent, then the connection closes; no stream is left.</summary>
        Closing,
        Closed,
    }

    internal HttpPoolConnection(Cluster cluster, HttpVersion protocol)
    {
        _cluster = cluster;
        _loop = cluster.Loop;
        _output = new BufferChain(_loop.Slab);
        _events = new Events(this);
        Kind = protocol;
        if (protocol != HttpVersion.None)
            ChooseCodec(protocol);
        _handler = new Handler(this);
        _settle = new LoopWork(this);
        _idleTimer = new LoopTimer(this, TimerIdle);
        _durationTimer = new LoopTimer(this, TimerDuration);
        _tickTimer = new LoopTimer(this, TimerTick);
    }

    // ---- facts for a stream's user --------------------------------------------------------------------------

    /// <summary>Unique on this worker since its start.</summary>
    internal ulong Id { get; private set; }

    /// <summary>What it was made for; none: what the handshake agrees on.</summary>
    internal HttpVersion Kind { get; }

    /// <summary>What is spoken on it; known once it is connected.</summary>
    internal HttpVersion Protocol => _codec.Version;
    internal HostState Host => _pool!.Host;
    internal Address LocalAddress => _connection is { } connection ? connection.LocalAddress : default;
    internal Address RemoteAddress => _connection is { } connection ? connection.RemoteAddress : default;
    internal Connection? Connection => _connection;

    /// <summary>Streams opened so far, the present ones included.</summary>
    internal uint StreamsOpened { get; private set; }

    /// <summary>It carried a stream before the present one: its peer may be closing it just now.</summary>
    internal bool IsReused => StreamsOpened > 1;

    /// <summary>Streams open now.</summary>
    internal int ActiveStreams { get; private set; }

    /// <summary>What connecting took; for the first stream's timing.</summary>
    internal long ConnectMs => _connectedMs - _connectStartMs;

    // ---- for the pool ---------------------------------------------------------------------------------------

    /// <summary>Connected, and may take streams again even if not at present.</summary>
    internal bool IsUsable => _state == State.Open && !_noMoreStreams && !_codec.IsFinished;

    internal const int NotReady = -1;

    /// <summary>Its place among the pool's <see cref="ReadyConnections"/>.</summary>
    internal int ReadyPlace = NotReady;

    /// <summary>It is among those of its pool that are given streams.</summary>
    internal bool IsReady => ReadyPlace != NotReady;

    /// <summary>Takes another stream now.</summary>
    internal bool CanOpenStream => _codec.CanOpenStream && ActiveStreams < _codec.MaxConcurrentStreams;

    /// <summary>Begins to connect; the pool hears OnConnected or OnConnectFailed, never before this returns.</summary>
    internal void Connect(HttpPool pool)
    {
        Debug.Assert(_state == State.Spare);
        _pool = pool;
        _state = State.Connecting;
        _closeReason = Failure.None;
        _closedByUs = _endedStreams = _inputPaused = _noMoreStreams = _feeding = false;
        _connectStartMs = _connectedMs = _loop.NowMs;
        _sentCounted = _receivedAtIdle = 0;
        StreamsOpened = 0;
        Id = ++s_lastIds[_loop].Value;
        var config = _cluster.Config;
        _streamsMax = config.Http.MaxRequestsPerConnection == 0 ? uint.MaxValue : config.Http.MaxRequestsPerConnection;

        var host = pool.Host;
        var stats = _cluster.Stats;
        stats.Inc(ClusterStats.UpstreamCxTotal);
        stats.Inc(ClusterStats.UpstreamCxActive);
        if (Kind != HttpVersion.None)
            CountProtocol();
        host.Cells.CxTotal++;
        host.Cells.CxActive++;
        config.Breakers.Add(Resource.Connections, pool.Priority, _cluster.Worker);

        _connection = Connector.Connect(
            _loop, host.Host.Address, pool.Source, _cluster.Connect,
            host.Host.Transport.Create(host.Host, _loop, _cluster.Worker, OfferedProtocols.Of(Kind), pool.Overrides), _handler, config.ConnectTimeoutMs);
        _connection.SetWatermarks(config.BufferLimitBytes);
    }

    // Kept for the connection that comes after, which may be one of either protocol.
    private void ChooseCodec(HttpVersion protocol)
    {
        _gathers = protocol == HttpVersion.Http2;
        ref var kept = ref protocol == HttpVersion.Http2 ? ref _http2Codec : ref _http1Codec;
        _codec = kept ??= ClientCodecs.Create(_loop, protocol, _output, _events, _cluster);
    }

    private void CountProtocol() => _cluster.Stats.Inc(Protocol == HttpVersion.Http2 ? ClusterStats.UpstreamCxHttp2Total : ClusterStats.UpstreamCxHttp1Total);

    internal ClientStream OpenStream(ResponseSink sink)
    {
        Debug.Assert(IsUsable);
        if (ActiveStreams == 0)
            _receivedAtIdle = _connection!.BytesReceived;
        ActiveStreams++;
        StreamsOpened++;
        var cells = Host.Cells;
        cells.RqTotal++;
        cells.RqActive++;
        _cluster.Stats.Inc(ClusterStats.UpstreamRqTotal);
        _cluster.Stats.Inc(ClusterStats.UpstreamRqActive);
        _cluster.Config.Breakers.Add(Resource.Requests, _pool!.Priority, _cluster.Worker);
        if (StreamsOpened >= _streamsMax)
        {
            _cluster.Stats.Inc(ClusterStats.UpstreamCxMaxRequests);
            _noMoreStreams = true;
        }
        StartTicking();
        // Nothing may have been read for long, or ever: without this the stream would look as old as that.
        _codec.NowMs = _loop.NowMs;
        return _codec.OpenStream(sink);
    }

    /// <summary>Closes now; open streams are reset with <paramref name="reason"/>.</summary>
    internal void Close(Failure reason)
    {
        if (_state is not (State.Connecting or State.Open))
            return;
        _closedByUs = true;
        _closeReason = reason;
        _noMoreStreams = true;
        _pool!.TakeOut(this);
        if (_state == State.Open && ActiveStreams == 0)
            CloseWhenSent(); // a GOAWAY still goes out
        else
            _connection!.Close(reason);
    }

    private void CloseWhenSent()
    {
        MoveOutput();
        _pool!.TakeOut(this);
        _state = State.Closing;
        _connection!.CloseAfterFlush();
    }

    // ---- the end of turn or event: send, then see what it has made of the connection ----------------------------

    public void OnWork(LoopWork work)
    {
        if (_state != State.Open)
            return;
        if (!_output.IsEmpty)
        {
            _connection!.SendGathered(_output);
            if (_state != State.Open)
                return;
        }
        if (_codec.IsFinished || ActiveStreams == 0 && _noMoreStreams)
        {
            // Taken out first: no waiter may be given a connection that ends.
            _noMoreStreams = true;
            Close(Failure.UpstreamConnectionTermination);
            return;
        }
        if (_codec.IsOutputEnded)
            _connection!.ShutdownWrite();
        _pool!.OnSettled(this);
    }

    public void OnFault() => _connection?.OnFault();

    private void ScheduleSettle()
    {
        if (_state != State.Open)
            return;
        if (_gathers)
            _loop.RunAtTurnEnd(_settle);
        else
            _loop.RunAfterEvent(_settle);
    }

    private void MoveOutput()
    {
        if (_output.IsEmpty || _connection is not { IsClosing: false } connection)
            return;
        _output.MoveAllTo(connection.Output);
        connection.ScheduleFlush();
    }

    private void CountSent()
    {
        long sent = _connection!.BytesSent;
        _cluster.Stats.Add(ClusterStats.UpstreamCxTxBytesTotal, sent - _sentCounted);
        _sentCounted = sent;
    }

    // ---- from the connection --------------------------------------------------------------------------------

    private void OnConnected()
    {
        if (Kind == HttpVersion.None)
        {
            // Nothing agreed on, or a protocol with a name of its own: HTTP/1.1, as Envoy.
            ChooseCodec(_connection!.Transport.Protocol.SequenceEqual("h2"u8) ? HttpVersion.Http2 : HttpVersion.Http11);
            CountProtocol();
        }
        _state = State.Open;
        _connectedMs = _loop.NowMs;
        var http = _cluster.Config.Http;
        _cluster.Stats.Record(ClusterStats.UpstreamCxConnectMs, ConnectMs);
        if (http.MaxConnectionDurationMs > 0)
        {
            double jitter = http.MaxConnectionDurationJitterPercent / 100 * http.MaxConnectionDurationMs;
            _loop.Schedule(_durationTimer, http.MaxConnectionDurationMs + (jitter >= 1 ? _cluster.Random.Next((uint)jitter) : 0));
        }
        StartIdling();
        _pool!.OnConnected(this);
        ScheduleSettle(); // the preface and SETTINGS, and what the waiters sent
    }

    private int OnData(ReadOnlySpan<byte> data)
    {
        _cluster.Stats.Add(ClusterStats.UpstreamCxRxBytesTotal, data.Length);
        int consumed = Feed(data);
        // Bytes that come again are counted when they are used.
        _cluster.Stats.Add(ClusterStats.UpstreamCxRxBytesTotal, consumed - data.Length);
        return consumed;
    }

    private int Feed(ReadOnlySpan<byte> data)
    {
        _codec.NowMs = _loop.NowMs;
        bool hadStreams = ActiveStreams > 0;
        _feeding = true;
        var result = _codec.Feed(data);
        _feeding = false;
        if (_state != State.Open)
            return data.Length;
        if (result.Error != Failure.None)
        {
            _endedStreams = hadStreams;
            FailProtocol(result.Error);
            return data.Length;
        }
        if (!_codec.WantsInput && !_inputPaused)
        {
            _inputPaused = true;
            _connection!.PauseReading();
        }
        else if (_codec.InputDeferred)
        {
            _connection!.ProcessBuffered();
        }
        // A pipelined request that the response set free runs later in this turn, before it settles: it shall find this connection.
        _pool!.Place(this);
        if (!_output.IsEmpty || !IsUsable || _codec.IsOutputEnded || _pool.HasUnserved)
            ScheduleSettle();
        return result.Consumed;
    }

    // The peer broke the protocol: what the codec has to say goes out, and every stream ends.
    private void FailProtocol(Failure error)
    {
        _cluster.Stats.Inc(ClusterStats.UpstreamCxProtocolError);
        _noMoreStreams = true;
        _closedByUs = true;
        _closeReason = error.Row().Source == FailureSource.Upstream ? error : Failure.UpstreamProtocolError;
        _codec.OnConnectionLost(_closeReason);
        if (_state == State.Open)
            CloseWhenSent();
    }

    private void OnEndOfStream()
    {
        _noMoreStreams = true;
        _endedStreams = ActiveStreams > 0;
        var failure = _codec.OnEndOfInput();
        if (_state != State.Open)
            return;
        if (failure == Failure.None && ActiveStreams > 0 && !_codec.IsFinished)
        {
            ScheduleSettle(); // a tunnel half closed: our direction goes on
            return;
        }
        if (ActiveStreams == 0)
        {
            CloseWhenSent();
            return;
        }
        _closeReason = failure == Failure.None ? Failure.UpstreamConnectionTermination : failure;
        _connection!.Close(_closeReason);
    }

    private void OnClosed(Failure reason)
    {
        var pool = _pool!;
        var connection = _connection!;
        var stats = _cluster.Stats;
        var cells = pool.Host.Cells;
        bool wasConnecting = _state == State.Connecting;
        bool hadStreams = ActiveStreams > 0;
        _endedStreams |= hadStreams;
        _state = State.Closed;
        _loop.Cancel(_settle);
        _loop.Cancel(_idleTimer);
        _loop.Cancel(_durationTimer);
        _loop.Cancel(_tickTimer);

        CountSent();
        cells.CxActive--;
        stats.Dec(ClusterStats.UpstreamCxActive);
        _cluster.Config.Breakers.Remove(Resource.Connections, pool.Priority, _cluster.Worker);
        stats.Inc(ClusterStats.UpstreamCxDestroy);
        stats.Inc(_closedByUs ? ClusterStats.UpstreamCxDestroyLocal : ClusterStats.UpstreamCxDestroyRemote);
        if (_endedStreams)
        {
            stats.Inc(ClusterStats.UpstreamCxDestroyWithActiveRq);
            stats.Inc(_closedByUs ? ClusterStats.UpstreamCxDestroyLocalWithActiveRq : ClusterStats.UpstreamCxDestroyRemoteWithActiveRq);
        }

        if (wasConnecting)
        {
            if (reason == Failure.UpstreamConnectTimeout)
                stats.Inc(ClusterStats.UpstreamCxConnectTimeout);
            bool cancelled = _closedByUs;
            if (!cancelled)
            {
                stats.Inc(ClusterStats.UpstreamCxConnectFail);
                cells.CxConnectFail++;
            }
            string detail = ConnectFailure.Describe(connection, reason);
            _loop.Release(this);
            pool.OnConnectFailed(this, cancelled || reason == Failure.None ? Failure.UpstreamConnectFailure : reason, detail);
            return;
        }

        stats.Record(ClusterStats.UpstreamCxLengthMs, _loop.NowMs - _connectedMs);
        _pool!.TakeOut(this);
        if (hadStreams)
            _codec.OnConnectionLost(LossReason(connection, reason));
        while (ActiveStreams > 0)
            OnStreamClosed(); // those the codec had only to forget
        _loop.Release(this);
        pool.OnClosed(this);
    }

    // A connection that had rested in the pool and ends without a byte of the response: its peer closed it before it saw the request.
    private Failure LossReason(Connection connection, Failure reason)
    {
        if (_closeReason != Failure.None)
            reason = _closeReason;
        if (reason is Failure.None or Failure.UpstreamConnectionTermination)
        {
            bool silent = connection.BytesReceived == _receivedAtIdle;
            return IsReused && silent && !_closedByUs ? Failure.UpstreamConnectionTerminationOnReuse : Failure.UpstreamConnectionTermination;
        }
        return reason;
    }

    /// <summary>End of the turn in which it closed: clean, and back to the cluster's spares.</summary>
    public void OnRelease()
    {
        _codec?.Reset();
        if (Kind == HttpVersion.None)
            _codec = null!;
        _output.Clear();
        _connection = null;
        _pool = null;
        _state = State.Spare;
        _cluster.ReturnConnection(this);
    }

    // ---- from the codec -------------------------------------------------------------------------------------

    private void OnStreamClosed()
    {
        Debug.Assert(ActiveStreams > 0);
        ActiveStreams--;
        Host.Cells.RqActive--;
        _cluster.Stats.Dec(ClusterStats.UpstreamRqActive);
        _cluster.Config.Breakers.Remove(Resource.Requests, _pool!.Priority, _cluster.Worker);
        if (_state != State.Open)
            return;
        if (ActiveStreams == 0)
            StartIdling();
        // What is being fed looks for itself when it is through.
        if (!_feeding)
            ScheduleSettle();
    }

    private void OnWantsInput()
    {
        if (!_inputPaused)
            return;
        _inputPaused = false;
        _connection!.ResumeReading();
    }

    private void OnGoAway()
    {
        if (!_noMoreStreams)
            _cluster.Stats.Inc(ClusterStats.UpstreamCxCloseNotify);
        _noMoreStreams = true;
        ScheduleSettle();
    }

    // ---- time -----------------------------------------------------------------------------------------------

    public void OnTimer(LoopTimer timer)
    {
        switch (timer.Kind)
        {
            case TimerIdle when ActiveStreams == 0:
                _cluster.Stats.Inc(ClusterStats.UpstreamCxIdleTimeout);
                _noMoreStreams = true;
                Close(Failure.UpstreamIdleTimeout);
                break;
            case TimerDuration:
                _cluster.Stats.Inc(ClusterStats.UpstreamCxMaxDurationReached);
                _noMoreStreams = true;
                _codec.StartDrain();
                ScheduleSettle();
                break;
            case TimerTick:
                Tick();
                break;
        }
    }

    private void Tick()
    {
        var failure = _codec.OnTick(_loop.NowMs);
        if (_state != State.Open)
            return;
        if (failure != Failure.None)
        {
            _closedByUs = true;
            // A PING without an answer: the peer is gone, whatever became of its FIN.
            _closeReason = failure.Row().Source == FailureSource.Upstream ? failure : Failure.UpstreamConnectionTermination;
            _connection!.Close(_closeReason);
            return;
        }
        ScheduleSettle();
        if (ActiveStreams > 0 || KeepsAlive)
            _loop.Schedule(_tickTimer, TickMs);
    }

    private bool KeepsAlive => Protocol == HttpVersion.Http2 && _cluster.Config.Http.Http2.KeepaliveIntervalMs > 0;

    private void StartTicking()
    {
        if (!_tickTimer.IsArmed)
            _loop.Schedule(_tickTimer, TickMs);
    }

    // The timer stays armed while streams run; it is moved, which costs a store, when the last one ends.
    private void StartIdling()
    {
        long timeoutMs = _cluster.Config.Http.IdleTimeoutMs;
        if (timeoutMs > 0)
            _loop.Schedule(_idleTimer, timeoutMs);
        if (KeepsAlive)
            StartTicking();
    }

    private sealed class Handler(HttpPoolConnection owner) : ConnectionHandler
    {
        internal override void OnConnected(Connection connection) => owner.OnConnected();
        internal override int OnData(Connection connection, ReadOnlySpan<byte> data) => owner.OnData(data);
        internal override void OnEndOfStream(Connection connection) => owner.OnEndOfStream();
        internal override void OnClosed(Connection connection, Failure reason) => owner.OnClosed(reason);
        internal override void OnFlushed(Connection connection) => owner.CountSent();

        internal override void OnAboveHighWatermark(Connection connection)
        {
            owner._cluster.Stats.Inc(ClusterStats.UpstreamFlowControlBackedUpTotal);
            owner._codec.OnOutputBlocked(true);
        }

        internal override void OnBelowLowWatermark(Connection connection)
        {
            owner._cluster.Stats.Inc(ClusterStats.UpstreamFlowControlDrainedTotal);
            owner._codec.OnOutputBlocked(false);
            owner.ScheduleSettle();
        }
    }

    private sealed class Events(HttpPoolConnection owner) : CodecEvents
    {
        internal override void OnOutput() => owner.ScheduleSettle();
        internal override void OnWantsInput() => owner.OnWantsInput();
        internal override void OnStreamClosed(CodecStream stream) => owner.OnStreamClosed();
        internal override void OnGoAway() => owner.OnGoAway();
        internal override void OnMaxStreamsChanged() => owner.ScheduleSettle();
    }
}
