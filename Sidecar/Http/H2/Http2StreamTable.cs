using System;
using System.Diagnostics;

namespace Sidecar.Http.H2;

/// <summary>
/// A connection's open streams: by id in O(1), and all of them in a row. Ids of one side are consecutive odd numbers, so they spread perfectly over
/// a power of two; a peer that picks them otherwise only lengthens its own probes, by at most the streams it may open.
/// </summary>
/// <remarks>Nothing is held until the first stream; the arrays stay with the codec.</remarks>
internal sealed class Http2StreamTable
{
    private const int InitialCapacity = 8;

    private Http2Stream[] _dense = [];
    private Http2Stream?[] _slots = [];

    // How many stand elsewhere than their id says, because another stood there: none, as long as ids are consecutive and as few as there are slots.
    private int _displaced;

    internal int Count { get; private set; }

    /// <summary>Any open stream by position; positions change when a stream goes (the last takes its place), so walk downwards.</summary>
    internal Http2Stream this[int position] => _dense[position];

    internal Http2Stream? Find(uint id)
    {
        var slots = _slots;
        int mask = slots.Length - 1;
        if (mask < 0)
            return null;
        for (uint slot = id >> 1; ; slot++)
        {
            var stream = slots[(int)slot & mask];
            if (stream is null || stream.Id == id)
                return stream;
        }
    }

    /// <summary>Adds a stream; one without an id yet is found by walking only, until <see cref="Index"/>.</summary>
    internal void Add(Http2Stream stream)
    {
        if (Count == _dense.Length)
            Grow();
        stream.Position = Count;
        _dense[Count++] = stream;
        if (stream.Id != 0)
            Index(stream);
    }

    /// <summary>Makes a stream findable by the id it has now.</summary>
    internal void Index(Http2Stream stream)
    {
        Debug.Assert(stream.Id != 0);
        int mask = _slots.Length - 1;
        uint home = stream.Id >> 1;
        uint slot = home;
        while (_slots[(int)slot & mask] is not null)
            slot++;
        _slots[(int)slot & mask] = stream;
        if (slot != home)
            _displaced++;
    }

    internal void Remove(Http2Stream stream)
    {
        Debug.Assert(_dense[stream.Position] == stream);
        var last = _dense[--Count];
        _dense[stream.Position] = last;
        last.Position = stream.Position;
        _dense[Count] = null!;
        if (stream.Id != 0)
            Unindex(stream);
    }

    private void Unindex(Http2Stream stream)
    {
        int mask = _slots.Length - 1;
        int hole = (int)(stream.Id >> 1) & mask;
        if (_displaced == 0)
        {
            _slots[hole] = null;
            return;
        }
        if (_slots[hole] != stream)
            _displaced--;
        while (_slots[hole] != stream)
            hole = (hole + 1) & mask;
        // Close the gap: whatever was pushed past it by probing moves back.
        for (int next = (hole + 1) & mask; _slots[next] is { } moved; next = (next + 1) & mask)
        {
            int home = (int)(moved.Id >> 1) & mask;
            if (((next - home) & mask) < ((next - hole) & mask))
                continue;
            _slots[hole] = moved;
            if (hole == home)
                _displaced--;
            hole = next;
        }
        _slots[hole] = null;
    }

    private void Grow()
    {
        int capacity = Math.Max(InitialCapacity, _dense.Length * 2);
        Array.Resize(ref _dense, capacity);
        // Twice the streams: never more than half full.
        _slots = new Http2Stream?[capacity * 2];
        _displaced = 0;
        for (int i = 0; i < Count; i++)
        {
            if (_dense[i].Id != 0)
                Index(_dense[i]);
        }
    }
}

/// <summary>How a stream that is not open any more came to its end.</summary>
internal enum StreamEnd : byte
{
    /// <summary>It never was open: a higher one was opened before it (RFC 9113 section 5.1.1).</summary>
    Skipped,
    /// <summary>Both sides finished.</summary>
    Ended,
    /// <summary>The peer sent RST_STREAM.</summary>
    ResetByPeer,
    /// <summary>We did; what the peer sent before it knew is dropped. Also what is too long ago to tell.</summary>
    ResetByUs,
}

/// <summary>
/// Remembers how the last streams ended, two bits each: RFC 9113 section 5.1 wants frames on closed streams judged by that, and frames the peer
/// sent before it saw our RST_STREAM must not be taken for errors.
/// </summary>
internal sealed class StreamHistory
{
    /// <summary>Twice the streams that are open at once by default.</summary>
    private const int Streams = 2048;
    private const int PerWord = 32;

    // As many as the streams opened so far need, up to all.
    private ulong[] _words = [];
    private uint _last;

    internal void Reset()
    {
        Array.Clear(_words);
        _last = 0;
    }

    /// <summary>A stream opens: those between the last one and it never will.</summary>
    internal void Open(uint id)
    {
        if ((id >> 1) / PerWord >= (uint)_words.Length && _words.Length < Streams / PerWord)
            Grow(id >> 1);
        uint from = (_last + 1) >> 1;
        uint to = id >> 1;
        if (to - from >= Streams)
        {
            Array.Clear(_words);
        }
        else
        {
            for (uint i = from; i <= to; i++)
                Store(i, StreamEnd.Skipped);
        }
        _last = id;
    }

    internal void Close(uint id, StreamEnd end)
    {
        if (IsKnown(id))
            Store(id >> 1, end);
    }

    /// <summary>How an id at or below the last opened ended.</summary>
    internal StreamEnd this[uint id]
    {
        get
        {
            if (!IsKnown(id))
                return StreamEnd.ResetByUs;
            uint index = id >> 1;
            return (StreamEnd)((_words[index / PerWord % (uint)_words.Length] >> (int)(index % PerWord * 2)) & 3);
        }
    }

    // Below the full size no index has come round yet, so each keeps its word.
    private void Grow(uint index)
    {
        uint words = Math.Min(index / PerWord + 1, Streams / PerWord);
        Array.Resize(ref _words, (int)System.Numerics.BitOperations.RoundUpToPowerOf2(words));
    }

    private bool IsKnown(uint id) => _words.Length != 0 && (_last >> 1) - (id >> 1) < Streams;

    private void Store(uint index, StreamEnd end)
    {
        ref ulong word = ref _words[index / PerWord % (uint)_words.Length];
        int shift = (int)(index % PerWord * 2);
        word = (word & ~(3ul << shift)) | ((ulong)end << shift);
    }
}
