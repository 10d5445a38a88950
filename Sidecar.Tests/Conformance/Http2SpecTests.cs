using System;
using System.Linq;
using Sidecar.Http.H2;
using Sidecar.Telemetry;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Conformance;

/// <summary>
/// What h2spec's http2 group (95 cases) asks of a server, by section of RFC 7540 and case there. Every story runs whole, byte by byte and cut at
/// every place, with malformed messages costing the connection (Envoy's default) and with them costing the stream.
/// </summary>
public sealed class Http2SpecTests
{
    private const Http2Error Protocol = Http2Error.ProtocolError;
    private const Http2Error Closed = Http2Error.StreamClosed;
    private const Http2Error FrameSize = Http2Error.FrameSizeError;

    private static readonly Http2Options s_streamErrors = new() { OverrideStreamErrorOnInvalidHttpMessage = true };

    private static void Story(Action<H2ClientPeer> story, bool answers = true)
    {
        void Run(H2ClientPeer peer)
        {
            peer.Handshake();
            story(peer);
        }
        H2ClientPeer.Everywhere(Run, Http2Options.ServerDefaults, answers);
        H2ClientPeer.Everywhere(Run, s_streamErrors, answers);
    }

    private static void ConnectionError(Http2Error code, params byte[][] frames) => Story(peer =>
    {
        peer.Send(frames);
        peer.ExpectConnectionError(code);
    }, answers: false);

    private static void StreamError(Http2Error code, params byte[][] frames) => Story(peer =>
    {
        peer.Send(frames);
        peer.ExpectError(1, code);
    }, answers: false);

    /// <summary>The stream is over both ways before the frames come.</summary>
    private static void AfterTheEnd(Action<H2ClientPeer> expect, params byte[][] frames) => Story(peer =>
    {
        peer.Send(H2.Headers(1, H2.Get()));
        peer.ExpectResponse(1);
        peer.Send(frames);
        expect(peer);
    });

    // ---- 3.5 Connection preface ----------------------------------------------------------------------------------

    [Fact]
    public void S3_5_1_ServersFirstFrame_IsSettings() => H2ClientPeer.Everywhere(peer =>
    {
        peer.Send(H2.Preface, H2.Settings((SettingId.InitialWindowSize, 65535)));
        Assert.Equal(FrameType.Settings, peer.Frames[0].Type);
        Assert.False(peer.Frames[0].IsAck);
        Assert.Contains(peer.Frames, f => f.Type == FrameType.Settings && f.IsAck);
    });

    [Fact]
    public void S3_5_2_InvalidPreface_EndsTheConnection() => H2ClientPeer.Everywhere(peer =>
    {
        peer.Send(H2.Bytes("INVALID CONNECTION PREFACE\r\n\r\n"));
        peer.ExpectConnectionError(Protocol);
    });

    // ---- 4 HTTP frames -------------------------------------------------------------------------------------------

    [Fact]
    public void S4_1_1_UnknownType_IsIgnored() => Story(peer =>
    {
        peer.Send(H2.RawFrame(8, 0x16, 0, 0, new byte[8]));
        peer.ExpectAlive();
    });

    [Fact]
    public void S4_1_2_UndefinedFlag_IsIgnored() => Story(peer =>
    {
        peer.Send(H2.RawFrame(8, (byte)FrameType.Ping, 0x16 & ~1, 0, new byte[8]));
        Assert.True(peer.Expect(FrameType.Ping, 0).IsAck);
    });

    [Fact]
    public void S4_1_3_ReservedBit_IsIgnored() => Story(peer =>
    {
        peer.Send(H2.RawFrame(8, (byte)FrameType.Ping, 0, 0x80000000, new byte[8]));
        Assert.True(peer.Expect(FrameType.Ping, 0).IsAck);
    });

    [Fact]
    public void S4_2_1_DataOf16384_IsAccepted() => Story(peer =>
    {
        peer.Send(H2.Headers(1, H2.Post(), end: false), H2.Data(1, new byte[16384], end: true));
        peer.ExpectResponse(1);
        Assert.Equal(16384, peer.Requests[1].Body.Length);
    });

