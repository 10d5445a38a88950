using System.Collections.Generic;
using System.Linq;
using Sidecar.Http.H2;
using Sidecar.Memory;
using Sidecar.Telemetry;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Downstream;

/// <summary>What connections and requests meet while memory is short.</summary>
public sealed class OverloadTests
{
    private const string Get = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

    private static DataPlaneHarness Answering(string manager = "", string listener = "")
    {
        var plane = new DataPlaneHarness();
        var snapshot = new TestSnapshot().Http("http", 0, TestSnapshot.Answer("x"), manager);
        plane.Apply(listener.Length > 0 ? snapshot.WithListener("http", listener) : snapshot);
        return plane;
    }

    [Fact]
    public void Request_IsRefused_InEnvoysWords()
    {
        using var plane = Answering();
        var client = plane.Connect();
        plane.Scope.Overload.Set(1, 0, 0, false);
        string answer = plane.Exchange(client, Get, "envoy overloaded");
        Assert.StartsWith("HTTP/1.1 503 Service Unavailable\r\n", answer);
        Assert.DoesNotContain("x-envoy-local-overloaded", answer);
        Assert.Equal(1, plane.Stat("http.http.downstream_rq_overload_close"));
        plane.Scope.Overload.Set(0, 0, 0, false);
        client.Send(Get);
        plane.Expect(client, "200 OK");
    }

    [Fact]
    public void RefusedRequest_WhoseAnswerIsNotTaken_IsReset()
    {
        using var plane = Answering();
        plane.Scope.Overload.Set(1, 0, 0, false);
        var client = new H2Wire(plane, plane.Connect(), isServer: false);
        client.Send(H2.Settings((SettingId.InitialWindowSize, 0u)));
        client.Send(H2.Headers(1, H2.Get()));
        client.Expect(FrameType.RstStream, 1);
        Assert.Equal("503", client.Header(1, ":status"));
        Assert.Equal(1, plane.Stat("http.http.downstream_rq_overload_close"));
        plane.ExpectStat("http.http.downstream_rq_active", 0);
    }

    [Fact]
    public void AppendLocalOverload_TellsTheClient()
    {
        using var plane = Answering(""" "append_local_overload": true """);
        plane.Scope.Overload.Set(1, 0, 0, false);
        Assert.Contains("x-envoy-local-overloaded: true\r\n", plane.Exchange(plane.Connect(), Get, "envoy overloaded"));
    }

    [Fact]
    public void ThreadThatGrewBeyondItsShare_RefusesAtOnce()
    {
        using var plane = Answering();
        var memory = plane.Loop.Loop.Memory;
        memory.GrowthMax = memory.GrownBytes - 1;
        try
        {
            plane.Exchange(plane.Connect(), Get, "envoy overloaded");
        }
        finally
        {
            memory.GrowthMax = long.MaxValue;
        }
    }

    [Fact]
    public void ThreadThatGrewBeyondItsShare_RefusesStreams_WhoseFieldsStillFillTheTable()
    {
        using var plane = Answering();
        var memory = plane.Loop.Loop.Memory;
        var client = new H2Wire(plane, plane.Connect(), isServer: false);
        client.Send(H2.Headers(1, H2.Get()));
        client.ExpectEnd(1);
        memory.GrowthMax = memory.GrownBytes - 1;
        try
        {
            // A literal that is indexed (RFC 7541 section 6.2.1); 62 is its number then.
            client.Send(H2.Headers(3, [.. H2.Get(), .. Indexed("x-late", "1")], end: false), H2.Data(3, "body", end: true));
            Assert.Equal(Http2Error.RefusedStream, client.Expect(FrameType.RstStream, 3).ResetCode);
        }
        finally
        {
            memory.GrowthMax = long.MaxValue;
        }
        client.Send(H2.Headers(5, [.. H2.Get(), 0xBE]));
        client.ExpectEnd(5);
        Assert.Equal("200", client.Header(5, ":status"));
        Assert.DoesNotContain(client.Frames, frame => frame.Type == FrameType.GoAway);
        Assert.Equal(1, plane.Stat("http.http.downstream_rq_overload_close"));
        Assert.Equal(2, plane.Stat("http.http.downstream_rq_total"));
    }

    [Fact]
    public void HpackBombs_GrowAThreadByItsShare_AndHardlyMore()
    {
        const int Clients = 20, Streams = 100, Share = 1024 * 1024, OneHeadAndRoomToAnswer = 512 * 1024;
        using var plane = Answering();
        var memory = plane.Loop.Loop.Memory;
        GiveAllBack(memory);
        var clients = Enumerable.Range(0, Clients).Select(_ => new H2Wire(plane, plane.Connect(), isServer: false)).ToList();
        // A window of nothing keeps the answers, and with them the requests.
        var bomb = new List<byte[]> { H2.Settings((SettingId.InitialWindowSize, 0u)) };
        for (uint id = 1; id < 2 * Streams; id += 2)
            bomb.Add(H2.Headers(id, id == 1 ? [.. H2.Get(), .. Indexed("bomb", new string('b', 4000))] : [.. H2.Get(), .. Enumerable.Repeat((byte)0xBE, 14)]));
        plane.ExpectStat("http.http.downstream_cx_http2_active", Clients);
        plane.Loop.Settle();
        long before = memory.GrownBytes;
        memory.GrowthMax = before + Share;
        try
        {
            foreach (var client in clients)
                client.Send([.. bomb]);
            // The request with which the share was used up counts as both: it had begun.
            plane.Loop.Until(() => plane.Stat("http.http.downstream_rq_total") + plane.Stat("http.http.downstream_rq_overload_close") == Clients * Streams + 1);
            Assert.InRange(memory.GrownBytes - before, Share, Share + OneHeadAndRoomToAnswer);
            Assert.InRange(plane.Stat("http.http.downstream_rq_total"), 1, Clients * Streams / 10);
        }
        finally
        {
            memory.GrowthMax = long.MaxValue;
        }
    }

