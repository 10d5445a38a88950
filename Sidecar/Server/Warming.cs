using System;
using System.Collections.Generic;
using Sidecar.Config;
using Sidecar.Downstream;
using Sidecar.Loop;
using Sidecar.Routing;
using Sidecar.Telemetry.Stats;
using Sidecar.Upstream;
using Sidecar.Upstream.Discovery;
using Sidecar.Wire;
using Sidecar.Xds;

namespace Sidecar.Server;

/// <summary>
/// Between accepted and in use. A version goes to the workers when everything it needs is there; until then the version before serves:
/// <code>
///   cluster (EDS)          its endpoints have come, were given up (initial_fetch_timeout), or nobody could bring them (a file)
///   cluster (TLS)          the secrets it names have come or were given up: then it exists, and cannot connect
///   route configuration    no cluster it names is warming for the first time
///   listener               the same, the route configurations it names are in use or given up, the secrets have come or were given up; and the start is over
/// </code>
/// A resource that was removed goes when nothing refers to it any more (make before break), at the latest after <see cref="LeavingMs"/>. What a version refers to
/// is held for the drain time after it was replaced, because connections of a draining chain still have requests to route.
/// </summary>
/// <remarks>Control loop only. Every step costs what it changes: nothing here walks over all clusters.</remarks>
internal sealed class Warming : ITimerOwner
{
    /// <summary>
    /// How long a removed cluster waits for the routes that name it to be replaced; Envoy's default initial_fetch_timeout, after which the rest of a push is
    /// not coming. Then requests to it get cluster_not_found_response_code.
    /// </summary>
    internal const long LeavingMs = 15_000;

    private readonly EventLoop _loop;
    private readonly SnapshotBuilder _builder;
    private readonly Snapshot _snapshot;
    private readonly StatsRegistry _stats;
    private readonly ListenerSockets _sockets;
    private readonly int _workers;
    private readonly long _drainTimeMs;
    private readonly LoopTimer _timer;

    // What waits, with the version whose references are held; and who waits for what.
    private readonly Dictionary<ResourceState, ResourceVersion> _warming = [];
    private readonly Dictionary<(string TypeUrl, string Name), List<ResourceState>> _waiters = [];
    private readonly HashSet<(string TypeUrl, string Name)> _givenUp = [];
    private readonly HashSet<ResourceState> _heldListeners = [];

    // References, by versions in use, warming and retiring.
    private readonly Dictionary<int, int> _clusterUsers = [];
    private readonly Dictionary<string, List<ResourceState>> _endpointUsers = [];
    private readonly Dictionary<string, List<RouteRef>> _routeUsers = [];
    private readonly Dictionary<(string TypeUrl, string Key), (NamedResource Resource, int Users)> _namedUsers = [];

    private readonly Queue<(long DueMs, ResourceVersion Version, int Listeners, int Chains)> _retiring = [];
    private readonly Dictionary<int, ResourceState> _leaving = [];
    private readonly Queue<(long DueMs, ResourceState State, ResourceVersion Version)> _leavingDue = [];
    private SnapshotDelta _delta = new();

    internal Warming(EventLoop loop, SnapshotBuilder builder, StatsRegistry stats, ListenerSockets sockets, int workers, long drainTimeMs)
    {
        _loop = loop;
        _builder = builder;
        _snapshot = builder.Snapshot;
        _stats = stats;
        _sockets = sockets;
        _workers = workers;
        _drainTimeMs = drainTimeMs;
        _timer = new LoopTimer(this);
    }

    /// <summary>Names may be asked for: what is missing may still come. With files, what is missing is missing.</summary>
    internal bool Discovers { get; set; }

    /// <summary>Until the start is over no listener serves, as in Envoy.</summary>
    internal bool HoldsListeners { get; set; }

    /// <summary>Called when time has passed and there is a delta that nobody else asks for.</summary>
    internal Action? Ready { get; set; }

