using System;
using System.Linq;
using Envoy.Config.Listener.V3;
using Sidecar.Filters;
using Sidecar.Net;
using Sidecar.Telemetry.Stats;
using Xunit;

namespace Sidecar.Tests.Filters;

/// <summary>filter_disabled: the destination ports a listener filter is passed over for.</summary>
public class ListenerFiltersTests
{
    [Fact]
    public void Range_StartsIncludedEndsBefore()
    {
        var predicate = Create(Range(25, 27));
        Assert.Equal([25, 26], new[] { 24, 25, 26, 27 }.Where(port => predicate.Matches(Address.Loopback((ushort)port))));
    }

    [Fact]
    public void Not_Or_And_Any()
    {
        var inverted = Create(new() { NotMatch = Range(25, 27) });
        Assert.Equal([24, 27], new[] { 24, 25, 26, 27 }.Where(port => inverted.Matches(Address.Loopback((ushort)port))));
        var either = Create(new() { OrMatch = new() { Rules = { Range(25, 26), Range(3306, 3307), Range(1, 2) } } });
        Assert.Equal([25, 3306], new[] { 25, 26, 3306, 3307 }.Where(port => either.Matches(Address.Loopback((ushort)port))));
        var both = Create(new() { AndMatch = new() { Rules = { Range(20, 30), new ListenerFilterChainMatchPredicate { NotMatch = Range(25, 26) } } } });
        Assert.Equal([20, 24, 26, 29], new[] { 19, 20, 24, 25, 26, 29, 30 }.Where(port => both.Matches(Address.Loopback((ushort)port))));
        Assert.True(Create(new() { AnyMatch = true }).Matches(Address.Loopback(1)));
    }

    /// <summary>A Unix socket has no port; Envoy takes it for one of every range.</summary>
    [Fact]
    public void AddressWithoutPort_IsInEveryRange()
    {
        Assert.True(Create(Range(25, 27)).Matches(Address.Pipe("/a")));
        Assert.False(Create(new() { NotMatch = Range(25, 27) }).Matches(Address.Pipe("/a")));
    }

    private static ListenerFilterChainMatchPredicate Range(int start, int end) => new() { DestinationPortRange = new() { Start = start, End = end } };

    private static PortPredicate Create(ListenerFilterChainMatchPredicate wire)
    {
        var scope = new ConfigScope(new ConfigServices
        {
            Stats = new StatsRegistry(1),
            Cluster = _ => throw new InvalidOperationException(),
            RouteSlot = _ => 0,
            RouteTable = (_, _) => null,
            StringMatcher = (_, _) => null,
            HeaderMatcher = (_, _) => null,
            ClusterProblem = _ => null,
        }, "test");
        var predicate = PortPredicate.Create(wire, scope);
        Assert.Empty(scope.Rejections);
        Assert.NotNull(predicate);
        return predicate;
    }
}
