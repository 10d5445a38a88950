using System;
using System.Linq;
using System.Text;
using Sidecar.Http;
using Sidecar.Http.H1;
using Sidecar.Telemetry;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Conformance;

/// <summary>Published attack classes on HTTP/1 parsers and proxies, and the behaviour each must meet. Numbers in brackets are CVE ids.</summary>
public class Http1AttackTests
{
    // ---- smuggling: what two parsers could read differently is refused, and the connection ends ---------------

    [Theory]
    // Content-Length and Transfer-Encoding together; lengths that differ, repeat or are lists; no digits.
    [InlineData("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n", nameof(Failure.Http1ContentLengthWithTransferEncoding), 400)]
    [InlineData("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n", nameof(Failure.Http1ContentLengthWithTransferEncoding), 400)]
    [InlineData("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n", nameof(Failure.Http1ContentLengthInvalid), 400)]
    [InlineData("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\n", nameof(Failure.Http1ContentLengthInvalid), 400)]
    [InlineData("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 4\r\n\r\n", nameof(Failure.Http1ContentLengthInvalid), 400)]
    [InlineData("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\n", nameof(Failure.Http1ContentLengthInvalid), 400)]
    [InlineData("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x4\r\n\r\n", nameof(Failure.Http1ContentLengthInvalid), 400)]
    [InlineData("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", nameof(Failure.Http1ContentLengthInvalid), 400)]
    [InlineData("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", nameof(Failure.Http1ContentLengthInvalid), 400)]
    [InlineData("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\n", nameof(Failure.Http1ContentLengthInvalid), 400)]
    // Transfer codings other than exactly one "chunked"; on CONNECT; from HTTP/1.0.
    [InlineData("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", nameof(Failure.Http1TransferEncodingUnsupported), 501)]
    [InlineData("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", nameof(Failure.Http1TransferEncodingUnsupported), 501)]
    [InlineData("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", nameof(Failure.Http1TransferEncodingUnsupported), 501)]
    [InlineData("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", nameof(Failure.Http1TransferEncodingUnsupported), 501)]
    [InlineData("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", nameof(Failure.Http1TransferEncodingUnsupported), 501)]
    [InlineData("CONNECT a:1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", nameof(Failure.Http1TransferEncodingUnsupported), 501)]
    [InlineData("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", nameof(Failure.Http1TransferEncodingInvalid), 400)]
    // Header syntax: NUL, CR, LF in values (2019-9900), folding, space before the colon, bare LF, names that are no tokens.
    [InlineData("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", nameof(Failure.Http1InvalidCharacters), 400)]
    [InlineData("GET / HTTP/1.1\r\nHost: a\r\nX: a\u007fb\r\n\r\n", nameof(Failure.Http1InvalidCharacters), 400)]
    [InlineData("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", nameof(Failure.Http1CodecError), 400)]
    [InlineData("GET / HTTP/1.1\r\nHost: a\r\nX: a\nY: b\r\n\r\n", nameof(Failure.Http1CodecError), 400)]
    [InlineData("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", nameof(Failure.Http1CodecError), 400)]
    [InlineData("GET / HTTP/1.1\r\n Host: a\r\n\r\n", nameof(Failure.Http1CodecError), 400)]
    [InlineData("GET / HTTP/1.1\r\nHost : a\r\n\r\n", nameof(Failure.Http1CodecError), 400)]
    [InlineData("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\t: chunked\r\n\r\n", nameof(Failure.Http1InvalidCharacters), 400)]
    [InlineData("GET / HTTP/1.1\nHost: a\n\n", nameof(Failure.Http1CodecError), 400)]
    [InlineData("GET / HTTP/1.1\r\nHost: a\r\n\rX\r\n\r\n", nameof(Failure.Http1CodecError), 400)]
    [InlineData("GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", nameof(Failure.Http1CodecError), 400)]
    [InlineData("GET / HTTP/1.1\r\nHost: a\r\nX(y): b\r\n\r\n", nameof(Failure.Http1CodecError), 400)]
    [InlineData("GET / HTTP/1.1\r\nHost: a\r\nnocolon\r\n\r\n", nameof(Failure.Http1CodecError), 400)]
    // The start line.
    [InlineData("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", nameof(Failure.Http1CodecError), 400)]
    [InlineData("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", nameof(Failure.Http1CodecError), 400)]
    [InlineData("GET / x HTTP/1.1\r\nHost: a\r\n\r\n", nameof(Failure.Http1CodecError), 400)]
    [InlineData("GET /\u00e4 HTTP/1.1\r\nHost: a\r\n\r\n", nameof(Failure.Http1InvalidUrl), 400)]
    [InlineData("GET /\u007f HTTP/1.1\r\nHost: a\r\n\r\n", nameof(Failure.Http1InvalidCharacters), 400)]
    [InlineData("GET nowhere HTTP/1.1\r\nHost: a\r\n\r\n", nameof(Failure.Http1InvalidUrl), 400)]
    [InlineData("GET * HTTP/1.1\r\nHost: a\r\n\r\n", nameof(Failure.Http1InvalidUrl), 400)]
    [InlineData("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", nameof(Failure.Http1CodecError), 400)]
    [InlineData("get / HTTP/1.1\r\nHost: a\r\n\r\n", nameof(Failure.Http1CodecError), 400)]
    [InlineData("GET / HTTP/2.0\r\nHost: a\r\n\r\n", nameof(Failure.Http1VersionUnsupported), 505)]
    [InlineData("GET / http/1.1\r\nHost: a\r\n\r\n", nameof(Failure.Http1CodecError), 400)]
    [InlineData("\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", nameof(Failure.Http1CodecError), 400)]
    // Host: missing, empty, twice, not an authority.
    [InlineData("GET / HTTP/1.1\r\n\r\n", nameof(Failure.MissingHost), 400)]
    [InlineData("GET / HTTP/1.1\r\nHost:\r\n\r\n", nameof(Failure.MissingHost), 400)]
    [InlineData("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", nameof(Failure.Http1CodecError), 400)]
    [InlineData("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", nameof(Failure.Http1CodecError), 400)]
    [InlineData("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", nameof(Failure.Http1CodecError), 400)]
    [InlineData("GET http://a@b/ HTTP/1.1\r\nHost: b\r\n\r\n", nameof(Failure.Http1InvalidUrl), 400)]
    // Connection must not take away what routing and identity rest on.
    [InlineData("GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Forwarded-For\r\n\r\n", nameof(Failure.Http1ConnectionHeaderRejected), 400)]
    [InlineData("GET / HTTP/1.1\r\nHost: a\r\nConnection: content-length\r\n\r\n", nameof(Failure.Http1ConnectionHeaderRejected), 400)]
    [InlineData("GET / HTTP/1.1\r\nHost: a\r\nConnection: :method\r\n\r\n", nameof(Failure.Http1ConnectionHeaderRejected), 400)]
    [InlineData("GET / HTTP/1.1\r\nHost: a\r\nConnection: :path, close\r\n\r\n", nameof(Failure.Http1ConnectionHeaderRejected), 400)]
    [InlineData("GET / HTTP/1.1\r\nHost: a\r\nConnection: close, :authority\r\n\r\n", nameof(Failure.Http1ConnectionHeaderRejected), 400)]
    [InlineData("GET / HTTP/1.1\r\nHost: a\r\nConnection: :Scheme\r\n\r\n", nameof(Failure.Http1ConnectionHeaderRejected), 400)]
    [InlineData("GET / HTTP/1.1\r\nHost: a\r\nConnection: :\r\n\r\n", nameof(Failure.Http1ConnectionHeaderRejected), 400)]
    public void AmbiguousRequest_IsRefused_AndConnectionEnds(string request, string failure, int status)
    {
        const string Smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
        string transcript = Splits.Run(Encoding.Latin1.GetBytes(request + Smuggled), pieces =>
        {
            var server = new Http1ServerRecorder(new Http1Options { AcceptHttp10 = true });
            foreach (var piece in pieces)
                server.Feeder.Feed(piece.Span);
            Assert.Empty(server.Requests);
            Assert.True(server.Codec.IsFinished);
            Assert.False(server.Codec.WantsInput);
            return server.Transcript();
        });
        Assert.Contains("error=" + failure + " ", transcript, StringComparison.Ordinal);
        Assert.Contains("out=HTTP/1.1 " + status + " ", transcript, StringComparison.Ordinal);
        Assert.Contains("connection: close\r\n", transcript, StringComparison.Ordinal);
    }

