using System;
using System.Collections.Generic;
using System.Text;
using Sidecar.Telemetry;

namespace Sidecar.Tls;

/// <summary>A certificate of our own with its intermediates and its private key: what a handshake proves who we are with.</summary>
/// <remarks>Shared immutable. Holds OpenSSL's objects, which are counted: a context that uses them keeps them alive by itself.</remarks>
internal sealed unsafe class TlsCertificate
{
    private readonly nint _key;
    private readonly nint[] _chain;
    private readonly nint _stack;

    private TlsCertificate(nint leaf, nint[] chain, nint key, string name)
    {
        Name = name;
        Leaf = leaf;
        _chain = chain;
        _key = key;
        _stack = OpenSsl.OPENSSL_sk_new_null();
        foreach (nint certificate in chain)
            OpenSsl.OPENSSL_sk_push(_stack, certificate);
        Info = CertificateReader.Read(leaf);
        IsEcdsa = OpenSsl.EVP_PKEY_get_base_id(key) == OpenSsl.KeyEc;
        IsRsa = OpenSsl.EVP_PKEY_get_base_id(key) == OpenSsl.KeyRsa;
        MustStaple = HasMustStaple(leaf);
        LiveCount.Add(1);
    }

    ~TlsCertificate()
    {
        OpenSsl.OPENSSL_sk_free(_stack);
        foreach (nint certificate in _chain)
            OpenSsl.X509_free(certificate);
        OpenSsl.X509_free(Leaf);
        OpenSsl.EVP_PKEY_free(_key);
        LiveCount.Add(-1);
    }

    /// <summary>How many there are, for leak tests.</summary>
    internal static HandleCount LiveCount { get; } = new();

    internal nint Leaf { get; }
    internal CertificateFacts Info { get; }

    /// <summary>Where it is from: a path or <c>&lt;inline&gt;</c>.</summary>
    internal string Name { get; }
    internal bool IsEcdsa { get; }
    internal bool IsRsa { get; }

    /// <summary>The certificate itself asks that it be never shown without an OCSP response (RFC 7633).</summary>
    internal bool MustStaple { get; }

    /// <summary>The OCSP response it is shown with, where a client wants one; null: none.</summary>
    internal OcspStaple? Staple { get; private set; }

    /// <summary>What a client that wants an OCSP response gets with it.</summary>
    internal StapleAction ActionFor(OcspPolicy policy, long nowUnixS)
    {
        if (Staple is { } staple && !staple.IsExpired(nowUnixS))
            return StapleAction.Staple;
        if (MustStaple || policy == OcspPolicy.Must)
            return StapleAction.Fail;
        return policy == OcspPolicy.Strict && Staple is not null ? StapleAction.Fail : StapleAction.Omit;
    }

    /// <summary>Takes an OCSP response in DER; part of making the certificate, before anybody else has it.</summary>
    internal bool TryStaple(ReadOnlySpan<byte> der, out string problem)
    {
        Staple = OcspStaple.Parse(der, out problem);
        if (Staple is null || Staple.Serial == Info.Serial)
            return Staple is not null;
        problem = "OCSP response does not match its TLS certificate";
        return false;
    }

    // The extension's one known value: a list of the one feature status_request.
    private static bool HasMustStaple(nint leaf)
    {
        int index = OpenSsl.X509_get_ext_by_NID(leaf, OpenSsl.NidTlsFeature, -1);
        return index >= 0 && CertificateReader.Bytes(OpenSsl.X509_EXTENSION_get_data(OpenSsl.X509_get_ext(leaf, index))).SequenceEqual<byte>([0x30, 3, 2, 1, 5]);
    }

    /// <summary>Makes this the context's certificate of its key type.</summary>
    internal bool UseIn(nint ctx)
    {
        if (OpenSsl.SSL_CTX_use_certificate(ctx, Leaf) != 1 || OpenSsl.SSL_CTX_use_PrivateKey(ctx, _key) != 1)
            return false;
        foreach (nint certificate in _chain)
        {
            if (!OpenSsl.AddChainCertificate(ctx, certificate))
                return false;
        }
        return true;
    }

    /// <summary>Makes this the one certificate of a connection whose handshake is under way.</summary>
    internal bool UseOn(nint ssl)
    {
        OpenSsl.SSL_certs_clear(ssl);
        return OpenSsl.SSL_use_cert_and_key(ssl, Leaf, _key, _stack, 1) == 1;
    }

