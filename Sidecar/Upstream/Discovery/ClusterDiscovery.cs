using System;
using System.Collections.Generic;
using Sidecar.Loop;
using Sidecar.Memory;
using Sidecar.Net;

namespace Sidecar.Upstream.Discovery;

/// <summary>
/// Finds the hosts of the clusters that find their own: STRICT_DNS and LOGICAL_DNS. (STATIC ones have theirs in their configuration, EDS
/// ones in the snapshot, ORIGINAL_DST ones make them from connections.)
/// </summary>
/// <remarks>Control loop.</remarks>
internal sealed class ClusterDiscovery
{
    private readonly EventLoop _loop;
    private readonly DnsResolver _resolver;
    private readonly int _workers;
    private readonly FastRandom _random;
    private readonly Action<ClusterConfig, HostSet> _changed;
    private readonly Dictionary<string, DnsDiscovery> _running = new(StringComparer.Ordinal);

    /// <param name="loop">The control loop.</param>
    /// <param name="resolver">On the same loop.</param>
    /// <param name="workers">Workers of the process.</param>
    /// <param name="random">For the jitter.</param>
    /// <param name="changed">Told a cluster's hosts each time they change: to be given to every worker.</param>
    internal ClusterDiscovery(EventLoop loop, DnsResolver resolver, int workers, FastRandom random, Action<ClusterConfig, HostSet> changed)
    {
        _loop = loop;
        _resolver = resolver;
        _workers = workers;
        _random = random;
        _changed = changed;
    }

    /// <summary>Every cluster has hosts, or knows that it has none.</summary>
    internal bool IsWarm
    {
        get
        {
            foreach (var discovery in _running.Values)
            {
                if (!discovery.IsWarm)
                    return false;
            }
            return true;
        }
    }

    /// <summary>The hosts found for a cluster, or null when it is not of a kind that is looked after here.</summary>
    internal HostSet? HostsOf(ClusterConfig config) =>
        _running.TryGetValue(config.Name, out var discovery) && discovery.Config == config ? discovery.Hosts : null;

    /// <summary>A new or changed cluster; of a kind that is not looked after here, only its predecessor ends. The same configuration object goes on as it is.</summary>
    internal void Set(ClusterConfig config)
    {
        if (_running.TryGetValue(config.Name, out var old) && old.Config == config)
            return;
        Remove(config.Name);
        if (config.Type is not (DiscoveryType.StrictDns or DiscoveryType.LogicalDns))
            return;
        var discovery = new DnsDiscovery(_loop, _resolver, config, _workers, _random, _changed);
        _running.Add(config.Name, discovery);
        discovery.Start();
    }

    /// <summary>The cluster is gone.</summary>
    internal void Remove(string name)
    {
        if (_running.Remove(name, out var discovery))
            discovery.Stop();
    }

    /// <summary>Asks no more; the process ends.</summary>
    internal void Stop()
    {
        foreach (var discovery in _running.Values)
            discovery.Stop();
        _running.Clear();
    }
}
