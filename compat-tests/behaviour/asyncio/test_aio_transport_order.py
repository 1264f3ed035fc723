"""Point 28: in which order, how often and by which way a protocol's methods are called; pausing; switching protocols."""

from __future__ import annotations

import asyncio
import socket

import pytest
from aio_support import (
    PAIRS,
    BufferedRecorder,
    Recorder,
    connected,
    is_readable,
    polls,
    recv_exactly,
    tcp_pair,
    turns,
)

every_pair = pytest.mark.parametrize("make_pair", PAIRS.values(), ids=PAIRS)
both_kinds = pytest.mark.parametrize("factory", [Recorder, BufferedRecorder])


@every_pair
@both_kinds
def test_whole_life(run, make_pair, factory):
    """connection_made, data, the end, connection_lost(None): each once, in this order."""

    async def main():
        async with connected(make_pair, factory) as (transport, protocol, peer):
            peer.send(b"hello")
            assert await protocol.received(5) == b"hello"
            peer.shutdown(socket.SHUT_WR)
            await protocol.lost
            assert protocol.events == ["made", "data", "eof", "lost"]
            assert protocol.lost_with == [None]
            assert transport.is_closing()
            await polls()
            assert protocol.events == ["made", "data", "eof", "lost"]

    run(main)


def test_connection_made_is_called_by_call_soon(run):
    """Not from within the constructor; before the waiter; and no byte before it."""

    async def main():
        loop = asyncio.get_running_loop()
        order = []
        ours, peer = tcp_pair()
        with peer:
            peer.send(b"early")

            def made(protocol):
                order.append("made")
                assert protocol.data == b""

            def received(protocol):
                order.append("data")

            def factory():
                order.append("factory")
                loop.call_soon(order.append, "call_soon in the factory")
                return Recorder(connection_made=made, data_received=received)

            transport, protocol = await loop.create_connection(factory, sock=ours)
            order.append("connected")
            await protocol.received(5)
            assert order[:3] == ["factory", "call_soon in the factory", "made"]
            assert sorted(order[3:]) == ["connected", "data"]
            transport.close()
            await protocol.lost

    run(main)


def test_pause_in_connection_made_holds_from_the_start(run):
    """Reading starts after connection_made: paused there, not a byte comes."""

    async def main():
        loop = asyncio.get_running_loop()
        ours, peer = tcp_pair()
        with peer:
            peer.send(b"early")
            transport, protocol = await loop.create_connection(
                lambda: Recorder(connection_made=lambda p: p.transport.pause_reading()), sock=ours
            )
            await polls()
            assert protocol.data == b"" and is_readable(transport.get_extra_info("socket"))
            transport.resume_reading()
            assert await protocol.received(5) == b"early"
            transport.close()
            await protocol.lost

    run(main)


@pytest.mark.parametrize("how", ["close", "abort"])
def test_connection_lost_is_called_by_call_soon(run, how):
    """Never from within close() or abort(), and once, however often they are called."""

    async def main():
        async with connected() as (transport, protocol, _peer):
            for _ in range(3):
                getattr(transport, how)()
                assert transport.is_closing()
                assert not protocol.lost.done()
            transport.close()
            transport.abort()
            await turns(2)
            assert protocol.lost_with == [None]
            getattr(transport, how)()
            await turns(2)
            assert protocol.lost_with == [None]

    run(main)


@pytest.mark.parametrize("how", ["close", "abort"])
@pytest.mark.parametrize("waiting", [b"", b"waiting"], ids=["quiet", "data waiting"])
def test_closed_within_connection_made(run, how, waiting):
    """connection_lost follows once, no byte is delivered, and the connect call still answers."""

    async def main():
        loop = asyncio.get_running_loop()
        ours, peer = tcp_pair()
        with peer:
            if waiting:
                peer.send(waiting)
            transport, protocol = await loop.create_connection(
                lambda: Recorder(connection_made=lambda p: getattr(p.transport, how)()), sock=ours
            )
            await protocol.lost
            await polls()
            assert protocol.events == ["made", "lost"] and protocol.lost_with == [None]
            assert transport.is_closing()

    run(main)


