using System.Linq;
using System.Net;
using Sidecar.Capture;
using Xunit;

namespace Sidecar.Tests.Capture;

public class CaptureConfigTests
{
    private readonly TestMachine _machine = new();

    [Fact]
    public void Defaults_AreIstios()
    {
        CaptureConfig config = _machine.Config();
        Assert.Equal(("15001", "15006", "15008"), (config.ProxyPort, config.InboundCapturePort, config.InboundTunnelPort));
        Assert.Equal(["1337"], config.ProxyUids);
        Assert.Equal(["1337"], config.ProxyGids);
        Assert.Equal((InterceptionMode.Redirect, 1337u, 133u), (config.Mode, config.TproxyMark, config.TproxyRouteTable));
        Assert.True(config.InboundPorts.IsEmpty);
        Assert.False(config.OutboundAll);
        Assert.True(config.OwnerGroups.All);
        Assert.Equal("127.0.0.1/32", config.LoopbackRangeV4);
        Assert.Equal((15002, 5000), (config.ProbePort, config.ProbeTimeoutMs));
        Assert.False(config.EnableIPv6);
    }

    // One bad value each: the line starts with the flag and says what it may hold.
    [Theory]
    [InlineData("-p", "0", "--envoy-port: \"0\" is not a port; give 1 to 65535")]
    [InlineData("-p", "", "--envoy-port: \"\" is not a port; give 1 to 65535")]
    [InlineData("-z", "65536", "--inbound-capture-port: \"65536\" is not a port; give 1 to 65535")]
    [InlineData("-e", "+80", "--inbound-tunnel-port: \"+80\" is not a port; give 1 to 65535")]
    [InlineData("-b", "80,http", "--istio-inbound-ports: \"http\" is not a port; give a comma separated list of 1 to 65535 or first:last, or * alone")]
    [InlineData("-b", "*,80", "--istio-inbound-ports: \"*\" is not a port; give a comma separated list of 1 to 65535 or first:last, or * alone")]
    [InlineData("-b", "90:80", "--istio-inbound-ports: \"90:80\" is not a port; give a comma separated list of 1 to 65535 or first:last, or * alone")]
    [InlineData("-d", "*", "--istio-local-exclude-ports: \"*\" is not a port; give a comma separated list of 1 to 65535 or first:last")]
    [InlineData("-q", "80 81", "--istio-outbound-ports: \"80 81\" is not a port; give a comma separated list of 1 to 65535 or first:last")]
    [InlineData("-o", "80\n-F", "--istio-local-outbound-ports-exclude: \"80\n-F\" is not a port; give a comma separated list of 1 to 65535 or first:last")]
    [InlineData("-i", "10.0.0.1", "--istio-service-cidr: \"10.0.0.1\" is not an address range; give a comma separated list such as 10.0.0.0/8, or * alone")]
    [InlineData("-i", "10.0.0.0/33", "--istio-service-cidr: \"10.0.0.0/33\" is not an address range; give a comma separated list such as 10.0.0.0/8, or * alone")]
    [InlineData("-i", "10/8", "--istio-service-cidr: \"10/8\" is not an address range; give a comma separated list such as 10.0.0.0/8, or * alone")]
    [InlineData("-i", "010.0.0.0/8", "--istio-service-cidr: \"010.0.0.0/8\" is not an address range; give a comma separated list such as 10.0.0.0/8, or * alone")]
    [InlineData("-x", "fd00::/129", "--istio-service-exclude-cidr: \"fd00::/129\" is not an address range; give a comma separated list such as 10.0.0.0/8, or * alone")]
    [InlineData("-x", "fe80::1%eth0/64", "--istio-service-exclude-cidr: \"fe80::1%eth0/64\" is not an address range; give a comma separated list such as 10.0.0.0/8, or * alone")]
    [InlineData("-x", "*", "--istio-service-exclude-cidr: * would exclude everything; leave --istio-service-cidr empty to capture nothing outbound")]
    [InlineData("-m", "tproxy", "--istio-inbound-interception-mode: \"tproxy\" is not a mode; give REDIRECT or TPROXY")]
    [InlineData("-t", "0x539", "--istio-inbound-tproxy-mark: \"0x539\" is not a packet mark; give a decimal number from 1 to 4294967295 other than 1338")]
    [InlineData("-t", "1338", "--istio-inbound-tproxy-mark: \"1338\" is not a packet mark; give a decimal number from 1 to 4294967295 other than 1338")]
    [InlineData("-r", "main", "--istio-inbound-tproxy-route-table: \"main\" is not a routing table; give a decimal number from 1 to 4294967295")]
    [InlineData("-u", "1337 -j ACCEPT", "--proxy-uid: \"1337 -j ACCEPT\" is neither a number nor a name; give a comma separated list of ids or names")]
    [InlineData("-g", "-1", "--proxy-gid: \"-1\" is neither a number nor a name; give a comma separated list of ids or names")]
    [InlineData("-c", "a-name-of-sixteen", "--istio-exclude-interfaces: \"a-name-of-sixteen\" is not the name of an interface; give a comma separated list of names of at most 15 characters")]
    [InlineData("-k", "eth0/1", "--kube-virt-interfaces: \"eth0/1\" is not the name of an interface; give a comma separated list of names of at most 15 characters")]
    [InlineData("--iptables-probe-port", "x", "--iptables-probe-port: \"x\" is not a port; give a decimal number from 1 to 65535")]
    [InlineData("--probe-timeout", "5", "--probe-timeout: \"5\" is not a duration; give for example 5s or 500ms")]
    [InlineData("--probe-timeout", "1.2.3s", "--probe-timeout: \"1.2.3s\" is not a duration; give for example 5s or 500ms")]
    [InlineData("--probe-timeout", "9999999h", "--probe-timeout: \"9999999h\" is not a duration; give for example 5s or 500ms")]
    [InlineData("--force-iptables-binary", "nf", "--force-iptables-binary: \"nf\" is unknown; give legacy or nft, or leave it out")]
    public void BadValue_IsOneLineThatSaysWhatToGive(string flag, string value, string error) => Assert.Equal([error], _machine.Errors(flag, value));

