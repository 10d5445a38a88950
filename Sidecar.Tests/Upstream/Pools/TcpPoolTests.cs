using System;
using Sidecar.Linux;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Tests.Harness;
using Sidecar.Upstream;
using Sidecar.Upstream.Pools;
using Xunit;

namespace Sidecar.Tests.Upstream.Pools;

public sealed class TcpPoolTests : IDisposable
{
    private readonly UpstreamHarness _harness = new();

    public void Dispose() => _harness.Dispose();

    private static TcpPool Pool(Cluster cluster) => cluster.TcpPool(cluster.PickHost()!);

    [Fact]
    public void Connect_GivesAConnection_AndReleaseBalances()
    {
        var upstream = _harness.Listen();
        var cluster = _harness.Cluster(_harness.Config(), upstream.Address);
        var pool = Pool(cluster);
        var session = new Session();
        pool.Connect(session);
        Assert.Equal(1, pool.ConnectingCount);
        Assert.Equal(1, _harness.Stat(cluster, ClusterStats.UpstreamRqPendingActive));
        var peer = upstream.Accept();
        _harness.Test.Until(() => session.Connection is { IsOpen: true } && session.Host is not null);
        Assert.Equal(1, _harness.Stat(cluster, ClusterStats.UpstreamRqActive));

        session.Connection!.Write("hello"u8);
        _harness.Test.Until(() => peer.Read() == "hello");
        peer.Send("bye");
        _harness.Test.Until(() => session.Recorder.Text == "bye");
        session.Connection.Close(Failure.None);
        pool.Release(session, 3, 5, byUpstream: false);
        _harness.Test.Settle();
        _harness.AssertIdle(cluster);
        Assert.True(pool.IsIdle);
        Assert.Equal(3, _harness.Stat(cluster, ClusterStats.UpstreamCxRxBytesTotal));
        Assert.Equal(5, _harness.Stat(cluster, ClusterStats.UpstreamCxTxBytesTotal));
        Assert.Equal(1, _harness.Stat(cluster, ClusterStats.UpstreamCxDestroyLocalWithActiveRq));
    }

    [Fact]
    public void Connect_Refused_Fails()
    {
        var cluster = _harness.Cluster(_harness.Config(), _harness.Refusing());
        var session = new Session();
        Pool(cluster).Connect(session);
        Assert.Null(session.Failure);
        _harness.Test.Until(() => session.Failure is not null);
        Assert.Equal(Failure.UpstreamConnectFailure, session.Failure);
        Assert.Equal("delayed connect error: Connection refused", session.Detail);
        Assert.Equal(1, _harness.Stat(cluster, ClusterStats.UpstreamCxConnectFail));
        _harness.AssertIdle(cluster);
    }

    [Fact]
    public void Cancel_WhileConnecting_ClosesWithoutACallback()
    {
        var upstream = _harness.Listen();
        var cluster = _harness.Cluster(_harness.Config(), upstream.Address);
        var pool = Pool(cluster);
        var session = new Session();
        pool.Connect(session);
        pool.Cancel(session);
        _harness.Test.Settle();
        Assert.Null(session.Host);
        Assert.Null(session.Failure);
        Assert.Equal(1, _harness.Stat(cluster, ClusterStats.UpstreamRqCancelled));
        _harness.AssertIdle(cluster);
        var peer = upstream.Accept();
        _harness.Test.Until(() => { peer.Receive(); return peer.End || peer.Error != Errno.None; });
    }

    [Fact]
    public void Connect_ConnectionLimit_OverflowsAtOnce()
    {
        var upstream = _harness.Listen();
        var cluster = _harness.Cluster(_harness.Config(limits: UpstreamHarness.Unlimited with { MaxConnections = 1 }), upstream.Address);
        var pool = Pool(cluster);
        var first = new Session();
        var second = new Session();
        pool.Connect(first);
        pool.Connect(second);
        Assert.Equal(Failure.UpstreamOverflow, second.Failure);
        Assert.Equal(1, _harness.Stat(cluster, ClusterStats.UpstreamCxOverflow));
        pool.Cancel(first);
        pool.Connect(second);
        pool.Cancel(second);
        _harness.AssertIdle(cluster);
    }

    [Fact]
    public void UnhealthyHost_WithCloseConnections_EndsItsSessions()
    {
        var upstream = _harness.Listen();
        var config = _harness.Config(type: DiscoveryType.Eds, closeUnhealthy: true);
        var cluster = _harness.Cluster(config);
        var endpoints = UpstreamHarness.Endpoints(upstream.Address);
        cluster.ApplyHosts(endpoints.Build(config, null, 1));
        var pool = Pool(cluster);
        var session = new Session();
        session.Closed = () => pool.Release(session, 0, 0, byUpstream: false);
        pool.Connect(session);
        upstream.Accept();
        _harness.Test.Until(() => session.Host is not null);

        var sick = new Sidecar.Upstream.Discovery.EndpointSet
        {
            Localities = [new(Locality.None, 0, 0, [UpstreamHarness.Spec(upstream.Address, health: EdsHealth.Unhealthy)])],
        };
        cluster.ApplyHosts(sick.Build(config, cluster.Hosts, 1));
        _harness.Test.Settle();
        Assert.Equal(Failure.UpstreamConnectionTermination, session.Recorder.Closed);
        _harness.AssertIdle(cluster);
    }

    private sealed class Session : TcpPoolWaiter
    {
        public Recorder Recorder { get; } = new();
        public HostState? Host { get; private set; }
        public Failure? Failure { get; private set; }
        public string Detail { get; private set; } = "";
        public Action? Closed { get; set; }

        internal override void OnPoolReady(Connection connection, HostState host)
        {
            Host = host;
            connection.Handler = Closed is null ? Recorder : new Notifier(this);
        }

        internal override void OnPoolFailure(Failure reason, HostState host, string transportDetail)
        {
            Failure = reason;
            Detail = transportDetail;
        }

        private sealed class Notifier(Session session) : ConnectionHandler
        {
            internal override int OnData(Connection connection, ReadOnlySpan<byte> data) => data.Length;

            internal override void OnEndOfStream(Connection connection)
            {
            }

            internal override void OnClosed(Connection connection, Failure reason)
            {
                session.Recorder.OnClosed(connection, reason);
                session.Closed!();
            }
        }
    }
}
