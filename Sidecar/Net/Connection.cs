using System;
using System.Diagnostics;
using System.Runtime.CompilerServices;
using Sidecar.Linux;
using Sidecar.Loop;
using Sidecar.Memory;
using Sidecar.Telemetry;

namespace Sidecar.Net;

/// <summary>
/// One stream socket with its transport, buffers, watermarks and both half-closes.
/// <code>
///   Connecting ─→ Handshaking ─→ Open ─→ Closing ─→ Closed ─→ (pool)
///        └────────────┴──────────┴────────────────────┘
/// </code>
/// Reading: into the loop's scratch when nothing is left over, and straight to the handler; only unconsumed bytes are
/// copied, to a buffer that exists as long as they do. It stops after a short read, and after
/// <see cref="ReadBytesPerTurn"/> lets the others have their turn. Writing: into <see cref="Output"/>, sent once at the end
/// of the turn, directly; only when the socket is full does the connection wait for an edge.
/// </summary>
/// <remarks>
/// Worker-owned; objects are pooled per loop and come back at the end of the turn in which they closed. One epoll_ctl in
/// a lifetime. An idle connection holds no buffer, no chain, and nothing that only some connections need: there may be ten thousand.
/// </remarks>
internal sealed class Connection : LoopHandler, IWorkOwner, ITimerOwner, IReleasable
{
    /// <summary>How much may wait in <see cref="Output"/> before producers are told to stop: Envoy's per_connection_buffer_limit_bytes default.</summary>
    internal const int DefaultHighWatermark = 1024 * 1024;

    /// <summary>Bytes read by one connection before the others get their turn.</summary>
#if DEBUG
    internal const int ReadBytesPerTurn = 6000;
#else
    internal const int ReadBytesPerTurn = 1024 * 1024;
#endif

    /// <summary>
    /// Unconsumed bytes kept; then reading stops until the handler takes some. A codec bounds its heads far below this, so
    /// it is only met by a handler that waits for something else without pausing.
    /// </summary>
    internal const int InputBytesMax = 1024 * 1024;

    /// <summary>Room asked for when reading behind leftovers.</summary>
    private const int ReadBytesMin = 256;

    /// <summary>What a read counts for at least, so that one of a transport that brings no application byte is not free.</summary>
    private const int ReadCostMin = 1024;

    private const int WorkFlush = 0;
    private const int WorkPending = 1;

    /// <summary>What the connections of one loop share, so that each has one reference to all of it.</summary>
    private sealed class Shared
    {
        internal readonly EventLoop Loop;
        internal readonly Pool<Connection> Connections;
        internal readonly Pool<ByteBuffer> Inputs;
        internal readonly Pool<BufferChain> Outputs;

        internal Shared(EventLoop loop)
        {
            Loop = loop;
            Connections = new Pool<Connection>(() => new Connection(this));
            Inputs = new Pool<ByteBuffer>(() => new ByteBuffer(loop.Slab));
            Outputs = new Pool<BufferChain>(() => new BufferChain(loop.Slab));
        }
    }

    private static readonly LoopLocal<Shared> s_shared = new(static loop => new Shared(loop));

    private readonly Shared _shared;
    private readonly LoopWork _flush;

    // Rented while there is something in them.
    private ByteBuffer? _input;
    private BufferChain? _output;

    private Transport _transport = RawTransport.Instance;
    private ConnectionHandler _handler = Nobody.Instance;
    private Rarities? _rarities;
    private Address _local;
    private int _fd = -1;
    private int _pauses;
    private State _state;
    private bool _localIsOriginal;

    private bool _readReady;        // an edge came that reads have not used up
    private bool _hangUpSeen;       // the peer ended or broke: a short read is not the last one
    private bool _writeBlocked;     // the socket is full, its edge is awaited
    private bool _writeFailed;      // nothing can be sent any more; what the peer sent before is still read
    private bool _endReceived;
    private bool _endDelivered;
    private bool _shutdownWanted;
    private bool _writeShut;
    private bool _aboveHigh;
    private bool _presenting;
    private bool _outputIsLent;     // _output is somebody's own chain, for the length of one flush
    private bool _peerIsDone;       // nothing can arrive any more whose loss a close would tell the peer of

    private enum State : byte
    {
        Closed,
        Connecting,     // connect(2) is under way
        Opening,        // accepted; waits for its first event, which comes at once
        Handshaking,
        Open,
        Closing,        // what is queued is sent; what arrives is thrown away
    }

