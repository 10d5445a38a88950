using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using Sidecar.Net;
using Sidecar.Telemetry;

namespace Sidecar.Upstream.Discovery;

/// <summary>One endpoint as configuration gives it.</summary>
/// <param name="Address">Where it is; none when <paramref name="DnsName"/> is to be resolved.</param>
/// <param name="DnsName">Name to resolve, in STRICT_DNS and LOGICAL_DNS clusters; else empty.</param>
/// <param name="Port">Port behind <paramref name="DnsName"/>.</param>
/// <param name="Hostname">For host rewrites and SNI.</param>
/// <param name="Weight">At least 1.</param>
/// <param name="Health">As the control plane says.</param>
/// <param name="Metadata">As the control plane says.</param>
internal sealed record EndpointSpec(
    Address Address, string DnsName, ushort Port, string Hostname, uint Weight, EdsHealth Health, Metadata Metadata);

/// <summary>Endpoints of one locality and priority.</summary>
/// <param name="Locality">Where they are.</param>
/// <param name="Weight">0: no share where localities are weighted.</param>
/// <param name="Priority">From 0.</param>
/// <param name="Endpoints">In the order given.</param>
internal sealed record LocalitySpec(Locality Locality, uint Weight, uint Priority, IReadOnlyList<EndpointSpec> Endpoints);

/// <summary>A ClusterLoadAssignment, checked: what a <see cref="HostSet"/> is built from.</summary>
/// <remarks>Shared immutable.</remarks>
internal sealed class EndpointSet
{
    // So many addresses are compared faster than hashed.
    private const int ScannedMax = 16;

    internal static readonly EndpointSet Empty = new();

    internal IReadOnlyList<LocalitySpec> Localities { get; init; } = [];
    internal uint OverprovisioningFactor { get; init; } = HostSet.DefaultOverprovisioningFactor;
    internal bool WeightedPriorityHealth { get; init; }

    /// <summary>
    /// The hosts of these endpoints. An endpoint whose address <paramref name="previous"/> has keeps that host object, brought up to date; an
    /// address given twice counts once.
    /// </summary>
    /// <param name="config">The cluster, whose transport matches the hosts are made by.</param>
    /// <param name="previous">The hosts until now; null when there were none.</param>
    /// <param name="workers">Workers of the process.</param>
    /// <param name="resolve">Addresses of an endpoint with a DNS name; null when there are no names.</param>
    internal HostSet Build(ClusterConfig config, HostSet? previous, int workers, Func<EndpointSpec, IReadOnlyList<Address>>? resolve = null)
    {
        Dictionary<Address, Host>? known = null;
        if (previous is { Count: > 0 })
        {
            known = new Dictionary<Address, Host>(previous.Count);
            foreach (var priority in previous.Priorities)
            {
                foreach (var host in priority.Hosts)
                    known.TryAdd(host.Address, host);
            }
        }

        uint priorities = 0;
        int expected = 0;
        for (int i = 0; i < Localities.Count; i++)
        {
            priorities = Math.Max(priorities, Localities[i].Priority + 1);
            expected += Localities[i].Endpoints.Count;
        }
        var hosts = new List<Host>(expected);
        var localities = new LocalityHosts[Localities.Count];
        var taken = expected > ScannedMax ? new HashSet<Address>(expected) : null;
        for (int i = 0; i < Localities.Count; i++)
        {
            var locality = Localities[i];
            int first = hosts.Count;
            for (int j = 0; j < locality.Endpoints.Count; j++)
            {
                var endpoint = locality.Endpoints[j];
                if (endpoint.DnsName.Length == 0)
                {
                    AddHost(endpoint.Address, endpoint, locality);
                    continue;
                }
                taken ??= AddressesOf(hosts);
                foreach (var address in resolve?.Invoke(endpoint) ?? [])
                    AddHost(address.WithPort(endpoint.Port), endpoint, locality);
            }
            localities[i] = new LocalityHosts(locality.Locality, locality.Weight, CollectionsMarshal.AsSpan(hosts)[first..].ToArray());
        }

        var sets = new PriorityHosts[priorities];
        for (uint i = 0; i < priorities; i++)
            sets[i] = HostsOf(i, localities);
        return new HostSet(sets, OverprovisioningFactor, WeightedPriorityHealth);

        void AddHost(in Address address, EndpointSpec endpoint, LocalitySpec locality)
        {
            if (taken is null ? IsAmong(hosts, address) : !taken.Add(address))
                return;
            string hostname = endpoint.Hostname.Length > 0 ? endpoint.Hostname : endpoint.DnsName;
            Host? host = null;
            if (known is null || !known.TryGetValue(address, out host) || host.Hostname != hostname)
                host = new Host(address, hostname, workers);
            host.Weight = endpoint.Weight;
            host.Priority = locality.Priority;
            host.Locality = locality.Locality;
            host.EdsHealth = endpoint.Health;
            host.Metadata = endpoint.Metadata;
            host.Transport = config.TransportFor(endpoint.Metadata);
            host.SetFlags(HostFlags.FailedEdsHealth | HostFlags.DegradedEdsHealth, FlagsOf(endpoint.Health));
            hosts.Add(host);
        }
    }

