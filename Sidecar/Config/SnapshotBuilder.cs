using System;
using System.Collections.Generic;
using Google.Protobuf;
using Sidecar.Downstream;
using Sidecar.Filters;
using Sidecar.Net;
using Sidecar.Routing;
using Sidecar.Telemetry.Stats;
using Sidecar.Upstream;
using Sidecar.Upstream.Discovery;
using Sidecar.Wire;
using WireCluster = Envoy.Config.Cluster.V3;
using WireEndpoint = Envoy.Config.Endpoint.V3;
using WireListener = Envoy.Config.Listener.V3;
using WireRoute = Envoy.Config.Route.V3;
using WireTls = Envoy.Extensions.TransportSockets.Tls.V3;

namespace Sidecar.Config;

/// <summary>
/// Turns sets of resources into snapshots, each from the one before: what did not change (byte for byte) keeps its objects, and a resource that is refused
/// keeps its old version without holding back its neighbours.
/// <code>
///   1 secrets     2 clusters     3 endpoints, by the EDS clusters that name them     4 routes     5 listeners
/// </code>
/// in that order, because each refers to those before it.
/// </summary>
/// <remarks>Control loop only.</remarks>
internal sealed class SnapshotBuilder
{
    private readonly StatsRegistry _stats;
    private readonly ClusterSlots _clusterSlots = new();
    private readonly Dictionary<string, int> _routeSlots = [];
    private readonly ConfigServices _services;
    private readonly int _workers;
    private readonly Func<long> _unixMs;

    private Dictionary<(string TypeUrl, string Name), ResourceState> _states = [];
    private Dictionary<(string TypeUrl, string Name), ResourceState> _next = [];
    private readonly List<ResourceState> _order = [];
    private readonly HashSet<string> _unreadClusters = [];
    private Dictionary<int, ResolvedHosts> _resolved = [];
    private long _number;

    /// <param name="stats">The process's stats.</param>
    /// <param name="workers">How many workers there are.</param>
    /// <param name="nodeId">This proxy's node id; may be empty.</param>
    /// <param name="unixMs">The wall clock.</param>
    internal SnapshotBuilder(StatsRegistry stats, int workers, string nodeId, Func<long> unixMs)
    {
        _stats = stats;
        _workers = workers;
        _unixMs = unixMs;
        Secrets = new SecretStore();
        Tls = new TlsTranslator(Secrets);
        _services = new ConfigServices
        {
            Stats = stats,
            Cluster = _clusterSlots.Intern,
            RouteSlot = RouteSlot,
            RouteTable = (wire, scope) => TranslateRoutes(wire, scope, isInline: true),
            ClusterProblem = ClusterProblem,
            StringMatcher = MatcherTranslator.String,
            HeaderMatcher = MatcherTranslator.Header,
            DownstreamTls = Tls.Downstream,
            UpstreamTls = Tls.Upstream,
            NodeId = nodeId,
        };
    }

    /// <summary>Secrets, and what is made of them.</summary>
    internal SecretStore Secrets { get; }

    private TlsTranslator Tls { get; }

    /// <summary>What came of one set of resources.</summary>
    /// <param name="Snapshot">The new snapshot.</param>
    /// <param name="Errors">Everything that was refused, reading included.</param>
    /// <param name="WithoutEffect">What was accepted and does nothing.</param>
    /// <param name="Changed">How many resources are new, changed or gone.</param>
    internal sealed record Result(Snapshot Snapshot, IReadOnlyList<ConfigError> Errors, IReadOnlyList<ConfigError> WithoutEffect, int Changed);

