"""asyncio's streams: what write() and drain() of a server's StreamWriter promise, whoever implements them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import warnings
from unittest import mock

import pytest
from aio_support import MORE_THAN_KERNEL_TAKES, polls, recv_exactly, reset, turns


@contextlib.asynccontextmanager
async def served(**kwargs):
    """A connection to start_server: yields the server's (reader, writer) and the client's non-blocking socket."""
    loop = asyncio.get_running_loop()
    connected = loop.create_future()
    server = await asyncio.start_server(
        lambda reader, writer: connected.set_result((reader, writer)), "127.0.0.1", 0, **kwargs
    )
    with socket.socket() as peer:
        peer.setblocking(False)
        await loop.sock_connect(peer, server.sockets[0].getsockname())
        reader, writer = await connected
        try:
            yield reader, writer, peer
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            server.close()
            await server.wait_closed()


@pytest.mark.parametrize("debug", [False, True], ids=["", "debug"])
def test_writes(run, debug):
    """Whatever is bytes-like, in order; drain() waits for nothing while there is room."""

    async def main():
        async with served() as (_, writer, peer):
            assert isinstance(writer, asyncio.StreamWriter)
            assert repr(writer).startswith("<StreamWriter transport=<")
            changing = bytearray(b"two,")
            writer.write(b"one,")
            assert writer.write(changing) is None
            changing[:] = b"lost"
            writer.write(memoryview(b"three,"))
            writer.writelines([b"four", b",", bytearray(b"five")])
            draining = writer.drain()
            assert asyncio.iscoroutine(draining)
            with pytest.raises(StopIteration) as caught:
                draining.send(None)
            assert caught.value.value is None
            assert await recv_exactly(peer, 23) == b"one,two,three,four,five"
            for wrong in ("text", 5, None):
                with pytest.raises(TypeError):
                    writer.write(wrong)

    run(main, debug=debug)


def test_pressure(run):
    """drain() goes on when enough has left; as often as somebody asks, also in a task of its own."""

    async def main():
        async with served() as (_, writer, peer):
            early = writer.drain()
            writer.write(data := os.urandom(MORE_THAN_KERNEL_TAKES))
            # What counts is how things are when it is awaited.
            draining = [asyncio.ensure_future(early), asyncio.ensure_future(writer.drain())]
            cancelled = asyncio.ensure_future(writer.drain())
            await polls(2)
            assert not any(task.done() for task in (*draining, cancelled))
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(writer.drain(), 0)
            assert await recv_exactly(peer, len(data)) == data
            assert await asyncio.gather(*draining) == [None, None]
            await writer.drain()

    run(main)


def test_the_end_while_draining(run):
    """The connection is lost: ConnectionResetError for who waits in drain(), and for those after him."""

    async def main():
        async with served() as (reader, writer, peer):
            writer.write(bytes(MORE_THAN_KERNEL_TAKES))
            draining = asyncio.ensure_future(writer.drain())
            await polls(1)
            reset(peer)
            with pytest.raises(ConnectionResetError):
                await draining
            with pytest.raises(ConnectionResetError):
                await writer.drain()
            assert isinstance(reader.exception(), ConnectionResetError)

    run(main)


def test_closing(run):
    """drain() gives connection_lost() its turn; afterwards it raises."""

    async def main():
        async with served() as (_, writer, _):
            writer.close()
            with pytest.raises(ConnectionResetError):
                for _ in range(5):
                    await writer.drain()

    run(main)


def test_an_exception_of_the_reader(run):
    """What the reader was told is what drain() raises."""

    async def main():
        async with served() as (reader, writer, _):
            reader.set_exception(ZeroDivisionError("by hand"))
            with pytest.raises(ZeroDivisionError, match="by hand"):
                await writer.drain()

    run(main)


def test_paused_by_hand(run):
    """pause_writing() and resume_writing() of the protocol are what drain() goes by."""

    async def main():
        async with served() as (_, writer, _):
            protocol = writer.transport.get_protocol()
            protocol.pause_writing()
            draining = asyncio.ensure_future(writer.drain())
            await turns(2)
            assert not draining.done()
            protocol.resume_writing()
            await draining

    run(main)


def test_what_programs_replace(run):
    """Methods of an instance, and of the stock class: those are the ones called."""

    async def main():
        async with served() as (reader, writer, peer):
            seen = []

            async def helper():
                seen.append("helper")

            transport = writer.transport
            with mock.patch.object(transport, "write", seen.append):
                writer.write(b"to nobody")
            assert seen.pop() == b"to nobody"
            with mock.patch.object(reader, "exception", return_value=ZeroDivisionError()):
                with pytest.raises(ZeroDivisionError):
                    await writer.drain()
            with mock.patch.object(transport, "is_closing", return_value=False) as asked:
                await writer.drain()
            assert asked.called
            with mock.patch.object(transport.get_protocol(), "_drain_helper", helper):
                await writer.drain()
            assert seen.pop() == "helper"
            with mock.patch.object(writer, "drain", helper):
                await writer.drain()
            assert seen.pop() == "helper"
            writer.write(b"to the peer")
            await writer.drain()
            assert await recv_exactly(peer, 11) == b"to the peer" and not seen

        with mock.patch.object(asyncio.StreamWriter, "write", lambda self, data: seen.append(data)):
            async with served() as (_, writer, _):
                writer.write(b"patched")
                assert seen == [b"patched"]

    run(main)


def test_never_awaited(run):
    """A drain() that nobody awaits is told, by its name, and does nothing."""

    async def main():
        async with served() as (_, writer, _):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                writer.drain()
                gc.collect()
            [warning] = caught
            assert issubclass(warning.category, RuntimeWarning)
            assert "StreamWriter.drain' was never awaited" in str(warning.message)

    run(main)


def test_a_coroutine_for_callback(run):
    """A task of its own reads, writes, drains and closes."""

    async def main():
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        async def echo(reader, writer):
            data = await reader.readexactly(4)
            writer.write(data[::-1])
            await writer.drain()
            writer.close()
            await writer.wait_closed()
            done.set_result(type(writer).__mro__)

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        with socket.socket() as peer:
            peer.setblocking(False)
            await loop.sock_connect(peer, server.sockets[0].getsockname())
            peer.send(b"text")
            assert await recv_exactly(peer, 4) == b"txet"
            assert asyncio.StreamWriter in await done
        server.close()
        await server.wait_closed()

    run(main)
