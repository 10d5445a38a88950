using System;
using System.Collections.Generic;
using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace Sidecar.Capture;

/// <summary>How inbound connections reach the proxy.</summary>
internal enum InterceptionMode : byte
{
    /// <summary>Destination rewritten; the proxy asks SO_ORIGINAL_DST.</summary>
    Redirect,

    /// <summary>Delivered unchanged to a transparent socket; source and destination stay.</summary>
    Tproxy,
}

/// <summary>A choice of things: all of them, or those listed.</summary>
internal sealed class Selection(bool all, string[] items)
{
    public static readonly Selection Nothing = new(false, []);

    public readonly bool All = all;
    public readonly string[] Items = items;
    public bool IsEmpty => !All && Items.Length == 0;
}

/// <summary>
/// What istio-iptables was asked to do, validated; immutable. Every text in it has been checked to be one word of its kind, so that
/// a rule text built from it cannot hold a second rule.
/// </summary>
internal sealed class CaptureConfig
{
    /// <summary>Mark of packets the proxy sends to the application by the Pod's own address in TPROXY mode.</summary>
    public const uint OutboundMark = 1338;

    /// <summary>Where the agent answers DNS.</summary>
    public const string DnsPort = "15053";

    // Included groups become one rule of that many matches; kernels take between 128 and 1,200 of them.
    private const int OwnerGroupsMax = 64;

    private const string DefaultUid = "1337";

    public string ProxyPort { get; init; } = "15001";
    public string InboundCapturePort { get; init; } = "15006";
    public string InboundTunnelPort { get; init; } = "15008";
    public string[] ProxyUids { get; init; } = [DefaultUid];
    public string[] ProxyGids { get; init; } = [DefaultUid];
    public InterceptionMode Mode { get; init; }
    public uint TproxyMark { get; init; } = 1337;
    public uint TproxyRouteTable { get; init; } = 133;
    public Selection InboundPorts { get; init; } = Selection.Nothing;
    public string[] InboundPortsExcluded { get; init; } = [];
    public string[] InterfacesExcluded { get; init; } = [];
    public string[] VirtualInterfaces { get; init; } = [];
    public string[] OutboundPorts { get; init; } = [];
    public string[] OutboundPortsExcluded { get; init; } = [];
    public bool OutboundAll { get; init; }
    public string[] OutboundRangesV4 { get; init; } = [];
    public string[] OutboundRangesV6 { get; init; } = [];
    public string[] OutboundRangesExcludedV4 { get; init; } = [];
    public string[] OutboundRangesExcludedV6 { get; init; } = [];

    /// <summary>A captured range starts at a loopback address: then traffic to oneself over lo is captured too.</summary>
    public bool OutboundRangesHoldLoopback { get; init; }

    /// <summary>Groups whose outbound traffic is captured; of all groups, <see cref="OwnerGroupsExcluded"/> is not.</summary>
    public Selection OwnerGroups { get; init; } = new(true, []);
    public string[] OwnerGroupsExcluded { get; init; } = [];
    public string LoopbackRangeV4 { get; init; } = "127.0.0.1/32";

    /// <summary>DNS is captured: asked for, and there is something to capture.</summary>
    public bool RedirectDns { get; init; }
    public bool CaptureAllDns { get; init; }
    public string[] DnsServersV4 { get; init; } = [];
    public string[] DnsServersV6 { get; init; } = [];
    public bool DropInvalid { get; init; }
    public bool EnableIPv6 { get; init; }

    /// <summary>The Pod's first address is IPv6: the validation uses IPv6.</summary>
    public bool HostIsIPv6 { get; init; }
    public string? DryRunFile { get; init; }
    public bool DryRun { get; init; }
    public bool SkipRuleApply { get; init; }
    public bool RunValidation { get; init; }
    public ushort ProbePort { get; init; } = 15002;
    public int ProbeTimeoutMs { get; init; } = 5000;
    public string NetworkNamespace { get; init; } = "";
    public bool CniMode { get; init; }
    public bool Reconcile { get; init; }
    public bool CleanupOnly { get; init; }
    public bool ForceApply { get; init; }
    public bool NativeNftables { get; init; }

