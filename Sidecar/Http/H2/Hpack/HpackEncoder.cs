using System;
using System.Buffers.Binary;
using System.Diagnostics;
using System.Numerics;

namespace Sidecar.Http.H2.Hpack;

/// <summary>
/// Encodes header blocks (RFC 7541). A field whose name is known costs a comparison when it is as it was the last time, any other that was seen before one hash
/// and one comparison; both leave as one or two bytes.
/// </summary>
/// <remarks>
/// <para>What enters the dynamic table: a field whose name no table has (so that the name is there next time), and one that comes a second time.
/// Request ids, dates and lengths therefore pass by as literals and push nothing out, whatever they are called, while what repeats is
/// indexed from its second use on.</para>
/// <para>Huffman coding is for what stays in the peer's table. A literal that is sent once goes as it is: on the links of a mesh, copying it
/// twice is cheaper than coding and decoding it, and it saves the peer the same work.</para>
/// <para>One direction of one connection; the scratch is the worker's, used between <see cref="Begin"/> and the reading of <see cref="Block"/>.</para>
/// </remarks>
internal sealed class HpackEncoder
{
    /// <summary>The size both sides start with (RFC 9113 section 6.5.2).</summary>
    internal const int DefaultTableSize = 4096;

    private const int FieldSlots = 128;
    private const int NameSlots = 32;
    private const int SeenSlots = 128;

    /// <summary>A cookie shorter than this is guessed too easily to be compressed beside what an attacker chooses (RFC 7541 section 7.1.3).</summary>
    private const int ShortCookieBytes = 20;

    // Direct-mapped: a slot holds the number of the last entry with its hash, its low half, since the entry it leads to is compared anyway. A lost slot
    // costs compression, never correctness.
    private readonly ushort[] _byField = new ushort[FieldSlots];
    private readonly ushort[] _byName = new ushort[NameSlots];
    private readonly ushort[] _seen = new ushort[SeenSlots];

    // Of each known name the entry that was last written or made, as above.
    private readonly ushort[] _byId = new ushort[(int)HeaderId.Count];

    private readonly HpackScratch _scratch;
    private readonly DynamicTable _table = new(DefaultTableSize);
    private int _ownLimit;
    private int _sizeMin = -1;
    private int _sizeFinal = -1;
    private int _length;

    internal HpackEncoder(HpackScratch scratch, int tableSizeLimit)
    {
        _scratch = scratch;
        Reset(tableSizeLimit);
    }

    internal DynamicTable Table => _table;

    /// <summary>The block encoded since <see cref="Begin"/>.</summary>
    internal ReadOnlySpan<byte> Block => _scratch.Bytes.AsSpan(0, _length);

    /// <summary>Ready for another connection, whose peer allows the default of 4096 until it says otherwise.</summary>
    internal void Reset(int tableSizeLimit)
    {
        _ownLimit = tableSizeLimit;
        _sizeMin = _sizeFinal = -1;
        _table.Reset(DefaultTableSize);
        Array.Clear(_byField);
        Array.Clear(_byName);
        Array.Clear(_seen);
        Array.Clear(_byId);
        if (tableSizeLimit < DefaultTableSize)
            SetPeerLimit(DefaultTableSize);
    }

    /// <summary>The peer's SETTINGS_HEADER_TABLE_SIZE: our table is at most that, and the next block says so (section 4.2).</summary>
    internal void SetPeerLimit(uint limit)
    {
        int size = (int)Math.Min(limit, (uint)_ownLimit);
        if (size == (_sizeFinal >= 0 ? _sizeFinal : _table.MaxSize))
            return;
        // Several changes between two blocks: the smallest is signalled too, since the peer's table went through it.
        _sizeMin = _sizeMin < 0 ? size : Math.Min(_sizeMin, size);
        _sizeFinal = size;
    }

    /// <summary>Starts a block.</summary>
    internal void Begin()
    {
        _length = 0;
        if (_sizeFinal < 0)
            return;
        _scratch.Ensure(16);
        if (_sizeMin < _sizeFinal)
            ChangeSize(_sizeMin);
        ChangeSize(_sizeFinal);
        _sizeMin = _sizeFinal = -1;
    }

