using System;
using System.IO;
using System.Text;

namespace Sidecar.Linux;

/// <summary>Why a file that is there is not read.</summary>
internal enum FileProblem : byte { None, NotRegular, TooLarge }

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

    /// <summary>
    /// Whether a path leads, through links, to a regular file: to open anything else may wait for ever (a FIFO) or never end (a device).
    /// True also for what cannot be looked at; opening it then tells why.
    /// </summary>
    public static bool IsRegular(string path)
    {
        // struct statx, 256 bytes, the same on every architecture: stx_mask is at 0, stx_mode at 28.
        const uint typeWanted = 1; // STATX_TYPE
        const int currentFolder = -100; // AT_FDCWD
        byte* answer = stackalloc byte[256];
        fixed (byte* p = NulTerminated(path))
        {
            if (!SysResult.Of(Libc.statx(currentFolder, p, 0, typeWanted, answer)).Ok)
                return true;
        }
        return (*(ushort*)(answer + 28) & 0xF000) == 0x8000; // S_IFMT, S_IFREG
    }

    /// <summary>
    /// All of a file that a configuration names. Only a regular file is opened, and no more of it is read than the limit, whatever its length
    /// says and wherever links lead.
    /// </summary>
    /// <param name="path">The file.</param>
    /// <param name="bytesMax">A larger one is refused.</param>
    /// <exception cref="IOException">It cannot be read, is no regular file, or is larger; the message says which, with the path.</exception>
    /// <exception cref="UnauthorizedAccessException">It may not be read.</exception>
    public static byte[] ReadRegular(string path, long bytesMax) => TryReadRegular(path, bytesMax, out byte[] bytes) switch
    {
        FileProblem.NotRegular => throw new IOException($"{path} is not a regular file"),
        FileProblem.TooLarge => throw new IOException($"{path} is larger than {bytesMax} bytes"),
        _ => bytes,
    };

    /// <summary>The same for whoever has words of his own for a file that is not what it should be; what cannot be read throws here too.</summary>
    public static FileProblem TryReadRegular(string path, long bytesMax, out byte[] bytes)
    {
        bytes = [];
        if (File.Exists(path) && OperatingSystem.IsLinux() && !IsRegular(path))
            return FileProblem.NotRegular;
        using var file = File.OpenHandle(path);
        long length = RandomAccess.GetLength(file);
        if (length > bytesMax)
            return FileProblem.TooLarge;
        bytes = new byte[length];
        for (int read = 0, count; read < bytes.Length; read += count)
        {
            count = RandomAccess.Read(file, bytes.AsSpan(read), read);
            if (count == 0)
                throw new EndOfStreamException($"{path} became shorter while it was read");
        }
        return FileProblem.None;
    }

    private static byte[] NulTerminated(string path) => Encoding.UTF8.GetBytes(path + '\0');
}
