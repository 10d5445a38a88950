using System;
using System.Collections.Generic;
using System.Text;
using Sidecar.Linux;

namespace Sidecar.Capture;

/// <summary>
/// Brings a plan into the kernel, or everything of capture out of it. Each public method answers null, or one line saying what failed
/// and what to do. What it did goes to <paramref name="log"/>, a line each.
/// </summary>
internal sealed class RuleApply(CaptureConfig config, CaptureHost host, Action<string> log)
{
    // Capability 12 of capabilities(7).
    private const int CapNetAdmin = 12;

    // A rule may be there several times (an older tool run twice); each round removes one of each. No sane machine has more.
    private const int CleanupRoundsMax = 16;

    // While rules are replaced nothing may pass in the clear.
    private static readonly string[] Guardrails =
    [
        "INPUT -p tcp -j DROP", "INPUT -p udp -j DROP", "FORWARD -p tcp -j DROP", "FORWARD -p udp -j DROP", "OUTPUT -p tcp -j DROP", "OUTPUT -p udp -j DROP",
    ];

    /// <summary>How the kernel's rules of one IP version stand to the plan.</summary>
    private enum Standing : byte { Clean, Same, Different }

    /// <summary>Writes the rules: iptables or nftables, as configured.</summary>
    public string? Apply()
    {
        IReadOnlyList<CaptureRule> plan = RulePlan.Build(config);
        return MissingCapability() ?? (config.NativeNftables ? ApplyNftables(plan) : ApplyIptables(plan)) ?? LoopbackRoutes.Add(config);
    }

    /// <summary>Removes every rule, chain, table, route and address of capture, whatever arguments made them.</summary>
    public string? Cleanup() =>
        MissingCapability() ?? (config.NativeNftables ? CleanupNftables() : CleanupIptables()) ?? LoopbackRoutes.Remove(config);

    private string? MissingCapability()
    {
        string status = host.ReadFile("/proc/thread-self/status") ?? "";
        int at = status.IndexOf("CapEff:", StringComparison.Ordinal);
        if (at < 0)
            return null;
        string hex = status[(at + 7)..].Split('\n')[0].Trim();
        bool has = !ulong.TryParse(hex, System.Globalization.NumberStyles.HexNumber, null, out ulong effective) || (effective >> CapNetAdmin & 1) != 0;
        return has ? null : "no NET_ADMIN capability; " + FailureText.NeedsCapability;
    }

    // ---- iptables ----------------------------------------------------------------------------------------

    // 1. See what is there.  2. The same: done.  3. Different: remove it first if told to, behind a drop-all.
    // 4. One restore per IP version.  5. Look again.
    private string? ApplyIptables(IReadOnlyList<CaptureRule> plan)
    {
        string? problem = FindBinaries(needIPv6: config.EnableIPv6, out List<(IptablesBinary Binary, IpFamilies Family)> versions);
        var guarded = new List<(IptablesBinary Binary, IpFamilies Family)>();
        foreach ((IptablesBinary binary, IpFamilies family) in versions)
        {
            if (problem is not null)
                break;
            problem = ApplyVersion(plan, binary, family, guarded);
        }
        foreach ((IptablesBinary binary, IpFamilies family) in guarded)
        {
            ProcessResult result = binary.Restore(GuardrailText("-D "));
            if (!result.Succeeded)
                problem ??= $"{Name(family)}: the rules that dropped all traffic during the change could not be removed: {FailureText.FirstLine(result)}";
        }
        return problem;
    }

