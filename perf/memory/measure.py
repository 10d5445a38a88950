"""What configuration costs: time to serve and memory of a snapshot as it grows. Run by memory/run.sh.

Each figure is the difference to the same snapshot with one of the thing, so that it is what one more costs."""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import bootstrap  # noqa: E402
import peers as catalogue  # noqa: E402
from kernel import memory_of  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def document(port, admin, clusters=1, endpoints=1, routes=1, listeners=1):
    """A bootstrap whose parts can be multiplied."""
    route = catalogue.Route("h1", "h1", 9)
    whole = bootstrap.bootstrap(route, port, admin)
    resources = whole["static_resources"]
    resources["clusters"] = []
    for i in range(clusters):
        name = "backend" if i == 0 else f"outbound|80||service{i}.default.svc.cluster.local"
        one = bootstrap.cluster(name, 9, False)
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

    def __init__(self, work, executable, parts):
        super().__init__(work, executable)
        self.parts = parts

    def bootstrap(self, route):
        self.api = catalogue.free_ports(1)[0]
        return self.write("bootstrap.json", json.dumps(document(self.port, self.api, **self.parts)))


CASES = [("clusters", 1000, 10), ("clusters", 10000, 10), ("clusters", 1000, 1), ("routes", 1000, 1), ("routes", 10000, 1), ("listeners", 100, 1)]


def label_of(part, count, endpoints):
    return f"{count} {part}" + (f" x {endpoints} endpoints" if part == "clusters" else "")


def load(executable, parts, runs, work):
    """Milliseconds from exec to the first accepted connection, and KiB when it has settled: of each run."""
    times, memories = [], []
    for _ in range(runs):
        peer = Loaded(work, executable, parts)
        peer.start(catalogue.Route("h1", "h1", 9), None)
        times.append(peer.started_seconds * 1e3)
        time.sleep(1)
        memories.append(memory_of(peer.process.pid))
        peer.stop()
    return times, memories


def median_of(memories, kind):
    return statistics.median(memory[kind] for memory in memories)


def main():
    parser = argparse.ArgumentParser(prog="perf/memory/run.sh", description="Memory and load time of growing snapshots, then of idle connections.",
                                     epilog="The default is every snapshot and both kinds of connections. With --only, only the snapshots whose name contains the text.")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", metavar="TEXT", help="of: " + ", ".join(label_of(*case) for case in CASES))
    parser.add_argument("--executable", default=os.environ.get("SIDECAR") or os.path.join(ROOT, "artifacts", "sidecar"))
    parser.add_argument("--out", default=os.path.join(ROOT, "artifacts", "perf", "memory.json"), help="file of the results")
    arguments = parser.parse_args()
    cases = [case for case in CASES if not arguments.only or arguments.only in label_of(*case)]
    if not cases:
        parser.error(f"no snapshot is called {arguments.only}")
    if not os.access(arguments.executable, os.X_OK):
        raise SystemExit(f"perf: {arguments.executable} is not there: ./build.sh publish")
    with tempfile.TemporaryDirectory() as work:
        base_times, base_memories = load(arguments.executable, {}, arguments.runs, work)
        base = {kind: median_of(base_memories, kind) for kind in ("rss", "anonymous")}
        print(f"machine: {os.uname().release}, {len(os.sched_getaffinity(0))} CPUs")
        print(f"{'snapshot':44} {'ready ms':>9} {'RSS KiB':>9} {'anon KiB':>9} {'B RSS each':>11} {'B anon each':>11}")
        print(f"{'1 cluster, 1 route, 1 listener':44} {statistics.median(base_times):9.0f} {base['rss']:9.0f} {base['anonymous']:9.0f}", flush=True)
        report = {"base": {"ms": base_times, **base}}
        for part, count, endpoints in cases:
            times, memories = load(arguments.executable, {part: count, "endpoints": endpoints}, arguments.runs, work)
            median = {kind: median_of(memories, kind) for kind in ("rss", "anonymous")}
            each = {kind: (median[kind] - base[kind]) * 1024 / count for kind in median}
            label = label_of(part, count, endpoints)
            print(f"{label:44} {statistics.median(times):9.0f} {median['rss']:9.0f} {median['anonymous']:9.0f} {each['rss']:11.0f} {each['anonymous']:11.0f}", flush=True)
            report[label] = {"ms": times, "rss_added_kib": [memory["rss"] - base["rss"] for memory in memories], **median, "bytes_each": each}
    os.makedirs(os.path.dirname(os.path.abspath(arguments.out)), exist_ok=True)
    with open(arguments.out, "w") as file:
        json.dump(report, file, indent=1)


if __name__ == "__main__":
    sys.exit(main())
