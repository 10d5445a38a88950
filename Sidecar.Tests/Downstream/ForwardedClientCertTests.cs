using System;
using System.Collections.Generic;
using System.Text;
using Sidecar.Downstream;
using Sidecar.Filters;
using Sidecar.Http;
using Sidecar.Http.H1;
using Sidecar.Http.H2;
using Sidecar.Telemetry.Stats;
using Sidecar.Tests.Harness;
using Sidecar.Tls;
using Xunit;

namespace Sidecar.Tests.Downstream;

/// <summary>x-forwarded-client-cert in its five modes, on real connections: with a client's certificate, without one, and without TLS.</summary>
public sealed class ForwardedClientCertTests : IDisposable
{
    private const string Client = "spiffe://cluster.local/ns/a/sa/client";
    private const string Server = "spiffe://cluster.local/ns/b/sa/server";

    private readonly TestCa _ca = new();
    private readonly TestLoop _loop = new();

    [Theory]
    [InlineData("Sanitize", "")]
    [InlineData("ForwardOnly", "")]
    [InlineData("AppendForward", "")]
    [InlineData("SanitizeSet", "")]
    [InlineData("AlwaysForwardOnly", "Hash=old")]
    public void WithoutACertificate_NothingIsBelieved(string mode, string expected)
    {
        Assert.Equal(expected, Apply(null, mode, ClientCertDetails.Uri, "Hash=old"));
        var pair = Pair(null);
        Assert.Equal(expected, Apply(pair.ServerTransport, mode, ClientCertDetails.Uri, "Hash=old"));
        pair.Close();
    }

    [Fact]
    public void WithACertificate_TheModesDiffer()
    {
        var cert = _ca.Spiffe(Client);
        var pair = Pair(cert);
        string element = $"By={Server};Hash={cert.Fingerprint};URI={Client}";
        Assert.Equal("", Run("Sanitize"));
        Assert.Equal("Hash=old", Run("ForwardOnly"));
        Assert.Equal("Hash=old," + element, Run("AppendForward"));
        Assert.Equal(element, Run("SanitizeSet"));
        Assert.Equal("Hash=old", Run("AlwaysForwardOnly"));
        Assert.Equal(element, Apply(pair.ServerTransport, "AppendForward", ClientCertDetails.Uri, ""));
        pair.Close();

        string Run(string mode) => Apply(pair.ServerTransport, mode, ClientCertDetails.Uri, "Hash=old");
    }

    [Fact]
    public void Details_InEnvoysOrder()
    {
        var cert = _ca.Sign("client", san =>
        {
            san.AddDnsName("one.test");
            san.AddDnsName("two.test");
        });
        var pair = Pair(cert);
        string pem = cert.ChainPem.Replace("\n", "%0A").Replace(" ", "%20").Replace("+", "%2B").Replace("/", "%2F").Replace("=", "%3D");
        Assert.Equal(
            $"By={Server};Hash={cert.Fingerprint};Cert=\"{pem}\";Chain=\"{pem}\";Subject=\"CN=client\";URI=;DNS=one.test;DNS=two.test",
            Apply(pair.ServerTransport, "SanitizeSet", (ClientCertDetails)31, ""));
        pair.Close();
    }

    [Fact]
    public void Subject_IsQuoted_AndEmptyOnesAreThere()
    {
        var pair = Pair(_ca.Sign("\"a\"\"b\"", san => san.AddDnsName("x.test")));
        Assert.Contains(";Subject=\"CN=a\\\"b\"", Apply(pair.ServerTransport, "SanitizeSet", ClientCertDetails.Subject, ""));
        pair.Close();
        var nameless = Pair(_ca.Spiffe(Client));
        Assert.EndsWith(";Subject=\"\"", Apply(nameless.ServerTransport, "SanitizeSet", ClientCertDetails.Subject, ""));
        nameless.Close();
    }

    // What an authority let into a name must not become an element of its own, nor end the field.
    [Fact]
    public void Name_WithSeparators_StaysOneName()
    {
        byte[] evil = Encoding.ASCII.GetBytes("spiffe://a,By=x;URI=spiffe://victim\r\nx: y");
        byte[] san = [0x30, (byte)(evil.Length + 2), 0x86, (byte)evil.Length, .. evil];
        var pair = Pair(_ca.Sign("", _ => { }, rawNames: san));
        Assert.EndsWith(";URI=\"spiffe://a,By=x;URI=spiffe://victim%0D%0Ax: y\"", Apply(pair.ServerTransport, "SanitizeSet", ClientCertDetails.Uri, ""));
        pair.Close();
    }

    private TlsPair Pair(TestCert? client) => new TlsPair(
        _loop, TestTls.Client(client), TestTls.Server(_ca.Spiffe(Server), new ValidationOptions { Authorities = TestTls.Authorities(_ca) })).Shake();

    private static string Apply(TlsTransport? tls, string mode, ClientCertDetails details, string received)
    {
        var config = new HttpConnectionManagerConfig
        {
            StatPrefix = "t",
            Stats = new StatsRegistry(1).Scope(HttpStats.Schema, "http.t."),
            Filters = [],
            Http1 = Http1Options.ServerDefaults,
            Http2 = Http2Options.ServerDefaults,
            ForwardClientCert = Enum.Parse<ForwardClientCert>(mode),
            ClientCertDetails = details,
        };
        var head = new RequestHead();
        head.Add(HeaderId.Method, "GET"u8);
        if (received.Length > 0)
            head.Add(HeaderId.XForwardedClientCert, Encoding.ASCII.GetBytes(received));
        if (tls is not null)
            tls.HandlerNote = null;
        ForwardedClientCert.Apply(head, tls, config);
        var values = new List<string>();
        foreach (var field in head)
        {
            if (Encoding.ASCII.GetString(field.Name) == "x-forwarded-client-cert")
                values.Add(Encoding.Latin1.GetString(field.Value));
        }
        return string.Join(" | ", values);
    }

    public void Dispose()
    {
        _loop.Dispose();
        _ca.Dispose();
    }
}