    /// <summary>Reads a PEM chain, leaf first, and its key; null, and why, when they are unusable or do not belong together.</summary>
    /// <param name="chainPem">Certificates.</param>
    /// <param name="keyPem">The private key.</param>
    /// <param name="password">Of an encrypted key; null when there is none.</param>
    /// <param name="chainName">Where the chain is from, for messages: a path or <c>&lt;inline&gt;</c>.</param>
    /// <param name="keyName">The same for the key.</param>
    /// <param name="problem">Why it is refused.</param>
    internal static TlsCertificate? FromPem(ReadOnlySpan<byte> chainPem, ReadOnlySpan<byte> keyPem, byte[]? password, string chainName, string keyName, out string problem)
    {
        problem = "";
        var certificates = ReadAll(chainPem, isLeafFirst: true);
        if (certificates.Count == 0)
        {
            problem = $"Failed to load certificate chain from {chainName}";
            return null;
        }
        nint key = ReadKey(keyPem, password, out string cause);
        if (key == 0)
        {
            problem = $"Failed to load private key from {keyName}, Cause: {cause}";
            FreeAll(certificates);
            return null;
        }
        return Make(certificates, key, chainName, keyName, out problem);
    }

    /// <summary>Reads a PKCS #12 bundle.</summary>
    internal static TlsCertificate? FromPkcs12(ReadOnlySpan<byte> bundle, byte[]? password, string name, out string problem)
    {
        problem = $"Failed to load pkcs12 from {name}";
        nint p12 = WithBio(bundle, static bio => OpenSsl.d2i_PKCS12_bio(bio, null));
        if (p12 == 0)
        {
            OpenSsl.ERR_clear_error();
            return null;
        }
        nint key = 0, leaf = 0, stack = 0;
        int parsed;
        fixed (byte* secret = Terminated(password ?? []))
            parsed = OpenSsl.PKCS12_parse(p12, secret, &key, &leaf, &stack);
        OpenSsl.PKCS12_free(p12);
        if (parsed != 1 || leaf == 0 || key == 0)
        {
            OpenSsl.ERR_clear_error();
            OpenSsl.X509_free(leaf);
            OpenSsl.EVP_PKEY_free(key);
            return null;
        }
        var certificates = new List<nint> { leaf };
        int count = stack == 0 ? 0 : OpenSsl.OPENSSL_sk_num(stack);
        for (int i = 0; i < count; i++)
            certificates.Add(OpenSsl.OPENSSL_sk_value(stack, i));
        if (stack != 0)
            OpenSsl.OPENSSL_sk_free(stack);
        return Make(certificates, key, name, name, out problem);
    }

    private static TlsCertificate? Make(List<nint> certificates, nint key, string chainName, string keyName, out string problem)
    {
        problem = "";
        nint leaf = certificates[0];
        int type = OpenSsl.EVP_PKEY_get_base_id(key);
        int bits = OpenSsl.EVP_PKEY_get_bits(key);
        if (OpenSsl.X509_check_private_key(leaf, key) != 1)
            problem = $"Failed to load private key from {keyName}, Cause: the key does not belong to the certificate of {chainName}";
        else if (type == OpenSsl.KeyEc && bits is not (256 or 384 or 521))
            problem = $"Failed to load certificate chain from {chainName}, only P-256, P-384 or P-521 ECDSA certificates are supported";
        else if (type == OpenSsl.KeyRsa && bits < 2048)
            problem = $"Failed to load certificate chain from {chainName}, only RSA certificates with 2048-bit or larger keys are supported";
        OpenSsl.ERR_clear_error();
        if (problem.Length > 0)
        {
            FreeAll(certificates);
            OpenSsl.EVP_PKEY_free(key);
            return null;
        }
        return new TlsCertificate(leaf, certificates[1..].ToArray(), key, chainName);
    }

    /// <summary>All certificates of a PEM text; the caller frees them.</summary>
    internal static List<nint> ReadAll(ReadOnlySpan<byte> pem, bool isLeafFirst = false)
    {
        var list = new List<nint>();
        WithBio(pem, bio =>
        {
            while (true)
            {
                nint x509 = isLeafFirst && list.Count == 0 ? OpenSsl.PEM_read_bio_X509_AUX(bio, null, 0, null) : OpenSsl.PEM_read_bio_X509(bio, null, 0, null);
                if (x509 == 0)
                    break;
                list.Add(x509);
            }
            return 0;
        });
        OpenSsl.ERR_clear_error();
        return list;
    }

