"""Point 29: write and writelines: what is taken, what is kept, in which order it leaves."""

from __future__ import annotations

import array
import asyncio
import inspect
import os
import sys

import pytest
from aio_support import (
    MORE_THAN_KERNEL_TAKES,
    PAIRS,
    connected,
    is_readable,
    polls,
    recv_exactly,
    turns,
)

every_pair = pytest.mark.parametrize("make_pair", PAIRS.values(), ids=PAIRS)


KINDS = {
    "bytes": bytes,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "memoryview of bytearray": lambda data: memoryview(bytearray(data)),
}


every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


# From 3.12 on stock keeps what it could not send as a memoryview of the caller's own buffer.
KEEPS_CALLERS_BUFFER = sys.version_info >= (3, 12)


@every_pair
@every_kind
@pytest.mark.parametrize("size", [1, 1000, MORE_THAN_KERNEL_TAKES])
def test_write(run, make_pair, kind, size):
    """All kinds of bytes, in all sizes, arrive."""

    async def main():
        data = os.urandom(min(size, 65536)) * -(-size // 65536)
        async with connected(make_pair) as (transport, _protocol, peer):
            transport.write(kind(data))
            assert await recv_exactly(peer, len(data)) == data
            transport.write(b"the end")
            assert await recv_exactly(peer, 7) == b"the end"
            assert transport.get_write_buffer_size() == 0

    run(main)


def test_small_write_leaves_at_once(run):
    """With nothing buffered the kernel has it when write() returns: a response does not wait for the turn's end."""

    async def main():
        async with connected() as (transport, _protocol, peer):
            transport.write(b"now")
            assert is_readable(peer) and peer.recv(10) == b"now"
            assert transport.get_write_buffer_size() == 0

    run(main)


@pytest.mark.parametrize("wrong", ["text", None, 5, [b"x"], object()], ids=repr)
def test_wrong_type(run, wrong):
    """TypeError in asyncio's words, and the connection is not harmed; the same on a closed transport."""

    async def main():
        async with connected() as (transport, protocol, peer):
            message = f"data argument must be a bytes-like object, not {type(wrong).__name__!r}"
            with pytest.raises(TypeError) as caught:
                transport.write(wrong)
            assert str(caught.value) == message
            transport.write(b"fine")
            assert await recv_exactly(peer, 4) == b"fine"
            transport.close()
            with pytest.raises(TypeError, match="bytes-like object"):
                transport.write(wrong)
            await protocol.lost

    run(main)


def test_empty_write_is_nothing(run):
    """Any empty buffer, before and after the end."""

    async def main():
        async with connected() as (transport, protocol, _peer):
            for empty in (b"", bytearray(), memoryview(b"")):
                transport.write(empty)
            assert transport.get_write_buffer_size() == 0
            transport.close()
            for _ in range(20):
                transport.write(b"")
            await protocol.lost
            transport.write(b"")

    run(main)


def test_memoryview_of_wider_items(run):
    """A memoryview counts in items, the wire in bytes."""

    async def main():
        async with connected() as (transport, _protocol, peer):
            numbers = array.array("I", range(100))
            transport.write(memoryview(numbers))
            assert await recv_exactly(peer, 400) == numbers.tobytes()
            assert transport.get_write_buffer_size() == 0

    run(main)


def test_many_small_writes_in_one_turn(run):
    """Ten thousand writes in one callback arrive whole and in order."""

    async def main():
        async with connected() as (transport, _protocol, peer):
            pieces = [b"%05d," % n for n in range(10_000)]
            for piece in pieces:
                transport.write(piece)
            assert await recv_exactly(peer, 60_000) == b"".join(pieces)

    run(main)


def test_small_writes_behind_a_large_one(run):
    """What is written while there is a backlog comes behind it, in order."""

    async def main():
        async with connected() as (transport, _protocol, peer):
            big = bytes(MORE_THAN_KERNEL_TAKES)
            transport.write(big)
            pieces = [b"%05d," % n for n in range(10_000)]
            for piece in pieces:
                transport.write(piece)
            size = transport.get_write_buffer_size()
            assert 60_000 < size <= len(big) + 60_000
            data = await recv_exactly(peer, len(big) + 60_000)
            assert data[len(big) :] == b"".join(pieces)
            assert data.count(b"\0") == len(big)

    run(main)


@pytest.mark.stock_wrong(
    "since 3.12 the rest of a write is kept as a view of the caller's buffer",
    when=KEEPS_CALLERS_BUFFER,
)
@pytest.mark.parametrize("method", ["write", "writelines"])
@pytest.mark.parametrize("view", [False, True], ids=["bytearray", "memoryview"])
def test_buffer_may_be_changed_after_write(run, method, view):
    """Point 29: what was given belongs to the caller again when write() returns: overwriting changes nothing sent."""

    async def main():
        async with connected() as (transport, _protocol, peer):
            data = bytearray(b"a" * MORE_THAN_KERNEL_TAKES)
            given = memoryview(data) if view else data
            transport.write(given) if method == "write" else transport.writelines([b"a", given])
            count = len(data) + (method == "writelines")
            data[:] = b"b" * len(data)
            assert await recv_exactly(peer, count) == b"a" * count

    run(main)


@pytest.mark.stock_wrong(
    "since 3.12 the rest of a write is kept as a view of the caller's buffer",
    when=KEEPS_CALLERS_BUFFER,
    raises=BufferError,
)
@pytest.mark.parametrize("method", ["write", "writelines"])
def test_bytearray_may_be_resized_after_write(run, method):
    """Point 29: no export of it is left behind, so that a caller's `del buffer[:n]` works."""

    async def main():
        async with connected() as (transport, _protocol, peer):
            data = bytearray(b"a" * MORE_THAN_KERNEL_TAKES)
            count = len(data)
            transport.write(data) if method == "write" else transport.writelines([data])
            data.clear()
            assert await recv_exactly(peer, count) == b"a" * count

    run(main)


def test_memoryview_may_be_released_after_write(run):
    """Point 29: a view released by its owner after write() does not lose what was not sent yet."""

    async def main():
        async with connected() as (transport, _protocol, peer):
            data = b"a" * MORE_THAN_KERNEL_TAKES
            with memoryview(data)[5:] as view:
                transport.write(view)
            assert await recv_exactly(peer, len(data) - 5) == data[5:]

    run(main)


@pytest.mark.parametrize(
    "pieces",
    [
        [b"one", b"two"],
        (b"tuple", bytearray(b"of"), memoryview(b"kinds")),
        [b"%04d" % n for n in range(5000)],
        [bytes(100_000)] * 300,
        [bytes(MORE_THAN_KERNEL_TAKES), b"tail"],
    ],
    ids=["two", "kinds", "more than IOV_MAX", "thirty megabytes", "big and small"],
)
def test_writelines(run, pieces):
    """Any number of pieces of any kind arrive joined."""

    async def main():
        async with connected() as (transport, _protocol, peer):
            transport.writelines(pieces)
            transport.write(b"end")
            whole = b"".join(pieces) + b"end"
            assert await recv_exactly(peer, len(whole)) == whole

    run(main)


def test_writelines_of_a_generator_and_of_nothing(run):
    """Iterables that can be gone through once; nothing is nothing."""

    async def main():
        async with connected() as (transport, _protocol, peer):
            transport.writelines([])
            transport.writelines(b"%d" % n for n in range(10))
            assert await recv_exactly(peer, 10) == b"0123456789"

    run(main)


def test_writelines_behind_a_backlog(run):
    """Order is kept between write and writelines."""

    async def main():
        async with connected() as (transport, _protocol, peer):
            big = bytes(MORE_THAN_KERNEL_TAKES)
            transport.write(big)
            transport.writelines([b"a", b"b"])
            transport.write(b"c")
            transport.writelines([b"d"])
            assert (await recv_exactly(peer, len(big) + 4))[-4:] == b"abcd"

    run(main)


_WRITELINES = inspect.getsource(asyncio.selector_events._SelectorSocketTransport.writelines)


OWN_WRITELINES = "_write_ready()" in _WRITELINES


@pytest.mark.stock_wrong(
    "writelines() with an empty piece at the end leaves it in the buffer for ever",
    when=OWN_WRITELINES,
)
def test_writelines_with_empty_pieces(run):
    """Empty pieces are nothing: the buffer gets empty, and close() ends."""

    async def main():
        async with connected() as (transport, protocol, peer):
            transport.writelines([b"", b"x", b""])
            transport.writelines([b""])
            assert await recv_exactly(peer, 1) == b"x"
            await polls()
            transport.close()
            await turns()
            assert protocol.lost.done()

    run(main)


@pytest.mark.stock_wrong(
    "writelines() does not look at the high-water mark",
    when=OWN_WRITELINES and "_maybe_pause_protocol" not in _WRITELINES,
)
def test_writelines_pauses(run):
    """Point 29: flow control holds for it as for write."""

    async def main():
        async with connected() as (transport, protocol, peer):
            transport.writelines([bytes(1 << 20)] * 16)
            assert protocol.events == ["made", "pause"]
            await recv_exactly(peer, 16 << 20)
            await polls(1)
            assert protocol.events == ["made", "pause", "resume"]

    run(main)
