using System;
using System.Collections.Generic;
using Google.Protobuf;
using Sidecar.Config.Clusters;
using Sidecar.Config.Routes;
using Sidecar.Downstream;
using Sidecar.Filters;
using Sidecar.Net;
using Sidecar.Routing;
using Sidecar.Telemetry.Stats;
using Sidecar.Upstream.Discovery;
using Sidecar.Wire;
using WireCluster = Envoy.Config.Cluster.V3.Cluster;
using WireCore = Envoy.Config.Core.V3;
using WireEndpoint = Envoy.Config.Endpoint.V3;
using WireListener = Envoy.Config.Listener.V3;
using WireRoute = Envoy.Config.Route.V3;
using WireTls = Envoy.Extensions.TransportSockets.Tls.V3;

namespace Sidecar.Config;

/// <summary>
/// Takes resources into a <see cref="Snapshot"/>: what did not change (byte for byte) keeps its objects, and a resource that is refused keeps its
/// old version without holding back its neighbours. What an update costs goes by what it changes, not by how much there is.
/// </summary>
/// <remarks>Control loop only. What is accepted here is in use when <c>Server/Warming</c> says so.</remarks>
internal sealed class SnapshotBuilder
{
    // Each type refers to those before it.
    private static readonly string[] s_order =
    [
        ResourceTypes.Secret, ResourceTypes.Cluster, ResourceTypes.ClusterLoadAssignment, ResourceTypes.RouteConfiguration, ResourceTypes.Extension,
        ResourceTypes.Listener,
    ];

    private readonly StatsRegistry _stats;
    private readonly ClusterSlots _clusterSlots = new();
    private readonly ClusterTemplates _clusterTemplates = new();
    private readonly Dictionary<string, int> _routeSlots = [];
    private readonly ConfigServices _services;
    private readonly int _workers;
    private readonly Func<long> _unixMs;

    // The addresses of accepted listeners, to find one that is asked for twice.
    private readonly Dictionary<Address, string> _listenerOfAddress = [];

    // What one translation refers to, noted while it runs.
    private readonly HashSet<ClusterRef> _namedClusters = [];
    private readonly Dictionary<string, RouteRef> _namedRoutes = [];
    private readonly Dictionary<(string TypeUrl, string Key), NamedResource> _namedResources = [];
    private readonly ResourceOrigins _origins = new();

    // The clusters of the bootstrap, where control planes are.
    private readonly HashSet<string> _staticClusters = [];

