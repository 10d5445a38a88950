using System;
using System.Collections.Generic;
using Sidecar.Config;
using Sidecar.Downstream;
using Sidecar.Loop;
using Sidecar.Memory;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Telemetry.Stats;
using Sidecar.Upstream;
using Sidecar.Upstream.Discovery;
using Sidecar.Wire;
using Sidecar.Xds;

namespace Sidecar.Server;

/// <summary>
/// The way of the configuration from where it comes to where it serves:
/// <code>
///   files, control plane ──► SnapshotBuilder ──► Warming ──► SnapshotDelta ──► workers, a portion per turn
///                            translate, refuse    wait        what changes
/// </code>
/// and back: what to ask the control plane for next. The start goes as Envoy's: clusters, their endpoints, then listeners, their routes; when all have
/// answered or been given up, listeners serve.
/// </summary>
/// <remarks>Control loop only.</remarks>
internal sealed class ConfigPipeline : IDiscoveryTarget
{
    private readonly EventLoop _loop;
    private readonly StatsRegistry _stats;
    private readonly IReadOnlyList<Worker> _workers;
    private readonly SnapshotBuilder _builder;
    private readonly ListenerSockets _sockets;
    private readonly WorkerUpdates _control;
    private readonly ClusterDiscovery _dns;
    private readonly List<PushRecord> _warming = [];
    private readonly HashSet<string> _confirmed = [];
    private readonly Dictionary<string, string> _versions = [];
    private readonly ErrorLog _errors;

    // By type and source: refused pushes that said nothing new, since the last that did.
    private readonly Dictionary<string, long> _unsaidPushes = [];
    private readonly RouteSubscriptions _routes;
    private DiscoverySource? _source;
    private NamedSubscriptions? _named;
    private LastGoodFile? _lastGood;
    private StartPhase _phase = StartPhase.Done;
    private bool _clustersAnswered;
    private bool _listenersAnswered;

    // What there was at the start, of the bootstrap without discovery or of the last good configuration, waits for secrets.
    private bool _awaitsFirst;
    private int _applying;

    private enum StartPhase : byte { Clusters, Listeners, Done }

    /// <param name="loop">The control loop.</param>
    /// <param name="workers">Who gets the configuration.</param>
    /// <param name="stats">The process's stats.</param>
    /// <param name="nodeId">This proxy's node id; may be empty.</param>
    /// <param name="drainTimeMs">How long connections of chains that are gone may go on.</param>
    /// <param name="random">For jitter and load balancing on the control loop.</param>
    internal ConfigPipeline(EventLoop loop, IReadOnlyList<Worker> workers, StatsRegistry stats, string nodeId, long drainTimeMs, FastRandom random)
    {
        _loop = loop;
        _stats = stats;
        _workers = workers;
        _builder = new SnapshotBuilder(stats, workers.Count, nodeId, () => loop.UnixMs);
        _errors = new ErrorLog(IsInUse);
        _routes = new RouteSubscriptions(loop, stats);
        _sockets = new ListenerSockets(workers.Count);
        Warming = new Warming(loop, _builder, stats, _sockets, workers.Count, drainTimeMs) { Ready = Flush };
        ControlClusters = new Clusters(loop, stats.ControlWriter, random, PeerChecks.OwnCalls);
        _control = new WorkerUpdates(loop, ControlClusters, null, null, drainTimeMs);
        _dns = new ClusterDiscovery(loop, new DnsResolver(loop), workers.Count, random, OnHostsFound);
    }

    internal Snapshot Snapshot => _builder.Snapshot;
    internal SecretStore Secrets => _builder.Secrets;
    internal Warming Warming { get; }
    internal PushJournal Journal { get; } = new();

    /// <summary>The clusters as the control loop has them, for the services it calls itself; discovery first of all.</summary>
    internal Clusters ControlClusters { get; }

    /// <summary>What was refused when the configuration last changed.</summary>
    internal IReadOnlyList<ConfigError> LastErrors { get; private set; } = [];

    /// <summary>Refusals so far; a file's only when they are new.</summary>
    internal long Rejections { get; private set; }

    /// <summary>The version of the last answer that brought resources of a type; null before the first.</summary>
    internal string? VersionOf(string typeUrl) => _versions.GetValueOrDefault(typeUrl);

    /// <summary>Null without discovery; else whether there is a stream, and what was last heard about it.</summary>
    internal (bool IsConnected, string Reason, long UnixMs)? Connection { get; private set; }

