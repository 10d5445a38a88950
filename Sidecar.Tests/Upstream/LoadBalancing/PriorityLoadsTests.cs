using System.Linq;
using Sidecar.Net;
using Sidecar.Upstream;
using Sidecar.Upstream.LoadBalancing;
using Xunit;

namespace Sidecar.Tests.Upstream.LoadBalancing;

/// <summary>The tables of Envoy's documentation on priority levels, degraded hosts and panic.</summary>
public sealed class PriorityLoadsTests
{
    /// <summary>A priority of 100 hosts.</summary>
    private static PriorityHosts Priority(int healthy, int degraded = 0, int count = 100)
    {
        var hosts = Enumerable.Range(0, count).Select(i => new Host(Address.Loopback((ushort)(i + 1)), "", 1)).ToArray();
        for (int i = 0; i < count; i++)
        {
            if (i >= healthy)
                hosts[i].SetFlags(~HostFlags.None, i < healthy + degraded ? HostFlags.DegradedEdsHealth : HostFlags.FailedEdsHealth);
        }
        return new PriorityHosts(hosts, []);
    }

    private static PriorityLoads Compute(double panic, params PriorityHosts[] priorities) => PriorityLoads.Compute(new HostSet(priorities, 140, false), panic);

    [Theory]
    [InlineData(100, 100, 100, 0)]
    [InlineData(72, 72, 100, 0)]
    [InlineData(71, 71, 99, 1)]
    [InlineData(50, 50, 70, 30)]
    [InlineData(25, 100, 35, 65)]
    [InlineData(0, 100, 0, 100)]
    [InlineData(72, 0, 100, 0)]
    public void TwoPriorities_SplitByHealth(int first, int second, uint toFirst, uint toSecond) =>
        Assert.Equal([toFirst, toSecond], Compute(50, Priority(first), Priority(second)).Healthy);

    [Theory]
    [InlineData(100, 100, 100, 100, 0, 0)]
    [InlineData(72, 72, 100, 100, 0, 0)]
    [InlineData(71, 71, 100, 99, 1, 0)]
    [InlineData(50, 60, 100, 70, 30, 0)]
    [InlineData(25, 100, 50, 35, 65, 0)]
    [InlineData(0, 25, 100, 0, 35, 65)]
    [InlineData(25, 25, 100, 35, 35, 30)]
    public void ThreePriorities_SplitByHealth(int first, int second, int third, uint toFirst, uint toSecond, uint toThird) =>
        Assert.Equal([toFirst, toSecond, toThird], Compute(50, Priority(first), Priority(second), Priority(third)).Healthy);

    [Fact]
    public void TooFewInAll_IsNormalized()
    {
        // 20 % and 20 %: 28 and 28 of 56.
        var loads = Compute(0, Priority(20), Priority(20));
        Assert.Equal([50u, 50u], loads.Healthy);
    }

    [Theory]
    [InlineData(72, 72, false, false)]
    [InlineData(71, 71, false, false)]
    [InlineData(50, 60, false, false)]
    [InlineData(25, 100, false, false)]
    [InlineData(25, 25, true, true)]
    [InlineData(5, 65, true, false)]
    public void Panic_OnlyWhenAllTogetherAreShort(int first, int second, bool firstPanics, bool secondPanics) =>
        Assert.Equal([firstPanics, secondPanics], Compute(50, Priority(first), Priority(second)).Panic);

    [Fact]
    public void TotalPanic_SplitsByNumberOfHosts()
    {
        var loads = Compute(50, Priority(0, count: 30), Priority(0, count: 10));
        Assert.Equal([75u, 25u], loads.Healthy);
        Assert.All(loads.Panic, Assert.True);
    }

    [Fact]
    public void Degraded_ComeAfterEveryHealthyPriority()
    {
        // P0 healthy 10 → 14; P1 healthy 20 → 28; then degraded P0 50 → 70 of which 58 remain.
        var loads = Compute(0, Priority(10, degraded: 50), Priority(20));
        Assert.Equal([14u, 28u], loads.Healthy);
        Assert.Equal([58u, 0u], loads.Degraded);
    }

    [Fact]
    public void NoPriorities_AllToTheFirst() => Assert.Equal([100u], PriorityLoads.Compute(HostSet.Empty, 50).Healthy);

    [Fact]
    public void EmptyPriorityInBetween_IsPassedOver()
    {
        var loads = Compute(50, Priority(0, count: 0), Priority(10, count: 10));
        Assert.Equal([0u, 100u], loads.Healthy);
    }
}
