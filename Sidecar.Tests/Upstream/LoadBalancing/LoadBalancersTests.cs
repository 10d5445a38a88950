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

namespace Sidecar.Tests.Upstream.LoadBalancing;

/// <summary>Where picks go, over many of them, by policy, priority, health and locality.</summary>
public sealed class LoadBalancersTests : IDisposable
{
    private readonly UpstreamHarness _harness = new(seed: 7);

    public void Dispose() => _harness.Dispose();

    private static Address At(int host) => Address.IPv4(0x0a000000 + (uint)host, 80);

    private static EndpointSpec Host(int host, uint weight = 1, EdsHealth health = EdsHealth.Unknown) => UpstreamHarness.Spec(At(host), weight, health);

    private static LocalitySpec Locality(string zone, uint weight, uint priority, params EndpointSpec[] hosts) =>
        new(new Locality("region", zone, ""), weight, priority, hosts);

    private Cluster Cluster(ClusterConfig config, params LocalitySpec[] localities)
    {
        config.StaticHosts = new EndpointSet { Localities = localities }.Build(config, null, 1);
        return _harness.Cluster(config);
    }

    /// <summary>Picks by last byte of the address.</summary>
    private static Dictionary<int, int> Picks(Cluster cluster, int count, LoadBalancerContext? context = null)
    {
        var picks = new Dictionary<int, int>();
        for (int i = 0; i < count; i++)
        {
            int host = (int)(cluster.PickHost(context)!.Host.Address.Low & 0xff);
            picks[host] = picks.GetValueOrDefault(host) + 1;
        }
        return picks;
    }

    private static void AssertShare(Dictionary<int, int> picks, int host, double share, double tolerance = 0.02)
    {
        double actual = picks.GetValueOrDefault(host) / (double)picks.Values.Sum();
        Assert.InRange(actual, share - tolerance, share + tolerance);
    }

    [Fact]
    public void RoundRobin_EqualWeights_TakesTurnsExactly()
    {
        var cluster = Cluster(_harness.Config(), Locality("a", 0, 0, Host(1), Host(2), Host(3)));
        var order = Enumerable.Range(0, 9).Select(_ => cluster.PickHost()!.Host.Name).ToArray();
        Assert.Equal(3, order.Take(3).Distinct().Count());
        Assert.Equal(order.Take(3), order.Skip(3).Take(3));
        Assert.Equal(order.Take(3), order.Skip(6));
    }

    [Fact]
    public void RoundRobin_Weights_AreExactOverAPeriodAndInterleaved()
    {
        var cluster = Cluster(_harness.Config(), Locality("a", 0, 0, Host(1, 5), Host(2, 1), Host(3, 4)));
        var picks = Picks(cluster, 1000);
        Assert.InRange(picks[1], 499, 501);
        Assert.InRange(picks[2], 99, 101);
        Assert.InRange(picks[3], 399, 401);

        int run = 0;
        int longest = 0;
        string last = "";
        for (int i = 0; i < 200; i++)
        {
            string name = cluster.PickHost()!.Host.Name;
            run = name == last ? run + 1 : 1;
            longest = Math.Max(longest, run);
            last = name;
        }
        Assert.InRange(longest, 1, 2);
    }

    [Fact]
    public void Random_IgnoresWeights_AndIsEven()
    {
        var cluster = Cluster(_harness.Config(policy: LbPolicy.Random), Locality("a", 0, 0, Host(1, 9), Host(2), Host(3), Host(4)));
        var picks = Picks(cluster, 20000);
        for (int host = 1; host <= 4; host++)
            AssertShare(picks, host, 0.25);
    }

    [Fact]
    public void LeastRequest_BusyHost_WinsOnlyAgainstItself()
    {
        var cluster = Cluster(_harness.Config(policy: LbPolicy.LeastRequest), Locality("a", 0, 0, Host(1), Host(2), Host(3), Host(4)));
        Picks(cluster, 1);
        HostState busy = Enumerable.Range(0, 100).Select(_ => cluster.PickHost()!).First(h => h.Host.Address == At(1));
        busy.Cells.RqActive = 10;
        // Drawn twice: once in 16.
        AssertShare(Picks(cluster, 20000), 1, 1 / 16.0, 0.01);
    }

    [Fact]
    public void LeastRequest_MoreChoices_AvoidTheBusyHostMore()
    {
        var cluster = Cluster(_harness.Config(policy: LbPolicy.LeastRequest, choices: 4), Locality("a", 0, 0, Host(1), Host(2)));
        HostState busy = Enumerable.Range(0, 100).Select(_ => cluster.PickHost()!).First(h => h.Host.Address == At(1));
        busy.Cells.RqActive = 10;
        AssertShare(Picks(cluster, 20000), 1, 1 / 16.0, 0.01);
    }

    [Fact]
    public void LeastRequest_Weights_AreDividedByActiveRequests()
    {
        var cluster = Cluster(_harness.Config(policy: LbPolicy.LeastRequest), Locality("a", 0, 0, Host(1, 3), Host(2, 1)));
        AssertShare(Picks(cluster, 4000), 1, 0.75);
        HostState heavy = Enumerable.Range(0, 100).Select(_ => cluster.PickHost()!).First(h => h.Host.Address == At(1));
        heavy.Cells.RqActive = 2; // 3 / (2 + 1) = 1 against 1
        Picks(cluster, 50);
        AssertShare(Picks(cluster, 4000), 1, 0.5);
    }

