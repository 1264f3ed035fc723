"""Point 34: loop.sendfile and loop.sock_sendfile."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import socket

import pytest
from aio_support import (
    MORE_THAN_KERNEL_TAKES,
    PAIRS,
    Recorder,
    connected,
    fill,
    polls,
    recv_exactly,
    recv_to_eof,
    reset,
    turns,
)

# Long enough that nothing repeats unnoticed.
DATA = os.urandom(MORE_THAN_KERNEL_TAKES)

every_pair = pytest.mark.parametrize("make_pair", PAIRS.values(), ids=PAIRS)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("sendfile") / "data"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def file(path):
    with path.open("rb") as file:
        yield file


# What comes before and after tells that nothing got in between, and that the transport works on.


@every_pair
def test_whole_file_in_its_place(run, file, make_pair):
    async def main():
        loop = asyncio.get_running_loop()
        async with connected(make_pair) as (transport, protocol, peer):
            receiving = loop.create_task(recv_to_eof(peer))
            # More than leaves at once.
            transport.write(DATA[:-1])
            assert await loop.sendfile(transport, file, fallback=False) == len(DATA)
            assert file.tell() == len(DATA)
            transport.write(b"after")
            transport.close()
            assert await receiving == DATA[:-1] + DATA + b"after"
            assert await protocol.lost is None

    run(main)


@pytest.mark.parametrize(
    ("offset", "count"),
    [(0, 1), (0, 100), (1000, 2000), (len(DATA) - 10, 10), (5, len(DATA) - 5), (7, None)],
)
@pytest.mark.parametrize("fallback", [False, True])
def test_offset_and_count(run, file, offset, count, fallback):
    async def main():
        loop = asyncio.get_running_loop()
        async with connected() as (transport, _, peer):
            expected = DATA[offset:][:count]
            receiving = loop.create_task(recv_exactly(peer, len(expected)))
            sent = await loop.sendfile(transport, file, offset, count, fallback=fallback)
            assert sent == len(expected)
            assert await receiving == expected
            assert file.tell() == offset + sent

    run(main)


def test_beyond_the_end(run, file):
    async def main():
        loop = asyncio.get_running_loop()
        async with connected() as (transport, _, peer):
            assert await loop.sendfile(transport, file, len(DATA) + 5, fallback=False) == 0
            assert await loop.sendfile(transport, file, len(DATA) - 3, 100, fallback=False) == 3
            assert await recv_exactly(peer, 3) == DATA[-3:]

    run(main)


def test_empty_file(run, tmp_path):
    async def main():
        loop = asyncio.get_running_loop()
        empty = tmp_path / "empty"
        empty.touch()
        async with connected() as (transport, _, _):
            with empty.open("rb") as file:
                assert await loop.sendfile(transport, file, fallback=False) == 0

    run(main)


def test_several_one_after_the_other(run, file):
    async def main():
        loop = asyncio.get_running_loop()
        async with connected() as (transport, _, peer):
            receiving = loop.create_task(recv_to_eof(peer))
            for number in range(50):
                await loop.sendfile(transport, file, number * 10, 10)
                transport.write(b"-")
            transport.write_eof()
            wanted = b"".join(DATA[n * 10 : n * 10 + 10] + b"-" for n in range(50))
            assert await receiving == wanted

    run(main)


def test_nothing_can_be_written_meanwhile(run, file):
    async def main():
        loop = asyncio.get_running_loop()
        async with connected() as (transport, _, peer):
            sending = loop.create_task(loop.sendfile(transport, file))
            await turns()
            with pytest.raises(RuntimeError, match="sendfile is in progress"):
                transport.write(b"in between")
            with pytest.raises(RuntimeError, match="sendfile is in progress"):
                transport.writelines([b"in between"])
            assert not transport.is_closing()
            assert await recv_exactly(peer, len(DATA)) == DATA
            assert await sending == len(DATA)

    run(main)


def test_two_files_at_once(run, file, loop_kind):
    """The second is refused, and does nothing to the first."""
    if loop_kind == "stock":
        pytest.skip("KeyError of a private dict, and the first is stopped")

    async def main():
        loop = asyncio.get_running_loop()
        async with connected() as (transport, _, peer):
            sending = loop.create_task(loop.sendfile(transport, file))
            await turns()
            with pytest.raises(RuntimeError, match="Empty waiter is already set"):
                await loop.sendfile(transport, file)
            assert await recv_exactly(peer, len(DATA)) == DATA
            assert await sending == len(DATA)

    run(main)


def test_what_comes_in_waits(run, file):
    """So that a peer who has ended its side gets the whole file nevertheless."""

    async def main():
        loop = asyncio.get_running_loop()
        async with connected() as (transport, protocol, peer):
            sending = loop.create_task(loop.sendfile(transport, file))
            await turns()
            assert not transport.is_reading()
            peer.send(b"request")
            peer.shutdown(socket.SHUT_WR)
            await polls()
            assert protocol.events == ["made"]
            assert await recv_exactly(peer, len(DATA)) == DATA
            assert await sending == len(DATA)
            assert await protocol.lost is None
            assert protocol.events == ["made", "data", "eof", "lost"]

    run(main)


def test_paused_reading_stays_paused(run, file):
    async def main():
        loop = asyncio.get_running_loop()
        async with connected() as (transport, _, peer):
            transport.pause_reading()
            await loop.sendfile(transport, file, 0, 10)
            assert not transport.is_reading()
            transport.resume_reading()
            await loop.sendfile(transport, file, 0, 10)
            assert transport.is_reading()
            await recv_exactly(peer, 20)

    run(main)


def test_cancelled(run, file):
    """What has left has left; the transport works on."""

    async def main():
        loop = asyncio.get_running_loop()
        async with connected() as (transport, _, peer):
            sending = loop.create_task(loop.sendfile(transport, file))
            await turns()
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            assert transport.is_reading()
            receiving = loop.create_task(recv_to_eof(peer))
            transport.write(b"the end")
            transport.write_eof()
            received = await receiving
            assert received.endswith(b"the end")
            left = received.removesuffix(b"the end")
            assert 0 < len(left) < len(DATA)
            assert DATA.startswith(left)

    run(main)


@pytest.mark.stock_wrong(
    "forgets the position of a file whose sending was cancelled", raises=AssertionError
)
def test_position_after_cancelling(run, file):
    async def main():
        loop = asyncio.get_running_loop()
        async with connected() as (transport, _, peer):
            sending = loop.create_task(loop.sendfile(transport, file))
            await turns()
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            transport.write_eof()
            assert file.tell() == len(await recv_to_eof(peer)) > 0

    run(main)


def test_closing_transport(run, file):
    async def main():
        loop = asyncio.get_running_loop()
        async with connected() as (transport, protocol, _):
            transport.close()
            with pytest.raises(RuntimeError, match="Transport is closing"):
                await loop.sendfile(transport, file)
            await protocol.lost
            with pytest.raises(RuntimeError, match="Transport is closing"):
                await loop.sendfile(transport, file)
            assert file.tell() == 0

    run(main)


def test_peer_goes_away(run, file):
    async def main():
        loop = asyncio.get_running_loop()
        async with connected() as (transport, protocol, peer):
            sending = loop.create_task(loop.sendfile(transport, file))
            await recv_exactly(peer, 1000)
            reset(peer)
            with pytest.raises(ConnectionError):
                await sending
            assert 1000 <= file.tell() < len(DATA)
            await protocol.lost
            assert transport.is_closing()

    run(main)


def test_abort_meanwhile(run, file, loop_kind):
    if loop_kind == "stock":
        pytest.skip("waits for ever, and raises in a callback")

    async def main():
        loop = asyncio.get_running_loop()
        async with connected() as (transport, protocol, peer):
            sending = loop.create_task(loop.sendfile(transport, file))
            await turns()
            transport.abort()
            with pytest.raises(ConnectionError):
                await sending
            assert await protocol.lost is None
            assert 0 < file.tell() < len(DATA)
            with contextlib.suppress(ConnectionError):
                assert len(await recv_to_eof(peer)) < len(DATA)

    run(main)


@pytest.mark.parametrize("how", ["close", "write_eof"])
def test_close_waits_for_the_file(run, file, loop_kind, how):
    if loop_kind == "stock":
        pytest.skip("closes under the file")

    async def main():
        loop = asyncio.get_running_loop()
        async with connected() as (transport, _, peer):
            sending = loop.create_task(loop.sendfile(transport, file))
            await turns()
            getattr(transport, how)()
            received = await recv_to_eof(peer)
            assert received == DATA
            assert await sending == len(DATA)

    run(main)


def test_pipe_is_no_regular_file(run):
    """Without the kernel's help: by reading and writing."""

    async def main():
        loop = asyncio.get_running_loop()
        async with connected() as (transport, _, peer):
            assert await loop.sendfile(transport, io.BytesIO(b"in memory")) == 9
            assert await recv_exactly(peer, 9) == b"in memory"
            with pytest.raises(asyncio.SendfileNotAvailableError, match="not a regular file"):
                await loop.sendfile(transport, io.BytesIO(b"in memory"), fallback=False)
            transport.write(b"still works")
            assert await recv_exactly(peer, 11) == b"still works"

    run(main)


