using System;
using System.Collections.Generic;
using System.Text;

namespace Sidecar.Capture;

/// <summary>A plan in the language of iptables-restore(8). Pure text; one family at a time.</summary>
internal static class IptablesWriter
{
    // Tables in the order of their names, as Istio writes them.
    private static readonly RuleTable[] Tables = [RuleTable.Mangle, RuleTable.Nat, RuleTable.Raw];

    /// <summary>
    /// The text for one iptables-restore --noflush: per table its own chains (those with rules in order of first use, then those only
    /// jumped to), the rules, COMMIT. Empty when the family has no rules.
    /// </summary>
    public static string RestoreText(IReadOnlyList<CaptureRule> plan, IpFamilies family)
    {
        var text = new StringBuilder();
        foreach (RuleTable table in Tables)
        {
            int start = text.Length;
            text.Append("* ").Append(Name(table)).Append('\n');
            int empty = text.Length;
            foreach (string chain in OwnChains(plan, family, table))
                text.Append("-N ").Append(chain).Append('\n');
            foreach (CaptureRule rule in plan)
            {
                if (rule.Table == table && (rule.Families & family) != 0)
                    AppendRule(text, rule).Append('\n');
            }
            if (text.Length == empty)
                text.Length = start;
            else
                text.Append("COMMIT\n");
        }
        return text.ToString();
    }

    /// <summary>The same rules as questions (-C): fed to iptables-restore --noflush it succeeds when every one of them is there.</summary>
    public static string CheckText(IReadOnlyList<CaptureRule> plan, IpFamilies family)
    {
        var text = new StringBuilder();
        foreach (RuleTable table in Tables)
        {
            int start = text.Length;
            text.Append("* ").Append(Name(table)).Append('\n');
            int empty = text.Length;
            foreach (CaptureRule rule in plan)
            {
                if (rule.Table == table && (rule.Families & family) != 0)
                    AppendBody(text.Append("-C ").Append(rule.Chain), rule).Append('\n');
            }
            if (text.Length == empty)
                text.Length = start;
            else
                text.Append("COMMIT\n");
        }
        return text.ToString();
    }

    /// <summary>What removes a plan: its rules in the kernel's chains, then its own chains. For a dry run; a real one asks the kernel what is there.</summary>
    public static string RemovalText(IReadOnlyList<CaptureRule> plan, IpFamilies family)
    {
        List<(string Table, string Rule)> rules = [];
        List<(string Table, string Chain)> chains = [];
        foreach (CaptureRule rule in plan)
        {
            if ((rule.Families & family) != 0 && !CaptureChains.IsOwn(rule.Chain))
                rules.Add((Name(rule.Table), RuleText(rule)));
        }
        foreach (RuleTable table in Tables)
        {
            foreach (string chain in OwnChains(plan, family, table))
                chains.Add((Name(table), chain));
        }
        return RemovalText(rules, chains);
    }

    /// <summary>The text for one iptables-restore --noflush that deletes these rules, then empties and deletes these chains. Empty when there are none.</summary>
    public static string RemovalText(List<(string Table, string Rule)> rules, List<(string Table, string Chain)> chains)
    {
        var tables = new SortedSet<string>(StringComparer.Ordinal);
        foreach ((string table, _) in rules)
            tables.Add(table);
        foreach ((string table, _) in chains)
            tables.Add(table);
        var text = new StringBuilder();
        foreach (string table in tables)
        {
            text.Append("* ").Append(table).Append('\n');
            foreach ((string of, string rule) in rules)
            {
                if (of == table)
                    text.Append("-D ").Append(rule).Append('\n');
            }
            // Emptied first, all of them: a chain that another one jumps to cannot go.
            foreach ((string of, string chain) in chains)
            {
                if (of == table)
                    text.Append("-F ").Append(chain).Append('\n');
            }
            foreach ((string of, string chain) in chains)
            {
                if (of == table)
                    text.Append("-X ").Append(chain).Append('\n');
            }
            text.Append("COMMIT\n");
        }
        return text.ToString();
    }

    /// <summary>Chain, matches and target of one rule, without a command: what follows -C or -D.</summary>
    public static string RuleText(CaptureRule rule) => AppendBody(new StringBuilder(rule.Chain), rule).ToString();

