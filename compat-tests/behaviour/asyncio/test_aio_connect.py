"""Point 32: create_connection. Local addresses, refusals, cancellation at every stage, wrong arguments."""

from __future__ import annotations

import asyncio
import errno
import re
import socket

import pytest
from aio_support import Recorder, connect_and_close, polls


def test_refused(run, closed_ports):
    """ConnectionRefusedError with errno and the address in the text."""

    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(ConnectionRefusedError) as caught:
            await loop.create_connection(Recorder, *closed_ports[0])
        assert caught.value.errno == errno.ECONNREFUSED
        assert f"Connect call failed {closed_ports[0]}" in str(caught.value)

    run(main)


def test_local_addr(run, listener):
    """The connection comes from there."""

    async def main():
        loop = asyncio.get_running_loop()
        host, port = listener.getsockname()
        transport, protocol = await loop.create_connection(
            Recorder, host, port, local_addr=("127.0.0.2", 0)
        )
        assert transport.get_extra_info("sockname")[0] == "127.0.0.2"
        accepted, address = listener.accept()
        assert address == transport.get_extra_info("sockname")
        accepted.close()
        await protocol.lost

    run(main)


def test_local_addr_errors(run, listener):
    """errno, and the address in strerror; a local address of another family is an error of its own."""

    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            with pytest.raises(OSError) as caught:
                await loop.create_connection(
                    Recorder, *listener.getsockname(), local_addr=taken.getsockname()
                )
            assert caught.value.errno == errno.EADDRINUSE
            assert re.search(
                r"error while attempting to bind on address "
                + re.escape(repr(taken.getsockname()))
                + r": .*address already in use",
                caught.value.strerror,
            )
        with pytest.raises(OSError) as caught:
            await loop.create_connection(
                Recorder, *listener.getsockname(), local_addr=("192.0.2.1", 0)
            )
        assert caught.value.errno == errno.EADDRNOTAVAIL

    run(main)


def test_bind_errors_of_servers(run):
    """Same errno; the address in strerror, the reason in lower case; what was bound before is closed."""

    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(OSError) as caught:
                await loop.create_server(Recorder, ["127.0.0.2", "127.0.0.1"], port)
            assert caught.value.errno == errno.EADDRINUSE
            assert re.fullmatch(
                rf"error while attempting to bind on address \('127\.0\.0\.1', {port}\): "
                r"(\[errno 98\] )?address already in use",
                caught.value.strerror,
            )
        with pytest.raises(OSError) as caught:
            await loop.create_server(Recorder, "192.0.2.1", 0)
        assert caught.value.errno in (errno.EADDRNOTAVAIL, None)

    run(main)


def test_cancelled_while_connecting(run):
    """The socket is closed, and nothing stays registered."""

    async def main():
        loop = asyncio.get_running_loop()
        connecting = loop.create_future()
        socks = []

        async def sock_connect(sock, address):
            socks.append(sock)
            connecting.set_result(None)
            await loop.create_future()

        loop.sock_connect = sock_connect
        task = asyncio.ensure_future(loop.create_connection(Recorder, "127.0.0.1", 1))
        await connecting
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert socks[0].fileno() == -1

    run(main)


def test_cancelled_while_the_kernel_connects(run):
    """The same in earnest: a listener whose backlog is full lets connects hang."""

    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
            transports = []
            while True:
                task = asyncio.ensure_future(
                    loop.create_connection(Recorder, *listener.getsockname())
                )
                await polls()
                if not task.done():
                    break
                transports.append(await task)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            for transport, protocol in transports:
                transport.abort()
                await protocol.lost

    run(main)


def test_cancelled_after_the_connection(run, listener):
    """Cancelled between the connection and connection_made: the transport is closed again."""

    async def main():
        loop = asyncio.get_running_loop()
        made = []

        def factory():
            made.append(Recorder())
            task.cancel()
            return made[-1]

        task = asyncio.ensure_future(loop.create_connection(factory, *listener.getsockname()))
        with pytest.raises(asyncio.CancelledError):
            await task
        await made[0].lost
        assert made[0].events in (["made", "lost"], ["lost"])

    run(main)


@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [
        (("h", 1), {"server_hostname": "x"}, "server_hostname is only meaningful with ssl"),
        ((), {"ssl": True}, "You must set server_hostname when using ssl without a host"),
        (("h", 1), {"ssl_handshake_timeout": 1}, "ssl_handshake_timeout is only meaningful"),
        (("h", 1), {"ssl_shutdown_timeout": 1}, "ssl_shutdown_timeout is only meaningful"),
        ((), {}, "host and port was not specified and no sock specified"),
    ],
    ids=["hostname", "no hostname", "handshake", "shutdown", "nothing"],
)
def test_wrong_arguments(run, args, kwargs, text):
    """ValueErrors of the call, in asyncio's words."""

    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(ValueError, match=text):
            await loop.create_connection(Recorder, *args, **kwargs)
        with socket.socket() as sock:
            with pytest.raises(ValueError, match="host/port and sock can not be specified"):
                await loop.create_connection(Recorder, "h", 1, sock=sock)

    run(main)


def test_unconnected_socket(run):
    """A socket that is not connected is the caller's mistake: the connection is lost at once, with the error."""

    async def main():
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        transport, protocol = await loop.create_connection(Recorder, sock=sock)
        assert transport.get_extra_info("peername") is None
        transport.write(b"x")
        assert isinstance(await protocol.lost, OSError)

    run(main)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_ipv6(run):
    """The same over ::1; a server on all addresses has one socket a family."""

    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Recorder, "::1", 0)
        assert (await connect_and_close(*server.sockets[0].getsockname()[:2]))[0] == "::1"
        server.close()
        await server.wait_closed()
        server = await loop.create_server(Recorder, None, 0)
        families = [sock.family for sock in server.sockets]
        assert len(families) == len(set(families)) == 2
        server.close()
        await server.wait_closed()

    run(main)