    /// <summary>"legacy", "nft" or empty for detection.</summary>
    public string ForceIptablesBinary { get; init; } = "";

    /// <summary>TPROXY routes are needed: the mode is TPROXY and something is captured inbound.</summary>
    public bool NeedsTproxyRoutes => Mode == InterceptionMode.Tproxy && !InboundPorts.IsEmpty;

    /// <summary>
    /// The configuration that arguments, environment and machine give, or null with the reasons in <paramref name="errors"/>, one line each.
    /// <paramref name="warnings"/> receives what was asked for and cannot take effect.
    /// </summary>
    public static CaptureConfig? Create(ReadOnlySpan<string> args, CaptureHost host, List<string> warnings, List<string> errors)
    {
        Dictionary<string, string> flags = CaptureFlags.Parse(args, host.Variable, errors);
        var read = new Reader(flags, errors);
        string Environment(string name, string fallback) => host.Variable(name) ?? fallback;

        string[] uids = read.Owners("proxy-uid");
        if (uids.Length == 0)
            uids = [DefaultProxyUid(host, Environment("ENVOY_USER", "istio-proxy"))];
        string[] gids = read.Owners("proxy-gid");
        if (gids.Length == 0)
            gids = uids;

        Selection ownerGroups = Environment("ISTIO_OUTBOUND_OWNER_GROUPS", "*") is var groups && groups == "*"
            ? new Selection(true, [])
            : new Selection(false, read.Owners("ISTIO_OUTBOUND_OWNER_GROUPS", groups));
        if (ownerGroups.Items.Length > OwnerGroupsMax)
            errors.Add($"ISTIO_OUTBOUND_OWNER_GROUPS: {ownerGroups.Items.Length} groups, at most {OwnerGroupsMax} fit one rule; name fewer, or all but ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE");

        bool dryRun = read.Bool("dry-run");
        bool cleanupOnly = read.Bool("cleanup-only");
        bool skip = read.Bool("skip-rule-apply");
        FindAddresses(host, read.Bool("dual-stack"), required: !(dryRun || cleanupOnly || skip), out bool hostIsIPv6, out bool enableIPv6, warnings, errors);

        bool redirectDns = read.Bool("redirect-dns");
        bool captureAllDns = read.Bool("capture-all-dns");
        List<string> dnsV4 = [], dnsV6 = [];
        if (redirectDns && !captureAllDns)
            ReadNameServers(host, dnsV4, dnsV6, errors);
        if (redirectDns && !captureAllDns && dnsV4.Count + dnsV6.Count == 0)
        {
            warnings.Add("--redirect-dns: /etc/resolv.conf names no server and --capture-all-dns is not set; DNS is not captured");
            redirectDns = false;
        }

        read.Ranges("istio-service-cidr", out bool outboundAll, out string[] rangesV4, out string[] rangesV6, out bool holdLoopback);
        read.Ranges("istio-service-exclude-cidr", out bool excludeAll, out string[] excludedV4, out string[] excludedV6, out _);
        if (excludeAll)
            errors.Add("--istio-service-exclude-cidr: * would exclude everything; leave --istio-service-cidr empty to capture nothing outbound");

        var config = new CaptureConfig
        {
            ProxyPort = read.Port("envoy-port"),
            InboundCapturePort = read.Port("inbound-capture-port"),
            InboundTunnelPort = read.Port("inbound-tunnel-port"),
            ProxyUids = uids,
            ProxyGids = gids,
            Mode = read.Mode("istio-inbound-interception-mode"),
            TproxyMark = read.Number("istio-inbound-tproxy-mark", "a packet mark", 1, uint.MaxValue, notThis: OutboundMark),
            TproxyRouteTable = read.Number("istio-inbound-tproxy-route-table", "a routing table", 1, uint.MaxValue, notThis: 0),
            InboundPorts = read.PortSelection("istio-inbound-ports"),
            InboundPortsExcluded = read.Ports("istio-local-exclude-ports"),
            InterfacesExcluded = read.Interfaces("istio-exclude-interfaces"),
            VirtualInterfaces = read.Interfaces("kube-virt-interfaces"),
            OutboundPorts = read.Ports("istio-outbound-ports"),
            OutboundPortsExcluded = read.Ports("istio-local-outbound-ports-exclude"),
            OutboundAll = outboundAll,
            OutboundRangesV4 = rangesV4,
            OutboundRangesV6 = rangesV6,
            OutboundRangesHoldLoopback = holdLoopback,
            OutboundRangesExcludedV4 = excludedV4,
            OutboundRangesExcludedV6 = excludedV6,
            OwnerGroups = ownerGroups,
            OwnerGroupsExcluded = read.Owners("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", Environment("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", "")),
            LoopbackRangeV4 = read.LoopbackRange("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR", Environment("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR", "127.0.0.1/32")),
            RedirectDns = redirectDns,
            CaptureAllDns = captureAllDns,
            DnsServersV4 = [.. dnsV4],
            DnsServersV6 = [.. dnsV6],
            DropInvalid = read.Bool("drop-invalid"),
            EnableIPv6 = enableIPv6,
            HostIsIPv6 = hostIsIPv6,
            DryRunFile = host.Variable("DRY_RUN_FILE_PATH") is { Length: > 0 } file ? file : null,
            DryRun = dryRun,
            SkipRuleApply = skip,
            RunValidation = read.Bool("run-validation"),
            ProbePort = (ushort)read.Number("iptables-probe-port", "a port", 1, 65535, notThis: 0),
            ProbeTimeoutMs = read.DurationMs("probe-timeout"),
            NetworkNamespace = flags["network-namespace"],
            CniMode = read.Bool("cni-mode"),
            Reconcile = read.Bool("reconcile"),
            CleanupOnly = cleanupOnly,
            ForceApply = read.Bool("force-apply"),
            NativeNftables = read.Bool("native-nftables"),
            ForceIptablesBinary = read.OneOf("force-iptables-binary", "legacy", "nft"),
        };
        return errors.Count == 0 ? config : null;
    }

