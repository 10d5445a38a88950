using System;
using System.Collections.Generic;
using System.Linq;
using System.Text;
using Sidecar.Config;
using Sidecar.Linux;
using Sidecar.Server;
using Sidecar.Telemetry.Stats;
using Sidecar.Tests.Harness;
using Sidecar.Wire;
using Xunit;

namespace Sidecar.Tests.Server;

/// <summary>What is accepted and when it is given to the workers, told as stories of pushes.</summary>
public sealed class WarmingTests : IDisposable
{
    private const string Clusters = ResourceTypes.Cluster;
    private const string Endpoints = ResourceTypes.ClusterLoadAssignment;
    private const string Routes = ResourceTypes.RouteConfiguration;
    private const string Listeners = ResourceTypes.Listener;
    private const int DrainMs = 5_000;

    private readonly TestLoop _loop = new();
    private readonly StatsRegistry _stats = new(1);
    private readonly SnapshotBuilder _builder;
    private readonly Warming _warming;
    private readonly List<string> _log = [];

    public WarmingTests()
    {
        _builder = new SnapshotBuilder(_stats, 1, "", () => 1);
        _warming = new Warming(_loop, _builder, _stats, new ListenerSockets(1), 1, DrainMs) { Discovers = true, Ready = Collect };
    }

    public void Dispose() => _loop.Dispose();

    [Fact]
    public void NewEdsCluster_ServesWhenItsEndpointsHaveCome()
    {
        Push(Clusters, new TestSnapshot().EdsCluster("a", false, 1));
        Assert.Empty(Served());
        Assert.Equal(["a"], _warming.EndpointNames);
        Assert.True(_warming.EndpointNamesChanged);
        Assert.False(_warming.IsWarm(Clusters));
        Push(Endpoints, new TestSnapshot().EdsCluster("a", false, 1, 2));
        Assert.Equal(["cluster a 2"], Served());
        Assert.True(_warming.IsWarm(Clusters));
    }

    [Fact]
    public void EmptyAssignment_IsAnAnswer()
    {
        Push(Clusters, new TestSnapshot().EdsCluster("a", false));
        Push(Endpoints, new TestSnapshot().EdsCluster("a", false));
        Assert.Equal(["cluster a 0"], Served());
    }

    [Fact]
    public void EndpointsThatDoNotCome_AreGivenUp()
    {
        Push(Clusters, new TestSnapshot().EdsCluster("a", false).EdsCluster("b", false));
        _warming.GiveUp(Endpoints, ["a", "nobody asked for it"]);
        Assert.Equal(["cluster a 0"], Served());
        // They may still come.
        Push(Endpoints, new TestSnapshot().EdsCluster("a", false, 1));
        Assert.Equal(["hosts a 1"], Served());
    }

    [Fact]
    public void StaticCluster_ServesAtOnce()
    {
        Push(Clusters, new TestSnapshot().Cluster("a", false, 1));
        Assert.Equal(["cluster a"], Served());
        Assert.Empty(_warming.EndpointNames);
    }

    [Fact]
    public void ChangedCluster_OldOneServesUntilTheEndpointsOfTheNewOneHaveCome()
    {
        Warm(new TestSnapshot().EdsCluster("a", false, 1));
        Push(Clusters, Renamed("a", "other"));
        Assert.Empty(Served());
        var state = _builder.Snapshot.Find(Clusters, "a")!;
        Assert.True(state.IsWarming);
        Assert.NotNull(state.Active);
        // Endpoints of the old name still reach the old version.
        Push(Endpoints, new TestSnapshot().EdsCluster("a", false, 1, 2, 3));
        Assert.Equal(["hosts a 3"], Served());
        Push(Endpoints, new TestSnapshot().EdsCluster("other", false, 4));
        Assert.Equal(["cluster a 1"], Served());
        Assert.False(state.IsWarming);
        Assert.Equal(["a", "other"], _warming.EndpointNames.Order());
        After(DrainMs);
        Assert.Equal(["other"], _warming.EndpointNames);
        Assert.Null(_builder.Snapshot.Find(Endpoints, "a"));
    }

