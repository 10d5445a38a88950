using System.Collections.Generic;
using System.IO;
using Sidecar.Config;
using Sidecar.Telemetry.Stats;

namespace Sidecar;

/// <summary><c>sidecar validate PATH</c>: everything wrong with a configuration, and everything in it that has no effect, without running it.</summary>
internal static class ValidateCommand
{
    /// <summary>Checks a config dump, a folder or a bootstrap.</summary>
    /// <returns>0 when it would run; 1 when something is refused; 2 for bad arguments.</returns>
    internal static int Run(IReadOnlyList<string> args, TextWriter output, TextWriter errors)
    {
        var line = CommandLine.Parse(args, new Dictionary<string, string>());
        if (line.Problem is not null || line.Positional.Count != 1)
        {
            errors.WriteLine($"sidecar validate: {line.Problem ?? "give one PATH: a config dump, a folder of resource files, or a bootstrap"}");
            return 2;
        }
        var builder = new SnapshotBuilder(new StatsRegistry(workers: 1), workers: 1, nodeId: "", static () => 0);
        var result = builder.Build(ResourceReader.Read(line.Positional[0]));
        foreach (var problem in result.WithoutEffect)
            output.WriteLine($"no effect: {problem}");
        foreach (var error in result.Errors)
            errors.WriteLine($"error: {error}");
        var snapshot = result.Snapshot;
        output.WriteLine(
            $"{(result.Errors.Count == 0 ? "OK" : "REFUSED")}: {snapshot.Listeners.Count} listeners, {snapshot.Clusters.Count} clusters, {snapshot.Resources.Count} resources; "
            + $"{result.Errors.Count} errors, {result.WithoutEffect.Count} without effect");
        return result.Errors.Count == 0 ? 0 : 1;
    }
}
