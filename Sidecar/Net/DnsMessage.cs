using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using Sidecar.Memory;

namespace Sidecar.Net;

/// <summary>Record types we ask for or follow (RFC 1035 section 3.2.2, RFC 3596).</summary>
internal enum DnsType : ushort
{
    A = 1,
    Cname = 5,
    Aaaa = 28,
}

/// <summary>What a response amounts to.</summary>
internal enum DnsStatus : byte
{
    /// <summary>At least one address.</summary>
    Ok,

    /// <summary>The name exists, without addresses of this kind.</summary>
    NoData,

    /// <summary>The name does not exist (NXDOMAIN).</summary>
    NoName,

    /// <summary>The server could not or would not answer; another one might.</summary>
    ServerFailure,

    /// <summary>The answer did not fit a datagram; ask by TCP.</summary>
    Truncated,

    /// <summary>Not a well-formed response; nothing in it can be believed.</summary>
    Malformed,

    /// <summary>Well-formed perhaps, but not to our question: somebody guessing, or a late answer. Keep waiting.</summary>
    NotOurs,

    /// <summary>No server answered in time.</summary>
    TimedOut,
}

/// <summary>
/// DNS messages (RFC 1035 section 4): our one kind of query, and responses to it. Pure functions of bytes; anything at
/// all may be in them.
/// </summary>
internal static class DnsMessage
{
    /// <summary>Bytes of a query at most: header, a name of 255 bytes, type and class.</summary>
    internal const int QueryBytesMax = HeaderBytes + NameBytesMax + 4;

    private const int HeaderBytes = 12;

    /// <summary>RFC 1035 section 2.3.4, in wire form with its length bytes and the final zero.</summary>
    private const int NameBytesMax = 255;
    private const int LabelBytesMax = 63;

    /// <summary>Aliases followed; a chain longer than this is a loop or an attack.</summary>
    private const int AliasesMax = 16;

    /// <summary>Addresses taken from one answer; a cluster of more hosts behind one name belongs into EDS.</summary>
    private const int AddressesMax = 512;

    /// <summary>Writes a recursive query.</summary>
    /// <returns>Its length, or 0 when <paramref name="name"/> is not a possible name.</returns>
    internal static int WriteQuery(Span<byte> into, ushort id, string name, DnsType type)
    {
        into[..HeaderBytes].Clear();
        BinaryPrimitives.WriteUInt16BigEndian(into, id);
        into[2] = 0x01; // RD
        into[5] = 1;    // QDCOUNT
        int nameBytes = WriteName(into.Slice(HeaderBytes, NameBytesMax), name);
        if (nameBytes == 0)
            return 0;
        int at = HeaderBytes + nameBytes;
        BinaryPrimitives.WriteUInt16BigEndian(into[at..], (ushort)type);
        BinaryPrimitives.WriteUInt16BigEndian(into[(at + 2)..], 1); // IN
        return at + 4;
    }

