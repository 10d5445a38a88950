using System;
using System.Collections.Generic;
using System.Text;

namespace Sidecar.Telemetry.Stats;

/// <summary>
/// Which samples stand together under one TYPE line of the exposition format. Names are <c>envoy_</c> and the scope's prefix without what its tags cut out,
/// so scopes of one schema and one such base (all clusters) share their metrics: names are made once per base, not per scope. Found out step by step.
/// </summary>
/// <remarks>Control loop only; whoever is the first to need the families advances them, for all.</remarks>
internal sealed class PrometheusFamilies(IReadOnlyList<StatsScope> scopes)
{
    private static readonly (string Family, string Label)[] s_tlsLabels =
        [("versions.", "envoy_ssl_version"), ("ciphers.", "envoy_ssl_cipher"), ("curves.", "envoy_ssl_curve"), ("sigalgs.", "envoy_ssl_sigalg")];

    private readonly Dictionary<(StatsSchema Schema, string Base), Group> _groups = new();
    private readonly SortedDictionary<string, Family> _families = new(StringComparer.Ordinal);
    private int _taken;

    /// <summary>Scopes of one schema and one base.</summary>
    internal sealed class Group
    {
        /// <summary>Their places in <see cref="PrometheusFamilies.Scopes"/>, ascending.</summary>
        internal readonly List<int> Places = [];
    }

    /// <summary>What a group has in a family: usually one stat; several where a part of their names is a label.</summary>
    internal sealed class Member(Group group)
    {
        internal Group Group => group;

        /// <summary>Position in the schema, and the label that was part of the name, or nothing.</summary>
        internal readonly List<(int Stat, byte[] Label)> Stats = [];
    }

    /// <summary>All samples of one metric.</summary>
    internal sealed class Family(string metric)
    {
        internal readonly byte[] Metric = Encoding.UTF8.GetBytes(metric);
        internal readonly List<Member> Members = [];
    }

    /// <summary>In the registry's order, which is that of a family's samples.</summary>
    internal IReadOnlyList<StatsScope> Scopes => scopes;

    /// <summary>In the order of their names; to be read when <see cref="Advance"/> has nothing left to do.</summary>
    internal IEnumerable<Family> All => _families.Values;

    /// <summary>A bounded bit of the work.</summary>
    /// <returns>How many steps it was; 0 when all is done.</returns>
    internal int Advance()
    {
        if (_taken == scopes.Count)
            return 0;
        var scope = scopes[_taken];
        int steps = 1;
        string baseName = BaseOf(scope);
        if (!_groups.TryGetValue((scope.Schema, baseName), out var group))
        {
            _groups.Add((scope.Schema, baseName), group = new Group());
            AddToFamilies(group, scope.Schema, baseName);
            steps += scope.Schema.Count;
        }
        group.Places.Add(_taken++);
        return steps;
    }

    private void AddToFamilies(Group group, StatsSchema schema, string baseName)
    {
        for (int i = 0; i < schema.Count; i++)
        {
            var (metric, label) = MetricName(baseName, schema.Definitions[i].Name);
            if (!_families.TryGetValue(metric, out var family))
                _families.Add(metric, family = new Family(metric));
            if (family.Members.Count == 0 || family.Members[^1].Group != group)
                family.Members.Add(new Member(group));
            family.Members[^1].Stats.Add((i, Encoding.UTF8.GetBytes(label)));
        }
    }

    // The scope's prefix without the parts that are labels: "cluster.a.b." with envoy.cluster_name=a.b is "cluster.".
    private static string BaseOf(StatsScope scope)
    {
        string head = scope.Head;
        // Ten thousand clusters: nothing need be put together to be cut apart.
        if (scope.Tags is [var only] && only.Value == scope.Owner && head.IndexOf('.') == head.Length - 1)
            return head;
        string prefix = scope.Prefix;
        foreach (var tag in scope.Tags)
        {
            int at = prefix.IndexOf("." + tag.Value + ".", StringComparison.Ordinal);
            if (at >= 0)
                prefix = string.Concat(prefix.AsSpan(0, at), prefix.AsSpan(at + tag.Value.Length + 1));
        }
        return prefix;
    }

    private static (string Metric, string Label) MetricName(string baseName, string stat)
    {
        string label = "";
        // Envoy's built-in tag extraction of response classes: ..._rq_2xx is ..._rq_xx{envoy_response_code_class="2"}.
        int length = stat.Length;
        if (length > 4 && stat.EndsWith("xx", StringComparison.Ordinal) && stat[length - 4] == '_' && stat[length - 3] is >= '1' and <= '5')
        {
            label = $"envoy_response_code_class=\"{stat[length - 3]}\"";
            stat = string.Concat(stat.AsSpan(0, length - 3), "xx");
        }
        // And of what TLS handshakes agreed on: ...ssl.versions.TLSv1.3 is ..._ssl_versions{envoy_ssl_version="TLSv1.3"}.
        foreach (var (family, name) in s_tlsLabels)
        {
            if (!stat.StartsWith(family, StringComparison.Ordinal) || !baseName.EndsWith("ssl.", StringComparison.Ordinal))
                continue;
            label = $"{name}=\"{stat[family.Length..]}\"";
            stat = family[..^1];
            break;
        }
        return ("envoy_" + Sanitize(baseName + stat), label);
    }

    /// <summary>A name in the format's alphabet.</summary>
    internal static string Sanitize(string name)
    {
        var text = new StringBuilder(name.Length);
        foreach (char c in name)
            text.Append(char.IsAsciiLetterOrDigit(c) || c == '_' || c == ':' ? c : '_');
        return text.ToString();
    }
}
