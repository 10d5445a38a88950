using System;
using System.Diagnostics;
using System.Runtime.CompilerServices;
using Sidecar.Memory;

namespace Sidecar.Http;

/// <summary>One field of a <see cref="HeaderMap"/>, valid until the map changes.</summary>
internal readonly ref struct HeaderField(HeaderId id, ReadOnlySpan<byte> name, ReadOnlySpan<byte> value, bool neverIndexed)
{
    internal readonly HeaderId Id = id;
    internal readonly ReadOnlySpan<byte> Name = name;
    internal readonly ReadOnlySpan<byte> Value = value;

    /// <summary>HPACK's never-indexed literal (RFC 7541 section 6.2.3), kept hop by hop.</summary>
    internal readonly bool NeverIndexed = neverIndexed;
}

/// <summary>
/// The fields of one message, or its trailers, in order: all bytes lie in one block, a field is two offsets into it. Names are lower case.
/// Values are what the peer sent, without surrounding white space; nothing here validates them, the codecs do.
/// </summary>
/// <remarks>
/// Worker-owned and pooled with its stream: <see cref="Reset"/> between uses. Spans handed out are valid until the next change of the map;
/// values passed in may point into the map itself.
/// </remarks>
internal class HeaderMap
{
    private const int InitialBlockBytes = 1024;
    private const int InitialEntries = 24;

    /// <summary>Blocks beyond this go back to the thread's arrays on <see cref="Reset"/>, so that one large head does not stay with a small stream.</summary>
    private const int KeptBlockBytes = 4096;

    /// <summary>
    /// Fields that a codec takes from its peer at most, whatever it is told to take: positions are kept in 16 bits, and this leaves as many for what is added here.
    /// </summary>
    internal const int ReceivedMax = 32_768;

    private const int EntriesMax = ushort.MaxValue;

    /// <summary>Behind what is used a block has so many bytes more, which may be read and have no meaning: a vector at any byte in use lies in the block.</summary>
    internal const int SlackBytes = 16;

    /// <summary>One field, as offsets into the block.</summary>
    internal struct Entry
    {
        /// <summary>-1 when the name does not lie in the block: then it is a known one.</summary>
        internal int NameOffset;
        internal int ValueOffset;
        internal int ValueLength;
        internal ushort NameLength;
        internal HeaderId Id;
        internal EntryState State;
    }

    [Flags]
    internal enum EntryState : byte
    {
        None = 0,
        Removed = 1,
        NeverIndexed = 2,

        /// <summary>Name and value lie in the block as an HTTP/1 field line, "name: value" and CR LF, which a codec has checked.</summary>
        Line = 4,
    }

    /// <summary>Bytes around a value in a field line: before it, and behind it.</summary>
    internal const int LineSeparatorBytes = 2;

    private byte[] _block = [];
    private byte[] _retired = [];
    private int _used;

    // Whose value AppendValue made last, where it lies, and where its room ends; 0: there is none. The place alone does not tell: an empty value
    // takes none, and may lie where another begins.
    private HeaderId _joinedId;
    private int _joinedOffset;
    private int _joinedEnd;
    private Entry[] _entries = [];
    private int _count;
    private int _removed;

    // Known names that live entries have, and for each of them the position of the first; for others the position is old and means nothing.
    private HeaderSet _present;
    private IdTable _first;

    [InlineArray((int)HeaderId.Count)]
    private struct IdTable
    {
        private ushort _element0;
    }

    /// <summary>Live fields, pseudo-headers included.</summary>
    internal int Count => _count - _removed;

    /// <summary>Bytes of names and values of live fields, without any separators.</summary>
    internal int ByteSize { get; private set; }

    internal bool IsEmpty => Count == 0;

    /// <summary>Adds a field with a known name, after the others.</summary>
    internal void Add(HeaderId id, ReadOnlySpan<byte> value)
    {
        Debug.Assert(id != HeaderId.Unknown);
        int valueOffset = Append(value);
        AddEntry(id, -1, HeaderNames.LengthOf(id), valueOffset, value.Length, EntryState.None);
    }

