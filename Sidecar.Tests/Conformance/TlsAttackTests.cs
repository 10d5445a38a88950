using System;
using System.Linq;
using System.Runtime.InteropServices;
using System.Text;
using Sidecar.Linux;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Tests.Harness;
using Sidecar.Tls;
using Xunit;

namespace Sidecar.Tests.Conformance;

/// <summary>
/// What is known to have broken or exhausted implementations of TLS. The classes, and the tests that hold them:
/// <code>
///   SAN with a NUL                       CertificateVerifierTests.Client_WithANulInItsName_IsNotTheNameBeforeIt
///   SAN of another type                  CertificateVerifierTests.Client_WithAUriThatIsTheDnsNameWanted_IsRefused
///   extended key usage                   CertificateVerifierTests.Client_WithACertificateForServersOnly_IsRefused
///   name constraints                     NameConstraints_OfAnAuthority_Bind
///   chain depth, chain size              CertificateVerifierTests.Chain_LongerThanAllowed_IsRefused, Chain_OfEndlessCertificates_IsNotRead
///   revocation, expiry, trust domains    CertificateVerifierTests.Client_ThatIsRevoked_…, Client_WithAnExpiredCertificate_…, Spiffe_…
///   session under other verification     TlsTransportTests.Session_UnderOtherVerification_IsNotResumed_EvenWithTheSameTicketKeys
///   session of another context           Session_OfAnotherContext_IsNotResumed
///   session beyond its certificate       TlsTransportTests.Session_EndsWithTheClientsCertificate
///   secret that is not ready             TlsTranslatorTests.Secret_NotThereYet_…, Scenarios.TlsTests.Secret_NotThere_…
///   sniffing passed by TLS 1.3 alone     ClientHelloTests.OnlyTls13OrLater_IsTls
///   hello in pieces, over records        ClientHelloTests.FragmentedOverRecords, TlsTransportTests.Handshake_InPieces_IsTheSame, ClientHello_InRecordsOfOneByte_IsRead
///   hello without end                    ClientHelloTests.AnnouncedTooLarge_IsNotWaitedFor, ClientHello_AnnouncedTooLarge_IsNotWaitedFor
///   unknown alerts, floods of records    Alert_Unknown_…, Records_ThatSayNothing_…
///   records too long                     Record_TooLong_IsNotRead
///   handshake that does not end          TlsTransportTests.Handshake_ThatDoesNotComeToAnEnd_TimesOut, Handshakes_HalfDone_AreGivenBack
///   key updates, renegotiation           TlsTransportTests.KeyUpdate_Flood_IsBounded, Renegotiation_IsRefused
///   truncation                           Close_WithoutNotify_IsAFailure, TlsTransportTests.CloseNotify_EndsOneDirection
///   compression, 0-RTT                   Compression_AndEarlyData_AreOff
///   anything else                        Fuzz.TlsFuzzTests, Scenarios.TlsFloodTests
/// </code>
/// </summary>
public sealed class TlsAttackTests : IDisposable
{
    private const byte ChangeCipherSpec = 20, Alert = 21, Handshake = 22, ApplicationData = 23;

    private readonly TestCa _ca = new();
    private readonly TestLoop _loop = new();

    // CVE-2022-21656 and its kind: OpenSSL's own check, which must be on.
    [Theory]
    [InlineData("spiffe://cluster.local/ns/a/sa/b", true)]
    [InlineData("spiffe://elsewhere.local/ns/a/sa/b", false)]
    public void NameConstraints_OfAnAuthority_Bind(string id, bool accepted)
    {
        // RFC 5280 section 4.2.1.10: permittedSubtrees [0] { URI [6] "cluster.local" }.
        byte[] name = Encoding.ASCII.GetBytes("cluster.local");
        byte[] subtree = [0x86, (byte)name.Length, .. name];
        byte[] permitted = [0x30, (byte)subtree.Length, .. subtree];
        byte[] constraints = [0x30, (byte)(permitted.Length + 2), 0xa0, (byte)permitted.Length, .. permitted];
        using var below = _ca.Intermediate("constrained", constraints);
        var server = Verifying();
        var pair = new TlsPair(_loop, TestTls.Client(below.Spiffe(id)), server);
        if (accepted)
        {
            pair.Shake().Close();
            return;
        }
        Assert.Contains("permitted subtree violation", pair.ShakeInVain().ServerSide.FailureReason);
        Assert.Equal(1, server.Count(TlsStats.FailVerifyError));
    }

