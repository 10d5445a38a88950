using Sidecar.Linux;

namespace Sidecar.Loop;

/// <summary>Where a loop gets its time from; a parameter, so that tests turn the hands themselves.</summary>
internal abstract class LoopClock
{
    /// <summary>Nanoseconds that never go back; only differences mean anything.</summary>
    public abstract long MonotonicNs { get; }

    /// <summary>Milliseconds since 1970, UTC; may jump when somebody sets the clock.</summary>
    public abstract long UnixMs { get; }
}

/// <summary>The kernel's time. Shared by all loops.</summary>
internal sealed class SystemClock : LoopClock
{
    public static readonly SystemClock Instance = new();

    public override long MonotonicNs => SystemTime.MonotonicNs;

    public override long UnixMs => SystemTime.RealtimeNs / 1_000_000;
}

/// <summary>A clock that stands still until it is told to move.</summary>
internal sealed class ManualClock(long unixMs = 1_700_000_000_000) : LoopClock
{
    private long _monotonicNs = 1_000_000_000;
    private long _unixMs = unixMs;

    public override long MonotonicNs => _monotonicNs;

    public override long UnixMs => _unixMs;

    /// <summary>Moves both clocks on.</summary>
    public void Advance(long ms)
    {
        _monotonicNs += ms * 1_000_000;
        _unixMs += ms;
    }
}
