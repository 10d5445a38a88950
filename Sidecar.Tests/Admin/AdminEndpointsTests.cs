using System;
using System.Linq;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Sidecar.Tests.Harness;
using Sidecar.Xds;
using Xunit;

namespace Sidecar.Tests.Admin;

/// <summary>The admin pages as an operator's curl sees them.</summary>
public class AdminEndpointsTests : IDisposable
{
    private readonly ServerHarness _server = new(Mesh());

    private static TestSnapshot Mesh() =>
        new TestSnapshot().Cluster("a", false, 1).EdsCluster("b", true, 2, 3).Routes("r", TestSnapshot.To("a")).HttpByName("http", 0, "r").Tcp("tcp", 0, "b");

    [Fact]
    public void Ready_Live()
    {
        var response = _server.Ask("/ready");
        Assert.Equal(200, response.Status);
        Assert.Equal("LIVE\n", response.Body);
        Assert.Equal("text/plain; charset=UTF-8", response.Header("content-type"));
        Assert.Equal("no-cache, max-age=0", response.Header("cache-control"));
        Assert.Equal("nosniff", response.Header("x-content-type-options"));
    }

    [Fact]
    public void ClientsThatSayNothing_DoNotLockTheOperatorOut()
    {
        var silent = new System.Collections.Generic.List<TestPeer>();
        for (int i = 0; i < 300; i++)
        {
            silent.Add(_server.Connect());
            // No more at once than the socket's backlog takes.
            if (i % 50 == 49)
                _server.Ask("/ready");
        }
        // The oldest made room, and none was turned away.
        _server.Until(() => silent.Take(40).All(peer => { peer.Receive(); return peer.End; }));
        Assert.All(silent.Skip(100), peer => { peer.Receive(); Assert.False(peer.End); });
        Assert.Equal(200, _server.Ask("/ready").Status);
        silent.ForEach(peer => peer.Dispose());
    }

    [Theory]
    [InlineData("", Sidecar.Admin.AdminConnection.HeadMs)]
    [InlineData("GET /ready HTTP/1.1\r\nhost: adm", Sidecar.Admin.AdminConnection.HeadMs)]
    [InlineData("GET /ready HTTP/1.1\r\nhost: admin\r\n\r\n", Sidecar.Admin.AdminConnection.IdleMs)]
    public void ClientThatGoesNoFurther_IsClosedInTime(string sent, int afterMs)
    {
        using var client = _server.Connect();
        client.Send(sent);
        bool isWhole = sent.EndsWith("\r\n\r\n", StringComparison.Ordinal);
        _server.Until(() => client.Read().EndsWith(isWhole ? "LIVE\n" : "", StringComparison.Ordinal));
        for (int i = 0; i < 5; i++)
            _server.Server.Loop.Turn(0);
        _server.Clock.Advance(afterMs - 1);
        for (int i = 0; i < 5; i++)
            _server.Server.Loop.Turn(0);
        client.Receive();
        Assert.False(client.End);
        _server.Clock.Advance(1);
        _server.Until(() => { client.Receive(); return client.End; });
    }

    [Fact]
    public void HealthcheckFail_NotReady_UntilOk()
    {
        Assert.Equal("OK\n", _server.Ask("/healthcheck/fail", "POST").Body);
        Assert.Equal(503, _server.Ask("/ready").Status);
        Assert.Equal("DRAINING\n", _server.Ask("/ready").Body);
        _server.Ask("/healthcheck/ok", "POST");
        Assert.Equal(200, _server.Ask("/healthz/ready").Status);
    }

    [Theory]
    [InlineData("/quitquitquit")]
    [InlineData("/healthcheck/fail")]
    [InlineData("/healthcheck/ok")]
    [InlineData("/drain_listeners")]
    [InlineData("/logging")]
    [InlineData("/reset_counters")]
    public void WhatChanges_NeedsPost(string path)
    {
        var response = _server.Ask(path);
        Assert.Equal(405, response.Status);
        Assert.Contains("Method GET not allowed, POST required.", response.Body);
        Assert.Equal(200, _server.Ask("/ready").Status);
    }

    [Fact]
    public void DrainListeners_SkipExitNeedsGraceful()
    {
        var response = _server.Ask("/drain_listeners?skip_exit", "POST");
        Assert.Equal(400, response.Status);
        Assert.Equal("skip_exit requires graceful\n", response.Body);
        Assert.Equal("OK\n", _server.Ask("/drain_listeners?graceful&skip_exit", "POST").Body);
    }

