using System;

namespace Sidecar.Memory;

/// <summary>
/// Writes bytes into a span of fixed size and remembers when they did not fit; nothing is written past the end, and what
/// was written before stays. The caller looks at <see cref="Overflowed"/> once, at the end.
/// </summary>
internal ref struct SpanWriter(Span<byte> destination)
{
    private readonly Span<byte> _destination = destination;

    /// <summary>Bytes written so far.</summary>
    internal int Length { get; private set; }

    /// <summary>True once something did not fit; what is written is then not the whole text.</summary>
    internal bool Overflowed { get; private set; }

    internal readonly ReadOnlySpan<byte> Written => _destination[..Length];

    internal void Write(scoped ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length > _destination.Length - Length)
        {
            Overflowed = true;
            return;
        }
        bytes.CopyTo(_destination[Length..]);
        Length += bytes.Length;
    }

    internal void WriteByte(byte value)
    {
        if (Length == _destination.Length)
        {
            Overflowed = true;
            return;
        }
        _destination[Length++] = value;
    }

    internal void WriteDecimal(long value)
    {
        Span<byte> digits = stackalloc byte[20];
        Write(digits[..Ascii.FormatDecimal(value, digits)]);
    }

    /// <summary>Forgets what was written after <paramref name="length"/> bytes.</summary>
    internal void Truncate(int length)
    {
        if (length < Length)
            Length = length;
    }
}
