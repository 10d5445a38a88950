using System;
using System.Collections.Generic;
using System.IO;
using Sidecar.Linux;
using Sidecar.Loop;
using Sidecar.Telemetry;

namespace Sidecar.Xds;

/// <summary>
/// Watches a snapshot, a file or a folder of files, and says when it has changed: after an atomic replace (a rename, or the symbolic link Kubernetes moves
/// under a mounted volume) and after a write in place. Changes that come together are one. Of a single file's folder only that file counts, and the links
/// it is reached by.
/// </summary>
/// <remarks>Control loop only.</remarks>
internal sealed class FileSource : LoopHandler, ITimerOwner
{
    /// <summary>A writer of several files is given this long after its last change before they are read.</summary>
    private const long SettleMs = 20;

    private readonly EventLoop _loop;
    private readonly string _path;
    private readonly Action _changed;
    private readonly LoopTimer _settle;
    private Inotify? _inotify;

    /// <summary>What counts in the folder of a single file; null: everything.</summary>
    private HashSet<string>? _names;

    /// <param name="loop">The control loop.</param>
    /// <param name="path">A file, or a folder with files and folders of files.</param>
    /// <param name="changed">Called on the loop; read the path again then.</param>
    internal FileSource(EventLoop loop, string path, Action changed)
    {
        _loop = loop;
        _path = Path.GetFullPath(path);
        _changed = changed;
        _settle = new LoopTimer(this);
    }

    /// <summary>Starts to watch.</summary>
    /// <returns>False when the kernel does not let us: changes then need SIGHUP.</returns>
    internal bool Start()
    {
        if (!Inotify.Create(out _inotify).Ok)
            return false;
        if (!WatchAll() || !_loop.Register(_inotify!.Fd, this, EpollEvents.In | EpollEvents.EdgeTriggered).Ok)
        {
            _inotify!.Dispose();
            _inotify = null;
            return false;
        }
        return true;
    }

    internal void Stop()
    {
        _loop.Cancel(_settle);
        if (_inotify is null)
            return;
        _loop.Unregister(_inotify.Fd, this, closing: true);
        _inotify.Dispose();
        _inotify = null;
    }

    public override void OnReady(EpollEvents events)
    {
        if (_inotify is null || !_inotify.Drain(_names))
            return;
        // Armed once: a writer that never pauses is still followed.
        if (!_settle.IsArmed)
            _loop.Schedule(_settle, SettleMs);
    }

    public void OnTimer(LoopTimer timer)
    {
        // Folders may have come, and links lead elsewhere.
        WatchAll();
        _changed();
    }

    public override void OnFault() => Log.Error("config", $"watching {_path} failed once; SIGHUP applies it again");

    private bool WatchAll()
    {
        if (!Directory.Exists(_path))
        {
            string folder = Path.GetDirectoryName(_path) ?? "/";
            _names = NamesOf(folder, Path.GetFileName(_path));
            return _inotify!.Watch(folder).Ok;
        }
        _names = null;
        bool watched = _inotify!.Watch(_path).Ok;
        try
        {
            foreach (string folder in Directory.GetDirectories(_path))
                _inotify.Watch(folder);
        }
        // Gone meanwhile, or closed to us: reading it says so.
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            return watched;
        }
        return watched;
    }

    // The entries of a folder by which a file in it is reached: itself and, where it is a link ("..data/snapshot.json"), what that leads through in turn.
    private static HashSet<string> NamesOf(string folder, string file)
    {
        var names = new HashSet<string>();
        string? entry = file;
        while (entry is not null && names.Add(entry))
            entry = LinkTarget(Path.Combine(folder, entry)) is { } target && !Path.IsPathRooted(target) ? target.Split('/')[0] : null;
        return names;
    }

    private static string? LinkTarget(string path)
    {
        try
        {
            return new FileInfo(path).LinkTarget;
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
