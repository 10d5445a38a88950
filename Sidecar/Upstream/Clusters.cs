using System;
using System.Collections.Generic;
using System.Diagnostics;
using Sidecar.Loop;
using Sidecar.Memory;

namespace Sidecar.Upstream;

/// <summary>
/// All clusters of one worker, by slot: routes name a slot, a request reads one array element. What is configured and what is used differ by a lot in a
/// mesh, so a cluster's own objects are made when somebody first asks for it; until then it is a configuration and its hosts, which all workers share.
/// </summary>
/// <remarks>Worker-owned. Changes come from the control loop by the worker's mailbox, between turns of traffic; each is a few stores.</remarks>
internal sealed class Clusters
{
    private readonly EventLoop _loop;
    private readonly int _worker;
    private readonly FastRandom _random;
    private readonly PeerChecks? _checks;
    private readonly Dictionary<string, int> _slotOfName = new(StringComparer.Ordinal);
    private Entry[] _slots = new Entry[16];

    /// <summary>One slot.</summary>
    /// <param name="Config">Null: the slot is empty.</param>
    /// <param name="Hosts">The hosts known; those of an ORIGINAL_DST cluster are with the cluster.</param>
    /// <param name="Cluster">Null until it is asked for.</param>
    internal readonly record struct Entry(ClusterConfig? Config, HostSet Hosts, Cluster? Cluster);

    /// <param name="loop">The loop they belong to.</param>
    /// <param name="worker">Its number.</param>
    /// <param name="random">For load balancing.</param>
    /// <param name="checks">How connections notice a peer that is gone, where a cluster's configuration does not say; null: they do not.</param>
    internal Clusters(EventLoop loop, int worker, FastRandom random, PeerChecks? checks = null)
    {
        _checks = checks;
        _loop = loop;
        _worker = worker;
        _random = random;
    }

    internal int Count => _slotOfName.Count;

    /// <summary>The cluster in a slot, or null when no configuration has it (any more).</summary>
    internal Cluster? this[int slot]
    {
        get
        {
            if ((uint)slot >= (uint)_slots.Length)
                return null;
            ref readonly var entry = ref _slots[slot];
            return entry.Cluster ?? (entry.Config is null ? null : Make(slot));
        }
    }

    /// <summary>The cluster of that name; for cluster_header and admin, not for every request.</summary>
    internal Cluster? Find(string name) => _slotOfName.TryGetValue(name, out int slot) ? this[slot] : null;

    /// <summary>Every cluster, also those that were never asked for.</summary>
    internal IEnumerable<Entry> All
    {
        get
        {
            foreach (int slot in _slotOfName.Values)
                yield return _slots[slot];
        }
    }

    /// <summary>
    /// A new or changed cluster. The same configuration object keeps its cluster with all connections; another one for the same name starts anew,
    /// while streams of the old cluster finish there.
    /// </summary>
    /// <param name="config">What it is.</param>
    /// <param name="hosts">Its hosts; null: those of the configuration, or those known so far.</param>
    internal void Set(ClusterConfig config, HostSet? hosts = null)
    {
        Debug.Assert(_loop.IsCurrent);
        if (config.Slot >= _slots.Length)
            Array.Resize(ref _slots, Math.Max(config.Slot + 1, _slots.Length * 2));
        var (old, known, cluster) = _slots[config.Slot];
        if (old is not null && ReferenceEquals(old, config))
        {
            if (hosts is not null)
                ApplyHosts(config, hosts);
            return;
        }
        hosts ??= config.StaticHosts ?? (old is not null && config.Type == old.Type ? known : HostSet.Empty);
        _slots[config.Slot] = new Entry(config, hosts, null);
        _slotOfName[config.Name] = config.Slot;
        cluster?.Drain();
    }

    /// <summary>The cluster of this name goes: its streams finish, new ones find nothing.</summary>
    internal void Remove(string name)
    {
        Debug.Assert(_loop.IsCurrent);
        if (!_slotOfName.Remove(name, out int slot))
            return;
        var cluster = _slots[slot].Cluster;
        _slots[slot] = default;
        cluster?.Drain();
    }

    /// <summary>Gives a cluster new hosts; nothing happens when another configuration has taken its place, or none.</summary>
    internal void ApplyHosts(ClusterConfig config, HostSet hosts)
    {
        Debug.Assert(_loop.IsCurrent);
        int slot = config.Slot;
        if ((uint)slot >= (uint)_slots.Length || !ReferenceEquals(_slots[slot].Config, config))
            return;
        _slots[slot] = _slots[slot] with { Hosts = hosts };
        _slots[slot].Cluster?.ApplyHosts(hosts);
    }

    private Cluster Make(int slot)
    {
        var (config, hosts, _) = _slots[slot];
        var cluster = new Cluster(_loop, config!, hosts, _worker, _random, _checks);
        _slots[slot] = new Entry(config, hosts, cluster);
        return cluster;
    }
}
