using System;
using System.Collections.Generic;
using System.IO;
using Sidecar.Tests.Harness;
using Sidecar.Telemetry.Stats;
using Sidecar.Wire;
using Sidecar.Xds;
using Xunit;

namespace Sidecar.Tests.Xds;

/// <summary>Filesystem subscriptions: read, watched by move, refused without harm.</summary>
public sealed class PathSourceTests : IDisposable
{
    private readonly TestLoop _loop = new();
    private readonly TestFolder _folder = new();
    private readonly RecordingTarget _target = new();
    private readonly StatsRegistry _stats = new(workers: 1);
    private PathSource? _source;

    public void Dispose()
    {
        _source?.Stop();
        _loop.Dispose();
        _folder.Dispose();
    }

    private static string Response(string version, params string[] clusters)
    {
        var resources = new List<string>();
        foreach (string name in clusters)
            resources.Add($$"""{"@type":"{{ResourceTypes.Cluster}}","name":"{{name}}"}""");
        return $$"""{"version_info":"{{version}}","resources":[{{string.Join(",", resources)}}]}""";
    }

    private void Start(string text, string watched = "")
    {
        string path = _folder.Write("cds.json", text);
        _source = new PathSource(_loop.Loop, new PathOrigin(path, watched), _target, _stats, new Dictionary<string, long>());
        _source.Subscribe(ResourceTypes.Cluster, true, []);
        _source.Start();
        _loop.Settle();
    }

    private void ExpectChange(int events)
    {
        _loop.Until(() =>
        {
            _loop.Advance(50);
            return _target.Events.Count >= events;
        });
        Assert.Equal(events, _target.Events.Count);
    }

    private long Stat(int stat) => SubscriptionStats.Cells(_stats, ResourceTypes.Cluster)!.Value(stat);

    [Fact]
    public void File_IsTheStateOfTheWorld_AgainWhenReplaced()
    {
        Start(Response("1", "x", "y"));
        Assert.Equal(["CDS world 1 : x@1 y@1"], _target.Events);
        Assert.Equal(_folder.PathOf("cds.json"), _target.Updates[0].Source);
        _folder.Write("cds.json", Response("2", "y"));
        ExpectChange(2);
        Assert.Equal("CDS world 2 : y@2 -x", _target.Events[1]);
        Assert.Equal(2, Stat(SubscriptionStats.UpdateSuccess));
    }

    [Fact]
    public void WatchedDirectory_TellsOfALinkThatMoves()
    {
        // As Kubernetes mounts a volume: cds.json → ..data/cds.json, and ..data → a folder that is replaced.
        Directory.CreateDirectory(_folder.PathOf("one"));
        Directory.CreateDirectory(_folder.PathOf("two"));
        File.WriteAllText(_folder.PathOf("one/cds.json"), Response("1", "x"));
        File.WriteAllText(_folder.PathOf("two/cds.json"), Response("2", "y"));
        Directory.CreateSymbolicLink(_folder.PathOf("..data"), _folder.PathOf("one"));
        _source = new PathSource(_loop.Loop, new PathOrigin(_folder.PathOf("..data/cds.json"), _folder.Path), _target, _stats, new Dictionary<string, long>());
        _source.Subscribe(ResourceTypes.Cluster, true, []);
        _source.Start();
        _loop.Settle();
        Directory.CreateSymbolicLink(_folder.PathOf("..tmp"), _folder.PathOf("two"));
        Command.Run("mv", "-T", _folder.PathOf("..tmp"), _folder.PathOf("..data")).Expect();
        ExpectChange(2);
        Assert.Equal(["CDS world 1 : x@1", "CDS world 2 : y@2 -x"], _target.Events);
    }

    [Theory]
    [InlineData("{")]
    [InlineData("[]")]
    [InlineData("")]
    [InlineData("""{"resources":[{"@type":"type.googleapis.com/no.Such"}]}""")]
    [InlineData("""{"type_url":"type.googleapis.com/envoy.config.listener.v3.Listener"}""")]
    public void FileThatIsNoResponse_IsCounted_AndWhatIsInUseStays(string text)
    {
        Start(text);
        Assert.Empty(_target.Events);
        Assert.Equal((1, 0), (Stat(SubscriptionStats.UpdateFailure), Stat(SubscriptionStats.UpdateRejected)));
        _folder.Write("cds.json", Response("2", "x"));
        ExpectChange(1);
        Assert.Equal("CDS world 2 : x@2", _target.Events[0]);
    }

    [Fact]
    public void MissingFile_IsAwaited()
    {
        _source = new PathSource(_loop.Loop, new PathOrigin(_folder.PathOf("late.json"), ""), _target, _stats, new Dictionary<string, long>());
        _source.Subscribe(ResourceTypes.Cluster, true, []);
        _source.Start();
        _loop.Settle();
        Assert.Empty(_target.Events);
        _folder.Write("late.json", Response("1", "x"));
        ExpectChange(1);
    }
}
