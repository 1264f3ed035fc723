"""asyncio's streams on top of the transports: StreamReader, StreamWriter, start_server."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
import weakref

import pytest
from aio_support import (
    MORE_THAN_KERNEL_TAKES,
    Contexts,
    polls,
    recv_exactly,
    recv_to_eof,
    reset,
    resource_warnings,
    tcp_pair,
)


async def streams(limit=2**16):
    """A reader and a writer over one end of a connection, and the other end."""
    ours, peer = tcp_pair()
    reader, writer = await asyncio.open_connection(sock=ours, limit=limit)
    return reader, writer, peer


async def end(writer, peer):
    writer.close()
    await writer.wait_closed()
    peer.close()


def test_reading(run):
    """readline, readuntil, readexactly, read: across packets, with the end in between."""

    async def main():
        reader, writer, peer = await streams()
        loop = asyncio.get_running_loop()
        peer.send(b"one\ntwo\nth")
        assert await reader.readline() == b"one\n"
        assert await reader.readuntil(b"o") == b"two"
        assert await reader.readline() == b"\n"
        loop.call_soon(peer.send, b"ree\n12345678")
        assert await reader.readline() == b"three\n"
        assert await reader.readexactly(4) == b"1234"
        assert await reader.read(100) == b"5678"
        peer.send(b"rest")
        peer.shutdown(socket.SHUT_WR)
        assert not reader.at_eof()
        assert await reader.read() == b"rest"
        assert await reader.read() == await reader.readline() == b""
        assert reader.at_eof()
        await end(writer, peer)

    run(main)


def test_incomplete(run):
    """The end in the middle of readexactly or readuntil is an IncompleteReadError with what there was."""

    async def main():
        for method, argument in (("readexactly", 100), ("readuntil", b"\n")):
            reader, writer, peer = await streams()
            peer.send(b"partial")
            peer.shutdown(socket.SHUT_WR)
            with pytest.raises(asyncio.IncompleteReadError) as caught:
                await getattr(reader, method)(argument)
            assert caught.value.partial == b"partial"
            await end(writer, peer)

    run(main)


def test_limit(run):
    """A line longer than the limit: LimitOverrunError from readuntil, ValueError from readline; reading pauses."""

    async def main():
        reader, writer, peer = await streams(limit=100)
        peer.send(b"x" * 1000 + b"\n")
        with pytest.raises(asyncio.LimitOverrunError) as caught:
            await reader.readuntil(b"\n")
        assert caught.value.consumed >= 100
        with pytest.raises(ValueError, match="limit"):
            await reader.readline()
        await end(writer, peer)

    run(main)


def test_backpressure_of_reading(run):
    """A reader nobody reads from stops taking bytes off the kernel; all come when somebody does."""

    async def main():
        reader, writer, peer = await streams(limit=1000)
        loop = asyncio.get_running_loop()
        data = os.urandom(1 << 20) * 16
        sending = asyncio.ensure_future(loop.sock_sendall(peer, data))
        await polls(20)
        assert not sending.done()
        assert not writer.transport.is_reading()
        assert await reader.readexactly(len(data)) == data
        await sending
        await end(writer, peer)

    run(main)


def test_backpressure_of_writing(run):
    """drain() waits while the buffer is above the mark, and ends when the peer has read."""

    async def main():
        _reader, writer, peer = await streams()
        writer.write(b"small")
        await writer.drain()
        writer.write(bytes(MORE_THAN_KERNEL_TAKES))
        drains = [asyncio.ensure_future(writer.drain()) for _ in range(3)]
        await polls()
        assert not any(task.done() for task in drains)
        assert len(await recv_exactly(peer, MORE_THAN_KERNEL_TAKES + 5)) > 0
        await asyncio.gather(*drains)
        await end(writer, peer)

    run(main)


def test_drain_of_a_lost_connection(run):
    """ConnectionResetError for those who wait, and for those who come later."""

    async def main():
        _reader, writer, peer = await streams()
        writer.write(bytes(MORE_THAN_KERNEL_TAKES))
        task = asyncio.ensure_future(writer.drain())
        await polls(1)
        reset(peer)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            await task
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            await writer.drain()
        writer.close()
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            await writer.wait_closed()

    run(main)


def test_reset_reaches_the_reader(run):
    """A read that waits gets the exception."""

    async def main():
        reader, writer, peer = await streams()
        task = asyncio.ensure_future(reader.read(10))
        await polls(1)
        reset(peer)
        with pytest.raises(ConnectionResetError):
            await task
        assert isinstance(reader.exception(), ConnectionResetError)
        writer.close()
        with pytest.raises(ConnectionResetError):
            await writer.wait_closed()

    run(main)


def test_half_close(run):
    """write_eof: the peer sees the end, answers, and the answer is read; the peer's end keeps us open for writing."""

    async def main():
        reader, writer, peer = await streams()
        assert writer.can_write_eof()
        writer.writelines([b"qu", b"estion"])
        writer.write_eof()
        assert await recv_to_eof(peer) == b"question"
        peer.send(b"answer")
        peer.shutdown(socket.SHUT_WR)
        assert await reader.read() == b"answer"
        await end(writer, peer)
        reader, writer, peer = await streams()
        peer.shutdown(socket.SHUT_WR)
        assert await reader.read() == b""
        assert not writer.is_closing()
        writer.write(b"after the end")
        writer.close()
        assert await recv_to_eof(peer) == b"after the end"
        await end(writer, peer)

    run(main)


