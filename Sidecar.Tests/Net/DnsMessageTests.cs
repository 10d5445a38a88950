using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.Linq;
using System.Text;
using Sidecar.Net;
using Xunit;

namespace Sidecar.Tests.Net;

public sealed class DnsMessageTests
{
    /// <summary>Builds responses, right and wrong ones.</summary>
    internal sealed class Answer
    {
        private readonly List<byte> _bytes;
        private ushort _count;

        public Answer(ReadOnlySpan<byte> query, int code = 0, bool truncated = false)
        {
            _bytes = [.. query.ToArray()];
            _bytes[2] = (byte)(0x81 | (truncated ? 2 : 0));
            _bytes[3] = (byte)(0x80 | code);
        }

        public Answer Record(string owner, int type, uint ttl, params byte[] data) => Raw(Name(owner), type, ttl, data);

        public Answer Raw(byte[] owner, int type, uint ttl, byte[] data, int? length = null)
        {
            byte[] fixedPart = new byte[10];
            BinaryPrimitives.WriteUInt16BigEndian(fixedPart, (ushort)type);
            BinaryPrimitives.WriteUInt16BigEndian(fixedPart.AsSpan(2), 1);
            BinaryPrimitives.WriteUInt32BigEndian(fixedPart.AsSpan(4), ttl);
            BinaryPrimitives.WriteUInt16BigEndian(fixedPart.AsSpan(8), (ushort)(length ?? data.Length));
            _bytes.AddRange(owner);
            _bytes.AddRange(fixedPart);
            _bytes.AddRange(data);
            _count++;
            return this;
        }

        public int Length => _bytes.Count;

        public byte[] Build()
        {
            byte[] message = [.. _bytes];
            BinaryPrimitives.WriteUInt16BigEndian(message.AsSpan(6), _count);
            return message;
        }

        public static byte[] Name(string name)
        {
            List<byte> wire = [];
            foreach (string label in name.Split('.', StringSplitOptions.RemoveEmptyEntries))
            {
                wire.Add((byte)label.Length);
                wire.AddRange(Encoding.ASCII.GetBytes(label));
            }
            wire.Add(0);
            return [.. wire];
        }
    }

    private static readonly byte[] PointerToQuestion = [0xc0, 12];

    private static byte[] Query(string name, DnsType type = DnsType.A, ushort id = 0x1234)
    {
        byte[] buffer = new byte[DnsMessage.QueryBytesMax];
        return buffer[..DnsMessage.WriteQuery(buffer, id, name, type)];
    }

    private static (DnsStatus Status, string Addresses, uint Ttl) Read(byte[] response, byte[] query)
    {
        List<Address> addresses = [];
        DnsStatus status = DnsMessage.Read(response, query, addresses, out uint ttl);
        return (status, string.Join(" ", addresses.Select(a => a.HostString())), ttl);
    }

    [Fact]
    public void Query_IsWrittenByTheBook()
    {
        Assert.Equal(
            [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, (byte)'a', 2, (byte)'b', (byte)'c', 0, 0, 28, 0, 1],
            Query("a.bc.", DnsType.Aaaa));
    }

    [Theory]
    [InlineData("")]
    [InlineData(".")]
    [InlineData("a..b")]
    [InlineData(".a")]
    [InlineData("a b")]
    [InlineData("ä.de")]
    [InlineData("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.b")]
    public void NoName_IsNotAsked(string name) => Assert.Empty(Query(name));

    [Fact]
    public void NameOfMoreThan255Bytes_IsNotAsked()
    {
        string label = new('a', 62);
        Assert.NotEmpty(Query($"{label}.{label}.{label}.{label}"));
        Assert.Empty(Query($"{label}.{label}.{label}.{label}.b.c"));
    }

    [Fact]
    public void Addresses_WithTheLeastTtl()
    {
        byte[] query = Query("svc.local");
        byte[] response = new Answer(query).Record("SVC.local", 1, 30, 10, 0, 0, 1).Raw(PointerToQuestion, 1, 20, [10, 0, 0, 2]).Build();
        Assert.Equal((DnsStatus.Ok, "10.0.0.1 10.0.0.2", 20u), Read(response, query));
    }

    [Fact]
    public void Aaaa_IsRead()
    {
        byte[] query = Query("v6.local", DnsType.Aaaa);
        byte[] response = new Answer(query).Raw(PointerToQuestion, 28, 5, [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]).Build();
        Assert.Equal((DnsStatus.Ok, "2001:db8::1", 5u), Read(response, query));
    }

    [Fact]
    public void Aliases_AreFollowedInAnyOrder_AndStrangersIgnored()
    {
        byte[] query = Query("a.x");
        byte[] response = new Answer(query)
            .Record("c.x", 1, 60, 10, 0, 0, 3)
            .Record("evil.x", 1, 1, 6, 6, 6, 6)
            .Record("b.x", 5, 50, Answer.Name("c.x"))
            .Record("a.x", 5, 40, Answer.Name("b.x"))
            .Build();
        Assert.Equal((DnsStatus.Ok, "10.0.0.3", 40u), Read(response, query));
    }

    [Fact]
    public void AliasWithoutAddress_IsNoData_AndALoopOfAliasesIsMalformed()
    {
        byte[] query = Query("a.x");
        Assert.Equal(DnsStatus.NoData, Read(new Answer(query).Record("a.x", 5, 1, Answer.Name("b.x")).Build(), query).Status);
        byte[] loop = new Answer(query).Record("a.x", 5, 1, Answer.Name("b.x")).Record("b.x", 5, 1, Answer.Name("a.x")).Build();
        Assert.Equal(DnsStatus.Malformed, Read(loop, query).Status);
    }

