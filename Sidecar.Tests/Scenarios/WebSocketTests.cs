using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Scenarios;

/// <summary>A real WebSocket client and server with two sidecars between.</summary>
[Trait("Category", "Linux")]
[Collection(ExecutableCollection.Name)]
public sealed class WebSocketTests
{
    [SkippableTheory]
    [InlineData(false)]
    [InlineData(true)]
    public void Echo_ThroughTwoSidecars(bool http2Between)
    {
        SidecarProcess.Require();
        Command.RequirePython("websockets");
        var ports = FreePort.Next(2);
        using var folder = new TestFolder();
        var (server, serverPort) = Peers.WebSocketServer();
        using var _ = server;

        const string upgrades = """ "upgrade_configs": [{"upgrade_type": "websocket"}] """;
        // Between sidecars an upgrade may travel as extended CONNECT (RFC 8441).
        using var inbound = SidecarProcess.Run(folder.Write("inbound.json", new TestSnapshot()
            .Http("inbound", ports[0], TestSnapshot.To("app"), upgrades + """, "http2_protocol_options": {"allow_connect": true} """).Cluster("app", false, serverPort).ToString()));
        using var outbound = SidecarProcess.Run(folder.Write("outbound.json", new TestSnapshot()
            .Http("outbound", ports[1], TestSnapshot.To("peer"), upgrades).Cluster("peer", http2Between, ports[0]).ToString()));

        Assert.Equal("all came back", Peers.WebSocketClient(null, $"ws://127.0.0.1:{ports[1]}/echo").Expect().Output.Trim());
        Assert.Equal(1, outbound.Stat("http.outbound.downstream_cx_upgrades_total"));
    }
}
