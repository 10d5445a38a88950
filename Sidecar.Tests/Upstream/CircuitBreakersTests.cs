using Sidecar.Telemetry.Stats;
using Sidecar.Upstream;
using Xunit;

namespace Sidecar.Tests.Upstream;

public sealed class CircuitBreakersTests
{
    [Theory]
    [InlineData((int)Resource.Connections, 2)]
    [InlineData((int)Resource.PendingRequests, 3)]
    [InlineData((int)Resource.Requests, 4)]
    [InlineData((int)Resource.Retries, 5)]
    [InlineData((int)Resource.ConnectionPools, 6)]
    public void Limit_IsOfAllWorkersTogether(int resource, int limit)
    {
        var limits = new CircuitBreakerThresholds { MaxConnections = 2, MaxPendingRequests = 3, MaxRequests = 4, MaxRetries = 5, MaxConnectionPools = 6 };
        var breakers = new CircuitBreakers(limits, CircuitBreakerThresholds.Default, null, workers: 3);
        for (int i = 0; i < limit; i++)
        {
            Assert.True(breakers.CanCreate((Resource)resource, RoutingPriority.Default));
            breakers.Add((Resource)resource, RoutingPriority.Default, worker: i % 3);
        }
        Assert.False(breakers.CanCreate((Resource)resource, RoutingPriority.Default));
        Assert.True(breakers.CanCreate((Resource)resource, RoutingPriority.High));
        breakers.Remove((Resource)resource, RoutingPriority.Default, worker: 0);
        Assert.True(breakers.CanCreate((Resource)resource, RoutingPriority.Default));
    }

    [Fact]
    public void Defaults_AreEnvoys()
    {
        var limits = CircuitBreakerThresholds.Default;
        Assert.Equal((1024u, 1024u, 1024u, 3u, uint.MaxValue), (limits.MaxConnections, limits.MaxPendingRequests, limits.MaxRequests, limits.MaxRetries, limits.MaxConnectionPools));
    }

    [Theory]
    [InlineData(0, 3)]
    [InlineData(10, 3)]
    [InlineData(20, 4)]
    [InlineData(100, 20)]
    public void RetryBudget_IsAShareOfTheActiveRequests(int active, int allowed)
    {
        var breakers = new CircuitBreakers(new CircuitBreakerThresholds { MaxRetries = 0, RetryBudget = new RetryBudget() }, CircuitBreakerThresholds.Default, null, workers: 2);
        for (int i = 0; i < active; i++)
            breakers.Add(i % 2 == 0 ? Resource.Requests : Resource.PendingRequests, RoutingPriority.Default, worker: 1);
        int retries = 0;
        for (; breakers.CanCreate(Resource.Retries, RoutingPriority.Default); retries++)
            breakers.Add(Resource.Retries, RoutingPriority.Default, worker: 0);
        Assert.Equal(allowed, retries);
    }

    [Fact]
    public void Gauges_SayWhatIsOpenAndWhatRemains()
    {
        var limits = new CircuitBreakerThresholds { MaxRequests = 2, MaxConnections = 5, TrackRemaining = true };
        var breakers = new CircuitBreakers(limits, CircuitBreakerThresholds.Default, null, workers: 1);
        breakers.Add(Resource.Requests, RoutingPriority.Default, 0);
        breakers.Add(Resource.Requests, RoutingPriority.Default, 0);
        breakers.Add(Resource.Connections, RoutingPriority.Default, 0);
        var cells = new StatsCells(ClusterStats.Schema);
        breakers.WriteGauges(cells);
        Assert.Equal(1, cells.Value(ClusterStats.CircuitBreakersDefaultRqOpen));
        Assert.Equal(0, cells.Value(ClusterStats.CircuitBreakersDefaultCxOpen));
        Assert.Equal(0, cells.Value(ClusterStats.CircuitBreakersHighRqOpen));
        Assert.Equal(0, cells.Value(ClusterStats.CircuitBreakersDefaultRemainingRq));
        Assert.Equal(4, cells.Value(ClusterStats.CircuitBreakersDefaultRemainingCx));
        Assert.Equal(1024, cells.Value(ClusterStats.CircuitBreakersDefaultRemainingPending));
        Assert.Equal(3, cells.Value(ClusterStats.CircuitBreakersDefaultRemainingRetries));
        Assert.Equal(0, cells.Value(ClusterStats.CircuitBreakersHighRemainingRq));
    }
}
