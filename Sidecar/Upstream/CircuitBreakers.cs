using System;
using System.Threading;
using Sidecar.Telemetry.Stats;

namespace Sidecar.Upstream;

/// <summary>envoy.config.core.v3.RoutingPriority, same numbers.</summary>
internal enum RoutingPriority : byte { Default, High }

/// <summary>What a circuit breaker bounds.</summary>
internal enum Resource : byte { Connections, PendingRequests, Requests, Retries, ConnectionPools }

/// <summary>Share of the active requests that may be retries at once.</summary>
/// <param name="Percent">Of active and pending requests.</param>
/// <param name="MinConcurrency">Allowed however few requests there are.</param>
internal sealed record RetryBudget(double Percent = 20, uint MinConcurrency = 3);

/// <summary>The limits of one priority, with Envoy's defaults. <see cref="uint.MaxValue"/> is no limit.</summary>
internal sealed record CircuitBreakerThresholds
{
    internal static readonly CircuitBreakerThresholds Default = new();

    internal uint MaxConnections { get; init; } = 1024;
    internal uint MaxPendingRequests { get; init; } = 1024;
    internal uint MaxRequests { get; init; } = 1024;
    internal uint MaxRetries { get; init; } = 3;
    internal uint MaxConnectionPools { get; init; } = uint.MaxValue;

    /// <summary>Replaces <see cref="MaxRetries"/> when set.</summary>
    internal RetryBudget? RetryBudget { get; init; }

    /// <summary>The <c>remaining_*</c> gauges are kept.</summary>
    internal bool TrackRemaining { get; init; }

    internal uint Max(Resource resource) => resource switch
    {
        Resource.Connections => MaxConnections,
        Resource.PendingRequests => MaxPendingRequests,
        Resource.Requests => MaxRequests,
        Resource.Retries => MaxRetries,
        _ => MaxConnectionPools,
    };
}

/// <summary>
/// How much is under way towards one cluster, and whether more may be. Limits are for the process, as in Envoy: each worker counts in
/// its own cells with plain stores, and a check adds up all workers' cells, which costs a read of one cache line per worker and no
/// atomic. Two workers checking at the same instant may both pass, so a limit can be exceeded by at most workers - 1 (Envoy's check
/// and increment are two steps as well). An unlimited resource is not added up at all.
/// </summary>
/// <remarks>Cross-thread: one writer per cell. Lives with its <see cref="ClusterConfig"/>, so a replaced cluster starts from zero while streams of the old one count there.</remarks>
internal sealed class CircuitBreakers
{
    // One worker's cells of both priorities fill one cache line of their own.
    private const int Resources = 5;
    private const int High = 8;
    private const int Stride = 16;

    // Made when something is first under way.
    private int[]? _counts;
    private readonly int _writers;

    internal CircuitBreakers(CircuitBreakerThresholds normal, CircuitBreakerThresholds high, CircuitBreakerThresholds? perHost, int workers)
    {
        Default = normal;
        HighPriority = high;
        PerHost = perHost;
        // The control loop calls services of its own, and counts after the workers.
        _writers = workers + 1;
    }

    internal CircuitBreakerThresholds Default { get; }
    internal CircuitBreakerThresholds HighPriority { get; }

    /// <summary>Limits on each host by itself, of which Envoy knows <c>max_connections</c>; null: none.</summary>
    internal CircuitBreakerThresholds? PerHost { get; }

    internal CircuitBreakerThresholds Thresholds(RoutingPriority priority) => priority == RoutingPriority.High ? HighPriority : Default;

    /// <summary>True while one more is allowed.</summary>
    internal bool CanCreate(Resource resource, RoutingPriority priority)
    {
        if (resource == Resource.Retries && Thresholds(priority).RetryBudget is { } budget)
            return Count(Resource.Retries, priority) < RetryLimit(budget, priority);
        uint max = Thresholds(priority).Max(resource);
        return max == uint.MaxValue || Count(resource, priority) < max;
    }

    internal void Add(Resource resource, RoutingPriority priority, int worker) => (_counts ?? MakeCounts())[Index(resource, priority, worker)]++;

    internal void Remove(Resource resource, RoutingPriority priority, int worker) => (_counts ?? MakeCounts())[Index(resource, priority, worker)]--;

    /// <summary>How many are under way, over all workers.</summary>
    internal long Count(Resource resource, RoutingPriority priority)
    {
        long count = 0;
        if (Volatile.Read(ref _counts) is not { } counts)
            return 0;
        for (int worker = 0; worker < _writers; worker++)
            count += Volatile.Read(ref counts[Index(resource, priority, worker)]);
        return count;
    }

    // Workers may come at the same time; all must count in the same array.
    private int[] MakeCounts()
    {
        int[] made = new int[Stride * (_writers + 1)];
        return Interlocked.CompareExchange(ref _counts, made, null) ?? made;
    }

    /// <summary>Brings the <c>circuit_breakers.*</c> gauges up to date. The control loop calls it before it reports stats.</summary>
    internal void WriteGauges(StatsCells control)
    {
        WriteGauges(control, RoutingPriority.Default, ClusterStats.CircuitBreakersDefaultCxOpen);
        WriteGauges(control, RoutingPriority.High, ClusterStats.CircuitBreakersHighCxOpen);
    }

    private void WriteGauges(StatsCells control, RoutingPriority priority, int first)
    {
        // In the schema's order: cx_open, cx_pool_open, rq_pending_open, rq_open, rq_retry_open, then the five remaining_*.
        ReadOnlySpan<Resource> order = [Resource.Connections, Resource.ConnectionPools, Resource.PendingRequests, Resource.Requests, Resource.Retries];
        var thresholds = Thresholds(priority);
        for (int i = 0; i < order.Length; i++)
        {
            control.Set(first + i, CanCreate(order[i], priority) ? 0 : 1);
            if (thresholds.TrackRemaining)
            {
                uint max = order[i] == Resource.Retries && thresholds.RetryBudget is { } budget ? RetryLimit(budget, priority) : thresholds.Max(order[i]);
                control.Set(first + order.Length + i, Math.Max(0, max - Count(order[i], priority)));
            }
        }
    }

    private uint RetryLimit(RetryBudget budget, RoutingPriority priority)
    {
        long active = Count(Resource.Requests, priority) + Count(Resource.PendingRequests, priority);
        return Math.Max((uint)(budget.Percent / 100.0 * active), budget.MinConcurrency);
    }

    private static int Index(Resource resource, RoutingPriority priority, int worker) =>
        // The first line is left free: the array's length and the neighbours in the heap are read by everybody.
        Stride * (worker + 1) + (priority == RoutingPriority.High ? High : 0) + (int)resource % Resources;
}
