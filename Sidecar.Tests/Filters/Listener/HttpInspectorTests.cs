using System;
using System.Linq;
using System.Text;
using Sidecar.Filters;
using Sidecar.Filters.Listener;
using Sidecar.Telemetry.Stats;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Filters.Listener;

/// <summary>Which first lines are HTTP, whole, byte by byte and at every split.</summary>
public sealed class HttpInspectorTests : IDisposable
{
    private readonly AcceptedPeer _accepted = new();
    private readonly StatsScope _stats = new StatsRegistry(1).Scope(HttpInspectorStats.Schema, "http_inspector.");

    private HttpInspector Filter => new(_stats);

    [Theory]
    [InlineData("GET / HTTP/1.1\r\n", "http/1.1", HttpInspectorStats.Http11Found)]
    [InlineData("GET / HTTP/1.1\n", "http/1.1", HttpInspectorStats.Http11Found)]
    [InlineData("POST /a?b HTTP/1.1\r\nhost: a\r\n\r\nbody", "http/1.1", HttpInspectorStats.Http11Found)]
    [InlineData("CONNECT a:1 HTTP/1.1\r\n", "http/1.1", HttpInspectorStats.Http11Found)]
    [InlineData("PROPFIND / HTTP/1.1\r\n", "http/1.1", HttpInspectorStats.Http11Found)]
    [InlineData("M-SEARCH * HTTP/1.1\r\n", "http/1.1", HttpInspectorStats.Http11Found)]
    [InlineData("GET  /  HTTP/1.1\r\n", "http/1.1", HttpInspectorStats.Http11Found)]
    [InlineData("GET / HTTP/1.0\r\n", "http/1.0", HttpInspectorStats.Http10Found)]
    [InlineData("GET /\r\n", "http/1.0", HttpInspectorStats.Http10Found)]
    [InlineData("GET / HTTP/0.9\r\n", "http/1.0", HttpInspectorStats.Http10Found)]
    [InlineData("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "h2c", HttpInspectorStats.Http2Found)]
    [InlineData("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0", "h2c", HttpInspectorStats.Http2Found)]
    public void Http(string bytes, string protocol, int stat)
    {
        Assert.Equal($"Continue {protocol}", Run(bytes));
        Assert.True(_stats.Sum(stat) > 0);
        Assert.Equal(_stats.Sum(stat), Enumerable.Range(0, HttpInspectorStats.Schema.Count).Sum(_stats.Sum));
    }

    [Theory]
    [InlineData("\r\nGET / HTTP/1.1\r\n")]
    [InlineData("get / HTTP/1.1\r\n")]
    [InlineData("FOO / HTTP/1.1\r\n")]
    [InlineData("GETS / HTTP/1.1\r\n")]
    [InlineData("PRI * HTTP/2.0\r\n\r\nXX")]
    [InlineData("GET\r\n")]
    [InlineData("GET \r\n")]
    [InlineData("GET / HTP")]
    [InlineData("GET / HTTP/x")]
    [InlineData("GET / HTTP/1,")]
    [InlineData("GET / HTTP/1.x")]
    [InlineData("GET / HTTP/1.11")]
    [InlineData("GET / HTTP/1.1 \r\n")]
    [InlineData("GET /\0 HTTP/1.1\r\n")]
    [InlineData("GET /\x7F HTTP/1.1\r\n")]
    [InlineData("EHLO a.example.org\r\n")]
    [InlineData("SSH-2.0-x\r\n")]
    [InlineData("\x16\x03\x01\x02\x00\x01")]
    [InlineData("*1\r\n$4\r\nPING\r\n")]
    public void SomethingElse_IsKnownAsSoonAsItDiffers(string bytes)
    {
        Assert.Equal("Continue ", Run(bytes));
        Assert.Equal(_stats.Sum(HttpInspectorStats.HttpNotFound), Enumerable.Range(0, HttpInspectorStats.Schema.Count).Sum(_stats.Sum));
    }

    [Theory]
    [InlineData("")]
    [InlineData("P")]
    [InlineData("GET")]
    [InlineData("GET ")]
    [InlineData("GET / HTTP/1.1")]
    [InlineData("PRI * HTTP/2.0\r\n\r\nSM\r\n\r")]
    public void NotEnough(string bytes) => Assert.Equal("NeedMore ", Run(bytes));

    [Fact]
    public void KnownTls_IsPassedOver()
    {
        _accepted.TransportProtocol = "tls";
        _accepted.ApplicationProtocols.Add("h2");
        Assert.Equal(ListenerFilterStatus.Continue, Filter.Inspect(_accepted, default));
        Assert.Equal(["h2"], _accepted.ApplicationProtocols);
        Assert.Equal(0, Enumerable.Range(0, HttpInspectorStats.Schema.Count).Sum(_stats.Sum));
    }

    [Fact]
    public void KnownNotTls_IsInspected()
    {
        _accepted.TransportProtocol = "raw_buffer";
        Assert.Equal(ListenerFilterStatus.NeedMore, Filter.Inspect(_accepted, default));
    }

    [Fact]
    public void LineWithoutEnd_IsBounded()
    {
        byte[] line = Encoding.ASCII.GetBytes("GET /" + new string('a', 64 * 1024));
        Assert.Equal(ListenerFilterStatus.NeedMore, Filter.Inspect(_accepted, line.AsSpan(0, 64 * 1024 - 1)));
        Assert.Equal(ListenerFilterStatus.Close, Filter.Inspect(_accepted, line));
        Assert.Equal(1, _stats.Sum(HttpInspectorStats.ReadError));
    }

    private string Run(string bytes) => bytes.Length == 0 ? Describe([]) : Splits.Run(Encoding.Latin1.GetBytes(bytes), Describe);

    private string Describe(System.Collections.Generic.IReadOnlyList<ReadOnlyMemory<byte>> pieces) =>
        $"{_accepted.Reset().Inspect(Filter, pieces)} {string.Join(',', _accepted.ApplicationProtocols)}";

    public void Dispose() => _accepted.Dispose();
}
