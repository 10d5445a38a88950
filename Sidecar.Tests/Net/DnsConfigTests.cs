using System.Linq;
using Sidecar.Net;
using Xunit;

namespace Sidecar.Tests.Net;

public sealed class DnsConfigTests
{
    [Fact]
    public void PodsResolvConf_IsRead()
    {
        DnsConfig config = DnsConfig.Parse(
            "# made by kubelet\nnameserver 10.96.0.10\nnameserver fe80::1%2\nnameserver nonsense\nsearch ns.svc.cluster.local svc.cluster.local. cluster.local\noptions ndots:5 timeout:1 attempts:3 rotate\n", "");
        Assert.Equal(["10.96.0.10:53", "[fe80::1%2]:53"], config.Servers.Select(s => s.ToString()));
        Assert.Equal(["ns.svc.cluster.local", "svc.cluster.local", "cluster.local"], config.Search);
        Assert.Equal((5, 1000, 3), (config.Dots, config.TimeoutMs, config.Attempts));
    }

    [Fact]
    public void EmptyFiles_MeanLoopbackAndDefaults()
    {
        DnsConfig config = DnsConfig.Load("/nonexistent/resolv.conf", "/nonexistent/hosts");
        Assert.Equal("127.0.0.1:53", config.Servers.Single().ToString());
        Assert.Equal((1, 5000, 2), (config.Dots, config.TimeoutMs, config.Attempts));
        Assert.Empty(config.Search);
    }

    [Fact]
    public void Options_AreCapped_AndServersAreThree()
    {
        DnsConfig config = DnsConfig.Parse("options ndots:99 timeout:0 attempts:99\n" + string.Concat(Enumerable.Range(1, 5).Select(i => $"nameserver 10.0.0.{i}\n")), "");
        Assert.Equal((15, 1000, 5), (config.Dots, config.TimeoutMs, config.Attempts));
        Assert.Equal(3, config.Servers.Count);
    }

    [Fact]
    public void Hosts_ByAnyName_InAnyCase_AcrossLines()
    {
        DnsConfig config = DnsConfig.Parse("", "127.0.0.1 localhost # me\n10.0.0.5\tApp app.ns\n::5 app\n10.0.0.5 app\nbroken line\n");
        Assert.Equal(["10.0.0.5", "::5"], config.Hosts("aPP")!.Select(a => a.HostString()));
        Assert.Equal(["10.0.0.5"], config.Hosts("app.ns")!.Select(a => a.HostString()));
        Assert.Null(config.Hosts("me"));
    }
}
