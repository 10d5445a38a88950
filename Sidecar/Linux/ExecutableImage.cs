using System;
using System.Collections.Generic;
using System.IO;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Sidecar.Linux;

/// <summary>This program's own file as it is mapped: what of it the kernel may take back. Control side.</summary>
internal static unsafe class ExecutableImage
{
    private const nuint AuxProgramHeaders = 3;
    private const nuint AuxProgramHeaderSize = 4;
    private const nuint AuxProgramHeaderCount = 5;
    internal const nuint AuxPageSize = 6;
    private const uint TypeLoad = 1;
    private const uint TypeProgramHeaders = 6;
    private const uint FlagWrite = 2;
    private const int AdviceDontNeed = 4;

    /// <summary>One entry of the program header table (elf(5), Elf64_Phdr).</summary>
    private readonly record struct ProgramHeader(
        uint Type, uint Flags, ulong Offset, ulong Address, ulong PhysicalAddress, ulong FileSize, ulong MemorySize, ulong Alignment);

    /// <summary>Where the program's code and constants lie, in whole pages; none where the image is not laid out as expected.</summary>
    internal static List<(nuint Start, nuint Length)> ReadOnlyRanges()
    {
        var ranges = new List<(nuint Start, nuint Length)>();
        if (!TryHeaders(out var table, out nuint bias, out nuint page))
            return ranges;
        foreach (ref readonly var header in table)
        {
            nuint start = (bias + (nuint)header.Address) & ~(page - 1);
            nuint end = (bias + (nuint)(header.Address + header.MemorySize) + page - 1) & ~(page - 1);
            if (header.Type == TypeLoad && (header.Flags & FlagWrite) == 0)
                ranges.Add((start, end - start));
        }
        return ranges;
    }

    // The program header table, and how far from its addresses the image was loaded.
    private static bool TryHeaders(out ReadOnlySpan<ProgramHeader> table, out nuint bias, out nuint page)
    {
        var headers = (byte*)Libc.getauxval(AuxProgramHeaders);
        page = Libc.getauxval(AuxPageSize);
        int count = (int)Libc.getauxval(AuxProgramHeaderCount);
        table = default;
        bias = 0;
        if (headers is null || page == 0 || Libc.getauxval(AuxProgramHeaderSize) != (nuint)sizeof(ProgramHeader))
            return false;
        table = new ReadOnlySpan<ProgramHeader>(headers, count);
        foreach (ref readonly var header in table)
        {
            if (header.Type != TypeProgramHeaders)
                continue;
            bias = (nuint)headers - (nuint)header.Address;
            return true;
        }
        return false;
    }

    /// <summary>
    /// Lets go of the pages of code and constants that starting has touched: reading configuration uses much of the program that serving
    /// does not. What is needed again comes back from the page cache, sixteen pages with each minor fault. Pages that were written stay, and there are
    /// some in read-only segments, too: the runtime unlocks the page of its stack cookie, fills it in, and locks it again. Dropped, it would hold
    /// another cookie than the frames that are on some stack now.
    /// </summary>
    /// <returns>Bytes given back, resident or not; 0 where the image is not laid out as expected.</returns>
    public static long ReleaseCleanPages()
    {
        if (!TryHeaders(out var table, out nuint bias, out nuint page))
            return 0;
        SafeFileHandle pages;
        try
        {
            pages = File.OpenHandle("/proc/self/pagemap");
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            return 0;
        }
        long released = 0;
        foreach (ref readonly var header in table)
        {
            if (header.Type != TypeLoad || (header.Flags & FlagWrite) != 0)
                continue;
            // Whole pages only, so that none is shared with a neighbour.
            nuint start = (bias + (nuint)header.Address + page - 1) & ~(page - 1);
            nuint end = (bias + (nuint)(header.Address + header.MemorySize)) & ~(page - 1);
            if (end > start)
                released += ReleaseUnwritten(pages, start, end, page);
        }
        pages.Dispose();
        return released;
    }

    private static long ReleaseUnwritten(SafeFileHandle pages, nuint start, nuint end, nuint page)
    {
        var states = new ulong[(int)((end - start) / page)];
        Span<byte> bytes = MemoryMarshal.AsBytes(states.AsSpan());
        // A short answer says nothing about the rest, so nothing is released.
        if (RandomAccess.Read(pages, bytes, (long)(start / page) * sizeof(ulong)) != bytes.Length)
            return 0;
        long released = 0;
        foreach (var (first, count) in UnwrittenRuns(states))
        {
            if (SysResult.Of(Libc.madvise((void*)(start + ((nuint)first * page)), (nuint)count * page, AdviceDontNeed)).Ok)
                released += count * (long)page;
        }
        return released;
    }

    /// <summary>
    /// The runs of pages that hold nothing but what the file holds, by their entries of pagemap (proc(5)): those not in memory, and those in memory
    /// as pages of a file. A page that was written is a copy of our own, in memory or in swap.
    /// </summary>
    internal static List<(int First, int Count)> UnwrittenRuns(ReadOnlySpan<ulong> states)
    {
        const ulong present = 1UL << 63, swapped = 1UL << 62, ofFile = 1UL << 61;
        var runs = new List<(int First, int Count)>();
        int first = 0;
        for (int i = 0; i <= states.Length; i++)
        {
            if (i < states.Length && (states[i] & swapped) == 0 && (states[i] & (present | ofFile)) != present)
                continue;
            if (i > first)
                runs.Add((first, i - first));
            first = i + 1;
        }
        return runs;
    }
}
