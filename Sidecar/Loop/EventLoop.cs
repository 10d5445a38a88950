using System;
using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Threading;
using Sidecar.Linux;
using Sidecar.Memory;
using Sidecar.Telemetry;

namespace Sidecar.Loop;

/// <summary>
/// One thread, one epoll. A turn is, in this order:
/// <code>
///   wait      until a descriptor is ready, a message was posted, or a timer is due
///   events    readiness to handlers            at most EventsPerTurn
///   pending   RunNextTurn                      only what was queued when the phase began
///   mailbox   messages of other threads        at most MessagesPerTurn
///   timers    what is due                      at most TimersPerTurn
///   flush     RunAtTurnEnd                     at most FlushRounds rounds of what the round before queued
///   release   objects that ended in this turn
/// </code>
/// Behind each event, message and piece of work, and behind the timers, comes what need not wait for the turn's end, RunAfterEvent and RecycleAfterEvent: with
/// a thousand requests in a turn, buffers and objects of one serve the next while the processor's caches still have them.
/// Every phase is bounded, so one connection, timer or sender in an endless mood costs the others a share, not the worker:
/// what is left over makes the next wait return at once.
/// </summary>
/// <remarks>
/// Created anywhere, then owned by the thread that calls <see cref="Run"/> (or, in tests, <see cref="Turn"/>). Only
/// <see cref="Post(LoopMessage)"/>, <see cref="Post(Action)"/>, <see cref="RequestStop"/>, <see cref="LoopFaults"/> and
/// <see cref="TakeLongestTurnUs"/> may be used by other threads.
/// </remarks>
internal sealed class EventLoop : IDisposable
{
    /// <summary>Events fetched by one wait. 16 instead of 256 made no measurable difference; enough that a busy worker amortises the call.</summary>
    private const int EventsPerTurn = 256;

    /// <summary>A flood of messages must not starve connections; the rest waits for the next turn.</summary>
    private const int MessagesPerTurn = 1024;

    /// <summary>Ten thousand idle timeouts at the same instant are spread over turns.</summary>
    private const int TimersPerTurn = 1024;

    /// <summary>A flush may queue another (a relay's other side); code that queues itself for ever gets this many rounds.</summary>
    private const int FlushRounds = 8;

    /// <summary>
    /// One receive buffer for the whole loop: a connection that reads borrows it for the length of one call. Bulk relays
    /// measured best with 256 KiB and more. Small in DEBUG so that short reads and leftovers happen all the time.
    /// </summary>
#if DEBUG
    private const int ScratchBytes = 1500;
#else
    private const int ScratchBytes = 256 * 1024;
#endif

    /// <summary>How long blocks that a burst needed stay at hand, at least. A quiet loop wakes for its timers anyway, so none is armed for this.</summary>
    private const long SlabTrimMs = 5_000;

    private const ulong BellToken = ulong.MaxValue;

    private readonly LoopClock _clock;
    private readonly Epoll _epoll;
    private readonly EventFd _bell;
    private readonly Mailbox _mailbox = new();
    private readonly TimerWheel _timers;
    private readonly WorkQueue _nextTurn = new(WorkQueueId.NextTurn);
    private readonly WorkQueue _turnEnd = new(WorkQueueId.TurnEnd);
    private readonly WorkQueue _afterEvent = new(WorkQueueId.AfterEvent);
    private readonly DeferredRelease _released = new();
    private readonly DeferredRelease _recycled = new();

    /// <summary>Slots come in blocks that are never copied: the table of ten thousand connections has neither slack nor outgrown copies of itself.</summary>
    private const int SlotsPerBlock = 256;

    private const int NoSlot = -1;

    /// <summary>A timer further away is armed for this long, so that no time overflows.</summary>
    private const ulong DelayMsMax = long.MaxValue / 4;

    /// <summary>Who has a descriptor of this loop, and how many had the place before.</summary>
    private struct Slot
    {
        internal LoopHandler? Handler;
        internal uint Generation;
        internal int NextFree;
    }

