"""What configuration costs: time to serve and memory of a snapshot as it grows. Run by memory/run.sh.

Each figure is the difference to the same snapshot with one of the thing, so that it is what one more costs."""

import argparse
import json
import os
import shutil
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import peers as catalogue  # noqa: E402
from run import memory_of  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def document(port, admin, clusters=1, endpoints=1, routes=1, listeners=1):
    """A bootstrap whose parts can be multiplied."""
    route = catalogue.Route("h1", "h1", 9)
    whole = catalogue.bootstrap(route, port, admin)
    resources = whole["static_resources"]
    resources["clusters"] = []
    for i in range(clusters):
        name = "backend" if i == 0 else f"outbound|80||service{i}.default.svc.cluster.local"
        one = catalogue.cluster(name, 9, False)
        one["load_assignment"]["endpoints"] = [{"lb_endpoints": [
            {"endpoint": {"address": {"socket_address": {"address": f"10.{i >> 8 & 255}.{i & 255}.{e + 1}", "port_value": 80}}}} for e in range(endpoints)]}]
        resources["clusters"].append(one)
    listener = resources["listeners"][0]
    hosts = listener["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]
    for i in range(1, routes):
        hosts.append({"name": f"service{i}", "domains": [f"service{i}.default.svc.cluster.local", f"service{i}"],
                      "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "backend"}}]})
    for i, free in enumerate(catalogue.free_ports(listeners - 1)):
        copy = json.loads(json.dumps(listener))
        copy["name"] = f"more{i}"
        copy["address"]["socket_address"]["port_value"] = free
        resources["listeners"].append(copy)
    return whole


class Loaded(catalogue.Sidecar):
    """Ours with a given document."""

    def __init__(self, work, parts):
        super().__init__(work)
        self.parts = parts

    def bootstrap(self, route):
        self.api = catalogue.free_ports(1)[0]
        return self.write("bootstrap.json", json.dumps(document(self.port, self.api, **self.parts)))


def load(parts, runs):
    """Median milliseconds from exec to the first accepted connection, and KiB when it has settled."""
    times, memories = [], []
    for _ in range(runs):
        peer = Loaded(os.path.join(ROOT, "artifacts", "perf", "memory"), parts)
        peer.start(None, None)
        times.append(peer.started_seconds * 1e3)
        time.sleep(1)
        memories.append(memory_of(peer.process.pid))
        peer.stop()
    times.sort()
    memories.sort(key=lambda one: one["rss"])
    return times[len(times) // 2], memories[len(memories) // 2]


def main():
    parser = argparse.ArgumentParser(description="memory and load time of growing snapshots")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    base_ms, base = load({}, arguments.runs)
    print(f"machine: {os.uname().release}, {len(os.sched_getaffinity(0))} CPUs")
    print(f"{'snapshot':44} {'ready ms':>9} {'RSS KiB':>9} {'anon KiB':>9} {'B RSS each':>11} {'B anon each':>11}")
    print(f"{'1 cluster, 1 route, 1 listener':44} {base_ms:9.0f} {base['rss']:9} {base['anonymous']:9}")
    report = {"base": {"ms": base_ms, **base}}
    cases = [("clusters", 1000, 10), ("clusters", 10000, 10), ("clusters", 1000, 1), ("routes", 1000, 1), ("routes", 10000, 1), ("listeners", 100, 1)]
    for part, count, endpoints in cases:
        ms, memory = load({part: count, "endpoints": endpoints}, arguments.runs)
        label = f"{count} {part}" + (f" x {endpoints} endpoints" if part == "clusters" else "")
        each = {kind: (memory[kind] - base[kind]) * 1024 / count for kind in ("rss", "anonymous")}
        print(f"{label:44} {ms:9.0f} {memory['rss']:9} {memory['anonymous']:9} {each['rss']:11.0f} {each['anonymous']:11.0f}", flush=True)
        report[label] = {"ms": ms, **memory, "bytes_each": each}
    with open(os.path.join(ROOT, "artifacts", "perf", "memory.json"), "w") as file:
        json.dump(report, file, indent=1)
    shutil.rmtree(os.path.join(ROOT, "artifacts", "perf", "memory"), ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
