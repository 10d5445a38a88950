using System;
using System.Collections.Generic;
using System.Linq;
using Sidecar.Loop;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Tests.Harness;
using Sidecar.Tls;
using Sidecar.Upstream;
using Sidecar.Upstream.Discovery;
using Xunit;

namespace Sidecar.Tests.Upstream.Discovery;

public sealed class EndpointSetTests
{
    private static readonly UpstreamHarness s_harness = new();

    private static Address At(int host) => Address.IPv4(0x0a000000 + (uint)host, 80);

    private static LocalitySpec Locality(uint priority, params EndpointSpec[] endpoints) => new(Sidecar.Upstream.Locality.None, 0, priority, endpoints);

    [Fact]
    public void Update_SameAddress_KeepsTheHostAndBringsItUpToDate()
    {
        var config = s_harness.Config();
        var before = UpstreamHarness.Endpoints(At(1), At(2)).Build(config, null, 1);
        var metadata = new Metadata(new Dictionary<string, MetadataValue> { ["istio"] = MetadataValue.Of("x") });
        var after = new EndpointSet
        {
            Localities = [Locality(1, new EndpointSpec(At(2), "", 0, "", 7, EdsHealth.Degraded, metadata)), Locality(0, UpstreamHarness.Spec(At(3)))],
        }.Build(config, before, 1);
        var kept = after.Priorities[1].Hosts.Single();
        Assert.Same(before.Priorities[0].Hosts[1], kept);
        Assert.Equal((7u, 1u, true, metadata), (kept.Weight, kept.Priority, kept.IsDegraded, kept.Metadata));
        Assert.Equal((2, 1, 1, 7u), (after.Count, after.HealthyCount, after.DegradedCount, after.MaxWeight));
    }

    [Fact]
    public void Update_OtherHostname_IsAnotherHost()
    {
        var config = s_harness.Config();
        var before = UpstreamHarness.Endpoints(At(1)).Build(config, null, 1);
        var after = new EndpointSet { Localities = [Locality(0, UpstreamHarness.Spec(At(1)) with { Hostname = "other" })] }.Build(config, before, 1);
        Assert.NotSame(before.Priorities[0].Hosts[0], after.Priorities[0].Hosts[0]);
    }

    [Fact]
    public void Duplicates_CountOnce() => Assert.Equal(2, UpstreamHarness.Endpoints(At(1), At(1), At(2)).Build(s_harness.Config(), null, 1).Count);

    [Fact]
    public void Priorities_WithAGap_AreEmptyInBetween()
    {
        var hosts = new EndpointSet { Localities = [Locality(2, UpstreamHarness.Spec(At(1)))] }.Build(s_harness.Config(), null, 1);
        Assert.Equal([0, 0, 1], hosts.Priorities.Select(p => p.Hosts.Length));
    }

    [Theory]
    [InlineData((int)EdsHealth.Unknown, "healthy")]
    [InlineData((int)EdsHealth.Healthy, "healthy")]
    [InlineData((int)EdsHealth.Unhealthy, "/failed_eds_health")]
    [InlineData((int)EdsHealth.Draining, "/failed_eds_health")]
    [InlineData((int)EdsHealth.Timeout, "/failed_eds_health")]
    [InlineData((int)EdsHealth.Degraded, "/degraded_eds_health")]
    public void Health_BecomesFlags(int health, string text)
    {
        var hosts = new EndpointSet { Localities = [Locality(0, UpstreamHarness.Spec(At(1), health: (EdsHealth)health))] }.Build(s_harness.Config(), null, 1);
        Assert.Equal(text, hosts.Priorities[0].Hosts[0].HealthText());
    }

    [Fact]
    public void Transport_IsTheFirstMatchOfTheMetadata()
    {
        var istio = new Named("istio");
        var plain = new Named("plain");
        var match = MetadataValue.Of(new Dictionary<string, MetadataValue> { ["tlsMode"] = MetadataValue.Of("istio") });
        var config = new ClusterConfig
        {
            Name = "c", Slot = 0, StatName = "c", Stats = s_harness.Scope("c"),
            Breakers = new CircuitBreakers(CircuitBreakerThresholds.Default, CircuitBreakerThresholds.Default, null, 1),
            TransportMatches = [new TransportMatch("istio", match, istio), new TransportMatch("rest", MetadataValue.Of(new Dictionary<string, MetadataValue>()), plain)],
        };
        var metadata = new Metadata(new Dictionary<string, MetadataValue> { [TransportMatch.MetadataFilter] = match });
        var hosts = new EndpointSet { Localities = [Locality(0, UpstreamHarness.Spec(At(1)) with { Metadata = metadata }, UpstreamHarness.Spec(At(2)))] }.Build(config, null, 1);
        Assert.Equal([istio, plain], hosts.Priorities[0].Hosts.Select(h => h.Transport));
    }

    private sealed class Named(string name) : TransportFactory
    {
        internal override string Name => name;
        internal override Transport Create(Host host, EventLoop loop, int worker, ReadOnlyMemory<byte> offered, TlsOverrides? overrides = null) => RawTransport.Instance;
    }
}
