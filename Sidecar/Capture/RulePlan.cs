using System;
using System.Collections.Generic;
using System.Globalization;

namespace Sidecar.Capture;

/// <summary>The kernel tables capture writes in.</summary>
internal enum RuleTable : byte { Mangle, Nat, Raw }

/// <summary>For which IP versions a rule holds.</summary>
[Flags]
internal enum IpFamilies : byte { V4 = 1, V6 = 2, Both = 3 }

/// <summary>What a rule looks at; <see cref="RuleMatch.Value"/> holds the text of it.</summary>
internal enum MatchKind : byte
{
    InInterface,
    OutInterface,
    Protocol,

    /// <summary>The protocol whose port is matched: iptables must say it, nftables says it with the port.</summary>
    PortProtocol,
    ConntrackState,
    Source,
    Destination,
    SourcePort,
    DestinationPort,

    /// <summary>Two ports, comma separated.</summary>
    DestinationPorts,
    Mark,
    ConnectionMark,
    OwnerUser,
    OwnerGroup,
}

/// <summary>What a rule does with a packet.</summary>
internal enum VerdictKind : byte { Return, Accept, Drop, Jump, Redirect, SetMark, SaveMark, RestoreMark, Tproxy, Zone }

/// <summary>One condition of a rule.</summary>
internal readonly struct RuleMatch(MatchKind kind, string value, bool negated = false)
{
    public readonly MatchKind Kind = kind;
    public readonly string Value = value;
    public readonly bool Negated = negated;
}

/// <summary>The action of a rule; <see cref="Value"/> is the chain, port, mark or zone it concerns, <see cref="Mark"/> TPROXY's second value.</summary>
internal readonly struct RuleVerdict(VerdictKind kind, string value = "", string mark = "")
{
    public readonly VerdictKind Kind = kind;
    public readonly string Value = value;
    public readonly string Mark = mark;
}

/// <summary>One rule, free of any syntax. Chains have their iptables names.</summary>
internal sealed class CaptureRule(RuleTable table, string chain, int position, IpFamilies families, RuleVerdict verdict, RuleMatch[] matches)
{
    public readonly RuleTable Table = table;
    public readonly string Chain = chain;

    /// <summary>1-based place it is inserted at; 0 appends.</summary>
    public readonly int Position = position;
    public readonly IpFamilies Families = families;
    public readonly RuleVerdict Verdict = verdict;

    /// <summary>In the order iptables is told them.</summary>
    public readonly RuleMatch[] Matches = matches;
}

/// <summary>Names of the chains, as operators know them from Istio.</summary>
internal static class CaptureChains
{
    public const string Prerouting = "PREROUTING";
    public const string Output = "OUTPUT";
    public const string IstioInbound = "ISTIO_INBOUND";
    public const string IstioOutput = "ISTIO_OUTPUT";
    public const string IstioOutputDns = "ISTIO_OUTPUT_DNS";
    public const string IstioRedirect = "ISTIO_REDIRECT";
    public const string IstioInRedirect = "ISTIO_IN_REDIRECT";
    public const string IstioDivert = "ISTIO_DIVERT";
    public const string IstioTproxy = "ISTIO_TPROXY";
    public const string IstioDrop = "ISTIO_DROP";

    /// <summary>A chain of ours, as opposed to the kernel's.</summary>
    public static bool IsOwn(string chain) => chain.StartsWith("ISTIO_", StringComparison.Ordinal);
}

/// <summary>
/// The rules of traffic capture, in order, from a configuration; pure. The path of a packet through them:
/// <code>
/// in:   nat PREROUTING ─ ISTIO_INBOUND ─ ISTIO_IN_REDIRECT ─ port 15006           (TPROXY: the same in mangle, ISTIO_TPROXY or ISTIO_DIVERT)
/// out:  nat OUTPUT ─ ISTIO_OUTPUT ─┬ from the proxy, to oneself over lo ─ ISTIO_IN_REDIRECT
///                                  ├ from the proxy ─ as it is
///                                  ├ DNS ─ ISTIO_OUTPUT_DNS ─ port 15053          (raw: the two halves of a lookup get a conntrack zone each)
///                                  └ what is captured ─ ISTIO_REDIRECT ─ port 15001
/// </code>
/// Order and content are those of Istio's istio-iptables, rule for rule, so that its tools, its documentation and its uninstallers
/// know what they see. The steps are numbered in <see cref="Build"/>.
/// </summary>
internal sealed class RulePlan
{
    private static readonly Address[] Addresses =
    [
        new(IpFamilies.V4, "127.0.0.1/32", "127.0.0.6/32"),
        new(IpFamilies.V6, "::1/128", "::6/128"),
    ];

