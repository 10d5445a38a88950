using System;
using System.Text;
using Sidecar.Linux;
using Xunit;

namespace Sidecar.Tests.Linux;

public sealed class ProcessMemoryTests
{
    [Theory]
    [InlineData("1234 567 89 1 0 2 0\n", true, 567, 89)]
    [InlineData("1 2 3", true, 2, 3)]
    [InlineData("1 2", false, 2, 0)]
    [InlineData("1 ", false, 0, 0)]
    [InlineData("", false, 0, 0)]
    [InlineData("a b c", false, 0, 0)]
    public void Statm_ResidentAndShared(string text, bool ok, long resident, long shared)
    {
        Assert.Equal(ok, ProcessMemory.TryParse(Encoding.ASCII.GetBytes(text), out long r, out long s));
        Assert.Equal((resident, shared), (r, s));
    }

    [Fact]
    public void Anonymous_GrowsWithWhatIsTouched_AndAsksWithoutAllocating()
    {
        using var memory = new ProcessMemory();
        long before = memory.AnonymousBytes();
        Assert.True(before > 0);
        byte[] touched = new byte[64 * 1024 * 1024];
        for (int i = 0; i < touched.Length; i += 4096)
            touched[i] = 1;
        Assert.InRange(memory.AnonymousBytes(), 32 * 1024 * 1024, long.MaxValue);
        long allocated = GC.GetAllocatedBytesForCurrentThread();
        memory.AnonymousBytes();
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - allocated);
        GC.KeepAlive(touched);
    }
}
