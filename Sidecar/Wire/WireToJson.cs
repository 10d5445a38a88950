using System;
using System.Buffers;
using System.Buffers.Text;
using System.Collections.Generic;
using System.Diagnostics;
using System.Text;
using System.Text.Json;
using System.Text.Unicode;

namespace Sidecar.Wire;

/// <summary>
/// Writes wire bytes as JSON. Fields come in the order of their numbers, as Envoy prints them; a message whose fields stand in
/// another order, or whose list is scattered, is sorted first. Lives for one call.
/// </summary>
internal struct WireToJson(Utf8JsonWriter json, bool redact)
{
    private static ReadOnlySpan<byte> Redacted => "[redacted]"u8;

    // Fields of the messages being written, a stretch for each: what field, and where its value begins.
    private (int Field, int At)[] _entries = new (int, int)[32];
    private int _entryCount;
    private int _depth;
    private bool _secret;               // inside of a sensitive field

    public bool TryWrite(ReadOnlySpan<byte> wire, MessageSchema type, bool anyType)
    {
        if (!anyType || type.WellKnown == WellKnown.None)
            return TryMessage(wire, type, anyType);
        json.WriteStartObject();
        json.WriteString("@type"u8, type.TypeUrl);
        json.WritePropertyName("value"u8);
        bool written = TryMessage(wire, type, false);
        json.WriteEndObject();
        return written;
    }

    private bool TryMessage(ReadOnlySpan<byte> wire, MessageSchema type, bool anyType)
    {
        if (_depth >= Transcoder.DepthMax)
        {
            json.WriteNullValue();
            return false;
        }
        _depth++;
        bool written = type.WellKnown switch
        {
            WellKnown.None => TryObject(wire, type, anyType),
            WellKnown.Any => TryAny(wire),
            WellKnown.Duration => TryDuration(wire),
            WellKnown.Timestamp => TryTimestamp(wire),
            WellKnown.FieldMask => TryFieldMask(wire),
            WellKnown.Struct => TryStruct(wire),
            WellKnown.Value => TryValue(wire),
            WellKnown.ListValue => TryListValue(wire),
            _ => TryWrapper(wire, type),
        };
        _depth--;
        return written;
    }

    // ---- objects ----------------------------------------------------------------------------------------------

    private bool TryObject(ReadOnlySpan<byte> wire, MessageSchema type, bool anyType)
    {
        json.WriteStartObject();
        if (anyType)
            json.WriteString("@type"u8, type.TypeUrl);

        // First pass: where each field is. Nothing is decoded; nested messages are stepped over.
        int first = _entryCount;
        Span<short> lastOfOneof = stackalloc short[32];
        lastOfOneof.Fill(-1);
        var reader = new WireReader(wire);
        bool whole = true, sorted = true;
        while (!reader.AtEnd)
        {
            if (!reader.TryTag(out uint number, out int encoding))
            {
                whole = false;
                break;
            }
            int at = reader.Position;
            if (!reader.TrySkip(encoding))
            {
                whole = false;
                break;
            }
            FieldSchema? field = type.Find(number);
            if (field is null || !Accepts(field, encoding))
                continue;
            if (field.Oneof is > 0 and < 32)
                lastOfOneof[field.Oneof] = (short)field.Index;
            if (_entryCount == _entries.Length)
                Array.Resize(ref _entries, _entries.Length * 2);
            sorted &= _entryCount == first || _entries[_entryCount - 1].Field <= field.Index;
            // The encoding rides in the low bits: packed and single elements may be mixed.
            _entries[_entryCount++] = (field.Index, at << 3 | encoding);
        }
        // At grows, so that sorting by both keeps the elements of a list in order.
        if (!sorted)
            Array.Sort(_entries, first, _entryCount - first, EntryOrder.Instance);

        int end = _entryCount;
        for (int i = first; i < end;)
        {
            FieldSchema field = type.Field(_entries[i].Field);
            int next = i + 1;
            while (next < end && _entries[next].Field == field.Index)
                next++;
            if (field.Oneof is 0 or >= 32 || lastOfOneof[field.Oneof] == field.Index)
                whole &= TryField(wire, field, i, next);
            i = next;
        }
        _entryCount = first;
        json.WriteEndObject();
        return whole;
    }

    private sealed class EntryOrder : IComparer<(int Field, int At)>
    {
        public static readonly EntryOrder Instance = new();

        public int Compare((int Field, int At) x, (int Field, int At) y) =>
            x.Field != y.Field ? x.Field.CompareTo(y.Field) : x.At.CompareTo(y.At);
    }