    private readonly CaptureConfig _config;
    private readonly InterceptionMode _mode;
    private readonly bool _withIPv6;
    private readonly List<CaptureRule> _rules = [];

    private RulePlan(CaptureConfig config, InterceptionMode mode, bool withIPv6)
    {
        _config = config;
        _mode = mode;
        _withIPv6 = withIPv6;
    }

    // Loopback: traffic to it stays in the Pod. InboundSource: what the proxy binds when it hands a connection to the application.
    private readonly struct Address(IpFamilies family, string loopback, string inboundSource)
    {
        public readonly IpFamilies Family = family;
        public readonly string Loopback = loopback;
        public readonly string InboundSource = inboundSource;
    }

    /// <summary>The whole plan. IPv6 rules are part of it only when the configuration has IPv6.</summary>
    public static IReadOnlyList<CaptureRule> Build(CaptureConfig config) => Build(config, config.Mode, config.EnableIPv6);

    /// <summary>The plan as it would be in another mode or with IPv6, for a cleanup that was not told.</summary>
    public static IReadOnlyList<CaptureRule> Build(CaptureConfig config, InterceptionMode mode, bool withIPv6)
    {
        var plan = new RulePlan(config, mode, withIPv6);
        plan.SkipInterfaces();                  // 1
        plan.DropInvalid();                     // 2
        plan.RedirectChains();                  // 3
        plan.CaptureInbound();                  // 4
        plan.EnterOutput();                     // 5
        plan.LetProxyThrough();                 // 6
        plan.FilterOwnerGroups();               // 7
        plan.CaptureDns();                      // 8
        plan.CaptureOutbound();                 // 9
        plan.MarkForTproxy();                   // 10
        return plan._rules;
    }

    // 1. Interfaces that are not captured at all, and those of virtual machines, whose inbound traffic counts as outbound.
    private void SkipInterfaces()
    {
        foreach (RuleTable table in _mode == InterceptionMode.Tproxy ? (RuleTable[])[RuleTable.Nat, RuleTable.Mangle] : [RuleTable.Nat])
        {
            foreach (string name in _config.InterfacesExcluded)
            {
                Append(table, CaptureChains.Prerouting, Return, From(name));
                Append(table, CaptureChains.Output, Return, Via(name));
            }
        }
        foreach (string name in _config.VirtualInterfaces)
            Insert(RuleTable.Nat, CaptureChains.Prerouting, 1, IpFamilies.Both, Return, From(name));
    }

    // 2. Out-of-window packets are dropped instead of answered with a reset.
    private void DropInvalid()
    {
        if (!_config.DropInvalid)
            return;
        var invalid = new RuleMatch(MatchKind.ConntrackState, "INVALID");
        // The published nftables form says TCP here, the iptables form does not.
        RuleMatch[] matches = _config.NativeNftables ? [Tcp, invalid] : [invalid];
        Append(RuleTable.Mangle, CaptureChains.Prerouting, Jump(CaptureChains.IstioDrop), matches);
        Append(RuleTable.Mangle, CaptureChains.IstioDrop, new RuleVerdict(VerdictKind.Drop));
    }

    // 3. The ends of every path; and the tunnel port, which already is the proxy's.
    private void RedirectChains()
    {
        Append(RuleTable.Nat, CaptureChains.IstioInbound, Return, Tcp, ToPort(_config.InboundTunnelPort));
        Append(RuleTable.Nat, CaptureChains.IstioRedirect, Redirect(_config.ProxyPort), Tcp);
        Append(RuleTable.Nat, CaptureChains.IstioInRedirect, Redirect(_config.InboundCapturePort), Tcp);
    }

    // 4. Inbound: all ports but the excluded, or the listed ones.
    private void CaptureInbound()
    {
        if (_config.InboundPorts.IsEmpty)
            return;
        bool tproxy = _mode == InterceptionMode.Tproxy;
        RuleTable table = tproxy ? RuleTable.Mangle : RuleTable.Nat;
        if (tproxy)
            TproxyChains();
        Append(table, CaptureChains.Prerouting, Jump(CaptureChains.IstioInbound), Tcp);
        if (_config.InboundPorts.All)
        {
            foreach (string port in _config.InboundPortsExcluded)
                Append(table, CaptureChains.IstioInbound, Return, Tcp, ToPort(port));
            CaptureInboundPort(table, [Tcp]);
        }
        foreach (string port in _config.InboundPorts.Items)
            CaptureInboundPort(table, [Tcp, ToPort(port)]);
    }

