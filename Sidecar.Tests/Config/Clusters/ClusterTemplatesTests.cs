using System;
using System.Collections;
using System.Collections.Generic;
using System.Linq;
using System.Reflection;
using Google.Protobuf;
using Sidecar.Config;
using Sidecar.Config.Clusters;
using Sidecar.Filters;
using Sidecar.Memory;
using Sidecar.Routing;
using Sidecar.Telemetry.Stats;
using Sidecar.Tests.Wire;
using Sidecar.Upstream;
using Xunit;
using WireCluster = Envoy.Config.Cluster.V3;

namespace Sidecar.Tests.Config.Clusters;

/// <summary>A cluster made from the settings of another one is what it would be by itself. Single quotes stand for double ones.</summary>
public sealed class ClusterTemplatesTests
{
    private const string Type = "envoy.config.cluster.v3.Cluster";

    // $ stands for the cluster's name.
    private static readonly string[] s_alike =
    [
        "{'name':'$'}",
        "{'name':'$','type':'EDS','eds_cluster_config':{'eds_config':{'ads':{}},'service_name':'$'},'connect_timeout':'7s','lb_policy':'LEAST_REQUEST'}",
        "{'name':'$','type':'EDS','eds_cluster_config':{'eds_config':{'ads':{}}},'circuit_breakers':{'thresholds':[{'max_connections':5,'track_remaining':true}]}," +
            "'metadata':{'filter_metadata':{'istio':{'host':'$'}}},'outlier_detection':{},'filters':[{'name':'istio.metadata_exchange'}]}",
        "{'name':'$','type':'STATIC','load_assignment':{'cluster_name':'$','endpoints':[{'lb_endpoints':[{'endpoint':{'address':{'socket_address':{'address':'10.0.0.1','port_value':80}}}}]}]}," +
            "'common_lb_config':{'healthy_panic_threshold':{'value':5},'locality_weighted_lb_config':{}},'max_requests_per_connection':3}",
        "{'name':'$','type':'ORIGINAL_DST','lb_policy':'CLUSTER_PROVIDED','original_dst_lb_config':{'use_http_header':true,'upstream_port_override':9},'cleanup_interval':'3s'}",
    ];

    private static readonly string[] s_apart =
    [
        "{'name':'$','alt_stat_name':'x'}",
        "{'name':'$','type':'EDS','eds_cluster_config':{'eds_config':{'ads':{}},'service_name':'other'}}",
        "{'name':'$','type':'STRICT_DNS','load_assignment':{'cluster_name':'$','endpoints':[{'lb_endpoints':[{'endpoint':{'address':{'socket_address':{'address':'name','port_value':80}}}}]}]}}",
        "{'name':'$','transport_socket':{'name':'raw_buffer'}}",
        "{'name':'$','type':'STATIC','load_assignment':{'cluster_name':'$','endpoints':[{'lb_endpoints':[{}]}]}}",
        "{'name':'$','type':'LOGICAL_DNS','load_assignment':{'cluster_name':'$'}}",
        "{'name':'$','lb_policy':'MAGLEV'}",
    ];

    internal static ConfigScope Scope(string name) => new(
        new ConfigServices
        {
            Stats = new StatsRegistry(1),
            Cluster = new ClusterSlots().Intern,
            RouteSlot = _ => 0,
            RouteTable = (_, _) => null,
            StringMatcher = (_, _) => null,
            HeaderMatcher = (_, _) => null,
            ClusterProblem = _ => null,
        },
        name);

    private static byte[] Bytes(string json, string name) =>
        WireHarness.TryRead(json.Replace('\'', '"').Replace("$", name), Type, out var problems) ?? throw new InvalidOperationException(string.Join("; ", problems));

    // The cluster or what was thrown, and every word said about it.
    private static (ClusterConfig? Config, string Words) Run(Func<ConfigScope, ClusterConfig?> translate, string name)
    {
        var scope = Scope(name);
        ClusterConfig? config;
        try
        {
            config = translate(scope);
        }
        catch (Exception broken) when (broken is InvalidProtocolBufferException or InvalidOperationException)
        {
            return (null, broken.Message);
        }
        return (config, string.Join("; ", scope.Rejections.Concat(scope.Ignored)));
    }

    private static (ClusterConfig? Config, string Words) Alone(byte[] bytes, string name) =>
        Run(scope => ClusterTranslator.Translate(WireCluster.Cluster.Parser.ParseFrom(bytes), 1, scope), name);

