using System;
using System.Buffers;
using System.Diagnostics;
using Sidecar.Http.H2.Hpack;
using Sidecar.Memory;
using Sidecar.Telemetry;

namespace Sidecar.Http.H2;

/// <summary>HTTP/2 as a server speaks it (RFC 9113): requests in, responses out.</summary>
internal sealed class Http2ServerCodec(BufferChain output, ServerCodecEvents events, Http2Options options, Http2Pools pools) : HttpCodec
{
    private readonly Http2ServerConnection _connection = new(output, events, options, pools);

    internal override BufferChain Output => _connection.Output;
    internal override HttpVersion Version => HttpVersion.Http2;
    internal override int ActiveStreams => _connection.ActiveStreams;
    internal override bool WantsInput => true;
    internal override bool InputDeferred => _connection.InputDeferred;
    internal override bool IsHeadPartial => _connection.IsHeadPartial;
    internal override bool IsFinished => _connection.IsFinished;
    internal override long NowMs { set => _connection.NowMs = value; }

    /// <summary>Bytes held for this connection: fields of open streams, and bodies that windows keep back.</summary>
    internal long HeldBytes => _connection.HeldBytes;

    internal override CodecResult Feed(ReadOnlySpan<byte> input) => _connection.Feed(input);
    internal override Failure OnEndOfInput() => _connection.ActiveStreams == 0 ? Failure.None : Failure.DownstreamDisconnect;
    internal override void OnConnectionLost(Failure reason) => _connection.OnConnectionLost(reason);
    internal override Failure OnTick(long nowMs) => _connection.OnTick(nowMs);
    internal override void OnOutputBlocked(bool blocked) => _connection.OnOutputBlocked(blocked);
    internal override void StartDrain() => _connection.StartDrain();
    internal override void FinishDrain() => _connection.FinishDrain();
    internal override void Reset() => _connection.Reset();
}

/// <summary>The server's side of <see cref="Http2Codec"/>: what a request's head means, and how a response's is written.</summary>
/// <remarks>Worker-owned.</remarks>
internal sealed class Http2ServerConnection : Http2Codec
{
    private const uint StreamIdMax = 0x7FFFFFFF;

