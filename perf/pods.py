"""Two Pods joined by a cable: a network namespace each, the capture rules that Istio's injector asks for, the app in the callee.

What leaves the caller for another Pod comes to the caller's proxy, what reaches the callee to the callee's. The rules are laid by our own
capture command, whoever the proxies are."""

import ctypes
import os
import shutil
import socket
import subprocess
import tempfile
import threading

from kernel import LOAD_CPU

PROXY_UID = "1337"
CLONE_NEWNET = 0x40000000
MADE = 0


def cannot():
    """Why there can be no Pods here, or None."""
    if os.geteuid() != 0:
        return "network namespaces and capture rules take root"
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    for program, package in (("ip", "iproute2"), ("iptables-restore", "iptables"), ("setpriv", "util-linux")):
        if not shutil.which(program, path=path):
            return f"{program} is missing: apt-get install {package}"
    return None


def run(*words):
    made = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"})
    if made.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {(made.stderr or made.stdout).strip()}")


class Pod:
    """One namespace and how to be inside it."""

    def __init__(self, name, address, folder):
        self.name, self.address, self.folder = name, address, folder
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "set", "lo", "up")

    def enter(self):
        return ["ip", "netns", "exec", self.name]

    def enter_as_proxy(self):
        return self.enter() + ["setpriv", "--reuid=" + PROXY_UID, "--regid=" + PROXY_UID, "--clear-groups"]

    def readable(self, executable):
        """A copy that the proxy's user can execute, wherever the original is."""
        copy = os.path.join(self.folder, os.path.basename(executable))
        if not os.path.exists(copy):
            shutil.copy(executable, copy)
            os.chmod(copy, 0o755)
        return copy

    def connect(self, port, timeout):
        """A connection to a port of its loopback. A socket belongs to the namespace of the thread that made it."""
        result = []

        def inside():
            try:
                with open(f"/var/run/netns/{self.name}") as namespace:
                    if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), "setns")
                result.append(socket.create_connection(("127.0.0.1", port), timeout))
            except OSError as error:
                result.append(error)
        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()
        if isinstance(result[0], OSError):
            raise result[0]
        return result[0]

    def delete(self):
        subprocess.run(["ip", "netns", "delete", self.name], capture_output=True)


class Pods:
    """The pair, its rules and the app; all of it gone with close()."""
    OUTBOUND, INBOUND, APP = 15001, 15006, 8080
    CAPTURE = ("istio-iptables", "-p", str(OUTBOUND), "-z", str(INBOUND), "-u", PROXY_UID, "-m", "REDIRECT", "-i", "*", "-x", "", "-b", "*", "-d", "15090,15021,15020")

    def __init__(self, capture, backend, body):
        global MADE
        MADE += 1
        self.made, self.app = [], None
        self.folder = tempfile.mkdtemp(prefix="sidecar-perf.")
        os.chmod(self.folder, 0o755)
        try:
            roles = (("caller", "10.244.7.1"), ("callee", "10.244.7.2"))
            self.caller, self.callee = (self.pod(f"sidecar-perf-{os.getpid()}-{MADE}-{role}", address) for role, address in roles)
            run("ip", "-n", self.caller.name, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", self.callee.name)
            for pod in (self.caller, self.callee):
                run("ip", "-n", pod.name, "address", "add", pod.address + "/24", "dev", "eth0")
                run("ip", "-n", pod.name, "link", "set", "eth0", "up")
                run(*pod.enter(), pod.readable(capture), *self.CAPTURE)
            self.app = subprocess.Popen(self.callee.enter() + ["taskset", "-c", str(LOAD_CPU), backend, str(self.APP), str(self.APP + 1), str(self.APP + 2)],
                                        env={**os.environ, "BODY_BYTES": str(body)})
        except BaseException:
            self.close()
            raise

    def pod(self, name, address):
        pod = Pod(name, address, self.folder)
        self.made.append(pod)
        return pod

    def close(self):
        if self.app:
            self.app.terminate()
            self.app.wait()
        for pod in self.made:
            pod.delete()
        shutil.rmtree(self.folder, ignore_errors=True)
