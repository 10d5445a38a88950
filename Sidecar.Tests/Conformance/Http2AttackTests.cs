using System;
using System.Collections.Generic;
using System.Linq;
using Sidecar.Http;
using Sidecar.Http.H2;
using Sidecar.Telemetry;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Conformance;

/// <summary>
/// The published attacks on HTTP/2 proxies, by class, each with the answer it gets here: the stream or the connection ends, memory stays bounded, and
/// honest traffic of the same kind passes.
/// </summary>
public sealed class Http2AttackTests
{
    private const Http2Error Calm = Http2Error.EnhanceYourCalm;

    private static readonly Http2Options s_streamErrors = new() { OverrideStreamErrorOnInvalidHttpMessage = true };

    private static H2ClientPeer Client(Http2Options? options = null, bool answers = false)
    {
        var peer = new H2ClientPeer(Cut.Whole, options, answers);
        peer.Handshake();
        return peer;
    }

    private static H2ServerPeer Server(Http2Options? options = null)
    {
        var peer = new H2ServerPeer(Cut.Whole, options);
        peer.Handshake();
        return peer;
    }

    private static void Repeat(int times, Action<int> action)
    {
        for (int i = 0; i < times; i++)
            action(i);
    }

    // ---- 1. control-frame queues: CVE-2019-9512, -9514, -9515 ----------------------------------------------------

    [Theory]
    [InlineData("PING")]
    [InlineData("SETTINGS")]
    [InlineData("RST_STREAM")]
    public void ControlFrames_ThatThePeerDoesNotTake_EndTheConnection(string kind)
    {
        var peer = Client(s_streamErrors with { MaxSettingsFramesPerSecond = int.MaxValue, PrematureResetTotalStreamCount = int.MaxValue / 2 });
        peer.Reads = false;
        byte[] Provoke(int i) => kind switch
        {
            "PING" => H2.Ping(),
            "SETTINGS" => H2.Settings(),
            _ => H2.Headers((uint)(2 * i + 1), H2.Get(("connection", "close"))),
        };
        Repeat(998, i => peer.Send(Provoke(i)));
        Assert.Equal(Failure.None, peer.Error);
        Repeat(10_000, i => peer.Send(Provoke(998 + i)));
        Assert.Equal(Failure.Http2OutboundControlFlood, peer.Error);
        Assert.InRange(peer.Output.Length, 1, 1100 * 20);
        peer.Reads = true;
        peer.Read();
        Assert.Equal(Calm, peer.Expect(FrameType.GoAway, 0).GoAwayCode);
        peer.Close();
    }

    [Fact]
    public void ControlFrames_OfAPeerThatReads_AreNoFlood()
    {
        var peer = Client();
        Repeat(20_000, _ => peer.Send(H2.Ping()));
        Assert.Equal(Failure.None, peer.Error);
        peer.Close();
    }

    [Fact]
    public void ControlFrames_OfAPeerThatReadsSlowly_AreNoFlood()
    {
        // The output is never empty, but it moves.
        var peer = Client();
        peer.Reads = false;
        Repeat(600, _ => peer.Send(H2.Ping()));
        Repeat(20_000, _ =>
        {
            peer.Send(H2.Ping());
            peer.Output.Drain(17);
        });
        Assert.Equal(Failure.None, peer.Error);
        Assert.False(peer.Output.IsEmpty);
        peer.Close();
    }

    [Fact]
    public void Frames_ThatThePeerDoesNotTake_EndTheConnection()
    {
        var peer = Client();
        peer.Send(H2.Headers(1, H2.Get()));
        peer.Reads = false;
        peer.Respond(1, "x", end: false);
        Repeat(20_000, _ => peer.Requests[1].Stream.SendBody("x"u8, false));
        Assert.Equal(Failure.Http2OutboundFlood, peer.Codec.OnTick(peer.NowMs));
        Assert.InRange(peer.Output.Length, 1, 10_100 * 10);
        peer.Reads = true;
        peer.Read();
        Assert.Equal(Calm, peer.Expect(FrameType.GoAway, 0).GoAwayCode);
        peer.Close();
    }

