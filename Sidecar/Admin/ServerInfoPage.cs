using System;
using System.Buffers;
using System.Text.Json;
using Sidecar.Linux;
using Sidecar.Server;

namespace Sidecar.Admin;

/// <summary>/server_info, /memory and the state's name, as Envoy prints them.</summary>
internal static class ServerInfoPage
{
    /// <summary>LIVE, DRAINING, PRE_INITIALIZING or INITIALIZING.</summary>
    internal static string StateName(ProxyServer server) => server.State switch
    {
        ServerState.Live when !server.IsHealthy || server.IsDraining => "DRAINING",
        ServerState.Live => "LIVE",
        ServerState.Draining => "DRAINING",
        ServerState.Initializing => "INITIALIZING",
        _ => "PRE_INITIALIZING",
    };

    internal static AdminResponse Info(ProxyServer server)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true, IndentSize = 1 }))
        {
            json.WriteStartObject();
            json.WriteString("version", "sidecar/" + ProductVersion.Text);
            json.WriteString("state", StateName(server));
            json.WriteString("hot_restart_version", "disabled");
            long uptime = (server.Loop.NowMs - server.StartMs) / 1000;
            json.WriteString("uptime_current_epoch", uptime + "s");
            json.WriteString("uptime_all_epochs", uptime + "s");
            json.WriteStartObject("command_line_options");
            json.WriteNumber("concurrency", server.Options.Concurrency);
            json.WriteString("config_path", server.Options.BootstrapPath ?? server.Options.SnapshotPath);
            json.WriteString("drain_time", server.Options.DrainTimeMs / 1000 + "s");
            json.WriteString("log_level", Telemetry.Log.Name(Telemetry.Log.Level));
            json.WriteEndObject();
            json.WriteEndObject();
        }
        return AdminResponse.Json(buffer.WrittenSpan.ToArray());
    }

    internal static AdminResponse Memory(ProxyServer server)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true, IndentSize = 1 }))
        {
            // Envoy's fields, of a heap that is managed: pages of it that hold no object, and what slabs and pools of the threads have ready.
            long objects = GC.GetTotalMemory(false);
            long heap = Math.Max(GC.GetGCMemoryInfo(GCKind.Any).TotalCommittedBytes, objects);
            server.Overload.SumUp();
            json.WriteStartObject();
            json.WriteString("allocated", objects.ToString());
            json.WriteString("heap_size", heap.ToString());
            json.WriteString("pageheap_unmapped", "0");
            json.WriteString("pageheap_free", (heap - objects).ToString());
            json.WriteString("total_thread_cache", server.Overload.FreeBytes.ToString());
            json.WriteString("total_physical_bytes", Process.ResidentBytes.ToString());
            json.WriteString("budget", server.Overload.BudgetBytes.ToString());
            json.WriteString("held_by_threads", server.Overload.HeldBytes.ToString());
            json.WriteString("total_allocated", GC.GetTotalAllocatedBytes().ToString());
            json.WriteNumber("gc_collections", GC.CollectionCount(0));
            json.WriteEndObject();
        }
        return AdminResponse.Json(buffer.WrittenSpan.ToArray());
    }
}
