using System;
using System.Collections.Generic;
using System.Linq;
using System.Text;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Sidecar.Wire;
using Xunit;

namespace Sidecar.Tests.Wire;

public sealed class TranscoderTests
{
    private const string Listener = "envoy.config.listener.v3.Listener";
    private const string Cluster = "envoy.config.cluster.v3.Cluster";
    private const string Route = "envoy.config.route.v3.RouteConfiguration";
    private const string Metadata = "envoy.config.core.v3.Metadata";
    private const string Filter = "envoy.config.listener.v3.Filter";
    private const string Secret = "envoy.extensions.transport_sockets.tls.v3.Secret";

    // ---- names, numbers, presence -------------------------------------------------------------------------------

    [Theory]
    [InlineData("""{"use_original_dst":true,"traffic_direction":"OUTBOUND"}""")]
    [InlineData("""{"useOriginalDst":true,"trafficDirection":"OUTBOUND"}""")]
    [InlineData("""{"use_original_dst":"true","traffic_direction":2}""")]
    [InlineData("""{"use\u005foriginal_dst":true,"traffic_direction":"OUT\u0042OUND"}""")]
    public void BothSpellings_EnumsByNameOrNumber_AreTheSameMessage(string json)
    {
        Envoy.Config.Listener.V3.Listener listener = Envoy.Config.Listener.V3.Listener.Parser.ParseFrom(WireHarness.Read(json, Listener));
        Assert.True(listener.UseOriginalDst);
        Assert.Equal(Envoy.Config.Core.V3.TrafficDirection.Outbound, listener.TrafficDirection);
        Assert.Equal("""{"use_original_dst":true,"traffic_direction":"OUTBOUND"}""", WireHarness.RoundTrip(json, Listener));
    }

    [Fact]
    public void ZeroScalar_IsWrittenOnlyWithPresence()
    {
        const string SocketAddress = "envoy.config.core.v3.SocketAddress";
        Assert.Equal("""{"port_value":0}""", WireHarness.RoundTrip("""{"protocol":"TCP","address":"","port_value":0}""", SocketAddress));
        Assert.Equal("""{"bind_to_port":false}""", WireHarness.RoundTrip("""{"bind_to_port":false,"name":""}""", Listener));
    }

    [Fact]
    public void Null_IsAbsent() => Assert.Equal("{}", WireHarness.RoundTrip("""{"name":null,"filter_chains":null,"metadata":null}""", Listener));

    [Theory]
    [InlineData("\"18446744073709551615\"")]
    [InlineData("18446744073709551615")]
    public void UInt64_IsTextOrNumberAndWrittenAsText(string value) =>
        Assert.Equal(
            """{"minimum_ring_size":"18446744073709551615"}""",
            WireHarness.RoundTrip($$"""{"minimum_ring_size":{{value}}}""", "envoy.config.cluster.v3.Cluster.RingHashLbConfig"));

    [Theory]
    [InlineData("1.0")]
    [InlineData("1e0")]
    [InlineData("\"1\"")]
    public void WholeNumbers_MayBeSpelledOtherwise(string value) =>
        Assert.Equal("""{"port_value":1}""", WireHarness.RoundTrip($$"""{"port_value":{{value}}}""", "envoy.config.core.v3.SocketAddress"));