    // ---- 2. storms: CVE-2019-9513, -9518, WINDOW_UPDATE -----------------------------------------------------------

    [Fact]
    public void PriorityStorm_EndsTheConnection()
    {
        var peer = Client();
        peer.Send(H2.Headers(1, H2.Get()));
        Repeat(200, _ => peer.Send(H2.Priority(3, 0)));
        Assert.Equal(Failure.None, peer.Error);
        peer.Send(H2.Priority(3, 0));
        peer.ExpectConnectionError(Failure.Http2InboundPriorityFlood, Calm);
        peer.Close();
    }

    [Theory]
    [InlineData("DATA")]
    [InlineData("HEADERS")]
    [InlineData("CONTINUATION")]
    public void EmptyFrames_TwoInARow_EndTheConnection(string kind)
    {
        var peer = Client();
        peer.Send(H2.Headers(1, H2.Post(), end: false));
        // One, and one more after something with bytes, pass.
        peer.Send(H2.Data(1, ""), H2.Data(1, "x"), H2.Data(1, "", padding: 5), H2.Data(1, "x"));
        Assert.Equal(Failure.None, peer.Error);
        switch (kind)
        {
            case "DATA":
                peer.Send(H2.Data(1, ""), H2.Data(1, "", padding: 9));
                break;
            case "HEADERS":
                peer.Send(H2.Headers(3, [], end: false, endHeaders: false), H2.Continuation(3, [], endHeaders: false));
                break;
            default:
                peer.Send(H2.Headers(3, H2.Get(), endHeaders: false), H2.Continuation(3, [], endHeaders: false), H2.Continuation(3, [], endHeaders: false));
                break;
        }
        peer.ExpectConnectionError(Failure.Http2InboundEmptyFramesFlood, Calm);
        peer.Close();
    }

    [Fact]
    public void WindowUpdateStorm_EndsTheConnection()
    {
        var peer = Client();
        Repeat(5, _ => peer.Send(H2.WindowUpdate(0, 1)));
        Assert.Equal(Failure.None, peer.Error);
        peer.Send(H2.WindowUpdate(0, 1));
        peer.ExpectConnectionError(Failure.Http2InboundWindowUpdateFlood, Calm);
        peer.Close();
    }

    [Fact]
    public void WindowUpdates_ForDataSent_AreAllowed()
    {
        // 5 + 2 x (1 stream + 10 x 1 DATA frame).
        var peer = Client(answers: true);
        peer.Send(H2.Headers(1, H2.Get()));
        Repeat(27, _ => peer.Send(H2.WindowUpdate(0, 1)));
        Assert.Equal(Failure.None, peer.Error);
        peer.Send(H2.WindowUpdate(0, 1));
        peer.ExpectConnectionError(Failure.Http2InboundWindowUpdateFlood, Calm);
        peer.Close();
    }

    // ---- 3. SETTINGS: CVE-2020-11080 ------------------------------------------------------------------------------

    [Fact]
    public void SettingsWithTooManyEntries_EndTheConnection()
    {
        var peer = Client();
        peer.Send(H2.Settings(Enumerable.Repeat((SettingId.MaxConcurrentStreams, 1u), 32).ToArray()));
        Assert.Equal(Failure.None, peer.Error);
        peer.Send(H2.Settings(Enumerable.Repeat((SettingId.MaxConcurrentStreams, 1u), 33).ToArray()));
        peer.ExpectConnectionError(Failure.Http2InboundSettingsFlood, Calm);
        peer.Close();
    }

