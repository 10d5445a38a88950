using System;

namespace Sidecar.Linux;

/// <summary>
/// A doorbell between threads. Anyone may <see cref="Ring"/>. Registered edge-triggered, each ring is one event and the
/// counter never needs to be read back (2^64 rings would fill it).
/// </summary>
internal sealed unsafe class EventFd : IDisposable
{
    private EventFd(int fd) => Fd = fd;

    /// <summary>The descriptor to register with epoll.</summary>
    public int Fd { get; private set; }

    /// <summary>Makes one.</summary>
    public static SysResult Create(out EventFd? bell)
    {
        SysResult made = SysResult.Of(Libc.eventfd(0, Sockets.NonBlocking | Sockets.CloseOnExec));
        bell = made.Ok ? new EventFd(made.Fd) : null;
        return made;
    }

    /// <summary>Wakes whoever waits. Any thread.</summary>
    public void Ring()
    {
        ulong one = 1;
        Libc.write(Fd, &one, sizeof(ulong));
    }

    /// <summary>Closes the descriptor.</summary>
    public void Dispose()
    {
        if (Fd >= 0)
            Libc.close(Fd);
        Fd = -1;
    }
}
