using System.Runtime.InteropServices;

namespace Sidecar.Linux;

/// <summary>The kernel's clocks, through the vDSO (no system call).</summary>
internal static unsafe class SystemTime
{
    [StructLayout(LayoutKind.Sequential)]
    private struct TimeSpec
    {
        public long Seconds;
        public long Nanoseconds;
    }

    /// <summary>CLOCK_MONOTONIC in nanoseconds: never goes back, starts anywhere.</summary>
    public static long MonotonicNs => Read(1);

    /// <summary>CLOCK_REALTIME in nanoseconds since 1970, UTC.</summary>
    public static long RealtimeNs => Read(0);

    private static long Read(int clock)
    {
        TimeSpec spec;
        Libc.clock_gettime(clock, &spec);
        return spec.Seconds * 1_000_000_000 + spec.Nanoseconds;
    }
}
