using System;
using Sidecar.Http.H2;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Downstream;

/// <summary>Requests through the whole data plane in all four combinations of protocols: what arrives upstream, what comes back.</summary>
public class ExchangeTests
{
    private const string Get = "GET /a?b=c HTTP/1.1\r\nhost: example.org\r\n\r\n";

    // ---- HTTP/1 to HTTP/1 ---------------------------------------------------------------------------------------

    [Fact]
    public void H1ToH1_Get_ForwardedAndAnswered()
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        var client = plane.Connect();
        client.Send(Get);
        var server = upstream.Accept();
        string request = plane.Expect(server, "\r\n\r\n");
        Assert.StartsWith("GET /a?b=c HTTP/1.1\r\n", request);
        Assert.Contains("host: example.org\r\n", request);
        Assert.Contains("x-forwarded-proto: http\r\n", request);
        Assert.Contains("x-request-id: ", request);
        server.Send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\nserver: app\r\nx-app: 1\r\n\r\nhello");
        string response = plane.Expect(client, "hello");
        Assert.StartsWith("HTTP/1.1 200 OK\r\n", response);
        Assert.Contains("content-length: 5\r\n", response);
        Assert.Contains("server: envoy\r\n", response);
        Assert.Contains("x-app: 1\r\n", response);
        Assert.Contains("x-envoy-upstream-service-time: 0\r\n", response);
        Assert.Contains("date: ", response);
        plane.ExpectStat("http.http.downstream_rq_2xx", 1);
        plane.ExpectStat("cluster.up.upstream_rq_200", 1);
    }

    [Fact]
    public void H1ToH1_SecondRequest_UsesBothConnectionsAgain()
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        var client = plane.Connect();
        client.Send(Get);
        var server = upstream.Accept();
        for (int i = 1; i <= 3; i++)
        {
            plane.Loop.Until(() => plane.Stat("cluster.up.upstream_rq_total") == i && server.Receive() >= 0 && server.Text.Split("GET ").Length == i + 1);
            server.Send($"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n#{i}");
            plane.Expect(client, $"#{i}");
            if (i < 3)
                client.Send(Get);
        }
        Assert.Equal(1, plane.Stat("cluster.up.upstream_cx_total"));
        Assert.Equal(1, plane.Stat("http.http.downstream_cx_total"));
        Assert.Equal(3, plane.Stat("http.http.downstream_rq_completed"));
    }

    [Fact]
    public void H1ToH1_Pipelined_AnsweredInOrderOneAtATime()
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        var client = plane.Connect();
        client.Send("GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\n");
        var server = upstream.Accept();
        plane.Expect(server, "GET /1");
        plane.Loop.Settle();
        Assert.DoesNotContain("GET /2", server.Read());
        server.Send("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\none");
        plane.Expect(server, "GET /2");
        server.Send("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\ntwo");
        string all = plane.Expect(client, "two");
        Assert.True(all.IndexOf("one", StringComparison.Ordinal) < all.IndexOf("two", StringComparison.Ordinal));
    }

    [Fact]
    public void H1ToH1_BodyWithLength_KeepsItsLength()
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        var client = plane.Connect();
        client.Send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n01234");
        var server = upstream.Accept();
        Assert.Contains("content-length: 10\r\n", plane.Expect(server, "\r\n\r\n01234"));
        client.Send("56789");
        plane.Expect(server, "0123456789");
    }

    [Fact]
    public void H1ToH1_ChunkedBothWays()
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        var client = plane.Connect();
        client.Send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n");
        var server = upstream.Accept();
        Assert.Contains("transfer-encoding: chunked\r\n", plane.Expect(server, "3\r\nabc\r\n"));
        client.Send("2\r\nde\r\n0\r\n\r\n");
        plane.Expect(server, "2\r\nde\r\n0\r\n\r\n");
        server.Send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nwxyz\r\n");
        plane.Expect(client, "4\r\nwxyz\r\n");
        server.Send("0\r\n\r\n");
        plane.Expect(client, "4\r\nwxyz\r\n0\r\n\r\n");
    }

    [Fact]
    public void H1ToH1_LargeBodies_ArriveWhole()
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        var client = plane.Connect();
        string body = new('q', 300_000);
        client.Send($"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {body.Length}\r\n\r\n");
        var server = upstream.Accept();
        plane.Expect(server, "\r\n\r\n");
        Pump(plane, client, server, body);
        server.Send($"HTTP/1.1 200 OK\r\ncontent-length: {body.Length}\r\n\r\n");
        plane.Expect(client, "\r\n\r\n");
        Pump(plane, server, client, body);
        Assert.EndsWith(body, client.Text);
    }

    [Fact]
    public void H1ToH1_Head_ResponseHasLengthAndNoBody()
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        var client = plane.Connect();
        client.Send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n");
        var server = upstream.Accept();
        plane.Expect(server, "HEAD / HTTP/1.1");
        server.Send("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n");
        string response = plane.Expect(client, "\r\n\r\n");
        Assert.Contains("content-length: 1000\r\n", response);
        client.Send("GET /next HTTP/1.1\r\nhost: a\r\n\r\n");
        plane.Expect(server, "GET /next");
    }

    [Fact]
    public void H1ToH1_ResponseUntilClose_BecomesChunked()
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        var client = plane.Connect();
        client.Send(Get);
        var server = upstream.Accept();
        plane.Expect(server, "\r\n\r\n");
        server.Send("HTTP/1.1 200 OK\r\n\r\nall of it");
        plane.Expect(client, "9\r\nall of it\r\n");
        server.Dispose();
        string response = plane.Expect(client, "\r\n0\r\n\r\n");
        Assert.Contains("transfer-encoding: chunked\r\n", response);
        plane.ExpectStat("cluster.up.upstream_rq_active", 0);
    }

    [Fact]
    public void H1ToH1_Expect100Continue_AnsweredByTheProxyWhenBodyIsWanted()
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        var client = plane.Connect();
        client.Send("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n");
        string interim = plane.Expect(client, "\r\n\r\n");
        Assert.Equal("HTTP/1.1 100 Continue\r\n\r\n", interim);
        var server = upstream.Accept();
        Assert.DoesNotContain("expect:", plane.Expect(server, "\r\n\r\n"));
        client.Send("abc");
        plane.Expect(server, "abc");
        server.Send("HTTP/1.1 204 No Content\r\n\r\n");
        plane.Expect(client, "HTTP/1.1 204 No Content");
    }

    [Fact]
    public void H1ToH1_InformationalFromUpstream_PassesBeforeTheResponse()
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        var client = plane.Connect();
        client.Send(Get);
        var server = upstream.Accept();
        plane.Expect(server, "\r\n\r\n");
        server.Send("HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        string response = plane.Expect(client, "\r\n\r\nok");
        Assert.StartsWith("HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\n", response);
    }

    [Fact]
    public void H1ToH1_ConnectionClose_EndsTheDownstreamConnectionAfterTheResponse()
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        var client = plane.Connect();
        client.Send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        var server = upstream.Accept();
        Assert.DoesNotContain("connection: close", plane.Expect(server, "\r\n\r\n"));
        server.Send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        string response = plane.ExpectEnd(client);
        Assert.Contains("connection: close\r\n", response);
        Assert.EndsWith("ok", response);
    }

    [Fact]
    public void H1ToH1_HopByHopFields_AreNotForwarded()
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        var client = plane.Connect();
        client.Send("GET / HTTP/1.1\r\nhost: a\r\nconnection: x-private\r\nx-private: 1\r\nkeep-alive: 5\r\nproxy-connection: keep-alive\r\nte: trailers\r\n\r\n");
        var server = upstream.Accept();
        string request = plane.Expect(server, "\r\n\r\n");
        Assert.DoesNotContain("keep-alive", request);
        Assert.DoesNotContain("proxy-connection", request);
        Assert.DoesNotContain("x-private", request);
    }

    // ---- the other combinations -----------------------------------------------------------------------------------

    [Fact]
    public void H1ToH2_PostAndAnswer()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, http2Upstream: true);
        var client = plane.Connect();
        client.Send("POST /a HTTP/1.1\r\nhost: example.org\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
        var server = new H2Wire(plane, upstream.Accept(), isServer: true);
        server.ExpectEnd(1);
        Assert.Equal("POST", server.Header(1, ":method"));
        Assert.Equal("/a", server.Header(1, ":path"));
        Assert.Equal("example.org", server.Header(1, ":authority"));
        Assert.Equal("http", server.Header(1, ":scheme"));
        Assert.Equal("", server.Header(1, "transfer-encoding"));
        Assert.Equal("abc", server.Body(1));
        server.Send(H2.Headers(1, H2.Block((":status", "201"), ("x-app", "1")), end: false), H2.Data(1, "done", end: true));
        string response = plane.Expect(client, "0\r\n\r\n");
        Assert.StartsWith("HTTP/1.1 201 Created\r\n", response);
        Assert.Contains("x-app: 1\r\n", response);
        Assert.Contains("4\r\ndone\r\n", response);
    }

    [Fact]
    public void H2ToH1_ConcurrentStreams_EachOnItsOwnUpstreamConnection()
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        var client = new H2Wire(plane, plane.Connect(), isServer: false);
        client.Send(H2.Headers(1, H2.Get(("x-n", "1"))), H2.Headers(3, H2.Get(("x-n", "3"))));
        var first = upstream.Accept();
        var second = upstream.Accept();
        plane.Expect(first, "x-n: 1");
        plane.Expect(second, "x-n: 3");
        second.Send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nthree");
        client.ExpectEnd(3);
        Assert.Equal("three", client.Body(3));
        first.Send("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\none");
        client.ExpectEnd(1);
        Assert.Equal("200", client.Header(1, ":status"));
        Assert.Equal("one", client.Body(1));
        Assert.Equal(2, plane.Stat("cluster.up.upstream_cx_total"));
    }

    [Fact]
    public void H2ToH2_GrpcTrailersBothWays()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, http2Upstream: true);
        var client = new H2Wire(plane, plane.Connect(), isServer: false);
        client.Send(H2.Headers(1, H2.Post(("content-type", "application/grpc"), ("te", "trailers")), end: false), H2.Data(1, "ping"),
            H2.Headers(1, H2.Block(("x-checksum", "1"))));
        var server = new H2Wire(plane, upstream.Accept(), isServer: true);
        server.ExpectEnd(1);
        Assert.Equal("trailers", server.Header(1, "te"));
        Assert.Equal("1", server.Header(1, "x-checksum"));
        Assert.Equal("ping", server.Body(1));
        server.Send(H2.Headers(1, H2.Block((":status", "200"), ("content-type", "application/grpc")), end: false), H2.Data(1, "pong"),
            H2.Headers(1, H2.Block(("grpc-status", "0"), ("grpc-message", ""))));
        client.ExpectEnd(1);
        Assert.Equal("0", client.Header(1, "grpc-status"));
        Assert.Equal("pong", client.Body(1));
        plane.ExpectStat("http.http.downstream_rq_active", 0);
    }

    [Fact]
    public void H2ToH2_ManyStreams_ShareOneUpstreamConnection()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, http2Upstream: true);
        var client = new H2Wire(plane, plane.Connect(), isServer: false);
        for (uint id = 1; id < 41; id += 2)
            client.Send(H2.Headers(id, H2.Get(("x-n", id.ToString()))));
        var server = new H2Wire(plane, upstream.Accept(), isServer: true);
        for (uint id = 1; id < 41; id += 2)
            server.ExpectEnd(id);
        for (uint id = 39; id >= 1 && id < 41; id -= 2)
            server.Send(H2.Headers(id, H2.Block((":status", "200"), ("x-n", server.Header(id, "x-n")))));
        for (uint id = 1; id < 41; id += 2)
        {
            client.ExpectEnd(id);
            Assert.Equal(id.ToString(), client.Header(id, "x-n"));
        }
        Assert.Equal(1, plane.Stat("cluster.up.upstream_cx_total"));
    }

    [Fact]
    public void H2ToH1_ResponseTrailers_AreDeliveredWhenTheUpstreamSendsThem()
    {
        using var plane = DataPlaneHarness.Http(out var upstream,
            cluster: """ "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {"@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions", "explicit_http_config": {"http_protocol_options": {"enable_trailers": true}}}} """);
        var client = new H2Wire(plane, plane.Connect(), isServer: false);
        client.Send(H2.Headers(1, H2.Get()));
        var server = upstream.Accept();
        plane.Expect(server, "\r\n\r\n");
        server.Send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n");
        client.ExpectEnd(1);
        Assert.Equal("ok", client.Body(1));
    }

    private static void Pump(DataPlaneHarness plane, TestPeer from, TestPeer to, string body)
    {
        byte[] bytes = H2.Bytes(body);
        int sent = 0;
        int before = to.Received.Count;
        plane.Loop.Until(() =>
        {
            if (sent < bytes.Length)
                sent += from.TrySend(bytes.AsSpan(sent));
            to.Receive();
            return to.Received.Count - before >= bytes.Length;
        });
        Assert.Equal(bytes.Length, sent);
    }
}
