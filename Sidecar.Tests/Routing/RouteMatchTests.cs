using System;
using System.Linq;
using Sidecar.Http;
using Sidecar.Routing;
using Xunit;
using static Sidecar.Tests.Routing.RoutingHarness;

namespace Sidecar.Tests.Routing;

public sealed class RouteMatchTests
{
    private static bool Matches(string match, RequestHead head, ulong random = 0, ClientCertificate? certificate = null) =>
        Match(TableOf($$$"""{"name":"r","match":{{{match}}},"route":{"cluster":"c"}}"""), head, random, certificate).Route is not null;

    [Theory]
    [InlineData("""{"prefix":"/a"}""", "/a", true)]
    [InlineData("""{"prefix":"/a"}""", "/ab", true)]
    [InlineData("""{"prefix":"/a"}""", "/A", false)]
    [InlineData("""{"prefix":"/a","case_sensitive":false}""", "/A/b", true)]
    [InlineData("""{"prefix":"/a"}""", "/", false)]
    [InlineData("""{"prefix":""}""", "/x", true)]
    [InlineData("""{"prefix":"/a?b"}""", "/a?b=1", false)]
    [InlineData("""{"prefix":"/a"}""", "/a?b", true)]
    [InlineData("""{"prefix":"/ab"}""", "/a?b", false)]
    [InlineData("""{"prefix":"/a#"}""", "/a#b", false)]
    [InlineData("""{"path":"/a"}""", "/a", true)]
    [InlineData("""{"path":"/a"}""", "/a?x=1", true)]
    [InlineData("""{"path":"/a"}""", "/a#frag", true)]
    [InlineData("""{"path":"/a"}""", "/a/", false)]
    [InlineData("""{"path":"/a"}""", "/A", false)]
    [InlineData("""{"path":"/a","case_sensitive":false}""", "/A", true)]
    [InlineData("""{"path":"/a?x"}""", "/a?x", false)]
    [InlineData("""{"path_separated_prefix":"/a"}""", "/a", true)]
    [InlineData("""{"path_separated_prefix":"/a"}""", "/a/b", true)]
    [InlineData("""{"path_separated_prefix":"/a"}""", "/a?q", true)]
    [InlineData("""{"path_separated_prefix":"/a"}""", "/ab", false)]
    [InlineData("""{"path_separated_prefix":"/a"}""", "/A/b", false)]
    [InlineData("""{"path_separated_prefix":"/a","case_sensitive":false}""", "/A/b", true)]
    [InlineData("""{"safe_regex":{"regex":"/a.*z"}}""", "/abcz", true)]
    [InlineData("""{"safe_regex":{"regex":"/a.*z"}}""", "/abcz?q=1", true)]
    [InlineData("""{"safe_regex":{"regex":"/a.*z"}}""", "/abcz1", false)]
    [InlineData("""{"safe_regex":{"regex":"a"}}""", "/a", false)]
    [InlineData("""{"connect_matcher":{}}""", "/a", false)]
    public void Path_ByKind(string match, string path, bool expected) => Assert.Equal(expected, Matches(match, Request(path)));

    [Fact]
    public void Connect_WithoutPath_OnlyConnectMatcher()
    {
        var head = new RequestHead();
        head.Add(HeaderId.Method, "CONNECT"u8);
        head.Add(HeaderId.Authority, "a:80"u8);
        Assert.True(Matches("""{"connect_matcher":{}}""", head));
        Assert.False(Matches("""{"prefix":""}""", head));
        Assert.False(Matches("""{"safe_regex":{"regex":".*"}}""", head));
    }

    [Theory]
    [InlineData("application/grpc", true)]
    [InlineData("application/grpc+proto", true)]
    [InlineData("application/grpc-web", false)]
    [InlineData("text/plain", false)]
    public void Grpc_ByContentType(string type, bool expected) =>
        Assert.Equal(expected, Matches("""{"prefix":"/","grpc":{}}""", Request("/", "content-type: " + type)));

    [Theory]
    [InlineData("""{"presented":true}""", null, false)]
    [InlineData("""{"presented":false}""", null, true)]
    [InlineData("""{"presented":true}""", "None", false)]
    [InlineData("""{"presented":false}""", "None", true)]
    [InlineData("""{"presented":true}""", "Presented", true)]
    [InlineData("""{"presented":false}""", "Presented", false)]
    [InlineData("""{"validated":true}""", "Presented", false)]
    [InlineData("""{"validated":false}""", "Presented", true)]
    [InlineData("""{"validated":true}""", "Validated", true)]
    [InlineData("""{"presented":true,"validated":false}""", "Presented", true)]
    [InlineData("""{"presented":true,"validated":false}""", "Validated", false)]
    [InlineData("""{"validated":true}""", null, false)]
    [InlineData("""{"validated":false}""", null, true)]
    [InlineData("""{}""", null, true)]
    public void TlsContext_AsPresentedAndValidated(string context, string? certificate, bool expected) =>
        Assert.Equal(expected, Matches($$"""{"prefix":"/","tls_context":{{context}}}""", Request("/"), 0, certificate is null ? null : Enum.Parse<ClientCertificate>(certificate)));

    [Fact]
    public void TlsContext_CertificateWithoutTls_CountsForNothing()
    {
        var input = new RouteInput(Request("/"), 0, isTls: false, ClientCertificate.Validated);
        Assert.Equal(ClientCertificate.None, input.Certificate);
    }

