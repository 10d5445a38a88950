using System;
using System.Diagnostics;
using System.Text;
using System.Text.RegularExpressions;
using Sidecar.Memory;
using Sidecar.Routing;
using Xunit;

namespace Sidecar.Tests.Routing;

public sealed class LinearRegexTests
{
    private static LinearRegex Compile(string pattern, RegexUse use = RegexUse.FullMatch)
    {
        var regex = LinearRegex.TryCompile(pattern, use, out string error);
        Assert.True(regex is not null, $"{pattern}: {error}");
        return regex;
    }

    private static byte[] Bytes(string text) => Encoding.Latin1.GetBytes(text);

    [Theory]
    [InlineData("a", "a", true)]
    [InlineData("a", "ab", false)]
    [InlineData("a", "ba", false)]
    [InlineData("", "", true)]
    [InlineData("", "a", false)]
    [InlineData(".*", "anything/at?all", true)]
    [InlineData(".", "\n", false)]
    [InlineData("(?s).", "\n", true)]
    [InlineData(".", "\u00ff", true)]
    [InlineData("\\C", "\n", true)]
    [InlineData("a|b|cd", "cd", true)]
    [InlineData("a|", "", true)]
    [InlineData("(?:ab)+", "ababab", true)]
    [InlineData("(ab)*c", "ababc", true)]
    [InlineData("a{2,3}", "a", false)]
    [InlineData("a{2,3}", "aaa", true)]
    [InlineData("a{2,3}", "aaaa", false)]
    [InlineData("a{2}", "aa", true)]
    [InlineData("a{2,}", "aaaaaaa", true)]
    [InlineData("a{0}", "", true)]
    [InlineData("a{,2}", "a{,2}", true)]
    [InlineData("a{x", "a{x", true)]
    [InlineData("a+?b", "aaab", true)]
    [InlineData("[a-c]+", "abcabc", true)]
    [InlineData("[^a-c]+", "xyz", true)]
    [InlineData("[^a-c]", "\n", true)]
    [InlineData("[]a]+", "]a", true)]
    [InlineData("[^]a]", "]", false)]
    [InlineData("[a-]+", "a-", true)]
    [InlineData("[\\]\\-x]+", "]-x", true)]
    [InlineData("[\\d_]+", "1_2", true)]
    [InlineData("[[:alpha:]]+", "abC", true)]
    [InlineData("[[:alnum:]]", "_", false)]
    [InlineData("[[:^alpha:]]", "1", true)]
    [InlineData("[[:xdigit:][:space:]]+", "aF 0\v", true)]
    [InlineData("\\d+", "0123456789", true)]
    [InlineData("\\D", "1", false)]
    [InlineData("\\w+", "aZ_9", true)]
    [InlineData("\\s", "\v", false)]
    [InlineData("\\S", "\v", true)]
    [InlineData("\\x41\\x{42}\\103", "ABC", true)]
    [InlineData("\\a\\f\\t\\n\\r\\v\\0", "\a\f\t\n\r\v\0", true)]
    [InlineData("\\.\\*\\/", ".*/", true)]
    [InlineData("\\Qa.b*\\E+", "a.b***", true)]
    [InlineData("\\Qa.b", "a.b", true)]
    [InlineData("(?i)HeLLo", "hEllO", true)]
    [InlineData("(?i:a)b", "Ab", true)]
    [InlineData("(?i:a)b", "AB", false)]
    [InlineData("a(?i)b|c", "aB", true)]
    [InlineData("a(?i)b|c", "C", true)]
    [InlineData("(a(?i)b)c", "aBC", false)]
    [InlineData("(?i)a(?-i)b", "AB", false)]
    [InlineData("(?i)[a-c]", "B", true)]
    [InlineData("^abc$", "abc", true)]
    [InlineData("\\Aabc\\z", "abc", true)]
    [InlineData("a^b", "ab", false)]
    [InlineData("abc$", "abc\n", false)]
    [InlineData("(?m)a$\\nb", "a\nb", true)]
    [InlineData("(?m)a\\n^b", "a\nb", true)]
    [InlineData("a\\n^b", "a\nb", false)]
    [InlineData("\\bfoo\\b", "foo", true)]
    [InlineData("foo\\b.*", "foobar", false)]
    [InlineData("foo\\b.*", "foo-bar", true)]
    [InlineData("foo\\B.*", "foobar", true)]
    [InlineData("(?P<name>a)(?<other>b)", "ab", true)]
    [InlineData("é", "\u00c3\u00a9", true)]
    [InlineData("é+", "\u00c3\u00a9\u00c3\u00a9", true)]
    [InlineData("[\\x80-\\xff]+", "\u00c3\u00a9", true)]
    [InlineData("(?:a?){30}a{30}", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", true)]
    [InlineData("(a*)*", "aaa", true)]
    [InlineData("(a|b*)+c", "abbac", true)]
    [InlineData("/(a|ab)(c|bcd)(d*)", "/abcd", true)]
    [InlineData("/api/v[0-9]+/users/[^/]+", "/api/v2/users/bob", true)]
    [InlineData("/api/v[0-9]+/users/[^/]+", "/api/v2/users/bob/x", false)]
    public void FullMatch_Pattern_Answers(string pattern, string text, bool expected)
    {
        byte[] bytes = Bytes(text);
        Assert.Equal(expected, Compile(pattern).IsFullMatch(bytes));
        // The other engine must say the same.
        Assert.Equal(expected, Compile(pattern, RegexUse.Search).IsFullMatch(bytes));
    }

    [Theory]
    [InlineData("(", "missing ): (")]
    [InlineData("(a", "missing ): (a")]
    [InlineData("a)", "unexpected ): a)")]
    [InlineData("*a", "no argument for repetition operator: *")]
    [InlineData("a|*", "no argument for repetition operator: *")]
    [InlineData("a**", "bad repetition operator: **")]
    [InlineData("a+*", "bad repetition operator: +*")]
    [InlineData("a{1001}", "invalid repetition size: {1001}")]
    [InlineData("a{2,1}", "invalid repetition size: {2,1}")]
    [InlineData("[a", "missing ]: [a")]
    [InlineData("[b-a]", "invalid character class range: b-a")]
    [InlineData("[[:foo:]]", "invalid character class range: [:foo:]")]
    [InlineData("\\", "trailing \\")]
    [InlineData("\\1", "invalid escape sequence: \\1")]
    [InlineData("(a)\\1", "invalid escape sequence: \\1")]
    [InlineData("\\y", "invalid escape sequence: \\y")]
    [InlineData("\\Z", "invalid escape sequence: \\Z")]
    [InlineData("(?=a)", "invalid perl operator: (?=")]
    [InlineData("(?!a)", "invalid perl operator: (?!")]
    [InlineData("(?<=a)", "invalid perl operator: (?<=")]
    [InlineData("(?P<1>a)", "invalid named capture group: (?P<1>")]
    [InlineData("(?P<a>x)(?P<a>y)", "duplicate capture group name: a")]
    [InlineData("\\pL", "Unicode character classes are not supported (matching is by byte): \\p")]
    [InlineData("\\x{100}", "code points above 0xFF are not supported (matching is by byte): \\x{100}")]
    [InlineData("[é]", "non-ASCII characters in a class are not supported (matching is by byte)")]
    [InlineData("((a{1000}){1000}){1000}", "pattern too large - compile failed")]
    public void Compile_Unacceptable_SaysWhy(string pattern, string expected)
    {
        Assert.Null(LinearRegex.TryCompile(pattern, RegexUse.FullMatch, out string error));
        Assert.Equal(expected, error);
    }

    [Fact]
    public void Compile_NestedTooDeep_IsError()
    {
        Assert.Null(LinearRegex.TryCompile(new string('(', 100_000) + "a" + new string(')', 100_000), RegexUse.FullMatch, out string error));
        Assert.Equal("expression nests too deeply", error);
    }

    [Theory]
    [InlineData("b+", "aabbbc", 2, 5)]
    [InlineData("b+?", "aabbbc", 2, 3)]
    [InlineData("a|ab", "ab", 0, 1)]
    [InlineData("ab|a", "ab", 0, 2)]
    [InlineData("$", "ab", 2, 2)]
    [InlineData("x*", "ab", 0, 0)]
    [InlineData("\\bb", "ab b", 3, 4)]
    public void Find_FirstMatch_IsLeftmostAndPreferred(string pattern, string text, int start, int end)
    {
        Span<int> groups = stackalloc int[20];
        Assert.True(Compile(pattern, RegexUse.Search).TryFind(Bytes(text), 0, groups));
        Assert.Equal((start, end), (groups[0], groups[1]));
    }

    [Theory]
    [InlineData("^/service/([^/]+)(/.*)$", "\\2/instance/\\1", "/service/foo/v1/api", "/v1/api/instance/foo")]
    [InlineData("one", "two", "/xxx/one/yyy/one/zzz", "/xxx/two/yyy/two/zzz")]
    [InlineData("^(.*?)one(.*)$", "\\1two\\2", "/xxx/one/yyy/one/zzz", "/xxx/two/yyy/one/zzz")]
    [InlineData("(?i)/xxx/", "/yyy/", "/aaa/XxX/bbb", "/aaa/yyy/bbb")]
    [InlineData("b*", "-", "abc", "-a-c-")]
    [InlineData("x", "\\\\\\0", "axb", "a\\xb")]
    [InlineData("(a)|(b)", "[\\1\\2]", "ab", "[a][b]")]
    [InlineData("nothing", "x", "/path", "/path")]
    public void Rewrite_ReplaceAll_IsGlobalReplace(string pattern, string substitution, string text, string expected)
    {
        var rewrite = RegexRewrite.TryCreate(Compile(pattern, RegexUse.Search), substitution, out string error);
        Assert.True(rewrite is not null, error);
        var writer = new SpanWriter(new byte[256]);
        rewrite.ReplaceAll(Bytes(text), ref writer);
        Assert.False(writer.Overflowed);
        Assert.Equal(expected, Encoding.Latin1.GetString(writer.Written));
    }

    [Theory]
    [InlineData("a", "\\1", "Rewrite schema requests 1 matches, but the regexp only has 0 parenthesized subexpressions.")]
    [InlineData("a", "x\\", "Rewrite schema error: '\\' not allowed at end.")]
    [InlineData("a", "\\x", "Rewrite schema error: '\\' must be followed by a digit or '\\'.")]
    public void Rewrite_BadSubstitution_SaysWhy(string pattern, string substitution, string expected)
    {
        Assert.Null(RegexRewrite.TryCreate(Compile(pattern), substitution, out string error));
        Assert.Equal(expected, error);
    }

    [Fact]
    public void Rewrite_DoesNotFit_Overflows()
    {
        var rewrite = RegexRewrite.TryCreate(Compile("a", RegexUse.Search), "bbbb", out _)!;
        var writer = new SpanWriter(new byte[10]);
        rewrite.ReplaceAll("aaaa"u8, ref writer);
        Assert.True(writer.Overflowed);
    }

    [Theory]
    [InlineData("(a+)+b")]
    [InlineData("(a|aa)+b")]
    [InlineData("(.*)*=")]
    [InlineData("(?:a?){100}a{100}b")]
    [InlineData(".*.*.*.*.*=.*")]
    [InlineData("(x|a).{12}[bc].{12}z")]
    public void Match_PatternsThatExplodeElsewhere_StepsGrowLinearly(string pattern)
    {
        // A backtracking engine would not come back from these within the age of the machine; that this returns is the test.
        byte[] text = Bytes(new string('a', 60_000));
        Assert.False(Compile(pattern).IsFullMatch(text));
        Assert.False(Compile(pattern, RegexUse.Search).IsFullMatch(text[..5000]));
    }

    [Fact]
    public void Compile_StateExplosion_FallsBackAndStaysCorrect()
    {
        // The DFA of this has 2^21 states.
        var regex = Compile("(?:a|b)*a(?:a|b){20}");
        Assert.True(regex.IsFullMatch(Bytes("bbab" + new string('b', 19))));
        Assert.False(regex.IsFullMatch(Bytes("bbbb" + new string('b', 19))));
    }

    [Fact]
    public void Match_AfterWarmUp_AllocatesNothing()
    {
        var dfa = Compile("/api/v[0-9]+/.*");
        var nfa = Compile("(?:a|b)*a(?:a|b){20}");
        var rewrite = RegexRewrite.TryCreate(Compile("/([a-z]+)", RegexUse.Search), "/\\1x", out _)!;
        byte[] path = Bytes("/api/v12/users/ab");
        byte[] letters = Bytes("abababababababababababababababab");
        byte[] buffer = new byte[256];
        long before = 0;
        for (int i = 0; i < 200; i++)
        {
            if (i == 100)
                before = GC.GetAllocatedBytesForCurrentThread();
            dfa.IsFullMatch(path);
            nfa.IsFullMatch(letters);
            var writer = new SpanWriter(buffer);
            rewrite.ReplaceAll(path, ref writer);
        }
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    [Fact]
    public void Fuzz_SharedSubset_AgreesWithTheClassLibrary()
    {
        var random = new Random(20261);
        int compared = 0;
        Span<int> groups = stackalloc int[20];
        for (int round = 0; round < 4000; round++)
        {
            string pattern = RandomPattern(random, 3);
            var full = LinearRegex.TryCompile(pattern, RegexUse.FullMatch, out string error);
            if (full is null)
            {
                // a**: not in the shared subset.
                Assert.Contains("repetition", error);
                continue;
            }
            var search = LinearRegex.TryCompile(pattern, RegexUse.Search, out _)!;
            var options = RegexOptions.CultureInvariant | RegexOptions.ECMAScript;
            var theirFull = new Regex("^(?:" + pattern.Replace("$", "(?!.|\\n)") + ")(?!.|\\n)", options, TimeSpan.FromSeconds(1));
            var theirSearch = new Regex(pattern.Replace("$", "(?!.|\\n)"), options, TimeSpan.FromSeconds(1));
            for (int i = 0; i < 12; i++)
            {
                string text = RandomText(random);
                byte[] bytes = Bytes(text);
                Match match;
                try
                {
                    Assert.True(theirFull.IsMatch(text) == full.IsFullMatch(bytes), $"full /{pattern}/ on \"{text}\"");
                    Assert.True(full.IsFullMatch(bytes) == search.IsFullMatch(bytes), $"engines /{pattern}/ on \"{text}\"");
                    match = theirSearch.Match(text);
                }
                catch (RegexMatchTimeoutException)
                {
                    continue;
                }
                Assert.True(match.Success == search.IsMatch(bytes), $"search /{pattern}/ on \"{text}\"");
                Assert.True(match.Success == search.TryFind(bytes, 0, groups), $"find /{pattern}/ on \"{text}\"");
                if (match.Success)
                    Assert.True((match.Index, match.Index + match.Length) == (groups[0], groups[1]), $"span /{pattern}/ on \"{text}\": {groups[0]}..{groups[1]}");
                compared++;
            }
        }
        Assert.True(compared > 20_000, compared.ToString());
    }

    // No \\B: the class library takes -+\\B on "--x" for no match. Repeats only what cannot be empty: on an empty loop body the engines choose differently among equal spans.
    private static string RandomPattern(Random random, int depth)
    {
        var text = new StringBuilder();
        int terms = random.Next(1, 4);
        for (int i = 0; i < terms; i++)
        {
            string atom = random.Next(depth > 0 ? 11 : 8) switch
            {
                0 => "[ab]",
                1 => "[^a]",
                2 => ".",
                3 => "\\w",
                4 => "\\d",
                5 => "c",
                6 => "-",
                7 => "a",
                8 => "(" + RandomPattern(random, depth - 1) + "x)",
                9 => "(?:" + RandomPattern(random, depth - 1) + "|b" + RandomPattern(random, depth - 1) + ")",
                _ => "(?:a" + RandomPattern(random, depth - 1) + ")",
            };
            bool mayBeEmpty = atom.StartsWith("(?:", StringComparison.Ordinal) && atom[3] != 'a';
            text.Append(atom);
            if (!mayBeEmpty)
            {
                text.Append(random.Next(12) switch
                {
                    0 => "*",
                    1 => "+",
                    2 => "?",
                    3 => "*?",
                    4 => "+?",
                    5 => "{2}",
                    6 => "{1,3}",
                    7 => "{0,2}?",
                    _ => "",
                });
            }
            if (random.Next(10) == 0)
                text.Append(random.Next(3) switch { 0 => "\\b", 1 => "^", _ => "$" });
        }
        return text.ToString();
    }

    private static string RandomText(Random random)
    {
        const string Letters = "aaabbbccx-1_ /\n";
        var text = new StringBuilder();
        int length = random.Next(0, 12);
        for (int i = 0; i < length; i++)
            text.Append(Letters[random.Next(Letters.Length)]);
        return text.ToString();
    }

    [Fact]
    public void Fuzz_AnyBytesAsPattern_NeverThrows()
    {
        var random = new Random(77);
        const string Alphabet = "ab()[]{}*+?|\\^$.-,:0129PQEdwsbx<>=!ié";
        for (int round = 0; round < 20_000; round++)
        {
            var pattern = new StringBuilder();
            int length = random.Next(0, 16);
            for (int i = 0; i < length; i++)
                pattern.Append(Alphabet[random.Next(Alphabet.Length)]);
            var regex = LinearRegex.TryCompile(pattern.ToString(), round % 2 == 0 ? RegexUse.FullMatch : RegexUse.Search, out string error);
            Assert.Equal(regex is null, error.Length > 0);
            regex?.IsFullMatch("ab01"u8);
            regex?.IsMatch("ab01"u8);
        }
    }
}
