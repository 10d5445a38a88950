using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Text;
using Sidecar.Linux;

namespace Sidecar.Capture;

/// <summary>
/// The sub-commands istio-iptables and istio-clean-iptables (the same with --cleanup-only). Rule texts of a dry run go to standard
/// output, everything said about them to standard error, one line each.
/// </summary>
internal static class CaptureMain
{
    /// <summary>Exit code when the validation found no redirection; the repair controller of Istio's CNI plugin looks for it.</summary>
    public const int ValidationFailed = 126;

    /// <summary>Runs on this machine. The arguments may start with the sub-command's name.</summary>
    public static int Run(string[] args) => Run(args, Console.Out, Console.Error, new CaptureHost());

    /// <summary>Runs on <paramref name="host"/>. Answers the process's exit code: 0, 1 for an error, 126 for a failed validation.</summary>
    public static int Run(ReadOnlySpan<string> args, TextWriter output, TextWriter error, CaptureHost host)
    {
        bool clean = args.Length > 0 && args[0] == "istio-clean-iptables";
        if (clean || (args.Length > 0 && args[0] == "istio-iptables"))
            args = args[1..];
        foreach (string argument in args)
        {
            if (argument is "--help" or "-h")
            {
                output.Write(CaptureFlags.Usage());
                return 0;
            }
        }
        if (clean)
            args = (string[])["--cleanup-only", .. args];

        void Say(string line) => error.WriteLine("istio-iptables: " + line);

        List<string> warnings = [], errors = [];
        // The namespace comes first: the addresses that decide about IPv6 are the ones inside it.
        string @namespace = CaptureFlags.Parse(args, host.Variable, [])["network-namespace"];
        if (@namespace.Length > 0)
        {
            SysResult entered = Namespaces.EnterNetwork(@namespace);
            if (!entered.Ok)
                errors.Add($"--network-namespace: cannot enter {@namespace} ({entered}); give the path of a network namespace, and run as root");
        }
        CaptureConfig? config = errors.Count == 0 ? CaptureConfig.Create(args, host, warnings, errors) : null;
        foreach (string line in warnings)
            Say("warning: " + line);
        foreach (string line in errors)
            Say(line);
        if (config is null)
            return 1;

        if (config.DryRun)
            return DryRun(config, output, Say);
        if (!config.SkipRuleApply)
        {
            var apply = new RuleApply(config, host, Say);
            string? problem = config.CleanupOnly ? apply.Cleanup() : apply.Apply();
            if (problem is not null)
            {
                Say(problem);
                return 1;
            }
        }
        return config.RunValidation ? Validate(config, Say) : 0;
    }

    private static int DryRun(CaptureConfig config, TextWriter output, Action<string> say)
    {
        if (config.SkipRuleApply)
            return 0;
        IReadOnlyList<CaptureRule> plan = RulePlan.Build(config);
        var file = new StringBuilder();
        if (config.NativeNftables)
        {
            string text = config.CleanupOnly ? NftablesWriter.CleanupText() : NftablesWriter.ApplyText(plan, removeOthers: config.Reconcile);
            output.Write(text);
            file.Append(text);
        }
        else
        {
            string v4 = Text(config, plan, IpFamilies.V4);
            string v6 = config.EnableIPv6 ? Text(config, plan, IpFamilies.V6) : "";
            output.Write(v4);
            output.Write(v6);
            // The file tells the commands around the texts as well, as Istio's does.
            file.Append("iptables-save\nip6tables-save\n").Append(v4).Append(v6).Append("iptables-save\n");
            if (config.EnableIPv6)
                file.Append("ip6tables-save\n");
        }
        output.Flush();
        if (config.DryRunFile is null)
            return 0;
        try
        {
            File.WriteAllText(config.DryRunFile, file.ToString());
            return 0;
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            say($"DRY_RUN_FILE_PATH: cannot write {config.DryRunFile}: {problem.Message}");
            return 1;
        }
    }

    private static string Text(CaptureConfig config, IReadOnlyList<CaptureRule> plan, IpFamilies family) =>
        config.CleanupOnly ? IptablesWriter.RemovalText(plan, family) : IptablesWriter.RestoreText(plan, family);

    private static int Validate(CaptureConfig config, Action<string> say)
    {
        ReadOnlySpan<ushort> ports =
        [
            ushort.Parse(config.ProxyPort, CultureInfo.InvariantCulture), ushort.Parse(config.InboundCapturePort, CultureInfo.InvariantCulture),
        ];
        switch (RedirectProbe.Run(config.HostIsIPv6, ports, config.ProbePort, config.ProbeTimeoutMs))
        {
            case RedirectProbe.Outcome.Redirected:
                say("validation passed: the kernel redirects");
                return 0;
            case RedirectProbe.Outcome.NoListener:
                say($"validation failed: neither port {config.ProxyPort} nor {config.InboundCapturePort} can be bound on loopback; run it before the proxy starts");
                return ValidationFailed;
            default:
                say($"validation failed: no redirection within {config.ProbeTimeoutMs} ms; with a CNI plugin the Pod may have started before the node was ready: " +
                    "delete the Pod so that it is scheduled again (cni.repair.deletePods does it), and run this as the proxy's user");
                return ValidationFailed;
        }
    }
}
