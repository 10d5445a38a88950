using Sidecar.Http;
using Sidecar.Routing;
using Xunit;
using static Sidecar.Tests.Routing.RoutingHarness;

namespace Sidecar.Tests.Routing;

public sealed class RedirectActionTests
{
    private static string? Location(string redirect, string authority, string path, string match = """{"prefix":"/a"}""", params string[] fields)
    {
        var route = TableOf($$"""{"match":{{match}},"redirect":{{redirect}}}""").FindHost("x"u8)!.Routes[0];
        var into = new HeaderMap();
        Assert.True(route.Redirect!.SetLocation(RequestTo(authority, path, fields), route.Match, into));
        return Values(into, "location");
    }

    [Theory]
    [InlineData("""{}""", "h", "/a?q", "http://h/a?q")]
    [InlineData("""{"https_redirect":true}""", "h", "/a", "https://h/a")]
    [InlineData("""{"https_redirect":true}""", "h:80", "/a", "https://h/a")]
    [InlineData("""{"https_redirect":true}""", "h:8080", "/a", "https://h:8080/a")]
    [InlineData("""{"https_redirect":true}""", "h:443", "/a", "https://h:443/a")]
    [InlineData("""{"https_redirect":true}""", "[::1]:80", "/a", "https://[::1]/a")]
    [InlineData("""{"https_redirect":true}""", "[::1]", "/a", "https://[::1]/a")]
    [InlineData("""{"scheme_redirect":"ws"}""", "h", "/a", "ws://h/a")]
    [InlineData("""{"scheme_redirect":"http"}""", "h:80", "/a", "http://h:80/a")]
    [InlineData("""{"host_redirect":"n"}""", "h", "/a", "http://n/a")]
    [InlineData("""{"host_redirect":"n"}""", "h:8080", "/a", "http://n/a")]
    [InlineData("""{"port_redirect":9}""", "h", "/a", "http://h:9/a")]
    [InlineData("""{"port_redirect":9}""", "h:8080", "/a", "http://h:9/a")]
    [InlineData("""{"port_redirect":9}""", "[::1]:8080", "/a", "http://[::1]:9/a")]
    [InlineData("""{"host_redirect":"n","port_redirect":9,"https_redirect":true}""", "h:1", "/a", "https://n:9/a")]
    [InlineData("""{"path_redirect":"/n"}""", "h", "/a?q=1", "http://h/n?q=1")]
    [InlineData("""{"path_redirect":"/n?z=2"}""", "h", "/a?q=1", "http://h/n?z=2")]
    [InlineData("""{"path_redirect":"/n","strip_query":true}""", "h", "/a?q=1", "http://h/n")]
    [InlineData("""{"path_redirect":"/n?z=2","strip_query":true}""", "h", "/a?q=1", "http://h/n?z=2")]
    [InlineData("""{"strip_query":true}""", "h", "/a?q=1", "http://h/a")]
    [InlineData("""{"prefix_rewrite":"/n"}""", "h", "/a/b?q=1", "http://h/n/b?q=1")]
    [InlineData("""{"prefix_rewrite":"/n","strip_query":true}""", "h", "/a/b?q=1", "http://h/n/b")]
    [InlineData("""{"regex_rewrite":{"pattern":{"regex":"^/a/(.*)$"},"substitution":"/\\1/a"}}""", "h", "/a/b?q=1", "http://h/b/a?q=1")]
    [InlineData("""{"regex_rewrite":{"pattern":{"regex":"b+"},"substitution":"x"}}""", "h", "/a/bb/b", "http://h/a/x/x")]
    [InlineData("""{"regex_rewrite":{"pattern":{"regex":".*"},"substitution":""}}""", "h", "/a?q", "http://h/a?q")]
    public void Location_OfItsParts(string redirect, string authority, string path, string expected) =>
        Assert.Equal(expected, Location(redirect, authority, path));

    [Theory]
    [InlineData("""{"prefix":"/a"}""", "/a/b", "http://h/n/b")]
    [InlineData("""{"path_separated_prefix":"/a"}""", "/a/b", "http://h/n/b")]
    [InlineData("""{"path":"/a"}""", "/a?q", "http://h/n?q")]
    [InlineData("""{"safe_regex":{"regex":"/a.*"}}""", "/abc?q", "http://h/n?q")]
    [InlineData("""{"prefix":"/A","case_sensitive":false}""", "/a/b", "http://h/n/b")]
    public void PrefixRewrite_ReplacesWhatMatched(string match, string path, string expected) =>
        Assert.Equal(expected, Location("""{"prefix_rewrite":"/n"}""", "h", path, match));

    [Theory]
    [InlineData("https", "h:443", """{"scheme_redirect":"http"}""", "http://h/a")]
    [InlineData("http", "h:80", """{"https_redirect":true}""", "https://h/a")]
    [InlineData("https", "h:80", """{"https_redirect":true}""", "https://h:80/a")]
    public void DefaultPort_IsThatOfTheSchemeTheClientSpoke(string forwarded, string authority, string redirect, string expected) =>
        Assert.Equal(expected, Location(redirect, authority, "/a", fields: "x-forwarded-proto: " + forwarded));

    [Fact]
    public void Location_OfALongPath_IsWhole()
    {
        string path = "/a" + new string('x', 60_000);
        Assert.Equal("https://h" + path, Location("""{"https_redirect":true}""", "h", path));
    }

    [Fact]
    public void Location_BeyondAllMeasure_IsNotWritten()
    {
        var route = TableOf("""{"match":{"prefix":"/"},"redirect":{"regex_rewrite":{"pattern":{"regex":"x"},"substitution":"yyyyyyyyyyyyyyyyyyyy"}}}""").FindHost("x"u8)!.Routes[0];
        var into = new HeaderMap();
        Assert.False(route.Redirect!.SetLocation(Request("/" + new string('x', 60_000)), route.Match, into));
        Assert.True(into.IsEmpty);
    }

    [Theory]
    [InlineData("MOVED_PERMANENTLY", 301)]
    [InlineData("FOUND", 302)]
    [InlineData("SEE_OTHER", 303)]
    [InlineData("TEMPORARY_REDIRECT", 307)]
    [InlineData("PERMANENT_REDIRECT", 308)]
    public void Status_ByName(string name, int status) =>
        Assert.Equal(status, TableOf($$"""{"match":{"prefix":"/"},"redirect":{"response_code":"{{name}}"} }""").FindHost("x"u8)!.Routes[0].Redirect!.Status);
}