    /// <summary>Adds a field; <paramref name="lowerName"/> must be lower case.</summary>
    internal void Add(ReadOnlySpan<byte> lowerName, ReadOnlySpan<byte> value, bool neverIndexed = false)
    {
        var id = HeaderNames.Lookup(lowerName);
        int valueLength = value.Length;
        int nameLength = lowerName.Length;
        int nameOffset = -1;
        int valueOffset;
        if (id == HeaderId.Unknown)
        {
            // One reservation for both, so that spans into this very block stay valid while they are copied.
            int offset = Reserve(nameLength + valueLength);
            lowerName.CopyTo(_block.AsSpan(offset));
            value.CopyTo(_block.AsSpan(offset + nameLength));
            nameOffset = offset;
            valueOffset = offset + nameLength;
        }
        else
        {
            valueOffset = Append(value);
        }
        AddEntry(id, nameOffset, nameLength, valueOffset, valueLength, neverIndexed ? EntryState.NeverIndexed : EntryState.None);
    }

    /// <summary>Adds a field whose name's number is already looked up; <paramref name="lowerName"/> is only read when it is Unknown.</summary>
    internal void Add(HeaderId id, ReadOnlySpan<byte> lowerName, ReadOnlySpan<byte> value, bool neverIndexed)
    {
        var state = neverIndexed ? EntryState.NeverIndexed : EntryState.None;
        if (id != HeaderId.Unknown)
        {
            int length = value.Length;
            AddEntry(id, -1, HeaderNames.LengthOf(id), Append(value), length, state);
            return;
        }
        int offset = Reserve(lowerName.Length + value.Length);
        lowerName.CopyTo(_block.AsSpan(offset));
        value.CopyTo(_block.AsSpan(offset + lowerName.Length));
        AddEntry(id, offset, lowerName.Length, offset + lowerName.Length, value.Length, state);
    }

    /// <summary>
    /// Copies raw bytes (a whole head, for example) into the block, for fields described afterwards by <see cref="AddAt"/>.
    /// </summary>
    /// <returns>The offset of the copy; its bytes are writable through <see cref="Raw"/> until the next addition.</returns>
    internal int AppendRaw(ReadOnlySpan<byte> bytes) => Append(bytes);

    /// <summary>The bytes of a raw range, for folding names to lower case in place.</summary>
    internal Span<byte> Raw(int offset, int length) => _block.AsSpan(offset, length);

    /// <summary>Adds a field whose lower-case name and value already lie in the block.</summary>
    internal void AddAt(HeaderId id, int nameOffset, int nameLength, int valueOffset, int valueLength) =>
        AddEntry(id, id == HeaderId.Unknown ? nameOffset : -1, nameLength, valueOffset, valueLength, EntryState.None);

    /// <summary>Adds a field that lies in the block as a whole field line, lower-case name first.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void AddLine(HeaderId id, int nameOffset, int nameLength, int valueLength) =>
        AddEntryInline(id, nameOffset, nameLength, nameOffset + nameLength + LineSeparatorBytes, valueLength, EntryState.Line);

    internal bool Contains(HeaderId id) => _present.Contains(id);

    /// <summary>Has any of the names.</summary>
    internal bool ContainsAny(in HeaderSet ids) => _present.Intersects(in ids);

    /// <summary>The first value of a known name; empty when absent (see <see cref="TryGet(HeaderId, out ReadOnlySpan{byte})"/> to tell apart).</summary>
    internal ReadOnlySpan<byte> Get(HeaderId id)
    {
        return _present.Contains(id) ? ValueOf(in _entries[_first[(int)id]]) : default;
    }

    internal bool TryGet(HeaderId id, out ReadOnlySpan<byte> value)
    {
        bool found = _present.Contains(id);
        value = found ? ValueOf(in _entries[_first[(int)id]]) : default;
        return found;
    }

    /// <summary>The first value of any name (lower case).</summary>
    internal bool TryGet(ReadOnlySpan<byte> lowerName, out ReadOnlySpan<byte> value)
    {
        int index = -1;
        return TryGetNext(HeaderNames.Lookup(lowerName), lowerName, ref index, out value);
    }

