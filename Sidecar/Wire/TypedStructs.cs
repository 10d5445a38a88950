using System;
using System.Buffers;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace Sidecar.Wire;

/// <summary>
/// TypedStruct (xds.type.v3, udpa.type.v1): a type's name and its configuration as free-form JSON, for senders that do not have the type.
/// </summary>
internal static class TypedStructs
{
    /// <summary>Whether the type is one of the two.</summary>
    public static bool IsTypedStruct(MessageSchema type) =>
        type.FullName is "xds.type.v3.TypedStruct" or "udpa.type.v1.TypedStruct";

    /// <summary>
    /// Field 1 and field 2 of a message, both length-delimited: the type URL and value of an Any or a TypedStruct. False when broken.
    /// </summary>
    public static bool TrySplit(ReadOnlySpan<byte> wire, out ReadOnlySpan<byte> typeUrl, out ReadOnlySpan<byte> value)
    {
        typeUrl = value = default;
        var reader = new WireReader(wire);
        while (!reader.AtEnd)
        {
            if (!reader.TryTag(out uint number, out int encoding))
                return false;
            if (encoding != 2)
            {
                if (!reader.TrySkip(encoding))
                    return false;
                continue;
            }
            if (!reader.TryBytes(out ReadOnlySpan<byte> bytes))
                return false;
            if (number == 1)
                typeUrl = bytes;
            else if (number == 2)
                value = bytes;
        }
        return true;
    }

    /// <summary>
    /// The wire bytes of what a TypedStruct stands for. False, with the problems, when its type is unknown or its words do not fit.
    /// </summary>
    /// <param name="typedStruct">The TypedStruct, without the Any around it.</param>
    /// <param name="path">Where it stands, for the problems.</param>
    /// <param name="problems">Where problems go.</param>
    /// <param name="output">Where the bytes go; appended.</param>
    /// <param name="type">The type it stands for; null when unknown.</param>
    public static bool TryUnwrap(ReadOnlySpan<byte> typedStruct, string path, WireProblems problems, WireWriter output, out MessageSchema? type)
    {
        type = null;
        if (!TrySplit(typedStruct, out ReadOnlySpan<byte> url, out ReadOnlySpan<byte> value))
        {
            problems.Add(new WireProblem(WireProblemKind.Invalid, path, "the protobuf bytes of the TypedStruct are broken", 0, 0));
            return false;
        }
        type = SchemaTable.FindType(url, out bool legacy);
        if (type is null || type.Support == Support.Opaque)
        {
            problems.Add(new WireProblem(WireProblemKind.Unknown, path, "unknown type " + System.Text.Encoding.UTF8.GetString(url) + " in a TypedStruct", 0, 0));
            return false;
        }
        var json = new ArrayBufferWriter<byte>(value.Length * 2 + 16);
        bool whole;
        using (var writer = new Utf8JsonWriter(json, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping, SkipValidation = true }))
            whole = Transcoder.TryWriteJson(value, SchemaTable.Find("google.protobuf.Struct"u8)!, writer, redact: false);
        if (!whole)
        {
            problems.Add(new WireProblem(WireProblemKind.Invalid, path, "the protobuf bytes of the TypedStruct are broken", 0, 0));
            return false;
        }
        string inside = (path.Length == 0 ? "<" : path + ".<") + type.ShortName + ">";
        return Transcoder.TryReadJson(json.WrittenSpan, 0, json.WrittenCount, type, legacy, inside, problems, output);
    }
}
