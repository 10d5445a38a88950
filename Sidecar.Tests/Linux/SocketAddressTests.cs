using System;
using Sidecar.Linux;
using Xunit;

namespace Sidecar.Tests.Linux;

public sealed class SocketAddressTests
{
    [Fact]
    public void IPv4_HasTheKernelsLayout()
    {
        SocketAddress address = SocketAddress.Ip([127, 0, 0, 1], 0x1f90);
        Assert.Equal(16u, address.Length);
        Assert.Equal(AddressFamily.IPv4, address.Family);
        Assert.Equal(8080, address.Port);
        Assert.True(address.Host.SequenceEqual(new byte[] { 127, 0, 0, 1 }));
    }

    [Fact]
    public void IPv6_KeepsItsScope()
    {
        SocketAddress address = SocketAddress.Ip([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 1, scope: 7);
        Assert.Equal(28u, address.Length);
        Assert.Equal(7u, address.Scope);
        Assert.Equal(16, address.Host.Length);
    }

    [Fact]
    public void Unix_PathAndAbstractNameAndUnnamed()
    {
        SocketAddress path = SocketAddress.Unix("/x"u8);
        Assert.Equal(5u, path.Length);
        Assert.True(path.Host.SequenceEqual("/x"u8));
        SocketAddress name = SocketAddress.Unix("\0ab"u8);
        Assert.Equal(5u, name.Length);
        Assert.True(name.Host.SequenceEqual("\0ab"u8));
        Assert.True(SocketAddress.Unix([])is { Family: AddressFamily.Unix });
        Assert.Equal(AddressFamily.Unspecified, default(SocketAddress).Family);
    }
}
