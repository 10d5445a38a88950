using System;
using System.Collections.Generic;
using System.Text;
using Sidecar.Filters;
using Sidecar.Http;
using Sidecar.Http.H2;
using Sidecar.Memory;
using Sidecar.Telemetry;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Downstream;

/// <summary>Filters that stop and go on, in both directions and at every part of a message, and filters that answer themselves.</summary>
public class HttpStreamTests
{
    public enum At { RequestHead, RequestBody, RequestTrailers, ResponseHead, ResponseBody, ResponseTrailers }

    [Theory]
    [InlineData(At.RequestHead)]
    [InlineData(At.RequestBody)]
    [InlineData(At.RequestTrailers)]
    [InlineData(At.ResponseHead)]
    [InlineData(At.ResponseBody)]
    [InlineData(At.ResponseTrailers)]
    public void Filter_Stops_LaterFiltersSeeNothingUntilItGoesOn(At at)
    {
        using var plane = DataPlaneHarness.Http(out var upstream, http2Upstream: true);
        List<string> seen = [];
        var stopping = new Scripted("one", seen, at);
        // The filter that stops is the first to see a request and the last to see a response: so another one is on each side of it.
        var manager = plane.Manager(_ => new Scripted("zero", seen, null), _ => stopping, _ => new Scripted("two", seen, null));
        var client = new H2Wire(plane, plane.ConnectTo(manager), isServer: false);
        client.Send(H2.Headers(1, H2.Post(), end: false), H2.Data(1, "request"), H2.Headers(1, H2.Block(("x-t", "1"))));
        H2Wire? server = null;
        if (at > At.RequestTrailers)
        {
            server = new H2Wire(plane, upstream.Accept(), isServer: true);
            server.ExpectEnd(1);
            server.Send(H2.Headers(1, H2.Block((":status", "200")), end: false), H2.Data(1, "response"), H2.Headers(1, H2.Block(("x-u", "2"))));
        }
        plane.Loop.Until(() => seen.Contains($"one {at}"));
        plane.Loop.Settle();
        string after = at > At.RequestTrailers ? "zero" : "two";
        Assert.DoesNotContain($"{after} {at}", seen);

        if (at > At.RequestTrailers)
            stopping.Stream.ContinueResponse();
        else
            stopping.Stream.ContinueRequest();
        plane.Loop.Settle();
        server ??= Serve();
        client.ExpectEnd(1);
        Assert.Equal("request", server.Body(1));
        Assert.Equal("1", server.Header(1, "x-t"));
        Assert.Equal("response", client.Body(1));
        Assert.Equal("2", client.Header(1, "x-u"));
        foreach (string filter in new[] { "zero", "one", "two" })
        {
            foreach (var part in Enum.GetValues<At>())
                Assert.Contains($"{filter} {part}", seen);
        }
        client.Peer.Dispose();
        plane.ExpectNothingActive();

        H2Wire Serve()
        {
            var made = new H2Wire(plane, upstream.Accept(), isServer: true);
            made.ExpectEnd(1);
            made.Send(H2.Headers(1, H2.Block((":status", "200")), end: false), H2.Data(1, "response"), H2.Headers(1, H2.Block(("x-u", "2"))));
            return made;
        }
    }

