using System;
using System.Collections.Generic;
using System.Linq;
using Envoy.Config.Core.V3;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Sidecar.Http;
using Sidecar.Memory;
using Sidecar.Telemetry.Stats;
using Sidecar.Tests.Harness;
using Sidecar.Upstream;
using Sidecar.Wire;
using Sidecar.Xds;
using Xunit;
using static Sidecar.Tests.Harness.DiscoveryMessages;

namespace Sidecar.Tests.Xds;

/// <summary>A source on a stream to a control plane that does, or does not, what it should.</summary>
public sealed class GrpcSourceTests : IDisposable
{
    private const string Cds = ResourceTypes.Cluster;
    private const string Eds = ResourceTypes.ClusterLoadAssignment;
    private readonly UpstreamHarness _harness = new();
    private readonly RecordingTarget _target = new();
    private readonly List<FakeAds> _planes = [];
    private GrpcSource? _source;

    public void Dispose()
    {
        _source?.Stop();
        foreach (var plane in _planes)
            plane.Dispose();
        _harness.Dispose();
    }

    private FakeAds Plane()
    {
        var plane = new FakeAds(_harness.Test);
        _planes.Add(plane);
        return plane;
    }

    private FakeAds Start(bool delta, Dictionary<string, long>? fetchTimeoutsMs = null, int messageBytesMax = 1 << 20)
    {
        var plane = Plane();
        Point(plane);
        var target = new GrpcTarget("test", "", []) { MessageBytesMax = messageBytesMax };
        byte[] node = new Node { Id = "me", Cluster = "c" }.ToByteArray();
        _source = new GrpcSource(
            _harness.Test.Loop, _harness.Clusters, new GrpcSourceConfig(target, "/envoy.service.discovery.v3.AggregatedDiscoveryService/", "AggregatedResources", delta),
            node, _target, _harness.Registry, fetchTimeoutsMs ?? [], new FastRandom(7));
        _target.Source = _source;
        return plane;
    }

    private void Point(FakeAds plane) =>
        _harness.Cluster(_harness.Config(http: HttpUpstreamOptions.Default with { Protocol = UpstreamProtocol.Http2 }), plane.Address);

    private long Stat(string name)
    {
        var (scope, position) = Find(name);
        return scope.Sum(position);
    }

    private string? Text(string name)
    {
        var (scope, position) = Find(name);
        return scope.Text(position);
    }

    private (StatsScope Scope, int Position) Find(string name) => _harness.Registry.FindExisting(name);

    /// <summary>Lets the wait before the next attempt pass.</summary>
    private void PassBackoff() => _harness.Test.Advance(Backoff.DefaultMaxMs);

    // ---- a control plane that behaves ---------------------------------------------------------------------------

    [Theory]
    [InlineData(true, "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources")]
    [InlineData(false, "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources")]
    public void Stream_IsOpenedWithItsMethod(bool delta, string path)
    {
        var plane = Start(delta);
        _source!.Start();
        Assert.Equal(path, plane.Accept()[":path"]);
        Assert.Equal(["connected"], _target.Events);
        Assert.Equal(1, Stat("control_plane.connected_state"));
    }

    [Fact]
    public void Stream_OverTls_IsOfSchemeHttps()
    {
        var plane = Start(delta: true);
        _harness.Cluster(_harness.Config(http: HttpUpstreamOptions.Default with { Protocol = UpstreamProtocol.Http2 }, transport: new SecureInName()), plane.Address);
        _source!.Start();
        Assert.Equal("https", plane.Accept()[":scheme"]);
    }

    [Fact]
    public void InterestOfOneTurn_IsSentTogether_ClustersFirst()
    {
        var plane = Start(delta: true);
        _source!.Start();
        var stream = plane.Accept();
        _source.Subscribe(Eds, false, ["x"]);
        _source.Subscribe(Cds, true, []);
        _source.Subscribe(Eds, false, ["y", "x"]);
        stream.Expect("CDS n= +[] -[] node:me", "EDS n= +[x,y] -[]");
    }

