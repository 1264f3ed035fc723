"""Points 24, 29, 36 and 39: connect_write_pipe on FIFOs, terminals, devices and sockets."""

from __future__ import annotations

import asyncio
import errno
import os
import pty
import socket

import pytest
from aio_support import Contexts, Recorder, polls, resource_warnings, turns

# More than a pipe holds.
MUCH = os.urandom(1024 * 1024)


def pipe_ends():
    """A pipe: its reading end as a number, its writing end as a file object."""
    reader, writer = os.pipe()
    return reader, os.fdopen(writer, "wb", 0)


async def writing(pipe, **hooks):
    loop = asyncio.get_running_loop()
    return await loop.connect_write_pipe(lambda: Recorder(**hooks), pipe)


async def read_all(fd: int) -> bytes:
    """In a thread, to the end of file; closes the descriptor."""

    def read():
        with os.fdopen(fd, "rb") as file:
            return file.read()

    return await asyncio.get_running_loop().run_in_executor(None, read)


def test_write_and_close(run):
    async def main():
        reader, pipe = pipe_ends()
        transport, protocol = await writing(pipe)
        assert isinstance(transport, asyncio.WriteTransport)
        assert transport.get_extra_info("pipe") is pipe
        transport.write(b"now")
        assert os.read(reader, 100) == b"now"
        transport.write(b"")
        transport.writelines([b"one", bytearray(b"two"), memoryview(b"three")])
        assert os.read(reader, 100) == b"onetwothree"
        transport.close()
        transport.close()
        assert transport.is_closing()
        assert await protocol.lost is None
        await turns()
        assert pipe.closed
        assert os.read(reader, 100) == b""
        os.close(reader)
        transport.close()

    run(main)


@pytest.mark.parametrize("how", ["close", "write_eof"])
def test_close_flushes(run, how):
    async def main():
        reader, pipe = pipe_ends()
        transport, protocol = await writing(pipe)
        assert transport.can_write_eof()
        transport.write(MUCH)
        size = transport.get_write_buffer_size()
        assert 0 < size < len(MUCH)
        getattr(transport, how)()
        transport.write(b"refused")
        assert transport.get_write_buffer_size() == size
        assert await read_all(reader) == MUCH
        assert await protocol.lost is None
        assert transport.get_write_buffer_size() == 0

    run(main)


def test_abort_drops(run):
    async def main():
        reader, pipe = pipe_ends()
        transport, protocol = await writing(pipe)
        transport.write(MUCH)
        transport.abort()
        assert transport.get_write_buffer_size() == 0
        assert await protocol.lost is None
        received = await read_all(reader)
        assert len(received) < len(MUCH)
        assert MUCH.startswith(received)

    run(main)


def test_mutable_buffers_may_change_afterwards(run):
    async def main():
        reader, pipe = pipe_ends()
        transport, protocol = await writing(pipe)
        data = bytearray(MUCH)
        transport.write(data)
        transport.write(memoryview(data))
        data[:] = bytes(len(data))
        transport.close()
        assert await read_all(reader) == MUCH * 2
        await protocol.lost

    run(main)


def test_flow_control(run):
    async def main():
        reader, pipe = pipe_ends()
        transport, protocol = await writing(pipe)
        assert transport.get_write_buffer_limits() == (16384, 65536)
        transport.set_write_buffer_limits(high=1000, low=10)
        with pytest.raises(ValueError):
            transport.set_write_buffer_limits(high=1, low=2)
        transport.write(MUCH)
        assert protocol.events == ["made", "pause"]
        transport.close()
        await read_all(reader)
        await protocol.lost
        assert protocol.events == ["made", "pause", "resume", "lost"]

    run(main)


def test_pause_writing_raises(run):
    async def main():
        loop = asyncio.get_running_loop()
        contexts = Contexts(loop)
        reader, pipe = pipe_ends()

        def oops(protocol):
            raise ZeroDivisionError

        transport, protocol = await writing(pipe, pause_writing=oops, resume_writing=oops)
        transport.write(MUCH)
        transport.close()
        assert await read_all(reader) == MUCH
        assert await protocol.lost is None
        assert [context["message"] for context in contexts] == [
            "protocol.pause_writing() failed",
            "protocol.resume_writing() failed",
        ]

    run(main)


