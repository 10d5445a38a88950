using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Runtime.CompilerServices;
using Sidecar.Http.H2;
using Sidecar.Loop;
using Sidecar.Memory;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Telemetry.Stats;
using Sidecar.Tls;
using Sidecar.Upstream.LoadBalancing;
using Sidecar.Upstream.Pools;

namespace Sidecar.Upstream;

/// <summary>
/// A cluster on one worker: its hosts, the choice among them, and the pools behind each. What is not used costs next to nothing: the
/// balancer, host states, pools and stats cells are made at the first pick.
/// </summary>
/// <remarks>Worker-owned; made by <see cref="Clusters"/>. Replaced when its configuration changes: this one then drains.</remarks>
internal sealed class Cluster : ITimerOwner
{
    /// <summary>Closed connections kept with their codecs: for an upstream that closes after every response, at this many requests at once.</summary>
    private const int SparesMax = 64;

    private readonly EventLoop _loop;
    private readonly FastRandom _random;
    private HostSet _hosts;
    private Dictionary<Host, HostState>? _states;
    private LoadBalancer? _policy;
    private PriorityBalancer? _balancer;
    private StatsCells? _stats;
    private Dictionary<Address, HostState>? _destinations;
    private LoopTimer? _cleanup;
    private Stack<HttpPoolConnection>? _spareHttp1;
    private Stack<HttpPoolConnection>? _spareHttp2;
    private Stack<HttpPoolConnection>? _spareNegotiated;
    private TlsOverrides.Cache? _overrides;

    internal Cluster(EventLoop loop, ClusterConfig config, HostSet hosts, int worker, FastRandom random, PeerChecks? checks = null)
    {
        Connect = checks?.Complete(config.Connect) ?? config.Connect;
        Http2 = checks?.Complete(config.Http.Http2) ?? config.Http.Http2;
        _loop = loop;
        _random = random;
        Config = config;
        Worker = worker;
        _hosts = hosts;
    }

    internal EventLoop Loop => _loop;
    internal ClusterConfig Config { get; }

    /// <summary>How its connections are made, and those by HTTP/2 kept: as configured, completed by what this loop asks of all.</summary>
    internal ConnectOptions Connect { get; }
    internal Http2Options Http2 { get; }

    /// <summary>Index of this worker in all per-worker cells.</summary>
    internal int Worker { get; }
    internal FastRandom Random => _random;

    /// <summary>This worker's counts; positions in <see cref="ClusterStats"/>.</summary>
    internal StatsCells Stats => _stats ?? FindStats();

    /// <summary>The hosts at present; empty for ORIGINAL_DST clusters, whose hosts come and go with connections.</summary>
    internal HostSet Hosts => _hosts;

    /// <summary>Replaced or removed: no new streams come, running ones finish.</summary>
    internal bool IsDraining { get; private set; }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private StatsCells FindStats() => _stats = Config.Stats.Cells(Worker);

    // ---- choosing -------------------------------------------------------------------------------------------

    /// <summary>Chooses a host for a request or a session, or null when there is none (counted as upstream_cx_none_healthy).</summary>
    internal HostState? PickHost(LoadBalancerContext? context = null)
    {
        Debug.Assert(_loop.IsCurrent);
        var host = Config.Type == DiscoveryType.OriginalDst ? PickDestination(context) : Pick(context);
        if (host is null)
            Stats.Inc(ClusterStats.UpstreamCxNoneHealthy);
        else
            host.LastUsedMs = _loop.NowMs;
        return host;
    }

    private HostState? Pick(LoadBalancerContext? context)
    {
        var balancer = _balancer ??= BuildBalancer();
        var host = balancer.Pick(context, Stats);
        if (context is null)
            return host;
        for (int retry = context.HostSelectionRetriesMax; retry > 0 && host is not null && context.ShouldSelectAnotherHost(host.Host); retry--)
            host = balancer.Pick(context, Stats);
        return host;
    }

