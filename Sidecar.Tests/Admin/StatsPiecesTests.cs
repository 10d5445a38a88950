using System;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;
using System.Text;
using System.Text.Json;
using Sidecar.Admin;
using Sidecar.Routing;
using Sidecar.Telemetry.Stats;
using Sidecar.Tests.Harness;
using Sidecar.Tls;
using Xunit;

namespace Sidecar.Tests.Admin;

/// <summary>Pages made piece by piece are, byte for byte, the pages made at once; and ten thousand clusters cost neither memory nor a long turn.</summary>
public class StatsPiecesTests
{
    private static readonly StatsSchema s_cluster = new(
        new("assignment_stale"), new("upstream_rq_2xx"), new("upstream_rq_5xx"), new("upstream_rq_total"), new("active", StatKind.Gauge),
        new("upstream_rq_time", StatKind.Histogram), new("bind_errors"), new("upstream_cx_length_ms", StatKind.Histogram),
        new("upstream_rq_418") { OnlyWhenUsed = true });

    private static readonly StatsSchema s_http = new(new("downstream_rq_total"), new("rds"), new("downstream_rq_time", StatKind.Histogram), new("downstream_rq_1xx"));

    private static readonly double[] s_quantiles = [0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1];
    private static readonly double[] s_buckets =
        [0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000];

    public static TheoryData<bool, string?, string?> Requests()
    {
        var data = new TheoryData<bool, string?, string?>();
        foreach (bool usedOnly in new[] { false, true })
        {
            foreach (string? kind in new[] { null, "Counter", "Gauge", "Histogram" })
            {
                foreach (string? names in new[] { null, "^cluster[.]a[.]", "rq_.*time|ssl", "ü", "^$" })
                    data.Add(usedOnly, kind, names);
            }
        }
        return data;
    }

    [Theory]
    [MemberData(nameof(Requests))]
    public void Text_IsTheSortedListOfAllNames(bool usedOnly, string? kind, string? names)
    {
        var scopes = Mesh();
        var stats = Shown(scopes, usedOnly, Kind(kind), names);
        var numbers = stats.Where(s => s.Definition.Kind != StatKind.Histogram).OrderBy(s => s.Name, StringComparer.Ordinal);
        var histograms = stats.Where(s => s.Definition.Kind == StatKind.Histogram).OrderBy(s => s.Name, StringComparer.Ordinal);
        string expected = string.Concat(numbers.Select(s => $"{s.Name}: {s.Scope.Sum(s.Stat)}\n")) + string.Concat(histograms.Select(s => $"{s.Name}: {Summary(s)}\n"));
        Assert.Equal(expected, PageReader.Text(StatsPages.Text(scopes, Filter(usedOnly, kind, names))));
    }

    [Theory]
    [MemberData(nameof(Requests))]
    public void Json_IsTheDocumentMadeAtOnce(bool usedOnly, string? kind, string? names)
    {
        var scopes = Mesh();
        Assert.Equal(JsonAtOnce(Shown(scopes, usedOnly, Kind(kind), names)), PageReader.Text(StatsPages.Json(scopes, Filter(usedOnly, kind, names))));
    }

    [Theory]
    [MemberData(nameof(Requests))]
    public void Prometheus_IsTheTextMadeAtOnce(bool usedOnly, string? kind, string? names)
    {
        if (kind is not null)
            return;     // the format is asked for all kinds
        var scopes = Mesh();
        Assert.Equal(PrometheusAtOnce(Shown(scopes, usedOnly, null, names)), PageReader.Text(StatsPages.Prometheus(scopes, Filter(usedOnly, null, names))));
    }

    [Fact]
    public void TheMeshOfTheseTests_HasWhatIsHardToMerge()
    {
        string[] names = [.. Shown(Mesh(), false, null, null).Select(s => s.Name)];
        Assert.Equal(names.Length, names.Distinct().Count());
        // Names of one scope on both sides of another's.
        Assert.True(string.CompareOrdinal("cluster.a.assignment_stale", "cluster.a.b.active") < 0 && string.CompareOrdinal("cluster.a.b.active", "cluster.a.bind_errors") < 0);
        Assert.Contains("cluster.a.b.active", names);
        Assert.Contains("cluster.a.bind_errors", names);
    }

    // What is one in the pages of ten thousand clusters: the order of the scopes and the families; 4 MB leaves nothing for the rows, of which there are 200,000.
    private const int ClusterCount = 10_000;
    private const long AllocatedMax = 4 * 1024 * 1024;
    private const int RowBytesMax = 256;