    private void CaptureInboundPort(RuleTable table, RuleMatch[] matches)
    {
        if (table == RuleTable.Nat)
        {
            Append(table, CaptureChains.IstioInbound, Jump(CaptureChains.IstioInRedirect), matches);
            return;
        }
        // A packet of a known connection only needs the route to lo; a new one is handed to the proxy's socket.
        Append(table, CaptureChains.IstioInbound, Jump(CaptureChains.IstioDivert),
            [.. matches, new RuleMatch(MatchKind.ConntrackState, "RELATED,ESTABLISHED")]);
        Append(table, CaptureChains.IstioInbound, Jump(CaptureChains.IstioTproxy), matches);
    }

    private void TproxyChains()
    {
        Append(RuleTable.Mangle, CaptureChains.IstioDivert, SetMark(_config.TproxyMark));
        Append(RuleTable.Mangle, CaptureChains.IstioDivert, new RuleVerdict(VerdictKind.Accept));
        foreach (Address ip in Addresses)
        {
            Append(RuleTable.Mangle, CaptureChains.IstioTproxy, ip.Family,
                new RuleVerdict(VerdictKind.Tproxy, _config.InboundCapturePort, Number(_config.TproxyMark)), NotTo(Loopback(ip)), Tcp);
        }
    }

    // 5. Everything outbound enters our chain; the excluded ports leave it before anything else is asked.
    private void EnterOutput()
    {
        Append(RuleTable.Nat, CaptureChains.Output, Jump(CaptureChains.IstioOutput));
        foreach (string port in _config.OutboundPortsExcluded)
        {
            Append(RuleTable.Nat, CaptureChains.IstioOutput, Return, TcpPort, ToPort(port));
            Append(RuleTable.Nat, CaptureChains.IstioOutput, Return, UdpPort, ToPort(port));
        }
    }

    // 6. The proxy's own traffic. To the application, from 127.0.0.6: as it is. To the Pod's own address over lo (it was balanced to
    //    itself): inbound again. Anything else the proxy sends: as it is, or it would meet itself for ever.
    private void LetProxyThrough()
    {
        foreach (Address ip in Addresses)
            Append(RuleTable.Nat, CaptureChains.IstioOutput, ip.Family, Return, Via("lo"), Source(ip.InboundSource));
        foreach (string user in _config.ProxyUids)
            LetOwnerThrough(MatchKind.OwnerUser, user);
        foreach (string group in _config.ProxyGids)
            LetOwnerThrough(MatchKind.OwnerGroup, group);
    }

    private void LetOwnerThrough(MatchKind kind, string owner)
    {
        var owned = new RuleMatch(kind, owner);
        // With DNS captured the agent asks a server on lo itself; only the user's rule leaves port 53 out, as published.
        RuleMatch notTunnel = _config.RedirectDns && kind == MatchKind.OwnerUser
            ? new RuleMatch(MatchKind.DestinationPorts, "53," + _config.InboundTunnelPort, negated: true)
            : new RuleMatch(MatchKind.DestinationPort, _config.InboundTunnelPort, negated: true);
        foreach (Address ip in Addresses)
        {
            Append(RuleTable.Nat, CaptureChains.IstioOutput, ip.Family, Jump(CaptureChains.IstioInRedirect),
                Via("lo"), NotTo(Loopback(ip)), Tcp, notTunnel, owned);
        }
        // An application calling itself over lo is not captured, unless a captured range says loopback in so many words.
        if (!_config.OutboundRangesHoldLoopback)
        {
            var notOwned = new RuleMatch(kind, owner, negated: true);
            RuleMatch[] matches = _config.RedirectDns
                ? [Via("lo"), Tcp, new RuleMatch(MatchKind.DestinationPort, "53", negated: true), notOwned]
                : [Via("lo"), notOwned];
            Append(RuleTable.Nat, CaptureChains.IstioOutput, Return, matches);
        }
        Append(RuleTable.Nat, CaptureChains.IstioOutput, Return, owned);
    }

    // 7. Whose traffic is captured. Listed groups make one rule: who is in none of them leaves.
    private void FilterOwnerGroups()
    {
        if (_config.OwnerGroups.All)
        {
            foreach (string group in _config.OwnerGroupsExcluded)
                Append(RuleTable.Nat, CaptureChains.IstioOutput, Return, new RuleMatch(MatchKind.OwnerGroup, group));
            return;
        }
        var inNone = new RuleMatch[_config.OwnerGroups.Items.Length];
        for (int i = 0; i < inNone.Length; i++)
            inNone[i] = new RuleMatch(MatchKind.OwnerGroup, _config.OwnerGroups.Items[i], negated: true);
        Append(RuleTable.Nat, CaptureChains.IstioOutput, Return, inNone);
    }

