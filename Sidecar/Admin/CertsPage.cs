using System;
using System.Buffers;
using System.Collections.Generic;
using System.Globalization;
using System.Text.Json;
using Sidecar.Server;
using Sidecar.Telemetry;
using Sidecar.Tls;

namespace Sidecar.Admin;

/// <summary>/certs in Envoy's shape (envoy.admin.v3.Certificates): every authority and every certificate of our own that a TLS context uses, with its expiry.</summary>
/// <remarks>Control loop only.</remarks>
internal static class CertsPage
{
    internal static void Answer(ProxyServer server, AdminRequest request, Action<AdminResponse> answer)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true, IndentSize = 1 }))
            Write(json, server.TlsContexts, server.Loop.UnixMs / 1000);
        answer(AdminResponse.Json(buffer.WrittenSpan.ToArray()));
    }

    internal static void Write(Utf8JsonWriter json, IEnumerable<TlsContext> contexts, long nowUnixS)
    {
        json.WriteStartObject();
        json.WriteStartArray("certificates");
        foreach (var context in contexts)
        {
            json.WriteStartObject();
            json.WriteStartArray("ca_cert");
            foreach (var info in context.Validation?.Authorities?.Infos ?? [])
                WriteCertificate(json, context.Validation!.Authorities!.Name, info, nowUnixS);
            json.WriteEndArray();
            json.WriteStartArray("cert_chain");
            foreach (var certificate in context.Certificates)
                WriteCertificate(json, certificate.Name, certificate.Info, nowUnixS, certificate.Staple);
            json.WriteEndArray();
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.WriteEndObject();
    }

    private static void WriteCertificate(Utf8JsonWriter json, string path, CertificateFacts info, long nowUnixS, OcspStaple? staple = null)
    {
        json.WriteStartObject();
        json.WriteString("path", path);
        json.WriteString("serial_number", info.Serial);
        json.WriteStartArray("subject_alt_names");
        WriteNames(json, "uri", info.UriSans);
        WriteNames(json, "dns", info.DnsSans);
        WriteNames(json, "ip_address", info.IpSans);
        json.WriteEndArray();
        // A string, as protobuf's JSON has 64-bit numbers.
        long days = TlsExpiry.DaysUntil(info, nowUnixS);
        json.WriteString("days_until_expiration", days.ToString(CultureInfo.InvariantCulture));
        json.WriteString("valid_from", Time(info.NotBeforeUnixS));
        json.WriteString("expiration_time", Time(info.NotAfterUnixS));
        if (staple is not null)
        {
            json.WriteStartObject("ocsp_details");
            json.WriteString("valid_from", Time(staple.ThisUpdateUnixS));
            if (staple.NextUpdateUnixS is { } expiration)
                json.WriteString("expiration", Time(expiration));
            json.WriteEndObject();
        }
        json.WriteEndObject();
    }

    private static void WriteNames(Utf8JsonWriter json, string kind, IReadOnlyList<string> names)
    {
        foreach (string name in names)
        {
            json.WriteStartObject();
            json.WriteString(kind, name);
            json.WriteEndObject();
        }
    }

    private static string Time(long unixS) => DateTimeOffset.FromUnixTimeSeconds(unixS).ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture);
}