    [Fact]
    public void Answer_IsHandedOver_AndAcknowledged_WithWhatItsTakerSubscribesTo()
    {
        var plane = Start(delta: true);
        _target.OnCluster = names => _source!.Subscribe(Eds, false, names);
        _source!.Subscribe(Cds, true, []);
        _source.Start();
        var stream = plane.Accept().Expect("CDS n= +[] -[] node:me");
        var response = DiscoveryMessages.Delta(Cds, "v7", "n1", [Wrap("x", "1", Cluster("x")), Wrap("y", "1", Cluster("y"))]);
        response.ControlPlane = new ControlPlane { Identifier = "istiod-7" };
        stream.Send(response).Expect("CDS n=n1 +[] -[]", "EDS n= +[x,y] -[]");
        stream.Send(DiscoveryMessages.Delta(Eds, "v8", "n2", [Wrap("x", "1", Endpoints("x"))])).Expect("EDS n=n2 +[] -[]");
        Assert.Equal(["connected", "CDS delta v7 n1: x@1 y@1", "EDS delta v8 n2: x@1"], _target.Events);
        Assert.Equal("istiod-7", _source.ControlPlane);
        Assert.Equal("istiod-7", Text("control_plane.identifier"));
        Assert.Equal("v7", Text("cluster_manager.cds.version_text"));
        Assert.Equal(plane.Address.ToString(), _target.Updates[0].Source);
        Assert.Equal(response.CalculateSize(), _target.Updates[0].Bytes);
        Assert.Equal(plane.Address.ToString(), _target.Updates[0].Resources[0].Source);
    }

    [Fact]
    public void Refusal_IsANack_AndCounted()
    {
        var plane = Start(delta: false);
        _target.Refuses.Add(new ResourceRejection("bad", "connect_timeout", "must be positive"));
        _source!.Subscribe(Cds, true, []);
        _source.Start();
        var stream = plane.Accept().Expect("CDS v= n= [] node:me");
        stream.Send(DiscoveryMessages.World(Cds, "1", "a", Cluster("bad"), Cluster("x")))
            .Expect("CDS v= n=a [] NACK 13: Error adding/updating cluster(s) bad: connect_timeout: must be positive");
        Assert.Equal(1, Stat("cluster_manager.cds.update_rejected"));
        Assert.Equal(0, Stat("cluster_manager.cds.update_success"));
        _target.Refuses.Clear();
        stream.Send(DiscoveryMessages.World(Cds, "2", "b", Cluster("x"))).Expect("CDS v=2 n=b []");
        Assert.Equal(1, Stat("cluster_manager.cds.update_success"));
        // One for the subscription, one for each answer.
        Assert.Equal(3, Stat("cluster_manager.cds.update_attempt"));
        Assert.NotEqual(0, Stat("cluster_manager.cds.version"));
        Assert.NotEqual(0, Stat("cluster_manager.cds.update_time"));
        Assert.Equal("2", Text("cluster_manager.cds.version_text"));
        Assert.Null(Text("control_plane.identifier"));
    }

    [Fact]
    public void SameRefusedVersionWithoutEnd_IsNotRefusedWithoutEnd()
    {
        var plane = Start(delta: false);
        _target.Refuses.Add(new ResourceRejection("bad", "", "no"));
        _source!.Subscribe(Cds, true, []);
        _source.Start();
        var stream = plane.Accept().Expect("CDS v= n= [] node:me");
        stream.Send(DiscoveryMessages.World(Cds, "1", "a", Cluster("bad"))).Expect("CDS v= n=a [] NACK 13: Error adding/updating cluster(s) bad: no");
        stream.Send(DiscoveryMessages.World(Cds, "1", "b", Cluster("bad")));
        plane.Until(() => _target.Updates.Count == 2);
        _harness.Test.Settle();
        plane.Pump();
        Assert.Equal(2, stream.Messages.Count);
        _harness.Test.Advance(50);
        stream.Expect("CDS v= n=b [] NACK 13: Error adding/updating cluster(s) bad: no");
    }

    [Fact]
    public void TypeNobodySubscribedTo_IsIgnored_AndTheStreamGoesOn()
    {
        var plane = Start(delta: true);
        _source!.Subscribe(Cds, true, []);
        _source.Start();
        var stream = plane.Accept().Expect("CDS n= +[] -[] node:me");
        stream.Send(DiscoveryMessages.Delta(Eds, "1", "a", [Wrap("x", "1", Endpoints("x"))]));
        stream.Send(DiscoveryMessages.Delta("type.googleapis.com/no.Such", "1", "b", []));
        stream.Send(DiscoveryMessages.Delta(Cds, "1", "c", [])).Expect("CDS n=c +[] -[]");
        Assert.Equal(["connected", "CDS delta 1 c: "], _target.Events);
    }

    // ---- time ---------------------------------------------------------------------------------------------------

