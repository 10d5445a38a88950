"""One scenario: its peers started, run in turns, looked at."""

import os
import re
import resource
import signal
import subprocess
import tempfile
import time

import loads
import peers as catalogue
import pods as namespaces
from kernel import LOAD_CPU, PROXY_CPU, busy_of_cpu, cpu_of, exact_cpu_of, memory_of, switches_of, total_of

class Run:
    """What one peer did in one turn."""

    def __init__(self, peer, work):
        pids = peer.pids()
        can_tell = hasattr(peer, "memory")
        if can_tell:
            # What looking costs is taken off; the first look costs more.
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
        tracer.send_signal(signal.SIGINT)
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

# Parts of a cell's length besides its runs, in seconds: what starts a peer, what counts its system calls.
START_SECONDS, SYSCALL_SECONDS, IDLE_SECONDS = 0.5, 3, 12
# A run whose generator was late by more than this part of what it measured, or whose proxy had to share its CPU, says nothing of latencies.
LATE_SHARE_MAX, OTHERS_SHARE_MAX = 0.5, 0.05


class Plan:
    """How often and how long."""

    def __init__(self, runs, seconds=None, syscalls=True):
        self.runs, self.seconds, self.syscalls = runs, seconds, syscalls


class Cell:
    """One scenario at one number of connections and one size."""

    def __init__(self, name, scenario, connections, body):
        self.name, self.scenario, self.connections, self.body, self.kind = name, scenario, connections, body, scenario["kind"]

    def label(self):
        return f"{self.name} c={self.connections} b={self.body}"

    def seconds(self, plan):
        return plan.seconds or self.scenario["seconds"]

    def estimate(self, plan, candidates):
        """Seconds, roughly, that measuring it takes."""
        route = self.route(0)
        peers = len(self.scenario["variants"]) if "variants" in self.scenario else sum(peer.refuses(route) is None for peer in candidates)
        warm_up = max((peer.warm_up_seconds for peer in candidates), default=1)
        if self.kind == "idle":
            return peers * IDLE_SECONDS
        if self.kind == "bulk":
            return peers * plan.runs * 2
        if self.kind == "paced":
            return self.seconds(plan) + 1 + peers * (START_SECONDS + plan.runs * (self.seconds(plan) + 1))
        return warm_up + peers * (START_SECONDS + 1 + plan.runs * self.seconds(plan) + (SYSCALL_SECONDS if plan.syscalls else 0))

    def route(self, upstream_port):
        extra = dict(self.scenario.get("extra", {}))
        if self.scenario.get("captured"):
            extra["captured"] = True
        return catalogue.Route(self.scenario["downstream"], self.scenario["upstream"], upstream_port, **extra)

    def variants(self, candidates):
        """The peers: those asked for, or ours alone with as many configurations as the scenario compares. The first of them is "sidecar"."""
        ours = next((peer for peer in candidates if isinstance(peer, catalogue.Sidecar)), None)
        if "variants" not in self.scenario or ours is None:
            return [] if "variants" in self.scenario else candidates
        return [catalogue.Sidecar(os.path.join(ours.work, name), ours.executable, name) for name in self.scenario["variants"]]


