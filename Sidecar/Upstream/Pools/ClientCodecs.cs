using System;
using Sidecar.Http;
using Sidecar.Memory;
using Sidecar.Telemetry;

namespace Sidecar.Upstream.Pools;

/// <summary>The client codec for each protocol.</summary>
internal static class ClientCodecs
{
    /// <summary>A codec with a cluster's options, for one connection after another.</summary>
    internal static HttpClientCodec Create(HttpVersion protocol, BufferChain output, CodecEvents events, ClusterConfig config) =>
        throw new NotSupportedException($"no client codec for {protocol} yet");
}
