using System;
using System.Collections.Generic;
using System.Diagnostics;

namespace Sidecar.Routing;

/// <summary>Instructions of a <see cref="RegexProgram"/>.</summary>
internal enum RegexOp : byte
{
    /// <summary>Consumes one byte of a set, goes on at the next instruction.</summary>
    Byte,
    /// <summary>Goes on at X and, with lower priority, at Y.</summary>
    Split,
    /// <summary>Goes on at X.</summary>
    Jump,
    /// <summary>Notes the position in capture slot X.</summary>
    Save,
    /// <summary>Goes on when the assertion X holds here.</summary>
    Assert,
    Match,
}

/// <summary>One instruction; the meaning of X and Y is the operation's.</summary>
internal readonly record struct RegexInstruction(RegexOp Op, int X = 0, int Y = 0);

/// <summary>What stands on one side of a position, as far as assertions care.</summary>
internal enum RegexEdge : byte { Text, Word, Newline, Other }

/// <summary>
/// A pattern as Thompson's automaton, and, where it stays small, as the deterministic one built from it. Immutable once built, so that
/// workers share it without locks: that is why the DFA is made whole, within a bound, and not while matching.
/// </summary>
internal sealed class RegexProgram
{
    /// <summary>Counted repetition multiplies; RE2's default budget stops in the same region.</summary>
    private const int InstructionsMax = 8192;

    /// <summary>Cells of the DFA table, so that a state's row offset fits a ushort: 128 KiB at most per pattern.</summary>
    private const int TableCellsMax = 65_536;

    /// <summary>Steps spent on building a DFA; a pattern that needs more is run as NFA. Keeps a hostile pattern to some ten milliseconds.</summary>
    private const int BuildStepsMax = 2_000_000;

    /// <summary>Groups \0..\9 can be referred to; others are matched, and not remembered.</summary>
    internal const int CapturesMax = 10;

    internal readonly RegexInstruction[] Instructions;
    internal readonly ByteSet[] Sets;

    /// <summary>Capture slots: two per remembered group, the whole match included.</summary>
    internal readonly int Slots;

    private RegexProgram(RegexInstruction[] instructions, ByteSet[] sets, int slots)
    {
        Instructions = instructions;
        Sets = sets;
        Slots = slots;
    }

    /// <summary>Compiles nodes; null when the program would be too large.</summary>
    internal static RegexProgram? Compile(RegexNode root, int groups)
    {
        var compiler = new Compiler();
        compiler.Add(RegexOp.Save, 0);
        compiler.Emit(root);
        compiler.Add(RegexOp.Save, 1);
        compiler.Add(RegexOp.Match);
        return compiler.TooLarge ? null : new RegexProgram([.. compiler.Code], [.. compiler.Sets], 2 * Math.Min(groups + 1, CapturesMax));
    }

    internal static bool IsWord(int b) => b < 0x80 && (char.IsAsciiLetterOrDigit((char)b) || b == '_');

    /// <summary>The edge a byte makes; -1 stands for the start or end of the text.</summary>
    internal static RegexEdge EdgeOf(int b) => b < 0 ? RegexEdge.Text : b == '\n' ? RegexEdge.Newline : IsWord(b) ? RegexEdge.Word : RegexEdge.Other;

    /// <summary>Whether an assertion holds between two edges.</summary>
    internal static bool Holds(RegexAssertion assertion, RegexEdge before, RegexEdge after) => assertion switch
    {
        RegexAssertion.TextStart => before == RegexEdge.Text,
        RegexAssertion.TextEnd => after == RegexEdge.Text,
        RegexAssertion.LineStart => before is RegexEdge.Text or RegexEdge.Newline,
        RegexAssertion.LineEnd => after is RegexEdge.Text or RegexEdge.Newline,
        RegexAssertion.WordBoundary => before == RegexEdge.Word != (after == RegexEdge.Word),
        _ => before == RegexEdge.Word == (after == RegexEdge.Word),
    };

    private sealed class Compiler
    {
        internal readonly List<RegexInstruction> Code = [];
        internal readonly List<ByteSet> Sets = [];
        internal bool TooLarge;

        internal int Add(RegexOp op, int x = 0, int y = 0)
        {
            if (Code.Count >= InstructionsMax)
                TooLarge = true;
            else
                Code.Add(new RegexInstruction(op, x, y));
            return Code.Count - 1;
        }

        internal void Emit(RegexNode node)
        {
            if (TooLarge)
                return;
            switch (node.Kind)
            {
                case RegexNodeKind.Bytes:
                    Sets.Add(node.Set);
                    Add(RegexOp.Byte, Sets.Count - 1);
                    break;
                case RegexNodeKind.Concatenation:
                    foreach (var child in node.Children)
                        Emit(child);
                    break;
                case RegexNodeKind.Alternation:
                    EmitAlternation(node);
                    break;
                case RegexNodeKind.Repeat:
                    EmitRepeat(node);
                    break;
                case RegexNodeKind.Capture:
                    bool kept = node.Group < CapturesMax;
                    if (kept)
                        Add(RegexOp.Save, node.Group * 2);
                    Emit(node.Children[0]);
                    if (kept)
                        Add(RegexOp.Save, node.Group * 2 + 1);
                    break;
                case RegexNodeKind.Assertion:
                    Add(RegexOp.Assert, (int)node.Assertion);
                    break;
            }
        }

