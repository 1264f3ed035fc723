"""SSLIOStream: bytes both ways, the end, and what programs see of it. The handshake is in test_tornado_tls_handshake.py."""

from __future__ import annotations

import asyncio
import gc
import re
import ssl
import weakref

import pytest
from to_streams import received
from to_tls import (  # noqa: F401
    both,
    certificate,
    client_context,
    in_thread,
    records,
    server_context,
    with_peer,
)
from tornado import iostream

# More than the kernel buffers on both ends hold.
LARGE = bytes(range(256)) * 40_000


@pytest.fixture
def run(io_loop, records, server_context, client_context):  # noqa: F811
    """run(main): the result of `main(server_context, client_context)` in an IOLoop of the kind under test."""
    return lambda main: io_loop.run_sync(lambda: main(server_context, client_context))


def end(peer, answer=b""):
    """Says the last word, and waits for the end."""
    if answer:
        peer.sendall(answer)
    peer.close()


@pytest.mark.parametrize("server_side", [True, False])
def test_every_way_to_read(run, server_side):
    async def main(*contexts):
        async with with_peer(*contexts, server_side) as (stream, peer):
            assert isinstance(stream, iostream.SSLIOStream)
            read = stream.read_until(b"\r\n")
            await in_thread(peer.sendall, b"line\r\nrest 42!0123456789abcdef")
            assert await read == b"line\r\n"
            assert await stream.read_until_regex(rb"\d+") == b"rest 42"
            assert await stream.read_bytes(1) == b"!"
            buffer = bytearray(10)
            assert await stream.read_into(buffer) == 10
            assert bytes(buffer) == b"0123456789"
            assert await stream.read_bytes(100, partial=True) == b"abcdef"
            part = stream.read_into(buffer, partial=True)
            await in_thread(peer.sendall, b"xyz")
            assert await part == 3
            assert bytes(buffer[:3]) == b"xyz"
            await stream.write(b"answer")
            assert await in_thread(received, peer, 6) == b"answer"
            rest = stream.read_until_close()
            await in_thread(end, peer, b"the end")
            assert await rest == b"the end"
            assert stream.closed()
            assert stream.error is None

    run(main)


def test_much_both_ways_at_once(run):
    async def main(*contexts):
        async with both(*contexts) as (client, server):
            for one, other in ((client, server), (server, client)):
                written = one.write(LARGE)
                assert not written.done()
                assert one.writing()
                assert await other.read_bytes(len(LARGE)) == LARGE
                await written
                assert not one.writing()
            read = [end.read_bytes(len(LARGE)) for end in (client, server)]
            await asyncio.gather(client.write(LARGE), server.write(LARGE))
            assert await asyncio.gather(*read) == [LARGE, LARGE]

    run(main)


def test_writes_that_wait_are_over_in_order_and_counted(run):
    async def main(*contexts):
        async with with_peer(*contexts) as (stream, peer):
            over = []
            futures = []
            for name in range(4):
                future = stream.write(LARGE if name == 0 else b"%d" % name)
                future.add_done_callback(lambda _, name=name: over.append(name))
                futures.append(future)
            assert not any(future.done() for future in futures)
            assert stream._total_write_index == len(LARGE) + 3
            assert stream._total_write_done_index < len(LARGE)
            assert await in_thread(received, peer, len(LARGE) + 3) == LARGE + b"123"
            await futures[-1]
            assert over == [0, 1, 2, 3]
            assert stream._total_write_done_index == len(LARGE) + 3

    run(main)


def test_the_limit_of_the_write_buffer_counts_the_programs_bytes(run):
    async def main(*contexts):
        async with with_peer(*contexts, max_write_buffer_size=len(LARGE)) as (stream, peer):
            written = stream.write(LARGE)
            waiting = len(stream._write_buffer)
            assert 0 < waiting <= len(LARGE)
            with pytest.raises(iostream.StreamBufferFullError):
                stream.write(bytes(len(LARGE) - waiting + 1))
            last = stream.write(bytes(len(LARGE) - waiting))
            count = 2 * len(LARGE) - waiting
            assert len(await in_thread(received, peer, count)) == count
            await asyncio.gather(written, last)

    run(main)


def test_mutable_data_may_change_once_it_has_left(run):
    async def main(*contexts):
        async with with_peer(*contexts) as (stream, peer):
            data = bytearray(LARGE)
            written = stream.write(data)
            assert await in_thread(received, peer, len(LARGE)) == LARGE
            await written
            data.clear()
            await stream.write(memoryview(b"view"))
            assert await in_thread(received, peer, 4) == b"view"

    run(main)


def test_bytes_put_into_the_write_buffer(run):
    """Distributed does it."""

    async def main(*contexts):
        async with with_peer(*contexts) as (stream, peer):
            for piece in (b"some", b"", LARGE, memoryview(b"more")):
                stream._write_buffer.append(piece)
                stream._total_write_index += len(piece)
            written = stream.write(b"")
            count = len(LARGE) + 8
            assert await in_thread(received, peer, count) == b"some" + LARGE + b"more"
            await written
            assert len(stream._write_buffer) == 0

    run(main)


