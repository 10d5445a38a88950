"""The load side: what is sent through a proxy, and what came of it. All of it on the load side's CPU."""

import re
import socket
import subprocess

import peers as catalogue
from kernel import LOAD_CPU


class Target:
    """Where a load goes: an address as the client sees it, and how to be where the client is."""

    def __init__(self, port, address="127.0.0.1", enter=()):
        self.port, self.address, self.enter = port, address, list(enter)


def on_load_cpu(command, enter=()):
    return subprocess.run(list(enter) + ["taskset", "-c", str(LOAD_CPU)] + command, capture_output=True, text=True)


def closed_loop(scenario, target, connections, seconds):
    """Requests answered with 200 in as many seconds; every connection asks again as soon as it was answered."""
    extra = scenario.get("extra", {})
    if scenario["kind"] == "handshake":
        return handshakes(target.port, seconds, extra["tls"], extra["resumed"])
    url = f"http{'s' if extra.get('tls') else ''}://{target.address}:{target.port}/measured/path?with=query"
    if scenario["downstream"] == "h1":
        close = ["-H", "Connection: close"] if scenario["kind"] == "churn" else []
        fields = ["-H", "user-agent: wrk", "-H", "accept: */*", "-H", "x-team: payments"]
        out = on_load_cpu(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s"] + fields + close + [url], target.enter).stdout
        requests = re.search(r"(\d+) requests in", out)
        if not requests:
            return 1, 1
        errors = sum(int(number) for number in re.findall(r"(?:connect|read|write|timeout) (\d+)", out))
        refused = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
        return int(requests.group(1)), (0 if scenario["kind"] == "churn" else errors) + (int(refused.group(1)) if refused else 0)
    out = on_load_cpu(["h2load", "-t1", f"-c{connections}", f"-m{scenario['streams']}", f"-D{seconds}", "-H", "x-team: payments", url], target.enter).stdout
    good = re.search(r"status codes: (\d+) 2xx", out)
    failed = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", out)
    if not good or not failed:
        return 1, 1
    return int(good.group(1)), sum(int(number) for number in failed.groups())


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


def paced(port, backend_port, rate, seconds, connections, body):
    """Open loop, the backend played by the generator too: answers, failures and figures in µs, latencies from the moment each request was meant to leave.
    A rate of 0 is a closed loop, which tells the highest rate."""
    out = on_load_cpu([catalogue.compiled("load/paced.c"), str(port), str(backend_port), f"{rate:.0f}", str(seconds), str(connections), str(body)])
    values = [float(word) for word in out.stdout.split()]
    if out.returncode != 0 or len(values) != 10:
        return 1, 1, {"paced_problem": out.stderr.strip() or "not all requests were answered"}
    answered, took, first, *rest = values
    figures = dict(zip(("late_p50_us", "late_p99_us", "p50_us", "p90_us", "p99_us", "p999_us", "max_us"), rest)) if rate else {}
    return int(answered), 0, {**figures, "paced_rate": answered / took, "generator_first": first}


def pour(port, count):
    """So many bytes through a proxy of bytes."""
    out = on_load_cpu([catalogue.compiled("load/pour.c"), str(port), str(count)])
    return (count, 0) if out.returncode == 0 else (1, 1)


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