    [Fact]
    public void S4_2_2_DataLargerThanMaxFrameSize_IsFrameSizeError() => ConnectionError(FrameSize, H2.Headers(1, H2.Post(), end: false), H2.Data(1, new byte[16385], end: true));

    [Fact]
    public void S4_2_3_HeadersLargerThanMaxFrameSize_IsFrameSizeError() => ConnectionError(FrameSize, H2.Headers(1, H2.Get(("x-dummy", new string('a', 16385)))));

    [Fact]
    public void S4_3_1_InvalidBlockFragment_IsCompressionError() => ConnectionError(Http2Error.CompressionError, H2.Frame(FrameType.Headers, FrameFlags.EndStream | FrameFlags.EndHeaders, 1, 0x40, 0x04));

    [Fact]
    public void S4_3_2_PriorityInsideHeaderBlock_IsProtocolError() => ConnectionError(Protocol, H2.Headers(1, H2.Get(), endHeaders: false), H2.Priority(1, 0, 255), H2.Continuation(1, H2.Block(("x-dummy", "1"))));

    [Fact]
    public void S4_3_3_HeadersOfAnotherStreamInsideHeaderBlock_IsProtocolError() => ConnectionError(Protocol, H2.Headers(1, H2.Get(), endHeaders: false), H2.Headers(3, H2.Get()));

    // ---- 5.1 Stream states ---------------------------------------------------------------------------------------

    [Fact]
    public void S5_1_1_Idle_Data_IsProtocolError() => ConnectionError(Protocol, H2.Data(1, "test", end: true));

    [Fact]
    public void S5_1_2_Idle_RstStream_IsProtocolError() => ConnectionError(Protocol, H2.Reset(1));

    [Fact]
    public void S5_1_3_Idle_WindowUpdate_IsProtocolError() => ConnectionError(Protocol, H2.WindowUpdate(1, 100));

    [Fact]
    public void S5_1_4_Idle_Continuation_IsProtocolError() => ConnectionError(Protocol, H2.Continuation(1, H2.Get()));

    [Fact]
    public void S5_1_5_HalfClosedRemote_Data_IsStreamClosed() => StreamError(Closed, H2.Headers(1, H2.Get()), H2.Data(1, "test", end: true));

    [Fact]
    public void S5_1_6_HalfClosedRemote_Headers_IsStreamClosed() => StreamError(Closed, H2.Headers(1, H2.Get()), H2.Headers(1, H2.Get()));

    [Fact]
    public void S5_1_7_HalfClosedRemote_Continuation_IsProtocolError() => ConnectionError(Protocol, H2.Headers(1, H2.Get()), H2.Continuation(1, H2.Get()));

    [Fact]
    public void S5_1_8_ClosedByReset_Data_IsStreamClosed() => StreamError(Closed, H2.Headers(1, H2.Post(), end: false), H2.Reset(1), H2.Data(1, "test", end: true));

    [Fact]
    public void S5_1_9_ClosedByReset_Headers_IsStreamClosed() => StreamError(Closed, H2.Headers(1, H2.Post(), end: false), H2.Reset(1), H2.Headers(1, H2.Get()));

    [Fact]
    public void S5_1_10_ClosedByReset_Continuation_IsProtocolError() => ConnectionError(Protocol, H2.Headers(1, H2.Post(), end: false), H2.Reset(1), H2.Continuation(1, H2.Get()));

    [Fact]
    public void S5_1_11_Closed_Data_IsStreamClosed() => AfterTheEnd(peer => peer.ExpectConnectionError(Closed), H2.Data(1, "test", end: true));

    [Fact]
    public void S5_1_12_Closed_Headers_IsStreamClosed() => AfterTheEnd(peer => peer.ExpectConnectionError(Closed), H2.Headers(1, H2.Get()));

    [Fact]
    public void S5_1_13_Closed_Continuation_IsProtocolError() => AfterTheEnd(peer => peer.ExpectConnectionError(Protocol), H2.Continuation(1, H2.Get()));

