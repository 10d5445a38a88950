using System;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;
using System.Text.Json.Nodes;

namespace Sidecar.Tests.Harness;

/// <summary>
/// Builds a v3 config dump for one test: listeners, clusters, route configurations and endpoints, with only what the test
/// names. Every method returns the builder; <see cref="ToString"/> is the file's text.
/// </summary>
internal sealed class TestSnapshot
{
    private const string Ads = """{"ads": {}}""";

    private const string RouterFilter =
        """{"name": "envoy.filters.http.router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}""";

    private readonly SortedDictionary<string, JsonObject> _listeners = new(StringComparer.Ordinal);
    private readonly SortedDictionary<string, JsonObject> _clusters = new(StringComparer.Ordinal);
    private readonly SortedDictionary<string, JsonObject> _routes = new(StringComparer.Ordinal);
    private readonly SortedDictionary<string, JsonObject> _endpoints = new(StringComparer.Ordinal);
    private readonly SortedDictionary<string, JsonObject> _secrets = new(StringComparer.Ordinal);

    /// <summary>An HTTP listener on loopback with inline routes.</summary>
    /// <param name="routes">Routes of one virtual host for every domain, as JSON objects joined by commas; see <see cref="To"/> and <see cref="Answer"/>.</param>
    /// <param name="more">Fields of the HTTP connection manager besides, as JSON members.</param>
    internal TestSnapshot Http(string name, int port, string routes, string more = "") =>
        HttpConnectionManager(name, port, Fill("""
            "route_config": {"name": "$name", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [$routes]}]}
            """, ("name", name), ("routes", routes)), more);

    /// <summary>An HTTP listener on loopback that takes its routes by name (<see cref="Routes"/>).</summary>
    /// <param name="source">The ConfigSource of the routes.</param>
    internal TestSnapshot HttpByName(string name, int port, string routeConfig, string more = "", string source = Ads) =>
        HttpConnectionManager(name, port, Fill("""
            "rds": {"config_source": $source, "route_config_name": "$config"}
            """, ("config", routeConfig), ("source", source)), more);

    /// <summary>A TCP listener on loopback to one cluster.</summary>
    internal TestSnapshot Tcp(string name, int port, string cluster, string more = "") =>
        Listener(name, port, Fill("""
            {"name": "envoy.filters.network.tcp_proxy", "typed_config": {
             "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "$name", "cluster": "$cluster" $more}}
            """, ("name", name), ("cluster", cluster), ("more", Appended(more))));

    /// <summary>A listener on loopback with one filter chain of the given filters.</summary>
    internal TestSnapshot Listener(string name, int port, string filters)
    {
        _listeners[name] = Object("""
            {"name": "$name", "active_state": {"listener": {"@type": "type.googleapis.com/envoy.config.listener.v3.Listener", "name": "$name",
             "address": {"socket_address": {"address": "127.0.0.1", "port_value": $port}}, "filter_chains": [{"filters": [$filters]}]}}}
            """, ("name", name), ("port", Text(port)), ("filters", filters));
        return this;
    }

    /// <summary>A listener on loopback of the given members, in which $tcp is a TCP proxy to the cluster "up".</summary>
    internal TestSnapshot Raw(string name, int port, string members)
    {
        string proxy = """
            {"name": "envoy.filters.network.tcp_proxy", "typed_config": {
             "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "tcp", "cluster": "up"}}
            """;
        _listeners[name] = Object("""
            {"name": "$name", "active_state": {"listener": {"@type": "type.googleapis.com/envoy.config.listener.v3.Listener", "name": "$name",
             "address": {"socket_address": {"address": "127.0.0.1", "port_value": $port}}, $members}}}
            """, ("name", name), ("port", Text(port)), ("members", members.Replace("$tcp", proxy, StringComparison.Ordinal)));
        return this;
    }

    /// <summary>Has a listener's chains terminate TLS.</summary>
    /// <param name="context">Members of a DownstreamTlsContext.</param>
    internal TestSnapshot Tls(string name, string context)
    {
        foreach (var chain in _listeners[name]["active_state"]!["listener"]!["filter_chains"]!.AsArray())
        {
            chain!["transport_socket"] = Object("""
                {"name": "envoy.transport_sockets.tls", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext", $context}}
                """, ("context", context));
        }
        return this;
    }

