using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text;
using Sidecar.Telemetry;
using Sidecar.Telemetry.Stats;
using Sidecar.Tests.Harness;
using Sidecar.Wire;
using Sidecar.Xds;
using Xunit;

namespace Sidecar.Tests.Server;

/// <summary>What the log says of configurations that come, and come again.</summary>
[Collection(nameof(ErrorLogTests))]
public sealed class ConfigLogTests : IDisposable
{
    private readonly Stream _before = Log.Sink;
    private readonly MemoryStream _lines = new();

    public ConfigLogTests() => Log.Sink = _lines;

    public void Dispose() => Log.Sink = _before;

    // Other tests of the process may log meanwhile, so what is looked for is only here.
    private string[] Lines(string text) => [.. Encoding.UTF8.GetString(_lines.ToArray()).Split('\n').Where(line => line.Contains(text, StringComparison.Ordinal))];

    [Fact]
    public void SameBadPushAgain_IsSaidOnce_AndCountedUntilItIsAnother()
    {
        using var harness = new PipelineHarness();
        harness.Start(new TestSnapshot());
        TestSnapshot Mesh(string more = "")
        {
            var mesh = new TestSnapshot();
            for (int i = 0; i < 13; i++)
                mesh.Http($"said-{i}", 0, TestSnapshot.Answer(i == 0 ? more : ""));
            return mesh;
        }
        TestSnapshot Bad(TestSnapshot mesh) => mesh.Raw("said-never", 0, """ "filter_chains": [] """);
        harness.Push(ResourceTypes.Listener, Mesh());
        for (int i = 0; i < 5; i++)
            harness.Push(ResourceTypes.Listener, Bad(Mesh()));
        Assert.Single(Lines("13 unchanged, 1 refused"));
        Assert.Equal([(0, 0L), (1, 4L)], harness.Pipeline.Journal.Records.Where(push => push.Kind == "lds").TakeLast(2).Select(push => (push.Refused, push.Repeated)));
        string error = Assert.Single(Lines("listener said-never"));
        Assert.EndsWith("filter_chains: error adding listener: no filter chains specified; there is none in use", error.TrimEnd());
        harness.Push(ResourceTypes.Listener, Bad(Mesh("changed")));
        Assert.EndsWith("; before it 4 with the same errors and nothing else", Assert.Single(Lines("1 modified, 0 removed, 12 unchanged, 1 refused")).TrimEnd());
        harness.Push(ResourceTypes.Listener, Bad(Mesh("changed")));
        harness.Push(ResourceTypes.Listener, Mesh("changed"));
        Assert.EndsWith("; before it 1 with the same errors and nothing else", Lines("13 unchanged, 0 refused")[^1].TrimEnd());
        Assert.Single(Lines("listener said-never"));
    }

    [Fact]
    public void EmptyVersion_IsSaidToBeNone()
    {
        using var harness = new PipelineHarness();
        harness.Start(new TestSnapshot());
        harness.Pipeline.OnUpdate(new DiscoveryUpdate
        {
            TypeUrl = ResourceTypes.Cluster, IsDelta = false, Bytes = 0, ReceivedNs = harness.Test.Loop.NowNs, SystemVersion = "", Source = "nowhere-else:1", Resources = [], Removed = [], Malformed = [],
        });
        Assert.Contains("cds: no version from nowhere-else:1: ", Assert.Single(Lines("nowhere-else:1")));
    }

    [Fact]
    public void ControlPlaneThatIsGone_IsSaidOnce_UntilTheReasonIsAnother_AndSinceWhenItIsGone()
    {
        using var harness = new PipelineHarness();
        harness.Start(new TestSnapshot());
        harness.Pipeline.OnConnection(true, "");
        harness.Advance(1_000);
        long gone = harness.Test.Loop.UnixMs;
        harness.Pipeline.OnConnection(false, "gone-for-a-test");
        harness.Advance(1_000);
        harness.Pipeline.OnConnection(false, "gone-for-a-test");
        Assert.EndsWith("no control plane: gone-for-a-test; what is in use goes on", Assert.Single(Lines("gone-for-a-test")).TrimEnd());
        harness.Pipeline.OnConnection(false, "gone otherwise");
        Assert.Single(Lines("gone otherwise"));
        Assert.Equal((false, "gone otherwise", gone), harness.Pipeline.Connection);
        harness.Pipeline.OnConnection(true, "");
        harness.Pipeline.OnConnection(false, "gone-for-a-test");
        Assert.Equal(2, Lines("gone-for-a-test").Length);
    }

