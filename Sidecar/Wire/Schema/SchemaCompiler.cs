using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Text;
using Microsoft.Build.Framework;
using Microsoft.Build.Utilities;

namespace Sidecar.Wire.Schema
{
    /// <summary>
    /// Build step: turns the text tables beside it, the declarations in Wire/Protos and support.txt into the
    /// table that SchemaTable reads, as source. Compiled by MSBuild (RoslynCodeTaskFactory), not part of the product.
    /// A declaration that disagrees with the table, or names something the table does not know, is a build error.
    /// </summary>
    public sealed class SchemaCompiler : Task
    {
        [Required] public ITaskItem[] Schemas { get; set; } = Array.Empty<ITaskItem>();
        [Required] public ITaskItem[] Protos { get; set; } = Array.Empty<ITaskItem>();
        [Required] public string Support { get; set; } = "";
        [Required] public string Output { get; set; } = "";

        // The same numbers as Sidecar.Wire.Support and Sidecar.Wire.FieldType.
        private const int Unsupported = 0, Supported = 1, Accepted = 2, Opaque = 3;
        private static readonly string[] Scalars =
        {
            "", "double", "float", "int64", "uint64", "int32", "fixed64", "fixed32", "bool", "string", "", "message",
            "bytes", "uint32", "enum", "sfixed32", "sfixed64", "sint32", "sint64",
        };
        private const int MessageType = 11, EnumType = 14;

        private sealed class Field
        {
            public string Name = "", TypeText = "", Oneof = "";
            public int Number, Type, KeyType, Ref, Support = Unsupported, Note;
            public bool Repeated, Map, Presence, Sensitive;
        }

        private sealed class Message
        {
            public string Name = "", Package = "";
            public readonly List<Field> Fields = new List<Field>();
            public int Support = Unsupported, Note;
        }

        private sealed class Enumeration
        {
            public string Name = "";
            public readonly List<KeyValuePair<string, int>> Values = new List<KeyValuePair<string, int>>();
        }

        private readonly Dictionary<string, Message> _messages = new Dictionary<string, Message>();
        private readonly Dictionary<string, Enumeration> _enums = new Dictionary<string, Enumeration>();
        private readonly List<KeyValuePair<string, string>> _aliases = new List<KeyValuePair<string, string>>();
        private readonly List<string> _notes = new List<string> { "" };

