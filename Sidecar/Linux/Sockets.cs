using System;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Sidecar.Linux;

/// <summary>Which half of a connection shutdown(2) ends.</summary>
internal enum ShutdownHow
{
    Read = 0,
    Write = 1,
    Both = 2,
}

/// <summary>Levels and names of setsockopt(2), as socket(7), ip(7), ipv6(7) and tcp(7) number them.</summary>
internal readonly record struct SocketOption(int Level, int Name)
{
    private const int SolIp = 0;
    private const int SolSocket = 1;
    private const int SolTcp = 6;
    private const int SolIpv6 = 41;

    public static SocketOption ReuseAddress => new(SolSocket, 2);
    public static SocketOption Error => new(SolSocket, 4);
    public static SocketOption SendBuffer => new(SolSocket, 7);
    public static SocketOption ReceiveBuffer => new(SolSocket, 8);
    public static SocketOption KeepAlive => new(SolSocket, 9);
    public static SocketOption Linger => new(SolSocket, 13);
    public static SocketOption ReusePort => new(SolSocket, 15);
    public static SocketOption Mark => new(SolSocket, 36);

    public static SocketOption NoDelay => new(SolTcp, 1);
    public static SocketOption KeepAliveIdle => new(SolTcp, 4);
    public static SocketOption KeepAliveInterval => new(SolTcp, 5);
    public static SocketOption KeepAliveProbes => new(SolTcp, 6);
    public static SocketOption UserTimeout => new(SolTcp, 18);
    public static SocketOption FastOpen => new(SolTcp, 23);
    public static SocketOption NotSentLowAt => new(SolTcp, 25);

    public static SocketOption IpFreeBind => new(SolIp, 15);
    public static SocketOption IpTransparent => new(SolIp, 19);
    public static SocketOption IpBindAddressNoPort => new(SolIp, 24);
    public static SocketOption IpOriginalDestination => new(SolIp, 80);
    public static SocketOption Ipv6Only => new(SolIpv6, 26);
    public static SocketOption Ipv6Transparent => new(SolIpv6, 75);
    public static SocketOption Ipv6FreeBind => new(SolIpv6, 78);
    public static SocketOption Ipv6OriginalDestination => new(SolIpv6, 80);
}

/// <summary>Socket calls. All sockets made here are non-blocking and close-on-exec; sends never raise SIGPIPE.</summary>
internal static unsafe class Sockets
{
    /// <summary>O_CLOEXEC, and with the same number EPOLL_CLOEXEC, EFD_CLOEXEC and SOCK_CLOEXEC.</summary>
    public const int CloseOnExec = 0x80000;

    /// <summary>O_NONBLOCK, and with the same number EFD_NONBLOCK and SOCK_NONBLOCK.</summary>
    public const int NonBlocking = 0x800;

    private const int Stream = 1;
    private const int Datagram = 2;
    private const int NoSignal = 0x4000;
    private const int Peek = 0x2;
    private const int More = 0x8000;

    // struct msghdr of a 64-bit Linux.
    [StructLayout(LayoutKind.Sequential)]
    private struct MessageHeader
    {
        public void* Name;
        public uint NameLength;
        public void* Vectors;
        public nuint VectorCount;
        public void* Control;
        public nuint ControlLength;
        public int Flags;
    }

    /// <summary>A TCP or Unix stream socket.</summary>
    public static SysResult OpenStream(AddressFamily family) => SysResult.Of(Libc.socket((int)family, Stream | NonBlocking | CloseOnExec, 0));

    /// <summary>A UDP socket.</summary>
    public static SysResult OpenDatagram(AddressFamily family) => SysResult.Of(Libc.socket((int)family, Datagram | NonBlocking | CloseOnExec, 0));

    /// <summary>Two Unix stream sockets joined to each other.</summary>
    public static SysResult OpenPair(out int one, out int other)
    {
        int* fds = stackalloc int[2];
        SysResult made = SysResult.Of(Libc.socketpair((int)AddressFamily.Unix, Stream | NonBlocking | CloseOnExec, 0, fds));
        (one, other) = made.Ok ? (fds[0], fds[1]) : (-1, -1);
        return made;
    }

    /// <summary>bind(2).</summary>
    public static SysResult Bind(int fd, SocketAddress address) => SysResult.Of(Libc.bind(fd, address.Pointer, address.Length));

    /// <summary>listen(2).</summary>
    public static SysResult Listen(int fd, int backlog) => SysResult.Of(Libc.listen(fd, backlog));

    /// <summary>accept4(2): the new descriptor, and who called.</summary>
    public static SysResult Accept(int fd, out SocketAddress peer)
    {
        Unsafe.SkipInit(out peer);
        uint length = SocketAddress.Capacity;
        fixed (SocketAddress* p = &peer)
        {
            SysResult accepted = SysResult.Of(Libc.accept4(fd, p, &length, NonBlocking | CloseOnExec));
            p->Length = accepted.Ok ? Math.Min(length, SocketAddress.Capacity) : 0;
            return accepted;
        }
    }

    /// <summary>connect(2); EINPROGRESS is the usual answer.</summary>
    public static SysResult Connect(int fd, SocketAddress address) => SysResult.Of(Libc.connect(fd, address.Pointer, address.Length));

    /// <summary>Our end of a socket.</summary>
    public static SysResult LocalAddress(int fd, out SocketAddress address)
    {
        address = default;
        uint length = SocketAddress.Capacity;
        fixed (SocketAddress* p = &address)
        {
            SysResult got = SysResult.Of(Libc.getsockname(fd, p, &length));
            p->Length = got.Ok ? Math.Min(length, SocketAddress.Capacity) : 0;
            return got;
        }
    }

