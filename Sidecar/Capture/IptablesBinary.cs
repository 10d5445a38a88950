using System;
using System.Globalization;
using Sidecar.Linux;

namespace Sidecar.Capture;

/// <summary>
/// One usable set of iptables programs (NAME-save, NAME-restore) for one IP version. A machine may have two that do not see each
/// other's rules: legacy (x_tables) and nft (nf_tables). Which one counts is where rules already are.
/// </summary>
internal sealed class IptablesBinary
{
    // Seconds a legacy program waits for the lock of the machine; nf_tables has no lock.
    private const string WaitForLock = "--wait=30";

    private readonly CaptureHost _host;
    private readonly string _name;
    private readonly bool _legacy;
    private readonly Version _version;

    private IptablesBinary(CaptureHost host, string name, bool legacy, Version version)
    {
        _host = host;
        _name = name;
        _legacy = legacy;
        _version = version;
    }

    /// <summary>The program that applies, for messages.</summary>
    public string RestoreName => _name + "-restore";

    /// <summary>Set on a node's file system: the namespace's own file is the lock, so that Pods do not wait for each other.</summary>
    public string? LockFile { get; set; }

    /// <summary>Legacy programs since 1.6.2 take a lock when they write.</summary>
    public bool NeedsLock => _legacy && _version >= new Version(1, 6, 2);

    /// <summary>The lock's file can be named by environment variable; before 1.8.6 it is always /run/xtables.lock.</summary>
    public bool TakesLockFileVariable => _version >= new Version(1, 8, 6);

    /// <summary>
    /// Chooses as Istio does: legacy if it has rules here, else nft if it works, else the plain name. Null, with one line in
    /// <paramref name="problem"/>, when there is none.
    /// </summary>
    public static IptablesBinary? Detect(CaptureHost host, bool ipv6, string force, out string problem)
    {
        string plain = ipv6 ? "ip6tables" : "iptables";
        if (force.Length > 0)
        {
            IptablesBinary? forced = Find(host, plain + "-" + force, onlyWithRules: false, out problem);
            problem = $"--force-iptables-binary={force}: {problem}";
            return forced;
        }
        string said = "";
        foreach ((string name, bool onlyWithRules) in ((string, bool)[])[(plain + "-legacy", true), (plain + "-nft", false), (plain, false)])
        {
            IptablesBinary? found = Find(host, name, onlyWithRules, out problem);
            if (found is not null)
                return found;
            // A program that is there and does not work says more than one that is absent.
            if (said.Length == 0 && !problem.EndsWith(NotFound, StringComparison.Ordinal))
                said = problem;
        }
        problem = said.Length > 0
            ? said
            : $"no {plain} found ({plain}-nft, {plain}-legacy and {plain}, each with -save and -restore); install iptables in the image, or use --native-nftables";
        return null;
    }

    /// <summary>NAME-save.</summary>
    public ProcessResult Save() => Run("-save", []) ?? Absent("-save");

    /// <summary>NAME-restore --noflush with this text.</summary>
    public ProcessResult Restore(string text) => Run("-restore", NeedsLock ? ["--noflush", WaitForLock] : ["--noflush"], text) ?? Absent("-restore");

    private ProcessResult? Run(string suffix, string[] arguments, string input = "")
    {
        string[] environment = LockFile is not null && NeedsLock && TakesLockFileVariable ? ["XTABLES_LOCKFILE=" + LockFile] : [];
        return _host.Execute(_name + suffix, arguments, input, environment);
    }

    private ProcessResult Absent(string suffix) => new(-1, Errno.ENOENT, "", $"{_name}{suffix} not found");

    private const string NotFound = "not found";

    // Present with rules if that is asked for, and usable.
    private static IptablesBinary? Find(CaptureHost host, string name, bool onlyWithRules, out string problem)
    {
        ProcessResult? save = host.Execute(name + "-save", [], "", []);
        if (save is null)
        {
            problem = $"{name} {NotFound}";
            return null;
        }
        if (!save.Succeeded)
        {
            problem = $"{name}-save failed: {FailureText.FirstLine(save)}";
            return null;
        }
        problem = "";
        if (onlyWithRules && !HoldsRules(save.Output))
            return null;
        IptablesBinary? binary = WithVersion(host, name, out problem);
        return binary is not null && binary.IsUsable(out problem) ? binary : null;
    }

