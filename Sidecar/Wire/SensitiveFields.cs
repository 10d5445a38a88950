using System;

namespace Sidecar.Wire;

/// <summary>
/// Tells whether a message holds a secret itself: a private key, a password, a ticket key, in the message's own bytes. The name of a file that has one is
/// none. Looks also into what stands inside of Any and TypedStruct.
/// </summary>
internal static class SensitiveFields
{
    /// <summary>Whether there is one; also when the bytes are broken, for then nobody can say.</summary>
    public static bool Any(ReadOnlySpan<byte> wire, MessageSchema type) => InMessage(wire, type, 0);

    private static bool InMessage(ReadOnlySpan<byte> wire, MessageSchema type, int depth)
    {
        if (depth > Transcoder.DepthMax)
            return true;
        switch (type.WellKnown)
        {
            case WellKnown.Any:
                return InAny(wire, depth);
            case WellKnown.Struct or WellKnown.Value or WellKnown.ListValue:
                return false;
        }
        var reader = new WireReader(wire);
        while (!reader.AtEnd)
        {
            if (!reader.TryTag(out uint number, out int encoding))
                return true;
            ReadOnlySpan<byte> value = default;
            if (encoding == 2 ? !reader.TryBytes(out value) : !reader.TrySkip(encoding))
                return true;
            if (type.Find(number) is not { } field || value.Length == 0)
                continue;
            if (field.Sensitive ? !IsElsewhere(field, value) : field.Type == FieldType.Message && InField(field, value, depth + 1))
                return true;
        }
        return false;
    }

    private static bool InField(FieldSchema field, ReadOnlySpan<byte> value, int depth)
    {
        if (!field.IsMap)
            return InMessage(value, field.Message, depth);
        // An entry is { key = 1, value = 2 }.
        var reader = new WireReader(value);
        while (!reader.AtEnd)
        {
            if (!reader.TryTag(out uint number, out int encoding))
                return true;
            ReadOnlySpan<byte> entry = default;
            if (encoding == 2 ? !reader.TryBytes(out entry) : !reader.TrySkip(encoding))
                return true;
            if (number == 2 && encoding == 2 && InMessage(entry, field.Message, depth))
                return true;
        }
        return false;
    }

    // DataSource { filename = 1, inline_bytes = 2, inline_string = 3, environment_variable = 4 }
    private static bool IsElsewhere(FieldSchema field, ReadOnlySpan<byte> value)
    {
        if (field.Type != FieldType.Message || field.Message.FullName != "envoy.config.core.v3.DataSource")
            return false;
        var reader = new WireReader(value);
        while (!reader.AtEnd)
        {
            if (!reader.TryTag(out uint number, out int encoding) || !reader.TrySkip(encoding) || number is 2 or 3)
                return false;
        }
        return true;
    }

    private static bool InAny(ReadOnlySpan<byte> wire, int depth)
    {
        if (!TypedStructs.TrySplit(wire, out ReadOnlySpan<byte> url, out ReadOnlySpan<byte> value))
            return true;
        if (url.Length == 0 || SchemaTable.FindType(url, out _) is not { } type)
            return false;
        if (!TypedStructs.IsTypedStruct(type))
            return InMessage(value, type, depth + 1);
        var unwrapped = new WireWriter();
        return TypedStructs.TryUnwrap(value, "", new WireProblems(), unwrapped, out MessageSchema? real) && real is not null
            && InMessage(unwrapped.Written, real, depth + 1);
    }
}
