using System.Linq;
using Sidecar.Filters.Network;
using Sidecar.Tests.Harness;
using Sidecar.Tests.Wire;
using Xunit;

namespace Sidecar.Tests.Filters.Network;

public sealed class RbacNetworkFilterTests
{
    private const string Type = "envoy.extensions.filters.network.rbac.v3.RBAC";

    private static string Policies(string permission, string principal = """{"any": true}""") =>
        "{\"policies\": {\"p\": {\"permissions\": [" + permission + "], \"principals\": [" + principal + "]}}}";

    private static string Everybody => Policies("""{"any": true}""");
    private static string Nobody => "{}";
    private static string Deny => Everybody.Insert(1, "\"action\": \"DENY\", ");
    private static string LogAll => Everybody.Insert(1, "\"action\": \"LOG\", ");

    private static string Filter(string members) =>
        "{\"name\": \"envoy.filters.network.rbac\", \"typed_config\": {\"@type\": \"type.googleapis.com/" + Type + "\", " + members + "}}";

    private static DataPlaneHarness Tcp(out FakeUpstream upstream, params string[] filters)
    {
        var plane = new DataPlaneHarness();
        upstream = plane.Upstream();
        string before = string.Concat(filters.Select(members => Filter(members) + ", "));
        plane.Apply(new TestSnapshot().Cluster("up", false, upstream.Port).Raw("tcp", 0, $$""" "filter_chains": [{"filters": [{{before}} $tcp]}] """));
        return plane;
    }

    [Fact]
    public void Allowed_BytesPass_CountedOnce()
    {
        using var plane = Tcp(out var upstream, "\"stat_prefix\": \"tcp.\", \"rules\": " + Everybody);
        var client = plane.Connect("tcp");
        client.Send("one");
        var server = upstream.Accept();
        plane.Expect(server, "one");
        client.Send("two");
        plane.Expect(server, "onetwo");
        Assert.Equal((1, 0), (plane.Stat("tcp.rbac.allowed"), plane.Stat("tcp.rbac.denied")));
    }

    [Fact]
    public void Denied_IsClosed_WithoutAByteForTheUpstream()
    {
        using var plane = Tcp(out var upstream, "\"stat_prefix\": \"tcp.\", \"rules\": " + Nobody);
        var client = plane.Connect("tcp");
        var server = upstream.Accept();
        client.Send("one");
        Assert.Equal("", plane.ExpectEnd(client));
        Assert.Equal("", plane.ExpectEnd(server));
        Assert.Equal((0, 1), (plane.Stat("tcp.rbac.allowed"), plane.Stat("tcp.rbac.denied")));
        plane.ExpectStat("cluster.up.upstream_cx_active", 0);
    }

    [Fact]
    public void Decided_OnTheFirstByte_NotBefore()
    {
        using var plane = Tcp(out var upstream, "\"stat_prefix\": \"tcp.\", \"rules\": " + Nobody);
        var client = plane.Connect("tcp");
        var server = upstream.Accept();
        server.Send("220 ready");
        plane.Expect(client, "220 ready");
        Assert.Equal(0, plane.Stat("tcp.rbac.denied"));
        client.Shutdown();
        plane.ExpectEnd(server);
        Assert.Equal(1, plane.Stat("tcp.rbac.denied"));
    }

    [Fact]
    public void Continuous_DecidesWheneverMoreComes()
    {
        using var plane = Tcp(out var upstream, "\"stat_prefix\": \"x\", \"enforcement_type\": \"CONTINUOUS\", \"rules\": " + Everybody);
        var client = plane.Connect("tcp");
        client.Send("one");
        var server = upstream.Accept();
        plane.Expect(server, "one");
        client.Send(new string('y', 100_000));
        plane.Loop.Until(() => { server.Receive(); return server.Text.Length >= 100_003; });
        long before = plane.Stat("x.rbac.allowed");
        Assert.True(before >= 2);
        client.Send("two");
        plane.Expect(server, "two");
        Assert.Equal(before + 1, plane.Stat("x.rbac.allowed"));
    }