    /// <summary>The table's name in iptables.</summary>
    public static string Name(RuleTable table) => table switch
    {
        RuleTable.Mangle => "mangle",
        RuleTable.Nat => "nat",
        _ => "raw",
    };

    /// <summary>Our chains of one table that the plan needs, in the order they are made.</summary>
    public static List<string> OwnChains(IReadOnlyList<CaptureRule> plan, IpFamilies family, RuleTable table)
    {
        var chains = new List<string>();
        foreach (CaptureRule rule in plan)
        {
            if (rule.Table == table && (rule.Families & family) != 0 && CaptureChains.IsOwn(rule.Chain) && !chains.Contains(rule.Chain))
                chains.Add(rule.Chain);
        }
        foreach (CaptureRule rule in plan)
        {
            if (rule.Table == table && (rule.Families & family) != 0 && rule.Verdict.Kind == VerdictKind.Jump && !chains.Contains(rule.Verdict.Value))
                chains.Add(rule.Verdict.Value);
        }
        return chains;
    }

    private static StringBuilder AppendRule(StringBuilder text, CaptureRule rule)
    {
        text.Append(rule.Position == 0 ? "-A " : "-I ").Append(rule.Chain);
        if (rule.Position != 0)
            text.Append(' ').Append(rule.Position);
        return AppendBody(text, rule);
    }

    private static StringBuilder AppendBody(StringBuilder text, CaptureRule rule)
    {
        string protocol = "";
        foreach (RuleMatch match in rule.Matches)
        {
            if (match.Kind is MatchKind.Protocol or MatchKind.PortProtocol)
                protocol = match.Value;
            text.Append(Module(match.Kind)).Append(match.Negated ? " ! " : " ").Append(Option(match.Kind)).Append(' ').Append(match.Value);
        }
        return text.Append(" -j ").Append(Target(rule.Verdict, protocol));
    }

    // The extension that knows the option, where it is not loaded by -p.
    private static string Module(MatchKind kind) => kind switch
    {
        MatchKind.DestinationPorts => " -m multiport",
        MatchKind.ConntrackState => " -m conntrack",
        MatchKind.Mark => " -m mark",
        MatchKind.ConnectionMark => " -m connmark",
        MatchKind.OwnerUser or MatchKind.OwnerGroup => " -m owner",
        _ => "",
    };

    private static string Option(MatchKind kind) => kind switch
    {
        MatchKind.InInterface => "-i",
        MatchKind.OutInterface => "-o",
        MatchKind.Protocol or MatchKind.PortProtocol => "-p",
        MatchKind.Source => "-s",
        MatchKind.Destination => "-d",
        MatchKind.SourcePort => "--sport",
        MatchKind.DestinationPort => "--dport",
        MatchKind.DestinationPorts => "--dports",
        MatchKind.ConntrackState => "--ctstate",
        MatchKind.Mark or MatchKind.ConnectionMark => "--mark",
        MatchKind.OwnerUser => "--uid-owner",
        MatchKind.OwnerGroup => "--gid-owner",
        _ => throw new ArgumentOutOfRangeException(nameof(kind)),
    };

    private static string Target(RuleVerdict verdict, string protocol) => verdict.Kind switch
    {
        VerdictKind.Return => "RETURN",
        VerdictKind.Accept => "ACCEPT",
        VerdictKind.Drop => "DROP",
        VerdictKind.Jump => verdict.Value,
        // Published so: UDP has the abbreviated option. It means the same.
        VerdictKind.Redirect => (protocol == "udp" ? "REDIRECT --to-port " : "REDIRECT --to-ports ") + verdict.Value,
        VerdictKind.SetMark => "MARK --set-mark " + verdict.Value,
        VerdictKind.SaveMark => "CONNMARK --save-mark",
        VerdictKind.RestoreMark => "CONNMARK --restore-mark",
        VerdictKind.Tproxy => $"TPROXY --tproxy-mark {verdict.Mark}/0xffffffff --on-port {verdict.Value}",
        VerdictKind.Zone => "CT --zone " + verdict.Value,
        _ => throw new ArgumentOutOfRangeException(nameof(verdict)),
    };
}
