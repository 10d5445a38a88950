"""The configuration of Sidecar and of Envoy: one document for both."""


def endpoint(port, address="127.0.0.1"):
    return {"endpoint": {"address": {"socket_address": {"address": address, "port_value": port}}}}


def cluster(name, port, h2, address="127.0.0.1"):
    document = {
        "name": name, "type": "STATIC", "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [{"max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000, "max_retries": 100000}]},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint(port, address)]}]},
    }
    if h2:
        document["typed_extension_protocol_options"] = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}}}}
    return document


def bootstrap(route, port, admin):
    """One listener, one route, one cluster; extra routes and clusters where the scenario asks for them."""
    if route.up == "tcp":
        filters = [{"name": "envoy.filters.network.tcp_proxy", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "bulk", "cluster": "backend"}}]
    else:
        hosts = [{"name": f"other{i}", "domains": [f"other{i}.example"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "backend"}}]}
                 for i in range(route.extra.get("other_routes", 0))]
        hosts.append({"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "backend", "timeout": "15s"}}]})
        filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "perf", "codec_type": "HTTP2" if route.down == "h2" else "HTTP1", "stream_idle_timeout": "300s", "request_timeout": "300s",
            "http2_protocol_options": {"max_concurrent_streams": 1000},
            "route_config": {"name": "all", "virtual_hosts": hosts},
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}]
    chain = {"filters": filters}
    if certificates := route.extra.get("tls"):
        context = {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext", "common_tls_context": {
            "alpn_protocols": ["h2", "http/1.1"], "tls_params": {"tls_minimum_protocol_version": "TLSv1_3"},
            "tls_certificates": [{"certificate_chain": {"filename": certificates.server + ".pem"}, "private_key": {"filename": certificates.server + ".key"}}]}}
        if route.extra.get("mutual"):
            context["require_client_certificate"] = True
            context["common_tls_context"]["validation_context"] = {
                "trusted_ca": {"filename": certificates.ca + ".pem"},
                "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"prefix": "spiffe://cluster.local/"}}]}
        chain["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": context}
    clusters = [cluster("backend", route.upstream_port, route.up == "h2", route.upstream_address)]
    if certificates := route.extra.get("upstream_tls"):
        clusters[0]["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", "sni": "localhost", "common_tls_context": {
                "alpn_protocols": ["h2" if route.up == "h2" else "http/1.1"], "tls_params": {"tls_minimum_protocol_version": "TLSv1_3"},
                "tls_certificates": [{"certificate_chain": {"filename": certificates.client + ".pem"}, "private_key": {"filename": certificates.client + ".key"}}],
                "validation_context": {
                    "trusted_ca": {"filename": certificates.ca + ".pem"},
                    "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": "localhost"}}]}}}}
    clusters += [cluster(f"other{i}", route.upstream_port, False) for i in range(route.extra.get("other_clusters", 0))]
    listener = {"name": "perf", "address": {"socket_address": {"address": route.address, "port_value": port}}, "filter_chains": [chain]}
    if route.extra.get("captured"):
        listener["listener_filters"] = [{"name": "envoy.filters.listener.original_dst", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst"}}]
    return {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}},
        "static_resources": {
            "listeners": [listener],
            "clusters": clusters,
        },
    }
