using System;
using System.Linq;
using System.Runtime.InteropServices;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Sidecar.Linux;
using Sidecar.Memory;
using Sidecar.Telemetry;
using Sidecar.Tests.Harness;
using Sidecar.Tls;
using Xunit;

namespace Sidecar.Tests.Tls;

public sealed class TlsTransportTests : IDisposable
{
    private readonly TestCa _ca = new();
    private readonly TestLoop _loop = new();

    [Fact]
    public void Handshake_OfTls13_CarriesBytesBothWays_AndIsCounted()
    {
        var server = TestTls.Server(_ca.Server("a.test"));
        var client = TestTls.Client(validation: new ValidationOptions { Authorities = TestTls.Authorities(_ca) });
        var pair = new TlsPair(_loop, client, server, serverName: "a.test").Shake();

        pair.Send(pair.Client, "question");
        Assert.Equal("question", pair.Expect(pair.ServerSide, 8));
        pair.Send(pair.Server, "answer");
        Assert.Equal("answer", pair.Expect(pair.ClientSide, 6));

        Assert.Equal("TLSv1.3", pair.ServerTransport.VersionName);
        Assert.Equal("a.test", pair.ServerTransport.Facts!.ServerName);
        Assert.Equal(1, server.Count(TlsStats.Handshake));
        Assert.Equal(1, server.Count(TlsStats.NoCertificate));
        Assert.Equal(1, server.Count(TlsStats.OfVersion(OpenSsl.Tls13)));
        Assert.Equal(1, client.Count(TlsStats.Handshake));
        Assert.Equal(0, client.Count(TlsStats.NoCertificate));
        Assert.Equal(1, client.Count(TlsStats.OfSignature(OpenSsl.KeyEc, 672)));
        pair.Close();
    }

    [Theory]
    [InlineData(OpenSsl.Tls12, "TLSv1.2")]
    [InlineData(OpenSsl.Tls13, "TLSv1.3")]
    public void Data_OfManyRecords_ArrivesWhole(int version, string name)
    {
        var server = TestTls.Server(_ca.Server("a.test"), with: o => o with { MinVersion = version, MaxVersion = version });
        var pair = new TlsPair(_loop, TestTls.Client(with: o => o with { MaxVersion = OpenSsl.Tls13 }), server).Shake();
        Assert.Equal(name, pair.ClientTransport.VersionName);
        string text = string.Concat(Enumerable.Range(0, 60_000).Select(i => (char)('a' + i % 26)));

        pair.Client.Write(Encoding.Latin1.GetBytes(text));
        pair.Server.WriteThrough(Encoding.Latin1.GetBytes(text));

        Assert.Equal(text, pair.Expect(pair.ServerSide, text.Length));
        Assert.Equal(text, pair.Expect(pair.ClientSide, text.Length));
        pair.Close();
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(7)]
    [InlineData(700)]
    public void Handshake_InPieces_IsTheSame(int piece)
    {
        foreach (int version in new[] { OpenSsl.Tls12, OpenSsl.Tls13 })
        {
            using var wire = new TlsWire(_loop, Client(version), Server(version));
            wire.Pump(piece);
            Assert.True(wire.ClientSide.Connected && wire.ServerSide.Connected, wire.ServerSide.FailureReason);
            wire.Client.Write("question"u8);
            wire.Server.Write("answer"u8);
            wire.Pump(piece);
            Assert.Equal("question", Text(wire.ServerSide));
            Assert.Equal("answer", Text(wire.ClientSide));
        }
    }

    [Theory]
    [InlineData("h2,http/1.1", "http/1.1,h2", "h2")]
    [InlineData("istio-peer-exchange,h2", "istio,h2", "h2")]
    [InlineData("h2", "http/1.1", "")]
    [InlineData("h2", "", "")]
    [InlineData("", "h2", "")]
    [InlineData("h2,http/1.1", "h", "")]
    public void Alpn_TheServersOrderDecides(string server, string client, string agreed)
    {
        var context = TestTls.Server(_ca.Server("a.test"), with: o => o with { Alpn = Split(server) });
        var pair = new TlsPair(_loop, TestTls.Client(with: o => o with { Alpn = Split(client) }), context).Shake();
        Assert.Equal(agreed, Encoding.ASCII.GetString(pair.ServerTransport.Protocol));
        Assert.Equal(agreed, Encoding.ASCII.GetString(pair.ClientTransport.Protocol));
        pair.Close();
    }

