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
    private readonly Dictionary<string, IReadOnlyList<ListenOptions>> _bound = [];

    /// <summary>Why a listener could not be bound.</summary>
    internal readonly record struct BindFailure(ListenerConfig Listener, string Reason);

    /// <summary>What one snapshot needs bound.</summary>
    /// <param name="ByWorker">New descriptors, per worker.</param>
    /// <param name="Failures">Listeners that could not be bound; nothing of them is.</param>
    internal sealed record Prepared(IReadOnlyList<BoundSocket>[] ByWorker, IReadOnlyList<BindFailure> Failures);

    /// <summary>Binds what is new in a set of listeners.</summary>
    internal Prepared Prepare(IReadOnlyList<ListenerConfig> listeners)
    {
        var byWorker = new List<BoundSocket>[workers];
        for (int i = 0; i < workers; i++)
            byWorker[i] = [];
        var failures = new List<BindFailure>();
        var names = new HashSet<string>();
        foreach (var listener in listeners)
        {
            names.Add(listener.Name);
            if (!listener.BindToPort)
            {
                _bound.Remove(listener.Name);
                continue;
            }
            if (_bound.TryGetValue(listener.Name, out var present) && Same(present, listener.Addresses))
                continue;
            if (TryBind(listener, byWorker, out string reason))
                _bound[listener.Name] = listener.Addresses;
            else
                failures.Add(new BindFailure(listener, reason));
        }
        foreach (string name in new List<string>(_bound.Keys))
        {
            if (!names.Contains(name))
                _bound.Remove(name);
        }
        return new Prepared(byWorker, failures);
    }

    private bool TryBind(ListenerConfig listener, List<BoundSocket>[] byWorker, out string reason)
    {
        var made = new List<(int Worker, BoundSocket Socket)>();
        for (int address = 0; address < listener.Addresses.Count; address++)
        {
            var options = listener.Addresses[address];
            // Only one process may have the port: SO_REUSEPORT would let two sidecars of one user share it without a word.
            if (options.ReusePort && options.Address.Port != 0 && !IsOurs(options.Address) && !TryProbe(options, out reason))
                return GiveBack(made);
            int sockets = options.ReusePort ? workers : 1;
            for (int worker = 0; worker < sockets; worker++)
            {
                var bound = ListenSocket.Bind(options, out string step);
                if (!bound.Ok)
                {
                    reason = Explain(options.Address, step, bound.Error);
                    return GiveBack(made);
                }
                made.Add((worker, new BoundSocket(listener.Name, address, bound.Fd)));
            }
        }
        foreach (var (worker, socket) in made)
            byWorker[worker].Add(socket);
        reason = "";
        return true;
    }

    private bool IsOurs(in Address address)
    {
        foreach (var bound in _bound.Values)
        {
            foreach (var options in bound)
            {
                if (options.Address == address)
                    return true;
            }
        }
        return false;
    }

    private static bool TryProbe(ListenOptions options, out string reason)
    {
        var probe = ListenSocket.Bind(options with { ReusePort = false }, out string step);
        reason = "";
        if (probe.Ok)
        {
            Sockets.Close(probe.Fd);
            return true;
        }
        reason = Explain(options.Address, step, probe.Error);
        return false;
    }

    private static bool GiveBack(List<(int Worker, BoundSocket Socket)> made)
    {
        foreach (var (_, socket) in made)
            Sockets.Close(socket.Fd);
        return false;
    }

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
