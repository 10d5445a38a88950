using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text;
using Google.Protobuf;
using Sidecar.Config;
using Sidecar.Loop;
using Sidecar.Memory;
using Sidecar.Net;
using Sidecar.Server;
using Sidecar.Telemetry.Stats;
using Sidecar.Tests.Harness;
using Sidecar.Upstream;
using Sidecar.Wire;
using Sidecar.Xds;
using Xunit;

namespace Sidecar.Tests.Server;

/// <summary>A control plane's answers on their way to a worker: the start, pushes, refusals, and the last good configuration.</summary>
public sealed class ConfigPipelineTests : IDisposable
{
    private readonly PipelineHarness _harness = new();
    private readonly TestFolder _folder = new();

    public void Dispose()
    {
        _harness.Dispose();
        _folder.Dispose();
    }

    private static TestSnapshot Mesh() =>
        new TestSnapshot().EdsCluster("a", false, 1).Routes("r", TestSnapshot.Answer("x")).HttpByName("http", 0, "r");

    [Fact]
    public void Start_AsksInEnvoysOrder_AndServesWhenAllHaveAnswered()
    {
        _harness.Discover();
        Assert.Equal(["clusters *"], _harness.Asked());
        Assert.False(_harness.Pipeline.HasClusters);
        _harness.Push(ResourceTypes.Cluster, Mesh());
        Assert.Equal(["endpoints of clusters a"], _harness.Asked());
        Assert.False(_harness.Pipeline.HasClusters);
        _harness.Push(ResourceTypes.ClusterLoadAssignment, Mesh());
        Assert.Equal(["listeners *"], _harness.Asked());
        Assert.True(_harness.Pipeline.HasClusters);
        _harness.Push(ResourceTypes.Listener, Mesh());
        Assert.Equal(["route configurations r"], _harness.Asked());
        Assert.False(_harness.Pipeline.IsServing);
        Assert.Empty(_harness.Listeners.All);
        _harness.Push(ResourceTypes.RouteConfiguration, Mesh());
        Assert.True(_harness.Pipeline.IsServing);
        Assert.Equal(["http"], _harness.Listeners.All.Select(l => l.Config.Name));
        Assert.NotNull(_harness.Clusters.Find("a"));
    }

    [Fact]
    public void Start_WithoutAnswers_GoesOnWhenTheyAreGivenUp()
    {
        _harness.Discover();
        _harness.Pipeline.OnFetchTimeout(ResourceTypes.Cluster, []);
        Assert.Equal(["clusters *", "listeners *"], _harness.Asked());
        _harness.Pipeline.OnFetchTimeout(ResourceTypes.Listener, []);
        Assert.True(_harness.Pipeline.IsServing);
    }

    [Fact]
    public void Start_StaticListener_WaitsLikeTheOthers()
    {
        _harness.Discover(new TestSnapshot().Http("static", 0, TestSnapshot.Answer("x")));
        Assert.Empty(_harness.Listeners.All);
        _harness.Push(ResourceTypes.Cluster, new TestSnapshot());
        _harness.Push(ResourceTypes.Listener, new TestSnapshot());
        Assert.Equal(["static"], _harness.Listeners.All.Select(l => l.Config.Name));
    }

    [Fact]
    public void EndpointsThatTheControlPlaneDoesNotHave_HoldNothingBack()
    {
        _harness.Discover();
        _harness.Push(ResourceTypes.Cluster, Mesh());
        _harness.Push(ResourceTypes.ClusterLoadAssignment, new TestSnapshot(), "a");
        Assert.True(_harness.Pipeline.HasClusters);
    }

    [Fact]
    public void EndpointsAndRoutesThatAreRefusedAtFirst_HoldNothingBack_AndServeOnceMended()
    {
        _harness.Discover();
        _harness.Push(ResourceTypes.Cluster, Mesh());
        Assert.Single(_harness.Push(ResourceTypes.ClusterLoadAssignment, new TestSnapshot().EdsCluster("a", false, 70_000)));
        Assert.True(_harness.Pipeline.HasClusters);
        _harness.Push(ResourceTypes.Listener, Mesh());
        Assert.Single(_harness.Push(ResourceTypes.RouteConfiguration, new TestSnapshot().Routes("r", """{"match": {"safe_regex": {"regex": "("}}, "direct_response": {"status": 200}}""")));
        Assert.True(_harness.Pipeline.IsServing);
        Assert.Equal(["http"], _harness.Listeners.All.Select(l => l.Config.Name));
        Assert.Null(_harness.Snapshot.Find(ResourceTypes.RouteConfiguration, "r")!.Active);
        Assert.Empty(_harness.Push(ResourceTypes.RouteConfiguration, Mesh()));
        Assert.Empty(_harness.Push(ResourceTypes.ClusterLoadAssignment, Mesh()));
        Assert.NotNull(_harness.Snapshot.Find(ResourceTypes.RouteConfiguration, "r")!.Active);
        Assert.Equal(1, _harness.Snapshot.Find(ResourceTypes.Cluster, "a")!.Hosts!.Count);
    }

