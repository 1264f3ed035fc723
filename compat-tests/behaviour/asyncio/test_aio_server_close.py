"""Point 31: the end of TCP servers. Closing, waiting for it, and those who are connected or about to be."""

from __future__ import annotations

import asyncio
import socket
import sys

import pytest
from aio_servers import address_of, connect, refused, serving
from aio_support import Recorder, polls, recv_exactly, turns


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


def test_closed_with_the_loop(new_loop):
    """A loop closed with a server and connections open closes their descriptors with the objects."""
    loop = new_loop()
    server, _ = loop.run_until_complete(serving())
    address = address_of(server)
    server.close()
    loop.run_until_complete(server.wait_closed())
    loop.close()
    assert refused(address)
