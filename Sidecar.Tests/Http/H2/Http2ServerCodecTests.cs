using System;
using System.Linq;
using System.Text;
using Sidecar.Http;
using Sidecar.Http.H2;
using Sidecar.Telemetry;
using Sidecar.Tests.Harness;
using Xunit;
using H2Frames = Sidecar.Tests.Harness.H2;

namespace Sidecar.Tests.Http.H2;

public sealed class Http2ServerCodecTests
{
    private static readonly Http2Options s_streamErrors = new() { OverrideStreamErrorOnInvalidHttpMessage = true };
    private static readonly Http2Options s_connect = new() { AllowConnect = true, OverrideStreamErrorOnInvalidHttpMessage = true };

    private static void Story(Action<H2ClientPeer> story, Http2Options? options = null, bool answers = true) => H2ClientPeer.Everywhere(peer =>
    {
        peer.Handshake();
        story(peer);
    }, options, answers);

    // ---- requests into the common form ---------------------------------------------------------------------------

    [Fact]
    public void Request_HasPseudoHeadersAsFields_AndNoHost() => Story(peer =>
    {
        peer.Send(H2Frames.Headers(1, H2Frames.Block((":method", "GET"), (":scheme", "http"), (":path", "/a?b=c"), (":authority", "Example.org:80"), ("host", "example.org:80"), ("x", "y"))));
        var request = peer.Requests[1];
        Assert.Equal("GET", request[":method"]);
        Assert.Equal("/a?b=c", request[":path"]);
        Assert.Equal("Example.org:80", request[":authority"]);
        Assert.Equal("", request["host"]);
        Assert.Equal("y", request["x"]);
        Assert.True(request.Ended);
        Assert.Equal(BodyKind.None, request.Framing.Kind);
    });

