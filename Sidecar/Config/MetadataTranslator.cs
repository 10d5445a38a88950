using System.Collections.Generic;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Sidecar.Telemetry;
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
