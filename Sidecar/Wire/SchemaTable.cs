using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;

namespace Sidecar.Wire;

// Adding a message that Sidecar shall understand:
//   1. If the schema does not know it yet, add it to Wire/Schema/*.schema: "message Name", then "number name type" a line.
//   2. Declare it in Wire/Protos (package, names and numbers as there); the build fails where the two disagree.
//      Declared = supported; a declared field that nothing acts on yet gets a line in Wire/Schema/support.txt.
//   3. Read the generated class in the Create of the extension, or in its translator. Nothing else: JSON in, JSON out
//      and the report of unsupported fields follow from the table.

/// <summary>What Sidecar does with a field or a type.</summary>
internal enum Support : byte
{
    /// <summary>Known to Envoy, without effect here: reported by its path.</summary>
    Unsupported = 0,

    /// <summary>Declared in Wire/Protos.</summary>
    Supported = 1,

    /// <summary>Taken on purpose without effect; the note says why.</summary>
    Accepted = 2,

    /// <summary>A type whose fields nobody knows any more; kept as a TypedStruct.</summary>
    Opaque = 3,
}

/// <summary>Protobuf's own numbers of the field types (FieldDescriptorProto.Type).</summary>
internal enum FieldType : byte
{
    Double = 1, Float = 2, Int64 = 3, UInt64 = 4, Int32 = 5, Fixed64 = 6, Fixed32 = 7, Bool = 8, String = 9,
    Message = 11, Bytes = 12, UInt32 = 13, Enum = 14, SFixed32 = 15, SFixed64 = 16, SInt32 = 17, SInt64 = 18,
}

/// <summary>Types whose JSON form is not an object of their fields.</summary>
internal enum WellKnown : byte
{
    None, Any, Duration, Timestamp, FieldMask, Struct, Value, ListValue, Wrapper,
}

/// <summary>
/// Every Envoy message, field and enum by name and number: what the transcoder, the report of unsupported fields and the
/// dumps work from. The table is made at build by Wire/Schema/SchemaCompiler.cs; a message becomes an object when first asked for, and so does each field of it.
/// Read-only; any thread.
/// </summary>
internal static unsafe partial class SchemaTable
{
    // Little-endian. Header: magic, then the counts of messages, fields, enums, values, aliases, notes and slots.
    // Then the arrays in that order, then the heap of UTF-8 names:
    //   message 24: name(4) nameLength(2) fields(2) firstField(4) shortNameStart(2) support(1) slotBits(1) note(2) -(2) firstSlot(4)
    //   field   24: name(4) number(4) nameLength(1) type(1) flags(1) keyType(1) ref(2) oneof(1) support(1) note(2) jsonNameLength(2) jsonName(4)
    //   enum    12: name(4) nameLength(2) values(2) firstValue(4)
    //   value   12: name(4) number(4) nameLength(4)
    //   alias    8: name(4) nameLength(2) message(2)
    //   note     8: text(4) length(4)
    //   slot     2: a field's index in its message + 1, or 0; where its names are found by their hash (MessageSchema.Find)
    private const int Magic = 0x31484353;
    private const int HeaderBytes = 32, MessageBytes = 24, FieldBytes = 24, EnumBytes = 12, ValueBytes = 12, AliasBytes = 8, NoteBytes = 8, SlotBytes = 2;

    // Constants of the program do not move.
    private static readonly byte* Table = (byte*)Unsafe.AsPointer(ref MemoryMarshal.GetReference(Data));
    private static readonly int MessageCount = Header(1), FieldCount = Header(2), EnumCount = Header(3),
        ValueCount = Header(4), AliasCount = Header(5), NoteCount = Header(6), SlotCount = Header(7);
    private static readonly int FieldsStart = HeaderBytes + MessageCount * MessageBytes;
    private static readonly int EnumsStart = FieldsStart + FieldCount * FieldBytes;
    private static readonly int ValuesStart = EnumsStart + EnumCount * EnumBytes;
    private static readonly int AliasesStart = ValuesStart + ValueCount * ValueBytes;
    private static readonly int NotesStart = AliasesStart + AliasCount * AliasBytes;
    private static readonly int SlotsStart = NotesStart + NoteCount * NoteBytes;
    private static readonly int HeapStart = SlotsStart + SlotCount * SlotBytes;
    private static readonly MessageSchema?[] Messages = new MessageSchema?[MessageCount];
    private static readonly EnumSchema?[] Enums = new EnumSchema?[EnumCount];

    /// <summary>How many messages the table knows.</summary>
    public static int Count => MessageCount;

