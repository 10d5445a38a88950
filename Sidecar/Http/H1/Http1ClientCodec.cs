using System;
using System.Diagnostics;
using System.Runtime.CompilerServices;
using Sidecar.Memory;
using Sidecar.Telemetry;

namespace Sidecar.Http.H1;

/// <summary>
/// HTTP/1.1 towards a server (RFC 9112): one exchange at a time. The connection is reusable when request and response both ended, exactly where
/// their framing said, and nobody asked to close; after an Upgrade or CONNECT it never is.
/// </summary>
/// <remarks>Failures it reports are the upstream's: <see cref="Failure.UpstreamProtocolError"/>, <see cref="Failure.UpstreamHeadersTooLarge"/>.</remarks>
internal sealed class Http1ClientCodec : HttpClientCodec
{
    /// <summary>CRLFs forgiven before the status lines of one response.</summary>
    private const int EmptyLinesMax = 2;

    private enum Phase : byte
    {
        /// <summary>No response is due.</summary>
        Idle,
        Head,
        Body,
        Tunnel,
        /// <summary>The response, or the server's direction of a tunnel, is over; the request is not.</summary>
        Ended,
        Dead,
    }

    private readonly BufferChain _output;
    private readonly CodecEvents _events;
    private readonly Http1Options _options;
    private readonly Pool<Http1ClientStream> _streams;

    private Http1ClientStream? _stream;
    private Http1Parser _parser;
    private Http1BodyReader _body;
    private long _ordinal;
    private int _informational;
    private int _emptyLines;
    private Phase _phase;
    private bool _feeding;
    private bool _blocked;
    private bool _draining;
    private bool _closeAfter;
    private bool _untilClose;
    private bool _stray;
    private int _position;
    private int _inputLength;
    private bool _finished;

    /// <param name="output">The connection's send chain.</param>
    /// <param name="events">The driver.</param>
    /// <param name="options">Settings; <see cref="Http1Options.ClientDefaults"/>.</param>
    /// <param name="streams">The worker's streams, so that an idle connection holds none; null: the codec keeps its own.</param>
    internal Http1ClientCodec(BufferChain output, CodecEvents events, Http1Options options, Pool<Http1ClientStream>? streams = null)
    {
        _output = output;
        _events = events;
        _options = options;
        _streams = streams ?? NewPool(1);
    }

    /// <summary>A pool for one worker's codecs.</summary>
    internal static Pool<Http1ClientStream> NewPool(int keptMin = Pool<Http1ClientStream>.KeptMin) => new(() => new Http1ClientStream(), keptMin);

    internal override BufferChain Output => _output;
    internal override HttpVersion Version => HttpVersion.Http11;
    internal override int ActiveStreams => _stream is null ? 0 : 1;
    internal override int MaxConcurrentStreams => 1;
    internal override bool CanOpenStream => _stream is null && !_finished && !_draining && !_closeAfter;
    internal override bool IsFinished => _finished;
    internal override bool IsOutputEnded => _finished || _stream is { IsTunnel: true, RequestEnded: true };
    internal override bool WantsInput => !_finished && _stream is not { Paused: > 0 };

    internal override ClientStream OpenStream(ResponseSink sink)
    {
        Debug.Assert(CanOpenStream);
        var stream = _streams.Rent();
        stream.Open(this, ++_ordinal, sink);
        _stream = stream;
        _informational = 0;
        _emptyLines = 0;
        return stream;
    }

