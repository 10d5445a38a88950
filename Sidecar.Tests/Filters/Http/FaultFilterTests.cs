using System;
using Envoy.Extensions.Filters.Http.Fault.V3;
using Sidecar.Filters;
using Sidecar.Filters.Http;
using Sidecar.Telemetry;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Filters.Http;

public class FaultFilterTests
{
    private const string All = """ "percentage": {"numerator": 100} """;

    private static FilterHarness Fault(string config, ulong seed = 1)
    {
        var harness = new FilterHarness(seed);
        return harness.Use(FaultFilter.Create(Parse(config), harness.Config));
    }

    [Fact]
    public void Empty_DoesNothing()
    {
        using var fault = Fault("{}");
        Assert.Equal(FilterStatus.Continue, fault.Head("GET"));
    }

    [Fact]
    public void Delay_StopsForItsTime()
    {
        using var fault = Fault("""{"delay": {"fixedDelay": "2s", @all}}""");
        Assert.Equal(FilterStatus.Stop, fault.Head("GET"));
        fault.Loop.Advance(1_999);
        Assert.Empty(fault.Actions);
        fault.Loop.Advance(1);
        Assert.Equal(["continue request"], fault.Actions);
        Assert.Equal("DI", ResponseFlagNames.Format(fault.Info.Flags));
        Assert.Equal(1, fault.Stat("http.t.fault.delays_injected"));
        Assert.Equal(1, fault.Stat("http.t.fault.active_faults"));
        fault.End();
        Assert.Equal(0, fault.Stat("http.t.fault.active_faults"));
    }

    [Fact]
    public void Delay_StreamEndsMeanwhile_TimerIsGone()
    {
        using var fault = Fault("""{"delay": {"fixedDelay": "2s", @all}}""");
        fault.Head("GET");
        fault.End();
        fault.Loop.Advance(10_000);
        Assert.Empty(fault.Actions);
    }

    [Fact]
    public void Abort_RepliesAtOnce()
    {
        using var fault = Fault("""{"abort": {"httpStatus": 418, @all}}""");
        Assert.Equal(FilterStatus.Stop, fault.Head("GET"));
        Assert.Equal(["reply 418 fault_filter_abort 'fault filter abort'"], fault.Actions);
        Assert.Equal("FI", ResponseFlagNames.Format(fault.Info.Flags));
        Assert.Equal(1, fault.Stat("http.t.fault.aborts_injected"));
    }

    [Fact]
    public void Abort_WithGrpcStatus()
    {
        using var fault = Fault("""{"abort": {"grpcStatus": 5, @all}}""");
        fault.Head("POST");
        Assert.Equal(["reply 200 fault_filter_abort grpc 5 'fault filter abort'"], fault.Actions);
    }

    [Fact]
    public void DelayThenAbort()
    {
        using var fault = Fault("""{"delay": {"fixedDelay": "1s", @all}, "abort": {"httpStatus": 500, @all}}""");
        Assert.Equal(FilterStatus.Stop, fault.Head("GET"));
        fault.Loop.Advance(1_000);
        Assert.Equal(["reply 500 fault_filter_abort 'fault filter abort'"], fault.Actions);
        Assert.Equal("DI,FI", ResponseFlagNames.Format(fault.Info.Flags));
    }

    [Fact]
    public void Share_OfRequests()
    {
        using var fault = Fault("""{"abort": {"httpStatus": 500, "percentage": {"numerator": 20}}}""");
        int aborted = 0;
        for (int i = 0; i < 1000; i++)
        {
            if (fault.Head("GET") == FilterStatus.Stop)
                aborted++;
            fault.End();
        }
        Assert.InRange(aborted, 150, 250);
    }

    [Theory]
    [InlineData("100", null, 100)]
    [InlineData("100", "0", -1)]
    [InlineData("100", "100", 100)]
    [InlineData("x", null, -1)]
    [InlineData(null, null, -1)]
    public void HeaderDelay(string? delay, string? percentage, int expectedMs)
    {
        using var fault = Fault("""{"delay": {"headerDelay": {}, @all}}""");
        (string, string)[] fields = [.. Given("x-envoy-fault-delay-request", delay), .. Given("x-envoy-fault-delay-request-percentage", percentage)];
        Assert.Equal(expectedMs < 0 ? FilterStatus.Continue : FilterStatus.Stop, fault.Head("GET", fields));
        if (expectedMs < 0)
            return;
        fault.Loop.Advance(expectedMs);
        Assert.Equal(["continue request"], fault.Actions);
    }

    [Theory]
    [InlineData("x-envoy-fault-abort-request", "404", "reply 404 fault_filter_abort 'fault filter abort'")]
    [InlineData("x-envoy-fault-abort-request", "199", null)]
    [InlineData("x-envoy-fault-abort-request", "600", null)]
    [InlineData("x-envoy-fault-abort-grpc-request", "7", "reply 200 fault_filter_abort grpc 7 'fault filter abort'")]
    [InlineData("x-envoy-fault-abort-grpc-request", "17", null)]
    public void HeaderAbort(string name, string value, string? reply)
    {
        using var fault = Fault("""{"abort": {"headerAbort": {}, @all}}""");
        fault.Head("GET", (name, value));
        if (reply is null)
            Assert.Empty(fault.Actions);
        else
            Assert.Equal([reply], fault.Actions);
    }