    private static bool IsAmong(List<Host> hosts, in Address address)
    {
        foreach (var host in hosts)
        {
            if (host.Address == address)
                return true;
        }
        return false;
    }

    private static HashSet<Address> AddressesOf(List<Host> hosts)
    {
        var addresses = new HashSet<Address>(hosts.Count);
        foreach (var host in hosts)
            addresses.Add(host.Address);
        return addresses;
    }

    // Nearly always there is one priority with one locality, whose hosts are all there are.
    private PriorityHosts HostsOf(uint priority, LocalityHosts[] all)
    {
        var localities = new List<LocalityHosts>(all.Length);
        for (int i = 0; i < all.Length; i++)
        {
            if (Localities[i].Priority == priority)
                localities.Add(all[i]);
        }
        if (localities.Count == 1)
            return new PriorityHosts(localities[0].Hosts, all.Length == 1 ? all : localities.ToArray());
        var hosts = new List<Host>();
        foreach (var locality in localities)
            hosts.AddRange(locality.Hosts);
        return new PriorityHosts(hosts.ToArray(), localities.ToArray());
    }

    private static HostFlags FlagsOf(EdsHealth health) => health switch
    {
        EdsHealth.Unhealthy or EdsHealth.Draining or EdsHealth.Timeout => HostFlags.FailedEdsHealth,
        EdsHealth.Degraded => HostFlags.DegradedEdsHealth,
        _ => HostFlags.None,
    };
}

/// <summary>The stats of a cluster that change with its hosts.</summary>
/// <remarks>Control loop.</remarks>
internal static class Membership
{
    /// <summary>Counts an update, and says how many hosts there are now.</summary>
    /// <param name="config">The cluster.</param>
    /// <param name="previous">The hosts until now.</param>
    /// <param name="hosts">The hosts from now on.</param>
    /// <param name="writer">The control loop's cells.</param>
    internal static void Write(ClusterConfig config, HostSet? previous, HostSet hosts, int writer)
    {
        var cells = config.Stats.Cells(writer);
        cells.Set(ClusterStats.MembershipTotal, hosts.Count);
        cells.Set(ClusterStats.MembershipHealthy, hosts.HealthyCount);
        cells.Set(ClusterStats.MembershipDegraded, hosts.DegradedCount);
        cells.Set(ClusterStats.MaxHostWeight, hosts.MaxWeight);
        if (IsOtherHosts(previous, hosts))
            cells.Inc(ClusterStats.MembershipChange);
        else
            cells.Inc(ClusterStats.UpdateNoRebuild);
    }

    private static bool IsOtherHosts(HostSet? previous, HostSet hosts)
    {
        if (previous is null || previous.Count != hosts.Count)
            return hosts.Count > 0 || previous is { Count: > 0 };
        var old = new HashSet<Host>();
        foreach (var priority in previous.Priorities)
            old.UnionWith(priority.Hosts);
        foreach (var priority in hosts.Priorities)
        {
            foreach (var host in priority.Hosts)
            {
                if (!old.Contains(host))
                    return true;
            }
        }
        return false;
    }
}
