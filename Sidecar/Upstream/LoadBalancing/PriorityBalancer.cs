using System;
using System.Collections.Generic;
using Sidecar.Memory;
using Sidecar.Telemetry.Stats;

namespace Sidecar.Upstream.LoadBalancing;

/// <summary>
/// The way from a host set to a host:
/// <code>
///   1  priority     by load, healthy before degraded              PriorityLoads
///   2  hosts in it  healthy, degraded, or all in panic
///   3  locality     by weight, when the cluster asks for it       LocalityGroups
///   4  host         by the cluster's policy                       LoadBalancer
/// </code>
/// </summary>
/// <remarks>Worker-owned; made anew for each host set. A pick is O(1) in hosts (O(log n) with weights) and allocates nothing.</remarks>
internal sealed class PriorityBalancer
{
    private readonly HostSet _hosts;
    private readonly PriorityLoads _loads;
    private readonly PriorityGroup[] _groups;
    private readonly LoadBalancer _policy;
    private readonly FastRandom _random;
    private readonly bool _isSimple;

    internal PriorityBalancer(ClusterConfig config, HostSet hosts, Func<Host, HostState> stateOf, LoadBalancer policy, FastRandom random)
    {
        _hosts = hosts;
        _policy = policy;
        _random = random;
        _loads = PriorityLoads.Compute(hosts, config.PanicThresholdPercent);
        _groups = new PriorityGroup[hosts.Priorities.Length];
        for (int i = 0; i < _groups.Length; i++)
            _groups[i] = Group(hosts.Priorities[i], config.LocalityWeighted, hosts.OverprovisioningFactor, stateOf, random);
        _isSimple = _groups.Length == 1 && _loads.Healthy[0] == 100 && !_loads.Panic[0] && _groups[0].HealthyLocalities is null;
    }

    /// <summary>A host, or null when there is none to use.</summary>
    internal HostState? Pick(LoadBalancerContext? context, StatsCells stats)
    {
        if (_groups.Length == 0)
            return null;
        var group = _isSimple && context is null ? _groups[0].Healthy : ChooseGroup(context, stats);
        return group.Hosts.Length == 0 ? null : group.Hosts.Length == 1 ? group.Hosts[0] : _policy.Pick(group, context);
    }

    private HostGroup ChooseGroup(LoadBalancerContext? context, StatsCells stats)
    {
        // 1: priority.
        bool degraded = false;
        int priority = 0;
        if (context?.PriorityLoad(_hosts) is { } loads)
            priority = Math.Max(0, Find(loads, _random.Next(100), out _));
        else if (_groups.Length > 1 || _loads.Degraded[0] > 0)
            priority = Choose(_random.Next(100), out degraded);

        // 2: which of its hosts; 3: locality.
        var group = _groups[priority];
        if (_loads.Panic[priority])
        {
            stats.Inc(ClusterStats.LbHealthyPanic);
            return group.All;
        }
        if (degraded)
            return group.DegradedLocalities?.Pick() ?? group.Degraded;
        return group.HealthyLocalities?.Pick() ?? group.Healthy;
    }

    private int Choose(uint draw, out bool degraded)
    {
        int priority = Find(_loads.Healthy, draw, out uint left);
        degraded = priority < 0;
        if (degraded)
            priority = Find(_loads.Degraded, left, out _);
        return Math.Max(0, priority);
    }

    // The entry in whose span the draw falls, or -1 and what is left of the draw.
    private static int Find(uint[] loads, uint draw, out uint left)
    {
        left = draw;
        for (int i = 0; i < loads.Length; i++)
        {
            if (left < loads[i])
                return i;
            left -= loads[i];
        }
        return -1;
    }

    private static PriorityGroup Group(
        PriorityHosts hosts, bool localityWeighted, uint overprovisioning, Func<Host, HostState> stateOf, FastRandom random) => new()
    {
        All = Select(hosts.Hosts, static _ => true, stateOf),
        Healthy = Select(hosts.Hosts, static host => host.IsHealthy, stateOf),
        Degraded = Select(hosts.Hosts, static host => host.IsDegraded, stateOf),
        HealthyLocalities = localityWeighted ? Localities(hosts, static host => host.IsHealthy, overprovisioning, stateOf, random) : null,
        DegradedLocalities = localityWeighted ? Localities(hosts, static host => host.IsDegraded, overprovisioning, stateOf, random) : null,
    };

    private static HostGroup Select(Host[] hosts, Predicate<Host> wanted, Func<Host, HostState> stateOf)
    {
        var selected = new List<HostState>(hosts.Length);
        foreach (var host in hosts)
        {
            if (wanted(host))
                selected.Add(stateOf(host));
        }
        return selected.Count == 0 ? HostGroup.Empty : new HostGroup(selected.ToArray());
    }

    // A locality's weight shrinks with its share of usable hosts, once overprovisioning no longer makes up for the lost ones.
    private static LocalityGroups? Localities(
        PriorityHosts hosts, Predicate<Host> wanted, uint overprovisioning, Func<Host, HostState> stateOf, FastRandom random)
    {
        var groups = new List<HostGroup>();
        var weights = new List<double>();
        foreach (var locality in hosts.Localities)
        {
            var group = Select(locality.Hosts, wanted, stateOf);
            if (group.Hosts.Length == 0 || locality.Weight == 0)
                continue;
            double usable = (double)group.Hosts.Length / locality.Hosts.Length;
            groups.Add(group);
            weights.Add(locality.Weight * Math.Min(1.0, usable * overprovisioning / 100.0));
        }
        return groups.Count == 0 ? null : new LocalityGroups(groups.ToArray(), weights.ToArray(), random);
    }
}