    [Fact]
    public void FetchTimeout_TellsWhoWasNotHeardOf_Once()
    {
        var plane = Start(delta: true, new() { [Cds] = 5000 });
        _source!.Subscribe(Cds, true, []);
        _source.Subscribe(Eds, false, ["x", "y"]);
        _source.Start();
        var stream = plane.Accept().Expect("CDS n= +[] -[] node:me", "EDS n= +[x,y] -[]");
        _harness.Test.Advance(4999);
        Assert.Equal(["connected"], _target.Events);
        _harness.Test.Advance(1);
        Assert.Equal(["connected", "timeout CDS "], _target.Events);
        Assert.Equal(1, Stat("cluster_manager.cds.init_fetch_timeout"));
        stream.Send(DiscoveryMessages.Delta(Eds, "1", "a", [Wrap("x", "1", Endpoints("x"))])).Expect("EDS n=a +[] -[]");
        _harness.Test.Advance(10_000);
        Assert.Equal(["connected", "timeout CDS ", "EDS delta 1 a: x@1", "timeout EDS y"], _target.Events);
        _harness.Test.Advance(1_000_000);
        Assert.Equal(4, _target.Events.Count);
    }

    [Fact]
    public void FetchTimeoutOfZero_WaitsForEver()
    {
        var plane = Start(delta: true, new() { [Cds] = 0 });
        _source!.Subscribe(Cds, true, []);
        _source.Subscribe(Eds, false, ["x"], static _ => 0);
        _source.Start();
        plane.Accept();
        _harness.Test.Advance(1_000_000);
        Assert.Equal(["connected"], _target.Events);
    }

    [Fact]
    public void FetchTimeout_RunsWithoutAControlPlane()
    {
        Start(delta: true).Dispose();
        _source!.Subscribe(Cds, true, []);
        _source.Start();
        _harness.Test.Until(() => _target.Events.Count > 0);
        _harness.Test.Advance(SubscribingSource.DefaultFetchTimeoutMs);
        Assert.Contains("timeout CDS ", _target.Events);
    }

    [Fact]
    public void NameDroppedAndWantedAgain_HasItsPatienceAnew()
    {
        var plane = Start(delta: true);
        _source!.Subscribe(Eds, false, ["x"]);
        _source.Start();
        plane.Accept();
        _harness.Test.Advance(10_000);
        _source.Subscribe(Eds, false, []);
        _harness.Test.Step();
        _source.Subscribe(Eds, false, ["x"]);
        _harness.Test.Step();
        _harness.Test.Advance(5000);
        Assert.Equal(["connected"], _target.Events);
        _harness.Test.Advance(10_000);
        Assert.Equal(["connected", "timeout EDS x"], _target.Events);
    }

    [Fact]
    public void TimeToLive_Expires_UnlessRenewed()
    {
        var plane = Start(delta: true);
        _source!.Subscribe(Cds, true, []);
        _source.Start();
        var stream = plane.Accept().Expect("CDS n= +[] -[] node:me");
        var mortal = Wrap("x", "1", Cluster("x"));
        mortal.Ttl = new Duration { Seconds = 10 };
        stream.Send(DiscoveryMessages.Delta(Cds, "1", "a", [mortal])).Expect("CDS n=a +[] -[]");
        _harness.Test.Advance(9000);
        var heartbeat = Wrap("x", "1", null);
        heartbeat.Ttl = new Duration { Seconds = 10 };
        stream.Send(DiscoveryMessages.Delta(Cds, "1", "b", [heartbeat])).Expect("CDS n=b +[] -[]");
        _harness.Test.Advance(9999);
        Assert.Equal(["connected", "CDS delta 1 a: x@1", "CDS delta 1 b: "], _target.Events);
        _harness.Test.Advance(1);
        Assert.Equal("expired CDS x", _target.Events[^1]);
    }

    // ---- a control plane that goes away -------------------------------------------------------------------------

    [Fact]
    public void StreamThatEnds_IsOpenedAgain_WithWhatIsKnown()
    {
        var plane = Start(delta: true);
        _source!.Subscribe(Cds, true, []);
        _source.Start();
        var stream = plane.Accept().Expect("CDS n= +[] -[] node:me");
        stream.Send(DiscoveryMessages.Delta(Cds, "1", "a", [Wrap("x", "x1", Cluster("x"))])).Expect("CDS n=a +[] -[]").SendStatus(14, "going%20away");
        plane.Until(() => _target.Events.Count == 3);
        Assert.Equal("disconnected DeltaAggregatedResources gRPC config stream to test closed: 14, going away", _target.Events[^1]);
        Assert.Equal(0, Stat("control_plane.connected_state"));
        Assert.Equal(1, Stat("cluster_manager.cds.update_failure"));
        Assert.Equal(["CDS"], _target.Failures);
        PassBackoff();
        plane.Accept().Expect("CDS n= +[] -[] {x=x1} node:me");
        Assert.Equal("connected", _target.Events[^1]);
    }

