using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.Linq;
using System.Text;
using Sidecar.Http;
using Sidecar.Http.H2;
using Sidecar.Http.H2.Hpack;
using Sidecar.Memory;
using Sidecar.Telemetry;
using Xunit;

namespace Sidecar.Tests.Harness;

/// <summary>One frame as the peer received it.</summary>
internal sealed record H2Frame(FrameType Type, FrameFlags Flags, uint StreamId, byte[] Payload)
{
    internal bool EndStream => (Flags & FrameFlags.EndStream) != 0 && Type is FrameType.Data or FrameType.Headers;
    internal bool IsAck => (Flags & FrameFlags.Ack) != 0 && Type is FrameType.Settings or FrameType.Ping;
    internal uint Word(int offset = 0) => BinaryPrimitives.ReadUInt32BigEndian(Payload.AsSpan(offset));
    internal Http2Error ResetCode => (Http2Error)Word();
    internal Http2Error GoAwayCode => (Http2Error)Word(4);
    public override string ToString() => $"{Type}({StreamId}, flags {(int)Flags:x}, {Payload.Length} B{(Type == FrameType.RstStream ? ", " + ResetCode : Type == FrameType.GoAway ? ", " + GoAwayCode : "")})";
}

/// <summary>Frames and header blocks made by hand, wrong ones included.</summary>
internal static class H2
{
    internal static readonly byte[] Preface = Http2Preface.Bytes.ToArray();

    internal static byte[] Frame(FrameType type, FrameFlags flags, uint streamId, params byte[] payload) => RawFrame(payload.Length, (byte)type, (byte)flags, streamId, payload);

    internal static byte[] RawFrame(int length, byte type, byte flags, uint streamId, byte[] payload)
    {
        var frame = new byte[FrameHeader.Size + payload.Length];
        frame[0] = (byte)(length >> 16);
        frame[1] = (byte)(length >> 8);
        frame[2] = (byte)length;
        frame[3] = type;
        frame[4] = flags;
        BinaryPrimitives.WriteUInt32BigEndian(frame.AsSpan(5), streamId);
        payload.CopyTo(frame, FrameHeader.Size);
        return frame;
    }

    internal static byte[] Word(uint value) => [(byte)(value >> 24), (byte)(value >> 16), (byte)(value >> 8), (byte)value];

    internal static byte[] Join(params byte[][] parts) => parts.SelectMany(part => part).ToArray();

    internal static byte[] Settings(params (SettingId Id, uint Value)[] entries) =>
        Frame(FrameType.Settings, FrameFlags.None, 0, entries.SelectMany(e => new byte[] { (byte)((int)e.Id >> 8), (byte)e.Id }.Concat(Word(e.Value))).ToArray());

    internal static byte[] Ping(string payload = "h2speced", bool ack = false) => Frame(FrameType.Ping, ack ? FrameFlags.Ack : FrameFlags.None, 0, Bytes(payload));

    internal static byte[] WindowUpdate(uint streamId, uint increment) => Frame(FrameType.WindowUpdate, FrameFlags.None, streamId, Word(increment));

    internal static byte[] Reset(uint streamId, Http2Error code = Http2Error.Cancel) => Frame(FrameType.RstStream, FrameFlags.None, streamId, Word((uint)code));

    internal static byte[] GoAway(uint lastStreamId, Http2Error code = Http2Error.NoError) => Frame(FrameType.GoAway, FrameFlags.None, 0, Join(Word(lastStreamId), Word((uint)code)));

    internal static byte[] Priority(uint streamId, uint dependsOn, byte weight = 15, bool exclusive = false) =>
        Frame(FrameType.Priority, FrameFlags.None, streamId, Join(Word(dependsOn | (exclusive ? 0x80000000 : 0)), [weight]));

    internal static byte[] Data(uint streamId, string data, bool end = false, int padding = -1) => Data(streamId, Bytes(data), end, padding);

    internal static byte[] Data(uint streamId, byte[] data, bool end = false, int padding = -1)
    {
        var flags = end ? FrameFlags.EndStream : FrameFlags.None;
        return padding < 0
            ? Frame(FrameType.Data, flags, streamId, data)
            : Frame(FrameType.Data, flags | FrameFlags.Padded, streamId, Join([(byte)padding], data, new byte[padding]));
    }

    internal static byte[] Headers(uint streamId, byte[] block, bool end = true, bool endHeaders = true, FrameFlags more = FrameFlags.None) =>
        Frame(FrameType.Headers, (end ? FrameFlags.EndStream : 0) | (endHeaders ? FrameFlags.EndHeaders : 0) | more, streamId, block);

