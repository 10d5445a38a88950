using Sidecar.Net;
using Xunit;

namespace Sidecar.Tests.Net;

public sealed class CidrTests
{
    [Theory]
    [InlineData("10.0.0.0/8", "10.255.255.255", true)]
    [InlineData("10.0.0.0/8", "11.0.0.0", false)]
    [InlineData("10.1.2.3/8", "10.9.9.9", true)]
    [InlineData("0.0.0.0/0", "255.255.255.255", true)]
    [InlineData("0.0.0.0/0", "::1", false)]
    [InlineData("192.168.1.1/32", "192.168.1.1", true)]
    [InlineData("192.168.1.1/32", "192.168.1.0", false)]
    [InlineData("192.168.1.1", "192.168.1.1", true)]
    [InlineData("::/0", "2001:db8::1", true)]
    [InlineData("::/0", "10.0.0.1", false)]
    [InlineData("2001:db8::/32", "2001:db8:ffff::", true)]
    [InlineData("2001:db8::/32", "2001:db9::", false)]
    [InlineData("2001:db8::/64", "2001:db8::1:0:0:0", true)]
    [InlineData("2001:db8::/64", "2001:db8:0:1::", false)]
    [InlineData("2001:db8::/65", "2001:db8:0:0:8000::", false)]
    [InlineData("2001:db8::1/128", "2001:db8::1", true)]
    [InlineData("2001:db8::1/128", "2001:db8::", false)]
    public void Contains_ByPrefix(string block, string text, bool expected)
    {
        Assert.True(Cidr.TryParse(block, out Cidr cidr));
        Assert.True(Address.TryParseIp(text, out Address address));
        Assert.Equal(expected, cidr.Contains(address));
    }

    [Theory]
    [InlineData("10.0.0.0/33")]
    [InlineData("::/129")]
    [InlineData("10.0.0.0/")]
    [InlineData("10.0.0.0/-1")]
    [InlineData("10.0.0.0/ 8")]
    [InlineData("x/8")]
    public void NoBlock_IsRefused(string text) => Assert.False(Cidr.TryParse(text, out _));

    [Fact]
    public void DefaultBlock_ContainsNothing() => Assert.False(default(Cidr).Contains(default));

    [Fact]
    public void BitsBeyondTheLength_AreCleared()
    {
        Assert.True(Cidr.TryParse("10.1.2.3/8", out Cidr cidr));
        Assert.Equal("10.0.0.0/8", cidr.ToString());
    }
}