    /// <summary>What most connections never need: made when first wanted, kept with the pooled object.</summary>
    private sealed class Rarities(Connection owner)
    {
        /// <summary>For what goes on in the next turn.</summary>
        internal readonly LoopWork Pending = new(owner, WorkPending);

        /// <summary>For connecting, handshakes and delayed closes.</summary>
        internal readonly LoopTimer Timer = new(owner);

        internal Transport? NextTransport;
        internal int CloseDelayMs;
        internal Failure StillbornReason;
        internal OriginalSource? OriginalSource;
        internal Address DirectRemote;
        internal string ServerName = "";
        internal ConnectionGate? Gate;
        internal SpliceFlow? SpliceIn;
        internal SpliceFlow? SpliceOut;
    }

    private Connection(Shared shared)
    {
        _shared = shared;
        _flush = new LoopWork(this, WorkFlush);
    }

    private Rarities Rare => _rarities ??= new Rarities(this);

    private Transport? NextTransport => _rarities?.NextTransport;
    private int CloseDelayMs => _rarities?.CloseDelayMs ?? 0;

    private void RunPendingNextTurn() => _shared.Loop.RunNextTurn(Rare.Pending);

    private void StartTimer(int delayMs) => _shared.Loop.Schedule(Rare.Timer, delayMs);

    private bool InputIsEmpty => _input is null;
    private ByteBuffer Input => _input ??= _shared.Inputs.Rent();

    private void ConsumeInput(int count)
    {
        _input!.Consume(count);
        if (_input.IsEmpty)
            ReturnInput();
    }

    private void ReturnInput()
    {
        if (_input is null)
            return;
        _input.Reset();
        _shared.Inputs.Return(_input);
        _input = null;
    }

    private void ReturnOutput()
    {
        if (_output is null)
            return;
        _output.Clear();
        if (!_outputIsLent)
            _shared.Outputs.Return(_output);
        _output = null;
        _outputIsLent = false;
    }

    // ---- facts ----------------------------------------------------------------------------------------------

    internal EventLoop Loop => _shared.Loop;
    internal int Fd => _fd;

    /// <summary>What carries the bytes; after <see cref="ChangeTransport"/> the new one, from that moment on.</summary>
    internal Transport Transport => NextTransport ?? _transport;

    /// <summary>We called the peer. Decides which <see cref="Failure"/> a broken connection is.</summary>
    internal bool IsUpstream { get; private set; }

    /// <summary>Whose connection it is: the peer's address, as the kernel says, unless the peer <see cref="SpeaksFor"/> another.</summary>
    internal Address RemoteAddress { get; set; }

    /// <summary>The peer itself, whoever it says that it speaks for.</summary>
    internal Address DirectRemoteAddress => _rarities is { DirectRemote: { IsNone: false } direct } ? direct : RemoteAddress;

    /// <summary>The peer is a proxy, and says whose connection it is.</summary>
    internal void SpeaksFor(in Address remote)
    {
        Rare.DirectRemote = DirectRemoteAddress;
        RemoteAddress = remote;
    }

    /// <summary>Where the connection was going before it was redirected to us; set by the listener, else none. It is then the <see cref="LocalAddress"/> too.</summary>
    internal Address OriginalDestination
    {
        get => _localIsOriginal ? _local : default;
        set
        {
            _local = value;
            _localIsOriginal = true;
        }
    }

    /// <summary>Where connections made on behalf of this one are to come from; set by a listener filter, else null: from an address of ours.</summary>
    internal OriginalSource? OriginalSource
    {
        get => _rarities?.OriginalSource;
        set => Rare.OriginalSource = value;
    }

    /// <summary>Who lets through what is received before the handler sees it; null: everything goes through.</summary>
    internal ConnectionGate? Gate
    {
        get => _rarities?.Gate;
        set => Rare.Gate = value;
    }

    /// <summary>The server name of a TLS hello that passed through here unopened, lower case; set by the listener, else empty.</summary>
    internal string RequestedServerName
    {
        get => _rarities?.ServerName ?? "";
        set => Rare.ServerName = value;
    }

    /// <summary>Our end of the connection; the socket's is asked from the kernel at first use.</summary>
    internal Address LocalAddress
    {
        get
        {
            if (_local.IsNone && _fd >= 0 && Sockets.LocalAddress(_fd, out SocketAddress address).Ok)
                _local = Address.From(address);
            return _local;
        }
        set
        {
            _local = value;
            _localIsOriginal = false;
        }
    }

