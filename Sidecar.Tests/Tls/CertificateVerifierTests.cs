using System;
using System.Collections.Generic;
using System.Linq;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Sidecar.Telemetry;
using Sidecar.Tests.Harness;
using Sidecar.Tls;
using Xunit;

namespace Sidecar.Tests.Tls;

/// <summary>Verification in whole handshakes: a client presents a certificate, the server judges it; and the other way around.</summary>
public sealed class CertificateVerifierTests : IDisposable
{
    private const string Own = "spiffe://cluster.local/ns/default/sa/client";

    private readonly TestCa _ca = new();
    private readonly TestCa _other = new("other root");
    private readonly TestLoop _loop = new();

    [Fact]
    public void Client_OfTheAuthority_IsAccepted_AndKnown()
    {
        var server = Server(new ValidationOptions { Authorities = TestTls.Authorities(_ca), Sans = [TestTls.San(SanType.Uri, Own)] });
        var pair = new TlsPair(_loop, TestTls.Client(_ca.Spiffe(Own)), server).Shake();
        Assert.True(pair.ServerTransport.IsPeerVerified);
        Assert.Equal([Own], pair.ServerTransport.Peer!.UriSans);
        Assert.Equal(0, server.Count(TlsStats.NoCertificate));
        pair.Close();
    }

    [Fact]
    public void Client_OfAnIntermediate_IsAccepted_AndTheIntermediateAloneCanBeTrusted()
    {
        using var below = _ca.Intermediate("below");
        Accepts(new ValidationOptions { Authorities = TestTls.Authorities(_ca) }, below.Spiffe(Own));
        Accepts(new ValidationOptions { Authorities = TestTls.Authorities(below) }, below.Spiffe(Own));
        Refuses(new ValidationOptions { Authorities = TestTls.Authorities(below) }, _ca.Spiffe(Own), TlsStats.FailVerifyError, "at depth 0: unable to get local issuer certificate");
    }

    [Fact]
    public void Client_OfAnotherAuthority_IsRefused_WithTheReason() =>
        Refuses(new ValidationOptions { Authorities = TestTls.Authorities(_ca) }, _other.Spiffe(Own), TlsStats.FailVerifyError,
            "CERTIFICATE_VERIFY_FAILED:X509_verify_cert: certificate verification error at depth 0: unable to get local issuer certificate:TLS_error_end");

    [Fact]
    public void Client_WithAnotherName_IsRefused() =>
        Refuses(Sans(TestTls.San(SanType.Uri, Own)), _ca.Spiffe("spiffe://elsewhere.local/ns/default/sa/client"), TlsStats.FailVerifySan, ":verify cert failed: SAN matcher:");

    [Fact]
    public void Client_WithoutACertificate_IsRefused_WhereOneIsRequired()
    {
        var required = TestTls.Server(_ca.Server("a.test"), new ValidationOptions { Authorities = TestTls.Authorities(_ca) }, o => o with { RequireClientCertificate = true });
        var pair = new TlsPair(_loop, TestTls.Client(), required).ShakeInVain();
        Assert.Contains(":peer did not provide required client certificate:TLS_error_end", pair.ServerSide.FailureReason);
        Assert.Equal(1, required.Count(TlsStats.FailVerifyNoCert));
        Assert.Equal(0, required.Count(TlsStats.ConnectionError));

        var named = Server(Sans(TestTls.San(SanType.Uri, Own)));
        new TlsPair(_loop, TestTls.Client(), named).ShakeInVain();
        Assert.Equal(1, named.Count(TlsStats.FailVerifyNoCert));

        var optional = Server(new ValidationOptions { Authorities = TestTls.Authorities(_ca) });
        var accepted = new TlsPair(_loop, TestTls.Client(), optional).Shake();
        Assert.False(accepted.ServerTransport.IsPeerVerified);
        Assert.Null(accepted.ServerTransport.Peer);
        Assert.Equal(1, optional.Count(TlsStats.NoCertificate));
        accepted.Close();
    }

    // A name with a NUL in it is not the name before the NUL (CVE-2025-66220).
    [Fact]
    public void Client_WithANulInItsName_IsNotTheNameBeforeIt()
    {
        byte[] evil = [.. Encoding.ASCII.GetBytes(Own), 0, .. ".evil"u8];
        byte[] san = Der(0x30, Der(0x86, evil));
        Refuses(Sans(TestTls.San(SanType.Uri, Own)), _ca.Sign("", _ => { }, rawNames: san), TlsStats.FailVerifySan, "SAN matcher");

        byte[] dns = Der(0x30, Der(0x82, [.. "a.test"u8, 0, .. ".evil"u8]));
        Refuses(Sans(TestTls.San(SanType.Dns, "a.test")), _ca.Sign("", _ => { }, rawNames: dns), TlsStats.FailVerifySan, "SAN matcher");
    }