@both_kinds
def test_no_data_after_close(run, factory):
    """What the peer sends after close() is not delivered, also what was in the kernel already."""

    async def main():
        async with connected(factory=factory) as (transport, protocol, peer):
            peer.send(b"too late")
            transport.close()
            await protocol.lost
            assert protocol.events == ["made", "lost"]

    run(main)


@both_kinds
def test_pause_and_resume(run, factory):
    """Paused nothing is delivered, however much comes; resumed, what came meanwhile is, with no further event needed."""

    async def main():
        async with connected(factory=factory) as (transport, protocol, peer):
            for n in range(5):
                assert transport.is_reading()
                transport.pause_reading()
                transport.pause_reading()
                assert not transport.is_reading()
                peer.send(b"%d" % n)
                await polls(2)
                assert len(protocol.data) == n
                transport.resume_reading()
                transport.resume_reading()
                await protocol.received(n + 1)
            assert protocol.data == b"01234"

    run(main)


def test_resume_finds_the_end(run):
    """The peer's close while paused is told after resume_reading, not before."""

    async def main():
        async with connected() as (transport, protocol, peer):
            transport.pause_reading()
            peer.send(b"last words")
            peer.close()
            await polls()
            assert protocol.events == ["made"]
            transport.resume_reading()
            await protocol.lost
            assert protocol.events == ["made", "data", "eof", "lost"]
            assert protocol.data == b"last words"

    run(main)


def test_pause_and_resume_after_close_are_nothing(run):
    """Idempotent to the end: no error on a transport that closes or is closed, and no reading."""

    async def main():
        async with connected() as (transport, protocol, peer):
            peer.send(b"x")
            transport.close()
            for _ in range(2):
                transport.pause_reading()
                transport.resume_reading()
                assert not transport.is_reading()
                await polls()
            assert protocol.events == ["made", "lost"]

    run(main)


@both_kinds
def test_pause_in_data_received_stops_at_once(run, factory):
    """Point 28: after pause_reading() in the callback no more comes of that batch, much as there is to read."""

    async def main():
        async with connected(factory=factory, **pausing(factory)) as (transport, protocol, peer):
            total = 0
            while True:
                try:
                    total += peer.send(bytes(65536))
                except BlockingIOError:
                    break
            calls = 0
            while len(protocol.data) < total:
                before = len(protocol.data)
                transport.resume_reading()
                await protocol.received(before + 1)
                after = len(protocol.data)
                await polls(2)
                assert len(protocol.data) == after and not transport.is_reading()
                calls += 1
            assert calls > 1

    run(main)


def pausing(factory):
    name = "data_received" if factory is Recorder else "buffer_updated"
    return {name: lambda protocol: protocol.transport.pause_reading()}


def test_pause_in_one_connection_leaves_another(run):
    """Two connections ready in one batch; the first pauses the second: it gets nothing."""

    async def main():
        loop = asyncio.get_running_loop()
        protocols = []

        def pause_the_other(protocol):
            for other in protocols:
                if other is not protocol:
                    other.transport.pause_reading()

        pairs = [tcp_pair(), tcp_pair()]
        for ours, _ in pairs:
            _, protocol = await loop.create_connection(
                lambda: Recorder(data_received=pause_the_other), sock=ours
            )
            protocols.append(protocol)
        await polls(1)
        for _, peer in pairs:
            peer.send(b"x")
        await polls()
        assert sorted(len(protocol.data) for protocol in protocols) == [0, 1]
        for protocol, (_, peer) in zip(protocols, pairs, strict=True):
            protocol.transport.abort()
            await protocol.lost
            peer.close()

    run(main)


