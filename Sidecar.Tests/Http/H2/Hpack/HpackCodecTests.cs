using System;
using System.Collections.Generic;
using System.Linq;
using System.Text;
using Sidecar.Http;
using Sidecar.Http.H2.Hpack;
using Sidecar.Memory;
using Sidecar.Tests.Harness;
using Xunit;
using H2Frames = Sidecar.Tests.Harness.H2;

namespace Sidecar.Tests.Http.H2.Hpack;

public sealed class HpackCodecTests
{
    private readonly HpackDecoder _decoder = new(new HpackScratch(), 4096);
    private readonly HpackEncoder _encoder = new(new HpackScratch(), 4096);

    // ---- RFC 7541 appendix C: header sets one after the other on one table --------------------------------------

    [Theory]
    [InlineData("828684410f7777772e6578616d706c652e636f6d", "828684be58086e6f2d6361636865", "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565")]
    [InlineData("828684418cf1e3c2e5f23a6ba0ab90f4ff", "828684be5886a8eb10649cbf", "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf")]
    public void AppendixC3AndC4_Requests_Decode(string first, string second, string third)
    {
        Assert.Equal(":method: GET, :scheme: http, :path: /, :authority: www.example.com", Decode(first));
        Assert.Equal(":method: GET, :scheme: http, :path: /, :authority: www.example.com, cache-control: no-cache", Decode(second));
        Assert.Equal(":method: GET, :scheme: https, :path: /index.html, :authority: www.example.com, custom-key: custom-value", Decode(third));
        Assert.Equal(164, _decoder.Table.Size);
        Assert.Equal(3, _decoder.Table.Count);
    }

    [Fact]
    public void AppendixC5_ResponsesWithEviction_Decode()
    {
        var decoder = new HpackDecoder(new HpackScratch(), 4096);
        decoder.Table.SetMaxSize(256);
        Assert.Equal(":status: 302, cache-control: private, date: Mon, 21 Oct 2013 20:13:21 GMT, location: https://www.example.com",
            Decode(decoder, "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d"));
        Assert.Equal(222, decoder.Table.Size);
        Assert.Equal(":status: 307, cache-control: private, date: Mon, 21 Oct 2013 20:13:21 GMT, location: https://www.example.com", Decode(decoder, "4803333037c1c0bf"));
        Assert.Equal(222, decoder.Table.Size);
        Assert.Equal(":status: 200, cache-control: private, date: Mon, 21 Oct 2013 20:13:22 GMT, location: https://www.example.com, content-encoding: gzip, " +
            "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
            Decode(decoder, "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31"));
        Assert.Equal(215, decoder.Table.Size);
    }

    // ---- decoding errors ----------------------------------------------------------------------------------------

    [Theory]
    [InlineData("80")]                      // index 0
    [InlineData("c6")]                      // beyond both tables
    [InlineData("7f0f0161")]                // literal whose name index is beyond both tables
    [InlineData("ffffffffffffff")]          // integer without an end
    [InlineData("ff80808080808001")]        // integer with more octets than any table or string needs
    [InlineData("3fe21f")]                  // table size 4097
    [InlineData("8220")]                    // table size update after a field
    [InlineData("0001")]                    // string without its bytes
    [InlineData("000161")]                  // no value
    [InlineData("4081ff0161")]              // Huffman padding in the name
    public void BadBlocks_AreErrors(string hex) => Assert.Equal(HpackStatus.Error, DecodeStatus(hex));

    [Fact]
    public void TableSizeUpdates_TwoAtTheStart_Apply()
    {
        Assert.Equal(":method: GET", Decode("203f118 2".Replace(" ", "")));
        Assert.Equal(48, _decoder.Table.MaxSize);
    }

    [Fact]
    public void SmallerTableAcknowledged_WithoutUpdate_IsError()
    {
        _decoder.SetLimit(100);
        Assert.Equal(HpackStatus.Error, DecodeStatus("82"));
    }

    [Fact]
    public void LongString_NotAllThere_IsNotWaitedFor()
    {
        _decoder.BeginBlock();
        int position = 0;
        // Name index 1, value of 100000 bytes, of which one has come.
        Assert.Equal(HpackStatus.TooLarge, _decoder.Next(Convert.FromHexString("017fa18c0661"), ref position, false, out _));
    }

    [Fact]
    public void NameFromEntryThatIsEvictedByTheNewOne_IsKept()
    {
        var decoder = new HpackDecoder(new HpackScratch(), 4096);
        decoder.Table.SetMaxSize(50);
        Assert.Equal("custom: aaaa", Decode(decoder, "4006637573746f6d0461616161"));
        Assert.Equal("custom: bbbbb", Decode(decoder, "7e056262626262"));
        Assert.Equal("custom: bbbbb", Decode(decoder, "be"));
    }

