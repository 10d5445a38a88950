using Sidecar.Http;
using Sidecar.Http.H1;
using Sidecar.Http.H2;
using Sidecar.Loop;
using Sidecar.Memory;
using Sidecar.Telemetry;

namespace Sidecar.Upstream.Pools;

/// <summary>The client codec for each protocol.</summary>
internal static class ClientCodecs
{
    private static readonly LoopLocal<Pool<Http1ClientStream>> s_http1Streams = new(static _ => Http1ClientCodec.NewPool());
    private static readonly LoopLocal<Http2Pools> s_http2Pools = new(static loop => new Http2Pools(loop.Slab));

    /// <summary>A codec with a cluster's options, for one connection after another. Its streams come from what all codecs of the loop share.</summary>
    internal static HttpClientCodec Create(EventLoop loop, HttpVersion protocol, BufferChain output, CodecEvents events, Cluster cluster) =>
        protocol == HttpVersion.Http2
            ? new Http2ClientCodec(output, events, cluster.Http2, s_http2Pools[loop])
            : new Http1ClientCodec(output, events, cluster.Config.Http.Http1, s_http1Streams[loop]);
}