    // CLUSTER_PROVIDED: the host is wherever the connection was going; the header, where it is read, wins.
    private HostState? PickDestination(LoadBalancerContext? context)
    {
        if (context is null)
            return null;
        var config = Config.OriginalDst;
        Address destination;
        if (config.HeaderName is { } header && context.TryGetHeaderDestination(header, out destination))
        {
            if (!destination.IsIp)
            {
                Stats.Inc(ClusterStats.OriginalDstHostInvalid);
                return null;
            }
        }
        else
        {
            destination = context.OriginalDestination;
        }
        if (!destination.IsIp)
            return null;
        if (config.PortOverride != 0)
            destination = destination.WithPort(config.PortOverride);

        _destinations ??= new Dictionary<Address, HostState>();
        return _destinations.TryGetValue(destination, out var state) ? state : AddDestination(destination);
    }

    private HostState AddDestination(in Address destination)
    {
        var host = new Host(destination, "", Worker + 1) { Transport = Config.TransportFor(Metadata.Empty) };
        var state = new HostState(this, host);
        _destinations!.Add(destination, state);
        Stats.Set(ClusterStats.MembershipTotal, _destinations.Count);
        Stats.Set(ClusterStats.MembershipHealthy, _destinations.Count);
        Stats.Inc(ClusterStats.MembershipChange);
        _cleanup ??= new LoopTimer(this);
        if (!_cleanup.IsArmed)
            _loop.Schedule(_cleanup, Config.CleanupIntervalMs);
        return state;
    }

    /// <summary>Forgets destinations that were not used for cleanup_interval and have no connection.</summary>
    public void OnTimer(LoopTimer timer)
    {
        List<Address>? unused = null;
        foreach (var (address, state) in _destinations!)
        {
            if (state.IsIdle && _loop.NowMs - state.LastUsedMs >= Config.CleanupIntervalMs)
                (unused ??= new List<Address>()).Add(address);
        }
        if (unused is not null)
        {
            foreach (var address in unused)
                _destinations.Remove(address);
            Stats.Set(ClusterStats.MembershipTotal, _destinations.Count);
            Stats.Set(ClusterStats.MembershipHealthy, _destinations.Count);
            Stats.Inc(ClusterStats.MembershipChange);
        }
        if (_destinations.Count > 0)
            _loop.Schedule(timer, Config.CleanupIntervalMs);
    }

    // ---- connecting -----------------------------------------------------------------------------------------

    /// <summary>The pool for HTTP to <paramref name="host"/>, in the protocol this cluster's configuration says.</summary>
    /// <param name="host">From <see cref="PickHost"/>.</param>
    /// <param name="downstream">What the downstream speaks; matters with use_downstream_protocol_config.</param>
    /// <param name="priority">Whose circuit breakers count.</param>
    /// <param name="source">The caller's address to come from; null: the cluster's own.</param>
    /// <param name="overrides">What the request asks of TLS; null: nothing. Without meaning for a host that is spoken to in the clear.</param>
    internal HttpPool HttpPool(
        HostState host, HttpVersion downstream, RoutingPriority priority = RoutingPriority.Default, OriginalSource? source = null, TlsOverrides? overrides = null) =>
        host.HttpPool(UpstreamVersion(downstream), priority, source, overrides is not null && host.Host.Transport.NegotiatesProtocol ? overrides : null);

    /// <summary>What a request asks of TLS, as one object however often it is asked.</summary>
    internal TlsOverrides Overrides(byte[] alpn, ReadOnlySpan<byte> serverName, ReadOnlySpan<byte> subjectAltName) =>
        (_overrides ??= new TlsOverrides.Cache()).Get(alpn, serverName, subjectAltName);

    /// <summary>The protocol a request from such a downstream goes out in; none where the handshake decides.</summary>
    internal HttpVersion UpstreamVersion(HttpVersion downstream) => Config.Http.Protocol switch
    {
        UpstreamProtocol.Http2 => HttpVersion.Http2,
        UpstreamProtocol.Negotiated => HttpVersion.None,
        UpstreamProtocol.Downstream => downstream == HttpVersion.Http2 ? HttpVersion.Http2 : HttpVersion.Http11,
        _ => HttpVersion.Http11,
    };

    /// <summary>The pool of plain connections to <paramref name="host"/>.</summary>
    internal TcpPool TcpPool(HostState host, RoutingPriority priority = RoutingPriority.Default) => host.TcpPool(priority);

