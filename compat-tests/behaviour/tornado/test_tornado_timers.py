"""call_at, call_later, add_timeout, remove_timeout, PeriodicCallback."""

from __future__ import annotations

import asyncio
import datetime
import random

import pytest
from tornado.ioloop import IOLoop, PeriodicCallback


def run_all(io_loop: IOLoop) -> None:
    """Run until what is due now has been called: timers of an earlier deadline come first."""
    io_loop.call_at(io_loop.time(), io_loop.stop)
    io_loop.start()


def test_forms_and_arguments(io_loop):
    seen = []

    def callback(*args, **kwargs):
        seen.append((args, kwargs))
        if len(seen) == 4:
            io_loop.stop()

    handles = [
        io_loop.add_timeout(io_loop.time(), callback, 1, key=1),
        io_loop.add_timeout(datetime.timedelta(seconds=0), callback, 2, key=2),
        io_loop.call_at(io_loop.time(), callback, 3, key=3),
        io_loop.call_later(0, callback, 4, key=4),
    ]
    assert None not in handles
    io_loop.start()
    assert sorted(seen, key=lambda one: one[0]) == [((n,), {"key": n}) for n in (1, 2, 3, 4)]
    for handle in handles:
        io_loop.remove_timeout(handle)  # after it ran: nothing


def test_unsupported_deadline(io_loop):
    with pytest.raises(TypeError, match="Unsupported deadline 'now'"):
        io_loop.add_timeout("now", lambda: None)


def test_order_of_deadlines(io_loop):
    seen = []
    now = io_loop.time()
    # Far apart: IOLoop.time() is not the asyncio loop's clock, and stock takes the difference once per call, between two of which
    # a busy machine may leave the process out for milliseconds.
    deadlines = [now + n / 50 for n in range(20)]
    shuffled = deadlines.copy()
    random.Random(0).shuffle(shuffled)
    for deadline in shuffled:
        io_loop.call_at(deadline, seen.append, deadline)
    io_loop.call_at(now + 20 / 50, io_loop.stop)
    io_loop.start()
    assert seen == deadlines


def test_deadline_in_the_past_is_due_at_once(io_loop):
    seen = []
    io_loop.call_at(0, seen.append, 1)
    io_loop.call_later(-3600, seen.append, 2)
    run_all(io_loop)
    assert sorted(seen) == [1, 2]


def test_removed_before_it_is_due(io_loop):
    seen = []
    handles = [io_loop.call_later(0, seen.append, n) for n in range(10)]
    for handle in handles[::2]:
        io_loop.remove_timeout(handle)
        io_loop.remove_timeout(handle)
    run_all(io_loop)
    assert sorted(seen) == [1, 3, 5, 7, 9]


def test_removed_by_a_timeout_of_the_same_pass(io_loop):
    """Both are due when the loop looks: the first one's callback is in time all the same."""
    seen = []
    loop = io_loop.asyncio_loop
    due = loop.time()

    def first():
        seen.append("first")
        io_loop.remove_timeout(second)

    loop.call_at(due - 2, first)
    second = loop.call_at(due - 1, seen.append, "second")
    run_all(io_loop)
    assert seen == ["first"]


def test_many_removed(io_loop):
    for _ in range(20_000):
        io_loop.remove_timeout(io_loop.call_later(3600, lambda: None))
    io_loop.add_callback(io_loop.add_callback, io_loop.stop)
    io_loop.start()
    assert len(io_loop.asyncio_loop._scheduled) <= 100


def test_wakes_a_sleeping_loop(io_loop):
    io_loop.call_later(0.001, io_loop.stop)
    io_loop.start()


def test_timer_set_by_a_timer(io_loop):
    seen = []

    def again(left):
        seen.append(left)
        if left:
            io_loop.call_later(0, again, left - 1)
        else:
            io_loop.stop()

    again(100)
    io_loop.start()
    assert seen == list(range(100, -1, -1))


class TestPeriodicCallback:
    def run(self, io_loop: IOLoop, callback, **kwargs) -> PeriodicCallback:
        """Start a PeriodicCallback inside the loop, and run until somebody stops the loop."""
        periodic = PeriodicCallback(callback, 1, **kwargs)
        io_loop.add_callback(periodic.start)
        io_loop.start()
        return periodic

    def test_plain(self, io_loop):
        calls = []

        def callback():
            calls.append(IOLoop.current())
            if len(calls) == 5:
                io_loop.stop()

        periodic = self.run(io_loop, callback)
        assert periodic.is_running()
        periodic.stop()
        assert not periodic.is_running()
        assert calls == [io_loop] * 5

    def test_jitter(self, io_loop):
        calls = []

        def callback():
            calls.append(1)
            if len(calls) == 5:
                io_loop.stop()

        self.run(io_loop, callback, jitter=0.5).stop()
        assert len(calls) == 5

    def test_timedelta(self, io_loop):
        periodic = PeriodicCallback(io_loop.stop, datetime.timedelta(milliseconds=1))
        io_loop.add_callback(periodic.start)
        io_loop.start()
        periodic.stop()

    def test_coroutine_does_not_overlap_itself(self, io_loop):
        active = 0
        calls = 0

        async def callback():
            nonlocal active, calls
            assert active == 0
            active += 1
            for _ in range(10):
                await asyncio.sleep(0)
            active -= 1
            calls += 1
            if calls == 3:
                io_loop.stop()

        self.run(io_loop, callback).stop()
        assert calls == 3

    def test_stopped_by_its_callback(self, io_loop):
        calls = []

        def callback():
            calls.append(1)
            periodic.stop()
            # Were it still scheduled, it would come before this.
            io_loop.call_later(0.005, io_loop.stop)

        periodic = PeriodicCallback(callback, 1)
        io_loop.add_callback(periodic.start)
        io_loop.start()
        assert calls == [1]

    def test_exception_is_logged_and_it_goes_on(self, io_loop, app_log):
        calls = []

        def callback():
            calls.append(1)
            if len(calls) == 2:
                io_loop.stop()
                return
            raise ZeroDivisionError("from a periodic callback")

        self.run(io_loop, callback).stop()
        assert calls == [1, 1]
        assert str(app_log.take("Exception in callback ").exc_info[1]) == "from a periodic callback"