    [Fact]
    public void SettingsStorm_EndsTheConnection()
    {
        var peer = Client();
        for (int second = 0; second < 5; second++)
        {
            peer.Tick(1000);
            Repeat(16, i => peer.Send(H2.Settings((SettingId.InitialWindowSize, (uint)i))));
            Assert.Equal(Failure.None, peer.Error);
        }
        peer.Send(H2.Settings());
        peer.ExpectConnectionError(Failure.Http2InboundSettingsFlood, Calm);
        peer.Close();
    }

    // ---- 4. rapid reset: CVE-2023-44487, CVE-2021-32778, and resets that the peer makes us send -------------------

    [Fact]
    public void RapidReset_AtHalfOfTheCount_EndsTheConnection()
    {
        var peer = Client();
        Repeat(249, i => peer.Send(H2.Headers((uint)(2 * i + 1), H2.Get()), H2.Reset((uint)(2 * i + 1))));
        Assert.Equal(Failure.None, peer.Error);
        Assert.Equal(0, peer.Codec.ActiveStreams);
        peer.Send(H2.Headers(499, H2.Get()), H2.Reset(499));
        peer.ExpectConnectionError(Failure.Http2PrematureResets, Calm);
        peer.Close();
    }

    [Fact]
    public void RapidReset_HidingAmongAnsweredRequests_EndsTheConnectionAtHalf()
    {
        var peer = Client(answers: true);
        uint id = 1;
        for (int i = 0; i < 300; i++, id += 2)
            peer.Send(H2.Headers(id, H2.Get()));
        for (int i = 0; i < 240; i++, id += 2)
            peer.Send(H2.Headers(id, H2.Post(), end: false), H2.Reset(id));
        Assert.Equal(Failure.None, peer.Error);
        for (int i = 0; i < 60; i++, id += 2)
            peer.Send(H2.Headers(id, H2.Post(), end: false), H2.Reset(id));
        peer.ExpectConnectionError(Failure.Http2PrematureResets, Calm);
        peer.Close();
    }

    [Fact]
    public void ResetsAfterAWhile_OrAfterTheResponseBegan_AreHonest()
    {
        var peer = Client();
        for (uint id = 1; id < 1200; id += 2)
        {
            peer.Send(H2.Headers(id, H2.Get()));
            if (id % 4 == 1)
                peer.Respond(id, "x", end: false);
            else
                peer.NowMs += 1000;
            peer.Send(H2.Reset(id));
        }
        Assert.Equal(Failure.None, peer.Error);
        peer.Close();
    }

    [Theory]
    [InlineData("malformed")]
    [InlineData("window update of zero")]
    [InlineData("depends on itself")]
    [InlineData("data beyond content-length")]
    public void ProvokedResets_CountLikeResets(string how)
    {
        var peer = Client(s_streamErrors);
        Repeat(260, i =>
        {
            uint id = (uint)(2 * i + 1);
            switch (how)
            {
                case "malformed":
                    peer.Send(H2.Headers(id, H2.Get(("connection", "close"))));
                    break;
                case "window update of zero":
                    peer.Send(H2.Headers(id, H2.Get()), H2.WindowUpdate(id, 0));
                    break;
                case "depends on itself":
                    peer.Send(H2.Headers(id, H2.Get()), H2.Priority(id, id));
                    break;
                default:
                    peer.Send(H2.Headers(id, H2.Post(("content-length", "1")), end: false), H2.Data(id, "two"));
                    break;
            }
        });
        peer.ExpectConnectionError(Failure.Http2PrematureResets, Calm);
        peer.Close();
    }

    [Fact]
    public void Requests_OfOneFeed_AreFinite()
    {
        var peer = Client();
        var input = H2.Join(Enumerable.Range(0, 300).Select(i => H2.Headers((uint)(2 * i + 1), H2.Get())).ToArray());
        var result = peer.Codec.Feed(input);
        Assert.Equal(Failure.None, result.Error);
        Assert.Equal(128, peer.Requests.Count);
        Assert.True(peer.Codec.InputDeferred);
        input = input[result.Consumed..];
        input = input[peer.Codec.Feed(input).Consumed..];
        Assert.Equal(256, peer.Requests.Count);
        Assert.Equal(input.Length, peer.Codec.Feed(input).Consumed);
        Assert.Equal(300, peer.Requests.Count);
        Assert.False(peer.Codec.InputDeferred);
        peer.Close();
    }

