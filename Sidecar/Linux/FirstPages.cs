using System.Runtime.CompilerServices;

namespace Sidecar.Linux;

/// <summary>
/// Starting touches most of the program's code and constants, its statics, and the first half MiB of the heap, page by page, and each first touch is a trap
/// into the kernel: on a virtual machine they are a third of the time from exec to the first accepted connection. A call for each brings in the same pages
/// at a tenth of the cost; what of them is code or constant goes again when all is serving (<see cref="ExecutableImage.ReleaseCleanPages"/>).
/// </summary>
internal static unsafe class FirstPages
{
    // Linux 5.14; older kernels refuse them, and the pages come one by one.
    private const int AdvicePopulateRead = 22;
    private const int AdvicePopulateWrite = 23;
    private const int ReadAndWrite = 3;

    /// <summary>Less than a start with one small listener allocates, so that nothing is brought in for nothing.</summary>
    private const nuint HeapBytes = 512 * 1024;

    /// <summary>
    /// The compiler lays plain statics, the slots of statics that are objects, and the caches of interface calls one behind another; starting writes into every page
    /// of them. Were they elsewhere, these pages would be brought in for nothing, and no more than that.
    /// </summary>
    private const nuint StaticsBytes = 80 * 1024;

    // Found out at start, and so among the statics that are not in the file: it says where they lie.
    private static readonly nuint s_pageBytes = Libc.getauxval(ExecutableImage.AuxPageSize);

    /// <summary>Brings them in. To be called first of all.</summary>
    /// <returns>Bytes brought in, or there before.</returns>
    public static long BringIn()
    {
        long bytes = 0;
        foreach (var (start, length) in ExecutableImage.ReadOnlyRanges())
            bytes += Populate(start, length, AdvicePopulateRead);
        bytes += Populate((nuint)Unsafe.AsPointer(ref Unsafe.AsRef(in s_pageBytes)) & ~(s_pageBytes - 1), StaticsBytes, AdvicePopulateWrite);
        // The collector gives memory out upwards from its newest object. What it has reserved but not made writable yet, 64 KiB at a time, it makes writable again.
        object newest = new();
        nuint next = ((nuint)Unsafe.As<object, nint>(ref newest) + s_pageBytes) & ~(s_pageBytes - 1);
        if (!SysResult.Of(Libc.mprotect((void*)next, HeapBytes, ReadAndWrite)).Ok)
            return bytes;
        return bytes + Populate(next, HeapBytes, AdvicePopulateWrite);
    }

    private static long Populate(nuint start, nuint length, int advice) => SysResult.Of(Libc.madvise((void*)start, length, advice)).Ok ? (long)length : 0;
}
