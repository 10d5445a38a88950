using System;
using System.Buffers;
using System.Diagnostics;
using System.Runtime.CompilerServices;

namespace Sidecar.Http.H2.Hpack;

/// <summary>What is known of a field's bytes; judged once, when they are decoded, and kept with a dynamic entry.</summary>
[Flags]
internal enum FieldFlags : byte
{
    None = 0,
    /// <summary>Never-indexed literal (RFC 7541 section 6.2.3).</summary>
    NeverIndexed = 1,
    /// <summary>The name is no lower-case token (RFC 9113 section 8.2.1), pseudo-headers' leading colon aside.</summary>
    InvalidName = 2,
    /// <summary>The value holds a control character, or starts or ends with white space (RFC 9113 section 8.2.1).</summary>
    InvalidValue = 4,
}

/// <summary>How <see cref="HpackDecoder.Next"/> ended.</summary>
internal enum HpackStatus : byte
{
    /// <summary>A field was decoded.</summary>
    Field,
    /// <summary>The input is used up at a border between representations.</summary>
    End,
    /// <summary>The input ends inside a representation, and more of the block is to come; the position stays at its start.</summary>
    Incomplete,
    /// <summary>A string longer than <see cref="HpackDecoder.StringBytesMax"/>, of which only a part is there: not waited for.</summary>
    TooLarge,
    /// <summary>COMPRESSION_ERROR (RFC 7541: every decoding error ends the connection).</summary>
    Error,
}

/// <summary>A decoded field. Spans are valid until the next call of the decoder.</summary>
internal ref struct HpackField
{
    internal HeaderId Id;
    internal FieldFlags Flags;
    internal ReadOnlySpan<byte> Name;
    internal ReadOnlySpan<byte> Value;

    /// <summary>What the field counts (RFC 9113 section 6.5.2).</summary>
    internal readonly int Size => Name.Length + Value.Length + DynamicTable.EntryOverhead;
}

/// <summary>A worker's room for Huffman-decoded strings and for encoded heads; grows to the largest seen.</summary>
internal sealed class HpackScratch
{
    private const int InitialBytes = 4096;

    internal byte[] Bytes = new byte[InitialBytes];

    /// <summary>Makes <see cref="Bytes"/> at least this long, keeping the first <paramref name="keep"/> bytes.</summary>
    internal void Ensure(int length, int keep = 0)
    {
        if (Bytes.Length < length)
            Grow(length, keep);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void Grow(int length, int keep)
    {
        byte[] larger = new byte[Math.Max(length, Bytes.Length * 2)];
        Bytes.AsSpan(0, keep).CopyTo(larger);
        Bytes = larger;
    }
}

/// <summary>
/// Decodes header blocks (RFC 7541), one field a call, straight from the frame: nothing is copied that the wire carries as it is.
/// </summary>
/// <remarks>One direction of one connection; the scratch is the worker's, used during a call only.</remarks>
internal sealed class HpackDecoder(HpackScratch scratch, int tableSizeLimit)
{
    /// <summary>Bytes a continued string may have, whichever way it is coded; set to the head's limit.</summary>
    internal int StringBytesMax = 60 * 1024;

    private static readonly SearchValues<byte> s_nameBytes = SearchValues.Create("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"u8);

    // RFC 9110 section 5.5: visible characters, SP, HTAB and obs-text; everything else ends or bends a line somewhere.
    private static readonly SearchValues<byte> s_controls = SearchValues.Create(
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 127]);

    private readonly DynamicTable _table = new(HpackEncoder.DefaultTableSize);
    private int _limit = Math.Max(tableSizeLimit, HpackEncoder.DefaultTableSize);
    private bool _fieldSeen;
    private bool _updateDue;

    internal DynamicTable Table => _table;

    /// <summary>Ready for another connection: the default size holds until the peer has acknowledged a smaller one, and may grow to a larger.</summary>
    internal void Reset(int tableSizeLimit)
    {
        _limit = Math.Max(tableSizeLimit, HpackEncoder.DefaultTableSize);
        _table.Reset(HpackEncoder.DefaultTableSize);
        _fieldSeen = _updateDue = false;
    }

