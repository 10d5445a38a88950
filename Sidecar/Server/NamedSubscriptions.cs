using System;
using System.Collections.Generic;
using Sidecar.Config;
using Sidecar.Loop;
using Sidecar.Telemetry.Stats;
using Sidecar.Wire;
using Sidecar.Xds;

namespace Sidecar.Server;

/// <summary>
/// Subscriptions to what configurations take by name from a source they say themselves (SDS, ECDS): one for each source and name, shared by all who name it,
/// ended with the last of them. What comes by the aggregated stream is asked for there. Any other source has a stream, or a watched file, for each name,
/// as in Envoy: a control plane that ends its stream over one name it does not know, as Istio's agent does, takes no other secret with it.
/// </summary>
/// <remarks>Control loop only.</remarks>
internal sealed class NamedSubscriptions : ITimerOwner
{
    private static readonly string[] s_types = [ResourceTypes.Secret, ResourceTypes.Extension];

    private readonly EventLoop _loop;
    private readonly ConfigPipeline _pipeline;
    private readonly StatsRegistry _stats;
    private readonly SourceMaker _maker;
    private readonly bool _hasAds;
    private readonly Dictionary<(string TypeUrl, string Key), Entry> _entries = [];
    private readonly PriorityQueue<Entry, long> _patience = new();
    private readonly HashSet<string> _adsChanged = [];
    private readonly LoopTimer _timer;

    /// <summary>Makes the source of one resource, whose stats have this prefix.</summary>
    internal delegate DiscoverySource SourceMaker(DiscoveryOrigin origin, IDiscoveryTarget target, string statPrefix);

    /// <param name="loop">The control loop.</param>
    /// <param name="pipeline">Who takes what comes.</param>
    /// <param name="stats">The process's stats.</param>
    /// <param name="maker">Makes sources.</param>
    /// <param name="hasAds">There is an aggregated stream.</param>
    internal NamedSubscriptions(EventLoop loop, ConfigPipeline pipeline, StatsRegistry stats, SourceMaker maker, bool hasAds)
    {
        _loop = loop;
        _pipeline = pipeline;
        _stats = stats;
        _maker = maker;
        _hasAds = hasAds;
        _timer = new LoopTimer(this);
    }

    /// <summary>One subscription, and what hears of its source when that is not the aggregated stream.</summary>
    private sealed class Entry(NamedSubscriptions owner, NamedResource resource, List<StatsScope> scopes) : IDiscoveryTarget
    {
        internal NamedResource Resource => resource;

        /// <summary>By <see cref="SubscriptionStats"/>, and all the others of it.</summary>
        internal required StatsCells Stats { get; init; }

        /// <summary>By <see cref="SecretStats"/> or <see cref="ExtensionStats"/>.</summary>
        internal required StatsCells OwnStats { get; init; }
        internal List<StatsScope> Scopes => scopes;
        internal bool IsAds => resource.Origin == ResourceOrigins.Ads;

        internal required long SinceUnixMs { get; init; }

        /// <summary>Null for the aggregated stream.</summary>
        internal DiscoverySource? Source { get; set; }

        /// <summary>It has come, was refused, or its control plane said that there is none.</summary>
        internal bool IsHeard { get; set; }
        internal bool HasEnded { get; set; }

        public IReadOnlyList<ResourceRejection> OnUpdate(DiscoveryUpdate update) => owner._pipeline.Take(update, resource.Origin);

        public void OnExpired(string typeUrl, IReadOnlyList<string> names) => owner._pipeline.Expire(typeUrl, names, resource.Origin);

        // Patience is kept here, since it is each resource's own.
        public void OnFetchTimeout(string typeUrl, IReadOnlyList<string> names)
        {
        }

        // The stream has said so itself; what is in use goes on.
        public void OnConnection(bool connected, string reason)
        {
        }
    }

    /// <summary>Whether a source can be asked: to be told where a configuration names it.</summary>
    internal void Check(ReadOnlySpan<byte> source, string typeUrl, WireProblems problems) => DiscoveryConfig.ReadOrigin(source, typeUrl, _hasAds, problems);

    /// <summary>What was asked for, and since when; for dumps.</summary>
    internal IEnumerable<(NamedResource Resource, long SinceUnixMs)> Wanted
    {
        get
        {
            foreach (var entry in _entries.Values)
                yield return (entry.Resource, entry.SinceUnixMs);
        }
    }

    // ---- interest -----------------------------------------------------------------------------------------------------

    /// <summary>Says all that is wanted.</summary>
    internal void Set(IEnumerable<NamedResource> wanted)
    {
        var present = new HashSet<(string TypeUrl, string Key)>();
        foreach (var resource in wanted)
        {
            present.Add((resource.TypeUrl, resource.Key));
            if (!_entries.ContainsKey((resource.TypeUrl, resource.Key)))
                Begin(resource);
        }
        foreach (var entry in new List<Entry>(_entries.Values))
        {
            if (!present.Contains((entry.Resource.TypeUrl, entry.Resource.Key)))
                End(entry);
        }
    }

