using System;
using System.Text;
using Sidecar.Memory;
using Sidecar.Routing;
using Sidecar.Telemetry;
using Xunit;
using static Sidecar.Tests.Routing.RoutingHarness;

namespace Sidecar.Tests.Routing;

public sealed class HeaderFormatTests
{
    private static string Format(string format, TestFacts? facts = null)
    {
        var parsed = HeaderFormat.TryParse(format, out string error);
        Assert.True(parsed is not null, error);
        var writer = new SpanWriter(new byte[4096]);
        parsed.Write(facts ?? Facts(), ref writer);
        Assert.False(writer.Overflowed);
        return Encoding.UTF8.GetString(writer.Written);
    }

    private static TestFacts Facts()
    {
        var facts = new TestFacts { Request = RequestTo("shop:80", "/p?q=1", "x: one", "empty:"), Response = Response(404, "y: two") };
        facts.Info.Protocol = HttpVersion.Http2;
        facts.Info.StartUnixMs = 1_700_000_000_045;
        facts.Info.UpstreamHost = "[fd00::1]:8080";
        facts.Info.ClusterName = "outbound|80||a";
        facts.Info.RouteName = "default";
        facts.Info.FilterChainName = "0.0.0.0_80";
        facts.Info.Flags = ResponseFlags.NoRouteFound;
        facts.Info.Details = "route_not_found";
        facts.Info.UpstreamTransportFailure = "TLS error";
        facts.Info.Attempts = 2;
        facts.Info.BytesReceived = 10;
        facts.Info.BytesSent = 20;
        return facts;
    }

    [Theory]
    [InlineData("%DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_CIPHER%", "TLSv1.3 TLS_AES_128_GCM_SHA256")]
    [InlineData("%DOWNSTREAM_TLS_SESSION_ID%", "01ff")]
    [InlineData("%REQUESTED_SERVER_NAME%", "a.test")]
    [InlineData("%DOWNSTREAM_PEER_SUBJECT%|%DOWNSTREAM_PEER_ISSUER%", "CN=peer|CN=ca")]
    [InlineData("%DOWNSTREAM_PEER_URI_SAN%", "spiffe://td/a,spiffe://td/b%0D%0Ax: y")]
    [InlineData("%DOWNSTREAM_PEER_DNS_SAN%|%DOWNSTREAM_PEER_IP_SAN%", "a.test|")]
    [InlineData("%DOWNSTREAM_PEER_FINGERPRINT_256%|%DOWNSTREAM_PEER_FINGERPRINT_1%|%DOWNSTREAM_PEER_SERIAL%", "ab|cd|0f")]
    [InlineData("%DOWNSTREAM_LOCAL_URI_SAN%|%DOWNSTREAM_LOCAL_SUBJECT%", "|")]
    [InlineData("%UPSTREAM_TLS_VERSION%|%UPSTREAM_PEER_URI_SAN%", "|")]
    public void Tls_OfTheConnection(string format, string expected)
    {
        var facts = Facts();
        facts.Info.DownstreamTls = new TlsFacts
        {
            Version = "TLSv1.3",
            Cipher = "TLS_AES_128_GCM_SHA256",
            SessionId = [1, 255],
            ServerName = "a.test",
            Peer = new CertificateFacts([])
            {
                Subject = "CN=peer",
                Issuer = "CN=ca",
                UriSans = ["spiffe://td/a", "spiffe://td/b\r\nx: y"],
                DnsSans = ["a.test"],
                Sha256 = "ab",
                Sha1 = "cd",
                Serial = "0f",
            },
            IsPeerVerified = true,
            Local = null,
        };
        Assert.Equal(expected, Format(format, facts));
    }

    [Theory]
    [InlineData("[%DOWNSTREAM_TLS_VERSION%%DOWNSTREAM_PEER_URI_SAN%%REQUESTED_SERVER_NAME%%UPSTREAM_TLS_CIPHER%]")]
    public void Tls_WhereThereIsNone_IsNothing(string format) => Assert.Equal("[]", Format(format));

