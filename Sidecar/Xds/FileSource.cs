using System;
using System.Collections.Generic;
using System.IO;
using Sidecar.Loop;

namespace Sidecar.Xds;

/// <summary>
/// Watches a snapshot, a file or a folder of files, and says when it has changed: after an atomic replace (a rename, or the symbolic link Kubernetes moves
/// under a mounted volume) and after a write in place. Changes that come together are one. Of a single file's folder only that file counts, and the links
/// it is reached by.
/// </summary>
/// <remarks>Control loop only.</remarks>
internal sealed class FileSource
{
    private readonly string _path;
    private readonly FolderWatch _watch;

    /// <param name="loop">The control loop.</param>
    /// <param name="path">A file, or a folder with files and folders of files.</param>
    /// <param name="changed">Called on the loop; read the path again then.</param>
    internal FileSource(EventLoop loop, string path, Action changed)
    {
        _path = Path.GetFullPath(path);
        _watch = new FolderWatch(loop, OnChanged, $"watching {_path} failed once; SIGHUP applies it again");

        void OnChanged()
        {
            // Folders may have come, and links lead elsewhere.
            WatchAll();
            changed();
        }
    }

    /// <summary>Starts to watch.</summary>
    /// <returns>False when the kernel does not let us: changes then need SIGHUP.</returns>
    internal bool Start()
    {
        if (WatchAll())
            return true;
        Stop();
        return false;
    }

    internal void Stop() => _watch.Stop();

    private bool WatchAll()
    {
        if (!Directory.Exists(_path))
        {
            string folder = Path.GetDirectoryName(_path) ?? "/";
            _watch.Names = NamesOf(folder, Path.GetFileName(_path));
            return _watch.Watch(folder);
        }
        _watch.Names = null;
        bool watched = _watch.Watch(_path);
        try
        {
            foreach (string folder in Directory.GetDirectories(_path))
                _watch.Watch(folder);
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
