using System;
using System.Buffers;
using System.Runtime.CompilerServices;
using Sidecar.Memory;

namespace Sidecar.Http;

/// <summary>What to do with <c>%2F</c> and <c>%5C</c> in a path (Envoy's path_with_escaped_slashes_action; its default means KeepUnchanged).</summary>
internal enum EscapedSlashesAction : byte { KeepUnchanged, RejectRequest, UnescapeAndRedirect, UnescapeAndForward }

/// <summary>Path options of the HTTP connection manager, Envoy's names.</summary>
internal readonly record struct PathOptions(bool NormalizePath, bool MergeSlashes, EscapedSlashesAction EscapedSlashes);

/// <summary>What <see cref="PathNormalizer"/> decided.</summary>
internal enum PathResult : byte
{
    /// <summary>The request goes on; its path is canonical.</summary>
    Continue,
    /// <summary>400, <c>path_normalization_failed</c>.</summary>
    Reject,
    /// <summary>307 to the path as it now is.</summary>
    Redirect,
}

/// <summary>
/// Makes the one path that router, policies and logs all see, so that none of them can be shown another than the upstream gets (CVE-2019-9901,
/// CVE-2021-29492, CVE-2021-31920, CVE-2021-32779 and their kin). The query is never touched.
/// </summary>
/// <remarks>
/// In order: the fragment is cut off; an encoded NUL is refused; escaped slashes are treated as configured; with NormalizePath '\' becomes '/', encoded unreserved
/// characters are decoded, and dot segments are resolved (RFC 3986 section 6.2.2); with MergeSlashes runs of '/' become one. A dot
/// segment with a path parameter (<c>..;x</c>), which some servers resolve and others do not, is refused when normalizing.
/// </remarks>
internal static class PathNormalizer
{
    private const int StackBytes = 1024;

    /// <summary>Bytes that may call for work; without them and without "/." and "//" a path is canonical.</summary>
    private static readonly SearchValues<byte> s_special = SearchValues.Create("%\\#"u8);

    /// <summary>Normalizes <c>:path</c> of a request in place; requests without one (CONNECT) and <c>*</c> go on as they are.</summary>
    [SkipLocalsInit]
    internal static PathResult Normalize(RequestHead head, PathOptions options)
    {
        var path = head.Path;
        if (path.IsEmpty || path[0] != '/' || IsCanonical(path, options))
            return PathResult.Continue;

        byte[]? rented = null;
        Span<byte> buffer = path.Length <= StackBytes ? stackalloc byte[StackBytes] : rented = ArrayPool<byte>.Shared.Rent(path.Length);
        var result = Normalize(path, options, buffer, out int length);
        if (result != PathResult.Reject && !path.SequenceEqual(buffer[..length]))
            head.Set(HeaderId.Path, buffer[..length]);
        if (rented is not null)
            ArrayPool<byte>.Shared.Return(rented);
        return result;
    }

    /// <summary>Writes the canonical form of an origin-form target to <paramref name="destination"/>, which must be as long as the target.</summary>
    internal static PathResult Normalize(ReadOnlySpan<byte> target, PathOptions options, Span<byte> destination, out int length)
    {
        length = 0;
        int fragment = target.IndexOf((byte)'#');
        if (fragment >= 0)
            target = target[..fragment];
        int query = target.IndexOf((byte)'?');
        if (query < 0)
            query = target.Length;

        target.CopyTo(destination);
        var path = destination[..query];
        var result = Unescape(path, options, out int pathLength);
        if (result == PathResult.Reject)
            return result;
        if (options.NormalizePath && !ResolveDots(path[..pathLength], out pathLength))
            return PathResult.Reject;
        if (options.MergeSlashes)
            pathLength = MergeSlashes(path[..pathLength]);
        target[query..].CopyTo(destination[pathLength..]);
        length = pathLength + target.Length - query;
        return result;
    }