    [Theory]
    [InlineData(OpenSsl.Tls12)]
    [InlineData(OpenSsl.Tls13)]
    public void Chain_OfEndlessCertificates_IsNotRead(int version)
    {
        using var below = _ca.Intermediate("below");
        var cert = below.Spiffe("spiffe://td/client");
        string above = below.Pem;
        var endless = cert with { ChainPem = cert.ChainPem + string.Concat(Enumerable.Repeat(above, 400)) };
        var server = Verifying(version);
        var pair = new TlsPair(_loop, TestTls.Client(endless), server).ShakeInVain();
        Assert.Contains("EXCESSIVE_MESSAGE_SIZE", pair.ServerSide.FailureReason);
        Assert.Equal(0, server.Count(TlsStats.Handshake));
    }

    [Theory]
    [InlineData(OpenSsl.Tls12)]
    [InlineData(OpenSsl.Tls13)]
    public void Session_OfAnotherContext_IsNotResumed(int version)
    {
        var cert = _ca.Server("a.test");
        var client = TestTls.Client(_ca.Spiffe("spiffe://td/client"), with: o => o with { MaxVersion = version });
        TlsContext[] servers = [Same(), Same()];
        // Three times, so that the first context also has what it remembers by name.
        foreach (var (server, resumed) in new[] { (servers[0], false), (servers[0], true), (servers[0], true), (servers[1], false) })
        {
            var pair = new TlsPair(_loop, client, server, host: "one host").Shake();
            pair.Send(pair.Server, "a");
            pair.Expect(pair.ClientSide, 1);
            Assert.Equal(resumed, pair.ServerTransport.IsResumed);
            pair.Close();
        }

        TlsContext Same() => TestTls.Server(cert, new ValidationOptions { Authorities = TestTls.Authorities(_ca), Identity = "same" });
    }

    // RFC 8446 section 5.1: a handshake message may be fragmented over records.
    [Theory]
    [InlineData(OpenSsl.Tls12)]
    [InlineData(OpenSsl.Tls13)]
    public void ClientHello_InRecordsOfOneByte_IsRead(int version)
    {
        using var wire = new TlsWire(_loop, TestTls.Client(with: o => o with { MaxVersion = version }), Server());
        wire.Change = static (isClient, offset, bytes) =>
            isClient && offset == 0 ? [.. bytes.Skip(5).SelectMany(one => new byte[] { Handshake, 3, 1, 0, 1, one })] : bytes;
        wire.Pump();
        Assert.True(wire.ClientSide.Connected && wire.ServerSide.Connected, wire.ServerSide.FailureReason);
    }

    [Fact]
    public void ClientHello_AnnouncedTooLarge_IsNotWaitedFor() =>
        Assert.Contains("EXCESSIVE_MESSAGE_SIZE", Refused([Handshake, 3, 1, 0, 8, 1, 0xff, 0xff, 0xff, 3, 3, 0, 0]));

    [Theory]
    [InlineData(Handshake)]
    [InlineData(ApplicationData)]
    public void Record_TooLong_IsNotRead(byte type)
    {
        // The header alone decides, before and after the handshake.
        byte[] header = [type, 3, 3, 0x48, 0x01];
        Assert.NotEmpty(Refused(header));
        using var wire = new TlsWire(_loop, TestTls.Client(), Server());
        wire.Pump();
        Assert.True(wire.ServerSide.Connected);
        wire.Inject(toServer: true, header);
        Assert.True(wire.ServerSide.IsOver);
        Assert.Contains(type == Handshake ? "BAD_RECORD_TYPE" : "LENGTH_TOO_LONG", wire.ServerSide.FailureReason);
    }

