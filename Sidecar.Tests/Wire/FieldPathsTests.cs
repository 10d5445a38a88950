using System;
using System.Buffers;
using System.Linq;
using System.Text;
using System.Text.Json;
using Sidecar.Wire;
using Xunit;

namespace Sidecar.Tests.Wire;

/// <summary>google.protobuf.FieldMask: which paths a message has, and what is left of it.</summary>
public class FieldPathsTests
{
    private const string ClusterType = "envoy.config.cluster.v3.Cluster";
    private const string Cluster = """
        {"name": "a", "type": "EDS", "connect_timeout": "1s",
         "eds_cluster_config": {"eds_config": {"ads": {}}, "service_name": "s"},
         "circuit_breakers": {"thresholds": [{"max_retries": 7}]},
         "transport_socket": {"name": "tls", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"}}}
        """;

    [Theory]
    [InlineData("name", """{"name":"a"}""")]
    [InlineData("connect_timeout,name", """{"name":"a","connect_timeout":"1s"}""")]
    [InlineData("eds_cluster_config.service_name", """{"eds_cluster_config":{"service_name":"s"}}""")]
    [InlineData("eds_cluster_config.service_name,eds_cluster_config", """{"eds_cluster_config":{"eds_config":{"ads":{}},"service_name":"s"}}""")]
    [InlineData("eds_cluster_config,eds_cluster_config.service_name", """{"eds_cluster_config":{"eds_config":{"ads":{}},"service_name":"s"}}""")]
    [InlineData("circuit_breakers.thresholds", """{"circuit_breakers":{"thresholds":[{"max_retries":7}]}}""")]
    [InlineData("transport_socket.name", """{"transport_socket":{"name":"tls"}}""")]
    [InlineData("eds_cluster_config.eds_config.path_config_source.path", """{"eds_cluster_config":{"eds_config":{}}}""")]
    [InlineData("outlier_detection", "{}")]
    public void Trim_KeepsWhatThePathsName(string mask, string expected)
    {
        var type = SchemaTable.Find(ClusterType)!;
        var parsed = FieldPaths.Parse(mask);
        Assert.True(parsed.FitsInto(type));
        Assert.Equal(expected, Trimmed(parsed, type));
    }

    [Theory]
    [InlineData("")]
    [InlineData(",")]
    public void MaskWithoutPaths_ShowsEverything(string mask)
    {
        var type = SchemaTable.Find(ClusterType)!;
        Assert.Equal(Trimmed(FieldPaths.All, type), Trimmed(FieldPaths.Parse(mask), type));
    }

    [Theory]
    [InlineData("nonsense")]
    [InlineData("name,nonsense")]
    [InlineData("name.first")]
    [InlineData("edsClusterConfig")]
    [InlineData("circuit_breakers.thresholds.max_retries")]
    [InlineData("transport_socket.typed_config.name")]
    [InlineData("eds_cluster_config..service_name")]
    [InlineData(".")]
    public void PathThatLeadsNowhere_DoesNotFit(string mask) => Assert.False(FieldPaths.Parse(mask).FitsInto(SchemaTable.Find(ClusterType)!));

    [Fact]
    public void Any_IsEnteredWhereItIsSaidWhatItHolds()
    {
        var entry = SchemaTable.Find("envoy.admin.v3.ClustersConfigDump.DynamicCluster")!;
        var mask = FieldPaths.Parse("cluster.name");
        Assert.False(mask.FitsInto(entry));
        Assert.True(mask.FitsInto(entry, SchemaTable.Find(ClusterType)));
        Assert.False(FieldPaths.Parse("cluster.transport_socket.typed_config.name").FitsInto(entry, SchemaTable.Find(ClusterType)));
    }

    [Fact]
    public void PathWithoutEnd_ThroughAMessageThatHoldsItself_DoesNotFit()
    {
        var type = SchemaTable.Find("xds.type.matcher.v3.Matcher")!;
        Assert.True(FieldPaths.Parse("on_no_match.matcher.on_no_match").FitsInto(type));
        Assert.False(FieldPaths.Parse(string.Join('.', Enumerable.Repeat("on_no_match.matcher", 100_000))).FitsInto(type));
    }

    [Fact]
    public void BrokenMessage_IsTrimmedAsFarAsItGoes()
    {
        var type = SchemaTable.Find(ClusterType)!;
        byte[] wire = Wire(type);
        var mask = FieldPaths.Parse("eds_cluster_config.eds_config.ads,name,circuit_breakers");
        for (int length = 0; length <= wire.Length; length++)
            mask.Trim(wire.AsSpan(0, length), type, new WireWriter());
        Assert.Equal("paths: \"a\"\npaths: \"b.c\"\n", FieldPaths.DebugString("a,,b.c"));
    }

    private static byte[] Wire(MessageSchema type)
    {
        var wire = new WireWriter();
        var problems = new WireProblems();
        Assert.True(Transcoder.TryReadJson(Encoding.UTF8.GetBytes(Cluster), type, problems, wire));
        return wire.Written.ToArray();
    }

    private static string Trimmed(FieldPaths mask, MessageSchema type)
    {
        var trimmed = new WireWriter();
        mask.Trim(Wire(type), type, trimmed);
        var text = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(text))
            Assert.True(Transcoder.TryWriteJson(trimmed.Written, type, json, redact: false));
        return Encoding.UTF8.GetString(text.WrittenSpan);
    }
}