    internal override CodecResult Feed(ReadOnlySpan<byte> input)
    {
        Debug.Assert(!_feeding);
        var error = Failure.None;
        _feeding = true;
        _position = 0;
        _inputLength = input.Length;
        bool goesOn = true;
        while (goesOn && !_finished && _position < input.Length)
        {
            switch (_phase)
            {
                case Phase.Head:
                    error = ReadHead(input, out goesOn);
                    break;
                case Phase.Body:
                    error = _body.Read(input, ref _position, _stream!, _options);
                    goesOn = _phase != Phase.Body;
                    break;
                case Phase.Tunnel:
                    var data = input[_position..];
                    _position = input.Length;
                    _stream!.ReceiveBody(data, false);
                    goesOn = false;
                    break;
                case Phase.Ended:
                    // The connection ends with this exchange; what else the server says is nobody's.
                    _position = input.Length;
                    break;
                default:
                    // A response nobody asked for.
                    error = Failure.UpstreamProtocolError;
                    break;
            }
            if (error == Failure.None)
                continue;
            error = ToUpstream(error);
            OnConnectionLost(error);
            break;
        }
        _feeding = false;
        if (_stray && error == Failure.None)
            error = Failure.UpstreamProtocolError;
        return new CodecResult(_finished ? input.Length : _position, error);
    }

    private static Failure ToUpstream(Failure failure) =>
        failure is Failure.Http1HeadersTooLarge or Failure.Http1TooManyHeaders ? Failure.UpstreamHeadersTooLarge : Failure.UpstreamProtocolError;

    private Failure ReadHead(ReadOnlySpan<byte> input, out bool goesOn)
    {
        goesOn = false;
        // Some servers end a 100 with one line end too many.
        while (input[_position] == '\r')
        {
            var rest = input[_position..];
            if (rest.Length == 1)
                return Failure.None;
            if (rest[1] != '\n' || ++_emptyLines > EmptyLinesMax)
                return Failure.UpstreamProtocolError;
            _position += 2;
            if (_position == input.Length)
                return Failure.None;
        }

        var failure = _parser.FindEnd(input[_position..], _options.MaxHeadBytes, out int length);
        if (failure != Failure.None || length == 0)
            return failure;
        var bytes = input.Slice(_position, length);
        _position += length;
        goesOn = true;

        var stream = _stream!;
        var head = stream.Head;
        failure = Http1Parser.ReadResponse(bytes, head, _options, out var info);
        if (failure != Failure.None)
            return failure;

        // 1xx and 204 have no body, and must not speak of one (RFC 9112 sections 6.1, 6.2); a zero is forgiven.
        if (head.Status is < 200 or 204)
        {
            if (info.HasTransferEncoding || info.ContentLength > 0)
                return Failure.UpstreamProtocolError;
            head.Remove(HeaderId.ContentLength);
        }
        if (head.IsInformational)
        {
            if (++_informational > InformationalMax)
                return Failure.UpstreamProtocolError;
            stream.Sink?.OnInformational(head);
            if (_stream == stream)
                head.Reset();
            return Failure.None;
        }
        if (head.Status == 101 && !stream.IsUpgrade)
            return Failure.UpstreamProtocolError;

        if (!info.Persists || stream.AsksForTunnel)
            _closeAfter = true;
        head.Framing = FramingOf(stream, head, in info);
        bool end = false;
        switch (head.Framing.Kind)
        {
            case BodyKind.None:
                OnResponseEnded();
                end = true;
                break;
            case BodyKind.Tunnel:
                head.Remove(HeaderId.ContentLength);
                _phase = Phase.Tunnel;
                break;
            default:
                _phase = Phase.Body;
                _untilClose = head.Framing.Kind == BodyKind.UntilClose;
                _closeAfter |= _untilClose;
                _body.Start(head.Framing);
                break;
        }
        if (stream.AsksForTunnel)
            stream.OnTunnelAnswer(_phase == Phase.Tunnel);
        if (_stream == stream)
            stream.Sink?.OnHead(head, end);
        if (_stream == stream)
            TryEndExchange();
        return Failure.None;
    }

    // RFC 9112 section 6.3.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static BodyFraming FramingOf(Http1ClientStream stream, ResponseHead head, in Http1HeadInfo info)
    {
        if (head.Status == 101 || (stream.IsConnect && head.Status is >= 200 and < 300))
            return new BodyFraming(BodyKind.Tunnel);
        if (stream.IsHead || head.Status is 204 or 304)
            return default;
        if (info.IsChunked)
            return new BodyFraming(BodyKind.Streamed);
        if (info.ContentLength > 0)
            return new BodyFraming(BodyKind.Length, info.ContentLength);
        return info.ContentLength == 0 ? default : new BodyFraming(BodyKind.UntilClose);
    }

