using System;
using System.Collections.Generic;
using System.Text;
using Sidecar.Linux;
using Sidecar.Memory;
using Sidecar.Net;

namespace Sidecar.Tests.Harness;

/// <summary>
/// A transport whose answers the test queues: which bytes a read finds, how much a write takes, when a handshake is
/// complete. The descriptor under it is only there to give edges; see <see cref="Edge"/>.
/// </summary>
internal sealed class ScriptedTransport : Transport
{
    private readonly Queue<IoResult> _reads = new();
    private readonly Queue<byte[]> _readBytes = new();
    private readonly Queue<int> _writeLimits = new();
    private readonly List<byte> _written = [];
    private readonly byte[] _sink = new byte[64];

    /// <summary>Steps of the handshake before it is complete; each needs an edge.</summary>
    public int HandshakeSteps { get; set; }

    /// <summary>Makes the handshake fail at its end.</summary>
    public bool HandshakeFails { get; set; }

    /// <summary>Bytes the connection handed over that were received before this transport was there.</summary>
    public string Preloaded { get; private set; } = "";

    public bool WriteShut { get; private set; }
    public bool Released { get; private set; }
    public string Written => Encoding.Latin1.GetString(_written.ToArray());

    internal override bool IsReady => HandshakeSteps == 0 && !HandshakeFails;

    /// <summary>A read will find these bytes.</summary>
    public void Feed(string text)
    {
        _reads.Enqueue(IoResult.Ok(text.Length));
        _readBytes.Enqueue(Encoding.Latin1.GetBytes(text));
    }

    /// <summary>A read will answer this.</summary>
    public void FeedResult(IoResult result) => _reads.Enqueue(result);

    /// <summary>A write will take at most this many bytes, and then the "socket" is full until an edge; without a limit, all.</summary>
    public void LimitWrite(int bytes) => _writeLimits.Enqueue(bytes);

    /// <summary>Makes the loop see an edge of the connection: one byte through the real socket.</summary>
    public static void Edge(TestPeer peer) => peer.Send("!");

    internal override IoResult Handshake(int fd)
    {
        Sockets.Receive(fd, _sink);
        if (HandshakeSteps > 0 && --HandshakeSteps > 0)
            return IoResult.WouldBlock();
        return HandshakeFails ? IoResult.Failed(Errno.EPROTO) : IoResult.Ok(0);
    }

    internal override IoResult Read(int fd, Span<byte> into)
    {
        Sockets.Receive(fd, _sink);
        if (!_reads.TryDequeue(out IoResult result))
            return IoResult.WouldBlock();
        if (result.Status == IoStatus.Ok)
            _readBytes.Dequeue().CopyTo(into);
        return result;
    }

    internal override IoResult Write(int fd, BufferChain from)
    {
        int take = (int)from.Length;
        bool full = _writeLimits.TryDequeue(out int limit) && limit < take;
        take = full ? limit : take;
        byte[] bytes = new byte[take];
        from.CopyTo(bytes);
        from.Drain(take);
        _written.AddRange(bytes);
        return full ? IoResult.WouldBlock(take) : IoResult.Ok(take);
    }

    internal override IoResult WriteDirect(int fd, ReadOnlySpan<byte> bytes) => IoResult.WouldBlock();

    internal override void ShutdownWrite(int fd) => WriteShut = true;

    internal override void Preload(ReadOnlySpan<byte> received) => Preloaded += Encoding.Latin1.GetString(received);

    internal override void Release() => Released = true;
}