    [Fact]
    public void ChangedCluster_WithTheSameEndpoints_NeedNotWait_AndKeepsItsHosts()
    {
        Warm(new TestSnapshot().EdsCluster("a", false, 1));
        var host = _builder.Snapshot.Find(Clusters, "a")!.Hosts!.Priorities[0].Hosts[0];
        Push(Clusters, new TestSnapshot().EdsCluster("a", true, 1));
        Assert.Equal(["cluster a 1"], Served());
        Assert.Same(host, _builder.Snapshot.Find(Clusters, "a")!.Hosts!.Priorities[0].Hosts[0]);
    }

    [Fact]
    public void WarmingClusterReplacedByANewerOne_OnlyTheNewerIsEverServed()
    {
        Push(Clusters, Renamed("a", "one"));
        Push(Clusters, Renamed("a", "two"));
        Assert.Equal(["two"], _warming.EndpointNames);
        Push(Endpoints, new TestSnapshot().EdsCluster("one", false, 1));
        Assert.Empty(Served());
        Push(Endpoints, new TestSnapshot().EdsCluster("two", false, 1, 2));
        Assert.Equal(["cluster a 2"], Served());
    }

    [Fact]
    public void Routes_WaitForAClusterThatIsWarmingForTheFirstTime()
    {
        Push(Clusters, new TestSnapshot().EdsCluster("new", false, 1));
        Push(Routes, new TestSnapshot().Routes("r", TestSnapshot.To("new")));
        Assert.Empty(Served());
        Push(Endpoints, new TestSnapshot().EdsCluster("new", false, 1));
        Assert.Equal(["cluster new 1", "routes r"], Served());
    }

    [Fact]
    public void Routes_DoNotWaitForAnUnknownCluster_NorForAChangeOfAKnownOne()
    {
        Warm(new TestSnapshot().EdsCluster("a", false, 1));
        Push(Clusters, Renamed("a", "other"));
        Push(Routes, new TestSnapshot().Routes("r", TestSnapshot.To("a")).Routes("s", TestSnapshot.To("nowhere")));
        Assert.Equal(["routes r", "routes s"], Served());
    }

    [Fact]
    public void Listener_WaitsForItsRoutes()
    {
        Push(Listeners, new TestSnapshot().HttpByName("http", 0, "r"));
        Assert.Empty(Served());
        Assert.Equal(["r"], _warming.RouteNames);
        Assert.True(_warming.RouteNamesChanged);
        Push(Routes, new TestSnapshot().Routes("r", TestSnapshot.Answer("x")));
        Assert.Equal(["routes r", "listener http"], Served());
    }

    [Fact]
    public void Listener_WhoseRoutesAreGivenUp_ServesWithoutThem()
    {
        Push(Listeners, new TestSnapshot().HttpByName("http", 0, "r"));
        _warming.GiveUp(Routes, ["r"]);
        Assert.Equal(["routes r none", "listener http"], Served());
    }

    [Fact]
    public void ChangedListener_OldOneServesUntilTheRoutesOfTheNewOneHaveCome()
    {
        Push(Listeners, new TestSnapshot().HttpByName("http", 0, "r"));
        Push(Routes, new TestSnapshot().Routes("r", TestSnapshot.Answer("x")));
        Served();
        Push(Listeners, new TestSnapshot().HttpByName("http", 0, "s"));
        Assert.Empty(Served());
        Assert.NotNull(_builder.Snapshot.Find(Listeners, "http")!.Active);
        Push(Routes, new TestSnapshot().Routes("s", TestSnapshot.Answer("y")));
        Assert.Equal(["routes s", "listener http"], Served());
        // Connections of the old chain still have requests to route: its routes go when they have drained.
        Assert.Equal(["r", "s"], _warming.RouteNames.Order());
        After(DrainMs);
        Assert.Equal(["routes r none"], Served());
        Assert.Equal(["s"], _warming.RouteNames);
    }

    [Fact]
    public void Listener_WithInlineRoutes_WaitsForTheirClusters()
    {
        Push(Clusters, new TestSnapshot().EdsCluster("a", false, 1));
        Push(Listeners, new TestSnapshot().Http("http", 0, TestSnapshot.To("a")));
        Assert.Empty(Served());
        Push(Endpoints, new TestSnapshot().EdsCluster("a", false, 1));
        Assert.Equal(["cluster a 1", "listener http"], Served());
    }