    internal override Failure OnEndOfInput()
    {
        if (_finished)
            return Failure.None;
        if (_stream is not { } stream)
        {
            _finished = true;
            return Failure.None;
        }
        if (_phase == Phase.Tunnel || (_phase == Phase.Body && _untilClose))
        {
            bool tunnel = _phase == Phase.Tunnel;
            _position = _inputLength = 0;
            OnResponseEnded();
            stream.Sink?.OnBody(default, true);
            if (_stream == stream)
                TryEndExchange();
            // A request still under way cannot reach a server that has left; a tunnel's other direction can.
            if (_stream == stream && !tunnel)
                OnConnectionLost(Failure.UpstreamConnectionTermination);
            return Failure.None;
        }
        // Closed before one byte of a later response: the server gave up an idle connection just as it was used again.
        bool reused = _phase == Phase.Head && _ordinal > 1 && _informational == 0 && !_parser.IsPartial;
        var reason = reused ? Failure.UpstreamConnectionTerminationOnReuse : Failure.UpstreamConnectionTermination;
        OnConnectionLost(reason);
        return reason;
    }

    internal override void OnConnectionLost(Failure reason)
    {
        _phase = Phase.Dead;
        _finished = true;
        if (_stream is not { } stream)
            return;
        stream.Sink?.OnReset(reason);
        if (_stream == stream)
            CloseStream();
    }

    internal override Failure OnTick(long nowMs) => Failure.None;

    internal override void OnOutputBlocked(bool blocked)
    {
        _blocked = blocked;
        _stream?.OnBlockedChanged();
    }

    internal override void StartDrain()
    {
        _draining = true;
        _closeAfter = true;
        if (_stream is null)
            _finished = true;
    }

    internal override void FinishDrain() => StartDrain();

    internal override void Reset()
    {
        Debug.Assert(_stream is null);
        _parser = default;
        _body = default;
        _ordinal = 0;
        _informational = 0;
        _emptyLines = 0;
        _phase = Phase.Idle;
        _blocked = _draining = _closeAfter = _untilClose = _stray = _finished = _feeding = false;
    }

    // ---- what the stream does --------------------------------------------------------------------------------

    internal bool IsOpen(Http1ClientStream stream) => _stream == stream;

    internal bool IsBlocked => _blocked;

    internal Http1Options Options => _options;

    internal void OnSent()
    {
        if (!_feeding)
            _events.OnOutput();
    }

    internal void OnRequestStarted()
    {
        Debug.Assert(_phase == Phase.Idle);
        _phase = Phase.Head;
    }

    /// <summary>The response is complete, and about to be told so.</summary>
    internal void OnResponseEnded()
    {
        // Bytes left over are no answer to anything: this connection must not be given the next request. Behind a last response they are noise.
        _stray = _position < _inputLength && !_closeAfter;
        if (_stray || _stream is { RequestEnded: false })
            _closeAfter = true;
        _phase = Phase.Ended;
    }

    /// <summary>Ends the exchange when both sides of it are complete.</summary>
    internal void TryEndExchange()
    {
        if (_phase == Phase.Ended && _stream is { RequestEnded: true })
            EndExchange();
    }

    internal void Abort()
    {
        _closeAfter = true;
        EndExchange();
    }

    internal void OnPauseChanged(int before, int after)
    {
        if (before > 0 && after == 0 && !_feeding && WantsInput)
            _events.OnWantsInput();
    }

    private void EndExchange()
    {
        _finished = _closeAfter;
        _phase = _finished ? Phase.Dead : Phase.Idle;
        _untilClose = false;
        CloseStream();
    }

    private void CloseStream()
    {
        var stream = _stream!;
        _stream = null;
        _events.OnStreamClosed(stream);
        stream.Close();
        _streams.Return(stream);
    }
}

