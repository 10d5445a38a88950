using System;
using System.Collections.Generic;
using System.Diagnostics;
using Sidecar.Loop;
using Sidecar.Memory;

namespace Sidecar.Upstream;

/// <summary>All clusters of one worker, by slot: routes name a slot, a request reads one array element.</summary>
/// <remarks>Worker-owned. <see cref="Apply"/> and <see cref="ApplyHosts"/> come from the control loop by the worker's mailbox, between turns of traffic.</remarks>
internal sealed class Clusters
{
    private readonly EventLoop _loop;
    private readonly int _worker;
    private readonly FastRandom _random;
    private readonly Dictionary<string, Cluster> _byName = new(StringComparer.Ordinal);
    private Cluster?[] _slots = new Cluster?[16];

    internal Clusters(EventLoop loop, int worker, FastRandom random)
    {
        _loop = loop;
        _worker = worker;
        _random = random;
    }

    internal int Count => _byName.Count;

    /// <summary>The cluster in a slot, or null when no configuration has it (any more).</summary>
    internal Cluster? this[int slot] => (uint)slot < (uint)_slots.Length ? _slots[slot] : null;

    /// <summary>The cluster of that name; for cluster_header and admin, not for every request.</summary>
    internal Cluster? Find(string name) => _byName.TryGetValue(name, out var cluster) ? cluster : null;

    internal IEnumerable<Cluster> All => _byName.Values;

    /// <summary>
    /// Makes the clusters what <paramref name="configs"/> says. The same configuration object keeps its cluster with all connections; another
    /// one for the same name starts anew with the hosts known so far, while streams of the old cluster finish there; what is missing drains.
    /// </summary>
    internal void Apply(IReadOnlyList<ClusterConfig> configs)
    {
        Debug.Assert(_loop.IsCurrent);
        var named = new HashSet<string>(configs.Count, StringComparer.Ordinal);
        foreach (var config in configs)
        {
            named.Add(config.Name);
            var old = this[config.Slot];
            if (old is not null && ReferenceEquals(old.Config, config))
                continue;
            var cluster = new Cluster(_loop, config, _worker, _random);
            if (old is not null)
            {
                if (config.Type != DiscoveryType.Static && config.Type == old.Config.Type)
                    cluster.ApplyHosts(old.Hosts);
                old.Drain();
            }
            Put(config, cluster);
        }

        if (named.Count == _byName.Count)
            return;
        var removed = new List<Cluster>();
        foreach (var (name, cluster) in _byName)
        {
            if (!named.Contains(name))
                removed.Add(cluster);
        }
        foreach (var cluster in removed)
        {
            _byName.Remove(cluster.Config.Name);
            if (_slots[cluster.Config.Slot] == cluster)
                _slots[cluster.Config.Slot] = null;
            cluster.Drain();
        }
    }

    /// <summary>Gives a cluster new hosts; nothing happens when the slot is empty.</summary>
    internal void ApplyHosts(int slot, HostSet hosts) => this[slot]?.ApplyHosts(hosts);

    private void Put(ClusterConfig config, Cluster cluster)
    {
        if (config.Slot >= _slots.Length)
            Array.Resize(ref _slots, Math.Max(config.Slot + 1, _slots.Length * 2));
        _slots[config.Slot] = cluster;
        _byName[config.Name] = cluster;
    }
}
