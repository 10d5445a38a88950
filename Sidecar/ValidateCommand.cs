using System.Collections.Generic;
using System.IO;
using Sidecar.Config;
using Sidecar.Server;
using Sidecar.Telemetry;
using Sidecar.Telemetry.Stats;

namespace Sidecar;

/// <summary><c>sidecar validate PATH</c>: everything wrong with a configuration, and everything in it that has no effect, without running it.</summary>
internal static class ValidateCommand
{
    private const string Usage = """
        usage: sidecar validate PATH
               sidecar validate -c BOOTSTRAP | --snapshot PATH [--service-node ID] [--service-cluster NAME]

        Checks a config dump, a folder of resource files or an Envoy bootstrap without running it. Every problem is one line with its file,
        resource and field path: "error" on standard error for what is refused, "no effect" on standard output for what is taken and does nothing,
        "needs" for what the process must be allowed to do to run it.

        """;

    private static readonly Dictionary<string, string> s_flags = new()
    {
        ["-c"] = "config-path",
        ["--config-path"] = "config-path",
        ["--snapshot"] = "snapshot",
        ["--service-node"] = "service-node",
        ["--service-cluster"] = "service-cluster",
    };

    /// <summary>Checks a config dump, a folder or a bootstrap.</summary>
    /// <returns>0 when it would run; 1 when something is refused; 2 for bad arguments.</returns>
    internal static int Run(IReadOnlyList<string> args, TextWriter output, TextWriter errors)
    {
        var line = CommandLine.Parse("validate", args, s_flags, positionalMax: 1);
        if (line.WantsHelp)
        {
            output.Write(Usage);
            return 0;
        }
        var paths = new List<string>(line.Positional);
        foreach (string name in new[] { "config-path", "snapshot" })
        {
            if (line.Value(name) is { } path)
                paths.Add(path);
        }
        if (line.Problem is not null || paths.Count != 1)
        {
            errors.WriteLine($"sidecar validate: {line.Problem ?? "give one PATH: a config dump, a folder of resource files, or a bootstrap"}");
            return 2;
        }
        var options = new ServerOptions
        {
            BootstrapPath = line.Value("config-path"),
            SnapshotPath = line.Value("config-path") is null ? paths[0] : null,
            NodeId = line.Value("service-node"),
            NodeCluster = line.Value("service-cluster"),
        };
        var set = Read(options);
        // A path by itself is what is in it.
        if (line.Positional.Count == 1 && set.IsBootstrap)
            options = options with { SnapshotPath = null, BootstrapPath = paths[0] };
        return Check(set, options, output, errors);
    }

    /// <summary>What running with these options would read.</summary>
    internal static ResourceSet Read(ServerOptions options) => options.BootstrapText is { } text ? ResourceReader.ReadDocument(text, "--config-yaml")
        : options.BootstrapPath is { } bootstrap ? ResourceReader.ReadBootstrap(bootstrap) : ResourceReader.Read(options.SnapshotPath!);

    /// <summary>Says what is wrong with what was read, and what has no effect.</summary>
    /// <returns>0 when it would run; else 1.</returns>
    internal static int Check(ResourceSet set, ServerOptions options, TextWriter output, TextWriter errors)
    {
        var facts = set.Bootstrap is { } bootstrap ? BootstrapReader.Read(bootstrap, new NodeOverrides(options.NodeId, options.NodeCluster)) : null;
        var discovery = BootstrapDiscovery.Read(set, facts);
        var builder = new SnapshotBuilder(new StatsRegistry(workers: 1), workers: 1, nodeId: "", static () => 0);
        // A bootstrap's secrets and filters come from where it says; a snapshot has them itself.
        if (options.IsBootstrap)
            builder.Sources = BootstrapDiscovery.SourceCheck(discovery);
        var result = builder.Build(set, isStatic: options.IsBootstrap);
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