    [Theory]
    [InlineData("""{"numerator":50}""", 499_999, true)]
    [InlineData("""{"numerator":50}""", 500_000, false)]
    [InlineData("""{"numerator":25,"denominator":"TEN_THOUSAND"}""", 2_499, true)]
    [InlineData("""{"numerator":25,"denominator":"TEN_THOUSAND"}""", 2_500, false)]
    [InlineData("""{"numerator":7,"denominator":"MILLION"}""", 6, true)]
    [InlineData("""{"numerator":7,"denominator":"MILLION"}""", 7, false)]
    [InlineData("""{"numerator":0}""", 0, false)]
    [InlineData("""{"numerator":100}""", 999_999, true)]
    public void RuntimeFraction_AtItsEdges(string share, ulong random, bool expected) =>
        Assert.Equal(expected, Matches($$$"""{"prefix":"/","runtime_fraction":{"default_value":{{{share}}}}}""", Request("/"), random));

    [Theory]
    [InlineData("""{"name":"q"}""", "/?q=1", true)]
    [InlineData("""{"name":"q"}""", "/?q", true)]
    [InlineData("""{"name":"q"}""", "/?qq=1", false)]
    [InlineData("""{"name":"q"}""", "/q", false)]
    [InlineData("""{"name":"q","present_match":true}""", "/?a=b&q=", true)]
    [InlineData("""{"name":"q","present_match":false}""", "/?a=b", true)]
    [InlineData("""{"name":"q","present_match":false}""", "/?q=b", false)]
    [InlineData("""{"name":"q","string_match":{"exact":"1"}}""", "/?q=1", true)]
    [InlineData("""{"name":"q","string_match":{"exact":"1"}}""", "/?q=2&q=1", false)]
    [InlineData("""{"name":"q","string_match":{"exact":"1"}}""", "/?q=1&q=2", true)]
    [InlineData("""{"name":"q","string_match":{"exact":"a b"}}""", "/?q=a%20b", false)]
    [InlineData("""{"name":"q","string_match":{"safe_regex":{"regex":"[0-9]+"}}}""", "/?q=123", true)]
    [InlineData("""{"name":"q","string_match":{"safe_regex":{"regex":"[0-9]+"}}}""", "/?q=12a", false)]
    [InlineData("""{"name":"q","string_match":{"prefix":"A","ignore_case":true}}""", "/?q=abc", true)]
    [InlineData("""{"name":"q","string_match":{"exact":"1"}}""", "/?q=1#x", true)]
    [InlineData("""{"name":"q","string_match":{"exact":"1"}}""", "/#?q=1", true)]
    public void Query_FirstValueOfTheName(string matcher, string path, bool expected) =>
        Assert.Equal(expected, Matches($$"""{"prefix":"/","query_parameters":[{{matcher}}]}""", Request(path)));

    [Fact]
    public void AllConditions_MustHold()
    {
        const string Match = """{"prefix":"/a","headers":[{"name":"x","string_match":{"exact":"1"}},{"name":"y","present_match":true}],"query_parameters":[{"name":"q"}]}""";
        Assert.True(Matches(Match, Request("/a?q", "x: 1", "y: 2")));
        Assert.False(Matches(Match, Request("/a?q", "x: 1")));
        Assert.False(Matches(Match, Request("/a", "x: 1", "y: 2")));
        Assert.False(Matches(Match, Request("/b?q", "x: 1", "y: 2")));
    }

    /// <summary>The index may only ever be quicker than trying every route in order.</summary>
    [Fact]
    public void Index_HundredThousandRandomRequests_AsTriedOneByOne()
    {
        var random = new Random(7);
        string Path(int max) => "/" + new string([.. Enumerable.Range(0, random.Next(max)).Select(_ => "abA/;"[random.Next(5)])]);
        for (int round = 0; round < 100; round++)
        {
            var routes = Enumerable.Range(0, 8 + random.Next(60)).Select(_ =>
            {
                string path = Path(6);
                string kind = random.Next(10) switch
                {
                    < 4 => $"\"prefix\":\"{path}\"",
                    < 7 => $"\"path\":\"{path}\"",
                    < 9 when path.Length > 1 && path[^1] != '/' => $"\"path_separated_prefix\":\"{path}\"",
                    _ => $"\"safe_regex\":{{\"regex\":\"{path}.*\"}}",
                };
                string header = random.Next(3) == 0 ? $",\"headers\":[{{\"name\":\"h\",\"string_match\":{{\"exact\":\"{random.Next(2)}\"}}}}]" : "";
                string letters = random.Next(4) == 0 ? ",\"case_sensitive\":false" : "";
                string share = random.Next(5) == 0 ? ",\"runtime_fraction\":{\"default_value\":{\"numerator\":50}}" : "";
                return $"{{\"match\":{{{kind}{header}{letters}{share}}},\"route\":{{\"cluster\":\"c\"}}}}";
            }).ToArray();
            var host = TableOf(string.Join(',', routes)).FindHost("a"u8)!;
            for (int i = 0; i < 1000; i++)
            {
                var head = Request(Path(9) + (random.Next(4) == 0 ? "?a" : ""), random.Next(2) == 0 ? ["h: " + random.Next(2)] : []);
                var input = new RouteInput(head, (ulong)random.Next(1_000_000), false);
                Route? expected = null;
                foreach (var route in host.Routes)
                {
                    if (!route.Match.Matches(in input))
                        continue;
                    expected = route;
                    break;
                }
                Assert.Same(expected, host.Match(in input));
            }
        }
    }
}
