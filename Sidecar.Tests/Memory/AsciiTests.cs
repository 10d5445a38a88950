using System;
using System.Linq;
using Sidecar.Memory;
using Xunit;

namespace Sidecar.Tests.Memory;

public class AsciiTests
{
    [Fact]
    public void ToLower_FoldsOnlyAToZ_EveryByteAtEveryPlace()
    {
        for (int length = 1; length <= 17; length++)
        {
            for (int place = 0; place < length; place++)
            {
                for (int b = 0; b < 256; b++)
                {
                    byte[] text = Enumerable.Repeat((byte)0xFF, length).ToArray();
                    text[place] = (byte)b;
                    Ascii.ToLowerInPlace(text);
                    byte expected = b is >= 'A' and <= 'Z' ? (byte)(b + 32) : (byte)b;
                    Assert.Equal(expected, text[place]);
                    Assert.Equal(expected, Ascii.ToLower((byte)b));
                    Assert.Equal(length - 1, text.Where((_, i) => i != place).Count(other => other == 0xFF));
                }
            }
        }
    }

    [Theory]
    [InlineData("0", 0)]
    [InlineData("0009", 9)]
    [InlineData("9223372036854775807", long.MaxValue)]
    public void Decimal_Parses(string text, long expected)
    {
        Assert.True(Ascii.TryParseDecimal(Ascii.Bytes(text), out long value));
        Assert.Equal(expected, value);
    }

    [Theory]
    [InlineData("")]
    [InlineData("-1")]
    [InlineData("+1")]
    [InlineData(" 1")]
    [InlineData("1 ")]
    [InlineData("0x1")]
    [InlineData("9223372036854775808")]
    [InlineData("9999999999999999999")]
    [InlineData("00000000000000000001")]
    public void Decimal_Refuses(string text) => Assert.False(Ascii.TryParseDecimal(Ascii.Bytes(text), out _));

    [Fact]
    public void Decimal_RoundTrips()
    {
        var random = new Random(1);
        Span<byte> digits = stackalloc byte[20];
        for (int i = 0; i < 10_000; i++)
        {
            long value = random.NextInt64() >> random.Next(63);
            Assert.True(Ascii.TryParseDecimal(digits[..Ascii.FormatDecimal(value, digits)], out long back));
            Assert.Equal(value, back);
        }
    }

    [Fact]
    public void ToLowerToken_EveryByteAtEveryPlace_EndsThereOrIsFolded_AndNothingBehindItChanges()
    {
        const string Front = "X-Forwarded-Client-Certificate-Of-A-Long-Name";
        const string Behind = ": VALUE and MORE";
        for (int length = 0; length <= Front.Length; length++)
        {
            for (int b = 0; b < 256; b++)
            {
                string text = Front[..length] + (char)b + Behind;
                bool isToken = Ascii.IsToken([(byte)b]);
                string token = isToken ? text[..(length + 1)] : text[..length];
                byte[] bytes = Ascii.Bytes(text);
                Assert.Equal(token.Length, Ascii.ToLowerToken(bytes));
                Assert.Equal(token.ToLowerInvariant() + text[token.Length..], Ascii.String(bytes));
            }
        }
    }

    [Fact]
    public void ToLowerToken_WithoutEnd_IsAllOfIt()
    {
        for (int length = 0; length < 50; length++)
        {
            byte[] bytes = Ascii.Bytes(new string('Q', length));
            Assert.Equal(length, Ascii.ToLowerToken(bytes));
            Assert.Equal(new string('q', length), Ascii.String(bytes));
        }
    }

    [Fact]
    public void HexValue_EveryByte()
    {
        for (int b = 0; b < 256; b++)
        {
            int expected = "0123456789abcdef".IndexOf(char.ToLowerInvariant((char)b), StringComparison.Ordinal);
            Assert.Equal(b < 128 ? expected : -1, Ascii.HexValue((byte)b));
        }
    }

    [Theory]
    [InlineData("", "")]
    [InlineData(" \t ", "")]
    [InlineData(" a b\t", "a b")]
    [InlineData("\na ", "\na")]
    public void TrimOws_OnlySpaceAndTab(string text, string expected) => Assert.Equal(expected, Ascii.String(Ascii.TrimOws(Ascii.Bytes(text))));

    [Fact]
    public void Token_EveryByte()
    {
        for (int b = 0; b < 256; b++)
            Assert.Equal(b < 128 && (char.IsAsciiLetterOrDigit((char)b) || "!#$%&'*+-.^_`|~".Contains((char)b)), Ascii.IsToken([(byte)b]));
        Assert.False(Ascii.IsToken([]));
    }

    [Fact]
    public void ByteString_IsFoundBySpan()
    {
        var set = new System.Collections.Generic.Dictionary<ByteString, int>(ByteString.Comparer.Instance) { [new ByteString("abc")] = 1 };
        var lookup = set.GetAlternateLookup<ReadOnlySpan<byte>>();
        Assert.True(lookup.TryGetValue("abc"u8, out int value));
        Assert.Equal(1, value);
        Assert.False(lookup.TryGetValue("abd"u8, out _));
        Assert.Equal(new ByteString("abc"), new ByteString("abc"));
        Assert.NotEqual(new ByteString("abc"), new ByteString("ab"));
    }
}
