using System;
using System.Collections.Generic;
using Sidecar.Linux;

namespace Sidecar.Capture;

/// <summary>
/// Finds out whether the kernel redirects: connects from loopback to 127.0.0.6 (::6), where nobody listens, and waits for the
/// connection to arrive at a listener of ours with that port as its original destination. Blocks the calling thread.
/// </summary>
internal static class RedirectProbe
{
    // A refused connection says the rules are not there yet, and they may come (a CNI plugin); asking once a second fills no table.
    private const int RetryMs = 1000;

    private const int Backlog = 16;

    /// <summary>How a probe ended.</summary>
    internal enum Outcome : byte { Redirected, NoListener, TimedOut }

    /// <summary>Listens on loopback at <paramref name="listenPorts"/> (those that can be bound), connects to <paramref name="probePort"/>, and waits.</summary>
    public static Outcome Run(bool ipv6, ReadOnlySpan<ushort> listenPorts, ushort probePort, int timeoutMs)
    {
        if (!Epoll.Create(Backlog, out Epoll? epoll).Ok || epoll is null)
            return Outcome.NoListener;
        var listeners = new List<int>(listenPorts.Length);
        int client = -1;
        try
        {
            foreach (ushort port in listenPorts)
            {
                int listener = Listen(ipv6, port);
                if (listener >= 0 && epoll.Add(listener, EpollEvents.In, (ulong)listener).Ok)
                    listeners.Add(listener);
            }
            if (listeners.Count == 0)
                return Outcome.NoListener;

            long endMs = NowMs() + timeoutMs;
            long retryMs = NowMs();
            for (long nowMs = NowMs(); nowMs < endMs; nowMs = NowMs())
            {
                if (nowMs >= retryMs)
                {
                    Close(client);
                    client = StartConnect(ipv6, probePort);
                    retryMs = nowMs + RetryMs;
                }
                SysResult ready = epoll.Wait((int)Math.Max(1, Math.Min(retryMs, endMs) - nowMs));
                for (int i = 0; ready.Ok && i < ready.Value; i++)
                {
                    if (AcceptedPort((int)epoll.Token(i), ipv6) == probePort)
                        return Outcome.Redirected;
                }
            }
            return Outcome.TimedOut;
        }
        finally
        {
            Close(client);
            foreach (int listener in listeners)
                Close(listener);
            epoll.Dispose();
        }
    }

    private static long NowMs() => SystemTime.MonotonicNs / 1_000_000;

    private static int Listen(bool ipv6, ushort port)
    {
        SysResult opened = Sockets.OpenStream(ipv6 ? AddressFamily.IPv6 : AddressFamily.IPv4);
        if (!opened.Ok)
            return -1;
        Sockets.Set(opened.Fd, SocketOption.ReuseAddress, 1);
        Sockets.Set(opened.Fd, SocketOption.ReusePort, 1);
        if (Sockets.Bind(opened.Fd, Loopback(ipv6, 1, port)).Ok && Sockets.Listen(opened.Fd, Backlog).Ok)
            return opened.Fd;
        Close(opened.Fd);
        return -1;
    }

    private static int StartConnect(bool ipv6, ushort port)
    {
        SysResult opened = Sockets.OpenStream(ipv6 ? AddressFamily.IPv6 : AddressFamily.IPv4);
        if (!opened.Ok)
            return -1;
        Sockets.Bind(opened.Fd, Loopback(ipv6, 1, 0));
        Sockets.Connect(opened.Fd, Loopback(ipv6, 6, port));       // refused or under way: the listener is what tells
        return opened.Fd;
    }

    // The port the accepted connection was made to, 0 when there is none to be had.
    private static int AcceptedPort(int listener, bool ipv6)
    {
        SysResult accepted = Sockets.Accept(listener, out _);
        if (!accepted.Ok)
            return 0;
        SysResult asked = Sockets.OriginalDestination(accepted.Fd, ipv6 ? AddressFamily.IPv6 : AddressFamily.IPv4, out SocketAddress original);
        Close(accepted.Fd);
        return asked.Ok ? original.Port : 0;
    }

    // 127.0.0.LAST or ::LAST.
    private static SocketAddress Loopback(bool ipv6, byte last, ushort port) =>
        SocketAddress.Ip(ipv6 ? [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last] : [127, 0, 0, last], port);

    private static void Close(int fd)
    {
        if (fd >= 0)
            Sockets.Close(fd);
    }
}