def test_file_that_the_kernel_refuses(run):
    """Nothing was sent by then: the fallback has it all to do."""

    async def main():
        loop = asyncio.get_running_loop()
        reader, writer = os.pipe()
        os.write(writer, b"through a pipe")
        os.close(writer)

        async with connected() as (transport, _, _):
            with os.fdopen(reader, "rb", 0) as pipe:
                with pytest.raises(
                    asyncio.SendfileNotAvailableError, match=r"os\.sendfile call failed"
                ):
                    await loop.sendfile(transport, pipe, 0, 14, fallback=False)
                assert transport.is_reading()
                assert not transport.is_closing()

    run(main)


def test_fallback_when_there_is_no_native_way(run, file):
    """As on TLS: `_sendfile_native` is what programs and suites replace."""

    async def main():
        loop = asyncio.get_running_loop()

        async def unavailable(*args):
            raise asyncio.SendfileNotAvailableError("sendfile syscall is not supported")

        loop._sendfile_native = unavailable
        async with connected() as (transport, _, peer):
            receiving = loop.create_task(recv_to_eof(peer))
            transport.write(b"before")
            assert await loop.sendfile(transport, file) == len(DATA)
            assert file.tell() == len(DATA)
            with pytest.raises(asyncio.SendfileNotAvailableError, match="not supported"):
                await loop.sendfile(transport, file, fallback=False)
            transport.write(b"after")
            transport.write_eof()
            assert await receiving == b"before" + DATA + b"after"

    run(main)


