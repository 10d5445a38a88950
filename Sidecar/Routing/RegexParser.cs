using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Globalization;
using System.Text;

namespace Sidecar.Routing;

/// <summary>A set of byte values.</summary>
internal struct ByteSet
{
    private ulong _w0, _w1, _w2, _w3;

    internal readonly bool Contains(int value)
    {
        ulong word = (value >> 6) switch { 0 => _w0, 1 => _w1, 2 => _w2, _ => _w3 };
        return (word >> (value & 63) & 1) != 0;
    }

    internal void Add(int value)
    {
        ulong bit = 1UL << (value & 63);
        switch (value >> 6)
        {
            case 0: _w0 |= bit; break;
            case 1: _w1 |= bit; break;
            case 2: _w2 |= bit; break;
            default: _w3 |= bit; break;
        }
    }

    internal void AddRange(int low, int high)
    {
        for (int value = low; value <= high; value++)
            Add(value);
    }

    internal void UnionWith(in ByteSet other)
    {
        _w0 |= other._w0;
        _w1 |= other._w1;
        _w2 |= other._w2;
        _w3 |= other._w3;
    }

    internal readonly ByteSet Complement() => new() { _w0 = ~_w0, _w1 = ~_w1, _w2 = ~_w2, _w3 = ~_w3 };

    internal readonly bool IsEmpty => (_w0 | _w1 | _w2 | _w3) == 0;

    /// <summary>Adds the other case of every ASCII letter in the set.</summary>
    internal void FoldCase()
    {
        for (int upper = 'A'; upper <= 'Z'; upper++)
        {
            if (Contains(upper))
                Add(upper | 0x20);
            else if (Contains(upper | 0x20))
                Add(upper);
        }
    }
}

/// <summary>What a <see cref="RegexNode"/> is.</summary>
internal enum RegexNodeKind : byte { Empty, Bytes, Concatenation, Alternation, Repeat, Capture, Assertion }

/// <summary>Zero-width conditions.</summary>
internal enum RegexAssertion : byte { TextStart, TextEnd, LineStart, LineEnd, WordBoundary, NotWordBoundary }

/// <summary>One node of a parsed pattern; lives while it is compiled.</summary>
internal sealed class RegexNode(RegexNodeKind kind)
{
    internal readonly RegexNodeKind Kind = kind;
    internal ByteSet Set;
    internal List<RegexNode> Children = [];
    internal RegexAssertion Assertion;
    internal int Min;
    /// <summary>-1: no upper bound.</summary>
    internal int Max;
    internal bool Lazy;
    internal int Group;
}