    [Fact]
    public void S5_1_1_1_EvenStreamId_IsProtocolError() => ConnectionError(Protocol, H2.Headers(2, H2.Get()));

    [Fact]
    public void S5_1_1_2_LowerStreamId_IsProtocolError() => ConnectionError(Protocol, H2.Headers(5, H2.Get()), H2.Headers(3, H2.Get()));

    [Fact]
    public void S5_1_2_1_MoreStreamsThanAllowed_AreRefused()
    {
        // The cut does not matter here; one limit small enough to write down is.
        var peer = new H2ClientPeer(Cut.Whole, new Http2Options { MaxConcurrentStreams = 3 }, answers: false);
        peer.Handshake();
        for (uint id = 1; id <= 7; id += 2)
            peer.Send(H2.Headers(id, H2.Get()));
        peer.ExpectStreamError(7, Http2Error.RefusedStream);
        Assert.Equal(3, peer.Codec.ActiveStreams);
        peer.Respond(1, "hello");
        peer.Send(H2.Headers(9, H2.Get()));
        Assert.True(peer.Requests.ContainsKey(9));
        peer.Close();
    }

    // ---- 5.3 Priority, 5.4 Errors, 5.5 Extensions ----------------------------------------------------------------

    [Fact]
    public void S5_3_1_1_HeadersDependingOnItself_IsProtocolError() => StreamError(Protocol, H2.Headers(1, H2.Join(H2.Word(1), [255], H2.Get()), more: FrameFlags.Priority));

    [Fact]
    public void S5_3_1_2_PriorityDependingOnItself_IsProtocolError()
    {
        StreamError(Protocol, H2.Priority(1, 1, 255));
        StreamError(Protocol, H2.Headers(1, H2.Get()), H2.Priority(1, 1, 255));
    }

    [Fact]
    public void S5_4_1_1_InvalidPing_ClosesTheConnection() => ConnectionError(FrameSize, H2.RawFrame(6, (byte)FrameType.Ping, 0, 0, new byte[6]));

    [Fact]
    public void S5_4_1_2_InvalidPing_SendsGoAwayWithLastStream() => Story(peer =>
    {
        peer.Send(H2.Headers(1, H2.Get()), H2.RawFrame(6, (byte)FrameType.Ping, 0, 0, new byte[6]));
        Assert.Equal(1u, peer.Expect(FrameType.GoAway, 0).Word());
    });

    [Fact]
    public void S5_5_1_UnknownExtensionFrame_IsIgnored() => Story(peer =>
    {
        peer.Send(H2.RawFrame(8, 0xFF, 0, 0, new byte[8]));
        peer.ExpectAlive();
    });

    [Fact]
    public void S5_5_2_UnknownExtensionFrameInsideHeaderBlock_IsProtocolError() =>
        ConnectionError(Protocol, H2.Headers(1, H2.Get(), endHeaders: false), H2.RawFrame(8, 0xFF, 0, 0, new byte[8]), H2.Continuation(1, H2.Block(("x-dummy", "1"))));

    // ---- 6.1 DATA, 6.2 HEADERS -----------------------------------------------------------------------------------

    [Fact]
    public void S6_1_1_Data_StreamIdZero_IsProtocolError() => ConnectionError(Protocol, H2.Data(0, "test", end: true));

    [Fact]
    public void S6_1_2_Data_OnHalfClosedRemote_IsStreamClosed() => StreamError(Closed, H2.Headers(1, H2.Post()), H2.Data(1, "test", end: true));

    [Fact]
    public void S6_1_3_Data_InvalidPadLength_IsProtocolError() =>
        ConnectionError(Protocol, H2.Headers(1, H2.Post(("content-length", "4")), end: false), H2.RawFrame(5, (byte)FrameType.Data, 0x9, 1, [6, 0x54, 0x65, 0x73, 0x74]));

    [Fact]
    public void S6_2_1_HeadersWithoutEndHeaders_ThenPriority_IsProtocolError() => ConnectionError(Protocol, H2.Headers(1, H2.Get(), endHeaders: false), H2.Priority(1, 0, 255));

