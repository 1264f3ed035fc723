"""What counts as ready: hang-ups, errors, urgent files, many at once; and turns that stay fair."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket

import pytest
from aio_support import fill, is_readable, polls, reset, tcp_pair, unix_pair


async def first_call(add, remove, file):
    """Waits until the loop calls back for `file`, then unregisters."""
    called = asyncio.get_running_loop().create_future()
    add(file, lambda: called.done() or called.set_result(None))
    await called
    assert remove(file) is True


@contextlib.contextmanager
def pipe():
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    with open(read, "rb", buffering=0) as reader, open(write, "wb", buffering=0) as writer:
        yield reader, writer


def test_end_of_a_pipe(run):
    """The reader of a pipe whose writer closed is called: it reads the end."""

    async def main():
        loop = asyncio.get_running_loop()
        with pipe() as (reader, writer):
            writer.close()
            await first_call(loop.add_reader, loop.remove_reader, reader)
            assert reader.read(1) == b""

    run(main)


def test_broken_pipe(run):
    """The writer of a full pipe whose reader closed is called: it gets EPIPE."""

    async def main():
        loop = asyncio.get_running_loop()
        with pipe() as (reader, writer):
            while writer.write(bytes(65536)) is not None:
                pass
            loop.call_soon(loop.call_soon, reader.close)
            await first_call(loop.add_writer, loop.remove_writer, writer)
            with pytest.raises(BrokenPipeError):
                writer.write(b"x")

    run(main)


@pytest.mark.parametrize("kind", ["reader", "writer"])
def test_reset(run, kind):
    """A connection reset wakes reader and writer alike, also a writer that had no room."""

    async def main():
        loop = asyncio.get_running_loop()
        one, other = tcp_pair()
        with one:
            fill(one)
            loop.call_soon(loop.call_soon, reset, other)
            if kind == "reader":
                await first_call(loop.add_reader, loop.remove_reader, one)
            else:
                await first_call(loop.add_writer, loop.remove_writer, one)
            assert one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET

    run(main)


def test_half_close(run):
    """The peer's shutdown(SHUT_WR) makes readable, and reading goes on to the end."""

    async def main():
        loop = asyncio.get_running_loop()
        one, other = tcp_pair()
        with one, other:
            other.send(b"last")
            other.shutdown(socket.SHUT_WR)
            await first_call(loop.add_reader, loop.remove_reader, one)
            assert one.recv(100) == b"last"
            await first_call(loop.add_reader, loop.remove_reader, one)
            assert one.recv(100) == b""

    run(main)


def test_refused_connection(run):
    """A connect() that fails makes writable; so does one that succeeds."""

    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = listener.getsockname()
            with socket.socket() as sock:
                sock.setblocking(False)
                sock.connect_ex(address)
                await first_call(loop.add_writer, loop.remove_writer, sock)
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        with socket.socket() as sock:
            sock.setblocking(False)
            if sock.connect_ex(address) == errno.EINPROGRESS:
                await first_call(loop.add_writer, loop.remove_writer, sock)
                error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                assert error == errno.ECONNREFUSED

    run(main)


def test_listener(run):
    """A listening socket is readable while connections wait, one call per connection at least."""

    async def main():
        loop = asyncio.get_running_loop()
        accepted = []
        three = loop.create_future()

        def readable():
            accepted.append(listener.accept()[0])
            if len(accepted) == 3:
                three.set_result(None)

        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            clients = [socket.create_connection(listener.getsockname()) for _ in range(3)]
            loop.add_reader(listener, readable)
            await three
            assert loop.remove_reader(listener)
        for sock in clients + accepted:
            sock.close()

    run(main)


def test_eventfd_and_udp(run):
    """Other kinds of descriptors are watched as well."""

    async def main():
        loop = asyncio.get_running_loop()
        fd = os.eventfd(0, os.EFD_NONBLOCK)
        loop.call_soon(os.eventfd_write, fd, 3)
        await first_call(loop.add_reader, loop.remove_reader, fd)
        assert os.eventfd_read(fd) == 3
        os.close(fd)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.bind(("127.0.0.1", 0))
            udp.setblocking(False)
            udp.sendto(b"datagram", udp.getsockname())
            await first_call(loop.add_reader, loop.remove_reader, udp)
            assert udp.recv(100) == b"datagram"

    run(main)


