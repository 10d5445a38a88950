using Sidecar.Http.H2.Hpack;
using Sidecar.Memory;

namespace Sidecar.Http.H2;

/// <summary>
/// What all HTTP/2 connections of one worker share, so that an idle connection holds none of it: stream objects with their heads, room for header
/// blocks, and small blocks for bytes that flow control keeps back.
/// </summary>
/// <remarks>Worker-owned.</remarks>
internal sealed class Http2Pools
{
    /// <summary>A stream that holds back one byte costs one such block: small, because a peer may have a thousand of those.</summary>
    private const int PendingBlockBytes = 2048;

    /// <summary>As much free memory as the worker's own slab keeps.</summary>
    private const int PendingFreeBlocksMax = 2048;

    internal Http2Pools(Slab slab)
    {
        Slab = slab;
        PendingSlab = new Slab(PendingBlockBytes, PendingFreeBlocksMax);
        ServerStreams = new Pool<Http2ServerStream>(() => new Http2ServerStream(this));
        ClientStreams = new Pool<Http2ClientStream>(() => new Http2ClientStream(this));
    }

    internal readonly Slab Slab;
    internal readonly Slab PendingSlab;
    internal readonly Pool<Http2ServerStream> ServerStreams;
    internal readonly Pool<Http2ClientStream> ClientStreams;
    internal readonly HpackScratch DecodeScratch = new();
    internal readonly HpackScratch EncodeScratch = new();
}
