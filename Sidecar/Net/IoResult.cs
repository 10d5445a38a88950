using Sidecar.Linux;

namespace Sidecar.Net;

/// <summary>How a read, a write or a step of a handshake went.</summary>
internal enum IoStatus : byte
{
    /// <summary>Bytes were moved; there may be more to do.</summary>
    Ok,

    /// <summary>Nothing more now: wait for the next edge. Bytes may have been moved before that.</summary>
    WouldBlock,

    /// <summary>The peer ended its side in order.</summary>
    EndOfStream,

    /// <summary>The connection is broken; <see cref="IoResult.Error"/> says how, or the transport's own diagnosis does.</summary>
    Failed,
}

/// <summary>What a <see cref="Transport"/> answers.</summary>
internal readonly struct IoResult
{
    internal readonly IoStatus Status;

    /// <summary>A read emptied the socket (and the transport holds nothing back): reading again would find nothing.</summary>
    internal readonly bool Drained;

    /// <summary>Application bytes moved.</summary>
    internal readonly int Bytes;

    internal readonly Errno Error;

    private IoResult(IoStatus status, int bytes, Errno error, bool drained)
    {
        Status = status;
        Bytes = bytes;
        Error = error;
        Drained = drained;
    }

    internal static IoResult Ok(int bytes, bool drained = false) => new(IoStatus.Ok, bytes, Errno.None, drained);
    internal static IoResult WouldBlock(int bytes = 0) => new(IoStatus.WouldBlock, bytes, Errno.None, true);
    internal static IoResult EndOfStream => new(IoStatus.EndOfStream, 0, Errno.None, true);
    internal static IoResult Failed(Errno error) => new(IoStatus.Failed, 0, error, true);
}
