"""Data over TLS: every size and type, buffered protocols, pauses, pressure in both directions, messages in between."""

from __future__ import annotations

import _ssl
import asyncio
import ctypes
import os
import ssl

import pytest
from aio_support import BufferedRecorder, Contexts, Recorder, polls
from aio_tls import Echo, connection, with_blocking_peer

pytestmark = pytest.mark.usefixtures("engine")


@pytest.mark.parametrize("size", [1, 16_383, 16_384, 16_385, 100_000, 1_000_000])
def test_sizes(run, server_context, client_context, size):
    """Around the size of a record, and far above."""

    async def main():
        async with connection(server_context, client_context) as (transport, protocol, _):
            data = os.urandom(size)
            for _ in range(3):
                transport.write(data)
            assert await protocol.received(3 * size) == 3 * data

    run(main)


def test_types(run, server_context, client_context):
    """Bytes, bytearrays that change afterwards, memoryviews; nothing else, with asyncio's words."""

    async def main():
        async with connection(server_context, client_context) as (transport, protocol, _):
            changing = bytearray(b"bytearray ")
            transport.write(changing)
            changing[:] = b"x" * len(changing)
            transport.write(memoryview(b"..memoryview ")[2:])
            transport.write(b"")
            transport.writelines([b"a", bytearray(b"b"), memoryview(b"c")])
            wanted = b"bytearray memoryview abc"
            assert await protocol.received(len(wanted)) == wanted
            with pytest.raises(TypeError, match="data: expecting a bytes-like instance, got str"):
                transport.write("text")
            assert transport.can_write_eof() is False
            with pytest.raises(NotImplementedError):
                transport.write_eof()

    run(main)


@pytest.mark.stock_wrong("a view with gaps ends the connection", raises=AssertionError)
def test_views_of_any_layout(run, server_context, client_context):
    """As plain transports take them."""

    async def main():
        Contexts(asyncio.get_running_loop())
        async with connection(server_context, client_context) as (transport, protocol, _):
            transport.write(memoryview(b"m.e.m.o.r.y.")[::2])
            received = asyncio.ensure_future(protocol.received(6))
            await asyncio.wait([received, protocol.lost], return_when=asyncio.FIRST_COMPLETED)
            received.cancel()
            assert protocol.data == b"memory"

    run(main)


def test_written_in_connection_made(run, server_context, client_context):
    """By both sides, and in the right order with what comes later."""

    async def main():
        def greet(protocol):
            protocol.transport.write(b"hello ")

        async with connection(
            server_context,
            client_context,
            lambda: Recorder(connection_made=greet),
            lambda: Recorder(connection_made=greet),
        ) as (transport, protocol, peer):
            transport.write(b"world")
            assert await peer.received(11) == b"hello world"
            assert await protocol.received(6) == b"hello "

    run(main)


@pytest.mark.parametrize("size", [1, 100, 65_536])
def test_buffered_protocol(run, server_context, client_context, size):
    """A buffer of any size is filled until nothing is left."""

    async def main():
        # A view: asyncio's own TLS fills slices of what it is given, which for a bytearray are copies.
        def view(protocol):
            return memoryview(protocol.buffer)

        async with connection(
            server_context, client_context, client=lambda: BufferedRecorder(size, get_buffer=view)
        ) as (transport, protocol, _):
            data = os.urandom(min(size * 500, 300_000))
            transport.write(data)
            assert await protocol.received(len(data)) == data
            assert len(protocol.buffer) == size

    run(main)


def test_another_protocol_in_between(run, server_context, client_context):
    """set_protocol() to a BufferedProtocol, from within data_received."""

    async def main():
        async with connection(server_context, client_context) as (transport, protocol, _):
            second = BufferedRecorder(1000)
            protocol.hooks["data_received"] = lambda _: transport.set_protocol(second)
            transport.write(b"a")
            await protocol.received(1)
            assert transport.get_protocol() is second
            transport.write(b"b" * 3000)
            assert await second.received(3000) == b"b" * 3000
            transport.set_protocol(protocol)

    run(main)


@pytest.mark.parametrize("buffered", [False, True])
def test_paused(run, server_context, client_context, buffered):
    """Nothing is delivered to a protocol that has paused, though records are there; all of it when it resumes."""

    async def main():
        def pause(protocol):
            protocol.transport.pause_reading()

        hook = {"buffer_updated" if buffered else "data_received": pause}

        def client():
            return BufferedRecorder(10, **hook) if buffered else Recorder(**hook)

        async with connection(server_context, client_context, client=client) as (
            transport,
            protocol,
            _,
        ):
            transport.write(b"0123456789" * 3)
            await protocol.received(1)
            assert not transport.is_reading()
            transport.pause_reading()
            count = len(protocol.data)
            transport.write(b"more")
            await polls()
            assert len(protocol.data) == count
            if buffered:
                assert count == 10
            while len(protocol.data) < 34:
                count = len(protocol.data)
                transport.resume_reading()
                assert transport.is_reading()
                await protocol.received(count + 1)
            assert protocol.data == b"0123456789" * 3 + b"more"

    run(main)


