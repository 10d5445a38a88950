using System;
using System.Diagnostics;
using System.Text;
using Sidecar.Memory;

namespace Sidecar.Routing;

/// <summary>What a pattern is compiled for.</summary>
internal enum RegexUse : byte
{
    /// <summary>Asked whether a whole text matches: Envoy's safe_regex.</summary>
    FullMatch,
    /// <summary>Finds matches and their groups inside a text: Envoy's regex_rewrite.</summary>
    Search,
}

/// <summary>
/// A regular expression in RE2's syntax over bytes, matched in time linear in the text whatever the pattern is, without allocation. A small
/// deterministic automaton answers yes or no; groups, and patterns whose automaton would be too large, are run on the
/// non-deterministic one. Immutable, shared between workers.
/// </summary>
/// <remarks>
/// Text is bytes (a header may hold any above 0x1F), so every value matches or does not; there is no third case for invalid UTF-8. Characters
/// of the pattern above 0x7F match their UTF-8 bytes; <c>(?i)</c> folds ASCII letters.
/// </remarks>
internal sealed class LinearRegex
{
    private readonly RegexProgram _program;
    private readonly RegexDfa? _full;
    private readonly RegexDfa? _search;

    private LinearRegex(string pattern, RegexProgram program, string?[] groupNames, RegexUse use)
    {
        Pattern = pattern;
        _program = program;
        GroupNames = groupNames;
        if (use == RegexUse.FullMatch)
            _full = program.BuildDfa(search: false);
        else
            _search = program.BuildDfa(search: true);
    }

    internal string Pattern { get; }

    /// <summary>Capturing groups, without the whole match.</summary>
    internal int GroupCount => GroupNames.Length - 1;

    /// <summary>Names by group number; null for a group without one.</summary>
    internal string?[] GroupNames { get; }

    /// <summary>Compiles a pattern.</summary>
    /// <param name="pattern">RE2 syntax.</param>
    /// <param name="use">Decides which automaton is prepared; the other question is answered too, more slowly.</param>
    /// <param name="error">RE2's text for what is wrong; empty on success.</param>
    internal static LinearRegex? TryCompile(string pattern, RegexUse use, out string error)
    {
        var root = RegexParser.Parse(Encoding.UTF8.GetBytes(pattern), out string?[] names, out error);
        if (root is null)
            return null;
        var program = RegexProgram.Compile(root, names.Length - 1);
        if (program is not null)
            return new LinearRegex(pattern, program, names, use);
        error = "pattern too large - compile failed";
        return null;
    }

    /// <summary>Whether the whole of <paramref name="text"/> matches.</summary>
    internal bool IsFullMatch(ReadOnlySpan<byte> text) =>
        _full?.IsMatch(text) ?? RegexThreads.Run(_program, text, 0, anchored: true, whole: true, default);

    /// <summary>Whether there is a match anywhere in <paramref name="text"/>.</summary>
    internal bool IsMatch(ReadOnlySpan<byte> text) =>
        _search?.IsMatch(text) ?? RegexThreads.Run(_program, text, 0, anchored: false, whole: false, default);

    /// <summary>Finds the first match at or after <paramref name="start"/>, leftmost and, among those, the one the pattern prefers.</summary>
    /// <param name="text">The text; what stands before <paramref name="start"/> still counts for <c>^</c> and <c>\b</c>.</param>
    /// <param name="start">Where to begin.</param>
    /// <param name="groups">Receives start and end of groups 0..9, two entries each, -1 where a group took no part; 20 entries.</param>
    internal bool TryFind(ReadOnlySpan<byte> text, int start, Span<int> groups)
    {
        Debug.Assert(groups.Length >= 2 * RegexProgram.CapturesMax);
        groups.Fill(-1);
        return RegexThreads.Run(_program, text, start, anchored: false, whole: false, groups);
    }

    public override string ToString() => Pattern;
}

/// <summary>A pattern and what replaces its matches: Envoy's RegexMatchAndSubstitute, RE2's GlobalReplace. Immutable.</summary>
internal sealed class RegexRewrite
{
    /// <summary>Literal bytes, or a group's number when they are null.</summary>
    private readonly record struct Piece(byte[]? Literal, int Group);

    private readonly Piece[] _pieces;

    private RegexRewrite(LinearRegex regex, string substitution, Piece[] pieces)
    {
        Regex = regex;
        Substitution = substitution;
        _pieces = pieces;
    }

