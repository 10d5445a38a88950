using System.Diagnostics;
using Sidecar.Linux;
using Sidecar.Loop;

namespace Sidecar.Net;

/// <summary>How to make a listening socket. Immutable; built on the control loop.</summary>
internal sealed record ListenOptions
{
    internal Address Address { get; init; }

    /// <summary>One socket per worker on the same address; the kernel spreads connections over them.</summary>
    internal bool ReusePort { get; init; } = true;

    /// <summary>Connections the kernel keeps for us to accept (tcp_backlog_size).</summary>
    internal int Backlog { get; init; } = 128;

    /// <summary>Accept what TPROXY delivers, for any destination address. Needs CAP_NET_ADMIN.</summary>
    internal bool Transparent { get; init; }

    /// <summary>Bind an address that this machine does not have (yet).</summary>
    internal bool FreeBind { get; init; }

    /// <summary>An IPv6 wildcard takes IPv4 connections too (ipv4_compat).</summary>
    internal bool IPv4Compatible { get; init; }

    /// <summary>Accepted connections inherit it.</summary>
    internal bool NoDelay { get; init; } = true;

    internal KeepAlive? KeepAlive { get; init; }

    /// <summary>Connections accepted on one event before the others get their turn (max_connections_to_accept_per_socket_event).</summary>
    internal int AcceptsPerEvent { get; init; } = 64;

    /// <summary>Permission bits of a Unix socket's path; 0 leaves them to the umask.</summary>
    internal uint PipeMode { get; init; }
}

/// <summary>TCP keep-alive; 0 leaves a value to the system.</summary>
internal sealed record KeepAlive(int IdleSeconds = 0, int IntervalSeconds = 0, int Probes = 0)
{
    /// <summary>Turns it on for a socket. Failures are ignored: without it only a dead peer is found later.</summary>
    internal void Apply(int fd)
    {
        Sockets.Set(fd, SocketOption.KeepAlive, 1);
        if (IdleSeconds > 0)
            Sockets.Set(fd, SocketOption.KeepAliveIdle, IdleSeconds);
        if (IntervalSeconds > 0)
            Sockets.Set(fd, SocketOption.KeepAliveInterval, IntervalSeconds);
        if (Probes > 0)
            Sockets.Set(fd, SocketOption.KeepAliveProbes, Probes);
    }
}

/// <summary>Who gets the connections of a <see cref="ListenSocket"/>.</summary>
internal interface IAcceptHandler
{
    /// <summary>
    /// A connection; <paramref name="fd"/> is the handler's now, and so is the place it takes of the limit: pass it on as
    /// <see cref="Connection.Limit"/> or give it back.
    /// </summary>
    void OnAccepted(ListenSocket socket, int fd, in Address peer);

    /// <summary>A connection was closed at once, because the process holds as many as it may (downstream_global_cx_overflow).</summary>
    void OnAcceptOverflow(ListenSocket socket);

    /// <summary>accept(2) failed; for want of descriptors or memory it is tried again after a pause.</summary>
    void OnAcceptFailed(ListenSocket socket, Errno error);
}

/// <summary>One worker's listening socket.</summary>
/// <remarks>Worker-owned once constructed. The descriptor is made by <see cref="Bind"/>, on the control loop, where errors can be reported.</remarks>
internal sealed class ListenSocket : LoopHandler, IWorkOwner, ITimerOwner
{
    /// <summary>How long to wait for a descriptor to come free.</summary>
    internal const int RetryMs = 100;

    private readonly EventLoop _loop;
    private readonly IAcceptHandler _handler;
    private readonly LoopWork _more;
    private readonly LoopTimer _retry;
    private readonly int _acceptsPerEvent;
    private int _fd;
    private bool _paused;

