using System;
using System.Collections.Generic;
using System.Linq;
using System.Text;
using Sidecar.Filters;
using Sidecar.Filters.Listener;
using Sidecar.Telemetry.Stats;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Filters.Listener;

/// <summary>What the filter notes and counts; which bytes are a ClientHello is ClientHelloTests' business.</summary>
public sealed class TlsInspectorTests : IDisposable
{
    private readonly AcceptedPeer _accepted = new();
    private readonly StatsScope _stats = new StatsRegistry(1).Scope(TlsInspectorStats.Schema, "tls_inspector.");

    private TlsInspector Filter(int bytesMax = 16 * 1024, bool closes = false) => new(bytesMax, closes, _stats);

    [Fact]
    public void Hello_NameInSmallLetters_ProtocolsInOrder()
    {
        string found = Splits.Run(TestHello.OpenSsl("App.Example.ORG", "istio-http/1.1", "istio", "http/1.1").Bytes(), Describe);
        Assert.Equal("Continue tls app.example.org istio-http/1.1,istio,http/1.1", found);
        Expect(("tls_found", 1), ("sni_found", 1), ("alpn_found", 1));
    }

    [Fact]
    public void Hello_WithoutNameAndProtocols()
    {
        Assert.Equal("Continue tls  ", Splits.Run(TestHello.OpenSslBefore13(0x0301).Bytes(), Describe));
        Expect(("tls_found", 1), ("sni_not_found", 1), ("alpn_not_found", 1));
    }

    [Fact]
    public void SomethingElse_IsRawBuffer()
    {
        Assert.Equal("Continue raw_buffer  ", Splits.Run(Encoding.ASCII.GetBytes("GET / HTTP/1.1\r\n"), Describe));
        Expect(("tls_not_found", 1));
    }

    [Fact]
    public void SomethingElse_IsClosed_WhereNothingElseIsExpected()
    {
        Assert.Equal(ListenerFilterStatus.Close, Filter(closes: true).Inspect(_accepted, "x"u8));
        Expect(("tls_not_found", 1));
    }

    [Fact]
    public void TooLarge_IsClosed()
    {
        byte[] bytes = TestHello.OpenSsl("a").With(21, new byte[400]).Bytes();
        Assert.Equal(ListenerFilterStatus.NeedMore, Filter(512).Inspect(_accepted, bytes.AsSpan(0, 8)));
        Assert.Equal(ListenerFilterStatus.Close, Filter(512).Inspect(_accepted, bytes));
        Expect(("client_hello_too_large", 1));
    }

    [Fact]
    public void BytesProcessed_AreTheHellos()
    {
        byte[] bytes = TestHello.OpenSsl("a").Bytes();
        Filter().Inspect(_accepted, (byte[])[.. bytes, .. new byte[500]]);
        Assert.Equal(1, _stats.MergedHistogram(TlsInspectorStats.BytesProcessed)!.Total);
        Assert.Equal(bytes.Length, _stats.MergedHistogram(TlsInspectorStats.BytesProcessed)!.Sum);
    }

    [Fact]
    public void PeerThatGoes_IsCounted()
    {
        Filter().OnPeerClosed(_accepted);
        Expect(("connection_closed", 1));
    }

    /// <summary>Peers mostly ask for the same names; a hello of several records is put together in the worker's own bytes.</summary>
    [Theory]
    [InlineData(16 * 1024)]
    [InlineData(50)]
    public void KnownNames_AllocateNothing(int fragmentBytes)
    {
        byte[] bytes = TestHello.OpenSsl("app.example.org", "istio-peer-exchange", "istio").Bytes(fragmentBytes);
        var filter = Filter();
        for (int i = 0; i < 100; i++)
            filter.Inspect(_accepted, bytes);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 10_000; i++)
            filter.Inspect(_accepted, bytes);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
        Assert.Equal(["istio-peer-exchange", "istio"], _accepted.ApplicationProtocols);
    }

    private string Describe(IReadOnlyList<ReadOnlyMemory<byte>> pieces)
    {
        var status = _accepted.Reset().Inspect(Filter(), pieces);
        return $"{status} {_accepted.TransportProtocol} {_accepted.ServerName} {string.Join(',', _accepted.ApplicationProtocols)}";
    }

    // As often as each other, and nothing else.
    private void Expect(params (string Name, int Value)[] expected)
    {
        var counted = TlsInspectorStats.Schema.Definitions.Select((d, i) => (d.Name, Value: _stats.Sum(i))).Where(s => s.Value > 0).ToList();
        Assert.Equal(expected.Select(e => e.Name).Order(), counted.Select(c => c.Name).Order());
        Assert.Single(counted.Select(c => c.Value).Distinct());
    }

    public void Dispose() => _accepted.Dispose();
}
