using System;
using System.Diagnostics;
using Sidecar.Http.H2.Hpack;
using Sidecar.Memory;
using Sidecar.Telemetry;

namespace Sidecar.Http.H2;

/// <summary>HTTP/2 as a client speaks it (RFC 9113): requests out, responses in, many at once.</summary>
internal sealed class Http2ClientCodec(BufferChain output, CodecEvents events, Http2Options options, Http2Pools pools) : HttpClientCodec
{
    private readonly Http2ClientConnection _connection = new(output, events, options, pools);

    internal override BufferChain Output => _connection.Output;
    internal override HttpVersion Version => HttpVersion.Http2;
    internal override int ActiveStreams => _connection.ActiveStreams;
    internal override bool WantsInput => true;
    internal override bool IsFinished => _connection.IsFinished;
    internal override long NowMs { set => _connection.NowMs = value; }
    internal override bool CanOpenStream => _connection.CanOpenStream;
    internal override int MaxConcurrentStreams => _connection.MaxConcurrentStreams;

    /// <summary>Bytes held for this connection: fields of open streams, and bodies that windows keep back.</summary>
    internal long HeldBytes => _connection.HeldBytes;

    internal override ClientStream OpenStream(ResponseSink sink) => _connection.OpenStream(sink);
    internal override CodecResult Feed(ReadOnlySpan<byte> input) => _connection.Feed(input);
    internal override Failure OnEndOfInput() => _connection.ActiveStreams == 0 ? Failure.None : Failure.UpstreamConnectionTermination;
    internal override void OnConnectionLost(Failure reason) => _connection.OnConnectionLost(reason);
    internal override Failure OnTick(long nowMs) => _connection.OnTick(nowMs);
    internal override void OnOutputBlocked(bool blocked) => _connection.OnOutputBlocked(blocked);
    internal override void StartDrain() => _connection.StartDrain();
    internal override void FinishDrain() => _connection.StartDrain();
    internal override void Reset() => _connection.Reset();
}

