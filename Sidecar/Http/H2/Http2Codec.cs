using System;
using System.Buffers.Binary;
using System.Diagnostics;
using System.Runtime.CompilerServices;
using Sidecar.Http.H2.Hpack;
using Sidecar.Memory;
using Sidecar.Telemetry;

namespace Sidecar.Http.H2;

/// <summary>
/// What both roles of HTTP/2 (RFC 9113) share: frames, header blocks, windows, settings, limits, and the life of streams. The two
/// connections derived from it add what a head means.
/// </summary>
/// <remarks>
/// <para>
/// <code>
///   Feed:  preface → frame header → check (size, stream number, order)
///            DATA ........................ in pieces as they come → stream's sink
///            HEADERS, CONTINUATION ....... field by field → head under construction → head complete
///            SETTINGS, PING, … ........... at once
///   Send:  body → windows open: straight into Output;   closed: Pending of the stream
///          a window opens → streams that may send, in turns of one frame each
/// </code>
/// </para>
/// <para>
/// Worker-owned. Every way in is a scope (<see cref="Enter"/>, <see cref="Leave"/>): streams that end inside one are told and recycled when the
/// outermost ends, or between two frames, so nobody finds its stream reused under its feet.
/// </para>
/// </remarks>
internal abstract class Http2Codec
{
    /// <summary>Largest payload we take: the protocol's minimum, since larger frames only make streams wait for each other.</summary>
    private const int MaxFrameSize = Http2Settings.FrameSizeMin;

    /// <summary>Largest DATA payload we send, whatever the peer takes, for the same reason.</summary>
    private const int SendFrameSizeMax = 16384;

    /// <summary>A header block may take this much more on the wire than its fields may count: there is no honest reason for more than 1.</summary>
    private const int BlockBytesPerFieldByte = 2;

    private const int SecondMs = 1000;

    /// <summary>
    /// How long, and for how many bytes, the rest of a request that is answered already is still read. A client that had sent all of it before the
    /// answer came is let finish, and what is wrong with it is told by its right name; one that goes on is stopped.
    /// </summary>
    private const int UnwantedMsMax = 1000;
    private const int UnwantedBytesMax = 65536;

    private readonly CodecEvents _events;
    private readonly bool _isServer;

    protected readonly Http2Pools Pools;
    protected readonly Http2Options Options;
    protected readonly FrameWriter Writer;
    protected readonly HpackEncoder Encoder;
    protected readonly Http2StreamTable Streams = new();
    protected readonly StreamHistory History = new();

    private readonly HpackDecoder _decoder;
    private readonly IntrusiveList<Http2Stream> _sendable = new();
    private readonly IntrusiveList<Http2Stream> _ended = new();

    // ---- the connection ----------------------------------------------------------------------------------------

    protected Http2Settings Peer;
    private FlowWindow _sendWindow;
    private ReceiveWindow _receiveWindow;
    private Failure _failure;
    private bool _peerSettingsSeen;
    private bool _outputBlocked;
    private int _depth;
    private long _writtenAtEnter;
    private long _heldBytes;
    private long _heldFieldBytes;

    // ---- the header block being read ---------------------------------------------------------------------------

    /// <summary>What is to be done with a header block once it is complete; it is decoded in any case, to keep both tables equal.</summary>
    protected enum BlockUse : byte { None, Head, Trailers, Discard }

    private readonly ByteBuffer _blockRest;
    private BlockUse _blockUse;
    private uint _blockId;
    private Http2Stream? _blockStream;
    private bool _blockEndStream;
    private int _blockFields;
    private int _blockFieldBytes;
    private int _blockBytes;
    private int _blockFrames;
    private Failure _blockFailure;
    private Http2Error _blockReset;

    // ---- the DATA frame being read ------------------------------------------------------------------------------

    private Http2Stream? _dataStream;
    private int _dataLeft;
    private int _paddingLeft;
    private bool _dataEndStream;

    // ---- what floods are told by --------------------------------------------------------------------------------

    private long _streamsOpened;
    private long _priorityFrames;
    private long _windowUpdateFrames;
    private int _emptyFrames;
    private int _settingsFrames;
    private long _settingsSinceMs;
    private int _requestsThisFeed;

    // ---- keep-alive ---------------------------------------------------------------------------------------------

    private long _pingDueMs;
    private long _pingSentMs;
    private bool _pingOut;
    private ulong _pingNumber;

    protected Http2Codec(BufferChain output, CodecEvents events, Http2Options options, Http2Pools pools, bool isServer)
    {
        _events = events;
        _isServer = isServer;
        Options = options;
        Pools = pools;
        Writer = new FrameWriter(output);
        Encoder = new HpackEncoder(pools.EncodeScratch, options.HpackTableSize);
        _decoder = new HpackDecoder(pools.DecodeScratch, options.HpackTableSize) { StringBytesMax = options.MaxHeaderBytes };
        _blockRest = new ByteBuffer(pools.Slab);
        ResetConnection();
    }

    /// <summary>The driver's clock, set before Feed and by every tick.</summary>
    internal long NowMs { get; set; }

    internal int ActiveStreams => Streams.Count;

    /// <summary>The last Feed stopped before its input's end so that other connections have their turn: feed the rest again in the next turn.</summary>
    internal bool InputDeferred { get; private set; }

    /// <summary>A header block that opens a stream has begun and not ended.</summary>
    internal bool IsHeadPartial => _blockUse == BlockUse.Head;

    /// <summary>Why the connection is over; None while it is not.</summary>
    internal Failure Failed => _failure;

    internal BufferChain Output => Writer.Output;

    /// <summary>Fields of open streams as charged, and bytes kept back.</summary>
    internal long HeldBytes => _heldBytes;

    /// <summary>The final GOAWAY is out, or the peer's GOAWAY means that nothing more can begin.</summary>
    protected abstract bool IsClosing { get; }

    internal bool IsFinished => _failure != Failure.None || (IsClosing && Streams.Count == 0);

    /// <summary>As new, for another connection. No stream may be open.</summary>
    internal virtual void Reset()
    {
        Debug.Assert(Streams.Count == 0);
        ResetConnection();
    }

    // ---- input ---------------------------------------------------------------------------------------------------

    internal CodecResult Feed(ReadOnlySpan<byte> input)
    {
        if (_failure != Failure.None)
            return new CodecResult(input.Length, _failure);
        Enter();
        InputDeferred = false;
        _requestsThisFeed = 0;
        int position = ReadPreface(input);
        while (_failure == Failure.None && position >= 0)
        {
            int used = ReadFrame(input[position..]);
            if (used == 0)
                break;
            position += used;
            if (!_ended.IsEmpty && _depth == 1)
                TellEnded();
        }
        _writtenAtEnter = Writer.Written;
        Leave();
        return new CodecResult(_failure != Failure.None ? input.Length : Math.Max(position, 0), _failure);
    }

