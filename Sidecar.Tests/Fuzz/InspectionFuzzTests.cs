using System;
using System.Linq;
using System.Text;
using Sidecar.Filters;
using Sidecar.Filters.Listener;
using Sidecar.Telemetry.Stats;
using Sidecar.Tests.Filters.Listener;
using Sidecar.Tests.Harness;
using Sidecar.Tls;
using Xunit;

namespace Sidecar.Tests.Fuzz;

/// <summary>
/// First bytes that are nearly right. An answer must come from a prefix as from the whole: then it is the same in whatever pieces they arrive, byte by byte
/// and at every split.
/// </summary>
public class InspectionFuzzTests
{
    private const int Mutations = 100_000;
    private const int BytesMax = 2048;

    private static readonly byte[][] s_hellos =
    [
        TestHello.OpenSsl("app.example.org", "istio-http/1.1", "istio", "http/1.1").Bytes(), TestHello.OpenSsl().Bytes(), TestHello.Browser("www.example.org", "h2", "http/1.1").Bytes(),
        TestHello.OpenSslBefore13(0x0303, "a.org", "h2").Bytes(), TestHello.OpenSslBefore13(0x0301).Bytes(), TestHello.Bare().Bytes(),
        TestHello.OpenSsl("app.example.org", "istio").Bytes(7), TestHello.OpenSslBefore13(0x0303, "a.org", "h2").Bytes(100),
    ];

    private static readonly byte[][] s_lines =
    [
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n"u8.ToArray(), "POST /a?b HTTP/1.0\r\n"u8.ToArray(), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"u8.ToArray(), "M-SEARCH * HTTP/1.1\n"u8.ToArray(),
    ];

    [Fact]
    public void MutatedHellos_AnyBytesInAnySplit()
    {
        var random = new Random(20240611);
        byte[] joined = new byte[BytesMax];
        int[] seen = new int[4];
        for (int i = 0; i < Mutations; i++)
        {
            byte[] bytes = Mutate(s_hellos[i % s_hellos.Length], random);
            var whole = ClientHello.TryRead(bytes, BytesMax, joined, out var hello);
            string name = Encoding.Latin1.GetString(hello.ServerName), protocols = Encoding.Latin1.GetString(hello.Protocols);
            seen[(int)whole]++;
            bool decided = false;
            for (int length = 0; length < bytes.Length; length++)
            {
                var status = ClientHello.TryRead(bytes.AsSpan(0, length), BytesMax, joined, out var early);
                bool same = status == whole && early.ServerName.SequenceEqual(Encoding.Latin1.GetBytes(name)) && early.Protocols.SequenceEqual(Encoding.Latin1.GetBytes(protocols));
                Assert.True(decided ? same : same || status == ClientHelloStatus.Incomplete, $"mutation {i}: {status} after {length} of {bytes.Length} bytes, {whole} after all");
                decided |= status != ClientHelloStatus.Incomplete;
                // From the answer on it does not change; the end is looked at once more.
                if (decided && length < bytes.Length - 2)
                    length = bytes.Length - 2;
            }
        }
        Assert.All(seen, count => Assert.True(count > 100, $"hardly seen: {string.Join(' ', seen)}"));
    }

    [Fact]
    public void MutatedRequestLines_AnyBytesInAnySplit()
    {
        using var accepted = new AcceptedPeer();
        var filter = new HttpInspector(new StatsRegistry(1).Scope(HttpInspectorStats.Schema, "http_inspector."));
        var random = new Random(20240612);
        int found = 0;
        for (int i = 0; i < Mutations; i++)
        {
            byte[] bytes = Mutate(s_lines[i % s_lines.Length], random);
            string whole = Ask(bytes);
            found += whole.Length > "Continue ".Length ? 1 : 0;
            for (int length = 0; length < bytes.Length; length++)
            {
                string early = Ask(bytes.AsSpan(0, length));
                Assert.True(early == whole || early == "NeedMore ", $"mutation {i}: {early} after {length} of {bytes.Length} bytes, {whole} after all");
            }
        }
        Assert.InRange(found, 1000, Mutations - 1000);

        string Ask(ReadOnlySpan<byte> bytes)
        {
            var status = filter.Inspect(accepted.Reset(), bytes);
            return $"{status} {string.Join(',', accepted.ApplicationProtocols)}";
        }
    }

    private static byte[] Mutate(byte[] original, Random random)
    {
        byte[] bytes = [.. original];
        for (int changes = random.Next(0, 4); changes > 0 && bytes.Length > 1; changes--)
        {
            int at = random.Next(3) == 0 ? random.Next(Math.Min(bytes.Length, 60)) : random.Next(bytes.Length);
            switch (random.Next(7))
            {
                case 0:
                    bytes[at] = (byte)random.Next(256);
                    break;
                case 1:
                    bytes[at] ^= (byte)(1 << random.Next(8));
                    break;
                case 2:
                    bytes[at] += (byte)random.Next(-2, 3);
                    break;
                case 3:
                    bytes = bytes[..at];
                    break;
                case 4:
                    bytes = [.. bytes[..at], .. bytes[Math.Min(bytes.Length, at + random.Next(1, 20))..]];
                    break;
                case 5:
                    bytes = [.. bytes[..at], .. bytes.AsSpan(at, Math.Min(bytes.Length - at, random.Next(1, 20))), .. bytes[at..]];
                    break;
                default:
                    // A length that says much, and a peer that sends much.
                    bytes[at] = 0xFF;
                    bytes = [.. bytes, .. Enumerable.Repeat((byte)random.Next(256), random.Next(0, 600))];
                    break;
            }
        }
        return bytes;
    }
}
