using System;
using System.Buffers;
using System.Text;
using Sidecar.Memory;

namespace Sidecar.Routing;

/// <summary>How a <see cref="StringMatcher"/> compares.</summary>
internal enum StringMatchKind : byte { Exact, Prefix, Suffix, Contains, Regex }

/// <summary>envoy.type.matcher.v3.StringMatcher on bytes.</summary>
/// <remarks>Shared immutable; matching allocates nothing.</remarks>
internal sealed class StringMatcher
{
    /// <summary>Longer texts go through a rented buffer.</summary>
    private const int StackBytesMax = 512;

    private readonly StringMatchKind _kind;
    private readonly bool _ignoreCase;
    private readonly byte[] _text;
    private readonly LinearRegex? _regex;

    internal StringMatcher(StringMatchKind kind, string text, bool ignoreCase = false)
    {
        _kind = kind;
        _ignoreCase = ignoreCase;
        _text = Encoding.UTF8.GetBytes(text);
    }

    internal StringMatcher(LinearRegex regex)
    {
        _kind = StringMatchKind.Regex;
        _text = [];
        _regex = regex;
    }

    /// <summary>True when this is an exact match of <paramref name="text"/> itself; CORS gives <c>*</c> a meaning of its own.</summary>
    internal bool IsExactly(ReadOnlySpan<byte> text) => _kind == StringMatchKind.Exact && text.SequenceEqual(_text);

    internal bool Matches(ReadOnlySpan<byte> value)
    {
        switch (_kind)
        {
            case StringMatchKind.Exact:
                return Same(value, _text);
            case StringMatchKind.Prefix:
                return value.Length >= _text.Length && Same(value[.._text.Length], _text);
            case StringMatchKind.Suffix:
                return value.Length >= _text.Length && Same(value[^_text.Length..], _text);
            case StringMatchKind.Contains:
                return Contains(value);
            default:
                return _regex!.IsFullMatch(value);
        }
    }

    /// <summary>The same for a text that is no bytes yet, such as a name in a certificate.</summary>
    internal bool Matches(string value)
    {
        int bytesMax = Encoding.UTF8.GetMaxByteCount(value.Length);
        byte[]? rented = bytesMax > StackBytesMax ? ArrayPool<byte>.Shared.Rent(bytesMax) : null;
        Span<byte> bytes = rented ?? stackalloc byte[StackBytesMax];
        bool matches = Matches(bytes[..Encoding.UTF8.GetBytes(value, bytes)]);
        if (rented is not null)
            ArrayPool<byte>.Shared.Return(rented);
        return matches;
    }

    private bool Same(ReadOnlySpan<byte> left, ReadOnlySpan<byte> right) =>
        _ignoreCase ? Memory.Ascii.EqualsIgnoreCase(left, right) : left.SequenceEqual(right);

    private bool Contains(ReadOnlySpan<byte> value)
    {
        if (!_ignoreCase)
            return value.IndexOf(_text) >= 0;
        for (int i = 0; i + _text.Length <= value.Length; i++)
        {
            if (Same(value.Slice(i, _text.Length), _text))
                return true;
        }
        return false;
    }
}
