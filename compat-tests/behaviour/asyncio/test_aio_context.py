"""Point 30: contexts of protocols. Callbacks run in the context in which the server or the connection was made."""

from __future__ import annotations

import asyncio
import contextvars
import socket
import sys

import pytest
from aio_support import BufferedRecorder, Recorder, polls, tcp_pair, unix_pair

var = contextvars.ContextVar("var", default="unset")


def watcher(base):
    class Watching(base):
        """Notes the variable's value in each callback."""

        def __init__(self):
            super().__init__()
            self.seen = {"factory": var.get()}

        def connection_made(self, transport):
            self.seen["connection_made"] = var.get()
            super().connection_made(transport)

        def eof_received(self):
            self.seen["eof_received"] = var.get()
            return super().eof_received()

        if base is Recorder:

            def data_received(self, data):
                self.seen["data_received"] = var.get()
                super().data_received(data)

        else:

            def get_buffer(self, sizehint):
                self.seen["get_buffer"] = var.get()
                return super().get_buffer(sizehint)

            def buffer_updated(self, nbytes):
                self.seen["buffer_updated"] = var.get()
                super().buffer_updated(nbytes)

    return Watching


KINDS = {"plain": watcher(Recorder), "buffered": watcher(BufferedRecorder)}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


@every_kind
@pytest.mark.parametrize("make_pair", [tcp_pair, unix_pair])
def test_client(run, kind, make_pair):
    """All callbacks see the context of the create_connection call, whatever runs when the bytes come."""

    async def connect(sock):
        var.set("connecting")
        return await asyncio.get_running_loop().create_connection(kind, sock=sock)

    async def main():
        ours, peer = make_pair()
        with peer:
            _, protocol = await asyncio.create_task(connect(ours))
            var.set("elsewhere")
            peer.send(b"hello")
            await protocol.received(5)
            peer.shutdown(socket.SHUT_WR)
            await protocol.lost
            assert set(protocol.seen.values()) == {"connecting"}
            assert len(protocol.seen) == (4 if kind is KINDS["plain"] else 5)

    run(main)


@every_kind
def test_server(run, kind):
    """Factory and callbacks see the context of the create_server call, not that of whoever accepts or connects."""

    async def serve(made):
        var.set("serving")
        return await asyncio.get_running_loop().create_server(
            lambda: made.append(kind()) or made[-1], "127.0.0.1", 0
        )

    async def main():
        made = []
        server = await asyncio.create_task(serve(made))
        var.set("elsewhere")
        for n in range(1, 3):
            with socket.create_connection(server.sockets[0].getsockname()) as client:
                client.send(b"hello")
                while len(made) < n:
                    await polls(1)
                await made[-1].received(5)
            await made[-1].lost
            assert set(made[-1].seen.values()) == {"serving"}
        server.close()
        await server.wait_closed()

    run(main)


def test_server_started_later(run):
    """start_serving=False: the context is that of start_serving()."""

    async def start(server):
        var.set("starting")
        await server.start_serving()

    async def main():
        made = []
        var.set("creating")
        server = await asyncio.get_running_loop().create_server(
            lambda: made.append(KINDS["plain"]()) or made[-1], "127.0.0.1", 0, start_serving=False
        )
        await asyncio.create_task(start(server))
        var.set("elsewhere")
        with socket.create_connection(server.sockets[0].getsockname()):
            while not made:
                await polls(1)
            await made[0].made
        await made[0].lost
        assert set(made[0].seen.values()) == {"starting"}
        server.close()
        await server.wait_closed()

    run(main)


def test_connections_do_not_share_changes(run):
    """What a callback of one connection sets is not seen by the callbacks of another."""

    async def main():
        loop = asyncio.get_running_loop()
        seen = []

        class Setting(Recorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                seen.append(var.get())
                var.set("changed")

            def data_received(self, data):
                seen.append(var.get())
                var.set("changed")
                super().data_received(data)

        server = await loop.create_server(Setting, "127.0.0.1", 0)
        for _ in range(3):
            transport, protocol = await loop.create_connection(
                Recorder, *server.sockets[0].getsockname()
            )
            transport.write(b"x")
            seen_before = len(seen)
            while len(seen) < seen_before + 1:
                await polls(1)
            transport.close()
            await protocol.lost
        await polls()
        server.close()
        await server.wait_closed()
        connection_made_values = seen[0::2]
        assert connection_made_values == ["unset"] * 3
        assert var.get() == "unset"

    run(main)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            "connection_made",
            marks=pytest.mark.skipif(sys.version_info < (3, 12), reason="since 3.12, as point 5"),
        ),
        "data_received",
        "eof_received",
    ],
)
def test_exception_handler(run, name):
    """Points 5 and 30: what a failing callback saw, the exception handler sees."""

    async def connect(sock):
        var.set("connecting")
        return await asyncio.get_running_loop().create_connection(
            lambda: Recorder(**{name: fail}), sock=sock
        )

    def fail(protocol):
        raise LookupError

    async def main():
        seen = []
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: seen.append((var.get(), type(context["exception"])))
        )
        ours, peer = tcp_pair()
        _, protocol = await asyncio.create_task(connect(ours))
        var.set("elsewhere")
        peer.send(b"hello")
        peer.close()
        await protocol.lost
        assert seen == [("connecting", LookupError)]

    run(main)


def test_streams(run):
    """A client_connected_cb runs in a task whose context is that of start_server."""

    async def main():
        seen = asyncio.get_running_loop().create_future()

        async def serve(reader, writer):
            seen.set_result(var.get())
            writer.close()
            await writer.wait_closed()

        async def start():
            var.set("serving")
            return await asyncio.start_server(serve, "127.0.0.1", 0)

        server = await asyncio.create_task(start())
        var.set("elsewhere")
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert await seen == "serving"
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(main)
