using Sidecar.Admin;
using Sidecar.Telemetry.Stats;
using Sidecar.Tests.Harness;
using Sidecar.Tls;
using Xunit;

namespace Sidecar.Tests.Admin;

/// <summary>The Prometheus text: names, labels, types, buckets.</summary>
public class StatsPageTests
{
    private static readonly StatsSchema s_schema = new(new("rq_total"), new("rq_2xx"), new("active", StatKind.Gauge), new("time", StatKind.Histogram));

    [Fact]
    public void Prometheus_TagsAreCutOutOfTheName()
    {
        var scope = new StatsRegistry(1).Scope(s_schema, "cluster.outbound|80||a.b.", new StatTag("envoy.cluster_name", "outbound|80||a.b"));
        scope.Cells(0).Add(0, 3);
        Assert.Contains("# TYPE envoy_cluster_rq_total counter\nenvoy_cluster_rq_total{envoy_cluster_name=\"outbound|80||a.b\"} 3\n", Text(scope));
        Assert.Contains("# TYPE envoy_cluster_active gauge\n", Text(scope));
    }

    [Fact]
    public void Prometheus_ResponseClass_IsALabel() =>
        Assert.Contains("envoy_http_rq_xx{envoy_http_conn_manager_prefix=\"p\",envoy_response_code_class=\"2\"} 0\n",
            Text(new StatsRegistry(1).Scope(s_schema, "http.p.", new StatTag("envoy.http_conn_manager_prefix", "p"))));

    [Fact]
    public void Prometheus_WhatTlsAgreedOn_IsALabel_AndShownOnceUsed()
    {
        var scope = new StatsRegistry(1).Scope(TlsStats.Schema, "cluster.a.ssl.", new StatTag("envoy.cluster_name", "a"));
        scope.Cells(0).Inc(TlsStats.OfVersion(OpenSsl.Tls13));
        scope.Cells(0).Inc(TlsStats.OfCipher(0x1301));
        string text = Text(scope);
        Assert.Contains("envoy_cluster_ssl_versions{envoy_cluster_name=\"a\",envoy_ssl_version=\"TLSv1.3\"} 1\n", text);
        Assert.Contains("envoy_cluster_ssl_ciphers{envoy_cluster_name=\"a\",envoy_ssl_cipher=\"TLS_AES_128_GCM_SHA256\"} 1\n", text);
        Assert.DoesNotContain("TLSv1.2", text);
        Assert.Contains("envoy_cluster_ssl_handshake{envoy_cluster_name=\"a\"} 0\n", text);
    }

    [Fact]
    public void Prometheus_OneTypeLinePerName()
    {
        var registry = new StatsRegistry(1);
        string text = Text(
            registry.Scope(s_schema, "cluster.a.", new StatTag("envoy.cluster_name", "a")), registry.Scope(s_schema, "cluster.b.", new StatTag("envoy.cluster_name", "b")));
        Assert.Equal(2, text.Split("# TYPE envoy_cluster_rq_total ").Length);
        Assert.Contains("envoy_cluster_rq_total{envoy_cluster_name=\"a\"} 0\nenvoy_cluster_rq_total{envoy_cluster_name=\"b\"} 0\n", text);
    }

    [Fact]
    public void Prometheus_Histogram_HasCumulativeBuckets()
    {
        var scope = new StatsRegistry(1).Scope(s_schema, "t.");
        foreach (long value in new[] { 1, 3, 700 })
            scope.Cells(0).Record(3, value);
        string text = Text(scope);
        Assert.Contains("# TYPE envoy_t_time histogram\n", text);
        Assert.Contains("envoy_t_time_bucket{le=\"0.5\"} 0\n", text);
        Assert.Contains("envoy_t_time_bucket{le=\"1\"} 1\n", text);
        Assert.Contains("envoy_t_time_bucket{le=\"5\"} 2\n", text);
        Assert.Contains("envoy_t_time_bucket{le=\"1000\"} 3\n", text);
        Assert.Contains("envoy_t_time_bucket{le=\"+Inf\"} 3\n", text);
        Assert.Contains("envoy_t_time_sum{} 704\n", text);
        Assert.Contains("envoy_t_time_count{} 3\n", text);
    }

    [Fact]
    public void Prometheus_UsedOnly_LeavesZerosOut() =>
        Assert.Equal("", PageReader.Text(StatsPages.Prometheus([new StatsRegistry(1).Scope(s_schema, "t.")], new StatsFilter(usedOnly: true, kind: null, names: null))));

    [Fact]
    public void Prometheus_LabelValues_AreEscaped()
    {
        var scope = new StatsRegistry(1).Scope(s_schema, "cluster.a\"b\\c.", new StatTag("envoy.cluster_name", "a\"b\\c"));
        Assert.Contains("{envoy_cluster_name=\"a\\\"b\\\\c\"} 0\n", Text(scope));
    }

    private static string Text(params StatsScope[] scopes) => PageReader.Text(StatsPages.Prometheus(scopes, new StatsFilter(usedOnly: false, kind: null, names: null)));
}
