using System;
using System.Linq;
using Sidecar.Http;
using Sidecar.Http.H2;
using Sidecar.Telemetry;
using Sidecar.Tests.Harness;
using Xunit;
using H2Frames = Sidecar.Tests.Harness.H2;

namespace Sidecar.Tests.Http.H2;

public sealed class Http2ClientCodecTests
{
    private static readonly Http2Options s_streamErrors = Http2Options.ClientDefaults with { OverrideStreamErrorOnInvalidHttpMessage = true };

    private static byte[] Response(uint id, string status, bool end, params (string, string)[] more) => H2Frames.Headers(id, H2Frames.Block([(":status", status), .. more]), end);

    private static void Story(Action<H2ServerPeer> story, Http2Options? options = null) => H2ServerPeer.Everywhere(peer =>
    {
        peer.Handshake();
        story(peer);
    }, options);

    // ---- requests ------------------------------------------------------------------------------------------------

    [Fact]
    public void Preface_AndSettings_ComeBeforeTheFirstHead()
    {
        var peer = new H2ServerPeer();
        peer.Request();
        Assert.Equal([FrameType.Settings, FrameType.WindowUpdate, FrameType.Headers], peer.Frames.Select(f => f.Type));
        Assert.Equal(24u * 1024 * 1024 - 65535, peer.Frames[1].Word());
        Assert.StartsWith("00-02-00-00-00-00", BitConverter.ToString(peer.Frames[0].Payload));
        Assert.Equal([(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "example.org")], peer.Heads[1]);
        peer.Close();
    }

    [Fact]
    public void Request_OfHttp1_LosesItsConnectionFields()
    {
        var peer = new H2ServerPeer();
        peer.Handshake();
        peer.Request("POST", true, ("connection", "close, x-hop"), ("keep-alive", "5"), ("proxy-connection", "x"), ("transfer-encoding", "chunked"), ("x-hop", "1"),
            ("te", "gzip, trailers"), ("http2-settings", "AAMAAABk"), ("host", "other"), ("content-type", "application/grpc"));
        Assert.Equal([(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "example.org"), ("te", "trailers"), ("content-type", "application/grpc")], peer.Heads[1]);
        peer.Close();
    }

    [Fact]
    public void IdsRise_InTheOrderHeadsAreSent()
    {
        var peer = new H2ServerPeer();
        peer.Handshake();
        var first = new TestResponse();
        first.Stream = peer.Open(first);
        var second = peer.Request();
        Assert.Equal(1, second.Stream.Id);
        var head = new RequestHead();
        head.Add(HeaderId.Method, "GET"u8);
        first.Stream.SendHead(head, true);
        Assert.Equal(3, first.Stream.Id);
        Assert.Equal(2, peer.Codec.ActiveStreams);
        peer.Close();
    }

    [Fact]
    public void MaxConcurrentStreams_IsTheSmallerOfBoth()
    {
        var peer = new H2ServerPeer();
        Assert.Equal(1024, peer.Client.MaxConcurrentStreams);
        peer.Handshake((SettingId.MaxConcurrentStreams, 1));
        Assert.Equal(1, peer.MaxStreamsChanges);
        Assert.True(peer.Client.CanOpenStream);
        var response = peer.Request();
        Assert.False(peer.Client.CanOpenStream);
        peer.Send(Response(1, "200", end: true));
        Assert.True(response.IsClosed);
        Assert.True(peer.Client.CanOpenStream);
        peer.Close();
    }

    [Fact]
    public void Upgrade_IsExtendedConnect_AndIts200ReadsAs101() => H2ServerPeer.Everywhere(peer =>
    {
        peer.Handshake((SettingId.EnableConnectProtocol, 1));
        var response = peer.Request("GET", false, ("upgrade", "websocket"), ("connection", "upgrade"), ("sec-websocket-version", "13"));
        Assert.Equal([(":method", "CONNECT"), (":scheme", "http"), (":path", "/"), (":authority", "example.org"), (":protocol", "websocket"), ("sec-websocket-version", "13")], peer.Heads[1]);
        peer.Send(Response(1, "200", end: false), H2Frames.Data(1, "frame"));
        Assert.Equal(101, response.Status);
        Assert.Equal("upgrade", response["connection"]);
        Assert.Equal(BodyKind.Tunnel, response.Framing.Kind);
        Assert.Equal("frame", response.Body.ToString());
    });

