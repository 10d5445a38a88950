using Sidecar.Filters.Rbac;
using Sidecar.Http;
using Sidecar.Telemetry;
using Sidecar.Telemetry.Stats;

namespace Sidecar.Filters.Http;

using Wire = global::Envoy.Extensions.Filters.Http.Rbac.V3;

/// <summary>
/// Decides by policies whether a request may pass, and notes what other policies would decide; the route's rules win over the listener's. Envoy:
/// envoy.filters.http.rbac.   One per stream slot, worker-owned; keeps nothing of a request.
/// </summary>
internal sealed class RbacFilter(RbacFilter.Config config, StatsCells enforced, StatsCells shadow, int writer) : HttpFilter
{
    private const string Name = "envoy.filters.http.rbac";
    private const string CommonName = "envoy.common";
    private const string AccessLogHint = "access_log_hint";

    private static readonly MetadataValue s_allowed = MetadataValue.Of("allowed");
    private static readonly MetadataValue s_denied = MetadataValue.Of("denied");
    private static readonly MetadataValue s_true = MetadataValue.Of(true);
    private static readonly MetadataValue s_false = MetadataValue.Of(false);

    internal override FilterStatus OnRequestHead(RequestHead head, bool endStream)
    {
        var rules = Stream.RouteConfig<Rules>(config.FilterName) ?? config.Fallback;
        if (rules == Rules.OfListener)
            rules = config.Own;
        if (rules.Enforced is null && rules.Shadow is null)
            return FilterStatus.Continue;

        var subject = new RbacSubject(Stream);
        var metadata = Stream.Info.DynamicMetadata;
        if (rules.Shadow is not null)
        {
            var would = rules.Shadow.Decide(subject);
            shadow.Inc(would.IsAllowed ? Allowed : Denied);
            rules.CountPolicy(rules.ShadowStats, would, writer);
            Note(metadata, rules.ShadowPolicyKey, rules.ShadowResultKey, would);
        }
        if (rules.Enforced is null)
            return FilterStatus.Continue;

        var decision = rules.Enforced.Decide(subject);
        enforced.Inc(decision.IsAllowed ? Allowed : Denied);
        rules.CountPolicy(rules.EnforcedStats, decision, writer);
        Note(metadata, rules.EnforcedPolicyKey, rules.EnforcedResultKey, decision);
        if (rules.Enforced.Action == RbacAction.Log)
            metadata.Set(CommonName, AccessLogHint, decision.Policy is null ? s_false : s_true);
        if (decision.IsAllowed)
            return FilterStatus.Continue;
        if (Log.IsEnabled(LogLevel.Debug))
            Log.Debug("rbac", $"{Stream.RemoteAddress} -> {Stream.Downstream.LocalAddress}: {decision.Details}");
        return Stream.Reply(Failure.RbacDenied, new LocalReplyOptions { Details = decision.Details });
    }

    internal override void Reset() { }

    private static void Note(DynamicMetadata metadata, string policyKey, string resultKey, in RbacDecision decision)
    {
        if (decision.Policy is { } policy)
            metadata.Set(Name, policyKey, policy.NameValue);
        metadata.Set(Name, resultKey, decision.IsAllowed ? s_allowed : s_denied);
    }

    // ---- stats: http.<prefix>.rbac.[<rules prefix>.]* and, for each policy, …policy.<name>.* -------------------------

    private const int Allowed = 0;
    private const int Denied = 1;

    internal static readonly StatsSchema EnforcedSchema = new(new("allowed"), new("denied"));
    internal static readonly StatsSchema ShadowSchema = new(new("shadow_allowed"), new("shadow_denied"));
    internal static readonly StatsSchema PolicySchema = new(new StatDefinition("allowed") { OnlyWhenUsed = true }, new StatDefinition("denied") { OnlyWhenUsed = true });
    internal static readonly StatsSchema ShadowPolicySchema =
        new(new StatDefinition("shadow_allowed") { OnlyWhenUsed = true }, new StatDefinition("shadow_denied") { OnlyWhenUsed = true });

    // ---- configuration: control loop, once per update; immutable afterwards; may reject -------------------

    /// <summary>The filter as a listener has it.</summary>
    /// <param name="FilterName">By which routes speak of it.</param>
    /// <param name="Own">The listener's rules.</param>
    /// <param name="Fallback">What holds where the route says nothing: those, or none when the filter is disabled.</param>
    internal sealed record Config(string FilterName, Rules Own, Rules Fallback);

    /// <summary>Rules of a listener or a route.</summary>
    internal sealed class Rules
    {
        /// <summary>Where a route disables the filter.</summary>
        internal static readonly Rules None = new("", "");

        /// <summary>Where a route enables the filter without rules of its own.</summary>
        internal static readonly Rules OfListener = new("", "");

