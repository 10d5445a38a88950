using System.Collections.Generic;
using Sidecar.Downstream;
using Sidecar.Routing;
using Sidecar.Telemetry.Stats;
using Sidecar.Upstream;
using Sidecar.Wire;

namespace Sidecar.Config;

/// <summary>The hosts of one cluster that gets them from outside its own configuration (EDS).</summary>
internal readonly record struct ClusterHosts(int Slot, HostSet Hosts);

/// <summary>
/// One immutable configuration: everything the workers need, and what is known about each resource behind it. Parts that did not change
/// are the same objects as in the snapshot before.
/// </summary>
/// <remarks>Shared immutable; built on the control loop.</remarks>
internal sealed class Snapshot
{
    /// <summary>Counts up from 1 with every snapshot.</summary>
    internal required long Number { get; init; }
    internal required IReadOnlyList<ListenerConfig> Listeners { get; init; }
    internal required IReadOnlyList<ClusterConfig> Clusters { get; init; }
    internal required IReadOnlyList<ClusterHosts> Hosts { get; init; }

    /// <summary>By RDS slot; null where the name is referenced but no such resource is there.</summary>
    internal required RouteTable?[] RouteTables { get; init; }

    /// <summary>Every resource, accepted or refused, in order of type and arrival.</summary>
    internal required IReadOnlyList<ResourceState> Resources { get; init; }
}

/// <summary>What is known about one resource: the version in use, and the last one that was refused.</summary>
/// <remarks>Immutable: a change makes a new one.</remarks>
internal sealed record ResourceState(string TypeUrl, string Name)
{
    /// <summary>The version in use; null when none was ever accepted.</summary>
    internal DiscoveredResource? Accepted { get; init; }

    /// <summary>When it was accepted, in Unix milliseconds.</summary>
    internal long AcceptedUnixMs { get; init; }

    /// <summary>What it was translated to: ListenerConfig, ClusterConfig, RouteTable, or an assignment's EndpointSet.</summary>
    internal object? Translated { get; init; }

    /// <summary>What of the version in use has no effect, by path.</summary>
    internal IReadOnlyList<ConfigError> WithoutEffect { get; init; } = [];

    /// <summary>Stats its translation asked for; they live as long as it does.</summary>
    internal IReadOnlyList<StatsScope> Scopes { get; init; } = [];

    /// <summary>The last version, when that was refused.</summary>
    internal DiscoveredResource? Refused { get; init; }
    internal long RefusedUnixMs { get; init; }

    /// <summary>Why it was refused.</summary>
    internal IReadOnlyList<ConfigError> Errors { get; init; } = [];
}
