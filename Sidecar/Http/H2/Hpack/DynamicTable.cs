using System;
using System.Diagnostics;
using System.Numerics;

namespace Sidecar.Http.H2.Hpack;

/// <summary>One dynamic entry; its bytes lie in the table's block.</summary>
internal struct DynamicEntry
{
    internal int Offset;
    internal int NameLength;
    internal int ValueLength;
    internal HeaderId Id;
    internal FieldFlags Flags;

    internal readonly int Size => NameLength + ValueLength + DynamicTable.EntryOverhead;
}

/// <summary>
/// The dynamic table of RFC 7541 section 2.3.2: first in, first out, bounded by the sum of its entries' sizes. Entries are numbered by
/// insertion, so that an encoder's index of hashes stays valid while old entries go.
/// </summary>
/// <remarks>
/// One direction of one connection. Bytes lie one after the other in a block of at most twice the bound; when its end is reached, the live ones
/// move to the front, so a run of insertions costs two copies a byte. Nothing is held until the first insertion.
/// </remarks>
internal sealed class DynamicTable
{
    /// <summary>What an entry is charged beside its bytes (RFC 7541 section 4.1).</summary>
    internal const int EntryOverhead = 32;

    // Ten thousand idle connections of one request each are to stay small; a busy one doubles these a few times and is done.
    private const int InitialBytes = 128;
    private const int InitialEntries = 4;

    private byte[] _bytes = [];
    private int _end;
    private DynamicEntry[] _ring = [];
    private int _first;
    private int _count;

    internal int Count => _count;

    /// <summary>Sum of the entries' sizes.</summary>
    internal int Size { get; private set; }

    /// <summary>The bound in force.</summary>
    internal int MaxSize { get; private set; }

    /// <summary>Entries ever added: the newest has this number.</summary>
    internal uint Inserted { get; private set; }

    internal DynamicTable(int maxSize) => MaxSize = maxSize;

    /// <summary>The entry at a dynamic index: 1 is the newest, <see cref="Count"/> the oldest.</summary>
    internal ref readonly DynamicEntry this[int index]
    {
        get
        {
            Debug.Assert(index >= 1);
            Debug.Assert(index <= _count);
            return ref _ring[(_first + _count - index) & (_ring.Length - 1)];
        }
    }

    internal ReadOnlySpan<byte> Name(in DynamicEntry entry) =>
        entry.Id != HeaderId.Unknown ? HeaderNames.Bytes(entry.Id) : _bytes.AsSpan(entry.Offset, entry.NameLength);

    internal ReadOnlySpan<byte> Value(in DynamicEntry entry) => _bytes.AsSpan(entry.Offset + entry.NameLength, entry.ValueLength);

    /// <summary>Adds an entry as the newest, after older ones made room; one larger than the bound empties the table and is not added (section 4.4).</summary>
    /// <param name="id">The name's number, or Unknown.</param>
    /// <param name="name">Its bytes; must not lie in this table.</param>
    /// <param name="value">Must not lie in this table.</param>
    /// <param name="flags">Kept with the entry.</param>
    /// <returns>False when it was not added.</returns>
    internal bool Add(HeaderId id, ReadOnlySpan<byte> name, ReadOnlySpan<byte> value, FieldFlags flags)
    {
        int bytes = name.Length + value.Length;
        EvictTo(MaxSize - bytes - EntryOverhead);
        if (bytes + EntryOverhead > MaxSize)
            return false;
        if (_bytes.Length - _end < bytes)
            MakeRoom(bytes);
        if (_count == _ring.Length)
            GrowRing();
        ref var entry = ref _ring[(_first + _count) & (_ring.Length - 1)];
        entry.Offset = _end;
        entry.NameLength = name.Length;
        entry.ValueLength = value.Length;
        entry.Id = id;
        entry.Flags = flags;
        name.CopyTo(_bytes.AsSpan(_end));
        value.CopyTo(_bytes.AsSpan(_end + name.Length));
        _end += bytes;
        _count++;
        Size += bytes + EntryOverhead;
        Inserted++;
        return true;
    }

    /// <summary>Changes the bound; oldest entries go until the rest fits (section 4.3).</summary>
    internal void SetMaxSize(int maxSize)
    {
        MaxSize = maxSize;
        EvictTo(maxSize);
    }

    /// <summary>Empties the table for another connection; a block of ordinary size is kept.</summary>
    internal void Reset(int maxSize)
    {
        MaxSize = maxSize;
        _first = _count = _end = 0;
        Size = 0;
        Inserted = 0;
    }

    private void EvictTo(int size)
    {
        while (Size > size && _count > 0)
        {
            Size -= _ring[_first].Size;
            _first = (_first + 1) & (_ring.Length - 1);
            _count--;
        }
        if (_count == 0)
            _end = 0;
    }

    private void MakeRoom(int bytes)
    {
        int start = _count == 0 ? _end : _ring[_first].Offset;
        int live = _end - start;
        byte[] target = _bytes;
        // At most half full after moving, so that the next move is at least as many insertions away as bytes were moved now.
        if ((live + bytes) * 2 > _bytes.Length)
            target = new byte[(int)BitOperations.RoundUpToPowerOf2((uint)Math.Max(InitialBytes, (live + bytes) * 2))];
        Buffer.BlockCopy(_bytes, start, target, 0, live);
        for (int i = 0; i < _count; i++)
            _ring[(_first + i) & (_ring.Length - 1)].Offset -= start;
        _bytes = target;
        _end = live;
    }

    private void GrowRing()
    {
        var ring = new DynamicEntry[Math.Max(InitialEntries, _ring.Length * 2)];
        for (int i = 0; i < _count; i++)
            ring[i] = _ring[(_first + i) & (_ring.Length - 1)];
        _ring = ring;
        _first = 0;
    }
}
