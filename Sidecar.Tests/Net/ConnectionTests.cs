using System;
using System.Collections.Generic;
using System.Linq;
using System.Text;
using Sidecar.Linux;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Net;

public sealed class ConnectionTests
{
    private static readonly byte[] Block = [.. Enumerable.Range(0, 200_000).Select(i => (byte)(i * 7 + i / 256))];

    [Fact]
    public void Accepted_IsConnectedThenPresentsData()
    {
        using TestLoop test = new();
        Recorder recorder = new();
        (Connection connection, TestPeer peer) = test.Connected(recorder);
        peer.Send("abc");
        test.Step();
        Assert.Equal("connected, data abc", recorder.Story);
        Assert.Equal(3, connection.BytesReceived);
        Assert.Equal(0, connection.BufferedInput);
        connection.Close(Failure.None);
        Assert.Equal("connected, data abc, closed None", recorder.Story);
        test.Step();
        peer.Receive();
        Assert.True(peer.End);
        peer.Dispose();
    }

    [Fact]
    public void UnconsumedBytes_ComeAgainInOnePieceWithMore_AndNothingIsHeldWhenAllAreConsumed()
    {
        using TestLoop test = new();
        Recorder recorder = new() { Data = (_, data) => data.Length / 4 * 4 };
        (Connection connection, TestPeer peer) = test.Connected(recorder);
        peer.Send("abcde");
        test.Step();
        Assert.Equal(1, connection.BufferedInput);
        peer.Send("fg");
        test.Step();
        Assert.Equal(3, connection.BufferedInput);
        peer.Send("h");
        test.Step();
        Assert.Equal("connected, data abcde, data efg, data efgh", recorder.Story);
        Assert.Equal("abcdefgh", recorder.Text);
        Assert.Equal(0, test.Loop.Slab.RentedCount);
        connection.Close(Failure.None);
        peer.Dispose();
    }

    [Fact]
    public void NewHandler_GetsWhatTheOldOneLeft_AtOnceAndWithTheEnd()
    {
        using TestLoop test = new();
        Recorder chain = new();
        Recorder inspector = new() { Data = (c, _) => { c.Handler = chain; return 0; } };
        (Connection connection, TestPeer peer) = test.Connected(inspector);
        peer.Send("GET /");
        peer.Shutdown();
        test.Step();
        Assert.Equal("connected, data GET /", inspector.Story);
        Assert.Equal("data GET /, end", chain.Story);
        connection.Close(Failure.None);
        peer.Dispose();
    }

    [Fact]
    public void NewHandlerSetLater_GetsBufferedBytesAndAnEndAlreadyDelivered()
    {
        using TestLoop test = new();
        Recorder inspector = new() { Data = (_, _) => 0 };
        (Connection connection, TestPeer peer) = test.Connected(inspector);
        peer.Send("hello");
        peer.Shutdown();
        test.Step();
        Assert.Equal("connected, data hello, end", inspector.Story);
        Recorder chain = new();
        connection.Handler = chain;
        Assert.Empty(chain.Events); // never from inside the setter
        test.Step();
        Assert.Equal("data hello, end", chain.Story);
        connection.Close(Failure.None);
        peer.Dispose();
    }

    [Fact]
    public void WritesOfATurn_AreSentOnceAtItsEnd()
    {
        using TestLoop test = new();
        ScriptedTransport transport = new();
        Recorder recorder = new();
        (Connection connection, TestPeer peer) = test.Connected(recorder, transport);
        test.Step();
        connection.Write("a"u8);
        connection.Write("b"u8);
        Assert.Equal("", transport.Written);
        test.Step();
        Assert.Equal("ab", transport.Written);
        Assert.Equal("connected, flushed", recorder.Story);
        Assert.Equal(2, connection.BytesSent);
        connection.Close(Failure.None);
        test.Step();
        Assert.True(transport.Released);
        peer.Dispose();
    }

    [Fact]
    public void WrittenBeforeConnected_IsSentWhenOpen()
    {
        using TestLoop test = new();
        (Connection connection, TestPeer peer) = test.Connected(new Recorder());
        connection.Write("early"u8);
        test.Step();
        Assert.Equal("early", peer.Read());
        connection.Close(Failure.None);
        peer.Dispose();
    }

