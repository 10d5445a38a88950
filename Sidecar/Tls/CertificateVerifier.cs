using System;
using System.Collections.Generic;
using System.Text;

namespace Sidecar.Tls;

/// <summary>What a peer's certificate must be; envoy's CertificateValidationContext.</summary>
/// <remarks>Shared immutable.</remarks>
internal sealed record ValidationOptions
{
    internal TrustBundle? Authorities { get; init; }

    /// <summary>The authorities this machine trusts, where OpenSSL finds them.</summary>
    internal bool SystemAuthorities { get; init; }
    internal TrustBundle? Crls { get; init; }

    /// <summary>Only the leaf is looked up in the CRLs; else every certificate of the chain is, and each authority must have one.</summary>
    internal bool CrlOnlyForLeaf { get; init; }
    internal bool AllowExpired { get; init; }

    /// <summary>ACCEPT_UNTRUSTED: a certificate that fails is counted and let through.</summary>
    internal bool AcceptUntrusted { get; init; }

    /// <summary>Intermediates between leaf and authority at most; null: OpenSSL's 100.</summary>
    internal int? DepthMax { get; init; }
    internal IReadOnlyList<SanMatcher> Sans { get; init; } = [];

    /// <summary>SHA-256 of certificates; the leaf must be one of these, or of <see cref="KeyHashes"/>.</summary>
    internal IReadOnlyList<byte[]> Hashes { get; init; } = [];

    /// <summary>SHA-256 of public keys (SubjectPublicKeyInfo).</summary>
    internal IReadOnlyList<byte[]> KeyHashes { get; init; } = [];

    /// <summary>envoy.tls.cert_validator.spiffe: authorities by trust domain; null when that is not the validator.</summary>
    internal IReadOnlyDictionary<string, TrustBundle>? TrustDomains { get; init; }

    /// <summary>Names of our authorities are not told to clients.</summary>
    internal bool HideAuthorities { get; init; }

    /// <summary>Changes with anything above; sessions are resumed only under the same.</summary>
    internal string Identity { get; init; } = "";

    internal bool VerifiesChain => Authorities is not null || SystemAuthorities || TrustDomains is not null;
}

/// <summary>Why a certificate was refused: which counter, and the words of Envoy.</summary>
internal enum VerifyFailure : byte { None, Error, San, Hash }

/// <summary>
/// Verifies the certificate a peer presented, in Envoy's order: the chain up to an authority, then the subject alternative names, then hashes. Fails
/// closed: whatever cannot be read or found is a failure.
/// </summary>
/// <remarks>Shared immutable; called on workers, by OpenSSL in the middle of a handshake.</remarks>
internal sealed unsafe class CertificateVerifier
{
    private readonly ValidationOptions _options;
    private readonly Dictionary<string, nint> _domainStores = [];

    internal CertificateVerifier(ValidationOptions options, bool isServer)
    {
        _options = options;
        IsServer = isServer;
        foreach (var (domain, bundle) in options.TrustDomains ?? new Dictionary<string, TrustBundle>())
        {
            nint store = OpenSsl.X509_STORE_new();
            bundle.AddTo(store);
            OpenSsl.X509_STORE_set_flags(store, OpenSsl.StoreFlagPartialChain | (options.AllowExpired ? OpenSsl.StoreFlagNoCheckTime : 0));
            _domainStores.Add(domain, store);
        }
    }

    ~CertificateVerifier()
    {
        foreach (nint store in _domainStores.Values)
            OpenSsl.X509_STORE_free(store);
    }

    /// <summary>For a context without verification, on a connection that asks for a name: nothing but that name is looked at.</summary>
    internal static CertificateVerifier NameOnly { get; } = new(new ValidationOptions(), isServer: false);

    internal bool IsServer { get; }

    /// <summary>Prepares the store the chain is built in.</summary>
    internal void FillStore(nint store)
    {
        nuint flags = OpenSsl.StoreFlagPartialChain;
        _options.Authorities?.AddTo(store);
        _options.Crls?.AddTo(store);
        if (_options.SystemAuthorities)
            OpenSsl.X509_STORE_set_default_paths(store);
        if (_options.Crls is not null || _options.Authorities is { HasCrls: true })
            flags |= _options.CrlOnlyForLeaf ? OpenSsl.StoreFlagCrlCheck : OpenSsl.StoreFlagCrlCheck | OpenSsl.StoreFlagCrlCheckAll;
        if (_options.AllowExpired)
            flags |= OpenSsl.StoreFlagNoCheckTime;
        OpenSsl.X509_STORE_set_flags(store, flags);
        if (_options.DepthMax is { } depth)
            OpenSsl.X509_STORE_set_depth(store, depth);
    }

