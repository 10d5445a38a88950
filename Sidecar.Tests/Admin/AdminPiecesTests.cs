using System;
using System.Collections.Generic;
using System.Linq;
using System.Text.Json;
using Sidecar.Admin;
using Sidecar.Telemetry.Stats;
using Sidecar.Tests.Harness;
using Sidecar.Upstream;
using Xunit;

namespace Sidecar.Tests.Admin;

/// <summary>Long pages on their way: piece after piece as the client takes them, one to a turn of the control loop.</summary>
public class AdminPiecesTests : IDisposable
{
    /// <summary>So many clusters' stats that no pair of socket buffers holds the page.</summary>
    private const int ExtraScopes = 1500;

    private const int RowBytesMax = 512;
    private const int HeadBytesMax = 512;

    /// <summary>So many that no pair of socket buffers holds their dump.</summary>
    private const int ManyClusters = 8000;
    private const int ClusterRowBytesMax = 1024;

    private readonly ServerHarness _server = new(Mesh(withLast: true));

    private static TestSnapshot Mesh(bool withLast)
    {
        var mesh = new TestSnapshot().Cluster("a", false, 1).EdsCluster("b", true, 2, 3).Routes("r", TestSnapshot.To("a")).HttpByName("http", 0, "r").Tcp("tcp", 0, "b");
        return withLast ? mesh.Cluster("z", false, 4) : mesh;
    }

    [Fact]
    public void LongPage_ComesInPieces_OneToATurn()
    {
        AddScopes();
        using var client = Get("/stats?filter=extra");
        int turns = TurnsUntilEnd(client);
        var chunks = ServerHarness.Chunks(Body(client));
        Assert.All(chunks, chunk => Assert.InRange(chunk.Length, 1, PageWriter.PieceBytes + RowBytesMax));
        Assert.InRange(turns, chunks.Count, int.MaxValue);
        AssertWhole(string.Concat(chunks));
    }

    [Fact]
    public void ManyClients_ShareThePieceOfATurn()
    {
        AddScopes();
        TestPeer[] clients = [Get("/stats?filter=extra-1..[.]"), Get("/stats/prometheus?filter=extra-2..[.]"), Get("/stats?format=json&filter=extra-3..[.]")];
        int turns = TurnsUntilEnd(clients);
        Assert.InRange(turns, clients.Sum(client => ServerHarness.Chunks(Body(client)).Count), int.MaxValue);
        Array.ForEach(clients, client => client.Dispose());
    }

    [Fact]
    public void FilterThatMatchesNothing_TakesManyTurns_NotOneLongOne()
    {
        AddScopes();
        using var client = Get("/stats?filter=^nothing$");
        int turns = TurnsUntilEnd(client);
        Assert.Empty(ServerHarness.Chunks(Body(client)));
        Assert.InRange(turns, ExtraScopes * ClusterStats.Schema.Count / (PageWriter.PieceSteps + ClusterStats.Schema.Count), int.MaxValue);
    }

    [Fact]
    public void ShortPage_HasItsLength()
    {
        var response = _server.Ask("/stats?filter=^server.live$&type=Gauges");
        Assert.Equal("server.live: 1\n", response.Body);
        Assert.Equal("15", response.Header("content-length"));
        Assert.Null(response.Header("transfer-encoding"));
        Assert.Equal("0", _server.Ask("/stats?filter=^nothing$&type=Gauges&usedonly").Header("content-length"));
    }

    [Fact]
    public void SlowClient_HoldsOnePiece_AndGetsAll()
    {
        AddScopes();
        int idleBytes = HeldBytes;
        using var client = Get("/stats?filter=extra");
        Stall();
        Assert.InRange(HeldBytes - idleBytes, 1, PageWriter.PieceBytes + RowBytesMax + HeadBytesMax + 2 * _server.Server.Loop.Slab.BlockSize);
        _server.Until(() => { client.Receive(); return client.End; });
        AssertWhole(string.Concat(ServerHarness.Chunks(Body(client))));
        _server.Until(() => HeldBytes == idleBytes);
    }

    [Fact]
    public void ClientThatTakesNothingMore_IsClosedInTime()
    {
        AddScopes();
        using var client = Get("/stats?filter=extra");
        Stall();
        int handlers = _server.Server.Loop.HandlerCount;
        // The first time finds that bytes have moved since the last piece was made.
        _server.Clock.Advance(AdminConnection.StallMs);
        _server.Server.Loop.Turn(0);
        _server.Clock.Advance(AdminConnection.StallMs);
        _server.Until(() => _server.Server.Loop.HandlerCount < handlers);
    }

