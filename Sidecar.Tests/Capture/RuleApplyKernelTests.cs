using System.IO;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Capture;

/// <summary>Real runs against a real kernel, each in a network namespace of its own. Need root and iptables (or nft).</summary>
public partial class RuleApplyKernelTests
{
    private static string[] Injected(string mode) =>
    [
        "istio-iptables", "-p", "15001", "-z", "15006", "-u", "1337", "-m", mode, "-i", "*", "-x", "", "-b", "*", "-d", "15090,15021,15020",
        "--log_output_level=default:info", "--dual-stack",
    ];

    [SkippableTheory]
    [InlineData("REDIRECT")]
    [InlineData("TPROXY")]
    public void InjectedPod_AfterARealRun_TheKernelHoldsThePublishedRules(string mode)
    {
        string v4 = File.ReadAllText(ProjectTree.Shared($"testdata/istio/iptables-injected/injected.{mode}.v4.txt"));
        string v6 = File.ReadAllText(ProjectTree.Shared($"testdata/istio/iptables-injected/injected.{mode}.v6.txt"));
        NetworkNamespace.Run(inside =>
        {
            inside.MustCapture(Injected(mode));
            Assert.Equal(NetworkNamespace.WithoutComments(v4), inside.Save());
            Assert.Equal(NetworkNamespace.WithoutComments(v6), inside.Save("ip6tables-save"));

            // Twice changes nothing and says so; the way back leaves nothing.
            inside.MustCapture(Injected(mode));
            Assert.Contains("IPv4: the rules are in place already", inside.Said);
            Assert.Contains("IPv6: the rules are in place already", inside.Said);
            Assert.Equal(NetworkNamespace.WithoutComments(v4), inside.Save());
            Assert.Equal(NetworkNamespace.WithoutComments(v6), inside.Save("ip6tables-save"));
            inside.MustCapture([.. Injected(mode), "--cleanup-only"]);
            Assert.Equal("", inside.Rules());
            Assert.Equal("", inside.Rules("ip6tables-save"));
        }, "iptables-save", "ip6tables-save");
    }

    [SkippableFact]
    public void InjectedPod_RedirectV4Only_LeavesIPv6Alone()
    {
        NetworkNamespace.Run(inside =>
        {
            inside.MustCapture("-i", "*", "-b", "*", "-d", "15090,15021,15020");
            Assert.Contains("-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT\n", inside.Rules());
            Assert.Contains("-A ISTIO_OUTPUT -j ISTIO_REDIRECT\n", inside.Rules());
            Assert.Equal("", inside.Rules("ip6tables-save"));
            Assert.DoesNotContain("::6", inside.Shell("ip", "-6", "addr", "show", "dev", "lo"));
        }, "iptables-save", "ip6tables-save");
    }

    // Every kind of rule there is, in both variants of iptables: written, recognised on the second run, removed without a trace by a
    // cleanup that is told nothing but what it needs to know the strays by.
    [SkippableTheory]
    [InlineData("nft", "-b", "80,8000:8080", "-q", "5432", "-o", "25,7000:7010", "-i", "10.96.0.0/12,fd00:96::/112", "-x", "10.96.0.1/32,fd00:96::1/128")]
    [InlineData("nft", "-b", "*", "-i", "*", "-k", "eth1,veth+", "-c", "eth9,tun0")]
    [InlineData("nft", "-m", "TPROXY", "-b", "*", "-i", "*", "-c", "eth9", "-k", "eth1", "--drop-invalid")]
    [InlineData("nft", "-b", "*", "-i", "*", "--redirect-dns", "--capture-all-dns", "-u", "1337,0", "-g", "1337,0")]
    [InlineData("nft", "-m", "TPROXY", "-b", "80", "-t", "99", "-r", "300", "-i", "127.1.2.3/32")]
    [InlineData("nft")]
    [InlineData("legacy", "-b", "80,8000:8080", "-q", "5432", "-o", "25", "-i", "10.96.0.0/12,fd00:96::/112", "-x", "10.96.0.1/32")]
    [InlineData("legacy", "-m", "TPROXY", "-b", "*", "-i", "*", "-c", "eth9", "-k", "eth1", "--drop-invalid", "--redirect-dns", "--capture-all-dns")]
    public void Apply_ThenAgain_ThenCleanup_LeavesNothing(string variant, params string[] args)
    {
        NetworkNamespace.Run(inside =>
        {
            string save = $"iptables-{variant}-save", save6 = $"ip6tables-{variant}-save";
            SkipUnlessUsable(inside, variant);
            string rules = inside.Shell("ip", "rule"), rules6 = inside.Shell("ip", "-6", "rule"), addresses = inside.Shell("ip", "addr", "show", "dev", "lo");
            string[] all = [.. args, "--dual-stack", "--force-iptables-binary", variant];

            inside.MustCapture(all);
            string applied = inside.Rules(save), applied6 = inside.Rules(save6);
            Assert.Contains("-A OUTPUT -j ISTIO_OUTPUT\n", applied);
            Assert.Contains("-A OUTPUT -j ISTIO_OUTPUT\n", applied6);
            Assert.Contains("inet6 ::6/128", inside.Shell("ip", "addr"));

            inside.MustCapture(all);
            Assert.Equal(applied, inside.Rules(save));
            Assert.Equal(applied6, inside.Rules(save6));

            inside.MustCapture([.. all, "--cleanup-only"]);
            Assert.Equal("", inside.Rules(save));
            Assert.Equal("", inside.Rules(save6));
            Assert.Equal(rules, inside.Shell("ip", "rule"));
            Assert.Equal(rules6, inside.Shell("ip", "-6", "rule"));
            Assert.Equal(addresses, inside.Shell("ip", "addr", "show", "dev", "lo"));
        }, $"iptables-{variant}-save", $"ip6tables-{variant}-save");
    }

