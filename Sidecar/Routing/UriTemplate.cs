using System;
using System.Collections.Generic;
using Sidecar.Memory;

namespace Sidecar.Routing;

/// <summary>
/// A path template of envoy.extensions.path.match.uri_template: <c>*</c> is one segment, <c>**</c> any number of them and none, <c>{name}</c> one segment,
/// <c>{name=…}</c> what stands in it. Behind <c>**</c> come literals only, so that a match is one pass over the path.
/// </summary>
/// <remarks>
/// Shared immutable; matching allocates nothing. Envoy's operators stop at bytes that RFC 3986 does not have in a path; here a segment is whatever stands
/// between two slashes, since a rule that denies one must not be got around by a byte.
/// </remarks>
internal sealed class UriTemplate
{
    private const int VariablesMax = 5;
    private const int VariableNameMax = 16;

    private enum PieceKind : byte { Literal, Segment, Rest }

    private readonly record struct Piece(PieceKind Kind, byte[] Text);

    private readonly Piece[] _pieces;

    private UriTemplate(Piece[] pieces) => _pieces = pieces;

    /// <summary>Whether the whole of a path, without its query, is of this form.</summary>
    internal bool Matches(ReadOnlySpan<byte> path)
    {
        foreach (var (kind, text) in _pieces)
        {
            switch (kind)
            {
                case PieceKind.Literal:
                    if (!path.StartsWith(text))
                        return false;
                    path = path[text.Length..];
                    break;
                case PieceKind.Segment:
                    int slash = path.IndexOf((byte)'/');
                    int end = slash < 0 ? path.Length : slash;
                    // With the literal that ends the template within its last segment.
                    if (end <= text.Length || !path[..end].EndsWith(text))
                        return false;
                    path = path[end..];
                    break;
                default:
                    return path.EndsWith(text);
            }
        }
        return path.IsEmpty;
    }

    /// <summary>Reads a template; null, and what is wrong with it, when it is none.</summary>
    internal static UriTemplate? TryParse(string template, out string error)
    {
        var parser = new Parser(template);
        error = parser.Parse();
        return error.Length == 0 ? new UriTemplate(parser.Pieces()) : null;
    }

    /// <summary>Splits a template; a literal is what stands between two operators, slashes included.</summary>
    private sealed class Parser(string template)
    {
        private readonly List<(PieceKind Kind, string Text)> _parts = [];
        private readonly HashSet<string> _names = new(StringComparer.Ordinal);
        private bool _hasRest;

        internal string Parse()
        {
            if (template.Length == 0 || template[0] != '/' || template.AsSpan().IndexOfAnyExceptInRange('!', '~') >= 0)
                return "Invalid pattern";
            AddLiteral("/");
            for (int at = 1; at < template.Length;)
            {
                int end;
                string problem;
                if (template[at] == '{')
                {
                    end = template.IndexOf('}', at) + 1;
                    problem = end == 0 ? "Unmatched variable bracket" : AddVariable(template[(at + 1)..(end - 1)]);
                }
                else
                {
                    end = EndOfToken(template, at);
                    problem = AddToken(template[at..end]);
                }
                if (problem.Length > 0)
                    return problem;
                if (end == template.Length)
                    return "";
                if (template[end] != '/')
                    return AddSuffix(template[end..]);
                AddLiteral("/");
                at = end + 1;
            }
            return "";
        }

        internal Piece[] Pieces()
        {
            var pieces = new List<Piece>(_parts.Count);
            for (int i = 0; i < _parts.Count; i++)
            {
                var (kind, text) = _parts[i];
                // What the last segment, or the rest, ends with belongs to it.
                bool takesNext = i + 1 == _parts.Count - 1 && (kind == PieceKind.Rest || (kind == PieceKind.Segment && _parts[i + 1].Text[0] != '/'));
                pieces.Add(new Piece(kind, Ascii.Bytes(takesNext ? _parts[++i].Text : text)));
            }
            return pieces.ToArray();
        }

        // An operator, or a literal up to the next slash.
        private static int EndOfToken(string text, int at)
        {
            if (text[at] == '*')
                return at + (text.AsSpan(at).StartsWith("**") ? 2 : 1);
            int slash = text.IndexOf('/', at);
            return slash < 0 ? text.Length : slash;
        }

        private string AddToken(string token)
        {
            if (token is not ("*" or "**"))
                return IsLiteral(token) ? AddLiteral(token) : "Invalid literal";
            if (_hasRest)
                return "Glob after text glob.";
            _hasRest = token == "**";
            _parts.Add((_hasRest ? PieceKind.Rest : PieceKind.Segment, ""));
            return "";
        }

        private string AddVariable(string variable)
        {
            int equals = variable.IndexOf('=');
            string name = equals < 0 ? variable : variable[..equals];
            if (!IsName(name))
                return "Invalid variable name";
            if (_names.Count == VariablesMax)
                return "Exceeded variable count limit";
            if (name.Length > VariableNameMax)
                return "Invalid variable length";
            if (!_names.Add(name))
                return "Repeated variable name";
            if (equals < 0)
                return _hasRest ? "Implicit variable path glob after text glob." : AddToken("*");
            string pattern = variable[(equals + 1)..];
            if (pattern.Length == 0)
                return "Empty variable match";
            for (int at = 0; ;)
            {
                int end = EndOfToken(pattern, at);
                string problem = AddToken(pattern[at..end]);
                if (problem.Length > 0 || end == pattern.Length)
                    return problem;
                if (pattern[end] != '/' || end + 1 == pattern.Length)
                    return "Invalid variable match";
                AddLiteral("/");
                at = end + 1;
            }
        }

        private string AddSuffix(string suffix)
        {
            if (suffix.Contains('/'))
                return "Prefix match not supported.";
            return IsLiteral(suffix) ? AddLiteral(suffix) : "Invalid literal";
        }

        private string AddLiteral(string text)
        {
            if (_parts.Count > 0 && _parts[^1].Kind == PieceKind.Literal)
                _parts[^1] = (PieceKind.Literal, _parts[^1].Text + text);
            else
                _parts.Add((PieceKind.Literal, text));
            return "";
        }

        // RFC 3986 pchar without the operator's own character.
        private static bool IsLiteral(string text)
        {
            foreach (char c in text)
            {
                if (!char.IsAsciiLetterOrDigit(c) && !"-._~%!$&'()+,;:@=".Contains(c))
                    return false;
            }
            return text.Length > 0;
        }

        private static bool IsName(string text)
        {
            foreach (char c in text)
            {
                if (!char.IsAsciiLetterOrDigit(c) && c != '_')
                    return false;
            }
            return text.Length > 0 && char.IsAsciiLetter(text[0]);
        }
    }
}