    [Fact]
    public void Client_WithAUriThatIsTheDnsNameWanted_IsRefused() =>
        Refuses(Sans(TestTls.San(SanType.Dns, "a.test")), _ca.Sign("", _ => { }, rawNames: Der(0x30, Der(0x86, "a.test"u8.ToArray()))), TlsStats.FailVerifySan, "SAN matcher");

    [Fact]
    public void Client_WithAnAddress_IsMatchedByItsText()
    {
        var sans = Sans(TestTls.San(SanType.IpAddress, "10.1.2.3"));
        Accepts(sans, _ca.Server("10.1.2.3"));
        Refuses(sans, _ca.Server("10.1.2.4"), TlsStats.FailVerifySan, "SAN matcher");
        Accepts(Sans(TestTls.San(SanType.IpAddress, "2001:db8::1")), _ca.Server("2001:db8::1"));
    }

    // CVE-2022-21657: a certificate for servers only is no client's.
    [Fact]
    public void Client_WithACertificateForServersOnly_IsRefused()
    {
        const string serverAuth = "1.3.6.1.5.5.7.3.1", clientAuth = "1.3.6.1.5.5.7.3.2";
        var authorities = new ValidationOptions { Authorities = TestTls.Authorities(_ca) };
        Refuses(authorities, Purposed(serverAuth), TlsStats.FailVerifyError, "unsuitable certificate purpose");
        Accepts(authorities, Purposed(clientAuth));
        Accepts(authorities, _ca.Sign("", san => san.AddUri(new Uri(Own)), purposes: []));

        TestCert Purposed(string purpose) => _ca.Sign("", san => san.AddUri(new Uri(Own)), purposes: [purpose]);
    }

    [Fact]
    public void Client_WithAnExpiredCertificate_IsRefused_UnlessAllowed()
    {
        var expired = _ca.Sign("", san => san.AddUri(new Uri(Own)), expired: true);
        Refuses(new ValidationOptions { Authorities = TestTls.Authorities(_ca) }, expired, TlsStats.FailVerifyError, "certificate has expired");
        Accepts(new ValidationOptions { Authorities = TestTls.Authorities(_ca), AllowExpired = true }, expired);
    }

    [Fact]
    public void Client_ThatIsRevoked_IsRefused()
    {
        var good = _ca.Spiffe(Own);
        var bad = _ca.Spiffe(Own);
        var crls = TrustBundle.CrlsFromPem(Encoding.ASCII.GetBytes(_ca.Crl(bad)), "<inline>", out _);
        var options = new ValidationOptions { Authorities = TestTls.Authorities(_ca), Crls = crls };
        Accepts(options, good);
        Refuses(options, bad, TlsStats.FailVerifyError, "certificate revoked");
    }

    [Fact]
    public void Crl_OfTheLeafOnly_LeavesAuthoritiesWithoutOneAlone()
    {
        using var below = _ca.Intermediate("below");
        var leafCrl = TrustBundle.CrlsFromPem(Encoding.ASCII.GetBytes(below.Crl()), "<inline>", out _);
        var all = new ValidationOptions { Authorities = TestTls.Authorities(_ca), Crls = leafCrl };
        Refuses(all, below.Spiffe(Own), TlsStats.FailVerifyError, "unable to get certificate CRL");
        Accepts(all with { CrlOnlyForLeaf = true }, below.Spiffe(Own));
    }

    [Fact]
    public void Chain_LongerThanAllowed_IsRefused()
    {
        using var one = _ca.Intermediate("one");
        using var two = one.Intermediate("two");
        var options = new ValidationOptions { Authorities = TestTls.Authorities(_ca), DepthMax = 1 };
        Accepts(options, one.Spiffe(Own));
        Refuses(options, two.Spiffe(Own), TlsStats.FailVerifyError, "certificate chain too long");
    }

    [Fact]
    public void Hash_OfCertificateOrKey_EitherSuffices()
    {
        var right = _ca.Spiffe(Own);
        var wrong = _ca.Spiffe(Own);
        byte[] hash = SHA256.HashData(right.Der);
        using var parsed = X509CertificateLoader.LoadCertificate(right.Der);
        byte[] key = SHA256.HashData(parsed.PublicKey.ExportSubjectPublicKeyInfo());
        byte[] none = new byte[32];
        // As Envoy: hashes need no authority, they are the trust.
        Accepts(new ValidationOptions { Hashes = [none, hash] }, right);
        Accepts(new ValidationOptions { KeyHashes = [key] }, right);
        Accepts(new ValidationOptions { Hashes = [none], KeyHashes = [key] }, right);
        Refuses(new ValidationOptions { Hashes = [hash] }, wrong, TlsStats.FailVerifyCertHash, ":verify cert failed: cert hash and spki:");
        Refuses(new ValidationOptions { KeyHashes = [key] }, wrong, TlsStats.FailVerifyCertHash, "cert hash and spki");
    }