    /// <summary>
    /// Listeners serve, all of them: everything asked for at the start has come or been given up, or the last good configuration is in its place and nothing of
    /// it waits for secrets, which are never kept. Until then the server is not ready, as Envoy, whose init manager waits for the same.
    /// </summary>
    internal bool IsServing => !Warming.HoldsListeners && !_awaitsFirst;

    /// <summary>Workers are taking something over; <see cref="AllApplied"/> follows.</summary>
    internal bool IsApplying => _applying > 0;

    /// <summary>The first clusters are there, and listeners are asked for.</summary>
    internal bool HasClusters => _phase > StartPhase.Clusters;

    /// <summary>Resources that are in use from the last good configuration, and that no control plane has confirmed yet.</summary>
    internal int UnconfirmedCount
    {
        get
        {
            int count = 0;
            foreach (var state in Snapshot.Resources)
                count += IsUnconfirmed(state) ? 1 : 0;
            return count;
        }
    }

    /// <summary>What was asked for by name and of which there is no version, with the time since when.</summary>
    internal IEnumerable<(NamedResource Resource, long SinceUnixMs)> Awaited
    {
        get
        {
            foreach (var (resource, sinceUnixMs) in _named?.Wanted ?? [])
            {
                if (Snapshot.Find(resource.TypeUrl, resource.Key)?.Accepted is null)
                    yield return (resource, sinceUnixMs);
            }
        }
    }

    /// <summary>The file of the last good configuration, when one is kept.</summary>
    internal LastGoodFile? LastGood => _lastGood;

    /// <summary>Called when the first configuration is there, before anybody can connect.</summary>
    internal Action? Starting { get; set; }

    /// <summary>Called each time every worker has all it was given.</summary>
    internal Action? AllApplied { get; set; }

    // ---- files ----------------------------------------------------------------------------------------------------------

    /// <summary>Takes all that a file or bootstrap holds. What could not be bound is among the errors.</summary>
    internal SnapshotBuilder.Result TakeFile(ResourceSet set, string path, bool isStatic)
    {
        var record = new PushRecord("", path, "", _loop.UnixMs, _loop.NowNs);
        var result = _builder.Build(set, isStatic);
        Warming.Take(result);
        AddBindErrors(result);
        record.OnTranslated(result, result.Errors.Count, _loop.NowNs);
        record.OnTaken(result);
        // Nothing is in use before the first file: its errors end the start, which prints them.
        Rejections += _errors.Tell(path, result.Errors, isSilent: Snapshot.Number == 0);
        LastErrors = result.Errors;
        if (result.Changed > 0)
        {
            Journal.Add(record);
            _warming.Add(record);
        }
        return result;
    }

    /// <summary>Gives the workers what they do not have yet.</summary>
    internal void Flush()
    {
        var applied = new List<PushRecord>();
        for (int i = _warming.Count - 1; i >= 0; i--)
        {
            if (!_warming[i].IsWarm(_loop.NowNs))
                continue;
            applied.Add(_warming[i]);
            _warming.RemoveAt(i);
        }
        if (Warming.TakeDelta() is { } delta)
        {
            Post(delta, applied);
            foreach (string name in delta.RemovedClusters)
                _dns.Remove(name);
            foreach (var change in delta.Clusters)
                _dns.Set(change.Config);
        }
        else
        {
            foreach (var record in applied)
                record.OnApplied(_loop.NowNs, 0);
        }
        Subscribe();
    }

    private void Post(SnapshotDelta delta, List<PushRecord> records)
    {
        _control.Add(delta, null);
        var closing = _sockets.TakeClosing();
        int missing = _workers.Count;
        long longestNs = 0;
        _applying++;
        foreach (var worker in _workers)
            worker.Loop.Post(() => worker.Updates.Add(delta, stalledNs => _loop.Post(() => OnApplied(stalledNs))));

        void OnApplied(long stalledNs)
        {
            longestNs = Math.Max(longestNs, stalledNs);
            if (--missing > 0)
                return;
            _sockets.Closed(closing);
            Warming.Counts.ListenerCreateSuccess += delta.Listeners.Count * _workers.Count;
            foreach (var record in records)
                record.OnApplied(_loop.NowNs, longestNs);
            if (--_applying == 0)
                AllApplied?.Invoke();
        }
    }

