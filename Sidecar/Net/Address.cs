using System;
using System.Buffers.Binary;
using System.Buffers.Text;
using System.Diagnostics;
using System.Text;
using Sidecar.Linux;

namespace Sidecar.Net;

/// <summary>What an <see cref="Address"/> names.</summary>
internal enum AddressKind : byte
{
    None,
    IPv4,
    IPv6,

    /// <summary>A Unix stream socket: Envoy's <c>pipe</c>.</summary>
    Pipe,
}

/// <summary>
/// An IP address with a port, or the path of a Unix socket. A value: accepting a TCP connection and comparing, hashing or
/// printing its addresses allocates nothing. IPv4 addresses that arrive mapped into IPv6 are kept as IPv4.
/// </summary>
internal readonly struct Address : IEquatable<Address>
{
    /// <summary>Longest text of an IP address and port: "[ffff:…:255.255.255.255%4294967295]:65535".</summary>
    internal const int TextBytesMax = 72;

    // The 16 bytes of an IPv6 address as two numbers, or the 4 of an IPv4 address in Low.
    internal readonly ulong High;
    internal readonly ulong Low;
    private readonly string? _path;
    private readonly uint _scope;
    internal readonly ushort Port;
    internal readonly AddressKind Kind;

    private Address(AddressKind kind, ulong high, ulong low, ushort port, uint scope, string? path)
    {
        Kind = kind;
        High = high;
        Low = low;
        Port = port;
        _scope = scope;
        _path = path;
    }

    internal bool IsNone => Kind == AddressKind.None;
    internal bool IsIp => Kind is AddressKind.IPv4 or AddressKind.IPv6;

    /// <summary>Path of a Unix socket ("@name" when abstract), else the empty string.</summary>
    internal string Path => _path ?? "";

    internal AddressFamily Family => Kind switch
    {
        AddressKind.IPv4 => AddressFamily.IPv4,
        AddressKind.IPv6 => AddressFamily.IPv6,
        AddressKind.Pipe => AddressFamily.Unix,
        _ => AddressFamily.Unspecified,
    };

    /// <summary>0.0.0.0 or ::.</summary>
    internal bool IsAny => IsIp && High == 0 && Low == 0;

    /// <summary>127.0.0.0/8 or ::1; a Unix socket is always of this machine.</summary>
    internal bool IsLoopback => Kind switch
    {
        AddressKind.IPv4 => Low >> 24 == 127,
        AddressKind.IPv6 => High == 0 && Low == 1,
        AddressKind.Pipe => true,
        _ => false,
    };

    internal static Address IPv4(uint host, ushort port) => new(AddressKind.IPv4, 0, host, port, 0, null);

    internal static Address IPv6(ulong high, ulong low, ushort port, uint scope = 0) => new(AddressKind.IPv6, high, low, port, scope, null);

    internal static Address Loopback(ushort port) => IPv4(0x7f000001, port);

    /// <summary>A Unix socket; "@name" is abstract. The path has at most 107 bytes, which configuration checks.</summary>
    internal static Address Pipe(string path) => new(AddressKind.Pipe, 0, 0, 0, 0, path);

    /// <summary>4 or 16 bytes in network order; a mapped IPv4 address becomes IPv4.</summary>
    internal static Address FromBytes(ReadOnlySpan<byte> host, ushort port, uint scope = 0)
    {
        Debug.Assert(host.Length is 4 or 16);
        if (host.Length == 4)
            return IPv4(BinaryPrimitives.ReadUInt32BigEndian(host), port);
        ulong high = BinaryPrimitives.ReadUInt64BigEndian(host);
        ulong low = BinaryPrimitives.ReadUInt64BigEndian(host[8..]);
        return high == 0 && low >> 32 == 0xffff ? IPv4((uint)low, port) : IPv6(high, low, port, scope);
    }

    internal static Address From(in SocketAddress address)
    {
        switch (address.Family)
        {
            case AddressFamily.IPv4 or AddressFamily.IPv6:
                return FromBytes(address.Host, address.Port, address.Scope);
            case AddressFamily.Unix:
                ReadOnlySpan<byte> path = address.Host;
                return Pipe(path.Length > 0 && path[0] == 0 ? "@" + Encoding.UTF8.GetString(path[1..]) : Encoding.UTF8.GetString(path));
            default:
                return default;
        }
    }

    internal SocketAddress ToSocketAddress()
    {
        switch (Kind)
        {
            case AddressKind.IPv4 or AddressKind.IPv6:
                Span<byte> host = stackalloc byte[16];
                return SocketAddress.Ip(host[..CopyHost(host)], Port, _scope);
            case AddressKind.Pipe:
                byte[] path = Encoding.UTF8.GetBytes(Path);
                if (path.Length > 0 && path[0] == (byte)'@')
                    path[0] = 0;
                return SocketAddress.Unix(path.AsSpan(0, Math.Min(path.Length, SocketAddress.UnixPathBytesMax)));
            default:
                return default;
        }
    }

    /// <summary>Writes the 4 or 16 bytes of an IP address in network order.</summary>
    /// <returns>How many: 4, 16, or 0 for anything else.</returns>
    internal int CopyHost(Span<byte> into)
    {
        if (Kind == AddressKind.IPv4)
        {
            BinaryPrimitives.WriteUInt32BigEndian(into, (uint)Low);
            return 4;
        }
        if (Kind != AddressKind.IPv6)
            return 0;
        BinaryPrimitives.WriteUInt64BigEndian(into, High);
        BinaryPrimitives.WriteUInt64BigEndian(into[8..], Low);
        return 16;
    }

    internal Address WithPort(ushort port) => new(Kind, High, Low, port, _scope, _path);

    /// <summary>Equal but for the port.</summary>
    internal bool SameHost(in Address other) => Kind == other.Kind && High == other.High && Low == other.Low && _path == other._path;

    public bool Equals(Address other) => SameHost(other) && Port == other.Port && _scope == other._scope;
    public override bool Equals(object? obj) => obj is Address other && Equals(other);
    public override int GetHashCode() => HashCode.Combine(Kind, High, Low, Port, _path);
    public static bool operator ==(in Address left, in Address right) => left.Equals(right);
    public static bool operator !=(in Address left, in Address right) => !left.Equals(right);

    // ---- text -----------------------------------------------------------------------------------------------

    /// <summary>As Envoy prints it: "10.0.0.1:80", "[::1]:80", "/run/app.sock".</summary>
    public override string ToString()
    {
        if (!IsIp)
            return Path;
        Span<byte> text = stackalloc byte[TextBytesMax];
        return Encoding.ASCII.GetString(text[..Format(text)]);
    }

    /// <summary>The address without its port: "10.0.0.1", "::1".</summary>
    internal string HostString()
    {
        if (!IsIp)
            return Path;
        Span<byte> text = stackalloc byte[TextBytesMax];
        return Encoding.ASCII.GetString(text[..FormatHost(text)]);
    }

    /// <summary>Writes the text of <see cref="ToString"/>; an IP address needs at most <see cref="TextBytesMax"/> bytes, a path three per character.</summary>
    /// <returns>Bytes written.</returns>
    internal int Format(Span<byte> into)
    {
        if (!IsIp)
            return Encoding.UTF8.GetBytes(Path, into);
        int length = 0;
        if (Kind == AddressKind.IPv6)
            into[length++] = (byte)'[';
        length += FormatHost(into[length..]);
        if (Kind == AddressKind.IPv6)
            into[length++] = (byte)']';
        into[length++] = (byte)':';
        Utf8Formatter.TryFormat(Port, into[length..], out int digits);
        return length + digits;
    }

    /// <summary>Writes the address without its port (IPv6 by RFC 5952 section 4).</summary>
    /// <returns>Bytes written.</returns>
    internal int FormatHost(Span<byte> into)
    {
        if (Kind == AddressKind.IPv4)
            return FormatIPv4((uint)Low, into);
        if (Kind != AddressKind.IPv6)
            return Encoding.UTF8.GetBytes(Path, into);

        Span<byte> host = stackalloc byte[16];
        CopyHost(host);
        // The longest run of two or more zero groups, the first of equals, becomes "::".
        int zeroStart = -1;
        int zeroLength = 1;
        for (int i = 0; i < 8;)
        {
            int end = i;
            while (end < 8 && host[end * 2] == 0 && host[end * 2 + 1] == 0)
                end++;
            if (end - i > zeroLength)
                (zeroStart, zeroLength) = (i, end - i);
            i = Math.Max(end, i + 1);
        }
        int length = 0;
        for (int i = 0; i < 8; i++)
        {
            if (i == zeroStart)
            {
                into[length++] = (byte)':';
                into[length++] = (byte)':';
                i += zeroLength - 1;
                continue;
            }
            if (i > 0 && i != zeroStart + zeroLength || i > 0 && zeroStart < 0)
                into[length++] = (byte)':';
            Utf8Formatter.TryFormat(BinaryPrimitives.ReadUInt16BigEndian(host[(i * 2)..]), into[length..], out int digits, 'x');
            length += digits;
        }
        if (_scope != 0)
        {
            into[length++] = (byte)'%';
            Utf8Formatter.TryFormat(_scope, into[length..], out int digits);
            length += digits;
        }
        return length;
    }

    /// <summary>Parses "10.0.0.1:80" or "[::1]:80"; a text without port is refused.</summary>
    internal static bool TryParse(ReadOnlySpan<char> text, out Address address)
    {
        address = default;
        int colon = text.LastIndexOf(':');
        if (colon < 0 || !TryParsePort(text[(colon + 1)..], out ushort port))
            return false;
        ReadOnlySpan<char> host = text[..colon];
        bool bracketed = host.Length >= 2 && host[0] == '[' && host[^1] == ']';
        if (bracketed)
            host = host[1..^1];
        return TryParseIp(host, out address, port) && bracketed == (address.Kind == AddressKind.IPv6 || host.Contains(':'));
    }

    /// <summary>Parses a bare IP address: dotted quad without leading zeros, or IPv6 (RFC 4291 section 2.2), with an optional numeric "%zone".</summary>
    internal static bool TryParseIp(ReadOnlySpan<char> text, out Address address, ushort port = 0)
    {
        address = default;
        if (text.Length is 0 or > TextBytesMax)
            return false;
        Span<byte> bytes = stackalloc byte[TextBytesMax];
        for (int i = 0; i < text.Length; i++)
        {
            if (text[i] > 0x7f)
                return false;
            bytes[i] = (byte)text[i];
        }
        return TryParseIp(bytes[..text.Length], out address, port);
    }

    /// <inheritdoc cref="TryParseIp(ReadOnlySpan{char}, out Address, ushort)"/>
    internal static bool TryParseIp(ReadOnlySpan<byte> text, out Address address, ushort port = 0)
    {
        address = default;
        if (text.IndexOf((byte)':') < 0)
        {
            if (!TryParseIPv4(text, out uint host))
                return false;
            address = IPv4(host, port);
            return true;
        }
        uint scope = 0;
        int zone = text.IndexOf((byte)'%');
        if (zone >= 0)
        {
            if (!Utf8Parser.TryParse(text[(zone + 1)..], out scope, out int used) || used != text.Length - zone - 1)
                return false;
            text = text[..zone];
        }
        Span<byte> groups = stackalloc byte[16];
        if (!TryParseIPv6(text, groups))
            return false;
        address = FromBytes(groups, port, scope);
        return true;
    }

    private static bool TryParsePort(ReadOnlySpan<char> text, out ushort port)
    {
        port = 0;
        return text.Length is > 0 and <= 5 && !text.ContainsAnyExceptInRange('0', '9') && ushort.TryParse(text, out port);
    }

    private static int FormatIPv4(uint host, Span<byte> into)
    {
        int length = 0;
        for (int shift = 24; shift >= 0; shift -= 8)
        {
            Utf8Formatter.TryFormat((byte)(host >> shift), into[length..], out int digits);
            length += digits;
            if (shift > 0)
                into[length++] = (byte)'.';
        }
        return length;
    }

    private static bool TryParseIPv4(ReadOnlySpan<byte> text, out uint host)
    {
        host = 0;
        int at = 0;
        for (int part = 0; part < 4; part++)
        {
            if (part > 0 && (at >= text.Length || text[at++] != '.'))
                return false;
            int start = at;
            uint value = 0;
            while (at < text.Length && at - start < 3 && (uint)(text[at] - '0') <= 9)
                value = value * 10 + (uint)(text[at++] - '0');
            int digits = at - start;
            if (digits == 0 || value > 255 || digits > 1 && text[start] == '0')
                return false;
            host = host << 8 | value;
        }
        return at == text.Length;
    }

    private static bool TryParseIPv6(ReadOnlySpan<byte> text, Span<byte> into)
    {
        into.Clear();
        int groups = 0;
        int gap = -1;
        int at = 0;
        if (text.StartsWith("::"u8))
        {
            gap = 0;
            at = 2;
        }
        while (at < text.Length)
        {
            int start = at;
            uint value = 0;
            while (at < text.Length && at - start < 4 && Memory.Ascii.HexValue(text[at]) is var digit and >= 0)
            {
                value = value << 4 | (uint)digit;
                at++;
            }
            if (at < text.Length && text[at] == '.')
            {
                // The last 32 bits may be a dotted quad.
                if (groups > 6 || !TryParseIPv4(text[start..], out uint quad))
                    return false;
                BinaryPrimitives.WriteUInt32BigEndian(into[(groups * 2)..], quad);
                groups += 2;
                at = text.Length;
                break;
            }
            if (at == start || groups == 8)
                return false;
            BinaryPrimitives.WriteUInt16BigEndian(into[(groups++ * 2)..], (ushort)value);
            if (at == text.Length)
                break;
            if (text[at++] != ':' || at == text.Length)
                return false;
            if (text[at] == ':')
            {
                if (gap >= 0)
                    return false;
                gap = groups;
                at++;
            }
        }
        if (gap < 0)
            return groups == 8;
        if (groups == 8)
            return false;
        int tail = (groups - gap) * 2;
        Span<byte> moved = stackalloc byte[16];
        into.Slice(gap * 2, tail).CopyTo(moved);
        into[(gap * 2)..].Clear();
        moved[..tail].CopyTo(into[(16 - tail)..]);
        return true;
    }
}
