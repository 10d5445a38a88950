using System;
using System.Runtime.CompilerServices;
using Sidecar.Linux;
using Sidecar.Memory;

namespace Sidecar.Net;

/// <summary>Bytes as they are. Without state, so one instance serves every connection of the process.</summary>
internal sealed class RawTransport : Transport
{
    internal static readonly RawTransport Instance = new();

    /// <summary>Blocks taken by one sendmsg(2): 1 MiB of them, more than a socket buffer takes at once.</summary>
    private const int VectorsMax = 64;

    private RawTransport()
    {
    }

    internal override bool CanSplice => true;

    internal override IoResult Read(int fd, Span<byte> into)
    {
        while (true)
        {
            SysResult got = Sockets.Receive(fd, into);
            if (got.Ok)
            {
                // A short read means that the queue was empty at that moment; what comes later is a new edge.
                int bytes = (int)got.Value;
                return bytes == 0 ? IoResult.EndOfStream : IoResult.Ok(bytes, drained: bytes < into.Length);
            }
            if (got.Error != Errno.EINTR)
                return got.WouldBlock ? IoResult.WouldBlock() : IoResult.Failed(got.Error);
        }
    }

    internal override IoResult Write(int fd, BufferChain from) => Write(fd, from, more: false);

    /// <summary>As <see cref="Write(int, BufferChain)"/>, for a caller that ends its direction right behind: the kernel keeps an incomplete segment for the FIN.</summary>
    internal static IoResult WriteLast(int fd, BufferChain from) => Write(fd, from, more: true);

    private static IoResult Write(int fd, BufferChain from, bool more)
    {
        if (!from.IsSingle)
            return WriteVectors(fd, from, more);
        var first = from.First;
        return Took(from, first.Length, Sockets.Send(fd, first, more));
    }

    [SkipLocalsInit]
    private static unsafe IoResult WriteVectors(int fd, BufferChain from, bool more)
    {
        IoVector* vectors = stackalloc IoVector[VectorsMax];
        int count = from.FillIovecs(new Span<IoVector>(vectors, VectorsMax));
        long total = 0;
        for (int i = 0; i < count; i++)
            total += vectors[i].Length;
        return Took(from, total, Sockets.SendVectors(fd, vectors, count, more));
    }

    internal override IoResult WriteDirect(int fd, ReadOnlySpan<byte> bytes)
    {
        SysResult sent = Sockets.Send(fd, bytes);
        if (!sent.Ok)
            return sent.WouldBlock || sent.Error == Errno.EINTR ? IoResult.WouldBlock() : IoResult.Failed(sent.Error);
        return (int)sent.Value < bytes.Length ? IoResult.WouldBlock((int)sent.Value) : IoResult.Ok((int)sent.Value);
    }

    internal override void ShutdownWrite(int fd) => Sockets.Shutdown(fd, ShutdownHow.Write);

    // A partial send has filled the socket: the kernel will report the next room as an edge, no probe needed.
    private static IoResult Took(BufferChain from, long offered, SysResult sent)
    {
        if (sent.Ok)
        {
            from.Drain(sent.Value);
            return sent.Value < offered ? IoResult.WouldBlock((int)sent.Value) : IoResult.Ok((int)sent.Value);
        }
        return sent.Error switch
        {
            Errno.EAGAIN => IoResult.WouldBlock(),
            Errno.EINTR => IoResult.Ok(0),
            _ => IoResult.Failed(sent.Error),
        };
    }
}
