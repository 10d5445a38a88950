using System;
using System.Collections.Generic;
using System.Linq;
using System.Text;
using Sidecar.Config;
using Sidecar.Telemetry.Stats;
using Sidecar.Tests.Harness;
using Sidecar.Wire;
using Xunit;

namespace Sidecar.Tests.Config;

/// <summary>One snapshot after another: what stays, what changes, what goes, and what is refused.</summary>
public class SnapshotBuilderTests
{
    private readonly StatsRegistry _stats = new(1);
    private readonly SnapshotBuilder _builder;

    public SnapshotBuilderTests() => _builder = new SnapshotBuilder(_stats, 1, "", () => 1_000);

    [Fact]
    public void SameResources_AreTheSameObjects()
    {
        var first = Build(Mesh());
        var second = Build(Mesh());
        Assert.Equal(0, second.Changed);
        Assert.Equal(first.Snapshot.Clusters, second.Snapshot.Clusters);
        Assert.Equal(first.Snapshot.Listeners, second.Snapshot.Listeners);
        Assert.Same(first.Snapshot.RouteTables[0], second.Snapshot.RouteTables[0]);
        Assert.True(second.Snapshot.Number > first.Snapshot.Number);
    }

    [Fact]
    public void ChangedCluster_OthersStay()
    {
        var first = Build(Mesh());
        var second = Build(Mesh().Cluster("b", true, 99));
        Assert.Equal(1, second.Changed);
        Assert.Same(Cluster(first, "a"), Cluster(second, "a"));
        Assert.NotSame(Cluster(first, "b"), Cluster(second, "b"));
        Assert.Equal(Cluster(first, "b").Slot, Cluster(second, "b").Slot);
        Assert.Equal(first.Snapshot.Listeners, second.Snapshot.Listeners);
    }

    [Fact]
    public void ChangedRouteTable_ListenerStays()
    {
        var first = Build(Mesh());
        var second = Build(Mesh().Routes("r", TestSnapshot.To("b")));
        Assert.Equal(1, second.Changed);
        Assert.Equal(first.Snapshot.Listeners, second.Snapshot.Listeners);
        Assert.NotSame(first.Snapshot.RouteTables[0], second.Snapshot.RouteTables[0]);
    }

    [Fact]
    public void ChangedListener_UnchangedChainIsTheSameObject()
    {
        const string One = """{"filter_chain_match": {"destination_port": 1}, "filters": [$tcp]}""";
        const string Two = """{"filter_chain_match": {"destination_port": 2}, "filters": [$tcp]}""";
        var up = new TestSnapshot().Cluster("up", false);
        var first = Build(up.Raw("l", 7, $$""" "filter_chains": [{{One}}] """));
        var second = Build(up.Raw("l", 7, $$""" "filter_chains": [{{Two}}, {{One}}] """));
        Assert.NotSame(first.Snapshot.Listeners[0], second.Snapshot.Listeners[0]);
        Assert.Same(first.Snapshot.Listeners[0].Chains[0], second.Snapshot.Listeners[0].Chains[1]);
    }

    [Fact]
    public void RefusedResource_KeepsItsOldVersion_NeighboursAreTaken()
    {
        var first = Build(Mesh());
        var second = Build(Mesh().Cluster("a", true, 99).Raw("http", 7, """ "filter_chains": [] """));
        var error = Assert.Single(second.Errors);
        Assert.Equal("listener http", error.Resource);
        Assert.Same(Listener(first, "http"), Listener(second, "http"));
        Assert.NotSame(Cluster(first, "a"), Cluster(second, "a"));
        var state = second.Snapshot.Resources.Single(r => r.TypeUrl == ResourceTypes.Listener);
        Assert.NotNull(state.Accepted);
        Assert.NotNull(state.Refused);
        Assert.Equal(1_000, state.RefusedUnixMs);
        Assert.Single(state.Errors);
    }

    [Fact]
    public void RefusedResource_MadeGoodAgain_IsAccepted()
    {
        Build(Mesh());
        Build(Mesh().Raw("http", 7, """ "filter_chains": [] """));
        var third = Build(Mesh());
        Assert.Empty(third.Errors);
        var state = third.Snapshot.Resources.Single(r => r.TypeUrl == ResourceTypes.Listener);
        Assert.Null(state.Refused);
        Assert.Empty(state.Errors);
    }

