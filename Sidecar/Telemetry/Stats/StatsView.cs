using System;
using System.Collections.Generic;

namespace Sidecar.Telemetry.Stats;

/// <summary>
/// The scopes there were at one moment, and the orders that pages want them in. What comes and goes afterwards changes nothing here, so a page that takes
/// many turns is of one list; the values are those of the moment in which they are read. All pages begun between two changes share one view, and with it
/// what it cost to put its scopes in order.
/// </summary>
/// <remarks>Control loop only.</remarks>
internal sealed class StatsView(StatsScope[] scopes)
{
    private PrefixOrder? _byPrefix;
    private PrometheusFamilies? _families;

    /// <summary>In the registry's order.</summary>
    internal IReadOnlyList<StatsScope> Scopes => scopes;

    /// <summary>For the page that is sorted by name.</summary>
    internal PrefixOrder ByPrefix => _byPrefix ??= new PrefixOrder(scopes);

    /// <summary>For the page that is grouped by metric.</summary>
    internal PrometheusFamilies Families => _families ??= new PrometheusFamilies(scopes);
}

/// <summary>Scopes sorted by prefix, and each schema's stats sorted by name: what a merge of all names in order needs. Put in order step by step.</summary>
/// <remarks>Control loop only; whoever is the first to need the order advances it, for all.</remarks>
internal sealed class PrefixOrder(StatsScope[] scopes)
{
    private readonly StatsScope[] _sorted = new StatsScope[scopes.Length];
    private readonly Dictionary<StatsSchema, ushort[]> _positions = new(ReferenceEqualityComparer.Instance);

    // While there is something to sort.
    private PriorityQueue<StatsScope, StatsScope>? _heap = new(scopes.Length, Comparer<StatsScope>.Create(StatsScope.ComparePrefixes));
    private int _taken;
    private int _placed;

    /// <summary>By prefix; to be read when <see cref="Advance"/> has nothing left to do.</summary>
    internal IReadOnlyList<StatsScope> Scopes => _sorted;

    /// <summary>A bounded bit of the work.</summary>
    /// <returns>How many steps it was; 0 when all is in order.</returns>
    internal int Advance()
    {
        if (_heap is not { } heap)
            return 0;
        if (_taken < scopes.Length)
        {
            var scope = scopes[_taken++];
            heap.Enqueue(scope, scope);
            return 1;
        }
        if (heap.TryDequeue(out var next, out _))
        {
            _sorted[_placed++] = next;
            return 1;
        }
        _heap = null;
        return 0;
    }

    /// <summary>A schema's positions in the order of their names.</summary>
    internal ushort[] Positions(StatsSchema schema)
    {
        if (_positions.TryGetValue(schema, out ushort[]? positions))
            return positions;
        positions = new ushort[schema.Count];
        for (int i = 0; i < positions.Length; i++)
            positions[i] = (ushort)i;
        var definitions = schema.Definitions;
        Array.Sort(positions, (a, b) => string.CompareOrdinal(definitions[a].Name, definitions[b].Name));
        _positions.Add(schema, positions);
        return positions;
    }
}