    [Fact]
    public void TwoFilters_StopOneAfterTheOther_BodyArrivesWholeAndInOrder()
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        List<string> seen = [];
        var one = new Scripted("one", seen, At.RequestHead);
        var two = new Scripted("two", seen, At.RequestBody);
        var client = plane.ConnectTo(plane.Manager(_ => one, _ => two));
        client.Send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc");
        plane.Loop.Until(() => seen.Contains("one RequestHead"));
        client.Send("def");
        plane.Loop.Settle();
        one.Stream.ContinueRequest();
        plane.Loop.Until(() => seen.Contains("two RequestBody"));
        client.Send("ghi");
        plane.Loop.Settle();
        two.Stream.ContinueRequest();
        plane.Expect(upstream.Accept(), "\r\n\r\nabcdefghi");
    }

    [Fact]
    public void Filter_StopsResponse_UpstreamMayEndMeanwhile()
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        List<string> seen = [];
        var stopping = new Scripted("one", seen, At.ResponseHead);
        var client = plane.ConnectTo(plane.Manager(_ => stopping));
        client.Send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        var server = upstream.Accept();
        plane.Expect(server, "\r\n\r\n");
        server.Send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-app: 1\r\n\r\nhello");
        plane.Loop.Until(() => seen.Contains("one ResponseHead"));
        plane.Loop.Settle();
        stopping.Stream.ContinueResponse();
        Assert.Contains("x-app: 1\r\n", plane.Expect(client, "\r\n\r\nhello"));
        client.Dispose();
        plane.ExpectNothingActive();
    }

    [Fact]
    public void ClientLeaves_WhileAFilterHoldsTheRequest()
    {
        using var plane = DataPlaneHarness.Http(out _);
        var stopping = new Scripted("one", [], At.RequestHead);
        var client = plane.ConnectTo(plane.Manager(_ => stopping));
        client.Send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n");
        plane.ExpectStat("http.http.downstream_rq_active", 1);
        client.Dispose();
        plane.ExpectNothingActive();
        Assert.True(stopping.Ended);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Filter_Answers_LaterFiltersNeverSeeTheRequest(bool withBody)
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        List<string> seen = [];
        var client = plane.ConnectTo(plane.Manager(_ => new Scripted("zero", seen, null), _ => new Answering(), _ => new Scripted("two", seen, null)));
        client.Send(withBody ? "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc" : "GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        string response = plane.Expect(client, "not today");
        Assert.StartsWith("HTTP/1.1 403 Forbidden\r\n", response);
        Assert.Equal(withBody, response.Contains("connection: close", StringComparison.Ordinal));
        Assert.Contains("zero ResponseHead", seen);
        Assert.Contains("zero ResponseBody", seen);
        Assert.DoesNotContain(seen, line => line.StartsWith("two", StringComparison.Ordinal));
        Assert.False(upstream.TryAccept(out _));
    }

    [Fact]
    public void Filter_AnswersWhileRequestIsHeld_BodyIsDropped()
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        var stopping = new Scripted("one", [], At.RequestBody);
        var client = new H2Wire(plane, plane.ConnectTo(plane.Manager(_ => stopping)), isServer: false);
        client.Send(H2.Headers(1, H2.Post(), end: false), H2.Data(1, "abc"), H2.Data(1, "def", end: true));
        plane.Loop.Until(() => stopping.Stopped);
        stopping.Stream.Reply(Failure.FilterRejected);
        client.ExpectEnd(1);
        Assert.Equal("403", client.Header(1, ":status"));
        plane.ExpectStat("http.http.downstream_rq_active", 0);
        client.Send(H2.Headers(3, H2.Get(("x-two", "2"))));
        var server = upstream.Accept();
        Assert.DoesNotContain("abc", plane.Expect(server, "\r\n\r\n"));
    }

    [Fact]
    public void LargeHeldRequest_PausesTheClient_AndArrivesWhole()
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        var stopping = new Scripted("one", [], At.RequestHead);
        var client = plane.ConnectTo(plane.Manager(_ => stopping));
        byte[] body = Encoding.ASCII.GetBytes(new string('z', 200_000));
        client.Send($"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {body.Length}\r\n\r\n");
        int sent = client.TrySend(body);
        plane.Loop.Until(() => stopping.Stopped);
        plane.Loop.Settle();
        stopping.Stream.ContinueRequest();
        var server = upstream.Accept();
        plane.Loop.Until(() =>
        {
            sent += client.TrySend(body.AsSpan(sent));
            server.Receive();
            return server.Text.EndsWith("z", StringComparison.Ordinal) && server.Received.Count > body.Length;
        });
        Assert.EndsWith("\r\n\r\n" + Encoding.ASCII.GetString(body), server.Text);
    }

    private sealed class Scripted(string name, List<string> seen, At? stopAt) : HttpFilter
    {
        internal bool Stopped { get; private set; }
        internal bool Ended { get; private set; }

        internal override FilterStatus OnRequestHead(RequestHead head, bool endStream) => Saw(At.RequestHead);
        internal override FilterStatus OnRequestBody(ReadOnlySpan<byte> data, bool endStream) => Saw(At.RequestBody);
        internal override FilterStatus OnRequestTrailers(HeaderMap trailers) => Saw(At.RequestTrailers);
        internal override FilterStatus OnResponseHead(ResponseHead head, bool endStream) => Saw(At.ResponseHead);
        internal override FilterStatus OnResponseBody(ReadOnlySpan<byte> data, bool endStream) => Saw(At.ResponseBody);
        internal override FilterStatus OnResponseTrailers(HeaderMap trailers) => Saw(At.ResponseTrailers);
        internal override void OnStreamEnd() => Ended = true;
        internal override void Reset() => Stopped = false;

        private FilterStatus Saw(At at)
        {
            seen.Add($"{name} {at}");
            if (at != stopAt || Stopped)
                return FilterStatus.Continue;
            Stopped = true;
            return FilterStatus.Stop;
        }
    }

    private sealed class Answering : HttpFilter
    {
        internal override FilterStatus OnRequestHead(RequestHead head, bool endStream) =>
            Stream.Reply(Failure.FilterRejected, new LocalReplyOptions { Body = "not today"u8, HasBody = true });

        internal override void Reset() { }
    }
}
