using System;
using System.Collections.Generic;
using System.Diagnostics;
using Sidecar.Filters;
using Sidecar.Filters.Listener;
using Sidecar.Linux;
using Sidecar.Loop;
using Sidecar.Memory;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Telemetry.Stats;
using Sidecar.Tls;

namespace Sidecar.Downstream;

/// <summary>
/// One listener on one worker: takes accepted connections through its listener filters, chooses the filter chain and gives the connection to that
/// chain's terminal filter. Where <c>use_original_dst</c> is set, the connection goes first to the listener of its original destination.
/// </summary>
/// <remarks>Worker-owned. A new version replaces <see cref="Config"/>; chains that are the same objects keep their terminal filter and its connections.</remarks>
internal sealed class Listener : IAcceptHandler
{
    private readonly Listeners _listeners;
    private readonly WorkerScope _worker;
    private readonly Dictionary<FilterChainConfig, TerminalFilter> _terminals = [];
    private readonly List<ListenSocket> _sockets = [];
    private readonly List<PendingConnection> _waiting = [];
    private StatsCells _stats;

    internal Listener(Listeners listeners, WorkerScope worker, ListenerConfig config)
    {
        _listeners = listeners;
        _worker = worker;
        Config = config;
        _stats = config.Stats.Cells(worker.Index);
        MakeTerminals();
    }

    internal ListenerConfig Config { get; private set; }
    internal StatsCells Stats => _stats;
    internal IReadOnlyList<ListenSocket> Sockets => _sockets;

    /// <summary>Connections its chains have.</summary>
    internal int ActiveConnections
    {
        get
        {
            int count = 0;
            foreach (var terminal in _terminals.Values)
                count += terminal.ActiveConnections;
            return count;
        }
    }

    /// <summary>Starts to accept on a descriptor bound for this worker.</summary>
    internal void Open(int fd, ListenOptions options, ConnectionLimit limit)
    {
        var socket = new ListenSocket(_worker.Loop, fd, options, this, Config.IgnoreGlobalLimit ? null : limit);
        if (_worker.Overload.StopsAccepting && !Config.BypassesOverload)
            socket.Pause();
        _sockets.Add(socket);
    }

    /// <summary>Accepts, or leaves connections in the kernel's queue, as the overload manager says.</summary>
    internal void SetAccepting()
    {
        foreach (var socket in _sockets)
        {
            if (_worker.Overload.StopsAccepting && !Config.BypassesOverload)
                socket.Pause();
            else
                socket.Resume();
        }
    }

    /// <summary>Takes a new version in place. Terminal filters of chains that are gone are handed to <paramref name="drain"/>.</summary>
    internal void Update(ListenerConfig config, Action<TerminalFilter> drain)
    {
        Config = config;
        _stats = config.Stats.Cells(_worker.Index);
        SetAccepting();
        var kept = new HashSet<FilterChainConfig>(config.Chains);
        if (config.DefaultChain is not null)
            kept.Add(config.DefaultChain);
        var gone = new List<FilterChainConfig>();
        foreach (var chain in _terminals.Keys)
        {
            if (!kept.Contains(chain))
                gone.Add(chain);
        }
        foreach (var chain in gone)
        {
            _terminals.Remove(chain, out var terminal);
            drain(terminal!);
        }
        MakeTerminals();
    }

    /// <summary>Stops accepting; what the kernel has already queued is still taken.</summary>
    internal void CloseSockets() => CloseSockets(_sockets.Count);

    /// <summary>The same for the oldest <paramref name="count"/> of them, which newer ones replace.</summary>
    internal void CloseSockets(int count)
    {
        for (int i = 0; i < count; i++)
            _sockets[i].Close();
        _sockets.RemoveRange(0, count);
    }

    /// <summary>All chains, for draining with the listener.</summary>
    internal IEnumerable<TerminalFilter> Terminals => _terminals.Values;

    public void OnAccepted(ListenSocket socket, int fd, in Address peer)
    {
        if (!Config.BypassesOverload && _worker.Overload.RejectsConnection())
        {
            _stats.Inc(ListenerStats.CxOverloadReject);
            Linux.Sockets.Close(fd);
            socket.Limit?.Give();
            return;
        }
        _stats.Inc(ListenerStats.CxTotal);
        _stats.Inc(ListenerStats.CxActive);
        var accepted = _listeners.Rent();
        // Bound to one address, every connection has it: the kernel need not be asked. Not so where anybody's connections are taken.
        var local = Config.Transparent || socket.Address.IsAny || !socket.Address.IsIp ? default : socket.Address;
        if (accepted.Open(this, fd, peer, local, socket.Limit))
            Admit(accepted);
    }