    internal static void FreeAll(List<nint> certificates)
    {
        foreach (nint certificate in certificates)
            OpenSsl.X509_free(certificate);
    }

    private static nint ReadKey(ReadOnlySpan<byte> pem, byte[]? password, out string cause)
    {
        // Without a callback OpenSSL takes the last argument for the password; an empty one keeps it from asking the terminal.
        nint key;
        fixed (byte* secret = Terminated(password ?? []))
        {
            void* given = secret;
            key = WithBio(pem, bio => OpenSsl.PEM_read_bio_PrivateKey(bio, null, 0, given));
        }
        cause = key == 0 ? OpenSsl.TakeError() : "";
        if (key == 0 && cause.Length == 0)
            cause = "no private key";
        return key;
    }

    private static byte[] Terminated(byte[] text)
    {
        byte[] terminated = new byte[text.Length + 1];
        text.CopyTo(terminated, 0);
        return terminated;
    }

    internal static nint WithBio(ReadOnlySpan<byte> bytes, Func<nint, nint> read)
    {
        fixed (byte* start = bytes)
        {
            byte nothing;
            nint bio = OpenSsl.BIO_new_mem_buf(start == null ? &nothing : start, bytes.Length);
            nint result = read(bio);
            OpenSsl.BIO_free(bio);
            return result;
        }
    }
}

/// <summary>How many native objects of a kind are held; finalizers give them back, so it is counted across threads.</summary>
internal sealed class HandleCount
{
    private long _value;

    internal long Value => System.Threading.Interlocked.Read(ref _value);

    internal void Add(int change) => System.Threading.Interlocked.Add(ref _value, change);
}

/// <summary>Certificates of authorities, and revocation lists with them: what a peer's certificate is verified against.</summary>
/// <remarks>Shared immutable.</remarks>
internal sealed unsafe class TrustBundle
{
    private readonly List<nint> _authorities;
    private readonly List<nint> _crls;

    private TrustBundle(List<nint> authorities, List<nint> crls)
    {
        _authorities = authorities;
        _crls = crls;
        var infos = new CertificateFacts[authorities.Count];
        for (int i = 0; i < infos.Length; i++)
            infos[i] = CertificateReader.Read(authorities[i]);
        Infos = infos;
    }

    ~TrustBundle()
    {
        TlsCertificate.FreeAll(_authorities);
        foreach (nint crl in _crls)
            OpenSsl.X509_CRL_free(crl);
    }

    internal IReadOnlyList<nint> Authorities => _authorities;
    internal bool HasCrls => _crls.Count > 0;
    internal IReadOnlyList<CertificateFacts> Infos { get; }

    /// <summary>Where it is from, for messages: a path or <c>&lt;inline&gt;</c>.</summary>
    internal string Name { get; private init; } = "";

    /// <summary>Reads certificates, and CRLs among them; null when there is no certificate.</summary>
    internal static TrustBundle? FromPem(ReadOnlySpan<byte> pem, string name, out string problem)
    {
        problem = "";
        var authorities = TlsCertificate.ReadAll(pem);
        var crls = ReadCrls(pem);
        if (authorities.Count > 0)
            return new TrustBundle(authorities, crls) { Name = name };
        foreach (nint crl in crls)
            OpenSsl.X509_CRL_free(crl);
        problem = $"Failed to load trusted CA certificates from {name}";
        return null;
    }

    /// <summary>Reads CRLs; null when there is none.</summary>
    internal static TrustBundle? CrlsFromPem(ReadOnlySpan<byte> pem, string name, out string problem)
    {
        problem = "";
        var crls = ReadCrls(pem);
        if (crls.Count > 0)
            return new TrustBundle([], crls) { Name = name };
        problem = $"Failed to load CRL from {name}";
        return null;
    }

    internal void AddTo(nint store)
    {
        foreach (nint authority in _authorities)
            OpenSsl.X509_STORE_add_cert(store, authority);
        foreach (nint crl in _crls)
            OpenSsl.X509_STORE_add_crl(store, crl);
        OpenSsl.ERR_clear_error();
    }

    private static List<nint> ReadCrls(ReadOnlySpan<byte> pem)
    {
        var list = new List<nint>();
        TlsCertificate.WithBio(pem, bio =>
        {
            nint crl;
            while ((crl = OpenSsl.PEM_read_bio_X509_CRL(bio, null, 0, null)) != 0)
                list.Add(crl);
            return 0;
        });
        OpenSsl.ERR_clear_error();
        return list;
    }
}