    [Fact]
    public void BulkBothWays_ArrivesExactly_ThroughBackpressure()
    {
        using TestLoop test = new();
        Recorder recorder = new();
        (Connection connection, TestPeer peer) = test.ConnectedByTcp(recorder);
        test.Step();
        connection.Write(Block);
        int sent = 0;
        test.Until(() =>
        {
            sent += peer.TrySend(Block.AsSpan(sent, Math.Min(5000, Block.Length - sent)));
            peer.Receive(3000);
            return peer.Received.Count == Block.Length && recorder.Bytes.Count == Block.Length;
        });
        Assert.True(peer.Received.SequenceEqual(Block));
        Assert.True(recorder.Bytes.SequenceEqual(Block));
        Assert.Equal(0, test.Loop.Slab.RentedCount);
        connection.Close(Failure.None);
        peer.Dispose();
    }

    [Fact]
    public void WriteThrough_KeepsOrderBehindQueuedBytes_AndQueuesWhatTheSocketRefuses()
    {
        using TestLoop test = new();
        (Connection connection, TestPeer peer) = test.ConnectedByTcp(new Recorder());
        test.Step();
        byte[] expected = [.. "first"u8, .. Block, .. Block, .. Block, .. "last"u8];
        connection.Write("first"u8);
        for (int i = 0; i < 3; i++)
            connection.WriteThrough(Block);
        connection.WriteThrough("last"u8);
        test.Until(() =>
        {
            peer.Receive();
            return peer.Received.Count == expected.Length;
        });
        Assert.True(peer.Received.SequenceEqual(expected));
        connection.WriteThrough("now"u8);
        Assert.Equal(0, connection.Output.Length);
        connection.Close(Failure.None);
        peer.Dispose();
    }

    [Fact]
    public void Watermarks_TellAboveOnceAndBelowOnce()
    {
        using TestLoop test = new();
        ScriptedTransport transport = new();
        Recorder recorder = new();
        (Connection connection, TestPeer peer) = test.Connected(recorder, transport);
        connection.SetWatermarks(10);
        test.Step();
        transport.LimitWrite(1);
        connection.Write(new byte[12]);
        test.Step();
        Assert.Equal("connected, above", recorder.Story);
        Assert.True(connection.IsAboveHighWatermark);
        connection.Write(new byte[5]);
        test.Step();
        Assert.Equal("connected, above", recorder.Story);
        // The peer reads the real socket: an edge of room. 16 wait; 11 more go, 5 is low.
        transport.LimitWrite(11);
        ForceOutEdge(connection, peer);
        test.Until(() => recorder.Events.Contains("below"));
        Assert.Equal("connected, above, below", recorder.Story);
        connection.Close(Failure.None);
        peer.Dispose();
    }

    // EPOLLOUT edges of a Unix socket come when the peer reads.
    private static void ForceOutEdge(Connection connection, TestPeer peer)
    {
        Assert.True(Sockets.Send(connection.Fd, "x"u8).Ok);
        peer.Receive();
    }

    [Fact]
    public void PausedReading_PresentsNothing_AndResumeGoesOnNextTurn()
    {
        using TestLoop test = new();
        Recorder recorder = new();
        recorder.Data = (c, data) => { c.PauseReading(); return 1; };
        (Connection connection, TestPeer peer) = test.Connected(recorder);
        peer.Send("abc");
        test.Step(3);
        Assert.Equal("connected, data abc", recorder.Story);
        peer.Send("def");
        peer.Shutdown();
        test.Step(3);
        Assert.Equal("connected, data abc", recorder.Story);

        connection.PauseReading();
        recorder.Data = null;
        connection.ResumeReading();
        test.Step(2);
        Assert.Equal("connected, data abc", recorder.Story); // pauses nest
        connection.ResumeReading();
        test.Step(2);
        Assert.Equal("connected, data abc, data bc, data def, end", recorder.Story);
        connection.Close(Failure.None);
        peer.Dispose();
    }

    [Fact]
    public void ProcessBuffered_PresentsWithoutNewBytes()
    {
        using TestLoop test = new();
        bool ready = false;
        Recorder recorder = new() { Data = (_, data) => ready ? data.Length : 0 };
        (Connection connection, TestPeer peer) = test.Connected(recorder);
        peer.Send("abc");
        test.Step();
        ready = true;
        connection.ProcessBuffered();
        test.Step();
        Assert.Equal("connected, data abc, data abc", recorder.Story);
        Assert.Equal("abc", recorder.Text);
        connection.Close(Failure.None);
        peer.Dispose();
    }

