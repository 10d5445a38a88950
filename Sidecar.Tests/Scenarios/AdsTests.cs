using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using Sidecar.Tests.Harness;
using Xunit;
using Xunit.Abstractions;

namespace Sidecar.Tests.Scenarios;

/// <summary>
/// A sidecar whose control plane is go-control-plane, in both forms of xDS, by TCP and by a Unix socket: under load everything is changed that a mesh
/// changes, and no request is lost.
/// </summary>
[Trait("Category", "Linux")]
[Collection(ExecutableCollection.Name)]
public sealed class AdsTests(ITestOutputHelper output) : IDisposable
{
    private const string Node = "sidecar~10.1.2.3~app.ns~ns.svc.cluster.local";

    private readonly Owned _owned = new();
    private TestFolder _folder = null!;
    private string _listen = "";
    private XdsServer _server = null!;
    private SidecarProcess _sidecar = null!;

    public void Dispose() => _owned.Dispose();

    // ---- the mesh -----------------------------------------------------------------------------------------------

    private void Serve(TestSnapshot snapshot) => XdsServer.Serve(_folder.PathOf("xds"), Node, XdsServer.Resources(snapshot));

    private void Prepare(bool unix)
    {
        XdsServer.Require();
        SidecarProcess.Require();
        _folder = _owned.Push(new TestFolder());
        System.IO.Directory.CreateDirectory(_folder.PathOf("xds"));
        _listen = unix ? "unix:" + _folder.PathOf("XDS") : XdsServer.Loopback(FreePort.Next());
    }

    private void Start(bool delta, TestSnapshot first)
    {
        Serve(first);
        _server = _owned.Push(XdsServer.Start(_listen, _folder.PathOf("xds")));
        _sidecar = _owned.Push(SidecarProcess.RunBootstrap(_folder.Write("bootstrap.json", XdsServer.Bootstrap(Node, _listen, delta)), concurrency: 2));
    }

    /// <summary>Apps that answer their name.</summary>
    private int[] Apps(params string[] names)
    {
        int[] ports = FreePort.Next(names.Length);
        var snapshot = new TestSnapshot();
        for (int i = 0; i < names.Length; i++)
            snapshot.Http(names[i], ports[i], TestSnapshot.Answer(names[i]));
        _owned.Push(SidecarProcess.Run(_folder.Write("apps.json", snapshot.ToString())));
        return ports;
    }

    private static string Ask(int port, string path = "/")
    {
        using var client = new RawClient(port);
        var response = client.Get(path);
        return response.Status == 200 ? response.Body : response.Status.ToString();
    }

    private void Until(Func<bool> condition, string failure) => _sidecar.WaitUntil(condition, failure + "; the control plane wrote:\n" + _server.Log + "\nand the sidecar");

    /// <summary>Everything that several questions in a row are answered with.</summary>
    private static string Answers(int port) => string.Join("", Enumerable.Range(0, 40).Select(_ => Ask(port)).Distinct().Order());

    // ---- under load ---------------------------------------------------------------------------------------------

