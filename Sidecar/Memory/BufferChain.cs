using System;
using System.Buffers;
using System.Diagnostics;
using System.Runtime.CompilerServices;

namespace Sidecar.Memory;

/// <summary>
/// Bytes on their way out: a list of slab blocks, written at the tail and drained at the head. Moving bytes to another
/// chain of the same slab relinks whole blocks and copies nothing.
/// </summary>
/// <remarks>Worker-owned. An empty chain holds no block.</remarks>
internal sealed class BufferChain(Slab slab) : IBufferWriter<byte>
{
    private SlabBlock? _head;
    private SlabBlock? _tail;
    private long _length;

    /// <summary>Readable bytes.</summary>
    internal long Length => _length;
    internal bool IsEmpty => _length == 0;

    /// <summary>The most that one <see cref="GetSpan"/> can give, in bytes.</summary>
    internal int BlockSize => slab.BlockSize;

    /// <summary>The first contiguous run of readable bytes; empty when the chain is.</summary>
    internal ReadOnlySpan<byte> First => _head is null ? default : _head.Readable;

    /// <summary>True when all readable bytes lie in one block, so that one send(2) takes them.</summary>
    internal bool IsSingle => _head == _tail;

    /// <summary>Address of <see cref="First"/>; valid until the next call on this chain.</summary>
    internal nint FirstAddress => _head is null ? 0 : _head.Address + _head.Start;

    /// <summary>Room to write at the tail, at least <paramref name="sizeHint"/> bytes, which must not exceed a block.</summary>
    public Span<byte> GetSpan(int sizeHint = 1)
    {
        Debug.Assert(sizeHint <= slab.BlockSize);
        var tail = _tail;
        if (tail is null || tail.Length - tail.End < sizeHint)
            tail = AppendBlock();
        return tail.Span[tail.End..];
    }

    /// <summary>As <see cref="GetSpan"/>, for writers that want memory.</summary>
    public Memory<byte> GetMemory(int sizeHint = 1)
    {
        Debug.Assert(sizeHint <= slab.BlockSize);
        var tail = _tail;
        if (tail is null || tail.Length - tail.End < sizeHint)
            tail = AppendBlock();
        return tail.Array.AsMemory(tail.End);
    }

    /// <summary>Makes <paramref name="count"/> bytes of the last <see cref="GetSpan"/> readable.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Advance(int count)
    {
        Debug.Assert(_tail is not null || count == 0);
        if (count == 0)
            return;
        _tail!.End += count;
        _length += count;
        Debug.Assert(_tail.End <= _tail.Length);
    }

    /// <summary>Copies <paramref name="bytes"/> to the tail, over as many blocks as it takes.</summary>
    internal void Write(ReadOnlySpan<byte> bytes)
    {
        while (bytes.Length > 0)
        {
            var room = GetSpan();
            if (bytes.Length <= room.Length)
            {
                bytes.CopyTo(room);
                Advance(bytes.Length);
                return;
            }
            bytes[..room.Length].CopyTo(room);
            Advance(room.Length);
            bytes = bytes[room.Length..];
        }
    }

    internal void WriteByte(byte value)
    {
        GetSpan()[0] = value;
        Advance(1);
    }

    /// <summary>Drops <paramref name="count"/> bytes from the head; emptied blocks go back to the slab.</summary>
    internal void Drain(long count)
    {
        Debug.Assert(count <= _length);
        _length -= count;
        while (_head is { } head)
        {
            int have = head.End - head.Start;
            if (count < have)
            {
                head.Start += (int)count;
                return;
            }
            count -= have;
            ReturnHead();
        }
    }

    /// <summary>Drops everything.</summary>
    internal void Clear()
    {
        if (_head is not null)
            ReturnAll();
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void ReturnAll()
    {
        _length = 0;
        while (_head is not null)
            ReturnHead();
    }

    /// <summary>An empty chain of the same slab, so that bytes can move between both without copying.</summary>
    internal BufferChain NewSibling() => new(slab);

    /// <summary>Appends all bytes to <paramref name="other"/> by relinking; both chains must use the same slab.</summary>
    internal void MoveAllTo(BufferChain other)
    {
        Debug.Assert(other != this);
        if (_head is null)
            return;
        if (_length == 0)
        {
            Clear();
            return;
        }
        other.LinkBlocks(_head, _tail!, _length);
        _head = _tail = null;
        _length = 0;
    }

    /// <summary>Appends the first <paramref name="count"/> bytes to <paramref name="other"/>: whole blocks relinked, the last part copied.</summary>
    internal void MoveTo(BufferChain other, long count)
    {
        Debug.Assert(count <= _length);
        if (count == _length)
        {
            MoveAllTo(other);
            return;
        }
        while (count > 0)
        {
            var head = _head!;
            int have = head.End - head.Start;
            if (have > count)
            {
                other.Write(head.Readable[..(int)count]);
                head.Start += (int)count;
                _length -= count;
                return;
            }
            _head = head.Next;
            if (_head is null)
                _tail = null;
            head.Next = null;
            _length -= have;
            count -= have;
            if (have == 0)
                slab.Return(head);
            else
                other.LinkBlocks(head, head, have);
        }
        // An empty block in the middle must not become the head of what is left.
        Drain(0);
    }

    /// <summary>Describes the readable bytes from the head for writev(2).</summary>
    /// <returns>Entries filled; the chain may be longer than <paramref name="vectors"/> can say.</returns>
    internal int FillIovecs(Span<IoVector> vectors)
    {
        int count = 0;
        for (var block = _head; block is not null && count < vectors.Length; block = block.Next)
        {
            if (block.End == block.Start)
                continue;
            vectors[count].Base = block.Address + block.Start;
            vectors[count].Length = block.End - block.Start;
            count++;
        }
        return count;
    }

    /// <summary>Copies from the head without draining.</summary>
    /// <returns>Bytes copied: the smaller of both lengths.</returns>
    internal int CopyTo(Span<byte> destination)
    {
        int copied = 0;
        for (var block = _head; block is not null && copied < destination.Length; block = block.Next)
        {
            int n = Math.Min(block.End - block.Start, destination.Length - copied);
            block.Readable[..n].CopyTo(destination[copied..]);
            copied += n;
        }
        return copied;
    }

    public Enumerator GetEnumerator() => new(_head);

    /// <summary>Walks the readable runs without draining. The chain must not change meanwhile.</summary>
    internal ref struct Enumerator(SlabBlock? head)
    {
        private SlabBlock? _next = head;

        public ReadOnlySpan<byte> Current { get; private set; }

        public bool MoveNext()
        {
            while (_next is not null)
            {
                Current = _next.Readable;
                _next = _next.Next;
                if (!Current.IsEmpty)
                    return true;
            }
            return false;
        }
    }

    private void LinkBlocks(SlabBlock first, SlabBlock last, long bytes)
    {
        // A block taken by GetSpan but not written to must not come before bytes: First would be empty while the chain is not.
        if (_length == 0)
            Clear();
        if (_tail is null)
            _head = first;
        else
            _tail.Next = first;
        _tail = last;
        _length += bytes;
    }

    private void ReturnHead()
    {
        var head = _head!;
        _head = head.Next;
        if (_head is null)
            _tail = null;
        slab.Return(head);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private SlabBlock AppendBlock()
    {
        var block = slab.Rent();
        if (_tail is null)
            _head = block;
        else
            _tail.Next = block;
        _tail = block;
        return block;
    }
}