    [Fact]
    public void Upgrade_WithoutTheServersOffer_FailsAtOnce()
    {
        var peer = new H2ServerPeer();
        peer.Handshake();
        var response = peer.Request("GET", false, ("upgrade", "websocket"), ("connection", "upgrade"));
        Assert.Equal(Failure.UpstreamProtocolError, response.ResetReason);
        Assert.True(response.IsClosed);
        Assert.DoesNotContain(peer.Frames, f => f.Type == FrameType.Headers);
        peer.Close();
    }

    [Fact]
    public void Upgrade_BeforeTheServersSettings_WaitsForThem()
    {
        var peer = new H2ServerPeer();
        var response = peer.Request("GET", false, ("upgrade", "websocket"), ("connection", "upgrade"));
        response.Stream.SendBody("early"u8, false);
        peer.Read();
        Assert.DoesNotContain(peer.Frames, f => f.Type is FrameType.Headers or FrameType.Data);
        Assert.False(response.IsClosed);

        peer.Send(H2Frames.Settings((SettingId.EnableConnectProtocol, 1)));
        Assert.Equal((":protocol", "websocket"), peer.Heads[1][4]);
        Assert.Equal("early", peer.Body(1));
        peer.Send(Response(1, "200", end: false));
        Assert.Equal(101, response.Status);
        peer.Close();
    }

    [Fact]
    public void Upgrade_BeforeSettingsWithoutTheOffer_FailsWithThem()
    {
        var peer = new H2ServerPeer();
        var response = peer.Request("GET", false, ("upgrade", "websocket"), ("connection", "upgrade"));
        peer.Handshake();
        Assert.Equal(Failure.UpstreamProtocolError, response.ResetReason);
        Assert.True(response.IsClosed);
        Assert.DoesNotContain(peer.Frames, f => f.Type == FrameType.Headers);
        peer.Close();
    }

    [Fact]
    public void Connect_HasNeitherSchemeNorPath() => Story(peer =>
    {
        var response = peer.Request("CONNECT", false);
        Assert.Equal([(":method", "CONNECT"), (":authority", "example.org")], peer.Heads[1]);
        peer.Send(Response(1, "200", end: false, ("content-length", "7")), H2Frames.Data(1, "raw"));
        Assert.Equal(BodyKind.Tunnel, response.Framing.Kind);
        Assert.Equal("raw", response.Body.ToString());
        Assert.Equal("", response["content-length"]);
    });

    // ---- responses -----------------------------------------------------------------------------------------------

    [Fact]
    public void Response_WithBodyAndTrailers() => Story(peer =>
    {
        var response = peer.Request();
        peer.Send(Response(1, "200", end: false, ("content-type", "application/grpc")), H2Frames.Data(1, "hello"), H2Frames.Headers(1, H2Frames.Block(("grpc-status", "0"))));
        Assert.Equal(200, response.Status);
        Assert.Equal(BodyKind.Streamed, response.Framing.Kind);
        Assert.Equal("hello", response.Body.ToString());
        Assert.Equal(("grpc-status", "0"), Assert.Single(response.Trailers));
        Assert.True(response.IsClosed);
        Assert.Equal(Failure.None, response.ResetReason);
    });

    [Fact]
    public void Informational_ThenResponse() => Story(peer =>
    {
        var response = peer.Request();
        peer.Send(Response(1, "100", end: false), Response(1, "103", end: false, ("link", "x")), Response(1, "200", end: true));
        Assert.Equal([100, 103], response.Informational);
        Assert.Equal(200, response.Status);
        Assert.Equal("", response["link"]);
        Assert.True(response.Ended);
        Assert.Equal(0, peer.Client.HeldBytes);
    });

    [Theory]
    [InlineData("HEAD", "200")]
    [InlineData("GET", "304")]
    public void ContentLengthOfABodyThatDoesNotCome_Stays(string method, string status) => Story(peer =>
    {
        var response = peer.Request(method);
        peer.Send(Response(1, status, end: true, ("content-length", "100")));
        Assert.Equal("100", response["content-length"]);
        Assert.True(response.Ended);
    });