def test_transports_without(run, file):
    async def main():
        loop = asyncio.get_running_loop()
        reader, writer = os.pipe()
        transport, protocol = await loop.connect_write_pipe(Recorder, os.fdopen(writer, "wb", 0))
        with pytest.raises(RuntimeError, match="sendfile is not supported for transport"):
            await loop.sendfile(transport, file)
        transport.close()
        await protocol.lost
        os.close(reader)

    run(main)


BAD = [
    ({"count": 0}, ValueError),
    ({"count": -1}, ValueError),
    ({"count": 1.5}, TypeError),
    ({"offset": -1}, ValueError),
    ({"offset": "0"}, TypeError),
]


@pytest.mark.parametrize(("arguments", "error"), BAD)
def test_bad_arguments(run, file, arguments, error):
    async def main():
        loop = asyncio.get_running_loop()
        async with connected() as (transport, _, peer):
            with pytest.raises(error):
                await loop.sendfile(transport, file, **arguments)
            with pytest.raises(error):
                await loop.sock_sendfile(peer, file, **arguments)

    run(main)


def test_text_file(run, path):
    async def main():
        loop = asyncio.get_running_loop()
        async with connected() as (transport, _, peer):
            with path.open(encoding="latin-1") as text:
                with pytest.raises(ValueError, match="binary mode"):
                    await loop.sendfile(transport, text)
                with pytest.raises(ValueError, match="binary mode"):
                    await loop.sock_sendfile(peer, text)

    run(main)


