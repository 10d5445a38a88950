using System;
using System.Collections.Generic;
using System.Linq;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Tests.Harness;
using Sidecar.Upstream;
using Sidecar.Upstream.Discovery;
using Xunit;

namespace Sidecar.Tests.Upstream.Discovery;

/// <summary>Names from a hosts file that the test rewrites; a name that is not in it is asked of a server that does not answer.</summary>
public sealed class DnsDiscoveryTests : IDisposable
{
    private readonly UpstreamHarness _harness = new();
    private readonly List<string> _told = [];
    private ClusterDiscovery? _discovery;
    private string _hostsFile = "";
    private HostSet _hosts = HostSet.Empty;

    public void Dispose()
    {
        _discovery?.Stop();
        _harness.Dispose();
    }

    private ClusterConfig Config(DiscoveryType type, DnsRefresh? dns, params string[] names) => _harness.Config(
        type: type, dns: dns,
        endpoints: new EndpointSet
        {
            Localities = [new LocalitySpec(Locality.None, 0, 0, names.Select(name => new EndpointSpec(default, name, 8080, "", 1, EdsHealth.Unknown, Metadata.Empty)).ToArray())],
        });

    private ClusterConfig Start(ClusterConfig config)
    {
        // The only server refuses: no datagram leaves this machine.
        var resolver = new DnsResolver(_harness.Test.Loop, () => DnsConfig.Parse("nameserver 127.0.0.1\noptions timeout:1 attempts:1", _hostsFile));
        _discovery = new ClusterDiscovery(_harness.Test.Loop, resolver, 1, _harness.Random, (_, hosts) =>
        {
            _hosts = hosts;
            _told.Add(string.Join(",", hosts.Priorities.SelectMany(p => p.Hosts).Select(h => h.Name)));
        });
        _discovery.Set(config);
        _harness.Test.Settle();
        return config;
    }

    private void After(long ms)
    {
        _harness.Test.Advance(ms);
        _harness.Test.Settle();
    }

    [Fact]
    public void StrictDns_EveryAddressIsAHost_AndChangesAreTold()
    {
        _hostsFile = "10.0.0.1 a\n10.0.0.2 a";
        var config = Start(Config(DiscoveryType.StrictDns, null, "a"));
        Assert.Equal(["10.0.0.1:8080,10.0.0.2:8080"], _told);
        var kept = _hosts.Priorities[0].Hosts[1];
        Assert.Equal("a", kept.Hostname);
        Assert.True(_discovery!.IsWarm);

        _hostsFile = "10.0.0.2 a\n10.0.0.3 a";
        After(4999);
        Assert.Single(_told);
        After(1);
        Assert.Equal("10.0.0.2:8080,10.0.0.3:8080", _told[1]);
        Assert.Same(kept, _hosts.Priorities[0].Hosts[0]);

        After(5000);
        Assert.Equal(2, _told.Count);
        Assert.Equal(3, config.Stats.Sum(ClusterStats.UpdateAttempt));
        Assert.Equal(3, config.Stats.Sum(ClusterStats.UpdateSuccess));
        Assert.Equal(2, config.Stats.Sum(ClusterStats.MembershipTotal));
        Assert.Equal(2, config.Stats.Sum(ClusterStats.MembershipChange));
    }

    [Fact]
    public void LogicalDns_OneHost_KeptWhileTheNameHasIt()
    {
        _hostsFile = "10.0.0.1 a\n10.0.0.2 a";
        Start(Config(DiscoveryType.LogicalDns, null, "a"));
        Assert.Equal(["10.0.0.1:8080"], _told);
        _hostsFile = "10.0.0.2 a\n10.0.0.1 a";
        After(5000);
        Assert.Single(_told);
        _hostsFile = "10.0.0.2 a";
        After(5000);
        Assert.Equal("10.0.0.2:8080", _told[1]);
    }

    [Fact]
    public void SeveralNames_ToldWhenAllAreKnown()
    {
        _hostsFile = "10.0.0.1 a\n10.0.0.2 b";
        Start(Config(DiscoveryType.StrictDns, null, "a", "b", "10.0.0.9"));
        Assert.Equal("10.0.0.1:8080,10.0.0.2:8080,10.0.0.9:8080", _told[^1]);
    }

    [Fact]
    public void Jitter_LengthensTheWait()
    {
        _hostsFile = "10.0.0.1 a";
        var config = Start(Config(DiscoveryType.StrictDns, new DnsRefresh { JitterMs = 1000 }, "a"));
        After(4999);
        Assert.Equal(1, config.Stats.Sum(ClusterStats.UpdateAttempt));
        After(1001);
        Assert.Equal(2, config.Stats.Sum(ClusterStats.UpdateAttempt));
    }

    [Fact]
    public void Set_SameConfig_GoesOn_AnotherOneStartsAnew_RemoveStops()
    {
        _hostsFile = "10.0.0.1 a";
        var config = Start(Config(DiscoveryType.StrictDns, null, "a"));
        _discovery!.Set(config);
        _harness.Test.Settle();
        Assert.Equal(1, config.Stats.Sum(ClusterStats.UpdateAttempt));
        Assert.NotNull(_discovery.HostsOf(config));

        var changed = Config(DiscoveryType.StrictDns, null, "a");
        _discovery.Set(changed);
        _harness.Test.Settle();
        Assert.Equal(2, _told.Count);
        Assert.Null(_discovery.HostsOf(config));

        _discovery.Remove(changed.Name);
        After(60_000);
        Assert.Equal(2, _told.Count);
        Assert.Equal(0, _harness.Test.Loop.TimerCount);
    }

    [Fact]
    public void NoNames_IsWarmAtOnce()
    {
        Start(Config(DiscoveryType.StrictDns, null));
        Assert.Equal([""], _told);
        Assert.True(_discovery!.IsWarm);
    }
}
