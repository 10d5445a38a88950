using System;

namespace Sidecar.Memory;

/// <summary>
/// Short names that peers send as strings, each of the last ones made once: the peers of one worker mostly send the same few. One place per hash, so that
/// a peer with names of its own invention only drives out other names.
/// </summary>
/// <remarks>Worker-owned.</remarks>
internal sealed class NameCache
{
    /// <summary>Longer names are made anew each time.</summary>
    private const int NameBytesMax = 255;

    private const int Places = 256;

    private readonly string?[] _names = new string?[Places];

    /// <summary>The name as a string, one char per byte, so that no two names become the same.</summary>
    /// <param name="name">As received.</param>
    /// <param name="lower">ASCII letters become small ones: the name is of a host.</param>
    internal string Get(ReadOnlySpan<byte> name, bool lower)
    {
        if (name.IsEmpty)
            return "";
        Span<char> chars = name.Length <= NameBytesMax ? stackalloc char[NameBytesMax] : new char[name.Length];
        chars = chars[..name.Length];
        for (int i = 0; i < name.Length; i++)
        {
            byte b = name[i];
            chars[i] = (char)(lower && b is >= (byte)'A' and <= (byte)'Z' ? b | 0x20 : b);
        }
        // Seeded per process: nobody outside knows which names share a place.
        ref string? place = ref _names[(uint)string.GetHashCode(chars) % Places];
        if (place is null || !chars.SequenceEqual(place))
            place = new string(chars);
        return place;
    }
}
