using System;
using System.Collections.Generic;
using Sidecar.Http.H2;
using Sidecar.Telemetry;
using Sidecar.Tests.Harness;
using Sidecar.Upstream;
using Sidecar.Upstream.Pools;
using Xunit;

namespace Sidecar.Tests.Upstream.Pools;

/// <summary>What pools of HTTP/2 connections do otherwise than those of HTTP/1.</summary>
public sealed class Http2PoolTests : IDisposable
{
    private readonly UpstreamHarness _harness = new();

    public void Dispose() => _harness.Dispose();

    private static HttpUpstreamOptions Http2(HttpUpstreamOptions? options = null) => (options ?? HttpUpstreamOptions.Default) with { Protocol = UpstreamProtocol.Http2 };

    private static HttpPool Pool(Cluster cluster) => cluster.HttpPool(cluster.PickHost()!, HttpVersion.Http11);

    private PoolRequest Ask(HttpPool pool)
    {
        var request = new PoolRequest();
        pool.NewStream(request);
        return request;
    }

    private static void Answer(TestPeer peer, uint stream) => peer.Send(H2.Headers(stream, H2.Block((":status", "200"))));

    private static int Requests(TestPeer peer)
    {
        peer.Read();
        int count = 0;
        var bytes = new List<byte>(peer.Received);
        for (int at = H2.Preface.Length; at + 9 <= bytes.Count;)
        {
            int length = bytes[at] << 16 | bytes[at + 1] << 8 | bytes[at + 2];
            if (bytes[at + 3] == (byte)FrameType.Headers)
                count++;
            at += 9 + length;
        }
        return count;
    }

    private void ExpectRequests(TestPeer peer, int count) => _harness.Test.Until(() => Requests(peer) >= count);

    [Fact]
    public void NewStream_ManyAtOnce_ShareOneConnection()
    {
        var upstream = _harness.Listen();
        var cluster = _harness.Cluster(_harness.Config(http: Http2()), upstream.Address);
        var pool = Pool(cluster);
        var requests = new[] { Ask(pool), Ask(pool), Ask(pool) };
        Assert.Equal(1, pool.ConnectingCount);
        var peer = upstream.Accept();
        peer.Send(H2.Settings());
        ExpectRequests(peer, 3);
        Assert.Equal(3, _harness.Stat(cluster, ClusterStats.UpstreamRqActive));
        Answer(peer, 5);
        Answer(peer, 1);
        Answer(peer, 3);
        _harness.Test.Until(() => Array.TrueForAll(requests, r => r.Ended));
        _harness.AssertNoStreams(cluster);
        Assert.Equal(1, _harness.Stat(cluster, ClusterStats.UpstreamCxHttp2Total));
        Assert.Equal(0, _harness.Stat(cluster, ClusterStats.UpstreamCxHttp1Total));
    }

    [Fact]
    public void NewStream_PeersLimitReached_MakesAnotherConnection()
    {
        var upstream = _harness.Listen();
        var cluster = _harness.Cluster(_harness.Config(http: Http2()), upstream.Address);
        var pool = Pool(cluster);
        var first = Ask(pool);
        var peer = upstream.Accept();
        peer.Send(H2.Settings((SettingId.MaxConcurrentStreams, 1)));
        ExpectRequests(peer, 1);
        _harness.Test.Until(() => pool.BusyCount == 1);

        var second = Ask(pool);
        Assert.Null(second.Stream);
        var other = upstream.Accept();
        other.Send(H2.Settings());
        ExpectRequests(other, 1);
        Assert.NotEqual(first.ConnectionId, second.ConnectionId);

        Answer(peer, 1);
        _harness.Test.Until(() => first.Ended && pool.BusyCount == 0);
        Assert.Equal(2, pool.ReadyCount);
    }

    [Fact]
    public void NewStream_OwnLimit_MakesAsManyConnectionsAsItTakes()
    {
        var upstream = _harness.Listen();
        var options = Http2() with { Http2 = Http2Options.ClientDefaults with { MaxConcurrentStreams = 2 } };
        var cluster = _harness.Cluster(_harness.Config(http: options), upstream.Address);
        var pool = Pool(cluster);
        for (int i = 0; i < 5; i++)
            Ask(pool);
        Assert.Equal(3, pool.ConnectingCount);
    }

