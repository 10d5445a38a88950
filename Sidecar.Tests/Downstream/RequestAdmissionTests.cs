using System;
using Sidecar.Http.H2;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Downstream;

/// <summary>What a request must be before any filter sees it.</summary>
public class RequestAdmissionTests
{
    [Fact]
    public void MissingHost_Http1_Is400()
    {
        Assert.StartsWith("HTTP/1.1 400 Bad Request\r\n", Refused("GET / HTTP/1.1\r\n\r\n", ""));
    }

    [Theory]
    [InlineData("/a/../b", "/b")]
    [InlineData("/a/./b", "/a/b")]
    [InlineData("/%61", "/a")]
    [InlineData("/a//b", "/a//b")]
    public void NormalizePath_GoesUpstreamInCanonicalForm(string sent, string received) =>
        Assert.StartsWith($"GET {received} HTTP/1.1\r\n", Forwarded($"GET {sent} HTTP/1.1\r\nhost: a\r\n\r\n", """ "normalize_path": true """));

    [Fact]
    public void WithoutNormalizePath_PathIsLeftAlone() =>
        Assert.StartsWith("GET /a/../b HTTP/1.1\r\n", Forwarded("GET /a/../b HTTP/1.1\r\nhost: a\r\n\r\n", ""));

    [Fact]
    public void MergeSlashes() => Assert.StartsWith("GET /a/b HTTP/1.1\r\n", Forwarded("GET //a///b HTTP/1.1\r\nhost: a\r\n\r\n", """ "merge_slashes": true """));

    [Fact]
    public void EscapedSlashes_Rejected()
    {
        string response = Refused("GET /a%2Fb HTTP/1.1\r\nhost: a\r\n\r\n", """ "path_with_escaped_slashes_action": "REJECT_REQUEST" """);
        Assert.StartsWith("HTTP/1.1 400 Bad Request\r\n", response);
    }

    [Fact]
    public void EscapedSlashes_Redirected()
    {
        string response = Refused("GET /a%2Fb?q HTTP/1.1\r\nhost: a\r\n\r\n", """ "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT" """);
        Assert.StartsWith("HTTP/1.1 307 Temporary Redirect\r\n", response);
        Assert.Contains("location: /a/b?q\r\n", response);
    }

    [Theory]
    [InlineData("a.org:8080", """ "strip_any_host_port": true """, "a.org")]
    [InlineData("a.org", """ "strip_any_host_port": true """, "a.org")]
    [InlineData("[2001:db8::1]:80", """ "strip_any_host_port": true """, "[2001:db8::1]")]
    [InlineData("[2001:db8::1]", """ "strip_any_host_port": true """, "[2001:db8::1]")]
    [InlineData("a.org.:8080", """ "strip_trailing_host_dot": true """, "a.org:8080")]
    [InlineData("a.org.", """ "strip_trailing_host_dot": true """, "a.org")]
    [InlineData("a.org:1", """ "strip_matching_host_port": true """, "a.org:1")]
    [InlineData("a.org:$port", """ "strip_matching_host_port": true """, "a.org")]
    public void HostPort_Stripped(string host, string manager, string received) =>
        Assert.Contains($"host: {received}\r\n", Forwarded($"GET / HTTP/1.1\r\nhost: {host}\r\n\r\n", manager));

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Underscores_Rejected(bool http2)
    {
        using var plane = DataPlaneHarness.Http(out _, manager: """ "common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST"} """);
        if (http2)
        {
            var client = new H2Wire(plane, plane.Connect(), isServer: false);
            client.Send(H2.Headers(1, H2.Get(("a_b", "1"))));
            client.ExpectEnd(1);
            Assert.Equal("400", client.Header(1, ":status"));
            return;
        }
        Assert.StartsWith("HTTP/1.1 400 Bad Request\r\n", plane.Exchange(plane.Connect(), "GET / HTTP/1.1\r\nhost: a\r\na_b: 1\r\n\r\n", "\r\n\r\n"));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Underscores_Dropped(bool http2)
    {
        using var plane = DataPlaneHarness.Http(out var upstream, manager: """ "common_http_protocol_options": {"headers_with_underscores_action": "DROP_HEADER"} """);
        if (http2)
            new H2Wire(plane, plane.Connect(), isServer: false).Send(H2.Headers(1, H2.Get(("a_b", "1"), ("c_d", "2"), ("e-f", "3"))));
        else
            plane.Connect().Send("GET / HTTP/1.1\r\nhost: a\r\na_b: 1\r\nc_d: 2\r\ne-f: 3\r\n\r\n");
        string request = plane.Expect(upstream.Accept(), "\r\n\r\n");
        Assert.DoesNotContain("a_b", request);
        Assert.DoesNotContain("c_d", request);
        Assert.Contains("e-f: 3\r\n", request);
    }

    [Fact]
    public void OptionsAsterisk_MatchesNoPath_Is404() => Assert.StartsWith("HTTP/1.1 404 Not Found\r\n", Refused("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", ""));

    private static string Forwarded(string request, string manager)
    {
        using var plane = DataPlaneHarness.Http(out var upstream, manager: manager);
        var client = plane.Connect();
        client.Send(request.Replace("$port", plane.Listeners.Find("http")!.Sockets[0].Address.Port.ToString(), StringComparison.Ordinal));
        return plane.Expect(upstream.Accept(), "\r\n\r\n");
    }

    private static string Refused(string request, string manager)
    {
        using var plane = DataPlaneHarness.Http(out var upstream, manager: manager);
        string response = plane.Exchange(plane.Connect(), request, "\r\n\r\n");
        Assert.False(upstream.TryAccept(out _));
        return response;
    }
}
