"""Points 16, 17, 18, 20, 21: add_reader, add_writer and their removal."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import socket
import sys

import pytest
from aio_support import Contexts, Recorder, connected, fill, is_readable, polls, tcp_pair, unix_pair

ADD = {"reader": "add_reader", "writer": "add_writer"}
REMOVE = {"reader": "remove_reader", "writer": "remove_writer"}

every_kind = pytest.mark.parametrize("kind", ADD)


class File:
    """Anything with fileno()."""

    def __init__(self, fd):
        self._fd = fd

    def fileno(self):
        return self._fd


@pytest.fixture
def pair():
    one, other = unix_pair()
    with one, other:
        yield one, other


def test_level_triggered(run, pair):
    """Point 20: a reader that takes one byte at a time is called until there is none left, and no more."""
    one, other = pair

    async def main():
        loop = asyncio.get_running_loop()
        got = bytearray()
        all_there = loop.create_future()
        calls = 0

        def readable():
            nonlocal calls
            calls += 1
            got.extend(one.recv(1))
            if len(got) == 100 and not all_there.done():
                all_there.set_result(None)

        loop.add_reader(one, readable)
        other.send(bytes(range(100)))
        await all_there
        await polls()
        assert bytes(got) == bytes(range(100)) and calls == 100
        loop.remove_reader(one)

    run(main)


def test_a_reader_that_does_not_read_is_called_again(run, pair):
    """Point 20: once a turn, for as long as there is something to read."""
    one, other = pair

    async def main():
        loop = asyncio.get_running_loop()
        calls = 0
        often = loop.create_future()

        def readable():
            nonlocal calls
            calls += 1
            if calls == 10:
                often.set_result(None)

        loop.add_reader(one, readable)
        other.send(b"x")
        await often
        one.recv(1)
        await polls(2)
        seen = calls
        await polls()
        assert calls == seen
        loop.remove_reader(one)

    run(main)


def test_writer_is_level_triggered(run, pair):
    """Point 20: a writer is called every turn while there is room, not at all when full, and again after the peer read."""
    one, other = pair

    async def main():
        loop = asyncio.get_running_loop()
        calls = 0
        wanted = None

        def writable():
            nonlocal calls
            calls += 1
            if wanted is not None and not wanted.done():
                wanted.set_result(None)

        loop.add_writer(one, writable)
        await polls()
        assert calls >= 2
        fill(one)
        await polls(2)
        before = calls
        await polls()
        assert calls == before
        wanted = loop.create_future()
        while is_readable(other):
            other.recv(1 << 20)
        await wanted
        assert loop.remove_writer(one)
        before = calls
        await polls()
        assert calls == before

    run(main)


def test_sleeping_loop_is_woken_by_io(run, pair):
    """With nothing else to do, the loop sleeps until the peer, in another thread, writes."""
    import threading

    one, other = pair

    async def main():
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        loop.add_reader(one, lambda: future.done() or future.set_result(one.recv(10)))
        thread = threading.Thread(target=other.send, args=(b"wake",))
        loop.call_soon(thread.start)
        assert await future == b"wake"
        loop.remove_reader(one)
        thread.join()

    run(main)


@every_kind
def test_removal_answers_whether_there_was_one(run, pair, kind):
    """Point 16: True if a callback was removed, else False."""

    async def main():
        loop = asyncio.get_running_loop()
        add, remove = getattr(loop, ADD[kind]), getattr(loop, REMOVE[kind])
        other_remove = getattr(loop, REMOVE["writer" if kind == "reader" else "reader"])
        assert remove(pair[0]) is False
        add(pair[0], print)
        assert other_remove(pair[0]) is False
        assert remove(pair[0]) is True
        assert remove(pair[0]) is False

    run(main)


@every_kind
def test_objects_and_numbers(run, pair, kind):
    """Point 16: an int and anything with fileno() are the same descriptor."""

    async def main():
        loop = asyncio.get_running_loop()
        add, remove = getattr(loop, ADD[kind]), getattr(loop, REMOVE[kind])
        fd = pair[0].fileno()
        for given, taken in ((fd, pair[0]), (pair[0], fd), (File(fd), fd), (fd, File(fd))):
            add(given, print)
            assert remove(taken) is True
            assert remove(given) is False

    run(main)


@every_kind
@pytest.mark.parametrize("call", ["add", "remove"])
@pytest.mark.parametrize("wrong", ["text", None, object(), 1.5, File("x"), File(None)], ids=repr)
def test_not_a_file(run, kind, call, wrong):
    """Point 16: ValueError "Invalid file object"."""

    async def main():
        loop = asyncio.get_running_loop()
        args = (print,) if call == "add" else ()
        with pytest.raises(ValueError, match="Invalid file object"):
            getattr(loop, (ADD if call == "add" else REMOVE)[kind])(wrong, *args)

    run(main)


@every_kind
def test_bad_descriptor(run, kind):
    """A number that is not open is an OSError, a negative one a ValueError; nothing stays registered."""

    async def main():
        loop = asyncio.get_running_loop()
        add, remove = getattr(loop, ADD[kind]), getattr(loop, REMOVE[kind])
        fd = os.open(os.devnull, os.O_RDONLY)
        os.close(fd)
        with pytest.raises(OSError, match="Bad file descriptor"):
            add(fd, print)
        assert remove(fd) is False
        with pytest.raises(ValueError, match="Invalid file"):
            add(-1, print)
        with pytest.raises(ValueError, match="Invalid file"):
            add(socket_closed(), print)
        await polls(2)

    run(main)


def socket_closed():
    sock = socket.socket()
    sock.close()
    return sock


@every_kind
def test_regular_file(run, kind, tmp_path):
    """Point 18: PermissionError, as epoll's EPERM; nothing stays registered, also beside another descriptor."""

    async def main():
        loop = asyncio.get_running_loop()
        add, remove = getattr(loop, ADD[kind]), getattr(loop, REMOVE[kind])
        with (tmp_path / "file").open("wb") as file:
            with pytest.raises(PermissionError):
                add(file, print)
            assert remove(file) is False
            with pytest.raises(PermissionError):
                add(file.fileno(), print)
            assert remove(file.fileno()) is False
            number = file.fileno()
        await polls(2)
        # The number is as good as any for what can be watched.
        one, other = unix_pair()
        with one, other:
            if number not in (one.fileno(), other.fileno()):
                os.dup2(one.fileno(), number)
                extra = socket.socket(fileno=number)
            else:
                extra = contextlib.nullcontext()
            with extra:
                add(number, print)
                assert remove(number) is True

    run(main)


