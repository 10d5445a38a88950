using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.Runtime.InteropServices;

namespace Sidecar.Linux;

/// <summary>
/// Finds out whether the kernel redirects: connects from loopback to an address nobody listens on and waits for the connection to
/// arrive at one of our own listeners with that port as its original destination. Blocks the calling thread.
/// </summary>
internal static unsafe partial class RedirectProbe
{
    // A refused connection says the rules are not there yet, and they may come (a CNI plugin); asking once a second fills no table.
    private const int RetryMs = 1000;

    /// <summary>How a probe ended.</summary>
    internal enum Outcome : byte { Redirected, NoListener, TimedOut }

    /// <summary>
    /// Listens on the loopback address at <paramref name="listenPorts"/> (those that can be bound), connects to 127.0.0.6 or ::6 at
    /// <paramref name="probePort"/>, and waits.
    /// </summary>
    public static Outcome Run(bool ipv6, ReadOnlySpan<ushort> listenPorts, ushort probePort, int timeoutMs)
    {
        byte* address = stackalloc byte[SocketAddressLength];
        var listeners = new List<int>(listenPorts.Length);
        int client = -1;
        try
        {
            foreach (ushort port in listenPorts)
            {
                int fd = Listen(ipv6, port, address);
                if (fd >= 0)
                    listeners.Add(fd);
            }
            if (listeners.Count == 0)
                return Outcome.NoListener;

            PollFd* polled = stackalloc PollFd[listeners.Count];
            long start = Environment.TickCount64;
            long retryAt = start;
            while (true)
            {
                long now = Environment.TickCount64;
                if (now - start >= timeoutMs)
                    return Outcome.TimedOut;
                if (now >= retryAt)
                {
                    CloseFd(client);
                    client = StartConnect(ipv6, probePort, address);
                    retryAt = now + RetryMs;
                }
                for (int i = 0; i < listeners.Count; i++)
                    polled[i] = new PollFd { Fd = listeners[i], Events = POLLIN };
                int ready = Poll(polled, (nuint)listeners.Count, (int)Math.Min(retryAt - now, timeoutMs - (now - start)));
                for (int i = 0; ready > 0 && i < listeners.Count; i++)
                {
                    if (polled[i].Returned != 0 && AcceptedPort(listeners[i], ipv6, address) == probePort)
                        return Outcome.Redirected;
                }
            }
        }
        finally
        {
            CloseFd(client);
            foreach (int fd in listeners)
                CloseFd(fd);
        }
    }

    private static int Listen(bool ipv6, ushort port, byte* address)
    {
        int fd = OpenSocket(ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
            return -1;
        int one = 1;
        SetSocketOption(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(int));
        SetSocketOption(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(int));
        int length = LoopbackAddress(ipv6, 1, port, address);
        if (Bind(fd, address, length) == 0 && ListenOn(fd, 16) == 0)
            return fd;
        CloseFd(fd);
        return -1;
    }

    private static int StartConnect(bool ipv6, ushort port, byte* address)
    {
        int fd = OpenSocket(ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
            return -1;
        Bind(fd, address, LoopbackAddress(ipv6, 1, 0, address));
        Connect(fd, address, LoopbackAddress(ipv6, 6, port, address));      // refused or under way: the listener is what tells
        return fd;
    }

    // The port the accepted connection was made to, 0 when there is none to be had.
    private static int AcceptedPort(int listener, bool ipv6, byte* address)
    {
        int fd = Accept(listener, null, null, SOCK_CLOEXEC);
        if (fd < 0)
            return 0;
        int length = SocketAddressLength;
        int result = GetSocketOption(fd, ipv6 ? IPPROTO_IPV6 : IPPROTO_IP, SO_ORIGINAL_DST, address, &length);
        CloseFd(fd);
        return result == 0 && length >= 4 ? BinaryPrimitives.ReadUInt16BigEndian(new ReadOnlySpan<byte>(address + 2, 2)) : 0;
    }

    // struct sockaddr_in of 127.0.0.LAST or sockaddr_in6 of ::LAST; answers its length.
    private static int LoopbackAddress(bool ipv6, byte last, ushort port, byte* address)
    {
        var bytes = new Span<byte>(address, SocketAddressLength);
        bytes.Clear();
        MemoryMarshal.Write(bytes, (ushort)(ipv6 ? AF_INET6 : AF_INET));
        BinaryPrimitives.WriteUInt16BigEndian(bytes[2..], port);
        if (ipv6)
        {
            bytes[23] = last;
            return 28;
        }
        bytes[4] = 127;
        bytes[7] = last;
        return 16;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct PollFd
    {
        public int Fd;
        public short Events;
        public short Returned;
    }

    private const int SocketAddressLength = 28;
    private const int AF_INET = 2;
    private const int AF_INET6 = 10;
    private const int SOCK_STREAM = 1;
    private const int SOCK_NONBLOCK = 0x800;
    private const int SOCK_CLOEXEC = 0x80000;
    private const int SOL_SOCKET = 1;
    private const int SO_REUSEADDR = 2;
    private const int SO_REUSEPORT = 15;
    private const int IPPROTO_IP = 0;
    private const int IPPROTO_IPV6 = 41;
    private const int SO_ORIGINAL_DST = 80;       // IP6T_SO_ORIGINAL_DST has the same number
    private const short POLLIN = 1;

    [LibraryImport("libc", EntryPoint = "socket")]
    private static partial int OpenSocket(int family, int type, int protocol);

    [LibraryImport("libc", EntryPoint = "close")]
    private static partial int CloseFd(int fd);

    [LibraryImport("libc", EntryPoint = "bind")]
    private static partial int Bind(int fd, byte* address, int length);

    [LibraryImport("libc", EntryPoint = "listen")]
    private static partial int ListenOn(int fd, int backlog);

    [LibraryImport("libc", EntryPoint = "connect")]
    private static partial int Connect(int fd, byte* address, int length);

    [LibraryImport("libc", EntryPoint = "accept4")]
    private static partial int Accept(int fd, byte* address, int* length, int flags);

    [LibraryImport("libc", EntryPoint = "setsockopt")]
    private static partial int SetSocketOption(int fd, int level, int name, int* value, int length);

    [LibraryImport("libc", EntryPoint = "getsockopt")]
    private static partial int GetSocketOption(int fd, int level, int name, byte* value, int* length);

    [LibraryImport("libc", EntryPoint = "poll")]
    private static partial int Poll(PollFd* fds, nuint count, int timeoutMs);
}
