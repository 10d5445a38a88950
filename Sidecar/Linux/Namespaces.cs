using System.Runtime.InteropServices;
using System.Text;

namespace Sidecar.Linux;

/// <summary>
/// Moves the calling thread, and every program it starts afterwards, into another view of the machine. There is no way back: for
/// commands that end when they are done.
/// </summary>
internal static unsafe partial class Namespaces
{
    /// <summary>Enters the network namespace at this path, such as /var/run/netns/NAME or /proc/PID/ns/net.</summary>
    public static SysResult EnterNetwork(string path)
    {
        SysResult opened;
        fixed (byte* p = NulTerminated(path))
            opened = SysResult.Of(open(p, O_RDONLY | Sockets.CloseOnExec));
        if (!opened.Ok)
            return opened;
        SysResult entered = SysResult.Of(setns(opened.Fd, CLONE_NEWNET));
        Libc.close(opened.Fd);
        return entered;
    }

    /// <summary>Enters a new, empty network namespace; it is gone when the thread and its children are.</summary>
    public static SysResult EnterNewNetwork() => SysResult.Of(unshare(CLONE_NEWNET));

    /// <summary>Enters a mount namespace of its own whose mounts do not reach the rest of the machine.</summary>
    public static SysResult EnterPrivateMounts()
    {
        SysResult entered = SysResult.Of(unshare(CLONE_NEWNS));
        if (!entered.Ok)
            return entered;
        // Some security policies refuse private but allow slave, which keeps our mounts in as well.
        SysResult isPrivate = Mount("", "/", MS_REC | MS_PRIVATE);
        return isPrivate.Ok ? isPrivate : Mount("", "/", MS_REC | MS_SLAVE);
    }

    /// <summary>Shows <paramref name="source"/>, read-only, where <paramref name="target"/> is.</summary>
    public static SysResult BindOver(string source, string target) => Mount(source, target, MS_BIND | MS_RDONLY);

    private static SysResult Mount(string source, string target, nuint flags)
    {
        fixed (byte* from = NulTerminated(source))
        fixed (byte* to = NulTerminated(target))
            return SysResult.Of(mount(from, to, null, flags, null));
    }

    private static byte[] NulTerminated(string path) => Encoding.UTF8.GetBytes(path + '\0');

    private const int O_RDONLY = 0;
    private const int CLONE_NEWNS = 0x00020000;
    private const int CLONE_NEWNET = 0x40000000;
    private const nuint MS_RDONLY = 1;
    private const nuint MS_BIND = 4096;
    private const nuint MS_REC = 16384;
    private const nuint MS_PRIVATE = 1 << 18;
    private const nuint MS_SLAVE = 1 << 19;

    private const string C = "libc";

    [LibraryImport(C)] private static partial int open(byte* path, int flags);
    [LibraryImport(C)] private static partial int setns(int fd, int type);
    [LibraryImport(C)] private static partial int unshare(int flags);
    [LibraryImport(C)] private static partial int mount(byte* source, byte* target, byte* type, nuint flags, void* data);
}
