using System;
using System.Buffers;
using System.Text.Json;
using Sidecar.Admin;
using Sidecar.Tests.Harness;
using Sidecar.Tls;
using Xunit;

namespace Sidecar.Tests.Admin;

/// <summary>/certs: what is in use, and until when.</summary>
public sealed class CertsPageTests : IDisposable
{
    private readonly TestCa _ca = new();

    [Fact]
    public void Certificates_WithNamesAndExpiry()
    {
        var context = TestTls.Server(_ca.Server("a.test", "10.0.0.1"), new ValidationOptions { Authorities = TestTls.Authorities(_ca) });
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer))
            CertsPage.Write(json, [context], new DateTimeOffset(2049, 12, 21, 0, 0, 0, TimeSpan.Zero).ToUnixTimeSeconds());
        using var page = JsonDocument.Parse(buffer.WrittenMemory);
        var entry = Assert.Single(page.RootElement.GetProperty("certificates").EnumerateArray());
        var own = entry.GetProperty("cert_chain")[0];
        Assert.Equal("<inline>", own.GetProperty("path").GetString());
        Assert.Equal("a.test", own.GetProperty("subject_alt_names")[0].GetProperty("dns").GetString());
        Assert.Equal("10.0.0.1", own.GetProperty("subject_alt_names")[1].GetProperty("ip_address").GetString());
        Assert.Equal("10", own.GetProperty("days_until_expiration").GetString());
        Assert.Equal("2020-01-01T00:00:00Z", own.GetProperty("valid_from").GetString());
        Assert.Equal("2049-12-31T00:00:00Z", own.GetProperty("expiration_time").GetString());
        Assert.Equal("10", entry.GetProperty("ca_cert")[0].GetProperty("days_until_expiration").GetString());
    }

    [Fact]
    public void OcspResponse_WithItsTimes_AndTheFirstToExpire()
    {
        var from = new DateTimeOffset(2024, 1, 1, 0, 0, 0, TimeSpan.Zero);
        var cert = _ca.Server("a.test");
        var stapled = TestTls.Certificate(cert);
        Assert.True(stapled.TryStaple(_ca.Ocsp(cert, from, from.AddDays(1)), out _));
        var context = TestTls.Context(new TlsOptions { IsServer = true }, [stapled], null, null, null);
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer))
            CertsPage.Write(json, [context], from.ToUnixTimeSeconds());
        using var page = JsonDocument.Parse(buffer.WrittenMemory);
        var details = page.RootElement.GetProperty("certificates")[0].GetProperty("cert_chain")[0].GetProperty("ocsp_details");
        Assert.Equal("2024-01-01T00:00:00Z", details.GetProperty("valid_from").GetString());
        Assert.Equal("2024-01-02T00:00:00Z", details.GetProperty("expiration").GetString());

        var plain = TestTls.Server(_ca.Sign("b.test", san => san.AddDnsName("b.test"), expired: true));
        Assert.Equal((9495, 86_400 - 60), TlsExpiry.First([context], from.ToUnixTimeSeconds() + 60));
        Assert.Equal((0, 0), TlsExpiry.First([context, plain], from.AddDays(2).ToUnixTimeSeconds()));
        Assert.Equal((uint.MaxValue, 0), TlsExpiry.First([], 0));
    }

    public void Dispose() => _ca.Dispose();
}
