using System;
using System.Collections.Generic;
using Sidecar.Filters;
using Sidecar.Memory;
using Sidecar.Net;
using Sidecar.Telemetry;

namespace Sidecar.Downstream;

/// <summary>A descriptor bound on the control loop for one worker.</summary>
internal readonly record struct BoundSocket(int Worker, string ListenerName, int AddressIndex, int Fd);

/// <summary>The listeners of one worker, and the chains that are draining.</summary>
/// <remarks>Worker-owned.</remarks>
internal sealed class Listeners
{
    private readonly WorkerScope _worker;
    private readonly ConnectionLimit _limit;
    private readonly Pool<PendingConnection> _pending;
    private readonly Dictionary<string, Listener> _byName = [];
    private readonly Dictionary<Address, Listener> _byAddress = [];
    private readonly Dictionary<(AddressKind Kind, ushort Port), Listener> _byAnyAddress = [];
    private readonly List<TerminalFilter> _draining = [];

    internal Listeners(WorkerScope worker, ConnectionLimit limit)
    {
        _worker = worker;
        _limit = limit;
        _pending = new Pool<PendingConnection>(() => new PendingConnection(this, worker.Loop));
    }

    internal IEnumerable<Listener> All => _byName.Values;

    /// <summary>The worker's number: the writer index of its stats cells.</summary>
    internal int WorkerIndex => _worker.Index;

    internal Listener? Find(string name) => _byName.GetValueOrDefault(name);

    /// <summary>Connections of all chains, draining ones included.</summary>
    internal int ActiveConnections
    {
        get
        {
            int count = 0;
            foreach (var listener in _byName.Values)
                count += listener.ActiveConnections;
            foreach (var terminal in _draining)
                count += terminal.ActiveConnections;
            return count;
        }
    }

    /// <summary>The listener for an original destination: of exactly this address, else of any address with its port.</summary>
    internal Listener? FindFor(in Address destination)
    {
        if (_byAddress.TryGetValue(destination, out var listener))
            return listener;
        return _byAnyAddress.GetValueOrDefault((destination.Kind, destination.Port));
    }

    /// <summary>
    /// A new or changed listener. The same object is not touched; a changed one is updated in place: chains that are the same objects keep their
    /// connections, those of changed and gone chains drain.
    /// </summary>
    /// <param name="config">The listener.</param>
    /// <param name="sockets">Descriptors, among which are this worker's when the listener is new or has a new address.</param>
    /// <param name="drainTimeMs">How long connections of gone chains may go on.</param>
    internal void Set(ListenerConfig config, IReadOnlyList<BoundSocket> sockets, long drainTimeMs)
    {
        var drain = new List<TerminalFilter>();
        if (!_byName.TryGetValue(config.Name, out var listener))
        {
            _byName.Add(config.Name, listener = new Listener(this, _worker, config));
        }
        else if (listener.Config != config)
        {
            RemoveAddresses(listener);
            listener.Update(config, drain.Add);
        }
        AddAddresses(listener);
        // New sockets first: while both are open no connection is refused.
        int old = listener.Sockets.Count;
        bool moved = !config.BindToPort;
        foreach (var socket in sockets)
        {
            if (socket.ListenerName != config.Name)
                continue;
            // Another worker may have all of them: of an address without SO_REUSEPORT there is one.
            moved = true;
            if (socket.Worker == _worker.Index)
                listener.Open(socket.Fd, config.Addresses[socket.AddressIndex], _limit);
        }
        if (moved)
            listener.CloseSockets(old);
        Drain(drain, drainTimeMs);
    }

    /// <summary>The listener of this name goes: it stops accepting, and its connections drain.</summary>
    internal void Remove(string name, long drainTimeMs)
    {
        if (!_byName.Remove(name, out var listener))
            return;
        RemoveAddresses(listener);
        listener.CloseSockets();
        listener.CloseWaiting(Failure.Draining);
        Drain([.. listener.Terminals], drainTimeMs);
    }

