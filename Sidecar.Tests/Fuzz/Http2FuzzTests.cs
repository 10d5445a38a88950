using System;
using System.Collections.Generic;
using Sidecar.Http;
using Sidecar.Http.H2;
using Sidecar.Memory;
using Sidecar.Telemetry;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Fuzz;

/// <summary>
/// A million seeded mutations of real traffic through both codecs, whole and cut: every one ends in success or in a Failure, and leaves nothing behind. The
/// seed and the round are in the message of whatever fails.
/// </summary>
public sealed class Http2FuzzTests
{
    private const int Rounds = 500_000;

    [Fact]
    public void MutatedRequests_EndInSuccessOrFailure()
    {
        var options = new Http2Options { AllowConnect = true };
        Run(7540, Traffic.Requests(), options, new Http2Options { AllowConnect = true, OverrideStreamErrorOnInvalidHttpMessage = true, InitialStreamWindowSize = 100 }, isServer: true);
    }

    [Fact]
    public void MutatedResponses_EndInSuccessOrFailure() =>
        Run(9113, Traffic.Responses(), Http2Options.ClientDefaults, Http2Options.ClientDefaults with { OverrideStreamErrorOnInvalidHttpMessage = true }, isServer: false);

    private static void Run(ulong seed, byte[] traffic, Http2Options first, Http2Options second, bool isServer)
    {
        var random = new FastRandom(seed);
        var slab = new Slab(4096);
        var pools = new Http2Pools(slab);
        var output = new BufferChain(slab);
        var codecs = new[] { Make(output, first, pools, isServer), Make(output, second, pools, isServer) };
        var outcomes = new int[(int)Failure.Count];
        var input = new byte[traffic.Length * 2];
        for (int round = 0; round < Rounds; round++)
        {
            int length = Mutate(traffic, input, random);
            var codec = codecs[round & 1];
            try
            {
                outcomes[(int)Play(codec, output, input.AsSpan(0, length), random)]++;
                Assert.Equal(0, slab.RentedCount);
                Assert.Equal(0, pools.PendingSlab.RentedCount);
            }
            catch (Exception e)
            {
                throw new InvalidOperationException($"seed {seed}, round {round}: {Convert.ToHexString(input, 0, length)}", e);
            }
        }
        // The mutations reach into everything: some pass, and many different ends are met.
        Assert.InRange(outcomes[0], Rounds / 100, Rounds);
        int kinds = 0;
        foreach (int count in outcomes)
            kinds += count > 0 ? 1 : 0;
        Assert.InRange(kinds, isServer ? 6 : 2, outcomes.Length);
    }

    private static HttpCodec Make(BufferChain output, Http2Options options, Http2Pools pools, bool isServer) => isServer
        ? new Http2ServerCodec(output, new Application(), options, pools)
        : new Http2ClientCodec(output, new Application(), options, pools);

    private static Failure Play(HttpCodec codec, BufferChain output, ReadOnlySpan<byte> input, FastRandom random)
    {
        if (codec is Http2ClientCodec client)
        {
            for (int i = 0; i < Traffic.ClientStreams; i++)
                Traffic.SendRequest(client.OpenStream(Application.Response), i);
        }
        var error = Failure.None;
        int rest = 0;
        int cut = random.Next(2) == 0 ? input.Length : (int)random.Next((uint)input.Length + 1);
        // What the codec leaves is presented again with what follows, as a driver does.
        while (error == Failure.None)
        {
            codec.NowMs = 1000;
            var result = codec.Feed(input[rest..cut]);
            error = result.Error;
            rest += result.Consumed;
            if (codec.InputDeferred)
                continue;
            if (cut == input.Length)
                break;
            cut = random.Next(4) == 0 ? Math.Min(input.Length, cut + 1 + (int)random.Next(20)) : input.Length;
        }
        codec.OnTick(2000);
        codec.OnConnectionLost(Failure.DownstreamDisconnect);
        Assert.Equal(0, codec.ActiveStreams);
        output.Clear();
        codec.Reset();
        return error;
    }

