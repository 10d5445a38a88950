using System;
using System.Collections.Generic;
using System.Text.Json;
using Sidecar.Server;
using Sidecar.Upstream;
using Sidecar.Wire;

namespace Sidecar.Admin;

/// <summary>/clusters: per cluster its limits, per host its counts; text, or JSON (envoy.admin.v3.Clusters) with <c>?format=json</c>.</summary>
/// <remarks>The clusters are those that were in use when the page was asked for; the hosts and their counts are those of the moment in which they are written.</remarks>
internal static class ClustersPage
{
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
        }, destinations =>
        {
            var walk = new Walk(server, server.Snapshot.ClustersInUse, destinations);
            answer(request.Param("format") == "json"
                ? AdminResponse.Paged("application/json", new JsonPage(walk))
                : AdminResponse.Paged("text/plain; charset=UTF-8", new TextPage(walk)));
        });
    }

    /// <summary>Cluster after cluster, and in each host after host.</summary>
    private sealed class Walk(ProxyServer server, IReadOnlyList<ClusterConfig> clusters, Dictionary<string, List<Host>>[] destinations)
    {
        private readonly List<Host> _hosts = [];
        private int _nextCluster;
        private int _nextHost;

        internal ClusterConfig Cluster => clusters[_nextCluster - 1];

        /// <summary>What is not part of the bootstrap came by an API, also when it has gone again meanwhile.</summary>
        internal bool IsDynamic => server.Snapshot.Find(ResourceTypes.Cluster, Cluster.Name) is not { IsStatic: true };

        internal bool NextCluster()
        {
            if (_nextCluster == clusters.Count)
                return false;
            _nextCluster++;
            _nextHost = 0;
            _hosts.Clear();
            foreach (var priority in server.Config.HostsOf(Cluster).Priorities)
                _hosts.AddRange(priority.Hosts);
            foreach (var ofWorker in destinations)
                _hosts.AddRange(ofWorker.GetValueOrDefault(Cluster.Name) ?? []);
            return true;
        }

        internal Host? NextHost() => _nextHost < _hosts.Count ? _hosts[_nextHost++] : null;
    }

    // ---- text ---------------------------------------------------------------------------------------------------

    private sealed class TextPage(Walk walk) : AdminPage
    {
        private bool _inCluster;

        internal override bool WriteNext(PageWriter to)
        {
            to.Step();
            if (_inCluster && walk.NextHost() is { } host)
            {
                WriteHost(to, walk.Cluster.Name, host);
                return true;
            }
            _inCluster = walk.NextCluster();
            if (_inCluster)
                WriteCluster(to, walk.Cluster, walk.IsDynamic);
            return _inCluster;
        }

        private static void WriteCluster(PageWriter to, ClusterConfig cluster, bool isDynamic)
        {
            string name = cluster.Name;
            to.Write(name).Write("::observability_name::"u8).Write(cluster.StatName).Write("\n"u8);
            WriteLimits(to, name, "::default_priority::"u8, cluster.Breakers.Default);
            WriteLimits(to, name, "::high_priority::"u8, cluster.Breakers.HighPriority);
            to.Write(name).Write("::added_via_api::"u8).Write(isDynamic ? "true\n"u8 : "false\n"u8);
        }

        private static void WriteLimits(PageWriter to, string name, ReadOnlySpan<byte> priority, CircuitBreakerThresholds limits)
        {
            to.Write(name).Write(priority).Write("max_connections::"u8).Write(limits.MaxConnections).Write("\n"u8);
            to.Write(name).Write(priority).Write("max_pending_requests::"u8).Write(limits.MaxPendingRequests).Write("\n"u8);
            to.Write(name).Write(priority).Write("max_requests::"u8).Write(limits.MaxRequests).Write("\n"u8);
            to.Write(name).Write(priority).Write("max_retries::"u8).Write(limits.MaxRetries).Write("\n"u8);
        }

        private static void WriteHost(PageWriter to, string cluster, Host host)
        {
            var sum = host.Sum();
            Row("cx_active::"u8).Write(sum.CxActive).Write("\n"u8);
            Row("cx_connect_fail::"u8).Write(sum.CxConnectFail).Write("\n"u8);
            Row("cx_total::"u8).Write(sum.CxTotal).Write("\n"u8);
            Row("rq_active::"u8).Write(sum.RqActive).Write("\n"u8);
            Row("rq_error::"u8).Write(sum.RqError).Write("\n"u8);
            Row("rq_success::"u8).Write(sum.RqSuccess).Write("\n"u8);
            Row("rq_timeout::"u8).Write(sum.RqTimeout).Write("\n"u8);
            Row("rq_total::"u8).Write(sum.RqTotal).Write("\n"u8);
            Row("hostname::"u8).Write(host.Hostname).Write("\n"u8);
            Row("health_flags::"u8).Write(host.HealthText()).Write("\n"u8);
            Row("weight::"u8).Write(host.Weight).Write("\n"u8);
            Row("region::"u8).Write(host.Locality.Region).Write("\n"u8);
            Row("zone::"u8).Write(host.Locality.Zone).Write("\n"u8);
            Row("sub_zone::"u8).Write(host.Locality.SubZone).Write("\n"u8);
            Row("canary::false\n"u8);
            Row("priority::"u8).Write(host.Priority).Write("\n"u8);
            Row("success_rate::-1\n"u8);
            Row("local_origin_success_rate::-1\n"u8);

            PageWriter Row(ReadOnlySpan<byte> stat) => to.Write(cluster).Write("::"u8).Write(host.Name).Write("::"u8).Write(stat);
        }
    }

    // ---- JSON ---------------------------------------------------------------------------------------------------

    private sealed class JsonPage(Walk walk) : AdminPage
    {
        private Utf8JsonWriter? _json;
        private bool _inCluster;

        internal override bool WriteNext(PageWriter to)
        {
            to.Step();
            if (_json is not { } json)
            {
                json = _json = new Utf8JsonWriter(to, new JsonWriterOptions { Indented = true, IndentSize = 1 });
                json.WriteStartObject();
                json.WriteStartArray("cluster_statuses");
            }
            else if (_inCluster && walk.NextHost() is { } host)
            {
                WriteHost(json, host);
            }
            else
            {
                if (_inCluster)
                    EndCluster(json, walk.Cluster);
                _inCluster = walk.NextCluster();
                if (_inCluster)
                {
                    StartCluster(json, walk.Cluster, walk.IsDynamic);
                }
                else
                {
                    json.WriteEndArray();
                    json.WriteEndObject();
                }
            }
            json.Flush();
            return json.CurrentDepth > 0;
        }

        private static void StartCluster(Utf8JsonWriter json, ClusterConfig cluster, bool isDynamic)
        {
            json.WriteStartObject();
            json.WriteString("name", cluster.Name);
            json.WriteBoolean("added_via_api", isDynamic);
            json.WriteStartArray("host_statuses");
        }

        private static void EndCluster(Utf8JsonWriter json, ClusterConfig cluster)
        {
            json.WriteEndArray();
            json.WriteString("observability_name", cluster.StatName);
            json.WriteEndObject();
        }
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