/// <summary>One exchange on a client connection.</summary>
/// <remarks>
/// Worker-owned, pooled; belongs to one codec while open. When the response ends before the request does, the stream stays until its sender ends
/// or resets it, or the connection goes. Calls after it closed do nothing.
/// </remarks>
internal sealed class Http1ClientStream : ClientStream, IHttp1BodyTarget
{
    private HeaderMap? _trailers;
    private Http1ClientCodec? _codec;
    private Http1BodyWriter _writer;
    private BufferChain? _early;
    private long _id;
    private bool _started;
    private bool _holds;
    private bool _endsEarly;
    private bool _toldBlocked;

    internal readonly ResponseHead Head = new();

    internal bool IsHead { get; private set; }
    internal bool IsConnect { get; private set; }
    internal bool IsUpgrade { get; private set; }
    internal bool AsksForTunnel => IsConnect || IsUpgrade;

    /// <summary>The tunnel is open.</summary>
    internal bool IsTunnel { get; private set; }
    internal bool RequestEnded { get; private set; }
    internal int Paused { get; private set; }

    internal override long Id => _id;
    internal override ResponseHead Response => Head;

    /// <summary>Bytes that wait for the answer to an Upgrade or CONNECT.</summary>
    internal override long SendPending => _early?.Length ?? 0;

    HeaderMap IHttp1BodyTarget.Trailers => _trailers ??= new HeaderMap();

    internal void Open(Http1ClientCodec codec, long id, ResponseSink sink)
    {
        _codec = codec;
        _id = id;
        Sink = sink;
    }

    internal void Close()
    {
        Head.Reset();
        _trailers?.Reset();
        _early?.Clear();
        _early = null;
        Sink = null;
        _codec = null;
        _writer = default;
        Paused = 0;
        _started = _holds = _endsEarly = _toldBlocked = false;
        IsHead = IsConnect = IsUpgrade = IsTunnel = RequestEnded = false;
    }

    // ---- request: to the codec -------------------------------------------------------------------------------

