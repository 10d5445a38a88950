using System;

namespace Sidecar.Loop;

/// <summary>Objects that ended in this turn, kept apart until no event of the turn, or no frame of the event, can name them.</summary>
/// <remarks>Worker-owned.</remarks>
internal sealed class DeferredRelease
{
    // A struct around each, since storing into an array of references asks for its element type every time.
    private struct Place
    {
        internal IReleasable? Item;
    }

    private Place[] _items = new Place[64];
    private int _count;

    public bool IsEmpty => _count == 0;

    public void Add(IReleasable item)
    {
        if (_count == _items.Length)
            Array.Resize(ref _items, _count * 2);
        _items[_count++].Item = item;
    }

    /// <summary>The last one added, taken out, or null.</summary>
    public IReleasable? Take()
    {
        if (_count == 0)
            return null;
        ref Place place = ref _items[--_count];
        IReleasable? item = place.Item;
        place.Item = null;
        return item;
    }
}