    /// <summary>Reads the response to <paramref name="query"/> (as written by <see cref="WriteQuery"/>), adding its addresses, without port.</summary>
    /// <param name="ttlSeconds">The least of the records that led to the addresses.</param>
    internal static DnsStatus Read(ReadOnlySpan<byte> response, ReadOnlySpan<byte> query, List<Address> addresses, out uint ttlSeconds)
    {
        ttlSeconds = uint.MaxValue;
        if (response.Length < HeaderBytes || response[0] != query[0] || response[1] != query[1] || (response[2] & 0x80) == 0)
            return DnsStatus.NotOurs;

        int code = response[3] & 0x0f;
        bool truncated = (response[2] & 0x02) != 0;
        int questions = BinaryPrimitives.ReadUInt16BigEndian(response[4..]);
        int records = BinaryPrimitives.ReadUInt16BigEndian(response[6..]);
        if ((response[2] & 0x78) != 0)
            return DnsStatus.Malformed; // OPCODE other than QUERY

        // A server that fails may leave the question out; one that answers may not.
        if (questions == 0 && code is not (0 or 3))
            return DnsStatus.ServerFailure;
        Span<byte> target = stackalloc byte[NameBytesMax];
        Span<byte> owner = stackalloc byte[NameBytesMax];
        int at = HeaderBytes;
        if (questions != 1 || !ReadName(response, ref at, target, out int targetBytes) || at + 4 > response.Length)
            return DnsStatus.Malformed;
        int asked = HeaderBytes;
        ReadName(query, ref asked, owner, out int askedBytes);
        if (!target[..targetBytes].SequenceEqual(owner[..askedBytes]) || !response.Slice(at, 4).SequenceEqual(query.Slice(asked, 4)))
            return DnsStatus.NotOurs;
        at += 4;

        if (truncated)
            return DnsStatus.Truncated;
        if (code == 3)
            return DnsStatus.NoName;
        if (code != 0)
            return DnsStatus.ServerFailure;

        DnsType type = (DnsType)BinaryPrimitives.ReadUInt16BigEndian(query[asked..]);
        int first = at;
        int found = addresses.Count;
        for (int alias = 0; alias <= AliasesMax; alias++)
        {
            // Once over all records per name in the chain: the order in which a server sends them means nothing.
            bool renamed = false;
            at = first;
            for (int i = 0; i < records; i++)
            {
                if (!ReadName(response, ref at, owner, out int ownerBytes) || at + 10 > response.Length)
                    return Refuse(addresses, found);
                DnsType recordType = (DnsType)BinaryPrimitives.ReadUInt16BigEndian(response[at..]);
                ushort recordClass = BinaryPrimitives.ReadUInt16BigEndian(response[(at + 2)..]);
                uint ttl = BinaryPrimitives.ReadUInt32BigEndian(response[(at + 4)..]);
                int length = BinaryPrimitives.ReadUInt16BigEndian(response[(at + 8)..]);
                int data = at + 10;
                at = data + length;
                if (at > response.Length)
                    return Refuse(addresses, found);
                if (recordClass != 1 || !owner[..ownerBytes].SequenceEqual(target[..targetBytes]))
                    continue;
                if (ttl > int.MaxValue)
                    ttl = 0; // RFC 2181 section 8
                if (recordType == type)
                {
                    if (length != (type == DnsType.A ? 4 : 16))
                        return Refuse(addresses, found);
                    if (addresses.Count - found < AddressesMax)
                        addresses.Add(Address.FromBytes(response.Slice(data, length), 0));
                    ttlSeconds = Math.Min(ttlSeconds, ttl);
                }
                else if (recordType == DnsType.Cname && !renamed)
                {
                    int cname = data;
                    if (!ReadName(response, ref cname, owner, out ownerBytes) || cname != at)
                        return Refuse(addresses, found);
                    owner[..ownerBytes].CopyTo(target);
                    targetBytes = ownerBytes;
                    ttlSeconds = Math.Min(ttlSeconds, ttl);
                    renamed = true;
                    break; // its records may come before it
                }
            }
            if (addresses.Count > found)
                return DnsStatus.Ok;
            if (!renamed)
                return DnsStatus.NoData;
        }
        return DnsStatus.Malformed;
    }

    private static DnsStatus Refuse(List<Address> addresses, int keep)
    {
        addresses.RemoveRange(keep, addresses.Count - keep);
        return DnsStatus.Malformed;
    }

    // "a.b" or "a.b." as length-prefixed labels with a final zero; 0 when it is no name.
    private static int WriteName(Span<byte> into, string name)
    {
        ReadOnlySpan<char> rest = name.AsSpan();
        if (rest.EndsWith("."))
            rest = rest[..^1];
        int length = 0;
        while (true)
        {
            int dot = rest.IndexOf('.');
            ReadOnlySpan<char> label = dot < 0 ? rest : rest[..dot];
            if (label.Length is 0 or > LabelBytesMax || length + label.Length + 2 > into.Length)
                return 0;
            into[length++] = (byte)label.Length;
            foreach (char c in label)
            {
                if (c is <= ' ' or > '~')
                    return 0;
                into[length++] = (byte)c;
            }
            if (dot < 0)
                break;
            rest = rest[(dot + 1)..];
        }
        into[length++] = 0;
        return length;
    }

    // Expands a name in lower case. A pointer (RFC 1035 section 4.1.4) must go back to before the name it is part of,
    // each one further than the last, so that no message can make this run in circles; the result is bounded too.
    private static bool ReadName(ReadOnlySpan<byte> message, ref int at, Span<byte> into, out int length)
    {
        length = 0;
        int cursor = at;
        int earliest = at;
        bool jumped = false;
        while (true)
        {
            if (cursor >= message.Length)
                return false;
            int head = message[cursor];
            if (head >= 0xc0)
            {
                if (cursor + 2 > message.Length)
                    return false;
                int to = (head & 0x3f) << 8 | message[cursor + 1];
                if (!jumped)
                    at = cursor + 2;
                if (to >= earliest)
                    return false;
                jumped = true;
                earliest = cursor = to;
                continue;
            }
            if (head > LabelBytesMax || cursor + 1 + head > message.Length || length + 1 + head > into.Length)
                return false;
            message.Slice(cursor, head + 1).CopyTo(into[length..]);
            Ascii.ToLowerInPlace(into.Slice(length + 1, head));
            length += head + 1;
            cursor += head + 1;
            if (head != 0)
                continue;
            if (!jumped)
                at = cursor;
            return true;
        }
    }
}
