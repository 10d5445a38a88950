using System;
using System.Text;
using Sidecar.Tests.Harness;
using Sidecar.Tls;
using Xunit;

namespace Sidecar.Tests.Filters.Http.Router;

/// <summary>auto_sni, auto_san_validation and override_auto_sni_header of a cluster's HTTP options.</summary>
public sealed class ServerNamesTests : IDisposable
{
    private const string TlsContext = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
    private const string Sni = "\"auto_sni\": true";
    private const string San = "\"auto_san_validation\": true";

    private readonly TestCa _ca = new();
    private readonly DataPlaneHarness _plane = new();

    public void Dispose()
    {
        _plane.Dispose();
        _ca.Dispose();
    }

    [Theory]
    [InlineData(Sni, "a.test", "", "a.test")]
    [InlineData(Sni, "a.test:8443", "", "a.test")]
    [InlineData(Sni, "127.0.0.1", "", "fixed.test")]
    [InlineData(Sni, "[::1]:80", "", "fixed.test")]
    [InlineData(San, "a.test", "", "fixed.test")]
    [InlineData(Sni + ", \"override_auto_sni_header\": \"X-Name\"", "a.test", "x-name: b.test:1\r\n", "b.test")]
    [InlineData(Sni + ", \"override_auto_sni_header\": \"X-Name\"", "a.test", "x-name: \r\n", "a.test")]
    [InlineData(Sni + ", \"override_auto_sni_header\": \"x-name\"", "a.test", "", "a.test")]
    [InlineData("\"auto_sni\": false", "a.test", "", "fixed.test")]
    public void ServerName_IsTheHostOfTheRequest(string options, string host, string headers, string expected)
    {
        var upstream = _plane.Upstream();
        _plane.Apply(new TestSnapshot().Cluster("up", false, Cluster(options), upstream.Port).Http("http", 0, TestSnapshot.To("up")));
        _plane.Connect().Send($"GET / HTTP/1.1\r\nhost: {host}\r\n{headers}\r\n");
        Assert.Equal(expected, Hello(upstream.Accept()));
    }

    [Fact]
    public void ServerName_IsTheRewrittenHost()
    {
        var upstream = _plane.Upstream();
        _plane.Apply(new TestSnapshot().Cluster("up", false, Cluster(Sni), upstream.Port).Http("http", 0, TestSnapshot.To("up", "\"host_rewrite_literal\": \"new.test\"")));
        _plane.Connect().Send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
        Assert.Equal("new.test", Hello(upstream.Accept()));
    }

