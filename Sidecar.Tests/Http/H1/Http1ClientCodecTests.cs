using System;
using System.Text;
using Sidecar.Http;
using Sidecar.Http.H1;
using Sidecar.Telemetry;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Http.H1;

public class Http1ClientCodecTests
{
    private static string Run(string input, string method = "GET", Http1Options? options = null, bool eof = false) =>
        Splits.Run(Encoding.Latin1.GetBytes(input), pieces =>
        {
            var client = new Http1ClientRecorder(options);
            client.Send(method, method == "CONNECT" ? "" : "/", endStream: method != "CONNECT");
            client.TakeOutput();
            foreach (var piece in pieces)
                client.Feeder.Feed(piece.Span);
            bool canOpen = client.Codec.CanOpenStream;
            string transcript = client.Transcript(eof ? client.Codec.OnEndOfInput() : Failure.None) + " open=" + canOpen;
            Assert.Equal(0, client.Slab.RentedCount);
            return transcript;
        });

    // ---- requests --------------------------------------------------------------------------------------------

    private static string Request(Http1Options? options, string method, string path, bool endStream, params (string, string)[] fields)
    {
        var client = new Http1ClientRecorder(options);
        client.Send(method, path, endStream, fields);
        return client.TakeOutput();
    }

    [Theory]
    [InlineData("GET", "", "")]
    [InlineData("DELETE", "", "")]
    [InlineData("POST", "", "content-length: 0\r\n")]
    [InlineData("PUT", "", "content-length: 0\r\n")]
    public void Request_WithoutBody(string method, string path, string framing) =>
        Assert.Equal($"{method} / HTTP/1.1\r\nhost: up:80\r\nx: y\r\n{framing}\r\n", Request(null, method, path, true, ("x", "y")));

    [Fact]
    public void Request_ConnectionFieldsOfTheMap_AreNotWritten() => Assert.Equal("GET /p HTTP/1.1\r\nhost: up:80\r\n\r\n",
        Request(null, "GET", "/p", true, ("te", "trailers"), ("transfer-encoding", "chunked"), ("keep-alive", "x"), ("host", "evil"), ("upgrade", "x"), (":protocol", "y")));

    [Fact]
    public void Request_FullyQualified() => Assert.StartsWith("GET http://up:80/p HTTP/1.1\r\nhost: up:80\r\n",
        Request(new Http1Options { SendFullyQualifiedUrl = true }, "GET", "/p", true), StringComparison.Ordinal);

    [Fact]
    public void Request_UnknownLength_IsChunked_TrailersWhenEnabled()
    {
        var client = new Http1ClientRecorder(new Http1Options { EnableTrailers = true });
        var response = client.Send("POST", "/", false, ("te", "trailers"));
        response.Stream.SendBody("hello"u8, false);
        var trailers = new HeaderMap();
        trailers.Add("x-t"u8, "1"u8);
        response.Stream.SendTrailers(trailers);
        Assert.Equal("POST / HTTP/1.1\r\nhost: up:80\r\ntransfer-encoding: chunked\r\nte: trailers\r\nconnection: te\r\n\r\n5\r\nhello\r\n0\r\nx-t: 1\r\n\r\n", client.TakeOutput());
    }

    [Fact]
    public void Request_KnownLength()
    {
        var client = new Http1ClientRecorder();
        client.Send("POST", "/", false, ("content-length", "5")).Stream.SendBody("hello"u8, true);
        Assert.Equal("POST / HTTP/1.1\r\nhost: up:80\r\ncontent-length: 5\r\n\r\nhello", client.TakeOutput());
    }

    [Fact]
    public void Request_BodyContradictsLength_StreamIsReset()
    {
        var client = new Http1ClientRecorder();
        var response = client.Send("POST", "/", false, ("content-length", "5"));
        response.Stream.SendBody("hell"u8, true);
        Assert.Equal(Failure.LocalReset, response.ResetReason);
        Assert.True(client.Codec.IsFinished);
    }

    [Fact]
    public void Connect_IsAuthorityForm() => Assert.Equal("CONNECT up:80 HTTP/1.1\r\nhost: up:80\r\n\r\n", Request(null, "CONNECT", "", false));

