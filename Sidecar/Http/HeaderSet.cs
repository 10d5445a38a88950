using System;
using System.Diagnostics;
using System.Numerics;

namespace Sidecar.Http;

/// <summary>A set of known names, one bit each: whether a head has any of twenty fields is then one question and not twenty.</summary>
internal struct HeaderSet
{
    // HeaderId has fewer than 128 members, which a test holds. A shift count is taken modulo 64, so an id is its own.
    private ulong _low;
    private ulong _high;

    internal HeaderSet(params ReadOnlySpan<HeaderId> ids)
    {
        foreach (var id in ids)
            Add(id);
    }

    internal readonly bool IsEmpty => (_low | _high) == 0;

    internal readonly bool Contains(HeaderId id) => ((((int)id < 64 ? _low : _high) >> (int)id) & 1) != 0;

    internal readonly bool Intersects(in HeaderSet other) => ((_low & other._low) | (_high & other._high)) != 0;

    public static HeaderSet operator &(in HeaderSet left, in HeaderSet right) => new() { _low = left._low & right._low, _high = left._high & right._high };

    internal void Add(HeaderId id)
    {
        if ((int)id < 64)
            _low |= 1UL << (int)id;
        else
            _high |= 1UL << (int)id;
    }

    /// <summary>Adds a name.</summary>
    /// <returns>False when it was there.</returns>
    internal bool TryAdd(HeaderId id)
    {
        if (Contains(id))
            return false;
        Add(id);
        return true;
    }

    internal void Remove(HeaderId id)
    {
        if ((int)id < 64)
            _low &= ~(1UL << (int)id);
        else
            _high &= ~(1UL << (int)id);
    }

    /// <summary>Takes one member out of a set that is not empty.</summary>
    internal HeaderId Take()
    {
        Debug.Assert(!IsEmpty);
        int number = _low != 0 ? BitOperations.TrailingZeroCount(_low) : 64 + BitOperations.TrailingZeroCount(_high);
        Remove((HeaderId)number);
        return (HeaderId)number;
    }
}
