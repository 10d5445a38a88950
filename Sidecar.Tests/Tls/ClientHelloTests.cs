using System;
using System.Collections.Generic;
using System.Linq;
using System.Text;
using Sidecar.Tests.Harness;
using Sidecar.Tls;
using Xunit;

namespace Sidecar.Tests.Tls;

/// <summary>What is read from the first bytes of a connection, whole, byte by byte and at every split, and what is taken for something else.</summary>
public class ClientHelloTests
{
    private const int BytesMax = 16 * 1024;

    // ---- real clients ---------------------------------------------------------------------------------------------

    [Fact]
    public void OpenSsl_Tls13() => Expect("app.example.org [istio istio-http/1.1 istio-h2]", TestHello.OpenSsl("app.example.org", "istio", "istio-http/1.1", "istio-h2"));

    [Theory]
    [InlineData(0x0301)]
    [InlineData(0x0302)]
    [InlineData(0x0303)]
    public void OpenSsl_Tls10To12(ushort version) => Expect("a.org [h2 http/1.1]", TestHello.OpenSslBefore13(version, "a.org", "h2", "http/1.1"));

    [Fact]
    public void Browser_WithGreaseEverywhere() => Expect("www.example.org [h2 http/1.1]", TestHello.Browser("www.example.org", "h2", "http/1.1"));

    /// <summary>GREASE may be among the protocols too; it is offered like any other.</summary>
    [Fact]
    public void GreaseProtocol_IsAProtocol() => Expect("a [\x1A\x1A h2]", TestHello.Browser("a", "\x1A\x1A", "h2"));

    [Fact]
    public void NoNameNoProtocols() => Expect(" []", TestHello.OpenSsl());

    [Fact]
    public void NoExtensions() => Expect(" []", TestHello.Bare());

    /// <summary>A client of TLS 1.3 alone was once not recognised and went past what is asked of TLS (CVE-2020-8660).</summary>
    [Theory]
    [InlineData("020304")]
    [InlineData("047a7a0304")]
    [InlineData("020305")]
    public void OnlyTls13OrLater_IsTls(string versions) => Expect("a []", TestHello.OpenSsl("a").With(43, Convert.FromHexString(versions)));

    [Fact]
    public void NameAsSent_IsKept() => Expect("WWW.Example.ORG []", TestHello.OpenSsl("WWW.Example.ORG"));

    [Fact]
    public void NameOf255Bytes() => Expect(new string('a', 255) + " []", TestHello.OpenSsl(new string('a', 255)));

