using System;
using System.Buffers.Binary;
using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Sidecar.Http.H2.Hpack;

/// <summary>
/// The Huffman code of RFC 7541 appendix B. The code is canonical: codes of one length are consecutive in the order of their symbols, so the
/// lengths are the whole table and everything else is computed from them once.
/// </summary>
internal static class Huffman
{
    private const int Symbols = 257;

    /// <summary>End of string: its code is all ones, only ever seen as padding.</summary>
    private const int EndOfString = 256;
    private const int LengthMax = 30;

    /// <summary>Bits looked up at once: most pairs of letters and digits fit, and the table (8 KiB) stays in the first-level cache.</summary>
    private const int LookupBits = 11;

    /// <summary>Bits of each symbol's code, 16 symbols a row.</summary>
    private static ReadOnlySpan<byte> Lengths =>
    [
        13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
        28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
        6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
        5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
        13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
        7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
        15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
        6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
        20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
        24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
        22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
        21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
        26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
        19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
        20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
        26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
        30,
    ];

    /// <summary>What the next <see cref="LookupBits"/> bits start with: one symbol, two, or a longer code (<see cref="FirstBits"/> 0).</summary>
    private struct Lookup
    {
        internal byte First;
        internal byte Second;
        internal byte FirstBits;

        /// <summary>Bits of both symbols; 0 when there is only one.</summary>
        internal byte BothBits;
    }

    private static readonly uint[] s_codes = new uint[Symbols];
    private static readonly Lookup[] s_lookup = new Lookup[1 << LookupBits];

    // Canonical decoding of the long codes: for each length the first code, left-aligned in 32 bits, and where its symbols start.
    private static readonly uint[] s_firstCode = new uint[LengthMax + 2];
    private static readonly int[] s_firstSymbol = new int[LengthMax + 2];
    private static readonly ushort[] s_symbols = new ushort[Symbols];

    static Huffman()
    {
        uint code = 0;
        int position = 0;
        for (int length = 1; length <= LengthMax; length++)
        {
            s_firstCode[length] = code << (32 - length);
            s_firstSymbol[length] = position;
            for (int symbol = 0; symbol < Symbols; symbol++)
            {
                if (Lengths[symbol] != length)
                    continue;
                s_codes[symbol] = code++;
                s_symbols[position++] = (ushort)symbol;
            }
            code <<= 1;
        }
        s_firstCode[LengthMax + 1] = uint.MaxValue;
        for (uint bits = 0; bits < 1 << LookupBits; bits++)
            s_lookup[bits] = BuildLookup(bits);
    }

    /// <summary>Bytes the encoded form takes.</summary>
    internal static int EncodedLength(ReadOnlySpan<byte> text)
    {
        var lengths = Lengths;
        int bits = 0;
        foreach (byte b in text)
            bits += lengths[b];
        return (bits + 7) >> 3;
    }

    /// <summary>Encodes; the destination holds at least <see cref="EncodedLength"/> bytes.</summary>
    /// <returns>Bytes written.</returns>
    internal static int Encode(ReadOnlySpan<byte> text, Span<byte> destination)
    {
        var lengths = Lengths;
        ulong pending = 0;
        int bits = 0;
        int written = 0;
        foreach (byte b in text)
        {
            int length = lengths[b];
            pending = (pending << length) | s_codes[b];
            bits += length;
            if (bits < 32)
                continue;
            bits -= 32;
            BinaryPrimitives.WriteUInt32BigEndian(destination[written..], (uint)(pending >> bits));
            written += 4;
        }
        // Padding is the start of the end-of-string code: ones.
        int padding = -bits & 7;
        pending = (pending << padding) | ((1u << padding) - 1);
        bits += padding;
        while (bits > 0)
        {
            bits -= 8;
            destination[written++] = (byte)(pending >> bits);
        }
        return written;
    }