    /// <summary>The peer knows our SETTINGS_HEADER_TABLE_SIZE: a smaller one must be signalled before its next field (RFC 7541 section 4.2).</summary>
    internal void SetLimit(int tableSizeLimit)
    {
        _limit = tableSizeLimit;
        _updateDue = _table.MaxSize > tableSizeLimit;
    }

    /// <summary>A new header block begins: table size updates are in order until its first field.</summary>
    internal void BeginBlock() => _fieldSeen = false;

    /// <summary>Decodes the next field.</summary>
    /// <param name="block">The block, or as much of it as is there.</param>
    /// <param name="position">Where to go on; moved past what was decoded.</param>
    /// <param name="last">The block ends with these bytes.</param>
    /// <param name="field">The field when the result is <see cref="HpackStatus.Field"/>.</param>
    internal HpackStatus Next(ReadOnlySpan<byte> block, ref int position, bool last, out HpackField field)
    {
        field = default;
        while (position < block.Length)
        {
            byte first = block[position];
            if (first >= 0x80)
            {
                // Indexed field (section 6.1).
                int at = position;
                if (!TryReadInteger(block, ref at, 7, out int index))
                    return Short(at, last);
                _fieldSeen = true;
                if (_updateDue || !Find(index, ref field))
                    return HpackStatus.Error;
                position = at;
                return HpackStatus.Field;
            }
            if ((first & 0xE0) != 0x20)
                return NextLiteral(block, ref position, last, ref field);

            // Dynamic table size update (section 6.3): only before the first field (section 4.2), at most what we allow.
            int end = position;
            if (!TryReadInteger(block, ref end, 5, out int size))
                return Short(end, last);
            if (_fieldSeen || size > _limit)
                return HpackStatus.Error;
            _table.SetMaxSize(size);
            _updateDue = false;
            position = end;
        }
        return HpackStatus.End;
    }

    /// <summary>Judges a name and a value the way the flags say.</summary>
    internal static FieldFlags Validate(HeaderId id, ReadOnlySpan<byte> name, ReadOnlySpan<byte> value)
    {
        var flags = FieldFlags.None;
        if (id == HeaderId.Unknown && !IsValidName(name))
            flags |= FieldFlags.InvalidName;
        if (!value.IsEmpty && (IsWhiteSpace(value[0]) || IsWhiteSpace(value[^1]) || value.ContainsAny(s_controls)))
            flags |= FieldFlags.InvalidValue;
        return flags;
    }

    private HpackStatus NextLiteral(ReadOnlySpan<byte> block, ref int position, bool last, ref HpackField field)
    {
        byte first = block[position];
        bool indexing = first >= 0x40;
        int at = position;
        if (!TryReadInteger(block, ref at, indexing ? 6 : 4, out int nameIndex))
            return Short(at, last);

        int scratchUsed = 0;
        var flags = FieldFlags.None;
        if (_updateDue)
            return HpackStatus.Error;
        if (nameIndex != 0)
        {
            if (!Find(nameIndex, ref field))
                return HpackStatus.Error;
            flags = field.Flags & FieldFlags.InvalidName;
            if (indexing && field.Id == HeaderId.Unknown && nameIndex > StaticTable.Count)
            {
                // The name's entry may go, or move, while the new one comes (section 4.4).
                scratch.Ensure(field.Name.Length);
                field.Name.CopyTo(scratch.Bytes);
                scratchUsed = field.Name.Length;
            }
        }
        else
        {
            var status = ReadString(block, ref at, last, ref scratchUsed, 0, out int nameStart, out int nameLength);
            if (status != HpackStatus.Field)
                return status;
            // Where the name lies is decided after the value: decoding that may move the scratch.
            field.Name = nameStart < 0 ? default : block.Slice(nameStart, nameLength);
            if (nameStart < 0)
                scratchUsed = nameLength;
            else if (nameLength == 0)
                field.Name = [];
        }

        int nameInScratch = scratchUsed;
        var valueStatus = ReadString(block, ref at, last, ref scratchUsed, nameInScratch, out int valueStart, out int valueLength);
        if (valueStatus != HpackStatus.Field)
            return valueStatus;

        if (nameInScratch > 0)
            field.Name = scratch.Bytes.AsSpan(0, nameInScratch);
        field.Value = valueStart < 0 ? scratch.Bytes.AsSpan(nameInScratch, valueLength) : block.Slice(valueStart, valueLength);
        if (nameIndex == 0)
        {
            field.Id = HeaderNames.Lookup(field.Name);
            flags = Validate(field.Id, field.Name, field.Value);
        }
        else
        {
            // The name was judged when its entry came.
            flags |= Validate(HeaderId.Method, default, field.Value);
        }
        _fieldSeen = true;
        if (indexing)
            _table.Add(field.Id, field.Name, field.Value, flags);
        else if ((first & 0x10) != 0)
            flags |= FieldFlags.NeverIndexed;
        field.Flags = flags;
        position = at;
        return HpackStatus.Field;
    }