        private void EmitAlternation(RegexNode node)
        {
            var jumps = new List<int>();
            for (int i = 0; i < node.Children.Count; i++)
            {
                bool last = i == node.Children.Count - 1;
                int split = last ? -1 : Add(RegexOp.Split);
                Emit(node.Children[i]);
                if (last)
                    break;
                jumps.Add(Add(RegexOp.Jump));
                Patch(split, split + 1, Code.Count);
            }
            foreach (int jump in jumps)
                Patch(jump, Code.Count, 0);
        }

        private void EmitRepeat(RegexNode node)
        {
            var body = node.Children[0];
            int copies = node.Max < 0 ? node.Min - 1 : node.Min;
            for (int i = 0; i < copies && !TooLarge; i++)
                Emit(body);
            if (node.Max < 0 && node.Min > 0)
            {
                // x+ is x, then perhaps back to it.
                int again = Code.Count;
                Emit(body);
                int split = Add(RegexOp.Split);
                PatchChoice(split, again, split + 1, node.Lazy);
                return;
            }
            if (node.Max < 0)
            {
                int loop = Add(RegexOp.Split);
                Emit(body);
                Add(RegexOp.Jump, loop);
                PatchChoice(loop, loop + 1, Code.Count, node.Lazy);
                return;
            }
            var skips = new List<int>();
            for (int i = node.Min; i < node.Max && !TooLarge; i++)
            {
                skips.Add(Add(RegexOp.Split));
                Emit(body);
            }
            foreach (int skip in skips)
                PatchChoice(skip, skip + 1, Code.Count, node.Lazy);
        }

        private void PatchChoice(int at, int enter, int leave, bool lazy)
        {
            if (lazy)
                Patch(at, leave, enter);
            else
                Patch(at, enter, leave);
        }

        private void Patch(int at, int x, int y)
        {
            if (!TooLarge)
                Code[at] = new RegexInstruction(Code[at].Op, x, y);
        }
    }

    /// <summary>Builds the automaton; null when it would exceed its bounds.</summary>
    /// <param name="search">True: finds a match anywhere. False: the whole text must match.</param>
    internal RegexDfa? BuildDfa(bool search) => new DfaBuilder(this, search).Build();

    private sealed class DfaBuilder(RegexProgram program, bool search)
    {
        private const int Dead = 0;
        private const int Accepting = 1;

        private readonly byte[] _classOf = new byte[256];
        private readonly List<byte> _representatives = [];
        private readonly Dictionary<string, int> _states = [];
        private readonly List<(int[] Threads, RegexEdge Before)> _pending = [];
        private readonly int[] _stamps = new int[program.Instructions.Length];
        private readonly Stack<int> _stack = new();
        private readonly List<int> _consuming = [];
        private readonly List<int> _next = [];
        private bool _caresForStart, _caresForLines, _caresForWords;
        private int _stamp, _steps;
        private bool _matched;

        internal RegexDfa? Build()
        {
            FindClasses();
            int columns = _representatives.Count + 1;
            int statesMax = TableCellsMax / columns;
            var table = new List<ushort>(columns * 8);

            // Two rows that lead nowhere else: no match any more, and a match whatever follows.
            AddRow(table, columns, 0);
            AddRow(table, columns, (ushort)columns);
            table[columns - 1] = 0;
            table[2 * columns - 1] = 1;
            _pending.Add(([], RegexEdge.Other));
            _pending.Add(([], RegexEdge.Other));

            int start = StateOf([0], Normalize(RegexEdge.Text));
            for (int state = 2; state < _pending.Count; state++)
            {
                if (_pending.Count > statesMax || _steps > BuildStepsMax)
                    return null;
                var (threads, before) = _pending[state];
                for (int column = 0; column < columns - 1; column++)
                    table.Add((ushort)(Step(threads, before, _representatives[column]) * columns));
                Close(threads, before, RegexEdge.Text);
                table.Add(_matched ? (ushort)1 : (ushort)0);
            }
            return _pending.Count > statesMax ? null : new RegexDfa(_classOf, [.. table], columns, start * columns, search);
        }

        private static void AddRow(List<ushort> table, int columns, ushort target)
        {
            for (int i = 0; i < columns; i++)
                table.Add(target);
        }

        private int Step(int[] threads, RegexEdge before, byte value)
        {
            Close(threads, before, EdgeOf(value));
            if (search && _matched)
                return Accepting;
            _next.Clear();
            foreach (int at in _consuming)
            {
                if (program.Sets[program.Instructions[at].X].Contains(value))
                    _next.Add(at + 1);
            }
            if (search)
                _next.Add(0);
            if (_next.Count == 0)
                return Dead;
            _next.Sort();
            int count = 1;
            for (int i = 1; i < _next.Count; i++)
            {
                if (_next[i] != _next[count - 1])
                    _next[count++] = _next[i];
            }
            _next.RemoveRange(count, _next.Count - count);
            return StateOf([.. _next], Normalize(EdgeOf(value)));
        }

