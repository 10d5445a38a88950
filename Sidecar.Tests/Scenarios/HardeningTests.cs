using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Scenarios;

/// <summary>What the published executable's ELF headers (elf(5)) say of its memory.</summary>
[Trait("Category", "Linux")]
[Collection(ExecutableCollection.Name)]
public sealed class HardeningTests
{
    private const uint Load = 1, Dynamic = 2, GnuStack = 0x6474e551, GnuRelro = 0x6474e552;
    private const uint Execute = 1, Write = 2;
    private const long TagNeeded = 1, TagRpath = 15, TagPltGot = 3, TagTextRel = 22, TagRunPath = 29, TagFlags = 30, TagFlags1 = 0x6ffffffb;
    private const long FlagTextRel = 4, FlagBindNow = 8, Flag1Now = 1;

    private readonly record struct Segment(uint Type, uint Flags, long Offset, long Address, long FileSize, long Size);

    [SkippableFact]
    public void NoMemoryIsBothWritableAndExecutable_TheStackIncluded()
    {
        var segments = Segments(Read());
        Assert.DoesNotContain(segments, segment => segment.Type == Load && (segment.Flags & (Write | Execute)) == (Write | Execute));
        // Without this header the kernel would make the stack executable.
        Assert.Equal(0u, Assert.Single(segments, segment => segment.Type == GnuStack).Flags & Execute);
    }

    [SkippableFact]
    public void AddressesOfLibraryFunctions_AreBoundAtStart_AndReadOnlyFromThenOn()
    {
        var file = Read();
        var dynamic = DynamicEntries(file);
        Assert.Equal(FlagBindNow, dynamic[TagFlags] & FlagBindNow);
        Assert.Equal(Flag1Now, dynamic[TagFlags1] & Flag1Now);
        var relro = Assert.Single(Segments(file), segment => segment.Type == GnuRelro);
        Assert.InRange(dynamic[TagPltGot], relro.Address, relro.Address + relro.Size - 1);
    }

    [SkippableFact]
    public void LibrariesComeFromTheSystemsFolders_AndCodeIsNotRelocated()
    {
        var dynamic = DynamicEntries(Read());
        Assert.True(dynamic.ContainsKey(TagNeeded));
        Assert.False(dynamic.ContainsKey(TagRpath));
        Assert.False(dynamic.ContainsKey(TagRunPath));
        Assert.False(dynamic.ContainsKey(TagTextRel));
        Assert.Equal(0, dynamic[TagFlags] & FlagTextRel);
    }

    private static byte[] Read()
    {
        SidecarProcess.Require();
        var file = File.ReadAllBytes(ProjectTree.Executable);
        Assert.True(file.AsSpan().StartsWith("\x7f\x45LF\x02\x01"u8)); // 64 bits, little endian
        return file;
    }

    private static List<Segment> Segments(byte[] file)
    {
        int at = (int)Number(file, 32), size = Half(file, 54), count = Half(file, 56);
        return [.. Enumerable.Range(0, count).Select(i => at + i * size).Select(p => new Segment(
            Word(file, p), Word(file, p + 4), Number(file, p + 8), Number(file, p + 16), Number(file, p + 32), Number(file, p + 40)))];
    }

    // The last of each tag; DT_NEEDED is the only one that comes more than once.
    private static Dictionary<long, long> DynamicEntries(byte[] file)
    {
        var segment = Assert.Single(Segments(file), header => header.Type == Dynamic);
        var entries = new Dictionary<long, long>();
        for (long at = segment.Offset; at < segment.Offset + segment.FileSize && Number(file, (int)at) != 0; at += 16)
            entries[Number(file, (int)at)] = Number(file, (int)at + 8);
        return entries;
    }

    private static ushort Half(byte[] file, int at) => BinaryPrimitives.ReadUInt16LittleEndian(file.AsSpan(at));

    private static uint Word(byte[] file, int at) => BinaryPrimitives.ReadUInt32LittleEndian(file.AsSpan(at));

    private static long Number(byte[] file, int at) => BinaryPrimitives.ReadInt64LittleEndian(file.AsSpan(at));
}