    [Theory]
    [InlineData("HEAD", "200")]
    [InlineData("GET", "204")]
    [InlineData("GET", "304")]
    public void DataWhereNoneMayBe_IsProtocolError(string method, string status) => Story(peer =>
    {
        var response = peer.Request(method);
        peer.Send(Response(1, status, end: false), H2Frames.Data(1, "x", end: true));
        peer.ExpectStreamError(1, Http2Error.ProtocolError);
        Assert.Equal(Failure.UpstreamProtocolError, response.ResetReason);
    }, s_streamErrors);

    [Theory]
    [InlineData("", "no status")]
    [InlineData(":status=20", "two digits")]
    [InlineData(":status=2000", "four digits")]
    [InlineData(":status=2x0", "no number")]
    [InlineData(":status=099", "below 100")]
    [InlineData(":status=101", "switching protocols")]
    [InlineData(":status=100", "informational with END_STREAM")]
    [InlineData(":status=200|:status=200", "two statuses")]
    [InlineData("x=y|:status=200", "status after a field")]
    [InlineData(":status=200|:path=/", "request pseudo-header")]
    [InlineData(":status=200|connection=close", "connection field")]
    [InlineData(":status=200|transfer-encoding=chunked", "transfer-encoding")]
    [InlineData(":status=200|X=y", "upper case")]
    [InlineData(":status=200|x=a\nb", "LF in value")]
    [InlineData(":status=200|content-length=5", "length without body")]
    public void MalformedResponse_IsProtocolError_AndNeverSeen(string fields, string why) => Story(peer =>
    {
        var block = H2Frames.Block(fields.Split('|', StringSplitOptions.RemoveEmptyEntries).Select(f => (f[..f.IndexOf('=', 1)], f[(f.IndexOf('=', 1) + 1)..])).ToArray());
        var response = peer.Request();
        peer.Send(H2Frames.Headers(1, block));
        peer.ExpectStreamError(1, Http2Error.ProtocolError);
        Assert.True(response.ResetReason == Failure.UpstreamProtocolError, why);
        Assert.False(response.Ended);
        Assert.True(response.IsClosed);
    }, s_streamErrors);

    [Fact]
    public void MalformedResponse_ByDefault_EndsTheConnection() => Story(peer =>
    {
        peer.Request();
        peer.Send(Response(1, "2000", end: true));
        peer.ExpectConnectionError(Failure.UpstreamProtocolError, Http2Error.ProtocolError);
    });

    [Fact]
    public void DataBeforeTheHead_IsProtocolError() => Story(peer =>
    {
        var response = peer.Request();
        peer.Send(H2Frames.Data(1, "x"));
        peer.ExpectStreamError(1, Http2Error.ProtocolError);
        Assert.Equal(Failure.UpstreamProtocolError, response.ResetReason);
    }, s_streamErrors);

    [Fact]
    public void EarlyResponseThenResetNoError_IsAQuietEnd() => Story(peer =>
    {
        var response = peer.Request("POST", end: false);
        peer.Send(Response(1, "413", end: true), H2Frames.Reset(1, Http2Error.NoError));
        Assert.Equal(413, response.Status);
        Assert.True(response.Ended);
        Assert.Equal(Failure.None, response.ResetReason);
        Assert.True(response.IsClosed);
    });

    [Theory]
    [InlineData((int)Http2Error.RefusedStream, (int)Failure.UpstreamRefusedStream)]
    [InlineData((int)Http2Error.InternalError, (int)Failure.UpstreamReset)]
    public void Reset_IsReported(int code, int failure) => Story(peer =>
    {
        var response = peer.Request();
        peer.Send(H2Frames.Reset(1, (Http2Error)code));
        Assert.Equal((Failure)failure, response.ResetReason);
    });

    [Theory]
    [InlineData(2u)]
    [InlineData(5u)]
    public void HeadersOnAStreamNobodyOpened_IsProtocolError(uint id) => Story(peer =>
    {
        peer.Request();
        peer.Send(Response(id, "200", end: true));
        peer.ExpectConnectionError(Http2Error.ProtocolError);
    });

    [Fact]
    public void PushPromise_IsProtocolError() => Story(peer =>
    {
        peer.Request();
        peer.Send(H2Frames.Frame(FrameType.PushPromise, FrameFlags.EndHeaders, 1, H2Frames.Join(H2Frames.Word(2), H2Frames.Get())));
        peer.ExpectConnectionError(Http2Error.ProtocolError);
    });

