using System;
using System.Linq;
using Envoy.Service.Discovery.V3;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Sidecar.Tests.Harness;
using Sidecar.Wire;
using Sidecar.Xds;
using Xunit;
using static Sidecar.Tests.Harness.DiscoveryMessages;

namespace Sidecar.Tests.Xds;

/// <summary>Responses unwrapped as they arrive, in every cut; what is no response is told from what only holds a bad resource.</summary>
public sealed class ResponseReaderTests
{
    private const string Cds = ResourceTypes.Cluster;
    private readonly ResponseReader _reader = new();

    private ReceivedResponse? Read(byte[] bytes, bool delta, int cut = int.MaxValue)
    {
        _reader.Begin(delta);
        for (int at = 0; at < bytes.Length; at += Math.Min(cut, bytes.Length - at))
            _reader.Feed(bytes.AsSpan(at, Math.Min(cut, bytes.Length - at)));
        return _reader.End();
    }

    private static string Text(ReceivedResponse response) => string.Join(
        " ", $"{response.Version} {response.TypeUrl} {response.Nonce} {response.ControlPlane} {response.Bytes}",
        string.Join(",", response.Resources.Select(r => $"{r.Name}@{r.Version}:{Convert.ToHexString(r.Bytes.Span)}:{r.TtlMs}:{string.Join("+", r.Aliases ?? [])}:{r.Problem}")),
        "-" + string.Join(",", response.Removed), "!" + string.Join(",", response.Errors));

    private static DeltaDiscoveryResponse SampleDelta()
    {
        var response = DiscoveryMessages.Delta(Cds, "7", "nonce", [Wrap("x", "1", Cluster("x", "stat"), "a", "b"), Wrap("y", "2", null)], "gone", "too");
        response.Resources[1].Ttl = new Duration { Seconds = 2, Nanos = 1 };
        response.RemovedResourceNames.Add(new ResourceName { Name = "also" });
        response.ResourceErrors.Add(new ResourceError { ResourceName = new ResourceName { Name = "e" }, ErrorDetail = new Google.Rpc.Status { Code = 5, Message = "not found" } });
        response.ControlPlane = new Envoy.Config.Core.V3.ControlPlane { Identifier = "istiod-0" };
        return response;
    }

    private static DiscoveryResponse SampleWorld()
    {
        var response = DiscoveryMessages.World(Cds, "7", "nonce", Cluster("x", "stat"), Wrap("y", "own", Cluster("y")));
        response.ControlPlane = new Envoy.Config.Core.V3.ControlPlane { Identifier = "istiod-0" };
        return response;
    }

    [Fact]
    public void Delta_IsReadWhole_AndTheSameInEveryCut()
    {
        byte[] bytes = SampleDelta().ToByteArray();
        var whole = Read(bytes, delta: true);
        Assert.NotNull(whole);
        string cluster = Convert.ToHexString(Cluster("x", "stat").ToByteArray());
        Assert.Equal(
            $"7 {Cds} nonce istiod-0 {bytes.Length} x@1:{cluster}:-1:a+b:,y@2::2001:: -gone,too,also !{new ResourceRejection("e", "", "not found")}", Text(whole));
        Assert.Equal(Text(whole), Text(Read(bytes, delta: true, cut: 1)!));
        for (int split = 1; split < bytes.Length; split++)
        {
            _reader.Begin(true);
            _reader.Feed(bytes.AsSpan(0, split));
            _reader.Feed(bytes.AsSpan(split));
            Assert.Equal(Text(whole), Text(_reader.End()!));
        }
    }

    [Fact]
    public void World_IsReadWhole_AndTheSameInEveryCut()
    {
        byte[] bytes = SampleWorld().ToByteArray();
        var whole = Read(bytes, delta: false);
        Assert.NotNull(whole);
        Assert.Equal("x@,y@own", string.Join(",", whole.Resources.Select(r => $"{r.Name}@{r.Version}")));
        Assert.Equal(Cluster("y").ToByteArray(), whole.Resources[1].Bytes.ToArray());
        Assert.Equal("istiod-0", whole.ControlPlane);
        for (int cut = 1; cut < bytes.Length; cut++)
            Assert.Equal(Text(whole), Text(Read(bytes, delta: false, cut)!));
    }