    [Fact]
    public void OneBusyConnection_DoesNotStarveAnother()
    {
        using TestLoop test = new();
        // Always something to read: twice what one turn allows.
        ScriptedTransport endless = new();
        string piece = new('x', 1000);
        for (int i = 0; i < 2 * Connection.ReadBytesPerTurn / piece.Length; i++)
            endless.Feed(piece);
        Recorder busy = new();
        Recorder other = new();
        (Connection a, TestPeer peerA) = test.Connected(busy, endless);
        (Connection b, TestPeer peerB) = test.Connected(other);
        peerB.Send("x");
        int readBefore = -1;
        other.Data = (_, data) =>
        {
            readBefore = busy.Bytes.Count;
            return data.Length;
        };
        ScriptedTransport.Edge(peerA);
        test.Step();
        Assert.InRange(readBefore, 0, Connection.ReadBytesPerTurn + piece.Length);
        test.Settle();
        Assert.True(busy.Bytes.Count > Connection.ReadBytesPerTurn + piece.Length);
        a.Close(Failure.None);
        b.Close(Failure.None);
        peerA.Dispose();
        peerB.Dispose();
    }

    [Fact]
    public void PeersFin_IsDeliveredAfterItsData_AndWeMayGoOnWriting()
    {
        using TestLoop test = new();
        Recorder recorder = new();
        (Connection connection, TestPeer peer) = test.ConnectedByTcp(recorder);
        peer.Send("question");
        peer.Shutdown();
        test.Until(() => recorder.Events.Contains("end"));
        Assert.Equal("connected, data question, end", recorder.Story);
        connection.Write("answer"u8);
        connection.ShutdownWrite();
        test.Until(() => recorder.Closed is not null);
        Assert.Equal(Failure.None, recorder.Closed);
        Assert.Equal("answer", peer.Read());
        Assert.True(peer.End);
        peer.Dispose();
    }

    [Fact]
    public void ShutdownWrite_SendsWhatIsQueuedFirst_ThenReadsOn()
    {
        using TestLoop test = new();
        Recorder recorder = new();
        (Connection connection, TestPeer peer) = test.ConnectedByTcp(recorder);
        test.Step();
        connection.Write(Block);
        connection.ShutdownWrite();
        test.Until(() =>
        {
            peer.Receive();
            return peer.End;
        });
        Assert.Equal(Block.Length, peer.Received.Count);
        peer.Send("more");
        test.Until(() => recorder.Text == "more");
        Assert.False(connection.IsClosed);
        peer.Dispose();
        test.Until(() => recorder.Closed is not null);
        Assert.Equal(Failure.None, recorder.Closed);
    }

    [Fact]
    public void CloseAfterFlush_SendsAllThenFinThenWaitsForThePeer_ThrowingAwayWhatItSends()
    {
        using TestLoop test = new();
        Recorder recorder = new();
        (Connection connection, TestPeer peer) = test.ConnectedByTcp(recorder);
        test.Step();
        connection.Write(Block);
        connection.CloseAfterFlush(1000);
        test.Until(() =>
        {
            peer.Receive();
            return peer.End;
        });
        Assert.Equal(Block.Length, peer.Received.Count);
        peer.Send("late");
        test.Step(5);
        Assert.Null(recorder.Closed);
        Assert.DoesNotContain("data late", recorder.Events);
        peer.Shutdown();
        test.Until(() => recorder.Closed is not null);
        Assert.Equal("connected, closed None", recorder.Story);
        Assert.Equal(Errno.None, peer.Error);
        peer.Dispose();
    }

    [Fact]
    public void CloseAfterFlush_PeerThatNeverCloses_IsClosedByTheTimer()
    {
        using TestLoop test = new();
        Recorder recorder = new();
        (Connection connection, TestPeer peer) = test.ConnectedByTcp(recorder);
        test.Step();
        connection.Write("bye"u8);
        connection.CloseAfterFlush(1000);
        test.Until(() => peer.Read() == "bye");
        test.Advance(999);
        Assert.Null(recorder.Closed);
        test.Advance(1);
        Assert.Equal(Failure.None, recorder.Closed);
        peer.Dispose();
    }

    [Fact]
    public void CloseAfterFlush_WithoutDelay_ClosesWhenTheLastByteIsSent()
    {
        using TestLoop test = new();
        Recorder recorder = new();
        (Connection connection, TestPeer peer) = test.Connected(recorder);
        test.Step();
        connection.Write("bye"u8);
        connection.CloseAfterFlush();
        Assert.Null(recorder.Closed);
        test.Step();
        Assert.Equal(Failure.None, recorder.Closed);
        Assert.Equal("bye", peer.Read());
        Assert.True(peer.End);
        peer.Dispose();
    }