    [Theory]
    [InlineData("127.0.0.1", false)]
    [InlineData("127.0.0.1/7", false)]
    [InlineData("127.0.0.1/33", false)]
    [InlineData("10.0.0.1/8", false)]
    [InlineData("::1/128", false)]
    [InlineData("127.0.0.1/8", true)]
    [InlineData("127.9.0.0/16", true)]
    public void LoopbackRange_MustBeOne(string range, bool good)
    {
        _machine.Environment["ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR"] = range;
        string[] expected = good ? [] : [$"ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR: \"{range}\" is not an IPv4 loopback range; give 127.x.y.z/8 to /32"];
        Assert.Equal(expected, _machine.Errors());
    }

    [Fact]
    public void Problems_AreAllReported() => Assert.Equal(3, _machine.Errors("-p", "x", "-m", "y", "--nothing").Count);

    [Theory]
    [InlineData("1m30s", 90_000)]
    [InlineData("1.5s", 1500)]
    [InlineData("250ms", 250)]
    [InlineData("1h", 3_600_000)]
    public void ProbeTimeout_IsAGoDuration(string text, int ms) => Assert.Equal(ms, _machine.Config("--probe-timeout", text).ProbeTimeoutMs);

    [Fact]
    public void Lists_SkipEmptyItems()
    {
        Assert.Equal(["6000", "7000"], _machine.Config("-d", "6000,7000,").InboundPortsExcluded);
        Assert.Equal(["80"], _machine.Config("-b", ",80,,").InboundPorts.Items);
    }

    [Fact]
    public void Uid_DefaultsToTheProxysUserThenTo1337_GidToUid()
    {
        _machine.Files["/etc/passwd"] = "root:x:0:0::/:/bin/sh\nistio-proxy:x:1400:1500::/:/bin/false\nenvoy:x:1600:1600::/:/bin/false\n";
        CaptureConfig config = _machine.Config();
        Assert.Equal(("1400", "1400"), (config.ProxyUids.Single(), config.ProxyGids.Single()));
        _machine.Environment["ENVOY_USER"] = "envoy";
        Assert.Equal(["1600"], _machine.Config().ProxyUids);
        _machine.Environment["ENVOY_USER"] = "nobody-here";
        Assert.Equal(["1337"], _machine.Config().ProxyUids);
        _machine.Environment["PROXY_UID"] = "1,2";
        Assert.Equal(["1", "2"], _machine.Config().ProxyGids);
        Assert.Equal(["3"], _machine.Config("-g", "3").ProxyGids);
        Assert.Equal(["4"], _machine.Config("-u", "4").ProxyUids);
    }

