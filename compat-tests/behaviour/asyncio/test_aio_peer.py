"""What the peer does: closes, half-closes, resets, goes away in the middle of a write, comes back."""

from __future__ import annotations

import asyncio
import socket

import pytest
from aio_support import (
    MORE_THAN_KERNEL_TAKES,
    PAIRS,
    BufferedRecorder,
    Contexts,
    Recorder,
    connected,
    polls,
    recv_exactly,
    recv_to_eof,
    reset,
    tcp_pair,
)

every_pair = pytest.mark.parametrize("make_pair", PAIRS.values(), ids=PAIRS)
both_kinds = pytest.mark.parametrize("factory", [Recorder, BufferedRecorder])


@every_pair
def test_close(run, make_pair):
    """The peer closes: eof_received, then connection_lost(None)."""

    async def main():
        async with connected(make_pair) as (transport, protocol, peer):
            peer.send(b"bye")
            peer.close()
            assert await protocol.lost is None
            assert protocol.events == ["made", "data", "eof", "lost"]
            assert transport.is_closing()

    run(main)


@pytest.mark.parametrize("answer", [None, False, 0, ""], ids=repr)
def test_eof_with_a_false_answer_closes(run, answer):
    """Anything false from eof_received closes; what is buffered goes out first."""

    async def main():
        async with connected(eof_received=lambda p: answer) as (transport, protocol, peer):
            transport.write(bytes(MORE_THAN_KERNEL_TAKES))
            peer.shutdown(socket.SHUT_WR)
            await protocol.ended
            await polls()
            assert transport.is_closing() and not protocol.lost.done()
            assert len(await recv_to_eof(peer)) == MORE_THAN_KERNEL_TAKES
            assert await protocol.lost is None

    run(main)


@every_pair
@pytest.mark.parametrize("answer", [True, 1, "yes"], ids=repr)
def test_eof_with_a_true_answer_keeps_half_open(run, make_pair, answer):
    """The connection stays for writing; the end is told once; close() ends it."""

    async def main():
        async with connected(make_pair, eof_received=lambda p: answer) as (
            transport,
            protocol,
            peer,
        ):
            peer.shutdown(socket.SHUT_WR)
            await protocol.ended
            await polls()
            assert protocol.events == ["made", "eof"]
            assert not transport.is_closing()
            for text in (b"one", b"two"):
                transport.write(text)
                assert await recv_exactly(peer, 3) == text
            transport.write(bytes(MORE_THAN_KERNEL_TAKES))
            transport.close()
            assert len(await recv_to_eof(peer)) == MORE_THAN_KERNEL_TAKES
            assert await protocol.lost is None
            assert protocol.events.count("eof") == 1

    run(main)


def test_half_open_transport_can_be_paused_and_resumed(run):
    """pause_reading and resume_reading after the end do not tell it twice."""

    async def main():
        async with connected(eof_received=lambda p: True) as (transport, protocol, peer):
            peer.shutdown(socket.SHUT_WR)
            await protocol.ended
            transport.pause_reading()
            await polls(1)
            transport.write(b"still")
            assert await recv_exactly(peer, 5) == b"still"
            assert protocol.events == ["made", "eof"]

    run(main)


def test_writing_within_eof_received(run):
    """An answer written in eof_received is sent, though the connection then closes."""

    async def main():
        async with connected(eof_received=lambda p: p.transport.write(b"answer")) as (
            _transport,
            protocol,
            peer,
        ):
            peer.send(b"question")
            peer.shutdown(socket.SHUT_WR)
            assert await recv_to_eof(peer) == b"answer"
            assert await protocol.lost is None
            assert protocol.data == b"question"

    run(main)


@both_kinds
def test_reset_while_idle(run, factory):
    """connection_lost(ConnectionResetError); the exception handler is not told of the network's troubles."""

    async def main():
        contexts = Contexts(asyncio.get_running_loop())
        async with connected(factory=factory) as (transport, protocol, peer):
            reset(peer)
            assert type(await protocol.lost) is ConnectionResetError
            assert protocol.events == ["made", "lost"]
            assert transport.is_closing()
        assert contexts == []

    run(main)


def test_reset_with_a_backlog(run):
    """Gone in the middle of a write: lost with the error, the backlog dropped, later writes counted."""

    async def main():
        contexts = Contexts(asyncio.get_running_loop())
        async with connected() as (transport, protocol, peer):
            transport.write(bytes(MORE_THAN_KERNEL_TAKES))
            reset(peer)
            assert isinstance(await protocol.lost, (ConnectionResetError, BrokenPipeError))
            assert transport.get_write_buffer_size() == 0
            transport.write(b"dropped")
            assert protocol.events == ["made", "pause", "lost"]
        assert contexts == []

    run(main)


