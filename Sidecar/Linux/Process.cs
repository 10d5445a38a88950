using System;
using System.Globalization;
using System.IO;

namespace Sidecar.Linux;

/// <summary>Facts about this process, and its limits. Control side.</summary>
internal static unsafe class Process
{
    private const int LimitOpenFiles = 7;

    private struct Limits
    {
        public ulong Soft;
        public ulong Hard;
    }

    /// <summary>Running as root, or with its effective identity.</summary>
    public static bool IsRoot => Libc.geteuid() == 0;

    /// <summary>How many descriptors this process may have open now (the soft RLIMIT_NOFILE).</summary>
    public static long OpenFilesMax
    {
        get
        {
            Limits limits = default;
            return SysResult.Of(Libc.getrlimit(LimitOpenFiles, &limits)).Ok ? (long)Math.Min(limits.Soft, long.MaxValue) : 1024;
        }
    }

    /// <summary>Raises the soft limit of open files to the hard one; answers the limit now in force.</summary>
    public static long RaiseOpenFiles()
    {
        Limits limits = default;
        if (SysResult.Of(Libc.getrlimit(LimitOpenFiles, &limits)).Ok && limits.Soft < limits.Hard)
        {
            limits.Soft = limits.Hard;
            Libc.setrlimit(LimitOpenFiles, &limits);
        }
        return OpenFilesMax;
    }

    /// <summary>Resident set size in bytes, or 0 where /proc is not mounted.</summary>
    public static long ResidentBytes => StatusKiB("VmRSS:") * 1024;

    /// <summary>Peak resident set size in bytes, or 0 where /proc is not mounted.</summary>
    public static long ResidentPeakBytes => StatusKiB("VmHWM:") * 1024;

    private static long StatusKiB(string field)
    {
        try
        {
            foreach (string line in File.ReadLines("/proc/self/status"))
            {
                if (line.StartsWith(field, StringComparison.Ordinal))
                    return long.Parse(line.AsSpan(field.Length).Trim().TrimEnd("kB").Trim(), CultureInfo.InvariantCulture);
            }
        }
        catch (IOException)
        {
            // No /proc: the number is a diagnostic, its absence is not a failure.
        }
        return 0;
    }
}
