using System;
using Sidecar.Http.H2;
using Sidecar.Linux;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Downstream;

/// <summary>A downstream connection's life: timers on the manual clock, drain, limits, upgrades, and clients that leave.</summary>
public class HttpConnectionTests
{
    private const string Get = "GET / HTTP/1.1\r\nhost: example.org\r\n\r\n";
    private const string Ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

    // ---- turns ----------------------------------------------------------------------------------------------------

    [Fact]
    public void Pipeline_LongerThanOneTurnsShare_IsAnsweredWhole()
    {
        using var plane = DataPlaneHarness.Http(out _);
        var client = plane.Connect();
        client.Send(string.Concat(System.Linq.Enumerable.Repeat("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", 300)));
        plane.ExpectStat("http.http.downstream_rq_4xx", 300);
    }

    // ---- timers ---------------------------------------------------------------------------------------------------

    [Fact]
    public void IdleTimeout_WithoutRequest_Closes()
    {
        using var plane = DataPlaneHarness.Http(out _, manager: """ "common_http_protocol_options": {"idle_timeout": "10s"} """);
        var client = plane.Connect();
        plane.ExpectStat("http.http.downstream_cx_active", 1);
        plane.Loop.Advance(9_999);
        Assert.Equal(1, plane.Stat("http.http.downstream_cx_active"));
        plane.Loop.Advance(1);
        plane.ExpectEnd(client);
        Assert.Equal("", client.Text);
        Assert.Equal(1, plane.Stat("http.http.downstream_cx_idle_timeout"));
    }

