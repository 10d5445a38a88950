using System;
using Sidecar.Net;

namespace Sidecar.Filters.Listener;

using Wire = global::Envoy.Extensions.Filters.Listener.OriginalSrc.V3;

/// <summary>
/// Lets everything that this connection causes upstream come from the caller's own address: an application captured by TPROXY then sees who calls
/// it. Envoy: envoy.filters.listener.original_src.
/// </summary>
/// <remarks>Shared immutable.</remarks>
internal sealed class OriginalSrcFilter(int mark) : ListenerFilter
{
    internal override string Needs => "CAP_NET_ADMIN, to connect from the addresses of others (IP_TRANSPARENT" + (mark == 0 ? ")" : ", SO_MARK)");

    internal override ListenerFilterStatus Inspect(AcceptedConnection connection, ReadOnlySpan<byte> data)
    {
        // A Unix socket has no address to come from; such a connection goes on as if the filter were not there.
        // Without its port: the kernel chooses one. In one network namespace with the application, the caller's would make the new connection
        // the mirror of the one it stands for, and the two are then one to the kernel.
        if (connection.Source.IsIp)
            connection.Connection.OriginalSource = new OriginalSource(connection.Source.WithPort(0), mark);
        return ListenerFilterStatus.Continue;
    }

    // ---- configuration ------------------------------------------------------------------------------------------

    internal static ListenerFilter? Create(Wire.OriginalSrc wire, bool transparent, ConfigScope scope)
    {
        if (wire.BindPort)
            scope.Ignore("bind_port", "the port is chosen by the kernel, as in Envoy");
        return new OriginalSrcFilter((int)wire.Mark);
    }
}