def test_reader_goes_away(run):
    """Point 36: it is noticed without a write."""

    async def main():
        reader, pipe = pipe_ends()
        transport, protocol = await writing(pipe)
        transport.write(b"unread")
        os.close(reader)
        assert await protocol.lost is None
        assert transport.is_closing()

    run(main)


def test_reader_goes_away_with_something_buffered(run):
    async def main():
        contexts = Contexts(asyncio.get_running_loop())
        reader, pipe = pipe_ends()
        transport, protocol = await writing(pipe)
        transport.write(MUCH)
        os.close(reader)
        assert isinstance(await protocol.lost, BrokenPipeError)
        assert transport.get_write_buffer_size() == 0
        assert contexts == []

    run(main)


def test_reader_goes_away_while_it_flushes(run):
    async def main():
        contexts = Contexts(asyncio.get_running_loop())
        reader, pipe = pipe_ends()
        transport, protocol = await writing(pipe)
        transport.write(MUCH)
        transport.close()
        os.close(reader)
        assert isinstance(await protocol.lost, BrokenPipeError)
        assert contexts == []

    run(main)


def test_write_to_nobody(run):
    """Written before the loop could notice. The write's own error, no signal."""

    async def main():
        contexts = Contexts(asyncio.get_running_loop())
        reader, pipe = pipe_ends()
        transport, protocol = await writing(pipe)
        os.close(reader)
        transport.write(b"x")
        assert transport.is_closing()
        assert transport._conn_lost == 1
        reason = await protocol.lost
        assert isinstance(reason, BrokenPipeError)
        assert reason.errno == errno.EPIPE
        assert contexts == []

    run(main)


def test_writes_after_close(run, asyncio_log):
    async def main():
        reader, pipe = pipe_ends()
        transport, protocol = await writing(pipe)
        transport.close()
        for _ in range(5):
            transport.write(b"dropped")
        assert asyncio_log.records == []
        await protocol.lost
        transport.write(b"")
        assert asyncio_log.records == []
        transport.write(b"dropped")
        asyncio_log.take("pipe closed by peer or os.write(pipe, data) raised exception.")
        os.close(reader)

    run(main)


def test_wrong_type(run):
    async def main():
        reader, pipe = pipe_ends()
        transport, protocol = await writing(pipe)
        for data in ("text", None, 1, [b"x"]):
            with pytest.raises(AssertionError):
                transport.write(data)
        transport.close()
        await protocol.lost
        assert os.read(reader, 10) == b""
        os.close(reader)

    run(main)


def test_plain_file(run, tmp_path):
    async def main():
        with (tmp_path / "file").open("wb") as file:
            message = "^Pipe transport is only for pipes, sockets and character devices$"
            with pytest.raises(ValueError, match=message):
                await writing(file)
            file.write(b"still open")

    run(main)


def test_socket(run):
    async def main():
        ours, peer = socket.socketpair()
        with peer:
            transport, protocol = await writing(ours)
            transport.write(b"data")
            assert peer.recv(100) == b"data"
            # A peer that closes.
            peer.shutdown(socket.SHUT_WR)
            assert await protocol.lost is None
            await turns()
            assert ours.fileno() == -1

    run(main)


def test_device_that_no_poller_takes(run):
    async def main():
        contexts = Contexts(asyncio.get_running_loop())
        transport, protocol = await writing(open("/dev/null", "wb", buffering=0))
        transport.write(MUCH)
        assert transport.get_write_buffer_size() == 0
        await polls()
        transport.close()
        assert await protocol.lost is None
        assert contexts == []

    run(main)


def test_device_that_is_full(run):
    async def main():
        contexts = Contexts(asyncio.get_running_loop())
        transport, protocol = await writing(open("/dev/full", "wb", buffering=0))
        transport.write(b"x")
        reason = await protocol.lost
        assert reason.errno == errno.ENOSPC
        assert transport.is_closing()
        assert contexts == []

    run(main)


