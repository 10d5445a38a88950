"""The figures that must hold, each measured with the load and next to the peers its bound names, and the verdict.

A verdict goes by the median; the spread stands beside it. "no verdict" says why there is none: a peer that is not here, or a run that
could not be trusted."""

import json
import os
import re
import statistics
import subprocess
import tempfile

import peers as catalogue
import report as reports
from scenario import OTHERS_SHARE_MAX, Cell, Plan, measure

HERE = os.path.dirname(os.path.abspath(__file__))
RUNS = 7
MINUTE = 60
KIB = 1024


class Figure:
    """One line of the table. value None: there is no verdict, and note says why."""

    def __init__(self, text, must, aim, value, low=None, high=None, unit="", note=""):
        self.text, self.must, self.aim, self.value, self.low, self.high, self.unit, self.note = text, must, aim, value, low, high, unit, note

    def verdict(self):
        if self.value is None:
            return "no verdict: " + self.note
        return "aim met" if self.value <= self.aim else "must met" if self.value <= self.must else "MISSED"

    def shown(self, *values):
        """One value, or the ends of a spread."""
        digits = 0 if max(values) >= 100 or max(values) == 0 else 1 if max(values) >= 20 else 2
        return "–".join(f"{value:.{digits}f}" for value in values) + self.unit

    def row(self):
        measured = ""
        if self.value is not None:
            spread = f" ({self.shown(self.low, self.high)})" if self.low is not None and self.high is not None and self.low != self.high else ""
            measured = self.shown(self.value) + spread + (f"; {self.note}" if self.note else "")
        return f"| {self.text} | ≤ {self.shown(self.must)} | ≤ {self.shown(self.aim)} | {measured} | {self.verdict()} |"

    def document(self):
        return {"figure": self.text, "must": self.must, "aim": self.aim, "measured": self.value, "low": self.low, "high": self.high, "unit": self.unit.strip(),
                "verdict": self.verdict(), "note": self.note}


class Bench:
    """What the steps share: the scenarios, who is here, how long, where to, and every result for the report."""

    def __init__(self, known, present, plan, work, report, log):
        self.known, self.present, self.plan, self.work, self.report, self.log = known, present, plan, work, report, log

    def ours(self):
        return next((peer for peer in self.present if isinstance(peer, catalogue.Sidecar)), None)

    def cell(self, name, connections=None):
        scenario = self.known[name]
        sizes = scenario["body_bytes"]
        return Cell(name, scenario, connections or scenario["connections"][-1], 1024 if 1024 in sizes else sizes[0])

    def among(self, names):
        return [peer for peer in self.present if peer.name in names]

    def measure(self, cell, names, plan=None):
        result = measure(cell, self.among(names), plan or self.plan, self.work, self.log)
        reports.summarise(result)
        self.report["results"].append(result)
        return result


def ratio(result, text, peer, must, aim, key="ratio", unit="×", note=""):
    """Ours to a peer's, pair by pair."""
    found = result["peers"].get(peer, {}).get(key)
    if "sidecar" not in result["peers"] and "sidecar" not in result["skipped"]:
        return Figure(text, must, aim, None, unit=unit, note="Sidecar was not measured")
    if not found:
        return Figure(text, must, aim, None, unit=unit, note=result["skipped"].get(peer) or result["skipped"].get("sidecar") or f"{peer} was not measured")
    failed = sum(run.get("errors", 0) for name in ("sidecar", peer) for run in result["peers"][name]["runs"])
    if failed:
        return Figure(text, must, aim, None, unit=unit, note=f"{failed} requests failed")
    return Figure(text, must, aim, found["median"], found["low"], found["high"], unit, note)


# ---- the steps: what each measures, and the lines of the table that come of it ---------------------------------------------

def h1_h1(bench):
    cell = bench.cell("h1-h1", 64)
    result = bench.measure(cell, ("sidecar", "floor", "haproxy", "yarp"))
    figures = [ratio(result, f"CPU per request h1→h1, 64 connections, 1 KiB, against {shown}", peer, must, aim)
               for shown, peer, must, aim in (("HAProxy", "haproxy", 0.80, 0.70), ("the relay that parses nothing", "floor", 1.35, 1.20), ("YARP", "yarp", 0.38, 0.30))]
    ours = result["peers"].get("sidecar")
    calls = ours.get("syscalls") if ours else None
    figures.append(Figure("system calls per request at saturation h1→h1", 4.2, 4.05, calls and calls["total"],
                          note="" if calls else "not counted, or strace is missing or was not let in"))
    shares = [run["user_share"] * 100 for run in ours["runs"]] if ours else []
    share, spread = statistics.median(shares) if shares else None, (min(shares, default=None), max(shares, default=None))
    figures.append(Figure("user-space share of CPU per request h1→h1", 25, 15, share, *spread, " %", note="" if shares else "Sidecar was not measured"))
    return figures