    /// <summary>Builds the next snapshot from everything there is now.</summary>
    internal Result Build(ResourceSet set)
    {
        var errors = new List<ConfigError>();
        foreach (var problem in set.Problems)
        {
            if (problem.IsError)
                errors.Add(problem);
        }
        _next = [];
        _order.Clear();
        _stats.BeginGeneration();

        const string clusterNoun = "cluster ";
        _unreadClusters.Clear();
        foreach (var problem in set.Problems)
        {
            if (problem.IsError && problem.Resource.StartsWith(clusterNoun, StringComparison.Ordinal))
                _unreadClusters.Add(problem.Resource[clusterNoun.Length..]);
        }
        var kept = KeptDespiteErrors(set);

        int changed = 0;
        changed += TranslateAll(set, kept, ResourceTypes.Secret, TranslateSecret, errors);
        UpdateSecrets();
        changed += TranslateAll(set, kept, ResourceTypes.Cluster, TranslateCluster, errors);
        changed += TranslateAll(set, kept, ResourceTypes.ClusterLoadAssignment, TranslateEndpoints, errors);
        changed += TranslateAll(set, kept, ResourceTypes.RouteConfiguration, TranslateRouteResource, errors);
        changed += TranslateAll(set, kept, ResourceTypes.Listener, TranslateListener, errors);
        foreach (var key in _states.Keys)
        {
            if (!_next.ContainsKey(key))
                changed++;
        }
        _states = _next;

        foreach (var state in _order)
        {
            foreach (var scope in state.Scopes)
                _stats.Keep(scope);
        }
        var withoutEffect = new List<ConfigError>();
        foreach (var state in _order)
            withoutEffect.AddRange(state.WithoutEffect);
        // What belongs to no resource: fields of the bootstrap itself, files and secrets left out.
        var told = new HashSet<ConfigError>(withoutEffect);
        foreach (var problem in set.Problems)
        {
            if (!problem.IsError && told.Add(problem with { Line = 0, Column = 0 }))
                withoutEffect.Add(problem);
        }
        return new Result(MakeSnapshot(), errors, withoutEffect, changed);
    }

    /// <summary>
    /// Notes that a listener of the last build could not be bound: its version in <paramref name="running"/> stays, or none. Call
    /// <see cref="Rebuild"/> after the last one.
    /// </summary>
    internal ConfigError RefuseListener(ListenerConfig listener, string reason, Snapshot? running)
    {
        var key = (ResourceTypes.Listener, listener.Name);
        var state = _states[key];
        var error = new ConfigError(state.Accepted?.Source ?? "", ResourceTypes.Noun(ResourceTypes.Listener) + " " + listener.Name, "address", reason);
        ResourceState? old = null;
        foreach (var candidate in running?.Resources ?? [])
        {
            if (candidate.TypeUrl == ResourceTypes.Listener && candidate.Name == listener.Name)
                old = candidate;
        }
        var refused = (old ?? new ResourceState(key.Listener, listener.Name)) with { Refused = state.Accepted, RefusedUnixMs = _unixMs(), Errors = [error] };
        _states[key] = refused;
        _order[_order.IndexOf(state)] = refused;
        return error;
    }

    /// <summary>The snapshot of the last build after refusals.</summary>
    internal Snapshot Rebuild() => MakeSnapshot();

    /// <summary>Resources that are in use and could not be read this time: they stay as they are.</summary>
    private List<ResourceState> KeptDespiteErrors(ResourceSet set)
    {
        var kept = new List<ResourceState>();
        var read = new HashSet<(string, string)>();
        foreach (var resource in set.Resources)
            read.Add((resource.TypeUrl, resource.Name));
        foreach (var problem in set.Problems)
        {
            if (!problem.IsError)
                continue;
            foreach (var state in _states.Values)
            {
                bool same = problem.Resource.Length == 0
                    ? state.Accepted?.Source == problem.File || (state.Accepted?.Source.StartsWith(problem.File + "/", StringComparison.Ordinal) ?? false)
                    : problem.Resource == ResourceTypes.Noun(state.TypeUrl) + " " + state.Name;
                if (!same || read.Contains((state.TypeUrl, state.Name)) || kept.Exists(k => k.TypeUrl == state.TypeUrl && k.Name == state.Name))
                    continue;
                kept.Add(state with { RefusedUnixMs = _unixMs(), Errors = [problem] });
            }
        }
        return kept;
    }

    private int TranslateAll(
        ResourceSet set, List<ResourceState> kept, string typeUrl, Func<DiscoveredResource, ResourceState?, ConfigScope, object?> translate, List<ConfigError> errors)
    {
        int changed = 0;
        foreach (var resource in set.Resources)
        {
            if (resource.TypeUrl != typeUrl)
                continue;
            _states.TryGetValue((resource.TypeUrl, resource.Name), out var old);
            var state = Unchanged(old, resource) ? old! with { Refused = null, Errors = [] } : Translate(resource, old, translate, errors);
            if (state.Translated != old?.Translated)
                changed++;
            Add(state);
        }
        foreach (var state in kept)
        {
            if (state.TypeUrl == typeUrl)
                Add(state);
        }
        return changed;
    }

    private void Add(ResourceState state)
    {
        if (_next.TryAdd((state.TypeUrl, state.Name), state))
            _order.Add(state);
    }

    private static bool Unchanged(ResourceState? old, DiscoveredResource resource) =>
        old is { Accepted: { } accepted, Translated: not null } && accepted.Bytes.Span.SequenceEqual(resource.Bytes.Span);

