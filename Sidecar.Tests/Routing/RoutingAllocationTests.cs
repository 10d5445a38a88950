using System;
using System.Linq;
using Sidecar.Filters.Http.Router;
using Sidecar.Http;
using Sidecar.Routing;
using Xunit;
using static Sidecar.Tests.Routing.RoutingHarness;

namespace Sidecar.Tests.Routing;

/// <summary>Routing a request allocates nothing once everything has been used: matching, picking, hashing, header operations, rewrites, cookies.</summary>
public sealed class RoutingAllocationTests
{
    private static string Routes() => string.Join(',', Enumerable.Range(0, 50).Select(i => $$"""{"match":{"prefix":"/p{{i}}/"},"route":{"cluster":"c"} }"""));

    private static readonly RouteTable s_table = Table($$"""
        {"name":"t","request_headers_to_add":[{"header":{"key":"x-t","value":"%DOWNSTREAM_REMOTE_ADDRESS% %PROTOCOL% %START_TIME(%s.%3f)%"} }],
         "internal_only_headers":["x-inside"],
         "virtual_hosts":[{"name":"o","domains":["*.other","one.*"]},{"name":"v","domains":["shop.example","*.example"],"response_headers_to_add":[{"header":{"key":"x-r","value":"%RESPONSE_CODE%"} }],
          "routes":[{{Routes()}},
           {"match":{"safe_regex":{"regex":"/never/[a-z]+x"},"headers":[{"name":"q","exact_match":"1"}]},"route":{"cluster":"c"} },
           {"match":{"prefix":"/api","headers":[{"name":"x-v","safe_regex_match":{"regex":"v[0-9]+,v[0-9]+"} },{"name":"x-none","present_match":false}],"query_parameters":[{"name":"k","string_match":{"exact":"1"} }]},
            "request_headers_to_add":[{"header":{"key":"x-a","value":"%REQ(x-v):5%"},"append":false}],"request_headers_to_remove":["x-old"],
            "route":{"weighted_clusters":{"clusters":[{"name":"c","weight":1},{"name":"d","weight":1}]},"prefix_rewrite":"/v2","host_rewrite_literal":"new","append_x_forwarded_host":true,
             "hash_policy":[{"header":{"header_name":"x-v"} },{"cookie":{"name":"s","ttl":"60s"} },{"query_parameter":{"name":"k"} },{"connection_properties":{"source_ip":true} }]} }]}]}
        """);

    private readonly RequestHead _request = RequestTo("SHOP.example", "/api/x?k=1", "x-v: v1", "x-v: v2", "x-old: 1", "x-inside: 1", "cookie: a=b");
    private readonly RequestHead _head = new();
    private readonly ResponseHead _response = new() { Status = 200 };
    private TestFacts _facts = null!;
    private ulong _random;

    private void RouteOne()
    {
        _head.Reset();
        _head.CopyFrom(_request);
        _response.Reset();
        _response.Status = 200;
        s_table.RemoveInternalOnly(_head);
        var match = s_table.Match(new RouteInput(_head, _random += 0x9E3779B97F4A7C15, false));
        var action = match.Route!.Action!;
        _ = action.PickCluster(_head, match.Weighted)!.Slot;
        RequestRewrite.Apply(_head, match.Route, match.Weighted, _facts, false, default);
        _ = action.Hash(_facts);
        RequestRewrite.ApplyToResponse(_response, match.Route, match.Weighted, _facts);
        action.SetCookies(_facts, _response);
    }

    [Fact]
    public void RoutingARequest_AllocatesNothing()
    {
        // An address written by the product's stream takes no strings; the test's own facts would.
        _facts = new TestFacts { Request = _head, Response = _response, IsSilent = true };
        long allocated = -1;
        // The first rounds fill pools and let tiered compilation finish; a later round must be clean.
        for (int round = 0; round < 50 && allocated != 0; round++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int i = 0; i < 1000; i++)
                RouteOne();
            allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        }
        Assert.Equal(0, allocated);
        Assert.Equal("/v2/x?k=1", Values(_head, ":path"));
        Assert.Equal("v1", Values(_head, "x-a"));
        Assert.Equal("200", Values(_response, "x-r"));
        Assert.NotNull(Values(_response, "set-cookie"));
    }
}