    [Fact]
    public void Alpn_OfThePool_IsOfferedWhereTheConfigurationNamesNone()
    {
        var server = TestTls.Server(_ca.Server("a.test"), with: o => o with { Alpn = ["http/1.1", "h2"] });
        var own = new TlsPair(_loop, TestTls.Client(with: o => o with { Alpn = ["http/1.1"] }), server, alpn: "h2").Shake();
        Assert.Equal("http/1.1", Encoding.ASCII.GetString(own.ServerTransport.Protocol));
        own.Close();
        var pool = new TlsPair(_loop, TestTls.Client(), server, alpn: "h2").Shake();
        Assert.Equal("h2", Encoding.ASCII.GetString(pool.ServerTransport.Protocol));
        pool.Close();
    }

    // ---- resumption ---------------------------------------------------------------------------------------------------

    [Theory]
    [InlineData(OpenSsl.Tls12, false)]
    [InlineData(OpenSsl.Tls12, true)]
    [InlineData(OpenSsl.Tls13, false)]
    [InlineData(OpenSsl.Tls13, true)]
    public void Session_IsResumed_WithTheClientsIdentity(int version, bool stateful)
    {
        var cert = _ca.Spiffe("spiffe://td/client");
        var server = TestTls.Server(_ca.Server("a.test"), new ValidationOptions { Authorities = TestTls.Authorities(_ca) }, o => o with { DisableStatelessResumption = stateful });
        var client = TestTls.Client(cert, with: o => o with { MaxVersion = version });
        Assert.False(Exchange(client, server));
        Assert.True(Exchange(client, server));
        Assert.Equal(2, server.Count(TlsStats.Handshake));
        Assert.Equal(1, server.Count(TlsStats.SessionReused));
        Assert.Equal(1, client.Count(TlsStats.SessionReused));
        Assert.Equal(0, server.Count(TlsStats.NoCertificate));
    }

    [Fact]
    public void Session_OfAnotherHost_IsNotOffered()
    {
        var server = Server(OpenSsl.Tls13);
        var client = Client(OpenSsl.Tls13);
        Exchange(client, server, host: "a");
        Assert.False(Exchange(client, server, host: "b"));
        Assert.True(Exchange(client, server, host: "a"));
    }

    [Fact]
    public void Session_WhereBothKindsAreOff_IsNotResumed()
    {
        var server = TestTls.Server(_ca.Server("a.test"), with: o => o with { DisableStatelessResumption = true, DisableStatefulResumption = true });
        var client = Client(OpenSsl.Tls13);
        Exchange(client, server);
        Assert.False(Exchange(client, server));
        var unwilling = TestTls.Client(with: o => o with { SessionKeysMax = 0 });
        Exchange(unwilling, Server(OpenSsl.Tls13));
        Assert.Equal(0, unwilling.Count(TlsStats.SessionReused));
    }

    // CVE-2022-21654: what was verified by other rules must be verified again.
    [Fact]
    public void Session_UnderOtherVerification_IsNotResumed_EvenWithTheSameTicketKeys()
    {
        byte[] key = Key(1);
        var cert = _ca.Server("a.test");
        var loose = Context("loose");
        var same = Context("loose");
        var strict = Context("strict");
        var client = TestTls.Client(_ca.Spiffe("spiffe://td/client"), with: o => o with { MaxVersion = OpenSsl.Tls13 });
        Exchange(client, loose);
        Assert.True(Exchange(client, same));
        Assert.False(Exchange(client, strict));

        TlsContext Context(string identity) => TestTls.Server(
            cert, new ValidationOptions { Authorities = TestTls.Authorities(_ca), Identity = identity }, o => o with { TicketKeys = [key] });
    }

    [Fact]
    public void TicketKeys_TheFirstSeals_AllOpen()
    {
        byte[] old = Key(2), next = Key(3), other = Key(4);
        var cert = _ca.Server("a.test");
        var client = Client(OpenSsl.Tls13);
        Exchange(client, TestTls.Server(cert, with: o => o with { TicketKeys = [old] }));
        Assert.True(Exchange(client, TestTls.Server(cert, with: o => o with { TicketKeys = [next, old] })));
        Assert.True(Exchange(client, TestTls.Server(cert, with: o => o with { TicketKeys = [next] })));
        Assert.False(Exchange(client, TestTls.Server(cert, with: o => o with { TicketKeys = [other] })));
    }

