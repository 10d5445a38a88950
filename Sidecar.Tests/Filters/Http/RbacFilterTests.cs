using System.Linq;
using Envoy.Extensions.Filters.Http.Rbac.V3;
using Sidecar.Filters;
using Sidecar.Filters.Http;
using Sidecar.Telemetry;
using Sidecar.Tests.Harness;
using Sidecar.Tests.Wire;
using Xunit;

namespace Sidecar.Tests.Filters.Http;

public sealed class RbacFilterTests
{
    private const string Name = "envoy.filters.http.rbac";

    private static string Rules(string action, params string[] policies) => $$"""
        {"action": "{{action}}", "policies": { {{string.Join(',', policies.Select(name => $$"""
            "{{name}}": {"permissions": [{"header": {"name": "{{name.Replace(' ', '-')}}"} }], "principals": [{"any": true}]}
            """))}} } }
        """;

    private static RbacRequest With(params string[] fields) => new() { Fields = [.. fields.Select(name => (name, "1"))] };

    private static string? Metadata(RbacHarness rbac, string key, string filter = Name) => rbac.Filter.Info.DynamicMetadata.Find(filter, key)?.ToString();

    private static object? Route(RbacHarness rbac, string json) => RbacFilter.CreateRouteConfig(
        RBACPerRoute.Parser.ParseFrom(WireHarness.Read(json, "envoy.extensions.filters.http.rbac.v3.RBACPerRoute")), rbac.Filter.Config);

    [Fact]
    public void NoRules_NothingHappens()
    {
        using var rbac = new RbacHarness("{}");
        Assert.True(rbac.Allows(With()));
        Assert.Equal(0, rbac.Filter.Stat("http.t.rbac.allowed"));
        Assert.Null(Metadata(rbac, "enforced_engine_result"));
    }

    [Fact]
    public void Allowed_GoesOn_IsCountedAndNoted()
    {
        using var rbac = new RbacHarness($$"""{"rules": {{Rules("ALLOW", "a")}} }""");
        Assert.True(rbac.Allows(With("a")));
        Assert.Empty(rbac.Filter.Actions);
        Assert.Equal((1, 0), (rbac.Filter.Stat("http.t.rbac.allowed"), rbac.Filter.Stat("http.t.rbac.denied")));
        Assert.Equal(("a", "allowed"), (Metadata(rbac, "enforced_effective_policy_id"), Metadata(rbac, "enforced_engine_result")));
    }

    [Fact]
    public void Denied_ByNoPolicy_IsAnswered403_CountedAndNoted()
    {
        using var rbac = new RbacHarness($$"""{"rules": {{Rules("ALLOW", "a")}} }""");
        Assert.Equal(FilterStatus.Stop, rbac.Ask(With()));
        Assert.Equal(["reply 403 rbac_access_denied_matched_policy[none] 'RBAC: access denied'"], rbac.Filter.Actions);
        Assert.Equal((0, 1), (rbac.Filter.Stat("http.t.rbac.allowed"), rbac.Filter.Stat("http.t.rbac.denied")));
        Assert.Equal((null, "denied"), (Metadata(rbac, "enforced_effective_policy_id"), Metadata(rbac, "enforced_engine_result")));
    }

    [Fact]
    public void Denied_ByPolicy_DetailsNameIt_WithoutSpaces()
    {
        using var rbac = new RbacHarness($$"""{"rules": {{Rules("DENY", "not you")}} }""");
        Assert.Equal(FilterStatus.Stop, rbac.Ask(With("not-you")));
        Assert.Equal(["reply 403 rbac_access_denied_matched_policy[not_you] 'RBAC: access denied'"], rbac.Filter.Actions);
        Assert.Equal("not you", Metadata(rbac, "enforced_effective_policy_id"));
    }

    [Fact]
    public void ShadowRules_DecideNothing_AreCountedAndNoted()
    {
        using var rbac = new RbacHarness($$"""{"shadow_rules": {{Rules("DENY", "s")}} }""");
        Assert.True(rbac.Allows(With("s")));
        Assert.Equal(("s", "denied"), (Metadata(rbac, "shadow_effective_policy_id"), Metadata(rbac, "shadow_engine_result")));
        Assert.True(rbac.Allows(With()));
        Assert.Equal((null, "allowed"), (Metadata(rbac, "shadow_effective_policy_id"), Metadata(rbac, "shadow_engine_result")));
        Assert.Null(Metadata(rbac, "enforced_engine_result"));
        Assert.Equal((1, 1), (rbac.Filter.Stat("http.t.rbac.shadow_allowed"), rbac.Filter.Stat("http.t.rbac.shadow_denied")));
        Assert.Equal((0, 0), (rbac.Filter.Stat("http.t.rbac.allowed"), rbac.Filter.Stat("http.t.rbac.denied")));
    }

