"""getaddrinfo and getnameinfo: by the executor, with the resolver's own answers and errors."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading

import pytest


def test_same_answers_as_the_resolver(run):
    """Arguments go through; the answer is the socket module's."""

    async def main():
        loop = asyncio.get_running_loop()
        for args, kwargs in (
            (("127.0.0.1", 80), {}),
            (("127.0.0.1", "80"), {"type": socket.SOCK_STREAM}),
            (("localhost", 443), {"family": socket.AF_INET, "proto": socket.IPPROTO_TCP}),
            ((None, 0), {"flags": socket.AI_PASSIVE, "family": socket.AF_INET}),
            (("::1", 0), {"flags": socket.AI_NUMERICHOST}),
        ):
            assert await loop.getaddrinfo(*args, **kwargs) == socket.getaddrinfo(*args, **kwargs)
        address = ("127.0.0.1", 80)
        flags = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
        assert await loop.getnameinfo(address, flags) == socket.getnameinfo(address, flags)

    run(main)


def test_runs_in_the_executor(run, monkeypatch):
    """The resolver may block: it is called in another thread, as the socket module has it at that time."""
    called = []

    def getaddrinfo(*args):
        called.append((threading.get_ident(), args))
        return ["answer"]

    async def main():
        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        loop = asyncio.get_running_loop()
        assert await loop.getaddrinfo("name", 80, type=socket.SOCK_STREAM) == ["answer"]

    run(main)
    ((thread, args),) = called
    assert thread != threading.get_ident()
    assert args == ("name", 80, 0, socket.SOCK_STREAM, 0, 0)


def test_errors(run):
    """gaierror comes out as it is."""

    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(socket.gaierror) as caught:
            await loop.getaddrinfo("not a number", 80, flags=socket.AI_NUMERICHOST)
        assert caught.value.errno == socket.EAI_NONAME
        with pytest.raises(TypeError):
            await loop.getnameinfo(5)

    run(main)


@pytest.mark.parametrize("debug", [False, True])
def test_logged_in_debug_mode(run, caplog, debug):
    """Debug mode tells what was asked and how long it took."""
    caplog.set_level(logging.DEBUG, logger="asyncio")

    async def main():
        await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)

    run(main, debug=debug)
    texts = [record.getMessage() for record in caplog.records]
    asked = [text for text in texts if text.startswith("Get address info 127.0.0.1:80, type=")]
    took = [text for text in texts if text.startswith("Getting address info 127.0.0.1:80, type=")]
    assert len(asked) == len(took) == debug


def test_numeric_hosts_need_no_executor(run):
    """Point 32: connecting to, and listening on, numeric addresses makes no thread."""

    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        transport, _ = await loop.create_connection(
            asyncio.Protocol, *server.sockets[0].getsockname()
        )
        transport.abort()
        server.close()
        await server.wait_closed()
        assert loop._default_executor is None

    run(main)