    [Fact]
    public void S6_2_2_HeadersWithoutEndHeaders_ThenAnotherStream_IsProtocolError() => ConnectionError(Protocol, H2.Headers(1, H2.Get(), endHeaders: false), H2.Headers(3, H2.Get()));

    [Fact]
    public void S6_2_3_Headers_StreamIdZero_IsProtocolError() => ConnectionError(Protocol, H2.Headers(0, H2.Get()));

    [Fact]
    public void S6_2_4_Headers_InvalidPadLength_IsProtocolError() => ConnectionError(Protocol, H2.Headers(1, H2.Join([200], H2.Get()), more: FrameFlags.Padded));

    // ---- 6.3 PRIORITY, 6.4 RST_STREAM ----------------------------------------------------------------------------

    [Fact]
    public void S6_3_1_Priority_StreamIdZero_IsProtocolError() => ConnectionError(Protocol, H2.Priority(0, 0, 255));

    [Fact]
    public void S6_3_2_Priority_LengthNot5_IsFrameSizeError() => StreamError(FrameSize, H2.Headers(1, H2.Get()), H2.RawFrame(4, (byte)FrameType.Priority, 0, 1, [0x80, 0, 0, 1]));

    [Fact]
    public void S6_4_1_RstStream_StreamIdZero_IsProtocolError() => ConnectionError(Protocol, H2.Reset(0));

    [Fact]
    public void S6_4_2_RstStream_OnIdle_IsProtocolError() => ConnectionError(Protocol, H2.Reset(1));

    [Fact]
    public void S6_4_3_RstStream_LengthNot4_IsFrameSizeError() => ConnectionError(FrameSize, H2.Headers(1, H2.Get()), H2.RawFrame(3, (byte)FrameType.RstStream, 0, 1, [0, 0, 0]));

    // ---- 6.5 SETTINGS --------------------------------------------------------------------------------------------

    [Fact]
    public void S6_5_1_SettingsAckWithPayload_IsFrameSizeError() => ConnectionError(FrameSize, H2.RawFrame(6, (byte)FrameType.Settings, 1, 0, [0, 3, 0, 0, 0, 100]));

    [Fact]
    public void S6_5_2_SettingsOnStream_IsProtocolError() => ConnectionError(Protocol, H2.RawFrame(6, (byte)FrameType.Settings, 0, 1, [0, 3, 0, 0, 0, 100]));

    [Fact]
    public void S6_5_3_SettingsLengthNotMultipleOf6_IsFrameSizeError() => ConnectionError(FrameSize, H2.RawFrame(3, (byte)FrameType.Settings, 0, 0, [0, 3, 0]));

    [Fact]
    public void S6_5_2_1_EnablePushOther_IsProtocolError() => ConnectionError(Protocol, H2.Settings((SettingId.EnablePush, 2)));

    [Fact]
    public void S6_5_2_2_InitialWindowSizeAboveMaximum_IsFlowControlError() => ConnectionError(Http2Error.FlowControlError, H2.Settings((SettingId.InitialWindowSize, 0x80000000)));

    [Fact]
    public void S6_5_2_3_MaxFrameSizeBelowMinimum_IsProtocolError() => ConnectionError(Protocol, H2.Settings((SettingId.MaxFrameSize, 16383)));

    [Fact]
    public void S6_5_2_4_MaxFrameSizeAboveMaximum_IsProtocolError() => ConnectionError(Protocol, H2.Settings((SettingId.MaxFrameSize, 16777216)));

    [Fact]
    public void S6_5_2_5_UnknownSetting_IsIgnored() => Story(peer =>
    {
        peer.Send(H2.Settings(((SettingId)0xFF, 1)));
        peer.ExpectAlive();
    });

    [Fact]
    public void S6_5_3_1_InitialWindowSizeTwice_LastOneHolds() => Story(peer =>
    {
        peer.Send(H2.Settings((SettingId.InitialWindowSize, 100), (SettingId.InitialWindowSize, 1)));
        peer.Send(H2.Headers(1, H2.Get()));
        Assert.Equal("h", peer.Body(1));
    });