def test_writer_tells(run):
    """get_extra_info, transport, is_closing."""

    async def main():
        _reader, writer, peer = await streams()
        assert writer.get_extra_info("peername") == peer.getsockname()
        assert writer.get_extra_info("nothing", 5) == 5
        assert isinstance(writer.transport, asyncio.Transport)
        assert writer.transport._sock is not None  # libraries reach for it
        assert not writer.is_closing()
        writer.close()
        assert writer.is_closing()
        await writer.wait_closed()
        peer.close()

    run(main)


def test_concurrent_reads_are_refused(run):
    """Two coroutines waiting for data of one reader: RuntimeError for the second."""

    async def main():
        reader, writer, peer = await streams()
        first = asyncio.ensure_future(reader.read(10))
        await polls(1)
        with pytest.raises(RuntimeError, match="while another coroutine is already waiting"):
            await reader.read(10)
        peer.send(b"x")
        assert await first == b"x"
        await end(writer, peer)

    run(main)


def test_cancelled_read_loses_nothing(run):
    """What comes after a cancelled read is there for the next one."""

    async def main():
        reader, writer, peer = await streams()
        for n in range(10):
            task = asyncio.ensure_future(reader.readline())
            await polls(1)
            text = b"%d\n" % n
            peer.send(text)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await reader.readline() == text
        await end(writer, peer)

    run(main)


def test_server(run):
    """A server of streams with several clients at a time, each line answered."""

    async def main():
        async def serve(reader, writer):
            while line := await reader.readline():
                writer.write(line.upper())
                await writer.drain()
            writer.close()
            await writer.wait_closed()

        async def client(address, number):
            reader, writer = await asyncio.open_connection(*address)
            for n in range(20):
                writer.write(b"client %d line %d\n" % (number, n))
                assert await reader.readline() == b"CLIENT %d LINE %d\n" % (number, n)
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            address = server.sockets[0].getsockname()
            await asyncio.gather(*(client(address, number) for number in range(20)))

    run(main)


def test_callback_that_raises(run):
    """An exception of a client_connected_cb is told with the transport, and ends that connection only (3.12+)."""

    async def main():
        contexts = Contexts(asyncio.get_running_loop())

        async def serve(reader, writer):
            if await reader.readline() == b"bad\n":
                raise LookupError("in the callback")
            writer.write(b"good")
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            address = server.sockets[0].getsockname()
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"bad\n")
            if sys.version_info >= (3, 12):
                assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"fine\n")
            assert await reader.read() == b"good"
            writer.close()
            await writer.wait_closed()
            await polls()
            gc.collect()
            assert type(contexts[0]["exception"]) is LookupError

    # Before 3.12 nobody closes that connection, and only the task's end of life tells of the exception.
    if sys.version_info < (3, 12):
        pytest.skip("3.11 leaves the connection of a failed callback open")
    run(main)


def test_large_both_ways(run):
    """Twenty megabytes each way through an echo server, with drain()."""

    async def main():
        async def echo(reader, writer):
            while data := await reader.read(50_000):
                writer.write(data)
                await writer.drain()
            writer.close()
            await writer.wait_closed()

        block = os.urandom(99_999)

        async def send(writer):
            for _ in range(200):
                writer.write(block)
                await writer.drain()
            writer.write_eof()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            sending = asyncio.ensure_future(send(writer))
            assert await reader.read() == block * 200
            await sending
            writer.close()
            await writer.wait_closed()

    run(main)


def test_reader_unread_at_close(run):
    """close() with bytes nobody read is no error."""

    async def main():
        _reader, writer, peer = await streams()
        peer.send(b"nobody reads this")
        await polls()
        await end(writer, peer)

    run(main)


def test_forgotten_writer(run):
    """A StreamWriter dropped unclosed: ResourceWarning where its version has it, and no descriptor is left."""

    async def main():
        reader, writer, peer = await streams()
        with resource_warnings() as texts:
            fileno = writer.get_extra_info("socket").fileno()
            del reader, writer
            gc.collect()
            await polls(2)
        assert [text for text in texts if "unclosed" in text]
        peer.close()
        with pytest.raises(OSError):
            os.fstat(fileno)

    if sys.version_info < (3, 12):
        pytest.skip("3.11's streams say nothing")
    run(main)


def test_an_error_that_nobody_asks_for(run):
    """A handler that ends with the connection's error: the cycle of both is collected without a complaint."""

    async def main():
        loop = asyncio.get_running_loop()
        complaints = []
        loop.set_exception_handler(lambda loop, context: complaints.append(context))
        ended = loop.create_future()
        protocols = []

        async def handler(reader, writer):
            protocols.append(weakref.ref(writer.transport.get_protocol()))
            try:
                await reader.readuntil(b"no end")
            except ConnectionResetError:
                pass
            writer.close()
            ended.set_result(None)

        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        peer = socket.create_connection(server.sockets[0].getsockname())
        peer.send(b"half")
        await polls()
        reset(peer)
        await ended
        await polls(2)
        gc.collect()
        assert protocols[0]() is None
        assert complaints == []
        server.close()
        await server.wait_closed()

    run(main)
