using System;
using System.Linq;
using System.Security.Cryptography;
using System.Text.Json;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Scenarios;

/// <summary>A real gRPC client and server with two sidecars between, as between two Pods.</summary>
[Trait("Category", "Linux")]
[Collection(ExecutableCollection.Name)]
public sealed class GrpcTests(GrpcTests.Path path) : IClassFixture<GrpcTests.Path>
{
    [SkippableTheory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(16_384)]
    [InlineData(1_048_576)]
    public void Unary_AnswerIsTheMessageWithMetadataAtBothEnds(int size)
    {
        var result = path.Call("Unary", $"{size}");
        var answers = result.GetProperty("answers").EnumerateArray().Select(answer => answer.GetString()).ToArray();
        var expected = Convert.ToHexStringLower(SHA256.HashData([.. Enumerable.Range(0, size).Select(i => (byte)(i % 251))]));
        Assert.Equal($"same {size} {expected}", string.Join(' ', answers));
        Assert.Equal("OK", result.GetProperty("code").GetString());
        Assert.Equal("first", result.GetProperty("initial").GetProperty("x-initial").GetString());
        Assert.Equal("last", result.GetProperty("trailers").GetProperty("x-trailer").GetString());
        Assert.Equal("0001fe", result.GetProperty("trailers").GetProperty("x-binary-bin").GetString());
    }

    [SkippableFact]
    public void ServerStream_AllAnswersInOrder()
    {
        var result = path.Call("ServerStream", "1000");
        Assert.Equal(Enumerable.Range(0, 1000).Select(i => $"answer {i}"), result.GetProperty("answers").EnumerateArray().Select(answer => answer.GetString()!));
        Assert.Equal("OK", result.GetProperty("code").GetString());
    }

    [SkippableFact]
    public void ClientStream_AllMessagesCounted() =>
        Assert.Equal("100 messages, 5000000 bytes", path.Call("ClientStream", "100", "50000").GetProperty("answers")[0].GetString());

    [SkippableFact]
    public void BothStream_EachMessageIsAnsweredBeforeTheNextIsSent() =>
        Assert.Equal(Enumerable.Range(0, 200).Select(i => $"MESSAGE {i}"),
            path.Call("BothStream", "200").GetProperty("answers").EnumerateArray().Select(answer => answer.GetString()!));

    [SkippableFact]
    public void Deadline_EndsTheCallAtBothEnds()
    {
        var result = path.Call("Hang", "0.5");
        Assert.Equal("DEADLINE_EXCEEDED", result.GetProperty("code").GetString());
        path.Server.WaitForLine(@"^hang: remaining \d+ ms$");             // grpc-timeout arrived
        path.Server.WaitForLine("^hang: ended by the client$");            // and so did the reset
    }

    [SkippableFact]
    public void Failure_StatusMessageAndTrailersArrive()
    {
        var result = path.Call("Fail");
        Assert.Equal("FAILED_PRECONDITION", result.GetProperty("code").GetString());
        Assert.Equal("no: über 100%", result.GetProperty("details").GetString());
        Assert.Equal("of a failure", result.GetProperty("trailers").GetProperty("x-trailer").GetString());
    }

    [SkippableFact]
    public void FailureAfterAnswers_BothArrive()
    {
        var result = path.Call("FailAfterSome");
        Assert.Equal(["one", "two"], result.GetProperty("answers").EnumerateArray().Select(answer => answer.GetString()!));
        Assert.Equal("DATA_LOSS", result.GetProperty("code").GetString());
    }

    [SkippableFact]
    public void Metadata_OfTheRequestArrives() =>
        Assert.Contains("\"x-request\": \"kept\"", path.Call("Metadata").GetProperty("answers")[0].GetString());

    [SkippableFact]
    public void NoServer_IsUnavailable() => Assert.Equal("UNAVAILABLE", path.Call("no-server", "Unary", ["1"]).GetProperty("code").GetString());

    /// <summary>client → outbound sidecar → inbound sidecar → server, all HTTP/2.</summary>
    public sealed class Path : IDisposable
    {
        private readonly Owned _owned = new();
        private int _port, _portWithoutServer;
        private BackgroundProcess? _server;

        internal BackgroundProcess Server => _server!;

        internal JsonElement Call(string call, params string[] arguments) => Call("server", call, arguments);

        internal JsonElement Call(string target, string call, string[] arguments)
        {
            if (_server is null)
                Start();
            var port = target == "server" ? _port : _portWithoutServer;
            return JsonDocument.Parse(Peers.GrpcClient(null, $"127.0.0.1:{port}", call, arguments).Expect().Output).RootElement;
        }

        private void Start()
        {
            SidecarProcess.Require();
            Command.RequirePython("grpc");
            var ports = FreePort.Next(4);
            (_port, int inbound, _portWithoutServer, int nobody) = (ports[0], ports[1], ports[2], ports[3]);
            var (server, serverPort) = Peers.GrpcServer();
            _owned.Push(server);
            var folder = _owned.Push(new TestFolder());
            // As Istio's routes: no timeout but the caller's own.
            _owned.Push(SidecarProcess.Run(folder.Write("inbound.json",
                new TestSnapshot().Http("inbound", inbound, TestSnapshot.To("app", "\"timeout\": \"0s\"")).Cluster("app", true, serverPort).ToString())));
            _owned.Push(SidecarProcess.Run(folder.Write("outbound.json",
                new TestSnapshot().Http("outbound", _port, TestSnapshot.To("peer", "\"timeout\": \"0s\"")).Cluster("peer", true, inbound)
                    .Http("nowhere", _portWithoutServer, TestSnapshot.To("nobody")).Cluster("nobody", true, nobody).ToString())));
            _server = server;
        }

        public void Dispose() => _owned.Dispose();
    }
}
