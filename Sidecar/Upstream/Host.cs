using System;
using System.Threading;
using Sidecar.Net;
using Sidecar.Telemetry;

namespace Sidecar.Upstream;

/// <summary>Where a host is; empty parts are unknown.</summary>
internal sealed record Locality(string Region, string Zone, string SubZone)
{
    internal static readonly Locality None = new("", "", "");

    /// <summary>As <c>region/zone/sub_zone</c>.</summary>
    public override string ToString() => $"{Region}/{Zone}/{SubZone}";
}

/// <summary>What the control plane says about a host: envoy.config.core.v3.HealthStatus, same numbers.</summary>
internal enum EdsHealth : byte { Unknown, Healthy, Unhealthy, Draining, Timeout, Degraded }

/// <summary>Why a host gets less traffic or none; a set.</summary>
[Flags]
internal enum HostFlags
{
    None = 0,
    FailedActiveHealthCheck = 1,
    FailedOutlierCheck = 2,
    FailedEdsHealth = 4,
    DegradedEdsHealth = 8,
}

/// <summary>
/// One address of a cluster. The same object stays through endpoint updates as long as its address does, so that connections and
/// counts go on.
/// </summary>
/// <remarks>
/// Shared. Address, name and hostname never change; weight, health, metadata and place are written by the control loop, before the
/// <see cref="HostSet"/> that brings them to the workers. The counts are the workers', one <see cref="HostCells"/> each.
/// </remarks>
internal sealed class Host
{
    // A name and counts are made for the hosts that are used.
    private readonly int _workers;
    private HostCells?[]? _cells;
    private string? _name;
    private int _flags;

    /// <param name="address">Where connections go.</param>
    /// <param name="hostname">Name from the endpoint, for host rewrites and SNI; may be empty.</param>
    /// <param name="workers">Workers of the process; the control loop, which calls services of its own, counts after them.</param>
    internal Host(in Address address, string hostname, int workers)
    {
        Address = address;
        Hostname = hostname;
        _workers = workers;
    }

    internal Address Address { get; }

    /// <summary>The address as <c>10.0.0.1:80</c>, made once for logs and stats. Two threads may both make it, and either text will do.</summary>
    internal string Name => _name ??= Address.ToString();
    internal string Hostname { get; }

    /// <summary>Load balancing weight within its locality, at least 1.</summary>
    internal uint Weight { get; set; } = 1;
    internal uint Priority { get; set; }
    internal Locality Locality { get; set; } = Locality.None;
    internal Metadata Metadata { get; set; } = Metadata.Empty;
    internal EdsHealth EdsHealth { get; set; }

    /// <summary>What connections to this host are made of; chosen by <c>transport_socket_matches</c> when the host is made or its metadata changes.</summary>
    internal TransportFactory Transport { get; set; } = RawTransportFactory.Instance;

    internal HostFlags Flags => (HostFlags)Volatile.Read(ref _flags);
    internal bool IsHealthy => Flags == HostFlags.None;

    /// <summary>Usable when healthy hosts are too few.</summary>
    internal bool IsDegraded => Flags == HostFlags.DegradedEdsHealth;

    /// <summary>Sets or clears flags. Control loop only.</summary>
    internal void SetFlags(HostFlags mask, HostFlags value) => Volatile.Write(ref _flags, (int)(Flags & ~mask | value));

    /// <summary>Envoy's <c>health_flags</c> text of /clusters: <c>healthy</c>, or each flag's path.</summary>
    internal string HealthText()
    {
        if (IsHealthy)
            return "healthy";
        string text = "";
        if ((Flags & HostFlags.FailedActiveHealthCheck) != 0)
            text += "/failed_active_hc";
        if ((Flags & HostFlags.FailedOutlierCheck) != 0)
            text += "/failed_outlier_check";
        if ((Flags & HostFlags.FailedEdsHealth) != 0)
            text += "/failed_eds_health";
        if ((Flags & HostFlags.DegradedEdsHealth) != 0)
            text += "/degraded_eds_health";
        return text;
    }

    /// <summary>The counts of one worker, made at its first use: most hosts of a mesh are never spoken to from here.</summary>
    internal HostCells Cells(int worker)
    {
        var all = Volatile.Read(ref _cells);
        if (all is null)
        {
            Interlocked.CompareExchange(ref _cells, new HostCells?[_workers + 1], null);
            all = _cells;
        }
        var cells = all[worker];
        if (cells is null)
        {
            cells = new HostCells();
            Volatile.Write(ref all[worker], cells);
        }
        return cells;
    }

    /// <summary>Sum over all workers; control loop.</summary>
    internal HostCells Sum()
    {
        var sum = new HostCells();
        foreach (var cells in Volatile.Read(ref _cells) ?? [])
        {
            if (cells is not null)
                sum.Add(cells);
        }
        return sum;
    }
}

/// <summary>What one worker counts about one host; the names are those of Envoy's /clusters page.</summary>
/// <remarks>One writer, the worker; read by the control loop.</remarks>
internal sealed class HostCells
{
    internal long CxActive;
    internal long CxTotal;
    internal long CxConnectFail;
    internal long RqActive;
    internal long RqTotal;
    internal long RqSuccess;
    internal long RqError;
    internal long RqTimeout;

    internal void Add(HostCells other)
    {
        CxActive += other.CxActive;
        CxTotal += other.CxTotal;
        CxConnectFail += other.CxConnectFail;
        RqActive += other.RqActive;
        RqTotal += other.RqTotal;
        RqSuccess += other.RqSuccess;
        RqError += other.RqError;
        RqTimeout += other.RqTimeout;
    }
}