    [Theory]
    [InlineData("text")]
    [InlineData("json")]
    [InlineData("prometheus")]
    public void TenThousandClusters_AllocateNothingPerRow_AndNoPieceIsLong(string format)
    {
        var definitions = Enumerable.Range(0, 20).Select(i => new StatDefinition($"upstream_stat_{i * 7919 % 100}", i % 3 == 0 ? StatKind.Gauge : StatKind.Counter));
        var schema = new StatsSchema([.. definitions]);
        var registry = new StatsRegistry(2);
        for (int i = 0; i < ClusterCount; i++)
        {
            string name = $"outbound|80||service-{i * 7919 % ClusterCount}.namespace.svc.cluster.local";
            registry.Scope(schema, "cluster.", name, [new StatTag("envoy.cluster_name", name)]).Cells(0).Add(i % 20, i);
        }
        var filter = new StatsFilter(usedOnly: false, kind: null, names: null);
        long total = 0;
        int longest = 0, pieces = 0;
        var writer = new PageWriter();
        long before = GC.GetAllocatedBytesForCurrentThread();
        var view = registry.View;
        AdminPage page = format switch
        {
            "text" => new StatsPage.Prepared([view.ByPrefix.Advance], new StatsTextPage(view.ByPrefix, filter)),
            "json" => new StatsJsonPage(view, filter),
            _ => new StatsPage.Prepared([view.Families.Advance], new PrometheusPage(view.Families, filter)),
        };
        for (bool more = true; more; pieces++)
        {
            writer.Clear();
            while (more && !writer.IsFull)
                more = page.WriteNext(writer);
            total += writer.Length;
            longest = Math.Max(longest, writer.Length);
        }
        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        Assert.InRange(total, 20 * ClusterCount * 60L, long.MaxValue);
        Assert.InRange(allocated, 0, AllocatedMax);
        Assert.InRange(longest, 1, PageWriter.PieceBytes + RowBytesMax);
        Assert.InRange(pieces, total / (PageWriter.PieceBytes + RowBytesMax), int.MaxValue);
    }

    [Fact]
    public void View_IsShared_UntilAScopeComesOrGoes()
    {
        var registry = new StatsRegistry(1);
        var first = registry.Scope(s_http, "http.a.");
        StatsRegistry.Retain(first);
        var view = registry.View;
        Assert.Same(view, registry.View);
        registry.Scope(s_http, "http.b.");
        Assert.NotSame(view, registry.View);
        var both = registry.View;
        registry.Release(first);
        Assert.NotSame(both, registry.View);
        Assert.Equal(2, both.Scopes.Count);
        Assert.Single(view.Scopes);
    }

    // ---- the mesh and the pages made at once ------------------------------------------------------------------

    private sealed record Shown1(StatsScope Scope, int Stat, StatDefinition Definition, string Name);

    private static StatsScope[] Mesh()
    {
        var random = new Random(7);
        var registry = new StatsRegistry(2);
        string[] names = ["b", "a.b", "a", "a-b", "a.b.c", "a.bind", "outbound|80||x.y", "q\"b\\c\nd", "ü", "z"];
        foreach (string name in names)
        {
            registry.Scope(s_cluster, "cluster.", name, [new StatTag("envoy.cluster_name", name)]);
            registry.Scope(TlsStats.Schema, $"cluster.{name}.ssl.", new StatTag("envoy.cluster_name", name));
            registry.Scope(s_http, $"http.{name}.", new StatTag("envoy.http_conn_manager_prefix", name));
            registry.Scope(s_http, $"http.{name}.cors.");
        }
        registry.Scope(s_http, "server.");
        var scopes = registry.Scopes.ToArray();
        foreach (var scope in scopes)
        {
            for (int i = 0; i < scope.Schema.Count; i++)
            {
                for (int writer = 0; writer < scope.Writers; writer++)
                {
                    if (random.Next(3) > 0)
                        continue;
                    if (scope.Schema.Definitions[i].Kind == StatKind.Histogram)
                        scope.Cells(writer).Record(i, random.Next(100_000));
                    else
                        scope.Cells(writer).Add(i, random.Next(1, 1_000_000));
                }
            }
        }
        return scopes;
    }

    private static StatKind? Kind(string? kind) => kind is null ? null : Enum.Parse<StatKind>(kind);

    private static StatsFilter Filter(bool usedOnly, string? kind, string? names) =>
        new(usedOnly, Kind(kind), names is null ? null : LinearRegex.TryCompile(names, RegexUse.Search, out _));

