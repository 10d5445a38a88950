using System;
using System.Buffers;
using System.Buffers.Binary;
using System.Buffers.Text;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Text;

namespace Sidecar.Memory;

/// <summary>ASCII as HTTP uses it: case folding, tokens, and numbers, on bytes. Nothing here depends on a culture.</summary>
internal static class Ascii
{
    /// <summary>token characters (RFC 9110 section 5.6.2).</summary>
    internal static readonly SearchValues<byte> TokenBytes =
        SearchValues.Create("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"u8);

    internal static bool IsToken(ReadOnlySpan<byte> text) => text.Length > 0 && text.IndexOfAnyExcept(TokenBytes) < 0;

    internal static byte ToLower(byte b) => (uint)(b - 'A') <= 'Z' - 'A' ? (byte)(b | 0x20) : b;

    internal static bool IsDigit(byte b) => (uint)(b - '0') <= 9;

    /// <summary>Value of a hexadecimal digit, or -1.</summary>
    internal static int HexValue(byte b)
    {
        int digit = b - '0';
        if ((uint)digit <= 9)
            return digit;
        int letter = (b | 0x20) - 'a';
        return (uint)letter <= 5 ? letter + 10 : -1;
    }

    internal static bool EqualsIgnoreCase(ReadOnlySpan<byte> left, ReadOnlySpan<byte> right) =>
        System.Text.Ascii.EqualsIgnoreCase(left, right);

    /// <summary>Folds A–Z to a–z in place; other bytes, obs-text included, stay as they are.</summary>
    internal static void ToLowerInPlace(Span<byte> text)
    {
        // Eight bytes at a time: the sums carry into bit 7 exactly for A and above, and for what is above Z; the difference is A..Z.
        const ulong Sevens = 0x7F7F7F7F7F7F7F7F;
        while (text.Length >= sizeof(ulong))
        {
            ulong bytes = BinaryPrimitives.ReadUInt64LittleEndian(text);
            ulong low = bytes & Sevens;
            ulong fromA = low + 0x3F3F3F3F3F3F3F3F;
            ulong aboveZ = low + 0x2525252525252525;
            ulong upper = (fromA ^ aboveZ) & ~bytes & ~Sevens;
            BinaryPrimitives.WriteUInt64LittleEndian(text, bytes | (upper >> 2));
            text = text[sizeof(ulong)..];
        }
        for (int i = 0; i < text.Length; i++)
            text[i] = ToLower(text[i]);
    }

