using System;
using System.Diagnostics;
using System.Runtime.CompilerServices;

namespace Sidecar.Memory;

/// <summary>
/// A contiguous sliding buffer for the receive side: bytes that a protocol could not use yet, presented again in one run with
/// what follows. Starts on a slab block and moves to a larger pooled array only when one run outgrows the block.
/// </summary>
/// <remarks>Worker-owned. Empty means no memory held.</remarks>
internal sealed class ByteBuffer(Slab slab)
{
    private SlabBlock? _block;
    private byte[]? _large;
    private int _start;
    private int _end;

    internal int Length => _end - _start;
    internal bool IsEmpty => _end == _start;
    internal ReadOnlySpan<byte> Readable => Storage is { } storage ? new(storage, _start, _end - _start) : default;

    private byte[]? Storage => _large ?? _block?.Array;

    /// <summary>Room after the readable bytes, at least <paramref name="min"/> bytes.</summary>
    internal Span<byte> GetWritable(int min)
    {
        var storage = Storage;
        if (storage is null || storage.Length - _end < min)
            storage = MakeRoom(min);
        return storage.AsSpan(_end);
    }

    internal void Commit(int count)
    {
        _end += count;
        Debug.Assert(_end <= Storage!.Length);
    }

    internal void Write(ReadOnlySpan<byte> bytes)
    {
        if (bytes.IsEmpty)
            return;
        bytes.CopyTo(GetWritable(bytes.Length));
        Commit(bytes.Length);
    }

    /// <summary>Drops bytes from the front; the memory goes back when none is left.</summary>
    internal void Consume(int count)
    {
        Debug.Assert(count <= Length);
        _start += count;
        if (_start == _end)
            Reset();
    }

    /// <summary>Drops everything and gives the memory back.</summary>
    internal void Reset()
    {
        _start = _end = 0;
        if (_block is not null)
        {
            slab.Return(_block);
            _block = null;
        }
        if (_large is not null)
        {
            ThreadMemory.ReturnArray(_large);
            _large = null;
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private byte[] MakeRoom(int min)
    {
        int length = Length;
        var storage = Storage;
        if (storage is not null && storage.Length - length >= min)
        {
            Buffer.BlockCopy(storage, _start, storage, 0, length);
        }
        else if (storage is null && min <= slab.BlockSize)
        {
            _block = slab.Rent();
            storage = _block.Array;
        }
        else
        {
            // Doubling keeps the cost of a run that arrives byte by byte linear.
            byte[] larger = ThreadMemory.RentArray(Math.Max(length + min, 2 * (storage?.Length ?? slab.BlockSize)));
            if (storage is not null)
                Buffer.BlockCopy(storage, _start, larger, 0, length);
            Reset();
            _large = larger;
            storage = larger;
        }
        _start = 0;
        _end = length;
        return storage;
    }
}
