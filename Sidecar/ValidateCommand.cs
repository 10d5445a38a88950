using System.Collections.Generic;
using System.IO;
using Sidecar.Config;
using Sidecar.Telemetry;
using Sidecar.Telemetry.Stats;

namespace Sidecar;

/// <summary><c>sidecar validate PATH</c>: everything wrong with a configuration, and everything in it that has no effect, without running it.</summary>
internal static class ValidateCommand
{
    private const string Usage = """
        usage: sidecar validate PATH

        Checks a config dump, a folder of resource files or an Envoy bootstrap without running it. Every problem is one line with its file,
        resource and field path: "error" on standard error for what is refused, "no effect" on standard output for what is taken and does nothing,
        "needs" for what the process must be allowed to do to run it.

        """;

    /// <summary>Checks a config dump, a folder or a bootstrap.</summary>
    /// <returns>0 when it would run; 1 when something is refused; 2 for bad arguments.</returns>
    internal static int Run(IReadOnlyList<string> args, TextWriter output, TextWriter errors)
    {
        var line = CommandLine.Parse("validate", args, new Dictionary<string, string>(), positionalMax: 1);
        if (line.WantsHelp)
        {
            output.Write(Usage);
            return 0;
        }
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
        foreach (var listener in snapshot.Listeners)
        {
            foreach (string need in listener.Needs())
                output.WriteLine($"needs: listener {listener.Name}: {need}");
        }
        output.WriteLine(
            $"{(result.Errors.Count == 0 ? "OK" : "REFUSED")}: {Counted.Of(snapshot.Listeners.Count, "listener")}, {Counted.Of(snapshot.Clusters.Count, "cluster")}, "
            + $"{Counted.Of(snapshot.Resources.Count, "resource")}; {Counted.Of(result.Errors.Count, "error")}, {result.WithoutEffect.Count} without effect");
        return result.Errors.Count == 0 ? 0 : 1;
    }
}
