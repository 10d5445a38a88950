using System;
using System.Collections.Generic;
using System.Linq;
using System.Text;
using System.Text.RegularExpressions;
using Sidecar.Downstream;
using Sidecar.Filters;
using Sidecar.Http;
using Sidecar.Http.H1;
using Sidecar.Http.H2;
using Sidecar.Memory;
using Sidecar.Net;
using Sidecar.Telemetry.Stats;
using Xunit;

namespace Sidecar.Tests.Downstream;

/// <summary>Who a request comes from and what it may say about itself, by Envoy's rules.</summary>
public class ForwardingRulesTests
{
    private const string Peer = "10.0.0.9";

    // use_remote_address, trusted hops, x-forwarded-for received -> address taken, x-forwarded-for sent
    [Theory]
    [InlineData(true, 0, "", Peer, Peer)]
    [InlineData(true, 0, "1.2.3.4", Peer, "1.2.3.4,10.0.0.9")]
    [InlineData(true, 1, "1.2.3.4", "1.2.3.4", "1.2.3.4,10.0.0.9")]
    [InlineData(true, 1, "1.1.1.1, 2.2.2.2", "2.2.2.2", "1.1.1.1, 2.2.2.2,10.0.0.9")]
    [InlineData(true, 2, "1.1.1.1, 2.2.2.2", "1.1.1.1", "1.1.1.1, 2.2.2.2,10.0.0.9")]
    [InlineData(true, 3, "1.1.1.1, 2.2.2.2", Peer, "1.1.1.1, 2.2.2.2,10.0.0.9")]
    [InlineData(true, 1, "not an address", Peer, "not an address,10.0.0.9")]
    [InlineData(false, 0, "", Peer, "")]
    [InlineData(false, 0, "1.1.1.1", "1.1.1.1", "1.1.1.1")]
    [InlineData(false, 0, "1.1.1.1, 2.2.2.2", "2.2.2.2", "1.1.1.1, 2.2.2.2")]
    [InlineData(false, 1, "1.1.1.1, 2.2.2.2", "1.1.1.1", "1.1.1.1, 2.2.2.2")]
    [InlineData(false, 2, "1.1.1.1, 2.2.2.2", Peer, "1.1.1.1, 2.2.2.2")]
    [InlineData(false, 0, "2001:db8::1", "2001:db8::1", "2001:db8::1")]
    public void RemoteAddress(bool useRemote, int hops, string xff, string remote, string sent)
    {
        var run = Run(config => config with { UseRemoteAddress = useRemote, XffTrustedHops = hops }, ("x-forwarded-for", xff));
        Assert.Equal(remote, run.Remote);
        Assert.Equal(sent, run["x-forwarded-for"]);
    }

    [Fact]
    public void SkipXffAppend_LeavesTheListAlone()
    {
        var run = Run(config => config with { UseRemoteAddress = true, SkipXffAppend = true }, ("x-forwarded-for", "1.2.3.4"));
        Assert.Equal("1.2.3.4", run["x-forwarded-for"]);
    }

    [Fact]
    public void XForwardedProto_FromTheConnection_UnlessATrustedProxySetIt()
    {
        Assert.Equal("http", Run(c => c with { UseRemoteAddress = true }, ("x-forwarded-proto", "https"))["x-forwarded-proto"]);
        Assert.Equal("https", Run(c => c with { UseRemoteAddress = true, XffTrustedHops = 1 }, ("x-forwarded-proto", "https"))["x-forwarded-proto"]);
        Assert.Equal("https", Run(c => c, ("x-forwarded-proto", "https"))["x-forwarded-proto"]);
        Assert.Equal("http", Run(c => c, ("x-forwarded-proto", "gopher"))["x-forwarded-proto"]);
        Assert.Equal("http", Run(c => c)["x-forwarded-proto"]);
    }

    [Fact]
    public void Internal_OnlyWhereConfigured()
    {
        Assert.Equal("", Run(c => c with { UseRemoteAddress = true })["x-envoy-internal"]);
        Assert.Equal("true", Run(c => Trusting(c) with { UseRemoteAddress = true })["x-envoy-internal"]);
        // A list of addresses says that somebody outside was involved.
        Assert.Equal("", Run(c => Trusting(c) with { UseRemoteAddress = true }, ("x-forwarded-for", "10.0.0.1"))["x-envoy-internal"]);
        Assert.Equal("true", Run(Trusting, ("x-forwarded-for", "10.0.0.1"))["x-envoy-internal"]);
        Assert.Equal("", Run(Trusting, ("x-forwarded-for", "10.0.0.1, 10.0.0.2"))["x-envoy-internal"]);
        Assert.Equal("", Run(Trusting, ("x-forwarded-for", "8.8.8.8"))["x-envoy-internal"]);
    }

    [Fact]
    public void Internal_ClaimedFromOutside_IsRemoved() => Assert.Equal("", Run(c => c with { UseRemoteAddress = true }, ("x-envoy-internal", "true"))["x-envoy-internal"]);