    /// <summary>An HTTP filter before those that a listener's connection managers have, as a JSON object.</summary>
    internal TestSnapshot WithHttpFilter(string name, string filter)
    {
        foreach (var chain in _listeners[name]["active_state"]!["listener"]!["filter_chains"]!.AsArray())
            chain!["filters"]!.AsArray()[^1]!["typed_config"]!["http_filters"]!.AsArray().Insert(0, JsonNode.Parse(filter));
        return this;
    }

    /// <summary>A network filter before those of a listener's chains, as a JSON object.</summary>
    internal TestSnapshot WithNetworkFilter(string name, string filter)
    {
        foreach (var chain in _listeners[name]["active_state"]!["listener"]!["filter_chains"]!.AsArray())
            chain!["filters"]!.AsArray().Insert(0, JsonNode.Parse(filter));
        return this;
    }

    /// <summary>Fields of a listener that is there besides, as JSON members.</summary>
    internal TestSnapshot WithListener(string name, string members)
    {
        var listener = _listeners[name]["active_state"]!["listener"]!;
        foreach (var (field, value) in Object("{" + members + "}"))
            listener[field] = value?.DeepClone();
        return this;
    }

    /// <summary>A STATIC cluster of loopback ports.</summary>
    internal TestSnapshot Cluster(string name, bool http2, params int[] ports) => Cluster(name, http2, "", ports);

    /// <inheritdoc cref="Cluster(string, bool, int[])"/>
    /// <param name="more">Fields of the cluster besides, as JSON members.</param>
    internal TestSnapshot Cluster(string name, bool http2, string more, params int[] ports)
    {
        _clusters[name] = Object("""
            {"cluster": {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "$name", "type": "STATIC", "connect_timeout": "5s" $protocol $more,
             "load_assignment": {"cluster_name": "$name", "endpoints": [{"lb_endpoints": [$endpoints]}]}}}
            """, ("name", name), ("protocol", Protocol(http2)), ("more", Appended(more)), ("endpoints", Endpoints(ports)));
        return this;
    }

    /// <summary>An EDS cluster and its endpoints.</summary>
    internal TestSnapshot EdsCluster(string name, bool http2, params int[] ports)
    {
        _clusters[name] = Object("""
            {"cluster": {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "$name", "type": "EDS", "connect_timeout": "5s" $protocol,
             "eds_cluster_config": {"eds_config": {"ads": {}}, "service_name": "$name"}}}
            """, ("name", name), ("protocol", Protocol(http2)));
        _endpoints[name] = Object("""
            {"endpoint_config": {"@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment", "cluster_name": "$name",
             "endpoints": [{"lb_endpoints": [$endpoints]}]}}
            """, ("name", name), ("endpoints", Endpoints(ports)));
        return this;
    }

    /// <summary>An EDS cluster whose endpoints have a name of their own, and are not there.</summary>
    /// <param name="source">The ConfigSource of the endpoints.</param>
    internal TestSnapshot EdsCluster(string name, string serviceName, string source = Ads)
    {
        _clusters[name] = Object("""
            {"cluster": {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "$name", "type": "EDS", "connect_timeout": "5s",
             "eds_cluster_config": {"eds_config": $source, "service_name": "$service"}}}
            """, ("name", name), ("service", serviceName), ("source", source));
        return this;
    }

    /// <summary>Endpoints alone.</summary>
    internal TestSnapshot Assignment(string serviceName, params int[] ports)
    {
        _endpoints[serviceName] = Object("""
            {"endpoint_config": {"@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment", "cluster_name": "$name",
             "endpoints": [{"lb_endpoints": [$endpoints]}]}}
            """, ("name", serviceName), ("endpoints", Endpoints(ports)));
        return this;
    }

    /// <summary>A route configuration for <see cref="HttpByName"/>.</summary>
    internal TestSnapshot Routes(string name, string routes)
    {
        _routes[name] = Object("""
            {"route_config": {"@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", "name": "$name",
             "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [$routes]}]}}
            """, ("name", name), ("routes", routes));
        return this;
    }

    /// <summary>A secret.</summary>
    /// <param name="content">Its members besides the name; see <see cref="TestCert.Secret"/>.</param>
    internal TestSnapshot Secret(string name, string content)
    {
        _secrets[name] = Object("""
            {"name": "$name", "secret": {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret", "name": "$name", $content}}
            """, ("name", name), ("content", content));
        return this;
    }

