using System.Collections.Generic;
using Sidecar.Filters;
using Sidecar.Memory;
using Sidecar.Net;
using Sidecar.Telemetry;

namespace Sidecar.Downstream;

/// <summary>
/// The terminal filter of a chain that has other network filters before it. As in Envoy the terminal one has the connection from the start (TCP goes on to its
/// upstream, which may speak first), while what the downstream sends waits for the others.
/// </summary>
/// <remarks>Worker-owned: one per worker and filter chain.</remarks>
internal sealed class GuardedFilter : TerminalFilter
{
    private readonly TerminalFilter _terminal;
    private readonly Pool<Guard> _guards;

    internal GuardedFilter(TerminalFilter terminal, NetworkFilterFactory[] before, WorkerScope worker)
    {
        _terminal = terminal;
        _guards = new Pool<Guard>(() => new Guard(before, worker, _guards!));
    }

    internal override int ActiveConnections => _terminal.ActiveConnections;

    internal override void OnConnection(Connection connection, ConnectionContext context)
    {
        connection.Gate = _guards.Rent();
        _terminal.OnConnection(connection, context);
    }

    internal override void StartDrain() => _terminal.StartDrain();

    internal override void CloseAll(Failure reason) => _terminal.CloseAll(reason);

    internal override void AddHolders(List<MemoryHolder> holders, long bytesMin) => _terminal.AddHolders(holders, bytesMin);

    /// <summary>The other filters of one connection; asked whenever more has been received, until all have said their last word.</summary>
    private sealed class Guard : ConnectionGate, Loop.IReleasable
    {
        private readonly NetworkFilter[] _filters;
        private readonly WorkerScope _worker;
        private readonly Pool<Guard> _pool;
        private readonly DynamicMetadata _metadata = new();
        private long _bytesSeen = -1;
        private bool _endSeen;
        private bool _stopped;

        internal Guard(NetworkFilterFactory[] filters, WorkerScope worker, Pool<Guard> pool)
        {
            _worker = worker;
            _pool = pool;
            _filters = new NetworkFilter[filters.Length];
            for (int i = 0; i < filters.Length; i++)
            {
                _filters[i] = filters[i](worker);
                _filters[i].Metadata = _metadata;
            }
        }

        internal override bool Admits(Connection connection)
        {
            if (_stopped)
                return false;
            // What a handler has left is presented again, and was let through before.
            if (connection.BytesReceived == _bytesSeen && connection.EndReceived == _endSeen)
                return true;
            _bytesSeen = connection.BytesReceived;
            _endSeen = connection.EndReceived;
            bool isDone = true;
            foreach (var filter in _filters)
            {
                if (!filter.IsDone && filter.OnReceived(connection) == FilterStatus.Stop)
                {
                    _stopped = true;
                    return false;
                }
                isDone &= filter.IsDone;
            }
            if (isDone)
            {
                connection.Gate = null;
                _worker.Loop.Release(this);
            }
            return true;
        }

        internal override void OnClosed() => _worker.Loop.Release(this);

        public void OnRelease()
        {
            foreach (var filter in _filters)
                filter.Reset();
            _metadata.Reset();
            _bytesSeen = -1;
            _endSeen = _stopped = false;
            _pool.Return(this);
        }
    }
}