    private static bool IsCanonical(ReadOnlySpan<byte> path, PathOptions options) =>
        !path.ContainsAny(s_special) && !(options.NormalizePath && path.IndexOf("/."u8) >= 0) && !(options.MergeSlashes && path.IndexOf("//"u8) >= 0);

    // Decodes what the options say; afterwards a '%' is data.
    private static PathResult Unescape(Span<byte> path, PathOptions options, out int length)
    {
        var result = PathResult.Continue;
        int to = 0;
        for (int from = 0; from < path.Length; from++)
        {
            byte b = path[from];
            if (b == '\\' && options.NormalizePath)
                b = (byte)'/';
            if (b != '%' || from + 2 >= path.Length || Ascii.HexValue(path[from + 1]) < 0 || Ascii.HexValue(path[from + 2]) < 0)
            {
                path[to++] = b;
                continue;
            }
            byte decoded = (byte)((Ascii.HexValue(path[from + 1]) << 4) | Ascii.HexValue(path[from + 2]));
            bool decode = false;
            if (decoded == 0)
            {
                length = 0;
                return PathResult.Reject;
            }
            if (decoded is (byte)'/' or (byte)'\\')
            {
                if (options.EscapedSlashes == EscapedSlashesAction.RejectRequest)
                {
                    length = 0;
                    return PathResult.Reject;
                }
                decode = options.EscapedSlashes != EscapedSlashesAction.KeepUnchanged;
                if (options.EscapedSlashes == EscapedSlashesAction.UnescapeAndRedirect)
                    result = PathResult.Redirect;
                if (decode && options.NormalizePath)
                    decoded = (byte)'/';
            }
            else if (options.NormalizePath)
            {
                // Not behind a '%' that started no escape: "%2%46" must not become "%2F".
                decode = IsUnreserved(decoded) && !(to >= 1 && path[to - 1] == '%') && !(to >= 2 && path[to - 2] == '%');
            }
            if (decode)
            {
                path[to++] = decoded;
                from += 2;
            }
            else
            {
                path[to++] = b;
            }
        }
        length = to;
        return result;
    }

    // RFC 3986 section 5.2.4, over a path that starts with '/': segments are moved to the front, ".." takes the last one away.
    private static bool ResolveDots(Span<byte> path, out int length)
    {
        int to = 0;
        int from = 0;
        while (from < path.Length)
        {
            // path[from] is the '/' before a segment.
            var segment = path[(from + 1)..];
            int end = segment.IndexOf((byte)'/');
            bool last = end < 0;
            if (!last)
                segment = segment[..end];
            from += 1 + segment.Length;
            int dots = DotsOf(segment);
            if (dots < 0)
            {
                length = 0;
                return false;
            }
            if (dots == 0)
            {
                path[to] = (byte)'/';
                segment.CopyTo(path[(to + 1)..]);
                to += 1 + segment.Length;
                continue;
            }
            if (dots == 2)
                to = Math.Max(0, path[..to].LastIndexOf((byte)'/'));
            if (last)
                path[to++] = (byte)'/';
        }
        length = to;
        return true;
    }

    // 1 for ".", 2 for "..", 0 for others, -1 for either with a parameter.
    private static int DotsOf(ReadOnlySpan<byte> segment)
    {
        if (segment.Length == 0 || segment[0] != '.')
            return 0;
        int dots = segment.Length > 1 && segment[1] == '.' ? 2 : 1;
        if (segment.Length == dots)
            return dots;
        return segment[dots] == ';' ? -1 : 0;
    }

    private static int MergeSlashes(Span<byte> path)
    {
        int to = 0;
        for (int from = 0; from < path.Length; from++)
        {
            if (path[from] == '/' && to > 0 && path[to - 1] == '/')
                continue;
            path[to++] = path[from];
        }
        return to;
    }

    private static bool IsUnreserved(byte b) =>
        (uint)((b | 0x20) - 'a') <= 'z' - 'a' || Ascii.IsDigit(b) || b is (byte)'-' or (byte)'.' or (byte)'_' or (byte)'~';
}
