using System.Linq;
using System.Net;
using System.Net.Sockets;
using Sidecar.Config;
using Sidecar.Server;
using Sidecar.Telemetry.Stats;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Server;

/// <summary>Which descriptors a snapshot needs, and listeners that cannot have theirs.</summary>
public class ListenerSocketsTests
{
    [Fact]
    public void PortInUse_RefusesTheListener_NeighboursAreBound()
    {
        using var other = new TcpListener(IPAddress.Loopback, 0);
        other.Start();
        int taken = ((IPEndPoint)other.LocalEndpoint).Port;
        var sockets = new ListenerSockets(2);
        var prepared = sockets.Prepare(Build(new TestSnapshot().Http("busy", taken, TestSnapshot.Answer("x")).Http("free", 0, TestSnapshot.Answer("x"))).Listeners);
        var failure = Assert.Single(prepared.Failures);
        Assert.Equal("busy", failure.Listener.Name);
        Assert.Equal($"cannot bind '127.0.0.1:{taken}': the address is already in use; stop the other process or change the port", failure.Reason);
        Assert.All(prepared.ByWorker, made => Assert.Equal("free", Assert.Single(made).ListenerName));
        Close(prepared);
    }

    [Fact]
    public void AddressThatStays_KeepsItsSockets()
    {
        var sockets = new ListenerSockets(1);
        var first = sockets.Prepare(Build(new TestSnapshot().Http("http", 0, TestSnapshot.Answer("x"))).Listeners);
        var second = sockets.Prepare(Build(new TestSnapshot().Http("http", 0, TestSnapshot.Answer("y"))).Listeners);
        Assert.Single(first.ByWorker[0]);
        Assert.Empty(second.ByWorker[0]);
        Close(first);
    }

    [Fact]
    public void RemovedAndBack_IsBoundAgain()
    {
        var sockets = new ListenerSockets(1);
        var one = Build(new TestSnapshot().Http("http", 0, TestSnapshot.Answer("x"))).Listeners;
        Close(sockets.Prepare(one));
        sockets.Prepare([]);
        var again = sockets.Prepare(one);
        Assert.Single(again.ByWorker[0]);
        Close(again);
    }

    [Fact]
    public void NotBoundToAPort_NeedsNone()
    {
        var sockets = new ListenerSockets(1);
        var prepared = sockets.Prepare(Build(new TestSnapshot().Cluster("up", false).Raw("l", 1, """ "bind_to_port": false, "filter_chains": [{"filters": [$tcp]}] """)).Listeners);
        Assert.Empty(prepared.ByWorker[0]);
        Assert.Empty(prepared.Failures);
    }

    private static Snapshot Build(TestSnapshot snapshot)
    {
        var result = new SnapshotBuilder(new StatsRegistry(2), 2, "", () => 0).Build(
            ResourceReader.ReadDocument(System.Text.Encoding.UTF8.GetBytes(snapshot.ToString()), "test.json"));
        Assert.Empty(result.Errors);
        return result.Snapshot;
    }

    private static void Close(ListenerSockets.Prepared prepared)
    {
        foreach (var socket in prepared.ByWorker.SelectMany(made => made))
            Sidecar.Linux.Sockets.Close(socket.Fd);
    }
}
