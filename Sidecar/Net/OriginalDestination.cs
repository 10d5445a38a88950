using Sidecar.Linux;

namespace Sidecar.Net;

/// <summary>Where a connection was going before traffic capture brought it here.</summary>
internal static class OriginalDestination
{
    /// <summary>
    /// By REDIRECT: netfilter remembers the destination it replaced. By TPROXY: nothing was replaced, the local address is
    /// the destination (<paramref name="transparent"/>). False when there was no capture: the connection came to us.
    /// </summary>
    internal static bool TryGet(Connection connection, bool transparent, out Address destination)
    {
        Address local = connection.LocalAddress;
        if (transparent)
        {
            destination = local;
            return local.IsIp;
        }
        destination = default;
        if (!local.IsIp || !Sockets.OriginalDestination(connection.Fd, local.Family, out SocketAddress address).Ok)
            return false;
        destination = Address.From(address);
        return true;
    }
}
