"""Point 28: protocol callbacks that raise. Which are fatal, which are only reported, and in which words."""

from __future__ import annotations

import asyncio
import gc
import socket
import warnings

import pytest
from aio_support import Contexts, Recorder, connected, polls, recv_exactly, recv_to_eof, tcp_pair


def fail(protocol):
    raise LookupError("in the protocol")


@pytest.mark.parametrize("name", ["data_received", "eof_received"])
def test_fatal(run, name):
    """data_received and eof_received that raise end the connection with that exception; it is told once."""

    async def main():
        contexts = Contexts(asyncio.get_running_loop())
        async with connected(**{name: fail}) as (transport, protocol, peer):
            peer.send(b"hello")
            if name == "eof_received":
                peer.shutdown(socket.SHUT_WR)
            exc = await protocol.lost
            assert type(exc) is LookupError
            (context,) = contexts
            assert context["message"] == f"Fatal error: protocol.{name}() call failed."
            assert context["exception"] is exc
            assert context["transport"] is transport
            assert context["protocol"] is protocol
            assert transport.is_closing()
            if name == "eof_received":
                assert await recv_to_eof(peer) == b""
            await polls()
            assert protocol.lost_with == [exc] and len(contexts) == 1

    run(main)


def test_fatal_drops_what_is_buffered(run):
    """A fatal error does not wait for the backlog."""

    async def main():
        contexts = Contexts(asyncio.get_running_loop())
        async with connected(data_received=fail) as (transport, protocol, peer):
            transport.write(bytes(16 << 20))
            peer.send(b"x")
            assert type(await protocol.lost) is LookupError
            assert transport.get_write_buffer_size() == 0
            assert len(contexts) == 1

    run(main)


def test_os_error_of_data_received(run):
    """An OSError ends the connection with it as well."""

    async def main():
        Contexts(asyncio.get_running_loop())

        def raise_os_error(protocol):
            raise OSError(5, "mine")

        async with connected(data_received=raise_os_error) as (_transport, protocol, peer):
            peer.send(b"x")
            exc = await protocol.lost
            assert (type(exc), exc.errno) == (OSError, 5)

    run(main)


def test_connection_made_is_only_reported(run):
    """connection_made runs by call_soon: reported with the handle; the connection stays open and reads."""

    async def main():
        loop = asyncio.get_running_loop()
        contexts = Contexts(loop)
        async with connected(connection_made=fail) as (transport, protocol, peer):
            (context,) = contexts
            assert type(context["exception"]) is LookupError
            assert "connection_made" in context["message"]
            assert isinstance(context["handle"], asyncio.Handle)
            peer.send(b"still open")
            assert await protocol.received(10) == b"still open"
            assert not transport.is_closing()

    run(main)


def test_connection_lost_is_only_reported(run):
    """connection_lost that raises is reported; the socket is closed all the same."""

    async def main():
        loop = asyncio.get_running_loop()
        contexts = Contexts(loop)
        ours, peer = tcp_pair()
        with peer:
            transport, protocol = await loop.create_connection(
                lambda: Recorder(connection_lost=fail), sock=ours
            )
            transport.close()
            await protocol.lost
            await polls(1)
            assert ours.fileno() == -1
            (context,) = contexts
            assert type(context["exception"]) is LookupError
            assert protocol.events == ["made", "lost"]

    run(main)


def test_connection_lost_that_raises_frees_its_server(run):
    """The server does not wait for such a connection for ever."""

    async def main():
        loop = asyncio.get_running_loop()
        contexts = Contexts(loop)
        made = loop.create_future()
        server = await loop.create_server(
            lambda: Recorder(connection_made=made.set_result, connection_lost=fail), "127.0.0.1", 0
        )
        with socket.create_connection(server.sockets[0].getsockname()):
            protocol = await made
            protocol.transport.abort()
            server.close()
            await server.wait_closed()
            await protocol.lost
            await polls(1)
        assert len(contexts) == 1

    run(main)