    [Fact]
    public void RefusedResource_IsNamedWithItsPath_TheOthersApply()
    {
        _harness.Start(Mesh());
        var refused = _harness.Push(ResourceTypes.Listener, new TestSnapshot().Raw("bad one", 7, """ "filter_chains": [] """).Http("good", 0, TestSnapshot.Answer("y")));
        Assert.Equal([new ResourceRejection("bad one", "filter_chains", "error adding listener: no filter chains specified")], refused);
        Assert.NotNull(_harness.Listeners.Find("good"));
        Assert.Contains("bad one", Assert.Single(_harness.Pipeline.LastErrors).ToString());
        Assert.Equal(1, _harness.Pipeline.Rejections);
        Assert.Equal(1, _harness.Pipeline.Journal.Records.Last().Refused);
    }

    [Fact]
    public void ListenerOfATakenPort_IsRefused_AlsoWhileItWouldStillBeWarming()
    {
        _harness.Start(Mesh());
        var taken = ListenSocket.Bind(new ListenOptions { Address = Address.Loopback(0), ReusePort = false }, out _);
        Assert.True(Sidecar.Linux.Sockets.LocalAddress(taken.Fd, out var address).Ok);
        var refused = _harness.Push(ResourceTypes.Listener, new TestSnapshot().HttpByName("late", Address.From(address).Port, "not here yet"));
        Assert.Equal("address", Assert.Single(refused).Path);
        Assert.DoesNotContain("not here yet", _harness.Pipeline.Warming.RouteNames);
        Sidecar.Linux.Sockets.Close(taken.Fd);
    }

    [Fact]
    public void UnknownType_IsRefusedWhole()
    {
        _harness.Start(Mesh());
        Assert.Equal("", Assert.Single(_harness.Push(ResourceTypes.Bootstrap, new TestSnapshot())).Name);
    }

    [Fact]
    public void RemovedRoutesThatAreInUse_Stay()
    {
        _harness.Start(Mesh());
        _harness.Push(ResourceTypes.RouteConfiguration, new TestSnapshot(), "r");
        Assert.NotNull(_harness.Snapshot.Find(ResourceTypes.RouteConfiguration, "r")!.Active);
    }

    [Fact]
    public void UnchangedPush_RebuildsNothing_AndTellsTheWorkersNothing()
    {
        _harness.Start(Mesh());
        long number = _harness.Snapshot.Number;
        var cluster = _harness.Clusters.Find("a");
        _harness.Push(ResourceTypes.Cluster, Mesh());
        Assert.Equal(number, _harness.Snapshot.Number);
        Assert.Same(cluster, _harness.Clusters.Find("a"));
        Assert.Equal(1, _harness.Pipeline.Journal.Records.Last().Unchanged);
    }

    [Fact]
    public void ChangedEndpoint_TouchesItsClusterAlone()
    {
        _harness.Start(Mesh().EdsCluster("b", false, 2));
        var (a, b) = (_harness.Clusters.Find("a")!, _harness.Clusters.Find("b")!);
        var (hostsOfA, hostsOfB) = (a.Hosts, b.Hosts);
        _harness.Push(ResourceTypes.ClusterLoadAssignment, new TestSnapshot().EdsCluster("a", false, 1, 3));
        Assert.NotSame(hostsOfA, a.Hosts);
        Assert.Same(hostsOfA.Priorities[0].Hosts[0], a.Hosts.Priorities[0].Hosts[0]);
        Assert.Same(hostsOfB, b.Hosts);
        var record = _harness.Pipeline.Journal.Records.Last();
        Assert.Equal(("eds", 0, 1, "a"), (record.Kind, record.Added, record.Modified, Assert.Single(record.Names)));
        Assert.True(record is { TranslateUs: >= 0, WarmUs: >= 0, SwapUs: >= 0 });
    }

