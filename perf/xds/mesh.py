"""A generated mesh as wire bytes: clusters with endpoints by EDS, listeners with routes by RDS. No protobuf library: the few messages are written by hand."""

import struct

PREFIX = "type.googleapis.com/"
CLUSTER = PREFIX + "envoy.config.cluster.v3.Cluster"
ENDPOINTS = PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = PREFIX + "envoy.config.listener.v3.Listener"
ROUTES = PREFIX + "envoy.config.route.v3.RouteConfiguration"
MANAGER = PREFIX + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = PREFIX + "envoy.extensions.filters.http.router.v3.Router"


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(field, value):
    return varint(field << 3) + varint(value)


def message(field, *parts):
    whole = b"".join(parts)
    return varint(field << 3 | 2) + varint(len(whole)) + whole


def text(field, value):
    return message(field, value if isinstance(value, bytes) else value.encode())


def fields(data):
    """The fields of a message: (number, value), submessages as bytes."""
    at = 0

    def read():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
    while at < len(data):
        tag = read()
        if tag & 7 == 0:
            yield tag >> 3, read()
        elif tag & 7 == 2:
            length = read()
            yield tag >> 3, data[at:at + length]
            at += length
        elif tag & 7 == 5:
            yield tag >> 3, struct.unpack_from("<I", data, at)[0]
            at += 4
        else:
            yield tag >> 3, struct.unpack_from("<Q", data, at)[0]
            at += 8


def any_of(type_url, value):
    return text(1, type_url) + text(2, value)


def struct(**values):
    """google.protobuf.Struct of Values."""
    return b"".join(message(1, text(1, key), message(2, value)) for key, value in values.items())


ADS = message(3) + number(6, 2)


def service(i):
    return f"service{i}.default.svc.cluster.local"


def cluster_name(i):
    return f"outbound|80||{service(i)}"


def cluster(i, generation=0):
    """As istiod writes one, without TLS. Another generation is another configuration."""
    limits = message(1, message(2, number(1, 4294967295)), message(3, number(1, 4294967295)), message(4, number(1, 4294967295)), message(5, number(1, 4294967295)))
    one = struct(host=text(3, service(i)), name=text(3, f"service{i}"), namespace=text(3, "default"))
    metadata = message(1, text(1, "istio"), message(2, struct(services=message(6, message(1, message(5, one))))))
    return b"".join([
        text(1, cluster_name(i)), number(2, 3), message(3, message(1, ADS), text(2, cluster_name(i))), message(4, number(1, 10 + generation)),
        number(6, 1), message(10, limits), message(25, metadata)])


def endpoints(i, count, change=0):
    """`change` moves the last endpoint to another address."""
    hosts = []
    for e in range(count):
        last = e == count - 1
        address = f"10.{(i >> 8) & 255}.{i & 255}.{e + 1 + (change % 100 * 2 if last else 0)}"
        hosts.append(message(2, message(1, message(1, message(1, text(2, address), number(3, 8080)))), message(4, number(1, 1))))
    return text(1, cluster_name(i)) + message(2, message(1, text(1, "region"), text(2, "zone")), *hosts, message(3, number(1, count)))


def routes(name, first, count, clusters):
    hosts = []
    for i in range(first, first + count):
        hosts.append(message(2, text(1, f"{service(i)}:80"), text(2, service(i)), text(2, f"{service(i)}:80"), message(
            3, message(1, text(1, "/")), message(2, text(1, cluster_name(i % clusters))))))
    answer = message(2, text(1, "probe"), text(2, "probe"), message(3, message(1, text(1, "/")), message(7, number(1, 200), message(2, text(3, "ok")))))
    return text(1, name) + b"".join(hosts) + answer


def listener(i, port):
    router = message(5, text(1, "envoy.filters.http.router"), message(4, any_of(ROUTER, b"")))
    manager = text(2, f"outbound_{i}") + message(3, message(1, ADS), text(2, f"routes{i}")) + router
    chain = message(3, message(3, text(1, "envoy.filters.network.http_connection_manager"), message(4, any_of(MANAGER, manager))))
    return text(1, f"listener{i}") + message(2, message(1, text(2, "127.0.0.1"), number(3, port))) + chain


class Mesh:
    """All resources by type and name."""

    def __init__(self, clusters, endpoints_each, route_count, ports):
        self.endpoints_each = endpoints_each
        self.resources = {
            CLUSTER: {cluster_name(i): cluster(i) for i in range(clusters)},
            ENDPOINTS: {cluster_name(i): endpoints(i, endpoints_each) for i in range(clusters)},
            LISTENER: {f"listener{i}": listener(i, port) for i, port in enumerate(ports)},
            ROUTES: {},
        }
        each = route_count // max(1, len(ports))
        for i in range(len(ports)):
            self.resources[ROUTES][f"routes{i}"] = routes(f"routes{i}", i * each, each, max(1, clusters))
