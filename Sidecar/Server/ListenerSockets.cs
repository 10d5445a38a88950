using System.Collections.Generic;
using Sidecar.Downstream;
using Sidecar.Linux;
using Sidecar.Net;

namespace Sidecar.Server;

/// <summary>
/// The descriptors behind the listeners: one per address and worker (SO_REUSEPORT), bound here, on the control loop, where a failure can be reported before
/// anything changes, and given to the workers. An address that stays keeps its sockets.
/// </summary>
/// <remarks>Control loop only; it remembers what is bound, the workers own the descriptors.</remarks>
internal sealed class ListenerSockets(int workers)
{
    private readonly Dictionary<string, Bound> _bound = [];

    // How many sockets of ours an address has, those included that a worker has yet to close.
    private readonly Dictionary<Address, int> _ours = [];
    private List<Address> _closing = [];

    /// <summary>What a listener asked for, and what that became: port 0 is one the kernel chose.</summary>
    private readonly record struct Bound(IReadOnlyList<ListenOptions> Asked, Address[] Actual);

    /// <summary>Where a listener listens; where it would, when it is not bound to a port.</summary>
    internal IReadOnlyList<Address> AddressesOf(ListenerConfig listener)
    {
        if (_bound.TryGetValue(listener.Name, out var bound))
            return bound.Actual;
        var asked = new Address[listener.Addresses.Count];
        for (int i = 0; i < asked.Length; i++)
            asked[i] = listener.Addresses[i].Address;
        return asked;
    }

    /// <summary>Whether a listener could be bound now; null, or why not. Nothing stays bound.</summary>
    internal string? Check(ListenerConfig listener)
    {
        if (IsPresent(listener))
            return null;
        foreach (var options in listener.Addresses)
        {
            if (!IsExclusive(options))
                continue;
            var tried = ListenSocket.TryBind(options, out string step);
            if (!tried.Ok)
                return Explain(options.Address, step, tried.Error);
        }
        return null;
    }

    /// <summary>Binds what a new or changed listener needs; on failure nothing of it is bound, and what it had stays.</summary>
    internal bool TryOpen(ListenerConfig listener, List<BoundSocket> sockets, out string reason)
    {
        reason = "";
        if (IsPresent(listener))
            return true;
        var made = new List<BoundSocket>();
        var actual = new Address[listener.Addresses.Count];
        if (listener.BindToPort && !TryBind(listener, made, actual, out reason))
        {
            foreach (var socket in made)
                Sockets.Close(socket.Fd);
            return false;
        }
        Forget(listener.Name);
        if (!listener.BindToPort)
            return true;
        sockets.AddRange(made);
        _bound.Add(listener.Name, new Bound(listener.Addresses, actual));
        foreach (var options in listener.Addresses)
            _ours[options.Address] = _ours.GetValueOrDefault(options.Address) + 1;
        return true;
    }

    /// <summary>The listener goes; its addresses are ours until the workers have closed them.</summary>
    internal void Forget(string name)
    {
        if (!_bound.Remove(name, out var present))
            return;
        foreach (var options in present.Asked)
            _closing.Add(options.Address);
    }

    /// <summary>The addresses forgotten since the last call: to be given to <see cref="Closed"/> when every worker has.</summary>
    internal IReadOnlyList<Address> TakeClosing()
    {
        var closing = _closing;
        if (closing.Count > 0)
            _closing = [];
        return closing;
    }

    /// <summary>No worker listens there any more on behalf of what was forgotten.</summary>
    internal void Closed(IReadOnlyList<Address> addresses)
    {
        foreach (var address in addresses)
        {
            if (--_ours[address] == 0)
                _ours.Remove(address);
        }
    }

    private bool IsPresent(ListenerConfig listener) =>
        listener.BindToPort ? _bound.TryGetValue(listener.Name, out var present) && Same(present.Asked, listener.Addresses) : !_bound.ContainsKey(listener.Name);

    private bool TryBind(ListenerConfig listener, List<BoundSocket> made, Address[] actual, out string reason)
    {
        reason = "";
        for (int address = 0; address < listener.Addresses.Count; address++)
        {
            var options = listener.Addresses[address];
            bool exclusive = IsExclusive(options);
            actual[address] = options.Address;
            int sockets = options.ReusePort ? workers : 1;
            for (int worker = 0; worker < sockets; worker++)
            {
                var wanted = options with { Address = actual[address] };
                var bound = exclusive && worker == 0 ? ListenSocket.BindFirst(wanted, out string step) : ListenSocket.Bind(wanted, out step);
                if (!bound.Ok)
                {
                    reason = Explain(options.Address, step, bound.Error);
                    return false;
                }
                made.Add(new BoundSocket(worker, listener.Name, address, bound.Fd));
                // The port that the kernel chose for the first worker is everybody's.
                if (options.Address.IsIp && options.Address.Port == 0 && worker == 0 && Sockets.LocalAddress(bound.Fd, out var chosen).Ok)
                    actual[address] = Address.From(chosen);
            }
        }
        return true;
    }

    // Only one process may have the port; an address that we listen on is ours already.
    private bool IsExclusive(ListenOptions options) => options.ReusePort && options.Address.Port != 0 && !_ours.ContainsKey(options.Address);

    private static string Explain(in Address address, string step, Errno error) => error switch
    {
        Errno.EADDRINUSE => $"cannot bind '{address}': the address is already in use; stop the other process or change the port",
        Errno.EACCES when address.IsIp && address.Port < 1024 => $"cannot bind '{address}': permission denied; ports below 1024 need CAP_NET_BIND_SERVICE",
        Errno.EADDRNOTAVAIL => $"cannot bind '{address}': this machine has no such address; correct it, or set freebind",
        Errno.EPERM => $"cannot bind '{address}': {step} is not permitted; transparent listeners need CAP_NET_ADMIN",
        _ => $"cannot bind '{address}': {step}: {error.Describe()}",
    };

    private static bool Same(IReadOnlyList<ListenOptions> left, IReadOnlyList<ListenOptions> right)
    {
        if (left.Count != right.Count)
            return false;
        for (int i = 0; i < left.Count; i++)
        {
            if (left[i] != right[i])
                return false;
        }
        return true;
    }
}
