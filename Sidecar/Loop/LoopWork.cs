using System.Diagnostics;

namespace Sidecar.Loop;

/// <summary>Whoever wants to be called back later in the turn, or in the next one.</summary>
internal interface IWorkOwner
{
    /// <summary>The moment has come. <paramref name="work"/> is queued no more and may be queued again.</summary>
    void OnWork(LoopWork work);
}

/// <summary>
/// Something whose single broken call must not end the worker: after an exception out of one of its callbacks it is told
/// to end itself (a connection closes).
/// </summary>
internal interface IFaultable
{
    /// <summary>An exception left one of your callbacks: your state is unknown. End yourself without using it more than you must.</summary>
    void OnFault();
}

/// <summary>Something that may be named by frames of the current event, or by events of the current turn, and so is recycled only after it.</summary>
internal interface IReleasable
{
    /// <summary>End of the turn, or of the event: nothing in the loop refers to you any more.</summary>
    void OnRelease();
}

/// <summary>
/// A ticket for <see cref="EventLoop.RunAfterEvent"/>, <see cref="EventLoop.RunAtTurnEnd"/> or <see cref="EventLoop.RunNextTurn"/>: made once by its owner,
/// queued any number of times without allocating, in one queue at a time. <c>kind</c> tells an owner's tickets apart.
/// </summary>
/// <remarks>Worker-owned.</remarks>
internal sealed class LoopWork(IWorkOwner owner, int kind = 0)
{
    public readonly IWorkOwner Owner = owner;
    public readonly int Kind = kind;

    // Place in the queue it waits in.
    internal uint Place;
    internal WorkQueueId Queue;

    /// <summary>Waiting for its moment.</summary>
    public bool IsQueued => Queue != WorkQueueId.None;
}

/// <summary>Which of the loop's queues a ticket waits in.</summary>
internal enum WorkQueueId : byte { None, NextTurn, TurnEnd, AfterEvent }

/// <summary>Tickets in the order they were queued. A ring and not a linked list: every request passes several times, and a link is a store the collector wants to know of.</summary>
/// <remarks>Worker-owned.</remarks>
internal sealed class WorkQueue(WorkQueueId id)
{
    // A power of two. Places are counted on for ever and wrap; a ticket taken back leaves null.
    private LoopWork?[] _ring = new LoopWork?[64];
    private uint _first;
    private uint _end;

    /// <summary>Tickets that wait.</summary>
    public int Count { get; private set; }

    public bool IsEmpty => Count == 0;

    public void Add(LoopWork work)
    {
        Debug.Assert(!work.IsQueued);
        if (_end - _first == (uint)_ring.Length)
            Grow();
        work.Place = _end;
        work.Queue = id;
        _ring[_end++ & (uint)(_ring.Length - 1)] = work;
        Count++;
    }

    /// <summary>The oldest, taken out, or null.</summary>
    public LoopWork? Take()
    {
        while (_first != _end)
        {
            ref LoopWork? place = ref _ring[_first++ & (uint)(_ring.Length - 1)];
            if (place is not { } work)
                continue;
            place = null;
            work.Queue = WorkQueueId.None;
            Count--;
            return work;
        }
        return null;
    }

    public void Remove(LoopWork work)
    {
        Debug.Assert(work.Queue == id);
        _ring[work.Place & (uint)(_ring.Length - 1)] = null;
        work.Queue = WorkQueueId.None;
        Count--;
    }

    private void Grow()
    {
        var larger = new LoopWork?[_ring.Length * 2];
        for (uint place = _first; place != _end; place++)
            larger[place & (uint)(larger.Length - 1)] = _ring[place & (uint)(_ring.Length - 1)];
        _ring = larger;
    }
}