    // To read a ticket with a certificate in it costs more than the rest of the handshake: who comes back gets a name for what is remembered.
    [Fact]
    public void Session_OfAClientThatComesBack_IsRemembered_UnderOneNameAtATime()
    {
        var server = Verifying();
        var client = TestTls.Client(_ca.Spiffe("spiffe://td/client"), with: o => o with { MaxVersion = OpenSsl.Tls13 });
        Assert.False(Exchange(client, server));
        Assert.Equal(0, OpenSsl.RememberedSessions(server.Handle));
        for (int i = 0; i < 5; i++)
        {
            Assert.True(Exchange(client, server));
            Assert.Equal(1, OpenSsl.RememberedSessions(server.Handle));
        }
        Assert.Equal(5, server.Count(TlsStats.SessionReused));
    }

    // RFC 8446 section 8.1.
    [Fact]
    public void Session_ThatIsRemembered_ServesOnce()
    {
        var server = Verifying();
        var client = TestTls.Client(_ca.Spiffe("spiffe://td/client"), with: o => o with { MaxVersion = OpenSsl.Tls13 });
        Exchange(client, server);
        Exchange(client, server);
        var sessions = TlsWorker.Of(_loop).SessionsOf(client);
        nint session = sessions.Take("one host", null);
        Assert.Equal(1, OpenSsl.SSL_SESSION_up_ref(session));
        sessions.Add("first", null, session);
        sessions.Add("second", null, session);
        Assert.True(Exchange(client, server, host: "first"));
        Assert.False(Exchange(client, server, host: "second"));
    }

    [Fact]
    public void Session_WithoutRoom_OrWithoutACertificate_OrUnderGivenKeys_StaysInItsTicket()
    {
        var client = TestTls.Client(_ca.Spiffe("spiffe://td/client"), with: o => o with { MaxVersion = OpenSsl.Tls13 });
        var full = Verifying();
        OpenSsl.SetSessionCacheSize(full.Handle, 1);
        foreach (string host in new[] { "a", "b", "a", "b", "b", "a" })
            Exchange(client, full, host);
        Assert.Equal(1, OpenSsl.RememberedSessions(full.Handle));
        Assert.Equal(4, full.Count(TlsStats.SessionReused));

        var keyed = Verifying(o => o with { TicketKeys = [Key(5)] });
        var anonymous = Server(OpenSsl.Tls13);
        for (int i = 0; i < 3; i++)
        {
            Exchange(client, keyed, "keyed");
            Exchange(Client(OpenSsl.Tls13), anonymous, "anonymous");
        }
        Assert.Equal((0, 0), (OpenSsl.RememberedSessions(keyed.Handle), OpenSsl.RememberedSessions(anonymous.Handle)));
        Assert.Equal(2, keyed.Count(TlsStats.SessionReused));
    }

    // A session is the verdict on a certificate; renewed over and over, it would let one in that has expired long ago.
    [Theory]
    [InlineData(OpenSsl.Tls12)]
    [InlineData(OpenSsl.Tls13)]
    public void Session_EndsWithTheClientsCertificate(int version)
    {
        const int leftS = 3600;
        var until = DateTimeOffset.FromUnixTimeSeconds(SystemTime.RealtimeNs / 1_000_000_000 + leftS); // OpenSSL's own clock
        var server = Verifying();
        var client = TestTls.Client(
            _ca.Sign("", san => san.AddUri(new Uri("spiffe://td/client")), until: until), with: o => o with { MaxVersion = version });
        for (int i = 0; i < 3; i++)
        {
            var pair = new TlsPair(_loop, client, server, host: "one host").Shake();
            pair.Send(pair.Client, "q");
            pair.Send(pair.Server, "a");
            pair.Expect(pair.ClientSide, 1);
            Assert.Equal(i > 0, pair.ServerTransport.IsResumed);
            Assert.InRange(OpenSsl.SSL_SESSION_get_timeout(OpenSsl.SSL_get_session(pair.ServerTransport.Handle)), 1, leftS);
            pair.Close();
        }
    }

