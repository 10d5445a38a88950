using Sidecar.Wire;
using Xunit;

namespace Sidecar.Tests.Wire;

public sealed class BootstrapBytesTests
{
    private const string Bootstrap = "envoy.config.bootstrap.v3.Bootstrap";

    [Fact]
    public void StaticResources_AreLeftOut_AndNothingElse()
    {
        byte[] whole = WireHarness.Read("""{"node":{"id":"n"},"static_resources":{"clusters":[{"name":"c"}]},"dynamic_resources":{"ads_config":{}},"admin":{}}""", Bootstrap);
        byte[] rest = WireHarness.Read("""{"node":{"id":"n"},"dynamic_resources":{"ads_config":{}},"admin":{}}""", Bootstrap);
        Assert.Equal(rest, BootstrapBytes.WithoutStaticResources(whole));
        Assert.Equal(rest, BootstrapBytes.WithoutStaticResources(rest));
    }

    [Fact]
    public void BrokenBytes_StayAsTheyAre()
    {
        byte[] whole = WireHarness.Read("""{"static_resources":{"clusters":[{"name":"c"}]},"node":{"id":"n"}}""", Bootstrap);
        byte[] broken = whole[..^1];
        Assert.Equal(broken, BootstrapBytes.WithoutStaticResources(broken));
    }
}
