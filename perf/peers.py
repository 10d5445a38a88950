"""The programs that are compared: how each is configured and started for one scenario, and how it is told what to do.

Every peer gets one worker. Where a peer can do it, it does what a mesh proxy must: timeouts on, counters on, a request id and the
forwarding headers set. A peer that cannot serve a scenario says so by cannot(), with the reason."""

import json
import os
import resource
import shutil
import socket
import subprocess
import time

from bootstrap import bootstrap

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)


def free_ports(count):
    """Ports the kernel gave out and nobody holds now."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


def program(name):
    """Where a program is; services are often outside a user's PATH."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


# The same in every peer: what the load side would choose anyway.
CIPHER = "TLS_AES_128_GCM_SHA256"


class Route:
    """What a proxy has to do in a scenario: the protocols of both sides and the ports. tcp stands for bytes without meaning.

    Where it listens is the peer's choice; only what is captured comes to a given port of every address."""

    def __init__(self, down, up, upstream_port, **extra):
        self.down, self.up, self.upstream_port, self.extra = down, up, upstream_port, extra
        self.address, self.port, self.upstream_address = "127.0.0.1", None, "127.0.0.1"

    def with_extra(self, **more):
        """The same with more said, to one peer or to one of two in a row."""
        other = Route(self.down, self.up, self.upstream_port, **{**self.extra, **more})
        other.address, other.port, other.upstream_address = self.address, self.port, self.upstream_address
        return other


class Certificates:
    """An authority of one run, a server's certificate and a client's, P-256, and how they are asked for."""

    def __init__(self, folder):
        os.makedirs(folder, exist_ok=True)
        self.ca, self.server, self.client = (os.path.join(folder, name) for name in ("ca", "server", "client"))

        def openssl(*words):
            subprocess.run(["openssl", *words], check=True, capture_output=True)
        for name in (self.ca, self.server, self.client):
            openssl("ecparam", "-genkey", "-noout", "-name", "prime256v1", "-out", name + ".key")
        openssl("req", "-x509", "-new", "-key", self.ca + ".key", "-subj", "/CN=authority", "-days", "30", "-out", self.ca + ".pem")
        for name, names in ((self.server, "DNS:localhost,IP:127.0.0.1"), (self.client, "URI:spiffe://cluster.local/ns/perf/sa/client")):
            with open(name + ".ext", "w") as file:
                file.write(f"subjectAltName={names}\n")
            openssl("req", "-new", "-key", name + ".key", "-subj", "/CN=perf", "-out", name + ".csr")
            openssl("x509", "-req", "-in", name + ".csr", "-CA", self.ca + ".pem", "-CAkey", self.ca + ".key", "-CAcreateserial", "-days", "30",
                    "-extfile", name + ".ext", "-out", name + ".pem")
        for name in (self.server, self.client):
            with open(name + ".both", "w") as both:
                for part in (".pem", ".key"):
                    with open(name + part) as file:
                        both.write(file.read())