    /// <summary>Application bytes read and sent so far.</summary>
    internal long BytesReceived { get; private set; }
    internal long BytesSent { get; private set; }

    /// <summary>When bytes last moved in either direction (<see cref="EventLoop.NowMs"/>): what idle timeouts measure from.</summary>
    internal long LastActivityMs { get; private set; }

    /// <summary>The error behind the failure, when there was one.</summary>
    internal Errno LastError { get; private set; }

    /// <summary>Connecting could not even be begun.</summary>
    internal bool IsStillborn => _rarities is { StillbornReason: not Failure.None };

    internal bool IsOpen => _state == State.Open;
    internal bool IsClosed => _state == State.Closed;

    /// <summary>Being closed after a flush, or closed: no more bytes will be presented.</summary>
    internal bool IsClosing => _state is State.Closing or State.Closed;

    /// <summary>The peer has ended its direction (it may not have been presented yet).</summary>
    internal bool EndReceived => _endReceived;

    /// <summary>We have ended our direction, or will when <see cref="Output"/> is sent.</summary>
    internal bool WriteEnded => _shutdownWanted;
    internal bool IsReadingPaused => _pauses > 0;

    /// <summary>Received bytes that no handler has consumed.</summary>
    internal int BufferedInput => _input?.Length ?? 0;

    /// <summary>Everything received was consumed, and the socket had nothing more when it was last read.</summary>
    internal bool IsInputUsedUp => InputIsEmpty && !_readReady && SpliceIn is null;
    internal bool IsAboveHighWatermark => _aboveHigh;

    /// <summary>Bytes that wait for the peer to read.</summary>
    internal long UnsentBytes => _output?.Length ?? 0;
    internal int HighWatermark { get; private set; }
    internal int LowWatermark => HighWatermark / 2;

    /// <summary>What waits to be sent. Append (or move blocks here), then <see cref="ScheduleFlush"/>. Another chain after every turn: not to be kept.</summary>
    internal BufferChain Output => _output ??= _shared.Outputs.Rent();

    private bool OutputIsEmpty => _output is null || _output.IsEmpty;

    /// <summary>A place of the process-wide connection limit that this connection holds and gives back when it closes.</summary>
    internal ConnectionLimit? Limit { get; set; }

    /// <summary>Who gets the callbacks. A new one is presented what the old one left, in the next turn (or at once, when set inside OnData).</summary>
    internal ConnectionHandler Handler
    {
        get => _handler;
        set
        {
            _handler = value;
            _endDelivered = false;
            if (!_presenting && (!InputIsEmpty || _endReceived) && !IsClosing)
                RunPendingNextTurn();
        }
    }

    // ---- beginning ------------------------------------------------------------------------------------------

    /// <summary>
    /// Takes over an accepted descriptor. <see cref="ConnectionHandler.OnConnected"/> follows in the next turn, after the
    /// transport's handshake if it has one, for which <paramref name="openTimeoutMs"/> is allowed (0: no limit).
    /// </summary>
    /// <returns>The connection, or null when the descriptor could not be registered; it is closed then.</returns>
    internal static Connection? Open(EventLoop loop, int fd, in Address remote, Transport transport, ConnectionHandler handler, int openTimeoutMs = 0) =>
        Start(loop, fd, remote, transport, handler, State.Opening, isUpstream: false, openTimeoutMs);

    /// <summary>As <see cref="Open"/>, for a descriptor whose connect(2) is under way. For <see cref="Connector"/>.</summary>
    internal static Connection? Connecting(EventLoop loop, int fd, in Address remote, Transport transport, ConnectionHandler handler, int timeoutMs) =>
        Start(loop, fd, remote, transport, handler, State.Connecting, isUpstream: true, timeoutMs);

    /// <summary>A connection that could not even be begun: the handler hears of it in the next turn, as of any other failure.</summary>
    internal static Connection Stillborn(EventLoop loop, in Address remote, ConnectionHandler handler, Failure reason, Errno error)
    {
        Connection connection = s_shared[loop].Connections.Rent();
        connection.Prepare(-1, remote, RawTransport.Instance, handler, State.Connecting, isUpstream: true);
        connection.LastError = error;
        connection.Rare.StillbornReason = reason;
        connection.RunPendingNextTurn();
        return connection;
    }

