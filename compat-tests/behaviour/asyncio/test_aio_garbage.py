"""What is left behind by connections: nothing. Transports and protocols are collected, descriptors closed, and what was
forgotten is told of by a ResourceWarning."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import sys
import warnings
import weakref

import pytest
from aio_support import (
    MORE_THAN_KERNEL_TAKES,
    BufferedRecorder,
    Recorder,
    polls,
    reset,
    resource_warnings,
    tcp_pair,
)


def collected(*refs):
    """Whether the weak references are dead, after a collection."""
    gc.collect()
    return [ref() for ref in refs] == [None] * len(refs)


ENDS = {
    "close": lambda transport, peer: transport.close(),
    "abort": lambda transport, peer: transport.abort(),
    "eof": lambda transport, peer: peer.close(),
    "reset": lambda transport, peer: reset(peer),
    "backlog": lambda transport, peer: (
        transport.write(bytes(MORE_THAN_KERNEL_TAKES)),
        transport.abort(),
    ),
    "paused": lambda transport, peer: (transport.pause_reading(), transport.close()),
}


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("factory", [Recorder, BufferedRecorder])
def test_after_connection_lost(run, how, factory):
    """Once the connection is lost, transport, protocol and socket are nobody's but the caller's."""

    async def main():
        loop = asyncio.get_running_loop()
        ours, peer = tcp_pair()
        transport, protocol = await loop.create_connection(factory, sock=ours)
        peer.send(b"hello")
        await protocol.received(5)
        ENDS[how](transport, peer)
        await protocol.lost
        refs = weakref.ref(transport), weakref.ref(protocol), weakref.ref(ours)
        del transport, protocol, ours
        await polls(1)
        assert collected(*refs)
        peer.close()

    run(main)


@pytest.mark.stock_wrong(
    "up to 3.11 a transport holds its own bound method", when=sys.version_info < (3, 12)
)
def test_no_collection_is_needed(run):
    """A connection that ended leaves no cycle through the transport: reference counts free it."""

    async def main():
        loop = asyncio.get_running_loop()
        ours, peer = tcp_pair()

        class Plain(asyncio.Protocol):
            pass

        gc.collect()
        gc.disable()
        try:
            transport, protocol = await loop.create_connection(Plain, sock=ours)
            refs = weakref.ref(transport), weakref.ref(protocol)
            transport.close()
            await polls(2)
            del transport, protocol
            assert [ref() for ref in refs] == [None, None]
        finally:
            gc.enable()
            peer.close()

    run(main)


def test_cycles_through_a_live_transport(run):
    """protocol.transport and transport's protocol, held by nobody else after the end: the collector takes the cycle."""

    async def main():
        loop = asyncio.get_running_loop()
        refs = []
        for _ in range(20):
            ours, peer = tcp_pair()
            transport, protocol = await loop.create_connection(Recorder, sock=ours)
            transport.itself = transport
            transport.protocol_too = protocol
            protocol.handle = loop.call_later(1000, transport.close)
            protocol.handle.cancel()
            refs += [weakref.ref(transport), weakref.ref(protocol)]
            transport.abort()
            await protocol.lost
            peer.close()
        del transport, protocol
        await polls(1)
        assert collected(*refs)

    run(main)


def test_replaced_methods_on_the_instance(run):
    """Closures set on the transport's own dict do not keep it alive."""

    async def main():
        loop = asyncio.get_running_loop()
        ours, peer = tcp_pair()
        transport, protocol = await loop.create_connection(Recorder, sock=ours)
        transport.write = lambda data, transport=transport: None
        ref = weakref.ref(transport)
        transport.close()
        await protocol.lost
        protocol.transport = None
        del transport, protocol
        await polls(1)
        assert collected(ref)
        peer.close()

    run(main)


def test_open_transport_is_kept_by_the_loop(run):
    """A transport that reads is alive by itself: dropping all references does not end the connection."""

    async def main():
        loop = asyncio.get_running_loop()
        got = loop.create_future()
        ours, peer = tcp_pair()

        class Forgotten(asyncio.Protocol):
            def connection_made(self, transport):
                self.transport = transport

            def data_received(self, data):
                got.set_result(data)
                self.transport.close()

        await loop.create_connection(Forgotten, sock=ours)
        del ours
        gc.collect()
        peer.send(b"still here")
        assert await got == b"still here"
        assert await loop.sock_recv(peer, 1) == b""
        peer.close()

    run(main)