    [SkippableTheory]
    [InlineData(true, true)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(false, false)]
    public void EverythingChangesUnderLoad_NoRequestIsLost(bool delta, bool unix)
    {
        Prepare(unix);
        int[] apps = Apps("A", "B", "C");
        int[] ports = FreePort.Next(2);
        (int still, int changing) = (ports[0], ports[1]);

        TestSnapshot Mesh(string route, string other = "one") => new TestSnapshot().HttpByName("still", still, "routes").Routes("routes", route)
            .Http("changing", changing, TestSnapshot.Answer(other, "/version") + "," + TestSnapshot.To("first"));

        Start(delta, Mesh(TestSnapshot.To("first")).EdsCluster("first", false, apps[0]));
        using var load = new Load(still, changing);

        // Endpoints come and go.
        Serve(Mesh(TestSnapshot.To("first")).EdsCluster("first", false, apps[0], apps[1]));
        Until(() => Answers(still) == "AB", "did not take the endpoint that came");
        Serve(Mesh(TestSnapshot.To("first")).EdsCluster("first", false, apps[1]));
        Until(() => Answers(still) == "B", "did not drop the endpoint that went");

        // A second cluster, and weights between both.
        string Weighted(int first, int second) => TestSnapshot.Fill(
            """{"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": [{"name": "first", "weight": $a}, {"name": "second", "weight": $b}]}}}""",
            ("a", first.ToString()), ("b", second.ToString()));
        Serve(Mesh(Weighted(50, 50)).EdsCluster("first", false, apps[1]).EdsCluster("second", false, apps[2]));
        Until(() => Answers(still) == "BC", "did not split between clusters");
        Serve(Mesh(Weighted(0, 100)).EdsCluster("first", false, apps[1]).EdsCluster("second", false, apps[2]));
        Until(() => Answers(still) == "C", "did not take the weights");

        // A listener replaced: its connections are told to end, those of the other are not.
        Serve(Mesh(Weighted(100, 0), "two").EdsCluster("first", false, apps[1]).EdsCluster("second", false, apps[2]));
        Until(() => Ask(changing, "/version") == "two" && Answers(still) == "B", "did not replace the listener");

        // A cluster renamed: the new name serves before the old one is gone.
        for (int i = 0; i < 10; i++)
        {
            (string from, string to) = i % 2 == 0 ? ("second", "renamed") : ("renamed", "second");
            Serve(Mesh(TestSnapshot.To(to), $"rename {i}").EdsCluster("first", false, apps[1]).EdsCluster(to, false, apps[i % 2 == 0 ? 0 : 2]));
            Until(() => Ask(changing, "/version") == $"rename {i}" && Answers(still) == (i % 2 == 0 ? "A" : "C"), $"did not rename {from} to {to}");
        }
        Until(() => _sidecar.Stat("cluster_manager.active_clusters") == 3, "did not remove the cluster that was renamed");

        load.Stop();
        output.WriteLine($"{(delta ? "delta" : "state of the world")}, {(unix ? "unix" : "tcp")}: {load.Requests} requests, {load.Reopened} connections reopened on the listener that changed");
        Assert.True(load.Faults.Count == 0, string.Join('\n', load.Faults.Take(3)) + "\n" + _sidecar.Log);
        Assert.InRange(load.Requests, 100, long.MaxValue);
        Assert.Empty(_server.Refusals());
        Assert.Empty(_server.Errors());
        Assert.Equal(1, _sidecar.Stat("control_plane.connected_state"));
        Assert.Equal(0, _sidecar.Stat("cluster_manager.cds.update_rejected"));
        // One stream, in the form that the bootstrap says.
        var opened = _server.Events("open");
        Assert.Equal(delta ? "delta" : "sotw", Assert.Single(opened).GetProperty("mode").GetString());
    }

    [SkippableTheory]
    [InlineData(true)]
    [InlineData(false)]
    public void ControlPlaneKilledWithinPushes_AndStartedAgain_NoRequestIsLost(bool delta)
    {
        Prepare(unix: true);
        int[] apps = Apps("A", "B");
        int[] ports = FreePort.Next(2);
        (int still, int changing) = (ports[0], ports[1]);

        TestSnapshot Mesh(int version) => new TestSnapshot().HttpByName("still", still, "routes")
            .Routes("routes", TestSnapshot.To(version % 2 == 0 ? "even" : "odd")).EdsCluster("even", false, apps[0]).EdsCluster("odd", false, apps[1])
            .Http("changing", changing, TestSnapshot.Answer($"{version}", "/version") + "," + TestSnapshot.To("even"));

        Start(delta, Mesh(0));
        using var load = new Load(still, changing);
        int version = 0;
        for (int kill = 0; kill < 5; kill++)
        {
            // It dies while pushes are under way, and misses some.
            for (int i = 0; i < 5; i++)
            {
                Serve(Mesh(++version));
                _server.WaitUntil(() => _server.Events("snapshot").Count > i, "did not take a snapshot");
            }
            _server.Dispose();
            Until(() => _sidecar.Stat("control_plane.connected_state") == 0, "did not see the control plane go");
            Assert.Contains(Ask(still), new[] { "A", "B" });
            Serve(Mesh(++version));
            _server = _owned.Push(XdsServer.Start(_listen, _folder.PathOf("xds")));
            Until(() => Ask(changing, "/version") == $"{version}" && Answers(still) == (version % 2 == 0 ? "A" : "B"), "did not come back to the control plane");
            Assert.Equal(1, _sidecar.Stat("control_plane.connected_state"));
        }
        load.Stop();
        output.WriteLine($"{load.Requests} requests over five deaths of the control plane");
        Assert.True(load.Faults.Count == 0, string.Join('\n', load.Faults.Take(3)) + "\n" + _sidecar.Log);
        Assert.Empty(_server.Refusals());
    }

