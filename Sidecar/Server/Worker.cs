using System.Threading;
using Sidecar.Downstream;
using Sidecar.Filters;
using Sidecar.Linux;
using Sidecar.Loop;
using Sidecar.Memory;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Upstream;

namespace Sidecar.Server;

/// <summary>
/// One thread with one loop, its own listening sockets, connections and upstream pools. Everything it owns is touched by its thread only; the control loop
/// reaches it by <see cref="EventLoop.Post(Action)"/>. What crosses threads: that mailbox, the stats cells (one writer each), the
/// <see cref="ConnectionLimit"/> and the circuit breakers' counts.
/// </summary>
internal sealed class Worker
{
    private readonly Thread _thread;

    internal Worker(int index, ConnectionLimit limit, EventLoop loop, ulong seed, long drainTimeMs)
    {
        Index = index;
        Loop = loop;
        var random = new FastRandom(seed);
        Clusters = new Clusters(Loop, index, random);
        Scope = new WorkerScope(Loop, index, Clusters, random);
        Listeners = new Listeners(Scope, limit);
        Updates = new WorkerUpdates(Loop, Clusters, Scope, Listeners, drainTimeMs);
        _thread = new Thread(Loop.Run) { Name = Loop.Name, IsBackground = true };
    }

    internal int Index { get; }
    internal EventLoop Loop { get; }
    internal WorkerScope Scope { get; }
    internal Clusters Clusters { get; }
    internal Listeners Listeners { get; }

    /// <summary>How the configuration comes to it.</summary>
    internal WorkerUpdates Updates { get; }

    internal void Start() => _thread.Start();

    /// <summary>Ends the thread after its present turn, and waits for that.</summary>
    internal void Stop()
    {
        Loop.RequestStop();
        _thread.Join();
    }
}
