using System;
using Sidecar.Tests.Harness;
using Sidecar.Tls;
using Xunit;

namespace Sidecar.Tests.Tls;

/// <summary>OCSP responses: read once, and shown to clients that ask, as the policy says.</summary>
public sealed unsafe class OcspStapleTests : IDisposable
{
    private const int StatusTypeCommand = 65;
    private const int StatusResponseCommand = 70;

    private readonly TestCa _ca = new();
    private readonly TestLoop _loop = new();

    private DateTimeOffset Now => DateTimeOffset.FromUnixTimeMilliseconds(_loop.Loop.UnixMs);

    public void Dispose()
    {
        _loop.Dispose();
        _ca.Dispose();
    }

    [Fact]
    public void Response_IsRead()
    {
        var cert = _ca.Server("a.test");
        var from = new DateTimeOffset(2024, 5, 6, 7, 8, 9, TimeSpan.Zero);
        var staple = OcspStaple.Parse(_ca.Ocsp(cert, from, from.AddHours(1)), out string problem)!;
        Assert.Equal("", problem);
        Assert.Equal(TestTls.Certificate(cert).Info.Serial, staple.Serial);
        Assert.Equal((from.ToUnixTimeSeconds(), from.AddHours(1).ToUnixTimeSeconds()), (staple.ThisUpdateUnixS, staple.NextUpdateUnixS!.Value));
        Assert.False(staple.IsExpired(from.AddHours(1).ToUnixTimeSeconds()));
        Assert.True(staple.IsExpired(from.AddHours(1).ToUnixTimeSeconds() + 1));
        Assert.True(OcspStaple.Parse(_ca.Ocsp(cert, from, null), out _)!.IsExpired(0));
    }

    [Fact]
    public void Response_OfAnythingElse_IsRefused()
    {
        var cert = _ca.Server("a.test");
        Assert.Equal("OCSP response is malformed", Problem("no DER"u8.ToArray()));
        Assert.Equal("OCSP response is malformed", Problem([]));
        Assert.Equal("OCSP response was unsuccessful", Problem(_ca.Ocsp(cert, Now, null, status: 3)));
        Assert.Equal("OCSP Response must be for one certificate only", Problem(_ca.Ocsp(cert, Now, null, count: 2)));
        byte[] whole = _ca.Ocsp(cert, Now, null);
        for (int length = 0; length < whole.Length; length++)
            Assert.NotEqual("", Problem(whole[..length]));

        static string Problem(byte[] der)
        {
            Assert.Null(OcspStaple.Parse(der, out string problem));
            return problem;
        }
    }

    /// <param name="response">Of the certificate: valid, expired, or none.</param>
    /// <param name="policy">Of the context.</param>
    /// <param name="mustStaple">The certificate's own wish.</param>
    /// <param name="expected">For a client that asks.</param>
    [Theory]
    [InlineData("valid", "Lenient", false, "staple")]
    [InlineData("expired", "Lenient", false, "omit")]
    [InlineData("none", "Lenient", false, "omit")]
    [InlineData("valid", "Strict", false, "staple")]
    [InlineData("expired", "Strict", false, "fail")]
    [InlineData("none", "Strict", false, "omit")]
    [InlineData("valid", "Must", false, "staple")]
    [InlineData("expired", "Must", false, "fail")]
    [InlineData("none", "Must", false, "Required OCSP response is missing from TLS context")]
    [InlineData("valid", "Lenient", true, "staple")]
    [InlineData("expired", "Lenient", true, "fail")]
    [InlineData("none", "Lenient", true, "OCSP response is required for must-staple certificate")]
    public void Client_GetsWhatThePolicySays(string response, string policy, bool mustStaple, string expected)
    {
        foreach (int version in new[] { OpenSsl.Tls12, OpenSsl.Tls13 })
        {
            var certificate = Certificate(response, mustStaple, out byte[] der);
            var options = new TlsOptions { IsServer = true, OcspPolicy = Enum.Parse<OcspPolicy>(policy) };
            if (TlsContext.Create(options, [certificate], null, TestTls.Stats(), out _, out string problem) is not { } server)
            {
                Assert.Equal(expected, problem);
                continue;
            }
            Assert.Equal(expected == "staple" ? der : [], Ask(server, version, asks: true, succeeds: expected != "fail"));
            Assert.Equal(1, server.Count(TlsStats.OcspStaplingRequests));
            Assert.Equal(expected == "staple" ? 1 : 0, server.Count(TlsStats.OcspStaplingResponses));
            Assert.Equal(expected == "omit" ? 1 : 0, server.Count(TlsStats.OcspStaplingOmitted));
            Assert.Equal(expected == "fail" ? 1 : 0, server.Count(TlsStats.OcspStaplingFailed));

            Assert.Equal([], Ask(server, version, asks: false, succeeds: true));
            Assert.Equal(1, server.Count(TlsStats.OcspStaplingRequests));
        }
    }

    [Fact]
    public void Certificate_ThatCannotBeShown_IsPassedOverForAnother()
    {
        var expired = Certificate("expired", mustStaple: true, out _);
        var valid = Certificate("valid", mustStaple: false, out byte[] der);
        var server = TestTls.Context(new TlsOptions { IsServer = true }, [expired, valid], null, null, null);
        Assert.Equal(der, Ask(server, OpenSsl.Tls13, asks: true, succeeds: true));
        Assert.Equal(0, server.Count(TlsStats.OcspStaplingFailed));
    }

    private TlsCertificate Certificate(string response, bool mustStaple, out byte[] der)
    {
        var cert = _ca.Sign("a.test", san => san.AddDnsName("a.test"), mustStaple: mustStaple);
        var certificate = TestTls.Certificate(cert);
        der = _ca.Ocsp(cert, Now.AddDays(-2), response == "expired" ? Now.AddDays(-1) : Now.AddDays(1));
        if (response != "none")
            Assert.True(certificate.TryStaple(der, out string problem), problem);
        return certificate;
    }

    private byte[] Ask(TlsContext server, int version, bool asks, bool succeeds)
    {
        var client = TestTls.Client(with: o => o with { MinVersion = version, MaxVersion = version });
        if (asks)
            OpenSsl.SSL_CTX_ctrl(client.Handle, StatusTypeCommand, 1, null);
        var pair = new TlsPair(_loop, client, server, serverName: "a.test");
        if (!succeeds)
        {
            pair.ShakeInVain();
            return [];
        }
        pair.Shake();
        byte* bytes = null;
        nint length = OpenSsl.SSL_ctrl(pair.ClientTransport.Handle, StatusResponseCommand, 0, &bytes);
        byte[] received = length > 0 ? new ReadOnlySpan<byte>(bytes, (int)length).ToArray() : [];
        pair.Close();
        return received;
    }
}
