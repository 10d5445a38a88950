using System.Collections.Generic;
using Sidecar.Config;
using Sidecar.Wire;

namespace Sidecar.Server;

/// <summary>What one push brought, and how long it took to be in use.</summary>
/// <remarks>Control loop only.</remarks>
internal sealed class PushRecord
{
    private const int NamesMax = 5;
    private readonly List<ResourceState> _waiting = [];

    /// <param name="typeUrl">Its type; empty for a file, which has all.</param>
    /// <param name="source">The control plane's address, or the file.</param>
    /// <param name="version">What the source calls the whole.</param>
    /// <param name="unixMs">When it came.</param>
    /// <param name="receivedNs">The same by the loop's clock.</param>
    internal PushRecord(string typeUrl, string source, string version, long unixMs, long receivedNs)
    {
        TypeUrl = typeUrl;
        Source = source;
        Version = version;
        UnixMs = unixMs;
        ReceivedNs = receivedNs;
    }

    internal string TypeUrl { get; }
    internal string Source { get; }
    internal string Version { get; }
    internal long UnixMs { get; }
    internal long ReceivedNs { get; }
    internal long Bytes { get; init; }

    internal int Added { get; private set; }
    internal int Modified { get; private set; }
    internal int Removed { get; private set; }
    internal int Unchanged { get; private set; }
    internal int Refused { get; private set; }

    /// <summary>How often the same came again since, refused for the same reasons and with nothing else in it.</summary>
    internal long Repeated { get; set; }

    /// <summary>The first few names that changed.</summary>
    internal List<string> Names { get; } = [];

    /// <summary>From the last byte to translated and checked.</summary>
    internal long TranslateUs { get; private set; }

    /// <summary>From there until everything it refers to had come; -1: not yet.</summary>
    internal long WarmUs { get; private set; } = -1;

    /// <summary>From there until the last worker had it in use; -1: not yet.</summary>
    internal long SwapUs { get; private set; } = -1;

    /// <summary>The longest a worker was kept from anything else at a time.</summary>
    internal long StallUs { get; private set; }
    internal int WaitingCount => _waiting.Count;
    private long _translatedNs;
    private long _warmNs;

    /// <summary>"cds", "eds", …: what Envoy's users call the type.</summary>
    internal string Kind => KindOf(TypeUrl);

    internal static string KindOf(string typeUrl) => typeUrl switch
    {
        ResourceTypes.Cluster => "cds",
        ResourceTypes.ClusterLoadAssignment => "eds",
        ResourceTypes.RouteConfiguration => "rds",
        ResourceTypes.Listener => "lds",
        ResourceTypes.Secret => "sds",
        ResourceTypes.Extension => "ecds",
        "" => "file",
        _ => typeUrl,
    };

    internal void OnTranslated(SnapshotBuilder.Result result, int refused, long nowNs)
    {
        Added = result.Added;
        Modified = result.Modified;
        Removed = result.Removed.Count;
        Unchanged = result.Unchanged;
        Refused = refused;
        foreach (var state in result.Accepted)
            Note(state);
        foreach (var state in result.Removed)
            Note(state);
        _translatedNs = nowNs;
        TranslateUs = (nowNs - ReceivedNs) / 1000;

        void Note(ResourceState state)
        {
            if (Names.Count < NamesMax)
                Names.Add(state.Name);
        }
    }

    /// <summary>Notes which of its resources do not serve yet.</summary>
    internal void OnTaken(SnapshotBuilder.Result result)
    {
        foreach (var state in result.Accepted)
        {
            if (state.IsWarming)
                _waiting.Add(state);
        }
    }

    /// <summary>Whether everything of it has been given to the workers, which is noted once.</summary>
    internal bool IsWarm(long nowNs)
    {
        while (_waiting.Count > 0 && !_waiting[^1].IsWarming)
            _waiting.RemoveAt(_waiting.Count - 1);
        if (_waiting.Count > 0)
            return false;
        _warmNs = nowNs;
        WarmUs = (nowNs - _translatedNs) / 1000;
        return true;
    }

    internal void OnApplied(long nowNs, long stalledNs)
    {
        SwapUs = (nowNs - _warmNs) / 1000;
        StallUs = stalledNs / 1000;
    }
}

/// <summary>The last pushes, for /config_status.</summary>
/// <remarks>Control loop only.</remarks>
internal sealed class PushJournal
{
    /// <summary>A mesh pushes some times a minute when it is busy: this is the last hour, in a few kilobytes.</summary>
    internal const int RecordsMax = 128;

    private readonly Queue<PushRecord> _records = [];

    /// <summary>Oldest first.</summary>
    internal IReadOnlyCollection<PushRecord> Records => _records;

    /// <summary>All that ever came.</summary>
    internal long Count { get; private set; }

    internal void Add(PushRecord record)
    {
        Count++;
        if (_records.Count == RecordsMax)
            _records.Dequeue();
        _records.Enqueue(record);
    }

    /// <summary>Notes a push that says what the one before of its kind said. A control plane may do so every second, and nothing else would be left here.</summary>
    internal void AddRepeated(PushRecord record)
    {
        PushRecord? same = null;
        foreach (var before in _records)
            same = before.TypeUrl == record.TypeUrl && before.Source == record.Source ? before : same;
        if (same is null || same.Refused == 0)
        {
            Add(record);
            return;
        }
        Count++;
        same.Repeated++;
    }
}