    // CVE-2021-28683 was a crash of whoever looked the alert up.
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(0)]
    [InlineData(255)]
    public void Alert_Unknown_EndsTheHandshakeAndNothingElse(byte level)
    {
        byte[] alert = [Alert, 3, 3, 0, 2, level, 0xee];
        Assert.NotEmpty(Refused([.. Enumerable.Repeat(alert, 20).SelectMany(one => one)]));
    }

    [Theory]
    [InlineData(Handshake, 0)] // empty
    [InlineData(Alert, 2)] // warnings
    [InlineData(ChangeCipherSpec, 1)] // of middlebox compatibility mode
    public void Records_ThatSayNothing_AreNotReadForEver(byte type, int length)
    {
        byte[] hello = Hello(OpenSsl.Tls13);
        byte[] body = type == ChangeCipherSpec ? [1] : type == Alert ? [1, 90] : [];
        Assert.Equal(length, body.Length);
        byte[] record = [type, 3, 3, 0, (byte)body.Length, .. body];
        byte[] flood = [.. Enumerable.Repeat(record, 100).SelectMany(one => one)];
        Assert.NotEmpty(Refused([.. hello, .. flood]));
    }

    [Fact]
    public void Handshakes_HalfDone_AreGivenBack()
    {
        const int half = 200;
        byte[] hello = Hello(OpenSsl.Tls13);
        var server = Server();
        var sides = Enumerable.Range(0, half).Select(_ => new TlsPair.Side()).ToArray();
        var peers = sides.Select(side =>
        {
            var (connection, peer) = _loop.Connected(side);
            _loop.Until(() => side.Connected);
            connection.ChangeTransport(TlsTransport.Accept(_loop, 0, server), 5000);
            peer.Send(hello);
            return peer;
        }).ToArray();
        _loop.Settle();
        Assert.Equal(half, TlsWorker.Of(_loop).OpenCount);
        Assert.Equal(0, _loop.Loop.Slab.RentedCount); // what they wait with is OpenSSL's: no buffer of ours
        _loop.Advance(5001);
        Assert.All(sides, side => Assert.True(side.IsOver));
        Assert.Equal(0, TlsWorker.Of(_loop).OpenCount);
        foreach (var peer in peers)
            peer.Dispose();
    }

    // RFC 9112 section 9.8, RFC 8446 section 6.1: an end that TLS does not vouch for may be anybody's, and is not the end of a message.
    [Theory]
    [InlineData(OpenSsl.Tls12)]
    [InlineData(OpenSsl.Tls13)]
    public void Close_WithoutNotify_IsAFailure(int version)
    {
        Assert.True(Sockets.OpenPair(out int one, out int other).Ok);
        var clientSide = new TlsPair.Side();
        var serverSide = new TlsPair.Side();
        var clientContext = TestTls.Client(with: o => o with { MaxVersion = version });
        var client = Connection.Connecting(_loop, one, Address.Loopback(1), TlsTransport.Connect(_loop, 0, clientContext, this, [], default), clientSide, 0)!;
        var server = Connection.Open(_loop, other, Address.Loopback(2), TlsTransport.Accept(_loop, 0, Server()), serverSide)!;
        _loop.Until(() => clientSide.Connected && serverSide.Connected);
        client.Write("half a mess"u8);
        _loop.Step(2);
        Sockets.Shutdown(one, ShutdownHow.Write);
        _loop.Until(() => serverSide.IsOver || serverSide.Ended);
        Assert.Equal("half a mess", Encoding.ASCII.GetString([.. serverSide.Received]));
        Assert.False(serverSide.Ended);
        Assert.NotEqual(Failure.None, serverSide.Reason);
        client.Close(Failure.None);
        server.Close(Failure.None);
        _loop.Settle();
    }

    [DllImport("libssl.so.3")]
    private static extern uint SSL_SESSION_get_max_early_data(nint session);

    [DllImport("libssl.so.3")]
    private static extern uint SSL_CTX_get_max_early_data(nint ctx);

    [DllImport("libssl.so.3")]
    private static extern ulong SSL_CTX_get_options(nint ctx);

    [DllImport("libssl.so.3")]
    private static extern nint SSL_get_current_compression(nint ssl);

    [Fact]
    public void Compression_AndEarlyData_AreOff()
    {
        var server = Server();
        var client = TestTls.Client(with: o => o with { MaxVersion = OpenSsl.Tls13 });
        foreach (var context in new[] { server, client })
            Assert.NotEqual(0ul, SSL_CTX_get_options(context.Handle) & OpenSsl.OptionNoCompression);
        Assert.Equal(0u, SSL_CTX_get_max_early_data(server.Handle));
        var pair = new TlsPair(_loop, client, server).Shake();
        pair.Send(pair.Server, "a");
        pair.Expect(pair.ClientSide, 1);
        Assert.Equal(0, SSL_get_current_compression(pair.ServerTransport.Handle));
        Assert.Equal(0u, SSL_SESSION_get_max_early_data(OpenSsl.SSL_get_session(pair.ClientTransport.Handle)));
        pair.Close();
    }

    /// <summary>What a server says of bytes from a client that then ends; it must be over.</summary>
    private string Refused(byte[] bytes)
    {
        Assert.True(Sockets.OpenPair(out int one, out int other).Ok);
        using var peer = new TestPeer(other);
        var side = new TlsPair.Side();
        Connection.Open(_loop, one, Address.Loopback(1), TlsTransport.Accept(_loop, 0, Server()), side);
        peer.Send(bytes);
        _loop.Until(() => side.IsOver);
        _loop.Settle();
        Assert.False(side.Connected);
        Assert.Equal(0, TlsWorker.Of(_loop).OpenCount);
        Assert.Equal(0, _loop.Loop.Slab.RentedCount);
        return side.FailureReason;
    }

    private byte[] Hello(int version) => TlsWire.ClientHello(_loop, TestTls.Client(with: o => o with { MaxVersion = version }), Server());

    private TlsContext Server() => TestTls.Server(_ca.Server("a.test"));

    private TlsContext Verifying(int version = OpenSsl.Tls13) => TestTls.Server(
        _ca.Server("a.test"), new ValidationOptions { Authorities = TestTls.Authorities(_ca) }, o => o with { MaxVersion = version, RequireClientCertificate = true });

    public void Dispose()
    {
        _loop.Dispose();
        _ca.Dispose();
    }
}
