"""Counts the instructions Sidecar spends on a request in user space, by callgrind on the published executable, and which functions take them.

Times need a quiet machine; this does not: the same build gives the same count to a percent. It sees neither the kernel nor the caches, so it compares
two builds of ours and says where a request's work is, not what a request costs. Loads are closed loops of a fixed number of requests."""

import argparse
import collections
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time

import peers as catalogue
import run

BODY_BYTES = 1024
CONNECTIONS = 64
STREAMS = "32"
WARM_UP, COUNTED = 20 * CONNECTIONS, 60 * CONNECTIONS
SCENARIOS = ("h1-h1", "h1-h2", "h2-h1", "h2-h2", "churn")


# ---- load ------------------------------------------------------------------------------------------------------------

def ask(port, closes, requests):
    """HTTP/1: all connections ask, then all are answered, and so on."""
    close = "connection: close\r\n" if closes else ""
    request = f"GET /measured/path?with=query HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nuser-agent: wrk\r\naccept: */*\r\nx-team: payments\r\n{close}\r\n".encode()
    held = []
    for _ in range(requests // CONNECTIONS):
        if not held:
            held = [socket.create_connection(("127.0.0.1", port), 60) for _ in range(CONNECTIONS)]
        for one in held:
            one.sendall(request)
        for one in held:
            got = b""
            while (end := got.find(b"\r\n\r\n")) < 0 or len(got) < end + 4 + BODY_BYTES:
                more = one.recv(65536)
                if not more:
                    raise RuntimeError("the proxy closed a connection in the middle of a response")
                got += more
            if not got.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"answered with {got[:40]}")
        if closes:
            for one in held:
                one.close()
            held = []
    for one in held:
        one.close()


def load(scenario, port, requests):
    if scenario["downstream"] == "h1":
        ask(port, scenario["kind"] == "churn", requests)
        return
    out = subprocess.run(["h2load", "-t1", "-c10", "-m" + STREAMS, f"-n{requests}", "-H", "x-team: payments", f"http://127.0.0.1:{port}/measured/path?with=query"],
                         capture_output=True, text=True).stdout
    if f" {requests} 2xx" not in out:
        raise RuntimeError("h2load: not all requests were answered with 200")


# ---- the proxy under callgrind -----------------------------------------------------------------------------------------

class Counted(catalogue.Sidecar):
    def command(self, route):
        under = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={self.work}/callgrind", f"--log-file={self.work}/valgrind.log"]
        return under + super().command(route)

    def tell(self, *words):
        subprocess.run(["callgrind_control", *words, str(self.process.pid)], check=True, capture_output=True)


def with_symbols(executable, folder):
    """A copy with the names of its functions: valgrind 3.19 stumbles over the rest of what a linker writes for debuggers."""
    copy = os.path.join(folder, "sidecar")
    symbols = copy + ".symbols"
    if not os.path.exists(executable + ".dbg"):
        shutil.copy(executable, copy)
        return copy
    for words in (["--strip-debug", executable + ".dbg", symbols], ["--remove-section", ".gnu_debuglink", executable, copy + ".bare"],
                  ["--add-gnu-debuglink=" + symbols, copy + ".bare", copy]):
        subprocess.run(["objcopy", *words], check=True)
    return copy


def read(path):
    """Instructions and calls of each function, from a dump of callgrind."""
    names, own, calls = {}, collections.Counter(), collections.Counter()
    function, is_call = "", False

    def name(text):
        number, _, given = text.partition(" ")
        return names.setdefault(number, given) if given else names.get(number, number)
    with open(path, errors="replace") as file:
        for line in file:
            if line.startswith("fn="):
                function = name(line[3:].rstrip())
            elif line.startswith("cfn="):
                called = name(line[4:].rstrip())
            elif line.startswith("calls="):
                calls[called] += int(line[6:].split()[0])
                is_call = True
            elif line[0] in "0123456789+-*":
                # The line behind a call has what the call took, all below included.
                if not is_call:
                    own[function] += int(line.split()[1])
                is_call = False
    return own, calls


def count(name, scenario, executable, top):
    with tempfile.TemporaryDirectory() as work:
        h1_port, h2_port, tcp_port = catalogue.free_ports(3)
        backend = subprocess.Popen([catalogue.compiled("load/backend.c"), str(h1_port), str(h2_port), str(tcp_port)], env={**os.environ, "BODY_BYTES": str(BODY_BYTES)})
        proxy = Counted(os.path.join(work, "proxy"), with_symbols(executable, work))
        try:
            upstream_port = {"h1": h1_port, "h2": h2_port}[scenario["upstream"]]
            proxy.start(catalogue.Route(scenario["downstream"], scenario["upstream"], upstream_port, **scenario.get("extra", {})), run.PROXY_CPU)
            load(scenario, proxy.port, WARM_UP)
            proxy.tell("-i", "on")
            load(scenario, proxy.port, WARM_UP)
            proxy.tell("-z")
            load(scenario, proxy.port, COUNTED)
            proxy.tell("-d")
            time.sleep(0.5)
            dumps = [os.path.join(proxy.work, file) for file in os.listdir(proxy.work) if re.fullmatch(r"callgrind\.\d+", file)]
            own, calls = max((read(dump) for dump in dumps), key=lambda found: sum(found[0].values()))
        finally:
            proxy.stop()
            backend.terminate()
            backend.wait()
    print(f"{name:8} {sum(own.values()) / COUNTED:8.0f} instructions and {sum(calls.values()) / COUNTED:5.0f} calls per request")
    for function, instructions in own.most_common(top):
        print(f"         {instructions / COUNTED:8.0f} {calls[function] / COUNTED:7.2f} calls  {function.replace('sidecar_Sidecar_', '')}")


def main():
    parser = argparse.ArgumentParser(prog="perf/instructions.sh", description="instructions in user space per request")
    parser.add_argument("scenario", nargs="*", help="of " + ", ".join(SCENARIOS) + "; all without one")
    parser.add_argument("--executable", default=os.environ.get("SIDECAR") or os.path.join(catalogue.ROOT, "artifacts", "sidecar"))
    parser.add_argument("--top", type=int, default=0, help="print so many functions that take most, by themselves")
    arguments = parser.parse_args()
    for name in arguments.scenario:
        if name not in SCENARIOS:
            parser.error(f"no scenario {name}; there are {', '.join(SCENARIOS)}")
    for name in arguments.scenario or SCENARIOS:
        count(name, run.scenarios()[name], os.path.abspath(arguments.executable), arguments.top)


if __name__ == "__main__":
    main()
