using System;
using System.Collections.Generic;
using System.Linq;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Net;

public sealed class RelayTests
{
    private sealed class Ended : IRelayHandler
    {
        public Failure? Reason { get; private set; }
        public (long FromA, long FromB, long ToA, long ToB) Bytes { get; private set; }
        public bool FirstWasA { get; private set; }

        public void OnRelayClosed(Relay relay, Failure reason)
        {
            Reason = reason;
            Bytes = (relay.BytesFromA, relay.BytesFromB, relay.BytesToA, relay.BytesToB);
            FirstWasA = relay.FirstClosedWasA;
        }
    }

    private sealed class Pair
    {
        public Pair(TestLoop test, bool splice = true)
        {
            Recorder before = new() { Data = (_, _) => 0 };
            (A, PeerA) = test.ConnectedByTcp(before);
            (B, PeerB) = test.ConnectedByTcp(before);
            test.Step();
            Relay = Relay.Start(A, B, Ended, splice);
        }

        public Connection A { get; }
        public Connection B { get; }
        public TestPeer PeerA { get; }
        public TestPeer PeerB { get; }
        public Ended Ended { get; } = new();
        public Relay Relay { get; }

        public void Dispose()
        {
            PeerA.Dispose();
            PeerB.Dispose();
        }
    }

    private static byte[] Bulk(int seed, int length)
    {
        byte[] bytes = new byte[length];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }

    [Theory]
    [InlineData(true, 1)]
    [InlineData(true, 2)]
    [InlineData(true, 3)]
    [InlineData(false, 4)]
    public void BothWays_EveryByteArrives_HalfCloseIsPassedOn_AndCountsAreExact(bool splice, int seed)
    {
        using TestLoop test = new();
        Pair pair = new(test, splice);
        Random random = new(seed);
        byte[] up = Bulk(seed, 3_000_000 + random.Next(1000));
        byte[] down = Bulk(seed + 100, 2_000_000 + random.Next(1000));
        int sentUp = 0;
        int sentDown = 0;
        bool spliced = false;
        test.Until(() =>
        {
            spliced |= pair.A.SpliceIn is not null;
            // Uneven pieces and uneven readers: trickle, bulk, and stalls on both sides.
            if (sentUp < up.Length)
                sentUp += pair.PeerA.TrySend(up.AsSpan(sentUp, Math.Min(random.Next(1, 100_000), up.Length - sentUp)));
            if (sentDown < down.Length)
                sentDown += pair.PeerB.TrySend(down.AsSpan(sentDown, Math.Min(random.Next(1, 50_000), down.Length - sentDown)));
            if (sentUp == up.Length)
                pair.PeerA.Shutdown();
            if (random.Next(3) > 0)
                pair.PeerB.Receive(random.Next(1, 200_000));
            if (random.Next(3) > 0)
                pair.PeerA.Receive(random.Next(1, 200_000));
            return pair.PeerB.End && sentDown == down.Length;
        });
        Assert.Equal(splice, spliced);
        Assert.True(pair.PeerB.Received.SequenceEqual(up));
        Assert.Null(pair.Ended.Reason); // only one direction has ended
        pair.PeerB.Shutdown();
        test.Until(() =>
        {
            pair.PeerA.Receive();
            return pair.PeerA.End && pair.Ended.Reason is not null;
        });
        Assert.True(pair.PeerA.Received.SequenceEqual(down));
        Assert.Equal(Failure.None, pair.Ended.Reason);
        Assert.Equal((up.Length, down.Length, down.Length, up.Length), pair.Ended.Bytes);
        pair.Dispose();
    }

    [Fact]
    public void WhatWasBufferedAndAnEndAlreadySeen_ComeFirst()
    {
        using TestLoop test = new();
        Recorder before = new() { Data = (_, _) => 0 };
        (Connection a, TestPeer peerA) = test.ConnectedByTcp(before);
        (Connection b, TestPeer peerB) = test.ConnectedByTcp(new Recorder());
        peerA.Send("buffered");
        peerA.Shutdown();
        test.Until(() => before.Events.Contains("end"));
        Ended ended = new();
        Relay.Start(a, b, ended);
        test.Until(() =>
        {
            peerB.Receive();
            return peerB.End;
        });
        Assert.Equal("buffered", peerB.Text);
        peerB.Dispose();
        test.Until(() => ended.Reason is not null);
        Assert.Equal(Failure.None, ended.Reason);
        peerA.Dispose();
    }

