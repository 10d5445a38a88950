using System;
using System.Diagnostics;
using Sidecar.Linux;
using Sidecar.Loop;
using Sidecar.Memory;
using Sidecar.Telemetry;

namespace Sidecar.Net;

/// <summary>Who started a <see cref="Relay"/>.</summary>
internal interface IRelayHandler
{
    /// <summary>
    /// Both connections are closed. <paramref name="reason"/> is why the first one was (<see cref="Failure.None"/>: both
    /// sides ended in order); <see cref="Relay.FirstClosedWasA"/> says which. The relay is recycled after this turn.
    /// </summary>
    void OnRelayClosed(Relay relay, Failure reason);
}

/// <summary>
/// Carries bytes both ways between two open connections, with half-close and backpressure, until both are closed.
/// Each direction starts by copying through the loop's scratch, which is cheapest for small exchanges, and moves to
/// splice(2) while it reads large pieces over raw transports; a direction that falls silent holds no pipe.
/// </summary>
/// <remarks>
/// Worker-owned, pooled per loop. Takes over as handler of both connections: what they have buffered is sent first, an
/// end already received is passed on. Pauses made by others stay theirs to undo.
/// </remarks>
internal sealed class Relay : ConnectionHandler, IReleasable
{
    private static readonly LoopLocal<Pool<Relay>> s_pool = new(static loop => new Pool<Relay>(() => new Relay(loop)));

    private readonly EventLoop _loop;
    private readonly SpliceFlow _aToB;
    private readonly SpliceFlow _bToA;
    private Connection? _a;
    private Connection? _b;
    private IRelayHandler? _handler;
    private Failure _reason;
    private bool _anyClosed;
    private long _lastActivityMs;

    private Relay(EventLoop loop)
    {
        _loop = loop;
        _aToB = new SpliceFlow(loop);
        _bToA = new SpliceFlow(loop);
    }

    /// <summary>Bytes read from A and from B since they were opened; kept after they closed.</summary>
    internal long BytesFromA { get; private set; }
    internal long BytesFromB { get; private set; }

    /// <summary>Bytes written to A and to B since they were opened; kept after they closed.</summary>
    internal long BytesToA { get; private set; }
    internal long BytesToB { get; private set; }

    /// <summary>Meaningful once one side has closed.</summary>
    internal bool FirstClosedWasA { get; private set; }

    /// <summary>When bytes last moved in any direction (<see cref="EventLoop.NowMs"/>): check it from a lazy idle timer.</summary>
    internal long LastActivityMs => Math.Max(_lastActivityMs, Math.Max(_a?.LastActivityMs ?? 0, _b?.LastActivityMs ?? 0));

    /// <summary>Joins two connections of one loop.</summary>
    /// <param name="allowSplice">False keeps to copying, e.g. for a measurement.</param>
    internal static Relay Start(Connection a, Connection b, IRelayHandler handler, bool allowSplice = true)
    {
        Debug.Assert(a.Loop == b.Loop);
        Relay relay = s_pool[a.Loop].Rent();
        relay._a = a;
        relay._b = b;
        relay._handler = handler;
        relay._reason = Failure.None;
        relay._anyClosed = relay.FirstClosedWasA = false;
        relay._lastActivityMs = a.Loop.NowMs;
        relay.BytesFromA = relay.BytesFromB = relay.BytesToA = relay.BytesToB = 0;
        relay._aToB.Join(a, b, allowSplice);
        relay._bToA.Join(b, a, allowSplice);
        a.Handler = relay;
        b.Handler = relay;
        if (a.IsAboveHighWatermark)
            b.PauseReading();
        if (b.IsAboveHighWatermark)
            a.PauseReading();
        return relay;
    }

    /// <summary>Closes both sides now.</summary>
    internal void Close(Failure reason)
    {
        if (!_anyClosed)
            (_reason, _anyClosed) = (reason, true);
        // A's end may already end B.
        _a?.Close(reason);
        _b?.Close(reason);
    }

    internal override int OnData(Connection connection, ReadOnlySpan<byte> data)
    {
        // The survivor of a closed pair, which still gets what is held for it: its own bytes have nobody left.
        if (Other(connection) is null)
            return data.Length;
        SpliceFlow flow = FlowFrom(connection);
        flow.Sink.WriteThrough(data);
        if (data.Length >= SpliceFlow.EnterBytes)
            flow.TryEnter();
        return data.Length;
    }