    internal static byte[] Continuation(uint streamId, byte[] block, bool endHeaders = true) =>
        Frame(FrameType.Continuation, endHeaders ? FrameFlags.EndHeaders : 0, streamId, block);

    /// <summary>Literals without indexing, not Huffman-coded: what is written is what is meant.</summary>
    internal static byte[] Block(params (string Name, string Value)[] fields)
    {
        var block = new List<byte>();
        foreach (var (name, value) in fields)
        {
            block.Add(0);
            String(block, name);
            String(block, value);
        }
        return block.ToArray();
    }

    internal static byte[] Get(params (string, string)[] more) =>
        Block([(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "example.org"), .. more]);

    internal static byte[] Post(params (string, string)[] more) =>
        Block([(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "example.org"), .. more]);

    internal static byte[] Bytes(string text) => Encoding.Latin1.GetBytes(text);

    internal static void String(List<byte> block, string text)
    {
        Integer(block, 0, 7, text.Length);
        block.AddRange(Bytes(text));
    }

    internal static void Integer(List<byte> block, byte kind, int bits, int value)
    {
        int mask = (1 << bits) - 1;
        if (value < mask)
        {
            block.Add((byte)(kind | value));
            return;
        }
        block.Add((byte)(kind | mask));
        for (value -= mask; value >= 128; value >>= 7)
            block.Add((byte)(value | 128));
        block.Add((byte)value);
    }
}

/// <summary>How a story's input is cut into Feeds.</summary>
internal readonly record struct Cut(int Size, int Split)
{
    internal static readonly Cut Whole = new(int.MaxValue, 0);
    internal static readonly Cut Bytes = new(1, 0);
    internal static Cut At(int split) => new(int.MaxValue, split);
}

/// <summary>
/// The other end of a connection whose codec is tested: sends bytes, cut as told, keeps what the codec did not take (as the driver does), and reads
/// what the codec writes.
/// </summary>
internal abstract class H2Peer
{
    private readonly HpackDecoder _hpack = new(new HpackScratch(), 4096);
    private readonly List<byte> _unparsed = [];
    private byte[] _rest = [];
    private bool _prefaceSeen;

    protected H2Peer(Cut cut)
    {
        Cut = cut;
        Pools = new Http2Pools(Slab);
        Output = new BufferChain(Slab);
    }

    internal Cut Cut { get; }
    internal Slab Slab { get; } = new(512);
    internal Http2Pools Pools { get; }
    internal BufferChain Output { get; }
    internal abstract HttpCodec Codec { get; }

    /// <summary>Streams the user knows of, and those whose end it heard of: in the end the same number.</summary>
    protected int OpenedStreams { get; set; }
    internal int ClosedStreams { get; set; }

    /// <summary>False: the peer does not read, so what the codec writes stays in its output.</summary>
    internal bool Reads { get; set; } = true;

    internal long NowMs { get; set; } = 1_000_000;
    internal List<H2Frame> Frames { get; } = [];
    internal Dictionary<uint, List<(string Name, string Value)>> Heads { get; } = [];
    internal Failure Error { get; private set; }
    internal int LongestSend { get; private set; }
    internal List<string> Events { get; } = [];

    /// <summary>Runs a story whole, byte by byte, and with every send cut in two at every place.</summary>
    internal static void Everywhere<T>(Func<Cut, T> make, Action<T> story) where T : H2Peer
    {
        int longest = Run(make(Cut.Whole), story);
        Run(make(Cut.Bytes), story);
        // Long stories are cut at the places where frames' headers and first fields lie, and then now and again.
        for (int split = 1; split < longest; split += split < 128 ? 1 : 97)
            Run(make(Cut.At(split)), story);
    }

    private static int Run<T>(T peer, Action<T> story) where T : H2Peer
    {
        story(peer);
        peer.Close();
        return peer.LongestSend;
    }

    /// <summary>Ends the connection; nothing may be left of it.</summary>
    internal void Close()
    {
        Codec.OnConnectionLost(Failure.DownstreamDisconnect);
        Assert.Equal(OpenedStreams, ClosedStreams);
        Assert.Equal(0, Codec.ActiveStreams);
        Output.Clear();
        Assert.Equal(0, Slab.RentedCount);
        Assert.Equal(0, Pools.PendingSlab.RentedCount);
    }

    internal void Send(params byte[][] parts)
    {
        var bytes = H2.Join(parts);
        LongestSend = Math.Max(LongestSend, bytes.Length);
        if (Cut.Split > 0 && Cut.Split < bytes.Length)
        {
            FeedOnce(bytes[..Cut.Split]);
            FeedOnce(bytes[Cut.Split..]);
            return;
        }
        for (int at = 0; at < bytes.Length; at += Math.Min(Cut.Size, bytes.Length - at))
            FeedOnce(bytes[at..(at + Math.Min(Cut.Size, bytes.Length - at))]);
    }

