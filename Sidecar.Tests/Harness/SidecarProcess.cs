using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using Xunit;

namespace Sidecar.Tests.Harness;

/// <summary>The published executable, running. Scenario tests drive this file and never a debug build.</summary>
internal sealed class SidecarProcess : BackgroundProcess
{
    /// <summary>The user that a sidecar is in a Pod; capture tells its traffic from the app's by it.</summary>
    internal const int ProxyUid = 1337;

    private readonly NetworkNamespace? _within;

    private SidecarProcess(NetworkNamespace? within, int? uid, int adminPort, string executable, IEnumerable<string> arguments)
        : base(within, uid, executable, arguments)
    {
        _within = within;
        AdminPort = adminPort;
    }

    internal int AdminPort { get; }

    /// <summary>Skips the test when the executable was not published or cannot run here.</summary>
    internal static void Require()
    {
        Skip.IfNot(System.OperatingSystem.IsLinux() && RuntimeInformation.OSArchitecture == Architecture.X64, "the published executable needs Linux on x86_64");
        Skip.IfNot(File.Exists(ProjectTree.Executable), "artifacts/sidecar is not there: run ./build.sh publish");
    }

    /// <summary>Starts `sidecar run --snapshot` on loopback with an admin port of its own, and waits until it is ready.</summary>
    internal static SidecarProcess Run(string snapshot, int concurrency = 1, params string[] more)
    {
        var process = Start(snapshot, FreePort.Next(), concurrency, more);
        process.WaitUntilReady();
        return process;
    }

    /// <summary>The same without waiting.</summary>
    internal static SidecarProcess Start(string snapshot, int adminPort, int concurrency = 1, params string[] more)
    {
        Require();
        return new SidecarProcess(null, null, adminPort, ProjectTree.Executable, [.. RunArguments("--snapshot", snapshot, concurrency, more), .. OwnPorts(adminPort), .. more]);
    }

    /// <summary>Starts `sidecar run -c` on loopback with an admin port of its own, and waits until it is ready.</summary>
    internal static SidecarProcess RunBootstrap(string bootstrap, int concurrency = 1, params string[] more)
    {
        var process = StartBootstrap(bootstrap, FreePort.Next(), concurrency, more);
        process.WaitUntilReady();
        return process;
    }

    /// <summary>The same without waiting.</summary>
    internal static SidecarProcess StartBootstrap(string bootstrap, int adminPort, int concurrency = 1, params string[] more)
    {
        Require();
        return new SidecarProcess(null, null, adminPort, ProjectTree.Executable, [.. RunArguments("-c", bootstrap, concurrency, more), .. OwnPorts(adminPort), .. more]);
    }

    /// <summary>
    /// Starts a sidecar as in a Pod: inside a namespace, as user 1337, with Istio's own ports; or an app beside it, as another
    /// user with an admin port of its own.
    /// </summary>
    /// <param name="executable">A copy that user can read; the clone may lie where it cannot.</param>
    internal static SidecarProcess RunWithin(
        NetworkNamespace within, string executable, string configuration, int uid = ProxyUid, int adminPort = 15000, string[]? flags = null, bool isBootstrap = false)
    {
        var process = StartWithin(within, executable, configuration, uid, adminPort, flags, isBootstrap);
        process.WaitUntilReady();
        return process;
    }

    /// <summary>The same without waiting.</summary>
    internal static SidecarProcess StartWithin(
        NetworkNamespace within, string executable, string configuration, int uid = ProxyUid, int adminPort = 15000, string[]? flags = null, bool isBootstrap = false)
    {
        var arguments = RunArguments(isBootstrap ? "-c" : "--snapshot", configuration, 1, flags ?? []);
        return new SidecarProcess(within, uid, adminPort, executable, [.. arguments, .. adminPort == 15000 ? [] : OwnPorts(adminPort), .. flags ?? []]);
    }