    [Fact]
    public void IdleTimeout_StartsAnewAfterEachResponse_AndNotDuringOne()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, manager: """ "common_http_protocol_options": {"idle_timeout": "10s"} """, route: """ "timeout": "0s" """);
        var client = plane.Connect();
        client.Send(Get);
        var server = upstream.Accept();
        plane.Expect(server, "\r\n\r\n");
        plane.Loop.Advance(60_000);
        server.Send(Ok);
        plane.Expect(client, "ok");
        plane.Loop.Advance(9_999);
        plane.Loop.Settle();
        Assert.Equal(0, plane.Stat("http.http.downstream_cx_idle_timeout"));
        plane.Loop.Advance(1);
        plane.Loop.Advance(0);
        plane.ExpectEnd(client);
        Assert.Equal(1, plane.Stat("http.http.downstream_cx_idle_timeout"));
    }

    [Fact]
    public void IdleTimeout_Http2_SaysGoAwayAndCloses()
    {
        using var plane = DataPlaneHarness.Http(out _, manager: """ "common_http_protocol_options": {"idle_timeout": "10s"} """);
        var client = new H2Wire(plane, plane.Connect(), isServer: false);
        client.Expect(FrameType.Settings, 0);
        plane.Loop.Advance(10_000);
        Assert.Equal(Http2Error.NoError, client.Expect(FrameType.GoAway, 0).GoAwayCode);
        plane.Loop.Advance(5_000);
        plane.ExpectEnd(client.Peer);
    }

    [Fact]
    public void StreamIdleTimeout_RequestIncomplete_Is408()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, manager: """ "stream_idle_timeout": "5s" """);
        var ends = new StreamEnds();
        var client = plane.ConnectTo(plane.Manager(ends.Filter));
        client.Send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n012");
        plane.Expect(upstream.Accept(), "012");
        plane.Loop.Advance(5_000);
        string response = plane.ExpectEnd(client);
        Assert.StartsWith("HTTP/1.1 408 Request Timeout\r\n", response);
        Assert.Contains("connection: close\r\n", response);
        Assert.EndsWith("stream timeout", response);
        Assert.Equal(new EndedStream(408, "SI", "stream_idle_timeout", 1), ends.Single);
        Assert.Equal(1, plane.Stat("http.http.downstream_rq_idle_timeout"));
        plane.ExpectNothingActive();
    }

    [Fact]
    public void StreamIdleTimeout_RequestComplete_Is504()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, manager: """ "stream_idle_timeout": "5s" """, route: """ "timeout": "0s" """);
        var client = plane.Connect();
        client.Send(Get);
        plane.Expect(upstream.Accept(), "\r\n\r\n");
        plane.Loop.Advance(5_000);
        Assert.StartsWith("HTTP/1.1 504 Gateway Timeout\r\n", plane.Expect(client, "stream timeout"));
        plane.ExpectStat("cluster.up.upstream_rq_active", 0);
    }

    [Fact]
    public void StreamIdleTimeout_ResponseUnderWay_ResetsTheStream()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, manager: """ "stream_idle_timeout": "5s" """);
        var client = plane.Connect();
        client.Send(Get);
        var server = upstream.Accept();
        plane.Expect(server, "\r\n\r\n");
        server.Send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n012");
        plane.Expect(client, "012");
        plane.Loop.Advance(5_000);
        Assert.EndsWith("012", plane.ExpectEnd(client));
        plane.ExpectNothingActive();
    }

    [Fact]
    public void RequestTimeout_IncompleteRequest_Is408()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, manager: """ "request_timeout": "3s" """);
        var client = plane.Connect();
        client.Send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n0");
        plane.Expect(upstream.Accept(), "\r\n\r\n0");
        plane.Loop.Advance(2_000);
        client.Send("1");
        plane.Loop.Until(() => plane.Loop.Loop.HasPending is false && upstream.Peers[0].Read().EndsWith("01", StringComparison.Ordinal));
        plane.Loop.Advance(1_000);
        Assert.EndsWith("request timeout", plane.ExpectEnd(client));
        Assert.Equal(1, plane.Stat("http.http.downstream_rq_timeout"));
    }

    [Theory]
    [InlineData("request_headers_timeout", "request header timeout", "downstream_rq_header_timeout", "downstream_rq_idle_timeout")]
    [InlineData("stream_idle_timeout", "stream timeout", "downstream_rq_idle_timeout", "downstream_rq_header_timeout")]
    public void IncompleteHead_IsEndedByEitherTimeout_With408AndClose(string timeout, string body, string counted, string notCounted)
    {
        using var plane = DataPlaneHarness.Http(out _, manager: $""" "{timeout}": "3s" """);
        var client = plane.Connect();
        client.Send("GET / HTTP/1.1\r\nhost:");
        plane.ExpectStat("http.http.downstream_cx_active", 1);
        plane.Loop.Settle();
        plane.Loop.Advance(3_000);
        ExpectLocalReply(plane.ExpectEnd(client), "408 Request Timeout", body);
        Assert.Equal(1, plane.Stat("http.http." + counted));
        Assert.Equal(0, plane.Stat("http.http." + notCounted));
        Assert.Equal(0, plane.Stat("http.http.downstream_cx_protocol_error"));
        plane.ExpectNothingActive();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void RequestHeadersTimeout_IsNotForConnectionsBetweenRequests(bool http2)
    {
        using var plane = DataPlaneHarness.Http(out var upstream, manager: """ "request_headers_timeout": "3s" """);
        var client = plane.Connect();
        plane.ExpectStat("http.http.downstream_cx_active", 1);
        plane.Loop.Advance(3_000);
        if (http2)
        {
            var wire = new H2Wire(plane, client, isServer: false);
            wire.Expect(FrameType.Settings, 0);
            ExpectAlive(wire, 1);
            plane.Loop.Advance(3_000);
            ExpectAlive(wire, 2);
            wire.Send(H2.Headers(1, H2.Get()[..5], endHeaders: false));
            plane.Loop.Settle();
            plane.Loop.Advance(3_000);
            plane.ExpectEnd(client);
        }
        else
        {
            client.Send(Get);
            var server = upstream.Accept();
            plane.Expect(server, "\r\n\r\n");
            plane.Loop.Advance(3_000);
            server.Send(Ok);
            plane.Expect(client, "ok");
            plane.Loop.Advance(3_000);
            client.Send("GET / HTTP/1.1\r\nho");
            plane.Loop.Settle();
            plane.Loop.Advance(3_000);
            Assert.Contains("HTTP/1.1 408 Request Timeout\r\n", plane.ExpectEnd(client));
        }
        Assert.Equal(1, plane.Stat("http.http.downstream_rq_header_timeout"));
    }

    [Fact]
    public void MaxStreamDuration_ResponseUnderWay_ResetsTheStream()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, manager: """ "common_http_protocol_options": {"max_stream_duration": "7s"} """);
        var client = new H2Wire(plane, plane.Connect(), isServer: false);
        client.Send(H2.Headers(1, H2.Get()));
        var server = upstream.Accept();
        plane.Expect(server, "\r\n\r\n");
        server.Send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n012");
        client.Expect(FrameType.Data, 1);
        plane.Loop.Advance(7_000);
        client.Expect(FrameType.RstStream, 1);
        Assert.Equal(1, plane.Stat("http.http.downstream_rq_max_duration_reached"));
        plane.ExpectStat("cluster.up.upstream_rq_active", 0);
    }

    [Fact]
    public void MaxConnectionDuration_LetsTheRequestFinishAndCloses()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, manager: """ "common_http_protocol_options": {"max_connection_duration": "7s"} """);
        var client = plane.Connect();
        client.Send(Get);
        var server = upstream.Accept();
        plane.Expect(server, "\r\n\r\n");
        plane.Loop.Advance(7_000);
        server.Send(Ok);
        Assert.Contains("connection: close\r\n", plane.ExpectEnd(client));
        Assert.Equal(1, plane.Stat("http.http.downstream_cx_max_duration_reached"));
    }

    [Fact]
    public void MaxConnectionDuration_IdleHttp1_ClosesAfterTheDrainTime()
    {
        using var plane = DataPlaneHarness.Http(out _, manager: """ "common_http_protocol_options": {"max_connection_duration": "7s"} """);
        var client = plane.Connect();
        plane.ExpectStat("http.http.downstream_cx_active", 1);
        plane.Loop.Advance(7_000);
        Assert.Equal(1, plane.Stat("http.http.downstream_cx_max_duration_reached"));
        plane.Loop.Advance(5_000);
        plane.ExpectEnd(client);
        plane.ExpectNothingActive();
    }

    // ---- drain and limits ---------------------------------------------------------------------------------------

    [Fact]
    public void Drain_Http1_NextResponseSaysClose()
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        var client = plane.Connect();
        client.Send(Get);
        var server = upstream.Accept();
        plane.Expect(server, "\r\n\r\n");
        plane.Listeners.StartDrain(stopAccepting: false);
        server.Send(Ok);
        string response = plane.ExpectEnd(client);
        Assert.Contains("connection: close\r\n", response);
        Assert.EndsWith("ok", response);
        Assert.Equal(1, plane.Stat("http.http.downstream_cx_drain_close"));
    }

    [Theory]
    [InlineData("DEFAULT", "connection: close\r\n")]
    [InlineData("MODIFY_ONLY", null)]
    public void HealthChecksFailed_Http1_ResponsesSayClose_WhereDrainTypeIsDefault(string drainType, string? close)
    {
        using var plane = DataPlaneHarness.HttpOfDrainType(drainType);
        var client = plane.Connect();
        Assert.DoesNotContain("connection", plane.Exchange(client, Get, "x"));
        plane.Scope.FailsHealthChecks = true;
        // An idle connection is not told: it learns by its next response.
        plane.Loop.Settle();
        Assert.False(client.End);
        client.Send(Get);
        if (close is not null)
        {
            Assert.Contains(close, plane.ExpectEnd(client));
            plane.Scope.FailsHealthChecks = false;
            client = plane.Connect();
        }
        for (int i = 0; i < 2; i++)
            Assert.DoesNotContain("connection", plane.Exchange(client, Get, "x"));
    }

    [Theory]
    [InlineData("DEFAULT", true)]
    [InlineData("MODIFY_ONLY", false)]
    public void HealthChecksFailed_Http2_GoesAway_WhereDrainTypeIsDefault(string drainType, bool goesAway)
    {
        using var plane = DataPlaneHarness.HttpOfDrainType(drainType);
        var client = new H2Wire(plane, plane.Connect(), isServer: false);
        plane.Scope.FailsHealthChecks = true;
        client.Send(H2.Headers(1, H2.Get()));
        if (goesAway)
            Assert.Equal(int.MaxValue, (int)client.Expect(FrameType.GoAway, 0).Word());
        client.ExpectEnd(1);
        plane.Loop.Advance(5_000);
        if (goesAway)
        {
            plane.ExpectEnd(client.Peer);
            return;
        }
        client.Send(H2.Headers(3, H2.Get()));
        client.ExpectEnd(3);
        Assert.DoesNotContain(client.Frames, frame => frame.Type == FrameType.GoAway);
    }

    [Fact]
    public void Drain_Http2_GoesAwayInTwoSteps()
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        var client = new H2Wire(plane, plane.Connect(), isServer: false);
        client.Send(H2.Headers(1, H2.Get()));
        var server = upstream.Accept();
        plane.Expect(server, "\r\n\r\n");
        plane.Listeners.StartDrain(stopAccepting: false);
        // First the announcement, with the highest id there is: streams that are on their way are still served (RFC 9113 section 6.8).
        Assert.Equal(int.MaxValue, (int)client.Expect(FrameType.GoAway, 0).Word());
        client.Send(H2.Headers(3, H2.Get()));
        var second = upstream.Accept();
        plane.Expect(second, "\r\n\r\n");
        plane.Loop.Advance(5_000);
        client.Expect(f => f.Type == FrameType.GoAway && f.Word() == 3);
        server.Send(Ok);
        second.Send(Ok);
        client.ExpectEnd(1);
        client.ExpectEnd(3);
        plane.ExpectEnd(client.Peer);
        plane.ExpectNothingActive();
    }

    [Fact]
    public void MaxRequestsPerConnection_LastResponseSaysClose()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, manager: """ "common_http_protocol_options": {"max_requests_per_connection": 2} """);
        var client = plane.Connect();
        client.Send(Get);
        var server = upstream.Accept();
        plane.Expect(server, "\r\n\r\n");
        server.Send(Ok);
        Assert.DoesNotContain("connection: close", plane.Expect(client, "ok"));
        client.Send("GET /2 HTTP/1.1\r\nhost: a\r\n\r\n");
        plane.Expect(server, "GET /2");
        server.Send(Ok);
        Assert.Contains("connection: close\r\n", plane.ExpectEnd(client));
        Assert.Equal(1, plane.Stat("http.http.downstream_cx_max_requests_reached"));
    }

    // ---- upgrade and CONNECT --------------------------------------------------------------------------------------

    [Fact]
    public void Upgrade_Allowed_TunnelsBothWays()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, manager: """ "upgrade_configs": [{"upgrade_type": "websocket"}] """);
        var client = plane.Connect();
        client.Send("GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\r\n");
        var server = upstream.Accept();
        string request = plane.Expect(server, "\r\n\r\n");
        Assert.Contains("upgrade: websocket\r\n", request);
        Assert.Contains("connection: upgrade", request, StringComparison.OrdinalIgnoreCase);
        server.Send("HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\nhi");
        Assert.StartsWith("HTTP/1.1 101 Switching Protocols\r\n", plane.Expect(client, "\r\n\r\nhi"));
        Assert.Equal(1, plane.Stat("http.http.downstream_cx_upgrades_active"));
        client.Send("frame");
        plane.Expect(server, "frame");
        server.Send("reply");
        plane.Expect(client, "hireply");
        server.Dispose();
        plane.ExpectEnd(client);
        plane.ExpectStat("http.http.downstream_cx_upgrades_active", 0);
        Assert.EndsWith("hireply", client.Text);
        Assert.Equal(1, plane.Stat("http.http.downstream_cx_upgrades_total"));
        plane.ExpectNothingActive();
    }

    [Fact]
    public void Upgrade_NotConfigured_Is403()
    {
        using var plane = DataPlaneHarness.Http(out _);
        var ends = new StreamEnds();
        var client = plane.ConnectTo(plane.Manager(ends.Filter));
        client.Send("GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n");
        Assert.StartsWith("HTTP/1.1 403 Forbidden\r\n", plane.ExpectEnd(client));
        Assert.Equal(1, plane.Stat("http.http.downstream_rq_ws_on_non_ws_route"));
        plane.ExpectNothingActive();
    }

    [Fact]
    public void Upgrade_DeniedByTheUpstream_IsAnOrdinaryResponse()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, manager: """ "upgrade_configs": [{"upgrade_type": "websocket"}] """);
        var client = plane.Connect();
        client.Send("GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n");
        var server = upstream.Accept();
        plane.Expect(server, "\r\n\r\n");
        server.Send("HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\nno");
        Assert.StartsWith("HTTP/1.1 400 Bad Request\r\n", plane.ExpectEnd(client));
        Assert.Equal(0, plane.Stat("http.http.downstream_cx_upgrades_total"));
        plane.ExpectNothingActive();
    }

    [Fact]
    public void MaxHeadersCount_OfWhoWantsNoLimit_RefusesNobody()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, manager: """ "common_http_protocol_options": {"max_headers_count": 4294967295} """);
        var client = plane.Connect();
        client.Send("GET / HTTP/1.1\r\nhost: a\r\nx-one: 1\r\n\r\n");
        Assert.Contains("x-one: 1\r\n", plane.Expect(upstream.Accept(), "\r\n\r\n"));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Connect_Configured_TunnelsToTheUpstreamAsConnect(bool http2)
    {
        using var plane = new DataPlaneHarness();
        var upstream = plane.Upstream();
        plane.Apply(new TestSnapshot().Cluster("up", http2, upstream.Port).Http("http", 0,
            """{"match": {"connect_matcher": {}}, "route": {"cluster": "up", "upgrade_configs": [{"upgrade_type": "CONNECT"}]}}""", """ "upgrade_configs": [{"upgrade_type": "CONNECT"}] """));
        var client = plane.Connect();
        client.Send("CONNECT example.org:443 HTTP/1.1\r\nhost: example.org:443\r\n\r\n");
        var peer = upstream.Accept();
        H2Wire? server = http2 ? new H2Wire(plane, peer, isServer: true) : null;
        if (server is not null)
        {
            server.Expect(FrameType.Headers, 1);
            Assert.Equal("CONNECT", server.Header(1, ":method"));
            Assert.Equal("example.org:443", server.Header(1, ":authority"));
            server.Send(H2.Headers(1, H2.Block((":status", "200")), end: false));
        }
        else
        {
            Assert.StartsWith("CONNECT example.org:443 HTTP/1.1\r\n", plane.Expect(peer, "\r\n\r\n"));
            peer.Send("HTTP/1.1 200 OK\r\n\r\n");
        }
        Assert.StartsWith("HTTP/1.1 200 OK\r\n", plane.Expect(client, "\r\n\r\n"));
        client.Send("ping");
        if (server is not null)
        {
            server.Expect(f => f.Type == FrameType.Data);
            Assert.Equal("ping", server.Body(1));
            server.Send(H2.Data(1, "pong", end: true));
        }
        else
        {
            plane.Expect(peer, "ping");
            peer.Send("pong");
            plane.Expect(client, "pong");
            peer.Dispose();
        }
        Assert.EndsWith("pong", plane.ExpectEnd(client));
        client.Dispose();
        plane.ExpectNothingActive();
    }

    [Fact]
    public void Connect_NotConfigured_Is403()
    {
        using var plane = DataPlaneHarness.Http(out _);
        var client = plane.Connect();
        client.Send("CONNECT example.org:443 HTTP/1.1\r\nhost: example.org:443\r\n\r\n");
        Assert.StartsWith("HTTP/1.1 403 Forbidden\r\n", plane.ExpectEnd(client));
    }

    // ---- the client leaves --------------------------------------------------------------------------------------

    public enum Phase { Connecting, HeadSent, BodyHalf, RequestDone, ResponseHalf }

    [Theory]
    [InlineData(Phase.Connecting, false)]
    [InlineData(Phase.HeadSent, false)]
    [InlineData(Phase.BodyHalf, false)]
    [InlineData(Phase.RequestDone, false)]
    [InlineData(Phase.ResponseHalf, false)]
    [InlineData(Phase.Connecting, true)]
    [InlineData(Phase.HeadSent, true)]
    [InlineData(Phase.BodyHalf, true)]
    [InlineData(Phase.RequestDone, true)]
    [InlineData(Phase.ResponseHalf, true)]
    public void ClientLeaves_AtAnyTime_UpstreamRequestIsDropped(Phase phase, bool reset)
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        var ends = new StreamEnds();
        var client = plane.ConnectTo(plane.Manager(ends.Filter));
        client.Send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n");
        TestPeer? server = null;
        if (phase == Phase.Connecting)
            plane.Loop.Step();
        else
            plane.Expect(server = upstream.Accept(), "\r\n\r\n");
        if (phase >= Phase.BodyHalf)
        {
            client.Send("ab");
            plane.Expect(server!, "\r\n\r\nab");
        }
        if (phase >= Phase.RequestDone)
        {
            client.Send("cd");
            plane.Expect(server!, "abcd");
        }
        if (phase == Phase.ResponseHalf)
        {
            server!.Send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n012");
            plane.Expect(client, "012");
        }
        if (reset)
            client.Reset();
        else
            client.Dispose();
        plane.ExpectNothingActive();
        var end = ends.Single;
        Assert.Equal("DC", end.Flags);
        Assert.Equal("downstream_remote_disconnect", end.Details);
        Assert.Equal(phase == Phase.ResponseHalf ? 200 : 0, end.Status);
        Assert.Equal(1, plane.Stat("http.http.downstream_cx_destroy_remote_active_rq"));
        if (server is not null)
            plane.ExpectEnd(server);
    }

    [Fact]
    public void ClientResetsStream_Http2_UpstreamRequestIsDropped()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, http2Upstream: true);
        var ends = new StreamEnds();
        var client = new H2Wire(plane, plane.ConnectTo(plane.Manager(ends.Filter)), isServer: false);
        client.Send(H2.Headers(1, H2.Post(), end: false));
        var server = new H2Wire(plane, upstream.Accept(), isServer: true);
        server.Expect(FrameType.Headers, 1);
        client.Send(H2.Reset(1));
        server.Expect(FrameType.RstStream, 1);
        Assert.Equal("DR", ends.Single.Flags);
        Assert.Equal(1, plane.Stat("http.http.downstream_rq_rx_reset"));
        Assert.Equal(1, plane.Stat("http.http.downstream_cx_active"));
        plane.ExpectStat("cluster.up.upstream_rq_active", 0);
    }

    [Fact]
    public void ClientHalfCloses_WithOpenRequest_IsTakenAsGone()
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        var client = plane.Connect();
        client.Send(Get);
        plane.Expect(upstream.Accept(), "\r\n\r\n");
        client.Shutdown();
        Assert.Equal("", plane.ExpectEnd(client));
        plane.ExpectNothingActive();
    }

    [Fact]
    public void ClientSaysClose_ConnectionEndsWithTheResponse_WithoutWaitingForTheClient()
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        var client = plane.Connect();
        client.Send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        var server = upstream.Accept();
        plane.Expect(server, "\r\n\r\n");
        server.Send(Ok);
        Assert.EndsWith("ok", plane.ExpectEnd(client));
        // The clock stands still, so no delayed_close_timeout has passed.
        plane.ExpectStat("http.http.downstream_cx_active", 0);
    }

    [Fact]
    public void ClientSaysClose_AndSendsMoreAllTheSame_IsWaitedFor()
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        var client = plane.Connect();
        client.Send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\nGET /again HTTP/1.1\r\n");
        var server = upstream.Accept();
        plane.Expect(server, "\r\n\r\n");
        server.Send(Ok);
        Assert.EndsWith("ok", plane.ExpectEnd(client));
        plane.Loop.Settle();
        Assert.Equal(1, plane.Stat("http.http.downstream_cx_active"));
        plane.ExpectNothingActive();
    }

    [Fact]
    public void Drain_BetweenTwoRequests_EndsWithTheNextResponse()
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        var client = plane.Connect();
        client.Send(Get);
        var server = upstream.Accept();
        plane.Expect(server, "\r\n\r\n");
        server.Send(Ok);
        plane.Expect(client, "ok");
        plane.Listeners.StartDrain(stopAccepting: false);
        client.Send("GET /2 HTTP/1.1\r\nhost: a\r\n\r\n");
        plane.Expect(server, "GET /2");
        server.Send(Ok);
        Assert.Contains("connection: close\r\n", plane.ExpectEnd(client));
        plane.ExpectNothingActive();
    }

    [Fact]
    public void EarlyResponse_Http1_ClosesAfterIt()
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        var client = plane.Connect();
        client.Send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n012");
        var server = upstream.Accept();
        plane.Expect(server, "012");
        server.Send("HTTP/1.1 413 Payload Too Large\r\ncontent-length: 2\r\n\r\nno");
        Assert.EndsWith("no", plane.ExpectEnd(client));
        Assert.Equal(1, plane.Stat("http.http.downstream_rq_response_before_rq_complete"));
        plane.ExpectNothingActive();
    }

    [Fact]
    public void EarlyResponse_Http2_RequestStillGoingIsStoppedWithNoError_AfterASecond()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, http2Upstream: true);
        var (client, _) = EarlyResponse(plane, upstream);
        // The exchange is over for everybody but the codec.
        plane.ExpectStat("http.http.downstream_rq_active", 0);
        plane.ExpectStat("cluster.up.upstream_rq_active", 0);
        Assert.Equal(1, plane.Stat("http.http.downstream_rq_response_before_rq_complete"));
        Assert.DoesNotContain(client.Frames, f => f.Type == FrameType.RstStream);
        plane.Loop.Advance(1_000);
        plane.Loop.Advance(1_000);
        Assert.Equal(Http2Error.NoError, client.Expect(FrameType.RstStream, 1).ResetCode);
        Assert.Equal(0, plane.Stat("http.http.downstream_rq_tx_reset"));
    }

    [Fact]
    public void EarlyResponse_Http2_RequestStillGoingIsStoppedWithNoError_AfterItsBytes()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, http2Upstream: true);
        var (client, _) = EarlyResponse(plane, upstream);
        for (int sent = 0; sent < 65_536; sent += 16_384)
            client.Send(H2.Data(1, new byte[16_384]));
        client.Send(H2.Ping("before.."));
        client.Expect(f => f.IsAck && f.Type == FrameType.Ping);
        Assert.DoesNotContain(client.Frames, f => f.Type == FrameType.RstStream);
        client.Send(H2.Data(1, "x"), H2.Data(1, "on its way", end: true));
        Assert.Equal(Http2Error.NoError, client.Expect(FrameType.RstStream, 1).ResetCode);
        // Nobody reads it, so no window is given back to the stream.
        Assert.DoesNotContain(client.Frames, f => f.Type == FrameType.WindowUpdate && f.StreamId == 1);
        ExpectAlive(client);
    }

    [Fact]
    public void EarlyResponse_Http2_RequestThatEndsIsNotReset()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, http2Upstream: true);
        var (client, _) = EarlyResponse(plane, upstream);
        client.Send(H2.Data(1, new byte[10_000]), H2.Data(1, "end", end: true));
        ExpectAlive(client);
        plane.Loop.Advance(1_000);
        plane.Loop.Advance(1_000);
        ExpectAlive(client, 5);
        Assert.DoesNotContain(client.Frames, f => f.Type == FrameType.RstStream);
    }

    [Fact]
    public void EarlyResponse_Http2_RestOfTheRequestIsStillChecked()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, http2Upstream: true, manager: """
            "http2_protocol_options": {"override_stream_error_on_invalid_http_message": true}
            """);
        var (client, _) = EarlyResponse(plane, upstream, ("content-length", "4"));
        client.Send(H2.Data(1, "12345", end: true));
        Assert.Equal(Http2Error.ProtocolError, client.Expect(FrameType.RstStream, 1).ResetCode);
        ExpectAlive(client);
        plane.ExpectStat("http.http.downstream_rq_rx_reset", 0);
    }

    [Fact]
    public void EarlyResponse_Http2_AnsweredStreamsCountAgainstTheirLimit()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, http2Upstream: true, manager: """
            "http2_protocol_options": {"max_concurrent_streams": 1}
            """);
        var (client, server) = EarlyResponse(plane, upstream);
        client.Send(H2.Headers(3, H2.Get()));
        Assert.Equal(Http2Error.RefusedStream, client.Expect(FrameType.RstStream, 3).ResetCode);
        client.Send(H2.Reset(1), H2.Headers(5, H2.Get()));
        server.Expect(FrameType.Headers, 3);
    }

    [Fact]
    public void EarlyResponse_Http2_HeldBackByTheWindow_IsSentWhole()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, http2Upstream: true);
        var client = new H2Wire(plane, plane.Connect(), isServer: false);
        client.Send(H2.Settings((SettingId.InitialWindowSize, 10)), H2.Headers(1, H2.Post(), end: false));
        var server = new H2Wire(plane, upstream.Accept(), isServer: true);
        server.Expect(FrameType.Headers, 1);
        server.Send(H2.Headers(1, H2.Block((":status", "413")), end: false), H2.Data(1, "0123456789abcdef", end: true));
        client.Expect(FrameType.Data, 1);
        plane.Loop.Advance(1_000);
        plane.Loop.Advance(1_000);
        Assert.DoesNotContain(client.Frames, f => f.EndStream || f.Type == FrameType.RstStream);
        client.Send(H2.WindowUpdate(1, 100));
        client.ExpectEnd(1);
        Assert.Equal("0123456789abcdef", client.Body(1));
        plane.Loop.Advance(1_000);
        plane.Loop.Advance(1_000);
        Assert.Equal(Http2Error.NoError, client.Expect(FrameType.RstStream, 1).ResetCode);
        plane.ExpectStat("http.http.downstream_rq_active", 0);
    }

    // A request whose body has not ended is answered whole.
    private static (H2Wire Client, H2Wire Server) EarlyResponse(DataPlaneHarness plane, FakeUpstream upstream, params (string, string)[] more)
    {
        var client = new H2Wire(plane, plane.Connect(), isServer: false);
        client.Send(H2.Headers(1, H2.Post(more), end: false));
        var server = new H2Wire(plane, upstream.Accept(), isServer: true);
        server.Expect(FrameType.Headers, 1);
        server.Send(H2.Headers(1, H2.Block((":status", "413"))));
        client.ExpectEnd(1);
        Assert.Equal("413", client.Header(1, ":status"));
        return (client, server);
    }

    private static void ExpectAlive(H2Wire client, uint mark = 4)
    {
        string text = $"alive {mark:D2}";
        client.Send(H2.Ping(text));
        client.Expect(f => f.IsAck && f.Type == FrameType.Ping && f.Payload.AsSpan().SequenceEqual(H2.Bytes(text)));
    }

    // ---- bytes that are no HTTP -----------------------------------------------------------------------------------

    [Fact]
    public void Garbage_Is400AndClose()
    {
        using var plane = DataPlaneHarness.Http(out _);
        var client = plane.Connect();
        client.Send("\0\0\0\0 nonsense\r\n\r\n");
        Assert.StartsWith("HTTP/1.1 400 Bad Request\r\n", plane.ExpectEnd(client));
        Assert.Equal(1, plane.Stat("http.http.downstream_cx_protocol_error"));
        plane.ExpectNothingActive();
    }

    [Theory]
    [InlineData("GET / HTTP/1.1\r\nhost: a\r\n\0: b\r\n\r\n", "400 Bad Request", "http1.invalid_characters", "Bad Request")]
    [InlineData("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", "400 Bad Request", "http1.content_length_not_allowed", "Bad Request")]
    [InlineData("GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n", "501 Not Implemented", "http1.invalid_transfer_encoding", "Not Implemented")]
    [InlineData("HEAD / HTTP/1.1\r\nhost: a\r\n\0: b\r\n\r\n", "400 Bad Request", "http1.invalid_characters", "")]
    public void UnreadableHead_IsAnsweredAsAnyOtherRequest(string request, string status, string details, string body)
    {
        using var plane = DataPlaneHarness.Http(out _);
        var ends = new StreamEnds();
        var client = plane.ConnectTo(plane.Manager(ends.Filter));
        client.Send(request);
        ExpectLocalReply(plane.ExpectEnd(client), status, body);
        var end = ends.Single;
        Assert.Equal((int.Parse(status[..3], System.Globalization.CultureInfo.InvariantCulture), "DPE", details), (end.Status, end.Flags, end.Details));
        Assert.Equal(1, plane.Stat("http.http.downstream_rq_total"));
        Assert.Equal(1, plane.Stat($"http.http.downstream_rq_{status[0]}xx"));
        Assert.Equal(1, plane.Stat("http.http.downstream_cx_protocol_error"));
        plane.ExpectNothingActive();
    }

    [Fact]
    public void UnreadableHead_TooManyFields_Is431()
    {
        using var plane = DataPlaneHarness.Http(out _);
        var client = plane.Connect();
        client.Send("GET / HTTP/1.1\r\nhost: a\r\n" + string.Concat(System.Linq.Enumerable.Repeat("x: y\r\n", 100)) + "\r\n");
        ExpectLocalReply(plane.ExpectEnd(client), "431 Request Header Fields Too Large", "Request Header Fields Too Large");
    }

    [Fact]
    public void UnreadableHead_BehindAnAnsweredRequest_DoesNotDisturbItsAnswer()
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        var client = plane.Connect();
        client.Send(Get + "nonsense\r\n\r\n");
        var server = upstream.Accept();
        plane.Expect(server, "\r\n\r\n");
        server.Send(Ok);
        string text = plane.ExpectEnd(client);
        int second = text.IndexOf("HTTP/1.1 400", StringComparison.Ordinal);
        Assert.EndsWith("ok", text[..second]);
        ExpectLocalReply(text[second..], "400 Bad Request", "Bad Request");
        plane.ExpectNothingActive();
    }

    private static void ExpectLocalReply(string response, string status, string body)
    {
        Assert.StartsWith($"HTTP/1.1 {status}\r\n", response);
        string head = response[..(response.IndexOf("\r\n\r\n", StringComparison.Ordinal) + 2)];
        Assert.Contains("\r\nserver: envoy\r\n", head);
        Assert.Contains("\r\ndate: ", head);
        Assert.Contains("\r\nconnection: close\r\n", head);
        Assert.Contains("\r\ncontent-length: ", head);
        Assert.Equal(body, response[(head.Length + 2)..]);
    }

    [Fact]
    public void Preface_ByteByByte_ChoosesHttp2()
    {
        using var plane = DataPlaneHarness.Http(out _);
        var client = plane.Connect();
        foreach (byte b in H2.Join(H2.Preface, H2.Settings()))
        {
            client.Send([b]);
            plane.Loop.Settle();
        }
        plane.ExpectStat("http.http.downstream_cx_http2_total", 1);
        Assert.Equal(Errno.None, client.Error);
    }
}
