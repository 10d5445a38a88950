using System;
using System.Text;
using Sidecar.Tests.Harness;
using Sidecar.Tls;
using Xunit;

namespace Sidecar.Tests.Tls;

public sealed class SanMatcherTests
{
    [Theory]
    [InlineData("a.test", "a.test", true)]
    [InlineData("A.Test", "a.tEST", true)]
    [InlineData("a.test", "b.test", false)]
    [InlineData("a.test", "*.test", true)]
    [InlineData("b.a.test", "*.test", false)]
    [InlineData("b.a.test", "*.a.test", true)]
    [InlineData("test", "*.test", false)]
    [InlineData(".test", "*.test", false)]
    [InlineData("ab.test", "a*.test", false)]
    [InlineData("ab.test", "*b.test", false)]
    [InlineData("a.b.test", "*.*.test", false)]
    [InlineData("a.test", "*", false)]
    [InlineData("a.test", "*.", false)]
    [InlineData("xn--a.test", "*.test", false)]
    [InlineData("xn--a.test", "xn--a.test", true)]
    [InlineData("a.test", "a.test\0.evil", false)]
    [InlineData("a.test", "*.test\0", false)]
    [InlineData("a.test", "", false)]
    public void Dns_WildcardIsOneWholeFirstLabel(string wanted, string pattern, bool expected) =>
        Assert.Equal(expected, SanMatcher.MatchesDns(Encoding.Latin1.GetBytes(wanted), Encoding.Latin1.GetBytes(pattern)));

    [Theory]
    [InlineData("Uri", "Uri", true)]
    [InlineData("Uri", "Dns", false)]
    [InlineData("Dns", "Uri", false)]
    [InlineData("Email", "Uri", false)]
    [InlineData("Unspecified", "Uri", true)]
    [InlineData("Unspecified", "Dns", true)]
    [InlineData("Unspecified", "OtherName", false)]
    public void Type_IsComparedToo(string wanted, string present, bool expected) =>
        Assert.Equal(expected, TestTls.San(Enum.Parse<SanType>(wanted), "x.y").Matches(new SubjectAltName(Enum.Parse<SanType>(present), "x.y"u8.ToArray())));

    [Fact]
    public void OtherName_NeedsItsObjectIdentifier()
    {
        var matcher = new SanMatcher { Type = SanType.OtherName, Oid = "1.2.3", Text = value => value.SequenceEqual("me"u8) };
        Assert.True(matcher.Matches(new SubjectAltName(SanType.OtherName, "me"u8.ToArray(), "1.2.3")));
        Assert.False(matcher.Matches(new SubjectAltName(SanType.OtherName, "me"u8.ToArray(), "1.2.4")));
        Assert.False(matcher.Matches(new SubjectAltName(SanType.OtherName, "you"u8.ToArray(), "1.2.3")));
    }

    [Fact]
    public void Dns_OnlyAnExactMatchKnowsWildcards()
    {
        var prefix = new SanMatcher { Type = SanType.Dns, Text = value => value.StartsWith("a."u8) };
        Assert.False(prefix.Matches(new SubjectAltName(SanType.Dns, "*.test"u8.ToArray())));
        Assert.True(prefix.Matches(new SubjectAltName(SanType.Dns, "a.test"u8.ToArray())));
    }

    [Theory]
    [InlineData("spiffe://td/ns/a", "td")]
    [InlineData("SPIFFE://TD/x", "td")]
    [InlineData("spiffe://td", "td")]
    [InlineData("spiffe:///x", null)]
    [InlineData("spiffe://", null)]
    [InlineData("https://td/x", null)]
    [InlineData("spiffe://td\0.evil/x", null)]
    public void TrustDomain_IsTheAuthorityOfASpiffeId(string uri, string? domain) =>
        Assert.Equal(domain, CertificateVerifier.TrustDomain(Encoding.Latin1.GetBytes(uri)));
}
