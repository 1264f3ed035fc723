"""Points 24, 36 and 39: connect_read_pipe on FIFOs, terminals, devices and sockets."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import os
import pty
import socket

import pytest
from aio_support import (
    Contexts,
    Recorder,
    polls,
    resource_warnings,
    turns,
)


def pipe_ends():
    """A pipe: its reading end as a file object, its writing end as a number."""
    reader, writer = os.pipe()
    return os.fdopen(reader, "rb", 0), writer


async def reading(pipe, **hooks):
    loop = asyncio.get_running_loop()
    return await loop.connect_read_pipe(lambda: Recorder(**hooks), pipe)


def test_data_then_end(run):
    async def main():
        pipe, writer = pipe_ends()
        closing = []
        transport, protocol = await reading(
            pipe, eof_received=lambda p: closing.append(p.transport.is_closing())
        )
        assert isinstance(transport, asyncio.ReadTransport)
        assert not isinstance(transport, asyncio.WriteTransport)
        assert transport.get_extra_info("pipe") is pipe
        assert transport.get_extra_info("socket") is None
        assert transport.is_reading()
        os.write(writer, b"hello")
        assert await protocol.received(5) == b"hello"
        os.write(writer, b" world")
        os.close(writer)
        assert await protocol.lost is None
        assert protocol.data == b"hello world"
        assert protocol.events == ["made", "data", "eof", "lost"]
        assert closing == [True]
        await turns()
        assert pipe.closed
        assert not transport.is_reading()

    run(main)


def test_eof_received_cannot_keep_it_open(run):
    async def main():
        pipe, writer = pipe_ends()
        _, protocol = await reading(pipe, eof_received=lambda p: True)
        os.close(writer)
        assert await protocol.lost is None

    run(main)


def test_reads_of_one_batch_come_in_turns(run):
    """Callbacks that the first bytes cause run before the end of file is told."""

    async def main():
        loop = asyncio.get_running_loop()
        pipe, writer = pipe_ends()
        events = []
        _, protocol = await reading(
            pipe,
            data_received=lambda p: loop.call_soon(events.append, "caused"),
            eof_received=lambda p: events.append("eof"),
        )
        os.write(writer, b"x")
        os.close(writer)
        await protocol.lost
        assert events == ["caused", "eof"]

    run(main)


def test_large(run):
    """More than any read takes, and than the pipe holds."""

    async def main():
        loop = asyncio.get_running_loop()
        pipe, writer = pipe_ends()
        data = os.urandom(3 * 1024 * 1024)

        def feed():
            with os.fdopen(writer, "wb") as file:
                file.write(data)

        _, protocol = await reading(pipe)
        await loop.run_in_executor(None, feed)
        await protocol.lost
        assert protocol.data == data

    run(main)


class Oops(Exception):
    pass


def raise_oops(protocol):
    raise Oops


@pytest.mark.parametrize(
    ("method", "what"),
    [
        ("connection_made", "Recorder.connection_made"),
        ("data_received", "_UnixReadPipeTransport._read_ready"),
        ("eof_received", "Recorder.eof_received"),
        ("connection_lost", "_UnixReadPipeTransport._call_connection_lost"),
    ],
)
def test_protocol_raises(run, method, what):
    """It is reported as a callback's exception, and the transport goes on."""

    async def main():
        loop = asyncio.get_running_loop()
        contexts = Contexts(loop)
        pipe, writer = pipe_ends()
        transport, protocol = await reading(pipe, **{method: raise_oops})
        os.write(writer, b"one")
        await protocol.received(3)
        assert not transport.is_closing()
        os.close(writer)
        assert await protocol.lost is None
        assert protocol.events == ["made", "data", "eof", "lost"]
        await turns()
        assert pipe.closed
        (context,) = contexts
        assert isinstance(context["exception"], Oops)
        assert context["message"].startswith(f"Exception in callback {what}(")
        assert isinstance(context["handle"], asyncio.Handle)

    run(main)


