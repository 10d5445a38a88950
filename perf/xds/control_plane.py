"""A control plane for one client: delta ADS over gRPC, answers made beforehand, so that it is not what is measured."""

import queue
import threading
import time
from concurrent import futures

import grpc

from mesh import CLUSTER, fields, any_of, message, text

METHOD = "DeltaAggregatedResources"


def resource(name, version, type_url, body):
    """envoy.service.discovery.v3.Resource."""
    return message(2, text(3, name), text(1, version), message(2, any_of(type_url, body)))


class ControlPlane(grpc.GenericRpcHandler):
    """Answers the first question of each type and name, and pushes what it is told to."""

    def __init__(self, mesh):
        self.mesh = mesh
        self.version = 1
        self.out = queue.Queue()
        self.acks = queue.Queue()
        self.rejections = []
        self.connected = None
        self.server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)])
        self.server.add_generic_rpc_handlers((self,))
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.ready = {
            type_url: [resource(name, "1", type_url, body) for name, body in of_type.items()] for type_url, of_type in mesh.resources.items()}
        self.by_name = {
            type_url: dict(zip(of_type, self.ready[type_url])) for type_url, of_type in mesh.resources.items()}

    def start(self):
        self.server.start()

    def stop(self):
        self.out.put(None)
        self.server.stop(0)

    def service(self, details):
        if not details.method.endswith(METHOD):
            return None
        return grpc.stream_stream_rpc_method_handler(self.stream)

    def stream(self, requests, context):
        self.connected = time.monotonic()
        threading.Thread(target=self.read, args=(requests,), daemon=True).start()
        while (response := self.out.get()) is not None:
            yield response

    def read(self, requests):
        try:
            for request in requests:
                self.on_request(request)
        except grpc.RpcError:
            pass
        except Exception:  # the stream went away under us
            pass

    def on_request(self, request):
        type_url, nonce, error, names = "", "", None, []
        for field, value in fields(request):
            if field == 2:
                type_url = value.decode()
            elif field == 3:
                names.append(value.decode())
            elif field == 6:
                nonce = value.decode()
            elif field == 7:
                error = value
        if error is not None:
            self.rejections.append((type_url, bytes(error)))
        if nonce:
            self.acks.put((type_url, nonce, time.monotonic()))
        if names:
            known = self.by_name.get(type_url, {})
            self.send(type_url, [known[name] for name in names if name in known])
        elif not nonce:
            self.send(type_url, self.ready.get(type_url, []))

    def send(self, type_url, resources, removed=()):
        """One DeltaDiscoveryResponse; answers its nonce."""
        self.version += 1
        nonce = str(self.version)
        self.out.put(b"".join([text(1, nonce), *resources, text(4, type_url), text(5, nonce), *[text(6, name) for name in removed]]))
        return nonce

    def push(self, type_url, name, body):
        return self.send(type_url, [resource(name, str(self.version + 1), type_url, body)])

    def wait_ack(self, nonce, seconds=30):
        """When the answer to a nonce came."""
        while True:
            _, got, when = self.acks.get(timeout=seconds)
            if got == nonce:
                return when


def clusters_of(plane, count):
    return plane.ready[CLUSTER][:count]
