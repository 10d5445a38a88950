using System;
using System.Collections.Generic;
using Sidecar.Linux;
using Sidecar.Loop;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Loop;

public sealed class EventLoopTests
{
    private sealed class Probe(Action<EpollEvents> ready) : LoopHandler
    {
        public bool Faulted { get; private set; }

        public override void OnReady(EpollEvents events) => ready(events);

        public override void OnFault() => Faulted = true;
    }

    private sealed class Worker(Action<LoopWork> work) : IWorkOwner
    {
        public void OnWork(LoopWork ticket) => work(ticket);
    }

    private sealed class Alarm(Action<LoopTimer> fire) : ITimerOwner
    {
        public void OnTimer(LoopTimer timer) => fire(timer);
    }

    private sealed class Releasable(Action release) : IReleasable
    {
        public void OnRelease() => release();
    }

    private static (int Ours, TestPeer Peer) Pair()
    {
        Assert.True(Sockets.OpenPair(out int one, out int other).Ok);
        return (one, new TestPeer(other));
    }

    [Fact]
    public void Register_OneAdd_GivesBothDirectionsAndThePeersEnd()
    {
        using TestLoop test = new();
        (int fd, TestPeer peer) = Pair();
        List<EpollEvents> seen = [];
        Probe probe = new(seen.Add);
        Assert.True(test.Loop.Register(fd, probe, EpollEvents.Connection).Ok);
        test.Step();
        Assert.Equal([EpollEvents.Out], seen);
        test.Step();
        Assert.Single(seen); // an edge, not a level
        peer.Send("x");
        test.Step();
        Assert.True((seen[1] & EpollEvents.In) != 0);
        peer.Shutdown();
        test.Step();
        Assert.True((seen[2] & EpollEvents.ReadHangUp) != 0);
        test.Loop.Unregister(fd, probe);
        peer.Dispose();
        test.Step();
        Assert.Equal(3, seen.Count);
        Sockets.Close(fd);
    }

    [Fact]
    public void EventOfAHandlerClosedEarlierInTheTurn_FindsNobody_EvenWhenItsSlotIsTaken()
    {
        using TestLoop test = new();
        (int fdA, TestPeer peerA) = Pair();
        (int fdB, TestPeer peerB) = Pair();
        (int fdC, TestPeer peerC) = Pair();
        int newcomer = 0;
        int survivors = 0;
        Probe? a = null, b = null;
        Probe c = new(_ => newcomer++);
        void CloseOther(Probe other, int fd)
        {
            survivors++;
            test.Loop.Unregister(fd, other, closing: true);
            Sockets.Close(fd);
            // Takes the slot just freed; the stale event of this turn names that slot.
            Assert.True(test.Loop.Register(fdC, c, EpollEvents.In | EpollEvents.EdgeTriggered).Ok);
        }
        a = new Probe(_ => CloseOther(b!, fdB));
        b = new Probe(_ => CloseOther(a!, fdA));
        Assert.True(test.Loop.Register(fdA, a, EpollEvents.In | EpollEvents.EdgeTriggered).Ok);
        Assert.True(test.Loop.Register(fdB, b, EpollEvents.In | EpollEvents.EdgeTriggered).Ok);
        peerA.Send("x");
        peerB.Send("x");
        test.Step();
        Assert.Equal(1, survivors);
        Assert.Equal(0, newcomer);
        foreach (TestPeer peer in new[] { peerA, peerB, peerC })
            peer.Dispose();
        Sockets.Close(fdC);
        Sockets.Close(a.IsRegistered ? fdA : fdB);
        test.ExpectsOpenConnections = true;
    }

    [Fact]
    public void ExceptionThatCannotBeTold_IsCounted_AndTheLoopLives()
    {
        using TestLoop test = new() { ExpectsFaults = true };
        test.Loop.FirstFault = static (_, _) => throw new OutOfMemoryException();
        bool ran = false;
        test.Loop.Post(() => throw new InvalidOperationException("untold"));
        test.Loop.Post(() => ran = true);
        test.Step();
        Assert.Equal(1, test.Loop.LoopFaults);
        Assert.True(ran);
    }