    [Fact]
    public void GoAway_NewStreamsGoElsewhere_RunningOnesFinish()
    {
        var upstream = _harness.Listen();
        var cluster = _harness.Cluster(_harness.Config(http: Http2()), upstream.Address);
        var pool = Pool(cluster);
        var first = Ask(pool);
        var peer = upstream.Accept();
        peer.Send(H2.Settings());
        ExpectRequests(peer, 1);
        peer.Send(H2.GoAway(1));
        _harness.Test.Until(() => pool.DrainingCount == 1);
        Assert.Equal(1, _harness.Stat(cluster, ClusterStats.UpstreamCxCloseNotify));

        var second = Ask(pool);
        Assert.Null(second.Stream);
        var other = upstream.Accept();
        other.Send(H2.Settings());
        ExpectRequests(other, 1);
        Answer(peer, 1);
        _harness.Test.Until(() => first.Ended);
        _harness.Test.Until(() => { peer.Receive(); return peer.End; });
        Assert.False(second.IsOver);
        Assert.Equal(0, pool.DrainingCount);
    }

    [Fact]
    public void GoAway_BelowAStream_RefusesIt()
    {
        var upstream = _harness.Listen();
        var cluster = _harness.Cluster(_harness.Config(http: Http2()), upstream.Address);
        var pool = Pool(cluster);
        var first = Ask(pool);
        var second = Ask(pool);
        var peer = upstream.Accept();
        peer.Send(H2.Settings());
        ExpectRequests(peer, 2);
        peer.Send(H2.GoAway(1));
        _harness.Test.Until(() => second.IsOver);
        Assert.Equal(Failure.UpstreamRefusedStream, second.ResetReason);
        Assert.False(first.IsOver);
    }

    [Fact]
    public void ConnectionLost_ResetsEveryStream_AndLaterOnesGetAnother()
    {
        var upstream = _harness.Listen();
        var cluster = _harness.Cluster(_harness.Config(http: Http2()), upstream.Address);
        var pool = Pool(cluster);
        var requests = new[] { Ask(pool), Ask(pool) };
        var peer = upstream.Accept();
        peer.Send(H2.Settings());
        ExpectRequests(peer, 2);
        _harness.Test.Settle();
        peer.Reset();
        _harness.Test.Until(() => Array.TrueForAll(requests, r => r.IsOver));
        Assert.All(requests, r => Assert.Equal(Failure.UpstreamConnectionTermination, r.ResetReason));
        _harness.Test.Settle();
        _harness.AssertIdle(cluster);
        Ask(pool);
        upstream.Accept();
        Assert.Equal(2, _harness.Stat(cluster, ClusterStats.UpstreamCxTotal));
    }

    [Fact]
    public void Reset_OneStream_LeavesTheConnectionAndTheOthers()
    {
        var upstream = _harness.Listen();
        var cluster = _harness.Cluster(_harness.Config(http: Http2()), upstream.Address);
        var pool = Pool(cluster);
        var first = Ask(pool);
        var second = Ask(pool);
        var peer = upstream.Accept();
        peer.Send(H2.Settings());
        ExpectRequests(peer, 2);
        first.Reset();
        Assert.Equal(1, _harness.Stat(cluster, ClusterStats.UpstreamRqActive));
        Answer(peer, 3);
        _harness.Test.Until(() => second.Ended);
        _harness.AssertNoStreams(cluster);
        Assert.Equal(1, pool.ReadyCount);
    }

    [Fact]
    public void Keepalive_UnansweredPing_EndsTheConnection()
    {
        var upstream = _harness.Listen();
        var options = Http2() with { Http2 = Http2Options.ClientDefaults with { KeepaliveIntervalMs = 5000, KeepaliveTimeoutMs = 2000 } };
        var cluster = _harness.Cluster(_harness.Config(http: options), upstream.Address);
        var pool = Pool(cluster);
        var request = Ask(pool);
        var peer = upstream.Accept();
        peer.Send(H2.Settings());
        ExpectRequests(peer, 1);
        for (int second = 0; second < 12 && !request.IsOver; second++)
        {
            _harness.Test.Advance(1000);
            _harness.Test.Settle();
        }
        Assert.True(request.IsOver);
        _harness.Test.Settle();
        _harness.AssertIdle(cluster);
    }

    [Fact]
    public void UseDownstreamProtocol_FollowsTheDownstream()
    {
        var upstream = _harness.Listen();
        var cluster = _harness.Cluster(_harness.Config(http: HttpUpstreamOptions.Default with { Protocol = UpstreamProtocol.Downstream }), upstream.Address);
        var host = cluster.PickHost()!;
        Assert.Equal(HttpVersion.Http2, cluster.HttpPool(host, HttpVersion.Http2).Protocol);
        Assert.Equal(HttpVersion.Http11, cluster.HttpPool(host, HttpVersion.Http11).Protocol);
        Assert.Equal(HttpVersion.Http11, cluster.HttpPool(host, HttpVersion.Http10).Protocol);
        Assert.Same(cluster.HttpPool(host, HttpVersion.Http2), cluster.HttpPool(host, HttpVersion.Http2));
    }
}
