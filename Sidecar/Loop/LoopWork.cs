using Sidecar.Memory;

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

/// <summary>Something that may be named by events of the current turn, and so is recycled only after it.</summary>
internal interface IReleasable
{
    /// <summary>End of the turn: nothing in the loop refers to you any more.</summary>
    void OnRelease();
}

/// <summary>
/// A ticket for <see cref="EventLoop.RunAtTurnEnd"/> or <see cref="EventLoop.RunNextTurn"/>: made once by its owner,
/// queued any number of times without allocating, in one queue at a time. <c>kind</c> tells an owner's tickets apart.
/// </summary>
/// <remarks>Worker-owned.</remarks>
internal sealed class LoopWork(IWorkOwner owner, int kind = 0) : IntrusiveNode<LoopWork>
{
    public readonly IWorkOwner Owner = owner;
    public readonly int Kind = kind;

    /// <summary>Waiting for its moment.</summary>
    public bool IsQueued => List is not null;
}
