using System.Linq;
using System.Text;
using Sidecar.Config;
using Xunit;

namespace Sidecar.Tests.Config;

/// <summary>overload_manager of a bootstrap: what is taken, what is refused in Envoy's words, what is said to be without effect.</summary>
public sealed class OverloadTranslatorTests
{
    private const string Heap =
        """{"name":"envoy.resource_monitors.fixed_heap","typed_config":{"@type":"type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig","max_heap_size_bytes":2147483648}}""";

    private const string Connections =
        """{"name":"envoy.resource_monitors.global_downstream_max_connections","typed_config":{"@type":"type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig","max_active_downstream_connections":1000}}""";

    private static ResourceSet Read(string overload) => ResourceReader.ReadDocument(Encoding.UTF8.GetBytes("{\"admin\":{},\"overload_manager\":" + overload.Replace("$heap", Heap).Replace("$connections", Connections) + "}"), "bootstrap.json");

    private static OverloadConfig Config(string overload)
    {
        var set = Read(overload);
        Assert.Empty(set.Problems);
        return BootstrapReader.Read(set.Bootstrap!).Overload;
    }

    private static string Problems(string overload) => string.Join("\n", Read(overload).Problems.Select(problem => $"{problem.Kind} {problem.Path}: {problem.Reason}"));