    private static List<Shown1> Shown(StatsScope[] scopes, bool usedOnly, StatKind? kind, string? names)
    {
        var regex = names is null ? null : LinearRegex.TryCompile(names, RegexUse.Search, out _);
        var list = new List<Shown1>();
        foreach (var scope in scopes)
        {
            for (int i = 0; i < scope.Schema.Count; i++)
            {
                var definition = scope.Schema.Definitions[i];
                string name = scope.Prefix + definition.Name;
                bool isUsed = definition.Kind == StatKind.Histogram ? scope.MergedHistogram(i) is not null : scope.Sum(i) != 0;
                bool isWanted = isUsed || !usedOnly && !definition.OnlyWhenUsed;
                if (isWanted && (kind is null || kind == definition.Kind) && (regex is null || regex.IsMatch(Encoding.UTF8.GetBytes(name))))
                    list.Add(new Shown1(scope, i, definition, name));
            }
        }
        return list;
    }

    private static string Number(double value) => value.ToString("0.###", CultureInfo.InvariantCulture);

    private static string Summary(Shown1 stat) => stat.Scope.MergedHistogram(stat.Stat) is { } histogram
        ? string.Join(' ', s_quantiles.Select(q => $"P{Number(q * 100)}(nan,{Number(histogram.Quantile(q))})"))
        : "No recorded values";

    private static string JsonAtOnce(List<Shown1> stats)
    {
        var all = new List<object>();
        foreach (var stat in stats.Where(s => s.Definition.Kind != StatKind.Histogram))
            all.Add(new { name = stat.Name, value = stat.Scope.Sum(stat.Stat) });
        var histograms = stats.Where(s => s.Definition.Kind == StatKind.Histogram).Select(s =>
        {
            var merged = s.Scope.MergedHistogram(s.Stat);
            return new { name = s.Name, values = s_quantiles.Select(q => new { cumulative = merged?.Quantile(q) }).ToArray() };
        }).ToArray();
        if (histograms.Length > 0)
            all.Add(new { histograms = new { supported_quantiles = s_quantiles.Select(q => q * 100).ToArray(), computed_quantiles = histograms } });
        return JsonSerializer.Serialize(new { stats = all });
    }

    private static string PrometheusAtOnce(List<Shown1> stats)
    {
        var families = new SortedDictionary<string, StringBuilder>(StringComparer.Ordinal);
        foreach (var stat in stats)
        {
            var (metric, labels) = MetricOf(stat);
            var histogram = stat.Scope.MergedHistogram(stat.Stat);
            if (stat.Definition.Kind == StatKind.Histogram && histogram is null)
                continue;
            if (!families.TryGetValue(metric, out var text))
                families.Add(metric, text = new StringBuilder($"# TYPE {metric} {stat.Definition.Kind.ToString().ToLowerInvariant()}\n"));
            if (histogram is null)
            {
                text.Append($"{metric}{{{labels}}} {stat.Scope.Sum(stat.Stat)}\n");
                continue;
            }
            string comma = labels.Length > 0 ? "," : "";
            foreach (double bound in s_buckets)
                text.Append($"{metric}_bucket{{{labels}{comma}le=\"{Number(bound)}\"}} {histogram.CountAtMost(bound)}\n");
            text.Append($"{metric}_bucket{{{labels}{comma}le=\"+Inf\"}} {histogram.Total}\n");
            text.Append($"{metric}_sum{{{labels}}} {histogram.Sum}\n{metric}_count{{{labels}}} {histogram.Total}\n");
        }
        return string.Concat(families.Values);
    }

    private static (string Metric, string Labels) MetricOf(Shown1 stat)
    {
        string prefix = stat.Scope.Prefix;
        var labels = new List<string>();
        foreach (var tag in stat.Scope.Tags)
        {
            int at = prefix.IndexOf($".{tag.Value}.", StringComparison.Ordinal);
            prefix = prefix.Remove(at, tag.Value.Length + 1);
            labels.Add($"{Sanitized(tag.Name)}=\"{tag.Value.Replace("\\", "\\\\").Replace("\"", "\\\"").Replace("\n", "\\n")}\"");
        }
        string name = stat.Definition.Name;
        if (name.EndsWith("xx", StringComparison.Ordinal))
        {
            labels.Add($"envoy_response_code_class=\"{name[^3]}\"");
            name = name[..^3] + "xx";
        }
        foreach (string family in new[] { "version", "cipher", "curve", "sigalg" })
        {
            if (!name.StartsWith(family + "s.", StringComparison.Ordinal))
                continue;
            labels.Add($"envoy_ssl_{family}=\"{name[(family.Length + 2)..]}\"");
            name = family + "s";
        }
        return ("envoy_" + Sanitized(prefix + name), string.Join(',', labels));
    }

    private static string Sanitized(string name) => string.Concat(name.Select(c => char.IsAsciiLetterOrDigit(c) || c is '_' or ':' ? c : '_'));
}