    // uid of a user of /etc/passwd (name:password:uid:gid:…), else Istio's own number.
    private static string DefaultProxyUid(CaptureHost host, string user)
    {
        foreach (string line in (host.ReadFile("/etc/passwd") ?? "").Split('\n'))
        {
            string[] fields = line.Split(':');
            if (fields.Length > 2 && fields[0] == user && uint.TryParse(fields[2], NumberStyles.None, CultureInfo.InvariantCulture, out _))
                return fields[2];
        }
        return DefaultUid;
    }

    // The first address that is neither loopback nor link-local is the Pod's. With dual stack one IPv6 address anywhere is enough.
    private static void FindAddresses(CaptureHost host, bool dualStack, bool required, out bool hostIsIPv6, out bool enableIPv6,
        List<string> warnings, List<string> errors)
    {
        hostIsIPv6 = enableIPv6 = false;
        var addresses = new List<IPAddress>();
        Linux.Errno error = host.LocalAddresses(addresses);
        bool found = false;
        foreach (IPAddress listed in addresses)
        {
            IPAddress address = listed.IsIPv4MappedToIPv6 ? listed.MapToIPv4() : listed;
            bool isIPv6 = address.AddressFamily == AddressFamily.InterNetworkV6;
            if (IPAddress.IsLoopback(address) || address.IsIPv6LinkLocal || (!isIPv6 && address.GetAddressBytes() is [169, 254, ..]))
                continue;
            // ::6 on lo is the address capture itself adds; it says nothing of the Pod.
            if (address.Equals(LoopbackRoutes.InboundSourceV6))
                continue;
            if (!found)
                hostIsIPv6 = isIPv6;
            found = true;
            enableIPv6 |= isIPv6;
            if (!dualStack)
                break;
        }
        if (found)
            return;
        string problem = "no local address besides loopback and link-local" + (error == Linux.Errno.None ? "" : $" (netlink: {error})");
        if (required)
            errors.Add(problem + "; run after the Pod's network is set up, or use --dry-run");
        else
            warnings.Add(problem + "; IPv6 rules are left out");
    }

