using System;
using Sidecar.Linux;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Tests.Harness;
using Sidecar.Tls;
using Xunit;

namespace Sidecar.Tests.Scenarios;

/// <summary>
/// TLS in steady state allocates nothing: requests and answers of several sizes over one connection with certificates on both sides, both ends in one loop
/// and in the count. New connections allocate only what pools have not yet.
/// </summary>
public sealed class TlsAllocationTests : IDisposable
{
    private const int Exchanges = 10_000;

    private readonly TestCa _ca = new();
    private readonly TestLoop _loop = new();

    [Theory]
    [InlineData(100)]
    [InlineData(5_000)]
    [InlineData(40_000)]
    public void Exchange_AllocatesNothing(int bytes)
    {
        var echo = new Echo();
        var caller = new Caller(new byte[bytes]);
        Assert.True(Sockets.OpenPair(out int one, out int other).Ok);
        var client = Connection.Connecting(_loop, one, Address.Loopback(1), TlsTransport.Connect(_loop, 0, Client(), this, [], default), caller, 0)!;
        var server = Connection.Open(_loop, other, Address.Loopback(2), TlsTransport.Accept(_loop, 0, Server()), echo)!;
        _loop.Until(() => caller.IsConnected);
        int exchanges = Exchanges / Math.Max(1, bytes / 1000);
        Run(client, caller, 200);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Run(client, caller, exchanges);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
        Assert.Equal(0, _loop.Loop.Slab.RentedCount); // idle, a connection holds no buffer
        client.Close(Failure.None);
        server.Close(Failure.None);
        _loop.Settle();
    }

    private void Run(Connection client, Caller caller, int exchanges)
    {
        for (int i = 0; i < exchanges; i++)
        {
            caller.Call(client);
            while (!caller.IsAnswered)
                _loop.Loop.Turn(1);
        }
        _loop.Settle();
    }

    private TlsContext Server() => TestTls.Server(
        _ca.Server("a.test"), new ValidationOptions { Authorities = TestTls.Authorities(_ca) }, o => o with { RequireClientCertificate = true });

    private TlsContext Client() => TestTls.Client(_ca.Spiffe("spiffe://td/a"), new ValidationOptions { Authorities = TestTls.Authorities(_ca) }, o => o with { MaxVersion = OpenSsl.Tls13 });

    private sealed class Echo : ConnectionHandler
    {
        internal override int OnData(Connection connection, ReadOnlySpan<byte> data)
        {
            connection.Write(data);
            return data.Length;
        }

        internal override void OnEndOfStream(Connection connection) => connection.ShutdownWrite();

        internal override void OnClosed(Connection connection, Failure reason)
        {
        }
    }

    private sealed class Caller(byte[] message) : ConnectionHandler
    {
        private int _missing;

        internal bool IsConnected { get; private set; }
        internal bool IsAnswered => _missing == 0;

        internal void Call(Connection connection)
        {
            _missing = message.Length;
            connection.Write(message);
        }

        internal override void OnConnected(Connection connection) => IsConnected = true;

        internal override int OnData(Connection connection, ReadOnlySpan<byte> data)
        {
            _missing -= data.Length;
            return data.Length;
        }

        internal override void OnEndOfStream(Connection connection)
        {
        }

        internal override void OnClosed(Connection connection, Failure reason)
        {
        }
    }

    public void Dispose()
    {
        _loop.Dispose();
        _ca.Dispose();
    }
}
