using System;
using System.Collections.Generic;
using System.Text;
using Sidecar.Telemetry;

namespace Sidecar.Tls;

/// <summary>Reads what is written in a certificate.</summary>
internal static unsafe class CertificateReader
{
    internal static CertificateFacts Read(nint x509)
    {
        var uris = new List<string>();
        var dns = new List<string>();
        var emails = new List<string>();
        var ips = new List<string>();
        foreach (var san in SubjectAltNames.Read(x509))
        {
            switch (san.Type)
            {
                case SanType.Uri: uris.Add(Encoding.Latin1.GetString(san.Value)); break;
                case SanType.Dns: dns.Add(Encoding.Latin1.GetString(san.Value)); break;
                case SanType.Email: emails.Add(Encoding.Latin1.GetString(san.Value)); break;
                case SanType.IpAddress: ips.Add(Encoding.Latin1.GetString(san.Value)); break;
            }
        }
        nint subject = OpenSsl.X509_get_subject_name(x509);
        var info = new CertificateFacts(Encode(x509))
        {
            Subject = NameText(subject),
            Issuer = NameText(OpenSsl.X509_get_issuer_name(x509)),
            Serial = Convert.ToHexStringLower(Bytes(OpenSsl.X509_get0_serialNumber(x509))),
            Sha256 = Convert.ToHexStringLower(Digest(x509, OpenSsl.EVP_sha256())),
            Sha1 = Convert.ToHexStringLower(Digest(x509, OpenSsl.EVP_sha1())),
            CommonName = CommonNameOf(subject),
            UriSans = uris,
            DnsSans = dns,
            EmailSans = emails,
            IpSans = ips,
            NotBeforeUnixS = Time(OpenSsl.X509_get0_notBefore(x509)),
            NotAfterUnixS = NotAfterUnixS(x509),
        };
        OpenSsl.ERR_clear_error();
        return info;
    }

    /// <summary>SHA-256 of the certificate, by which equal ones are known.</summary>
    internal static byte[] Digest(nint x509, nint algorithm)
    {
        byte* digest = stackalloc byte[64];
        uint length = 0;
        OpenSsl.X509_digest(x509, algorithm, digest, &length);
        return new ReadOnlySpan<byte>(digest, (int)length).ToArray();
    }

    internal static long NotAfterUnixS(nint x509) => Time(OpenSsl.X509_get0_notAfter(x509));

    internal static ReadOnlySpan<byte> Bytes(nint asn1) => new(OpenSsl.ASN1_STRING_get0_data(asn1), OpenSsl.ASN1_STRING_length(asn1));

    private static byte[] Encode(nint x509)
    {
        int length = OpenSsl.i2d_X509(x509, null);
        byte[] der = new byte[Math.Max(length, 0)];
        fixed (byte* start = der)
        {
            byte* at = start;
            if (length > 0)
                OpenSsl.i2d_X509(x509, &at);
        }
        return der;
    }

    private static string NameText(nint name)
    {
        nint bio = OpenSsl.BIO_new(OpenSsl.BIO_s_mem());
        OpenSsl.X509_NAME_print_ex(bio, name, 0, OpenSsl.NameFlagsRfc2253);
        byte* start = null;
        const int getMemoryData = 3; // BIO_CTRL_INFO
        nint length = OpenSsl.BIO_ctrl(bio, getMemoryData, 0, &start);
        string text = length <= 0 ? "" : Encoding.UTF8.GetString(start, (int)length);
        OpenSsl.BIO_free(bio);
        return text;
    }

    private static string CommonNameOf(nint name)
    {
        byte* text = stackalloc byte[256];
        int length = OpenSsl.X509_NAME_get_text_by_NID(name, OpenSsl.NidCommonName, text, 256);
        return length <= 0 ? "" : Encoding.UTF8.GetString(text, length);
    }

    internal static long Time(nint asn1)
    {
        // struct tm: seconds, minutes, hours, day of the month, month from 0, year from 1900, and more.
        int* tm = stackalloc int[16];
        if (OpenSsl.ASN1_TIME_to_tm(asn1, tm) != 1)
            return 0;
        return new DateTimeOffset(Math.Max(1, tm[5] + 1900), tm[4] + 1, tm[3], tm[2], tm[1], Math.Min(tm[0], 59), TimeSpan.Zero).ToUnixTimeSeconds();
    }
}
