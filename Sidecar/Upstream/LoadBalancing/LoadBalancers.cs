using System;
using Sidecar.Memory;

namespace Sidecar.Upstream.LoadBalancing;

/// <summary>Chooses one host of a group.</summary>
/// <remarks>Worker-owned, one per cluster. A pick allocates nothing.</remarks>
internal abstract class LoadBalancer
{
    /// <summary>A host of <paramref name="group"/>, which is not empty.</summary>
    internal abstract HostState Pick(HostGroup group, LoadBalancerContext? context);
}

/// <summary>
/// The policies. To add one: its class here or in a file of this folder, its value in <see cref="LbPolicy"/>, its line below, its
/// acceptance in the cluster translator, its distribution test.
/// </summary>
internal static class LoadBalancers
{
    /// <summary>The policy of a cluster.</summary>
    internal static LoadBalancer Create(ClusterConfig config, FastRandom random) => config.LbPolicy switch
    {
        LbPolicy.LeastRequest => new LeastRequestBalancer(config.ChoiceCount, config.ActiveRequestBias, random),
        LbPolicy.Random => new RandomBalancer(random),
        _ => new RoundRobinBalancer(random),
    };
}

/// <summary>ROUND_ROBIN: hosts in turn; by weight when weights differ.</summary>
internal sealed class RoundRobinBalancer(FastRandom random) : LoadBalancer
{
    internal override HostState Pick(HostGroup group, LoadBalancerContext? context)
    {
        if (!group.IsWeighted)
        {
            if (group.Next == 0)
                group.Next = (uint)group.Hosts.Length + random.Next((uint)group.Hosts.Length);
            return group.Hosts[group.Next++ % (uint)group.Hosts.Length];
        }

        var schedule = group.Schedule ??= Start(group, random);
        int i = schedule.Take();
        schedule.Add(i, group.Hosts[i].Host.Weight);
        return group.Hosts[i];
    }

    // Some picks are thrown away, so that workers and proxies do not all begin with the heaviest host.
    private static EdfScheduler Start(HostGroup group, FastRandom random)
    {
        var schedule = new EdfScheduler(group.Hosts.Length);
        for (int i = 0; i < group.Hosts.Length; i++)
            schedule.Add(i, group.Hosts[i].Host.Weight);
        for (uint skip = random.Next((uint)group.Hosts.Length); skip > 0; skip--)
        {
            int i = schedule.Take();
            schedule.Add(i, group.Hosts[i].Host.Weight);
        }
        return schedule;
    }
}

/// <summary>
/// LEAST_REQUEST: of <c>choiceCount</c> hosts drawn at random the one with the fewest active requests; when weights differ, by turns with
/// weight / (active + 1)^bias. Active requests are this worker's own.
/// </summary>
internal sealed class LeastRequestBalancer(int choiceCount, double bias, FastRandom random) : LoadBalancer
{
    internal override HostState Pick(HostGroup group, LoadBalancerContext? context)
    {
        if (!group.IsWeighted)
            return PickOfSome(group.Hosts);

        var schedule = group.Schedule ??= Start(group);
        int i = schedule.Take();
        schedule.Add(i, Weight(group.Hosts[i]));
        return group.Hosts[i];
    }

    private HostState PickOfSome(HostState[] hosts)
    {
        var best = hosts[random.Next((uint)hosts.Length)];
        for (int choice = 1; choice < choiceCount; choice++)
        {
            var other = hosts[random.Next((uint)hosts.Length)];
            if (other.Cells.RqActive < best.Cells.RqActive)
                best = other;
        }
        return best;
    }

    private EdfScheduler Start(HostGroup group)
    {
        var schedule = new EdfScheduler(group.Hosts.Length);
        for (int i = 0; i < group.Hosts.Length; i++)
            schedule.Add(i, Weight(group.Hosts[i]));
        for (uint skip = random.Next((uint)group.Hosts.Length); skip > 0; skip--)
        {
            int i = schedule.Take();
            schedule.Add(i, Weight(group.Hosts[i]));
        }
        return schedule;
    }

    private double Weight(HostState host)
    {
        if (bias == 0)
            return host.Host.Weight;
        double active = host.Cells.RqActive + 1;
        return host.Host.Weight / (bias == 1.0 ? active : Math.Pow(active, bias));
    }
}

/// <summary>RANDOM: any host, weights aside.</summary>
internal sealed class RandomBalancer(FastRandom random) : LoadBalancer
{
    internal override HostState Pick(HostGroup group, LoadBalancerContext? context) => group.Hosts[random.Next((uint)group.Hosts.Length)];
}
