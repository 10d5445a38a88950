using System;
using System.Collections.Generic;
using System.Text;
using Sidecar.Http;
using Sidecar.Net;
using Sidecar.Tests.Harness;
using Sidecar.Upstream;
using Xunit;

namespace Sidecar.Tests.Upstream;

/// <summary>gRPC calls of the proxy's own, against a server on loopback that answers by hand.</summary>
public sealed class GrpcCallTests : IDisposable
{
    private readonly UpstreamHarness _harness = new();
    private readonly TestFolder _folder = new();
    private FakeAds? _server;

    public void Dispose()
    {
        _server?.Dispose();
        _harness.Dispose();
        _folder.Dispose();
    }

    private static HttpUpstreamOptions Http2 => HttpUpstreamOptions.Default with { Protocol = UpstreamProtocol.Http2 };

    private sealed class Recorder : GrpcCallEvents
    {
        private readonly StringBuilder _message = new();
        internal readonly List<string> Events = [];
        internal Action? Opened;

        internal bool IsClosed => Events.Count > 0 && Events[^1].StartsWith("closed", StringComparison.Ordinal);

        internal override void OnOpened()
        {
            Events.Add("opened");
            Opened?.Invoke();
        }

        internal override void OnMessageStart(int length) => _message.Clear();
        internal override void OnMessagePart(ReadOnlySpan<byte> bytes) => _message.Append(Encoding.ASCII.GetString(bytes));
        internal override void OnMessageEnd() => Events.Add("message " + _message);
        internal override void OnClosed(GrpcStatus status, string message) => Events.Add($"closed {status}: {message}");
    }

    private (GrpcCall Call, Recorder Events) Make(string? unixPath = null, HttpUpstreamOptions? http = null, GrpcTarget? target = null)
    {
        _server = new FakeAds(_harness.Test, unixPath);
        _harness.Cluster(_harness.Config(http: http ?? Http2), _server.Address);
        var events = new Recorder();
        return (new GrpcCall(_harness.Clusters, target ?? new GrpcTarget("test", "", []), events), events);
    }

    [Fact]
    public void TokenInAFile_IsReadForEachCall_AndItsAbsenceEndsTheCall()
    {
        string file = _folder.Write("token", "first\n");
        var target = new GrpcTarget("test", "", [("x", [(byte)'y'])]) { Files = [new FileMetadata("authorization", "Bearer ", file)] };
        var (call, _) = Make(target: target);
        call.Start("/s/m");
        var stream = _server!.Accept();
        Assert.Equal(("Bearer first", "y"), (stream["authorization"], stream["x"]));
        call.Cancel();
        _folder.Write("token", "second");
        var next = new GrpcCall(_harness.Clusters, target, new Recorder());
        next.Start("/s/m");
        Assert.Equal("Bearer second", _server.Accept()["authorization"]);
        next.Cancel();
        _folder.Write("token", " \n");
        var events = new Recorder();
        new GrpcCall(_harness.Clusters, target, events).Start("/s/m");
        Assert.Equal([$"closed Unavailable: {file}: it holds no token of one line"], events.Events);
        System.IO.File.Delete(file);
        events.Events.Clear();
        new GrpcCall(_harness.Clusters, target, events).Start("/s/m");
        Assert.Contains(file, Assert.Single(events.Events));
    }

    [Fact]
    public void Call_SendsAndReceives_UntilTheServersStatus()
    {
        var (call, events) = Make();
        events.Opened = () => call.Send("hello"u8);
        call.Start("/a.B/C");
        var stream = _server!.Accept();
        _server.Until(() => stream.Messages.Count == 1);
        Assert.Equal("POST /a.B/C http test trailers application/grpc", string.Join(" ", stream[":method"], stream[":path"], stream[":scheme"], stream[":authority"], stream["te"], stream["content-type"]));
        Assert.Equal("", stream["grpc-timeout"]);
        Assert.Equal("hello", Encoding.ASCII.GetString(stream.Messages[0]));
        stream.SendMessage("one"u8.ToArray()).SendMessage("two"u8.ToArray());
        _server.Until(() => events.Events.Count == 3);
        call.Send("again"u8);
        call.CloseSend();
        _server.Until(() => stream.Ended && stream.Messages.Count == 2);
        stream.SendStatus(0);
        _server.Until(() => events.IsClosed);
        Assert.Equal(["opened", "message one", "message two", "closed Ok: "], events.Events);
        _harness.AssertNoStreams(_harness.Clusters.Find("test")!);
    }

    [Fact]
    public void Call_OverAUnixSocket_Works()
    {
        var (call, events) = Make(_folder.PathOf("XDS"));
        call.Start("/a.B/C");
        _server!.Accept().SendMessage("hi"u8.ToArray());
        _server.Until(() => events.Events.Count == 2);
        Assert.Equal(["opened", "message hi"], events.Events);
        Assert.Equal(_folder.PathOf("XDS"), call.RemoteAddress.Path);
        call.Cancel();
    }

