namespace Sidecar.Linux;

/// <summary>
/// A kernel pipe, for moving bytes between two sockets without copying them through user space. Both ends are
/// non-blocking. A value: whoever holds it closes it.
/// </summary>
internal readonly unsafe struct Pipe(int readFd, int writeFd, int capacity)
{
    private const uint Move = 1;
    private const uint NonBlock = 2;
    private const int SetPipeSize = 1031;
    private const int GetPipeSize = 1032;

    /// <summary>Where bytes come out.</summary>
    public readonly int ReadFd = readFd;

    /// <summary>Where bytes go in.</summary>
    public readonly int WriteFd = writeFd;

    /// <summary>How many bytes the kernel lets it hold; less than asked for when the user is over pipe-user-pages-soft.</summary>
    public readonly int Capacity = capacity;

    /// <summary>Makes a pipe and asks for <paramref name="capacity"/> bytes; whatever the kernel grants is taken.</summary>
    public static SysResult Open(int capacity, out Pipe pipe)
    {
        pipe = default;
        int* fds = stackalloc int[2];
        SysResult made = SysResult.Of(Libc.pipe2(fds, Sockets.NonBlocking | Sockets.CloseOnExec));
        if (!made.Ok)
            return made;
        SysResult size = SysResult.Of(Libc.fcntl(fds[0], SetPipeSize, capacity));
        if (!size.Ok)
            size = SysResult.Of(Libc.fcntl(fds[0], GetPipeSize, 0));
        pipe = new Pipe(fds[0], fds[1], size.Ok ? (int)size.Value : 4096);
        return made;
    }

    /// <summary>Socket → pipe; 0 is the peer's end of stream. EAGAIN means "nothing there" or "pipe full": the caller knows which.</summary>
    public SysResult FillFrom(int socket, int bytesMax) =>
        SysResult.Of(Libc.splice(socket, null, WriteFd, null, (nuint)bytesMax, Move | NonBlock));

    /// <summary>Pipe → socket.</summary>
    public SysResult DrainTo(int socket, int bytesMax) =>
        SysResult.Of(Libc.splice(ReadFd, null, socket, null, (nuint)bytesMax, Move | NonBlock));

    /// <summary>Closes both ends, and with them whatever was inside.</summary>
    public void Close()
    {
        Libc.close(ReadFd);
        Libc.close(WriteFd);
    }
}