    [Fact]
    public void Host_StandsInForAuthority() => Story(peer =>
    {
        peer.Send(H2Frames.Headers(1, H2Frames.Block((":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "example.org"))));
        Assert.Equal("example.org", peer.Requests[1][":authority"]);
    });

    [Theory]
    [InlineData("example.org")]
    [InlineData("other.org")]
    [InlineData("")]
    [InlineData("a,b")]
    public void Host_BesideAuthority_IsDropped(string host) => Story(peer =>
    {
        peer.Send(H2Frames.Headers(1, H2Frames.Block((":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "example.org"), ("host", host), ("host", host))));
        Assert.Equal("example.org", peer.Requests[1][":authority"]);
        Assert.Equal("", peer.Requests[1]["host"]);
    });

    [Fact]
    public void NeitherHostNorAuthority_IsTheManagersBusiness() => Story(peer =>
    {
        peer.Send(H2Frames.Headers(1, H2Frames.Block((":method", "GET"), (":scheme", "http"), (":path", "/"))));
        Assert.Equal("", peer.Requests[1][":authority"]);
    });

    [Fact]
    public void CookieCrumbs_BecomeOneField() => Story(peer =>
    {
        peer.Send(H2Frames.Headers(1, H2Frames.Get(("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "c=3"))));
        Assert.Equal("a=1; b=2; c=3", peer.Requests[1]["cookie"]);
    });

    [Fact]
    public void TeTrailers_Stays() => Story(peer =>
    {
        peer.Send(H2Frames.Headers(1, H2Frames.Get(("te", "trailers"))));
        Assert.Equal("trailers", peer.Requests[1]["te"]);
    });

    [Fact]
    public void ContentLength_FramesTheBody() => Story(peer =>
    {
        peer.Send(H2Frames.Headers(1, H2Frames.Post(("content-length", "8")), end: false));
        Assert.Equal(new BodyFraming(BodyKind.Length, 8), peer.Requests[1].Framing);
        peer.Send(H2Frames.Data(1, "test"), H2Frames.Data(1, "test", end: true, padding: 3));
        Assert.Equal("testtest", peer.Requests[1].Body.ToString());
        peer.ExpectResponse(1);
    });

    [Fact]
    public void NoContentLength_StreamsTheBody() => Story(peer =>
    {
        peer.Send(H2Frames.Headers(1, H2Frames.Post(), end: false));
        Assert.Equal(BodyKind.Streamed, peer.Requests[1].Framing.Kind);
        peer.Send(H2Frames.Data(1, "", end: true));
        peer.ExpectResponse(1);
    });

    [Fact]
    public void EmptyTrailers_OnlyEndTheBody() => Story(peer =>
    {
        peer.Send(H2Frames.Headers(1, H2Frames.Post(), end: false), H2Frames.Data(1, "test"), H2Frames.Headers(1, []));
        Assert.True(peer.Requests[1].Ended);
        Assert.Empty(peer.Requests[1].Trailers);
    });

    [Fact]
    public void PlainConnect_IsATunnel() => Story(peer =>
    {
        peer.Send(H2Frames.Headers(1, H2Frames.Block((":method", "CONNECT"), (":authority", "example.org:443")), end: false), H2Frames.Data(1, "ping"));
        Assert.Equal(BodyKind.Tunnel, peer.Requests[1].Framing.Kind);
        peer.Respond(1, "pong", end: false);
        Assert.Equal("200", peer.Header(1, ":status"));
        Assert.Equal("pong", peer.Body(1));
    }, answers: false);

    [Fact]
    public void ExtendedConnect_ReadsAsUpgrade_AndIts101IsSentAs200() => Story(peer =>
    {
        peer.Send(H2Frames.Headers(1, H2Frames.Block((":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", "/chat"), (":authority", "example.org"), ("sec-websocket-version", "13")), end: false));
        var request = peer.Requests[1];
        Assert.Equal("GET", request[":method"]);
        Assert.Equal("websocket", request["upgrade"]);
        Assert.Equal("upgrade", request["connection"]);
        Assert.Equal("", request[":protocol"]);
        Assert.Equal(BodyKind.Tunnel, request.Framing.Kind);
        var head = new ResponseHead { Status = 101 };
        head.Add(HeaderId.Upgrade, "websocket"u8);
        head.Add(HeaderId.Connection, "upgrade"u8);
        request.Stream.SendHead(head, false);
        request.Stream.SendBody("frame"u8, false);
        peer.Read();
        Assert.Equal("200", peer.Header(1, ":status"));
        Assert.Equal("", peer.Header(1, "upgrade"));
        Assert.Equal("", peer.Header(1, "connection"));
        Assert.Equal("frame", peer.Body(1));
    }, s_connect, answers: false);

    [Fact]
    public void ExtendedConnect_IsOfferedOnlyWhenAllowed()
    {
        var peer = new H2ClientPeer(Cut.Whole, s_connect);
        peer.Send(H2Frames.Preface, H2Frames.Settings());
        Assert.Contains("00-08-00-00-00-01", BitConverter.ToString(peer.Frames[0].Payload));
        peer = new H2ClientPeer();
        peer.Send(H2Frames.Preface, H2Frames.Settings());
        Assert.DoesNotContain("00-08-00-00-00-01", BitConverter.ToString(peer.Frames[0].Payload));
    }

    [Theory]
    [InlineData(":method=CONNECT|:protocol=websocket|:scheme=http|:path=/|:authority=a", "extended CONNECT not allowed")]
    [InlineData(":method=CONNECT|:scheme=http|:path=/|:authority=a", "CONNECT with scheme and path")]
    [InlineData(":method=CONNECT", "CONNECT without authority")]
    [InlineData(":method=G T|:scheme=http|:path=/|:authority=a", "method is no token")]
    [InlineData(":method=GET|:scheme=HTTP|:path=/|:authority=a", "scheme in upper case")]
    [InlineData(":method=GET|:scheme=http|:path=a|:authority=a", "path without slash")]
    [InlineData(":method=GET|:scheme=http|:path=*|:authority=a", "asterisk without OPTIONS")]
    [InlineData(":method=GET|:scheme=http|:path=/a b|:authority=a", "space in path")]
    [InlineData(":method=GET|:scheme=http|:path=/|:authority=", "empty authority")]
    [InlineData(":method=GET|:scheme=http|:path=/|:authority=user@a", "user information")]
    [InlineData(":method=GET|:scheme=http|:path=/|:authority=a/b", "slash in authority")]
    [InlineData(":method=GET|:scheme=http|:path=/|host=a|host=a", "two hosts")]
    [InlineData(":method=GET|:scheme=http|:path=/|:authority=a|x=a\0b", "NUL in value")]
    [InlineData(":method=GET|:scheme=http|:path=/|:authority=a|x=a\rb", "CR in value")]
    [InlineData(":method=GET|:scheme=http|:path=/|:authority=a|x=a\nb", "LF in value")]
    [InlineData(":method=GET|:scheme=http|:path=/|:authority=a|x= a", "leading space")]
    [InlineData(":method=GET|:scheme=http|:path=/|:authority=a|x y=a", "space in name")]
    [InlineData(":method=GET|:scheme=http|:path=/|:authority=a|x:y=a", "colon in name")]
    [InlineData(":method=GET|:scheme=http|:path=/|:authority=a|content-length=-1", "negative length")]
    [InlineData(":method=GET|:scheme=http|:path=/|:authority=a|content-length=5", "length without a body")]
    [InlineData(":method=GET|:scheme=http|:path=/|:authority=a|content-length=0|content-length=0", "two lengths")]
    [InlineData(":method=GET|:scheme=http|:path=/|:authority=a|content-length=99999999999999999999", "length beyond numbers")]
    public void MalformedRequest_CostsItsStreamOrTheConnection_AndIsNeverSeen(string fields, string why)
    {
        var block = H2Frames.Block(fields.Split('|').Select(f => (f[..f.IndexOf('=', 1)], f[(f.IndexOf('=', 1) + 1)..])).ToArray());
        Story(peer =>
        {
            peer.Send(H2Frames.Headers(1, block));
            peer.ExpectStreamError(1, Http2Error.ProtocolError);
            Assert.True(peer.Requests.Count == 0, why);
            // The HPACK state is sound and the connection goes on.
            peer.Send(H2Frames.Headers(3, H2Frames.Get()));
            peer.ExpectResponse(3);
        }, s_streamErrors);
        Story(peer =>
        {
            peer.Send(H2Frames.Headers(1, block));
            peer.ExpectConnectionError(Failure.Http2InvalidHeader, Http2Error.ProtocolError);
            Assert.Empty(peer.Requests);
        });
    }

    [Fact]
    public void OptionsAsterisk_IsFine() => Story(peer =>
    {
        peer.Send(H2Frames.Headers(1, H2Frames.Block((":method", "OPTIONS"), (":scheme", "http"), (":path", "*"), (":authority", "a"))));
        peer.ExpectResponse(1);
    });

    [Fact]
    public void ContentLengthMissedByTrailers_IsMalformed() => Story(peer =>
    {
        peer.Send(H2Frames.Headers(1, H2Frames.Post(("content-length", "9")), end: false), H2Frames.Data(1, "test"), H2Frames.Headers(1, H2Frames.Block(("x", "y"))));
        peer.ExpectStreamError(1, Http2Error.ProtocolError);
        Assert.Equal(Failure.Http2InvalidHeader, peer.Requests[1].ResetReason);
        Assert.False(peer.Requests[1].Ended);
    }, s_streamErrors, answers: false);

    // ---- responses -----------------------------------------------------------------------------------------------

    [Fact]
    public void Response_LosesConnectionFields_AndKeepsTheRest() => Story(peer =>
    {
        peer.Send(H2Frames.Headers(1, H2Frames.Get()));
        var head = new ResponseHead { Status = 201, Framing = new BodyFraming(BodyKind.Length, 3) };
        head.Add("connection"u8, "x-hop, keep-alive"u8);
        head.Add("keep-alive"u8, "timeout=5"u8);
        head.Add("transfer-encoding"u8, "chunked"u8);
        head.Add("x-hop"u8, "1"u8);
        head.Add("server"u8, "envoy"u8);
        peer.Requests[1].Stream.SendHead(head, false);
        peer.Requests[1].Stream.SendBody("abc"u8, true);
        peer.Read();
        peer.ExpectResponse(1, "201");
        Assert.Equal([(":status", "201"), ("server", "envoy"), ("content-length", "3")], peer.Heads[1]);
        Assert.True(peer.Requests[1].IsClosed);
    }, answers: false);

    [Fact]
    public void Informational_ComesBeforeTheResponse() => Story(peer =>
    {
        peer.Send(H2Frames.Headers(1, H2Frames.Post(("expect", "100-continue")), end: false));
        peer.Requests[1].Stream.SendInformational(new ResponseHead { Status = 100 });
        peer.Read();
        Assert.Equal("100", peer.Header(1, ":status"));
        peer.Send(H2Frames.Data(1, "x", end: true));
        peer.Respond(1, "ok");
        Assert.Equal("100 | 200", peer.Header(1, ":status"));
    }, answers: false);

    [Fact]
    public void Trailers_EndTheResponse_AlsoBehindAClosedWindow() => H2ClientPeer.Everywhere(peer =>
    {
        peer.Handshake((SettingId.InitialWindowSize, 2));
        peer.Send(H2Frames.Headers(1, H2Frames.Get()));
        peer.Respond(1, "hello", end: false);
        var trailers = new HeaderMap();
        trailers.Add(HeaderId.GrpcStatus, "0"u8);
        peer.Requests[1].Stream.SendTrailers(trailers);
        trailers.Reset();
        peer.Read();
        Assert.Equal("he", peer.Body(1));
        Assert.Equal("", peer.Header(1, "grpc-status"));
        Assert.Equal(3, peer.Requests[1].Stream.SendPending);
        peer.Send(H2Frames.WindowUpdate(1, 10));
        Assert.Equal("hello", peer.Body(1));
        Assert.Equal("0", peer.Header(1, "grpc-status"));
        Assert.Equal(FrameType.Headers, peer.Frames.Last(f => f.StreamId == 1).Type);
        peer.ExpectResponse(1);
    }, answers: false);

    [Fact]
    public void LargeResponseHead_IsSplitOverContinuations()
    {
        var peer = new H2ClientPeer(answers: false);
        peer.Handshake();
        peer.Send(H2Frames.Headers(1, H2Frames.Get()));
        var head = new ResponseHead { Status = 200 };
        for (int i = 0; i < 3; i++)
            head.Add(H2Frames.Bytes("x-large-" + i), H2Frames.Bytes(new string('v', 15000)));
        peer.Requests[1].Stream.SendHead(head, true);
        peer.Read();
        Assert.Equal([FrameType.Headers, FrameType.Continuation, FrameType.Continuation], peer.Frames.Where(f => f.StreamId == 1).Select(f => f.Type));
        Assert.Equal(15000, peer.Header(1, "x-large-2").Length);
        peer.Close();
    }

    [Fact]
    public void OutputWrittenOutsideFeed_IsAnnounced()
    {
        var peer = new H2ClientPeer(answers: false);
        peer.Handshake();
        peer.Send(H2Frames.Headers(1, H2Frames.Get()));
        Assert.Equal(0, peer.OutputEvents);
        peer.Respond(1, "hello");
        Assert.Equal(2, peer.OutputEvents);
        peer.Close();
    }

    // ---- flow control --------------------------------------------------------------------------------------------

    [Fact]
    public void ConnectionWindow_IsSharedInTurns()
    {
        var peer = new H2ClientPeer { Answer = new string('x', 200_000) };
        peer.Handshake((SettingId.InitialWindowSize, 1_000_000));
        peer.Send(H2Frames.Headers(1, H2Frames.Get()), H2Frames.Headers(3, H2Frames.Get()), H2Frames.Headers(5, H2Frames.Get()));
        Assert.Equal(65535, peer.Frames.Where(f => f.Type == FrameType.Data).Sum(f => f.Payload.Length));
        peer.Frames.Clear();
        peer.Send(H2Frames.WindowUpdate(0, 6 * 16384));
        Assert.Equal(new uint[] { 1, 3, 5, 1, 3, 5 }, peer.Frames.Where(f => f.Type == FrameType.Data).Select(f => f.StreamId));
        peer.Send(H2Frames.WindowUpdate(0, 1_000_000));
        foreach (uint id in new uint[] { 1, 3, 5 })
            peer.ExpectResponse(id);
        Assert.Equal(0, peer.Server.HeldBytes);
        peer.Close();
    }

    [Fact]
    public void ReceiveWindow_IsGivenBackAtHalf_AndNotWhilePaused()
    {
        var options = new Http2Options { InitialStreamWindowSize = 65536, InitialConnectionWindowSize = 131072 };
        var peer = new H2ClientPeer(Cut.Whole, options, answers: false);
        peer.Handshake();
        peer.Send(H2Frames.Headers(1, H2Frames.Post(), end: false), H2Frames.Data(1, new byte[16384]));
        Assert.DoesNotContain(peer.Frames, f => f.Type == FrameType.WindowUpdate);
        peer.Send(H2Frames.Data(1, new byte[16384]));
        Assert.Equal(32768u, peer.Expect(FrameType.WindowUpdate, 1).Word());
        peer.Frames.Clear();

        peer.Requests[1].Stream.PauseReceiving();
        peer.Requests[1].Stream.PauseReceiving();
        peer.Send(H2Frames.Data(1, new byte[16384]), H2Frames.Data(1, new byte[16384]), H2Frames.Data(1, new byte[16384]));
        Assert.DoesNotContain(peer.Frames, f => f.Type == FrameType.WindowUpdate);
        peer.Requests[1].Stream.ResumeReceiving();
        peer.Read();
        Assert.DoesNotContain(peer.Frames, f => f.Type == FrameType.WindowUpdate);
        peer.Requests[1].Stream.ResumeReceiving();
        peer.Read();
        Assert.Equal(49152u, peer.Expect(FrameType.WindowUpdate, 1).Word());
        Assert.Equal(5 * 16384u, peer.Expect(FrameType.WindowUpdate, 0).Word());
        peer.Close();
    }

    [Fact]
    public void ResetOfAPausedStream_GivesTheConnectionItsWindowBack()
    {
        var options = new Http2Options { InitialStreamWindowSize = 65536, InitialConnectionWindowSize = 65536 };
        var peer = new H2ClientPeer(Cut.Whole, options, answers: false);
        peer.Handshake();
        peer.Send(H2Frames.Headers(1, H2Frames.Post(), end: false));
        peer.Requests[1].Stream.PauseReceiving();
        peer.Send(H2Frames.Data(1, new byte[16384]), H2Frames.Data(1, new byte[16384]));
        Assert.DoesNotContain(peer.Frames, f => f.Type == FrameType.WindowUpdate);
        peer.Requests[1].Stream.Reset(Failure.None);
        peer.Read();
        Assert.Equal(32768u, peer.Expect(FrameType.WindowUpdate, 0).Word());
        Assert.Equal(Http2Error.NoError, peer.Expect(FrameType.RstStream, 1).ResetCode);
        // Data that was on its way counts for the connection too, and is dropped without a word.
        peer.Frames.Clear();
        peer.Send(H2Frames.Data(1, new byte[16384]), H2Frames.Data(1, new byte[16384], end: true), H2Frames.Headers(1, H2Frames.Block(("x", "y"))));
        Assert.Equal(32768u, peer.Expect(FrameType.WindowUpdate, 0).Word());
        Assert.DoesNotContain(peer.Frames, f => f.StreamId == 1);
        peer.Close();
    }

    [Fact]
    public void MoreDataThanTheWindow_IsFlowControlError() => H2ClientPeer.Everywhere(peer =>
    {
        peer.Handshake();
        peer.Send(H2Frames.Headers(1, H2Frames.Post(), end: false));
        peer.Requests[1].Stream.PauseReceiving();
        peer.Send(H2Frames.Data(1, new byte[100]), H2Frames.Data(1, new byte[1]));
        peer.ExpectStreamError(1, Http2Error.FlowControlError);
        peer.ExpectAlive();
    }, new Http2Options { InitialStreamWindowSize = 100, MaxConcurrentStreams = 10 }, answers: false);

    [Fact]
    public void BlockedOutput_KeepsBodiesBack_AndTellsTheSinks()
    {
        var peer = new H2ClientPeer(answers: false);
        peer.Handshake();
        peer.Send(H2Frames.Headers(1, H2Frames.Get()));
        peer.Codec.OnOutputBlocked(true);
        Assert.Equal(1, peer.Requests[1].Blocked);
        for (int i = 0; i < 5; i++)
        {
            if (i == 0)
                peer.Respond(1, "h", end: false);
            else
                peer.Requests[1].Stream.SendBody(H2Frames.Bytes("hello"[i..(i + 1)]), i == 4);
        }
        peer.Read();
        Assert.Equal("", peer.Body(1));
        peer.Codec.OnOutputBlocked(false);
        peer.Read();
        // Five pieces of one byte leave as one frame.
        Assert.Equal("hello", Encoding.Latin1.GetString(peer.Frames.Single(f => f.Type == FrameType.Data).Payload));
        Assert.True(peer.Requests[1].IsClosed);
        peer.Close();
    }

    [Fact]
    public void SendBlocked_IsToldAtTheWatermark_AndReadyAtHalf()
    {
        var peer = new H2ClientPeer(answers: false);
        peer.Handshake((SettingId.InitialWindowSize, 0));
        peer.Send(H2Frames.Headers(1, H2Frames.Get()));
        peer.Respond(1, new string('x', 60 * 1024), end: false);
        Assert.Equal(0, peer.Requests[1].Blocked);
        peer.Requests[1].Stream.SendBody(new byte[8 * 1024], false);
        Assert.Equal(1, peer.Requests[1].Blocked);
        peer.Send(H2Frames.WindowUpdate(1, 20 * 1024));
        Assert.Equal(0, peer.Requests[1].Ready);
        peer.Send(H2Frames.WindowUpdate(1, 20 * 1024));
        Assert.Equal(1, peer.Requests[1].Ready);
        peer.Close();
    }

    // ---- drain ---------------------------------------------------------------------------------------------------

    [Fact]
    public void Drain_TakesStreamsOnTheirWay_ThenNamesTheLast_ThenRefuses() => Story(peer =>
    {
        peer.Codec.StartDrain();
        peer.Read();
        Assert.Equal(0x7FFFFFFFu, peer.Expect(FrameType.GoAway, 0).Word());
        Assert.False(peer.Codec.IsFinished);
        peer.Send(H2Frames.Headers(1, H2Frames.Get()));
        peer.Frames.Clear();
        peer.Codec.FinishDrain();
        peer.Codec.FinishDrain();
        peer.Read();
        Assert.Equal(1u, Assert.Single(peer.Frames, f => f.Type == FrameType.GoAway).Word());
        Assert.False(peer.Codec.IsFinished);
        peer.Send(H2Frames.Headers(3, H2Frames.Get()));
        peer.ExpectStreamError(3, Http2Error.RefusedStream);
        peer.Respond(1, "bye");
        peer.ExpectResponse(1);
        Assert.True(peer.Codec.IsFinished);
    }, answers: false);

    [Fact]
    public void ConnectionLost_ResetsEveryStream()
    {
        var peer = new H2ClientPeer(answers: false);
        peer.Handshake();
        for (uint id = 1; id < 40; id += 2)
            peer.Send(H2Frames.Headers(id, H2Frames.Post(), end: false));
        // One head is still under construction.
        peer.Send(H2Frames.Headers(41, H2Frames.Get(), endHeaders: false));
        Assert.Equal(Failure.DownstreamDisconnect, peer.Codec.OnEndOfInput());
        peer.Codec.OnConnectionLost(Failure.DownstreamDisconnect);
        Assert.All(peer.Requests.Values, r => Assert.Equal(Failure.DownstreamDisconnect, r.ResetReason));
        Assert.All(peer.Requests.Values, r => Assert.True(r.IsClosed));
        peer.Close();
    }

    [Fact]
    public void Reset_MakesTheCodecAsNew()
    {
        var peer = new H2ClientPeer();
        for (int round = 0; round < 3; round++)
        {
            peer.Frames.Clear();
            peer.Heads.Clear();
            peer.Requests.Clear();
            peer.Send(H2Frames.Preface, H2Frames.Settings(), H2Frames.Headers(1, H2Frames.Get(("x-a", "b"))));
            Assert.Equal(FrameType.Settings, peer.Frames[0].Type);
            peer.ExpectResponse(1);
            peer.Codec.OnConnectionLost(Failure.DownstreamDisconnect);
            peer.Output.Clear();
            peer.Codec.Reset();
        }
    }

    [Fact]
    public void SinkMayResetOrFinishAnyStreamFromInside()
    {
        var peer = new H2ClientPeer(answers: false);
        peer.Handshake();
        peer.Send(H2Frames.Headers(1, H2Frames.Post(), end: false), H2Frames.Headers(3, H2Frames.Post(), end: false));
        peer.Requests[1].Stream.Reset(Failure.UpstreamReset);
        peer.Requests[1].Stream.Reset(Failure.UpstreamReset);
        peer.Requests[1].Stream.SendBody("late"u8, true);
        peer.Read();
        Assert.Equal(Http2Error.InternalError, peer.Frames.Single(f => f.Type == FrameType.RstStream).ResetCode);
        Assert.Equal(Failure.None, peer.Requests[1].ResetReason);
        peer.Send(H2Frames.Data(3, "x", end: true));
        peer.Respond(3, "ok");
        peer.ExpectResponse(3);
        peer.Close();
    }
}
