using System;
using System.Diagnostics;
using System.Numerics;

namespace Sidecar.Http;

/// <summary>A set of known names, one bit each: whether a head has any of twenty fields is then one question and not twenty.</summary>
internal struct HeaderSet
{
    // HeaderId has fewer than 128 members, which a test holds.
    private ulong _low;
    private ulong _high;

    internal HeaderSet(params ReadOnlySpan<HeaderId> ids)
    {
        foreach (var id in ids)
            Add(id);
    }

    private HeaderSet(ulong low, ulong high)
    {
        _low = low;
        _high = high;
    }

    internal readonly bool IsEmpty => (_low | _high) == 0;

    internal readonly bool Contains(HeaderId id) => ((((int)id & 64) == 0 ? _low : _high) >> ((int)id & 63) & 1) != 0;

    internal readonly bool Intersects(in HeaderSet other) => ((_low & other._low) | (_high & other._high)) != 0;

    public static HeaderSet operator &(in HeaderSet left, in HeaderSet right) => new(left._low & right._low, left._high & right._high);

    internal void Add(HeaderId id)
    {
        ulong bit = 1UL << ((int)id & 63);
        if (((int)id & 64) == 0)
            _low |= bit;
        else
            _high |= bit;
    }

    internal void Remove(HeaderId id)
    {
        ulong bit = 1UL << ((int)id & 63);
        if (((int)id & 64) == 0)
            _low &= ~bit;
        else
            _high &= ~bit;
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