    /// <summary>A STATIC HTTP/2 cluster of a Unix socket.</summary>
    internal TestSnapshot PipeCluster(string name, string path)
    {
        Cluster(name, http2: true, 1);
        _clusters[name]["cluster"]!["load_assignment"]!["endpoints"]![0]!["lb_endpoints"]![0]!["endpoint"]!["address"] = Object("""{"pipe": {"path": "$path"}}""", ("path", path));
        return this;
    }

    /// <summary>Members of a CommonTlsContext that takes its certificate, and the authorities it believes, as Istio's do: secrets <c>default</c> and <c>ROOTCA</c>.</summary>
    /// <param name="source">The ConfigSource of both.</param>
    /// <param name="sans">match_typed_subject_alt_names' members.</param>
    internal static string SdsContext(string source, string sans = "") => Fill("""
        "common_tls_context": {"tls_certificate_sds_secret_configs": [{"name": "default", "sds_config": $source}],
         "combined_validation_context": {"default_validation_context": {"match_typed_subject_alt_names": [$sans]},
          "validation_context_sds_secret_config": {"name": "ROOTCA", "sds_config": $source}}}
        """, ("source", source), ("sans", sans));

    /// <summary>A ConfigSource as Istio's agent is asked: a gRPC stream to a cluster.</summary>
    internal static string GrpcSource(string cluster, bool delta = false, string timeout = "0s") => Fill("""
        {"api_config_source": {"api_type": "$type", "set_node_on_first_message_only": true, "transport_api_version": "V3",
         "grpc_services": [{"envoy_grpc": {"cluster_name": "$cluster"}}]}, "initial_fetch_timeout": "$timeout", "resource_api_version": "V3"}
        """, ("type", delta ? "DELTA_GRPC" : "GRPC"), ("cluster", cluster), ("timeout", timeout));

    /// <summary>A route for every path to a cluster.</summary>
    internal static string To(string cluster, string more = "") =>
        Fill("""{"match": {"prefix": "/"}, "route": {"cluster": "$cluster" $more}}""", ("cluster", cluster), ("more", Appended(more)));

    /// <summary>A route for a path prefix that answers by itself.</summary>
    internal static string Answer(string body, string prefix = "/", int status = 200) =>
        Fill("""{"match": {"prefix": "$prefix"}, "direct_response": {"status": $status, "body": {"inline_string": "$body"}}}""",
            ("prefix", prefix), ("status", Text(status)), ("body", body));

    public override string ToString() => new JsonObject
    {
        ["configs"] = new JsonArray(
            Section("ClustersConfigDump", "dynamic_active_clusters", _clusters),
            Section("ListenersConfigDump", "dynamic_listeners", _listeners),
            Section("RoutesConfigDump", "dynamic_route_configs", _routes),
            Section("EndpointsConfigDump", "dynamic_endpoint_configs", _endpoints),
            Section("SecretsConfigDump", "dynamic_active_secrets", _secrets)),
    }.ToJsonString();

    private TestSnapshot HttpConnectionManager(string name, int port, string routing, string more) =>
        Listener(name, port, Fill("""
            {"name": "envoy.filters.network.http_connection_manager", "typed_config": {
             "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
             "stat_prefix": "$name", $routing, "http_filters": [$router] $more}}
            """, ("name", name), ("routing", routing), ("router", RouterFilter), ("more", Appended(more))));

    private static JsonObject Section(string type, string field, SortedDictionary<string, JsonObject> resources) => new()
    {
        ["@type"] = "type.googleapis.com/envoy.admin.v3." + type,
        [field] = new JsonArray([.. resources.Values.Select(resource => resource.DeepClone())]),
    };

    private static string Endpoints(int[] ports) =>
        string.Join(',', ports.Select(port => Fill("""{"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": $port}}}}""", ("port", Text(port)))));

    private static string Protocol(bool http2) => http2 ? """, "http2_protocol_options": {}""" : "";

    private static string Appended(string members) => members.Length == 0 ? "" : ", " + members;

    private static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);

    private static JsonObject Object(string template, params (string Name, string Value)[] values) => JsonNode.Parse(Fill(template, values))!.AsObject();

    // JSON and interpolation both want braces, so a hole is a $name. Values are filled in one pass: none is looked at again.
    internal static string Fill(string template, params (string Name, string Value)[] values) =>
        System.Text.RegularExpressions.Regex.Replace(template, @"\$(\w+)", hole => values.Single(value => value.Name == hole.Groups[1].Value).Value);
}
