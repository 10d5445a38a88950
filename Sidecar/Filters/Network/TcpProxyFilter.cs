using System;
using System.Collections.Generic;
using System.Diagnostics;
using Sidecar.Loop;
using Sidecar.Memory;
using Sidecar.Net;
using Sidecar.Routing;
using Sidecar.Telemetry;
using Sidecar.Telemetry.Stats;
using Sidecar.Upstream;
using Sidecar.Upstream.LoadBalancing;
using Sidecar.Upstream.Pools;
using WireType = Envoy.Type.V3;

namespace Sidecar.Filters.Network;

using Wire = global::Envoy.Extensions.Filters.Network.TcpProxy.V3;

/// <summary>
/// Carries each connection to a host of a cluster and back, byte for byte. Envoy: envoy.filters.network.tcp_proxy.
/// </summary>
/// <remarks>Worker-owned: one per worker and filter chain, with its sessions pooled.</remarks>
internal sealed class TcpProxyFilter : TerminalFilter
{
    private readonly Config _config;
    private readonly WorkerScope _worker;
    private readonly StatsCells _stats;
    private readonly Pool<Session> _pool;
    private readonly IntrusiveList<TcpPoolWaiter> _unused = new();
    private readonly List<Session> _sessions = [];

    internal TcpProxyFilter(Config config, WorkerScope worker)
    {
        _config = config;
        _worker = worker;
        _stats = config.Stats.Cells(worker.Index);
        _pool = new Pool<Session>(() => new Session(this));
    }

    internal override int ActiveConnections => _sessions.Count;

    internal override void OnConnection(Connection connection, ConnectionContext context) => _pool.Rent().Start(connection, context);

    /// <summary>A TCP session has no moment between two exchanges: it runs on until it ends or the drain time does.</summary>
    internal override void StartDrain() { }

    internal override void CloseAll(Failure reason)
    {
        for (int i = _sessions.Count - 1; i >= 0; i--)
            _sessions[i].Close(reason);
    }

    private void Add(Session session)
    {
        session.Position = _sessions.Count;
        _sessions.Add(session);
    }

    private void Remove(Session session)
    {
        int last = _sessions.Count - 1;
        var moved = _sessions[last];
        _sessions[session.Position] = moved;
        moved.Position = session.Position;
        _sessions.RemoveAt(last);
    }

    /// <summary>
    /// One connection: waits for its upstream (what the downstream sends meanwhile stays in its connection), then a <see cref="Relay"/> carries both
    /// directions, each with its own end.
    /// </summary>
    private sealed class Session : TcpPoolWaiter, ITimerOwner, IRelayHandler, IReleasable
    {
        private const int IdleTimer = 0;
        private const int DurationTimer = 1;

        private readonly TcpProxyFilter _filter;
        private readonly EventLoop _loop;
        private readonly StatsCells _stats;
        private readonly LoopTimer _idle;
        private readonly LoopTimer _duration;
        private readonly Waiting _waiting;
        private readonly Choice _choice;

        private Connection? _downstream;
        private ConnectionContext _context = null!;
        private Cluster? _cluster;
        private HostState? _host;
        private TcpPool? _poolOfHost;
        private Relay? _relay;
        private int _attempts;

        internal Session(TcpProxyFilter filter)
        {
            _filter = filter;
            _loop = filter._worker.Loop;
            _stats = filter._stats;
            _idle = new LoopTimer(this, IdleTimer);
            _duration = new LoopTimer(this, DurationTimer);
            _waiting = new Waiting(this);
            _choice = new Choice(this);
        }

        /// <summary>Place in the filter's list of sessions.</summary>
        internal int Position;

        internal void Start(Connection downstream, ConnectionContext context)
        {
            _downstream = downstream;
            _context = context;
            _attempts = 0;
            _filter.Add(this);
            _stats.Inc(CxTotal);
            downstream.Handler = _waiting;
            if (_filter._config.MaxDurationMs > 0)
                _loop.Schedule(_duration, _filter._config.MaxDurationMs);
            Connect();
        }

        internal void Close(Failure reason)
        {
            if (_relay is { } relay)
                relay.Close(reason);
            else
                _downstream?.Close(reason);
        }

        // ---- choosing and connecting --------------------------------------------------------------------------

        private void Connect()
        {
            var config = _filter._config;
            var target = config.Choose(_filter._worker.Random.NextUInt64());
            _cluster = _filter._worker.Clusters[target.Slot];
            if (_cluster is null)
            {
                _stats.Inc(CxNoRoute);
                if (Log.IsEnabled(LogLevel.Debug))
                    Log.Debug("tcp_proxy", $"{_context.ListenerName}: unknown cluster '{target.Name}', closing {_downstream!.RemoteAddress}");
                _downstream!.Close(Failure.NoCluster);
                return;
            }
            _attempts++;
            _host = _cluster.PickHost(_choice);
            if (_host is null)
            {
                // BlackHoleCluster ends here: it has no hosts, so the connection is closed.
                _downstream!.Close(Failure.NoHealthyUpstream);
                return;
            }
            _poolOfHost = _host.TcpPool(RoutingPriority.Default);
            _poolOfHost.Connect(this, _downstream!.OriginalSource);
        }

