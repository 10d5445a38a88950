using System.Text;
using Sidecar.Config;
using Sidecar.Net;
using Sidecar.Wire;

namespace Sidecar.Server;

/// <summary>
/// What an Istio bootstrap has besides the mesh: the readiness listener (15021 <c>/healthz/ready</c>) and the metrics listener
/// (15090 <c>/stats/prometheus</c>), both in front of the admin pages. With a snapshot, which has no bootstrap, they are added here as
/// ordinary resources, so they run on the workers and prove the data path.
/// </summary>
internal static class BuiltInListeners
{
    internal const string AdminCluster = "sidecar_admin";
    internal const string Source = "(built in)";

    /// <summary>Adds them to a set that does not use their names or ports.</summary>
    internal static void AddTo(ResourceSet set, ServerOptions options)
    {
        var admin = options.AdminAddress ?? DefaultAdmin;
        if (!admin.IsIp || options.ReadinessAddress is null && options.PrometheusAddress is null)
            return;
        string listeners = string.Join(",", Listener(options.PrometheusAddress, "stats", "/stats/prometheus"), Listener(options.ReadinessAddress, "agent", "/healthz/ready")).Trim(',');
        string json = $$$"""
            {"static_resources": {
              "clusters": [{"name": "{{{AdminCluster}}}", "type": "STATIC", "connect_timeout": "1s", "load_assignment": {"cluster_name": "{{{AdminCluster}}}",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": "{{{admin.HostString()}}}", "port_value": {{{admin.Port}}} } } } }] }] } }],
              "listeners": [{{{listeners}}}]
            } }
            """;
        foreach (var resource in ResourceReader.ReadDocument(Encoding.UTF8.GetBytes(json), Source).Resources)
        {
            if (!set.Resources.Exists(r => r.TypeUrl == resource.TypeUrl && r.Name == resource.Name))
                set.Resources.Add(resource);
        }
    }

    internal static Address DefaultAdmin => Address.Loopback(15000);

    private static string Listener(Address? address, string statPrefix, string path) => address is not { IsIp: true } ip ? "" : $$$"""
        {"name": "{{{ip.HostString()}}}_{{{ip.Port}}}", "address": {"socket_address": {"address": "{{{ip.HostString()}}}", "port_value": {{{ip.Port}}} } }, "ignore_global_conn_limit": true, "bypass_overload_manager": true,
         "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": {
           "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "{{{statPrefix}}}",
           "route_config": {"virtual_hosts": [{"name": "backend", "domains": ["*"], "routes": [{"match": {"path": "{{{path}}}"}, "route": {"cluster": "{{{AdminCluster}}}"} }] }] },
           "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"} }] } }] }] }
        """;
}
