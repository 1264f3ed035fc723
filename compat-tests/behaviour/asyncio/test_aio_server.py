"""Point 31: TCP servers. Making, starting, serving."""

from __future__ import annotations

import asyncio
import errno
import socket

import pytest
from aio_servers import address_of, connect, refused, serving
from aio_support import Recorder, polls, recv_exactly


def test_serves(run):
    """Connections are accepted and served while the server is open."""

    async def main():
        server, made = await serving()
        assert server.is_serving() and server.get_loop() is asyncio.get_running_loop()
        for _ in range(3):
            client, protocol = await connect(server, made)
            with client:
                protocol.transport.write(b"welcome")
                assert await recv_exactly(client, 7) == b"welcome"
            await protocol.lost
        server.close()
        assert not server.is_serving()
        await server.wait_closed()

    run(main)


def test_sockets(run):
    """Point 25, 31: a tuple of TransportSockets; () after close."""

    async def main():
        server, _ = await serving(host=["127.0.0.1", "127.0.0.2"])
        assert type(server.sockets) is tuple and len(server.sockets) == 2
        for sock in server.sockets:
            assert type(sock) is asyncio.trsock.TransportSocket
            assert sock.gettimeout() == 0
        assert {sock.getsockname()[0] for sock in server.sockets} == {"127.0.0.1", "127.0.0.2"}
        text = repr(server)
        assert text.startswith(f"<{type(server).__name__} sockets=(<asyncio.TransportSocket ")
        server.close()
        assert server.sockets == ()
        assert "sockets=()" in repr(server)
        await server.wait_closed()

    run(main)


def test_isinstance(run):
    """Point 24: it is an asyncio.Server; websockets' tests read _ssl_context, others _loop and _sockets."""

    async def main():
        server, _ = await serving()
        assert isinstance(server, asyncio.AbstractServer)
        assert isinstance(server, asyncio.base_events.Server)
        assert server._ssl_context is None
        assert server._loop is asyncio.get_running_loop()
        server.close()
        await server.wait_closed()

    run(main)


def test_start_serving(run):
    """Point 31: not before it is asked to, and idempotent."""

    async def main():
        server, made = await serving(start_serving=False)
        assert not server.is_serving()
        assert refused(address_of(server))
        for _ in range(3):
            await server.start_serving()
            assert server.is_serving()
        client, protocol = await connect(server, made)
        client.close()
        await protocol.lost
        assert len(made) == 1
        server.close()
        await server.wait_closed()

    run(main)


def test_many_waiting_connections(run):
    """A backlog of clients is accepted whole, though only one event may tell of it."""

    async def main():
        server, made = await serving()
        clients = [socket.create_connection(address_of(server)) for _ in range(100)]
        while len(made) < 100:
            await polls(1)
        for client in clients:
            client.close()
        for protocol in made:
            await protocol.lost
        server.close()
        await server.wait_closed()

    run(main)


def test_client_that_is_gone_before_it_is_accepted(run):
    """A connection reset while it waits does no harm to the server."""
    from aio_support import reset

    async def main():
        server, made = await serving()
        for _ in range(10):
            reset(socket.create_connection(address_of(server)))
        client, _ = await connect(server, made)
        client.send(b"alive")
        while not any(protocol.data for protocol in made):
            await polls(1)
        client.close()
        for protocol in made:
            await protocol.lost
        server.close()
        await server.wait_closed()

    run(main)


def test_passed_socket(run):
    """create_server(sock=): the caller's socket, listened on, made non-blocking and closed by the server."""

    async def main():
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        number = sock.fileno()
        server = await loop.create_server(Recorder, sock=sock)
        assert sock.gettimeout() == 0 and sock.fileno() == number
        assert server.sockets[0].fileno() == number
        with socket.create_connection(sock.getsockname()):
            pass
        await polls()
        server.close()
        assert sock.fileno() == -1
        await server.wait_closed()

    run(main)


def test_reuse_address(run):
    """A port just closed, with connections of it in TIME_WAIT, can be listened on again at once."""

    async def main():
        loop = asyncio.get_running_loop()
        server, made = await serving()
        address = address_of(server)
        client, protocol = await connect(server, made)
        protocol.transport.close()  # the server's side closes first: that is where TIME_WAIT is
        await protocol.lost
        client.close()
        server.close()
        await server.wait_closed()
        server = await loop.create_server(Recorder, *address)
        assert address_of(server) == address
        server.close()
        await server.wait_closed()

    run(main)


def test_reuse_port(run):
    """Two servers on one port if both ask for it, one otherwise."""

    async def main():
        loop = asyncio.get_running_loop()
        first, _ = await serving(reuse_port=True)
        second = await loop.create_server(Recorder, *address_of(first), reuse_port=True)
        with pytest.raises(OSError) as caught:
            await loop.create_server(Recorder, *address_of(first))
        assert caught.value.errno == errno.EADDRINUSE
        for server in (first, second):
            server.close()
            await server.wait_closed()

    run(main)


@pytest.mark.parametrize(
    ("kwargs", "kind", "text"),
    [
        ({"ssl": True}, TypeError, "ssl argument must be an SSLContext or None"),
        ({"ssl_handshake_timeout": 1}, ValueError, "only meaningful with ssl"),
        ({"ssl_shutdown_timeout": 1}, ValueError, "only meaningful with ssl"),
        ({"host": None, "port": None}, ValueError, "Neither host/port nor sock were specified"),
    ],
    ids=["ssl=True", "handshake", "shutdown", "nothing"],
)
def test_wrong_arguments(run, kwargs, kind, text):
    """Errors of the call, in asyncio's words."""

    async def main():
        loop = asyncio.get_running_loop()
        kwargs.setdefault("host", "127.0.0.1")
        kwargs.setdefault("port", 0)
        with pytest.raises(kind, match=text):
            await loop.create_server(Recorder, **kwargs)
        with socket.socket() as sock, pytest.raises(ValueError, match="can not be specified at"):
            await loop.create_server(Recorder, "127.0.0.1", 0, sock=sock)

    run(main)


def test_many_at_once_and_one_by_one(run):
    """However many wait to be accepted, all are, in the order of their coming, and those that come after them."""

    async def main():
        server, made = await serving(backlog=100)
        clients = []
        for burst in (1, 1, 60, 1, 1, 1, 7, 30, 1):
            for _ in range(burst):
                clients.append(socket.create_connection(address_of(server)))
            while len(made) < len(clients):
                await polls(1)
        for client, protocol in zip(clients, made, strict=True):
            await protocol.made
            assert protocol.transport.get_extra_info("peername") == client.getsockname()
            client.close()
            await protocol.lost
        server.close()
        await server.wait_closed()

    run(main)
