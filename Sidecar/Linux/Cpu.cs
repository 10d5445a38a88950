using System;

namespace Sidecar.Linux;

/// <summary>Processors this process may use.</summary>
internal static unsafe class Cpu
{
    private const int MaskWords = 16; // 1,024 processors, the size of glibc's cpu_set_t

    /// <summary>How many there are, by affinity mask and cgroup quota (a quota of 1.5 processors counts as 2). At least 1.</summary>
    public static int Available => Environment.ProcessorCount;

    /// <summary>The numbers of the processors in this thread's affinity mask.</summary>
    public static int[] Allowed()
    {
        ulong* mask = stackalloc ulong[MaskWords];
        SysResult got = SysResult.Of(Libc.sched_getaffinity(0, MaskWords * sizeof(ulong), mask));
        if (!got.Ok)
            return [];
        int[] numbers = new int[MaskWords * 64];
        int count = 0;
        for (int cpu = 0; cpu < MaskWords * 64; cpu++)
        {
            if ((mask[cpu / 64] >> (cpu % 64) & 1) != 0)
                numbers[count++] = cpu;
        }
        return numbers[..count];
    }

    /// <summary>Binds the calling thread to one processor.</summary>
    public static SysResult PinThread(int cpu)
    {
        ulong* mask = stackalloc ulong[MaskWords];
        new Span<ulong>(mask, MaskWords).Clear();
        mask[cpu / 64] |= 1UL << (cpu % 64);
        return SysResult.Of(Libc.sched_setaffinity(0, MaskWords * sizeof(ulong), mask));
    }
}