class Stage:
    """What a cell needs around its peers: the backend, certificates, Pods. All of it ends with close()."""

    def __init__(self, cell, candidates, work):
        self.cell, self.work, self.backend, self.running, self.pods = cell, work, None, [], {}
        self.capture = next((peer.executable for peer in candidates if isinstance(peer, catalogue.Sidecar)), None)
        h1_port, h2_port, tcp_port = catalogue.free_ports(3)
        self.upstream_port = {"h1": h1_port, "h2": h2_port, "tcp": tcp_port}[cell.scenario["upstream"]]
        self.route = cell.route(self.upstream_port)
        if "tls" in self.route.extra or "between" in self.route.extra:
            made = catalogue.Certificates(os.path.join(work, "certificates"))
            self.route.extra.update({name: made for name in ("tls", "between") if name in self.route.extra})
        # The open loop plays the backend itself, and each Pod has its own.
        if cell.kind != "paced" and not cell.scenario.get("captured"):
            self.backend = subprocess.Popen(["taskset", "-c", str(LOAD_CPU), catalogue.compiled("load/backend.c"), str(h1_port), str(h2_port), str(tcp_port)],
                                            env={**os.environ, "BODY_BYTES": str(cell.body if cell.kind != "bulk" else 0)})

    def start(self, peer):
        """Why it does not run here, or None."""
        reason = peer.refuses(self.route)
        if reason is None and self.cell.scenario.get("captured"):
            reason = namespaces.cannot() or (None if self.capture else "without Sidecar nothing lays the capture rules")
        if reason is not None:
            return reason
        try:
            if self.cell.scenario.get("captured"):
                pair = namespaces.Pods(self.capture, catalogue.compiled("load/backend.c"), self.cell.body)
                # Its files are where the proxy's user can read them; what runs in other scenarios stays as it was.
                peer = peer.again(os.path.join(pair.folder, "peer-" + peer.name))
                self.pods[peer] = pair
                peer.start_in_pods(self.route, PROXY_CPU, pair)
            else:
                more = self.cell.scenario.get("variants", {}).get(peer.name, {})
                peer.start_hops(self.route.with_extra(**more), PROXY_CPU, self.cell.scenario.get("hops", 1))
            self.running.append(peer)
            return None
        except RuntimeError as error:
            peer.stop()
            return str(error)
        except BaseException:
            peer.stop()
            raise

    def target(self, peer):
        pair = self.pods.get(peer)
        return loads.Target(pair.APP, pair.callee.address, pair.caller.enter()) if pair else loads.Target(peer.port)

    def work_of(self, peer, seconds, rate=None):
        """The load of one turn, to be called when everything is ready."""
        cell = self.cell
        if cell.kind == "bulk":
            return lambda: loads.pour(peer.port, cell.body)
        if cell.kind == "paced":
            return lambda: loads.paced(peer.port, self.upstream_port, rate or 0, seconds, cell.connections, cell.body)
        scenario = {**cell.scenario, "extra": self.route.extra}
        return lambda: loads.closed_loop(scenario, self.target(peer), cell.connections, seconds)

    def close(self):
        for peer in self.running:
            peer.stop()
        for pair in self.pods.values():
            pair.close()
        if self.backend:
            self.backend.terminate()
            self.backend.wait()


def measure(cell, candidates, plan, work, log):
    """All turns of all peers."""
    if cell.kind == "idle":
        # The load, and a proxy that counts twice, must fit their descriptors.
        cell.connections = min(cell.connections, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 3000) // 2)
    result = {"scenario": cell.name, "kind": cell.kind, "connections": cell.connections, "body_bytes": cell.body,
              "unit": "GiB" if cell.kind == "bulk" else "request", "peers": {}, "skipped": {}}
    stage = Stage(cell, candidates, work)
    try:
        for peer in cell.variants(candidates):
            reason = stage.start(peer)
            if reason:
                result["skipped"][peer.name] = reason
                log(f"  {cell.label()} {peer.name}: not here, {reason}")
        time.sleep(0.3)
        for peer in stage.running:
            result["peers"][peer.name] = {"started_ms": peer.started_seconds * 1e3, "fresh_memory": memory_of(peer.process.pid), "runs": []}
        if not stage.running:
            return result
        if cell.kind == "idle":
            for peer in stage.running:
                hold(cell, stage, peer, result, log)
        elif cell.kind == "paced":
            pace(cell, stage, plan, result, log)
        else:
            saturate(cell, stage, plan, result, log)
        return result
    finally:
        stage.close()


def hold(cell, stage, peer, result, log):
    """Memory of connections that do nothing any more."""
    entry = result["peers"][peer.name]
    held = loads.idle_connections(stage.route, peer.port, 1)
    try:
        before = memory_of(peer.process.pid)
        held += loads.idle_connections(stage.route, peer.port, cell.connections)
        time.sleep(1.5)
        after = memory_of(peer.process.pid)
    except (OSError, RuntimeError) as error:
        result["skipped"][peer.name] = f"it did not hold {cell.connections} connections ({error})"
        del result["peers"][peer.name]
        return
    finally:
        for one in held:
            one.close()
    entry["idle_memory"] = after
    entry["runs"].append({"anonymous_bytes_per_connection": (after["anonymous"] - before["anonymous"]) * 1024 / cell.connections,
                          "rss_bytes_per_connection": (after["rss"] - before["rss"]) * 1024 / cell.connections})
    log(f"  {cell.label()} {peer.name}: {entry['runs'][0]}")