    internal LinearRegex Regex { get; }
    internal string Substitution { get; }

    /// <summary>Checks the substitution: <c>\0</c> to <c>\9</c> are groups, <c>\\</c> is a backslash.</summary>
    /// <returns>Null, with RE2's text in <paramref name="error"/>, when it is not acceptable.</returns>
    internal static RegexRewrite? TryCreate(LinearRegex regex, string substitution, out string error)
    {
        byte[] text = Encoding.UTF8.GetBytes(substitution);
        var pieces = new System.Collections.Generic.List<Piece>();
        var literal = new System.Collections.Generic.List<byte>();
        int highest = 0;
        for (int i = 0; i < text.Length; i++)
        {
            if (text[i] != '\\')
            {
                literal.Add(text[i]);
                continue;
            }
            if (++i == text.Length)
            {
                error = "Rewrite schema error: '\\' not allowed at end.";
                return null;
            }
            if (text[i] == '\\')
            {
                literal.Add(text[i]);
                continue;
            }
            if (text[i] is < (byte)'0' or > (byte)'9')
            {
                error = "Rewrite schema error: '\\' must be followed by a digit or '\\'.";
                return null;
            }
            if (literal.Count > 0)
                pieces.Add(new Piece([.. literal], 0));
            literal.Clear();
            int group = text[i] - '0';
            highest = Math.Max(highest, group);
            pieces.Add(new Piece(null, group));
        }
        if (literal.Count > 0)
            pieces.Add(new Piece([.. literal], 0));
        if (highest > regex.GroupCount)
        {
            error = $"Rewrite schema requests {highest} matches, but the regexp only has {regex.GroupCount} parenthesized subexpressions.";
            return null;
        }
        error = "";
        return new RegexRewrite(regex, substitution, [.. pieces]);
    }

    /// <summary>Writes <paramref name="text"/> with every match replaced.</summary>
    internal void ReplaceAll(ReadOnlySpan<byte> text, ref SpanWriter writer)
    {
        if (!Regex.IsMatch(text))
        {
            writer.Write(text);
            return;
        }
        Span<int> groups = stackalloc int[2 * RegexProgram.CapturesMax];
        int position = 0;
        int lastEnd = -1;
        while (position <= text.Length && !writer.Overflowed && Regex.TryFind(text, position, groups))
        {
            writer.Write(text[position..groups[0]]);
            position = groups[0];
            if (groups[0] == groups[1] && groups[0] == lastEnd)
            {
                // An empty match right after a match would be found for ever: step over one byte.
                if (position < text.Length)
                    writer.WriteByte(text[position]);
                position++;
                continue;
            }
            foreach (var piece in _pieces)
            {
                if (piece.Literal is not null)
                    writer.Write(piece.Literal);
                else if (groups[piece.Group * 2] >= 0)
                    writer.Write(text[groups[piece.Group * 2]..groups[piece.Group * 2 + 1]]);
            }
            position = lastEnd = groups[1];
        }
        if (position < text.Length)
            writer.Write(text[position..]);
    }
}

/// <summary>
/// Runs a program as Pike does: all threads in step, a byte at a time, ordered by preference, each instruction at most once per position. Time
/// is text times program, for any pattern.
/// </summary>
internal sealed class RegexThreads
{
    // One set of lists per thread of the process, kept; grows to the largest program met.
    [ThreadStatic]
    private static RegexThreads? t_instance;

    private int _capacity;
    private int _slotCapacity;
    private List _current = new();
    private List _next = new();
    private (int At, int Restore)[] _stack = [];
    private readonly int[] _slots = new int[2 * RegexProgram.CapturesMax];

    /// <summary>Threads in order, found by instruction through the usual sparse set; slots of thread i at i * slot count.</summary>
    private sealed class List
    {
        internal int[] Dense = [];
        internal int[] Sparse = [];
        internal int[] Slots = [];
        internal int Count;

        internal bool Contains(int at)
        {
            int index = Sparse[at];
            return index < Count && Dense[index] == at;
        }
    }

