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

    private const Errno ESRCH = (Errno)3;
    private const int MarkRulesMax = 16;

    /// <summary>Adds what the configuration needs. Null, or one line saying what failed.</summary>
    public static string? Add(CaptureConfig config)
    {
        if (config.EnableIPv6)
        {
            Errno error = RouteNetlink.ChangeLoopbackAddress(InboundSourceV6, add: true);
            if (error is not (Errno.None or Errno.EEXIST))
                return $"cannot add ::6 to lo ({error.Describe()}); IPv6 must be on for lo: sysctl net.ipv6.conf.lo.disable_ipv6=0";
        }
        if (!config.NeedsTproxyRoutes)
            return null;
        foreach (bool ipv6 in (bool[])[false, true])
        {
            if (ipv6 && !config.EnableIPv6)
                continue;
            Errno error = RouteNetlink.HasMarkRule(ipv6, config.TproxyMark, config.TproxyRouteTable, out bool found);
            if (error == Errno.None && !found)
                error = RouteNetlink.ChangeMarkRule(ipv6, config.TproxyMark, config.TproxyRouteTable, add: true);
            if (error is not (Errno.None or Errno.EEXIST))
                return $"cannot add the routing rule fwmark {config.TproxyMark} lookup {config.TproxyRouteTable} ({error.Describe()}); the kernel needs IP_MULTIPLE_TABLES";
            error = RouteNetlink.ChangeLocalDefaultRoute(ipv6, config.TproxyRouteTable, add: true);
            if (error is not (Errno.None or Errno.EEXIST))
                return $"cannot add the route local default dev lo table {config.TproxyRouteTable} ({error.Describe()}); lo must be up: ip link set lo up";
        }
        return null;
    }

    /// <summary>Removes all of it, for both IP versions, whatever was added. Null, or one line saying what failed.</summary>
    public static string? Remove(CaptureConfig config)
    {
        Errno error = RouteNetlink.ChangeLoopbackAddress(InboundSourceV6, add: false);
        if (!IsGone(error))
            return $"cannot remove ::6 from lo ({error.Describe()})";
        foreach (bool ipv6 in (bool[])[false, true])
        {
            error = Errno.None;
            // An older tool run twice left two.
            for (int i = 0; i < MarkRulesMax && error == Errno.None; i++)
                error = RouteNetlink.ChangeMarkRule(ipv6, config.TproxyMark, config.TproxyRouteTable, add: false);
            if (!IsGone(error))
                return $"cannot remove the routing rule fwmark {config.TproxyMark} lookup {config.TproxyRouteTable} ({error.Describe()})";
            error = RouteNetlink.ChangeLocalDefaultRoute(ipv6, config.TproxyRouteTable, add: false);
            if (!IsGone(error))
                return $"cannot remove the route local default dev lo table {config.TproxyRouteTable} ({error.Describe()})";
        }
        return null;
    }

    private static bool IsGone(Errno error) => error is Errno.None or Errno.ENOENT or ESRCH or Errno.EAFNOSUPPORT or Errno.EADDRNOTAVAIL;
}
