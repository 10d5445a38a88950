using System.Collections.Generic;
using System.IO;
using Sidecar.Linux;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Net;

public sealed class ListenSocketTests
{
    private sealed class Acceptor : IAcceptHandler
    {
        public List<(int Fd, Address Peer)> Accepted { get; } = [];
        public int Overflows { get; private set; }
        public List<Errno> Failures { get; } = [];

        public void OnAccepted(ListenSocket socket, int fd, in Address peer) => Accepted.Add((fd, peer));

        public void OnAcceptOverflow(ListenSocket socket) => Overflows++;

        public void OnAcceptFailed(ListenSocket socket, Errno error) => Failures.Add(error);

        public void CloseAll()
        {
            foreach ((int fd, _) in Accepted)
                Sockets.Close(fd);
        }
    }

    private static ListenSocket Listen(TestLoop test, Acceptor acceptor, ListenOptions? options = null, ConnectionLimit? limit = null)
    {
        options ??= new ListenOptions { Address = Address.Loopback(0) };
        SysResult bound = ListenSocket.Bind(options, out string step);
        Assert.True(bound.Ok, $"{step}: {bound}");
        return new ListenSocket(test, bound.Fd, options, acceptor, limit);
    }

    [Theory]
    [InlineData("127.0.0.1:0")]
    [InlineData("[::1]:0")]
    public void Accepts_AndSaysWhoCalls(string address)
    {
        using TestLoop test = new();
        Acceptor acceptor = new();
        Assert.True(Address.TryParse(address, out Address listen));
        ListenSocket socket = Listen(test, acceptor, new ListenOptions { Address = listen });
        Assert.NotEqual(0, socket.Address.Port);
        using TestPeer peer = TestPeer.Connect(socket.Address);
        test.Until(() => acceptor.Accepted.Count == 1);
        Sockets.LocalAddress(peer.Fd, out SocketAddress local);
        Assert.Equal(Address.From(local), acceptor.Accepted[0].Peer);
        Assert.True(Sockets.Get(acceptor.Accepted[0].Fd, SocketOption.NoDelay).Value != 0); // inherited
        socket.Close();
        acceptor.CloseAll();
    }

    [Fact]
    public void WildcardOfBothFamilies_SeesIPv4AsIPv4()
    {
        using TestLoop test = new();
        Acceptor acceptor = new();
        ListenSocket socket = Listen(test, acceptor, new ListenOptions { Address = Address.IPv6(0, 0, 0), IPv4Compatible = true });
        using TestPeer peer = TestPeer.Connect(Address.Loopback(socket.Address.Port));
        test.Until(() => acceptor.Accepted.Count == 1);
        Assert.Equal("127.0.0.1", acceptor.Accepted[0].Peer.HostString());
        socket.Close();
        acceptor.CloseAll();
    }

    [Fact]
    public void UnixSocket_ReplacesAStalePath()
    {
        using TestLoop test = new();
        Acceptor acceptor = new();
        string path = Path.Combine(Path.GetTempPath(), $"listen-{System.Environment.ProcessId}.sock");
        File.WriteAllText(path, "");
        ListenSocket socket = Listen(test, acceptor, new ListenOptions { Address = Address.Pipe(path), ReusePort = false, PipeMode = 0x180 });
        using TestPeer peer = TestPeer.Connect(Address.Pipe(path));
        test.Until(() => acceptor.Accepted.Count == 1);
        socket.Close();
        acceptor.CloseAll();
        File.Delete(path);
    }

    [Fact]
    public void Burst_IsTakenInShares_NoneLeftBehind()
    {
        using TestLoop test = new();
        Acceptor acceptor = new();
        ListenSocket socket = Listen(test, acceptor, new ListenOptions { Address = Address.Loopback(0), AcceptsPerEvent = 4 });
        List<TestPeer> peers = [];
        for (int i = 0; i < 18; i++)
            peers.Add(TestPeer.Connect(socket.Address));
        int most = 0;
        test.Until(() =>
        {
            int before = acceptor.Accepted.Count;
            test.Step();
            most = System.Math.Max(most, acceptor.Accepted.Count - before);
            return acceptor.Accepted.Count == 18;
        });
        Assert.InRange(most, 1, 8); // at most one event and one continuation in a turn
        socket.Close();
        acceptor.CloseAll();
        peers.ForEach(peer => peer.Dispose());
    }

    [Fact]
    public void Close_AcceptsWhatIsQueuedFirst()
    {
        using TestLoop test = new();
        Acceptor acceptor = new();
        ListenSocket socket = Listen(test, acceptor);
        test.Step();
        using TestPeer one = TestPeer.Connect(socket.Address);
        using TestPeer two = TestPeer.Connect(socket.Address);
        one.Send("x");
        socket.Close();
        Assert.Equal(2, acceptor.Accepted.Count);
        acceptor.CloseAll();
    }