    private Slot[][] _slots = new Slot[4][];
    private int _slotCount;
    private int _firstFreeSlot = NoSlot;

    private object?[] _locals = new object?[8];
    private int _threadId = Environment.CurrentManagedThreadId;
    private long _nowMs;
    private long _unixMs;
    private long _longestTurnUs;
    private long _faults;
    private long _nextTrimMs;
    private volatile bool _stopRequested;

    /// <exception cref="InvalidOperationException">The kernel gives no epoll or eventfd: out of descriptors or memory at start.</exception>
    public EventLoop(string name, LoopClock clock, Slab? slab = null)
    {
        SysResult.Prepare();
        Name = name;
        Slab = slab ?? new Slab();
        _clock = clock;
        SysResult made = Epoll.Create(EventsPerTurn, out Epoll? epoll);
        _epoll = epoll ?? throw new InvalidOperationException($"loop {name}: epoll_create1: {made}");
        made = EventFd.Create(out EventFd? bell);
        _bell = bell ?? throw new InvalidOperationException($"loop {name}: eventfd: {made}");
        _epoll.Add(_bell.Fd, EpollEvents.In | EpollEvents.EdgeTriggered, BellToken);
        ReadClock();
        _timers = new TimerWheel(_nowMs);
    }

    /// <summary>For logs and thread names.</summary>
    public string Name { get; }

    /// <summary>This loop's blocks: what its connections send from and keep leftovers in.</summary>
    public Slab Slab { get; }

    /// <summary>What the thread that runs this loop keeps in memory.</summary>
    public ThreadMemory Memory { get; private set; } = ThreadMemory.Current;

    /// <summary>Pinned receive buffer, borrowed for one call at a time; nothing in it survives a callback.</summary>
    public byte[] Scratch { get; } = GC.AllocateUninitializedArray<byte>(ScratchBytes, pinned: true);

    /// <summary>The calling thread is this loop's.</summary>
    public bool IsCurrent => _threadId == Environment.CurrentManagedThreadId;

    /// <summary>Monotonic milliseconds, read once per turn.</summary>
    public long NowMs => _nowMs;

    /// <summary>Monotonic nanoseconds, read now; for measurements finer than a turn.</summary>
    public long NowNs => _clock.MonotonicNs;

    /// <summary>Milliseconds since 1970, UTC, read once per turn.</summary>
    public long UnixMs => _unixMs;

    /// <summary>Exceptions that left a handler; each closed its connection and nothing else. Any thread.</summary>
    public long LoopFaults => Volatile.Read(ref _faults);

    /// <summary>Told of the first exception that leaves a handler on this loop, with its stack; the others are only counted.</summary>
    public Action<EventLoop, Exception> FirstFault { get; set; } =
        static (loop, exception) => Log.Critical("loop", $"{loop.Name}: fault: {exception}");

    /// <summary>Registered descriptors, the loop's own bell not counted.</summary>
    public int HandlerCount { get; private set; }

    /// <summary>Armed timers.</summary>
    public int TimerCount => _timers.Count;

    /// <summary>Something waits that needs no event: the next turn will not sleep.</summary>
    public bool HasPending => !_nextTurn.IsEmpty || !_turnEnd.IsEmpty || !_afterEvent.IsEmpty || !_mailbox.IsEmpty || _timers.HasOverdue || !_released.IsEmpty;

    // ---- descriptors ----------------------------------------------------------------------------------------

    /// <summary>
    /// Adds a descriptor for good: normally <see cref="EpollEvents.Connection"/>, once, never changed, edges only.
    /// </summary>
    public SysResult Register(int fd, LoopHandler handler, EpollEvents events)
    {
        Debug.Assert(IsCurrent, "a loop is used by its own thread");
        Debug.Assert(!handler.IsRegistered, "a handler has one descriptor");
        int number = _firstFreeSlot != NoSlot ? _firstFreeSlot : NewSlot();
        ref Slot slot = ref SlotAt(number);
        SysResult added = _epoll.Add(fd, events, (ulong)slot.Generation << 32 | (uint)number);
        if (!added.Ok)
            return added;
        _firstFreeSlot = slot.NextFree;
        slot.Handler = handler;
        handler.Slot = number;
        HandlerCount++;
        return added;
    }

