using System;
using System.Linq;
using Sidecar.Http.H2;
using Sidecar.Tests.Harness;
using Sidecar.Upstream;
using Xunit;

namespace Sidecar.Tests.Filters.Http.Router;

/// <summary>What the router makes of upstreams that fail, are slow, or are not there: codes, flags, details and bodies are Envoy's.</summary>
public class RouterFilterTests
{
    private const string Get = "GET / HTTP/1.1\r\nhost: example.org\r\n\r\n";
    private const string Ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    private const string Unavailable = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy";
    private const string ResetPrefix = "upstream connect error or disconnect/reset before headers. reset reason: ";

    // ---- nobody to ask -------------------------------------------------------------------------------------------

    [Fact]
    public void NoRoute_Is404()
    {
        using var plane = new DataPlaneHarness();
        plane.Apply(new TestSnapshot().Http("http", 0, TestSnapshot.Answer("x", "/only")));
        var ends = new StreamEnds();
        var client = plane.ConnectTo(plane.Manager(ends.Filter));
        string response = plane.Exchange(client, Get, "\r\n\r\n");
        Assert.StartsWith("HTTP/1.1 404 Not Found\r\n", response);
        Assert.Contains("content-length: 0\r\n", response);
        Assert.Equal(new EndedStream(404, "NR", "route_not_found", 0), ends.Single);
        Assert.Equal(1, plane.Stat("http.http.no_route"));
    }

    [Fact]
    public void RouteTableMissing_Is404()
    {
        using var plane = new DataPlaneHarness();
        plane.Apply(new TestSnapshot().HttpByName("http", 0, "not-there"));
        Assert.StartsWith("HTTP/1.1 404 Not Found\r\n", plane.Exchange(plane.Connect(), Get, "\r\n\r\n"));
    }

    [Fact]
    public void ClusterGone_Is503NC()
    {
        using var plane = DataPlaneHarness.Http(out _);
        var ends = new StreamEnds();
        var client = plane.ConnectTo(plane.Manager(ends.Filter));
        plane.Clusters.Remove("up");
        Assert.StartsWith("HTTP/1.1 503 Service Unavailable\r\n", plane.Exchange(client, Get, "\r\n\r\n"));
        Assert.Equal(new EndedStream(503, "NC", "cluster_not_found", 0), ends.Single);
        Assert.Equal(1, plane.Stat("http.http.no_cluster"));
    }

    [Fact]
    public void NoHost_Is503UH()
    {
        using var plane = new DataPlaneHarness();
        plane.Apply(new TestSnapshot().Cluster("up", false).Http("http", 0, TestSnapshot.To("up")));
        var ends = new StreamEnds();
        var client = plane.ConnectTo(plane.Manager(ends.Filter));
        string response = plane.Exchange(client, Get, "no healthy upstream");
        Assert.StartsWith("HTTP/1.1 503 Service Unavailable\r\n", response);
        Assert.Contains("content-type: text/plain\r\n", response);
        Assert.Equal(new EndedStream(503, "UH", "no_healthy_upstream", 0), ends.Single);
        Assert.Equal(1, plane.Stat("cluster.up.upstream_cx_none_healthy"));
    }

    [Fact]
    public void DirectResponse_HasTheRoutesStatusAndBody()
    {
        using var plane = new DataPlaneHarness();
        plane.Apply(new TestSnapshot().Http("http", 0, TestSnapshot.Answer("teapot", status: 418)));
        var ends = new StreamEnds();
        var client = plane.ConnectTo(plane.Manager(ends.Filter));
        Assert.StartsWith("HTTP/1.1 418 ", plane.Exchange(client, Get, "teapot"));
        Assert.Equal(new EndedStream(418, "-", "direct_response", 0), ends.Single);
    }