    /// <summary>Adds <c>:status</c>.</summary>
    internal void AddStatus(int status)
    {
        Debug.Assert(status is >= 100 and <= 999);
        int index = status switch
        {
            200 => 0, 204 => 1, 206 => 2, 304 => 3, 400 => 4, 404 => 5, 500 => 6,
            _ => -1,
        };
        if (index >= 0)
        {
            _scratch.Ensure(_length + 1, _length);
            _scratch.Bytes[_length++] = (byte)(0x80 | (StaticTable.Status200 + index));
            return;
        }
        Span<byte> digits = [(byte)('0' + status / 100), (byte)('0' + status / 10 % 10), (byte)('0' + status % 10)];
        Add(HeaderId.Unknown, ":status"u8, digits, neverIndexed: false);
    }

    /// <summary>Adds a field of the static table.</summary>
    internal void AddStatic(int index)
    {
        _scratch.Ensure(_length + 1, _length);
        _scratch.Bytes[_length++] = (byte)(0x80 | index);
    }

    /// <summary>Adds a field that is in the dynamic table, where the last one of its name was the same; false: <see cref="Add"/> knows what to do with it.</summary>
    internal bool TryAddRepeated(HeaderId id, ReadOnlySpan<byte> value)
    {
        // Nothing is known of unknown names. What may not be indexed is in no entry, and whether a field may depends on no more than its name and value.
        if (!TryFindLive(_byId[(int)id], out int dynamicIndex))
            return false;
        ref readonly var entry = ref _table[dynamicIndex];
        if (entry.Id != id || !_table.Value(in entry).SequenceEqual(value))
            return false;
        _scratch.Ensure(_length + 8, _length);
        WriteInteger(0x80, 7, StaticTable.Count + dynamicIndex);
        return true;
    }

    /// <summary>Adds a field.</summary>
    /// <param name="id">The name's number, or Unknown.</param>
    /// <param name="name">Its bytes, lower case.</param>
    /// <param name="value">Its value.</param>
    /// <param name="neverIndexed">It came as a never-indexed literal and stays one.</param>
    internal void Add(HeaderId id, ReadOnlySpan<byte> name, ReadOnlySpan<byte> value, bool neverIndexed)
    {
        // Two integers of at most six bytes each, the kind's byte, and the strings as they are at worst.
        _scratch.Ensure(_length + name.Length + value.Length + 16, _length);

        uint nameHash = id != HeaderId.Unknown ? (uint)id * 0x9E3779B1u : HashBytes(name, 0x85EBCA6Bu);
        if (neverIndexed || IsSensitive(id, name, value))
        {
            WriteLiteral(0x10, 4, NameIndex(id, name, nameHash), name, value, huffman: false);
            return;
        }

        int index = StaticTable.IndexOf(id, value);
        if (index != 0)
        {
            WriteInteger(0x80, 7, index);
            return;
        }
        uint hash = HashBytes(value, nameHash);
        ref ushort slot = ref _byField[hash & (FieldSlots - 1)];
        if (TryFindLive(slot, out int dynamicIndex))
        {
            ref readonly var entry = ref _table[dynamicIndex];
            if (entry.Id == id && _table.Value(in entry).SequenceEqual(value) && (id != HeaderId.Unknown || _table.Name(in entry).SequenceEqual(name)))
            {
                WriteInteger(0x80, 7, StaticTable.Count + dynamicIndex);
                Remember(id, slot);
                return;
            }
        }
        AddLiteral(id, name, value, nameHash, hash, ref slot);
    }

    private void AddLiteral(HeaderId id, ReadOnlySpan<byte> name, ReadOnlySpan<byte> value, uint nameHash, uint hash, ref ushort slot)
    {
        int nameIndex = NameIndex(id, name, nameHash);
        ref ushort seen = ref _seen[(hash >> 8) & (SeenSlots - 1)];
        ushort mark = (ushort)(hash >> 16 | 1);
        bool again = seen == mark;
        seen = mark;
        // One entry is never worth half of all others.
        bool fits = name.Length + value.Length + DynamicTable.EntryOverhead <= _table.MaxSize / 2;
        if (!fits || (nameIndex != 0 && !again))
        {
            WriteLiteral(0x00, 4, nameIndex, name, value, huffman: false);
            return;
        }
        WriteLiteral(0x40, 6, nameIndex, name, value, huffman: true);
        if (!_table.Add(id, name, value, FieldFlags.None))
            return;
        slot = (ushort)_table.Inserted;
        if (id == HeaderId.Unknown)
            _byName[NameSlot(nameHash)] = slot;
        else
            Remember(id, slot);
    }