    // A field in an encoding that its type cannot have is not that field (protobuf: an unknown one).
    private static bool Accepts(FieldSchema field, int encoding)
    {
        int own = Natural(field.Type);
        return field.IsMap ? encoding == 2 : encoding == own || field.IsRepeated && own != 2 && encoding == 2;
    }

    private static int Natural(FieldType type) => type switch
    {
        FieldType.Double or FieldType.Fixed64 or FieldType.SFixed64 => 1,
        FieldType.Float or FieldType.Fixed32 or FieldType.SFixed32 => 5,
        FieldType.String or FieldType.Bytes or FieldType.Message => 2,
        _ => 0,
    };

    private bool TryField(ReadOnlySpan<byte> wire, FieldSchema field, int from, int to)
    {
        bool outside = _secret;
        _secret |= redact && field.Sensitive;
        bool whole = field.IsMap ? TryMap(wire, field, from, to)
            : field.IsRepeated ? TryList(wire, field, from, to)
            : TrySingle(wire, field, from, to);
        _secret = outside;
        return whole;
    }

    private readonly WireReader At(ReadOnlySpan<byte> wire, int entry) => new(wire[(_entries[entry].At >> 3)..]);

    private bool TrySingle(ReadOnlySpan<byte> wire, FieldSchema field, int from, int to)
    {
        // The last one counts, save for messages, which merge: their bytes one after the other are the merged message.
        WireReader reader = At(wire, to - 1);
        int encoding = _entries[to - 1].At & 7;
        if (encoding != 2)
        {
            if (!reader.TryNumber(encoding, out ulong number))
                return false;
            if (_secret || number == 0 && !field.HasPresence)
                return true;
            json.WritePropertyName(field.Name);
            WriteNumber(field, number);
            return true;
        }
        if (!reader.TryBytes(out ReadOnlySpan<byte> value))
            return false;
        if (field.Type != FieldType.Message)
        {
            if (value.Length == 0 && !field.HasPresence)
                return true;
            json.WritePropertyName(field.Name);
            WriteText(value, field.Type == FieldType.Bytes);
            return true;
        }
        if (to - from > 1)
        {
            var merged = new WireWriter();
            for (int i = from; i < to; i++)
            {
                WireReader part = At(wire, i);
                if (part.TryBytes(out ReadOnlySpan<byte> bytes))
                {
                    bytes.CopyTo(merged.Reserve(bytes.Length));
                    merged.Commit(bytes.Length);
                }
            }
            value = merged.Written;
        }
        json.WritePropertyName(field.Name);
        return TryMessage(value, field.Message, false);
    }

    private bool TryList(ReadOnlySpan<byte> wire, FieldSchema field, int from, int to)
    {
        bool whole = true;
        bool packable = Natural(field.Type) != 2;
        json.WriteStartArray(field.Name);
        for (int i = from; i < to; i++)
        {
            WireReader reader = At(wire, i);
            int encoding = _entries[i].At & 7;
            if (encoding != 2)
            {
                whole &= reader.TryNumber(encoding, out ulong number);
                if (!_secret)
                    WriteNumber(field, number);
                continue;
            }
            if (!reader.TryBytes(out ReadOnlySpan<byte> value))
            {
                whole = false;
                continue;
            }
            if (field.Type == FieldType.Message)
            {
                whole &= TryMessage(value, field.Message, false);
            }
            else if (!packable)
            {
                WriteText(value, field.Type == FieldType.Bytes);
            }
            else
            {
                var packed = new WireReader(value);
                while (!packed.AtEnd)
                {
                    if (!packed.TryNumber(Natural(field.Type), out ulong number))
                    {
                        whole = false;
                        break;
                    }
                    if (!_secret)
                        WriteNumber(field, number);
                }
            }
        }
        json.WriteEndArray();
        return whole;
    }

    private bool TryMap(ReadOnlySpan<byte> wire, FieldSchema field, int from, int to)
    {
        bool whole = true;
        json.WriteStartObject(field.Name);
        for (int i = from; i < to; i++)
        {
            WireReader reader = At(wire, i);
            if (!reader.TryBytes(out ReadOnlySpan<byte> entry))
            {
                whole = false;
                continue;
            }
            whole &= TryEntry(entry, out ReadOnlySpan<byte> keyText, out ulong keyNumber, out ReadOnlySpan<byte> value, out ulong number);
            WriteKey(field.KeyType, keyText, keyNumber);
            if (field.Type == FieldType.Message)
                whole &= TryMessage(value, field.Message, false);
            else if (field.Type is FieldType.String or FieldType.Bytes)
                WriteText(value, field.Type == FieldType.Bytes);
            else if (_secret)
                json.WriteNullValue();
            else
                WriteNumber(field, number);
        }
        json.WriteEndObject();
        return whole;
    }

