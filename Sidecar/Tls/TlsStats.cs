using Sidecar.Telemetry.Stats;

namespace Sidecar.Tls;

/// <summary>
/// Stats of one TLS context, under <c>listener.&lt;address&gt;.ssl.</c> or <c>cluster.&lt;name&gt;.ssl.</c>, Envoy's names. What was agreed on is counted by
/// name; such a name appears once it has been agreed on.
/// </summary>
internal static class TlsStats
{
    internal const int ConnectionError = 0;
    internal const int Handshake = 1;
    internal const int SessionReused = 2;
    internal const int NoCertificate = 3;
    internal const int FailVerifyNoCert = 4;
    internal const int FailVerifyError = 5;
    internal const int FailVerifySan = 6;
    internal const int FailVerifyCertHash = 7;
    internal const int OcspStaplingFailed = 8;
    internal const int OcspStaplingOmitted = 9;
    internal const int OcspStaplingResponses = 10;
    internal const int OcspStaplingRequests = 11;
    internal const int WasKeyUsageInvalid = 12;

    private const int Named = 13;

    // By IANA's code points.
    private static readonly (int Code, string Name)[] s_versions = [(OpenSsl.Tls10, "TLSv1"), (OpenSsl.Tls11, "TLSv1.1"), (OpenSsl.Tls12, "TLSv1.2"), (OpenSsl.Tls13, "TLSv1.3")];

    private static readonly (int Code, string Name)[] s_ciphers =
    [
        (0x1301, "TLS_AES_128_GCM_SHA256"), (0x1302, "TLS_AES_256_GCM_SHA384"), (0x1303, "TLS_CHACHA20_POLY1305_SHA256"),
        (0xC02B, "ECDHE-ECDSA-AES128-GCM-SHA256"), (0xC02C, "ECDHE-ECDSA-AES256-GCM-SHA384"), (0xCCA9, "ECDHE-ECDSA-CHACHA20-POLY1305"),
        (0xC02F, "ECDHE-RSA-AES128-GCM-SHA256"), (0xC030, "ECDHE-RSA-AES256-GCM-SHA384"), (0xCCA8, "ECDHE-RSA-CHACHA20-POLY1305"),
        (0xC009, "ECDHE-ECDSA-AES128-SHA"), (0xC00A, "ECDHE-ECDSA-AES256-SHA"), (0xC013, "ECDHE-RSA-AES128-SHA"), (0xC014, "ECDHE-RSA-AES256-SHA"),
        (0xC023, "ECDHE-ECDSA-AES128-SHA256"), (0xC027, "ECDHE-RSA-AES128-SHA256"),
        (0x009C, "AES128-GCM-SHA256"), (0x009D, "AES256-GCM-SHA384"), (0x002F, "AES128-SHA"), (0x0035, "AES256-SHA"), (0, "other"),
    ];

    // By OpenSSL's NIDs, or 0x1000000 and the code point of a group it has no NID for.
    private static readonly (int Code, string Name)[] s_curves =
        [(1034, "X25519"), (415, "P-256"), (715, "P-384"), (716, "P-521"), (1035, "X448"), (0x10011EC, "X25519MLKEM768"), (0, "other")];

    private static readonly (int Code, string Name)[] s_signatures =
    [
        (0x0403, "ecdsa_secp256r1_sha256"), (0x0503, "ecdsa_secp384r1_sha384"), (0x0603, "ecdsa_secp521r1_sha512"),
        (0x0804, "rsa_pss_rsae_sha256"), (0x0805, "rsa_pss_rsae_sha384"), (0x0806, "rsa_pss_rsae_sha512"),
        (0x0401, "rsa_pkcs1_sha256"), (0x0501, "rsa_pkcs1_sha384"), (0x0601, "rsa_pkcs1_sha512"), (0x0807, "ed25519"), (0, "other"),
    ];

    internal static readonly StatsSchema Schema = BuildSchema();

    /// <summary>The counter of a version, by its number on the wire.</summary>
    internal static int OfVersion(int version) => Named + Find(s_versions, version);

    /// <summary>The counter of a cipher suite, by its code point.</summary>
    internal static int OfCipher(int code) => Named + s_versions.Length + Find(s_ciphers, code);

    /// <summary>The counter of a key exchange group.</summary>
    internal static int OfCurve(int nid) => Named + s_versions.Length + s_ciphers.Length + Find(s_curves, nid);

    /// <summary>The counter of the signature algorithm the peer has proved its key with, by OpenSSL's numbers of signature and hash.</summary>
    internal static int OfSignature(int typeNid, int hashNid)
    {
        const int sha256 = 672, sha384 = 673, sha512 = 674, ed25519 = 1087;
        int hash = hashNid switch { sha256 => 0, sha384 => 1, sha512 => 2, _ => -1 };
        int code = typeNid switch
        {
            ed25519 => 0x0807,
            OpenSsl.KeyEc when hash >= 0 => 0x0403 + (hash << 8),
            OpenSsl.KeyRsaPss when hash >= 0 => 0x0804 + hash,
            OpenSsl.KeyRsa when hash >= 0 => 0x0401 + (hash << 8),
            _ => 0,
        };
        return Named + s_versions.Length + s_ciphers.Length + s_curves.Length + Find(s_signatures, code);
    }

    /// <summary>The name a version has in logs and headers.</summary>
    internal static string VersionName(int version) => s_versions[Find(s_versions, version)].Name;

    private static int Find((int Code, string Name)[] table, int code)
    {
        int i = 0;
        while (i < table.Length - 1 && table[i].Code != code)
            i++;
        return i;
    }

    private static StatsSchema BuildSchema()
    {
        var definitions = new StatDefinition[Named + s_versions.Length + s_ciphers.Length + s_curves.Length + s_signatures.Length];
        string[] fixedNames =
        [
            "connection_error", "handshake", "session_reused", "no_certificate", "fail_verify_no_cert", "fail_verify_error", "fail_verify_san",
            "fail_verify_cert_hash", "ocsp_staple_failed", "ocsp_staple_omitted", "ocsp_staple_responses", "ocsp_staple_requests", "was_key_usage_invalid",
        ];
        int at = 0;
        foreach (string name in fixedNames)
            definitions[at++] = new StatDefinition(name);
        foreach (var (prefix, table) in new[] { ("versions.", s_versions), ("ciphers.", s_ciphers), ("curves.", s_curves), ("sigalgs.", s_signatures) })
        {
            foreach (var (_, name) in table)
                definitions[at++] = new StatDefinition(prefix + name) { OnlyWhenUsed = true };
        }
        return new StatsSchema(definitions);
    }
}

/// <summary>Whether contexts could be made of their secrets, under <c>listener.&lt;address&gt;.server_ssl_socket_factory.</c> or <c>cluster.&lt;name&gt;.client_ssl_socket_factory.</c>.</summary>
internal static class TlsSecretStats
{
    internal const int UpdateBySds = 0;
    internal const int NotReady = 1;

    internal static readonly StatsSchema Downstream = new(new("ssl_context_update_by_sds"), new("downstream_context_secrets_not_ready"));
    internal static readonly StatsSchema Upstream = new(new("ssl_context_update_by_sds"), new("upstream_context_secrets_not_ready"));
}
