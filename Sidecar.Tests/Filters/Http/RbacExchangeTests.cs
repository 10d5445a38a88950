using System;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Filters.Http;

/// <summary>RBAC in a whole data plane: what the client gets, and whose rules hold on which route.</summary>
public sealed class RbacExchangeTests
{
    private const string Type = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.";

    private static string Rules(string header) =>
        "{\"policies\": {\"p\": {\"permissions\": [{\"header\": {\"name\": \"" + header + "\"}}], \"principals\": [{\"any\": true}]}}}";

    private static string Filter(string rules, string more = "") =>
        "{\"name\": \"envoy.filters.http.rbac\", \"typed_config\": {\"@type\": \"" + Type + "RBAC\", \"rules\": " + rules + "}" + more + "}";

    private static string PerRoute(string config, string name = "envoy.filters.http.rbac") => "\"typed_per_filter_config\": {\"" + name + "\": " + config + "}";

    private static string OfRoute(string rbac) => "{\"@type\": \"" + Type + "RBACPerRoute\"" + rbac + "}";

    private const string Disabled = """{"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": true}""";
    private const string Enabled = """{"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": {} }""";

    private static string Route(string prefix, string more = "") =>
        "{\"match\": {\"prefix\": \"" + prefix + "\"}, \"direct_response\": {\"status\": 200, \"body\": {\"inline_string\": \"in\"}}" + (more.Length > 0 ? ", " + more : "") + "}";

    private static DataPlaneHarness Plane(string routes, string filter)
    {
        var plane = new DataPlaneHarness();
        plane.Apply(new TestSnapshot().Http("http", 0, routes).WithHttpFilter("http", filter));
        return plane;
    }

    private static string Ask(DataPlaneHarness plane, string path, params string[] fields)
    {
        var client = plane.Connect();
        string request = $"GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n" + string.Concat(Array.ConvertAll(fields, field => field + "\r\n")) + "\r\n";
        client.Send(request);
        return plane.ExpectEnd(client);
    }

    [Fact]
    public void Denied_Gets403AndTheText()
    {
        using var plane = Plane(Route("/"), Filter(Rules("key")));
        string denied = Ask(plane, "/");
        Assert.StartsWith("HTTP/1.1 403 Forbidden\r\n", denied, StringComparison.Ordinal);
        Assert.EndsWith("\r\n\r\nRBAC: access denied", denied, StringComparison.Ordinal);
        Assert.Contains("content-type: text/plain\r\n", denied, StringComparison.Ordinal);
        Assert.EndsWith("\r\n\r\nin", Ask(plane, "/", "key: 1"), StringComparison.Ordinal);
        Assert.Equal((1, 1), (plane.Stat("http.http.rbac.allowed"), plane.Stat("http.http.rbac.denied")));
        Assert.Equal(1, plane.Stat("http.http.downstream_rq_4xx"));
    }

    [Fact]
    public void DeniedGrpc_GetsStatus7()
    {
        using var plane = Plane(Route("/"), Filter(Rules("key")));
        string denied = Ask(plane, "/a.B/C", "content-type: application/grpc");
        Assert.StartsWith("HTTP/1.1 200 OK\r\n", denied, StringComparison.Ordinal);
        Assert.Contains("grpc-status: 7\r\n", denied, StringComparison.Ordinal);
        Assert.Contains("grpc-message: RBAC: access denied\r\n", denied, StringComparison.Ordinal);
    }

    [Fact]
    public void Routes_HaveRulesOfTheirOwn_OrNone()
    {
        using var plane = Plane(
            string.Join(',', Route("/own", PerRoute(OfRoute(", \"rbac\": {\"rules\": " + Rules("other") + "}"))), Route("/open", PerRoute(OfRoute(""))), Route("/off", PerRoute(Disabled)), Route("/on", PerRoute(Enabled)), Route("/")),
            Filter(Rules("key")));
        Assert.Contains(" 403 ", Ask(plane, "/"), StringComparison.Ordinal);
        Assert.Contains(" 403 ", Ask(plane, "/on"), StringComparison.Ordinal);
        Assert.Contains(" 403 ", Ask(plane, "/own", "key: 1"), StringComparison.Ordinal);
        Assert.Contains(" 200 ", Ask(plane, "/own", "other: 1"), StringComparison.Ordinal);
        Assert.Contains(" 200 ", Ask(plane, "/open"), StringComparison.Ordinal);
        Assert.Contains(" 200 ", Ask(plane, "/off"), StringComparison.Ordinal);
    }

    [Fact]
    public void FilterDisabledInItsChain_WorksWhereARouteEnablesIt()
    {
        using var plane = Plane(
            string.Join(',', Route("/on", PerRoute(Enabled)), Route("/own", PerRoute(OfRoute(", \"rbac\": {\"rules\": " + Rules("other") + "}"))), Route("/")),
            Filter(Rules("key"), ", \"disabled\": true"));
        Assert.Contains(" 200 ", Ask(plane, "/"), StringComparison.Ordinal);
        Assert.Contains(" 403 ", Ask(plane, "/on"), StringComparison.Ordinal);
        Assert.Contains(" 403 ", Ask(plane, "/own"), StringComparison.Ordinal);
    }

    [Fact]
    public void RoutesCallTheFilterByTheNameItHasInItsChain()
    {
        string filter = Filter(Rules("key")).Replace("\"name\": \"envoy.filters.http.rbac\"", "\"name\": \"first\"", StringComparison.Ordinal);
        using var plane = Plane(string.Join(',', Route("/open", PerRoute(OfRoute(""), "first")), Route("/other", PerRoute(OfRoute(""))), Route("/")), filter);
        Assert.Contains(" 200 ", Ask(plane, "/open"), StringComparison.Ordinal);
        Assert.Contains(" 403 ", Ask(plane, "/other"), StringComparison.Ordinal);
    }

    [Fact]
    public void DeniedWithABody_IsAnsweredAtOnce()
    {
        using var plane = Plane(Route("/"), Filter(Rules("key")));
        var client = plane.Connect();
        client.Send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n");
        Assert.Contains("connection: close\r\n", plane.Expect(client, "RBAC: access denied"), StringComparison.Ordinal);
    }
}