    private static Connection? Start(
        EventLoop loop, int fd, in Address remote, Transport transport, ConnectionHandler handler, State state, bool isUpstream, int timeoutMs)
    {
        Debug.Assert(loop.IsCurrent);
        Connection connection = s_shared[loop].Connections.Rent();
        SysResult registered = loop.Register(fd, connection, EpollEvents.Connection);
        if (!registered.Ok)
        {
            connection._shared.Connections.Return(connection);
            Sockets.Close(fd);
            return null;
        }
        connection.Prepare(fd, remote, transport, handler, state, isUpstream);
        if (timeoutMs > 0)
            connection.StartTimer(timeoutMs);
        return connection;
    }

    private void Prepare(int fd, in Address remote, Transport transport, ConnectionHandler handler, State state, bool isUpstream)
    {
        _fd = fd;
        _transport = transport;
        _handler = handler;
        _state = state;
        _local = default;
        _localIsOriginal = false;
        RemoteAddress = remote;
        IsUpstream = isUpstream;
        BytesReceived = BytesSent = 0;
        LastActivityMs = _shared.Loop.NowMs;
        LastError = Errno.None;
        SetWatermarks(DefaultHighWatermark);
        _pauses = 0;
        _readReady = _hangUpSeen = _writeBlocked = _writeFailed = false;
        _endReceived = _endDelivered = _shutdownWanted = _writeShut = _aboveHigh = _presenting = _peerIsDone = false;
    }

    // ---- what the handler does ------------------------------------------------------------------------------

    /// <summary>Sets the thresholds of <see cref="Output"/>; low is half of high. 0 means no limit.</summary>
    internal void SetWatermarks(int highBytes)
    {
        HighWatermark = highBytes > 0 ? highBytes : int.MaxValue;
    }

    /// <summary>Queues a copy of <paramref name="bytes"/>; sent with everything else of this turn at its end.</summary>
    internal void Write(ReadOnlySpan<byte> bytes)
    {
        if (IsClosing || _writeFailed)
            return;
        Debug.Assert(!_shutdownWanted);
        Output.Write(bytes);
        ScheduleFlush();
    }

    /// <summary>
    /// Sends <paramref name="bytes"/> now if nothing is queued before them, and queues a copy of what the socket does not
    /// take. Saves the copy for bulk that is sent as it comes; use <see cref="Write"/> for small pieces.
    /// </summary>
    internal void WriteThrough(ReadOnlySpan<byte> bytes)
    {
        if (_state != State.Open || _writeFailed)
        {
            Write(bytes);
            return;
        }
        Debug.Assert(!_shutdownWanted);
        if (OutputIsEmpty && !_writeBlocked && !_transport.HasUnsent)
        {
            IoResult sent = _transport.WriteDirect(_fd, bytes);
            CountSent(sent.Bytes);
            if (sent.Status == IoStatus.Failed)
            {
                OnWriteFailed(sent.Error);
                return;
            }
            _writeBlocked = sent.Status == IoStatus.WouldBlock;
            bytes = bytes[sent.Bytes..];
        }
        if (bytes.IsEmpty)
            return;
        Output.Write(bytes);
        ScheduleFlush();
    }

    /// <summary>Sends <see cref="Output"/> at the end of this turn. Any number of calls cost one send.</summary>
    internal void ScheduleFlush()
    {
        if (_state >= State.Open)
            _shared.Loop.RunAtTurnEnd(_flush);
    }

    /// <summary>
    /// Sends all of <paramref name="chain"/>; for the flush phase, where it is what the turn has gathered. With nothing before it that is done at once and from where it
    /// lies; what the socket does not take waits in <see cref="Output"/>. The connection may be closed when this returns.
    /// </summary>
    internal void SendGathered(BufferChain chain)
    {
        if (_output is not null || _state < State.Open)
        {
            chain.MoveAllTo(Output);
            ScheduleFlush();
            return;
        }
        _output = chain;
        _outputIsLent = true;
        Flush();
        if (!_outputIsLent)
            return;
        _output = null;
        _outputIsLent = false;
        if (_state == State.Closed || chain.IsEmpty)
            chain.Clear();
        else
            chain.MoveAllTo(Output);
    }

    /// <summary>Stops presenting and reading; calls nest. The peer is held back by its TCP window.</summary>
    internal void PauseReading() => _pauses++;

    /// <summary>Undoes one <see cref="PauseReading"/>; after the last, what is buffered is presented in the next turn and reading goes on.</summary>
    internal void ResumeReading()
    {
        Debug.Assert(_pauses > 0);
        if (--_pauses == 0 && !IsClosing)
            RunPendingNextTurn();
    }