    /// <summary>Starts accepting on a descriptor made by <see cref="Bind"/>, which is the socket's from now on.</summary>
    internal ListenSocket(EventLoop loop, int fd, ListenOptions options, IAcceptHandler handler, ConnectionLimit? limit = null)
    {
        _loop = loop;
        _fd = fd;
        _handler = handler;
        Limit = limit;
        _acceptsPerEvent = options.AcceptsPerEvent;
        _more = new LoopWork(this);
        _retry = new LoopTimer(this);
        Address = options.Address;
        if (Address.Port == 0 && Sockets.LocalAddress(fd, out SocketAddress bound).Ok)
            Address = Address.From(bound);
        SysResult registered = loop.Register(fd, this, EpollEvents.In | EpollEvents.EdgeTriggered);
        if (!registered.Ok)
            _handler.OnAcceptFailed(this, registered.Error);
        loop.RunNextTurn(_more); // connections may have come since listen(2)
    }

    internal EventLoop Loop => _loop;
    internal ConnectionLimit? Limit { get; }

    /// <summary>What it listens on, with the port the kernel chose if none was given.</summary>
    internal Address Address { get; }

    internal bool IsClosed => _fd < 0;

    /// <summary>socket, options, bind and listen. Any thread.</summary>
    /// <param name="failedStep">The call that failed and why, for the operator.</param>
    internal static SysResult Bind(ListenOptions options, out string failedStep) => Bind(options, listen: true, out failedStep);

    /// <summary>
    /// As <see cref="Bind(ListenOptions, out string)"/>, for the first socket of an address that nobody else may listen on: it listens alone, and only then
    /// does it let others of this user in (SO_REUSEPORT).
    /// </summary>
    /// <remarks>
    /// A port with SO_REUSEPORT is open to every process of the user: two sidecars would share it without a word. To try whether it is free with a socket
    /// that goes again would lose the connections which that one is given meanwhile, and two that start together would both find it free.
    /// The kernel puts a listening socket into the group of the address when the second one comes (reuseport_add_sock).
    /// </remarks>
    internal static SysResult BindFirst(ListenOptions options, out string failedStep)
    {
        SysResult made = Bind(options with { ReusePort = false }, out failedStep);
        if (!made.Ok)
            return made;
        failedStep = "SO_REUSEPORT";
        SysResult opened = Sockets.Set(made.Fd, SocketOption.ReusePort, 1);
        if (opened.Ok)
            return made;
        Sockets.Close(made.Fd);
        return opened;
    }

    /// <summary>
    /// Whether nobody listens on the address, and we may. Nothing stays, and no client can notice: the socket of the trial does not listen. Others that
    /// do are found by bind(2) already, whichever options they have (SO_REUSEADDR gives way to sockets that do not listen only).
    /// </summary>
    internal static SysResult TryBind(ListenOptions options, out string failedStep)
    {
        SysResult made = Bind(options with { ReusePort = false }, listen: false, out failedStep);
        if (made.Ok)
            Sockets.Close(made.Fd);
        return made;
    }

    private static SysResult Bind(ListenOptions options, bool listen, out string failedStep)
    {
        Address address = options.Address;
        failedStep = "socket";
        SysResult made = Sockets.OpenStream(address.Family);
        if (!made.Ok)
            return made;
        int fd = made.Fd;
        SysResult step = Configure(fd, options, out failedStep);
        if (step.Ok)
        {
            failedStep = $"bind {address}";
            step = Sockets.Bind(fd, address.ToSocketAddress());
        }
        if (step.Ok && listen)
        {
            failedStep = $"listen {address}";
            step = Sockets.Listen(fd, options.Backlog);
        }
        if (step.Ok && address.Kind == AddressKind.Pipe && options.PipeMode != 0 && !address.Path.StartsWith('@'))
        {
            failedStep = $"chmod {address}";
            step = Files.ChangeMode(address.Path, options.PipeMode);
        }
        if (step.Ok)
            return made;
        Sockets.Close(fd);
        return step;
    }

