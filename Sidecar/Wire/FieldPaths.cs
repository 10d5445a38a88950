using System;
using System.Collections.Generic;
using System.Text;

namespace Sidecar.Wire;

/// <summary>
/// Which fields of a message are shown: the paths of a google.protobuf.FieldMask as a tree of names. A mask without names shows everything, so does one
/// at the end of a path. Immutable; any thread.
/// </summary>
internal sealed class FieldPaths
{
    /// <summary>Shows everything.</summary>
    public static readonly FieldPaths All = new();

    private readonly Dictionary<string, FieldPaths> _fields = [];

    /// <summary>Reads paths separated by commas, of names separated by points; where one path is the beginning of another, the shorter one counts.</summary>
    public static FieldPaths Parse(string paths)
    {
        var root = new FieldPaths();
        foreach (string path in PathsOf(paths))
        {
            var at = root;
            bool isCovered = false;
            foreach (string name in path.Split('.'))
            {
                if (!at._fields.TryGetValue(name, out var below))
                    at._fields.Add(name, below = new FieldPaths());
                else if (isCovered = below.IsWhole)
                    break;
                at = below;
            }
            if (!isCovered)
                at._fields.Clear();
        }
        return root;
    }

    /// <summary>The paths as protobuf prints a mask, one to a line.</summary>
    public static string DebugString(string paths) => string.Concat(Array.ConvertAll(PathsOf(paths), path => $"paths: \"{path}\"\n"));

    private static string[] PathsOf(string paths) => paths.Split(',', StringSplitOptions.RemoveEmptyEntries);

    /// <summary>Everything is shown.</summary>
    public bool IsWhole => _fields.Count == 0;

    /// <summary>What is shown of a field; null: nothing.</summary>
    public FieldPaths? Find(string name) => IsWhole ? this : _fields.GetValueOrDefault(name);

    /// <summary>Whether every path leads to a field of the message. None leads on through a list, nor into an Any, save where it is said what that holds.</summary>
    /// <param name="type">The message.</param>
    /// <param name="inner">What its Any holds, or null.</param>
    public bool FitsInto(MessageSchema type, MessageSchema? inner = null) => FitsInto(type, inner, 0);

    // Some messages hold themselves, so that a path may be as long as whoever asks likes.
    private bool FitsInto(MessageSchema type, MessageSchema? inner, int depth)
    {
        foreach (var (name, below) in _fields)
        {
            if (FieldOf(type, name) is not { } field)
                return false;
            if (below.IsWhole)
                continue;
            if (field.IsRepeated || field.IsMap || field.Type != FieldType.Message || depth == Transcoder.DepthMax)
                return false;
            bool isAny = field.Message.WellKnown == WellKnown.Any;
            if ((isAny ? inner : field.Message) is not { } message || !below.FitsInto(message, isAny ? null : inner, depth + 1))
                return false;
        }
        return true;
    }

    private static FieldSchema? FieldOf(MessageSchema type, string name)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(name);
        return type.Find(bytes) is { } field && bytes.AsSpan().SequenceEqual(field.Name) ? field : null;
    }

    /// <summary>Writes what is shown of a message that the mask fits into; nothing of what is broken in it.</summary>
    public void Trim(ReadOnlySpan<byte> wire, MessageSchema type, WireWriter output)
    {
        var reader = new WireReader(wire);
        while (!reader.AtEnd)
        {
            int start = reader.Position;
            if (!reader.TryTag(out uint number, out int encoding))
                return;
            var value = reader;
            if (!reader.TrySkip(encoding))
                return;
            if (type.Find(number) is not { } field || Find(field.ToString()) is not { } below)
                continue;
            if (below.IsWhole)
            {
                var whole = wire[start..reader.Position];
                whole.CopyTo(output.Reserve(whole.Length));
                output.Commit(whole.Length);
            }
            else if (encoding == 2 && value.TryBytes(out var message))
            {
                output.Tag((int)number, 2);
                int begun = output.Begin();
                below.Trim(message, field.Message, output);
                output.End(begun);
            }
        }
    }
}