    public void OnAcceptOverflow(ListenSocket socket)
    {
        _stats.Inc(ListenerStats.CxOverflow);
        _stats.Inc(ListenerStats.GlobalCxOverflow);
    }

    public void OnAcceptFailed(ListenSocket socket, Errno error)
    {
        _stats.Inc(ListenerStats.AcceptFailed);
        if (error is Errno.EMFILE or Errno.ENFILE)
            Log.Warning("listener", $"{Config.Name}: accept failed: {error}; raise the limit of open files (ulimit -n)");
    }

    /// <summary>Takes a connection into this listener: freshly accepted, or handed over by another one.</summary>
    internal void Admit(PendingConnection accepted)
    {
        accepted.Connection.SetWatermarks(Config.BufferLimitBytes);
        if (Config.UseOriginalDst)
        {
            OriginalDstFilter.Restore(accepted, Config.Transparent);
            if (accepted.IsDestinationRestored && _listeners.FindFor(accepted.Destination) is { } other && other != this)
            {
                _stats.Dec(ListenerStats.CxActive);
                other._stats.Inc(ListenerStats.CxTotal);
                other._stats.Inc(ListenerStats.CxActive);
                accepted.MoveTo(other);
                other.Admit(accepted);
                return;
            }
        }
        accepted.RunFilters();
    }

    /// <summary>A connection under listener filters waits for bytes.</summary>
    internal void StartWaiting(PendingConnection pending)
    {
        pending.WaitingIndex = _waiting.Count;
        _waiting.Add(pending);
        _stats.Inc(ListenerStats.PreCxActive);
    }

    /// <summary>And no longer.</summary>
    internal void StopWaiting(PendingConnection pending)
    {
        var last = _waiting[^1];
        _waiting[pending.WaitingIndex] = last;
        last.WaitingIndex = pending.WaitingIndex;
        _waiting.RemoveAt(_waiting.Count - 1);
        pending.WaitingIndex = -1;
        _stats.Dec(ListenerStats.PreCxActive);
    }

    /// <summary>Closes the connections that have not come to a chain: the listener goes.</summary>
    internal void CloseWaiting(Failure reason)
    {
        while (_waiting.Count > 0)
            _waiting[^1].Close(reason);
    }

    /// <summary>Listener filters are through: chooses the chain and gives the connection away.</summary>
    internal void Dispatch(PendingConnection accepted)
    {
        var chain = Config.Match.Find(accepted) ?? Config.DefaultChain;
        if (chain is null)
        {
            _stats.Inc(ListenerStats.NoFilterChainMatch);
            if (Log.IsEnabled(LogLevel.Debug))
                Log.Debug("listener", $"{Config.Name}: no filter chain for {accepted.Source} -> {accepted.Destination}, closing");
            accepted.Close(Failure.NoFilterChain);
            return;
        }
        string serverName = accepted.ServerName;
        var connection = accepted.Release();
        if (serverName.Length > 0)
            connection.RequestedServerName = serverName;
        if (chain.Tls is { } tls)
        {
            Transport transport = tls.Take(_worker.Index) is { } context ? TlsTransport.Accept(_worker.Loop, _worker.Index, context) : NotReadyTransport.Instance;
            connection.ChangeTransport(transport, chain.HandshakeTimeoutMs);
        }
        _terminals[chain].OnConnection(connection, chain.Context);
    }

    private void MakeTerminals()
    {
        foreach (var chain in Config.Chains)
            MakeTerminal(chain);
        if (Config.DefaultChain is not null)
            MakeTerminal(Config.DefaultChain);
    }

    private void MakeTerminal(FilterChainConfig chain)
    {
        if (!_terminals.ContainsKey(chain))
            _terminals.Add(chain, chain.Terminal(_worker));
    }
}

/// <summary>A connection under its listener filters.</summary>
/// <remarks>Worker-owned, pooled by <see cref="Listeners"/>.</remarks>
internal sealed class PendingConnection : AcceptedConnection, ITimerOwner
{
    private const int ApplicationProtocolsKept = 16;

    private readonly Listeners _listeners;
    private readonly EventLoop _loop;
    private readonly LoopTimer _timeout;
    private readonly Receiver _receiver;
    private Listener _listener = null!;
    private Connection _connection = null!;

    // Those of the version the connection was accepted under: a new one may have others, and this one is between two of them.
    private IReadOnlyList<ListenerFilters.Configured> _filters = [];
    private int _next;

    internal PendingConnection(Listeners listeners, EventLoop loop)
    {
        _listeners = listeners;
        _loop = loop;
        _timeout = new LoopTimer(this);
        _receiver = new Receiver(this);
    }

    internal override Connection Connection => _connection;
    internal override int WorkerIndex => _listeners.WorkerIndex;

