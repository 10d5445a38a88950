using System;
using System.Buffers.Binary;
using Sidecar.Memory;
using Sidecar.Net;

namespace Sidecar.Filters.Listener;

/// <summary>What the first bytes of a connection are, as far as the PROXY protocol is concerned.</summary>
internal enum ProxyHeaderStatus : byte
{
    /// <summary>May become a header: ask again with more bytes.</summary>
    Incomplete,

    /// <summary>Something else.</summary>
    None,
    Found,

    /// <summary>Begins as a header and is none.</summary>
    Malformed,
}

/// <summary>
/// The header a proxy before us has put in front of a connection, to say whose it is (the PROXY protocol specification of HAProxy, revision 2020/03/05).
/// <code>
///   1   PROXY SP TCP4|TCP6 SP source SP destination SP port SP port CR LF, or PROXY SP UNKNOWN … CR LF; 107 bytes at most        section 2.1
///   2   signature (12)   version = 2, command   family, transport   length (2)   addresses, then type-length-values             section 2.2
/// </code>
/// </summary>
/// <remarks>Pure functions.</remarks>
internal readonly struct ProxyHeader
{
    private const int V1BytesMax = 107;
    private const int V2FixedBytes = 16;

    /// <summary>The longest there is: a length of two bytes.</summary>
    internal const int BytesMax = V2FixedBytes + ushort.MaxValue;

    private static ReadOnlySpan<byte> V1Signature => "PROXY "u8;
    private static ReadOnlySpan<byte> V2Signature => "\r\n\r\n\0\r\nQUIT\n"u8;

    private ProxyHeader(int size, Address source = default, Address destination = default)
    {
        Size = size;
        Source = source;
        Destination = destination;
    }

    /// <summary>How many bytes it took.</summary>
    internal int Size { get; }

    /// <summary>Whose connection it is; none: nobody's but the proxy's, or one that cannot be said.</summary>
    internal Address Source { get; }

    /// <summary>Where that went; none as above.</summary>
    internal Address Destination { get; }

    /// <summary>Reads a header of version 1 at the beginning of a connection.</summary>
    internal static ProxyHeaderStatus TryReadV1(ReadOnlySpan<byte> data, out ProxyHeader header)
    {
        header = default;
        if (Match(data, V1Signature) is not ProxyHeaderStatus.Found and var match)
            return match;
        var line = data[..Math.Min(data.Length, V1BytesMax)];
        int end = line.IndexOf((byte)'\r');
        if (end < 0 || end + 1 == line.Length)
            return data.Length < V1BytesMax ? ProxyHeaderStatus.Incomplete : ProxyHeaderStatus.Malformed;
        if (line[end + 1] != '\n')
            return ProxyHeaderStatus.Malformed;
        var rest = line[V1Signature.Length..end];
        var family = Word(ref rest);
        if (family.SequenceEqual("UNKNOWN"u8))
        {
            header = new ProxyHeader(end + 2);
            return ProxyHeaderStatus.Found;
        }
        var kind = family.SequenceEqual("TCP4"u8) ? AddressKind.IPv4 : AddressKind.IPv6;
        if (kind == AddressKind.IPv6 && !family.SequenceEqual("TCP6"u8))
            return ProxyHeaderStatus.Malformed;
        var from = Word(ref rest);
        var to = Word(ref rest);
        var fromPort = Word(ref rest);
        if (!TryAddress(from, fromPort, kind, out var source) || !TryAddress(to, rest, kind, out var destination))
            return ProxyHeaderStatus.Malformed;
        header = new ProxyHeader(end + 2, source, destination);
        return ProxyHeaderStatus.Found;
    }

    /// <summary>Reads a header of version 2 at the beginning of a connection.</summary>
    internal static ProxyHeaderStatus TryReadV2(ReadOnlySpan<byte> data, out ProxyHeader header)
    {
        const int local = 0x20, proxied = 0x21;
        header = default;
        if (Match(data, V2Signature) is not ProxyHeaderStatus.Found and var match)
            return match;
        // Judged as soon as it is there: nobody waits for 64 KiB of what is refused anyway.
        if (data.Length > 12 && data[12] is not (local or proxied))
            return ProxyHeaderStatus.Malformed;
        if (data.Length < V2FixedBytes)
            return ProxyHeaderStatus.Incomplete;
        int length = BinaryPrimitives.ReadUInt16BigEndian(data[14..]);
        int size = V2FixedBytes + length;
        // A health check of the proxy's own: whatever else it says is ignored.
        bool isLocal = data[12] == local;
        int addressBytes = (data[13] >> 4) switch { 0 => 0, 1 => 12, 2 => 36, 3 => 216, _ => -1 };
        if (!isLocal && (addressBytes < 0 || addressBytes > length || (data[13] & 0x0F) > 2))
            return ProxyHeaderStatus.Malformed;
        if (data.Length < size)
            return ProxyHeaderStatus.Incomplete;
        header = default;
        // Of an unknown family nobody can say where its addresses end.
        if (!isLocal && addressBytes > 0 && !AreWhole(data[(V2FixedBytes + addressBytes)..size]))
            return ProxyHeaderStatus.Malformed;
        header = new ProxyHeader(size);
        var body = data[V2FixedBytes..];
        if (isLocal || addressBytes is not (12 or 36))
            return ProxyHeaderStatus.Found;
        var (source, destination) = addressBytes == 12
            ? (Address.IPv4(BinaryPrimitives.ReadUInt32BigEndian(body), Port(body[8..])), Address.IPv4(BinaryPrimitives.ReadUInt32BigEndian(body[4..]), Port(body[10..])))
            : (Address.FromBytes(body[..16], Port(body[32..])), Address.FromBytes(body[16..32], Port(body[34..])));
        if (!IsUnicast(source) || !IsUnicast(destination))
            return ProxyHeaderStatus.Malformed;
        header = new ProxyHeader(size, source, destination);
        return ProxyHeaderStatus.Found;
    }

    // Section 2.2.1: type, length of two bytes, value; what says more than there is was cut or made up.
    private static bool AreWhole(ReadOnlySpan<byte> tlvs)
    {
        const int fixedBytes = 3;
        while (tlvs.Length > 0)
        {
            if (tlvs.Length < fixedBytes || tlvs.Length < fixedBytes + BinaryPrimitives.ReadUInt16BigEndian(tlvs[1..]))
                return false;
            tlvs = tlvs[(fixedBytes + BinaryPrimitives.ReadUInt16BigEndian(tlvs[1..]))..];
        }
        return true;
    }

    private static ProxyHeaderStatus Match(ReadOnlySpan<byte> data, ReadOnlySpan<byte> signature)
    {
        int length = Math.Min(data.Length, signature.Length);
        if (!data[..length].SequenceEqual(signature[..length]))
            return ProxyHeaderStatus.None;
        return length == signature.Length ? ProxyHeaderStatus.Found : ProxyHeaderStatus.Incomplete;
    }

    private static ReadOnlySpan<byte> Word(ref ReadOnlySpan<byte> rest)
    {
        int space = rest.IndexOf((byte)' ');
        var word = space < 0 ? rest : rest[..space];
        rest = space < 0 ? default : rest[(space + 1)..];
        return word;
    }

    // A proxy that listens for both families has IPv4 clients as mapped addresses: they are what they would be if they came to us.
    private static bool TryAddress(ReadOnlySpan<byte> text, ReadOnlySpan<byte> port, AddressKind kind, out Address address)
    {
        address = default;
        return port.Length is > 0 and <= 5 && Ascii.TryParseDecimal(port, out long number) && number <= ushort.MaxValue
            && text.Contains((byte)':') == (kind == AddressKind.IPv6) && Address.TryParseIp(text, out address, (ushort)number) && IsUnicast(address);
    }

    private static ushort Port(ReadOnlySpan<byte> bytes) => BinaryPrimitives.ReadUInt16BigEndian(bytes);

    // TCP knows no other ends.
    private static bool IsUnicast(in Address address) =>
        !address.IsAny && (address.Kind == AddressKind.IPv4 ? address.Low >> 28 != 0xE && address.Low != uint.MaxValue : address.High >> 56 != 0xFF);
}