    [Fact]
    public void Redirect_NamesTheNewPlace()
    {
        using var plane = new DataPlaneHarness();
        plane.Apply(new TestSnapshot().Http("http", 0, """{"match": {"prefix": "/"}, "redirect": {"host_redirect": "other.org", "path_redirect": "/new"}}"""));
        string response = plane.Exchange(plane.Connect(), Get, "\r\n\r\n");
        Assert.StartsWith("HTTP/1.1 301 Moved Permanently\r\n", response);
        Assert.Contains("location: http://other.org/new\r\n", response);
    }

    // ---- it fails --------------------------------------------------------------------------------------------------

    [Fact]
    public void ConnectRefused_Is503UF()
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        upstream.Close();
        var ends = new StreamEnds();
        var client = plane.ConnectTo(plane.Manager(ends.Filter));
        string response = plane.Exchange(client, Get, ResetPrefix);
        Assert.StartsWith("HTTP/1.1 503 Service Unavailable\r\n", response);
        Assert.EndsWith(ResetPrefix + "remote connection failure, transport failure reason: delayed connect error: Connection refused", response);
        Assert.Equal(new EndedStream(503, "UF", "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}", 1), ends.Single);
        Assert.Equal(1, plane.Stat("cluster.up.upstream_cx_connect_fail"));
        client.Dispose();
        plane.ExpectNothingActive();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void ClosedBeforeResponse_Is503UC(bool afterHalfAHead)
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        var ends = new StreamEnds();
        var client = plane.ConnectTo(plane.Manager(ends.Filter));
        client.Send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx");
        var server = upstream.Accept();
        plane.Expect(server, "\r\n\r\nx");
        if (afterHalfAHead)
            server.Send("HTTP/1.1 200 OK\r\ncont");
        server.Dispose();
        Assert.StartsWith("HTTP/1.1 503 Service Unavailable\r\n", plane.Expect(client, ResetPrefix + "connection termination"));
        Assert.Equal(new EndedStream(503, "UC", "upstream_reset_before_response_started{connection_termination}", 1), ends.Single);
        client.Dispose();
        plane.ExpectNothingActive();
    }

    [Fact]
    public void ClosedDuringResponse_Http1_ClosesTheClientsConnection()
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        var ends = new StreamEnds();
        var client = plane.ConnectTo(plane.Manager(ends.Filter));
        client.Send(Get);
        var server = upstream.Accept();
        plane.Expect(server, "\r\n\r\n");
        server.Send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n012");
        plane.Expect(client, "012");
        server.Dispose();
        Assert.EndsWith("012", plane.ExpectEnd(client));
        Assert.Equal(new EndedStream(200, "UC", "upstream_reset_after_response_started{connection_termination}", 1), ends.Single);
        client.Dispose();
        plane.ExpectNothingActive();
    }

    [Fact]
    public void ResetDuringResponse_Http2_ResetsTheClientsStream()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, http2Upstream: true);
        var ends = new StreamEnds();
        var client = new H2Wire(plane, plane.ConnectTo(plane.Manager(ends.Filter)), isServer: false);
        client.Send(H2.Headers(1, H2.Get()));
        var server = new H2Wire(plane, upstream.Accept(), isServer: true);
        server.ExpectEnd(1);
        server.Send(H2.Headers(1, H2.Block((":status", "200")), end: false), H2.Reset(1, Http2Error.InternalError));
        client.Expect(FrameType.RstStream, 1);
        plane.ExpectStat("cluster.up.upstream_rq_active", 0);
        plane.ExpectStat("http.http.downstream_rq_active", 0);
        Assert.Equal(1, plane.Stat("http.http.downstream_cx_active"));
        Assert.Equal(new EndedStream(200, "UR", "upstream_reset_after_response_started{remote_reset}", 1), ends.Single);
    }

    [Fact]
    public void TryTimedOut_Http2_CountsAsResetByUs()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, http2Upstream: true, route: """ "timeout": "3s" """);
        var client = plane.Connect();
        client.Send(Get);
        var server = new H2Wire(plane, upstream.Accept(), isServer: true);
        server.ExpectEnd(1);
        plane.Loop.Advance(3_000);
        plane.Expect(client, "upstream request timeout");
        Assert.Equal(Http2Error.Cancel, server.Expect(FrameType.RstStream, 1).ResetCode);
        Assert.Equal((0, 1), (plane.Stat("cluster.up.upstream_rq_rx_reset"), plane.Stat("cluster.up.upstream_rq_tx_reset")));
    }

    [Fact]
    public void RetriesUsedUp_ReplyTellsTheLastReason()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, route: """ "retry_policy": {"retry_on": "connect-failure", "num_retries": 1} """);
        upstream.Close();
        var ends = new StreamEnds();
        var client = plane.ConnectTo(plane.Manager(ends.Filter));
        client.Send(Get);
        plane.ExpectStat("cluster.up.upstream_rq_retry", 1);
        plane.Loop.Advance(25);
        plane.Expect(client, "before headers. retried and the latest reset reason: remote connection failure, transport failure reason: delayed connect error: Connection refused");
        Assert.Equal(new EndedStream(503, "UF,URX", "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}", 2), ends.Single);
    }

    [Fact]
    public void ResetBeforeResponse_Http2_Is503UR()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, http2Upstream: true);
        var ends = new StreamEnds();
        var client = plane.ConnectTo(plane.Manager(ends.Filter));
        client.Send(Get);
        var server = new H2Wire(plane, upstream.Accept(), isServer: true);
        server.ExpectEnd(1);
        server.Send(H2.Reset(1, Http2Error.InternalError));
        plane.Expect(client, ResetPrefix + "remote reset");
        Assert.Equal(new EndedStream(503, "UR", "upstream_reset_before_response_started{remote_reset}", 1), ends.Single);
        Assert.Equal((1, 0), (plane.Stat("cluster.up.upstream_rq_rx_reset"), plane.Stat("cluster.up.upstream_rq_tx_reset")));
    }

    [Fact]
    public void GarbageResponse_Is502UPE()
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        var ends = new StreamEnds();
        var client = plane.ConnectTo(plane.Manager(ends.Filter));
        client.Send(Get);
        var server = upstream.Accept();
        plane.Expect(server, "\r\n\r\n");
        server.Send("SMTP ready\r\n\r\n");
        Assert.StartsWith("HTTP/1.1 502 Bad Gateway\r\n", plane.Expect(client, "protocol error"));
        Assert.Equal("UPE", ends.Single.Flags);
        Assert.Equal(1, plane.Stat("cluster.up.upstream_cx_protocol_error"));
        client.Dispose();
        plane.ExpectNothingActive();
    }

    [Fact]
    public void PooledConnectionClosedAsItIsReused_RequestIsSentAgain()
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        var client = plane.Connect();
        client.Send(Get);
        var first = upstream.Accept();
        plane.Expect(first, "\r\n\r\n");
        first.Send(Ok);
        plane.Expect(client, "ok");
        client.Send("GET /again HTTP/1.1\r\nhost: a\r\n\r\n");
        plane.Expect(first, "GET /again");
        first.Dispose();
        var second = upstream.Accept();
        plane.Expect(second, "GET /again");
        second.Send("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecond");
        plane.Expect(client, "second");
        plane.ExpectStat("cluster.up.upstream_rq_active", 0);
    }

    [Fact]
    public void PooledConnectionClosedAsItIsReused_PostIsNotSentAgain()
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        var client = plane.Connect();
        client.Send(Get);
        var first = upstream.Accept();
        plane.Expect(first, "\r\n\r\n");
        first.Send(Ok);
        plane.Expect(client, "ok");
        client.Send("POST /again HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx");
        plane.Expect(first, "\r\n\r\nx");
        first.Dispose();
        plane.Expect(client, ResetPrefix + "connection termination");
    }

    [Fact]
    public void UploadThatTheWindowHoldsBack_Http2_WaitsThoughTheServerHasNotSpokenYet()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, http2Upstream: true);
        plane.Loop.Advance(1_000_000);
        var client = new H2Wire(plane, plane.Connect(), isServer: false);
        client.Send(H2.Headers(1, H2.Post(), end: false));
        for (int i = 0; i < 6; i++)
            client.Send(H2.Data(1, new byte[16_384], end: i == 5));
        var peer = upstream.Accept();
        plane.ExpectStat("http.http.downstream_rq_active", 1);
        plane.Loop.Settle();
        plane.Loop.Advance(1_000);
        plane.Loop.Settle();
        var server = new H2Wire(plane, peer, isServer: true);
        server.Expect(FrameType.Data, 1);
        plane.Loop.Advance(1_000);
        plane.Loop.Advance(1_000);
        Assert.DoesNotContain(server.Frames, f => f.Type == FrameType.RstStream);
        server.Send(H2.WindowUpdate(1, 1 << 20));
        server.ExpectEnd(1);
        server.Send(H2.Headers(1, H2.Block((":status", "200"))));
        client.ExpectEnd(1);
        Assert.Equal("200", client.Header(1, ":status"));
    }

    [Theory]
    [InlineData("HTTP/1.1 204 No Content\r\n\r\n")]
    [InlineData(Ok)]
    [InlineData("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n")]
    public void ResponseTime_IsRecordedOnce_FromTheRequestsEnd(string response)
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        var client = plane.Connect();
        client.Send("POST / HTTP/1.1\r\nhost: example.org\r\ncontent-length: 6\r\n\r\n");
        var server = upstream.Accept();
        plane.Expect(server, "\r\n\r\n");
        plane.Loop.Advance(1_000);
        client.Send("<body>");
        plane.Expect(server, "<body>");
        plane.Loop.Advance(250);
        server.Send(response);
        plane.ExpectStat("http.http.downstream_rq_completed", 1);
        var stats = plane.Clusters.Find("up")!.Stats;
        Assert.Equal((1L, 250L), (stats.Histogram(ClusterStats.UpstreamRqTime)!.Total, stats.Histogram(ClusterStats.UpstreamRqTime)!.Sum));
        Assert.Equal((1L, 250L), (stats.Histogram(ClusterStats.ExternalUpstreamRqTime)!.Total, stats.Histogram(ClusterStats.ExternalUpstreamRqTime)!.Sum));
        Assert.Null(stats.Histogram(ClusterStats.InternalUpstreamRqTime));
    }

    // ---- it is slow ------------------------------------------------------------------------------------------------

    [Fact]
    public void ResponseTimeout_Is504UT()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, route: """ "timeout": "3s" """);
        var ends = new StreamEnds();
        var client = plane.ConnectTo(plane.Manager(ends.Filter));
        client.Send(Get);
        plane.Expect(upstream.Accept(), "\r\n\r\n");
        plane.Loop.Advance(2_999);
        plane.Loop.Settle();
        Assert.Equal("", client.Read());
        plane.Loop.Advance(1);
        Assert.StartsWith("HTTP/1.1 504 Gateway Timeout\r\n", plane.Expect(client, "upstream request timeout"));
        Assert.Equal(new EndedStream(504, "UT", "response_timeout", 1), ends.Single);
        Assert.Equal(1, plane.Stat("cluster.up.upstream_rq_timeout"));
        plane.ExpectStat("cluster.up.upstream_rq_active", 0);
    }

    [Fact]
    public void ResponseTimeout_RunsFromTheRequestsEnd()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, route: """ "timeout": "3s" """);
        var client = plane.Connect();
        client.Send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nx");
        var server = upstream.Accept();
        plane.Expect(server, "\r\n\r\nx");
        plane.Loop.Advance(60_000);
        client.Send("y");
        plane.Expect(server, "xy");
        plane.Loop.Advance(2_999);
        server.Send(Ok);
        plane.Expect(client, "ok");
    }

    [Fact]
    public void ResponseTimeout_ByTheCallersField_OnlyWhenInternal()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, route: """ "timeout": "3s" """);
        var client = plane.Connect();
        client.Send("GET / HTTP/1.1\r\nhost: a\r\nx-envoy-upstream-rq-timeout-ms: 100\r\n\r\n");
        Assert.Contains("x-envoy-expected-rq-timeout-ms: 3000\r\n", plane.Expect(upstream.Accept(), "\r\n\r\n"));
    }

    // ---- it is tried again ---------------------------------------------------------------------------------------

    private const string Retries = """ "retry_policy": {"retry_on": "5xx,connect-failure,reset", "num_retries": 2}, "timeout": "0s" """;

    [Fact]
    public void Retry_On503_WithTheBodyKept()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, route: Retries);
        var ends = new StreamEnds();
        var client = plane.ConnectTo(plane.Manager(ends.Filter));
        client.Send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhel");
        var server = upstream.Accept();
        plane.Expect(server, "hel");
        client.Send("lo");
        plane.Expect(server, "hello");
        server.Send(Unavailable);
        plane.ExpectStat("cluster.up.upstream_rq_retry", 1);
        plane.Loop.Advance(250);
        TestPeer? again = null;
        plane.Loop.Until(() => upstream.TryAccept(out again) || server.Read().Split("POST /").Length == 3);
        again ??= server;
        plane.Loop.Until(() => again.Read().EndsWith("\r\n\r\nhello", StringComparison.Ordinal));
        again.Send(Ok);
        string response = plane.Expect(client, "\r\n\r\nok");
        Assert.StartsWith("HTTP/1.1 200 OK\r\n", response);
        Assert.Equal(new EndedStream(200, "-", "via_upstream", 2), ends.Single);
        Assert.Equal(1, plane.Stat("cluster.up.upstream_rq_retry_success"));
        plane.ExpectStat("cluster.up.upstream_rq_active", 0);
    }

    [Fact]
    public void Retry_Exhausted_PassesTheLastResponseOn()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, route: Retries);
        var ends = new StreamEnds();
        var client = plane.ConnectTo(plane.Manager(ends.Filter));
        client.Send(Get);
        for (int i = 1; i <= 3; i++)
        {
            int tries = i;
            plane.Loop.Until(() => { while (upstream.TryAccept(out _)) { } return upstream.Peers.Sum(p => p.Read().Split("GET / ").Length - 1) == tries; });
            upstream.Peers.Last(p => p.Text.Split("GET / ").Length > p.Text.Split("\r\n\r\n").Length - 1 || !p.End).Send(Unavailable);
            plane.Loop.Settle();
            plane.Loop.Advance(1_000);
        }
        Assert.StartsWith("HTTP/1.1 503 Service Unavailable\r\n", plane.Expect(client, "busy"));
        Assert.Equal("URX", ends.Single.Flags);
        Assert.Equal(3, ends.Single.Attempts);
        Assert.Equal(1, plane.Stat("cluster.up.upstream_rq_retry_limit_exceeded"));
    }

    [Fact]
    public void Retry_OnConnectFailure_GoesToAnotherHost()
    {
        using var plane = new DataPlaneHarness();
        var dead = plane.Upstream();
        var live = plane.Upstream();
        dead.Close();
        plane.Apply(new TestSnapshot().Cluster("up", false, dead.Port, live.Port).Http("http", 0, TestSnapshot.To("up", Retries)));
        // Round robin: of two requests one meets the dead host first.
        for (int i = 0; i < 2; i++)
        {
            var client = plane.Connect();
            client.Send(Get);
            plane.Loop.Until(() => { plane.Loop.Advance(50); while (live.TryAccept(out _)) { } return live.Peers.Sum(p => p.Read().Split("GET / ").Length - 1) == i + 1; });
            live.Peers[^1].Send(Ok);
            plane.Expect(client, "\r\n\r\nok");
        }
        Assert.Equal(1, plane.Stat("cluster.up.upstream_cx_connect_fail"));
        Assert.Equal(1, plane.Stat("cluster.up.upstream_rq_retry"));
    }

    [Fact]
    public void Retry_OnReset_BeforeResponse()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, route: Retries);
        var client = plane.Connect();
        client.Send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nab");
        var first = upstream.Accept();
        plane.Expect(first, "\r\n\r\nab");
        first.Reset();
        plane.ExpectStat("cluster.up.upstream_rq_retry", 1);
        plane.Loop.Advance(250);
        var second = upstream.Accept();
        plane.Expect(second, "\r\n\r\nab");
        second.Send(Ok);
        plane.Expect(client, "\r\n\r\nok");
    }

    [Fact]
    public void Retry_BodyBeyondTheBufferLimit_IsNotTriedAgain()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, route: Retries);
        var client = plane.Connect();
        const int Length = 1_500_000;
        client.Send($"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {Length}\r\n\r\n");
        var server = upstream.Accept();
        byte[] piece = new byte[64 * 1024];
        int sent = 0;
        plane.Loop.Until(() =>
        {
            if (sent < Length)
                sent += client.TrySend(piece.AsSpan(0, Math.Min(piece.Length, Length - sent)));
            server.Receive();
            return server.Received.Count > Length;
        });
        server.Send(Unavailable);
        plane.Expect(client, "busy");
        Assert.Equal(0, plane.Stat("cluster.up.upstream_rq_retry"));
        Assert.Equal(1, plane.Stat("cluster.up.retry_or_shadow_abandoned"));
    }

    [Fact]
    public void PerTryTimeout_TriesAgain()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, route: """ "retry_policy": {"retry_on": "5xx", "num_retries": 1, "per_try_timeout": "2s"}, "timeout": "0s" """);
        var ends = new StreamEnds();
        var client = plane.ConnectTo(plane.Manager(ends.Filter));
        client.Send(Get);
        var first = upstream.Accept();
        plane.Expect(first, "\r\n\r\n");
        plane.Loop.Advance(2_000);
        plane.ExpectEnd(first);
        plane.Loop.Advance(250);
        var second = upstream.Accept();
        plane.Expect(second, "\r\n\r\n");
        plane.Loop.Advance(2_000);
        Assert.StartsWith("HTTP/1.1 504 Gateway Timeout\r\n", plane.Expect(client, "upstream request timeout"));
        Assert.Equal(new EndedStream(504, "UT,URX", "upstream_per_try_timeout", 2), ends.Single);
        Assert.Equal(2, plane.Stat("cluster.up.upstream_rq_per_try_timeout"));
        plane.ExpectStat("cluster.up.upstream_rq_active", 0);
    }

    [Fact]
    public void CircuitBreaker_PendingFull_Is503UO()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, cluster: """ "circuit_breakers": {"thresholds": [{"max_connections": 1, "max_pending_requests": 1}]} """);
        var ends = new StreamEnds();
        var manager = plane.Manager(ends.Filter);
        TestPeer[] clients = [plane.ConnectTo(manager), plane.ConnectTo(manager), plane.ConnectTo(manager)];
        clients[0].Send(Get);
        plane.Expect(upstream.Accept(), "\r\n\r\n");
        clients[1].Send(Get);
        plane.ExpectStat("cluster.up.upstream_rq_pending_active", 1);
        clients[2].Send(Get);
        string response = plane.Expect(clients[2], ResetPrefix + "overflow");
        Assert.StartsWith("HTTP/1.1 503 Service Unavailable\r\n", response);
        Assert.Contains("x-envoy-overloaded: true\r\n", response);
        Assert.Equal("UO", ends.Single.Flags);
    }
}
