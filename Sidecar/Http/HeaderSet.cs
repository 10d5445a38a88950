using System;
using System.Diagnostics;
using System.Numerics;
using System.Runtime.CompilerServices;

namespace Sidecar.Http;

/// <summary>A set of known names, one bit each: whether a head has any of twenty fields is then one question and not twenty.</summary>
internal struct HeaderSet
{
    // HeaderId has fewer than 128 members, which a test holds. A shift count is taken modulo 64, so an id is its own.
    [InlineArray(2)]
    private struct Words
    {
        private ulong _element0;
    }

    private Words _words;

    internal HeaderSet(params ReadOnlySpan<HeaderId> ids)
    {
        foreach (var id in ids)
            Add(id);
    }

    internal readonly bool IsEmpty => (_words[0] | _words[1]) == 0;

    internal readonly bool Contains(HeaderId id) => (_words[(int)id >> 6] & 1UL << (int)id) != 0;

    internal readonly bool Intersects(in HeaderSet other) => ((_words[0] & other._words[0]) | (_words[1] & other._words[1])) != 0;

    public static HeaderSet operator &(in HeaderSet left, in HeaderSet right)
    {
        var both = left;
        both._words[0] &= right._words[0];
        both._words[1] &= right._words[1];
        return both;
    }

    internal void Add(HeaderId id) => _words[(int)id >> 6] |= 1UL << (int)id;

    /// <summary>Adds a name.</summary>
    /// <returns>False when it was there.</returns>
    internal bool TryAdd(HeaderId id)
    {
        ref ulong word = ref _words[(int)id >> 6];
        ulong before = word;
        word = before | 1UL << (int)id;
        return word != before;
    }

    internal void Remove(HeaderId id) => _words[(int)id >> 6] &= ~(1UL << (int)id);

    /// <summary>Takes one member out of a set that is not empty.</summary>
    internal HeaderId Take()
    {
        Debug.Assert(!IsEmpty);
        int number = _words[0] != 0 ? BitOperations.TrailingZeroCount(_words[0]) : 64 + BitOperations.TrailingZeroCount(_words[1]);
        Remove((HeaderId)number);
        return (HeaderId)number;
    }
}
