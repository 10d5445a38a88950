using System.Net;
using Sidecar.Linux;

namespace Sidecar.Capture;

/// <summary>
/// What capture needs of routing besides rules. IPv6: ::6 on lo, the address inbound connections to the application come from (IPv4
/// needs none, all of 127/8 is on lo). TPROXY: marked packets take a table whose only route is "everything is local".
/// What is there already is left; what is absent is not missed on the way out.
/// </summary>
internal static class LoopbackRoutes
{
    /// <summary>::6.</summary>
    public static readonly IPAddress InboundSourceV6 = new([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6]);

    private const int ENOENT = 2;
    private const int ESRCH = 3;
    private const int EEXIST = 17;
    private const int EAFNOSUPPORT = 97;
    private const int EADDRNOTAVAIL = 99;

    /// <summary>Adds what the configuration needs. Null, or one line saying what failed.</summary>
    public static string? Add(CaptureConfig config)
    {
        if (config.EnableIPv6)
        {
            int errno = RouteNetlink.ChangeLoopbackAddress(InboundSourceV6, add: true);
            if (errno is not (0 or EEXIST))
                return $"cannot add ::6 to lo (errno {errno}); IPv6 must be on for lo: sysctl net.ipv6.conf.lo.disable_ipv6=0";
        }
        if (!config.NeedsTproxyRoutes)
            return null;
        foreach (bool ipv6 in (bool[])[false, true])
        {
            if (ipv6 && !config.EnableIPv6)
                continue;
            int errno = RouteNetlink.ChangeMarkRule(ipv6, config.TproxyMark, config.TproxyRouteTable, add: true);
            if (errno is not (0 or EEXIST))
                return $"cannot add the routing rule fwmark {config.TproxyMark} lookup {config.TproxyRouteTable} (errno {errno}); the kernel needs IP_MULTIPLE_TABLES";
            errno = RouteNetlink.ChangeLocalDefaultRoute(ipv6, config.TproxyRouteTable, add: true);
            if (errno is not (0 or EEXIST))
                return $"cannot add the route local default dev lo table {config.TproxyRouteTable} (errno {errno}); lo must be up: ip link set lo up";
        }
        return null;
    }

    /// <summary>Removes all of it, for both IP versions, whatever was added. Null, or one line saying what failed.</summary>
    public static string? Remove(CaptureConfig config)
    {
        int errno = RouteNetlink.ChangeLoopbackAddress(InboundSourceV6, add: false);
        if (!IsGone(errno))
            return $"cannot remove ::6 from lo (errno {errno})";
        foreach (bool ipv6 in (bool[])[false, true])
        {
            errno = RouteNetlink.ChangeMarkRule(ipv6, config.TproxyMark, config.TproxyRouteTable, add: false);
            if (!IsGone(errno))
                return $"cannot remove the routing rule fwmark {config.TproxyMark} lookup {config.TproxyRouteTable} (errno {errno})";
            errno = RouteNetlink.ChangeLocalDefaultRoute(ipv6, config.TproxyRouteTable, add: false);
            if (!IsGone(errno))
                return $"cannot remove the route local default dev lo table {config.TproxyRouteTable} (errno {errno})";
        }
        return null;
    }

    private static bool IsGone(int errno) => errno is 0 or ENOENT or ESRCH or EAFNOSUPPORT or EADDRNOTAVAIL;
}