    // A map's entry: key = 1, value = 2, either may be absent and then is its zero.
    private static bool TryEntry(
        ReadOnlySpan<byte> entry, out ReadOnlySpan<byte> keyText, out ulong keyNumber, out ReadOnlySpan<byte> value, out ulong number)
    {
        keyText = value = default;
        keyNumber = number = 0;
        var reader = new WireReader(entry);
        while (!reader.AtEnd)
        {
            if (!reader.TryTag(out uint tag, out int encoding))
                return false;
            bool read;
            if (encoding == 2)
            {
                read = reader.TryBytes(out ReadOnlySpan<byte> bytes);
                if (tag == 1)
                    keyText = bytes;
                else if (tag == 2)
                    value = bytes;
            }
            else
            {
                read = reader.TryNumber(encoding, out ulong bits);
                if (tag == 1)
                    keyNumber = bits;
                else if (tag == 2)
                    number = bits;
            }
            if (!read)
                return false;
        }
        return true;
    }

    private readonly void WriteKey(FieldType type, ReadOnlySpan<byte> text, ulong number)
    {
        if (type == FieldType.String)
        {
            json.WritePropertyName(Utf8.IsValid(text) ? text : Encoding.UTF8.GetBytes(Encoding.UTF8.GetString(text)));
            return;
        }
        json.WritePropertyName(type switch
        {
            FieldType.Bool => number != 0 ? "true" : "false",
            FieldType.Int32 or FieldType.Int64 or FieldType.SFixed64 => ((long)number).ToString(System.Globalization.CultureInfo.InvariantCulture),
            FieldType.SInt32 or FieldType.SInt64 => ZigZag(number).ToString(System.Globalization.CultureInfo.InvariantCulture),
            FieldType.SFixed32 => ((int)number).ToString(System.Globalization.CultureInfo.InvariantCulture),
            _ => number.ToString(System.Globalization.CultureInfo.InvariantCulture),
        });
    }

    // ---- scalars ----------------------------------------------------------------------------------------------

    private static long ZigZag(ulong bits) => (long)(bits >> 1) ^ -(long)(bits & 1);

    private readonly void WriteText(ReadOnlySpan<byte> value, bool bytes)
    {
        if (_secret)
            value = Redacted;
        if (bytes)
            json.WriteBase64StringValue(value);
        else if (Utf8.IsValid(value))
            json.WriteStringValue(value);
        else
            json.WriteStringValue(Encoding.UTF8.GetString(value));
    }

    private readonly void WriteNumber(FieldSchema field, ulong bits)
    {
        switch (field.Type)
        {
            case FieldType.Bool:
                json.WriteBooleanValue(bits != 0);
                break;
            case FieldType.Enum:
                ReadOnlySpan<byte> name = field.Enum.Name((int)bits);
                if (field.Enum.IsNull)
                    json.WriteNullValue();
                else if (name.Length > 0)
                    json.WriteStringValue(name);
                else
                    json.WriteNumberValue((int)bits);
                break;
            case FieldType.Double:
                WriteDouble(BitConverter.UInt64BitsToDouble(bits));
                break;
            case FieldType.Float:
                float single = BitConverter.UInt32BitsToSingle((uint)bits);
                if (float.IsFinite(single))
                    json.WriteNumberValue(single);
                else
                    WriteDouble(single);
                break;
            case FieldType.Int32:
            case FieldType.SFixed32:
                json.WriteNumberValue((int)bits);
                break;
            case FieldType.SInt32:
                json.WriteNumberValue((int)ZigZag((uint)bits));
                break;
            case FieldType.UInt32:
            case FieldType.Fixed32:
                json.WriteNumberValue((uint)bits);
                break;
            // 64 bits do not survive a JSON number everywhere: text.
            case FieldType.Int64:
            case FieldType.SFixed64:
                WriteLong((long)bits);
                break;
            case FieldType.SInt64:
                WriteLong(ZigZag(bits));
                break;
            default:
                Debug.Assert(field.Type is FieldType.UInt64 or FieldType.Fixed64);
                Span<byte> text = stackalloc byte[20];
                Utf8Formatter.TryFormat(bits, text, out int length);
                json.WriteStringValue(text[..length]);
                break;
        }
    }

    private readonly void WriteLong(long value)
    {
        Span<byte> text = stackalloc byte[20];
        Utf8Formatter.TryFormat(value, text, out int length);
        json.WriteStringValue(text[..length]);
    }

