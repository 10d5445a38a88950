using System;
using System.Collections.Generic;
using Sidecar.Loop;
using Sidecar.Memory;
using Sidecar.Telemetry.Stats;
using Sidecar.Upstream;

namespace Sidecar.Xds;

/// <summary>Makes the source that an origin describes.</summary>
/// <param name="loop">The control loop.</param>
/// <param name="clusters">Its own clusters, the control planes' among them.</param>
/// <param name="node">envoy.config.core.v3.Node, as every control plane is told.</param>
/// <param name="stats">The process's stats.</param>
/// <param name="random">For the waits between attempts.</param>
/// <remarks>Control loop.</remarks>
internal sealed class SourceFactory(EventLoop loop, Clusters clusters, ReadOnlyMemory<byte> node, StatsRegistry stats, FastRandom random)
{
    /// <summary>Makes it; null for the aggregated stream, which is one for all.</summary>
    /// <param name="origin">Where resources come from.</param>
    /// <param name="target">Who takes what comes.</param>
    /// <param name="fetchTimeoutsMs">initial_fetch_timeout by type, where configured.</param>
    /// <param name="statPrefix">Where its stats belong: empty, or of a source of a single resource, as in <c>sds.default.</c></param>
    internal DiscoverySource? Make(DiscoveryOrigin? origin, IDiscoveryTarget target, IReadOnlyDictionary<string, long> fetchTimeoutsMs, string statPrefix = "") => origin switch
    {
        GrpcOrigin grpc => new GrpcSource(loop, clusters, grpc.Config, node, target, stats, fetchTimeoutsMs, random, statPrefix),
        RestOrigin rest => new RestSource(loop, clusters, rest.Config, node, target, stats, fetchTimeoutsMs, random, statPrefix),
        PathOrigin path => new PathSource(loop, path, target, stats, fetchTimeoutsMs, statPrefix),
        _ => null,
    };
}
