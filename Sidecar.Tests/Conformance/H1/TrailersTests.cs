using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Conformance.H1;

/// <summary>
/// Trailers of HTTP/1.1 where they are forwarded (enable_trailers on both sides), byte for byte, through the published executable. varnishtest reads
/// a chunked body only to its end, so this is no script.
/// </summary>
[Trait("Category", "Linux")]
[Collection(ExecutableCollection.Name)]
public sealed class TrailersTests
{
    private const string Enabled = """ "http_protocol_options": {"enable_trailers": true} """;

    [SkippableFact]
    public void RequestTrailers_AreForwarded()
    {
        using var between = new Between(Enabled, Enabled);
        between.Client.Send("POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Trailer: one\r\nx-other: two\r\n\r\n");
        using var upstream = between.Upstream.Accept();
        Assert.Contains("transfer-encoding: chunked\r\n", upstream.ReadThrough("\r\n\r\n"));
        Assert.Equal("5\r\nhello\r\n0\r\nx-trailer: one\r\nx-other: two\r\n\r\n", upstream.ReadThrough("\r\n\r\n"));
        upstream.Send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        Assert.Equal(200, between.Client.ReadResponse().Status);
    }

    [SkippableFact]
    public void ResponseTrailers_AreForwarded()
    {
        using var between = new Between(Enabled, Enabled);
        between.Client.Send("GET / HTTP/1.1\r\nhost: test\r\nte: trailers\r\n\r\n");
        using var upstream = between.Upstream.Accept();
        upstream.ReadThrough("\r\n\r\n");
        upstream.Send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 42\r\n\r\n");
        var response = between.Client.ReadResponse();
        Assert.Equal("ok", response.Body);
        Assert.Equal("x-sum: 42\r\n", response.Trailers);
        // The connection is still at the start of a response.
        between.Client.Send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
        upstream.ReadThrough("\r\n\r\n");
        upstream.Send("HTTP/1.1 204 No Content\r\n\r\n");
        Assert.Equal(204, between.Client.ReadResponse().Status);
    }

    [SkippableFact]
    public void FramingFieldsAsTrailers_NeverArriveAsSuch()
    {
        using var between = new Between(Enabled, Enabled);
        between.Client.Send("POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n0\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\nhost: other\r\nx-kept: yes\r\n\r\n");
        using var upstream = between.Upstream.Accept();
        upstream.ReadThrough("\r\n\r\n");
        var trailers = upstream.ReadThrough("\r\n\r\n");
        Assert.DoesNotContain("content-length", trailers);
        Assert.DoesNotContain("transfer-encoding", trailers);
        Assert.DoesNotContain("host:", trailers);
        Assert.Contains("x-kept: yes\r\n", trailers);
    }

    [SkippableFact]
    public void NotEnabledUpstream_TrailersEndHere()
    {
        using var between = new Between(Enabled, "");
        between.Client.Send("POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-trailer: one\r\n\r\n");
        using var upstream = between.Upstream.Accept();
        upstream.ReadThrough("\r\n\r\n");
        Assert.Equal("0\r\n\r\n", upstream.ReadThrough("\r\n\r\n"));
    }

    /// <summary>A client, a sidecar with one listener and one cluster, and an upstream.</summary>
    private sealed class Between : System.IDisposable
    {
        private readonly Owned _owned = new();

        internal Between(string listener, string cluster)
        {
            SidecarProcess.Require();
            var folder = _owned.Push(new TestFolder());
            Upstream = _owned.Push(new RawServer());
            int port = FreePort.Next();
            _owned.Push(SidecarProcess.Run(folder.Write("trailers.json",
                new TestSnapshot().Http("in", port, TestSnapshot.To("app"), listener).Cluster("app", false, cluster, Upstream.Port).ToString())));
            Client = _owned.Push(new RawClient(port));
        }

        internal RawServer Upstream { get; }
        internal RawClient Client { get; }

        public void Dispose() => _owned.Dispose();
    }
}
