using System;
using System.Collections.Generic;
using Sidecar.Linux;
using Sidecar.Telemetry.Stats;
using Sidecar.Upstream;

namespace Sidecar.Server;

/// <summary>Stats of the process and of its managers: read off the server when somebody asks. Names are Envoy's.</summary>
/// <remarks>Control loop only.</remarks>
internal static class ServerStats
{
    private const int Live = 0;
    private const int State = 1;
    private const int Uptime = 2;
    private const int Concurrency = 3;
    private const int TotalConnections = 4;
    private const int MemoryAllocated = 5;
    private const int MemoryHeapSize = 6;
    private const int MemoryPhysicalSize = 7;
    private const int WorkerFaults = 8;
    private const int LongestTurnUs = 9;

    private static readonly StatsSchema s_server = new(
        new("live", StatKind.Gauge), new("state", StatKind.Gauge), new("uptime", StatKind.Gauge), new("concurrency", StatKind.Gauge),
        new("total_connections", StatKind.Gauge), new("memory_allocated", StatKind.Gauge), new("memory_heap_size", StatKind.Gauge),
        new("memory_physical_size", StatKind.Gauge), new("worker_faults", StatKind.Gauge), new("worker_longest_turn_us", StatKind.Gauge));

    private static readonly StatsSchema s_listeners = new(
        new("total_listeners_active", StatKind.Gauge), new("total_listeners_warming", StatKind.Gauge), new("workers_started", StatKind.Gauge));

    private static readonly StatsSchema s_clusters = new(new("active_clusters", StatKind.Gauge), new("warming_clusters", StatKind.Gauge));

    private static readonly StatsSchema s_config = new(new("reloads"), new("rejected"), new("resources_without_effect", StatKind.Gauge));

    /// <summary>Every scope there is, the server's own brought up to date.</summary>
    internal static IEnumerable<StatsScope> AllScopes(ProxyServer server)
    {
        int writer = server.Stats.ControlWriter;
        var cells = server.Stats.Scope(s_server, "server.").Cells(writer);
        cells.Set(Live, server.State == ServerState.Live ? 1 : 0);
        cells.Set(State, server.State switch { ServerState.Live => 0, ServerState.Draining => 1, ServerState.PreInitializing => 2, _ => 3 });
        cells.Set(Uptime, (server.Loop.NowMs - server.StartMs) / 1000);
        cells.Set(Concurrency, server.Options.Concurrency);
        cells.Set(TotalConnections, server.ConnectionLimit.Active);
        cells.Set(MemoryAllocated, GC.GetTotalMemory(false));
        cells.Set(MemoryHeapSize, GC.GetGCMemoryInfo().HeapSizeBytes);
        cells.Set(MemoryPhysicalSize, Process.ResidentBytes);
        long faults = 0;
        long longestUs = 0;
        foreach (var worker in server.Workers)
        {
            faults += worker.Loop.LoopFaults;
            longestUs = Math.Max(longestUs, worker.Loop.TakeLongestTurnUs());
        }
        cells.Set(WorkerFaults, faults);
        cells.Set(LongestTurnUs, longestUs);

        var listeners = server.Stats.Scope(s_listeners, "listener_manager.").Cells(writer);
        listeners.Set(0, server.Snapshot?.Listeners.Count ?? 0);
        listeners.Set(2, server.State is ServerState.Live or ServerState.Draining ? 1 : 0);
        server.Stats.Scope(s_clusters, "cluster_manager.").Cells(writer).Set(0, server.Snapshot?.Clusters.Count ?? 0);

        var config = server.Stats.Scope(s_config, "sidecar.config.").Cells(writer);
        config.Set(0, server.ConfigReloads);
        config.Set(1, server.ConfigRejections);
        long without = 0;
        foreach (var resource in server.Snapshot?.Resources ?? [])
            without += resource.WithoutEffect.Count;
        config.Set(2, without);

        foreach (var cluster in server.Snapshot?.Clusters ?? [])
            cluster.Breakers.WriteGauges(cluster.Stats.Cells(writer));
        return server.Stats.Scopes;
    }
}