    // ---- 5. CONTINUATION flood: CVE-2024-27919, CVE-2024-30255 ----------------------------------------------------

    [Fact]
    public void ContinuationFrames_BeyondTheirNumber_EndTheConnection()
    {
        var peer = Client();
        peer.Send(H2.Headers(1, H2.Get(), endHeaders: false));
        // One byte a frame of a long literal: no field is ever complete.
        peer.Send(H2.Continuation(1, [0x00], endHeaders: false), H2.Continuation(1, [0x7F], endHeaders: false), H2.Continuation(1, [0xA0, 0x06], endHeaders: false));
        Repeat(509, _ => peer.Send(H2.Continuation(1, [(byte)'x'], endHeaders: false)));
        Assert.Equal(Failure.None, peer.Error);
        peer.Send(H2.Continuation(1, [(byte)'x'], endHeaders: false));
        peer.ExpectConnectionError(Failure.Http2InboundContinuationFlood, Calm);
        peer.Close();
    }

    [Fact]
    public void ContinuedHead_BeyondItsBytes_IsNotKept_AndEndsTheConnectionIfItGoesOn()
    {
        var peer = Client();
        peer.Send(H2.Headers(1, H2.Get(), endHeaders: false));
        var piece = H2.Block(("x-filler", new string('v', 8000)));
        Repeat(14, _ =>
        {
            peer.Send(H2.Continuation(1, piece, endHeaders: false));
            // Complete fields leave nothing behind but what the limit allows.
            Assert.Equal(0, peer.Slab.RentedCount);
        });
        Assert.Equal(Failure.None, peer.Error);
        Repeat(2, _ => peer.Send(H2.Continuation(1, piece, endHeaders: false)));
        peer.ExpectConnectionError(Failure.Http2InboundContinuationFlood, Calm);
        Assert.Empty(peer.Requests);
        peer.Close();
    }

    [Fact]
    public void ContinuedHead_BeyondItsBytes_ThatEnds_CostsItsStreamOnly()
    {
        var peer = Client(answers: true);
        peer.Send(H2.Headers(1, H2.Get(), endHeaders: false));
        Repeat(8, i => peer.Send(H2.Continuation(1, H2.Block(("x-filler", new string('v', 8000))), endHeaders: i == 7)));
        peer.ExpectStreamError(1, Calm);
        Assert.Empty(peer.Requests);
        peer.Send(H2.Headers(3, H2.Get()));
        peer.ExpectResponse(3);
        peer.Close();
    }

    [Fact]
    public void LongString_InPieces_IsNotBufferedBeyondTheLimit()
    {
        var peer = Client();
        var start = new List<byte>(H2.Get()) { 0x00, 0x01, (byte)'x' };
        H2.Integer(start, 0, 7, 100_000);
        peer.Send(H2.Headers(1, start.ToArray(), endHeaders: false));
        peer.ExpectConnectionError(Failure.Http2HeadersTooLarge, Calm);
        peer.Close();
    }

    [Fact]
    public void FieldsBeyondTheirNumber_CostTheStream()
    {
        var peer = Client(answers: true);
        peer.Send(H2.Headers(1, H2.Get(Enumerable.Repeat(("x", "y"), 97).ToArray())));
        peer.ExpectStreamError(1, Calm);
        peer.Send(H2.Headers(3, H2.Get(Enumerable.Repeat(("x", "y"), 96).ToArray())));
        peer.ExpectResponse(3);
        peer.Close();
    }