def test_reset_while_paused_with_a_backlog(run):
    """Not reading, only the write side can notice; it does."""

    async def main():
        async with connected() as (transport, protocol, peer):
            transport.pause_reading()
            transport.write(bytes(MORE_THAN_KERNEL_TAKES))
            reset(peer)
            assert isinstance(await protocol.lost, (ConnectionResetError, BrokenPipeError))

    run(main)


def test_reset_while_closing(run):
    """close() waits for its backlog; the peer goes: connection_lost once, with the error or None."""

    async def main():
        contexts = Contexts(asyncio.get_running_loop())
        async with connected() as (transport, protocol, peer):
            transport.write(bytes(MORE_THAN_KERNEL_TAKES))
            transport.close()
            await polls(1)
            reset(peer)
            exc = await protocol.lost
            assert exc is None or isinstance(exc, OSError)
            await polls()
            assert len(protocol.lost_with) == 1
        assert contexts == []

    run(main)


def test_write_that_finds_the_peer_gone(run):
    """The error is found by write() itself: it does not raise, connection_lost comes by the loop, not from within."""

    async def main():
        contexts = Contexts(asyncio.get_running_loop())
        async with connected() as (transport, protocol, peer):
            transport.pause_reading()
            reset(peer)
            for _ in range(3):
                transport.write(b"x")
                assert not protocol.lost.done()
            assert transport.is_closing()
            assert isinstance(await protocol.lost, (ConnectionResetError, BrokenPipeError))
            await polls(1)
            assert len(protocol.lost_with) == 1
        assert contexts == []

    run(main)


def test_unix_peer_gone(run):
    """The same over a Unix socket: EPIPE."""

    async def main():
        async with connected(PAIRS["unix"]) as (transport, protocol, peer):
            transport.pause_reading()
            peer.close()
            transport.write(b"x")
            assert isinstance(await protocol.lost, (BrokenPipeError, ConnectionResetError))

    run(main)


def test_data_before_a_reset_is_delivered_or_the_reset_is_told(run):
    """The kernel may drop what was sent before a reset; what it still has must not be mixed up with later bytes."""

    async def main():
        async with connected() as (_transport, protocol, peer):
            peer.send(b"before")
            reset(peer)
            assert type(await protocol.lost) is ConnectionResetError
            assert bytes(protocol.data) in (b"", b"before")
            assert protocol.events[-1] == "lost"

    run(main)


@both_kinds
def test_everything_before_the_end_is_delivered(run, factory):
    """Megabytes and then the end at once: all of it comes before eof_received."""

    async def main():
        loop = asyncio.get_running_loop()
        seen_at_eof = []
        async with connected(
            factory=factory, eof_received=lambda p: seen_at_eof.append(len(p.data))
        ) as (_transport, protocol, peer):
            await loop.sock_sendall(peer, bytes(5_000_000))
            peer.close()
            assert await protocol.lost is None
            assert seen_at_eof == [5_000_000]

    run(main)


def test_many_short_connections(run):
    """Three hundred connections one after the other, opened by us and by the peer: none disturbs the next."""

    async def main():
        loop = asyncio.get_running_loop()
        served = []

        class Echo(Recorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                served.append(self)

            def data_received(self, data):
                self.transport.write(data)
                self.transport.close()

        server = await loop.create_server(Echo, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        for n in range(300):
            transport, protocol = await loop.create_connection(Recorder, *address)
            transport.write(b"%d" % n)
            assert await protocol.lost is None
            assert protocol.data == b"%d" % n
        await served[-1].lost
        assert len(served) == 300 and all(protocol.lost.done() for protocol in served)
        server.close()
        await server.wait_closed()

    run(main)


def test_many_connections_at_once(run):
    """A hundred and fifty connections that talk at the same time keep their bytes apart."""

    async def main():
        loop = asyncio.get_running_loop()
        pairs = [tcp_pair() for _ in range(150)]
        protocols = []
        for ours, _ in pairs:
            _, protocol = await loop.create_connection(
                lambda: Recorder(data_received=lambda p: p.transport.write(bytes(p.data))),
                sock=ours,
            )
            protocols.append(protocol)
        for n, (_, peer) in enumerate(pairs):
            peer.send(b"%05d" % n)
        for n, (_, peer) in enumerate(pairs):
            assert await recv_exactly(peer, 5) == b"%05d" % n
            peer.close()
        for protocol in protocols:
            assert await protocol.lost is None

    run(main)
