using System.Collections.Generic;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Telemetry.Stats;

namespace Sidecar.Filters;

/// <summary>
/// The last network filter of a filter chain on one worker: takes over connections for good (tcp_proxy, the HTTP connection manager). One
/// object per worker and chain; it gives every connection a pooled handler of its own.
/// </summary>
internal abstract class TerminalFilter
{
    /// <summary>Connections it has.</summary>
    internal abstract int ActiveConnections { get; }

    /// <summary>Takes over a connection by setting its Handler; bytes already received are presented to that handler.</summary>
    internal abstract void OnConnection(Connection connection, ConnectionContext context);

    /// <summary>The chain or the process is going: no new work on its connections, each closes after what it is doing.</summary>
    internal abstract void StartDrain();

    /// <summary>The drain time is over: closes what is left.</summary>
    internal abstract void CloseAll(Failure reason);

    /// <summary>Memory is short: names its connections that hold at least <paramref name="bytesMin"/>.</summary>
    internal virtual void AddHolders(List<MemoryHolder> holders, long bytesMin) { }
}

/// <summary>A connection, by what could be had by ending what goes on on it.</summary>
internal readonly record struct MemoryHolder(long Bytes, IMemoryReleaser Connection);

/// <summary>A connection that can end what it does to free memory.</summary>
internal interface IMemoryReleaser
{
    /// <summary>Resets streams that hold at least <paramref name="bytesMin"/> until <paramref name="bytesWanted"/> are free or <paramref name="streamsMax"/> have gone.</summary>
    /// <returns>Streams reset and bytes freed.</returns>
    (int Streams, long Bytes) Release(long bytesWanted, long bytesMin, int streamsMax);
}

/// <summary>What a listener knows about an accepted connection besides its addresses; shared by the connections of one chain.</summary>
/// <param name="listenerName">The listener that chose the chain (after a use_original_dst hand-over, the second one).</param>
/// <param name="filterChainName">Name of the chosen chain; may be empty.</param>
/// <param name="listenerStats">The listener's stats, by <see cref="Filters.ListenerStats"/>.</param>
/// <param name="drainsUnhealthy">See <see cref="DrainsUnhealthy"/>.</param>
/// <param name="bypassesOverload">See <see cref="BypassesOverload"/>.</param>
/// <remarks>Shared immutable.</remarks>
internal sealed class ConnectionContext(
    string listenerName, string filterChainName, StatsScope listenerStats, bool drainsUnhealthy = true, bool bypassesOverload = false)
{
    internal string ListenerName => listenerName;
    internal string FilterChainName => filterChainName;

    /// <summary>Whether connections drain while health checks are failed by /healthcheck/fail (drain_type DEFAULT), or only with their chain (MODIFY_ONLY).</summary>
    internal bool DrainsUnhealthy => drainsUnhealthy;

    /// <summary>The listener's bypass_overload_manager: its requests are served, however short memory is.</summary>
    internal bool BypassesOverload => bypassesOverload;

    /// <summary>To be called once by the terminal filter when a connection it was given is closed.</summary>
    internal void CountClosed(int worker)
    {
        var cells = listenerStats.Cells(worker);
        cells.Inc(ListenerStats.CxDestroy);
        cells.Dec(ListenerStats.CxActive);
    }
}

/// <summary>Makes the terminal filter of a chain for one worker.</summary>
internal delegate TerminalFilter TerminalFilterFactory(WorkerScope worker);

/// <summary>Makes one HTTP filter for a stream slot of one worker.</summary>
internal delegate HttpFilter HttpFilterFactory(WorkerScope worker);