    [Fact]
    public void ControlPlaneKilledAndStartedElsewhere_IsFoundAgain()
    {
        var plane = Start(delta: false);
        _source!.Subscribe(Cds, true, []);
        _source.Start();
        var stream = plane.Accept().Expect("CDS v= n= [] node:me");
        stream.Send(DiscoveryMessages.World(Cds, "1", "a", Cluster("x"))).Expect("CDS v=1 n=a []");
        // Killed within an answer.
        stream.SendRaw([0, 0, 0, 1, 0, 1, 2, 3]);
        _harness.Test.Settle();
        plane.Dispose();
        _harness.Test.Until(() => _target.Events[^1].StartsWith("disconnected", StringComparison.Ordinal));
        PassBackoff();
        _harness.Test.Until(() => _target.Events.Count(e => e.StartsWith("disconnected", StringComparison.Ordinal)) == 2);
        var next = Plane();
        Point(next);
        PassBackoff();
        next.Accept().Expect("CDS v=1 n= [] node:me");
        Assert.Equal(1, Stat("cluster_manager.cds.update_success"));
    }

    [Fact]
    public void Attempts_AreSpreadAtRandom_BelowADoublingBound_UntilAnAnswerCame()
    {
        var backoff = new Backoff(500, 30_000, new FastRandom(1));
        long[] bounds = [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000];
        foreach (long bound in bounds)
            Assert.InRange(backoff.NextMs(), 0, bound - 1);
        backoff.Reset();
        Assert.InRange(backoff.NextMs(), 0, 499);
        // Full jitter: all of the range is used.
        var waits = new List<long>();
        for (int i = 0; i < 1000; i++)
        {
            backoff.Reset();
            waits.Add(backoff.NextMs());
        }
        Assert.InRange(waits.Min(), 0, 20);
        Assert.InRange(waits.Max(), 480, 499);
    }

    // ---- two control planes -------------------------------------------------------------------------------------

    /// <summary>A source with two control planes: clusters "one" and "two".</summary>
    private (FakeAds One, FakeAds Two) StartWithFailover(bool isOneThere)
    {
        var one = Plane();
        var two = Plane();
        var http = HttpUpstreamOptions.Default with { Protocol = UpstreamProtocol.Http2 };
        var address = isOneThere ? one.Address : _harness.Refusing();
        foreach (var (name, slot, host) in new[] { ("one", 0, address), ("two", 1, two.Address) })
        {
            var config = _harness.Config(name, slot, http: http);
            config.StaticHosts = UpstreamHarness.Endpoints(host).Build(config, null, 1);
            _harness.Clusters.Set(config);
        }
        _source = new GrpcSource(
            _harness.Test.Loop, _harness.Clusters, new GrpcSourceConfig(new GrpcTarget("one", "", []), "/s/", "X", true) { Failover = new GrpcTarget("two", "", []) },
            new Node { Id = "me" }.ToByteArray(), _target, _harness.Registry, new Dictionary<string, long>(), new FastRandom(7));
        _source.Subscribe(Cds, true, []);
        _source.Start();
        return (one, two);
    }

    /// <summary>Waits for so many, and lets the millisecond pass after which the next attempt begins "at once".</summary>
    private void ExpectEvents(int count)
    {
        _harness.Test.Until(() => _target.Events.Count >= count);
        _harness.Test.Advance(1);
    }

