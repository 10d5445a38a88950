using System;
using System.Collections.Generic;
using System.Linq;
using System.Text;
using Sidecar.Config;
using Sidecar.Downstream;
using Sidecar.Routing;
using Sidecar.Server;
using Sidecar.Tests.Harness;
using Sidecar.Tests.Routing;
using Sidecar.Upstream;
using Sidecar.Wire;
using Xunit;

namespace Sidecar.Tests.Server;

/// <summary>
/// A thousand random histories of pushes: after every step a proxy that lived through all of it holds, and routes, exactly what one has that is started with
/// the same configuration.
/// </summary>
public class RandomUpdatesTests
{
    private const int StepsEach = 5;
    private static readonly string[] s_order = [ResourceTypes.Cluster, ResourceTypes.ClusterLoadAssignment, ResourceTypes.Listener, ResourceTypes.RouteConfiguration];

    [Theory]
    [InlineData(0)]
    [InlineData(250)]
    [InlineData(500)]
    [InlineData(750)]
    public void RunningState_EqualsAFreshStart(int firstSeed)
    {
        for (int seed = firstSeed; seed < firstSeed + 250; seed++)
        {
            var random = new Random(seed);
            var mesh = new Mesh();
            using var running = new PipelineHarness();
            running.Discover();
            for (int step = 0; step < StepsEach; step++)
            {
                for (int changes = random.Next(1, 5); changes > 0; changes--)
                    mesh.Change(random);
                bool isRude = random.Next(4) == 0;
                Push(running, mesh, isRude ? random : null);
                // Whatever waits for others to leave has waited.
                for (int i = 0; i < 6; i++)
                    running.Advance(Warming.LeavingMs);
                using var fresh = new PipelineHarness();
                fresh.Discover();
                Push(fresh, mesh, null);
                Assert.True(running.Pipeline.IsServing);
                Assert.Equal($"seed {seed} step {step}\n" + Describe(fresh), $"seed {seed} step {step}\n" + Describe(running));
            }
        }
    }

    /// <summary>Brings a proxy up to date, as a delta control plane does: what it asks for, in the order of types; some also send what is refused.</summary>
    private static void Push(PipelineHarness harness, Mesh mesh, Random? rude)
    {
        var whole = mesh.Snapshot();
        for (int round = 0; round < 2; round++)
        {
            foreach (string typeUrl in s_order)
            {
                IEnumerable<string> wanted = typeUrl switch
                {
                    ResourceTypes.ClusterLoadAssignment => harness.Pipeline.Warming.EndpointNames,
                    ResourceTypes.RouteConfiguration => harness.Pipeline.Warming.RouteNames,
                    _ => mesh.Names(typeUrl),
                };
                var names = wanted.ToHashSet();
                var removed = typeUrl is ResourceTypes.Cluster or ResourceTypes.Listener
                    ? harness.Snapshot.Of(typeUrl).Keys.Where(name => !names.Contains(name))
                    : names.Where(name => !mesh.Names(typeUrl).Contains(name));
                var refused = harness.Push(typeUrl, whole, names, removed.ToArray());
                Assert.Empty(refused);
                if (rude is not null && typeUrl == ResourceTypes.Listener && rude.Next(2) == 0)
                    Assert.NotEmpty(harness.Push(typeUrl, new TestSnapshot().Raw("l" + rude.Next(3), 9, """ "filter_chains": [] """)));
                if (rude is not null && typeUrl == ResourceTypes.Cluster && rude.Next(2) == 0)
                    Assert.NotEmpty(harness.Push(typeUrl, new TestSnapshot().Cluster("refused", false, """ "lb_policy": "MAGLEV", "cleanup_interval": "0s" """, 1)));
            }
        }
    }

    /// <summary>All that can be told from outside: the page /config_dump, the clusters and hosts of the worker, and where each listener sends a request.</summary>
    private static string Describe(PipelineHarness harness)
    {
        string page = DumpPage.WithoutHistory(DumpPage.Text(harness.Pipeline));
        var lines = new List<string> { page };
        foreach (var state in harness.Snapshot.Resources)
        {
            if (state.Accepted is null && state.Active is null)
                continue;
            Assert.Contains($"\"{state.Name}\"", page);
            lines.Add($"{ResourceTypes.Noun(state.TypeUrl)} {state.Name}: active {Digest(state.Active)} accepted {Digest(state.Accepted)}");
        }
        foreach (var entry in harness.Clusters.All)
        {
            var cluster = harness.Clusters[entry.Config!.Slot]!;
            lines.Add($"worker's cluster {entry.Config.Name} {entry.Config.Type} {entry.Config.Http.Protocol}: "
                + string.Join(",", cluster.Hosts.Priorities.SelectMany(p => p.Hosts).Select(h => h.Name)) + " picks " + (cluster.PickHost() is null ? "none" : "one"));
        }
        foreach (var listener in harness.Listeners.All)
        {
            lines.Add($"worker's listener {listener.Config.Name} chains {string.Join(",", listener.Config.Chains.Select(c => XxHash(c.WireBytes)))} sockets {listener.Sockets.Count}");
            foreach (var terminal in listener.Terminals.OfType<HttpConnectionManager>())
            {
                var table = terminal.Config.RouteTable ?? harness.Worker.Scope.RouteTables[terminal.Config.RouteSlot];
                foreach (string path in new[] { "/", "/b/c", "/none" })
                    lines.Add($"request {path} to {listener.Config.Name}: {Probe(harness, table, path)}");
            }
        }
        lines.Add("asks for " + string.Join(",", harness.Pipeline.Warming.EndpointNames.Order()) + " and " + string.Join(",", harness.Pipeline.Warming.RouteNames.Order()));
        lines.Add("stats of " + string.Join(",", harness.Stats.Scopes.Select(s => s.Prefix).Order(StringComparer.Ordinal)));
        lines.Sort(StringComparer.Ordinal);
        return string.Join("\n", lines);
    }

