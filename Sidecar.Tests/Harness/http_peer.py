"""HTTP/1.1 that says where a request seemed to come from.

server ADDRESS PORT    serves (0: the kernel chooses) and prints "listening on N"; the body is "<app> from <source address>",
                       and " for <x-seen>" when the proxy wrote down what it had seen itself
client URL FILE        asks, each time over a new connection, until FILE is there, then until it is answered with 200, at most five times;
                       prints "going" after the first answer and at the end the number of answers and the last one, or why there was none
"""
import http.client
import os
import socket
import sys
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        seen = self.headers.get("x-seen")
        body = ("app from %s%s\n" % (self.client_address[0], " for " + seen if seen else "")).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


def serve(address, port):
    Server.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
    server = Server((address, port), Handler)
    print("listening on %d" % server.server_address[1], flush=True)
    server.serve_forever()


def ask_until(url, file):
    parts = urllib.parse.urlsplit(url)
    answers, last, left = 0, "", 5
    while True:
        answered = False
        ending = os.path.exists(file)
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=5)
        try:
            connection.request("GET", parts.path or "/")
            response = connection.getresponse()
            last = response.read().decode().strip()
            answered = response.status == 200
            answers += 1
            if answers == 1:
                print("going", flush=True)
        except (OSError, http.client.HTTPException) as failure:
            last = repr(failure)
        finally:
            connection.close()
        left -= ending
        if ending and (answered or left == 0):
            print("%d answers, the last: %s" % (answers, last), flush=True)
            return


if sys.argv[1] == "server":
    serve(sys.argv[2], int(sys.argv[3]))
else:
    ask_until(sys.argv[2], sys.argv[3])
