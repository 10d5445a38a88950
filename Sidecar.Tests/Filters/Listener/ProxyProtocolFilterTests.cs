using System;
using System.Collections.Generic;
using System.Linq;
using System.Text;
using Sidecar.Filters.Listener;
using Sidecar.Telemetry.Stats;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Filters.Listener;

using Wire = global::Envoy.Extensions.Filters.Listener.ProxyProtocol.V3;

/// <summary>PROXY headers, whole, byte by byte and at every split; and what a connection is taken for because of one.</summary>
public sealed class ProxyProtocolFilterTests
{
    private const string V2 = "0d0a0d0a000d0a515549540a";

    [Theory]
    [InlineData("PROXY TCP4 1.2.3.4 5.6.7.8 1000 80\r\n", "1.2.3.4:1000 5.6.7.8:80 36 versions.v1.found")]
    [InlineData("PROXY TCP4 1.2.3.4 5.6.7.8 65535 0\r\nGET", "1.2.3.4:65535 5.6.7.8:0 36 versions.v1.found")]
    [InlineData("PROXY TCP6 1::2 3::4 1000 80\r\n", "[1::2]:1000 [3::4]:80 30 versions.v1.found")]
    [InlineData("PROXY TCP6 ::ffff:1.2.3.4 ::ffff:5.6.7.8 1000 80\r\n", "1.2.3.4:1000 5.6.7.8:80 50 versions.v1.found")]
    [InlineData("PROXY TCP6 ::ffff:230.0.0.1 3::4 1000 80\r\n", "versions.v1.error")]
    [InlineData("PROXY UNKNOWN\r\n", "own own 15 versions.v1.found")]
    [InlineData("PROXY UNKNOWN 1.2.3.4 who knows\r\n", "own own 33 versions.v1.found")]
    [InlineData("PROXY TCP4 1.2.3.4 5.6.7.8 1000 65536\r\n", "versions.v1.error")]
    [InlineData("PROXY TCP4 1.2.3.4 5.6.7.8 -1 80\r\n", "versions.v1.error")]
    [InlineData("PROXY TCP4 1.2.3.4 5.6.7.8 1000 80 9\r\n", "versions.v1.error")]
    [InlineData("PROXY TCP4 1.2.3.4  5.6.7.8 1000 80\r\n", "versions.v1.error")]
    [InlineData("PROXY TCP4 1.2.3.4 5.6.7.8 1000\r\n", "versions.v1.error")]
    [InlineData("PROXY TCP4 1::2 3::4 1000 80\r\n", "versions.v1.error")]
    [InlineData("PROXY TCP6 1.2.3.4 5.6.7.8 1000 80\r\n", "versions.v1.error")]
    [InlineData("PROXY TCP4 0.0.0.0 5.6.7.8 1000 80\r\n", "versions.v1.error")]
    [InlineData("PROXY TCP4 1.2.3.4 230.0.0.1 1000 80\r\n", "versions.v1.error")]
    [InlineData("PROXY TCP4 1.2.3.4 255.255.255.255 1000 80\r\n", "versions.v1.error")]
    [InlineData("PROXY TCP6 ff02::1 3::4 1000 80\r\n", "versions.v1.error")]
    [InlineData("PROXY UDP4 1.2.3.4 5.6.7.8 1000 80\r\n", "versions.v1.error")]
    [InlineData("PROXY \r\n", "versions.v1.error")]
    [InlineData("PROXY TCP4 1.2.3.4 5.6.7.8 1000 80\rx", "versions.v1.error")]
    [InlineData("GET / HTTP/1.1\r\n", "not_found_disallowed")]
    [InlineData("PROXYTCP4", "not_found_disallowed")]
    [InlineData("proxy TCP4 1.2.3.4 5.6.7.8 1000 80\r\n", "not_found_disallowed")]
    [InlineData("PROXY TCP4 1.2.3.4", "more")]
    [InlineData("PR", "more")]
    public void Version1(string bytes, string expected) => Assert.Equal(expected, Run(Encoding.Latin1.GetBytes(bytes)));

