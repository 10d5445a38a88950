"""A WebSocket echo server and a client on the websockets library.

server PORT   serves on 127.0.0.1:PORT (0: the kernel chooses) and prints "listening on N"
client URL    sends messages of several kinds and sizes, expects each back, closes in order, prints "all came back"
"""
import asyncio
import sys

import websockets


async def echo(socket, path=None):
    async for message in socket:
        await socket.send(message)


async def serve(port):
    async with websockets.serve(echo, "127.0.0.1", port, subprotocols=["echo"], max_size=None, compression=None) as server:
        print("listening on %d" % server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()


async def call(url):
    async with websockets.connect(url, subprotocols=["echo"], max_size=None, compression=None) as socket:
        assert socket.subprotocol == "echo", socket.subprotocol
        for message in ["", "text", "\u00e4\u4e2d", b"", b"\x00\xff" * 100, "x" * 65535, bytes(range(256)) * 4096]:
            await socket.send(message)
            answer = await asyncio.wait_for(socket.recv(), 60)
            assert answer == message, (len(message), len(answer))
        # Many at once, before the first answer is read.
        for i in range(100):
            await socket.send("message %d" % i)
        for i in range(100):
            assert await asyncio.wait_for(socket.recv(), 60) == "message %d" % i
        await asyncio.wait_for(await socket.ping(), 60)
    assert socket.close_code == 1000, socket.close_code
    print("all came back")


if sys.argv[1] == "server":
    asyncio.run(serve(int(sys.argv[2])))
else:
    asyncio.run(call(sys.argv[2]))
