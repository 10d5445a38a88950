using System;
using System.Collections.Generic;
using System.IO;
using System.Text;
using System.Threading;
using Sidecar.Config;
using Sidecar.Loop;
using Sidecar.Memory;
using Sidecar.Telemetry;
using Sidecar.Wire;

namespace Sidecar.Server;

/// <summary>
/// The configuration that last served, kept in a file, so that a proxy which starts while its control plane is away has one:
/// <code>
///   "sidecar last good 1\n"   time   node id   records …   a record of no length, number of records
///   record = length, XXH64 of the rest, type URL, name, version, bytes
/// </code>
/// Replaced as a whole (written aside, synced, renamed), readable to its owner only, never holding secrets: what came by SDS is asked for again, what waits
/// for it does so, and a resource with a private key of its own is left out. A file that is not whole is set aside.
/// </summary>
/// <remarks>Control loop; the writing is done by a thread of its own.</remarks>
internal sealed class LastGoodFile : ITimerOwner
{
    /// <summary>In the order one refers to another. Secrets stay with who issues them.</summary>
    internal static readonly string[] Types =
        [ResourceTypes.Cluster, ResourceTypes.ClusterLoadAssignment, ResourceTypes.RouteConfiguration, ResourceTypes.Listener];

    /// <summary>Changes of this long are written together; and no two writes begin closer than that, however often endpoints change.</summary>
    internal const long SettleMs = 2_000;
    internal const long IntervalMs = 10_000;

    private const int RecordBytesMax = 256 * 1024 * 1024;
    private static readonly byte[] s_magic = "sidecar last good 1\n"u8.ToArray();

    private readonly EventLoop _loop;
    private readonly Snapshot _snapshot;
    private readonly string _nodeId;
    private readonly LoopTimer _timer;
    private long _lastWriteMs = long.MinValue / 2;
    private bool _toldOfKeys;
    private Thread? _writer;

    /// <param name="loop">The control loop.</param>
    /// <param name="snapshot">What to keep.</param>
    /// <param name="folder">Where; must exist.</param>
    /// <param name="nodeId">Whose configuration it is; another node's is not served.</param>
    internal LastGoodFile(EventLoop loop, Snapshot snapshot, string folder, string nodeId)
    {
        _loop = loop;
        _snapshot = snapshot;
        _nodeId = nodeId;
        _timer = new LoopTimer(this);
        Path = System.IO.Path.Combine(folder, "last-good.snapshot");
    }

    internal string Path { get; }

    /// <summary>When the file that was read or last written was made, in Unix milliseconds; 0: there is none.</summary>
    internal long SavedUnixMs { get; private set; }

    /// <summary>A thread is at the file; the folder must stay until the loop has heard from it.</summary>
    internal bool IsWriting => _writer is not null;

    // ---- writing --------------------------------------------------------------------------------------------------------

    /// <summary>Something has changed: it will be written soon.</summary>
    internal void Touch()
    {
        if (!_timer.IsArmed)
            _loop.Schedule(_timer, Math.Max(SettleMs, _lastWriteMs + IntervalMs - _loop.NowMs));
    }

    public void OnTimer(LoopTimer timer)
    {
        if (_writer is not null)
        {
            _loop.Schedule(_timer, SettleMs);
            return;
        }
        _lastWriteMs = _loop.NowMs;
        long unixMs = _loop.UnixMs;
        var resources = Collect();
        _writer = new Thread(() =>
        {
            int withKeys = resources.RemoveAll(static resource => resource.Type is not { } type || SensitiveFields.Any(resource.Bytes.Span, type));
            string? problem = Write(resources, unixMs);
            _loop.Post(() => OnWritten(problem, unixMs, withKeys));
        })
        { Name = "last-good", IsBackground = true };
        _writer.Start();
    }

    private List<DiscoveredResource> Collect()
    {
        var list = new List<DiscoveredResource>();
        foreach (string typeUrl in Types)
        {
            foreach (var state in _snapshot.Of(typeUrl).Values)
            {
                if (!state.IsStatic && state.Active is { } active)
                    list.Add(active.Resource);
            }
        }
        return list;
    }

