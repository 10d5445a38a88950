using System;
using Sidecar.Http;
using Sidecar.Http.H1;
using Sidecar.Memory;
using Xunit;
using Encoding = System.Text.Encoding;

namespace Sidecar.Tests.Http.H1;

public class Http1WriterTests
{
    private static readonly string[] s_names = ["x-a", "x-b", "user-agent", "accept", "set-cookie", "connection", "host", ":path", "content-length", "te"];
    private static readonly string[] s_dropped = ["connection", "host", ":path", "content-length", "te"];

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Fields_KeepTheirOrder_WhetherLinesOfThePeerOrOurs(int seed)
    {
        var random = new Random(seed);
        // Small blocks, so that runs of lines cross them.
        var chain = new BufferChain(new Slab(64));
        for (int round = 0; round < 2000; round++)
        {
            var map = new HeaderMap();
            for (int i = random.Next(8); i >= 0; i--)
                Change(map, random);
            string expected = "";
            foreach (var field in map)
            {
                string name = Ascii.String(field.Name);
                if (Array.IndexOf(s_dropped, name) < 0)
                    expected += $"{name}: {Ascii.String(field.Value)}\r\n";
            }
            var writer = new Http1Writer(chain, Http1Writer.Bound(map));
            writer.Fields(map);
            writer.Finish();
            byte[] written = new byte[chain.Length];
            chain.CopyTo(written);
            chain.Clear();
            Assert.Equal(expected + "\r\n", Encoding.Latin1.GetString(written));
        }
    }

    [Theory]
    [InlineData("a\rb")]
    [InlineData("a\nb")]
    [InlineData("a\0b")]
    [InlineData("a long value, and then\r\nx-more: 1")]
    [InlineData("\na value that starts with a line end")]
    [InlineData("a value that ends with a line end\n")]
    public void ValueThatWouldSplitTheMessage_IsNotWritten(string value)
    {
        var chain = new BufferChain(new Slab(4096));
        var writer = new Http1Writer(chain, 256);
        writer.Field("x-a"u8, Ascii.Bytes(value));
        writer.Field("x-b"u8, "with\ttab, and \x80\xff"u8);
        writer.Finish();
        Assert.Equal(Encoding.UTF8.GetBytes("x-b: with\ttab, and \x80\xff\r\n\r\n"), chain.First.ToArray());
    }

    private static void Change(HeaderMap map, Random random)
    {
        string name = s_names[random.Next(s_names.Length)];
        byte[] bytes = Ascii.Bytes(name);
        byte[] value = new byte[random.Next(20)];
        Array.Fill(value, (byte)('a' + random.Next(26)));
        switch (random.Next(5))
        {
            case 0:
                map.Add(bytes, value);
                break;
            case 1:
                map.Set(bytes, value);
                break;
            case 2:
                map.Remove(bytes);
                break;
            default:
                int origin = map.AppendRaw(Ascii.Bytes($"{name}: {Ascii.String(value)}\r\n"));
                map.AddLine(HeaderNames.Lookup(bytes), origin, bytes.Length, value.Length);
                break;
        }
    }
}
