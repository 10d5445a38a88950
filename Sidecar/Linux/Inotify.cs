using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using System.Text;

namespace Sidecar.Linux;

/// <summary>
/// inotify(7): tells when a directory's entries change. Watch directories, not files: an atomic replace makes a new file, which a watch on the
/// old one never hears of.
/// </summary>
internal sealed unsafe class Inotify : IDisposable
{
    // IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF
    private const uint Changes = 0x8 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x800;

    private Inotify(int fd) => Fd = fd;

    internal int Fd { get; private set; }

    /// <summary>Makes an instance, non-blocking.</summary>
    public static SysResult Create(out Inotify? inotify)
    {
        var made = SysResult.Of(Libc.inotify_init1(Sockets.CloseOnExec | Sockets.NonBlocking));
        inotify = made.Ok ? new Inotify(made.Fd) : null;
        return made;
    }

    /// <summary>Watches a directory; doing so twice is one watch.</summary>
    public SysResult Watch(string directory)
    {
        fixed (byte* path = Encoding.UTF8.GetBytes(directory + '\0'))
            return SysResult.Of(Libc.inotify_add_watch(Fd, path, Changes));
    }

    /// <summary>Takes all events there are; true when one of them counts.</summary>
    /// <param name="names">Entries whose events count; null: all. What concerns no entry (the directory itself, lost events) counts always.</param>
    public bool Drain(IReadOnlySet<string>? names = null)
    {
        byte* events = stackalloc byte[4096];
        bool any = false;
        while (true)
        {
            var got = SysResult.Of(Libc.read(Fd, events, 4096));
            if (!got.Ok || got.Value == 0)
                return any;
            for (byte* next = events; !any && next < events + got.Value; next += EventHeadBytes + NameLength(next))
                any = names is null || NameLength(next) == 0 || names.Contains(Marshal.PtrToStringUTF8((nint)(next + EventHeadBytes))!);
        }
    }

    // struct inotify_event { int wd; uint32_t mask, cookie, len; char name[]; }: the name has len bytes with the zeros after it.
    private const int EventHeadBytes = 16;

    private static int NameLength(byte* inotifyEvent) => *(int*)(inotifyEvent + 12);

    /// <summary>Closes the instance and with it all watches.</summary>
    public void Dispose()
    {
        if (Fd >= 0)
            Libc.close(Fd);
        Fd = -1;
    }
}