    [Theory]
    [InlineData("", "")]
    [InlineData("plain text", "plain text")]
    [InlineData("100%%", "100%")]
    [InlineData("%%REQ(x)%%", "%REQ(x)%")]
    [InlineData("a %REQ(x)% b", "a one b")]
    [InlineData("%REQ(X)%", "one")]
    [InlineData("%REQ(x):2%", "on")]
    [InlineData("%REQ(x):9%", "one")]
    [InlineData("%REQ(z?x)%", "one")]
    [InlineData("%REQ(empty?x)%", "")]
    [InlineData("%REQ(z)%", "")]
    [InlineData("[%REQ(z)%]", "[]")]
    [InlineData("%REQ(:AUTHORITY)%", "shop:80")]
    [InlineData("%REQ(Host)%", "shop:80")]
    [InlineData("%REQ(:PATH)%", "/p?q=1")]
    [InlineData("%REQ_WITHOUT_QUERY(:PATH)%", "/p")]
    [InlineData("%REQ_WITHOUT_QUERY(X-ENVOY-ORIGINAL-PATH?:PATH):1%", "/")]
    [InlineData("%RESP(y)%", "two")]
    [InlineData("%RESP(x)%", "")]
    [InlineData("%TRAILER(y)%", "")]
    [InlineData("%DOWNSTREAM_REMOTE_ADDRESS%", "10.0.0.7:5000")]
    [InlineData("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "10.0.0.7")]
    [InlineData("%DOWNSTREAM_REMOTE_PORT%", "5000")]
    [InlineData("%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%", "10.0.0.7:5000")]
    [InlineData("%DOWNSTREAM_LOCAL_ADDRESS%", "10.0.0.1:8080")]
    [InlineData("%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%", "10.0.0.1")]
    [InlineData("%DOWNSTREAM_LOCAL_PORT%", "8080")]
    [InlineData("%UPSTREAM_HOST%", "[fd00::1]:8080")]
    [InlineData("%UPSTREAM_REMOTE_ADDRESS%", "[fd00::1]:8080")]
    [InlineData("%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "[fd00::1]")]
    [InlineData("%UPSTREAM_REMOTE_PORT%", "8080")]
    [InlineData("%UPSTREAM_CLUSTER%", "outbound|80||a")]
    [InlineData("%ROUTE_NAME%", "default")]
    [InlineData("%FILTER_CHAIN_NAME%", "0.0.0.0_80")]
    [InlineData("%PROTOCOL%", "HTTP/2")]
    [InlineData("%RESPONSE_CODE%", "404")]
    [InlineData("%RESPONSE_CODE_DETAILS%", "route_not_found")]
    [InlineData("%RESPONSE_FLAGS%", "NR")]
    [InlineData("%UPSTREAM_TRANSPORT_FAILURE_REASON%", "TLS error")]
    [InlineData("%UPSTREAM_REQUEST_ATTEMPT_COUNT%", "2")]
    [InlineData("%BYTES_RECEIVED%/%BYTES_SENT%", "10/20")]
    [InlineData("%START_TIME%", "2023-11-14T22:13:20.045Z")]
    [InlineData("%START_TIME(%Y/%m/%d %H:%M:%S)%", "2023/11/14 22:13:20")]
    [InlineData("%START_TIME(%s)%", "1700000000")]
    [InlineData("%START_TIME(%3s)%", "1700000000045")]
    [InlineData("%START_TIME(%s.%3f)%", "1700000000.045")]
    [InlineData("%START_TIME(%s.%6f)%", "1700000000.045000")]
    [InlineData("%START_TIME(%f)%", "045000000")]
    [InlineData("%START_TIME(%1f)%", "0")]
    [InlineData("%START_TIME(%a, %e %b %y %T %z %Z %%)%", "Tue, 14 Nov 23 22:13:20 +0000 UTC %")]
    [InlineData("%START_TIME(%j %I %p %F %D %R)%", "318 10 PM 2023-11-14 11/14/23 22:13")]
    public void Operator_WritesItsFact(string format, string expected) => Assert.Equal(expected, Format(format));

    [Theory]
    [InlineData("%")]
    [InlineData("a%")]
    [InlineData("%REQ(x)")]
    [InlineData("%REQ(x%")]
    [InlineData("%REQ(x):%")]
    [InlineData("%REQ(x):0%")]
    [InlineData("%REQ(x):a%")]
    [InlineData("%7C%")]
    [InlineData("%lower%")]
    public void Malformed_IsAnErrorAtItsPosition(string format)
    {
        Assert.Null(HeaderFormat.TryParse(format, out string error));
        if (format != "%7C%")
            Assert.Equal($"Incorrect configuration: {format}. Couldn't find valid command at position {format.IndexOf('%')}", error);
    }

    [Theory]
    [InlineData("%NO_SUCH%", "Not supported field in StreamInfo: NO_SUCH")]
    [InlineData("%7C%", "Not supported field in StreamInfo: 7C")]
    [InlineData("%PROTOCOL(x)%", "PROTOCOL does not take any parameters")]
    [InlineData("%REQ%", "REQ requires parameters")]
    [InlineData("%DYNAMIC_METADATA%", "DYNAMIC_METADATA requires parameters")]
    [InlineData("%START_TIME(%Q)%", "Incorrect configuration: %START_TIME(%Q)%. Invalid parameters of START_TIME at position 0")]
    [InlineData("%REQ()%", "Incorrect configuration: %REQ()%. Invalid parameters of REQ at position 0")]
    public void UnknownOrMisused_IsAnError(string format, string expected)
    {
        Assert.Null(HeaderFormat.TryParse(format, out string error));
        Assert.Equal(expected, error);
    }

    [Theory]
    [InlineData("[%DYNAMIC_METADATA(a:b)%]")]
    [InlineData("[%DYNAMIC_METADATA([\"a\", \"b\"])%]")]
    [InlineData("[%PER_REQUEST_STATE(k)%]")]
    [InlineData("[%FILTER_STATE(k:PLAIN):10%]")]
    [InlineData("[%DOWNSTREAM_PEER_CERT_V_END%]")]
    [InlineData("[%DOWNSTREAM_PEER_CERT_V_START%]")]
    [InlineData("[%UPSTREAM_LOCAL_ADDRESS%]")]
    [InlineData("[%UPSTREAM_METADATA([\"a\",\"b\"])%]")]
    [InlineData("[%DOWNSTREAM_PEER_CERT_V_START(%b %d)%]")]
    public void NotGathered_IsAcceptedEmptyAndNamed(string format)
    {
        var parsed = HeaderFormat.TryParse(format, out _)!;
        string name = Assert.Single(parsed.NotGathered);
        Assert.Contains("%" + name, format, StringComparison.Ordinal);
        Assert.Equal("[]", Format(format));
    }

    [Fact]
    public void BeforeAResponse_ItsFactsAreMissing()
    {
        var facts = new TestFacts { Request = Request("/") };
        Assert.Equal("[]0", Format("[%RESP(y)%%UPSTREAM_HOST%%UPSTREAM_REMOTE_PORT%%RESPONSE_CODE_DETAILS%]%RESPONSE_CODE%", facts));
    }

    [Fact]
    public void LongNames_AreWrittenWhole()
    {
        var facts = new TestFacts { Request = Request("/") };
        facts.Info.ClusterName = new string('x', 63) + "\U0001F600" + new string('y', 1000);
        Assert.Equal(facts.Info.ClusterName, Format("%UPSTREAM_CLUSTER%", facts));
    }

    [Fact]
    public void Hostname_AndEnvironment_AreFixedWhenRead()
    {
        Assert.Equal(Environment.MachineName, Format("%HOSTNAME%"));
        Assert.Equal(Environment.GetEnvironmentVariable("PATH") ?? "", Format("%ENVIRONMENT(PATH)%"));
        Assert.Equal("", Format("%ENVIRONMENT(NO_SUCH_VARIABLE_AT_ALL)%"));
    }
}