    /// <summary>Looks for a match.</summary>
    /// <param name="program">The program.</param>
    /// <param name="text">The text.</param>
    /// <param name="start">Position to begin at.</param>
    /// <param name="anchored">The match must begin there.</param>
    /// <param name="whole">The match must end at the text's end.</param>
    /// <param name="groups">Receives the groups; empty when only the answer matters.</param>
    internal static bool Run(RegexProgram program, ReadOnlySpan<byte> text, int start, bool anchored, bool whole, Span<int> groups)
    {
        var threads = t_instance ??= new RegexThreads();
        int slots = groups.IsEmpty ? 0 : program.Slots;
        threads.EnsureCapacity(program.Instructions.Length, slots);
        return threads.RunCore(program, text, start, anchored, whole, groups[..slots]);
    }

    private void EnsureCapacity(int instructions, int slots)
    {
        if (instructions > _capacity)
        {
            _capacity = instructions;
            _stack = new (int, int)[2 * instructions + 2 * RegexProgram.CapturesMax + 2];
            foreach (var list in (ReadOnlySpan<List>)[_current, _next])
            {
                list.Dense = new int[instructions];
                list.Sparse = new int[instructions];
            }
        }
        int needed = _capacity * slots;
        if (needed <= _slotCapacity)
            return;
        _slotCapacity = needed;
        _current.Slots = new int[needed];
        _next.Slots = new int[needed];
    }

    private bool RunCore(RegexProgram program, ReadOnlySpan<byte> text, int start, bool anchored, bool whole, Span<int> groups)
    {
        int slots = groups.Length;
        bool matched = false;
        _current.Count = 0;
        for (int position = start; position <= text.Length; position++)
        {
            if (_current.Count == 0 && (matched || anchored && position > start))
                break;
            if (!matched && (!anchored || position == start))
            {
                _slots.AsSpan(0, slots).Fill(-1);
                AddThread(program, _current, 0, text, position, slots);
            }
            _next.Count = 0;
            int value = position < text.Length ? text[position] : -1;
            for (int i = 0; i < _current.Count; i++)
            {
                int at = _current.Dense[i];
                var instruction = program.Instructions[at];
                if (instruction.Op == RegexOp.Match)
                {
                    if (whole && value >= 0)
                        continue;
                    matched = true;
                    _current.Slots.AsSpan(i * slots, slots).CopyTo(groups);
                    // Threads after this one are less preferred.
                    break;
                }
                if (instruction.Op != RegexOp.Byte || value < 0 || !program.Sets[instruction.X].Contains(value))
                    continue;
                _current.Slots.AsSpan(i * slots, slots).CopyTo(_slots);
                AddThread(program, _next, at + 1, text, position + 1, slots);
            }
            (_current, _next) = (_next, _current);
        }
        return matched;
    }

    // Adds the thread at an instruction and all it leads to without consuming, in order of preference. Slots hold the thread's captures;
    // entries with Restore put back what a branch changed.
    private void AddThread(RegexProgram program, List list, int first, ReadOnlySpan<byte> text, int position, int slots)
    {
        var before = RegexProgram.EdgeOf(position > 0 ? text[position - 1] : -1);
        var after = RegexProgram.EdgeOf(position < text.Length ? text[position] : -1);
        var stack = _stack;
        int depth = 0;
        stack[depth++] = (first, int.MinValue);
        while (depth > 0)
        {
            var (at, restore) = stack[--depth];
            if (restore != int.MinValue)
            {
                _slots[at] = restore;
                continue;
            }
            if (list.Contains(at))
                continue;
            int index = list.Count++;
            list.Dense[index] = at;
            list.Sparse[at] = index;
            var instruction = program.Instructions[at];
            switch (instruction.Op)
            {
                case RegexOp.Split:
                    stack[depth++] = (instruction.Y, int.MinValue);
                    stack[depth++] = (instruction.X, int.MinValue);
                    break;
                case RegexOp.Jump:
                    stack[depth++] = (instruction.X, int.MinValue);
                    break;
                case RegexOp.Save:
                    if (instruction.X < slots)
                    {
                        stack[depth++] = (instruction.X, _slots[instruction.X]);
                        _slots[instruction.X] = position;
                    }
                    stack[depth++] = (at + 1, int.MinValue);
                    break;
                case RegexOp.Assert:
                    if (RegexProgram.Holds((RegexAssertion)instruction.X, before, after))
                        stack[depth++] = (at + 1, int.MinValue);
                    break;
                default:
                    _slots.AsSpan(0, slots).CopyTo(list.Slots.AsSpan(index * slots, slots));
                    break;
            }
        }
    }
}
