using System;
using System.Collections.Generic;
using Sidecar.Linux;
using Sidecar.Telemetry.Stats;
using Sidecar.Tls;
using Sidecar.Upstream;
using Sidecar.Wire;

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
    private const int DaysUntilFirstCertExpiring = 10;
    private const int SecondsUntilFirstOcspExpiring = 11;

    private static readonly StatsSchema s_server = new(
        new("live", StatKind.Gauge), new("state", StatKind.Gauge), new("uptime", StatKind.Gauge), new("concurrency", StatKind.Gauge),
        new("total_connections", StatKind.Gauge), new("memory_allocated", StatKind.Gauge), new("memory_heap_size", StatKind.Gauge),
        new("memory_physical_size", StatKind.Gauge), new("worker_faults", StatKind.Gauge), new("worker_longest_turn_us", StatKind.Gauge),
        new("days_until_first_cert_expiring", StatKind.Gauge), new("seconds_until_first_ocsp_response_expiring", StatKind.Gauge));

    // In the order of ListenerValues and ClusterValues.
    private static readonly StatsSchema s_listeners = new(
        new("listener_added"), new("listener_modified"), new("listener_removed"), new("listener_stopped"), new("listener_create_success"),
        new("listener_create_failure"), new("listener_in_place_updated"), new("total_filter_chains_draining", StatKind.Gauge),
        new("total_listeners_active", StatKind.Gauge), new("total_listeners_warming", StatKind.Gauge), new("total_listeners_draining", StatKind.Gauge),
        new("workers_started", StatKind.Gauge));

    private static readonly StatsSchema s_clusters = new(
        new("cluster_added"), new("cluster_modified"), new("cluster_removed"), new("cluster_updated"), new("cluster_updated_via_merge"),
        new("update_merge_cancelled"), new("update_out_of_merge_window"), new("active_clusters", StatKind.Gauge), new("warming_clusters", StatKind.Gauge));

    private static readonly StatsSchema s_config = new(new("reloads"), new("rejected"), new("pushes"), new("resources_without_effect", StatKind.Gauge));

    /// <summary>Brings the server's own stats up to date.</summary>
    /// <returns>The gauges of the clusters, which may be ten thousand: the caller brings them up to date as fast as it likes.</returns>
    internal static ClusterGauges Refresh(ProxyServer server)
    {
        var clusters = server.Snapshot.ClustersInUse;
        int writer = server.Stats.ControlWriter;
        var cells = server.Stats.Scope(s_server, "server.").Cells(writer);
        cells.Set(Live, server.State == ServerState.Live ? 1 : 0);
        cells.Set(State, server.State switch { ServerState.Live => 0, ServerState.Draining => 1, ServerState.PreInitializing => 2, _ => 3 });
        cells.Set(Uptime, (server.Loop.NowMs - server.StartMs) / 1000);
        cells.Set(Concurrency, server.Options.Concurrency);
        cells.Set(TotalConnections, server.ConnectionLimit.Active);
        cells.Set(MemoryAllocated, GC.GetTotalMemory(false));
        cells.Set(MemoryHeapSize, Math.Max(GC.GetGCMemoryInfo(GCKind.Any).TotalCommittedBytes, GC.GetTotalMemory(false)));
        cells.Set(MemoryPhysicalSize, Process.ResidentBytes);
        server.Overload.SumUp();
        long faults = 0;
        long longestUs = 0;
        foreach (var worker in server.Workers)
        {
            faults += worker.Loop.LoopFaults;
            longestUs = Math.Max(longestUs, worker.Loop.TakeLongestTurnUs());
        }
        cells.Set(WorkerFaults, faults);
        cells.Set(LongestTurnUs, longestUs);
        var (days, seconds) = TlsExpiry.First(server.TlsContexts, server.Loop.UnixMs / 1000);
        cells.Set(DaysUntilFirstCertExpiring, days);
        cells.Set(SecondsUntilFirstOcspExpiring, seconds);

        Write(server.Stats.Scope(s_listeners, "listener_manager.").Cells(writer), ListenerValues(server));
        Write(server.Stats.Scope(s_clusters, "cluster_manager.").Cells(writer), ClusterValues(server, clusters.Count));

        var config = server.Stats.Scope(s_config, "sidecar.config.").Cells(writer);
        config.Set(0, server.ConfigReloads);
        config.Set(1, server.Config.Rejections);
        config.Set(2, server.Config.Journal.Count);
        config.Set(3, server.Snapshot.CountWithoutEffect());

        return new ClusterGauges(clusters, writer);
    }

    /// <summary>The circuit breakers' gauges of the clusters that were in use when it was made.</summary>
    internal sealed class ClusterGauges(IReadOnlyList<ClusterConfig> clusters, int writer)
    {
        private int _next;

        /// <summary>Brings one cluster up to date.</summary>
        /// <returns>1, or 0 when all are.</returns>
        internal int Advance()
        {
            if (_next == clusters.Count)
                return 0;
            var cluster = clusters[_next++];
            cluster.Breakers.WriteGauges(cluster.Stats.Cells(writer));
            return 1;
        }
    }

    private static long[] ListenerValues(ProxyServer server)
    {
        var counts = server.Config.Warming.Counts;
        return
        [
            counts.ListenerAdded, counts.ListenerModified, counts.ListenerRemoved, counts.ListenerStopped, counts.ListenerCreateSuccess,
            counts.ListenerCreateFailure, counts.ListenerInPlaceUpdated, counts.ChainsDraining,
            server.Snapshot.ListenersInUse.Count, server.Config.Warming.WarmingCount(ResourceTypes.Listener), counts.ListenersDraining,
            server.State is ServerState.Live or ServerState.Draining ? 1 : 0,
        ];
    }

    // Nothing is merged: an update is given to the workers as it comes.
    private static long[] ClusterValues(ProxyServer server, int active)
    {
        var counts = server.Config.Warming.Counts;
        return
        [
            counts.ClusterAdded, counts.ClusterModified, counts.ClusterRemoved, counts.ClusterUpdated, 0, 0, 0,
            active, server.Config.Warming.WarmingCount(ResourceTypes.Cluster),
        ];
    }

    private static void Write(StatsCells cells, long[] values)
    {
        for (int i = 0; i < values.Length; i++)
            cells.Set(i, values[i]);
    }
}
