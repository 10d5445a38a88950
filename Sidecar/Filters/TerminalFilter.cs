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
}

/// <summary>What a listener knows about an accepted connection besides its addresses; shared by the connections of one chain.</summary>
/// <param name="listenerName">The listener that chose the chain (after a use_original_dst hand-over, the second one).</param>
/// <param name="filterChainName">Name of the chosen chain; may be empty.</param>
/// <param name="listenerStats">The listener's stats, by <see cref="Filters.ListenerStats"/>.</param>
/// <remarks>Shared immutable.</remarks>
internal sealed class ConnectionContext(string listenerName, string filterChainName, StatsScope listenerStats, bool drainsUnhealthy = true)
{
    internal string ListenerName => listenerName;
    internal string FilterChainName => filterChainName;

    /// <summary>Whether connections drain while health checks are failed by /healthcheck/fail (drain_type DEFAULT), or only with their chain (MODIFY_ONLY).</summary>
    internal bool DrainsUnhealthy => drainsUnhealthy;

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
