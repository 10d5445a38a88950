using Sidecar.Memory;

namespace Sidecar.Upstream.LoadBalancing;

/// <summary>Hosts that a policy chooses among: the healthy, the degraded or all hosts of a priority, or of one locality in it.</summary>
/// <remarks>Worker-owned; rebuilt with each host set.</remarks>
internal sealed class HostGroup
{
    internal static readonly HostGroup Empty = new([]);

    internal HostGroup(HostState[] hosts)
    {
        Hosts = hosts;
        for (int i = 1; i < hosts.Length; i++)
            IsWeighted |= hosts[i].Host.Weight != hosts[0].Host.Weight;
    }

    internal HostState[] Hosts { get; }

    /// <summary>Not all weights are equal.</summary>
    internal bool IsWeighted { get; }

    /// <summary>Round robin's position; starts at random so that a fleet does not move in step.</summary>
    internal uint Next;

    /// <summary>Order of weighted picks, made at the first.</summary>
    internal EdfScheduler? Schedule;
}

/// <summary>Hosts of one priority as the balancer sees them.</summary>
internal sealed class PriorityGroup
{
    internal required HostGroup All { get; init; }
    internal required HostGroup Healthy { get; init; }
    internal required HostGroup Degraded { get; init; }

    /// <summary>With locality weights: the healthy and the degraded hosts of each locality, and whose turn it is; null otherwise.</summary>
    internal LocalityGroups? HealthyLocalities { get; init; }
    internal LocalityGroups? DegradedLocalities { get; init; }
}

/// <summary>Localities that take turns by weight.</summary>
internal sealed class LocalityGroups
{
    private readonly HostGroup[] _groups;
    private readonly double[] _weights;
    private readonly EdfScheduler _schedule;

    /// <param name="groups">One per locality; none is empty.</param>
    /// <param name="weights">Effective weight of each, above 0.</param>
    internal LocalityGroups(HostGroup[] groups, double[] weights, FastRandom random)
    {
        _groups = groups;
        _weights = weights;
        _schedule = new EdfScheduler(groups.Length);
        for (int i = 0; i < groups.Length; i++)
            _schedule.Add(i, weights[i]);
        for (uint skip = groups.Length > 1 ? random.Next((uint)groups.Length * 4) : 0; skip > 0; skip--)
            Pick();
    }

    /// <summary>The locality whose turn it is.</summary>
    internal HostGroup Pick()
    {
        int i = _schedule.Take();
        _schedule.Add(i, _weights[i]);
        return _groups[i];
    }
}
