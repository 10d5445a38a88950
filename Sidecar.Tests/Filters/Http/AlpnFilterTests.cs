using System;
using Istio.Alpn.V2Alpha1;
using Sidecar.Filters;
using Sidecar.Filters.Http;
using Sidecar.Tests.Filters.Http.Router;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Filters.Http;

/// <summary>istio.alpn: what TLS towards the upstream offers, as istiod configures it.</summary>
public sealed class AlpnFilterTests
{
    private const string Http1 = "";
    private const string Http2 = "\"http2_protocol_options\": {},";
    private const string Follow = "\"protocol_selection\": \"USE_DOWNSTREAM_PROTOCOL\", \"http2_protocol_options\": {},";
    private const string Auto = """
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
         "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions", "auto_config": {}}},
        """;

    [Theory]
    [InlineData(Http1, "HTTP/1.1", "", "istio-http/1.1,istio,http/1.1")]
    [InlineData(Http1, "HTTP/1.0", "", "istio-http/1.1,istio,http/1.1")]
    [InlineData(Http2, "HTTP/1.1", "", "istio-h2,istio,h2")]
    [InlineData(Follow, "HTTP/1.1", "", "istio-http/1.1,istio,http/1.1")]
    [InlineData(Auto, "HTTP/1.1", "", "istio-h2,istio,h2")]
    [InlineData(Http1, "HTTP/1.1", "false", "own")]
    [InlineData(Http1, "HTTP/1.1", "true", "istio-http/1.1,istio,http/1.1")]
    public void Offer_FollowsTheProtocolOfTheUpstream(string cluster, string version, string metadata, string expected)
    {
        using var plane = new DataPlaneHarness();
        var upstream = plane.Upstream();
        string mark = metadata.Length == 0 ? "" : "\"metadata\": {\"filter_metadata\": {\"istio\": {\"alpn_override\": \"" + metadata + "\"}}},";
        plane.Apply(new TestSnapshot().Cluster("up", false, cluster + mark + Tls("\"alpn_protocols\": [\"own\"]"), upstream.Port).Http("http", 0, TestSnapshot.To("up"),
            "\"http_protocol_options\": {\"accept_http_10\": true}"));
        plane.ConnectTo(plane.Manager(worker => Filter()(worker))).Send($"GET / {version}\r\nhost: a\r\n\r\n");
        Assert.Equal(expected, Hellos.Expect(plane, upstream.Accept()).Protocols);
    }

    [Fact]
    public void RequestWithoutTheFilter_HasAConnectionOfItsOwn()
    {
        using var plane = new DataPlaneHarness();
        using var ca = new TestCa();
        using var upstream = new TlsUpstream(plane.Loop, TestTls.Server(ca.Server("a.test"), with: o => o with { Alpn = ["istio", "own"] }));
        plane.Apply(new TestSnapshot().Cluster("up", false, Tls("\"alpn_protocols\": [\"own\"]"), upstream.Address.Port).Http("http", 0, TestSnapshot.To("up")));
        var filtered = plane.ConnectTo(plane.Manager(worker => Filter()(worker)));
        var plain = plane.Connect();
        for (int i = 0; i < 2; i++)
        {
            Ask(plane, upstream, filtered, 1);
            Ask(plane, upstream, plain, 2);
        }
        Assert.Equal(["istio", "own"], [upstream.Peers[0].Protocol, upstream.Peers[1].Protocol]);
        Assert.Equal(2, plane.Stat("cluster.up.upstream_cx_total"));
    }

    [Fact]
    public void HostInTheClear_IsNotConcerned()
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        var filtered = plane.ConnectTo(plane.Manager(worker => Filter()(worker)));
        filtered.Send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        var peer = upstream.Accept();
        plane.Expect(peer, "\r\n\r\n");
        peer.Send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        plane.Expect(filtered, "\r\n\r\nok");
        plane.Connect().Send("GET /next HTTP/1.1\r\nhost: a\r\n\r\n");
        plane.Expect(peer, "GET /next");
        Assert.Equal(1, plane.Stat("cluster.up.upstream_cx_total"));
    }

    [Theory]
    [InlineData("", "alpn_override[0].alpn_override[0]", "must be 1 to 255 bytes long")]
    [InlineData("long", "alpn_override[0].alpn_override[0]", "must be 1 to 255 bytes long")]
    [InlineData("protocol", "alpn_override[0].upstream_protocol", "unknown protocol 7")]
    public void Refused_ByPath(string what, string path, string reason)
    {
        using var harness = new FilterHarness();
        string name = what switch { "long" => new string('x', 256), "" => "", _ => "h2" };
        var wire = new FilterConfig { AlpnOverride = { new FilterConfig.Types.AlpnOverride { AlpnOverride_ = { name } } } };
        if (what == "protocol")
            wire.AlpnOverride[0].UpstreamProtocol = (FilterConfig.Types.Protocol)7;
        Assert.Null(AlpnFilter.Create(wire, harness.Config));
        Assert.Equal(new ConfigProblem(path, reason), Assert.Single(harness.Config.Rejections));
    }

    private static HttpFilterFactory Filter()
    {
        var wire = new FilterConfig
        {
            AlpnOverride =
            {
                Row(FilterConfig.Types.Protocol.Http10, "istio-http/1.0", "istio", "http/1.0"),
                Row(FilterConfig.Types.Protocol.Http11, "istio-http/1.1", "istio", "http/1.1"),
                Row(FilterConfig.Types.Protocol.Http2, "istio-h2", "istio", "h2"),
                Row(FilterConfig.Types.Protocol.Http2, "never"),
            },
        };
        using var harness = new FilterHarness();
        return AlpnFilter.Create(wire, harness.Config)!;
    }

    private static FilterConfig.Types.AlpnOverride Row(FilterConfig.Types.Protocol protocol, params string[] alpn) => new() { UpstreamProtocol = protocol, AlpnOverride_ = { alpn } };

    private static void Ask(DataPlaneHarness plane, TlsUpstream upstream, TestPeer client, int connection)
    {
        int before = client.Text.Length;
        client.Send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        var peer = upstream.Accept(connection);
        int received = peer.Side.Received.Count;
        plane.Loop.Until(() => peer.Side.Received.Count > received || peer.Text.EndsWith("\r\n\r\n", StringComparison.Ordinal));
        peer.Send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        plane.Loop.Until(() => client.Read()[before..].EndsWith("\r\n\r\nok", StringComparison.Ordinal));
    }

    private static string Tls(string common) => TestSnapshot.Fill("""
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": {
         "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", "common_tls_context": {$common}}}
        """, ("common", common));
}
