using System.Globalization;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Scenarios;

/// <summary>
/// h2spec's cases, strict ones included, against a cleartext listener. The listener speaks HTTP/2 alone: where the codec is AUTO, bytes that are no
/// preface are HTTP/1, and their answer is not one that an HTTP/2 client can read.
/// </summary>
[Trait("Category", "Linux")]
[Collection(ExecutableCollection.Name)]
public sealed class H2specTests
{
    private const string Http2Only = """ "codec_type": "HTTP2" """;

    [SkippableFact]
    public void H2spec_Strict_PassesWhole_WhereTheProxyAnswersItself()
    {
        SidecarProcess.Require();
        Command.RequireOwnBuild("h2spec", "github.com/summerwind/h2spec");
        int port = FreePort.Next();
        using var folder = new TestFolder();
        using var sidecar = SidecarProcess.Run(folder.Write("direct.json", new TestSnapshot()
            .Http("direct", port, TestSnapshot.Answer("hello"), Http2Only).ToString()));
        ExpectAllPassed(port);
        Assert.Equal(0, sidecar.Stat("http.direct.downstream_rq_active"));
    }

    [SkippableTheory]
    [InlineData(false)]
    [InlineData(true)]
    public void H2spec_Strict_PassesWhole_WhereAnUpstreamAnswers(bool http2Upstream)
    {
        SidecarProcess.Require();
        Command.RequireOwnBuild("h2spec", "github.com/summerwind/h2spec");
        var ports = FreePort.Next(2);
        using var folder = new TestFolder();
        using var upstream = SidecarProcess.Run(folder.Write("upstream.json", new TestSnapshot()
            .Http("upstream", ports[0], TestSnapshot.Answer("hello")).ToString()));
        using var sidecar = SidecarProcess.Run(folder.Write("proxy.json", new TestSnapshot()
            .Http("proxy", ports[1], TestSnapshot.To("up"), Http2Only).Cluster("up", http2Upstream, ports[0]).ToString()));
        ExpectAllPassed(ports[1]);
        Assert.Equal(0, sidecar.Stat("http.proxy.downstream_rq_active"));
    }

    private static void ExpectAllPassed(int port)
    {
        var result = Command.Run("h2spec", "--strict", "-h", "127.0.0.1", "-p", port.ToString(CultureInfo.InvariantCulture));
        Assert.Contains("\n147 tests, 147 passed, 0 skipped, 0 failed", result.Output);
    }
}