    private static int Mutate(byte[] traffic, byte[] input, FastRandom random)
    {
        traffic.CopyTo(input, 0);
        int length = traffic.Length;
        for (int n = (int)random.Next(4); n >= 0; n--)
        {
            int at = (int)random.Next((uint)length);
            switch (random.Next(7))
            {
                case 0:
                    input[at] ^= (byte)(1 << (int)random.Next(8));
                    break;
                case 1:
                    input[at] = (byte)random.Next(256);
                    break;
                case 2:
                    // A piece goes away.
                    int gone = Math.Min((int)random.Next(16) + 1, length - at - 1);
                    input.AsSpan(at + gone, length - at - gone).CopyTo(input.AsSpan(at));
                    length -= gone;
                    break;
                case 3:
                    // A piece comes twice.
                    int more = Math.Min((int)random.Next(40) + 1, Math.Min(length - at, input.Length - length));
                    input.AsSpan(at, length - at).CopyTo(input.AsSpan(at + more));
                    length += more;
                    break;
                case 4:
                    input[at] = (byte)(random.Next(2) == 0 ? 0 : 0xFF);
                    break;
                case 5:
                    length = Math.Max(1, at);
                    break;
                default:
                    // Like a frame header's length or type: small numbers matter.
                    input[at] = (byte)random.Next(12);
                    break;
            }
        }
        return length;
    }

    /// <summary>Answers requests, echoes bodies, and now and then pauses, resets or ends early.</summary>
    private sealed class Application : ServerCodecEvents
    {
        internal static readonly ResponseSink Response = new ResponseRecorder();
        private static readonly ResponseHead s_head = MakeHead();

        internal override void OnOutput() { }
        internal override void OnWantsInput() { }
        internal override void OnStreamClosed(CodecStream stream) { }
        internal override void OnNewStream(ServerStream stream) => stream.Sink = new Request(stream);

        private static ResponseHead MakeHead()
        {
            var head = new ResponseHead { Status = 200 };
            head.Add(HeaderId.ContentType, "text/plain"u8);
            return head;
        }

        private sealed class Request(ServerStream stream) : RequestSink
        {
            private bool _answered;

            internal override void OnHead(RequestHead head, bool endStream)
            {
                // What reaches the application is sound.
                Assert.False(head.MethodBytes.IsEmpty);
                foreach (var field in head)
                    Assert.True(field.Value.IndexOfAny((byte)0, (byte)'\r', (byte)'\n') < 0);
                if (head.Path.Length % 5 == 4)
                    stream.Reset(Failure.NoRoute);
                else
                    Answer(endStream, default);
            }

            internal override void OnBody(ReadOnlySpan<byte> data, bool endStream)
            {
                if (data.Length % 7 == 3)
                {
                    stream.PauseReceiving();
                    stream.ResumeReceiving();
                }
                Answer(endStream, data);
            }

            internal override void OnTrailers(HeaderMap trailers)
            {
                Answer(false, "x"u8);
                stream.SendTrailers(trailers);
            }

            internal override void OnReset(Failure reason) => Assert.NotEqual(Failure.None, reason);
            internal override void OnSendBlocked() { }
            internal override void OnSendReady() { }

            private void Answer(bool end, ReadOnlySpan<byte> data)
            {
                if (!_answered)
                    stream.SendHead(s_head, false);
                _answered = true;
                stream.SendBody(data, end);
            }
        }

        private sealed class ResponseRecorder : ResponseSink
        {
            internal override void OnInformational(ResponseHead head) => Assert.InRange(head.Status, 100, 199);
            internal override void OnHead(ResponseHead head, bool endStream) => Assert.InRange(head.Status, 101, 999);
            internal override void OnBody(ReadOnlySpan<byte> data, bool endStream) { }
            internal override void OnTrailers(HeaderMap trailers) => Assert.False(trailers.IsEmpty);
            internal override void OnReset(Failure reason) => Assert.NotEqual(Failure.None, reason);
            internal override void OnSendBlocked() { }
            internal override void OnSendReady() { }
        }
    }

