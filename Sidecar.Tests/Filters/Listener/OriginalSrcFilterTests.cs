using System.Text;
using Sidecar.Config;
using Sidecar.Filters;
using Sidecar.Filters.Listener;
using Sidecar.Linux;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Telemetry.Stats;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Filters.Listener;

/// <summary>Upstream connections that come from the caller's address; behind TPROXY they are in the scenarios.</summary>
public class OriginalSrcFilterTests
{
    private const string Filter = """
        {"name": "envoy.filters.listener.original_src", "typed_config": {
         "@type": "type.googleapis.com/envoy.extensions.filters.listener.original_src.v3.OriginalSrc" $more}}
        """;

    [Fact]
    public void CallersAddress_WithoutItsPort_AndTheMark()
    {
        using var loop = new TestLoop();
        var (connection, peer) = loop.ConnectedByTcp(new Recorder());
        var accepted = new Accepted(connection) { Source = Parse("192.0.2.7:4711") };
        Assert.Equal(ListenerFilterStatus.Continue, new OriginalSrcFilter(1337).Inspect(accepted, default));
        Assert.Equal(new OriginalSource(Parse("192.0.2.7:0"), 1337), connection.OriginalSource);
        connection.Close(Failure.None);
        peer.Dispose();
    }

    [Fact]
    public void CallerWithoutAnIpAddress_GoesOnAsIfTheFilterWereNotThere()
    {
        using var loop = new TestLoop();
        var (connection, peer) = loop.ConnectedByTcp(new Recorder());
        var accepted = new Accepted(connection) { Source = Address.Pipe("/run/app.sock") };
        Assert.Equal(ListenerFilterStatus.Continue, new OriginalSrcFilter(0).Inspect(accepted, default));
        Assert.Null(connection.OriginalSource);
        connection.Close(Failure.None);
        peer.Dispose();
    }

    [Fact]
    public void NextConnectionOfAPooledObject_HasNoSource()
    {
        using var loop = new TestLoop();
        var (connection, peer) = loop.ConnectedByTcp(new Recorder());
        connection.OriginalSource = new OriginalSource(Parse("192.0.2.7:0"), 0);
        connection.Close(Failure.None);
        peer.Dispose();
        loop.Settle();
        var (next, other) = loop.ConnectedByTcp(new Recorder());
        Assert.Same(connection, next);
        Assert.Null(next.OriginalSource);
        next.Close(Failure.None);
        other.Dispose();
    }

    [Fact]
    public void BindPort_HasNoEffect_AndIsReported_AndNeedsAreNamed()
    {
        var result = new SnapshotBuilder(new StatsRegistry(1), 1, "", () => 0).Build(
            ResourceReader.ReadDocument(Encoding.UTF8.GetBytes(Snapshot(1, """, "bind_port": true, "mark": 1337 """, "$tcp").ToString()), "test.json"));
        Assert.Empty(result.Errors);
        Assert.Equal(
            "test.json: listener in: listener_filters[0].typed_config.bind_port: the port is chosen by the kernel, as in Envoy",
            Assert.Single(result.WithoutEffect).ToString());
        Assert.Equal(
            ["transparent: CAP_NET_ADMIN, to accept connections to the addresses of others (IP_TRANSPARENT)",
             "listener_filters[0]: CAP_NET_ADMIN, to connect from the addresses of others (IP_TRANSPARENT, SO_MARK)"],
            Assert.Single(result.Snapshot.Listeners).Needs());
    }

    [SkippableFact]
    public void TcpProxy_ConnectsFromTheCallersAddress()
    {
        Command.RequireRoot();
        using var plane = new DataPlaneHarness();
        var upstream = plane.Upstream();
        plane.Apply(Snapshot(upstream.Port, "", "$tcp"));
        foreach (string caller in new[] { "127.0.0.21", "127.0.0.22" })
        {
            using var client = ConnectFrom(plane, caller);
            client.Send("x");
            Assert.Equal(caller, RemoteOf(upstream.Accept()));
        }
    }

    [SkippableFact]
    public void Http_ConnectionsAreSharedByOneCallerAndNoOther()
    {
        Command.RequireRoot();
        using var plane = new DataPlaneHarness();
        var upstream = plane.Upstream();
        plane.Apply(Snapshot(upstream.Port, "", Manager));
        using var one = ConnectFrom(plane, "127.0.0.21");
        using var two = ConnectFrom(plane, "127.0.0.22");
        using var oneAgain = ConnectFrom(plane, "127.0.0.21");
        var ofOne = Ask(plane, one, upstream, null);
        Assert.Equal("127.0.0.21", RemoteOf(ofOne));
        var ofTwo = Ask(plane, two, upstream, null);
        Assert.Equal("127.0.0.22", RemoteOf(ofTwo));
        Ask(plane, oneAgain, upstream, ofOne);
        Ask(plane, two, upstream, ofTwo);
        Assert.Equal(2, plane.Stat("cluster.up.upstream_cx_total"));
    }

    private const string Manager = """
        {"name": "envoy.filters.network.http_connection_manager", "typed_config": {
         "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "in",
         "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "up"}}]}]},
         "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}
        """;

    // "transparent" only where the test does not bind.
    private static TestSnapshot Snapshot(int upstream, string more, string filter) => new TestSnapshot().Cluster("up", false, upstream).Raw("in", 0, $$"""
        {{(more.Length > 0 ? "\"transparent\": true," : "")}} "listener_filters": [{{Filter.Replace("$more", more, System.StringComparison.Ordinal)}}],
        "filter_chains": [{"filters": [{{filter}}]}]
        """);

    private static TestPeer ConnectFrom(DataPlaneHarness plane, string caller)
    {
        var made = Sockets.OpenStream(AddressFamily.IPv4);
        Assert.True(Sockets.Bind(made.Fd, Parse(caller + ":0").ToSocketAddress()).Ok);
        var connected = Sockets.Connect(made.Fd, plane.Listeners.Find("in")!.Sockets[0].Address.ToSocketAddress());
        Assert.True(connected.Ok || connected.Error == Errno.EINPROGRESS);
        return new TestPeer(made.Fd);
    }

    /// <summary>One request from the client and its answer, by a new connection to the upstream or by the one given; answers that connection.</summary>
    private static TestPeer Ask(DataPlaneHarness plane, TestPeer client, FakeUpstream upstream, TestPeer? expected)
    {
        client.Send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        var peer = expected ?? upstream.Accept();
        int before = expected is null ? 0 : Heads(peer.Text);
        plane.Loop.Until(() => Heads(peer.Read()) == before + 1);
        int answers = Heads(client.Text);
        peer.Send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        plane.Loop.Until(() => Heads(client.Read()) == answers + 1);
        plane.Loop.Settle();
        return peer;
    }

    private static int Heads(string text) => text.Split("\r\n\r\n").Length - 1;

    private static string RemoteOf(TestPeer peer)
    {
        Assert.True(Sockets.PeerAddress(peer.Fd, out var address).Ok);
        return Address.From(address).HostString();
    }

    private static Address Parse(string text)
    {
        Assert.True(Address.TryParse(text, out var address));
        return address;
    }

    private sealed class Accepted(Connection connection) : AcceptedConnection
    {
        internal override Connection Connection => connection;
        internal override int WorkerIndex => 0;
    }
}
