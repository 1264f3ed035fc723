"""Datagram endpoints: what waits, what ends them, and protocols that raise."""

from __future__ import annotations

import asyncio
import socket
import sys

import pytest
from aio_datagrams import Receiver, endpoint, plain_socket
from aio_support import Contexts, polls, turns

HEADER = 8 if sys.version_info >= (3, 13) else 0

# 3.13.0 adds the header when a datagram begins to wait, and does not take it off when it leaves.
KEEPS_HEADERS = (3, 13) <= sys.version_info < (3, 13, 1)


@pytest.fixture
def full(tmp_path):
    """A function that makes an endpoint whose peer's queue is full, and that peer; what it sends, waits."""
    path = str(tmp_path / "peer")
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    peer.bind(path)
    peer.setblocking(False)

    def make(factory=Receiver):
        return endpoint(factory, remote_addr=path, family=socket.AF_UNIX)

    with peer:
        yield make, peer


def fill(transport) -> int:
    """Sends numbered datagrams until one waits; how many were sent in all."""
    count = 0
    while not transport.get_write_buffer_size():
        transport.sendto(b"%d" % count)
        count += 1
    return count


async def drain(peer: socket.socket, count: int) -> list[bytes]:
    loop = asyncio.get_running_loop()
    return [await loop.sock_recv(peer, 1 << 20) for _ in range(count)]


def test_waiting_datagrams_leave_in_order(run, full):
    """What the kernel has no room for is kept, each as it was, and sent when there is."""
    make, peer = full

    async def main():
        async with make() as (transport, protocol):
            count = fill(transport)
            assert transport.get_write_buffer_size() == len(b"%d" % (count - 1)) + HEADER
            changing = bytearray(b"before")
            transport.sendto(changing)
            changing[:] = b"after!"
            transport.sendto(memoryview(b"a view")[2:])
            size = len(b"%d" % (count - 1)) + 6 + 4
            assert transport.get_write_buffer_size() == size + 3 * HEADER
            assert [bytes(data) for data, _ in transport._buffer] == [
                b"%d" % (count - 1),
                b"before",
                b"view",
            ]
            assert "write=<polling" in repr(transport)
            texts = [b"%d" % n for n in range(count)] + [b"before", b"view"]
            assert await drain(peer, len(texts)) == texts
            assert not transport._buffer and protocol.errors == []

    run(main)


@pytest.mark.stock_wrong("the header of 8 bytes is added but not subtracted", when=KEEPS_HEADERS)
def test_the_size_returns_to_zero(run, full):
    """Nothing waits, nothing is counted."""
    make, peer = full

    async def main():
        async with make() as (transport, _protocol):
            count = fill(transport)
            await drain(peer, count)
            await polls(1)
            assert transport.get_write_buffer_size() == 0

    run(main)


@pytest.mark.stock_wrong(
    "the header of 8 bytes is not subtracted: never below the mark", when=KEEPS_HEADERS
)
def test_pause_and_resume(run, full):
    """pause_writing above the high mark, resume_writing at the low one; each once."""
    make, peer = full

    async def main():
        async with make() as (transport, protocol):
            transport.set_write_buffer_limits(high=100, low=0)
            count = fill(transport)
            assert protocol.events == ["made"]
            transport.sendto(bytes(100))
            transport.sendto(bytes(100))
            assert protocol.events == ["made", "pause"]
            assert transport._protocol_paused
            await drain(peer, count + 2)
            await polls(1)
            assert protocol.events == ["made", "pause", "resume"]

    run(main)


def test_close_lets_leave_what_waits(run, full):
    """connection_lost(None) comes after the last datagram has left; receiving ends at once."""
    make, peer = full

    async def main():
        async with make() as (transport, protocol):
            count = fill(transport)
            transport.sendto(b"last")
            transport.close()
            transport.close()
            assert transport.is_closing() and not transport.is_reading()
            await polls(2)
            assert not protocol.lost.done()
            transport.sendto(b"later still")
            texts = await drain(peer, count + 2)
            assert texts[-2:] == [b"last", b"later still"]
            assert await protocol.lost is None

    run(main)


