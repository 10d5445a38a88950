"""What the kernel knows of a process and of this machine."""

import os
import platform
import resource

CPUS = sorted(os.sched_getaffinity(0))
PROXY_CPU, LOAD_CPU = CPUS[-1], CPUS[0]
TICK = os.sysconf("SC_CLK_TCK")


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
    """Voluntary and forced, of all living threads."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{thread}/status") as file:
                total += sum(int(line.split()[1]) for line in file if "ctxt_switches" in line)
        except OSError:
            continue
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


def raise_descriptor_limit():
    """As far as this process may: root further than the hard limit it was given. What is started inherits it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (max(hard, 131072), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
            return
        except (OSError, ValueError):
            continue


def machine():
    cpu = ""
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                cpu = line.split(":", 1)[1].strip()
                break
    return {"cpu": cpu, "cpus": len(CPUS), "kernel": platform.release(), "architecture": platform.machine()}