    /// <summary>Consumes what comes before the first frame, once.</summary>
    /// <returns>Bytes consumed; -1 when more are needed or the connection failed.</returns>
    protected abstract int ReadPreface(ReadOnlySpan<byte> input);

    /// <returns>Bytes consumed; 0 when the rest of the frame, or another turn, must be waited for.</returns>
    private int ReadFrame(ReadOnlySpan<byte> input)
    {
        if (_dataLeft != 0 || _paddingLeft != 0)
            return ReadData(input);
        if (input.Length < FrameHeader.Size)
            return 0;
        var header = FrameHeader.Read(input);
        var error = FrameParser.Check(in header, MaxFrameSize);
        if (error == Http2Error.NoError && (_blockUse != BlockUse.None || !_peerSettingsSeen))
            error = CheckOrder(in header);
        if (error != Http2Error.NoError)
            return Fail(error, error == Http2Error.FrameSizeError ? Failure.Http2FrameSizeError : Failure.Http2ProtocolError);
        if (header.Type == FrameType.Data)
            return BeginData(in header, input);

        int length = FrameHeader.Size + header.Length;
        if (input.Length < length)
            return 0;
        if (header.Type == FrameType.Headers && _isServer && _requestsThisFeed >= Options.MaxRequestsPerFeed)
        {
            InputDeferred = true;
            return 0;
        }
        OnFrame(in header, input[FrameHeader.Size..length]);
        return length;
    }

    // A header block is one unit on the connection (RFC 9113 section 4.3), and SETTINGS comes first (section 3.4).
    private Http2Error CheckOrder(in FrameHeader header)
    {
        if (!_peerSettingsSeen)
            return header.Type == FrameType.Settings && !header.Has(FrameFlags.Ack) ? Http2Error.NoError : Http2Error.ProtocolError;
        return header.Type == FrameType.Continuation && header.StreamId == _blockId ? Http2Error.NoError : Http2Error.ProtocolError;
    }

    private void OnFrame(in FrameHeader header, ReadOnlySpan<byte> payload)
    {
        switch (header.Type)
        {
            case FrameType.Headers:
                OnHeaders(in header, payload);
                break;
            case FrameType.Continuation:
                OnContinuation(in header, payload);
                break;
            case FrameType.Priority:
                OnPriority(in header, payload);
                break;
            case FrameType.RstStream:
                OnRstStream(header.StreamId, (Http2Error)BinaryPrimitives.ReadUInt32BigEndian(payload));
                break;
            case FrameType.Settings:
                OnSettings(in header, payload);
                break;
            case FrameType.PushPromise:
                // Disabled by every client's preface; and no client may send it (RFC 9113 section 8.4).
                Fail(Http2Error.ProtocolError, Failure.Http2ProtocolError);
                break;
            case FrameType.Ping:
                OnPing(in header, payload);
                break;
            case FrameType.GoAway:
                OnGoAway(FrameParser.ReadUInt31(payload), (Http2Error)BinaryPrimitives.ReadUInt32BigEndian(payload[4..]));
                break;
            case FrameType.WindowUpdate:
                OnWindowUpdate(header.StreamId, FrameParser.ReadUInt31(payload));
                break;
            // Unknown types are ignored (section 5.5), METADATA among them.
        }
    }

    // ---- DATA ----------------------------------------------------------------------------------------------------

    private int BeginData(in FrameHeader header, ReadOnlySpan<byte> input)
    {
        int overhead = 0;
        int padding = 0;
        if (header.Has(FrameFlags.Padded))
        {
            if (header.Length == 0)
                return Fail(Http2Error.FrameSizeError, Failure.Http2FrameSizeError);
            if (input.Length <= FrameHeader.Size)
                return 0;
            padding = input[FrameHeader.Size];
            overhead = 1;
            if (padding >= header.Length)
                return Fail(Http2Error.ProtocolError, Failure.Http2ProtocolError);
        }
        bool endStream = header.Has(FrameFlags.EndStream);
        int length = header.Length - overhead - padding;
        if (IsEmptyFlood(length, endStream))
            return Fail(Http2Error.EnhanceYourCalm, Failure.Http2InboundEmptyFramesFlood);
        if (!_receiveWindow.TryReceive(header.Length))
            return Fail(Http2Error.FlowControlError, Failure.Http2FlowControlError);

        var stream = Streams.Find(header.StreamId);
        if (stream is null)
        {
            if (!OnDataWithoutStream(header.StreamId))
                return 0;
        }
        else if (!IsDataFine(stream, header.Length, length, endStream))
        {
            stream = null;
        }
        if (stream is { Unwanted: true } && !endStream && (stream.UnwantedBytes += header.Length) > UnwantedBytesMax)
        {
            StopUnwanted(stream);
            stream = null;
        }
        _dataStream = stream;
        _dataLeft = length;
        _paddingLeft = padding;
        _dataEndStream = endStream;
        GiveBack(stream, overhead);
        if (length == 0)
        {
            if (stream is not null && endStream)
                Deliver(stream, default, last: true);
            GiveBack(stream, padding);
        }
        return FrameHeader.Size + overhead;
    }

    private bool OnDataWithoutStream(uint id)
    {
        if (IsIdle(id))
            return Fail(Http2Error.ProtocolError, Failure.Http2ProtocolError) != 0;
        switch (History[id])
        {
            case StreamEnd.ResetByPeer:
                Writer.WriteRstStream(id, Http2Error.StreamClosed);
                return CheckOutbound();
            case StreamEnd.ResetByUs:
                return true;
            default:
                return Fail(Http2Error.StreamClosed, Failure.Http2StreamClosed) != 0;
        }
    }

    /// <summary>Judges a DATA frame on an open stream; a wrong one has cost the stream when this returns false.</summary>
    private bool IsDataFine(Http2Stream stream, int frameLength, int bodyLength, bool endStream)
    {
        if (stream.RemoteEnded)
            return StreamError(stream, Http2Error.StreamClosed, Failure.Http2StreamClosed);
        if (!stream.HeadReceived)
            return MessageError(stream, Failure.Http2ProtocolError);
        if (!stream.ReceiveWindow.TryReceive(frameLength))
            return StreamError(stream, Http2Error.FlowControlError, Failure.Http2FlowControlError);
        stream.BodyReceived += bodyLength;
        if (stream.BodyExpected >= 0 && (stream.BodyReceived > stream.BodyExpected || (endStream && stream.BodyReceived != stream.BodyExpected)))
            return MessageError(stream, Failure.Http2InvalidHeader);
        return true;
    }