    [Fact]
    public void OverTheLimit_IsClosedAtOnce_AndAPlaceGivenBackIsUsedAgain()
    {
        using TestLoop test = new();
        Acceptor acceptor = new();
        ConnectionLimit limit = new(1);
        ListenSocket socket = Listen(test, acceptor, limit: limit);
        using TestPeer one = TestPeer.Connect(socket.Address);
        test.Until(() => acceptor.Accepted.Count == 1);
        using TestPeer two = TestPeer.Connect(socket.Address);
        test.Until(() => acceptor.Overflows == 1);
        test.Until(() =>
        {
            two.Receive();
            return two.End || two.Error != Errno.None;
        });
        Connection? connection = Connection.Open(test, acceptor.Accepted[0].Fd, default, RawTransport.Instance, new Recorder());
        connection!.Limit = limit;
        connection.Close(Failure.None);
        Assert.Equal(0, limit.Active);
        using TestPeer three = TestPeer.Connect(socket.Address);
        test.Until(() => acceptor.Accepted.Count == 2);
        Sockets.Close(acceptor.Accepted[1].Fd);
        socket.Close();
    }

    [Fact]
    public void Paused_LeavesConnectionsQueued_ResumeTakesThem()
    {
        using TestLoop test = new();
        Acceptor acceptor = new();
        ListenSocket socket = Listen(test, acceptor);
        test.Step();
        socket.Pause();
        using TestPeer peer = TestPeer.Connect(socket.Address);
        test.Step(5);
        Assert.Empty(acceptor.Accepted);
        socket.Resume();
        test.Until(() => acceptor.Accepted.Count == 1);
        socket.Close();
        acceptor.CloseAll();
    }

    [Fact]
    public void AcceptError_IsToldAndTriedAgainAfterAPause()
    {
        using TestLoop test = new();
        Acceptor acceptor = new();
        // A socket that does not listen answers EINVAL, which is handled as the lack of descriptors is.
        SysResult plain = Sockets.OpenStream(AddressFamily.IPv4);
        ListenSocket socket = new(test, plain.Fd, new ListenOptions { Address = Address.Loopback(1) }, acceptor);
        test.Step(3);
        Assert.Equal([Errno.EINVAL], acceptor.Failures);
        Assert.True(Sockets.Bind(plain.Fd, Address.Loopback(0).ToSocketAddress()).Ok);
        Assert.True(Sockets.Listen(plain.Fd, 5).Ok);
        Sockets.LocalAddress(plain.Fd, out SocketAddress bound);
        using TestPeer peer = TestPeer.Connect(Address.From(bound));
        test.Step(3);
        Assert.Empty(acceptor.Accepted);
        test.Advance(ListenSocket.RetryMs);
        Assert.Single(acceptor.Accepted);
        socket.Close();
        acceptor.CloseAll();
    }

    [Fact]
    public void SteadyState_AcceptingAndClosingAllocatesNothing()
    {
        using TestLoop test = new();
        Opener opener = new(test);
        ListenOptions options = new() { Address = Address.Loopback(0) };
        ListenSocket socket = new(test, ListenSocket.Bind(options, out _).Fd, options, opener, new ConnectionLimit(10));
        SocketAddress to = socket.Address.ToSocketAddress();
        void Accept(int times)
        {
            for (int i = 0; i < times; i++)
            {
                int fd = Sockets.OpenStream(AddressFamily.IPv4).Fd;
                Sockets.Connect(fd, to);
                int seen = opener.Closed;
                Sockets.Send(fd, "x"u8);
                while (opener.Closed == seen)
                    test.Loop.Turn(0);
                Sockets.Close(fd);
            }
        }
        Accept(100);
        long before = System.GC.GetAllocatedBytesForCurrentThread();
        Accept(500);
        Assert.Equal(before, System.GC.GetAllocatedBytesForCurrentThread());
        Assert.Equal(0, socket.Limit!.Active);
        socket.Close();
    }

    private sealed class Opener(TestLoop test) : ConnectionHandler, IAcceptHandler
    {
        public int Closed { get; private set; }

        public void OnAccepted(ListenSocket socket, int fd, in Address peer)
        {
            Connection? connection = Connection.Open(test.Loop, fd, peer, RawTransport.Instance, this);
            connection!.Limit = socket.Limit;
        }

        public void OnAcceptOverflow(ListenSocket socket) => Assert.Fail("overflow");

        public void OnAcceptFailed(ListenSocket socket, Errno error) => Assert.Fail(error.ToString());

        internal override int OnData(Connection connection, System.ReadOnlySpan<byte> data)
        {
            connection.Write(data);
            connection.CloseAfterFlush();
            return data.Length;
        }

        internal override void OnEndOfStream(Connection connection) => connection.CloseAfterFlush();

        internal override void OnClosed(Connection connection, Failure reason) => Closed++;
    }

    [Fact]
    public void Bind_PortInUse_NamesTheStep()
    {
        ListenOptions exclusive = new() { Address = Address.Loopback(0), ReusePort = false };
        SysResult first = ListenSocket.Bind(exclusive, out _);
        Sockets.LocalAddress(first.Fd, out SocketAddress bound);
        SysResult second = ListenSocket.Bind(exclusive with { Address = Address.From(bound) }, out string step);
        Assert.Equal(Errno.EADDRINUSE, second.Error);
        Assert.Equal($"bind {Address.From(bound)}", step);
        Sockets.Close(first.Fd);
    }