        internal override void OnPoolReady(Connection upstream, HostState host)
        {
            var downstream = _downstream!;
            _relay = Relay.Start(downstream, upstream, this);
            if (_filter._config.IdleTimeoutMs > 0)
                _loop.Schedule(_idle, _filter._config.IdleTimeoutMs);
        }

        internal override void OnPoolFailure(Failure reason, HostState host, string transportDetail)
        {
            _poolOfHost = null;
            if (Log.IsEnabled(LogLevel.Debug))
                Log.Debug("tcp_proxy", $"{_context.ListenerName}: {host.Host.Name}: {reason.Row().Details} {transportDetail}");
            if (_downstream is null)
                return;
            if (reason != Failure.UpstreamOverflow && _attempts < _filter._config.MaxConnectAttempts)
            {
                Connect();
                return;
            }
            if (reason != Failure.UpstreamOverflow && _filter._config.MaxConnectAttempts > 1)
                _cluster!.Stats.Inc(ClusterStats.UpstreamCxConnectAttemptsExceeded);
            _downstream.Close(reason);
        }

        // ---- ends ---------------------------------------------------------------------------------------------

        private void OnDownstreamClosedWhileWaiting(Connection connection)
        {
            long received = connection.BytesReceived;
            if (_poolOfHost is not null)
            {
                _poolOfHost.Cancel(this);
                _poolOfHost = null;
            }
            End(received, connection.BytesSent);
        }

        public void OnRelayClosed(Relay relay, Failure reason)
        {
            _relay = null;
            _poolOfHost!.Release(this, relay.BytesFromB, relay.BytesToB, byUpstream: !relay.FirstClosedWasA);
            _poolOfHost = null;
            End(relay.BytesFromA, relay.BytesToA);
        }

        private void End(long received, long sent)
        {
            _stats.Add(RxBytes, received);
            _stats.Add(TxBytes, sent);
            _loop.Cancel(_idle);
            _loop.Cancel(_duration);
            _context.CountClosed(_filter._worker.Index);
            _filter.Remove(this);
            _downstream = null;
            _loop.Release(this);
        }

        public void OnRelease()
        {
            _cluster = null;
            _host = null;
            _context = null!;
            _filter._pool.Return(this);
        }

        public void OnTimer(LoopTimer timer)
        {
            if (timer.Kind == DurationTimer)
            {
                _stats.Inc(MaxDurationReached);
                Close(Failure.MaxDurationTimeout);
                return;
            }
            // Looked at late instead of moved with every byte.
            long idleMs = _loop.NowMs - (_relay?.LastActivityMs ?? _loop.NowMs);
            long limitMs = _filter._config.IdleTimeoutMs;
            if (idleMs < limitMs)
            {
                _loop.Schedule(_idle, limitMs - idleMs);
                return;
            }
            _stats.Inc(IdleTimeout);
            Close(Failure.ConnectionIdleTimeout);
        }

        /// <summary>The downstream while the upstream connects: its bytes stay where they are.</summary>
        private sealed class Waiting(Session session) : ConnectionHandler
        {
            internal override int OnData(Connection connection, ReadOnlySpan<byte> data) => 0;

            // A half-close is passed on by the relay once there is one.
            internal override void OnEndOfStream(Connection connection) { }

            internal override void OnClosed(Connection connection, Failure reason) => session.OnDownstreamClosedWhileWaiting(connection);
        }

        /// <summary>What the session brings to the choice of its host.</summary>
        private sealed class Choice(Session session) : LoadBalancerContext
        {
            internal override Address OriginalDestination
            {
                get
                {
                    var connection = session._downstream!;
                    return connection.OriginalDestination.IsNone ? default : connection.OriginalDestination;
                }
            }

            internal override ulong? Hash => session._filter._config.HashSourceIp ? HashOf(session._downstream!.RemoteAddress) : null;

            private static ulong HashOf(in Address address)
            {
                Span<byte> text = stackalloc byte[Address.TextBytesMax];
                return XxHash64.Hash(text[..address.FormatHost(text)]);
            }
        }
    }

    // ---- stats: tcp.<stat_prefix>.* ----------------------------------------------------------------------------

    private const int CxTotal = 0;
    private const int CxNoRoute = 1;
    private const int RxBytes = 2;
    private const int TxBytes = 3;
    private const int IdleTimeout = 4;
    private const int MaxDurationReached = 5;

    internal static readonly StatsSchema Schema = new(
        new("downstream_cx_total"),
        new("downstream_cx_no_route"),
        new("downstream_cx_rx_bytes_total"),
        new("downstream_cx_tx_bytes_total"),
        new("idle_timeout"),
        new("max_downstream_connection_duration"));

    // ---- configuration: control loop, once per update; immutable afterwards; may reject -------------------

    /// <summary>tcp_proxy as configured.</summary>
    internal sealed class Config
    {
        internal required StatsScope Stats { get; init; }

