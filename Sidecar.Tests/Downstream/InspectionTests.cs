using System;
using System.Collections.Generic;
using System.Linq;
using System.Text;
using Sidecar.Linux;
using Sidecar.Net;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Downstream;

/// <summary>
/// Connections between accept and their filter chain: the chain that real first bytes lead to, in the chain sets Istio sends for a workload's own ports, and
/// what becomes of peers that say nothing, too little, or wait for the other side to speak first.
/// </summary>
public class InspectionTests
{
    private const string Inspectors = """
        {"name": "envoy.filters.listener.tls_inspector", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector", "initial_read_buffer_size": 512} $tls},
        {"name": "envoy.filters.listener.http_inspector", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"} $http}
        """;

    private const string OwnPort = """ , "filter_disabled": {"destination_port_range": {"start": 1024, "end": 65536}} """;
    private const string OtherPort = """ , "filter_disabled": {"or_match": {"rules": [{"destination_port_range": {"start": 25, "end": 26}}, {"destination_port_range": {"start": 1, "end": 2}}]}} """;

    private const string Stats = "listener.127.0.0.1_0.";

    private static readonly string[] s_mtlsHttp = ["istio-http/1.0", "istio-http/1.1", "istio-h2"];
    private static readonly string[] s_mtlsTcp = ["istio-peer-exchange", "istio"];
    private static readonly string[] s_istio = [.. s_mtlsTcp, .. s_mtlsHttp];
    private static readonly string[] s_http = ["http/1.1", "h2c"];

    /// <summary>What clients say first.</summary>
    private static readonly Dictionary<string, byte[]> s_clients = new()
    {
        ["sidecar http/1.1"] = TestHello.OpenSsl("outbound_.80_._.a.ns.svc.cluster.local", "istio-http/1.1", "istio", "http/1.1").Bytes(),
        ["sidecar http/1.0"] = TestHello.OpenSsl("outbound_.80_._.a.ns.svc.cluster.local", "istio-http/1.0", "istio", "http/1.0").Bytes(),
        ["sidecar h2"] = TestHello.OpenSsl("outbound_.80_._.a.ns.svc.cluster.local", "istio-h2", "istio", "h2").Bytes(),
        ["sidecar tcp"] = TestHello.OpenSsl("outbound_.80_._.a.ns.svc.cluster.local", "istio-peer-exchange", "istio").Bytes(),
        ["app tls h2"] = TestHello.Browser("a.example.org", "h2", "http/1.1").Bytes(),
        ["app tls"] = TestHello.OpenSslBefore13(0x0303).Bytes(100),
        ["http/1.1"] = "GET / HTTP/1.1\r\n\r\n"u8.ToArray(),
        ["h2c"] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"u8.ToArray(),
        ["http/1.0"] = "GET / HTTP/1.0\r\n\r\n"u8.ToArray(),
        ["bytes"] = [0, 1, 2, 3],
    };

    private sealed record Chain(string Name, string Transport, params string[] Protocols);

    // ---- Istio's sets -----------------------------------------------------------------------------------------------

    private static Chain[] Set(string mode, string protocol) => (mode, protocol) switch
    {
        ("PERMISSIVE", "HTTP") => [new("mtls", "tls", s_istio), new("plain", "raw_buffer")],
        ("PERMISSIVE", "TCP") => [new("mtls", "tls", s_istio), new("passed on", "tls"), new("plain", "raw_buffer")],
        ("PERMISSIVE", "auto") =>
        [
            new("mtls http", "tls", s_mtlsHttp), new("plain http", "raw_buffer", s_http), new("mtls tcp", "tls", s_mtlsTcp), new("plain tcp", "raw_buffer"), new("passed on", "tls"),
        ],
        ("STRICT", "HTTP" or "TCP") => [new("mtls", "tls")],
        ("STRICT", "auto") => [new("mtls http", "tls", s_mtlsHttp), new("mtls tcp", "tls")],
        ("DISABLE", "HTTP" or "TCP") => [new("plain", "raw_buffer")],
        ("DISABLE", "auto") => [new("plain http", "raw_buffer", s_http), new("plain tcp", "raw_buffer")],
        _ => throw new ArgumentException(mode),
    };

