using System;
using System.Linq;
using Sidecar.Filters;
using Sidecar.Http;
using Sidecar.Http.H2;
using Sidecar.Telemetry;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Downstream;

/// <summary>An exception out of a filter is a programmer's error; it costs the connection it happened on and nothing else.</summary>
public class GuardTests
{
    public enum Where { RequestHead, RequestBody, ResponseHead, ResponseBody, StreamEnd }

    [Theory]
    [InlineData(Where.RequestHead)]
    [InlineData(Where.RequestBody)]
    [InlineData(Where.ResponseHead)]
    [InlineData(Where.ResponseBody)]
    [InlineData(Where.StreamEnd)]
    public void Filter_Throws_Http1_EndsThatConnectionOnly(Where where)
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        plane.Loop.ExpectsFaults = true;
        bool throws = true;
        var manager = plane.Manager(_ => new Throwing(at => throws && at == where));
        var client = plane.ConnectTo(manager);
        client.Send("POST / HTTP/1.1\r\nhost: example.org\r\ncontent-length: 3\r\n\r\nabc");
        if (where >= Where.ResponseHead)
        {
            var server = upstream.Accept();
            plane.Expect(server, "abc");
            server.Send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
        // By the time a stream has ended, its response is out: nothing is wrong with the connection.
        if (where == Where.StreamEnd)
            plane.Expect(client, "\r\n\r\nok");
        else
            plane.ExpectEnd(client);
        Assert.Equal(1, plane.Loop.Loop.LoopFaults);
        Assert.IsType<InvalidOperationException>(plane.Loop.FirstFault);
        plane.ExpectStat("http.http.downstream_rq_active", 0);

        throws = false;
        var next = plane.ConnectTo(manager);
        next.Send("GET /next HTTP/1.1\r\nhost: example.org\r\n\r\n");
        TestPeer? peer = null;
        plane.Loop.Until(() => upstream.TryAccept(out _) || (peer = upstream.Peers.FirstOrDefault(p => p.Read().Contains("GET /next", StringComparison.Ordinal))) is not null);
        peer ??= upstream.Peers[^1];
        plane.Expect(peer, "GET /next");
        peer.Send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnext");
        plane.Expect(next, "\r\n\r\nnext");
        client.Dispose();
        next.Dispose();
        plane.ExpectNothingActive();
    }

    [Theory]
    [InlineData(Where.RequestHead)]
    [InlineData(Where.RequestBody)]
    [InlineData(Where.ResponseHead)]
    [InlineData(Where.ResponseBody)]
    public void Filter_Throws_Http2_EndsThatStreamOnly(Where where)
    {
        using var plane = DataPlaneHarness.Http(out var upstream, http2Upstream: true);
        plane.Loop.ExpectsFaults = true;
        var manager = plane.Manager(_ => new Throwing(at => at == where));
        var client = new H2Wire(plane, plane.ConnectTo(manager), isServer: false);
        client.Send(H2.Headers(1, H2.Get(), end: true));
        if (where <= Where.RequestBody)
        {
            client.Send(H2.Headers(3, H2.Post(), end: false), H2.Data(3, "abc", end: true));
        }
        else
        {
            var server = new H2Wire(plane, upstream.Accept(), isServer: true);
            server.ExpectEnd(1);
            server.Send(H2.Headers(1, H2.Block((":status", "200")), end: false), H2.Data(1, "ok", end: true));
        }
        var reset = client.Expect(FrameType.RstStream, where <= Where.RequestBody && where != Where.RequestHead ? 3u : 1u);
        Assert.Equal(Http2Error.InternalError, reset.ResetCode);
        client.Send(H2.Ping("alive???"));
        client.Expect(f => f.Type == FrameType.Ping && f.IsAck);
        Assert.True(plane.Loop.Loop.LoopFaults >= 1);
        client.Peer.Dispose();
        plane.ExpectNothingActive();
    }

    /// <summary>An exception that leaves the codec itself: here while it announces a stream, for which no filters can be made.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void CodecThrows_EndsThatConnectionOnly(bool http2)
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        plane.Loop.ExpectsFaults = true;
        bool throws = true;
        var manager = plane.Manager(_ => throws ? throw new InvalidOperationException("a factory's bug") : new Throwing(_ => false));
        var client = plane.ConnectTo(manager);
        if (http2)
            _ = new H2Wire(plane, client, isServer: false);
        client.Send(http2 ? H2.Headers(1, H2.Get()) : H2.Bytes("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
        plane.ExpectEnd(client);
        Assert.Equal(1, plane.Loop.Loop.LoopFaults);
        Assert.Equal(0, manager.ActiveConnections);

        throws = false;
        var next = plane.ConnectTo(manager);
        next.Send("GET /next HTTP/1.1\r\nhost: a\r\n\r\n");
        var server = upstream.Accept();
        plane.Expect(server, "GET /next");
        server.Send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnext");
        plane.Expect(next, "\r\n\r\nnext");
        next.Dispose();
        plane.ExpectNothingActive();
    }

    private sealed class Throwing(Func<Where, bool> throws) : HttpFilter
    {
        internal override FilterStatus OnRequestHead(RequestHead head, bool endStream) => At(Where.RequestHead);
        internal override FilterStatus OnRequestBody(ReadOnlySpan<byte> data, bool endStream) => At(Where.RequestBody);
        internal override FilterStatus OnResponseHead(ResponseHead head, bool endStream) => At(Where.ResponseHead);
        internal override FilterStatus OnResponseBody(ReadOnlySpan<byte> data, bool endStream) => At(Where.ResponseBody);
        internal override void OnStreamEnd() => At(Where.StreamEnd);
        internal override void Reset() { }

        private FilterStatus At(Where where) => throws(where) ? throw new InvalidOperationException("a filter's bug") : FilterStatus.Continue;
    }
}
