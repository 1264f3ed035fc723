"""BufferedProtocol: buffers of odd sizes and kinds, and what happens when get_buffer or buffer_updated misbehave."""

from __future__ import annotations

import asyncio
import mmap
import os
import socket
import sys

import pytest
from aio_support import (
    PAIRS,
    BufferedRecorder,
    Contexts,
    Recorder,
    connected,
    polls,
    tcp_pair,
)


@pytest.mark.parametrize("make_pair", PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("size", [1, 7, 1000, 65536, 1 << 20, 5_000_001])
def test_sizes(run, make_pair, size):
    """Whatever the buffer holds, the stream is the same: no byte lost, doubled, or beyond the buffer's end."""

    async def main():
        loop = asyncio.get_running_loop()
        data = os.urandom(3_000 if size < 10 else 3_000_000)

        def updated(protocol):
            assert len(protocol.buffer) == size

        async with connected(
            make_pair, lambda **kw: BufferedRecorder(size, **kw), buffer_updated=updated
        ) as (_transport, protocol, peer):
            await loop.sock_sendall(peer, data)
            assert await protocol.received(len(data)) == data
            peer.shutdown(socket.SHUT_WR)
            await protocol.lost
            assert protocol.events == ["made", "data", "eof", "lost"]

    run(main)


def test_changing_sizes(run):
    """A new buffer each time, of another size: each call gets what fits in the buffer of that call."""

    async def main():
        loop = asyncio.get_running_loop()
        sizes = iter([1, 2, 3, 5, 8, 13, 21, 34, 55, 89] * 1000)

        class Changing(BufferedRecorder):
            def get_buffer(self, sizehint):
                self.buffer = bytearray(next(sizes))
                return self.buffer

            def buffer_updated(self, nbytes):
                assert 0 < nbytes <= len(self.buffer)
                super().buffer_updated(nbytes)

        async with connected(factory=Changing) as (_transport, protocol, peer):
            data = os.urandom(10_000)
            await loop.sock_sendall(peer, data)
            assert await protocol.received(len(data)) == data

    run(main)


BUFFERS = {
    "bytearray": lambda: bytearray(100),
    "memoryview": lambda: memoryview(bytearray(100)),
    "part": lambda: memoryview(bytearray(1000))[50:60],
    "mmap": lambda: mmap.mmap(-1, 4096),
}


@pytest.mark.parametrize("kind", BUFFERS)
def test_kinds(run, kind):
    """Anything writable with the buffer interface will do."""

    async def main():
        loop = asyncio.get_running_loop()

        class Kind(BufferedRecorder):
            def __init__(self, **hooks):
                super().__init__(**hooks)
                self.buffer = BUFFERS[kind]()

        async with connected(factory=Kind) as (_transport, protocol, peer):
            await loop.sock_sendall(peer, b"0123456789" * 50)
            assert await protocol.received(500) == b"0123456789" * 50
        if kind == "mmap":
            protocol.buffer.close()

    run(main)


def test_size_hint(run):
    """The hint is an int: -1 for no idea, or a size."""

    async def main():
        async with connected(factory=BufferedRecorder) as (_transport, protocol, peer):
            peer.send(b"x")
            await protocol.received(1)
            assert protocol.hints
            assert all(type(hint) is int and (hint == -1 or hint > 0) for hint in protocol.hints)

    run(main)


def test_buffer_is_not_exported_between_calls(run):
    """After buffer_updated returns nothing holds the buffer: a bytearray can be resized."""

    async def main():
        loop = asyncio.get_running_loop()

        class Shrinking(BufferedRecorder):
            def buffer_updated(self, nbytes):
                super().buffer_updated(nbytes)
                loop.call_soon(self.resize)

            def resize(self):
                self.buffer.extend(b"\0")

        async with connected(factory=Shrinking) as (_transport, protocol, peer):
            for n in range(1, 20):
                peer.send(b"x")
                await protocol.received(n)
            await polls(1)
            assert len(protocol.buffer) > 65536

    run(main)


def test_buffer_may_be_resized_in_buffer_updated(run):
    """Within it too: the bytes are the protocol's."""

    async def main():
        class Taking(BufferedRecorder):
            def buffer_updated(self, nbytes):
                super().buffer_updated(nbytes)
                del self.buffer[:nbytes]
                self.buffer += bytes(nbytes)

        async with connected(factory=Taking) as (_transport, protocol, peer):
            for n in range(1, 20):
                peer.send(b"x")
                await protocol.received(n)

    run(main)


def raise_lookup_error(protocol):
    raise LookupError("in the protocol")


GET = "Fatal error: protocol.get_buffer() call failed."
UPDATED = "Fatal error: protocol.buffer_updated() call failed."
READ = "Fatal read error on socket transport"
MISBEHAVIOUR = {
    "raises": ({"get_buffer": raise_lookup_error}, LookupError, GET),
    "empty": ({"get_buffer": lambda p: bytearray()}, RuntimeError, GET),
    "empty view": ({"get_buffer": lambda p: memoryview(bytearray(5))[:0]}, RuntimeError, GET),
    "no buffer": ({"get_buffer": lambda p: 5}, TypeError, GET),
    "read-only": ({"get_buffer": lambda p: b"12345"}, (TypeError, BufferError), READ),
    "updated raises": ({"buffer_updated": raise_lookup_error}, LookupError, UPDATED),
}


@pytest.mark.parametrize("name", MISBEHAVIOUR)
def test_misbehaviour_is_fatal(run, name):
    """Point 28: told with protocol and transport, then connection_lost with that exception, and nothing else."""
    hooks, kind, message = MISBEHAVIOUR[name]

    async def main():
        contexts = Contexts(asyncio.get_running_loop())
        async with connected(factory=BufferedRecorder, **hooks) as (transport, protocol, peer):
            peer.send(b"hello")
            exc = await protocol.lost
            assert isinstance(exc, kind)
            assert protocol.events in (["made", "lost"], ["made", "data", "lost"])
            (context,) = contexts
            # Which of the two steps finds out that a buffer is none is not promised.
            assert context["message"] in (
                {GET, READ} if "buffer" in name or "only" in name else {message}
            )
            assert context["exception"] is exc
            assert context["transport"] is transport and context["protocol"] is protocol
            assert transport.is_closing()
            if name.startswith("empty"):
                assert "empty buffer" in str(exc)
            await polls()
            assert len(protocol.lost_with) == len(contexts) == 1

    run(main)


@pytest.mark.parametrize("name", ["get_buffer", "buffer_updated"])
def test_base_exception_leaves_the_run(new_loop, name):
    """Point 4: SystemExit out of the protocol leaves run_forever; the connection is not lost by it."""
    loop = new_loop()
    armed = []

    def leave(protocol):
        if armed:
            sys.exit(5)

    async def connect():
        ours, peer = tcp_pair()
        _, protocol = await loop.create_connection(
            lambda: BufferedRecorder(**{name: leave}), sock=ours
        )
        return protocol, peer

    protocol, peer = loop.run_until_complete(connect())
    armed.append(1)
    peer.send(b"x")
    with pytest.raises(SystemExit):
        loop.run_forever()
    armed.clear()
    assert not protocol.lost.done()
    peer.send(b"y")
    loop.run_until_complete(protocol.received(1))
    protocol.transport.abort()
    loop.run_until_complete(protocol.lost)
    peer.close()


ACTIONS = {
    "close": lambda protocol: protocol.transport.close(),
    "abort": lambda protocol: protocol.transport.abort(),
    "pause": lambda protocol: protocol.transport.pause_reading(),
}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("where", ["get_buffer", "buffer_updated"])
def test_reentrancy(run, where, action):
    """close, abort and pause_reading from within: what was read may still be told once, then nothing."""

    async def main():
        contexts = Contexts(asyncio.get_running_loop())
        calls = []

        def act(protocol):
            calls.append(where)
            ACTIONS[action](protocol)

        async with connected(factory=lambda **kw: BufferedRecorder(3, **kw), **{where: act}) as (
            transport,
            protocol,
            peer,
        ):
            peer.send(b"0123456789")
            await polls()
            if action == "pause":
                assert len(protocol.data) <= 3 and not transport.is_reading()
                before = len(protocol.data)
                await polls()
                assert len(protocol.data) == before
            else:
                await protocol.lost
                assert protocol.lost_with == [None]
                assert len(protocol.data) <= 3
            assert len(calls) == 1
            await polls()
            assert protocol.events.count("lost") <= 1
        assert contexts == []

    run(main)


def test_switching_to_a_plain_protocol_within(run):
    """set_protocol from buffer_updated: each byte goes to exactly one of the two."""

    async def main():
        loop = asyncio.get_running_loop()
        plain = Recorder()
        ours, peer = tcp_pair()
        with peer:

            def switch(protocol):
                if protocol.transport.get_protocol() is protocol:
                    protocol.transport.set_protocol(plain)

            transport, protocol = await loop.create_connection(
                lambda: BufferedRecorder(5, buffer_updated=switch), sock=ours
            )
            peer.send(b"0123456789")
            while len(protocol.data) + len(plain.data) < 10:
                await polls(1)
            assert protocol.data + plain.data == b"0123456789"
            transport.close()
            await plain.lost

    run(main)


def test_eof(run):
    """The end is told by eof_received as for any protocol; a true answer keeps the connection half open."""

    async def main():
        async with connected(factory=BufferedRecorder, eof_received=lambda p: True) as (
            transport,
            protocol,
            peer,
        ):
            peer.send(b"last")
            peer.shutdown(socket.SHUT_WR)
            await protocol.ended
            assert protocol.data == b"last" and not transport.is_closing()
            transport.write(b"answer")
            assert await asyncio.get_running_loop().sock_recv(peer, 100) == b"answer"

    run(main)


def test_by_its_class(run):
    """A protocol brings its buffer when isinstance() says so: by its class, as it is now, or by what it says its class is."""

    class Either(Recorder):
        """Both kinds in one."""

        def get_buffer(self, sizehint):
            self.buffer = bytearray(100)
            return self.buffer

        def buffer_updated(self, nbytes):
            self.events.append("updated")

    class Pretending(Either):
        @property
        def __class__(self):
            return asyncio.BufferedProtocol

    class Mixed(Either):
        pass

    async def reported(factory):
        async with connected(factory=factory) as (_transport, protocol, peer):
            peer.send(b"x")
            while len(protocol.events) == 1:
                await polls(1)
            return protocol.events[1]

    async def main():
        for _ in range(2):
            assert await reported(Either) == "data"
            assert await reported(Pretending) == "updated"
            assert await reported(Mixed) == "data"
        assert await reported(Mixed) == "data"
        Mixed.__bases__ = (Either, asyncio.BufferedProtocol)
        assert await reported(Mixed) == "updated"
        Mixed.__bases__ = (Either,)
        assert await reported(Mixed) == "data"

    run(main)
