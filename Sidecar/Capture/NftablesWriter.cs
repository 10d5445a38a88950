using System;
using System.Collections.Generic;
using System.Text;

namespace Sidecar.Capture;

/// <summary>
/// A plan in the language of nft(8): three tables of family inet, named, chained and ordered as Istio's native nftables form. Pure text.
/// Both IP versions share a table; a rule that names no address is written once.
/// </summary>
internal static class NftablesWriter
{
    private static readonly RuleTable[] Tables = [RuleTable.Nat, RuleTable.Mangle, RuleTable.Raw];

    // The chains a table may have, in the order they are made; the first two hang on the kernel's hooks.
    private static readonly string[] NatChains =
    [
        CaptureChains.Prerouting, CaptureChains.Output, CaptureChains.IstioInbound, CaptureChains.IstioRedirect,
        CaptureChains.IstioInRedirect, CaptureChains.IstioOutput, CaptureChains.IstioOutputDns,
    ];
    private static readonly string[] MangleChains =
    [
        CaptureChains.Prerouting, CaptureChains.Output, CaptureChains.IstioDivert, CaptureChains.IstioTproxy,
        CaptureChains.IstioInbound, CaptureChains.IstioDrop,
    ];
    private static readonly string[] RawChains =
    [
        CaptureChains.Prerouting, CaptureChains.Output, CaptureChains.IstioInbound, CaptureChains.IstioOutputDns,
    ];

    /// <summary>
    /// The text for one nft -f -. Every table with rules is made, flushed and filled; nft applies the whole in one transaction, which
    /// also makes a second run harmless. With <paramref name="removeOthers"/> a table without rules is removed.
    /// </summary>
    public static string ApplyText(IReadOnlyList<CaptureRule> plan, bool removeOthers)
    {
        var text = new StringBuilder();
        foreach (RuleTable table in Tables)
        {
            if (RuleCount(plan, table) > 0)
                AppendTable(text, plan, table);
            else if (removeOthers)
                AppendRemoval(text, table);
        }
        return text.ToString();
    }

    /// <summary>The text for one nft -f - that removes all three tables. Adding first makes removing what is not there no error.</summary>
    public static string CleanupText()
    {
        var text = new StringBuilder();
        foreach (RuleTable table in Tables)
            AppendRemoval(text, table);
        return text.ToString();
    }

    /// <summary>Every table's name.</summary>
    public static IReadOnlyList<RuleTable> AllTables => Tables;

    /// <summary>The table's name in nftables.</summary>
    public static string Name(RuleTable table) => "istio-proxy-" + IptablesWriter.Name(table);

    /// <summary>How many rules the plan has in one table.</summary>
    public static int RuleCount(IReadOnlyList<CaptureRule> plan, RuleTable table)
    {
        int count = 0;
        foreach (CaptureRule rule in plan)
            count += rule.Table == table ? 1 : 0;
        return count;
    }

    private static void AppendRemoval(StringBuilder text, RuleTable table)
    {
        text.Append("add table inet ").Append(Name(table)).Append('\n');
        text.Append("delete table inet ").Append(Name(table)).Append('\n');
    }

    private static void AppendTable(StringBuilder text, IReadOnlyList<CaptureRule> plan, RuleTable table)
    {
        text.Append("add table inet ").Append(Name(table)).Append('\n');
        text.Append("flush table inet ").Append(Name(table)).Append('\n');
        foreach (string chain in table switch { RuleTable.Nat => NatChains, RuleTable.Mangle => MangleChains, _ => RawChains })
        {
            if (IsUsed(plan, table, chain))
                text.Append("add chain inet ").Append(Name(table)).Append(' ').Append(Name(chain)).Append(Hook(table, chain)).Append('\n');
        }

        var filled = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (CaptureRule rule in plan)
        {
            if (rule.Table != table)
                continue;
            filled.TryGetValue(rule.Chain, out int count);
            // Positions count from 0 here, and there must be a rule at the place: past the end is appending.
            int index = rule.Position - 1;
            bool insert = rule.Position > 0 && index < count;
            text.Append(insert ? "insert rule inet " : "add rule inet ").Append(Name(table)).Append(' ').Append(Name(rule.Chain));
            if (insert)
                text.Append(" index ").Append(index);
            AppendBody(text, rule);
            text.Append('\n');
            filled[rule.Chain] = count + 1;
        }
    }

    // Used: has a rule, or is jumped to (nft refuses a jump into nothing).
    private static bool IsUsed(IReadOnlyList<CaptureRule> plan, RuleTable table, string chain)
    {
        foreach (CaptureRule rule in plan)
        {
            if (rule.Table == table && (rule.Chain == chain || (rule.Verdict.Kind == VerdictKind.Jump && rule.Verdict.Value == chain)))
                return true;
        }
        return false;
    }

    private static string Name(string chain) => chain.ToLowerInvariant().Replace('_', '-');

