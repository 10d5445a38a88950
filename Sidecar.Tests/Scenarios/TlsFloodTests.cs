using System;
using System.IO;
using System.Linq;
using System.Net;
using System.Net.Sockets;
using Sidecar.Memory;
using Sidecar.Tests.Harness;
using Sidecar.Tls;
using Xunit;

namespace Sidecar.Tests.Scenarios;

/// <summary>Ten thousand ClientHellos, seeded and changed, at the published executable: what is allocated by OpenSSL is seen here and nowhere else.</summary>
[Trait("Category", "Linux")]
[Collection(ExecutableCollection.Name)]
public sealed class TlsFloodTests : IDisposable
{
    /// <summary>After these the heaps, libc's and the runtime's, have the size that such connections need.</summary>
    private const int WarmUp = 10_000;
    private const int Hellos = 10_000;

    /// <summary>An SSL object is 10 KiB and more: one in twelve that is kept would show, and what the allocators hold back does not.</summary>
    private const long GrowthMax = 8 * 1024 * 1024;

    private readonly TestCa _ca = new();
    private readonly TestFolder _folder = new();

    [SkippableFact]
    public void ChangedHellos_LeaveNoMemoryAndNoDescriptor()
    {
        SidecarProcess.Require();
        var pair = _ca.Server("localhost");
        _folder.Write("server.pem", pair.ChainPem);
        _folder.Write("server.key", pair.KeyPem);
        int port = FreePort.Next();
        string snapshot = new TestSnapshot().Http("in", port, TestSnapshot.Answer("hello")).Tls("in", TestSnapshot.Fill("""
            "common_tls_context": {"tls_certificates": [{"certificate_chain": {"filename": "$chain"}, "private_key": {"filename": "$key"}}]}
            """, ("chain", _folder.PathOf("server.pem")), ("key", _folder.PathOf("server.key")))).ToString();
        using var sidecar = SidecarProcess.Run(_folder.Write("snapshot.json", snapshot));
        byte[] hello = Hello();
        var random = new FastRandom(11);

        for (int i = 0; i < WarmUp; i++)
            Send(port, hello, random);
        WaitUntilIdle();
        long memory = sidecar.ResidentBytes;
        int descriptors = Descriptors(sidecar.Id);
        for (int i = 0; i < Hellos; i++)
            Send(port, hello, random);
        WaitUntilIdle();
        // The question itself was a connection, which ends when it ends.
        sidecar.WaitUntil(() => Descriptors(sidecar.Id) <= descriptors, "keeps descriptors");
        Assert.InRange(sidecar.ResidentBytes - memory, long.MinValue, GrowthMax);
        Assert.Equal("hello", Peers.Curl(null, "-k", $"https://localhost:{port}/").Expect().Output);

        void WaitUntilIdle() => sidecar.WaitUntil(() => sidecar.Stat($"listener.127.0.0.1_{port}.downstream_cx_active") == 0, "keeps connections that are over");
    }

    private static void Send(int port, byte[] hello, FastRandom random)
    {
        byte[] changed = [.. hello];
        for (ulong i = 0; i <= random.NextUInt64() % 3; i++)
            changed[random.NextUInt64() % (ulong)changed.Length] = (byte)random.NextUInt64();
        int length = random.NextUInt64() % 8 == 0 ? (int)(random.NextUInt64() % (ulong)changed.Length) : changed.Length;
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Connect(IPAddress.Loopback, port);
        socket.Send(changed.AsSpan(0, length));
        // With a reset, so that the port is free for the next.
        socket.LingerState = new LingerOption(true, 0);
        if ((length & 1) == 0)
            return;
        socket.Shutdown(SocketShutdown.Send);
        Span<byte> answer = stackalloc byte[4096];
        try
        {
            while (socket.Receive(answer) > 0)
            {
            }
        }
        catch (SocketException)
        {
            // Refused with a reset: also an end.
        }
    }

    private static int Descriptors(int pid) => Directory.GetFiles($"/proc/{pid}/fd").Length;

    private byte[] Hello()
    {
        using var loop = new TestLoop();
        var client = TestTls.Client(with: o => o with { MaxVersion = OpenSsl.Tls13, Alpn = ["h2"], ServerName = "localhost" });
        return TlsWire.ClientHello(loop, client, TestTls.Server(_ca.Server("localhost")));
    }

    public void Dispose()
    {
        _folder.Dispose();
        _ca.Dispose();
    }
}