    [Theory]
    [InlineData("21 11 000c 01020304 05060708 03e8 0050", "1.2.3.4:1000 5.6.7.8:80 28 versions.v2.found")]
    [InlineData("21 12 000c 01020304 05060708 03e8 0050", "1.2.3.4:1000 5.6.7.8:80 28 versions.v2.found")]
    [InlineData("21 11 0011 01020304 05060708 03e8 0050 0400026869 6e6578742e", "1.2.3.4:1000 5.6.7.8:80 33 versions.v2.found")]
    [InlineData("21 21 0024 00010000000000000000000000000002 00030000000000000000000000000004 03e8 0050", "[1::2]:1000 [3::4]:80 52 versions.v2.found")]
    [InlineData("21 21 0024 00000000000000000000ffff01020304 00000000000000000000ffff05060708 03e8 0050", "1.2.3.4:1000 5.6.7.8:80 52 versions.v2.found")]
    [InlineData("20 00 0000", "own own 16 versions.v2.found")]
    [InlineData("20 ff 0003 010203", "own own 19 versions.v2.found")]
    [InlineData("20 11 000c 01020304 05060708 03e8 0050", "own own 28 versions.v2.found")]
    [InlineData("21 00 0000", "own own 16 versions.v2.found")]
    [InlineData("21 11 000b 01020304 05060708 03e8 00", "versions.v2.error")]
    [InlineData("21 31 000c 01020304 05060708 03e8 0050", "versions.v2.error")]
    [InlineData("21 41 000c 01020304 05060708 03e8 0050", "versions.v2.error")]
    [InlineData("21 13 000c 01020304 05060708 03e8 0050", "versions.v2.error")]
    [InlineData("22 11 000c 01020304 05060708 03e8 0050", "versions.v2.error")]
    [InlineData("11 11 000c 01020304 05060708 03e8 0050", "versions.v2.error")]
    [InlineData("21 11 000c 00000000 05060708 03e8 0050", "versions.v2.error")]
    [InlineData("21 11 000c 01020304 e0000001 03e8 0050", "versions.v2.error")]
    [InlineData("21 11 000c 01020304 05060708 03e8 00", "more")]
    [InlineData("21 11 00", "more")]
    [InlineData("", "more")]
    public void Version2(string hex, string expected) => Assert.Equal(expected, Run(Bytes(hex)));

    [Fact]
    public void Version2_OfAUnixSocket_SaysNothing() =>
        Assert.Equal("own own 232 versions.v2.found", Run(Bytes("21 31 00d8 " + string.Concat(Enumerable.Repeat("61", 216)))));

    [Fact]
    public void Length_IsBounded()
    {
        Assert.Equal("versions.v1.error", Run(Encoding.ASCII.GetBytes("PROXY UNKNOWN " + new string('x', 107 - 14))));
        Assert.Equal("more", Run(Encoding.ASCII.GetBytes("PROXY UNKNOWN " + new string('x', 106 - 14))));
        Assert.Equal("own own 107 versions.v1.found", Run(Encoding.ASCII.GetBytes("PROXY UNKNOWN " + new string('x', 105 - 14) + "\r\n")));
        byte[] longest = [.. Bytes("20 00 ffff"), .. new byte[65535]];
        Assert.Equal("own own 65551 versions.v2.found", Describe([longest], new()));
        Assert.Equal("more", Describe([longest.AsMemory(0, longest.Length - 1)], new()));
    }

    [Theory]
    [InlineData("GET / HTTP/1.1\r\n", true, true, "own own 0 not_found_allowed")]
    [InlineData("PROXY TCP4 1.2.3.4 5.6.7.8 1000 80\r\n", true, true, "1.2.3.4:1000 5.6.7.8:80 36 versions.v1.found")]
    [InlineData("PROXY TCP4 1.2.3.4 5.6.7.8 1000\r\n", true, true, "versions.v1.error")]
    [InlineData("PROXY TCP4 1.2.3.4 5.6.7.8 1000 80\r\n", true, false, "own own 0 not_found_allowed")]
    [InlineData("PROXY TCP4 1.2.3.4 5.6.7.8 1000 80\r\n", false, false, "versions.v1.disallowed")]
    [InlineData("PROXY nonsense\r\n", false, false, "versions.v1.disallowed")]
    public void WhatIsAllowed(string bytes, bool none, bool v1, string expected) =>
        Assert.Equal(expected, Run(Encoding.ASCII.GetBytes(bytes), new ProxyProtocolFilter.Config(none, v1)));

    [Theory]
    [InlineData(true, "own own 0 not_found_allowed")]
    [InlineData(false, "versions.v2.disallowed")]
    public void Version2_Disallowed(bool none, string expected) =>
        Assert.Equal(expected, Run(Bytes("21 11 000c 01020304 05060708 03e8 0050"), new ProxyProtocolFilter.Config(none, AllowsV2: false)));