    // Names that were resolved: through the same queue, so that the cluster is there when its hosts come.
    private void OnHostsFound(ClusterConfig cluster, HostSet hosts)
    {
        var delta = new SnapshotDelta();
        delta.Hosts.Add(new HostsChange(cluster, hosts));
        Warming.Counts.ClusterUpdated++;
        Post(delta, []);
    }

    /// <summary>The hosts of a cluster in use, wherever it has them from.</summary>
    internal HostSet HostsOf(ClusterConfig cluster) =>
        cluster.StaticHosts ?? _dns.HostsOf(cluster) ?? Snapshot.Find(ResourceTypes.Cluster, cluster.Name)?.Hosts ?? HostSet.Empty;

    /// <summary>Where a listener in use listens, with the ports that the kernel chose.</summary>
    internal IReadOnlyList<Address> AddressesOf(ListenerConfig listener) => _sockets.AddressesOf(listener);

    private void AddBindErrors(SnapshotBuilder.Result result)
    {
        result.Errors.AddRange(Warming.BindErrors);
        Warming.BindErrors.Clear();
    }

    // ---- discovery ------------------------------------------------------------------------------------------------------

    /// <summary>A control plane will be asked: what is missing in the bootstrap may still come, and until the start is over no listener serves.</summary>
    internal void ExpectDiscovery()
    {
        _phase = StartPhase.Clusters;
        Warming.Discovers = true;
        Warming.HoldsListeners = true;
        _builder.RouteUse = _routes.Name;
    }

    /// <summary>What is taken by name may be asked for, wherever a configuration says it comes from. Before the first configuration is taken.</summary>
    /// <param name="maker">Makes sources.</param>
    /// <param name="hasAds">There is an aggregated stream.</param>
    internal void AllowNamed(NamedSubscriptions.SourceMaker maker, bool hasAds)
    {
        _named = new NamedSubscriptions(_loop, this, _stats, maker, hasAds);
        _builder.Sources = _named.Check;
        Secrets.RotationFailed = _named.CountRotationFailed;
    }

    /// <summary>The first configuration of a bootstrap without discovery is taken: it serves when its secrets have come or been given up.</summary>
    internal void AwaitSecrets() => _awaitsFirst = Warming.CountAwaitingFirst() > 0;

    /// <summary>Starts to ask a control plane. A last good configuration serves until it answers.</summary>
    internal void Discover(DiscoverySource source, LastGoodFile? lastGood)
    {
        _source = source;
        _lastGood = lastGood;
        Connection = (false, "not connected yet", _loop.UnixMs);
        if (lastGood is not null && TakeLastGood(lastGood))
        {
            Warming.ReleaseListeners();
            AwaitSecrets();
            Flush();
        }
        source.Start();
        source.Subscribe(ResourceTypes.Cluster, wildcard: true, []);
        Subscribe();
    }

    internal void Stop()
    {
        _source?.Stop();
        _named?.Stop();
        _dns.Stop();
    }

    public IReadOnlyList<ResourceRejection> OnUpdate(DiscoveryUpdate update) => Take(update, IsNamed(update.TypeUrl) ? ResourceOrigins.Ads : "");

    /// <summary>Takes an answer.</summary>
    /// <param name="update">The answer.</param>
    /// <param name="origin">From which source, for what is taken by name; else empty.</param>
    /// <returns>What is refused.</returns>
    internal IReadOnlyList<ResourceRejection> Take(DiscoveryUpdate update, string origin)
    {
        if (!Snapshot.Knows(update.TypeUrl))
            return [new ResourceRejection("", "", $"resources of type {update.TypeUrl} are not taken")];
        var record = new PushRecord(update.TypeUrl, update.Source, update.SystemVersion, _loop.UnixMs, update.ReceivedNs) { Bytes = update.Bytes };
        var removed = Confirm(update);
        bool isWildcard = update.TypeUrl is ResourceTypes.Cluster or ResourceTypes.Listener;
        // A named resource goes with those who name it; a control plane can only say that there is none. Only of a filter's configuration there is a default.
        var result = _builder.Take(update.TypeUrl, WithOrigin(update.Resources, origin), isWildcard ? removed : update.TypeUrl == ResourceTypes.Extension ? Keys(removed, origin) : []);
        if (update.TypeUrl == ResourceTypes.Listener)
            CheckAddresses(result);
        record.OnTranslated(result, result.Errors.Count + update.Malformed.Count, _loop.NowNs);
        Warming.Take(result);
        if (!isWildcard)
        {
            var refused = RefusedNames(update.TypeUrl, result);
            if (origin.Length > 0)
                HearNamed(update, origin, refused);
            else
                GiveUpMissing(update, removed, refused);
            if (update.TypeUrl == ResourceTypes.RouteConfiguration)
                _routes.OnAnswer(update, refused, result.Accepted);
        }
        AddBindErrors(result);
        record.OnTaken(result);

        if (result.Errors.Count + update.Malformed.Count == 0)
            _versions[update.TypeUrl] = update.SystemVersion;
        _clustersAnswered |= update.TypeUrl == ResourceTypes.Cluster;
        _listenersAnswered |= update.TypeUrl == ResourceTypes.Listener;
        Report(update, origin, result, record);
        _warming.Add(record);
        Advance();
        if (result.Changed > 0 && !IsNamed(update.TypeUrl))
            _lastGood?.Touch();
        return Rejected(update.TypeUrl, result);
    }

