"""Runs scenarios against peers and writes what it saw: results.json, table.md and chart.svg under artifacts/perf/.

One worker per proxy, pinned to the last CPU; load and backend share the first. Peers take turns (A B C A B C …), so that what
disturbs the machine disturbs all of them, and every comparison is a ratio of neighbours in time."""

import argparse
import datetime
import json
import os
import platform
import re
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import chart
import peers as catalogue

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
CPUS = sorted(os.sched_getaffinity(0))
PROXY_CPU, LOAD_CPU = CPUS[-1], CPUS[0]
TICK = os.sysconf("SC_CLK_TCK")


# ---- what the kernel knows of a process ------------------------------------------------------------------------------

def cpu_of(pid):
    """(user µs, system µs) of all threads, living and gone. The split is by ticks; the sum is the scheduler's nanoseconds where it keeps them."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    user, system = (int(fields[11]) * 1e6 / TICK, int(fields[12]) * 1e6 / TICK)
    return user, system


def exact_cpu_of(pid):
    """µs on a CPU of all living threads, from the scheduler; None where the kernel does not say."""
    total = 0
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/schedstat") as file:
                total += int(file.read().split()[0])
    except OSError:
        return None
    return total / 1e3


def switches_of(pid):
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/status") as file:
            total += sum(int(line.split()[1]) for line in file if "ctxt_switches" in line)
    return total


def total_of(measure, pids):
    """A measure summed over processes; None where one of them has none."""
    found = [measure(pid) for pid in pids]
    if any(one is None for one in found):
        return None
    return tuple(map(sum, zip(*found))) if isinstance(found[0], tuple) else sum(found)


def memory_of(pid):
    """KiB: resident, proportional, and private to nobody's file."""
    found = {}
    with open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            parts = line.split()
            if parts[0] in ("Rss:", "Pss:", "Anonymous:"):
                found[parts[0][:-1].lower()] = int(parts[1])
    return found


def busy_of_cpu(cpu):
    with open("/proc/stat") as file:
        for line in file:
            if line.startswith(f"cpu{cpu} "):
                values = [int(value) for value in line.split()[1:]]
                return (sum(values[:3]) + sum(values[5:8])) * 1e6 / TICK
    return 0.0


# ---- load ------------------------------------------------------------------------------------------------------------

def on_load_cpu(command, **options):
    return subprocess.run(["taskset", "-c", str(LOAD_CPU)] + command, capture_output=True, text=True, **options)


