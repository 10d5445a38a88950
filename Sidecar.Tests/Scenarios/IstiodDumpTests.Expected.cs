namespace Sidecar.Tests.Scenarios;

public sealed partial class IstiodDumpTests
{
    // Parts of paths, for the length of lines.
    private const string Hcm = "filter_chains[].filters[].typed_config.<HttpConnectionManager>";
    private const string Upstream = "transport_socket_matches[].transport_socket.typed_config.<UpstreamTlsContext>.common_tls_context";
    private const string Downstream = "filter_chains[].transport_socket.typed_config.<DownstreamTlsContext>.common_tls_context";
    private const string Roots = "combined_validation_context.validation_context_sds_secret_config.sds_config";
    private const string Own = "tls_certificate_sds_secret_configs[].sds_config";

    /// <summary>Where something has no effect, and how often in each of the dumps, in their order. What gets an effect goes from here.</summary>
    private static readonly (string Path, int[] Counts)[] s_withoutEffect =
    [
        ("cluster: filters[] (istio.metadata_exchange)", [7, 7, 13, 13, 1, 0]),
        ("cluster: filters[].typed_config.<MetadataExchange>", [0, 0, 0, 0, 1, 0]),
        ("cluster: filters[].typed_config.<TypedStruct>.<MetadataExchange>", [7, 7, 13, 13, 0, 0]),
        ("cluster: outlier_detection", [0, 0, 9, 9, 0, 0]),
        ("endpoints of cluster: endpoints[].lb_endpoints[].endpoint.health_check_config", [0, 0, 0, 0, 0, 34]),
        ("listener: access_log", [2, 2, 2, 2, 0, 0]),
        ("listener: access_log[].typed_config.<FileAccessLog>", [2, 2, 2, 2, 0, 0]),
        ("listener: default_filter_chain.filter_chain_match", [3, 3, 3, 3, 0, 0]),
        ("listener: default_filter_chain.filters[].typed_config.<TcpProxy>.access_log[].typed_config.<FileAccessLog>", [3, 3, 3, 3, 0, 0]),
        ("listener: default_filter_chain.filters[].typed_config.access_log", [3, 3, 3, 3, 0, 0]),
        ("listener: filter_chains[].filters[] (istio.metadata_exchange)", [6, 13, 3, 6, 0, 0]),
        ($"listener: {Hcm}.access_log", [5, 9, 4, 6, 0, 0]),
        ($"listener: {Hcm}.http_filters[].typed_config.<FilterConfig>", [5, 9, 4, 6, 0, 0]),
        ($"listener: {Hcm}.http_filters[].typed_config.<TypedStruct>.<Config>", [5, 9, 4, 6, 0, 0]),
        ($"listener: {Hcm}.request_id_extension", [5, 9, 4, 6, 0, 0]),
        ($"listener: {Hcm}.tracing", [5, 9, 4, 6, 0, 0]),
        ("listener: filter_chains[].filters[].typed_config.<TcpProxy>.access_log[].typed_config.<FileAccessLog>", [6, 9, 4, 5, 0, 0]),
        ("listener: filter_chains[].filters[].typed_config.<TypedStruct>.<MetadataExchange>", [6, 13, 3, 6, 0, 0]),
        ("listener: filter_chains[].filters[].typed_config.access_log", [6, 9, 4, 5, 0, 0]),
        ("listener: filter_chains[].filters[].typed_config.http_filters[] (envoy.filters.http.grpc_stats)", [5, 9, 4, 6, 0, 0]),
        ("listener: filter_chains[].filters[].typed_config.http_filters[] (istio.metadata_exchange)", [5, 9, 4, 6, 0, 0]),
        ("listener: filter_chains[].filters[].typed_config.route_config.virtual_hosts[].routes[].decorator", [2, 6, 1, 3, 0, 0]),
        ("listener: listener_filters[].typed_config.<TlsInspector>.initial_read_buffer_size", [1, 1, 1, 1, 0, 0]),
        ("route configuration: virtual_hosts[].routes[].decorator", [3, 3, 3, 3, 1, 0]),
        ("route configuration: virtual_hosts[].routes[].metadata", [0, 0, 3, 3, 1, 0]),
        ("route configuration: virtual_hosts[].routes[].route.retry_policy.retry_host_predicate[].typed_config.<PreviousHostsPredicate>", [4, 4, 8, 8, 0, 0]),
    ];
}
