using System.Text;
using Sidecar.Routing;
using Xunit;

namespace Sidecar.Tests.Routing;

public sealed class UriTemplateTests
{
    [Theory]
    [InlineData("/", "/", "/a", "")]
    [InlineData("/a/b", "/a/b", "/a/b/", "/a")]
    [InlineData("/a/", "/a/", "/a", "/a/b")]
    [InlineData("/*", "/a", "/", "/a/b")]
    [InlineData("/*", "/a*b", "/a/", "a")]
    [InlineData("/a/*/c", "/a/b/c", "/a//c", "/a/b/c/d")]
    [InlineData("/a/*/*", "/a/b/c", "/a/b", "/a/b/")]
    [InlineData("/a/*.txt", "/a/b.txt", "/a/.txt", "/a/b.txt/c")]
    [InlineData("/a/*.txt", "/a/b.txt.txt", "/a/b.tx", "/a/b/c.txt")]
    [InlineData("/a/**", "/a/", "/a", "/b/a/")]
    [InlineData("/a/**", "/a/b/c/d", "/ab", "")]
    [InlineData("/**/z", "/a/b/z", "/z", "/a/zz")]
    [InlineData("/**/z", "//z", "/a/z/", "/a/z/b")]
    [InlineData("/**.txt", "/a/b.txt", "/a/b.txt/c", "/b.tx")]
    [InlineData("/**", "/", "", "x/")]
    [InlineData("/a/{v}/c", "/a/b/c", "/a/b/b/c", "/a//c")]
    [InlineData("/{v=a/*}/c", "/a/b/c", "/b/b/c", "/a/c")]
    [InlineData("/{v=a/**}/c", "/a/b/b/c", "/a/c", "/b/a/c")]
    [InlineData("/{v=**}", "/a/b", "", "x")]
    // What RFC 3986 has no place for in a path is part of its segment all the same.
    [InlineData("/admin/*", "/admin/\"a|\u00e9", "/admin/", "/Admin/a")]
    public void Template_MatchesTheWholePath(string template, string matching, string other, string another)
    {
        var parsed = UriTemplate.TryParse(template, out string error);
        Assert.Equal("", error);
        Assert.True(parsed!.Matches(Encoding.UTF8.GetBytes(matching)));
        Assert.False(parsed.Matches(Encoding.UTF8.GetBytes(other)));
        Assert.False(parsed.Matches(Encoding.UTF8.GetBytes(another)));
    }

    [Theory]
    [InlineData("", "Invalid pattern")]
    [InlineData("a", "Invalid pattern")]
    [InlineData("/a b", "Invalid pattern")]
    [InlineData("/\u00e9", "Invalid pattern")]
    [InlineData("/a//b", "Invalid literal")]
    [InlineData("/a*b", "Invalid literal")]
    [InlineData("/a?b", "Invalid literal")]
    [InlineData("/***", "Invalid literal")]
    [InlineData("/*b/c", "Prefix match not supported.")]
    [InlineData("/**/*", "Glob after text glob.")]
    [InlineData("/**/{v=*}", "Glob after text glob.")]
    [InlineData("/**/{v}", "Implicit variable path glob after text glob.")]
    [InlineData("/{v", "Unmatched variable bracket")]
    [InlineData("/{}", "Invalid variable name")]
    [InlineData("/{1a}", "Invalid variable name")]
    [InlineData("/{a=}", "Empty variable match")]
    [InlineData("/{a=b/}", "Invalid variable match")]
    [InlineData("/{a=*b}", "Invalid variable match")]
    [InlineData("/{a}/{a}", "Repeated variable name")]
    [InlineData("/{a}/{b}/{c}/{d}/{e}/{f}", "Exceeded variable count limit")]
    [InlineData("/{abcdefghijklmnopq}", "Invalid variable length")]
    [InlineData("/{a}{b}", "Invalid literal")]
    public void WhatIsNoTemplate_IsRefusedWithTheReason(string template, string reason)
    {
        Assert.Null(UriTemplate.TryParse(template, out string error));
        Assert.Equal(reason, error);
    }
}