    [Fact]
    public void S6_5_3_2_Settings_AreAcknowledged() => Story(peer =>
    {
        peer.Send(H2.Settings((SettingId.EnablePush, 0)));
        Assert.True(peer.Expect(FrameType.Settings, 0).IsAck);
    });

    // ---- 6.7 PING, 6.8 GOAWAY ------------------------------------------------------------------------------------

    [Fact]
    public void S6_7_1_Ping_IsAnsweredWithItsPayload() => Story(peer => peer.ExpectAlive());

    [Fact]
    public void S6_7_2_PingAck_IsNotAnswered() => Story(peer =>
    {
        peer.Send(H2.Ping("h2spec!!", ack: true), H2.Ping("invalid!"));
        Assert.Equal(H2.Bytes("invalid!"), peer.Frames.Single(f => f.Type == FrameType.Ping).Payload);
    });

    [Fact]
    public void S6_7_3_PingOnStream_IsProtocolError() => ConnectionError(Protocol, H2.RawFrame(8, (byte)FrameType.Ping, 0, 1, new byte[8]));

    [Fact]
    public void S6_7_4_PingLengthNot8_IsFrameSizeError() => ConnectionError(FrameSize, H2.RawFrame(6, (byte)FrameType.Ping, 0, 0, new byte[6]));

    [Fact]
    public void S6_8_1_GoAwayOnStream_IsProtocolError() => ConnectionError(Protocol, H2.Frame(FrameType.GoAway, FrameFlags.None, 1, new byte[8]));

    // ---- 6.9 WINDOW_UPDATE ---------------------------------------------------------------------------------------

    [Fact]
    public void S6_9_1_WindowUpdateOfZero_IsProtocolError() => ConnectionError(Protocol, H2.WindowUpdate(0, 0));

    [Fact]
    public void S6_9_2_WindowUpdateOfZeroOnStream_IsProtocolError() => StreamError(Protocol, H2.Headers(1, H2.Get()), H2.WindowUpdate(1, 0));

    [Fact]
    public void S6_9_3_WindowUpdateLengthNot4_IsFrameSizeError() => ConnectionError(FrameSize, H2.RawFrame(3, (byte)FrameType.WindowUpdate, 0, 0, [0, 0, 1]));

    [Fact]
    public void S6_9_1_1_InitialWindowOf1_SendsOneByte() => Story(peer =>
    {
        peer.Send(H2.Settings((SettingId.InitialWindowSize, 1)));
        peer.Send(H2.Headers(1, H2.Get()));
        Assert.Single(peer.Expect(FrameType.Data, 1).Payload);
        Assert.Equal("h", peer.Body(1));
    });

    [Fact]
    public void S6_9_1_2_ConnectionWindowAboveMaximum_IsFlowControlError() => ConnectionError(Http2Error.FlowControlError, H2.WindowUpdate(0, 0x7FFFFFFF), H2.WindowUpdate(0, 0x7FFFFFFF));

    [Fact]
    public void S6_9_1_3_StreamWindowAboveMaximum_IsStreamFlowControlError() => Story(peer =>
    {
        peer.Send(H2.Headers(1, H2.Get()), H2.WindowUpdate(1, 0x7FFFFFFF), H2.WindowUpdate(1, 0x7FFFFFFF));
        peer.ExpectStreamError(1, Http2Error.FlowControlError);
        peer.ExpectAlive();
    }, answers: false);

    [Fact]
    public void S6_9_2_1_InitialWindowChangedAfterHeaders_OpensTheStream() => Story(peer =>
    {
        peer.Send(H2.Settings((SettingId.InitialWindowSize, 0)));
        peer.Send(H2.Headers(1, H2.Get()));
        Assert.Equal("", peer.Body(1));
        peer.Send(H2.Settings((SettingId.InitialWindowSize, 1)));
        Assert.Equal("h", peer.Body(1));
    });