    [SkippableTheory]
    [InlineData(true)]
    [InlineData(false)]
    public void PoisonedResource_IsRefusedByItsPath_WhileTheOthersApply(bool delta)
    {
        Prepare(unix: true);
        int[] apps = Apps("A", "B");
        int[] ports = FreePort.Next(2);
        TestSnapshot Mesh(bool poisoned, string route) => new TestSnapshot().HttpByName("still", ports[0], "routes").Routes("routes", TestSnapshot.To(route))
            .EdsCluster("good", false, apps[0]).EdsCluster("other", false, apps[1])
            .Cluster("bad", false, poisoned ? "\"common_lb_config\": {\"healthy_panic_threshold\": {\"value\": 150}}" : "", apps[0])
            .Http("changing", ports[1], TestSnapshot.To("bad"));
        Start(delta, Mesh(false, "good"));
        Assert.Equal("A", Ask(ports[0]));
        using var load = new Load(ports[0], ports[1]);

        // The poisoned cluster comes with a change of the routes: that is taken, and the cluster keeps its version.
        Serve(Mesh(true, "other"));
        Until(() => _server.Refusals().Count > 0 && Answers(ports[0]) == "B", "did not refuse the cluster and take the routes");
        string refusal = _server.Refusals()[0];
        Assert.StartsWith("Error adding/updating cluster(s) bad: common_lb_config.healthy_panic_threshold", refusal);
        Assert.DoesNotContain("good", refusal);
        Assert.Equal("A", Ask(ports[1]));
        Assert.NotEqual(0, _sidecar.Stat("cluster_manager.cds.update_rejected"));
        Assert.Contains("common_lb_config.healthy_panic_threshold", _sidecar.Admin("/config_status"));

        Serve(Mesh(false, "good"));
        Until(() => Answers(ports[0]) == "A", "did not take the cluster that was mended");
        load.Stop();
        Assert.True(load.Faults.Count == 0, string.Join('\n', load.Faults.Take(3)) + "\n" + _sidecar.Log);
        // The state of the world is sent again as soon as it is refused; that does not become a race.
        Assert.Single(_server.Refusals().Distinct());
        Assert.InRange(_server.Refusals().Count, 1, delta ? 1 : 50);
    }

    /// <summary>
    /// Requests without a pause: over connections that must stay, to a listener that never changes, and over some that reopen only when an answer says
    /// so, to one that does.
    /// </summary>
    private sealed class Load : IDisposable
    {
        private readonly ManualResetEventSlim _stop = new();
        private readonly List<Thread> _clients = [];
        private readonly int _still;
        private readonly int _changing;
        private long _requests;
        private long _reopened;

        internal Load(int still, int changing)
        {
            _still = still;
            _changing = changing;
            for (int i = 0; i < 2; i++)
                _clients.AddRange([new Thread(() => Guard(KeepOneConnection)), new Thread(() => Guard(ReopenWhenTold))]);
            _clients.ForEach(client => client.Start());
        }

        internal List<string> Faults { get; } = [];
        internal long Requests => Interlocked.Read(ref _requests);
        internal long Reopened => Interlocked.Read(ref _reopened);

        internal void Stop()
        {
            _stop.Set();
            _clients.ForEach(client => client.Join());
        }

        public void Dispose() => Stop();

        private void KeepOneConnection()
        {
            using var client = new RawClient(_still);
            while (!_stop.IsSet)
            {
                var response = client.Get("/");
                Interlocked.Increment(ref _requests);
                if (response.Status != 200 || response.Header("connection") == "close")
                    throw new InvalidOperationException("on the unchanged listener: " + response.Head + response.Body);
            }
        }

        private void ReopenWhenTold()
        {
            while (!_stop.IsSet)
            {
                using var client = new RawClient(_changing);
                Interlocked.Increment(ref _reopened);
                for (bool open = true; open && !_stop.IsSet;)
                {
                    var response = client.Get("/");
                    Interlocked.Increment(ref _requests);
                    if (response.Status != 200)
                        throw new InvalidOperationException("on the changing listener: " + response.Head + response.Body);
                    open = response.Header("connection") != "close";
                }
            }
        }

        private void Guard(Action work)
        {
            try
            {
                work();
            }
            catch (Exception exception)
            {
                lock (Faults)
                    Faults.Add(exception.ToString());
                _stop.Set();
            }
        }
    }
}