    [Theory]
    [InlineData("Upper", "x", (int)FieldFlags.InvalidName)]
    [InlineData("sp ace", "x", (int)FieldFlags.InvalidName)]
    [InlineData("", "x", (int)FieldFlags.InvalidName)]
    [InlineData(":", "x", (int)FieldFlags.InvalidName)]
    [InlineData("name", " x", (int)FieldFlags.InvalidValue)]
    [InlineData("name", "x\t", (int)FieldFlags.InvalidValue)]
    [InlineData("name", "a\0b", (int)FieldFlags.InvalidValue)]
    [InlineData("name", "a\rb", (int)FieldFlags.InvalidValue)]
    [InlineData("name", "a\nb", (int)FieldFlags.InvalidValue)]
    [InlineData("name", "a\x7f", (int)FieldFlags.InvalidValue)]
    [InlineData("cookie", "a\nb", (int)FieldFlags.InvalidValue)]
    [InlineData("name", "a\tb \u00e9", (int)FieldFlags.None)]
    public void Bytes_AreJudgedOnce_AndRememberedWithTheEntry(string name, string value, int expected)
    {
        var block = new List<byte> { 0x40 };
        H2Frames.String(block, name);
        H2Frames.String(block, value);
        block.Add(0xBE);
        _decoder.BeginBlock();
        int position = 0;
        Assert.Equal(HpackStatus.Field, _decoder.Next(block.ToArray(), ref position, true, out var first));
        Assert.Equal((FieldFlags)expected, first.Flags);
        Assert.Equal(HpackStatus.Field, _decoder.Next(block.ToArray(), ref position, true, out var again));
        Assert.Equal((FieldFlags)expected, again.Flags);
        Assert.Equal(value, Encoding.Latin1.GetString(again.Value));
    }

    // ---- encoding -----------------------------------------------------------------------------------------------

    [Fact]
    public void RepeatedField_IsOneByteFromItsThirdUse()
    {
        Encode((":authority", "calculator.default.svc.cluster.local:8888"));
        Encode((":authority", "calculator.default.svc.cluster.local:8888"));
        Assert.Single(Encode((":authority", "calculator.default.svc.cluster.local:8888")));
    }

    [Fact]
    public void NewName_IsIndexedAtOnce_SoThatItIsThereNextTime()
    {
        Assert.Equal(0x40, Encode(("x-request-id", "11111111-1111-1111-1111-111111111111"))[0]);
        var next = Encode(("x-request-id", "22222222-2222-2222-2222-222222222222"));
        Assert.Equal(0x0F, next[0]);            // literal without indexing, indexed name
        Assert.True(next.Length < 40);
    }

    [Fact]
    public void ValuesThatNeverRepeat_PushNothingOut()
    {
        for (int i = 0; i < 1000; i++)
            Encode((":path", $"/item/{i}?q={i * 7919}"), ("content-length", (i * 31 % 9973).ToString()), ("x-request-id", Guid(i)), ("server", "envoy"));
        Assert.InRange(_encoder.Table.Count, 1, 8);
        Assert.Contains(Encode(("server", "envoy")), b => b >= 0x80);
    }

    [Theory]
    [InlineData("authorization", "Bearer abcdefghijklmnopqrstuvwxyz0123456789")]
    [InlineData("proxy-authorization", "Basic YTpi")]
    [InlineData("cookie", "sid=1")]
    public void Secrets_AreNeverIndexed(string name, string value)
    {
        for (int i = 0; i < 3; i++)
        {
            var block = Encode((name, value));
            Assert.Equal(0x10, block[0] & 0xF0);
        }
        Assert.Equal(0, _encoder.Table.Count);
    }

    [Fact]
    public void NeverIndexed_ComesAndGoesAsSuch()
    {
        _encoder.Begin();
        _encoder.Add(HeaderId.Unknown, "x-secret"u8, "1234567890"u8, neverIndexed: true);
        var block = _encoder.Block.ToArray();
        _decoder.BeginBlock();
        int position = 0;
        Assert.Equal(HpackStatus.Field, _decoder.Next(block, ref position, true, out var field));
        Assert.Equal(FieldFlags.NeverIndexed, field.Flags);
    }

    [Fact]
    public void PeerLowersAndRaisesTableSize_BothAreSignalled()
    {
        Encode(("x-custom", "value"));
        _encoder.SetPeerLimit(0);
        _encoder.SetPeerLimit(1000);
        var block = Encode(("x-custom", "value"));
        Assert.Equal(new byte[] { 0x20, 0x3F, 0xC9, 0x07 }, block[..4]);
        Assert.Equal(1000, _encoder.Table.MaxSize);
        Assert.Equal(1000, _decoder.Table.MaxSize);
        _encoder.SetPeerLimit(1_000_000);
        Encode(("x-custom", "value"));
        Assert.Equal(4096, _encoder.Table.MaxSize);
    }

