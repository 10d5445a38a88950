using System;
using System.Formats.Asn1;
using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using System.Text.Json;

namespace Sidecar.Tests.Harness;

/// <summary>An authority of a test, and what it signs. Keys are P-256 unless said otherwise; everything is valid around a fixed instant and around now.</summary>
internal sealed class TestCa : IDisposable
{
    private static readonly DateTimeOffset s_from = new(2020, 1, 1, 0, 0, 0, TimeSpan.Zero);
    private static readonly DateTimeOffset s_to = new(2049, 12, 31, 0, 0, 0, TimeSpan.Zero);

    private readonly ECDsa _key;
    private readonly X509Certificate2 _certificate;
    private readonly string _chainAbove;
    private int _serial = 1;

    /// <summary>A root.</summary>
    internal TestCa(string name = "test root")
    {
        _key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        _certificate = Request(name, _key).CreateSelfSigned(s_from, s_to);
        _chainAbove = "";
    }

    private TestCa(ECDsa key, X509Certificate2 certificate, string chainAbove)
    {
        _key = key;
        _certificate = certificate;
        _chainAbove = chainAbove;
    }

    /// <summary>The authority's certificate.</summary>
    internal string Pem => _certificate.ExportCertificatePem() + "\n";

    /// <summary>Members of a Secret with this authority.</summary>
    internal string Secret => $$"""
        "validation_context": {"trusted_ca": {"inline_string": {{JsonSerializer.Serialize(Pem)}} } }
        """;

    /// <summary>An authority below this one.</summary>
    /// <param name="name">Its common name.</param>
    /// <param name="constraints">NameConstraints in DER (RFC 5280 section 4.2.1.10); null for none.</param>
    internal TestCa Intermediate(string name, byte[]? constraints = null)
    {
        var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = Request(name, key);
        if (constraints is not null)
            request.CertificateExtensions.Add(new X509Extension("2.5.29.30", constraints, true));
        var signed = request.Create(_certificate.SubjectName, X509SignatureGenerator.CreateForECDsa(_key), s_from, s_to, Serial());
        return new TestCa(key, signed, signed.ExportCertificatePem() + "\n" + _chainAbove);
    }

    /// <summary>A workload's certificate: its SPIFFE ID and nothing else.</summary>
    internal TestCert Spiffe(string id) => Sign("", san => san.AddUri(new Uri(id)));

    /// <summary>A server's certificate for DNS names.</summary>
    internal TestCert Server(params string[] names) => Sign(names[0], san =>
    {
        foreach (string name in names)
        {
            if (IPAddress.TryParse(name, out var address))
                san.AddIpAddress(address);
            else
                san.AddDnsName(name);
        }
    });