    private int ReadData(ReadOnlySpan<byte> input)
    {
        int used = 0;
        if (_dataLeft > 0)
        {
            used = Math.Min(_dataLeft, input.Length);
            if (used == 0)
                return 0;
            _dataLeft -= used;
            var stream = _dataStream;
            if (stream is null)
                GiveBack(null, used);
            else
                Deliver(stream, input[..used], last: _dataLeft == 0 && _dataEndStream);
        }
        if (_dataLeft == 0 && _paddingLeft > 0)
        {
            int skipped = Math.Min(_paddingLeft, input.Length - used);
            _paddingLeft -= skipped;
            used += skipped;
            GiveBack(_dataStream, skipped);
        }
        return used;
    }

    private void Deliver(Http2Stream stream, ReadOnlySpan<byte> data, bool last)
    {
        if (last)
            stream.RemoteEnded = true;
        stream.Withheld += data.Length;
        stream.Sink?.OnBody(data, last);
        if (stream.Closed)
            return;
        if (last)
            EndIfBothEnded(stream);
        if (!stream.Closed && stream.PauseCount == 0)
            GiveBackWithheld(stream);
    }

    /// <summary>Bytes that no sink sees: dropped data and padding.</summary>
    private void GiveBack(Http2Stream? stream, int bytes)
    {
        if (bytes == 0)
            return;
        if (stream is not null && !stream.Closed)
        {
            stream.Withheld += bytes;
            if (stream.PauseCount == 0)
                GiveBackWithheld(stream);
            return;
        }
        _receiveWindow.Consume(bytes);
        UpdateConnectionWindow();
    }

    private void GiveBackWithheld(Http2Stream stream)
    {
        int bytes = stream.Withheld;
        stream.Withheld = 0;
        _receiveWindow.Consume(bytes);
        UpdateConnectionWindow();
        if (stream.RemoteEnded || stream.Unwanted || _failure != Failure.None)
            return;
        stream.ReceiveWindow.Consume(bytes);
        int increment = stream.ReceiveWindow.TakeUpdate();
        if (increment > 0)
            Writer.WriteWindowUpdate(stream.Id, increment);
    }

    private void UpdateConnectionWindow()
    {
        if (_failure != Failure.None)
            return;
        int increment = _receiveWindow.TakeUpdate();
        if (increment > 0)
            Writer.WriteWindowUpdate(0, increment);
    }

    // ---- header blocks -------------------------------------------------------------------------------------------

    private void OnHeaders(in FrameHeader header, ReadOnlySpan<byte> payload)
    {
        var error = FrameParser.OpenHeaders(in header, payload, out var fragment, out uint dependsOn);
        if (error != Http2Error.NoError)
        {
            Fail(error, error == Http2Error.FrameSizeError ? Failure.Http2FrameSizeError : Failure.Http2ProtocolError);
            return;
        }
        bool endStream = header.Has(FrameFlags.EndStream);
        if (IsEmptyFlood(fragment.Length, endStream))
        {
            Fail(Http2Error.EnhanceYourCalm, Failure.Http2InboundEmptyFramesFlood);
            return;
        }
        _blockId = header.StreamId;
        _blockEndStream = endStream;
        _blockStream = null;
        _blockFields = _blockFieldBytes = _blockBytes = _blockFrames = 0;
        _blockFailure = Failure.None;
        _blockReset = Http2Error.NoError;
        BeginBlock(header.StreamId, endStream);
        if (_failure != Failure.None)
            return;
        Debug.Assert(_blockUse != BlockUse.None);
        if (dependsOn == header.StreamId && _blockFailure == Failure.None)
            _blockFailure = Failure.Http2ProtocolError;
        _decoder.BeginBlock();
        ReadFragment(fragment, header.Has(FrameFlags.EndHeaders));
    }

    private void OnContinuation(in FrameHeader header, ReadOnlySpan<byte> payload)
    {
        // Only reached inside a block when its stream fits; outside of one it has no business (RFC 9113 section 6.10).
        if (_blockUse == BlockUse.None)
        {
            Fail(Http2Error.ProtocolError, Failure.Http2ProtocolError);
            return;
        }
        if (++_blockFrames > Options.MaxContinuationFrames)
        {
            Fail(Http2Error.EnhanceYourCalm, Failure.Http2InboundContinuationFlood);
            return;
        }
        if (IsEmptyFlood(payload.Length, header.Has(FrameFlags.EndHeaders)))
        {
            Fail(Http2Error.EnhanceYourCalm, Failure.Http2InboundEmptyFramesFlood);
            return;
        }
        ReadFragment(payload, header.Has(FrameFlags.EndHeaders));
    }

    /// <summary>Decides what a header block is for, by <see cref="UseBlock"/> or <see cref="DiscardBlock"/>, or fails the connection.</summary>
    protected abstract void BeginBlock(uint id, bool endStream);

    /// <summary>The block's fields go to a stream.</summary>
    protected void UseBlock(BlockUse use, Http2Stream stream)
    {
        _blockUse = use;
        _blockStream = stream;
    }

    /// <summary>The block is decoded and dropped; then the stream is reset with this code, unless it is NoError.</summary>
    protected void DiscardBlock(Http2Error code)
    {
        _blockUse = BlockUse.Discard;
        _blockReset = code;
    }

    /// <summary>The block's fields are decoded and not kept; it ends with this failure.</summary>
    protected void RejectBlock(Failure failure) => _blockFailure = failure;

    /// <summary>
    /// Decodes what is there of a block. Every field counts before anything else is done with it; past the limits fields are only decoded, not
    /// kept, and a block that goes on regardless ends the connection, so a few bytes on the wire never become many in memory.
    /// </summary>
    private void ReadFragment(ReadOnlySpan<byte> fragment, bool last)
    {
        _blockBytes += fragment.Length;
        if (_blockBytes > Options.MaxHeaderBytes * BlockBytesPerFieldByte)
        {
            Fail(Http2Error.EnhanceYourCalm, Failure.Http2InboundContinuationFlood);
            return;
        }
        bool continued = !_blockRest.IsEmpty;
        if (continued)
            _blockRest.Write(fragment);
        var block = continued ? _blockRest.Readable : fragment;
        int position = 0;
        HpackStatus status;
        while ((status = _decoder.Next(block, ref position, last, out var field)) == HpackStatus.Field)
        {
            _blockFieldBytes += field.Size;
            _blockFields++;
            if (_blockFailure != Failure.None)
                continue;
            if (_blockFieldBytes > Options.MaxHeaderBytes)
                _blockFailure = Failure.Http2HeadersTooLarge;
            else if (_blockFields > Options.MaxHeaders)
                _blockFailure = Failure.Http2TooManyHeaders;
            else if (_blockUse == BlockUse.Head)
                _blockFailure = OnHeadField(_blockStream!, in field);
            else if (_blockUse == BlockUse.Trailers)
                _blockFailure = OnTrailer(_blockStream!.TrailersIn, in field);
        }
        switch (status)
        {
            case HpackStatus.Error:
                Fail(Http2Error.CompressionError, Failure.Http2CompressionError);
                return;
            case HpackStatus.TooLarge:
                Fail(Http2Error.EnhanceYourCalm, Failure.Http2HeadersTooLarge);
                return;
        }
        if (continued)
            _blockRest.Consume(position);
        else if (position < block.Length)
            _blockRest.Write(block[position..]);
        if (last)
            EndBlock();
    }

