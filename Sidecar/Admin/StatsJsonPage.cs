using System.Text.Json;
using Sidecar.Telemetry.Stats;

namespace Sidecar.Admin;

/// <summary>/stats as JSON: texts, counters and gauges one by one, then all histograms in one object. In no order.</summary>
internal sealed class StatsJsonPage(StatsView view, StatsFilter filter) : AdminPage
{
    private readonly Histogram _merged = new();
    private Utf8JsonWriter? _json;
    private Part _part;
    private int _scope;
    private int _stat;
    private bool _anyHistogram;

    private enum Part : byte { Beginning, Numbers, Histograms, End }

    internal override bool WriteNext(PageWriter to)
    {
        to.Step();
        var json = _json ??= new Utf8JsonWriter(to);
        switch (_part)
        {
            case Part.Beginning:
                json.WriteStartObject();
                json.WriteStartArray("stats");
                _part = Part.Numbers;
                break;
            case Part.Numbers or Part.Histograms when _scope == view.Scopes.Count:
                _scope = 0;
                _part++;
                break;
            case Part.Numbers or Part.Histograms:
                WriteStat(json, view.Scopes[_scope]);
                break;
            default:
                WriteEnd(json);
                break;
        }
        json.Flush();
        return json.CurrentDepth > 0;
    }

    private void WriteStat(Utf8JsonWriter json, StatsScope scope)
    {
        if (_stat == scope.Schema.Count)
        {
            _scope++;
            _stat = 0;
            return;
        }
        int stat = _stat++;
        if (_part == Part.Histograms)
        {
            if (filter.ShowsHistogram(scope, stat))
                WriteHistogram(json, scope, stat);
            return;
        }
        bool isText = filter.ShowsText(scope, stat);
        if (!filter.ShowsNumber(scope, stat, out long value) && !isText)
            return;
        json.WriteStartObject();
        json.WriteString("name"u8, filter.NameOf(scope, stat));
        if (isText)
            json.WriteString("value"u8, scope.Text(stat) ?? "");
        else
            json.WriteNumber("value"u8, value);
        json.WriteEndObject();
    }

    private void WriteHistogram(Utf8JsonWriter json, StatsScope scope, int stat)
    {
        if (!_anyHistogram)
        {
            _anyHistogram = true;
            json.WriteStartObject();
            json.WriteStartObject("histograms");
            json.WriteStartArray("supported_quantiles");
            foreach (double quantile in StatsPage.Quantiles)
                json.WriteNumberValue(quantile * 100);
            json.WriteEndArray();
            json.WriteStartArray("computed_quantiles");
        }
        var histogram = scope.MergedHistogram(stat, _merged);
        json.WriteStartObject();
        json.WriteString("name"u8, filter.NameOf(scope, stat));
        json.WriteStartArray("values"u8);
        foreach (double quantile in StatsPage.Quantiles)
        {
            json.WriteStartObject();
            if (histogram is null)
                json.WriteNull("cumulative"u8);
            else
                json.WriteNumber("cumulative"u8, histogram.Quantile(quantile));
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.WriteEndObject();
    }

    private void WriteEnd(Utf8JsonWriter json)
    {
        if (_anyHistogram)
        {
            json.WriteEndArray();
            json.WriteEndObject();
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.WriteEndObject();
    }
}
