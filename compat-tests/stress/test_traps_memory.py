"""Traps of the interpreter's interface that other loops fell into, one test each named after the trap: who lets go of what, and when."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import random
import weakref

import pytest
from stress_support import socket_pair, threads, turn


class Marker:
    """Something that can be referenced weakly."""


# -- "allocating Python objects under the cross-thread queue's lock: GC can run `__del__`, which calls in again"


@contextlib.contextmanager
def eager_collector():
    """The garbage collector runs at nearly every allocation; what exists already is left out of it, for speed."""
    gc.collect()
    gc.freeze()
    thresholds = gc.get_threshold()
    gc.set_threshold(3, 5, 5)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
        gc.collect()


@pytest.mark.parametrize("how", ["collected", "dropped"])
def test_del_calls_in_again_while_threads_call_in(loop, how):
    """__del__ calls call_soon_threadsafe, in whatever thread and at whatever point it runs: no deadlock, nothing lost."""
    callers, each = 4, 2000
    seen = {"call": 0, "del": 0}

    def count(what):
        seen[what] += 1
        if seen == {"call": callers * each, "del": callers * each}:
            loop.stop()

    class Calling:
        def __init__(self):
            if how == "collected":
                self.me = self  # only the collector lets it go

        def __del__(self):
            loop.call_soon_threadsafe(count, "del")

    def caller():
        for _ in range(each):
            loop.call_soon_threadsafe(lambda argument: count("call"), Calling())
        if how == "collected":
            gc.collect()

    def collect():
        # The last ones, which nothing else would make the collector look at.
        gc.collect()
        if not done:
            loop.call_later(0.01, collect)

    done = []
    collect()
    with eager_collector(), threads(*[caller] * callers):
        loop.run_forever()
    done.append(True)
    turn(loop)
    assert seen == {"call": callers * each, "del": callers * each}


def test_del_calls_in_again_while_the_loop_works(loop):
    """The same in the loop's own thread: garbage is made by callbacks, and __del__ uses every part of the loop."""
    left = 3000
    made = count = 0

    class Using:
        def __init__(self):
            nonlocal made
            made += 1
            self.me = self

        def __del__(self):
            nonlocal count
            count += 1
            loop.call_soon(int)
            loop.call_soon_threadsafe(int)
            loop.call_later(0, int)
            loop.call_later(3600, int).cancel()

    def work():
        nonlocal left
        Using()
        left -= 1
        if left:
            random.choice(
                (loop.call_soon, lambda f: loop.call_later(0, f), loop.call_soon_threadsafe)
            )(work)
        else:
            loop.stop()

    loop.call_soon(work)
    with eager_collector():
        loop.run_forever()
    assert made == 3000
    assert count == made  # eager_collector() ended with a collection
    turn(loop, 3)


# -- "`__traverse__` skipped while mutably borrowed: cycles leak; frozen classes and inner cells"

STORES = {
    "call_soon": lambda loop, function, pair: loop.call_soon(function),
    "call_soon_threadsafe": lambda loop, function, pair: loop.call_soon_threadsafe(function),
    "call_later": lambda loop, function, pair: loop.call_later(3600, function),
    "reader": lambda loop, function, pair: loop.add_reader(pair[0], function),
    "writer": lambda loop, function, pair: loop.add_writer(pair[0], function),
    "exception handler": lambda loop, function, pair: loop.set_exception_handler(function),
    "task factory": lambda loop, function, pair: loop.set_task_factory(function),
    "attribute": lambda loop, function, pair: setattr(loop, "mine", function),
}


def collect_loop(closed: bool) -> None:
    """A collection in which a loop goes, with its warning if nobody closed it."""
    if closed:
        gc.collect()
    else:
        with pytest.warns(ResourceWarning, match="unclosed"):
            gc.collect()


def forget_loop(loop_factory, closed: bool, store) -> weakref.ref[Marker]:
    """Makes a loop that keeps, by `store(loop, function)`, a callback that knows it; what that callback holds besides."""
    loop = loop_factory()
    marker = Marker()
    marker.loop = loop

    def function(*args, marker=marker):
        raise AssertionError("never run")

    store(loop, function)
    if closed:
        loop.close()
    return weakref.ref(marker)


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("store", STORES)
def test_cycle_through_the_loop_is_collected(loop_factory, store, closed, pair):
    """A callback that knows its loop, kept by that loop: garbage like any other once nobody else knows either."""
    ref = forget_loop(
        loop_factory, closed, lambda loop, function: STORES[store](loop, function, pair)
    )
    collect_loop(closed)
    assert ref() is None


