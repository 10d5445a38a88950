"""TCP that needs half-close: the server answers in capitals, and only when the client has closed its side.

server ADDRESS PORT        serves (0: the kernel chooses) and prints "listening on N"
client ADDRESS PORT TEXT   sends, closes its side, prints all that comes
"""
import socket
import sys
import threading


def read_all(connection):
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def answer(connection):
    with connection:
        connection.sendall(read_all(connection).upper())


def serve(address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, port), family=family) as listener:
        print("listening on %d" % listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=answer, args=(connection,), daemon=True).start()


if sys.argv[1] == "server":
    serve(sys.argv[2], int(sys.argv[3]))
else:
    with socket.create_connection((sys.argv[2], int(sys.argv[3])), timeout=60) as connection:
        connection.sendall(sys.argv[4].encode())
        connection.shutdown(socket.SHUT_WR)
        print(read_all(connection).decode())