def test_abort_drops_what_waits(run, full):
    """connection_lost(None) in the next turn; what waited never leaves."""
    make, peer = full

    async def main():
        async with make() as (transport, protocol):
            count = fill(transport)
            transport.abort()
            assert not transport._buffer
            assert not protocol.lost.done()
            assert await protocol.lost is None
            await turns(1)
            assert len(await drain(peer, count - 1)) == count - 1
            with pytest.raises(BlockingIOError):
                peer.recv(100)

    run(main)


def test_a_peer_that_goes_while_something_waits(run, full):
    """The datagrams that cannot be sent any more are errors, one by one; the endpoint stays."""
    make, peer = full

    async def main():
        async with make() as (transport, protocol):
            fill(transport)
            transport.sendto(b"another")
            peer.close()
            while len(protocol.errors) < 2:
                await protocol.waiting()
            assert all(isinstance(error, OSError) for error in protocol.errors)
            assert not transport.is_closing() and not transport._buffer
            # Stock notices a moment later that nothing waits any more.
            await polls(1)

    run(main)


def test_order_of_the_ends(run):
    """connection_made first, connection_lost last and once, whatever is called how often."""

    async def main():
        async with endpoint(local_addr=("127.0.0.1", 0)) as (transport, protocol):
            with plain_socket() as peer:
                peer.sendto(b"x", transport.get_extra_info("sockname"))
                await protocol.next()
                transport.close()
                peer.sendto(b"y", transport.get_extra_info("sockname"))
                assert protocol.events == ["made", "datagram"]
                transport.abort()
                transport.close()
                await protocol.lost
                await polls(2)
            assert protocol.events == ["made", "datagram", "lost"]

    run(main)


def test_closed_in_connection_made(run):
    """No datagram comes any more, also if one is there already."""

    class Closing(Receiver):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.close()

    async def main():
        with plain_socket() as peer, plain_socket() as sock:
            peer.sendto(b"there", sock.getsockname())
            async with endpoint(Closing, sock=sock) as (_, protocol):
                await protocol.lost
                assert protocol.events == ["made", "lost"]

    run(main)


@pytest.mark.parametrize("method", ["close", "abort"])
def test_closed_in_the_midst_of_many(run, method):
    """No datagram follows the one in which the endpoint was closed."""

    class Closing(Receiver):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            if data == b"2":
                getattr(self.transport, method)()

    async def main():
        async with endpoint(Closing, local_addr=("127.0.0.1", 0)) as (transport, protocol):
            with plain_socket() as peer:
                for n in range(10):
                    peer.sendto(b"%d" % n, transport.get_extra_info("sockname"))
                await protocol.lost
            assert [data for data, _ in protocol.got] == [b"0", b"1", b"2"]

    run(main)


@pytest.mark.parametrize("unix", [False, True], ids=["udp", "unix"])
def test_paused_in_the_midst_of_many(run, unix, tmp_path):
    """pause_reading holds back what follows; resume_reading brings all of it, in order."""

    class Pausing(Receiver):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            if data in (b"2", b"5"):
                self.transport.pause_reading()

    async def main():
        if unix:
            arguments = {"local_addr": str(tmp_path / "x"), "family": socket.AF_UNIX}
            peer = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        else:
            arguments = {"local_addr": ("127.0.0.1", 0)}
            peer = plain_socket()
        async with endpoint(Pausing, **arguments) as (transport, protocol):
            with peer:
                for n in range(8):
                    peer.sendto(b"%d" % n, transport.get_extra_info("sockname"))
                await polls(5)
                for end in (3, 6, 8):
                    while len(protocol.got) < end:
                        await protocol.waiting()
                    await polls(3)
                    assert [data for data, _ in protocol.got] == [b"%d" % n for n in range(end)]
                    assert transport.is_reading() == (end == 8)
                    transport.pause_reading()
                    transport.resume_reading()
                    transport.resume_reading()

    run(main)


