using System;
using System.Globalization;

namespace Sidecar.Net;

/// <summary>A block of IP addresses: a prefix and its length. Bits beyond the length are cleared on construction, as Envoy does.</summary>
internal readonly struct Cidr : IEquatable<Cidr>
{
    private readonly ulong _high;
    private readonly ulong _low;
    private readonly ulong _highMask;
    private readonly ulong _lowMask;

    /// <summary>IPv4 or IPv6.</summary>
    internal readonly AddressKind Kind;

    /// <summary>Bits that count: 0 to 32 or 0 to 128.</summary>
    internal readonly byte PrefixLength;

    private Cidr(in Address address, int length)
    {
        Kind = address.Kind;
        PrefixLength = (byte)length;
        if (Kind == AddressKind.IPv4)
        {
            _lowMask = length == 0 ? 0 : ulong.MaxValue << (32 - length) & uint.MaxValue;
        }
        else
        {
            _highMask = length == 0 ? 0 : ulong.MaxValue << Math.Max(0, 64 - length);
            _lowMask = length <= 64 ? 0 : ulong.MaxValue << (128 - length);
        }
        _high = address.High & _highMask;
        _low = address.Low & _lowMask;
    }

    /// <summary>The first address of the block.</summary>
    internal Address Base => Kind == AddressKind.IPv4 ? Address.IPv4((uint)_low, 0) : Address.IPv6(_high, _low, 0);

    /// <summary>False when the address is not an IP address or the length is longer than it.</summary>
    internal static bool TryCreate(in Address address, int length, out Cidr cidr)
    {
        bool valid = address.IsIp && length >= 0 && length <= (address.Kind == AddressKind.IPv4 ? 32 : 128);
        cidr = valid ? new Cidr(address, length) : default;
        return valid;
    }

    /// <summary>Parses "10.0.0.0/8" or a bare address, which is a block of one.</summary>
    internal static bool TryParse(ReadOnlySpan<char> text, out Cidr cidr)
    {
        cidr = default;
        int slash = text.IndexOf('/');
        if (!Address.TryParseIp(slash < 0 ? text : text[..slash], out Address address))
            return false;
        int length = address.Kind == AddressKind.IPv4 ? 32 : 128;
        return (slash < 0 || int.TryParse(text[(slash + 1)..], NumberStyles.None, CultureInfo.InvariantCulture, out length))
            && TryCreate(address, length, out cidr);
    }

    /// <summary>The address lies in the block; never across families.</summary>
    internal bool Contains(in Address address) =>
        address.Kind == Kind && IsValid && (address.High & _highMask) == _high && (address.Low & _lowMask) == _low;

    private bool IsValid => Kind != AddressKind.None;

    public bool Equals(Cidr other) => Kind == other.Kind && PrefixLength == other.PrefixLength && _high == other._high && _low == other._low;
    public override bool Equals(object? obj) => obj is Cidr other && Equals(other);
    public override int GetHashCode() => HashCode.Combine(Kind, PrefixLength, _high, _low);
    public override string ToString() => $"{Base.HostString()}/{PrefixLength}";
}