    [Fact]
    public void Health_UnhealthyHosts_GetNothing()
    {
        var cluster = Cluster(_harness.Config(), Locality("a", 0, 0, Host(1), Host(2, health: EdsHealth.Unhealthy), Host(3), Host(4, health: EdsHealth.Draining)));
        var picks = Picks(cluster, 100);
        Assert.Equal([1, 3], picks.Keys.Order());
        Assert.Equal(0, _harness.Stat(cluster, ClusterStats.LbHealthyPanic));
    }

    [Fact]
    public void Health_BelowThePanicThreshold_UsesAll()
    {
        var cluster = Cluster(_harness.Config(), Locality("a", 0, 0, Host(1), Host(2, health: EdsHealth.Unhealthy), Host(3, health: EdsHealth.Timeout)));
        var picks = Picks(cluster, 300);
        Assert.Equal(3, picks.Count);
        Assert.Equal(300, _harness.Stat(cluster, ClusterStats.LbHealthyPanic));
    }

    [Fact]
    public void Health_NoPanic_NoHealthyHost_IsNone()
    {
        var cluster = Cluster(_harness.Config(panic: 0), Locality("a", 0, 0, Host(1, health: EdsHealth.Unhealthy)));
        Assert.Null(cluster.PickHost());
        Assert.Equal(1, _harness.Stat(cluster, ClusterStats.UpstreamCxNoneHealthy));
    }

    [Fact]
    public void NoHosts_IsNone()
    {
        var cluster = _harness.Cluster(_harness.Config("BlackHoleCluster"));
        Assert.Null(cluster.PickHost());
        Assert.Equal(1, _harness.Stat(cluster, ClusterStats.UpstreamCxNoneHealthy));
    }

    [Fact]
    public void Degraded_HostsTakeWhatHealthyOnesCannot()
    {
        // 1 of 4 healthy: 35 %; 3 of 4 degraded: 100 %, of which 65 remain.
        var cluster = Cluster(_harness.Config(), Locality("a", 0, 0, Host(1), Host(2, health: EdsHealth.Degraded), Host(3, health: EdsHealth.Degraded), Host(4, health: EdsHealth.Degraded)));
        AssertShare(Picks(cluster, 20000), 1, 0.35);
    }

    [Fact]
    public void Priorities_TheFirstTakesAllWhileItCan()
    {
        var cluster = Cluster(_harness.Config(), Locality("a", 0, 0, Host(1), Host(2)), Locality("b", 0, 1, Host(3)));
        Assert.Equal([1, 2], Picks(cluster, 100).Keys.Order());
    }

    [Fact]
    public void Priorities_HalfHealthy_SpillsOver()
    {
        // 2 of 4 healthy: 70 % stay.
        var sick = EdsHealth.Unhealthy;
        var cluster = Cluster(_harness.Config(), Locality("a", 0, 0, Host(1), Host(2), Host(3, health: sick), Host(4, health: sick)), Locality("b", 0, 1, Host(5)));
        var picks = Picks(cluster, 20000);
        AssertShare(picks, 5, 0.30);
        AssertShare(picks, 1, 0.35);
    }

    [Fact]
    public void Localities_Weighted_ShareByWeightAndHealth()
    {
        // Weights 1 and 2; of the second half is gone: 1 : 2 × 0.7.
        var cluster = Cluster(
            _harness.Config(localityWeighted: true),
            Locality("a", 1, 0, Host(1), Host(2)),
            Locality("b", 2, 0, Host(3), Host(4, health: EdsHealth.Unhealthy)),
            Locality("c", 0, 0, Host(5)));
        var picks = Picks(cluster, 24000);
        AssertShare(picks, 3, 1.4 / 2.4);
        AssertShare(picks, 1, 0.5 / 2.4);
        Assert.Equal(0, picks.GetValueOrDefault(5));
    }

    [Fact]
    public void Localities_NotWeighted_HostsAreEqual()
    {
        var cluster = Cluster(_harness.Config(), Locality("a", 1, 0, Host(1)), Locality("b", 9, 0, Host(2)));
        Assert.Equal(50, Picks(cluster, 100)[1]);
    }

    [Fact]
    public void Context_RejectsHosts_AsOftenAsItMay()
    {
        var cluster = Cluster(_harness.Config(), Locality("a", 0, 0, Host(1), Host(2), Host(3)));
        Assert.DoesNotContain(1, Picks(cluster, 50, new Avoiding(1, retries: 3)).Keys);
        Assert.Contains(1, Picks(cluster, 50, new Avoiding(1, retries: 0)).Keys);
    }

    [Fact]
    public void Picks_AllocateNothing()
    {
        foreach (var (policy, weight) in new[] { (LbPolicy.RoundRobin, 1u), (LbPolicy.RoundRobin, 2u), (LbPolicy.LeastRequest, 1u), (LbPolicy.LeastRequest, 2u), (LbPolicy.Random, 1u) })
        {
            var cluster = Cluster(_harness.Config("c" + policy + weight, 1, policy), Locality("a", 0, 0, Host(1, weight), Host(2), Host(3)), Locality("b", 0, 1, Host(4)));
            var context = new Avoiding(9, retries: 1);
            cluster.PickHost(context);
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int i = 0; i < 1000; i++)
                cluster.PickHost(context);
            Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
        }
    }

    private sealed class Avoiding(int host, int retries) : LoadBalancerContext
    {
        internal override int HostSelectionRetriesMax => retries;
        internal override bool ShouldSelectAnotherHost(Host candidate) => candidate.Address == At(host);
    }
}
