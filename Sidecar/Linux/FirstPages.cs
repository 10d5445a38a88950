using System.Runtime.CompilerServices;

namespace Sidecar.Linux;

/// <summary>
/// Starting touches most of the program's code and the first half MiB of the heap, page by page, and each first touch is a trap into the kernel: on a virtual machine
/// they are a quarter of the time from exec to the first accepted connection. Two calls bring in the same pages; what of them is code goes again when all is
/// serving (<see cref="ExecutableImage.ReleaseCleanPages"/>).
/// </summary>
internal static unsafe class FirstPages
{
    // Linux 5.14; older kernels refuse them, and the pages come one by one.
    private const int AdvicePopulateRead = 22;
    private const int AdvicePopulateWrite = 23;

    /// <summary>Less than any start allocates, so that nothing is brought in for nothing.</summary>
    private const nuint HeapBytes = 512 * 1024;

    /// <summary>Brings them in. To be called first of all.</summary>
    /// <returns>Bytes brought in, or there before.</returns>
    public static long BringIn()
    {
        long bytes = 0;
        foreach (var (start, length) in ExecutableImage.CodeRanges())
            bytes += Populate(start, length, AdvicePopulateRead);
        // The collector gives memory out upwards from its newest object.
        object newest = new();
        nuint page = Libc.getauxval(ExecutableImage.AuxPageSize);
        nuint next = ((nuint)Unsafe.As<object, nint>(ref newest) + page) & ~(page - 1);
        return bytes + Populate(next, HeapBytes, AdvicePopulateWrite);
    }

    private static long Populate(nuint start, nuint length, int advice) => SysResult.Of(Libc.madvise((void*)start, length, advice)).Ok ? (long)length : 0;
}
