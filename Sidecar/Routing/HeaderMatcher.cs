using System;
using System.Buffers;
using Sidecar.Http;
using Sidecar.Memory;

namespace Sidecar.Routing;

/// <summary>What a <see cref="HeaderMatcher"/> asks of its header.</summary>
internal enum HeaderMatchKind : byte { Present, Text, Range }

/// <summary>envoy.config.route.v3.HeaderMatcher.</summary>
/// <remarks>
/// Several fields of one name are judged as one value, joined by commas (RFC 9110 section 5.3), as Envoy's routes do: a second field cannot hide behind the first.
/// Where a match decides about access that is not enough: "deny x-role: admin" would no longer see an admin who sends the field twice. Such a matcher is
/// <see cref="PerValue"/> and holds as soon as one of the values does.
/// Shared immutable; matching allocates nothing.
/// </remarks>
internal sealed class HeaderMatcher
{
    /// <summary>Longer joined values go through a rented buffer.</summary>
    private const int StackBytesMax = 512;

    private readonly HeaderMatchKind _kind;
    private readonly byte[] _name;
    private readonly HeaderId _id;

    internal HeaderMatcher(string name, HeaderMatchKind kind)
    {
        _kind = kind;
        // HTTP/1's host and HTTP/2's :authority are the same field.
        string lower = name.ToLowerInvariant();
        _name = Memory.Ascii.Bytes(lower == "host" ? ":authority" : lower);
        _id = HeaderNames.Lookup(_name);
    }

    private HeaderMatcher(HeaderMatcher other)
    {
        _kind = other._kind;
        _name = other._name;
        _id = other._id;
        Text = other.Text;
        Start = other.Start;
        End = other.End;
        ExpectPresent = other.ExpectPresent;
        Invert = other.Invert;
        MissingIsEmpty = other.MissingIsEmpty;
    }

    internal StringMatcher? Text { get; init; }

    /// <summary>[Start, End) of a decimal value.</summary>
    internal long Start { get; init; }
    internal long End { get; init; }
    internal bool ExpectPresent { get; init; } = true;
    internal bool Invert { get; init; }
    internal bool MissingIsEmpty { get; init; }

    /// <summary>Judges each of several values by itself instead of all as one.</summary>
    internal bool PerValue { get; init; }

    /// <summary>The same question, <see cref="PerValue"/>.</summary>
    internal HeaderMatcher JudgingEachValue() => new(this) { PerValue = true };

    internal bool Matches(HeaderMap headers)
    {
        int index = -1;
        bool present = headers.TryGetNext(_id, _name, ref index, out var value);
        if (_kind == HeaderMatchKind.Present)
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
        return (PerValue ? Judge(value) || AnyMatches(headers, second, index) : JoinedMatches(headers)) != Invert;
    }

    private bool AnyMatches(HeaderMap headers, ReadOnlySpan<byte> value, int index)
    {
        do
        {
            if (Judge(value))
                return true;
        }
        while (headers.TryGetNext(_id, _name, ref index, out value));
        return false;
    }

    private bool JoinedMatches(HeaderMap headers)
    {
        int length = 0;
        int index = -1;
        while (headers.TryGetNext(_id, _name, ref index, out var value))
            length += value.Length + 1;
        byte[]? rented = length > StackBytesMax ? ArrayPool<byte>.Shared.Rent(length) : null;
        var writer = new SpanWriter(rented ?? stackalloc byte[StackBytesMax]);
        index = -1;
        while (headers.TryGetNext(_id, _name, ref index, out var value))
        {
            writer.Write(value);
            writer.WriteByte((byte)',');
        }
        bool matches = Judge(writer.Written[..^1]);
        if (rented is not null)
            ArrayPool<byte>.Shared.Return(rented);
        return matches;
    }

    private bool Judge(ReadOnlySpan<byte> value)
    {
        if (_kind == HeaderMatchKind.Text)
            return Text!.Matches(value);
        bool negative = value.Length > 0 && value[0] == '-';
        if (!Memory.Ascii.TryParseDecimal(negative ? value[1..] : value, out long number))
            return false;
        number = negative ? -number : number;
        return number >= Start && number < End;
    }
}
