using System;
using System.Collections.Generic;

namespace Sidecar.Memory;

/// <summary>Objects of one kind kept for reuse by one worker; at most <c>max</c> are kept, the rest is left to the collector.</summary>
/// <remarks>Worker-owned, no locks. Who returns an object has reset it.</remarks>
internal sealed class Pool<T>(Func<T> create, int max = 1024) where T : class
{
    private readonly Stack<T> _free = new();

    internal int FreeCount => _free.Count;

    internal T Rent() => _free.TryPop(out var item) ? item : create();

    internal void Return(T item)
    {
        if (_free.Count < max)
            _free.Push(item);
    }
}
