using System;
using System.Text;

namespace Sidecar.Wire;

/// <summary>
/// Walks the wire bytes of a message and names, by exact path, every field that is unknown, known to Envoy but unsupported here,
/// or accepted without effect. Walks also what stands inside of Any and TypedStruct.
/// </summary>
internal static class UnsupportedFields
{
    /// <summary>
    /// Adds every such field of the message to the problems. False when the bytes are broken (that is a problem, too).
    /// </summary>
    /// <param name="wire">The message.</param>
    /// <param name="type">Its type.</param>
    /// <param name="path">Where the message stands, the start of every path; may be empty.</param>
    /// <param name="problems">Where they go.</param>
    public static bool Walk(ReadOnlySpan<byte> wire, MessageSchema type, string path, WireProblems problems)
    {
        var walk = new Walker(path, problems);
        return walk.Message(wire, type, 0);
    }

    private ref struct Walker(string root, WireProblems problems)
    {
        private (FieldSchema? Field, MessageSchema? Type, int Index)[] _path = new (FieldSchema?, MessageSchema?, int)[16];
        private int _length;

        public bool Message(ReadOnlySpan<byte> wire, MessageSchema type, int depth)
        {
            if (depth > Transcoder.DepthMax)
            {
                Report(WireProblemKind.Invalid, null, "nested deeper than " + Transcoder.DepthMax + " levels");
                return false;
            }
            switch (type.WellKnown)
            {
                case WellKnown.Any:
                    return Any(wire, depth);
                case WellKnown.Struct or WellKnown.Value or WellKnown.ListValue:
                    // Free-form by nature: nothing in it can be unknown.
                    return true;
            }
            Span<int> counts = stackalloc int[type.FieldCount];
            counts.Clear();
            Span<ulong> reported = stackalloc ulong[(type.FieldCount + 63) / 64];
            reported.Clear();
            var reader = new WireReader(wire);
            while (!reader.AtEnd)
            {
                if (!reader.TryTag(out uint number, out int encoding))
                    return Broken();
                FieldSchema? field = type.Find(number);
                if (field is null)
                {
                    if (!reader.TrySkip(encoding))
                        return Broken();
                    Report(WireProblemKind.Unknown, $"#{number}", $"unknown field number of {type.FullName}: newer than this version, or not Envoy's");
                    continue;
                }
                ReadOnlySpan<byte> value = default;
                if (encoding == 2 ? !reader.TryBytes(out value) : !reader.TrySkip(encoding))
                    return Broken();
                if (!HasEncoding(field, encoding))
                {
                    Report(WireProblemKind.Invalid, field.ToString(), "encoded as another type than " + field.Type);
                    continue;
                }
                if (field.Support != Support.Supported)
                {
                    // Once for a list is enough.
                    ref ulong word = ref reported[field.Index >> 6];
                    if ((word >> (field.Index & 63) & 1) == 0)
                        ReportField(type, field);
                    word |= 1UL << (field.Index & 63);
                    continue;
                }
                int index = counts[field.Index]++;
                if (field.Type != FieldType.Message)
                    continue;
                Push(field, null, field.IsRepeated ? index : -1);
                bool whole = field.IsMap ? Entry(value, field, depth + 1) : Message(value, field.Message, depth + 1);
                _length--;
                if (!whole)
                    return false;
            }
            return true;
        }

        private bool Entry(ReadOnlySpan<byte> wire, FieldSchema field, int depth)
        {
            var reader = new WireReader(wire);
            while (!reader.AtEnd)
            {
                if (!reader.TryTag(out uint number, out int encoding))
                    return Broken();
                if (number != 2 || encoding != 2)
                {
                    if (!reader.TrySkip(encoding))
                        return Broken();
                    continue;
                }
                if (!reader.TryBytes(out ReadOnlySpan<byte> value))
                    return Broken();
                if (!Message(value, field.Message, depth))
                    return false;
            }
            return true;
        }

        private bool Any(ReadOnlySpan<byte> wire, int depth)
        {
            if (!TypedStructs.TrySplit(wire, out ReadOnlySpan<byte> url, out ReadOnlySpan<byte> value))
                return Broken();
            if (url.Length == 0)
                return true;
            MessageSchema? type = SchemaTable.FindType(url, out _);
            if (type is null)
            {
                string name = Encoding.UTF8.GetString(url[(url.LastIndexOf((byte)'/') + 1)..]);
                Report(WireProblemKind.Unknown, null, $"unknown type {name}: neither Envoy nor this version knows it");
                return true;
            }
            Push(null, type, -1);
            bool whole = Typed(type, value, depth);
            _length--;
            return whole;
        }

        private bool Typed(MessageSchema type, ReadOnlySpan<byte> value, int depth)
        {
            switch (type.Support)
            {
                case Support.Unsupported:
                    Report(WireProblemKind.Unsupported, null, $"type {type.FullName} is known to Envoy but not supported here{Because(type.Note)}");
                    return true;
                case Support.Accepted or Support.Opaque:
                    Report(WireProblemKind.Ignored, null, $"has no effect{Because(type.Note)}");
                    return true;
            }
            if (!TypedStructs.IsTypedStruct(type))
                return Message(value, type, depth + 1);

            // { type_url, value: Struct }: what it stands for is what counts.
            if (!TypedStructs.TrySplit(value, out ReadOnlySpan<byte> innerUrl, out _))
                return Broken();
            MessageSchema? inner = SchemaTable.FindType(innerUrl, out _);
            if (inner is null || inner.Support is not Support.Supported)
            {
                Push(null, inner, -1);
                bool known = inner is not null;
                if (known)
                    Typed(inner!, default, depth + 1);
                else
                    Report(WireProblemKind.Unknown, null, $"unknown type {Encoding.UTF8.GetString(innerUrl)} in a TypedStruct");
                _length--;
                return true;
            }
            var unwrapped = new WireWriter();
            var inside = new WireProblems();
            if (!TypedStructs.TryUnwrap(value, PathText(null), inside, unwrapped, out MessageSchema? real) || real is null)
            {
                foreach (WireProblem problem in inside.List)
                    problems.Add(problem);
                return true;
            }
            Push(null, real, -1);
            bool whole = Message(unwrapped.Written, real, depth + 1);
            _length--;
            return whole;
        }

        // Lists of numbers travel packed or one by one.
        private static bool HasEncoding(FieldSchema field, int encoding)
        {
            int own = field.IsMap ? 2 : field.Type switch
            {
                FieldType.Double or FieldType.Fixed64 or FieldType.SFixed64 => 1,
                FieldType.Float or FieldType.Fixed32 or FieldType.SFixed32 => 5,
                FieldType.String or FieldType.Bytes or FieldType.Message => 2,
                _ => 0,
            };
            return encoding == own || field.IsRepeated && encoding == 2;
        }

        private static string Because(string? note) => note is null ? "" : ": " + note;

        private readonly void ReportField(MessageSchema type, FieldSchema field)
        {
            if (field.Support == Support.Accepted)
                Report(WireProblemKind.Ignored, field.ToString(), "has no effect" + Because(field.Note));
            else
                Report(WireProblemKind.Unsupported, field.ToString(), $"field of {type.FullName} is known to Envoy but not supported here{Because(field.Note)}");
        }

        private readonly bool Broken()
        {
            Report(WireProblemKind.Invalid, null, "the protobuf bytes are broken (truncated?)");
            return false;
        }

        private void Push(FieldSchema? field, MessageSchema? type, int index)
        {
            if (_length == _path.Length)
                Array.Resize(ref _path, _path.Length * 2);
            _path[_length++] = (field, type, index);
        }

        private readonly void Report(WireProblemKind kind, string? leaf, string reason) =>
            problems.Add(new WireProblem(kind, PathText(leaf), reason, 0, 0));

        private readonly string PathText(string? leaf)
        {
            var text = new StringBuilder(root);
            for (int i = 0; i < _length; i++)
            {
                (FieldSchema? field, MessageSchema? type, int index) = _path[i];
                if (field is not null)
                    text.Append(text.Length == 0 ? "" : ".").Append(field);
                else if (type is not null)
                    text.Append(text.Length == 0 ? "<" : ".<").Append(type.ShortName).Append('>');
                if (index >= 0)
                    text.Append('[').Append(index).Append(']');
            }
            if (leaf is not null)
                text.Append(text.Length == 0 ? "" : ".").Append(leaf);
            return text.ToString();
        }
    }
}
