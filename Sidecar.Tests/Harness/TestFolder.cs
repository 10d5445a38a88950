using System;
using System.IO;

namespace Sidecar.Tests.Harness;

/// <summary>A folder for one test's files, readable by the users its programs run as.</summary>
internal sealed class TestFolder : IDisposable
{
    internal TestFolder()
    {
        Path = Directory.CreateTempSubdirectory("sidecar-test-").FullName;
        if (OperatingSystem.IsLinux())
            File.SetUnixFileMode(Path, (UnixFileMode)0b111_101_101);
    }

    internal string Path { get; }

    internal string PathOf(string name) => System.IO.Path.Combine(Path, name);

    /// <summary>Writes a file whole or not at all: a reader sees the old one or the new one.</summary>
    internal string Write(string name, string text)
    {
        var path = PathOf(name);
        File.WriteAllText(path + ".new", text);
        File.Move(path + ".new", path, overwrite: true);
        return path;
    }

    public void Dispose() => Directory.Delete(Path, recursive: true);
}
