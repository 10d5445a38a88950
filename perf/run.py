"""Runs scenarios against peers and writes what it saw: results.json, table.md and chart.svg under artifacts/perf/.

One worker per proxy, pinned to the last CPU; load and backend share the first. Peers take turns (A B C A B C …), so that what
disturbs the machine disturbs all of them, and every comparison is a ratio of neighbours in time."""

import argparse
import datetime
import json
import os
import signal
import sys
import time

import must
import peers as catalogue
import report as reports
from kernel import CPUS, PROXY_CPU, machine, raise_descriptor_limit  # noqa: F401
from scenario import Cell, Plan, measure

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
QUICK = Plan(runs=2, seconds=1, syscalls=False)
QUICK_IDLE = 2000
# A first look: who is dear to start or to wait for stays out.
QUICK_PEERS = "sidecar,floor,haproxy,haproxy-splice,nghttpx"


def scenarios():
    """Every file of load/ that describes one, by name."""
    folder = os.path.join(HERE, "load")
    found = {}
    for file in sorted(os.listdir(folder)):
        if file.endswith(".json"):
            with open(os.path.join(folder, file)) as text:
                found[file[:-5]] = json.load(text)
    return found


def log(text):
    print(text, flush=True)


class Progress:
    """What remains, by the estimates of what is planned and by how long the done part of it really took."""

    def __init__(self, estimates):
        self.estimates, self.done, self.begun = estimates, 0, time.monotonic()

    def begin(self, index, label):
        ahead, passed = sum(self.estimates[index:]), time.monotonic() - self.begun
        pace = passed / self.done if self.done else 1
        self.done += self.estimates[index]
        log(f"[{index + 1}/{len(self.estimates)}] {label}: {passed / 60:.0f} min passed, about {ahead * pace / 60:.0f} min to go")


def cells_of(name, scenario, arguments):
    """Sizes at the usual number of connections, numbers of connections at the usual size: a cross, not a square."""
    def numbers(text, default):
        return [int(part) for part in text.split(",")] if text else default
    connections = numbers(arguments.connections, scenario["connections"])
    sizes = numbers(arguments.sizes, scenario["body_bytes"])
    if arguments.quick:
        connections = [64 if 64 in connections else connections[0]]
        sizes = [1024 if 1024 in sizes else sizes[0]]
        if scenario["kind"] == "idle":
            connections = [min(count, QUICK_IDLE) for count in connections]
    middle, usual = 64 if 64 in connections else connections[0], 1024 if 1024 in sizes else sizes[0]
    cross = [(middle, size) for size in sizes] + [(count, usual) for count in connections if count != middle]
    return [Cell(name, scenario, count, size) for count, size in cross]


def candidates_of(arguments, work):
    """The peers that are here; of the others, why not."""
    if arguments.compare:
        for executable in arguments.compare:
            if not os.access(executable, os.X_OK):
                raise SystemExit(f"perf: {executable} is no executable")
        return [catalogue.Sidecar(os.path.join(work, "base"), os.path.abspath(arguments.compare[0]), "base"),
                catalogue.Sidecar(os.path.join(work, "head"), os.path.abspath(arguments.compare[1]), "head")]
    present = []
    for name in arguments.peers.split(","):
        peer = catalogue.ALL[name](os.path.join(work, name))
        reason = peer.absent()
        if reason:
            log(f"perf: {name} is left out: {reason}")
        else:
            present.append(peer)
    return present


