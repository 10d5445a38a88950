using System;
using System.Collections.Generic;
using System.Globalization;

namespace Sidecar.Telemetry;

/// <summary>What a <see cref="MetadataValue"/> is; the kinds of google.protobuf.Value.</summary>
internal enum MetadataKind : byte { Null, Number, Text, Boolean, List, Fields }

/// <summary>One value of metadata: a tree of JSON shape, built once from configuration.</summary>
/// <remarks>Shared immutable.</remarks>
internal sealed class MetadataValue : IEquatable<MetadataValue>
{
    private static readonly Dictionary<string, MetadataValue> s_none = new();

    internal static readonly MetadataValue Null = new(MetadataKind.Null, 0, "", [], s_none);

    private MetadataValue(MetadataKind kind, double number, string text, MetadataValue[] items, Dictionary<string, MetadataValue>? fields)
    {
        Kind = kind;
        Number = number;
        Text = text;
        Items = items;
        Fields = fields ?? s_none;
    }

    internal MetadataKind Kind { get; }

    /// <summary>The number; 1 or 0 for a boolean.</summary>
    internal double Number { get; }

    /// <summary>The text; empty for other kinds.</summary>
    internal string Text { get; }
    internal bool Boolean => Number != 0;
    internal MetadataValue[] Items { get; }
    internal IReadOnlyDictionary<string, MetadataValue> Fields { get; }

    internal static MetadataValue Of(double number) => new(MetadataKind.Number, number, "", [], null);
    internal static MetadataValue Of(string text) => new(MetadataKind.Text, 0, text, [], null);
    internal static MetadataValue Of(bool value) => new(MetadataKind.Boolean, value ? 1 : 0, "", [], null);
    internal static MetadataValue Of(MetadataValue[] items) => new(MetadataKind.List, 0, "", items, null);
    internal static MetadataValue Of(Dictionary<string, MetadataValue> fields) => new(MetadataKind.Fields, 0, "", [], fields);

    /// <summary>The member of that name, or null when there is none or this is no struct.</summary>
    internal MetadataValue? Find(string name) => Fields.TryGetValue(name, out var value) ? value : null;

    public bool Equals(MetadataValue? other)
    {
        if (other is null || Kind != other.Kind || Number != other.Number || Text != other.Text
            || Items.Length != other.Items.Length || Fields.Count != other.Fields.Count)
            return false;
        for (int i = 0; i < Items.Length; i++)
        {
            if (!Items[i].Equals(other.Items[i]))
                return false;
        }
        foreach (var (name, value) in Fields)
        {
            if (!value.Equals(other.Find(name)))
                return false;
        }
        return true;
    }

    public override bool Equals(object? obj) => Equals(obj as MetadataValue);

    public override int GetHashCode() => HashCode.Combine(Kind, Number, Text, Items.Length, Fields.Count);

    /// <summary>The value as access logs print it: texts without quotes, numbers in their shortest form.</summary>
    public override string ToString() => Kind switch
    {
        MetadataKind.Null => "null",
        MetadataKind.Number => Number.ToString("R", CultureInfo.InvariantCulture),
        MetadataKind.Boolean => Boolean ? "true" : "false",
        MetadataKind.Text => Text,
        MetadataKind.List => "[" + string.Join(",", (object[])Items) + "]",
        _ => "{" + JoinFields() + "}",
    };

    private string JoinFields()
    {
        var parts = new List<string>();
        foreach (var (name, value) in Fields)
            parts.Add($"\"{name}\":{value}");
        return string.Join(",", parts);
    }
}

/// <summary>
/// Opaque facts that configuration attaches to a cluster, a host, a route or a listener, keyed by the name of who reads them
/// (<c>envoy.transport_socket_match</c>, <c>istio</c>): Envoy's <c>filter_metadata</c>.
/// </summary>
/// <remarks>Shared immutable.</remarks>
internal sealed class Metadata : IEquatable<Metadata>
{
    internal static readonly Metadata Empty = new(new Dictionary<string, MetadataValue>());

    private readonly Func<Dictionary<string, MetadataValue>>? _read;
    private Dictionary<string, MetadataValue>? _filters;

    internal Metadata(Dictionary<string, MetadataValue> filters) => _filters = filters;

    /// <summary>Metadata that is read when somebody looks into it: a mesh attaches much, and little of it is ever asked for.</summary>
    /// <param name="read">Makes the same each time: two threads may both be the first.</param>
    internal Metadata(Func<Dictionary<string, MetadataValue>> read) => _read = read;

    internal bool IsEmpty => Filters.Count == 0;

    private Dictionary<string, MetadataValue> Filters => _filters ??= _read!();

    /// <summary>All facts for one reader, or null.</summary>
    internal MetadataValue? Find(string filter) => Filters.TryGetValue(filter, out var value) ? value : null;

    /// <summary>One fact for one reader, or null.</summary>
    internal MetadataValue? Find(string filter, string key) => Find(filter)?.Find(key);

    public bool Equals(Metadata? other)
    {
        if (other is null || other.Filters.Count != Filters.Count)
            return false;
        foreach (var (name, value) in Filters)
        {
            if (!value.Equals(other.Find(name)))
                return false;
        }
        return true;
    }

    public override bool Equals(object? obj) => Equals(obj as Metadata);

    public override int GetHashCode() => Filters.Count;
}