    /// <summary>Asks the aggregated stream for what has changed.</summary>
    internal void SubscribeTo(DiscoverySource ads)
    {
        foreach (string typeUrl in s_types)
        {
            if (!_adsChanged.Remove(typeUrl))
                continue;
            var names = new List<string>();
            foreach (var entry in _entries.Values)
            {
                if (entry.IsAds && entry.Resource.TypeUrl == typeUrl)
                    names.Add(entry.Resource.Name);
            }
            ads.Subscribe(typeUrl, wildcard: false, names, static _ => 0);
        }
    }

    internal void Stop()
    {
        _loop.Cancel(_timer);
        foreach (var entry in _entries.Values)
            entry.Source?.Stop();
    }

    private void Begin(NamedResource resource)
    {
        bool isSecret = resource.TypeUrl == ResourceTypes.Secret;
        string prefix = (isSecret ? "sds." : "extension_config_discovery.http_filter.") + resource.Name + ".";
        var scopes = new List<StatsScope>();
        var entry = new Entry(this, resource, scopes) { SinceUnixMs = _loop.UnixMs, Stats = Cells(SubscriptionStats.Schema, prefix), OwnStats = Cells(isSecret ? SecretStats.Schema : ExtensionStats.Schema, prefix) };
        _entries.Add((resource.TypeUrl, resource.Key), entry);
        var (origin, fetchTimeoutMs) = DiscoveryConfig.ReadOrigin(resource.Source.Span, resource.TypeUrl, _hasAds, new WireProblems());
        long timeoutMs = fetchTimeoutMs ?? SubscribingSource.DefaultFetchTimeoutMs;
        if (timeoutMs > 0)
        {
            _patience.Enqueue(entry, _loop.NowMs + timeoutMs);
            Arm();
        }
        if (entry.IsAds || origin is null)
        {
            entry.Stats.Inc(SubscriptionStats.UpdateAttempt);
            _adsChanged.Add(resource.TypeUrl);
            return;
        }
        Cells(ControlPlaneStats.Schema, prefix + "control_plane.");
        entry.Source = _maker(origin, entry, prefix);
        entry.Source.Start();
        entry.Source.Subscribe(resource.TypeUrl, wildcard: false, [resource.Name], static _ => 0);

        // Stats live as long as the subscription.
        StatsCells Cells(StatsSchema schema, string head)
        {
            var scope = _stats.Scope(schema, head);
            StatsRegistry.Retain(scope);
            scopes.Add(scope);
            return scope.Cells(_stats.ControlWriter);
        }
    }

    private void End(Entry entry)
    {
        _entries.Remove((entry.Resource.TypeUrl, entry.Resource.Key));
        entry.HasEnded = true;
        entry.Source?.Stop();
        if (entry.IsAds)
            _adsChanged.Add(entry.Resource.TypeUrl);
        foreach (var scope in entry.Scopes)
            _stats.Release(scope);
    }

    // ---- answers ------------------------------------------------------------------------------------------------------

    /// <summary>Notes what an answer said about each resource, and counts it where its source does not.</summary>
    /// <param name="update">The answer.</param>
    /// <param name="origin">From where.</param>
    /// <param name="refused">The names that were refused.</param>
    /// <returns>The keys of all that it spoke of.</returns>
    internal List<string> OnAnswer(DiscoveryUpdate update, string origin, IReadOnlySet<string> refused)
    {
        var keys = new List<string>();
        foreach (var resource in update.Resources)
            Hear(resource.Name, resource.Version);
        foreach (var malformed in update.Malformed)
            Hear(malformed.Name, null);
        foreach (string name in update.Removed)
            Hear(name, null);
        return keys;

        void Hear(string name, string? version)
        {
            string key = ResourceOrigins.Key(name, origin);
            if (!_entries.TryGetValue((update.TypeUrl, key), out var entry))
                return;
            keys.Add(key);
            entry.IsHeard = true;
            bool isRefused = refused.Contains(name) || version is null && !Contains(update.Removed, name);
            if (update.TypeUrl == ResourceTypes.Extension && (isRefused || version is not null))
                entry.OwnStats.Inc(isRefused ? ExtensionStats.ConfigFail : ExtensionStats.ConfigReload);
            if (entry.IsAds)
                SubscriptionStats.Count(entry.Stats, isRefused, version, _loop, update.ReceivedNs);
        }
    }

    /// <summary>Changed files of a secret cannot be used.</summary>
    internal void CountRotationFailed(string key)
    {
        if (_entries.TryGetValue((ResourceTypes.Secret, key), out var entry))
            entry.OwnStats.Inc(SecretStats.KeyRotationFailed);
    }

    private static bool Contains(IReadOnlyList<string> names, string name)
    {
        foreach (string one in names)
        {
            if (one == name)
                return true;
        }
        return false;
    }

    // ---- patience -----------------------------------------------------------------------------------------------------

    public void OnTimer(LoopTimer timer)
    {
        while (_patience.TryPeek(out var entry, out long endsMs) && endsMs <= _loop.NowMs)
        {
            _patience.Dequeue();
            if (entry.HasEnded || entry.IsHeard)
                continue;
            entry.IsHeard = true;
            entry.Stats.Inc(SubscriptionStats.InitFetchTimeout);
            _pipeline.GiveUp(entry.Resource);
        }
        Arm();
    }

    private void Arm()
    {
        if (_patience.TryPeek(out _, out long endsMs) && (!_timer.IsArmed || _timer.DueMs > endsMs))
            _loop.Schedule(_timer, endsMs - _loop.NowMs);
    }
}