    /// <summary>A certificate with everything chosen.</summary>
    /// <param name="commonName">Empty for a subject without one.</param>
    /// <param name="names">Adds subject alternative names.</param>
    /// <param name="purposes">Extended key usages, as object identifiers; none: no such extension.</param>
    /// <param name="rsaBits">An RSA key of this size instead.</param>
    /// <param name="expired">Was valid only in the past.</param>
    /// <param name="from">When it becomes valid, instead of long ago.</param>
    /// <param name="until">When it expires, instead of far in the future.</param>
    /// <param name="rawNames">The subject alternative names extension in DER, as it is, instead of <paramref name="names"/>.</param>
    /// <param name="keyUsage">What its key may be used for.</param>
    /// <param name="mustStaple">It asks not to be shown without an OCSP response.</param>
    internal TestCert Sign(
        string commonName, Action<SubjectAlternativeNameBuilder> names, string[]? purposes = null, int rsaBits = 0, bool expired = false, byte[]? rawNames = null,
        DateTimeOffset? from = null, DateTimeOffset? until = null,
        X509KeyUsageFlags keyUsage = X509KeyUsageFlags.DigitalSignature | X509KeyUsageFlags.KeyEncipherment, bool mustStaple = false)
    {
        var san = new SubjectAlternativeNameBuilder();
        names(san);
        using var ec = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using var rsa = rsaBits > 0 ? RSA.Create(rsaBits) : null;
        var subject = commonName.Length > 0 ? new X500DistinguishedName("CN=" + commonName) : new X500DistinguishedName([0x30, 0x00]);
        var request = rsa is null
            ? new CertificateRequest(subject, ec, HashAlgorithmName.SHA256)
            : new CertificateRequest(subject, rsa, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(false, false, 0, true));
        request.CertificateExtensions.Add(new X509KeyUsageExtension(keyUsage, true));
        if (mustStaple)
            request.CertificateExtensions.Add(new X509Extension("1.3.6.1.5.5.7.1.24", [0x30, 3, 2, 1, 5], false));
        var usages = new OidCollection();
        foreach (string purpose in purposes ?? ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"])
            usages.Add(new Oid(purpose));
        if (usages.Count > 0)
            request.CertificateExtensions.Add(new X509EnhancedKeyUsageExtension(usages, false));
        request.CertificateExtensions.Add(rawNames is null ? san.Build() : new X509Extension("2.5.29.17", rawNames, false));
        var end = until ?? (expired ? s_from.AddDays(1) : s_to);
        using var signed = request.Create(_certificate.SubjectName, X509SignatureGenerator.CreateForECDsa(_key), from ?? s_from, end, Serial());
        string key = rsa is null ? ec.ExportPkcs8PrivateKeyPem() : rsa.ExportPkcs8PrivateKeyPem();
        return new TestCert(signed.ExportCertificatePem() + "\n" + _chainAbove, key + "\n", signed.RawData);
    }

    /// <summary>A list of revoked certificates, in PEM.</summary>
    internal string Crl(params TestCert[] revoked)
    {
        var builder = new CertificateRevocationListBuilder();
        foreach (var certificate in revoked)
        {
            using var parsed = X509CertificateLoader.LoadCertificate(certificate.Der);
            builder.AddEntry(parsed, s_from.AddDays(1));
        }
        using var signer = _certificate.HasPrivateKey ? new X509Certificate2(_certificate) : _certificate.CopyWithPrivateKey(_key);
        byte[] crl = builder.Build(signer, 1, s_to, HashAlgorithmName.SHA256, null, s_from);
        return PemEncoding.WriteString("X509 CRL", crl) + "\n";
    }

    /// <summary>An OCSP response in DER (RFC 6960 section 4.2.1) that calls a certificate good.</summary>
    /// <param name="certificate">One of this authority's.</param>
    /// <param name="from">thisUpdate.</param>
    /// <param name="until">nextUpdate; null: there is none.</param>
    /// <param name="status">OCSPResponseStatus; anything but 0 has no body.</param>
    /// <param name="count">How many times it says so.</param>
    internal byte[] Ocsp(TestCert certificate, DateTimeOffset from, DateTimeOffset? until, int status = 0, int count = 1)
    {
        var outer = new AsnWriter(AsnEncodingRules.DER);
        using (outer.PushSequence())
        {
            outer.WriteEncodedValue([0x0A, 1, (byte)status]);
            if (status == 0)
            {
                using (outer.PushSequence(new Asn1Tag(TagClass.ContextSpecific, 0)))
                using (outer.PushSequence())
                {
                    outer.WriteObjectIdentifier("1.3.6.1.5.5.7.48.1.1");
                    outer.WriteOctetString(BasicOcsp(certificate, from, until, count));
                }
            }
        }
        return outer.Encode();
    }

    private byte[] BasicOcsp(TestCert certificate, DateTimeOffset from, DateTimeOffset? until, int count)
    {
        using var parsed = X509CertificateLoader.LoadCertificate(certificate.Der);
        var data = new AsnWriter(AsnEncodingRules.DER);
        using (data.PushSequence())
        {
            using (data.PushSequence(new Asn1Tag(TagClass.ContextSpecific, 1)))
                data.WriteEncodedValue(_certificate.SubjectName.RawData);
            data.WriteGeneralizedTime(from, omitFractionalSeconds: true);
            using (data.PushSequence())
            {
                for (int i = 0; i < count; i++)
                {
                    using (data.PushSequence())
                    {
                        using (data.PushSequence())
                        {
                            using (data.PushSequence())
                                data.WriteObjectIdentifier("2.16.840.1.101.3.4.2.1");
                            data.WriteOctetString(SHA256.HashData(_certificate.SubjectName.RawData));
                            data.WriteOctetString(SHA256.HashData(_certificate.PublicKey.EncodedKeyValue.RawData));
                            data.WriteInteger(parsed.SerialNumberBytes.Span);
                        }
                        data.WriteNull(new Asn1Tag(TagClass.ContextSpecific, 0));
                        data.WriteGeneralizedTime(from, omitFractionalSeconds: true);
                        if (until is { } next)
                        {
                            using (data.PushSequence(new Asn1Tag(TagClass.ContextSpecific, 0)))
                                data.WriteGeneralizedTime(next, omitFractionalSeconds: true);
                        }
                    }
                }
            }
        }
        var basic = new AsnWriter(AsnEncodingRules.DER);
        using (basic.PushSequence())
        {
            basic.WriteEncodedValue(data.Encode());
            using (basic.PushSequence())
                basic.WriteObjectIdentifier("1.2.840.10045.4.3.2");
            basic.WriteBitString(_key.SignData(data.Encode(), HashAlgorithmName.SHA256, DSASignatureFormat.Rfc3279DerSequence));
        }
        return basic.Encode();
    }

    public void Dispose()
    {
        _certificate.Dispose();
        _key.Dispose();
    }

    private byte[] Serial() => [0x01, (byte)(_serial >> 8), (byte)_serial++];

    private static CertificateRequest Request(string name, ECDsa key)
    {
        var request = new CertificateRequest("CN=" + name, key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, true));
        request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.KeyCertSign | X509KeyUsageFlags.CrlSign, true));
        request.CertificateExtensions.Add(new X509SubjectKeyIdentifierExtension(request.PublicKey, false));
        return request;
    }
}

/// <summary>A certificate with its intermediates, and its key, in PEM.</summary>
internal sealed record TestCert(string ChainPem, string KeyPem, byte[] Der)
{
    internal byte[] Chain => Encoding.ASCII.GetBytes(ChainPem);
    internal byte[] Key => Encoding.ASCII.GetBytes(KeyPem);

    /// <summary>Members of a Secret with this certificate and its key.</summary>
    internal string Secret => $$"""
        "tls_certificate": {"certificate_chain": {"inline_string": {{JsonSerializer.Serialize(ChainPem)}} }, "private_key": {"inline_string": {{JsonSerializer.Serialize(KeyPem)}} } }
        """;

    /// <summary>SHA-256 of the certificate in hexadecimal.</summary>
    internal string Fingerprint => Convert.ToHexStringLower(SHA256.HashData(Der));
}
