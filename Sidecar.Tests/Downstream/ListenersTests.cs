using System;
using Sidecar.Linux;
using Sidecar.Telemetry;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Downstream;

/// <summary>Listeners as they change under traffic.</summary>
public class ListenersTests
{
    private const string Get = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

    private static TestSnapshot Answering(string body, string more = "") => new TestSnapshot().Http("http", 0, TestSnapshot.Answer(body), more);

    [Fact]
    public void UnchangedListener_KeepsItsConnections()
    {
        using var plane = new DataPlaneHarness();
        plane.Apply(Answering("one"));
        var client = plane.Connect();
        plane.Exchange(client, Get, "one");
        plane.Apply(Answering("one").Http("other", 0, TestSnapshot.Answer("two")));
        Assert.DoesNotContain("close", plane.Exchange(client, Get, "one"));
        plane.Exchange(plane.Connect("other"), Get, "two");
    }

    [Fact]
    public void ChangedChain_OldConnectionsDrain_NewOnesGetTheNewChain()
    {
        using var plane = new DataPlaneHarness();
        plane.Apply(Answering("one"));
        var before = plane.Connect();
        plane.Exchange(before, Get, "one");
        plane.Apply(Answering("two"));
        plane.Exchange(plane.Connect(), Get, "two");
        // The old connection finishes what it begins with what it began with, and then closes.
        before.Send(Get);
        Assert.Contains("connection: close\r\n", plane.ExpectEnd(before));
        Assert.DoesNotContain("two", before.Text);
    }

    [Fact]
    public void ChangedChain_SocketStays()
    {
        using var plane = new DataPlaneHarness();
        plane.Apply(Answering("one"));
        var socket = plane.Listeners.Find("http")!.Sockets[0];
        plane.Apply(Answering("two"));
        Assert.Same(socket, plane.Listeners.Find("http")!.Sockets[0]);
    }

    [Fact]
    public void RemovedListener_StopsAccepting_AndClosesTheRestWhenDrainTimeIsOver()
    {
        using var plane = new DataPlaneHarness();
        var upstream = plane.Upstream();
        plane.Apply(new TestSnapshot().Cluster("up", false, upstream.Port).Http("http", 0, TestSnapshot.To("up", """ "timeout": "0s" """)));
        var address = plane.Listeners.Find("http")!.Sockets[0].Address;
        var client = plane.Connect();
        client.Send(Get);
        plane.Expect(upstream.Accept(), "\r\n\r\n");
        plane.Apply(new TestSnapshot().Cluster("up", false, upstream.Port));
        Assert.Null(plane.Listeners.Find("http"));
        using var late = TestPeer.Connect(address);
        plane.Loop.Until(() => { late.Receive(); return late.Error != Errno.None || late.End; });
        Assert.Equal(1, plane.Listeners.ActiveConnections);
        plane.Loop.Advance(10_000);
        plane.ExpectEnd(client);
        Assert.Equal(0, plane.Listeners.ActiveConnections);
    }

    [Fact]
    public void NoChainMatches_Closes()
    {
        using var plane = new DataPlaneHarness();
        plane.Apply(new TestSnapshot().Raw("http", 0, """
            "filter_chains": [{"filter_chain_match": {"destination_port": 1}, "filters": [$tcp]}]
            """).Cluster("up", false));
        var client = plane.Connect();
        plane.ExpectEnd(client);
        plane.ExpectStat("listener.127.0.0.1_0.no_filter_chain_match", 1);
        plane.ExpectStat("listener.127.0.0.1_0.downstream_cx_active", 0);
    }

    [Fact]
    public void DefaultChain_TakesWhatNoOtherDoes()
    {
        using var plane = new DataPlaneHarness();
        var upstream = plane.Upstream();
        plane.Apply(new TestSnapshot().Raw("http", 0, """
            "filter_chains": [{"filter_chain_match": {"destination_port": 1}, "filters": [$tcp]}], "default_filter_chain": {"filters": [$tcp]}
            """).Cluster("up", false, upstream.Port));
        plane.Connect().Send("x");
        plane.Expect(upstream.Accept(), "x");
    }

    /// <summary>What traffic capture does with TPROXY, on one machine: the socket's own address is where the connection was going.</summary>
    [SkippableFact]
    public void UseOriginalDst_HandsOverToTheListenerOfThatAddress_ElseKeeps()
    {
        using var plane = new DataPlaneHarness();
        var upstream = plane.Upstream();
        var other = plane.Upstream();
        TestSnapshot Virtual() => new TestSnapshot().Cluster("up", false, upstream.Port).Raw("virtual", 0, """
            "transparent": true, "use_original_dst": true, "filter_chains": [{"filters": [$tcp]}]
            """);
        Skip.IfNot(plane.TryApply(Virtual(), out string reason), $"a transparent listener needs CAP_NET_ADMIN: {reason}");
        plane.Connect("virtual").Send("kept");
        plane.Expect(upstream.Accept(), "kept");

        int port = plane.Listeners.Find("virtual")!.Sockets[0].Address.Port;
        plane.Apply(Virtual().Cluster("other", false, other.Port).Raw("exact", port, """ "bind_to_port": false, "filter_chains": [{"filters": [$other]}] """
            .Replace("$other", """{"name": "envoy.filters.network.tcp_proxy", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "o", "cluster": "other"}}""")));
        var handed = plane.Connect("virtual");
        handed.Send("handed over");
        var server = other.Accept();
        plane.Expect(server, "handed over");
        Assert.Equal(1, plane.Stat($"listener.127.0.0.1_{port}.downstream_cx_active"));
        handed.Dispose();
        server.Dispose();
        plane.ExpectStat($"listener.127.0.0.1_{port}.downstream_cx_active", 0);
    }

    [Fact]
    public void StartDrain_OnlyInbound_LeavesOthersAlone()
    {
        using var plane = new DataPlaneHarness();
        plane.Apply(Answering("one").Http("other", 0, TestSnapshot.Answer("two")));
        var one = plane.Connect();
        var two = plane.Connect("other");
        plane.Exchange(one, Get, "one");
        plane.Exchange(two, Get, "two");
        plane.Listeners.StartDrain(stopAccepting: false, config => config.Name == "other");
        Assert.DoesNotContain("connection: close", plane.Exchange(one, Get, "one"));
        two.Send(Get);
        Assert.Contains("connection: close", plane.ExpectEnd(two));
    }

    [Fact]
    public void CloseAll_ClosesEverything()
    {
        using var plane = new DataPlaneHarness();
        plane.Apply(Answering("one"));
        var client = plane.Connect();
        plane.Exchange(client, Get, "one");
        plane.Listeners.CloseAll(Failure.AdminStop);
        plane.ExpectEnd(client);
        Assert.Equal(0, plane.Listeners.ActiveConnections);
    }
}