    private void Remember(HeaderId id, ushort number)
    {
        if (id != HeaderId.Unknown)
            _byId[(int)id] = number;
    }

    private bool TryFindLive(ushort number, out int dynamicIndex)
    {
        dynamicIndex = (ushort)(_table.Inserted - number) + 1;
        return number != 0 && dynamicIndex <= _table.Count;
    }

    private static int NameSlot(uint nameHash) => (int)((nameHash >> 20) & (NameSlots - 1));

    private int NameIndex(HeaderId id, ReadOnlySpan<byte> name, uint nameHash)
    {
        int index = id != HeaderId.Unknown ? StaticTable.IndexOf(id) : name[0] == ':' ? StaticTable.Status200 : StaticTable.IndexOfUnknown(name);
        if (index != 0)
            return index;
        if (!TryFindLive(id != HeaderId.Unknown ? _byId[(int)id] : _byName[NameSlot(nameHash)], out int dynamicIndex))
            return 0;
        ref readonly var entry = ref _table[dynamicIndex];
        return entry.Id == id && (id != HeaderId.Unknown || _table.Name(in entry).SequenceEqual(name)) ? StaticTable.Count + dynamicIndex : 0;
    }

    private static bool IsSensitive(HeaderId id, ReadOnlySpan<byte> name, ReadOnlySpan<byte> value) => id switch
    {
        HeaderId.Authorization => true,
        HeaderId.Cookie => value.Length < ShortCookieBytes,
        HeaderId.Unknown => name.Length == 19 && name.SequenceEqual("proxy-authorization"u8),
        _ => false,
    };

    private void WriteLiteral(byte kind, int prefixBits, int nameIndex, ReadOnlySpan<byte> name, ReadOnlySpan<byte> value, bool huffman)
    {
        WriteInteger(kind, prefixBits, nameIndex);
        if (nameIndex == 0)
            WriteString(name, huffman);
        WriteString(value, huffman);
    }

    private void WriteString(ReadOnlySpan<byte> text, bool huffman)
    {
        if (huffman)
        {
            int length = Huffman.EncodedLength(text);
            if (length < text.Length)
            {
                WriteInteger(0x80, 7, length);
                _length += Huffman.Encode(text, _scratch.Bytes.AsSpan(_length));
                return;
            }
        }
        WriteInteger(0x00, 7, text.Length);
        text.CopyTo(_scratch.Bytes.AsSpan(_length));
        _length += text.Length;
    }

    private void WriteInteger(byte kind, int prefixBits, int value)
    {
        byte[] bytes = _scratch.Bytes;
        int mask = (1 << prefixBits) - 1;
        if (value < mask)
        {
            bytes[_length++] = (byte)(kind | value);
            return;
        }
        bytes[_length++] = (byte)(kind | mask);
        for (value -= mask; value >= 0x80; value >>= 7)
            bytes[_length++] = (byte)(value | 0x80);
        bytes[_length++] = (byte)value;
    }

    private void ChangeSize(int size)
    {
        _table.SetMaxSize(size);
        WriteInteger(0x20, 5, size);
    }

    // Ends and middle: enough to tell values apart that differ anywhere a counter, an id or a path usually does.
    private static uint HashBytes(ReadOnlySpan<byte> bytes, uint seed)
    {
        ulong hash = seed + (ulong)bytes.Length * 0x9E3779B97F4A7C15ul;
        if (bytes.Length >= 8)
        {
            hash = (hash ^ BinaryPrimitives.ReadUInt64LittleEndian(bytes)) * 0xC2B2AE3D27D4EB4Ful;
            hash = (hash ^ (hash >> 29) ^ BinaryPrimitives.ReadUInt64LittleEndian(bytes[^8..])) * 0x9E3779B97F4A7C15ul;
            if (bytes.Length > 16)
                hash = (hash ^ (hash >> 31) ^ BinaryPrimitives.ReadUInt64LittleEndian(bytes[((bytes.Length - 8) / 2)..])) * 0xC2B2AE3D27D4EB4Ful;
        }
        else
        {
            foreach (byte b in bytes)
                hash = (hash ^ b) * 0x100000001B3ul;
            hash *= 0x9E3779B97F4A7C15ul;
        }
        return (uint)(hash >> 32) ^ (uint)BitOperations.RotateLeft(hash, 11);
    }
}
