using System.IO;
using System.Linq;
using System.Text;
using Sidecar.Filters.Http.Router;
using Sidecar.Http;
using Sidecar.Routing;
using Sidecar.Telemetry;
using Xunit;
using static Sidecar.Tests.Routing.RoutingHarness;

namespace Sidecar.Tests.Routing;

public sealed class HeaderMutationTests
{
    private static RequestHead Apply(string operations, params string[] fields)
    {
        var table = TableOf($$"""{"match":{"prefix":"/"},"route":{"cluster":"c"},{{operations}}}""");
        var head = Request("/", fields);
        table.FindHost("a"u8)!.Routes[0].Mutation.ApplyToRequest(head, new TestFacts { Request = head });
        return head;
    }

    private static string? AfterAdding(string option, params string[] fields) =>
        Values(Apply($$"""
            "request_headers_to_add":[{{option}}]
            """, fields), "x");

    [Theory]
    // action                                                                             absent  one value  two values
    [InlineData("""{"header":{"key":"X","value":"n"}}""",                                         "n",   "1|n", "1|2|n")]
    [InlineData("""{"header":{"key":"x","value":"n"},"append_action":"APPEND_IF_EXISTS_OR_ADD"}""", "n", "1|n", "1|2|n")]
    [InlineData("""{"header":{"key":"x","value":"n"},"append_action":"ADD_IF_ABSENT"}""",         "n",   "1",   "1|2")]
    [InlineData("""{"header":{"key":"x","value":"n"},"append_action":"OVERWRITE_IF_EXISTS_OR_ADD"}""", "n", "n", "n")]
    [InlineData("""{"header":{"key":"x","value":"n"},"append_action":"OVERWRITE_IF_EXISTS"}""",   null,  "n",   "n")]
    [InlineData("""{"header":{"key":"x","value":"n"},"append":true}""",                           "n",   "1|n", "1|2|n")]
    [InlineData("""{"header":{"key":"x","value":"n"},"append":false}""",                          "n",   "n",   "n")]
    [InlineData("""{"header":{"key":"x","value":""}}""",                                          null,  "1",   "1|2")]
    [InlineData("""{"header":{"key":"x","value":""},"keep_empty_value":true}""",                  "",    "1|",  "1|2|")]
    [InlineData("""{"header":{"key":"x","value":"%REQ(missing)%"}}""",                            null,  "1",   "1|2")]
    [InlineData("""{"header":{"key":"x","value":"%REQ(missing)%"},"append":false}""",             null,  "1",   "1|2")]
    [InlineData("""{"header":{"key":"x","raw_value":"bg=="}}""",                                  "n",   "1|n", "1|2|n")]
    public void Action_OverAbsentOneAndTwoValues(string option, string? absent, string? one, string? two)
    {
        Assert.Equal(absent, AfterAdding(option));
        Assert.Equal(one, AfterAdding(option, "x: 1"));
        Assert.Equal(two, AfterAdding(option, "x: 1", "x: 2"));
    }

    [Fact]
    public void Removal_ComesFirst()
    {
        var head = Apply("""
            "request_headers_to_remove":["X","z"],"request_headers_to_add":[{"header":{"key":"x","value":"%REQ(z)%n"}}]
            """, "x: 1", "x: 2", "z: 3");
        Assert.Equal("n", Values(head, "x"));
        Assert.Null(Values(head, "z"));
    }

    [Fact]
    public void Values_AreWorkedOutBeforeAnyIsWritten()
    {
        // Two fields change places, which only works when both are read first.
        var head = Apply("""
            "request_headers_to_add":[{"header":{"key":"x","value":"%REQ(y)%"},"append":false},{"header":{"key":"y","value":"%REQ(x)%"},"append":false}]
            """, "x: 1", "y: 2");
        Assert.Equal("2", Values(head, "x"));
        Assert.Equal("1", Values(head, "y"));
    }

