using System;
using System.Collections.Generic;
using Sidecar.Filters;
using Sidecar.Routing;
using WireMatcher = Envoy.Type.Matcher.V3;
using WireRoute = Envoy.Config.Route.V3;

namespace Sidecar.Config;

/// <summary>Matchers of strings, headers and query parameters, which routes and filters share.</summary>
internal static class MatcherTranslator
{
    /// <summary>envoy.type.matcher.v3.RegexMatcher.</summary>
    internal static LinearRegex? Regex(WireMatcher.RegexMatcher? wire, RegexUse use, ConfigScope scope)
    {
        if (wire is null || wire.Regex.Length == 0)
        {
            scope.Reject("regex", "must not be empty");
            return null;
        }
        var regex = LinearRegex.TryCompile(wire.Regex, use, out string error);
        if (regex is null)
            scope.Reject("regex", $"Invalid regex '{wire.Regex}': {error}");
        return regex;
    }

    /// <summary>envoy.type.matcher.v3.RegexMatchAndSubstitute.</summary>
    internal static RegexRewrite? Rewrite(WireMatcher.RegexMatchAndSubstitute wire, ConfigScope scope)
    {
        if (Regex(wire.Pattern, RegexUse.Search, scope.At("pattern")) is not { } regex)
            return null;
        var rewrite = RegexRewrite.TryCreate(regex, wire.Substitution, out string error);
        if (rewrite is null)
            scope.Reject("substitution", error);
        return rewrite;
    }

    /// <summary>envoy.type.matcher.v3.StringMatcher.</summary>
    internal static StringMatcher? String(WireMatcher.StringMatcher wire, ConfigScope scope)
    {
        switch (wire.MatchPatternCase)
        {
            case WireMatcher.StringMatcher.MatchPatternOneofCase.Exact:
                return new StringMatcher(StringMatchKind.Exact, wire.Exact, wire.IgnoreCase);
            case WireMatcher.StringMatcher.MatchPatternOneofCase.Prefix:
                return NotEmpty(StringMatchKind.Prefix, wire.Prefix, "prefix");
            case WireMatcher.StringMatcher.MatchPatternOneofCase.Suffix:
                return NotEmpty(StringMatchKind.Suffix, wire.Suffix, "suffix");
            case WireMatcher.StringMatcher.MatchPatternOneofCase.Contains:
                return NotEmpty(StringMatchKind.Contains, wire.Contains, "contains");
            case WireMatcher.StringMatcher.MatchPatternOneofCase.SafeRegex:
                if (wire.IgnoreCase)
                    scope.Reject("ignore_case", "ignore_case has no effect for safe_regex; use (?i) in the pattern");
                return Regex(wire.SafeRegex, RegexUse.FullMatch, scope.At("safe_regex")) is { } regex ? new StringMatcher(regex) : null;
            case WireMatcher.StringMatcher.MatchPatternOneofCase.Custom:
                scope.Reject("custom", "custom string matchers are not supported");
                return null;
            default:
                scope.Reject("match_pattern", "is required");
                return null;
        }

        StringMatcher? NotEmpty(StringMatchKind kind, string text, string field)
        {
            if (text.Length > 0)
                return new StringMatcher(kind, text, wire.IgnoreCase);
            scope.Reject(field, "must not be empty");
            return null;
        }
    }

    /// <summary>envoy.config.route.v3.HeaderMatcher.</summary>
    internal static HeaderMatcher? Header(WireRoute.HeaderMatcher wire, ConfigScope scope)
    {
        if (wire.Name.Length == 0)
        {
            scope.Reject("name", "must not be empty");
            return null;
        }
        var kind = HeaderMatchKind.Text;
        StringMatcher? text = null;
        switch (wire.HeaderMatchSpecifierCase)
        {
            case WireRoute.HeaderMatcher.HeaderMatchSpecifierOneofCase.None:
            case WireRoute.HeaderMatcher.HeaderMatchSpecifierOneofCase.PresentMatch:
                kind = HeaderMatchKind.Present;
                break;
            case WireRoute.HeaderMatcher.HeaderMatchSpecifierOneofCase.RangeMatch:
                kind = HeaderMatchKind.Range;
                break;
            case WireRoute.HeaderMatcher.HeaderMatchSpecifierOneofCase.ExactMatch:
                text = new StringMatcher(StringMatchKind.Exact, wire.ExactMatch);
                break;
            case WireRoute.HeaderMatcher.HeaderMatchSpecifierOneofCase.PrefixMatch:
                text = new StringMatcher(StringMatchKind.Prefix, wire.PrefixMatch);
                break;
            case WireRoute.HeaderMatcher.HeaderMatchSpecifierOneofCase.SuffixMatch:
                text = new StringMatcher(StringMatchKind.Suffix, wire.SuffixMatch);
                break;
            case WireRoute.HeaderMatcher.HeaderMatchSpecifierOneofCase.ContainsMatch:
                text = new StringMatcher(StringMatchKind.Contains, wire.ContainsMatch);
                break;
            case WireRoute.HeaderMatcher.HeaderMatchSpecifierOneofCase.SafeRegexMatch:
                text = Regex(wire.SafeRegexMatch, RegexUse.FullMatch, scope.At("safe_regex_match")) is { } regex ? new StringMatcher(regex) : null;
                break;
            case WireRoute.HeaderMatcher.HeaderMatchSpecifierOneofCase.StringMatch:
                text = String(wire.StringMatch, scope.At("string_match"));
                break;
        }
        if (kind == HeaderMatchKind.Text && text is null)
            return null;
        return new HeaderMatcher(wire.Name, kind)
        {
            Text = text,
            Start = wire.RangeMatch?.Start ?? 0,
            End = wire.RangeMatch?.End ?? 0,
            ExpectPresent = !wire.HasPresentMatch || wire.PresentMatch,
            Invert = wire.InvertMatch,
            MissingIsEmpty = wire.TreatMissingHeaderAsEmpty,
        };
    }

    /// <summary>A list of header matchers; those refused are noted and left out.</summary>
    internal static HeaderMatcher[] Headers(IReadOnlyList<WireRoute.HeaderMatcher> wire, string field, ConfigScope scope)
    {
        var matchers = new List<HeaderMatcher>(wire.Count);
        for (int i = 0; i < wire.Count; i++)
        {
            if (Header(wire[i], scope.At($"{field}[{i}]")) is { } matcher)
                matchers.Add(matcher);
        }
        return matchers.ToArray();
    }

    /// <summary>envoy.config.route.v3.QueryParameterMatcher.</summary>
    internal static QueryParameterMatcher? Query(WireRoute.QueryParameterMatcher wire, ConfigScope scope)
    {
        if (wire.Name.Length == 0)
        {
            scope.Reject("name", "must not be empty");
            return null;
        }
        if (wire.QueryParameterMatchSpecifierCase != WireRoute.QueryParameterMatcher.QueryParameterMatchSpecifierOneofCase.StringMatch)
            return new QueryParameterMatcher(wire.Name, null, !wire.HasPresentMatch || wire.PresentMatch);
        return String(wire.StringMatch, scope.At("string_match")) is { } text ? new QueryParameterMatcher(wire.Name, text, true) : null;
    }
}
