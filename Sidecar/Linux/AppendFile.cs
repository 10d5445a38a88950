using System;
using System.Text;

namespace Sidecar.Linux;

/// <summary>A file that is only appended to, by any number of threads and processes at once: the kernel puts each write behind the last (O_APPEND).</summary>
internal static unsafe class AppendFile
{
    private const int WriteOnly = 1;
    private const int Create = 0x40;
    private const int Append = 0x400;
    private const int CloseOnExec = 0x80000;
    private const int OwnerReadsAndWrites = 0x180; // 0600

    /// <summary>Opens it; one that is not there is made for its owner alone.</summary>
    public static SysResult Open(string path)
    {
        fixed (byte* name = Encoding.UTF8.GetBytes(path + '\0'))
            return SysResult.Of(Libc.open(name, WriteOnly | Create | Append | CloseOnExec, OwnerReadsAndWrites));
    }

    public static SysResult Write(int fd, ReadOnlySpan<byte> bytes)
    {
        fixed (byte* start = bytes)
            return SysResult.Of(Libc.write(fd, start, (nuint)bytes.Length));
    }

    public static void Close(int fd) => Libc.close(fd);
}
