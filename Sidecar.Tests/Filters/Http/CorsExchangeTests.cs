using Sidecar.Filters.Http;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Filters.Http;

/// <summary>Preflights answered and responses marked, by the route's policy.</summary>
public class CorsExchangeTests
{
    private const string Route = """
        {"match": {"prefix": "/"}, "route": {"cluster": "up"}, "typed_per_filter_config": {"envoy.filters.http.cors": {
         "@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy", "allow_origin_string_match": [{"exact": "https://a.example"}],
         "allow_methods": "GET, PUT", "allow_headers": "x-token", "expose_headers": "x-seen", "max_age": "60", "allow_credentials": true,
         "forward_not_matching_preflights": false}}}
        """;

    [Fact]
    public void Preflight_AllowedOrigin_AnsweredWithThePolicy()
    {
        using var plane = Plane(out _, out var client);
        string response = plane.Exchange(client, "OPTIONS /x HTTP/1.1\r\nhost: a\r\norigin: https://a.example\r\naccess-control-request-method: PUT\r\n\r\n", "\r\n\r\n");
        Assert.StartsWith("HTTP/1.1 200 OK\r\n", response);
        Assert.Contains("access-control-allow-origin: https://a.example\r\n", response);
        Assert.Contains("access-control-allow-methods: GET, PUT\r\n", response);
        Assert.Contains("access-control-allow-headers: x-token\r\n", response);
        Assert.Contains("access-control-allow-credentials: true\r\n", response);
        Assert.Contains("access-control-max-age: 60\r\n", response);
        Assert.Equal(1, plane.Stat("http.http.cors.origin_valid"));
    }

    [Fact]
    public void Preflight_OtherOrigin_AnsweredWithoutPermission()
    {
        using var plane = Plane(out _, out var client);
        string response = plane.Exchange(client, "OPTIONS /x HTTP/1.1\r\nhost: a\r\norigin: https://b.example\r\naccess-control-request-method: PUT\r\n\r\n", "\r\n\r\n");
        Assert.StartsWith("HTTP/1.1 200 OK\r\n", response);
        Assert.DoesNotContain("access-control-allow-origin", response);
        Assert.Equal(1, plane.Stat("http.http.cors.origin_invalid"));
    }

    [Theory]
    [InlineData("https://a.example", true)]
    [InlineData("https://a.example.evil", false)]
    [InlineData("http://a.example", false)]
    public void Actual_Response_IsMarkedForAllowedOriginsOnly(string origin, bool allowed)
    {
        using var plane = Plane(out var upstream, out var client);
        client.Send($"GET / HTTP/1.1\r\nhost: a\r\norigin: {origin}\r\n\r\n");
        var server = upstream.Accept();
        plane.Expect(server, "\r\n\r\n");
        server.Send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        string response = plane.Expect(client, "ok");
        Assert.Equal(allowed, response.Contains($"access-control-allow-origin: {origin}\r\n"));
        Assert.Equal(allowed, response.Contains("access-control-expose-headers: x-seen\r\n"));
    }

    [Fact]
    public void NoOrigin_PassesUntouched()
    {
        using var plane = Plane(out var upstream, out var client);
        client.Send("OPTIONS / HTTP/1.1\r\nhost: a\r\n\r\n");
        var server = upstream.Accept();
        Assert.StartsWith("OPTIONS / HTTP/1.1\r\n", plane.Expect(server, "\r\n\r\n"));
    }

    private static DataPlaneHarness Plane(out FakeUpstream upstream, out TestPeer client)
    {
        var plane = new DataPlaneHarness();
        upstream = plane.Upstream();
        plane.Apply(new TestSnapshot().Cluster("up", false, upstream.Port).Http("http", 0, Route));
        var stats = plane.Stats.Scope(CorsFilter.Schema, "http.http.cors.").Cells(0);
        client = plane.ConnectTo(plane.Manager(worker => new CorsFilter(stats, worker)));
        return plane;
    }
}