    /// <summary>The most bytes that <paramref name="encodedLength"/> bytes can decode to: the shortest code has 5 bits.</summary>
    internal static int DecodedLengthMax(int encodedLength) => encodedLength * 8 / 5 + 1;

    /// <summary>Decodes; the destination holds at least <see cref="DecodedLengthMax"/> bytes.</summary>
    /// <returns>Bytes written, or -1: the end-of-string symbol inside, padding of 8 bits or more, or padding that is not all ones (RFC 7541 section 5.2).</returns>
    internal static int Decode(ReadOnlySpan<byte> encoded, Span<byte> destination)
    {
        Debug.Assert(destination.Length >= DecodedLengthMax(encoded.Length));
        // An index of eleven bits is never outside of it.
        ref Lookup lookup = ref MemoryMarshal.GetArrayDataReference(s_lookup);
        ulong window = 0;       // unread bits, left-aligned
        int bits = 0;           // how many of them there are
        int position = 0;
        int written = 0;
        while (true)
        {
            if (bits <= 32)
            {
                if (position + 4 <= encoded.Length)
                {
                    window |= (ulong)BinaryPrimitives.ReadUInt32BigEndian(encoded[position..]) << (32 - bits);
                    position += 4;
                    bits += 32;
                }
                else
                {
                    while (position < encoded.Length)
                    {
                        window |= (ulong)encoded[position++] << (56 - bits);
                        bits += 8;
                    }
                }
            }

            var entry = Unsafe.Add(ref lookup, (nint)(window >> (64 - LookupBits)));
            int both = entry.BothBits;
            int one = entry.FirstBits;
            if (both != 0 && both <= bits)
            {
                BinaryPrimitives.WriteUInt16LittleEndian(destination[written..], (ushort)(entry.First | entry.Second << 8));
                written += 2;
                window <<= both;
                bits -= both;
            }
            else if (one != 0 && one <= bits)
            {
                destination[written++] = entry.First;
                window <<= one;
                bits -= one;
            }
            else
            {
                int length = one != 0 ? LengthMax + 1 : DecodeLong((uint)(window >> 32), out destination[written]);
                if (length > bits)
                    break;
                if (length == 0)
                    return -1;
                written++;
                window <<= length;
                bits -= length;
            }
        }
        // What is left is shorter than any code it could be the start of: it must be padding.
        return bits < 8 && (window >> 56 | (0xFFu >> bits)) == 0xFF ? written : -1;
    }

    /// <returns>Bits of the code, 0 when it is the end of string, more than there can be when no code fits.</returns>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static int DecodeLong(uint window, out byte symbol)
    {
        symbol = 0;
        for (int length = LookupBits + 1; length <= LengthMax; length++)
        {
            uint offset = (window - s_firstCode[length]) >> (32 - length);
            int position = s_firstSymbol[length] + (int)offset;
            int end = length == LengthMax ? Symbols : s_firstSymbol[length + 1];
            if (window < s_firstCode[length] || position >= end)
                continue;
            int value = s_symbols[position];
            if (value == EndOfString)
                return 0;
            symbol = (byte)value;
            return length;
        }
        return LengthMax + 1;
    }

    private static Lookup BuildLookup(uint bits)
    {
        var entry = new Lookup();
        if (!TryMatch(bits, LookupBits, out entry.First, out int first))
            return entry;
        entry.FirstBits = (byte)first;
        uint rest = bits & ((1u << (LookupBits - first)) - 1);
        if (TryMatch(rest, LookupBits - first, out entry.Second, out int second))
            entry.BothBits = (byte)(first + second);
        return entry;
    }

    private static bool TryMatch(uint bits, int available, out byte symbol, out int length)
    {
        for (int candidate = 0; candidate < EndOfString; candidate++)
        {
            length = Lengths[candidate];
            if (length > available || bits >> (available - length) != s_codes[candidate])
                continue;
            symbol = (byte)candidate;
            return true;
        }
        symbol = 0;
        length = 0;
        return false;
    }
}
