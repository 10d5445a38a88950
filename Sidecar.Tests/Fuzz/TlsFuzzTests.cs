using System;
using System.Collections.Generic;
using System.Linq;
using Sidecar.Linux;
using Sidecar.Memory;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Tests.Harness;
using Sidecar.Tls;
using Xunit;

namespace Sidecar.Tests.Fuzz;

/// <summary>Handshakes changed on the way, a hundred thousand of them, seeded: neither side crashes, hangs, or keeps anything.</summary>
public sealed class TlsFuzzTests : IDisposable
{
    private const int MutationsPerFlight = 24_000;
    private const int LiveHandshakes = 4_000;

    private readonly TestCa _ca = new();
    private readonly TestLoop _loop = new();

    [Theory]
    [InlineData(OpenSsl.Tls12, 1)]
    [InlineData(OpenSsl.Tls13, 2)]
    public void ClientHello_Changed_EndsInAFailureOrAHandshake(int version, ulong seed)
    {
        var (hello, _) = Record(version);
        Mutate(hello, seed, bytes => Feed(bytes, isServer: true, Server(version)));
    }

    [Theory]
    [InlineData(OpenSsl.Tls12, 3)]
    [InlineData(OpenSsl.Tls13, 4)]
    public void ServersFlight_Changed_EndsInAFailure(int version, ulong seed)
    {
        var (_, flight) = Record(version);
        Mutate(flight, seed, bytes => Feed(bytes, isServer: false, Client(version)));
    }

    [Fact]
    public void LiveHandshakes_ChangedAnywhere_EndOnBothSides()
    {
        var random = new FastRandom(5);
        int complete = 0;
        for (int i = 0; i < LiveHandshakes; i++)
        {
            int version = (i & 1) == 0 ? OpenSsl.Tls12 : OpenSsl.Tls13;
            bool fromClient = random.NextUInt64() % 2 == 0;
            int at = (int)(random.NextUInt64() % 900);
            byte flip = (byte)(1 + random.NextUInt64() % 255);
            using var wire = new TlsWire(_loop, Client(version), Server(version))
            {
                Change = (isClient, offset, bytes) =>
                {
                    if (isClient == fromClient && at >= offset && at < offset + bytes.Length)
                        bytes[at - offset] ^= flip;
                    return bytes;
                },
            };
            wire.Pump();
            if (wire.ClientSide.Connected && wire.ServerSide.Connected)
                complete++;
        }
        // A flip past the handshake's end, in a session ticket, or in a byte that nothing depends on is no failure.
        Assert.InRange(complete, 0, LiveHandshakes * 2 / 3);
        AssertNothingKept();
    }

    private readonly Dictionary<int, TlsContext> _servers = [];
    private readonly Dictionary<int, TlsContext> _clients = [];

    private TlsContext Server(int version)
    {
        if (!_servers.TryGetValue(version, out var context))
        {
            context = TestTls.Server(
                _ca.Server("a.test"), new ValidationOptions { Authorities = TestTls.Authorities(_ca), Sans = [TestTls.San(SanType.Uri, "spiffe://td/a")] },
                o => o with { MaxVersion = version, Alpn = ["h2", "http/1.1"] });
            _servers.Add(version, context);
        }
        return context;
    }

    private TlsContext Client(int version)
    {
        if (!_clients.TryGetValue(version, out var context))
        {
            context = TestTls.Client(
                _ca.Spiffe("spiffe://td/a"), new ValidationOptions { Authorities = TestTls.Authorities(_ca), Sans = [TestTls.San(SanType.Dns, "a.test")] },
                o => o with { MaxVersion = version, Alpn = ["h2"], ServerName = "a.test" });
            _clients.Add(version, context);
        }
        return context;
    }

    private (byte[] Hello, byte[] Flight) Record(int version)
    {
        using var wire = new TlsWire(_loop, Client(version), Server(version));
        int helloLength = 0, flightLength = 0;
        wire.Change = (isClient, offset, bytes) =>
        {
            if (isClient && offset == 0)
                helloLength = bytes.Length;
            if (!isClient && offset == 0)
                flightLength = bytes.Length;
            return bytes;
        };
        wire.Pump();
        Assert.True(wire.ServerSide.Connected, wire.ServerSide.FailureReason);
        return (wire.FromClient.Take(helloLength).ToArray(), wire.FromServer.Take(flightLength).ToArray());
    }

    private void Mutate(byte[] original, ulong seed, Action<byte[]> feed)
    {
        var random = new FastRandom(seed);
        for (int i = 0; i < MutationsPerFlight; i++)
            feed(Mutated(original, random));
        AssertNothingKept();
    }

    private static byte[] Mutated(byte[] original, FastRandom random)
    {
        var bytes = original.ToList();
        int changes = 1 + (int)(random.NextUInt64() % 4);
        for (int i = 0; i < changes && bytes.Count > 0; i++)
        {
            int at = (int)(random.NextUInt64() % (ulong)bytes.Count);
            switch (random.NextUInt64() % 6)
            {
                case 0: bytes[at] ^= (byte)(1 << (int)(random.NextUInt64() % 8)); break;
                case 1: bytes[at] = (byte)random.NextUInt64(); break;
                case 2: bytes.RemoveAt(at); break;
                case 3: bytes.Insert(at, (byte)random.NextUInt64()); break;
                case 4: bytes.RemoveRange(at, bytes.Count - at); break;
                // A length's likely values: none, all.
                default: bytes[at] = (byte)(random.NextUInt64() % 2 == 0 ? 0 : 0xff); break;
            }
        }
        return bytes.ToArray();
    }

    private void Feed(byte[] bytes, bool isServer, TlsContext context)
    {
        Assert.True(Sockets.OpenPair(out int one, out int other).Ok);
        using var peer = new TestPeer(other);
        var side = new TlsPair.Side();
        var transport = isServer ? TlsTransport.Accept(_loop, 0, context) : TlsTransport.Connect(_loop, 0, context, this, [], default);
        var connection = isServer
            ? Connection.Open(_loop, one, Address.Loopback(1), transport, side)!
            : Connection.Connecting(_loop, one, Address.Loopback(1), transport, side, 0)!;
        if (!isServer)
            _loop.Step();
        peer.Send(bytes);
        _loop.Step(2);
        peer.Shutdown();
        _loop.Step(2);
        Assert.True(side.IsOver);
        Assert.False(side.Connected);
        connection.Close(Failure.None);
    }

    private void AssertNothingKept()
    {
        _loop.Settle();
        Assert.Equal(0, TlsWorker.Of(_loop).OpenCount);
        Assert.Equal(0, _loop.Loop.HandlerCount);
        Assert.Equal(0, _loop.Loop.Slab.RentedCount);
    }

    public void Dispose()
    {
        _loop.Dispose();
        _ca.Dispose();
    }
}
