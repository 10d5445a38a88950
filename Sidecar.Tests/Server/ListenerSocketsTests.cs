using System;
using System.Collections.Generic;
using System.Linq;
using System.Net;
using System.Net.Sockets;
using Sidecar.Config;
using Sidecar.Downstream;
using Sidecar.Server;
using Sidecar.Telemetry.Stats;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Server;

/// <summary>Which descriptors a snapshot needs, and listeners that cannot have theirs.</summary>
public sealed class ListenerSocketsTests : IDisposable
{
    private readonly List<BoundSocket> _made = [];

    [Fact]
    public void PortInUse_RefusesTheListener_NothingOfItStaysBound()
    {
        using var other = new TcpListener(IPAddress.Loopback, 0);
        other.Start();
        int taken = ((IPEndPoint)other.LocalEndpoint).Port;
        var sockets = new ListenerSockets(2);
        var busy = Listener(new TestSnapshot().Http("busy", taken, TestSnapshot.Answer("x")));
        string expected = $"cannot bind '127.0.0.1:{taken}': the address is already in use; stop the other process or change the port";
        Assert.Equal(expected, sockets.Check(busy));
        Assert.False(sockets.TryOpen(busy, _made, out string reason));
        Assert.Equal(expected, reason);
        Assert.Empty(_made);
        other.Stop();
        Assert.Null(sockets.Check(busy));
        Assert.True(sockets.TryOpen(busy, _made, out _));
        Assert.Equal([0, 1], _made.Select(m => m.Worker));
    }

    [Fact]
    public void AddressThatStays_KeepsItsSockets()
    {
        var sockets = new ListenerSockets(1);
        Open(sockets, new TestSnapshot().Http("http", 0, TestSnapshot.Answer("x")));
        Open(sockets, new TestSnapshot().Http("http", 0, TestSnapshot.Answer("y")));
        Assert.Single(_made);
    }

    [Fact]
    public void PortZero_OnePortForAllWorkers_AndTheListenerIsThere()
    {
        var sockets = new ListenerSockets(3);
        var listener = Listener(new TestSnapshot().Http("http", 0, TestSnapshot.Answer("x")));
        Assert.Equal("127.0.0.1:0", Assert.Single(sockets.AddressesOf(listener)).ToString());
        Assert.True(sockets.TryOpen(listener, _made, out string reason), reason);
        var actual = Assert.Single(sockets.AddressesOf(listener));
        Assert.NotEqual(0, actual.Port);
        Assert.Equal([0, 1, 2], _made.Select(m => m.Worker));
        foreach (var made in _made)
        {
            Assert.True(Sidecar.Linux.Sockets.LocalAddress(made.Fd, out var bound).Ok);
            Assert.Equal(actual, Sidecar.Net.Address.From(bound));
        }
        // The next version of it keeps the port.
        Assert.True(sockets.TryOpen(Listener(new TestSnapshot().Http("http", 0, TestSnapshot.Answer("y"))), _made, out _));
        Assert.Equal(actual, Assert.Single(sockets.AddressesOf(listener)));
        Assert.Equal(3, _made.Count);
    }

    [Fact]
    public void RemovedAndBack_IsBoundAgain_AlsoBeforeTheWorkersHaveClosed()
    {
        var sockets = new ListenerSockets(1);
        var free = new TcpListener(IPAddress.Loopback, 0);
        free.Start();
        int port = ((IPEndPoint)free.LocalEndpoint).Port;
        free.Stop();
        var snapshot = new TestSnapshot().Http("http", port, TestSnapshot.Answer("x"));
        Open(sockets, snapshot);
        sockets.Forget("http");
        var closing = sockets.TakeClosing();
        Assert.Single(closing);
        Open(sockets, snapshot);
        Assert.Equal(2, _made.Count);
        // The first socket is closed: the address is ours by the second alone, and only until that one is forgotten, too.
        Sidecar.Linux.Sockets.Close(_made[0].Fd);
        sockets.Closed(closing);
        Assert.Null(sockets.Check(Listener(new TestSnapshot().Http("other", port, TestSnapshot.Answer("x")))));
        sockets.Forget("http");
        sockets.Closed(sockets.TakeClosing());
        Assert.Contains("already in use", sockets.Check(Listener(snapshot)));
        Sidecar.Linux.Sockets.Close(_made[1].Fd);
        _made.Clear();
    }

    [Fact]
    public void NotBoundToAPort_NeedsNone_AndGivesBackWhatItHad()
    {
        var sockets = new ListenerSockets(1);
        Open(sockets, new TestSnapshot().Http("l", 0, TestSnapshot.Answer("x")));
        var unbound = new TestSnapshot().Cluster("up", false).Raw("l", 1, """ "bind_to_port": false, "filter_chains": [{"filters": [$tcp]}] """);
        Open(sockets, unbound);
        Assert.Single(_made);
        Assert.Single(sockets.TakeClosing());
    }

    public void Dispose()
    {
        foreach (var socket in _made)
            Sidecar.Linux.Sockets.Close(socket.Fd);
    }

    private void Open(ListenerSockets sockets, TestSnapshot snapshot)
    {
        Assert.True(sockets.TryOpen(Listener(snapshot), _made, out string reason), reason);
    }

    private static ListenerConfig Listener(TestSnapshot snapshot)
    {
        var result = new SnapshotBuilder(new StatsRegistry(2), 2, "", () => 0).Build(
            ResourceReader.ReadDocument(System.Text.Encoding.UTF8.GetBytes(snapshot.ToString()), "test.json"));
        Assert.Empty(result.Errors);
        return result.Snapshot.Listeners[0];
    }
}
