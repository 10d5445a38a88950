using System;
using System.Collections.Generic;
using System.Text.Unicode;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Sidecar.Telemetry;
using Sidecar.Wire;
using WireCore = Envoy.Config.Core.V3;

namespace Sidecar.Config;

/// <summary>envoy.config.core.v3.Metadata → <see cref="Metadata"/>. Only <c>filter_metadata</c> is kept; nothing here reads the typed form.</summary>
internal static class MetadataTranslator
{
    internal static Metadata Translate(WireCore.Metadata? wire)
    {
        if (wire is null || wire.FilterMetadata.Count == 0)
            return Metadata.Empty;
        byte[] bytes = wire.ToByteArray();
        return new Metadata(() => Read(WireCore.Metadata.Parser.ParseFrom(bytes)));
    }

    /// <summary>
    /// The same from the message's bytes, which are looked over but not parsed: a message for each of their values is much for what is hardly ever read. False
    /// where they are not as they are written by everybody; the parser then says what is wrong, if anything is.
    /// </summary>
    internal static bool TryTranslate(ReadOnlySpan<byte> wire, out Metadata? metadata)
    {
        metadata = Metadata.Empty;
        if (wire.Length == 0)
            return true;
        if (!AreEntries(wire, Kind.Struct, depth: 0))
            return false;
        byte[] bytes = wire.ToArray();
        metadata = new Metadata(() => Read(WireCore.Metadata.Parser.ParseFrom(bytes)));
        return true;
    }

    // What stands behind the keys of a map.
    private enum Kind : byte { Struct, Value }

    // Far below what the parser takes.
    private const int DepthMax = 16;

    // filter_metadata = 1 and Struct.fields = 1: entries of { key = 1, value = 2 }.
    private static bool AreEntries(ReadOnlySpan<byte> wire, Kind kind, int depth)
    {
        var reader = new WireReader(wire);
        while (!reader.AtEnd)
        {
            if (!reader.TryTag(out uint number, out int encoding) || number != 1 || encoding != 2 || !reader.TryBytes(out var entry))
                return false;
            var inside = new WireReader(entry);
            if (!inside.TryTag(out number, out encoding) || number != 1 || encoding != 2 || !inside.TryBytes(out var key) || !Utf8.IsValid(key)
                || !inside.TryTag(out number, out encoding) || number != 2 || encoding != 2 || !inside.TryBytes(out var value) || !inside.AtEnd
                || !(kind == Kind.Struct ? AreEntries(value, Kind.Value, depth + 1) : IsValue(value, depth + 1)))
            {
                return false;
            }
        }
        return true;
    }

    // google.protobuf.Value: null_value = 1, number_value = 2, string_value = 3, bool_value = 4, struct_value = 5, list_value = 6 { values = 1 }; one of them.
    private static bool IsValue(ReadOnlySpan<byte> wire, int depth)
    {
        var reader = new WireReader(wire);
        if (depth > DepthMax || !reader.TryTag(out uint number, out int encoding))
            return false;
        if (encoding != 2)
            return (number, encoding) is (1, 0) or (2, 1) or (4, 0) && reader.TrySkip(encoding) && reader.AtEnd;
        if (!reader.TryBytes(out var value) || !reader.AtEnd)
            return false;
        switch (number)
        {
            case 3:
                return Utf8.IsValid(value);
            case 5:
                return AreEntries(value, Kind.Value, depth + 1);
            case 6:
                reader = new WireReader(value);
                while (!reader.AtEnd)
                {
                    if (!reader.TryTag(out number, out encoding) || number != 1 || encoding != 2 || !reader.TryBytes(out var item) || !IsValue(item, depth + 1))
                        return false;
                }
                return true;
            default:
                return false;
        }
    }

    private static Dictionary<string, MetadataValue> Read(WireCore.Metadata wire)
    {
        var filters = new Dictionary<string, MetadataValue>(wire.FilterMetadata.Count);
        foreach (var (name, fields) in wire.FilterMetadata)
            filters[name] = Fields(fields);
        return filters;
    }

    /// <summary>A struct as a value of kind Fields.</summary>
    internal static MetadataValue Fields(Struct wire)
    {
        var fields = new Dictionary<string, MetadataValue>(wire.Fields.Count);
        foreach (var (name, value) in wire.Fields)
            fields[name] = Of(value);
        return MetadataValue.Of(fields);
    }

    private static MetadataValue Of(Value wire)
    {
        switch (wire.KindCase)
        {
            case Value.KindOneofCase.NumberValue:
                return MetadataValue.Of(wire.NumberValue);
            case Value.KindOneofCase.StringValue:
                return MetadataValue.Of(wire.StringValue);
            case Value.KindOneofCase.BoolValue:
                return MetadataValue.Of(wire.BoolValue);
            case Value.KindOneofCase.StructValue:
                return Fields(wire.StructValue);
            case Value.KindOneofCase.ListValue:
                var items = new MetadataValue[wire.ListValue.Values.Count];
                for (int i = 0; i < items.Length; i++)
                    items[i] = Of(wire.ListValue.Values[i]);
                return MetadataValue.Of(items);
            default:
                return MetadataValue.Null;
        }
    }
}
