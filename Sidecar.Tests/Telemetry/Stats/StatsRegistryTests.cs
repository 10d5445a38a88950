using Sidecar.Telemetry.Stats;
using Xunit;

namespace Sidecar.Tests.Telemetry.Stats;

public class StatsRegistryTests
{
    private static readonly StatsSchema s_schema = new(new("a"), new("b", StatKind.Gauge), new("c", StatKind.Histogram));

    [Fact]
    public void SameNameAndSchema_IsTheSameScope()
    {
        var registry = new StatsRegistry(2);
        Assert.Same(registry.Scope(s_schema, "x."), registry.Scope(s_schema, "x."));
        Assert.NotSame(registry.Scope(s_schema, "x."), registry.Scope(s_schema, "y."));
    }

    [Fact]
    public void PrefixOfAnOwner_IsPutTogether_AndItsScopeIsOne()
    {
        var registry = new StatsRegistry(1);
        var scope = registry.Scope(s_schema, "cluster.", "a|b", []);
        Assert.Equal("cluster.a|b.", scope.Prefix);
        Assert.Same(scope, registry.Scope(s_schema, "cluster.", "a|b", []));
        Assert.NotSame(scope, registry.Scope(s_schema, "cluster.", "c", []));
        registry.DropUnused(scope);
        Assert.DoesNotContain(scope, registry.Scopes);
        Assert.NotSame(scope, registry.Scope(s_schema, "cluster.", "a|b", []));
    }

    [Fact]
    public void ControlLoopsCells_HaveRoomForItsOwnStats_AndMakeMoreWhenTheyAreWritten()
    {
        var schema = s_schema with { ControlCount = 1 };
        var scope = new StatsRegistry(1).Scope(schema, "x.");
        var control = scope.Cells(1);
        control.Inc(0);
        Assert.Equal(0, control.Value(1));
        control.Add(1, 4);
        control.Dec(1);
        scope.Cells(0).Inc(1);
        Assert.Equal(1, scope.Sum(0));
        Assert.Equal(4, scope.Sum(1));
        control.Record(2, 9);
        Assert.Equal(1, scope.MergedHistogram(2)!.Total);
    }

    [Fact]
    public void Sum_IsOverAllWriters()
    {
        var scope = new StatsRegistry(2).Scope(s_schema, "x.");
        scope.Cells(0).Inc(0);
        scope.Cells(1).Add(0, 5);
        scope.Cells(2).Set(1, 7);
        Assert.Equal(6, scope.Sum(0));
        Assert.Equal(7, scope.Sum(1));
        Assert.Null(scope.MergedHistogram(2));
        scope.Cells(0).Record(2, 1);
        scope.Cells(1).Record(2, 2);
        Assert.Equal(2, scope.MergedHistogram(2)!.Total);
    }

    [Fact]
    public void Release_DropsAScopeWithItsLastUser()
    {
        var registry = new StatsRegistry(1);
        var first = registry.Scope(s_schema, "first.");
        var second = registry.Scope(s_schema, "second.");
        var own = registry.Scope(s_schema, "own.");
        StatsRegistry.Retain(first);
        StatsRegistry.Retain(second);
        StatsRegistry.Retain(first);
        registry.Release(first);
        Assert.Same(first, registry.Scope(s_schema, "first."));
        registry.Release(first);
        registry.Release(second);
        Assert.Equal([own], registry.Scopes);
        Assert.NotSame(first, registry.Scope(s_schema, "first."));
    }

    [Fact]
    public void DropUnused_KeepsWhatSomebodyRetains()
    {
        var registry = new StatsRegistry(1);
        var kept = registry.Scope(s_schema, "kept.");
        StatsRegistry.Retain(kept);
        registry.DropUnused(registry.Scope(s_schema, "refused."));
        registry.DropUnused(kept);
        Assert.Equal([kept], registry.Scopes);
    }

    [Fact]
    public void Recorder_NotesWhatIsAskedFor()
    {
        var registry = new StatsRegistry(1) { Recorder = [] };
        var scope = registry.Scope(s_schema, "x.");
        Assert.Equal([scope], registry.Recorder);
    }
}
