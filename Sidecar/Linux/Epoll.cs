using System;
using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Sidecar.Linux;

/// <summary>Readiness bits of epoll(7).</summary>
[Flags]
internal enum EpollEvents : uint
{
    None = 0,
    In = 0x001,
    Out = 0x004,
    Error = 0x008,
    HangUp = 0x010,
    ReadHangUp = 0x2000,
    EdgeTriggered = 1u << 31,

    /// <summary>The one registration a connection ever needs: both directions, the peer's FIN, edges only.</summary>
    Connection = In | Out | ReadHangUp | EdgeTriggered,
}

/// <summary>
/// One epoll instance and the array its events arrive in. Owned by one loop, used on its thread.
/// </summary>
/// <remarks>
/// struct epoll_event is packed (12 bytes) on x64 and naturally aligned (16 bytes) on arm64, so events are read by
/// stride and offset instead of through one C# struct.
/// </remarks>
internal sealed unsafe class Epoll : IDisposable
{
    private static readonly int Stride = RuntimeInformation.ProcessArchitecture == Architecture.X64 ? 12 : 16;
    private static readonly int TokenOffset = Stride - sizeof(ulong);

    private readonly byte[] _events;
    private readonly byte* _first;
    private readonly int _capacity;
    private int _fd;

    private Epoll(int fd, int capacity)
    {
        _fd = fd;
        _capacity = capacity;
        _events = GC.AllocateArray<byte>(capacity * Stride, pinned: true);
        _first = (byte*)Unsafe.AsPointer(ref MemoryMarshal.GetArrayDataReference(_events));
    }

    /// <summary>Makes an instance that takes at most <paramref name="capacity"/> events per wait.</summary>
    public static SysResult Create(int capacity, out Epoll? epoll)
    {
        SysResult made = SysResult.Of(Libc.epoll_create1(Sockets.CloseOnExec));
        epoll = made.Ok ? new Epoll(made.Fd, capacity) : null;
        return made;
    }

    /// <summary>Adds a descriptor; <paramref name="token"/> comes back with each of its events.</summary>
    public SysResult Add(int fd, EpollEvents events, ulong token)
    {
        byte* evt = stackalloc byte[16];
        Unsafe.WriteUnaligned(evt, (uint)events);
        Unsafe.WriteUnaligned(evt + TokenOffset, token);
        return SysResult.Of(Libc.epoll_ctl(_fd, 1, fd, evt));
    }

    /// <summary>Removes a descriptor. Not needed before close(2), which does it by itself.</summary>
    public SysResult Remove(int fd)
    {
        byte* evt = stackalloc byte[16];
        return SysResult.Of(Libc.epoll_ctl(_fd, 2, fd, evt));
    }

    /// <summary>Waits up to <paramref name="timeoutMs"/> (-1 = for ever) and says how many events there are. A signal counts as "none".</summary>
    public SysResult Wait(int timeoutMs)
    {
        SysResult ready = SysResult.Of(Libc.epoll_wait(_fd, _first, _capacity, timeoutMs));
        return ready.Error == Errno.EINTR ? SysResult.Success() : ready;
    }

    /// <summary>Event <paramref name="index"/> of the last wait.</summary>
    public EpollEvents Events(int index)
    {
        Debug.Assert((uint)index < (uint)_capacity, "an event past the array");
        return (EpollEvents)Unsafe.ReadUnaligned<uint>(_first + index * Stride);
    }

    /// <summary>The token event <paramref name="index"/> was registered with.</summary>
    public ulong Token(int index)
    {
        Debug.Assert((uint)index < (uint)_capacity, "an event past the array");
        return Unsafe.ReadUnaligned<ulong>(_first + index * Stride + TokenOffset);
    }

    /// <summary>Closes the instance.</summary>
    public void Dispose()
    {
        if (_fd >= 0)
            Libc.close(_fd);
        _fd = -1;
    }
}
