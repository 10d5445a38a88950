using System.Linq;
using Sidecar.Config;
using Sidecar.Routing;
using Sidecar.Tests.Wire;
using Xunit;
using static Sidecar.Tests.Routing.RoutingHarness;
using WireRoute = Envoy.Config.Route.V3;

namespace Sidecar.Tests.Routing;

public sealed class HeaderMatcherTests
{
    private static HeaderMatcher Matcher(string json)
    {
        var scope = Scope();
        var matcher = MatcherTranslator.Header(WireRoute.HeaderMatcher.Parser.ParseFrom(WireHarness.Read(json, "envoy.config.route.v3.HeaderMatcher")), scope);
        Assert.Empty(scope.Rejections);
        return matcher!;
    }

    [Theory]
    // kind                                                        missing  x: 1   x: 2   x: 1, x: 2
    [InlineData("""{"name":"x"}""",                                 false, true,  true,  true)]
    [InlineData("""{"name":"X","present_match":true}""",            false, true,  true,  true)]
    [InlineData("""{"name":"x","present_match":false}""",           true,  false, false, false)]
    [InlineData("""{"name":"x","present_match":true,"invert_match":true}""",  true, false, false, false)]
    [InlineData("""{"name":"x","present_match":false,"invert_match":true}""", false, true, true, true)]
    [InlineData("""{"name":"x","exact_match":"1"}""",               false, true,  false, false)]
    [InlineData("""{"name":"x","string_match":{"exact":"1"}}""",    false, true,  false, false)]
    [InlineData("""{"name":"x","string_match":{"exact":"1,2"}}""",  false, false, false, true)]
    [InlineData("""{"name":"x","exact_match":"1","invert_match":true}""", false, false, true, true)]
    [InlineData("""{"name":"x","exact_match":"1","invert_match":true,"treat_missing_header_as_empty":true}""", true, false, true, true)]
    [InlineData("""{"name":"x","exact_match":"1","treat_missing_header_as_empty":true}""", false, true, false, false)]
    [InlineData("""{"name":"x","string_match":{"exact":""},"treat_missing_header_as_empty":true}""", true, false, false, false)]
    [InlineData("""{"name":"x","prefix_match":"1"}""",              false, true,  false, true)]
    [InlineData("""{"name":"x","suffix_match":"2"}""",              false, false, true,  true)]
    [InlineData("""{"name":"x","contains_match":","}""",            false, false, false, true)]
    [InlineData("""{"name":"x","safe_regex_match":{"regex":"[12]"}}""", false, true, true, false)]
    [InlineData("""{"name":"x","range_match":{"start":1,"end":2}}""", false, true, false, false)]
    [InlineData("""{"name":"x","range_match":{"start":-5,"end":3}}""", false, true, true, false)]
    public void Kind_OverMissingOneAndTwoValues(string json, bool missing, bool one, bool two, bool both)
    {
        var matcher = Matcher(json);
        Assert.Equal(missing, matcher.Matches(Request("/")));
        Assert.Equal(one, matcher.Matches(Request("/", "x: 1")));
        Assert.Equal(two, matcher.Matches(Request("/", "x: 2")));
        Assert.Equal(both, matcher.Matches(Request("/", "x: 1", "x: 2")));
    }

    [Theory]
    [InlineData("-10", true)]
    [InlineData("-11", false)]
    [InlineData("9", true)]
    [InlineData("10", false)]
    [InlineData("1x", false)]
    [InlineData("", false)]
    [InlineData("-", false)]
    [InlineData("99999999999999999999", false)]
    public void Range_StartIsInEndIsOut(string value, bool expected) =>
        Assert.Equal(expected, Matcher("""{"name":"x","range_match":{"start":-10,"end":10}}""").Matches(Request("/", "x:" + value)));

    [Theory]
    [InlineData("host")]
    [InlineData("Host")]
    [InlineData(":authority")]
    public void Host_IsTheAuthority(string name) =>
        Assert.True(Matcher($$$"""{"name":"{{{name}}}","string_match":{"exact":"shop"}}""").Matches(RequestTo("shop", "/")));

    [Theory]
    [InlineData(":method", "GET")]
    [InlineData(":path", "/p?q")]
    [InlineData(":scheme", "http")]
    public void PseudoHeaders_CanBeMatched(string name, string value) =>
        Assert.True(Matcher($$$"""{"name":"{{{name}}}","string_match":{"exact":"{{{value}}}"}}""").Matches(Request("/p?q")));

    [Fact]
    public void ManyLongValues_AreJudgedWhole()
    {
        string[] fields = [.. Enumerable.Range(0, 60).Select(i => "x: " + new string((char)('a' + i % 26), 900)), "x: end"];
        Assert.True(Matcher("""{"name":"x","suffix_match":",end"}""").Matches(Request("/", fields)));
        Assert.False(Matcher("""{"name":"x","suffix_match":",end","invert_match":true}""").Matches(Request("/", fields)));
    }

    [Fact]
    public void PerValue_OneOfSeveralIsEnough()
    {
        var deny = new HeaderMatcher("x-role", HeaderMatchKind.Text) { Text = new StringMatcher(StringMatchKind.Exact, "admin"), PerValue = true };
        Assert.True(deny.Matches(Request("/", "x-role: admin", "x-role: user")));
        Assert.True(deny.Matches(Request("/", "x-role: user", "x-role: other", "x-role: admin")));
        Assert.False(deny.Matches(Request("/", "x-role: user", "x-role: other")));
        var joined = new HeaderMatcher("x-role", HeaderMatchKind.Text) { Text = new StringMatcher(StringMatchKind.Exact, "admin") };
        Assert.False(joined.Matches(Request("/", "x-role: admin", "x-role: user")));
    }

    [Fact]
    public void PerValue_Inverted_NoneMayMatch()
    {
        var matcher = new HeaderMatcher("x", HeaderMatchKind.Text) { Text = new StringMatcher(StringMatchKind.Exact, "1"), PerValue = true, Invert = true };
        Assert.False(matcher.Matches(Request("/", "x: 2", "x: 1")));
        Assert.True(matcher.Matches(Request("/", "x: 2", "x: 3")));
    }
}