    // ---- 6. HPACK bombs: CVE-2026-47774, CVE-2026-73550 -----------------------------------------------------------

    [Theory]
    [InlineData("x-large")]
    [InlineData("cookie")]
    [InlineData("host")]
    public void HpackBomb_CountsEveryField_BeforeAnythingIsDoneWithIt(string name)
    {
        var options = s_streamErrors with { MaxHeaders = 100_000 };
        var peer = Client(options, answers: true);
        // One entry of nearly the table's size, then references of one byte.
        var block = new List<byte>(H2.Get()) { 0x40 };
        H2.String(block, name);
        H2.String(block, name == "host" ? "example.org" : new string('v', 3900));
        int bomb = 16000 - block.Count;
        block.AddRange(Enumerable.Repeat((byte)0xBE, bomb));
        peer.Send(H2.Headers(1, block.ToArray()));
        peer.ExpectStreamError(1, name == "host" ? [Calm, Http2Error.ProtocolError] : [Calm]);
        Assert.Empty(peer.Requests);
        Assert.Equal(0, peer.Server.HeldBytes);
        // Worker memory: nothing but the pooled stream, whose block is small again.
        Assert.Equal(0, peer.Slab.RentedCount);
        peer.Send(H2.Headers(3, H2.Get()));
        peer.ExpectResponse(3);
        peer.Close();
    }

    [Fact]
    public void EmptyCookieCrumbs_CountThirtyTwoEach()
    {
        var peer = Client(new Http2Options { MaxHeaders = 100_000 });
        var block = new List<byte>(H2.Get()) { 0x40 };
        H2.String(block, "cookie");
        H2.String(block, "");
        // 60 KiB / 38 = 1616 crumbs of nothing.
        block.AddRange(Enumerable.Repeat((byte)0xBE, 1700));
        peer.Send(H2.Headers(1, block.ToArray()));
        peer.ExpectStreamError(1, Calm);
        peer.Close();
    }

    [Fact]
    public void FieldsOfOpenStreams_CountForTheConnection()
    {
        var peer = Client(new Http2Options { MaxHeldBytes = 200_000 });
        uint id = 1;
        for (; id < 11; id += 2)
            peer.Send(H2.Headers(id, H2.Get(("x-a", new string('v', 15000)), ("x-b", "")), endHeaders: false),
                H2.Continuation(id, H2.Block(("x-c", new string('v', 15000))), endHeaders: false), H2.Continuation(id, H2.Block(("x-d", new string('v', 15000)))));
        Assert.Equal(5, peer.Requests.Count);
        Assert.InRange(peer.Server.HeldBytes, 200_000, 260_000);
        peer.Send(H2.Headers(id, H2.Get()));
        peer.ExpectStreamError(id, Calm);
        peer.Respond(1, "done");
        peer.Respond(3, "done");
        peer.Send(H2.Headers(id + 2, H2.Get()));
        Assert.True(peer.Requests.ContainsKey(id + 2));
        peer.Close();
    }

    // About 60 KiB as it is charged, the most that a head may have by default.
    private static byte[][] LargeHead(uint id) =>
    [
        H2.Headers(id, H2.Get(("x-a", new string('v', 15000))), endHeaders: false), H2.Continuation(id, H2.Block(("x-b", new string('v', 15000))), endHeaders: false),
        H2.Continuation(id, H2.Block(("x-c", new string('v', 15000))), endHeaders: false), H2.Continuation(id, H2.Block(("x-d", new string('v', 15000)))),
    ];

