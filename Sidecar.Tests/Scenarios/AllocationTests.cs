using System;
using System.Collections.Generic;
using Sidecar.Http.H2;
using Sidecar.Linux;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Scenarios;

/// <summary>
/// Steady state allocates nothing: ten thousand requests through the whole data plane, on one loop, counted by the runtime. The two ends are part of the
/// thread and so of the count: they send bytes made before and read into one buffer.
/// </summary>
public class AllocationTests
{
    private const int WarmUp = 2_000;
    private const int Requests = 10_000;

    private static readonly byte[] s_request = "POST /calculate HTTP/1.1\r\nhost: example.org\r\nuser-agent: test\r\nx-b3-traceid: 1\r\ncontent-length: 5\r\n\r\nhello"u8.ToArray();
    private static readonly byte[] s_response = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nx-app: 1\r\ncontent-length: 5\r\n\r\nworld"u8.ToArray();

    [Fact]
    public void Http1ToHttp1_TenThousandRequests_AllocateNothing()
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        using var pair = new Pair(plane, plane.Connect(), upstream, s_request);
        Assert.Equal(0, pair.Measure(new RawEnd(s_request, 150), new RawEnd(s_response, 100)));
    }

    [Fact]
    public void Http1ToHttp2_TenThousandRequests_AllocateNothing()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, http2Upstream: true);
        using var pair = new Pair(plane, plane.Connect(), upstream, s_request);
        Assert.Equal(0, pair.Measure(new RawEnd(s_request, 150), new Http2End(isServer: true)));
    }

    [Fact]
    public void Http2ToHttp2_TenThousandRequests_AllocateNothing()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, http2Upstream: true);
        using var pair = new Pair(plane, plane.Connect(), upstream, Http2End.Opening(isServer: false));
        Assert.Equal(0, pair.Measure(new Http2End(isServer: false), new Http2End(isServer: true)));
    }

    [Fact]
    public void Http2ToHttp1_TenThousandRequests_AllocateNothing()
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        using var pair = new Pair(plane, plane.Connect(), upstream, Http2End.Opening(isServer: false));
        Assert.Equal(0, pair.Measure(new Http2End(isServer: false), new RawEnd(s_response, 100)));
    }

    [Fact]
    public void Tcp_TenThousandEchoes_AllocateNothing()
    {
        using var plane = new DataPlaneHarness();
        var upstream = plane.Upstream();
        plane.Apply(new TestSnapshot().Cluster("up", false, upstream.Port).Tcp("tcp", 0, "up"));
        using var pair = new Pair(plane, plane.Connect("tcp"), upstream, []);
        Assert.Equal(0, pair.Measure(new RawEnd(new byte[700], 700), new RawEnd(new byte[700], 700)));
    }

    /// <summary>What one end says, and when the other has said all: allocates nothing.</summary>
    private abstract class End
    {
        internal abstract ReadOnlySpan<byte> Next();
        internal abstract bool IsComplete(ReadOnlySpan<byte> received);
    }

    /// <summary>The same bytes every time; the other side's message is at least so long.</summary>
    private sealed class RawEnd(byte[] bytes, int awaitedMin) : End
    {
        internal override ReadOnlySpan<byte> Next() => bytes;
        internal override bool IsComplete(ReadOnlySpan<byte> received) => received.Length >= awaitedMin;
    }

    /// <summary>A request or response on the next stream, and the window for what came.</summary>
    private sealed class Http2End : End
    {
        private readonly byte[] _message;
        private readonly bool _isServer;
        private uint _stream;

        internal Http2End(bool isServer)
        {
            _isServer = isServer;
            var head = isServer ? H2.Block((":status", "200"), ("content-type", "text/plain")) : H2.Post(("user-agent", "test"));
            _message = H2.Join(H2.Headers(1, head, end: false), H2.Data(1, isServer ? "world" : "hello", end: true), H2.WindowUpdate(0, 5));
            _stream = 1;
        }

        internal static byte[] Opening(bool isServer) =>
            H2.Join(isServer ? [] : H2.Preface, H2.Settings(), H2.Frame(FrameType.Settings, FrameFlags.Ack, 0));

        internal override ReadOnlySpan<byte> Next()
        {
            int data = FrameHeader.Size + ((_message[0] << 16) | (_message[1] << 8) | _message[2]);
            Put(5);
            Put(data + 5);
            _stream += 2;
            return _message;
        }

        // Whole frames only, the last of them ends a stream.
        internal override bool IsComplete(ReadOnlySpan<byte> received)
        {
            bool ended = false;
            while (received.Length >= FrameHeader.Size)
            {
                var header = FrameHeader.Read(received);
                if (received.Length < FrameHeader.Size + header.Length)
                    return false;
                ended |= header.Type is FrameType.Data or FrameType.Headers && (header.Flags & FrameFlags.EndStream) != 0;
                received = received[(FrameHeader.Size + header.Length)..];
            }
            return ended;
        }

        private void Put(int at)
        {
            _message[at] = (byte)(_stream >> 24);
            _message[at + 1] = (byte)(_stream >> 16);
            _message[at + 2] = (byte)(_stream >> 8);
            _message[at + 3] = (byte)_stream;
        }
    }

    /// <summary>A client and the server behind the proxy, turn by turn.</summary>
    private sealed class Pair(DataPlaneHarness plane, TestPeer client, FakeUpstream upstream, byte[] opening) : IDisposable
    {
        private readonly byte[] _buffer = new byte[64 * 1024];

        internal long Measure(End clientEnd, End serverEnd)
        {
            TestPeer? server = null;
            if (opening.Length > 0 && clientEnd is Http2End)
                client.Send(opening);
            client.Send(clientEnd.Next());
            server = upstream.Accept();
            if (serverEnd is Http2End)
            {
                server.Send(Http2End.Opening(isServer: true));
                SkipPreface(server);
            }
            Finish(server, serverEnd, clientEnd);
            Run(server, clientEnd, serverEnd, WarmUp);
            long before = GC.GetAllocatedBytesForCurrentThread();
            Run(server, clientEnd, serverEnd, Requests);
            return GC.GetAllocatedBytesForCurrentThread() - before;
        }

        private void Run(TestPeer server, End clientEnd, End serverEnd, int count)
        {
            for (int i = 0; i < count; i++)
            {
                Send(client, clientEnd.Next());
                Finish(server, serverEnd, clientEnd);
            }
        }

        private void Finish(TestPeer server, End serverEnd, End clientEnd)
        {
            Await(server, serverEnd);
            Send(server, serverEnd.Next());
            Await(client, clientEnd);
            plane.Loop.Step(2);
        }

        private void Await(TestPeer peer, End end)
        {
            int length = 0;
            for (int turn = 0; turn < 10_000; turn++)
            {
                plane.Loop.Step();
                var got = Sockets.Receive(peer.Fd, _buffer.AsSpan(length));
                if (got.Ok)
                    length += (int)got.Value;
                if (length > 0 && end.IsComplete(_buffer.AsSpan(0, length)))
                    return;
            }
            Assert.Fail($"nothing came: {System.Text.Encoding.Latin1.GetString(_buffer, 0, length)} {plane.Loop.FirstFault}");
        }

        private void SkipPreface(TestPeer server)
        {
            plane.Loop.Until(() =>
            {
                server.Receive(H2.Preface.Length - server.Received.Count);
                return server.Received.Count == H2.Preface.Length;
            });
        }

        private static void Send(TestPeer peer, ReadOnlySpan<byte> bytes)
        {
            var sent = Sockets.Send(peer.Fd, bytes);
            if (!sent.Ok || sent.Value != bytes.Length)
                Assert.Fail("the test's own socket is full");
        }

        public void Dispose() => client.Dispose();
    }
}