    private static void ReadNameServers(CaptureHost host, List<string> v4, List<string> v6, List<string> errors)
    {
        string? text = host.ReadFile("/etc/resolv.conf");
        if (text is null)
        {
            errors.Add("--redirect-dns: cannot read /etc/resolv.conf; mount it, or use --capture-all-dns");
            return;
        }
        foreach (string line in text.Split('\n'))
        {
            string[] words = line.Split((char[])[' ', '\t', '\r'], StringSplitOptions.RemoveEmptyEntries);
            if (words.Length < 2 || words[0] != "nameserver")
                continue;
            string server = words[1].Split('%')[0];
            if (IPAddress.TryParse(server, out IPAddress? address))
                (address.AddressFamily == AddressFamily.InterNetwork ? v4 : v6).Add(server);
        }
    }

    /// <summary>Reads single flags, adding a line per problem that names the flag and what it may hold.</summary>
    private sealed class Reader(Dictionary<string, string> flags, List<string> errors)
    {
        public bool Bool(string name) => flags[name] == "true";

        public string Port(string name)
        {
            string text = flags[name];
            if (!IsPort(text))
                errors.Add($"--{name}: \"{text}\" is not a port; give 1 to 65535");
            return text;
        }

        public string[] Ports(string name) => PortSelection(name, allowAll: false).Items;

        public Selection PortSelection(string name, bool allowAll = true)
        {
            if (allowAll && flags[name] == "*")
                return new Selection(true, []);
            string[] ports = Split(flags[name]);
            foreach (string port in ports)
            {
                int colon = port.IndexOf(':');
                bool good = colon < 0
                    ? IsPort(port)
                    : IsPort(port[..colon]) && IsPort(port[(colon + 1)..]) && int.Parse(port[..colon], CultureInfo.InvariantCulture) <= int.Parse(port[(colon + 1)..], CultureInfo.InvariantCulture);
                if (!good)
                    errors.Add($"--{name}: \"{port}\" is not a port; give a comma separated list of 1 to 65535 or first:last" + (allowAll ? ", or * alone" : ""));
            }
            return new Selection(false, ports);
        }

        public string[] Owners(string name) => Owners("--" + name, flags[name]);

        public string[] Owners(string shown, string text)
        {
            string[] owners = Split(text);
            foreach (string owner in owners)
            {
                if (!IsWord(owner, "._-") || owner[0] == '-')
                    errors.Add($"{shown}: \"{owner}\" is neither a number nor a name; give a comma separated list of ids or names");
            }
            return owners;
        }

        public string[] Interfaces(string name)
        {
            string[] interfaces = Split(flags[name]);
            foreach (string item in interfaces)
            {
                if (item.Length > 15 || item[0] == '-' || !IsWord(item, "._-@+"))
                    errors.Add($"--{name}: \"{item}\" is not the name of an interface; give a comma separated list of names of at most 15 characters");
            }
            return interfaces;
        }

        public InterceptionMode Mode(string name)
        {
            switch (flags[name])
            {
                case "" or "REDIRECT":
                    return InterceptionMode.Redirect;
                case "TPROXY":
                    return InterceptionMode.Tproxy;
                default:
                    errors.Add($"--{name}: \"{flags[name]}\" is not a mode; give REDIRECT or TPROXY");
                    return InterceptionMode.Redirect;
            }
        }

        public string OneOf(string name, string first, string second)
        {
            string text = flags[name];
            if (text.Length > 0 && text != first && text != second)
                errors.Add($"--{name}: \"{text}\" is unknown; give {first} or {second}, or leave it out");
            return text;
        }