    private void EndBlock()
    {
        var use = _blockUse;
        var stream = _blockStream;
        _blockUse = BlockUse.None;
        _blockStream = null;
        if (use == BlockUse.Discard)
        {
            if (_blockReset != Http2Error.NoError)
                ResetUnopened(_blockId, _blockReset);
            return;
        }
        Debug.Assert(stream is not null);
        stream.FieldBytes += _blockFieldBytes;
        _heldFieldBytes += _blockFieldBytes;
        _heldBytes += _blockFieldBytes;
        if (use == BlockUse.Head)
        {
            OnHead(stream, _blockEndStream, _blockFailure);
            return;
        }
        var failure = _blockFailure;
        // Trailers end the message (RFC 9113 section 8.1), and its length is known by then.
        if (failure == Failure.None && (!_blockEndStream || (stream.BodyExpected >= 0 && stream.BodyReceived != stream.BodyExpected)))
            failure = Failure.Http2InvalidHeader;
        if (failure != Failure.None)
        {
            BadMessage(stream, failure);
            return;
        }
        stream.RemoteEnded = true;
        if (stream.TrailersIn.IsEmpty)
            stream.Sink?.OnBody(default, true);
        else
            stream.Sink?.OnTrailers(stream.TrailersIn);
        EndIfBothEnded(stream);
    }

    /// <summary>A field of a head: adds it to the stream's head, or says why not.</summary>
    protected abstract Failure OnHeadField(Http2Stream stream, in HpackField field);

    /// <summary>A head is complete, well or badly.</summary>
    protected abstract void OnHead(Http2Stream stream, bool endStream, Failure failure);

    private static Failure OnTrailer(HeaderMap trailers, in HpackField field)
    {
        if (IsForbidden(in field) || HeaderNames.IsPseudo(field.Id) || field.Name[0] == ':')
            return Failure.Http2InvalidHeader;
        trailers.Add(field.Id, field.Name, field.Value, (field.Flags & FieldFlags.NeverIndexed) != 0);
        return Failure.None;
    }

    /// <summary>What no field section of HTTP/2 may hold: bad bytes, and fields about the connection (RFC 9113 sections 8.2.1 and 8.2.2).</summary>
    protected static bool IsForbidden(in HpackField field)
    {
        if ((field.Flags & (FieldFlags.InvalidName | FieldFlags.InvalidValue)) != 0)
            return true;
        return field.Id switch
        {
            HeaderId.Connection or HeaderId.KeepAlive or HeaderId.ProxyConnection or HeaderId.TransferEncoding or HeaderId.Upgrade => true,
            HeaderId.Te => !Ascii.EqualsIgnoreCase(field.Value, "trailers"u8),
            _ => false,
        };
    }

    /// <summary>Reads content-length into the stream: only digits, and only once.</summary>
    protected static Failure OnContentLength(Http2Stream stream, ReadOnlySpan<byte> value)
    {
        if (stream.BodyExpected >= 0 || !Ascii.TryParseDecimal(value, out long length))
            return Failure.Http2InvalidHeader;
        stream.BodyExpected = length;
        return Failure.None;
    }

    // ---- other frames --------------------------------------------------------------------------------------------

    private void OnPriority(in FrameHeader header, ReadOnlySpan<byte> payload)
    {
        if (++_priorityFrames > Options.MaxInboundPriorityFramesPerStream * (1 + _streamsOpened))
        {
            Fail(Http2Error.EnhanceYourCalm, Failure.Http2InboundPriorityFlood);
            return;
        }
        // The scheme is deprecated (RFC 9113 section 5.3.2): frames are checked, counted, and have no effect.
        if (payload.Length != FrameParser.PriorityBytes)
            ResetOrFail(header.StreamId, Http2Error.FrameSizeError, Failure.Http2FrameSizeError);
        else if (FrameParser.ReadDependency(payload) == header.StreamId)
            ResetOrFail(header.StreamId, Http2Error.ProtocolError, Failure.Http2ProtocolError);
    }

    /// <summary>A stream error where there is a stream, else the connection's.</summary>
    private void ResetOrFail(uint id, Http2Error code, Failure failure)
    {
        if (Streams.Find(id) is { } stream)
            StreamError(stream, code, failure);
        else
            Fail(code, failure);
    }

    private void OnRstStream(uint id, Http2Error code)
    {
        var stream = Streams.Find(id);
        if (stream is null)
        {
            if (IsIdle(id))
                Fail(Http2Error.ProtocolError, Failure.Http2ProtocolError);
            return;
        }
        bool early = IsEarly(stream);
        // RST_STREAM(NO_ERROR) after a complete message only says that the rest of ours is not needed (RFC 9113 section 8.1).
        bool quiet = stream.RemoteEnded && code == Http2Error.NoError;
        var sink = stream.Sink;
        Close(stream, StreamEnd.ResetByPeer);
        if (!quiet)
            sink?.OnReset(ResetFailure(code));
        OnEarlyEnd(early);
    }

    protected abstract Failure ResetFailure(Http2Error code);

    private void OnSettings(in FrameHeader header, ReadOnlySpan<byte> payload)
    {
        if (header.Has(FrameFlags.Ack))
        {
            _decoder.SetLimit(Options.HpackTableSize);
            return;
        }
        bool isFirst = !_peerSettingsSeen;
        _peerSettingsSeen = true;
        if (NowMs - _settingsSinceMs >= SecondMs)
        {
            _settingsSinceMs = NowMs;
            _settingsFrames = 0;
        }
        if (++_settingsFrames > Options.MaxSettingsFramesPerSecond || payload.Length > Options.MaxSettingsPerFrame * Http2Settings.EntryBytes)
        {
            Fail(Http2Error.EnhanceYourCalm, Failure.Http2InboundSettingsFlood);
            return;
        }
        int windowBefore = Peer.InitialWindowSize;
        uint streamsBefore = Peer.MaxConcurrentStreams;
        for (; payload.Length > 0; payload = payload[Http2Settings.EntryBytes..])
        {
            var (id, value) = Http2Settings.Read(payload);
            var error = Peer.Apply(id, value, fromServer: !_isServer);
            if (error != Http2Error.NoError)
            {
                Fail(error, error == Http2Error.FlowControlError ? Failure.Http2FlowControlError : Failure.Http2ProtocolError);
                return;
            }
            if (id == SettingId.HeaderTableSize)
                Encoder.SetPeerLimit(value);
        }
        int delta = Peer.InitialWindowSize - windowBefore;
        if (delta != 0 && !ChangeStreamWindows(delta))
        {
            Fail(Http2Error.FlowControlError, Failure.Http2FlowControlError);
            return;
        }
        Writer.WriteSettingsAck();
        if (!CheckOutbound())
            return;
        if (isFirst)
            OnFirstSettings();
        if (delta > 0)
            SendInTurns();
        if (Peer.MaxConcurrentStreams != streamsBefore && !_isServer)
            _events.OnMaxStreamsChanged();
    }

