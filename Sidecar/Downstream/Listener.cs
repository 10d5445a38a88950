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
    internal void Open(int fd, ListenOptions options, ConnectionLimit limit) =>
        _sockets.Add(new ListenSocket(_worker.Loop, fd, options, this, Config.IgnoreGlobalLimit ? null : limit));

    /// <summary>Takes a new version in place. Terminal filters of chains that are gone are handed to <paramref name="drain"/>.</summary>
    internal void Update(ListenerConfig config, Action<TerminalFilter> drain)
    {
        Config = config;
        _stats = config.Stats.Cells(_worker.Index);
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
        var connection = accepted.Release();
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
    private readonly Listeners _listeners;
    private readonly EventLoop _loop;
    private readonly LoopTimer _timeout;
    private readonly Receiver _receiver;
    private Listener _listener = null!;
    private Connection _connection = null!;
    private int _next;

    internal PendingConnection(Listeners listeners, EventLoop loop)
    {
        _listeners = listeners;
        _loop = loop;
        _timeout = new LoopTimer(this);
        _receiver = new Receiver(this);
    }

    internal override Connection Connection => _connection;

    /// <summary>Wraps the descriptor; false when that failed and everything is given back.</summary>
    internal bool Open(Listener listener, int fd, in Address peer, in Address local, ConnectionLimit? limit)
    {
        _listener = listener;
        _next = 0;
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
        _next = 0;
    }

    internal void RunFilters() => RunFilters(default);

    internal void Close(Failure reason) => _connection.Close(reason);

    /// <summary>Done with it: the connection goes to its chain, this object back to the pool.</summary>
    internal Connection Release()
    {
        var connection = _connection;
        _loop.Cancel(_timeout);
        Recycle();
        return connection;
    }

    public void OnTimer(LoopTimer timer)
    {
        _listener.Stats.Inc(ListenerStats.PreCxTimeout);
        if (_listener.Config.ContinueOnListenerFiltersTimeout)
        {
            _listener.Stats.Dec(ListenerStats.PreCxActive);
            _listener.Dispatch(this);
        }
        else
        {
            Close(Failure.ListenerFilterTimeout);
        }
    }

    private void RunFilters(ReadOnlySpan<byte> data)
    {
        var config = _listener.Config;
        bool waited = _timeout.IsArmed || _waiting;
        while (_next < config.ListenerFilters.Count)
        {
            var (filter, disabled) = config.ListenerFilters[_next];
            if (disabled is null || !disabled.Matches(Destination.Port))
            {
                switch (filter.Inspect(this, data))
                {
                    case ListenerFilterStatus.NeedMore when data.Length < filter.InspectBytesMax && !_connection.EndReceived:
                        Wait(waited);
                        return;
                    case ListenerFilterStatus.Close:
                        _listener.Stats.Inc(ListenerStats.ListenerFilterError);
                        Close(Failure.ListenerFilterTimeout);
                        return;
                }
            }
            _next++;
        }
        if (waited)
            _listener.Stats.Dec(ListenerStats.PreCxActive);
        _waiting = false;
        _listener.Dispatch(this);
    }

    private bool _waiting;

    private void Wait(bool alreadyWaiting)
    {
        if (alreadyWaiting)
            return;
        _waiting = true;
        _listener.Stats.Inc(ListenerStats.PreCxActive);
        if (_listener.Config.ListenerFiltersTimeoutMs > 0)
            _loop.Schedule(_timeout, _listener.Config.ListenerFiltersTimeoutMs);
    }

    private void OnClosed()
    {
        _loop.Cancel(_timeout);
        if (_waiting)
            _listener.Stats.Dec(ListenerStats.PreCxActive);
        _listener.Stats.Inc(ListenerStats.CxDestroy);
        _listener.Stats.Dec(ListenerStats.CxActive);
        Recycle();
    }

    private void Recycle()
    {
        _connection = null!;
        _listener = null!;
        _waiting = false;
        IsDestinationRestored = false;
        TransportProtocol = ServerName = "";
        ApplicationProtocols.Clear();
        Destination = Source = default;
        _listeners.Return(this);
    }

    /// <summary>Shows received bytes to the filters and consumes none: the chain gets them all.</summary>
    private sealed class Receiver(PendingConnection owner) : ConnectionHandler
    {
        internal override int OnData(Connection connection, ReadOnlySpan<byte> data)
        {
            Debug.Assert(owner._connection == connection);
            owner.RunFilters(data);
            return 0;
        }

        internal override void OnEndOfStream(Connection connection)
        {
            owner._listener.Stats.Inc(ListenerStats.ListenerFilterRemoteClose);
            connection.Close(Failure.DownstreamDisconnect);
        }

        internal override void OnClosed(Connection connection, Failure reason) => owner.OnClosed();
    }
}
