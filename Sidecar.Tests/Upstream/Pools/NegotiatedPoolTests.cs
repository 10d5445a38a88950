using System;
using System.Linq;
using Sidecar.Http.H2;
using Sidecar.Telemetry;
using Sidecar.Tests.Harness;
using Sidecar.Tls;
using Sidecar.Upstream;
using Sidecar.Upstream.Pools;
using Xunit;

namespace Sidecar.Tests.Upstream.Pools;

/// <summary>Pools whose connections speak what the TLS handshake agrees on (auto_config).</summary>
public sealed class NegotiatedPoolTests : IDisposable
{
    private readonly TestCa _ca = new();
    private readonly UpstreamHarness _harness = new();
    private readonly TlsUpstream _upstream;
    private readonly Cluster _cluster;

    public NegotiatedPoolTests()
    {
        _upstream = new TlsUpstream(_harness.Test, Server("h2", "http/1.1"));
        var slot = new TlsContextSlot(new Sidecar.Telemetry.Stats.StatsScope(TlsSecretStats.Upstream, "test.", "", [], 1));
        slot.Replace(TestTls.Client());
        _cluster = _harness.Cluster(
            _harness.Config(http: HttpUpstreamOptions.Default with { Protocol = UpstreamProtocol.Negotiated }, transport: new TlsTransportFactory(slot)), _upstream.Address);
    }

    public void Dispose()
    {
        _harness.Clusters.Remove(_cluster.Config.Name);
        _upstream.Dispose();
        _harness.Dispose();
        _ca.Dispose();
    }

    private TlsContext Server(params string[] protocols) => TestTls.Server(_ca.Server("a.test"), with: o => o with { Alpn = protocols });

    private HttpPool Pool => _cluster.HttpPool(_cluster.PickHost()!, HttpVersion.Http11);

    private PoolRequest Ask()
    {
        var request = new PoolRequest();
        Pool.NewStream(request);
        return request;
    }

    private static int Heads(TlsUpstreamPeer peer) => peer.Text.Split("\r\n\r\n").Length - 1;

    private static int Http2Requests(TlsUpstreamPeer peer)
    {
        int count = 0;
        var bytes = peer.Side.Received;
        for (int at = H2.Preface.Length; at + 9 <= bytes.Count; at += 9 + (bytes[at] << 16 | bytes[at + 1] << 8 | bytes[at + 2]))
            count += bytes[at + 3] == (byte)FrameType.Headers ? 1 : 0;
        return count;
    }

    [Fact]
    public void Http2Chosen_StreamsShareOneConnection()
    {
        var requests = new[] { Ask(), Ask(), Ask() };
        Assert.Equal(1, Pool.ConnectingCount);
        var peer = _upstream.Accept();
        Assert.Equal("h2", peer.Protocol);
        peer.Send(H2.Settings());
        _harness.Test.Until(() => Http2Requests(peer) == 3);
        foreach (uint stream in new uint[] { 1, 3, 5 })
            peer.Send(H2.Headers(stream, H2.Block((":status", "200"))));
        _harness.Test.Until(() => requests.All(r => r.Ended));
        Assert.Equal(HttpVersion.None, Pool.Protocol);
        Assert.Equal(1, _harness.Stat(_cluster, ClusterStats.UpstreamCxHttp2Total));
        Assert.Equal(0, _harness.Stat(_cluster, ClusterStats.UpstreamCxHttp1Total));
        _harness.AssertNoStreams(_cluster);
    }

    [Theory]
    [InlineData("http/1.1")]
    [InlineData("istio-http/1.1")]
    public void AnotherOrNoneChosen_IsHttp1_WithAConnectionForEachStream(string protocol)
    {
        _upstream.Context = Server(protocol);
        var requests = new[] { Ask(), Ask() };
        // It could have been HTTP/2, so one was tried for both; with HTTP/1 that is one too few.
        Assert.Equal(1, Pool.ConnectingCount);
        var first = _upstream.Accept();
        Assert.Equal(protocol == "http/1.1" ? protocol : "", first.Protocol);
        var second = _upstream.Accept(2);
        _harness.Test.Until(() => Heads(first) == 1 && Heads(second) == 1);
        first.Send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        second.Send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        _harness.Test.Until(() => requests.All(r => r.Ended));
        Assert.Equal(2, _harness.Stat(_cluster, ClusterStats.UpstreamCxHttp1Total));
        Assert.Equal(0, _harness.Stat(_cluster, ClusterStats.UpstreamCxHttp2Total));

        // Now it is known: each that waits has a connection under way.
        var more = new[] { Ask(), Ask(), Ask(), Ask() };
        Assert.Equal(2, Pool.ConnectingCount);
        _upstream.Accept(4);
        _harness.Test.Until(() => _upstream.Peers.Sum(Heads) == 6);
        foreach (var peer in _upstream.Peers)
            peer.Send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        _harness.Test.Until(() => more.All(r => r.Ended));
        _harness.AssertNoStreams(_cluster);
    }

    [Fact]
    public void NextConnection_MayBeOfTheOtherProtocol()
    {
        foreach (bool http2 in new[] { true, false, true, false })
        {
            _upstream.Context = http2 ? Server("h2") : Server("http/1.1");
            var request = Ask();
            var peer = _upstream.Accept(_upstream.Peers.Count + 1);
            if (http2)
            {
                _harness.Test.Until(() => Http2Requests(peer) == 1);
                peer.Send(H2.Join(H2.Settings(), H2.Headers(1, H2.Block((":status", "200")))));
            }
            else
            {
                _harness.Test.Until(() => Heads(peer) == 1);
                peer.Send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
            }
            _harness.Test.Until(() => request.Ended);
            peer.Close();
            _harness.Test.Until(() => Pool.IsIdle);
        }
        Assert.Equal(2, _harness.Stat(_cluster, ClusterStats.UpstreamCxHttp2Total));
        Assert.Equal(2, _harness.Stat(_cluster, ClusterStats.UpstreamCxHttp1Total));
        _harness.AssertIdle(_cluster);
    }

    [Fact]
    public void HandshakeThatFails_IsToldToAll_AndLeavesNothingBehind()
    {
        _upstream.Context = TestTls.Server(_ca.Server("a.test"), with: o => o with { MinVersion = OpenSsl.Tls10, MaxVersion = OpenSsl.Tls11 });
        var requests = new[] { Ask(), Ask() };
        _harness.Test.Until(() => { _upstream.AcceptAll(); return requests.All(r => r.IsOver); });
        Assert.All(requests, r => Assert.Equal(Failure.UpstreamTlsHandshake, r.PoolFailure));
        _harness.Test.Until(() => Pool.IsIdle);
        _harness.AssertIdle(_cluster);
        Assert.Equal(0, _harness.Stat(_cluster, ClusterStats.UpstreamCxHttp1Total) + _harness.Stat(_cluster, ClusterStats.UpstreamCxHttp2Total));

        _upstream.Context = Server("h2");
        var next = Ask();
        var peer = _upstream.Accept(2);
        _harness.Test.Until(() => Http2Requests(peer) == 1);
        peer.Send(H2.Join(H2.Settings(), H2.Headers(1, H2.Block((":status", "200")))));
        _harness.Test.Until(() => next.Ended);
    }
}
