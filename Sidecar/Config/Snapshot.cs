using System;
using System.Collections.Generic;
using Sidecar.Downstream;
using Sidecar.Routing;
using Sidecar.Telemetry.Stats;
using Sidecar.Upstream;
using Sidecar.Wire;

namespace Sidecar.Config;

/// <summary>
/// Everything that is known about the resources of this proxy, by type and name. It lives on; what changes the workers learn as
/// <see cref="SnapshotDelta"/>s.
/// </summary>
/// <remarks>Control loop only.</remarks>
internal sealed class Snapshot
{
    // In the order one refers to another, which is also the order of the admin pages.
    private static readonly string[] s_types =
    [
        ResourceTypes.Cluster, ResourceTypes.ClusterLoadAssignment, ResourceTypes.RouteConfiguration, ResourceTypes.Listener, ResourceTypes.Secret,
        ResourceTypes.Extension,
    ];

    private readonly Dictionary<string, ResourceState>[] _tables = new Dictionary<string, ResourceState>[s_types.Length];

    internal Snapshot()
    {
        for (int i = 0; i < _tables.Length; i++)
            _tables[i] = [];
    }

    /// <summary>The types of resources that are kept.</summary>
    internal static ReadOnlySpan<string> Types => s_types;

    /// <summary>Counts up from 1 with everything the workers are told.</summary>
    internal long Number { get; set; }

    /// <summary>The newest accepted version of each. Lists are made when asked for: the pages of the admin do, an update never.</summary>
    internal IReadOnlyList<ListenerConfig> Listeners => Accepted<ListenerConfig>(ResourceTypes.Listener);
    internal IReadOnlyList<ClusterConfig> Clusters => Accepted<ClusterConfig>(ResourceTypes.Cluster);

    /// <summary>Those the workers have.</summary>
    internal IReadOnlyList<ListenerConfig> ListenersInUse => InUse<ListenerConfig>(ResourceTypes.Listener);
    internal IReadOnlyList<ClusterConfig> ClustersInUse => InUse<ClusterConfig>(ResourceTypes.Cluster);

    /// <summary>Every resource, accepted or refused, by type.</summary>
    internal IReadOnlyList<ResourceState> Resources
    {
        get
        {
            var list = new List<ResourceState>();
            foreach (var table in _tables)
                list.AddRange(table.Values);
            return list;
        }
    }

    /// <summary>How many settings of the versions accepted last do nothing here.</summary>
    internal int CountWithoutEffect()
    {
        int count = 0;
        foreach (var table in _tables)
        {
            foreach (var state in table.Values)
                count += state.Accepted?.WithoutEffect.Count ?? 0;
        }
        return count;
    }

    /// <summary>All of one type; empty for a type that is not kept.</summary>
    internal IReadOnlyDictionary<string, ResourceState> Of(string typeUrl) => Table(typeUrl) ?? [];

    /// <summary>A resource by what it is kept under: its name, or for what comes from a source of its own <see cref="NamedResource.Key"/>.</summary>
    internal ResourceState? Find(string typeUrl, string key) => Table(typeUrl)?.GetValueOrDefault(key);

    internal ResourceState FindOrAdd(string typeUrl, string name, string origin = "")
    {
        var table = Table(typeUrl)!;
        string key = ResourceOrigins.Key(name, origin);
        if (!table.TryGetValue(key, out var state))
            table.Add(key, state = new ResourceState(typeUrl, name, key));
        return state;
    }

    internal void Remove(ResourceState state) => Table(state.TypeUrl)!.Remove(state.Key);

    /// <summary>Whether resources of this type are kept at all.</summary>
    internal static bool Knows(string typeUrl) => System.Array.IndexOf(s_types, typeUrl) >= 0;

    private Dictionary<string, ResourceState>? Table(string typeUrl)
    {
        int index = System.Array.IndexOf(s_types, typeUrl);
        return index < 0 ? null : _tables[index];
    }

    private List<T> Accepted<T>(string typeUrl) where T : class
    {
        var list = new List<T>();
        foreach (var state in Of(typeUrl).Values)
        {
            if (state.Accepted?.Translated is T translated)
                list.Add(translated);
        }
        return list;
    }

    private List<T> InUse<T>(string typeUrl) where T : class
    {
        var list = new List<T>();
        foreach (var state in Of(typeUrl).Values)
        {
            if (state.Active?.Translated is T translated)
                list.Add(translated);
        }
        return list;
    }
}

/// <summary>What is known about one resource: the newest version that was accepted, the one in use, and the last one that was refused.</summary>
/// <remarks>Control loop only.</remarks>
internal sealed class ResourceState(string typeUrl, string name, string key)
{
    internal string TypeUrl => typeUrl;
    internal string Name => name;

