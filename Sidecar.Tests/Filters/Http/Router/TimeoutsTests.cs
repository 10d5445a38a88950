using Sidecar.Filters.Http.Router;
using Sidecar.Routing;
using Xunit;
using static Sidecar.Tests.Routing.RoutingHarness;

namespace Sidecar.Tests.Filters.Http.Router;

public sealed class TimeoutsTests
{
    private static Timeouts Read(string action, long clusterMaxStreamMs = 0, params string[] fields)
    {
        string more = action.Length == 0 ? "" : "," + action;
        var route = TableOf($$$"""{"match":{"prefix":"/"},"route":{"cluster":"c"{{{more}}}}}""").FindHost("x"u8)!.Routes[0];
        return Timeouts.Read(Request("/", fields), route.Action!, clusterMaxStreamMs);
    }

    [Theory]
    [InlineData("", 15_000)]
    [InlineData(""" "timeout":"0s" """, 0)]
    [InlineData(""" "timeout":"1.5s" """, 1500)]
    [InlineData(""" "timeout":"0.000000001s" """, 1)]
    public void Response_DefaultsToFifteenSeconds(string action, long expected) => Assert.Equal(expected, Read(action).ResponseMs);

    [Fact]
    public void Request_MayAskForOtherTimes_AndTheFieldsGo()
    {
        var route = TableOf("""{"match":{"prefix":"/"},"route":{"cluster":"c"}}""").FindHost("x"u8)!.Routes[0];
        var head = Request("/", "x-envoy-upstream-rq-timeout-ms: 700", "x-envoy-upstream-rq-per-try-timeout-ms: 300");
        var timeouts = Timeouts.Read(head, route.Action!, 0);
        Assert.Equal((700L, 300L, 300L), (timeouts.ResponseMs, timeouts.PerTryMs, timeouts.ExpectedMs));
        Assert.Null(Values(head, "x-envoy-upstream-rq-timeout-ms"));
        Assert.Null(Values(head, "x-envoy-upstream-rq-per-try-timeout-ms"));
    }

    [Fact]
    public void PerTry_AsLongAsTheWhole_IsNone()
    {
        Assert.Equal(0, Read(""" "timeout":"1s","retry_policy":{"per_try_timeout":"1s"} """).PerTryMs);
        Assert.Equal(999, Read(""" "timeout":"1s","retry_policy":{"per_try_timeout":"0.999s"} """).PerTryMs);
        Assert.Equal(5000, Read(""" "timeout":"0s","retry_policy":{"per_try_timeout":"5s"} """).PerTryMs);
    }

    [Theory]
    // max_grpc_timeout, offset                                              grpc-timeout  expected
    [InlineData(""" "max_grpc_timeout":"0s" """, "3S", 3000)]
    [InlineData(""" "max_grpc_timeout":"2s" """, "3S", 2000)]
    [InlineData(""" "max_grpc_timeout":"5s" """, "3S", 3000)]
    [InlineData(""" "max_grpc_timeout":"5s" """, "", 5000)]
    [InlineData(""" "max_grpc_timeout":"0s" """, "", 0)]
    [InlineData(""" "max_grpc_timeout":"0s","grpc_timeout_offset":"1s" """, "3S", 2000)]
    [InlineData(""" "max_grpc_timeout":"0s","grpc_timeout_offset":"4s" """, "3S", 3000)]
    [InlineData("", "3S", 15_000)]
    public void Grpc_DeadlineOfTheRequest(string action, string grpcTimeout, long expected)
    {
        string[] fields = grpcTimeout.Length == 0 ? ["content-type: application/grpc"] : ["content-type: application/grpc", "grpc-timeout: " + grpcTimeout];
        Assert.Equal(expected, Read(action, 0, fields).ResponseMs);
    }

    [Fact]
    public void MaxStream_RouteOverCluster_GrpcHeaderOverBoth()
    {
        Assert.Equal(9000, Read("", 9000).MaxStreamMs);
        Assert.Equal(4000, Read(""" "max_stream_duration":{"max_stream_duration":"4s"} """, 9000).MaxStreamMs);
        const string WithHeader = """ "max_stream_duration":{"max_stream_duration":"4s","grpc_timeout_header_max":"6s","grpc_timeout_header_offset":"1s"} """;
        Assert.Equal(2000, Read(WithHeader, 9000, "content-type: application/grpc", "grpc-timeout: 3S").MaxStreamMs);
        Assert.Equal(6000, Read(WithHeader, 9000, "content-type: application/grpc", "grpc-timeout: 9S").MaxStreamMs);
        Assert.Equal(4000, Read(WithHeader, 9000).MaxStreamMs);
    }
}
