using System;
using System.IO;
using Sidecar.Linux;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Linux;

[Trait("Category", "Linux")]
public sealed class FilesTests
{
    [SkippableFact]
    public void RegularFile_IsReadToTheLimit_AlsoThroughLinks()
    {
        Skip.IfNot(OperatingSystem.IsLinux(), "needs Linux");
        using var folder = new TestFolder();
        string file = folder.Write("a", "12345");
        string link = Path.Combine(folder.Path, "link");
        File.CreateSymbolicLink(link, file);
        Assert.Equal("12345"u8, Files.ReadRegular(file, 5));
        Assert.Equal("12345"u8, Files.ReadRegular(link, 5));
        Assert.Contains("is larger than 4 bytes", Assert.Throws<IOException>(() => Files.ReadRegular(link, 4)).Message);
    }

    [SkippableFact]
    public void FifoAndDevice_AreRefusedWithoutBeingOpened_AndWhatIsNotThereIsSaidSo()
    {
        Skip.IfNot(OperatingSystem.IsLinux(), "needs Linux");
        Command.Require("mkfifo");
        using var folder = new TestFolder();
        string fifo = Path.Combine(folder.Path, "fifo");
        Command.Run("mkfifo", fifo).Expect();
        string link = Path.Combine(folder.Path, "zero");
        File.CreateSymbolicLink(link, "/dev/zero");
        foreach (string path in new[] { fifo, link })
            Assert.Contains("is not a regular file", Assert.Throws<IOException>(() => Files.ReadRegular(path, 5)).Message);
        Assert.ThrowsAny<IOException>(() => Files.ReadRegular(Path.Combine(folder.Path, "none"), 5));
    }
}
