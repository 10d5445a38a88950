using System;
using System.Collections.Generic;
using Sidecar.Loop;
using Sidecar.Memory;
using Sidecar.Telemetry;
using Sidecar.Telemetry.Stats;
using Sidecar.Upstream;
using Sidecar.Wire;

namespace Sidecar.Xds;

/// <summary>The sources a bootstrap names, as one: each type goes to its own, and everything else to the aggregated stream.</summary>
/// <remarks>Control loop.</remarks>
internal sealed class DiscoverySources : DiscoverySource
{
    private readonly Dictionary<string, DiscoverySource> _byType = new(StringComparer.Ordinal);
    private readonly HashSet<string> _notDiscovered = new(StringComparer.Ordinal);
    private readonly List<DiscoverySource> _all = [];
    private readonly DiscoverySource? _ads;
    private readonly EventLoop _loop;
    private readonly IDiscoveryTarget _target;

    private DiscoverySources(
        DiscoveryConfig config, ReadOnlyMemory<byte> node, EventLoop loop, Clusters clusters, StatsRegistry stats, IDiscoveryTarget target, FastRandom random)
    {
        _loop = loop;
        _target = target;

        DiscoverySource Grpc(GrpcSourceConfig grpc) => new GrpcSource(loop, clusters, grpc, node, target, stats, config.FetchTimeoutsMs, random);

        void Add(string typeUrl, DiscoveryOrigin? origin)
        {
            // Types whose origin is ADS, and all others, are asked for there.
            DiscoverySource? source = origin switch
            {
                GrpcOrigin grpc => Grpc(grpc.Config),
                RestOrigin rest => new RestSource(loop, clusters, rest.Config, node, target, stats, config.FetchTimeoutsMs, random),
                PathOrigin path => new PathSource(loop, path, target, stats, config.FetchTimeoutsMs),
                _ => null,
            };
            if (origin is null)
                _notDiscovered.Add(typeUrl);
            if (source is null)
                return;
            _byType.Add(typeUrl, source);
            _all.Add(source);
        }

        if (config.Ads is not null)
            _all.Add(_ads = Grpc(config.Ads));
        Add(ResourceTypes.Cluster, config.Clusters);
        Add(ResourceTypes.Listener, config.Listeners);
    }

    /// <summary>Makes the sources.</summary>
    /// <param name="config">What the bootstrap says.</param>
    /// <param name="node">envoy.config.core.v3.Node, as every control plane is told.</param>
    /// <param name="loop">The control loop.</param>
    /// <param name="clusters">Its own clusters, the control planes' among them.</param>
    /// <param name="stats">The process's stats.</param>
    /// <param name="target">Who takes what comes.</param>
    /// <param name="random">For the waits between attempts.</param>
    internal static DiscoverySource Create(
        DiscoveryConfig config, ReadOnlyMemory<byte> node, EventLoop loop, Clusters clusters, StatsRegistry stats, IDiscoveryTarget target, FastRandom random) =>
        new DiscoverySources(config, node, loop, clusters, stats, target, random);

    internal override string ControlPlane
    {
        get
        {
            foreach (var source in _all)
            {
                if (source.ControlPlane.Length > 0)
                    return source.ControlPlane;
            }
            return "";
        }
    }

    internal override void Start()
    {
        foreach (var source in _all)
            source.Start();
    }

    internal override void Stop()
    {
        foreach (var source in _all)
            source.Stop();
    }

    internal override void Subscribe(string typeUrl, bool wildcard, IReadOnlyCollection<string> names, long? fetchTimeoutMs = null)
    {
        var source = _byType.GetValueOrDefault(typeUrl) ?? (_notDiscovered.Contains(typeUrl) ? null : _ads);
        if (source is not null)
        {
            source.Subscribe(typeUrl, wildcard, names, fetchTimeoutMs);
            return;
        }
        // Nobody will ever answer: what waits goes on at once.
        if (wildcard)
            _loop.Post(() => _target.OnFetchTimeout(typeUrl, []));
        if (names.Count == 0)
            return;
        Log.Warning("config", $"nothing in the bootstrap says where {ResourceTypes.Noun(typeUrl)}s come from (dynamic_resources.ads_config)");
        string[] wanted = [.. names];
        _loop.Post(() => _target.OnFetchTimeout(typeUrl, wanted));
    }
}