def saturate(cell, stage, plan, result, log):
    """As much as can be, in turns; then the system calls of each."""
    unit, seconds = 2 ** 30 if cell.kind == "bulk" else 1, cell.seconds(plan)
    if cell.kind != "bulk":
        for peer in stage.running:
            stage.work_of(peer, peer.warm_up_seconds)()
    for turn in range(plan.runs):
        for peer in stage.running:
            run = Run(peer, stage.work_of(peer, seconds)).figures(unit)
            result["peers"][peer.name]["runs"].append(run)
            log(f"  {cell.label()} {turn + 1}/{plan.runs} " + line_of(peer, run))
    for peer in stage.running:
        entry = result["peers"][peer.name]
        entry["loaded_memory"] = memory_of(peer.process.pid)
        if plan.syscalls and cell.kind != "bulk" and peer.process.poll() is None:
            entry["syscalls"] = syscalls(peer, stage.work_of(peer, 2))


def pace(cell, stage, plan, result, log):
    """The same rate for all: a share of what HAProxy takes here at most, or the first peer where there is none. A turn whose figures cannot be
    trusted is taken again, as a whole, so that neighbours stay neighbours; twice as many turns at most."""
    seconds = cell.seconds(plan)
    measured = next((peer for peer in stage.running if peer.name == "haproxy"), stage.running[0])
    most = stage.work_of(measured, seconds)()[2].get("paced_rate")
    if not most:
        for peer in stage.running:
            result["skipped"][peer.name] = f"no rate: {measured.name} did not answer at saturation"
            del result["peers"][peer.name]
        return
    rate = result["offered_rate"] = most * cell.scenario["share"]
    log(f"  {cell.label()}: {rate:.0f}/s offered, {cell.scenario['share']:.0%} of what {measured.name} answers at saturation")
    good, result["discarded_turns"] = 0, []
    for turn in range(plan.runs * 2):
        runs = []
        for peer in stage.running:
            run = Run(peer, stage.work_of(peer, seconds, rate)).figures(1)
            runs.append((peer, run))
            log(f"  {cell.label()} {turn + 1} " + line_of(peer, run))
        reasons = [f"{peer.name}: {reason}" for peer, run in runs if (reason := distrust(run))]
        if reasons:
            result["discarded_turns"].append(reasons)
            log("    discarded, " + "; ".join(reasons))
        else:
            good += 1
            for peer, run in runs:
                result["peers"][peer.name]["runs"].append(run)
        if good == plan.runs:
            break
    for peer in stage.running:
        result["peers"][peer.name]["loaded_memory"] = memory_of(peer.process.pid)


def distrust(run):
    """Why a paced run says nothing, or None. One whose proxy did not hold the rate says much; it is an error and stays."""
    if "p99_us" not in run:
        return run.get("paced_problem")
    if run["late_p99_us"] > LATE_SHARE_MAX * run["p99_us"]:
        return f"the generator's own p99 is {run['late_p99_us']:.0f} of {run['p99_us']:.0f} us"
    if run["others_share"] > OTHERS_SHARE_MAX:
        return f"others took {run['others_share']:.0%} of the proxy's CPU"
    return None


def line_of(peer, run):
    return (f"{peer.name:14} {run['cpu_us']:10.2f} us (user {run['user_us']:.2f})  {run['rate']:9.1f}/s  busy {run['busy_share']:.2f} others {run['others_share']:.2f}"
            + (f"  p50 {run['p50_us']:.0f} p99 {run['p99_us']:.0f} us, late p99 {run['late_p99_us']:.0f}" if "p99_us" in run else "")
            + (f"  ERRORS {run['errors']}" if run["errors"] else "")
            + (f"  gc {run['gc_collections']} alloc {run['allocated_bytes']:.2f}" if "gc_collections" in run else ""))
