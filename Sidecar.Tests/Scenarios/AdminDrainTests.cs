using System.Net.Sockets;
using System.Text.Json.Nodes;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Scenarios;

/// <summary>Draining by an operator's request, on connections that are open: what is told to them, and who is still let in.</summary>
[Trait("Category", "Linux")]
[Collection(ExecutableCollection.Name)]
public sealed class AdminDrainTests
{
    [SkippableTheory]
    [InlineData("/drain_listeners", "close", "close", false, false)]
    [InlineData("/drain_listeners?graceful", "close", "close", true, true)]
    [InlineData("/drain_listeners?inboundonly", "close", null, false, true)]
    [InlineData("/drain_listeners?graceful&inboundonly", "close", null, true, true)]
    public void DrainListeners_TellsOpenConnections_AndRefusesNewOnes(string page, string? inbound, string? outbound, bool inboundAccepts, bool outboundAccepts)
    {
        using var folder = new TestFolder();
        int[] ports = FreePort.Next(2);
        var snapshot = JsonNode.Parse(new TestSnapshot().Http("a", ports[0], TestSnapshot.Answer("in")).Http("b", ports[1], TestSnapshot.Answer("out")).ToString())!;
        var listeners = snapshot["configs"]![1]!["dynamic_listeners"]!;
        listeners[0]!["active_state"]!["listener"]!["traffic_direction"] = "INBOUND";
        listeners[1]!["active_state"]!["listener"]!["traffic_direction"] = "OUTBOUND";
        using var sidecar = SidecarProcess.Run(folder.Write("s.json", snapshot.ToJsonString()));
        using var first = new RawClient(ports[0]);
        using var second = new RawClient(ports[1]);
        Assert.Null(first.Get("/").Header("connection"));
        Assert.Null(second.Get("/").Header("connection"));

        Assert.Equal("OK\n", sidecar.Admin(page, "POST"));
        // The worker does all of it in one turn, and what it answers after that turn's first effect is of a later one.
        sidecar.WaitUntil(() => inboundAccepts ? SaysClose(ports[0]) : !Accepts(ports[0]), "the inbound listener does not drain");
        Assert.Equal(inbound, first.Get("/").Header("connection"));
        Assert.Equal(outbound, second.Get("/").Header("connection"));
        Assert.Equal(outboundAccepts, Accepts(ports[1]));
    }

    [SkippableTheory]
    [InlineData("/drain_listeners?graceful", true)]
    [InlineData("/drain_listeners?graceful&skip_exit", false)]
    public void DrainListenersGraceful_ListenersCloseAfterTheDrainTime(string page, bool closes)
    {
        using var folder = new TestFolder();
        int port = FreePort.Next();
        using var sidecar = SidecarProcess.Run(folder.Write("s.json", new TestSnapshot().Http("a", port, TestSnapshot.Answer("in")).ToString()), 1, "--drain-time-s", "1");
        Assert.Equal("OK\n", sidecar.Admin(page, "POST"));
        if (closes)
        {
            sidecar.WaitUntil(() => !Accepts(port), "the listener did not close");
            Assert.Equal(1, sidecar.Stat("listener_manager.listener_stopped"));
            return;
        }
        sidecar.WaitUntil(() => SaysClose(port), "the listener does not drain");
        Assert.Equal(0, sidecar.Stat("listener_manager.listener_stopped"));
    }

    [SkippableFact]
    public void HealthcheckFail_EndsConnections_OfListenersThatDrainByDefault_UntilOk()
    {
        using var folder = new TestFolder();
        int[] ports = FreePort.Next(2);
        var snapshot = new TestSnapshot().Http("a", ports[0], TestSnapshot.Answer("x")).Http("b", ports[1], TestSnapshot.Answer("x"));
        using var sidecar = SidecarProcess.Run(folder.Write("s.json", snapshot.WithListener("b", """ "drain_type": "MODIFY_ONLY" """).ToString()));
        sidecar.Admin("/healthcheck/fail", "POST");
        sidecar.WaitUntil(() => SaysClose(ports[0]), "responses of the default listener do not end their connections");
        Assert.False(SaysClose(ports[1]));
        sidecar.Admin("/healthcheck/ok", "POST");
        sidecar.WaitUntil(() => !SaysClose(ports[0]), "responses still end their connections");
    }

    private static bool SaysClose(int port)
    {
        using var client = new RawClient(port);
        return client.Get("/").Header("connection") == "close";
    }

    private static bool Accepts(int port)
    {
        try
        {
            using var client = new RawClient(port);
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }
}