    [Fact]
    public void Conditions_AreJudgedBeforeAnyIsWritten()
    {
        var head = Apply("""
            "request_headers_to_add":[{"header":{"key":"x","value":"a"},"append_action":"ADD_IF_ABSENT"},{"header":{"key":"x","value":"b"},"append_action":"ADD_IF_ABSENT"}]
            """);
        Assert.Equal("a|b", Values(head, "x"));
    }

    [Fact]
    public void Replacements_ComeBeforeAdditions()
    {
        var head = Apply("""
            "request_headers_to_add":[{"header":{"key":"x","value":"a"}},{"header":{"key":"x","value":"r"},"append":false}]
            """, "x: 1");
        Assert.Equal("r|a", Values(head, "x"));
    }

    [Fact]
    public void Value_LongerThanAnyLimit_IsLeftOutAndLogged()
    {
        var sink = new MemoryStream();
        var old = Log.Sink;
        Log.Sink = sink;
        try
        {
            string twice = string.Concat(Enumerable.Repeat("%REQ(big)%", 3));
            var head = Apply($$"""
                "request_headers_to_add":[{"header":{"key":"x","value":"{{twice}}"} },{"header":{"key":"y","value":"%REQ(big)%"} },{"header":{"key":"z","value":"s"} }]
                """, "big: " + new string('b', 30_000));
            Assert.Null(Values(head, "x"));
            Assert.Equal(30_000, Values(head, "y")!.Length);
            Assert.Equal("s", Values(head, "z"));
        }
        finally
        {
            Log.Sink = old;
        }
        Assert.Contains("header x is not added: its value is too long", Encoding.UTF8.GetString(sink.ToArray()), System.StringComparison.Ordinal);
    }

    private static RouteTable FourLevels(bool mostSpecificWins)
    {
        string Operations(string level) => $$"""
            "request_headers_to_add":[{"header":{"key":"set","value":"{{level}}"},"append":false},{"header":{"key":"all","value":"{{level}}"} }],
            "response_headers_to_add":[{"header":{"key":"set","value":"{{level}}"},"append":false},{"header":{"key":"all","value":"{{level}}"} }],
            "request_headers_to_remove":["gone-{{level}}"],"response_headers_to_remove":["gone-{{level}}"]
            """;
        return Table($$$"""
            {"name":"t","most_specific_header_mutations_wins":{{{(mostSpecificWins ? "true" : "false")}}},{{{Operations("table")}}},
             "virtual_hosts":[{"name":"v","domains":["*"],{{{Operations("host")}}},
              "routes":[{"match":{"prefix":"/"},{{{Operations("route")}}},
               "route":{"weighted_clusters":{"clusters":[{"name":"c","weight":1,{{{Operations("cluster")}}} }]} }}]}]}
            """);
    }

    [Theory]
    [InlineData(false, "cluster|route|host|table", "table")]
    [InlineData(true, "table|host|route|cluster", "cluster")]
    public void FourLevels_InOrder_LastOneOverwrites(bool mostSpecificWins, string all, string set)
    {
        string[] fields = ["set: old", "gone-table: 1", "gone-host: 1", "gone-route: 1", "gone-cluster: 1"];
        var request = Request("/", fields);
        var match = Match(FourLevels(mostSpecificWins), request);
        var facts = new TestFacts { Request = request };
        RequestRewrite.Apply(request, match.Route!, match.Weighted, facts, suppressEnvoyHeaders: true, default);
        var response = Response(200, fields);
        RequestRewrite.ApplyToResponse(response, match.Route!, match.Weighted, facts);
        foreach (HeaderMap head in new HeaderMap[] { request, response })
        {
            Assert.Equal(all, Values(head, "all"));
            Assert.Equal(set, Values(head, "set"));
            foreach (string level in new[] { "table", "host", "route", "cluster" })
                Assert.Null(Values(head, "gone-" + level));
        }
    }
}
