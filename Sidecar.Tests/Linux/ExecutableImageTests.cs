using System;
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
}
