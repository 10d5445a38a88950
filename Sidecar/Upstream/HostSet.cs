using System;

namespace Sidecar.Upstream;

/// <summary>Hosts of one priority in one place.</summary>
/// <param name="Locality">Where they are.</param>
/// <param name="Weight">Share of the priority's traffic when localities are weighted; 0: none.</param>
/// <param name="Hosts">The hosts, in the order of the endpoints.</param>
internal sealed record LocalityHosts(Locality Locality, uint Weight, Host[] Hosts);

/// <summary>Hosts of one priority.</summary>
/// <param name="Hosts">All of them.</param>
/// <param name="Localities">The same hosts by place.</param>
internal sealed record PriorityHosts(Host[] Hosts, LocalityHosts[] Localities);

/// <summary>The hosts of a cluster at one moment: by priority, then by locality.</summary>
/// <remarks>Shared immutable (the hosts in it say more about what changes); built on the control loop, given to workers whole.</remarks>
internal sealed class HostSet
{
    /// <summary>Percent by which healthy hosts may be overestimated before the next priority gets traffic (Envoy's default, 1.4).</summary>
    internal const uint DefaultOverprovisioningFactor = 140;

    internal static readonly HostSet Empty = new([], DefaultOverprovisioningFactor, false);

    internal HostSet(PriorityHosts[] priorities, uint overprovisioningFactor, bool weightedPriorityHealth)
    {
        Priorities = priorities;
        OverprovisioningFactor = overprovisioningFactor;
        WeightedPriorityHealth = weightedPriorityHealth;
        foreach (var priority in priorities)
        {
            Count += priority.Hosts.Length;
            foreach (var host in priority.Hosts)
            {
                if (host.IsHealthy)
                    HealthyCount++;
                else if (host.IsDegraded)
                    DegradedCount++;
                MaxWeight = Math.Max(MaxWeight, host.Weight);
            }
        }
    }

    /// <summary>From 0, the preferred; a priority in between may be empty.</summary>
    internal PriorityHosts[] Priorities { get; }
    internal uint OverprovisioningFactor { get; }

    /// <summary>Health of a priority is measured in host weights, not in number of hosts.</summary>
    internal bool WeightedPriorityHealth { get; }
    internal int Count { get; }

    /// <summary>As it was when the set was built.</summary>
    internal int HealthyCount { get; }
    internal int DegradedCount { get; }
    internal uint MaxWeight { get; }
}
