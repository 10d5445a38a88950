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
    public void Sweep_DropsWhatNoGenerationAskedFor()
    {
        var registry = new StatsRegistry(1);
        var kept = registry.Scope(s_schema, "kept.");
        var asked = registry.Scope(s_schema, "asked.");
        registry.Scope(s_schema, "gone.");
        registry.BeginGeneration();
        registry.Keep(kept);
        Assert.Same(asked, registry.Scope(s_schema, "asked."));
        registry.Sweep();
        Assert.Equal([kept, asked], registry.Scopes);
    }

    [Fact]
    public void Recorder_NotesWhatIsAskedFor()
    {
        var registry = new StatsRegistry(1) { Recorder = [] };
        var scope = registry.Scope(s_schema, "x.");
        Assert.Equal([scope], registry.Recorder);
    }
}
