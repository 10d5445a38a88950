using System.IO;
using Sidecar.Linux;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Linux;

/// <summary>Limits of memory by control groups, read from folders laid out as the kernel's.</summary>
public sealed class CgroupTests : System.IDisposable
{
    private readonly TestFolder _root = new();

    public void Dispose() => _root.Dispose();

    private void Write(string file, string text)
    {
        string path = Path.Combine(_root.Path, file);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path, text);
    }

    private Cgroup? Find() => Cgroup.Find(_root.Path, Path.Combine(_root.Path, "self"));

    [Fact]
    public void Version2_TheTightestLimitUpTheTree_IsTheLimit()
    {
        Write("self", "0::/kubepods/pod1/c1\n");
        Write("kubepods/memory.max", "900000000\n");
        Write("kubepods/pod1/memory.max", "134217728\n");
        Write("kubepods/pod1/c1/memory.max", "max\n");
        Write("kubepods/pod1/c1/memory.current", "5000000\n");
        Assert.Equal(134217728, Find()!.LimitBytes);
        Assert.Equal(5000000, Find()!.UsedBytes);
    }

    [Fact]
    public void Version2_PathOfTheHost_IsTheMountItself()
    {
        Write("self", "0::/../../host/path\n");
        Write("memory.max", "268435456\n");
        Assert.Equal(268435456, Find()!.LimitBytes);
        Assert.Null(Find()!.UsedBytes);
    }

    [Fact]
    public void Version1_IsReadWhereItsControllerIs_AndItsLargestNumberIsNoLimit()
    {
        Write("self", "12:cpu,cpuacct:/a\n5:memory:/docker/x\n0::/\n");
        Write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        Write("memory/docker/x/memory.limit_in_bytes", "9223372036854771712\n");
        Write("memory/docker/x/memory.usage_in_bytes", "77\n");
        Assert.Null(Find()!.LimitBytes);
        Assert.Equal(77, Find()!.UsedBytes);
        Write("memory/docker/x/memory.limit_in_bytes", "67108864\n");
        Assert.Equal(67108864, Find()!.LimitBytes);
    }

    [Theory]
    [InlineData("max\n")]
    [InlineData("")]
    [InlineData("-5\n")]
    public void NoLimit_IsNone(string text)
    {
        Write("self", "0::/\n");
        Write("memory.max", text);
        Assert.Null(Find()!.LimitBytes);
    }

    [Fact]
    public void NoGroups_IsNone()
    {
        Assert.Null(Find());
        Write("self", "garbage\n");
        Assert.Null(Find());
    }
}