    [Fact]
    public void RefusedFromTheStart_IsNotThere()
    {
        var result = Build(Mesh().Raw("bad", 7, """ "filter_chains": [] """));
        Assert.Single(result.Errors);
        Assert.DoesNotContain(result.Snapshot.Listeners, l => l.Name == "bad");
        Assert.Contains(result.Snapshot.Listeners, l => l.Name == "http");
        Assert.Contains(result.Snapshot.Resources, r => r.Name == "bad" && r.Accepted is null);
    }

    [Fact]
    public void RemovedResources_Go()
    {
        Build(Mesh());
        var second = Build(new TestSnapshot().Cluster("a", false, 1));
        Assert.Equal(["a"], second.Snapshot.Clusters.Select(c => c.Name));
        Assert.Empty(second.Snapshot.Listeners);
        Assert.Null(second.Snapshot.RouteTables[0]);
        Assert.Equal(3, second.Changed);
    }

    [Fact]
    public void RemovedAndBack_KeepsItsSlot()
    {
        int slot = Cluster(Build(Mesh()), "b").Slot;
        Build(new TestSnapshot().Cluster("a", false, 1));
        Assert.Equal(slot, Cluster(Build(Mesh()), "b").Slot);
    }

    [Fact]
    public void Stats_SurviveAnUnchangedAndAChangedResource_AndGoWithARemovedOne()
    {
        Build(Mesh());
        _stats.Sweep();
        var scope = _stats.Scopes.Single(s => s.Prefix == "cluster.b.");
        Build(Mesh().Cluster("b", true, 99));
        _stats.Sweep();
        Assert.Same(scope, _stats.Scopes.Single(s => s.Prefix == "cluster.b."));
        Build(new TestSnapshot().Cluster("a", false, 1));
        _stats.Sweep();
        Assert.DoesNotContain(_stats.Scopes, s => s.Prefix == "cluster.b.");
    }

    [Fact]
    public void RouteToUnknownCluster_IsRefusedOrAnswers503ByValidateClusters()
    {
        var result = Build(new TestSnapshot().Http("http", 7, TestSnapshot.To("nowhere")));
        var error = Assert.Single(result.Errors);
        Assert.Contains("nowhere", error.Reason);
    }

    [Fact]
    public void RouteToRefusedCluster_SaysThatTheClusterIsRefused_UnlessTheTableIsByName()
    {
        const string Refused = """ "lb_policy": "MAGLEV" """;
        var inline = Build(new TestSnapshot().Cluster("x", false, Refused, 1).Http("http", 7, TestSnapshot.To("x")));
        Assert.Equal(
            "test.json: listener http: filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].route.cluster: "
            + "route: unknown cluster 'x': cluster 'x' is refused, see its error",
            inline.Errors.Single(e => e.Resource == "listener http").ToString());
        // validate_clusters is off by default for RDS: the table is taken, its requests get cluster_not_found_response_code.
        var named = new SnapshotBuilder(new StatsRegistry(1), 1, "", () => 1).Build(ResourceReader.ReadDocument(
            Encoding.UTF8.GetBytes(new TestSnapshot().Cluster("x", false, Refused, 1).Routes("r", TestSnapshot.To("x")).HttpByName("http", 7, "r").ToString()), "test.json"));
        Assert.Equal(["cluster x"], named.Errors.Select(e => e.Resource));
        Assert.NotNull(named.Snapshot.RouteTables[0]);
    }

    [Fact]
    public void TcpProxyToUnknownOrRefusedCluster_IsTakenAndSaidSo()
    {
        var absent = Build(new TestSnapshot().Tcp("tcp", 7, "x"));
        Assert.Empty(absent.Errors);
        Assert.Equal(
            "unknown cluster 'x': add it to the clusters, or correct the name; until there is one, connections are closed",
            Assert.Single(absent.WithoutEffect).Reason);
        var refused = Build(new TestSnapshot().Cluster("x", false, """ "lb_policy": "MAGLEV" """, 1).Tcp("tcp", 8, "x"));
        Assert.Contains("is refused, see its error", Assert.Single(refused.WithoutEffect).Reason, StringComparison.Ordinal);
        Assert.Single(refused.Snapshot.Listeners);
    }