    private string? ApplyVersion(IReadOnlyList<CaptureRule> plan, IptablesBinary binary, IpFamilies family, List<(IptablesBinary, IpFamilies)> guarded)
    {
        string? problem = Compare(plan, binary, family, out Standing standing);
        if (problem is not null)
            return problem;
        if (standing == Standing.Same && !config.ForceApply)
        {
            log($"{Name(family)}: the rules are in place already");
            return null;
        }
        if (standing == Standing.Different && config.Reconcile)
        {
            ProcessResult guard = binary.Restore(GuardrailText("-I "));
            if (!guard.Succeeded)
                return $"{Name(family)}: cannot drop traffic during the change: {FailureText.FirstLine(guard)}";
            guarded.Add((binary, family));
            problem = CleanupVersion(binary, family);
            if (problem is not null)
                return problem;
        }
        else if (standing == Standing.Different)
        {
            log($"warning: {Name(family)}: other ISTIO_ rules are in place and --reconcile is not set; adding to them");
        }

        ProcessResult result = binary.Restore(IptablesWriter.RestoreText(plan, family));
        if (!result.Succeeded)
        {
            string hint = standing == Standing.Clean ? "" : "; rules of an earlier run are in the way: use --reconcile, or --cleanup-only first";
            return $"{binary.RestoreName} failed: {FailureText.FirstLine(result)}{hint}";
        }
        problem = Compare(plan, binary, family, out standing);
        if (problem is not null)
            return problem;
        if (standing != Standing.Same && !config.ForceApply)
            return $"{Name(family)}: after {binary.RestoreName} the kernel's rules are not the ones written; another program changes them, or use --reconcile";
        log($"{Name(family)}: rules written with {binary.RestoreName}");
        return null;
    }

    private string? CleanupIptables()
    {
        string? problem = FindBinaries(needIPv6: false, out List<(IptablesBinary Binary, IpFamilies Family)> versions);
        foreach ((IptablesBinary binary, IpFamilies family) in versions)
            problem ??= CleanupVersion(binary, family);
        return problem;
    }

    private string? FindBinaries(bool needIPv6, out List<(IptablesBinary Binary, IpFamilies Family)> versions)
    {
        versions = [];
        IptablesBinary? v4 = IptablesBinary.Detect(host, ipv6: false, config.ForceIptablesBinary, out string problem);
        if (v4 is null)
            return problem;
        versions.Add((v4, IpFamilies.V4));
        bool wantIPv6 = needIPv6 || config.CleanupOnly;
        IptablesBinary? v6 = wantIPv6 ? IptablesBinary.Detect(host, ipv6: true, config.ForceIptablesBinary, out problem) : null;
        if (v6 is not null)
            versions.Add((v6, IpFamilies.V6));
        else if (needIPv6)
            return problem;
        else if (wantIPv6)
            log($"warning: IPv6: {problem}; nothing is removed there");
        return config.CniMode ? Isolate(versions) : null;
    }

    // On a node's file system the lock is the node's and nsswitch.conf may send a name lookup over the network we are changing.
    private string? Isolate(List<(IptablesBinary Binary, IpFamilies Family)> versions)
    {
        SysResult isolated = Namespaces.EnterPrivateMounts();
        if (isolated.Ok)
            isolated = Namespaces.BindOver("/dev/null", "/etc/nsswitch.conf");
        foreach ((IptablesBinary binary, _) in versions)
        {
            if (config.NetworkNamespace.Length == 0 || !binary.NeedsLock)
                continue;
            if (binary.TakesLockFileVariable)
                binary.LockFile = config.NetworkNamespace;
            else if (isolated.Ok)
                isolated = Namespaces.BindOver(config.NetworkNamespace, "/run/xtables.lock");
        }
        if (!isolated.Ok)
            log($"warning: --cni-mode: no mounts of our own ({isolated}); going on with the node's lock and name lookups");
        return null;
    }

    private string? Compare(IReadOnlyList<CaptureRule> plan, IptablesBinary binary, IpFamilies family, out Standing standing)
    {
        standing = Standing.Clean;
        ProcessResult save = binary.Save();
        if (!save.Succeeded)
            return $"{Name(family)}: cannot read the rules: {FailureText.FirstLine(save)}";
        IptablesState state = IptablesState.Parse(save.Output);
        if (state.IsClean)
            return null;
        bool same = state.HasShapeOf(plan, family) && binary.Restore(IptablesWriter.CheckText(plan, family)).Succeeded;
        standing = same ? Standing.Same : Standing.Different;
        return null;
    }

