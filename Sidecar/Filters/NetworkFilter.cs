using Sidecar.Net;
using Sidecar.Telemetry;

namespace Sidecar.Filters;

/// <summary>
/// A network extension before the terminal one: it is asked before anything a connection receives goes on. One object per connection slot, worker-owned, used
/// again after <see cref="Reset"/>.
/// </summary>
internal abstract class NetworkFilter
{
    /// <summary>What the filters of this connection have found out; set once, when the chain it belongs to is built.</summary>
    internal DynamicMetadata Metadata = null!;

    /// <summary>It need not be asked again about this connection.</summary>
    internal abstract bool IsDone { get; }

    /// <summary>More has been received, or the end. <see cref="FilterStatus.Stop"/>: nothing goes on; the connection was closed, or is paused and will be.</summary>
    internal abstract FilterStatus OnReceived(Connection connection);

    /// <summary>Timers cancelled, references dropped: ready for the next connection.</summary>
    internal abstract void Reset();
}

/// <summary>Makes one network filter for a connection slot of one worker.</summary>
internal delegate NetworkFilter NetworkFilterFactory(WorkerScope worker);