    /// <summary>Names to subscribe to have changed since they were last read.</summary>
    internal bool EndpointNamesChanged { get; set; }
    internal bool RouteNamesChanged { get; set; }
    internal bool NamedChanged { get; set; }

    /// <summary>The endpoints that clusters want.</summary>
    internal IReadOnlyCollection<string> EndpointNames => _endpointUsers.Keys;

    /// <summary>The route configurations that listeners want.</summary>
    internal IReadOnlyCollection<string> RouteNames => _routeUsers.Keys;

    /// <summary>initial_fetch_timeout of the endpoints that clusters want: the shortest that any of those clusters says; 0: for ever.</summary>
    internal long EndpointFetchTimeoutMs(string serviceName)
    {
        long shortest = long.MaxValue;
        foreach (var user in _endpointUsers.GetValueOrDefault(serviceName) ?? [])
        {
            if ((user.Accepted ?? user.Active)?.Translated is ClusterConfig cluster)
                shortest = Math.Min(shortest, OrForEver(cluster.FetchTimeoutMs));
        }
        return shortest == long.MaxValue ? 0 : shortest;
    }

    /// <summary>As <see cref="EndpointFetchTimeoutMs"/>, of route configurations and listeners.</summary>
    internal long RouteFetchTimeoutMs(string name)
    {
        long shortest = long.MaxValue;
        foreach (var user in _routeUsers.GetValueOrDefault(name) ?? [])
            shortest = Math.Min(shortest, OrForEver(user.FetchTimeoutMs));
        return shortest == long.MaxValue ? 0 : shortest;
    }

    private static long OrForEver(long? fetchTimeoutMs) => fetchTimeoutMs switch
    {
        null => SubscribingSource.DefaultFetchTimeoutMs,
        0 => long.MaxValue,
        { } ms => ms,
    };

    /// <summary>What else listeners and clusters take by name, each from its own source: secrets, configurations of extensions.</summary>
    internal IEnumerable<NamedResource> Named
    {
        get
        {
            foreach (var (resource, _) in _namedUsers.Values)
                yield return resource;
        }
    }

    /// <summary>Listeners that could not be bound at the last moment, since the last call.</summary>
    internal List<ConfigError> BindErrors { get; } = [];

    internal ManagerCounts Counts { get; } = new();

    /// <summary>How many of a type are warming; for admin.</summary>
    internal int WarmingCount(string typeUrl)
    {
        int count = 0;
        foreach (var state in _warming.Keys)
            count += state.TypeUrl == typeUrl ? 1 : 0;
        return count;
    }

    /// <summary>Whether anything of a type waits for something that may still come.</summary>
    internal bool IsWarm(string typeUrl)
    {
        foreach (var state in _warming.Keys)
        {
            if (state.TypeUrl == typeUrl && Missing(state) is not null)
                return false;
        }
        return true;
    }

    /// <summary>How many clusters and listeners that are not in use in any version wait for something that may still come.</summary>
    internal int CountAwaitingFirst()
    {
        int count = 0;
        foreach (var state in _warming.Keys)
            count += state.Active is null && state.TypeUrl is ResourceTypes.Cluster or ResourceTypes.Listener && Missing(state) is not null ? 1 : 0;
        return count;
    }

    /// <summary>What a warming version waits for first: its type, its name; null when for nothing.</summary>
    internal (string TypeUrl, string Name)? AwaitedBy(ResourceState state)
    {
        if (!_warming.ContainsKey(state) || Missing(state) is not { } need)
            return null;
        return _namedUsers.TryGetValue((need.TypeUrl, need.Name), out var named) ? (need.TypeUrl, named.Resource.Name) : need;
    }

    /// <summary>What the workers have to change since the last call; null when nothing has.</summary>
    internal SnapshotDelta? TakeDelta()
    {
        if (_delta.IsEmpty)
            return null;
        var delta = _delta;
        _delta = new SnapshotDelta();
        _snapshot.Number++;
        return delta;
    }

