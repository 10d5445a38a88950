using System;

namespace Sidecar.Memory;

/// <summary>
/// How many of a keeper's items are worth keeping: as many as were out at once lately. Steady traffic needs now more, now fewer of them by chance, and pauses; so they
/// stay until for <see cref="QuietPeriodsMin"/> periods together less than half was needed, and then go down to twice what was.
/// </summary>
/// <remarks>Worker-owned, part of its keeper, which says how long a period is.</remarks>
internal struct RecentNeed
{
    /// <summary>So many quiet periods are no chance, and no pause between two crowds.</summary>
    internal const int QuietPeriodsMin = 12;

    private int _peak;          // out at once in the period under way
    private int _peakBefore;    // in the one before, which counts where memory is short
    private int _quietPeak;     // in the quiet periods so far
    private int _quietPeriods;

    /// <summary>What is kept, those that are out among them.</summary>
    internal int Kept { get; private set; }

    /// <summary>So many are out now.</summary>
    internal void Note(int rented)
    {
        if (rented > _peak)
            NotePeak(rented);
    }

    /// <summary>A period is over.</summary>
    /// <param name="rented">Out now, with which the next one begins.</param>
    /// <param name="isTight">What is not needed must go at once.</param>
    internal void EndPeriod(int rented, bool isTight = false)
    {
        int before = _peakBefore;
        int peak = _peakBefore = _peak;
        _peak = rented;
        if (isTight)
        {
            Settle(Math.Max(peak, before));
            return;
        }
        if (peak > Kept / 2)
        {
            _quietPeriods = _quietPeak = 0;
            return;
        }
        _quietPeak = Math.Max(_quietPeak, peak);
        if (++_quietPeriods >= QuietPeriodsMin)
            Settle(Math.Min(Kept, 2 * _quietPeak));
    }

    private void Settle(int kept)
    {
        Kept = kept;
        _quietPeriods = _quietPeak = 0;
    }

    private void NotePeak(int rented)
    {
        _peak = rented;
        if (rented > Kept)
            Kept = rented;
    }
}
