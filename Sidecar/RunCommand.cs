using System;
using System.Collections.Generic;
using System.IO;
using System.Text;
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
    private const string Usage = """
        usage: sidecar run --snapshot PATH [flags]
               sidecar run -c BOOTSTRAP [flags]
               sidecar run --config-yaml JSON [flags]

        Runs the data plane until SIGTERM; SIGHUP reads the configuration again.

          --snapshot PATH           a config dump (JSON) or a folder of resource files (.json, .pb); watched, and applied when it changes
          -c, --config-path PATH    an Envoy bootstrap (JSON): static resources, and where to ask for the others
          --concurrency N           worker threads, 1 to 256; 0, the default, is one for each processor this process may use: those of its
                                    affinity mask (cpuset), and no more than the CPU quota of its cgroup, which counts rounded up (1.5 is 2)
          -l, --log-level L         trace, debug, info, warning, error, critical or off (default info)
          --admin-address A         IP:PORT of the admin pages (default 127.0.0.1:15000, or the bootstrap's)
          --drain-time-s N          seconds connections may go on after SIGTERM, 0 to 86400 (default 5)
          --readiness-address A     IP:PORT of /healthz/ready, with --snapshot, or off (default 0.0.0.0:15021)
          --prometheus-address A    IP:PORT of /stats/prometheus, with --snapshot, or off (default 0.0.0.0:15090)
          --service-node ID         who we are to the control plane (default: the bootstrap's node.id)
          --service-cluster NAME    and in which cluster (default: its node.cluster)
          --service-zone ZONE       and in which zone (default: its node.locality.zone)
          --config-yaml JSON        a bootstrap as text; JSON only
          --mode serve|validate     validate checks the configuration and ends, as sidecar validate
          --log-path PATH           where log lines go, appended (default: standard error)
          --admin-address-path PATH the admin pages' address is written here
          --cache-dir DIR           keeps the last configuration a control plane gave here, and serves it at the next start until one answers

        Other flags of Envoy (--disable-hot-restart, --drain-strategy, --component-log-level, ...) are taken where they change nothing here, and the log
        says what is so instead.

        """;

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
        ["--cache-dir"] = "cache-dir",
        ["--service-node"] = "service-node",
        ["--service-cluster"] = "service-cluster",
        ["--service-zone"] = "service-zone",
        ["--config-yaml"] = "config-yaml",
        ["--mode"] = "mode",
        ["--log-path"] = "log-path",
        ["--admin-address-path"] = "admin-address-path",
    };

    private static readonly HashSet<string> s_switches = [];

    static RunCommand()
    {
        foreach (var flag in EnvoyFlags.All)
        {
            if (flag.HasValue)
                s_flags.Add(flag.Name, flag.Name);
            else
                s_switches.Add(flag.Name);
        }
    }

    /// <summary>Runs until the end of the process.</summary>
    /// <returns>0; 1 when the configuration is refused or something cannot be bound; 2 for bad arguments.</returns>
    internal static int Run(IReadOnlyList<string> args, TextWriter output, TextWriter errors)
    {
        var line = CommandLine.Parse("run", args, s_flags, switches: s_switches);
        if (line.WantsHelp)
        {
            output.Write(Usage);
            return 0;
        }
        var options = ReadOptions(line, out string? problem);
        var notes = EnvoyFlags.Notes(line, out string? impossible);
        problem ??= impossible;
        if (options is null || notes is null || problem is not null)
        {
            errors.WriteLine($"sidecar run: {problem}");
            return 2;
        }
        if (line.Value("mode") == "validate")
            return ValidateCommand.Check(ValidateCommand.Read(options), options, output, errors);
        if (line.Value("log-path") is { } log && !TryOpenLog(log, out problem))
        {
            errors.WriteLine($"sidecar run: --log-path {log}: {problem}");
            return 1;
        }
        foreach (string note in notes)
            Log.Info("main", note);

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
        if (line.Value("admin-address-path") is { } addressPath && !TryWrite(addressPath, admin.Address.ToString(), out problem))
        {
            errors.WriteLine($"sidecar run: --admin-address-path {addressPath}: {problem}");
            return 1;
        }
        server.Started = () =>
        {
            Log.Info("main", $"all workers are serving; admin on {admin.Address}");
            ExecutableImage.ReleaseCleanPages();
        };
        return server.Run();
    }

    private static bool TryOpenLog(string path, out string? problem) => Try(
        () => Log.Sink = new FileStream(path, FileMode.Append, FileAccess.Write, FileShare.ReadWrite | FileShare.Delete, bufferSize: 0), out problem);

    private static bool TryWrite(string path, string text, out string? problem) => Try(() => File.WriteAllText(path, text), out problem);

    private static bool Try(Action action, out string? problem)
    {
        problem = null;
        try
        {
            action();
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            problem = failure.Message;
        }
        return problem is null;
    }

    private static ServerOptions? ReadOptions(CommandLine line, out string? problem)
    {
        string? snapshot = line.Value("snapshot");
        string? bootstrap = line.Value("config-path");
        Address? admin = null;
        problem = line.Problem;
        string? text = line.Value("config-yaml");
        if (text is not null && (snapshot ?? bootstrap) is not null)
            problem ??= "--config-yaml is not merged with another configuration: give one of --snapshot, -c and --config-yaml";
        else if (text is not null && !text.AsSpan().TrimStart().StartsWith('{'))
            problem ??= "--config-yaml: YAML is not read; convert it to JSON";
        else if (text is null && snapshot is null == bootstrap is null)
            problem ??= "give either --snapshot PATH or -c BOOTSTRAP";
        if (line.Value("mode") is not (null or "serve" or "validate"))
            problem ??= $"--mode must be serve or validate, is '{line.Value("mode")}'";
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
        int workers = (int)line.Number("concurrency", 0, 0, 256);
        var options = new ServerOptions
        {
            SnapshotPath = snapshot,
            BootstrapPath = bootstrap,
            BootstrapText = text is null ? null : Encoding.UTF8.GetBytes(text),
            Concurrency = workers == 0 ? Cpu.Available : workers,
            AdminAddress = admin,
            DrainTimeMs = line.Number("drain-time-s", 5, 0, 86_400) * 1000,
            ReadinessAddress = readiness,
            PrometheusAddress = prometheus,
            CacheFolder = line.Value("cache-dir"),
            NodeId = line.Value("service-node"),
            NodeCluster = line.Value("service-cluster"),
            NodeZone = line.Value("service-zone"),
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
