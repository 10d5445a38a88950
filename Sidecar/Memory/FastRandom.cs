using System;
using System.Diagnostics;
using System.Numerics;

namespace Sidecar.Memory;

/// <summary>
/// Seeded pseudo-random numbers (xoshiro256**) for load balancing, sampling and jitter. Not for secrets: identifiers that must not be
/// guessed come from the kernel.
/// </summary>
/// <remarks>Worker-owned. The seed comes in, so a test replays the same choices.</remarks>
internal sealed class FastRandom
{
    private ulong _s0, _s1, _s2, _s3;

    internal FastRandom(ulong seed)
    {
        // SplitMix64 spreads a small seed over the whole state.
        _s0 = SplitMix(ref seed);
        _s1 = SplitMix(ref seed);
        _s2 = SplitMix(ref seed);
        _s3 = SplitMix(ref seed);
    }

    internal ulong NextUInt64()
    {
        ulong result = BitOperations.RotateLeft(_s1 * 5, 7) * 9;
        ulong t = _s1 << 17;
        _s2 ^= _s0;
        _s3 ^= _s1;
        _s1 ^= _s2;
        _s0 ^= _s3;
        _s2 ^= t;
        _s3 = BitOperations.RotateLeft(_s3, 45);
        return result;
    }

    /// <summary>Uniform in [0, bound).</summary>
    internal uint Next(uint bound)
    {
        Debug.Assert(bound > 0);
        return (uint)Math.BigMul(NextUInt64(), bound, out _);
    }

    /// <summary>True in <paramref name="numerator"/> of <paramref name="denominator"/> cases.</summary>
    internal bool Chance(uint numerator, uint denominator) => numerator != 0 && Next(denominator) < numerator;

    private static ulong SplitMix(ref ulong seed)
    {
        ulong z = seed += 0x9E3779B97F4A7C15;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }
}
