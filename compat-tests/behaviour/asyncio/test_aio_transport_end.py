"""Points 28 and 29: write_eof, close and abort, and writing after them."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import socket
import weakref

import pytest
from aio_servers import connect, serving
from aio_support import (
    MORE_THAN_KERNEL_TAKES,
    PAIRS,
    Recorder,
    connected,
    polls,
    recv_to_eof,
)

every_pair = pytest.mark.parametrize("make_pair", PAIRS.values(), ids=PAIRS)


_WRITELINES = inspect.getsource(asyncio.selector_events._SelectorSocketTransport.writelines)


OWN_WRITELINES = "_write_ready()" in _WRITELINES


@pytest.mark.parametrize("how", ["close", "abort"])
def test_write_after_close(run, how, asyncio_log):
    """Point 29: dropped in silence at first, then "socket.send() raised exception." is logged; it never raises."""

    async def main():
        async with connected() as (transport, protocol, peer):
            getattr(transport, how)()
            for _ in range(3):
                transport.write(b"dropped")
            assert asyncio_log.records == []
            await protocol.lost
            for _ in range(5):
                transport.write(b"dropped")
            count = len(asyncio_log.records)
            assert count >= 1
            transport.write(b"dropped")
            assert len(asyncio_log.records) == count + 1
            for record in asyncio_log.records:
                assert record.getMessage() == "socket.send() raised exception."
                assert record.levelname == "WARNING"
            asyncio_log.records.clear()
            assert transport.get_write_buffer_size() == 0
            assert await recv_to_eof(peer) == b""

    run(main)


@pytest.mark.stock_wrong(
    "writelines() after close() calls the write method that close() took away",
    when=OWN_WRITELINES,
    raises=(TypeError, AttributeError),
)
def test_writelines_after_close(run, asyncio_log):
    """Point 29: the same as for write."""

    async def main():
        async with connected() as (transport, protocol, _peer):
            transport.close()
            transport.writelines([b"dropped"])
            await protocol.lost
            for _ in range(10):
                transport.writelines([b"dropped"])
            asyncio_log.take("socket.send() raised exception.")
            asyncio_log.records.clear()

    run(main)


@every_pair
def test_write_eof(run, make_pair):
    """Point 29: the peer sees the end after the last byte; nothing may be written after it; reading goes on."""

    async def main():
        async with connected(make_pair) as (transport, protocol, peer):
            assert transport.can_write_eof() is True
            data = os.urandom(1 << 16) * (MORE_THAN_KERNEL_TAKES >> 16)
            transport.write(data)
            transport.write_eof()
            transport.write_eof()
            with pytest.raises(RuntimeError, match=r"Cannot call write\(\) after write_eof\(\)"):
                transport.write(b"more")
            with pytest.raises(
                RuntimeError, match=r"Cannot call write(lines)?\(\) after write_eof"
            ):
                transport.writelines([b"more"])
            assert await recv_to_eof(peer) == data
            assert not transport.is_closing()
            peer.send(b"answer")
            assert await protocol.received(6) == b"answer"
            peer.shutdown(socket.SHUT_WR)
            await protocol.lost
            assert protocol.lost_with == [None]

    run(main)


def test_write_eof_with_nothing_buffered_is_at_once(run):
    """The peer sees the end without a turn of the loop."""

    async def main():
        async with connected() as (transport, _protocol, peer):
            transport.write(b"x")
            transport.write_eof()
            assert peer.recv(10) == b"x" and peer.recv(10) == b""

    run(main)


@pytest.mark.parametrize("how", ["close", "abort"])
def test_write_eof_after_close_is_nothing(run, how):
    """No error, before and after connection_lost."""

    async def main():
        async with connected() as (transport, protocol, _peer):
            getattr(transport, how)()
            transport.write_eof()
            await protocol.lost
            transport.write_eof()

    run(main)


@every_pair
def test_close_sends_what_is_buffered(run, make_pair):
    """close() lets the backlog go out first, then connection_lost(None); reading stops at once."""

    async def main():
        async with connected(make_pair) as (transport, protocol, peer):
            data = os.urandom(1 << 16) * (MORE_THAN_KERNEL_TAKES >> 16)
            transport.write(data)
            transport.close()
            assert transport.is_closing() and not transport.is_reading()
            await polls()
            assert not protocol.lost.done()
            assert await recv_to_eof(peer) == data
            assert await protocol.lost is None

    run(main)


def test_close_after_write_eof(run):
    """Both: the backlog, the end, then the rest."""

    async def main():
        async with connected() as (transport, protocol, peer):
            transport.write(bytes(MORE_THAN_KERNEL_TAKES))
            transport.write_eof()
            transport.close()
            assert len(await recv_to_eof(peer)) == MORE_THAN_KERNEL_TAKES
            assert await protocol.lost is None

    run(main)


def test_abort_drops_what_is_buffered(run):
    """abort() does not wait for the peer."""

    async def main():
        async with connected() as (transport, protocol, _peer):
            transport.write(bytes(MORE_THAN_KERNEL_TAKES))
            assert transport.get_write_buffer_size() > 0
            transport.abort()
            assert await protocol.lost is None
            assert transport.get_write_buffer_size() == 0

    run(main)


def test_abort_while_closing(run):
    """A close() that waits for its backlog is ended by abort(); connection_lost comes once."""

    async def main():
        async with connected() as (transport, protocol, _peer):
            transport.write(bytes(MORE_THAN_KERNEL_TAKES))
            transport.close()
            await polls()
            assert not protocol.lost.done()
            transport.abort()
            await protocol.lost
            await polls()
            assert protocol.lost_with == [None]

    run(main)


def test_the_socket_asked_for_at_the_very_end(run):
    """In connection_lost the socket is there, and then closed. It does not close what gets its number afterwards."""

    async def main():
        socks = []

        def lost(protocol):
            sock = protocol.transport.get_extra_info("socket")
            socks.append(sock)
            assert sock.getsockname() == protocol.transport.get_extra_info("sockname")

        server, made = await serving(lambda: Recorder(connection_lost=lost))
        client, protocol = await connect(server, made)
        number = protocol.transport._sock_fd
        names = client.getsockname(), client.getpeername()
        client.close()
        await protocol.lost
        await polls()
        assert [sock.fileno() for sock in socks] == [-1]
        taken = []
        while number not in taken:
            taken.append(os.open(os.devnull, os.O_RDONLY))
        transport = protocol.transport
        assert names == (
            transport.get_extra_info("peername"),
            transport.get_extra_info("sockname"),
        )
        protocol.transport = None
        made.clear()
        socks.clear()
        del protocol, transport
        gc.collect()
        for descriptor in taken:
            os.close(descriptor)
        server.close()
        await server.wait_closed()

    run(main)


@pytest.mark.parametrize("how", ["strong", "weak"])
def test_names_asked_for_after_the_end(run, how):
    """Whoever still has the transport is told its addresses, also when nobody has asked before."""

    async def main():
        kept = []

        def made_of(protocol):
            transport = protocol.transport
            kept.append(weakref.ref(transport) if how == "weak" else lambda: transport)

        told = []

        def lost(protocol):
            # A weak reference is good as long as the loop itself has the transport.
            protocol.transport = None
            if how == "weak":
                told.append(kept[0]().get_extra_info("sockname"))

        server, made = await serving(
            lambda: Recorder(connection_made=made_of, connection_lost=lost)
        )
        client, protocol = await connect(server, made)
        address = client.getpeername()
        client.close()
        await protocol.lost
        await polls()
        if how == "strong":
            told.append(kept[0]().get_extra_info("sockname"))
        assert told == [address]
        server.close()
        await server.wait_closed()

    run(main)