    [Fact]
    public void FirstControlPlaneThatFailsTwice_IsReplacedByTheSecond_AtOnce()
    {
        var (_, two) = StartWithFailover(isOneThere: false);
        _harness.Test.Until(() => _target.Events.Count == 1);
        Assert.StartsWith("disconnected DeltaX gRPC config stream to one closed: 14", _target.Events[0]);
        _harness.Test.Advance(Backoff.DefaultBaseMs);
        ExpectEvents(2);
        var stream = two.Accept().Expect("CDS n= +[] -[] node:me");
        stream.Send(DiscoveryMessages.Delta(Cds, "1", "a", [Wrap("x", "x1", Cluster("x"))])).Expect("CDS n=a +[] -[]");
        Assert.Equal(["connected", "CDS delta 1 a: x@x1"], _target.Events.Skip(2));
        // When it ends the first is asked again, after half a second; it fails, and it is the second's turn at once, which knows what is here.
        stream.SendStatus(14, "bye");
        two.Until(() => _target.Events.Count == 5);
        Assert.StartsWith("disconnected DeltaX gRPC config stream to two closed: 14, bye", _target.Events[^1]);
        _harness.Test.Advance(ControlPlaneChoice.ReturnMs);
        ExpectEvents(6);
        two.Accept().Expect("CDS n= +[] -[] {x=x1} node:me");
        Assert.StartsWith("disconnected DeltaX gRPC config stream to one closed: 14", _target.Events[5]);
    }

    [Fact]
    public void FirstControlPlane_ThatComesBackAfterTheSecondEnded_IsNotToldVersionsItDidNotGive_AndThenKept()
    {
        var (one, two) = StartWithFailover(isOneThere: true);
        for (int i = 0; i < 2; i++)
        {
            one.Accept().Expect("CDS n= +[] -[] node:me").SendStatus(14);
            one.Until(() => _target.Events.Count >= 2 * (i + 1));
            _harness.Test.Advance(i == 0 ? Backoff.DefaultBaseMs : 1);
        }
        var second = two.Accept();
        second.Send(DiscoveryMessages.Delta(Cds, "1", "a", [Wrap("x", "x1", Cluster("x"))])).Expect("CDS n= +[] -[] node:me", "CDS n=a +[] -[]").SendStatus(14);
        two.Until(() => _target.Events[^1].StartsWith("disconnected", StringComparison.Ordinal));
        _harness.Test.Advance(ControlPlaneChoice.ReturnMs);
        var first = one.Accept().Expect("CDS n= +[] -[] node:me");
        first.Send(DiscoveryMessages.Delta(Cds, "1", "b", [Wrap("x", "x2", Cluster("x"))])).Expect("CDS n=b +[] -[]");
        // It has answered: from now on only the first is asked, however often it fails.
        for (int i = 0; i < 3; i++)
        {
            int events = _target.Events.Count + 1;
            first.SendStatus(14);
            one.Until(() => _target.Events.Count >= events);
            PassBackoff();
            first = one.Accept().Expect("CDS n= +[] -[] {x=x2} node:me");
        }
        Assert.Single(two.Streams);
    }

    // ---- a control plane that falls silent ----------------------------------------------------------------------

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void ControlPlaneThatIsGoneWithoutAWord_IsNoticed_OneThatIsOnlyQuietIsNot(bool isGone)
    {
        using var harness = new UpstreamHarness(checks: PeerChecks.OwnCalls);
        var plane = new FakeAds(harness.Test);
        harness.Cluster(harness.Config(http: HttpUpstreamOptions.Default with { Protocol = UpstreamProtocol.Http2 }), plane.Address);
        var source = new GrpcSource(
            harness.Test.Loop, harness.Clusters, new GrpcSourceConfig(new GrpcTarget("test", "", []), "/s/", "X", true), new Node { Id = "me" }.ToByteArray(), _target,
            harness.Registry, new Dictionary<string, long>(), new FastRandom(7));
        source.Subscribe(Cds, true, []);
        source.Start();
        plane.Accept().Expect("CDS n= +[] -[] node:me");
        // What is in flight arrives; from here on nothing is read or answered on this connection, and no reset comes either.
        plane.Connections[0].Reads = !isGone;
        void Pass(long ms)
        {
            for (long passed = 0; passed < ms; passed += 1000)
            {
                harness.Test.Advance(1000);
                harness.Test.Settle();
                plane.Pump();
            }
        }
        Pass(PeerChecks.OwnCalls.PingIntervalMs + PeerChecks.OwnCalls.PingTimeoutMs - 2000);
        Assert.DoesNotContain(_target.Events, e => e.StartsWith("disconnected", StringComparison.Ordinal));
        Pass(4000);
        Assert.Equal(isGone, _target.Events.Exists(e => e.StartsWith("disconnected DeltaX gRPC config stream to test closed: 14", StringComparison.Ordinal)));
        if (isGone)
        {
            Pass(Backoff.DefaultBaseMs);
            Assert.Equal("CDS n= +[] -[] node:me", DiscoveryMessages.Text(Envoy.Service.Discovery.V3.DeltaDiscoveryRequest.Parser.ParseFrom(plane.Accept().Expect("CDS n= +[] -[] node:me").Messages[0])));
        }
        source.Stop();
        plane.Dispose();
    }