    [Theory]
    [InlineData("x-envoy-retry-on")]
    [InlineData("x-envoy-retry-grpc-on")]
    [InlineData("x-envoy-max-retries")]
    [InlineData("x-envoy-upstream-alt-stat-name")]
    [InlineData("x-envoy-upstream-rq-timeout-ms")]
    [InlineData("x-envoy-upstream-rq-per-try-timeout-ms")]
    [InlineData("x-envoy-upstream-rq-timeout-alt-response")]
    [InlineData("x-envoy-expected-rq-timeout-ms")]
    [InlineData("x-envoy-force-trace")]
    [InlineData("x-envoy-ip-tags")]
    [InlineData("x-envoy-original-path")]
    [InlineData("x-envoy-hedge-on-per-try-timeout")]
    [InlineData("x-envoy-retriable-status-codes")]
    [InlineData("x-envoy-retriable-header-names")]
    [InlineData("x-envoy-is-timeout-retry")]
    public void SteeringField_OnlyFromInternalCallers(string name)
    {
        Assert.Equal("", Run(c => c with { UseRemoteAddress = true }, (name, "1"))[name]);
        Assert.Equal("1", Run(c => Trusting(c) with { UseRemoteAddress = true }, (name, "1"))[name]);
    }

    [Theory]
    [InlineData("x-envoy-decorator-operation")]
    [InlineData("x-envoy-downstream-service-cluster")]
    [InlineData("x-envoy-downstream-service-node")]
    public void EdgeField_RemovedAtTheEdgeOnly(string name)
    {
        Assert.Equal("", Run(c => c with { UseRemoteAddress = true }, (name, "1"))[name]);
        Assert.Equal("1", Run(c => c, (name, "1"))[name]);
    }

    [Fact]
    public void ExternalAddress_SetAtTheEdge() => Assert.Equal(Peer, Run(c => c with { UseRemoteAddress = true }, ("x-envoy-external-address", "6.6.6.6"))["x-envoy-external-address"]);

    [Fact]
    public void RequestId_MadeKeptOrReplaced()
    {
        Assert.Matches(new Regex("^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"), Run(c => c)["x-request-id"]);
        Assert.Equal("mine", Run(c => c, ("x-request-id", "mine"))["x-request-id"]);
        Assert.NotEqual("mine", Run(c => c with { UseRemoteAddress = true }, ("x-request-id", "mine"))["x-request-id"]);
        Assert.Equal("mine", Run(c => c with { UseRemoteAddress = true, PreserveExternalRequestId = true }, ("x-request-id", "mine"))["x-request-id"]);
        Assert.Equal("", Run(c => c with { GenerateRequestId = false })["x-request-id"]);
    }

    [Fact]
    public void FormatUuid_VersionAndVariantAreSet()
    {
        Span<byte> text = stackalloc byte[36];
        ForwardingRules.FormatUuid(ulong.MaxValue, ulong.MaxValue, text);
        Assert.Equal("ffffffff-ffff-4fff-bfff-ffffffffffff", Encoding.ASCII.GetString(text));
        ForwardingRules.FormatUuid(0, 0, text);
        Assert.Equal("00000000-0000-4000-8000-000000000000", Encoding.ASCII.GetString(text));
        ForwardingRules.FormatUuid(0x01234567_89ab_cdef, 0xfedc_ba9876543210, text);
        Assert.Equal("01234567-89ab-4def-bedc-ba9876543210", Encoding.ASCII.GetString(text));
    }

    [Fact]
    public void Port_AppendedWhereWanted()
    {
        Assert.Equal("8080", Run(c => c with { AppendXForwardedPort = true })["x-forwarded-port"]);
        Assert.Equal("1", Run(c => c with { AppendXForwardedPort = true }, ("x-forwarded-port", "1"))["x-forwarded-port"]);
    }

    [Fact]
    public void Via_Appended() =>
        Assert.Equal("1.1 a, me", Run(c => c with { Via = "me"u8.ToArray() }, ("via", "1.1 a"))["via"]);

    private static HttpConnectionManagerConfig Trusting(HttpConnectionManagerConfig config)
    {
        Assert.True(Address.TryParseIp("10.0.0.0", out var range));
        Assert.True(Cidr.TryCreate(range, 8, out var cidr));
        return config with { InternalCidrs = [cidr] };
    }

    private static Outcome Run(Func<HttpConnectionManagerConfig, HttpConnectionManagerConfig> change, params (string Name, string Value)[] fields)
    {
        var registry = new StatsRegistry(1);
        var config = change(new HttpConnectionManagerConfig
        {
            StatPrefix = "t",
            Stats = registry.Scope(HttpStats.Schema, "http.t."),
            Filters = [],
            Http1 = Http1Options.ServerDefaults,
            Http2 = Http2Options.ServerDefaults,
        });
        var head = new RequestHead();
        head.Add(HeaderId.Method, "GET"u8);
        head.Add(HeaderId.Path, "/"u8);
        foreach (var (name, value) in fields.Where(f => f.Value.Length > 0))
            head.Add(Encoding.ASCII.GetBytes(name), Encoding.Latin1.GetBytes(value));
        Assert.True(Address.TryParseIp(Peer, out var peer));
        Assert.True(Address.TryParseIp("10.0.0.1", out var local, 8080));
        var remote = ForwardingRules.Apply(head, in peer, in local, secure: false, config, new FastRandom(1));
        return new Outcome(remote.HostString(), head);
    }

    private sealed record Outcome(string Remote, RequestHead Head)
    {
        internal string this[string name]
        {
            get
            {
                var values = new List<string>();
                foreach (var field in Head)
                {
                    if (Encoding.ASCII.GetString(field.Name) == name)
                        values.Add(Encoding.Latin1.GetString(field.Value));
                }
                return string.Join(" | ", values);
            }
        }
    }
}
