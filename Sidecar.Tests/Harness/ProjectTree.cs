using System;
using System.IO;
using Xunit;

namespace Sidecar.Tests.Harness;

/// <summary>Where the project's files lie, seen from a running test.</summary>
internal static class ProjectTree
{
    /// <summary>The folder that holds Sidecar.slnx.</summary>
    internal static string Root { get; } = FindRoot();

    /// <summary>The published executable that scenario tests drive; <see cref="SidecarProcess"/> checks that it is there.</summary>
    internal static string Executable => Path.Combine(Root, "artifacts", "sidecar");

    /// <summary>The same with libc and OpenSSL in it, where `build.sh publish --static` was run.</summary>
    internal static string StaticExecutable => Path.Combine(Root, "artifacts", "sidecar-static");

    /// <summary>Test data published by others, laid beside the project and never part of it; may be absent.</summary>
    internal static string SharedRoot => Path.GetFullPath(Path.Combine(Root, "..", "shared"));

    /// <summary>The path of a file or folder of the shared test data; skips the test when it is absent.</summary>
    /// <param name="relative">Below the shared folder, for example <c>testdata/llhttp</c>.</param>
    internal static string Shared(string relative)
    {
        var path = Path.Combine(SharedRoot, relative);
        Skip.IfNot(Path.Exists(path), $"../shared/{relative} is not here: the published test data is not laid beside this clone");
        return path;
    }

    private static string FindRoot()
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "Sidecar.slnx")))
                return folder.FullName;
        }
        throw new InvalidOperationException("the tests run outside the project: no folder above " + AppContext.BaseDirectory + " holds Sidecar.slnx");
    }
}
