using System;
using System.Collections.Generic;
using System.Linq;
using Sidecar.Http;
using Sidecar.Memory;
using Xunit;

namespace Sidecar.Tests.Http;

public class HeaderMapTests
{
    private static readonly string[] s_names = ["host", "cookie", "content-length", "x-request-id", "x-a", "x-b", "x-longer-name-of-nobody", "via"];

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void ValueOfManyCrumbs_TakesAFewTimesItsLength_AlsoWhenOtherFieldsComeBetween(bool between)
    {
        var map = new HeaderMap();
        byte[] crumb = new byte[1000];
        crumb.AsSpan().Fill((byte)'c');
        map.Add(HeaderId.Cookie, crumb);
        int others = 0;
        for (int i = 1; i < 60; i++)
        {
            map.AppendValue(HeaderId.Cookie, crumb, "; "u8);
            if (between)
            {
                map.Add("x-between"u8, "1"u8);
                others += 16;
            }
        }
        Assert.Equal(60 * 1000 + 59 * 2, map.Get(HeaderId.Cookie).Length);
        Assert.Equal(-1, map.Get(HeaderId.Cookie).IndexOfAnyExcept("c; "u8));
        Assert.InRange(map.Block.Length, 60_000, 5 * 60_118 + others);
        map.Reset();
        map.Add(HeaderId.Cookie, "a"u8);
        map.AppendValue(HeaderId.Cookie, "b"u8, "; "u8);
        Assert.Equal("a; b"u8, map.Get(HeaderId.Cookie));
    }

