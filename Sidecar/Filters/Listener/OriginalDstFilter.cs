using System;
using Sidecar.Net;

namespace Sidecar.Filters.Listener;

using Wire = global::Envoy.Extensions.Filters.Listener.OriginalDst.V3;

/// <summary>
/// Restores the destination that traffic capture replaced: chains are then matched by it, and ORIGINAL_DST clusters connect to it.
/// Envoy: envoy.filters.listener.original_dst.
/// </summary>
/// <remarks>Shared immutable.</remarks>
internal sealed class OriginalDstFilter(bool transparent) : ListenerFilter
{
    internal override ListenerFilterStatus Inspect(AcceptedConnection connection, ReadOnlySpan<byte> data)
    {
        Restore(connection, transparent);
        return ListenerFilterStatus.Continue;
    }

    /// <summary>As the filter, for listeners with <c>use_original_dst</c>, which restore without one.</summary>
    internal static void Restore(AcceptedConnection connection, bool transparent)
    {
        if (connection.IsDestinationRestored || !OriginalDestination.TryGet(connection.Connection, transparent, out var destination))
            return;
        // A connection made to the listener itself has nothing to restore.
        if (!transparent && destination == connection.Destination)
            return;
        connection.Destination = destination;
        connection.IsDestinationRestored = true;
        connection.Connection.OriginalDestination = destination;
    }

    // ---- configuration ------------------------------------------------------------------------------------------

    internal static ListenerFilter? Create(Wire.OriginalDst wire, bool transparent, ConfigScope scope) => new OriginalDstFilter(transparent);
}
