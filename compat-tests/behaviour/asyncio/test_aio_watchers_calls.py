"""Points 20 and 21: when the callbacks of watchers are called, and how."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import sys

import pytest
from aio_support import Contexts, fill, is_readable, polls, unix_pair

ADD = {"reader": "add_reader", "writer": "add_writer"}


REMOVE = {"reader": "remove_reader", "writer": "remove_writer"}


every_kind = pytest.mark.parametrize("kind", ADD)


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