    [Fact]
    public void Journal_RecordOfAWarmingPush_HasNoSwapYet()
    {
        _harness.Start(Mesh());
        _harness.Push(ResourceTypes.Cluster, Mesh().EdsCluster("new", false, 1));
        var record = _harness.Pipeline.Journal.Records.Last();
        Assert.Equal((-1L, -1L, 1), (record.WarmUs, record.SwapUs, record.WaitingCount));
        _harness.Push(ResourceTypes.ClusterLoadAssignment, new TestSnapshot().EdsCluster("new", false, 1));
        Assert.True(record is { WarmUs: >= 0, SwapUs: >= 0, WaitingCount: 0 });
    }

    [Fact]
    public void Expired_CountsAsRemoved()
    {
        _harness.Start(Mesh());
        _harness.Pipeline.OnExpired(ResourceTypes.Listener, ["http"]);
        _harness.Settle();
        Assert.Empty(_harness.Listeners.All);
    }

    [Fact]
    public void ControlLoop_HasTheClustersTheWorkersHave()
    {
        _harness.Start(Mesh().Cluster("xds", true, 1));
        Assert.Equal(["a", "xds"], _harness.Pipeline.ControlClusters.All.Select(e => e.Config!.Name).Order());
    }

    [Fact]
    public void LastGood_IsWrittenAfterAChange_AndServedAtTheNextStart_UntilTheControlPlaneAnswers()
    {
        var mesh = Mesh().EdsCluster("b", false, 5).Http("second", 0, TestSnapshot.Answer("y"));
        _harness.Start(mesh, _folder.Path);
        _harness.Advance(LastGoodFile.SettleMs);
        _harness.Test.Until(() => _harness.Pipeline.LastGood!.SavedUnixMs > 0);

        using var next = new PipelineHarness();
        next.Discover(lastGoodFolder: _folder.Path);
        Assert.True(next.Pipeline.IsServing);
        Assert.Equal(["http", "second"], next.Listeners.All.Select(l => l.Config.Name).Order());
        Assert.Equal(1, next.Clusters.Find("b")!.Hosts.Count);
        Assert.Equal(7, next.Pipeline.UnconfirmedCount);
        Assert.True(next.Pipeline.IsUnconfirmed(next.Snapshot.Find(ResourceTypes.Cluster, "a")!));

        // The control plane answers: what it has is confirmed and keeps its objects, what it has not goes.
        var kept = next.Clusters.Find("a");
        next.Push(ResourceTypes.Cluster, Mesh());
        Assert.Same(kept, next.Clusters.Find("a"));
        Assert.Null(next.Clusters.Find("b"));
        next.Push(ResourceTypes.ClusterLoadAssignment, Mesh());
        next.Push(ResourceTypes.Listener, Mesh());
        next.Push(ResourceTypes.RouteConfiguration, Mesh());
        Assert.Equal(["http"], next.Listeners.All.Select(l => l.Config.Name));
        next.Advance(5_000);
        Assert.Equal(0, next.Pipeline.UnconfirmedCount);
        next.Test.Until(() => !next.Pipeline.LastGood!.IsWriting);
    }