    private bool Find(int index, ref HpackField field)
    {
        if (index == 0)
            return false;
        if (index <= StaticTable.Count)
        {
            field.Id = StaticTable.Id(index);
            field.Name = StaticTable.Name(index);
            field.Value = StaticTable.Value(index);
            field.Flags = FieldFlags.None;
            return true;
        }
        index -= StaticTable.Count;
        if (index > _table.Count)
            return false;
        ref readonly var entry = ref _table[index];
        field.Id = entry.Id;
        field.Name = _table.Name(in entry);
        field.Value = _table.Value(in entry);
        field.Flags = entry.Flags;
        return true;
    }

    /// <summary>Reads a string (section 5.2): <paramref name="start"/> in the block, or -1 when it was decoded into the scratch at <paramref name="scratchAt"/>.</summary>
    private HpackStatus ReadString(ReadOnlySpan<byte> block, ref int at, bool last, ref int scratchUsed, int scratchAt, out int start, out int length)
    {
        start = 0;
        length = 0;
        if (at >= block.Length)
            return last ? HpackStatus.Error : HpackStatus.Incomplete;
        bool huffman = block[at] >= 0x80;
        if (!TryReadInteger(block, ref at, 7, out int encodedLength))
            return Short(at, last);
        if (encodedLength > block.Length - at)
        {
            if (last)
                return HpackStatus.Error;
            return encodedLength > StringBytesMax ? HpackStatus.TooLarge : HpackStatus.Incomplete;
        }
        start = at;
        at += encodedLength;
        if (!huffman)
        {
            length = encodedLength;
            return HpackStatus.Field;
        }
        int room = Huffman.DecodedLengthMax(encodedLength);
        scratch.Ensure(scratchAt + room, scratchAt);
        length = Huffman.Decode(block.Slice(start, encodedLength), scratch.Bytes.AsSpan(scratchAt, room));
        start = -1;
        scratchUsed = scratchAt + length;
        return length < 0 ? HpackStatus.Error : HpackStatus.Field;
    }

    /// <summary>Reads an integer with an n-bit prefix (section 5.1). On false <paramref name="at"/> is -1 when it is too large, else it just ends early.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool TryReadInteger(ReadOnlySpan<byte> block, ref int at, int prefixBits, out int value)
    {
        int mask = (1 << prefixBits) - 1;
        value = block[at++] & mask;
        return value < mask || TryReadRest(block, ref at, ref value);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool TryReadRest(ReadOnlySpan<byte> block, ref int at, ref int value)
    {
        // Four more octets reach 2^28: beyond any table or string we would take; a fifth is refused, zeros included.
        for (int shift = 0; shift < 28; shift += 7)
        {
            if (at >= block.Length)
                return false;
            byte b = block[at++];
            value += (b & 0x7F) << shift;
            if (b < 0x80)
                return true;
        }
        at = -1;
        return false;
    }

    private static HpackStatus Short(int at, bool last) => at < 0 || last ? HpackStatus.Error : HpackStatus.Incomplete;

    private static bool IsWhiteSpace(byte b) => b is (byte)' ' or (byte)'\t';

    private static bool IsValidName(ReadOnlySpan<byte> name)
    {
        // A pseudo-header's colon is passed here; whether the name is known is the message's business.
        if (name.Length > 1 && name[0] == ':')
            name = name[1..];
        return name.Length > 0 && name.IndexOfAnyExcept(s_nameBytes) < 0;
    }
}