    // ---- what comes ---------------------------------------------------------------------------------------------------

    /// <summary>Takes what the builder has accepted and removed.</summary>
    internal void Take(SnapshotBuilder.Result result)
    {
        foreach (var state in result.Removed)
            OnRemoved(state);
        foreach (var state in result.Accepted)
            OnAccepted(state);
    }

    /// <summary>These have not come in time, or their control plane has none: what waits for them goes on without.</summary>
    internal void GiveUp(string typeUrl, IReadOnlyList<string> names)
    {
        foreach (string name in names)
        {
            if (_snapshot.Find(typeUrl, name)?.Accepted is not null || !IsAskedFor(typeUrl, name) || !_givenUp.Add((typeUrl, name)))
                continue;
            Wake(typeUrl, name);
        }
    }

    /// <summary>Counts for each cluster that its endpoints have not come in time.</summary>
    internal void CountFetchTimeouts(IReadOnlyList<string> serviceNames)
    {
        foreach (string name in serviceNames)
        {
            foreach (var user in _endpointUsers.GetValueOrDefault(name) ?? [])
            {
                if ((user.Accepted ?? user.Active)?.Translated is ClusterConfig cluster)
                    cluster.Stats.Cells(_stats.ControlWriter).Inc(ClusterStats.InitFetchTimeout);
            }
        }
    }

    /// <summary>The start is over: listeners may serve.</summary>
    internal void ReleaseListeners()
    {
        HoldsListeners = false;
        foreach (var state in _heldListeners)
            TryActivate(state);
        _heldListeners.Clear();
    }

    private void OnAccepted(ResourceState state)
    {
        if (state.TypeUrl == ResourceTypes.ClusterLoadAssignment)
        {
            OnEndpoints(state);
            return;
        }
        if (state.Key != state.Name && !_namedUsers.ContainsKey((state.TypeUrl, state.Key)))
        {
            // Nobody asks for it any more.
            _builder.Forget(state);
            return;
        }
        bool isNew = state.Active is null && !_warming.ContainsKey(state);
        if (_warming.Remove(state, out var superseded))
            LetGo(superseded);
        CountAccepted(state, isNew);
        if (state.TypeUrl == ResourceTypes.Cluster)
            _leaving.Remove(_builder.Cluster(state.Name).Slot);
        if (state.Accepted == state.Active)
            return;
        Hold(state, state.Accepted!);
        _warming.Add(state, state.Accepted!);
        TryActivate(state);
    }

    private void OnEndpoints(ResourceState state)
    {
        if (Discovers && !_endpointUsers.ContainsKey(state.Name))
        {
            _builder.Forget(state);
            return;
        }
        state.Active = state.Accepted;
        _givenUp.Remove((state.TypeUrl, state.Name));
        if (_endpointUsers.TryGetValue(state.Name, out var users))
        {
            foreach (var user in users)
                GiveHosts(user, state.Name);
        }
        Wake(state.TypeUrl, state.Name);
        state.Accepted?.DropTranslation();
    }

    private void OnRemoved(ResourceState state)
    {
        if (_warming.Remove(state, out var warming))
            LetGo(warming);
        switch (state.TypeUrl)
        {
            case ResourceTypes.Cluster:
                Counts.ClusterRemoved++;
                LeaveCluster(state);
                break;
            case ResourceTypes.ClusterLoadAssignment:
                state.Active = null;
                _builder.Forget(state);
                foreach (var user in _endpointUsers.GetValueOrDefault(state.Name) ?? [])
                    GiveHosts(user, state.Name);
                break;
            case ResourceTypes.Listener:
                Counts.ListenerRemoved++;
                if (state.Active is { } listener)
                {
                    _delta.RemovedListeners.Add(state.Name);
                    _sockets.Forget(state.Name);
                    Retire(listener, listeners: 1);
                }
                state.Active = null;
                _builder.Forget(state);
                break;
            case ResourceTypes.RouteConfiguration:
                if (_routeUsers.ContainsKey(state.Name) && state.Active is { } table)
                    Leave(state, table);
                else
                    RemoveRoutes(state);
                break;
            default:
                if (state.Active is { } active)
                    Retire(active);
                state.Active = null;
                _builder.Forget(state);
                break;
        }
        Wake(state.TypeUrl, state.Key);
    }