    // ---- a control plane that lies ------------------------------------------------------------------------------

    [Theory]
    [InlineData(new byte[] { 0, 0, 0, 0, 2, 0x0A, 0x7F }, "closed: 13, a message is no DeltaDiscoveryResponse: it ends within a field")]
    [InlineData(new byte[] { 0, 0, 0, 0, 1, 0x00 }, "closed: 13, a message is no DeltaDiscoveryResponse: a field has no valid number")]
    [InlineData(new byte[] { 1, 0, 0, 0, 1, 0x00 }, "closed: 13, a message is compressed, though no encoding was offered")]
    [InlineData(new byte[] { 0, 255, 255, 255, 255 }, "closed: 8, a message of 4294967295 bytes is larger than the limit of 1048576")]
    [InlineData(new byte[] { 0, 0, 1, 0, 0, 0x12, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F }, "closed: 13, a message is no DeltaDiscoveryResponse: field 2 announces 34359738367 bytes")]
    public void BrokenAnswer_EndsTheStream_AndTheNextComes(byte[] body, string reason)
    {
        var plane = Start(delta: true);
        _source!.Subscribe(Cds, true, []);
        _source.Start();
        var stream = plane.Accept().Expect("CDS n= +[] -[] node:me").SendRaw(body);
        plane.Until(() => stream.ResetReason is not null);
        Assert.EndsWith(reason, _target.Events[^1]);
        PassBackoff();
        plane.Accept().Expect("CDS n= +[] -[] node:me");
    }

    [Fact]
    public void EndlessAnswer_CostsNoMoreThanItsLimit()
    {
        var plane = Start(delta: true, messageBytesMax: 8 << 20);
        _source!.Subscribe(Cds, true, []);
        _source.Start();
        var stream = plane.Accept().Expect("CDS n= +[] -[] node:me");
        // A message that is one endless resource: the limit of the message ends it.
        const int length = 8 << 20;
        stream.SendRaw([0, length >> 24, (length >> 16) & 255, (length >> 8) & 255, length & 255, 0x12, 0xFA, 0xFF, 0xFF, 0x03]);
        var part = new byte[64 * 1024];
        for (int i = 0; i < 127; i++)
        {
            stream.SendRaw(part);
            plane.Pump();
            _harness.Test.Step();
        }
        Assert.Equal(["connected"], _target.Events);
        stream.SendRaw(part);
        plane.Until(() => stream.ResetReason is not null || _target.Events.Count > 1);
        Assert.Contains("a message is no DeltaDiscoveryResponse", _target.Events[^1]);
    }

    [Fact]
    public void AnswerWithAnOldNonce_IsAcknowledgedWithIt()
    {
        var plane = Start(delta: false);
        _source!.Subscribe(Cds, true, []);
        _source.Start();
        var stream = plane.Accept().Expect("CDS v= n= [] node:me");
        stream.Send(DiscoveryMessages.World(Cds, "1", "a", Cluster("x"))).Expect("CDS v=1 n=a []");
        stream.Send(DiscoveryMessages.World(Cds, "2", "b", Cluster("x"))).Expect("CDS v=2 n=b []");
        stream.Send(DiscoveryMessages.World(Cds, "1", "a", Cluster("x"))).Expect("CDS v=1 n=a []");
    }

    [Fact]
    public void Stop_FromWithinAnUpdate_SaysNothingMore()
    {
        var plane = Start(delta: true);
        _target.OnCluster = _ => _source!.Stop();
        _source!.Subscribe(Cds, true, []);
        _source.Start();
        var stream = plane.Accept().Expect("CDS n= +[] -[] node:me");
        stream.Send(DiscoveryMessages.Delta(Cds, "1", "a", [Wrap("x", "1", Cluster("x"))])).Send(DiscoveryMessages.Delta(Cds, "2", "b", []));
        plane.Until(() => stream.ResetReason is not null);
        Assert.Equal(["connected", "CDS delta 1 a: x@1"], _target.Events);
        Assert.Equal(0, Stat("control_plane.connected_state"));
        _harness.Test.Advance(1_000_000);
        Assert.Equal(2, _target.Events.Count);
    }
}