    [Theory]
    // Ten tokens, whatever they say, in one field or several.
    [InlineData("Connection: a,b,c,d,e,f,g,h,i,j\r\n")]
    [InlineData("Connection: a, b, c, d, e\r\nX: y\r\nConnection: f, g, h, i, j\r\n")]
    [InlineData("Connection: close,close,close,close,close,close,close,close,close,close\r\n")]
    [InlineData("Connection: upgrade, a,b,c,d,e,f,g,h,i\r\nUpgrade: websocket\r\n")]
    public void TooManyConnectionTokens_Are400(string fields)
    {
        string transcript = Splits.Run(Encoding.Latin1.GetBytes("GET / HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n"), pieces =>
        {
            var server = new Http1ServerRecorder();
            foreach (var piece in pieces)
                server.Feeder.Feed(piece.Span);
            Assert.Empty(server.Requests);
            return server.Transcript();
        });
        Assert.Contains("error=Http1ConnectionHeaderRejected ", transcript, StringComparison.Ordinal);
        Assert.Contains("out=HTTP/1.1 400 ", transcript, StringComparison.Ordinal);
        Assert.Equal("http1.connection_header_rejected", Failure.Http1ConnectionHeaderRejected.Row().Details);
    }

    [Fact]
    public void ConnectionTokensOfAWholeHead_AreRefusedAtTheTenth()
    {
        var server = new Http1ServerRecorder();
        server.Feed("GET / HTTP/1.1\r\nHost: a\r\nConnection: " + string.Join(',', Enumerable.Repeat("a", 29_000)) + "\r\n\r\n");
        Assert.Empty(server.Requests);
        Assert.Equal(Failure.Http1ConnectionHeaderRejected, server.Feeder.Error);
    }