    [Theory]
    [InlineData(false, false, "10.0.0.1", "fd00::1")]
    [InlineData(true, true, "10.0.0.1", "fd00::1")]
    [InlineData(false, true, "fd00::1", "10.0.0.1")]
    [InlineData(false, true, "127.0.0.1", "::1", "fe80::1", "169.254.1.1", "fd00::1")]
    [InlineData(false, false, "fe80::1", "10.0.0.1", "fd00::1")]
    [InlineData(true, false, "10.0.0.1", "fe80::1")]
    [InlineData(true, false, "10.0.0.1", "::6")]
    [InlineData(false, false, "::ffff:10.0.0.1", "fd00::1")]
    public void IPv6_IsOnWhenThePodsAddressIsOrWithDualStackAny(bool dualStack, bool on, params string[] addresses)
    {
        _machine.Addresses.Clear();
        _machine.Addresses.AddRange(addresses.Select(IPAddress.Parse));
        Assert.Equal(on, _machine.Config(dualStack ? ["--dual-stack"] : []).EnableIPv6);
    }

    [Fact]
    public void NoAddress_IsAnErrorForARealRunOnly()
    {
        _machine.Addresses.Clear();
        _machine.Addresses.Add(IPAddress.Loopback);
        Assert.Equal(["no local address besides loopback and link-local; run after the Pod's network is set up, or use --dry-run"], _machine.Errors());
        Assert.Empty(_machine.Errors("-n"));
        Assert.Empty(_machine.Errors("--cleanup-only"));
    }

    [Fact]
    public void Dns_ServersComeFromResolvConf()
    {
        _machine.Files["/etc/resolv.conf"] = "# nameserver 9.9.9.9\nsearch a b\nnameserver 10.96.0.10\n nameserver\tfd00::10 \nnameserver fe80::1%eth0\nnameserver no\n";
        CaptureConfig config = _machine.Config("--redirect-dns");
        Assert.True(config.RedirectDns);
        Assert.Equal(["10.96.0.10"], config.DnsServersV4);
        Assert.Equal(["fd00::10", "fe80::1"], config.DnsServersV6);
        Assert.Empty(_machine.Config("--redirect-dns", "--capture-all-dns").DnsServersV4);
        Assert.Empty(_machine.Config().DnsServersV4);
    }

    [Fact]
    public void Dns_NothingToCapture_IsOffWithAWarning()
    {
        _machine.Files["/etc/resolv.conf"] = "";
        Assert.Equal(0, _machine.Run("-n", "--redirect-dns"));
        Assert.Contains("warning: --redirect-dns: /etc/resolv.conf names no server", _machine.Error.ToString());
        Assert.DoesNotContain("DNS", _machine.Output.ToString());
        _machine.Files.Remove("/etc/resolv.conf");
        Assert.Equal(["--redirect-dns: cannot read /etc/resolv.conf; mount it, or use --capture-all-dns"], _machine.Errors("--redirect-dns"));
    }

    [Fact]
    public void OwnerGroups_MoreThanOneRuleHolds_AreRefused()
    {
        _machine.Environment["ISTIO_OUTBOUND_OWNER_GROUPS"] = string.Join(',', Enumerable.Range(1, 64));
        Assert.Empty(_machine.Errors());
        _machine.Environment["ISTIO_OUTBOUND_OWNER_GROUPS"] += ",65";
        Assert.StartsWith("ISTIO_OUTBOUND_OWNER_GROUPS: 65 groups, at most 64", _machine.Errors().Single());
    }

    [Fact]
    public void Ranges_AreWrittenInCanonicalForm()
    {
        CaptureConfig config = _machine.Config("-i", "10.1.2.3/8,FD00:0:0::1/64");
        Assert.Equal(["10.1.2.3/8"], config.OutboundRangesV4);
        Assert.Equal(["fd00::1/64"], config.OutboundRangesV6);
        Assert.False(config.OutboundRangesHoldLoopback);
        Assert.True(_machine.Config("-i", "10.0.0.0/8,::1/128").OutboundRangesHoldLoopback);
    }
}
