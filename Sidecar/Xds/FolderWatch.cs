using System;
using System.Collections.Generic;
using Sidecar.Linux;
using Sidecar.Loop;
using Sidecar.Telemetry;

namespace Sidecar.Xds;

/// <summary>
/// Watches folders for files in them that change, by an atomic replace (also of the symbolic link Kubernetes moves under a mounted secret) or in place.
/// Changes that come together are one, so that both files of a pair are there when they are read.
/// </summary>
/// <remarks>Control loop only.</remarks>
internal sealed class FolderWatch(EventLoop loop, Action changed) : LoopHandler, ITimerOwner
{
    /// <summary>A writer of several files is given this long after its first change.</summary>
    private const long SettleMs = 20;

    private readonly HashSet<string> _folders = [];
    private Inotify? _inotify;
    private LoopTimer? _settle;

    /// <summary>Watches a folder too; false when the kernel does not let us.</summary>
    internal bool Watch(string folder)
    {
        if (_folders.Contains(folder))
            return true;
        if (_inotify is null)
        {
            if (!Inotify.Create(out _inotify).Ok)
                return false;
            if (!loop.Register(_inotify!.Fd, this, EpollEvents.In | EpollEvents.EdgeTriggered).Ok)
            {
                _inotify.Dispose();
                _inotify = null;
                return false;
            }
        }
        if (!_inotify.Watch(folder).Ok)
            return false;
        _folders.Add(folder);
        return true;
    }

    internal void Stop()
    {
        if (_settle is not null)
            loop.Cancel(_settle);
        if (_inotify is null)
            return;
        loop.Unregister(_inotify.Fd, this, closing: true);
        _inotify.Dispose();
        _inotify = null;
        _folders.Clear();
    }

    public override void OnReady(EpollEvents events)
    {
        if (_inotify is null || !_inotify.Drain())
            return;
        _settle ??= new LoopTimer(this);
        // Armed once: a writer that never pauses is still followed.
        if (!_settle.IsArmed)
            loop.Schedule(_settle, SettleMs);
    }

    public void OnTimer(LoopTimer timer) => changed();

    public override void OnFault() => Log.Error("config", "reading changed certificate files failed once; SIGHUP reads them again");
}
