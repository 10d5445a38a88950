using System;
using System.Diagnostics;
using Sidecar.Linux;
using Sidecar.Loop;
using Sidecar.Memory;
using Sidecar.Net;
using Xunit;

namespace Sidecar.Tests.Harness;

/// <summary>
/// An event loop that the test turns by hand, with a clock that stands still until told. Sockets are real and of this
/// machine; a turn never sleeps unless <see cref="Until"/> waits for the kernel. Disposing checks that no handler threw and that
/// no block of the slab is missing.
/// </summary>
internal sealed class TestLoop : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    public TestLoop(int blockSize = Slab.DefaultBlockSize)
    {
        Clock = new ManualClock();
        Loop = new EventLoop("test", Clock, new Slab(blockSize))
        {
            FirstFault = (_, exception) => FirstFault = exception,
        };
    }

    public ManualClock Clock { get; }
    public EventLoop Loop { get; }

    /// <summary>The first exception that left a handler.</summary>
    public Exception? FirstFault { get; private set; }

    /// <summary>Set by a test that provokes faults.</summary>
    public bool ExpectsFaults { get; set; }

    /// <summary>Set by a test that leaves connections open on purpose.</summary>
    public bool ExpectsOpenConnections { get; set; }

    public static implicit operator EventLoop(TestLoop test) => test.Loop;

    /// <summary>Turns that do not wait.</summary>
    public void Step(int turns = 1)
    {
        for (int i = 0; i < turns; i++)
            Loop.Turn(0);
    }

    /// <summary>Turns until nothing is pending any more: bounded, for loops that never calm down.</summary>
    public void Settle()
    {
        for (int i = 0; i < 1000; i++)
        {
            Loop.Turn(0);
            if (!Loop.HasPending)
                return;
        }
        Assert.Fail("the loop does not settle");
    }

    /// <summary>Moves the clock and turns once: what is due fires.</summary>
    public void Advance(long ms)
    {
        Clock.Advance(ms);
        Loop.Turn(0);
    }

    /// <summary>Turns until <paramref name="condition"/> holds, waiting for the kernel in between; fails after long.</summary>
    public void Until(Func<bool> condition)
    {
        long start = Stopwatch.GetTimestamp();
        while (!condition())
        {
            Loop.Turn(20);
            if (Stopwatch.GetElapsedTime(start) > Patience)
                Assert.Fail($"waited in vain; first fault: {FirstFault}");
        }
    }

    /// <summary>A connection whose other end the test holds: a Unix socket pair.</summary>
    public (Connection Connection, TestPeer Peer) Connected(ConnectionHandler handler, Transport? transport = null)
    {
        Assert.True(Sockets.OpenPair(out int one, out int other).Ok);
        Connection? connection = Connection.Open(Loop, one, Address.Loopback(1), transport ?? RawTransport.Instance, handler);
        Assert.NotNull(connection);
        return (connection, new TestPeer(other));
    }

    /// <summary>As <see cref="Connected"/>, but TCP over loopback.</summary>
    public (Connection Connection, TestPeer Peer) ConnectedByTcp(ConnectionHandler handler)
    {
        (int server, TestPeer peer) = TestPeer.TcpPair();
        Connection? connection = Connection.Open(Loop, server, Address.Loopback(1), RawTransport.Instance, handler);
        Assert.NotNull(connection);
        return (connection, peer);
    }

    public void Dispose()
    {
        Settle();
        if (!ExpectsFaults)
            Assert.True(Loop.LoopFaults == 0, $"a handler threw: {FirstFault}");
        if (!ExpectsOpenConnections && Loop.HandlerCount == 0)
            Assert.Equal(0, Loop.Slab.RentedCount);
        Loop.Dispose();
    }
}