        internal Rules(string prefix, string shadowPrefix)
        {
            EnforcedPolicyKey = prefix + "enforced_effective_policy_id";
            EnforcedResultKey = prefix + "enforced_engine_result";
            ShadowPolicyKey = shadowPrefix + "shadow_effective_policy_id";
            ShadowResultKey = shadowPrefix + "shadow_engine_result";
        }

        internal RbacEngine? Enforced { get; init; }
        internal RbacEngine? Shadow { get; init; }

        /// <summary>Stats of each policy, by its place; empty where they are not kept.</summary>
        internal StatsScope[] EnforcedStats { get; init; } = [];
        internal StatsScope[] ShadowStats { get; init; } = [];

        internal string EnforcedPolicyKey { get; }
        internal string EnforcedResultKey { get; }
        internal string ShadowPolicyKey { get; }
        internal string ShadowResultKey { get; }

        internal void CountPolicy(StatsScope[] stats, in RbacDecision decision, int writer)
        {
            if (decision.Policy is { } policy && policy.Index < stats.Length)
                stats[policy.Index].Cells(writer).Inc(decision.IsAllowed ? Allowed : Denied);
        }
    }

    internal static HttpFilterFactory? Create(Wire.RBAC wire, ConfigScope scope) => Create(wire, isDisabled: false, scope);

    /// <summary>The filter where it works on those routes only that enable it.</summary>
    internal static HttpFilterFactory? CreateDisabled(Wire.RBAC wire, ConfigScope scope) => Create(wire, isDisabled: true, scope);

    private static HttpFilterFactory? Create(Wire.RBAC wire, bool isDisabled, ConfigScope scope)
    {
        int before = scope.Rejections.Count;
        var (enforced, shadow) = Engines(wire, scope);
        if (scope.Rejections.Count > before)
            return null;
        string prefix = StatPrefix(scope.StatPrefix, wire.RulesStatPrefix), shadowPrefix = StatPrefix(scope.StatPrefix, wire.ShadowRulesStatPrefix);
        // http.<prefix>. of the connection manager.
        const int Head = 5;
        var tags = scope.StatPrefix.Length > Head + 1 ? new[] { new StatTag("envoy.http_conn_manager_prefix", scope.StatPrefix[Head..^1]) } : [];
        var stats = scope.Services.Stats.Scope(EnforcedSchema, prefix, tags);
        var shadowStats = scope.Services.Stats.Scope(ShadowSchema, shadowPrefix, tags);
        var rules = new Rules(wire.RulesStatPrefix, wire.ShadowRulesStatPrefix)
        {
            Enforced = enforced,
            Shadow = shadow,
            EnforcedStats = wire.TrackPerRuleStats ? PolicyStats(enforced, PolicySchema, prefix) : [],
            ShadowStats = wire.TrackPerRuleStats ? PolicyStats(shadow, ShadowPolicySchema, shadowPrefix) : [],
        };
        var config = new Config(scope.FilterName.Length > 0 ? scope.FilterName : Name, rules, isDisabled ? Rules.None : rules);
        return worker => new RbacFilter(config, stats.Cells(worker.Index), shadowStats.Cells(worker.Index), worker.Index);

        StatsScope[] PolicyStats(RbacEngine? engine, StatsSchema schema, string head)
        {
            var scopes = new StatsScope[engine?.Policies.Length ?? 0];
            for (int i = 0; i < scopes.Length; i++)
                scopes[i] = scope.Services.Stats.Scope(schema, $"{head}policy.{engine!.Policies[i].Name}.", tags);
            return scopes;
        }
    }

    internal static object? CreateRouteConfig(Wire.RBACPerRoute wire, ConfigScope scope)
    {
        if (wire.Rbac is null)
            return Rules.None;
        scope = scope.At("rbac");
        int before = scope.Rejections.Count;
        var (enforced, shadow) = Engines(wire.Rbac, scope);
        if (wire.Rbac.TrackPerRuleStats)
            scope.Ignore("track_per_rule_stats", "policies of a route are not counted one by one");
        return scope.Rejections.Count > before ? null : new Rules(wire.Rbac.RulesStatPrefix, wire.Rbac.ShadowRulesStatPrefix) { Enforced = enforced, Shadow = shadow };
    }

    private static (RbacEngine? Enforced, RbacEngine? Shadow) Engines(Wire.RBAC wire, ConfigScope scope)
    {
        RbacTranslator.RefuseMatcher(wire.Matcher, "matcher", scope);
        RbacTranslator.RefuseMatcher(wire.ShadowMatcher, "shadow_matcher", scope);
        return (RbacTranslator.Translate(wire.Rules, isHttp: true, scope.At("rules")), RbacTranslator.Translate(wire.ShadowRules, isHttp: true, scope.At("shadow_rules")));
    }

    private static string StatPrefix(string manager, string rules) => manager + "rbac." + (rules.Length == 0 || rules.EndsWith('.') ? rules : rules + ".");
}
