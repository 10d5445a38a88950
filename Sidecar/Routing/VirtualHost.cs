using System;
using System.Collections.Generic;

namespace Sidecar.Routing;

/// <summary>require_tls of a virtual host.</summary>
internal enum TlsRequirement : byte { None, ExternalOnly, All }

/// <summary>A virtual host: its routes, tried in order, and what applies to all of them.</summary>
/// <remarks>
/// Shared immutable. Exact paths and prefixes are found by hash, so that thousands of them cost what ten cost; regular expressions and CONNECT are tried one by one,
/// as far as the best route found so far.
/// </remarks>
internal sealed class VirtualHost
{
    /// <summary>Below this many routes a walk is as quick as a look-up.</summary>
    private const int IndexedRoutesMin = 8;

    /// <summary>Positions, ascending, of the routes with one path: those it begins and those it is all of.</summary>
    private sealed class Candidates
    {
        internal readonly List<int> Beginning = [];
        internal readonly List<int> Whole = [];
    }

    private readonly AffixIndex<Candidates>? _byPath;
    private readonly int[] _others = [];

    internal VirtualHost(string name, Route[] routes)
    {
        Name = name;
        Routes = routes;
        foreach (var route in routes)
            route.VirtualHost = this;
        if (routes.Length >= IndexedRoutesMin)
            (_byPath, _others) = Index(routes);
    }

    internal string Name { get; }
    internal Route[] Routes { get; }
    internal TlsRequirement RequireTls { get; init; }
    internal bool IncludeRequestAttemptCount { get; init; }
    internal bool IncludeAttemptCountInResponse { get; init; }
    internal HeaderMutation Mutation { get; init; } = HeaderMutation.None;
    internal IReadOnlyDictionary<string, object> FilterConfigs { get; init; } = RouteTable.NoFilterConfigs;

    /// <summary>The first route that matches, or null.</summary>
    internal Route? Match(in RouteInput input)
    {
        if (_byPath is null)
        {
            foreach (var route in Routes)
            {
                if (route.Match.Matches(in input))
                    return route;
            }
            return null;
        }

        int best = int.MaxValue;
        var walk = _byPath.Of(input.Path);
        while (walk.MoveNext(out var candidates))
        {
            best = FirstMatch(candidates.Beginning, best, in input);
            if (walk.Length == input.Path.Length)
                best = FirstMatch(candidates.Whole, best, in input);
        }
        foreach (int i in _others)
        {
            if (i > best)
                break;
            if (Routes[i].Match.Matches(in input))
                return Routes[i];
        }
        return best == int.MaxValue ? null : Routes[best];
    }

    private int FirstMatch(List<int> candidates, int best, in RouteInput input)
    {
        foreach (int i in candidates)
        {
            if (i > best)
                break;
            if (Routes[i].Match.Matches(in input))
                return i;
        }
        return best;
    }

    private static (AffixIndex<Candidates> ByPath, int[] Others) Index(Route[] routes)
    {
        var byPath = new AffixIndex<Candidates>();
        var others = new List<int>();
        for (int i = 0; i < routes.Length; i++)
        {
            var match = routes[i].Match;
            if (match.Kind is not (PathMatchKind.Exact or PathMatchKind.Prefix or PathMatchKind.SeparatedPrefix))
            {
                others.Add(i);
                continue;
            }
            if (!byPath.TryGet(match.Path, out var candidates))
                byPath.TryAdd(match.Path, candidates = new Candidates());
            (match.Kind == PathMatchKind.Exact ? candidates.Whole : candidates.Beginning).Add(i);
        }
        return (byPath, others.ToArray());
    }
}
