using System;
using System.Buffers.Binary;

namespace Sidecar.Tls;

/// <summary>What the first bytes of a connection are.</summary>
internal enum ClientHelloStatus : byte
{
    /// <summary>May become a ClientHello: ask again with more bytes.</summary>
    Incomplete,
    Found,

    /// <summary>Not TLS, or TLS that no peer would understand.</summary>
    NotTls,

    /// <summary>A ClientHello longer than is looked at.</summary>
    TooLarge,
}

/// <summary>
/// The ClientHello of a connection that may be terminated here or elsewhere: what a filter chain is chosen by is read, nothing is taken.
/// <code>
///   record     type = 22   version = 3.x   length          fragment …                                     RFC 8446 section 5.1
///   message    type = 1    length (3)      body …          in one fragment or several                     section 4
///   body       version (2) random (32)     session  suites  compressions  extensions, or nothing          section 4.1.2
/// </code>
/// Every version from TLS 1.0 on is known, later ones included: a hello that is not recognised would be taken for plaintext. What neither identifies
/// the message nor chooses a chain is left to whoever terminates. A hello in SSL 2.0's form (RFC 5246 appendix E.2) has no name and no protocols, and is
/// not TLS here.
/// </summary>
/// <remarks>Spans over the bytes it was read from; pure functions.</remarks>
internal readonly ref struct ClientHello
{
    /// <summary>One record is as long as this at most (RFC 8446 section 5.1).</summary>
    private const int FragmentBytesMax = 1 << 14;

    private const int RecordHeaderBytes = 5;
    private const int MessageHeaderBytes = 4;
    private const byte HandshakeRecord = 22;
    private const byte ClientHelloMessage = 1;

    private const int ServerNameExtension = 0;
    private const int ProtocolsExtension = 16;
    private const int SupportedVersionsExtension = 43;

    private const int Tls10 = 0x0301;

    /// <summary>What a host name has room for (RFC 1035 section 2.3.4, and BoringSSL's bound).</summary>
    internal const int ServerNameBytesMax = 255;

    private ClientHello(ReadOnlySpan<byte> serverName, ReadOnlySpan<byte> protocols, int size)
    {
        ServerName = serverName;
        Protocols = protocols;
        Size = size;
    }

    /// <summary>The host asked for (RFC 6066 section 3) as it was sent, or empty.</summary>
    internal ReadOnlySpan<byte> ServerName { get; }

    /// <summary>The protocols offered (RFC 7301 section 3.1), each with its length before it and none empty; empty when none are, or they are malformed.</summary>
    internal ReadOnlySpan<byte> Protocols { get; }

    /// <summary>How many bytes of the connection it took, record headers included.</summary>
    internal int Size { get; }

    /// <summary>Reads the ClientHello at the beginning of a connection.</summary>
    /// <param name="received">Everything received so far.</param>
    /// <param name="bytesMax">How much of it is looked at.</param>
    /// <param name="joined">Room for <paramref name="bytesMax"/> bytes: where a message of several records is put together.</param>
    /// <param name="hello">What was found.</param>
    internal static ClientHelloStatus TryRead(ReadOnlySpan<byte> received, int bytesMax, Span<byte> joined, out ClientHello hello)
    {
        hello = default;
        bool full = received.Length >= bytesMax;
        if (full)
            received = received[..bytesMax];
        ReadOnlySpan<byte> message = default;
        for (int at = 0; ;)
        {
            var record = received[at..];
            if (!IsHandshakeRecord(record))
                return ClientHelloStatus.NotTls;
            if (record.Length < RecordHeaderBytes)
                break;
            int length = BinaryPrimitives.ReadUInt16BigEndian(record[3..]);
            bool isWhole = record.Length - RecordHeaderBytes >= length;
            var fragment = isWhole ? record.Slice(RecordHeaderBytes, length) : record[RecordHeaderBytes..];
            message = at == 0 ? fragment : Join(message, fragment, joined);

            if (message.Length > 0 && message[0] != ClientHelloMessage)
                return ClientHelloStatus.NotTls;
            if (message.Length >= MessageHeaderBytes)
            {
                int messageBytes = MessageHeaderBytes + (message[1] << 16 | message[2] << 8 | message[3]);
                if (messageBytes > bytesMax)
                    return ClientHelloStatus.TooLarge;
                if (message.Length >= messageBytes)
                {
                    int size = at + RecordHeaderBytes + fragment.Length - (message.Length - messageBytes);
                    return TryParse(message[MessageHeaderBytes..messageBytes], size, out hello) ? ClientHelloStatus.Found : ClientHelloStatus.NotTls;
                }
            }
            if (!isWhole)
                break;
            at += RecordHeaderBytes + length;
        }
        return full ? ClientHelloStatus.TooLarge : ClientHelloStatus.Incomplete;
    }

    // By as much of the header as is there: a peer that speaks something else may be waiting for an answer already.
    private static bool IsHandshakeRecord(ReadOnlySpan<byte> record)
    {
        if (record.Length > 0 && record[0] != HandshakeRecord || record.Length > 1 && record[1] != 3)
            return false;
        // Handshake fragments are never empty.
        return record.Length < RecordHeaderBytes || BinaryPrimitives.ReadUInt16BigEndian(record[3..]) is > 0 and <= FragmentBytesMax;
    }

    private static Span<byte> Join(ReadOnlySpan<byte> message, ReadOnlySpan<byte> fragment, Span<byte> joined)
    {
        // From the second time on it lies there already.
        if (!message.Overlaps(joined))
            message.CopyTo(joined);
        fragment.CopyTo(joined[message.Length..]);
        return joined[..(message.Length + fragment.Length)];
    }

    private static bool TryParse(ReadOnlySpan<byte> body, int size, out ClientHello hello)
    {
        hello = default;
        var fields = new Fields(body);
        if (!fields.TryTake(2, out var version) || !fields.TryTake(32, out _)
            || !fields.TryVector8(out var session) || session.Length > 32
            || !fields.TryVector16(out var suites) || suites.Length < 2 || suites.Length % 2 != 0
            || !fields.TryVector8(out var compressions) || !compressions.Contains((byte)0))
            return false;
        bool versionKnown = BinaryPrimitives.ReadUInt16BigEndian(version) >= Tls10;
        ReadOnlySpan<byte> serverName = default, protocols = default;
        if (!fields.IsEmpty)
        {
            if (!fields.TryVector16(out var all) || !fields.IsEmpty)
                return false;
            var extensions = new Fields(all);
            // A type may be there once (RFC 8446 section 4.2): a second server name could be the one that the terminating side reads.
            Span<ulong> seen = stackalloc ulong[65536 / 64];
            while (!extensions.IsEmpty)
            {
                if (!extensions.TryTake(2, out var number) || !extensions.TryVector16(out var content))
                    return false;
                int type = BinaryPrimitives.ReadUInt16BigEndian(number);
                ulong bit = 1UL << type % 64;
                if ((seen[type / 64] & bit) != 0)
                    return false;
                seen[type / 64] |= bit;
                switch (type)
                {
                    case ServerNameExtension when !TryServerName(content, out serverName):
                        return false;
                    case ProtocolsExtension:
                        protocols = Offered(content);
                        break;
                    // In TLS 1.3 this says it, and the version above stays that of 1.2 (RFC 8446 section 4.2.1).
                    case SupportedVersionsExtension when !TryVersions(content, out versionKnown):
                        return false;
                }
            }
        }
        if (!versionKnown)
            return false;
        hello = new ClientHello(serverName, protocols, size);
        return true;
    }

    // One name of type host_name: RFC 6066 allows no second of a type, and there has never been another type.
    private static bool TryServerName(ReadOnlySpan<byte> content, out ReadOnlySpan<byte> name)
    {
        var outer = new Fields(content);
        name = default;
        if (!outer.TryVector16(out var list) || !outer.IsEmpty)
            return false;
        var names = new Fields(list);
        return names.TryTake(1, out var type) && type[0] == 0 && names.TryVector16(out name) && names.IsEmpty
            && name.Length is > 0 and <= ServerNameBytesMax && !name.Contains((byte)0);
    }

    private static bool TryVersions(ReadOnlySpan<byte> content, out bool known)
    {
        var outer = new Fields(content);
        known = false;
        if (!outer.TryVector8(out var versions) || !outer.IsEmpty || versions.Length < 2 || versions.Length % 2 != 0)
            return false;
        for (int i = 0; i < versions.Length; i += 2)
        {
            // GREASE (RFC 8701) is 0x?A?A, and no version: those of TLS are 0x03??.
            known |= versions[i] == 3 && versions[i + 1] >= (Tls10 & 0xFF);
        }
        return true;
    }

    // Malformed ones are no reason to take the connection for something else: the terminating side will refuse them.
    private static ReadOnlySpan<byte> Offered(ReadOnlySpan<byte> content)
    {
        var outer = new Fields(content);
        if (!outer.TryVector16(out var list) || !outer.IsEmpty)
            return default;
        var names = new Fields(list);
        while (!names.IsEmpty)
        {
            if (!names.TryVector8(out var name) || name.IsEmpty)
                return default;
        }
        return list;
    }

    /// <summary>Takes fields from the front: of fixed size, or vectors with their length before them (RFC 8446 section 3.4).</summary>
    private ref struct Fields(ReadOnlySpan<byte> bytes)
    {
        private ReadOnlySpan<byte> _rest = bytes;

        internal readonly bool IsEmpty => _rest.IsEmpty;

        internal bool TryTake(int length, out ReadOnlySpan<byte> field)
        {
            field = default;
            if (_rest.Length < length)
                return false;
            field = _rest[..length];
            _rest = _rest[length..];
            return true;
        }

        internal bool TryVector8(out ReadOnlySpan<byte> field)
        {
            field = default;
            return TryTake(1, out var length) && TryTake(length[0], out field);
        }

        internal bool TryVector16(out ReadOnlySpan<byte> field)
        {
            field = default;
            return TryTake(2, out var length) && TryTake(BinaryPrimitives.ReadUInt16BigEndian(length), out field);
        }
    }
}