    /// <summary>Presents unconsumed bytes again, in the next turn, though nothing new arrived: the handler can use them now.</summary>
    internal void ProcessBuffered()
    {
        if (!IsClosing)
            RunPendingNextTurn();
    }

    /// <summary>
    /// Puts another transport under the connection (TLS, after a listener filter looked at the ClientHello): bytes that no
    /// handler consumed go to it, and <see cref="ConnectionHandler.OnConnected"/> comes again after its handshake.
    /// </summary>
    internal void ChangeTransport(Transport transport, int handshakeTimeoutMs = 0)
    {
        Debug.Assert(_state is State.Open or State.Opening);
        Rare.NextTransport = transport;
        if (handshakeTimeoutMs > 0)
            StartTimer(handshakeTimeoutMs);
        // Inside OnData the handler has yet to say how much it consumed; else at once, before anything is read past the new transport.
        if (!_presenting)
            SwitchTransport(_input is null ? default : _input.Readable, buffered: true);
    }

    /// <summary>Ends our direction once <see cref="Output"/> is sent; the peer may go on sending.</summary>
    internal void ShutdownWrite()
    {
        if (_shutdownWanted || IsClosing)
            return;
        _shutdownWanted = true;
        ScheduleFlush();
    }

    /// <summary>
    /// Closes in good order: sends what is queued, then FIN, then waits until the peer closes too, at most
    /// <paramref name="delayMs"/> without progress (Envoy's delayed_close_timeout), so that the last bytes are not destroyed
    /// by a RST. 0: closes right after the last byte is with the kernel. Nothing more is presented;
    /// <see cref="ConnectionHandler.OnClosed"/> comes at the end.
    /// </summary>
    /// <param name="delayMs">How long the peer may take to close.</param>
    /// <param name="peerIsDone">By the rules of its protocol the peer sends nothing more.</param>
    internal void CloseAfterFlush(int delayMs = 0, bool peerIsDone = false)
    {
        if (IsClosing)
            return;
        _peerIsDone = peerIsDone;
        if (_state != State.Open || _writeFailed)
        {
            Close(Failure.None);
            return;
        }
        _state = State.Closing;
        _shutdownWanted = true;
        // Splicing leaves bytes unread that no short read has vouched for; otherwise _readReady knows, and asking once more is a call in vain.
        _readReady |= SpliceIn is not null;
        if (delayMs > 0)
        {
            Rare.CloseDelayMs = delayMs;
            StartTimer(delayMs);
        }
        _shared.Loop.RunAtTurnEnd(_flush);
        if (_readReady)
            RunPendingNextTurn();
    }

    /// <summary>Closes now; what is queued is lost. With <paramref name="reset"/> the peer gets a RST.</summary>
    internal void Close(Failure reason, bool reset = false)
    {
        if (_state == State.Closed)
            return;
        _state = State.Closed;
        _shared.Loop.Cancel(_flush);
        if (_rarities is { } rare)
        {
            _shared.Loop.Cancel(rare.Timer);
            _shared.Loop.Cancel(rare.Pending);
            rare.Gate?.OnClosed();
            rare.Gate = null;
        }
        if (_fd >= 0)
        {
            _shared.Loop.Unregister(_fd, this, closing: true);
            if (reset)
                Sockets.SetLingerReset(_fd);
            Sockets.Close(_fd);
            _fd = -1;
        }
        Limit?.Give();
        Limit = null;
        _shared.Loop.Release(this);
        _handler.OnClosed(this, reason);
    }

    // ---- what the loop tells us -----------------------------------------------------------------------------

    public override void OnReady(EpollEvents events)
    {
        if (_state == State.Connecting && !FinishConnect(events))
            return;
        if (_state == State.Opening)
            BeginHandshake();

        if ((events & (EpollEvents.In | EpollEvents.ReadHangUp | EpollEvents.HangUp | EpollEvents.Error)) != 0)
            _readReady = true;
        if ((events & (EpollEvents.ReadHangUp | EpollEvents.HangUp | EpollEvents.Error)) != 0)
            _hangUpSeen = true;

        if (_state == State.Handshaking)
            ContinueHandshake();
        if (_state < State.Open)
            return;

        if ((events & EpollEvents.Out) != 0 && _writeBlocked)
        {
            _writeBlocked = false;
            Flush();
        }
        if ((events & EpollEvents.Error) != 0 && _state != State.Closed && IsUnread)
        {
            // No read will find the error.
            Errno error = Sockets.TakeError(_fd);
            if (error != Errno.None)
            {
                CloseBroken(error);
                return;
            }
        }
        Read();
    }