    private ResourceState Translate(
        DiscoveredResource resource, ResourceState? old, Func<DiscoveredResource, ResourceState?, ConfigScope, object?> translate, List<ConfigError> errors)
    {
        string noun = ResourceTypes.Noun(resource.TypeUrl) + " " + resource.Name;
        var scope = new ConfigScope(_services, resource.Name);
        var scopes = new List<StatsScope>();
        _stats.Recorder = scopes;
        object? translated;
        try
        {
            translated = translate(resource, old, scope);
        }
        // Google.Protobuf reports a broken wrapper message, such as UInt32Value, by InvalidOperationException.
        catch (Exception e) when (e is InvalidProtocolBufferException or InvalidOperationException)
        {
            scope.Reject("", $"malformed bytes: {e.Message}");
            translated = null;
        }
        finally
        {
            _stats.Recorder = null;
        }

        if (translated is not null && !scope.IsRejected)
        {
            return new ResourceState(resource.TypeUrl, resource.Name)
            {
                Accepted = resource,
                AcceptedUnixMs = _unixMs(),
                Translated = translated,
                WithoutEffect = WithoutEffect(resource, noun, scope),
                Scopes = scopes,
            };
        }
        var refused = new List<ConfigError>();
        foreach (var problem in scope.Rejections)
            refused.Add(new ConfigError(resource.Source, noun, problem.Path, problem.Reason));
        if (refused.Count == 0)
            refused.Add(new ConfigError(resource.Source, noun, "", "is refused"));
        errors.AddRange(refused);
        var state = old ?? new ResourceState(resource.TypeUrl, resource.Name);
        return state with { Refused = resource, RefusedUnixMs = _unixMs(), Errors = refused };
    }

    private static List<ConfigError> WithoutEffect(DiscoveredResource resource, string noun, ConfigScope scope)
    {
        var list = new List<ConfigError>();
        foreach (var problem in scope.Ignored)
            list.Add(new ConfigError(resource.Source, noun, problem.Path, problem.Reason) { Kind = ConfigErrorKind.Ignored });
        if (resource.Type is { } type)
        {
            var problems = new WireProblems();
            UnsupportedFields.Walk(resource.Bytes.Span, type, "", problems);
            foreach (var problem in problems.List)
                list.Add(ConfigError.From(problem, resource.Source, noun));
        }
        return list;
    }

    // ---- one resource -----------------------------------------------------------------------------------------------

    private object? TranslateCluster(DiscoveredResource resource, ResourceState? old, ConfigScope scope)
    {
        var wire = WireCluster.Cluster.Parser.ParseFrom(resource.Bytes.Span);
        return ClusterTranslator.Translate(wire, _workers, scope);
    }

    private object? TranslateEndpoints(DiscoveredResource resource, ResourceState? old, ConfigScope scope) =>
        EndpointTranslator.Translate(WireEndpoint.ClusterLoadAssignment.Parser.ParseFrom(resource.Bytes.Span), namesAllowed: false, scope);

    private object? TranslateRouteResource(DiscoveredResource resource, ResourceState? old, ConfigScope scope) =>
        TranslateRoutes(WireRoute.RouteConfiguration.Parser.ParseFrom(resource.Bytes.Span), scope, isInline: false);

    private object? TranslateListener(DiscoveredResource resource, ResourceState? old, ConfigScope scope)
    {
        var listener = ListenerTranslator.Translate(WireListener.Listener.Parser.ParseFrom(resource.Bytes.Span), old?.Translated as ListenerConfig, scope);
        if (listener is not null)
            RejectTakenAddress(listener, scope);
        return listener;
    }

    // Bound to a port or not: an address two listeners have would leave open which of them gets a connection. The first one keeps it, as in Envoy; any port
    // may be asked for often, since each gets another.
    private void RejectTakenAddress(ListenerConfig listener, ConfigScope scope)
    {
        foreach (var state in _order)
        {
            if (state.Translated is not ListenerConfig other || other.Name == listener.Name)
                continue;
            foreach (var options in listener.Addresses)
            {
                if ((options.Address.IsIp && options.Address.Port == 0 && listener.BindToPort) || !Has(other, options.Address))
                    continue;
                scope.Reject(
                    "address",
                    $"error adding listener: '{listener.Name}' has duplicate address '{options.Address}' as existing listener '{other.Name}'; give one of them another address");
                return;
            }
        }

        static bool Has(ListenerConfig listener, in Address address)
        {
            foreach (var options in listener.Addresses)
            {
                if (options.Address == address)
                    return true;
            }
            return false;
        }
    }

