"""Starts an executable again and again: exec to the first accepted connection (wall and CPU time), then what it holds when idle."""
import argparse
import os
import platform
import socket
import statistics
import subprocess
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SNAPSHOT = os.path.join(ROOT, "Sidecar", "Samples", "webapp.json")
OUTBOUND = ("127.0.0.1", 15001)
SETTLE_SECONDS = 0.3


def cpu_ms(pid):
    """Time on a processor of all threads, to the nanosecond (schedstat), so that what others do here counts little."""
    nanoseconds = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as text:
            nanoseconds += int(text.read().split()[0])
    return nanoseconds / 1e6


def status_kib(pid, *fields):
    with open(f"/proc/{pid}/status", encoding="ascii") as text:
        values = dict(line.split(":", 1) for line in text)
    return [int(values[field].split()[0]) for field in fields]


def start_once(executable):
    begun = time.monotonic()
    # As in a Pod: standard streams that nobody reads, one worker.
    with subprocess.Popen([executable, "run", "--snapshot", SNAPSHOT, "--concurrency", "1", "--log-level", "warning"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        try:
            while True:
                try:
                    socket.create_connection(OUTBOUND).close()
                    break
                except ConnectionRefusedError:
                    if process.poll() is not None:
                        raise SystemExit(f"{executable} ended with {process.returncode}")
            wall = (time.monotonic() - begun) * 1e3
            cpu = cpu_ms(process.pid)
            time.sleep(SETTLE_SECONDS)
            return wall, cpu, *status_kib(process.pid, "VmRSS", "RssAnon")
        finally:
            process.kill()


def main():
    parser = argparse.ArgumentParser(description="start-up time, idle memory and size")
    parser.add_argument("--runs", type=int, default=21)
    parser.add_argument("executables", nargs="*", default=[os.path.join(ROOT, "artifacts", "sidecar")])
    arguments = parser.parse_args()
    runs = {executable: [] for executable in arguments.executables}
    for _ in range(arguments.runs):
        for executable in runs:
            runs[executable].append(start_once(executable))
    print(f"machine: {platform.machine()}, Linux {os.uname().release}, {len(os.sched_getaffinity(0))} CPUs, load {os.getloadavg()[0]:.1f}")
    for executable, results in runs.items():
        wall, cpu, rss, anonymous = zip(*results)
        print(f"{executable}: {os.path.getsize(executable)} bytes")
        for name, values, unit in (("exec to accept", wall, "ms"), ("of it on a processor", cpu, "ms"), ("resident, idle", rss, "KiB"), ("of it private", anonymous, "KiB")):
            print(f"  {name:22} median {statistics.median(values):8.1f} {unit}   least {min(values):8.1f}   most {max(values):8.1f}")


main()