    public void OnWork(LoopWork work)
    {
        if (work.Kind == WorkFlush)
        {
            Flush();
            return;
        }
        if (_fd < 0)
        {
            Close(_rarities!.StillbornReason);
            return;
        }
        if (_state == State.Handshaking)
            ContinueHandshake();
        if (_state == State.Open && _pauses == 0)
        {
            PresentBuffered();
            DeliverEnd();
        }
        Read();
    }

    public void OnTimer(LoopTimer timer)
    {
        switch (_state)
        {
            case State.Closing:
                Close(Failure.None);
                break;
            case State.Connecting or State.Opening or State.Handshaking:
                Close(IsUpstream ? Failure.UpstreamConnectTimeout : Failure.DownstreamDisconnect);
                break;
        }
    }

    public override void OnFault() => Close(Failure.InternalError, reset: true);

    public void OnRelease()
    {
        ReturnInput();
        ReturnOutput();
        _transport.Release();
        _transport = RawTransport.Instance;
        _handler = Nobody.Instance;
        if (_rarities is { } rare)
        {
            rare.NextTransport = null;
            rare.OriginalSource = null;
            rare.DirectRemote = default;
            rare.ServerName = "";
            rare.SpliceIn = rare.SpliceOut = null;
            rare.CloseDelayMs = 0;
            rare.StillbornReason = Failure.None;
        }
        _shared.Connections.Return(this);
    }

    // ---- connecting and handshake ---------------------------------------------------------------------------

    private bool FinishConnect(EpollEvents events)
    {
        if ((events & (EpollEvents.Out | EpollEvents.Error | EpollEvents.HangUp)) == 0)
            return false;
        LastError = Sockets.TakeError(_fd);
        if (LastError != Errno.None)
        {
            Close(LastError == Errno.ETIMEDOUT ? Failure.UpstreamConnectTimeout : Failure.UpstreamConnectFailure);
            return false;
        }
        BeginHandshake();
        return true;
    }

    private void BeginHandshake()
    {
        _state = State.Handshaking;
        if (_transport.IsReady)
            BecomeOpen();
    }

    private void ContinueHandshake()
    {
        IoResult step = _transport.Handshake(_fd);
        switch (step.Status)
        {
            case IoStatus.Ok:
                _readReady = true; // the transport may hold the first application bytes already
                BecomeOpen();
                break;
            case IoStatus.EndOfStream or IoStatus.Failed:
                LastError = step.Error;
                Close(IsUpstream ? Failure.UpstreamTlsHandshake : Failure.DownstreamDisconnect);
                break;
        }
    }

    private void BecomeOpen()
    {
        _state = State.Open;
        if (_rarities is { } rare)
            _shared.Loop.Cancel(rare.Timer);
        LastActivityMs = _shared.Loop.NowMs;
        _handler.OnConnected(this);
        if (_state == State.Open && (!OutputIsEmpty || _transport.HasUnsent || _shutdownWanted))
            ScheduleFlush();
    }

    private void SwitchTransport(ReadOnlySpan<byte> leftover, bool buffered)
    {
        Transport next = NextTransport!;
        Rare.NextTransport = null;
        next.Preload(leftover);
        if (buffered && !leftover.IsEmpty)
            ConsumeInput(leftover.Length);
        _transport = next;
        _state = State.Handshaking;
        RunPendingNextTurn();
    }

    // ---- reading --------------------------------------------------------------------------------------------

    private void Read()
    {
        int budget = ReadBytesPerTurn;
        while (_readReady && CanRead)
        {
            if (SpliceIn is { } flow && InputIsEmpty && _state == State.Open)
            {
                flow.Pump();
                if (_writeFailed && flow.HeldBytes > 0)
                    CloseBroken(LastError);
                return;
            }
            bool direct = InputIsEmpty || _state == State.Closing;
            Span<byte> into = direct ? _shared.Loop.Scratch : _input!.GetWritable(ReadBytesMin);
            IoResult got = _transport.Read(_fd, into);
            switch (got.Status)
            {
                case IoStatus.Ok:
                    CountReceived(got.Bytes);
                    _readReady = !got.Drained || _hangUpSeen;
                    if (_state == State.Closing)
                        break;
                    if (direct)
                    {
                        PresentScratch(into[..got.Bytes]);
                    }
                    else
                    {
                        _input!.Commit(got.Bytes);
                        PresentBuffered();
                    }
                    break;
                case IoStatus.WouldBlock:
                    _readReady = false;
                    if (_writeFailed)
                        CloseBroken(LastError);
                    return;
                case IoStatus.EndOfStream:
                    _readReady = false;
                    ReceiveEnd();
                    return;
                default:
                    _readReady = false;
                    CloseBroken(_writeFailed ? LastError : got.Error);
                    return;
            }
            budget -= Math.Max(got.Bytes, ReadCostMin);
            if (budget <= 0 && _readReady)
            {
                if (!IsClosed)
                    RunPendingNextTurn();
                return;
            }
        }
    }

