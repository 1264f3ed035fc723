"""asyncio's streams: what read() and its kin promise, whoever implements them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import sys
import weakref
from unittest import mock

import pytest
from aio_support import polls, recv_exactly, tcp_pair, turns


@contextlib.asynccontextmanager
async def stream(**kwargs):
    """A connection of streams to a plain socket: yields (reader, writer, the other end's non-blocking socket)."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        reader, writer = await asyncio.open_connection(*listener.getsockname(), **kwargs)
        peer, _ = await loop.sock_accept(listener)
    with peer:
        try:
            yield reader, writer, peer
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@contextlib.asynccontextmanager
async def served(handler, **kwargs):
    """The other way round: `handler(reader, writer)` of a server, and the client's plain socket."""
    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(handler, "127.0.0.1", 0, **kwargs)
    with socket.socket() as peer:
        peer.setblocking(False)
        await loop.sock_connect(peer, server.sockets[0].getsockname())
        yield peer
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("debug", [False, True], ids=["", "debug"])
def test_reads(run, debug):
    """As much as is there, at most n; the rest stays for the next; b"" at the end, again and again."""

    async def main():
        async with stream() as (reader, _, peer):
            reading = asyncio.ensure_future(reader.read(100))
            await polls(1)
            peer.send(b"0123456789")
            assert await reading == b"0123456789"
            reading = asyncio.ensure_future(reader.read(4))
            await polls(1)
            peer.send(b"0123456789")
            assert await reading == b"0123"
            assert await reader.read(3) == b"456"
            assert await reader.read(0) == b""
            assert await reader.read(100) == b"789"
            reading = asyncio.ensure_future(reader.read(100))
            await polls(1)
            peer.shutdown(socket.SHUT_WR)
            assert await reading == b""
            assert await reader.read(100) == b"" and await reader.read() == b""
            assert reader.at_eof()

    run(main, debug=debug)


def test_read_to_the_end(run):
    """read() and read(-1): everything until the end, in whatever pieces it came."""

    async def main():
        for arguments in ((), (-1,)):
            async with stream(limit=100) as (reader, _, peer):
                data = os.urandom(300_000)
                reading = asyncio.ensure_future(reader.read(*arguments))
                await asyncio.get_running_loop().sock_sendall(peer, data)
                peer.shutdown(socket.SHUT_WR)
                assert await reading == data

    run(main)


def test_other_ways_to_read(run):
    """readexactly, readline, readuntil and iteration, over pieces that arrive one by one."""

    async def main():
        async with stream() as (reader, _, peer):

            async def in_pieces(coroutine, *pieces):
                reading = asyncio.ensure_future(coroutine)
                for piece in pieces:
                    await polls(1)
                    assert not reading.done()
                    peer.send(piece)
                return await reading

            assert await in_pieces(reader.readexactly(6), b"ab", b"cd", b"efgh") == b"abcdef"
            assert await in_pieces(reader.readline(), b"ij", b"kl\nmn") == b"ghijkl\n"
            assert await in_pieces(reader.readuntil(b"--"), b"op-", b"-qr") == b"mnop--"
            assert await reader.read(100) == b"qr"
            peer.send(b"one\ntwo\nthree")
            peer.shutdown(socket.SHUT_WR)
            assert [line async for line in reader] == [b"one\n", b"two\n", b"three"]
            with pytest.raises(asyncio.IncompleteReadError) as caught:
                await reader.readexactly(1)
            assert caught.value.partial == b""

    run(main)


def test_limits(run):
    """A line longer than the limit is refused; what a reader holds back is bounded, and nothing is lost."""

    async def main():
        loop = asyncio.get_running_loop()
        async with stream(limit=1000) as (reader, writer, peer):
            peer.send(b"x" * 3000 + b"\nshort\n")
            with pytest.raises(ValueError):
                await reader.readline()
            while (line := await reader.readline()) != b"short\n":
                assert line.strip(b"x\n") == b""
            data = os.urandom(2_000_000)
            sending = asyncio.ensure_future(loop.sock_sendall(peer, data))
            await polls(5)
            assert not writer.transport.is_reading()
            assert len(reader._buffer) < 1_000_000
            received = b""
            while len(received) < len(data):
                received += await reader.read(10_000)
            assert received == data
            await sending

    run(main)


def test_two_at_once(run):
    """RuntimeError for the second, by the name of its method; the first goes on."""

    async def main():
        async with stream() as (reader, _, peer):
            first = asyncio.ensure_future(reader.read(10))
            await polls(1)
            for name, second in (
                ("read", reader.read(10)),
                ("readexactly", reader.readexactly(1)),
                ("readuntil", reader.readline()),
            ):
                with pytest.raises(RuntimeError, match=rf"^{name}\(\) called while another"):
                    await second
            peer.send(b"for the first")
            assert await first == b"for the fi"

    run(main)


@pytest.mark.parametrize("how", ["cancel", "timeout"])
def test_given_up(run, how):
    """A read that is cancelled, also in the very turn in which data comes, takes none of it away."""

    async def main():
        async with stream() as (reader, _, peer):
            for n in range(12):
                text = b"text %d" % n
                if how == "timeout":
                    with pytest.raises(asyncio.TimeoutError):
                        await asyncio.wait_for(reader.read(100), 0)
                    peer.send(text)
                else:
                    reading = asyncio.ensure_future(reader.read(100))
                    await polls(1)
                    peer.send(text)
                    # Cancelled before the data was seen, together with it, or a turn later.
                    await turns(n % 4)
                    reading.cancel()
                    [result] = await asyncio.gather(reading, return_exceptions=True)
                    if result == text:
                        continue
                    assert isinstance(result, asyncio.CancelledError)
                assert await reader.read(100) == text

    run(main)


def test_the_peer_resets(run):
    """ConnectionResetError for the read that waits, and for those after it."""

    async def main():
        async with stream() as (reader, _, peer):
            reading = asyncio.ensure_future(reader.read(100))
            await polls(1)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
            with pytest.raises(ConnectionResetError):
                await reading
            with pytest.raises(ConnectionResetError):
                await reader.read(100)
            assert isinstance(reader.exception(), ConnectionResetError)

    run(main)


def test_fed_by_hand(run):
    """feed_data, feed_eof and set_exception of a connected reader, called in a task: the reader's task goes on later."""

    async def main():
        async with stream() as (reader, _, peer):
            reading = asyncio.ensure_future(reader.read(100))
            await polls(1)
            reader.feed_data(b"by hand")
            assert not reading.done()
            assert await reading == b"by hand"
            reading = asyncio.ensure_future(reader.readexactly(3))
            await polls(1)
            reader.feed_data(b"ab")
            peer.send(b"cd")
            assert await reading == b"abc"
            reading = asyncio.ensure_future(reader.read(100))
            assert await reading == b"d"
            reading = asyncio.ensure_future(reader.read(100))
            await polls(1)
            reader.set_exception(ZeroDivisionError("by hand"))
            with pytest.raises(ZeroDivisionError, match="by hand"):
                await reading

    run(main)


def test_what_programs_replace(run):
    """Patched methods of the stock class, methods of an instance, subclasses: all of them are the ones called."""

    async def main():
        original = asyncio.StreamReader.feed_data

        def shouting(self, data):
            original(self, data.upper())

        with mock.patch.object(asyncio.StreamReader, "feed_data", shouting):
            async with stream() as (reader, _, peer):
                peer.send(b"patched")
                assert await reader.readexactly(7) == b"PATCHED"

        async with stream() as (reader, writer, peer):
            seen = []
            protocol = writer.transport.get_protocol()
            received = protocol.data_received
            protocol.data_received = lambda data: (seen.append(data), received(data))
            peer.send(b"seen")
            assert await reader.read(10) == b"seen"
            assert seen == [b"seen"]

        class Counting(asyncio.StreamReader):
            fed = 0

            def feed_data(self, data):
                self.fed += len(data)
                super().feed_data(data)

        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            reader = Counting(loop=loop)
            transport, _ = await loop.create_connection(
                lambda: asyncio.StreamReaderProtocol(reader), *listener.getsockname()
            )
            peer, _ = listener.accept()
            with peer:
                peer.send(b"counted")
                assert await reader.read(10) == b"counted" and reader.fed == 7
                transport.close()
                await turns(3)

    run(main)


def test_looks(run):
    """Still asyncio's classes, with their repr and their attributes."""

    async def main():
        async with stream() as (reader, writer, peer):
            assert isinstance(reader, asyncio.StreamReader)
            assert isinstance(writer, asyncio.StreamWriter)
            assert isinstance(writer.transport.get_protocol(), asyncio.StreamReaderProtocol)
            assert repr(reader).startswith("<StreamReader transport=<")
            peer.send(b"waiting")
            await polls(1)
            assert "7 bytes" in repr(reader) and bytes(reader._buffer) == b"waiting"
            assert asyncio.iscoroutine(coroutine := reader.read(3))
            assert await coroutine == b"wai"

    run(main)


def test_a_server_that_echoes(run):
    """Many exchanges of all sizes through a handler of start_server."""

    async def echo(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def main():
        loop = asyncio.get_running_loop()
        async with served(echo) as peer:
            for size in (1, 1000, 70_000, 3, 300_000, 65536, 1):
                data = os.urandom(size)
                sending = asyncio.ensure_future(loop.sock_sendall(peer, data))
                assert await recv_exactly(peer, size) == data
                await sending
            peer.shutdown(socket.SHUT_WR)
            assert await loop.sock_recv(peer, 1) == b""

    run(main)


def test_what_a_server_makes(run):
    """Its reader, writer and protocol know each other, and are asyncio's."""

    async def main():
        done = asyncio.get_running_loop().create_future()

        async def handler(reader, writer):
            try:
                protocol = writer.transport.get_protocol()
                assert isinstance(reader, asyncio.StreamReader)
                assert isinstance(writer, asyncio.StreamWriter)
                assert isinstance(protocol, asyncio.StreamReaderProtocol)
                assert [type(each).__name__ for each in (reader, writer, protocol)] == [
                    "StreamReader",
                    "StreamWriter",
                    "StreamReaderProtocol",
                ]
                assert reader._transport is writer.transport
                assert protocol._stream_reader is writer._reader is reader
                assert writer._protocol is protocol
                assert getattr(protocol, "_stream_writer", None) in (None, writer)
                assert reader._limit == 1000
                assert await reader.read(100) == b"data"
                writer.close()
                await writer.wait_closed()
                done.set_result(None)
            except BaseException as error:
                done.set_exception(error)
                raise

        async with served(handler, limit=1000) as peer:
            peer.send(b"data")
            await done
            assert await asyncio.get_running_loop().sock_recv(peer, 1) == b""

    run(main)


def test_a_protocol_that_somebody_keeps(run):
    """What a program made by itself for `create_server()` and holds stays the very object."""

    async def main():
        loop = asyncio.get_running_loop()
        made = []

        def factory():
            reader = asyncio.StreamReader()
            called = loop.create_future()
            protocol = asyncio.StreamReaderProtocol(reader, lambda *pair: called.set_result(pair))
            made.append((kept(reader), kept(protocol), called))
            return protocol

        for kept in (lambda each: each, weakref.ref):
            server = await loop.create_server(factory, "127.0.0.1", 0)
            with socket.socket() as peer:
                peer.setblocking(False)
                await loop.sock_connect(peer, server.sockets[0].getsockname())
                await loop.sock_sendall(peer, b"data")
                while not made:
                    await polls(1)
                reader, protocol, called = made.pop()
                given, writer = await called
                if kept is weakref.ref:
                    reader, protocol = reader(), protocol()
                assert given is reader and writer.transport.get_protocol() is protocol
                assert await given.read(10) == b"data"
                writer.write(b"answer")
                await writer.drain()
                assert await recv_exactly(peer, 6) == b"answer"
                writer.close()
                await writer.wait_closed()
            server.close()
            await server.wait_closed()

    run(main)


def test_a_reader_that_somebody_keeps(run):
    """A server's protocol without a callback: the program reads from the reader that it has made."""

    async def main():
        loop = asyncio.get_running_loop()
        readers = []

        def factory():
            readers.append(asyncio.StreamReader())
            return asyncio.StreamReaderProtocol(readers[-1])

        server = await loop.create_server(factory, "127.0.0.1", 0)
        with socket.socket() as peer:
            peer.setblocking(False)
            await loop.sock_connect(peer, server.sockets[0].getsockname())
            await loop.sock_sendall(peer, b"data")
            while not readers:
                await polls(1)
            assert await readers[0].read(10) == b"data"
        assert await readers[0].read() == b""
        # Half-closed: nobody else has a way to its transport.
        readers[0]._transport.close()
        server.close()
        await server.wait_closed()

    run(main)


def test_values_are_not_kept(run):
    """A large value that a read has returned is the program's alone, and so is the StopIteration that brought it."""

    async def main():
        async with stream() as (reader, _, peer):
            loop = asyncio.get_running_loop()
            peer.send(b"first")
            await polls(1)
            coroutine = reader.read(5)
            with pytest.raises(StopIteration) as first:
                coroutine.send(None)
            peer.send(b"second")
            await polls(1)
            assert await reader.read(6) == b"second"
            assert first.value.value == b"first" and first.value.args == (b"first",)

            ours, theirs = tcp_pair()
            with ours, theirs:
                # (Of a few between half a kilobyte and eight the loop keeps the memory, to use it again.)
                for count in (400, 10_000):
                    theirs.send(b"x" * count)
                    received, fresh = await loop.sock_recv(ours, 20_000), os.urandom(10)
                    await polls(1)
                    assert len(received) == count
                    assert sys.getrefcount(received) == sys.getrefcount(fresh)

    run(main)
