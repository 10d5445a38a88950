using System;
using System.Collections.Generic;
using System.Linq;
using System.Text;
using Sidecar.Routing;
using Xunit;

namespace Sidecar.Tests.Routing;

public sealed class AffixIndexTests
{
    private static List<string> Found(AffixIndex<string> index, string text)
    {
        var found = new List<string>();
        var walk = index.Of(Encoding.UTF8.GetBytes(text));
        while (walk.MoveNext(out string? value))
            found.Add(value);
        return found;
    }

    [Fact]
    public void Walk_FindsEveryPrefix_ShortestFirst()
    {
        var index = new AffixIndex<string>();
        foreach (string key in new[] { "/a/b", "/", "/a", "/x", "" })
            Assert.True(index.TryAdd(Encoding.UTF8.GetBytes(key), key));
        Assert.Equal(["", "/", "/a", "/a/b"], Found(index, "/a/b/c"));
        Assert.Equal(["", "/", "/a"], Found(index, "/A"));
        Assert.Equal([""], Found(index, ""));
    }

    [Fact]
    public void TryAdd_SameButForCase_IsRefused()
    {
        var index = new AffixIndex<string>();
        Assert.True(index.TryAdd("/Ab"u8, "first"));
        Assert.False(index.TryAdd("/aB"u8, "second"));
        Assert.True(index.TryGet("/AB"u8, out string? value));
        Assert.Equal("first", value);
        Assert.Equal(1, index.Count);
    }

    [Fact]
    public void TryLongest_NeedsMoreThanTheKey()
    {
        var index = new AffixIndex<string>(fromEnd: true);
        index.TryAdd(".b"u8, ".b");
        index.TryAdd(".a.b"u8, ".a.b");
        Assert.True(index.TryLongest("x.a.b"u8, out string? value));
        Assert.Equal(".a.b", value);
        Assert.True(index.TryLongest(".a.b"u8, out value));
        Assert.Equal(".b", value);
        Assert.False(index.TryLongest(".b"u8, out _));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Walk_TenThousandRandomTexts_FindsWhatALinearSearchFinds(bool fromEnd)
    {
        var random = new Random(11);
        string Text(int length) => new([.. Enumerable.Range(0, length).Select(_ => "abAB/"[random.Next(5)])]);
        var keys = new List<string>();
        var index = new AffixIndex<string>(fromEnd);
        for (int i = 0; i < 400; i++)
        {
            string key = Text(random.Next(9));
            if (index.TryAdd(Encoding.UTF8.GetBytes(key), key))
                keys.Add(key);
        }
        for (int i = 0; i < 10_000; i++)
        {
            string text = Text(random.Next(14));
            var expected = keys.Where(k => fromEnd ? text.EndsWith(k, StringComparison.OrdinalIgnoreCase) : text.StartsWith(k, StringComparison.OrdinalIgnoreCase)).OrderBy(k => k.Length);
            Assert.Equal(expected, Found(index, text));
        }
    }
}