    [Fact]
    public void WhatHasNotComeInTime_IsNamed()
    {
        using var loop = new TestLoop();
        using var folder = new TestFolder();
        var timeouts = new Dictionary<string, long> { [ResourceTypes.Listener] = 7_000 };
        var source = new PathSource(loop.Loop, new PathOrigin(folder.PathOf("never.json"), ""), new RecordingTarget(), new StatsRegistry(1), timeouts);
        source.Subscribe(ResourceTypes.ClusterLoadAssignment, false, ["late-0"], static _ => 1_000);
        source.Subscribe(ResourceTypes.RouteConfiguration, false, [.. Enumerable.Range(1, 7).Select(i => $"late-{i}")], static _ => 2_000);
        source.Subscribe(ResourceTypes.Listener, true, []);
        source.Start();
        loop.Settle();
        loop.Advance(7_000);
        loop.Settle();
        Assert.EndsWith("no endpoints of cluster late-0 within initial_fetch_timeout; what waits for it goes on without", Assert.Single(Lines("late-0")).TrimEnd());
        Assert.EndsWith(
            "no route configuration late-1, late-2, late-3, late-4, late-5 and 2 more within initial_fetch_timeout; what waits for it goes on without",
            Assert.Single(Lines("late-1")).TrimEnd());
        Assert.NotEmpty(Lines("no answer about listeners within initial_fetch_timeout; the start goes on without"));
        source.Stop();
    }

    [Fact]
    public void ConfigurationReadAgain_SaysSo_WhetherItChangedOrNot()
    {
        using var server = new ServerHarness(new TestSnapshot().Http("a", 0, TestSnapshot.Answer("x")));
        string path = server.Server.Options.SnapshotPath!;
        string same = new TestSnapshot().Http("a", 0, TestSnapshot.Answer("x")).ToString();
        server.Change(same);
        Assert.Contains($"a test: read {path}: nothing changed, no errors, in ", Lines(path)[^1]);
        server.Change(new TestSnapshot().Http("a", 0, TestSnapshot.Answer("x")).Raw("b", 7, """ "filter_chains": [] """).ToString());
        Assert.Contains($"a test: read {path}: nothing changed, 1 error, in ", Lines(path)[^1]);
        server.Change(same);
        Assert.Contains($"a test: read {path}: nothing changed, 1 error mended, in ", Lines(path)[^1]);
    }

    [Fact]
    public void FileThatIsNotThere_IsSaidToBeAwaited_Once()
    {
        using var loop = new TestLoop();
        using var folder = new TestFolder();
        string path = folder.PathOf("late.json");
        var target = new RecordingTarget();
        var stats = new StatsRegistry(1);
        var source = new PathSource(loop.Loop, new PathOrigin(path, ""), target, stats, new Dictionary<string, long>());
        source.Subscribe(ResourceTypes.Cluster, true, []);
        source.Start();
        loop.Settle();
        source.Subscribe(ResourceTypes.Cluster, true, ["x"]);
        loop.Settle();
        Assert.EndsWith($"{path} does not exist; the clusters in it are waited for", Assert.Single(Lines(path)).TrimEnd());
        Assert.Equal(0, SubscriptionStats.Cells(stats, ResourceTypes.Cluster)!.Value(SubscriptionStats.UpdateFailure));
        folder.Write("late.json", "{");
        loop.Until(() =>
        {
            loop.Advance(50);
            return Lines(path).Length > 1;
        });
        Assert.Contains($"Filesystem config update failure: in {path}, ", Lines(path)[^1]);
        Assert.EndsWith("; nothing of it is in use yet", Lines(path)[^1].TrimEnd());
        source.Stop();
    }
}