        public override bool Execute()
        {
            foreach (ITaskItem schema in Schemas)
                ReadSchema(schema.ItemSpec);
            foreach (ITaskItem proto in Protos)
                ReadProto(proto.ItemSpec);
            foreach (Message message in _messages.Values)
            {
                if (message.Package != "google.protobuf")
                    continue;
                message.Support = Supported;
                foreach (Field field in message.Fields)
                    field.Support = Supported;
            }
            ReadSupport(Support);
            if (Log.HasLoggedErrors)
                return false;
            byte[] table = Write();
            if (Log.HasLoggedErrors)
                return false;
            Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(Output)));
            File.WriteAllText(Output, Source(table));
            return true;
        }

        private void Error(string file, int line, string text) =>
            Log.LogError("schema", null, null, file, line, 0, 0, 0, text);

        // ---- the text tables ---------------------------------------------------------------------------------

        private void ReadSchema(string path)
        {
            string package = "";
            Message message = null;
            Enumeration enumeration = null;
            int lineNumber = 0;
            foreach (string raw in File.ReadAllLines(path))
            {
                lineNumber++;
                string line = raw.Trim();
                if (line.Length == 0 || line[0] == '#')
                    continue;
                string[] words = line.Split(' ');
                switch (words[0])
                {
                    case "package":
                        package = words[1];
                        break;
                    case "message":
                        message = new Message { Name = package + "." + words[1], Package = package };
                        enumeration = null;
                        _messages.Add(message.Name, message);
                        break;
                    case "enum":
                        enumeration = new Enumeration { Name = package + "." + words[1] };
                        message = null;
                        _enums.Add(enumeration.Name, enumeration);
                        break;
                    case "alias":
                        _aliases.Add(new KeyValuePair<string, string>(words[1], words[2]));
                        break;
                    default:
                        int number;
                        if (!int.TryParse(words[0], NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out number))
                            Error(path, lineNumber, "a field line starts with its number");
                        else if (enumeration != null)
                            enumeration.Values.Add(new KeyValuePair<string, int>(words[1], number));
                        else if (message != null)
                            message.Fields.Add(ReadField(package, number, words));
                        else
                            Error(path, lineNumber, "a field outside of a message");
                        break;
                }
            }
        }

        private static Field ReadField(string package, int number, string[] words)
        {
            var field = new Field { Number = number, Name = words[1] };
            string type = words[2];
            for (int i = 3; i < words.Length; i++)
            {
                if (words[i][0] == '@')
                    field.Oneof = words[i].Substring(1);
                else if (words[i] == "!")
                    field.Sensitive = true;
            }
            if (type[0] == '?')
            {
                field.Presence = true;
                type = type.Substring(1);
            }
            if (type.EndsWith("[]", StringComparison.Ordinal))
            {
                field.Repeated = true;
                type = type.Substring(0, type.Length - 2);
            }
            if (type.StartsWith("map<", StringComparison.Ordinal))
            {
                field.Map = field.Repeated = true;
                string[] pair = type.Substring(4, type.Length - 5).Split(',');
                field.KeyType = Array.IndexOf(Scalars, pair[0].Trim());
                type = pair[1].Trim();
            }
            field.Type = Array.IndexOf(Scalars, type);
            field.TypeText = field.Type > 0 ? type : char.IsUpper(type[0]) ? package + "." + type : type;
            if (field.Oneof.Length > 0)
                field.Presence = true;
            return field;
        }

        // ---- the declarations: what is supported ---------------------------------------------------------------

        private void ReadProto(string path)
        {
            List<string> tokens = Tokens(File.ReadAllText(path));
            string package = "";
            var scopes = new Stack<string>();         // message and enum names, and "" for a oneof
            Enumeration skipping = null;
            int i = 0;
            while (i < tokens.Count)
            {
                string token = tokens[i];
                if (token == "package")
                {
                    package = tokens[i + 1];
                    i += 3;
                }
                else if (token == "syntax" || token == "import" || token == "option" || token == "reserved")
                {
                    while (tokens[i] != ";")
                        i++;
                    i++;
                }
                else if (token == "message" && tokens[i + 2] == "{")
                {
                    scopes.Push((scopes.Count == 0 ? package : Enclosing(scopes)) + "." + tokens[i + 1]);
                    Message message;
                    if (!_messages.TryGetValue(scopes.Peek(), out message))
                        Error(path, 0, "message " + scopes.Peek() + " is not in Wire/Schema; add it there first");
                    else
                        message.Support = Supported;
                    i += 3;
                }
                else if (token == "enum" && tokens[i + 2] == "{")
                {
                    scopes.Push("enum");
                    skipping = new Enumeration();
                    i += 3;
                }
                else if (token == "oneof" && tokens[i + 2] == "{")
                {
                    scopes.Push("");
                    i += 3;
                }
                else if (token == "}")
                {
                    if (scopes.Pop() == "enum")
                        skipping = null;
                    i++;
                }
                else if (token == ";")
                    i++;
                else
                {
                    int end = i;
                    while (tokens[end] != ";")
                        end++;
                    if (skipping == null)
                        Declare(path, package, Enclosing(scopes), tokens, i, end);
                    i = end + 1;
                }
            }
        }

        private static string Enclosing(Stack<string> scopes)
        {
            foreach (string scope in scopes)
            {
                if (scope.Length > 0)
                    return scope;
            }
            return "";
        }

        private void Declare(string path, string package, string scope, List<string> tokens, int start, int end)
        {
            int equals = tokens.IndexOf("=", start);
            if (equals < 0 || equals > end)
            {
                Error(path, 0, "not understood in " + scope + ": " + string.Join(" ", tokens.GetRange(start, end - start)));
                return;
            }
            string name = tokens[equals - 1];
            int number = int.Parse(tokens[equals + 1], CultureInfo.InvariantCulture);
            string type = string.Join("", tokens.GetRange(start, equals - 1 - start));
            bool repeated = tokens[start] == "repeated", optional = tokens[start] == "optional";
            if (repeated)
                type = type.Substring("repeated".Length);
            if (optional)
                type = type.Substring("optional".Length);
            Message message;
            if (!_messages.TryGetValue(scope, out message))
                return;
            Field field = message.Fields.Find(candidate => candidate.Number == number);
            if (field == null || field.Name != name)
            {
                Error(path, 0, scope + "." + name + " = " + number + " is not in Wire/Schema; add it there first");
                return;
            }
            bool map = type.StartsWith("map<", StringComparison.Ordinal);
            if (map)
                type = type.Substring(type.IndexOf(',') + 1).TrimEnd('>');
            bool sameType = field.Type > 0
                ? type == field.TypeText
                : ("." + field.TypeText).EndsWith("." + type.TrimStart('.'), StringComparison.Ordinal);
            if (!sameType || map != field.Map || (repeated || map) != field.Repeated)
                Error(path, 0, scope + "." + name + " is declared as " + type + ", the table says " + field.TypeText);
            field.Support = Supported;
        }

        private static List<string> Tokens(string text)
        {
            var tokens = new List<string>();
            int i = 0;
            while (i < text.Length)
            {
                char c = text[i];
                if (char.IsWhiteSpace(c))
                    i++;
                else if (c == '/' && text[i + 1] == '/')
                {
                    while (i < text.Length && text[i] != '\n')
                        i++;
                }
                else if (c == '"')
                {
                    int close = text.IndexOf('"', i + 1);
                    tokens.Add(text.Substring(i, close - i + 1));
                    i = close + 1;
                }
                else if (char.IsLetterOrDigit(c) || c == '_' || c == '.' || c == '-')
                {
                    int start = i;
                    while (i < text.Length && (char.IsLetterOrDigit(text[i]) || text[i] == '_' || text[i] == '.' || text[i] == '-'))
                        i++;
                    tokens.Add(text.Substring(start, i - start));
                }
                else
                {
                    tokens.Add(c.ToString());
                    i++;
                }
            }
            return tokens;
        }

        private void ReadSupport(string path)
        {
            int lineNumber = 0;
            foreach (string raw in File.ReadAllLines(path))
            {
                lineNumber++;
                string line = raw.Trim();
                if (line.Length == 0 || line[0] == '#')
                    continue;
                string[] words = line.Split(new[] { ' ' }, 3, StringSplitOptions.RemoveEmptyEntries);
                int support = words[0] == "unsupported" ? Unsupported : words[0] == "accepted" ? Accepted : words[0] == "opaque" ? Opaque : -1;
                if (support < 0 || words.Length < 3)
                {
                    Error(path, lineNumber, "expected: unsupported|accepted|opaque NAME REASON");
                    continue;
                }
                _notes.Add(words[2]);
                int note = _notes.Count - 1;
                Message message;
                if (support == Opaque)
                {
                    _messages[words[1]] = new Message { Name = words[1], Package = words[1], Support = Opaque, Note = note };
                    continue;
                }
                if (_messages.TryGetValue(words[1], out message))
                {
                    message.Support = support;
                    message.Note = note;
                    continue;
                }
                int dot = words[1].LastIndexOf('.');
                string fieldName = words[1].Substring(dot + 1);
                Field field = null;
                if (_messages.TryGetValue(words[1].Substring(0, dot), out message))
                    field = message.Fields.Find(candidate => candidate.Name == fieldName);
                if (field == null)
                {
                    Error(path, lineNumber, words[1] + " is not in Wire/Schema");
                    continue;
                }
                field.Support = support;
                field.Note = note;
            }
        }

        // ---- the binary table; SchemaTable.cs describes it -----------------------------------------------------

        private readonly MemoryStream _heap = new MemoryStream();
        private readonly Dictionary<string, int> _heapOffsets = new Dictionary<string, int>();

        private int Intern(string text)
        {
            int offset;
            if (_heapOffsets.TryGetValue(text, out offset))
                return offset;
            offset = (int)_heap.Length;
            byte[] bytes = Encoding.UTF8.GetBytes(text);
            _heap.Write(bytes, 0, bytes.Length);
            _heapOffsets.Add(text, offset);
            return offset;
        }

        private byte[] Write()
        {
            var messageNames = new List<string>(_messages.Keys);
            var enumNames = new List<string>(_enums.Keys);
            messageNames.Sort(StringComparer.Ordinal);
            enumNames.Sort(StringComparer.Ordinal);
            _aliases.Sort((left, right) => string.CompareOrdinal(left.Key, right.Key));
            var messageIndex = new Dictionary<string, int>();
            var enumIndex = new Dictionary<string, int>();
            for (int i = 0; i < messageNames.Count; i++)
                messageIndex.Add(messageNames[i], i);
            for (int i = 0; i < enumNames.Count; i++)
                enumIndex.Add(enumNames[i], i);

            var messages = new MemoryStream();
            var fields = new MemoryStream();
            var enums = new MemoryStream();
            var values = new MemoryStream();
            var aliases = new MemoryStream();
            var notes = new MemoryStream();
            var slots = new MemoryStream();
            int fieldCount = 0, valueCount = 0, slotCount = 0;
            foreach (string name in messageNames)
            {
                Message message = _messages[name];
                message.Fields.Sort((left, right) => left.Number.CompareTo(right.Number));
                Put(messages, Intern(name), 4);
                Put(messages, name.Length, 2);
                Put(messages, message.Fields.Count, 2);
                Put(messages, fieldCount, 4);
                // Where the name starts that a path shows: after the package.
                Put(messages, Math.Min(message.Package.Length + 1, name.Length), 2);
                Put(messages, message.Support, 1);
                int bits = AddSlots(slots, message);
                Put(messages, bits, 1);
                Put(messages, message.Note, 2);
                Put(messages, 0, 2);
                Put(messages, slotCount, 4);
                slotCount += 1 << bits;
                var oneofs = new List<string> { "" };
                foreach (Field field in message.Fields)
                {
                    if (field.Type <= 0)
                    {
                        if (messageIndex.TryGetValue(field.TypeText, out field.Ref))
                            field.Type = MessageType;
                        else if (enumIndex.TryGetValue(field.TypeText, out field.Ref))
                            field.Type = EnumType;
                        else
                            Log.LogError("schema: {0}.{1} has the unknown type {2}", name, field.Name, field.TypeText);
                    }
                    if (!oneofs.Contains(field.Oneof))
                        oneofs.Add(field.Oneof);
                    Put(fields, Intern(field.Name), 4);
                    Put(fields, field.Number, 4);
                    Put(fields, field.Name.Length, 1);
                    Put(fields, field.Type, 1);
                    Put(fields, (field.Repeated ? 1 : 0) | (field.Map ? 2 : 0) | (field.Presence ? 4 : 0) | (field.Sensitive ? 8 : 0), 1);
                    Put(fields, field.KeyType, 1);
                    Put(fields, field.Ref, 2);
                    Put(fields, oneofs.IndexOf(field.Oneof), 1);
                    Put(fields, field.Support, 1);
                    Put(fields, field.Note, 2);
                    string jsonName = CamelCase(field.Name);
                    Put(fields, jsonName.Length, 2);
                    Put(fields, Intern(jsonName), 4);
                    fieldCount++;
                }
            }
            foreach (string name in enumNames)
            {
                Enumeration enumeration = _enums[name];
                Put(enums, Intern(name), 4);
                Put(enums, name.Length, 2);
                Put(enums, enumeration.Values.Count, 2);
                Put(enums, valueCount, 4);
                foreach (KeyValuePair<string, int> value in enumeration.Values)
                {
                    Put(values, Intern(value.Key), 4);
                    Put(values, value.Value, 4);
                    Put(values, value.Key.Length, 4);
                    valueCount++;
                }
            }
            int aliasCount = 0;
            foreach (KeyValuePair<string, string> alias in _aliases)
            {
                int target;
                if (!messageIndex.TryGetValue(alias.Value, out target))
                {
                    Log.LogError("schema: alias {0} names the unknown {1}", alias.Key, alias.Value);
                    continue;
                }
                Put(aliases, Intern(alias.Key), 4);
                Put(aliases, alias.Key.Length, 2);
                Put(aliases, target, 2);
                aliasCount++;
            }
            foreach (string note in _notes)
            {
                Put(notes, Intern(note), 4);
                Put(notes, Encoding.UTF8.GetByteCount(note), 4);
            }

            var table = new MemoryStream();
            Put(table, 0x31484353, 4);
            Put(table, messageNames.Count, 4);
            Put(table, fieldCount, 4);
            Put(table, enumNames.Count, 4);
            Put(table, valueCount, 4);
            Put(table, aliasCount, 4);
            Put(table, _notes.Count, 4);
            Put(table, slotCount, 4);
            foreach (MemoryStream part in new[] { messages, fields, enums, values, aliases, notes, slots, _heap })
                part.WriteTo(table);
            return table.ToArray();
        }

        // Open addressing over both names of each field, at most half full; a slot is the field's index + 1, or 0. Returns the logarithm of their number.
        private static int AddSlots(Stream slots, Message message)
        {
            int bits = 2;
            while (1 << bits < message.Fields.Count * 4)
                bits++;
            var table = new int[1 << bits];
            for (int i = 0; i < message.Fields.Count; i++)
            {
                string name = message.Fields[i].Name, jsonName = CamelCase(name);
                foreach (string one in name == jsonName ? new[] { name } : new[] { name, jsonName })
                {
                    uint at = Hash(one) & ((1u << bits) - 1);
                    while (table[at] != 0)
                        at = (at + 1) & ((1u << bits) - 1);
                    table[at] = i + 1;
                }
            }
            foreach (int slot in table)
                Put(slots, slot, 2);
            return bits;
        }

        // MessageSchema.Hash, to the bit.
        private static uint Hash(string name)
        {
            unchecked
            {
                ulong hash = (ulong)name.Length * 0x9E3779B97F4A7C15;
                int at = 0;
                for (; name.Length - at >= 8; at += 8)
                {
                    ulong word = 0;
                    for (int i = 0; i < 8; i++)
                        word |= (ulong)name[at + i] << (8 * i);
                    hash = (hash ^ word) * 0x9E3779B97F4A7C15;
                    hash ^= hash >> 29;
                }
                for (; at < name.Length; at++)
                    hash = (hash ^ name[at]) * 0x100000001B3;
                return (uint)(hash ^ (hash >> 32));
            }
        }

        // protobuf's own rule: an underscore goes, and what follows it is capitalised.
        private static string CamelCase(string name)
        {
            var camel = new StringBuilder(name.Length);
            bool upper = false;
            foreach (char c in name)
            {
                if (c != '_')
                    camel.Append(upper && c >= 'a' && c <= 'z' ? (char)(c - 32) : c);
                upper = c == '_';
            }
            return camel.ToString();
        }

        // The table as source: constants of the program, found without asking for a resource, and never copied.
        private static string Source(byte[] table)
        {
            var text = new StringBuilder(table.Length * 3);
            text.Append("// <auto-generated/>\nnamespace Sidecar.Wire;\n\ninternal static unsafe partial class SchemaTable\n{\n    private static global::System.ReadOnlySpan<ulong> Data =>\n    [");
            for (int at = 0; at < table.Length; at += 8)
            {
                ulong word = 0;
                for (int i = 0; i < 8 && at + i < table.Length; i++)
                    word |= (ulong)table[at + i] << (8 * i);
                text.Append(at % 64 == 0 ? "\n        " : " ").Append("0x").Append(word.ToString("x", CultureInfo.InvariantCulture)).Append(',');
            }
            return text.Append("\n    ];\n}\n").ToString();
        }

        private static void Put(Stream stream, int value, int size)
        {
            for (int i = 0; i < size; i++)
                stream.WriteByte((byte)(value >> (8 * i)));
        }
    }
}
