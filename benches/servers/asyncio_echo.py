"""Echo server on an asyncio loop, through one of asyncio's four interfaces for it."""

from __future__ import annotations

import argparse
import asyncio
import socket

import _control
import _loops

BACKLOG = 4096

# Only counted on connect and disconnect: the runner waits by it until all connections are in.
open_connections = 0


class Echo(asyncio.Protocol):
    __slots__ = ("transport",)

    def connection_made(self, transport):
        global open_connections
        open_connections += 1
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)

    def connection_lost(self, exc):
        global open_connections
        open_connections -= 1


class BufferedEcho(asyncio.BufferedProtocol):
    __slots__ = ("buffer", "transport", "view")

    def connection_made(self, transport):
        global open_connections
        open_connections += 1
        self.transport = transport
        self.buffer = bytearray(64 * 1024)
        self.view = memoryview(self.buffer)

    def get_buffer(self, sizehint):
        return self.buffer

    def buffer_updated(self, nbytes):
        self.transport.write(self.view[:nbytes])

    def connection_lost(self, exc):
        global open_connections
        open_connections -= 1


async def echo_stream(reader, writer):
    global open_connections
    open_connections += 1
    try:
        while data := await reader.read(64 * 1024):
            writer.write(data)
            await writer.drain()
    except ConnectionResetError:
        pass  # the client's choice to leave; its transport is closed below like any other
    finally:
        open_connections -= 1
        writer.close()


async def echo_socket(loop, connection):
    global open_connections
    open_connections += 1
    try:
        while data := await loop.sock_recv(connection, 64 * 1024):
            await loop.sock_sendall(connection, data)
    except ConnectionResetError:
        pass  # the client's choice to leave
    finally:
        open_connections -= 1
        connection.close()


async def accept_sockets(loop, listener):
    tasks = set()
    while True:
        connection, _ = await loop.sock_accept(listener)
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = loop.create_task(echo_socket(loop, connection))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


def listen(path):
    if path is not None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(path)
    else:
        # With the protocol number, by which stock asyncio knows that it may set TCP_NODELAY.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.bind(("127.0.0.1", 0))
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


async def serve(loop, api, path):
    listener = listen(path)
    if api == "sock":
        acceptor = loop.create_task(accept_sockets(loop, listener))
    elif api == "streams" and path is None:
        acceptor = await asyncio.start_server(echo_stream, sock=listener, backlog=BACKLOG)
    elif api == "streams":
        acceptor = await asyncio.start_unix_server(echo_stream, sock=listener, backlog=BACKLOG)
    else:
        protocol = {"protocol": Echo, "buffered": BufferedEcho}[api]
        create = loop.create_server if path is None else loop.create_unix_server
        acceptor = await create(protocol, sock=listener, backlog=BACKLOG)
    _control.announce(path if path is not None else listener.getsockname()[1])
    return acceptor


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", choices=_loops.NAMES, required=True)
    parser.add_argument(
        "--api", choices=("protocol", "buffered", "streams", "sock"), default="protocol"
    )
    parser.add_argument("--unix", metavar="PATH", help="listen there instead of on a TCP port")
    options = parser.parse_args()

    _control.raise_descriptor_limit()
    loop = _loops.new_event_loop(options.loop)
    asyncio.set_event_loop(loop)
    acceptor = loop.run_until_complete(serve(loop, options.api, options.unix))
    _control.start(
        stop=lambda: loop.call_soon_threadsafe(loop.stop),
        facts=lambda: {
            "loop": _loops.kind(loop),
            "api": options.api,
            "connections": open_connections,
        },
    )
    loop.run_forever()
    # The process ends here: connections that are still open go with it, and the acceptor must
    # not complain about being collected before.
    if isinstance(acceptor, asyncio.Task):
        acceptor.cancel()
        loop.run_until_complete(asyncio.wait([acceptor]))


if __name__ == "__main__":
    main()