    // RFC 9113 section 6.9.2: windows of open streams move by the difference, below zero if need be.
    private bool ChangeStreamWindows(int delta)
    {
        for (int i = Streams.Count - 1; i >= 0; i--)
        {
            var stream = Streams[i];
            if (!stream.SendWindow.TryChange(delta))
                return false;
            UpdateSendable(stream);
        }
        return true;
    }

    private void OnPing(in FrameHeader header, ReadOnlySpan<byte> payload)
    {
        if (header.Has(FrameFlags.Ack))
        {
            if (_pingOut && BinaryPrimitives.ReadUInt64BigEndian(payload) == _pingNumber)
                _pingOut = false;
            return;
        }
        Writer.WritePing(payload, ack: true);
        CheckOutbound();
    }

    private void OnWindowUpdate(uint id, uint increment)
    {
        if (++_windowUpdateFrames > 5 + 2 * (_streamsOpened + Options.MaxInboundWindowUpdateFramesPerDataFrameSent * Writer.DataFrames))
        {
            Fail(Http2Error.EnhanceYourCalm, Failure.Http2InboundWindowUpdateFlood);
            return;
        }
        if (id == 0)
        {
            if (increment == 0)
                Fail(Http2Error.ProtocolError, Failure.Http2ProtocolError);
            else if (!_sendWindow.TryChange(increment))
                Fail(Http2Error.FlowControlError, Failure.Http2FlowControlError);
            else
                SendInTurns();
            return;
        }
        var stream = Streams.Find(id);
        if (stream is null)
        {
            if (IsIdle(id))
                Fail(Http2Error.ProtocolError, Failure.Http2ProtocolError);
            return;
        }
        if (increment == 0)
            StreamError(stream, Http2Error.ProtocolError, Failure.Http2ProtocolError);
        else if (!stream.SendWindow.TryChange(increment))
            StreamError(stream, Http2Error.FlowControlError, Failure.Http2FlowControlError);
        else
        {
            UpdateSendable(stream);
            SendInTurns();
        }
    }

    protected abstract void OnGoAway(uint lastStreamId, Http2Error code);

    /// <summary>The peer's settings are known now, no longer the protocol's defaults.</summary>
    protected virtual void OnFirstSettings() { }

    protected bool PeerSettingsSeen => _peerSettingsSeen;

    /// <summary>True for a stream nobody has opened yet.</summary>
    protected abstract bool IsIdle(uint id);

    // ---- output --------------------------------------------------------------------------------------------------

    internal void SendBody(Http2Stream stream, ReadOnlySpan<byte> data, bool endStream)
    {
        if (!CanSend(stream))
            return;
        Debug.Assert(stream.HeadSent || stream.WaitingHead is not null);
        if (data.IsEmpty && !endStream)
            return;
        Enter();
        if (stream.Pending.IsEmpty && !_outputBlocked && stream.HeadSent)
            data = SendNow(stream, data, endStream);
        if (!stream.LocalEnded)
            KeepBack(stream, data, endStream);
        CheckOutbound();
        Leave();
    }

    /// <summary>False once the stream's own message is complete, or there is nobody to send to any more.</summary>
    protected bool CanSend(Http2Stream stream) =>
        !(stream.Closed || stream.LocalEnded || stream.EndPending || stream.TrailersPending || _failure != Failure.None);

