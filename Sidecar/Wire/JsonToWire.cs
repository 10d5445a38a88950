using System;
using System.Buffers;
using System.Buffers.Text;
using System.Collections.Generic;
using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Unicode;

namespace Sidecar.Wire;

/// <summary>
/// One pass over a JSON value, writing protobuf as it goes. A wrong field is reported with its path and skipped, so that one
/// reading finds every problem. Lives for one call.
/// </summary>
internal ref partial struct JsonToWire
{
    // JSON may nest deeper than messages do (a Struct costs three wire levels a JSON level); beyond this it is refused as syntax.
    private const int JsonDepthMax = 512;

    // Deeper than any real message: whether the walk, which counts levels its own way, would refuse it is for the walk to say.
    private const int DepthForWalk = 32;

    // Above this many keys, a set finds the double ones instead of a scan.
    private const int ScannedKeysMax = 8;

    private readonly ReadOnlySpan<byte> _document;
    private readonly int _start;
    private readonly string _root;
    private readonly WireProblems _problems;
    private readonly WireWriter _out;
    private Utf8JsonReader _json;
    private Segment[] _path;
    private int _pathLength;
    private int _depth;                 // wire levels, as the generated parsers count them
    private bool _downstream;           // inside of a listener: which TLS context a legacy "config" is

    /// <summary>One step of the path: a field, an element, a key of a map (a token of the document), or the type of an Any.</summary>
    private struct Segment
    {
        public FieldSchema? Field;
        public MessageSchema? Type;
        public int Index;
        public int KeyStart;
        public int KeyLength;
    }

    public JsonToWire(ReadOnlySpan<byte> document, int start, int length, string root, WireProblems problems, WireWriter output)
    {
        _document = document;
        _start = start;
        _root = root;
        _problems = problems;
        _out = output;
        _json = new Utf8JsonReader(
            document.Slice(start, length), new JsonReaderOptions { MaxDepth = JsonDepthMax, CommentHandling = JsonCommentHandling.Disallow });
        _path = new Segment[16];
    }

    public bool TryRead(MessageSchema type, bool legacy, bool typed)
    {
        int errors = _problems.ErrorCount;
        try
        {
            _json.Read();
            if (typed && type.WellKnown == WellKnown.None && _json.TokenType == JsonTokenType.StartObject)
                ReadFields(type, legacy, insideAny: true);
            else
                ReadMessageValue(type, legacy, null);
            if (_json.Read())
                Fail(WireProblemKind.Invalid, "more JSON after the end of the message");
        }
        catch (JsonException broken)
        {
            // The reader's own positions are relative to the value; ours to the document.
            ReportAt(WireProblemKind.Invalid, SyntaxReason(broken), _start + (int)_json.BytesConsumed);
        }
        catch (InvalidOperationException)
        {
            // Half of a surrogate pair: the reader cannot say that in UTF-8.
            Fail(WireProblemKind.Invalid, "the text is not valid Unicode");
        }
        return _problems.ErrorCount == errors;
    }

    /// <summary>What the JSON reader says, without its advice on options and positions.</summary>
    internal static string SyntaxReason(JsonException broken)
    {
        string text = broken.Message;
        int cut = text.IndexOf(" LineNumber:", StringComparison.Ordinal);
        if (cut >= 0)
            text = text[..cut];
        if (text.Contains("after a single JSON value", StringComparison.Ordinal))
            return "not valid JSON: something follows where it ends";
        if (text.Contains("trailing comma", StringComparison.Ordinal))
            return "not valid JSON: a comma with nothing after it";
        if (text.Contains("isFinalBlock", StringComparison.Ordinal) || text.Contains("end of data", StringComparison.Ordinal) || text.Contains("depth to be zero", StringComparison.Ordinal))
            return "not valid JSON: the file ends too early (truncated?)";
        return "not valid JSON: " + text.TrimEnd('.');
    }

    // ---- messages -------------------------------------------------------------------------------------------

    // On the first token of the value; leaves on its last. The enclosing field gives Any its plain type of 2020, or null.
    private void ReadMessageValue(MessageSchema type, bool legacy, string? plainType)
    {
        switch (type.WellKnown)
        {
            case WellKnown.None:
                if (type.Support == Support.Opaque)
                    FailValue("this type can only stand inside of an Any");
                else if (ExpectObject(type))
                    ReadFields(type, legacy, insideAny: false);
                break;
            case WellKnown.Any:
                if (ExpectObject(type))
                    ReadAny(plainType);
                break;
            case WellKnown.Duration:
                // protobuf's readers of 2018 took these as the messages they are, too; so did the files.
                if (legacy && _json.TokenType == JsonTokenType.StartObject)
                    ReadFields(type, legacy: false, insideAny: false);
                else
                    ReadDuration();
                break;
            case WellKnown.Timestamp:
                ReadTimestamp();
                break;
            case WellKnown.FieldMask:
                ReadFieldMask();
                break;
            case WellKnown.Struct:
                if (ExpectObject(type))
                    ReadStruct();
                break;
            case WellKnown.Value:
                ReadValue();
                break;
            case WellKnown.ListValue:
                if (_json.TokenType == JsonTokenType.StartArray)
                    ReadListValue();
                else
                    FailValue("expected a list");
                break;
            case WellKnown.Wrapper:
                if (legacy && _json.TokenType == JsonTokenType.StartObject)
                    ReadFields(type, legacy: false, insideAny: false);
                else
                    ReadScalar(type.Field(0), writeZero: false);
                break;
        }
    }

    private bool ExpectObject(MessageSchema type)
    {
        if (_json.TokenType != JsonTokenType.StartObject)
        {
            FailValue("expected an object (" + type.ShortName + ")");
            return false;
        }
        return true;
    }

    // On StartObject; leaves on EndObject.
    private void ReadFields(MessageSchema type, bool legacy, bool insideAny)
    {
        Utf8JsonReader start = legacy ? _json : default;
        _problems.MetUnsupported |= legacy;
        Span<ulong> seen = stackalloc ulong[(type.FieldCount + 63) / 64];
        seen.Clear();
        ulong seenLegacy = 0, seenOneofs = 0;
        bool typed = false, seenType = false;
        bool inListener = _downstream;
        if (legacy && type.FullName == "envoy.config.listener.v3.FilterChain")
            _downstream = true;

        while (_json.Read() && _json.TokenType == JsonTokenType.PropertyName)
        {
            int nameAt = (int)_json.TokenStartIndex;
            scoped ReadOnlySpan<byte> name = _json.ValueSpan;
            if (_json.ValueIsEscaped)
                name = Unescape();
            if (insideAny && name.SequenceEqual("@type"u8))
            {
                if (seenType)
                    Fail(WireProblemKind.Invalid, "@type is given twice");
                seenType = true;
                _json.Read();
                _json.Skip();
                continue;
            }
            if (legacy && type.Legacy is not null && V2Names.Find(type.Legacy, name) is { } old)
            {
                int bit = Array.IndexOf(type.Legacy, old);
                if ((seenLegacy >> bit & 1) != 0)
                    Fail(WireProblemKind.Invalid, Encoding.UTF8.GetString(old.Name) + " is given twice");
                seenLegacy |= 1UL << bit;
                typed |= old.Upgrade == V2Names.Upgrade.Config;
                _json.Read();
                if (_json.TokenType != JsonTokenType.Null)
                    Upgrade(type, old, start);
                continue;
            }

            FieldSchema? field = type.Find(name);
            if (field is null)
            {
                ReportAt(
                    WireProblemKind.Unknown,
                    $"unknown field of {type.FullName}: neither Envoy nor this version knows it; check the spelling or remove it",
                    _start + nameAt, Encoding.UTF8.GetString(name));
                _json.Read();
                _json.Skip();
                continue;
            }
            _problems.MetUnsupported |= field.Support != Support.Supported;
            _json.Read();
            Push(field);
            ref ulong word = ref seen[field.Index >> 6];
            ulong mask = 1UL << (field.Index & 63);
            if ((word & mask) != 0)
            {
                FailValue("is given twice");
            }
            else if (IsAbsent(field))
            {
                word |= mask;
            }
            else
            {
                word |= mask;
                if (field.Oneof != 0)
                {
                    if ((seenOneofs >> field.Oneof & 1) != 0)
                    {
                        FailValue("another field of the same oneof is set already; keep one of them");
                        Pop();
                        continue;
                    }
                    seenOneofs |= 1UL << field.Oneof;
                }
                typed |= legacy && field.Number == TypedConfigNumber(type);
                ReadField(type, field, legacy);
            }
            Pop();
        }

        // 2020's filters could be a name alone; v3's always carry their type.
        if (legacy && !typed && V2Names.TryPlace(type.FullName, out V2Names.Place place))
            WriteEmptyConfig(type, place, start);
        _downstream = inListener;
    }

    // JSON null is "not set", save where null is a value.
    private readonly bool IsAbsent(FieldSchema field) =>
        _json.TokenType == JsonTokenType.Null && !(!field.IsRepeated && !field.IsMap &&
            (field.Type == FieldType.Enum && field.Enum.IsNull || field.Type == FieldType.Message && field.Message.WellKnown == WellKnown.Value));

    private void ReadField(MessageSchema owner, FieldSchema field, bool legacy)
    {
        if (field.IsMap)
            ReadMap(field, legacy);
        else if (field.IsRepeated)
            ReadList(field, legacy);
        else
            ReadOne(field, legacy, legacy && field.Type == FieldType.Message && field.Message.WellKnown == WellKnown.Any ? V2Names.PlainType(owner.FullName, field.Name) : null);
    }

    private void ReadOne(FieldSchema field, bool legacy, string? plainType)
    {
        if (field.Type == FieldType.Message)
        {
            _out.Tag(field.Number, 2);
            if (!Enter())
                return;
            int begun = _out.Begin();
            ReadMessageValue(field.Message, legacy, plainType);
            _out.End(begun);
            _depth--;
            return;
        }
        if (legacy && field.Number == 1 && field.Name.SequenceEqual("name"u8) && TryWriteExtensionName(field))
            return;
        ReadScalar(field, writeZero: field.HasPresence);
    }

    // Counts a wire level; on false the value has been skipped.
    private bool Enter()
    {
        _problems.MetUnsupported |= _depth >= DepthForWalk;
        if (++_depth <= Transcoder.DepthMax)
            return true;
        _depth--;
        FailValue("nested deeper than " + Transcoder.DepthMax + " levels");
        // On the key of a map's entry: over its value, too, which nobody reads now.
        if (_json.TokenType == JsonTokenType.PropertyName)
            _json.Skip();
        return false;
    }

    private void ReadList(FieldSchema field, bool legacy)
    {
        if (_json.TokenType != JsonTokenType.StartArray)
        {
            // So did they take one element without its list.
            if (legacy && field.Type == FieldType.Message && _json.TokenType == JsonTokenType.StartObject)
                ReadOne(field, legacy, null);
            else
                FailValue("expected a list");
            return;
        }
        bool packed = field.Type is not (FieldType.Message or FieldType.String or FieldType.Bytes);
        int rollback = _out.Length, begun = 0;
        if (packed)
        {
            _out.Tag(field.Number, 2);
            begun = _out.Begin();
        }
        int index = 0;
        PushIndex();
        while (_json.Read() && _json.TokenType != JsonTokenType.EndArray)
        {
            _path[_pathLength - 1].Index = index++;
            if (_json.TokenType == JsonTokenType.Null && !(field.Type == FieldType.Message && field.Message.WellKnown is WellKnown.Value) && !(field.Type == FieldType.Enum && field.Enum.IsNull))
                FailValue("null cannot be an element of a list");
            else if (packed)
                WriteNumber(field, tag: false, writeZero: true);
            else if (field.Type == FieldType.Message)
                ReadOne(field, legacy, null);
            else
                ReadScalar(field, writeZero: true);
        }
        Pop();
        if (packed && index == 0)
            _out.Truncate(rollback);
        else if (packed)
            _out.End(begun);
    }

    private void ReadMap(FieldSchema field, bool legacy)
    {
        if (_json.TokenType != JsonTokenType.StartObject)
        {
            FailValue("expected an object (map)");
            return;
        }
        var keys = new KeySet();
        PushKey();
        while (_json.Read() && _json.TokenType == JsonTokenType.PropertyName)
        {
            SetKey();
            bool fresh = keys.Add(ref _json);
            if (!Enter())
                continue;
            _out.Tag(field.Number, 2);
            int entry = _out.Begin();
            if (!fresh)
                Fail(WireProblemKind.Invalid, "the key is given twice");
            if (!legacy || !TryWriteFilterKey(field))
                ReadMapKey(field);
            _json.Read();
            if (_json.TokenType == JsonTokenType.Null && !(field.Type == FieldType.Message && field.Message.WellKnown == WellKnown.Value))
            {
                FailValue("null cannot be a value of a map");
            }
            else if (field.Type == FieldType.Message)
            {
                _out.Tag(2, 2);
                if (Enter())
                {
                    int begun = _out.Begin();
                    ReadMessageValue(field.Message, legacy, null);
                    _out.End(begun);
                    _depth--;
                }
            }
            else if (field.Type is FieldType.String or FieldType.Bytes)
            {
                _out.Tag(2, 2);
                WriteTextOrBytes(field.Type == FieldType.Bytes);
            }
            else
            {
                WriteMapNumber(field.Type, 2, field.Type == FieldType.Enum ? field.Enum : null);
            }
            _out.End(entry);
            _depth--;
        }
        Pop();
    }

    private void ReadMapKey(FieldSchema field)
    {
        if (field.KeyType == FieldType.String)
        {
            _out.Tag(1, 2);
            WriteTextOrBytes(bytes: false);
            return;
        }
        WriteMapNumber(field.KeyType, 1, null);
    }

    private void WriteMapNumber(FieldType type, int number, EnumSchema? enumeration)
    {
        int rollback = _out.Length;
        _out.Tag(number, WireEncoding(type));
        if (!TryWriteRawNumber(type, enumeration, out _))
            _out.Truncate(rollback);
    }

    // ---- scalars --------------------------------------------------------------------------------------------

    private void ReadScalar(FieldSchema field, bool writeZero)
    {
        if (field.Type is FieldType.String or FieldType.Bytes)
        {
            int rollback = _out.Length;
            _out.Tag(field.Number, 2);
            int before = _out.Length;
            bool written = WriteTextOrBytes(field.Type == FieldType.Bytes);
            if (!written || !writeZero && _out.Length == before + 1)
                _out.Truncate(rollback);
            return;
        }
        WriteNumber(field, tag: true, writeZero);
    }

    private void WriteNumber(FieldSchema field, bool tag, bool writeZero)
    {
        int rollback = _out.Length;
        if (tag)
            _out.Tag(field.Number, WireEncoding(field.Type));
        if (!TryWriteRawNumber(field.Type, field.Type == FieldType.Enum ? field.Enum : null, out bool zero) || zero && !writeZero)
            _out.Truncate(rollback);
    }

    private static int WireEncoding(FieldType type) => type switch
    {
        FieldType.Double or FieldType.Fixed64 or FieldType.SFixed64 => 1,
        FieldType.Float or FieldType.Fixed32 or FieldType.SFixed32 => 5,
        FieldType.String or FieldType.Bytes or FieldType.Message => 2,
        _ => 0,
    };

    // Writes the value of the token; false when it has been reported.
    private bool TryWriteRawNumber(FieldType type, EnumSchema? enumeration, out bool zero)
    {
        zero = false;
        long signed;
        ulong unsigned;
        switch (type)
        {
            case FieldType.Bool:
                if (!TryBool(out bool flag))
                    return false;
                zero = !flag;
                _out.Varint(flag ? 1u : 0u);
                return true;
            case FieldType.Enum:
                if (!TryEnum(enumeration!, out int value))
                    return false;
                zero = value == 0;
                _out.Varint((ulong)(long)value);
                return true;
            case FieldType.Double:
            case FieldType.Float:
                if (!TryDouble(type == FieldType.Float, out double number))
                    return false;
                if (type == FieldType.Double)
                {
                    ulong bits = BitConverter.DoubleToUInt64Bits(number);
                    zero = bits == 0;
                    _out.Fixed64(bits);
                }
                else
                {
                    uint bits = BitConverter.SingleToUInt32Bits((float)number);
                    zero = bits == 0;
                    _out.Fixed32(bits);
                }
                return true;
            case FieldType.Int32:
            case FieldType.SInt32:
            case FieldType.SFixed32:
                if (!TrySigned(int.MinValue, int.MaxValue, out signed))
                    return false;
                zero = signed == 0;
                if (type == FieldType.SFixed32)
                    _out.Fixed32((uint)signed);
                else
                    _out.Varint(type == FieldType.Int32 ? (ulong)signed : (uint)((int)signed << 1) ^ (uint)((int)signed >> 31));
                return true;
            case FieldType.Int64:
            case FieldType.SInt64:
            case FieldType.SFixed64:
                if (!TrySigned(long.MinValue, long.MaxValue, out signed))
                    return false;
                zero = signed == 0;
                if (type == FieldType.SFixed64)
                    _out.Fixed64((ulong)signed);
                else
                    _out.Varint(type == FieldType.Int64 ? (ulong)signed : (ulong)(signed << 1) ^ (ulong)(signed >> 63));
                return true;
            case FieldType.UInt32:
            case FieldType.Fixed32:
                if (!TryUnsigned(uint.MaxValue, out unsigned))
                    return false;
                zero = unsigned == 0;
                if (type == FieldType.UInt32)
                    _out.Varint(unsigned);
                else
                    _out.Fixed32((uint)unsigned);
                return true;
            default:
                Debug.Assert(type is FieldType.UInt64 or FieldType.Fixed64);
                if (!TryUnsigned(ulong.MaxValue, out unsigned))
                    return false;
                zero = unsigned == 0;
                if (type == FieldType.UInt64)
                    _out.Varint(unsigned);
                else
                    _out.Fixed64(unsigned);
                return true;
        }
    }

    private bool TryBool(out bool value)
    {
        value = _json.TokenType == JsonTokenType.True;
        if (value || _json.TokenType == JsonTokenType.False)
            return true;
        // A key of a map is always text; protobuf's own reader takes the text elsewhere, too.
        if (_json.TokenType is JsonTokenType.PropertyName or JsonTokenType.String)
        {
            value = _json.ValueTextEquals("true"u8);
            if (value || _json.ValueTextEquals("false"u8))
                return true;
        }
        return FailValue("expected true or false");
    }

    private bool TryEnum(EnumSchema enumeration, out int number)
    {
        number = 0;
        if (_json.TokenType == JsonTokenType.Null && enumeration.IsNull)
            return true;
        if (_json.TokenType == JsonTokenType.Number)
        {
            if (!TrySigned(int.MinValue, int.MaxValue, out long value))
                return false;
            number = (int)value;
            return true;
        }
        if (_json.TokenType != JsonTokenType.String)
            return FailValue("expected one of " + enumeration.AllNames());
        scoped ReadOnlySpan<byte> name = _json.ValueSpan;
        if (_json.ValueIsEscaped)
            name = Unescape();
        if (enumeration.TryNumber(name, out number) || V2Names.TryEnumValue(enumeration.FullName, name, out number))
            return true;
        return FailValue($"\"{Encoding.UTF8.GetString(name)}\" is not one of {enumeration.AllNames()}");
    }

    private bool TrySigned(long min, long max, out long value)
    {
        value = 0;
        if (!TryInteger(out bool negative, out ulong magnitude))
            return FailValue("expected a whole number");
        bool fits = negative ? magnitude <= (ulong)-(min + 1) + 1 : magnitude <= (ulong)max;
        if (!fits)
            return FailValue($"is out of range ({min} to {max})");
        value = negative ? (long)(0 - magnitude) : (long)magnitude;
        return true;
    }

    private bool TryUnsigned(ulong max, out ulong value)
    {
        if (!TryInteger(out bool negative, out value))
            return FailValue("expected a whole number");
        if (value > max || negative && value != 0)
            return FailValue($"is out of range (0 to {max})");
        return true;
    }

    // A number or its text; 1.0 and 1e3 are whole.
    private readonly bool TryInteger(out bool negative, out ulong magnitude)
    {
        negative = false;
        magnitude = 0;
        if (_json.TokenType is not (JsonTokenType.Number or JsonTokenType.String or JsonTokenType.PropertyName) || _json.ValueIsEscaped)
            return false;
        ReadOnlySpan<byte> text = _json.ValueSpan;
        if (text.Length == 0)
            return false;
        if (Utf8Parser.TryParse(text, out magnitude, out int used) && used == text.Length)
            return true;
        negative = text[0] == '-';
        if (negative && Utf8Parser.TryParse(text, out long value, out used) && used == text.Length)
        {
            magnitude = (ulong)-(value + 1) + 1;
            return true;
        }
        if (!Utf8Parser.TryParse(text, out double number, out used) || used != text.Length || Math.Floor(number) != number || Math.Abs(number) > 1.8446744073709550e19)
            return false;
        negative = number < 0;
        magnitude = (ulong)Math.Abs(number);
        return true;
    }

    private bool TryDouble(bool single, out double number)
    {
        number = 0;
        if (_json.TokenType is not (JsonTokenType.Number or JsonTokenType.String or JsonTokenType.PropertyName) || _json.ValueIsEscaped)
            return FailValue("expected a number");
        ReadOnlySpan<byte> text = _json.ValueSpan;
        if (_json.TokenType != JsonTokenType.Number)
        {
            if (text.SequenceEqual("NaN"u8))
                number = double.NaN;
            else if (text.SequenceEqual("Infinity"u8))
                number = double.PositiveInfinity;
            else if (text.SequenceEqual("-Infinity"u8))
                number = double.NegativeInfinity;
            if (number != 0)
                return true;
        }
        if (!Utf8Parser.TryParse(text, out number, out int used) || used != text.Length)
            return FailValue("expected a number");
        if (!double.IsFinite(number) || single && Math.Abs(number) > float.MaxValue)
            return FailValue("is out of range");
        return true;
    }

    // The token's text (or the bytes it is base64 of) with its length; false when it has been reported.
    private bool WriteTextOrBytes(bool bytes)
    {
        if (_json.TokenType is not (JsonTokenType.String or JsonTokenType.PropertyName))
            return FailValue(bytes ? "expected base64 text" : "expected text");
        ReadOnlySpan<byte> raw = _json.ValueSpan;
        if (bytes)
            return WriteBase64();
        if (!_json.ValueIsEscaped)
        {
            if (!Utf8.IsValid(raw))
                return FailValue("is not valid UTF-8");
            _out.Bytes(raw);
            return true;
        }
        int begun = _out.Begin();
        _out.Commit(_json.CopyString(_out.Reserve(raw.Length)));
        _out.End(begun);
        return true;
    }

    // Both alphabets, padded or not.
    private bool WriteBase64()
    {
        ReadOnlySpan<byte> raw = _json.ValueIsEscaped ? Unescape() : _json.ValueSpan;
        int symbols = raw.Length;
        while (symbols > 0 && raw[symbols - 1] == '=' && raw.Length - symbols < 2)
            symbols--;
        byte[] text = ArrayPool<byte>.Shared.Rent(symbols + 3);
        for (int i = 0; i < symbols; i++)
            text[i] = raw[i] switch { (byte)'-' => (byte)'+', (byte)'_' => (byte)'/', byte b => b };
        int padded = symbols;
        while (padded % 4 != 0)
            text[padded++] = (byte)'=';
        int begun = _out.Begin();
        OperationStatus status = Base64.DecodeFromUtf8(text.AsSpan(0, padded), _out.Reserve(padded), out int consumed, out int written);
        ArrayPool<byte>.Shared.Return(text);
        _out.Commit(written);
        _out.End(begun);
        return status == OperationStatus.Done && consumed == padded || FailValue("is not base64");
    }

    // ---- the well-known types ---------------------------------------------------------------------------------

    private void ReadDuration()
    {
        const string Expected = "expected a duration in seconds, such as \"1.5s\"";
        ReadOnlySpan<byte> text = _json.ValueSpan;
        if (_json.TokenType != JsonTokenType.String || _json.ValueIsEscaped || text.Length < 2 || text[^1] != 's')
        {
            FailValue(Expected);
            return;
        }
        text = text[..^1];
        bool negative = text[0] == '-';
        if (negative)
            text = text[1..];
        int point = text.IndexOf((byte)'.');
        ReadOnlySpan<byte> whole = point < 0 ? text : text[..point];
        if (!TryDigits(whole, out long seconds) || !TryNanos(point < 0 ? default : text[(point + 1)..], point >= 0, out int nanos))
        {
            FailValue(Expected);
            return;
        }
        // protobuf's own range: about ±10,000 years.
        if (seconds > 315_576_000_000)
        {
            FailValue("is out of range");
            return;
        }
        WriteSecondsAndNanos(negative ? -seconds : seconds, negative ? -nanos : nanos);
    }

    private void ReadTimestamp()
    {
        ReadOnlySpan<byte> text = _json.ValueSpan;
        bool read = _json.TokenType == JsonTokenType.String && !_json.ValueIsEscaped;
        if (!read || !TryTimestamp(text, out long seconds, out int nanos))
        {
            FailValue("expected a time such as \"2020-02-11T01:52:11.000Z\"");
            return;
        }
        WriteSecondsAndNanos(seconds, nanos);
    }

    private readonly void WriteSecondsAndNanos(long seconds, int nanos)
    {
        if (seconds != 0)
        {
            _out.Tag(1, 0);
            _out.Varint((ulong)seconds);
        }
        if (nanos != 0)
        {
            _out.Tag(2, 0);
            _out.Varint((ulong)(long)nanos);
        }
    }

    private static bool TryDigits(ReadOnlySpan<byte> text, out long value)
    {
        value = 0;
        if (text.Length is 0 or > 12)
            return false;
        foreach (byte b in text)
        {
            if (b is < (byte)'0' or > (byte)'9')
                return false;
            value = value * 10 + (b - '0');
        }
        return true;
    }

    private static bool TryNanos(ReadOnlySpan<byte> text, bool present, out int nanos)
    {
        nanos = 0;
        if (!present)
            return true;
        if (text.Length is 0 or > 9 || !TryDigits(text, out long value))
            return false;
        for (int i = text.Length; i < 9; i++)
            value *= 10;
        nanos = (int)value;
        return true;
    }

    // RFC 3339 section 5.6.
    private static bool TryTimestamp(ReadOnlySpan<byte> text, out long seconds, out int nanos)
    {
        seconds = 0;
        nanos = 0;
        if (text.Length < 20 || text[4] != '-' || text[7] != '-' || text[10] is not ((byte)'T' or (byte)'t') || text[13] != ':' || text[16] != ':')
            return false;
        bool digits = TryDigits(text[..4], out long year) & TryDigits(text[5..7], out long month) & TryDigits(text[8..10], out long day) &
            TryDigits(text[11..13], out long hour) & TryDigits(text[14..16], out long minute) & TryDigits(text[17..19], out long second);
        if (!digits || year < 1 || month is < 1 or > 12 || day < 1 || day > DateTime.DaysInMonth((int)year, (int)month) || hour > 23 || minute > 59 || second > 59)
            return false;
        int at = 19;
        if (text[at] == '.')
        {
            int end = at + 1;
            while (end < text.Length && text[end] is >= (byte)'0' and <= (byte)'9')
                end++;
            if (!TryNanos(text[(at + 1)..end], true, out nanos))
                return false;
            at = end;
        }
        long offset = 0;
        ReadOnlySpan<byte> zone = text[at..];
        if (zone.Length == 1 && zone[0] is (byte)'Z' or (byte)'z')
            offset = 0;
        else if (zone.Length == 6 && zone[0] is (byte)'+' or (byte)'-' && zone[3] == ':' && TryDigits(zone[1..3], out long hours) && TryDigits(zone[4..], out long minutes) && hours < 24 && minutes < 60)
            offset = (zone[0] == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
        else
            return false;
        var time = new DateTime((int)year, (int)month, (int)day, (int)hour, (int)minute, (int)second, DateTimeKind.Utc);
        seconds = (time.Ticks - DateTime.UnixEpoch.Ticks) / TimeSpan.TicksPerSecond - offset;
        return true;
    }

    private void ReadFieldMask()
    {
        if (_json.TokenType != JsonTokenType.String || _json.ValueIsEscaped)
        {
            FailValue("expected field paths, separated by commas");
            return;
        }
        ReadOnlySpan<byte> text = _json.ValueSpan;
        while (text.Length > 0)
        {
            int comma = text.IndexOf((byte)',');
            ReadOnlySpan<byte> path = comma < 0 ? text : text[..comma];
            text = comma < 0 ? default : text[(comma + 1)..];
            _out.Tag(1, 2);
            int begun = _out.Begin();
            foreach (byte b in path)
            {
                Span<byte> to = _out.Reserve(2);
                bool upper = b is >= (byte)'A' and <= (byte)'Z';
                to[0] = upper ? (byte)'_' : b;
                to[1] = (byte)(b + 32);
                _out.Commit(upper ? 2 : 1);
            }
            _out.End(begun);
        }
    }

    // On StartObject: the fields of a Struct (map<string, Value> = 1).
    private void ReadStruct(bool skipType = false)
    {
        var keys = new KeySet();
        PushKey();
        while (_json.Read() && _json.TokenType == JsonTokenType.PropertyName)
        {
            SetKey();
            bool fresh = keys.Add(ref _json);
            if (skipType && _json.ValueTextEquals("@type"u8))
            {
                _json.Read();
                _json.Skip();
                continue;
            }
            _depth++;
            if (!Enter())
            {
                _depth--;
                continue;
            }
            _out.Tag(1, 2);
            int entry = _out.Begin();
            if (!fresh)
                Fail(WireProblemKind.Invalid, "the key is given twice");
            _out.Tag(1, 2);
            WriteTextOrBytes(bytes: false);
            _json.Read();
            _out.Tag(2, 2);
            int value = _out.Begin();
            ReadValue();
            _out.End(value);
            _out.End(entry);
            _depth -= 2;
        }
        Pop();
    }

    private void ReadListValue()
    {
        PushIndex();
        int index = 0;
        while (_json.Read() && _json.TokenType != JsonTokenType.EndArray)
        {
            _path[_pathLength - 1].Index = index++;
            if (!Enter())
                continue;
            _out.Tag(1, 2);
            int begun = _out.Begin();
            ReadValue();
            _out.End(begun);
            _depth--;
        }
        Pop();
    }

    private void ReadValue()
    {
        int begun;
        switch (_json.TokenType)
        {
            case JsonTokenType.Null:
                _out.Tag(1, 0);
                _out.Varint(0);
                break;
            case JsonTokenType.Number:
                if (TryDouble(single: false, out double number))
                {
                    _out.Tag(2, 1);
                    _out.Fixed64(BitConverter.DoubleToUInt64Bits(number));
                }
                break;
            case JsonTokenType.String:
                _out.Tag(3, 2);
                WriteTextOrBytes(bytes: false);
                break;
            case JsonTokenType.True:
            case JsonTokenType.False:
                _out.Tag(4, 0);
                _out.Varint(_json.TokenType == JsonTokenType.True ? 1u : 0u);
                break;
            case JsonTokenType.StartObject:
                if (!Enter())
                    break;
                _out.Tag(5, 2);
                begun = _out.Begin();
                ReadStruct();
                _out.End(begun);
                _depth--;
                break;
            case JsonTokenType.StartArray:
                if (!Enter())
                    break;
                _out.Tag(6, 2);
                begun = _out.Begin();
                ReadListValue();
                _out.End(begun);
                _depth--;
                break;
        }
    }

    // On StartObject: type_url = 1, value = 2.
    private void ReadAny(string? plainType)
    {
        Utf8JsonReader ahead = _json;
        bool empty = true, found = false;
        while (ahead.Read() && ahead.TokenType == JsonTokenType.PropertyName)
        {
            empty = false;
            found = ahead.ValueTextEquals("@type"u8);
            ahead.Read();
            if (found)
                break;
            ahead.Skip();
        }
        if (empty)
        {
            _json.Skip();
            return;
        }
        MessageSchema? type;
        bool legacy;
        if (!found)
        {
            if (plainType is null)
            {
                FailValue("\"@type\" is missing: an extension's configuration names its type");
                return;
            }
            type = SchemaTable.Find(plainType);
            legacy = true;
        }
        else
        {
            if (ahead.TokenType != JsonTokenType.String)
            {
                FailValue("\"@type\" must be text");
                return;
            }
            ReadOnlySpan<byte> url = ahead.ValueIsEscaped ? Encoding.UTF8.GetBytes(ahead.GetString()!) : ahead.ValueSpan;
            type = SchemaTable.FindType(url, out legacy);
            if (type is null)
            {
                FailUnknownType(Encoding.UTF8.GetString(url));
                return;
            }
            if (url.IndexOf((byte)'/') < 0)
            {
                FailValue($"\"@type\" must be a URL: type.googleapis.com/{type.FullName}");
                return;
            }
        }
        WriteAny(type!, legacy, typed: found);
    }

    private void FailUnknownType(string url)
    {
        string name = url[(url.LastIndexOf('/') + 1)..];
        ReportAt(WireProblemKind.Unknown, $"unknown type {name}: neither Envoy nor this version knows it; check \"@type\"", _start + (int)_json.TokenStartIndex);
        _json.Skip();
    }

    // The Any's own fields; the reader is on the StartObject of its JSON. typed says that "@type" is one of the properties.
    private void WriteAny(MessageSchema type, bool legacy, bool typed)
    {
        Push(type);
        _problems.MetUnsupported |= legacy || type.Support != Support.Supported || TypedStructs.IsTypedStruct(type);
        if (type.Support == Support.Opaque)
        {
            WriteOpaque(type);
            Pop();
            return;
        }
        _out.Tag(1, 2);
        _out.Varint((uint)type.TypeUrl.Length);
        _out.Commit(Encoding.UTF8.GetBytes(type.TypeUrl, _out.Reserve(type.TypeUrl.Length)));
        int rollback = _out.Length;
        _out.Tag(2, 2);
        int begun = _out.Begin();
        if (type.WellKnown == WellKnown.None)
            ReadFields(type, legacy, insideAny: typed);
        else
            ReadWellKnownInAny(type);
        if (_out.Length == begun + 1)
            _out.Truncate(rollback);
        else
            _out.End(begun);
        Pop();
    }

    // {"@type": ".../google.protobuf.Duration", "value": "1s"}
    private void ReadWellKnownInAny(MessageSchema type)
    {
        bool seen = false;
        while (_json.Read() && _json.TokenType == JsonTokenType.PropertyName)
        {
            bool isType = _json.ValueTextEquals("@type"u8), isValue = _json.ValueTextEquals("value"u8);
            int nameAt = (int)_json.TokenStartIndex;
            string name = isType || isValue ? "" : _json.GetString()!;
            _json.Read();
            if (isType)
            {
                _json.Skip();
            }
            else if (!isValue || seen)
            {
                ReportAt(seen ? WireProblemKind.Invalid : WireProblemKind.Unknown, seen ? "value is given twice" : $"unknown field beside \"value\" of {type.FullName}", _start + nameAt, seen ? null : name);
                _json.Skip();
            }
            else if (Enter())
            {
                seen = true;
                ReadMessageValue(type, legacy: false, null);
                _depth--;
            }
        }
    }

    // A type whose fields nobody knows any more: xds.type.v3.TypedStruct { type_url = 1, value = 2 } keeps what was said.
    private void WriteOpaque(MessageSchema type)
    {
        _out.Field(1, "type.googleapis.com/xds.type.v3.TypedStruct"u8);
        _out.Tag(2, 2);
        int begun = _out.Begin();
        _out.Tag(1, 2);
        _out.Varint((uint)type.TypeUrl.Length);
        _out.Commit(Encoding.UTF8.GetBytes(type.TypeUrl, _out.Reserve(type.TypeUrl.Length)));
        _out.Tag(2, 2);
        int value = _out.Begin();
        ReadStruct(skipType: true);
        _out.End(value);
        _out.End(begun);
    }

    // ---- where we are, and what is wrong there ------------------------------------------------------------------

    private ref Segment PushSegment()
    {
        if (_pathLength == _path.Length)
            Array.Resize(ref _path, _path.Length * 2);
        ref Segment segment = ref _path[_pathLength++];
        segment = default;
        segment.Index = -1;
        return ref segment;
    }

    private void Push(FieldSchema field) => PushSegment().Field = field;

    private void Push(MessageSchema type) => PushSegment().Type = type;

    private void PushIndex() => PushSegment().Index = 0;

    private void PushKey() => PushSegment();

    // The token of a map's key, quotes left out.
    private readonly void SetKey()
    {
        ref Segment segment = ref _path[_pathLength - 1];
        segment.KeyStart = _start + (int)_json.TokenStartIndex + 1;
        segment.KeyLength = _json.ValueSpan.Length;
    }

    private void Pop() => _pathLength--;

    private readonly string PathText(string? leaf)
    {
        var text = new StringBuilder(_root);
        for (int i = 0; i < _pathLength; i++)
        {
            Segment segment = _path[i];
            if (segment.Field is not null)
                text.Append(text.Length == 0 ? "" : ".").Append(segment.Field);
            else if (segment.Type is not null)
                text.Append(text.Length == 0 ? "<" : ".<").Append(segment.Type.ShortName).Append('>');
            else if (segment.Index >= 0)
                text.Append('[').Append(segment.Index).Append(']');
            else if (segment.KeyLength > 0)
                text.Append("[\"").Append(Encoding.UTF8.GetString(_document.Slice(segment.KeyStart, segment.KeyLength))).Append("\"]");
        }
        if (leaf is not null)
            text.Append(text.Length == 0 ? "" : ".").Append(leaf);
        return text.ToString();
    }

    private readonly void Fail(WireProblemKind kind, string reason) => ReportAt(kind, reason, _start + (int)_json.TokenStartIndex);

    // Reports the value under the reader and goes over it. Always false.
    private bool FailValue(string reason)
    {
        Fail(WireProblemKind.Invalid, reason);
        if (_json.TokenType is JsonTokenType.StartObject or JsonTokenType.StartArray or JsonTokenType.PropertyName)
            SkipFailed();
        return false;
    }

    // A map's key stays where it is: its value is read by the caller.
    private void SkipFailed()
    {
        if (_json.TokenType != JsonTokenType.PropertyName)
            _json.Skip();
    }

    private readonly void ReportAt(WireProblemKind kind, string reason, int offset, string? leaf = null)
    {
        offset = Math.Min(offset, _document.Length);
        ReadOnlySpan<byte> before = _document[..offset];
        int line = before.Count((byte)'\n') + 1;
        int column = offset - (before.LastIndexOf((byte)'\n') + 1) + 1;
        _problems.Add(new WireProblem(kind, PathText(leaf), reason, line, column));
    }

    private readonly ReadOnlySpan<byte> Unescape()
    {
        var text = new byte[_json.ValueSpan.Length];
        return text.AsSpan(0, _json.CopyString(text));
    }

    /// <summary>The keys of one map, by a hash of their text: a few are scanned, many go into a set.</summary>
    private ref struct KeySet
    {
        private HashSet<ulong>? _many;
        private Hashes _few;
        private int _count;

        [System.Runtime.CompilerServices.InlineArray(ScannedKeysMax)]
        private struct Hashes
        {
            private ulong _first;
        }

        /// <summary>False when the key under the reader is there already.</summary>
        public bool Add(ref Utf8JsonReader json)
        {
            ulong hash = Hash(json.ValueIsEscaped ? Encoding.UTF8.GetBytes(json.GetString()!) : json.ValueSpan);
            if (_many is not null)
                return _many.Add(hash);
            for (int i = 0; i < _count; i++)
            {
                if (_few[i] == hash)
                    return false;
            }
            if (_count < ScannedKeysMax)
            {
                _few[_count++] = hash;
                return true;
            }
            _many = [hash];
            for (int i = 0; i < _count; i++)
                _many.Add(_few[i]);
            return true;
        }

        private static ulong Hash(ReadOnlySpan<byte> key)
        {
            ulong hash = 14695981039346656037;
            foreach (byte b in key)
            {
                hash = (hash ^ b) * 0x9E3779B97F4A7C15;
                hash ^= hash >> 31;
            }
            return hash;
        }
    }
}