    [Theory]
    [InlineData("", "")]
    [InlineData("\"bind_to_port\": false,", "\"bind_to_port\": false,")]
    public void TwoListenersOfOneAddress_LaterOneIsRefused(string first, string second)
    {
        const string Chains = """ "filter_chains": [{"filters": [$tcp]}] """;
        var result = Build(new TestSnapshot().Cluster("up", false, 1).Raw("a", 7, first + Chains).Raw("b", 7, second + Chains));
        Assert.Equal(
            "test.json: listener b: address: error adding listener: 'b' has duplicate address '127.0.0.1:7' as existing listener 'a'; give one of them another address",
            Assert.Single(result.Errors).ToString());
        Assert.Equal(["a"], result.Snapshot.Listeners.Select(l => l.Name));
    }

    [Fact]
    public void TwoListenersOfAnyPort_AreBothTaken()
    {
        const string Chains = """ "filter_chains": [{"filters": [$tcp]}] """;
        Assert.Equal(2, Build(new TestSnapshot().Cluster("up", false, 1).Raw("a", 0, Chains).Raw("b", 0, Chains)).Snapshot.Listeners.Count);
    }

    [Fact]
    public void RefuseListener_AfterAFailedBind_OldVersionStays()
    {
        var first = Build(Mesh());
        var second = Build(Mesh().Http("http", 8, TestSnapshot.Answer("x")));
        var changed = Listener(second, "http");
        Assert.NotSame(Listener(first, "http"), changed);
        var error = _builder.RefuseListener(changed, "the address is already in use", first.Snapshot);
        Assert.Equal("test.json: listener http: address: the address is already in use", error.ToString());
        var rebuilt = _builder.Rebuild();
        Assert.Same(Listener(first, "http"), rebuilt.Listeners.Single(l => l.Name == "http"));
    }

    [Fact]
    public void RefuseListener_ThatIsNew_IsNotThere()
    {
        var first = Build(Mesh());
        var second = Build(Mesh().Http("new", 8, TestSnapshot.Answer("x")));
        _builder.RefuseListener(Listener(second, "new"), "no", first.Snapshot);
        Assert.DoesNotContain(_builder.Rebuild().Listeners, l => l.Name == "new");
        // Asked for again unchanged, it is tried again: the port may be free by now.
        Assert.Contains(Build(Mesh().Http("new", 8, TestSnapshot.Answer("x"))).Snapshot.Listeners, l => l.Name == "new");
    }

    [Fact]
    public void EndpointsWithoutChange_KeepTheirHostSet()
    {
        var mesh = Mesh().EdsCluster("eds", false, 5);
        var first = Build(mesh);
        var second = Build(mesh.Cluster("a", true, 2));
        Assert.Single(first.Snapshot.Hosts);
        Assert.Same(first.Snapshot.Hosts[0].Hosts, second.Snapshot.Hosts[0].Hosts);
    }

    [Fact]
    public void FileThatCannotBeRead_KeepsEverything()
    {
        var first = Build(Mesh());
        var second = _builder.Build(ResourceReader.ReadDocument("{\"configs\": [{"u8.ToArray(), "test.json"));
        Assert.NotEmpty(second.Errors);
        Assert.Equal(first.Snapshot.Listeners, second.Snapshot.Listeners);
        Assert.Equal(first.Snapshot.Clusters, second.Snapshot.Clusters);
        Assert.Equal(0, second.Changed);
    }

    private static TestSnapshot Mesh() => new TestSnapshot().Cluster("a", false, 1).Cluster("b", false, 2).Routes("r", TestSnapshot.To("a")).HttpByName("http", 7, "r");

    private SnapshotBuilder.Result Build(TestSnapshot snapshot) =>
        _builder.Build(ResourceReader.ReadDocument(Encoding.UTF8.GetBytes(snapshot.ToString()), "test.json"));

    private static Sidecar.Upstream.ClusterConfig Cluster(SnapshotBuilder.Result result, string name) => result.Snapshot.Clusters.Single(c => c.Name == name);

    private static Sidecar.Downstream.ListenerConfig Listener(SnapshotBuilder.Result result, string name) => result.Snapshot.Listeners.Single(l => l.Name == name);
}
