using System.Collections.Generic;
using System.Net;
using Sidecar.Capture;
using Xunit;

namespace Sidecar.Tests.Capture;

/// <summary>Whole texts for the configurations a Pod really has, and single rules for what they leave out.</summary>
public class IptablesWriterTests
{
    private static readonly string[] Injected = ["-p", "15001", "-z", "15006", "-u", "1337", "-i", "*", "-x", "", "-b", "*", "-d", "15090,15021,15020"];

    private readonly TestMachine _machine = new();

    private string Text(IpFamilies family, params string[] args) => IptablesWriter.RestoreText(RulePlan.Build(_machine.Config(args)), family);

    private string V4(params string[] args) => Text(IpFamilies.V4, args);

    [Fact]
    public void InjectedPod_Redirect()
    {
        Assert.Equal("""
            * nat
            -N ISTIO_INBOUND
            -N ISTIO_REDIRECT
            -N ISTIO_IN_REDIRECT
            -N ISTIO_OUTPUT
            -A ISTIO_INBOUND -p tcp --dport 15008 -j RETURN
            -A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
            -A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
            -A PREROUTING -p tcp -j ISTIO_INBOUND
            -A ISTIO_INBOUND -p tcp --dport 15090 -j RETURN
            -A ISTIO_INBOUND -p tcp --dport 15021 -j RETURN
            -A ISTIO_INBOUND -p tcp --dport 15020 -j RETURN
            -A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
            -A OUTPUT -j ISTIO_OUTPUT
            -A ISTIO_OUTPUT -o lo -s 127.0.0.6/32 -j RETURN
            -A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT
            -A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN
            -A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN
            -A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --gid-owner 1337 -j ISTIO_IN_REDIRECT
            -A ISTIO_OUTPUT -o lo -m owner ! --gid-owner 1337 -j RETURN
            -A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN
            -A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN
            -A ISTIO_OUTPUT -j ISTIO_REDIRECT
            COMMIT

            """, V4(Injected));
    }

    [Fact]
    public void InjectedPod_TproxyIPv6()
    {
        _machine.Addresses.Add(IPAddress.Parse("fd00::7"));
        Assert.Equal("""
            * mangle
            -N ISTIO_DIVERT
            -N ISTIO_TPROXY
            -N ISTIO_INBOUND
            -A ISTIO_DIVERT -j MARK --set-mark 1337
            -A ISTIO_DIVERT -j ACCEPT
            -A ISTIO_TPROXY ! -d ::1/128 -p tcp -j TPROXY --tproxy-mark 1337/0xffffffff --on-port 15006
            -A PREROUTING -p tcp -j ISTIO_INBOUND
            -A ISTIO_INBOUND -p tcp --dport 15090 -j RETURN
            -A ISTIO_INBOUND -p tcp --dport 15021 -j RETURN
            -A ISTIO_INBOUND -p tcp --dport 15020 -j RETURN
            -A ISTIO_INBOUND -p tcp -m conntrack --ctstate RELATED,ESTABLISHED -j ISTIO_DIVERT
            -A ISTIO_INBOUND -p tcp -j ISTIO_TPROXY
            -A PREROUTING -p tcp -m mark --mark 1337 -j CONNMARK --save-mark
            -A OUTPUT -p tcp -o lo -m mark --mark 1337 -j RETURN
            -A OUTPUT ! -d ::1/128 -p tcp -o lo -m owner --uid-owner 1337 -j MARK --set-mark 1338
            -A OUTPUT ! -d ::1/128 -p tcp -o lo -m owner --gid-owner 1337 -j MARK --set-mark 1338
            -A OUTPUT -p tcp -m connmark --mark 1337 -j CONNMARK --restore-mark
            -I ISTIO_INBOUND 1 -p tcp -m mark --mark 1337 -j RETURN
            -I ISTIO_INBOUND 2 -p tcp -s ::6/128 -i lo -j RETURN
            -I ISTIO_INBOUND 3 -p tcp -i lo -m mark ! --mark 1338 -j RETURN
            COMMIT
            * nat
            -N ISTIO_INBOUND
            -N ISTIO_REDIRECT
            -N ISTIO_IN_REDIRECT
            -N ISTIO_OUTPUT
            -A ISTIO_INBOUND -p tcp --dport 15008 -j RETURN
            -A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
            -A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
            -A OUTPUT -j ISTIO_OUTPUT
            -A ISTIO_OUTPUT -o lo -s ::6/128 -j RETURN
            -A ISTIO_OUTPUT -o lo ! -d ::1/128 -p tcp ! --dport 15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT
            -A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN
            -A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN
            -A ISTIO_OUTPUT -o lo ! -d ::1/128 -p tcp ! --dport 15008 -m owner --gid-owner 1337 -j ISTIO_IN_REDIRECT
            -A ISTIO_OUTPUT -o lo -m owner ! --gid-owner 1337 -j RETURN
            -A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN
            -A ISTIO_OUTPUT -d ::1/128 -j RETURN
            -A ISTIO_OUTPUT -j ISTIO_REDIRECT
            COMMIT

            """, Text(IpFamilies.V6, [.. Injected, "-m", "TPROXY", "--dual-stack"]));
    }

