using System;
using System.Buffers.Binary;
using System.Numerics;

namespace Sidecar.Memory;

/// <summary>The xxHash64 function, which Envoy's consistent hashing is built on: equal inputs give equal hashes in every process.</summary>
internal static class XxHash64
{
    private const ulong Prime1 = 0x9E3779B185EBCA87;
    private const ulong Prime2 = 0xC2B2AE3D27D4EB4F;
    private const ulong Prime3 = 0x165667B19E3779F9;
    private const ulong Prime4 = 0x85EBCA77C2B2AE63;
    private const ulong Prime5 = 0x27D4EB2F165667C5;

    /// <summary>Hashes <paramref name="data"/>; Envoy's seed is 0.</summary>
    internal static ulong Hash(ReadOnlySpan<byte> data, ulong seed = 0)
    {
        ulong hash;
        ulong length = (ulong)data.Length;
        if (data.Length >= 32)
        {
            ulong a = seed + Prime1 + Prime2;
            ulong b = seed + Prime2;
            ulong c = seed;
            ulong d = seed - Prime1;
            while (data.Length >= 32)
            {
                a = Round(a, BinaryPrimitives.ReadUInt64LittleEndian(data));
                b = Round(b, BinaryPrimitives.ReadUInt64LittleEndian(data[8..]));
                c = Round(c, BinaryPrimitives.ReadUInt64LittleEndian(data[16..]));
                d = Round(d, BinaryPrimitives.ReadUInt64LittleEndian(data[24..]));
                data = data[32..];
            }
            hash = BitOperations.RotateLeft(a, 1) + BitOperations.RotateLeft(b, 7) + BitOperations.RotateLeft(c, 12) + BitOperations.RotateLeft(d, 18);
            hash = Merge(Merge(Merge(Merge(hash, a), b), c), d);
        }
        else
        {
            hash = seed + Prime5;
        }
        hash += length;
        while (data.Length >= 8)
        {
            hash = BitOperations.RotateLeft(hash ^ Round(0, BinaryPrimitives.ReadUInt64LittleEndian(data)), 27) * Prime1 + Prime4;
            data = data[8..];
        }
        if (data.Length >= 4)
        {
            hash = BitOperations.RotateLeft(hash ^ BinaryPrimitives.ReadUInt32LittleEndian(data) * Prime1, 23) * Prime2 + Prime3;
            data = data[4..];
        }
        foreach (byte value in data)
            hash = BitOperations.RotateLeft(hash ^ value * Prime5, 11) * Prime1;
        hash = (hash ^ hash >> 33) * Prime2;
        hash = (hash ^ hash >> 29) * Prime3;
        return hash ^ hash >> 32;
    }

    private static ulong Round(ulong accumulator, ulong input) => BitOperations.RotateLeft(accumulator + input * Prime2, 31) * Prime1;

    private static ulong Merge(ulong hash, ulong accumulator) => (hash ^ Round(0, accumulator)) * Prime1 + Prime4;
}