    // ---- what a key is for ------------------------------------------------------------------------------------------------

    [Theory]
    [InlineData(OpenSsl.Tls12, X509KeyUsageFlags.DigitalSignature, true)]
    [InlineData(OpenSsl.Tls12, X509KeyUsageFlags.KeyEncipherment, false)]
    [InlineData(OpenSsl.Tls13, X509KeyUsageFlags.DigitalSignature, true)]
    [InlineData(OpenSsl.Tls13, X509KeyUsageFlags.KeyEncipherment, false)]
    public void RsaKey_ThatMayNotSign_IsRefused_OrCountedWhereThatIsNotEnforced(int version, X509KeyUsageFlags usage, bool fits)
    {
        var server = TestTls.Server(_ca.Sign("a.test", san => san.AddDnsName("a.test"), rsaBits: 2048, keyUsage: usage));
        var client = TestTls.Client(with: o => o with { MinVersion = version, MaxVersion = version });
        var pair = new TlsPair(_loop, client, server);
        if (fits)
        {
            pair.Shake().Close();
        }
        else
        {
            // By then the server has done its part, and sees no more than the end: a FIN, or a RST where the client leaves its tickets unread.
            _loop.Until(() => pair.ClientSide.IsOver && (pair.ServerSide.Ended || pair.ServerSide.IsOver));
            Assert.Contains("KEY_USAGE_BIT_INCORRECT", pair.ClientSide.FailureReason);
            if (!pair.ServerSide.IsOver)
                pair.Server.Close(Failure.None);
            _loop.Settle();
        }
        Assert.Equal((fits ? 0 : 1, fits ? 1 : 0), (client.Count(TlsStats.ConnectionError), client.Count(TlsStats.Handshake)));
        Assert.Equal(0, client.Count(TlsStats.WasKeyUsageInvalid));

        var lax = TestTls.Client(with: o => o with { MinVersion = version, MaxVersion = version, EnforceKeyUsage = false });
        new TlsPair(_loop, lax, server).Shake().Close();
        Assert.Equal(fits ? 0 : 1, lax.Count(TlsStats.WasKeyUsageInvalid));
    }

    // ---- ends and updates -----------------------------------------------------------------------------------------------

    [Fact]
    public void CloseNotify_EndsOneDirection()
    {
        var pair = new TlsPair(_loop, Client(OpenSsl.Tls13), Server(OpenSsl.Tls13)).Shake();
        pair.Client.Write("last words"u8);
        pair.Client.ShutdownWrite();
        Assert.Equal("last words", pair.Expect(pair.ServerSide, 10));
        _loop.Until(() => pair.ServerSide.Ended);
        pair.Send(pair.Server, "heard");
        Assert.Equal("heard", pair.Expect(pair.ClientSide, 5));
        pair.Server.ShutdownWrite();
        _loop.Until(() => pair.ClientSide.IsOver && pair.ServerSide.IsOver);
        Assert.Equal((Failure.None, Failure.None), (pair.ClientSide.Reason, pair.ServerSide.Reason));
    }

    [Fact]
    public void KeyUpdate_OfEitherSide_GoesUnnoticed()
    {
        var pair = new TlsPair(_loop, Client(OpenSsl.Tls13), Server(OpenSsl.Tls13)).Shake();
        foreach (var transport in new[] { pair.ClientTransport, pair.ServerTransport })
        {
            const int requested = 1;
            Assert.Equal(1, OpenSsl.SSL_key_update(transport.Handle, requested));
            pair.Send(pair.Client, "q");
            pair.Send(pair.Server, "a");
            pair.Send(pair.Client, "q");
        }
        Assert.Equal("qqqq", pair.Expect(pair.ServerSide, 4));
        Assert.Equal("aa", pair.Expect(pair.ClientSide, 2));
        pair.Close();
    }