    [Fact]
    public void Metadata_Authority_AndTimeout_AreSaid()
    {
        var target = new GrpcTarget("test", "istiod.istio-system.svc", [("authorization", "Bearer x"u8.ToArray()), ("clusterid", "k"u8.ToArray())]);
        var (call, events) = Make(target: target);
        call.Start("/a.B/C", timeoutMs: 1500);
        var stream = _server!.Accept();
        Assert.Equal("istiod.istio-system.svc", stream[":authority"]);
        Assert.Equal("Bearer x", stream["authorization"]);
        Assert.Equal("k", stream["clusterid"]);
        Assert.Equal("1500m", stream["grpc-timeout"]);
        _harness.Test.Advance(1499);
        Assert.False(events.IsClosed);
        _harness.Test.Advance(1);
        Assert.Equal(["opened", "closed DeadlineExceeded: no end within 1500 ms"], events.Events);
        _server.Until(() => stream.ResetReason is not null);
    }

    [Theory]
    [InlineData(100_000_000, "100000S")]
    [InlineData(99_999_999, "99999999m")]
    [InlineData(1, "1m")]
    public void Timeout_HasAtMostEightDigits(long ms, string expected)
    {
        var (call, _) = Make();
        call.Start("/a.B/C", ms);
        Assert.Equal(expected, _server!.Accept()["grpc-timeout"]);
        call.Cancel();
    }

    [Fact]
    public void TrailersOnly_IsTheEnd()
    {
        var (call, events) = Make();
        call.Start("/a.B/C");
        _server!.Accept().SendHead(end: true, more: [("grpc-status", "7"), ("grpc-message", "no%20entry")]);
        _server.Until(() => events.IsClosed);
        Assert.Equal(["opened", "closed PermissionDenied: no entry"], events.Events);
    }

    [Theory]
    [InlineData(400, "Internal")]
    [InlineData(401, "Unauthenticated")]
    [InlineData(403, "PermissionDenied")]
    [InlineData(404, "Unimplemented")]
    [InlineData(429, "Unavailable")]
    [InlineData(502, "Unavailable")]
    [InlineData(503, "Unavailable")]
    [InlineData(504, "Unavailable")]
    [InlineData(418, "Unknown")]
    public void HttpStatus_BecomesAGrpcStatus(int http, string expected)
    {
        var (call, events) = Make();
        call.Start("/a.B/C");
        _server!.Accept().SendHead(http, "text/plain");
        _server.Until(() => events.IsClosed);
        Assert.Equal($"closed {expected}: HTTP status {http}", events.Events[^1]);
    }

    [Fact]
    public void OtherContentType_IsUnknown()
    {
        var (call, events) = Make();
        call.Start("/a.B/C");
        _server!.Accept().SendHead(200, "text/html");
        _server.Until(() => events.IsClosed);
        Assert.Equal("closed Unknown: content-type is 'text/html', not application/grpc", events.Events[^1]);
    }

    [Fact]
    public void EndWithinAMessage_IsInternal()
    {
        var (call, events) = Make();
        call.Start("/a.B/C");
        _server!.Accept().SendRaw([0, 0, 0, 0, 9, 1]).SendStatus(0);
        _server.Until(() => events.IsClosed);
        Assert.Equal("closed Internal: the response ended within a message", events.Events[^1]);
    }

    [Fact]
    public void MessageAboveTheLimit_EndsTheCall()
    {
        var (call, events) = Make(target: new GrpcTarget("test", "", []) { MessageBytesMax = 1000 });
        call.Start("/a.B/C");
        var stream = _server!.Accept().SendRaw([0, 0, 0, 4, 0]);
        _server.Until(() => events.IsClosed && stream.ResetReason is not null);
        Assert.Equal("closed ResourceExhausted: a message of 1024 bytes is larger than the limit of 1000", events.Events[^1]);
    }

    [Fact]
    public void ServerResets_IsUnavailable_InEnvoysWords()
    {
        var (call, events) = Make();
        call.Start("/a.B/C");
        _server!.Accept().Reset();
        _server.Until(() => events.IsClosed);
        Assert.Equal("closed Unavailable: upstream connect error or disconnect/reset before headers. reset reason: remote reset", events.Events[^1]);
    }

    [Fact]
    public void ServerDies_IsUnavailable()
    {
        var (call, events) = Make();
        call.Start("/a.B/C");
        _server!.Accept();
        _server.Dispose();
        _harness.Test.Until(() => events.IsClosed);
        Assert.StartsWith("closed Unavailable: upstream connect error or disconnect/reset before headers. reset reason: connection termination", events.Events[^1]);
        call.Cancel();
    }