@pytest.mark.parametrize("name", ["connection_made", "data_received", "eof_received"])
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_base_exceptions_leave_the_run(new_loop, name, error):
    """Point 4: they leave run_forever; the connection is not lost by it and goes on in the next run."""
    loop = new_loop()

    def leave(protocol):
        raise error("out")

    async def connect():
        ours, peer = tcp_pair()
        protocol = Recorder(**{name: leave})
        task = asyncio.ensure_future(loop.create_connection(lambda: protocol, sock=ours))
        if name != "connection_made":
            await task
        return protocol, peer, task

    protocol, peer, task = loop.run_until_complete(connect())
    with peer:
        if name != "connection_made":
            peer.send(b"x")
        if name == "eof_received":
            peer.shutdown(socket.SHUT_WR)
        with pytest.raises(error, match="out"):
            loop.run_forever()
        protocol.hooks.clear()
        assert not protocol.lost.done()
        loop.run_until_complete(task)
        if name != "eof_received":
            peer.send(b"more")
            loop.run_until_complete(protocol.received(4))
        protocol.transport.abort()
        loop.run_until_complete(protocol.lost)


def test_cancelled_error_of_data_received_is_fatal(run):
    """Any other BaseException is fatal like an Exception: CancelledError here."""

    async def main():
        contexts = Contexts(asyncio.get_running_loop())

        def cancel(protocol):
            raise asyncio.CancelledError

        async with connected(data_received=cancel) as (_transport, protocol, peer):
            peer.send(b"x")
            assert type(await protocol.lost) is asyncio.CancelledError
            assert len(contexts) == 1

    run(main)


@pytest.mark.parametrize("debug", [False, True])
def test_server_factory_that_raises(run, debug):
    """The accepted connection is closed; told in debug mode at least; the next one is served."""

    async def main():
        loop = asyncio.get_running_loop()
        messages = []
        loop.set_exception_handler(lambda loop, context: messages.append(context["message"]))
        made = []

        def factory():
            if not made:
                made.append(None)
                raise LookupError("no protocol")
            made.append(Recorder())
            return made[-1]

        server = await loop.create_server(factory, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        with socket.create_connection(address) as client, warnings.catch_warnings():
            # Stock has no transport to close, and leaves the socket to the garbage collector.
            warnings.simplefilter("ignore", ResourceWarning)
            while not made:
                await polls(1)
            await polls()
            gc.collect()
            client.settimeout(0)
            assert client.recv(10) == b""
        with socket.create_connection(address) as client:
            client.send(b"served")
            while len(made) < 2:
                await polls(1)
            assert await made[1].received(6) == b"served"
        await made[1].lost
        server.close()
        await server.wait_closed()
        # Stock keeps it to itself without debug mode; to tell it then too is no fault.
        assert messages in (
            [["Error on transport creation for incoming connection"]] + [[]] * (not debug)
        )

    run(main, debug=debug)


def test_client_factory_that_raises(run):
    """The exception comes out of create_connection."""

    async def main():
        loop = asyncio.get_running_loop()
        ours, peer = tcp_pair()
        with ours, peer:

            def factory():
                raise LookupError("no protocol")

            with pytest.raises(LookupError, match="no protocol"):
                await loop.create_connection(factory, sock=ours)

    run(main)


def test_protocol_without_methods(run):
    """A protocol that lacks a method fails in that call only."""

    async def main():
        loop = asyncio.get_running_loop()
        contexts = Contexts(loop)
        lost = loop.create_future()

        class Bare:
            def connection_made(self, transport):
                self.transport = transport

            def connection_lost(self, exc):
                lost.set_result(exc)

        ours, peer = tcp_pair()
        with peer:
            transport, protocol = await loop.create_connection(Bare, sock=ours)
            transport.write(b"works")
            assert await recv_exactly(peer, 5) == b"works"
            peer.send(b"x")
            assert type(await lost) is AttributeError
            assert contexts[0]["protocol"] is protocol

    run(main)