    internal override void OnEndOfStream(Connection connection) => Other(connection)?.ShutdownWrite();

    internal override void OnAboveHighWatermark(Connection connection) => Other(connection)?.PauseReading();

    internal override void OnBelowLowWatermark(Connection connection) => Other(connection)?.ResumeReading();

    internal override void OnClosed(Connection connection, Failure reason)
    {
        if (!_anyClosed)
        {
            _anyClosed = true;
            _reason = reason;
            FirstClosedWasA = connection == _a;
        }
        _lastActivityMs = LastActivityMs;
        if (connection.IsAboveHighWatermark)
            Other(connection)?.ResumeReading();
        if (connection == _a)
        {
            (BytesFromA, BytesToA) = (connection.BytesReceived, connection.BytesSent);
            _a = null;
            _bToA.Abort();
            PassOn(_b, _aToB);
        }
        else
        {
            (BytesFromB, BytesToB) = (connection.BytesReceived, connection.BytesSent);
            _b = null;
            _aToB.Abort();
            PassOn(_a, _bToA);
        }
        if (_a is not null || _b is not null || _handler is null)
            return;
        IRelayHandler handler = _handler;
        _handler = null;
        _loop.Release(this);
        handler.OnRelayClosed(this, _reason);
    }

    public void OnRelease()
    {
        _aToB.Abort();
        _bToA.Abort();
        s_pool[_loop].Return(this);
    }

    // What the closed side had sent still reaches the other one before it closes. That one is read meanwhile, for nobody: a peer that writes before it
    // reads on would never come to take its bytes otherwise.
    private static void PassOn(Connection? survivor, SpliceFlow flow)
    {
        flow.SourceClosed();
        if (survivor is null)
            return;
        if (flow.HeldBytes == 0)
        {
            survivor.CloseAfterFlush();
            return;
        }
        flow.CloseSinkWhenDrained();
        survivor.SpliceContinue(); // its own splice left what came last unread
    }

    private SpliceFlow FlowFrom(Connection connection) => connection == _a ? _aToB : _bToA;

    private Connection? Other(Connection connection) => connection == _a ? _b : _a;
}

/// <summary>
/// One direction of a <see cref="Relay"/>: socket → pipe → socket, without the bytes entering user space. Owned by its relay.
/// </summary>
internal sealed class SpliceFlow(EventLoop loop)
{
    /// <summary>A read of this size says that bulk is coming: worth a pipe and the extra calls. Tiny in DEBUG, so that tests go this way.</summary>
#if DEBUG
    internal const int EnterBytes = 1500;
    private const int LeaveBytes = 700;
#else
    internal const int EnterBytes = 32 * 1024;

    /// <summary>A wake-up that moved less than this would have been cheaper as a copy.</summary>
    private const int LeaveBytes = 16 * 1024;
#endif

    /// <summary>Bytes moved in one go before the others get their turn.</summary>
    private const int BytesPerTurn = 4 * 1024 * 1024;

    /// <summary>1 MiB measured best; an unprivileged process may be granted less, which works too.</summary>
    private const int PipeBytes = 1024 * 1024;

    private static readonly LoopLocal<PipePool> s_pipes = new(static _ => new PipePool());

    private Connection? _source;
    private Connection? _sink;
    private Pipe _pipe;
    private bool _hasPipe;
    private bool _allowed;
    private bool _closeSink;
    private bool _pumping;

    /// <summary>Where the bytes go.</summary>
    internal Connection Sink => _sink!;

    /// <summary>Bytes in the pipe: taken from the source, not yet given to the sink.</summary>
    internal int HeldBytes { get; private set; }

    internal void Join(Connection source, Connection sink, bool allowed)
    {
        Debug.Assert(!_hasPipe);
        _source = source;
        _sink = sink;
        _closeSink = _pumping = false;
        _allowed = allowed && source.Transport.CanSplice && sink.Transport.CanSplice;
    }

    /// <summary>From now on the kernel moves the bytes, if it can.</summary>
    internal void TryEnter()
    {
        // A gate wants to know of all that comes.
        if (!_allowed || _source!.Gate is not null || _source.SpliceIn is not null || _source.IsClosing || _sink!.IsClosing)
            return;
        _source.SpliceIn = this;
        _sink.SpliceOut = this;
    }

    /// <summary>The source has closed, and will be another connection soon.</summary>
    internal void SourceClosed()
    {
        if (_source?.SpliceIn == this)
            _source.SpliceIn = null;
        _source = null;
    }