    [Fact]
    public void Dns_All_CapturesPort53AndSplitsConntrackZones()
    {
        string text = V4("--redirect-dns", "--capture-all-dns");
        Assert.Contains("""
            -A ISTIO_OUTPUT -j ISTIO_OUTPUT_DNS
            -A ISTIO_OUTPUT_DNS -p tcp --dport 53 -j REDIRECT --to-ports 15053
            -A ISTIO_OUTPUT_DNS -p udp --dport 53 -j REDIRECT --to-port 15053
            -A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN
            """, text);
        Assert.EndsWith("""
            * raw
            -N ISTIO_OUTPUT_DNS
            -N ISTIO_INBOUND
            -A OUTPUT -j ISTIO_OUTPUT_DNS
            -A ISTIO_OUTPUT_DNS -p udp --dport 53 -m owner --uid-owner 1337 -j CT --zone 1
            -A ISTIO_OUTPUT_DNS -p udp --sport 15053 -m owner --uid-owner 1337 -j CT --zone 2
            -A ISTIO_OUTPUT_DNS -p udp --dport 53 -m owner --gid-owner 1337 -j CT --zone 1
            -A ISTIO_OUTPUT_DNS -p udp --sport 15053 -m owner --gid-owner 1337 -j CT --zone 2
            -A PREROUTING -j ISTIO_INBOUND
            -A ISTIO_OUTPUT_DNS -p udp --dport 53 -j CT --zone 2
            -A ISTIO_INBOUND -p udp --sport 53 -j CT --zone 1
            COMMIT

            """, text);
    }

    [Fact]
    public void OutboundPorts_ExcludedComeFirst_IncludedBeforeRanges()
    {
        string text = V4("-o", "25", "-q", "5432", "-i", "10.0.0.0/8", "-x", "10.1.0.0/16");
        Assert.Contains("""
            -A OUTPUT -j ISTIO_OUTPUT
            -A ISTIO_OUTPUT -p tcp --dport 25 -j RETURN
            -A ISTIO_OUTPUT -p udp --dport 25 -j RETURN
            -A ISTIO_OUTPUT -o lo -s 127.0.0.6/32 -j RETURN
            """, text);
        Assert.EndsWith("""
            -A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN
            -A ISTIO_OUTPUT -d 10.1.0.0/16 -j RETURN
            -A ISTIO_OUTPUT -p tcp --dport 5432 -j ISTIO_REDIRECT
            -A ISTIO_OUTPUT -d 10.0.0.0/8 -j ISTIO_REDIRECT
            COMMIT

            """, text);
    }

    [Fact]
    public void OwnerGroups_Listed_MakeOneRule_Excluded_OneEach()
    {
        _machine.Environment["ISTIO_OUTBOUND_OWNER_GROUPS"] = "java,202";
        Assert.Contains("-A ISTIO_OUTPUT -m owner ! --gid-owner java -m owner ! --gid-owner 202 -j RETURN\n", V4());
        _machine.Environment["ISTIO_OUTBOUND_OWNER_GROUPS"] = "*";
        _machine.Environment["ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE"] = "888,ftp";
        Assert.Contains("-A ISTIO_OUTPUT -m owner --gid-owner 888 -j RETURN\n-A ISTIO_OUTPUT -m owner --gid-owner ftp -j RETURN\n", V4());
    }

    [Fact]
    public void Interfaces_AreSkippedFirst()
    {
        Assert.Contains("""
            -A PREROUTING -i eth9 -j RETURN
            -A OUTPUT -o eth9 -j RETURN
            -I PREROUTING 1 -i veth+ -j RETURN
            -A ISTIO_INBOUND
            """, V4("-c", "eth9", "-k", "veth+"));
        Assert.Contains("-A ISTIO_OUTPUT -j ISTIO_REDIRECT\n-I PREROUTING 1 -i veth+ -j ISTIO_REDIRECT\n", V4("-k", "veth+", "-i", "*"));
    }

    [Fact]
    public void LoopbackInARange_KeepsTheApplicationsOwnCallsCaptured()
    {
        Assert.DoesNotContain("! --uid-owner", V4("-i", "127.1.2.3/32"));
        Assert.Contains("! --uid-owner", V4("-i", "128.1.2.3/32"));
    }

    [Fact]
    public void EmptyPlan_IsNoText() => Assert.Equal("", IptablesWriter.RestoreText([], IpFamilies.V4));

    [Fact]
    public void CheckText_AsksForEveryRuleWithoutItsPlace()
    {
        string text = IptablesWriter.CheckText(RulePlan.Build(_machine.Config("-k", "eth1")), IpFamilies.V4);
        Assert.StartsWith("* nat\n-C PREROUTING -i eth1 -j RETURN\n-C ISTIO_INBOUND -p tcp --dport 15008 -j RETURN\n", text);
        Assert.DoesNotContain("-N ", text);
        Assert.EndsWith("COMMIT\n", text);
    }

    [Fact]
    public void RemovalText_RulesThenContentsThenChains()
    {
        IReadOnlyList<CaptureRule> plan = RulePlan.Build(_machine.Config("-c", "eth9", "--drop-invalid"));
        Assert.Equal("""
            * mangle
            -D PREROUTING -m conntrack --ctstate INVALID -j ISTIO_DROP
            -F ISTIO_DROP
            -X ISTIO_DROP
            COMMIT
            * nat
            -D PREROUTING -i eth9 -j RETURN
            -D OUTPUT -o eth9 -j RETURN
            -D OUTPUT -j ISTIO_OUTPUT
            -F ISTIO_INBOUND
            -F ISTIO_REDIRECT
            -F ISTIO_IN_REDIRECT
            -F ISTIO_OUTPUT
            -X ISTIO_INBOUND
            -X ISTIO_REDIRECT
            -X ISTIO_IN_REDIRECT
            -X ISTIO_OUTPUT
            COMMIT

            """, IptablesWriter.RemovalText(plan, IpFamilies.V4));
    }
}