    [SkippableFact]
    public void Tproxy_RoutesMarkedPacketsToLoopback()
    {
        NetworkNamespace.Run(inside =>
        {
            inside.MustCapture(Injected("TPROXY"));
            inside.MustCapture(Injected("TPROXY"));
            foreach (string family in (string[])["-4", "-6"])
            {
                string rule = inside.Shell("ip", family, "rule");
                Assert.Contains("from all fwmark 0x539 lookup 133", rule);
                Assert.True(rule.Split("fwmark").Length == 2, "once, though run twice: " + rule);
                Assert.StartsWith("local default dev lo", inside.Shell("ip", family, "route", "show", "table", "133"));
            }
            inside.MustCapture("istio-clean-iptables");
            Assert.DoesNotContain("fwmark", inside.Shell("ip", "rule") + inside.Shell("ip", "-6", "rule"));
            Assert.DoesNotContain("local default", inside.Shell("ip", "route", "show", "table", "all") + inside.Shell("ip", "-6", "route", "show", "table", "all"));
            Assert.Equal("", inside.Rules());
            Assert.Equal("", inside.Rules("ip6tables-save"));
        }, "iptables-save", "ip6tables-save");
    }

    [SkippableFact]
    public void Detect_LegacyRulesAreThere_LegacyIsUsed()
    {
        NetworkNamespace.Run(inside =>
        {
            SkipUnlessUsable(inside, "legacy");
            inside.MustCapture("-b", "*");
            Assert.NotEqual("", inside.Rules("iptables-nft-save"));
            inside.MustCapture("--cleanup-only");

            inside.Shell("iptables-legacy", "-t", "nat", "-A", "POSTROUTING", "-j", "ACCEPT");
            inside.MustCapture("-b", "*");
            Assert.Equal("", inside.Rules("iptables-nft-save"));
            Assert.Contains("ISTIO_INBOUND", inside.Rules("iptables-legacy-save"));
            inside.MustCapture("--cleanup-only");
            Assert.Equal("-A POSTROUTING -j ACCEPT\n", inside.Rules("iptables-legacy-save"));
        }, "iptables-legacy-save", "iptables-nft-save");
    }

    [SkippableFact]
    public void Apply_OtherRulesOfOurs_NeedReconcile()
    {
        NetworkNamespace.Run(inside =>
        {
            inside.MustCapture("-b", "80", "-i", "*");
            string before = inside.Rules();

            Assert.Equal(1, inside.Capture("-b", "*", "-i", "*"));
            Assert.Contains("use --reconcile, or --cleanup-only first", inside.Said);
            Assert.Equal(before, inside.Rules());

            inside.MustCapture("-b", "*", "-i", "*", "--reconcile");
            string reconciled = inside.Rules();
            Assert.DoesNotContain("--dport 80 ", reconciled);
            Assert.DoesNotContain("DROP", reconciled);
            inside.MustCapture("--cleanup-only");
            inside.MustCapture("-b", "*", "-i", "*");
            Assert.Equal(inside.Rules(), reconciled);
        }, "iptables-save");
    }