def test_more_than_may_wait(run):
    async def main(*contexts):
        async with with_peer(*contexts, max_buffer_size=100_000) as (stream, peer):
            read = stream.read_until(b"nowhere")
            sending = in_thread(peer.sendall, b"x" * 200_000)
            with pytest.raises(iostream.StreamClosedError) as caught:
                await read
            assert isinstance(caught.value.real_error, iostream.StreamBufferFullError)
            await asyncio.wait([sending])
            sending.exception()

    run(main)


def test_a_delimiter_that_is_too_far(run):
    async def main(*contexts):
        async with with_peer(*contexts) as (stream, peer):
            read = stream.read_until(b"\n", max_bytes=10)
            await in_thread(peer.sendall, b"x" * 20)
            with pytest.raises(iostream.StreamClosedError) as caught:
                await read
            assert isinstance(caught.value.real_error, iostream.UnsatisfiableReadError)

    run(main)


@pytest.mark.parametrize("last_word", [True, False])
def test_the_peer_ends(run, last_word):
    """With TLS' close_notify, and without."""

    async def main(*contexts):
        async with with_peer(*contexts) as (stream, peer):
            closed = asyncio.Event()
            stream.set_close_callback(closed.set)
            # The peer has read all there is, tickets included: its end is no reset.
            await stream.write(b"x")
            assert await in_thread(received, peer, 1) == b"x"
            read = stream.read_bytes(5)
            await in_thread(peer.sendall, b"12345678")
            assert await read == b"12345"
            last = stream.read_bytes(3)
            if last_word:
                # Waits for ours, which no Tornado stream says.
                ending = in_thread(peer.unwrap)
                assert await last == b"678"
                with pytest.raises(iostream.StreamClosedError) as caught:
                    await stream.read_bytes(1)
                await asyncio.wait([ending])
                ending.exception()
            else:
                peer.close()
                assert await last == b"678"
                with pytest.raises(iostream.StreamClosedError) as caught:
                    await stream.read_bytes(1)
            assert caught.value.real_error is None
            await closed.wait()
            assert stream.socket is None
            with pytest.raises(iostream.StreamClosedError):
                stream.write(b"x")

    run(main)


def test_what_was_buffered_is_read_after_the_end(run):
    async def main(*contexts):
        async with with_peer(*contexts) as (stream, peer):
            closed = asyncio.Event()
            read = stream.read_bytes(1)
            await in_thread(end, peer, b"1234")
            assert await read == b"1"
            stream.set_close_callback(closed.set)
            assert await stream.read_bytes(2) == b"23"
            assert await stream.read_until_close() == b"4"
            await closed.wait()

    run(main)


def test_closing_has_no_last_word(run):
    async def main(*contexts):
        async with with_peer(*contexts) as (stream, peer):
            peer.suppress_ragged_eofs = False
            stream.close()
            with pytest.raises(ssl.SSLEOFError):
                await in_thread(peer.recv, 1)

    run(main)


def test_what_is_no_record_closes_the_stream(run):
    async def main(*contexts):
        async with with_peer(*contexts) as (stream, peer):
            read = stream.read_bytes(1)
            plain = peer.detach()
            import socket

            with socket.socket(fileno=plain) as plain:
                plain.sendall(b"this is no record of TLS at all")
                with pytest.raises(iostream.StreamClosedError) as caught:
                    await read
            assert isinstance(caught.value.real_error, ssl.SSLError)
            assert stream.error is caught.value.real_error

    run(main)


def test_a_write_to_a_peer_that_is_gone(run):
    async def main(*contexts):
        async with with_peer(*contexts) as (stream, peer):
            closed = asyncio.Event()
            stream.set_close_callback(closed.set)
            written = stream.write(LARGE)
            peer.close()
            with pytest.raises(iostream.StreamClosedError) as caught:
                await written
            # None: older ssl modules take a reset for an end.
            assert isinstance(caught.value.real_error, ConnectionError | None)
            await closed.wait()

    run(main)


@pytest.mark.parametrize("server_side", [True, False])
def test_what_the_socket_knows(run, server_side):
    async def main(server, client):
        for context in (server, client):
            context.set_alpn_protocols(["spdy/9", "http/1.1"])
        async with with_peer(server, client, server_side) as (stream, peer):
            sock = stream.socket
            assert isinstance(sock, ssl.SSLSocket)
            assert sock.version() == peer.version()
            assert sock.cipher() == peer.cipher()
            assert sock.selected_alpn_protocol() == "spdy/9"
            assert sock.getpeername() == peer.getsockname()
            assert sock.context in (server, client)
            if server_side:
                assert sock.getpeercert() is None
            else:
                assert sock.getpeercert()["subject"] == ((("commonName", "localhost"),),)
                assert sock.getpeercert(True).startswith(b"0")
            await stream.write(b"x")
            assert sock.fileno() == stream.fileno().fileno()

    run(main)


