using System;
using System.Linq;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Filters.Network;

public class TcpProxyFilterTests
{
    private static DataPlaneHarness Tcp(out FakeUpstream upstream, string more = "", string cluster = "")
    {
        var plane = new DataPlaneHarness();
        upstream = plane.Upstream();
        plane.Apply(new TestSnapshot().Cluster("up", false, cluster, upstream.Port).Tcp("tcp", 0, "up", more));
        return plane;
    }

    [Fact]
    public void BytesPass_BothWays()
    {
        using var plane = Tcp(out var upstream);
        var client = plane.Connect("tcp");
        client.Send("early"); // before there is an upstream
        var server = upstream.Accept();
        plane.Expect(server, "early");
        server.Send("answer");
        plane.Expect(client, "answer");
        client.Dispose();
        plane.ExpectEnd(server);
        server.Dispose();
        plane.ExpectStat("cluster.up.upstream_cx_active", 0);
        Assert.Equal(5, plane.Stat("tcp.tcp.downstream_cx_rx_bytes_total"));
        Assert.Equal(6, plane.Stat("tcp.tcp.downstream_cx_tx_bytes_total"));
    }

    [Fact]
    public void ServerSpeaksFirst()
    {
        using var plane = Tcp(out var upstream);
        var client = plane.Connect("tcp");
        upstream.Accept().Send("220 ready");
        plane.Expect(client, "220 ready");
    }

    [Fact]
    public void HalfClose_ByTheClient_AnswerStillComes()
    {
        using var plane = Tcp(out var upstream);
        var client = plane.Connect("tcp");
        client.Send("question");
        client.Shutdown();
        var server = upstream.Accept();
        Assert.Equal("question", plane.ExpectEnd(server));
        server.Send("late answer");
        plane.Expect(client, "late answer");
        server.Dispose();
        Assert.Equal("late answer", plane.ExpectEnd(client));
        plane.ExpectStat("cluster.up.upstream_cx_active", 0);
    }

    [Fact]
    public void HalfClose_ByTheServer_QuestionStillGoes()
    {
        using var plane = Tcp(out var upstream);
        var client = plane.Connect("tcp");
        var server = upstream.Accept();
        server.Send("banner");
        server.Shutdown();
        Assert.Equal("banner", plane.ExpectEnd(client));
        client.Send("more");
        plane.Expect(server, "more");
        client.Dispose();
        plane.ExpectEnd(server);
        plane.ExpectStat("cluster.up.upstream_cx_active", 0);
    }

    [Fact]
    public void HalfClose_BeforeTheUpstreamIsConnected_IsPassedOn()
    {
        using var plane = Tcp(out var upstream);
        var client = plane.Connect("tcp");
        client.Send("all");
        client.Shutdown();
        Assert.Equal("all", plane.ExpectEnd(upstream.Accept()));
    }

    [Fact]
    public void IdleTimeout_ClosesBoth()
    {
        using var plane = Tcp(out var upstream, """ "idle_timeout": "10s" """);
        var client = plane.Connect("tcp");
        var server = upstream.Accept();
        client.Send("a");
        plane.Expect(server, "a");
        plane.Loop.Advance(9_000);
        server.Send("b");
        plane.Expect(client, "b");
        plane.Loop.Advance(9_999);
        plane.Loop.Settle();
        Assert.Equal(0, plane.Stat("tcp.tcp.idle_timeout"));
        plane.Loop.Advance(1);
        plane.ExpectEnd(client);
        plane.ExpectEnd(server);
        Assert.Equal(1, plane.Stat("tcp.tcp.idle_timeout"));
    }

    [Fact]
    public void MaxDuration_ClosesBoth()
    {
        using var plane = Tcp(out var upstream, """ "max_downstream_connection_duration": "10s" """);
        var client = plane.Connect("tcp");
        var server = upstream.Accept();
        plane.ExpectStat("tcp.tcp.downstream_cx_total", 1);
        plane.Loop.Advance(10_000);
        plane.ExpectEnd(client);
        plane.ExpectEnd(server);
        Assert.Equal(1, plane.Stat("tcp.tcp.max_downstream_connection_duration"));
    }

    [Fact]
    public void ConnectRefused_ClosesTheClient()
    {
        using var plane = Tcp(out var upstream);
        upstream.Close();
        var client = plane.Connect("tcp");
        plane.ExpectEnd(client);
        Assert.Equal(1, plane.Stat("cluster.up.upstream_cx_connect_fail"));
        Assert.Equal(1, plane.Stat("tcp.tcp.downstream_cx_total"));
    }

