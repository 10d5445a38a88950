using Sidecar.Filters;
using Sidecar.Upstream;
using WireCore = Envoy.Config.Core.V3;

namespace Sidecar.Config.Clusters;

using Wire = global::Envoy.Config.Cluster.V3;

/// <summary>envoy.config.cluster.v3.CircuitBreakers → <see cref="CircuitBreakers"/>.</summary>
internal static class CircuitBreakersTranslator
{
    /// <summary>The limits of a cluster; Envoy's where none are set.</summary>
    /// <param name="wire">circuit_breakers.</param>
    /// <param name="workers">Among how many the limits are shared.</param>
    /// <param name="scope">Where problems go, at circuit_breakers.</param>
    internal static CircuitBreakers Translate(Wire.CircuitBreakers? wire, int workers, ConfigScope scope)
    {
        CircuitBreakerThresholds? normal = null, high = null, perHost = null;
        for (int i = 0; i < (wire?.Thresholds.Count ?? 0); i++)
        {
            var at = scope.At("thresholds", i);
            var threshold = wire!.Thresholds[i];
            // The first of a priority counts, as in Envoy.
            if (threshold.Priority == WireCore.RoutingPriority.Default && normal is null)
                normal = Thresholds(threshold, at);
            else if (threshold.Priority == WireCore.RoutingPriority.High && high is null)
                high = Thresholds(threshold, at);
            else if (threshold.Priority is WireCore.RoutingPriority.Default or WireCore.RoutingPriority.High)
                at.Ignore("", "an earlier entry for the same priority is used");
            else
                at.Reject("priority", "value must be one of the defined enum values");
        }
        for (int i = 0; i < (wire?.PerHostThresholds.Count ?? 0); i++)
        {
            var at = scope.At("per_host_thresholds", i);
            var threshold = wire!.PerHostThresholds[i];
            if (threshold.MaxPendingRequests is not null || threshold.MaxRequests is not null || threshold.MaxRetries is not null
                || threshold.MaxConnectionPools is not null || threshold.RetryBudget is not null || threshold.TrackRemaining)
                at.Reject("", "Unsupported field in per_host_thresholds: only max_connections is supported");
            if (threshold.Priority == WireCore.RoutingPriority.Default && perHost is null)
                perHost = new CircuitBreakerThresholds { MaxConnections = threshold.MaxConnections ?? 1024 };
            else
                at.Ignore("", "only the first entry of priority DEFAULT is used");
        }
        return new CircuitBreakers(normal ?? CircuitBreakerThresholds.Default, high ?? CircuitBreakerThresholds.Default, perHost, workers);
    }

    private static CircuitBreakerThresholds Thresholds(Wire.CircuitBreakers.Types.Thresholds wire, ConfigScope scope)
    {
        var defaults = CircuitBreakerThresholds.Default;
        RetryBudget? budget = null;
        if (wire.RetryBudget is { } wireBudget)
        {
            if (wireBudget.BudgetInterval is not null)
                scope.Ignore("retry_budget.budget_interval", "the budget is of the requests active at the moment");
            budget = new RetryBudget(scope.Percent("retry_budget.budget_percent", wireBudget.BudgetPercent, 20), wireBudget.MinRetryConcurrency ?? 3);
        }
        return new CircuitBreakerThresholds
        {
            MaxConnections = wire.MaxConnections ?? defaults.MaxConnections,
            MaxPendingRequests = wire.MaxPendingRequests ?? defaults.MaxPendingRequests,
            MaxRequests = wire.MaxRequests ?? defaults.MaxRequests,
            MaxRetries = wire.MaxRetries ?? defaults.MaxRetries,
            MaxConnectionPools = wire.MaxConnectionPools ?? defaults.MaxConnectionPools,
            RetryBudget = budget,
            TrackRemaining = wire.TrackRemaining,
        };
    }
}
