using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Text;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Sidecar.Config;
using Sidecar.Wire;

namespace Sidecar.Tests.Harness;

/// <summary>
/// Istio's dumps of 2019 as Go itself prints the structs of v2 messages, by name of the resource, made protobuf's JSON: the members of a oneof stand in a struct
/// of their own, enums and durations are numbers, wrappers are objects, and a Struct is a tree of kinds. What does not have exactly that shape throws.
/// </summary>
internal static partial class GoDump
{
    /// <param name="path">The file.</param>
    /// <param name="message">What it holds, as v3 names it: "envoy.config.cluster.v3.Cluster".</param>
    /// <param name="v2">The same as v2 names it: "envoy.api.v2.Cluster".</param>
    internal static IEnumerable<DiscoveredResource> Read(string path, string message, string v2)
    {
        // One file lost what stood in a map and kept that one's closing brace: without it the text is JSON.
        string text = LostElement().Replace(File.ReadAllText(path), "$1");
        var list = new JsonArray();
        foreach (var (name, resource) in JsonNode.Parse(text)!.AsObject())
        {
            var converted = Message(resource!.AsObject(), SchemaTable.Find(message)!);
            converted["@type"] = "type.googleapis.com/" + v2;
            if ((string?)(converted["name"] ?? converted["cluster_name"]) != name)
                throw new FormatException($"{path}: {name} has another name");
            list.Add(converted);
        }
        var set = ResourceReader.ReadDocument(Encoding.UTF8.GetBytes(new JsonObject { ["resources"] = list }.ToJsonString()), path);
        return set.HasErrors ? throw new FormatException(string.Join(Environment.NewLine, set.Problems)) : set.Resources;
    }

    [GeneratedRegex("""("fields": \{\n) {68}\}\n(?= {66}\}\n {64}\}\n {62}\}\n {60}\},)""")]
    private static partial Regex LostElement();

    private static JsonObject Message(JsonObject go, MessageSchema type)
    {
        var message = new JsonObject();
        foreach (var (key, value) in go)
        {
            // What is not set; Go prints it where the field is no pointer.
            if (value is null)
                continue;
            if (!char.IsUpper(key[0]))
            {
                message[key] = Field(key, value, type);
                continue;
            }
            var (member, held) = value.AsObject().Single();
            string name = SnakeCase().Replace(member, "_$0").ToLowerInvariant();
            message[name] = Field(name, held!, type);
        }
        return message;
    }

    private static JsonNode Field(string name, JsonNode value, MessageSchema type)
    {
        if (type.Find(Encoding.UTF8.GetBytes(name)) is { } field)
            return field.IsRepeated ? new JsonArray([.. value.AsArray().Select(element => Value(element!, field))]) : Value(value, field);
        // Fields of v2 only.
        return name switch
        {
            "config" => Struct(value.AsObject()),
            "per_filter_config" when value.AsObject().Count == 0 => new JsonObject(),
            _ => throw new FormatException($"{type.FullName} has no field {name}"),
        };
    }

    private static JsonNode Value(JsonNode value, FieldSchema field) => field.Type switch
    {
        FieldType.Message => field.Message.WellKnown switch
        {
            WellKnown.None => Message(value.AsObject(), field.Message),
            WellKnown.Duration => $"{value.GetValue<long>() / 1e9m:0.#########}s",
            WellKnown.Wrapper => value.AsObject()["value"]?.DeepClone() ?? (field.Message.FullName.EndsWith("BoolValue", StringComparison.Ordinal) ? false : 0),
            _ => throw new FormatException($"{field}: {field.Message.FullName}"),
        },
        // The one number that v3 gave up.
        FieldType.Enum when field.Enum.FullName == "envoy.config.cluster.v3.Cluster.LbPolicy" && value.GetValue<int>() == 4 => "ORIGINAL_DST_LB",
        FieldType.Enum => Encoding.UTF8.GetString(field.Enum.Name(value.GetValue<int>())),
        _ => value.DeepClone(),
    };

    // ---- google.protobuf.Struct ---------------------------------------------------------------------------------

    private static JsonObject Struct(JsonObject go) =>
        new((go["fields"]?.AsObject() ?? []).Select(field => KeyValuePair.Create(field.Key, Kind(field.Value!))));

    private static JsonNode? Kind(JsonNode go)
    {
        var (kind, value) = go["Kind"]!.AsObject().Single();
        return kind switch
        {
            "StructValue" => Struct(value!.AsObject()),
            "ListValue" => new JsonArray([.. value!["values"]!.AsArray().Select(element => Kind(element!))]),
            "StringValue" or "NumberValue" or "BoolValue" => value!.DeepClone(),
            _ => throw new FormatException(kind),
        };
    }

    [GeneratedRegex("(?<!^)[A-Z]")]
    private static partial Regex SnakeCase();
}
