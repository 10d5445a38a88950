using System;
using System.Collections.Generic;
using System.Linq;
using Sidecar.Wire;
using Xunit;

namespace Sidecar.Tests.Wire;

public sealed class UnsupportedFieldsTests
{
    private static List<WireProblem> Walk(ReadOnlySpan<byte> wire, string type, string path = "", bool whole = true)
    {
        var problems = new WireProblems();
        Assert.Equal(whole, UnsupportedFields.Walk(wire, SchemaTable.Find(type)!, path, problems));
        return [.. problems.List];
    }

    [Fact]
    public void UnsupportedField_IsNamedThroughAny()
    {
        byte[] wire = WireHarness.Read(
            """
            {"listeners":[{"name":"a"},{"filter_chains":[{"filters":[{"name":"h","typed_config":
             {"@type":"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager","http3_protocol_options":{}}}]}]}]}
            """, "envoy.config.bootstrap.v3.Bootstrap.StaticResources");
        WireProblem problem = Assert.Single(Walk(wire, "envoy.config.bootstrap.v3.Bootstrap.StaticResources", "static_resources"));
        Assert.Equal("static_resources.listeners[1].filter_chains[0].filters[0].typed_config.<HttpConnectionManager>.http3_protocol_options", problem.Path);
        Assert.Equal(WireProblemKind.Unsupported, problem.Kind);
    }

    [Fact]
    public void UnsupportedType_IsNamed()
    {
        byte[] wire = WireHarness.Read("""{"name":"c","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.compressor.v3.Compressor"}}""", "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter");
        WireProblem problem = Assert.Single(Walk(wire, "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter"));
        Assert.Equal("typed_config.<Compressor>", problem.Path);
        Assert.Equal(WireProblemKind.Unsupported, problem.Kind);
    }

    // Where reading JSON met nothing of the kind, nobody walks.
    [Fact]
    public void WhatTheWalkHasToName_ReadingMetBefore()
    {
        int named = 0;
        for (int i = 0; i < SchemaTable.Count; i++)
        {
            MessageSchema type = SchemaTable.Message(i);
            if (type.WellKnown != WellKnown.None || type.Support == Support.Opaque)
                continue;
            foreach (FieldSchema field in type.Fields)
            {
                var problems = new WireProblems();
                var output = new WireWriter();
                if (!Transcoder.TryReadJson(System.Text.Encoding.UTF8.GetBytes(Alone(field)), type, problems, output))
                    continue;
                bool met = problems.MetUnsupported;
                problems.Clear();
                UnsupportedFields.Walk(output.Written, type, "", problems);
                named += problems.List.Count > 0 ? 1 : 0;
                Assert.True(met || problems.List.Count == 0, $"{type.FullName}.{field}");
            }
        }
        Assert.True(named > 100, $"{named} named");
    }

    // A message with this field and no other, as far as a simple value will do.
    private static string Alone(FieldSchema field)
    {
        string value = field.Type switch
        {
            FieldType.String or FieldType.Bytes => "\"eA==\"",
            FieldType.Bool => "true",
            FieldType.Message when field.Message.WellKnown == WellKnown.Duration => "\"1s\"",
            FieldType.Message when field.Message.WellKnown == WellKnown.Wrapper => field.Message.Field(0).Type == FieldType.Bool ? "true" : "\"1\"",
            FieldType.Message when field.Message.WellKnown == WellKnown.Any => """{"@type":"type.googleapis.com/envoy.extensions.filters.http.compressor.v3.Compressor"}""",
            FieldType.Message => "{}",
            _ => "1",
        };
        return field.IsMap ? "{\"" + field + "\":{\"1\":" + value + "}}" : "{\"" + field + "\":" + (field.IsRepeated ? "[" + value + "]" : value) + "}";
    }

    [Fact]
    public void UnknownNumber_IsNamedByNumber()
    {
        // 2047, varint 1.
        WireProblem problem = Assert.Single(Walk([0xF8, 0x7F, 1], "envoy.config.listener.v3.Listener"));
        Assert.Equal("#2047", problem.Path);
        Assert.Equal(WireProblemKind.Unknown, problem.Kind);
    }

    [Fact]
    public void UnknownType_IsNamed()
    {
        byte[] wire = new WireBuilder().Text(1, "type.googleapis.com/a.B").ToArray();
        WireProblem problem = Assert.Single(Walk([0x22, (byte)wire.Length, .. wire], "envoy.config.listener.v3.Filter"));
        Assert.Equal("typed_config", problem.Path);
        Assert.Contains("a.B", problem.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void AcceptedField_TellsWhy()
    {
        byte[] wire = WireHarness.Read("""{"deprecated_v1":{"bind_to_port":false}}""", "envoy.config.listener.v3.Listener");
        WireProblem problem = Assert.Single(Walk(wire, "envoy.config.listener.v3.Listener"));
        Assert.Equal(WireProblemKind.Ignored, problem.Kind);
        Assert.Contains("bind_to_port", problem.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void TypedStruct_IsWalkedAsWhatItStandsFor()
    {
        const string Filter = "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter";
        byte[] wire = WireHarness.Read(
            """{"typed_config":{"@type":"type.googleapis.com/udpa.type.v1.TypedStruct","type_url":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router","value":{"dynamic_stats":false,"nope":1}}}""", Filter);
        WireProblem problem = Assert.Single(Walk(wire, Filter));
        Assert.Equal("typed_config.<TypedStruct>.<Router>.nope", problem.Path);
        wire = WireHarness.Read(
            """{"typed_config":{"@type":"type.googleapis.com/udpa.type.v1.TypedStruct","type_url":"type.googleapis.com/stats.PluginConfig","value":{}}}""", Filter);
        Assert.Equal("typed_config.<TypedStruct>.<PluginConfig>", Assert.Single(Walk(wire, Filter)).Path);
    }

    [Fact]
    public void BrokenBytes_AreInvalid()
    {
        byte[] wire = WireHarness.Read("""{"filter_chains":[{"name":"abc"}]}""", "envoy.config.listener.v3.Listener");
        Assert.Equal(WireProblemKind.Invalid, Walk(wire.AsSpan(0, wire.Length - 1), "envoy.config.listener.v3.Listener", whole: false).Single().Kind);
        // The name as a varint.
        Assert.Equal(WireProblemKind.Invalid, Walk([0x08, 1], "envoy.config.listener.v3.Listener").Single().Kind);
    }

    private sealed class WireBuilder
    {
        private readonly WireWriter _writer = new();

        public WireBuilder Text(int number, string text)
        {
            _writer.Field(number, System.Text.Encoding.UTF8.GetBytes(text));
            return this;
        }

        public byte[] ToArray() => _writer.Written.ToArray();
    }
}