    [Fact]
    public void ExceptionOutOfAnyCallback_IsCounted_ToldOnce_AndFaultsItsOwnerOnly()
    {
        using TestLoop test = new() { ExpectsFaults = true };
        (int fd, TestPeer peer) = Pair();
        Probe bad = new(_ => throw new InvalidOperationException("first"));
        test.Loop.Register(fd, bad, EpollEvents.Connection);
        test.Loop.RunNextTurn(new LoopWork(new Worker(_ => throw new InvalidOperationException("second"))));
        test.Loop.RunAtTurnEnd(new LoopWork(new Worker(_ => throw new InvalidOperationException("third"))));
        test.Loop.Post(() => throw new InvalidOperationException("fourth"));
        test.Loop.Schedule(new LoopTimer(new Alarm(_ => throw new InvalidOperationException("fifth"))), 0);
        test.Loop.Release(new Releasable(() => throw new InvalidOperationException("sixth")));
        bool alive = false;
        test.Loop.Schedule(new LoopTimer(new Alarm(_ => alive = true)), 1);
        test.Advance(5);
        Assert.Equal(6, test.Loop.LoopFaults);
        Assert.Equal("first", test.FirstFault!.Message);
        Assert.True(bad.Faulted);
        Assert.True(alive);
        test.Loop.Unregister(fd, bad, closing: true);
        Sockets.Close(fd);
        peer.Dispose();
    }

    [Fact]
    public void Turn_RunsItsPhasesInOrder()
    {
        using TestLoop test = new();
        (int fd, TestPeer peer) = Pair();
        List<string> order = [];
        Probe? probe = null;
        LoopWork end = new(new Worker(_ => order.Add("flush")));
        probe = new Probe(_ =>
        {
            order.Add("event");
            test.Loop.RunAtTurnEnd(end);
            test.Loop.RunAtTurnEnd(end); // once
            test.Loop.Release(new Releasable(() => order.Add("release")));
        });
        test.Loop.Register(fd, probe, EpollEvents.Connection);
        test.Loop.RunNextTurn(new LoopWork(new Worker(_ => order.Add("pending"))));
        test.Loop.Post(() => order.Add("mail"));
        test.Loop.Schedule(new LoopTimer(new Alarm(_ => order.Add("timer"))), 1);
        test.Advance(1);
        Assert.Equal(["event", "pending", "mail", "timer", "flush", "release"], order);
        test.Loop.Unregister(fd, probe, closing: true);
        Sockets.Close(fd);
        peer.Dispose();
    }

    [Fact]
    public void AfterEvent_ComesBetweenTheEventsOfATurn_WorkBeforeRecycling()
    {
        using TestLoop test = new();
        List<string> order = [];
        var pairs = new (int Fd, TestPeer Peer, Probe Probe)[2];
        LoopWork end = new(new Worker(_ => order.Add("flush")));
        for (int i = 0; i < pairs.Length; i++)
        {
            LoopWork second = new(new Worker(_ => order.Add("second work")));
            LoopWork first = new(new Worker(_ =>
            {
                order.Add("work");
                test.Loop.RunAfterEvent(second);
            }));
            (int fd, TestPeer peer) = Pair();
            Probe probe = new(_ =>
            {
                test.Loop.RunAtTurnEnd(end);
                test.Loop.RecycleAfterEvent(new Releasable(() => order.Add("recycled")));
                test.Loop.RunAfterEvent(first);
                test.Loop.RunAfterEvent(first); // once
                order.Add("event");
            });
            pairs[i] = (fd, peer, probe);
            test.Loop.Register(fd, probe, EpollEvents.Connection);
        }
        test.Step();
        string[] one = ["event", "work", "second work", "recycled"];
        Assert.Equal([.. one, .. one, "flush"], order);
        foreach (var (fd, peer, probe) in pairs)
        {
            test.Loop.Unregister(fd, probe, closing: true);
            Sockets.Close(fd);
            peer.Dispose();
        }
    }