    [Fact]
    public void Untrusted_WhenAccepted_IsCountedAndNotVerified()
    {
        var server = Server(new ValidationOptions { Authorities = TestTls.Authorities(_ca), AcceptUntrusted = true });
        var pair = new TlsPair(_loop, TestTls.Client(_other.Spiffe(Own)), server).Shake();
        Assert.Equal(1, server.Count(TlsStats.FailVerifyError));
        Assert.True(pair.ServerTransport.HasPeer);
        Assert.False(pair.ServerTransport.IsPeerVerified);
        pair.Close();
    }

    [Fact]
    public void Spiffe_TheTrustDomainChoosesTheAuthorities()
    {
        var options = new ValidationOptions
        {
            TrustDomains = new Dictionary<string, TrustBundle> { ["cluster.local"] = TestTls.Authorities(_ca), ["elsewhere.local"] = TestTls.Authorities(_other) },
        };
        Accepts(options, _ca.Spiffe(Own));
        Accepts(options, _other.Spiffe("spiffe://elsewhere.local/x"));
        Refuses(options, _other.Spiffe(Own), TlsStats.FailVerifyError, "unable to get local issuer certificate");
        Refuses(options, _ca.Spiffe("spiffe://third.local/x"), TlsStats.FailVerifyError, "no trust bundle store for trust domain third.local");
        Refuses(options, _ca.Server("a.test"), TlsStats.FailVerifyError, "no SPIFFE ID");
        Refuses(options, _ca.Sign("", san => { san.AddUri(new Uri(Own)); san.AddUri(new Uri("spiffe://cluster.local/b")); }), TlsStats.FailVerifyError, "exactly one URI SAN");
    }

    [Fact]
    public void Server_IsVerifiedByItsClient_AndByTheNameAskedFor()
    {
        var authorities = new ValidationOptions { Authorities = TestTls.Authorities(_ca) };
        Shake(authorities, _ca.Server("a.test"), "a.test", verifyName: true);
        Shake(authorities, _ca.Server("*.test"), "a.test", verifyName: true);
        var client = TestTls.Client(validation: authorities, with: o => o with { VerifyServerName = true });
        new TlsPair(_loop, client, TestTls.Server(_ca.Server("b.test")), serverName: "a.test").ShakeInVain();
        Assert.Equal(1, client.Count(TlsStats.FailVerifySan));

        var stranger = TestTls.Client(validation: authorities);
        var pair = new TlsPair(_loop, stranger, TestTls.Server(_other.Server("a.test"))).ShakeInVain();
        Assert.Equal(1, stranger.Count(TlsStats.FailVerifyError));
        Assert.Equal(Failure.UpstreamTlsHandshake, pair.ClientSide.Reason);
    }

    private void Shake(ValidationOptions validation, TestCert server, string name, bool verifyName) =>
        new TlsPair(_loop, TestTls.Client(validation: validation, with: o => o with { VerifyServerName = verifyName }), TestTls.Server(server), serverName: name).Shake().Close();

    private ValidationOptions Sans(params SanMatcher[] sans) => new() { Authorities = TestTls.Authorities(_ca), Sans = sans };

    private TlsContext Server(ValidationOptions validation) => TestTls.Server(_ca.Server("a.test"), validation);

    private void Accepts(ValidationOptions validation, TestCert client)
    {
        var pair = new TlsPair(_loop, TestTls.Client(client), Server(validation)).Shake();
        Assert.True(pair.ServerTransport.IsPeerVerified);
        pair.Close();
    }

    private void Refuses(ValidationOptions validation, TestCert client, int counted, string reason)
    {
        var server = Server(validation);
        var pair = new TlsPair(_loop, TestTls.Client(client), server).ShakeInVain();
        Assert.Contains(reason, pair.ServerSide.FailureReason);
        Assert.StartsWith("TLS_error:|", pair.ServerSide.FailureReason);
        foreach (int stat in new[] { TlsStats.FailVerifyError, TlsStats.FailVerifySan, TlsStats.FailVerifyCertHash, TlsStats.FailVerifyNoCert, TlsStats.ConnectionError, TlsStats.Handshake })
            Assert.Equal(stat == counted ? 1 : 0, server.Count(stat));
    }

    private static byte[] Der(byte tag, byte[] content) => content.Length < 128 ? [tag, (byte)content.Length, .. content] : [tag, 0x81, (byte)content.Length, .. content];

    public void Dispose()
    {
        _loop.Dispose();
        _ca.Dispose();
        _other.Dispose();
    }
}