    [Fact]
    public void ManyProtocols() => Expect(" [" + string.Join(' ', Enumerable.Repeat("p", 3000)) + "]", TestHello.OpenSsl("", [.. Enumerable.Repeat("p", 3000)]));

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(5)]
    [InlineData(100)]
    public void FragmentedOverRecords(int fragmentBytes) => Expect("app.example.org [istio]", TestHello.OpenSsl("app.example.org", "istio").Bytes(fragmentBytes));

    [Fact]
    public void BytesAfterIt_AreNotLookedAt() =>
        Expect("a [h2]", [.. TestHello.OpenSsl("a", "h2").Bytes(), 20, 3, 3, 0, 1, 1, 0xFF, 0xFF], TestHello.OpenSsl("a", "h2").Bytes().Length);

    [Fact]
    public void MessageAfterItInTheSameRecord_IsNotLookedAt()
    {
        var hello = TestHello.OpenSsl("a", "h2");
        Expect("a [h2]", hello.Records([.. hello.Message(), 11, 0, 0, 0], BytesMax), hello.Bytes().Length);
    }

    // ---- TLS that is said badly where it does not matter here ---------------------------------------------------------

    [Theory]
    [InlineData("")]
    [InlineData("0000")]
    [InlineData("000100")]
    [InlineData("0003026832ff")]
    [InlineData("0003036832")]
    [InlineData("0004026832")]
    [InlineData("000300026832")]
    public void MalformedProtocols_AreNone(string content) => Expect("a []", TestHello.OpenSsl("a").With(16, Convert.FromHexString(content)));

    [Fact]
    public void OtherExtensions_AreLeftToWhoeverTerminates() => Expect("a []", TestHello.OpenSsl("a").With(0x000A, [0xFF]));

    // ---- what is not TLS -----------------------------------------------------------------------------------------------

    [Theory]
    [InlineData("GET / HTTP/1.1\r\n\r\n")]
    [InlineData("x")]
    [InlineData("\x16\x02")]
    [InlineData("\x16\x03\x01\x00\x00")]
    [InlineData("\x16\x03\x01\x40\x01")]
    [InlineData("\x16\x03\x01\x00\x05\x02")]
    [InlineData("\x15\x03\x01\x00\x02\x02\x28")]
    [InlineData("\x80\x2e\x01\x03\x01\x00\x15")]
    public void NotAHello(string bytes) => Expect("NotTls", Encoding.Latin1.GetBytes(bytes));

    [Fact]
    public void Ssl3_IsNotTls() => Expect("NotTls", TestHello.Bare(0x0300));

    [Theory]
    [InlineData("")]
    [InlineData("00")]
    [InlineData("0103")]
    [InlineData("03030403")]
    [InlineData("02030400")]
    [InlineData("020300")]
    [InlineData("021a1a")]
    public void VersionsMalformedOrUnknown(string content) =>
        Expect("NotTls", TestHello.OpenSsl("a").With(43, Convert.FromHexString(content)));

    /// <summary>Two names, one of another type, none, one too long, one with a NUL in it: which one would the other side take?</summary>
    [Theory]
    [InlineData("")]
    [InlineData("0000")]
    [InlineData("0003000000")]
    [InlineData("00040100 0161")]
    [InlineData("0004000001 61ff")]
    [InlineData("0008000001610000 0162")]
    [InlineData("000600000361 0062")]
    [InlineData("0005000001 61")]
    public void NameMalformed(string content) =>
        Expect("NotTls", TestHello.OpenSsl("a").With(0, Convert.FromHexString(content.Replace(" ", "", StringComparison.Ordinal))));

    [Fact]
    public void NameOf256Bytes() => Expect("NotTls", TestHello.OpenSsl("a").With(0, TestHello.ServerName(new string('a', 256))));

    [Fact]
    public void ExtensionTwice()
    {
        var hello = TestHello.OpenSsl("a");
        Expect("NotTls", hello with { Extensions = [.. hello.Extensions!, (0, TestHello.ServerName("b"))] });
        Expect("NotTls", hello with { Extensions = [.. hello.Extensions!, (0xFFFF, []), (0xFFFF, [])] });
    }

    [Fact]
    public void LengthsThatDoNotFit()
    {
        var hello = TestHello.OpenSsl("a");
        Expect("NotTls", hello with { SessionBytes = 33 });
        Expect("NotTls", hello with { Suites = [] });
        Expect("NotTls", hello with { Suites = [0x13, 0x01, 0x13] });
        Expect("NotTls", hello with { Compressions = [] });
        Expect("NotTls", hello with { Compressions = [1] });
        byte[] message = hello.Message();
        byte[] longer = [.. message, 0];
        longer[3]++;
        Expect("NotTls", hello.Records(longer, BytesMax));
        byte[] shorter = [.. message[..^1]];
        shorter[3]--;
        Expect("NotTls", hello.Records(shorter, BytesMax));
    }

    // ---- bounds -----------------------------------------------------------------------------------------------------------

    [Fact]
    public void AsLargeAsIsLookedAt_AndOneByteMore()
    {
        byte[] bytes = TestHello.OpenSsl("a").With(21, new byte[1000]).Bytes();
        Assert.Equal("a []", Splits.Run(bytes, pieces => Read(pieces, bytes.Length, out _)));
        Assert.Equal("TooLarge", Splits.Run(bytes, pieces => Read(pieces, bytes.Length - 1, out _)));
    }

    [Fact]
    public void AnnouncedTooLarge_IsNotWaitedFor() => Expect("TooLarge", [22, 3, 1, 0, 200, 1, 0, 0x40, 0]);

    [Fact]
    public void EndlessSmallRecords_AreTooLarge()
    {
        byte[] bytes = [.. Enumerable.Repeat((byte[])[22, 3, 1, 0, 1, 1], 3000).SelectMany(b => b)];
        (bytes[11], bytes[17], bytes[23]) = (0, 0x30, 0);
        Assert.Equal("TooLarge", Read([bytes], BytesMax, out _));
    }

    // ---- how --------------------------------------------------------------------------------------------------------------

    private static void Expect(string expected, TestHello hello)
    {
        byte[] bytes = hello.Bytes();
        Expect(expected, bytes, bytes.Length);
    }

    private static void Expect(string expected, byte[] bytes, int size = -1) => Assert.Equal(expected, Splits.Run(bytes, pieces =>
    {
        string text = Read(pieces, BytesMax, out int took);
        if (size >= 0 && text.EndsWith(']'))
            Assert.Equal(size, took);
        return text;
    }));

    /// <summary>Asks after every piece, as a listener filter is, until there is an answer.</summary>
    private static string Read(IReadOnlyList<ReadOnlyMemory<byte>> pieces, int bytesMax, out int size)
    {
        byte[] joined = new byte[bytesMax];
        byte[] received = [];
        size = 0;
        foreach (var piece in pieces)
        {
            // An exact copy, so that a read past the end is an exception and not luck.
            received = [.. received, .. piece.Span];
            var status = ClientHello.TryRead(received, bytesMax, joined, out var hello);
            if (status == ClientHelloStatus.Incomplete)
                continue;
            size = hello.Size;
            return status == ClientHelloStatus.Found ? $"{Encoding.Latin1.GetString(hello.ServerName)} [{string.Join(' ', Names(hello))}]" : status.ToString();
        }
        return "Incomplete";
    }

    private static List<string> Names(ClientHello hello)
    {
        var names = new List<string>();
        for (var rest = hello.Protocols; !rest.IsEmpty; rest = rest[(1 + rest[0])..])
            names.Add(Encoding.Latin1.GetString(rest.Slice(1, rest[0])));
        return names;
    }
}