    /// <summary>What it is kept under; see <see cref="NamedResource.Key"/>.</summary>
    internal string Key => key;

    /// <summary>The newest accepted version; null when there never was one, or the resource has been removed.</summary>
    internal ResourceVersion? Accepted { get; set; }

    /// <summary>
    /// What the workers have. Other than <see cref="Accepted"/> while that one is warming; still there without it while something refers to a
    /// resource that has been removed.
    /// </summary>
    internal ResourceVersion? Active { get; set; }

    /// <summary>The hosts of a cluster in use that gets them from outside its configuration (EDS).</summary>
    internal HostSet? Hosts { get; set; }

    /// <summary>The assignment that <see cref="Hosts"/> were made of; null: there was none.</summary>
    internal ResourceVersion? Endpoints { get; set; }

    internal bool IsWarming => Accepted is not null && Accepted != Active;

    /// <summary>From the bootstrap: discovery neither changes nor removes it.</summary>
    internal bool IsStatic { get; set; }

    /// <summary>The last version, when that was refused.</summary>
    internal DiscoveredResource? Refused { get; set; }
    internal long RefusedUnixMs { get; set; }

    /// <summary>Why it was refused; or why a version that is not refused will never be used.</summary>
    internal IReadOnlyList<ConfigError> Errors { get; set; } = [];
}

/// <summary>One accepted version of a resource.</summary>
/// <remarks>Control loop; what it was translated to is shared immutable.</remarks>
internal sealed class ResourceVersion
{
    internal required DiscoveredResource Resource { get; init; }

    /// <summary>When it was accepted, in Unix milliseconds.</summary>
    internal required long UnixMs { get; init; }

    /// <summary>What it was translated to: ListenerConfig, ClusterConfig, RouteTable, EndpointSet, Secret; null after <see cref="DropTranslation"/>.</summary>
    internal required object? Translated { get => _translated; init => _translated = value; }
    private object? _translated;

    /// <summary>
    /// Forgets what it was translated to. Endpoints are: the hosts made of them say the same, and they are most of what a mesh has; when they are needed
    /// again, for a cluster that has changed, the builder translates them again.
    /// </summary>
    internal void DropTranslation() => _translated = null;

    /// <summary>What of it has no effect, by path.</summary>
    internal IReadOnlyList<ConfigError> WithoutEffect { get; init; } = [];

    /// <summary>Stats its translation asked for; they live as long as it does.</summary>
    internal StatsScope[] Scopes { get; init; } = [];

    /// <summary>The clusters it sends to.</summary>
    internal ClusterRef[] Clusters { get; init; } = [];

    /// <summary>The route configurations it takes by name.</summary>
    internal RouteRef[] Routes { get; init; } = [];

    /// <summary>What else it takes by name, each with its source: secrets, configurations of extensions.</summary>
    internal NamedResource[] Named { get; init; } = [];
}

/// <summary>A route configuration that a listener takes by name.</summary>
/// <param name="Name">Its name.</param>
/// <param name="FetchTimeoutMs">How long its first version is waited for, where the listener says so; 0: for ever.</param>
internal readonly record struct RouteRef(string Name, long? FetchTimeoutMs);

/// <summary>A cluster that is new or has changed.</summary>
/// <param name="Config">What it is.</param>
/// <param name="Hosts">Its hosts where they come from outside its own configuration and are known.</param>
internal readonly record struct ClusterChange(ClusterConfig Config, HostSet? Hosts);

/// <summary>New hosts of a cluster that stays.</summary>
internal readonly record struct HostsChange(ClusterConfig Config, HostSet Hosts);

/// <summary>A route configuration that is new, changed, or gone (null).</summary>
internal readonly record struct RouteChange(int Slot, RouteTable? Table);

/// <summary>
/// What a worker has to change, in the order it has to: whatever refers to something finds it, and what goes is not referred to any more.
/// </summary>
/// <remarks>Shared immutable once it is given to the workers; built on the control loop.</remarks>
internal sealed class SnapshotDelta
{
    internal List<ClusterChange> Clusters { get; } = [];
    internal List<HostsChange> Hosts { get; } = [];
    internal List<RouteChange> Routes { get; } = [];
    internal List<ListenerConfig> Listeners { get; } = [];
    internal List<string> RemovedListeners { get; } = [];
    internal List<string> RemovedClusters { get; } = [];

    /// <summary>Descriptors of listeners that are new or have a new address, of all workers; each takes its own.</summary>
    internal List<BoundSocket> Sockets { get; } = [];

    internal bool IsEmpty =>
        Clusters.Count + Hosts.Count + Routes.Count + Listeners.Count + RemovedListeners.Count + RemovedClusters.Count == 0;
}