    [Fact]
    public void HeldListeners_ServeWhenTheStartIsOver()
    {
        _warming.HoldsListeners = true;
        Push(Listeners, new TestSnapshot().Http("http", 0, TestSnapshot.Answer("x")));
        Assert.Empty(Served());
        Assert.True(_warming.IsWarm(Listeners));
        _warming.ReleaseListeners();
        Assert.Equal(["listener http"], Served());
    }

    [Fact]
    public void RemovedCluster_GoesWhenNoRouteNamesItAnyMore()
    {
        Push(Clusters, new TestSnapshot().Cluster("old", false, 1).Cluster("new", false, 2));
        Push(Routes, new TestSnapshot().Routes("r", TestSnapshot.To("old")));
        Served();
        Push(Clusters, new TestSnapshot(), "old");
        Assert.Empty(Served());
        Push(Routes, new TestSnapshot().Routes("r", TestSnapshot.To("new")));
        Assert.Equal(["routes r"], Served());
        // Requests that chose the old table are still under way.
        After(DrainMs);
        Assert.Equal(["no cluster old"], Served());
        Assert.Null(_builder.Snapshot.Find(Clusters, "old"));
    }

    [Fact]
    public void RemovedCluster_ThatNobodyNames_GoesAtOnce_AndItsStatsWithItsStreams()
    {
        Push(Clusters, new TestSnapshot().Cluster("a", false, 1));
        Served();
        Push(Clusters, new TestSnapshot(), "a");
        Assert.Equal(["no cluster a"], Served());
        Assert.Contains(_stats.Scopes, s => s.Prefix == "cluster.a.");
        After(DrainMs);
        Assert.Empty(_stats.Scopes);
    }

    [Fact]
    public void RemovedCluster_ThatIsNamedForEver_GoesInTheEnd()
    {
        Push(Clusters, new TestSnapshot().Cluster("a", false, 1));
        Push(Routes, new TestSnapshot().Routes("r", TestSnapshot.To("a")));
        Served();
        Push(Clusters, new TestSnapshot(), "a");
        After(Warming.LeavingMs - 1);
        Assert.Empty(Served());
        After(1);
        Assert.Equal(["no cluster a"], Served());
    }

    [Fact]
    public void RemovedCluster_ThatComesBackUnchanged_WasNeverAway()
    {
        Push(Clusters, new TestSnapshot().Cluster("a", false, 1));
        Push(Routes, new TestSnapshot().Routes("r", TestSnapshot.To("a")));
        Served();
        Push(Clusters, new TestSnapshot(), "a");
        Push(Clusters, new TestSnapshot().Cluster("a", false, 1));
        After(2 * Warming.LeavingMs);
        Assert.Empty(Served());
        Assert.False(_builder.Snapshot.Find(Clusters, "a")!.IsWarming);
    }

    [Fact]
    public void RemovedWarmingCluster_LetsItsRoutesGoOn()
    {
        Push(Clusters, new TestSnapshot().EdsCluster("a", false, 1));
        Push(Routes, new TestSnapshot().Routes("r", TestSnapshot.To("a")));
        Assert.Empty(Served());
        Push(Clusters, new TestSnapshot(), "a");
        Assert.Equal(["routes r"], Served());
        Assert.Empty(_warming.EndpointNames);
    }

    [Fact]
    public void RemovedListener_Goes_ItsRoutesAndClustersWhenItHasDrained()
    {
        Push(Clusters, new TestSnapshot().Cluster("a", false, 1));
        Push(Listeners, new TestSnapshot().HttpByName("http", 0, "r"));
        Push(Routes, new TestSnapshot().Routes("r", TestSnapshot.To("a")));
        Served();
        Push(Listeners, new TestSnapshot(), "http");
        Push(Clusters, new TestSnapshot(), "a");
        Assert.Equal(["no listener http"], Served());
        Assert.Equal(1, _warming.Counts.ListenersDraining);
        After(DrainMs);
        Assert.Equal(["routes r none"], Served());
        Assert.Equal(0, _warming.Counts.ListenersDraining);
        After(DrainMs);
        Assert.Equal(["no cluster a"], Served());
        Assert.Empty(_builder.Snapshot.Resources);
        After(DrainMs);
        Assert.Empty(_stats.Scopes);
    }