class Counting(iostream.SSLIOStream):
    taken = sent = 0

    def read_from_fd(self, buf):
        count = super().read_from_fd(buf)
        self.taken += count or 0
        return count

    def write_to_fd(self, data):
        count = super().write_to_fd(data)
        self.sent += count
        return count


def test_a_subclass_with_a_way_of_its_own_to_read_and_write(run):
    async def main(*contexts):
        async with with_peer(*contexts, kind=Counting) as (stream, peer):
            read = stream.read_until(b"\n")
            await in_thread(peer.sendall, b"line\n")
            assert await read == b"line\n"
            await stream.write(b"answer")
            assert await in_thread(received, peer, 6) == b"answer"
            assert (stream.taken, stream.sent) == (5, 6)

    run(main)


@pytest.mark.parametrize("waiting", [False, True])
def test_one_stream_with_a_way_of_its_own_to_read(run, waiting):
    async def main(*contexts):
        async with with_peer(*contexts) as (stream, peer):
            first = stream.read_bytes(1)
            await in_thread(peer.sendall, b"12\n3")
            assert await first == b"1"
            read = stream.read_until(b"34\n") if waiting else None
            original, seen = stream.read_from_fd, []

            def read_from_fd(buf):
                count = original(buf)
                if count:
                    seen.append(bytes(buf[:count]))
                return count

            stream.read_from_fd = read_from_fd
            assert stream.reading() is waiting
            if read is None:
                read = stream.read_until(b"34\n")
            await in_thread(peer.sendall, b"4\n")
            assert await read == b"2\n34\n"
            assert seen == [b"4\n"]
            written = stream.write(LARGE)
            assert await in_thread(received, peer, len(LARGE)) == LARGE
            await written
            closed = asyncio.Event()
            stream.set_close_callback(closed.set)
            peer.close()
            await closed.wait()

    run(main)


def test_one_stream_with_a_way_of_its_own_to_write_while_much_waits(run):
    async def main(*contexts):
        async with with_peer(*contexts) as (stream, peer):
            original, sent = stream.write_to_fd, []
            written = stream.write(LARGE)

            def write_to_fd(data):
                count = original(data)
                sent.append(count)
                return count

            stream.write_to_fd = write_to_fd
            last = stream.write(b"last")
            count = len(LARGE) + 4
            assert await in_thread(received, peer, count) == LARGE + b"last"
            await asyncio.gather(written, last)
            assert sent[-1] >= 4
            await stream.write(b"again")
            assert sent[-1] == 5
            assert await in_thread(received, peer, 5) == b"again"

    run(main)


def test_a_socket_taken_out_of_the_loop_is_its_takers(run):
    async def main(*contexts):
        async with with_peer(*contexts) as (stream, peer):
            read = stream.read_bytes(1)
            await in_thread(peer.sendall, b"1")
            assert await read == b"1"
            stream.io_loop.remove_handler(stream.socket)
            sock = stream.socket
            await in_thread(peer.sendall, b"23")
            sock.setblocking(True)
            assert await in_thread(received, sock, 2) == b"23"
            await in_thread(sock.sendall, b"45")
            assert await in_thread(received, peer, 2) == b"45"

    run(main)


def test_closed_with_a_read_and_a_write_waiting(run):
    async def main(*contexts):
        async with with_peer(*contexts) as (stream, _):
            read, written = stream.read_bytes(1), stream.write(LARGE)
            stream.close(exc_info=ZeroDivisionError("why"))
            for future in (read, written):
                with pytest.raises(iostream.StreamClosedError) as caught:
                    await future
                assert isinstance(caught.value.real_error, ZeroDivisionError)

    run(main)


def test_a_closed_stream_is_let_go_of(run):
    async def main(*contexts):
        async with both(*contexts) as (client, server):
            written = server.write(LARGE)
            await client.read_bytes(1)
            gone = [weakref.ref(client), weakref.ref(server), weakref.ref(server.socket)]
        with pytest.raises(iostream.StreamClosedError):
            await written
        del client, server, written
        await asyncio.sleep(0)
        gc.collect()
        assert [ref() for ref in gone] == [None] * 3

    run(main)


def test_the_representation_of_errors_is_the_ssl_modules(run):
    """A record that was changed on its way."""

    async def main(server, client):
        async with with_peer(server, client) as (stream, peer):
            read = stream.read_bytes(1)
            version = peer.version()
            import socket

            with socket.socket(fileno=peer.detach()) as plain:
                # Application data, of 32 bytes that nobody has encrypted.
                plain.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
                with pytest.raises(iostream.StreamClosedError) as caught:
                    await read
            error = caught.value.real_error
            assert isinstance(error, ssl.SSLError)
            assert re.search("(?i)bad record mac", str(error)), version

    run(main)