    [Fact]
    public void OtherMethods_AreRefused() => Assert.Equal(405, _server.Ask("/stats", "DELETE").Status);

    [Fact]
    public void Head_HasNoBody()
    {
        var response = _server.Ask("/ready", "HEAD");
        Assert.Equal(200, response.Status);
        Assert.Equal("5", response.Header("content-length"));
        Assert.Equal("", response.Body);
    }

    [Fact]
    public void UnknownPath_Is404WithTheList()
    {
        var response = _server.Ask("/nothing");
        Assert.Equal(404, response.Status);
        Assert.StartsWith("invalid path. admin commands are:\n", response.Body);
        Assert.Contains("/config_dump", response.Body);
    }

    [Theory]
    [InlineData("/")]
    [InlineData("/help")]
    public void Help_NamesEveryPage(string path)
    {
        string text = _server.Ask(path).Body;
        foreach (string page in new[] { "/certs", "/clusters", "/config_dump", "/config_status", "/drain_listeners", "/healthcheck/fail", "/listeners", "/logging", "/quitquitquit", "/ready", "/server_info", "/stats", "/stats/prometheus" })
            Assert.Contains($"\n  {page}", text);
    }

    [Fact]
    public void ServerInfo_HasEnvoysFields()
    {
        var info = _server.AskJson("/server_info");
        Assert.Equal("LIVE", info.GetProperty("state").GetString());
        Assert.EndsWith("s", info.GetProperty("uptime_current_epoch").GetString());
        Assert.Equal(1, info.GetProperty("command_line_options").GetProperty("concurrency").GetInt32());
    }

    [Fact]
    public void Logging_ShowsAndSetsTheLevel()
    {
        Assert.Equal(400, _server.Ask("/logging?level=loud", "POST").Status);
        Assert.Equal(400, _server.Ask("/logging?http=debug", "POST").Status);
        var before = Sidecar.Telemetry.Log.Level;
        try
        {
            Assert.Contains("all: error", _server.Ask("/logging?level=error", "POST").Body);
            Assert.Contains("all: error", _server.Ask("/logging", "POST").Body);
        }
        finally
        {
            Sidecar.Telemetry.Log.Level = before;
        }
    }

    [Fact]
    public void Listeners_TextAndJson()
    {
        string text = _server.Ask("/listeners").Body;
        var line = Regex.Match(text, "^http::127\\.0\\.0\\.1:([1-9][0-9]*)\n", RegexOptions.Multiline);
        Assert.True(line.Success, text);
        var statuses = _server.AskJson("/listeners?format=json").GetProperty("listener_statuses");
        Assert.Equal(2, statuses.GetArrayLength());
        var address = statuses[0].GetProperty("local_address").GetProperty("socket_address");
        Assert.Equal("127.0.0.1", address.GetProperty("address").GetString());
        // The port that the kernel chose, and that really is listened on.
        Assert.Equal(line.Groups[1].Value, address.GetProperty("port_value").GetInt32().ToString());
        using var client = TestPeer.Connect(Sidecar.Net.Address.Loopback((ushort)address.GetProperty("port_value").GetInt32()));
    }

    [Fact]
    public void Clusters_TextAndJson()
    {
        string text = _server.Ask("/clusters").Body;
        Assert.Contains("a::127.0.0.1:1::cx_total::0\n", text);
        Assert.Contains("b::127.0.0.1:3::health_flags::healthy\n", text);
        Assert.Contains("a::default_priority::max_connections::1024\n", text);
        var statuses = _server.AskJson("/clusters?format=json").GetProperty("cluster_statuses");
        var b = statuses.EnumerateArray().Single(c => c.GetProperty("name").GetString() == "b");
        Assert.Equal(2, b.GetProperty("host_statuses").GetArrayLength());
        Assert.Equal("HEALTHY", b.GetProperty("host_statuses")[0].GetProperty("health_status").GetProperty("eds_health_status").GetString());
    }

    [Fact]
    public void Quit_EndsTheServer()
    {
        Assert.Equal("OK\n", _server.Ask("/quitquitquit", "POST").Body);
        _server.Server.Run();
    }

    // ---- stats -------------------------------------------------------------------------------------------------

