"""Point 29: pause_writing and resume_writing at the water marks, and large payloads under them."""

from __future__ import annotations

import asyncio
import os

import pytest
from aio_support import (
    MORE_THAN_KERNEL_TAKES,
    PAIRS,
    Contexts,
    Recorder,
    connected,
    fill,
    polls,
    recv_exactly,
    tcp_pair,
)

every_pair = pytest.mark.parametrize("make_pair", PAIRS.values(), ids=PAIRS)


def test_limits(run):
    """64 KiB by default; low is a quarter of high, high four times low; errors change nothing."""

    async def main():
        async with connected() as (transport, _protocol, _peer):
            limits = transport.get_write_buffer_limits
            assert limits() == (16 * 1024, 64 * 1024)
            transport.set_write_buffer_limits(high=1000)
            assert limits() == (250, 1000)
            transport.set_write_buffer_limits(low=10)
            assert limits() == (10, 40)
            transport.set_write_buffer_limits(high=100, low=100)
            assert limits() == (100, 100)
            transport.set_write_buffer_limits(5, 3)
            assert limits() == (3, 5)
            transport.set_write_buffer_limits(high=0)
            assert limits() == (0, 0)
            for high, low in ((1, 2), (-1, None), (5, -1), (None, -1)):
                with pytest.raises(ValueError, match="must be >= low"):
                    transport.set_write_buffer_limits(high, low)
            assert limits() == (0, 0)
            transport.set_write_buffer_limits()
            assert limits() == (16 * 1024, 64 * 1024)

    run(main)


@every_pair
def test_pause_and_resume(run, make_pair):
    """pause_writing from within the write that crosses the mark, resume_writing when the peer has read enough."""

    async def main():
        async with connected(make_pair) as (transport, protocol, peer):
            transport.write(bytes(MORE_THAN_KERNEL_TAKES))
            assert protocol.events == ["made", "pause"]
            transport.write(bytes(MORE_THAN_KERNEL_TAKES))
            assert protocol.events == ["made", "pause"]
            await recv_exactly(peer, 2 * MORE_THAN_KERNEL_TAKES)
            await polls(1)
            assert protocol.events == ["made", "pause", "resume"]
            transport.write(b"small")
            assert protocol.events == ["made", "pause", "resume"]

    run(main)


def test_exactly_at_the_marks(run):
    """Paused when the size is more than high, not when it is high; resumed when it is at most low."""

    async def main():
        async with connected() as (transport, protocol, peer):
            transport.set_write_buffer_limits(high=1000, low=500)
            # The kernel's buffer is filled beside the transport, so that the sizes are exact.
            with transport.get_extra_info("socket").dup() as twin:
                filled = fill(twin)
            transport.write(bytes(1000))
            assert transport.get_write_buffer_size() == 1000
            assert protocol.events == ["made"]
            transport.write(b"x")
            assert protocol.events == ["made", "pause"]
            await recv_exactly(peer, filled + 1001)
            await polls(1)
            assert protocol.events == ["made", "pause", "resume"]

    run(main)


def test_high_zero(run):
    """With no buffer allowed, any byte that does not leave at once pauses, and only an empty buffer resumes."""

    async def main():
        async with connected() as (transport, protocol, peer):
            transport.set_write_buffer_limits(high=0)
            transport.write(b"leaves at once")
            assert protocol.events == ["made"]
            sizes = []
            protocol.hooks["resume_writing"] = lambda p: sizes.append(
                transport.get_write_buffer_size()
            )
            transport.write(bytes(MORE_THAN_KERNEL_TAKES))
            assert protocol.events == ["made", "pause"]
            await recv_exactly(peer, 14 + MORE_THAN_KERNEL_TAKES)
            await polls(1)
            assert protocol.events == ["made", "pause", "resume"]
            assert sizes == [0]

    run(main)


def test_lowering_the_marks_pauses(run):
    """New limits below what is buffered pause at once."""

    async def main():
        async with connected() as (transport, protocol, peer):
            transport.set_write_buffer_limits(high=10 * MORE_THAN_KERNEL_TAKES)
            transport.write(bytes(MORE_THAN_KERNEL_TAKES))
            assert protocol.events == ["made"]
            transport.set_write_buffer_limits(high=1000)
            assert protocol.events == ["made", "pause"]
            await recv_exactly(peer, MORE_THAN_KERNEL_TAKES)
            await polls(1)
            assert protocol.events == ["made", "pause", "resume"]

    run(main)


def test_buffer_size_goes_down(run):
    """get_write_buffer_size() is what has not left yet: it falls as the peer reads, down to nothing."""

    async def main():
        async with connected() as (transport, _protocol, peer):
            transport.write(bytes(MORE_THAN_KERNEL_TAKES))
            before = transport.get_write_buffer_size()
            assert 0 < before < MORE_THAN_KERNEL_TAKES
            got = 0
            while transport.get_write_buffer_size() == before:
                got += len(await asyncio.get_running_loop().sock_recv(peer, 1 << 20))
            assert transport.get_write_buffer_size() < before
            await recv_exactly(peer, MORE_THAN_KERNEL_TAKES - got)
            assert transport.get_write_buffer_size() == 0

    run(main)


