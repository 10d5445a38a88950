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
        var objects = Objects();
        var second = Build(Mesh());
        Assert.Equal(0, second.Changed);
        Assert.Equal(first.Accepted.Count, second.Unchanged);
        Assert.Equal(objects, Objects());
    }

    [Fact]
    public void ChangedCluster_OthersStay()
    {
        Build(Mesh());
        var (a, b, listener) = (Cluster("a"), Cluster("b"), Listener("http"));
        var second = Build(Mesh().Cluster("b", true, 99));
        Assert.Equal(1, second.Changed);
        Assert.Equal(["b"], second.Accepted.Select(s => s.Name));
        Assert.Same(a, Cluster("a"));
        Assert.NotSame(b, Cluster("b"));
        Assert.Equal(b.Slot, Cluster("b").Slot);
        Assert.Same(listener, Listener("http"));
    }

    [Fact]
    public void ChangedRouteTable_ListenerStays()
    {
        Build(Mesh());
        var (table, listener) = (Of(ResourceTypes.RouteConfiguration, "r"), Listener("http"));
        Assert.Equal(1, Build(Mesh().Routes("r", TestSnapshot.To("b"))).Changed);
        Assert.Same(listener, Listener("http"));
        Assert.NotSame(table, Of(ResourceTypes.RouteConfiguration, "r"));
    }

    [Fact]
    public void Version_KnowsWhatItRefersTo()
    {
        Build(Mesh().Http("inline", 8, TestSnapshot.To("b")));
        Assert.Empty(State(ResourceTypes.Cluster, "a").Accepted!.Clusters);
        Assert.Equal(["a"], State(ResourceTypes.RouteConfiguration, "r").Accepted!.Clusters.Select(c => c.Name));
        Assert.Equal([new RouteRef("r", null)], State(ResourceTypes.Listener, "http").Accepted!.Routes);
        Assert.Equal(["b"], State(ResourceTypes.Listener, "inline").Accepted!.Clusters.Select(c => c.Name));
        Assert.Empty(State(ResourceTypes.Listener, "inline").Accepted!.Routes);
    }

    [Fact]
    public void ChangedListener_UnchangedChainIsTheSameObject()
    {
        const string One = """{"filter_chain_match": {"destination_port": 1}, "filters": [$tcp]}""";
        const string Two = """{"filter_chain_match": {"destination_port": 2}, "filters": [$tcp]}""";
        var up = new TestSnapshot().Cluster("up", false);
        Build(up.Raw("l", 7, $$""" "filter_chains": [{{One}}] """));
        var first = Listener("l");
        Build(up.Raw("l", 7, $$""" "filter_chains": [{{Two}}, {{One}}] """));
        Assert.NotSame(first, Listener("l"));
        Assert.Same(first.Chains[0], Listener("l").Chains[1]);
    }

    [Fact]
    public void RefusedResource_KeepsItsOldVersion_NeighboursAreTaken()
    {
        Build(Mesh());
        var (a, listener) = (Cluster("a"), Listener("http"));
        var second = Build(Mesh().Cluster("a", true, 99).Raw("http", 7, """ "filter_chains": [] """));
        Assert.Equal("listener http", Assert.Single(second.Errors).Resource);
        Assert.Same(listener, Listener("http"));
        Assert.NotSame(a, Cluster("a"));
        var state = State(ResourceTypes.Listener, "http");
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
        Assert.Empty(Build(Mesh()).Errors);
        Assert.Null(State(ResourceTypes.Listener, "http").Refused);
        Assert.Empty(State(ResourceTypes.Listener, "http").Errors);
    }

    [Fact]
    public void RefusedFromTheStart_IsNotThere()
    {
        var result = Build(Mesh().Raw("bad", 7, """ "filter_chains": [] """));
        Assert.Single(result.Errors);
        Assert.Equal(["http"], _builder.Snapshot.Listeners.Select(l => l.Name));
        Assert.Null(State(ResourceTypes.Listener, "bad").Accepted);
        // Gone from the file, it is forgotten.
        Build(Mesh());
        Assert.Null(_builder.Snapshot.Find(ResourceTypes.Listener, "bad"));
    }

    [Fact]
    public void RemovedResources_Go()
    {
        Build(Mesh());
        var second = Build(new TestSnapshot().Cluster("a", false, 1));
        Assert.Equal(["a"], _builder.Snapshot.Clusters.Select(c => c.Name));
        Assert.Empty(_builder.Snapshot.Listeners);
        Assert.Equal(["b", "r", "http"], second.Removed.Select(s => s.Name));
        Assert.Equal(3, second.Changed);
    }

    [Fact]
    public void RemovedAndBack_KeepsItsSlot()
    {
        Build(Mesh());
        int slot = Cluster("b").Slot;
        Build(new TestSnapshot().Cluster("a", false, 1));
        Build(Mesh());
        Assert.Equal(slot, Cluster("b").Slot);
    }

    [Fact]
    public void Take_RemovesWhatIsNamed_AndLeavesTheRest()
    {
        Build(Mesh());
        var result = _builder.Take(ResourceTypes.Cluster, [], ["b", "never there"]);
        Assert.Equal(["b"], result.Removed.Select(s => s.Name));
        Assert.Equal(["a"], _builder.Snapshot.Clusters.Select(c => c.Name));
    }

    [Fact]
    public void Take_SameContentUnderANewVersion_KeepsTheObject_AndTellsTheVersion()
    {
        Build(Mesh());
        var (old, config) = (State(ResourceTypes.Cluster, "a").Accepted!.Resource, Cluster("a"));
        var result = _builder.Take(ResourceTypes.Cluster, [old with { Version = "2", Source = "10.0.0.1:15010" }], []);
        Assert.Equal((0, 1), (result.Changed, result.Unchanged));
        Assert.Same(config, Cluster("a"));
        Assert.Equal("2", State(ResourceTypes.Cluster, "a").Accepted!.Resource.Version);
    }

    [Fact]
    public void StaticResource_IsNeitherChangedNorRemovedByDiscovery_AndSaysSo()
    {
        _builder.Build(Read(Mesh()), isStatic: true);
        var config = Cluster("a");
        var other = new SnapshotBuilder(new StatsRegistry(1), 1, "", () => 1).Build(Read(new TestSnapshot().Cluster("a", true, 77))).Snapshot.Resources[0].Accepted!.Resource;
        var result = _builder.Take(ResourceTypes.Cluster, [other], ["a", "b"]);
        Assert.Empty(result.Errors);
        Assert.Empty(result.Accepted);
        Assert.Empty(result.Removed);
        Assert.Same(config, Cluster("a"));
        Assert.Equal("is static: it comes from the bootstrap, and this version has no effect", Assert.Single(result.WithoutEffect).Reason);
    }

    [Fact]
    public void Stats_LiveAsLongAsAVersionThatAskedForThem()
    {
        Build(Mesh());
        var scope = Scope("cluster.b.");
        var first = State(ResourceTypes.Cluster, "b").Accepted!;
        Build(Mesh().Cluster("b", true, 99));
        var second = State(ResourceTypes.Cluster, "b").Accepted!;
        _builder.Release(first);
        Assert.Same(scope, Scope("cluster.b."));
        _builder.Release(second);
        Assert.DoesNotContain(_stats.Scopes, s => s.Prefix == "cluster.b.");
    }

    [Fact]
    public void Stats_OfARefusedVersionAreNotKept()
    {
        Build(new TestSnapshot().Listener("bad", 7, """
            {"name": "envoy.filters.network.http_connection_manager", "typed_config": {
             "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "refused"}}
            """));
        Assert.Empty(_stats.Scopes);
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
        Assert.NotNull(named.Snapshot.Find(ResourceTypes.RouteConfiguration, "r")!.Accepted);
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
    public void RefuseListener_AfterAFailedBind_VersionInUseStays()
    {
        Build(Mesh());
        var state = State(ResourceTypes.Listener, "http");
        state.Active = state.Accepted;
        Build(Mesh().Http("http", 8, TestSnapshot.Answer("x")));
        Assert.True(state.IsWarming);
        var error = _builder.RefuseListener(state, "the address is already in use");
        Assert.Equal("test.json: listener http: address: the address is already in use", error.ToString());
        Assert.Same(state.Active, state.Accepted);
        Assert.NotNull(state.Refused);
        // Asked for again unchanged, it is tried again: the port may be free by now.
        Assert.Equal(["http"], Build(Mesh().Http("http", 8, TestSnapshot.Answer("x"))).Accepted.Select(s => s.Name));
    }

    [Fact]
    public void RefuseListener_ThatIsNew_LeavesItsAddressToOthers()
    {
        Build(Mesh());
        Build(Mesh().Http("new", 8, TestSnapshot.Answer("x")));
        _builder.RefuseListener(State(ResourceTypes.Listener, "new"), "no");
        Assert.Equal(["http"], _builder.Snapshot.Listeners.Select(l => l.Name));
        Assert.Empty(Build(Mesh().Http("newer", 8, TestSnapshot.Answer("x"))).Errors);
    }

    [Fact]
    public void FileThatCannotBeRead_KeepsEverything()
    {
        Build(Mesh());
        var objects = Objects();
        var second = _builder.Build(ResourceReader.ReadDocument("{\"configs\": [{"u8.ToArray(), "test.json"));
        Assert.NotEmpty(second.Errors);
        Assert.Equal(objects, Objects());
        Assert.Equal(0, second.Changed);
    }

    private static TestSnapshot Mesh() => new TestSnapshot().Cluster("a", false, 1).Cluster("b", false, 2).Routes("r", TestSnapshot.To("a")).HttpByName("http", 7, "r");

    private static ResourceSet Read(TestSnapshot snapshot) => ResourceReader.ReadDocument(Encoding.UTF8.GetBytes(snapshot.ToString()), "test.json");

    private SnapshotBuilder.Result Build(TestSnapshot snapshot) => _builder.Build(Read(snapshot));

    private object[] Objects() => _builder.Snapshot.Resources.Select(s => s.Accepted!.Translated!).ToArray();

    private ResourceState State(string typeUrl, string name) => _builder.Snapshot.Find(typeUrl, name)!;

    private object Of(string typeUrl, string name) => State(typeUrl, name).Accepted!.Translated!;

    private Sidecar.Upstream.ClusterConfig Cluster(string name) => (Sidecar.Upstream.ClusterConfig)Of(ResourceTypes.Cluster, name);

    private Sidecar.Downstream.ListenerConfig Listener(string name) => (Sidecar.Downstream.ListenerConfig)Of(ResourceTypes.Listener, name);

    private StatsScope Scope(string prefix) => _stats.Scopes.Single(s => s.Prefix == prefix);
}
