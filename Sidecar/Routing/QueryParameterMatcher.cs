using System;
using System.Text;

namespace Sidecar.Routing;

/// <summary>envoy.config.route.v3.QueryParameterMatcher: the first parameter of a name, percent-encoding left as it is, as in Envoy.</summary>
/// <remarks>Shared immutable.</remarks>
internal sealed class QueryParameterMatcher(string name, StringMatcher? text, bool expectPresent)
{
    private readonly byte[] _name = Encoding.UTF8.GetBytes(name);

    internal bool Matches(ReadOnlySpan<byte> path)
    {
        bool present = TryFind(path, _name, out var value);
        return text is null ? present == expectPresent : present && text.Matches(value);
    }

    /// <summary>The value of a query parameter of a path; one without '=' has an empty value.</summary>
    internal static bool TryFind(ReadOnlySpan<byte> path, ReadOnlySpan<byte> name, out ReadOnlySpan<byte> value)
    {
        value = default;
        int question = path.IndexOf((byte)'?');
        if (question < 0)
            return false;
        var query = path[(question + 1)..];
        int fragment = query.IndexOf((byte)'#');
        if (fragment >= 0)
            query = query[..fragment];
        while (!query.IsEmpty)
        {
            int end = query.IndexOf((byte)'&');
            var pair = end < 0 ? query : query[..end];
            int equals = pair.IndexOf((byte)'=');
            if ((equals < 0 ? pair : pair[..equals]).SequenceEqual(name))
            {
                value = equals < 0 ? default : pair[(equals + 1)..];
                return true;
            }
            query = end < 0 ? default : query[(end + 1)..];
        }
        return false;
    }
}