    [Theory]
    [InlineData(0, true)]       // closed at once
    [InlineData(1000, false)]   // shut down, and closed when the peer has closed
    public void CloseAfterFlush_LastBytesAndFin_AreOneSegment(int delayMs, bool peerIsDone)
    {
        using TestLoop test = new();
        Recorder recorder = new();
        (Connection connection, TestPeer peer) = test.ConnectedByTcp(recorder);
        test.Step();
        using var handle = new System.Net.Sockets.SafeSocketHandle(peer.Fd, ownsHandle: false);
        using var socket = new System.Net.Sockets.Socket(handle);
        uint before = SegmentsReceived(socket);
        connection.Write("response"u8);
        connection.CloseAfterFlush(delayMs, peerIsDone);
        test.Step();
        Assert.Equal("response", peer.Read());
        Assert.True(peer.End);
        Assert.Equal(before + 1, SegmentsReceived(socket));
        peer.Dispose();
        test.Until(() => recorder.Closed is not null);
        Assert.Equal(Failure.None, recorder.Closed);
    }

    // tcpi_segs_in of struct tcp_info (tcp(7)).
    private static uint SegmentsReceived(System.Net.Sockets.Socket socket)
    {
        const int Tcp = 6, TcpInfo = 11, SegsIn = 140;
        byte[] info = new byte[SegsIn + sizeof(uint)];
        Assert.Equal(info.Length, socket.GetRawSocketOption(Tcp, TcpInfo, info));
        return BitConverter.ToUInt32(info, SegsIn);
    }

    [Fact]
    public void PeersReset_IsADisconnect_AlsoWhilePaused()
    {
        foreach (bool paused in new[] { false, true })
        {
            using TestLoop test = new();
            Recorder recorder = new();
            (Connection connection, TestPeer peer) = test.ConnectedByTcp(recorder);
            test.Step();
            if (paused)
                connection.PauseReading();
            peer.Reset();
            test.Until(() => recorder.Closed is not null);
            Assert.Equal(Failure.DownstreamDisconnect, recorder.Closed);
            Assert.Equal(Errno.ECONNRESET, connection.LastError);
        }
    }

    [Fact]
    public void BytesSentBeforeTheReset_AreStillPresented()
    {
        using TestLoop test = new();
        Recorder recorder = new();
        (Connection connection, TestPeer peer) = test.Connected(recorder);
        test.Step();
        peer.Send("413");
        peer.Dispose();
        connection.WriteThrough(Block); // EPIPE: the peer is gone
        test.Until(() => recorder.Closed is not null);
        Assert.Equal("connected, data 413, closed DownstreamDisconnect", recorder.Story);
    }

    [Fact]
    public void Close_WithReset_SendsARst()
    {
        using TestLoop test = new();
        (Connection connection, TestPeer peer) = test.ConnectedByTcp(new Recorder());
        test.Step();
        connection.Close(Failure.LocalReset, reset: true);
        test.Until(() =>
        {
            peer.Receive();
            return peer.Error == Errno.ECONNRESET;
        });
        peer.Dispose();
    }

    [Fact]
    public void FaultInAHandler_ClosesItsConnectionOnly()
    {
        using TestLoop test = new() { ExpectsFaults = true };
        Recorder bad = new() { Data = (_, _) => throw new InvalidOperationException("broken") };
        Recorder good = new();
        (Connection _, TestPeer peerA) = test.Connected(bad);
        (Connection b, TestPeer peerB) = test.Connected(good);
        peerA.Send("x");
        peerB.Send("y");
        test.Step();
        Assert.Equal(Failure.InternalError, bad.Closed);
        Assert.Equal("y", good.Text);
        Assert.Equal(1, test.Loop.LoopFaults);
        b.Close(Failure.None);
        peerA.Dispose();
        peerB.Dispose();
    }

    [Fact]
    public void ClosedConnection_IsRecycledOnlyAfterTheTurn()
    {
        using TestLoop test = new();
        Recorder second = new();
        TestPeer? peerB = null;
        Connection? next = null;
        Recorder first = new();
        first.Data = (c, data) =>
        {
            c.Close(Failure.None);
            (next, peerB) = test.Connected(second);
            Assert.NotSame(c, next);
            return data.Length;
        };
        (Connection connection, TestPeer peer) = test.Connected(first);
        peer.Send("x");
        test.Step();
        (Connection third, TestPeer peerC) = test.Connected(new Recorder());
        Assert.Same(connection, third);
        Assert.Equal(0, third.BytesReceived);
        next!.Close(Failure.None);
        third.Close(Failure.None);
        foreach (TestPeer? p in new[] { peer, peerB, peerC })
            p!.Dispose();
    }