    // What may stand in :path and :authority: visible ASCII and obs-text; no fragment's business here (paths are normalised later).
    private static readonly SearchValues<byte> s_pathControls = SearchValues.Create(
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 127]);

    // RFC 3986 section 3.2 without user information, which RFC 9113 section 8.3.1 forbids.
    private static readonly SearchValues<byte> s_authorityBytes =
        SearchValues.Create("!$%&'()*+,-.0123456789:;=ABCDEFGHIJKLMNOPQRSTUVWXYZ[]_abcdefghijklmnopqrstuvwxyz~"u8);

    private static readonly SearchValues<byte> s_schemeBytes = SearchValues.Create("+-.0123456789abcdefghijklmnopqrstuvwxyz"u8);

    private readonly ServerCodecEvents _events;
    private bool _prefaceRead;
    private bool _settingsSent;
    private bool _drainStarted;
    private bool _drainFinal;
    private uint _lastStream;
    private long _closedStreams;
    private long _earlyEnds;
    private bool _regularSeen;

    internal Http2ServerConnection(BufferChain output, ServerCodecEvents events, Http2Options options, Http2Pools pools)
        : base(output, events, options, pools, isServer: true) => _events = events;

    protected override bool IsClosing => _drainFinal;
    protected override uint LastPeerStream => _lastStream;

    internal override void Reset()
    {
        base.Reset();
        _prefaceRead = _settingsSent = _drainStarted = _drainFinal = false;
        _lastStream = 0;
        _closedStreams = _earlyEnds = 0;
    }

    protected override int ReadPreface(ReadOnlySpan<byte> input)
    {
        if (_prefaceRead)
            return 0;
        // Our SETTINGS is our preface; whoever speaks to us gets it first, even before GOAWAY (section 3.4).
        if (!_settingsSent && !input.IsEmpty)
        {
            _settingsSent = true;
            WriteSettings();
        }
        switch (Http2Preface.Detect(input))
        {
            case PrefaceMatch.Match:
                _prefaceRead = true;
                return Http2Preface.Bytes.Length;
            case PrefaceMatch.Mismatch:
                Fail(Http2Error.ProtocolError, Failure.Http2ProtocolError);
                break;
        }
        return -1;
    }

    // ---- requests ------------------------------------------------------------------------------------------------

    protected override bool IsIdle(uint id) => (id & 1) == 0 || id > _lastStream;

    protected override void BeginBlock(uint id, bool endStream)
    {
        if (Streams.Find(id) is { } open)
        {
            if (open.RemoteEnded)
            {
                DiscardBlock(Http2Error.StreamClosed);
                return;
            }
            UseBlock(BlockUse.Trailers, open);
            // A stream that is open cannot be refused any more, but what a thousand of them may still bring needs a bound, too.
            if (AreFieldsFull)
                RejectBlock(Failure.Http2HeadersTooLarge);
            return;
        }
        if ((id & 1) == 0)
        {
            Fail(Http2Error.ProtocolError, Failure.Http2ProtocolError);
            return;
        }
        if (id <= _lastStream)
        {
            BeginBlockOnClosed(id);
            return;
        }
        _lastStream = id;
        CountOpened(id);
        // REFUSED_STREAM: nothing was done with the request, it may be sent again, here or elsewhere (section 8.7).
        if (_drainFinal || Streams.Count >= Options.MaxConcurrentStreams || AreFieldsFull || _events.RefusesStream())
        {
            DiscardBlock(Http2Error.RefusedStream);
        }
        else if (IsHeldFull)
        {
            DiscardBlock(Http2Error.EnhanceYourCalm);
        }
        else
        {
            var stream = Pools.ServerStreams.Rent().Core;
            OpenStream(stream, id);
            _regularSeen = false;
            UseBlock(BlockUse.Head, stream);
        }
    }

    // RFC 9113 section 5.1, "closed".
    private void BeginBlockOnClosed(uint id)
    {
        switch (History[id])
        {
            case StreamEnd.ResetByUs:
                DiscardBlock(Http2Error.NoError);
                break;
            case StreamEnd.ResetByPeer:
                DiscardBlock(Http2Error.StreamClosed);
                break;
            case StreamEnd.Ended:
                Fail(Http2Error.StreamClosed, Failure.Http2StreamClosed);
                break;
            default:
                Fail(Http2Error.ProtocolError, Failure.Http2ProtocolError);
                break;
        }
    }

    protected override Failure OnHeadField(Http2Stream stream, in HpackField field)
    {
        if (IsForbidden(in field))
            return Failure.Http2InvalidHeader;
        var head = ((Http2ServerStream)stream.Face).Request;
        switch (field.Id)
        {
            case HeaderId.Method or HeaderId.Scheme or HeaderId.Authority or HeaderId.Path or HeaderId.Protocol:
                // Before all others, once each, and not empty (section 8.3).
                if (_regularSeen || field.Value.IsEmpty || head.Contains(field.Id))
                    return Failure.Http2InvalidHeader;
                if (field.Id == HeaderId.Protocol && !Options.AllowConnect)
                    return Failure.Http2InvalidHeader;
                break;
            case HeaderId.ContentLength:
                _regularSeen = true;
                var failure = OnContentLength(stream, field.Value);
                if (failure != Failure.None)
                    return failure;
                break;
            case HeaderId.Cookie:
                // Crumbs become one field again (section 8.2.3).
                _regularSeen = true;
                if (head.Contains(HeaderId.Cookie))
                {
                    head.AppendValue(HeaderId.Cookie, field.Value, "; "u8);
                    return Failure.None;
                }
                break;
            case HeaderId.Unknown:
                if (field.Name[0] == ':')
                    return Failure.Http2InvalidHeader;
                _regularSeen = true;
                break;
            default:
                _regularSeen = true;
                break;
        }
        head.Add(field.Id, field.Name, field.Value, (field.Flags & FieldFlags.NeverIndexed) != 0);
        return Failure.None;
    }

    protected override void OnHead(Http2Stream stream, bool endStream, Failure failure)
    {
        var face = (Http2ServerStream)stream.Face;
        if (failure == Failure.None)
            failure = FinishRequest(stream, face.Request, endStream);
        AddStream(stream);
        if (failure != Failure.None)
        {
            BadMessage(stream, failure);
            return;
        }
        stream.HeadReceived = true;
        stream.RemoteEnded = endStream;
        stream.Announced = true;
        _events.OnNewStream(face);
        if (!stream.Closed)
            face.Sink?.OnHead(face.Request, endStream);
    }

    /// <summary>Checks a request as a whole (section 8.3.1) and brings it into the form that both protocols share.</summary>
    private static Failure FinishRequest(Http2Stream stream, RequestHead head, bool endStream)
    {
        head.Version = HttpVersion.Http2;
        if (!Ascii.IsToken(head.MethodBytes))
            return Failure.Http2InvalidHeader;
        stream.Method = head.Method;
        if (!FinishAuthority(head))
            return Failure.Http2InvalidHeader;
        bool extended = head.Contains(HeaderId.Protocol);
        if (stream.Method == Method.Connect && !extended)
        {
            // A tunnel (section 8.5): no scheme, no path, and no length of what follows.
            if (head.Contains(HeaderId.Scheme) || head.Contains(HeaderId.Path) || !head.Contains(HeaderId.Authority) || stream.BodyExpected > 0)
                return Failure.Http2InvalidHeader;
            return FinishTunnel(stream, head);
        }
        if (extended && stream.Method != Method.Connect)
            return Failure.Http2InvalidHeader;
        var scheme = head.Scheme;
        if (scheme.IsEmpty || scheme.ContainsAnyExcept(s_schemeBytes))
            return Failure.Http2InvalidHeader;
        var path = head.Path;
        bool asterisk = stream.Method == Method.Options && path.SequenceEqual("*"u8);
        if (path.IsEmpty || (path[0] != '/' && !asterisk) || path.ContainsAny(s_pathControls))
            return Failure.Http2InvalidHeader;
        if (extended)
        {
            if (!Ascii.IsToken(head.Get(HeaderId.Protocol)))
                return Failure.Http2InvalidHeader;
            stream.ExtendedConnect = true;
            head.Set(HeaderId.Method, "GET"u8);
            head.Add(HeaderId.Upgrade, head.Get(HeaderId.Protocol));
            head.Add(HeaderId.Connection, "upgrade"u8);
            head.Remove(HeaderId.Protocol);
            return FinishTunnel(stream, head);
        }
        if (endStream)
            return stream.BodyExpected > 0 ? Failure.Http2InvalidHeader : Failure.None;
        head.Framing = stream.BodyExpected >= 0 ? new BodyFraming(BodyKind.Length, stream.BodyExpected) : new BodyFraming(BodyKind.Streamed);
        return Failure.None;
    }

    private static Failure FinishTunnel(Http2Stream stream, RequestHead head)
    {
        head.Remove(HeaderId.ContentLength);
        stream.BodyExpected = -1;
        head.Framing = new BodyFraming(BodyKind.Tunnel);
        return Failure.None;
    }

    // :authority is the host. A Host field may stand in for it (section 8.3.1); beside it, it is dropped whatever it says, as in Envoy, so that nobody
    // can be routed by one name and served by another.
    private static bool FinishAuthority(RequestHead head)
    {
        if (head.Contains(HeaderId.Host))
        {
            if (!head.Contains(HeaderId.Authority))
            {
                var host = head.Get(HeaderId.Host);
                if (head.CountOf(HeaderId.Host) > 1)
                    return false;
                if (!host.IsEmpty)
                    head.Add(HeaderId.Authority, host);
            }
            head.Remove(HeaderId.Host);
        }
        return !head.Authority.ContainsAnyExcept(s_authorityBytes);
    }

    protected override void AbandonHead(Http2Stream stream) => Recycle(stream);

    protected override void Recycle(Http2Stream stream) => ((Http2ServerStream)stream.Face).Recycle(Pools);

    // ---- responses -----------------------------------------------------------------------------------------------

    internal void SendHead(Http2Stream stream, ResponseHead head, bool endStream, bool informational)
    {
        if (!CanSend(stream))
            return;
        Debug.Assert(!stream.HeadSent);
        Enter();
        int status = head.Status;
        if (status == 101)
        {
            // The upgrade of an extended CONNECT succeeds with 200 (RFC 8441 section 5); any other 101 has no place in HTTP/2.
            Debug.Assert(stream.ExtendedConnect);
            status = 200;
        }
        Encoder.Begin();
        Encoder.AddStatus(status);
        EncodeFields(head);
        if (head.Framing.Kind == BodyKind.Length && !endStream && !head.Contains(HeaderId.ContentLength))
            EncodeContentLength(head.Framing.Length);
        WriteBlock(stream, endStream);
        if (!informational)
        {
            stream.HeadSent = true;
            if (endStream)
                EndLocal(stream);
        }
        CheckOutbound();
        Leave();
    }

    // ---- ends and errors -----------------------------------------------------------------------------------------

    protected override void OnClosed(Http2Stream stream) => _closedStreams++;

    // Half of the first five hundred streams, or of all later on, reset before they were answered: nobody needs that (CVE-2023-44487).
    protected override void OnEarlyEnd(bool early)
    {
        if (!early)
            return;
        _earlyEnds++;
        int total = Options.PrematureResetTotalStreamCount;
        if (_closedStreams < total ? _earlyEnds >= total / 2 : _earlyEnds * 2 >= _closedStreams)
            Fail(Http2Error.EnhanceYourCalm, Failure.Http2PrematureResets);
    }

    protected override Failure ResetFailure(Http2Error code) => Failure.DownstreamReset;

    protected override Failure Reason(Failure failure) => failure;

    protected override Http2Error ResetCode(Failure reason) => reason switch
    {
        Failure.None => Http2Error.NoError,
        Failure.UpstreamRefusedStream or Failure.Draining => Http2Error.RefusedStream,
        // Not REFUSED_STREAM: the request may have been served already (RFC 9113 section 8.7).
        Failure.OverloadManager => Http2Error.EnhanceYourCalm,
        Failure.Http2ProtocolError or Failure.Http2InvalidHeader => Http2Error.ProtocolError,
        Failure.Http2HeadersTooLarge or Failure.Http2TooManyHeaders => Http2Error.EnhanceYourCalm,
        Failure.UpstreamConnectFailure => Http2Error.ConnectError,
        Failure.StreamIdleTimeout or Failure.MaxDurationTimeout or Failure.RequestTimeout or Failure.Http2FlushTimeout => Http2Error.Cancel,
        _ => Http2Error.InternalError,
    };

    // A client's GOAWAY only says that it wants no pushes, of which there are none, and that it will go.
    protected override void OnGoAway(uint lastStreamId, Http2Error code) => _events.OnGoAway();

    /// <summary>First half of a graceful end: asks for no more streams, but takes those that are on their way (section 6.8).</summary>
    internal void StartDrain()
    {
        if (_drainStarted || Failed != Failure.None)
            return;
        _drainStarted = true;
        Enter();
        if (!_settingsSent)
        {
            _settingsSent = true;
            WriteSettings();
        }
        Writer.WriteGoAway(StreamIdMax, Http2Error.NoError, default);
        Leave();
    }

    /// <summary>Second half: names the last stream that is served.</summary>
    internal void FinishDrain()
    {
        if (_drainFinal || Failed != Failure.None)
            return;
        StartDrain();
        _drainFinal = true;
        Enter();
        Writer.WriteGoAway(_lastStream, Http2Error.NoError, default);
        Leave();
    }
}