# -- sock_sendfile


@every_pair
@pytest.mark.parametrize("fallback", [False, True])
def test_socket(run, file, make_pair, fallback):
    async def main():
        loop = asyncio.get_running_loop()
        ours, peer = make_pair()
        with ours, peer:
            receiving = loop.create_task(recv_to_eof(peer))
            assert await loop.sock_sendfile(ours, file, fallback=fallback) == len(DATA)
            assert file.tell() == len(DATA)
            assert await loop.sock_sendfile(ours, file, 10, 20, fallback=fallback) == 20
            assert file.tell() == 30
            ours.shutdown(socket.SHUT_WR)
            assert await receiving == DATA + DATA[10:30]

    run(main)


def test_socket_beside_a_reader(run, file):
    async def main():
        loop = asyncio.get_running_loop()
        ours, peer = PAIRS["tcp"]()
        with ours, peer:
            received = loop.create_future()
            loop.add_reader(ours, lambda: received.done() or received.set_result(ours.recv(100)))
            sending = loop.create_task(loop.sock_sendfile(ours, file))
            peer.send(b"meanwhile")
            assert await received == b"meanwhile"
            assert await recv_exactly(peer, len(DATA)) == DATA
            assert await sending == len(DATA)
            assert loop.remove_reader(ours)
            assert not loop.remove_writer(ours)

    run(main)


def test_socket_cancelled(run, file):
    async def main():
        loop = asyncio.get_running_loop()
        ours, peer = PAIRS["tcp"]()
        with ours, peer:
            fill(ours)
            sending = loop.create_task(loop.sock_sendfile(ours, file))
            await turns()
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            assert not loop.remove_writer(ours)

    run(main)


@pytest.mark.stock_wrong(
    "forgets the position of a file whose sending was cancelled", raises=AssertionError
)
def test_socket_position_after_cancelling(run, file):
    async def main():
        loop = asyncio.get_running_loop()
        ours, peer = PAIRS["tcp"]()
        with ours, peer:
            sending = loop.create_task(loop.sock_sendfile(ours, file))
            await turns()
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            ours.shutdown(socket.SHUT_WR)
            assert file.tell() == len(await recv_to_eof(peer)) > 0

    run(main)


def test_socket_whose_peer_goes_away(run, file):
    async def main():
        loop = asyncio.get_running_loop()
        ours, peer = PAIRS["tcp"]()
        with ours:
            sending = loop.create_task(loop.sock_sendfile(ours, file))
            await recv_exactly(peer, 1000)
            reset(peer)
            with pytest.raises(ConnectionError):
                await sending
            assert 1000 <= file.tell() < len(DATA)
            assert not loop.remove_writer(ours)

    run(main)


def test_socket_that_blocks(run, file):
    async def main():
        loop = asyncio.get_running_loop()
        ours, peer = PAIRS["tcp"]()
        with ours, peer:
            ours.setblocking(True)
            with pytest.raises(ValueError, match="the socket must be non-blocking"):
                await loop.sock_sendfile(ours, file)

    run(main, debug=True)


def test_datagram_socket(run, file):
    async def main():
        loop = asyncio.get_running_loop()
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            with pytest.raises(ValueError, match="only SOCK_STREAM type sockets are supported"):
                await loop.sock_sendfile(sock, file)

    run(main)