def test_pressure(run, server_context, client_context):
    """A peer that does not read: the writer is asked to pause, and to go on when it does. asyncio's marks for TLS."""

    async def main():
        async with connection(
            server_context, client_context, lambda: Recorder(connection_made=pause)
        ) as (transport, protocol, peer):
            assert transport.get_write_buffer_limits() == (128 * 1024, 512 * 1024)
            block = bytes(100_000)
            blocks = 0
            while "pause" not in protocol.events:
                transport.write(block)
                blocks += 1
                assert blocks < 1000
            assert transport.get_write_buffer_size() >= 512 * 1024
            peer.transport.resume_reading()
            await peer.received(blocks * len(block))
            while "resume" not in protocol.events:
                await polls(1)
            assert protocol.events == ["made", "pause", "resume"]

    def pause(protocol):
        protocol.transport.pause_reading()

    run(main)


def test_limits(run, server_context, client_context):
    """Of the write buffer and of the read buffer: what is left out is computed as asyncio does."""

    async def main():
        async with connection(server_context, client_context) as (transport, _, _peer):
            for kind in ("write", "read"):
                set_limits = getattr(transport, f"set_{kind}_buffer_limits")
                get_limits = getattr(transport, f"get_{kind}_buffer_limits")
                set_limits(high=1000)
                assert get_limits() == (250, 1000)
                set_limits(low=100)
                assert get_limits() == (100, 400)
                with pytest.raises(ValueError, match=r"high \(1\) must be >= low \(2\)"):
                    set_limits(high=1, low=2)
                set_limits()
                high = {"write": 512, "read": 256}[kind] * 1024
                assert get_limits() == (high // 4, high)
            assert transport.get_read_buffer_size() == 0

    run(main)


def test_many_at_once(run, server_context, client_context):
    """Fifty connections that all talk at the same time."""

    async def main():
        async def talk(number):
            async with connection(server_context, client_context) as (transport, protocol, _):
                sent = b""
                for turn in range(10):
                    sent += bytes([number]) * (turn * 700)
                    transport.write(bytes([number]) * (turn * 700))
                    assert await protocol.received(len(sent)) == sent

        await asyncio.gather(*(talk(number) for number in range(50)))

    run(main)


def test_records_that_carry_nothing(run, server_context, client_context):
    """A peer's empty records, session tickets and fragments are no data."""

    def peer(sock):
        server_context.num_tickets = 8
        with server_context.wrap_socket(sock, server_side=True) as tls:
            for byte in b"hello":
                tls.send(bytes([byte]))
                tls.send(b"")
            return tls.recv(10)

    async def main():
        client_context.minimum_version = ssl.TLSVersion.TLSv1_3
        async with with_blocking_peer(peer, client_context) as (transport, protocol, _):
            assert await protocol.received(5) == b"hello"
            transport.write(b"bye")
            await protocol.lost

    run(main)


def test_keys_are_changed(run, server_context, client_context):
    """TLS 1.3: either side asks for new keys in the middle of the data; the other answers with its own."""
    openssl = ctypes.CDLL(_ssl.__file__)
    if not hasattr(openssl, "SSL_key_update"):
        pytest.skip("OpenSSL is out of reach")

    def change(transport):
        # Where each CPython has the SSL *: see src/py/ssl.rs.
        place = id(transport.get_extra_info("ssl_object")._sslobj) + object.__basicsize__ + 8
        pointer = ctypes.c_void_p.from_address(place)
        update_and_ask = 1
        assert openssl.SSL_key_update(pointer, update_and_ask) == 1

    async def main():
        client_context.minimum_version = ssl.TLSVersion.TLSv1_3
        async with connection(server_context, client_context) as (transport, protocol, peer):
            sent = b""
            for end in (transport, peer.transport, transport):
                change(end)
                for _ in range(3):
                    sent += os.urandom(20_000)
                    transport.write(sent[-20_000:])
                    assert await protocol.received(len(sent)) == sent

    run(main)


def test_renegotiation(run, server_context, certificate):
    """TLS 1.2: a client that wants another handshake is refused, and hangs nobody."""
    SSL = pytest.importorskip("OpenSSL.SSL")

    async def main():
        loop = asyncio.get_running_loop()
        server_context.maximum_version = ssl.TLSVersion.TLSv1_2
        made = []
        server = await loop.create_server(
            lambda: made.append(Echo()) or made[-1], "127.0.0.1", 0, ssl=server_context
        )

        def client(address):
            import socket

            context = SSL.Context(SSL.TLS_METHOD)
            with socket.create_connection(address) as sock:
                tls = SSL.Connection(context, sock)
                tls.set_connect_state()
                tls.do_handshake()
                tls.sendall(b"before")
                assert tls.recv(100) == b"before"
                assert tls.renegotiate()
                with pytest.raises(SSL.Error, match="no renegotiation"):
                    tls.do_handshake()
                # What it says afterwards is heard, or not: OpenSSL is free to end the connection.
                return True

        assert await loop.run_in_executor(None, client, server.sockets[0].getsockname())
        await made[0].lost
        assert made[0].data == b"before"
        server.close()
        await server.wait_closed()
        await loop.shutdown_default_executor()

    run(main)


def test_sendfile(run, server_context, client_context, tmp_path):
    """Through the transport's write(); without that, refused."""
    path = tmp_path / "file"
    path.write_bytes(os.urandom(300_000))

    async def main():
        loop = asyncio.get_running_loop()
        async with connection(server_context, client_context) as (transport, protocol, _):
            with path.open("rb") as file:
                with pytest.raises(RuntimeError, match="fallback is disabled"):
                    await loop.sendfile(transport, file, fallback=False)
                assert await loop.sendfile(transport, file, 10, 200_000) == 200_000
                assert file.tell() == 200_010
            assert await protocol.received(200_000) == path.read_bytes()[10:200_010]

    run(main)