    [Fact]
    public void UnknownFields_AreSkipped()
    {
        byte[] bytes = [.. SampleWorld().ToByteArray(), 0x98, 0x06, 0x05, 0xA1, 0x06, 1, 2, 3, 4, 5, 6, 7, 8, 0xAA, 0x06, 2, 9, 9, 0xB5, 0x06, 1, 2, 3, 4, 0x18, 1];
        for (int cut = 1; cut < 40; cut++)
            Assert.Equal(2, Read(bytes, delta: false, cut)!.Resources.Count);
    }

    [Fact]
    public void EveryTruncation_IsNoResponse_OrOneThatEndsBetweenFields()
    {
        byte[] bytes = SampleDelta().ToByteArray();
        int whole = 0;
        for (int length = 0; length < bytes.Length; length++)
        {
            if (Read(bytes[..length], delta: true) is not null)
                whole++;
            else
                Assert.Equal("it ends within a field", _reader.Problem);
        }
        // Nothing, and one for each field but the last.
        Assert.Equal(10, whole);
    }

    [Theory]
    [InlineData(new byte[] { 0x00 }, "a field has no valid number")]
    [InlineData(new byte[] { 0x0B }, "a field has no valid encoding")]
    [InlineData(new byte[] { 0x0C }, "a field has no valid encoding")]
    [InlineData(new byte[] { 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x02 }, "a number has more than 64 bits")]
    [InlineData(new byte[] { 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01 }, "a field has no valid number")]
    [InlineData(new byte[] { 0x12, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F }, "field 2 announces 549755813887 bytes")]
    [InlineData(new byte[] { 0x2A, 0x80, 0x80, 0x80, 0x01 }, "field 5 announces 2097152 bytes")]
    public void BrokenBytes_AreNoResponse(byte[] bytes, string problem)
    {
        Assert.Null(Read(bytes, delta: false));
        Assert.Equal(problem, _reader.Problem);
        Assert.Null(Read(bytes, delta: false, cut: 1));
        Assert.Equal(problem, _reader.Problem);
    }

    [Fact]
    public void AnnouncedLength_CostsNothingBeforeItsBytesCome()
    {
        long before = GC.GetAllocatedBytesForCurrentThread();
        _reader.Begin(true);
        // A resource of 1 GiB is announced, and 300,000 bytes of it come.
        _reader.Feed([0x12, 0x80, 0x80, 0x80, 0x80, 0x04]);
        _reader.Feed(new byte[300_000]);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 2_000_000);
        Assert.Null(_reader.End());
    }

    [Fact]
    public void MoreEntriesThanAnyMeshHas_AreNoResponse()
    {
        _reader.Begin(true);
        var empty = new byte[200_000];
        for (int i = 0; i < empty.Length; i += 2)
            empty[i] = 0x12;
        for (int i = 0; i < 11; i++)
            _reader.Feed(empty);
        Assert.Null(_reader.End());
        Assert.Equal($"it has more than {ResponseReader.EntriesMax} entries", _reader.Problem);
    }

    [Fact]
    public void BrokenResource_IsAProblemOfItsOwn()
    {
        var response = DiscoveryMessages.World(Cds, "1", "n", Cluster("good"));
        response.Resources.Add(new Any { TypeUrl = Cds, Value = ByteString.CopyFrom(0x0A, 0x7F) });
        response.Resources.Add(Pack(new Resource { Name = "ttl", Ttl = new Duration { Seconds = -1 }, Resource_ = Pack(Cluster("ttl")) }));
        var read = Read(response.ToByteArray(), delta: false)!;
        Assert.Equal(["good:", ":the protobuf bytes are broken", "ttl:ttl: the protobuf bytes are broken"], read.Resources.Select(r => $"{r.Name}:{r.Problem}"));
    }

    [Fact]
    public void Resource_KeepsNothingOfItsNeighboursAlive()
    {
        byte[] bytes = DiscoveryMessages.World(Cds, "1", "n", Cluster("x", new string('x', 100)), Cluster("y", new string('y', 100_000))).ToByteArray();
        var read = Read(bytes, delta: false, cut: 1000)!;
        Assert.True(System.Runtime.InteropServices.MemoryMarshal.TryGetArray(read.Resources[0].Bytes, out var array));
        // Its own bytes and those of the Any around it.
        Assert.InRange(array.Array!.Length - read.Resources[0].Bytes.Length, 0, 80);
    }
}