    // 8. DNS to the agent. The lookup of the application and the agent's own go over the same ports to the same server; without a
    //    conntrack zone for each (raw) the kernel takes them for one flow and a reply is lost now and then.
    private void CaptureDns()
    {
        if (!_config.RedirectDns)
            return;
        bool all = _config.CaptureAllDns;
        IpFamilies served = (all || _config.DnsServersV4.Length > 0 ? IpFamilies.V4 : 0) | (all || _config.DnsServersV6.Length > 0 ? IpFamilies.V6 : 0);
        Append(RuleTable.Raw, CaptureChains.Output, Jump(CaptureChains.IstioOutputDns));
        Append(RuleTable.Nat, CaptureChains.IstioOutput, served, Jump(CaptureChains.IstioOutputDns));

        RuleVerdict toAgent = Redirect(CaptureConfig.DnsPort);
        foreach (bool udp in (bool[])[false, true])
        {
            if (all)
                Append(RuleTable.Nat, CaptureChains.IstioOutputDns, toAgent, udp ? UdpPort : Tcp, ToPort("53"));
            else
                ForEachServer((family, server) => Append(RuleTable.Nat, CaptureChains.IstioOutputDns, family, toAgent, udp ? UdpPort : TcpPort, ToPort("53"), To(server)));
        }

        foreach (string user in _config.ProxyUids)
            DnsZones(new RuleMatch(MatchKind.OwnerUser, user));
        foreach (string group in _config.ProxyGids)
            DnsZones(new RuleMatch(MatchKind.OwnerGroup, group));
        Append(RuleTable.Raw, CaptureChains.Prerouting, served, Jump(CaptureChains.IstioInbound));
        if (all)
        {
            Append(RuleTable.Raw, CaptureChains.IstioOutputDns, Zone("2"), UdpPort, ToPort("53"));
            Append(RuleTable.Raw, CaptureChains.IstioInbound, Zone("1"), UdpPort, FromPort("53"));
            return;
        }
        ForEachServer((family, server) =>
        {
            Append(RuleTable.Raw, CaptureChains.IstioOutputDns, family, Zone("2"), UdpPort, ToPort("53"), To(server));
            Append(RuleTable.Raw, CaptureChains.IstioInbound, family, Zone("1"), UdpPort, FromPort("53"), Source(server));
        });
    }

    // The agent to its servers: zone 1. The agent to the application: zone 2.
    private void DnsZones(RuleMatch owner)
    {
        Append(RuleTable.Raw, CaptureChains.IstioOutputDns, Zone("1"), UdpPort, ToPort("53"), owner);
        Append(RuleTable.Raw, CaptureChains.IstioOutputDns, Zone("2"), UdpPort, FromPort(CaptureConfig.DnsPort), owner);
    }

    private void ForEachServer(Action<IpFamilies, string> add)
    {
        foreach (string server in _config.DnsServersV4)
            add(IpFamilies.V4, server + "/32");
        foreach (string server in _config.DnsServersV6)
            add(IpFamilies.V6, server + "/128");
    }

    // 9. Outbound: loopback and the excluded ranges leave, then ports, then ranges are captured.
    private void CaptureOutbound()
    {
        foreach (Address ip in Addresses)
            Append(RuleTable.Nat, CaptureChains.IstioOutput, ip.Family, Return, To(Loopback(ip)));
        foreach (string range in _config.OutboundRangesExcludedV4)
            Append(RuleTable.Nat, CaptureChains.IstioOutput, IpFamilies.V4, Return, To(range));
        foreach (string range in _config.OutboundRangesExcludedV6)
            Append(RuleTable.Nat, CaptureChains.IstioOutput, IpFamilies.V6, Return, To(range));
        RuleVerdict capture = Jump(CaptureChains.IstioRedirect);
        foreach (string port in _config.OutboundPorts)
            Append(RuleTable.Nat, CaptureChains.IstioOutput, capture, TcpPort, ToPort(port));
        if (_config.OutboundAll)
        {
            Append(RuleTable.Nat, CaptureChains.IstioOutput, capture);
            foreach (string name in _config.VirtualInterfaces)
                Insert(RuleTable.Nat, CaptureChains.Prerouting, 1, IpFamilies.Both, capture, From(name));
        }
        CaptureRanges(IpFamilies.V4, _config.OutboundRangesV4, capture);
        CaptureRanges(IpFamilies.V6, _config.OutboundRangesV6, capture);
    }

