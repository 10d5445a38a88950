using System;
using System.Linq;
using Sidecar.Admin;
using Sidecar.Tests.Harness;
using Sidecar.Wire;
using Xunit;

namespace Sidecar.Tests.Server;

/// <summary>What is counted of route configurations that come by name.</summary>
public sealed class RouteSubscriptionsTests : IDisposable
{
    private const string Prefix = "http.web.rds.r.";

    private readonly PipelineHarness _harness = new();

    public void Dispose() => _harness.Dispose();

    private static TestSnapshot Mesh(string answer = "x") => new TestSnapshot().Routes("r", TestSnapshot.Answer(answer)).HttpByName("web", 0, "r");

    private long Stat(string name) => _harness.Stat(Prefix + name);

    [Fact]
    public void Answer_IsCounted_AReloadOnlyWhenItIsNew()
    {
        _harness.Start(Mesh());
        // One for the subscription, one for each answer.
        Assert.Equal((2, 1, 0), (Stat("update_attempt"), Stat("update_success"), Stat("update_rejected")));
        Assert.Equal((1, _harness.Test.Loop.UnixMs), (Stat("config_reload"), Stat("config_reload_time_ms")));
        Assert.Equal(_harness.Test.Loop.UnixMs, Stat("update_time"));
        Assert.Equal("4", _harness.Text(Prefix + "version_text"));
        long version = Stat("version");
        Assert.NotEqual(0, version);

        _harness.Push(ResourceTypes.RouteConfiguration, Mesh());
        Assert.Equal((3, 2, 1), (Stat("update_attempt"), Stat("update_success"), Stat("config_reload")));
        Assert.NotEqual(version, Stat("version"));
        _harness.Push(ResourceTypes.RouteConfiguration, Mesh("y"));
        Assert.Equal((4, 3, 2), (Stat("update_attempt"), Stat("update_success"), Stat("config_reload")));
        // What nobody asks for is nobody's.
        _harness.Push(ResourceTypes.RouteConfiguration, new TestSnapshot().Routes("other", TestSnapshot.Answer("z")));
        Assert.Equal(4, Stat("update_attempt"));
        Assert.DoesNotContain(_harness.Stats.Scopes, scope => scope.Prefix.Contains("rds.other", StringComparison.Ordinal));
    }

    [Fact]
    public void Refusal_IsCounted_AndTheVersionStays()
    {
        _harness.Start(Mesh());
        Assert.NotEmpty(_harness.Push(ResourceTypes.RouteConfiguration, new TestSnapshot().Routes("r", "{}")));
        Assert.Equal((3, 1, 1, 1), (Stat("update_attempt"), Stat("update_success"), Stat("update_rejected"), Stat("config_reload")));
        Assert.Equal("4", _harness.Text(Prefix + "version_text"));
    }

    [Fact]
    public void EveryManagerThatTakesIt_Counts()
    {
        _harness.Start(Mesh().HttpByName("second", 0, "r"));
        Assert.Equal((2, 1, 1), (Stat("update_attempt"), Stat("update_success"), Stat("config_reload")));
        Assert.Equal((1, 1), (_harness.Stat("http.second.rds.r.update_success"), _harness.Stat("http.second.rds.r.config_reload")));
    }

    [Fact]
    public void NoAnswer_IsCounted()
    {
        _harness.Start(new TestSnapshot());
        _harness.Push(ResourceTypes.Listener, Mesh());
        Assert.Equal((1, 0), (Stat("update_attempt"), Stat("update_failure")));
        Assert.Equal("", _harness.Text(Prefix + "version_text"));
        _harness.Pipeline.OnFailure(ResourceTypes.RouteConfiguration);
        _harness.Pipeline.OnFailure(ResourceTypes.Cluster);
        _harness.Pipeline.OnFetchTimeout(ResourceTypes.RouteConfiguration, ["r"]);
        Assert.Equal((1, 1), (Stat("update_failure"), Stat("init_fetch_timeout")));
    }

    [Fact]
    public void Stats_GoWithTheSubscription()
    {
        _harness.Start(Mesh());
        _harness.Push(ResourceTypes.Listener, new TestSnapshot(), "web");
        Assert.Equal(1, Stat("update_success"));
        _harness.Advance(PipelineHarness.DrainMs);
        Assert.DoesNotContain(_harness.Stats.Scopes, scope => scope.Prefix == Prefix);
    }

    [Fact]
    public void Prometheus_HasEnvoysLabels()
    {
        _harness.Start(Mesh());
        string text = PageReader.Text(StatsPages.Prometheus([.. _harness.Stats.Scopes.Where(scope => scope.Prefix == Prefix)], new StatsFilter(usedOnly: false, kind: null, names: null)));
        Assert.Contains("envoy_http_rds_config_reload{envoy_http_conn_manager_prefix=\"web\",envoy_rds_route_config=\"r\"} 1\n", text);
        Assert.Contains("envoy_http_rds_update_success{envoy_http_conn_manager_prefix=\"web\",envoy_rds_route_config=\"r\"} 1\n", text);
        Assert.DoesNotContain("version_text", text);
    }
}