    private readonly void WriteDouble(double value)
    {
        if (double.IsFinite(value))
            json.WriteNumberValue(value);
        else
            json.WriteStringValue(double.IsNaN(value) ? "NaN"u8 : value > 0 ? "Infinity"u8 : "-Infinity"u8);
    }

    // ---- the well-known types -----------------------------------------------------------------------------------

    private bool TryAny(ReadOnlySpan<byte> wire)
    {
        if (!TryEntry(wire, out ReadOnlySpan<byte> url, out _, out ReadOnlySpan<byte> value, out _))
        {
            json.WriteStartObject();
            json.WriteEndObject();
            return false;
        }
        MessageSchema? type = SchemaTable.FindType(url, out _);
        if (type is not null && type.Support != Support.Opaque)
            return TryWrite(value, type, anyType: true);
        json.WriteStartObject();
        if (url.Length > 0)
        {
            json.WriteString("@type"u8, Encoding.UTF8.GetString(url));
            json.WriteBase64String("value"u8, _secret ? Redacted : value);
        }
        json.WriteEndObject();
        return true;
    }

    private static bool TrySecondsAndNanos(ReadOnlySpan<byte> wire, out long seconds, out int nanos)
    {
        seconds = 0;
        nanos = 0;
        var reader = new WireReader(wire);
        while (!reader.AtEnd)
        {
            if (!reader.TryTag(out uint number, out int encoding))
                return false;
            if (encoding != 0)
            {
                if (!reader.TrySkip(encoding))
                    return false;
                continue;
            }
            if (!reader.TryVarint(out ulong value))
                return false;
            if (number == 1)
                seconds = (long)value;
            else if (number == 2)
                nanos = (int)value;
        }
        return true;
    }

    // 0, 3, 6 or 9 digits, as protobuf prints them.
    private static int WriteNanos(Span<byte> to, int nanos)
    {
        if (nanos == 0)
            return 0;
        int digits = nanos % 1_000_000 == 0 ? 3 : nanos % 1_000 == 0 ? 6 : 9;
        int value = digits == 3 ? nanos / 1_000_000 : digits == 6 ? nanos / 1_000 : nanos;
        to[0] = (byte)'.';
        for (int i = digits; i >= 1; i--)
        {
            to[i] = (byte)('0' + value % 10);
            value /= 10;
        }
        return digits + 1;
    }

    private readonly bool TryDuration(ReadOnlySpan<byte> wire)
    {
        bool read = TrySecondsAndNanos(wire, out long seconds, out int nanos);
        if (nanos is <= -1_000_000_000 or >= 1_000_000_000)
        {
            json.WriteNullValue();
            return false;
        }
        Span<byte> text = stackalloc byte[40];
        int length = 0;
        if (seconds == 0 && nanos < 0)
            text[length++] = (byte)'-';
        Utf8Formatter.TryFormat(seconds, text[length..], out int digits);
        length += digits;
        length += WriteNanos(text[length..], Math.Abs(nanos));
        text[length++] = (byte)'s';
        json.WriteStringValue(text[..length]);
        return read;
    }

    private readonly bool TryTimestamp(ReadOnlySpan<byte> wire)
    {
        bool read = TrySecondsAndNanos(wire, out long seconds, out int nanos);
        // Years 1 to 9999, RFC 3339's own range.
        if (seconds < -62_135_596_800 || seconds > 253_402_300_799 || nanos is < 0 or > 999_999_999)
        {
            json.WriteNullValue();
            return false;
        }
        DateTime time = DateTime.UnixEpoch.AddSeconds(seconds);
        Span<byte> text = stackalloc byte[40];
        System.Text.Unicode.Utf8.TryWrite(text, System.Globalization.CultureInfo.InvariantCulture, $"{time:yyyy-MM-ddTHH:mm:ss}", out int length);
        length += WriteNanos(text[length..], nanos);
        text[length++] = (byte)'Z';
        json.WriteStringValue(text[..length]);
        return read;
    }

    private readonly bool TryFieldMask(ReadOnlySpan<byte> wire)
    {
        var text = new ArrayBufferWriter<byte>();
        var reader = new WireReader(wire);
        bool read = true;
        while (!reader.AtEnd && (read = reader.TryTag(out uint number, out int encoding)))
        {
            if (number != 1 || encoding != 2)
            {
                if (!(read = reader.TrySkip(encoding)))
                    break;
                continue;
            }
            if (!(read = reader.TryBytes(out ReadOnlySpan<byte> path)))
                break;
            if (text.WrittenCount > 0)
                text.Write(","u8);
            bool upper = false;
            foreach (byte b in path)
            {
                if (b == '_')
                {
                    upper = true;
                    continue;
                }
                text.Write([upper && b is >= (byte)'a' and <= (byte)'z' ? (byte)(b - 32) : b]);
                upper = false;
            }
        }
        if (Utf8.IsValid(text.WrittenSpan))
            json.WriteStringValue(text.WrittenSpan);
        else
            json.WriteStringValue(Encoding.UTF8.GetString(text.WrittenSpan));
        return read;
    }

