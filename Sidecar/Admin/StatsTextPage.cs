using System;
using System.Collections.Generic;
using Sidecar.Telemetry.Stats;

namespace Sidecar.Admin;

/// <summary>
/// /stats as text: texts sorted by name, then counters and gauges, then histograms, as in Envoy. The names of a scope are sorted once per schema, the scopes by prefix;
/// this merges them. A scope's names may stand among another's only where its prefix begins with the other's, so few are open at a time, whatever there are.
/// </summary>
internal sealed class StatsTextPage : AdminPage
{
    private static readonly double[] s_quantiles = StatsPage.Quantiles;

    private readonly PrefixOrder _order;
    private readonly StatsFilter _filter;
    private readonly PriorityQueue<Cursor, Cursor> _open = new(Comparer<Cursor>.Create(static (a, b) => a.Name.SequenceCompareTo(b.Name)));
    private readonly Stack<Cursor> _free = new();
    private readonly Histogram _merged = new();
    private int _next;
    private Part _part;

    private enum Part : byte { Texts, Numbers, Histograms }

    /// <summary>One scope on its way through its names, at one that is to be shown.</summary>
    private sealed class Cursor
    {
        private char[] _name = new char[128];
        private int _prefixLength;
        private int _length;
        private ushort[] _positions = [];
        private int _at;

        internal StatsScope? Scope { get; private set; }
        internal int Stat { get; private set; }
        internal long Value { get; private set; }
        internal ReadOnlySpan<char> Name => _name.AsSpan(0, _length);

        internal void Open(StatsScope scope, ushort[] positions)
        {
            Scope = scope;
            _positions = positions;
            _at = 0;
            _prefixLength = _length = scope.PrefixLength;
            if (_name.Length < _prefixLength)
                _name = new char[_prefixLength + 128];
            scope.CopyPrefixTo(_name);
        }

        /// <summary>To the next name to be shown; false when there is none left.</summary>
        internal bool MoveNext(StatsFilter filter, Part part, PageWriter to)
        {
            while (_at < _positions.Length)
            {
                to.Step();
                int stat = _positions[_at++];
                long value = 0;
                if (!(part switch
                {
                    Part.Texts => filter.ShowsText(Scope!, stat),
                    Part.Numbers => filter.ShowsNumber(Scope!, stat, out value),
                    _ => filter.ShowsHistogram(Scope!, stat),
                }))
                    continue;
                Stat = stat;
                Value = value;
                string name = Scope!.Schema.Definitions[stat].Name;
                _length = _prefixLength + name.Length;
                if (_name.Length < _length)
                    Array.Resize(ref _name, _length + 128);
                name.CopyTo(_name.AsSpan(_prefixLength));
                return true;
            }
            return false;
        }
    }

    /// <param name="order">Complete before the first row is asked for.</param>
    /// <param name="filter">What to show.</param>
    internal StatsTextPage(PrefixOrder order, StatsFilter filter)
    {
        _order = order;
        _filter = filter;
    }

    internal override bool WriteNext(PageWriter to)
    {
        to.Step();
        var scopes = _order.Scopes;
        if (_next < scopes.Count && (_open.Count == 0 || scopes[_next].ComparePrefix(_open.Peek().Name) <= 0))
        {
            var opened = _free.Count > 0 ? _free.Pop() : new Cursor();
            var scope = scopes[_next++];
            opened.Open(scope, _order.Positions(scope.Schema));
            GoOn(opened, to);
            return true;
        }
        if (_open.Count > 0)
        {
            var cursor = _open.Dequeue();
            to.Write(cursor.Name).Write(": "u8);
            if (_part == Part.Texts)
                to.Write("\""u8).Write(cursor.Scope!.Text(cursor.Stat) ?? "").Write("\""u8);
            else if (_part == Part.Numbers)
                to.Write(cursor.Value);
            else
                WriteSummary(to, cursor.Scope!.MergedHistogram(cursor.Stat, _merged));
            to.Write("\n"u8);
            GoOn(cursor, to);
            return true;
        }
        if (_part == Part.Histograms)
            return false;
        _part++;
        _next = 0;
        return true;
    }

    private void GoOn(Cursor cursor, PageWriter to)
    {
        if (cursor.MoveNext(_filter, _part, to))
            _open.Enqueue(cursor, cursor);
        else
            _free.Push(cursor);
    }

    private static void WriteSummary(PageWriter to, Histogram? histogram)
    {
        if (histogram is null)
        {
            to.Write("No recorded values"u8);
            return;
        }
        for (int i = 0; i < s_quantiles.Length; i++)
            to.Write(i > 0 ? " P"u8 : "P"u8).Write(s_quantiles[i] * 100).Write("(nan,"u8).Write(histogram.Quantile(s_quantiles[i])).Write(")"u8);
    }
}
