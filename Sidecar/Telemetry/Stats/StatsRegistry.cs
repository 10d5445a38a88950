using System;
using System.Collections.Generic;

namespace Sidecar.Telemetry.Stats;

/// <summary>
/// All stats scopes of the process by prefix. A scope asked for again is the same scope, so counters survive a new version of what they belong to;
/// a scope that was retained goes with the last <see cref="Release"/>.
/// </summary>
/// <remarks>Control loop only. Workers hold scopes, not the registry.</remarks>
internal sealed class StatsRegistry(int workers)
{
    private readonly Dictionary<(StatsSchema Schema, string Prefix, string Owner), StatsScope> _scopes = new();
    private readonly List<StatsScope> _all = new();

    // Weak: between two scrapes it is nobody's, and made anew when the collector has had it.
    private WeakReference<StatsView>? _view;

    /// <summary>The writer index of the control loop, after the workers'.</summary>
    internal int ControlWriter => workers;

    /// <summary>In no order.</summary>
    internal IReadOnlyList<StatsScope> Scopes => _all;

    /// <summary>The scopes there are at this moment, for a page; the same object until one is added or dropped.</summary>
    internal StatsView View
    {
        get
        {
            if (_view is not null && _view.TryGetTarget(out var current))
                return current;
            var view = new StatsView([.. _all]);
            _view = new WeakReference<StatsView>(view);
            return view;
        }
    }

    /// <summary>While set, every scope asked for is noted here: the translation of one resource learns what it uses.</summary>
    internal List<StatsScope>? Recorder { get; set; }

    /// <summary>The scope of one owner; <paramref name="prefix"/> ends in a dot.</summary>
    internal StatsScope Scope(StatsSchema schema, string prefix, params StatTag[] tags) => Scope(schema, prefix, "", tags);

    /// <summary>As the other, for owners of which there are thousands: the prefix is <paramref name="head"/>, <paramref name="owner"/> and a dot, and is put together when it is read.</summary>
    internal StatsScope Scope(StatsSchema schema, string head, string owner, StatTag[] tags)
    {
        if (!_scopes.TryGetValue((schema, head, owner), out var scope))
        {
            scope = new StatsScope(schema, head, owner, tags, workers + 1) { Index = _all.Count };
            _scopes.Add((schema, head, owner), scope);
            _all.Add(scope);
            _view = null;
        }
        Recorder?.Add(scope);
        return scope;
    }

    /// <summary>One more version of something counts here.</summary>
    internal static void Retain(StatsScope scope) => scope.Users++;

    /// <summary>One version less; with the last one the scope is forgotten.</summary>
    internal void Release(StatsScope scope)
    {
        scope.Users--;
        DropUnused(scope);
    }

    /// <summary>Forgets a scope that nobody retains: a translation asked for it and was refused.</summary>
    internal void DropUnused(StatsScope scope)
    {
        if (scope.Users > 0 || !_scopes.Remove((scope.Schema, scope.Head, scope.Owner)))
            return;
        var last = _all[^1];
        _all[scope.Index] = last;
        last.Index = scope.Index;
        _all.RemoveAt(_all.Count - 1);
        _view = null;
    }
}