    [Fact]
    public void ClientGone_EndsThePage()
    {
        AddScopes();
        int handlers = _server.Server.Loop.HandlerCount, idleBytes = HeldBytes;
        var client = Get("/stats?filter=extra");
        _server.Until(() => client.Receive() > 0);
        client.Reset();
        _server.Until(() => _server.Server.Loop.HandlerCount == handlers && !_server.Server.Loop.HasPending);
        Assert.Equal(idleBytes, HeldBytes);
    }

    [Fact]
    public void ConfigurationThatChangesMeanwhile_LeavesThePageItsScopes()
    {
        AddScopes();
        var last = _server.Server.Stats.Scope(ClusterStats.Schema, "cluster.", "zz", []);
        using var client = Get("/stats?filter=^cluster[.](extra|zz?[.]upstream_cx_total)");
        Stall();
        _server.Change(Mesh(withLast: false).ToString());
        _server.Server.Stats.DropUnused(last);
        Assert.Equal("", _server.Ask("/stats?type=Gauges&filter=^cluster[.]zz[.]").Body);
        _server.Until(() => { client.Receive(); return client.End; });
        string page = string.Concat(ServerHarness.Chunks(Body(client)));
        AssertWhole(page);
        Assert.Contains("\ncluster.z.upstream_cx_total: 0\n", page);
        Assert.Contains("\ncluster.zz.upstream_cx_total: 0\n", page);
    }

    [Fact]
    public void Http10Client_GetsThePageWithoutChunks_EndedByTheConnection()
    {
        AddScopes();
        using var client = _server.Connect();
        client.Send("GET /stats?filter=extra HTTP/1.0\r\nhost: admin\r\n\r\n");
        _server.Until(() => { client.Receive(); return client.End; });
        Assert.StartsWith("HTTP/1.0 200", client.Text);
        Assert.DoesNotContain("transfer-encoding", client.Text);
        AssertWhole(Body(client));
    }

    [Fact]
    public void Head_OfALongPage_HasNoBody_AndTheConnectionGoesOn()
    {
        using var client = _server.Connect();
        client.Send("HEAD /stats HTTP/1.1\r\nhost: admin\r\n\r\nGET /ready HTTP/1.1\r\nhost: admin\r\n\r\n");
        _server.Until(() => client.Read().EndsWith("LIVE\n", StringComparison.Ordinal));
        Assert.StartsWith("HTTP/1.1 200", client.Text);
        Assert.StartsWith("HTTP/1.1 200", Body(client));
    }

    [Fact]
    public void NextRequest_BehindALongPage_IsAnswered()
    {
        AddScopes();
        using var client = _server.Connect();
        client.Send("GET /stats?filter=extra HTTP/1.1\r\nhost: admin\r\n\r\nGET /clusters HTTP/1.1\r\nhost: admin\r\n\r\n");
        _server.Until(() => { client.Receive(); return EndsWith(client, "::local_origin_success_rate::-1\n"); });
        client.Send("GET /ready HTTP/1.1\r\nhost: admin\r\n\r\n");
        _server.Until(() => { client.Receive(); return EndsWith(client, "LIVE\n"); });
    }

    [Theory]
    [InlineData("/stats?filter=extra")]
    [InlineData("/clusters")]
    public void ClientThatHasSaidAll_GetsThePage(string target)
    {
        AddScopes();
        using var client = Get(target);
        client.Shutdown();
        _server.Until(() => { client.Receive(); return client.End; });
        if (target == "/clusters")
            Assert.EndsWith("::local_origin_success_rate::-1\n", client.Text);
        else
            AssertWhole(string.Concat(ServerHarness.Chunks(Body(client))));
    }