    // Type, hook and priority: dstnat, mangle and raw of nft's standard names, in figures.
    private static string Hook(RuleTable table, string chain)
    {
        if (CaptureChains.IsOwn(chain))
            return "";
        string hook = Name(chain);
        return table switch
        {
            RuleTable.Nat => $" {{ type nat hook {hook} priority -100 ; }}",
            // A changed mark must route the packet again, which only the type route does, and only on output.
            RuleTable.Mangle => $" {{ type {(chain == CaptureChains.Output ? "route" : "filter")} hook {hook} priority -150 ; }}",
            _ => $" {{ type filter hook {hook} priority -300 ; }}",
        };
    }

    private static void AppendBody(StringBuilder text, CaptureRule rule)
    {
        // Interface, protocol, state, address, port, mark, owner, whatever the order iptables is told them; in raw the port comes first.
        for (int rank = 0; rank <= RankLast; rank++)
        {
            foreach (RuleMatch match in rule.Matches)
            {
                if (Rank(match.Kind, rule.Table) == rank)
                    AppendMatch(text, rule, match);
            }
        }
        AppendVerdict(text, rule);
    }

    private const int RankLast = 7;

    private static int Rank(MatchKind kind, RuleTable table) => kind switch
    {
        MatchKind.InInterface or MatchKind.OutInterface => 0,
        MatchKind.Protocol => 1,
        MatchKind.ConntrackState => 2,
        MatchKind.Source or MatchKind.Destination => table == RuleTable.Raw ? 5 : 3,
        MatchKind.SourcePort or MatchKind.DestinationPort or MatchKind.DestinationPorts => 4,
        MatchKind.Mark or MatchKind.ConnectionMark => 6,
        MatchKind.OwnerUser or MatchKind.OwnerGroup => 7,
        _ => -1,
    };

    private static void AppendMatch(StringBuilder text, CaptureRule rule, RuleMatch match)
    {
        string name = match.Kind switch
        {
            MatchKind.InInterface => "iifname",
            MatchKind.OutInterface => "oifname",
            MatchKind.Protocol => "meta l4proto",
            MatchKind.ConntrackState => "ct state",
            MatchKind.Source => rule.Families == IpFamilies.V6 ? "ip6 saddr" : "ip saddr",
            MatchKind.Destination => rule.Families == IpFamilies.V6 ? "ip6 daddr" : "ip daddr",
            MatchKind.SourcePort => Protocol(rule) + " sport",
            MatchKind.DestinationPort or MatchKind.DestinationPorts => Protocol(rule) + " dport",
            MatchKind.Mark => "mark",
            MatchKind.ConnectionMark => "ct mark",
            MatchKind.OwnerUser => rule.Table == RuleTable.Raw ? "meta skuid" : "skuid",
            MatchKind.OwnerGroup => rule.Table == RuleTable.Raw ? "meta skgid" : "skgid",
            _ => throw new ArgumentOutOfRangeException(nameof(match)),
        };
        string value = match.Kind switch
        {
            MatchKind.InInterface or MatchKind.OutInterface => Interface(match.Value),
            MatchKind.ConntrackState => match.Value.ToLowerInvariant(),
            MatchKind.SourcePort or MatchKind.DestinationPort => match.Value.Replace(':', '-'),
            MatchKind.DestinationPorts => "{ " + match.Value.Replace(",", ", ") + " }",
            _ => match.Value,
        };
        text.Append(' ').Append(name).Append(match.Negated ? " != " : " ").Append(value);
    }

    private static string Protocol(CaptureRule rule)
    {
        foreach (RuleMatch match in rule.Matches)
        {
            if (match.Kind is MatchKind.Protocol or MatchKind.PortProtocol)
                return match.Value;
        }
        return "tcp";
    }

    // iptables ends a prefix with +, nftables with *; what is not a plain word of nft is quoted.
    private static string Interface(string name)
    {
        bool plain = char.IsAsciiLetter(name[0]) && !name.Contains('@') && !name.Contains('+');
        return plain ? name : '"' + (name.EndsWith('+') ? name[..^1] + "*" : name) + '"';
    }

    private static void AppendVerdict(StringBuilder text, CaptureRule rule)
    {
        RuleVerdict verdict = rule.Verdict;
        if (verdict.Kind == VerdictKind.Tproxy)
        {
            // Counted only once it has a socket, then accepted: the order of these words is their meaning.
            text.Append(rule.Families == IpFamilies.V6 ? " tproxy ip6 to :" : " tproxy ip to :").Append(verdict.Value)
                .Append(" meta mark set ").Append(verdict.Mark).Append(" counter accept");
            return;
        }
        text.Append(" counter ").Append(verdict.Kind switch
        {
            VerdictKind.Return => "return",
            VerdictKind.Accept => "accept",
            VerdictKind.Drop => "drop",
            VerdictKind.Jump => "jump " + Name(verdict.Value),
            VerdictKind.Redirect => "redirect to :" + verdict.Value,
            VerdictKind.SetMark => "meta mark set " + verdict.Value,
            VerdictKind.SaveMark => "ct mark set mark",
            VerdictKind.RestoreMark => "meta mark set ct mark",
            VerdictKind.Zone => "ct zone set " + verdict.Value,
            _ => throw new ArgumentOutOfRangeException(nameof(rule)),
        });
    }
}
