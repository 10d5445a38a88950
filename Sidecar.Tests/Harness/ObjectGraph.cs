using System;
using System.Collections;
using System.Collections.Generic;
using System.Linq;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text;
using Google.Protobuf;
using Sidecar.Config;
using Sidecar.Downstream;
using Sidecar.Filters;
using Sidecar.Telemetry.Stats;
using Sidecar.Tls;

namespace Sidecar.Tests.Harness;

/// <summary>
/// Everything that can be reached from an object, as text: two translations are the same when their texts are. Follows fields and what delegates have captured.
/// </summary>
internal sealed class ObjectGraph
{
    // What a closure may hold besides what it uses: the configuration it was made from says nothing about what came of it.
    private static readonly Type[] s_notFollowed =
        [typeof(IMessage), typeof(ByteString), typeof(ConfigScope), typeof(ConfigServices), typeof(StatsRegistry), typeof(SecretStore), typeof(TlsTranslator), typeof(MemberInfo), typeof(nint)];

    private readonly StringBuilder _text = new();
    private readonly Dictionary<object, int> _seen = new(ReferenceEqualityComparer.Instance);

    internal static string Print(object? root)
    {
        var graph = new ObjectGraph();
        graph.Value(root);
        return graph._text.ToString();
    }

    private void Value(object? value)
    {
        switch (value)
        {
            case null:
                _text.Append("null ");
                return;
            case string or bool or char or double or float or decimal or Enum or sbyte or byte or short or ushort or int or uint or long or ulong:
                _text.Append(value).Append(' ');
                return;
            case StatsScope scope:
                _text.Append(scope.Prefix).Append(' ').AppendJoin(' ', scope.Tags.Select(tag => tag.ToString()));
                return;
            case ReadOnlyMemory<byte> bytes:
                _text.Append(Convert.ToHexString(bytes.Span)).Append(' ');
                return;
        }
        var type = value.GetType();
        if (type.IsPointer || s_notFollowed.Any(skipped => skipped.IsInstanceOfType(value)))
            return;
        if (!type.IsValueType && !_seen.TryAdd(value, _seen.Count))
        {
            _text.Append('#').Append(_seen[value]).Append(' ');
            return;
        }
        _text.Append(type.Name).Append('{');
        if (value is Delegate function)
        {
            _text.Append(function.Method.Name).Append(' ');
            Value(function.Target);
        }
        else if (value is IEnumerable items && (type.IsArray || type.Namespace!.StartsWith("System.Collections", StringComparison.Ordinal)))
        {
            foreach (object? item in items)
                Value(item);
        }
        else
        {
            Fields(value, type);
        }
        _text.Append('}');
    }

    private void Fields(object value, Type type)
    {
        for (var declaring = type; declaring is not null && declaring != typeof(object); declaring = declaring.BaseType)
        {
            foreach (var field in declaring.GetFields(BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.DeclaredOnly))
            {
                if (IsSkipped(field))
                    continue;
                _text.Append(field.Name).Append('=');
                Value(field.GetValue(value));
            }
        }
    }

    // What is made of the bytes of a configuration, whatever they mean; and the numbers of files, which differ each time.
    private static bool IsSkipped(FieldInfo field) =>
        field.FieldType.IsPointer || field.Name.Contains(nameof(FilterChainConfig.WireBytes), StringComparison.Ordinal)
        || field.DeclaringType == typeof(ValidationOptions) && field.Name.Contains(nameof(ValidationOptions.Identity), StringComparison.Ordinal)
        || field.DeclaringType == typeof(KeyLog) && field.FieldType == typeof(int);
}
