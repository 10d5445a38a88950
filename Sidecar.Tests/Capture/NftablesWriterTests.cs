using System.Net;
using Sidecar.Capture;
using Xunit;

namespace Sidecar.Tests.Capture;

public class NftablesWriterTests
{
    private readonly TestMachine _machine = new();

    private string Text(params string[] args) => NftablesWriter.ApplyText(RulePlan.Build(_machine.Config([.. args, "--native-nftables"])), removeOthers: false);

    [Fact]
    public void InjectedPod_DualStack()
    {
        _machine.Addresses.Add(IPAddress.Parse("fd00::7"));
        Assert.Equal("""
            add table inet istio-proxy-nat
            flush table inet istio-proxy-nat
            add chain inet istio-proxy-nat prerouting { type nat hook prerouting priority -100 ; }
            add chain inet istio-proxy-nat output { type nat hook output priority -100 ; }
            add chain inet istio-proxy-nat istio-inbound
            add chain inet istio-proxy-nat istio-redirect
            add chain inet istio-proxy-nat istio-in-redirect
            add chain inet istio-proxy-nat istio-output
            add rule inet istio-proxy-nat istio-inbound meta l4proto tcp tcp dport 15008 counter return
            add rule inet istio-proxy-nat istio-redirect meta l4proto tcp counter redirect to :15001
            add rule inet istio-proxy-nat istio-in-redirect meta l4proto tcp counter redirect to :15006
            add rule inet istio-proxy-nat prerouting meta l4proto tcp counter jump istio-inbound
            add rule inet istio-proxy-nat istio-inbound meta l4proto tcp tcp dport 15020 counter return
            add rule inet istio-proxy-nat istio-inbound meta l4proto tcp counter jump istio-in-redirect
            add rule inet istio-proxy-nat output counter jump istio-output
            add rule inet istio-proxy-nat istio-output oifname lo ip saddr 127.0.0.6/32 counter return
            add rule inet istio-proxy-nat istio-output oifname lo ip6 saddr ::6/128 counter return
            add rule inet istio-proxy-nat istio-output oifname lo meta l4proto tcp ip daddr != 127.0.0.1/32 tcp dport != 15008 skuid 1337 counter jump istio-in-redirect
            add rule inet istio-proxy-nat istio-output oifname lo meta l4proto tcp ip6 daddr != ::1/128 tcp dport != 15008 skuid 1337 counter jump istio-in-redirect
            add rule inet istio-proxy-nat istio-output oifname lo skuid != 1337 counter return
            add rule inet istio-proxy-nat istio-output skuid 1337 counter return
            add rule inet istio-proxy-nat istio-output oifname lo meta l4proto tcp ip daddr != 127.0.0.1/32 tcp dport != 15008 skgid 1337 counter jump istio-in-redirect
            add rule inet istio-proxy-nat istio-output oifname lo meta l4proto tcp ip6 daddr != ::1/128 tcp dport != 15008 skgid 1337 counter jump istio-in-redirect
            add rule inet istio-proxy-nat istio-output oifname lo skgid != 1337 counter return
            add rule inet istio-proxy-nat istio-output skgid 1337 counter return
            add rule inet istio-proxy-nat istio-output ip daddr 127.0.0.1/32 counter return
            add rule inet istio-proxy-nat istio-output ip6 daddr ::1/128 counter return
            add rule inet istio-proxy-nat istio-output counter jump istio-redirect

            """, Text("-b", "*", "-i", "*", "-d", "15020", "--dual-stack"));
    }

    [Fact]
    public void Insertion_IntoAShorterChain_Appends()
    {
        string text = Text("-k", "eth1,eth2");
        Assert.Contains("add rule inet istio-proxy-nat prerouting iifname eth1 counter return\n", text);
        Assert.Contains("insert rule inet istio-proxy-nat prerouting index 0 iifname eth2 counter return\n", text);
    }

    [Theory]
    [InlineData("veth+", "\"veth*\"")]
    [InlineData("0abc", "\"0abc\"")]
    [InlineData("if@peer", "\"if@peer\"")]
    [InlineData("eth0.100", "eth0.100")]
    public void Interfaces_AreWordsOrQuoted(string name, string written) =>
        Assert.Contains($"oifname {written} counter return\n", Text("-c", name));

    [Fact]
    public void PortRange_HasADash() => Assert.Contains("tcp dport 7000-7010 counter return\n", Text("-o", "7000:7010"));

    // DNS servers of IPv6 only on a Pod without IPv6: nft refuses a jump into a chain that is not there.
    [Fact]
    public void EveryChainJumpedTo_IsMade()
    {
        _machine.Files["/etc/resolv.conf"] = "nameserver fd00::10\n";
        string text = Text("--redirect-dns");
        int jumps = 0;
        foreach (string line in text.Split('\n'))
        {
            string[] words = line.Split(' ');
            if (words.Length < 2 || words[^2] != "jump")
                continue;
            Assert.Contains($"add chain inet {words[3]} {words[^1]}\n", text);
            jumps++;
        }
        Assert.True(jumps >= 4, text);
        Assert.DoesNotContain("fd00::10", text);
    }

    [Fact]
    public void RemoveOthers_NamesTheTablesWithoutRules()
    {
        string text = NftablesWriter.ApplyText(RulePlan.Build(_machine.Config()), removeOthers: true);
        Assert.Contains("add table inet istio-proxy-mangle\ndelete table inet istio-proxy-mangle\n", text);
        Assert.DoesNotContain("delete table inet istio-proxy-nat", text);
    }

    [Fact]
    public void CleanupText_MakesWhatItDeletes() => Assert.Equal("""
        add table inet istio-proxy-nat
        delete table inet istio-proxy-nat
        add table inet istio-proxy-mangle
        delete table inet istio-proxy-mangle
        add table inet istio-proxy-raw
        delete table inet istio-proxy-raw

        """, NftablesWriter.CleanupText());
}
