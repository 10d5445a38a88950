using Sidecar.Filters.Http.Router;
using Sidecar.Http;
using Sidecar.Routing;
using Sidecar.Tests.Routing;
using Xunit;
using static Sidecar.Tests.Routing.RoutingHarness;

namespace Sidecar.Tests.Filters.Http.Router;

public sealed class RequestRewriteTests
{
    private static RequestHead Rewritten(string action, string path, string match = """{"prefix":"/a"}""", bool suppress = false, params string[] fields)
    {
        var route = TableOf($$$"""{"match":{{{match}}},"route":{"cluster":"c",{{{action}}}}}""").FindHost("x"u8)!.Routes[0];
        var head = RequestTo("old", path, fields);
        RequestRewrite.Apply(head, route, null, new TestFacts { Request = head }, suppress, default);
        return head;
    }

    [Theory]
    [InlineData("""{"prefix":"/a"}""", """ "prefix_rewrite":"/n" """, "/a/b?q", "/n/b?q")]
    [InlineData("""{"prefix":"/a/"}""", """ "prefix_rewrite":"/" """, "/a/b", "/b")]
    [InlineData("""{"prefix":"/"}""", """ "prefix_rewrite":"/n/" """, "/b?q", "/n/b?q")]
    [InlineData("""{"prefix":"/A","case_sensitive":false}""", """ "prefix_rewrite":"/n" """, "/a/b", "/n/b")]
    [InlineData("""{"path_separated_prefix":"/a"}""", """ "prefix_rewrite":"/n" """, "/a/b", "/n/b")]
    [InlineData("""{"path":"/a"}""", """ "prefix_rewrite":"/n" """, "/a?q", "/n?q")]
    [InlineData("""{"safe_regex":{"regex":"/a.*"}}""", """ "prefix_rewrite":"/n" """, "/abc?q", "/n?q")]
    [InlineData("""{"prefix":"/a"}""", """ "regex_rewrite":{"pattern":{"regex":"^/a/(\\w+)/(\\w+)"},"substitution":"/\\2/\\1"} """, "/a/b/c/d?q=/a/b/c", "/c/b/d?q=/a/b/c")]
    [InlineData("""{"prefix":"/a"}""", """ "regex_rewrite":{"pattern":{"regex":"no"},"substitution":"x"} """, "/a?no", "/a?no")]
    public void Path_IsRewritten_QueryStays(string match, string action, string path, string expected)
    {
        var head = Rewritten(action, path, match);
        Assert.Equal(expected, Values(head, ":path"));
        Assert.Equal(path, Values(head, "x-envoy-original-path"));
        Assert.Null(Values(Rewritten(action, path, match, suppress: true), "x-envoy-original-path"));
    }

    [Fact]
    public void Path_OriginalFromTheClient_IsReplaced() =>
        Assert.Equal("/a", Values(Rewritten(""" "prefix_rewrite":"/n" """, "/a", fields: "x-envoy-original-path: /forged"), "x-envoy-original-path"));

    [Fact]
    public void Path_Long_IsRewrittenWhole()
    {
        string rest = new('x', 60_000);
        Assert.Equal("/n" + rest, Values(Rewritten(""" "prefix_rewrite":"/n" """, "/a" + rest), ":path"));
        Assert.Equal("/a" + new string('y', 120_000), Values(Rewritten(""" "regex_rewrite":{"pattern":{"regex":"x"},"substitution":"yy"} """, "/a" + rest), ":path"));
    }

    [Theory]
    [InlineData(""" "host_rewrite_literal":"new" """, "new")]
    [InlineData(""" "host_rewrite_header":"X-Host" """, "from-header")]
    [InlineData(""" "host_rewrite_header":"x-none" """, "old")]
    [InlineData(""" "host_rewrite_path_regex":{"pattern":{"regex":"^/a/(\\w+).*$"},"substitution":"\\1.svc"} """, "b.svc")]
    [InlineData(""" "host_rewrite_path_regex":{"pattern":{"regex":"^/a/(\\w+).*$"},"substitution":"\\1.svc"},"prefix_rewrite":"/n" """, "b.svc")]
    [InlineData(""" "timeout":"1s" """, "old")]
    public void Host_IsRewritten(string action, string expected) =>
        Assert.Equal(expected, Values(Rewritten(action, "/a/b?q", fields: "x-host: from-header"), ":authority"));

    [Theory]
    [InlineData(null, "old")]
    [InlineData("first", "first,old")]
    [InlineData("first, old", "first, old")]
    public void Host_Replaced_OldOneIsAppendedOnce(string? before, string after)
    {
        string[] fields = before is null ? [] : ["x-forwarded-host: " + before];
        Assert.Equal(after, Values(Rewritten(""" "host_rewrite_literal":"new","append_x_forwarded_host":true """, "/a", fields: fields), "x-forwarded-host"));
        Assert.Equal(before, Values(Rewritten(""" "host_rewrite_literal":"new" """, "/a", fields: fields), "x-forwarded-host"));
    }

    [Theory]
    [InlineData("", "of-cluster")]
    [InlineData(""", "host_rewrite_literal":"of-route" """, "of-route")]
    public void Host_OfWeightedCluster_GivesWayToTheRoutes(string action, string expected)
    {
        var table = TableOf($$$"""{"match":{"prefix":"/"},"route":{"weighted_clusters":{"clusters":[{"name":"c","weight":1,"host_rewrite_literal":"of-cluster"}]}{{{action}}}}}""");
        var head = Request("/");
        var match = Match(table, head);
        RequestRewrite.Apply(head, match.Route!, match.Weighted, new TestFacts { Request = head }, false, default);
        Assert.Equal(expected, Values(head, ":authority"));
    }

    [Fact]
    public void Host_Auto_IsTheChosenHostsName()
    {
        var action = new RouteAction { AutoHostRewrite = true, AppendXForwardedHost = true };
        var head = Request("/");
        RequestRewrite.RewriteToHost(head, action, "pod-1.example");
        Assert.Equal("pod-1.example", Values(head, ":authority"));
        Assert.Equal("a", Values(head, "x-forwarded-host"));
        RequestRewrite.RewriteToHost(head, action, "");
        Assert.Equal("pod-1.example", Values(head, ":authority"));
        RequestRewrite.RewriteToHost(head, new RouteAction(), "other");
        Assert.Equal("pod-1.example", Values(head, ":authority"));
    }

    [Fact]
    public void HeaderOperations_SeeTheOldPath_AndHostRewriteSeesTheirResult()
    {
        var route = TableOf("""
            {"match":{"prefix":"/a"},"request_headers_to_add":[{"header":{"key":"x-path","value":"%REQ(:path)%"}},{"header":{"key":"x-new-host","value":"made"}}],
             "route":{"cluster":"c","prefix_rewrite":"/n","host_rewrite_header":"x-new-host"}}
            """).FindHost("x"u8)!.Routes[0];
        var head = Request("/a/b");
        RequestRewrite.Apply(head, route, null, new TestFacts { Request = head }, false, default);
        Assert.Equal("/a/b", Values(head, "x-path"));
        Assert.Equal("/n/b", Values(head, ":path"));
        Assert.Equal("made", Values(head, ":authority"));
    }
}
