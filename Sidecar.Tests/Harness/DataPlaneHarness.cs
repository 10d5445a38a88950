using System;
using System.Collections.Generic;
using System.Linq;
using System.Text;
using Sidecar.Config;
using Sidecar.Downstream;
using Sidecar.Filters;
using Sidecar.Linux;
using Sidecar.Memory;
using Sidecar.Net;
using Sidecar.Server;
using Sidecar.Telemetry;
using Sidecar.Telemetry.Stats;
using Sidecar.Upstream;
using Xunit;

namespace Sidecar.Tests.Harness;

/// <summary>
/// One worker's data plane on a loop that the test turns by hand: snapshot builder, clusters, listeners and everything below are the product's own,
/// sockets are real and of this machine, time stands still until told. Clients and upstreams are bytes the test writes.
/// </summary>
internal sealed class DataPlaneHarness : IDisposable
{
    private const int DrainTimeMs = 10_000;

    private readonly SnapshotBuilder _builder;
    private readonly ListenerSockets _sockets = new(1);
    private readonly Warming _warming;
    private readonly WorkerUpdates _updates;
    private readonly List<IDisposable> _owned = [];

    internal DataPlaneHarness()
    {
        Loop = new TestLoop();
        Stats = new StatsRegistry(1);
        _builder = new SnapshotBuilder(Stats, 1, "test-node", () => Loop.Loop.UnixMs);
        var random = new FastRandom(7);
        Clusters = new Clusters(Loop, 0, random);
        Scope = new WorkerScope(Loop, 0, Clusters, random);
        Listeners = new Listeners(Scope, new ConnectionLimit(1000));
        _warming = new Warming(Loop, _builder, Stats, _sockets, 1, DrainTimeMs) { Ready = Flush };
        _updates = new WorkerUpdates(Loop, Clusters, Scope, Listeners, DrainTimeMs);
    }

    internal TestLoop Loop { get; }
    internal StatsRegistry Stats { get; }
    internal Clusters Clusters { get; }
    internal WorkerScope Scope { get; }
    internal Listeners Listeners { get; }
    internal Snapshot Snapshot => _builder.Snapshot;

    /// <summary>An HTTP listener "http" whose every path goes to a cluster "up" of one fresh upstream.</summary>
    internal static DataPlaneHarness Http(out FakeUpstream upstream, bool http2Upstream = false, string manager = "", string route = "", string cluster = "")
    {
        var plane = new DataPlaneHarness();
        upstream = plane.Upstream();
        plane.Apply(new TestSnapshot().Cluster("up", http2Upstream, cluster, upstream.Port).Http("http", 0, TestSnapshot.To("up", route), manager));
        return plane;
    }

    /// <summary>An HTTP listener "http" with a drain_type, that answers every request with "x".</summary>
    internal static DataPlaneHarness HttpOfDrainType(string drainType)
    {
        var plane = new DataPlaneHarness();
        plane.Apply(new TestSnapshot().Http("http", 0, TestSnapshot.Answer("x")).WithListener("http", $""" "drain_type": "{drainType}" """));
        return plane;
    }

    /// <summary>Applies a snapshot; anything refused fails the test.</summary>
    internal void Apply(TestSnapshot snapshot)
    {
        Take(snapshot);
        Assert.Empty(_warming.BindErrors);
    }

    /// <summary>As <see cref="Apply"/>, false when this machine does not let a listener be bound.</summary>
    internal bool TryApply(TestSnapshot snapshot, out string reason)
    {
        Take(snapshot);
        reason = _warming.BindErrors.Count > 0 ? _warming.BindErrors[0].Reason : "";
        return reason.Length == 0;
    }

    // As Server/ConfigPipeline and Server/Worker do, on one loop.
    private void Take(TestSnapshot snapshot)
    {
        var result = _builder.Build(ResourceReader.ReadDocument(Encoding.UTF8.GetBytes(snapshot.ToString()), "test.json"));
        Assert.Empty(result.Errors);
        _warming.Take(result);
        Flush();
    }

    private void Flush()
    {
        if (_warming.TakeDelta() is not { } delta)
            return;
        var closing = _sockets.TakeClosing();
        _updates.Add(delta, _ => _sockets.Closed(closing));
    }

    /// <summary>A listening socket of the test's own, to be an upstream.</summary>
    internal FakeUpstream Upstream()
    {
        var upstream = new FakeUpstream(Loop);
        _owned.Add(upstream);
        return upstream;
    }

    /// <summary>Connects to a listener.</summary>
    internal TestPeer Connect(string listener = "http")
    {
        var peer = TestPeer.Connect(Listeners.Find(listener)!.Sockets[0].Address);
        _owned.Add(peer);
        return peer;
    }