    [Fact]
    public void SlowReceiver_StopsTheSender_AndMemoryStaysBounded()
    {
        using TestLoop test = new();
        Pair pair = new(test, splice: false);
        byte[] chunk = new byte[64 * 1024];
        long sent = 0;
        int refused = 0;
        while (refused < 50)
        {
            int n = pair.PeerA.TrySend(chunk);
            sent += n;
            refused = n == 0 ? refused + 1 : 0;
            test.Loop.Turn(1);
            Assert.InRange(pair.B.Output.Length, 0, pair.B.HighWatermark + Connection.ReadBytesPerTurn + test.Loop.Scratch.Length);
        }
        Assert.True(pair.A.IsReadingPaused);
        test.Until(() =>
        {
            pair.PeerB.Receive();
            return pair.PeerB.Received.Count == sent;
        });
        Assert.False(pair.A.IsReadingPaused);
        pair.Relay.Close(Failure.None);
        pair.Dispose();
    }

    [Fact]
    public void ReceiverThatStalls_StillGetsWhatTheClosedSenderSent()
    {
        using TestLoop test = new();
        Pair pair = new(test);
        byte[] bytes = Bulk(9, 8_000_000);
        int sent = 0;
        int refused = 0;
        while (refused < 50 && sent < bytes.Length)
        {
            int n = pair.PeerA.TrySend(bytes.AsSpan(sent, Math.Min(100_000, bytes.Length - sent)));
            sent += n;
            refused = n == 0 ? refused + 1 : 0;
            test.Loop.Turn(1);
        }
        long taken = pair.A.BytesReceived;
        pair.PeerA.Reset();
        test.Until(() => pair.A.IsClosed || pair.PeerB.Receive() > 0 && pair.A.IsClosed);
        test.Until(() =>
        {
            pair.PeerB.Receive();
            return pair.Ended.Reason is not null;
        });
        pair.PeerB.Receive();
        Assert.True(pair.PeerB.Received.Count >= taken);
        Assert.True(pair.PeerB.Received.SequenceEqual(bytes.Take(pair.PeerB.Received.Count)));
        Assert.Equal(Failure.DownstreamDisconnect, pair.Ended.Reason);
        Assert.True(pair.Ended.FirstWasA);
        pair.Dispose();
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void PeersThatBothWriteBeforeTheyRead_AReset_IsNoticed_AndTheOtherIsReadUntilItTakesWhatIsHeld(bool splice)
    {
        using TestLoop test = new();
        Pair pair = new(test, splice);
        byte[] bulk = Bulk(11, 100_000);
        long sentByB = 0;
        int refused = 0;
        while (refused < 50)
        {
            int fromA = pair.PeerA.TrySend(bulk);
            int fromB = pair.PeerB.TrySend(bulk);
            sentByB += fromB;
            refused = fromA + fromB == 0 ? refused + 1 : 0;
            test.Loop.Turn(1);
        }
        long taken = pair.A.BytesReceived;
        pair.PeerA.Reset();
        test.Until(() => pair.A.IsClosed);
        Assert.Null(pair.Ended.Reason);

        // B goes on writing, more than all buffers on the way hold, before it reads.
        test.Until(() =>
        {
            sentByB += pair.PeerB.TrySend(bulk);
            return sentByB >= 32_000_000;
        });
        test.Until(() => pair.B.BytesReceived == sentByB);
        test.Until(() =>
        {
            pair.PeerB.Receive();
            return pair.Ended.Reason is not null;
        });
        pair.PeerB.Receive();
        Assert.Equal(taken, pair.PeerB.Received.Count);
        Assert.Equal(Failure.DownstreamDisconnect, pair.Ended.Reason);
        Assert.True(pair.Ended.FirstWasA);
        pair.Dispose();
    }

    [Fact]
    public void ResetOfOneSide_ClosesTheOther()
    {
        using TestLoop test = new();
        Pair pair = new(test);
        pair.PeerB.Reset();
        test.Until(() => pair.Ended.Reason is not null);
        Assert.False(pair.Ended.FirstWasA);
        pair.PeerA.Receive();
        Assert.True(pair.PeerA.End);
        pair.Dispose();
    }

    [Fact]
    public void Close_EndsBothAtOnce_AndTellsOnce()
    {
        using TestLoop test = new();
        Pair pair = new(test);
        pair.PeerA.Send("x");
        test.Step(2);
        pair.Relay.Close(Failure.StreamIdleTimeout);
        Assert.Equal(Failure.StreamIdleTimeout, pair.Ended.Reason);
        Assert.True(pair.A.IsClosed);
        Assert.True(pair.B.IsClosed);
        pair.Dispose();
    }

    [Fact]
    public void Activity_IsDatedForIdleTimeouts()
    {
        using TestLoop test = new();
        Pair pair = new(test);
        test.Advance(500);
        pair.PeerA.Send("x");
        test.Until(() => pair.PeerB.Read() == "x");
        Assert.Equal(test.Loop.NowMs, pair.Relay.LastActivityMs);
        test.Advance(700);
        Assert.Equal(test.Loop.NowMs - 700, pair.Relay.LastActivityMs);
        pair.Relay.Close(Failure.None);
        pair.Dispose();
    }
}
