using System;
using System.Collections.Generic;
using System.IO;
using Sidecar.Admin;
using Sidecar.Linux;
using Sidecar.Loop;
using Sidecar.Net;
using Sidecar.Server;
using Sidecar.Telemetry;

namespace Sidecar;

/// <summary><c>sidecar run</c>: the data plane with its admin pages, until a signal ends it.</summary>
internal static class RunCommand
{
    private static readonly Dictionary<string, string> s_flags = new()
    {
        ["--snapshot"] = "snapshot",
        ["-c"] = "config-path",
        ["--config-path"] = "config-path",
        ["--concurrency"] = "concurrency",
        ["-l"] = "log-level",
        ["--log-level"] = "log-level",
        ["--admin-address"] = "admin-address",
        ["--drain-time-s"] = "drain-time-s",
        ["--readiness-address"] = "readiness-address",
        ["--prometheus-address"] = "prometheus-address",
    };

    /// <summary>Runs until the end of the process.</summary>
    /// <returns>0; 1 when the configuration is refused or something cannot be bound; 2 for bad arguments.</returns>
    internal static int Run(IReadOnlyList<string> args, TextWriter output, TextWriter errors)
    {
        var line = CommandLine.Parse(args, s_flags);
        var options = ReadOptions(line, out string? problem);
        if (options is null)
        {
            errors.WriteLine($"sidecar run: {problem}");
            return 2;
        }

        var server = new ProxyServer(options, SystemClock.Instance);
        foreach (var error in server.Start())
        {
            problem = "";
            errors.WriteLine($"sidecar run: {error}");
        }
        if (problem is not null)
            return 1;
        var admin = new AdminServer(server, server.AdminAddress);
        if (admin.Start() is { } refused)
        {
            errors.WriteLine($"sidecar run: {refused}");
            return 1;
        }
        server.Started = () =>
        {
            Log.Info("main", $"all workers are serving; admin on {admin.Address}");
            ExecutableImage.ReleaseCleanPages();
        };
        return server.Run();
    }

    private static ServerOptions? ReadOptions(CommandLine line, out string? problem)
    {
        string? snapshot = line.Value("snapshot");
        string? bootstrap = line.Value("config-path");
        Address? admin = null;
        problem = line.Problem;
        if (line.Positional.Count > 0)
            problem ??= $"unexpected argument '{line.Positional[0]}'; see sidecar help";
        if (snapshot is null == bootstrap is null)
            problem ??= "give either --snapshot PATH or -c BOOTSTRAP";
        if (line.Value("log-level") is { } level)
        {
            if (Log.TryParseLevel(level, out var parsed))
                Log.Level = parsed;
            else
                problem ??= $"--log-level must be trace, debug, info, warning, error, critical or off, is '{level}'";
        }
        if (ReadAddress(line, "admin-address", null, out admin, ref problem) && admin is null && line.Value("admin-address") is not null)
            problem ??= "--admin-address cannot be off: readiness and metrics are served from it";
        ReadAddress(line, "readiness-address", new ServerOptions().ReadinessAddress, out var readiness, ref problem);
        ReadAddress(line, "prometheus-address", new ServerOptions().PrometheusAddress, out var prometheus, ref problem);
        var options = new ServerOptions
        {
            SnapshotPath = snapshot,
            BootstrapPath = bootstrap,
            Concurrency = (int)line.Number("concurrency", Cpu.Available, 0, 256) is 0 ? Cpu.Available : (int)line.Number("concurrency", Cpu.Available, 0, 256),
            AdminAddress = admin,
            DrainTimeMs = line.Number("drain-time-s", 5, 0, 86_400) * 1000,
            ReadinessAddress = readiness,
            PrometheusAddress = prometheus,
        };
        problem ??= line.Problem;
        return problem is null ? options : null;
    }

    /// <summary>An address flag: IP:PORT, or <c>off</c>.</summary>
    private static bool ReadAddress(CommandLine line, string name, Address? fallback, out Address? address, ref string? problem)
    {
        address = fallback;
        if (line.Value(name) is not { } text)
            return true;
        address = null;
        if (text == "off")
            return true;
        if (Address.TryParse(text, out var parsed))
        {
            address = parsed;
            return true;
        }
        problem ??= $"--{name} must be IP:PORT or off, is '{text}'";
        return false;
    }
}
