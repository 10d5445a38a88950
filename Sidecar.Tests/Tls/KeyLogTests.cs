using System;
using System.IO;
using System.Linq;
using System.Runtime.Versioning;
using System.Text;
using Sidecar.Linux;
using Sidecar.Net;
using Sidecar.Tests.Harness;
using Sidecar.Tls;
using Xunit;

namespace Sidecar.Tests.Tls;

/// <summary>key_log: what is needed to decrypt a capture, of the connections that are named, and of no others.</summary>
[SupportedOSPlatform("linux")]
public sealed class KeyLogTests : IDisposable
{
    private readonly TestCa _ca = new();
    private readonly TestFolder _folder = new();
    private readonly TestLoop _loop = new();

    public void Dispose()
    {
        _loop.Dispose();
        _folder.Dispose();
        _ca.Dispose();
    }

    [Theory]
    [InlineData(OpenSsl.Tls12, new[] { "CLIENT_RANDOM" })]
    [InlineData(OpenSsl.Tls13, new[] { "SERVER_HANDSHAKE_TRAFFIC_SECRET", "EXPORTER_SECRET", "SERVER_TRAFFIC_SECRET_0", "CLIENT_HANDSHAKE_TRAFFIC_SECRET", "CLIENT_TRAFFIC_SECRET_0" })]
    public void Handshake_WritesALineForEachSecret(int version, string[] labels)
    {
        string path = _folder.PathOf("keys");
        var log = KeyLog.Open(path, [], [], out _);
        var server = TestTls.Server(_ca.Server("a.test"), with: o => o with { KeyLog = log });
        var client = TestTls.Client(with: o => o with { MinVersion = version, MaxVersion = version });
        new TlsPair(_loop, client, server).Shake().Close();
        new TlsPair(_loop, client, server).Shake().Close();

        string[] lines = File.ReadAllLines(path);
        Assert.All(lines, line => Assert.Matches("^[A-Z_0-9]+ [0-9a-f]{64} [0-9a-f]{64,96}$", line));
        Assert.Equal([.. labels.Order(StringComparer.Ordinal)], lines.Select(line => line.Split(' ')[0]).Distinct().Order(StringComparer.Ordinal));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(path));
    }

    [Theory]
    [InlineData("", "", true)]
    [InlineData("127.0.0.0/8", "", true)]
    [InlineData("10.0.0.0/8", "", false)]
    [InlineData("10.0.0.0/8 127.0.0.1/32", "127.0.0.1/32", true)]
    [InlineData("127.0.0.1/32", "10.0.0.0/8", false)]
    [InlineData("::/0", "", false)]
    public void Line_OfAConnectionWithinBothRanges_IsWritten(string local, string remote, bool written)
    {
        string path = _folder.PathOf("keys");
        var log = KeyLog.Open(path, Ranges(local), Ranges(remote), out _)!;
        var (accepted, peer) = TestPeer.TcpPair();
        log.Write(accepted, "LABEL 00 11"u8);
        log.Write(accepted, "LABEL 22 33"u8);
        Sockets.Close(accepted);
        peer.Dispose();
        Assert.Equal(written ? "LABEL 00 11\nLABEL 22 33\n" : "", File.ReadAllText(path));
    }

    [Fact]
    public void File_ThatIsThere_IsAppendedTo()
    {
        string path = _folder.Write("keys", "before\n");
        var log = KeyLog.Open(path, [], [], out _)!;
        log.Write(-1, Encoding.ASCII.GetBytes("after"));
        Assert.Equal("before\nafter\n", File.ReadAllText(path));
    }

    [Fact]
    public void File_ThatCannotBeOpened_IsRefused()
    {
        Assert.Null(KeyLog.Open(_folder.PathOf("none/keys"), [], [], out string problem));
        Assert.Equal($"unable to open file '{_folder.PathOf("none/keys")}': No such file or directory", problem);
    }

    private static Cidr[] Ranges(string text) => [.. text.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(range =>
    {
        Assert.True(Cidr.TryParse(range, out var cidr));
        return cidr;
    })];
}
