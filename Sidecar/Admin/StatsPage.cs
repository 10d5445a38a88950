using System;
using System.Buffers;
using System.Collections.Generic;
using System.Globalization;
using System.Text;
using System.Text.Json;
using Sidecar.Routing;
using Sidecar.Server;
using Sidecar.Telemetry.Stats;

namespace Sidecar.Admin;

/// <summary>/stats as text and JSON, and /stats/prometheus; merged over the workers when asked.</summary>
internal static class StatsPage
{
    /// <summary>Upper bounds of Prometheus buckets, Envoy's defaults (milliseconds, or bytes).</summary>
    private static readonly double[] s_buckets =
        [0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000];

    private static readonly double[] s_quantiles = [0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1];

    /// <summary>Answers /stats: <c>?filter=REGEX&amp;usedonly&amp;type=Counters|Gauges|Histograms&amp;format=text|json|prometheus</c>.</summary>
    internal static void Answer(ProxyServer server, AdminRequest request, Action<AdminResponse> answer)
    {
        switch (request.Param("format"))
        {
            case "prometheus":
                AnswerPrometheus(server, request, answer);
                return;
            case "json":
                if (TryFilter(request, answer, out var jsonFilter))
                    answer(Json(server, request, jsonFilter));
                return;
            case null or "" or "text":
                if (TryFilter(request, answer, out var filter))
                    answer(Text(server, request, filter));
                return;
            default:
                answer(AdminResponse.Text("usage: /stats?format=(text|json|prometheus)\n", 400));
                return;
        }
    }

    /// <summary>Answers /stats/prometheus.</summary>
    internal static void AnswerPrometheus(ProxyServer server, AdminRequest request, Action<AdminResponse> answer)
    {
        if (!TryFilter(request, answer, out var filter))
            return;
        var text = PrometheusText(ServerStats.AllScopes(server), request.Has("usedonly"), filter);
        answer(new AdminResponse(200, "text/plain; version=0.0.4; charset=UTF-8", Encoding.UTF8.GetBytes(text)));
    }

    private static bool TryFilter(AdminRequest request, Action<AdminResponse> answer, out LinearRegex? filter)
    {
        filter = null;
        if (request.Param("filter") is not { Length: > 0 } pattern)
            return true;
        // Linear in the name whatever the pattern is: an operator's filter must not stop the control loop.
        filter = LinearRegex.TryCompile(pattern, RegexUse.Search, out string error);
        if (filter is not null)
            return true;
        answer(AdminResponse.Text($"Invalid re2 regex: {error}\n", 400));
        return false;
    }

    private static AdminResponse Text(ProxyServer server, AdminRequest request, LinearRegex? filter)
    {
        var lines = new List<(string Name, string Value)>();
        var histograms = new List<(string Name, string Value)>();
        ForEach(server, request, filter,
            (name, kind, value) => lines.Add((name, value.ToString(CultureInfo.InvariantCulture))),
            (name, histogram) => histograms.Add((name, Summary(histogram))));
        lines.Sort((a, b) => string.CompareOrdinal(a.Name, b.Name));
        histograms.Sort((a, b) => string.CompareOrdinal(a.Name, b.Name));
        var text = new StringBuilder();
        foreach (var (name, value) in lines)
            text.Append(name).Append(": ").Append(value).Append('\n');
        foreach (var (name, value) in histograms)
            text.Append(name).Append(": ").Append(value).Append('\n');
        return AdminResponse.Text(text.ToString());
    }

