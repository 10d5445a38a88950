using System;
using System.Collections.Generic;
using System.Linq;
using System.Text;
using Sidecar.Routing;
using Xunit;
using static Sidecar.Tests.Routing.RoutingHarness;

namespace Sidecar.Tests.Routing;

public sealed class RouteTableTests
{
    private static string Host(string name, params string[] domains) =>
        $$"""{"name":"{{name}}","domains":[{{string.Join(',', domains.Select(d => '"' + d + '"'))}}],"routes":[]}""";

    private static readonly RouteTable s_domains = Table($$"""
        {"name":"t","virtual_hosts":[
          {{Host("exact", "a.b.c", "a.b.c:80")}},
          {{Host("suffix", "*.b.c")}}, {{Host("longer", "*.x.b.c")}}, {{Host("dash", "*-y.b.c")}},
          {{Host("prefix", "a.*")}}, {{Host("longprefix", "a.b.d.*")}},
          {{Host("v6", "[fd00::1]:80")}},
          {{Host("any", "*")}}]}
        """);

    [Theory]
    [InlineData("a.b.c", "exact")]
    [InlineData("A.B.C", "exact")]
    [InlineData("a.b.c:80", "exact")]
    [InlineData("a.b.c:81", "prefix")]
    [InlineData("z.b.c", "suffix")]
    [InlineData("Z.B.c", "suffix")]
    [InlineData(".b.c", "any")]
    [InlineData("b.c", "any")]
    [InlineData("q.x.b.c", "longer")]
    [InlineData(".x.b.c", "suffix")]
    [InlineData("q-y.b.c", "dash")]
    [InlineData("a.z", "prefix")]
    [InlineData("a.", "any")]
    [InlineData("a.b.d.e", "longprefix")]
    [InlineData("a.q.b.c", "suffix")]
    [InlineData("[fd00::1]:80", "v6")]
    [InlineData("[FD00::1]:80", "v6")]
    [InlineData("[fd00::1]", "any")]
    [InlineData("", "any")]
    public void Domain_MostSpecificWins(string authority, string expected) =>
        Assert.Equal(expected, s_domains.FindHost(Encoding.UTF8.GetBytes(authority))!.Name);

    [Theory]
    [InlineData("a", "a")]
    [InlineData("a:80", "a")]
    [InlineData("a:9999", "a")]
    [InlineData("a:x", null)]
    [InlineData("[::1]", "v6")]
    [InlineData("[::1]:80", "v6")]
    [InlineData("b.c:1", "suffix")]
    public void Domain_IgnorePort_ComparesWithoutIt(string authority, string? expected)
    {
        var table = Table($$"""{"name":"t","ignore_port_in_host_matching":true,"virtual_hosts":[{{Host("a", "a")}},{{Host("v6", "[::1]")}},{{Host("suffix", "*.c")}}]}""");
        Assert.Equal(expected, table.FindHost(Encoding.UTF8.GetBytes(authority))?.Name);
    }

    [Fact]
    public void Domain_LongerThanAnyName_MatchesTheWildcardOnly()
    {
        string authority = new string('x', 600) + ".b.c";
        Assert.Equal("any", s_domains.FindHost(Encoding.UTF8.GetBytes(authority))!.Name);
    }

    [Fact]
    public void Domain_NoneFits_NoRoute()
    {
        var table = Table($$"""{"name":"t","virtual_hosts":[{{Host("a", "a")}}]}""");
        var result = Match(table, RequestTo("b", "/"));
        Assert.Null(result.VirtualHost);
        Assert.Null(result.Route);
        Assert.Null(result.FindFilterConfig<object>("x"));
    }

    [Fact]
    public void Domain_RandomNames_AsALinearSearchByLength()
    {
        var random = new Random(5);
        string Label() => "abc"[random.Next(3)].ToString();
        string Name(int labels) => string.Join('.', Enumerable.Range(0, labels).Select(_ => Label()));
        var domains = new HashSet<string>();
        while (domains.Count < 120)
        {
            string name = Name(1 + random.Next(4));
            domains.Add(random.Next(3) switch { 0 => name, 1 => "*." + name, _ => name + ".*" });
        }
        var table = Table($$"""{"name":"t","virtual_hosts":[{{string.Join(',', domains.Select(d => Host(d, d)))}}]}""");
        for (int i = 0; i < 20_000; i++)
        {
            string authority = Name(1 + random.Next(6));
            string? expected = domains.Contains(authority) ? authority
                : domains.Where(d => d[0] == '*' && authority.Length >= d.Length && authority.EndsWith(d[1..], StringComparison.Ordinal)).MaxBy(d => d.Length)
                ?? domains.Where(d => d[^1] == '*' && authority.Length >= d.Length && authority.StartsWith(d[..^1], StringComparison.Ordinal)).MaxBy(d => d.Length);
            Assert.Equal(expected, table.FindHost(Encoding.UTF8.GetBytes(authority))?.Name);
        }
    }

    [Fact]
    public void PathParameters_Ignored_PathEndsAtSemicolon()
    {
        const string Routes = """{"name":"exact","match":{"path":"/a"},"route":{"cluster":"c"}},{"name":"rest","match":{"prefix":"/"},"route":{"cluster":"c"}}""";
        var ignoring = Table($$"""{"name":"t","ignore_path_parameters_in_path_matching":true,"virtual_hosts":[{"name":"v","domains":["*"],"routes":[{{Routes}}]}]}""");
        Assert.Equal("exact", RouteOf(ignoring, Request("/a;v=1?q")));
        Assert.Equal("rest", RouteOf(TableOf(Routes), Request("/a;v=1?q")));
    }

    [Fact]
    public void InternalOnlyHeaders_AreTakenOffExternalRequestsOnly()
    {
        var table = Table("""{"name":"t","internal_only_headers":["X-Secret"]}""");
        var outside = Request("/", "x-secret: 1", "x-other: 2");
        table.RemoveInternalOnly(outside);
        Assert.Null(Values(outside, "x-secret"));
        Assert.Equal("2", Values(outside, "x-other"));
        var inside = Request("/", "x-secret: 1", "x-envoy-internal: true");
        table.RemoveInternalOnly(inside);
        Assert.Equal("1", Values(inside, "x-secret"));
    }
}