    private static bool IsNamed(string typeUrl) => typeUrl is ResourceTypes.Secret or ResourceTypes.Extension;

    private static IReadOnlyList<DiscoveredResource> WithOrigin(IReadOnlyList<DiscoveredResource> resources, string origin)
    {
        if (origin.Length == 0)
            return resources;
        var list = new List<DiscoveredResource>(resources.Count);
        foreach (var resource in resources)
            list.Add(resource with { Origin = origin });
        return list;
    }

    // As in Envoy, what waits for a secret that is refused or does not exist goes on without it: it would else wait for ever.
    private void HearNamed(DiscoveryUpdate update, string origin, HashSet<string> refused)
    {
        if (_named is null)
            return;
        Warming.GiveUp(update.TypeUrl, _named.OnAnswer(update, origin, refused));
    }

    // The same of routes and endpoints: one that is refused at first must not keep the proxy from its start.
    private void GiveUpMissing(DiscoveryUpdate update, IReadOnlyList<string> removed, HashSet<string> refused)
    {
        Warming.GiveUp(update.TypeUrl, removed);
        Warming.GiveUp(update.TypeUrl, [.. refused]);
        foreach (var malformed in update.Malformed)
            Warming.GiveUp(update.TypeUrl, [malformed.Name]);
    }

    private static HashSet<string> RefusedNames(string typeUrl, SnapshotBuilder.Result result)
    {
        var refused = new HashSet<string>();
        foreach (var rejection in Rejected(typeUrl, result))
            refused.Add(rejection.Name);
        return refused;
    }

    /// <summary>A resource that is taken by name has not come in time.</summary>
    internal void GiveUp(NamedResource resource)
    {
        Log.Warning("config", $"{ResourceTypes.Noun(resource.TypeUrl)} {resource.Name} has not come within its initial_fetch_timeout; what waits for it goes on without");
        Warming.GiveUp(resource.TypeUrl, [resource.Key]);
        Advance();
    }

    public void OnFetchTimeout(string typeUrl, IReadOnlyList<string> names)
    {
        _clustersAnswered |= typeUrl == ResourceTypes.Cluster && names.Count == 0;
        _listenersAnswered |= typeUrl == ResourceTypes.Listener && names.Count == 0;
        if (typeUrl == ResourceTypes.ClusterLoadAssignment)
            Warming.CountFetchTimeouts(names);
        if (typeUrl == ResourceTypes.RouteConfiguration)
            _routes.OnFetchTimeout(names);
        Warming.GiveUp(typeUrl, names);
        Advance();
    }

    public void OnFailure(string typeUrl)
    {
        if (typeUrl == ResourceTypes.RouteConfiguration)
            _routes.OnFailure();
    }

    public void OnExpired(string typeUrl, IReadOnlyList<string> names) => Expire(typeUrl, names, IsNamed(typeUrl) ? ResourceOrigins.Ads : "");

    /// <summary>The time to live of resources is over. A secret stays, as in Envoy: it goes with those who name it.</summary>
    internal void Expire(string typeUrl, IReadOnlyList<string> names, string origin)
    {
        if (!Snapshot.Knows(typeUrl))
            return;
        bool stays = typeUrl == ResourceTypes.Secret;
        Log.Info("config", $"{PushRecord.KindOf(typeUrl)}: the time to live of {names.Count} resources is over{(stays ? "; secrets stay in use" : "")}");
        if (stays)
            return;
        Warming.Take(_builder.Take(typeUrl, [], Keys(names, origin)));
        Advance();
    }

