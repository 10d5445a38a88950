using System;
using System.IO;
using System.Linq;
using Sidecar.Config;
using Sidecar.Server;
using Sidecar.Tests.Harness;
using Sidecar.Wire;
using Xunit;

namespace Sidecar.Tests.Server;

/// <summary>The file of the last good configuration: what is written is read, and nothing that is not whole is.</summary>
public sealed class LastGoodFileTests : IDisposable
{
    private static readonly DiscoveredResource[] s_resources =
    [
        new(ResourceTypes.Cluster, "a", "1", new byte[] { 1, 2, 3 }, "127.0.0.1:15010"),
        new(ResourceTypes.Listener, "b", "", Array.Empty<byte>(), "127.0.0.1:15010"),
        new(ResourceTypes.RouteConfiguration, new string('c', 300), "v", new byte[5000], "127.0.0.1:15010"),
    ];

    private readonly TestLoop _loop = new();
    private readonly TestFolder _folder = new();

    public void Dispose()
    {
        _loop.Dispose();
        _folder.Dispose();
    }

    private LastGoodFile File(string node = "node") => new(_loop, new Snapshot(), _folder.Path, node);

    [Fact]
    public void Written_IsRead_ReadableToItsOwnerOnly_NothingIsLeftBeside()
    {
        var file = File();
        Assert.Null(file.Write(s_resources, 1_234));
        Assert.Equal(0, file.SavedUnixMs);
        var read = File();
        var resources = read.Read()!;
        Assert.Equal(1_234, read.SavedUnixMs);
        Assert.Equal(s_resources.Select(r => (r.TypeUrl, r.Name, r.Version)), resources.Select(r => (r.TypeUrl, r.Name, r.Version)));
        Assert.All(s_resources.Zip(resources), pair => Assert.True(pair.First.Bytes.Span.SequenceEqual(pair.Second.Bytes.Span)));
        Assert.All(resources, r => Assert.Equal(file.Path, r.Source));
        if (!OperatingSystem.IsWindows())
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, System.IO.File.GetUnixFileMode(file.Path));
        Assert.Equal([file.Path], Directory.GetFiles(_folder.Path));
    }

    [Fact]
    public void WrittenAgain_ReplacesWhatWasThere()
    {
        Assert.Null(File().Write(s_resources, 1));
        Assert.Null(File().Write([s_resources[0]], 2));
        Assert.Single(File().Read()!);
    }

    [Fact]
    public void NoFile_IsNoError() => Assert.Null(File().Read());

    [Fact]
    public void AnotherNodes_IsNotServed_AndStays()
    {
        Assert.Null(File("other").Write(s_resources, 1));
        Assert.Null(File().Read());
        Assert.NotNull(File("other").Read());
    }

    [Fact]
    public void AnyByteChanged_OrCutOffAnywhere_IsSetAside()
    {
        Assert.Null(File().Write(s_resources, 1));
        byte[] whole = System.IO.File.ReadAllBytes(File().Path);
        int timeAndNode = "sidecar last good 1\n".Length + 8 + 1 + "node".Length;
        for (int i = 0; i < whole.Length; i += i < 120 ? 1 : 41)
        {
            Damaged(whole[..i]);
            // The time is for people; the node is told apart, not checked.
            if (i >= "sidecar last good 1\n".Length && i < timeAndNode)
                continue;
            byte[] changed = [.. whole];
            changed[i] ^= 0x41;
            Damaged(changed);
        }
    }

    private void Damaged(byte[] bytes)
    {
        var file = File();
        System.IO.File.WriteAllBytes(file.Path, bytes);
        Assert.Null(file.Read());
        Assert.False(System.IO.File.Exists(file.Path));
        Assert.True(System.IO.File.Exists(file.Path + ".bad"));
    }

    [Fact]
    public void FolderThatCannotBeWritten_IsSaid()
    {
        var file = new LastGoodFile(_loop, new Snapshot(), Path.Combine(_folder.Path, "missing"), "node");
        Assert.NotNull(file.Write(s_resources, 1));
    }

    [Fact]
    public void Changes_AreWrittenTogether_NotMoreOftenThanTheInterval()
    {
        var file = File();
        file.Touch();
        file.Touch();
        Assert.Equal(1, _loop.Loop.TimerCount);
        _loop.Advance(LastGoodFile.SettleMs);
        _loop.Until(() => file.SavedUnixMs > 0);
        long first = file.SavedUnixMs;
        file.Touch();
        _loop.Advance(LastGoodFile.IntervalMs - 1);
        Assert.Equal(first, file.SavedUnixMs);
        Assert.Equal(1, _loop.Loop.TimerCount);
        _loop.Advance(1);
        _loop.Until(() => file.SavedUnixMs > first);
    }
}