    /// <summary>Null for a cluster that can be used; what is wrong with the others differs: one is missing, another's own error is to be read.</summary>
    private string? ClusterProblem(string name)
    {
        bool known = _next.TryGetValue((ResourceTypes.Cluster, name), out var state);
        if (state?.Accepted is not null)
            return null;
        return known || _unreadClusters.Contains(name)
            ? $"unknown cluster '{name}': cluster '{name}' is refused, see its error"
            : $"unknown cluster '{name}': add it to the clusters, or correct the name";
    }

    private object? TranslateSecret(DiscoveredResource resource, ResourceState? old, ConfigScope scope) =>
        SecretTranslator.Translate(WireTls.Secret.Parser.ParseFrom(resource.Bytes.Span), Secrets, scope);

    // Contexts of unchanged chains and clusters are made of the new secrets here; what is translated after this finds them.
    private void UpdateSecrets()
    {
        var secrets = new Dictionary<string, WireTls.Secret>();
        foreach (var state in _order)
        {
            if (state.Translated is WireTls.Secret secret)
                secrets.Add(state.Name, secret);
        }
        Secrets.Update(secrets);
    }

    private RouteTable? TranslateRoutes(WireRoute.RouteConfiguration wire, ConfigScope scope, bool isInline) =>
        RouteTranslator.Translate(wire, isInline, scope);

    private int RouteSlot(string name)
    {
        if (!_routeSlots.TryGetValue(name, out int slot))
            _routeSlots.Add(name, slot = _routeSlots.Count);
        return slot;
    }

    // ---- the whole ----------------------------------------------------------------------------------------------------

    private Snapshot MakeSnapshot()
    {
        var listeners = new List<ListenerConfig>();
        var clusters = new List<ClusterConfig>();
        var tables = new RouteTable?[_routeSlots.Count];
        foreach (var state in _order)
        {
            switch (state.Translated)
            {
                case ListenerConfig listener:
                    listeners.Add(listener);
                    break;
                case ClusterConfig cluster:
                    clusters.Add(cluster);
                    break;
                case RouteTable table when _routeSlots.TryGetValue(state.Name, out int slot):
                    tables[slot] = table;
                    break;
            }
        }
        return new Snapshot
        {
            Number = ++_number,
            Listeners = listeners,
            Clusters = clusters,
            Hosts = ResolveHosts(clusters),
            RouteTables = tables,
            Resources = _order.ToArray(),
        };
    }

    /// <summary>
    /// The hosts of every EDS cluster, by the assignment of its service name. Nothing new about a cluster and its assignment: the same set; else a
    /// new one in which hosts that stay keep their objects, and with them their connections.
    /// </summary>
    private List<ClusterHosts> ResolveHosts(List<ClusterConfig> clusters)
    {
        var list = new List<ClusterHosts>();
        var resolved = new Dictionary<int, ResolvedHosts>();
        foreach (var cluster in clusters)
        {
            if (cluster.Type != DiscoveryType.Eds)
                continue;
            _states.TryGetValue((ResourceTypes.ClusterLoadAssignment, cluster.ServiceName), out var state);
            if (state?.Translated is not EndpointSet endpoints)
                endpoints = EndpointSet.Empty;
            _resolved.TryGetValue(cluster.Slot, out var old);
            var hosts = old is not null && old.Cluster == cluster && old.Endpoints == endpoints ? old.Hosts : Resolve(cluster, endpoints, old?.Hosts);
            resolved.Add(cluster.Slot, new ResolvedHosts(cluster, endpoints, hosts));
            list.Add(new ClusterHosts(cluster.Slot, hosts));
        }
        _resolved = resolved;
        return list;
    }

    private HostSet Resolve(ClusterConfig cluster, EndpointSet endpoints, HostSet? previous)
    {
        var cells = cluster.Stats.Cells(_stats.ControlWriter);
        cells.Inc(ClusterStats.UpdateAttempt);
        cells.Inc(ClusterStats.UpdateSuccess);
        var hosts = endpoints.Build(cluster, previous, _workers);
        if (hosts.Count == 0)
            cells.Inc(ClusterStats.UpdateEmpty);
        Membership.Write(cluster, previous, hosts, _stats.ControlWriter);
        return hosts;
    }

    /// <summary>What an EDS cluster's hosts were made of.</summary>
    private sealed record ResolvedHosts(ClusterConfig Cluster, EndpointSet Endpoints, HostSet Hosts);
}