    [Fact]
    public void Stats_Text_SortedNameAndValue()
    {
        string[] lines = _server.Ask("/stats").Body.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Contains("server.live: 1", lines);
        Assert.Contains("cluster.a.upstream_cx_total: 0", lines);
        Assert.Contains("http.http.downstream_rq_total: 0", lines);
        Assert.Contains("listener_manager.total_listeners_active: 2", lines);
        Assert.Contains("cluster_manager.active_clusters: 2", lines);
        string[] names = [.. lines.Where(l => !l.EndsWith("No recorded values", StringComparison.Ordinal) && !l.Contains(": P0", StringComparison.Ordinal)).Select(l => l[..l.LastIndexOf(": ", StringComparison.Ordinal)])];
        Assert.Equal(names.Order(StringComparer.Ordinal), names);
    }

    [Fact]
    public void Stats_FilterUsedOnlyAndType()
    {
        Assert.All(Lines("/stats?filter=^cluster[.]a[.]"), line => Assert.StartsWith("cluster.a.", line));
        Assert.DoesNotContain("server.live: 1", Lines("/stats?filter=upstream"));
        Assert.All(Lines("/stats?usedonly"), line => Assert.False(line.EndsWith(": 0", StringComparison.Ordinal), line));
        Assert.DoesNotContain("server.live: 1", Lines("/stats?type=Counters"));
        Assert.Contains("server.live: 1", Lines("/stats?type=Gauges"));
        Assert.All(Lines("/stats?type=Histograms"), line => Assert.Contains("No recorded values", line));
    }

    [Fact]
    public void Stats_Json()
    {
        var stats = _server.AskJson("/stats?format=json&filter=server.live|downstream_rq_time").GetProperty("stats");
        Assert.Contains(stats.EnumerateArray(), s => s.TryGetProperty("name", out var n) && n.GetString() == "server.live" && s.GetProperty("value").GetInt64() == 1);
        Assert.Contains(stats.EnumerateArray(), s => s.TryGetProperty("histograms", out var h) && h.TryGetProperty("computed_quantiles", out _));
    }

    [Fact]
    public void Stats_Texts_AreQuoted_ComeFirst_AndStayOutOfPrometheusUnlessAskedFor()
    {
        var registry = _server.Server.Stats;
        registry.Scope(ControlPlaneStats.Schema, "control_plane.").Cells(registry.ControlWriter).SetText(ControlPlaneStats.Identifier, """{"Component":"istiod"}""");
        registry.Scope(SubscriptionStats.Schema, "cluster_manager.cds.");
        string[] lines = Lines("/stats?filter=^control_plane|cds[.](version|update_att)");
        Assert.Equal(
            ["cluster_manager.cds.version_text: \"\"", """control_plane.identifier: "{"Component":"istiod"}" """.TrimEnd(), "cluster_manager.cds.update_attempt: 0"], lines.Take(3));
        Assert.Equal(["""control_plane.identifier: "{"Component":"istiod"}" """.TrimEnd()], Lines("/stats?usedonly&type=TextReadouts"));
        Assert.DoesNotContain(Lines("/stats?type=Gauges"), line => line.StartsWith("control_plane.identifier", StringComparison.Ordinal));

        var json = Assert.Single(_server.AskJson("/stats?format=json&filter=identifier").GetProperty("stats").EnumerateArray());
        Assert.Equal(("control_plane.identifier", """{"Component":"istiod"}"""), (json.GetProperty("name").GetString(), json.GetProperty("value").GetString()));

        Assert.DoesNotContain("identifier", _server.Ask("/stats/prometheus").Body);
        string text = _server.Ask("/stats/prometheus?text_readouts&usedonly&filter=_text|identifier").Body;
        Assert.Equal("# TYPE envoy_control_plane_identifier gauge\nenvoy_control_plane_identifier{text_value=\"{\\\"Component\\\":\\\"istiod\\\"}\"} 0\n", text);
    }

    [Theory]
    [InlineData("/stats?filter=(")]
    [InlineData("/stats?format=xml")]
    public void Stats_BadParameter_Is400(string target) => Assert.Equal(400, _server.Ask(target).Status);

    [Fact]
    public void Prometheus_HasTypesAndLabels()
    {
        var response = _server.Ask("/stats/prometheus");
        Assert.StartsWith("text/plain; version=0.0.4", response.Header("content-type"));
        Assert.Contains("# TYPE envoy_cluster_upstream_cx_total counter\nenvoy_cluster_upstream_cx_total{envoy_cluster_name=\"a\"} 0\n", response.Body);
        Assert.Contains("# TYPE envoy_server_live gauge\nenvoy_server_live{} 1\n", response.Body);
        Assert.Contains("envoy_http_downstream_rq_xx{envoy_http_conn_manager_prefix=\"http\",envoy_response_code_class=\"2\"} 0\n", response.Body);
        Assert.Equal(_server.Ask("/stats?format=prometheus&filter=cx_total").Body, _server.Ask("/stats/prometheus?filter=cx_total").Body);
    }