    [Fact]
    public void AHundredLargestHeads_AreTaken_AndSoMuchTheMostThatOneConnectionHolds()
    {
        const int MiB = 1024 * 1024;
        var peer = Client();
        uint id = 1;
        for (; id < 200; id += 2)
            peer.Send(LargeHead(id));
        Assert.Equal(100, peer.Requests.Count);
        for (; id < 600; id += 2)
            peer.Send(LargeHead(id));
        Assert.InRange(peer.Requests.Count, 136, 145);
        Assert.InRange(peer.Server.HeldBytes, 8 * MiB, 8 * MiB + 60 * 1024);
        peer.ExpectStreamError(599, Http2Error.RefusedStream);
        // Nobody is to blame: streams are taken again when others have ended.
        Assert.Equal(Failure.None, peer.Error);
        peer.Respond(1, "done");
        peer.Respond(3, "done");
        peer.Send(H2.Headers(id, H2.Get()));
        Assert.True(peer.Requests.ContainsKey(id));
        peer.Close();
    }

    [Fact]
    public void TrailersBeyondWhatOneConnectionHolds_CostTheirStream()
    {
        var peer = Client(new Http2Options { MaxHeldFieldBytes = 20_000 });
        peer.Send(H2.Headers(1, H2.Post(), end: false), H2.Headers(3, H2.Post(), end: false), H2.Headers(5, H2.Post(), end: false));
        byte[] trailers = H2.Block(("x-t", new string('t', 11_000)));
        peer.Send(H2.Headers(1, trailers), H2.Headers(3, trailers));
        Assert.Equal(Failure.None, peer.Requests[3].ResetReason);
        peer.Send(H2.Headers(5, trailers));
        peer.ExpectStreamError(5, Calm);
        Assert.Equal(Failure.Http2HeadersTooLarge, peer.Requests[5].ResetReason);
        Assert.Equal(Failure.None, peer.Error);
        peer.Close();
    }

    // ---- 7. window-0 hold ------------------------------------------------------------------------------------------

    [Fact]
    public void StreamThatStandsStill_IsResetAfterTheFlushTimeout()
    {
        var peer = new H2ClientPeer();
        peer.Handshake((SettingId.InitialWindowSize, 0));
        peer.Send(H2.Headers(1, H2.Get()), H2.Headers(3, H2.Get()));
        peer.Tick(299_000);
        // A byte is progress.
        peer.Send(H2.WindowUpdate(3, 1));
        peer.Tick(1_000);
        peer.ExpectStreamError(1, Http2Error.Cancel);
        Assert.Equal(Failure.Http2FlushTimeout, peer.Requests[1].ResetReason);
        Assert.Equal(Failure.None, peer.Requests[3].ResetReason);
        peer.Tick(299_000);
        peer.ExpectStreamError(3, Http2Error.Cancel);
        Assert.Equal(0, peer.Server.HeldBytes);
        peer.Close();
    }

    [Fact]
    public void BytesHeldForOneConnection_AreBounded()
    {
        var peer = new H2ClientPeer(Cut.Whole, new Http2Options { MaxHeldBytes = 1_000_000 }) { Answer = new string('x', 50_000) };
        peer.Handshake((SettingId.InitialWindowSize, 0));
        for (uint id = 1; id < 100 && peer.Error == Failure.None; id += 2)
            peer.Send(H2.Headers(id, H2.Get()));
        peer.ExpectConnectionError(Failure.Http2OutboundFlood, Calm);
        Assert.InRange(peer.Requests.Count, 19, 21);
        Assert.InRange((long)peer.Pools.PendingSlab.RentedCount * peer.Pools.PendingSlab.BlockSize, 1, 1_200_000);
        peer.Close();
    }

    // ---- 8. fragments of one byte: CVE-2020-12603, CVE-2020-8659 ---------------------------------------------------