    private void FeedOnce(byte[] bytes)
    {
        if (Error != Failure.None)
            return;
        var input = _rest.Length == 0 ? bytes : H2.Join(_rest, bytes);
        do
        {
            Codec.NowMs = NowMs;
            var result = Codec.Feed(input);
            Assert.InRange(result.Consumed, 0, input.Length);
            input = input[result.Consumed..];
            Error = result.Error;
            Read();
        }
        while (Codec.InputDeferred);
        _rest = input;
    }

    internal void Tick(long milliseconds)
    {
        NowMs += milliseconds;
        var error = Codec.OnTick(NowMs);
        if (Error == Failure.None)
            Error = error;
        Read();
    }

    /// <summary>Takes what the codec has written.</summary>
    internal void Read()
    {
        if (!Reads)
            return;
        while (!Output.IsEmpty)
        {
            _unparsed.AddRange(Output.First);
            Output.Drain(Output.First.Length);
        }
        var bytes = _unparsed.ToArray();
        int at = 0;
        if (this is H2ServerPeer && !_prefaceSeen && bytes.Length >= H2.Preface.Length)
        {
            Assert.Equal(H2.Preface, bytes[..H2.Preface.Length]);
            _prefaceSeen = true;
            at = H2.Preface.Length;
        }
        while (bytes.Length - at >= FrameHeader.Size && (_prefaceSeen || this is H2ClientPeer))
        {
            var header = FrameHeader.Read(bytes.AsSpan(at));
            if (bytes.Length - at < FrameHeader.Size + header.Length)
                break;
            var frame = new H2Frame(header.Type, header.Flags, header.StreamId, bytes.AsSpan(at + FrameHeader.Size, header.Length).ToArray());
            Frames.Add(frame);
            if (header.Type is FrameType.Headers or FrameType.Continuation)
                ReadBlock(frame);
            at += FrameHeader.Size + header.Length;
        }
        _unparsed.RemoveRange(0, at);
    }

    private readonly List<byte> _block = [];

    private void ReadBlock(H2Frame frame)
    {
        _block.AddRange(frame.Payload);
        if ((frame.Flags & FrameFlags.EndHeaders) == 0)
            return;
        _hpack.BeginBlock();
        int position = 0;
        var fields = new List<(string, string)>();
        var block = _block.ToArray();
        HpackStatus status;
        while ((status = _hpack.Next(block, ref position, true, out var field)) == HpackStatus.Field)
            fields.Add((Encoding.Latin1.GetString(field.Name), Encoding.Latin1.GetString(field.Value)));
        Assert.Equal(HpackStatus.End, status);
        _block.Clear();
        if (Heads.TryGetValue(frame.StreamId, out var before))
            before.AddRange(fields);
        else
            Heads[frame.StreamId] = fields;
    }

    internal void Handshake(params (SettingId, uint)[] settings)
    {
        if (this is H2ClientPeer)
            Send(H2.Preface);
        Send(H2.Settings(settings), H2.Frame(FrameType.Settings, FrameFlags.Ack, 0));
        Frames.Clear();
    }

    // ---- what is expected -------------------------------------------------------------------------------------

    internal string Body(uint streamId) => Encoding.Latin1.GetString(Frames.Where(f => f.Type == FrameType.Data && f.StreamId == streamId).SelectMany(f => f.Payload).ToArray());

    internal H2Frame Expect(FrameType type, uint streamId)
    {
        var frame = Frames.FirstOrDefault(f => f.Type == type && f.StreamId == streamId);
        Assert.True(frame is not null, $"no {type} on {streamId}, but [{string.Join(", ", Frames)}], error {Error}, cut {Cut}");
        return frame;
    }

    internal string Header(uint streamId, string name)
    {
        Assert.True(Heads.ContainsKey(streamId), $"no head on {streamId}, but [{string.Join(", ", Frames)}], error {Error}, cut {Cut}");
        return string.Join(" | ", Heads[streamId].Where(f => f.Name == name).Select(f => f.Value));
    }

    internal void ExpectResponse(uint streamId, string status = "200")
    {
        Assert.Equal(status, Header(streamId, ":status"));
        Assert.Contains(Frames, f => f.StreamId == streamId && f.EndStream);
    }