    private static AdminResponse Json(ProxyServer server, AdminRequest request, LinearRegex? filter)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            json.WriteStartArray("stats");
            var histograms = new List<(string, Histogram?)>();
            ForEach(server, request, filter,
                (name, kind, value) =>
                {
                    json.WriteStartObject();
                    json.WriteString("name", name);
                    json.WriteNumber("value", value);
                    json.WriteEndObject();
                },
                (name, histogram) => histograms.Add((name, histogram)));
            if (histograms.Count > 0)
                WriteHistograms(json, histograms);
            json.WriteEndArray();
            json.WriteEndObject();
        }
        return AdminResponse.Json(buffer.WrittenSpan.ToArray());
    }

    private static void WriteHistograms(Utf8JsonWriter json, List<(string Name, Histogram? Histogram)> histograms)
    {
        json.WriteStartObject();
        json.WriteStartObject("histograms");
        json.WriteStartArray("supported_quantiles");
        foreach (double quantile in s_quantiles)
            json.WriteNumberValue(quantile * 100);
        json.WriteEndArray();
        json.WriteStartArray("computed_quantiles");
        foreach (var (name, histogram) in histograms)
        {
            json.WriteStartObject();
            json.WriteString("name", name);
            json.WriteStartArray("values");
            foreach (double quantile in s_quantiles)
            {
                json.WriteStartObject();
                if (histogram is null)
                    json.WriteNull("cumulative");
                else
                    json.WriteNumber("cumulative", histogram.Quantile(quantile));
                json.WriteEndObject();
            }
            json.WriteEndArray();
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.WriteEndObject();
        json.WriteEndObject();
    }

    private static void ForEach(
        ProxyServer server, AdminRequest request, LinearRegex? filter, Action<string, StatKind, long> number, Action<string, Histogram?> distribution)
    {
        bool usedOnly = request.Has("usedonly");
        StatKind? only = request.Param("type") switch
        {
            "Counters" => StatKind.Counter,
            "Gauges" => StatKind.Gauge,
            "Histograms" => StatKind.Histogram,
            _ => null,
        };
        foreach (var scope in ServerStats.AllScopes(server))
        {
            for (int i = 0; i < scope.Schema.Count; i++)
            {
                var definition = scope.Schema.Definitions[i];
                string name = scope.Prefix + definition.Name;
                if (only is not null && only != definition.Kind || filter is not null && !filter.IsMatch(Encoding.UTF8.GetBytes(name)))
                    continue;
                if (definition.Kind == StatKind.Histogram)
                {
                    var merged = scope.MergedHistogram(i);
                    if (merged is not null || !usedOnly)
                        distribution(name, merged);
                    continue;
                }
                long value = scope.Sum(i);
                if (value != 0 || !usedOnly && !definition.OnlyWhenUsed)
                    number(name, definition.Kind, value);
            }
        }
    }

    private static string Summary(Histogram? histogram)
    {
        if (histogram is null)
            return "No recorded values";
        var text = new StringBuilder();
        foreach (double quantile in s_quantiles)
        {
            string value = Number(histogram.Quantile(quantile));
            text.Append(text.Length > 0 ? " " : "").Append('P').Append(Number(quantile * 100)).Append("(nan,").Append(value).Append(')');
        }
        return text.ToString();
    }

    /// <summary>
    /// The exposition format: names are <c>envoy_</c> and the scope's family, tags are labels; values of a name stand together under one TYPE line.
    /// </summary>
    internal static string PrometheusText(IEnumerable<StatsScope> scopes, bool usedOnly, LinearRegex? filter)
    {
        var families = new SortedDictionary<string, (StatKind Kind, StringBuilder Samples)>(StringComparer.Ordinal);
        foreach (var scope in scopes)
        {
            string labels = Labels(scope);
            for (int i = 0; i < scope.Schema.Count; i++)
            {
                var definition = scope.Schema.Definitions[i];
                if (filter is not null && !filter.IsMatch(Encoding.UTF8.GetBytes(scope.Prefix + definition.Name)))
                    continue;
                var (metric, extraLabel) = MetricName(scope, definition.Name);
                string all = extraLabel.Length == 0 ? labels : labels.Length == 0 ? extraLabel : labels + "," + extraLabel;
                if (definition.Kind == StatKind.Histogram)
                {
                    if (scope.MergedHistogram(i) is { } histogram)
                        AppendHistogram(Family(families, metric, StatKind.Histogram), metric, all, histogram);
                    continue;
                }
                long value = scope.Sum(i);
                if (value != 0 || !usedOnly && !definition.OnlyWhenUsed)
                    Family(families, metric, definition.Kind).Append(metric).Append('{').Append(all).Append("} ").Append(value).Append('\n');
            }
        }
        var text = new StringBuilder();
        foreach (var (metric, (kind, samples)) in families)
        {
            text.Append("# TYPE ").Append(metric).Append(' ')
                .Append(kind switch { StatKind.Counter => "counter", StatKind.Gauge => "gauge", _ => "histogram" }).Append('\n').Append(samples);
        }
        return text.ToString();
    }

    private static StringBuilder Family(SortedDictionary<string, (StatKind Kind, StringBuilder Samples)> families, string metric, StatKind kind)
    {
        if (!families.TryGetValue(metric, out var family))
            families.Add(metric, family = (kind, new StringBuilder()));
        return family.Samples;
    }

    private static readonly (string Family, string Label)[] s_tlsLabels =
        [("versions.", "envoy_ssl_version"), ("ciphers.", "envoy_ssl_cipher"), ("curves.", "envoy_ssl_curve"), ("sigalgs.", "envoy_ssl_sigalg")];

    // The scope's prefix without the parts that are labels: "cluster.a.b." with envoy.cluster_name=a.b is "cluster".
    private static (string Metric, string Label) MetricName(StatsScope scope, string stat)
    {
        string prefix = scope.Prefix;
        foreach (var tag in scope.Tags)
        {
            int at = prefix.IndexOf("." + tag.Value + ".", StringComparison.Ordinal);
            if (at >= 0)
                prefix = string.Concat(prefix.AsSpan(0, at), prefix.AsSpan(at + tag.Value.Length + 1));
        }
        string label = "";
        // Envoy's built-in tag extraction of response classes: ..._rq_2xx is ..._rq_xx{envoy_response_code_class="2"}.
        int length = stat.Length;
        if (length > 4 && stat.EndsWith("xx", StringComparison.Ordinal) && stat[length - 4] == '_' && stat[length - 3] is >= '1' and <= '5')
        {
            label = $"envoy_response_code_class=\"{stat[length - 3]}\"";
            stat = string.Concat(stat.AsSpan(0, length - 3), "xx");
        }
        // And of what TLS handshakes agreed on: ...ssl.versions.TLSv1.3 is ..._ssl_versions{envoy_ssl_version="TLSv1.3"}.
        foreach (var (family, name) in s_tlsLabels)
        {
            if (!stat.StartsWith(family, StringComparison.Ordinal) || !prefix.EndsWith("ssl.", StringComparison.Ordinal))
                continue;
            label = $"{name}=\"{Escape(stat[family.Length..])}\"";
            stat = family[..^1];
            break;
        }
        return ("envoy_" + Sanitize(prefix + stat), label);
    }

    private static string Labels(StatsScope scope)
    {
        var text = new StringBuilder();
        foreach (var tag in scope.Tags)
            text.Append(text.Length > 0 ? "," : "").Append(Sanitize(tag.Name)).Append("=\"").Append(Escape(tag.Value)).Append('"');
        return text.ToString();
    }

    private static void AppendHistogram(StringBuilder text, string metric, string labels, Histogram histogram)
    {
        string comma = labels.Length > 0 ? "," : "";
        foreach (double bound in s_buckets)
            text.Append(metric).Append("_bucket{").Append(labels).Append(comma).Append("le=\"").Append(Number(bound)).Append("\"} ").Append(histogram.CountAtMost(bound)).Append('\n');
        text.Append(metric).Append("_bucket{").Append(labels).Append(comma).Append("le=\"+Inf\"} ").Append(histogram.Total).Append('\n');
        text.Append(metric).Append("_sum{").Append(labels).Append("} ").Append(histogram.Sum).Append('\n');
        text.Append(metric).Append("_count{").Append(labels).Append("} ").Append(histogram.Total).Append('\n');
    }

    private static string Sanitize(string name)
    {
        var text = new StringBuilder(name.Length);
        foreach (char c in name)
            text.Append(char.IsAsciiLetterOrDigit(c) || c == '_' || c == ':' ? c : '_');
        return text.ToString();
    }

    private static string Escape(string value) => value.Replace("\\", "\\\\").Replace("\"", "\\\"").Replace("\n", "\\n");

    private static string Number(double value) => value.ToString("0.###", CultureInfo.InvariantCulture);
}