    private static (ClusterConfig? Config, string Words) ByTemplate(ClusterTemplates templates, byte[] bytes, string name) => Run(scope => templates.Translate(bytes, 1, scope), name);

    private static void Same((ClusterConfig? Config, string Words) expected, (ClusterConfig? Config, string Words) actual, string what)
    {
        Assert.True(expected.Words == actual.Words, $"{what}: {expected.Words} | {actual.Words}");
        Assert.True(expected.Config is null == actual.Config is null, what);
        if (expected.Config is not null)
            Assert.True(Text(expected.Config, 0) == Text(actual.Config, 0), $"{what}\n{Text(expected.Config, 0)}\n{Text(actual.Config, 0)}");
    }

    // Everything reachable by properties, as deep as configuration goes.
    private static string Text(object? value, int depth)
    {
        switch (value)
        {
            case null:
                return "null";
            case StatsScope scope:
                return scope.Prefix + string.Join(",", scope.Tags) + string.Join(",", Enumerable.Range(0, scope.Schema.Count).Select(scope.Sum));
            case Sidecar.Telemetry.Metadata metadata:
                return metadata.Find("istio")?.ToString() ?? "";
            case IEnumerable list and not string:
                return "[" + string.Join(",", list.Cast<object?>().Select(item => Text(item, depth + 1))) + "]";
        }
        var type = value.GetType();
        if (depth > 6 || type.IsPrimitive || type.IsEnum || type.Namespace is not { } space || !space.StartsWith("Sidecar", StringComparison.Ordinal) || type.IsValueType)
            return value.ToString()!;
        var properties = type.GetProperties(BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic).Where(property => property.Name != "EqualityContract");
        return "{" + string.Join(",", properties.Select(property => property.Name + ":" + Text(property.GetValue(value), depth + 1))) + "}";
    }

    [Fact]
    public void ClustersAlike_AreWhatEachWouldBeByItself()
    {
        var templates = new ClusterTemplates();
        foreach (string json in s_alike.Concat(s_apart))
        {
            foreach (string name in new[] { "a", "outbound|80||b.default.svc.cluster.local", "c:d" })
            {
                byte[] bytes = Bytes(json, name);
                Same(Alone(bytes, name), ByTemplate(templates, bytes, name), json);
            }
        }
    }

    [Fact]
    public void ClustersAlike_ShareTheirSettings_AndNothingOfTheirOwn()
    {
        const string json = "{'name':'$','type':'EDS','eds_cluster_config':{'eds_config':{'ads':{}},'service_name':'$'},'http2_protocol_options':{'max_concurrent_streams':7}}";
        var templates = new ClusterTemplates();
        var scope = Scope("a");
        var first = templates.Translate(Bytes(json, "a"), 1, scope)!;
        var second = templates.Translate(Bytes(json, "b"), 1, new ConfigScope(scope.Services, "b"))!;
        var third = templates.Translate(Bytes(json, "a"), 1, new ConfigScope(scope.Services, "a"))!;
        Assert.Same(first.Http, second.Http);
        Assert.NotSame(first.Breakers, second.Breakers);
        Assert.NotSame(first.Stats, second.Stats);
        Assert.NotEqual(first.Slot, second.Slot);
        Assert.Equal(("b", "b", "b"), (second.Name, second.StatName, second.ServiceName));
        Assert.Same(first.Stats, third.Stats);
        // Alike in all, and not the same: whoever keeps clusters in a set tells them apart.
        Assert.NotEqual(first, third);
    }

    [Fact]
    public void MutatedBytes_AreWhatTheyWouldBeByThemselves()
    {
        var random = new FastRandom(11);
        var templates = new ClusterTemplates();
        string name = "outbound|80||b";
        byte[][] corpus = [.. s_alike.Concat(s_apart).Select(json => Bytes(json, name))];
        int accepted = 0;
        for (int i = 0; i < 6_000; i++)
        {
            byte[] bytes = [.. corpus[i % corpus.Length]];
            for (int n = (int)random.Next(3); n > 0; n--)
                bytes[random.Next((uint)bytes.Length)] = random.Next(2) == 0 ? (byte)random.Next(256) : (byte)random.Next(12);
            var expected = Alone(bytes, name);
            accepted += expected.Config is null ? 0 : 1;
            Same(expected, ByTemplate(templates, bytes, name), $"mutation {i}");
        }
        Assert.True(accepted > 500, $"{accepted} accepted");
    }
}
