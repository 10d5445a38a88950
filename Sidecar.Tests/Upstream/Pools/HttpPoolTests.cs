using System;
using System.Collections.Generic;
using System.Linq;
using System.Text;
using Sidecar.Linux;
using Sidecar.Memory;
using Sidecar.Loop;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Tests.Harness;
using Sidecar.Tls;
using Sidecar.Upstream;
using Sidecar.Upstream.Pools;
using Xunit;

namespace Sidecar.Tests.Upstream.Pools;

/// <summary>HTTP/1 pools; what HTTP/2 does otherwise is in <see cref="Http2PoolTests"/>.</summary>
public sealed class HttpPoolTests : IDisposable
{
    private const string Ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

    private readonly UpstreamHarness _harness = new();

    public void Dispose() => _harness.Dispose();

    private static HttpPool Pool(Cluster cluster) => cluster.HttpPool(cluster.PickHost()!, HttpVersion.Http11);

    private PoolRequest Ask(HttpPool pool, string path = "/")
    {
        var request = new PoolRequest(path);
        pool.NewStream(request);
        return request;
    }

    private void Answer(TestPeer peer, PoolRequest request, string response = Ok)
    {
        peer.Send(response);
        _harness.Test.Until(() => request.IsOver);
    }

    [Fact]
    public void NewStream_NoConnection_ConnectsSendsAndAnswers()
    {
        var upstream = _harness.Listen();
        var cluster = _harness.Cluster(_harness.Config(), upstream.Address);
        var request = Ask(Pool(cluster), "/hello");
        Assert.Null(request.Stream);
        Assert.Equal(1, _harness.Stat(cluster, ClusterStats.UpstreamRqPendingActive));

        var peer = upstream.Accept();
        upstream.ExpectRequests(peer, 1);
        Assert.StartsWith("GET /hello HTTP/1.1\r\n", peer.Text);
        Assert.Equal(1, _harness.Stat(cluster, ClusterStats.UpstreamRqActive));
        Answer(peer, request);

        Assert.Equal(200, request.Status);
        Assert.Equal("ok", request.Body);
        Assert.False(request.WasReused);
        _harness.AssertNoStreams(cluster);
        Assert.Equal(1, _harness.Stat(cluster, ClusterStats.UpstreamCxHttp1Total));
        Assert.Equal(1, _harness.Stat(cluster, ClusterStats.UpstreamRqTotal));
        Assert.Equal(Ok.Length, _harness.Stat(cluster, ClusterStats.UpstreamCxRxBytesTotal));
        Assert.Equal(peer.Received.Count, _harness.Stat(cluster, ClusterStats.UpstreamCxTxBytesTotal));
    }

    [Fact]
    public void NewStream_IdleConnection_IsReusedAtOnce()
    {
        var upstream = _harness.Listen();
        var cluster = _harness.Cluster(_harness.Config(), upstream.Address);
        var pool = Pool(cluster);
        var first = Ask(pool);
        var peer = upstream.Accept();
        upstream.ExpectRequests(peer, 1);
        Answer(peer, first);
        _harness.Test.Settle();

        var second = Ask(pool);
        Assert.NotNull(second.Stream);
        Assert.True(second.WasReused);
        Assert.Equal(first.ConnectionId, second.ConnectionId);
        upstream.ExpectRequests(peer, 2);
        Answer(peer, second);
        Assert.Equal(1, _harness.Stat(cluster, ClusterStats.UpstreamCxTotal));
    }

    [Fact]
    public void NewStream_TwoIdleConnections_TheOneUsedLastIsTaken()
    {
        var upstream = _harness.Listen();
        var cluster = _harness.Cluster(_harness.Config(), upstream.Address);
        var pool = Pool(cluster);
        var one = Ask(pool);
        var two = Ask(pool);
        var peers = new[] { upstream.Accept(), upstream.Accept() };
        foreach (var peer in peers)
            upstream.ExpectRequests(peer, 1);
        peers[1].Send(Ok);
        _harness.Test.Until(() => one.IsOver || two.IsOver);
        peers[0].Send(Ok);
        _harness.Test.Until(() => one.IsOver && two.IsOver);
        _harness.Test.Settle();
        Assert.Equal(2, pool.ReadyCount);

        Ask(pool);
        upstream.ExpectRequests(peers[0], 2);
        Assert.Single(peers[1].Read().Split("\r\n\r\n", StringSplitOptions.RemoveEmptyEntries));
    }