    [Fact]
    public void Handshake_ComesBeforeConnected_AndMayFailOrTimeOut()
    {
        using TestLoop test = new();
        ScriptedTransport transport = new() { HandshakeSteps = 3 };
        Recorder recorder = new();
        (Connection connection, TestPeer peer) = test.Connected(recorder, transport);
        test.Step();
        Assert.Empty(recorder.Events);
        transport.Feed("early data");
        ScriptedTransport.Edge(peer);
        test.Step();
        Assert.Empty(recorder.Events);
        ScriptedTransport.Edge(peer);
        test.Step();
        Assert.Equal("connected, data early data", recorder.Story);
        connection.Close(Failure.None);

        Recorder failed = new();
        (Connection _, TestPeer peerB) = test.Connected(failed, new ScriptedTransport { HandshakeFails = true });
        test.Step();
        Assert.Equal("closed DownstreamDisconnect", failed.Story);

        Recorder slow = new();
        Assert.True(Sockets.OpenPair(out int one, out int other).Ok);
        Connection.Open(test, one, default, new ScriptedTransport { HandshakeSteps = 9 }, slow, openTimeoutMs: 50);
        test.Step();
        test.Advance(50);
        Assert.Equal("closed DownstreamDisconnect", slow.Story);
        peer.Dispose();
        peerB.Dispose();
        Sockets.Close(other);
    }

    [Fact]
    public void ChangeTransport_HandsOverWhatWasReadAlready_AndConnectsAgain()
    {
        using TestLoop test = new();
        ScriptedTransport tls = new() { HandshakeSteps = 1 };
        Recorder chain = new();
        Recorder inspector = new()
        {
            Data = (c, data) =>
            {
                if (data.Length < 5)
                    return 0; // peeks until it has seen enough
                c.Handler = chain;
                c.ChangeTransport(tls);
                return 0;
            },
        };
        (Connection connection, TestPeer peer) = test.Connected(inspector);
        peer.Send("hel");
        test.Step();
        tls.Feed("plain");
        peer.Send("lo");
        test.Step(2);
        Assert.Equal("hello", tls.Preloaded);
        Assert.Equal(0, connection.BufferedInput);
        Assert.Equal("connected, data plain", chain.Story);
        connection.Close(Failure.None);
        peer.Dispose();
    }

    [Fact]
    public void HalfDrainedTransport_IsReadUntilItHasNoMore()
    {
        using TestLoop test = new();
        ScriptedTransport transport = new();
        Recorder recorder = new();
        (Connection connection, TestPeer peer) = test.Connected(recorder, transport);
        transport.Feed("a");
        transport.Feed("b");
        ScriptedTransport.Edge(peer);
        test.Step();
        Assert.Equal("connected, data a, data b", recorder.Story);
        connection.Close(Failure.None);
        peer.Dispose();
    }

    [Fact]
    public void HandlerThatWaitsWithoutPausing_IsBoundedByTheInputLimit()
    {
        using TestLoop test = new();
        bool accept = false;
        int most = 0;
        Recorder recorder = new() { Data = (_, data) => accept ? data.Length : 0 };
        (Connection connection, TestPeer peer) = test.Connected(recorder);
        byte[] chunk = new byte[32 * 1024];
        long sent = 0;
        for (int i = 0; i < 200; i++)
        {
            sent += Math.Max(0, peer.TrySend(chunk));
            test.Settle();
            most = Math.Max(most, connection.BufferedInput);
            recorder.Events.Clear();
        }
        Assert.InRange(most, Connection.InputBytesMax, Connection.InputBytesMax * 2);
        accept = true;
        connection.ProcessBuffered();
        test.Settle();
        Assert.Equal(sent, recorder.Bytes.Count);
        connection.Close(Failure.None);
        peer.Dispose();
    }

    [Fact]
    public void SteadyState_ExchangesAllocateNothing()
    {
        using TestLoop test = new();
        Echo echo = new();
        (Connection connection, TestPeer peer) = test.ConnectedByTcp(echo);
        byte[] buffer = new byte[64];
        void Exchange(int times)
        {
            for (int i = 0; i < times; i++)
            {
                Sockets.Send(peer.Fd, "ping"u8);
                int got = 0;
                while (got < 4)
                {
                    test.Loop.Turn(0);
                    SysResult read = Sockets.Receive(peer.Fd, buffer);
                    got += read.Ok ? (int)read.Value : 0;
                }
            }
        }
        Exchange(200);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Exchange(1000);
        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
        connection.Close(Failure.None);
        peer.Dispose();
    }

    private sealed class Echo : ConnectionHandler
    {
        internal override int OnData(Connection connection, ReadOnlySpan<byte> data)
        {
            connection.Write(data);
            return data.Length;
        }

        internal override void OnEndOfStream(Connection connection) => connection.CloseAfterFlush();

        internal override void OnClosed(Connection connection, Failure reason)
        {
        }
    }
}
