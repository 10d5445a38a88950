using System;

namespace Sidecar.Linux;

/// <summary>This program's own file as it is mapped: what of it the kernel may take back. Control side.</summary>
internal static unsafe class ExecutableImage
{
    private const nuint AuxProgramHeaders = 3;
    private const nuint AuxProgramHeaderSize = 4;
    private const nuint AuxProgramHeaderCount = 5;
    private const nuint AuxPageSize = 6;
    private const uint TypeLoad = 1;
    private const uint TypeProgramHeaders = 6;
    private const uint FlagWrite = 2;
    private const int AdviceDontNeed = 4;

    /// <summary>One entry of the program header table (elf(5), Elf64_Phdr).</summary>
    private readonly record struct ProgramHeader(
        uint Type, uint Flags, ulong Offset, ulong Address, ulong PhysicalAddress, ulong FileSize, ulong MemorySize, ulong Alignment);

    /// <summary>
    /// Lets go of the pages of code and constants that starting has touched: reading configuration uses much of the program that serving
    /// does not. What is needed again comes back from the page cache, sixteen pages with each minor fault. Nothing that was written, not even by the
    /// loader, is among them: such pages lie in writable segments.
    /// </summary>
    /// <returns>Bytes given back, resident or not; 0 where the image is not laid out as expected.</returns>
    public static long ReleaseCleanPages()
    {
        var headers = (byte*)Libc.getauxval(AuxProgramHeaders);
        nuint page = Libc.getauxval(AuxPageSize);
        int count = (int)Libc.getauxval(AuxProgramHeaderCount);
        if (headers is null || page == 0 || Libc.getauxval(AuxProgramHeaderSize) != (nuint)sizeof(ProgramHeader))
            return 0;
        var table = new ReadOnlySpan<ProgramHeader>(headers, count);
        nuint bias = 0;
        bool isKnown = false;
        foreach (ref readonly var header in table)
        {
            if (header.Type != TypeProgramHeaders)
                continue;
            bias = (nuint)headers - (nuint)header.Address;
            isKnown = true;
        }
        if (!isKnown)
            return 0;

        long released = 0;
        foreach (ref readonly var header in table)
        {
            if (header.Type != TypeLoad || (header.Flags & FlagWrite) != 0)
                continue;
            // Whole pages only, so that none is shared with a neighbour.
            nuint start = (bias + (nuint)header.Address + page - 1) & ~(page - 1);
            nuint end = (bias + (nuint)(header.Address + header.MemorySize)) & ~(page - 1);
            if (end > start && SysResult.Of(Libc.madvise((void*)start, end - start, AdviceDontNeed)).Ok)
                released += (long)(end - start);
        }
        return released;
    }
}