    internal void ExpectAlive()
    {
        Assert.Equal(Failure.None, Error);
        Frames.Clear();
        Send(H2.Ping("alive???"));
        Assert.Equal("alive???", Encoding.Latin1.GetString(Expect(FrameType.Ping, 0).Payload));
        Assert.True(Expect(FrameType.Ping, 0).IsAck);
    }

    internal void ExpectConnectionError(params Http2Error[] codes)
    {
        Assert.True(Error != Failure.None, $"no connection error, but [{string.Join(", ", Frames)}], cut {Cut}");
        Assert.Contains(Expect(FrameType.GoAway, 0).GoAwayCode, codes);
        Assert.True(Codec.IsFinished);
    }

    internal void ExpectConnectionError(Failure failure, Http2Error code)
    {
        Assert.Equal(failure, Error);
        ExpectConnectionError(code);
    }

    internal void ExpectStreamError(uint streamId, params Http2Error[] codes)
    {
        Assert.Contains(Expect(FrameType.RstStream, streamId).ResetCode, codes);
        Assert.Equal(Failure.None, Error);
    }

    /// <summary>Either; RFC 9113 section 5.4.2 lets an endpoint treat a stream error as the connection's.</summary>
    internal void ExpectError(uint streamId, params Http2Error[] codes)
    {
        if (Error != Failure.None)
            ExpectConnectionError(codes);
        else
            ExpectStreamError(streamId, codes);
    }
}

/// <summary>A client against our server codec. The application behind it answers as told.</summary>
internal sealed class H2ClientPeer : H2Peer
{
    private readonly Http2ServerCodec _codec;

    internal H2ClientPeer(Cut cut = default, Http2Options? options = null, bool answers = true) : base(cut == default ? Cut.Whole : cut)
    {
        Answers = answers;
        _codec = new Http2ServerCodec(Output, new ServerEvents(this), options ?? Http2Options.ServerDefaults, Pools);
    }

    internal override HttpCodec Codec => _codec;
    internal Http2ServerCodec Server => _codec;

    /// <summary>A complete request is answered at once with 200 and <see cref="Answer"/>.</summary>
    internal bool Answers { get; set; }
    internal string Answer { get; set; } = "hello";
    internal Dictionary<long, TestRequest> Requests { get; } = [];
    internal int OutputEvents { get; private set; }
    internal int GoAways { get; private set; }

    internal static void Everywhere(Action<H2ClientPeer> story, Http2Options? options = null, bool answers = true) =>
        Everywhere(cut => new H2ClientPeer(cut, options, answers), story);

    internal void Respond(long id, string body, bool end = true)
    {
        var head = new ResponseHead { Status = 200 };
        var stream = Requests[id].Stream;
        stream.SendHead(head, endStream: end && body.Length == 0);
        if (body.Length > 0)
            stream.SendBody(H2.Bytes(body), end);
        Read();
    }

    private sealed class ServerEvents(H2ClientPeer peer) : ServerCodecEvents
    {
        internal override void OnOutput() => peer.OutputEvents++;
        internal override void OnWantsInput() { }
        internal override void OnStreamClosed(CodecStream stream)
        {
            peer.ClosedStreams++;
            Assert.False(peer.Requests[stream.Id].IsClosed);
            peer.Requests[stream.Id].IsClosed = true;
        }
        internal override void OnGoAway() => peer.GoAways++;
        internal override void OnNewStream(ServerStream stream)
        {
            peer.OpenedStreams++;
            var request = new TestRequest(peer, stream);
            peer.Requests.Add(stream.Id, request);
            stream.Sink = request;
        }
    }
}

/// <summary>What the application saw of one request.</summary>
internal sealed class TestRequest(H2ClientPeer peer, ServerStream stream) : RequestSink
{
    internal ServerStream Stream => stream;
    internal List<(string Name, string Value)> Fields { get; } = [];
    internal BodyFraming Framing { get; private set; }
    internal StringBuilder Body { get; } = new();
    internal List<(string Name, string Value)> Trailers { get; } = [];
    internal bool Ended { get; private set; }
    internal bool IsClosed { get; set; }
    internal Failure ResetReason { get; private set; }
    internal int Blocked { get; private set; }
    internal int Ready { get; private set; }
    internal string this[string name] => string.Join(" | ", Fields.Where(f => f.Name == name).Select(f => f.Value));

    internal override void OnHead(RequestHead head, bool endStream)
    {
        Copy(head, Fields);
        Framing = head.Framing;
        End(endStream);
    }

    internal override void OnBody(ReadOnlySpan<byte> data, bool endStream)
    {
        Body.Append(Encoding.Latin1.GetString(data));
        End(endStream);
    }

    internal override void OnTrailers(HeaderMap trailers)
    {
        Copy(trailers, Trailers);
        End(true);
    }