        public uint Number(string name, string what, uint least, uint most, uint notThis)
        {
            string text = flags[name];
            if (uint.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out uint value) && value >= least && value <= most && value != notThis)
                return value;
            errors.Add($"--{name}: \"{text}\" is not {what}; give a decimal number from {least} to {most}" + (notThis == 0 ? "" : $" other than {notThis}"));
            return least;
        }

        // Go's duration syntax, which is what the flag of Istio takes: 5s, 500ms, 1m30s, 1.5h.
        public int DurationMs(string name)
        {
            ReadOnlySpan<char> rest = flags[name];
            double totalMs = 0;
            bool good = rest.Length > 0;
            while (good && rest.Length > 0)
            {
                int digits = 0;
                while (digits < rest.Length && (char.IsAsciiDigit(rest[digits]) || rest[digits] == '.'))
                    digits++;
                int unit = digits;
                while (unit < rest.Length && char.IsAsciiLetterLower(rest[unit]))
                    unit++;
                double scale = rest[digits..unit] switch { "h" => 3_600_000, "m" => 60_000, "s" => 1000, "ms" => 1, "us" => 1e-3, "ns" => 1e-6, _ => 0 };
                good = scale > 0 && double.TryParse(rest[..digits], NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double value)
                    && (totalMs += value * scale) <= int.MaxValue;
                rest = rest[unit..];
            }
            if (!good || totalMs < 1)
            {
                errors.Add($"--{name}: \"{flags[name]}\" is not a duration; give for example 5s or 500ms");
                return 1;
            }
            return (int)totalMs;
        }

        public void Ranges(string name, out bool all, out string[] v4, out string[] v6, out bool holdsLoopback)
        {
            all = flags[name] == "*";
            holdsLoopback = false;
            List<string> listV4 = [], listV6 = [];
            foreach (string text in all ? [] : Split(flags[name]))
            {
                if (!TryParseRange(text, out IPAddress? address, out int bits))
                {
                    errors.Add($"--{name}: \"{text}\" is not an address range; give a comma separated list such as 10.0.0.0/8, or * alone");
                    continue;
                }
                holdsLoopback |= IPAddress.IsLoopback(address);
                (address.AddressFamily == AddressFamily.InterNetwork ? listV4 : listV6).Add($"{address}/{bits}");
            }
            v4 = [.. listV4];
            v6 = [.. listV6];
        }

        public string LoopbackRange(string name, string text)
        {
            if (TryParseRange(text, out IPAddress? address, out int bits)
                && address.AddressFamily == AddressFamily.InterNetwork && IPAddress.IsLoopback(address) && bits >= 8)
                return text;
            errors.Add($"{name}: \"{text}\" is not an IPv4 loopback range; give 127.x.y.z/8 to /32");
            return text;
        }

        private static string[] Split(string list) => list.Split(',', StringSplitOptions.RemoveEmptyEntries);

        private static bool IsPort(string text) =>
            text.Length is > 0 and < 6 && ushort.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out ushort port) && port > 0;

        private static bool IsWord(string text, string besides)
        {
            foreach (char c in text)
            {
                if (!char.IsAsciiLetterOrDigit(c) && !besides.Contains(c))
                    return false;
            }
            return text.Length > 0;
        }

        private static bool TryParseRange(string text, out IPAddress address, out int bits)
        {
            address = IPAddress.None;
            bits = 0;
            int slash = text.IndexOf('/');
            if (slash < 0 || !uint.TryParse(text.AsSpan(slash + 1), NumberStyles.None, CultureInfo.InvariantCulture, out uint length))
                return false;
            ReadOnlySpan<char> host = text.AsSpan(0, slash);
            // The parser of the runtime also takes 10, 0x0a.1 and zone names; a range is written in full.
            if (host.Contains('%') || host.Contains('[') || !IPAddress.TryParse(host, out IPAddress? parsed))
                return false;
            bool isIPv4 = parsed.AddressFamily == AddressFamily.InterNetwork;
            if (isIPv4 && !host.SequenceEqual(parsed.ToString()))
                return false;
            address = parsed;
            bits = (int)Math.Min(length, 255);
            return length <= (isIPv4 ? 32u : 128u);
        }
    }
}