    [Fact]
    public void OneByteFragments_CostAtMostTwiceTheirBytes()
    {
        const int Bytes = 100_000;
        var peer = new H2ClientPeer(answers: false);
        peer.Handshake((SettingId.InitialWindowSize, 0));
        peer.Send(H2.Headers(1, H2.Get()));
        peer.Respond(1, "x", end: false);
        Repeat(Bytes, _ => peer.Requests[1].Stream.SendBody("x"u8, false));
        Assert.InRange(peer.Pools.PendingSlab.RentedCount * peer.Pools.PendingSlab.BlockSize, Bytes, Bytes * 2);
        // And they leave in frames of ordinary size.
        peer.Frames.Clear();
        peer.Send(H2.WindowUpdate(1, 1 << 20));
        Assert.InRange(peer.Frames.Count(f => f.Type == FrameType.Data), 1, Bytes / 16384 + 2);
        peer.Close();
    }

    [Fact]
    public void OneByteFragments_ReceivedByPausedSink_AreBoundedByTheWindow()
    {
        var peer = new H2ClientPeer(Cut.Whole, new Http2Options { InitialStreamWindowSize = 1000 }, answers: false);
        peer.Handshake();
        peer.Send(H2.Headers(1, H2.Post(), end: false));
        peer.Requests[1].Stream.PauseReceiving();
        Repeat(1000, _ => peer.Send(H2.Data(1, "x")));
        Assert.Equal(1000, peer.Requests[1].Body.Length);
        peer.Send(H2.Data(1, "x"));
        peer.ExpectStreamError(1, Http2Error.FlowControlError);
        peer.Close();
    }

    // ---- 9. a nasty upstream ---------------------------------------------------------------------------------------

    [Fact]
    public void GoAwayThenMaxStreamsZero_IsCalm()
    {
        // CVE-2021-32780
        var peer = Server();
        var first = peer.Request();
        var second = peer.Request();
        peer.Send(H2.GoAway(1), H2.Settings((SettingId.MaxConcurrentStreams, 0)));
        Assert.Equal(Failure.UpstreamRefusedStream, second.ResetReason);
        Assert.False(peer.Client.CanOpenStream);
        peer.Send(H2.Headers(1, H2.Block((":status", "200"))));
        Assert.True(first.Ended);
        Assert.True(peer.Codec.IsFinished);
        peer.Close();
    }

    [Fact]
    public void ResetThenGoAway_LeaksNothing()
    {
        // CVE-2023-35945
        var peer = Server();
        var responses = Enumerable.Range(0, 50).Select(_ => peer.Request("POST", end: false)).ToList();
        foreach (var response in responses)
            response.Stream.SendBody(new byte[5000], false);
        Repeat(50, i => peer.Send(H2.Reset((uint)(2 * i + 1), Http2Error.RefusedStream)));
        peer.Send(H2.GoAway(0, Http2Error.InternalError));
        Assert.All(responses, r => Assert.Equal(Failure.UpstreamRefusedStream, r.ResetReason));
        Assert.All(responses, r => Assert.True(r.IsClosed));
        Assert.Equal(0, peer.Codec.ActiveStreams);
        Assert.Equal(0, peer.Client.HeldBytes);
        Assert.Equal(0, peer.Pools.PendingSlab.RentedCount);
        Assert.True(peer.Codec.IsFinished);
        peer.Close();
    }

