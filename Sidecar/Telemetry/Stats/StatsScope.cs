using System;
using System.Runtime.CompilerServices;
using System.Threading;

namespace Sidecar.Telemetry.Stats;

/// <summary>The values of one owner on one worker: plain stores, one writer, read by the control loop.</summary>
/// <remarks>Ten thousand clusters have ten thousand of them for the control loop alone, so there may be room for the first positions only until one beyond is written.</remarks>
internal sealed class StatsCells
{
    private readonly StatsSchema _schema;
    private long[] _values;
    private Histogram?[]? _histograms;
    private string?[]? _texts;

    internal StatsCells(StatsSchema schema) : this(schema, schema.Count)
    {
    }

    /// <param name="schema">What the positions mean.</param>
    /// <param name="room">Positions to begin with.</param>
    internal StatsCells(StatsSchema schema, int room)
    {
        _schema = schema;
        _values = new long[room];
    }

    internal void Inc(int stat) => At(stat)++;
    internal void Dec(int stat) => At(stat)--;
    internal void Add(int stat, long amount) => At(stat) += amount;
    internal void Set(int stat, long value) => At(stat) = value;

    internal long Value(int stat)
    {
        long[] values = Volatile.Read(ref _values);
        return (uint)stat < (uint)values.Length ? values[stat] : 0;
    }

    internal Histogram? Histogram(int stat) => _histograms?[stat];

    /// <summary>Null until it was set.</summary>
    internal string? Text(int stat) => _texts?[stat];

    // Some twenty times a request: inline, but for the growth.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private ref long At(int stat)
    {
        long[] values = _values;
        if ((uint)stat < (uint)values.Length)
            return ref values[stat];
        return ref Grow()[stat];
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private long[] Grow()
    {
        long[] all = new long[_schema.Count];
        _values.CopyTo(all, 0);
        Volatile.Write(ref _values, all);
        return all;
    }

    /// <summary>Records one value of a histogram; the histogram is made at its first value.</summary>
    internal void Record(int stat, long value)
    {
        _histograms ??= new Histogram?[_schema.Count];
        (_histograms[stat] ??= new Histogram()).Record(value);
    }

    /// <summary>Sets a text. Control loop only, as is what reads it.</summary>
    internal void SetText(int stat, string text) => (_texts ??= new string?[_schema.Count])[stat] = text;
}

/// <summary>
/// The stats of one owner (a cluster, a listener, a connection manager) over all workers: a name prefix, a schema, and one
/// <see cref="StatsCells"/> per worker, made when that worker first counts.
/// </summary>
/// <remarks>Made by <see cref="StatsRegistry"/> on the control loop; each worker touches only its own cells.</remarks>
internal sealed class StatsScope
{
    private readonly StatsCells?[] _cells;

    internal StatsScope(StatsSchema schema, string head, string owner, StatTag[] tags, int writers)
    {
        Schema = schema;
        Head = head;
        Owner = owner;
        Tags = tags;
        _cells = new StatsCells?[writers];
    }

    internal StatsSchema Schema { get; }

    /// <summary>Everything before the stat's own name, ending in a dot, for example <c>cluster.outbound|80||a.</c>.</summary>
    internal string Prefix => Owner.Length == 0 ? Head : $"{Head}{Owner}.";

    /// <summary>The prefix, or what of it stands before <see cref="Owner"/>.</summary>
    internal string Head { get; }

    /// <summary>Whose stats they are, where the registry was told; else empty.</summary>
    internal string Owner { get; }

    /// <summary>The parts of the prefix that Prometheus shows as labels.</summary>
    internal StatTag[] Tags { get; }

    /// <summary>How many writers there are; the last is the control loop.</summary>
    internal int Writers => _cells.Length;

    /// <summary>How many versions of its owner are in use; the registry's business, as is its place there.</summary>
    internal int Users;
    internal int Index;

    /// <summary>The cells of one writer: a worker's index, or <see cref="StatsRegistry.ControlWriter"/>.</summary>
    internal StatsCells Cells(int writer) => _cells[writer] ?? Create(writer);

    /// <summary>Sum over all writers.</summary>
    internal long Sum(int stat)
    {
        long sum = 0;
        foreach (var cells in _cells)
            sum += cells?.Value(stat) ?? 0;
        return sum;
    }

    /// <summary>The control loop's text; null until it was set.</summary>
    internal string? Text(int stat) => _cells[^1]?.Text(stat);

    /// <summary>Something was recorded in a histogram.</summary>
    internal bool HasHistogram(int stat)
    {
        foreach (var cells in _cells)
        {
            if (cells?.Histogram(stat) is not null)
                return true;
        }
        return false;
    }

    /// <summary>Merged distribution over all writers, or null when nothing was recorded.</summary>
    /// <param name="stat">The histogram's position.</param>
    /// <param name="into">Filled and returned, so that whoever reads thousands needs only one; null: a new one.</param>
    internal Histogram? MergedHistogram(int stat, Histogram? into = null)
    {
        Histogram? merged = null;
        foreach (var cells in _cells)
        {
            if (cells?.Histogram(stat) is not { } histogram)
                continue;
            if (merged is null)
            {
                merged = into ?? new Histogram();
                merged.Clear();
            }
            merged.Merge(histogram);
        }
        return merged;
    }

    // ---- the prefix without putting it together --------------------------------------------------------------

    /// <summary>The length of <see cref="Prefix"/>.</summary>
    internal int PrefixLength => Owner.Length == 0 ? Head.Length : Head.Length + Owner.Length + 1;

    /// <summary>Writes <see cref="Prefix"/>.</summary>
    internal void CopyPrefixTo(Span<char> destination)
    {
        Head.CopyTo(destination);
        if (Owner.Length == 0)
            return;
        Owner.CopyTo(destination[Head.Length..]);
        destination[Head.Length + Owner.Length] = '.';
    }

    /// <summary>Compares the prefixes of two scopes, ordinally.</summary>
    internal static int ComparePrefixes(StatsScope a, StatsScope b)
    {
        int lengthA = a.PrefixLength, lengthB = b.PrefixLength;
        int common = Math.Min(lengthA, lengthB);
        for (int i = ReferenceEquals(a.Head, b.Head) ? a.Head.Length : 0; i < common; i++)
        {
            int difference = a.PrefixAt(i) - b.PrefixAt(i);
            if (difference != 0)
                return difference;
        }
        return lengthA - lengthB;
    }

    /// <summary>Compares the prefix with a stat's name, ordinally.</summary>
    internal int ComparePrefix(ReadOnlySpan<char> name)
    {
        int length = PrefixLength;
        int common = Math.Min(length, name.Length);
        for (int i = 0; i < common; i++)
        {
            int difference = PrefixAt(i) - name[i];
            if (difference != 0)
                return difference;
        }
        return length - name.Length;
    }

    private char PrefixAt(int index)
    {
        if (index < Head.Length)
            return Head[index];
        index -= Head.Length;
        return index < Owner.Length ? Owner[index] : '.';
    }

    private StatsCells Create(int writer)
    {
        var cells = new StatsCells(Schema, writer == _cells.Length - 1 ? Schema.ControlCount : Schema.Count);
        Volatile.Write(ref _cells[writer], cells);
        return cells;
    }
}

/// <summary>A label: Envoy's tag name (for example <c>envoy.cluster_name</c>) and the value cut out of the stat's name.</summary>
internal readonly record struct StatTag(string Name, string Value);