    [Theory]
    [InlineData("21 11 000f 01020304 05060708 03e8 0050 040000", false)]
    [InlineData("21 11 000d 01020304 05060708 03e8 0050 04", true)]
    [InlineData("21 11 000e 01020304 05060708 03e8 0050 0400", true)]
    [InlineData("21 11 0010 01020304 05060708 03e8 0050 04000268", true)]
    [InlineData("21 11 0014 01020304 05060708 03e8 0050 0400026869 04ffff", true)]
    [InlineData("21 01 0001 04", false)]
    [InlineData("20 11 0001 04", false)]
    public void Version2_ExtensionBeyondTheHeader_IsMalformed(string hex, bool isMalformed) =>
        Assert.Equal(isMalformed, Run(Bytes(hex)).Contains("versions.v2.error", StringComparison.Ordinal));

    [Fact]
    public void AnyBytes_AreJudged_AndTheSameInEverySplit()
    {
        var random = new Random(5);
        byte[][] seeds = [Bytes("21 11 0011 01020304 05060708 03e8 0050 0400026869"), Encoding.ASCII.GetBytes("PROXY TCP4 1.2.3.4 5.6.7.8 1000 80\r\n")];
        for (int i = 0; i < 40; i++)
        {
            byte[] bytes = [.. seeds[i % 2]];
            for (int n = random.Next(1, 4); n > 0; n--)
                bytes[random.Next(bytes.Length)] = (byte)random.Next(256);
            Run(bytes);
        }
    }

    [Fact]
    public void Fields_AreInEffectOrReported()
    {
        using var harness = new FilterHarness();
        var wire = new Wire.ProxyProtocol
        {
            StatPrefix = "p",
            DisallowedVersions = { Envoy.Config.Core.V3.ProxyProtocolConfig.Types.Version.V1 },
            Rules = { new Wire.ProxyProtocol.Types.Rule { TlvType = 4 } },
            PassThroughTlvs = new(),
            TlvLocation = Wire.ProxyProtocol.Types.TlvLocation.FilterState,
        };
        var filter = ProxyProtocolFilter.Create(wire, transparent: false, harness.Config)!;
        Assert.Equal(["rules", "pass_through_tlvs", "tlv_location"], harness.Config.Ignored.Select(problem => problem.Path));
        using var accepted = new AcceptedPeer();
        Assert.Equal(Sidecar.Filters.ListenerFilterStatus.Close, filter.Inspect(accepted, "PROXY UNKNOWN\r\n"u8));
        Assert.Equal(1, harness.Stat("proxy_proto.p.versions.v1.disallowed"));

        wire.DisallowedVersions.Add((Envoy.Config.Core.V3.ProxyProtocolConfig.Types.Version)7);
        ProxyProtocolFilter.Create(wire, transparent: false, harness.Config);
        Assert.Equal("disallowed_versions[1]", Assert.Single(harness.Config.Rejections).Path);
    }

    // ---- on a listener ---------------------------------------------------------------------------------------------------

    private const string Header = "PROXY TCP4 1.2.3.4 5.6.7.8 1000 80\r\n";
    private const string Get = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

    [Fact]
    public void Request_BehindAHeader_IsOfItsSource()
    {
        byte[] all = Encoding.ASCII.GetBytes(Header + Get);
        foreach (int split in new[] { 1, 6, Header.Length - 1, Header.Length, Header.Length + 1, all.Length })
        {
            using var plane = Plane(out var upstream, ProxyFilter);
            var client = plane.Connect();
            client.Send(all.AsSpan(0, split));
            plane.Loop.Settle();
            client.Send(all.AsSpan(split));
            Assert.Contains("x-forwarded-for: 1.2.3.4\r\n", plane.Expect(upstream.Accept(), "\r\n\r\n"));
        }
    }

    // What may be said by a header is decided by who sends it.
    [Theory]
    [InlineData("127.0.0.0", 8, true)]
    [InlineData("1.2.3.0", 24, false)]
    public void DirectSource_IsWhoSentTheHeader(string range, int length, bool matches)
    {
        using var plane = new DataPlaneHarness();
        var upstream = plane.Upstream();
        plane.Apply(new TestSnapshot().Cluster("up", false, upstream.Port).Raw("tcp", 0, $$$"""
            "listener_filters": [{{{ProxyFilter}}}], "filter_chains": [{"filters": [$tcp],
             "filter_chain_match": {"direct_source_prefix_ranges": [{"address_prefix": "{{{range}}}", "prefix_len": {{{length}}}}]}}]
            """));
        var client = plane.Connect("tcp");
        client.Send(Header + "hello");
        if (matches)
            Assert.Equal("hello", plane.Expect(upstream.Accept(), "hello"));
        else
            Assert.Equal("", plane.ExpectEnd(client));
        Assert.Equal(matches ? 0 : 1, plane.Stat("listener.127.0.0.1_0.no_filter_chain_match"));
    }