    /// <summary>The connection manager of a listener with filters of the test's own before its configured ones, for <see cref="ConnectTo"/>.</summary>
    internal HttpConnectionManager Manager(params Func<WorkerScope, HttpFilter>[] filters)
    {
        var made = (HttpConnectionManager)Snapshot.Listeners.Single(l => l.Name == "http").Chains[0].Terminal(Scope);
        HttpFilterFactory[] all = [.. filters.Select(make => new HttpFilterFactory(make)), .. made.Config.Filters];
        var manager = new HttpConnectionManager(made.Config with { Filters = all }, Scope, made.BufferLimit);
        _owned.Add(new Ended(() => manager.CloseAll(Failure.AdminStop)));
        return manager;
    }

    /// <summary>A connection that was accepted for a manager from <see cref="Manager"/>.</summary>
    internal TestPeer ConnectTo(HttpConnectionManager manager)
    {
        var (connection, peer) = Loop.ConnectedByTcp(new Recorder());
        _owned.Add(peer);
        manager.OnConnection(connection, new ConnectionContext("http", "", Snapshot.Listeners.Single(l => l.Name == "http").Stats));
        return peer;
    }

    /// <summary>Sends, and turns until what came back ends like this.</summary>
    internal string Exchange(TestPeer client, string request, string until)
    {
        client.Send(request);
        return Expect(client, until);
    }

    /// <summary>Turns until what a peer has received contains a text; answers all of it.</summary>
    internal string Expect(TestPeer peer, string text)
    {
        Loop.Until(() => peer.Read().Contains(text, StringComparison.Ordinal) || peer.End || peer.Error != Errno.None);
        Assert.Contains(text, peer.Text);
        return peer.Text;
    }

    /// <summary>Turns until a peer has read its connection's end, in order or not.</summary>
    internal string ExpectEnd(TestPeer peer)
    {
        Loop.Until(() => { peer.Receive(); return peer.End || peer.Error != Errno.None; });
        return peer.Text;
    }

    /// <summary>The value of a counter or gauge by its full name; the test fails when there is none such.</summary>
    internal long Stat(string name) => Stats.Value(name);

    /// <summary>Turns until a counter or gauge has a value.</summary>
    internal void ExpectStat(string name, long value)
    {
        Loop.Until(() => Stat(name) == value);
        Assert.Equal(value, Stat(name));
    }

    /// <summary>Whatever happened: nothing of any stream, connection or try is left counted.</summary>
    internal void ExpectNothingActive(string statPrefix = "http", string cluster = "up")
    {
        // A connection we have closed waits this long for its peer to do the same (delayed_close_timeout).
        Loop.Settle();
        Loop.Advance(1_000);
        ExpectStat($"http.{statPrefix}.downstream_rq_active", 0);
        ExpectStat($"http.{statPrefix}.downstream_cx_active", 0);
        ExpectStat($"cluster.{cluster}.upstream_rq_active", 0);
        ExpectStat($"cluster.{cluster}.upstream_rq_pending_active", 0);
    }

    public void Dispose()
    {
        foreach (var owned in _owned)
            owned.Dispose();
        Listeners.CloseAll(Failure.AdminStop);
        foreach (var entry in Clusters.All.ToArray())
            Clusters.Remove(entry.Config!.Name);
        Loop.Settle();
        Loop.Until(() => Loop.Loop.HandlerCount == 0);
        Loop.Dispose();
    }

    private sealed class Ended(Action end) : IDisposable
    {
        public void Dispose() => end();
    }
}

/// <summary>A listening socket whose connections are peers the test writes and reads by hand.</summary>
internal sealed class FakeUpstream : IDisposable
{
    private readonly TestLoop _loop;
    private readonly List<TestPeer> _peers = [];
    private int _fd;

    internal FakeUpstream(TestLoop loop)
    {
        _loop = loop;
        var bound = ListenSocket.Bind(new ListenOptions { Address = Address.Loopback(0), ReusePort = false }, out string step);
        Assert.True(bound.Ok, step);
        _fd = bound.Fd;
        Assert.True(Sockets.LocalAddress(_fd, out var address).Ok);
        Port = Address.From(address).Port;
    }

    internal int Port { get; }

    /// <summary>The connections accepted so far.</summary>
    internal IReadOnlyList<TestPeer> Peers => _peers;

    /// <summary>Turns until somebody connects.</summary>
    internal TestPeer Accept()
    {
        TestPeer? peer = null;
        _loop.Until(() => TryAccept(out peer));
        return peer!;
    }

    /// <summary>A connection that is there already.</summary>
    internal bool TryAccept(out TestPeer? peer)
    {
        var got = Sockets.Accept(_fd, out _);
        peer = got.Ok ? new TestPeer(got.Fd) : null;
        if (peer is not null)
            _peers.Add(peer);
        return got.Ok;
    }

    /// <summary>Stops listening: the next connection is refused.</summary>
    internal void Close()
    {
        if (_fd >= 0)
            Sockets.Close(_fd);
        _fd = -1;
    }

    public void Dispose()
    {
        Close();
        foreach (var peer in _peers)
            peer.Dispose();
    }
}