def h2_h2(bench):
    result = bench.measure(bench.cell("h2-h2"), ("sidecar", "haproxy", "nghttpx"))
    measured = {name: entry["median"]["cpu_us"] for name, entry in result["peers"].items() if name != "sidecar"}
    better = min(measured, key=measured.get, default="haproxy")
    text = "CPU per request h2→h2, 10 connections × 32 streams, against the better of nghttpx and HAProxy"
    return [ratio(result, text, better, 0.85, 0.70, note=f"the better one is {better}")]


def against_haproxy(name, text, must, aim):
    """A step of one ratio."""
    return lambda bench: [ratio(bench.measure(bench.cell(name), ("sidecar", "haproxy")), text, "haproxy", must, aim)]


def tcp_bulk(bench):
    result = bench.measure(bench.cell("tcp-bulk"), ("sidecar", "haproxy", "haproxy-splice"))
    return [ratio(result, "CPU per GiB of TCP bulk, against HAProxy with splice", "haproxy-splice", 0.95, 0.80),
            ratio(result, "CPU per GiB of TCP bulk, against HAProxy without splice", "haproxy", 0.45, 0.35)]


def growth(bench):
    figure = ratio(bench.measure(bench.cell("growth"), ("sidecar",)), "cost per request with 10,000 clusters and routes, against 10 of each", "ten-of-each", 1.1, 1.0)
    # Flat is what cannot be told from 1.
    if figure.value is not None and figure.low <= 1.0 < figure.value <= figure.must:
        figure.aim, figure.note = figure.value, "its spread includes 1: flat"
    return [figure]


def paced_h1(bench):
    result = bench.measure(bench.cell("paced-h1"), ("sidecar", "haproxy"))
    figure = ratio(result, "p99 at 60 % of HAProxy's saturation rate, against HAProxy", "haproxy", 1.0, 0.8, key="p99_ratio")
    if figure.value is not None:
        median = {name: entry["median"] for name, entry in result["peers"].items()}
        pairs = len(result["peers"]["sidecar"]["runs"])
        figure.note = (f"{median['sidecar']['p99_us']:.0f} against {median['haproxy']['p99_us']:.0f} µs at {result['offered_rate']:.0f}/s in {pairs} pairs; "
                       f"the generator's own p99 {max(entry['late_p99_us'] for entry in median.values()):.0f} µs")
    return [figure]


def idle(name, text, must, aim):
    """A step of bytes per connection that does nothing."""
    def step(bench):
        cell = bench.cell(name)
        result = bench.measure(cell, ("sidecar",))
        ours = result["peers"].get("sidecar")
        if not ours:
            return [Figure(text, must, aim, None, unit=" KiB", note=result["skipped"].get("sidecar", "Sidecar was not measured"))]
        median = ours["median"]
        return [Figure(text, must, aim, median["anonymous_bytes_per_connection"] / KIB, unit=" KiB",
                       note=f"of {cell.connections}; RSS {median['rss_bytes_per_connection'] / KIB:.2f} KiB")]
    return step


def minute(bench):
    """A minute at saturation, ours alone. Among its bytes are the stats flush's, some 5 KiB in 10 s without any request, so the verdict goes by tenths of a
    byte: one object, of 24 bytes at least, in 480 requests would be a tenth."""
    cell = bench.cell("h1-h1", 64)
    result = bench.measure(cell, ("sidecar",), Plan(1, MINUTE, syscalls=False))
    ours = result["peers"].get("sidecar")
    run = ours["runs"][0] if ours else None
    if not run or run["errors"]:
        why = f"{run['errors']} requests failed" if run else "Sidecar was not measured"
        return [Figure(text, 0, 0, None, note=why) for text in ("GC collections during 60 s at saturation", "bytes allocated per request during 60 s at saturation")]
    requests = run["rate"] * MINUTE
    return [Figure("GC collections during 60 s at saturation", 0, 0, run["gc_collections"], note=f"{requests:.0f} requests"),
            Figure("bytes allocated per request during 60 s at saturation", 0, 0, round(run["allocated_bytes"], 1),
                   note=f"{run['allocated_bytes'] * requests:.0f} B in all, {run['allocated_bytes']:.2f} a request, the stats flush's among them")]


def clusters(bench):
    label, ours = "10000 clusters x 10 endpoints", bench.ours()
    texts = ("10,000 clusters × 10 endpoints from a file: RSS added", "10,000 clusters × 10 endpoints from a file: exec to accept")
    if not ours:
        return [Figure(texts[0], 40, 25, None, unit=" MiB", note="Sidecar is not here"), Figure(texts[1], 0.6, 0.3, None, unit=" s", note="Sidecar is not here")]
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "memory.json")
        subprocess.run(["python3", os.path.join(HERE, "memory", "measure.py"), "--only", label, "--runs", str(min(bench.plan.runs, 5)), "--executable", ours.executable,
                        "--out", out], check=True)
        with open(out) as file:
            measured = json.load(file)[label]
    added = [kib / KIB for kib in measured["rss_added_kib"]]
    times = [ms / 1e3 for ms in measured["ms"]]
    return [Figure(texts[0], 40, 25, statistics.median(added), min(added), max(added), " MiB"),
            Figure(texts[1], 0.6, 0.3, statistics.median(times), min(times), max(times), " s")]


