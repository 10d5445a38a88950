using System.Runtime.CompilerServices;
using Sidecar.Linux;
using Sidecar.Loop;
using Sidecar.Telemetry;

namespace Sidecar.Net;

/// <summary>How a cluster makes its connections. Immutable; built on the control loop.</summary>
internal sealed record ConnectOptions
{
    internal static readonly ConnectOptions Default = new();

    /// <summary>Address to connect from (upstream_bind_config), or none. Port 0: the kernel chooses one per destination.</summary>
    internal Address Source { get; init; }

    /// <summary>Used for destinations of the other family, as Envoy's extra_source_addresses.</summary>
    internal Address OtherFamilySource { get; init; }

    /// <summary>Bind a source that this machine does not have (IP_FREEBIND).</summary>
    internal bool FreeBind { get; init; }

    /// <summary>The source may be an address that this machine does not have (IP_TRANSPARENT). Needs CAP_NET_ADMIN.</summary>
    internal bool Transparent { get; init; }

    /// <summary>SO_MARK, for policy routing; 0: none. Needs CAP_NET_ADMIN.</summary>
    internal int Mark { get; init; }

    internal bool NoDelay { get; init; } = true;
    internal KeepAlive? KeepAlive { get; init; }

    /// <summary>How long sent bytes may stay unacknowledged (TCP_USER_TIMEOUT); 0: the system's default.</summary>
    internal int UserTimeoutMs { get; init; }
}

/// <summary>Makes outgoing connections.</summary>
internal static class Connector
{
    /// <summary>How often a worker says that it lacks a privilege: every connection that wants it fails.</summary>
    private const int ComplaintIntervalMs = 60_000;

    private static readonly LoopLocal<StrongBox<long>> s_nextComplaintMs = new(static _ => new StrongBox<long>());

    /// <summary>
    /// Begins to connect. The connection is usable at once (writes are sent when it is open); the handler gets
    /// OnConnected, or OnClosed with <see cref="Failure.UpstreamConnectFailure"/>, <see cref="Failure.UpstreamConnectTimeout"/>,
    /// <see cref="Failure.UpstreamTlsHandshake"/> or (socket or bind failed) <see cref="Failure.UpstreamLocalConnectFailure"/>,
    /// never before this returns. Closing the connection cancels.
    /// </summary>
    /// <param name="source">The caller's address to come from, instead of that of the options; null for most. Needs CAP_NET_ADMIN.</param>
    /// <param name="timeoutMs">For connect and handshake together; 0: the kernel's patience.</param>
    internal static Connection Connect(
        EventLoop loop, in Address to, OriginalSource? source, ConnectOptions options, Transport transport, ConnectionHandler handler, int timeoutMs)
    {
        SysResult made = Sockets.OpenStream(to.Family);
        if (!made.Ok)
            return Connection.Stillborn(loop, to, handler, Failure.UpstreamLocalConnectFailure, made.Error);
        int fd = made.Fd;
        SysResult step = Configure(fd, to, source, options, out string call);
        if (step.Error == Errno.EPERM)
            Complain(loop, to, call);
        Failure reason = Failure.UpstreamLocalConnectFailure;
        if (step.Ok)
        {
            reason = Failure.UpstreamConnectFailure;
            step = Sockets.Connect(fd, to.ToSocketAddress());
        }
        if (!step.Ok && step.Error != Errno.EINPROGRESS)
        {
            Sockets.Close(fd);
            return Connection.Stillborn(loop, to, handler, reason, step.Error);
        }
        return Connection.Connecting(loop, fd, to, transport, handler, timeoutMs)
            ?? Connection.Stillborn(loop, to, handler, Failure.UpstreamLocalConnectFailure, Errno.ENOMEM);
    }

    private static SysResult Configure(int fd, in Address to, OriginalSource? source, ConnectOptions options, out string call)
    {
        call = "";
        if (!to.IsIp)
            return SysResult.Success();
        bool v6 = to.Kind == AddressKind.IPv6;
        if (options.NoDelay)
            Sockets.Set(fd, SocketOption.NoDelay, 1);
        options.KeepAlive?.Apply(fd);
        if (options.UserTimeoutMs > 0)
            Sockets.Set(fd, SocketOption.UserTimeout, options.UserTimeoutMs);

        call = "SO_MARK";
        int mark = source is { Mark: not 0 } ? source.Mark : options.Mark;
        SysResult step = mark == 0 ? SysResult.Success() : Sockets.Set(fd, SocketOption.Mark, mark);
        if (step.Ok && (options.Transparent || source is not null))
        {
            call = "IP_TRANSPARENT";
            step = Sockets.Set(fd, v6 ? SocketOption.Ipv6Transparent : SocketOption.IpTransparent, 1);
        }
        if (step.Ok && options.FreeBind)
        {
            call = "IP_FREEBIND";
            step = Sockets.Set(fd, v6 ? SocketOption.Ipv6FreeBind : SocketOption.IpFreeBind, 1);
        }
        if (!step.Ok)
            return step;

        call = "bind";
        Address from = options.Source.Kind == to.Kind ? options.Source : options.OtherFamilySource;
        // A caller of the other family has no address that could be kept; the bind fails, rather than that somebody else is shown.
        if (source is not null)
            from = source.Address;
        else if (from.Kind != to.Kind)
            return step;

        // Without this bind(2) would take a port for itself, and 28,000 connections would be the end for all
        // destinations together; with it the port is chosen by connect(2), unique only per destination.
        if (from.Port == 0)
            Sockets.Set(fd, SocketOption.IpBindAddressNoPort, 1);
        return Sockets.Bind(fd, from.ToSocketAddress());
    }

    private static void Complain(EventLoop loop, in Address to, string call)
    {
        var next = s_nextComplaintMs[loop];
        if (loop.NowMs < next.Value)
            return;
        next.Value = loop.NowMs + ComplaintIntervalMs;
        Log.Warning("connector", $"no connection to {to}: {call}: {Errno.EPERM.Standard()}; original_src, transparent sources and marks need CAP_NET_ADMIN");
    }
}