    [Fact]
    public void EndpointsNobodyAskedFor_AreNotKept()
    {
        Push(Endpoints, new TestSnapshot().EdsCluster("a", false, 1));
        Assert.Empty(_builder.Snapshot.Resources);
    }

    [Fact]
    public void UnbindableListener_IsRefused_TheOldOneServes()
    {
        var taken = Sidecar.Net.ListenSocket.Bind(new Sidecar.Net.ListenOptions { Address = Sidecar.Net.Address.Loopback(0), ReusePort = false }, out _);
        Assert.True(Sockets.LocalAddress(taken.Fd, out var address).Ok);
        int port = Sidecar.Net.Address.From(address).Port;
        Push(Listeners, new TestSnapshot().Http("http", 0, TestSnapshot.Answer("x")));
        Served();
        Push(Listeners, new TestSnapshot().Http("http", port, TestSnapshot.Answer("x")));
        Assert.Empty(Served());
        Assert.Contains("already in use", Assert.Single(_warming.BindErrors).Reason);
        var state = _builder.Snapshot.Find(Listeners, "http")!;
        Assert.Same(state.Active, state.Accepted);
        Assert.NotNull(state.Refused);
        Assert.Equal(1, _warming.Counts.ListenerCreateFailure);
        Sockets.Close(taken.Fd);
    }

    [Fact]
    public void InPlaceUpdate_IsCounted_WithTheChainsItDrains()
    {
        Push(Listeners, new TestSnapshot().Http("http", 0, TestSnapshot.Answer("x")));
        Push(Listeners, new TestSnapshot().Http("http", 0, TestSnapshot.Answer("y")));
        Assert.Equal((1L, 1L, 1L, 1), (_warming.Counts.ListenerAdded, _warming.Counts.ListenerModified, _warming.Counts.ListenerInPlaceUpdated, _warming.Counts.ChainsDraining));
        After(DrainMs);
        Assert.Equal(0, _warming.Counts.ChainsDraining);
        Served();
    }

    [Fact]
    public void Files_BringEverything_NothingWaits()
    {
        _warming.Discovers = false;
        _warming.Take(_builder.Build(Read(new TestSnapshot().EdsCluster("a", false, 1).HttpByName("http", 0, "r"))));
        Assert.Equal(["cluster a 1", "routes r none", "listener http"], Served());
    }

    private void Warm(TestSnapshot snapshot)
    {
        Push(Clusters, snapshot);
        Push(Endpoints, snapshot);
        Served();
    }

    private void Push(string typeUrl, TestSnapshot snapshot, params string[] removed)
    {
        var result = _builder.Take(typeUrl, Read(snapshot).Resources.FindAll(r => r.TypeUrl == typeUrl), removed);
        Assert.Empty(result.Errors);
        _warming.Take(result);
    }

    private static TestSnapshot Renamed(string cluster, string serviceName) => new TestSnapshot().EdsCluster(cluster, serviceName);

    private static ResourceSet Read(TestSnapshot snapshot) => ResourceReader.ReadDocument(Encoding.UTF8.GetBytes(snapshot.ToString()), "test.json");

    private void After(long ms) => _loop.Advance(ms);

    /// <summary>What the workers were told since the last time, in their order.</summary>
    private List<string> Served()
    {
        Collect();
        var told = new List<string>(_log);
        _log.Clear();
        return told;
    }

    private void Collect()
    {
        while (_warming.TakeDelta() is { } delta)
        {
            foreach (var (config, hosts) in delta.Clusters)
                _log.Add($"cluster {config.Name}{(hosts is null ? "" : " " + hosts.Count)}");
            foreach (var (config, hosts) in delta.Hosts)
                _log.Add($"hosts {config.Name} {hosts.Count}");
            foreach (var (slot, table) in delta.Routes)
                _log.Add($"routes {RouteName(slot)}{(table is null ? " none" : "")}");
            _log.AddRange(delta.Listeners.Select(l => $"listener {l.Name}"));
            _log.AddRange(delta.RemovedListeners.Select(name => $"no listener {name}"));
            _log.AddRange(delta.RemovedClusters.Select(name => $"no cluster {name}"));
            foreach (var socket in delta.Sockets)
                Sockets.Close(socket.Fd);
        }
    }

    private string RouteName(int slot) => new[] { "r", "s" }.Single(name => _builder.RouteSlot(name) == slot);
}
