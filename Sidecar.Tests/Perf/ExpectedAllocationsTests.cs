using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text.Json;
using Sidecar.Micro;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Perf;

/// <summary>The benches of perf/micro allocate what perf/expected-allocations.json says, to the byte; their times are nobody's test.</summary>
public class ExpectedAllocationsTests
{
    public static TheoryData<string> Names()
    {
        var names = new TheoryData<string>();
        foreach (var bench in Benches.All)
            names.Add(bench.Name);
        return names;
    }

    [SkippableTheory]
    [MemberData(nameof(Names))]
    public void Bench_AllocatesWhatIsExpected(string name)
    {
        Skip.IfNot(System.OperatingSystem.IsLinux(), "the benches make event loops, which need epoll");
        Assert.True(Expected().TryGetValue(name, out double expected), $"perf/expected-allocations.json has no line for {name}");
        Assert.Equal(expected, Benches.AllocatedPerOperation(Benches.All.Single(bench => bench.Name == name).Make()));
    }

    [Fact]
    public void Expectations_NameNoBenchThatIsGone() =>
        Assert.Empty(Expected().Keys.Except(Benches.All.Select(static bench => bench.Name)));

    private static Dictionary<string, double> Expected() =>
        JsonSerializer.Deserialize<Dictionary<string, double>>(File.ReadAllText(Path.Combine(ProjectTree.Root, "perf", "expected-allocations.json")))!;
}
