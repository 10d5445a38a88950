using System;
using System.Collections.Generic;
using System.Linq;
using System.Text.RegularExpressions;

namespace Sidecar.Tests.Tidy;

/// <summary>
/// One C# file as the tidy rules see it: its code with comments and the content of strings blanked (so that line numbers stay),
/// its using lines, and its members. A reader of well-formed source, not a compiler.
/// </summary>
internal sealed partial class SourceFile
{
    internal SourceFile(string path, string text)
    {
        Path = path;
        Text = text;
        Code = BlankCommentsAndStrings(text);
    }

    /// <summary>From the project's root, with '/'.</summary>
    internal string Path { get; }

    internal string Text { get; }

    /// <summary>The text with every comment and the content of every string replaced by spaces; same length, same lines.</summary>
    internal string Code { get; }

    internal string Folder => Path[..Path.LastIndexOf('/')];

    internal string Name => Path[(Path.LastIndexOf('/') + 1)..];

    internal int LineOf(int offset) => 1 + Code.AsSpan(0, offset).Count('\n');

    internal string? Namespace => NamespaceLine().Match(Code) is { Success: true } match ? match.Groups[1].Value : null;

    /// <summary>Each using line: its alias, or null, and the name used (without <c>global::</c>).</summary>
    internal IEnumerable<(string? Alias, string Target, int Line)> Usings =>
        UsingLine().Matches(Code).Select(match => (match.Groups[1].Success ? match.Groups[1].Value : null, match.Groups[2].Value, LineOf(match.Index)));

    /// <summary>Types declared at the outermost level, with the offset of the declaration.</summary>
    internal IEnumerable<(string Name, int Offset)> TopLevelTypes =>
        TypeAtColumnZero().Matches(Code).Select(match => (match.Groups[1].Value, match.Index));

    /// <summary>
    /// The members of all types of the file: fields, properties, methods, and the headers of nested and outer types (with their
    /// primary constructors). A member's text is its declaration and body together.
    /// </summary>
    internal IEnumerable<(string Text, bool IsStatic, int Offset)> Members()
    {
        var body = Code;
        int at = NamespaceLine().Match(body) is { Success: true } line ? line.Index + line.Length : 0;
        int start = at;
        while (at < body.Length)
        {
            char c = body[at];
            if (c == '(' || c == '[')
            {
                at = SkipBalanced(body, at);
            }
            else if (c == ';')
            {
                yield return Member(start, at + 1);
                start = ++at;
            }
            else if (c == '}')
            {
                start = ++at;                                    // the end of a type
            }
            else if (c == '{')
            {
                var header = body[start..at];
                if (TypeHeader().IsMatch(header))
                {
                    yield return Member(start, at);
                    start = ++at;                                // its members follow
                    continue;
                }
                at = SkipBalanced(body, at);
                bool isExpression = ArrowOrAssignment().IsMatch(header);
                bool isInitialised = InitialiserFollows().IsMatch(body[at..Math.Min(at + 40, body.Length)]);
                if (isExpression || isInitialised)
                    continue;                                    // ends at its ';'
                yield return Member(start, at);
                start = at;
            }
            else
            {
                at++;
            }
        }

        (string, bool, int) Member(int from, int to)
        {
            while (from < to && char.IsWhiteSpace(body[from]))
                from++;
            var text = body[from..to];
            var declaration = text.Split(['(', '{', '='], 2)[0];
            return (text, StaticWord().IsMatch(declaration), from);
        }
    }

    private static int SkipBalanced(string text, int open)
    {
        int depth = 0;
        for (int i = open; i < text.Length; i++)
        {
            if (text[i] is '(' or '[' or '{')
                depth++;
            else if (text[i] is ')' or ']' or '}' && --depth == 0)
                return i + 1;
        }
        return text.Length;
    }

    private static string BlankCommentsAndStrings(string text)
    {
        var code = text.ToCharArray();
        int i = 0;
        while (i < code.Length)
        {
            if (At("//"))
                Blank(i, EndOf("\n", i, include: false));
            else if (At("/*"))
                Blank(i, EndOf("*/", i + 2, include: true));
            else if (text[i] == '\'')
                BlankInside(i, EndOfEscaped('\'', i + 1), 1);
            else if (text[i] == '"')
                BlankString();
            else
                i++;
        }
        return new string(code);

        bool At(string token) => string.CompareOrdinal(text, i, token, 0, token.Length) == 0;

        int EndOf(string token, int from, bool include)
        {
            int found = text.IndexOf(token, Math.Min(from, text.Length), StringComparison.Ordinal);
            return found < 0 ? text.Length : found + (include ? token.Length : 0);
        }

        int EndOfEscaped(char quote, int from)
        {
            while (from < text.Length && text[from] != quote && text[from] != '\n')
                from += text[from] == '\\' ? 2 : 1;
            return Math.Min(from + 1, text.Length);
        }

        void BlankString()
        {
            int quotes = 1;
            while (i + quotes < text.Length && text[i + quotes] == '"')
                quotes++;
            bool verbatim = (i > 0 && text[i - 1] == '@') || (i > 1 && text[i - 1] == '$' && text[i - 2] == '@');
            if (quotes >= 3)
                BlankInside(i, EndOf(new string('"', quotes), i + quotes, include: true), quotes);
            else if (quotes == 2 && !verbatim)
                i += 2;
            else if (verbatim)
            {
                int end = i + 1;
                while (end < text.Length && (text[end] != '"' || (end + 1 < text.Length && text[end + 1] == '"')))
                    end += text[end] == '"' ? 2 : 1;
                BlankInside(i, Math.Min(end + 1, text.Length), 1);
            }
            else
                BlankInside(i, EndOfEscaped('"', i + 1), 1);
        }

        void BlankInside(int from, int to, int quoteLength)
        {
            Blank(from + quoteLength, Math.Max(from + quoteLength, to - quoteLength));
            i = to;
        }

        void Blank(int from, int to)
        {
            for (int at = from; at < to; at++)
            {
                if (code[at] != '\n')
                    code[at] = ' ';
            }
            i = to;
        }
    }

    [GeneratedRegex(@"^namespace\s+([\w.]+)\s*;", RegexOptions.Multiline)]
    private static partial Regex NamespaceLine();

    [GeneratedRegex(@"^\s*(?:global\s+)?using\s+(?:static\s+)?(?:(\w+)\s*=\s*)?(?:global::)?([\w.]+)(?:<[^;]*>)?\s*;", RegexOptions.Multiline)]
    private static partial Regex UsingLine();

    [GeneratedRegex(@"^(?:(?:public|internal|file|sealed|abstract|static|readonly|partial|unsafe|ref)\s+)*(?:class|struct|interface|enum|record(?:\s+(?:class|struct))?|delegate\s+[\w.<>?\[\]*]+)\s+(\w+)", RegexOptions.Multiline)]
    private static partial Regex TypeAtColumnZero();

    [GeneratedRegex(@"\b(class|struct|interface|enum|record)\s+\w+")]
    private static partial Regex TypeHeader();

    [GeneratedRegex(@"=>|[^=!<>]=(?!=)")]
    private static partial Regex ArrowOrAssignment();

    [GeneratedRegex(@"^\s*(=[^=>]|;)")]
    private static partial Regex InitialiserFollows();

    [GeneratedRegex(@"\b(static|const)\b")]
    private static partial Regex StaticWord();
}