    [Fact]
    public void Connections_AreOfOneName()
    {
        using var upstream = new TlsUpstream(_plane.Loop, TestTls.Server(_ca.Server("*.test")));
        _plane.Apply(new TestSnapshot().Cluster("up", false, Cluster(Sni), upstream.Address.Port).Http("http", 0, TestSnapshot.To("up")));
        var client = _plane.Connect();
        Ask(client, upstream, "a.test", 1);
        Ask(client, upstream, "b.test", 2);
        Ask(client, upstream, "a.test", 1);
        Assert.Equal(2, upstream.Peers.Count);
        Assert.Equal("a.test", upstream.Peers[0].ServerName);
        Assert.Equal("b.test", upstream.Peers[1].ServerName);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Name_NotInTheCertificate_IsRefused_WithAuthoritiesOrWithout(bool verifies)
    {
        using var upstream = new TlsUpstream(_plane.Loop, TestTls.Server(_ca.Server("a.test", "127.0.0.1")));
        _plane.Apply(new TestSnapshot().Cluster("up", false, Cluster(Sni + "," + San, verifies), upstream.Address.Port).Http("http", 0, TestSnapshot.To("up")));
        var client = _plane.Connect();
        Ask(client, upstream, "a.test", 1);
        Ask(client, upstream, "127.0.0.1:80", 2);
        client.Send("GET / HTTP/1.1\r\nhost: b.test\r\n\r\n");
        _plane.Loop.Until(() => { upstream.AcceptAll(); return client.Read().Contains("503 Service", StringComparison.Ordinal); });
        Assert.Contains("verify cert failed: verify SAN list", _plane.Expect(client, ":TLS_error_end"));
        Assert.Equal(1, _plane.Stat("cluster.up.ssl.fail_verify_san"));
        Assert.Equal(2, _plane.Stat("cluster.up.ssl.handshake"));
    }

    // A session carries the verdict on the certificate it began with.
    [Fact]
    public void Session_OfOneName_IsNotResumedForAnother()
    {
        using var upstream = new TlsUpstream(_plane.Loop, TestTls.Server(_ca.Server("a.test")));
        _plane.Apply(new TestSnapshot().Cluster("up", false, Cluster(San), upstream.Address.Port).Http("http", 0, TestSnapshot.To("up")));
        for (int i = 1; i <= 2; i++)
        {
            var client = _plane.Connect();
            Ask(client, upstream, "a.test", i);
            upstream.Peers[^1].Close();
            _plane.ExpectStat("cluster.up.upstream_cx_active", 0);
        }
        Assert.Equal(1, _plane.Stat("cluster.up.ssl.session_reused"));
        var other = _plane.Connect();
        other.Send("GET / HTTP/1.1\r\nhost: b.test\r\n\r\n");
        _plane.Loop.Until(() => { upstream.AcceptAll(); return other.Read().Contains("503 Service", StringComparison.Ordinal); });
        Assert.Equal(1, _plane.Stat("cluster.up.ssl.session_reused"));
        Assert.Equal(1, _plane.Stat("cluster.up.ssl.fail_verify_san"));
    }

    private void Ask(TestPeer client, TlsUpstream upstream, string host, int connection)
    {
        int before = client.Text.Length;
        client.Send($"GET / HTTP/1.1\r\nhost: {host}\r\n\r\n");
        var peer = upstream.Accept(connection);
        int heads = Heads(peer);
        _plane.Loop.Until(() => Heads(peer) > heads || peer.Text.EndsWith("\r\n\r\n", StringComparison.Ordinal));
        peer.Send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        _plane.Loop.Until(() => client.Read()[before..].EndsWith("\r\n\r\nok", StringComparison.Ordinal) || client.End);
        Assert.StartsWith("HTTP/1.1 200", client.Text[before..]);
    }

    private static int Heads(TlsUpstreamPeer peer) => peer.Text.Split("\r\n\r\n").Length - 1;

    private string Hello(TestPeer peer) => Hellos.Expect(_plane, peer).ServerName;

    private string Cluster(string options, bool verifies = false)
    {
        string validation = verifies ? "\"validation_context\": {\"trusted_ca\": {\"inline_string\": \"" + _ca.Pem.Replace("\n", "\\n") + "\"}}" : "";
        return TestSnapshot.Fill("""
            "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": {"@type": "$type", "sni": "fixed.test", "common_tls_context": {$validation}}},
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
             "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
             "upstream_http_protocol_options": {$options}, "explicit_http_config": {"http_protocol_options": {}}}}
            """, ("type", TlsContext), ("validation", validation), ("options", options));
    }
}

/// <summary>What an upstream's raw socket has received of TLS.</summary>
internal static class Hellos
{
    /// <summary>Turns until the ClientHello is there: its server name, and the protocols it offers, joined by commas.</summary>
    internal static (string ServerName, string Protocols) Expect(DataPlaneHarness plane, TestPeer peer)
    {
        (string, string)? read = null;
        plane.Loop.Until(() => (read = TryRead(peer)) is not null);
        return read!.Value;
    }

    private static (string, string)? TryRead(TestPeer peer)
    {
        peer.Receive();
        if (ClientHello.TryRead([.. peer.Received], 64 * 1024, new byte[64 * 1024], out var hello) != ClientHelloStatus.Found)
            return null;
        var protocols = new StringBuilder();
        for (int at = 0; at < hello.Protocols.Length; at += 1 + hello.Protocols[at])
            protocols.Append(at == 0 ? "" : ",").Append(Encoding.ASCII.GetString(hello.Protocols.Slice(at + 1, hello.Protocols[at])));
        return (Encoding.ASCII.GetString(hello.ServerName), protocols.ToString());
    }
}
