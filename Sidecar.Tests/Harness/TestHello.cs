using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.Linq;
using System.Text;

namespace Sidecar.Tests.Harness;

/// <summary>
/// Builds ClientHellos as real clients send them, byte for byte but for their random numbers: what OpenSSL 3.0 and browsers with GREASE wrote, field by
/// field. Whatever a test changes is changed in one field.
/// </summary>
internal sealed record TestHello
{
    private static readonly byte[] s_groups = Convert.FromHexString("0014001d0017001e0019001801000101010201030104");
    private static readonly byte[] s_signatures = Convert.FromHexString("0028040305030603080708080809080a080b080408050806040105010601030303010302040205020602");

    internal ushort RecordVersion { get; init; } = 0x0301;
    internal ushort LegacyVersion { get; init; } = 0x0303;
    internal int SessionBytes { get; init; } = 32;
    internal byte[] Suites { get; init; } = Convert.FromHexString("130213031301c02cc030009fcca9cca8ccaac02bc02f009ec024c028006b00ff");
    internal byte[] Compressions { get; init; } = [0];
    internal IReadOnlyList<(int Type, byte[] Content)>? Extensions { get; init; } = [];

    /// <summary>openssl s_client -servername NAME -alpn PROTOCOLS, which offers 1.3 and 1.2.</summary>
    internal static TestHello OpenSsl(string serverName = "", params string[] protocols) => new TestHello
    {
        Extensions =
        [
            .. Named(serverName), (0x000B, Convert.FromHexString("03000102")), (0x000A, s_groups), (0x0023, []), .. Offering(protocols), (0x0016, []), (0x0017, []),
            (0x000D, s_signatures), (0x002B, Convert.FromHexString("080304030303020301")), (0x002D, Convert.FromHexString("0101")), (0x0033, KeyShare),
        ],
    };

    /// <summary>openssl s_client -tls1_2, or -tls1_1, or -tls1.</summary>
    internal static TestHello OpenSslBefore13(ushort version, string serverName = "", params string[] protocols) => new TestHello
    {
        LegacyVersion = version,
        SessionBytes = 0,
        Extensions =
        [
            .. Named(serverName), (0x000B, Convert.FromHexString("03000102")), (0x000A, Convert.FromHexString("000a001d0017001e00190018")), (0x0023, []),
            .. Offering(protocols), (0x0016, []), (0x0017, []), (0x000D, s_signatures),
        ],
    };

    /// <summary>A browser: GREASE (RFC 8701) among suites, extensions, groups, versions and key shares, and padding at the end.</summary>
    internal static TestHello Browser(string serverName = "", params string[] protocols) => new TestHello
    {
        Suites = Convert.FromHexString("3a3a130113021303c02bc02fc02cc030cca9cca8c013c014009c009d002f0035"),
        Extensions =
        [
            (0x5A5A, []), .. Named(serverName), (0x0017, []), (0xFF01, [0]), (0x000A, Convert.FromHexString("00088a8a001d00170018")), (0x000B, [1, 0]), (0x0023, []),
            .. Offering(protocols), (0x0005, [1, 0, 0, 0, 0]), (0x000D, s_signatures), (0x0012, []), (0x0033, [.. Convert.FromHexString("00298a8a000100"), .. KeyShare[2..]]),
            (0x002D, [1, 1]), (0x002B, Convert.FromHexString("06caca03040303")), (0x001B, [2, 0, 2]), (0x7A7A, [0]), (0x0015, new byte[201]),
        ],
    };

    /// <summary>A ClientHello of before there were extensions.</summary>
    internal static TestHello Bare(ushort version = 0x0301) => new() { LegacyVersion = version, SessionBytes = 0, Extensions = null };

    /// <summary>The same with one extension's content replaced, or added at the end.</summary>
    internal TestHello With(int type, byte[] content) => this with
    {
        Extensions = Extensions!.Any(e => e.Type == type) ? [.. Extensions!.Select(e => e.Type == type ? (type, content) : e)] : [.. Extensions!, (type, content)],
    };

    /// <summary>The handshake message, without records.</summary>
    internal byte[] Message()
    {
        byte[] random = [.. Enumerable.Range(0, 32).Select(i => (byte)(i * 37 + 11))];
        byte[] session = [.. Enumerable.Range(0, SessionBytes).Select(i => (byte)(i * 91 + 5))];
        byte[] extensions = Extensions is null ? [] : Vector16([.. Extensions.SelectMany(e => (byte[])[.. U16(e.Type), .. Vector16(e.Content)])]);
        byte[] body = [.. U16(LegacyVersion), .. random, .. Vector8(session), .. Vector16(Suites), .. Vector8(Compressions), .. extensions];
        return [1, (byte)(body.Length >> 16), (byte)(body.Length >> 8), (byte)body.Length, .. body];
    }

    /// <summary>On the wire, in records of at most so many bytes.</summary>
    internal byte[] Bytes(int fragmentBytes = 16 * 1024) => Records(Message(), fragmentBytes);

    internal byte[] Records(byte[] message, int fragmentBytes) =>
        [.. message.Chunk(fragmentBytes).SelectMany(chunk => (byte[])[22, .. U16(RecordVersion), .. Vector16(chunk)])];

    /// <summary>The content of a server_name extension.</summary>
    internal static byte[] ServerName(string name) => Vector16([0, .. Vector16(Encoding.Latin1.GetBytes(name))]);

    /// <summary>The content of an application_layer_protocol_negotiation extension.</summary>
    internal static byte[] Protocols(params string[] protocols) => Vector16([.. protocols.SelectMany(p => Vector8(Encoding.Latin1.GetBytes(p)))]);

    private static byte[] KeyShare => [.. Convert.FromHexString("0024001d0020"), .. Enumerable.Range(0, 32).Select(i => (byte)(i * 53 + 7))];

    private static IEnumerable<(int, byte[])> Named(string name) => name.Length == 0 ? [] : [(0, ServerName(name))];

    private static IEnumerable<(int, byte[])> Offering(string[] protocols) => protocols.Length == 0 ? [] : [(0x0010, Protocols(protocols))];

    private static byte[] U16(int value)
    {
        byte[] bytes = new byte[2];
        BinaryPrimitives.WriteUInt16BigEndian(bytes, (ushort)value);
        return bytes;
    }

    private static byte[] Vector8(byte[] content) => [(byte)content.Length, .. content];

    private static byte[] Vector16(byte[] content) => [.. U16(content.Length), .. content];
}
