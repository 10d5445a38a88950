using System;
using System.Collections.Generic;
using Sidecar.Http.H2;
using Sidecar.Linux;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Scenarios;

/// <summary>
/// What <see cref="AllocationTests"/> says of one exchange at a time holds for crowds: now all ask at once, now half of them, with pauses in between, while the loop
/// and the control loop end their periods and let go of what is not needed. The two ends allocate nothing either.
/// </summary>
public class CrowdAllocationTests
{
    // So that what grows to a bound has grown: a date for each round fills the table of a header compression, for one.
    private const int WarmUpRounds = 80;

    private const int Rounds = 28;
    private const int PeriodMs = 5_000;

    // Almost as long as it takes to let go of something.
    private const int PauseEvery = 7;
    private const int PausePeriods = 5;

    private static readonly byte[] s_request = "GET /crowd HTTP/1.1\r\nhost: example.org\r\nuser-agent: test\r\n\r\n"u8.ToArray();
    private static readonly byte[] s_response = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nworld"u8.ToArray();

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void ManyHttp1Connections_AllocateNothing(bool http2Upstream)
    {
        using var plane = DataPlaneHarness.Http(out var upstream, http2Upstream);
        ExpectNothing(new Crowd(plane, upstream, http2Upstream, 200, 1).Measure);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void ManyHttp2Streams_AllocateNothing(bool http2Upstream)
    {
        using var plane = DataPlaneHarness.Http(out var upstream, http2Upstream);
        ExpectNothing(new Crowd(plane, upstream, http2Upstream, 10, 20).Measure);
    }

    // A client that opens its windows late: what the proxy holds for each stream is as much as its limits allow.
    [Fact]
    public void LargeBodies_AllocateNothing()
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        var test = new LargeBodies(plane, upstream);
        Assert.InRange(test.HeldBytesMost, LargeBodies.HeldBytesMin, long.MaxValue);
        ExpectNothing(test.Measure);
    }

    // What a connection needs once in its life is made when it first does (a full socket, for one), and the kernel decides when that is: so there is a second measurement.
    private static void ExpectNothing(Func<long> measure)
    {
        if (measure() != 0)
            Assert.Equal(0, measure());
    }

    /// <summary>Ends a period of every keeper, as the loop and the control loop do from time to time.</summary>
    private static void EndPeriod(DataPlaneHarness plane)
    {
        plane.Loop.Advance(PeriodMs);
        while (!plane.Loop.Loop.Memory.GiveBack(isTight: false))
        {
        }
    }

    /// <summary>Clients that all ask before any is answered; over HTTP/2 when they have more than one stream.</summary>
    private sealed class Crowd
    {
        private readonly DataPlaneHarness _plane;
        private readonly FakeUpstream _upstream;
        private readonly bool _http2Upstream;
        private readonly int _streams;
        private readonly TestPeer[] _clients;
        private readonly uint[] _nextStream;
        private readonly byte[] _buffer = new byte[256 * 1024];
        private readonly byte[] _head;
        private readonly byte[] _answer;
        private readonly byte[] _update = H2.WindowUpdate(0, 5 * 1024);
        private readonly Random _random = new(11);

        internal Crowd(DataPlaneHarness plane, FakeUpstream upstream, bool http2Upstream, int clients, int streams)
        {
            _plane = plane;
            _upstream = upstream;
            _http2Upstream = http2Upstream;
            _streams = streams;
            _head = H2.Headers(1, H2.Get(("user-agent", "test")));
            _answer = H2.Join(H2.Headers(1, H2.Block((":status", "200"), ("content-type", "text/plain"), ("content-length", "5")), end: false), H2.Data(1, "world", end: true));
            _clients = new TestPeer[clients];
            _nextStream = new uint[clients];
            for (int i = 0; i < clients; i++)
            {
                _clients[i] = plane.Connect();
                _nextStream[i] = 1;
                if (streams > 1)
                    Send(_clients[i], H2.Join(H2.Preface, H2.Settings(), H2.Frame(FrameType.Settings, FrameFlags.Ack, 0)));
            }
            for (int i = 0; i < WarmUpRounds; i++)
            {
                Round(_streams, _clients.Length);
                EndPeriod(plane);
            }
        }

