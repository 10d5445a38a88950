using System;
using System.Collections.Generic;
using System.Text;
using Sidecar.Linux;
using Sidecar.Net;
using Xunit;

namespace Sidecar.Tests.Harness;

/// <summary>The far end of a connection under test: a non-blocking socket the test writes and reads by hand.</summary>
internal sealed class TestPeer(int fd) : IDisposable
{
    private readonly List<byte> _received = [];

    public int Fd { get; private set; } = fd;

    /// <summary>A FIN was read.</summary>
    public bool End { get; private set; }

    /// <summary>A RST, or another error, was read.</summary>
    public Errno Error { get; private set; }

    /// <summary>All bytes read so far.</summary>
    public IReadOnlyList<byte> Received => _received;

    public string Text => Encoding.Latin1.GetString(_received.ToArray());

    /// <summary>Two ends of one TCP connection over loopback: the accepted descriptor, and the peer that connected.</summary>
    public static (int Accepted, TestPeer Peer) TcpPair()
    {
        SysResult listener = ListenSocket.Bind(new ListenOptions { Address = Address.Loopback(0) }, out string step);
        Assert.True(listener.Ok, step);
        Assert.True(Sockets.LocalAddress(listener.Fd, out SocketAddress bound).Ok);
        TestPeer peer = Connect(Address.From(bound));
        SysResult accepted = Sockets.Accept(listener.Fd, out _);
        Assert.True(accepted.Ok);
        Sockets.Close(listener.Fd);
        return (accepted.Fd, peer);
    }

    /// <summary>A TCP connection to a listener on loopback: complete at once, whether accepted yet or not.</summary>
    public static TestPeer Connect(Address to)
    {
        SysResult made = Sockets.OpenStream(to.Family);
        Assert.True(made.Ok);
        SysResult connected = Sockets.Connect(made.Fd, to.ToSocketAddress());
        Assert.True(connected.Ok || connected.Error == Errno.EINPROGRESS, connected.ToString());
        return new TestPeer(made.Fd);
    }

    /// <summary>Sends all of it; the test must not exceed the socket's buffer.</summary>
    public void Send(ReadOnlySpan<byte> bytes) => Assert.Equal(bytes.Length, TrySend(bytes));

    public void Send(string text) => Send(Encoding.Latin1.GetBytes(text));

    /// <summary>Sends what fits.</summary>
    public int TrySend(ReadOnlySpan<byte> bytes)
    {
        SysResult sent = Sockets.Send(Fd, bytes);
        return sent.Ok ? (int)sent.Value : sent.WouldBlock ? 0 : -1;
    }

    /// <summary>Reads what is there, at most <paramref name="max"/> bytes.</summary>
    public int Receive(int max = int.MaxValue)
    {
        byte[] buffer = new byte[64 * 1024];
        int total = 0;
        while (total < max && !End && Error == Errno.None)
        {
            SysResult got = Sockets.Receive(Fd, buffer.AsSpan(0, Math.Min(buffer.Length, max - total)));
            if (!got.Ok)
            {
                if (!got.WouldBlock)
                    Error = got.Error;
                break;
            }
            End = got.Value == 0;
            _received.AddRange(buffer.AsSpan(0, (int)got.Value));
            total += (int)got.Value;
        }
        return total;
    }

    /// <summary>Reads what is there and answers everything received so far.</summary>
    public string Read()
    {
        Receive();
        return Text;
    }

    /// <summary>Sends a FIN.</summary>
    public void Shutdown() => Sockets.Shutdown(Fd, ShutdownHow.Write);

    /// <summary>Closes with a RST.</summary>
    public void Reset()
    {
        Sockets.SetLingerReset(Fd);
        Dispose();
    }

    public void Dispose()
    {
        if (Fd >= 0)
            Sockets.Close(Fd);
        Fd = -1;
    }
}
