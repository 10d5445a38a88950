using System;
using System.Globalization;
using System.IO;
using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;
using System.Threading;
using Sidecar.Capture;
using Sidecar.Linux;
using Xunit;

namespace Sidecar.Tests.Capture;

/// <summary>
/// A network namespace of a test's own: lo, and an eth0 with two addresses and a default route that leads nowhere, entered by one thread and gone with it, so
/// that real rules can be written without touching the machine. Needs root.
/// </summary>
internal sealed partial class NetworkNamespace
{
    public const string AddressV4 = "10.244.0.7";
    public const string PeerV4 = "10.244.0.1";
    public const string AddressV6 = "fd00::7";

    private readonly StringWriter _output = new();
    private readonly StringWriter _error = new();

    /// <summary>What the last command said, standard error.</summary>
    public string Said { get; private set; } = "";

    /// <summary>Runs <paramref name="test"/> inside; skips it, saying why, where that cannot be. <paramref name="programs"/> are needed besides ip.</summary>
    public static void Run(Action<NetworkNamespace> test, params string[] programs)
    {
        Skip.IfNot(Process.IsRoot, "not root: a network namespace with rules of its own cannot be made");
        foreach (string program in (string[])["ip", .. programs])
            Skip.If(ChildProcess.Find(program, Environment.GetEnvironmentVariable("PATH")) is null, $"{program} is not installed: nothing to compare the kernel's rules with");

        SysResult entered = default;
        ExceptionDispatchInfo? failure = null;
        var thread = new Thread(() =>
        {
            SysResult.Prepare();
            entered = Namespaces.EnterNewNetwork();
            if (!entered.Ok)
                return;
            try
            {
                var inside = new NetworkNamespace();
                inside.Shell("ip", "link", "set", "lo", "up");
                inside.Shell("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "far");
                inside.Shell("ip", "link", "set", "eth0", "up");
                inside.Shell("ip", "link", "set", "far", "up");
                inside.Shell("ip", "addr", "add", AddressV4 + "/24", "dev", "eth0");
                inside.Shell("ip", "-6", "addr", "add", AddressV6 + "/64", "dev", "eth0", "nodad");
                inside.Shell("ip", "route", "add", "default", "via", PeerV4);
                test(inside);
            }
            catch (Exception thrown)
            {
                failure = ExceptionDispatchInfo.Capture(thrown);
            }
        });
        thread.Start();
        thread.Join();
        Skip.IfNot(entered.Ok, $"no network namespace can be made here: {entered}");
        failure?.Throw();
    }

    /// <summary>
    /// Runs <paramref name="act"/> on a thread at the other end of eth0, in a namespace of its own with the address
    /// <see cref="PeerV4"/>: what comes from there comes from outside.
    /// </summary>
    public void FromOutside(Action act)
    {
        using var entered = new ManualResetEventSlim();
        using var linked = new ManualResetEventSlim();
        int id = 0;
        Exception? failure = null;
        var thread = new Thread(() =>
        {
            try
            {
                Assert.True(Namespaces.EnterNewNetwork().Ok);
                id = gettid();
                entered.Set();
                linked.Wait();
                Shell("ip", "link", "set", "far", "up");
                Shell("ip", "addr", "add", PeerV4 + "/24", "dev", "far");
                act();
            }
            catch (Exception thrown)
            {
                failure = thrown;
                entered.Set();
            }
        });
        thread.Start();
        entered.Wait();
        if (failure is null)
            Shell("ip", "link", "set", "far", "netns", id.ToString(CultureInfo.InvariantCulture));
        linked.Set();
        thread.Join();
        if (failure is not null)
            ExceptionDispatchInfo.Throw(failure);
    }

    /// <summary>Runs istio-iptables for real; answers its exit code.</summary>
    public int Capture(params string[] args)
    {
        _error.GetStringBuilder().Clear();
        int code = CaptureMain.Run(args, _output, _error, new CaptureHost());
        Said = _error.ToString();
        return code;
    }

    /// <summary>Runs istio-iptables for real and expects success.</summary>
    public void MustCapture(params string[] args) => Assert.True(Capture(args) == 0, Said);

    /// <summary>Runs a program, expects success, answers its output.</summary>
    public string Shell(string program, params string[] args) => Feed("", program, args);

    /// <summary>Runs a program with standard input, expects success, answers its output.</summary>
    public string Feed(string input, string program, params string[] args)
    {
        ProcessResult result = ChildProcess.Run(ChildProcess.Find(program, Environment.GetEnvironmentVariable("PATH"))!, args, input);
        Assert.True(result.Succeeded, $"{program} {string.Join(' ', args)}: {result.Error}");
        return result.Output;
    }

    /// <summary>The output of iptables-save or ip6tables-save without its comments, which hold the time.</summary>
    public string Save(string program = "iptables-save") => WithoutComments(Shell(program));

    /// <summary>Only what somebody added: no comments, tables, policies.</summary>
    public string Rules(string program = "iptables-save")
    {
        string rules = "";
        foreach (string line in Shell(program).Split('\n'))
        {
            bool isRule = line.StartsWith('-') || (line.StartsWith(':') && line.Contains(" - "));
            rules += isRule ? line + "\n" : "";
        }
        return rules;
    }

    public static string WithoutComments(string saved)
    {
        string kept = "";
        foreach (string line in saved.Split('\n'))
            kept += line.Length == 0 || line[0] == '#' ? "" : line + "\n";
        return kept;
    }

    [LibraryImport("libc")]
    private static partial int gettid();
}
