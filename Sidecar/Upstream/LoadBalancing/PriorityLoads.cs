using System;

namespace Sidecar.Upstream.LoadBalancing;

/// <summary>
/// How traffic is split over priorities, as Envoy does it: each priority can take its share of healthy hosts times the
/// overprovisioning factor, the first ones first; degraded hosts take what healthy ones cannot; when too few are left, a priority
/// (or all of them) panics and uses every host.
/// </summary>
/// <remarks>Pure; computed when a host set arrives.</remarks>
internal sealed class PriorityLoads
{
    private PriorityLoads(int count)
    {
        Healthy = new uint[count];
        Degraded = new uint[count];
        Panic = new bool[count];
    }

    /// <summary>Percent of the traffic to each priority's healthy hosts. With <see cref="Degraded"/> it sums to 100.</summary>
    internal uint[] Healthy { get; }
    internal uint[] Degraded { get; }

    /// <summary>Priorities that use all their hosts, whatever their health.</summary>
    internal bool[] Panic { get; }

    /// <summary>Splits 100 percent over the priorities of <paramref name="hosts"/>.</summary>
    internal static PriorityLoads Compute(HostSet hosts, double panicThresholdPercent)
    {
        int count = hosts.Priorities.Length;
        var loads = new PriorityLoads(Math.Max(1, count));
        if (count == 0)
        {
            loads.Healthy[0] = 100;
            return loads;
        }

        Span<uint> healthy = count <= 16 ? stackalloc uint[count] : new uint[count];
        Span<uint> degraded = count <= 16 ? stackalloc uint[count] : new uint[count];
        ulong availability = 0;
        for (int i = 0; i < count; i++)
        {
            Measure(hosts.Priorities[i].Hosts, hosts.WeightedPriorityHealth, out double all, out double good, out double weak);
            healthy[i] = all == 0 ? 0 : (uint)Math.Min(100, hosts.OverprovisioningFactor * good / all);
            degraded[i] = all == 0 ? 0 : (uint)Math.Min(100, hosts.OverprovisioningFactor * weak / all);
            availability += healthy[i] + degraded[i];
        }
        uint total = (uint)Math.Min(100, availability);

        if (total == 0)
        {
            loads.Healthy[0] = 100;
        }
        else
        {
            uint left = 100;
            left = Distribute(loads.Healthy, healthy, total, left);
            left = Distribute(loads.Degraded, degraded, total, left);
            GiveRest(loads, left);
        }

        if (panicThresholdPercent == 0 && total == 0)
            return loads;

        bool totalPanic = true;
        for (int i = 0; i < count; i++)
        {
            loads.Panic[i] = total != 100 && IsInPanic(hosts.Priorities[i].Hosts, panicThresholdPercent);
            totalPanic &= loads.Panic[i];
        }
        if (totalPanic)
            SplitByHostCount(loads, hosts);
        return loads;
    }

    private static void Measure(Host[] hosts, bool byWeight, out double all, out double healthy, out double degraded)
    {
        all = healthy = degraded = 0;
        foreach (var host in hosts)
        {
            double amount = byWeight ? host.Weight : 1;
            all += amount;
            if (host.IsHealthy)
                healthy += amount;
            else if (host.IsDegraded)
                degraded += amount;
        }
    }

    private static bool IsInPanic(Host[] hosts, double thresholdPercent)
    {
        Measure(hosts, byWeight: false, out double all, out double healthy, out double degraded);
        return (all == 0 ? 0 : 100.0 * (healthy + degraded) / all) < thresholdPercent;
    }

    private static uint Distribute(uint[] loads, ReadOnlySpan<uint> capacity, uint total, uint left)
    {
        for (int i = 0; i < capacity.Length; i++)
        {
            uint share = Math.Min(left, capacity[i] * 100 / total);
            loads[i] = share;
            left -= share;
        }
        return left;
    }

    // What rounding left over goes to the first priority that has anything.
    private static void GiveRest(PriorityLoads loads, uint left)
    {
        if (left == 0)
            return;
        int first = Array.FindIndex(loads.Healthy, static load => load != 0);
        if (first >= 0)
        {
            loads.Healthy[first] += left;
            return;
        }
        first = Array.FindIndex(loads.Degraded, static load => load != 0);
        loads.Degraded[Math.Max(0, first)] += left;
    }

    private static void SplitByHostCount(PriorityLoads loads, HostSet hosts)
    {
        Array.Clear(loads.Healthy);
        Array.Clear(loads.Degraded);
        if (hosts.Count == 0)
        {
            loads.Healthy[0] = 100;
            return;
        }
        uint left = 100;
        int first = -1;
        for (int i = 0; i < hosts.Priorities.Length; i++)
        {
            int count = hosts.Priorities[i].Hosts.Length;
            if (count > 0 && first < 0)
                first = i;
            loads.Healthy[i] = (uint)(100L * count / hosts.Count);
            left -= loads.Healthy[i];
        }
        loads.Healthy[first] += left;
    }
}