    private bool TryStruct(ReadOnlySpan<byte> wire)
    {
        bool whole = true;
        json.WriteStartObject();
        var reader = new WireReader(wire);
        while (!reader.AtEnd)
        {
            if (!reader.TryTag(out uint number, out int encoding))
            {
                whole = false;
                break;
            }
            if (number != 1 || encoding != 2)
            {
                if (!reader.TrySkip(encoding))
                {
                    whole = false;
                    break;
                }
                continue;
            }
            if (!reader.TryBytes(out ReadOnlySpan<byte> entry))
            {
                whole = false;
                break;
            }
            whole &= TryEntry(entry, out ReadOnlySpan<byte> key, out _, out ReadOnlySpan<byte> value, out _);
            WriteKey(FieldType.String, key, 0);
            whole &= TryValueNested(value);
        }
        json.WriteEndObject();
        return whole;
    }

    private bool TryListValue(ReadOnlySpan<byte> wire)
    {
        bool whole = true;
        json.WriteStartArray();
        var reader = new WireReader(wire);
        while (!reader.AtEnd)
        {
            if (!reader.TryTag(out uint number, out int encoding))
            {
                whole = false;
                break;
            }
            if (number != 1 || encoding != 2)
            {
                if (!reader.TrySkip(encoding))
                {
                    whole = false;
                    break;
                }
                continue;
            }
            if (!reader.TryBytes(out ReadOnlySpan<byte> value))
            {
                whole = false;
                break;
            }
            whole &= TryValueNested(value);
        }
        json.WriteEndArray();
        return whole;
    }

    private bool TryValueNested(ReadOnlySpan<byte> wire)
    {
        if (_depth >= Transcoder.DepthMax)
        {
            json.WriteNullValue();
            return false;
        }
        _depth++;
        bool written = TryValue(wire);
        _depth--;
        return written;
    }

    private bool TryValue(ReadOnlySpan<byte> wire)
    {
        // The last field counts: kind is a oneof.
        uint kind = 0;
        ulong bits = 0;
        ReadOnlySpan<byte> bytes = default;
        bool whole = true;
        var reader = new WireReader(wire);
        while (!reader.AtEnd)
        {
            if (!reader.TryTag(out uint number, out int encoding))
            {
                whole = false;
                break;
            }
            bool known = number switch { 1 or 4 => encoding == 0, 2 => encoding == 1, 3 or 5 or 6 => encoding == 2, _ => false };
            bool read;
            if (!known)
                read = reader.TrySkip(encoding);
            else if (encoding == 2)
                read = reader.TryBytes(out bytes);
            else
                read = reader.TryNumber(encoding, out bits);
            if (!read)
            {
                whole = false;
                break;
            }
            if (known)
                kind = number;
        }
        switch (kind)
        {
            case 2:
                if (_secret)
                    json.WriteNullValue();
                else
                    WriteDouble(BitConverter.UInt64BitsToDouble(bits));
                return whole;
            case 3:
                WriteText(bytes, bytes: false);
                return whole;
            case 4:
                if (_secret)
                    json.WriteNullValue();
                else
                    json.WriteBooleanValue(bits != 0);
                return whole;
            case 5:
                return TryStruct(bytes) & whole;
            case 6:
                return TryListValue(bytes) & whole;
            default:
                json.WriteNullValue();
                return whole;
        }
    }

    private readonly bool TryWrapper(ReadOnlySpan<byte> wire, MessageSchema type)
    {
        FieldSchema field = type.Field(0);
        int natural = Natural(field.Type);
        ulong bits = 0;
        ReadOnlySpan<byte> bytes = default;
        bool whole = true;
        var reader = new WireReader(wire);
        while (!reader.AtEnd)
        {
            if (!reader.TryTag(out uint number, out int encoding))
            {
                whole = false;
                break;
            }
            bool read;
            if (number != 1 || encoding != natural)
                read = reader.TrySkip(encoding);
            else if (natural == 2)
                read = reader.TryBytes(out bytes);
            else
                read = reader.TryNumber(encoding, out bits);
            if (!read)
            {
                whole = false;
                break;
            }
        }
        if (natural == 2)
            WriteText(bytes, field.Type == FieldType.Bytes);
        else
            WriteNumber(field, _secret ? 0 : bits);
        return whole;
    }
}