    // What is ours is known by name: our chains, and jumps into them. The few rules in the kernel's chains that are neither (excluded
    // interfaces, TPROXY's marks) are asked for one by one, as these arguments would have written them.
    private string? CleanupVersion(IptablesBinary binary, IpFamilies family)
    {
        bool removed = false;
        for (int round = 0; round < CleanupRoundsMax; round++)
        {
            ProcessResult save = binary.Save();
            if (!save.Succeeded)
                return $"{Name(family)}: cannot read the rules: {FailureText.FirstLine(save)}";
            IptablesState state = IptablesState.Parse(save.Output);
            List<(string Table, string Rule)> rules = [.. state.Jumps, .. StrayRules(binary, family)];
            List<(string Table, string Chain)> chains = [];
            foreach (string key in state.OwnChains.Keys)
                chains.Add((key.Split(' ')[0], key.Split(' ')[1]));
            string text = IptablesWriter.RemovalText(rules, chains);
            if (text.Length == 0)
            {
                log(removed ? $"{Name(family)}: rules removed" : $"{Name(family)}: there was nothing to remove");
                return null;
            }
            ProcessResult result = binary.Restore(text);
            if (!result.Succeeded)
                return $"{binary.RestoreName} failed while removing: {FailureText.FirstLine(result)}";
            removed = true;
        }
        return $"{Name(family)}: rules come back as fast as they are removed; another program writes them, stop it first";
    }

    private List<(string Table, string Rule)> StrayRules(IptablesBinary binary, IpFamilies family)
    {
        var found = new List<(string Table, string Rule)>();
        // Looked for in both modes: a cleanup need not be told how the rules were made. IPv6 likewise.
        foreach (InterceptionMode mode in (InterceptionMode[])[InterceptionMode.Redirect, InterceptionMode.Tproxy])
        {
            foreach (CaptureRule rule in RulePlan.Build(config, mode, withIPv6: true))
            {
                bool stray = (rule.Families & family) != 0 && !CaptureChains.IsOwn(rule.Chain) && rule.Verdict.Kind != VerdictKind.Jump;
                (string Table, string Rule) entry = (IptablesWriter.Name(rule.Table), IptablesWriter.RuleText(rule));
                if (stray && !found.Contains(entry) && binary.Restore($"* {entry.Table}\n-C {entry.Rule}\nCOMMIT\n").Succeeded)
                    found.Add(entry);
            }
        }
        return found;
    }

    private static string GuardrailText(string command)
    {
        var text = new StringBuilder("* filter\n");
        foreach (string rule in Guardrails)
            text.Append(command).Append(rule).Append('\n');
        return text.Append("COMMIT\n").ToString();
    }

    private static string Name(IpFamilies family) => family == IpFamilies.V4 ? "IPv4" : "IPv6";

    // ---- nftables ----------------------------------------------------------------------------------------

    private string? ApplyNftables(IReadOnlyList<CaptureRule> plan)
    {
        string? problem = Nft(["-f", "-"], NftablesWriter.ApplyText(plan, removeOthers: config.Reconcile), out _);
        if (problem is not null)
            return problem;
        foreach (RuleTable table in NftablesWriter.AllTables)
        {
            int expected = NftablesWriter.RuleCount(plan, table);
            if (expected == 0)
                continue;
            problem = Nft(["list", "table", "inet", NftablesWriter.Name(table)], "", out string listed);
            if (problem is not null)
                return problem;
            int found = 0;
            foreach (string line in listed.Split('\n'))
                found += line.Contains(" counter packets ", StringComparison.Ordinal) || line.TrimStart().StartsWith("counter packets ", StringComparison.Ordinal) ? 1 : 0;
            if (found != expected)
                return $"table inet {NftablesWriter.Name(table)} holds {found} rules after writing {expected}; another program changes it";
        }
        log("rules written with nft");
        return null;
    }

    private string? CleanupNftables()
    {
        string? problem = Nft(["-f", "-"], NftablesWriter.CleanupText(), out _);
        if (problem is null)
            log("nftables: tables removed");
        return problem;
    }

    private string? Nft(string[] arguments, string input, out string output)
    {
        ProcessResult? result = host.Execute("nft", arguments, input, []);
        output = result?.Output ?? "";
        if (result is null)
            return "--native-nftables: no nft found; install nftables in the image, or leave the flag out to use iptables";
        return result.Succeeded ? null : $"nft failed: {FailureText.FirstLine(result)}";
    }
}