        /// <summary>One entry, or several with the running sum of their weights.</summary>
        internal required (ClusterRef Cluster, ulong UpTo)[] Clusters { get; init; }
        internal long IdleTimeoutMs { get; init; } = 3_600_000;
        internal long MaxDurationMs { get; init; }
        internal uint MaxConnectAttempts { get; init; } = 1;
        internal bool HashSourceIp { get; init; }

        internal ClusterRef Choose(ulong random)
        {
            if (Clusters.Length == 1)
                return Clusters[0].Cluster;
            ulong point = random % Clusters[^1].UpTo;
            foreach (var (cluster, upTo) in Clusters)
            {
                if (point < upTo)
                    return cluster;
            }
            return Clusters[^1].Cluster;
        }
    }

    /// <summary>Translates the wire form; null when it is refused.</summary>
    internal static TerminalFilterFactory? Create(Wire.TcpProxy wire, ConfigScope scope, int bufferLimit)
    {
        if (wire.StatPrefix.Length == 0)
            scope.Reject("stat_prefix", "must not be empty");
        var clusters = new List<(ClusterRef, ulong)>();
        switch (wire.ClusterSpecifierCase)
        {
            case Wire.TcpProxy.ClusterSpecifierOneofCase.Cluster:
                AddCluster(clusters, wire.Cluster, 1, "cluster", scope);
                break;
            case Wire.TcpProxy.ClusterSpecifierOneofCase.WeightedClusters:
                for (int i = 0; i < wire.WeightedClusters.Clusters.Count; i++)
                {
                    var weighted = wire.WeightedClusters.Clusters[i];
                    if (weighted.Weight == 0)
                        scope.Reject($"weighted_clusters.clusters[{i}].weight", "must be at least 1");
                    if (weighted.MetadataMatch is not null)
                        scope.Ignore($"weighted_clusters.clusters[{i}].metadata_match", "subset load balancing is not supported yet");
                    AddCluster(clusters, weighted.Name, weighted.Weight, $"weighted_clusters.clusters[{i}].name", scope);
                }
                if (clusters.Count == 0)
                    scope.Reject("weighted_clusters.clusters", "needs at least 1 cluster");
                break;
            default:
                scope.Reject("cluster_specifier", "is required: set cluster or weighted_clusters");
                break;
        }
        if (wire.TunnelingConfig is not null)
            scope.Reject("tunneling_config", "tunnelling TCP over HTTP is not supported yet");
        if (wire.OnDemand is not null)
            scope.Reject("on_demand", "on-demand cluster discovery is not supported yet");
        if (wire.UpstreamConnectMode != Wire.UpstreamConnectMode.Immediate)
            scope.Reject("upstream_connect_mode", "only IMMEDIATE is supported");
        if (wire.MaxConnectAttempts == 0)
            scope.Reject("max_connect_attempts", "must be at least 1");
        if (wire.MetadataMatch is not null)
            scope.Ignore("metadata_match", "subsets of a cluster are not supported; all its hosts are used");
        if (wire.DownstreamIdleTimeout is not null)
            scope.Ignore("downstream_idle_timeout", "idle_timeout covers both sides");
        if (wire.UpstreamIdleTimeout is not null)
            scope.Ignore("upstream_idle_timeout", "idle_timeout covers both sides");
        if (wire.AccessLog.Count > 0)
            scope.Ignore("access_log", "TCP sessions are not logged yet");
        bool hash = false;
        for (int i = 0; i < wire.HashPolicy.Count; i++)
        {
            if (wire.HashPolicy[i].PolicySpecifierCase == WireType.HashPolicy.PolicySpecifierOneofCase.SourceIp)
                hash = true;
            else
                scope.Ignore($"hash_policy[{i}]", "only source_ip is supported");
        }
        if (scope.IsRejected)
            return null;
        var config = new Config
        {
            Stats = scope.Services.Stats.Scope(Schema, $"tcp.{wire.StatPrefix}.", new StatTag("envoy.tcp_prefix", wire.StatPrefix)),
            Clusters = clusters.ToArray(),
            IdleTimeoutMs = scope.Milliseconds("idle_timeout", wire.IdleTimeout, 3_600_000),
            MaxDurationMs = scope.Milliseconds("max_downstream_connection_duration", wire.MaxDownstreamConnectionDuration, 0),
            MaxConnectAttempts = wire.MaxConnectAttempts ?? 1,
            HashSourceIp = hash,
        };
        return worker => new TcpProxyFilter(config, worker);
    }

    private static void AddCluster(List<(ClusterRef, ulong)> clusters, string name, uint weight, string field, ConfigScope scope)
    {
        if (name.Length == 0)
        {
            scope.Reject(field, "must not be empty");
            return;
        }
        // As in Envoy, the cluster may come later (or go): without it a connection is closed and counted as downstream_cx_no_route.
        if (scope.Services.ClusterProblem(name) is { } problem)
            scope.Ignore(field, problem + "; until there is one, connections are closed");
        clusters.Add((scope.Services.Cluster(name), (clusters.Count > 0 ? clusters[^1].Item2 : 0) + weight));
    }
}