    [Fact]
    public void ServerEnablingPush_IsProtocolError()
    {
        var peer = new H2ServerPeer();
        peer.Send(H2Frames.Settings((SettingId.EnablePush, 1)));
        peer.ExpectConnectionError(Http2Error.ProtocolError);
        peer.Close();
    }

    [Fact]
    public void ServerThatDoesNotStartWithSettings_IsProtocolError()
    {
        var peer = new H2ServerPeer();
        peer.Send(H2Frames.Bytes("HTTP/1.1 400 Bad Request\r\n\r\n"));
        Assert.Equal(Failure.UpstreamProtocolError, peer.Error == Failure.None ? Failure.None : Failure.UpstreamProtocolError);
        peer.Close();
    }

    // ---- going away ----------------------------------------------------------------------------------------------

    [Fact]
    public void GoAway_RefusesStreamsAboveItsLast_AndFinishesTheOthers() => Story(peer =>
    {
        var first = peer.Request();
        var second = peer.Request();
        var unsent = new TestResponse();
        unsent.Stream = peer.Open(unsent);
        peer.Send(H2Frames.GoAway(1));
        Assert.Equal(1, peer.GoAways);
        Assert.False(peer.Client.CanOpenStream);
        Assert.Equal(Failure.None, first.ResetReason);
        Assert.Equal(Failure.UpstreamRefusedStream, second.ResetReason);
        Assert.Equal(Failure.UpstreamRefusedStream, unsent.ResetReason);
        Assert.False(peer.Codec.IsFinished);
        peer.Send(Response(1, "200", end: true));
        Assert.True(first.Ended);
        Assert.True(peer.Codec.IsFinished);
    });

    [Fact]
    public void GoAwayInTwoPhases_IsFollowed() => Story(peer =>
    {
        var first = peer.Request();
        peer.Send(H2Frames.GoAway(0x7FFFFFFF));
        Assert.Equal(Failure.None, first.ResetReason);
        peer.Send(H2Frames.GoAway(1), Response(1, "200", end: true));
        Assert.True(first.Ended);
        Assert.True(peer.Codec.IsFinished);
    });

    [Fact]
    public void StartDrain_OpensNothingMore()
    {
        var peer = new H2ServerPeer();
        peer.Handshake();
        var response = peer.Request();
        peer.Codec.StartDrain();
        peer.Read();
        peer.Expect(FrameType.GoAway, 0);
        Assert.False(peer.Client.CanOpenStream);
        peer.Send(Response(1, "200", end: true));
        Assert.True(response.Ended);
        Assert.True(peer.Codec.IsFinished);
        peer.Close();
    }

    // ---- keep-alive ----------------------------------------------------------------------------------------------

    [Fact]
    public void KeepAlive_PingsAndGivesUp()
    {
        var peer = new H2ServerPeer(Cut.Whole, Http2Options.ClientDefaults with { KeepaliveIntervalMs = 30_000, KeepaliveTimeoutMs = 5_000 });
        peer.Handshake();
        peer.Tick(0);
        peer.Tick(30_000);
        var ping = peer.Expect(FrameType.Ping, 0);
        peer.Send(H2Frames.Frame(FrameType.Ping, FrameFlags.Ack, 0, ping.Payload));
        peer.Tick(5_000);
        Assert.Equal(Failure.None, peer.Error);
        peer.Frames.Clear();
        peer.Tick(25_000);
        peer.Expect(FrameType.Ping, 0);
        peer.Tick(5_000);
        Assert.Equal(Failure.Http2PingTimeout, peer.Error);
        peer.Close();
    }

    [Fact]
    public void LargeUpload_WaitsForWindows()
    {
        var peer = new H2ServerPeer();
        peer.Handshake();
        var response = peer.Request("POST", end: false);
        response.Stream.SendBody(new byte[200_000], true);
        peer.Read();
        Assert.Equal(65535, peer.Body(1).Length);
        Assert.Equal(1, response.Blocked);
        Assert.Equal(200_000 - 65535, response.Stream.SendPending);
        peer.Send(H2Frames.WindowUpdate(0, 1_000_000));
        Assert.Equal(65535, peer.Body(1).Length);
        peer.Send(H2Frames.WindowUpdate(1, 1_000_000));
        Assert.Equal(200_000, peer.Body(1).Length);
        Assert.Equal(1, response.Ready);
        peer.Close();
    }
}
