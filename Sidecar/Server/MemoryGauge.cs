using System;
using System.Collections.Generic;
using Sidecar.Linux;

namespace Sidecar.Server;

/// <summary>How much memory the process has, as the kernel and the collector see it, and the collection. A test puts numbers of its own in place.</summary>
/// <remarks>Control loop only.</remarks>
internal class MemoryGauge
{
    private readonly ProcessMemory _process = new();
    private readonly Cgroup? _cgroup = Cgroup.Find();
    private int _collections = -1;
    private long _committed;

    /// <summary>Resident bytes of our own: heap, stacks, what the C library has.</summary>
    internal virtual long AnonymousBytes => _process.AnonymousBytes();

    /// <summary>Bytes of objects in the managed heap, garbage included.</summary>
    internal virtual long ManagedBytes => GC.GetTotalMemory(false);

    /// <summary>Bytes the managed heap has of the system: with the last collection, or what is in it, when that is more.</summary>
    internal virtual long CommittedBytes
    {
        get
        {
            // Asking allocates, and the answer is the last collection's.
            int collections = GC.CollectionCount(0);
            if (collections != _collections)
            {
                _collections = collections;
                _committed = GC.GetGCMemoryInfo(GCKind.Any).TotalCommittedBytes;
            }
            return Math.Max(_committed, ManagedBytes);
        }
    }

    /// <summary>The machine's memory.</summary>
    internal virtual long MachineBytes => GC.GetGCMemoryInfo(GCKind.Any).TotalAvailableMemoryBytes;

    internal virtual long? CgroupLimitBytes => _cgroup?.LimitBytes;

    internal virtual long? CgroupUsedBytes => _cgroup?.UsedBytes;

    /// <summary>Collects everything, moves what is left together, and gives the rest back to the system. All threads stand still meanwhile.</summary>
    /// <returns>How long, in microseconds.</returns>
    internal virtual long Collect()
    {
        var before = GC.GetTotalPauseDuration();
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        ProcessMemory.TrimMalloc();
        return (long)(GC.GetTotalPauseDuration() - before).TotalMicroseconds;
    }
}