    [Fact]
    public void S6_9_2_2_WindowMadeNegative_IsTracked() => Story(peer =>
    {
        peer.Send(H2.Settings((SettingId.InitialWindowSize, 3)));
        peer.Send(H2.Headers(1, H2.Get()));
        Assert.Equal("hel", peer.Body(1));
        peer.Send(H2.Settings((SettingId.InitialWindowSize, 2)));
        peer.Send(H2.WindowUpdate(1, 2));
        Assert.Equal("hell", peer.Body(1));
    });

    [Fact]
    public void S6_9_2_3_InitialWindowAboveMaximum_IsFlowControlError() => ConnectionError(Http2Error.FlowControlError, H2.RawFrame(6, (byte)FrameType.Settings, 0, 0, [0, 4, 0x80, 0, 0, 0]));

    // ---- 6.10 CONTINUATION ---------------------------------------------------------------------------------------

    [Fact]
    public void S6_10_1_MultipleContinuations_AreAccepted() => Story(peer =>
    {
        peer.Send(H2.Headers(1, H2.Get(), endHeaders: false), H2.Continuation(1, H2.Block(("x-dummy", "1")), endHeaders: false), H2.Continuation(1, H2.Block(("x-dummy", "2"))));
        peer.ExpectResponse(1);
        Assert.Equal("1 | 2", peer.Requests[1]["x-dummy"]);
    });

    [Fact]
    public void S6_10_2_ContinuationFollowedByOther_IsProtocolError() =>
        ConnectionError(Protocol, H2.Headers(1, H2.Get(), endHeaders: false), H2.Continuation(1, H2.Block(("x-dummy", "1")), endHeaders: false), H2.Data(1, "test", end: true));

    [Fact]
    public void S6_10_3_Continuation_StreamIdZero_IsProtocolError() => ConnectionError(Protocol, H2.Headers(1, H2.Get(), endHeaders: false), H2.Continuation(0, H2.Block(("x-dummy", "1"))));

    [Fact]
    public void S6_10_4_ContinuationAfterHeadersWithEndHeaders_IsProtocolError() => ConnectionError(Protocol, H2.Headers(1, H2.Post(), end: false), H2.Continuation(1, H2.Block(("x-dummy", "1"))));

    [Fact]
    public void S6_10_5_ContinuationAfterContinuationWithEndHeaders_IsProtocolError() =>
        ConnectionError(Protocol, H2.Headers(1, H2.Post(), end: false, endHeaders: false), H2.Continuation(1, H2.Block(("x-dummy", "1"))), H2.Continuation(1, H2.Block(("x-dummy", "2"))));

    [Fact]
    public void S6_10_6_ContinuationAfterData_IsProtocolError() => ConnectionError(Protocol, H2.Headers(1, H2.Post(), end: false), H2.Data(1, "test"), H2.Continuation(1, H2.Block(("x-dummy", "1"))));

    // ---- 7 Error codes -------------------------------------------------------------------------------------------

    [Fact]
    public void S7_1_GoAwayWithUnknownCode_DoesNothingSpecial() => Story(peer =>
    {
        peer.Send(H2.GoAway(0, (Http2Error)0xFF));
        peer.ExpectAlive();
    });

    [Fact]
    public void S7_2_RstStreamWithUnknownCode_DoesNothingSpecial() => Story(peer =>
    {
        peer.Send(H2.Headers(1, H2.Post(), end: false), H2.Reset(1, (Http2Error)0xFF));
        peer.ExpectAlive();
        Assert.Equal(Failure.DownstreamReset, peer.Requests[1].ResetReason);
    });

    // ---- 8 HTTP message exchanges --------------------------------------------------------------------------------

    [Fact]
    public void S8_1_1_SecondHeadersWithoutEndStream_IsProtocolError() =>
        StreamError(Protocol, H2.Headers(1, H2.Post(), end: false), H2.Data(1, "test"), H2.Headers(1, H2.Block(("x-test", "ok")), end: false));

    [Fact]
    public void S8_1_2_1_UppercaseName_IsProtocolError() => StreamError(Protocol, H2.Headers(1, H2.Get(("X-TEST", "ok"))));