    [Fact]
    public void Connect_Refused_FailsAllWaitersAndLaterAskersGetANewAttempt()
    {
        var cluster = _harness.Cluster(_harness.Config(), _harness.Refusing());
        var pool = Pool(cluster);
        PoolRequest? again = null;
        var one = new PoolRequest { Over = _ => again = Ask(pool) };
        pool.NewStream(one);
        var two = Ask(pool);
        _harness.Test.Until(() => two.IsOver);

        Assert.Equal(Failure.UpstreamConnectFailure, one.PoolFailure);
        Assert.Equal(Failure.UpstreamConnectFailure, two.PoolFailure);
        Assert.Equal("delayed connect error: Connection refused", two.Detail);
        _harness.Test.Until(() => again!.IsOver);
        _harness.Test.Settle();
        Assert.True(_harness.Stat(cluster, ClusterStats.UpstreamCxConnectFail) >= 2);
        Assert.Equal(3, _harness.Stat(cluster, ClusterStats.UpstreamRqPendingFailureEject));
        _harness.AssertIdle(cluster);
    }

    [Fact]
    public void Connect_HandshakeNeverEnds_TimesOut()
    {
        var upstream = _harness.Listen();
        var cluster = _harness.Cluster(_harness.Config(transport: new SilentTransports()), upstream.Address);
        var request = Ask(Pool(cluster));
        upstream.Accept();
        _harness.Test.Settle();
        _harness.Test.Advance(cluster.Config.ConnectTimeoutMs - 1);
        Assert.False(request.IsOver);
        _harness.Test.Advance(1);
        Assert.Equal(Failure.UpstreamConnectTimeout, request.PoolFailure);
        Assert.Equal(1, _harness.Stat(cluster, ClusterStats.UpstreamCxConnectTimeout));
        Assert.Equal(1, _harness.Stat(cluster, ClusterStats.UpstreamCxConnectFail));
        _harness.Test.Settle();
        _harness.AssertIdle(cluster);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Reuse_ClosedBeforeAByteOfTheResponse_IsTerminationOnReuse(bool byReset)
    {
        var upstream = _harness.Listen();
        var cluster = _harness.Cluster(_harness.Config(), upstream.Address);
        var pool = Pool(cluster);
        var first = Ask(pool);
        var peer = upstream.Accept();
        upstream.ExpectRequests(peer, 1);
        Answer(peer, first);
        _harness.Test.Settle();

        var second = Ask(pool);
        upstream.ExpectRequests(peer, 2);
        if (byReset)
            peer.Reset();
        else
            peer.Shutdown();
        _harness.Test.Until(() => second.IsOver);
        Assert.Equal(Failure.UpstreamConnectionTerminationOnReuse, second.ResetReason);
        _harness.Test.Settle();
        _harness.AssertIdle(cluster);
        Assert.Equal(1, _harness.Stat(cluster, ClusterStats.UpstreamCxDestroyRemote));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void FirstUse_ClosedBeforeTheResponse_IsTermination(bool byReset)
    {
        var upstream = _harness.Listen();
        var cluster = _harness.Cluster(_harness.Config(), upstream.Address);
        var request = Ask(Pool(cluster));
        var peer = upstream.Accept();
        upstream.ExpectRequests(peer, 1);
        if (byReset)
            peer.Reset();
        else
            peer.Shutdown();
        _harness.Test.Until(() => request.IsOver);
        Assert.Equal(Failure.UpstreamConnectionTermination, request.ResetReason);
        Assert.Equal(1, _harness.Stat(cluster, ClusterStats.UpstreamCxDestroyRemoteWithActiveRq));
        _harness.Test.Settle();
        _harness.AssertIdle(cluster);
    }

    [Fact]
    public void Reuse_ClosedAfterAPartOfTheResponse_IsTermination()
    {
        var upstream = _harness.Listen();
        var cluster = _harness.Cluster(_harness.Config(), upstream.Address);
        var pool = Pool(cluster);
        var first = Ask(pool);
        var peer = upstream.Accept();
        upstream.ExpectRequests(peer, 1);
        Answer(peer, first);
        _harness.Test.Settle();
        var second = Ask(pool);
        upstream.ExpectRequests(peer, 2);
        peer.Send("HTTP/1.1 2");
        _harness.Test.Step(3);
        peer.Shutdown();
        _harness.Test.Until(() => second.IsOver);
        Assert.Equal(Failure.UpstreamConnectionTermination, second.ResetReason);
    }

    [Fact]
    public void Response_ConnectionClose_IsNotReused()
    {
        var upstream = _harness.Listen();
        var cluster = _harness.Cluster(_harness.Config(), upstream.Address);
        var pool = Pool(cluster);
        var first = Ask(pool);
        var peer = upstream.Accept();
        upstream.ExpectRequests(peer, 1);
        Answer(peer, first, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        _harness.Test.Settle();
        Assert.Equal(0, pool.ReadyCount);
        var second = Ask(pool);
        Assert.Null(second.Stream);
        Assert.NotSame(peer, upstream.Accept());
    }

    [Fact]
    public void Response_BeforeTheRequestEnded_ConnectionIsNotReused()
    {
        var upstream = _harness.Listen();
        var cluster = _harness.Cluster(_harness.Config(), upstream.Address);
        var pool = Pool(cluster);
        var request = new PoolRequest { KeepsOpen = true };
        pool.NewStream(request);
        var peer = upstream.Accept();
        upstream.ExpectRequests(peer, 1);
        var stream = request.Stream!;
        Answer(peer, request);
        stream.Reset(Failure.LocalReset); // what a router does when the response is complete
        _harness.Test.Settle();
        Assert.Equal(0, pool.ReadyCount + pool.BusyCount + pool.DrainingCount);
        _harness.AssertIdle(cluster);
    }

    // Ready ones that close leave holes among the others, from the middle, the bottom and the top; ever more come while there are holes.
    [Fact]
    public void IdleConnections_ThatCloseAmongOthers_LeaveTheirOrder()
    {
        var upstream = _harness.Listen();
        var cluster = _harness.Cluster(_harness.Config(), upstream.Address);
        var pool = Pool(cluster);
        var open = new List<(ulong Id, TestPeer Peer)>();
        var random = new Random(5);
        for (int round = 0; round < 12; round++)
        {
            // All that rest are asked, last first, and some more connect.
            int count = open.Count + 5;
            var requests = Enumerable.Range(0, count).Select(_ => Ask(pool)).ToList();
            var resting = Enumerable.Reverse(open).ToList();
            Assert.Equal(resting.Select(r => r.Id), requests.Take(resting.Count).Select(r => r.ConnectionId));
            foreach (var request in requests)
            {
                _harness.Test.Until(() => request.Stream is not null);
                if (!resting.Any(r => r.Id == request.ConnectionId))
                    resting.Add((request.ConnectionId, null!));
            }
            var peers = resting.Where(r => r.Peer is null).Select(_ => upstream.Accept()).ToList();
            // Accepted in the order they connected, which is that of their numbers.
            var news = resting.Where(r => r.Peer is null).OrderBy(r => r.Id).Select((r, i) => (r.Id, peers[i])).ToList();
            resting = [.. resting.Where(r => r.Peer is not null), .. news];
            open.Clear();
            foreach (var request in requests)
            {
                var one = resting.Single(r => r.Id == request.ConnectionId);
                one.Peer.Send(Ok);
                _harness.Test.Until(() => request.IsOver);
                open.Add(one);
            }
            _harness.Test.Settle();
            Assert.Equal(count, pool.ReadyCount);
            for (int gone = 0; gone < 4; gone++)
            {
                int place = gone == 0 ? 0 : gone == 1 ? open.Count - 1 : random.Next(open.Count);
                open[place].Peer.Shutdown();
                open.RemoveAt(place);
                _harness.Test.Until(() => pool.ReadyCount == open.Count);
            }
            _harness.Test.Settle();
        }
    }

    [Fact]
    public void Response_BytesNobodyAskedFor_CloseTheIdleConnection()
    {
        var upstream = _harness.Listen();
        var cluster = _harness.Cluster(_harness.Config(), upstream.Address);
        var pool = Pool(cluster);
        var request = Ask(pool);
        var peer = upstream.Accept();
        upstream.ExpectRequests(peer, 1);
        Answer(peer, request);
        _harness.Test.Settle();
        peer.Send("HTTP/1.1 200 OK\r\n\r\n");
        _harness.Test.Until(() => pool.IsIdle);
        _harness.Test.Settle();
        Assert.Equal(1, _harness.Stat(cluster, ClusterStats.UpstreamCxProtocolError));
        _harness.AssertIdle(cluster);
    }

    [Fact]
    public void Response_Broken_ResetsWithProtocolError()
    {
        var upstream = _harness.Listen();
        var cluster = _harness.Cluster(_harness.Config(), upstream.Address);
        var request = Ask(Pool(cluster));
        var peer = upstream.Accept();
        upstream.ExpectRequests(peer, 1);
        Answer(peer, request, "SSH-2.0-OpenSSH\r\n\r\n");
        Assert.Equal(Failure.UpstreamProtocolError, request.ResetReason);
        _harness.Test.Settle();
        _harness.AssertIdle(cluster);
        Assert.Equal(1, _harness.Stat(cluster, ClusterStats.UpstreamCxProtocolError));
    }

    [Fact]
    public void Idle_AfterTheTimeout_IsClosed()
    {
        var upstream = _harness.Listen();
        var cluster = _harness.Cluster(_harness.Config(http: new HttpUpstreamOptions { IdleTimeoutMs = 1000 }), upstream.Address);
        var pool = Pool(cluster);
        var first = Ask(pool);
        var peer = upstream.Accept();
        upstream.ExpectRequests(peer, 1);
        _harness.Test.Advance(5000); // a stream is open: not idle
        Answer(peer, first);
        _harness.Test.Settle();
        _harness.Test.Advance(999);
        Assert.Equal(1, pool.ReadyCount);
        _harness.Test.Advance(1);
        _harness.Test.Settle();
        Assert.True(pool.IsIdle);
        Assert.Equal(1, _harness.Stat(cluster, ClusterStats.UpstreamCxIdleTimeout));
        Assert.Equal(1, _harness.Stat(cluster, ClusterStats.UpstreamCxDestroyLocal));
        _harness.AssertIdle(cluster);
    }

    [Fact]
    public void MaxRequestsPerConnection_OneEach_ClosesAfterEveryResponse()
    {
        var upstream = _harness.Listen();
        var cluster = _harness.Cluster(_harness.Config(http: new HttpUpstreamOptions { MaxRequestsPerConnection = 1 }), upstream.Address);
        var pool = Pool(cluster);
        for (int i = 1; i <= 3; i++)
        {
            var request = Ask(pool);
            var peer = upstream.Accept();
            upstream.ExpectRequests(peer, 1);
            Answer(peer, request);
            _harness.Test.Settle();
            Assert.Equal(i, _harness.Stat(cluster, ClusterStats.UpstreamCxMaxRequests));
            _harness.AssertIdle(cluster);
        }
    }

    [Fact]
    public void MaxConnectionDuration_EndsAnIdleConnectionAndABusyOneAfterItsStream()
    {
        var upstream = _harness.Listen();
        var cluster = _harness.Cluster(_harness.Config(http: new HttpUpstreamOptions { MaxConnectionDurationMs = 1000 }), upstream.Address);
        var pool = Pool(cluster);
        var request = Ask(pool);
        var peer = upstream.Accept();
        upstream.ExpectRequests(peer, 1);
        _harness.Test.Advance(1000);
        Assert.False(request.IsOver);
        Assert.Equal(1, _harness.Stat(cluster, ClusterStats.UpstreamCxMaxDurationReached));
        Answer(peer, request);
        Assert.Equal(200, request.Status);
        _harness.Test.Settle();
        _harness.AssertIdle(cluster);
    }

    // ---- circuit breakers -----------------------------------------------------------------------------------

    [Fact]
    public void PendingRequests_AtTheLimit_OverflowAtOnce()
    {
        var upstream = _harness.Listen();
        var cluster = _harness.Cluster(_harness.Config(limits: UpstreamHarness.Unlimited with { MaxPendingRequests = 1 }), upstream.Address);
        var pool = Pool(cluster);
        var waiting = Ask(pool);
        var refused = Ask(pool);
        Assert.Equal(Failure.UpstreamOverflow, refused.PoolFailure);
        Assert.False(waiting.IsOver);
        Assert.Equal(1, _harness.Stat(cluster, ClusterStats.UpstreamRqPendingOverflow));
        pool.Cancel(waiting);
        Assert.Equal(1, _harness.Stat(cluster, ClusterStats.UpstreamRqCancelled));
    }

    [Fact]
    public void Requests_AtTheLimit_OverflowWhenAStreamWouldBegin()
    {
        var upstream = _harness.Listen();
        var cluster = _harness.Cluster(_harness.Config(limits: UpstreamHarness.Unlimited with { MaxRequests = 1 }), upstream.Address);
        var pool = Pool(cluster);
        var first = Ask(pool);
        var second = Ask(pool);
        upstream.Accept();
        upstream.Accept();
        _harness.Test.Until(() => first.Stream is not null || second.Stream is not null);
        _harness.Test.Until(() => first.IsOver || second.IsOver);
        Assert.Equal(Failure.UpstreamOverflow, (first.IsOver ? first : second).PoolFailure);
        Assert.Equal(1, _harness.Stat(cluster, ClusterStats.UpstreamRqPendingOverflow));
    }

    [Fact]
    public void Connections_AtTheLimit_WaitForOneToBecomeFree()
    {
        var upstream = _harness.Listen();
        var cluster = _harness.Cluster(_harness.Config(limits: UpstreamHarness.Unlimited with { MaxConnections = 1 }), upstream.Address);
        var pool = Pool(cluster);
        var first = Ask(pool);
        var second = Ask(pool);
        Assert.Equal(1, _harness.Stat(cluster, ClusterStats.UpstreamCxTotal));
        Assert.True(_harness.Stat(cluster, ClusterStats.UpstreamCxOverflow) >= 1);
        var peer = upstream.Accept();
        upstream.ExpectRequests(peer, 1);
        Answer(peer, first);
        upstream.ExpectRequests(peer, 2);
        Answer(peer, second);
        Assert.Equal(first.ConnectionId, second.ConnectionId);
    }

    [Fact]
    public void Connections_AtTheLimit_AHostWithoutAnyGetsOne()
    {
        var one = _harness.Listen();
        var two = _harness.Listen();
        var cluster = _harness.Cluster(_harness.Config(limits: UpstreamHarness.Unlimited with { MaxConnections = 1 }), one.Address, two.Address);
        Ask(Pool(cluster));
        Ask(Pool(cluster));
        one.Accept();
        two.Accept();
        Assert.Equal(2, _harness.Stat(cluster, ClusterStats.UpstreamCxTotal));
        Assert.Equal(1, _harness.Stat(cluster, ClusterStats.UpstreamCxOverflow));
    }

    [Fact]
    public void Connections_PerHostLimit_HoldsForEachHostByItself()
    {
        var upstream = _harness.Listen();
        var cluster = _harness.Cluster(_harness.Config(perHost: UpstreamHarness.Unlimited with { MaxConnections = 1 }), upstream.Address);
        var pool = Pool(cluster);
        Ask(pool);
        Ask(pool);
        Assert.Equal(1, pool.ConnectingCount);
        Assert.Equal(2, pool.PendingCount);
    }

    private static HttpPool PoolOfName(Cluster cluster, string name) =>
        cluster.PickHost()!.HttpPool(HttpVersion.Http11, RoutingPriority.Default, overrides: cluster.Overrides([], Encoding.ASCII.GetBytes(name), default));

    // Whoever asks for another name each time must not leave a connection behind for each.
    [Fact]
    public void Connections_AtTheLimit_ThoseThatRestInPoolsOfNamesMakeRoom()
    {
        var upstream = _harness.Listen();
        var cluster = _harness.Cluster(_harness.Config(limits: UpstreamHarness.Unlimited with { MaxConnections = 2 }), upstream.Address);
        for (int i = 1; i <= 6; i++)
        {
            var request = Ask(PoolOfName(cluster, $"{i}.test"));
            var peer = upstream.Accept();
            upstream.ExpectRequests(peer, 1);
            Answer(peer, request);
            _harness.Test.Settle();
            Assert.Equal(Math.Min(i, 2), _harness.Stat(cluster, ClusterStats.UpstreamCxActive));
        }
        Assert.Equal(4, _harness.Stat(cluster, ClusterStats.UpstreamCxOverflow));
        // A pool that has none gets one all the same while the others' are in use.
        var used = new[] { new PoolRequest { KeepsOpen = true }, new PoolRequest { KeepsOpen = true }, new PoolRequest { KeepsOpen = true } };
        for (int i = 0; i < used.Length; i++)
        {
            PoolOfName(cluster, $"used-{i}.test").NewStream(used[i]);
            _harness.Test.Until(() => used[i].Stream is not null);
        }
        Assert.Equal(3, _harness.Stat(cluster, ClusterStats.UpstreamCxActive));
    }

    [Fact]
    public void Pools_AtTheLimit_AreRefused_UnlessOneThatRestsMakesRoom()
    {
        var upstream = _harness.Listen();
        var cluster = _harness.Cluster(_harness.Config(limits: UpstreamHarness.Unlimited with { MaxConnectionPools = 1 }), upstream.Address);
        var first = Ask(PoolOfName(cluster, "a.test"));
        var refused = Ask(PoolOfName(cluster, "b.test"));
        Assert.Equal(Failure.NoHealthyUpstream, refused.PoolFailure);
        Assert.Equal(1, _harness.Stat(cluster, ClusterStats.UpstreamCxPoolOverflow));
        var again = Ask(PoolOfName(cluster, "a.test"));
        Assert.Null(again.PoolFailure);
        foreach (var request in new[] { first, again })
        {
            var peer = upstream.Accept();
            upstream.ExpectRequests(peer, 1);
            peer.Send(Ok);
        }
        _harness.Test.Until(() => first.IsOver && again.IsOver);
        _harness.Test.Settle();
        PoolRequest other = Ask(PoolOfName(cluster, "b.test"));
        var last = upstream.Accept();
        upstream.ExpectRequests(last, 1);
        Answer(last, other);
        Assert.Equal(200, other.Status);
        Assert.Equal(1, _harness.Stat(cluster, ClusterStats.UpstreamCxPoolOverflow));
    }

    // ---- cancel and drain -----------------------------------------------------------------------------------

    [Fact]
    public void Cancel_WhileConnecting_KeepsTheConnectionForTheNext()
    {
        var upstream = _harness.Listen();
        var cluster = _harness.Cluster(_harness.Config(), upstream.Address);
        var pool = Pool(cluster);
        var request = Ask(pool);
        pool.Cancel(request);
        upstream.Accept();
        _harness.Test.Until(() => pool.ReadyCount == 1);
        Assert.Null(request.Stream);
        Assert.NotNull(Ask(pool).Stream);
    }

    [Fact]
    public void Cancel_InsideAnothersFailure_IsNotCalledBack()
    {
        var cluster = _harness.Cluster(_harness.Config(), _harness.Refusing());
        var pool = Pool(cluster);
        var two = new PoolRequest();
        var one = new PoolRequest { Over = _ => pool.Cancel(two) };
        pool.NewStream(one);
        pool.NewStream(two);
        _harness.Test.Until(() => one.IsOver);
        _harness.Test.Settle();
        Assert.False(two.IsOver);
        _harness.AssertIdle(cluster);
    }

    [Fact]
    public void Drain_ClosesIdleConnectionsAndBusyOnesAfterTheirStream()
    {
        var upstream = _harness.Listen();
        var cluster = _harness.Cluster(_harness.Config(), upstream.Address);
        var pool = Pool(cluster);
        var one = Ask(pool);
        var two = Ask(pool);
        var first = upstream.Accept();
        var second = upstream.Accept();
        upstream.ExpectRequests(first, 1);
        upstream.ExpectRequests(second, 1);
        first.Send(Ok);
        _harness.Test.Until(() => one.IsOver || two.IsOver);
        _harness.Test.Settle();
        Assert.Equal((1, 1), (pool.ReadyCount, pool.BusyCount));

        _harness.Clusters.Remove("test");
        _harness.Test.Settle();
        Assert.Equal((0, 0, 1), (pool.ReadyCount, pool.BusyCount, pool.DrainingCount));
        second.Send(Ok);
        _harness.Test.Until(() => one.IsOver && two.IsOver);
        _harness.Test.Settle();
        Assert.Equal(200, two.Status);
        _harness.AssertIdle(cluster);
    }

    [Fact]
    public void Drain_WhileWaiting_StillServesWhoWaits()
    {
        var upstream = _harness.Listen();
        var cluster = _harness.Cluster(_harness.Config(), upstream.Address);
        var request = Ask(Pool(cluster));
        _harness.Clusters.Remove("test");
        var peer = upstream.Accept();
        upstream.ExpectRequests(peer, 1);
        Answer(peer, request);
        Assert.Equal(200, request.Status);
        _harness.Test.Settle();
        _harness.AssertIdle(cluster);
    }

    [Fact]
    public void CloseAll_ResetsEveryStream()
    {
        var upstream = _harness.Listen();
        var cluster = _harness.Cluster(_harness.Config(), upstream.Address);
        var pool = Pool(cluster);
        var request = Ask(pool);
        var peer = upstream.Accept();
        upstream.ExpectRequests(peer, 1);
        pool.CloseAll();
        Assert.Equal(Failure.UpstreamConnectionTermination, request.ResetReason);
        _harness.Test.Settle();
        _harness.AssertIdle(cluster);
        Assert.Equal(1, _harness.Stat(cluster, ClusterStats.UpstreamCxDestroyLocalWithActiveRq));
    }

    [Fact]
    public void Tunnel_HalfClosedByTheUpstream_GoesOnInTheOtherDirection()
    {
        var upstream = _harness.Listen();
        var cluster = _harness.Cluster(_harness.Config(), upstream.Address);
        var pool = Pool(cluster);
        var request = new PoolRequest
        {
            Ready = self =>
            {
                var head = new Sidecar.Http.RequestHead();
                head.Add(Sidecar.Http.HeaderId.Method, "GET"u8);
                head.Add(Sidecar.Http.HeaderId.Path, "/chat"u8);
                head.Add(Sidecar.Http.HeaderId.Authority, "test"u8);
                head.Add(Sidecar.Http.HeaderId.Connection, "upgrade"u8);
                head.Add(Sidecar.Http.HeaderId.Upgrade, "websocket"u8);
                self.Stream!.SendHead(head, false);
            },
        };
        pool.NewStream(request);
        var peer = upstream.Accept();
        upstream.ExpectRequests(peer, 1);
        peer.Send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello");
        _harness.Test.Until(() => request.Body == "hello");
        var stream = request.Stream!;
        peer.Shutdown();
        _harness.Test.Until(() => request.Ended);
        stream.SendBody("bye"u8, endStream: true);
        _harness.Test.Until(() => peer.Read().EndsWith("bye", StringComparison.Ordinal) && peer.End);
        _harness.Test.Settle();
        _harness.AssertIdle(cluster);
    }

    // ---- everything at once ---------------------------------------------------------------------------------

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(5)]
    public void RandomSequences_EveryAccountBalances(int seed)
    {
        var random = new FastRandom((ulong)seed);
        var upstream = _harness.Listen();
        var limits = UpstreamHarness.Unlimited with { MaxConnections = 4, MaxPendingRequests = 3, MaxRequests = 3 };
        var cluster = _harness.Cluster(_harness.Config(limits: limits, http: new HttpUpstreamOptions { MaxRequestsPerConnection = 7, IdleTimeoutMs = 500 }), upstream.Address);
        var pool = Pool(cluster);
        var requests = new List<PoolRequest>();
        var answered = new Dictionary<TestPeer, int>();
        for (int step = 0; step < 800; step++)
        {
            switch (random.Next(9))
            {
                case 0 or 1 or 2:
                    requests.Add(Ask(pool));
                    break;
                case 3:
                    if (requests.Where(r => r.List is not null).FirstOrDefault() is { } waiting)
                        pool.Cancel(waiting);
                    break;
                case 4:
                    if (requests.Where(r => r.Stream is not null).FirstOrDefault() is { } running)
                        running.Reset();
                    break;
                case 5 or 6:
                    upstream.AcceptAll();
                    foreach (var peer in upstream.Peers.Where(p => p.Fd >= 0))
                    {
                        int heads = peer.Read().Split("\r\n\r\n").Length - 1;
                        if (heads <= answered.GetValueOrDefault(peer) || peer.Error != Errno.None || peer.End)
                            continue;
                        answered[peer] = answered.GetValueOrDefault(peer) + 1;
                        peer.TrySend(System.Text.Encoding.ASCII.GetBytes(random.Next(4) == 0 ? "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n" : Ok));
                    }
                    break;
                case 7:
                    if (upstream.Peers.Where(p => p.Fd >= 0).LastOrDefault() is { } victim)
                    {
                        if (random.Next(2) == 0)
                            victim.Reset();
                        else
                            victim.Dispose();
                    }
                    break;
                default:
                    _harness.Test.Advance(random.Next(200));
                    break;
            }
            _harness.Test.Step((int)random.Next(3));
            Assert.Equal(requests.Count(r => r.Stream is not null), _harness.Stat(cluster, ClusterStats.UpstreamRqActive));
            Assert.Equal(requests.Count(r => r.List is not null), _harness.Stat(cluster, ClusterStats.UpstreamRqPendingActive));
        }
        foreach (var request in requests)
        {
            if (request.List is not null)
                pool.Cancel(request);
            if (request.Stream is not null)
                request.Reset();
        }
        _harness.Clusters.Remove("test");
        _harness.Test.Settle();
        _harness.AssertIdle(cluster);
        Assert.Contains(requests, r => r.Ended);
        Assert.Contains(requests, r => r.ResetReason is not null);
        Assert.Contains(requests, r => r.PoolFailure == Failure.UpstreamOverflow);
    }

    private sealed class SilentTransports : TransportFactory
    {
        internal override string Name => "silent";
        internal override Transport Create(Host host, EventLoop loop, int worker, ReadOnlyMemory<byte> offered, TlsOverrides? overrides = null) => new ScriptedTransport { HandshakeSteps = int.MaxValue };
    }

    [Fact]
    public void PoolOfACallersAddress_IsNoOthers_AndGoesWithItsLastConnection()
    {
        var cluster = _harness.Cluster(_harness.Config(), _harness.Refusing());
        var host = cluster.PickHost()!;
        Assert.True(Address.TryParse("127.0.0.21:0", out var one));
        Assert.True(Address.TryParse("127.0.0.22:0", out var two));
        HttpPool From(Address address, int mark = 0) => cluster.HttpPool(host, HttpVersion.Http11, source: new OriginalSource(address, mark));
        var pool = From(one);
        Assert.Same(pool, From(one));
        Assert.NotSame(pool, From(two));
        Assert.NotSame(pool, From(one, mark: 1337));
        Assert.NotSame(pool, cluster.HttpPool(host, HttpVersion.Http11));
        Assert.NotSame(pool, cluster.HttpPool(host, HttpVersion.Http11, RoutingPriority.High, new OriginalSource(one, 0)));

        // Refused, or not permitted where the test may not use foreign addresses: either way it is over.
        var asked = Ask(pool);
        _harness.Test.Until(() => asked.IsOver);
        Assert.NotSame(pool, From(one));
        _harness.AssertIdle(cluster);
    }

    [Fact]
    public void PoolOfACallersAddress_WhoseWaiterAsksAgain_IsKept()
    {
        var cluster = _harness.Cluster(_harness.Config(), _harness.Refusing());
        var host = cluster.PickHost()!;
        Assert.True(Address.TryParse("127.0.0.21:0", out var address));
        HttpPool From() => cluster.HttpPool(host, HttpVersion.Http11, source: new OriginalSource(address, 0));
        PoolRequest? again = null;
        var first = new PoolRequest { Over = _ => again = Ask(From()) };
        From().NewStream(first);
        _harness.Test.Until(() => again is not null);
        Assert.False(host.IsIdle);
        Assert.Equal(1, From().PendingCount);
        _harness.Test.Until(() => again!.IsOver);
        Assert.True(host.IsIdle);
        _harness.AssertIdle(cluster);
    }

    [Fact]
    public void PoolOfACallersAddress_ThatPendingRequestsOverflow_IsNotKept()
    {
        var cluster = _harness.Cluster(_harness.Config(limits: UpstreamHarness.Unlimited with { MaxPendingRequests = 0 }), _harness.Refusing());
        var host = cluster.PickHost()!;
        Assert.True(Address.TryParse("127.0.0.21:0", out var address));
        var asked = Ask(cluster.HttpPool(host, HttpVersion.Http11, source: new OriginalSource(address, 0)));
        Assert.Equal(Failure.UpstreamOverflow, asked.PoolFailure);
        Assert.True(host.IsIdle);
    }
}
