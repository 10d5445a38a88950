using System.Collections.Generic;
using System.Linq;
using System.Threading;
using Sidecar.Loop;
using Xunit;

namespace Sidecar.Tests.Loop;

public sealed class MailboxTests
{
    private sealed class Note(int sender, int number) : LoopMessage
    {
        public int Sender { get; } = sender;
        public int Number { get; } = number;

        public override void Deliver(EventLoop loop)
        {
        }
    }

    [Fact]
    public void Take_AnswersInTheOrderOfPosting()
    {
        Mailbox mailbox = new();
        Assert.True(mailbox.Post(new Note(0, 0)));
        Assert.False(mailbox.Post(new Note(0, 1)));
        Assert.Equal(0, ((Note)mailbox.Take()!).Number);
        Assert.True(mailbox.Post(new Note(0, 2)));
        Assert.Equal(1, ((Note)mailbox.Take()!).Number);
        Assert.Equal(2, ((Note)mailbox.Take()!).Number);
        Assert.Null(mailbox.Take());
        Assert.True(mailbox.IsEmpty);
    }

    [Fact]
    public void ManySenders_NothingLost_EachSendersOrderKept()
    {
        const int Senders = 4;
        const int Each = 20_000;
        List<Note> got = [];
        using EventLoop loop = new("mail", SystemClock.Instance);
        using Barrier start = new(Senders + 1);
        Thread[] threads = [.. Enumerable.Range(0, Senders).Select(sender => new Thread(() =>
        {
            start.SignalAndWait();
            for (int i = 0; i < Each; i++)
            {
                Note note = new(sender, i);
                loop.Post(() => got.Add(note));
            }
        }))];
        foreach (Thread thread in threads)
            thread.Start();
        start.SignalAndWait();
        // Sleeps in epoll between the posts: a lost wake-up would hang here.
        while (got.Count < Senders * Each)
            loop.Turn(long.MaxValue);
        foreach (Thread thread in threads)
            thread.Join();
        for (int sender = 0; sender < Senders; sender++)
            Assert.Equal(Enumerable.Range(0, Each), got.Where(n => n.Sender == sender).Select(n => n.Number));
    }

    [Fact]
    public void Run_SleepingLoop_IsWokenByPostAndByRequestStop()
    {
        using EventLoop loop = new("sleeper", SystemClock.Instance);
        using ManualResetEventSlim delivered = new();
        Thread worker = new(loop.Run);
        worker.Start();
        bool current = false;
        loop.Post(() =>
        {
            current = loop.IsCurrent;
            delivered.Set();
        });
        delivered.Wait();
        Assert.True(current);
        Assert.False(loop.IsCurrent);
        loop.RequestStop();
        worker.Join();
    }
}