    [SkippableFact]
    public void Cleanup_LeavesOtherPeoplesRulesAlone()
    {
        NetworkNamespace.Run(inside =>
        {
            inside.Feed("*nat\n-N KUBE\n-A KUBE -j RETURN\n-A OUTPUT -d 10.1.0.0/16 -j KUBE\nCOMMIT\n*filter\n-A INPUT -p icmp -j ACCEPT\nCOMMIT\n", "iptables-restore", "--noflush");
            string before = inside.Rules();
            inside.MustCapture(Injected("REDIRECT"));
            // Left twice by somebody: both go.
            inside.Feed("*nat\n-A OUTPUT -j ISTIO_OUTPUT\nCOMMIT\n", "iptables-restore", "--noflush");
            inside.MustCapture("--cleanup-only");
            Assert.Equal(before, inside.Rules());
        }, "iptables-save");
    }

    [SkippableTheory]
    [InlineData("-b", "80,8000:8080", "-q", "5432", "-o", "25,7000:7010", "-i", "10.96.0.0/12,fd00:96::/112", "-x", "10.96.0.1/32,fd00:96::1/128")]
    [InlineData("-m", "TPROXY", "-b", "*", "-d", "15090", "-i", "*", "-c", "eth9", "-k", "eth1,veth+,0a@b", "--drop-invalid", "--redirect-dns", "--capture-all-dns")]
    [InlineData("-b", "*", "-i", "*", "-d", "15090,15021,15020")]
    public void Nftables_ApplyTwiceThenCleanup_LeavesNothing(params string[] args)
    {
        NetworkNamespace.Run(inside =>
        {
            string[] all = [.. args, "--dual-stack", "--native-nftables"];
            inside.MustCapture(all);
            string applied = inside.Shell("nft", "-s", "list", "ruleset");
            Assert.Contains("table inet istio-proxy-nat {", applied);
            Assert.Contains("jump istio-output", applied);
            inside.MustCapture(all);
            Assert.Equal(applied, inside.Shell("nft", "-s", "list", "ruleset"));
            inside.MustCapture([.. all, "--cleanup-only"]);
            Assert.Equal("", inside.Shell("nft", "-s", "list", "ruleset"));
        }, "nft");
    }

    [SkippableFact]
    public void Nftables_Reconcile_RemovesTheTablesOfAnotherMode()
    {
        NetworkNamespace.Run(inside =>
        {
            inside.MustCapture("--native-nftables", "-m", "TPROXY", "-b", "*");
            Assert.Contains("istio-proxy-mangle", inside.Shell("nft", "list", "tables"));
            inside.MustCapture("--native-nftables", "-b", "*", "--reconcile");
            Assert.Equal("table inet istio-proxy-nat\n", inside.Shell("nft", "list", "tables"));
        }, "nft");
    }

    // What it is all for. A connection of the application to anywhere arrives at 15001, one from outside at 15006 (seen here from the
    // proxy's own user, whose connections to the Pod's address count as inbound), one to an excluded port where it was going.
    [SkippableTheory]
    [InlineData(false)]
    [InlineData(true)]
    public void Traffic_ArrivesWhereItShould(bool nftables)
    {
        NetworkNamespace.Run(inside =>
        {
            inside.MustCapture([.. Injected("REDIRECT"), nftables ? "--native-nftables" : "--dry-run=false"]);
            using TcpListener outbound = Listen(15001), inbound = Listen(15006), excluded = Listen(15020);

            Assert.True(Reaches("10.9.9.9", 80, outbound), "outbound");
            ActAs(1337, () => Assert.True(Reaches(NetworkNamespace.AddressV4, 80, inbound), "to oneself through the proxy"));
            ActAs(1337, () => Assert.False(Reaches("10.9.9.9", 80, outbound, wait: false), "the proxy's own connections are not captured"));
            Assert.True(Reaches("127.0.0.1", 15020, excluded), "loopback");
        }, nftables ? "nft" : "iptables-save");
    }

