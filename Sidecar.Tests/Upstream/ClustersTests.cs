using System;
using System.Collections.Generic;
using System.Linq;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Tests.Harness;
using Sidecar.Upstream;
using Sidecar.Upstream.Discovery;
using Sidecar.Upstream.LoadBalancing;
using Xunit;

namespace Sidecar.Tests.Upstream;

public sealed class ClustersTests : IDisposable
{
    private readonly UpstreamHarness _harness = new();

    public void Dispose() => _harness.Dispose();

    private static Address At(int host) => Address.IPv4(0x0a000000 + (uint)host, 80);

    [Fact]
    public void Set_SameConfig_KeepsTheCluster()
    {
        var one = _harness.Config("one", 0);
        var two = _harness.Config("two", 40);
        _harness.Clusters.Set(one);
        _harness.Clusters.Set(two);
        var kept = _harness.Clusters[0];
        var other = _harness.Clusters[40];
        _harness.Clusters.Set(_harness.Config("two", 40));
        _harness.Clusters.Set(one);
        Assert.Same(kept, _harness.Clusters[0]);
        Assert.NotSame(other, _harness.Clusters[40]);
        Assert.True(other!.IsDraining);
        Assert.Same(kept, _harness.Clusters.Find("one"));
    }

    [Fact]
    public void Remove_DrainsAndEmptiesTheSlot()
    {
        var one = _harness.Config("one", 3);
        _harness.Clusters.Set(one);
        var cluster = _harness.Clusters[3]!;
        _harness.Clusters.Remove("one");
        Assert.Null(_harness.Clusters[3]);
        Assert.Null(_harness.Clusters[99]);
        Assert.Null(_harness.Clusters.Find("one"));
        Assert.True(cluster.IsDraining);
    }

    [Fact]
    public void Set_ChangedEdsCluster_KeepsTheHostsKnownSoFar()
    {
        var old = _harness.Config(type: DiscoveryType.Eds);
        var cluster = _harness.Cluster(old);
        _harness.Clusters.ApplyHosts(old, UpstreamHarness.Endpoints(At(1)).Build(old, null, 1));
        _harness.Clusters.Set(_harness.Config(type: DiscoveryType.Eds));
        Assert.NotSame(cluster, _harness.Clusters[0]);
        Assert.Equal("10.0.0.1:80", _harness.Clusters[0]!.PickHost()!.Host.Name);
    }

    [Fact]
    public void Set_ChangedWhileAStreamRuns_TheStreamFinishesOnTheOldConnection()
    {
        var upstream = _harness.Listen();
        var old = _harness.Cluster(_harness.Config(), upstream.Address);
        var request = new PoolRequest();
        old.HttpPool(old.PickHost()!, HttpVersion.Http11).NewStream(request);
        var peer = upstream.Accept();
        upstream.ExpectRequests(peer, 1);

        var changed = _harness.Cluster(_harness.Config(), upstream.Address);
        Assert.NotSame(old, changed);
        var other = new PoolRequest();
        changed.HttpPool(changed.PickHost()!, HttpVersion.Http11).NewStream(other);
        Assert.Null(other.Stream);
        upstream.Accept();
        peer.Send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        _harness.Test.Until(() => request.Ended);
        _harness.Test.Until(() => { peer.Receive(); return peer.End; });
        Assert.Equal(0, old.Config.Breakers.Count(Resource.Connections, RoutingPriority.Default));
    }

    [Fact]
    public void ClusterNobodyAskedFor_IsMadeAtFirstUse_WithTheHostsOfThen()
    {
        var config = _harness.Config(type: DiscoveryType.Eds);
        _harness.Clusters.Set(config, UpstreamHarness.Endpoints(At(1)).Build(config, null, 1));
        _harness.Clusters.ApplyHosts(config, UpstreamHarness.Endpoints(At(2)).Build(config, null, 1));
        _harness.Clusters.ApplyHosts(_harness.Config(type: DiscoveryType.Eds), UpstreamHarness.Endpoints(At(3)).Build(config, null, 1));
        Assert.Null(Assert.Single(_harness.Clusters.All).Cluster);
        Assert.Equal("10.0.0.2:80", _harness.Clusters[0]!.PickHost()!.Host.Name);
        Assert.Same(_harness.Clusters[0], Assert.Single(_harness.Clusters.All).Cluster);
    }

    [Fact]
    public void Set_OtherType_DoesNotKeepTheHosts()
    {
        var config = _harness.Config(type: DiscoveryType.Eds);
        _harness.Clusters.Set(config, UpstreamHarness.Endpoints(At(1)).Build(config, null, 1));
        _harness.Clusters.Set(_harness.Config(type: DiscoveryType.StrictDns));
        Assert.Equal(0, _harness.Clusters[0]!.Hosts.Count);
    }