    /// <summary>
    /// Starts a sidecar as in a Pod whose inbound traffic comes by TPROXY: root, which a transparent socket needs, told from the
    /// app by its group.
    /// </summary>
    internal static SidecarProcess RunTransparentWithin(NetworkNamespace within, string executable, string snapshot)
    {
        var process = new SidecarProcess(within, null, 15000, "setpriv",
            ["--reuid=0", $"--regid={ProxyUid}", "--clear-groups", executable, .. RunArguments("--snapshot", snapshot, 1)]);
        process.WaitUntilReady();
        return process;
    }

    /// <summary>Starts `sidecar run --snapshot` of a folder that is all it sees of the file system, and waits until it is ready.</summary>
    /// <param name="root">Holds the executable as "sidecar", and the snapshot.</param>
    internal static SidecarProcess RunInRoot(string root, string snapshot)
    {
        int adminPort = FreePort.Next();
        string[] enter = InRoot(root);
        var process = new SidecarProcess(null, null, adminPort, enter[0], [.. enter[1..], .. RunArguments("--snapshot", snapshot, 1), .. OwnPorts(adminPort)]);
        process.WaitUntilReady();
        return process;
    }

    /// <summary>The command that runs "sidecar" of a folder with that folder as its root.</summary>
    internal static string[] InRoot(string root) => Environment.UserName == "root" ? ["chroot", root, "/sidecar"] : ["unshare", "-r", "chroot", root, "/sidecar"];

    /// <summary>Runs one of the executable's other sub-commands to its end.</summary>
    internal static CommandResult Invoke(params string[] arguments)
    {
        Require();
        return Command.Run(ProjectTree.Executable, arguments);
    }

    /// <summary>Waits until the admin endpoint says LIVE.</summary>
    internal void WaitUntilReady()
    {
        WaitForListen(AdminPort);
        WaitUntil(() => IsReady, "did not become ready");
    }

    /// <summary>The admin endpoint says LIVE.</summary>
    internal bool IsReady => AdminStatus("/ready") == 200;

    /// <summary>The body of an admin page.</summary>
    internal string Admin(string path, string method = "GET")
    {
        if (_within is not null)
            return _within.Run("curl", "-sS", "-X", method, AdminUrl(path)).Expect().Output;
        using var client = new RawClient(AdminPort);
        return client.Send($"{method} {path} HTTP/1.1\r\nhost: admin\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").ReadResponse().Body;
    }

    /// <summary>The value of one counter or gauge, zero when it does not exist yet.</summary>
    internal long Stat(string name)
    {
        foreach (var line in Admin("/stats").Split('\n'))
        {
            if (line.StartsWith(name + ": ", System.StringComparison.Ordinal))
                return long.Parse(line[(name.Length + 2)..].Trim(), CultureInfo.InvariantCulture);
        }
        return 0;
    }

    private int AdminStatus(string path)
    {
        if (_within is not null)
            return int.Parse(_within.Run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", AdminUrl(path)).Output, CultureInfo.InvariantCulture);
        try
        {
            using var client = new RawClient(AdminPort);
            return client.Send($"GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n").ReadResponse().Status;
        }
        catch (System.Exception exception) when (exception is SocketException or EndOfStreamException)
        {
            return 0;
        }
    }

    private string AdminUrl(string path) => "http://127.0.0.1:" + AdminPort.ToString(CultureInfo.InvariantCulture) + path;

    // A flag may be given once: a test's own log level takes the place of this one.
    private static string[] RunArguments(string flag, string path, int concurrency, params string[] more) =>
    [
        "run", flag, path, "--concurrency", concurrency.ToString(CultureInfo.InvariantCulture),
        .. Array.IndexOf(more, "--log-level") < 0 ? ["--log-level", "info"] : Array.Empty<string>(),
    ];

    // Several sidecars in one namespace: only one can have Istio's fixed ports.
    private static string[] OwnPorts(int adminPort) =>
        ["--admin-address", "127.0.0.1:" + adminPort.ToString(CultureInfo.InvariantCulture), "--readiness-address", "off", "--prometheus-address", "off"];
}