    // Nobody reads what the socket still has: its end was read, it is paused, or it is spliced to a sink that is full.
    private bool IsUnread => _endReceived || _pauses > 0 || SpliceIn is { HeldBytes: > 0 };

    private bool CanRead => _state == State.Open ? _pauses == 0 && !_endReceived && BufferedInput < InputBytesMax : _state == State.Closing && !_endReceived;

    private bool PassesGate => _rarities is not { Gate: { } gate } || gate.Admits(this);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void PresentScratch(ReadOnlySpan<byte> data)
    {
        _presenting = true;
        while (data.Length > 0 && _state == State.Open && _pauses == 0 && PassesGate)
        {
            ConnectionHandler handler = _handler;
            int used = handler.OnData(this, data);
            Debug.Assert((uint)used <= (uint)data.Length);
            data = data[used..];
            if (NextTransport is not null && _state == State.Open)
            {
                SwitchTransport(data, buffered: false);
                data = default;
            }
            if (_handler == handler)
                break;
        }
        _presenting = false;
        if (data.Length > 0 && _state == State.Open)
            Input.Write(data);
    }

    private void PresentBuffered()
    {
        _presenting = true;
        while (_input is { } input && _state == State.Open && _pauses == 0 && PassesGate)
        {
            ConnectionHandler handler = _handler;
            int used = handler.OnData(this, input.Readable);
            if (_state == State.Closed)
                break;
            ConsumeInput(used);
            if (NextTransport is not null && _state == State.Open)
                SwitchTransport(_input is null ? default : _input.Readable, buffered: true);
            if (_handler == handler)
                break;
        }
        _presenting = false;
    }

    /// <summary>The peer's FIN was read (by us or by the relay that reads for us).</summary>
    internal void ReceiveEnd()
    {
        _readReady = false;
        _endReceived = true;
        if (_writeFailed)
            CloseBroken(LastError);
        else if (_state == State.Closing)
            FinishClosing();
        else
            DeliverEnd();
    }

    private void DeliverEnd()
    {
        if (!_endReceived || _endDelivered || _pauses > 0 || _state != State.Open || !PassesGate)
            return;
        _endDelivered = true;
        _handler.OnEndOfStream(this);
        CloseWhenBothEnded();
    }

    private void CloseWhenBothEnded()
    {
        if (_state == State.Open && _endDelivered && _writeShut)
            Close(Failure.None);
    }

    private void CountReceived(int bytes)
    {
        BytesReceived += bytes;
        LastActivityMs = _shared.Loop.NowMs;
    }

    // ---- writing --------------------------------------------------------------------------------------------

    private void Flush()
    {
        if (_state < State.Open)
            return;
        bool sentAny = false;
        bool empty = OutputIsEmpty && !_transport.HasUnsent;
        while (!empty && !_writeBlocked && !_writeFailed)
        {
            IoResult sent = _shutdownWanted && EndFollows ? RawTransport.WriteLast(_fd, Output) : _transport.Write(_fd, Output);
            if (sent.Bytes > 0)
            {
                sentAny = true;
                CountSent(sent.Bytes);
            }
            if (sent.Status == IoStatus.WouldBlock)
            {
                _writeBlocked = true;
            }
            else if (sent.Status != IoStatus.Ok)
            {
                OnWriteFailed(sent.Error);
                return;
            }
            empty = OutputIsEmpty && !_transport.HasUnsent;
        }

        if (empty && _shutdownWanted && !_writeShut)
        {
            _writeShut = true;
            // A plain socket that is closed right now says FIN by that; TLS has a word of its own to say first.
            if (_state != State.Closing || CloseDelayMs > 0 || _transport != RawTransport.Instance)
                _transport.ShutdownWrite(_fd);
        }
        if (_state == State.Closing)
        {
            if (empty)
                FinishClosing();
            else if (sentAny && CloseDelayMs > 0)
                StartTimer(CloseDelayMs); // the limit is on standing still
            return;
        }
        if (empty && sentAny)
            _handler.OnFlushed(this);
        TellWatermarks();
        if (empty)
            SpliceOut?.Pump();
        if (_writeShut)
            CloseWhenBothEnded();
        // A chain that is lent and empty has nothing to return; its lender takes it back.
        if (OutputIsEmpty && !_outputIsLent)
            ReturnOutput();
    }