    [Fact]
    public void Refused_IsUnavailable()
    {
        _harness.Cluster(_harness.Config(http: Http2), _harness.Refusing());
        var events = new Recorder();
        new GrpcCall(_harness.Clusters, new GrpcTarget("test", "", []), events).Start("/a.B/C");
        _harness.Test.Until(() => events.IsClosed);
        Assert.Equal(
            ["closed Unavailable: upstream connect error or disconnect/reset before headers. reset reason: remote connection failure, transport failure reason: delayed connect error: Connection refused"], events.Events);
    }

    [Fact]
    public void NoCluster_NoHost_NoHttp2_AreUnavailable()
    {
        var events = new Recorder();
        new GrpcCall(_harness.Clusters, new GrpcTarget("absent", "", []), events).Start("/a.B/C");
        Assert.Equal(["closed Unavailable: Cluster not available"], events.Events);

        _harness.Cluster(_harness.Config(http: Http2));
        events = new Recorder();
        new GrpcCall(_harness.Clusters, new GrpcTarget("test", "", []), events).Start("/a.B/C");
        Assert.Equal(["closed Unavailable: no healthy upstream"], events.Events);

        _harness.Cluster(_harness.Config(), Address.Loopback(1));
        events = new Recorder();
        new GrpcCall(_harness.Clusters, new GrpcTarget("test", "", []), events).Start("/a.B/C");
        Assert.Equal(["closed Unavailable: cluster test does not speak HTTP/2: give it http2_protocol_options"], events.Events);
    }

    [Fact]
    public void Cancel_WhileConnecting_SaysNothingMore()
    {
        var (call, events) = Make();
        call.Start("/a.B/C");
        call.Cancel();
        _harness.Test.Settle();
        Assert.Empty(events.Events);
        _harness.AssertNoStreams(_harness.Clusters.Find("test")!);
    }

    [Fact]
    public void Cancel_FromWithinAMessage_DropsTheRest()
    {
        var (call, events) = Make();
        call.Start("/a.B/C");
        var stream = _server!.Accept();
        events.Opened = null;
        var cancelling = new Cancelling();
        var other = new GrpcCall(_harness.Clusters, new GrpcTarget("test", "", []), cancelling);
        cancelling.Call = other;
        other.Start("/a.B/D");
        var second = _server.Accept();
        second.SendRaw([0, 0, 0, 0, 1, 65, 0, 0, 0, 0, 1, 66]);
        _server.Until(() => second.ResetReason is not null);
        Assert.Equal(1, cancelling.Messages);
        Assert.Null(stream.ResetReason);
        call.Cancel();
    }

    private sealed class Cancelling : GrpcCallEvents
    {
        internal GrpcCall Call = null!;
        internal int Messages;

        internal override void OnOpened()
        {
        }

        internal override void OnMessageStart(int length)
        {
        }

        internal override void OnMessagePart(ReadOnlySpan<byte> bytes)
        {
        }

        internal override void OnMessageEnd()
        {
            Messages++;
            Call.Cancel();
        }

        internal override void OnClosed(GrpcStatus status, string message) => Assert.Fail("a cancelled call says nothing");
    }

    [Fact]
    public void ServerThatDoesNotRead_BlocksSending_UntilItDoes()
    {
        var (call, events) = Make();
        call.Start("/a.B/C");
        var stream = _server!.Accept();
        stream.Connection.Reads = false;
        var message = new byte[16 * 1024];
        int sent = 0;
        while (!call.IsSendBlocked)
        {
            call.Send(message);
            Assert.InRange(++sent, 1, 100_000);
            _harness.Test.Step();
        }
        stream.Connection.Reads = true;
        _server.Until(() => !call.IsSendBlocked && stream.Messages.Count == sent);
        Assert.Equal(["opened"], events.Events);
        call.Cancel();
    }

    [Fact]
    public void HundredMegabytes_PassTheWindows()
    {
        var (call, _) = Make();
        var counter = new Counter();
        var large = new GrpcCall(_harness.Clusters, new GrpcTarget("test", "", []), counter);
        large.Start("/a.B/C");
        var stream = _server!.Accept();
        const int length = 100 * 1024 * 1024;
        stream.SendRaw([0, length >> 24, (length >> 16) & 255, (length >> 8) & 255, length & 255]);
        var part = new byte[1024 * 1024];
        for (int sent = 0; sent < 100; sent++)
        {
            stream.SendRaw(part);
            long expected = (sent + 1L) * part.Length;
            _server.Until(() => counter.Bytes == expected);
        }
        Assert.Equal(1, counter.Ends);
        large.Cancel();
        call.Cancel();
    }

    private sealed class Counter : GrpcCallEvents
    {
        internal long Bytes;
        internal int Ends;

        internal override void OnOpened()
        {
        }

        internal override void OnMessageStart(int length)
        {
        }

        internal override void OnMessagePart(ReadOnlySpan<byte> bytes) => Bytes += bytes.Length;
        internal override void OnMessageEnd() => Ends++;
        internal override void OnClosed(GrpcStatus status, string message) => Assert.Fail(message);
    }
}