    // ---- configuration ---------------------------------------------------------------------------------------

    [Fact]
    public void ConfigDump_HasEnvoysSections()
    {
        var dump = _server.AskJson("/config_dump").GetProperty("configs");
        string[] types = [.. dump.EnumerateArray().Select(c => c.GetProperty("@type").GetString()!)];
        Assert.Contains("type.googleapis.com/envoy.admin.v3.ClustersConfigDump", types);
        Assert.Contains("type.googleapis.com/envoy.admin.v3.ListenersConfigDump", types);
        Assert.Contains("type.googleapis.com/envoy.admin.v3.RoutesConfigDump", types);
        Assert.DoesNotContain("type.googleapis.com/envoy.admin.v3.EndpointsConfigDump", types);
        var cluster = Section(dump, "Clusters").GetProperty("dynamic_active_clusters")[0].GetProperty("cluster");
        Assert.Equal("type.googleapis.com/envoy.config.cluster.v3.Cluster", cluster.GetProperty("@type").GetString());
        var listener = Section(dump, "Listeners").GetProperty("dynamic_listeners")[0];
        Assert.Equal("http", listener.GetProperty("name").GetString());
        Assert.Equal("http", listener.GetProperty("active_state").GetProperty("listener").GetProperty("name").GetString());
    }

    [Fact]
    public void ConfigDump_IncludeEds()
    {
        var dump = _server.AskJson("/config_dump?include_eds").GetProperty("configs");
        Assert.Equal("b", Section(dump, "Endpoints").GetProperty("dynamic_endpoint_configs")[0].GetProperty("endpoint_config").GetProperty("cluster_name").GetString());
    }

    [Fact]
    public void ConfigDump_ResourceAndNameRegex()
    {
        var clusters = _server.AskJson("/config_dump?resource=dynamic_active_clusters").GetProperty("configs");
        Assert.Equal(2, clusters.GetArrayLength());
        Assert.Equal("type.googleapis.com/envoy.admin.v3.ClustersConfigDump.DynamicCluster", clusters[0].GetProperty("@type").GetString());
        var one = _server.AskJson("/config_dump?resource=dynamic_active_clusters&name_regex=b").GetProperty("configs");
        Assert.Equal("b", one[0].GetProperty("cluster").GetProperty("name").GetString());
        Assert.Equal(1, one.GetArrayLength());
    }

    [Fact]
    public void ConfigDump_Endpoints_AreAList_OnlyWhenTheyAreIncluded()
    {
        Assert.Equal(404, _server.Ask("/config_dump?resource=dynamic_endpoint_configs").Status);
        Assert.Equal(1, _server.AskJson("/config_dump?resource=dynamic_endpoint_configs&include_eds").GetProperty("configs").GetArrayLength());
    }

    [Fact]
    public void ConfigDump_Mask_KeepsListsOfSections()
    {
        var dump = _server.AskJson("/config_dump?mask=dynamic_active_clusters").GetProperty("configs");
        Assert.Equal(1, dump.GetArrayLength());
        Assert.Equal(["@type", "dynamic_active_clusters"], dump[0].EnumerateObject().Select(property => property.Name));
        Assert.Equal(2, dump[0].GetProperty("dynamic_active_clusters").GetArrayLength());

        // Everybody's field: sections that have none of the name are left out.
        string[] versioned = [.. _server.AskJson("/config_dump?mask=version_info").GetProperty("configs").EnumerateArray().Select(c => c.GetProperty("@type").GetString()!)];
        Assert.Equal(["type.googleapis.com/envoy.admin.v3.ClustersConfigDump", "type.googleapis.com/envoy.admin.v3.ListenersConfigDump"], versioned);
    }