    // When the last byte is with the kernel, FIN is next, so both may travel in one segment: half of what is left to do for a connection of one request. Not
    // where a close might find something unread: then the kernel says RST and forgets what it has not sent.
    private bool EndFollows =>
        !_writeShut && _transport == RawTransport.Instance && (_state == State.Open || CloseDelayMs > 0 || _peerIsDone);

    private void TellWatermarks()
    {
        long waiting = _output?.Length ?? 0;
        if (_state == State.Open && (_aboveHigh || waiting > HighWatermark))
            TellWatermarks(waiting);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void TellWatermarks(long waiting)
    {
        if (!_aboveHigh && waiting > HighWatermark)
        {
            _aboveHigh = true;
            _handler.OnAboveHighWatermark(this);
        }
        else if (_aboveHigh && waiting <= LowWatermark)
        {
            _aboveHigh = false;
            _handler.OnBelowLowWatermark(this);
        }
    }

    // Closing, and everything is sent: over at once, or when the peer has closed too (then a FIN was read).
    private void FinishClosing()
    {
        if (_writeShut && (CloseDelayMs == 0 || _endReceived))
            Close(Failure.None);
    }

    // The peer may have answered before it broke the connection (an early error response): read that first.
    private void OnWriteFailed(Errno error)
    {
        LastError = error;
        _writeFailed = true;
        ReturnOutput();
        if (IsUnread)
        {
            CloseBroken(error);
            return;
        }
        _readReady = _hangUpSeen = true;
        RunPendingNextTurn();
    }

    private void CountSent(int bytes)
    {
        if (bytes == 0)
            return;
        BytesSent += bytes;
        LastActivityMs = _shared.Loop.NowMs;
    }

    private void CloseBroken(Errno error)
    {
        LastError = error;
        bool inOrder = _state == State.Closing && _writeShut;
        Close(inOrder ? Failure.None : IsUpstream ? Failure.UpstreamConnectionTermination : Failure.DownstreamDisconnect);
    }

    // ---- for a splice, which reads and writes the descriptor by itself ----------------------------------------

    /// <summary>Reads for us: what arrives goes through the kernel to another connection, past our handler.</summary>
    internal SpliceFlow? SpliceIn
    {
        get => _rarities?.SpliceIn;
        set => Rare.SpliceIn = value;
    }

    /// <summary>Writes to us, whenever <see cref="CanSpliceWrite"/>.</summary>
    internal SpliceFlow? SpliceOut
    {
        get => _rarities?.SpliceOut;
        set => Rare.SpliceOut = value;
    }

    internal bool CanSpliceRead => _readReady && _state == State.Open && _pauses == 0 && !_endReceived && InputIsEmpty;
    internal bool CanSpliceWrite => _state == State.Open && !_writeBlocked && !_writeFailed && !_writeShut && OutputIsEmpty;

    internal void SpliceReceived(int bytes) => CountReceived(bytes);
    internal void SpliceSent(int bytes) => CountSent(bytes);

    /// <summary>The socket is empty: wait for its edge. With the peer's end seen, nothing but the end is left, which a read finds.</summary>
    internal void SpliceDrained() => _readReady = false;

    /// <summary>The socket is full: wait for its edge.</summary>
    internal void SpliceBlocked() => _writeBlocked = true;

    internal void SpliceReadFailed(Errno error) => CloseBroken(error);
    internal void SpliceWriteFailed(Errno error) => OnWriteFailed(error);

    /// <summary>More can be read, in the next turn.</summary>
    internal void SpliceContinue() => RunPendingNextTurn();

    /// <summary>Handler of a connection nobody uses.</summary>
    private sealed class Nobody : ConnectionHandler
    {
        internal static readonly Nobody Instance = new();

        internal override int OnData(Connection connection, ReadOnlySpan<byte> data) => data.Length;

        internal override void OnEndOfStream(Connection connection) => connection.Close(Failure.None);

        internal override void OnClosed(Connection connection, Failure reason)
        {
        }
    }
}
