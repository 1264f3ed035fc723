"""Point 31: TCP servers. Starting, serving, closing, waiting for the end."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys

import pytest
from aio_support import Recorder, polls, recv_exactly, turns


async def serving(factory=Recorder, host="127.0.0.1", **kwargs):
    """A server, and the list its protocols are put into."""
    made = []
    server = await asyncio.get_running_loop().create_server(
        lambda: made.append(factory()) or made[-1], host, 0, **kwargs
    )
    return server, made


def address_of(server):
    return server.sockets[0].getsockname()


def refused(address):
    """Whether a blocking client's connect() is refused."""
    with socket.socket() as client:
        return client.connect_ex(address) == errno.ECONNREFUSED


async def connect(server, made):
    """A blocking client of the server, and the protocol that serves it."""
    count = len(made)
    client = socket.create_connection(address_of(server))
    client.setblocking(False)
    while len(made) == count:
        await polls(1)
    await made[-1].made
    return client, made[-1]


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


def test_close_refuses_at_once(run):
    """Point 31: a blocking client's connect() right after close() is refused, without a turn of the loop."""

    async def main():
        server, _ = await serving()
        address = address_of(server)
        with socket.create_connection(address):
            pass
        server.close()
        assert refused(address)
        server.close()
        await server.wait_closed()

    run(main)


def test_connections_outlive_close(run):
    """close() only stops listening."""

    async def main():
        server, made = await serving()
        client, protocol = await connect(server, made)
        with client:
            server.close()
            await turns()
            client.send(b"still")
            assert await protocol.received(5) == b"still"
            protocol.transport.write(b"here")
            assert await recv_exactly(client, 4) == b"here"
        await protocol.lost
        await server.wait_closed()

    run(main)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="wait_closed() returned at once before 3.12")
def test_wait_closed(run):
    """Point 31: it ends when the server is closed and the last connection is gone, in either order."""

    async def main():
        server, made = await serving()
        client, protocol = await connect(server, made)
        waiters = [asyncio.ensure_future(server.wait_closed()) for _ in range(2)]
        await polls()
        assert not any(waiter.done() for waiter in waiters)
        server.close()
        await polls()
        waiters.append(asyncio.ensure_future(server.wait_closed()))
        await turns()
        assert not any(waiter.done() for waiter in waiters)
        client.close()
        await protocol.lost
        await asyncio.gather(*waiters)
        await server.wait_closed()

        server, made = await serving()
        client, protocol = await connect(server, made)
        client.close()
        await protocol.lost
        waiter = asyncio.ensure_future(server.wait_closed())
        await polls()
        assert not waiter.done()
        server.close()
        await waiter

    run(main)


def test_wait_closed_of_an_idle_server(run):
    """Without connections close() is enough."""

    async def main():
        server, _ = await serving()
        server.close()
        await server.wait_closed()
        await server.wait_closed()

    run(main)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="came with 3.13")
@pytest.mark.parametrize("how", ["close_clients", "abort_clients"])
def test_ending_the_clients(run, how):
    """Point 31: close_clients() lets the backlog go out, abort_clients() does not."""

    async def main():
        server, made = await serving()
        clients = [await connect(server, made) for _ in range(3)]
        big = bytes(16 << 20)
        clients[0][1].transport.write(big)
        server.close()
        getattr(server, how)()
        assert all(protocol.transport.is_closing() for _, protocol in clients)
        if how == "close_clients":
            await polls()
            assert not clients[0][1].lost.done()
            assert len(await recv_exactly(clients[0][0], len(big))) == len(big)
        await server.wait_closed()
        for client, protocol in clients:
            assert await protocol.lost is None
            client.close()

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


def test_close_before_serving(run):
    """A server that never served closes its sockets."""

    async def main():
        server, _ = await serving(start_serving=False)
        server.close()
        await server.wait_closed()
        with pytest.raises((RuntimeError, AssertionError, TypeError)):
            await server.start_serving()

    run(main)


def test_serve_forever(run):
    """Point 31: it serves until cancelled, and is closed then; one at a time; not when closed."""

    async def main():
        server, made = await serving(start_serving=False)
        task = asyncio.ensure_future(server.serve_forever())
        await turns(2)
        assert server.is_serving()
        with pytest.raises(RuntimeError, match="is already being awaited on serve_forever"):
            await server.serve_forever()
        client, protocol = await connect(server, made)
        client.close()
        await protocol.lost
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert server.sockets == () and not server.is_serving()
        with pytest.raises(RuntimeError, match="is closed"):
            await server.serve_forever()

    run(main)


def test_serve_forever_ended_by_close(run):
    """close() cancels serve_forever."""

    async def main():
        server, _ = await serving()
        task = asyncio.ensure_future(server.serve_forever())
        await turns(2)
        server.close()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)


def test_context_manager(run):
    """`async with` closes it."""

    async def main():
        server, _ = await serving()
        address = address_of(server)
        async with server as entered:
            assert entered is server
        assert refused(address) and server.sockets == ()

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


def test_connections_waiting_at_close(run):
    """Clients in the backlog that were not accepted when close() came see the end or a reset, not a hang."""

    async def main():
        server, made = await serving()
        clients = [socket.create_connection(address_of(server)) for _ in range(5)]
        server.close()
        for client in clients:
            client.setblocking(False)
            try:
                assert await asyncio.get_running_loop().sock_recv(client, 10) == b""
            except ConnectionResetError:
                pass
            client.close()
        await polls()
        assert made == []
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


def test_closing_within_connection_made(run):
    """The server closed by the first connection it makes: that one lives, the server ends with it."""

    async def main():
        loop = asyncio.get_running_loop()
        made = []

        def factory():
            made.append(Recorder(connection_made=lambda p: server.close()))
            return made[-1]

        server = await loop.create_server(factory, "127.0.0.1", 0)
        client = socket.create_connection(address_of(server))
        while not made:
            await polls(1)
        await made[0].made
        assert server.sockets == ()
        client.send(b"still")
        assert await made[0].received(5) == b"still"
        client.close()
        await made[0].lost
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


def test_closed_with_the_loop(new_loop):
    """A loop closed with a server and connections open closes their descriptors with the objects."""
    loop = new_loop()
    server, _ = loop.run_until_complete(serving())
    address = address_of(server)
    server.close()
    loop.run_until_complete(server.wait_closed())
    loop.close()
    assert refused(address)
