"""What a mesh over ADS costs: from connect to serving, one endpoint changed, everything sent again unchanged. Run by xds/run.sh.

The control plane is part of this program and answers with bytes made beforehand; CPU is Sidecar's own, from the scheduler."""

import argparse
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from control_plane import ControlPlane  # noqa: E402
from mesh import CLUSTER, ENDPOINTS, Mesh, cluster_name, endpoints  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WORK = os.path.join(ROOT, "artifacts", "perf", "xds")


def free_ports(count):
    held = []
    for _ in range(count):
        one = socket.socket()
        one.bind(("127.0.0.1", 0))
        held.append(one)
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def bootstrap(port, admin):
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {
        "node": {"id": "sidecar~127.0.0.1~perf.default~default.svc.cluster.local", "cluster": "perf.default"},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}},
        "dynamic_resources": {
            "ads_config": {"api_type": "DELTA_GRPC", "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}]},
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
            "lds_config": {"ads": {}, "resource_api_version": "V3"}},
        "static_resources": {"clusters": [{
            "name": "xds", "type": "STATIC", "connect_timeout": "1s",
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}}}},
            "load_assignment": {"cluster_name": "xds", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]}}]}}


class Sidecar:
    """The executable under a control plane."""

    def __init__(self, plane, concurrency, ports):
        os.makedirs(WORK, exist_ok=True)
        self.ports = ports
        self.admin = free_ports(1)[0]
        path = os.path.join(WORK, "bootstrap.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(bootstrap(plane.port, self.admin), file)
        self.log = open(os.path.join(WORK, "sidecar.log"), "w", encoding="utf-8")
        self.process = subprocess.Popen(
            [os.path.join(ROOT, "artifacts", "sidecar"), "run", "-c", path, "--concurrency", str(concurrency)], stdout=self.log, stderr=self.log)

    def page(self, target):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{target}", timeout=30) as answer:
            return answer.read().decode()

    def wait_serving(self, seconds=60):
        """When a request to the last listener is answered."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise SystemExit(f"sidecar ended, see {self.log.name}")
            try:
                with socket.create_connection(("127.0.0.1", self.ports[-1]), timeout=1) as client:
                    client.sendall(b"GET / HTTP/1.1\r\nhost: probe\r\nconnection: close\r\n\r\n")
                    if client.recv(100).startswith(b"HTTP/1.1 200"):
                        return time.monotonic()
            except OSError:
                pass
            time.sleep(0.002)
        raise SystemExit(f"not serving after {seconds} s, see {self.log.name}")

    def cpu_seconds(self):
        total = 0
        base = f"/proc/{self.process.pid}/task"
        for task in os.listdir(base):
            with open(f"{base}/{task}/schedstat", encoding="ascii") as file:
                total += int(file.read().split()[0])
        return total / 1e9

    def memory(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            text = file.read()
        return {key: int(re.search(rf"^{key}:\s+(\d+)", text, re.M).group(1)) / 1024 for key in ("VmRSS", "RssAnon", "VmHWM")}

    def pushes(self):
        return json.loads(self.page("/config_status?section=pushes"))["pushes"]

    def longest_turn_us(self):
        return int(re.search(r"worker_longest_turn_us: (\d+)", self.page("/stats?filter=worker_longest")).group(1))

    def stop(self):
        self.process.terminate()
        self.process.wait(20)
        self.log.close()


def start(arguments, clusters, routes, listeners):
    ports = free_ports(listeners)
    plane = ControlPlane(Mesh(clusters, arguments.endpoints, routes, ports))
    plane.start()
    sidecar = Sidecar(plane, arguments.concurrency, ports)
    serving = sidecar.wait_serving()
    return plane, sidecar, serving - plane.connected


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))] if values else -1


def changes(arguments, plane, sidecar):
    """Single endpoints change, so many a second."""
    for i in range(arguments.warmup):
        plane.wait_ack(plane.push(ENDPOINTS, cluster_name(i), endpoints(i, arguments.endpoints, 1)))
    sidecar.longest_turn_us()
    first = plane.version + 1
    visible, stalls = [], []
    count = int(arguments.seconds * arguments.rate)
    cpu = sidecar.cpu_seconds()
    pages = 0.0
    begin = time.monotonic()
    seen = set()
    for k in range(count):
        wait = begin + k / arguments.rate - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        i = (k * 7919) % arguments.clusters
        plane.push(ENDPOINTS, cluster_name(i), endpoints(i, arguments.endpoints, k % 90 + 2))
        if k % 100 == 99 or k == count - 1:
            time.sleep(0.05)
            before = sidecar.cpu_seconds()
            for push in sidecar.pushes():
                if push["kind"] != "eds" or push.get("swap_us") is None or push["version_info"] in seen or int(push["version_info"]) < first:
                    continue
                seen.add(push["version_info"])
                visible.append(push["translate_us"] + push["warm_us"] + push["swap_us"])
                stalls.append(push.get("worker_stall_us", 0))
            pages += sidecar.cpu_seconds() - before
    cpu = sidecar.cpu_seconds() - cpu - pages
    memory = sidecar.memory()["VmRSS"]
    return {
        "pushes": count, "seen": len(visible), "cpu_us_each": cpu / count * 1e6,
        "visible_us": {"p50": percentile(visible, .5), "p99": percentile(visible, .99), "max": max(visible, default=-1)},
        "worker_portion_us": {"p99.9": percentile(stalls, .999), "max": max(stalls, default=-1)},
        "longest_turn_us": sidecar.longest_turn_us(), "rss_after_mib": memory}


def resend(plane, sidecar, count, body=None):
    """Clusters sent again, unchanged or as `body` makes them."""
    sidecar.longest_turn_us()
    cpu = sidecar.cpu_seconds()
    begin = time.monotonic()
    acked = plane.wait_ack(plane.send(CLUSTER, body or plane.ready[CLUSTER][:count]))
    time.sleep(0.3)
    return {"clusters": count, "cpu_ms": (sidecar.cpu_seconds() - cpu) * 1e3, "acked_ms": (acked - begin) * 1e3,
            "longest_turn_us": sidecar.longest_turn_us(), "journal": sidecar.pushes()[-1]}


def main():
    parser = argparse.ArgumentParser(description="a generated mesh over ADS")
    parser.add_argument("--clusters", type=int, default=10000)
    parser.add_argument("--endpoints", type=int, default=10)
    parser.add_argument("--routes", type=int, default=5000)
    parser.add_argument("--listeners", type=int, default=200)
    parser.add_argument("--rate", type=float, default=100)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--warmup", type=int, default=50)
    parser.add_argument("--concurrency", type=int, default=1)
    arguments = parser.parse_args()
    report = {"machine": f"{os.uname().release}, {len(os.sched_getaffinity(0))} CPUs", "load": os.getloadavg()[0]}

    plane, sidecar, _ = start(arguments, 0, 1, 1)
    time.sleep(1)
    empty = sidecar.memory()
    sidecar.stop()
    plane.stop()

    def mesh(name, routes, listeners):
        plane, sidecar, seconds = start(arguments, arguments.clusters, routes, listeners)
        report[name] = {"connect_to_serving_ms": seconds * 1e3, "cpu_ms": sidecar.cpu_seconds() * 1e3}
        time.sleep(2)
        full = sidecar.memory()
        report[name].update({"rss_mib": full["VmRSS"], "added_mib": full["VmRSS"] - empty["VmRSS"], "peak_mib": full["VmHWM"]})
        return plane, sidecar

    plane, sidecar = mesh("clusters and endpoints", 1, 1)
    sidecar.stop()
    plane.stop()
    plane, sidecar = mesh("whole mesh", arguments.routes, arguments.listeners)
    report["one endpoint changed"] = changes(arguments, plane, sidecar)
    report["sent again unchanged"] = resend(plane, sidecar, min(4000, arguments.clusters))
    report["rejections"] = [(type_url, error.decode("utf-8", "replace")) for type_url, error in plane.rejections[:3]]
    sidecar.stop()
    plane.stop()
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
