using System;
using System.Buffers;
using Encoding = System.Text.Encoding;
using Sidecar.Http;
using Sidecar.Memory;

namespace Sidecar.Routing;

/// <summary>What a <see cref="HashPolicy"/> hashes.</summary>
internal enum HashSource : byte { Header, Cookie, SourceIp, QueryParameter }

/// <summary>envoy.config.route.v3.RouteAction.HashPolicy.</summary>
/// <remarks>Shared immutable; hashing allocates nothing.</remarks>
internal sealed class HashPolicy(HashSource source, string name)
{
    private const int ValuesMax = 32;
    private const int ValueBytesMax = 64 * 1024;

    private readonly byte[] _name = Encoding.UTF8.GetBytes(source == HashSource.Header ? name.ToLowerInvariant() : name);

    internal bool Terminal { get; init; }
    internal RegexRewrite? Rewrite { get; init; }

    /// <summary>
    /// What stands in <c>set-cookie</c> after the value, <c>; Max-Age=3600; HttpOnly</c>, for a client that has no such cookie; null: it is not given one.
    /// </summary>
    internal byte[]? CookieTail { get; init; }

    /// <summary>The hash of what it names, or null when the request has none.</summary>
    internal ulong? Evaluate(IHeaderFacts facts)
    {
        switch (source)
        {
            case HashSource.Header:
                return HashHeader(facts.Request);
            case HashSource.Cookie:
                if (TryCookie(facts.Request, out var cookie) && !cookie.IsEmpty)
                    return XxHash64.Hash(cookie);
                if (CookieTail is null)
                    return null;
                Span<byte> made = stackalloc byte[16];
                WriteNewCookie(facts, made);
                return XxHash64.Hash(made);
            case HashSource.QueryParameter:
                return QueryParameterMatcher.TryFind(facts.Request.Path, _name, out var parameter) ? XxHash64.Hash(parameter) : null;
            default:
                Span<byte> address = stackalloc byte[128];
                var text = new SpanWriter(address);
                facts.WriteAddress(AddressFact.DownstreamRemote, AddressPart.Host, ref text);
                return text.Length == 0 ? null : XxHash64.Hash(text.Written);
        }
    }

    /// <summary>Gives a client without the cookie the one its request was hashed by, so that it comes back to the same host.</summary>
    internal void SetCookie(IHeaderFacts facts, HeaderMap response)
    {
        if (CookieTail is null || (TryCookie(facts.Request, out var cookie) && !cookie.IsEmpty))
            return;
        byte[] buffer = ArrayPool<byte>.Shared.Rent(_name.Length + CookieTail.Length + 32);
        var writer = new SpanWriter(buffer);
        Span<byte> made = stackalloc byte[16];
        WriteNewCookie(facts, made);
        writer.Write(_name);
        writer.Write("=\""u8);
        writer.Write(made);
        writer.WriteByte((byte)'"');
        writer.Write(CookieTail);
        response.Add(HeaderId.SetCookie, writer.Written);
        ArrayPool<byte>.Shared.Return(buffer);
    }

    // One value per connection, as in Envoy: requests that race on it are given the same cookie.
    private static void WriteNewCookie(IHeaderFacts facts, Span<byte> hex)
    {
        Span<byte> addresses = stackalloc byte[256];
        var writer = new SpanWriter(addresses);
        facts.WriteAddress(AddressFact.DownstreamDirectRemote, AddressPart.Whole, ref writer);
        facts.WriteAddress(AddressFact.DownstreamLocal, AddressPart.Whole, ref writer);
        ulong hash = XxHash64.Hash(writer.Written);
        for (int i = 0; i < hex.Length; i++)
            hex[i] = "0123456789abcdef"u8[(int)(hash >> (60 - 4 * i) & 15)];
    }

    // All values, sorted so that their order does not matter, one after the other (Envoy's rule).
    private ulong? HashHeader(RequestHead head)
    {
        int index = -1;
        var id = HeaderNames.Lookup(_name);
        if (!head.TryGetNext(id, _name, ref index, out var first))
            return null;
        int next = index;
        if (Rewrite is null && !head.TryGetNext(id, _name, ref next, out _))
            return XxHash64.Hash(first);

        byte[] buffer = ArrayPool<byte>.Shared.Rent(ValueBytesMax);
        var writer = new SpanWriter(buffer);
        Span<(int Start, int End)> values = stackalloc (int, int)[ValuesMax];
        int count = 0;
        index = -1;
        while (count < ValuesMax && head.TryGetNext(id, _name, ref index, out var value))
        {
            int start = writer.Length;
            if (Rewrite is null)
                writer.Write(value);
            else
                Rewrite.ReplaceAll(value, ref writer);
            values[count++] = (start, writer.Length);
        }
        ulong hash = HashSorted(buffer, values[..count], writer.Length);
        ArrayPool<byte>.Shared.Return(buffer);
        return hash;
    }

    private static ulong HashSorted(byte[] bytes, Span<(int Start, int End)> values, int length)
    {
        if (values.Length == 1)
            return XxHash64.Hash(bytes.AsSpan(0, length));
        // Few values: insertion sort, which needs no comparer object.
        for (int i = 1; i < values.Length; i++)
        {
            for (int j = i; j > 0 && Bytes(values[j]).SequenceCompareTo(Bytes(values[j - 1])) < 0; j--)
                (values[j], values[j - 1]) = (values[j - 1], values[j]);
        }
        byte[] sorted = ArrayPool<byte>.Shared.Rent(length);
        var writer = new SpanWriter(sorted);
        foreach (var value in values)
            writer.Write(Bytes(value));
        ulong hash = XxHash64.Hash(writer.Written);
        ArrayPool<byte>.Shared.Return(sorted);
        return hash;

        ReadOnlySpan<byte> Bytes((int Start, int End) value) => bytes.AsSpan(value.Start, value.End - value.Start);
    }

    private bool TryCookie(RequestHead head, out ReadOnlySpan<byte> value)
    {
        int index = -1;
        while (head.TryGetNext(HeaderId.Cookie, default, ref index, out var cookies))
        {
            while (!cookies.IsEmpty)
            {
                int end = cookies.IndexOf((byte)';');
                var pair = Ascii.TrimOws(end < 0 ? cookies : cookies[..end]);
                int equals = pair.IndexOf((byte)'=');
                if (equals > 0 && pair[..equals].SequenceEqual(_name))
                {
                    value = pair[(equals + 1)..].Trim((byte)'"');
                    return true;
                }
                cookies = end < 0 ? default : cookies[(end + 1)..];
            }
        }
        value = default;
        return false;
    }
}