def test_transport_with_a_backlog_is_kept_by_the_loop(run):
    """What was written before everybody forgot the transport still goes out, and then it closes."""

    async def main():
        loop = asyncio.get_running_loop()
        ours, peer = tcp_pair()
        transport, _protocol = await loop.create_connection(asyncio.Protocol, sock=ours)
        transport.write(bytes(MORE_THAN_KERNEL_TAKES))
        transport.close()
        del transport, _protocol, ours
        gc.collect()
        total = 0
        while data := await loop.sock_recv(peer, 1 << 20):
            total += len(data)
            gc.collect(0)
        assert total == MORE_THAN_KERNEL_TAKES
        peer.close()

    run(main)


def test_abandoned_paused_transport_warns(run, loop_kind):
    """Not reading, nothing to write, and nobody holds it: "unclosed transport", and the descriptor is closed."""
    if loop_kind == "interloop":
        pytest.skip(
            "our loop holds every open transport, and warns when it is closed: the next test"
        )

    async def main():
        ours, peer = tcp_pair()
        fd = ours.fileno()
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_connection(asyncio.Protocol, sock=ours)
        await polls(1)
        transport.pause_reading()
        name = type(transport).__name__
        alive = weakref.ref(transport)
        del ours, protocol
        with peer, resource_warnings() as texts:
            del transport
        kept = alive() is not None
        if kept:
            alive().abort()
        assert not kept
        assert [text for text in texts if re.match(f"unclosed transport <{name} .*fd={fd}", text)]
        with pytest.raises(OSError):
            os.fstat(fd)

    run(main)


def test_transport_open_at_the_loops_end_warns(loop_factory):
    """A loop closed with an open transport: its collection warns and closes the descriptor; nothing crashes."""
    loop = loop_factory()
    ours, peer = tcp_pair()
    fd = ours.fileno()

    class Plain(asyncio.Protocol):
        pass

    transport, protocol = loop.run_until_complete(loop.create_connection(Plain, sock=ours))
    refs = weakref.ref(transport), weakref.ref(protocol)
    with resource_warnings() as texts:
        loop.close()
        del transport, protocol, ours
    assert [text for text in texts if text.startswith("unclosed transport")]
    with pytest.raises(OSError):
        os.fstat(fd)
    assert [ref() for ref in refs] == [None, None]
    peer.close()


def test_close_does_not_raise_for_open_transports(loop_factory, monkeypatch):
    """Point 11: under -W error too. What warns in such a place is told by sys.unraisablehook; all is closed."""
    told = []
    monkeypatch.setattr("sys.unraisablehook", lambda info: told.append(str(info.exc_value)))
    loop = loop_factory()
    pairs = [tcp_pair() for _ in range(3)]
    transports = []

    class Plain(asyncio.Protocol):
        pass

    for ours, _ in pairs:
        transports.append(loop.run_until_complete(loop.create_connection(Plain, sock=ours)))
    del ours
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            loop.close()
        except ResourceWarning as exc:
            raised = exc
        else:
            raised = None
        transports.clear()
        peers = [pairs.pop()[1] for _ in range(3)]
        gc.collect()
    for peer in peers:
        peer.close()
    assert raised is None and loop.is_closed()
    assert len([text for text in told if text.startswith("unclosed transport")]) == 3


def test_use_after_the_loops_end(new_loop):
    """An open transport of a closed loop may be asked and closed; "Event loop is closed" is the worst it says."""
    loop = new_loop()
    ours, peer = tcp_pair()

    async def connect():
        return await loop.create_connection(Recorder, sock=ours)

    transport, _ = loop.run_until_complete(connect())
    with resource_warnings():
        loop.close()
    repr(transport)
    assert transport.get_extra_info("peername") == peer.getsockname()
    for action in (transport.pause_reading, transport.abort):
        try:
            action()
        except RuntimeError as exc:
            if "Event loop is closed" not in str(exc):
                raise
    with resource_warnings():
        del transport, connect, _, action
        ours.close()
    peer.close()
