using System;
using System.Diagnostics;
using Sidecar.Http;
using Sidecar.Memory;

namespace Sidecar.Downstream;

/// <summary>Which part of a message a filter stopped at.</summary>
internal enum MessagePart : byte { None, Head, Body, Trailers }

/// <summary>
/// What waits, in one direction of a stream, while a filter has stopped it: the chunk the filter was shown, which is next for the filter after it,
/// and everything that arrived since, which no filter has seen.
/// </summary>
/// <remarks>Worker-owned, part of its <see cref="HttpStream"/>. Costs nothing while nothing is stopped.</remarks>
internal sealed class HeldMessage(Slab slab)
{
    private readonly BufferChain _unseen = new(slab);
    private byte[] _shown = [];
    private int _shownLength;

    /// <summary>The filter that stopped, or -1.</summary>
    internal int StoppedAt { get; private set; } = -1;
    internal MessagePart StoppedPart { get; private set; }

    internal bool IsStopped => StoppedAt >= 0;

    /// <summary>True while parts must queue: stopped, or still handing out what queued before.</summary>
    internal bool MustQueue => IsStopped || _unseen.Length > 0 || UnseenEnd || UnseenTrailers is not null;

    internal long HeldBytes => _unseen.Length + _shown.Length;

    internal ReadOnlySpan<byte> Shown => _shown.AsSpan(0, _shownLength);
    internal bool ShownEnd { get; private set; }

    internal BufferChain Unseen => _unseen;
    internal bool UnseenEnd { get; private set; }
    internal HeaderMap? UnseenTrailers { get; private set; }

    internal void StopAtHead(int filter) => Stop(filter, MessagePart.Head);

    internal void StopAtTrailers(int filter) => Stop(filter, MessagePart.Trailers);

    internal void StopAtBody(int filter, ReadOnlySpan<byte> data, bool endStream)
    {
        Stop(filter, MessagePart.Body);
        if (data.Length > _shown.Length)
        {
            ReturnShown();
            _shown = ThreadMemory.RentArray(data.Length);
        }
        data.CopyTo(_shown);
        _shownLength = data.Length;
        ShownEnd = endStream;
    }

    /// <summary>The filter goes on; returns where it was.</summary>
    internal (int Filter, MessagePart Part) Resume()
    {
        Debug.Assert(IsStopped);
        var where = (StoppedAt, StoppedPart);
        StoppedAt = -1;
        StoppedPart = MessagePart.None;
        return where;
    }

    internal void Queue(ReadOnlySpan<byte> data, bool endStream)
    {
        _unseen.Write(data);
        UnseenEnd |= endStream;
    }

    internal void Queue(HeaderMap trailers) => UnseenTrailers = trailers;

    internal void EndTaken() => UnseenEnd = false;

    internal void TrailersTaken() => UnseenTrailers = null;

    internal void Reset()
    {
        StoppedAt = -1;
        StoppedPart = MessagePart.None;
        _unseen.Clear();
        _shownLength = 0;
        ShownEnd = UnseenEnd = false;
        UnseenTrailers = null;
        ReturnShown();
    }

    private void Stop(int filter, MessagePart part)
    {
        Debug.Assert(!IsStopped);
        StoppedAt = filter;
        StoppedPart = part;
    }

    private void ReturnShown()
    {
        if (_shown.Length > 0)
            ThreadMemory.ReturnArray(_shown);
        _shown = [];
    }
}
