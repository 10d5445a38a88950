using System;

namespace Sidecar.Loop;

/// <summary>Objects that ended in this turn, kept apart until no event of the turn, or no frame of the event, can name them.</summary>
/// <remarks>Worker-owned.</remarks>
internal sealed class DeferredRelease
{
    private IReleasable?[] _items = new IReleasable?[64];
    private int _count;

    public bool IsEmpty => _count == 0;

    public void Add(IReleasable item)
    {
        if (_count == _items.Length)
            Array.Resize(ref _items, _count * 2);
        _items[_count++] = item;
    }

    /// <summary>The last one added, taken out, or null.</summary>
    public IReleasable? Take()
    {
        if (_count == 0)
            return null;
        IReleasable? item = _items[--_count];
        _items[_count] = null;
        return item;
    }
}
