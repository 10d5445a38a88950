using System;
using System.Linq;
using Sidecar.Memory;
using Sidecar.Routing;
using Xunit;
using static Sidecar.Tests.Routing.RoutingHarness;

namespace Sidecar.Tests.Routing;

public sealed class RouteActionTests
{
    private static RouteAction Action(string action) => TableOf($$"""{"match":{"prefix":"/"},"route":{{action}}}""").FindHost("a"u8)!.Routes[0].Action!;

    private const string Thirds = """{"weighted_clusters":{"clusters":[{"name":"c","weight":1},{"name":"d","weight":0},{"name":"e","weight":2}]}}""";

    [Fact]
    public void Weights_DecideTheShare()
    {
        var action = Action(Thirds);
        var random = new FastRandom(3);
        var head = Request("/");
        var counts = new int[3];
        for (int i = 0; i < 30_000; i++)
            counts["cde".IndexOf(action.PickCluster(head, action.PickWeighted(head, random.NextUInt64()))!.Name, StringComparison.Ordinal)]++;
        Assert.InRange(counts[0], 9_500, 10_500);
        Assert.Equal(0, counts[1]);
        Assert.InRange(counts[2], 19_500, 20_500);
    }

    [Fact]
    public void Weights_IndependentOfTheRoutesShare()
    {
        // Half of all requests take the route, and of those a third goes to c.
        var table = TableOf($$$"""{"match":{"prefix":"/","runtime_fraction":{"default_value":{"numerator":50} } },"route":{{{Thirds}}} }""");
        var random = new FastRandom(4);
        var picked = Enumerable.Range(0, 30_000).Select(_ => Match(table, Request("/"), random.NextUInt64())).Where(m => m.Route is not null).Select(m => m.Weighted!.Cluster!.Name).ToList();
        Assert.InRange(picked.Count, 14_500, 15_500);
        Assert.InRange(picked.Count(name => name == "c"), 4_700, 5_300);
    }

    [Theory]
    [InlineData("x-r: 0", "c")]
    [InlineData("x-r: 1", "e")]
    [InlineData("x-r: 2", "e")]
    [InlineData("x-r: 3", "c")]
    [InlineData("x-r: 18446744073709551615", "c")]
    public void Weights_RandomFromHeader(string field, string expected)
    {
        var action = Action("""{"weighted_clusters":{"header_name":"X-R","clusters":[{"name":"c","weight":1},{"name":"e","weight":2}]}}""");
        for (ulong random = 0; random < 50; random++)
            Assert.Equal(expected, action.PickWeighted(Request("/", field), random << 32)!.Cluster!.Name);
    }

    [Theory]
    [InlineData()]
    [InlineData("x-r: 0", "x-r: 0")]
    [InlineData("x-r: zero")]
    [InlineData("x-r: -1")]
    [InlineData("x-r: 18446744073709551616")]
    public void Weights_HeaderMissingRepeatedOrNoNumber_IsByChance(params string[] fields)
    {
        var action = Action("""{"weighted_clusters":{"header_name":"X-R","clusters":[{"name":"c","weight":1},{"name":"e","weight":1}]}}""");
        Assert.Equal("c", action.PickWeighted(Request("/", fields), 0UL << 32)!.Cluster!.Name);
        Assert.Equal("e", action.PickWeighted(Request("/", fields), 1UL << 32)!.Cluster!.Name);
    }

    [Fact]
    public void ClusterHeader_NamesTheCluster()
    {
        var action = Action("""{"cluster_header":"X-Cluster"}""");
        var head = Request("/", "x-cluster: outbound|80||a");
        var named = action.PickCluster(head, null)!;
        Assert.Equal(("outbound|80||a", -1), (named.Name, named.Slot));
        Assert.Same(named, action.PickCluster(head, null));
        Assert.Equal("outbound|80||b", action.PickCluster(Request("/", "x-cluster: outbound|80||b"), null)!.Name);
        Assert.Null(action.PickCluster(Request("/"), null));
        Assert.Null(action.PickCluster(Request("/", "x-cluster:"), null));
    }

    [Fact]
    public void ClusterHeader_OfAWeightedCluster()
    {
        var action = Action("""{"weighted_clusters":{"clusters":[{"cluster_header":"x-cluster","weight":1}]}}""");
        var head = Request("/", "x-cluster: z");
        Assert.Equal("z", action.PickCluster(head, action.PickWeighted(head, 9))!.Name);
    }

    private static ulong? Hash(string policies, params string[] fields) =>
        Action($$"""{"cluster":"c","hash_policy":[{{policies}}]}""").Hash(new TestFacts { Request = Request("/p?q=v&r=", fields) });

    private static ulong X(string text) => XxHash64.Hash(System.Text.Encoding.UTF8.GetBytes(text));

    [Fact]
    public void Hash_Header_AllValuesSorted()
    {
        const string Policy = """{"header":{"header_name":"X"}}""";
        Assert.Null(Hash(Policy));
        Assert.Equal(X("b"), Hash(Policy, "x: b"));
        Assert.Equal(X("abc"), Hash(Policy, "x: c", "x: a", "x: b"));
        Assert.Equal(Hash(Policy, "x: c", "x: a", "x: b"), Hash(Policy, "x: a", "x: b", "x: c"));
    }