    // ---- warming --------------------------------------------------------------------------------------------------------

    private void TryActivate(ResourceState state)
    {
        if (!_warming.ContainsKey(state))
            return;
        if (Missing(state) is { } need)
        {
            if (!_waiters.TryGetValue(need, out var list))
                _waiters.Add(need, list = []);
            if (!list.Contains(state))
                list.Add(state);
            return;
        }
        if (HoldsListeners && state.TypeUrl == ResourceTypes.Listener)
        {
            _heldListeners.Add(state);
            return;
        }
        Activate(state);
        Wake(state.TypeUrl, state.Key);
    }

    private void Wake(string typeUrl, string name)
    {
        if (!_waiters.Remove((typeUrl, name), out var list))
            return;
        foreach (var state in list)
            TryActivate(state);
    }

    /// <summary>The first thing a version waits for; null when it need not wait.</summary>
    private (string TypeUrl, string Name)? Missing(ResourceState state)
    {
        var version = state.Accepted!;
        if (version.Translated is ClusterConfig cluster)
        {
            bool waits = cluster.Type == DiscoveryType.Eds && !IsKnown(ResourceTypes.ClusterLoadAssignment, cluster.ServiceName);
            return waits ? (ResourceTypes.ClusterLoadAssignment, cluster.ServiceName) : MissingNamed(version);
        }
        foreach (var named in version.Clusters)
        {
            if (_snapshot.Find(ResourceTypes.Cluster, named.Name) is { IsWarming: true, Active: null })
                return (ResourceTypes.Cluster, named.Name);
        }
        foreach (var (name, _) in version.Routes)
        {
            var routes = _snapshot.Find(ResourceTypes.RouteConfiguration, name);
            if (routes?.Active is null && (routes?.Accepted is not null || !IsKnown(ResourceTypes.RouteConfiguration, name)))
                return (ResourceTypes.RouteConfiguration, name);
        }
        return MissingNamed(version);
    }

    private (string TypeUrl, string Name)? MissingNamed(ResourceVersion version)
    {
        foreach (var named in version.Named)
        {
            if (named.Waits && _snapshot.Find(named.TypeUrl, named.Key)?.Accepted is null && !_givenUp.Contains((named.TypeUrl, named.Key)))
                return (named.TypeUrl, named.Key);
        }
        return null;
    }

    private bool IsKnown(string typeUrl, string name) =>
        !Discovers || _snapshot.Find(typeUrl, name)?.Accepted is not null || _givenUp.Contains((typeUrl, name));

    private bool IsAskedFor(string typeUrl, string name) => typeUrl switch
    {
        ResourceTypes.ClusterLoadAssignment => _endpointUsers.ContainsKey(name),
        ResourceTypes.RouteConfiguration => _routeUsers.ContainsKey(name),
        _ => _namedUsers.ContainsKey((typeUrl, name)),
    };

