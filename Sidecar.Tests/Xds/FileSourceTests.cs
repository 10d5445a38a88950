using System;
using System.IO;
using Sidecar.Tests.Harness;
using Sidecar.Xds;
using Xunit;

namespace Sidecar.Tests.Xds;

/// <summary>Every way a snapshot is put in place is noticed, once.</summary>
public class FileSourceTests : IDisposable
{
    private readonly TestLoop _loop = new();
    private readonly TestFolder _folder = new();
    private FileSource? _source;
    private int _changes;

    [Fact]
    public void AtomicReplace_IsNoticed()
    {
        string path = _folder.Write("snapshot.json", "one");
        Watch(path);
        _folder.Write("snapshot.json", "two");
        ExpectChange();
        _folder.Write("snapshot.json", "three");
        ExpectChange();
    }

    [Fact]
    public void WriteInPlace_IsNoticed()
    {
        string path = _folder.Write("snapshot.json", "one");
        Watch(path);
        File.WriteAllText(path, "two");
        ExpectChange();
    }

    [Fact]
    public void FileThatComesLater_IsNoticed()
    {
        Watch(_folder.PathOf("snapshot.json"));
        _folder.Write("snapshot.json", "one");
        ExpectChange();
    }

    [Fact]
    public void FileInAFolder_IsNoticed()
    {
        Directory.CreateDirectory(_folder.PathOf("listeners"));
        Watch(_folder.Path);
        File.WriteAllText(Path.Combine(_folder.PathOf("listeners"), "a.json"), "one");
        ExpectChange();
        File.Delete(Path.Combine(_folder.PathOf("listeners"), "a.json"));
        ExpectChange();
    }

    [Fact]
    public void FolderThatComesLater_IsWatchedToo()
    {
        Watch(_folder.Path);
        Directory.CreateDirectory(_folder.PathOf("clusters"));
        ExpectChange();
        File.WriteAllText(Path.Combine(_folder.PathOf("clusters"), "a.json"), "one");
        ExpectChange();
    }

    /// <summary>How Kubernetes changes a mounted volume: the files are links through ..data, which is moved to a new folder.</summary>
    [Fact]
    public void SymbolicLinkSwap_IsNoticed()
    {
        Directory.CreateDirectory(_folder.PathOf("..1"));
        File.WriteAllText(Path.Combine(_folder.PathOf("..1"), "snapshot.json"), "one");
        Directory.CreateSymbolicLink(_folder.PathOf("..data"), "..1");
        File.CreateSymbolicLink(_folder.PathOf("snapshot.json"), "..data/snapshot.json");
        Watch(_folder.PathOf("snapshot.json"));

        Directory.CreateDirectory(_folder.PathOf("..2"));
        File.WriteAllText(Path.Combine(_folder.PathOf("..2"), "snapshot.json"), "two");
        Directory.CreateSymbolicLink(_folder.PathOf("..data_tmp"), "..2");
        // rename(2), which the class library does not do to a link that points to a folder.
        Assert.Equal(0, Command.Run("mv", "-T", _folder.PathOf("..data_tmp"), _folder.PathOf("..data")).ExitCode);
        ExpectChange();
        Assert.Equal("two", File.ReadAllText(_folder.PathOf("snapshot.json")));
    }

    [Fact]
    public void AnotherFileInTheFolder_IsNoChange()
    {
        string path = _folder.Write("snapshot.json", "one");
        Watch(path);
        _folder.Write("other.json", "x");
        File.WriteAllText(_folder.PathOf("snapshot.json.tmp"), "x");
        Directory.CreateDirectory(_folder.PathOf("..data"));
        ExpectNoChange();
        _folder.Write("snapshot.json", "two");
        ExpectChange();
    }

    /// <summary>A link of that folder to another entry of it: both count, and after it was moved the new one does.</summary>
    [Fact]
    public void LinkWithinTheFolder_WhereItLeadsCounts()
    {
        _folder.Write("v1.json", "one");
        _folder.Write("v2.json", "one");
        File.CreateSymbolicLink(_folder.PathOf("snapshot.json"), "v1.json");
        Watch(_folder.PathOf("snapshot.json"));
        _folder.Write("v2.json", "two");
        ExpectNoChange();
        _folder.Write("v1.json", "two");
        ExpectChange();
        File.CreateSymbolicLink(_folder.PathOf("next"), "v2.json");
        File.Move(_folder.PathOf("next"), _folder.PathOf("snapshot.json"), overwrite: true);
        ExpectChange();
        _folder.Write("v1.json", "three");
        ExpectNoChange();
        _folder.Write("v2.json", "three");
        ExpectChange();
    }

    [Fact]
    public void ChangesTogether_AreOne()
    {
        Watch(_folder.Path);
        for (int i = 0; i < 20; i++)
            _folder.Write($"{i}.json", "x");
        _loop.Until(() => _loop.Loop.TimerCount == 1);
        _loop.Settle();
        _loop.Advance(1_000);
        Assert.Equal(1, _changes);
        _loop.Advance(1_000);
        Assert.Equal(1, _changes);
    }

    [Fact]
    public void Stopped_HearsNothing()
    {
        string path = _folder.Write("snapshot.json", "one");
        Watch(path);
        _folder.Write("snapshot.json", "two");
        _source!.Stop();
        _source = null;
        _loop.Step(3);
        _loop.Advance(1_000);
        Assert.Equal(0, _changes);
    }

    [Fact]
    public void FolderThatDoesNotExist_CannotBeWatched() =>
        Assert.False(new FileSource(_loop, _folder.PathOf("no/such/snapshot.json"), () => { }).Start());

    public void Dispose()
    {
        _source?.Stop();
        _folder.Dispose();
        _loop.Dispose();
    }

    private void Watch(string path)
    {
        _source = new FileSource(_loop, path, () => _changes++);
        Assert.True(_source.Start());
    }

    private void ExpectNoChange()
    {
        int before = _changes;
        _loop.Settle();
        Assert.Equal(0, _loop.Loop.TimerCount);
        Assert.Equal(before, _changes);
    }

    private void ExpectChange()
    {
        int before = _changes;
        _loop.Until(() =>
        {
            _loop.Advance(50);
            return _changes > before;
        });
        // Whatever else belonged to it has been heard as well.
        for (int i = 0; i < 5; i++)
            _loop.Advance(50);
    }
}