    [Fact]
    public void ApplyHosts_HostThatStays_KeepsItsConnection_TheOneThatLeavesDrains()
    {
        var one = _harness.Listen();
        var two = _harness.Listen();
        var config = _harness.Config(type: DiscoveryType.Eds);
        var cluster = _harness.Cluster(config);
        cluster.ApplyHosts(UpstreamHarness.Endpoints(one.Address, two.Address).Build(config, null, 1));
        var states = new[] { cluster.PickHost()!, cluster.PickHost()! }.OrderBy(s => s.Host.Address != one.Address).ToArray();
        foreach (var state in states)
        {
            var request = new PoolRequest();
            cluster.HttpPool(state, HttpVersion.Http11).NewStream(request);
            var upstream = state == states[0] ? one : two;
            var peer = upstream.Accept();
            upstream.ExpectRequests(peer, 1);
            peer.Send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            _harness.Test.Until(() => request.Ended);
        }
        _harness.Test.Settle();

        cluster.ApplyHosts(UpstreamHarness.Endpoints(one.Address, At(9)).Build(config, cluster.Hosts, 1));
        _harness.Test.Settle();
        Assert.True(states[1].IsDraining);
        Assert.True(states[1].IsIdle);
        Assert.False(states[0].IsDraining);
        Assert.Equal(1, cluster.HttpPool(states[0], HttpVersion.Http11).ReadyCount);
        Assert.Contains(states[0], new[] { cluster.PickHost(), cluster.PickHost() });
    }

    [Fact]
    public void OriginalDst_GoesWhereTheConnectionWasGoing()
    {
        var cluster = _harness.Cluster(_harness.Config(type: DiscoveryType.OriginalDst, policy: LbPolicy.ClusterProvided));
        var first = cluster.PickHost(new Destination(At(1)))!;
        Assert.Equal("10.0.0.1:80", first.Host.Name);
        Assert.Same(first, cluster.PickHost(new Destination(At(1))));
        Assert.NotSame(first, cluster.PickHost(new Destination(At(2))));
        Assert.Equal(2, _harness.Stat(cluster, ClusterStats.MembershipTotal));
        Assert.Null(cluster.PickHost(new Destination(default)));
        Assert.Null(cluster.PickHost());
        Assert.Equal(2, _harness.Stat(cluster, ClusterStats.UpstreamCxNoneHealthy));
    }

    [Fact]
    public void OriginalDst_HeaderAndPortOverride()
    {
        var config = _harness.Config(
            type: DiscoveryType.OriginalDst, policy: LbPolicy.ClusterProvided, originalDst: new OriginalDstConfig { HeaderName = "x-envoy-original-dst-host", PortOverride = 8080 });
        var cluster = _harness.Cluster(config);
        Assert.Equal("10.0.0.7:8080", cluster.PickHost(new Destination(At(1), At(7)))!.Host.Name);
        Assert.Equal("10.0.0.1:8080", cluster.PickHost(new Destination(At(1)))!.Host.Name);
        Assert.Null(cluster.PickHost(new Destination(At(1), default(Address))));
        Assert.Equal(1, _harness.Stat(cluster, ClusterStats.OriginalDstHostInvalid));
    }

    [Fact]
    public void OriginalDst_UnusedDestination_IsForgottenAfterTheInterval()
    {
        var cluster = _harness.Cluster(_harness.Config(type: DiscoveryType.OriginalDst, policy: LbPolicy.ClusterProvided));
        var first = cluster.PickHost(new Destination(At(1)))!;
        cluster.PickHost(new Destination(At(2)));
        _harness.Test.Advance(4000);
        cluster.PickHost(new Destination(At(1)));
        _harness.Test.Advance(1000);
        Assert.Equal(["10.0.0.1:80"], cluster.Destinations().Select(h => h.Name));
        _harness.Test.Advance(5000);
        Assert.Empty(cluster.Destinations());
        Assert.Equal(0, _harness.Stat(cluster, ClusterStats.MembershipTotal));
        Assert.NotSame(first, cluster.PickHost(new Destination(At(1))));
    }

    [Fact]
    public void OriginalDst_DestinationWithAConnection_IsKept()
    {
        var upstream = _harness.Listen();
        var cluster = _harness.Cluster(_harness.Config(type: DiscoveryType.OriginalDst, policy: LbPolicy.ClusterProvided));
        var host = cluster.PickHost(new Destination(upstream.Address))!;
        var request = new PoolRequest();
        cluster.HttpPool(host, HttpVersion.Http11).NewStream(request);
        upstream.ExpectRequests(upstream.Accept(), 1);
        _harness.Test.Advance(20_000);
        Assert.Same(host, cluster.PickHost(new Destination(upstream.Address)));
    }

    [Fact]
    public void Retries_BreakerAndBudget()
    {
        var cluster = _harness.Cluster(_harness.Config(limits: CircuitBreakerThresholds.Default with { MaxRetries = 1 }));
        Assert.True(cluster.TryBeginRetry());
        Assert.False(cluster.TryBeginRetry());
        Assert.Equal(1, _harness.Stat(cluster, ClusterStats.UpstreamRqRetryOverflow));
        cluster.EndRetry();
        Assert.True(cluster.TryBeginRetry());
        cluster.EndRetry();
    }

    private sealed class Destination(Address original, Address? header = null) : LoadBalancerContext
    {
        internal override Address OriginalDestination => original;

        internal override bool TryGetHeaderDestination(string name, out Address destination)
        {
            destination = header ?? default;
            return header is not null && name == "x-envoy-original-dst-host";
        }
    }
}
