using System;
using System.Collections.Generic;

namespace Sidecar.Capture;

/// <summary>What of capture is in the kernel, read from the output of iptables-save. Other people's chains and rules are not looked at.</summary>
internal sealed class IptablesState
{
    /// <summary>Our chains with the number of rules in each, by "table chain".</summary>
    public readonly Dictionary<string, int> OwnChains = new(StringComparer.Ordinal);

    /// <summary>Rules outside our chains that jump into one: table, and the text after -A.</summary>
    public readonly List<(string Table, string Rule)> Jumps = [];

    /// <summary>Nothing of capture is there.</summary>
    public bool IsClean => OwnChains.Count == 0 && Jumps.Count == 0;

    /// <summary>Reads the output of iptables-save.</summary>
    public static IptablesState Parse(string saved)
    {
        var state = new IptablesState();
        string table = "";
        foreach (string line in saved.Split('\n'))
        {
            if (line.StartsWith('*'))
                table = line[1..].Trim();
            else if (line.StartsWith(':'))
                state.AddChain(table, FirstWord(line[1..]));
            else if (line.StartsWith("-A ", StringComparison.Ordinal))
                state.AddRule(table, line[3..].TrimEnd());
        }
        return state;
    }

    /// <summary>
    /// Whether our chains are those of the plan, with as many rules in each. What the rules say is for iptables -C to answer: the
    /// kernel gives them back in other words.
    /// </summary>
    public bool HasShapeOf(IReadOnlyList<CaptureRule> plan, IpFamilies family)
    {
        int expected = 0;
        foreach (RuleTable table in (RuleTable[])[RuleTable.Mangle, RuleTable.Nat, RuleTable.Raw])
        {
            foreach (string chain in IptablesWriter.OwnChains(plan, family, table))
            {
                int rules = 0;
                foreach (CaptureRule rule in plan)
                    rules += rule.Table == table && (rule.Families & family) != 0 && rule.Chain == chain ? 1 : 0;
                if (!OwnChains.TryGetValue(Key(IptablesWriter.Name(table), chain), out int found) || found != rules)
                    return false;
                expected++;
            }
        }
        return expected == OwnChains.Count;
    }

    private void AddChain(string table, string chain)
    {
        if (CaptureChains.IsOwn(chain))
            OwnChains.TryAdd(Key(table, chain), 0);
    }

    private void AddRule(string table, string rule)
    {
        string chain = FirstWord(rule);
        if (CaptureChains.IsOwn(chain))
        {
            OwnChains.TryGetValue(Key(table, chain), out int count);
            OwnChains[Key(table, chain)] = count + 1;
            return;
        }
        int jump = rule.LastIndexOf(" -j ", StringComparison.Ordinal);
        if (jump >= 0 && CaptureChains.IsOwn(rule[(jump + 4)..]))
            Jumps.Add((table, rule));
    }

    private static string Key(string table, string chain) => table + " " + chain;

    private static string FirstWord(string text)
    {
        int space = text.IndexOf(' ');
        return space < 0 ? text : text[..space];
    }
}
