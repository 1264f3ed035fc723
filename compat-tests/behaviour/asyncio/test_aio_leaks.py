"""What is left behind by the rest: servers, watchers, failed connections, buffers."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
import weakref

import pytest
from aio_support import (
    MORE_THAN_KERNEL_TAKES,
    PAIRS,
    Recorder,
    polls,
    tcp_pair,
)


def collected(*refs):
    """Whether the weak references are dead, after a collection."""
    gc.collect()
    return [ref() for ref in refs] == [None] * len(refs)


def test_closed_server_is_collected(run):
    """Server, its sockets and the factory go when it is closed and its connections are gone."""

    async def main():
        loop = asyncio.get_running_loop()

        class Factory:
            def __call__(self):
                return Recorder()

        factory = Factory()
        server = await loop.create_server(factory, "127.0.0.1", 0)
        transport, protocol = await loop.create_connection(
            Recorder, *server.sockets[0].getsockname()
        )
        transport.close()
        await protocol.lost
        await polls()
        refs = weakref.ref(server), weakref.ref(factory)
        server.close()
        await server.wait_closed()
        del server, factory, transport, protocol
        await polls(2)
        assert collected(*refs)

    run(main)


def test_removed_watchers_are_collected(run):
    """A callback removed, or replaced, is let go of at once."""

    async def main():
        loop = asyncio.get_running_loop()

        class Callback:
            def __call__(self):
                pass

        one, other = socket.socketpair()
        with one, other:
            callbacks = [Callback() for _ in range(3)]
            refs = [weakref.ref(callback) for callback in callbacks]
            loop.add_reader(one, callbacks[0])
            loop.add_reader(one, callbacks[1])
            loop.add_writer(one, callbacks[2])
            loop.remove_reader(one)
            loop.remove_writer(one)
            callbacks.clear()
            await polls(1)
            assert collected(*refs)

    run(main)


def test_closed_loop_lets_go_of_watchers(new_loop):
    """Callbacks and arguments of watchers go with the loop's close()."""
    loop = new_loop()

    class Held:
        pass

    held = Held()
    ref = weakref.ref(held)
    one, other = socket.socketpair()
    with one, other:
        loop.add_reader(one, print, held)
        loop.add_writer(one, print, held)
        del held
        loop.close()
        assert collected(ref)


@pytest.mark.parametrize("make_pair", PAIRS.values(), ids=PAIRS)
def test_hundred_connections_leave_no_descriptor(run, make_pair):
    """Counted while the loop lives: as many as before."""

    async def main():
        loop = asyncio.get_running_loop()

        async def one_connection():
            ours, peer = make_pair()
            transport, protocol = await loop.create_connection(Recorder, sock=ours)
            transport.write(b"x")
            peer.close()
            await protocol.lost

        await one_connection()
        before = sorted(os.listdir("/proc/self/fd"))
        for _ in range(100):
            await one_connection()
        await polls(1)
        assert sorted(os.listdir("/proc/self/fd")) == before

    run(main)


def test_failed_connects_leave_no_descriptor(run):
    """Refused, cancelled, wrong: nothing stays open."""

    async def main():
        loop = asyncio.get_running_loop()
        with socket.socket() as deaf:
            deaf.bind(("127.0.0.1", 0))
            before = sorted(os.listdir("/proc/self/fd"))
            for _ in range(20):
                with pytest.raises(ConnectionRefusedError):
                    await loop.create_connection(Recorder, *deaf.getsockname())
                task = asyncio.ensure_future(loop.create_connection(Recorder, *deaf.getsockname()))
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
                if not task.cancelled():
                    assert isinstance(task.exception(), ConnectionRefusedError)
                with pytest.raises(OSError):
                    await loop.create_server(Recorder, "192.0.2.1", 0)
            await polls(1)
            gc.collect()
            assert sorted(os.listdir("/proc/self/fd")) == before

    run(main)


def test_memory_of_buffers_is_given_back(run):
    """A written object is let go of when it has been sent, or dropped by abort()."""

    async def main():
        loop = asyncio.get_running_loop()

        class Bytes(bytes):
            """bytes that can be weakly referenced"""

        for sent in (True, False):
            ours, peer = tcp_pair()
            transport, protocol = await loop.create_connection(Recorder, sock=ours)
            data = Bytes(MORE_THAN_KERNEL_TAKES)
            alive = sys.getrefcount(data)
            transport.write(data)
            if sent:
                total = 0
                while total < MORE_THAN_KERNEL_TAKES:
                    total += len(await loop.sock_recv(peer, 1 << 20))
                await polls(1)
            else:
                transport.abort()
                await protocol.lost
            assert sys.getrefcount(data) == alive
            transport.abort()
            await protocol.lost
            peer.close()

    run(main)