def test_system_exit_leaves_the_loop(new_loop):
    loop = new_loop()
    pipe, writer = pipe_ends()

    async def main():
        def leave(protocol):
            raise SystemExit(3)

        _, protocol = await reading(pipe, data_received=leave)
        os.write(writer, b"x")
        try:
            await protocol.lost
        finally:
            protocol.hooks.clear()

    task = loop.create_task(main())
    with pytest.raises(SystemExit):
        loop.run_until_complete(task)
    os.close(writer)
    loop.run_until_complete(task)


def test_pause_and_resume(run):
    async def main():
        pipe, writer = pipe_ends()
        transport, protocol = await reading(pipe)
        transport.pause_reading()
        transport.pause_reading()
        assert not transport.is_reading()
        os.write(writer, b"later")
        await polls()
        assert protocol.data == b""
        transport.resume_reading()
        transport.resume_reading()
        assert transport.is_reading()
        assert await protocol.received(5) == b"later"
        transport.pause_reading()
        os.write(writer, b"!")
        os.close(writer)
        await polls()
        assert protocol.events == ["made", "data"]
        transport.resume_reading()
        await protocol.lost
        assert protocol.data == b"later!"

    run(main)


def test_paused_before_it_reads(run):
    async def main():
        pipe, writer = pipe_ends()
        os.write(writer, b"early")
        transport, protocol = await reading(
            pipe, connection_made=lambda p: p.transport.pause_reading()
        )
        await polls()
        assert protocol.data == b""
        transport.resume_reading()
        assert await protocol.received(5) == b"early"
        os.close(writer)
        await protocol.lost

    run(main)


def test_paused_within_data_received(run):
    async def main():
        pipe, writer = pipe_ends()
        transport, protocol = await reading(
            pipe, data_received=lambda p: p.transport.pause_reading()
        )
        os.write(writer, b"1")
        await protocol.received(1)
        os.write(writer, b"2")
        os.close(writer)
        await polls()
        assert protocol.data == b"1"
        assert protocol.events == ["made", "data"]
        transport.resume_reading()
        await protocol.received(2)
        transport.resume_reading()
        await protocol.lost

    run(main)


def test_methods_replaced_on_the_instance(run):
    async def main():
        pipe, writer = pipe_ends()
        transport, protocol = await reading(pipe)
        called = []
        transport.pause_reading = lambda: called.append("pause")
        transport.pause_reading()
        assert called == ["pause"]
        assert transport.is_reading()
        os.close(writer)
        await protocol.lost

    run(main)


def test_close(run):
    async def main():
        pipe, writer = pipe_ends()
        os.write(writer, b"unread")
        transport, protocol = await reading(
            pipe, connection_made=lambda p: p.transport.pause_reading()
        )
        transport.close()
        transport.close()
        assert transport.is_closing()
        assert not transport.is_reading()
        transport.resume_reading()
        assert not pipe.closed
        assert await protocol.lost is None
        assert protocol.events == ["made", "lost"]
        await turns()
        assert pipe.closed
        transport.close()
        os.close(writer)

    run(main)


def test_close_within_connection_made(run):
    async def main():
        pipe, writer = pipe_ends()
        os.write(writer, b"unread")
        _, protocol = await reading(pipe, connection_made=lambda p: p.transport.close())
        assert await protocol.lost is None
        assert protocol.events == ["made", "lost"]
        os.close(writer)

    run(main)


def test_cancelled_connect(run):
    async def main():
        loop = asyncio.get_running_loop()
        pipe, writer = pipe_ends()
        protocol = Recorder()
        task = loop.create_task(loop.connect_read_pipe(lambda: protocol, pipe))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await protocol.lost is None
        await turns()
        assert pipe.closed
        os.close(writer)

    run(main)


def test_plain_file(run, tmp_path):
    async def main():
        path = tmp_path / "file"
        path.write_bytes(b"data")
        with path.open("rb") as file:
            with pytest.raises(ValueError, match=r"^Pipe transport is for pipes/sockets only\.$"):
                await reading(file)
            assert file.read() == b"data"

    run(main)


@pytest.mark.stock_wrong(
    "complains of a transport that was never made", raises=pytest.PytestUnraisableExceptionWarning
)
def test_closed_pipe(run):
    async def main():
        pipe, writer = pipe_ends()
        os.close(writer)
        pipe.close()
        with pytest.raises(ValueError):
            await reading(pipe)

    run(main)