    private void Activate(ResourceState state)
    {
        var version = state.Accepted!;
        var old = state.Active;
        switch (version.Translated)
        {
            case ClusterConfig cluster:
                if (cluster.Type == DiscoveryType.Eds)
                    Resolve(state, cluster);
                else
                    state.Hosts = null;
                _delta.Clusters.Add(new ClusterChange(cluster, state.Hosts));
                break;
            case RouteTable table:
                _delta.Routes.Add(new RouteChange(_builder.RouteSlot(state.Name), table));
                break;
            case ListenerConfig listener:
                int sockets = _delta.Sockets.Count;
                if (!_sockets.TryOpen(listener, _delta.Sockets, out string reason))
                {
                    RefuseListener(state, reason);
                    return;
                }
                // A request looks its table up by slot: one that was given up has an empty slot, not none.
                foreach (var (name, _) in version.Routes)
                {
                    if (_snapshot.Find(ResourceTypes.RouteConfiguration, name)?.Active is null)
                        _delta.Routes.Add(new RouteChange(_builder.RouteSlot(name), null));
                }
                _delta.Listeners.Add(listener);
                if (old is not null && _delta.Sockets.Count == sockets)
                    Counts.ListenerInPlaceUpdated++;
                break;
        }
        _warming.Remove(state);
        state.Active = version;
        if (old is null)
            return;
        // Nobody is in the middle of anything with a secret, and its key had better not stay in memory. Requests under way keep the filters they have.
        if (state.TypeUrl is ResourceTypes.Secret or ResourceTypes.Extension)
            LetGo(old);
        else
            Retire(old, chains: GoneChains(old.Translated as ListenerConfig, version.Translated as ListenerConfig));
    }

    /// <summary>A listener's address cannot be had.</summary>
    internal ConfigError RefuseListener(ResourceState state, string reason)
    {
        if (_warming.Remove(state, out var version))
            LetGo(version);
        Counts.ListenerCreateFailure++;
        var error = _builder.RefuseListener(state, reason);
        BindErrors.Add(error);
        return error;
    }

    private static int GoneChains(ListenerConfig? before, ListenerConfig? after)
    {
        if (before is null || after is null)
            return 0;
        var kept = new HashSet<FilterChainConfig>(after.Chains);
        int gone = 0;
        foreach (var chain in before.Chains)
            gone += kept.Contains(chain) ? 0 : 1;
        return gone;
    }

    // ---- hosts of EDS clusters --------------------------------------------------------------------------------------------

    private void GiveHosts(ResourceState cluster, string serviceName)
    {
        if (cluster.Active?.Translated is not ClusterConfig config || config.Type != DiscoveryType.Eds || config.ServiceName != serviceName)
            return;
        if (cluster.Hosts is not null && cluster.Endpoints == AssignmentOf(config))
            return;
        Resolve(cluster, config);
        Counts.ClusterUpdated++;
        _delta.Hosts.Add(new HostsChange(config, cluster.Hosts!));
    }

    /// <summary>A new set in which hosts that stay keep their objects, and with them their connections.</summary>
    private void Resolve(ResourceState state, ClusterConfig cluster)
    {
        var assignment = AssignmentOf(cluster);
        var endpoints = assignment is null ? EndpointSet.Empty : _builder.EndpointsOf(assignment);
        var cells = cluster.Stats.Cells(_stats.ControlWriter);
        cells.Inc(ClusterStats.UpdateAttempt);
        cells.Inc(ClusterStats.UpdateSuccess);
        var hosts = endpoints.Build(cluster, state.Hosts, _workers);
        if (hosts.Count == 0)
            cells.Inc(ClusterStats.UpdateEmpty);
        Membership.Write(cluster, state.Hosts, hosts, _stats.ControlWriter);
        state.Hosts = hosts;
        state.Endpoints = assignment;
    }

    private ResourceVersion? AssignmentOf(ClusterConfig cluster) => _snapshot.Find(ResourceTypes.ClusterLoadAssignment, cluster.ServiceName)?.Accepted;

    // ---- references -------------------------------------------------------------------------------------------------------

