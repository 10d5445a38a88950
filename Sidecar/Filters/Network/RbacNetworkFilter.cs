using System;
using Sidecar.Filters.Rbac;
using Sidecar.Loop;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Telemetry.Stats;

namespace Sidecar.Filters.Network;

using Wire = global::Envoy.Extensions.Filters.Network.Rbac.V3;

/// <summary>
/// Decides by policies whether a connection may go on, when its first bytes have come or each time that more come, and notes what other policies would decide.
/// Envoy: envoy.filters.network.rbac.   One per connection slot, worker-owned, reused after Reset.
/// </summary>
internal sealed class RbacNetworkFilter : NetworkFilter, ITimerOwner
{
    private const string Name = "envoy.filters.network.rbac";

    private readonly Config _config;
    private readonly StatsCells _enforced;
    private readonly StatsCells _shadow;
    private readonly WorkerScope _worker;
    private readonly LoopTimer _delay;
    private Connection? _delayed;
    private bool _asked;

    internal RbacNetworkFilter(Config config, WorkerScope worker)
    {
        _config = config;
        _enforced = config.EnforcedStats.Cells(worker.Index);
        _shadow = config.ShadowStats.Cells(worker.Index);
        _worker = worker;
        _delay = new LoopTimer(this);
    }

    internal override bool IsDone => _asked && !_config.IsContinuous;

    internal override FilterStatus OnReceived(Connection connection)
    {
        _asked = true;
        var subject = new RbacSubject(connection, Metadata);
        if (_config.Shadow is not null)
        {
            var would = _config.Shadow.Decide(subject);
            _shadow.Inc(would.IsAllowed ? Allowed : Denied);
            if (would.Policy is { } policy)
                Metadata.Set(Name, _config.ShadowPolicyKey, policy.NameValue);
            Metadata.Set(Name, _config.ShadowResultKey, would.IsAllowed ? s_allowed : s_denied);
        }
        if (_config.Enforced is null)
            return FilterStatus.Continue;
        var decision = _config.Enforced.Decide(subject);
        _enforced.Inc(decision.IsAllowed ? Allowed : Denied);
        if (_config.Enforced.Action == RbacAction.Log)
            Metadata.Set("envoy.common", "access_log_hint", decision.Policy is null ? s_false : s_true);
        if (decision.IsAllowed)
            return FilterStatus.Continue;
        if (Log.IsEnabled(LogLevel.Debug))
            Log.Debug("rbac", $"{connection.RemoteAddress} -> {connection.LocalAddress}: {decision.Details}");
        if (_config.DelayMs == 0)
        {
            connection.Close(Failure.RbacDenied);
            return FilterStatus.Stop;
        }
        _delayed = connection;
        connection.PauseReading();
        _worker.Loop.Schedule(_delay, _config.DelayMs);
        return FilterStatus.Stop;
    }

    public void OnTimer(LoopTimer timer) => _delayed?.Close(Failure.RbacDenied);

    internal override void Reset()
    {
        _worker.Loop.Cancel(_delay);
        _delayed = null;
        _asked = false;
    }

    private static readonly MetadataValue s_allowed = MetadataValue.Of("allowed");
    private static readonly MetadataValue s_denied = MetadataValue.Of("denied");
    private static readonly MetadataValue s_true = MetadataValue.Of(true);
    private static readonly MetadataValue s_false = MetadataValue.Of(false);

    // ---- stats: <stat prefix>.rbac.* -------------------------------------------------------------------------------

    private const int Allowed = 0;
    private const int Denied = 1;

    internal static readonly StatsSchema EnforcedSchema = new(new("allowed"), new("denied"));
    internal static readonly StatsSchema ShadowSchema = new(new("shadow_allowed"), new("shadow_denied"));

    // ---- configuration: control loop, once per update; immutable afterwards; may reject -------------------

    /// <summary>The filter as configured.</summary>
    internal sealed class Config
    {
        internal RbacEngine? Enforced { get; init; }
        internal RbacEngine? Shadow { get; init; }
        internal required StatsScope EnforcedStats { get; init; }
        internal required StatsScope ShadowStats { get; init; }
        internal required string ShadowPolicyKey { get; init; }
        internal required string ShadowResultKey { get; init; }

        /// <summary>Asked each time that more is received, not only the first.</summary>
        internal bool IsContinuous { get; init; }

        /// <summary>How long a connection that is denied is held before it is closed.</summary>
        internal long DelayMs { get; init; }
    }

    internal static NetworkFilterFactory? Create(Wire.RBAC wire, ConfigScope scope)
    {
        int before = scope.Rejections.Count;
        if (wire.StatPrefix.Length == 0)
            scope.Reject("stat_prefix", "value length must be at least 1 characters");
        if (!Enum.IsDefined(wire.EnforcementType))
            scope.Reject("enforcement_type", "must be ONE_TIME_ON_FIRST_BYTE or CONTINUOUS");
        RbacTranslator.RefuseMatcher(wire.Matcher, "matcher", scope);
        RbacTranslator.RefuseMatcher(wire.ShadowMatcher, "shadow_matcher", scope);
        var enforced = RbacTranslator.Translate(wire.Rules, isHttp: false, scope.At("rules"));
        var shadow = RbacTranslator.Translate(wire.ShadowRules, isHttp: false, scope.At("shadow_rules"));
        long delayMs = scope.Milliseconds("delay_deny", wire.DelayDeny, 0);
        if (scope.Rejections.Count > before)
            return null;
        string prefix = Dotted(wire.StatPrefix) + "rbac.";
        var config = new Config
        {
            Enforced = enforced,
            Shadow = shadow,
            EnforcedStats = scope.Services.Stats.Scope(EnforcedSchema, prefix),
            ShadowStats = scope.Services.Stats.Scope(ShadowSchema, prefix + Dotted(wire.ShadowRulesStatPrefix)),
            ShadowPolicyKey = wire.ShadowRulesStatPrefix + "shadow_effective_policy_id",
            ShadowResultKey = wire.ShadowRulesStatPrefix + "shadow_engine_result",
            IsContinuous = wire.EnforcementType == Wire.RBAC.Types.EnforcementType.Continuous,
            DelayMs = delayMs,
        };
        return worker => new RbacNetworkFilter(config, worker);
    }

    private static string Dotted(string prefix) => prefix.Length == 0 || prefix.EndsWith('.') ? prefix : prefix + ".";
}