    [Fact]
    public void Clusters_OneCluster_ExactText()
    {
        string[] counts = ["cx_active::0", "cx_connect_fail::0", "cx_total::0", "rq_active::0", "rq_error::0", "rq_success::0", "rq_timeout::0", "rq_total::0",
            "hostname::", "health_flags::healthy", "weight::1", "region::", "zone::", "sub_zone::", "canary::false", "priority::0", "success_rate::-1",
            "local_origin_success_rate::-1"];
        string[] limits = ["max_connections::1024", "max_pending_requests::1024", "max_requests::1024", "max_retries::3"];
        string expected = "b::observability_name::b\n"
            + string.Concat(limits.Select(limit => $"b::default_priority::{limit}\n")) + string.Concat(limits.Select(limit => $"b::high_priority::{limit}\n"))
            + "b::added_via_api::true\n"
            + string.Concat(counts.Select(count => $"b::127.0.0.1:2::{count}\n")) + string.Concat(counts.Select(count => $"b::127.0.0.1:3::{count}\n"));
        string page = _server.Ask("/clusters").Body;
        Assert.Equal(expected, string.Concat(page.Split('\n').Where(line => line.StartsWith("b::", StringComparison.Ordinal)).Select(line => line + "\n")));
        Assert.Equal(["a", "b", "z"], page.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => line[..1]).Distinct().Order());
    }

    [Fact]
    public void ConfigDump_SlowClient_HoldsOnePiece_AndGetsTheConfigurationItAskedFor()
    {
        var mesh = Mesh(withLast: true);
        for (int i = 0; i < ManyClusters; i++)
            mesh.Cluster($"extra-{i}", false, 1);
        _server.Change(mesh.ToString());
        int idleBytes = HeldBytes;
        using var client = Get("/config_dump");
        Stall();
        Assert.InRange(HeldBytes - idleBytes, 1, PageWriter.PieceBytes + ClusterRowBytesMax + HeadBytesMax + 2 * _server.Server.Loop.Slab.BlockSize);
        _server.Change(Mesh(withLast: false).ToString());
        _server.Until(() => { client.Receive(); return client.End; });

        var chunks = ServerHarness.Chunks(Body(client));
        Assert.All(chunks, chunk => Assert.InRange(chunk.Length, 1, PageWriter.PieceBytes + ClusterRowBytesMax));
        var sections = JsonDocument.Parse(string.Concat(chunks)).RootElement.GetProperty("configs").EnumerateArray()
            .ToDictionary(section => section.GetProperty("@type").GetString()!["type.googleapis.com/envoy.admin.v3.".Length..]);
        var clusters = sections["ClustersConfigDump"].GetProperty("dynamic_active_clusters").EnumerateArray()
            .Select(cluster => cluster.GetProperty("cluster").GetProperty("name").GetString()!).ToHashSet();
        Assert.Equal(ManyClusters + 3, clusters.Count);
        Assert.Contains("z", clusters);
        Assert.Equal(2, sections["ListenersConfigDump"].GetProperty("dynamic_listeners").GetArrayLength());
        _server.Until(() => HeldBytes == idleBytes);
    }

    [Fact]
    public void ConfigDump_NamesThatMatchNothing_TakeManyTurns_NotOneLongOne()
    {
        var mesh = new TestSnapshot();
        for (int i = 0; i < PageWriter.PieceSteps + 1; i++)
            mesh.Cluster($"extra-{i}", false, 1);
        _server.Change(mesh.ToString());
        using var client = Get("/config_dump?resource=dynamic_active_clusters&name_regex=nothing");
        Assert.InRange(TurnsUntilEnd(client), 2, int.MaxValue);
        Assert.Empty(JsonDocument.Parse(string.Concat(ServerHarness.Chunks(Body(client)))).RootElement.GetProperty("configs").EnumerateArray());
    }

    // ---- actors ------------------------------------------------------------------------------------------------

    private int HeldBytes => _server.Server.Loop.Slab.RentedCount * _server.Server.Loop.Slab.BlockSize;

    private void AddScopes()
    {
        for (int i = 0; i < ExtraScopes; i++)
            _server.Server.Stats.Scope(ClusterStats.Schema, "cluster.", $"extra-{i}", [new StatTag("envoy.cluster_name", $"extra-{i}")]);
    }

    private TestPeer Get(string target)
    {
        var client = _server.Connect();
        client.Send($"GET {target} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
        return client;
    }

    private int TurnsUntilEnd(params TestPeer[] clients)
    {
        int turns = -1;
        _server.Until(() =>
        {
            turns++;
            foreach (var client in clients)
                client.Receive();
            return clients.All(client => client.End);
        });
        return turns;
    }

    // The client takes nothing: until the socket is full, and nothing is left to do.
    private void Stall()
    {
        int idle = HeldBytes;
        _server.Until(() => HeldBytes > idle && !_server.Server.Loop.HasPending);
    }

    private static string Body(TestPeer client)
    {
        string text = client.Text;
        return text[(text.IndexOf("\r\n\r\n", StringComparison.Ordinal) + 4)..];
    }

    private static bool EndsWith(TestPeer client, string end)
    {
        int start = client.Received.Count - end.Length;
        if (start < 0)
            return false;
        for (int i = 0; i < end.Length; i++)
        {
            if (client.Received[start + i] != end[i])
                return false;
        }
        return true;
    }

    private static void AssertWhole(string page)
    {
        string[] rows = page.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        var extra = new HashSet<string>();
        foreach (string row in rows)
        {
            Assert.Matches("^cluster[.][a-z0-9-]+[.][a-z0-9_.]+: ([0-9]+|No recorded values)$", row);
            if (row.StartsWith("cluster.extra-", StringComparison.Ordinal))
                Assert.True(extra.Add(row), row);
        }
        int shown = ClusterStats.Schema.Definitions.Count(definition => !definition.OnlyWhenUsed);
        Assert.Equal(ExtraScopes * shown, extra.Count);
    }

    public void Dispose() => _server.Dispose();
}
