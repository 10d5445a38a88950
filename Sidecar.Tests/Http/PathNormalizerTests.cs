using System;
using Sidecar.Http;
using Sidecar.Memory;
using Xunit;

namespace Sidecar.Tests.Http;

public class PathNormalizerTests
{
    private static readonly PathOptions s_none = default;
    private static readonly PathOptions s_normalize = new(true, false, EscapedSlashesAction.KeepUnchanged);
    private static readonly PathOptions s_merge = new(true, true, EscapedSlashesAction.KeepUnchanged);

    private static string Run(string path, PathOptions options)
    {
        var head = new RequestHead();
        head.Add(HeaderId.Path, Ascii.Bytes(path));
        return PathNormalizer.Normalize(head, options) switch
        {
            PathResult.Reject => "reject",
            PathResult.Redirect => "redirect " + Ascii.String(head.Path),
            _ => Ascii.String(head.Path),
        };
    }

    [Theory]
    [InlineData("/a/../b//c\\d%2e?e/../f", "/a/../b//c\\d%2e?e/../f")]
    [InlineData("/a#b", "/a")]
    [InlineData("/a?b#c", "/a?b")]
    [InlineData("/a%00", "reject")]
    [InlineData("/a?%00", "/a?%00")]
    [InlineData("*", "*")]
    public void WithoutOptions_OnlyFragmentAndNul(string path, string expected) => Assert.Equal(expected, Run(path, s_none));

    [Theory]
    [InlineData("/", "/")]
    [InlineData("/a/b", "/a/b")]
    [InlineData("/a/./b", "/a/b")]
    [InlineData("/a/../b", "/b")]
    [InlineData("/a/b/..", "/a/")]
    [InlineData("/a/b/.", "/a/b/")]
    [InlineData("/..", "/")]
    [InlineData("/../../a", "/a")]
    [InlineData("/a/../../b", "/b")]
    [InlineData("/a//../b", "/a/b")]
    [InlineData("/a/...", "/a/...")]
    [InlineData("/a/.b/..c", "/a/.b/..c")]
    [InlineData("/a/%2e%2e/b", "/b")]
    [InlineData("/a/%2E./b?x=../y", "/b?x=../y")]
    [InlineData("/a\\b\\..\\c", "/a/c")]
    [InlineData("/%7Euser/%41%2d%5f", "/~user/A-_")]
    [InlineData("/a%20b%3Fc%2Fd%25", "/a%20b%3Fc%2Fd%25")]
    [InlineData("/a%2", "/a%2")]
    [InlineData("/a%zz%", "/a%zz%")]
    [InlineData("/%2%46", "/%2%46")]
    [InlineData("/%%32F", "/%%32F")]
    [InlineData("/a;b=c/d", "/a;b=c/d")]
    [InlineData("/a/..;/b", "reject")]
    [InlineData("/a/.;x/b", "reject")]
    [InlineData("/a/..;x", "reject")]
    [InlineData("/a?/..;x", "/a?/..;x")]
    [InlineData("/a//b", "/a//b")]
    public void NormalizePath_ResolvesDotsAndDecodesUnreserved(string path, string expected) => Assert.Equal(expected, Run(path, s_normalize));

    [Theory]
    [InlineData("//a///b//", "/a/b/")]
    [InlineData("/a//..//b", "/a/b")]
    [InlineData("/a?b//c", "/a?b//c")]
    public void MergeSlashes_AfterNormalizing(string path, string expected) => Assert.Equal(expected, Run(path, s_merge));

    [Theory]
    [InlineData(EscapedSlashesAction.KeepUnchanged, "/a%2Fb%5cc")]
    [InlineData(EscapedSlashesAction.RejectRequest, "reject")]
    [InlineData(EscapedSlashesAction.UnescapeAndForward, "/a/b/c")]
    [InlineData(EscapedSlashesAction.UnescapeAndRedirect, "redirect /a/b/c")]
    internal void EscapedSlashes_AsConfigured(EscapedSlashesAction action, string expected) =>
        Assert.Equal(expected, Run("/a%2Fb%5cc", new PathOptions(true, false, action)));

    [Fact]
    public void EscapedSlashes_InTheQuery_AreData() =>
        Assert.Equal("/a?b%2Fc", Run("/a?b%2Fc", new PathOptions(true, true, EscapedSlashesAction.RejectRequest)));

    [Fact]
    public void LongPath_IsNormalizedToo() => Assert.Equal("/" + new string('a', 5000), Run("/x/../" + new string('a', 5000), s_normalize));

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Canonical_IsAFixedPoint_WithoutDotSegments(int seed)
    {
        var random = new Random(seed);
        string[] parts = ["/", "/", ".", "..", "%2e", "%2F", "%5C", "\\", "a", "b", "%", "2", "46", ";", "?", "#", "%41", "%25"];
        var options = new PathOptions(true, true, EscapedSlashesAction.UnescapeAndForward);
        for (int i = 0; i < 20_000; i++)
        {
            string path = "/";
            for (int n = random.Next(12); n > 0; n--)
                path += parts[random.Next(parts.Length)];
            string once = Run(path, options);
            if (once == "reject")
                continue;
            Assert.Equal(once, Run(once, options));
            string only = once.Split('?')[0] + "/";
            Assert.DoesNotContain("/../", only, StringComparison.Ordinal);
            Assert.DoesNotContain("/./", only, StringComparison.Ordinal);
            Assert.DoesNotContain("//", once.Split('?')[0], StringComparison.Ordinal);
            Assert.DoesNotContain("#", once, StringComparison.Ordinal);
        }
    }
}
