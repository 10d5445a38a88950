using System;
using System.Collections.Generic;
using Sidecar.Linux;
using Sidecar.Loop;
using Sidecar.Telemetry;

namespace Sidecar.Xds;

/// <summary>
/// Watches folders for entries that change, by an atomic replace (also of the symbolic link Kubernetes moves under a mounted volume) or in place. Changes that
/// come together are one, so that both files of a pair are there when they are read.
/// </summary>
/// <remarks>Control loop only.</remarks>
/// <param name="loop">The control loop.</param>
/// <param name="changed">Called on the loop; read again then.</param>
/// <param name="fault">What to log when handling a change has failed.</param>
internal sealed class FolderWatch(EventLoop loop, Action changed, string fault) : LoopHandler, ITimerOwner
{
    /// <summary>A writer of several files is given this long after its first change.</summary>
    private const long SettleMs = 20;

    private Inotify? _inotify;
    private LoopTimer? _settle;

    /// <summary>The entries that count; null: all.</summary>
    internal IReadOnlySet<string>? Names { get; set; }

    /// <summary>Watches a folder too; one that was deleted and has come again is another. False when the kernel does not let us.</summary>
    internal bool Watch(string folder)
    {
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
        return _inotify.Watch(folder).Ok;
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
    }

    public override void OnReady(EpollEvents events)
    {
        if (_inotify is null || !_inotify.Drain(Names))
            return;
        _settle ??= new LoopTimer(this);
        // Armed once: a writer that never pauses is still followed.
        if (!_settle.IsArmed)
            loop.Schedule(_settle, SettleMs);
    }

    public void OnTimer(LoopTimer timer) => changed();

    public override void OnFault() => Log.Error("config", fault);
}
