using System;
using System.Diagnostics;
using System.Runtime.CompilerServices;
using Sidecar.Memory;
using Sidecar.Telemetry;

namespace Sidecar.Http.H1;

/// <summary>
/// HTTP/1.1 towards a client (RFC 9112): one request at a time; the next one, though it may have arrived, is read when the response to the last
/// is out, and while the client takes what it is sent. So responses cannot pile up (CVE-2020-8661), and bytes are never read by other rules than
/// those their request asked for.
/// </summary>
/// <remarks>
/// Upgrade and CONNECT: <see cref="BodyKind.Tunnel"/>. What the client sends behind such a head stays unread until the answer is 101 (or 2xx to a CONNECT), then
/// it is the tunnel's; with any other answer it is never read, and the connection ends (CVE-2024-23326, CVE-2025-64763, CVE-2026-73548).
/// </remarks>
internal sealed class Http1ServerCodec : HttpCodec
{
    /// <summary>CRLFs forgiven before a request line (RFC 9112 section 2.2 asks for at least one); beyond, it is no HTTP.</summary>
    private const int EmptyLinesMax = 2;

    /// <summary>What the next byte from the client is.</summary>
    private enum Phase : byte
    {
        Head,
        Body,
        /// <summary>The request is complete, the response is not: nothing is read.</summary>
        Complete,
        /// <summary>Behind an Upgrade or CONNECT head that is not answered yet: nothing is read.</summary>
        Held,
        Tunnel,
        /// <summary>The client has ended its direction of the tunnel.</summary>
        TunnelEnded,
        /// <summary>Nothing is read any more.</summary>
        Dead,
    }

    private readonly BufferChain _output;
    private readonly ServerCodecEvents _events;
    private readonly Http1Options _options;

    // One exchange at a time has one stream, the same for all; who has no exchange gives the codec back, and it with it.
    private readonly Http1ServerStream _own;

    private Http1Parser _parser;
    private Http1BodyReader _body;
    private long _ordinal;
    private int _emptyLines;
    private int _requestsThisFeed;
    private Phase _phase;
    private bool _feeding;
    private bool _blocked;
    private bool _draining;
    private bool _closeAfter;
    private bool _clientCloses;
    private bool _isOver;
    private bool _announced;
    private bool _finished;
    private bool _inputDeferred;

    /// <param name="output">The connection's send chain.</param>
    /// <param name="events">The driver.</param>
    /// <param name="options">Settings; <see cref="Http1Options.ServerDefaults"/>.</param>
    internal Http1ServerCodec(BufferChain output, ServerCodecEvents events, Http1Options options)
    {
        _output = output;
        _events = events;
        _options = options;
        _own = new Http1ServerStream(this);
    }

    private Http1ServerStream? Stream => _own.IsOpen ? _own : null;

    internal override BufferChain Output => _output;
    internal override HttpVersion Version => HttpVersion.Http11;
    internal override int ActiveStreams => Stream is null ? 0 : 1;
    internal override bool IsFinished => _finished;
    internal override bool IsOutputEnded => _finished || Stream is { ResponseEnded: true };

    internal override bool WantsInput => !_finished && Stream is not { Paused: > 0 } && _phase switch
    {
        Phase.Head => !_blocked,
        Phase.Body or Phase.Tunnel => true,
        _ => false,
    };

    internal override bool InputDeferred => _inputDeferred;

    /// <summary>
    /// The last exchange ended in order, and the client has said that it would be the last: nothing more can be on its way (RFC 9112 section 9.6), so there
    /// is nothing whose arrival after a close could destroy the response, and no need to wait for the client's own.
    /// </summary>
    internal bool IsOver => _isOver;

    /// <summary>Between two requests, as new but for the number of streams: another codec may go on in its place.</summary>
    internal bool IsAtRest => _phase == Phase.Head && Stream is null && !_parser.IsPartial && _emptyLines == 0 && !_blocked && !_draining && !_closeAfter && !_finished;

    internal override bool IsHeadPartial => _phase == Phase.Head && _parser.IsPartial;

