using System;
using System.Buffers;
using System.Collections.Generic;
using System.Text;
using System.Text.Json;
using Sidecar.Server;
using Sidecar.Upstream;
using Sidecar.Wire;

namespace Sidecar.Admin;

/// <summary>/clusters: per cluster its limits, per host its counts; text, or JSON (envoy.admin.v3.Clusters) with <c>?format=json</c>.</summary>
internal static class ClustersPage
{
    private sealed record View(ClusterConfig Config, List<Host> Hosts, bool IsDynamic);

    internal static void Answer(ProxyServer server, AdminRequest request, Action<AdminResponse> answer)
    {
        // Original destinations are known to one worker each, the other hosts to the control loop.
        server.AskWorkers(worker =>
        {
            var destinations = new Dictionary<string, List<Host>>();
            foreach (var (config, _, cluster) in worker.Clusters.All)
            {
                if (cluster is not null && config!.Type == DiscoveryType.OriginalDst)
                    destinations.Add(config.Name, [.. cluster.Destinations()]);
            }
            return destinations;
        }, answers =>
        {
            var views = new List<View>();
            foreach (var config in server.Snapshot.ClustersInUse)
            {
                var hosts = new List<Host>();
                foreach (var priority in server.Config.HostsOf(config).Priorities)
                    hosts.AddRange(priority.Hosts);
                foreach (var destinations in answers)
                    hosts.AddRange(destinations.GetValueOrDefault(config.Name) ?? []);
                views.Add(new View(config, hosts, server.Snapshot.Find(ResourceTypes.Cluster, config.Name) is { IsStatic: false }));
            }
            answer(request.Param("format") == "json" ? Json(views) : Text(views));
        });
    }

    private static AdminResponse Text(List<View> views)
    {
        var text = new StringBuilder();
        foreach (var (config, hosts, isDynamic) in views)
        {
            string name = config.Name;
            text.Append(name).Append("::observability_name::").Append(config.StatName).Append('\n');
            Limits(text, name, "default_priority", config.Breakers.Default);
            Limits(text, name, "high_priority", config.Breakers.HighPriority);
            text.Append(name).Append("::added_via_api::").Append(isDynamic ? "true" : "false").Append('\n');
            foreach (var host in hosts)
            {
                var sum = host.Sum();
                string line = name + "::" + host.Name + "::";
                text.Append(line).Append("cx_active::").Append(sum.CxActive).Append('\n');
                text.Append(line).Append("cx_connect_fail::").Append(sum.CxConnectFail).Append('\n');
                text.Append(line).Append("cx_total::").Append(sum.CxTotal).Append('\n');
                text.Append(line).Append("rq_active::").Append(sum.RqActive).Append('\n');
                text.Append(line).Append("rq_error::").Append(sum.RqError).Append('\n');
                text.Append(line).Append("rq_success::").Append(sum.RqSuccess).Append('\n');
                text.Append(line).Append("rq_timeout::").Append(sum.RqTimeout).Append('\n');
                text.Append(line).Append("rq_total::").Append(sum.RqTotal).Append('\n');
                text.Append(line).Append("hostname::").Append(host.Hostname).Append('\n');
                text.Append(line).Append("health_flags::").Append(host.HealthText()).Append('\n');
                text.Append(line).Append("weight::").Append(host.Weight).Append('\n');
                text.Append(line).Append("region::").Append(host.Locality.Region).Append('\n');
                text.Append(line).Append("zone::").Append(host.Locality.Zone).Append('\n');
                text.Append(line).Append("sub_zone::").Append(host.Locality.SubZone).Append('\n');
                text.Append(line).Append("canary::false\n");
                text.Append(line).Append("priority::").Append(host.Priority).Append('\n');
                text.Append(line).Append("success_rate::-1\n");
                text.Append(line).Append("local_origin_success_rate::-1\n");
            }
        }
        return AdminResponse.Text(text.ToString());
    }

    private static void Limits(StringBuilder text, string name, string priority, CircuitBreakerThresholds limits)
    {
        text.Append(name).Append("::").Append(priority).Append("::max_connections::").Append(limits.MaxConnections).Append('\n');
        text.Append(name).Append("::").Append(priority).Append("::max_pending_requests::").Append(limits.MaxPendingRequests).Append('\n');
        text.Append(name).Append("::").Append(priority).Append("::max_requests::").Append(limits.MaxRequests).Append('\n');
        text.Append(name).Append("::").Append(priority).Append("::max_retries::").Append(limits.MaxRetries).Append('\n');
    }

    private static AdminResponse Json(List<View> views)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true, IndentSize = 1 }))
        {
            json.WriteStartObject();
            json.WriteStartArray("cluster_statuses");
            foreach (var (config, hosts, isDynamic) in views)
            {
                json.WriteStartObject();
                json.WriteString("name", config.Name);
                json.WriteBoolean("added_via_api", isDynamic);
                json.WriteStartArray("host_statuses");
                foreach (var host in hosts)
                    WriteHost(json, host);
                json.WriteEndArray();
                json.WriteString("observability_name", config.StatName);
                json.WriteEndObject();
            }
            json.WriteEndArray();
            json.WriteEndObject();
        }
        return AdminResponse.Json(buffer.WrittenSpan.ToArray());
    }

    private static void WriteHost(Utf8JsonWriter json, Host host)
    {
        var sum = host.Sum();
        json.WriteStartObject();
        json.WritePropertyName("address");
        ListenersPage.WriteAddress(json, host.Address);
        json.WriteStartArray("stats");
        Stat("cx_connect_fail", sum.CxConnectFail, gauge: false);
        Stat("cx_total", sum.CxTotal, gauge: false);
        Stat("rq_error", sum.RqError, gauge: false);
        Stat("rq_success", sum.RqSuccess, gauge: false);
        Stat("rq_timeout", sum.RqTimeout, gauge: false);
        Stat("rq_total", sum.RqTotal, gauge: false);
        Stat("cx_active", sum.CxActive, gauge: true);
        Stat("rq_active", sum.RqActive, gauge: true);
        json.WriteEndArray();
        json.WriteStartObject("health_status");
        json.WriteString("eds_health_status", host.EdsHealth switch
        {
            EdsHealth.Unhealthy => "UNHEALTHY",
            EdsHealth.Draining => "DRAINING",
            EdsHealth.Timeout => "TIMEOUT",
            EdsHealth.Degraded => "DEGRADED",
            _ => "HEALTHY",
        });
        json.WriteEndObject();
        json.WriteNumber("weight", host.Weight);
        if (host.Hostname.Length > 0)
            json.WriteString("hostname", host.Hostname);
        json.WriteNumber("priority", host.Priority);
        json.WriteStartObject("locality");
        json.WriteString("region", host.Locality.Region);
        json.WriteString("zone", host.Locality.Zone);
        json.WriteString("sub_zone", host.Locality.SubZone);
        json.WriteEndObject();
        json.WriteEndObject();

        void Stat(string name, long value, bool gauge)
        {
            json.WriteStartObject();
            json.WriteString("name", name);
            json.WriteString("value", value.ToString());
            if (gauge)
                json.WriteString("type", "GAUGE");
            json.WriteEndObject();
        }
    }
}