    [Fact]
    public void MaxConnectAttempts_TriesOtherHosts()
    {
        using var plane = new DataPlaneHarness();
        var dead = plane.Upstream();
        var live = plane.Upstream();
        dead.Close();
        plane.Apply(new TestSnapshot().Cluster("up", false, dead.Port, live.Port).Tcp("tcp", 0, "up", """ "max_connect_attempts": 2 """));
        for (int i = 0; i < 2; i++)
        {
            var client = plane.Connect("tcp");
            client.Send("hi");
            plane.Expect(live.Accept(), "hi");
        }
        // Round robin: at least one of the two sessions met the dead host first.
        Assert.InRange(plane.Stat("cluster.up.upstream_cx_connect_fail"), 1, 2);
    }

    [Fact]
    public void MaxConnectAttempts_Exceeded_IsCounted()
    {
        using var plane = Tcp(out var upstream, """ "max_connect_attempts": 3 """);
        upstream.Close();
        plane.ExpectEnd(plane.Connect("tcp"));
        Assert.Equal(3, plane.Stat("cluster.up.upstream_cx_connect_fail"));
        Assert.Equal(1, plane.Stat("cluster.up.upstream_cx_connect_attempts_exceeded"));
    }

    [Fact]
    public void ClusterGone_ClosesTheClient()
    {
        using var plane = Tcp(out _);
        plane.Clusters.Remove("up");
        plane.ExpectEnd(plane.Connect("tcp"));
        Assert.Equal(1, plane.Stat("tcp.tcp.downstream_cx_no_route"));
    }

    [Fact]
    public void ClusterWithoutHosts_ClosesTheClient()
    {
        using var plane = new DataPlaneHarness();
        plane.Apply(new TestSnapshot().Cluster("BlackHoleCluster", false).Tcp("tcp", 0, "BlackHoleCluster"));
        plane.ExpectEnd(plane.Connect("tcp"));
    }

    [Fact]
    public void ClientLeaves_WhileTheUpstreamConnects()
    {
        using var plane = Tcp(out _);
        var client = plane.Connect("tcp");
        client.Send("x");
        client.Reset();
        plane.ExpectStat("tcp.tcp.downstream_cx_total", 1);
        plane.ExpectStat("cluster.up.upstream_cx_active", 0);
    }

    [Fact]
    public void WeightedClusters_ShareByWeight()
    {
        using var plane = new DataPlaneHarness();
        var one = plane.Upstream();
        var two = plane.Upstream();
        plane.Apply(new TestSnapshot().Cluster("one", false, one.Port).Cluster("two", false, two.Port).Listener("tcp", 0, """
            {"name": "envoy.filters.network.tcp_proxy", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
             "stat_prefix": "tcp", "weighted_clusters": {"clusters": [{"name": "one", "weight": 1}, {"name": "two", "weight": 3}]}}}
            """));
        for (int i = 0; i < 200; i++)
        {
            var client = plane.Connect("tcp");
            plane.ExpectStat("tcp.tcp.downstream_cx_total", i + 1);
            client.Dispose();
            plane.Loop.Settle();
        }
        long first = plane.Stat("cluster.one.upstream_cx_total");
        Assert.Equal(200, first + plane.Stat("cluster.two.upstream_cx_total"));
        Assert.InRange(first, 30, 70);
    }

    [Fact]
    public void LargeTransfer_ArrivesWhole_BothWays()
    {
        using var plane = Tcp(out var upstream);
        var client = plane.Connect("tcp");
        var server = upstream.Accept();
        byte[] bytes = new byte[3_000_000];
        new Random(5).NextBytes(bytes);
        int up = 0, down = 0;
        plane.Loop.Until(() =>
        {
            up += client.TrySend(bytes.AsSpan(up, Math.Min(100_000, bytes.Length - up)));
            down += server.TrySend(bytes.AsSpan(down, Math.Min(100_000, bytes.Length - down)));
            client.Receive();
            server.Receive();
            return client.Received.Count == bytes.Length && server.Received.Count == bytes.Length;
        });
        Assert.True(client.Received.SequenceEqual(bytes));
        Assert.True(server.Received.SequenceEqual(bytes));
    }
}
