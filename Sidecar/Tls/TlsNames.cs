using System;
using System.Collections.Generic;
using System.Text;

namespace Sidecar.Tls;

/// <summary>Names and defaults of algorithms: Envoy's configuration speaks BoringSSL, the engine is OpenSSL.</summary>
internal static unsafe class TlsNames
{
    internal static readonly string[] DefaultCipherSuites =
    [
        "[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]", "[ECDHE-RSA-AES128-GCM-SHA256|ECDHE-RSA-CHACHA20-POLY1305]",
        "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
    ];

    internal static readonly string[] DefaultCurves = ["X25519", "P-256"];

    /// <summary>
    /// OpenSSL's list for suites in BoringSSL's syntax. Equal preference exists there only between AES-GCM and ChaCha20 (whoever lacks AES instructions
    /// puts ChaCha20 first), which is what Envoy's groups are for.
    /// </summary>
    internal static string CipherList(IReadOnlyList<string> suites, out bool chachaIsEqual)
    {
        chachaIsEqual = false;
        var list = new StringBuilder();
        foreach (string entry in suites)
        {
            foreach (string suite in entry.Split(':', StringSplitOptions.RemoveEmptyEntries))
            {
                bool group = suite.StartsWith('[') && suite.EndsWith(']');
                foreach (string name in (group ? suite[1..^1] : suite).Split('|', StringSplitOptions.RemoveEmptyEntries))
                {
                    chachaIsEqual |= group && name.Contains("CHACHA20", StringComparison.Ordinal);
                    list.Append(list.Length > 0 ? ":" : "").Append(OpenSslName(name));
                }
            }
        }
        return list.ToString();
    }

    /// <summary>Protocols as RFC 7301 section 3.1 has them: each with its length before it.</summary>
    internal static byte[] AlpnWire(IReadOnlyList<string> protocols)
    {
        var bytes = new List<byte>();
        foreach (string protocol in protocols)
        {
            byte[] name = Encoding.UTF8.GetBytes(protocol);
            bytes.Add((byte)name.Length);
            bytes.AddRange(name);
        }
        return bytes.ToArray();
    }

    /// <summary>What a session may be resumed under: the names we answer for, and everything the peer was verified by.</summary>
    internal static byte[] SessionContext(TlsOptions options, IReadOnlyList<TlsCertificate> certificates, ValidationOptions? validation)
    {
        var text = new StringBuilder();
        foreach (var certificate in certificates)
            text.Append(certificate.Info.Subject).Append('\n').AppendJoin(',', certificate.Info.DnsSans).Append('\n').AppendJoin(',', certificate.Info.UriSans).Append('\n');
        text.Append(options.RequireClientCertificate).AppendJoin(',', options.Alpn).Append('\n').Append(validation?.Identity);
        return OpenSsl.Sha256(Encoding.UTF8.GetBytes(text.ToString()));
    }

    // BoringSSL also knows the names of the RFCs.
    private static string OpenSslName(string name)
    {
        if (!name.StartsWith("TLS_", StringComparison.Ordinal) || name.IndexOf("_WITH_", StringComparison.Ordinal) < 0)
            return name;
        fixed (byte* standard = Encoding.ASCII.GetBytes(name + '\0'))
        {
            string found = OpenSsl.Text(OpenSsl.OPENSSL_cipher_name(standard));
            return found.Length == 0 || found == "(NONE)" ? name : found;
        }
    }
}
