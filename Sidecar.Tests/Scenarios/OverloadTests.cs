using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Net;
using System.Net.Sockets;
using Sidecar.Http.H2;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Scenarios;

/// <summary>An attack on the memory of the whole process: it stays within its budget, goes on serving, and has given back when it is over.</summary>
[Trait("Category", "Linux")]
[Collection(ExecutableCollection.Name)]
public sealed class OverloadTests
{
    private const long MiB = 1024 * 1024;
    private const long Budget = 64 * MiB;
    private const int Attackers = 60;
    private const int StreamsOfEach = 200;

    [SkippableFact]
    public void HpackBombsOnSixtyConnections_StayWithinTheBudget_OthersAreServed_AndMemoryComesBack()
    {
        SidecarProcess.Require();
        using var folder = new TestFolder();
        int port = FreePort.Next();
        using var sidecar = SidecarProcess.RunBootstrap(folder.Write("bootstrap.json", Bootstrap(port)));
        using (var client = new RawClient(port))
            Assert.Equal("served", client.Get("/").Body);
        long atRest = OwnBytes(sidecar);

        byte[] bomb = Bomb();
        var attackers = Enumerable.Range(0, Attackers).Select(_ => new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp)).ToList();
        foreach (var attacker in attackers)
        {
            attacker.SendTimeout = 30_000;
            attacker.Connect(IPAddress.Loopback, port);
            try
            {
                attacker.Send(bomb);
            }
            catch (SocketException)
            {
                // Sent away already.
            }
        }
        sidecar.WaitUntil(() => sidecar.Stat("overload.envoy.overload_actions.reset_high_memory_stream.count") > 0, "reset nothing");
        sidecar.WaitUntil(() => IsServed(port), "serves nobody while the attackers are connected");
        // What comes in one turn of the loop, while requests are refused already, is on top of it, and a turn is longer where the machine has other
        // work; without a budget it was twelve times as much.
        Assert.InRange(PeakBytes(sidecar) - atRest, 0, 4 * Budget);

        foreach (var attacker in attackers)
            attacker.Dispose();
        sidecar.WaitUntil(() => OwnBytes(sidecar) < atRest + 8 * MiB, "kept what the attack had needed");
        Assert.True(IsServed(port));
        Assert.True(sidecar.Stat("sidecar.memory.collections") > 0);
        Assert.Equal(0, sidecar.Stat("server.worker_faults"));
    }

    private static bool IsServed(int port)
    {
        try
        {
            using var client = new RawClient(port);
            return client.Get("/").Status == 200;
        }
        catch (Exception failure) when (failure is SocketException or EndOfStreamException)
        {
            return false;
        }
    }

    private static string Bootstrap(int port) => TestSnapshot.Fill("""
        {"node":{"id":"n","cluster":"c"},
         "overload_manager":{"refresh_interval":"0.25s",
          "resource_monitors":[{"name":"envoy.resource_monitors.fixed_heap",
           "typed_config":{"@type":"type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig","max_heap_size_bytes":$budget}}],
          "actions":[
           {"name":"envoy.overload_actions.reset_high_memory_stream","triggers":[{"name":"envoy.resource_monitors.fixed_heap","threshold":{"value":0.8}}]},
           {"name":"envoy.overload_actions.stop_accepting_requests","triggers":[{"name":"envoy.resource_monitors.fixed_heap","threshold":{"value":0.9}}]}],
          "buffer_factory_config":{"minimum_account_to_track_power_of_two":14}},
         "static_resources":{"listeners":[{"name":"in","address":{"socket_address":{"address":"127.0.0.1","port_value":$port}},
          "filter_chains":[{"filters":[{"name":"envoy.filters.network.http_connection_manager","typed_config":{
           "@type":"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager","stat_prefix":"in",
           "route_config":{"virtual_hosts":[{"name":"all","domains":["*"],"routes":[{"match":{"prefix":"/"},"direct_response":{"status":200,"body":{"inline_string":"served"}}}]}]},
           "http_filters":[{"name":"envoy.filters.http.router","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}]}]}]}}
        """, ("budget", Budget.ToString(CultureInfo.InvariantCulture)), ("port", port.ToString(CultureInfo.InvariantCulture)));

    // One field of 4,000 bytes goes into the dynamic table; each stream then names it fourteen times, a byte each (CVE-2026-47774), and has a window of
    // nothing, so that its answer and with it the request stays.
    private static byte[] Bomb()
    {
        var frames = new List<byte[]> { H2.Preface, H2.Settings((SettingId.InitialWindowSize, 0u)) };
        for (uint id = 1; id < 2 * StreamsOfEach; id += 2)
        {
            var block = new List<byte>(H2.Get());
            if (id == 1)
            {
                // A literal that is indexed (RFC 7541 section 6.2.1); 62 is its number then.
                block.Add(0x40);
                H2.String(block, "bomb");
                H2.String(block, new string('b', 4000));
            }
            else
            {
                block.AddRange(Enumerable.Repeat((byte)0xBE, 14));
            }
            frames.Add(H2.Headers(id, [.. block]));
        }
        return H2.Join([.. frames]);
    }

    private static long OwnBytes(SidecarProcess sidecar) => sidecar.StatusField("RssAnon") * 1024;

    private static long PeakBytes(SidecarProcess sidecar) => sidecar.StatusField("VmHWM") * 1024;
}