    /// <summary>The source has closed; the sink closes when it has got what is in the pipe.</summary>
    internal void CloseSinkWhenDrained() => _closeSink = true;

    /// <summary>The sink is gone: what is in the pipe has no receiver.</summary>
    internal void Abort()
    {
        if (_hasPipe)
        {
            _hasPipe = false;
            s_pipes[loop].Return(_pipe, clean: HeldBytes == 0);
        }
        HeldBytes = 0;
        Leave();
        _source = _sink = null;
    }

    /// <summary>Moves what can be moved: the source became readable, or the sink writable.</summary>
    internal void Pump()
    {
        if (_pumping || _sink is null)
            return;
        _pumping = true;
        long moved = MoveBytes();
        _pumping = false;
        if (_sink is null || HeldBytes > 0)
            return;

        // Nothing is held: an idle flow keeps no pipe, and a trickle goes back to copying.
        if (_hasPipe)
        {
            _hasPipe = false;
            s_pipes[loop].Return(_pipe, clean: true);
        }
        if (_closeSink)
            _sink.CloseAfterFlush();
        else if (moved < LeaveBytes && moved > 0 || !_allowed)
            Leave();
        if (_source is { SpliceIn: null, CanSpliceRead: true })
            _source.SpliceContinue();
    }

    private long MoveBytes()
    {
        long moved = 0;
        while (true)
        {
            while (HeldBytes > 0)
            {
                if (!_sink!.CanSpliceWrite)
                    return moved;
                SysResult sent = _pipe.DrainTo(_sink.Fd, HeldBytes);
                if (!sent.Ok)
                {
                    if (sent.WouldBlock)
                        _sink.SpliceBlocked();
                    else if (sent.Error != Errno.EINTR)
                        _sink.SpliceWriteFailed(sent.Error);
                    if (sent.Error == Errno.EINTR)
                        continue;
                    return moved;
                }
                HeldBytes -= (int)sent.Value;
                _sink.SpliceSent((int)sent.Value);
                moved += sent.Value;
            }

            if (_source is not { CanSpliceRead: true } source || !_sink!.CanSpliceWrite)
                return moved;
            if (moved >= BytesPerTurn)
            {
                source.SpliceContinue();
                return moved;
            }
            if (!_hasPipe && !TakePipe())
            {
                source.SpliceContinue();
                return moved;
            }
            SysResult got = _pipe.FillFrom(source.Fd, _pipe.Capacity);
            if (got.Ok && got.Value > 0)
            {
                HeldBytes = (int)got.Value;
                source.SpliceReceived((int)got.Value);
                continue;
            }
            if (got.Ok)
                source.ReceiveEnd();
            else if (got.WouldBlock)
                source.SpliceDrained();
            else if (got.Error == Errno.EINVAL)
                (_allowed, moved) = Refuse(source, moved);
            else if (got.Error != Errno.EINTR)
                source.SpliceReadFailed(got.Error);
            return moved;
        }
    }

    // This kind of socket cannot be spliced: copy from now on.
    private static (bool Allowed, long Moved) Refuse(Connection source, long moved)
    {
        source.SpliceContinue();
        return (false, moved);
    }

    private bool TakePipe()
    {
        _hasPipe = s_pipes[loop].TryRent(PipeBytes, out _pipe);
        _allowed &= _hasPipe;
        return _hasPipe;
    }

    private void Leave()
    {
        if (_source?.SpliceIn == this)
            _source.SpliceIn = null;
        if (_sink?.SpliceOut == this)
            _sink.SpliceOut = null;
    }

    /// <summary>Empty pipes of one loop, kept for the next bulk flow. Worker-owned.</summary>
    private sealed class PipePool
    {
        /// <summary>Pipes kept; each is two descriptors and, once used, up to 1 MiB of kernel memory while bytes are in it.</summary>
        private const int PipesMax = 16;

        private readonly Pipe[] _pipes = new Pipe[PipesMax];
        private int _count;

        internal bool TryRent(int bytes, out Pipe pipe)
        {
            if (_count == 0)
                return Pipe.Open(bytes, out pipe).Ok;
            pipe = _pipes[--_count];
            return true;
        }

        internal void Return(Pipe pipe, bool clean)
        {
            if (clean && _count < PipesMax)
                _pipes[_count++] = pipe;
            else
                pipe.Close();
        }
    }
}