def closed_loop(scenario, port, connections, seconds):
    """Requests answered with 200 in as many seconds; every connection asks again as soon as it was answered."""
    extra = scenario.get("extra", {})
    if scenario["kind"] == "handshake":
        return handshakes(port, seconds, extra["tls"], extra["resumed"])
    url = f"http{'s' if extra.get('tls') else ''}://127.0.0.1:{port}/measured/path?with=query"
    if scenario["downstream"] == "h1":
        close = ["-H", "Connection: close"] if scenario["kind"] == "churn" else []
        out = on_load_cpu(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-H", "user-agent: wrk", "-H", "accept: */*", "-H", "x-team: payments"] + close + [url]).stdout
        requests = int(re.search(r"(\d+) requests in", out).group(1))
        errors = sum(int(number) for number in re.findall(r"(?:connect|read|write|timeout) (\d+)", out))
        refused = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
        return requests, (0 if scenario["kind"] == "churn" else errors) + (int(refused.group(1)) if refused else 0)
    out = on_load_cpu(["h2load", "-t1", f"-c{connections}", f"-m{scenario['streams']}", f"-D{seconds}", "-H", "x-team: payments", url]).stdout
    good = int(re.search(r"status codes: (\d+) 2xx", out).group(1))
    failed = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", out)
    return good, sum(int(number) for number in failed.groups())


def handshakes(port, seconds, certificates, resumed):
    """Connections of one client, one after the other, each with its certificate, a request and the answer; new sessions, or one resumed over and over."""
    out = on_load_cpu([catalogue.compiled("load/shake.c", "-lssl", "-lcrypto"), str(port), str(seconds), certificates.client + ".pem",
                       certificates.client + ".key", certificates.ca + ".pem", "resumed" if resumed else "full"])
    words = out.stdout.split()
    if out.returncode != 0 or len(words) != 2:
        return 1, 1
    complete, reused = int(words[0]), int(words[1])
    # All but the first are to be resumed, or none.
    return complete, (complete - 1 - reused if resumed else reused)


def fixed_rate(port, rate, seconds, connections):
    """Open loop: requests answered, failures, and percentiles in µs from the moment each request was meant to leave."""
    out = on_load_cpu([catalogue.compiled("load/paced.c"), str(port), f"{rate:.0f}", str(seconds), str(connections)])
    values = [int(word) for word in out.stdout.split()]
    if len(values) != 8:
        return 1, 1, {}
    sent, answered, late, *percentiles = values
    return answered, sent - answered, {"generator_late_us": late, **dict(zip(("p50_us", "p90_us", "p99_us", "p999_us", "max_us"), percentiles))}


def idle_connections(route, port, count):
    """Opens count connections that ask one thing each, are answered and stay. Returns the sockets."""
    h2_ask = (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
              + b"\0\0\x0e\1\5\0\0\0\1" + b"\x82\x86\x84\x41\x09localhost"[:14])
    h1_ask = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"
    held = []
    for _ in range(count):
        one = socket.create_connection(("127.0.0.1", port), 20)
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        held.append(one)
        one.sendall(h2_ask if route.down == "h2" else h1_ask)
        got = b""
        while got.count(b"x") < 900:
            more = one.recv(65536)
            if not more:
                raise RuntimeError("the proxy closed a connection that was to stay idle")
            got += more
        if route.down == "h2":
            one.sendall(b"\0\0\0\4\1\0\0\0\0")
    return held


def raise_descriptor_limit():
    """As far as this process may: root further than the hard limit it was given. What is started inherits it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (max(hard, 131072), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
            return
        except (OSError, ValueError):
            continue


# ---- one run ---------------------------------------------------------------------------------------------------------

class Run:
    """What one peer did in one turn."""

    def __init__(self, peer, work):
        pids = peer.pids()
        can_tell = hasattr(peer, "memory")
        if can_tell:
            peer.memory()
            first = peer.memory()
            before_gc = peer.memory()
            own_page = before_gc[1] - first[1]
        user, system = total_of(cpu_of, pids)
        exact, switches, cpu_busy, begun = total_of(exact_cpu_of, pids), total_of(switches_of, pids), busy_of_cpu(PROXY_CPU), time.monotonic()
        self.units, self.errors, *more = work()
        self.latency = more[0] if more else {}
        self.seconds = time.monotonic() - begun
        user_after, system_after = total_of(cpu_of, pids)
        exact_after = total_of(exact_cpu_of, pids)
        total = user_after - user + system_after - system
        self.user_share = (user_after - user) / total if total else 0.0
        if exact is not None and exact_after is not None and exact_after > exact:
            total = exact_after - exact
        self.cpu_us = total
        self.switches = total_of(switches_of, pids) - switches
        self.others_share = max(0.0, (busy_of_cpu(PROXY_CPU) - cpu_busy - total) / (self.seconds * 1e6))
        self.busy_share = total / (self.seconds * 1e6)
        if can_tell:
            after_gc = peer.memory()
            self.collections = after_gc[0] - before_gc[0]
            self.allocated = max(0, after_gc[1] - before_gc[1] - own_page)

    def figures(self, unit):
        per = max(1, self.units) / unit
        found = {
            "cpu_us": self.cpu_us / per, "user_us": self.cpu_us * self.user_share / per, "system_us": self.cpu_us * (1 - self.user_share) / per,
            "user_share": self.user_share, "rate": per / self.seconds, "switches": self.switches / per, "errors": self.errors,
            "busy_share": self.busy_share, "others_share": self.others_share, **self.latency,
        }
        if hasattr(self, "collections"):
            found["gc_collections"] = self.collections
            found["allocated_bytes"] = self.allocated / per
        return found


def syscalls(peer, work):
    """Counts of each system call per request, under strace, which slows the proxy: only the counts mean something."""
    if not catalogue.program("strace"):
        return None
    with tempfile.NamedTemporaryFile("r") as out:
        tracer = subprocess.Popen(["strace", "-f", "-c", "-o", out.name, "-p", str(peer.process.pid)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        time.sleep(0.5)
        if tracer.poll() is not None:
            return None
        units = work()[0]
        tracer.send_signal(2)
        tracer.wait()
        counts = {}
        for line in out.read().splitlines():
            parts = line.split()
            if len(parts) >= 5 and re.match(r"^\d+\.\d+$", parts[0]) and parts[-1] != "total":
                counts[parts[-1]] = int(parts[3])
    units = max(1, units)
    named = {name: count / units for name, count in sorted(counts.items(), key=lambda pair: -pair[1]) if count / units >= 0.005}
    return {"total": sum(counts.values()) / units, "calls": named}


# ---- one scenario ----------------------------------------------------------------------------------------------------

def variants_of(scenario, candidates):
    """The peers of a scenario: those asked for, or ours alone with as many configurations as the scenario compares. The first of them is "sidecar"."""
    ours = next((peer for peer in candidates if isinstance(peer, catalogue.Sidecar)), None)
    if "variants" not in scenario or ours is None:
        return [] if "variants" in scenario else candidates
    return [catalogue.Sidecar(os.path.join(ours.work, name), ours.executable, name) for name in scenario["variants"]]


def with_extra(route, scenario, peer):
    more = scenario.get("variants", {}).get(peer.name, {})
    return catalogue.Route(route.down, route.up, route.upstream_port, **{**route.extra, **more})


def measure(name, scenario, connections, body, candidates, runs, seconds, work, log):
    kind = scenario["kind"]
    if kind == "idle":
        # The load, and a proxy that counts twice, must fit their descriptors.
        connections = min(connections, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 3000) // 2)
    h1_port, h2_port, tcp_port = catalogue.free_ports(3)
    backend = subprocess.Popen(["taskset", "-c", str(LOAD_CPU), catalogue.compiled("load/backend.c"), str(h1_port), str(h2_port), str(tcp_port)],
                               env={**os.environ, "BODY_BYTES": str(body if kind != "bulk" else 0)})
    route = catalogue.Route(scenario["downstream"], scenario["upstream"], {"h1": h1_port, "h2": h2_port, "tcp": tcp_port}[scenario["upstream"]],
                            **scenario.get("extra", {}))
    if "tls" in route.extra:
        scenario = {**scenario, "extra": {**route.extra, "tls": catalogue.Certificates(os.path.join(work, "certificates"))}}
        route.extra = scenario["extra"]
    unit = 2 ** 30 if kind == "bulk" else 1
    label = f"{name} c={connections} b={body}"
    result = {"scenario": name, "kind": kind, "connections": connections, "body_bytes": body, "unit": "GiB" if kind == "bulk" else "request",
              "peers": {}, "skipped": {}}
    running = []
    try:
        for peer in variants_of(scenario, candidates):
            reason = peer.refuses(route)
            if reason is None:
                try:
                    peer.start_hops(with_extra(route, scenario, peer), PROXY_CPU, scenario.get("hops", 1))
                except RuntimeError as error:
                    reason = str(error)
            if reason:
                result["skipped"][peer.name] = reason
            else:
                running.append(peer)

        rate = None

        def work_of(peer, duration):
            if kind == "bulk":
                def pour():
                    out = on_load_cpu([catalogue.compiled("load/pour.c"), str(peer.port), str(body)])
                    return (body, 0) if out.returncode == 0 else (1, 1)
                return pour
            if kind == "paced" and rate:
                return lambda: fixed_rate(peer.port, rate, duration, connections)
            return lambda: closed_loop(scenario, peer.port, connections, duration)

        time.sleep(0.3)
        for peer in running:
            result["peers"][peer.name] = {"started_ms": peer.started_seconds * 1e3, "fresh_memory": memory_of(peer.process.pid), "runs": []}
        if kind == "idle":
            for peer in running:
                entry = result["peers"][peer.name]
                held = idle_connections(route, peer.port, 1)
                before = memory_of(peer.process.pid)
                try:
                    held += idle_connections(route, peer.port, connections)
                except OSError as error:
                    result["skipped"][peer.name] = f"it did not hold {connections} connections ({error})"
                    del result["peers"][peer.name]
                    continue
                time.sleep(1.5)
                after = memory_of(peer.process.pid)
                entry["idle_memory"] = after
                entry["runs"].append({"anonymous_bytes_per_connection": (after["anonymous"] - before["anonymous"]) * 1024 / connections,
                                      "rss_bytes_per_connection": (after["rss"] - before["rss"]) * 1024 / connections})
                for one in held:
                    one.close()
                log(f"  {label} {peer.name}: {entry['runs'][0]}")
            return result
        if kind != "bulk":
            for peer in running:
                work_of(peer, 1)()
        if kind == "paced":
            # The same rate for all: a share of what HAProxy takes here at most, or the first peer where there is none.
            measured = next((peer for peer in running if peer.name == "haproxy"), running[0])
            most = Run(measured, work_of(measured, seconds)).figures(1)["rate"]
            rate = most * scenario["share"]
            result["offered_rate"] = rate
            log(f"  {label}: {rate:.0f}/s offered, {scenario['share']:.0%} of what {measured.name} answers at saturation")
        for turn in range(runs):
            for peer in running:
                run = Run(peer, work_of(peer, seconds)).figures(unit)
                result["peers"][peer.name]["runs"].append(run)
                log(f"  {label} {turn + 1}/{runs} {peer.name:14} {run['cpu_us']:10.2f} us (user {run['user_us']:.2f})  {run['rate']:9.1f}/s  busy {run['busy_share']:.2f} others {run['others_share']:.2f}"
                    + (f"  p50 {run['p50_us']} p99 {run['p99_us']} us" if "p99_us" in run else "")
                    + (f"  ERRORS {run['errors']}" if run["errors"] else "")
                    + (f"  gc {run['gc_collections']} alloc {run['allocated_bytes']:.2f}" if "gc_collections" in run else ""))
        for peer in running:
            entry = result["peers"][peer.name]
            entry["loaded_memory"] = memory_of(peer.process.pid)
            if kind not in ("bulk", "paced") and peer.process.poll() is None:
                entry["syscalls"] = syscalls(peer, work_of(peer, 2))
        return result
    finally:
        for peer in running:
            peer.stop()
        backend.terminate()
        backend.wait()


def summarise(result):
    """Medians with spread, and Sidecar's ratio to each peer: the median of the ratios of runs that were neighbours."""
    for entry in result["peers"].values():
        # A figure that one run lacks (its load failed) is left out of the medians.
        keys = [key for key in entry["runs"][0] if all(key in run for run in entry["runs"])] if entry["runs"] else ()
        entry["median"] = {key: statistics.median(run[key] for run in entry["runs"]) for key in keys}
        entry["spread"] = {key: [min(run[key] for run in entry["runs"]), max(run[key] for run in entry["runs"])] for key in keys}
    ours = result["peers"].get("sidecar") or result["peers"].get("head")
    if not ours or not ours["runs"] or "cpu_us" not in ours["runs"][0]:
        return
    for entry in result["peers"].values():
        if "p99_us" in ours["runs"][0] and entry is not ours:
            pairs = [mine["p99_us"] / theirs["p99_us"] for mine, theirs in zip(ours["runs"], entry["runs"]) if "p99_us" in mine and theirs.get("p99_us")]
            if pairs:
                entry["p99_ratio"] = {"median": statistics.median(pairs), "low": min(pairs), "high": max(pairs)}
        pairs = [mine["cpu_us"] / theirs["cpu_us"] for mine, theirs in zip(ours["runs"], entry["runs"]) if theirs["cpu_us"] > 0]
        if pairs and entry is not ours:
            entry["ratio"] = {"median": statistics.median(pairs), "low": min(pairs), "high": max(pairs)}


def markdown(report):
    lines = [f"Measured {report['when']} on {report['machine']['cpu']}, {report['machine']['cpus']} CPUs, Linux {report['machine']['kernel']}; "
             f"one worker on one CPU, load and backend on the other; {report['runs']} interleaved runs.", ""]
    for result in report["results"]:
        lines += [f"### {result['scenario']}, {result['connections']} connections, {result['body_bytes']} B", ""]
        if result["kind"] == "idle":
            lines += ["| peer | fresh RSS KiB | with the connections RSS KiB | anonymous B per connection |", "|---|---|---|---|"]
            for name, entry in result["peers"].items():
                lines.append(f"| {name} | {entry['fresh_memory']['rss']} | {entry['idle_memory']['rss']} | {entry['median']['anonymous_bytes_per_connection']:.0f} |")
        else:
            unit = result["unit"]
            lines += [f"| peer | CPU µs/{unit} (spread) | of it user | {unit}s/s | syscalls/{unit} | switches/{unit} | RSS KiB | GC; B/{unit} | sidecar ÷ peer (spread) |",
                      "|---|---|---|---|---|---|---|---|---|"]
            for name, entry in result["peers"].items():
                m, s = entry["median"], entry["spread"]
                called = f"{entry['syscalls']['total']:.2f}" if entry.get("syscalls") else ""
                ratio = entry.get("ratio")
                paired = f"{ratio['median']:.2f} ({ratio['low']:.2f}–{ratio['high']:.2f})" if ratio else ""
                gc = f"{m['gc_collections']:.0f}; {m['allocated_bytes']:.2f}" if "gc_collections" in m else ""
                lines.append(f"| {name} | {m['cpu_us']:.1f} ({s['cpu_us'][0]:.1f}–{s['cpu_us'][1]:.1f}) | {m['user_share'] * 100:.0f} % | {m['rate']:.{0 if m['rate'] > 10 else 2}f} "
                             f"| {called} | {m['switches']:.3f} | {entry['loaded_memory']['rss']} | {gc} "
                             f"| {paired} |")
        if "offered_rate" in result:
            lines += ["", f"Latency at {result['offered_rate']:.0f} requests/s, from the intended send time, µs (`late`: the generator's own worst wake-up):", "",
                      "| peer | p50 | p90 | p99 (spread) | p99.9 | late | p99: sidecar ÷ peer (spread) |", "|---|---|---|---|---|---|---|"]
            for name, entry in result["peers"].items():
                m = entry["median"]
                if "p99_us" not in m:
                    lines.append(f"| {name} | did not hold the rate | | | | | |")
                    continue
                low, high = entry["spread"]["p99_us"]
                ratio = entry.get("p99_ratio")
                paired = f"{ratio['median']:.2f} ({ratio['low']:.2f}–{ratio['high']:.2f})" if ratio else ""
                lines.append(f"| {name} | {m['p50_us']:.0f} | {m['p90_us']:.0f} | {m['p99_us']:.0f} ({low}–{high}) | {m['p999_us']:.0f} | {m['generator_late_us']:.0f} | {paired} |")
        for name, reason in result["skipped"].items():
            lines.append(f"\n{name}: not here, {reason}.")
        lines.append("")
    return "\n".join(lines)


def machine():
    cpu = ""
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                cpu = line.split(":", 1)[1].strip()
                break
    return {"cpu": cpu, "cpus": len(CPUS), "kernel": platform.release(), "architecture": platform.machine()}


def scenarios():
    folder = os.path.join(HERE, "load")
    found = {}
    for file in sorted(os.listdir(folder)):
        if file.endswith(".json"):
            with open(os.path.join(folder, file)) as text:
                found[file[:-5]] = json.load(text)
    return found


def main():
    raise_descriptor_limit()
    known = scenarios()
    parser = argparse.ArgumentParser(prog="perf/run.sh", description="Sidecar next to its peers")
    parser.add_argument("scenario", nargs="*", help="of " + ", ".join(known) + "; all without one")
    parser.add_argument("--peers", default=",".join(catalogue.ALL), help="comma-separated, of " + ", ".join(catalogue.ALL))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="2 runs of 2 s, one size and one number of connections per scenario")
    parser.add_argument("--sizes", help="comma-separated body sizes instead of the scenario's")
    parser.add_argument("--connections", help="comma-separated numbers of connections instead of the scenario's")
    parser.add_argument("--seconds", type=int, help="of each run")
    parser.add_argument("--compare", nargs=2, metavar=("BASE", "HEAD"), help="two executables of ours instead of the peers")
    parser.add_argument("--out", default=os.path.join(ROOT, "artifacts", "perf", datetime.datetime.now().strftime("%Y%m%d-%H%M%S")))
    arguments = parser.parse_args()
    arguments.out = os.path.abspath(arguments.out)
    os.makedirs(arguments.out, exist_ok=True)

    def log(text):
        print(text, flush=True)

    for name in arguments.scenario:
        if name not in known:
            parser.error(f"no scenario {name}; there are {', '.join(known)}")
    work = os.path.join(arguments.out, "work")
    if arguments.compare:
        candidates = [catalogue.Sidecar(os.path.join(work, "base"), arguments.compare[0], "base"), catalogue.Sidecar(os.path.join(work, "head"), arguments.compare[1], "head")]
    else:
        candidates = [catalogue.ALL[name](os.path.join(work, name)) for name in arguments.peers.split(",") if name in catalogue.ALL]
    present = []
    for peer in candidates:
        reason = peer.absent()
        if reason:
            log(f"perf: {peer.name} is left out: {reason}")
        else:
            present.append(peer)
    runs = 2 if arguments.quick else arguments.runs
    report = {"when": datetime.datetime.now().strftime("%Y-%m-%d %H:%M"), "machine": machine(), "runs": runs,
              "versions": {peer.name: peer.version() for peer in present}, "results": []}
    if len(CPUS) < 2:
        log("perf: one CPU only: proxy and load share it, so rates mean little; CPU per request still does")

    def numbers(text, default):
        return [int(part) for part in text.split(",")] if text else default

    for name in arguments.scenario or known:
        scenario = known[name]
        connections = numbers(arguments.connections, scenario["connections"])
        sizes = numbers(arguments.sizes, scenario["body_bytes"])
        if arguments.quick:
            connections = [64 if 64 in connections else connections[0]]
            sizes = [1024 if 1024 in sizes else sizes[0]]
        middle = 64 if 64 in connections else connections[0]
        # Sizes at the usual number of connections, numbers of connections at the usual size: a cross, not a square.
        usual = 1024 if 1024 in sizes else sizes[0]
        cross = [(middle, size) for size in sizes] + [(count, usual) for count in connections if count != middle]
        for count, size in cross:
            log(f"{name}: {count} connections, {size} B")
            result = measure(name, scenario, count, size, present, runs, arguments.seconds or (2 if arguments.quick else scenario["seconds"]), work, log)
            summarise(result)
            report["results"].append(result)
            with open(os.path.join(arguments.out, "results.json"), "w") as file:
                json.dump(report, file, indent=1)
    table = markdown(report)
    with open(os.path.join(arguments.out, "table.md"), "w") as file:
        file.write(table)
    with open(os.path.join(arguments.out, "chart.svg"), "w") as file:
        file.write(chart.draw(report))
    log("\n" + table)
    log(f"perf: {os.path.relpath(arguments.out)}/results.json, table.md, chart.svg")


if __name__ == "__main__":
    sys.exit(main())