/// <summary>
/// Parses RE2's syntax into nodes, over the bytes of the pattern's UTF-8. Errors are RE2's texts. What cannot be said in single bytes
/// (Unicode classes, code points above 0xFF, non-ASCII members of a class) is refused, because it would silently mean something else.
/// </summary>
/// <remarks>https://github.com/google/re2/wiki/Syntax</remarks>
internal ref struct RegexParser
{
    /// <summary>RE2's limit for counted repetition.</summary>
    internal const int RepeatMax = 1000;

    /// <summary>RE2 stops at 1000; the compiler recurses along the nesting, and no hand-written pattern comes near this.</summary>
    private const int NestingMax = 250;

    [Flags]
    private enum Flags : byte { None = 0, FoldCase = 1, DotMatchesNewline = 2, MultiLine = 4, Ungreedy = 8 }

    private readonly ReadOnlySpan<byte> _text;
    private int _position;
    private int _depth;
    private Flags _flags;
    private string? _error;

    private RegexParser(ReadOnlySpan<byte> text) => _text = text;

    /// <summary>Number of capturing groups met.</summary>
    private int _groups;
    private List<string?> _names = [null];

    /// <summary>Parses; null with <paramref name="error"/> set when the pattern is not acceptable.</summary>
    /// <param name="pattern">UTF-8 of the pattern.</param>
    /// <param name="groupNames">Names by group number, null for unnamed; length is groups + 1.</param>
    /// <param name="error">RE2-like text.</param>
    internal static RegexNode? Parse(ReadOnlySpan<byte> pattern, out string?[] groupNames, out string error)
    {
        var parser = new RegexParser(pattern) { _names = [null] };
        var node = parser.Alternation();
        if (parser._error is null && parser._position < pattern.Length)
            parser.Fail("unexpected ): " + Text(pattern));
        error = parser._error ?? "";
        groupNames = [.. parser._names];
        return parser._error is null ? node : null;
    }

    private static string Text(ReadOnlySpan<byte> bytes) => Encoding.UTF8.GetString(bytes);

    private readonly bool AtEnd => _position >= _text.Length;
    private readonly bool Failed => _error is not null;

    private RegexNode Fail(string error)
    {
        _error ??= error;
        _position = _text.Length;
        return new RegexNode(RegexNodeKind.Empty);
    }

    private bool TryTake(ReadOnlySpan<byte> token)
    {
        if (!_text[_position..].StartsWith(token))
            return false;
        _position += token.Length;
        return true;
    }

    private RegexNode Alternation()
    {
        if (++_depth > NestingMax)
            return Fail("expression nests too deeply");
        var flags = _flags;
        var first = Concatenation();
        if (!AtEnd && _text[_position] == '|')
        {
            var alternation = new RegexNode(RegexNodeKind.Alternation);
            alternation.Children.Add(first);
            while (TryTake("|"u8))
                alternation.Children.Add(Concatenation());
            first = alternation;
        }
        // Flags set inside a group end with it: (?i) holds to the end of the group it stands in.
        _flags = flags;
        _depth--;
        return first;
    }

    private RegexNode Concatenation()
    {
        var nodes = new RegexNode(RegexNodeKind.Concatenation);
        while (!AtEnd && _text[_position] != '|' && _text[_position] != ')')
        {
            int start = _position;
            if (TryTake("\\Q"u8))
            {
                Quoted(nodes.Children);
                continue;
            }
            var atom = Atom();
            if (Failed)
                return nodes;
            if (atom is null)
                continue;
            nodes.Children.Add(Repetition(atom, start));
        }
        return nodes.Children.Count == 1 ? nodes.Children[0] : nodes;
    }

    // \Q...\E: everything between is literal; a quantifier after \E binds to the last byte, as in RE2.
    private void Quoted(List<RegexNode> nodes)
    {
        int before = nodes.Count;
        while (!AtEnd && !TryTake("\\E"u8))
            nodes.Add(Literal(_text[_position++]));
        if (nodes.Count > before)
            nodes[^1] = Repetition(nodes[^1], _position);
    }

    private RegexNode Repetition(RegexNode atom, int start)
    {
        bool repeated = false;
        while (!AtEnd)
        {
            int operatorStart = _position;
            int min, max;
            switch (_text[_position])
            {
                case (byte)'*':
                    (min, max) = (0, -1);
                    _position++;
                    break;
                case (byte)'+':
                    (min, max) = (1, -1);
                    _position++;
                    break;
                case (byte)'?':
                    (min, max) = (0, 1);
                    _position++;
                    break;
                case (byte)'{' when TryCount(out min, out max):
                    break;
                default:
                    return atom;
            }
            if (Failed)
                return atom;
            bool lazy = TryTake("?"u8) ^ (_flags & Flags.Ungreedy) != 0;
            if (repeated)
                return Fail("bad repetition operator: " + Text(_text[start.._position]));
            if (min > RepeatMax || max > RepeatMax || max >= 0 && min > max)
                return Fail("invalid repetition size: " + Text(_text[operatorStart.._position]));
            repeated = true;
            start = operatorStart;
            var node = new RegexNode(RegexNodeKind.Repeat) { Min = min, Max = max, Lazy = lazy };
            node.Children.Add(atom);
            atom = node;
        }
        return atom;
    }

    // {n}, {n,} or {n,m}; anything else that starts with a brace is literal text.
    private bool TryCount(out int min, out int max)
    {
        min = max = 0;
        int position = _position + 1;
        if (!TryNumber(ref position, out min))
            return false;
        max = min;
        if (position < _text.Length && _text[position] == ',')
        {
            position++;
            max = -1;
            if (position < _text.Length && _text[position] != '}' && !TryNumber(ref position, out max))
                return false;
        }
        if (position >= _text.Length || _text[position] != '}')
            return false;
        _position = position + 1;
        return true;
    }

    private readonly bool TryNumber(ref int position, out int value)
    {
        value = 0;
        int start = position;
        while (position < _text.Length && _text[position] is >= (byte)'0' and <= (byte)'9')
            value = Math.Min(value * 10 + _text[position++] - '0', 100_000);
        return position > start;
    }

    /// <returns>Null when what was read is no atom (a change of flags).</returns>
    private RegexNode? Atom()
    {
        byte b = _text[_position];
        switch (b)
        {
            case (byte)'(':
                return Group();
            case (byte)'[':
                return Class();
            case (byte)'.':
                _position++;
                return Any((_flags & Flags.DotMatchesNewline) != 0);
            case (byte)'^':
                _position++;
                return Assert((_flags & Flags.MultiLine) != 0 ? RegexAssertion.LineStart : RegexAssertion.TextStart);
            case (byte)'$':
                _position++;
                return Assert((_flags & Flags.MultiLine) != 0 ? RegexAssertion.LineEnd : RegexAssertion.TextEnd);
            case (byte)'*' or (byte)'+' or (byte)'?':
                return Fail("no argument for repetition operator: " + (char)b);
            case (byte)'\\':
                return Escape();
            default:
                if (b == '{' && TryCount(out _, out _))
                    return Fail("no argument for repetition operator: " + Text(_text[..Math.Min(_position, _text.Length)]));
                if (b >= 0x80)
                    return CodePoint();
                _position++;
                return Literal(b);
        }
    }

    // One code point is one atom, so that a quantifier binds to all of its bytes.
    private RegexNode CodePoint()
    {
        var status = Rune.DecodeFromUtf8(_text[_position..], out _, out int length);
        if (status != System.Buffers.OperationStatus.Done)
            return Fail("invalid UTF-8");
        var sequence = new RegexNode(RegexNodeKind.Concatenation);
        for (int i = 0; i < length; i++)
            sequence.Children.Add(Literal(_text[_position++]));
        return sequence;
    }

    private RegexNode Literal(int value)
    {
        var node = new RegexNode(RegexNodeKind.Bytes);
        node.Set.Add(value);
        if ((_flags & Flags.FoldCase) != 0)
            node.Set.FoldCase();
        return node;
    }

    private static RegexNode Any(bool newline)
    {
        var node = new RegexNode(RegexNodeKind.Bytes);
        if (!newline)
            node.Set.Add('\n');
        node.Set = node.Set.Complement();
        return node;
    }

    private static RegexNode Assert(RegexAssertion assertion) => new(RegexNodeKind.Assertion) { Assertion = assertion };

    private RegexNode? Group()
    {
        int start = _position;
        _position++;
        int group = 0;
        var outer = _flags;
        if (TryTake("?"u8))
        {
            if (TryTake("P<"u8) || TryTake("<"u8))
            {
                if (!AtEnd && _text[_position] is (byte)'=' or (byte)'!')
                    return Fail("invalid perl operator: " + Text(_text[start..Math.Min(_position + 1, _text.Length)]));
                int end = _text[_position..].IndexOf((byte)'>');
                if (end < 0)
                    return Fail("invalid named capture group: " + Text(_text[start..]));
                string name = Text(_text.Slice(_position, end));
                _position += end + 1;
                if (!IsGroupName(name))
                    return Fail("invalid named capture group: " + Text(_text[start.._position]));
                if (_names.Contains(name))
                    return Fail("duplicate capture group name: " + name);
                group = ++_groups;
                _names.Add(name);
            }
            else if (!TryFlags(start, out bool opensGroup))
            {
                return null;
            }
            else if (!opensGroup)
            {
                return null;
            }
        }
        else
        {
            group = ++_groups;
            _names.Add(null);
        }
        var body = Alternation();
        if (Failed)
            return body;
        if (!TryTake(")"u8))
            return Fail("missing ): " + Text(_text));
        _flags = outer;
        if (group == 0)
            return body.Kind == RegexNodeKind.Repeat ? Wrap(body) : body;
        var capture = new RegexNode(RegexNodeKind.Capture) { Group = group };
        capture.Children.Add(body);
        return capture;
    }

    // (?:a*)* repeats a repetition, which is fine in a group: keep the node of the group.
    private static RegexNode Wrap(RegexNode body)
    {
        var wrapper = new RegexNode(RegexNodeKind.Concatenation);
        wrapper.Children.Add(body);
        return wrapper;
    }

    private static bool IsGroupName(string name)
    {
        if (name.Length == 0 || char.IsAsciiDigit(name[0]))
            return false;
        foreach (char c in name)
        {
            if (!char.IsAsciiLetterOrDigit(c) && c != '_')
                return false;
        }
        return true;
    }

    // (?i) changes the flags for the rest of the group, (?i:...) for its own group.
    private bool TryFlags(int start, out bool opensGroup)
    {
        var flags = _flags;
        bool clear = false;
        bool any = false;
        opensGroup = false;
        while (!AtEnd)
        {
            byte b = _text[_position++];
            var flag = b switch
            {
                (byte)'i' => Flags.FoldCase,
                (byte)'s' => Flags.DotMatchesNewline,
                (byte)'m' => Flags.MultiLine,
                (byte)'U' => Flags.Ungreedy,
                _ => Flags.None,
            };
            if (flag != Flags.None)
            {
                any = true;
                flags = clear ? flags & ~flag : flags | flag;
                continue;
            }
            if (b == '-' && !clear)
            {
                clear = true;
                any = false;
                continue;
            }
            if ((b == ':' || b == ')') && (!clear || any))
            {
                opensGroup = b == ':';
                _flags = flags;
                return true;
            }
            Fail("invalid perl operator: " + Text(_text[start.._position]));
            return false;
        }
        Fail("missing ): " + Text(_text));
        return false;
    }

    private RegexNode? Escape()
    {
        int start = _position++;
        if (AtEnd)
            return Fail("trailing \\");
        byte b = _text[_position];
        switch (b)
        {
            case (byte)'A':
                _position++;
                return Assert(RegexAssertion.TextStart);
            case (byte)'z':
                _position++;
                return Assert(RegexAssertion.TextEnd);
            case (byte)'b':
                _position++;
                return Assert(RegexAssertion.WordBoundary);
            case (byte)'B':
                _position++;
                return Assert(RegexAssertion.NotWordBoundary);
            case (byte)'C':
                _position++;
                return Any(newline: true);
            case (byte)'E':
                // The end of a quotation that was never begun is nothing, as in RE2.
                _position++;
                return null;
        }
        if (TryPerlClass(b, out var set))
        {
            _position++;
            return new RegexNode(RegexNodeKind.Bytes) { Set = set };
        }
        return TryEscapedByte(start, out int value) ? Literal(value) : new RegexNode(RegexNodeKind.Empty);
    }

    private static bool TryPerlClass(byte letter, out ByteSet set)
    {
        set = default;
        switch (letter | 0x20)
        {
            case 'd':
                set.AddRange('0', '9');
                break;
            case 's':
                // RE2's \s is Perl's without the vertical tab.
                foreach (byte b in "\t\n\f\r "u8)
                    set.Add(b);
                break;
            case 'w':
                AddWord(ref set);
                break;
            default:
                return false;
        }
        if ((letter & 0x20) == 0)
            set = set.Complement();
        return true;
    }

    private static void AddWord(ref ByteSet set)
    {
        set.AddRange('0', '9');
        set.AddRange('A', 'Z');
        set.AddRange('a', 'z');
        set.Add('_');
    }

    // The backslash is read already; sets the error when there is no such escape.
    private bool TryEscapedByte(int start, out int value)
    {
        byte b = _text[_position++];
        switch (b)
        {
            case (byte)'a': value = 7; return true;
            case (byte)'f': value = '\f'; return true;
            case (byte)'n': value = '\n'; return true;
            case (byte)'r': value = '\r'; return true;
            case (byte)'t': value = '\t'; return true;
            case (byte)'v': value = '\v'; return true;
            case (byte)'x': return TryHex(start, out value);
            case (byte)'p' or (byte)'P':
                value = 0;
                Fail("Unicode character classes are not supported (matching is by byte): " + Text(_text[start.._position]));
                return false;
            case >= (byte)'0' and <= (byte)'7':
                // \123 is octal; a single digit other than 0 would be a back-reference, which no linear engine has.
                value = b - '0';
                if (b != '0' && (AtEnd || _text[_position] is < (byte)'0' or > (byte)'7'))
                    break;
                for (int i = 0; i < 2 && !AtEnd && _text[_position] is >= (byte)'0' and <= (byte)'7'; i++)
                    value = value * 8 + _text[_position++] - '0';
                if (value <= 0xFF)
                    return true;
                break;
            default:
                value = b;
                if (b < 0x80 && !char.IsAsciiLetterOrDigit((char)b))
                    return true;
                break;
        }
        value = 0;
        Fail("invalid escape sequence: " + Text(_text[start.._position]));
        return false;
    }

    private bool TryHex(int start, out int value)
    {
        value = 0;
        ReadOnlySpan<byte> digits;
        if (TryTake("{"u8))
        {
            int end = _text[_position..].IndexOf((byte)'}');
            digits = end < 0 ? default : _text.Slice(_position, end);
            _position += end + 1;
        }
        else
        {
            digits = _text[_position..Math.Min(_position + 2, _text.Length)];
            if (digits.Length < 2)
                digits = default;
            _position += digits.Length;
        }
        if (digits.IsEmpty || digits.Length > 6 || !int.TryParse(digits, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value))
        {
            Fail("invalid escape sequence: " + Text(_text[start..Math.Min(Math.Max(_position, start + 2), _text.Length)]));
            return false;
        }
        if (value <= 0xFF)
            return true;
        Fail("code points above 0xFF are not supported (matching is by byte): " + Text(_text[start.._position]));
        return false;
    }

    private RegexNode Class()
    {
        int start = _position++;
        bool negated = TryTake("^"u8);
        ByteSet set = default;
        bool first = true;
        while (!AtEnd && (first || _text[_position] != ']'))
        {
            first = false;
            if (_text[_position..].StartsWith("[:"u8))
            {
                int end = _text[(_position + 2)..].IndexOf(":]"u8);
                if (end >= 0)
                {
                    var name = _text.Slice(_position + 2, end);
                    if (!TryPosixClass(name, out var posix))
                        return Fail("invalid character class range: [:" + Text(name) + ":]");
                    set.UnionWith(in posix);
                    _position += end + 4;
                    continue;
                }
            }
            if (_text[_position] == '\\' && _position + 1 < _text.Length && TryPerlClass(_text[_position + 1], out var perl))
            {
                _position += 2;
                set.UnionWith(in perl);
                continue;
            }
            int rangeStart = _position;
            if (!TryClassByte(out int low))
                return Fail("");
            int high = low;
            if (_position + 1 < _text.Length && _text[_position] == '-' && _text[_position + 1] != ']')
            {
                _position++;
                if (!TryClassByte(out high))
                    return Fail("");
                if (high < low)
                    return Fail("invalid character class range: " + Text(_text[rangeStart.._position]));
            }
            set.AddRange(low, high);
        }
        if (!TryTake("]"u8))
            return Fail("missing ]: " + Text(_text[start..]));
        if ((_flags & Flags.FoldCase) != 0)
            set.FoldCase();
        return new RegexNode(RegexNodeKind.Bytes) { Set = negated ? set.Complement() : set };
    }

    private bool TryClassByte(out int value)
    {
        int start = _position;
        byte b = _text[_position++];
        value = b;
        if (b >= 0x80)
        {
            Fail("non-ASCII characters in a class are not supported (matching is by byte)");
            return false;
        }
        if (b != '\\')
            return true;
        if (AtEnd)
        {
            Fail("trailing \\");
            return false;
        }
        return TryEscapedByte(start, out value);
    }

    private static bool TryPosixClass(ReadOnlySpan<byte> name, out ByteSet set)
    {
        set = default;
        bool negated = name.Length > 0 && name[0] == '^';
        if (negated)
            name = name[1..];
        switch (Text(name))
        {
            case "alnum":
                AddWord(ref set);
                ByteSet underscore = default;
                underscore.Add('_');
                set = set.Complement();
                set.UnionWith(in underscore);
                set = set.Complement();
                break;
            case "alpha":
                set.AddRange('A', 'Z');
                set.AddRange('a', 'z');
                break;
            case "ascii":
                set.AddRange(0, 0x7F);
                break;
            case "blank":
                set.Add('\t');
                set.Add(' ');
                break;
            case "cntrl":
                set.AddRange(0, 0x1F);
                set.Add(0x7F);
                break;
            case "digit":
                set.AddRange('0', '9');
                break;
            case "graph":
                set.AddRange('!', '~');
                break;
            case "lower":
                set.AddRange('a', 'z');
                break;
            case "print":
                set.AddRange(' ', '~');
                break;
            case "punct":
                set.AddRange('!', '/');
                set.AddRange(':', '@');
                set.AddRange('[', '`');
                set.AddRange('{', '~');
                break;
            case "space":
                set.AddRange('\t', '\r');
                set.Add(' ');
                break;
            case "upper":
                set.AddRange('A', 'Z');
                break;
            case "word":
                AddWord(ref set);
                break;
            case "xdigit":
                set.AddRange('0', '9');
                set.AddRange('A', 'F');
                set.AddRange('a', 'f');
                break;
            default:
                return false;
        }
        if (negated)
            set = set.Complement();
        return true;
    }
}