    private static SysResult Configure(int fd, ListenOptions options, out string step)
    {
        Address address = options.Address;
        step = "";
        if (address.Kind == AddressKind.Pipe)
        {
            if (!address.Path.StartsWith('@'))
                Files.Unlink(address.Path); // left by a process that died
            return SysResult.Success();
        }
        bool v6 = address.Kind == AddressKind.IPv6;
        Sockets.Set(fd, SocketOption.ReuseAddress, 1);
        step = "SO_REUSEPORT";
        SysResult set = options.ReusePort ? Sockets.Set(fd, SocketOption.ReusePort, 1) : SysResult.Success();
        if (set.Ok && v6)
        {
            step = "IPV6_V6ONLY";
            set = Sockets.Set(fd, SocketOption.Ipv6Only, options.IPv4Compatible ? 0 : 1);
        }
        if (set.Ok && options.Transparent)
        {
            step = "IP_TRANSPARENT (needs CAP_NET_ADMIN)";
            set = Sockets.Set(fd, v6 ? SocketOption.Ipv6Transparent : SocketOption.IpTransparent, 1);
        }
        if (set.Ok && options.FreeBind)
        {
            step = "IP_FREEBIND";
            set = Sockets.Set(fd, v6 ? SocketOption.Ipv6FreeBind : SocketOption.IpFreeBind, 1);
        }
        if (options.NoDelay)
            Sockets.Set(fd, SocketOption.NoDelay, 1);
        options.KeepAlive?.Apply(fd);
        return set;
    }

    /// <summary>Leaves connections in the kernel's queue until <see cref="Resume"/> (overload, drain).</summary>
    internal void Pause() => _paused = true;

    /// <summary>Goes on accepting.</summary>
    internal void Resume()
    {
        _paused = false;
        if (!IsClosed)
            _loop.RunNextTurn(_more);
    }

    /// <summary>
    /// Stops listening. Connections that are already in this socket's queue are accepted first: closing it would reset
    /// them, though their clients believe to be connected.
    /// </summary>
    internal void Close()
    {
        Debug.Assert(_loop.IsCurrent);
        if (IsClosed)
            return;
        _paused = false;
        _loop.Cancel(_more);
        _loop.Cancel(_retry);
        Accept(int.MaxValue);
        _loop.Cancel(_retry);
        _loop.Unregister(_fd, this, closing: true);
        Sockets.Close(_fd);
        _fd = -1;
    }

    public override void OnReady(EpollEvents events) => AcceptSome();

    public void OnWork(LoopWork work) => AcceptSome();

    public void OnTimer(LoopTimer timer) => AcceptSome();

    /// <summary>A fault while handling one accepted connection must not cost the listener.</summary>
    public override void OnFault() => Resume();

    private void AcceptSome()
    {
        if (IsClosed || _paused || _retry.IsArmed)
            return;
        if (!Accept(_acceptsPerEvent))
            _loop.RunNextTurn(_more);
    }

    // False when there may be more.
    private bool Accept(int max)
    {
        for (int accepted = 0; accepted < max; accepted++)
        {
            SysResult got = Sockets.Accept(_fd, out SocketAddress peer);
            if (!got.Ok)
            {
                switch (got.Error)
                {
                    case Errno.EAGAIN:
                        return true;
                    case Errno.EINTR or Errno.ECONNABORTED:
                        continue;
                    case Errno.EMFILE or Errno.ENFILE or Errno.ENOBUFS or Errno.ENOMEM or Errno.EBADF or Errno.EINVAL:
                        _handler.OnAcceptFailed(this, got.Error);
                        _loop.Schedule(_retry, RetryMs);
                        return true;
                    default:
                        // accept(2) also reports network errors that the new connection already has; it is gone.
                        _handler.OnAcceptFailed(this, got.Error);
                        continue;
                }
            }
            if (Limit is not null && !Limit.TryTake())
            {
                Sockets.Close(got.Fd);
                _handler.OnAcceptOverflow(this);
                continue;
            }
            _handler.OnAccepted(this, got.Fd, Address.From(peer));
            if (IsClosed)
                return true;
        }
        return false;
    }
}