    // Clusters of a file that could not even be read.
    private readonly HashSet<string> _unreadClusters = [];

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
        var tls = new TlsTranslator(Secrets);
        _services = new ConfigServices
        {
            Stats = stats,
            Cluster = NameCluster,
            RouteSlot = NameRoutes,
            RouteUse = NoteRouteUse,
            RouteTable = (wire, scope) => RouteTranslator.Translate(wire, isInline: true, scope),
            ClusterProblem = ClusterProblem,
            StringMatcher = MatcherTranslator.String,
            HeaderMatcher = MatcherTranslator.Header,
            DownstreamTls = tls.Downstream,
            UpstreamTls = tls.Upstream,
            Named = (typeUrl, name, source, scope) => NameResource(typeUrl, name, source, waits: true, scope),
            Discover = DiscoverFilter,
            NodeId = nodeId,
        };
    }

    internal Snapshot Snapshot { get; } = new();

    /// <summary>Secrets, and what is made of them.</summary>
    internal SecretStore Secrets { get; }

    /// <summary>Discovered configurations of extensions.</summary>
    internal ExtensionStore Extensions { get; } = new();

    /// <summary>
    /// Tells whether a ConfigSource can be asked. Null where nothing is: a snapshot of files has everything there is, and what is taken by name is found among
    /// it, whatever source it is said to come from.
    /// </summary>
    internal ConfigSourceCheck? Sources { get; set; }

    /// <summary>What came of some resources.</summary>
    internal sealed class Result(Snapshot snapshot)
    {
        internal Snapshot Snapshot => snapshot;

        /// <summary>Resources with a new version accepted.</summary>
        internal List<ResourceState> Accepted { get; } = [];

        /// <summary>Resources that are no more.</summary>
        internal List<ResourceState> Removed { get; } = [];

        /// <summary>Everything that was refused, reading included.</summary>
        internal List<ConfigError> Errors { get; } = [];

        /// <summary>What was accepted and does nothing.</summary>
        internal List<ConfigError> WithoutEffect { get; } = [];

        internal int Added { get; set; }
        internal int Modified { get; set; }
        internal int Unchanged { get; set; }

        /// <summary>How many resources are new, changed or gone.</summary>
        internal int Changed => Added + Modified + Removed.Count;
    }

    /// <summary>The stable slot of a route configuration in the workers' tables.</summary>
    internal int RouteSlot(string name)
    {
        if (!_routeSlots.TryGetValue(name, out int slot))
            _routeSlots.Add(name, slot = _routeSlots.Count);
        return slot;
    }

    /// <summary>Hears who takes a route configuration by name: its name, the connection manager's stat_prefix. Stats asked for then are the listener's.</summary>
    internal Action<string, string>? RouteUse { get; set; }

    /// <summary>The stable slot of a cluster.</summary>
    internal ClusterRef Cluster(string name) => _clusterSlots.Intern(name);

    /// <summary>Takes resources of one type, as discovery brings them.</summary>
    internal Result Take(string typeUrl, IReadOnlyList<DiscoveredResource> resources, IReadOnlyList<string> removed)
    {
        var result = new Result(Snapshot);
        Remove(typeUrl, removed, result);
        foreach (var resource in resources)
            Take(resource, isStatic: false, result);
        return result;
    }

    /// <summary>Takes everything there is, as files and bootstraps hold it: what is missing in it is removed.</summary>
    internal Result Build(ResourceSet set, bool isStatic = false)
    {
        var result = new Result(Snapshot);
        foreach (var problem in set.Problems)
        {
            if (problem.IsError)
                result.Errors.Add(problem);
        }
        NoteUnreadClusters(set);
        if (isStatic)
            NoteStaticClusters(set);
        var present = new HashSet<(string TypeUrl, string Name)>(set.Resources.Count);
        foreach (var resource in set.Resources)
            present.Add((resource.TypeUrl, resource.Name));
        KeepDespiteErrors(set, present, result);
        foreach (string typeUrl in s_order)
        {
            var gone = new List<string>();
            foreach (var state in Snapshot.Of(typeUrl).Values)
            {
                // What discovery brought is not the bootstrap's to remove.
                if (state.IsStatic == isStatic && !present.Contains((typeUrl, state.Name)))
                    gone.Add(state.Name);
            }
            Remove(typeUrl, gone, result, evenStatic: isStatic);
            foreach (var resource in set.Resources)
            {
                if (resource.TypeUrl == typeUrl)
                    Take(resource, isStatic, result);
            }
        }
        // What belongs to no resource: fields of the bootstrap itself, files and secrets left out.
        var told = new HashSet<ConfigError>(result.WithoutEffect);
        foreach (var problem in set.Problems)
        {
            if (!problem.IsError && told.Add(problem with { Line = 0, Column = 0 }))
                result.WithoutEffect.Add(problem);
        }
        return result;
    }

    /// <summary>The endpoints of an accepted assignment.</summary>
    internal EndpointSet EndpointsOf(ResourceVersion assignment) =>
        assignment.Translated as EndpointSet ?? TranslateEndpoints(assignment.Resource.Bytes.Span, new ConfigScope(_services, assignment.Resource.Name))!;

    private static EndpointSet? TranslateEndpoints(ReadOnlySpan<byte> bytes, ConfigScope scope) =>
        PlainEndpoints.Read(bytes) ?? EndpointTranslator.Translate(WireEndpoint.ClusterLoadAssignment.Parser.ParseFrom(bytes), namesAllowed: false, scope);

    /// <summary>Takes an accepted version back: its listener could not be bound. The version in use stays, or none.</summary>
    internal ConfigError RefuseListener(ResourceState state, string reason)
    {
        var version = state.Accepted!;
        var error = new ConfigError(version.Resource.Source, ResourceTypes.Noun(state.TypeUrl) + " " + state.Name, "address", reason);
        ForgetAddresses(state);
        state.Accepted = state.Active;
        RememberAddresses(state);
        Refuse(state, version.Resource, [error]);
        return error;
    }

    /// <summary>Nothing uses a version any more.</summary>
    internal void Release(ResourceVersion version)
    {
        foreach (var scope in version.Scopes)
            _stats.Release(scope);
    }

    /// <summary>Forgets a resource nobody asks for.</summary>
    internal void Forget(ResourceState state)
    {
        ForgetAddresses(state);
        Unuse(state);
        Snapshot.Remove(state);
    }

    // ---- one resource -----------------------------------------------------------------------------------------------

    private void Take(DiscoveredResource resource, bool isStatic, Result result)
    {
        var state = Snapshot.FindOrAdd(resource.TypeUrl, resource.Name, resource.Origin);
        // A name comes with every version, and an assignment's is its cluster's: it is kept once.
        string name = resource.TypeUrl is ResourceTypes.Cluster or ResourceTypes.ClusterLoadAssignment ? _clusterSlots.Intern(resource.Name).Name : state.Name;
        if (!ReferenceEquals(resource.Name, name))
            resource = resource with { Name = name };
        if (state.IsStatic && !isStatic)
        {
            // As in Envoy, which takes the answer and leaves the static resource as it is.
            const string reason = "is static: it comes from the bootstrap, and this version has no effect";
            state.Errors = [new ConfigError(resource.Source, Noun(resource), "", reason) { Kind = ConfigErrorKind.Ignored }];
            result.WithoutEffect.Add(state.Errors[0]);
            return;
        }
        state.IsStatic = isStatic;
        // A resource that was removed and is back before it was gone goes on, too.
        if ((state.Accepted ?? state.Active) is { } current && current.Resource.Bytes.Span.SequenceEqual(resource.Bytes.Span))
        {
            Continue(state, current, resource, result);
            return;
        }
        var errors = new List<ConfigError>();
        var version = Translate(resource, state, errors);
        if (version is null || !TryUse(state, version, errors))
        {
            result.Errors.AddRange(errors);
            Refuse(state, resource, errors);
            return;
        }
        if (state.Accepted is null && state.Active is null)
            result.Added++;
        else
            result.Modified++;
        Accept(state, version, result);
    }

    // Of a secret contexts are made at once, and filters of a discovered configuration, so that one which does not go together with the rest of them is refused.
    private bool TryUse(ResourceState state, ResourceVersion version, List<ConfigError> errors)
    {
        string? refusal = version.Translated switch
        {
            WireTls.Secret secret => Secrets.Set(state.Key, secret),
            WireCore.TypedExtensionConfig extension => Extensions.Set(state.Key, extension.TypedConfig),
            _ => null,
        };
        if (refusal is not { } problem)
            return true;
        errors.Add(new ConfigError(version.Resource.Source, Noun(version.Resource), "", problem));
        Release(version);
        return false;
    }

    private void Unuse(ResourceState state)
    {
        if (state.TypeUrl == ResourceTypes.Secret)
            Secrets.Remove(state.Key);
        else if (state.TypeUrl == ResourceTypes.Extension)
            Extensions.Remove(state.Key);
    }

    private void Continue(ResourceState state, ResourceVersion current, DiscoveredResource resource, Result result)
    {
        Unrefuse(state);
        if (state.Accepted is null)
        {
            TryUse(state, current, []);
            result.Added++;
            Accept(state, current, result);
            return;
        }
        result.Unchanged++;
        result.WithoutEffect.AddRange(current.WithoutEffect);
        if (current.Resource.Version == resource.Version && current.Resource.Source == resource.Source)
            return;
        // The same content under a new version: that is told from now on.
        var renewed = new ResourceVersion
        {
            Resource = current.Resource with { Version = resource.Version, Source = resource.Source },
            UnixMs = current.UnixMs,
            Translated = current.Translated,
            WithoutEffect = current.WithoutEffect,
            Scopes = current.Scopes,
            Clusters = current.Clusters,
            Routes = current.Routes,
            Named = current.Named,
        };
        if (state.Active == current)
            state.Active = renewed;
        state.Accepted = renewed;
    }

    private void Accept(ResourceState state, ResourceVersion version, Result result)
    {
        ForgetAddresses(state);
        result.Accepted.Add(state);
        result.WithoutEffect.AddRange(version.WithoutEffect);
        state.Accepted = version;
        RememberAddresses(state);
        Unrefuse(state);
    }

    private void Refuse(ResourceState state, DiscoveredResource resource, IReadOnlyList<ConfigError> errors)
    {
        state.Refused = resource;
        state.RefusedUnixMs = _unixMs();
        state.Errors = errors;
    }

    private static void Unrefuse(ResourceState state)
    {
        state.Refused = null;
        state.Errors = [];
    }

    private void Remove(string typeUrl, IReadOnlyList<string> names, Result result, bool evenStatic = false)
    {
        foreach (string name in names)
        {
            if (Snapshot.Find(typeUrl, name) is not { } state || state.IsStatic && !evenStatic)
                continue;
            ForgetAddresses(state);
            Unuse(state);
            if (state.Accepted is null && state.Active is null)
                Snapshot.Remove(state);
            else if (state.Accepted is not null)
                result.Removed.Add(state);
            state.Accepted = null;
            Unrefuse(state);
        }
    }

    // ---- files --------------------------------------------------------------------------------------------------------

    private void NoteUnreadClusters(ResourceSet set)
    {
        const string noun = "cluster ";
        _unreadClusters.Clear();
        foreach (var problem in set.Problems)
        {
            if (problem.IsError && problem.Resource.StartsWith(noun, StringComparison.Ordinal))
                _unreadClusters.Add(problem.Resource[noun.Length..]);
        }
    }

    private void NoteStaticClusters(ResourceSet set)
    {
        _staticClusters.Clear();
        foreach (var resource in set.Resources)
        {
            if (resource.TypeUrl == ResourceTypes.Cluster && !IsEdsCluster(resource))
                _staticClusters.Add(resource.Name);
        }
    }

    /// <summary>Whether a cluster has its endpoints from a control plane, and so can hold none: envoy.config.cluster.v3.Cluster { type = 2 }, EDS = 3.</summary>
    internal static bool IsEdsCluster(DiscoveredResource cluster)
    {
        ulong type = 0;
        var reader = new WireReader(cluster.Bytes.Span);
        while (!reader.AtEnd && reader.TryTag(out uint number, out int encoding))
        {
            if (number == 2 && encoding == 0 ? !reader.TryVarint(out type) : !reader.TrySkip(encoding))
                break;
        }
        return type == (ulong)WireCluster.Types.DiscoveryType.Eds;
    }

    /// <summary>Resources that are in use and could not be read this time stay as they are.</summary>
    private void KeepDespiteErrors(ResourceSet set, HashSet<(string TypeUrl, string Name)> present, Result result)
    {
        if (result.Errors.Count == 0)
            return;
        foreach (var state in Snapshot.Resources)
        {
            if (present.Contains((state.TypeUrl, state.Name)))
                continue;
            foreach (var problem in result.Errors)
            {
                if (!IsAbout(problem, state))
                    continue;
                present.Add((state.TypeUrl, state.Name));
                state.RefusedUnixMs = _unixMs();
                state.Errors = [problem];
                break;
            }
        }
    }

    private static bool IsAbout(ConfigError problem, ResourceState state)
    {
        if (problem.Resource.Length > 0)
            return problem.Resource == ResourceTypes.Noun(state.TypeUrl) + " " + state.Name;
        string? source = state.Accepted?.Resource.Source;
        return source is not null && (source == problem.File || source.StartsWith(problem.File + "/", StringComparison.Ordinal));
    }

    // ---- translation --------------------------------------------------------------------------------------------------

    private static string Noun(DiscoveredResource resource) =>
        resource.Name.Length > 0 ? ResourceTypes.Noun(resource.TypeUrl) + " " + resource.Name : ResourceTypes.Noun(resource.TypeUrl);

    private ResourceVersion? Translate(DiscoveredResource resource, ResourceState state, List<ConfigError> errors)
    {
        var scope = new ConfigScope(_services, resource.Name);
        var scopes = new List<StatsScope>();
        _namedClusters.Clear();
        _namedRoutes.Clear();
        _namedResources.Clear();
        _stats.Recorder = scopes;
        object? translated;
        try
        {
            translated = Translate(resource, state, scope);
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

        if (translated is null || scope.IsRejected)
        {
            string noun = Noun(resource);
            foreach (var statsScope in scopes)
                _stats.DropUnused(statsScope);
            foreach (var problem in scope.Rejections)
                errors.Add(new ConfigError(resource.Source, noun, problem.Path, problem.Reason));
            if (errors.Count == 0)
                errors.Add(new ConfigError(resource.Source, noun, "", "is refused"));
            return null;
        }
        foreach (var statsScope in scopes)
            StatsRegistry.Retain(statsScope);
        return new ResourceVersion
        {
            Resource = resource,
            UnixMs = _unixMs(),
            Translated = translated,
            WithoutEffect = WithoutEffect(resource, scope),
            Scopes = scopes.Count == 0 ? [] : scopes.ToArray(),
            Clusters = resource.TypeUrl == ResourceTypes.Cluster || _namedClusters.Count == 0 ? [] : [.. _namedClusters],
            Routes = _namedRoutes.Count == 0 ? [] : [.. _namedRoutes.Values],
            Named = _namedResources.Count == 0 ? [] : [.. _namedResources.Values],
        };
    }

    private object? Translate(DiscoveredResource resource, ResourceState state, ConfigScope scope)
    {
        var bytes = resource.Bytes.Span;
        switch (resource.TypeUrl)
        {
            case ResourceTypes.Cluster:
                return _clusterTemplates.Translate(bytes, _workers, scope);
            case ResourceTypes.ClusterLoadAssignment:
                return TranslateEndpoints(bytes, scope);
            case ResourceTypes.RouteConfiguration:
                return RouteTranslator.Translate(WireRoute.RouteConfiguration.Parser.ParseFrom(bytes), isInline: false, scope);
            case ResourceTypes.Listener:
                // Chains that are in use keep their connections; those of a version that never was have none.
                var previous = (state.Active ?? state.Accepted)?.Translated as ListenerConfig;
                var listener = ListenerTranslator.Translate(WireListener.Listener.Parser.ParseFrom(bytes), previous, scope);
                if (listener is not null)
                    RejectTakenAddress(listener, scope);
                return listener;
            case ResourceTypes.Extension:
                var extension = WireCore.TypedExtensionConfig.Parser.ParseFrom(bytes);
                if (HttpFilters.DiscoveryProblem(extension.Name, extension.TypedConfig) is { } problem)
                    scope.Reject("typed_config", problem);
                return extension;
            default:
                return SecretTranslator.Translate(WireTls.Secret.Parser.ParseFrom(bytes), Secrets, scope);
        }
    }

    private static IReadOnlyList<ConfigError> WithoutEffect(DiscoveredResource resource, ConfigScope scope)
    {
        if (scope.Ignored.Count == 0 && resource.IsWhollySupported)
            return [];
        string noun = Noun(resource);
        var list = new List<ConfigError>();
        foreach (var problem in scope.Ignored)
            list.Add(new ConfigError(resource.Source, noun, problem.Path, problem.Reason) { Kind = ConfigErrorKind.Ignored });
        if (!resource.IsWhollySupported && resource.Type is { } type)
        {
            var problems = new WireProblems();
            UnsupportedFields.Walk(resource.Bytes.Span, type, "", problems);
            foreach (var problem in problems.List)
                list.Add(ConfigError.From(problem, resource.Source, noun));
        }
        return list.Count == 0 ? [] : list.ToArray();
    }

    private ClusterRef NameCluster(string name)
    {
        var cluster = _clusterSlots.Intern(name);
        _namedClusters.Add(cluster);
        return cluster;
    }

    private int NameRoutes(string name)
    {
        _namedRoutes.TryAdd(name, new RouteRef(name, null));
        return RouteSlot(name);
    }

    private void NoteRouteUse(RouteUse use)
    {
        _namedRoutes[use.Name] = new RouteRef(use.Name, use.FetchTimeoutMs);
        RouteUse?.Invoke(use.Name, use.StatPrefix);
    }

    private void DiscoverFilter(string name, WireCore.ConfigSource source, bool waits, DiscoveredFilterSlot slot, ConfigScope scope)
    {
        if (name.Length == 0)
            scope.Reject("name", "must not be empty: the configuration is asked for by it");
        string key = NameResource(ResourceTypes.Extension, name, source, waits, scope.At("config_source"));
        if (!scope.IsRejected && Extensions.Bind(key, slot) is { Length: > 0 } problem)
            scope.Reject("", problem);
    }

    private string NameResource(string typeUrl, string name, WireCore.ConfigSource source, bool waits, ConfigScope scope)
    {
        if (Sources is null)
            return name;
        byte[] bytes = source.ToByteArray();
        var problems = new WireProblems();
        Sources(bytes, typeUrl, problems);
        foreach (var problem in problems.List)
        {
            if (problem.IsError)
                scope.Reject(problem.Path, problem.Reason);
            else
                scope.Ignore(problem.Path, problem.Reason);
        }
        for (int i = 0; i < (source.ApiConfigSource?.GrpcServices.Count ?? 0); i++)
        {
            if (source.ApiConfigSource!.GrpcServices[i].GoogleGrpc is not null)
                scope.Reject($"api_config_source.grpc_services[{i}].google_grpc", "is taken in dynamic_resources only; use envoy_grpc and a cluster of the bootstrap");
        }
        foreach (string cluster in ControlPlanes(source))
        {
            if (!_staticClusters.Contains(cluster))
            {
                scope.Reject(
                    "api_config_source", $"must have a statically defined non-EDS cluster: '{cluster}' does not exist, was added via api, or is an EDS cluster");
            }
        }
        var named = new NamedResource(typeUrl, name, _origins.Of(source), bytes) { Waits = waits };
        if (waits || !_namedResources.ContainsKey((typeUrl, named.Key)))
            _namedResources[(typeUrl, named.Key)] = named;
        return named.Key;
    }

    private static IEnumerable<string> ControlPlanes(WireCore.ConfigSource source)
    {
        foreach (var service in source.ApiConfigSource?.GrpcServices ?? [])
        {
            if (service.EnvoyGrpc is { ClusterName: { Length: > 0 } cluster })
                yield return cluster;
        }
        foreach (string cluster in source.ApiConfigSource?.ClusterNames ?? [])
            yield return cluster;
    }

    /// <summary>Null for a cluster that can be used; what is wrong with the others differs: one is missing, another's own error is to be read.</summary>
    private string? ClusterProblem(string name)
    {
        var state = Snapshot.Find(ResourceTypes.Cluster, name);
        if (state?.Accepted is not null)
            return null;
        return state?.Refused is not null || _unreadClusters.Contains(name)
            ? $"unknown cluster '{name}': cluster '{name}' is refused, see its error"
            : $"unknown cluster '{name}': add it to the clusters, or correct the name";
    }

    // ---- addresses of listeners -----------------------------------------------------------------------------------------

    // Bound to a port or not: an address two listeners have would leave open which of them gets a connection. The first one keeps it, as in Envoy; any port
    // may be asked for often, since each gets another.
    private void RejectTakenAddress(ListenerConfig listener, ConfigScope scope)
    {
        foreach (var options in listener.Addresses)
        {
            if (!IsExclusive(listener, options.Address) || !_listenerOfAddress.TryGetValue(options.Address, out string? other) || other == listener.Name)
                continue;
            scope.Reject(
                "address", $"error adding listener: '{listener.Name}' has duplicate address '{options.Address}' as existing listener '{other}'; give one of them another address");
            return;
        }
    }

    private void RememberAddresses(ResourceState state)
    {
        if (state.Accepted?.Translated is not ListenerConfig listener)
            return;
        foreach (var options in listener.Addresses)
        {
            if (IsExclusive(listener, options.Address))
                _listenerOfAddress[options.Address] = listener.Name;
        }
    }

    private void ForgetAddresses(ResourceState state)
    {
        if (state.Accepted?.Translated is not ListenerConfig listener)
            return;
        foreach (var options in listener.Addresses)
        {
            if (_listenerOfAddress.GetValueOrDefault(options.Address) == listener.Name)
                _listenerOfAddress.Remove(options.Address);
        }
    }

    private static bool IsExclusive(ListenerConfig listener, in Address address) => !address.IsIp || address.Port != 0 || !listener.BindToPort;
}