    /// <summary>The message of this full name ("envoy.config.listener.v3.Listener"), or null. 2020's names are not found here.</summary>
    public static MessageSchema? Find(ReadOnlySpan<byte> fullName)
    {
        int low = 0, high = MessageCount - 1;
        while (low <= high)
        {
            int middle = (low + high) >>> 1;
            int row = HeaderBytes + middle * MessageBytes;
            int order = Text(row, Int16(row + 4)).SequenceCompareTo(fullName);
            if (order == 0)
                return Message(middle);
            if (order < 0)
                low = middle + 1;
            else
                high = middle - 1;
        }
        return null;
    }

    /// <summary>The message of this full name, or null.</summary>
    public static MessageSchema? Find(string fullName) => Find(Encoding.UTF8.GetBytes(fullName));

    /// <summary>The message a type URL names (what follows the last '/'); legacy says that the name was 2020's. Null when unknown.</summary>
    public static MessageSchema? FindType(ReadOnlySpan<byte> typeUrl, out bool legacy)
    {
        ReadOnlySpan<byte> name = typeUrl[(typeUrl.LastIndexOf((byte)'/') + 1)..];
        legacy = false;
        MessageSchema? found = Find(name);
        if (found is not null)
            return found;
        int low = 0, high = AliasCount - 1;
        while (low <= high)
        {
            int middle = (low + high) >>> 1;
            int row = AliasesStart + middle * AliasBytes;
            int order = Text(row, Int16(row + 4)).SequenceCompareTo(name);
            if (order == 0)
            {
                legacy = true;
                return Message(Int16(row + 6));
            }
            if (order < 0)
                low = middle + 1;
            else
                high = middle - 1;
        }
        return null;
    }

    /// <summary>The message of this index (0 until Count).</summary>
    public static MessageSchema Message(int index) => Messages[index] ??= ReadMessage(index);

    internal static EnumSchema Enum(int index) => Enums[index] ??= ReadEnum(index);

    private static int Header(int word) => Int32(word * 4);

    private static int Int32(int at) => BinaryPrimitives.ReadInt32LittleEndian(new ReadOnlySpan<byte>(Table + at, 4));

    private static int Int16(int at) => BinaryPrimitives.ReadUInt16LittleEndian(new ReadOnlySpan<byte>(Table + at, 2));

    private static ReadOnlySpan<byte> Text(int row, int length) => new(Table + HeapStart + Int32(row), length);

    private static string? Note(int index)
    {
        int row = NotesStart + index * NoteBytes;
        return index == 0 ? null : Encoding.UTF8.GetString(Text(row, Int32(row + 4)));
    }

    private static MessageSchema ReadMessage(int index)
    {
        Debug.Assert(Header(0) == Magic);
        int row = HeaderBytes + index * MessageBytes;
        string fullName = Encoding.UTF8.GetString(Text(row, Int16(row + 4)));
        return new MessageSchema(
            fullName, shortNameStart: Int16(row + 12), (Support)Table[row + 14], Note(Int16(row + 16)), firstField: Int32(row + 8), fieldCount: Int16(row + 6),
            slots: (ushort*)(Table + SlotsStart) + Int32(row + 20), slotBits: Table[row + 15]);
    }

    /// <summary>A field by its place among all.</summary>
    internal static FieldSchema ReadField(int index, int indexInMessage)
    {
        int at = FieldsStart + index * FieldBytes;
        return new FieldSchema(
            Table + HeapStart + Int32(at), Table[at + 8], Table + HeapStart + Int32(at + 20), Int16(at + 18), Int32(at + 4), (FieldType)Table[at + 9], Table[at + 10],
            (FieldType)Table[at + 11], Int16(at + 12), Table[at + 14], (Support)Table[at + 15], Note(Int16(at + 16)), indexInMessage);
    }

    /// <summary>The number of a field by its place among all.</summary>
    internal static int FieldNumber(int index) => Int32(FieldsStart + index * FieldBytes + 4);

    /// <summary>Whether a field, by its place among all, has this name in either spelling.</summary>
    internal static bool IsFieldNamed(int index, ReadOnlySpan<byte> name)
    {
        int at = FieldsStart + index * FieldBytes;
        return name.SequenceEqual(Text(at, Table[at + 8])) || name.SequenceEqual(Text(at + 20, Int16(at + 18)));
    }

    private static EnumSchema ReadEnum(int index)
    {
        int row = EnumsStart + index * EnumBytes;
        int count = Int16(row + 6), first = Int32(row + 8);
        var names = new byte[count][];
        var numbers = new int[count];
        for (int i = 0; i < count; i++)
        {
            int at = ValuesStart + (first + i) * ValueBytes;
            names[i] = Text(at, Int32(at + 8)).ToArray();
            numbers[i] = Int32(at + 4);
        }
        return new EnumSchema(Encoding.UTF8.GetString(Text(row, Int16(row + 4))), names, numbers);
    }
}

