using Sidecar.Linux;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Net;

public sealed class ConnectorTests
{
    private static Connection Connect(TestLoop test, Address to, Recorder recorder, ConnectOptions? options = null, int timeoutMs = 0, OriginalSource? source = null) =>
        Connector.Connect(test, to, source, options ?? ConnectOptions.Default, RawTransport.Instance, recorder, timeoutMs);

    private static (int Fd, Address Address) Listener()
    {
        SysResult bound = ListenSocket.Bind(new ListenOptions { Address = Address.Loopback(0) }, out string step);
        Assert.True(bound.Ok, step);
        Sockets.LocalAddress(bound.Fd, out SocketAddress address);
        return (bound.Fd, Address.From(address));
    }

    [Fact]
    public void Connects_FromTheSourceAddress_AndSendsWhatWasWrittenBefore()
    {
        using TestLoop test = new();
        (int listener, Address to) = Listener();
        Assert.True(Address.TryParse("127.0.0.6:0", out Address source));
        Recorder recorder = new();
        Connection connection = Connect(test, to, recorder, new ConnectOptions { Source = source, UserTimeoutMs = 1000, KeepAlive = new KeepAlive(30, 5, 3) });
        connection.Write("hi"u8);
        test.Until(() => recorder.Events.Contains("connected"));
        Assert.True(connection.IsUpstream);
        SysResult accepted = Sockets.Accept(listener, out SocketAddress from);
        Assert.Equal("127.0.0.6", Address.From(from).HostString());
        Assert.Equal(connection.LocalAddress, Address.From(from));
        TestPeer peer = new(accepted.Fd);
        test.Until(() => peer.Read() == "hi");
        connection.Close(Failure.None);
        peer.Dispose();
        Sockets.Close(listener);
    }

    [Fact]
    public void RefusedPort_IsAConnectFailure()
    {
        using TestLoop test = new();
        (int listener, Address to) = Listener();
        Sockets.Close(listener);
        Recorder recorder = new();
        Connection connection = Connect(test, to, recorder);
        Assert.Null(recorder.Closed); // never before the call returns
        test.Until(() => recorder.Closed is not null);
        Assert.Equal("closed UpstreamConnectFailure", recorder.Story);
        Assert.Equal(Errno.ECONNREFUSED, connection.LastError);
    }

    [Fact]
    public void SourceThatIsNotOurs_IsALocalFailure()
    {
        using TestLoop test = new();
        Assert.True(Address.TryParse("192.0.2.1:0", out Address source));
        Recorder recorder = new();
        Connection connection = Connect(test, Address.Loopback(9), recorder, new ConnectOptions { Source = source });
        Assert.Null(recorder.Closed);
        test.Step();
        Assert.Equal("closed UpstreamLocalConnectFailure", recorder.Story);
        Assert.Equal(Errno.EADDRNOTAVAIL, connection.LastError);
    }

    [Fact]
    public void SilentPeer_TimesOut()
    {
        using TestLoop test = new();
        // A listener whose queue is full drops further SYNs: the connect neither succeeds nor fails.
        SysResult listener = ListenSocket.Bind(new ListenOptions { Address = Address.Loopback(0), Backlog = 0 }, out _);
        Sockets.LocalAddress(listener.Fd, out SocketAddress address);
        using TestPeer filler = TestPeer.Connect(Address.From(address));
        using TestPeer filler2 = TestPeer.Connect(Address.From(address));
        Recorder recorder = new();
        Connect(test, Address.From(address), recorder, timeoutMs: 250);
        test.Step(3);
        test.Advance(249);
        Assert.Null(recorder.Closed);
        test.Advance(1);
        Assert.Equal("closed UpstreamConnectTimeout", recorder.Story);
        Sockets.Close(listener.Fd);
    }

    [Fact]
    public void Close_CancelsAConnect()
    {
        using TestLoop test = new();
        (int listener, Address to) = Listener();
        Recorder recorder = new();
        Connection connection = Connect(test, to, recorder, timeoutMs: 1000);
        connection.Close(Failure.LocalReset);
        test.Advance(2000);
        Assert.Equal("closed LocalReset", recorder.Story);
        Assert.Equal(0, test.Loop.TimerCount);
        Sockets.Close(listener);
    }

    [Fact]
    public void BrokenUpstream_IsATermination()
    {
        using TestLoop test = new();
        (int listener, Address to) = Listener();
        Recorder recorder = new();
        Connect(test, to, recorder);
        test.Until(() => recorder.Events.Contains("connected"));
        TestPeer peer = new(Sockets.Accept(listener, out _).Fd);
        peer.Reset();
        test.Until(() => recorder.Closed is not null);
        Assert.Equal(Failure.UpstreamConnectionTermination, recorder.Closed);
        Sockets.Close(listener);
    }

    [Fact]
    public void NoRedirect_HasNoOriginalDestination_AndTproxyHasItsLocalAddress()
    {
        using TestLoop test = new();
        Recorder recorder = new();
        (Connection connection, TestPeer peer) = test.ConnectedByTcp(recorder);
        test.Step();
        Assert.True(OriginalDestination.TryGet(connection, transparent: true, out Address destination));
        Assert.Equal(connection.LocalAddress, destination);
        connection.Close(Failure.None);
        peer.Dispose();

        (Connection pair, TestPeer other) = test.Connected(recorder);
        Assert.False(OriginalDestination.TryGet(pair, transparent: false, out _));
        pair.Close(Failure.None);
        other.Dispose();
    }

    [SkippableTheory]
    [InlineData("127.0.0.1:0", "127.0.0.21:0", 0)]
    [InlineData("127.0.0.1:0", "127.0.0.21:0", 1337)]
    [InlineData("[::1]:0", "[::1]:0", 1337)]
    public void CallersAddress_ComesBeforeThatOfTheOptions(string listen, string caller, int mark)
    {
        Command.RequireRoot();
        using TestLoop test = new();
        Assert.True(Address.TryParse(listen, out Address at));
        Assert.True(Address.TryParse(caller, out Address from));
        Assert.True(Address.TryParse("127.0.0.6:0", out Address own));
        SysResult listener = ListenSocket.Bind(new ListenOptions { Address = at }, out string step);
        Assert.True(listener.Ok, step);
        Sockets.LocalAddress(listener.Fd, out SocketAddress to);
        Recorder recorder = new();
        Connection connection = Connect(test, Address.From(to), recorder, new ConnectOptions { Source = own, Mark = 7 }, source: new OriginalSource(from, mark));
        test.Until(() => recorder.Events.Contains("connected"));
        Assert.Equal(from.HostString(), connection.LocalAddress.HostString());
        Assert.Equal(mark == 0 ? 7 : mark, Sockets.Get(connection.Fd, SocketOption.Mark).Value);
        Assert.Equal(1, Sockets.Get(connection.Fd, at.Kind == AddressKind.IPv6 ? SocketOption.Ipv6Transparent : SocketOption.IpTransparent).Value);
        connection.Close(Failure.None);
        Sockets.Close(listener.Fd);
    }

    [SkippableFact]
    public void CallerOfTheOtherFamily_IsALocalFailure_NotAnotherAddress()
    {
        Command.RequireRoot();
        using TestLoop test = new();
        Assert.True(Address.TryParse("[::1]:0", out Address caller));
        Recorder recorder = new();
        Connection connection = Connect(test, Address.Loopback(9), recorder, source: new OriginalSource(caller, 0));
        test.Step();
        Assert.Equal("closed UpstreamLocalConnectFailure", recorder.Story);
        Assert.Equal(Errno.EAFNOSUPPORT, connection.LastError);
    }
}