    // From outside, to a port nobody listens on: handed to the transparent socket by rule, delivered to it by mark, routing rule and
    // local route, with both addresses as they were.
    [SkippableTheory]
    [InlineData(false)]
    [InlineData(true)]
    public void Traffic_Tproxy_ArrivesWithItsOwnAddresses(bool nftables)
    {
        NetworkNamespace.Run(inside =>
        {
            inside.MustCapture([.. Injected("TPROXY"), nftables ? "--native-nftables" : "--dry-run=false"]);
            using var inbound = new TcpListener(IPAddress.Any, 15006);
            inbound.Server.SetRawSocketOption(0, 19, [1, 0, 0, 0]);           // IP_TRANSPARENT
            inbound.Start();
            EndPoint? local = null;
            TcpClient? client = null;
            inside.FromOutside(() =>
            {
                client = new TcpClient(AddressFamily.InterNetwork);
                client.Connect(NetworkNamespace.AddressV4, 80);
                local = client.Client.LocalEndPoint;
            });
            using (client)
            {
                Assert.True(inbound.Pending());
                using Socket accepted = inbound.AcceptSocket();
                Assert.Equal(new IPEndPoint(IPAddress.Parse(NetworkNamespace.AddressV4), 80), accepted.LocalEndPoint);
                Assert.Equal(local, accepted.RemoteEndPoint);
            }
        }, nftables ? "nft" : "iptables-save");
    }

    [SkippableTheory]
    [InlineData(false)]
    [InlineData(true)]
    public void Traffic_FromOutside_ArrivesAtTheInboundPort(bool nftables)
    {
        NetworkNamespace.Run(inside =>
        {
            inside.MustCapture([.. Injected("REDIRECT"), nftables ? "--native-nftables" : "--dry-run=false"]);
            using TcpListener inbound = Listen(15006), excluded = Listen(15021);
            inside.FromOutside(() =>
            {
                Assert.True(Reaches(NetworkNamespace.AddressV4, 8888, inbound), "captured");
                Assert.True(Reaches(NetworkNamespace.AddressV4, 15021, excluded), "excluded");
            });
        }, nftables ? "nft" : "iptables-save");
    }

    [SkippableFact]
    public void Validation_AsTheProxysUser_PassesWithRulesAndFailsWithout()
    {
        NetworkNamespace.Run(inside =>
        {
            string[] validate = [.. Injected("REDIRECT"), "--run-validation", "--skip-rule-apply"];
            ActAs(1337, () => Assert.Equal(126, inside.Capture([.. validate, "--probe-timeout", "1ms"])));
            Assert.Contains("validation failed: no redirection", inside.Said);
            inside.MustCapture(Injected("REDIRECT"));
            ActAs(1337, () => inside.MustCapture(validate));
            Assert.Contains("validation passed", inside.Said);
        }, "iptables-save");
    }

    private static void SkipUnlessUsable(NetworkNamespace inside, string variant)
    {
        _ = inside;
        Sidecar.Linux.ProcessResult probe = Sidecar.Linux.ChildProcess.Run(
            Sidecar.Linux.ChildProcess.Find("iptables-" + variant, System.Environment.GetEnvironmentVariable("PATH"))!, ["-t", "nat", "-S"]);
        Skip.IfNot(probe.Succeeded, $"this kernel cannot do iptables-{variant}: {probe.Error}");
    }

    private static TcpListener Listen(int port)
    {
        var listener = new TcpListener(IPAddress.Any, port);
        listener.Start();
        return listener;
    }

    // Connects and looks who accepted. What is redirected has arrived when connect returns; what is not may have nowhere to go and is not waited for.
    private static bool Reaches(string address, int port, TcpListener listener, bool wait = true)
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { Blocking = wait };
        try
        {
            socket.Connect(IPAddress.Parse(address), port);
        }
        catch (SocketException refused)
        {
            if (refused.SocketErrorCode != SocketError.WouldBlock)
                return false;
        }
        if (!listener.Server.Poll(0, SelectMode.SelectRead))
            return false;
        listener.AcceptSocket().Dispose();
        return true;
    }

    // The kernel's owner match looks at the file system identity of the thread that made the socket, which is this thread's alone.
    private static void ActAs(int user, System.Action act)
    {
        setfsuid(user);
        try
        {
            act();
        }
        finally
        {
            setfsuid(0);
        }
    }

    [LibraryImport("libc")]
    private static partial int setfsuid(int user);
}