def test_a_protocol_that_raises(run):
    """datagram_received's exceptions are the exception handler's; the endpoint goes on."""

    class Raising(Receiver):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            if data == b"bad":
                raise ZeroDivisionError("on purpose")

    async def main():
        contexts = Contexts(asyncio.get_running_loop())
        async with endpoint(Raising, local_addr=("127.0.0.1", 0)) as (transport, protocol):
            with plain_socket() as peer:
                for text in (b"good", b"bad", b"good again"):
                    peer.sendto(text, transport.get_extra_info("sockname"))
                for _ in range(3):
                    await protocol.next()
            await turns(2)
            assert len(contexts) == 1
            assert isinstance(contexts[0]["exception"], ZeroDivisionError)
            assert contexts[0]["message"].startswith("Exception in callback")
            assert not transport.is_closing()

    run(main)


def test_error_received_that_raises(run):
    """Inside sendto() it is the caller's; on receiving it is the exception handler's."""

    class Raising(Receiver):
        def error_received(self, exc):
            super().error_received(exc)
            raise ZeroDivisionError("on purpose")

    async def main():
        contexts = Contexts(asyncio.get_running_loop())
        with plain_socket() as gone:
            address = gone.getsockname()
        async with endpoint(Raising, remote_addr=address) as (transport, protocol):
            with pytest.raises(ZeroDivisionError, match="on purpose"):
                transport.sendto(bytes(70_000))
            transport.sendto(b"into the void")
            while len(protocol.errors) < 2:
                await protocol.waiting()
            await turns(2)
            assert [type(context["exception"]) for context in contexts] == [ZeroDivisionError]
            assert not transport.is_closing()

    run(main)


def test_connection_made_and_lost_that_raise(run):
    """Told, and nothing is lost of what follows: the endpoint works, its socket is closed."""

    class Raising(Receiver):
        def connection_made(self, transport):
            super().connection_made(transport)
            raise ZeroDivisionError("made")

        def connection_lost(self, exc):
            super().connection_lost(exc)
            raise ZeroDivisionError("lost")

    async def main():
        contexts = Contexts(asyncio.get_running_loop())
        async with endpoint(Raising, local_addr=("127.0.0.1", 0)) as (transport, protocol):
            sock = transport.get_extra_info("socket")
            with plain_socket() as peer:
                peer.sendto(b"x", transport.get_extra_info("sockname"))
                await protocol.next()
        assert sock.fileno() == -1
        assert [str(context["exception"]) for context in contexts] == ["made", "lost"]

    run(main)


@pytest.mark.parametrize(
    "connected",
    [
        True,
        pytest.param(
            False,
            marks=pytest.mark.stock_wrong(
                "AttributeError of its own insides", raises=AttributeError
            ),
        ),
    ],
    ids=["connected", "unconnected"],
)
def test_sending_after_the_end(run, asyncio_log, connected):
    """Point 35: silent at first, from the fifth on a warning; nothing is sent."""

    async def main():
        with plain_socket() as peer:
            address = peer.getsockname()
            kwargs = {"remote_addr": address} if connected else {"local_addr": ("127.0.0.1", 0)}
            async with endpoint(**kwargs) as (transport, protocol):
                transport.abort()
                await protocol.lost
                await turns(1)
                for _ in range(6):
                    transport.sendto(b"too late", None if connected else address)
                await polls(1)
                with pytest.raises(BlockingIOError):
                    peer.recv(100)
        for _ in range(2):
            asyncio_log.take("socket.send() raised exception.")
        assert asyncio_log.records == []

    run(main)


def test_set_protocol(run):
    """The new one gets what comes from then on."""

    async def main():
        async with endpoint(local_addr=("127.0.0.1", 0)) as (transport, protocol):
            with plain_socket() as peer:
                peer.sendto(b"old", transport.get_extra_info("sockname"))
                await protocol.next()
                other = Receiver()
                transport.set_protocol(other)
                assert transport.get_protocol() is other
                peer.sendto(b"new", transport.get_extra_info("sockname"))
                assert (await other.next())[0] == b"new"
                transport.close()
                await other.lost
                protocol.lost.set_result(None)

    run(main)
