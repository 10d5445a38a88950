using System;
using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using Sidecar.Memory;

namespace Sidecar.Http.H2;

/// <summary>
/// Writes frames to a connection's output, and knows how many of them the peer has not taken yet: what the limits on outbound frames are about.
/// </summary>
/// <remarks>
/// A frame counts as taken once its last byte left the output. To know that in O(1) and without a note for each, frames are counted in heaps, one
/// after the other; a heap is forgotten when the output has drained past its end. The count can be too high by what of the oldest heap is
/// out already, an eighth of the default limits, never too low.
/// </remarks>
internal sealed class FrameWriter(BufferChain output)
{
    private const int GoAwayDebugBytesMax = 128;

    /// <summary>Frames after which a heap is closed, and how many heaps there are: more than the default limits let anybody fill.</summary>
    private const int HeapFramesMax = 1250;
    private const int HeapControlFramesMax = 125;
    private const int Heaps = 16;

    private struct Heap
    {
        internal long End;
        internal int Frames;
        internal int ControlFrames;
    }

    // A power of two; more than one only where a peer takes its time.
    private Heap[] _heaps = new Heap[1];
    private int _oldest;
    private int _heapCount;

    internal BufferChain Output => output;

    /// <summary>Bytes ever written.</summary>
    internal long Written { get; private set; }

    /// <summary>Frames the peer has not taken, at most.</summary>
    internal int PendingFrames { get; private set; }

    /// <summary>Of them PING, SETTINGS and RST_STREAM: what a peer can make us send without cost to itself.</summary>
    internal int PendingControlFrames { get; private set; }

    /// <summary>DATA frames ever written.</summary>
    internal long DataFrames { get; private set; }

    internal void Reset()
    {
        _oldest = _heapCount = 0;
        PendingFrames = PendingControlFrames = 0;
        Written = 0;
        DataFrames = 0;
    }

    internal void WriteRaw(ReadOnlySpan<byte> bytes)
    {
        output.Write(bytes);
        Written += bytes.Length;
    }

    /// <summary>One DATA frame, straight into the output.</summary>
    internal void WriteData(uint streamId, ReadOnlySpan<byte> payload, bool endStream)
    {
        int room = FrameHeader.Size + payload.Length;
        Count(room, control: false);
        DataFrames++;
        var span = output.GetSpan(FrameHeader.Size);
        FrameHeader.Write(span, payload.Length, FrameType.Data, endStream ? FrameFlags.EndStream : FrameFlags.None, streamId);
        if (span.Length >= room)
        {
            payload.CopyTo(span[FrameHeader.Size..]);
            output.Advance(room);
        }
        else
        {
            output.Advance(FrameHeader.Size);
            output.Write(payload);
        }
    }

    /// <summary>One DATA frame with the first <paramref name="length"/> bytes of a chain, which loses them.</summary>
    internal void WriteData(uint streamId, BufferChain payload, int length, bool endStream)
    {
        Count(FrameHeader.Size + length, control: false);
        DataFrames++;
        WriteHeader(length, FrameType.Data, endStream ? FrameFlags.EndStream : FrameFlags.None, streamId);
        while (length > 0)
        {
            var run = payload.First;
            if (run.Length > length)
                run = run[..length];
            output.Write(run);
            length -= run.Length;
            payload.Drain(run.Length);
        }
    }

    /// <summary>HEADERS, and CONTINUATION where the block is longer than a frame may be.</summary>
    internal void WriteHeaders(uint streamId, ReadOnlySpan<byte> block, bool endStream, int maxFrameSize)
    {
        var flags = endStream ? FrameFlags.EndStream : FrameFlags.None;
        var type = FrameType.Headers;
        while (block.Length > maxFrameSize)
        {
            Count(FrameHeader.Size + maxFrameSize, control: false);
            WriteHeader(maxFrameSize, type, flags, streamId);
            output.Write(block[..maxFrameSize]);
            block = block[maxFrameSize..];
            type = FrameType.Continuation;
            flags = FrameFlags.None;
        }
        Count(FrameHeader.Size + block.Length, control: false);
        WriteHeader(block.Length, type, flags | FrameFlags.EndHeaders, streamId);
        output.Write(block);
    }

    internal void WriteRstStream(uint streamId, Http2Error code) => WriteWord(FrameType.RstStream, streamId, (uint)code, control: true);

