using System;
using System.Collections.Generic;
using System.Linq;
using System.Text;
using Google.Protobuf.WellKnownTypes;
using Sidecar.Config;
using Sidecar.Downstream;
using Sidecar.Tests.Harness;
using Sidecar.Tests.Server;
using Sidecar.Wire;
using Sidecar.Xds;
using Xunit;
using WireCore = Envoy.Config.Core.V3;
using WireFault = Envoy.Extensions.Filters.Http.Fault.V3;

namespace Sidecar.Tests.Filters;

/// <summary>HTTP filters whose configuration is discovered (ECDS): waited for, replaced in place, refused, and what serves without.</summary>
public sealed class DiscoveredFilterTests : IDisposable
{
    private const string FaultType = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault";
    private const string Router = """{"name": "router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}""";

    private readonly PipelineHarness _harness = new();
    private int _version;

    public void Dispose() => _harness.Dispose();

    private static TestSnapshot Http(string more = "", string types = FaultType, string name = "http") => new TestSnapshot().Listener(name, 0, TestSnapshot.Fill("""
        {"name": "envoy.filters.network.http_connection_manager", "typed_config": {
         "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "http",
         "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [$answer]}]},
         "http_filters": [{"name": "fault", "config_discovery": {"config_source": {"ads": {}}, "type_urls": ["$types"] $more}}, $router]}}
        """, ("answer", TestSnapshot.Answer("x")), ("types", types), ("more", more), ("router", Router)));

    private IReadOnlyList<ResourceRejection> Push(Any? config, params string[] removed)
    {
        string version = (++_version).ToString();
        var extension = new WireCore.TypedExtensionConfig { Name = "fault", TypedConfig = config };
        var refused = _harness.Pipeline.OnUpdate(new DiscoveryUpdate
        {
            TypeUrl = ResourceTypes.Extension,
            IsDelta = true,
            SystemVersion = version,
            Source = "127.0.0.1:15010",
            ReceivedNs = _harness.Test.Loop.NowNs,
            Bytes = 1,
            Resources = config is null ? [] : [new DiscoveredResource(ResourceTypes.Extension, "fault", version, Google.Protobuf.MessageExtensions.ToByteArray(extension), "127.0.0.1:15010")],
            Removed = removed,
        });
        _harness.Settle();
        return refused;
    }

    private static Any Abort(uint status) => new()
    {
        TypeUrl = FaultType,
        Value = Google.Protobuf.MessageExtensions.ToByteString(new WireFault.HTTPFault
        {
            Abort = new WireFault.FaultAbort { HttpStatus = status, Percentage = new Envoy.Type.V3.FractionalPercent { Numerator = 100 } },
        }),
    };

    private ListenerConfig? Serving(string name = "http") => _harness.Listeners.Find(name)?.Config;

    /// <summary>The status of a request on a connection.</summary>
    private string Status(TestPeer peer)
    {
        int before = peer.Received.Count;
        peer.Send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        _harness.Test.Until(() =>
        {
            peer.Receive();
            return peer.Received.Count > before;
        });
        return Encoding.Latin1.GetString([.. peer.Received.Skip(before + 9).Take(3)]);
    }

    private TestPeer Connect() => TestPeer.Connect(_harness.Pipeline.AddressesOf(Serving()!)[0]);

    [Fact]
    public void Listener_WaitsForTheConfiguration_AndAChangeReachesAnOpenConnection()
    {
        _harness.Start(new TestSnapshot());
        _harness.Push(ResourceTypes.Listener, Http());
        Assert.Equal(["extensions fault"], _harness.Asked());
        Assert.Null(Serving());
        Assert.Empty(Push(Abort(418)));
        var listener = Serving();
        using var peer = Connect();
        Assert.Equal("418", Status(peer));
        Assert.Empty(Push(Abort(503)));
        Assert.Equal("503", Status(peer));
        Assert.Same(listener, Serving());
        Assert.Equal(2, _harness.Stat("extension_config_discovery.http_filter.fault.config_reload"));
        Assert.Equal(2, _harness.Stat("extension_config_discovery.http_filter.fault.update_success"));
    }

    [Fact]
    public void ConfigurationThatDoesNotCome_IsAnsweredFiveHundred_OrByTheDefault()
    {
        _harness.Start(new TestSnapshot());
        _harness.Push(ResourceTypes.Listener, Http());
        _harness.Advance(SubscribingSource.DefaultFetchTimeoutMs);
        using var peer = Connect();
        Assert.Equal("500", Status(peer));
        _harness.Push(ResourceTypes.Listener, Http($$""", "default_config": {"@type": "{{FaultType}}", "abort": {"http_status": 418, "percentage": {"numerator": 100} } }"""));
        using var other = Connect();
        Assert.Equal("418", Status(other));
        // What comes takes the default's place, and what goes gives it back.
        Assert.Empty(Push(Abort(503)));
        Assert.Equal("503", Status(other));
        Assert.Empty(Push(null, "fault"));
        Assert.Equal("418", Status(other));
    }

    [Fact]
    public void DefaultWithoutWarming_ServesAtOnce()
    {
        _harness.Start(new TestSnapshot());
        _harness.Push(ResourceTypes.Listener, Http($$""", "default_config": {"@type": "{{FaultType}}"}, "apply_default_config_without_warming": true"""));
        using var peer = Connect();
        Assert.Equal("200", Status(peer));
        Assert.Equal(["extensions fault"], _harness.Asked());
        Push(Abort(418));
        Assert.Equal("418", Status(peer));
    }

    [Fact]
    public void OtherTypeThanWanted_UnknownType_AndBadValues_AreRefused_AndTheOldOneStays()
    {
        _harness.Start(new TestSnapshot());
        _harness.Push(ResourceTypes.Listener, Http());
        Push(Abort(418));
        using var peer = Connect();
        const string cors = "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors";
        Assert.Equal([new ResourceRejection("fault", "", $"Error: filter config has type URL {cors} but expect {FaultType}.")], Push(new Any { TypeUrl = cors }));
        Assert.Equal(
            [new ResourceRejection("fault", "typed_config", "Didn't find a registered implementation for 'fault' with type URL: 'envoy.extensions.filters.http.wasm.v3.Wasm'")],
            Push(new Any { TypeUrl = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm" }));
        Assert.Contains("abort", Assert.Single(Push(Abort(7))).Reason);
        Assert.Equal("418", Status(peer));
        Assert.Equal(3, _harness.Stat("extension_config_discovery.http_filter.fault.config_fail"));
    }

    [Theory]
    [InlineData("", "type.googleapis.com/no.Such", "type_urls[0]", "Error: no factory found for a required type URL type.googleapis.com/no.Such.")]
    [InlineData("", "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router", "type_urls[0]", "a terminal filter is not taken by discovery")]
    [InlineData(""", "apply_default_config_without_warming": true""", FaultType, "apply_default_config_without_warming", "no default_config")]
    [InlineData(""", "default_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors"}""", FaultType, "default_config", "but expect")]
    public void WhatCannotBeDiscovered_RefusesTheListener_ByPath(string more, string types, string path, string reason)
    {
        _harness.Start(new TestSnapshot());
        var refused = _harness.Push(ResourceTypes.Listener, Http(more, types));
        string at = "filter_chains[0].filters[0].typed_config.http_filters[0].config_discovery." + path;
        Assert.Contains(refused, rejection => rejection.Path == at && rejection.Reason.Contains(reason, StringComparison.Ordinal));
    }
}