    [Fact]
    public void ShadowRules_DecideNothing_AndAreCounted()
    {
        using var plane = Tcp(out var upstream, "\"stat_prefix\": \"tcp.\", \"shadow_rules\": " + Nobody + ", \"shadow_rules_stat_prefix\": \"istio_dry_run_allow_\"");
        var client = plane.Connect("tcp");
        client.Send("one");
        plane.Expect(upstream.Accept(), "one");
        Assert.Equal((0, 1), (plane.Stat("tcp.rbac.istio_dry_run_allow_.shadow_allowed"), plane.Stat("tcp.rbac.istio_dry_run_allow_.shadow_denied")));
        Assert.Equal((0, 0), (plane.Stat("tcp.rbac.allowed"), plane.Stat("tcp.rbac.denied")));
    }

    [Fact]
    public void SeveralFilters_AreAskedInOrder_UntilOneDenies()
    {
        using var plane = Tcp(out _, "\"stat_prefix\": \"log\", \"rules\": " + LogAll, "\"stat_prefix\": \"deny\", \"rules\": " + Deny, "\"stat_prefix\": \"allow\", \"rules\": " + Everybody);
        var client = plane.Connect("tcp");
        client.Send("one");
        plane.ExpectEnd(client);
        Assert.Equal((1, 1, 0), (plane.Stat("log.rbac.allowed"), plane.Stat("deny.rbac.denied"), plane.Stat("allow.rbac.allowed")));
    }

    [Fact]
    public void DelayDeny_HoldsTheConnection_AndAnswersNothing()
    {
        using var plane = Tcp(out var upstream, "\"stat_prefix\": \"tcp.\", \"delay_deny\": \"2s\", \"rules\": " + Nobody);
        var client = plane.Connect("tcp");
        var server = upstream.Accept();
        client.Send("one");
        plane.ExpectStat("tcp.rbac.denied", 1);
        client.Send("two");
        plane.Loop.Settle();
        plane.Loop.Advance(1_900);
        client.Read();
        server.Read();
        Assert.Equal((false, "", 1), (client.End, server.Text, plane.Stat("tcp.rbac.denied")));
        plane.Loop.Advance(200);
        plane.ExpectEnd(client);
        Assert.Equal("", plane.ExpectEnd(server));
    }

    [Fact]
    public void BeforeAConnectionManager_ItDecidesAboutAllRequests()
    {
        using var plane = new DataPlaneHarness();
        plane.Apply(new TestSnapshot().Http("http", 0, TestSnapshot.Answer("x")).WithNetworkFilter("http", Filter("\"stat_prefix\": \"n\", \"rules\": " + Nobody)));
        var client = plane.Connect();
        client.Send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        Assert.Equal("", plane.ExpectEnd(client));
        Assert.Equal((1, 0), (plane.Stat("n.rbac.denied"), plane.Stat("http.http.downstream_rq_total")));
        plane.ExpectStat("http.http.downstream_cx_active", 0);
    }

    [Theory]
    [InlineData("\"rules\": {}", "stat_prefix: value length must be at least 1 characters")]
    [InlineData("\"stat_prefix\": \"s\", \"enforcement_type\": 7", "enforcement_type: must be ONE_TIME_ON_FIRST_BYTE or CONTINUOUS")]
    [InlineData("\"stat_prefix\": \"s\", \"matcher\": {}", "matcher: a matcher tree is not supported; use rules")]
    [InlineData("\"stat_prefix\": \"s\", \"delay_deny\": \"-1s\"", "delay_deny: is not a valid duration: it must be 0 to 292 years")]
    [InlineData("\"stat_prefix\": \"s\", \"rules\": {\"policies\": {\"p\": {\"permissions\": [{\"not_rule\": {\"header\": {\"name\": \"x\"}}}], \"principals\": [{\"any\": true}]}}}",
        "rules.policies[p].permissions[0].not_rule.header: Found header(x) rule, not supported by RBAC network filter")]
    [InlineData("\"stat_prefix\": \"s\", \"rules\": {\"policies\": {\"p\": {\"permissions\": [{\"any\": true}], \"principals\": [{\"header\": {\"name\": \"x\"}}]}}}",
        "rules.policies[p].principals[0].header: Found header(x) rule, not supported by RBAC network filter")]
    public void Refused_ByPath(string members, string expected)
    {
        using var harness = new FilterHarness();
        Assert.Null(RbacNetworkFilter.Create(Envoy.Extensions.Filters.Network.Rbac.V3.RBAC.Parser.ParseFrom(WireHarness.Read("{" + members + "}", Type)), harness.Config));
        Assert.Equal(expected, string.Join(" | ", harness.Config.Rejections.Select(problem => $"{problem.Path}: {problem.Reason}")));
    }
}