    [Fact]
    public void NineConnectionTokens_AreTaken_EmptyOnesDoNotCount()
    {
        var server = new Http1ServerRecorder();
        server.Feed("GET / HTTP/1.1\r\nHost: a\r\nConnection: a,b,c,d,e,f,g,h,, ,,\t,i\r\nA: 1\r\nI: 2\r\nJ: 3\r\n\r\n");
        var request = Assert.Single(server.Requests);
        Assert.Equal(Failure.None, server.Feeder.Error);
        Assert.DoesNotContain(" a: 1", request.Head, StringComparison.Ordinal);
        Assert.DoesNotContain(" i: 2", request.Head, StringComparison.Ordinal);
        Assert.Contains(" j: 3", request.Head, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("x\r\n")]
    [InlineData("\r\n")]
    [InlineData("5 \r\nhello\r\n")]
    [InlineData(" 5\r\nhello\r\n")]
    [InlineData("+5\r\nhello\r\n")]
    [InlineData("0x5\r\nhello\r\n")]
    [InlineData("-1\r\nhello\r\n")]
    [InlineData("5\nhello\r\n")]
    [InlineData("5\rhello\r\n")]
    [InlineData("5\r\nhello\n0\r\n\r\n")]
    [InlineData("5\r\nhelloX\r\n0\r\n\r\n")]
    [InlineData("5;\r\nhello\r\n")]
    [InlineData("5;a\u0001\r\nhello\r\n")]
    [InlineData("5;a b\r\nhello\r\n")]
    [InlineData("5;a=\"b\nc\"\r\nhello\r\n")]
    [InlineData("5;a=\"b\"c\r\nhello\r\n")]
    [InlineData("5;a\nb\r\nhello\r\n")]
    [InlineData("fffffffffffffffff\r\nhello\r\n")]
    [InlineData("8000000000000000\r\nhello\r\n")]
    [InlineData("0000000000000005\r\nhello\r\n")]
    [InlineData("0\r\nX: a\0\r\n\r\n")]
    [InlineData("0\r\nX : a\r\n\r\n")]
    [InlineData("0\r\n\nX: a\r\n\r\n")]
    public void BadChunk_Is400_AndConnectionEnds(string chunks)
    {
        string transcript = Splits.Run(Encoding.Latin1.GetBytes("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + "GET / HTTP/1.1\r\nHost: a\r\n\r\n"), pieces =>
        {
            var server = new Http1ServerRecorder();
            foreach (var piece in pieces)
                server.Feeder.Feed(piece.Span);
            var request = Assert.Single(server.Requests);
            Assert.False(request.Ended);
            Assert.Equal(server.Feeder.Error, request.ResetReason);
            Assert.True(server.Codec.IsFinished);
            Assert.Equal(1, server.Closed);
            return server.Transcript();
        });
        Assert.Contains("out=HTTP/1.1 400 ", transcript, StringComparison.Ordinal);
    }

    [Fact]
    public void ChunkExtensions_BeyondTheirLimit_Are400()
    {
        var server = new Http1ServerRecorder();
        server.Feed("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        int chunks = 0;
        while (server.Feed("1;abcdefghijklmnop=qrstuvwxyz\r\nX\r\n") == Failure.None)
            Assert.True(++chunks < 1000);
        Assert.Equal(Failure.Http1ChunkedInvalid, server.Feeder.Error);
    }

    // ---- resources -------------------------------------------------------------------------------------------

    [Fact]
    public void PipelinedRequests_OneAtATime_OthersWaitUnread()      // 2020-8661
    {
        var server = new Http1ServerRecorder { OnReady = null };
        server.Feed(string.Concat(Enumerable.Repeat("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1000)));
        Assert.Single(server.Requests);
        Assert.False(server.Codec.WantsInput);
        Assert.Equal(999 * 27, server.Feeder.PendingBytes);
        Assert.Equal(0, server.Codec.Output.Length);
    }

    [Fact]
    public void PipelinedErrors_OneReply_ThenNothingIsRead()         // 2020-8661
    {
        var server = new Http1ServerRecorder();
        server.Feed(string.Concat(Enumerable.Repeat("BAD\r\n\r\n", 1000)));
        Assert.Equal("HTTP/1.1 400 Bad Request\r\ncontent-length: 11\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\nBad Request", server.TakeOutput());
        Assert.False(server.Codec.WantsInput);
    }

    [Fact]
    public void PipelinedRequests_ClientThatDoesNotRead_IsNotServedOn()
    {
        var server = new Http1ServerRecorder();
        server.Codec.OnOutputBlocked(true);
        server.Feed("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        Assert.Empty(server.Requests);
        server.Codec.OnOutputBlocked(false);
        Assert.Equal(1, server.WantsInputs);
        server.Feeder.Pump();
        Assert.Single(server.Requests);
    }

    [Theory]
    [InlineData(100, Failure.None)]
    [InlineData(101, Failure.Http1TooManyHeaders)]
    internal void HeaderCount_Above100_Is431(int count, Failure expected)
    {
        var server = new Http1ServerRecorder();
        var fields = string.Concat(Enumerable.Range(1, count - 1).Select(i => $"h{i}: x\r\n"));
        Assert.Equal(expected, server.Feed("GET / HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n"));
        Assert.StartsWith(expected == Failure.None ? "HTTP/1.1 200" : "HTTP/1.1 431", server.TakeOutput(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(60 * 1024, Failure.None)]
    [InlineData(60 * 1024 + 1, Failure.Http1HeadersTooLarge)]
    internal void HeadBytes_Above60KiB_Are431_HoweverCut(int bytes, Failure expected)
    {
        const string Start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
        byte[] head = Encoding.Latin1.GetBytes(Start + new string('x', bytes - Start.Length - 4) + "\r\n\r\n");
        foreach (int piece in new[] { head.Length, 1000, 8191 })
        {
            var server = new Http1ServerRecorder();
            for (int at = 0; at < head.Length; at += piece)
                server.Feeder.Feed(head.AsSpan(at, Math.Min(piece, head.Length - at)));
            Assert.Equal(expected, server.Feeder.Error);
        }
    }

    [Fact]
    public void HeadWithoutEnd_IsNotBufferedBeyondTheLimit()
    {
        var server = new Http1ServerRecorder();
        int fed = 0;
        while (server.Feed("X-Filler-" + fed + ": " + new string('x', 1000) + "\r\n") == Failure.None)
            fed += 1000;
        Assert.Equal(Failure.Http1HeadersTooLarge, server.Feeder.Error);
        Assert.InRange(fed, 55_000, 62_000);
    }

    [Fact]
    public void HeadInPieces_NoByteIsLookedAtTwice()                // O(n^2) header costs, 2019-15226
    {
        var parser = default(Http1Parser);
        byte[] head = Encoding.Latin1.GetBytes("GET / HTTP/1.1\r\nHost: a\r\nX: " + new string('x', 5000));
        for (int length = 1; length <= head.Length; length++)
        {
            Assert.Equal(Failure.None, parser.FindEnd(head.AsSpan(0, length), 60 * 1024, out int end));
            Assert.Equal(0, end);
            // Spoilt behind the parser's back: it would say so if it came by again. (The last bytes may begin a line end.)
            if (length > 4)
                head[length - 5] = 0;
        }
    }

    [Fact]
    public void OneByteChunks_AreGathered()                         // 2020-12603
    {
        var server = new Http1ServerRecorder();
        server.Feed("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        var sink = new CountingSink();
        server.Requests[0].Stream.Sink = sink;
        server.Codec.Feed(Encoding.Latin1.GetBytes(string.Concat(Enumerable.Repeat("1\r\nx\r\n", 2000))));
        Assert.Equal(2000, sink.Bytes);
        Assert.InRange(sink.Events, 1, 5);
    }

    private sealed class CountingSink : RequestSink
    {
        internal int Events, Bytes;

        internal override void OnHead(RequestHead head, bool endStream) { }

        internal override void OnBody(ReadOnlySpan<byte> data, bool endStream)
        {
            Events++;
            Bytes += data.Length;
        }

        internal override void OnTrailers(HeaderMap trailers) { }
        internal override void OnReset(Failure reason) { }
        internal override void OnSendBlocked() { }
        internal override void OnSendReady() { }
    }

    // ---- upgrade and CONNECT: early bytes --------------------------------------------------------------------

    private const string Upgrade = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    private const string Connect = "CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n";

    [Theory]
    [InlineData(Upgrade, 200)]
    [InlineData(Upgrade, 403)]
    [InlineData(Connect, 403)]
    [InlineData(Connect, 302)]
    public void TunnelRefused_EarlyBytesAreNeverRead_ConnectionEnds(string head, int status)   // 2024-23326
    {
        var server = new Http1ServerRecorder { OnReady = null };
        server.Feed(head + "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
        var request = Assert.Single(server.Requests);
        Assert.False(server.Codec.WantsInput);
        request.Reply(status, "no", ("content-length", "2"));
        Assert.Equal("", request.Body.ToString());
        Assert.True(server.Codec.IsFinished);
        server.Feeder.Pump();
        Assert.Single(server.Requests);
        Assert.EndsWith("connection: close\r\n\r\nno", server.TakeOutput(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(Upgrade, 101)]
    [InlineData(Connect, 200)]
    public void TunnelAccepted_EarlyBytesAreTheTunnels(string head, int status)                // 2025-64763
    {
        var server = new Http1ServerRecorder { OnReady = null };
        server.Feed(head + "early");
        var request = Assert.Single(server.Requests);
        Assert.Equal("", request.Body.ToString());
        request.Stream.SendHead(Http1ServerRecorder.NewResponse(status), endStream: false);
        Assert.Equal(1, server.WantsInputs);
        server.Feeder.Pump();
        server.Feed(" late");
        Assert.Equal("early late", request.Body.ToString());
    }

    [Theory]
    [InlineData("GET", 200)]
    [InlineData("GET", 404)]
    [InlineData("CONNECT", 407)]
    public void UpstreamRefusesTunnel_EarlyBytesAreNeverSent_ConnectionIsNotPooled(string method, int status)     // 2026-73548
    {
        var client = new Http1ClientRecorder();
        var response = method == "GET"
            ? client.Send("GET", "/", false, ("connection", "upgrade"), ("upgrade", "websocket"))
            : client.Send("CONNECT", "", false);
        client.TakeOutput();
        response.Stream.SendBody("GET /smuggled HTTP/1.1\r\n\r\n"u8, endStream: false);
        Assert.True(response.Blocked);
        Assert.Equal("", client.TakeOutput());
        client.Feed($"HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nno");
        Assert.Equal("", client.TakeOutput());
        Assert.Equal("no", response.Body.ToString());
        Assert.False(client.Codec.CanOpenStream);
        Assert.True(client.Codec.IsFinished);
    }

    [Fact]
    public void UpstreamAcceptsTunnel_EarlyBytesFollowTheHead()
    {
        var client = new Http1ClientRecorder();
        var response = client.Send("GET", "/", false, ("connection", "upgrade"), ("upgrade", "websocket"));
        response.Stream.SendBody("early"u8, endStream: false);
        client.TakeOutput();
        client.Feed("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello");
        Assert.Equal("early", client.TakeOutput());
        Assert.Equal("hello", response.Body.ToString());
        Assert.False(response.Blocked);
        Assert.False(client.Codec.CanOpenStream);
    }

    [Theory]
    [InlineData("Content-Length: 5\r\n", "hello")]
    [InlineData("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n")]
    public void UpgradeWithBody_IsAnOrdinaryRequest(string framing, string body)
    {
        var server = new Http1ServerRecorder();
        server.Feed("POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n" + framing + "\r\n" + body);
        var request = Assert.Single(server.Requests);
        Assert.DoesNotContain("upgrade", request.Head, StringComparison.OrdinalIgnoreCase);
        Assert.Equal("hello", request.Body.ToString());
    }

    [Fact]
    public void H2cUpgrade_IsIgnored()
    {
        var server = new Http1ServerRecorder();
        server.Feed("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n");
        var request = Assert.Single(server.Requests);
        Assert.Equal("Http11 | :method: GET | :path: / | :authority: a framing=None:0", request.Head);
    }

    // ---- hosts and paths -------------------------------------------------------------------------------------

    [Theory]
    [InlineData("example.com", "EXAMPLE.com:8080", true)]           // 2021-39155
    [InlineData("[::1]:80", "[::1]", true)]
    [InlineData("example.com", "example.com.evil", false)]
    public void Hosts_CompareWithoutCaseAndPort(string left, string right, bool same) =>
        Assert.Equal(same, Authority.SameHost(Encoding.Latin1.GetBytes(left), Encoding.Latin1.GetBytes(right)));

    [Theory]
    [InlineData("/a/../admin", "/admin")]                           // 2019-9901
    [InlineData("/a/%2e%2E/admin", "/admin")]
    [InlineData("/a/.%2e/admin", "/admin")]
    [InlineData("/./admin", "/admin")]
    [InlineData("/a\\..\\admin", "/admin")]
    [InlineData("//admin", "/admin")]                               // 2021-31920
    [InlineData("/%61dmin", "/admin")]
    [InlineData("/admin#/public", "/admin")]                        // 2021-32779
    [InlineData("/admin?x#y", "/admin?x")]
    [InlineData("/a%2F..%2Fadmin", "/admin")]                       // 2021-29492, with UNESCAPE_AND_FORWARD
    [InlineData("/a%5C..%5Cadmin", "/admin")]
    [InlineData("/..;x/admin", null)]                               // 2026-73551
    [InlineData("/a/.;/admin", null)]
    [InlineData("/a/%2e%2e;x/admin", null)]
    [InlineData("/a%00/admin", null)]
    public void PathTricks_EndInOneCanonicalPath(string path, string? expected)
    {
        var head = new RequestHead();
        head.Add(HeaderId.Path, Encoding.Latin1.GetBytes(path));
        var result = PathNormalizer.Normalize(head, new PathOptions(true, true, EscapedSlashesAction.UnescapeAndForward));
        if (expected is null)
            Assert.Equal(PathResult.Reject, result);
        else
            Assert.Equal(expected, Encoding.Latin1.GetString(head.Path));
    }

    // ---- writing: what a filter or the other protocol puts into a map cannot split a message ------------------

    [Theory]
    [InlineData("a\r\nset-cookie: b")]
    [InlineData("a\nb")]
    [InlineData("a\0b")]
    public void ValueWithLineEnd_IsNotWritten(string value)
    {
        var server = new Http1ServerRecorder { OnReady = request => request.Reply(200, "", ("x", value), ("y", "ok")) };
        server.Feed("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        Assert.Equal("HTTP/1.1 200 OK\r\ny: ok\r\ncontent-length: 0\r\n\r\n", server.TakeOutput());
    }

    [Fact]
    public void PathWithLineEnd_StaysOneWord()
    {
        var client = new Http1ClientRecorder();
        client.Send("GET", "/a b\r\nX: y");
        Assert.StartsWith("GET /a%20b%0D%0AX:%20y HTTP/1.1\r\nhost: up:80\r\n", client.TakeOutput(), StringComparison.Ordinal);
    }
}
