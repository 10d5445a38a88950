using System;
using System.Linq;
using System.Text;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Tests.Harness;
using Sidecar.Tls;
using Xunit;

namespace Sidecar.Tests.Tls;

public sealed class TlsTransportTests : IDisposable
{
    private readonly TestCa _ca = new();
    private readonly TestLoop _loop = new();

    [Fact]
    public void Handshake_OfTls13_CarriesBytesBothWays_AndIsCounted()
    {
        var server = TestTls.Server(_ca.Server("a.test"));
        var client = TestTls.Client(validation: new ValidationOptions { Authorities = TestTls.Authorities(_ca) });
        var pair = new TlsPair(_loop, client, server, serverName: "a.test").Shake();

        pair.Send(pair.Client, "question");
        Assert.Equal("question", pair.Expect(pair.ServerSide, 8));
        pair.Send(pair.Server, "answer");
        Assert.Equal("answer", pair.Expect(pair.ClientSide, 6));

        Assert.Equal("TLSv1.3", pair.ServerTransport.VersionName);
        Assert.Equal("a.test", pair.ServerTransport.ServerName);
        Assert.Equal(1, server.Count(TlsStats.Handshake));
        Assert.Equal(1, server.Count(TlsStats.NoCertificate));
        Assert.Equal(1, server.Count(TlsStats.OfVersion(OpenSsl.Tls13)));
        Assert.Equal(1, client.Count(TlsStats.Handshake));
        Assert.Equal(0, client.Count(TlsStats.NoCertificate));
        Assert.Equal(1, client.Count(TlsStats.OfSignature(OpenSsl.KeyEc, 672)));
        pair.Close();
    }

    [Theory]
    [InlineData(OpenSsl.Tls12, "TLSv1.2")]
    [InlineData(OpenSsl.Tls13, "TLSv1.3")]
    public void Data_OfManyRecords_ArrivesWhole(int version, string name)
    {
        var server = TestTls.Server(_ca.Server("a.test"), with: o => o with { MinVersion = version, MaxVersion = version });
        var pair = new TlsPair(_loop, TestTls.Client(with: o => o with { MaxVersion = OpenSsl.Tls13 }), server).Shake();
        Assert.Equal(name, pair.ClientTransport.VersionName);
        string text = string.Concat(Enumerable.Range(0, 60_000).Select(i => (char)('a' + i % 26)));

        pair.Client.Write(Encoding.Latin1.GetBytes(text));
        pair.Server.WriteThrough(Encoding.Latin1.GetBytes(text));

        Assert.Equal(text, pair.Expect(pair.ServerSide, text.Length));
        Assert.Equal(text, pair.Expect(pair.ClientSide, text.Length));
        pair.Close();
    }

    public void Dispose()
    {
        _loop.Dispose();
        _ca.Dispose();
    }
}