    private void CaptureRanges(IpFamilies family, string[] ranges, RuleVerdict capture)
    {
        foreach (string range in ranges)
        {
            foreach (string name in _config.VirtualInterfaces)
                Insert(RuleTable.Nat, CaptureChains.Prerouting, 1, family, capture, From(name), To(range));
            Append(RuleTable.Nat, CaptureChains.IstioOutput, family, capture, To(range));
        }
    }

    // 10. TPROXY's marks. 1337 is on what the proxy received transparently and is kept with the connection, so that the application's
    //     answers take the route to lo. 1338 is on what the proxy sends to the Pod's own address and so must be captured inbound.
    private void MarkForTproxy()
    {
        if (_mode != InterceptionMode.Tproxy)
            return;
        string mark = Number(_config.TproxyMark);
        var marked = new RuleMatch(MatchKind.Mark, mark);
        Append(RuleTable.Mangle, CaptureChains.Prerouting, new RuleVerdict(VerdictKind.SaveMark), Tcp, marked);
        Append(RuleTable.Mangle, CaptureChains.Output, Return, Tcp, Via("lo"), marked);
        foreach (string user in _config.ProxyUids)
            MarkOwner(new RuleMatch(MatchKind.OwnerUser, user));
        foreach (string group in _config.ProxyGids)
            MarkOwner(new RuleMatch(MatchKind.OwnerGroup, group));
        Append(RuleTable.Mangle, CaptureChains.Output, new RuleVerdict(VerdictKind.RestoreMark), Tcp, new RuleMatch(MatchKind.ConnectionMark, mark));

        Insert(RuleTable.Mangle, CaptureChains.IstioInbound, 1, IpFamilies.Both, Return, Tcp, marked);
        foreach (Address ip in Addresses)
            Insert(RuleTable.Mangle, CaptureChains.IstioInbound, 2, ip.Family, Return, Tcp, Source(ip.InboundSource), From("lo"));
        Insert(RuleTable.Mangle, CaptureChains.IstioInbound, 3, IpFamilies.Both, Return, Tcp, From("lo"),
            new RuleMatch(MatchKind.Mark, Number(CaptureConfig.OutboundMark), negated: true));
    }

    private void MarkOwner(RuleMatch owner)
    {
        foreach (Address ip in Addresses)
        {
            Append(RuleTable.Mangle, CaptureChains.Output, ip.Family, SetMark(CaptureConfig.OutboundMark),
                NotTo(Loopback(ip)), Tcp, Via("lo"), owner);
        }
    }

    // ---- words -------------------------------------------------------------------------------------------

    private static readonly RuleMatch Tcp = new(MatchKind.Protocol, "tcp");
    private static readonly RuleMatch TcpPort = new(MatchKind.PortProtocol, "tcp");
    private static readonly RuleMatch UdpPort = new(MatchKind.PortProtocol, "udp");
    private static readonly RuleVerdict Return = new(VerdictKind.Return);

    private string Loopback(Address ip) => ip.Family == IpFamilies.V4 ? _config.LoopbackRangeV4 : ip.Loopback;

    private static RuleMatch From(string name) => new(MatchKind.InInterface, name);
    private static RuleMatch Via(string name) => new(MatchKind.OutInterface, name);
    private static RuleMatch Source(string range) => new(MatchKind.Source, range);
    private static RuleMatch To(string range) => new(MatchKind.Destination, range);
    private static RuleMatch NotTo(string range) => new(MatchKind.Destination, range, negated: true);
    private static RuleMatch ToPort(string port) => new(MatchKind.DestinationPort, port);
    private static RuleMatch FromPort(string port) => new(MatchKind.SourcePort, port);
    private static RuleVerdict Jump(string chain) => new(VerdictKind.Jump, chain);
    private static RuleVerdict Redirect(string port) => new(VerdictKind.Redirect, port);
    private static RuleVerdict SetMark(uint mark) => new(VerdictKind.SetMark, Number(mark));
    private static RuleVerdict Zone(string zone) => new(VerdictKind.Zone, zone);
    private static string Number(uint value) => value.ToString(CultureInfo.InvariantCulture);

    private void Append(RuleTable table, string chain, RuleVerdict verdict, params RuleMatch[] matches) =>
        Insert(table, chain, 0, IpFamilies.Both, verdict, matches);

    private void Append(RuleTable table, string chain, IpFamilies families, RuleVerdict verdict, params RuleMatch[] matches) =>
        Insert(table, chain, 0, families, verdict, matches);

    private void Insert(RuleTable table, string chain, int position, IpFamilies families, RuleVerdict verdict, params RuleMatch[] matches)
    {
        if (_withIPv6 || (families & IpFamilies.V4) != 0)
            _rules.Add(new CaptureRule(table, chain, position, families, verdict, matches));
    }
}