def test_fifo_without_a_writer_yet(run, tmp_path):
    """Nobody has opened it for writing: that is not its end."""

    async def main():
        path = tmp_path / "fifo"
        os.mkfifo(path)
        pipe = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", 0)
        _, protocol = await reading(pipe)
        await polls()
        assert protocol.events == ["made"]
        writer = os.open(path, os.O_WRONLY)
        os.write(writer, b"first")
        await protocol.received(5)
        os.close(writer)
        await protocol.lost
        assert protocol.events == ["made", "data", "eof", "lost"]

    run(main)


def test_socket(run):
    async def main():
        ours, peer = socket.socketpair()
        with peer:
            transport, protocol = await reading(ours)
            assert ours.gettimeout() is None  # only the descriptor was made non-blocking
            peer.send(b"hi")
            await protocol.received(2)
            peer.shutdown(socket.SHUT_WR)
            assert await protocol.lost is None
            await turns()
            assert ours.fileno() == -1
            assert transport.is_closing()

    run(main)


def test_device_that_no_poller_takes(run):
    """/dev/null is always ready: it is reported once, and stays open."""

    async def main():
        loop = asyncio.get_running_loop()
        contexts = Contexts(loop)
        pipe = open("/dev/null", "rb", buffering=0)
        transport, protocol = await reading(pipe)
        await polls()
        assert protocol.events == ["made"]
        assert not transport.is_closing()
        assert "idle" in repr(transport)
        (context,) = contexts
        assert isinstance(context["exception"], PermissionError)
        assert context["message"].startswith(
            "Exception in callback _UnixReadPipeTransport._add_reader("
        )
        transport.close()
        assert await protocol.lost is None

    run(main)


def test_pty_whose_slave_closes(run):
    """Point 39: EIO is the end, and no news to anybody."""

    async def main():
        master, slave = pty.openpty()
        transport, protocol = await reading(os.fdopen(master, "rb", 0))
        os.write(slave, b"bye")
        await protocol.received(3)
        os.close(slave)
        reason = await protocol.lost
        assert isinstance(reason, OSError)
        assert reason.errno == errno.EIO
        assert protocol.events == ["made", "data", "lost"]
        assert transport.is_closing()

    run(main)


def test_terminal_lines_and_end(run):
    """A read gives a line; the end of file (Ctrl-D) stands behind the last and is no byte."""

    async def main():
        master, slave = pty.openpty()
        lines = []
        _, protocol = await reading(
            os.fdopen(slave, "rb", 0), data_received=lambda p: lines.append(bytes(p.data))
        )
        os.write(master, b"one\ntwo\n\x04")
        assert await protocol.lost is None
        assert lines == [b"one\n", b"one\ntwo\n"]
        os.close(master)

    run(main)


def test_terminal_in_both_directions_under_one_number(run):
    async def main():
        loop = asyncio.get_running_loop()
        master, slave = pty.openpty()
        pipe = os.fdopen(slave, "r+b", 0)
        read_transport, read_protocol = await reading(pipe)
        write_transport, write_protocol = await loop.connect_write_pipe(Recorder, pipe)
        os.write(master, b"in\n")
        assert await read_protocol.received(3) == b"in\n"
        write_transport.write(b"out")
        echoed = b""
        while not echoed.endswith(b"out"):
            echoed += os.read(master, 100)
        assert echoed == b"in\r\nout"
        # What it hears says nothing of those who read it.
        assert write_protocol.events == ["made"]
        write_transport.close()
        await write_protocol.lost
        read_transport.close()
        await read_protocol.lost
        os.close(master)

    run(main)


def test_add_reader_beside_a_terminal_that_is_written(run):
    async def main():
        loop = asyncio.get_running_loop()
        master, slave = pty.openpty()
        pipe = os.fdopen(slave, "r+b", 0)
        transport, protocol = await loop.connect_write_pipe(Recorder, pipe)
        line = loop.create_future()
        loop.add_reader(slave, lambda: line.done() or line.set_result(os.read(slave, 100)))
        os.write(master, b"typed\n")
        assert await line == b"typed\n"
        assert loop.remove_reader(slave)
        transport.close()
        assert await protocol.lost is None
        os.close(master)

    run(main)


