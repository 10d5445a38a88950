using System;
using System.Collections.Generic;
using Sidecar.Config;
using Sidecar.Downstream;
using Sidecar.Filters;
using Sidecar.Loop;
using Sidecar.Routing;
using Sidecar.Upstream;

namespace Sidecar.Server;

/// <summary>
/// Brings deltas to what a loop has, one after the other, a portion per turn: a push of ten thousand clusters must not keep a request waiting. A delta is applied
/// in its order, so what is referred to is there first, and what goes is referred to no more.
/// </summary>
/// <remarks>Worker-owned (the control loop has one without listeners, for the services it calls).</remarks>
internal sealed class WorkerUpdates : IWorkOwner
{
    /// <summary>How long a portion may take: a tenth of what a request would notice.</summary>
    private const long PortionNs = 200_000;

    /// <summary>Steps between two looks at the clock; a step takes about as long as a look.</summary>
    private const int StepsPerLook = 16;

    private readonly EventLoop _loop;
    private readonly Clusters _clusters;
    private readonly WorkerScope? _scope;
    private readonly Listeners? _listeners;
    private readonly long _drainTimeMs;
    private readonly Queue<(SnapshotDelta Delta, Action<long>? Applied)> _queue = [];
    private readonly LoopWork _more;
    private int _next;
    private long _longestNs;

    /// <param name="loop">Whose turns.</param>
    /// <param name="clusters">Its clusters.</param>
    /// <param name="scope">A worker's route tables; null on the control loop.</param>
    /// <param name="listeners">A worker's listeners; null on the control loop.</param>
    /// <param name="drainTimeMs">How long connections of chains that are gone may go on.</param>
    internal WorkerUpdates(EventLoop loop, Clusters clusters, WorkerScope? scope, Listeners? listeners, long drainTimeMs)
    {
        _loop = loop;
        _clusters = clusters;
        _scope = scope;
        _listeners = listeners;
        _drainTimeMs = drainTimeMs;
        _more = new LoopWork(this);
    }

    /// <summary>
    /// Applies a delta after those before it; <paramref name="applied"/> is called on this loop when it is in use, with the longest its portions kept the
    /// loop from anything else, in nanoseconds.
    /// </summary>
    internal void Add(SnapshotDelta delta, Action<long>? applied)
    {
        _queue.Enqueue((delta, applied));
        if (!_more.IsQueued)
            RunPortion();
    }

    public void OnWork(LoopWork work) => RunPortion();

    private void RunPortion()
    {
        long startNs = _loop.NowNs;
        int steps = 0;
        while (_queue.TryPeek(out var first))
        {
            if (TryStep(first.Delta, _next++, out bool isLong))
            {
                if ((isLong || ++steps % StepsPerLook == 0) && _loop.NowNs - startNs >= PortionNs)
                {
                    _longestNs = Math.Max(_longestNs, _loop.NowNs - startNs);
                    _loop.RunNextTurn(_more);
                    return;
                }
                continue;
            }
            _queue.Dequeue();
            _next = 0;
            if (first.Applied is not null)
                first.Applied(Math.Max(_longestNs, _loop.NowNs - startNs));
            _longestNs = 0;
        }
    }

    /// <summary>One change; false when a delta has no such.</summary>
    private bool TryStep(SnapshotDelta delta, int step, out bool isLong)
    {
        isLong = false;
        if (Within(delta.Clusters, ref step))
        {
            var (config, hosts) = delta.Clusters[step];
            _clusters.Set(config, hosts);
            return true;
        }
        if (Within(delta.Hosts, ref step))
        {
            var (config, hosts) = delta.Hosts[step];
            _clusters.ApplyHosts(config, hosts);
            isLong = hosts.Count > 100;
            return true;
        }
        if (_scope is not null && _listeners is not null)
        {
            isLong = true;
            if (Within(delta.Routes, ref step))
            {
                SetRoutes(_scope, delta.Routes[step]);
                return true;
            }
            if (Within(delta.Listeners, ref step))
            {
                _listeners.Set(delta.Listeners[step], delta.Sockets, _drainTimeMs);
                return true;
            }
            if (Within(delta.RemovedListeners, ref step))
            {
                _listeners.Remove(delta.RemovedListeners[step], _drainTimeMs);
                return true;
            }
        }
        if (Within(delta.RemovedClusters, ref step))
        {
            _clusters.Remove(delta.RemovedClusters[step]);
            return true;
        }
        return false;
    }

    private static bool Within<T>(List<T> changes, ref int step)
    {
        if (step < changes.Count)
            return true;
        step -= changes.Count;
        return false;
    }

    // The array is the worker's own: requests read it by slot, between turns it changes.
    private static void SetRoutes(WorkerScope scope, RouteChange change)
    {
        if (change.Slot >= scope.RouteTables.Length)
            Array.Resize(ref scope.RouteTables, Math.Max(change.Slot + 1, scope.RouteTables.Length * 2));
        scope.RouteTables[change.Slot] = change.Table;
    }
}
