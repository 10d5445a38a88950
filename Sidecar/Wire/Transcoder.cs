using System;
using System.Text.Json;

namespace Sidecar.Wire;

// How a message is added is told at the top of SchemaTable.cs: the transcoder knows only the table, no message by name,
// save the well-known types (their JSON is not an object of fields) and what V2Names lists.
//
//   JSON ──JsonToWire──► wire bytes ──Google.Protobuf's generated parsers──► translators
//                             │
//                             ├──WireToJson──► JSON, as Envoy's admin shows it
//                             └──UnsupportedFields──► paths of what has no effect

/// <summary>
/// JSON to protobuf wire bytes and back, by the schema table: protobuf's JSON mapping, with Envoy's habits. Pure functions; any thread.
/// </summary>
internal static class Transcoder
{
    /// <summary>How deep messages may nest on the wire: what the generated parsers take.</summary>
    public const int DepthMax = 100;

    /// <summary>
    /// Reads one JSON value as a message of this type. Names may be snake_case or camelCase. Every problem met is added, with its
    /// path below <paramref name="path"/> and its line; false when any of them is an error.
    /// </summary>
    /// <param name="document">The whole document: lines are counted in it.</param>
    /// <param name="start">Where in the document the value begins.</param>
    /// <param name="length">How long the value is, in bytes.</param>
    /// <param name="type">The v3 message to read.</param>
    /// <param name="legacy">Whether the object uses 2020's names; an Any inside decides by its own type URL.</param>
    /// <param name="path">Where the value stands, the start of every path; may be empty.</param>
    /// <param name="problems">Where problems go.</param>
    /// <param name="output">Where the bytes go; appended. What was appended is worthless when this returns false.</param>
    /// <param name="typed">Whether "@type" may be one of the properties; the caller has read it.</param>
    public static bool TryReadJson(
        ReadOnlySpan<byte> document, int start, int length, MessageSchema type, bool legacy, string path, WireProblems problems, WireWriter output,
        bool typed = false)
    {
        var reader = new JsonToWire(document, start, length, path, problems, output);
        return reader.TryRead(type, legacy, typed);
    }

    /// <summary>The same for a document that is one message, in v3 names.</summary>
    public static bool TryReadJson(ReadOnlySpan<byte> document, MessageSchema type, WireProblems problems, WireWriter output) =>
        TryReadJson(document, 0, document.Length, type, legacy: false, "", problems, output);

    /// <summary>
    /// Reads JSON of a type named by its URL: for tests and for values that carry their type. Null with the problems when it is not one.
    /// </summary>
    public static byte[]? ReadJson(ReadOnlySpan<byte> document, string fullName, WireProblems problems)
    {
        var output = new WireWriter(document.Length / 2 + 16);
        MessageSchema? type = SchemaTable.Find(fullName);
        return type is not null && TryReadJson(document, type, problems, output) ? output.Written.ToArray() : null;
    }

    /// <summary>
    /// Writes a message as Envoy's admin prints it: declared names, zero scalars left out unless they have presence, Any inline with its
    /// "@type", secrets as "[redacted]" when asked. Fields the table does not know are left out. False when the bytes are broken;
    /// the JSON written until then is still balanced.
    /// </summary>
    /// <param name="wire">The message.</param>
    /// <param name="type">Its type.</param>
    /// <param name="json">Where it goes: one JSON value.</param>
    /// <param name="redact">Whether sensitive fields are hidden.</param>
    /// <param name="anyType">Adds "@type" first, as inside of an Any.</param>
    public static bool TryWriteJson(ReadOnlySpan<byte> wire, MessageSchema type, Utf8JsonWriter json, bool redact, bool anyType = false)
    {
        var writer = new WireToJson(json, redact);
        return writer.TryWrite(wire, type, anyType);
    }
}
