"""Starts an executable again and again: exec to the first accepted connection (wall and CPU time), then what it holds when idle.

The executable has a processor of its own, the last one: what asks whether it listens yet must not take the time it needs to get there."""
import argparse
import os
import platform
import signal
import socket
import statistics
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


def start_once(executable, processors):
    # As in a Pod: standard streams that nobody reads, one worker.
    command = [executable, "run", "--snapshot", SNAPSHOT, "--concurrency", "1", "--log-level", "warning"]
    quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in range(3)]
    os.sched_setaffinity(0, processors[-1:])
    begun = time.monotonic()
    pid = os.posix_spawn(executable, command, os.environ, file_actions=quiet)
    os.sched_setaffinity(0, processors[:-1] or processors)
    try:
        while True:
            try:
                socket.create_connection(OUTBOUND).close()
                break
            except ConnectionRefusedError:
                if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                    raise SystemExit(f"{executable} ended before it listened")
        wall = (time.monotonic() - begun) * 1e3
        cpu = cpu_ms(pid)
        time.sleep(SETTLE_SECONDS)
        return wall, cpu, *status_kib(pid, "VmRSS", "RssAnon")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def main():
    parser = argparse.ArgumentParser(prog="perf/startup/run.sh", description="start-up time, idle memory and size")
    parser.add_argument("--runs", type=int, default=21)
    parser.add_argument("executables", nargs="*", default=[os.path.join(ROOT, "artifacts", "sidecar")])
    arguments = parser.parse_args()
    processors = sorted(os.sched_getaffinity(0))
    runs = {executable: [] for executable in arguments.executables}
    for _ in range(arguments.runs):
        for executable in runs:
            runs[executable].append(start_once(executable, processors))
    print(f"machine: {platform.machine()}, Linux {os.uname().release}, {len(processors)} CPUs, load {os.getloadavg()[0]:.1f}")
    for executable, results in runs.items():
        wall, cpu, rss, anonymous = zip(*results)
        print(f"{executable}: {os.path.getsize(executable)} bytes")
        for name, values, unit in (("exec to accept", wall, "ms"), ("of it on a processor", cpu, "ms"), ("resident, idle", rss, "KiB"), ("of it private", anonymous, "KiB")):
            print(f"  {name:22} median {statistics.median(values):8.1f} {unit}   least {min(values):8.1f}   most {max(values):8.1f}")


main()
