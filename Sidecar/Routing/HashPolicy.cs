using System;
using Sidecar.Http;
using Sidecar.Memory;

namespace Sidecar.Routing;

/// <summary>What a <see cref="HashPolicy"/> hashes.</summary>
internal enum HashSource : byte { Header, Cookie, SourceIp, QueryParameter }

/// <summary>envoy.config.route.v3.RouteAction.HashPolicy.</summary>
/// <remarks>Shared immutable.</remarks>
internal sealed class HashPolicy(HashSource source, string name)
{
    private readonly byte[] _name = Ascii.Bytes(source == HashSource.Header ? name.ToLowerInvariant() : name);

    internal bool Terminal { get; init; }
    internal RegexRewrite? Rewrite { get; init; }

    /// <summary>The hash of what it names, or null when the request has none.</summary>
    internal ulong? Evaluate(IHeaderFacts facts)
    {
        ReadOnlySpan<byte> value;
        switch (source)
        {
            case HashSource.Header:
                if (!facts.Request.TryGet(_name, out value))
                    return null;
                break;
            case HashSource.Cookie:
                if (!TryCookie(facts.Request, out value))
                    return null;
                break;
            case HashSource.QueryParameter:
                if (!QueryParameterMatcher.TryFind(facts.Request.Path, _name, out value))
                    return null;
                break;
            default:
                Span<byte> address = stackalloc byte[128];
                var text = new SpanWriter(address);
                facts.WriteAddress(AddressFact.DownstreamRemote, AddressPart.Host, ref text);
                return text.Length == 0 ? null : XxHash64.Hash(text.Written);
        }
        if (Rewrite is null)
            return XxHash64.Hash(value);
        Span<byte> buffer = stackalloc byte[1024];
        var writer = new SpanWriter(buffer);
        Rewrite.ReplaceAll(value, ref writer);
        return XxHash64.Hash(writer.Overflowed ? value : writer.Written);
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
