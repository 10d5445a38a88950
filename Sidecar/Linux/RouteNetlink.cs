using System;
using System.Collections.Generic;
using System.Net;
using System.Runtime.InteropServices;

namespace Sidecar.Linux;

/// <summary>
/// The questions traffic capture has for the kernel's routing (rtnetlink(7)), asked directly so that an image needs no iproute2.
/// Every call opens its own socket in the calling thread's network namespace and answers how it went.
/// </summary>
internal static class RouteNetlink
{
    private const int LoopbackIndex = 1;      // lo is the first interface of every network namespace

    /// <summary>Appends every address of every interface, in the kernel's order (all IPv4, then all IPv6).</summary>
    public static Errno ListAddresses(List<IPAddress> into)
    {
        var request = new Message(RTM_GETADDR, NLM_F_DUMP);
        request.Payload(8);                   // struct ifaddrmsg, all zero: every family
        return Ask(request, (type, payload) =>
        {
            if (type != RTM_NEWADDR || payload.Length < 8)
                return;
            // IFA_LOCAL is the interface's own address; IFA_ADDRESS is the peer's on a point-to-point link, and the only one of IPv6.
            ReadOnlySpan<byte> address = Attribute(payload[8..], IFA_LOCAL);
            if (address.IsEmpty)
                address = Attribute(payload[8..], IFA_ADDRESS);
            if (address.Length is 4 or 16)
                into.Add(new IPAddress(address));
        });
    }

    /// <summary>ip addr add (or del) ADDRESS/128 dev lo, for an IPv6 address.</summary>
    public static Errno ChangeLoopbackAddress(IPAddress address, bool add)
    {
        var request = new Message(add ? RTM_NEWADDR : RTM_DELADDR, Flags(add));
        Span<byte> header = request.Payload(8);
        header[0] = AF_INET6;
        header[1] = 128;
        MemoryMarshal.Write(header[4..], LoopbackIndex);
        request.Attribute(IFA_LOCAL, address.GetAddressBytes());
        request.Attribute(IFA_ADDRESS, address.GetAddressBytes());
        return Ask(request, null);
    }

    /// <summary>ip [-6] rule add (or del) fwmark MARK lookup TABLE.</summary>
    public static Errno ChangeMarkRule(bool ipv6, uint mark, uint table, bool add)
    {
        var request = new Message(add ? RTM_NEWRULE : RTM_DELRULE, Flags(add));
        Span<byte> header = request.Payload(12);          // struct fib_rule_hdr
        header[0] = ipv6 ? AF_INET6 : AF_INET;
        header[4] = table < 256 ? (byte)table : (byte)0;
        header[7] = FR_ACT_TO_TBL;
        request.Attribute(FRA_FWMARK, mark);
        request.Attribute(FRA_TABLE, table);
        return Ask(request, null);
    }

    /// <summary>Whether ip [-6] rule lists a rule fwmark MARK lookup TABLE. (Adding it twice makes two: the kernel does not mind.)</summary>
    public static Errno HasMarkRule(bool ipv6, uint mark, uint table, out bool found)
    {
        var request = new Message(RTM_GETRULE, NLM_F_DUMP);
        request.Payload(12)[0] = ipv6 ? AF_INET6 : AF_INET;
        bool any = false;
        Errno error = Ask(request, (type, payload) =>
            any |= type == RTM_NEWRULE && payload.Length >= 12 && Number(payload[12..], FRA_FWMARK) == mark && Number(payload[12..], FRA_TABLE) == table);
        found = any;
        return error;
    }

    /// <summary>ip [-6] route add (or del) local default dev lo table TABLE.</summary>
    public static Errno ChangeLocalDefaultRoute(bool ipv6, uint table, bool add)
    {
        var request = new Message(add ? RTM_NEWROUTE : RTM_DELROUTE, Flags(add));
        Span<byte> header = request.Payload(12);          // struct rtmsg
        header[0] = ipv6 ? AF_INET6 : AF_INET;
        header[4] = table < 256 ? (byte)table : (byte)0;
        header[5] = RTPROT_BOOT;
        header[6] = RT_SCOPE_HOST;
        header[7] = RTN_LOCAL;
        request.Attribute(RTA_TABLE, table);
        request.Attribute(RTA_OIF, (uint)LoopbackIndex);
        return Ask(request, null);
    }

    private static ushort Flags(bool add) => (ushort)(NLM_F_ACK | (add ? NLM_F_CREATE | NLM_F_EXCL : 0));

    private static ReadOnlySpan<byte> Attribute(ReadOnlySpan<byte> attributes, ushort wanted)
    {
        while (attributes.Length >= 4)
        {
            int length = MemoryMarshal.Read<ushort>(attributes);
            if (length < 4 || length > attributes.Length)
                return default;
            if (MemoryMarshal.Read<ushort>(attributes[2..]) == wanted)
                return attributes[4..length];
            attributes = attributes[Math.Min(Align(length), attributes.Length)..];
        }
        return default;
    }