@pytest.mark.parametrize("how", ["close", "abort"])
def test_closed_by_another_connection_of_the_batch(run, how):
    """Two connections ready in one batch; the first closes the second: no byte of it is delivered."""

    async def main():
        loop = asyncio.get_running_loop()
        protocols = []

        def close_the_other(protocol):
            for other in protocols:
                if other is not protocol:
                    getattr(other.transport, how)()

        pairs = [tcp_pair(), tcp_pair()]
        for ours, _ in pairs:
            _, protocol = await loop.create_connection(
                lambda: Recorder(data_received=close_the_other), sock=ours
            )
            protocols.append(protocol)
        await polls(1)
        for _, peer in pairs:
            peer.send(b"x")
        await polls()
        assert sorted(len(protocol.data) for protocol in protocols) == [0, 1]
        for protocol, (_, peer) in zip(protocols, pairs, strict=True):
            protocol.transport.abort()
            await protocol.lost
            peer.close()

    run(main)


def test_switching_protocols(run):
    """Point 28: set_protocol takes effect with the next byte; a BufferedProtocol switches to get_buffer and back."""

    async def main():
        async with connected() as (transport, first, peer):
            assert transport.get_protocol() is first
            peer.send(b"first")
            assert await first.received(5) == b"first"
            buffered = BufferedRecorder()
            transport.set_protocol(buffered)
            assert transport.get_protocol() is buffered
            peer.send(b"buffered")
            assert await buffered.received(8) == b"buffered"
            plain = Recorder()
            transport.set_protocol(plain)
            peer.send(b"plain")
            assert await plain.received(5) == b"plain"
            transport.write(b"answer")
            assert await recv_exactly(peer, 6) == b"answer"
            transport.close()
            await plain.lost
            assert (first.events, buffered.events) == (["made", "data"], ["data"])
            assert plain.events == ["data", "lost"]
            first.lost.set_result(None)

    run(main)


@pytest.mark.parametrize("to", [Recorder, BufferedRecorder])
@pytest.mark.parametrize("first", [Recorder, BufferedRecorder])
def test_switching_within_a_callback(run, first, to):
    """From data_received or buffer_updated: the rest of what is there goes to the new one, as start_tls needs it."""

    async def main():
        loop = asyncio.get_running_loop()
        second = to()
        name = "data_received" if first is Recorder else "buffer_updated"
        size = {} if first is Recorder else {"size": 1000}
        ours, peer = tcp_pair()
        with peer:
            hooks = {name: lambda protocol: protocol.transport.set_protocol(second)}
            transport, protocol = await loop.create_connection(
                lambda: first(**size, **hooks), sock=ours
            )
            data = bytes(range(256)) * 2000
            await loop.sock_sendall(peer, data[:1000])
            await protocol.received(1000 if first is BufferedRecorder else 1)
            await loop.sock_sendall(peer, data[1000:])
            got = len(protocol.data)
            await second.received(len(data) - got)
            assert bytes(protocol.data + second.data) == data
            transport.close()
            await second.lost
            assert protocol.events == ["made", "data"]

    run(main)


def test_attributes_of_the_protocol_are_looked_up_at_each_call(run):
    """A method replaced on the protocol instance is the one that is called from then on."""

    async def main():
        async with connected() as (_transport, protocol, peer):
            peer.send(b"a")
            await protocol.received(1)
            other = asyncio.get_running_loop().create_future()
            protocol.data_received = other.set_result
            peer.send(b"b")
            assert await other == b"b"
            assert protocol.data == b"a"

    run(main)


def test_data_is_bytes(run):
    """data_received gets bytes, its own to keep."""

    async def main():
        loop = asyncio.get_running_loop()
        kept = []

        class Keeper(Recorder):
            def data_received(self, data):
                kept.append(data)
                super().data_received(data)

        ours, peer = tcp_pair()
        with peer:
            transport, protocol = await loop.create_connection(Keeper, sock=ours)
            for n in range(1, 50):
                peer.send(b"%3d" % n)
                await protocol.received(3 * n)
            assert {type(data) for data in kept} == {bytes}
            assert b"".join(kept) == b"".join(b"%3d" % n for n in range(1, 50))
            transport.close()
            await protocol.lost

    run(main)
