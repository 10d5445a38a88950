using System;
using System.Collections.Generic;
using System.Text;

namespace Sidecar.Telemetry;

/// <summary>What the two sides of one TLS connection agreed on and proved; a passive record for logs, headers and policies.</summary>
/// <remarks>Immutable; made when it is first asked for, once per connection. What is written in certificates is shared by connections.</remarks>
internal sealed class TlsFacts
{
    /// <summary>As <c>TLSv1.3</c>.</summary>
    internal required string Version { get; init; }
    internal required string Cipher { get; init; }
    internal required byte[] SessionId { get; init; }

    /// <summary>The name the client asked for, in lower case; empty when it asked for none.</summary>
    internal required string ServerName { get; init; }

    /// <summary>The peer's certificate; null when it presented none.</summary>
    internal required CertificateFacts? Peer { get; init; }

    /// <summary>It was verified as the configuration asks, not merely let through.</summary>
    internal required bool IsPeerVerified { get; init; }

    /// <summary>Our own certificate; null when we presented none.</summary>
    internal required CertificateFacts? Local { get; init; }
}

/// <summary>What is written in one certificate, as logs, headers, RBAC and /certs show it.</summary>
/// <remarks>Shared immutable.</remarks>
internal sealed class CertificateFacts(byte[] der)
{
    private string? _urlEncodedPem;

    internal byte[] Der => der;

    /// <summary>In the form of RFC 2253, as Envoy writes subjects.</summary>
    internal string Subject { get; init; } = "";
    internal string Issuer { get; init; } = "";

    /// <summary>Lower-case hexadecimal.</summary>
    internal string Serial { get; init; } = "";

    /// <summary>Of the whole certificate, lower-case hexadecimal.</summary>
    internal string Sha256 { get; init; } = "";
    internal string Sha1 { get; init; } = "";

    internal IReadOnlyList<string> UriSans { get; init; } = [];
    internal IReadOnlyList<string> DnsSans { get; init; } = [];
    internal IReadOnlyList<string> EmailSans { get; init; } = [];
    internal IReadOnlyList<string> IpSans { get; init; } = [];

    /// <summary>Of the subject; empty when there is none.</summary>
    internal string CommonName { get; init; } = "";

    internal long NotBeforeUnixS { get; init; }
    internal long NotAfterUnixS { get; init; }

    /// <summary>The certificate in PEM, encoded for a header as Envoy does it.</summary>
    internal string UrlEncodedPem => _urlEncodedPem ??= UrlEncode(Pem(der));

    private static string Pem(byte[] der)
    {
        var text = new StringBuilder("-----BEGIN CERTIFICATE-----\n");
        string base64 = Convert.ToBase64String(der);
        for (int i = 0; i < base64.Length; i += 64)
            text.Append(base64, i, Math.Min(64, base64.Length - i)).Append('\n');
        return text.Append("-----END CERTIFICATE-----\n").ToString();
    }

    // The characters that need it in a header of this form; '/' and '=' too, as in Envoy.
    private static string UrlEncode(string pem) =>
        pem.Replace("\n", "%0A").Replace(" ", "%20").Replace("+", "%2B").Replace("/", "%2F").Replace("=", "%3D");
}