    /// <summary>Its place among the listener's waiting ones; -1: it waits for nothing.</summary>
    internal int WaitingIndex = -1;

    private bool IsWaiting => WaitingIndex >= 0;

    /// <summary>Wraps the descriptor; false when that failed and everything is given back.</summary>
    internal bool Open(Listener listener, int fd, in Address peer, in Address local, ConnectionLimit? limit)
    {
        MoveTo(listener);
        var connection = Connection.Open(_loop, fd, peer, RawTransport.Instance, _receiver);
        if (connection is null)
        {
            limit?.Give();
            listener.Stats.Dec(ListenerStats.CxActive);
            _listeners.Return(this);
            return false;
        }
        connection.Limit = limit;
        _connection = connection;
        Source = peer;
        if (!local.IsNone)
            connection.LocalAddress = local;
        Destination = connection.LocalAddress;
        return true;
    }

    internal void MoveTo(Listener listener)
    {
        _listener = listener;
        _filters = listener.Config.ListenerFilters;
        _next = 0;
    }

    internal void RunFilters() => RunFilters(default);

    internal void Close(Failure reason) => _connection.Close(reason);

    /// <summary>Done with it: the connection goes to its chain, this object back to the pool.</summary>
    internal Connection Release()
    {
        var connection = _connection;
        Recycle();
        return connection;
    }

    public void OnTimer(LoopTimer timer)
    {
        _listener.Stats.Inc(ListenerStats.PreCxTimeout);
        if (_listener.Config.ContinueOnListenerFiltersTimeout)
        {
            // With what is known by now: a peer that waits for our side to speak first gets there.
            StopWaiting();
            _listener.Dispatch(this);
        }
        else
        {
            Close(Failure.ListenerFilterTimeout);
        }
    }

    // Answers how many bytes at the front were for a filter. By then the connection may have its chain, and this object another connection.
    private int RunFilters(ReadOnlySpan<byte> data)
    {
        int taken = 0;
        for (; _next < _filters.Count; _next++)
        {
            var (filter, disabled) = _filters[_next];
            if (disabled is not null && disabled.Matches(Destination))
                continue;
            switch (filter.Inspect(this, data))
            {
                case ListenerFilterStatus.NeedMore when data.Length < filter.InspectBytesMax && !_connection.EndReceived:
                    Wait();
                    return taken;
                case ListenerFilterStatus.Close:
                    Close(Failure.ListenerFilterRefused);
                    return taken;
            }
            taken += TakenBytes;
            data = data[TakenBytes..];
            TakenBytes = 0;
        }
        StopWaiting();
        _listener.Dispatch(this);
        return taken;
    }

    // One timeout for all filters together.
    private void Wait()
    {
        if (IsWaiting)
            return;
        _listener.StartWaiting(this);
        if (_listener.Config.ListenerFiltersTimeoutMs > 0)
            _loop.Schedule(_timeout, _listener.Config.ListenerFiltersTimeoutMs);
    }

    private void StopWaiting()
    {
        if (!IsWaiting)
            return;
        _listener.StopWaiting(this);
        _loop.Cancel(_timeout);
    }

    private void OnClosed(Failure reason)
    {
        if (IsWaiting && reason is Failure.DownstreamDisconnect or Failure.DownstreamReset)
        {
            _listener.Stats.Inc(ListenerStats.ListenerFilterRemoteClose);
            _filters[_next].Filter.OnPeerClosed(this);
        }
        _listener.Stats.Inc(ListenerStats.CxDestroy);
        _listener.Stats.Dec(ListenerStats.CxActive);
        Recycle();
    }

    private void Recycle()
    {
        StopWaiting();
        _connection = null!;
        _listener = null!;
        _filters = [];
        IsDestinationRestored = false;
        TransportProtocol = ServerName = "";
        ApplicationProtocols.Clear();
        // A hello has room for thousands of them, and this object is kept.
        if (ApplicationProtocols.Capacity > ApplicationProtocolsKept)
            ApplicationProtocols.Capacity = ApplicationProtocolsKept;
        Destination = Source = default;
        _listeners.Return(this);
    }

    /// <summary>Shows received bytes to the filters and consumes none but a header that was for one of them: the chain gets all others.</summary>
    private sealed class Receiver(PendingConnection owner) : ConnectionHandler
    {
        internal override int OnData(Connection connection, ReadOnlySpan<byte> data)
        {
            Debug.Assert(owner._connection == connection);
            return owner.RunFilters(data);
        }

        // Its last bytes were not enough to tell what it wants.
        internal override void OnEndOfStream(Connection connection) => connection.Close(Failure.DownstreamDisconnect);

        internal override void OnClosed(Connection connection, Failure reason) => owner.OnClosed(reason);
    }
}
