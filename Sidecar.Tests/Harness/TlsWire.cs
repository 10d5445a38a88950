using System;
using System.Collections.Generic;
using System.Linq;
using Sidecar.Linux;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Tls;

namespace Sidecar.Tests.Harness;

/// <summary>
/// A client and a server of TLS with the test on the wire between them: it sees every byte, and passes it on in pieces of its choice, changed or not.
/// </summary>
internal sealed class TlsWire : IDisposable
{
    private readonly TestLoop _loop;
    private readonly TestPeer _clientEnd;
    private readonly TestPeer _serverEnd;
    private int _fromClient;
    private int _fromServer;

    internal TlsWire(TestLoop loop, TlsContext client, TlsContext server)
    {
        _loop = loop;
        Sockets.OpenPair(out int one, out int clientEnd);
        Sockets.OpenPair(out int other, out int serverEnd);
        _clientEnd = new TestPeer(clientEnd);
        _serverEnd = new TestPeer(serverEnd);
        Client = Connection.Connecting(loop, one, Address.Loopback(1), TlsTransport.Connect(loop, 0, client, this, [], default), ClientSide, 0)!;
        Server = Connection.Open(loop, other, Address.Loopback(2), TlsTransport.Accept(loop, 0, server), ServerSide)!;
    }

    internal Connection Client { get; }
    internal Connection Server { get; }
    internal TlsPair.Side ClientSide { get; } = new();
    internal TlsPair.Side ServerSide { get; } = new();

    /// <summary>Everything the client has sent so far.</summary>
    internal IReadOnlyList<byte> FromClient => _clientEnd.Received;
    internal IReadOnlyList<byte> FromServer => _serverEnd.Received;

    /// <summary>Changes what is passed on; given whether the client sent it, and where in its stream it begins.</summary>
    internal Func<bool, int, byte[], byte[]> Change { get; set; } = static (_, _, bytes) => bytes;

    /// <summary>Passes on what there is, at most <paramref name="piece"/> bytes at a time with a turn between, until nothing more comes.</summary>
    internal void Pump(int piece = int.MaxValue)
    {
        int idle = 0;
        while (idle < 2)
        {
            _loop.Step(2);
            bool moved = Pass(_clientEnd, _serverEnd, ref _fromClient, isClient: true, piece);
            moved |= Pass(_serverEnd, _clientEnd, ref _fromServer, isClient: false, piece);
            idle = moved ? 0 : idle + 1;
        }
    }

    /// <summary>Passes on what the client has sent, and nothing the other way: a client that does not read.</summary>
    internal void PassFromClient()
    {
        Pass(_clientEnd, _serverEnd, ref _fromClient, isClient: true, int.MaxValue);
        _loop.Step();
    }

    /// <summary>The bytes with which a client begins.</summary>
    internal static byte[] ClientHello(TestLoop loop, TlsContext client, TlsContext server)
    {
        using var wire = new TlsWire(loop, client, server);
        int length = 0;
        wire.Change = (isClient, offset, bytes) =>
        {
            if (isClient && offset == 0)
                length = bytes.Length;
            return bytes;
        };
        wire.Pump();
        return [.. wire.FromClient.Take(length)];
    }

    private bool Pass(TestPeer from, TestPeer to, ref int passed, bool isClient, int piece)
    {
        from.Receive();
        if (from.Received.Count == passed)
            return false;
        byte[] all = new byte[from.Received.Count - passed];
        for (int i = 0; i < all.Length; i++)
            all[i] = from.Received[passed + i];
        byte[] changed = Change(isClient, passed, all);
        passed += all.Length;
        for (int i = 0; i < changed.Length; i += piece)
        {
            to.TrySend(changed.AsSpan(i, Math.Min(piece, changed.Length - i)));
            if (piece < changed.Length)
                _loop.Step();
        }
        return true;
    }

    /// <summary>Sends to the server as the client, or to the client as the server, whatever the other has not said.</summary>
    internal void Inject(bool toServer, ReadOnlySpan<byte> bytes)
    {
        (toServer ? _serverEnd : _clientEnd).TrySend(bytes);
        _loop.Step(2);
    }

    public void Dispose()
    {
        Client.Close(Failure.None);
        Server.Close(Failure.None);
        _loop.Step(2);
        _clientEnd.Dispose();
        _serverEnd.Dispose();
    }
}
