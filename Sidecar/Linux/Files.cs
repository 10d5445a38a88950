using System.Text;

namespace Sidecar.Linux;

/// <summary>What has to be done to files beside sockets.</summary>
internal static unsafe class Files
{
    /// <summary>Removes a file, e.g. the path of a Unix socket left by a process that died.</summary>
    public static SysResult Unlink(string path)
    {
        fixed (byte* p = NulTerminated(path))
            return SysResult.Of(Libc.unlink(p));
    }

    /// <summary>Sets the permission bits of a file.</summary>
    public static SysResult ChangeMode(string path, uint mode)
    {
        fixed (byte* p = NulTerminated(path))
            return SysResult.Of(Libc.chmod(p, mode));
    }

    private static byte[] NulTerminated(string path) => Encoding.UTF8.GetBytes(path + '\0');
}