    [Fact]
    public void InitialFetchTimeout_IsThatOfEachSource_AndZeroWaitsForEver()
    {
        using var plane = new FakeAds(_harness.Test);
        _harness.DiscoverFrom(plane);
        const string cds = ResourceTypes.Cluster, lds = ResourceTypes.Listener;
        string Source(string timeout) => $$"""{"ads": {}, "initial_fetch_timeout": "{{timeout}}"}""";
        IMessage[] Clusters(TestSnapshot mesh) => [.. PipelineHarness.Read(mesh).Resources.Select(r => (IMessage)Envoy.Config.Cluster.V3.Cluster.Parser.ParseFrom(r.Bytes.Span))];
        IMessage[] Listeners(TestSnapshot mesh) => [.. PipelineHarness.Read(mesh).Resources.Select(r => (IMessage)Envoy.Config.Listener.V3.Listener.Parser.ParseFrom(r.Bytes.Span))];
        string Ready() => string.Join(" ", _harness.Clusters.All.Select(e => e.Config!.Name).Where(name => name != "xds").Order());

        var stream = plane.Accept().Expect("CDS v= n= [] node:node");
        stream.Send(DiscoveryMessages.World(cds, "1", "1", Clusters(new TestSnapshot()
            .EdsCluster("brief", "s1", Source("2s")).EdsCluster("usual", "s2").EdsCluster("endless", "s3", Source("0s")).EdsCluster("other", "s3", Source("20s")))));
        stream.Expect("CDS v=1 n=1 []", "EDS v= n= [s1,s2,s3]");
        _harness.Advance(1_999);
        Assert.Equal("", Ready());
        _harness.Advance(1);
        Assert.Equal("brief", Ready());
        _harness.Advance(12_999);
        Assert.Equal("brief", Ready());
        _harness.Advance(1);
        Assert.Equal("brief usual", Ready());
        Assert.Equal((1, 1, 0), (_harness.Stat("cluster.brief.init_fetch_timeout"), _harness.Stat("cluster.usual.init_fetch_timeout"), _harness.Stat("cluster.endless.init_fetch_timeout")));
        // Endpoints of one name are asked for once: the shortest patience of their clusters counts.
        _harness.Advance(5_000);
        Assert.Equal("brief endless other usual", Ready());

        stream.Expect("LDS v= n= []");
        stream.Send(DiscoveryMessages.World(lds, "1", "2", Listeners(new TestSnapshot().HttpByName("short", 0, "r1", source: Source("1.5s")).HttpByName("long", 0, "r2", source: Source("0s")))));
        stream.Expect("LDS v=1 n=2 []", "RDS v= n= [r1,r2]");
        _harness.Advance(1_500);
        Assert.Null(_harness.Pipeline.Warming.AwaitedBy(_harness.Snapshot.Find(lds, "short")!));
        _harness.Advance(100_000_000);
        Assert.False(_harness.Pipeline.IsServing);
        // Somebody with less patience comes: for the same routes there is an end now.
        stream.Send(DiscoveryMessages.World(lds, "2", "3", Listeners(new TestSnapshot()
            .HttpByName("short", 0, "r1", source: Source("1.5s")).HttpByName("long", 0, "r2", source: Source("0s")).HttpByName("late", 0, "r2", source: Source("3s")))));
        stream.Expect("LDS v=2 n=3 []");
        _harness.Advance(2_999);
        Assert.False(_harness.Pipeline.IsServing);
        _harness.Advance(1);
        Assert.True(_harness.Pipeline.IsServing);
        Assert.Equal(["late", "long", "short"], _harness.Listeners.All.Select(l => l.Config.Name).Order());
    }

    [Fact]
    public void LastGood_OfNothing_IsNoStart()
    {
        _harness.Discover(lastGoodFolder: _folder.Path);
        Assert.False(_harness.Pipeline.IsServing);
    }
}

/// <summary>The pipeline with one worker, all on a loop the test turns, and a source that writes down what it is asked for.</summary>
internal sealed class PipelineHarness : IDisposable
{
    internal const int DrainMs = 5_000;
    private readonly Source _source = new();
    private int _version;

    internal PipelineHarness()
    {
        Worker = new Worker(0, new ConnectionLimit(1000), Test.Loop, 7, DrainMs);
        Pipeline = new ConfigPipeline(Test.Loop, [Worker], Stats, "node", DrainMs, new FastRandom(7));
        byte[] node = new Envoy.Config.Core.V3.Node { Id = "node" }.ToByteArray();
        var factory = new SourceFactory(Test.Loop, Pipeline.ControlClusters, node, Stats, new FastRandom(3));
        Pipeline.AllowNamed((origin, target, statPrefix) => factory.Make(origin, target, new Dictionary<string, long>(), statPrefix)!, hasAds: true);
    }

    internal TestLoop Test { get; } = new();
    internal StatsRegistry Stats { get; } = new(1);
    internal Worker Worker { get; }
    internal ConfigPipeline Pipeline { get; }
    internal Snapshot Snapshot => Pipeline.Snapshot;
    internal Sidecar.Upstream.Clusters Clusters => Worker.Clusters;
    internal Sidecar.Downstream.Listeners Listeners => Worker.Listeners;

    /// <summary>Starts to discover, with a bootstrap of these static resources.</summary>
    internal void Discover(TestSnapshot? bootstrap = null, string? lastGoodFolder = null)
    {
        Pipeline.ExpectDiscovery();
        Assert.Empty(Pipeline.TakeFile(Read(bootstrap ?? new TestSnapshot()), "bootstrap.json", isStatic: true).Errors);
        Pipeline.Flush();
        Pipeline.Discover(_source, lastGoodFolder is null ? null : new LastGoodFile(Test.Loop, Snapshot, lastGoodFolder, "node"));
        Settle();
    }

