using System;
using System.Collections.Generic;
using System.Runtime.Versioning;
using System.Text;
using Sidecar.Linux;
using Sidecar.Memory;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Telemetry.Stats;
using Sidecar.Tls;
using Xunit;

namespace Sidecar.Tests.Harness;

/// <summary>Both sides of TLS in one loop: a client's connection and a server's over a pair of sockets, with what each has seen.</summary>
internal sealed class TlsPair
{
    private readonly TestLoop _loop;

    internal TlsPair(TestLoop loop, TlsContext client, TlsContext server, object? host = null, string serverName = "", string alpn = "")
    {
        _loop = loop;
        Assert.True(Sockets.OpenPair(out int one, out int other).Ok);
        ClientTransport = TlsTransport.Connect(
            loop, 0, client, host ?? this, serverName.Length == 0 ? [] : Encoding.ASCII.GetBytes(serverName + '\0'), TlsNames.AlpnWire(alpn.Length == 0 ? [] : alpn.Split(',')));
        ServerTransport = TlsTransport.Accept(loop, 0, server);
        Client = Connection.Connecting(loop, one, Address.Loopback(1), ClientTransport, ClientSide, 0)!;
        Server = Connection.Open(loop, other, Address.Loopback(2), ServerTransport, ServerSide)!;
    }

    internal Connection Client { get; }
    internal Connection Server { get; }
    internal TlsTransport ClientTransport { get; }
    internal TlsTransport ServerTransport { get; }
    internal Side ClientSide { get; } = new();
    internal Side ServerSide { get; } = new();

    /// <summary>Takes the handshake to its end; both sides are connected then.</summary>
    internal TlsPair Shake()
    {
        _loop.Until(() => ClientSide.Connected && ServerSide.Connected || ClientSide.IsOver || ServerSide.IsOver);
        Assert.True(ClientSide.Connected && ServerSide.Connected, $"client: {ClientSide.FailureReason}, server: {ServerSide.FailureReason}");
        return this;
    }

    /// <summary>Takes the handshake to its end, which is a failure that both sides hear of.</summary>
    internal TlsPair ShakeInVain()
    {
        _loop.Until(() => ClientSide.IsOver && ServerSide.IsOver);
        return this;
    }

    internal void Send(Connection from, string text)
    {
        from.Write(Encoding.Latin1.GetBytes(text));
        _loop.Step();
    }

    /// <summary>Turns until the side has received this much, and returns it all.</summary>
    internal string Expect(Side side, int bytes)
    {
        _loop.Until(() => side.Received.Count >= bytes || side.IsOver);
        return Encoding.Latin1.GetString(side.Received.ToArray());
    }

    internal void Close()
    {
        Client.Close(Failure.None);
        Server.Close(Failure.None);
        _loop.Settle();
    }

    /// <summary>What the handler of one side has seen.</summary>
    internal sealed class Side : ConnectionHandler
    {
        internal bool Connected { get; private set; }
        internal bool Ended { get; private set; }
        internal bool IsOver { get; private set; }
        internal Failure Reason { get; private set; }
        internal string FailureReason { get; private set; } = "";
        internal List<byte> Received { get; } = [];

        internal override void OnConnected(Connection connection) => Connected = true;

        internal override int OnData(Connection connection, ReadOnlySpan<byte> data)
        {
            Received.AddRange(data);
            return data.Length;
        }

        internal override void OnEndOfStream(Connection connection) => Ended = true;

        internal override void OnClosed(Connection connection, Failure reason)
        {
            IsOver = true;
            Reason = reason;
            FailureReason = connection.Transport.FailureReason;
        }
    }
}

/// <summary>Contexts of tests.</summary>
internal static class TestTls
{
    internal static StatsScope Stats(string prefix = "test.ssl.") => new(TlsStats.Schema, prefix, "", [], 1);

    internal static TlsCertificate Certificate(TestCert cert)
    {
        var certificate = TlsCertificate.FromPem(cert.Chain, cert.Key, null, "<inline>", "<inline>", out string problem);
        Assert.True(certificate is not null, problem);
        return certificate;
    }

    internal static TrustBundle Authorities(params TestCa[] authorities)
    {
        var pem = new StringBuilder();
        foreach (var authority in authorities)
            pem.Append(authority.Pem);
        var bundle = TrustBundle.FromPem(Encoding.ASCII.GetBytes(pem.ToString()), "<inline>", out string problem);
        Assert.True(bundle is not null, problem);
        return bundle;
    }

    internal static SanMatcher San(SanType type, string exact) => new()
    {
        Type = type,
        Text = value => value.SequenceEqual(Encoding.Latin1.GetBytes(exact)),
        ExactDns = Encoding.Latin1.GetBytes(exact),
    };

    internal static TlsContext Server(TestCert cert, ValidationOptions? validation = null, Func<TlsOptions, TlsOptions>? with = null, StatsScope? stats = null) =>
        Context(new TlsOptions { IsServer = true }, [Certificate(cert)], validation, with, stats);

    internal static TlsContext Client(TestCert? cert = null, ValidationOptions? validation = null, Func<TlsOptions, TlsOptions>? with = null, StatsScope? stats = null) =>
        Context(new TlsOptions { IsServer = false }, cert is null ? [] : [Certificate(cert)], validation, with, stats);

    internal static TlsContext Context(
        TlsOptions options, IReadOnlyList<TlsCertificate> certificates, ValidationOptions? validation, Func<TlsOptions, TlsOptions>? with, StatsScope? stats)
    {
        var context = TlsContext.Create(with is null ? options : with(options), certificates, validation, stats ?? Stats(), out string field, out string problem);
        Assert.True(context is not null, $"{field}: {problem}");
        return context;
    }

    internal static long Count(this TlsContext context, int stat) => context.Stats.Sum(stat);
}