    private static IReadOnlyList<string> Keys(IReadOnlyList<string> names, string origin)
    {
        var keys = new List<string>(names.Count);
        foreach (string name in names)
            keys.Add(ResourceOrigins.Key(name, origin));
        return keys;
    }

    public void OnConnection(bool connected, string reason)
    {
        var (was, before, sinceUnixMs) = Connection ?? (!connected, "", 0);
        Connection = (connected, reason, connected == was ? sinceUnixMs : _loop.UnixMs);
        if (connected)
            Log.Info("config", reason.Length > 0 ? $"connected to the control plane: {reason}" : "connected to the control plane");
        else if (was || reason != before)
            Log.Warning("config", $"no control plane: {reason}; what is in use goes on");
    }

    /// <summary>The next step of the start when its time has come; and whatever is ready goes to the workers.</summary>
    private void Advance()
    {
        if (_phase == StartPhase.Clusters && _clustersAnswered && Warming.IsWarm(ResourceTypes.Cluster))
        {
            _phase = StartPhase.Listeners;
            _source?.Subscribe(ResourceTypes.Listener, wildcard: true, []);
        }
        if (_phase == StartPhase.Listeners && _listenersAnswered && Warming.IsWarm(ResourceTypes.Listener))
        {
            _phase = StartPhase.Done;
            if (!IsServing)
                Starting?.Invoke();
            Warming.ReleaseListeners();
            _errors.Tell("bind", Warming.BindErrors);
        }
        if (_awaitsFirst)
            _awaitsFirst = Warming.CountAwaitingFirst() > 0;
        Flush();
        if (_applying == 0)
            AllApplied?.Invoke();
    }

    private void Subscribe()
    {
        if (_named is not null && Warming.NamedChanged)
        {
            Warming.NamedChanged = false;
            _named.Set(Warming.Named);
        }
        if (_source is null)
            return;
        _named?.SubscribeTo(_source);
        if (Warming.EndpointNamesChanged)
        {
            Warming.EndpointNamesChanged = false;
            _source.Subscribe(ResourceTypes.ClusterLoadAssignment, wildcard: false, [.. Warming.EndpointNames], Warming.EndpointFetchTimeoutMs);
        }
        if (Warming.RouteNamesChanged)
        {
            Warming.RouteNamesChanged = false;
            _routes.Set(Warming.RouteNames);
            _source.Subscribe(ResourceTypes.RouteConfiguration, wildcard: false, [.. Warming.RouteNames], Warming.RouteFetchTimeoutMs);
        }
    }

    private void CheckAddresses(SnapshotBuilder.Result result)
    {
        for (int i = result.Accepted.Count - 1; i >= 0; i--)
        {
            var state = result.Accepted[i];
            if (_sockets.Check((ListenerConfig)state.Accepted!.Translated!) is not { } reason)
                continue;
            Warming.RefuseListener(state, reason);
            result.Accepted.RemoveAt(i);
        }
    }

    private void Report(DiscoveryUpdate update, string origin, SnapshotBuilder.Result result, PushRecord record)
    {
        var errors = new List<ConfigError>(result.Errors);
        foreach (var malformed in update.Malformed)
        {
            var error = new ConfigError(update.Source, ResourceTypes.Noun(update.TypeUrl) + " " + malformed.Name, malformed.Path, malformed.Reason);
            errors.Add(error);
            if (malformed.Name.Length == 0)
                continue;
            var state = Snapshot.FindOrAdd(update.TypeUrl, malformed.Name, origin);
            state.RefusedUnixMs = _loop.UnixMs;
            state.Errors = [error];
        }
        LastErrors = errors;
        Rejections += errors.Count;
        string source = update.TypeUrl + origin;
        int news = _errors.Tell(source, errors, update.IsDelta ? Touched(update, errors, result) : null);
        // A control plane that is refused may well say the same again, every second and without end.
        bool saysNothingNew = record.Refused > 0 && news == 0 && record.Added + record.Modified + record.Removed == 0;
        if (saysNothingNew)
            Journal.AddRepeated(record);
        else
            Journal.Add(record);
        // Endpoints change all the time; a push of them is told only to who asks for details, unless something is wrong with it.
        var level = saysNothingNew || update.TypeUrl == ResourceTypes.ClusterLoadAssignment && record.Refused == 0 ? LogLevel.Debug : LogLevel.Info;
        long unsaid = _unsaidPushes.GetValueOrDefault(source);
        if (saysNothingNew)
            _unsaidPushes[source] = unsaid + 1;
        else if (Log.IsEnabled(level))
            _unsaidPushes.Remove(source);
        if (!Log.IsEnabled(level))
            return;
        string version = update.SystemVersion.Length == 0 ? "no version" : "version " + update.SystemVersion;
        string before = unsaid == 0 || saysNothingNew ? "" : $"; before it {unsaid} with the same errors and nothing else";
        string text = $"{record.Kind}: {version} from {update.Source}: {record.Added} added, {record.Modified} modified, {record.Removed} removed, "
            + $"{record.Unchanged} unchanged, {record.Refused} refused, {record.WaitingCount} warming; translated in {record.TranslateUs} us{before}";
        if (level == LogLevel.Debug)
            Log.Debug("config", text);
        else
            Log.Info("config", text);
    }