    private static string Probe(PipelineHarness harness, RouteTable? table, string path)
    {
        if (table is null || RoutingHarness.Match(table, RoutingHarness.Request(path)).Route is not { } route)
            return "no route";
        if (route.DirectResponse is { } direct)
            return $"{direct.Status} {Encoding.ASCII.GetString(direct.Body)}";
        var target = route.Action!.Cluster!;
        var cluster = harness.Clusters[target.Slot];
        return $"{target.Name} {(cluster is null ? "not found" : cluster.PickHost()?.Host.Name is null ? "no host" : "found")}";
    }

    private static string Digest(ResourceVersion? version) => version is null ? "none" : XxHash(version.Resource.Bytes.ToArray());

    private static string XxHash(byte[] bytes) => Sidecar.Memory.XxHash64.Hash(bytes).ToString("x");

    /// <summary>What the control plane has: a few names of each type, so that histories meet themselves again.</summary>
    private sealed class Mesh
    {
        private static readonly string[] s_services = ["c0", "c1", "shared"];
        private readonly Dictionary<string, Action<TestSnapshot>> _clusters = [];
        private readonly Dictionary<string, Action<TestSnapshot>> _endpoints = [];
        private readonly Dictionary<string, Action<TestSnapshot>> _routes = [];
        private readonly Dictionary<string, Action<TestSnapshot>> _listeners = [];

        internal void Change(Random random)
        {
            switch (random.Next(10))
            {
                case 0 or 1 or 2:
                    ChangeCluster(random, "c" + random.Next(4));
                    break;
                case 3 or 4 or 5:
                    // An assignment is never taken back: a control plane says that it is empty.
                    string service = s_services[random.Next(s_services.Length)];
                    int[] ports = Enumerable.Range(random.Next(5), random.Next(4)).Select(i => 1000 + i).ToArray();
                    _endpoints[service] = s => s.Assignment(service, ports);
                    break;
                case 6 or 7:
                    string table = "r" + random.Next(2);
                    string routes = RandomRoutes(random);
                    _routes[table] = s => s.Routes(table, routes);
                    break;
                default:
                    ChangeListener(random, "l" + random.Next(3));
                    break;
            }
        }

        private void ChangeCluster(Random random, string name)
        {
            bool http2 = random.Next(2) == 0;
            string service = random.Next(2) == 0 ? name : "shared";
            int port = 2000 + random.Next(3);
            switch (random.Next(4))
            {
                case 0:
                    _clusters.Remove(name);
                    break;
                case 1:
                    _clusters[name] = s => s.Cluster(name, http2, port);
                    break;
                default:
                    _clusters[name] = s => s.EdsCluster(name, service);
                    break;
            }
        }

        private void ChangeListener(Random random, string name)
        {
            string table = "r" + random.Next(3);
            string body = "x" + random.Next(3);
            string cluster = "c" + random.Next(4);
            switch (random.Next(5))
            {
                case 0:
                    _listeners.Remove(name);
                    break;
                case 1:
                    _listeners[name] = s => s.Http(name, 0, TestSnapshot.Answer(body, "/b") + "," + TestSnapshot.Answer(body));
                    break;
                case 2:
                    _listeners[name] = s => s.Tcp(name, 0, cluster);
                    break;
                default:
                    _listeners[name] = s => s.HttpByName(name, 0, table);
                    break;
            }
        }

        private static string RandomRoutes(Random random)
        {
            string first = random.Next(2) == 0 ? TestSnapshot.Answer("y" + random.Next(2), "/b") + "," : "";
            return first + (random.Next(3) == 0 ? TestSnapshot.Answer("z", "/b") : TestSnapshot.To("c" + random.Next(4)));
        }

        internal IReadOnlyCollection<string> Names(string typeUrl) => Of(typeUrl).Keys;

        internal TestSnapshot Snapshot()
        {
            var snapshot = new TestSnapshot();
            foreach (string typeUrl in s_order)
            {
                foreach (var add in Of(typeUrl).Values)
                    add(snapshot);
            }
            return snapshot;
        }

        private Dictionary<string, Action<TestSnapshot>> Of(string typeUrl) => typeUrl switch
        {
            ResourceTypes.Cluster => _clusters,
            ResourceTypes.ClusterLoadAssignment => _endpoints,
            ResourceTypes.Listener => _listeners,
            _ => _routes,
        };
    }
}
