using System;
using System.Buffers.Binary;
using System.Diagnostics;

namespace Sidecar.Wire;

/// <summary>
/// Protobuf wire bytes as they grow. A nested message is written in place behind one byte reserved for its length;
/// when the length needs more, the message moves up (most need no move, and nesting is bounded). One owner, reusable after Clear.
/// </summary>
internal sealed class WireWriter
{
    private byte[] _bytes;

    /// <summary>An empty buffer of this capacity.</summary>
    public WireWriter(int capacity = 256) => _bytes = new byte[capacity];

    /// <summary>How many bytes are written.</summary>
    public int Length { get; private set; }

    /// <summary>What is written; valid until the next write.</summary>
    public ReadOnlySpan<byte> Written => _bytes.AsSpan(0, Length);

    /// <summary>Gives away what is written, and is empty afterwards. Not copied, unless much of the buffer would be kept for nothing.</summary>
    public ReadOnlyMemory<byte> Take()
    {
        if (Length < _bytes.Length / 2)
        {
            byte[] copy = Written.ToArray();
            Length = 0;
            return copy;
        }
        var taken = new ReadOnlyMemory<byte>(_bytes, 0, Length);
        _bytes = [];
        Length = 0;
        return taken;
    }

    /// <summary>Forgets everything written.</summary>
    public void Clear() => Length = 0;

    /// <summary>Takes back everything written since Length was this.</summary>
    public void Truncate(int length)
    {
        Debug.Assert(length <= Length);
        Length = length;
    }

    /// <summary>Room for this many bytes; Commit says how many were used.</summary>
    public Span<byte> Reserve(int bytes)
    {
        if (_bytes.Length - Length < bytes)
            Grow(Math.Max(_bytes.Length * 2, Length + bytes));
        return _bytes.AsSpan(Length);
    }

    private void Grow(int capacity)
    {
        byte[] larger = GC.AllocateUninitializedArray<byte>(capacity);
        Written.CopyTo(larger);
        _bytes = larger;
    }

    /// <summary>Counts bytes written into Reserve.</summary>
    public void Commit(int bytes) => Length += bytes;

    /// <summary>A base-128 number.</summary>
    public void Varint(ulong value)
    {
        Span<byte> to = Reserve(10);
        int at = 0;
        while (value >= 0x80)
        {
            to[at++] = (byte)(value | 0x80);
            value >>= 7;
        }
        to[at++] = (byte)value;
        Length += at;
    }

    /// <summary>A field's number with the way its value is encoded (0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes).</summary>
    public void Tag(int number, int encoding) => Varint(((ulong)(uint)number << 3) | (uint)encoding);

    /// <summary>Four bytes, little-endian.</summary>
    public void Fixed32(uint value)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(Reserve(4), value);
        Length += 4;
    }

    /// <summary>Eight bytes, little-endian.</summary>
    public void Fixed64(ulong value)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(Reserve(8), value);
        Length += 8;
    }

    /// <summary>Length and bytes.</summary>
    public void Bytes(ReadOnlySpan<byte> value)
    {
        Varint((uint)value.Length);
        value.CopyTo(Reserve(value.Length));
        Length += value.Length;
    }

    /// <summary>A length-delimited field.</summary>
    public void Field(int number, ReadOnlySpan<byte> value)
    {
        Tag(number, 2);
        Bytes(value);
    }

    /// <summary>Begins something length-delimited; End takes what this returned.</summary>
    public int Begin()
    {
        Reserve(1);
        return Length++;
    }

    /// <summary>Ends it: puts the length where Begin was.</summary>
    public void End(int begun)
    {
        int length = Length - begun - 1;
        if (length < 0x80)
        {
            _bytes[begun] = (byte)length;
            return;
        }
        int more = 0;
        for (int rest = length >> 7; rest > 0; rest >>= 7)
            more++;
        Reserve(more);
        Buffer.BlockCopy(_bytes, begun + 1, _bytes, begun + 1 + more, length);
        Length += more;
        int at = begun;
        for (; length >= 0x80; length >>= 7)
            _bytes[at++] = (byte)(length | 0x80);
        _bytes[at] = (byte)length;
    }
}

/// <summary>Reads protobuf wire bytes; never past their end. A method returns false, and changes nothing that matters, where they are broken.</summary>
internal ref struct WireReader(ReadOnlySpan<byte> bytes)
{
    private readonly ReadOnlySpan<byte> _bytes = bytes;

    /// <summary>How far it has read.</summary>
    public int Position { get; private set; }

    /// <summary>Nothing is left.</summary>
    public readonly bool AtEnd => Position >= _bytes.Length;

    /// <summary>A base-128 number of at most ten bytes.</summary>
    public bool TryVarint(out ulong value)
    {
        value = 0;
        for (int shift = 0; shift < 70 && Position < _bytes.Length; shift += 7)
        {
            byte b = _bytes[Position++];
            value |= (ulong)(b & 0x7F) << shift;
            if (b < 0x80)
                return true;
        }
        return false;
    }

    /// <summary>A field's number and encoding. Numbers out of range and groups are refused.</summary>
    public bool TryTag(out uint number, out int encoding)
    {
        bool read = TryVarint(out ulong tag);
        number = (uint)(tag >> 3);
        encoding = (int)(tag & 7);
        return read && tag >> 3 is > 0 and <= 0x1FFFFFFF && encoding is 0 or 1 or 2 or 5;
    }

    /// <summary>Four or eight bytes, little-endian, as the encoding says.</summary>
    public bool TryFixed(int encoding, out ulong value)
    {
        int size = encoding == 1 ? 8 : 4;
        value = 0;
        if (_bytes.Length - Position < size)
            return false;
        value = size == 8
            ? BinaryPrimitives.ReadUInt64LittleEndian(_bytes[Position..])
            : BinaryPrimitives.ReadUInt32LittleEndian(_bytes[Position..]);
        Position += size;
        return true;
    }

    /// <summary>A length and that many bytes.</summary>
    public bool TryBytes(out ReadOnlySpan<byte> value)
    {
        value = default;
        if (!TryVarint(out ulong length) || length > (ulong)(_bytes.Length - Position))
            return false;
        value = _bytes.Slice(Position, (int)length);
        Position += (int)length;
        return true;
    }

    /// <summary>A number in any of the encodings that numbers have.</summary>
    public bool TryNumber(int encoding, out ulong value)
    {
        if (encoding == 0)
            return TryVarint(out value);
        value = 0;
        return encoding != 2 && TryFixed(encoding, out value);
    }

    /// <summary>Over one value.</summary>
    public bool TrySkip(int encoding) => encoding == 2 ? TryBytes(out _) : TryNumber(encoding, out _);
}