    /// <summary>Whether there is a version in use of a resource, as errors call it; null: it is no resource.</summary>
    private bool? IsInUse(string resource)
    {
        foreach (string typeUrl in Snapshot.Types)
        {
            string noun = ResourceTypes.Noun(typeUrl) + " ";
            if (!resource.StartsWith(noun, StringComparison.Ordinal))
                continue;
            foreach (var state in Snapshot.Of(typeUrl).Values)
            {
                if (state.Active is not null && resource.AsSpan(noun.Length).SequenceEqual(state.Name))
                    return true;
            }
            return false;
        }
        return null;
    }

    /// <summary>The resources that an update says something new of, as errors call them.</summary>
    private static HashSet<string> Touched(DiscoveryUpdate update, List<ConfigError> errors, SnapshotBuilder.Result result)
    {
        string noun = ResourceTypes.Noun(update.TypeUrl) + " ";
        var touched = new HashSet<string>(StringComparer.Ordinal);
        foreach (var error in errors)
            touched.Add(error.Resource);
        foreach (var state in result.Accepted)
            touched.Add(noun + state.Name);
        foreach (string name in update.Removed)
            touched.Add(noun + name);
        return touched;
    }

    private static IReadOnlyList<ResourceRejection> Rejected(string typeUrl, SnapshotBuilder.Result result)
    {
        if (result.Errors.Count == 0)
            return [];
        var list = new List<ResourceRejection>(result.Errors.Count);
        int noun = ResourceTypes.Noun(typeUrl).Length + 1;
        foreach (var error in result.Errors)
            list.Add(new ResourceRejection(error.Resource[noun..], error.Path, error.Reason));
        return list;
    }

    // ---- the last good configuration ----------------------------------------------------------------------------------------

    private bool TakeLastGood(LastGoodFile file)
    {
        var resources = file.Read();
        if (resources is null)
            return false;
        int count = 0;
        foreach (string typeUrl in LastGoodFile.Types)
        {
            var result = _builder.Take(typeUrl, resources.FindAll(r => r.TypeUrl == typeUrl), []);
            Warming.Take(result);
            AddBindErrors(result);
            _errors.Tell(file.Path + typeUrl, result.Errors);
            count += result.Accepted.Count;
        }
        int waiting = Warming.CountAwaitingFirst();
        string notReady = waiting == 0 ? "" : $"; {waiting} of them wait for secrets, which are not kept: not ready until these have come or their initial_fetch_timeout is over";
        Log.Warning("config", $"serving the last good configuration, {count} resources from {file.Path}, until the control plane answers{notReady}");
        return count > 0;
    }

    /// <summary>What an update removes: with the first one of listeners or clusters, also what only the last good configuration has.</summary>
    private IReadOnlyList<string> Confirm(DiscoveryUpdate update)
    {
        if (_lastGood is null || update.TypeUrl is not (ResourceTypes.Cluster or ResourceTypes.Listener) || !_confirmed.Add(update.TypeUrl))
            return update.Removed;
        var removed = new HashSet<string>(update.Removed);
        foreach (var state in Snapshot.Of(update.TypeUrl).Values)
        {
            if (IsUnconfirmed(state))
                removed.Add(state.Name);
        }
        foreach (var resource in update.Resources)
            removed.Remove(resource.Name);
        return [.. removed];
    }

    /// <summary>In use from the last good configuration, and no control plane has said the same yet.</summary>
    internal bool IsUnconfirmed(ResourceState state) => _lastGood is not null && state.Accepted?.Resource.Source == _lastGood.Path;
}
