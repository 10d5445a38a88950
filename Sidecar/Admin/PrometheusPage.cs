using System;
using System.Collections.Generic;
using System.Text;
using Sidecar.Telemetry.Stats;

namespace Sidecar.Admin;

/// <summary>
/// /stats/prometheus, the exposition format: family after family, each under one TYPE line, in it scope after scope. Texts are left out unless asked for, as in
/// Envoy: each is a label, and so a time series of its own.
/// </summary>
internal sealed class PrometheusPage(PrometheusFamilies families, StatsFilter filter, bool textReadouts = false) : AdminPage
{
    /// <summary>Upper bounds of buckets, Envoy's defaults (milliseconds, or bytes).</summary>
    private static readonly double[] s_buckets =
        [0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000];

    // Tag names are few; a label's name is made once.
    private readonly Dictionary<string, byte[]> _labelNames = new();
    private readonly Histogram _merged = new();
    private IEnumerator<PrometheusFamilies.Family>? _all;

    // The family that is being written, how far its members are, and whether anything of it was shown.
    private PrometheusFamilies.Family? _family;
    private int[] _at = [];
    private bool _isTyped;

    internal override bool WriteNext(PageWriter to)
    {
        to.Step();
        if (_family is not { } family)
        {
            _all ??= families.All.GetEnumerator();
            if (!_all.MoveNext())
                return false;
            _family = _all.Current;
            int count = _family.Members.Count;
            if (_at.Length < count)
                _at = new int[count];
            _at.AsSpan(0, count).Clear();
            _isTyped = false;
            return true;
        }
        int nearest = Nearest(family, to);
        if (nearest < 0)
        {
            _family = null;
            return true;
        }
        var member = family.Members[nearest];
        var scope = families.Scopes[member.Group.Places[_at[nearest]++]];
        foreach (var (stat, label) in member.Stats)
        {
            to.Step();
            if (filter.ShowsNumber(scope, stat, out long value))
                WriteNumber(to, family, scope, stat, label, value);
            else if (filter.ShowsHistogram(scope, stat) && scope.MergedHistogram(stat, _merged) is { } histogram)
                WriteHistogram(to, family, scope, stat, label, histogram);
            else if (textReadouts && filter.ShowsText(scope, stat))
                WriteText(to, family, scope, stat, label);
        }
        return true;
    }

    // The member whose next scope comes first; most families have one member, which all clusters share.
    private int Nearest(PrometheusFamilies.Family family, PageWriter to)
    {
        int nearest = -1;
        int place = int.MaxValue;
        to.Step(family.Members.Count - 1);
        for (int i = 0; i < family.Members.Count; i++)
        {
            var places = family.Members[i].Group.Places;
            if (_at[i] >= places.Count || places[_at[i]] >= place)
                continue;
            nearest = i;
            place = places[_at[i]];
        }
        return nearest;
    }

    private void WriteNumber(PageWriter to, PrometheusFamilies.Family family, StatsScope scope, int stat, byte[] label, long value)
    {
        WriteType(to, family, scope, stat);
        to.Write(family.Metric).Write("{"u8);
        WriteLabels(to, scope, label);
        to.Write("} "u8).Write(value).Write("\n"u8);
    }

    private void WriteText(PageWriter to, PrometheusFamilies.Family family, StatsScope scope, int stat, byte[] label)
    {
        WriteType(to, family, scope, stat);
        to.Write(family.Metric).Write("{"u8);
        to.Write(WriteLabels(to, scope, label) ? ",text_value=\""u8 : "text_value=\""u8);
        WriteEscaped(to, scope.Text(stat));
        to.Write("\"} 0\n"u8);
    }

    private void WriteHistogram(PageWriter to, PrometheusFamilies.Family family, StatsScope scope, int stat, byte[] label, Histogram histogram)
    {
        WriteType(to, family, scope, stat);
        foreach (double bound in s_buckets)
        {
            Bucket(to).Write(bound);
            to.Write("\"} "u8).Write(histogram.CountAtMost(bound)).Write("\n"u8);
        }
        Bucket(to).Write("+Inf\"} "u8).Write(histogram.Total).Write("\n"u8);
        to.Write(family.Metric).Write("_sum{"u8);
        WriteLabels(to, scope, label);
        to.Write("} "u8).Write(histogram.Sum).Write("\n"u8).Write(family.Metric).Write("_count{"u8);
        WriteLabels(to, scope, label);
        to.Write("} "u8).Write(histogram.Total).Write("\n"u8);

        PageWriter Bucket(PageWriter to)
        {
            to.Write(family.Metric).Write("_bucket{"u8);
            if (WriteLabels(to, scope, label))
                to.Write(","u8);
            return to.Write("le=\""u8);
        }
    }

    // With the first sample that shows: a family of which none does has no line either.
    private void WriteType(PageWriter to, PrometheusFamilies.Family family, StatsScope scope, int stat)
    {
        if (_isTyped)
            return;
        _isTyped = true;
        to.Write("# TYPE "u8).Write(family.Metric).Write(scope.Schema.Definitions[stat].Kind switch
        {
            StatKind.Counter => " counter\n"u8,
            StatKind.Gauge or StatKind.Text => " gauge\n"u8,
            _ => " histogram\n"u8,
        });
    }

    /// <summary>Writes the scope's tags and what was a part of the stat's name; false when there is neither.</summary>
    private bool WriteLabels(PageWriter to, StatsScope scope, byte[] label)
    {
        bool any = false;
        foreach (var tag in scope.Tags)
        {
            to.Write(any ? ","u8 : ""u8).Write(LabelName(tag.Name)).Write("=\""u8);
            WriteEscaped(to, tag.Value);
            to.Write("\""u8);
            any = true;
        }
        if (label.Length == 0)
            return any;
        to.Write(any ? ","u8 : ""u8).Write(label);
        return true;
    }

    private byte[] LabelName(string tag)
    {
        if (!_labelNames.TryGetValue(tag, out byte[]? name))
            _labelNames.Add(tag, name = Encoding.UTF8.GetBytes(PrometheusFamilies.Sanitize(tag)));
        return name;
    }

    private static void WriteEscaped(PageWriter to, ReadOnlySpan<char> value)
    {
        int at;
        while ((at = value.IndexOfAny('\\', '"', '\n')) >= 0)
        {
            to.Write(value[..at]).Write(value[at] switch { '\\' => "\\\\"u8, '"' => "\\\""u8, _ => "\\n"u8 });
            value = value[(at + 1)..];
        }
        to.Write(value);
    }
}