    /// <summary>
    /// Walks the values of one name: start with <paramref name="index"/> -1, call until false. <paramref name="lowerName"/> is only read when
    /// <paramref name="id"/> is <see cref="HeaderId.Unknown"/>.
    /// </summary>
    internal bool TryGetNext(HeaderId id, ReadOnlySpan<byte> lowerName, scoped ref int index, out ReadOnlySpan<byte> value)
    {
        bool possible = id == HeaderId.Unknown || _present.Contains(id);
        if (possible && id != HeaderId.Unknown && index < 0)
            index = _first[(int)id] - 1;
        if (possible)
        {
            while (++index < _count)
            {
                ref readonly var entry = ref _entries[index];
                if (Matches(in entry, id, lowerName))
                {
                    value = ValueOf(in entry);
                    return true;
                }
            }
        }
        index = _count;
        value = default;
        return false;
    }

    /// <summary>How many fields have this known name.</summary>
    internal int CountOf(HeaderId id)
    {
        int index = -1;
        int count = 0;
        while (TryGetNext(id, default, ref index, out _))
            count++;
        return count;
    }

    /// <summary>Sets a known name to one value: the first field keeps its place, others of the name go.</summary>
    internal void Set(HeaderId id, ReadOnlySpan<byte> value)
    {
        if (!_present.Contains(id))
        {
            Add(id, value);
            return;
        }
        int position = _first[(int)id];
        ReplaceValue(position, value);
        RemoveAfter(position, id, default);
    }

    /// <summary>Sets any name (lower case) to one value.</summary>
    internal void Set(ReadOnlySpan<byte> lowerName, ReadOnlySpan<byte> value)
    {
        var id = HeaderNames.Lookup(lowerName);
        if (id != HeaderId.Unknown)
        {
            Set(id, value);
            return;
        }
        int index = -1;
        if (!TryGetNext(id, lowerName, ref index, out _))
        {
            Add(lowerName, value);
            return;
        }
        // The name may point into the block, which growth replaces: later fields first.
        RemoveAfter(index, id, lowerName);
        ReplaceValue(index, value);
    }

