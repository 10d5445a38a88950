using System;
using Sidecar.Http;
using Sidecar.Memory;

namespace Sidecar.Routing;

/// <summary>What a <see cref="HeaderMatcher"/> asks of its header.</summary>
internal enum HeaderMatchKind : byte { Present, Text, Range }

/// <summary>
/// envoy.config.route.v3.HeaderMatcher. Several fields of one name are judged as one value, joined by commas (RFC 9110 section 5.3), as Envoy does, so
/// that a second field cannot hide the first.
/// </summary>
/// <remarks>Shared immutable; matching allocates nothing while the joined value fits the stack.</remarks>
internal sealed class HeaderMatcher(string name, HeaderMatchKind kind)
{
    private const int JoinedBytesMax = 4096;

    private readonly byte[] _name = Memory.Ascii.Bytes(name.ToLowerInvariant());
    private readonly HeaderId _id = HeaderNames.Lookup(Memory.Ascii.Bytes(name == "host" || name == "Host" ? ":authority" : name.ToLowerInvariant()));

    internal StringMatcher? Text { get; init; }

    /// <summary>[Start, End) of a decimal value.</summary>
    internal long Start { get; init; }
    internal long End { get; init; }
    internal bool ExpectPresent { get; init; } = true;
    internal bool Invert { get; init; }
    internal bool MissingIsEmpty { get; init; }

    internal bool Matches(HeaderMap headers)
    {
        int index = -1;
        bool present = headers.TryGetNext(_id, _name, ref index, out var value);
        if (kind == HeaderMatchKind.Present)
            return (present == ExpectPresent) != Invert;
        if (!present)
        {
            // A missing header never matches, inverted or not, unless it is taken for an empty one (Envoy's rule).
            if (!MissingIsEmpty)
                return false;
            return Judge(default) != Invert;
        }
        if (!headers.TryGetNext(_id, _name, ref index, out var second))
            return Judge(value) != Invert;
        return MatchesJoined(headers, value, second, index) != Invert;
    }

    private bool MatchesJoined(HeaderMap headers, ReadOnlySpan<byte> first, ReadOnlySpan<byte> second, int index)
    {
        Span<byte> joined = stackalloc byte[JoinedBytesMax];
        var writer = new SpanWriter(joined);
        writer.Write(first);
        do
        {
            writer.WriteByte((byte)',');
            writer.Write(second);
        }
        while (headers.TryGetNext(_id, _name, ref index, out second));
        return !writer.Overflowed && Judge(writer.Written);
    }

    private bool Judge(ReadOnlySpan<byte> value)
    {
        if (kind == HeaderMatchKind.Text)
            return Text!.Matches(value);
        bool negative = value.Length > 0 && value[0] == '-';
        if (!Memory.Ascii.TryParseDecimal(negative ? value[1..] : value, out long number))
            return false;
        number = negative ? -number : number;
        return number >= Start && number < End;
    }
}
