"""What a reader gets of a run: medians, ratios, the Markdown table."""

import json
import os
import statistics

import chart

# A proxy busier than this was the limit of its run; else the load side was, and the rate says nothing of the proxy.
SATURATED = 0.95


def summarise(result):
    """Medians with spread, and Sidecar's ratio to each peer: the median of the ratios of runs that were neighbours."""
    for entry in result["peers"].values():
        # A figure that one run lacks (its load failed) is left out of the medians.
        keys = [key for key in entry["runs"][0] if all(key in run for run in entry["runs"])] if entry["runs"] else ()
        entry["median"] = {key: statistics.median(run[key] for run in entry["runs"]) for key in keys}
        entry["spread"] = {key: [min(run[key] for run in entry["runs"]), max(run[key] for run in entry["runs"])] for key in keys}
    if result["kind"] == "paced":
        # What came of no trusted run is not printed as a figure.
        for name in [name for name, entry in result["peers"].items() if not entry["runs"]]:
            result["skipped"][name] = "no turn could be trusted: " + (result.get("discarded_turns") or [["the proxy did not hold the rate"]])[-1][0]
            del result["peers"][name]
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
             f"one worker on one CPU, load and backend on the other; {report['runs']} interleaved runs.", "",
             "; ".join(f"{name}: {version}" for name, version in report["versions"].items() if version), ""]
    for result in report["results"]:
        lines += [f"### {result['scenario']}, {result['connections']} connections, {result['body_bytes']} B", ""]
        lines += idle_table(result) if result["kind"] == "idle" else cost_table(result)
        if "offered_rate" in result:
            lines += latency_table(result)
        for name, reason in result["skipped"].items():
            lines.append(f"\n{name}: not here, {reason}.")
        lines.append("")
    return "\n".join(lines)


def idle_table(result):
    lines = ["| peer | fresh RSS, PSS KiB | with the connections RSS, PSS KiB | anonymous B per connection | RSS B per connection |", "|---|---|---|---|---|"]
    for name, entry in result["peers"].items():
        fresh, held, each = entry["fresh_memory"], entry["idle_memory"], entry["median"]
        lines.append(f"| {name} | {fresh['rss']}, {fresh['pss']} | {held['rss']}, {held['pss']} | {each['anonymous_bytes_per_connection']:.0f} "
                     f"| {each['rss_bytes_per_connection']:.0f} |")
    return lines


def spread_of(ratio):
    return f"{ratio['median']:.2f} ({ratio['low']:.2f}–{ratio['high']:.2f})" if ratio else ""


def cost_table(result):
    unit, limited = result["unit"], False
    lines = [f"| peer | CPU µs/{unit} (spread) | of it user | {unit}s/s | syscalls/{unit} | switches/{unit} | RSS, PSS KiB | GC; B/{unit} | sidecar ÷ peer (spread) |",
             "|---|---|---|---|---|---|---|---|---|"]
    for name, entry in result["peers"].items():
        m, s, memory = entry["median"], entry["spread"], entry["loaded_memory"]
        idle = result["kind"] not in ("paced", "bulk") and m["busy_share"] < SATURATED
        limited |= idle
        called = f"{entry['syscalls']['total']:.2f}" if entry.get("syscalls") else ""
        gc = f"{m['gc_collections']:.0f}; {m['allocated_bytes']:.2f}" if "gc_collections" in m else ""
        failed = f", {m['errors']:.0f} failed" if m["errors"] else ""
        lines.append(f"| {name} | {m['cpu_us']:.1f} ({s['cpu_us'][0]:.1f}–{s['cpu_us'][1]:.1f}) | {m['user_share'] * 100:.0f} % | {m['rate']:.{0 if m['rate'] > 10 else 2}f}"
                     f"{'*' if idle else ''}{failed} | {called} | {m['switches']:.3f} | {memory['rss']}, {memory['pss']} | {gc} | {spread_of(entry.get('ratio'))} |")
    if limited:
        lines += ["", f"\\* the load side or the machine was the limit, not the proxy, which was busy for less than {SATURATED:.0%} of the time."]
    return lines


def latency_table(result):
    discarded = len(result["discarded_turns"])
    lines = ["", f"Latency at {result['offered_rate']:.0f} requests/s, from the intended send time, µs; `late` is the generator's own part of it at most"
             + (f"; {discarded} turns were discarded and taken again" if discarded else "") + ":", "",
             "| peer | p50 | p90 | p99 (spread) | p99.9 | late p99 | p99: sidecar ÷ peer (spread) |", "|---|---|---|---|---|---|---|"]
    for name, entry in result["peers"].items():
        m, (low, high) = entry["median"], entry["spread"]["p99_us"]
        lines.append(f"| {name} | {m['p50_us']:.0f} | {m['p90_us']:.0f} | {m['p99_us']:.0f} ({low:.0f}–{high:.0f}) | {m['p999_us']:.0f} | {m['late_p99_us']:.0f} "
                     f"| {spread_of(entry.get('p99_ratio'))} |")
    return lines


def write(report, folder, text):
    """results.json, table.md, chart.svg."""
    with open(os.path.join(folder, "results.json"), "w") as file:
        json.dump(report, file, indent=1)
    with open(os.path.join(folder, "table.md"), "w") as file:
        file.write(text)
    with open(os.path.join(folder, "chart.svg"), "w") as file:
        file.write(chart.draw(report))
