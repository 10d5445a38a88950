using System;
using System.Numerics;

namespace Sidecar.Telemetry.Stats;

/// <summary>
/// Counts of non-negative values in log-linear buckets: eight to each power of two, so a quantile is off by at most 6 %.
/// </summary>
/// <remarks>One writer (the worker); the control loop reads while it is written and may see a count or two too few.</remarks>
internal sealed class Histogram
{
    private const int SubBits = 3;
    private const int SubCount = 1 << SubBits;

    /// <summary>Values up to 2^40 (35 years in milliseconds) have a bucket of their own power; larger ones share the last.</summary>
    private const int BucketCount = (40 - SubBits + 2) * SubCount;

    private readonly uint[] _counts = new uint[BucketCount];
    private long _sum;
    private long _total;

    internal long Sum => _sum;
    internal long Total => _total;

    internal void Record(long value)
    {
        if (value < 0)
            value = 0;
        _counts[Index(value)]++;
        _sum += value;
        _total++;
    }

    /// <summary>As new.</summary>
    internal void Clear()
    {
        Array.Clear(_counts);
        _sum = _total = 0;
    }

    /// <summary>Adds another histogram's counts to this one.</summary>
    internal void Merge(Histogram other)
    {
        for (int i = 0; i < BucketCount; i++)
            _counts[i] += other._counts[i];
        _sum += other._sum;
        _total += other._total;
    }

    /// <summary>How many recorded values are at most <paramref name="bound"/> (to bucket precision).</summary>
    internal long CountAtMost(double bound)
    {
        long count = 0;
        for (int i = 0; i < BucketCount && LowerBound(i) <= bound; i++)
            count += _counts[i];
        return count;
    }

    /// <summary>The value below which a share of <paramref name="quantile"/> (0..1) of the values lies; NaN when there are none.</summary>
    internal double Quantile(double quantile)
    {
        if (_total == 0)
            return double.NaN;
        double rank = quantile * _total;
        long seen = 0;
        for (int i = 0; i < BucketCount; i++)
        {
            uint count = _counts[i];
            if (count == 0)
                continue;
            if (seen + count >= rank)
            {
                double lower = LowerBound(i);
                double width = LowerBound(i + 1) - lower;
                return lower + (width <= 1 ? 0 : width * Math.Clamp((rank - seen) / count, 0, 1));
            }
            seen += count;
        }
        return LowerBound(BucketCount - 1);
    }

    private static int Index(long value)
    {
        if (value < SubCount)
            return (int)value;
        int power = BitOperations.Log2((ulong)value);
        int index = (power - SubBits + 1) * SubCount + (int)((value >> (power - SubBits)) & (SubCount - 1));
        return Math.Min(index, BucketCount - 1);
    }

    private static double LowerBound(int index)
    {
        if (index < SubCount)
            return index;
        int power = index / SubCount + SubBits - 1;
        return (double)((1L << power) + ((long)(index % SubCount) << (power - SubBits)));
    }
}