    // Rules or chains that somebody made. Empty tables do not count: looking at a table is enough to make it, and a variant must not
    // be chosen because we looked.
    private static bool HoldsRules(string saved)
    {
        foreach (string line in saved.Split('\n'))
        {
            if (line.StartsWith("-A ", StringComparison.Ordinal) || (line.StartsWith(':') && line.Contains(" - [", StringComparison.Ordinal)))
                return true;
        }
        return false;
    }

    private static IptablesBinary? WithVersion(CaptureHost host, string name, out string problem)
    {
        problem = "";
        ProcessResult? result = host.Execute(name + "-save", ["--version"], "", []);
        // Programs before 1.6.2 do not know --version and say so with exit code 0: taken for the oldest of legacy.
        if (result is not { Succeeded: true } || result.Error.Contains("unrecognized option", StringComparison.Ordinal))
            return new IptablesBinary(host, name, legacy: true, new Version(0, 0, 0));
        if (TryParseVersion(result.Output, out Version version))
            return new IptablesBinary(host, name, legacy: !result.Output.Contains("nf_tables", StringComparison.Ordinal), version);
        problem = $"{name}-save --version says \"{result.Output.Trim()}\", which holds no version";
        return null;
    }

    // Present is not usable: the kernel may lack this variant. Protocol 255 is reserved, so the rule of the trial never matches.
    private bool IsUsable(out string problem)
    {
        string[] rule = ["INPUT", "-p", "255", "-j", "RETURN"];
        string[] wait = NeedsLock ? [WaitForLock] : [];
        ProcessResult? trial = _host.Execute(_name, ["-t", "nat", "-A", .. rule, .. wait], "", []);
        if (trial is { Succeeded: true } && !trial.Error.Contains("does not exist", StringComparison.Ordinal))
        {
            _host.Execute(_name, ["-t", "nat", "-D", .. rule, .. wait], "", []);
            problem = "";
            return true;
        }
        problem = trial is null ? $"{_name} {NotFound}" : $"{_name} cannot be used here: {FailureText.FirstLine(trial)}";
        return false;
    }

    // "iptables-save v1.8.9 (nf_tables)"
    private static bool TryParseVersion(string text, out Version version)
    {
        version = new Version(0, 0, 0);
        for (int i = 0; i + 1 < text.Length; i++)
        {
            if (text[i] != 'v' || !char.IsAsciiDigit(text[i + 1]))
                continue;
            int end = i + 1;
            while (end < text.Length && (char.IsAsciiDigit(text[end]) || text[end] == '.'))
                end++;
            string[] parts = text[(i + 1)..end].Split('.');
            if (parts.Length < 2)
                continue;
            int[] numbers = [0, 0, 0];
            for (int part = 0; part < Math.Min(3, parts.Length); part++)
                int.TryParse(parts[part], NumberStyles.None, CultureInfo.InvariantCulture, out numbers[part]);
            version = new Version(numbers[0], numbers[1], numbers[2]);
            return true;
        }
        return false;
    }
}

/// <summary>What a failed program had to say, on one line, with what to do where that is known.</summary>
internal static class FailureText
{
    /// <summary>The first line of standard error that is not empty, else the exit code.</summary>
    public static string FirstLine(ProcessResult result)
    {
        foreach (string line in result.Error.Split('\n'))
        {
            if (line.Trim().Length == 0)
                continue;
            string text = line.Trim();
            bool denied = text.Contains("Permission denied", StringComparison.Ordinal) || text.Contains("Operation not permitted", StringComparison.Ordinal);
            return denied ? text + "; " + NeedsCapability : text;
        }
        return $"exit code {result.ExitCode} without a word";
    }

    /// <summary>What to do about missing privileges.</summary>
    public const string NeedsCapability =
        "run as root and add NET_ADMIN and NET_RAW to securityContext.capabilities, or let a CNI plugin write the rules (--skip-rule-apply --run-validation)";
}
