using System;

namespace Sidecar.Telemetry;

/// <summary>
/// What filters find out about one stream or connection and leave for those behind them, keyed by who found it out and what it is
/// (<c>envoy.filters.http.jwt_authn</c>, <c>payload</c>): Envoy's dynamic metadata. Values are made by whoever sets them, at best once and for all.
/// </summary>
/// <remarks>Worker-owned, used again after <see cref="Reset"/>; allocates only when there is more in it than ever before.</remarks>
internal sealed class DynamicMetadata
{
    private (string Filter, string Key, MetadataValue Value)[] _entries = [];
    private int _count;

    /// <summary>Sets one fact; an earlier one of the same name is replaced.</summary>
    internal void Set(string filter, string key, MetadataValue value)
    {
        int index = IndexOf(filter, key);
        if (index < 0)
        {
            index = _count++;
            if (index == _entries.Length)
                Array.Resize(ref _entries, Math.Max(4, index * 2));
        }
        _entries[index] = (filter, key, value);
    }

    /// <summary>One fact, or null.</summary>
    internal MetadataValue? Find(string filter, string key) => IndexOf(filter, key) is >= 0 and var index ? _entries[index].Value : null;

    /// <summary>What is at the end of a path of names, of which the first is a fact's; null when the path leads nowhere.</summary>
    internal MetadataValue? Find(string filter, ReadOnlySpan<string> path)
    {
        var value = Find(filter, path[0]);
        for (int i = 1; i < path.Length && value is not null; i++)
            value = value.Find(path[i]);
        return value;
    }

    internal void Reset()
    {
        Array.Clear(_entries, 0, _count);
        _count = 0;
    }

    private int IndexOf(string filter, string key)
    {
        for (int i = 0; i < _count; i++)
        {
            if (_entries[i].Key == key && _entries[i].Filter == filter)
                return i;
        }
        return -1;
    }
}