    [Theory]
    [InlineData("4294967296", "out of range")]
    [InlineData("-1", "out of range")]
    [InlineData("1.5", "whole number")]
    [InlineData("true", "whole number")]
    [InlineData("\"x\"", "whole number")]
    [InlineData("{}", "whole number")]
    [InlineData("[1]", "whole number")]
    public void Number_ThatDoesNotFit_IsReported(string value, string reason)
    {
        WireProblem problem = WireHarness.OnlyProblem($$"""{"port_value":{{value}},"address":"a"}""", "envoy.config.core.v3.SocketAddress");
        Assert.Equal("port_value", problem.Path);
        Assert.Contains(reason, problem.Reason, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("-9223372036854775808")]
    [InlineData("9223372036854775807")]
    [InlineData("-1")]
    public void Int64_KeepsItsEnds(string value)
    {
        string json = $$"""{"start":"{{value}}"}""";
        Assert.Equal(json, WireHarness.RoundTrip(json, "envoy.type.v3.Int64Range"));
    }

    [Theory]
    [InlineData("\"NaN\"")]
    [InlineData("\"Infinity\"")]
    [InlineData("\"-Infinity\"")]
    [InlineData("1.5")]
    [InlineData("1E+300")]
    public void Double_TakesTheSpecialOnes(string value)
    {
        string json = $$"""{"value":{{value}}}""";
        Assert.Equal(json, WireHarness.RoundTrip(json, "envoy.type.v3.Percent"));
    }

    [Theory]
    [InlineData("AAEC/+8=")]
    [InlineData("AAEC_-8")]
    [InlineData("AAEC_-8=")]
    public void Bytes_TakeBothAlphabetsWithOrWithoutPadding(string text) =>
        Assert.Equal("""{"inline_bytes":"AAEC/+8="}""", WireHarness.RoundTrip($$"""{"inline_bytes":"{{text}}"}""", "envoy.config.core.v3.DataSource"));

    [Theory]
    [InlineData("A")]
    [InlineData("A*AA")]
    [InlineData("====")]
    public void Bytes_ThatAreNotBase64_AreReported(string text) =>
        Assert.Equal("inline_bytes", WireHarness.OnlyProblem($$"""{"inline_bytes":"{{text}}"}""", "envoy.config.core.v3.DataSource").Path);

    [Fact]
    public void PackedList_IsReadPackedAndOneByOne()
    {
        byte[] wire = WireHarness.Read("""{"source_ports":[1,2,300]}""", "envoy.config.listener.v3.FilterChainMatch");
        Assert.Equal([0x3A, 4, 1, 2, 0xAC, 2], wire);
        Assert.Equal("""{"source_ports":[1,2,300]}""", WireHarness.Write(wire, "envoy.config.listener.v3.FilterChainMatch"));
        Assert.Equal("""{"source_ports":[1,2,300,4]}""", WireHarness.Write([0x38, 1, 0x3A, 3, 2, 0xAC, 2, 0x38, 4], "envoy.config.listener.v3.FilterChainMatch"));
        Assert.Empty(WireHarness.Read("""{"source_ports":[]}""", "envoy.config.listener.v3.FilterChainMatch"));
    }

    [Fact]
    public void Maps_OfMessagesAndTexts_GoThere_AndAbsentKeyOrValueIsZero()
    {
        const string Json = """{"filter_metadata":{"":{},"istio":{"config":"/x"}},"typed_filter_metadata":{"a":{"@type":"type.googleapis.com/google.protobuf.Empty"}}}""";
        Assert.Equal(Json, WireHarness.RoundTrip(Json, Metadata));
        // An entry without key and value.
        Assert.Equal("""{"filter_metadata":{"":{}}}""", WireHarness.Write([0x0A, 0], Metadata));
    }

    // ---- well-known types ---------------------------------------------------------------------------------------

    [Theory]
    [InlineData("0s", "0s")]
    [InlineData("0.100s", "0.100s")]
    [InlineData("1.5s", "1.500s")]
    [InlineData("-0.000001s", "-0.000001s")]
    [InlineData("-1.5s", "-1.500s")]
    [InlineData("3600.000000001s", "3600.000000001s")]
    public void Duration_IsTextInSeconds(string text, string written)
    {
        byte[] wire = WireHarness.Read($$"""{"connect_timeout":"{{text}}"}""", Cluster);
        Assert.Equal($$"""{"connect_timeout":"{{written}}"}""", WireHarness.Write(wire, Cluster));
        Assert.Equal(Duration.Parser.ParseFrom(Envoy.Config.Cluster.V3.Cluster.Parser.ParseFrom(wire).ConnectTimeout.ToByteArray()), Envoy.Config.Cluster.V3.Cluster.Parser.ParseFrom(wire).ConnectTimeout);
    }

    [Theory]
    [InlineData("\"1\"")]
    [InlineData("\"s\"")]
    [InlineData("\"1.s\"")]
    [InlineData("\"1m\"")]
    [InlineData("\"--1s\"")]
    [InlineData("\"0.1234567890s\"")]
    [InlineData("\"999999999999s\"")]
    [InlineData("1")]
    public void Duration_Otherwise_IsReported(string value) =>
        Assert.Equal("connect_timeout", WireHarness.OnlyProblem($$"""{"connect_timeout":{{value}}}""", Cluster).Path);

    [Theory]
    [InlineData("2020-02-11T01:52:11.000Z", "2020-02-11T01:52:11Z")]
    [InlineData("2020-02-11T01:52:11.123456Z", "2020-02-11T01:52:11.123456Z")]
    [InlineData("2020-02-11T03:52:11+02:00", "2020-02-11T01:52:11Z")]
    [InlineData("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z")]
    [InlineData("9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999999999Z")]
    [InlineData("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59.500Z")]
    public void Timestamp_IsRfc3339(string text, string written) =>
        Assert.Equal($$"""{"last_updated":"{{written}}"}""", WireHarness.RoundTrip($$"""{"last_updated":"{{text}}"}""", "envoy.admin.v3.ClustersConfigDump.StaticCluster"));

    [Theory]
    [InlineData("2020-02-30T01:52:11Z")]
    [InlineData("2020-02-11 01:52:11Z")]
    [InlineData("2020-02-11T01:52:11")]
    [InlineData("2020-02-11T25:52:11Z")]
    public void Timestamp_Otherwise_IsReported(string text) =>
        Assert.Equal("last_updated", WireHarness.OnlyProblem($$"""{"last_updated":"{{text}}"}""", "envoy.admin.v3.ClustersConfigDump.StaticCluster").Path);

    [Fact]
    public void Struct_HoldsAnyJson_AndParsesAsGooglesOwn()
    {
        const string Json = """{"filter_metadata":{"x":{"a":null,"b":1.5,"c":"t\"\n","d":[true,{},[]],"e":{"f":-0.5}}}}""";
        byte[] wire = WireHarness.Read(Json, Metadata);
        Assert.Equal(Json, WireHarness.Write(wire, Metadata));
        Struct parsed = Envoy.Config.Core.V3.Metadata.Parser.ParseFrom(wire).FilterMetadata["x"];
        Assert.Equal(-0.5, parsed.Fields["e"].StructValue.Fields["f"].NumberValue);
        Assert.Equal(Value.KindOneofCase.NullValue, parsed.Fields["a"].KindCase);
    }

    [Fact]
    public void FieldMask_IsCamelCaseWithCommas()
    {
        byte[] wire = WireHarness.Read("\"a.bCd,e\"", "google.protobuf.FieldMask");
        Assert.Equal(["a.b_cd", "e"], FieldMask.Parser.ParseFrom(wire).Paths);
        Assert.Equal("\"a.bCd,e\"", WireHarness.Write(wire, "google.protobuf.FieldMask"));
    }

    // ---- Any ------------------------------------------------------------------------------------------------------

    [Fact]
    public void Any_TypeMayStandAnywhere()
    {
        const string First = """{"name":"t","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy","stat_prefix":"s","cluster":"c"}}""";
        const string Last = """{"name":"t","typed_config":{"stat_prefix":"s","cluster":"c","@type":"type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"}}""";
        Assert.Equal(First, WireHarness.RoundTrip(First, Filter));
        Assert.Equal(First, WireHarness.RoundTrip(Last, Filter));
    }

    [Theory]
    [InlineData("""{"@type":"type.googleapis.com/google.protobuf.Duration","value":"1.500s"}""")]
    [InlineData("""{"@type":"type.googleapis.com/google.protobuf.StringValue","value":"x"}""")]
    [InlineData("""{"@type":"type.googleapis.com/google.protobuf.BoolValue","value":false}""")]
    [InlineData("""{"@type":"type.googleapis.com/google.protobuf.Struct","value":{"a":[1]}}""")]
    [InlineData("""{"@type":"type.googleapis.com/google.protobuf.Any","value":{"@type":"type.googleapis.com/google.protobuf.Int64Value","value":"7"}}""")]
    [InlineData("""{"@type":"type.googleapis.com/google.protobuf.Empty"}""")]
    public void Any_OfWellKnownTypes_CarriesValue(string any)
    {
        string json = $$"""{"typed_config":{{any}}}""";
        Assert.Equal(json, WireHarness.RoundTrip(json, Filter));
    }

    [Fact]
    public void Any_InAny_NamesItsTypesInThePath()
    {
        WireProblem problem = WireHarness.OnlyProblem(
            """
            {"filter_chains":[{"filters":[{"name":"h",
             "typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
              "http_filters":[{},{"name":"r","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router","no_such":{"a":[1]}}}]}}]}]}
            """, Listener);
        Assert.Equal("filter_chains[0].filters[0].typed_config.<HttpConnectionManager>.http_filters[1].typed_config.<Router>.no_such", problem.Path);
        Assert.Equal(WireProblemKind.Unknown, problem.Kind);
        Assert.Equal((3, 127), (problem.Line, problem.Column));
    }

    [Theory]
    [InlineData("""{"@type":"type.googleapis.com/envoy.Nothing","a":{}}""", "unknown type envoy.Nothing")]
    [InlineData("""{"a":1}""", "\"@type\" is missing")]
    [InlineData("""{"@type":5}""", "\"@type\" must be text")]
    [InlineData("""{"@type":"envoy.extensions.filters.http.router.v3.Router"}""", "must be a URL")]
    [InlineData("""[]""", "expected an object")]
    public void Any_ThatIsNone_IsReported(string any, string reason)
    {
        WireProblem problem = WireHarness.OnlyProblem($$"""{"name":"x","typed_config":{{any}}}""", Filter);
        Assert.Equal("typed_config", problem.Path);
        Assert.Contains(reason, problem.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void OpaqueType_IsKeptAsTypedStruct()
    {
        byte[] wire = WireHarness.Read("""{"name":"mixer","typed_config":{"@type":"type.googleapis.com/istio.mixer.v1.config.client.HttpClientConfig","transport":{"a":[1]}}}""", Filter);
        Assert.Equal(
            """{"name":"mixer","typed_config":{"@type":"type.googleapis.com/xds.type.v3.TypedStruct","type_url":"type.googleapis.com/istio.mixer.v1.config.client.HttpClientConfig","value":{"transport":{"a":[1]}}}}""",
            WireHarness.Write(wire, Filter));
    }

    // ---- what is refused --------------------------------------------------------------------------------------------

    [Theory]
    [InlineData("""{"name":"a","name":"b"}""", "name")]
    [InlineData("""{"stat_prefix":"a","statPrefix":"b"}""", "stat_prefix")]
    [InlineData("""{"name":null,"name":"b"}""", "name")]
    public void DuplicateKey_IsAnError(string json, string path)
    {
        WireProblem problem = WireHarness.OnlyProblem(json, Listener);
        Assert.Equal(path, problem.Path);
        Assert.Contains("twice", problem.Reason, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(3)]
    [InlineData(30)]
    public void DuplicateMapKey_IsAnError(int keys)
    {
        string json = "{\"filter_metadata\":{" + string.Join(",", Enumerable.Range(0, keys).Select(i => $"\"k{i}\":{{}}")) + ",\"k1\":{}}}";
        WireProblem problem = WireHarness.OnlyProblem(json, Metadata);
        Assert.Equal("filter_metadata[\"k1\"]", problem.Path);
    }

    [Fact]
    public void OneofSetTwice_IsAnError()
    {
        WireProblem problem = WireHarness.OnlyProblem("""{"prefix":"/","path":"/x"}""", "envoy.config.route.v3.RouteMatch");
        Assert.Equal("path", problem.Path);
        Assert.Contains("oneof", problem.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void EveryProblem_IsCollected()
    {
        WireHarness.TryRead("""{"nam":1,"filter_chains":[{"x":1},{"filters":3}],"traffic_direction":"UP","address":[]}""", Listener, out List<WireProblem> problems);
        Assert.Equal(["nam", "filter_chains[0].x", "filter_chains[1].filters", "traffic_direction", "address"], problems.Select(problem => problem.Path));
        Assert.Contains("UNSPECIFIED, INBOUND, OUTBOUND", problems[3].Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void ManyProblems_AreBounded()
    {
        string json = "{" + string.Join(",", Enumerable.Range(0, 5000).Select(i => $"\"x{i}\":1")) + "}";
        WireHarness.TryRead(json, Listener, out List<WireProblem> problems);
        Assert.Equal(200, problems.Count);
    }

    [Theory]
    [InlineData("")]
    [InlineData("{")]
    [InlineData("{\"name\":\"a")]
    [InlineData("{\"name\":\"a\"")]
    public void TruncatedJson_SaysSo(string json) =>
        Assert.Contains("truncated", WireHarness.OnlyProblem(json, Listener).Reason, StringComparison.Ordinal);

    [Theory]
    [InlineData("{\"name\":\"a\"}}")]
    [InlineData("{\"name\":\"a\",}")]
    [InlineData("{name:1}")]
    [InlineData("{} {}")]
    [InlineData("// x\n{}")]
    [InlineData("{\"name\":\"\\ud800\"}")]
    public void BrokenJson_IsOneProblem(string json) =>
        Assert.Equal(WireProblemKind.Invalid, WireHarness.OnlyProblem(json, Listener).Kind);

    [Fact]
    public void InvalidUtf8_IsReported()
    {
        byte[] document = [.. "{\"name\":\""u8, 0xC3, 0x28, .. "\"}"u8];
        var problems = new WireProblems();
        Assert.False(Transcoder.TryReadJson(document, SchemaTable.Find(Listener)!, problems, new WireWriter()));
        Assert.Equal("name", Assert.Single(problems.List).Path);
    }

    [Theory]
    [InlineData(20, true)]
    [InlineData(200, false)]
    [InlineData(400, false)]
    public void Depth_IsBounded_AndWhatPassesParses(int levels, bool passes)
    {
        string json = "{\"filter_metadata\":{\"x\":" + string.Concat(Enumerable.Repeat("{\"a\":", levels)) + "1" + new string('}', levels) + "}}";
        byte[]? wire = WireHarness.TryRead(json, Metadata, out List<WireProblem> problems);
        Assert.Equal(passes, wire is not null);
        if (passes)
            Assert.NotNull(Envoy.Config.Core.V3.Metadata.Parser.ParseFrom(wire));
        else
            Assert.Contains("nested deeper than 100", problems[0].Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void DeepestThatPasses_ParsesWithTheGeneratedClasses()
    {
        byte[]? last = null;
        for (int levels = 1; levels < 120; levels++)
        {
            string json = "{\"filter_metadata\":{\"x\":" + string.Concat(Enumerable.Repeat("{\"a\":", levels)) + "1" + new string('}', levels) + "}}";
            if (WireHarness.TryRead(json, Metadata, out _) is not { } wire)
                break;
            last = wire;
        }
        Assert.NotNull(Envoy.Config.Core.V3.Metadata.Parser.ParseFrom(last));
    }

    // ---- wire to JSON -------------------------------------------------------------------------------------------------

    [Fact]
    public void ScatteredFields_AreGroupedInTheOrderOfTheirNumbers()
    {
        // name = 1, filter_chains = 3, twice each, mixed; the last name counts.
        byte[] wire = [0x1A, 0, 0x0A, 1, (byte)'a', 0x1A, 3, 0x3A, 1, (byte)'n', 0x0A, 1, (byte)'b'];
        Assert.Equal("""{"name":"b","filter_chains":[{},{"name":"n"}]}""", WireHarness.Write(wire, Listener));
    }

    [Fact]
    public void MessageGivenTwice_IsMerged()
    {
        var first = new Envoy.Config.Listener.V3.Listener { Address = new() { SocketAddress = new() { Address = "1.2.3.4" } } };
        var second = new Envoy.Config.Listener.V3.Listener { Address = new() { SocketAddress = new() { PortValue = 80 } } };
        Assert.Equal(
            """{"address":{"socket_address":{"address":"1.2.3.4","port_value":80}}}""",
            WireHarness.Write([.. first.ToByteArray(), .. second.ToByteArray()], Listener));
    }

    [Fact]
    public void OneofGivenTwice_TheLastCounts()
    {
        var first = new Envoy.Config.Route.V3.RouteMatch { Prefix = "/a" };
        var second = new Envoy.Config.Route.V3.RouteMatch { Path = "/b" };
        Assert.Equal("""{"path":"/b"}""", WireHarness.Write([.. second.ToByteArray(), .. first.ToByteArray(), .. second.ToByteArray()], "envoy.config.route.v3.RouteMatch"));
    }

    [Fact]
    public void UnknownAnyType_IsShownAsBase64() =>
        Assert.Equal(
            """{"typed_config":{"@type":"type.googleapis.com/x.Y","value":"AQI="}}""",
            WireHarness.Write(new Envoy.Config.Listener.V3.Filter { TypedConfig = new() { TypeUrl = "type.googleapis.com/x.Y", Value = ByteString.CopyFrom(1, 2) } }.ToByteArray(), Filter));

    [Fact]
    public void Secrets_AreRedactedWithAllThatIsInThem()
    {
        const string Json = """{"name":"default","tls_certificate":{"certificate_chain":{"inline_string":"PEM"},"private_key":{"inline_string":"KEY"},"private_key_provider":{"provider_name":"p","typed_config":{"@type":"type.googleapis.com/google.protobuf.StringValue","value":"S"}}}}""";
        byte[] wire = WireHarness.Read(Json, Secret);
        Assert.Equal(Json, WireHarness.Write(wire, Secret));
        string redacted = WireHarness.Write(wire, Secret, redact: true);
        Assert.Equal("""{"name":"default","tls_certificate":{"certificate_chain":{"inline_string":"PEM"},"private_key":{"inline_string":"[redacted]"},"private_key_provider":{"provider_name":"p","typed_config":{"@type":"type.googleapis.com/google.protobuf.StringValue","value":"[redacted]"}}}}""", redacted);
        string bytes = WireHarness.Write(WireHarness.Read("""{"tls_certificate":{"private_key":{"inline_bytes":"S0VZ"}}}""", Secret), Secret, redact: true);
        // As Envoy: the bytes of "[redacted]".
        Assert.Equal("""{"tls_certificate":{"private_key":{"inline_bytes":"W3JlZGFjdGVkXQ=="}}}""", bytes);
    }

    // Not marked in Envoy's own declarations, and tokens all the same.
    [Theory]
    [InlineData("""{"access_token":"T"}""")]
    [InlineData("""{"google_refresh_token":"T"}""")]
    [InlineData("""{"google_iam":{"authorization_token":"T","authority_selector":"s"}}""")]
    [InlineData("""{"service_account_jwt_access":{"json_key":"T"}}""")]
    public void TokensOfCalls_AreRedacted(string json)
    {
        const string type = "envoy.config.core.v3.GrpcService.GoogleGrpc.CallCredentials";
        byte[] wire = WireHarness.Read(json, type);
        Assert.Equal(json, WireHarness.Write(wire, type));
        Assert.Equal(json.Replace("\"T\"", "\"[redacted]\""), WireHarness.Write(wire, type, redact: true));
        Assert.True(SensitiveFields.Any(wire, SchemaTable.Find(type)!));
    }

    [Fact]
    public void BrokenBytes_EndInFalseAndBalancedJson()
    {
        byte[] wire = WireHarness.Read("""{"name":"l","filter_chains":[{"name":"a"}]}""", Listener);
        for (int length = 1; length < wire.Length; length++)
        {
            WireHarness.TryWrite(wire.AsSpan(0, length), Listener, false, out string json);
            using System.Text.Json.JsonDocument parsed = System.Text.Json.JsonDocument.Parse(json);
        }
        Assert.False(WireHarness.TryWrite(wire.AsSpan(0, wire.Length - 1), Listener, false, out _));
        Assert.False(WireHarness.TryWrite([0x0B], Listener, false, out _));
    }

    // ---- 2020 -----------------------------------------------------------------------------------------------------------

    [Theory]
    [InlineData(Cluster, """{"name":"c","hosts":[{"socket_address":{"address":"1.2.3.4","port_value":80}}]}""",
        """{"name":"c","load_assignment":{"cluster_name":"c","endpoints":[{"lb_endpoints":[{"endpoint":{"address":{"socket_address":{"address":"1.2.3.4","port_value":80}}}}]}]}}""")]
    [InlineData(Cluster, """{"tls_context":{"sni":"s"}}""",
        """{"transport_socket":{"name":"envoy.transport_sockets.tls","typed_config":{"@type":"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext","sni":"s"}}}""")]
    [InlineData(Cluster, """{"lb_policy":"ORIGINAL_DST_LB"}""", """{"lb_policy":"CLUSTER_PROVIDED"}""")]
    [InlineData(Cluster, """{"drain_connections_on_host_removal":true}""", """{"ignore_health_on_host_removal":true}""")]
    [InlineData(Listener, """{"deprecated_v1":{"bind_to_port":false},"use_original_dst":true}""", """{"use_original_dst":true,"bind_to_port":false}""")]
    [InlineData(Listener, """{"deprecatedV1":{"bindToPort":true}}""", """{"bind_to_port":true}""")]
    [InlineData(Listener, """{"listener_filters":[{"name":"envoy.listener.tls_inspector","config":{}}]}""",
        """{"listener_filters":[{"name":"envoy.filters.listener.tls_inspector","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"}}]}""")]
    [InlineData(Listener, """{"listener_filters":[{"name":"envoy.listener.original_dst"}]}""",
        """{"listener_filters":[{"name":"envoy.filters.listener.original_dst","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst"}}]}""")]
    [InlineData(Filter, """{"config":{"stat_prefix":"s","cluster":"c"},"name":"envoy.tcp_proxy"}""",
        """{"name":"envoy.tcp_proxy","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy","stat_prefix":"s","cluster":"c"}}""")]
    [InlineData(Filter, """{"name":"mixer"}""", """{"name":"mixer"}""")]
    [InlineData(Filter, """{"name":"mixer","config":{"a":1}}""",
        """{"name":"mixer","typed_config":{"@type":"type.googleapis.com/google.protobuf.Struct","value":{"a":1}}}""")]
    [InlineData("envoy.config.listener.v3.FilterChain", """{"tls_context":{"require_client_certificate":true}}""",
        """{"transport_socket":{"name":"envoy.transport_sockets.tls","typed_config":{"@type":"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext","require_client_certificate":true}}}""")]
    [InlineData("envoy.config.route.v3.RouteMatch", """{"regex":"/a.*"}""", """{"safe_regex":{"google_re2":{},"regex":"/a.*"}}""")]
    [InlineData("envoy.config.route.v3.CorsPolicy", """{"allow_origin":["*","a"],"allow_origin_regex":["b.*"],"enabled":false}""",
        """{"filter_enabled":{"default_value":{}},"allow_origin_string_match":[{"exact":"*"},{"exact":"a"},{"safe_regex":{"google_re2":{},"regex":"b.*"}}]}""")]
    [InlineData("envoy.config.route.v3.HeaderMatcher", """{"name":"h","regex_match":"x"}""", """{"name":"h","safe_regex_match":{"google_re2":{},"regex":"x"}}""")]
    [InlineData("envoy.config.route.v3.QueryParameterMatcher", """{"name":"q","value":"x"}""", """{"name":"q","string_match":{"exact":"x"}}""")]
    [InlineData("envoy.config.route.v3.QueryParameterMatcher", """{"regex":true,"name":"q","value":"x"}""", """{"name":"q","string_match":{"safe_regex":{"google_re2":{},"regex":"x"}}}""")]
    [InlineData("envoy.config.route.v3.RouteAction", """{"host_rewrite":"h","request_mirror_policy":{"cluster":"m","runtime_key":"k"}}""",
        """{"host_rewrite_literal":"h","request_mirror_policies":[{"cluster":"m","runtime_fraction":{"default_value":{},"runtime_key":"k"}}]}""")]
    [InlineData("envoy.config.route.v3.Route", """{"per_filter_config":{"envoy.fault":{"abort":{"http_status":503}},"mixer":{"x":1}}}""",
        """{"typed_per_filter_config":{"envoy.filters.http.fault":{"@type":"type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault","abort":{"http_status":503}},"mixer":{"@type":"type.googleapis.com/google.protobuf.Struct","value":{"x":1}}}}""")]
    [InlineData("envoy.config.route.v3.VirtualCluster", """{"name":"v","pattern":"/x","method":"GET"}""",
        """{"name":"v","headers":[{"name":":path","string_match":{"safe_regex":{"google_re2":{},"regex":"/x"}}},{"name":":method","string_match":{"exact":"GET"}}]}""")]
    [InlineData("envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", """{"common_http_protocol_options":{"max_headers_count":3},"idle_timeout":"5s"}""",
        """{"common_http_protocol_options":{"idle_timeout":"5s","max_headers_count":3}}""")]
    [InlineData("envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", """{"http_filters":[{"name":"envoy.cors"},{"name":"envoy.router"}]}""",
        """{"http_filters":[{"name":"envoy.filters.http.cors","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors"}},{"name":"envoy.filters.http.router","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}""")]
    [InlineData("envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.Tracing", """{"request_headers_for_tags":["x-a"]}""",
        """{"custom_tags":[{"tag":"x-a","request_header":{"name":"x-a"}}]}""")]
    [InlineData("envoy.config.core.v3.HealthCheck.HttpHealthCheck", """{"path":"/h","receive":{"text":"00"},"service_name":"s","use_http2":true}""",
        """{"path":"/h","receive":[{"text":"00"}],"codec_client_type":"HTTP2","service_name_matcher":{"prefix":"s"}}""")]
    [InlineData("envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext", """{"verify_subject_alt_name":["spiffe://a"]}""",
        """{"match_subject_alt_names":[{"exact":"spiffe://a"}]}""")]
    public void FieldsOf2020_BecomeTodays(string type, string old, string today) =>
        Assert.Equal(today, WireHarness.Write(WireHarness.Read(old, type, legacy: true), type));

    [Fact]
    public void FieldsOf2020_AreUnknownInV3()
    {
        WireProblem problem = WireHarness.OnlyProblem("""{"regex":"x"}""", "envoy.config.route.v3.RouteMatch");
        Assert.Equal(WireProblemKind.Unknown, problem.Kind);
    }

    [Fact]
    public void FieldsOf2020_WithoutEffect_AreReported()
    {
        WireHarness.TryRead("""{"operation_name":"EGRESS"}""", "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.Tracing", out List<WireProblem> problems, legacy: true);
        WireProblem problem = Assert.Single(problems);
        Assert.Equal(WireProblemKind.Ignored, problem.Kind);
        Assert.Equal("operation_name", problem.Path);
    }

    [Fact]
    public void AnyOf2020_IsUpgradedInsideOfV3()
    {
        Assert.Equal(
            """{"name":"t","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy","stat_prefix":"s"}}""",
            WireHarness.RoundTrip("""{"name":"t","typed_config":{"@type":"type.googleapis.com/envoy.config.filter.network.tcp_proxy.v2.TcpProxy","stat_prefix":"s"}}""", Filter));
    }

    [Fact]
    public void RouteTable_ReadsAsTheGeneratedClassesWriteIt()
    {
        var expected = new Envoy.Config.Route.V3.RouteConfiguration { Name = "8888", ValidateClusters = false };
        expected.VirtualHosts.Add(new Envoy.Config.Route.V3.VirtualHost { Name = "v", Domains = { "*" }, Routes = { new Envoy.Config.Route.V3.Route { Match = new() { Prefix = "/" }, Route_ = new() { Cluster = "c", Timeout = Duration.FromTimeSpan(TimeSpan.Zero) } } } });
        string json = WireHarness.Write(expected.ToByteArray(), Route);
        Assert.Equal("""{"name":"8888","virtual_hosts":[{"name":"v","domains":["*"],"routes":[{"match":{"prefix":"/"},"route":{"cluster":"c","timeout":"0s"}}]}],"validate_clusters":false}""", json);
        Assert.Equal(expected, Envoy.Config.Route.V3.RouteConfiguration.Parser.ParseFrom(WireHarness.Read(json, Route)));
        Assert.Equal(Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(json)), json);
    }
}