    private static string Describe(OverloadConfig config) => string.Join("; ", config.Actions.Select(action =>
        $"{action.Action} {string.Join(", ", action.Triggers.Select(t => $"{t.Resource} {t.Start:0.##}-{t.Full:0.##}/{t.Release:0.##}"))}"));

    private const string Defaults = "DisableHttpKeepAlive FixedHeap 0.9-0.9/0.85; ResetHighMemoryStream FixedHeap 0.9-0.9/0.85; "
        + "StopAcceptingRequests FixedHeap 0.95-0.95/0.9; StopAcceptingConnections FixedHeap 0.98-0.98/0.93";

    [Fact]
    public void Nothing_IsABudgetOfOurOwn()
    {
        var config = Config("{}");
        Assert.True(config.WatchesHeap);
        Assert.Null(config.MaxHeapBytes);
        Assert.Equal(1000, config.RefreshMs);
        Assert.Equal(Defaults, Describe(config));
    }

    [Fact]
    public void ExampleOfEnvoysDocumentation_IsTaken()
    {
        var config = Config("""
            {"refresh_interval":"0.25s","resource_monitors":[$heap],"actions":[
             {"name":"envoy.overload_actions.shrink_heap","triggers":[{"name":"envoy.resource_monitors.fixed_heap","threshold":{"value":0.9}}],
              "typed_config":{"@type":"type.googleapis.com/envoy.config.overload.v3.ShrinkHeapConfig","timer_interval":"5s","max_unfreed_memory_bytes":1000}},
             {"name":"envoy.overload_actions.stop_accepting_requests","triggers":[{"name":"envoy.resource_monitors.fixed_heap","threshold":{"value":0.95}}]},
             {"name":"envoy.overload_actions.reset_high_memory_stream","triggers":[{"name":"envoy.resource_monitors.fixed_heap","scaled":{"scaling_threshold":0.85,"saturation_threshold":0.95}}]}],
             "buffer_factory_config":{"minimum_account_to_track_power_of_two":20} }
            """);
        Assert.Equal(250, config.RefreshMs);
        Assert.Equal(2147483648, config.MaxHeapBytes);
        Assert.Equal(1 << 20, config.ResetBytesMin);
        Assert.Equal((5000, 1000), (config.ShrinkIntervalMs, config.ShrinkBytesMin));
        Assert.Equal("ShrinkHeap FixedHeap 0.9-0.9/0.9; StopAcceptingRequests FixedHeap 0.95-0.95/0.95; ResetHighMemoryStream FixedHeap 0.85-0.95/0.85", Describe(config));
    }

    [Fact]
    public void ConnectionsAlone_LeaveOurBudgetOn_ActionsOfTheBootstrapWin()
    {
        var config = Config("""
            {"resource_monitors":[$connections],"actions":[
             {"name":"envoy.overload_actions.disable_http_keepalive","triggers":[{"name":"envoy.resource_monitors.global_downstream_max_connections","threshold":{"value":0.5}}]}]}
            """);
        Assert.Equal(1000, config.MaxConnections);
        Assert.True(config.WatchesHeap);
        Assert.Equal("DisableHttpKeepAlive DownstreamConnections 0.5-0.5/0.5; " + Defaults[(Defaults.IndexOf("; ") + 2)..], Describe(config));
    }

    [Fact]
    public void ControlGroup_IsWatchedInPlaceOfTheHeap()
    {
        var config = Config("""
            {"resource_monitors":[{"name":"envoy.resource_monitors.cgroup_memory",
              "typed_config":{"@type":"type.googleapis.com/envoy.extensions.resource_monitors.cgroup_memory.v3.CgroupMemoryConfig","max_memory_bytes":1000000}}],
             "actions":[{"name":"envoy.overload_actions.stop_accepting_connections","triggers":[{"name":"envoy.resource_monitors.cgroup_memory","threshold":{"value":1}}]}]}
            """);
        Assert.True(config.WatchesCgroup);
        Assert.False(config.WatchesHeap);
        Assert.Equal(1000000, config.CgroupBytesMax);
        Assert.Equal("StopAcceptingConnections CgroupMemory 1-1/1", Describe(config));
    }

    [Theory]
    [InlineData("""{"resource_monitors":[$heap,$heap]}""", "resource_monitors[1].name: Duplicate resource monitor envoy.resource_monitors.fixed_heap")]
    [InlineData("""{"resource_monitors":[{"name":"x"}]}""", "resource_monitors[0].name: Didn't find a registered implementation for name: 'x'")]
    [InlineData("""{"resource_monitors":[{"name":"envoy.resource_monitors.fixed_heap"}]}""", "resource_monitors[0].typed_config: must be envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig")]
    [InlineData("""{"resource_monitors":[{"name":"envoy.resource_monitors.fixed_heap","typed_config":{"@type":"type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig"}}]}""", "resource_monitors[0].typed_config.max_heap_size_bytes: value must be greater than 0")]
    [InlineData("""{"actions":[{"name":"x","triggers":[$on]}],"resource_monitors":[$heap]}""", "actions[0].name: Unknown Overload Manager Action x")]
    [InlineData("""{"actions":[$stop]}""", "actions[0].triggers[0].name: Unknown trigger resource envoy.resource_monitors.fixed_heap for overload action envoy.overload_actions.stop_accepting_requests")]
    [InlineData("""{"actions":[$stop,$stop],"resource_monitors":[$heap]}""", "actions[1].name: Duplicate overload action envoy.overload_actions.stop_accepting_requests")]
    [InlineData("""{"actions":[{"name":"envoy.overload_actions.shrink_heap","triggers":[$on,$on]}],"resource_monitors":[$heap]}""", "actions[0].triggers[1].name: Duplicate trigger resource for overload action envoy.overload_actions.shrink_heap")]
    [InlineData("""{"actions":[{"name":"envoy.overload_actions.shrink_heap"}],"resource_monitors":[$heap]}""", "actions[0].triggers: must have at least one")]
    [InlineData("""{"actions":[{"name":"envoy.overload_actions.shrink_heap","triggers":[{"name":"envoy.resource_monitors.fixed_heap","threshold":{"value":1.5}}]}],"resource_monitors":[$heap]}""", "actions[0].triggers[0].threshold.value: value must be inside range [0, 1]")]
    [InlineData("""{"actions":[{"name":"envoy.overload_actions.shrink_heap","triggers":[{"name":"envoy.resource_monitors.fixed_heap","scaled":{"scaling_threshold":0.9,"saturation_threshold":0.9}}]}],"resource_monitors":[$heap]}""", "actions[0].triggers[0].scaled: scaling_threshold must be less than saturation_threshold")]
    [InlineData("""{"actions":[{"name":"envoy.overload_actions.shrink_heap","triggers":[{"name":"envoy.resource_monitors.fixed_heap"}]}],"resource_monitors":[$heap]}""", "actions[0].triggers[0]: threshold or scaled is required")]
    [InlineData("""{"buffer_factory_config":{"minimum_account_to_track_power_of_two":9}}""", "buffer_factory_config.minimum_account_to_track_power_of_two: must be 10 to 56")]
    [InlineData("""{"refresh_interval":"-1s"}""", "refresh_interval: is not a valid duration: it must be 0 to 292 years")]
    public void WhatEnvoyRefuses_IsRefused(string overload, string problem)
    {
        const string on = """{"name":"envoy.resource_monitors.fixed_heap","threshold":{"value":0.9}}""";
        string text = overload.Replace("$stop", """{"name":"envoy.overload_actions.stop_accepting_requests","triggers":[$on]}""").Replace("$on", on);
        Assert.Equal("Error overload_manager." + problem, Problems(text));
    }

    [Fact]
    public void WhatEnvoyHasAndWeHaveNot_IsSaidByPath()
    {
        string text = """
            {"resource_monitors":[$heap,{"name":"envoy.resource_monitors.cpu_utilization"}],
             "actions":[{"name":"envoy.overload_actions.reduce_timeouts","triggers":[{"name":"envoy.resource_monitors.fixed_heap","threshold":{"value":0.9}}]},
                        {"name":"envoy.overload_actions.stop_accepting_requests","triggers":[{"name":"envoy.resource_monitors.cpu_utilization","threshold":{"value":0.9}}]}],
             "loadshed_points":[{"name":"envoy.load_shed_points.tcp_listener_accept"}]}
            """;
        string[] expected =
        [
            "Unsupported overload_manager.actions[0]: envoy.overload_actions.reduce_timeouts is not taken",
            "Unsupported overload_manager.resource_monitors[1]: envoy.resource_monitors.cpu_utilization is not watched",
        ];
        string[] problems = Problems(text).Split('\n');
        Assert.Equal(expected, problems.Where(p => !p.Contains("loadshed")).Order());
        Assert.StartsWith("Unsupported overload_manager.loadshed_points", Assert.Single(problems, p => p.Contains("loadshed")));
    }
}
