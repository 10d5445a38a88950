using Sidecar.Linux;
using Xunit;

namespace Sidecar.Tests.Linux;

public sealed class FirstPagesTests
{
    [SkippableFact]
    public void Code_IsBroughtIn_AndGoesAgain()
    {
        long bytes = FirstPages.BringIn();
        Skip.If(bytes == 0, "needs Linux 5.14 (MADV_POPULATE_READ)");
        Assert.True(ExecutableImage.ReleaseCleanPages() > 0);
        Assert.Equal(bytes, FirstPages.BringIn());
    }
}