        internal long Measure()
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int i = 1; i <= Rounds; i++)
            {
                // All connections with more than half of their streams, or more than half of the connections.
                if (_streams > 1)
                    Round(_random.Next(_streams / 2 + 1, _streams + 1), _clients.Length);
                else
                    Round(1, _random.Next(_clients.Length / 2 + 1, _clients.Length + 1));
                for (int period = i % PauseEvery == 0 ? PausePeriods : 1; period > 0; period--)
                    EndPeriod(_plane);
            }
            return GC.GetAllocatedBytesForCurrentThread() - before;
        }

        private void Round(int streams, int clients)
        {
            for (int i = 0; i < clients; i++)
            {
                if (_streams > 1)
                    AskOver(i, streams);
                else
                    Send(_clients[i], s_request);
            }
            Answer(streams * clients);
            for (int i = 0; i < clients; i++)
                AwaitAnswers(_clients[i], streams);
            _plane.Loop.Step(2);
        }

        private void AskOver(int client, int streams)
        {
            for (int i = 0; i < streams; i++)
            {
                Put(_head, _nextStream[client]);
                _nextStream[client] += 2;
                Send(_clients[client], _head);
            }
            Send(_clients[client], _update);
        }

        // Nobody is answered before everybody has asked.
        private void Answer(int count)
        {
            int asked = 0;
            for (int turn = 0; asked < count; turn++)
            {
                Assert.True(turn < 100_000, "not all requests came through");
                _plane.Loop.Step();
                while (_upstream.TryAccept(out var peer))
                {
                    if (_http2Upstream)
                        Send(peer!, H2.Join(H2.Settings(), H2.Frame(FrameType.Settings, FrameFlags.Ack, 0)));
                }
                foreach (var peer in (List<TestPeer>)_upstream.Peers)
                    asked += _http2Upstream ? ReadStreams(peer) : ReadHead(peer);
            }
            foreach (var peer in (List<TestPeer>)_upstream.Peers)
                AnswerAll(peer);
        }

        private readonly Dictionary<TestPeer, int> _askedOf = [];
        private readonly List<uint> _open = new(1024);

        private int ReadHead(TestPeer peer)
        {
            if (Receive(peer, _buffer) == 0)
                return 0;
            _askedOf[peer] = 1;
            return 1;
        }

        // An HTTP/2 upstream is one connection.
        private int ReadStreams(TestPeer peer)
        {
            int length = Receive(peer, _buffer);
            var rest = _buffer.AsSpan(0, length);
            if (rest.StartsWith(Http2Preface.Bytes))
                rest = rest[Http2Preface.Bytes.Length..];
            int streams = 0;
            while (rest.Length > 0)
            {
                var header = FrameHeader.Read(rest);
                rest = rest[(FrameHeader.Size + header.Length)..];
                if (header.Type != FrameType.Headers)
                    continue;
                _open.Add(header.StreamId);
                streams++;
            }
            return streams;
        }

        private void AnswerAll(TestPeer peer)
        {
            if (!_http2Upstream)
            {
                if (_askedOf.TryGetValue(peer, out int asked) && asked > 0)
                    Send(peer, s_response);
                _askedOf[peer] = 0;
                return;
            }
            foreach (uint stream in _open)
            {
                Put(_answer, stream);
                Put(_answer.AsSpan(_answer.Length - FrameHeader.Size - 5), stream);
                Send(peer, _answer);
            }
            _open.Clear();
        }

        private void AwaitAnswers(TestPeer client, int count)
        {
            int length = 0;
            for (int turn = 0; turn < 100_000; turn++)
            {
                length += Receive(client, _buffer.AsSpan(length));
                if (_streams == 1 ? length > 0 && _buffer.AsSpan(0, length).EndsWith("world"u8) : EndsIn(_buffer.AsSpan(0, length)) == count)
                    return;
                _plane.Loop.Step();
            }
            Assert.Fail("not all answers came");
        }

        private static int EndsIn(ReadOnlySpan<byte> received)
        {
            int ends = 0;
            while (received.Length >= FrameHeader.Size)
            {
                var header = FrameHeader.Read(received);
                if (received.Length < FrameHeader.Size + header.Length)
                    break;
                if (header.Type is FrameType.Data or FrameType.Headers && (header.Flags & FrameFlags.EndStream) != 0)
                    ends++;
                received = received[(FrameHeader.Size + header.Length)..];
            }
            return ends;
        }
    }

    private static void Put(Span<byte> frame, uint stream)
    {
        frame[5] = (byte)(stream >> 24);
        frame[6] = (byte)(stream >> 16);
        frame[7] = (byte)(stream >> 8);
        frame[8] = (byte)stream;
    }

    private static void Send(TestPeer peer, ReadOnlySpan<byte> bytes)
    {
        var sent = Sockets.Send(peer.Fd, bytes);
        if (!sent.Ok || sent.Value != bytes.Length)
            Assert.Fail("the test's own socket is full");
    }

    private static int Receive(TestPeer peer, Span<byte> into) => Sockets.Receive(peer.Fd, into) is { Ok: true } got ? (int)got.Value : 0;

    /// <summary>Streams whose windows stay shut until the proxy holds as much for each as it will; fewer of them once it is measured.</summary>
    private sealed class LargeBodies
    {
        private const int Streams = 6;
        private const int MeasuredStreams = 4;
        private const int BodyBytes = 256 * 1024;

        /// <summary>
        /// What it had to hold at once for the measurement to say anything: as much as the measured streams' shares. The kernel's buffers take the rest, sometimes of all
        /// streams and sometimes not.
        /// </summary>
        internal const int HeldBytesMin = MeasuredStreams * 64 * 1024;

        private const int Rounds = 8;
        private const int WarmUpRoundsMax = 500;

        private static readonly byte[] s_answerHead = System.Text.Encoding.ASCII.GetBytes($"HTTP/1.1 200 OK\r\ncontent-length: {BodyBytes}\r\n\r\n");

        private readonly DataPlaneHarness _plane;
        private readonly FakeUpstream _upstream;
        private readonly TestPeer _client;
        private readonly int[] _left = new int[Streams];
        private readonly byte[] _head = H2.Headers(1, H2.Get(("user-agent", "test")));
        private readonly byte[] _update = H2.WindowUpdate(0, BodyBytes);
        private readonly byte[] _buffer = new byte[64 * 1024];
        private readonly byte[] _received = new byte[Streams * BodyBytes * 2];
        private uint _nextStream = 1;

        internal LargeBodies(DataPlaneHarness plane, FakeUpstream upstream)
        {
            _plane = plane;
            _upstream = upstream;
            _client = plane.Connect();
            Send(_client, H2.Join(H2.Preface, H2.Settings(), H2.Frame(FrameType.Settings, FrameFlags.Ack, 0)));
            // The kernel says when bytes arrive, so how often the proxy is as full as it can be is not ours to say; once is enough.
            for (int round = 0; round < 45 || HeldBytesMost < HeldBytesMin && round < WarmUpRoundsMax; round++)
            {
                Round(Streams);
                EndPeriod(plane);
            }
        }

        /// <summary>What the proxy held at once, at most.</summary>
        internal long HeldBytesMost { get; private set; }

        internal long Measure()
        {
            Round(MeasuredStreams);
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int round = 0; round < Rounds; round++)
            {
                Round(MeasuredStreams);
                for (int period = 0; period < PausePeriods; period++)
                    EndPeriod(_plane);
            }
            return GC.GetAllocatedBytesForCurrentThread() - before;
        }

        private void Round(int streams)
        {
            uint first = _nextStream;
            for (int i = 0; i < streams; i++)
            {
                Put(_head, _nextStream);
                _nextStream += 2;
                Send(_client, _head);
            }
            Array.Clear(_left);
            for (int asked = 0; asked < streams;)
            {
                _plane.Loop.Step();
                while (_upstream.TryAccept(out _))
                {
                }
                for (int i = 0; i < _upstream.Peers.Count; i++)
                {
                    if (_left[i] > 0 || Receive(_upstream.Peers[i], _buffer) == 0)
                        continue;
                    Send(_upstream.Peers[i], s_answerHead);
                    _left[i] = BodyBytes;
                    asked++;
                }
            }
            // Until nothing goes any further.
            for (int stuck = 0; stuck < 50; stuck++)
            {
                if (SendBodies())
                    stuck = 0;
                _plane.Loop.Step();
            }
            Send(_client, _update);
            for (int i = 1; i < streams; i++)
                Send(_client, _update);
            for (uint stream = first; stream < _nextStream; stream += 2)
            {
                Put(_update, stream);
                Send(_client, _update);
            }
            Put(_update, 0);
            AwaitEnds(streams);
            // Blocks that were out at once in this period are still there.
            HeldBytesMost = Math.Max(HeldBytesMost, _plane.Loop.Loop.Slab.HeldBytes);
        }

        private void AwaitEnds(int streams)
        {
            int length = 0, position = 0;
            for (int turn = 0; streams > 0; turn++)
            {
                Assert.True(turn < 1_000_000, "the bodies did not come");
                SendBodies();
                _plane.Loop.Step();
                length += Receive(_client, _received.AsSpan(length));
                while (length - position >= FrameHeader.Size)
                {
                    var header = FrameHeader.Read(_received.AsSpan(position));
                    if (length - position < FrameHeader.Size + header.Length)
                        break;
                    if (header.Type == FrameType.Data && (header.Flags & FrameFlags.EndStream) != 0)
                        streams--;
                    position += FrameHeader.Size + header.Length;
                }
            }
            _plane.Loop.Step(2);
        }

        private bool SendBodies()
        {
            bool any = false;
            for (int i = 0; i < _upstream.Peers.Count; i++)
            {
                if (_left[i] == 0 || Sockets.Send(_upstream.Peers[i].Fd, _buffer.AsSpan(0, Math.Min(_buffer.Length, _left[i]))) is not { Ok: true } sent)
                    continue;
                _left[i] -= (int)sent.Value;
                any = true;
            }
            return any;
        }
    }
}
