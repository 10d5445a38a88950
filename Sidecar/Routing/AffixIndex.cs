using System;
using System.Diagnostics.CodeAnalysis;
using Sidecar.Memory;

namespace Sidecar.Routing;

/// <summary>
/// Byte strings, found by every text that starts with them (or ends with them), letters' case aside: ten thousand prefixes cost a text one walk over its own bytes
/// and one look at the table for each distinct length.
/// </summary>
/// <remarks>
/// Built on the control loop, read by all workers; walking allocates nothing. The hash is a plain one that can be taken byte by byte: only keys of the
/// configuration lie in the table, so a peer's text can meet no longer chain than they make among themselves.
/// </remarks>
/// <param name="fromEnd">Keys are suffixes.</param>
internal sealed class AffixIndex<T>(bool fromEnd = false) where T : class
{
    // FNV-1a, 64 bits.
    private const ulong HashSeed = 0xCBF29CE484222325;
    private const ulong HashPrime = 0x100000001B3;

    private readonly record struct Slot(byte[] Key, ulong Hash, T Value);

    private Slot[] _slots = new Slot[16];
    private bool[] _isLength = new bool[1];
    private int _longest = -1;

    internal int Count { get; private set; }

    /// <summary>Adds a key; false, and nothing changes, when there is one that differs in case at most.</summary>
    internal bool TryAdd(ReadOnlySpan<byte> key, T value)
    {
        ulong hash = HashOf(key);
        if (TryFind(hash, key, out _))
            return false;
        if (Count * 2 >= _slots.Length)
            Grow();
        Insert(new Slot(key.ToArray(), hash, value));
        Count++;
        if (key.Length >= _isLength.Length)
            Array.Resize(ref _isLength, Math.Max(key.Length + 1, _isLength.Length * 2));
        _isLength[key.Length] = true;
        _longest = Math.Max(_longest, key.Length);
        return true;
    }

    /// <summary>The value of exactly this key.</summary>
    internal bool TryGet(ReadOnlySpan<byte> key, [NotNullWhen(true)] out T? value) => TryFind(HashOf(key), key, out value);

    /// <summary>The keys a text starts (or ends) with, shortest first.</summary>
    internal Walk Of(ReadOnlySpan<byte> text) => new(this, text);

    /// <summary>The value of the longest key that is shorter than the text it starts (or ends).</summary>
    internal bool TryLongest(ReadOnlySpan<byte> text, [NotNullWhen(true)] out T? value)
    {
        value = null;
        var walk = Of(text);
        while (walk.MoveNext(out var found))
        {
            if (walk.Length < text.Length)
                value = found;
        }
        return value is not null;
    }

    /// <summary>Goes over a text once.</summary>
    internal ref struct Walk(AffixIndex<T> index, ReadOnlySpan<byte> text)
    {
        private readonly ReadOnlySpan<byte> _text = text;
        private readonly int _end = Math.Min(text.Length, index._longest);
        private ulong _hash = HashSeed;

        /// <summary>Length of the key found last.</summary>
        internal int Length { get; private set; } = -1;

        internal bool MoveNext([NotNullWhen(true)] out T? value)
        {
            while (Length < _end)
            {
                Length++;
                if (Length > 0)
                    _hash = Next(_hash, index.At(_text, Length - 1));
                if (index._isLength[Length] && index.TryFind(_hash, index.Part(_text, Length), out value))
                    return true;
            }
            value = null;
            return false;
        }
    }

    private byte At(ReadOnlySpan<byte> text, int position) => fromEnd ? text[^(position + 1)] : text[position];

    private ReadOnlySpan<byte> Part(ReadOnlySpan<byte> text, int length) => fromEnd ? text[^length..] : text[..length];

    private static ulong Next(ulong hash, byte b) => (hash ^ Ascii.ToLower(b)) * HashPrime;

    private ulong HashOf(ReadOnlySpan<byte> key)
    {
        ulong hash = HashSeed;
        for (int i = 0; i < key.Length; i++)
            hash = Next(hash, At(key, i));
        return hash;
    }

    private bool TryFind(ulong hash, ReadOnlySpan<byte> key, [NotNullWhen(true)] out T? value)
    {
        for (int i = First(hash); ; i = (i + 1) & (_slots.Length - 1))
        {
            ref readonly var slot = ref _slots[i];
            value = slot.Value;
            if (slot.Key is null)
                return false;
            if (slot.Hash == hash && Ascii.EqualsIgnoreCase(slot.Key, key))
                return true;
        }
    }

    private int First(ulong hash) => (int)((hash ^ hash >> 32) & (ulong)(_slots.Length - 1));

    private void Insert(Slot slot)
    {
        int i = First(slot.Hash);
        while (_slots[i].Key is not null)
            i = (i + 1) & (_slots.Length - 1);
        _slots[i] = slot;
    }

    private void Grow()
    {
        var old = _slots;
        _slots = new Slot[old.Length * 2];
        foreach (var slot in old)
        {
            if (slot.Key is not null)
                Insert(slot);
        }
    }
}
