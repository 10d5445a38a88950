using System;
using System.Collections;
using System.Collections.Generic;
using System.Linq;
using Google.Protobuf;
using Google.Protobuf.Reflection;
using Google.Protobuf.WellKnownTypes;
using Enum = System.Enum;
using FieldType = Google.Protobuf.Reflection.FieldType;

namespace Sidecar.Tests.Harness;

/// <summary>What came of a configuration.</summary>
/// <param name="Reports">Everything refused or without effect, each with its path.</param>
/// <param name="Result">What was made of it, as text; empty when it was refused.</param>
internal sealed record Translated(IReadOnlyList<string> Reports, string Result);

/// <summary>
/// Sets every field of a message, and of the messages below it, alone, and sees whether that changes what is made of the message, or is reported. What does
/// neither is passed over in silence.
/// </summary>
/// <param name="translate">Makes of the whole message what the product does.</param>
/// <param name="samples">
/// Values of a field for which those made up here will not do, by "Message.field", for a message in one place only by "field.field", or, for all fields of a
/// type, by its full name.
/// </param>
/// <param name="elsewhere">Messages that are swept on their own.</param>
internal sealed class FieldSweep(Func<IMessage, Translated> translate, IReadOnlyDictionary<string, object[]> samples, IReadOnlySet<string> elsewhere)
{
    private readonly HashSet<string> _onPath = [];

    /// <summary>The paths of fields without effect and without a report.</summary>
    internal List<string> Silent { get; } = [];

    /// <summary>The paths of all fields that were set.</summary>
    internal List<string> Swept { get; } = [];

    /// <summary>The fields that were set, wherever, each with its message's full name.</summary>
    internal HashSet<string> Fields { get; } = [];

    /// <summary>Full names of the messages of fields that are reported as a whole, and of all below them.</summary>
    internal HashSet<string> Whole { get; } = [];

    internal void Run(IMessage root) => Visit(root, root, root.Descriptor.Name);

    private void Visit(IMessage root, IMessage target, string path)
    {
        if (!_onPath.Add(target.Descriptor.FullName))
            return;
        var before = translate(root);
        byte[] kept = target.ToByteArray();
        foreach (var field in target.Descriptor.Fields.InDeclarationOrder())
        {
            string at = path + "." + field.Name;
            Swept.Add(at);
            Fields.Add(field.FullName);
            bool isSeen = false;
            foreach (object sample in Samples(field, path))
            {
                Set(target, field, sample);
                var after = translate(root);
                // By its own name, or what it belongs to is reported once it is set.
                bool isReported = after.Reports.Except(before.Reports).Any(report => Names(report, field.Name) || Names(report, Last(path)));
                bool isEffective = after.Result.Length > 0 && after.Result != before.Result;
                isSeen |= isReported || isEffective;
                if (isReported && field.FieldType == FieldType.Message)
                    AddWhole(field);
                // Refused or reported as a whole, nothing below it can count; else each field below must.
                if (!isReported && after.Result.Length > 0 && Below(target, field) is { } below)
                {
                    isSeen = true;
                    Visit(root, below, at);
                }
                Restore(target, kept);
            }
            if (!isSeen)
                Silent.Add(at);
        }
        _onPath.Remove(target.Descriptor.FullName);
    }

    // A message declared in this product, whose fields can be set in turn; one without fields has only its presence to be seen by.
    private IMessage? Below(IMessage target, FieldDescriptor field)
    {
        if (field.FieldType != FieldType.Message || field.IsMap || field.MessageType.File.Package == "google.protobuf" || elsewhere.Contains(field.MessageType.FullName)
            || field.MessageType.Fields.InDeclarationOrder().Count == 0)
            return null;
        object value = field.Accessor.GetValue(target);
        return field.IsRepeated ? (IMessage)((IList)value)[^1]! : (IMessage)value;
    }

    private static void Set(IMessage target, FieldDescriptor field, object sample)
    {
        if (field.IsMap)
            ((IDictionary)field.Accessor.GetValue(target)).Add("x", sample);
        else if (field.IsRepeated)
            ((IList)field.Accessor.GetValue(target)).Add(sample);
        else
            field.Accessor.SetValue(target, sample);
    }

    private static void Restore(IMessage target, byte[] kept)
    {
        foreach (var field in target.Descriptor.Fields.InDeclarationOrder())
            field.Accessor.Clear(target);
        target.MergeFrom(kept);
    }

    private void AddWhole(FieldDescriptor field)
    {
        var message = field.IsMap ? field.MessageType.FindFieldByNumber(2) is { FieldType: FieldType.Message } value ? value.MessageType : null : field.MessageType;
        if (message is null || message.File.Package == "google.protobuf" || !Whole.Add(message.FullName))
            return;
        foreach (var below in message.Fields.InDeclarationOrder().Where(below => below.FieldType == FieldType.Message))
            AddWhole(below);
    }

    private static string Last(string path) => path[(path.LastIndexOf('.') + 1)..];

    // As a word: "name" is not in "filename".
    private static bool Names(string report, string name)
    {
        for (int at = report.IndexOf(name, StringComparison.Ordinal); at >= 0; at = report.IndexOf(name, at + 1, StringComparison.Ordinal))
        {
            if ((at == 0 || !IsWord(report[at - 1])) && (at + name.Length == report.Length || !IsWord(report[at + name.Length])))
                return true;
        }
        return false;

        static bool IsWord(char c) => char.IsAsciiLetterOrDigit(c) || c == '_';
    }

    private object[] Samples(FieldDescriptor field, string path)
    {
        if (samples.TryGetValue(Last(path) + "." + field.Name, out object[]? own) || samples.TryGetValue(field.ContainingType.Name + "." + field.Name, out own))
            return [.. own.Select(Copy)];
        if (field.IsMap)
            field = field.MessageType.FindFieldByNumber(2);
        return field.FieldType switch
        {
            FieldType.Bool => [true],
            FieldType.UInt32 => [5u],
            FieldType.Int32 => [5],
            FieldType.UInt64 => [5UL],
            FieldType.Int64 => [5L],
            FieldType.Double => [0.5],
            FieldType.Enum => [.. field.EnumType.Values.Where(value => value.Number != 0).Select(value => (object)value.Number)],
            FieldType.String => ["x"],
            FieldType.Bytes => [ByteString.CopyFromUtf8("x")],
            FieldType.Message => Messages(field),
            _ => throw new InvalidOperationException(field.FieldType.ToString()),
        };
    }

    private object[] Messages(FieldDescriptor field) => field.MessageType.FullName switch
    {
        // Either may be the default.
        "google.protobuf.BoolValue" => [true, false],
        "google.protobuf.UInt32Value" => [5u],
        "google.protobuf.UInt64Value" => [5UL],
        "google.protobuf.DoubleValue" => [0.5],
        "google.protobuf.Duration" => [new Duration { Seconds = 9 }],
        "google.protobuf.Any" => [Any.Pack(new Empty())],
        "google.protobuf.Struct" => [new Struct { Fields = { ["x"] = Value.ForString("y") } }],
        var type when samples.TryGetValue(type, out object[]? own) => [.. own.Select(Copy)],
        _ => [field.MessageType.Parser.ParseFrom(ByteString.Empty)],
    };

    private static object Copy(object sample) => sample is IMessage message ? message.Descriptor.Parser.ParseFrom(message.ToByteString()) : sample;
}