    [Fact]
    public void EmptyMetadataFrames_AreIgnored()
    {
        // CVE-2021-29258
        var peer = Server();
        var response = peer.Request();
        peer.Send(H2.RawFrame(0, 0x4D, 0x4, 1, []), H2.RawFrame(0, 0x4D, 0, 0, []), H2.Headers(1, H2.Block((":status", "200"))));
        Assert.True(response.Ended);
        peer.Close();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void TrailersWithoutEndStream_AreProtocolError(bool streamErrors)
    {
        // CVE-2026-73513
        var peer = Server(Http2Options.ClientDefaults with { OverrideStreamErrorOnInvalidHttpMessage = streamErrors });
        var response = peer.Request();
        peer.Send(H2.Headers(1, H2.Block((":status", "200")), end: false), H2.Data(1, "x"), H2.Headers(1, H2.Block(("grpc-status", "0")), end: false));
        peer.ExpectError(1, Http2Error.ProtocolError);
        Assert.Empty(response.Trailers);
        Assert.False(response.Ended);
        peer.Close();
        Assert.NotEqual(Failure.None, response.ResetReason);
    }

    [Fact]
    public void ResponseHeadBeyondItsLimits_CostsTheStream()
    {
        var peer = Server();
        var response = peer.Request();
        peer.Send(H2.Headers(1, H2.Block([(":status", "200"), .. Enumerable.Repeat(("x", "y"), 100)])));
        peer.ExpectStreamError(1, Calm);
        Assert.Equal(Failure.UpstreamHeadersTooLarge, response.ResetReason);
        peer.Close();
    }

    [Fact]
    public void InformationalHeads_BeyondTheirNumber_CostTheStream_AndHoldNothing()
    {
        var peer = Server(s_streamErrors);
        var response = peer.Request();
        var hints = H2.Headers(1, H2.Block((":status", "103"), ("link", new string('x', 1000))), end: false);
        Repeat(32, _ => peer.Send(hints));
        Assert.Equal(32, response.Informational.Count);
        Assert.Equal(0, peer.Client.HeldBytes);
        peer.Send(hints);
        Assert.Equal(32, response.Informational.Count);
        peer.ExpectStreamError(1, Http2Error.ProtocolError);
        Assert.Equal(Failure.UpstreamProtocolError, response.ResetReason);
        Assert.Equal(0, peer.Client.HeldBytes);
        peer.Close();
    }

    // ---- 10. invalid heads are rejected, never translated: CVE-2023-27491, -27493, -35944, CVE-2026-48743 ----------

    [Theory]
    [InlineData("x\ny", "v")]
    [InlineData("x", "a\r\nhost: evil")]
    [InlineData("x", "a\0")]
    [InlineData("x y", "v")]
    [InlineData("X", "v")]
    [InlineData("x:", "v")]
    public void InvalidBytesInFields_NeverReachTheApplication(string name, string value)
    {
        var peer = Client(s_streamErrors);
        peer.Send(H2.Headers(1, H2.Get((name, value))));
        peer.ExpectStreamError(1, Http2Error.ProtocolError);
        // In trailers neither.
        peer.Send(H2.Headers(3, H2.Post(), end: false), H2.Headers(3, H2.Block((name, value))));
        peer.ExpectStreamError(3, Http2Error.ProtocolError);
        Assert.Empty(peer.Requests[3].Trailers);
        // Nor by way of the dynamic table.
        var block = new List<byte>(H2.Get()) { 0x40 };
        H2.String(block, name);
        H2.String(block, value);
        peer.Send(H2.Headers(5, block.ToArray()), H2.Headers(7, H2.Join(H2.Get(), [0xBE])));
        peer.ExpectStreamError(5, Http2Error.ProtocolError);
        peer.ExpectStreamError(7, Http2Error.ProtocolError);
        Assert.Equal([3L], peer.Requests.Keys);
        peer.Close();
    }

    [Theory]
    [InlineData("HTTP")]
    [InlineData("htTps")]
    [InlineData("http:")]
    [InlineData("ht tp")]
    public void SchemeInMixedCase_IsRejected(string scheme)
    {
        var peer = Client(s_streamErrors);
        peer.Send(H2.Headers(1, H2.Block((":method", "GET"), (":scheme", scheme), (":path", "/"), (":authority", "a"))));
        peer.ExpectStreamError(1, Http2Error.ProtocolError);
        Assert.Empty(peer.Requests);
        peer.Close();
    }

    [Fact]
    public void ContentLengthWithEndStream_IsRejected()
    {
        var peer = Client(s_streamErrors);
        peer.Send(H2.Headers(1, H2.Post(("content-length", "4"))));
        peer.ExpectStreamError(1, Http2Error.ProtocolError);
        Assert.Empty(peer.Requests);
        peer.Close();
    }
}
