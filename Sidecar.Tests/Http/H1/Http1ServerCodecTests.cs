using System;
using System.Text;
using Sidecar.Http;
using Sidecar.Http.H1;
using Sidecar.Memory;
using Sidecar.Telemetry;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Http.H1;

public class Http1ServerCodecTests
{
    private static string Run(string input, Http1Options? options = null, Action<Http1ServerRecorder>? setUp = null) =>
        Splits.Run(Encoding.Latin1.GetBytes(input), pieces =>
        {
            var server = new Http1ServerRecorder(options);
            setUp?.Invoke(server);
            foreach (var piece in pieces)
                server.Feeder.Feed(piece.Span);
            string transcript = server.Transcript();
            Assert.Equal(0, server.Slab.RentedCount);
            return transcript;
        });

    private const string Get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    // ---- heads -----------------------------------------------------------------------------------------------

    [Fact]
    public void Request_BecomesPseudoHeadersAndLowerCaseFields() => Assert.Equal(
        "Http11 | :method: GET | :path: /a?b=c | :authority: Example.com:80 | user-agent: x Y | x-custom: \u00e9 | empty:  framing=None:0 body=\"\"  ended=True reset=None\n" +
        "error=None end=None finished=False out=HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        Run("GET /a?b=c HTTP/1.1\r\nHost: Example.com:80\r\nUser-Agent: \t x Y \t\r\nX-Custom: \u00e9\r\nEmpty:\r\n\r\n"));

    [Theory]
    [InlineData("Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nUpgrade: y\r\nTE: gzip\r\nX-End: 2", "x-end: 2")]
    [InlineData("TE: trailers, gzip;q=0.5\r\nConnection: te", "te: trailers")]
    [InlineData("Connection: ,,\r\nX-End: 2", "x-end: 2")]
    public void HopByHopFields_AreStripped(string fields, string left) => Assert.StartsWith(
        "Http11 | :method: GET | :path: / | :authority: a | " + left + " framing=None:0", Run("GET / HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n\r\n"), StringComparison.Ordinal);

    [Theory]
    [InlineData("http://b.com/x?y", "| :scheme: http | :authority: b.com | :path: /x?y framing")]
    [InlineData("HTTPS://b.com:1", "| :scheme: https | :authority: b.com:1 | :path: / framing")]
    [InlineData("http://b?q", "| :scheme: http | :authority: b | :path: /?q framing")]
    public void AbsoluteForm_ReplacesHost(string target, string expected)
    {
        string transcript = Run($"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        Assert.Contains(expected, transcript, StringComparison.Ordinal);
        Assert.DoesNotContain(": a ", transcript, StringComparison.Ordinal);
    }

    [Fact]
    public void AbsoluteForm_NotAllowed_IsRefused() =>
        Assert.Contains("error=AbsolutePathRejected", Run("GET http://b/ HTTP/1.1\r\nHost: b\r\n\r\n", new Http1Options { AllowAbsoluteUrl = false }), StringComparison.Ordinal);

    [Fact]
    public void Options_Asterisk_IsAPath() =>
        Assert.Contains(":path: * |", Run("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"), StringComparison.Ordinal);

    [Fact]
    public void EmptyLinesBeforeRequest_TwoAreForgiven() =>
        Assert.Contains(":path: /", Run("\r\n\r\n" + Get), StringComparison.Ordinal);

    [Fact]
    public void CustomMethod_OnlyWhereAllowed()
    {
        Assert.Contains("error=Http1CodecError", Run("BREW / HTTP/1.1\r\nHost: a\r\n\r\n"), StringComparison.Ordinal);
        Assert.Contains(":method: BREW", Run("BREW / HTTP/1.1\r\nHost: a\r\n\r\n", new Http1Options { AllowCustomMethods = true }), StringComparison.Ordinal);
        Assert.Contains(":method: PROPFIND", Run("PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n"), StringComparison.Ordinal);
    }

    [Fact]
    public void UnderscoreInName_AllowDropReject()
    {
        const string Request = "GET / HTTP/1.1\r\nHost: a\r\na_b: c\r\n\r\n";
        Assert.Contains("a_b: c", Run(Request), StringComparison.Ordinal);
        Assert.DoesNotContain("a_b", Run(Request, new Http1Options { Underscores = UnderscoreAction.DropHeader }), StringComparison.Ordinal);
        Assert.Contains("error=UnderscoreHeaderRejected", Run(Request, new Http1Options { Underscores = UnderscoreAction.Reject }), StringComparison.Ordinal);
    }

    // ---- bodies ----------------------------------------------------------------------------------------------

    [Fact]
    public void ContentLength_BodyThenNextRequest()
    {
        string transcript = Run("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello" + Get);
        Assert.Contains("content-length: 5 framing=Length:5 body=\"hello\"  ended=True", transcript, StringComparison.Ordinal);
        Assert.Contains(":path: / | :authority: a framing=None:0", transcript, StringComparison.Ordinal);
    }

    [Fact]
    public void Chunked_ExtensionsAndTrailersDropped_BodyThenNextRequest()
    {
        string transcript = Run("POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n5;a;b=c;d=\"e\\\"\"\r\nhello\r\n00A\r\n0123456789\r\n0\r\nX-T: 1\r\n\r\n" + Get);
        Assert.Contains("framing=Streamed:0 body=\"hello0123456789\"  ended=True", transcript, StringComparison.Ordinal);
        Assert.Contains("\nHttp11 | :method: GET", transcript, StringComparison.Ordinal);
    }

    [Fact]
    public void Trailers_WhenEnabled_AreDelivered_WithoutFramingFields() => Assert.Contains(
        "body=\"x\" trailers | x-t: 1 ended=True",
        Run("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-T: 1\r\nContent-Length: 9\r\nHost: b\r\n\r\n", new Http1Options { EnableTrailers = true }), StringComparison.Ordinal);

    [Fact]
    public void AllowChunkedLength_RemovesContentLength()
    {
        string transcript = Run("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", new Http1Options { AllowChunkedLength = true });
        Assert.Contains(":authority: a framing=Streamed:0 body=\"\"  ended=True", transcript, StringComparison.Ordinal);
    }

    // ---- persistence -----------------------------------------------------------------------------------------

    [Theory]
    [InlineData("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", true)]
    [InlineData("GET / HTTP/1.1\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", false)]
    [InlineData("GET / HTTP/1.0\r\nHost: a\r\n\r\n", "HTTP/1.0 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", true)]
    [InlineData("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", "HTTP/1.0 200 OK\r\ncontent-length: 0\r\nconnection: keep-alive\r\n\r\n", false)]
    [InlineData("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive, close\r\n\r\n", "HTTP/1.0 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", true)]
    public void Persistence_ByVersionAndConnection(string request, string response, bool finished)
    {
        string transcript = Run(request, new Http1Options { AcceptHttp10 = true });
        Assert.EndsWith($"finished={finished} out={response}", transcript, StringComparison.Ordinal);
    }

    [Fact]
    public void Http10_NotAccepted_Is426() =>
        Assert.Contains("error=LowVersion end=None finished=True out=HTTP/1.1 426 Upgrade Required\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", Run("GET / HTTP/1.0\r\n\r\n"), StringComparison.Ordinal);

    [Fact]
    public void Http10_DefaultHost()
    {
        Assert.Contains("error=MissingHost", Run("GET / HTTP/1.0\r\n\r\n", new Http1Options { AcceptHttp10 = true }), StringComparison.Ordinal);
        Assert.Contains(":authority: fallback", Run("GET / HTTP/1.0\r\n\r\n", new Http1Options { AcceptHttp10 = true, DefaultHostForHttp10 = new ByteString("fallback") }), StringComparison.Ordinal);
    }

    [Fact]
    public void Http10_UnknownLength_EndsWithClose() => Assert.EndsWith("out=HTTP/1.0 200 OK\r\nconnection: close\r\n\r\nbody",
        Run("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", new Http1Options { AcceptHttp10 = true }, server => server.OnReady = request => request.Reply(200, "body")), StringComparison.Ordinal);

    [Fact]
    public void Drain_NextResponseSaysClose()
    {
        var server = new Http1ServerRecorder();
        server.Feed(Get);
        server.TakeOutput();
        server.Codec.StartDrain();
        Assert.False(server.Codec.IsFinished);
        server.Feed(Get);
        Assert.Contains("connection: close\r\n", server.TakeOutput(), StringComparison.Ordinal);
        Assert.True(server.Codec.IsFinished);
    }

    [Fact]
    public void FinishDrain_Idle_IsFinished()
    {
        var server = new Http1ServerRecorder();
        server.Codec.FinishDrain();
        Assert.True(server.Codec.IsFinished);
    }

    [Fact]
    public void ResponseBeforeRequestIsComplete_SaysCloseAndEndsConnection()
    {
        var server = new Http1ServerRecorder();
        server.Feed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12");
        server.Requests[0].Reply(413, "", ("content-length", "0"));
        Assert.EndsWith("connection: close\r\n\r\n", server.TakeOutput(), StringComparison.Ordinal);
        Assert.True(server.Codec.IsFinished);
        server.Feed("GET / HTTP/1.1\r\n");
        Assert.Single(server.Requests);
    }

    // ---- responses -------------------------------------------------------------------------------------------

    private static string Respond(string request, Action<Http1ServerRecorder.RecordedRequest> reply, Http1Options? options = null)
    {
        var server = new Http1ServerRecorder(options) { OnReady = reply };
        server.Feed(request);
        return server.TakeOutput();
    }

    [Fact]
    public void Response_UnknownLength_IsChunked() => Assert.Equal(
        "HTTP/1.1 200 OK\r\nx: y\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n11\r\n01234567890123456\r\n0\r\n\r\n",
        Respond(Get, request =>
        {
            request.Reply(200, null, ("x", "y"));
            request.Stream.SendBody("hello"u8, false);
            request.Stream.SendBody("01234567890123456"u8, true);
        }));

    [Fact]
    public void Response_LargeChunk_SpansBlocks()
    {
        string body = new('b', 100_000);
        Assert.Equal("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n186a0\r\n" + body + "\r\n0\r\n\r\n", Respond(Get, request => request.Reply(200, body)));
    }

    [Fact]
    public void Response_LargeHead_SpansBlocks()
    {
        string value = new('v', 3 * Slab.DefaultBlockSize);
        Assert.Equal($"HTTP/1.1 200 OK\r\nx: {value}\r\ny: z\r\ncontent-length: 0\r\n\r\n", Respond(Get, request => request.Reply(200, "", ("x", value), ("y", "z"))));
    }

    [Fact]
    public void Response_Trailers_OnlyWhenEnabled()
    {
        void Reply(Http1ServerRecorder.RecordedRequest request)
        {
            request.Reply(200, null);
            request.Stream.SendBody("x"u8, false);
            var trailers = new HeaderMap();
            trailers.Add("grpc-status"u8, "0"u8);
            request.Stream.SendTrailers(trailers);
        }
        Assert.EndsWith("1\r\nx\r\n0\r\n\r\n", Respond(Get, Reply), StringComparison.Ordinal);
        Assert.EndsWith("1\r\nx\r\n0\r\ngrpc-status: 0\r\n\r\n", Respond(Get, Reply, new Http1Options { EnableTrailers = true }), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("HEAD", 200, "content-length: 5\r\n")]
    [InlineData("GET", 304, "content-length: 5\r\n")]
    [InlineData("GET", 204, "")]
    public void Response_WithoutBody_KeepsOnlyTheLengthThatMeansSomething(string method, int status, string length)
    {
        string output = Respond($"{method} / HTTP/1.1\r\nHost: a\r\n\r\n", request => request.Reply(status, "hello", ("content-length", "5")));
        Assert.EndsWith("\r\n" + length + "\r\n", output, StringComparison.Ordinal);
        Assert.DoesNotContain("hello", output, StringComparison.Ordinal);
    }

    [Fact]
    public void Response_ConnectionFieldsOfTheMap_AreNotWritten() => Assert.Equal(
        "HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 0\r\n\r\n",
        Respond(Get, request => request.Reply(200, "", ("transfer-encoding", "gzip"), ("keep-alive", "1"), ("upgrade", "a"), ("proxy-connection", "b"), ("x", "y"))));

    [Fact]
    public void Response_AskedToClose_Closes() =>
        Assert.EndsWith("connection: close\r\n\r\n", Respond(Get, request => request.Reply(200, "", ("connection", "close"))), StringComparison.Ordinal);

    [Theory]
    [InlineData("3", "hello", "hel")]
    [InlineData("9", "hello", "hello")]
    public void Response_BodyContradictsLength_ConnectionEnds(string length, string body, string sent)
    {
        var server = new Http1ServerRecorder { OnReady = request => request.Reply(200, body, ("content-length", length)) };
        server.Feed(Get);
        Assert.EndsWith("\r\n\r\n" + sent, server.TakeOutput(), StringComparison.Ordinal);
        Assert.Equal(Failure.LocalReset, server.Requests[0].ResetReason);
        Assert.True(server.Codec.IsFinished);
        Assert.Equal(1, server.Closed);
    }

    [Fact]
    public void Response_UnknownStatus_AndHttp10()
    {
        Assert.StartsWith("HTTP/1.1 299 Unknown\r\n", Respond(Get, request => request.Reply(299, "")), StringComparison.Ordinal);
        Assert.StartsWith("HTTP/1.1 799 Unknown\r\n", Respond(Get, request => request.Reply(799, "")), StringComparison.Ordinal);
        Assert.StartsWith("HTTP/1.0 404 Not Found\r\n", Respond("GET / HTTP/1.0\r\nHost: a\r\n\r\n", request => request.Reply(404, ""), new Http1Options { AcceptHttp10 = true }), StringComparison.Ordinal);
    }

    [Fact]
    public void Expect100_InformationalThenBodyThenResponse()
    {
        var server = new Http1ServerRecorder();
        server.Feed("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
        Assert.Contains("expect: 100-continue", server.Requests[0].Head, StringComparison.Ordinal);
        server.Requests[0].Stream.SendInformational(Http1ServerRecorder.NewResponse(100));
        Assert.Equal("HTTP/1.1 100 Continue\r\n\r\n", server.TakeOutput());
        Assert.Equal(1, server.Outputs);
        server.Feed("ok");
        Assert.Equal("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", server.TakeOutput());
    }

    // ---- the contract ----------------------------------------------------------------------------------------

    [Fact]
    public void ResponseOutsideFeed_AsksForInputAndFlush()
    {
        var server = new Http1ServerRecorder { OnReady = null };
        server.Feed(Get + Get);
        Assert.Single(server.Requests);
        server.Requests[0].Reply(200, "", ("content-length", "0"));
        Assert.Equal(1, server.WantsInputs);
        Assert.Equal(1, server.Outputs);
        Assert.Equal(1, server.Closed);
        server.Feeder.Pump();
        Assert.Equal(2, server.Requests.Count);
        Assert.Equal(2, server.Requests[1].Stream.Id);
    }

    [Fact]
    public void Pause_StopsInput_ResumeAsksForIt()
    {
        var server = new Http1ServerRecorder();
        server.Feed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n");
        var stream = server.Requests[0].Stream;
        stream.PauseReceiving();
        stream.PauseReceiving();
        Assert.False(server.Codec.WantsInput);
        stream.ResumeReceiving();
        Assert.False(server.Codec.WantsInput);
        stream.ResumeReceiving();
        Assert.True(server.Codec.WantsInput);
        Assert.Equal(1, server.WantsInputs);
    }

    [Fact]
    public void Reset_EndsConnection_SinkHearsNothing()
    {
        var server = new Http1ServerRecorder { OnReady = null };
        server.Feed(Get);
        server.Requests[0].Stream.Reset(Failure.InternalError);
        Assert.True(server.Codec.IsFinished);
        Assert.Equal(Failure.None, server.Requests[0].ResetReason);
        Assert.Equal(1, server.Closed);
    }

    [Fact]
    public void EndOfInput_Idle_IsFine_ElseResetsTheStream()
    {
        var idle = new Http1ServerRecorder();
        Assert.Equal(Failure.None, idle.Codec.OnEndOfInput());
        Assert.True(idle.Codec.IsFinished);

        var partial = new Http1ServerRecorder();
        partial.Feed("GET /");
        Assert.Equal(Failure.DownstreamDisconnect, partial.Codec.OnEndOfInput());

        var waiting = new Http1ServerRecorder { OnReady = null };
        waiting.Feed(Get);
        Assert.Equal(Failure.DownstreamDisconnect, waiting.Codec.OnEndOfInput());
        Assert.Equal(Failure.DownstreamDisconnect, waiting.Requests[0].ResetReason);
    }

    [Fact]
    public void Tunnel_EndsOneWayAtATime()
    {
        var server = new Http1ServerRecorder { OnReady = null };
        server.Feed("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
        var request = server.Requests[0];
        request.Stream.SendHead(Http1ServerRecorder.NewResponse(101, ("upgrade", "echo"), ("connection", "upgrade"), ("x", "y")), false);
        Assert.Equal("HTTP/1.1 101 Switching Protocols\r\nx: y\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n", server.TakeOutput());
        server.Feed("ping");
        request.Stream.SendBody("pong"u8, false);
        Assert.Equal("pong", server.TakeOutput());
        Assert.Equal(Failure.None, server.Codec.OnEndOfInput());
        Assert.True(request.Ended);
        Assert.False(server.Codec.IsFinished);
        request.Stream.SendBody("bye"u8, true);
        Assert.Equal("bye", server.TakeOutput());
        Assert.True(server.Codec.IsFinished);
        Assert.Equal(1, server.Closed);
    }

    [Fact]
    public void Tunnel_OurEndFirst_OutputEndsInputGoesOn()
    {
        var server = new Http1ServerRecorder { OnReady = null };
        server.Feed("CONNECT b:1 HTTP/1.1\r\nHost: b:1\r\n\r\n");
        var request = server.Requests[0];
        request.Stream.SendHead(Http1ServerRecorder.NewResponse(200, ("content-length", "3")), false);
        Assert.Equal("HTTP/1.1 200 OK\r\n\r\n", server.TakeOutput());
        request.Stream.SendBody(default, true);
        Assert.True(server.Codec.IsOutputEnded);
        Assert.False(server.Codec.IsFinished);
        server.Feed("more");
        Assert.Equal("more", request.Body.ToString());
        server.Codec.OnEndOfInput();
        Assert.True(server.Codec.IsFinished);
    }

    [Fact]
    public void Upgrade_AcceptedByHttp2_BecomesA101()
    {
        var server = new Http1ServerRecorder { OnReady = null };
        server.Feed("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
        var head = Http1ServerRecorder.NewResponse(200);
        head.Framing = new BodyFraming(BodyKind.Tunnel);
        server.Requests[0].Stream.SendHead(head, false);
        Assert.Equal("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", server.TakeOutput());
    }

    [Fact]
    public void BadRequest_AnsweredByItsOwner()
    {
        var server = new Http1ServerRecorder
        {
            OnError = (stream, error) =>
            {
                Assert.Equal(Failure.MissingHost, error);
                Assert.Equal("/x", Encoding.Latin1.GetString(stream.Request.Path));
                stream.SendHead(Http1ServerRecorder.NewResponse(error.Row().Status, ("server", "envoy")), true);
                return true;
            },
        };
        server.Feed("GET /x HTTP/1.1\r\n\r\n");
        Assert.Equal("HTTP/1.1 400 Bad Request\r\nserver: envoy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", server.TakeOutput());
        Assert.True(server.Codec.IsFinished);
        Assert.Equal(1, server.Closed);
    }

    [Fact]
    public void BadBody_AfterResponseStarted_OnlyResets()
    {
        var server = new Http1ServerRecorder { OnReady = null };
        server.Feed("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        server.Requests[0].Reply(200, null);
        server.TakeOutput();
        server.Feed("zz\r\n");
        Assert.Equal("", server.TakeOutput());
        Assert.Equal(Failure.Http1ChunkedInvalid, server.Requests[0].ResetReason);
        Assert.True(server.Codec.IsFinished);
    }

    [Fact]
    public void OutputBlocked_IsPassedOn()
    {
        var server = new Http1ServerRecorder { OnReady = null };
        server.Feed(Get);
        server.Codec.OnOutputBlocked(true);
        Assert.True(server.Requests[0].Blocked);
        server.Codec.OnOutputBlocked(false);
        Assert.False(server.Requests[0].Blocked);
    }

    [Fact]
    public void Reset_MakesTheCodecNew()
    {
        var server = new Http1ServerRecorder();
        server.Feed("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        Assert.True(server.Codec.IsFinished);
        server.TakeOutput();
        server.Codec.Reset();
        server.Feed(Get);
        Assert.Equal("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", server.TakeOutput());
        Assert.False(server.Codec.IsFinished);
    }

    // ---- one turn's share ------------------------------------------------------------------------------------

    [Fact]
    public void Pipeline_BeyondMaxRequestsPerFeed_IsDeferredAndGoesOnWithTheNextFeed()
    {
        var server = new Http1ServerRecorder(new Http1Options { MaxRequestsPerFeed = 2 });
        byte[] input = Encoding.Latin1.GetBytes(Get + Get + Get);

        Assert.Equal(new CodecResult(2 * Get.Length, Failure.None), server.Codec.Feed(input));
        Assert.True(server.Codec.InputDeferred);
        Assert.True(server.Codec.WantsInput);
        Assert.Equal(2, server.Requests.Count);

        Assert.Equal(new CodecResult(Get.Length, Failure.None), server.Codec.Feed(input.AsSpan(2 * Get.Length)));
        Assert.False(server.Codec.InputDeferred);
        Assert.Equal(3, server.Requests.Count);
    }
}