    private void Hold(ResourceState state, ResourceVersion version)
    {
        if (version.Translated is ClusterConfig { Type: DiscoveryType.Eds } cluster)
        {
            if (!_endpointUsers.TryGetValue(cluster.ServiceName, out var users))
            {
                _endpointUsers.Add(cluster.ServiceName, users = new List<ResourceState>(1));
                EndpointNamesChanged = true;
            }
            // A second user may have less patience than the first.
            EndpointNamesChanged |= Discovers && !IsKnown(ResourceTypes.ClusterLoadAssignment, cluster.ServiceName);
            users.Add(state);
        }
        foreach (var named in version.Clusters)
            _clusterUsers[named.Slot] = _clusterUsers.GetValueOrDefault(named.Slot) + 1;
        foreach (var routes in version.Routes)
        {
            if (!_routeUsers.TryGetValue(routes.Name, out var users))
                _routeUsers.Add(routes.Name, users = new List<RouteRef>(1));
            RouteNamesChanged |= users.Count == 0 || Discovers && !IsKnown(ResourceTypes.RouteConfiguration, routes.Name);
            users.Add(routes);
        }
        foreach (var named in version.Named)
        {
            int users = _namedUsers.GetValueOrDefault((named.TypeUrl, named.Key)).Users;
            _namedUsers[(named.TypeUrl, named.Key)] = (named, users + 1);
            NamedChanged |= users == 0;
        }
    }

    private void LetGo(ResourceVersion version)
    {
        if (version.Translated is ClusterConfig { Type: DiscoveryType.Eds } cluster)
            LetGoEndpoints(cluster);
        foreach (var named in version.Clusters)
        {
            int users = _clusterUsers[named.Slot] - 1;
            if (users > 0)
            {
                _clusterUsers[named.Slot] = users;
                continue;
            }
            _clusterUsers.Remove(named.Slot);
            if (_leaving.TryGetValue(named.Slot, out var leaving))
                RemoveCluster(leaving);
        }
        foreach (var routes in version.Routes)
        {
            var users = _routeUsers[routes.Name];
            users.Remove(routes);
            if (users.Count == 0)
                LetGoRoutes(routes.Name);
        }
        foreach (var named in version.Named)
        {
            int users = _namedUsers[(named.TypeUrl, named.Key)].Users - 1;
            if (users > 0)
                _namedUsers[(named.TypeUrl, named.Key)] = (named, users);
            else
                LetGoNamed(named);
        }
        _builder.Release(version);
    }

    private void LetGoEndpoints(ClusterConfig cluster)
    {
        var users = _endpointUsers[cluster.ServiceName];
        users.RemoveAt(users.FindIndex(user => user.Name == cluster.Name));
        if (users.Count > 0)
            return;
        _endpointUsers.Remove(cluster.ServiceName);
        EndpointNamesChanged = true;
        _givenUp.Remove((ResourceTypes.ClusterLoadAssignment, cluster.ServiceName));
        // Nobody asks for it any more, so nobody would say when it goes.
        if (Discovers && _snapshot.Find(ResourceTypes.ClusterLoadAssignment, cluster.ServiceName) is { } endpoints)
            _builder.Forget(endpoints);
    }

    private void LetGoRoutes(string name)
    {
        _routeUsers.Remove(name);
        RouteNamesChanged = true;
        _givenUp.Remove((ResourceTypes.RouteConfiguration, name));
        if (_snapshot.Find(ResourceTypes.RouteConfiguration, name) is { } routes && (Discovers || routes.Accepted is null))
            RemoveRoutes(routes);
    }

    private void LetGoNamed(NamedResource named)
    {
        _namedUsers.Remove((named.TypeUrl, named.Key));
        NamedChanged = true;
        _givenUp.Remove((named.TypeUrl, named.Key));
        if (_snapshot.Find(named.TypeUrl, named.Key) is not { } state)
            return;
        if (state.Active is { } active)
            LetGo(active);
        state.Active = null;
        _builder.Forget(state);
    }

    private void Retire(ResourceVersion version, int listeners = 0, int chains = 0)
    {
        Counts.ListenersDraining += listeners;
        Counts.ChainsDraining += chains;
        _retiring.Enqueue((_loop.NowMs + _drainTimeMs, version, listeners, chains));
        Arm();
    }

