using System.Linq;
using System.Text.Json;
using Xunit;

namespace Sidecar.Tests.Harness;

/// <summary>The peers against each other, with nothing of ours between: what fails here is not the product's fault.</summary>
[Trait("Category", "Linux")]
[Collection(ExecutableCollection.Name)]
public sealed class PeersTests
{
    [SkippableFact]
    public void Grpc_ClientReachesServer()
    {
        var (server, port) = Peers.GrpcServer();
        using (server)
        {
            var unary = JsonDocument.Parse(Peers.GrpcClient(null, $"127.0.0.1:{port}", "Unary", "1000").Expect().Output).RootElement;
            Assert.Equal("same", unary.GetProperty("answers")[0].GetString());
            Assert.Equal("0001fe", unary.GetProperty("trailers").GetProperty("x-binary-bin").GetString());
            var both = JsonDocument.Parse(Peers.GrpcClient(null, $"127.0.0.1:{port}", "BothStream", "3").Expect().Output).RootElement;
            Assert.Equal(["MESSAGE 0", "MESSAGE 1", "MESSAGE 2"], both.GetProperty("answers").EnumerateArray().Select(answer => answer.GetString()));
            Assert.Equal("OK", both.GetProperty("code").GetString());
        }
    }

    [SkippableFact]
    public void WebSocket_ClientReachesServer()
    {
        var (server, port) = Peers.WebSocketServer();
        using (server)
            Assert.Equal("all came back", Peers.WebSocketClient(null, $"ws://127.0.0.1:{port}/echo").Expect().Output.Trim());
    }

    [SkippableFact]
    public void Http2_CurlReachesNghttpd()
    {
        using var folder = new TestFolder();
        folder.Write("add", "calculator v1\n");
        int port = FreePort.Next();
        using var server = Peers.Nghttpd(folder.Path, port);
        Assert.Equal("calculator v1\n", Peers.Curl(null, "--http2-prior-knowledge", $"http://127.0.0.1:{port}/add").Expect().Output);
    }

    [SkippableFact]
    public void Tcp_HalfCloseInANamespace()
    {
        Command.RequireRoot();
        Command.Require("ip", "setpriv", "ss");
        using var left = new NetworkNamespace("left");
        using var right = new NetworkNamespace("right");
        left.Connect(right, "10.244.2.73", "10.244.1.63", "to-right");
        var (server, port) = Peers.TcpServer(right, 1338, "10.244.1.63", 9080);
        using (server)
        {
            Assert.Equal("HELLO", Peers.TcpClient(left, 1339, "10.244.1.63", port, "hello").Expect().Output.Trim());
            Assert.Equal(["10.244.1.63:9080"], right.ListeningAddresses());
        }
    }

    [SkippableFact]
    public void TestSnapshot_IsJsonWithWhatWasNamed()
    {
        var text = new TestSnapshot().Http("in", 1, TestSnapshot.To("app", "\"timeout\": \"1s\"")).Tcp("tcp", 2, "app").HttpByName("rds", 3, "r")
            .Routes("r", TestSnapshot.Answer("hi", "/x", 418)).Cluster("app", true, 4, 5).EdsCluster("eds", false, 6).ToString();
        var configs = JsonDocument.Parse(text).RootElement.GetProperty("configs");
        Assert.Equal(5, configs.GetArrayLength());
        Assert.Equal(3, configs[1].GetProperty("dynamic_listeners").GetArrayLength());
        Assert.Contains("\"port_value\":5", text);
        Assert.Contains("\"inline_string\":\"hi\"", text);
    }
}