def test_terminal(run):
    """A pty is watched; its other end's output makes it readable."""

    async def main():
        loop = asyncio.get_running_loop()
        controller, terminal = os.openpty()
        loop.call_soon(os.write, terminal, b"text\n")
        await first_call(loop.add_reader, loop.remove_reader, controller)
        assert os.read(controller, 100).startswith(b"text")
        os.close(terminal)
        os.close(controller)

    run(main)


def test_data_already_there_when_added(run):
    """No edge comes for what arrived before the registration; it counts all the same."""

    async def main():
        loop = asyncio.get_running_loop()
        one, other = unix_pair()
        with one, other:
            other.send(b"early")
            await polls(2)
            for _ in range(3):
                await first_call(loop.add_reader, loop.remove_reader, one)
            assert one.recv(10) == b"early"

    run(main)


def test_partial_reads_over_registrations(run):
    """Unregistered with data left and registered again: called again."""

    async def main():
        loop = asyncio.get_running_loop()
        one, other = unix_pair()
        with one, other:
            other.send(b"abc")
            got = []
            for _ in range(3):
                await first_call(loop.add_reader, loop.remove_reader, one)
                got.append(one.recv(1))
                await polls(1)
            assert got == [b"a", b"b", b"c"]

    run(main)


def test_adding_the_other_direction_keeps_the_first(run):
    """A writer added, or removed, beside a reader that has data to read does not lose the reader's event."""

    async def main():
        loop = asyncio.get_running_loop()
        one, other = unix_pair()
        with one, other:
            fill(one)
            read = loop.create_future()
            written = loop.create_future()

            def readable():
                if not read.done():
                    read.set_result(one.recv(1))

            def writable():
                if not written.done():
                    written.set_result(None)

            loop.add_reader(one, readable)
            await polls(1)
            other.send(b"x")
            loop.add_writer(one, writable)
            assert await read == b"x"
            while is_readable(other):
                other.recv(1 << 20)
            loop.remove_reader(one)
            await written
            read = loop.create_future()
            loop.add_reader(one, readable)
            loop.remove_writer(one)
            other.send(b"y")
            assert await read == b"y"
            assert loop.remove_reader(one)

    run(main)


def test_many_descriptors_at_once(run):
    """Three hundred ready together: each is called."""

    async def main():
        loop = asyncio.get_running_loop()
        pairs = [unix_pair() for _ in range(300)]
        seen = set()
        all_seen = loop.create_future()

        def readable(number, sock):
            sock.recv(10)
            seen.add(number)
            if len(seen) == len(pairs):
                all_seen.set_result(None)

        for number, (one, other) in enumerate(pairs):
            loop.add_reader(one, readable, number, one)
            other.send(b"x")
        await all_seen
        for one, other in pairs:
            assert loop.remove_reader(one) is True
            one.close()
            other.close()

    run(main)


def test_ready_watchers_do_not_starve_callbacks_and_timers(run):
    """A reader that is always ready leaves each turn its callbacks and timers."""

    async def main():
        loop = asyncio.get_running_loop()
        one, other = unix_pair()
        with one, other:
            other.send(b"x")
            loop.add_reader(one, lambda: None)
            await polls(20)
            await asyncio.sleep(0.001)
            assert loop.remove_reader(one)

    run(main)


def test_callbacks_do_not_starve_watchers(run):
    """A chain of call_soon lets every turn look for I/O."""

    async def main():
        loop = asyncio.get_running_loop()
        one, other = unix_pair()
        with one, other:
            done = False

            def again():
                if not done:
                    loop.call_soon(again)

            again()
            other.send(b"x")
            await first_call(loop.add_reader, loop.remove_reader, one)
            done = True

    run(main)