    /// <summary>Judges the chain in <paramref name="context"/>.</summary>
    /// <param name="context">OpenSSL's X509_STORE_CTX of this handshake.</param>
    /// <param name="name">For auto_sni_san_validation: the DNS name or address that must be among the certificate's; else empty.</param>
    /// <param name="reason">What is wrong, in words.</param>
    internal VerifyFailure Verify(nint context, ReadOnlySpan<byte> name, out string reason)
    {
        reason = "";
        nint leaf = OpenSsl.X509_STORE_CTX_get0_cert(context);
        if (leaf == 0)
        {
            reason = "verify cert failed: empty cert chain";
            return VerifyFailure.Error;
        }
        if (_options.TrustDomains is not null)
        {
            if (!VerifyInDomain(context, leaf, ref reason))
                return VerifyFailure.Error;
        }
        else if (_options.VerifiesChain && OpenSsl.X509_verify_cert(context) != 1)
        {
            reason = ChainProblem(context);
            return VerifyFailure.Error;
        }

        if (_options.Sans.Count > 0 || !name.IsEmpty)
        {
            var names = SubjectAltNames.Read(leaf);
            if (!name.IsEmpty && !HasName(names, name))
            {
                reason = "verify cert failed: verify SAN list";
                return VerifyFailure.San;
            }
            if (_options.Sans.Count > 0 && !SanMatcher.AnyMatches(_options.Sans, names))
            {
                reason = "verify cert failed: SAN matcher";
                return VerifyFailure.San;
            }
        }
        if ((_options.Hashes.Count > 0 || _options.KeyHashes.Count > 0) && !MatchesHash(leaf))
        {
            reason = "verify cert failed: cert hash and spki";
            return VerifyFailure.Hash;
        }
        return VerifyFailure.None;
    }

    internal bool AcceptsUntrusted => _options.AcceptUntrusted;

    // SPIFFE X.509-SVID section 5: exactly one URI name, whose trust domain says which authorities may have signed it, and it is no authority itself.
    private bool VerifyInDomain(nint context, nint leaf, ref string reason)
    {
        string? domain = null;
        foreach (var san in SubjectAltNames.Read(leaf))
        {
            if (san.Type != SanType.Uri)
                continue;
            string? found = TrustDomain(san.Value);
            if (domain is not null || found is null)
            {
                reason = "SPIFFE verification: the certificate must have exactly one URI SAN, a SPIFFE ID";
                return false;
            }
            domain = found;
        }
        if (domain is null || !_domainStores.TryGetValue(domain, out nint store))
        {
            reason = domain is null ? "SPIFFE verification: the certificate has no SPIFFE ID" : $"verify cert failed: no trust bundle store for trust domain {domain}";
            return false;
        }
        if (OpenSsl.X509_check_ca(leaf) != 0)
        {
            reason = "SPIFFE verification: the leaf certificate is an authority's";
            return false;
        }
        nint own = OpenSsl.X509_STORE_CTX_new();
        bool verified;
        fixed (byte* purpose = IsServer ? "ssl_client\0"u8 : "ssl_server\0"u8)
        {
            verified = OpenSsl.X509_STORE_CTX_init(own, store, leaf, OpenSsl.X509_STORE_CTX_get0_untrusted(context)) == 1
                && OpenSsl.X509_STORE_CTX_set_default(own, purpose) == 1
                && OpenSsl.X509_verify_cert(own) == 1;
        }
        if (!verified)
        {
            reason = ChainProblem(own);
            OpenSsl.X509_STORE_CTX_set_error(context, OpenSsl.X509_STORE_CTX_get_error(own));
        }
        OpenSsl.X509_STORE_CTX_free(own);
        return verified;
    }

    /// <summary>The trust domain of a SPIFFE ID, or null when it is none.</summary>
    internal static string? TrustDomain(ReadOnlySpan<byte> uri)
    {
        var scheme = "spiffe://"u8;
        if (uri.Length <= scheme.Length || !Memory.Ascii.EqualsIgnoreCase(uri[..scheme.Length], scheme) || uri.IndexOf((byte)0) >= 0)
            return null;
        var rest = uri[scheme.Length..];
        int slash = rest.IndexOf((byte)'/');
        var domain = slash < 0 ? rest : rest[..slash];
        return domain.IsEmpty ? null : Encoding.ASCII.GetString(domain).ToLowerInvariant();
    }

    private static string ChainProblem(nint context)
    {
        string words = OpenSsl.Text(OpenSsl.X509_verify_cert_error_string(OpenSsl.X509_STORE_CTX_get_error(context)));
        return $"X509_verify_cert: certificate verification error at depth {OpenSsl.X509_STORE_CTX_get_error_depth(context)}: {words}";
    }

    private static bool HasName(List<SubjectAltName> names, ReadOnlySpan<byte> wanted)
    {
        foreach (var name in names)
        {
            if (name.Type == SanType.Dns ? SanMatcher.MatchesDns(wanted, name.Value) : name.Type == SanType.IpAddress && wanted.SequenceEqual(name.Value))
                return true;
        }
        return false;
    }

    private bool MatchesHash(nint leaf)
    {
        Span<byte> digest = CertificateReader.Digest(leaf, OpenSsl.EVP_sha256());
        foreach (byte[] hash in _options.Hashes)
        {
            if (digest.SequenceEqual(hash))
                return true;
        }
        if (_options.KeyHashes.Count == 0)
            return false;
        Span<byte> key = KeyDigest(leaf);
        foreach (byte[] hash in _options.KeyHashes)
        {
            if (key.SequenceEqual(hash))
                return true;
        }
        return false;
    }

    private static byte[] KeyDigest(nint leaf)
    {
        nint key = OpenSsl.X509_get_X509_PUBKEY(leaf);
        int length = OpenSsl.i2d_X509_PUBKEY(key, null);
        byte[] der = new byte[Math.Max(length, 0)];
        fixed (byte* start = der)
        {
            byte* at = start;
            if (length > 0)
                OpenSsl.i2d_X509_PUBKEY(key, &at);
        }
        return OpenSsl.Sha256(der);
    }
}