    [Theory]
    [InlineData(0, DnsStatus.NoData)]
    [InlineData(1, DnsStatus.ServerFailure)]
    [InlineData(2, DnsStatus.ServerFailure)]
    [InlineData(3, DnsStatus.NoName)]
    [InlineData(5, DnsStatus.ServerFailure)]
    public void ResponseCodes(int code, object status)
    {
        byte[] query = Query("a.x");
        Assert.Equal(status, Read(new Answer(query, code).Build(), query).Status);
    }

    [Fact]
    public void Truncated_IsSaid()
    {
        byte[] query = Query("a.x");
        Assert.Equal(DnsStatus.Truncated, Read(new Answer(query, truncated: true).Build(), query).Status);
    }

    [Fact]
    public void OtherIdQuestionOrDirection_IsNotOurs()
    {
        byte[] query = Query("a.x");
        Assert.Equal(DnsStatus.NotOurs, Read(query, query).Status);
        Assert.Equal(DnsStatus.NotOurs, Read(new Answer(Query("a.x", id: 1)).Build(), query).Status);
        Assert.Equal(DnsStatus.NotOurs, Read(new Answer(Query("b.x")).Build(), query).Status);
        Assert.Equal(DnsStatus.NotOurs, Read(new Answer(Query("a.x", DnsType.Aaaa)).Build(), query).Status);
        Assert.Equal(DnsStatus.NotOurs, Read([1, 2, 3], query).Status);
    }

    [Fact]
    public void CompressionPointers_MustGoBack()
    {
        byte[] query = Query("a.x");
        int here = query.Length;
        byte[] ToItself(int to) => [(byte)(0xc0 | to >> 8), (byte)to];
        Assert.Equal(DnsStatus.Malformed, Read(new Answer(query).Raw(ToItself(here), 1, 1, [1, 2, 3, 4]).Build(), query).Status);
        Assert.Equal(DnsStatus.Malformed, Read(new Answer(query).Raw(ToItself(here + 2), 1, 1, [1, 2, 3, 4]).Build(), query).Status);
        // A label, then a pointer to that label: grows for ever where nothing checks.
        Assert.Equal(DnsStatus.Malformed, Read(new Answer(query).Raw([1, (byte)'z', .. ToItself(here)], 1, 1, [1, 2, 3, 4]).Build(), query).Status);
        // A long chain of pointers, each back to the next: allowed, and finite.
        Answer chain = new(query);
        int previous = 12;
        for (int i = 0; i < 100; i++)
        {
            int at = chain.Length;
            chain.Raw(ToItself(previous), 1, 1, [1, 1, 1, (byte)i]);
            previous = at;
        }
        Assert.Equal(DnsStatus.Ok, Read(chain.Build(), query).Status);
    }

    [Fact]
    public void RecordsThatLie_AreMalformed_AndNoAddressOfThemIsKept()
    {
        byte[] query = Query("a.x");
        Answer Good() => new Answer(query).Record("a.x", 1, 9, 10, 0, 0, 1);
        Assert.Equal((DnsStatus.Malformed, "", 9u), Read(Good().Record("a.x", 1, 9, 1, 2, 3).Build(), query));
        Assert.Equal((DnsStatus.Malformed, "", 9u), Read(Good().Raw(PointerToQuestion, 1, 9, [1, 2, 3, 4], length: 5000).Build(), query));
        byte[] cut = Good().Build();
        for (int length = query.Length + 1; length < cut.Length; length++)
            Assert.Equal(DnsStatus.Malformed, Read(cut[..length], query).Status);
    }

    [Fact]
    public void AddressesOfOneAnswer_AreBounded()
    {
        byte[] query = Query("a.x");
        Answer many = new(query);
        for (int i = 0; i < 2000; i++)
            many.Raw(PointerToQuestion, 1, 1, [10, 0, (byte)(i >> 8), (byte)i]);
        List<Address> addresses = [];
        Assert.Equal(DnsStatus.Ok, DnsMessage.Read(many.Build(), query, addresses, out _));
        Assert.Equal(512, addresses.Count);
    }

    [Fact]
    public void AnyBytes_EndInAStatus()
    {
        Random random = new(53);
        byte[] query = Query("www.example.com");
        byte[] seed = new Answer(query)
            .Record("www.example.com", 5, 60, Answer.Name("cdn.example.com"))
            .Raw(PointerToQuestion, 5, 60, [3, (byte)'c', (byte)'d', (byte)'n', 0xc0, 16])
            .Record("cdn.example.com", 1, 60, 1, 2, 3, 4)
            .Record("cdn.example.com", 28, 60, new byte[16])
            .Build();
        HashSet<DnsStatus> seen = [];
        List<Address> addresses = [];
        for (int round = 0; round < 200_000; round++)
        {
            byte[] mutant = [.. seed];
            for (int i = random.Next(1, 6); i > 0; i--)
                mutant[random.Next(2, mutant.Length)] = random.Next(4) == 0 ? (byte)0xc0 : (byte)random.Next(256);
            addresses.Clear();
            int length = random.Next(3) == 0 ? random.Next(mutant.Length) : mutant.Length;
            DnsStatus status = DnsMessage.Read(mutant.AsSpan(0, length), query, addresses, out _);
            Assert.True(status == DnsStatus.Ok ? addresses.Count > 0 : addresses.Count == 0);
            seen.Add(status);
        }
        foreach (DnsStatus status in new[] { DnsStatus.Ok, DnsStatus.NoData, DnsStatus.NoName, DnsStatus.ServerFailure, DnsStatus.Malformed, DnsStatus.NotOurs, DnsStatus.Truncated })
            Assert.Contains(status, seen);
    }
}