    /// <summary>
    /// Forgets a handler; events already fetched for it find nobody. With <paramref name="closing"/> the descriptor is
    /// about to be closed, which removes it from epoll without a call of its own.
    /// </summary>
    public void Unregister(int fd, LoopHandler handler, bool closing = false)
    {
        Debug.Assert(IsCurrent, "a loop is used by its own thread");
        int number = handler.Slot;
        if (number < 0)
            return;
        ref Slot slot = ref SlotAt(number);
        Debug.Assert(slot.Handler == handler, "a handler of another loop");
        if (!closing)
            _epoll.Remove(fd);
        handler.Slot = -1;
        slot.Handler = null;
        slot.Generation++;
        slot.NextFree = _firstFreeSlot;
        _firstFreeSlot = number;
        HandlerCount--;
    }

    // ---- time and work --------------------------------------------------------------------------------------

    /// <summary>Arms a timer, or moves it: to a later time for the price of a store.</summary>
    public void Schedule(LoopTimer timer, long delayMs)
    {
        Debug.Assert(IsCurrent, "a loop is used by its own thread");
        long deadlineMs = _nowMs + ((ulong)delayMs <= DelayMsMax ? delayMs : Math.Clamp(delayMs, 0, (long)DelayMsMax));
        // An idle timeout is restarted by every part of a message, several times in one turn.
        if (!_timers.TryPostpone(timer, deadlineMs))
            _timers.Schedule(timer, deadlineMs);
    }

    /// <summary>Disarms a timer; nothing happens when it is not armed.</summary>
    public void Cancel(LoopTimer timer) => _timers.Cancel(timer);

    /// <summary>
    /// As <see cref="Cancel(LoopTimer)"/>, for a timer that is soon armed again: it stays where it is filed, and arming it for no earlier a time costs a store.
    /// </summary>
    public void Disarm(LoopTimer timer) => _timers.Disarm(timer);

    /// <summary>Forgets timers that <see cref="Disarm"/> left filed. The loop's thread only; walks all of them.</summary>
    public void DropDisarmedTimers() => _timers.DropDisarmed();

    /// <summary>Calls back in this turn's flush phase: for writes, which are queued until then and sent once. Queued already: nothing happens.</summary>
    public void RunAtTurnEnd(LoopWork work)
    {
        Debug.Assert(IsCurrent, "a loop is used by its own thread");
        if (!work.IsQueued)
            _turnEnd.Add(work);
    }

    /// <summary>
    /// Calls back when the event under way has been dealt with and nothing of it is on the stack any more: for writes that no other event of this turn adds to.
    /// Queued already: nothing happens.
    /// </summary>
    public void RunAfterEvent(LoopWork work)
    {
        Debug.Assert(IsCurrent, "a loop is used by its own thread");
        if (!work.IsQueued)
            _afterEvent.Add(work);
    }

    /// <summary>
    /// Calls back when every ready descriptor has had its turn: for work that would starve the others if it went on now. Asked for
    /// by an event, that is the pending phase of this turn; asked for later, that of the next. Queued already: nothing happens.
    /// </summary>
    public void RunNextTurn(LoopWork work)
    {
        Debug.Assert(IsCurrent, "a loop is used by its own thread");
        if (!work.IsQueued)
            _nextTurn.Add(work);
    }

    /// <summary>Takes a ticket back; nothing happens when it is not queued.</summary>
    public void Cancel(LoopWork work)
    {
        if (work.IsQueued)
            QueueOf(work).Remove(work);
    }