/// <summary>The client's side of <see cref="Http2Codec"/>: how a request's head is written, and what a response's means.</summary>
/// <remarks>Worker-owned. The preface and SETTINGS are in Output as soon as the first stream's head, or from the first Feed.</remarks>
internal sealed class Http2ClientConnection(BufferChain output, CodecEvents events, Http2Options options, Http2Pools pools)
    : Http2Codec(output, events, options, pools, isServer: false)
{
    /// <summary>The last id a client can use (31 bits, odd).</summary>
    private const uint StreamIdMax = 0x7FFFFFFF;

    private uint _nextId = 1;
    private bool _prefaceSent;
    private bool _draining;
    private bool _goAwayReceived;
    private bool _idsUsedUp;
    private bool _regularSeen;

    internal bool CanOpenStream => !IsClosing && Failed == Failure.None && Streams.Count < MaxConcurrentStreams;

    internal int MaxConcurrentStreams => (int)Math.Min(Peer.MaxConcurrentStreams, (uint)Options.MaxConcurrentStreams);

    protected override bool IsClosing => _goAwayReceived || _draining || _idsUsedUp;

    // Servers open no streams here: push is refused.
    protected override uint LastPeerStream => 0;

    internal override void Reset()
    {
        base.Reset();
        _nextId = 1;
        _prefaceSent = _draining = _goAwayReceived = _idsUsedUp = false;
    }

    protected override int ReadPreface(ReadOnlySpan<byte> input)
    {
        SendPreface();
        return 0;
    }

    private void SendPreface()
    {
        if (_prefaceSent)
            return;
        _prefaceSent = true;
        Writer.WriteRaw(Http2Preface.Bytes);
        WriteSettings();
    }

    // ---- requests ------------------------------------------------------------------------------------------------

    internal ClientStream OpenStream(ResponseSink sink)
    {
        Debug.Assert(CanOpenStream);
        var face = Pools.ClientStreams.Rent();
        face.Sink = sink;
        face.Core.Announced = true;
        OpenStream(face.Core, 0);
        AddStream(face.Core);
        return face;
    }

    internal void SendHead(Http2Stream stream, RequestHead head, bool endStream)
    {
        if (!CanSend(stream))
            return;
        Debug.Assert(!stream.HeadSent);
        Enter();
        bool upgrade = head.IsUpgrade;
        if (upgrade && !PeerSettingsSeen)
        {
            // RFC 8441 section 3: not before the server has offered it, and it has not spoken yet.
            SendPreface();
            stream.WaitingHead = head;
            Leave();
            return;
        }
        if (upgrade && !Peer.EnableConnectProtocol)
        {
            var sink = stream.Sink;
            Close(stream, StreamEnd.ResetByUs);
            sink?.OnReset(Failure.UpstreamProtocolError);
            Leave();
            return;
        }
        SendPreface();
        TakeId(stream);
        stream.ExtendedConnect = upgrade;
        stream.Method = upgrade ? Method.Connect : head.Method;
        EncodeHead(stream, head, endStream);
        WriteBlock(stream, endStream);
        stream.HeadSent = true;
        if (endStream)
            EndLocal(stream);
        CheckOutbound();
        Leave();
    }

    protected override void OnFirstSettings()
    {
        for (int i = Streams.Count - 1; i >= 0; i--)
        {
            // Ends told on the way may have taken several streams out.
            if (i >= Streams.Count || Streams[i].WaitingHead is not { } head)
                continue;
            var stream = Streams[i];
            stream.WaitingHead = null;
            // An upgrade goes on behind its head, so the head never is the end.
            SendHead(stream, head, endStream: false);
            if (stream.Closed)
                continue;
            UpdateSendable(stream);
        }
        SendInTurns();
    }

    // Ids rise in the order heads are sent (section 5.1.1), so a stream has none before.
    private void TakeId(Http2Stream stream)
    {
        stream.Id = _nextId;
        CountOpened(_nextId);
        Streams.Index(stream);
        // Windows may have been changed by SETTINGS meanwhile: they were, with those of all open streams.
        stream.OpenedMs = NowMs;
        _idsUsedUp = _nextId == StreamIdMax;
        _nextId += 2;
    }

    private void EncodeHead(Http2Stream stream, RequestHead head, bool endStream)
    {
        Encoder.Begin();
        if (stream.Method is Method.Get or Method.Post)
            Encoder.AddStatic(stream.Method == Method.Get ? StaticTable.MethodGet : StaticTable.MethodPost);
        else if (stream.ExtendedConnect)
            Encoder.Add(HeaderId.Method, ":method"u8, "CONNECT"u8, neverIndexed: false);
        else
            Encoder.Add(HeaderId.Method, ":method"u8, head.MethodBytes, neverIndexed: false);
        if (stream.Method != Method.Connect || stream.ExtendedConnect)
        {
            Encoder.Add(HeaderId.Scheme, ":scheme"u8, head.Contains(HeaderId.Scheme) ? head.Scheme : "http"u8, neverIndexed: false);
            AddPseudo(HeaderId.Path, ":path"u8, head.Contains(HeaderId.Path) ? head.Path : "/"u8);
        }
        if (head.Contains(HeaderId.Authority))
            AddPseudo(HeaderId.Authority, ":authority"u8, head.Authority);
        if (stream.ExtendedConnect)
            Encoder.Add(HeaderId.Protocol, ":protocol"u8, head.Get(HeaderId.Upgrade), neverIndexed: false);
        EncodeFields(head);
        if (head.Framing.Kind == BodyKind.Length && !endStream && !head.Contains(HeaderId.ContentLength))
            EncodeContentLength(head.Framing.Length);
    }

    private void AddPseudo(HeaderId id, ReadOnlySpan<byte> name, ReadOnlySpan<byte> value)
    {
        if (!Encoder.TryAddRepeated(id, value))
            Encoder.Add(id, name, value, neverIndexed: false);
    }

    // ---- responses -----------------------------------------------------------------------------------------------

    protected override bool IsIdle(uint id) => (id & 1) == 0 || id >= _nextId;

    protected override void BeginBlock(uint id, bool endStream)
    {
        if (Streams.Find(id) is { } stream)
        {
            if (stream.RemoteEnded)
            {
                DiscardBlock(Http2Error.StreamClosed);
                return;
            }
            _regularSeen = false;
            UseBlock(stream.HeadReceived ? BlockUse.Trailers : BlockUse.Head, stream);
            return;
        }
        if (IsIdle(id))
        {
            Fail(Http2Error.ProtocolError, Failure.Http2ProtocolError);
            return;
        }
        switch (History[id])
        {
            case StreamEnd.ResetByUs:
                DiscardBlock(Http2Error.NoError);
                break;
            case StreamEnd.ResetByPeer:
                DiscardBlock(Http2Error.StreamClosed);
                break;
            default:
                Fail(Http2Error.StreamClosed, Failure.Http2StreamClosed);
                break;
        }
    }

    protected override Failure OnHeadField(Http2Stream stream, in HpackField field)
    {
        if (IsForbidden(in field))
            return Failure.Http2InvalidHeader;
        var head = ((Http2ClientStream)stream.Face).Response;
        if (field.Name[0] == ':')
        {
            // :status and nothing else, once, first, three digits (section 8.3.2).
            if (_regularSeen || head.Status != 0 || !field.Name.SequenceEqual(":status"u8))
                return Failure.Http2InvalidHeader;
            if (field.Value.Length != 3 || !Ascii.TryParseDecimal(field.Value, out long status) || status < 100)
                return Failure.Http2InvalidHeader;
            head.Status = (int)status;
            return Failure.None;
        }
        _regularSeen = true;
        if (field.Id == HeaderId.ContentLength)
        {
            var failure = OnContentLength(stream, field.Value);
            if (failure != Failure.None)
                return failure;
        }
        head.Add(field.Id, field.Name, field.Value, (field.Flags & FieldFlags.NeverIndexed) != 0);
        return Failure.None;
    }

    protected override void OnHead(Http2Stream stream, bool endStream, Failure failure)
    {
        var face = (Http2ClientStream)stream.Face;
        var head = face.Response;
        head.Version = HttpVersion.Http2;
        // A response has a status, no 101 (section 8.6), and does not end with an informational head (section 8.1).
        if (failure == Failure.None && (head.Status is 0 or 101 || (head.IsInformational && endStream)))
            failure = Failure.Http2InvalidHeader;
        if (failure == Failure.None && head.IsInformational && ++stream.Informational > HttpClientCodec.InformationalMax)
            failure = Failure.Http2InvalidHeader;
        if (failure == Failure.None && !head.IsInformational)
            failure = FinishResponse(stream, head, endStream);
        if (failure != Failure.None)
        {
            BadMessage(stream, failure);
            return;
        }
        var sink = (ResponseSink?)stream.Sink;
        if (head.IsInformational)
        {
            stream.BodyExpected = -1;
            sink?.OnInformational(head);
            if (!stream.Closed)
            {
                head.Reset();
                ReleaseFields(stream);
            }
            return;
        }
        stream.HeadReceived = true;
        stream.RemoteEnded = endStream;
        sink?.OnHead(head, endStream);
        EndIfBothEnded(stream);
    }

    /// <summary>What follows the head, by the request's method and the status (RFC 9110 section 6.4.1).</summary>
    private static Failure FinishResponse(Http2Stream stream, ResponseHead head, bool endStream)
    {
        if (stream.Method == Method.Connect && head.Status is >= 200 and < 300)
        {
            head.Remove(HeaderId.ContentLength);
            stream.BodyExpected = -1;
            head.Framing = new BodyFraming(BodyKind.Tunnel);
            if (stream.ExtendedConnect)
            {
                head.Status = 101;
                head.Add(HeaderId.Connection, "upgrade"u8);
            }
            return Failure.None;
        }
        if (stream.Method == Method.Head || head.Status is 204 or 304)
        {
            // content-length, if any, is that of the response that was not sent; not one byte may come.
            if (head.Status == 204)
                head.Remove(HeaderId.ContentLength);
            stream.BodyExpected = 0;
            if (!endStream)
                head.Framing = new BodyFraming(BodyKind.None);
            return Failure.None;
        }
        if (endStream)
            return stream.BodyExpected > 0 ? Failure.Http2InvalidHeader : Failure.None;
        head.Framing = stream.BodyExpected >= 0 ? new BodyFraming(BodyKind.Length, stream.BodyExpected) : new BodyFraming(BodyKind.Streamed);
        return Failure.None;
    }

    // The stream is among the open ones and hears of the connection's end there.
    protected override void AbandonHead(Http2Stream stream) { }

    protected override void Recycle(Http2Stream stream) => ((Http2ClientStream)stream.Face).Recycle(Pools);

    // ---- ends and errors -----------------------------------------------------------------------------------------

    protected override Failure ResetFailure(Http2Error code) => code == Http2Error.RefusedStream ? Failure.UpstreamRefusedStream : Failure.UpstreamReset;

    protected override Failure Reason(Failure failure) => failure switch
    {
        Failure.Http2HeadersTooLarge or Failure.Http2TooManyHeaders => Failure.UpstreamHeadersTooLarge,
        _ => Failure.UpstreamProtocolError,
    };

    protected override Http2Error ResetCode(Failure reason) =>
        reason is Failure.UpstreamProtocolError or Failure.UpstreamHeadersTooLarge ? Http2Error.ProtocolError : Http2Error.Cancel;

    // Streams above the last id were not looked at and can go elsewhere (section 6.8); the same holds for those whose head is not out.
    protected override void OnGoAway(uint lastStreamId, Http2Error code)
    {
        _goAwayReceived = true;
        for (int i = Streams.Count - 1; i >= 0; i--)
        {
            if (i >= Streams.Count)
                continue;
            var stream = Streams[i];
            if (stream.Id != 0 && stream.Id <= lastStreamId)
                continue;
            var sink = stream.Sink;
            Close(stream, StreamEnd.ResetByUs);
            sink?.OnReset(Failure.UpstreamRefusedStream);
        }
        Events.OnGoAway();
    }

    /// <summary>No more streams from us; says so once (section 6.8).</summary>
    internal void StartDrain()
    {
        if (_draining || Failed != Failure.None)
            return;
        _draining = true;
        if (!_prefaceSent)
            return;
        Enter();
        Writer.WriteGoAway(0, Http2Error.NoError, default);
        Leave();
    }
}