    internal override void OnReset(Failure reason) => ResetReason = reason;
    internal override void OnSendBlocked() => Blocked++;
    internal override void OnSendReady() => Ready++;

    internal static void Copy(HeaderMap map, List<(string, string)> fields)
    {
        foreach (var field in map)
            fields.Add((Encoding.Latin1.GetString(field.Name), Encoding.Latin1.GetString(field.Value)));
    }

    private void End(bool endStream)
    {
        if (!endStream)
            return;
        Assert.False(Ended);
        Ended = true;
        if (!peer.Answers)
            return;
        var head = new ResponseHead { Status = 200 };
        bool isHead = this[":method"] == "HEAD";
        stream.SendHead(head, endStream: isHead);
        if (!isHead)
            stream.SendBody(H2.Bytes(peer.Answer), true);
    }
}

/// <summary>A server against our client codec.</summary>
internal sealed class H2ServerPeer : H2Peer
{
    private readonly Http2ClientCodec _codec;

    internal H2ServerPeer(Cut cut = default, Http2Options? options = null) : base(cut == default ? Cut.Whole : cut) =>
        _codec = new Http2ClientCodec(Output, new ClientEvents(this), options ?? Http2Options.ClientDefaults, Pools);

    internal override HttpCodec Codec => _codec;
    internal Http2ClientCodec Client => _codec;
    internal int GoAways { get; private set; }
    internal int MaxStreamsChanges { get; private set; }

    internal static void Everywhere(Action<H2ServerPeer> story, Http2Options? options = null) => Everywhere(cut => new H2ServerPeer(cut, options), story);

    internal ClientStream Open(TestResponse response)
    {
        OpenedStreams++;
        return _codec.OpenStream(response);
    }

    /// <summary>Opens a stream and sends a head.</summary>
    internal TestResponse Request(string method = "GET", bool end = true, params (string Name, string Value)[] more)
    {
        var head = new RequestHead();
        head.Add(HeaderId.Method, H2.Bytes(method));
        if (method != "CONNECT")
        {
            head.Add(HeaderId.Scheme, "http"u8);
            head.Add(HeaderId.Path, "/"u8);
        }
        head.Add(HeaderId.Authority, "example.org"u8);
        foreach (var (name, value) in more)
            head.Add(H2.Bytes(name), H2.Bytes(value));
        var response = new TestResponse();
        response.Stream = Open(response);
        response.Stream.SendHead(head, end);
        Read();
        return response;
    }

    private sealed class ClientEvents(H2ServerPeer peer) : CodecEvents
    {
        internal override void OnOutput() { }
        internal override void OnWantsInput() { }
        internal override void OnStreamClosed(CodecStream stream)
        {
            peer.ClosedStreams++;
            if (((ClientStream)stream).Sink is TestResponse response)
                response.IsClosed = true;
        }
        internal override void OnGoAway() => peer.GoAways++;
        internal override void OnMaxStreamsChanged() => peer.MaxStreamsChanges++;
    }
}

/// <summary>What the caller saw of one response.</summary>
internal sealed class TestResponse : ResponseSink
{
    internal ClientStream Stream { get; set; } = null!;
    internal List<int> Informational { get; } = [];
    internal int Status { get; private set; }
    internal List<(string Name, string Value)> Fields { get; } = [];
    internal BodyFraming Framing { get; private set; }
    internal StringBuilder Body { get; } = new();
    internal List<(string Name, string Value)> Trailers { get; } = [];
    internal bool Ended { get; private set; }
    internal bool IsClosed { get; set; }
    internal Failure ResetReason { get; private set; }
    internal int Blocked { get; private set; }
    internal int Ready { get; private set; }
    internal string this[string name] => string.Join(" | ", Fields.Where(f => f.Name == name).Select(f => f.Value));

    internal override void OnInformational(ResponseHead head) => Informational.Add(head.Status);

    internal override void OnHead(ResponseHead head, bool endStream)
    {
        Status = head.Status;
        TestRequest.Copy(head, Fields);
        Framing = head.Framing;
        Ended |= endStream;
    }

    internal override void OnBody(ReadOnlySpan<byte> data, bool endStream)
    {
        Body.Append(Encoding.Latin1.GetString(data));
        Ended |= endStream;
    }

    internal override void OnTrailers(HeaderMap trailers)
    {
        TestRequest.Copy(trailers, Trailers);
        Ended = true;
    }

    internal override void OnReset(Failure reason) => ResetReason = reason;
    internal override void OnSendBlocked() => Blocked++;
    internal override void OnSendReady() => Ready++;
}
