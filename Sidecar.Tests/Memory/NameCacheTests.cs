using System;
using System.Linq;
using System.Text;
using Sidecar.Memory;
using Xunit;

namespace Sidecar.Tests.Memory;

public class NameCacheTests
{
    [Fact]
    public void SameName_IsTheSameString()
    {
        var cache = new NameCache();
        Assert.Same(cache.Get("a.example.org"u8, lower: false), cache.Get("a.example.org"u8, lower: false));
        Assert.Same(cache.Get("a.example.org"u8, lower: true), cache.Get("A.Example.ORG"u8, lower: true));
        Assert.Equal("A.b", cache.Get("A.b"u8, lower: false));
        Assert.Equal("", cache.Get(default, lower: true));
    }

    [Fact]
    public void BytesThatAreNoAscii_StayApart()
    {
        var cache = new NameCache();
        Assert.Equal("\u00C9\u0080[", cache.Get([0xC9, 0x80, (byte)'['], lower: true));
    }

    [Fact]
    public void ManyNames_DriveEachOtherOut_AndAreRight()
    {
        var cache = new NameCache();
        foreach (int i in Enumerable.Range(0, 5000))
            Assert.Equal($"name-{i}", cache.Get(Encoding.ASCII.GetBytes($"name-{i}"), lower: true));
        string longest = new('x', 5000);
        Assert.Equal(longest, cache.Get(Encoding.ASCII.GetBytes(longest), lower: true));
    }

    [Fact]
    public void KnownName_AllocatesNothing()
    {
        var cache = new NameCache();
        cache.Get("istio-peer-exchange"u8, lower: false);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 1000; i++)
            cache.Get("istio-peer-exchange"u8, lower: false);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }
}