    /// <summary>Folds the token that begins at <paramref name="at"/> to lower case in place.</summary>
    /// <returns>Where it ends: at the first byte that no token has, or at the text's end.</returns>
    internal static int ToLowerToken(Span<byte> text, int at = 0)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(at);
        ref byte start = ref MemoryMarshal.GetReference(text);
        for (; at <= text.Length - Vector128<byte>.Count; at += Vector128<byte>.Count)
        {
            int length = FoldToken(ref Unsafe.Add(ref start, at), out _);
            if (length < Vector128<byte>.Count)
                return at + length;
        }
        var fold = TokenFold;
        for (; at < text.Length; at++)
        {
            byte folded = fold[text[at]];
            if (folded == 0)
                break;
            text[at] = folded;
        }
        return at;
    }

    /// <summary>Folds what is of a token among the sixteen bytes at <paramref name="at"/> to lower case in place; bytes behind its end stay as they are.</summary>
    /// <param name="at">Sixteen bytes from here may be read and written.</param>
    /// <param name="token">What is of the token, with zeroes behind it.</param>
    /// <returns>How many bytes that are; sixteen when the token may go on.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int FoldToken(ref byte at, out Vector128<byte> token)
    {
        // The lower half of a byte names a set of upper halves, as bits: with them it is a token character. Halves of 8 and above have no bit.
        var bytes = Vector128.LoadUnsafe(ref at);
        var high = Vector128.ShuffleNative(Vector128.Create(1, 2, 4, 8, 16, 32, 64, 128, 0, 0, 0, 0, 0, 0, 0, 0),
            (bytes.AsUInt16() >> 4).AsByte() & Vector128.Create((byte)0x0F));
        var sets = Vector128.ShuffleNative(TokenHighs, bytes & Vector128.Create((byte)0x0F));
        uint strays = Vector128.Equals(high & sets, Vector128<byte>.Zero).ExtractMostSignificantBits();
        int length = BitOperations.TrailingZeroCount(strays | 1u << Vector128<byte>.Count);
        // 'A' to 'Z' are moved to the 26 lowest signed numbers. Those behind the first stray are not ours.
        var ours = Vector128.LoadUnsafe(ref MemoryMarshal.GetReference(FirstBytes), (nuint)(Vector128<byte>.Count - length));
        var moved = (bytes - Vector128.Create((byte)('A' + 0x80))).AsSByte();
        var upper = Vector128.LessThan(moved, Vector128.Create((sbyte)(-0x80 + 26))).AsByte() & Vector128.Create((byte)0x20) & ours;
        var folded = bytes | upper;
        folded.StoreUnsafe(ref at);
        token = folded & ours;
        return length;
    }

    // A vector from place 16 - n on has its first n bytes set.
    private static ReadOnlySpan<byte> FirstBytes =>
    [
        0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];

    // For each lower half of a byte the upper halves with which it is a token character: bit 2 for 0x20 to 0x2F and so on. A test compares it with TokenFold.
    private static Vector128<byte> TokenHighs => Vector128.Create(
        (byte)0b1110_1000, 0b1111_1100, 0b1111_1000, 0b1111_1100, 0b1111_1100, 0b1111_1100, 0b1111_1100, 0b1111_1100,
        0b1111_1000, 0b1111_1000, 0b1111_0100, 0b0101_0100, 0b1101_0000, 0b0101_0100, 0b1111_0100, 0b0111_0000);

    // Each token character in lower case, 0 for every other byte.
    private static ReadOnlySpan<byte> TokenFold =>
        "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"u8
        + "\0!\0#$%&'\0\0*+\0-.\00123456789\0\0\0\0\0\0"u8
        + "\0abcdefghijklmnopqrstuvwxyz\0\0\0^_"u8
        + "`abcdefghijklmnopqrstuvwxyz\0|\0~\0"u8
        + "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"u8
        + "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"u8
        + "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"u8
        + "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"u8;

    /// <summary>A string's bytes, one byte per char (Latin-1); chars above 0xFF become '?'.</summary>
    internal static byte[] Bytes(string text) => Encoding.Latin1.GetBytes(text);

    /// <summary>Bytes as a string, one char per byte, so that nothing is lost or replaced.</summary>
    internal static string String(ReadOnlySpan<byte> bytes) => Encoding.Latin1.GetString(bytes);

    /// <summary>Parses an unsigned decimal of digits only (no sign, no space, not empty).</summary>
    /// <returns>False when it is not one or exceeds <see cref="long.MaxValue"/>.</returns>
    internal static bool TryParseDecimal(ReadOnlySpan<byte> text, out long value)
    {
        // Nineteen digits fit 64 bits without sign, so one look at the end is enough.
        ulong sum = 0;
        value = 0;
        if (text.IsEmpty || text.Length > 19)
            return false;
        foreach (byte b in text)
        {
            uint digit = (uint)(b - '0');
            if (digit > 9)
                return false;
            sum = sum * 10 + digit;
        }
        if (sum > long.MaxValue)
            return false;
        value = (long)sum;
        return true;
    }

    /// <summary>What a decimal number of 64 bits takes at most.</summary>
    internal const int DecimalBytesMax = 20;

    /// <summary>Writes <paramref name="value"/> in decimal; the destination needs <see cref="DecimalBytesMax"/> bytes at most.</summary>
    /// <returns>Bytes written.</returns>
    internal static int FormatDecimal(long value, Span<byte> destination)
    {
        if ((ulong)value > MaxShortDecimal)
        {
            Utf8Formatter.TryFormat(value, destination, out int written);
            return written;
        }
        // Status codes, lengths, milliseconds: a few digits, faster than the general way.
        uint left = (uint)value;
        int length = left < 10 ? 1 : left < 100 ? 2 : left < 1000 ? 3 : left < 10_000 ? 4 : left < 100_000 ? 5 : left < 1_000_000 ? 6 : 7;
        for (int i = length - 1; i >= 0; i--)
        {
            uint tens = left / 10;
            destination[i] = (byte)('0' + left - tens * 10);
            left = tens;
        }
        return length;
    }

    private const ulong MaxShortDecimal = 9_999_999;

    /// <summary>Without leading and trailing SP and HTAB (OWS, RFC 9110 section 5.6.3).</summary>
    internal static ReadOnlySpan<byte> TrimOws(ReadOnlySpan<byte> text)
    {
        int start = 0;
        int end = text.Length;
        while (start < end && text[start] is (byte)' ' or (byte)'\t')
            start++;
        while (end > start && text[end - 1] is (byte)' ' or (byte)'\t')
            end--;
        return text[start..end];
    }
}