    internal void WriteWindowUpdate(uint streamId, int increment) => WriteWord(FrameType.WindowUpdate, streamId, (uint)increment, control: false);

    internal void WriteSettingsAck()
    {
        Count(FrameHeader.Size, control: true);
        WriteHeader(0, FrameType.Settings, FrameFlags.Ack, 0);
    }

    /// <summary>SETTINGS with these entries, in order.</summary>
    internal void WriteSettings(ReadOnlySpan<(SettingId Id, uint Value)> entries)
    {
        Count(FrameHeader.Size + entries.Length * Http2Settings.EntryBytes, control: true);
        WriteHeader(entries.Length * Http2Settings.EntryBytes, FrameType.Settings, FrameFlags.None, 0);
        foreach (var (id, value) in entries)
        {
            var span = output.GetSpan(Http2Settings.EntryBytes);
            BinaryPrimitives.WriteUInt16BigEndian(span, (ushort)id);
            BinaryPrimitives.WriteUInt32BigEndian(span[2..], value);
            output.Advance(Http2Settings.EntryBytes);
        }
    }

    internal void WritePing(ReadOnlySpan<byte> payload, bool ack)
    {
        Count(FrameHeader.Size + 8, control: true);
        WriteHeader(8, FrameType.Ping, ack ? FrameFlags.Ack : FrameFlags.None, 0);
        output.Write(payload[..8]);
    }

    /// <summary>GOAWAY; <paramref name="debug"/> is for who reads the peer's log.</summary>
    internal void WriteGoAway(uint lastStreamId, Http2Error code, ReadOnlySpan<byte> debug)
    {
        if (debug.Length > GoAwayDebugBytesMax)
            debug = debug[..GoAwayDebugBytesMax];
        Count(FrameHeader.Size + 8 + debug.Length, control: false);
        WriteHeader(8 + debug.Length, FrameType.GoAway, FrameFlags.None, 0);
        var span = output.GetSpan(8);
        BinaryPrimitives.WriteUInt32BigEndian(span, lastStreamId);
        BinaryPrimitives.WriteUInt32BigEndian(span[4..], (uint)code);
        output.Advance(8);
        output.Write(debug);
    }

    private void WriteWord(FrameType type, uint streamId, uint word, bool control)
    {
        Count(FrameHeader.Size + 4, control);
        var span = output.GetSpan(FrameHeader.Size + 4);
        FrameHeader.Write(span, 4, type, FrameFlags.None, streamId);
        BinaryPrimitives.WriteUInt32BigEndian(span[FrameHeader.Size..], word);
        output.Advance(FrameHeader.Size + 4);
    }

    private void WriteHeader(int length, FrameType type, FrameFlags flags, uint streamId)
    {
        FrameHeader.Write(output.GetSpan(FrameHeader.Size), length, type, flags, streamId);
        output.Advance(FrameHeader.Size);
    }

    /// <summary>Counts a frame that is about to be written.</summary>
    private void Count(int bytes, bool control)
    {
        long sent = Written - output.Length;
        while (_heapCount > 0 && _heaps[_oldest].End <= sent)
        {
            PendingFrames -= _heaps[_oldest].Frames;
            PendingControlFrames -= _heaps[_oldest].ControlFrames;
            _oldest = (_oldest + 1) & (_heaps.Length - 1);
            _heapCount--;
        }
        Written += bytes;
        int newest = (_oldest + _heapCount - 1) & (_heaps.Length - 1);
        if (_heapCount == 0 || (_heapCount < Heaps && (_heaps[newest].Frames >= HeapFramesMax || _heaps[newest].ControlFrames >= HeapControlFramesMax)))
        {
            if (_heapCount == _heaps.Length)
                GrowHeaps();
            newest = (_oldest + _heapCount++) & (_heaps.Length - 1);
            _heaps[newest] = default;
        }
        ref var heap = ref _heaps[newest];
        heap.End = Written;
        heap.Frames++;
        PendingFrames++;
        if (!control)
            return;
        heap.ControlFrames++;
        PendingControlFrames++;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void GrowHeaps()
    {
        var larger = new Heap[_heaps.Length * 2];
        for (int i = 0; i < _heapCount; i++)
            larger[i] = _heaps[(_oldest + i) & (_heaps.Length - 1)];
        _heaps = larger;
        _oldest = 0;
    }
}
