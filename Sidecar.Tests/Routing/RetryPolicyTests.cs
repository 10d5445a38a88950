using System;
using System.Text;
using Sidecar.Routing;
using Xunit;
using static Sidecar.Tests.Routing.RoutingHarness;

namespace Sidecar.Tests.Routing;

public sealed class RetryPolicyTests
{
    private static RetryPolicy Policy(string json) =>
        TableOf($$$"""{"match":{"prefix":"/"},"route":{"cluster":"c","retry_policy":{{{json}}}}}""").FindHost("a"u8)!.Routes[0].Action!.Retry!;

    [Theory]
    [InlineData("", RetryOn.None)]
    [InlineData("5xx", RetryOn.ServerError)]
    [InlineData(" 5xx , reset ", RetryOn.ServerError | RetryOn.Reset)]
    [InlineData("connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes", RetryOn.ConnectFailure | RetryOn.RefusedStream | RetryOn.GrpcUnavailable | RetryOn.GrpcCancelled | RetryOn.RetriableStatusCodes)]
    [InlineData("gateway-error,reset-before-request", RetryOn.GatewayError | RetryOn.ResetBeforeRequest)]
    [InlineData("retriable-4xx,retriable-headers,envoy-ratelimited", RetryOn.Retriable4xx | RetryOn.RetriableHeaders | RetryOn.EnvoyRateLimited)]
    [InlineData("deadline-exceeded,internal,resource-exhausted", RetryOn.GrpcDeadlineExceeded | RetryOn.GrpcInternal | RetryOn.GrpcResourceExhausted)]
    [InlineData("nonsense,5XX,reset", RetryOn.Reset)]
    public void RetryOn_NamesJoinedByCommas(string text, object expected)
    {
        Assert.Equal((RetryOn)expected, RetryPolicy.ParseOn(Encoding.UTF8.GetBytes(text)));
        Assert.Equal((RetryOn)expected, Policy($$"""{"retry_on":"{{text}}"}""").On);
    }

    [Theory]
    [InlineData("cancelled, unavailable", RetryOn.GrpcCancelled | RetryOn.GrpcUnavailable)]
    [InlineData("5xx,internal", RetryOn.GrpcInternal)]
    public void GrpcRetryOn_KnowsGrpcNamesOnly(string text, object expected) => Assert.Equal((RetryOn)expected, RetryPolicy.ParseGrpcOn(Encoding.UTF8.GetBytes(text)));

    [Theory]
    [InlineData("503", new[] { 429, 503 })]
    [InlineData("503, 504,x,99,600,", new[] { 429, 503, 504 })]
    [InlineData("", new[] { 429 })]
    public void StatusCodes_OfTheRequest_AreAdded(string text, int[] expected) => Assert.Equal(expected, RetryPolicy.ParseStatusCodes(Encoding.UTF8.GetBytes(text), [429]));

    [Fact]
    public void Defaults_AreEnvoys()
    {
        var policy = Policy("{}");
        Assert.Equal((RetryOn.None, 1u, 0L, 0L), (policy.On, policy.NumRetries, policy.PerTryTimeoutMs, policy.PerTryIdleTimeoutMs));
        Assert.Equal((null, null, 300_000L, 1, false), (policy.BackOffBaseMs, policy.BackOffMaxMs, policy.ResetMaxMs, policy.HostSelectionAttempts, policy.PreviousHosts));
    }

    [Fact]
    public void EveryField_IsTaken()
    {
        var policy = Policy("""
            {"retry_on":"5xx","num_retries":3,"per_try_timeout":"2s","per_try_idle_timeout":"0.5s","retriable_status_codes":[502,429],
             "retry_back_off":{"base_interval":"0.1s","max_interval":"1s"},"host_selection_retry_max_attempts":"5",
             "retry_host_predicate":[{"name":"envoy.retry_host_predicates.previous_hosts"}],
             "rate_limited_retry_back_off":{"reset_headers":[{"name":"Retry-After"},{"name":"x-reset","format":"UNIX_TIMESTAMP"}],"max_interval":"10s"},
             "retriable_headers":[{"name":"x","exact_match":"1"}],"retriable_request_headers":[{"name":"y"}]}
            """);
        Assert.Equal((3u, 2000L, 500L), (policy.NumRetries, policy.PerTryTimeoutMs, policy.PerTryIdleTimeoutMs));
        Assert.Equal([502, 429], policy.RetriableStatusCodes);
        Assert.Equal((100L, 1000L, 10_000L, 5, true), (policy.BackOffBaseMs, policy.BackOffMaxMs, policy.ResetMaxMs, policy.HostSelectionAttempts, policy.PreviousHosts));
        Assert.True(policy.MatchesRetriableHeaders(Response(200, "x: 1")));
        Assert.False(policy.MatchesRetriableHeaders(Response(200, "x: 2")));
        Assert.True(policy.AllowsRequest(Request("/", "y: 1")));
        Assert.False(policy.AllowsRequest(Request("/")));
    }

    [Fact]
    public void PreviousHosts_ByTypeAsWell() =>
        Assert.True(Policy("""{"retry_host_predicate":[{"name":"any","typed_config":{"@type":"type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"}}]}""").PreviousHosts);

    [Theory]
    [InlineData("retry-after: 3", true, 3000)]
    [InlineData("retry-after: 0", true, 0)]
    [InlineData("retry-after: 11", false, 0)]
    [InlineData("retry-after: soon", false, 0)]
    [InlineData("x-reset: 1004", true, 4000)]
    [InlineData("x-reset: 999", false, 0)]
    [InlineData("x-reset: 9223372036854775807", false, 0)]
    [InlineData("other: 1", false, 0)]
    public void ResetHeaders_SayWhenToComeBack(string field, bool expected, long ms)
    {
        var policy = Policy("""{"rate_limited_retry_back_off":{"reset_headers":[{"name":"retry-after"},{"name":"x-reset","format":"UNIX_TIMESTAMP"}],"max_interval":"10s"}}""");
        bool given = policy.TryRateLimitedBackOff(Response(503, field), 1_000_000, out long waited);
        Assert.Equal(expected, given);
        if (given)
            Assert.Equal(ms, waited);
    }

    [Fact]
    public void VirtualHostPolicy_AppliesUnlessTheRouteHasOne()
    {
        var host = Table("""
            {"name":"t","virtual_hosts":[{"name":"v","domains":["*"],"retry_policy":{"num_retries":7},"routes":[
              {"match":{"path":"/own"},"route":{"cluster":"c","retry_policy":{"num_retries":2}}},{"match":{"prefix":"/"},"route":{"cluster":"c"}}]}]}
            """).FindHost("a"u8)!;
        Assert.Equal(2u, host.Routes[0].Action!.Retry!.NumRetries);
        Assert.Equal(7u, host.Routes[1].Action!.Retry!.NumRetries);
    }
}