    // ---- what leaves ----------------------------------------------------------------------------------------------------

    private void LeaveCluster(ResourceState state)
    {
        if (state.Active is null)
        {
            _builder.Forget(state);
            return;
        }
        int slot = _builder.Cluster(state.Name).Slot;
        _leaving[slot] = state;
        if (!_clusterUsers.ContainsKey(slot))
        {
            RemoveCluster(state);
            return;
        }
        Leave(state, state.Active);
    }

    private void Leave(ResourceState state, ResourceVersion version)
    {
        _leavingDue.Enqueue((_loop.NowMs + LeavingMs, state, version));
        Arm();
    }

    private void RemoveRoutes(ResourceState state)
    {
        if (_warming.Remove(state, out var warming))
            LetGo(warming);
        if (state.Active is { } active)
        {
            _delta.Routes.Add(new RouteChange(_builder.RouteSlot(state.Name), null));
            Retire(active);
        }
        state.Active = null;
        _builder.Forget(state);
    }

    private void RemoveCluster(ResourceState state)
    {
        _leaving.Remove(_builder.Cluster(state.Name).Slot);
        if (state.Active is not { } active)
            return;
        _delta.RemovedClusters.Add(state.Name);
        state.Active = null;
        state.Hosts = null;
        _builder.Forget(state);
        Retire(active);
    }

    public void OnTimer(LoopTimer timer)
    {
        while (_leavingDue.TryPeek(out var due) && due.DueMs <= _loop.NowMs)
        {
            _leavingDue.Dequeue();
            if (due.State.Accepted is not null || due.State.Active != due.Version)
                continue;
            if (due.State.TypeUrl == ResourceTypes.Cluster)
                RemoveCluster(due.State);
            else
                RemoveRoutes(due.State);
        }
        while (_retiring.TryPeek(out var due) && due.DueMs <= _loop.NowMs)
        {
            _retiring.Dequeue();
            Counts.ListenersDraining -= due.Listeners;
            Counts.ChainsDraining -= due.Chains;
            LetGo(due.Version);
        }
        Arm();
        Ready?.Invoke();
    }

    private void Arm()
    {
        long dueMs = long.MaxValue;
        if (_leavingDue.TryPeek(out var leaving))
            dueMs = leaving.DueMs;
        if (_retiring.TryPeek(out var retiring))
            dueMs = Math.Min(dueMs, retiring.DueMs);
        if (dueMs < long.MaxValue && (!_timer.IsArmed || _timer.DueMs > dueMs))
            _loop.Schedule(_timer, dueMs - _loop.NowMs);
    }

    private void CountAccepted(ResourceState state, bool isNew)
    {
        if (state.TypeUrl == ResourceTypes.Cluster)
        {
            Counts.ClusterAdded += isNew ? 1 : 0;
            Counts.ClusterModified += isNew ? 0 : 1;
        }
        else if (state.TypeUrl == ResourceTypes.Listener)
        {
            Counts.ListenerAdded += isNew ? 1 : 0;
            Counts.ListenerModified += isNew ? 0 : 1;
        }
    }
}

/// <summary>What Envoy's cluster manager and listener manager count.</summary>
internal sealed class ManagerCounts
{
    internal long ClusterAdded { get; set; }
    internal long ClusterModified { get; set; }
    internal long ClusterRemoved { get; set; }
    internal long ClusterUpdated { get; set; }
    internal long ListenerAdded { get; set; }
    internal long ListenerModified { get; set; }
    internal long ListenerRemoved { get; set; }
    internal long ListenerInPlaceUpdated { get; set; }

    /// <summary>Told to stop accepting, by the admin or the end of the process.</summary>
    internal long ListenerStopped { get; set; }
    internal long ListenerCreateSuccess { get; set; }
    internal long ListenerCreateFailure { get; set; }
    internal int ListenersDraining { get; set; }
    internal int ChainsDraining { get; set; }
}