    // A peer that asks for new keys over and over without reading the answers is cut off, not kept answers for.
    [Fact]
    public void KeyUpdate_Flood_IsBounded()
    {
        using var wire = new TlsWire(_loop, Client(OpenSsl.Tls13), Server(OpenSsl.Tls13));
        wire.Pump();
        Assert.True(wire.ServerSide.Connected);
        var client = (TlsTransport)wire.Client.Transport;
        wire.Server.Write(new byte[600_000]); // fills the socket, which nobody reads
        _loop.Step(4);
        int rounds = 0;
        while (!wire.ServerSide.IsOver && rounds < 20_000)
        {
            const int requested = 1;
            OpenSsl.SSL_key_update(client.Handle, requested);
            wire.Client.Write("x"u8);
            _loop.Step();
            wire.PassFromClient();
            rounds++;
        }
        Assert.True(wire.ServerSide.IsOver || wire.ServerSide.Received.Count == rounds, $"after {rounds}");
        Assert.InRange(_loop.Loop.Slab.RentedCount * _loop.Loop.Slab.BlockSize, 0, 4 * 1024 * 1024);
    }

    [DllImport("libssl.so.3")]
    private static extern int SSL_renegotiate(nint ssl);

    [Fact]
    public void Renegotiation_IsRefused()
    {
        var server = Server(OpenSsl.Tls12);
        var pair = new TlsPair(_loop, TestTls.Client(with: o => o with { MaxVersion = OpenSsl.Tls12, AllowRenegotiation = true }), server).Shake();
        Assert.Equal(1, SSL_renegotiate(pair.ClientTransport.Handle));
        pair.Client.Write("x"u8);
        _loop.Until(() => pair.ClientSide.IsOver);
        Assert.Contains("renegotiation", pair.ClientSide.FailureReason);
        Assert.Equal(1, server.Count(TlsStats.Handshake));
        pair.Close();
    }

    [Fact]
    public void NotTls_IsRefused_AndCounted()
    {
        var server = Server(OpenSsl.Tls13);
        using var wire = new TlsWire(_loop, Client(OpenSsl.Tls13), server);
        wire.Inject(toServer: true, "GET / HTTP/1.1\r\nhost: a\r\n\r\n"u8);
        Assert.True(wire.ServerSide.IsOver);
        Assert.Contains("HTTP_REQUEST", wire.ServerSide.FailureReason);
        Assert.Equal(1, server.Count(TlsStats.ConnectionError));
    }

    [Fact]
    public void Versions_OutsideTheRange_AreRefused()
    {
        var server = TestTls.Server(_ca.Server("a.test"), with: o => o with { MinVersion = OpenSsl.Tls13 });
        var pair = new TlsPair(_loop, TestTls.Client(with: o => o with { MaxVersion = OpenSsl.Tls12 }), server).ShakeInVain();
        Assert.Contains("UNSUPPORTED_PROTOCOL", pair.ServerSide.FailureReason);
        Assert.Equal(1, server.Count(TlsStats.ConnectionError));
        // By default nothing below 1.2.
        var old = TestTls.Client(with: o => o with { MinVersion = OpenSsl.Tls10, MaxVersion = OpenSsl.Tls11 });
        new TlsPair(_loop, old, Server(OpenSsl.Tls13)).ShakeInVain();
        // Asked for by name, it is spoken.
        var both = TestTls.Server(_ca.Server("a.test"), with: o => o with { MinVersion = OpenSsl.Tls10, CipherSuites = ["ECDHE-ECDSA-AES128-SHA"] });
        var lax = TestTls.Client(with: o => o with { MinVersion = OpenSsl.Tls10, MaxVersion = OpenSsl.Tls11, CipherSuites = ["ECDHE-ECDSA-AES128-SHA"] });
        var spoken = new TlsPair(_loop, lax, both).Shake();
        Assert.Equal("TLSv1.1", spoken.ServerTransport.VersionName);
        Assert.Equal("ECDHE-ECDSA-AES128-SHA", spoken.ServerTransport.Facts!.Cipher);
        spoken.Close();
    }

    [Fact]
    public void Handshake_ThatDoesNotComeToAnEnd_TimesOut()
    {
        var side = new TlsPair.Side();
        var (connection, peer) = _loop.Connected(side);
        _loop.Until(() => side.Connected);
        connection.ChangeTransport(TlsTransport.Accept(_loop, 0, Server(OpenSsl.Tls13)), 5000);
        _loop.Settle();
        _loop.Advance(4999);
        Assert.False(side.IsOver);
        _loop.Advance(2);
        Assert.True(side.IsOver);
        peer.Dispose();
    }