class Peer:
    name = ""
    program = ""
    speaks_tls = False
    can_be_captured = False
    # How long it has to work before it does so as fast as it will.
    warm_up_seconds = 1

    def __init__(self, work):
        self.work, self.process, self.port, self.started_seconds = work, None, 0, 0.0
        self.behind, self.pod = None, None
        os.makedirs(work, exist_ok=True)

    def again(self, work):
        """Another of the same, with its files elsewhere: the second hop of a mesh, or one that runs inside Pods."""
        return type(self)(work)

    def pids(self):
        """The processes whose costs are this peer's: with two hops, both."""
        return [self.process.pid] + (self.behind.pids() if self.behind else [])

    def absent(self):
        """Why this peer is not measured at all, or None."""
        return None if program(self.program) else f"{self.program} is not installed"

    def cannot(self, route):
        """Why this peer cannot serve the scenario, or None."""
        return None

    def refuses(self, route):
        """The same, with what is common to all."""
        if (route.extra.get("tls") or route.extra.get("between")) and not self.speaks_tls:
            return "its TLS is not compared"
        if route.extra.get("captured") and not self.can_be_captured:
            return "not compared inside Pods"
        return self.cannot(route)

    def command(self, route):
        raise NotImplementedError

    def version(self):
        return ""

    def start(self, route, cpu, environment=None):
        self.port = route.port or free_ports(1)[0]
        log = open(os.path.join(self.work, "log"), "ab")
        pin = ["taskset", "-c", str(cpu)] if cpu is not None else []
        enter = self.pod.enter_as_proxy() if self.pod else []
        command = enter + pin + self.command(route)  # writes the peer's configuration, which is not part of its start
        begun = time.monotonic()
        self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                        env={**os.environ, **(environment or {})})
        self.await_port(begun)

    def await_port(self, begun):
        while True:
            try:
                self.connect(self.port, 1).close()
                self.started_seconds = time.monotonic() - begun
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() - begun > 60:
                    raise RuntimeError(f"{self.name} did not start; see {self.work}/log")
                time.sleep(0.001)

    def connect(self, port, timeout):
        """A connection to one of its ports, from where it runs."""
        return self.pod.connect(port, timeout) if self.pod else socket.create_connection(("127.0.0.1", port), timeout)

    def start_hops(self, route, cpu, hops):
        """Starts it before the backend, or two of it in a row, with mutual TLS between them where the scenario says so."""
        self.behind = None
        if hops == 1:
            self.start(route, cpu)
            return
        between = route.extra.get("between")
        self.behind = self.again(os.path.join(self.work, "behind"))
        self.behind.start(route.with_extra(tls=between, mutual=True) if between else route, cpu)
        first = Route(route.down, route.down, self.behind.port, **route.extra)
        self.start(first.with_extra(upstream_tls=between) if between else first, cpu)

    def start_in_pods(self, route, cpu, pods):
        """Starts one in each of two Pods, which take what capture sends them: the callee's app is the backend."""
        self.behind = self.again(os.path.join(self.work, "behind"))
        self.behind.pod, self.pod = pods.callee, pods.caller
        inbound = route.with_extra()
        inbound.address, inbound.port, inbound.upstream_port = "0.0.0.0", pods.INBOUND, pods.APP
        self.behind.start(inbound, cpu)
        outbound = route.with_extra()
        outbound.address, outbound.port, outbound.upstream_address, outbound.upstream_port = "0.0.0.0", pods.OUTBOUND, pods.callee.address, pods.APP
        self.start(outbound, cpu)

    def stop(self):
        if self.behind:
            self.behind.stop()
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    def write(self, name, text):
        path = os.path.join(self.work, name)
        with open(path, "w") as file:
            file.write(text)
        return path

    def first_line(self, *command):
        try:
            out = subprocess.run(command, capture_output=True, text=True, timeout=10)
            return (out.stdout or out.stderr).splitlines()[0].strip()
        except (OSError, IndexError, subprocess.TimeoutExpired):
            return ""


class Floor(Peer):
    """A relay in C that parses nothing: what no proxy can beat without doing less than moving the bytes."""
    name = "floor"
    program = "gcc"

    def command(self, route):
        return [compiled("floor/relay.c"), str(self.port), str(route.upstream_port)]

    def cannot(self, route):
        if route.extra.get("closes"):
            return "it does not see where a request ends"
        return None if route.down == route.up else "it translates nothing"


