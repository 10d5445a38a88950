using System;
using System.Collections.Generic;
using Sidecar.Loop;
using Sidecar.Telemetry;
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

    private DiscoverySources(DiscoveryConfig config, SourceFactory factory, EventLoop loop, IDiscoveryTarget target)
    {
        _loop = loop;
        _target = target;
        if (config.Ads is not null)
            _all.Add(_ads = factory.Make(new GrpcOrigin(config.Ads), target, config.FetchTimeoutsMs)!);
        Add(ResourceTypes.Cluster, config.Clusters);
        Add(ResourceTypes.Listener, config.Listeners);

        void Add(string typeUrl, DiscoveryOrigin? origin)
        {
            // Types whose origin is ADS, and all others, are asked for there.
            if (origin is null)
                _notDiscovered.Add(typeUrl);
            if (factory.Make(origin, target, config.FetchTimeoutsMs) is not { } source)
                return;
            _byType.Add(typeUrl, source);
            _all.Add(source);
        }
    }

    /// <summary>Makes the sources.</summary>
    /// <param name="config">What the bootstrap says.</param>
    /// <param name="factory">Makes each.</param>
    /// <param name="loop">The control loop.</param>
    /// <param name="target">Who takes what comes.</param>
    internal static DiscoverySource Create(DiscoveryConfig config, SourceFactory factory, EventLoop loop, IDiscoveryTarget target) =>
        new DiscoverySources(config, factory, loop, target);

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

    internal override void Subscribe(string typeUrl, bool wildcard, IReadOnlyCollection<string> names, Func<string, long>? fetchTimeoutMs = null)
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