    /// <summary>Sets a known name to a decimal number.</summary>
    internal void SetDecimal(HeaderId id, long value)
    {
        if (!_present.Contains(id))
        {
            int offset = Reserve(Ascii.DecimalBytesMax);
            int length = Ascii.FormatDecimal(value, _block.AsSpan(offset, Ascii.DecimalBytesMax));
            _used = offset + length;
            AddEntry(id, -1, HeaderNames.LengthOf(id), offset, length, EntryState.None);
            return;
        }
        ReplaceByDecimal(id, value);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void ReplaceByDecimal(HeaderId id, long value)
    {
        Span<byte> digits = stackalloc byte[Ascii.DecimalBytesMax];
        Set(id, digits[..Ascii.FormatDecimal(value, digits)]);
    }

    /// <summary>Appends to the first value of a known name with a separator between, or adds the field.</summary>
    internal void AppendValue(HeaderId id, ReadOnlySpan<byte> value, ReadOnlySpan<byte> separator)
    {
        if (!_present.Contains(id))
        {
            Add(id, value);
            return;
        }
        ref var entry = ref _entries[_first[(int)id]];
        int added = separator.Length + value.Length;
        int end = entry.ValueOffset + entry.ValueLength;
        if (id != _joinedId || entry.ValueOffset != _joinedOffset || end + added > _joinedEnd)
        {
            // It moves to where it has room to double: a value that comes in many crumbs costs what it is long, not that times the crumbs.
            var old = ValueOf(in entry);
            int room = 2 * (old.Length + added);
            int offset = Reserve(room);
            old.CopyTo(_block.AsSpan(offset));
            entry.ValueOffset = _joinedOffset = offset;
            _joinedId = id;
            _joinedEnd = offset + room;
            end = offset + old.Length;
        }
        separator.CopyTo(_block.AsSpan(end));
        value.CopyTo(_block.AsSpan(end + separator.Length));
        ByteSize += added;
        entry.ValueLength += added;
        entry.State &= ~EntryState.Line;
    }

    /// <summary>Removes all fields of a known name.</summary>
    /// <returns>True when there were any.</returns>
    internal bool Remove(HeaderId id)
    {
        if (!_present.Contains(id))
            return false;
        RemoveAfter(_first[(int)id] - 1, id, default);
        return true;
    }

    /// <summary>Removes all fields of several known names.</summary>
    internal void Remove(in HeaderSet ids)
    {
        var found = _present & ids;
        while (!found.IsEmpty)
            Remove(found.Take());
    }

    /// <summary>Removes all fields of a name (lower case).</summary>
    internal bool Remove(ReadOnlySpan<byte> lowerName)
    {
        var id = HeaderNames.Lookup(lowerName);
        return id != HeaderId.Unknown ? Remove(id) : RemoveAfter(-1, id, lowerName) > 0;
    }

    /// <summary>Removes all fields whose name starts with <paramref name="lowerPrefix"/>.</summary>
    internal void RemovePrefix(ReadOnlySpan<byte> lowerPrefix)
    {
        for (int i = 0; i < _count; i++)
        {
            ref readonly var entry = ref _entries[i];
            if ((entry.State & EntryState.Removed) == 0 && NameOf(in entry).StartsWith(lowerPrefix))
                RemoveAt(i);
        }
    }

    /// <summary>Adds copies of all fields of another map.</summary>
    internal void CopyFrom(HeaderMap other)
    {
        foreach (var field in other)
        {
            if (field.Id == HeaderId.Unknown)
                Add(field.Name, field.Value, field.NeverIndexed);
            else
                AddEntry(field.Id, -1, field.Name.Length, Append(field.Value), field.Value.Length, field.NeverIndexed ? EntryState.NeverIndexed : EntryState.None);
        }
    }

    /// <summary>Empties the map for reuse.</summary>
    internal virtual void Reset()
    {
        _present = default;
        _count = _removed = _used = 0;
        _joinedEnd = 0;
        ByteSize = 0;
        if (_retired.Length > 0)
            ReturnRetired();
        if (_block.Length > KeptBlockBytes)
        {
            ThreadMemory.ReturnArray(_block);
            _block = [];
        }
    }

    public Enumerator GetEnumerator() => new(this);

    /// <summary>Walks the live fields in order. The map must not change meanwhile.</summary>
    internal ref struct Enumerator(HeaderMap map)
    {
        private int _index = -1;

        public readonly HeaderField Current
        {
            get
            {
                ref readonly var entry = ref map._entries[_index];
                return new HeaderField(entry.Id, map.NameOf(in entry), map.ValueOf(in entry), (entry.State & EntryState.NeverIndexed) != 0);
            }
        }

        public bool MoveNext()
        {
            while (++_index < map._count)
            {
                if ((map._entries[_index].State & EntryState.Removed) == 0)
                    return true;
            }
            return false;
        }
    }

    // ---- for a codec that writes a whole head, and wants neither a call nor a copy for each field -------------------

    /// <summary>All fields in order, removed ones among them. The map must not change meanwhile.</summary>
    internal ReadOnlySpan<Entry> Entries => _entries.AsSpan(0, _count);

    /// <summary>What the entries' offsets point into; <see cref="SlackBytes"/> more may be read behind it.</summary>
    internal ReadOnlySpan<byte> Block => _block.AsSpan(0, _used);

    internal ReadOnlySpan<byte> NameOf(in Entry entry) =>
        entry.Id != HeaderId.Unknown ? HeaderNames.Bytes(entry.Id) : _block.AsSpan(entry.NameOffset, entry.NameLength);

    internal ReadOnlySpan<byte> ValueOf(in Entry entry) => _block.AsSpan(entry.ValueOffset, entry.ValueLength);

    private bool Matches(in Entry entry, HeaderId id, ReadOnlySpan<byte> lowerName) =>
        (entry.State & EntryState.Removed) == 0 && entry.Id == id && (id != HeaderId.Unknown || NameOf(in entry).SequenceEqual(lowerName));

    private void AddEntry(HeaderId id, int nameOffset, int nameLength, int valueOffset, int valueLength, EntryState state) =>
        AddEntryInline(id, nameOffset, nameLength, valueOffset, valueLength, state);

    // For AddEntry, and for the loop that reads lines, which is most of them.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void AddEntryInline(HeaderId id, int nameOffset, int nameLength, int valueOffset, int valueLength, EntryState state)
    {
        int count = _count;
        var entries = _entries;
        if ((uint)count >= (uint)entries.Length)
        {
            // Last, so that the usual way needs no frame: this runs for every field.
            AddEntryGrowing(id, nameOffset, nameLength, valueOffset, valueLength, state);
            return;
        }
        ref var entry = ref entries[count];
        entry.NameOffset = nameOffset;
        entry.ValueOffset = valueOffset;
        entry.ValueLength = valueLength;
        entry.NameLength = (ushort)nameLength;
        entry.Id = id;
        entry.State = state;
        _count = count + 1;
        ByteSize += nameLength + valueLength;
        if (id != HeaderId.Unknown && _present.TryAdd(id))
            _first[(int)id] = (ushort)count;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void AddEntryGrowing(HeaderId id, int nameOffset, int nameLength, int valueOffset, int valueLength, EntryState state)
    {
        // Beyond, a name would be found at another's position.
        if (_count >= EntriesMax)
            throw new InvalidOperationException("a message has at most 65535 fields");
        Array.Resize(ref _entries, Math.Clamp(_entries.Length * 2, InitialEntries, EntriesMax));
        AddEntry(id, nameOffset, nameLength, valueOffset, valueLength, state);
    }

    private void ReplaceValue(int index, ReadOnlySpan<byte> value)
    {
        ref var entry = ref _entries[index];
        ByteSize += value.Length - entry.ValueLength;
        if (value.Length <= entry.ValueLength)
            value.CopyTo(_block.AsSpan(entry.ValueOffset));
        else
            entry.ValueOffset = Append(value);
        entry.ValueLength = value.Length;
        entry.State &= ~EntryState.Line;
    }

    private int RemoveAfter(int index, HeaderId id, ReadOnlySpan<byte> lowerName)
    {
        int removed = 0;
        for (int i = index + 1; i < _count; i++)
        {
            if (!Matches(in _entries[i], id, lowerName))
                continue;
            RemoveAt(i);
            removed++;
        }
        return removed;
    }

    private void RemoveAt(int index)
    {
        ref var entry = ref _entries[index];
        entry.State |= EntryState.Removed;
        _removed++;
        ByteSize -= entry.NameLength + entry.ValueLength;
        if (entry.Id == HeaderId.Unknown || _first[(int)entry.Id] != index)
            return;
        _present.Remove(entry.Id);
        for (int i = index + 1; i < _count; i++)
        {
            if (!Matches(in _entries[i], entry.Id, default))
                continue;
            _present.Add(entry.Id);
            _first[(int)entry.Id] = (ushort)i;
            return;
        }
    }

    private int Append(ReadOnlySpan<byte> bytes)
    {
        int offset = Reserve(bytes.Length);
        bytes.CopyTo(_block.AsSpan(offset));
        return offset;
    }

    /// <summary>Makes room at the end of the block. The old block, where growth replaced it, is not cleared, so spans into it can still be copied.</summary>
    private int Reserve(int length)
    {
        int offset = _used;
        if (_block.Length - SlackBytes - offset < length)
            GrowBlock(length);
        _used = offset + length;
        return offset;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void GrowBlock(int length)
    {
        byte[] old = _block;
        int size = Math.Max(Math.Max(InitialBlockBytes, old.Length * 2), _used + length + SlackBytes);
        byte[] larger = size <= KeptBlockBytes ? new byte[size] : ThreadMemory.RentArray(size);
        Buffer.BlockCopy(old, 0, larger, 0, _used);
        _block = larger;
        // The caller may still copy out of the old block, so it goes back to the pool one growth later.
        ReturnRetired();
        _retired = old;
    }

    private void ReturnRetired()
    {
        if (_retired.Length > KeptBlockBytes)
            ThreadMemory.ReturnArray(_retired);
        _retired = [];
    }
}