    [Fact]
    public void ReusePort_TwoSocketsOfOneAddress()
    {
        ListenOptions shared = new() { Address = Address.Loopback(0) };
        SysResult first = ListenSocket.Bind(shared, out _);
        Sockets.LocalAddress(first.Fd, out SocketAddress bound);
        SysResult second = ListenSocket.Bind(shared with { Address = Address.From(bound) }, out _);
        Assert.True(second.Ok);
        Sockets.Close(first.Fd);
        Sockets.Close(second.Fd);
    }

    [Theory]
    [InlineData("127.0.0.1", false, "127.0.0.1")]
    [InlineData("127.0.0.1", true, "127.0.0.1")]
    [InlineData("0.0.0.0", false, "127.0.0.1")]
    [InlineData("127.0.0.1", true, "0.0.0.0")]
    [InlineData("[::1]", true, "[::1]")]
    public void TryBind_AnotherListener_IsFound_WhetherItSharesItsPortOrNot(string held, bool shared, string tried)
    {
        Assert.True(Address.TryParse(held + ":0", out Address at));
        SysResult holder = ListenSocket.Bind(new ListenOptions { Address = at, ReusePort = shared }, out string step);
        Assert.True(holder.Ok, step);
        Sockets.LocalAddress(holder.Fd, out SocketAddress bound);
        Assert.True(Address.TryParse($"{tried}:{Address.From(bound).Port}", out Address wanted));
        Assert.Equal(Errno.EADDRINUSE, ListenSocket.TryBind(new ListenOptions { Address = wanted }, out _).Error);
        Assert.Equal(Errno.EADDRINUSE, ListenSocket.BindFirst(new ListenOptions { Address = wanted }, out _).Error);
        Sockets.Close(holder.Fd);
        Assert.True(ListenSocket.TryBind(new ListenOptions { Address = wanted }, out step).Ok, step);
    }

    [Fact]
    public void TryBind_NobodyIsEverConnectedToTheTrial()
    {
        ListenOptions options = new() { Address = FreeAddress() };
        bool over = false;
        int connected = 0, attempts = 0;
        System.Threading.Thread client = new(() =>
        {
            // From another address than the port's: on the same one a socket may connect to itself.
            Assert.True(Address.TryParse("127.0.0.9:0", out Address from));
            while (!System.Threading.Volatile.Read(ref over))
            {
                int fd = Sockets.OpenStream(AddressFamily.IPv4).Fd;
                Sockets.Bind(fd, from.ToSocketAddress());
                SysResult result = Sockets.Connect(fd, options.Address.ToSocketAddress());
                // Over loopback connect(2) has its answer when it returns; EINPROGRESS would be a handshake under way.
                if (result.Ok || result.Error == Errno.EINPROGRESS && Sockets.TakeError(fd) == Errno.None)
                    connected++;
                attempts++;
                Sockets.Close(fd);
            }
        });
        client.Start();
        int tried = 0;
        for (; tried < 500 || System.Threading.Volatile.Read(ref attempts) < 500; tried++)
            Assert.True(ListenSocket.TryBind(options, out string step).Ok, step);
        System.Threading.Volatile.Write(ref over, true);
        client.Join();
        Assert.Equal(0, connected);
    }

    [Fact]
    public void BindFirst_ListensAlone_ThenSharesWithSocketsOfTheSameUser()
    {
        using TestLoop test = new();
        Acceptor first = new(), second = new();
        ListenOptions options = new() { Address = FreeAddress() };
        ListenSocket one = new(test, ListenSocket.BindFirst(options, out _).Fd, options, first);
        Assert.Equal(Errno.EADDRINUSE, ListenSocket.BindFirst(options, out _).Error);
        Assert.Equal(Errno.EADDRINUSE, ListenSocket.TryBind(options, out _).Error);
        List<TestPeer> peers = [TestPeer.Connect(options.Address)];
        ListenSocket two = Listen(test, second, options);
        for (int i = 0; i < 64; i++)
            peers.Add(TestPeer.Connect(options.Address));
        test.Until(() => first.Accepted.Count + second.Accepted.Count == peers.Count);
        // Spread by a hash of the addresses: that one of the two gets none of 64 has a chance of 2^-63.
        Assert.InRange(first.Accepted.Count, 2, peers.Count - 1);
        one.Close();
        two.Close();
        first.CloseAll();
        second.CloseAll();
        peers.ForEach(peer => peer.Dispose());
    }

    // Of a loopback address that no other program connects from, so that the port stays free.
    private static Address FreeAddress()
    {
        Assert.True(Address.TryParse("127.0.0.41:0", out Address any));
        SysResult bound = ListenSocket.Bind(new ListenOptions { Address = any }, out string step);
        Assert.True(bound.Ok, step);
        Sockets.LocalAddress(bound.Fd, out SocketAddress free);
        Sockets.Close(bound.Fd);
        return Address.From(free);
    }
}