def test_repr(run):
    async def main():
        pipe, writer = pipe_ends()
        fd = pipe.fileno()
        transport, protocol = await reading(pipe)
        assert repr(transport) == f"<_UnixReadPipeTransport fd={fd} polling>"
        transport.pause_reading()
        assert repr(transport) == f"<_UnixReadPipeTransport fd={fd} idle>"
        transport.close()
        assert repr(transport) == f"<_UnixReadPipeTransport closing fd={fd} idle>"
        await protocol.lost
        await turns()
        assert repr(transport) == f"<_UnixReadPipeTransport closed fd={fd} closed>"
        os.close(writer)

    run(main)


def test_private_names(run):
    async def main():
        loop = asyncio.get_running_loop()
        pipe, writer = pipe_ends()
        transport, protocol = await reading(pipe)
        assert transport._pipe is pipe
        assert transport._fileno == pipe.fileno()
        assert transport._loop is loop
        assert transport._protocol is protocol
        assert transport._extra["pipe"] is pipe
        assert (transport._paused, transport._closing) == (False, False)
        transport.pause_reading()
        assert transport._paused
        other = Recorder()
        transport.set_protocol(other)
        assert transport.get_protocol() is other
        transport.resume_reading()
        os.write(writer, b"x")
        assert await other.received(1) == b"x"
        transport.close()
        assert transport._closing
        await other.lost
        await turns()
        assert (transport._pipe, transport._protocol, transport._loop) == (None, None, None)
        assert protocol.events == ["made"]
        os.close(writer)

    run(main)


def test_context(run):
    async def main():
        variable = contextvars.ContextVar("variable", default="outside")
        seen = {}

        def see(name):
            return lambda protocol: seen.__setitem__(name, variable.get())

        names = ("connection_made", "data_received", "eof_received", "connection_lost")
        pipe, writer = pipe_ends()

        async def connect():
            variable.set("inside")
            return await reading(pipe, **{name: see(name) for name in names})

        _, protocol = await asyncio.create_task(connect())
        os.write(writer, b"x")
        await protocol.received(1)
        os.close(writer)
        await protocol.lost
        await turns()
        assert seen == dict.fromkeys(names, "inside")

    run(main)


def test_unclosed(new_loop):
    """A loop that is closed leaves its pipes alone; the transport warns and closes when it is collected."""
    loop = new_loop()
    pipe, writer = pipe_ends()
    transport, protocol = loop.run_until_complete(loop.create_task(_connect_in(loop, pipe)))
    fd = pipe.fileno()
    with resource_warnings() as texts:
        loop.close()
        assert not transport.is_closing()
        assert repr(transport) == f"<_UnixReadPipeTransport fd={fd} open>"
        assert not pipe.closed
    assert texts == []
    with resource_warnings() as texts:
        del transport, protocol
    assert texts == [f"unclosed transport <_UnixReadPipeTransport fd={fd} open>"]
    assert pipe.closed
    os.close(writer)


async def _connect_in(loop, pipe):
    return await loop.connect_read_pipe(asyncio.Protocol, pipe)


def test_pipe_taken_away(new_loop):
    """`_pipe = None`: it is not the transport's to close any more, nor to warn of."""
    loop = new_loop()
    pipe, writer = pipe_ends()
    transport, _ = loop.run_until_complete(loop.create_task(_connect_in(loop, pipe)))
    loop.close()
    transport._pipe = None
    with resource_warnings() as texts:
        del transport
        del _
    assert texts == []
    assert not pipe.closed
    pipe.close()
    os.close(writer)


def test_debug_log(run, caplog):
    async def main():
        pipe, writer = pipe_ends()
        transport, protocol = await reading(pipe)
        with caplog.at_level("DEBUG", "asyncio"):
            transport.pause_reading()
            transport.resume_reading()
            os.close(writer)
            await protocol.lost
        texts = [record.getMessage().rpartition("> ")[2] for record in caplog.records]
        assert texts[:3] == ["pauses reading", "resumes reading", "was closed by peer"]

    run(main, debug=True)
