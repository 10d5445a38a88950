using System;

namespace Sidecar.Http.H2;

/// <summary>What the first bytes of a connection say about its protocol.</summary>
internal enum PrefaceMatch : byte { Match, Partial, Mismatch }

/// <summary>The client connection preface (RFC 9113 section 3.4), by which codec AUTO tells HTTP/2 from HTTP/1 on a cleartext port.</summary>
internal static class Http2Preface
{
    internal static ReadOnlySpan<byte> Bytes => "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"u8;

    /// <summary>Compares as much as is there. Partial with no bytes at all.</summary>
    internal static PrefaceMatch Detect(ReadOnlySpan<byte> first)
    {
        int length = Math.Min(first.Length, Bytes.Length);
        if (!first[..length].SequenceEqual(Bytes[..length]))
            return PrefaceMatch.Mismatch;
        return length == Bytes.Length ? PrefaceMatch.Match : PrefaceMatch.Partial;
    }
}