        private int StateOf(int[] threads, RegexEdge before)
        {
            string key = string.Create(threads.Length + 1, (threads, before), static (text, state) =>
            {
                for (int i = 0; i < state.threads.Length; i++)
                    text[i] = (char)state.threads[i];
                text[^1] = (char)state.before;
            });
            if (!_states.TryGetValue(key, out int number))
            {
                number = _pending.Count;
                _states.Add(key, number);
                _pending.Add((threads, before));
            }
            return number;
        }

        // Follows what consumes nothing: leaves the consuming instructions in _consuming and whether Match was reached in _matched.
        private void Close(int[] threads, RegexEdge before, RegexEdge after)
        {
            _stamp++;
            _matched = false;
            _consuming.Clear();
            foreach (int thread in threads)
                _stack.Push(thread);
            while (_stack.TryPop(out int at))
            {
                _steps++;
                if (_stamps[at] == _stamp)
                    continue;
                _stamps[at] = _stamp;
                var instruction = program.Instructions[at];
                switch (instruction.Op)
                {
                    case RegexOp.Byte:
                        _consuming.Add(at);
                        break;
                    case RegexOp.Split:
                        _stack.Push(instruction.X);
                        _stack.Push(instruction.Y);
                        break;
                    case RegexOp.Jump:
                        _stack.Push(instruction.X);
                        break;
                    case RegexOp.Save:
                        _stack.Push(at + 1);
                        break;
                    case RegexOp.Assert:
                        if (Holds((RegexAssertion)instruction.X, before, after))
                            _stack.Push(at + 1);
                        break;
                    case RegexOp.Match:
                        _matched = true;
                        break;
                }
            }
        }

        // Edges no assertion of this pattern can tell apart are one, which keeps the states few.
        private RegexEdge Normalize(RegexEdge edge) => edge switch
        {
            RegexEdge.Text when !_caresForStart && !_caresForLines => RegexEdge.Other,
            RegexEdge.Newline when !_caresForLines => RegexEdge.Other,
            RegexEdge.Word when !_caresForWords => RegexEdge.Other,
            _ => edge,
        };

        // Bytes that every set and assertion treats alike share a column.
        private void FindClasses()
        {
            var splitters = new List<ByteSet>(program.Sets);
            foreach (var instruction in program.Instructions)
            {
                if (instruction.Op != RegexOp.Assert)
                    continue;
                switch ((RegexAssertion)instruction.X)
                {
                    case RegexAssertion.TextStart:
                        _caresForStart = true;
                        break;
                    case RegexAssertion.LineStart or RegexAssertion.LineEnd:
                        _caresForLines = true;
                        break;
                    case RegexAssertion.WordBoundary or RegexAssertion.NotWordBoundary:
                        _caresForWords = true;
                        break;
                }
            }
            ByteSet word = default;
            ByteSet newline = default;
            newline.Add('\n');
            for (int b = 0; b < 256; b++)
            {
                if (IsWord(b))
                    word.Add(b);
            }
            if (_caresForWords)
                splitters.Add(word);
            if (_caresForLines)
                splitters.Add(newline);

            Span<int> classes = stackalloc int[256];
            classes.Clear();
            Span<int> moved = stackalloc int[256];
            Span<bool> outside = stackalloc bool[256];
            int count = 1;
            foreach (var splitter in splitters)
            {
                if (count == 256)
                    break;
                moved.Fill(-1);
                outside.Clear();
                for (int b = 0; b < 256; b++)
                {
                    if (!splitter.Contains(b))
                        outside[classes[b]] = true;
                }
                for (int b = 0; b < 256; b++)
                {
                    int old = classes[b];
                    if (!splitter.Contains(b) || !outside[old])
                        continue;
                    if (moved[old] < 0)
                        moved[old] = count++;
                    classes[b] = moved[old];
                }
            }
            for (int b = 0; b < 256; b++)
                _classOf[b] = (byte)classes[b];
            for (int number = 0; number < count; number++)
                _representatives.Add((byte)classes.IndexOf(number));
        }
    }
}

/// <summary>A deterministic automaton as one table: a row per state, a column per class of bytes and one for the end of the text.</summary>
internal sealed class RegexDfa(byte[] classOf, ushort[] table, int columns, int start, bool search)
{
    internal int StateCount => table.Length / columns;

    /// <summary>Runs over <paramref name="text"/>: one table look-up a byte.</summary>
    internal bool IsMatch(ReadOnlySpan<byte> text)
    {
        ushort[] cells = table;
        byte[] classes = classOf;
        int state = start;
        // Rows 0 (dead) and 1 (accepting, search only) never change any more.
        foreach (byte b in text)
        {
            state = cells[state + classes[b]];
            if (state <= columns)
                break;
        }
        Debug.Assert(search || state != columns);
        return cells[state + columns - 1] != 0;
    }
}