    /// <summary>Sends as much as the windows allow, and the end when that is all.</summary>
    /// <returns>What is left; the stream's LocalEnded tells whether its end went out.</returns>
    private ReadOnlySpan<byte> SendNow(Http2Stream stream, ReadOnlySpan<byte> data, bool endStream)
    {
        int allowed = Math.Min(data.Length, Math.Min(_sendWindow.Available, stream.SendWindow.Available));
        if (allowed < data.Length)
            endStream = false;
        if (allowed == 0 && data.Length > 0)
            return data;
        _sendWindow.Take(allowed);
        stream.SendWindow.Take(allowed);
        int frameMax = Math.Min(Peer.MaxFrameSize, SendFrameSizeMax);
        var sent = data[..allowed];
        while (sent.Length > frameMax)
        {
            Writer.WriteData(stream.Id, sent[..frameMax], endStream: false);
            sent = sent[frameMax..];
        }
        if (sent.Length > 0 || endStream)
            Writer.WriteData(stream.Id, sent, endStream);
        if (endStream)
            EndLocal(stream);
        return data[allowed..];
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void KeepBack(Http2Stream stream, ReadOnlySpan<byte> data, bool endStream)
    {
        if (data.IsEmpty && !endStream)
            return;
        if (!stream.HasPending)
            stream.ProgressMs = NowMs;
        stream.Pending.Write(data);
        stream.EndPending = endStream;
        _heldBytes += data.Length;
        UpdateSendable(stream);
        UpdateBlocked(stream);
        if (_heldBytes > Options.MaxHeldBytes)
            Fail(Http2Error.EnhanceYourCalm, Failure.Http2OutboundFlood);
    }

    internal void SendTrailers(Http2Stream stream, HeaderMap trailers)
    {
        if (!CanSend(stream))
            return;
        Debug.Assert(stream.HeadSent || stream.WaitingHead is not null);
        Enter();
        if (!stream.Pending.IsEmpty || !stream.HeadSent)
        {
            stream.TrailersOut.CopyFrom(trailers);
            stream.TrailersPending = true;
        }
        else if (trailers.IsEmpty)
        {
            Writer.WriteData(stream.Id, default, endStream: true);
            EndLocal(stream);
        }
        else
        {
            WriteTrailers(stream, trailers);
        }
        CheckOutbound();
        Leave();
    }

    private void WriteTrailers(Http2Stream stream, HeaderMap trailers)
    {
        Encoder.Begin();
        EncodeFields(trailers);
        WriteBlock(stream, endStream: true);
        EndLocal(stream);
    }

    /// <summary>Sends the block the encoder holds as a header section of the stream.</summary>
    protected void WriteBlock(Http2Stream stream, bool endStream) =>
        Writer.WriteHeaders(stream.Id, Encoder.Block, endStream, Math.Min(Peer.MaxFrameSize, SendFrameSizeMax));

    /// <summary>Encodes the fields that travel: not pseudo-headers, and not what only concerned the connection they came by (RFC 9113 section 8.2.2).</summary>
    protected void EncodeFields(HeaderMap map)
    {
        bool nominated = map.Contains(HeaderId.Connection) && NominatesFields(map.Get(HeaderId.Connection));
        var special = s_specialFields;
        foreach (ref readonly var entry in map.Entries)
        {
            if ((entry.State & HeaderMap.EntryState.Removed) != 0)
                continue;
            if (special.Contains(entry.Id))
            {
                if (entry.Id == HeaderId.Te && HasToken(map.ValueOf(in entry), "trailers"u8))
                    Encoder.Add(HeaderId.Te, map.NameOf(in entry), "trailers"u8, neverIndexed: false);
                continue;
            }
            bool neverIndexed = (entry.State & HeaderMap.EntryState.NeverIndexed) != 0;
            if (!nominated && !neverIndexed && Encoder.TryAddRepeated(entry.Id, map.ValueOf(in entry)))
                continue;
            var name = map.NameOf(in entry);
            if (nominated && HasToken(map.Get(HeaderId.Connection), name))
                continue;
            Encoder.Add(entry.Id, name, map.ValueOf(in entry), neverIndexed);
        }
    }

    // Those that do not travel, and te, of which one word does.
    private static readonly HeaderSet s_specialFields = new(
        HeaderId.Method, HeaderId.Scheme, HeaderId.Authority, HeaderId.Path, HeaderId.Protocol, HeaderId.Connection, HeaderId.KeepAlive,
        HeaderId.ProxyConnection, HeaderId.TransferEncoding, HeaderId.Upgrade, HeaderId.Host, HeaderId.Http2Settings, HeaderId.Te);

    protected void EncodeContentLength(long length)
    {
        Span<byte> digits = stackalloc byte[20];
        Encoder.Add(HeaderId.ContentLength, "content-length"u8, digits[..Ascii.FormatDecimal(length, digits)], neverIndexed: false);
    }

    private static bool NominatesFields(ReadOnlySpan<byte> connection) =>
        !Ascii.EqualsIgnoreCase(connection, "upgrade"u8) && !Ascii.EqualsIgnoreCase(connection, "close"u8) && !Ascii.EqualsIgnoreCase(connection, "keep-alive"u8);

    private static bool HasToken(ReadOnlySpan<byte> list, ReadOnlySpan<byte> token)
    {
        while (true)
        {
            int comma = list.IndexOf((byte)',');
            var item = Ascii.TrimOws(comma < 0 ? list : list[..comma]);
            int parameter = item.IndexOf((byte)';');
            if (Ascii.EqualsIgnoreCase(parameter < 0 ? item : Ascii.TrimOws(item[..parameter]), token))
                return true;
            if (comma < 0)
                return false;
            list = list[(comma + 1)..];
        }
    }

    /// <summary>Puts the stream among those that wait for the connection only, or takes it away from there.</summary>
    protected void UpdateSendable(Http2Stream stream)
    {
        bool sendable = stream.HasPending && stream.HeadSent && (stream.Pending.IsEmpty || stream.SendWindow.Available > 0);
        if (sendable == (stream.List == _sendable))
            return;
        if (sendable)
            _sendable.AddLast(stream);
        else
            _sendable.Remove(stream);
    }

    /// <summary>Lets waiting streams send, one frame a turn, while the connection's window and its output are open.</summary>
    protected void SendInTurns()
    {
        int frameMax = Math.Min(Peer.MaxFrameSize, SendFrameSizeMax);
        while (!_outputBlocked && _failure == Failure.None && _sendable.First is { } stream)
        {
            int length = (int)Math.Min(stream.Pending.Length, Math.Min(frameMax, Math.Min(_sendWindow.Available, stream.SendWindow.Available)));
            if (length == 0 && !stream.Pending.IsEmpty)
                return;
            _sendable.Remove(stream);
            bool endStream = stream.EndPending && length == stream.Pending.Length;
            if (length > 0 || endStream)
            {
                _sendWindow.Take(length);
                stream.SendWindow.Take(length);
                Writer.WriteData(stream.Id, stream.Pending, length, endStream);
                _heldBytes -= length;
                stream.ProgressMs = NowMs;
            }
            if (endStream)
                EndLocal(stream);
            else if (stream.TrailersPending && stream.Pending.IsEmpty)
                WriteTrailers(stream, stream.TrailersOut);
            if (stream.Closed)
                continue;
            if (!stream.LocalEnded)
                UpdateSendable(stream);
            UpdateBlocked(stream);
        }
        CheckOutbound();
    }

    /// <summary>Tells the sink when its stream fills up, and when half of that is gone.</summary>
    private void UpdateBlocked(Http2Stream stream)
    {
        if (stream.LocalEnded)
            return;
        bool blocked = _outputBlocked || stream.Pending.Length > (stream.SendBlocked ? Options.StreamSendHighWatermark / 2 : Options.StreamSendHighWatermark);
        if (blocked == stream.SendBlocked)
            return;
        stream.SendBlocked = blocked;
        if (blocked)
            stream.Sink?.OnSendBlocked();
        else
            stream.Sink?.OnSendReady();
    }

    internal void OnOutputBlocked(bool blocked)
    {
        if (_outputBlocked == blocked || _failure != Failure.None)
            return;
        Enter();
        _outputBlocked = blocked;
        if (!blocked)
            SendInTurns();
        for (int i = Streams.Count - 1; i >= 0; i--)
        {
            if (i < Streams.Count)
                UpdateBlocked(Streams[i]);
        }
        Leave();
    }

    internal void Pause(Http2Stream stream)
    {
        if (!stream.Closed && !stream.Unwanted)
            stream.PauseCount++;
    }

    internal void Resume(Http2Stream stream)
    {
        if (stream.Closed || stream.Unwanted)
            return;
        Debug.Assert(stream.PauseCount > 0);
        if (--stream.PauseCount > 0 || stream.Withheld == 0)
            return;
        Enter();
        GiveBackWithheld(stream);
        Leave();
    }

    /// <summary>The user gives a stream up.</summary>
    internal void ResetStream(Http2Stream stream, Failure reason)
    {
        if (stream.Closed)
            return;
        Enter();
        if (stream.Id != 0 && _failure == Failure.None)
            Writer.WriteRstStream(stream.Id, ResetCode(reason));
        Close(stream, StreamEnd.ResetByUs);
        CheckOutbound();
        Leave();
    }

    protected abstract Http2Error ResetCode(Failure reason);

    /// <summary>
    /// The user wants no more of the peer's message, which is checked and dropped from now on. The stream counts as open until it ends, or until
    /// our side is complete and the peer has had its time: RFC 9113 section 8.1 lets it be stopped with RST_STREAM(NO_ERROR) then.
    /// </summary>
    internal void Discard(Http2Stream stream)
    {
        if (stream.Closed || stream.Unwanted)
            return;
        stream.Unwanted = true;
        stream.PauseCount = 0;
        stream.ProgressMs = NowMs;
        if (stream.Withheld == 0)
            return;
        Enter();
        GiveBackWithheld(stream);
        Leave();
    }

    private void StopUnwanted(Http2Stream stream)
    {
        Writer.WriteRstStream(stream.Id, Http2Error.NoError);
        Close(stream, StreamEnd.ResetByUs);
        CheckOutbound();
    }

    // ---- streams' ends -------------------------------------------------------------------------------------------

    /// <summary>A stream joins the open ones.</summary>
    protected void AddStream(Http2Stream stream) => Streams.Add(stream);

    /// <summary>A stream id was used, whatever became of it.</summary>
    protected void CountOpened(uint id)
    {
        History.Open(id);
        _streamsOpened++;
        _requestsThisFeed++;
    }

    protected void EndLocal(Http2Stream stream)
    {
        stream.LocalEnded = true;
        stream.EndPending = stream.TrailersPending = false;
        if (stream.RemoteEnded)
            Close(stream, StreamEnd.Ended);
    }

    protected void EndIfBothEnded(Http2Stream stream)
    {
        if (stream.LocalEnded && stream.RemoteEnded && !stream.Closed)
            Close(stream, StreamEnd.Ended);
    }

    /// <summary>Takes a stream out of everything; its end is told when the outermost scope ends.</summary>
    protected void Close(Http2Stream stream, StreamEnd end)
    {
        Debug.Assert(!stream.Closed);
        stream.Closed = true;
        if (stream.List == _sendable)
            _sendable.Remove(stream);
        Streams.Remove(stream);
        if (stream.Id != 0)
            History.Close(stream.Id, end);
        if (_dataStream == stream)
            _dataStream = null;
        if (_blockStream == stream)
        {
            // The rest of its trailers is still decoded, for nobody.
            _blockStream = null;
            _blockUse = BlockUse.Discard;
        }
        ReleaseHeld(stream);
        if (stream.Withheld > 0)
        {
            _receiveWindow.Consume(stream.Withheld);
            stream.Withheld = 0;
            UpdateConnectionWindow();
        }
        OnClosed(stream);
        _ended.AddLast(stream);
    }

    /// <summary>Counts a stream's end where the role wants it.</summary>
    protected virtual void OnClosed(Http2Stream stream) { }

    /// <summary>What was held for a stream is held no more.</summary>
    private void ReleaseHeld(Http2Stream stream)
    {
        _heldBytes -= stream.Pending.Length;
        stream.Pending.Clear();
        ReleaseFields(stream);
    }

    /// <summary>The fields received so far are held no more.</summary>
    protected void ReleaseFields(Http2Stream stream)
    {
        _heldFieldBytes -= stream.FieldBytes;
        _heldBytes -= stream.FieldBytes;
        stream.FieldBytes = 0;
    }

    private void TellEnded()
    {
        while (_ended.RemoveFirst() is { } stream)
        {
            if (stream.Announced)
                _events.OnStreamClosed(stream.Face);
            Recycle(stream);
        }
    }

    protected abstract void Recycle(Http2Stream stream);

    // ---- errors --------------------------------------------------------------------------------------------------

    /// <summary>Resets a stream for what its peer did; false, so that a check can end with it.</summary>
    protected bool StreamError(Http2Stream stream, Http2Error code, Failure failure)
    {
        if (_failure != Failure.None)
            return false;
        bool early = IsEarly(stream);
        Writer.WriteRstStream(stream.Id, code);
        var sink = stream.Sink;
        Close(stream, StreamEnd.ResetByUs);
        sink?.OnReset(Reason(failure));
        // A peer that makes us reset has it no cheaper than one that resets itself.
        OnEarlyEnd(early);
        CheckOutbound();
        return false;
    }

    /// <summary>A message breaks RFC 9113 section 8: the stream's error, or the connection's, as configured.</summary>
    protected bool MessageError(Http2Stream stream, Failure failure)
    {
        if (Options.OverrideStreamErrorOnInvalidHttpMessage)
            return StreamError(stream, Http2Error.ProtocolError, failure);
        Fail(Http2Error.ProtocolError, failure);
        return false;
    }

    /// <summary>A head or trailers that cannot be used: too large costs the stream, malformed what <see cref="MessageError"/> says.</summary>
    protected void BadMessage(Http2Stream stream, Failure failure)
    {
        if (failure is Failure.Http2HeadersTooLarge or Failure.Http2TooManyHeaders)
            StreamError(stream, Http2Error.EnhanceYourCalm, failure);
        else
            MessageError(stream, failure);
    }

    /// <summary>RST_STREAM for an id that has no stream.</summary>
    protected void ResetUnopened(uint id, Http2Error code)
    {
        // REFUSED_STREAM is no fault of the peer's: it may not know our limit yet, or that we drain.
        if (Streams.Find(id) is { } stream)
        {
            StreamError(stream, code, Failure.Http2StreamClosed);
            return;
        }
        Writer.WriteRstStream(id, code);
        History.Close(id, StreamEnd.ResetByUs);
        OnEarlyEnd(code is not Http2Error.RefusedStream);
        CheckOutbound();
    }

    /// <summary>The connection is over: GOAWAY says why, and <see cref="Feed"/> or <see cref="OnTick"/> returns it. 0, so that a reader can end with it.</summary>
    protected int Fail(Http2Error code, Failure failure)
    {
        if (_failure != Failure.None)
            return 0;
        _failure = Reason(failure);
        Writer.WriteGoAway(LastPeerStream, code, Ascii.Bytes(failure.Row().Details));
        return 0;
    }

    /// <summary>The highest stream of the peer that was or may be processed.</summary>
    protected abstract uint LastPeerStream { get; }

    /// <summary>A failure as this role reports it.</summary>
    protected abstract Failure Reason(Failure failure);

    /// <summary>A stream ended early, by the rule of CVE-2023-44487, whoever reset it.</summary>
    protected virtual void OnEarlyEnd(bool early) { }

    private bool IsEarly(Http2Stream stream) => !stream.HeadSent && NowMs - stream.OpenedMs < Options.PrematureResetMinStreamLifetimeMs;

    private bool IsEmptyFlood(int length, bool end)
    {
        if (length != 0 || end)
        {
            _emptyFrames = 0;
            return false;
        }
        return ++_emptyFrames > Options.MaxConsecutiveInboundFramesWithEmptyPayload;
    }

    /// <summary>Frames the peer does not take are bounded (CVE-2019-9512, -9514, -9515).</summary>
    protected bool CheckOutbound()
    {
        if (_failure != Failure.None)
            return false;
        if (Writer.PendingControlFrames > Options.MaxOutboundControlFrames)
            Fail(Http2Error.EnhanceYourCalm, Failure.Http2OutboundControlFlood);
        else if (Writer.PendingFrames > Options.MaxOutboundFrames)
            Fail(Http2Error.EnhanceYourCalm, Failure.Http2OutboundFlood);
        return _failure == Failure.None;
    }

    // ---- time and the connection's end ---------------------------------------------------------------------------

    internal Failure OnTick(long nowMs)
    {
        NowMs = nowMs;
        if (_failure != Failure.None)
            return _failure;
        Enter();
        for (int i = Streams.Count - 1; i >= 0; i--)
        {
            if (i >= Streams.Count)
                continue;
            var stream = Streams[i];
            if (stream.HasPending && nowMs - stream.ProgressMs >= Options.StreamFlushTimeoutMs)
                StreamTimeout(stream);
            else if (stream.Unwanted && stream.LocalEnded && nowMs - stream.ProgressMs >= UnwantedMsMax)
                StopUnwanted(stream);
        }
        if (Options.KeepaliveIntervalMs > 0)
            KeepAlive(nowMs);
        Leave();
        return _failure;
    }

    private void StreamTimeout(Http2Stream stream)
    {
        Writer.WriteRstStream(stream.Id, Http2Error.Cancel);
        var sink = stream.Sink;
        Close(stream, StreamEnd.ResetByUs);
        sink?.OnReset(_isServer ? Failure.Http2FlushTimeout : Failure.LocalReset);
        CheckOutbound();
    }

    private void KeepAlive(long nowMs)
    {
        if (_pingOut)
        {
            if (nowMs - _pingSentMs >= Options.KeepaliveTimeoutMs)
            {
                _failure = Failure.Http2PingTimeout;
                Writer.WriteGoAway(LastPeerStream, Http2Error.NoError, "http2.ping_timeout"u8);
            }
            return;
        }
        if (_pingDueMs == 0)
            _pingDueMs = nowMs + Options.KeepaliveIntervalMs;
        if (nowMs < _pingDueMs)
            return;
        Span<byte> payload = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64BigEndian(payload, ++_pingNumber);
        Writer.WritePing(payload, ack: false);
        _pingOut = true;
        _pingSentMs = nowMs;
        _pingDueMs = nowMs + Options.KeepaliveIntervalMs;
        CheckOutbound();
    }

    internal void OnConnectionLost(Failure reason)
    {
        Enter();
        if (_failure == Failure.None)
            _failure = reason == Failure.None ? Failure.InternalError : reason;
        AbandonBlock();
        for (int i = Streams.Count - 1; i >= 0; i = Math.Min(i, Streams.Count) - 1)
        {
            var stream = Streams[i];
            var sink = stream.Sink;
            Close(stream, StreamEnd.ResetByUs);
            sink?.OnReset(reason);
        }
        _writtenAtEnter = Writer.Written;
        Leave();
    }

    private void AbandonBlock()
    {
        var stream = _blockStream;
        _blockStream = null;
        if (_blockUse == BlockUse.Head && stream is not null)
            AbandonHead(stream);
        _blockUse = BlockUse.None;
        _blockRest.Reset();
    }

    /// <summary>A head under construction will not be completed: a stream that only existed for it goes back.</summary>
    protected abstract void AbandonHead(Http2Stream stream);

    // ---- scopes and set-up ---------------------------------------------------------------------------------------

    protected void Enter()
    {
        if (_depth++ == 0)
            _writtenAtEnter = Writer.Written;
    }

    /// <summary>Ends a scope; the outermost tells which streams ended and that there is something to send.</summary>
    protected void Leave()
    {
        if (_depth == 1)
        {
            if (!_ended.IsEmpty)
                TellEnded();
            if (Writer.Written != _writtenAtEnter)
                _events.OnOutput();
        }
        _depth--;
    }

    protected CodecEvents Events => _events;

    /// <summary>Windows of a new stream.</summary>
    protected void OpenStream(Http2Stream stream, uint id) =>
        stream.Open(this, id, new FlowWindow(Peer.InitialWindowSize), new ReceiveWindow(Options.InitialStreamWindowSize), NowMs);

    protected bool IsHeldFull => _heldBytes > Options.MaxHeldBytes;
    protected bool AreFieldsFull => _heldFieldBytes > Options.MaxHeldFieldBytes;

    /// <summary>Our SETTINGS, and the connection's window where it is wider than the initial one.</summary>
    protected void WriteSettings()
    {
        Span<(SettingId, uint)> entries = stackalloc (SettingId, uint)[6];
        int count = 0;
        if (Options.HpackTableSize != HpackEncoder.DefaultTableSize)
            entries[count++] = (SettingId.HeaderTableSize, (uint)Options.HpackTableSize);
        if (!_isServer)
            entries[count++] = (SettingId.EnablePush, 0);
        else if (Options.AllowConnect)
            entries[count++] = (SettingId.EnableConnectProtocol, 1);
        entries[count++] = (SettingId.MaxConcurrentStreams, (uint)Options.MaxConcurrentStreams);
        entries[count++] = (SettingId.InitialWindowSize, (uint)Options.InitialStreamWindowSize);
        Writer.WriteSettings(entries[..count]);
        if (Options.InitialConnectionWindowSize > FlowWindow.InitialSize)
            Writer.WriteWindowUpdate(0, Options.InitialConnectionWindowSize - FlowWindow.InitialSize);
    }

    private void ResetConnection()
    {
        Writer.Reset();
        Encoder.Reset(Options.HpackTableSize);
        _decoder.Reset(Options.HpackTableSize);
        History.Reset();
        _blockRest.Reset();
        Peer = Http2Settings.Initial;
        _sendWindow = new FlowWindow(FlowWindow.InitialSize);
        _receiveWindow = new ReceiveWindow(Math.Max(Options.InitialConnectionWindowSize, FlowWindow.InitialSize));
        _failure = Failure.None;
        _peerSettingsSeen = _outputBlocked = _pingOut = InputDeferred = false;
        _heldBytes = _heldFieldBytes = 0;
        _blockUse = BlockUse.None;
        _blockStream = null;
        _dataStream = null;
        _dataLeft = _paddingLeft = 0;
        _streamsOpened = _priorityFrames = _windowUpdateFrames = 0;
        _emptyFrames = _settingsFrames = 0;
        _settingsSinceMs = 0;
        _pingDueMs = _pingSentMs = 0;
        NowMs = 0;
    }
}
