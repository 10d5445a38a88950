using System;
using System.Buffers;
using Sidecar.Memory;

namespace Sidecar.Http;

/// <summary>The authority of a request: <c>host</c> or <c>host:port</c> (RFC 3986 section 3.2, without userinfo, which RFC 9110 section 4.2.4 forbids).</summary>
internal static class Authority
{
    /// <summary>reg-name and IPv4: unreserved, sub-delims, and '%' of percent-encoding.</summary>
    private static readonly SearchValues<byte> s_nameBytes =
        SearchValues.Create("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,;=%"u8);

    /// <summary>Inside brackets: IPv6 and IPvFuture, with a zone (RFC 6874).</summary>
    private static readonly SearchValues<byte> s_literalBytes =
        SearchValues.Create("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:.%-_~"u8);

    /// <summary>True for <c>host</c> or <c>host:port</c>, host not empty.</summary>
    internal static bool IsValid(ReadOnlySpan<byte> authority) => TrySplit(authority, out _, out _);

    /// <summary>Splits an authority.</summary>
    /// <param name="authority">As received.</param>
    /// <param name="host">The host; an IPv6 address keeps its brackets. Case as received.</param>
    /// <param name="port">0..65535, or -1 when there is none (<c>host:</c> has none either).</param>
    /// <returns>False when it is not an authority, or its host is empty.</returns>
    internal static bool TrySplit(ReadOnlySpan<byte> authority, out ReadOnlySpan<byte> host, out int port)
    {
        host = default;
        port = -1;
        int end;
        if (authority.Length > 0 && authority[0] == '[')
        {
            end = authority.IndexOf((byte)']') + 1;
            if (end < 4 || authority[1..(end - 1)].ContainsAnyExcept(s_literalBytes))
                return false;
        }
        else
        {
            end = authority.IndexOfAnyExcept(s_nameBytes);
            if (end < 0)
                end = authority.Length;
            if (end == 0)
                return false;
        }
        host = authority[..end];
        if (end == authority.Length)
            return true;
        if (authority[end] != ':')
            return false;
        var digits = authority[(end + 1)..];
        if (digits.IsEmpty)
            return true;
        if (digits.Length > 5 || !Ascii.TryParseDecimal(digits, out long number) || number > ushort.MaxValue)
            return false;
        port = (int)number;
        return true;
    }

    /// <summary>The host of a valid authority, without its port.</summary>
    internal static ReadOnlySpan<byte> HostOf(ReadOnlySpan<byte> authority) => TrySplit(authority, out var host, out _) ? host : authority;

    /// <summary>True when both name the same host, whatever the case of letters and the ports (CVE-2021-39155).</summary>
    internal static bool SameHost(ReadOnlySpan<byte> left, ReadOnlySpan<byte> right) => Ascii.EqualsIgnoreCase(HostOf(left), HostOf(right));
}
