using System;
using System.Text;
using System.Text.Json;
using Sidecar.Wire;

namespace Sidecar.Config;

/// <summary>Looks into an object before it is read: a copy of the reader goes ahead, the reader itself stays where it is, on the object's start.</summary>
internal static class JsonLookAhead
{
    internal static bool Has(Utf8JsonReader at, ReadOnlySpan<byte> name) => TryFind(ref at, name, name);

    /// <summary>Puts the reader on the value of a member, by either of its names; false, at the object's end, when there is none.</summary>
    internal static bool TryFind(ref Utf8JsonReader at, ReadOnlySpan<byte> name, ReadOnlySpan<byte> otherName)
    {
        while (at.Read() && at.TokenType == JsonTokenType.PropertyName)
        {
            bool found = at.ValueTextEquals(name) || at.ValueTextEquals(otherName);
            at.Read();
            if (found)
                return true;
            at.Skip();
        }
        return false;
    }

    /// <summary>The type "@type" names, or null for one that nobody knows; <paramref name="url"/> is null when there is no "@type".</summary>
    internal static MessageSchema? TypeOf(Utf8JsonReader at, out bool legacy, out string? url)
    {
        legacy = false;
        url = null;
        if (!TryFind(ref at, "@type"u8, "@type"u8) || at.TokenType != JsonTokenType.String)
            return null;
        url = Text(ref at);
        return SchemaTable.FindType(Encoding.UTF8.GetBytes(url), out legacy);
    }

    /// <summary>The name of a resource, which is the first field of each type of them; empty when it has none.</summary>
    internal static string NameOf(Utf8JsonReader at, MessageSchema type)
    {
        FieldSchema field = type.Field(0);
        return TryFind(ref at, field.Name, field.JsonName) && at.TokenType == JsonTokenType.String ? Text(ref at) : "";
    }

    /// <summary>The text under the reader.</summary>
    internal static string Text(ref Utf8JsonReader reader) => reader.GetString() ?? "";
}
