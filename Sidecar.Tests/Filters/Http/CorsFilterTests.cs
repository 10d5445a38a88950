using Envoy.Extensions.Filters.Http.Cors.V3;
using Sidecar.Filters;
using Sidecar.Filters.Http;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Filters.Http;

public class CorsFilterTests
{
    private const string Policy = """
        {"allowOriginStringMatch": [{"exact": "https://a.org"}, {"suffix": ".b.org"}], "allowMethods": "GET, PUT", "allowHeaders": "x-a", "exposeHeaders": "x-b",
         "maxAge": "600", "allowCredentials": true}
        """;

    private static FilterHarness Cors(string policy = Policy, ulong seed = 1)
    {
        var harness = new FilterHarness(seed);
        harness.Use(CorsFilter.Create(new Cors(), harness.Config));
        harness.OnRoute("envoy.filters.http.cors", CorsFilter.CreateRouteConfig(FilterHarness.Parse(CorsPolicy.Parser, policy), harness.Config));
        return harness;
    }

    [Fact]
    public void Preflight_AllowedOrigin_IsAnsweredHere()
    {
        using var cors = Cors();
        Assert.Equal(FilterStatus.Stop, cors.Head("OPTIONS", ("origin", "https://a.org"), ("access-control-request-method", "PUT")));
        Assert.Equal(["reply 200 cors_response ''"], cors.Actions);
        Assert.Equal("https://a.org", cors.ReplyField("access-control-allow-origin"));
        Assert.Equal("GET, PUT", cors.ReplyField("access-control-allow-methods"));
        Assert.Equal("x-a", cors.ReplyField("access-control-allow-headers"));
        Assert.Equal("600", cors.ReplyField("access-control-max-age"));
        Assert.Equal("true", cors.ReplyField("access-control-allow-credentials"));
        Assert.Equal("", cors.ReplyField("access-control-expose-headers"));
        Assert.Equal(1, cors.Stat("http.t.cors.origin_valid"));
    }

    [Fact]
    public void Preflight_OtherOrigin_GoesUpstream()
    {
        using var cors = Cors();
        Assert.Equal(FilterStatus.Continue, cors.Head("OPTIONS", ("origin", "https://evil.org"), ("access-control-request-method", "PUT")));
        Assert.Equal(1, cors.Stat("http.t.cors.origin_invalid"));
        cors.ResponseHead();
        Assert.Equal("", cors.Field("access-control-allow-origin"));
    }

    [Fact]
    public void Preflight_OtherOrigin_NotForwardedWhenSoConfigured()
    {
        using var cors = Cors("""{"allowOriginStringMatch": [{"exact": "https://a.org"}], "forwardNotMatchingPreflights": false}""");
        Assert.Equal(FilterStatus.Stop, cors.Head("OPTIONS", ("origin", "https://evil.org"), ("access-control-request-method", "PUT")));
        Assert.Equal("", cors.ReplyField("access-control-allow-origin"));
    }

    [Theory]
    [InlineData("https://a.org", true)]
    [InlineData("https://sub.b.org", true)]
    [InlineData("https://b.org", false)]
    [InlineData("https://a.org.evil", false)]
    public void ActualRequest_MarksTheResponse(string origin, bool allowed)
    {
        using var cors = Cors();
        Assert.Equal(FilterStatus.Continue, cors.Head("GET", ("origin", origin)));
        cors.ResponseHead();
        Assert.Equal(allowed ? origin : "", cors.Field("access-control-allow-origin"));
        Assert.Equal(allowed ? "x-b" : "", cors.Field("access-control-expose-headers"));
        Assert.Equal(allowed ? "true" : "", cors.Field("access-control-allow-credentials"));
    }

    [Fact]
    public void OptionsWithoutRequestMethod_IsNoPreflight()
    {
        using var cors = Cors();
        Assert.Equal(FilterStatus.Continue, cors.Head("OPTIONS", ("origin", "https://a.org")));
        cors.ResponseHead();
        Assert.Equal("https://a.org", cors.Field("access-control-allow-origin"));
    }

    [Fact]
    public void NoOrigin_NothingHappens()
    {
        using var cors = Cors();
        Assert.Equal(FilterStatus.Continue, cors.Head("GET"));
        cors.ResponseHead();
        Assert.Equal("", cors.Field("access-control-allow-origin"));
        Assert.Equal(0, cors.Stat("http.t.cors.origin_valid"));
    }

    [Fact]
    public void NoPolicy_NothingHappens()
    {
        using var harness = new FilterHarness();
        harness.Use(CorsFilter.Create(new Cors(), harness.Config));
        Assert.Equal(FilterStatus.Continue, harness.Head("OPTIONS", ("origin", "https://a.org"), ("access-control-request-method", "PUT")));
    }

    [Fact]
    public void Star_AllowsAnyOrigin()
    {
        using var cors = Cors("""{"allowOriginStringMatch": [{"exact": "*"}]}""");
        cors.Head("GET", ("origin", "https://anybody.org"));
        cors.ResponseHead();
        Assert.Equal("https://anybody.org", cors.Field("access-control-allow-origin"));
    }

    [Fact]
    public void ShadowOnly_CountsAndChangesNothing()
    {
        using var cors = Cors("""{"allowOriginStringMatch": [{"exact": "https://a.org"}], "filterEnabled": {"defaultValue": {"numerator": 0}}, "shadowEnabled": {"defaultValue": {"numerator": 100}}}""");
        Assert.Equal(FilterStatus.Continue, cors.Head("OPTIONS", ("origin", "https://a.org"), ("access-control-request-method", "PUT")));
        Assert.Equal(1, cors.Stat("http.t.cors.origin_valid"));
    }

    [Fact]
    public void EnabledForAShare_AllShadowed_ActsOnThatShareOnly()
    {
        using var cors = Cors("""{"allowOriginStringMatch": [{"exact": "https://a.org"}], "filterEnabled": {"defaultValue": {"numerator": 10}}, "shadowEnabled": {"defaultValue": {"numerator": 100}}}""");
        int acted = 0;
        for (int i = 0; i < 1000; i++)
        {
            if (cors.Head("OPTIONS", ("origin", "https://a.org"), ("access-control-request-method", "PUT")) == FilterStatus.Stop)
                acted++;
            cors.End();
        }
        Assert.InRange(acted, 60, 140);
        Assert.Equal(1000, cors.Stat("http.t.cors.origin_valid"));
    }

    [Fact]
    public void Reset_NextStreamStartsClean()
    {
        using var cors = Cors();
        cors.Head("GET", ("origin", "https://a.org"));
        cors.End();
        cors.Head("GET");
        cors.ResponseHead();
        Assert.Equal("", cors.Field("access-control-allow-origin"));
    }
}