    [Fact]
    public void S8_1_2_1_1_UnknownPseudoHeader_IsProtocolError() => StreamError(Protocol, H2.Headers(1, H2.Join(H2.Block((":test", "ok")), H2.Get())));

    [Fact]
    public void S8_1_2_1_2_ResponsePseudoHeader_IsProtocolError() => StreamError(Protocol, H2.Headers(1, H2.Join(H2.Block((":status", "200")), H2.Get())));

    [Fact]
    public void S8_1_2_1_3_PseudoHeaderInTrailers_IsProtocolError() =>
        StreamError(Protocol, H2.Headers(1, H2.Post(("trailer", "x-test")), end: false), H2.Data(1, "test"), H2.Headers(1, H2.Block((":method", "200"), ("x-test", "ok"))));

    [Fact]
    public void S8_1_2_1_4_PseudoHeaderAfterRegularField_IsProtocolError() =>
        StreamError(Protocol, H2.Headers(1, H2.Block((":method", "GET"), (":scheme", "http"), ("x-test", "ok"), (":path", "/"), (":authority", "example.org"))));

    [Theory]
    [InlineData("connection", "keep-alive")]
    [InlineData("keep-alive", "timeout=5")]
    [InlineData("proxy-connection", "keep-alive")]
    [InlineData("transfer-encoding", "chunked")]
    [InlineData("upgrade", "websocket")]
    public void S8_1_2_2_1_ConnectionSpecificField_IsProtocolError(string name, string value) => StreamError(Protocol, H2.Headers(1, H2.Get((name, value))));

    [Fact]
    public void S8_1_2_2_2_TeOtherThanTrailers_IsProtocolError() => StreamError(Protocol, H2.Headers(1, H2.Get(("trailers", "test"), ("te", "trailers, deflate"))));

    [Fact]
    public void S8_1_2_3_1_EmptyPath_IsProtocolError() => StreamError(Protocol, H2.Headers(1, H2.Block((":method", "GET"), (":scheme", "http"), (":path", ""), (":authority", "example.org"))));

    [Fact]
    public void S8_1_2_3_2_NoMethod_IsProtocolError() => StreamError(Protocol, H2.Headers(1, H2.Block((":scheme", "http"), (":path", "/"), (":authority", "example.org"))));

    [Fact]
    public void S8_1_2_3_3_NoScheme_IsProtocolError() => StreamError(Protocol, H2.Headers(1, H2.Block((":method", "GET"), (":path", "/"), (":authority", "example.org"))));

    [Fact]
    public void S8_1_2_3_4_NoPath_IsProtocolError() => StreamError(Protocol, H2.Headers(1, H2.Block((":method", "GET"), (":scheme", "http"), (":authority", "example.org"))));

    [Fact]
    public void S8_1_2_3_5_TwoMethods_IsProtocolError() => StreamError(Protocol, H2.Headers(1, H2.Join(H2.Block((":method", "GET")), H2.Get())));

    [Fact]
    public void S8_1_2_3_6_TwoSchemes_IsProtocolError() => StreamError(Protocol, H2.Headers(1, H2.Join(H2.Block((":scheme", "http")), H2.Get())));

    [Fact]
    public void S8_1_2_3_7_TwoPaths_IsProtocolError() => StreamError(Protocol, H2.Headers(1, H2.Join(H2.Block((":path", "/")), H2.Get())));

    [Fact]
    public void S8_1_2_6_1_ContentLengthNotThatOfData_IsProtocolError() => StreamError(Protocol, H2.Headers(1, H2.Post(("content-length", "1")), end: false), H2.Data(1, "test", end: true));

    [Fact]
    public void S8_1_2_6_2_ContentLengthNotTheSumOfData_IsProtocolError() =>
        StreamError(Protocol, H2.Headers(1, H2.Post(("content-length", "9")), end: false), H2.Data(1, "test"), H2.Data(1, "test", end: true));

    [Fact]
    public void S8_2_1_PushPromise_IsProtocolError() => ConnectionError(Protocol, H2.Frame(FrameType.PushPromise, FrameFlags.EndHeaders, 1, H2.Join(H2.Word(3), H2.Get())));
}
