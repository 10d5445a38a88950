using System;
using Sidecar.Http;

namespace Sidecar.Routing;

/// <summary>How a route looks at the path.</summary>
internal enum PathMatchKind : byte { Prefix, Exact, SeparatedPrefix, Regex, Connect }

/// <summary>What a request brings to the choice of its route.</summary>
/// <param name="head">The request.</param>
/// <param name="random">Decides runtime fractions.</param>
/// <param name="isTls">The downstream connection is TLS.</param>
internal readonly ref struct RouteInput(RequestHead head, ulong random, bool isTls)
{
    internal readonly RequestHead Head = head;
    internal readonly ulong Random = random;
    internal readonly bool IsTls = isTls;

    /// <summary>The path without its query.</summary>
    internal readonly ReadOnlySpan<byte> Path = WithoutQuery(head.Path);

    /// <summary>A path up to its query or fragment.</summary>
    internal static ReadOnlySpan<byte> WithoutQuery(ReadOnlySpan<byte> path)
    {
        int end = path.IndexOfAny((byte)'?', (byte)'#');
        return end < 0 ? path : path[..end];
    }
}

/// <summary>envoy.config.route.v3.RouteMatch: all of it must hold.</summary>
/// <remarks>Shared immutable; matching allocates nothing.</remarks>
internal sealed class RouteMatch
{
    internal PathMatchKind Kind { get; init; }

    /// <summary>Path, prefix or separated prefix as configured.</summary>
    internal byte[] Path { get; init; } = [];
    internal LinearRegex? Regex { get; init; }
    internal bool CaseSensitive { get; init; } = true;
    internal HeaderMatcher[] Headers { get; init; } = [];
    internal QueryParameterMatcher[] Query { get; init; } = [];
    internal bool GrpcOnly { get; init; }

    /// <summary>Share of a million requests it applies to.</summary>
    internal uint PerMillion { get; init; } = 1_000_000;

    /// <summary>Whether the client must have presented a certificate; null asks nothing. Without TLS nobody has.</summary>
    internal bool? CertificatePresented { get; init; }

    internal bool Matches(in RouteInput input) => MatchesPath(in input) && MatchesRest(in input);

    internal bool MatchesPath(in RouteInput input)
    {
        switch (Kind)
        {
            case PathMatchKind.Exact:
                return Same(input.Path, Path);
            case PathMatchKind.Prefix:
                // A prefix is compared with the query as well, so that "/a?b" can be one (Envoy's rule).
                var whole = input.Head.Path;
                return whole.Length >= Path.Length && Same(whole[..Path.Length], Path);
            case PathMatchKind.SeparatedPrefix:
                return input.Path.Length >= Path.Length && Same(input.Path[..Path.Length], Path)
                    && (input.Path.Length == Path.Length || input.Path[Path.Length] == '/');
            case PathMatchKind.Regex:
                return Regex!.IsFullMatch(input.Path);
            default:
                return input.Head.Method == Method.Connect;
        }
    }

    internal bool MatchesRest(in RouteInput input)
    {
        if (PerMillion < 1_000_000 && input.Random % 1_000_000 >= PerMillion)
            return false;
        if (GrpcOnly && !GrpcRequest.Is(input.Head))
            return false;
        if (CertificatePresented is true)
            return false;
        foreach (var header in Headers)
        {
            if (!header.Matches(input.Head))
                return false;
        }
        foreach (var parameter in Query)
        {
            if (!parameter.Matches(input.Head.Path))
                return false;
        }
        return true;
    }

    private bool Same(ReadOnlySpan<byte> left, ReadOnlySpan<byte> right) =>
        CaseSensitive ? left.SequenceEqual(right) : Memory.Ascii.EqualsIgnoreCase(left, right);
}