    /// <summary>Starts to discover by a real stream, in the state of the world, with clusters and listeners waited for without end.</summary>
    internal void DiscoverFrom(FakeAds plane)
    {
        Pipeline.ExpectDiscovery();
        Assert.Empty(Pipeline.TakeFile(Read(new TestSnapshot().Cluster("xds", true, plane.Address.Port)), "bootstrap.json", isStatic: true).Errors);
        Pipeline.Flush();
        var config = new GrpcSourceConfig(new GrpcTarget("xds", "", []), "/envoy.service.discovery.v3.AggregatedDiscoveryService/", "AggregatedResources", IsDelta: false);
        var endless = new Dictionary<string, long> { [ResourceTypes.Cluster] = 0, [ResourceTypes.Listener] = 0 };
        byte[] node = new Envoy.Config.Core.V3.Node { Id = "node" }.ToByteArray();
        Pipeline.Discover(new GrpcSource(Test.Loop, Pipeline.ControlClusters, config, node, Pipeline, Stats, endless, new FastRandom(3)), null);
        Settle();
    }

    /// <summary>The whole start, answered.</summary>
    internal void Start(TestSnapshot mesh, string? lastGoodFolder = null)
    {
        Discover(lastGoodFolder: lastGoodFolder);
        foreach (string typeUrl in new[] { ResourceTypes.Cluster, ResourceTypes.ClusterLoadAssignment, ResourceTypes.Listener, ResourceTypes.RouteConfiguration })
            Push(typeUrl, mesh);
        Assert.True(Pipeline.IsServing);
        Asked();
    }

    internal IReadOnlyList<ResourceRejection> Push(string typeUrl, TestSnapshot snapshot, params string[] removed) => Push(typeUrl, snapshot, null, removed);

    /// <summary>Answers with the resources of one type.</summary>
    /// <param name="names">Only these of them; null: all.</param>
    internal IReadOnlyList<ResourceRejection> Push(string typeUrl, TestSnapshot snapshot, IReadOnlySet<string>? names, string[] removed)
    {
        string version = (++_version).ToString();
        var refused = Pipeline.OnUpdate(new DiscoveryUpdate
        {
            TypeUrl = typeUrl,
            IsDelta = true,
            SystemVersion = version,
            Source = "127.0.0.1:15010",
            ReceivedNs = Test.Loop.NowNs,
            Bytes = 100,
            Resources = Read(snapshot).Resources.FindAll(r => r.TypeUrl == typeUrl && (names?.Contains(r.Name) ?? true)).ConvertAll(r => r with { Version = version, Source = "127.0.0.1:15010" }),
            Removed = removed,
        });
        Settle();
        return refused;
    }

    internal void Settle() => Test.Settle();

    /// <summary>The value of a stat; 0 where there is none.</summary>
    internal long Stat(string name) => Stats.Find(name) is var (scope, position) ? scope.Sum(position) : 0;

    /// <summary>The value of a text stat; empty where it was never set.</summary>
    internal string Text(string name)
    {
        var (scope, position) = Stats.FindExisting(name);
        return scope.Text(position) ?? "";
    }

    internal void Advance(long ms)
    {
        Test.Advance(ms);
        Settle();
    }

    /// <summary>What the source was asked for since the last time.</summary>
    internal List<string> Asked()
    {
        var asked = new List<string>(_source.Asked);
        _source.Asked.Clear();
        return asked;
    }

    internal static ResourceSet Read(TestSnapshot snapshot) => ResourceReader.ReadDocument(Encoding.UTF8.GetBytes(snapshot.ToString()), "test.json");

    public void Dispose()
    {
        Pipeline.Stop();
        Listeners.CloseAll(Sidecar.Telemetry.Failure.AdminStop);
        Settle();
        Test.ExpectsOpenConnections = true;
        Test.Dispose();
    }

    private sealed class Source : DiscoverySource
    {
        internal List<string> Asked { get; } = [];

        internal override string ControlPlane => "test";

        internal override void Start()
        {
        }

        internal override void Stop()
        {
        }

        internal override void Subscribe(string typeUrl, bool wildcard, IReadOnlyCollection<string> names, Func<string, long>? fetchTimeoutMs = null) =>
            Asked.Add($"{ResourceTypes.Noun(typeUrl)}s {(wildcard ? "*" : string.Join(",", names.Order()))}");
    }
}