def parse(known):
    parser = argparse.ArgumentParser(
        prog="perf/run.sh", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Sidecar next to its peers: CPU per request, rates, latencies, memory; see perf/README.md.",
        epilog="perf/run.sh --must           every figure that must hold, with its verdict: some 12 minutes\n"
               "perf/run.sh --must h1-h1     one of them: a minute or two\n"
               "perf/run.sh --quick          a first look at every scenario: under 5 minutes\n"
               "perf/run.sh                  every scenario, size, number of connections and peer: under an hour\n"
               "perf/run.sh h1-h1 --peers sidecar,haproxy --sizes 100,1024,65536 --connections 1,64,1000")
    parser.add_argument("scenario", nargs="*", help="of " + ", ".join(known) + "; with --must of " + ", ".join(must.STEPS) + "; all without one")
    parser.add_argument("--must", action="store_true", help="the figures that must hold, each with its bound and a verdict")
    parser.add_argument("--peers", help="comma-separated, of " + ", ".join(catalogue.ALL) + " (all; with --quick " + QUICK_PEERS + ")")
    parser.add_argument("--runs", type=int, help="of each peer, in turns (5; with --must 7)")
    parser.add_argument("--seconds", type=int, help="of each run (3)")
    parser.add_argument("--quick", action="store_true", help="2 runs of 1 s, one size and one number of connections per scenario; system calls with --must only")
    parser.add_argument("--sizes", help="comma-separated body sizes instead of the scenario's")
    parser.add_argument("--connections", help="comma-separated numbers of connections instead of the scenario's")
    parser.add_argument("--no-syscalls", action="store_true", help="leave out the run under strace")
    parser.add_argument("--compare", nargs=2, metavar=("BASE", "HEAD"), help="two executables of ours instead of the peers")
    parser.add_argument("--no-install", action="store_true", help="install nothing, also as root: what is missing is left out")
    parser.add_argument("--out", default=os.path.join(ROOT, "artifacts", "perf", datetime.datetime.now().strftime("%Y%m%d-%H%M%S")), help="folder of the results")
    arguments = parser.parse_args()
    names = must.STEPS if arguments.must else known
    for name in arguments.scenario:
        if name not in names:
            parser.error(f"no scenario {name}; there are {', '.join(names)}")
    if arguments.must and arguments.compare:
        parser.error("--must compares with the peers, --compare with another build")
    arguments.peers = arguments.peers or (QUICK_PEERS if arguments.quick and not arguments.must else ",".join(catalogue.ALL))
    for name in arguments.peers.split(","):
        if name not in catalogue.ALL:
            parser.error(f"no peer {name}; there are {', '.join(catalogue.ALL)}")
    for option in ("runs", "seconds"):
        if getattr(arguments, option) is not None and getattr(arguments, option) < 1:
            parser.error(f"--{option} is 1 or more")
    arguments.out = os.path.abspath(arguments.out)
    return arguments


def plan_of(arguments):
    quick = QUICK if arguments.quick else Plan(runs=must.RUNS if arguments.must else 5)
    return Plan(arguments.runs or quick.runs, arguments.seconds or quick.seconds, (quick.syscalls or arguments.must) and not arguments.no_syscalls)


def main():
    raise_descriptor_limit()
    # Ended from outside, it still ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    known = scenarios()
    arguments = parse(known)
    work = os.path.join(arguments.out, "work")
    os.makedirs(work, exist_ok=True)
    plan = plan_of(arguments)
    present = candidates_of(arguments, work)
    if not present:
        raise SystemExit("perf: nothing to measure: no peer is here")
    report = {"when": datetime.datetime.now().strftime("%Y-%m-%d %H:%M"), "machine": machine(), "runs": plan.runs,
              "versions": {peer.name: peer.version() for peer in present}, "results": []}
    if len(CPUS) < 2:
        log("perf: one CPU only: proxy and load share it, so rates mean little; CPU per request still does")
    if arguments.must:
        text = must.run(arguments.scenario or list(must.STEPS), known, present, plan, work, report, Progress, log)
    else:
        cells = [cell for name in arguments.scenario or known for cell in cells_of(name, known[name], arguments)]
        progress = Progress([cell.estimate(plan, present) for cell in cells])
        for index, cell in enumerate(cells):
            progress.begin(index, cell.label())
            result = measure(cell, present, plan, work, log)
            reports.summarise(result)
            report["results"].append(result)
            # What is done is on disk, whatever becomes of the rest.
            reports.write(report, arguments.out, reports.markdown(report))
        text = reports.markdown(report)
    reports.write(report, arguments.out, text)
    log("\n" + text)
    log(f"perf: {os.path.relpath(arguments.out)}/results.json, table.md, chart.svg")


if __name__ == "__main__":
    sys.exit(main())
