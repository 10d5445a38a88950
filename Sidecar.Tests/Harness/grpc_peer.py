"""A gRPC server and client on the real library, without generated code: messages are plain bytes.

server PORT            serves on 127.0.0.1:PORT (0: the kernel chooses) and prints "listening on N"
client TARGET CALL …   makes one call and prints one line of JSON: code, details, answers, trailers
"""
import concurrent.futures
import hashlib
import json
import sys
import threading
import time

import grpc

SERVICE = "sidecar.test.Echo"
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.enable_http_proxy", 0), ("grpc.so_reuseport", 0)]


def unary(request, context):
    context.send_initial_metadata((("x-initial", "first"),))
    context.set_trailing_metadata((("x-trailer", "last"), ("x-binary-bin", b"\x00\x01\xfe")))
    return request


def server_stream(request, context):
    for i in range(int(request)):
        yield b"answer %d" % i


def client_stream(requests, context):
    count = size = 0
    for request in requests:
        count, size = count + 1, size + len(request)
    return b"%d messages, %d bytes" % (count, size)


def both_stream(requests, context):
    for request in requests:
        yield request.upper()


def fail(request, context):
    context.set_trailing_metadata((("x-trailer", "of a failure"),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no: \u00fcber 100%")


def fail_after_some(request, context):
    yield b"one"
    yield b"two"
    context.abort(grpc.StatusCode.DATA_LOSS, "after two")


def hang(request, context):
    ended = threading.Event()
    context.add_callback(ended.set)
    print("hang: remaining %d ms" % (context.time_remaining() * 1000), flush=True)
    ended.wait(60)
    print("hang: ended by the client", flush=True)
    return b""


def metadata(request, context):
    return json.dumps({key: value for key, value in context.invocation_metadata() if isinstance(value, str)}).encode()


def serve(port):
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
        "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
        "BothStream": grpc.stream_stream_rpc_method_handler(both_stream),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "FailAfterSome": grpc.unary_stream_rpc_method_handler(fail_after_some),
        "Hang": grpc.unary_unary_rpc_method_handler(hang),
        "Metadata": grpc.unary_unary_rpc_method_handler(metadata),
    }
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=16), options=UNLIMITED)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    bound = server.add_insecure_port("127.0.0.1:%d" % port)
    if bound == 0:
        sys.exit("cannot listen on port %d" % port)
    server.start()
    print("listening on %d" % bound, flush=True)
    server.wait_for_termination()


def open_channel(target):
    """host:port, or AUTHORITIES@host:port for TLS, verified by the certificates of that file."""
    if "@" not in target:
        return grpc.insecure_channel(target, options=UNLIMITED)
    authorities, target = target.split("@")
    with open(authorities, "rb") as file:
        return grpc.secure_channel(target, grpc.ssl_channel_credentials(file.read()), options=UNLIMITED)


def call(target, name, arguments):
    method = "/%s/%s" % (SERVICE, name)
    with open_channel(target) as channel:
        if name == "Unary":
            message = bytes(i % 251 for i in range(int(arguments[0])))
            answers, ended = once(lambda: channel.unary_unary(method).with_call(message, timeout=60))
            if answers:
                answers = ["same" if answers[0] == message else "different", str(len(answers[0])), hashlib.sha256(answers[0]).hexdigest()]
        elif name in ("Fail", "Metadata"):
            answers, ended = once(lambda: channel.unary_unary(method).with_call(b"", timeout=60, metadata=(("x-request", "kept"),)))
            answers = [answer.decode() for answer in answers]
        elif name == "Hang":
            began = time.monotonic()
            answers, ended = once(lambda: channel.unary_unary(method).with_call(b"", timeout=float(arguments[0])))
            ended["waited"] = time.monotonic() - began
        elif name in ("ServerStream", "FailAfterSome"):
            answers, ended = many(channel.unary_stream(method)(arguments[0].encode() if arguments else b"", timeout=60))
        elif name == "ClientStream":
            count, size = int(arguments[0]), int(arguments[1])
            answers, ended = once(lambda: channel.stream_unary(method).with_call(iter([b"x" * size] * count), timeout=60))
            answers = [answer.decode() for answer in answers]
        elif name == "BothStream":
            answers, ended = ping_pong(channel.stream_stream(method), int(arguments[0]))
        else:
            sys.exit("no call " + name)
    print(json.dumps({"answers": answers, **ended}))


def once(make):
    try:
        answer, done = make()
        return [answer], ending(done)
    except grpc.RpcError as error:
        return [], ending(error)


def many(stream):
    answers = []
    try:
        for answer in stream:
            answers.append(answer.decode())
    except grpc.RpcError:
        pass
    return answers, ending(stream)


def ping_pong(method, rounds):
    """Sends the next message only when the last was answered: a proxy that waits for the end of a stream would never answer."""
    turn = threading.Semaphore(1)

    def requests():
        for i in range(rounds):
            turn.acquire()
            yield b"message %d" % i

    answers = []
    stream = method(requests(), timeout=60)
    try:
        for answer in stream:
            answers.append(answer.decode())
            turn.release()
    except grpc.RpcError:
        pass
    return answers, ending(stream)


def ending(done):
    return {
        "code": done.code().name,
        "details": done.details(),
        "initial": pairs(done.initial_metadata()),
        "trailers": pairs(done.trailing_metadata()),
    }


def pairs(metadata):
    return {key: value.hex() if isinstance(value, bytes) else value for key, value in metadata or ()}


if sys.argv[1] == "server":
    serve(int(sys.argv[2]))
else:
    call(sys.argv[2], sys.argv[3], sys.argv[4:])