    [Fact]
    public void Hash_Header_Rewritten() =>
        Assert.Equal(X("7"), Hash("""{"header":{"header_name":"x","regex_rewrite":{"pattern":{"regex":"^user-(\\d+).*$"},"substitution":"\\1"}}}""", "x: user-7-session-9"));

    [Fact]
    public void Hash_QueryParameter_FirstValue()
    {
        Assert.Equal(X("v"), Hash("""{"query_parameter":{"name":"q"}}"""));
        Assert.Equal(X(""), Hash("""{"query_parameter":{"name":"r"}}"""));
        Assert.Null(Hash("""{"query_parameter":{"name":"Q"}}"""));
    }

    [Fact]
    public void Hash_SourceIp_IsTheAddressWithoutPort()
    {
        Assert.Equal(X("10.0.0.7"), Hash("""{"connection_properties":{"source_ip":true}}"""));
        Assert.Null(Hash("""{"connection_properties":{"source_ip":false}}"""));
    }

    [Theory]
    [InlineData("s=1", "1")]
    [InlineData("a=b; s=1; c=d", "1")]
    [InlineData("s=\"1\"", "1")]
    [InlineData("ss=2; s=1", "1")]
    public void Hash_Cookie_ByName(string cookies, string value) => Assert.Equal(X(value), Hash("""{"cookie":{"name":"s"}}""", "cookie: " + cookies));

    [Fact]
    public void Hash_Cookie_Missing_NoneWithoutTtl_MadeWithTtl()
    {
        Assert.Null(Hash("""{"cookie":{"name":"s"}}""", "cookie: a=b; S=1"));
        ulong made = X("10.0.0.7:5000" + "10.0.0.1:8080");
        Assert.Equal(X(made.ToString("x16")), Hash("""{"cookie":{"name":"s","ttl":"0s"}}""", "cookie: a=b"));
        Assert.Equal(X(made.ToString("x16")), Hash("""{"cookie":{"name":"s","ttl":"0s"}}""", "cookie: s="));
    }

    [Theory]
    [InlineData("""{"name":"s","ttl":"3600s"}""", "; Max-Age=3600; HttpOnly")]
    [InlineData("""{"name":"s","ttl":"0s"}""", "; HttpOnly")]
    [InlineData("""{"name":"s","ttl":"60.9s","path":"/p"}""", "; Max-Age=60; Path=/p; HttpOnly")]
    [InlineData("""{"name":"s","ttl":"0s","attributes":[{"name":"SameSite","value":"Lax"},{"name":"Secure"}]}""", "; SameSite=Lax; Secure; HttpOnly")]
    public void Cookie_Missing_ResponseSetsIt(string cookie, string tail)
    {
        var action = Action($$$"""{"cluster":"c","hash_policy":[{"cookie":{{{cookie}}}}]}""");
        var facts = new TestFacts { Request = Request("/") };
        var response = Response(200);
        action.SetCookies(facts, response);
        string value = X("10.0.0.7:5000" + "10.0.0.1:8080").ToString("x16");
        Assert.Equal($"s=\"{value}\"{tail}", Values(response, "set-cookie"));

        // The client comes back with it: the same hash, and no second cookie.
        var next = new TestFacts { Request = Request("/", $"cookie: s=\"{value}\""), RemotePort = "5001" };
        Assert.Equal(action.Hash(facts), action.Hash(next));
        var second = Response(200);
        action.SetCookies(next, second);
        Assert.Null(Values(second, "set-cookie"));
    }

    [Fact]
    public void Hash_SeveralPolicies_AreCombinedInOrder()
    {
        const string X1 = """{"header":{"header_name":"x"}}""", Y1 = """{"header":{"header_name":"y"}}""";
        ulong Both(ulong first, ulong second) => (first << 1 | first >> 63) ^ second;
        Assert.Equal(Both(X("1"), X("2")), Hash(X1 + "," + Y1, "x: 1", "y: 2"));
        Assert.Equal(Both(X("2"), X("1")), Hash(Y1 + "," + X1, "x: 1", "y: 2"));
        Assert.Equal(X("2"), Hash(X1 + "," + Y1, "y: 2"));
        Assert.NotEqual(0UL, Hash(X1 + "," + X1, "x: 1"));
        Assert.Null(Hash(X1 + "," + Y1));
    }

    [Fact]
    public void Hash_Terminal_StopsOnceThereIsAHash()
    {
        const string X1 = """{"header":{"header_name":"x"}}""", T = """{"header":{"header_name":"t"},"terminal":true}""", Y1 = """{"header":{"header_name":"y"}}""";
        Assert.Equal(X("1"), Hash(T + "," + Y1, "t: 1", "y: 2"));
        Assert.Equal(X("2"), Hash(T + "," + Y1, "y: 2"));
        // Something was hashed before, so the terminal one ends it although it has nothing itself (Envoy's rule).
        Assert.Equal(X("1"), Hash(X1 + "," + T + "," + Y1, "x: 1", "y: 2"));
    }
}
