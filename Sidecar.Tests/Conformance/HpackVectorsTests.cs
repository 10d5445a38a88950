using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text;
using System.Text.Json;
using Sidecar.Http;
using Sidecar.Http.H2.Hpack;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Conformance;

/// <summary>The published outputs of other HPACK encoders decode to their header sets, and our encoder's output of those sets decodes back.</summary>
public sealed class HpackVectorsTests
{
    private sealed record Case(byte[] Wire, List<(string Name, string Value)> Fields, int TableSize);

    [SkippableTheory]
    [InlineData("go-hpack")]
    [InlineData("haskell-http2-linear-huffman")]
    [InlineData("nghttp2")]
    [InlineData("nghttp2-change-table-size")]
    public void Vectors_Decode(string encoder)
    {
        int cases = 0;
        foreach (var story in Stories(encoder))
        {
            var decoder = new HpackDecoder(new HpackScratch(), 1 << 20);
            foreach (var vector in story)
            {
                Assert.Equal(vector.Fields, Decode(decoder, vector.Wire));
                cases++;
            }
        }
        Assert.True(cases > 100, $"only {cases} cases: the vectors are not whole");
    }

    [SkippableTheory]
    [InlineData("nghttp2", 4096)]
    [InlineData("nghttp2", 256)]
    [InlineData("nghttp2", 0)]
    public void EncodedSets_DecodeBack(string encoder, int tableSize)
    {
        long wire = 0, others = 0;
        foreach (var story in Stories(encoder))
        {
            var ours = new HpackEncoder(new HpackScratch(), tableSize);
            var decoder = new HpackDecoder(new HpackScratch(), tableSize);
            foreach (var vector in story)
            {
                ours.Begin();
                foreach (var (name, value) in vector.Fields)
                    ours.Add(HeaderNames.Lookup(Encoding.Latin1.GetBytes(name)), Encoding.Latin1.GetBytes(name), Encoding.Latin1.GetBytes(value), false);
                Assert.Equal(vector.Fields, Decode(decoder, ours.Block.ToArray()));
                Assert.Equal(ours.Table.Size, decoder.Table.Size);
                wire += ours.Block.Length;
                others += vector.Wire.Length;
            }
        }
        // With the usual table we stay near an encoder that spends more on it.
        if (tableSize == 4096)
            Assert.InRange(wire, 1, others * 2);
    }

    [SkippableFact]
    public void Vectors_CutAnywhere_DecodeTheSame()
    {
        // A block in two parts, as HEADERS and CONTINUATION bring it.
        foreach (var vector in Stories("nghttp2").Take(3).Select(story => story[0]))
        {
            for (int cut = 0; cut <= vector.Wire.Length; cut++)
            {
                var decoder = new HpackDecoder(new HpackScratch(), 4096);
                decoder.BeginBlock();
                var fields = new List<(string, string)>();
                int used = Take(decoder, vector.Wire.AsSpan(0, cut), false, fields);
                Take(decoder, vector.Wire.AsSpan(used), true, fields);
                Assert.Equal(vector.Fields, fields);
            }
        }
    }

    private static List<(string, string)> Decode(HpackDecoder decoder, byte[] wire)
    {
        var fields = new List<(string, string)>();
        decoder.BeginBlock();
        Assert.Equal(wire.Length, Take(decoder, wire, true, fields));
        return fields;
    }

    private static int Take(HpackDecoder decoder, ReadOnlySpan<byte> wire, bool last, List<(string, string)> fields)
    {
        int position = 0;
        HpackStatus status;
        while ((status = decoder.Next(wire, ref position, last, out var field)) == HpackStatus.Field)
            fields.Add((Encoding.UTF8.GetString(field.Name), Encoding.UTF8.GetString(field.Value)));
        Assert.True(status is HpackStatus.End || (!last && status == HpackStatus.Incomplete), status.ToString());
        return position;
    }

    private static IEnumerable<List<Case>> Stories(string encoder)
    {
        foreach (string file in Directory.GetFiles(ProjectTree.Shared("testdata/hpack/" + encoder), "*.json").Order())
        {
            using var json = JsonDocument.Parse(File.ReadAllBytes(file));
            yield return json.RootElement.GetProperty("cases").EnumerateArray().Select(item => new Case(
                Convert.FromHexString(item.GetProperty("wire").GetString()!),
                item.GetProperty("headers").EnumerateArray().SelectMany(h => h.EnumerateObject()).Select(p => (p.Name, p.Value.GetString()!)).ToList(),
                item.TryGetProperty("header_table_size", out var size) ? size.GetInt32() : 4096)).ToList();
        }
    }
}
