using System;
using System.Linq;
using System.Text;
using Sidecar.Http.H2.Hpack;
using Sidecar.Memory;
using Xunit;

namespace Sidecar.Tests.Http.H2.Hpack;

public sealed class HuffmanTests
{
    [Theory]
    [InlineData("www.example.com", "f1e3c2e5f23a6ba0ab90f4ff")]
    [InlineData("no-cache", "a8eb10649cbf")]
    [InlineData("custom-value", "25a849e95bb8e8b4bf")]
    [InlineData("Mon, 21 Oct 2013 20:13:21 GMT", "d07abe941054d444a8200595040b8166e082a62d1bff")]
    [InlineData("https://www.example.com", "9d29ad171863c78f0b97c8e9ae82ae43d3")]
    [InlineData("", "")]
    public void Rfc7541AppendixC_BothWays(string text, string hex)
    {
        var encoded = new byte[Huffman.EncodedLength(Encoding.ASCII.GetBytes(text))];
        Assert.Equal(encoded.Length, Huffman.Encode(Encoding.ASCII.GetBytes(text), encoded));
        Assert.Equal(hex, Convert.ToHexStringLower(encoded));
        Assert.Equal(text, Decode(encoded));
    }

    [Fact]
    public void EverySymbol_AloneAndInPairs_ComesBack()
    {
        for (int a = 0; a < 256; a++)
        {
            Check([(byte)a]);
            for (int b = 0; b < 256; b++)
                Check([(byte)a, (byte)b, (byte)a]);
        }
    }

    [Fact]
    public void RandomBytes_ComeBack()
    {
        var random = new FastRandom(7541);
        for (int i = 0; i < 2000; i++)
            Check(Enumerable.Range(0, (int)random.Next(200)).Select(_ => (byte)random.Next(256)).ToArray());
    }

    [Theory]
    [InlineData("ff")]          // eight bits of padding, nothing else
    [InlineData("f8")]          // '&' needs eight bits: none left for padding; fine
    public void Padding_EightBitsOrMore_IsError(string hex)
    {
        var text = Decode(Convert.FromHexString(hex));
        if (hex == "f8")
            Assert.Equal("&", text);
        else
            Assert.Null(text);
    }

    [Theory]
    [InlineData("1c")]          // 'a' (00011) and 100: padding with zeros
    [InlineData("18")]
    [InlineData("fffffffc")]    // the end-of-string symbol
    [InlineData("ffffffff")]
    [InlineData("1fffff")]      // padding longer than seven bits
    public void WrongPaddingOrEndOfString_IsError(string hex) => Assert.Null(Decode(Convert.FromHexString(hex)));

    private static void Check(byte[] text)
    {
        var encoded = new byte[Huffman.EncodedLength(text)];
        Huffman.Encode(text, encoded);
        var decoded = new byte[Huffman.DecodedLengthMax(encoded.Length)];
        int length = Huffman.Decode(encoded, decoded);
        Assert.Equal(text, decoded.AsSpan(0, Math.Max(length, 0)).ToArray());
    }

    private static string? Decode(byte[] encoded)
    {
        var decoded = new byte[Huffman.DecodedLengthMax(encoded.Length)];
        int length = Huffman.Decode(encoded, decoded);
        return length < 0 ? null : Encoding.Latin1.GetString(decoded, 0, length);
    }
}
