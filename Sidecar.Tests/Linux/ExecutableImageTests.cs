using System;
using System.Linq;
using Sidecar.Linux;
using Xunit;

namespace Sidecar.Tests.Linux;

[Trait("Category", "Linux")]
public sealed class ExecutableImageTests
{
    [SkippableFact]
    public void Release_GivesBackWholePagesAndTheProgramGoesOn()
    {
        Skip.IfNot(OperatingSystem.IsLinux(), "program headers of a Linux process");
        long released = ExecutableImage.ReleaseCleanPages();
        Assert.True(released > 0, "nothing of the test host's own file was given back");
        Assert.Equal(0, released % 4096);
        Assert.Equal(released, ExecutableImage.ReleaseCleanPages());
    }

    [Theory]
    [InlineData("", "")]
    [InlineData("f-f", "0+3")]
    [InlineData("ffw-s-f", "0+2 3+1 5+2")]
    [InlineData("wffs", "1+2")]
    [InlineData("ws", "")]
    public void OnlyPagesThatWereNeverWritten_AreReleased(string pages, string runs)
    {
        // By pagemap's bits: not in memory, in memory as a page of the file, in memory as a written copy, a written copy in swap.
        ulong[] states = [.. pages.Select(page => page switch { '-' => 0UL, 'f' => 1UL << 63 | 1UL << 61, 'w' => 1UL << 63, _ => 1UL << 62 })];
        Assert.Equal(runs, string.Join(' ', ExecutableImage.UnwrittenRuns(states).Select(run => $"{run.First}+{run.Count}")));
    }
}
