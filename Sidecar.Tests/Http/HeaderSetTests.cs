using System;
using System.Collections.Generic;
using Sidecar.Http;
using Xunit;

namespace Sidecar.Tests.Http;

public class HeaderSetTests
{
    [Fact]
    public void EveryKnownName_HasABit() => Assert.True((int)HeaderId.Count <= 128);

    [Fact]
    public void Members_AreThoseAdded_AndTakenOnce()
    {
        HeaderId[] wanted = [HeaderId.Method, HeaderId.Host, HeaderId.Via, HeaderId.XRequestId];
        var set = new HeaderSet(wanted);
        foreach (var id in Enum.GetValues<HeaderId>())
        {
            if (id != HeaderId.Count)
                Assert.Equal(Array.IndexOf(wanted, id) >= 0, set.Contains(id));
        }
        var taken = new List<HeaderId>();
        while (!set.IsEmpty)
            taken.Add(set.Take());
        Assert.Equal(wanted, taken);
    }

    [Fact]
    public void Sets_MeetInTheirCommonMembers()
    {
        var set = new HeaderSet(HeaderId.Path, HeaderId.XRequestId);
        Assert.True(set.Intersects(new HeaderSet(HeaderId.XRequestId, HeaderId.Te)));
        Assert.False(set.Intersects(new HeaderSet(HeaderId.Te, HeaderId.XForwardedFor)));
        set.Remove(HeaderId.XRequestId);
        Assert.False(set.Intersects(new HeaderSet(HeaderId.XRequestId)));
        Assert.True((set & new HeaderSet(HeaderId.Path, HeaderId.Te)).Contains(HeaderId.Path));
    }
}