class Haproxy(Peer):
    speaks_tls = True
    can_be_captured = True
    name = "haproxy"
    program = "haproxy"
    splice = False

    def version(self):
        return self.first_line(program(self.program), "-v")

    def command(self, route):
        mode = "tcp" if route.up == "tcp" else "http"
        http = """
  http-request set-header x-forwarded-proto http
  http-request set-header x-request-id %[uuid()]
  http-response set-header server haproxy""" if mode == "http" else ""
        # Each connection may need a descriptor on both sides; an idle one has no upstream, so the scenario with most is not cut.
        descriptors = min(65536, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        splice = "\n  option splice-request\n  option splice-response" if self.splice else ""
        tls, certificates = "", route.extra.get("tls")
        if certificates:
            tls = f" ssl crt {certificates.server}.both alpn h2,http/1.1 ssl-min-ver TLSv1.3 curves X25519:P-256 ciphersuites {CIPHER}"
            tls += f" ca-file {certificates.ca}.pem verify required" if route.extra.get("mutual") else ""
        upstream_tls = ""
        if certificates := route.extra.get("upstream_tls"):
            upstream_tls = f" ssl crt {certificates.client}.both ca-file {certificates.ca}.pem verify required verifyhost localhost sni str(localhost)"
            upstream_tls += f" ssl-min-ver TLSv1.3 ciphersuites {CIPHER}"
        path = self.write("haproxy.cfg", f"""global
  nbthread 1
  ulimit-n {descriptors}
  maxconn {(descriptors - 1000) // (3 if self.splice else 1) // 2}
defaults
  mode {mode}
  timeout connect 5s
  timeout client 300s
  timeout server 300s{splice}
frontend f
  bind {route.address}:{self.port} backlog 4096{tls or (' proto h2' if route.down == 'h2' else '')}
  default_backend b{http}
backend b
  {'http-reuse always' if mode == 'http' else ''}
  server s {route.upstream_address}:{route.upstream_port}{' proto h2' if route.up == 'h2' else ''}{upstream_tls}
""")
        return [program("haproxy"), "-db", "-f", path]

    def cannot(self, route):
        return "only for bytes" if self.splice and route.up != "tcp" else None


class HaproxySplice(Haproxy):
    name = "haproxy-splice"
    splice = True


class Nginx(Peer):
    speaks_tls = True
    name = "nginx"
    program = "nginx"

    def version(self):
        return self.first_line(program(self.program), "-v")

    def cannot(self, route):
        if route.up == "h2":
            return "it has no HTTP/2 towards a backend"
        if route.up == "tcp":
            return "its stream module is a package of its own"
        return None

    def command(self, route):
        tls, certificates = "", route.extra.get("tls")
        if certificates:
            tls = f"""ssl_certificate {certificates.server}.pem; ssl_certificate_key {certificates.server}.key; ssl_protocols TLSv1.3;
    ssl_ecdh_curve X25519:P-256; ssl_conf_command Ciphersuites {CIPHER}; ssl_session_cache shared:s:10m;"""
            tls += f" ssl_client_certificate {certificates.ca}.pem; ssl_verify_client on;" if route.extra.get("mutual") else ""
        upstream_tls = ""
        if certificates := route.extra.get("upstream_tls"):
            upstream_tls = f"""proxy_ssl_certificate {certificates.client}.pem; proxy_ssl_certificate_key {certificates.client}.key;
      proxy_ssl_trusted_certificate {certificates.ca}.pem; proxy_ssl_verify on; proxy_ssl_name localhost; proxy_ssl_server_name on;
      proxy_ssl_protocols TLSv1.3; proxy_ssl_conf_command Ciphersuites {CIPHER};"""
        path = self.write("nginx.conf", f"""daemon off; master_process off; pid {self.work}/pid; error_log {self.work}/error.log;
events {{ worker_connections 16384; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 300s;
  client_body_temp_path {self.work}/body; proxy_temp_path {self.work}/proxy; fastcgi_temp_path {self.work}/f; uwsgi_temp_path {self.work}/u; scgi_temp_path {self.work}/s;
  upstream backend {{ server 127.0.0.1:{route.upstream_port}; keepalive 1000; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{self.port} backlog=4096{' ssl' if tls else ''}{' http2' if route.down == 'h2' else ''};
    {tls}
    location / {{
      {upstream_tls}
      proxy_pass http{'s' if upstream_tls else ''}://backend; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Request-Id $request_id;
    }}
  }}
}}
""")
        return [program("nginx"), "-p", self.work, "-c", path]


class Nghttpx(Peer):
    name = "nghttpx"
    program = "nghttpx"

    def version(self):
        return self.first_line(program(self.program), "--version")

    def cannot(self, route):
        return "it proxies HTTP only" if route.up == "tcp" else None

    def command(self, route):
        return [program("nghttpx"), "--conf=/dev/null", "--single-process", "--workers=1", "--errorlog-file=/dev/null", "--accesslog-file=/dev/null",
                f"--frontend=127.0.0.1,{self.port};no-tls", f"--backend=127.0.0.1,{route.upstream_port};;no-tls" + (";proto=h2" if route.up == "h2" else ""),
                "--backlog=4096", "--frontend-http2-max-concurrent-streams=1000", "--backend-connections-per-host=1000"]


class Yarp(Peer):
    name = "yarp"
    program = "dotnet"
    # Compiled while it runs, and again where it runs most.
    warm_up_seconds = 5
    reason = None
    built = None

    def absent(self):
        missing = super().absent()
        if missing:
            return missing
        if Yarp.built is None and Yarp.reason is None:
            out = os.path.join(ROOT, "artifacts", "perf", "yarp")
            made = subprocess.run(["dotnet", "build", os.path.join(HERE, "peers", "yarp"), "-c", "Release", "-v", "quiet", "-nologo", "-o", out,
                                   "-p:UseSharedCompilation=false", f"-p:BaseIntermediateOutputPath={out}.obj/"], capture_output=True, text=True)
            if made.returncode == 0:
                Yarp.built = os.path.join(out, "Yarp.dll")
            else:
                Yarp.reason = "its package could not be restored or built here"
        return Yarp.reason

    def cannot(self, route):
        return "it proxies HTTP only" if route.up == "tcp" else None

    def version(self):
        return "Yarp.ReverseProxy 2.3.0"

    def command(self, route):
        return ["dotnet", Yarp.built, str(self.port), str(route.upstream_port), route.down, route.up]

    def start(self, route, cpu, environment=None):
        super().start(route, cpu, {"DOTNET_gcServer": "0", "DOTNET_TieredPGO": "1"})


class EnvoyLike(Peer):
    """Envoy's bootstrap, for Envoy and for us: the same document."""
    speaks_tls = True
    can_be_captured = True
    api = None

    def bootstrap(self, route):
        self.api = free_ports(1)[0]
        return self.write("bootstrap.json", json.dumps(bootstrap(route, self.port, self.api), indent=1))


class Envoy(EnvoyLike):
    name = "envoy"
    program = "envoy"

    def version(self):
        return self.first_line("envoy", "--version")

    def command(self, route):
        return ["envoy", "-c", self.bootstrap(route), "--concurrency", "1", "--log-level", "error", "--disable-hot-restart"]


class Sidecar(EnvoyLike):
    name = "sidecar"

    def __init__(self, work, executable=None, name=None):
        super().__init__(work)
        self.executable = executable or os.environ.get("SIDECAR") or os.path.join(ROOT, "artifacts", "sidecar")
        self.name = name or "sidecar"

    def again(self, work):
        return Sidecar(work, self.executable, self.name)

    def absent(self):
        return None if os.path.exists(self.executable) else f"{self.executable} is not there: ./build.sh publish"

    def version(self):
        return self.first_line(self.executable, "version")

    def command(self, route):
        path, executable = self.bootstrap(route), self.pod.readable(self.executable) if self.pod else self.executable
        return [executable, "run", "-c", path, "--concurrency", "1", "--log-level", "warning", "--admin-address", f"127.0.0.1:{self.api}",
                "--readiness-address", "off", "--prometheus-address", "off"]

    def memory(self):
        """The admin page's figures: collections and bytes allocated since the start."""
        with self.connect(self.api, 10) as to:
            to.sendall(b"GET /memory HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n")
            text = b""
            while more := to.recv(65536):
                text += more
        page = json.loads(text[text.index(b"{"):text.rindex(b"}") + 1])
        return int(page["gc_collections"]), int(page["total_allocated"])


def compiled(source, *libraries):
    """The executable of a C file of this folder, made when it is older than its source."""
    source = os.path.join(HERE, source)
    out = os.path.join(ROOT, "artifacts", "perf", "bin", os.path.splitext(os.path.basename(source))[0])
    if not os.path.exists(out) or os.path.getmtime(out) < os.path.getmtime(source):
        os.makedirs(os.path.dirname(out), exist_ok=True)
        subprocess.run(["gcc", "-O2", "-o", out, source, *libraries], check=True)
    return out


ALL = {peer.name: peer for peer in (Sidecar, Floor, Haproxy, HaproxySplice, Nginx, Nghttpx, Yarp, Envoy)}
