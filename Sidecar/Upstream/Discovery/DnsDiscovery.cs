using System;
using System.Collections.Generic;
using Sidecar.Loop;
using Sidecar.Memory;
using Sidecar.Net;
using Sidecar.Telemetry.Stats;

namespace Sidecar.Upstream.Discovery;

/// <summary>
/// The hosts of one STRICT_DNS or LOGICAL_DNS cluster: asks for each name again and again, and tells when the hosts have changed.
/// STRICT_DNS takes every address of a name as a host; LOGICAL_DNS takes one, and keeps it as long as the name has it. A name about
/// which no server can be asked keeps the addresses it had.
/// </summary>
/// <remarks>Control loop.</remarks>
internal sealed class DnsDiscovery
{
    private readonly EventLoop _loop;
    private readonly DnsResolver _resolver;
    private readonly FastRandom _random;
    private readonly int _workers;
    private readonly Action<ClusterConfig, HostSet> _changed;
    private readonly StatsCells _stats;
    private readonly Dictionary<(string Name, ushort Port), ResolvedName> _names = new();
    private int _unanswered;

    /// <param name="loop">The control loop.</param>
    /// <param name="resolver">On the same loop.</param>
    /// <param name="config">The cluster; its <see cref="ClusterConfig.Endpoints"/> have the names.</param>
    /// <param name="workers">Workers of the process; the control loop's cells come after theirs.</param>
    /// <param name="random">For the jitter.</param>
    /// <param name="changed">Told the hosts each time they change, and once when every name was answered first.</param>
    internal DnsDiscovery(
        EventLoop loop, DnsResolver resolver, ClusterConfig config, int workers, FastRandom random, Action<ClusterConfig, HostSet> changed)
    {
        _loop = loop;
        _resolver = resolver;
        _random = random;
        _workers = workers;
        _changed = changed;
        _stats = config.Stats.Cells(workers);
        Config = config;
        foreach (var locality in config.Endpoints?.Localities ?? [])
        {
            foreach (var endpoint in locality.Endpoints)
            {
                if (endpoint.DnsName.Length > 0)
                    _names.TryAdd((endpoint.DnsName, endpoint.Port), new ResolvedName(this, endpoint.DnsName));
            }
        }
        _unanswered = _names.Count;
    }

    internal ClusterConfig Config { get; }
    internal HostSet Hosts { get; private set; } = HostSet.Empty;

    /// <summary>Every name has been answered once, well or badly: what waits for this cluster need not wait longer.</summary>
    internal bool IsWarm => _unanswered == 0;

    /// <summary>Asks for every name. <c>changed</c> never comes before this returns, except when there is no name to ask for.</summary>
    internal void Start()
    {
        foreach (var name in _names.Values)
            name.Ask();
        if (_names.Count == 0)
            Rebuild();
    }

    /// <summary>Asks no more.</summary>
    internal void Stop()
    {
        foreach (var name in _names.Values)
            name.Stop();
    }

    private void OnAnswer(ResolvedName name, DnsAnswer answer, bool isFirst)
    {
        bool changed = false;
        switch (answer.Status)
        {
            case DnsStatus.Ok:
                _stats.Inc(ClusterStats.UpdateSuccess);
                changed = name.Take(answer.Addresses, onlyOne: Config.Type == DiscoveryType.LogicalDns);
                break;
            case DnsStatus.NoData or DnsStatus.NoName:
                // The servers know that there is nothing: a headless service without pods. A logical host stays where it was.
                _stats.Inc(ClusterStats.UpdateSuccess);
                _stats.Inc(ClusterStats.UpdateEmpty);
                changed = Config.Type == DiscoveryType.StrictDns && name.Take([], onlyOne: false);
                break;
            default:
                _stats.Inc(ClusterStats.UpdateFailure);
                break;
        }
        if (isFirst)
            _unanswered--;
        if (changed || isFirst && IsWarm)
            Rebuild();
    }

    private void Rebuild()
    {
        var previous = Hosts;
        Hosts = Config.Endpoints!.Build(Config, previous, _workers, endpoint => _names[(endpoint.DnsName, endpoint.Port)].Addresses);
        Membership.Write(Config, previous, Hosts, _workers);
        _changed(Config, Hosts);
    }

    /// <summary>One name, its addresses and its next question.</summary>
    private sealed class ResolvedName(DnsDiscovery owner, string name) : ITimerOwner
    {
        private LoopTimer? _timer;
        private DnsQuery? _query;
        private long _failureWaitMs;
        private bool _wasAnswered;

        internal IReadOnlyList<Address> Addresses { get; private set; } = [];

        internal void Ask()
        {
            owner._stats.Inc(ClusterStats.UpdateAttempt);
            _query = owner._resolver.Resolve(name, owner.Config.Dns.Family, OnAnswer);
        }

        internal void Stop()
        {
            _query?.Cancel();
            _query = null;
            if (_timer is not null)
                owner._loop.Cancel(_timer);
        }

        public void OnTimer(LoopTimer timer) => Ask();

        /// <summary>Takes an answer's addresses over.</summary>
        /// <returns>Whether they are others than before.</returns>
        internal bool Take(IReadOnlyList<Address> addresses, bool onlyOne)
        {
            if (onlyOne)
            {
                if (Addresses.Count == 1 && Contains(addresses, Addresses[0]))
                    return false;
                Addresses = [addresses[0]];
                return true;
            }
            bool same = addresses.Count == Addresses.Count;
            for (int i = 0; same && i < addresses.Count; i++)
                same = addresses[i] == Addresses[i];
            Addresses = addresses;
            return !same;
        }

        private void OnAnswer(DnsAnswer answer)
        {
            _query = null;
            bool isFirst = !_wasAnswered;
            _wasAnswered = true;
            _timer ??= new LoopTimer(this);
            owner._loop.Schedule(_timer, WaitMs(answer));
            owner.OnAnswer(this, answer, isFirst);
        }

        private long WaitMs(DnsAnswer answer)
        {
            var dns = owner.Config.Dns;
            long wait;
            if (answer.Status == DnsStatus.Ok)
            {
                _failureWaitMs = 0;
                // A TTL of 0 would ask without pause: the configured rate holds then, as in Envoy.
                wait = dns.RespectTtl && answer.TtlSeconds > 0 ? answer.TtlSeconds * 1000 : dns.RateMs;
            }
            else if (dns.FailureBaseMs > 0)
            {
                long max = Math.Max(dns.FailureBaseMs, dns.FailureMaxMs);
                _failureWaitMs = _failureWaitMs == 0 ? dns.FailureBaseMs : Math.Min(max, _failureWaitMs * 2);
                wait = _failureWaitMs;
            }
            else
            {
                wait = dns.RateMs;
            }
            return wait + (dns.JitterMs > 0 ? owner._random.Next((uint)Math.Min(dns.JitterMs + 1, uint.MaxValue)) : 0);
        }

        private static bool Contains(IReadOnlyList<Address> addresses, in Address wanted)
        {
            foreach (var address in addresses)
            {
                if (address == wanted)
                    return true;
            }
            return false;
        }
    }
}