    private static byte[] Indexed(string name, string value)
    {
        var block = new List<byte> { 0x40 };
        H2.String(block, name);
        H2.String(block, value);
        return [.. block];
    }

    // What earlier tests on this thread needed would hide what is new: two periods without need let go of it.
    private static void GiveAllBack(ThreadMemory memory)
    {
        for (int periods = 0; periods < 2; periods++)
        {
            while (!memory.GiveBack(isTight: true))
            {
            }
        }
    }

    [Fact]
    public void KeepAlive_EndsWithTheResponse()
    {
        using var plane = Answering();
        plane.Scope.Overload.Set(0, 1, 0, false);
        var client = plane.Connect();
        client.Send(Get);
        Assert.Contains("connection: close\r\n", plane.ExpectEnd(client));
        var h2 = new H2Wire(plane, plane.Connect(), isServer: false);
        h2.Send(H2.Headers(1, H2.Get()));
        h2.Expect(FrameType.GoAway, 0);
        h2.ExpectEnd(1);
        Assert.Equal(2, plane.Stat("http.http.downstream_cx_overload_disable_keepalive"));
    }

    [Fact]
    public void Accepting_Stops_AndGoesOn()
    {
        using var plane = Answering();
        plane.Scope.Overload.Set(0, 0, 0, true);
        plane.Listeners.SetAccepting();
        var client = plane.Connect();
        client.Send(Get);
        plane.Loop.Settle();
        Assert.Equal(0, plane.Listeners.ActiveConnections);
        plane.Scope.Overload.Set(0, 0, 0, false);
        plane.Listeners.SetAccepting();
        plane.Expect(client, "200 OK");
    }

    [Fact]
    public void Connection_IsRejected_AndItsPlaceGivenBack()
    {
        using var plane = Answering();
        plane.Scope.Overload.Set(0, 0, 1, false);
        Assert.Equal("", plane.ExpectEnd(plane.Connect()));
        var listener = plane.Snapshot.Listeners.Single();
        Assert.Equal(1, listener.Stats.Sum(Sidecar.Filters.ListenerStats.CxOverloadReject));
        Assert.Equal(0, listener.Stats.Sum(Sidecar.Filters.ListenerStats.CxTotal));
        Assert.Equal(0, plane.Listeners.Find("http")!.Sockets[0].Limit!.Active);
    }

    [Fact]
    public void ListenerThatBypasses_Serves()
    {
        using var plane = Answering(listener: """ "bypass_overload_manager": true """);
        plane.Scope.Overload.Set(1, 1, 1, true);
        plane.Listeners.SetAccepting();
        Assert.DoesNotContain("close", plane.Exchange(plane.Connect(), Get, "200 OK"));
    }

    [Fact]
    public void LargestStreams_AreReset_SmallOnesAndOtherConnectionsStay()
    {
        using var plane = Answering();
        var large = new H2Wire(plane, plane.Connect(), isServer: false);
        var small = new H2Wire(plane, plane.Connect(), isServer: false);
        // A window of nothing keeps the answers, and with them the requests.
        foreach (var client in new[] { large, small })
            client.Send(H2.Settings((SettingId.InitialWindowSize, 0u)));
        string value = new('v', 15_000);
        foreach (uint id in new uint[] { 1, 3, 5 })
            large.Send(H2.Headers(id, H2.Get(("big", value))));
        large.Send(H2.Headers(7, H2.Get()));
        small.Send(H2.Headers(1, H2.Get()));
        plane.Loop.Until(() => plane.Stat("http.http.downstream_rq_active") == 5);

        Assert.Equal(2, plane.Listeners.ReleaseMemory(20_000, 12_000, 100));
        large.Expect(FrameType.RstStream, 5);
        large.Expect(FrameType.RstStream, 3);
        Assert.Equal(3, plane.Stat("http.http.downstream_rq_active"));
        Assert.Equal(2, plane.Stat("http.http.downstream_rq_tx_reset"));

        Assert.Equal(1, plane.Listeners.ReleaseMemory(1_000_000, 12_000, 100));
        Assert.Equal(0, plane.Listeners.ReleaseMemory(1_000_000, 12_000, 100));
        foreach (var (client, stream) in new[] { (large, 7u), (small, 1u) })
        {
            client.Send(H2.WindowUpdate(stream, 100));
            client.ExpectEnd(stream);
        }
        Assert.DoesNotContain(small.Frames, frame => frame.Type == FrameType.RstStream);
    }

    [Fact]
    public void PeerThatDoesNotRead_LosesItsConnection()
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        var client = plane.Connect();
        client.Send(Get);
        var server = upstream.Accept();
        plane.Expect(server, "\r\n\r\n");
        server.Send($"HTTP/1.1 200 OK\r\ncontent-length: 50000000\r\n\r\n");
        byte[] body = new byte[64 * 1024];
        plane.Loop.Until(() =>
        {
            server.TrySend(body);
            return plane.Listeners.ReleaseMemory(1, 16_384, 100) == 1;
        });
        plane.Loop.Settle();
        Assert.Equal(0, plane.Listeners.ActiveConnections);
    }
}