    /// <summary>One row per mode and port protocol; "-": no chain, the connection is closed.</summary>
    [Theory]
    //          mode          port    sidecar: http/1.1     http/1.0     h2           tcp         app: tls h2    tls          http/1.1      h2c           http/1.0     bytes
    [InlineData("PERMISSIVE", "HTTP", "mtls",              "mtls",      "mtls",      "mtls",     "-",           "-",         "plain",      "plain",      "plain",     "plain")]
    [InlineData("PERMISSIVE", "TCP",  "mtls",              "mtls",      "mtls",      "mtls",     "passed on",   "passed on", "plain",      "plain",      "plain",     "plain")]
    [InlineData("PERMISSIVE", "auto", "mtls http",         "mtls http", "mtls http", "mtls tcp", "passed on",   "passed on", "plain http", "plain http", "plain tcp", "plain tcp")]
    [InlineData("STRICT",     "HTTP", "mtls",              "mtls",      "mtls",      "mtls",     "mtls",        "mtls",      "-",          "-",          "-",         "-")]
    [InlineData("STRICT",     "TCP",  "mtls",              "mtls",      "mtls",      "mtls",     "mtls",        "mtls",      "-",          "-",          "-",         "-")]
    [InlineData("STRICT",     "auto", "mtls http",         "mtls http", "mtls http", "mtls tcp", "mtls tcp",    "mtls tcp",  "-",          "-",          "-",         "-")]
    [InlineData("DISABLE",    "HTTP", "-",                 "-",         "-",         "-",        "-",           "-",         "plain",      "plain",      "plain",     "plain")]
    [InlineData("DISABLE",    "TCP",  "-",                 "-",         "-",         "-",        "-",           "-",         "plain",      "plain",      "plain",     "plain")]
    [InlineData("DISABLE",    "auto", "-",                 "-",         "-",         "-",        "-",           "-",         "plain http", "plain http", "plain tcp", "plain tcp")]
    public void InboundChains(string mode, string protocol, params string[] chains)
    {
        using var plane = new DataPlaneHarness();
        var set = Set(mode, protocol);
        var upstreams = set.ToDictionary(chain => chain.Name, _ => plane.Upstream());
        plane.Apply(Listener(set, upstreams));
        int refused = 0;
        foreach (var ((client, bytes), chain) in s_clients.Zip(chains))
        {
            var peer = plane.Connect();
            peer.Send(bytes);
            Assert.Equal((client, chain), (client, Taken(plane, peer, upstreams, bytes)));
            refused += chain == "-" ? 1 : 0;
        }
        plane.ExpectStat(Stats + "no_filter_chain_match", refused);
        Assert.Equal(0, plane.Stat(Stats + "downstream_pre_cx_active"));
        Assert.Equal(6, plane.Stat("tls_inspector.tls_found"));
        Assert.Equal(4, plane.Stat("tls_inspector.tls_not_found"));
        Assert.Equal(5, plane.Stat("tls_inspector.alpn_found"));
        Assert.Equal(1, plane.Stat("tls_inspector.sni_not_found"));
        Assert.Equal(1, plane.Stat("http_inspector.http11_found"));
        Assert.Equal(1, plane.Stat("http_inspector.http10_found"));
        Assert.Equal(1, plane.Stat("http_inspector.http2_found"));
        Assert.Equal(1, plane.Stat("http_inspector.http_not_found"));
    }

    [Theory]
    [InlineData("sidecar http/1.1", "mtls http")]
    [InlineData("app tls", "passed on")]
    [InlineData("h2c", "plain http")]
    public void ByteByByte_TheChainGetsThemAll(string client, string chain)
    {
        using var plane = new DataPlaneHarness();
        var set = Set("PERMISSIVE", "auto");
        var upstreams = set.ToDictionary(chain => chain.Name, _ => plane.Upstream());
        plane.Apply(Listener(set, upstreams));
        var peer = plane.Connect();
        byte[] bytes = s_clients[client];
        for (int i = 0; i < bytes.Length; i++)
        {
            peer.Send(bytes.AsSpan(i, 1));
            plane.Loop.Step(2);
        }
        Assert.Equal(chain, Taken(plane, peer, upstreams, bytes));
    }

    // ---- who waits, and for how long ------------------------------------------------------------------------------------

    /// <summary>Mail and databases greet their clients, who say nothing before: with inspection disabled for the port nobody waits.</summary>
    [Fact]
    public void ServerFirst_InspectionDisabledForThePort_GreetsAtOnce()
    {
        using var plane = Plane(OwnPort, OwnPort, """ "listener_filters_timeout": "0s" """, out var upstream);
        var client = plane.Connect();
        upstream.Accept().Send("220 mail ready\r\n");
        plane.Expect(client, "220 mail ready\r\n");
        Assert.Equal(0, plane.Stat(Stats + "downstream_pre_cx_timeout"));
    }

