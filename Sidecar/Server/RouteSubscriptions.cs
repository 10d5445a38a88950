using System;
using System.Collections.Generic;
using Sidecar.Config;
using Sidecar.Loop;
using Sidecar.Telemetry.Stats;
using Sidecar.Wire;
using Sidecar.Xds;

namespace Sidecar.Server;

/// <summary>
/// What is counted of each route configuration that is asked for by name: <c>http.PREFIX.rds.NAME.</c>, by <see cref="SubscriptionStats"/> and
/// <see cref="RouteStats"/>, for every connection manager that takes it. The stats live as long as the listener's version that named it.
/// </summary>
/// <remarks>Control loop only.</remarks>
internal sealed class RouteSubscriptions(EventLoop loop, StatsRegistry stats)
{
    private readonly Dictionary<string, Entry> _entries = new(StringComparer.Ordinal);

    private sealed class Entry
    {
        internal List<Use> Uses { get; } = [];

        /// <summary>It is asked for.</summary>
        internal bool IsWanted { get; set; }
    }

    private sealed record Use(StatsScope Scope, StatsCells Stats, StatsCells OwnStats);

    /// <summary>A connection manager that is being translated takes a route configuration; who translates retains the stats, or drops them.</summary>
    internal void Name(string name, string statPrefix)
    {
        StatTag[] tags = [new("envoy.http_conn_manager_prefix", statPrefix), new("envoy.rds_route_config", name)];
        string prefix = $"http.{statPrefix}.rds.{name}.";
        var scope = stats.Scope(SubscriptionStats.Schema, prefix, tags);
        var own = stats.Scope(RouteStats.Schema, prefix, tags);
        if (!_entries.TryGetValue(name, out var entry))
            _entries.Add(name, entry = new Entry());
        if (!entry.Uses.Exists(use => use.Scope == scope))
            entry.Uses.Add(new Use(scope, scope.Cells(stats.ControlWriter), own.Cells(stats.ControlWriter)));
    }

    /// <summary>Says all that is asked for. Not while anything is translated.</summary>
    internal void Set(IReadOnlyCollection<string> names)
    {
        var wanted = new HashSet<string>(names, StringComparer.Ordinal);
        foreach (var (name, entry) in _entries)
        {
            entry.Uses.RemoveAll(use => use.Scope.Users == 0);
            if (entry.Uses.Count == 0)
                _entries.Remove(name);
            bool isNew = !entry.IsWanted;
            entry.IsWanted = wanted.Contains(name);
            if (!entry.IsWanted || !isNew)
                continue;
            foreach (var use in entry.Uses)
                use.Stats.Inc(SubscriptionStats.UpdateAttempt);
        }
    }

    /// <summary>Counts an answer for each that it speaks of.</summary>
    /// <param name="update">The answer.</param>
    /// <param name="refused">The names that were refused.</param>
    /// <param name="changed">The resources that are new or another than before.</param>
    internal void OnAnswer(DiscoveryUpdate update, IReadOnlySet<string> refused, IReadOnlyList<ResourceState> changed)
    {
        foreach (var resource in update.Resources)
            Count(resource.Name, refused.Contains(resource.Name), resource.Version);
        foreach (var malformed in update.Malformed)
            Count(malformed.Name, isRefused: true, null);
        foreach (string name in update.Removed)
            Count(name, isRefused: false, null);
        foreach (var state in changed)
        {
            foreach (var use in UsesOf(state.Name))
            {
                use.OwnStats.Inc(RouteStats.ConfigReload);
                use.OwnStats.Set(RouteStats.ConfigReloadTimeMs, loop.UnixMs);
            }
        }

        void Count(string name, bool isRefused, string? version)
        {
            foreach (var use in UsesOf(name))
                SubscriptionStats.Count(use.Stats, isRefused, version, loop, update.ReceivedNs);
        }
    }

    /// <summary>initial_fetch_timeout has passed for these.</summary>
    internal void OnFetchTimeout(IReadOnlyList<string> names)
    {
        foreach (string name in names)
        {
            foreach (var use in UsesOf(name))
                use.Stats.Inc(SubscriptionStats.InitFetchTimeout);
        }
    }

    /// <summary>Their source has ended without an answer.</summary>
    internal void OnFailure()
    {
        foreach (string name in _entries.Keys)
        {
            foreach (var use in UsesOf(name))
                use.Stats.Inc(SubscriptionStats.UpdateFailure);
        }
    }

    private List<Use> UsesOf(string name) => _entries.TryGetValue(name, out var entry) && entry.IsWanted ? entry.Uses : [];
}
