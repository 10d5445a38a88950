using Sidecar.Routing;

namespace Sidecar.Filters;

using Wire = global::Envoy.Type.Matcher.V3;

/// <summary>envoy.type.matcher.v3.MetadataMatcher as a question to dynamic metadata.</summary>
/// <remarks>Control loop only.</remarks>
internal static class MetadataMatcherReader
{
    /// <summary>Reads a matcher; null, with the reasons in the scope, when it is refused.</summary>
    internal static MetadataMatcher? Read(Wire.MetadataMatcher wire, ConfigScope scope)
    {
        if (wire.Filter.Length == 0)
            scope.Reject("filter", "value length must be at least 1 characters");
        if (wire.Path.Count == 0)
            scope.Reject("path", "value must contain at least 1 item(s)");
        string[] path = new string[wire.Path.Count];
        for (int i = 0; i < path.Length; i++)
        {
            path[i] = wire.Path[i].Key;
            if (path[i].Length == 0)
                scope.Reject($"path[{i}].key", "value length must be at least 1 characters");
        }
        if (wire.Value is null)
            scope.Reject("value", "is required");
        var value = wire.Value is null ? null : Value(wire.Value, scope.At("value"));
        return value is null || path.Length == 0 ? null : new MetadataMatcher(wire.Filter, path, value, wire.Invert);
    }

    private static ValueMatcher? Value(Wire.ValueMatcher wire, ConfigScope scope)
    {
        switch (wire.MatchPatternCase)
        {
            case Wire.ValueMatcher.MatchPatternOneofCase.NullMatch:
                return new ValueMatcher.Null();
            case Wire.ValueMatcher.MatchPatternOneofCase.DoubleMatch:
                return Number(wire.DoubleMatch, scope.At("double_match"));
            case Wire.ValueMatcher.MatchPatternOneofCase.StringMatch:
                return scope.Services.StringMatcher(wire.StringMatch, scope.At("string_match")) is { } text ? new ValueMatcher.Text(text) : null;
            case Wire.ValueMatcher.MatchPatternOneofCase.BoolMatch:
                return new ValueMatcher.Boolean(wire.BoolMatch);
            case Wire.ValueMatcher.MatchPatternOneofCase.PresentMatch:
                return new ValueMatcher.Present(wire.PresentMatch);
            case Wire.ValueMatcher.MatchPatternOneofCase.ListMatch:
                if (wire.ListMatch.OneOf is null)
                    scope.Reject("list_match.match_pattern", "is required");
                return wire.ListMatch.OneOf is not null && Value(wire.ListMatch.OneOf, scope.At("list_match.one_of")) is { } item ? new ValueMatcher.OneOf(item) : null;
            case Wire.ValueMatcher.MatchPatternOneofCase.OrMatch:
                return Or(wire.OrMatch, scope.At("or_match"));
            default:
                scope.Reject("match_pattern", "is required");
                return null;
        }
    }

    private static ValueMatcher? Number(Wire.DoubleMatcher wire, ConfigScope scope)
    {
        switch (wire.MatchPatternCase)
        {
            case Wire.DoubleMatcher.MatchPatternOneofCase.Exact:
                return new ValueMatcher.Number(wire.Exact);
            case Wire.DoubleMatcher.MatchPatternOneofCase.Range:
                return new ValueMatcher.NumberRange(wire.Range.Start, wire.Range.End);
            default:
                scope.Reject("match_pattern", "is required");
                return null;
        }
    }

    private static ValueMatcher? Or(Wire.OrMatcher wire, ConfigScope scope)
    {
        if (wire.ValueMatchers.Count < 2)
            scope.Reject("value_matchers", "value must contain at least 2 item(s)");
        var matchers = new ValueMatcher[wire.ValueMatchers.Count];
        for (int i = 0; i < matchers.Length; i++)
        {
            if (Value(wire.ValueMatchers[i], scope.At($"value_matchers[{i}]")) is not { } matcher)
                return null;
            matchers[i] = matcher;
        }
        return new ValueMatcher.Or(matchers);
    }
}
