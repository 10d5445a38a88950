using System;
using System.Buffers;
using System.Globalization;
using Encoding = System.Text.Encoding;
using Sidecar.Memory;

namespace Sidecar.Admin;

/// <summary>
/// A page that is written bit by bit, for what may have millions of lines: <see cref="AdminServer"/> asks for a piece when the client has taken the one
/// before. Between two pieces the configuration may have changed; a page keeps the list of what it shows from its beginning.
/// </summary>
/// <remarks>Control loop only; one request.</remarks>
internal abstract class AdminPage
{
    /// <summary>
    /// Writes the next bit: a row at most, and nothing that takes longer. Counts what it looked at by <see cref="PageWriter.Step"/>, also when nothing of it shows.
    /// </summary>
    /// <returns>False when that was the last.</returns>
    internal abstract bool WriteNext(PageWriter to);
}

/// <summary>Where a page writes: the piece that is being made, and how much work it was.</summary>
/// <remarks>Control loop only. The server has one for all its clients: what is in it is sent before anybody else's turn.</remarks>
internal sealed class PageWriter : IBufferWriter<byte>
{
    /// <summary>
    /// Bytes after which a piece is sent; it exceeds this by less than a row. With an ordinary row and the frame of a chunk it fits into one block of 16 KiB.
    /// </summary>
    internal const int PieceBytes = 15 * 1024;

    /// <summary>Stats or hosts looked at after which a piece ends, whatever it has come to: a filter may let through none of millions.</summary>
    internal const int PieceSteps = 4096;

    /// <summary>Room from the beginning: a piece and an ordinary row.</summary>
    private const int RoomBytes = PieceBytes + 5 * 1024;

    /// <summary>Room that a long row needed is kept up to this.</summary>
    private const int RoomKeptMax = 4 * RoomBytes;

    private byte[] _bytes = new byte[RoomBytes];
    private int _length;
    private int _steps;

    internal ReadOnlySpan<byte> Written => _bytes.AsSpan(0, _length);
    internal int Length => _length;

    /// <summary>The piece is to be sent, or the others are to have their turn.</summary>
    internal bool IsFull => _length >= PieceBytes || _steps >= PieceSteps;

    internal void Clear()
    {
        _length = _steps = 0;
        if (_bytes.Length > RoomKeptMax)
            _bytes = new byte[RoomBytes];
    }

    internal void Step(int count = 1) => _steps += count;

    public void Advance(int count) => _length += count;

    public Span<byte> GetSpan(int sizeHint = 1)
    {
        if (_bytes.Length - _length < Math.Max(sizeHint, 1))
            Array.Resize(ref _bytes, Math.Max(2 * _bytes.Length, _length + sizeHint));
        return _bytes.AsSpan(_length);
    }

    public Memory<byte> GetMemory(int sizeHint = 1)
    {
        GetSpan(sizeHint);
        return _bytes.AsMemory(_length);
    }

    internal PageWriter Write(ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(GetSpan(bytes.Length));
        _length += bytes.Length;
        return this;
    }

    internal PageWriter Write(ReadOnlySpan<char> text)
    {
        _length += Encoding.UTF8.GetBytes(text, GetSpan(Encoding.UTF8.GetMaxByteCount(text.Length)));
        return this;
    }

    internal PageWriter Write(long value)
    {
        _length += Ascii.FormatDecimal(value, GetSpan(20));
        return this;
    }

    /// <summary>At most three digits behind the point.</summary>
    internal PageWriter Write(double value)
    {
        // The longest double has 309 digits before it.
        value.TryFormat(GetSpan(330), out int written, "0.###", CultureInfo.InvariantCulture);
        _length += written;
        return this;
    }
}
