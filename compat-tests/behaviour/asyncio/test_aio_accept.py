"""A server without resources: EMFILE on accept is reported, does not spin, and is got over."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket

import pytest
from aio_support import Recorder


@pytest.fixture
def few_descriptors():
    """Makes all descriptor numbers used up; `release()` frees some again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = []

    class Few:
        def use_up(self):
            highest = max(int(name) for name in os.listdir("/proc/self/fd"))
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 20, hard))
            while True:
                try:
                    held.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
                except OSError as exc:
                    if exc.errno != errno.EMFILE:
                        raise
                    return

        def release(self):
            while held:
                os.close(held.pop())
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    few = Few()
    yield few
    few.release()


def test_out_of_descriptors(run, few_descriptors, monkeypatch):
    """Told by the exception handler with the socket; accepting goes on by itself when there are some again."""
    monkeypatch.setattr("asyncio.constants.ACCEPT_RETRY_DELAY", 0.01)

    async def main():
        loop = asyncio.get_running_loop()
        contexts = []
        told = loop.create_future()

        def handler(loop, context):
            contexts.append(context)
            if not told.done():
                told.set_result(None)

        loop.set_exception_handler(handler)
        made = []
        server = await loop.create_server(
            lambda: made.append(Recorder()) or made[-1], "127.0.0.1", 0
        )
        address = server.sockets[0].getsockname()
        clients = [socket.socket() for _ in range(3)]
        few_descriptors.use_up()
        for client in clients:
            client.connect(address)
        await told
        await asyncio.sleep(0)
        few_descriptors.release()
        while len(made) < len(clients):
            await asyncio.sleep(0.001)
        for client, protocol in zip(clients, made, strict=True):
            client.close()
            await protocol.lost
        server.close()
        await server.wait_closed()
        return contexts

    contexts = run(main)
    for context in contexts:
        assert context["message"] == "socket.accept() out of system resource"
        assert context["exception"].errno == errno.EMFILE
        assert isinstance(context["socket"], asyncio.trsock.TransportSocket)


def test_does_not_spin(run, few_descriptors, monkeypatch):
    """While it waits to try again, the loop does not come back to the listener every turn."""
    monkeypatch.setattr("asyncio.constants.ACCEPT_RETRY_DELAY", 3600)

    async def main():
        loop = asyncio.get_running_loop()
        contexts = []
        told = loop.create_future()

        def handler(loop, context):
            contexts.append(context)
            if not told.done():
                told.set_result(None)

        loop.set_exception_handler(handler)
        one, other = socket.socketpair()
        server = await loop.create_server(Recorder, "127.0.0.1", 0, backlog=100)
        with socket.socket() as client:
            few_descriptors.use_up()
            client.connect(server.sockets[0].getsockname())
            await told
            # Polls without a new descriptor: the pair was made before.
            for _ in range(500):
                seen = loop.create_future()
                loop.add_reader(one, lambda f=seen: f.done() or f.set_result(None))
                other.send(b"x")
                await seen
                loop.remove_reader(one)
                one.recv(1)
            few_descriptors.release()
            server.close()
            await server.wait_closed()
        one.close()
        other.close()
        return len(contexts)

    # One batch of accepts may tell once for each try of its backlog of 100; the turns after it tell nothing.
    assert run(main) <= 100


@pytest.mark.stock_wrong("the retry listens on the closed socket: ValueError in a callback")
def test_closed_while_it_waits_to_try_again(run, few_descriptors, monkeypatch):
    """The time to try again comes after the server was closed: nothing happens, nothing is told."""
    monkeypatch.setattr("asyncio.constants.ACCEPT_RETRY_DELAY", 0.01)

    async def main():
        loop = asyncio.get_running_loop()
        told = loop.create_future()
        contexts = []

        def handler(loop, context):
            contexts.append(context)
            if not told.done():
                told.set_result(None)

        loop.set_exception_handler(handler)
        server = await loop.create_server(Recorder, "127.0.0.1", 0)
        with socket.socket() as client:
            few_descriptors.use_up()
            client.connect(server.sockets[0].getsockname())
            await told
            few_descriptors.release()
            server.close()
            await server.wait_closed()
        # Due after the retry, which was set before it.
        await asyncio.sleep(0.02)
        return {type(context["exception"]) for context in contexts}

    assert run(main) == {OSError}