    [Fact]
    public void DirectRemoteAddress_IsWhoSentTheHeader()
    {
        using var plane = new DataPlaneHarness();
        var upstream = plane.Upstream();
        const string value = "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%";
        string route = $$$"""{"match": {"prefix": "/"}, "route": {"cluster": "up"}, "request_headers_to_add": [{"header": {"key": "x-from", "value": "{{{value}}}"}}]}""";
        plane.Apply(new TestSnapshot().Cluster("up", false, upstream.Port).Http("http", 0, route, "\"use_remote_address\": true")
            .WithListener("http", $"\"listener_filters\": [{ProxyFilter}]"));
        // The second connection has the first one's object.
        foreach (string from in new[] { "1.2.3.4", "5.5.5.5" })
        {
            var client = plane.Connect();
            client.Send(Header.Replace("1.2.3.4", from) + Get.Replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n"));
            var peer = upstream.Accept();
            Assert.Contains($"x-from: 127.0.0.1 {from}\r\n", plane.Expect(peer, "\r\n\r\n"));
            peer.Send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            plane.ExpectEnd(client);
        }
    }

    [Fact]
    public void NextFilter_SeesWhatFollowsTheHeader()
    {
        using var plane = Plane(out var upstream, ProxyFilter + """, {"name": "envoy.filters.listener.http_inspector"}""");
        var client = plane.Connect();
        client.Send(Header + "GET / HT");
        plane.Loop.Settle();
        client.Send("TP/1.1\r\nhost: a\r\n\r\n");
        Assert.Contains("x-forwarded-for: 1.2.3.4\r\n", plane.Expect(upstream.Accept(), "\r\n\r\n"));
        Assert.Equal(1, plane.Stat("http_inspector.http11_found"));
    }

    [Theory]
    [InlineData("PROXY TCP4 1.2.3.4")]
    [InlineData("P")]
    [InlineData("GET / HTTP/1.1\r\nhost: a\r\n\r\n")]
    public void Connection_WithoutAWholeHeader_IsClosed(string bytes)
    {
        using var plane = Plane(out var upstream, ProxyFilter);
        var client = plane.Connect();
        client.Send(bytes);
        client.Shutdown();
        Assert.Equal("", plane.ExpectEnd(client));
        Assert.False(upstream.TryAccept(out _));
    }

    private const string ProxyFilter = """
        {"name": "envoy.filters.listener.proxy_protocol", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"}}
        """;

    private static DataPlaneHarness Plane(out FakeUpstream upstream, string filters)
    {
        var plane = new DataPlaneHarness();
        upstream = plane.Upstream();
        plane.Apply(new TestSnapshot().Cluster("up", false, upstream.Port).Http("http", 0, TestSnapshot.To("up"), "\"use_remote_address\": true")
            .WithListener("http", $"\"listener_filters\": [{filters}]"));
        return plane;
    }

    // ---- tools ------------------------------------------------------------------------------------------------------------

    private static byte[] Bytes(string hex) => Convert.FromHexString(V2 + hex.Replace(" ", ""));

    private static string Run(byte[] bytes, ProxyProtocolFilter.Config? config = null) => Splits.Run(bytes, pieces => Describe(pieces, config ?? new()));

    // Addresses and what was taken of a connection that goes on, and what was counted.
    private static string Describe(IReadOnlyList<ReadOnlyMemory<byte>> pieces, ProxyProtocolFilter.Config config)
    {
        using var accepted = new AcceptedPeer();
        var own = (accepted.Source, accepted.Destination);
        var stats = new StatsRegistry(1).Scope(ProxyProtocolStats.Schema, "proxy_proto.");
        var status = accepted.Inspect(new ProxyProtocolFilter(config, stats), pieces);
        string counted = string.Join(' ', Enumerable.Range(0, ProxyProtocolStats.Schema.Count).Where(i => stats.Sum(i) > 0).Select(i => ProxyProtocolStats.Schema.Definitions[i].Name));
        if (status == Sidecar.Filters.ListenerFilterStatus.NeedMore)
            return "more" + counted;
        if (status == Sidecar.Filters.ListenerFilterStatus.Close)
            return counted;
        string source = accepted.Source == own.Source ? "own" : accepted.Connection.RemoteAddress.ToString();
        string destination = accepted.Destination == own.Destination ? "own" : accepted.Connection.OriginalDestination.ToString();
        return $"{source} {destination} {accepted.TakenBytes} {counted}";
    }
}