@every_kind
def test_second_replaces_the_first(run, pair, kind):
    """Point 16: one callback a descriptor and direction; the other direction is not touched."""
    one, other = pair
    other.send(b"x")

    async def main():
        loop = asyncio.get_running_loop()
        seen = set()
        loop.add_reader(one, seen.add, "reader")
        loop.add_writer(one, seen.add, "writer")
        getattr(loop, ADD[kind])(one, seen.add, "second")
        await polls()
        assert seen == {"second", "writer" if kind == "reader" else "reader"}
        assert getattr(loop, REMOVE[kind])(one) is True
        assert getattr(loop, REMOVE[kind])(one) is False
        seen.clear()
        await polls()
        assert seen == {"writer" if kind == "reader" else "reader"}
        assert loop.remove_reader(one) is not loop.remove_writer(one)

    run(main)


def test_reader_and_writer_of_one_descriptor_are_both_called(run, pair):
    """Ready for both, both are called, and called again."""
    one, other = pair
    other.send(b"x")

    async def main():
        loop = asyncio.get_running_loop()
        seen = []
        loop.add_reader(one, seen.append, "r")
        loop.add_writer(one, seen.append, "w")
        await polls(6)
        loop.remove_reader(one)
        loop.remove_writer(one)
        assert seen.count("r") >= 2 and seen.count("w") >= 2

    run(main)


@pytest.mark.parametrize("kinds", ["readers", "reader and writer"])
def test_removed_by_an_earlier_callback_of_the_batch(run, kinds):
    """Point 21: of two that are ready together and remove each other, one is called."""

    async def main():
        loop = asyncio.get_running_loop()
        seen = []
        with contextlib.ExitStack() as stack:
            one, other = map(stack.enter_context, unix_pair())
            if kinds == "readers":
                two, another = map(stack.enter_context, unix_pair())
                another.send(b"x")
                second = (loop.add_reader, loop.remove_reader, two)
            else:
                second = (loop.add_writer, loop.remove_writer, one)
            other.send(b"x")
            loop.add_reader(one, lambda: (seen.append(1), second[1](second[2])))
            second[0](second[2], lambda: (seen.append(2), loop.remove_reader(one)))
            await polls()
            assert len(set(seen)) == 1
            loop.remove_reader(one)
            second[1](second[2])

    run(main)


def test_replaced_by_an_earlier_callback_of_the_batch(run):
    """Point 21: the callback replaced in the same batch is not called any more either."""

    async def main():
        loop = asyncio.get_running_loop()
        seen = []
        pairs = [unix_pair(), unix_pair()]
        for _, far in pairs:
            far.send(b"x")
        nears = [near for near, _ in pairs]

        def first_called(number):
            seen.append(("old", number))
            for other, near in enumerate(nears):
                loop.add_reader(near, seen.append, ("new", other))

        for number, near in enumerate(nears):
            loop.add_reader(near, first_called, number)
        await polls()
        for near, far in pairs:
            assert loop.remove_reader(near)
            near.close()
            far.close()
        assert len([entry for entry in seen if entry[0] == "old"]) == 1
        assert {entry for entry in seen if entry[0] == "new"} == {("new", 0), ("new", 1)}

    run(main)