    [Theory]
    [InlineData("dynamic_active_clusters", "cluster.name", """{"cluster":{"name":"b"}}""")]
    [InlineData("dynamic_active_clusters", "cluster.name,cluster.type,last_updated", """{"cluster":{"name":"b","type":"EDS"},"last_updated":"*"}""")]
    [InlineData("dynamic_active_clusters", "cluster.eds_cluster_config.eds_config,cluster.eds_cluster_config", """{"cluster":{"eds_cluster_config":{"eds_config":{"ads":{}},"service_name":"b"}}}""")]
    [InlineData("dynamic_active_clusters", "error_state.details", "{}")]
    [InlineData("dynamic_listeners", "name", """{"name":"http"}""")]
    [InlineData("dynamic_listeners", "active_state.listener.name", """{"active_state":{"listener":{"name":"http"}}}""")]
    public void ConfigDump_MaskOfAList_KeepsFieldsOfItsResources(string list, string mask, string expected)
    {
        string name = list == "dynamic_listeners" ? "http" : "b";
        var dump = JsonNode.Parse(_server.Ask($"/config_dump?resource={list}&mask={mask}&name_regex={name}").Body)!["configs"]!.AsArray();
        var resource = Assert.Single(dump)!.AsObject();
        Assert.True(resource.Remove("@type"));
        if (resource.ContainsKey("last_updated"))
            resource["last_updated"] = "*";
        foreach (string element in new[] { "cluster", "active_state" })
        {
            (resource[element] as JsonObject)?.Remove("@type");
            (resource[element]?["listener"] as JsonObject)?.Remove("@type");
        }
        Assert.Equal(expected, resource.ToJsonString());
    }

    [Theory]
    [InlineData("resource=nonsense", 404, "nonsense not found in config dump")]
    [InlineData("resource=version_info", 400, "version_info is not a repeated field. Use ?mask=version_info to get only this field")]
    [InlineData("name_regex=(", 400, "Error while parsing name_regex from (: ")]
    [InlineData("mask=nonsense", 400, "FieldMask nonsense could not be successfully applied to any configs.")]
    [InlineData("mask=dynamic_listeners.name", 400, "FieldMask dynamic_listeners.name could not be successfully applied to any configs.")]
    [InlineData("resource=dynamic_listeners&mask=name,nonsense", 400, "FieldMask paths: \"name\"\npaths: \"nonsense\"\n could not be successfully used.")]
    public void ConfigDump_BadParameter(string query, int status, string text)
    {
        var response = _server.Ask("/config_dump?" + query);
        Assert.Equal(status, response.Status);
        Assert.StartsWith(text, response.Body);
    }

    [Fact]
    public void ConfigDump_IsAccepted_AsASnapshot()
    {
        _server.Change(_server.Ask("/config_dump?include_eds").Body);
        Assert.Empty(_server.Server.Config.LastErrors);
        Assert.Equal(2, _server.AskJson("/config_dump?resource=dynamic_listeners").GetProperty("configs").GetArrayLength());
    }

    [Fact]
    public void RefusedVersion_IsToldByDumpAndStatus()
    {
        _server.Change(Mesh().Raw("tcp", 0, """ "filter_chains": [] """).ToString());
        var status = _server.AskJson("/config_status");
        Assert.Contains("no filter chains specified", status.GetProperty("errors")[0].GetString());
        var tcp = status.GetProperty("resources").EnumerateArray().Single(r => r.GetProperty("name").GetString() == "tcp");
        Assert.Equal("OLD_VERSION_IN_USE", tcp.GetProperty("status").GetString());
        Assert.Equal("filter_chains", tcp.GetProperty("errors")[0].GetProperty("path").GetString());

        var listener = _server.AskJson("/config_dump?resource=dynamic_listeners&name_regex=tcp").GetProperty("configs")[0];
        Assert.Contains("no filter chains specified", listener.GetProperty("error_state").GetProperty("details").GetString());
        Assert.Equal("tcp", listener.GetProperty("active_state").GetProperty("listener").GetProperty("name").GetString());
        Assert.Contains("sidecar.config.rejected: 1", Lines("/stats?filter=sidecar.config"));
    }

    [Fact]
    public void ConfigStatus_NamesWhatHasNoEffect()
    {
        _server.Change(Mesh().Raw("tcp", 0, """ "enable_mptcp": true, "filter_chains": [{"filters": [$tcp]}] """).Cluster("up", false, 1).ToString());
        var tcp = _server.AskJson("/config_status").GetProperty("resources").EnumerateArray().Single(r => r.GetProperty("name").GetString() == "tcp");
        Assert.Equal("ACCEPTED", tcp.GetProperty("status").GetString());
        Assert.Contains(tcp.GetProperty("without_effect").EnumerateArray(), p => p.GetProperty("path").GetString() == "enable_mptcp");
    }

    public void Dispose() => _server.Dispose();

    private string[] Lines(string target) => _server.Ask(target).Body.Split('\n', StringSplitOptions.RemoveEmptyEntries);

    private static JsonElement Section(JsonElement dump, string kind) =>
        dump.EnumerateArray().Single(c => c.GetProperty("@type").GetString() == $"type.googleapis.com/envoy.admin.v3.{kind}ConfigDump");
}