    [Fact]
    public void HeaderPercentage_CannotRaiseTheConfiguredShare()
    {
        using var fault = Fault("""{"abort": {"headerAbort": {}, "percentage": {"numerator": 0}}, "delay": {"fixedDelay": "1s", "percentage": {"numerator": 0}}}""");
        Assert.Equal(FilterStatus.Continue, fault.Head("GET", ("x-envoy-fault-abort-request", "500"), ("x-envoy-fault-abort-request-percentage", "100")));
    }

    [Fact]
    public void ResponseRateLimit_HoldsEachPieceForItsTime()
    {
        using var fault = Fault("""{"responseRateLimit": {"fixedLimit": {"limitKbps": 1}, @all}}""");
        Assert.Equal(FilterStatus.Continue, fault.Head("GET"));
        Assert.Equal(FilterStatus.Stop, fault.Filter.OnResponseBody(new byte[1024], false));
        fault.Loop.Advance(999);
        Assert.Empty(fault.Actions);
        fault.Loop.Advance(1);
        Assert.Equal(["continue response"], fault.Actions);
        Assert.Equal(1, fault.Stat("http.t.fault.response_rl_injected"));
    }

    [Fact]
    public void MaxActiveFaults_BeyondIsNotInjected()
    {
        using var fault = Fault("""{"delay": {"fixedDelay": "1s", @all}, "maxActiveFaults": 1}""");
        var other = new FilterHarness();
        Assert.Equal(FilterStatus.Stop, fault.Head("GET"));
        // Another stream of the same configuration.
        var second = FaultFilter.Create(Parse("""{"delay": {"fixedDelay": "1s", @all}, "maxActiveFaults": 0}"""), other.Config);
        other.Use(second);
        Assert.Equal(FilterStatus.Continue, other.Head("GET"));
        Assert.Equal(1, other.Stat("http.t.fault.faults_overflow"));
        other.Dispose();
    }

    [Fact]
    public void Headers_OnlyMatchingRequests()
    {
        using var fault = Fault("""{"abort": {"httpStatus": 500, @all}, "headers": [{"name": "x-user", "stringMatch": {"exact": "test"}}]}""");
        Assert.Equal(FilterStatus.Continue, fault.Head("GET"));
        fault.End();
        Assert.Equal(FilterStatus.Stop, fault.Head("GET", ("x-user", "test")));
    }

    [Fact]
    public void DownstreamNodes_OnlyThisNode()
    {
        using var here = Fault("""{"abort": {"httpStatus": 500, @all}, "downstreamNodes": ["test-node"]}""");
        Assert.Equal(FilterStatus.Stop, here.Head("GET"));
        using var there = Fault("""{"abort": {"httpStatus": 500, @all}, "downstreamNodes": ["another"]}""");
        Assert.Equal(FilterStatus.Continue, there.Head("GET"));
    }

    [Fact]
    public void RouteConfig_Wins()
    {
        using var fault = Fault("""{"abort": {"httpStatus": 500, @all}}""");
        fault.OnRoute("envoy.filters.http.fault", FaultFilter.CreateRouteConfig(Parse("""{"abort": {"httpStatus": 404, @all}}"""), fault.Config));
        fault.Head("GET");
        Assert.StartsWith("reply 404", Assert.Single(fault.Actions));
    }

    [Theory]
    [InlineData("""{"abort": {"httpStatus": 199}}""", "abort.http_status")]
    [InlineData("""{"abort": {"httpStatus": 600}}""", "abort.http_status")]
    [InlineData("""{"abort": {"grpcStatus": 17}}""", "abort.grpc_status")]
    [InlineData("""{"abort": {}}""", "abort")]
    [InlineData("""{"delay": {}}""", "delay")]
    [InlineData("""{"delay": {"fixedDelay": "0s"}}""", "delay.fixed_delay")]
    [InlineData("""{"responseRateLimit": {}}""", "response_rate_limit")]
    [InlineData("""{"responseRateLimit": {"fixedLimit": {}}}""", "response_rate_limit.fixed_limit.limit_kbps")]
    [InlineData("""{"headers": [{"name": ""}]}""", "headers[0]")]
    public void Refused_ByItsPath(string config, string path)
    {
        using var harness = new FilterHarness();
        Assert.Null(FaultFilter.Create(Parse(config), harness.Config));
        Assert.StartsWith(path, Assert.Single(harness.Config.Rejections).Path);
    }

    private static HTTPFault Parse(string json) => FilterHarness.Parse(HTTPFault.Parser, json.Replace("@all", All, StringComparison.Ordinal));

    private static (string, string)[] Given(string name, string? value) => value is null ? [] : [(name, value)];
}