    [Fact]
    public void Upgrade_IsSent() => Assert.Equal("GET /ws HTTP/1.1\r\nhost: up:80\r\nsec-websocket-version: 13\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        Request(null, "GET", "/ws", false, ("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13")));

    // ---- responses -------------------------------------------------------------------------------------------

    [Theory]
    [InlineData("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello", "200 Http11 | content-length: 5 | x: y framing=Length:5 body=\"hello\"  ended=True reset=None", true)]
    [InlineData("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "200 Http11 | content-length: 0 framing=None:0 body=\"\"  ended=True", true)]
    [InlineData("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nKeep-Alive: 1\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "200 Http11 framing=Streamed:0 body=\"hello\"  ended=True", true)]
    [InlineData("HTTP/1.1 204 No Content\r\n\r\n", "204 Http11 framing=None:0", true)]
    [InlineData("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", "204 Http11 framing=None:0", true)]
    [InlineData("HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", "304 Http11 | content-length: 7 framing=None:0", true)]
    [InlineData("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", "200 Http11 | content-length: 0 framing=None:0", false)]
    [InlineData("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", "200 Http10 | content-length: 0 framing=None:0", false)]
    [InlineData("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", "200 Http10 | content-length: 0 framing=None:0", true)]
    [InlineData("\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "100,103 200 Http11 | content-length: 0", true)]
    public void Response(string input, string expected, bool reusable)
    {
        string transcript = Run(input);
        Assert.Contains(expected, transcript, StringComparison.Ordinal);
        Assert.EndsWith($"error=None end=None finished={!reusable} open={reusable}", transcript, StringComparison.Ordinal);
    }

    [Fact]
    public void Response_ToHead_HasNoBody() =>
        Assert.EndsWith("content-length: 9 framing=None:0 body=\"\"  ended=True reset=None\nerror=None end=None finished=False open=True", Run("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "HEAD"), StringComparison.Ordinal);

    [Fact]
    public void Response_UntilClose_EndsWithTheConnection()
    {
        string transcript = Run("HTTP/1.1 200 OK\r\n\r\nhello", eof: true);
        Assert.Contains("framing=UntilClose:0 body=\"hello\"  ended=True reset=None", transcript, StringComparison.Ordinal);
        Assert.Contains("end=None finished=True", transcript, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell")]
    [InlineData("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")]
    [InlineData("HTTP/1.1 200 O")]
    public void Response_CutOff_IsReset(string input) =>
        Assert.Contains("reset=UpstreamConnectionTermination\n", Run(input, eof: true), StringComparison.Ordinal);

    [Theory]
    [InlineData("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n")]
    [InlineData("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n")]
    [InlineData("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n")]
    [InlineData("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")]
    [InlineData("HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n")]
    [InlineData("HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n")]
    [InlineData("HTTP/1.1 100 No\r\nTransfer-Encoding: chunked\r\n\r\n")]
    [InlineData("HTTP/1.1 101 No\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")]
    [InlineData("HTTP/1.1 20 OK\r\n\r\n")]
    [InlineData("HTTP/1.1 2000 OK\r\n\r\n")]
    [InlineData("HTTP/1.1 099 OK\r\n\r\n")]
    [InlineData("HTTP/1.1  200 OK\r\n\r\n")]
    [InlineData("HTTP/2.0 200 OK\r\n\r\n")]
    [InlineData("HTTP/1.1 200 O\0K\r\n\r\n")]
    [InlineData("HTTP/1.1 200 OK\nX: y\n\n")]
    [InlineData("HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n")]
    [InlineData("HTTP/1.1 200 OK\r\nX : y\r\n\r\n")]
    [InlineData("HTTP/1.1 200 OK\r\nConnection: a,b,c,d,e,f,g,h,i,j\r\nContent-Length: 0\r\n\r\n")]
    [InlineData("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx")]
    [InlineData("\r\n\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")]
    public void Response_Malformed_IsUpstreamProtocolError(string input) =>
        Assert.Contains("error=UpstreamProtocolError end=None finished=True", Run(input), StringComparison.Ordinal);

    [Fact]
    public void Response_HeadLimits()
    {
        Assert.Contains("error=UpstreamHeadersTooLarge", Run("HTTP/1.1 200 OK\r\nX: " + new string('x', 500) + "\r\n\r\n", options: new Http1Options { MaxHeadBytes = 400 }), StringComparison.Ordinal);
        Assert.Contains("error=UpstreamHeadersTooLarge", Run("HTTP/1.1 200 OK\r\nA: b\r\nC: d\r\n\r\n", options: new Http1Options { MaxHeaders = 1 }), StringComparison.Ordinal);
    }

    [Fact]
    public void Informational_WithoutEnd_IsAnError()
    {
        var client = new Http1ClientRecorder();
        client.Send("GET", "/");
        int count = 0;
        while (client.Feed("HTTP/1.1 100 Continue\r\n\r\n") == Failure.None)
            Assert.True(++count < 100);
        Assert.Equal(Failure.UpstreamProtocolError, client.Feeder.Error);
    }

    // ---- reuse -----------------------------------------------------------------------------------------------

    [Fact]
    public void ResponseWithoutRequest_IsAnError()
    {
        var client = new Http1ClientRecorder();
        Assert.Equal(Failure.UpstreamProtocolError, client.Feed("HTTP/1.1 408 Timeout\r\n\r\n"));
        Assert.True(client.Codec.IsFinished);
    }

    [Fact]
    public void BytesBehindAResponse_AreNotTheNextResponse()
    {
        var client = new Http1ClientRecorder();
        bool opened = false;
        client.OnClosed = _ => opened |= client.Codec.CanOpenStream;
        client.Send("GET", "/");
        Assert.Equal(Failure.UpstreamProtocolError, client.Feed("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"));
        Assert.False(opened);
        Assert.True(client.Responses[0].Ended);
        Assert.True(client.Codec.IsFinished);
    }

    [Fact]
    public void NextStream_MayOpenAsTheLastCloses()
    {
        var client = new Http1ClientRecorder();
        client.OnClosed = _ =>
        {
            if (client.Responses.Count < 3)
                client.Send("GET", "/" + client.Responses.Count);
        };
        client.Send("GET", "/0");
        for (int i = 0; i < 3; i++)
            client.Feed("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + i);
        Assert.Equal("012", client.Responses[0].Body.ToString() + client.Responses[1].Body + client.Responses[2].Body);
        Assert.True(client.Codec.CanOpenStream);
    }

    [Fact]
    public void ClosedAsItIsReused_IsToldApart()
    {
        var client = new Http1ClientRecorder();
        client.Send("GET", "/");
        client.Feed("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        client.Send("GET", "/");
        Assert.Equal(Failure.UpstreamConnectionTerminationOnReuse, client.Codec.OnEndOfInput());
        Assert.Equal(Failure.UpstreamConnectionTerminationOnReuse, client.Responses[1].ResetReason);
    }

    [Fact]
    public void ResponseBeforeRequestIsComplete_ConnectionIsNotReused()
    {
        var client = new Http1ClientRecorder();
        var response = client.Send("POST", "/", false, ("content-length", "4"));
        client.Feed("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
        Assert.True(response.Ended);
        Assert.Equal(0, client.Closed);
        Assert.False(client.Codec.CanOpenStream);
        response.Stream.SendBody("1234"u8, true);
        Assert.Equal(1, client.Closed);
        Assert.True(client.Codec.IsFinished);
    }

    [Fact]
    public void Reset_EndsConnection_SinkHearsNothing()
    {
        var client = new Http1ClientRecorder();
        var response = client.Send("GET", "/");
        response.Stream.Reset(Failure.ResponseTimeout);
        Assert.Equal(Failure.None, response.ResetReason);
        Assert.True(client.Codec.IsFinished);
        Assert.Equal(1, client.Closed);
    }

    [Fact]
    public void Drain_EndsAfterTheExchange()
    {
        var client = new Http1ClientRecorder();
        client.Send("GET", "/");
        client.Codec.StartDrain();
        Assert.False(client.Codec.IsFinished);
        client.Feed("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        Assert.True(client.Codec.IsFinished);
    }

    [Fact]
    public void Connect_TunnelBothWays()
    {
        string transcript = Run("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nraw bytes", "CONNECT", eof: true);
        Assert.Contains("200 Http11 framing=Tunnel:0 body=\"raw bytes\"  ended=True", transcript, StringComparison.Ordinal);
        Assert.Contains("finished=False open=False", transcript, StringComparison.Ordinal);
    }
}