    /// <summary>The process drains: nothing new is accepted when <paramref name="stopAccepting"/>, and every connection ends with what it is doing.</summary>
    internal void StartDrain(bool stopAccepting, Predicate<ListenerConfig>? only = null)
    {
        foreach (var listener in _byName.Values)
        {
            if (only is not null && !only(listener.Config))
                continue;
            if (stopAccepting)
                listener.CloseSockets();
            foreach (var terminal in listener.Terminals)
                terminal.StartDrain();
        }
    }

    // ---- overload -------------------------------------------------------------------------------------------------------

    /// <summary>The worker's <see cref="OverloadState"/> has changed.</summary>
    internal void SetAccepting()
    {
        foreach (var listener in _byName.Values)
            listener.SetAccepting();
    }

    /// <summary>Ends streams, those of the connections that hold most first, until enough memory is free or none is left that would be worth it.</summary>
    /// <param name="bytesWanted">What is wanted.</param>
    /// <param name="bytesMin">Streams that hold less are left alone.</param>
    /// <param name="streamsMax">The most to end in one call, which is one turn of the loop.</param>
    /// <returns>Streams ended.</returns>
    internal int ReleaseMemory(long bytesWanted, long bytesMin, int streamsMax)
    {
        var holders = new List<MemoryHolder>();
        foreach (var listener in _byName.Values)
        {
            foreach (var terminal in listener.Terminals)
                terminal.AddHolders(holders, bytesMin);
        }
        foreach (var terminal in _draining)
            terminal.AddHolders(holders, bytesMin);
        holders.Sort(static (a, b) => b.Bytes.CompareTo(a.Bytes));
        int ended = 0;
        foreach (var holder in holders)
        {
            if (bytesWanted <= 0 || ended >= streamsMax)
                break;
            var (streams, bytes) = holder.Connection.Release(bytesWanted, bytesMin, streamsMax - ended);
            ended += streams;
            bytesWanted -= bytes;
        }
        return ended;
    }

    /// <summary>Closes every connection at once.</summary>
    internal void CloseAll(Failure reason)
    {
        foreach (var listener in _byName.Values)
        {
            listener.CloseSockets();
            listener.CloseWaiting(reason);
            foreach (var terminal in listener.Terminals)
                terminal.CloseAll(reason);
        }
        foreach (var terminal in _draining)
            terminal.CloseAll(reason);
    }

    internal PendingConnection Rent() => _pending.Rent();

    internal void Return(PendingConnection pending) => _pending.Return(pending);

    private void AddAddresses(Listener listener)
    {
        foreach (var options in listener.Config.Addresses)
        {
            var address = options.Address;
            if (address.IsAny)
                _byAnyAddress.TryAdd((address.Kind, address.Port), listener);
            else
                _byAddress.TryAdd(address, listener);
        }
    }

    private void RemoveAddresses(Listener listener)
    {
        foreach (var options in listener.Config.Addresses)
        {
            var address = options.Address;
            if (address.IsAny && _byAnyAddress.GetValueOrDefault((address.Kind, address.Port)) == listener)
                _byAnyAddress.Remove((address.Kind, address.Port));
            else if (_byAddress.GetValueOrDefault(address) == listener)
                _byAddress.Remove(address);
        }
    }

    private void Drain(List<TerminalFilter> terminals, long drainTimeMs)
    {
        foreach (var terminal in terminals)
        {
            terminal.StartDrain();
            if (terminal.ActiveConnections == 0)
                continue;
            _draining.Add(terminal);
            new DrainEnd(this, terminal, drainTimeMs);
        }
    }

    /// <summary>Closes what is left of one chain when its drain time is over.</summary>
    private sealed class DrainEnd : Loop.ITimerOwner
    {
        private readonly Listeners _owner;
        private readonly TerminalFilter _terminal;

        internal DrainEnd(Listeners owner, TerminalFilter terminal, long delayMs)
        {
            _owner = owner;
            _terminal = terminal;
            owner._worker.Loop.Schedule(new Loop.LoopTimer(this), delayMs);
        }

        public void OnTimer(Loop.LoopTimer timer)
        {
            _owner._draining.Remove(_terminal);
            _terminal.CloseAll(Failure.Draining);
        }
    }
}