    // ---- several certificates -------------------------------------------------------------------------------------------

    [Theory]
    [InlineData("a.test", false, "a.test")]
    [InlineData("b.test", false, "b.test")]
    [InlineData("x.c.test", false, "*.c.test")]
    [InlineData("", false, "a.test")]
    [InlineData("nobody.test", false, "a.test")]
    [InlineData("d.test", false, "d.test")]
    [InlineData("d.test", true, "d.test rsa")]
    public void Certificate_IsChosenByTheNameAskedFor_AndTheKeysTheClientTakes(string name, bool rsaOnly, string expected)
    {
        var a = _ca.Server("a.test");
        var b = _ca.Server("b.test");
        var c = _ca.Server("*.c.test");
        var rsa = _ca.Sign("d rsa", san => san.AddDnsName("d.test"), rsaBits: 2048);
        var d = _ca.Server("d.test");
        var certs = new (TestCert Cert, string Name)[] { (a, "a.test"), (b, "b.test"), (c, "*.c.test"), (rsa, "d.test rsa"), (d, "d.test") };
        var server = TestTls.Context(new TlsOptions { IsServer = true }, [.. certs.Select(x => TestTls.Certificate(x.Cert))], null, null, null);
        var client = TestTls.Client(validation: new ValidationOptions { Authorities = TestTls.Authorities(_ca) },
            with: o => rsaOnly ? o with { SignatureAlgorithms = ["rsa_pss_rsae_sha256", "rsa_pkcs1_sha256"], MaxVersion = OpenSsl.Tls13 } : o);
        // The authority signs with ECDSA, which a client of RSA alone cannot verify; only the choice is looked at there.
        if (rsaOnly)
            client = TestTls.Client(with: o => o with { SignatureAlgorithms = ["rsa_pss_rsae_sha256", "rsa_pkcs1_sha256"] });
        var pair = new TlsPair(_loop, client, server, serverName: name).Shake();
        Assert.Equal(certs.Single(x => x.Name == expected).Cert.Fingerprint, pair.ClientTransport.Peer!.Sha256);
        pair.Close();
    }

    [Fact]
    public void Objects_AreGivenBack()
    {
        int before = TlsWorker.Of(_loop).OpenCount;
        for (int i = 0; i < 20; i++)
            Exchange(Client(OpenSsl.Tls13), Server(OpenSsl.Tls13));
        Assert.Equal(before, TlsWorker.Of(_loop).OpenCount);
        Assert.Equal(0, _loop.Loop.Slab.RentedCount);
    }

    /// <summary>A handshake and a word each way, so that tickets have come; true when it was a resumed one.</summary>
    private bool Exchange(TlsContext client, TlsContext server, object? host = null)
    {
        var pair = new TlsPair(_loop, client, server, host: host ?? "one host").Shake();
        pair.Send(pair.Client, "q");
        pair.Expect(pair.ServerSide, 1);
        pair.Send(pair.Server, "a");
        pair.Expect(pair.ClientSide, 1);
        bool resumed = pair.ServerTransport.IsResumed;
        if (server.Verifier is not null)
            Assert.Equal(["spiffe://td/client"], pair.ServerTransport.Peer!.UriSans);
        pair.Close();
        return resumed;
    }

    private TlsContext Verifying(Func<TlsOptions, TlsOptions>? with = null) =>
        TestTls.Server(_ca.Server("a.test"), new ValidationOptions { Authorities = TestTls.Authorities(_ca) }, with);

    private static byte[] Key(byte first) => [.. Enumerable.Range(0, 80).Select(i => (byte)(first * 83 + i * 31))];

    private TlsContext Server(int maxVersion) => TestTls.Server(_ca.Server("a.test"), with: o => o with { MaxVersion = maxVersion });

    private static TlsContext Client(int maxVersion) => TestTls.Client(with: o => o with { MaxVersion = maxVersion });

    private static string[] Split(string list) => list.Length == 0 ? [] : list.Split(',');

    private static string Text(TlsPair.Side side) => Encoding.Latin1.GetString(side.Received.ToArray());

    public void Dispose()
    {
        _loop.Dispose();
        _ca.Dispose();
    }
}