@pytest.mark.parametrize("closed", [True, False])
def test_cycle_through_a_call_from_a_thread_is_collected(loop_factory, closed):
    """It waits in the cross-thread queue when the loop is forgotten."""

    def call_from_a_thread(loop, function):
        with threads(lambda: loop.call_soon_threadsafe(function)):
            pass

    ref = forget_loop(loop_factory, closed, call_from_a_thread)
    collect_loop(closed)
    assert ref() is None


def test_cycle_through_a_handle_is_collected(loop):
    """A handle kept by what it keeps, after it ran and after it was cancelled."""
    refs = []
    for schedule, end in itertools.product(
        (loop.call_soon, lambda f: loop.call_at(0, f), loop.call_soon_threadsafe),
        ("run", "cancel", "neither"),
    ):
        marker = Marker()
        refs.append(weakref.ref(marker))
        marker.handle = schedule(lambda marker=marker: None)
        if end == "cancel":
            marker.handle.cancel()
        if end != "neither":
            turn(loop, 2)
        del marker
    turn(loop, 2)
    gc.collect()
    assert [ref for ref in refs if ref() is not None] == []


def test_cycle_through_a_transport_is_collected(loop):
    """Transport, protocol and loop know each other; when the connection is over, all but the loop go."""
    refs = []

    class Protocol(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport
            transport.marker = marker = Marker()
            marker.protocol = self
            refs.append(weakref.ref(marker))

        def connection_lost(self, exc):
            lost.set_result(None)

    async def main():
        nonlocal lost
        for _ in range(10):
            lost = loop.create_future()
            one, other = socket_pair()
            transport, _ = await loop.create_connection(Protocol, sock=one)
            transport.write(b"x")
            transport.close()
            await lost
            other.close()

    lost = None
    loop.run_until_complete(main())
    gc.collect()
    assert len(refs) == 10
    assert [ref for ref in refs if ref() is not None] == []


def test_collecting_within_callbacks_keeps_what_is_to_run(loop, pair):
    """The collector runs in the middle of a turn: what only the loop holds is not garbage, what nobody holds is."""
    one, other = pair
    other.send(b"x")
    seen = []
    refs = []

    def collect():
        garbage = Marker()
        garbage.me = garbage
        refs.append(weakref.ref(garbage))
        del garbage
        gc.collect()
        assert refs[-1]() is None

    def cyclic(what):
        """A callback in a cycle with its own handle, which only the loop holds."""
        box = []

        def function():
            assert box
            seen.append(what)
            if what == "reader":
                loop.remove_reader(one)

        return box, function

    for what, schedule in {
        "soon": loop.call_soon,
        "threadsafe": loop.call_soon_threadsafe,
        "timer": lambda f: loop.call_at(0, f),
        "reader": lambda f: loop.add_reader(one, f),
    }.items():
        loop.call_soon(collect)
        loop.call_at(0, collect)
        box, function = cyclic(what)
        box.extend([function, schedule(function)])
        del box, function
        gc.collect()
    turn(loop, 2)
    assert sorted(seen) == ["reader", "soon", "threadsafe", "timer"]
    assert len(refs) == 8


# -- "values dropped while detached from Python go through a locked pool: carry none into the poll"


def test_nothing_is_kept_beyond_its_run(loop):
    """Callbacks from threads are let go as soon as they ran, without the collector: none lingers in a pool or a queue."""
    alive = weakref.WeakSet()
    callers, each = 4, 5000
    ended = []

    def run(argument):
        pass

    def caller():
        for _ in range(each):
            argument = Marker()
            alive.add(argument)
            loop.call_soon_threadsafe(run, argument)
            del argument
        loop.call_soon_threadsafe(end)

    def end():
        ended.append(1)
        if len(ended) == callers:
            loop.stop()

    gc.disable()
    try:
        with threads(*[caller] * callers):
            loop.run_forever()
        turn(loop, 2)
        assert len(alive) == 0
    finally:
        gc.enable()


def test_handles_let_go_by_threads_while_the_loop_sleeps(loop):
    """The last reference to a handle, and to all it keeps, goes in another thread while the loop is in its poll."""
    alive = weakref.WeakSet()
    rounds = 5000

    def caller():
        for _ in range(rounds):
            argument = Marker()
            alive.add(argument)
            handle = loop.call_soon_threadsafe(id, argument)
            handle.cancel()
            del argument, handle
        loop.call_soon_threadsafe(loop.stop)

    gc.disable()
    try:
        with threads(caller):
            loop.run_forever()
        turn(loop, 2)
        assert len(alive) == 0
    finally:
        gc.enable()