def test_pty_whose_master_closes(run):
    """Point 39: a write ends it; its input, which nobody asked for, does not."""

    async def main():
        master, slave = pty.openpty()
        transport, protocol = await writing(os.fdopen(slave, "wb", 0))
        transport.write(b"hello")
        assert os.read(master, 100) == b"hello"
        os.write(master, b"input\n")
        await polls()
        assert not transport.is_closing()
        os.close(master)
        transport.write(b"x")
        reason = await protocol.lost
        assert reason.errno == errno.EIO

    run(main)


def test_pty_that_is_full(run):
    """A terminal takes little at a time; everything arrives."""

    async def main():
        loop = asyncio.get_running_loop()
        master, slave = pty.openpty()
        transport, protocol = await writing(os.fdopen(slave, "wb", 0))
        data = b"0123456789abcdef" * 8192
        transport.write(data)
        assert transport.get_write_buffer_size() > 0

        def read():
            received = b""
            while len(received) < len(data):
                received += os.read(master, 65536)
            return received

        assert await loop.run_in_executor(None, read) == data
        transport.close()
        await protocol.lost
        os.close(master)

    run(main)


def test_close_of_the_pipe_raises(run):
    """A file object with a buffer of its own, which it cannot flush: reported; the protocol was told."""

    async def main():
        loop = asyncio.get_running_loop()
        contexts = Contexts(loop)
        reader, writer = os.pipe()
        pipe = os.fdopen(writer, "wb")
        transport, protocol = await loop.connect_write_pipe(Recorder, pipe)
        pipe.write(b"in the file object's own buffer")
        os.close(reader)
        assert await protocol.lost is None
        await turns()
        (context,) = contexts
        assert isinstance(context["exception"], BrokenPipeError)
        assert context["message"].startswith("Exception in callback _UnixWritePipeTransport.")
        # Stock keeps it, and would warn.
        transport._pipe = None

    run(main)


def test_repr(run):
    async def main():
        reader, pipe = pipe_ends()
        fd = pipe.fileno()
        transport, protocol = await writing(pipe)
        assert repr(transport) == f"<_UnixWritePipeTransport fd={fd} idle bufsize=0>"
        transport.write(MUCH)
        size = transport.get_write_buffer_size()
        assert repr(transport) == f"<_UnixWritePipeTransport fd={fd} polling bufsize={size}>"
        transport.close()
        assert (
            repr(transport) == f"<_UnixWritePipeTransport closing fd={fd} polling bufsize={size}>"
        )
        transport.abort()
        await protocol.lost
        await turns()
        assert repr(transport) == f"<_UnixWritePipeTransport closed fd={fd} closed>"
        os.close(reader)

    run(main)


def test_unclosed(new_loop):
    loop = new_loop()
    reader, pipe = pipe_ends()
    fd = pipe.fileno()

    async def connect():
        return await loop.connect_write_pipe(asyncio.BaseProtocol, pipe)

    transport, protocol = loop.run_until_complete(connect())
    with resource_warnings() as texts:
        loop.close()
        assert repr(transport) == f"<_UnixWritePipeTransport fd={fd} open>"
        assert not pipe.closed
    assert texts == []
    with resource_warnings() as texts:
        del transport, protocol
    assert texts == [f"unclosed transport <_UnixWritePipeTransport fd={fd} open>"]
    assert pipe.closed
    os.close(reader)


def test_streams_over_pipes(run):
    """StreamReader and StreamWriter, as programs put them on their own standard streams."""

    async def main():
        loop = asyncio.get_running_loop()
        reader_fd, pipe = pipe_ends()
        reader = asyncio.StreamReader()
        read_transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reader_fd, "rb", 0)
        )
        transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, pipe)
        writer = asyncio.StreamWriter(transport, protocol, None, loop)
        task = loop.create_task(reader.readexactly(len(MUCH)))
        writer.write(MUCH)
        await writer.drain()
        assert await task == MUCH
        writer.write(b"line\n")
        assert await reader.readline() == b"line\n"
        transport.close()
        assert await reader.read() == b""
        await turns()
        assert read_transport.is_closing()

    run(main)
