using System;
using Sidecar.Http;

namespace Sidecar.Routing;

/// <summary>How a route looks at the path.</summary>
internal enum PathMatchKind : byte { Prefix, Exact, SeparatedPrefix, Regex, Connect }

/// <summary>What is known of the client's certificate.</summary>
internal enum ClientCertificate : byte { None, Presented, Validated }

/// <summary>What a request brings to the choice of its route.</summary>
internal readonly ref struct RouteInput
{
    /// <summary>What a request brings.</summary>
    /// <param name="head">The request.</param>
    /// <param name="random">Decides runtime fractions and weights.</param>
    /// <param name="isTls">The downstream connection is TLS.</param>
    /// <param name="certificate">Counts on a TLS connection only.</param>
    internal RouteInput(RequestHead head, ulong random, bool isTls, ClientCertificate certificate = ClientCertificate.None)
        : this(head, random, isTls ? certificate : ClientCertificate.None, WithoutQuery(head.Path)) { }

    private RouteInput(RequestHead head, ulong random, ClientCertificate certificate, ReadOnlySpan<byte> path)
    {
        Head = head;
        Random = random;
        Certificate = certificate;
        Path = path;
    }

    internal readonly RequestHead Head;
    internal readonly ulong Random;
    internal readonly ClientCertificate Certificate;

    /// <summary>The path without its query, which no kind of match looks at.</summary>
    internal readonly ReadOnlySpan<byte> Path;

    /// <summary>A path up to its query or fragment.</summary>
    internal static ReadOnlySpan<byte> WithoutQuery(ReadOnlySpan<byte> path)
    {
        int end = path.IndexOfAny((byte)'?', (byte)'#');
        return end < 0 ? path : path[..end];
    }

    /// <summary>The same with the path up to its first <c>;</c> (ignore_path_parameters_in_path_matching).</summary>
    internal RouteInput WithoutParameters()
    {
        int end = Path.IndexOf((byte)';');
        return end < 0 ? this : new RouteInput(Head, Random, Certificate, Path[..end]);
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

    /// <summary>tls_context: whether the client must have presented a certificate, and one that was found good; null asks nothing. Without TLS nobody has.</summary>
    internal bool? CertificatePresented { get; init; }
    internal bool? CertificateValidated { get; init; }

    /// <summary>How much of a path a prefix rewrite replaces: the prefix that matched, and all of it for the other kinds.</summary>
    internal int RewrittenLength(ReadOnlySpan<byte> path) =>
        Kind is PathMatchKind.Prefix or PathMatchKind.SeparatedPrefix ? Math.Min(Path.Length, path.Length) : path.Length;

    internal bool Matches(in RouteInput input) => MatchesPath(in input) && MatchesRest(in input);

    private bool MatchesPath(in RouteInput input)
    {
        switch (Kind)
        {
            case PathMatchKind.Connect:
                return input.Head.Method == Method.Connect;
            // A CONNECT without a path is a matter of connect_matcher alone, whatever a prefix says.
            case var _ when input.Path.IsEmpty && !input.Head.Contains(HeaderId.Path):
                return false;
            case PathMatchKind.Exact:
                return Same(input.Path, Path);
            case PathMatchKind.Prefix:
                return input.Path.Length >= Path.Length && Same(input.Path[..Path.Length], Path);
            case PathMatchKind.SeparatedPrefix:
                return input.Path.Length >= Path.Length && Same(input.Path[..Path.Length], Path)
                    && (input.Path.Length == Path.Length || input.Path[Path.Length] == '/');
            default:
                return Regex!.IsFullMatch(input.Path);
        }
    }

    private bool MatchesRest(in RouteInput input)
    {
        if (PerMillion < 1_000_000 && input.Random % 1_000_000 >= PerMillion)
            return false;
        if (GrpcOnly && !GrpcRequest.Is(input.Head))
            return false;
        if (CertificatePresented is { } presented && presented != (input.Certificate != ClientCertificate.None))
            return false;
        if (CertificateValidated is { } validated && validated != (input.Certificate == ClientCertificate.Validated))
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
