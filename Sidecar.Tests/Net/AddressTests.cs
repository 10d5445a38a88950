using System.Text;
using Sidecar.Linux;
using Sidecar.Net;
using Xunit;

namespace Sidecar.Tests.Net;

public sealed class AddressTests
{
    [Theory]
    [InlineData("10.0.0.1:80")]
    [InlineData("0.0.0.0:0")]
    [InlineData("255.255.255.255:65535")]
    [InlineData("[::1]:80")]
    [InlineData("[::]:15006")]
    [InlineData("[2001:db8::8:800:200c:417a]:443")]
    [InlineData("[2001:db8:0:1:1:1:1:1]:1")]
    [InlineData("[1::2:0:0:3:0]:1")]
    [InlineData("[fe80::1%3]:1")]
    [InlineData("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535")]
    public void Text_RoundTrips(string text)
    {
        Assert.True(Address.TryParse(text, out Address address));
        Assert.Equal(text, address.ToString());
        Assert.Equal(address, Address.From(address.ToSocketAddress()));
        byte[] bytes = new byte[Address.TextBytesMax];
        Assert.Equal(text, Encoding.ASCII.GetString(bytes, 0, address.Format(bytes)));
    }

    [Theory]
    [InlineData("2001:DB8:0:0:0:0:0:1", "2001:db8::1")]
    [InlineData("0:0:0:0:0:0:0:0", "::")]
    [InlineData("1:0:0:2:0:0:0:3", "1:0:0:2::3")]
    [InlineData("1:0:0:2:3:0:0:4", "1::2:3:0:0:4")]
    [InlineData("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1")]
    [InlineData("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0")]
    [InlineData("::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8")]
    [InlineData("64:ff9b::192.0.2.33", "64:ff9b::c000:221")]
    [InlineData("::ffff:10.1.2.3", "10.1.2.3")]
    public void IPv6_IsPrintedByRfc5952_AndMappedIPv4IsIPv4(string text, string canonical)
    {
        Assert.True(Address.TryParseIp(text, out Address address));
        Assert.Equal(canonical, address.HostString());
    }

    [Theory]
    [InlineData("")]
    [InlineData("1.2.3")]
    [InlineData("1.2.3.4.5")]
    [InlineData("1.2.3.256")]
    [InlineData("01.2.3.4")]
    [InlineData("1.2.3.4 ")]
    [InlineData("0x7f.1")]
    [InlineData("1.2..4")]
    [InlineData(":")]
    [InlineData(":::")]
    [InlineData("::1::")]
    [InlineData("1:2:3:4:5:6:7")]
    [InlineData("1:2:3:4:5:6:7:8:9")]
    [InlineData("1::2:3:4:5:6:7:8")]
    [InlineData("12345::")]
    [InlineData("g::1")]
    [InlineData("::1%")]
    [InlineData("::1%eth0")]
    [InlineData("1:2:3:4:5:6:7:1.2.3.4")]
    [InlineData("::1.2.3")]
    [InlineData("1:")]
    [InlineData("１.2.3.4")]
    public void NoIpAddress_IsRefused(string text) => Assert.False(Address.TryParseIp(text, out _));

    [Theory]
    [InlineData("10.0.0.1")]
    [InlineData("10.0.0.1:")]
    [InlineData("10.0.0.1:65536")]
    [InlineData("10.0.0.1:-1")]
    [InlineData("::1:80")]
    [InlineData("[10.0.0.1]:80")]
    [InlineData("[::1]")]
    [InlineData("host:80")]
    public void NoAddressWithPort_IsRefused(string text) => Assert.False(Address.TryParse(text, out _));

    [Theory]
    [InlineData("/run/app.sock")]
    [InlineData("@istio")]
    public void Pipe_RoundTrips(string path)
    {
        Address address = Address.Pipe(path);
        Assert.Equal(address, Address.From(address.ToSocketAddress()));
        Assert.Equal(path, address.ToString());
        Assert.Equal(AddressFamily.Unix, address.Family);
    }

    [Fact]
    public void Equality_CountsPortAndKind()
    {
        Assert.Equal(Address.Loopback(1), Address.Loopback(1));
        Assert.Equal(Address.Loopback(1).GetHashCode(), Address.Loopback(1).GetHashCode());
        Assert.NotEqual(Address.Loopback(1), Address.Loopback(2));
        Assert.True(Address.Loopback(1).SameHost(Address.Loopback(2)));
        Assert.NotEqual(Address.IPv4(1, 1), Address.IPv6(0, 1, 1));
        Assert.True(default(Address).IsNone);
        Assert.True(Address.IPv4(0, 80).IsAny);
        Assert.True(Address.IPv6(0, 1, 0).IsLoopback);
    }
}