@every_kind
def test_closed_loop(new_loop, pair, kind):
    """Point 16: removal from a closed loop is False, and the descriptor is still its owner's."""
    loop = new_loop()
    getattr(loop, ADD[kind])(pair[0], print)
    loop.close()
    assert getattr(loop, REMOVE[kind])(pair[0]) is False
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        getattr(loop, ADD[kind])(pair[0], print)
    pair[0].send(b"still open")
    assert pair[1].recv(100) == b"still open"


@every_kind
def test_may_be_added_before_the_run(new_loop, pair, kind):
    """Registered while the loop does not run, kept between runs."""
    loop = new_loop()
    pair[1].send(b"x")
    getattr(loop, ADD[kind])(pair[0], loop.stop)
    loop.run_forever()
    loop.run_forever()
    assert getattr(loop, REMOVE[kind])(pair[0]) is True


def test_callback_that_raises_is_reported_and_stays(run, pair):
    """An exception of a reader does not unregister it."""
    one, other = pair
    other.send(b"x")

    async def main():
        loop = asyncio.get_running_loop()
        contexts = Contexts(loop)
        twice = loop.create_future()

        def readable():
            if len(contexts) >= 2 and not twice.done():
                twice.set_result(None)
            raise LookupError("in reader")

        loop.add_reader(one, readable)
        await twice
        assert loop.remove_reader(one) is True
        assert {type(context["exception"]) for context in contexts} == {LookupError}
        assert all("readable" in context["message"] for context in contexts)

    run(main)


def test_base_exception_in_a_callback(new_loop, pair):
    """Point 4: it leaves the run; the reader is still there in the next one."""
    one, other = pair
    other.send(b"x")
    loop = new_loop()
    loop.add_reader(one, sys.exit, 5)
    for _ in range(2):
        with pytest.raises(SystemExit):
            loop.run_forever()
    assert loop.remove_reader(one) is True


@every_kind
def test_context(run, pair, kind):
    """A callback runs in a copy of the context it was registered in."""
    var = contextvars.ContextVar("var", default="unset")
    pair[1].send(b"x")

    async def main():
        loop = asyncio.get_running_loop()
        called = loop.create_future()
        var.set("registered")
        getattr(loop, ADD[kind])(pair[0], lambda: called.done() or called.set_result(var.get()))
        var.set("later")
        assert await called == "registered"
        getattr(loop, REMOVE[kind])(pair[0])

    run(main)


def test_arguments(run, pair):
    """Callbacks get the arguments given."""
    pair[1].send(b"x")

    async def main():
        loop = asyncio.get_running_loop()
        seen = []
        loop.add_reader(pair[0], lambda *args: seen.append(args), 1, "two", None)
        await polls(3)
        loop.remove_reader(pair[0])
        assert set(seen) == {(1, "two", None)}

    run(main)


@pytest.mark.parametrize("call", [*ADD.values(), *REMOVE.values()])
@pytest.mark.parametrize("given", ["number", "socket", "extra"])
def test_descriptor_of_a_transport(run, call, given):
    """Point 17: RuntimeError that names both, however the descriptor is given; none once the transport closes."""

    async def main():
        loop = asyncio.get_running_loop()
        ours, peer = tcp_pair()
        with peer:
            transport, protocol = await loop.create_connection(Recorder, sock=ours)
            extra = transport.get_extra_info("socket")
            file = {"number": extra.fileno(), "socket": ours, "extra": extra}[given]
            args = (print,) if call.startswith("add") else ()
            with pytest.raises(RuntimeError) as caught:
                getattr(loop, call)(file, *args)
            assert str(caught.value) == (
                f"File descriptor {file!r} is used by transport {transport!r}"
            )
            peer.send(b"still read")
            await protocol.received(10)
            transport.close()
            if call.startswith("remove"):
                getattr(loop, call)(file)
            await protocol.lost

    run(main)


def test_watching_beside_a_transport(run):
    """A transport and watchers of other descriptors do not meet."""

    async def main():
        loop = asyncio.get_running_loop()
        one, other = unix_pair()
        with one, other:
            async with connected() as (transport, protocol, peer):
                seen = loop.create_future()
                loop.add_reader(one, lambda: seen.done() or seen.set_result(one.recv(9)))
                other.send(b"watched")
                peer.send(b"transported")
                assert await seen == b"watched"
                assert await protocol.received(11) == b"transported"
                assert not transport.is_closing()
                assert loop.remove_reader(one)

    run(main)
