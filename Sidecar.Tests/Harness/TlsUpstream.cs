using System;
using System.Collections.Generic;
using System.Text;
using Sidecar.Linux;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Tls;
using Xunit;

namespace Sidecar.Tests.Harness;

/// <summary>A listening socket on loopback that speaks TLS in the test's own loop; what is said inside is the test's.</summary>
internal sealed class TlsUpstream : IDisposable
{
    private readonly TestLoop _test;
    private readonly List<TlsUpstreamPeer> _peers = [];
    private int _fd;

    internal TlsUpstream(TestLoop test, TlsContext context)
    {
        _test = test;
        Context = context;
        var bound = ListenSocket.Bind(new ListenOptions { Address = Address.Loopback(0), ReusePort = false }, out string step);
        Assert.True(bound.Ok, step);
        _fd = bound.Fd;
        Assert.True(Sockets.LocalAddress(_fd, out var local).Ok);
        Address = Address.From(local);
    }

    internal Address Address { get; }

    /// <summary>For connections accepted from now on.</summary>
    internal TlsContext Context { get; set; }

    internal IReadOnlyList<TlsUpstreamPeer> Peers => _peers;

    /// <summary>Accepts what the kernel has.</summary>
    internal void AcceptAll()
    {
        while (Sockets.Accept(_fd, out var from) is { Ok: true } got)
            _peers.Add(new TlsUpstreamPeer(_test, got.Fd, Address.From(from), Context));
    }

    /// <summary>Turns until so many have connected since the start and had their handshake.</summary>
    internal TlsUpstreamPeer Accept(int count = 1)
    {
        _test.Until(() =>
        {
            AcceptAll();
            return _peers.Count >= count && _peers.TrueForAll(peer => peer.Side.Connected || peer.Side.IsOver);
        });
        return _peers[count - 1];
    }

    public void Dispose()
    {
        foreach (var peer in _peers)
            peer.Close();
        if (_fd >= 0)
            Sockets.Close(_fd);
        _fd = -1;
    }
}

/// <summary>The server's end of one connection.</summary>
internal sealed class TlsUpstreamPeer
{
    private readonly Connection _connection;

    internal TlsUpstreamPeer(TestLoop test, int fd, in Address from, TlsContext context)
    {
        Transport = TlsTransport.Accept(test.Loop, 0, context);
        _connection = Connection.Open(test.Loop, fd, from, Transport, Side)!;
    }

    internal TlsTransport Transport { get; }
    internal TlsPair.Side Side { get; } = new();
    internal string Text => Encoding.Latin1.GetString(Side.Received.ToArray());

    /// <summary>What the handshake agreed on; ask while the connection is there.</summary>
    internal string Protocol => Encoding.ASCII.GetString(Transport.Protocol);
    internal string ServerName => Transport.Facts!.ServerName;

    internal void Send(byte[] bytes) => _connection.Write(bytes);

    internal void Send(string text) => Send(Encoding.Latin1.GetBytes(text));

    internal void Close()
    {
        if (!Side.IsOver)
            _connection.Close(Failure.None);
    }
}