/// <summary>One message of the table. What is asked for is made and kept: two threads may make it twice, equal both times. Any thread.</summary>
internal sealed unsafe class MessageSchema
{
    private readonly ushort* _slots;
    private readonly uint _slotMask;
    private readonly int _firstField;
    private readonly int _shortNameStart;
    private readonly FieldSchema?[] _fields;
    private string? _typeUrl;
    private V2Names.LegacyField[]? _legacy;
    private bool _isLegacyKnown;

    internal MessageSchema(string fullName, int shortNameStart, Support support, string? note, int firstField, int fieldCount, ushort* slots, int slotBits)
    {
        FullName = fullName;
        Support = support;
        Note = note;
        WellKnown = Kind(fullName);
        _shortNameStart = shortNameStart;
        _firstField = firstField;
        _fields = fieldCount == 0 ? [] : new FieldSchema?[fieldCount];
        _slots = slots;
        _slotMask = (1u << slotBits) - 1;
    }

    /// <summary>"envoy.config.listener.v3.Listener".</summary>
    public string FullName { get; }

    /// <summary>The name without its package: "Listener", "Listener.DeprecatedV1".</summary>
    public string ShortName => FullName[_shortNameStart..];

    /// <summary>"type.googleapis.com/" and the full name.</summary>
    public string TypeUrl => _typeUrl ??= "type.googleapis.com/" + FullName;

    /// <summary>What Sidecar does with the type.</summary>
    public Support Support { get; }

    /// <summary>Why, when the type is accepted without effect or unsupported on purpose.</summary>
    public string? Note { get; }

    /// <summary>How many fields there are.</summary>
    public int FieldCount => _fields.Length;

    /// <summary>All fields in the order of their numbers.</summary>
    public IEnumerable<FieldSchema> Fields
    {
        get
        {
            for (int i = 0; i < _fields.Length; i++)
                yield return Field(i);
        }
    }

    /// <summary>A field by its place in the order of their numbers.</summary>
    public FieldSchema Field(int index) => _fields[index] ??= SchemaTable.ReadField(_firstField + index, index);

    /// <summary>Which special JSON form the type has.</summary>
    public WellKnown WellKnown { get; }

    /// <summary>2020's fields of this message that are gone or renamed; null for most.</summary>
    public V2Names.LegacyField[]? Legacy
    {
        get
        {
            if (!_isLegacyKnown)
            {
                _legacy = V2Names.Of(FullName);
                _isLegacyKnown = true;
            }
            return _legacy;
        }
    }

    /// <summary>The field of this name, in either spelling (snake_case, camelCase), or null.</summary>
    public FieldSchema? Find(ReadOnlySpan<byte> name)
    {
        for (uint at = Hash(name); ; at++)
        {
            int index = _slots[at & _slotMask] - 1;
            if (index < 0)
                return null;
            if (SchemaTable.IsFieldNamed(_firstField + index, name))
                return Field(index);
        }
    }

    /// <summary>The field of this number, or null.</summary>
    public FieldSchema? Find(uint number)
    {
        // Most messages have their numbers without gaps.
        int low = 0, high = _fields.Length - 1, middle = (int)Math.Min(number - 1, (uint)(high < 0 ? 0 : high));
        while (low <= high)
        {
            uint candidate = (uint)SchemaTable.FieldNumber(_firstField + middle);
            if (candidate == number)
                return Field(middle);
            if (candidate < number)
                low = middle + 1;
            else
                high = middle - 1;
            middle = (low + high) >>> 1;
        }
        return null;
    }

    /// <summary>The field of this name; the name must exist.</summary>
    public FieldSchema this[string name] =>
        Find(Encoding.UTF8.GetBytes(name)) ?? throw new KeyNotFoundException($"{FullName} has no field {name}");

    // SchemaCompiler.Hash, to the bit.
    private static uint Hash(ReadOnlySpan<byte> name)
    {
        ulong hash = (ulong)name.Length * 0x9E3779B97F4A7C15;
        while (name.Length >= 8)
        {
            hash = (hash ^ BinaryPrimitives.ReadUInt64LittleEndian(name)) * 0x9E3779B97F4A7C15;
            hash ^= hash >> 29;
            name = name[8..];
        }
        foreach (byte b in name)
            hash = (hash ^ b) * 0x100000001B3;
        return (uint)(hash ^ (hash >> 32));
    }

