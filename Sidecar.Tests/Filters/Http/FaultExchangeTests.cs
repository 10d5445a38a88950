using Sidecar.Filters.Http;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Filters.Http;

/// <summary>Delays, aborts and slow responses, from configuration and from request headers.</summary>
public class FaultExchangeTests
{
    private const string Get = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    private const string All = """{"numerator": 100}""";

    [Fact]
    public void Abort_AnswersWithItsStatusAndFlag()
    {
        using var plane = Plane("\"abort\": {\"http_status\": 418, \"percentage\": " + All + "}", out _, out var client);
        string response = plane.Exchange(client, Get, "fault filter abort");
        Assert.StartsWith("HTTP/1.1 418 ", response);
        Assert.Equal(1, plane.Stat("http.http.fault.aborts_injected"));
        Assert.Equal(0, plane.Stat("http.http.fault.active_faults"));
    }

    [Fact]
    public void Abort_NoPercentage_NeverHappens()
    {
        using var plane = Plane("\"abort\": {\"http_status\": 418}", out var upstream, out var client);
        client.Send(Get);
        plane.Expect(upstream.Accept(), "\r\n\r\n");
        Assert.Equal(0, plane.Stat("http.http.fault.aborts_injected"));
    }

    [Fact]
    public void Delay_HoldsTheRequestForItsTime()
    {
        using var plane = Plane("\"delay\": {\"fixed_delay\": \"2s\", \"percentage\": " + All + "}", out var upstream, out var client);
        client.Send(Get);
        plane.ExpectStat("http.http.fault.delays_injected", 1);
        plane.Loop.Advance(1_999);
        Assert.False(upstream.TryAccept(out _));
        plane.Loop.Advance(1);
        plane.Expect(upstream.Accept(), "\r\n\r\n");
    }

    [Theory]
    [InlineData("", false)]
    [InlineData("x-envoy-fault-abort-request: 503\r\n", true)]
    [InlineData("x-envoy-fault-abort-request: 503\r\nx-envoy-fault-abort-request-percentage: 0\r\n", false)]
    [InlineData("x-envoy-fault-abort-request: 99\r\n", false)]
    public void HeaderAbort_DecidesByTheRequest(string headers, bool aborted)
    {
        using var plane = Plane("\"abort\": {\"header_abort\": {}, \"percentage\": " + All + "}", out var upstream, out var client);
        client.Send("GET / HTTP/1.1\r\nhost: a\r\n" + headers + "\r\n");
        if (aborted)
            Assert.StartsWith("HTTP/1.1 503 ", plane.Expect(client, "fault filter abort"));
        else
            plane.Expect(upstream.Accept(), "\r\n\r\n");
    }

    [Fact]
    public void MaxActiveFaults_BeyondIt_RequestsPass()
    {
        using var plane = Plane(
            "\"max_active_faults\": 0, \"abort\": {\"http_status\": 500, \"percentage\": " + All + "}", out var upstream, out var client);
        client.Send(Get);
        plane.Expect(upstream.Accept(), "\r\n\r\n");
        Assert.Equal(1, plane.Stat("http.http.fault.faults_overflow"));
    }

    [Fact]
    public void RateLimit_TheBodyComesAfterTheTimeItTakes()
    {
        using var plane = Plane("\"response_rate_limit\": {\"fixed_limit\": {\"limit_kbps\": 1}, \"percentage\": " + All + "}", out var upstream, out var client);
        client.Send(Get);
        var server = upstream.Accept();
        plane.Expect(server, "\r\n\r\n");
        server.Send("HTTP/1.1 200 OK\r\ncontent-length: 512\r\n\r\n" + new string('x', 512));
        plane.ExpectStat("http.http.fault.response_rl_injected", 1);
        plane.Expect(client, "\r\n\r\n");
        Assert.DoesNotContain("xxxx", client.Text);
        plane.Loop.Advance(1_000);
        plane.Expect(client, new string('x', 512));
    }

    private static DataPlaneHarness Plane(string fault, out FakeUpstream upstream, out TestPeer client)
    {
        var plane = new DataPlaneHarness();
        upstream = plane.Upstream();
        string route = """
            {"match": {"prefix": "/"}, "route": {"cluster": "up"}, "typed_per_filter_config": {"envoy.filters.http.fault": {
             "@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault", $fault}}}
            """.Replace("$fault", fault);
        plane.Apply(new TestSnapshot().Cluster("up", false, upstream.Port).Http("http", 0, route));
        var stats = plane.Stats.Scope(FaultFilter.Schema, "http.http.fault.").Cells(0);
        client = plane.ConnectTo(plane.Manager(worker => new FaultFilter(new FaultFilter.Config(), stats, worker)));
        return plane;
    }
}