    /// <summary>One inspector is enough to wait, and the predicate of another port changes nothing.</summary>
    [Theory]
    [InlineData(OwnPort, "")]
    [InlineData("", OwnPort)]
    [InlineData(OtherPort, OtherPort)]
    public void ServerFirst_Inspected_GreetsAfterTheTimeout(string tls, string http)
    {
        using var plane = Plane(tls, http, """ "listener_filters_timeout": "5s", "continue_on_listener_filters_timeout": true """, out var upstream);
        var client = plane.Connect();
        plane.ExpectStat(Stats + "downstream_pre_cx_active", 1);
        plane.Loop.Advance(4_999);
        Assert.False(upstream.TryAccept(out _));
        plane.Loop.Advance(1);
        upstream.Accept().Send("220");
        plane.Expect(client, "220");
        Assert.Equal(1, plane.Stat(Stats + "downstream_pre_cx_timeout"));
        Assert.Equal(0, plane.Stat(Stats + "downstream_pre_cx_active"));
    }

    [Fact]
    public void Timeout_WithoutContinue_Closes()
    {
        using var plane = Plane("", "", """ "listener_filters_timeout": "5s" """, out _);
        var client = plane.Connect();
        plane.ExpectStat(Stats + "downstream_pre_cx_active", 1);
        plane.Loop.Advance(5_000);
        Assert.Equal("", plane.ExpectEnd(client));
        Assert.Equal(1, plane.Stat(Stats + "downstream_pre_cx_timeout"));
        Assert.Equal(0, plane.Stat(Stats + "downstream_pre_cx_active"));
        Assert.Equal(0, plane.Stat(Stats + "downstream_listener_filter_remote_close"));
    }

    /// <summary>Envoy's default is 15 s; Istio's 0 is no limit.</summary>
    [Theory]
    [InlineData("", 15_000)]
    [InlineData(""" "listener_filters_timeout": "0s" """, 0)]
    public void Timeout_Defaults(string timeout, int ms)
    {
        using var plane = Plane("", "", timeout, out _);
        var client = plane.Connect();
        plane.ExpectStat(Stats + "downstream_pre_cx_active", 1);
        plane.Loop.Advance(14_999);
        Assert.Equal(1, plane.Stat(Stats + "downstream_pre_cx_active"));
        plane.Loop.Advance(ms == 0 ? 100_000_000 : 1);
        Assert.Equal(ms == 0 ? 1 : 0, plane.Stat(Stats + "downstream_pre_cx_active"));
        client.Dispose();
        plane.ExpectStat(Stats + "downstream_cx_active", 0);
    }

    /// <summary>The time is for all filters together: a byte now and then does not stretch it. What came by then is the chain's.</summary>
    [Fact]
    public void Timeout_HalfAHello_GoesOnAsPlain()
    {
        using var plane = Plane("", "", """ "listener_filters_timeout": "5s", "continue_on_listener_filters_timeout": true """, out var upstream);
        var client = plane.Connect();
        client.Send([22, 3, 1]);
        plane.ExpectStat(Stats + "downstream_pre_cx_active", 1);
        plane.Loop.Advance(4_000);
        client.Send([1, 0]);
        plane.Loop.Step(3);
        plane.Loop.Advance(1_000);
        plane.Expect(upstream.Accept(), "\x16\x03\x01\x01\0");
        Assert.Equal(0, plane.Stat("tls_inspector.tls_found") + plane.Stat("tls_inspector.tls_not_found"));
    }

    [Fact]
    public void Timeout_ThenNoChain_IsCountedOnce()
    {
        using var plane = new DataPlaneHarness();
        var set = Set("STRICT", "TCP");
        plane.Apply(Listener(set, set.ToDictionary(chain => chain.Name, _ => plane.Upstream()), more: """ , "listener_filters_timeout": "1s", "continue_on_listener_filters_timeout": true """));
        var client = plane.Connect();
        plane.ExpectStat(Stats + "downstream_pre_cx_active", 1);
        plane.Loop.Advance(1_000);
        plane.ExpectEnd(client);
        Assert.Equal(0, plane.Stat(Stats + "downstream_pre_cx_active"));
        Assert.Equal(0, plane.Stat(Stats + "downstream_cx_active"));
        Assert.Equal(1, plane.Stat(Stats + "no_filter_chain_match"));
    }

    // ---- peers that go, and listeners that do -------------------------------------------------------------------------------

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void PeerThatGoesWhileInspected_IsCounted(bool reset)
    {
        using var plane = Plane("", "", "", out _);
        var client = plane.Connect();
        client.Send([22, 3, 1]);
        plane.ExpectStat(Stats + "downstream_pre_cx_active", 1);
        if (reset)
            client.Reset();
        else
            client.Dispose();
        plane.ExpectStat(Stats + "downstream_cx_active", 0);
        Assert.Equal(1, plane.Stat(Stats + "downstream_listener_filter_remote_close"));
        Assert.Equal(0, plane.Stat(Stats + "downstream_pre_cx_active"));
        Assert.Equal(1, plane.Stat("tls_inspector.connection_closed"));
    }

