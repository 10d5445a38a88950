using System;
using System.Collections.Generic;
using System.Text;
using Sidecar.Wire;

namespace Sidecar.Tests.Harness;

/// <summary>
/// Damage to a protobuf message, by a seeded random: of fields, however deep, with every length around them mended, so that what is wrong reaches who reads the
/// field; and of bytes, which mostly breaks the framing.
/// </summary>
internal static class WireMutation
{
    private const int DepthMax = 24;

    private static readonly ulong[] s_numbers =
        [0, 1, 2, 3, 5, 127, 128, 255, 256, 65_535, 65_536, 65_537, 1 << 20, int.MaxValue, uint.MaxValue, 1UL << 32, long.MaxValue, 1UL << 63, ulong.MaxValue];

    private static readonly byte[][] s_texts =
    [
        [], [0xff, 0xfe], "*"u8.ToArray(), "a"u8.ToArray(), "-1"u8.ToArray(), "a\0b"u8.ToArray(), "a\nb"u8.ToArray(), "127.0.0.1"u8.ToArray(), "::1"u8.ToArray(),
        "%REQ("u8.ToArray(), "%DOWNSTREAM_REMOTE_ADDRESS%"u8.ToArray(), "(a+)+$"u8.ToArray(), "[a-"u8.ToArray(), "{a}/{b=**}"u8.ToArray(), "envoy.filters.http.router"u8.ToArray(),
        "type.googleapis.com/envoy.config.cluster.v3.Cluster"u8.ToArray(), "type.googleapis.com/udpa.type.v1.TypedStruct"u8.ToArray(), "type.googleapis.com/google.protobuf.Any"u8.ToArray(),
        Encoding.ASCII.GetBytes(new string('a', 5000)), Encoding.ASCII.GetBytes(new string('(', 300)),
    ];

    internal static byte[] Mutate(byte[] message, Random random)
    {
        byte[] mutated = message;
        for (int changes = random.Next(1, 4); changes > 0; changes--)
            mutated = random.Next(4) > 0 ? OfField(mutated, random, 0) : OfBytes(mutated, random);
        return mutated;
    }

    /// <summary>A field of a message: where it lies, tag and all, and its content.</summary>
    private readonly record struct Field(int Start, int End, uint Number, int Encoding, int ContentStart);

    private static List<Field>? Read(ReadOnlySpan<byte> message)
    {
        var fields = new List<Field>();
        var reader = new WireReader(message);
        while (!reader.AtEnd)
        {
            int start = reader.Position;
            if (!reader.TryTag(out uint number, out int encoding))
                return null;
            int content = reader.Position;
            if (encoding == 2)
            {
                if (!reader.TryBytes(out var value))
                    return null;
                content = reader.Position - value.Length;
            }
            else if (!reader.TrySkip(encoding))
            {
                return null;
            }
            fields.Add(new Field(start, reader.Position, number, encoding, content));
        }
        return fields;
    }

    private static byte[] OfField(byte[] message, Random random, int depth)
    {
        if (Read(message) is not { Count: > 0 } fields)
            return OfBytes(message, random);
        var field = fields[random.Next(fields.Count)];
        byte[] content = message[field.ContentStart..field.End];
        if (field.Encoding == 2 && content.Length > 2 && depth < DepthMax && random.Next(8) > 0 && Read(content) is not null)
            return Put(message, field, Encoded(field.Number, OfField(content, random, depth + 1)));
        switch (random.Next(7))
        {
            case 0:
                return Put(message, field, []);
            case 1:
                // Once more, and sometimes so often that it is a lot.
                byte[] copy = message[field.Start..field.End];
                int times = random.Next(20) == 0 ? Math.Min(200, 20_000 / copy.Length + 2) : 2;
                var copies = new List<byte>(copy.Length * times);
                for (int i = 0; i < times; i++)
                    copies.AddRange(copy);
                return Put(message, field, [.. copies]);
            case 2:
                return Put(message, field, field.Encoding == 2 ? Encoded((uint)random.Next(1, 70), content) : [.. Varint((uint)random.Next(1, 70) << 3 | (uint)field.Encoding), .. content]);
            case 3:
                // The content of a neighbour.
                var other = fields[random.Next(fields.Count)];
                return Put(message, field, [.. Varint(field.Number << 3 | (uint)other.Encoding), .. Tail(message, other)]);
            case 4 when field.Encoding == 2:
                return Put(message, field, Encoded(field.Number, OfBytes(content, random)));
            case 5 when field.Encoding == 2:
                return Put(message, field, Encoded(field.Number, s_texts[random.Next(s_texts.Length)]));
            default:
                return Put(message, field, [.. Varint(field.Number << 3), .. Varint(s_numbers[random.Next(s_numbers.Length)])]);
        }
    }

    // A field without its tag: the length, where it has one, and the content.
    private static byte[] Tail(byte[] message, in Field field) =>
        field.Encoding == 2 ? [.. Varint((ulong)(field.End - field.ContentStart)), .. message[field.ContentStart..field.End]] : message[field.ContentStart..field.End];

    private static byte[] OfBytes(byte[] message, Random random)
    {
        if (message.Length == 0)
            return [(byte)random.Next(256)];
        var bytes = new List<byte>(message);
        int at = random.Next(bytes.Count);
        switch (random.Next(6))
        {
            case 0:
                bytes[at] ^= (byte)(1 << random.Next(8));
                break;
            case 1:
                bytes[at] = (byte)random.Next(256);
                break;
            case 2:
                bytes.RemoveAt(at);
                break;
            case 3:
                bytes.Insert(at, (byte)random.Next(256));
                break;
            case 4:
                bytes.RemoveRange(at, random.Next(bytes.Count - at) + 1);
                break;
            default:
                bytes[at] = (byte)(random.Next(2) == 0 ? 0 : 0xff);
                break;
        }
        return [.. bytes];
    }

    private static byte[] Put(byte[] message, in Field field, byte[] instead) => [.. message.AsSpan(0, field.Start), .. instead, .. message.AsSpan(field.End)];

    private static byte[] Encoded(uint number, byte[] content) => [.. Varint(number << 3 | 2), .. Varint((ulong)content.Length), .. content];

    private static byte[] Varint(ulong value)
    {
        var bytes = new List<byte>(10);
        for (; value > 127; value >>= 7)
            bytes.Add((byte)(value & 127 | 128));
        bytes.Add((byte)value);
        return [.. bytes];
    }
}
