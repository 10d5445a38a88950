using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Tidy;

/// <summary>The project's own source against the rules of the house.</summary>
public sealed class TidyTests
{
    private static readonly List<SourceFile> Sources =
        [.. Files().Where(file => file.Path.EndsWith(".cs", StringComparison.Ordinal)).Select(file => new SourceFile(file.Path, file.Text))];

    [Fact]
    public void Imports_FollowTheTableOfTheArchitecture() =>
        AssertTidy(TidyChecker.Imports(Sources, File.ReadAllText(Path.Combine(ProjectTree.Root, "ARCHITECTURE.md"))));

    [Fact]
    public void BannedCalls_AreNotMade() => AssertTidy(TidyChecker.BannedCalls(Sources));

    [Fact]
    public void Extensions_AreRegisteredOnceAndTested() => AssertTidy(TidyChecker.Registries(Sources));

    [Fact]
    public void Names_AreThoseOfTheirPlaces() => AssertTidy(TidyChecker.Names(Sources));

    [Fact]
    public void Text_TiesTheProjectToNoMachine() => AssertTidy(TidyChecker.ForeignText(Files()));

    [Fact]
    public void TopLevel_IsExact() =>
        AssertTidy(TidyChecker.TopLevel(Directory.EnumerateFileSystemEntries(ProjectTree.Root).Select(entry => Path.GetFileName(entry))));

    private static void AssertTidy(List<string> problems) =>
        Assert.True(problems.Count == 0, $"{problems.Count} untidy places:\n" + string.Join('\n', problems));

    private static IEnumerable<(string Path, string Text)> Files()
    {
        var pending = new Stack<string>([ProjectTree.Root]);
        while (pending.TryPop(out var folder))
        {
            foreach (var child in Directory.EnumerateDirectories(folder))
            {
                if (!TidyRules.IgnoredFolders.Contains(Path.GetFileName(child)))
                    pending.Push(child);
            }
            foreach (var file in Directory.EnumerateFiles(folder))
            {
                if (TidyRules.TextFiles.Any(ending => file.EndsWith(ending, StringComparison.Ordinal)))
                    yield return (Path.GetRelativePath(ProjectTree.Root, file).Replace('\\', '/'), File.ReadAllText(file));
            }
        }
    }
}
