using System;
using System.Collections.Generic;

namespace Sidecar.Telemetry.Stats;

/// <summary>
/// All stats scopes of the process by prefix. A scope asked for again is the same scope, so counters survive a new snapshot;
/// scopes that no snapshot uses any more are dropped by <see cref="Sweep"/>.
/// </summary>
/// <remarks>Control loop only. Workers hold scopes, not the registry.</remarks>
internal sealed class StatsRegistry(int workers)
{
    private readonly Dictionary<(StatsSchema Schema, string Prefix), StatsScope> _scopes = new();
    private readonly List<StatsScope> _ordered = new();
    private long _generation = 1;

    /// <summary>The writer index of the control loop, after the workers'.</summary>
    internal int ControlWriter => workers;

    internal IReadOnlyList<StatsScope> Scopes => _ordered;

    /// <summary>While set, every scope asked for is noted here: the translation of one resource learns what it uses.</summary>
    internal List<StatsScope>? Recorder { get; set; }

    /// <summary>The scope of one owner; <paramref name="prefix"/> ends in a dot.</summary>
    internal StatsScope Scope(StatsSchema schema, string prefix, params StatTag[] tags)
    {
        if (!_scopes.TryGetValue((schema, prefix), out var scope))
        {
            scope = new StatsScope(schema, prefix, tags, workers + 1);
            _scopes.Add((schema, prefix), scope);
            _ordered.Add(scope);
        }
        scope.Generation = _generation;
        Recorder?.Add(scope);
        return scope;
    }

    /// <summary>Starts a generation: scopes asked for, or kept by <see cref="Keep"/>, from here on survive the next <see cref="Sweep"/>.</summary>
    internal void BeginGeneration() => _generation++;

    /// <summary>Keeps a scope in the current generation without asking for it by name.</summary>
    internal void Keep(StatsScope scope) => scope.Generation = _generation;

    /// <summary>Drops the scopes of earlier generations.</summary>
    internal void Sweep()
    {
        for (int i = _ordered.Count - 1; i >= 0; i--)
        {
            var scope = _ordered[i];
            if (scope.Generation >= _generation)
                continue;
            _scopes.Remove((scope.Schema, scope.Prefix));
            _ordered.RemoveAt(i);
        }
    }
}