    /// <summary>The peer's end of a socket.</summary>
    public static SysResult PeerAddress(int fd, out SocketAddress address)
    {
        address = default;
        uint length = SocketAddress.Capacity;
        fixed (SocketAddress* p = &address)
        {
            SysResult got = SysResult.Of(Libc.getpeername(fd, p, &length));
            p->Length = got.Ok ? Math.Min(length, SocketAddress.Capacity) : 0;
            return got;
        }
    }

    /// <summary>recv(2) into <paramref name="into"/>; 0 is the peer's end of stream.</summary>
    public static SysResult Receive(int fd, Span<byte> into)
    {
        fixed (byte* p = into)
            return SysResult.Of(Libc.recv(fd, p, (nuint)into.Length, 0));
    }

    /// <summary>recv(2) without taking the bytes.</summary>
    public static SysResult ReceivePeek(int fd, Span<byte> into)
    {
        fixed (byte* p = into)
            return SysResult.Of(Libc.recv(fd, p, (nuint)into.Length, Peek));
    }

    /// <summary>send(2); <paramref name="more"/> tells TCP that more follows at once.</summary>
    public static SysResult Send(int fd, ReadOnlySpan<byte> bytes, bool more = false)
    {
        fixed (byte* p = bytes)
            return SysResult.Of(Libc.send(fd, p, (nuint)bytes.Length, more ? NoSignal | More : NoSignal));
    }

    /// <summary>sendmsg(2) of <paramref name="count"/> struct iovec at <paramref name="vectors"/>; <paramref name="more"/> tells TCP that more follows at once.</summary>
    public static SysResult SendVectors(int fd, void* vectors, int count, bool more = false)
    {
        MessageHeader message = default;
        message.Vectors = vectors;
        message.VectorCount = (nuint)count;
        return SysResult.Of(Libc.sendmsg(fd, &message, more ? NoSignal | More : NoSignal));
    }

    /// <summary>sendto(2), for datagrams.</summary>
    public static SysResult SendTo(int fd, ReadOnlySpan<byte> bytes, SocketAddress to)
    {
        fixed (byte* p = bytes)
            return SysResult.Of(Libc.sendto(fd, p, (nuint)bytes.Length, NoSignal, to.Pointer, to.Length));
    }

    /// <summary>recvfrom(2), for datagrams.</summary>
    public static SysResult ReceiveFrom(int fd, Span<byte> into, out SocketAddress from)
    {
        from = default;
        uint length = SocketAddress.Capacity;
        fixed (byte* p = into)
        fixed (SocketAddress* a = &from)
        {
            SysResult got = SysResult.Of(Libc.recvfrom(fd, p, (nuint)into.Length, 0, a, &length));
            a->Length = got.Ok ? Math.Min(length, SocketAddress.Capacity) : 0;
            return got;
        }
    }

    /// <summary>shutdown(2).</summary>
    public static SysResult Shutdown(int fd, ShutdownHow how) => SysResult.Of(Libc.shutdown(fd, (int)how));

    /// <summary>Another descriptor for the same socket (close-on-exec).</summary>
    public static SysResult Duplicate(int fd) => SysResult.Of(Libc.fcntl(fd, 1030, 0));

    /// <summary>close(2). On Linux the descriptor is gone whatever the answer.</summary>
    public static void Close(int fd) => Libc.close(fd);

    /// <summary>Sets an integer option.</summary>
    public static SysResult Set(int fd, SocketOption option, int value) =>
        SysResult.Of(Libc.setsockopt(fd, option.Level, option.Name, &value, sizeof(int)));

    /// <summary>Reads an integer option.</summary>
    public static SysResult Get(int fd, SocketOption option)
    {
        int value = 0;
        uint length = sizeof(int);
        SysResult got = SysResult.Of(Libc.getsockopt(fd, option.Level, option.Name, &value, &length));
        return got.Ok ? SysResult.Success(value) : got;
    }

    /// <summary>Takes the pending error of a socket (SO_ERROR), e.g. how a connect ended.</summary>
    public static Errno TakeError(int fd)
    {
        SysResult got = Get(fd, SocketOption.Error);
        return got.Ok ? (Errno)(int)got.Value : got.Error;
    }

    /// <summary>close(2) will send a RST instead of a FIN and drop what was not sent.</summary>
    public static SysResult SetLingerReset(int fd)
    {
        ulong onAndZeroSeconds = 1; // struct linger { int l_onoff = 1; int l_linger = 0; }
        return SysResult.Of(Libc.setsockopt(fd, SocketOption.Linger.Level, SocketOption.Linger.Name, &onAndZeroSeconds, sizeof(ulong)));
    }

    /// <summary>
    /// Where a connection was going before netfilter's REDIRECT, by SO_ORIGINAL_DST (IPv4) or IP6T_SO_ORIGINAL_DST (IPv6).
    /// ENOENT when connection tracking knows nothing, ENOPROTOOPT where the modules are missing.
    /// </summary>
    public static SysResult OriginalDestination(int fd, AddressFamily family, out SocketAddress address)
    {
        address = default;
        SocketOption option = family == AddressFamily.IPv6 ? SocketOption.Ipv6OriginalDestination : SocketOption.IpOriginalDestination;
        uint length = family == AddressFamily.IPv6 ? 28u : 16u;
        fixed (SocketAddress* p = &address)
        {
            SysResult got = SysResult.Of(Libc.getsockopt(fd, option.Level, option.Name, p, &length));
            p->Length = got.Ok ? length : 0;
            return got;
        }
    }
}
