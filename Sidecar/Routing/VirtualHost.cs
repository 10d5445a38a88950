using System;
using System.Collections.Generic;
using Sidecar.Memory;

namespace Sidecar.Routing;

/// <summary>require_tls of a virtual host.</summary>
internal enum TlsRequirement : byte { None, ExternalOnly, All }

/// <summary>A virtual host: its routes, tried in order, and what applies to all of them.</summary>
/// <remarks>
/// Shared immutable. Routes before the first one that is not a plain exact path are found by hash: thousands of them cost what one costs; the others are tried
/// one by one, those whose path cannot fit being passed over by one comparison.
/// </remarks>
internal sealed class VirtualHost
{
    /// <summary>Below this many routes a walk is as quick as a look-up.</summary>
    private const int IndexedRoutesMin = 8;

    private readonly Dictionary<ByteString, int[]>? _exact;
    private readonly int[] _others = [];

    internal VirtualHost(string name, Route[] routes)
    {
        Name = name;
        Routes = routes;
        foreach (var route in routes)
            route.VirtualHost = this;
        if (routes.Length >= IndexedRoutesMin)
            (_exact, _others) = Index(routes);
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
        if (_exact is null)
        {
            foreach (var route in Routes)
            {
                if (route.Match.Matches(in input))
                    return route;
            }
            return null;
        }

        int best = int.MaxValue;
        if (_exact.GetAlternateLookup<ReadOnlySpan<byte>>().TryGetValue(input.Path, out int[]? candidates))
        {
            foreach (int i in candidates)
            {
                if (!Routes[i].Match.MatchesRest(in input))
                    continue;
                best = i;
                break;
            }
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

    private static (Dictionary<ByteString, int[]> Exact, int[] Others) Index(Route[] routes)
    {
        var exact = new Dictionary<ByteString, List<int>>(ByteString.Comparer.Instance);
        var others = new List<int>();
        for (int i = 0; i < routes.Length; i++)
        {
            var match = routes[i].Match;
            if (match.Kind != PathMatchKind.Exact || !match.CaseSensitive)
            {
                others.Add(i);
                continue;
            }
            var key = new ByteString(match.Path);
            if (!exact.TryGetValue(key, out var list))
                exact.Add(key, list = []);
            list.Add(i);
        }
        var frozen = new Dictionary<ByteString, int[]>(exact.Count, ByteString.Comparer.Instance);
        foreach (var (key, list) in exact)
            frozen.Add(key, list.ToArray());
        return (frozen, others.ToArray());
    }
}