    private static WellKnown Kind(string fullName)
    {
        const string Package = "google.protobuf.";
        if (!fullName.StartsWith(Package, StringComparison.Ordinal))
            return WellKnown.None;
        return fullName[Package.Length..] switch
        {
            "Any" => WellKnown.Any,
            "Duration" => WellKnown.Duration,
            "Timestamp" => WellKnown.Timestamp,
            "FieldMask" => WellKnown.FieldMask,
            "Struct" => WellKnown.Struct,
            "Value" => WellKnown.Value,
            "ListValue" => WellKnown.ListValue,
            "Empty" => WellKnown.None,
            _ => WellKnown.Wrapper,
        };
    }
}

/// <summary>One field of a message. Immutable once made; any thread.</summary>
internal sealed unsafe class FieldSchema
{
    private readonly byte* _name;
    private readonly byte* _jsonName;
    private readonly int _nameLength;
    private readonly int _jsonNameLength;
    private readonly int _reference;
    private MessageSchema? _message;
    private EnumSchema? _enum;

    internal FieldSchema(
        byte* name, int nameLength, byte* jsonName, int jsonNameLength, int number, FieldType type, byte flags, FieldType keyType, int reference, byte oneof, Support support, string? note, int index)
    {
        _name = name;
        _nameLength = nameLength;
        _jsonName = jsonName;
        _jsonNameLength = jsonNameLength;
        Number = number;
        Type = type;
        KeyType = keyType;
        Oneof = oneof;
        Support = support;
        Note = note;
        Index = index;
        IsMap = (flags & 2) != 0;
        IsRepeated = (flags & 1) != 0 && !IsMap;
        HasPresence = (flags & 4) != 0;
        Sensitive = (flags & 8) != 0;
        _reference = reference;
    }

    /// <summary>The name in the declaration, UTF-8: "use_original_dst".</summary>
    public ReadOnlySpan<byte> Name => new(_name, _nameLength);

    /// <summary>The name in canonical JSON, UTF-8: "useOriginalDst".</summary>
    public ReadOnlySpan<byte> JsonName => new(_jsonName, _jsonNameLength);

    /// <summary>The number on the wire.</summary>
    public int Number { get; }

    /// <summary>The type; of a map, the type of its values.</summary>
    public FieldType Type { get; }

    /// <summary>Of a map, the type of its keys.</summary>
    public FieldType KeyType { get; }

    /// <summary>Which oneof of the message it belongs to, from 1; 0 for none.</summary>
    public byte Oneof { get; }

    /// <summary>What Sidecar does with the field.</summary>
    public Support Support { get; }

    /// <summary>Why, when Support is not what the rule gives.</summary>
    public string? Note { get; }

    /// <summary>Place among the fields of its message.</summary>
    public int Index { get; }

    /// <summary>A list; never true for a map.</summary>
    public bool IsRepeated { get; }

    /// <summary>A map.</summary>
    public bool IsMap { get; }

    /// <summary>A zero that is set differs from an absent one (oneof, proto3 optional).</summary>
    public bool HasPresence { get; }

    /// <summary>A secret: dumps show "[redacted]".</summary>
    public bool Sensitive { get; }

    /// <summary>The message of a message field (of a map, of its values).</summary>
    public MessageSchema Message => _message ??= SchemaTable.Message(_reference);

    /// <summary>The enum of an enum field.</summary>
    public EnumSchema Enum => _enum ??= SchemaTable.Enum(_reference);

    /// <summary>The name as text.</summary>
    public override string ToString() => Encoding.UTF8.GetString(Name);
}

/// <summary>One enum of the table. Immutable; any thread.</summary>
internal sealed class EnumSchema(string fullName, byte[][] names, int[] numbers)
{
    /// <summary>"envoy.config.core.v3.TrafficDirection".</summary>
    public string FullName { get; } = fullName;

    /// <summary>google.protobuf.NullValue, whose JSON is null.</summary>
    public bool IsNull => FullName == "google.protobuf.NullValue";

    /// <summary>The number of a name; false when the enum has no such value.</summary>
    public bool TryNumber(ReadOnlySpan<byte> name, out int number)
    {
        for (int i = 0; i < names.Length; i++)
        {
            if (name.SequenceEqual(names[i]))
            {
                number = numbers[i];
                return true;
            }
        }
        number = 0;
        return false;
    }

    /// <summary>The name of a number; empty when the enum has no such value.</summary>
    public ReadOnlySpan<byte> Name(int number)
    {
        int index = Array.IndexOf(numbers, number);
        return index < 0 ? default : names[index];
    }

    /// <summary>All names, for error texts: "A, B, C".</summary>
    public string AllNames()
    {
        var text = new StringBuilder();
        foreach (byte[] name in names)
            text.Append(text.Length == 0 ? "" : ", ").Append(Encoding.UTF8.GetString(name));
        return text.ToString();
    }
}
