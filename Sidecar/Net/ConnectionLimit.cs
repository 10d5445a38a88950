using System.Threading;

namespace Sidecar.Net;

/// <summary>
/// How many downstream connections the process may hold: descriptors are one pool for all workers, so this is one number
/// too. By default half of RLIMIT_NOFILE less a reserve, since a proxied connection needs a second descriptor.
/// </summary>
/// <remarks>Cross-thread: one interlocked add per connection.</remarks>
internal sealed class ConnectionLimit(long max)
{
    private long _active;

    /// <summary>Descriptors kept for listeners, the control plane, files and pipes when <see cref="FromOpenFiles"/> divides the rest.</summary>
    private const int ReservedDescriptors = 64;

    /// <summary>Set before the first connection only.</summary>
    internal long Max { get; set; } = max;
    internal long Active => Volatile.Read(ref _active);

    /// <summary>The default for a process that may open <paramref name="openFilesMax"/> files.</summary>
    internal static ConnectionLimit FromOpenFiles(long openFilesMax) =>
        new(long.Max(16, (openFilesMax - ReservedDescriptors) / 2));

    /// <summary>Takes a place, or says that there is none.</summary>
    internal bool TryTake()
    {
        if (Interlocked.Increment(ref _active) <= Max)
            return true;
        Interlocked.Decrement(ref _active);
        return false;
    }

    /// <summary>Gives a place back.</summary>
    internal void Give() => Interlocked.Decrement(ref _active);
}