class Producer(Recorder):
    """Writes `count` blocks, never while paused."""

    def __init__(self, block, count):
        super().__init__()
        self.block, self.left = block, count
        self.paused = False
        self.violations = 0

    def connection_made(self, transport):
        super().connection_made(transport)
        self.produce()

    def produce(self):
        while self.left and not self.paused:
            self.left -= 1
            self.transport.write(self.block)
        if not self.left:
            self.left = None
            self.transport.write_eof()

    def pause_writing(self):
        self.violations += self.paused
        super().pause_writing()
        self.paused = True

    def resume_writing(self):
        self.violations += not self.paused
        super().resume_writing()
        self.paused = False
        if self.left is not None:
            self.produce()

    def eof_received(self):
        super().eof_received()
        return self.left is not None


@every_pair
def test_large_payloads_both_ways(run, make_pair):
    """Thirty megabytes each way at once, each side writing only while it may: nothing lost, marks alternate."""

    async def main():
        loop = asyncio.get_running_loop()
        blocks = [os.urandom(100_003), os.urandom(99_991)]
        count = 300
        sides = []
        for sock, block in zip(make_pair(), blocks, strict=True):
            _, protocol = await loop.create_connection(
                lambda block=block: Producer(block, count), sock=sock
            )
            sides.append(protocol)
        for side, block in zip(sides, reversed(blocks), strict=True):
            await side.lost
            assert side.violations == 0
            assert len(side.data) == count * len(block)
            assert bytes(side.data) == block * count
            marks = [event for event in side.events if event in ("pause", "resume")]
            assert marks == ["pause", "resume"] * (len(marks) // 2)

    run(main)


def test_slow_reader_bounds_the_buffer(run):
    """A producer that obeys pause_writing never has much more than the high-water mark in the buffer."""

    async def main():
        loop = asyncio.get_running_loop()
        ours, peer = tcp_pair()
        with peer:
            transport, protocol = await loop.create_connection(
                lambda: Producer(bytes(10_000), 2_000), sock=ours
            )
            got = 0
            while got < 20_000_000:
                assert transport.get_write_buffer_size() <= 64 * 1024 + 10_000
                got += len(await loop.sock_recv(peer, 50_000))
            assert await loop.sock_recv(peer, 1) == b""
            assert protocol.events.count("pause") >= 1
            peer.close()
            await protocol.lost

    run(main)


@pytest.mark.parametrize("name", ["pause_writing", "resume_writing"])
def test_a_mark_callback_that_raises_is_reported(run, name):
    """Point 28: told with protocol and transport; the connection goes on and so does flow control."""

    async def main():
        contexts = Contexts(asyncio.get_running_loop())

        def fail(protocol):
            raise LookupError("in callback")

        async with connected(**{name: fail}) as (transport, protocol, peer):
            for n in (1, 2):
                transport.write(bytes(MORE_THAN_KERNEL_TAKES))
                await recv_exactly(peer, MORE_THAN_KERNEL_TAKES)
                await polls(1)
                assert protocol.events == ["made", *["pause", "resume"] * n]
                assert len(contexts) == n
            assert contexts[0]["message"] == f"protocol.{name}() failed"
            assert type(contexts[0]["exception"]) is LookupError
            assert contexts[0]["transport"] is transport
            assert contexts[0]["protocol"] is protocol
            assert not transport.is_closing()

    run(main)


def test_base_exception_of_pause_writing_leaves_write(run):
    """SystemExit is not swallowed: it comes out of the write() that caused it."""

    async def main():
        def leave(protocol):
            raise SystemExit(3)

        async with connected(pause_writing=leave) as (transport, _protocol, peer):
            with pytest.raises(SystemExit):
                transport.write(bytes(MORE_THAN_KERNEL_TAKES))
            assert len(await recv_exactly(peer, MORE_THAN_KERNEL_TAKES)) == MORE_THAN_KERNEL_TAKES

    run(main)


def test_writing_in_the_mark_callbacks(run):
    """write() from pause_writing and resume_writing: in order, without a second pause for the first."""

    async def main():
        def pausing(protocol):
            protocol.transport.write(b"from pause")

        def resuming(protocol):
            if protocol.events.count("resume") == 1:
                protocol.transport.write(b"from resume")

        async with connected(pause_writing=pausing, resume_writing=resuming) as (
            transport,
            protocol,
            peer,
        ):
            transport.write(bytes(MORE_THAN_KERNEL_TAKES))
            data = await recv_exactly(peer, MORE_THAN_KERNEL_TAKES + 10 + 11)
            assert data[MORE_THAN_KERNEL_TAKES:] == b"from pausefrom resume"
            assert protocol.events == ["made", "pause", "resume"]

    run(main)


@pytest.mark.parametrize("how", ["close", "abort"])
@pytest.mark.parametrize(
    "name",
    [
        "pause_writing",
        pytest.param(
            "resume_writing",
            marks=pytest.mark.stock_wrong(
                "a transport closed by resume_writing() with its buffer empty is lost twice"
            ),
        ),
    ],
)
def test_ending_in_the_mark_callbacks(run, name, how):
    """close() and abort() from within: connection_lost once, and close() still sends what is buffered."""

    async def main():
        contexts = Contexts(asyncio.get_running_loop())
        async with connected(**{name: lambda p: getattr(p.transport, how)()}) as (
            transport,
            protocol,
            peer,
        ):
            transport.write(bytes(MORE_THAN_KERNEL_TAKES))
            if (name, how) != ("pause_writing", "abort"):
                await recv_exactly(peer, MORE_THAN_KERNEL_TAKES)
            await protocol.lost
            await polls()
            assert protocol.lost_with == [None]
            assert protocol.events[-1] == "lost"
        assert contexts == []

    run(main)