    [Fact]
    public void MoreFieldsThanPositionsReach_AreRefused_AndTheLastOneIsFoundWhereItIs()
    {
        const int Most = ushort.MaxValue;
        var map = new HeaderMap();
        for (int i = 0; i < Most - 1; i++)
            map.Add("x-filler"u8, "f"u8);
        map.Add(HeaderId.Via, "last"u8);
        Assert.Equal(Most, map.Count);
        Assert.Equal("last"u8, map.Get(HeaderId.Via));
        Assert.Throws<InvalidOperationException>(() => map.Add(HeaderId.Server, "one too many"u8));
        Assert.Equal(Most, map.Count);
        Assert.False(map.Contains(HeaderId.Server));
        Assert.Equal("last"u8, map.Get(HeaderId.Via));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void RandomOperations_AgreeWithAList(int seed)
    {
        var random = new Random(seed);
        var map = new HeaderMap();
        var model = new List<(string Name, string Value)>();
        for (int step = 0; step < 5_000; step++)
        {
            string name = s_names[random.Next(s_names.Length)];
            byte[] nameBytes = Ascii.Bytes(name);
            var id = HeaderNames.Lookup(nameBytes);
            string value = new((char)('a' + random.Next(26)), random.Next(40));
            byte[] valueBytes = Ascii.Bytes(value);
            int first = model.FindIndex(field => field.Name == name);
            switch (random.Next(9))
            {
                case 0:
                    map.Add(nameBytes, valueBytes);
                    model.Add((name, value));
                    break;
                case 1 when id != HeaderId.Unknown:
                    map.Add(id, valueBytes);
                    model.Add((name, value));
                    break;
                case 2:
                    map.Set(nameBytes, valueBytes);
                    if (first < 0)
                    {
                        model.Add((name, value));
                        break;
                    }
                    model[first] = (name, value);
                    for (int i = model.Count - 1; i > first; i--)
                    {
                        if (model[i].Name == name)
                            model.RemoveAt(i);
                    }
                    break;
                case 3:
                    Assert.Equal(first >= 0, map.Remove(nameBytes));
                    model.RemoveAll(field => field.Name == name);
                    break;
                case 4 when id != HeaderId.Unknown:
                    map.AppendValue(id, valueBytes, ","u8);
                    if (first < 0)
                        model.Add((name, value));
                    else
                        model[first] = (name, model[first].Value + "," + value);
                    break;
                case 5:
                    int origin = map.AppendRaw(Ascii.Bytes(name + ": " + value + "\r\n"));
                    if (random.Next(2) == 0)
                        map.AddLine(id, origin, name.Length, value.Length);
                    else
                        map.AddAt(id, origin, name.Length, origin + name.Length + 2, value.Length);
                    model.Add((name, value));
                    break;
                case 6 when random.Next(50) == 0:
                    map.RemovePrefix("x-"u8);
                    model.RemoveAll(field => field.Name.StartsWith("x-", StringComparison.Ordinal));
                    break;
                case 7 when random.Next(50) == 0 || model.Count > 40:
                    map.Reset();
                    model.Clear();
                    break;
                case 8 when first >= 0:
                    // A value that points into the map itself.
                    map.TryGet(nameBytes, out var own);
                    map.Add("x-copy"u8, own);
                    model.Add(("x-copy", model[first].Value));
                    break;
            }
            Check(map, model, name, id);
        }
    }

    private static void Check(HeaderMap map, List<(string Name, string Value)> model, string name, HeaderId id)
    {
        Assert.Equal(model.Count, map.Count);
        Assert.Equal(model.Sum(field => field.Name.Length + field.Value.Length), map.ByteSize);
        int at = 0;
        foreach (var field in map)
        {
            Assert.Equal(model[at].Name, Ascii.String(field.Name));
            Assert.Equal(model[at].Value, Ascii.String(field.Value));
            at++;
        }
        Assert.Equal(model.Count, at);
        foreach (var entry in map.Entries)
        {
            if ((entry.State & HeaderMap.EntryState.Line) != 0)
            {
                int length = entry.NameLength + entry.ValueLength + 4;
                Assert.Equal($"{Ascii.String(map.NameOf(in entry))}: {Ascii.String(map.ValueOf(in entry))}\r\n", Ascii.String(map.Block.Slice(entry.NameOffset, length)));
            }
        }

        var values = model.Where(field => field.Name == name).Select(field => field.Value).ToList();
        byte[] nameBytes = Ascii.Bytes(name);
        var walked = new List<string>();
        int index = -1;
        while (map.TryGetNext(id, nameBytes, ref index, out var value))
            walked.Add(Ascii.String(value));
        Assert.Equal(values, walked);
        Assert.Equal(values.Count > 0, map.TryGet(nameBytes, out var firstValue));
        Assert.Equal(values.FirstOrDefault() ?? "", Ascii.String(firstValue));
        if (id == HeaderId.Unknown)
            return;
        Assert.Equal(values.Count, map.CountOf(id));
        Assert.Equal(values.Count > 0, map.Contains(id));
        Assert.Equal(values.FirstOrDefault() ?? "", Ascii.String(map.Get(id)));
    }

    [Fact]
    public void CopyFrom_KeepsOrderAndNeverIndexed()
    {
        var from = new HeaderMap();
        from.Add("authorization"u8, "secret"u8, neverIndexed: true);
        from.Add("x-a"u8, "1"u8, neverIndexed: true);
        from.Add("x-b"u8, "2"u8);
        from.Remove("x-b"u8);
        var to = new HeaderMap();
        to.CopyFrom(from);
        var flags = new List<(string, bool)>();
        foreach (var field in to)
            flags.Add((Ascii.String(field.Name), field.NeverIndexed));
        Assert.Equal([("authorization", true), ("x-a", true)], flags);
    }

    [Fact]
    public void LargeHead_IsForgottenByReset()
    {
        var map = new HeaderMap();
        map.Add("x-large"u8, new byte[100_000]);
        map.SetDecimal(HeaderId.ContentLength, long.MaxValue);
        Assert.Equal("9223372036854775807", Ascii.String(map.Get(HeaderId.ContentLength)));
        map.Reset();
        Assert.True(map.IsEmpty);
        Assert.False(map.Contains(HeaderId.ContentLength));
        map.Add("x-small"u8, "1"u8);
        Assert.True(map.TryGet("x-small"u8, out var value));
        Assert.Equal("1", Ascii.String(value));
    }
}
