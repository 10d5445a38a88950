using System;
using System.Diagnostics;
using Sidecar.Memory;
using Sidecar.Telemetry;

namespace Sidecar.Http.H2;

/// <summary>What a stream is, whichever role its codec plays: its id, its windows, which halves are over, and what it keeps back.</summary>
/// <remarks>
/// Worker-owned, one per <see cref="Http2ServerStream"/> or <see cref="Http2ClientStream"/> for good, pooled with it. A node of the codec's list of
/// streams that may send when the connection's window opens, or of the list of those whose end is to be told.
/// </remarks>
internal sealed class Http2Stream(Http2Pools pools, CodecStream face) : IntrusiveNode<Http2Stream>
{
    /// <summary>The stream as its user sees it.</summary>
    internal readonly CodecStream Face = face;

    /// <summary>Bytes accepted from the user that a window keeps back.</summary>
    internal readonly BufferChain Pending = new(pools.PendingSlab);

    internal Http2Codec? Codec;

    /// <summary>0 until a client stream's head is sent.</summary>
    internal uint Id;

    /// <summary>Place in <see cref="Http2StreamTable"/>.</summary>
    internal int Position;

    internal FlowWindow SendWindow;
    internal ReceiveWindow ReceiveWindow;

    /// <summary>Received and given to the sink, but not given back to any window while the sink has paused.</summary>
    internal int Withheld;
    internal int PauseCount;

    /// <summary>Nobody wants the rest of the peer's message: it is checked, counted here and dropped.</summary>
    internal bool Unwanted;
    internal int UnwantedBytes;

    /// <summary>Bytes the body must have by content-length; -1 when nobody said.</summary>
    internal long BodyExpected;
    internal long BodyReceived;

    /// <summary>What its decoded fields count (RFC 9113 section 6.5.2), all of them, kept or not.</summary>
    internal int FieldBytes;

    internal long OpenedMs;

    /// <summary>When it last sent something, or began to keep something back.</summary>
    internal long ProgressMs;

    internal bool LocalEnded;
    internal bool RemoteEnded;

    /// <summary>Over; the object only waits for its end to be told.</summary>
    internal bool Closed;

    /// <summary>The user knows of the stream, and so hears of its end.</summary>
    internal bool Announced;

    /// <summary>Informational heads received.</summary>
    internal int Informational;

    /// <summary>The final head of the peer's message is complete.</summary>
    internal bool HeadReceived;

    /// <summary>Our final head is out.</summary>
    internal bool HeadSent;

    /// <summary>The end, or trailers, follow what is pending.</summary>
    internal bool EndPending;
    internal bool TrailersPending;

    /// <summary>The sink was told to stop producing.</summary>
    internal bool SendBlocked;

    /// <summary>CONNECT with :protocol (RFC 8441), which the rest of the program sees as an upgrade.</summary>
    internal bool ExtendedConnect;

    /// <summary>An upgrade's head that waits for the server's SETTINGS; its sender keeps it while the stream is open.</summary>
    internal RequestHead? WaitingHead;

    /// <summary>The request's method, for what its response may hold.</summary>
    internal Method Method;

    // Only streams with trailers pay for them.
    private HeaderMap? _trailersIn;
    private HeaderMap? _trailersOut;

    internal HeaderMap TrailersIn => _trailersIn ??= new HeaderMap();
    internal HeaderMap TrailersOut => _trailersOut ??= new HeaderMap();

    internal MessageSink? Sink => Face is Http2ServerStream server ? server.Sink : ((Http2ClientStream)Face).Sink;

    internal bool HasPending => !Pending.IsEmpty || EndPending || TrailersPending;

    internal void Open(Http2Codec codec, uint id, FlowWindow send, ReceiveWindow receive, long nowMs)
    {
        Codec = codec;
        Id = id;
        SendWindow = send;
        ReceiveWindow = receive;
        BodyExpected = -1;
        OpenedMs = ProgressMs = nowMs;
    }

    internal void Reset()
    {
        Debug.Assert(List is null);
        Pending.Clear();
        Codec = null;
        Id = 0;
        Withheld = PauseCount = UnwantedBytes = FieldBytes = Informational = 0;
        BodyExpected = BodyReceived = 0;
        LocalEnded = RemoteEnded = Closed = Announced = HeadReceived = HeadSent = EndPending = TrailersPending = SendBlocked = ExtendedConnect = Unwanted = false;
        WaitingHead = null;
        Method = Method.Other;
        _trailersIn?.Reset();
        _trailersOut?.Reset();
    }
}

/// <summary>A request in, a response out. Pooled by the worker; calls after its end do nothing.</summary>
internal sealed class Http2ServerStream : ServerStream
{
    internal readonly Http2Stream Core;
    private readonly RequestHead _request = new();

    internal Http2ServerStream(Http2Pools pools) => Core = new Http2Stream(pools, this);

    internal override long Id => Core.Id;
    internal override RequestHead Request => _request;
    internal override long SendPending => Core.Pending.Length;

    internal override void SendInformational(ResponseHead head) => ((Http2ServerConnection?)Core.Codec)?.SendHead(Core, head, endStream: false, informational: true);
    internal override void SendHead(ResponseHead head, bool endStream) => ((Http2ServerConnection?)Core.Codec)?.SendHead(Core, head, endStream, informational: false);
    internal override void SendBody(ReadOnlySpan<byte> data, bool endStream) => Core.Codec?.SendBody(Core, data, endStream);
    internal override void SendTrailers(HeaderMap trailers) => Core.Codec?.SendTrailers(Core, trailers);
    internal override void Reset(Failure reason) => Core.Codec?.ResetStream(Core, reason);
    internal override void PauseReceiving() => Core.Codec?.Pause(Core);
    internal override void ResumeReceiving() => Core.Codec?.Resume(Core);
    internal override void DiscardRequest() => Core.Codec?.Discard(Core);

    internal void Recycle(Http2Pools pools)
    {
        Sink = null;
        _request.Reset();
        Core.Reset();
        pools.ServerStreams.Return(this);
    }
}

/// <summary>A request out, a response in. Pooled by the worker; calls after its end do nothing.</summary>
internal sealed class Http2ClientStream : ClientStream
{
    internal readonly Http2Stream Core;
    private readonly ResponseHead _response = new();

    internal Http2ClientStream(Http2Pools pools) => Core = new Http2Stream(pools, this);

    internal override long Id => Core.Id;
    internal override ResponseHead Response => _response;
    internal override long SendPending => Core.Pending.Length;

    internal override void SendHead(RequestHead head, bool endStream) => ((Http2ClientConnection?)Core.Codec)?.SendHead(Core, head, endStream);
    internal override void SendBody(ReadOnlySpan<byte> data, bool endStream) => Core.Codec?.SendBody(Core, data, endStream);
    internal override void SendTrailers(HeaderMap trailers) => Core.Codec?.SendTrailers(Core, trailers);
    internal override void Reset(Failure reason) => Core.Codec?.ResetStream(Core, reason);
    internal override void PauseReceiving() => Core.Codec?.Pause(Core);
    internal override void ResumeReceiving() => Core.Codec?.Resume(Core);

    internal void Recycle(Http2Pools pools)
    {
        Sink = null;
        _response.Reset();
        Core.Reset();
        pools.ClientStreams.Return(this);
    }
}