    private void OnWritten(string? problem, long unixMs, int withKeys)
    {
        _writer = null;
        if (withKeys > 0 && !_toldOfKeys)
            Log.Warning("config", $"{Path}: {withKeys} resources hold private keys inline and are not kept; take keys by SDS or from files");
        _toldOfKeys |= withKeys > 0;
        if (problem is null)
            SavedUnixMs = unixMs;
        else
            Log.Warning("config", $"{Path}: the last good configuration cannot be written: {problem}");
    }

    /// <summary>Writes the file. Any thread.</summary>
    /// <returns>What went wrong; null when nothing did.</returns>
    internal string? Write(IReadOnlyList<DiscoveredResource> resources, long unixMs)
    {
        string temporary = Path + ".tmp";
        try
        {
            File.Delete(temporary);
            var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, BufferSize = 64 * 1024 };
            if (!OperatingSystem.IsWindows())
                options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
            using (var file = new FileStream(temporary, options))
            {
                using var record = new MemoryStream();
                using var fields = new BinaryWriter(record);
                using var writer = new BinaryWriter(file, Encoding.UTF8, leaveOpen: true);
                writer.Write(s_magic);
                writer.Write(unixMs);
                writer.Write(_nodeId);
                foreach (var resource in resources)
                {
                    record.SetLength(0);
                    fields.Write(resource.TypeUrl);
                    fields.Write(resource.Name);
                    fields.Write(resource.Version);
                    fields.Write(resource.Bytes.Span);
                    fields.Flush();
                    var whole = record.GetBuffer().AsSpan(0, (int)record.Length);
                    writer.Write(whole.Length);
                    writer.Write(XxHash64.Hash(whole));
                    writer.Write(whole);
                }
                writer.Write(0);
                writer.Write(resources.Count);
                writer.Flush();
                file.Flush(flushToDisk: true);
            }
            File.Move(temporary, Path, overwrite: true);
            return null;
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            return failure.Message;
        }
    }

    // ---- reading ----------------------------------------------------------------------------------------------------------

    /// <summary>What the file holds; null when there is none that can be served. A damaged one is set aside, with a word.</summary>
    internal List<DiscoveredResource>? Read()
    {
        if (!File.Exists(Path))
            return null;
        try
        {
            using var file = new FileStream(Path, FileMode.Open, FileAccess.Read, FileShare.Read, 64 * 1024);
            using var reader = new BinaryReader(file);
            if (!reader.ReadBytes(s_magic.Length).AsSpan().SequenceEqual(s_magic))
                return SetAside("it does not begin as one, or is of another version");
            SavedUnixMs = reader.ReadInt64();
            string node = reader.ReadString();
            if (node != _nodeId)
            {
                Log.Warning("config", $"{Path}: is the configuration of node '{node}', this is '{_nodeId}'; it is not served");
                return null;
            }
            var resources = new List<DiscoveredResource>();
            while (reader.ReadInt32() is var length and > 0)
            {
                if (length > RecordBytesMax)
                    return SetAside("a record has an absurd length");
                ulong hash = reader.ReadUInt64();
                byte[] record = reader.ReadBytes(length);
                if (record.Length < length || XxHash64.Hash(record) != hash)
                    return SetAside($"the checksum of record {resources.Count} is wrong");
                resources.Add(Parse(record));
            }
            return reader.ReadInt32() == resources.Count ? resources : SetAside("records are missing");
        }
        catch (EndOfStreamException)
        {
            return SetAside("it is cut off");
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException or FormatException or ArgumentException)
        {
            return SetAside(failure.Message);
        }
    }

    private DiscoveredResource Parse(byte[] record)
    {
        using var fields = new BinaryReader(new MemoryStream(record));
        string typeUrl = fields.ReadString();
        string name = fields.ReadString();
        string version = fields.ReadString();
        int start = (int)fields.BaseStream.Position;
        // Not a slice: the record would be kept with its name and version a second time.
        return new DiscoveredResource(typeUrl, name, version, record.AsSpan(start).ToArray(), Path);
    }

    private List<DiscoveredResource>? SetAside(string why)
    {
        string bad = Path + ".bad";
        try
        {
            File.Move(Path, bad, overwrite: true);
            Log.Error("config", $"{Path}: the last good configuration is damaged: {why}; set aside as {bad}, starting without it");
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            Log.Error("config", $"{Path}: the last good configuration is damaged: {why}; it cannot be set aside: {failure.Message}; starting without it");
        }
        SavedUnixMs = 0;
        return null;
    }
}