    /// <summary>Both directions of one connection: what our codecs say to each other, and frames that only others send.</summary>
    private static class Traffic
    {
        internal const int ClientStreams = 4;
        private static readonly RequestHead[] s_requests = [MakeRequest("GET", "/"), MakeRequest("POST", "/upload"), MakeRequest("GET", "/index.html?a=b"), MakeRequest("HEAD", "/x")];

        internal static void SendRequest(ClientStream stream, int i)
        {
            bool body = i == 1;
            stream.SendHead(s_requests[i], !body);
            if (body)
                stream.SendBody("some bytes of a body"u8, true);
        }

        internal static byte[] Requests()
        {
            var slab = new Slab(4096);
            var output = new BufferChain(slab);
            var client = new Http2ClientCodec(output, new Application(), Http2Options.ClientDefaults, new Http2Pools(slab));
            for (int i = 0; i < ClientStreams; i++)
                SendRequest(client.OpenStream(Application.Response), i);
            var bytes = new List<byte>();
            for (; !output.IsEmpty; output.Drain(output.First.Length))
                bytes.AddRange(output.First);
            // The rest as others say it: padding, priority, continuation, trailers, windows, an upgrade.
            bytes.AddRange(H2.Join(
                H2.Frame(FrameType.Settings, FrameFlags.Ack, 0),
                H2.Priority(9, 0),
                H2.Headers(9, H2.Join([2], H2.Word(7), [10], [0x82, 0x86, 0x84, 0x41, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff], [0, 0]), more: FrameFlags.Padded | FrameFlags.Priority),
                H2.Headers(11, H2.Post(("te", "trailers"), ("cookie", "a=b")), end: false, endHeaders: false),
                H2.Continuation(11, H2.Block(("cookie", "c=d"), ("content-length", "4"))),
                H2.Data(11, "test", padding: 3),
                H2.WindowUpdate(0, 1000),
                H2.WindowUpdate(11, 1000),
                H2.Headers(11, H2.Block(("grpc-status", "0"))),
                H2.Ping(),
                H2.Headers(13, H2.Block((":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/ws"), (":authority", "a")), end: false),
                H2.Data(13, "frame"),
                H2.Reset(13),
                H2.Settings((SettingId.InitialWindowSize, 3), (SettingId.HeaderTableSize, 100)),
                H2.Headers(15, H2.Get()),
                H2.GoAway(0)));
            return bytes.ToArray();
        }

        internal static byte[] Responses() => H2.Join(
            H2.Settings((SettingId.MaxConcurrentStreams, 100), (SettingId.InitialWindowSize, 1000)),
            H2.Frame(FrameType.Settings, FrameFlags.Ack, 0),
            H2.WindowUpdate(0, 100000),
            H2.Headers(1, H2.Block((":status", "103"), ("link", "x")), end: false),
            H2.Headers(1, H2.Join([0x88], H2.Block(("content-length", "5"), ("server", "nghttpd"))), end: false),
            H2.Data(1, "hel"),
            H2.Headers(3, [0x88, 0x5f, 0x87, 0x49, 0x7c, 0xa5, 0x89, 0xd3, 0x4d, 0x1f], end: false),
            H2.Data(3, "message", padding: 4),
            H2.Data(1, "lo", end: true),
            H2.Headers(3, H2.Block(("grpc-status", "0")), endHeaders: false),
            H2.Continuation(3, H2.Block(("grpc-message", "ok"))),
            H2.Ping(),
            H2.Headers(7, H2.Block((":status", "200"), ("content-length", "100"))),
            H2.GoAway(7),
            H2.Reset(5, Http2Error.RefusedStream));

        private static RequestHead MakeRequest(string method, string path)
        {
            var head = new RequestHead();
            head.Add(HeaderId.Method, H2.Bytes(method));
            head.Add(HeaderId.Scheme, "http"u8);
            head.Add(HeaderId.Path, H2.Bytes(path));
            head.Add(HeaderId.Authority, "calculator:8888"u8);
            head.Add(HeaderId.UserAgent, "fuzz/1.0"u8);
            head.Add(HeaderId.XRequestId, H2.Bytes("00000000-0000-0000-0000-" + path.PadLeft(12, '0').Replace('/', '0')));
            return head;
        }
    }
}
