using System;
using System.Collections.Generic;
using System.Text;
using Sidecar.Net;

namespace Sidecar.Tls;

/// <summary>Kinds of subject alternative names; numbers as on the wire (SubjectAltNameMatcher.SanType).</summary>
internal enum SanType : byte { Unspecified, Email, Dns, Uri, IpAddress, OtherName }

/// <summary>One subject alternative name: its bytes as they are, or an IP address in text.</summary>
/// <param name="Type">Its kind.</param>
/// <param name="Value">Its bytes. A NUL is a byte like any other.</param>
/// <param name="Oid">Of an other name; otherwise empty.</param>
internal readonly record struct SubjectAltName(SanType Type, byte[] Value, string Oid = "");

/// <summary>Reads the names of a certificate.</summary>
internal static unsafe class SubjectAltNames
{
    /// <summary>An extension this long is an attack, not an identity.</summary>
    private const int NamesMax = 1024;

    internal static List<SubjectAltName> Read(nint x509)
    {
        var list = new List<SubjectAltName>();
        nint names = OpenSsl.X509_get_ext_d2i(x509, OpenSsl.NidSubjectAltName, null, null);
        if (names == 0)
            return list;
        int count = Math.Min(OpenSsl.OPENSSL_sk_num(names), NamesMax);
        for (int i = 0; i < count; i++)
        {
            nint name = OpenSsl.OPENSSL_sk_value(names, i);
            int type = -1;
            nint value = OpenSsl.GENERAL_NAME_get0_value(name, &type);
            switch (type)
            {
                case OpenSsl.GeneralNameEmail:
                    list.Add(new SubjectAltName(SanType.Email, CertificateReader.Bytes(value).ToArray()));
                    break;
                case OpenSsl.GeneralNameDns:
                    list.Add(new SubjectAltName(SanType.Dns, CertificateReader.Bytes(value).ToArray()));
                    break;
                case OpenSsl.GeneralNameUri:
                    list.Add(new SubjectAltName(SanType.Uri, CertificateReader.Bytes(value).ToArray()));
                    break;
                case OpenSsl.GeneralNameIp:
                    if (Ip(CertificateReader.Bytes(value)) is { } address)
                        list.Add(new SubjectAltName(SanType.IpAddress, Encoding.ASCII.GetBytes(address)));
                    break;
                case OpenSsl.GeneralNameOther:
                    if (Other(name) is { } other)
                        list.Add(other);
                    break;
            }
        }
        OpenSsl.GENERAL_NAMES_free(names);
        return list;
    }

    private static string? Ip(ReadOnlySpan<byte> bytes) => bytes.Length is 4 or 16 ? Host(Address.FromBytes(bytes, 0)) : null;

    private static string Host(in Address address)
    {
        Span<byte> text = stackalloc byte[Address.TextBytesMax];
        return Encoding.ASCII.GetString(text[..address.FormatHost(text)]);
    }

    private static SubjectAltName? Other(nint name)
    {
        nint oid = 0, value = 0;
        if (OpenSsl.GENERAL_NAME_get0_otherName(name, &oid, &value) != 1)
            return null;
        byte* text = stackalloc byte[128];
        int length = OpenSsl.OBJ_obj2txt(text, 128, oid, 1);
        if (length is <= 0 or >= 128)
            return null;
        // Only what is text: ASN1_TYPE { int type; ASN1_STRING* }, with the universal tags of strings.
        const int utf8 = 12, printable = 19, t61 = 20, ia5 = 22, universal = 28, bmp = 30;
        if (OpenSsl.ASN1_TYPE_get(value) is not (utf8 or printable or t61 or ia5 or universal or bmp))
            return null;
        nint content = ((nint*)value)[1];
        return new SubjectAltName(SanType.OtherName, CertificateReader.Bytes(content).ToArray(), Encoding.ASCII.GetString(text, length));
    }
}

/// <summary>Compares bytes of a name with a configured text; made by the translator from a string matcher.</summary>
internal delegate bool SanText(ReadOnlySpan<byte> value);

/// <summary>One entry of match_typed_subject_alt_names: names of one kind, and a text to be.</summary>
/// <remarks>Shared immutable.</remarks>
internal sealed class SanMatcher
{
    /// <summary>Which names are looked at; <see cref="SanType.Unspecified"/>: DNS, URI, IP and e-mail (match_subject_alt_names).</summary>
    internal required SanType Type { get; init; }

    /// <summary>How they are compared.</summary>
    internal required SanText Text { get; init; }

    /// <summary>The text of an exact match, by which a DNS name with a wildcard is found too; null for others.</summary>
    internal byte[]? ExactDns { get; init; }

    /// <summary>For <see cref="SanType.OtherName"/>: its object identifier.</summary>
    internal string Oid { get; init; } = "";

    internal bool Matches(in SubjectAltName name)
    {
        if (Type == SanType.Unspecified ? name.Type is SanType.OtherName : name.Type != Type)
            return false;
        if (Type == SanType.OtherName && name.Oid != Oid)
            return false;
        // As Envoy: a DNS name in a certificate may be a pattern, and only an exact match can be compared with one.
        if (name.Type == SanType.Dns && ExactDns is { } wanted)
            return MatchesDns(wanted, name.Value);
        return Text(name.Value);
    }

    /// <summary>True when any name of a certificate fits any of the matchers.</summary>
    internal static bool AnyMatches(IReadOnlyList<SanMatcher> matchers, List<SubjectAltName> names)
    {
        foreach (var name in names)
        {
            foreach (var matcher in matchers)
            {
                if (matcher.Matches(name))
                    return true;
            }
        }
        return false;
    }

    /// <summary>
    /// RFC 6125 section 6.4 as Envoy reads it: labels compare without regard to case; a wildcard is the whole first label, stands for exactly one
    /// label, and does not stand for an A-label.
    /// </summary>
    internal static bool MatchesDns(ReadOnlySpan<byte> wanted, ReadOnlySpan<byte> pattern)
    {
        if (Memory.Ascii.EqualsIgnoreCase(wanted, pattern))
            return true;
        if (pattern.Length < 3 || !pattern.StartsWith("*."u8) || pattern[1..].IndexOf((byte)'*') >= 0 || pattern.IndexOf((byte)0) >= 0)
            return false;
        int dot = wanted.IndexOf((byte)'.');
        if (dot <= 0 || wanted.Length >= 4 && Memory.Ascii.EqualsIgnoreCase(wanted[..4], "xn--"u8))
            return false;
        return Memory.Ascii.EqualsIgnoreCase(wanted[dot..], pattern[1..]);
    }
}
