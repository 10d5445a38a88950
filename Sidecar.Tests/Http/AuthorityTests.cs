using Sidecar.Http;
using Sidecar.Memory;
using Xunit;

namespace Sidecar.Tests.Http;

public class AuthorityTests
{
    [Theory]
    [InlineData("a", "a", -1)]
    [InlineData("Example.com:8080", "Example.com", 8080)]
    [InlineData("10.0.0.1:65535", "10.0.0.1", 65535)]
    [InlineData("a:", "a", -1)]
    [InlineData("a:0", "a", 0)]
    [InlineData("[::1]", "[::1]", -1)]
    [InlineData("[fe80::1%25eth0]:80", "[fe80::1%25eth0]", 80)]
    [InlineData("a_b.c~d%20", "a_b.c~d%20", -1)]
    internal void Splits_HostAndPort(string authority, string host, int port)
    {
        Assert.True(Authority.TrySplit(Ascii.Bytes(authority), out var actualHost, out int actualPort));
        Assert.Equal(host, Ascii.String(actualHost));
        Assert.Equal(port, actualPort);
    }

    [Theory]
    [InlineData("")]
    [InlineData(":80")]
    [InlineData("a:b")]
    [InlineData("a:65536")]
    [InlineData("a:-1")]
    [InlineData("a:000080")]
    [InlineData("a:80:90")]
    [InlineData("::1")]
    [InlineData("[::1")]
    [InlineData("[]")]
    [InlineData("[::1]x")]
    [InlineData("[a/b]")]
    [InlineData("a b")]
    [InlineData("a/b")]
    [InlineData("a@b")]
    [InlineData("a?b")]
    [InlineData("a#b")]
    [InlineData("a\\b")]
    [InlineData("a\0")]
    [InlineData("\u00e4")]
    public void Refuses(string authority) => Assert.False(Authority.IsValid(Ascii.Bytes(authority)));

    [Fact]
    public void HostOf_WhatIsNoAuthority_IsItself() => Assert.Equal("a b:80", Ascii.String(Authority.HostOf("a b:80"u8)));
}