    private WorkQueue QueueOf(LoopWork work) => work.Queue switch
    {
        WorkQueueId.TurnEnd => _turnEnd,
        WorkQueueId.AfterEvent => _afterEvent,
        _ => _nextTurn,
    };

    /// <summary>Hands over an object that ended, to be recycled when this turn is over.</summary>
    public void Release(IReleasable item) => _released.Add(item);

    /// <summary>As <see cref="Release"/>, for an object that no other event of this turn can name: recycled as soon as nothing of the present event is on the stack.</summary>
    public void RecycleAfterEvent(IReleasable item) => _recycled.Add(item);

    /// <summary>Gives the loop a message. Any thread.</summary>
    public void Post(LoopMessage message)
    {
        if (_mailbox.Post(message) && !IsCurrent)
            _bell.Ring();
    }

    /// <summary>Runs <paramref name="action"/> on the loop's thread. Any thread; control side, since it allocates.</summary>
    public void Post(Action action) => Post(new ActionMessage(action));

    /// <summary>This loop's object in cell <paramref name="index"/>; see <see cref="LoopLocal{T}"/>.</summary>
    internal ref object? Local(int index)
    {
        Debug.Assert(IsCurrent, "a loop is used by its own thread");
        if (index >= _locals.Length)
            Array.Resize(ref _locals, Math.Max(index + 1, _locals.Length * 2));
        return ref _locals[index];
    }

    // ---- running --------------------------------------------------------------------------------------------

    /// <summary>Takes the calling thread for this loop and turns until <see cref="RequestStop"/>.</summary>
    public void Run()
    {
        _threadId = Environment.CurrentManagedThreadId;
        Memory = ThreadMemory.Current;
        while (!_stopRequested)
            Turn(long.MaxValue);
    }

    /// <summary>Makes <see cref="Run"/> return after the current turn. Any thread.</summary>
    public void RequestStop()
    {
        _stopRequested = true;
        _bell.Ring();
    }

    /// <summary>The longest turn since the last call, in microseconds, waiting not counted: how long a connection may have stood still. Any thread.</summary>
    public long TakeLongestTurnUs() => Interlocked.Exchange(ref _longestTurnUs, 0);

