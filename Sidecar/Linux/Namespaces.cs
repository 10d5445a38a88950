using System.Runtime.InteropServices;

namespace Sidecar.Linux;

/// <summary>
/// Moves the calling thread, and every program it starts afterwards, into another view of the machine. There is no way back: for
/// commands that end when they are done. Each call answers 0 or an errno.
/// </summary>
internal static unsafe partial class Namespaces
{
    /// <summary>Enters the network namespace at this path, such as /var/run/netns/NAME or /proc/PID/ns/net.</summary>
    public static int EnterNetwork(string path)
    {
        int fd = Open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return Marshal.GetLastPInvokeError();
        int errno = SetNs(fd, CLONE_NEWNET) == 0 ? 0 : Marshal.GetLastPInvokeError();
        Close(fd);
        return errno;
    }

    /// <summary>Enters a new, empty network namespace; it is gone when the thread and its children are.</summary>
    public static int EnterNewNetwork() => Unshare(CLONE_NEWNET) == 0 ? 0 : Marshal.GetLastPInvokeError();

    /// <summary>Enters a mount namespace of its own whose mounts do not reach the rest of the machine.</summary>
    public static int EnterPrivateMounts()
    {
        if (Unshare(CLONE_NEWNS) != 0)
            return Marshal.GetLastPInvokeError();
        if (Mount("", "/", null, MS_REC | MS_PRIVATE, null) == 0)
            return 0;
        // Some security policies refuse private but allow slave, which keeps our mounts in as well.
        return Mount("", "/", null, MS_REC | MS_SLAVE, null) == 0 ? 0 : Marshal.GetLastPInvokeError();
    }

    /// <summary>Shows <paramref name="source"/>, read-only, where <paramref name="target"/> is.</summary>
    public static int BindOver(string source, string target) =>
        Mount(source, target, null, MS_BIND | MS_RDONLY, null) == 0 ? 0 : Marshal.GetLastPInvokeError();

    private const int O_RDONLY = 0;
    private const int O_CLOEXEC = 0x80000;
    private const int CLONE_NEWNS = 0x00020000;
    private const int CLONE_NEWNET = 0x40000000;
    private const nuint MS_RDONLY = 1;
    private const nuint MS_BIND = 4096;
    private const nuint MS_REC = 16384;
    private const nuint MS_PRIVATE = 1 << 18;
    private const nuint MS_SLAVE = 1 << 19;

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "close")]
    private static partial int Close(int fd);

    [LibraryImport("libc", EntryPoint = "setns", SetLastError = true)]
    private static partial int SetNs(int fd, int type);

    [LibraryImport("libc", EntryPoint = "unshare", SetLastError = true)]
    private static partial int Unshare(int flags);

    [LibraryImport("libc", EntryPoint = "mount", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Mount(string source, string target, string? type, nuint flags, void* data);
}
