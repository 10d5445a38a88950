using System;
using System.Buffers.Binary;
using System.Diagnostics;
using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Sidecar.Linux;

/// <summary>Address families of socket(2).</summary>
internal enum AddressFamily : ushort
{
    Unspecified = 0,
    Unix = 1,
    IPv4 = 2,
    IPv6 = 10,
}

/// <summary>
/// A sockaddr of any family we speak, as bytes in the kernel's layout (sockaddr_in 16, sockaddr_in6 28, sockaddr_un 110),
/// and how many of them count. A stack value; it holds no references.
/// </summary>
internal unsafe struct SocketAddress
{
    /// <summary>Room for the largest, sockaddr_un.</summary>
    public const int Capacity = 112;

    /// <summary>The longest path of a Unix socket, without its final NUL.</summary>
    public const int UnixPathBytesMax = 107;

    private fixed byte _bytes[Capacity];

    /// <summary>How many bytes count.</summary>
    public uint Length;

    /// <summary>The family in the first two bytes.</summary>
    public readonly AddressFamily Family => Length < 2 ? AddressFamily.Unspecified : (AddressFamily)MemoryMarshal.Read<ushort>(Bytes);

    /// <summary>Port in host order; 0 for a Unix socket.</summary>
    public readonly ushort Port => Family is AddressFamily.IPv4 or AddressFamily.IPv6 ? BinaryPrimitives.ReadUInt16BigEndian(Bytes[2..]) : (ushort)0;

    /// <summary>sin6_scope_id of an IPv6 address.</summary>
    public readonly uint Scope => Family == AddressFamily.IPv6 ? MemoryMarshal.Read<uint>(Bytes[24..]) : 0;

    /// <summary>The address itself: 4 bytes, 16 bytes, or the path of a Unix socket (empty when unnamed, NUL first when abstract).</summary>
    [UnscopedRef]
    public readonly ReadOnlySpan<byte> Host
    {
        get
        {
            switch (Family)
            {
                case AddressFamily.IPv4: return Bytes.Slice(4, 4);
                case AddressFamily.IPv6: return Bytes.Slice(8, 16);
                case AddressFamily.Unix:
                    ReadOnlySpan<byte> path = Bytes[2..Math.Min((int)Length, Capacity)];
                    int end = path.Length > 0 && path[0] != 0 ? path.IndexOf((byte)0) : -1;
                    return end < 0 ? path : path[..end];
                default: return default;
            }
        }
    }

    [UnscopedRef]
    private readonly ReadOnlySpan<byte> Bytes => MemoryMarshal.CreateReadOnlySpan(ref Unsafe.AsRef(in _bytes[0]), Capacity);

    /// <summary>sockaddr_in or sockaddr_in6, by the length of <paramref name="host"/>.</summary>
    public static SocketAddress Ip(ReadOnlySpan<byte> host, ushort port, uint scope = 0)
    {
        Debug.Assert(host.Length is 4 or 16, "an IP address has 4 or 16 bytes");
        SocketAddress address = default;
        Span<byte> bytes = new(address._bytes, Capacity);
        bool v4 = host.Length == 4;
        MemoryMarshal.Write(bytes, (ushort)(v4 ? AddressFamily.IPv4 : AddressFamily.IPv6));
        BinaryPrimitives.WriteUInt16BigEndian(bytes[2..], port);
        host.CopyTo(bytes[(v4 ? 4 : 8)..]);
        if (!v4)
            MemoryMarshal.Write(bytes[24..], scope);
        address.Length = v4 ? 16u : 28u;
        return address;
    }

    /// <summary>sockaddr_un; a path whose first byte is NUL names an abstract socket. At most <see cref="UnixPathBytesMax"/> bytes.</summary>
    public static SocketAddress Unix(ReadOnlySpan<byte> path)
    {
        Debug.Assert(path.Length <= UnixPathBytesMax, "a Unix path longer than sun_path");
        SocketAddress address = default;
        Span<byte> bytes = new(address._bytes, Capacity);
        MemoryMarshal.Write(bytes, (ushort)AddressFamily.Unix);
        path.CopyTo(bytes[2..]);
        bool isAbstract = path.Length > 0 && path[0] == 0;
        address.Length = (uint)(2 + path.Length + (isAbstract ? 0 : 1));
        return address;
    }

    /// <summary>Where the kernel reads or writes the bytes; valid while the value stays put on the stack.</summary>
    internal void* Pointer => Unsafe.AsPointer(ref _bytes[0]);
}