    internal override CodecResult Feed(ReadOnlySpan<byte> input)
    {
        Debug.Assert(!_feeding);
        _requestsThisFeed = 0;
        _inputDeferred = false;
        int position = 0;
        var error = Failure.None;
        _feeding = true;
        bool goesOn = true;
        while (goesOn && !_finished)
        {
            switch (_phase)
            {
                // Requests that are answered at once end within this call: without a bound, one read of them would hold the worker for as long.
                case Phase.Head when _requestsThisFeed >= _options.MaxRequestsPerFeed && position < input.Length:
                    _inputDeferred = true;
                    goesOn = false;
                    break;
                case Phase.Head when !_blocked && position < input.Length:
                    error = ReadHead(input, ref position, out goesOn);
                    break;
                case Phase.Body:
                    error = _body.Read(input, ref position, Stream!, _options);
                    goesOn = _phase != Phase.Body;
                    break;
                case Phase.Tunnel when position < input.Length:
                    var data = input[position..];
                    position = input.Length;
                    Stream!.ReceiveBody(data, false);
                    goesOn = false;
                    break;
                default:
                    goesOn = false;
                    break;
            }
            if (error != Failure.None)
            {
                Fail(error);
                break;
            }
        }
        _feeding = false;
        return new CodecResult(_finished ? input.Length : position, error);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private Failure ReadHead(ReadOnlySpan<byte> input, ref int position, out bool goesOn)
    {
        goesOn = false;
        while (input[position] is (byte)'\r' or (byte)'\n')
        {
            var rest = input[position..];
            if (rest.Length == 1 && rest[0] == '\r')
                return Failure.None;
            if (!rest.StartsWith("\r\n"u8) || ++_emptyLines > EmptyLinesMax)
                return Failure.Http1CodecError;
            position += 2;
            if (position == input.Length)
                return Failure.None;
        }

        var failure = _parser.FindRequestEnd(input[position..], _options.MaxHeadBytes, out int length);
        if (failure != Failure.None || length == 0)
            return failure;
        var bytes = input.Slice(position, length);
        _emptyLines = 0;
        _requestsThisFeed++;

        var stream = BeginExchange();
        failure = Http1Parser.ReadRequest(bytes, stream.Head, _options, out var info, out length);
        position += length;
        if (failure != Failure.None)
            return failure;
        stream.OnHeadRead(in info);
        _clientCloses = !info.Persists;
        if (_clientCloses || _draining)
            _closeAfter = true;

        bool end = false;
        switch (stream.Head.Framing.Kind)
        {
            case BodyKind.None:
                _phase = Phase.Complete;
                end = true;
                break;
            case BodyKind.Tunnel:
                _phase = Phase.Held;
                break;
            default:
                _phase = Phase.Body;
                _body.Start(stream.Head.Framing);
                break;
        }
        _announced = true;
        _events.OnNewStream(stream);
        if (Stream == stream)
            stream.Sink?.OnHead(stream.Head, end);
        goesOn = true;
        return Failure.None;
    }

    private Http1ServerStream BeginExchange()
    {
        _own.Open(++_ordinal);
        _announced = false;
        return _own;
    }

    // The request cannot be understood: its owner answers, or a minimal reply goes out; nothing more is read.
    private void Fail(Failure error)
    {
        _phase = Phase.Dead;
        _closeAfter = true;
        var stream = Stream ?? BeginExchange();
        bool answered = _events.OnRequestError(stream, error);
        _announced |= stream.Sink is not null;
        if (!answered && Stream == stream)
        {
            if (!stream.ResponseStarted && error.Row().Status != 0)
                WriteErrorReply(error);
            if (_announced)
                stream.Sink?.OnReset(error);
        }
        if (Stream == stream)
            CloseStream();
        _finished = true;
    }

    /// <summary>Answers a request whose head is still incomplete, as one that cannot be understood; the connection is over then.</summary>
    internal void RefuseRequest(Failure reason)
    {
        Debug.Assert(!_feeding && Stream is null);
        if (!_finished)
            Fail(reason);
    }

    private void WriteErrorReply(Failure error)
    {
        ref readonly var row = ref error.Row();
        Span<byte> body = stackalloc byte[128];
        int length = System.Text.Encoding.Latin1.GetBytes(row.Body, body);
        var writer = new Http1Writer(_output, 512);
        Http1StatusLines.Put(ref writer, row.Status, http10: false);
        writer.DecimalField(HeaderId.ContentLength, length);
        if (length > 0)
            writer.Field(HeaderId.ContentType, "text/plain"u8);
        writer.Field(HeaderId.Connection, "close"u8);
        writer.Finish();
        _output.Write(body[..length]);
    }

    internal override Failure OnEndOfInput()
    {
        if (_finished)
            return Failure.None;
        if (_phase == Phase.Tunnel)
        {
            _phase = Phase.TunnelEnded;
            var tunnel = Stream!;
            tunnel.Sink?.OnBody(default, true);
            if (Stream == tunnel && tunnel.ResponseEnded)
                EndExchange();
            return Failure.None;
        }
        bool isPartial = _parser.IsPartial || Stream is not null;
        OnConnectionLost(Failure.DownstreamDisconnect);
        return isPartial ? Failure.DownstreamDisconnect : Failure.None;
    }

    internal override void OnConnectionLost(Failure reason)
    {
        _phase = Phase.Dead;
        _finished = true;
        if (Stream is not { } stream)
            return;
        stream.Sink?.OnReset(reason);
        if (Stream == stream)
            CloseStream();
    }

    internal override Failure OnTick(long nowMs) => Failure.None;

    internal override void OnOutputBlocked(bool blocked)
    {
        if (_blocked == blocked)
            return;
        _blocked = blocked;
        if (Stream is { } stream)
        {
            if (blocked)
                stream.Sink?.OnSendBlocked();
            else
                stream.Sink?.OnSendReady();
        }
        else if (!blocked && !_feeding && WantsInput)
        {
            _events.OnWantsInput();
        }
    }

    internal override void StartDrain()
    {
        _draining = true;
        _closeAfter |= Stream is not null;
    }

    internal override void FinishDrain()
    {
        StartDrain();
        if (Stream is null)
            _finished = true;
    }

    internal override void Reset()
    {
        Debug.Assert(Stream is null);
        _parser = default;
        _body = default;
        _ordinal = 0;
        _emptyLines = 0;
        _phase = Phase.Head;
        _blocked = _draining = _closeAfter = _clientCloses = _isOver = _finished = _feeding = _inputDeferred = false;
    }

    // ---- what the stream does --------------------------------------------------------------------------------

    internal bool IsOpen(Http1ServerStream stream) => stream.IsOpen;

    internal bool SendsTrailers => _options.EnableTrailers;

    internal bool MustClose => _closeAfter || _draining;

    /// <summary>The request has been received whole.</summary>
    internal bool RequestComplete => _phase is Phase.Complete or Phase.TunnelEnded;

    internal void CloseAfterResponse() => _closeAfter = true;

    internal void OnSent()
    {
        if (!_feeding)
            _events.OnOutput();
    }

    internal void OnRequestEnded()
    {
        Debug.Assert(_phase == Phase.Body);
        _phase = Phase.Complete;
    }

    /// <summary>The answer opened the tunnel: bytes held back belong to it.</summary>
    internal void OpenTunnel()
    {
        Debug.Assert(_phase == Phase.Held);
        _phase = Phase.Tunnel;
        _closeAfter = true;
        NotifyWantsInput();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void OnResponseEnded(Http1ServerStream stream)
    {
        if (_phase == Phase.Tunnel)
            return;
        if (!RequestComplete)
            _closeAfter = true;     // what is left of the request would be taken for the next one
        _isOver = _clientCloses && RequestComplete;
        EndExchange();
    }

    internal void Abort()
    {
        _closeAfter = true;
        EndExchange();
    }

    internal void OnPauseChanged(int before, int after)
    {
        if (before > 0 && after == 0)
            NotifyWantsInput();
    }

    private void EndExchange()
    {
        _finished = _closeAfter;
        _phase = _finished ? Phase.Dead : Phase.Head;
        CloseStream();
        NotifyWantsInput();
    }

    private void CloseStream()
    {
        // Closed first: whoever is told asks the codec how many streams it has.
        _own.IsOpen = false;
        if (_announced || _own.ResponseStarted)
            _events.OnStreamClosed(_own);
        _own.Close();
    }

    private void NotifyWantsInput()
    {
        if (!_feeding && WantsInput)
            _events.OnWantsInput();
    }
}

/// <summary>One exchange on a server connection.</summary>
/// <remarks>Worker-owned; its codec's for all exchanges. Calls after the stream closed do nothing.</remarks>
internal sealed class Http1ServerStream(Http1ServerCodec owner) : ServerStream, IHttp1BodyTarget
{
    private HeaderMap? _trailers;
    private Http1BodyWriter _writer;
    private long _id;
    private bool _isHead, _isConnect, _isUpgrade, _isHttp10, _persists;

    internal readonly RequestHead Head = new();

    internal bool ResponseStarted { get; private set; }
    internal bool ResponseEnded { get; private set; }

    /// <summary>How often the receiver paused without resuming.</summary>
    internal int Paused { get; private set; }

    internal override long Id => _id;
    internal override RequestHead Request => Head;
    internal override long SendPending => 0;

    HeaderMap IHttp1BodyTarget.Trailers => _trailers ??= new HeaderMap();

    /// <summary>An exchange is under way.</summary>
    internal bool IsOpen;

    private Http1ServerCodec? Codec => IsOpen ? owner : null;

    internal void Open(long id)
    {
        IsOpen = true;
        _id = id;
    }

    internal void OnHeadRead(in Http1HeadInfo info)
    {
        _isHead = info.Method == Method.Head;
        _isConnect = info.Method == Method.Connect;
        _isUpgrade = info.IsTunnel && !_isConnect;
        _isHttp10 = info.Version == HttpVersion.Http10;
        _persists = info.Persists;
    }

    internal void Close()
    {
        Head.Reset();
        _trailers?.Reset();
        Sink = null;
        _writer = default;
        Paused = 0;
        ResponseStarted = ResponseEnded = false;
        _isHead = _isConnect = _isUpgrade = _isHttp10 = _persists = false;
    }

    // ---- request: from the codec -----------------------------------------------------------------------------

    public bool ReceiveBody(ReadOnlySpan<byte> data, bool end)
    {
        var codec = owner;
        if (end)
            codec.OnRequestEnded();
        Sink?.OnBody(data, end);
        return codec.IsOpen(this);
    }

    public void ReceiveTrailers()
    {
        owner.OnRequestEnded();
        Sink?.OnTrailers(_trailers!);
    }

    internal override void PauseReceiving() => Paused++;

    internal override void ResumeReceiving()
    {
        Debug.Assert(Paused > 0);
        Paused--;
        Codec?.OnPauseChanged(Paused + 1, Paused);
    }

    // ---- response: to the codec ------------------------------------------------------------------------------

    internal override void SendInformational(ResponseHead head)
    {
        Debug.Assert(!ResponseStarted);
        if (Codec is not { } codec || _isHttp10)
            return;
        var writer = new Http1Writer(codec.Output, Http1Writer.Bound(head));
        Http1StatusLines.Put(ref writer, head.Status, http10: false);
        writer.Fields(head);
        writer.Finish();
        codec.OnSent();
    }

    internal override void SendHead(ResponseHead head, bool endStream)
    {
        Debug.Assert(!ResponseStarted);
        if (Codec is not { } codec)
            return;
        ResponseStarted = true;
        if (AcceptsTunnel(head))
            SendTunnelHead(codec, head);
        else
            SendOrdinaryHead(codec, head, endStream);
        if (endStream)
            EndResponse(codec);
        codec.OnSent();
    }

    // An HTTP/2 upstream accepts an extended CONNECT with 200; its codec says so by the framing.
    private bool AcceptsTunnel(ResponseHead head) =>
        _isConnect ? head.Status is >= 200 and < 300
        : _isUpgrade && (head.Status == 101 || (head.Status is >= 200 and < 300 && head.Framing.Kind == BodyKind.Tunnel));

    private void SendTunnelHead(Http1ServerCodec codec, ResponseHead head)
    {
        var writer = new Http1Writer(codec.Output, Http1Writer.Bound(head) + Head.Get(HeaderId.Upgrade).Length);
        Http1StatusLines.Put(ref writer, _isConnect ? head.Status : 101, _isHttp10);
        writer.Fields(head);
        if (_isUpgrade)
        {
            writer.Put("connection: upgrade\r\n"u8);
            writer.Field(HeaderId.Upgrade, head.TryGet(HeaderId.Upgrade, out var protocol) ? protocol : Head.Get(HeaderId.Upgrade));
        }
        writer.Finish();
        _writer.Start(Http1BodyMode.Raw);
        codec.OpenTunnel();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void SendOrdinaryHead(Http1ServerCodec codec, ResponseHead head, bool endStream)
    {
        Debug.Assert(head.Status >= 200);
        bool bodyless = _isHead || head.Status is 204 or 304;
        bool hasLength = Ascii.TryParseDecimal(head.Get(HeaderId.ContentLength), out long length) && head.Status != 204;
        if (_isConnect || _isUpgrade || (endStream && !codec.RequestComplete) || WantsClose(head))
            codec.CloseAfterResponse();

        var writer = new Http1Writer(codec.Output, Http1Writer.Bound(head));
        Http1StatusLines.Put(ref writer, head.Status, _isHttp10);
        writer.Fields(head);
        if (bodyless)
        {
            // The length a GET would have had (RFC 9110 section 8.6).
            if (hasLength)
                writer.DecimalField(HeaderId.ContentLength, length);
            _writer.Start(Http1BodyMode.None);
        }
        else if (hasLength || endStream)
        {
            length = endStream ? 0 : length;
            writer.LengthField(head.Get(HeaderId.ContentLength), length);
            _writer.Start(Http1BodyMode.Length, length);
        }
        else if (!_isHttp10)
        {
            writer.Put("transfer-encoding: chunked\r\n"u8);
            _writer.Start(Http1BodyMode.Chunked);
        }
        else
        {
            codec.CloseAfterResponse();
            _writer.Start(Http1BodyMode.Raw);
        }
        if (codec.MustClose)
        {
            codec.CloseAfterResponse();
            writer.Put("connection: close\r\n"u8);
        }
        else if (_isHttp10 && _persists)
        {
            writer.Put("connection: keep-alive\r\n"u8);
        }
        writer.Finish();
    }

    private static bool WantsClose(ResponseHead head) =>
        head.TryGet(HeaderId.Connection, out var value) && Ascii.EqualsIgnoreCase(value, "close"u8);

    internal override void SendBody(ReadOnlySpan<byte> data, bool endStream)
    {
        Debug.Assert(ResponseStarted);
        if (Codec is not { } codec || ResponseEnded)
            return;
        if (!_writer.Write(codec.Output, data, endStream))
            codec.OnConnectionLost(Failure.LocalReset);
        else if (endStream)
            EndResponse(codec);
        codec.OnSent();
    }

    internal override void SendTrailers(HeaderMap trailers)
    {
        Debug.Assert(ResponseStarted);
        if (Codec is not { } codec || ResponseEnded)
            return;
        if (!_writer.WriteTrailers(codec.Output, trailers, codec.SendsTrailers))
            codec.OnConnectionLost(Failure.LocalReset);
        else
            EndResponse(codec);
        codec.OnSent();
    }

    private void EndResponse(Http1ServerCodec codec)
    {
        ResponseEnded = true;
        codec.OnResponseEnded(this);
    }

    internal override void Reset(Failure reason) => Codec?.Abort();
}