    [Fact]
    public void Prefixes_SetStatsAndMetadataApart()
    {
        using var rbac = new RbacHarness(
            $$"""{"rules": {{Rules("ALLOW", "a")}}, "rules_stat_prefix": "mine.", "shadow_rules": {{Rules("ALLOW", "s")}}, "shadow_rules_stat_prefix": "istio_dry_run_allow_"}""");
        Assert.True(rbac.Allows(With("a")));
        Assert.Equal((1, 1), (rbac.Filter.Stat("http.t.rbac.mine.allowed"), rbac.Filter.Stat("http.t.rbac.istio_dry_run_allow_.shadow_denied")));
        Assert.Equal(("a", "denied"), (Metadata(rbac, "mine.enforced_effective_policy_id"), Metadata(rbac, "istio_dry_run_allow_shadow_engine_result")));
    }

    [Fact]
    public void Log_LetsAllPass_AndSaysWhatIsToBeLogged()
    {
        using var rbac = new RbacHarness($$"""{"rules": {{Rules("LOG", "l")}} }""");
        Assert.True(rbac.Allows(With("l")));
        Assert.Equal("true", Metadata(rbac, "access_log_hint", "envoy.common"));
        Assert.True(rbac.Allows(With()));
        Assert.Equal("false", Metadata(rbac, "access_log_hint", "envoy.common"));
        Assert.Equal(2, rbac.Filter.Stat("http.t.rbac.allowed"));
    }

    [Fact]
    public void LogInShadow_GivesNoHint()
    {
        using var rbac = new RbacHarness($$"""{"shadow_rules": {{Rules("LOG", "l")}} }""");
        Assert.True(rbac.Allows(With("l")));
        Assert.Null(Metadata(rbac, "access_log_hint", "envoy.common"));
    }

    [Fact]
    public void PerRuleStats_CountEachPolicy()
    {
        using var rbac = new RbacHarness(
            $$"""{"rules": {{Rules("DENY", "a", "b")}}, "shadow_rules": {{Rules("ALLOW", "s")}}, "shadow_rules_stat_prefix": "x", "track_per_rule_stats": true}""");
        rbac.Ask(With("b", "s"));
        rbac.Ask(With("b"));
        rbac.Ask(With());
        Assert.Equal((0, 2), (rbac.Filter.Stat("http.t.rbac.policy.a.denied"), rbac.Filter.Stat("http.t.rbac.policy.b.denied")));
        Assert.Equal(1, rbac.Filter.Stat("http.t.rbac.x.policy.s.shadow_allowed"));
        Assert.Equal(0, rbac.Filter.Stat("http.t.rbac.x.policy.s.shadow_denied"));
        Assert.Equal((1, 2), (rbac.Filter.Stat("http.t.rbac.allowed"), rbac.Filter.Stat("http.t.rbac.denied")));
    }

    [Fact]
    public void RoutesRules_WinOverTheListeners_AndCountWithThem()
    {
        using var rbac = new RbacHarness($$"""{"rules": {{Rules("ALLOW", "a")}} }""");
        rbac.Filter.OnRoute(Name, Route(rbac, $$"""{"rbac": {"rules": {{Rules("ALLOW", "r")}}, "rules_stat_prefix": "of_route_"} }"""));
        Assert.True(rbac.Allows(With("r")));
        Assert.Equal("r", Metadata(rbac, "of_route_enforced_effective_policy_id"));
        Assert.False(rbac.Allows(With("a")));
        Assert.Equal((1, 1), (rbac.Filter.Stat("http.t.rbac.allowed"), rbac.Filter.Stat("http.t.rbac.denied")));
    }

    [Theory]
    [InlineData("{}")]
    [InlineData("""{"rbac": {} }""")]
    public void RouteWithoutRules_IsNotAsked(string route)
    {
        using var rbac = new RbacHarness("""{"rules": {} }""");
        Assert.False(rbac.Allows(With()));
        rbac.Filter.OnRoute(Name, Route(rbac, route));
        Assert.True(rbac.Allows(With()));
    }

    [Fact]
    public void RouteThatEnablesTheFilter_HasTheListenersRules()
    {
        using var harness = new FilterHarness();
        harness.Use(RbacFilter.CreateDisabled(RbacHarness.Message("""{"rules": {} }"""), harness.Config));
        Assert.Equal(FilterStatus.Continue, harness.Head("GET"));
        using var rbac = new RbacHarness("""{"rules": {} }""");
        rbac.Filter.OnRoute(Name, HttpFilters.CreateRouteSwitch(Name, null, isDisabled: false));
        Assert.False(rbac.Allows(With()));
        rbac.Filter.OnRoute(Name, HttpFilters.CreateRouteSwitch(Name, null, isDisabled: true));
        Assert.True(rbac.Allows(With()));
        Assert.Null(HttpFilters.CreateRouteSwitch("envoy.filters.http.fault", null, isDisabled: true));
    }

    [Fact]
    public void RoutesRules_AreRefusedByPath_AndNotCountedOneByOne()
    {
        using var rbac = new RbacHarness("{}");
        Assert.Null(Route(rbac, """{"rbac": {"rules": {"policies": {"p": {"principals": [{"any": true}]} } }, "track_per_rule_stats": true} }"""));
        Assert.Equal("rbac.rules.policies[p].permissions", Assert.Single(rbac.Filter.Config.Rejections).Path);
        Assert.Equal("rbac.track_per_rule_stats", Assert.Single(rbac.Filter.Config.Ignored).Path);
    }
}