    /// <summary>Begins a retry if the circuit breaker lets it; the caller ends it with <see cref="EndRetry"/> when its stream is over or has answered.</summary>
    internal bool TryBeginRetry(RoutingPriority priority = RoutingPriority.Default)
    {
        if (!Config.Breakers.CanCreate(Resource.Retries, priority))
        {
            Stats.Inc(ClusterStats.UpstreamRqRetryOverflow);
            return false;
        }
        Config.Breakers.Add(Resource.Retries, priority, Worker);
        return true;
    }

    /// <summary>Ends a retry begun with <see cref="TryBeginRetry"/>.</summary>
    internal void EndRetry(RoutingPriority priority = RoutingPriority.Default) => Config.Breakers.Remove(Resource.Retries, priority, Worker);

    /// <summary>A connection object, its codec included, from those that closed, or a new one.</summary>
    internal HttpPoolConnection RentConnection(HttpVersion protocol)
    {
        var spares = protocol == HttpVersion.None ? _spareNegotiated : protocol == HttpVersion.Http2 ? _spareHttp2 : _spareHttp1;
        return spares is not null && spares.TryPop(out var spare) ? spare : new HttpPoolConnection(this, protocol);
    }

    /// <summary>Keeps a closed connection's objects for the next one.</summary>
    internal void ReturnConnection(HttpPoolConnection connection)
    {
        if (IsDraining)
            return;
        var spares = connection.Kind == HttpVersion.None ? _spareNegotiated ??= new() : connection.Kind == HttpVersion.Http2 ? _spareHttp2 ??= new() : _spareHttp1 ??= new();
        if (spares.Count < SparesMax)
            spares.Push(connection);
    }

    // ---- hosts change ---------------------------------------------------------------------------------------

    /// <summary>New hosts. States and connections of hosts that stay are kept; those of hosts that left drain.</summary>
    internal void ApplyHosts(HostSet hosts)
    {
        Debug.Assert(_loop.IsCurrent);
        _hosts = hosts;
        if (_balancer is null)
            return;
        _balancer = BuildBalancer();
        RemoveAbsent();
        if (!Config.CloseConnectionsOnHostHealthFailure || _states is null)
            return;
        foreach (var state in _states.Values)
        {
            if (!state.Host.IsHealthy && !state.Host.IsDegraded)
                state.CloseAll();
        }
    }

    /// <summary>Takes no new work: connections close as they become idle.</summary>
    internal void Drain()
    {
        IsDraining = true;
        if (_states is not null)
        {
            foreach (var state in _states.Values)
                state.Drain();
            _states.Clear();
        }
        _balancer = null;
        if (_destinations is null)
            return;
        foreach (var state in _destinations.Values)
            state.Drain();
        _destinations.Clear();
        _loop.Cancel(_cleanup!);
        Stats.Set(ClusterStats.MembershipTotal, 0);
        Stats.Set(ClusterStats.MembershipHealthy, 0);
    }

    /// <summary>Hosts this worker has made up by itself (ORIGINAL_DST), for the admin's pages.</summary>
    internal IEnumerable<Host> Destinations()
    {
        if (_destinations is null)
            yield break;
        foreach (var state in _destinations.Values)
            yield return state.Host;
    }

    private PriorityBalancer BuildBalancer() => new(Config, _hosts, StateOf, _policy ??= LoadBalancers.Create(Config, _random), _random);

    private HostState StateOf(Host host)
    {
        _states ??= new Dictionary<Host, HostState>();
        if (!_states.TryGetValue(host, out var state))
        {
            state = new HostState(this, host);
            _states.Add(host, state);
        }
        return state;
    }

    private void RemoveAbsent()
    {
        if (_states is null || _states.Count == _hosts.Count)
            return;
        var present = new HashSet<Host>(_hosts.Count);
        foreach (var priority in _hosts.Priorities)
            present.UnionWith(priority.Hosts);
        var absent = new List<HostState>();
        foreach (var (host, state) in _states)
        {
            if (!present.Contains(host))
                absent.Add(state);
        }
        foreach (var state in absent)
        {
            _states.Remove(state.Host);
            state.Drain();
        }
    }
}