    [Fact]
    public void AfterEvent_FollowsMessagesTimersAndWork_Too()
    {
        using TestLoop test = new();
        List<string> order = [];
        Releasable Recycled(string of) => new(() => order.Add(of));
        test.Loop.RunNextTurn(new LoopWork(new Worker(_ => test.Loop.RecycleAfterEvent(Recycled("pending")))));
        test.Loop.RunNextTurn(new LoopWork(new Worker(_ => order.Add("second"))));
        test.Loop.Post(() => test.Loop.RecycleAfterEvent(Recycled("mail")));
        test.Loop.Post(() => order.Add("second mail"));
        test.Loop.Schedule(new LoopTimer(new Alarm(_ => test.Loop.RecycleAfterEvent(Recycled("timer")))), 1);
        test.Loop.RunAtTurnEnd(new LoopWork(new Worker(_ => test.Loop.RecycleAfterEvent(Recycled("flush")))));
        test.Loop.RunAtTurnEnd(new LoopWork(new Worker(_ => order.Add("second flush"))));
        test.Advance(1);
        Assert.Equal(["pending", "second", "mail", "second mail", "timer", "flush", "second flush"], order);
    }

    [Fact]
    public void WorkThatQueuesItself_GetsABoundedShareOfATurn()
    {
        using TestLoop test = new();
        int pending = 0;
        int flushes = 0;
        bool stop = false;
        LoopWork next = new(new Worker(ticket =>
        {
            pending++;
            if (!stop)
                test.Loop.RunNextTurn(ticket);
        }));
        LoopWork end = new(new Worker(ticket =>
        {
            flushes++;
            if (!stop)
                test.Loop.RunAtTurnEnd(ticket);
        }));
        int after = 0;
        LoopWork afterEvent = new(new Worker(ticket =>
        {
            after++;
            if (!stop)
                test.Loop.RunAfterEvent(ticket);
        }));
        test.Loop.RunNextTurn(next);
        test.Loop.RunAtTurnEnd(end);
        test.Loop.Post(() => test.Loop.RunAfterEvent(afterEvent));
        test.Step();
        Assert.Equal(1, pending);
        Assert.InRange(flushes, 1, 8);
        Assert.InRange(after, 1, 8 * 10);
        Assert.True(test.Loop.HasPending);
        test.Step();
        Assert.Equal(2, pending);
        stop = true;
        test.Settle();
    }

    [Fact]
    public void CancelledWork_DoesNotRun()
    {
        using TestLoop test = new();
        LoopWork work = new(new Worker(_ => Assert.Fail("ran")));
        test.Loop.RunNextTurn(work);
        test.Loop.Cancel(work);
        Assert.False(work.IsQueued);
        test.Loop.RunAtTurnEnd(work);
        test.Loop.Cancel(work);
        test.Loop.RunAfterEvent(work);
        test.Loop.Cancel(work);
        test.Step();
    }

    [Fact]
    public void Clock_IsReadOncePerTurn()
    {
        using TestLoop test = new();
        long before = test.Loop.NowMs;
        test.Clock.Advance(10);
        Assert.Equal(before, test.Loop.NowMs);
        test.Step();
        Assert.Equal(before + 10, test.Loop.NowMs);
        Assert.Equal(test.Clock.UnixMs, test.Loop.UnixMs);
    }

    [Fact]
    public void LongestTurn_IsMeasuredByTheLoopsClock_AndResets()
    {
        using TestLoop test = new();
        test.Loop.Post(() => test.Clock.Advance(7));
        test.Step();
        Assert.Equal(7000, test.Loop.TakeLongestTurnUs());
        Assert.Equal(0, test.Loop.TakeLongestTurnUs());
    }

    [Fact]
    public void LoopLocal_IsOnePerLoop()
    {
        using TestLoop one = new();
        using TestLoop other = new();
        LoopLocal<object> local = new(_ => new object());
        Assert.Same(local[one], local[one]);
        Assert.NotSame(local[one], local[other]);
    }

    [Fact]
    public void ManyHandlers_TableGrowsAndSlotsAreReused()
    {
        using TestLoop test = new();
        List<(int Fd, Probe Probe, TestPeer Peer)> all = [];
        int ready = 0;
        for (int i = 0; i < 200; i++)
        {
            (int fd, TestPeer peer) = Pair();
            Probe probe = new(_ => ready++);
            Assert.True(test.Loop.Register(fd, probe, EpollEvents.Connection).Ok);
            all.Add((fd, probe, peer));
        }
        test.Step();
        Assert.Equal(200, ready);
        Assert.Equal(200, test.Loop.HandlerCount);
        foreach ((int fd, Probe probe, TestPeer peer) in all)
        {
            test.Loop.Unregister(fd, probe, closing: true);
            Sockets.Close(fd);
            peer.Dispose();
        }
        Assert.Equal(0, test.Loop.HandlerCount);
    }
}