def start(bench):
    ours = bench.ours()
    command = [os.path.join(HERE, "startup", "run.sh"), "--runs", str(bench.plan.runs * 3)] + ([ours.executable] if ours else [])
    out = subprocess.run(command, capture_output=True, text=True) if ours else None
    bench.log(out.stdout + out.stderr if out else "")

    def figure(text, label, must, aim, unit, scale):
        found = re.search(re.escape(label) + r"\s+median\s+([\d.]+) \w+\s+least\s+([\d.]+)\s+most\s+([\d.]+)", out.stdout) if out else None
        if not found:
            return Figure(text, must, aim, None, unit=unit, note="perf/startup/run.sh gave no figure" if ours else "Sidecar is not here")
        return Figure(text, must, aim, *(float(number) / scale for number in found.groups()), unit)
    return [figure("exec → first accepted connection on the sample snapshot", "exec to accept", 10, 5, " ms", 1),
            figure("RSS idle on the sample snapshot", "resident, idle", 10, 6, " MiB", KIB)]


# Name: the step, and about how many seconds it takes.
STEPS = {
    "h1-h1": (h1_h1, lambda bench: bench.cell("h1-h1", 64).estimate(bench.plan, bench.among(("sidecar", "floor", "haproxy", "yarp")))),
    "h2-h2": (h2_h2, lambda bench: bench.cell("h2-h2").estimate(bench.plan, bench.among(("sidecar", "haproxy", "nghttpx")))),
    "h1-h2": (against_haproxy("h1-h2", "CPU per request h1→h2, against HAProxy", 0.85, 0.70),
              lambda bench: bench.cell("h1-h2").estimate(bench.plan, bench.among(("sidecar", "haproxy")))),
    "h2-h1": (against_haproxy("h2-h1", "CPU per request h2→h1, against HAProxy", 0.85, 0.70),
              lambda bench: bench.cell("h2-h1").estimate(bench.plan, bench.among(("sidecar", "haproxy")))),
    "churn": (against_haproxy("churn", "connection churn, one request per connection, against HAProxy", 0.90, 0.75),
              lambda bench: bench.cell("churn").estimate(bench.plan, bench.among(("sidecar", "haproxy")))),
    "tcp-bulk": (tcp_bulk, lambda bench: bench.cell("tcp-bulk").estimate(bench.plan, bench.among(("sidecar", "haproxy", "haproxy-splice")))),
    "paced-h1": (paced_h1, lambda bench: bench.cell("paced-h1").estimate(bench.plan, bench.among(("sidecar", "haproxy")))),
    "start": (start, lambda bench: 2 + bench.plan.runs),
    "idle-h1": (idle("idle-h1", "bytes per idle h1 connection", 0.5, 0.25), lambda bench: 12),
    "idle-h2": (idle("idle-h2", "bytes per idle h2 connection", 4, 2), lambda bench: 12),
    "clusters": (clusters, lambda bench: 2 + 4 * min(bench.plan.runs, 5)),
    "growth": (growth, lambda bench: 5 + bench.cell("growth").estimate(bench.plan, bench.among(("sidecar",)))),
    "minute": (minute, lambda bench: MINUTE + 4),
}


def run(names, known, present, plan, work, report, progress_of, log):
    """The steps by name; what the report says at the end, which it also keeps as it grows."""
    bench = Bench(known, present, plan, work, report, log)
    progress = progress_of([STEPS[name][1](bench) for name in names])
    figures, text = [], ""
    for index, name in enumerate(names):
        progress.begin(index, name)
        found = STEPS[name][0](bench)
        for figure in found:
            log("  " + figure.row())
        figures += found
        report["must"] = [figure.document() for figure in figures]
        text = table(figures) + "\n\n" + quietness(report) + reports.markdown(report)
        reports.write(report, os.path.dirname(work), text)
    return text


def quietness(report):
    """A word of warning where others had a part of the proxy's CPU: ratios bear that, times and shares do not."""
    taken = [entry["median"]["others_share"] for result in report["results"] for entry in result["peers"].values() if "others_share" in entry["median"]]
    if max(taken, default=0) <= OTHERS_SHARE_MAX:
        return ""
    return f"**The machine was not quiet**: others took up to {max(taken):.0%} of the proxy's CPU. Of these figures only ratios and counts mean something.\n\n"


def table(figures):
    return "\n".join(["| figure | must | aim | measured (spread) | verdict |", "|---|---|---|---|---|"] + [figure.row() for figure in figures])
