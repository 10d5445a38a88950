using System;
using System.Threading;

namespace Sidecar.Loop;

/// <summary>
/// One object per loop of a kind the loop knows nothing about (a pool of connections, of pipes): made at first use on
/// that loop, then an array read. Declare it as a static of whoever owns the kind.
/// </summary>
internal sealed class LoopLocal<T>(Func<EventLoop, T> create) where T : class
{
    private readonly int _index = LoopLocalIndex.Next();

    /// <summary>This loop's own. The loop's thread only.</summary>
    public T this[EventLoop loop]
    {
        get
        {
            ref object? cell = ref loop.Local(_index);
            cell ??= create(loop);
            return (T)cell;
        }
    }
}

/// <summary>Hands out the cells of <see cref="EventLoop.Local"/>.</summary>
internal static class LoopLocalIndex
{
    private static int s_last = -1;

    internal static int Next() => Interlocked.Increment(ref s_last);
}