    [Fact]
    public void RandomSets_DecodeBack_WhileTheTableSizeMoves()
    {
        var random = new FastRandom(42);
        var names = Enumerable.Range(0, 40).Select(i => i % 3 == 0 ? ((HeaderId)(6 + i)).ToString() is var _ ? Encoding.ASCII.GetString(HeaderNames.Bytes((HeaderId)(6 + i))) : "" : $"x-name-{i}").ToArray();
        for (int i = 0; i < 20_000; i++)
        {
            if (random.Next(50) == 0)
                _encoder.SetPeerLimit(random.Next(5000));
            var fields = Enumerable.Range(0, (int)random.Next(8)).Select(_ => (names[random.Next(40)], new string((char)('a' + random.Next(26)), (int)random.Next(60)) + random.Next(3))).ToArray();
            Encode(fields);
        }
    }

    // The half of an entry's number that is remembered of a name comes again after 65,536 insertions.
    [Fact]
    public void RepeatedField_IsFoundAmongTheEntriesOfItsNameOnly()
    {
        for (int i = 0; i < 2; i++)
            Encode(("server", "envoy"));
        for (int i = 1; i <= 70_000; i++)
        {
            _encoder.Begin();
            _encoder.Add(HeaderId.Unknown, Encoding.Latin1.GetBytes($"x-{i}"), "envoy"u8, neverIndexed: false);
            Decode(Convert.ToHexString(_encoder.Block));
            if (i > 65_500 && i < 65_600)
                Encode(("server", "envoy"));
        }
        Assert.True(_encoder.Table.Inserted > 65_536);
    }

    [Fact]
    public void FieldWithTwoValues_IsFoundByEither_AndASecretOneNever()
    {
        for (int i = 0; i < 2; i++)
        {
            Encode(("user-agent", "one"));
            Encode(("user-agent", "two"));
        }
        for (int i = 0; i < 3; i++)
        {
            Assert.Single(Encode(("user-agent", "one")));
            Assert.Single(Encode(("user-agent", "one")));
            Assert.Single(Encode(("user-agent", "two")));
        }
        for (int i = 0; i < 3; i++)
            Assert.Equal(0x10, Encode(("cookie", "sid=1"))[0] & 0xF0);
        Encode(("cookie", "sid=0123456789abcdefghijklmnopqrstuvwxyz"));
        Assert.Equal(0x10, Encode(("cookie", "sid=1"))[0] & 0xF0);
    }

    private static string Guid(int seed)
    {
        var random = new FastRandom((ulong)seed * 977 + 1);
        return $"{random.NextUInt64():x16}-{random.NextUInt64():x16}";
    }

    /// <summary>Encodes as the codec does, checks that it decodes back, and returns the block.</summary>
    private byte[] Encode(params (string Name, string Value)[] fields)
    {
        _encoder.Begin();
        foreach (var (name, value) in fields)
            if (!_encoder.TryAddRepeated(HeaderNames.Lookup(Encoding.Latin1.GetBytes(name)), Encoding.Latin1.GetBytes(value)))
                _encoder.Add(HeaderNames.Lookup(Encoding.Latin1.GetBytes(name)), Encoding.Latin1.GetBytes(name), Encoding.Latin1.GetBytes(value), false);
        var block = _encoder.Block.ToArray();
        Assert.Equal(string.Join(", ", fields.Select(f => $"{f.Name}: {f.Value}")), Decode(Convert.ToHexString(block)));
        return block;
    }

    private string Decode(string hex) => Decode(_decoder, hex);

    private static string Decode(HpackDecoder decoder, string hex)
    {
        var block = Convert.FromHexString(hex);
        var fields = new List<string>();
        decoder.BeginBlock();
        int position = 0;
        HpackStatus status;
        while ((status = decoder.Next(block, ref position, true, out var field)) == HpackStatus.Field)
            fields.Add($"{Encoding.Latin1.GetString(field.Name)}: {Encoding.Latin1.GetString(field.Value)}");
        Assert.Equal(HpackStatus.End, status);
        return string.Join(", ", fields);
    }

    private HpackStatus DecodeStatus(string hex)
    {
        var block = Convert.FromHexString(hex);
        _decoder.BeginBlock();
        int position = 0;
        HpackStatus status;
        while ((status = _decoder.Next(block, ref position, true, out _)) == HpackStatus.Field)
            continue;
        return status;
    }
}