    private static uint? Number(ReadOnlySpan<byte> attributes, ushort wanted)
    {
        ReadOnlySpan<byte> value = Attribute(attributes, wanted);
        return value.Length == 4 ? MemoryMarshal.Read<uint>(value) : null;
    }

    private delegate void AnswerHandler(ushort type, ReadOnlySpan<byte> payload);

    // Sends one request and reads until its acknowledgement, error or end of dump.
    private static Errno Ask(Message request, AnswerHandler? onAnswer)
    {
        SysResult opened = SysResult.Of(Libc.socket(AF_NETLINK, SOCK_RAW | Sockets.CloseOnExec, NETLINK_ROUTE));
        if (!opened.Ok)
            return opened.Error;
        int fd = opened.Fd;
        try
        {
            SysResult sent = Sockets.Send(fd, request.Bytes);
            if (!sent.Ok)
                return sent.Error;
            byte[] buffer = new byte[64 * 1024];          // a dump's parts are at most 32 KiB (netlink's NLMSG_GOODSIZE rules)
            while (true)
            {
                SysResult got = Sockets.Receive(fd, buffer);
                if (got.Error == Errno.EINTR)
                    continue;
                if (!got.Ok)
                    return got.Error;
                ReadOnlySpan<byte> rest = buffer.AsSpan(0, (int)got.Value);
                while (rest.Length >= 16)
                {
                    int length = MemoryMarshal.Read<int>(rest);
                    if (length < 16 || length > rest.Length)
                        return Errno.EPROTO;
                    ushort type = MemoryMarshal.Read<ushort>(rest[4..]);
                    ReadOnlySpan<byte> payload = rest[16..length];
                    if (type == NLMSG_DONE)
                        return Errno.None;
                    if (type == NLMSG_ERROR)
                        return payload.Length < 4 ? Errno.EPROTO : (Errno)(-MemoryMarshal.Read<int>(payload));
                    onAnswer?.Invoke(type, payload);
                    rest = rest[Math.Min(Align(length), rest.Length)..];
                }
            }
        }
        finally
        {
            Sockets.Close(fd);
        }
    }

    private static int Align(int length) => (length + 3) & ~3;

    /// <summary>One netlink request under construction: nlmsghdr, fixed payload, attributes.</summary>
    private sealed class Message
    {
        private readonly byte[] _bytes = new byte[256];
        private int _length = 16;

        public Message(ushort type, ushort flags)
        {
            MemoryMarshal.Write(_bytes.AsSpan(4), type);
            MemoryMarshal.Write(_bytes.AsSpan(6), (ushort)(flags | NLM_F_REQUEST));
            MemoryMarshal.Write(_bytes.AsSpan(8), 1u);
        }

        public ReadOnlySpan<byte> Bytes
        {
            get
            {
                MemoryMarshal.Write(_bytes, _length);
                return _bytes.AsSpan(0, _length);
            }
        }

        public Span<byte> Payload(int length)
        {
            Span<byte> payload = _bytes.AsSpan(_length, length);
            _length += Align(length);
            return payload;
        }

        public void Attribute(ushort type, ReadOnlySpan<byte> value)
        {
            MemoryMarshal.Write(_bytes.AsSpan(_length), (ushort)(4 + value.Length));
            MemoryMarshal.Write(_bytes.AsSpan(_length + 2), type);
            value.CopyTo(_bytes.AsSpan(_length + 4));
            _length += Align(4 + value.Length);
        }

        public void Attribute(ushort type, uint value) => Attribute(type, MemoryMarshal.AsBytes(new ReadOnlySpan<uint>(in value)));
    }

    private const byte AF_INET = 2;
    private const byte AF_INET6 = 10;
    private const int AF_NETLINK = 16;
    private const int SOCK_RAW = 3;
    private const int NETLINK_ROUTE = 0;
    private const ushort NLMSG_ERROR = 2;
    private const ushort NLMSG_DONE = 3;
    private const ushort NLM_F_REQUEST = 0x01;
    private const ushort NLM_F_ACK = 0x04;
    private const ushort NLM_F_DUMP = 0x300;
    private const ushort NLM_F_EXCL = 0x200;
    private const ushort NLM_F_CREATE = 0x400;
    private const ushort RTM_NEWADDR = 20;
    private const ushort RTM_DELADDR = 21;
    private const ushort RTM_GETADDR = 22;
    private const ushort RTM_NEWROUTE = 24;
    private const ushort RTM_DELROUTE = 25;
    private const ushort RTM_NEWRULE = 32;
    private const ushort RTM_DELRULE = 33;
    private const ushort RTM_GETRULE = 34;
    private const ushort IFA_ADDRESS = 1;
    private const ushort IFA_LOCAL = 2;
    private const ushort RTA_OIF = 4;
    private const ushort RTA_TABLE = 15;
    private const ushort FRA_FWMARK = 10;
    private const ushort FRA_TABLE = 15;
    private const byte FR_ACT_TO_TBL = 1;
    private const byte RTN_LOCAL = 2;
    private const byte RTPROT_BOOT = 3;
    private const byte RT_SCOPE_HOST = 254;
}