    /// <summary>One turn, sleeping at most <paramref name="waitMsMax"/>.</summary>
    public void Turn(long waitMsMax)
    {
        Debug.Assert(IsCurrent, "a loop is used by its own thread");
        SysResult ready = _epoll.Wait(WaitMs(waitMsMax));
        long startNs = ReadClock();

        for (int i = 0; ready.Ok && i < (int)ready.Value; i++)
        {
            Dispatch(_epoll.Token(i), _epoll.Events(i));
            AfterEvent();
        }

        for (int queued = _nextTurn.Count; queued > 0 && _nextTurn.Take() is { } work; queued--)
        {
            CallWork(work);
            AfterEvent();
        }

        for (int i = 0; i < MessagesPerTurn && _mailbox.Take() is { } message; i++)
        {
            CallMessage(message);
            AfterEvent();
        }

        _timers.Advance(_nowMs, TimersPerTurn, this);
        AfterEvent();

        for (int round = 0; round < FlushRounds && !_turnEnd.IsEmpty; round++)
        {
            for (int queued = _turnEnd.Count; queued > 0 && _turnEnd.Take() is { } work; queued--)
            {
                CallWork(work);
                AfterEvent();
            }
        }

        while (_released.Take() is { } item)
            CallRelease(item);

        if (_nowMs >= _nextTrimMs)
        {
            _nextTrimMs = _nowMs + SlabTrimMs;
            Slab.Trim();
        }

        long turnUs = (ReadClock() - startNs) / 1000;
        if (turnUs > Volatile.Read(ref _longestTurnUs))
            Volatile.Write(ref _longestTurnUs, turnUs);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void AfterEvent()
    {
        if (!_afterEvent.IsEmpty || !_recycled.IsEmpty)
            EndEvent();
    }

    // Work first: it may be about what ended, and end more. Bounded as the flush is; what is left over comes behind the next event.
    private void EndEvent()
    {
        for (int round = 0; round < FlushRounds && !_afterEvent.IsEmpty; round++)
        {
            for (int queued = _afterEvent.Count; queued > 0 && _afterEvent.Take() is { } work; queued--)
                CallWork(work);
        }
        while (_recycled.Take() is { } item)
            CallRelease(item);
    }

    /// <summary>Closes the loop's own descriptors. Handlers still registered are their owners' to close.</summary>
    public void Dispose()
    {
        _epoll.Dispose();
        _bell.Dispose();
    }

    private int WaitMs(long waitMsMax)
    {
        if (HasPending || waitMsMax <= 0)
            return 0;
        long next = _timers.NextMs();
        long wait = next == long.MaxValue ? waitMsMax : Math.Min(waitMsMax, Math.Max(0, next - _nowMs));
        return wait > int.MaxValue ? -1 : (int)wait;
    }

    private long ReadClock()
    {
        long ns = _clock.MonotonicNs;
        _nowMs = ns / 1_000_000;
        _unixMs = _clock.UnixMs;
        return ns;
    }

    private ref Slot SlotAt(int number) => ref _slots[number / SlotsPerBlock][number % SlotsPerBlock];

    // Makes one slot, free and the first of the free ones.
    private int NewSlot()
    {
        int block = _slotCount / SlotsPerBlock;
        if (block == _slots.Length)
            Array.Resize(ref _slots, block * 2);
        _slots[block] ??= new Slot[SlotsPerBlock];
        SlotAt(_slotCount).NextFree = NoSlot;
        _firstFreeSlot = _slotCount;
        return _slotCount++;
    }

    // ---- the guard: an exception out of a callback ends its connection, never the worker ---------------------

    private void Dispatch(ulong token, EpollEvents events)
    {
        if (token == BellToken)
            return; // only there to end the wait
        ref Slot slot = ref SlotAt((int)(uint)token);
        LoopHandler? handler = slot.Generation == (uint)(token >> 32) ? slot.Handler : null;
        if (handler is null)
            return; // closed earlier in this turn
        try
        {
            handler.OnReady(events);
        }
        catch (Exception exception)
        {
            Fault(handler, exception);
        }
    }

    /// <summary>For the wheel: fires one timer under the guard.</summary>
    internal void CallTimer(LoopTimer timer)
    {
        try
        {
            timer.Owner.OnTimer(timer);
        }
        catch (Exception exception)
        {
            Fault(timer.Owner, exception);
        }
    }

    private void CallWork(LoopWork work)
    {
        try
        {
            work.Owner.OnWork(work);
        }
        catch (Exception exception)
        {
            Fault(work.Owner, exception);
        }
    }

    private void CallMessage(LoopMessage message)
    {
        try
        {
            message.Deliver(this);
        }
        catch (Exception exception)
        {
            Fault(message, exception);
        }
    }

    private void CallRelease(IReleasable item)
    {
        try
        {
            item.OnRelease();
        }
        catch (Exception exception)
        {
            Fault(null, exception);
        }
    }

    /// <summary>For a guard closer to the trouble than the loop's own: counts an exception that was caught there, and has the first one logged.</summary>
    public void ReportFault(Exception exception)
    {
        if (++_faults != 1)
            return;
        try
        {
            FirstFault(this, exception);
        }
        catch (Exception)
        {
            // Out of memory, there is none for the words either: the count has to tell.
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void Fault(object? owner, Exception exception)
    {
        ReportFault(exception);
        try
        {
            (owner as IFaultable)?.OnFault();
        }
        catch (Exception)
        {
            _faults++; // its end is broken too: it leaks, the worker lives
        }
    }

    private sealed class ActionMessage(Action action) : LoopMessage
    {
        public override void Deliver(EventLoop loop) => action();
    }
}