    internal override void SendHead(RequestHead head, bool endStream)
    {
        Debug.Assert(!_started);
        if (_codec is not { } codec)
            return;
        _started = true;
        var method = head.Method;
        IsHead = method == Method.Head;
        IsUpgrade = head.IsUpgrade;
        IsConnect = method == Method.Connect && !IsUpgrade;
        codec.OnRequestStarted();
        WriteHead(codec, head, method, endStream);
        if (endStream)
            EndRequest(codec);
        OnBlockedChanged();
        codec.OnSent();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void WriteHead(Http1ClientCodec codec, RequestHead head, Method method, bool endStream)
    {
        var authority = head.Authority;
        bool absolute = codec.Options.SendFullyQualifiedUrl && !IsConnect;
        var writer = new Http1Writer(codec.Output, Http1Writer.Bound(head) + (absolute ? authority.Length : 0));
        if (method == Method.Get)
        {
            writer.Put("GET "u8);
        }
        else
        {
            writer.Put(head.MethodBytes);
            writer.Put(" "u8);
        }
        if (absolute)
        {
            writer.Put(head.Scheme.IsEmpty ? "http"u8 : head.Scheme);
            writer.Put("://"u8);
            writer.PutTarget(authority);
        }
        writer.PutTarget(IsConnect ? authority : head.Path.IsEmpty ? "/"u8 : head.Path);
        writer.Put(" HTTP/1.1\r\n"u8);
        writer.Field(HeaderId.Host, authority);
        writer.Fields(head);
        if (AsksForTunnel)
        {
            if (IsUpgrade)
            {
                writer.Put("connection: upgrade\r\n"u8);
                writer.Field(HeaderId.Upgrade, head.Get(HeaderId.Upgrade));
            }
            _writer.Start(Http1BodyMode.Raw);
            _holds = true;
        }
        else
        {
            WriteFraming(ref writer, codec, head, method, endStream);
        }
        writer.Finish();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void WriteFraming(ref Http1Writer writer, Http1ClientCodec codec, RequestHead head, Method method, bool endStream)
    {
        if (Ascii.TryParseDecimal(head.Get(HeaderId.ContentLength), out long length))
        {
            length = endStream ? 0 : length;
            writer.LengthField(head.Get(HeaderId.ContentLength), length);
            _writer.Start(Http1BodyMode.Length, length);
        }
        else if (endStream)
        {
            // These methods promise a body, so its absence is said (RFC 9110 section 8.6).
            if (method is Method.Post or Method.Put or Method.Patch)
                writer.Put("content-length: 0\r\n"u8);
            _writer.Start(Http1BodyMode.None);
        }
        else
        {
            writer.Put("transfer-encoding: chunked\r\n"u8);
            _writer.Start(Http1BodyMode.Chunked);
        }
        if (codec.Options.EnableTrailers && head.Contains(HeaderId.Te))
            writer.Put("te: trailers\r\nconnection: te\r\n"u8);
    }

    internal override void SendBody(ReadOnlySpan<byte> data, bool endStream)
    {
        Debug.Assert(_started);
        if (_codec is not { } codec || RequestEnded)
            return;
        if (_holds)
        {
            // Bytes for a tunnel that is not there yet would be a request to a server that refuses it.
            if (data.Length > 0)
            {
                _early ??= codec.Output.NewSibling();
                _early.Write(data);
            }
            _endsEarly |= endStream;
            OnBlockedChanged();
            return;
        }
        if (!_writer.Write(codec.Output, data, endStream))
        {
            codec.OnConnectionLost(Failure.LocalReset);
            return;
        }
        if (endStream)
            EndRequest(codec);
        codec.OnSent();
    }

    internal override void SendTrailers(HeaderMap trailers)
    {
        Debug.Assert(_started);
        if (_codec is not { } codec || RequestEnded)
            return;
        if (_holds)
        {
            _endsEarly = true;
            return;
        }
        if (!_writer.WriteTrailers(codec.Output, trailers, codec.Options.EnableTrailers))
        {
            codec.OnConnectionLost(Failure.LocalReset);
            return;
        }
        EndRequest(codec);
        codec.OnSent();
    }

    private void EndRequest(Http1ClientCodec codec)
    {
        if (_holds)
        {
            _endsEarly = true;
            return;
        }
        RequestEnded = true;
        codec.TryEndExchange();
    }

    /// <summary>The server has answered an Upgrade or CONNECT: what waited is sent, or dropped for good.</summary>
    internal void OnTunnelAnswer(bool accepted)
    {
        var codec = _codec!;
        _holds = false;
        IsTunnel = accepted;
        if (accepted)
            _early?.MoveAllTo(codec.Output);
        else
            _early?.Clear();
        RequestEnded = !accepted || _endsEarly;
        OnBlockedChanged();
    }

    internal override void Reset(Failure reason) => _codec?.Abort();

    /// <summary>Tells the producer when what it sends starts or stops to pile up.</summary>
    internal void OnBlockedChanged()
    {
        bool blocked = _codec is { } codec && (codec.IsBlocked || SendPending > 0);
        if (blocked == _toldBlocked)
            return;
        _toldBlocked = blocked;
        if (blocked)
            Sink?.OnSendBlocked();
        else
            Sink?.OnSendReady();
    }

    // ---- response: from the codec ----------------------------------------------------------------------------

    public bool ReceiveBody(ReadOnlySpan<byte> data, bool end)
    {
        var codec = _codec!;
        if (end)
            codec.OnResponseEnded();
        Sink?.OnBody(data, end);
        if (end && codec.IsOpen(this))
            codec.TryEndExchange();
        return codec.IsOpen(this);
    }

    public void ReceiveTrailers()
    {
        var codec = _codec!;
        codec.OnResponseEnded();
        Sink?.OnTrailers(_trailers!);
        if (codec.IsOpen(this))
            codec.TryEndExchange();
    }

    internal override void PauseReceiving() => Paused++;

    internal override void ResumeReceiving()
    {
        Debug.Assert(Paused > 0);
        Paused--;
        _codec?.OnPauseChanged(Paused + 1, Paused);
    }
}
