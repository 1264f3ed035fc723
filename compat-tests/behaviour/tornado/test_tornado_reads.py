"""IOStream's read calls: from its buffer, from the socket at once, and when the loop tells."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
import re
import socket
import struct
from decimal import Decimal

import pytest
from to_streams import connected
from tornado import iostream


@pytest.fixture
def run(io_loop):
    """run(main): the result of `main()` in an IOLoop of the kind under test."""
    return io_loop.run_sync


def test_what_is_there_is_read_at_once(run):
    async def main():
        with connected() as (stream, peer):
            peer.sendall(b"one\ntwo\nthree")
            assert stream.read_until(b"\n").result() == b"one\n"
            assert stream.read_until(b"\n").result() == b"two\n"
            assert stream.read_bytes(3).result() == b"thr"
            assert stream.read_bytes(50, partial=True).result() == b"ee"
            assert not stream.reading()

    run(main)


def test_reads_that_wait(run):
    async def main():
        with connected() as (stream, peer):
            line = stream.read_until(b"\r\n")
            assert stream.reading()
            assert not line.done()
            peer.sendall(b"a line\r")
            assert await asyncio.wait({line}, timeout=0) == (set(), {line})
            peer.sendall(b"\nab")
            assert await line == b"a line\r\n"
            assert await stream.read_bytes(2) == b"ab"
            part = stream.read_bytes(1000, partial=True)
            peer.sendall(b"xyz")
            assert await part == b"xyz"
            exact = stream.read_bytes(6)
            peer.sendall(b"123")
            peer.sendall(b"4567")
            assert await exact == b"123456"
            assert await stream.read_bytes(1) == b"7"

    run(main)


def test_nothing_is_had_at_once(run):
    async def main():
        with connected() as (stream, _):
            assert stream.read_bytes(0).result() == b""
            assert stream.read_bytes(0, partial=True).result() == b""
            assert stream.read_into(bytearray()).result() == 0

    run(main)


def test_large_messages_in_small_chunks(run):
    data = bytes(range(256)) * 2000

    async def main():
        with connected(read_chunk_size=1000) as (stream, peer):
            peer.setblocking(False)
            read = stream.read_until(b"end")
            await asyncio.get_running_loop().sock_sendall(peer, data + b"end" + data)
            assert await read == data + b"end"
            part = await stream.read_bytes(5000, partial=True)
            assert 0 < len(part) <= 5000
            assert part + await stream.read_bytes(len(data) - len(part)) == data

    run(main)


def test_read_into(run):
    async def main():
        with connected() as (stream, peer):
            peer.sendall(b"0123456789")
            assert await stream.read_bytes(2) == b"01"
            buffer = bytearray(4)
            assert await stream.read_into(buffer) == 4
            assert buffer == b"2345"
            # Four bytes are there.
            larger = bytearray(8)
            read = stream.read_into(larger)
            assert not read.done()
            peer.sendall(b"abcdef")
            assert await read == 8
            assert larger == b"6789abcd"
            part = bytearray(8)
            assert await stream.read_into(part, partial=True) == 2
            assert part[:2] == b"ef"
            view = memoryview(bytearray(3))
            peer.sendall(b"xyz")
            assert await stream.read_into(view) == 3
            assert bytes(view) == b"xyz"
            # Nobody holds on to it.
            part.clear()

    run(main)


def test_read_until_regex(run):
    async def main():
        with connected() as (stream, peer):
            peer.sendall(b"GET /\r\n")
            head = stream.read_until_regex(rb"\r?\n\r?\n")
            assert not head.done()
            peer.sendall(b"\r\nrest")
            assert await head == b"GET /\r\n\r\n"
            assert await stream.read_until_regex(re.compile(b"r.*t")) == b"rest"

    run(main)


@pytest.mark.parametrize("regex", [b"\r?\n\r?\n", rb"\r?\n\r?\n", re.compile(b"\r?\n\r?\n")])
def test_the_end_of_a_head(run, regex):
    """What HTTP reads by."""
    heads = [
        b"\n\n",
        b"a\r\nb\r\n\r\n",
        b"a\nb\r\n\n",
        b"\r\r\n\r\r\n\r\n",
        b"a: \n b\n\r\n",
        b"c\r\n\n",
    ]

    async def main():
        with connected() as (stream, peer):
            peer.sendall(b"".join(heads))
            for head in heads:
                assert await stream.read_until_regex(regex) == head
            for head in heads:
                read = stream.read_until_regex(regex, max_bytes=len(head))
                for byte in head:
                    assert not read.done()
                    peer.sendall(bytes([byte]))
                assert await read == head
            read = stream.read_until_regex(regex, max_bytes=5)
            peer.sendall(b"a\r\n\r\n" + b"abc\r\n\r\n")
            assert await read == b"a\r\n\r\n"
            with pytest.raises(iostream.StreamClosedError) as raised:
                await stream.read_until_regex(regex, max_bytes=6)
            error = str(raised.value.real_error)
            assert error == f"delimiter {re.compile(regex)!r} not found within 6 bytes"

    run(main)


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("call", ["read_until", "read_until_regex"])
def test_what_cannot_come_closes(run, caplog, call, inline):
    caplog.set_level(logging.INFO, "tornado.general")

    async def main():
        with connected() as (stream, peer):
            if inline:
                peer.sendall(b"123456")
            read = getattr(stream, call)(b"def", max_bytes=5)
            if not inline:
                peer.sendall(b"123456")
            with pytest.raises(iostream.StreamClosedError) as raised:
                await read
            assert isinstance(raised.value.real_error, iostream.UnsatisfiableReadError)
            assert str(raised.value.real_error).endswith("b'def' not found within 5 bytes") or (
                "re.compile(b'def') not found within 5 bytes" in str(raised.value.real_error)
            )
            assert stream.closed()

    run(main)
    assert "Unsatisfiable read, closing connection: delimiter" in caplog.text


def test_the_delimiter_ends_within_the_limit(run):
    async def main():
        with connected() as (stream, peer):
            peer.sendall(b"abcdef" + b"abcdef")
            assert await stream.read_until(b"def", max_bytes=6) == b"abcdef"
            assert await stream.read_until_regex(b"def", max_bytes=6) == b"abcdef"

    run(main)


def test_read_until_close(run):
    async def main():
        with connected() as (stream, peer):
            read = stream.read_until_close()
            peer.sendall(b"all ")
            peer.sendall(b"of it")
            peer.close()
            assert await read == b"all of it"
            assert stream.closed()
            assert await stream.read_until_close() == b""

    run(main)


def test_what_came_before_the_end_is_read_after_it(run):
    async def main():
        with connected() as (stream, peer):
            peer.sendall(b"one\ntwo\nthree")
            assert await stream.read_until(b"\n") == b"one\n"
            peer.close()
            with pytest.raises(iostream.StreamClosedError) as raised:
                await stream.read_bytes(100)
            assert raised.value.real_error is None
            assert stream.closed()
            assert await stream.read_until(b"\n") == b"two\n"
            assert await stream.read_until_close() == b"three"
            with pytest.raises(iostream.StreamClosedError):
                stream.read_bytes(1)

    run(main)


def test_one_read_at_a_time(run):
    async def main():
        with connected() as (stream, _):
            stream.read_bytes(1)
            with pytest.raises(AssertionError, match="Already reading"):
                stream.read_until(b"\n")
            stream.close()
            with pytest.raises(iostream.StreamClosedError):
                stream.read_until(b"\n")

    run(main)


def test_a_cancelled_read_takes_its_bytes(run):
    async def main():
        with connected() as (stream, peer):
            read = stream.read_until(b"\n")
            read.cancel()
            with pytest.raises(AssertionError):
                stream.read_until(b"\n")
            closed = asyncio.Event()
            stream.set_close_callback(closed.set)
            peer.sendall(b"lost\n")
            peer.close()
            await closed.wait()
            with pytest.raises(iostream.StreamClosedError):
                await stream.read_bytes(1)

    run(main)


def test_who_read_the_last_bytes_can_still_answer(run):
    """The end of file behind them is looked at when he has had his turn."""

    async def main():
        with connected() as (stream, peer):

            async def answer():
                request = await stream.read_until(b"\n")
                await stream.write(request.upper())

            answering = asyncio.ensure_future(answer())
            await asyncio.sleep(0)
            peer.sendall(b"question\n")
            peer.shutdown(socket.SHUT_WR)
            await answering
            assert peer.recv(100) == b"QUESTION\n"

    run(main)


def test_a_reset_is_told(run):
    async def main():
        with connected() as (stream, peer):
            read = stream.read_bytes(10)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
            with pytest.raises(iostream.StreamClosedError) as raised:
                await read
            assert isinstance(raised.value.real_error, ConnectionResetError)
            assert raised.value.real_error is stream.error

    run(main)


@pytest.mark.parametrize("inline", [True, False])
def test_too_much_closes(run, caplog, inline):
    async def main():
        with connected(max_buffer_size=1000) as (stream, peer):
            if inline:
                peer.sendall(b"x" * 5000)
                with pytest.raises(iostream.StreamBufferFullError):
                    stream.read_until(b"\n")
            else:
                read = stream.read_until(b"\n")
                peer.sendall(b"x" * 5000)
                with pytest.raises(iostream.StreamClosedError) as raised:
                    await read
                assert isinstance(raised.value.real_error, iostream.StreamBufferFullError)
            assert stream.closed()

    run(main)
    assert "Reached maximum read buffer size" in caplog.text
    assert ("error on read" in caplog.text) is not inline


@pytest.mark.parametrize("limit", [200_000.5, 1e30, math.inf])
def test_limits_are_numbers_to_compare_with(run, limit):
    """Distributed's is half of the machine's memory, a float."""

    async def main():
        with connected(max_buffer_size=limit, max_write_buffer_size=limit) as (stream, peer):
            read = stream.read_until(b"\n")
            peer.sendall(b"a line\n")
            assert await read == b"a line\n"
            await stream.write(b"an answer\n")
            assert peer.recv(100) == b"an answer\n"

    run(main)


@pytest.mark.parametrize("limit", [999.5, 1e3, 10**3, Decimal("999.9")])
def test_limits_may_be_set(run, caplog, limit):
    """As `start_tls()` sets those of the stream that it makes."""

    async def main():
        with connected() as (stream, peer):
            stream.max_buffer_size = limit
            stream.max_write_buffer_size = limit
            peer.sendall(b"x" * 998 + b"\n")
            assert len(await stream.read_bytes(998)) == 998
            stream.write(b"x" * 999)
            with pytest.raises(iostream.StreamBufferFullError):
                stream.write(b"x" * 1001)
            assert await stream.read_bytes(1) == b"\n"
            peer.sendall(b"x" * 1001)
            with pytest.raises(iostream.StreamBufferFullError):
                stream.read_until(b"\n")
            assert stream.closed()

    run(main)
    assert "Reached maximum read buffer size" in caplog.text


@pytest.mark.parametrize("limit", [1e9, 1e30, 10**400, math.inf, math.nan])
def test_limits_that_are_none(run, limit):
    async def main():
        with connected(max_buffer_size=1000, max_write_buffer_size=10) as (stream, peer):
            stream.max_buffer_size = stream.max_write_buffer_size = limit
            peer.sendall(b"x" * 5000 + b"\n")
            assert len(await stream.read_until(b"\n")) == 5001
            await stream.write(b"x" * 100)
            stream.max_write_buffer_size = None
            assert stream.max_write_buffer_size is None
            await stream.write(b"x" * 100)
            assert len(peer.recv(1000)) == 200

    run(main)


@pytest.mark.parametrize("limit", [-1, -0.5, -math.inf, -(10**400)])
def test_limits_below_nothing(run, limit):
    async def main():
        with connected() as (stream, peer):
            stream.max_buffer_size = stream.max_write_buffer_size = limit
            with pytest.raises(iostream.StreamBufferFullError):
                stream.write(b"x")
            peer.sendall(b"x")
            with pytest.raises(iostream.StreamBufferFullError):
                stream.read_bytes(1)

    run(main)


def test_whole_limits_are_read_back(run):
    async def main():
        with connected() as (stream, _):
            for name in ("max_buffer_size", "max_write_buffer_size", "read_chunk_size"):
                for limit in (4096, 4096.0, 1e9):
                    setattr(stream, name, limit)
                    assert getattr(stream, name) == limit

    run(main)


def test_an_idle_stream_notices_the_end(run):
    """For who has a close callback: from the moment that nothing is buffered any more."""
    variable = contextvars.ContextVar("variable", default="nobody's")

    async def main():
        with connected() as (stream, peer):
            peer.sendall(b"12")
            assert await stream.read_bytes(1) == b"1"
            seen = asyncio.get_running_loop().create_future()
            variable.set("the caller's")
            stream.set_close_callback(lambda: seen.set_result(variable.get()))
            peer.close()
            for _ in range(5):
                await asyncio.sleep(0)
            assert not stream.closed()
            assert await stream.read_bytes(1) == b"2"
            assert await seen == "the caller's"
            assert stream.closed()

    run(main)


def test_a_close_callback_set_before_bytes_are_buffered(run):
    """The end is noticed without another read, and what is buffered can be read after it."""

    async def main():
        with connected() as (stream, peer):
            closed = asyncio.Event()
            stream.set_close_callback(closed.set)
            peer.sendall(b"12")
            assert await stream.read_bytes(1) == b"1"
            peer.close()
            await closed.wait()
            assert stream.closed()
            assert await stream.read_bytes(1) == b"2"

    run(main)


@pytest.mark.parametrize("bad", [None, "text", 1.5])
def test_what_is_no_number_is_refused(run, bad):
    async def main():
        with connected() as (stream, _), pytest.raises((AssertionError, TypeError)):
            stream.read_bytes(bad)

    run(main)


def test_close_inside_of_a_callback(run):
    """Who is woken closes the stream, whose next bytes are there already."""

    async def main():
        with connected() as (stream, peer):
            done = asyncio.get_running_loop().create_future()
            read = stream.read_until(b"\n")

            def close(read):
                stream.close()
                done.set_result(read.result())

            read.add_done_callback(close)
            peer.sendall(b"a\nb\n")
            assert await done == b"a\n"
            assert await stream.read_until(b"\n") == b"b\n"

    run(main)