    [Fact]
    public void TooLargeAHello_IsClosed()
    {
        using var plane = Plane("", "", "", out _);
        var client = plane.Connect();
        client.Send(TestHello.OpenSsl("a").With(21, new byte[17_000]).Bytes());
        plane.ExpectEnd(client);
        Assert.Equal(1, plane.Stat("tls_inspector.client_hello_too_large"));
        Assert.Equal(0, plane.Stat(Stats + "downstream_listener_filter_remote_close"));
    }

    [Fact]
    public void RemovedListener_ClosesWhatItStillInspects()
    {
        using var plane = Plane("", "", """ "listener_filters_timeout": "0s" """, out var upstream);
        var clients = Enumerable.Range(0, 3).Select(_ => plane.Connect()).ToList();
        plane.ExpectStat(Stats + "downstream_pre_cx_active", 3);
        plane.Apply(new TestSnapshot().Cluster("up", false, upstream.Port));
        clients.ForEach(client => plane.ExpectEnd(client));
    }

    /// <summary>A version without inspectors comes while a client is inspected: what it began with is finished.</summary>
    [Fact]
    public void ChangedListener_FinishesTheFiltersItBeganWith()
    {
        using var plane = Plane("", "", """ "listener_filters_timeout": "0s" """, out var upstream);
        var client = plane.Connect();
        byte[] hello = s_clients["sidecar tcp"];
        client.Send(hello.AsSpan(0, 100));
        plane.ExpectStat(Stats + "downstream_pre_cx_active", 1);
        plane.Apply(new TestSnapshot().Cluster("up", false, upstream.Port).Raw("http", 0, """
            "filter_chains": [{"filter_chain_match": {"transport_protocol": "tls"}, "filters": [$tcp]}]
            """));
        client.Send(hello.AsSpan(100));
        plane.Expect(upstream.Accept(), Encoding.Latin1.GetString(hello));
    }

    // ---- how ------------------------------------------------------------------------------------------------------------------

    private static DataPlaneHarness Plane(string tls, string http, string members, out FakeUpstream upstream)
    {
        var plane = new DataPlaneHarness();
        upstream = plane.Upstream();
        plane.Apply(Listener([new Chain("up", "")], new() { ["up"] = upstream }, tls, http, members.Length > 0 ? ", " + members : ""));
        return plane;
    }

    /// <summary>A listener with both inspectors; every chain hands its bytes to an upstream of its own.</summary>
    private static TestSnapshot Listener(Chain[] chains, Dictionary<string, FakeUpstream> upstreams, string tls = "", string http = "", string more = "")
    {
        var snapshot = new TestSnapshot();
        foreach (var (name, upstream) in upstreams)
            snapshot.Cluster(name, false, upstream.Port);
        string filterChains = string.Join(',', chains.Select(chain => $$"""
            {"name": "{{chain.Name}}", "filter_chain_match": {"transport_protocol": "{{chain.Transport}}", "application_protocols": [{{string.Join(',', chain.Protocols.Select(p => $"\"{p}\""))}}]},
             "filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": {
              "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "tcp", "cluster": "{{chain.Name}}"} }]}
            """));
        return snapshot.Raw("http", 0, $$"""
            "listener_filters": [{{Inspectors.Replace("$tls", tls, StringComparison.Ordinal).Replace("$http", http, StringComparison.Ordinal)}}],
            "filter_chains": [{{filterChains}}] {{more}}
            """);
    }

    /// <summary>The chain whose upstream gets the client's bytes, all of them; "-" when the client is closed.</summary>
    private static string Taken(DataPlaneHarness plane, TestPeer client, Dictionary<string, FakeUpstream> upstreams, byte[] bytes)
    {
        string taken = "";
        TestPeer? server = null;
        plane.Loop.Until(() =>
        {
            foreach (var (name, upstream) in upstreams)
            {
                if (upstream.TryAccept(out server))
                {
                    taken = name;
                    return true;
                }
            }
            client.Receive();
            return client.End || client.Error != Errno.None;
        });
        if (server is null)
            return "-";
        plane.Loop.Until(() => { server.Receive(); return server.Received.Count >= bytes.Length; });
        Assert.Equal(bytes, server.Received);
        client.Dispose();
        return taken;
    }
}
