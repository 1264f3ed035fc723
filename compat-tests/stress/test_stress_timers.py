"""call_later, call_at, cancel and reschedule, a hundred thousand of them at random, against a model."""

from __future__ import annotations

import heapq
import math
import random
import weakref

import pytest
from stress_support import turn

OPERATIONS = 100_000


class Timers:
    """The timers of a loop, and beside them what is known to be true of them.

    `live` has the deadline, and the pass in which it was set, of each timer that must still come; `heap` the same in the
    order in which they must, together with entries that are out of date by now.
    """

    def __init__(self, loop, seed: int) -> None:
        self.loop = loop
        self.random = random.Random(seed)
        self.handles: dict[int, object] = {}
        self.live: dict[int, tuple[float, int]] = {}
        self.names: list[int] = []  # of those live, to choose from
        self.heap: list[tuple[float, int]] = []
        self.count = 0
        self.passes = 0
        self.fired: list[int] = []
        self.wrong: list[str] = []

    def operate(self, earliest: float, latest: float) -> None:
        """Add, cancel or move one timer; deadlines come to lie between the two, seconds from now."""
        what = self.random.random()
        delay = self.random.uniform(earliest, latest)
        if what < 0.5 or not self.names:
            name, self.count = self.count, self.count + 1
            if what < 0.25:
                handle = self.loop.call_later(delay, self.fire, name)
            else:
                handle = self.loop.call_at(self.loop.time() + delay, self.fire, name)
            self._set(name, handle)
            self.names.append(name)
        else:
            index = self.random.randrange(len(self.names))
            name = self.names[index]
            if name not in self.live:  # it has come since
                self._forget(index)
            elif what < 0.75:
                self.handles.pop(name).cancel()
                del self.live[name]
                self._forget(index)
            else:
                self._set(name, self.move(name, self.loop.time() + delay))

    def move(self, name: int, when: float):
        handle = self.handles[name]
        # Ours can be moved while it waits, and says if it does not: it is among those of this pass by then.
        if hasattr(handle, "_reschedule") and handle._reschedule(when):
            return handle
        handle.cancel()
        return self.loop.call_at(when, self.fire, name)

    def _set(self, name: int, handle) -> None:
        self.handles[name] = handle
        self.live[name] = (handle.when(), self.passes)
        heapq.heappush(self.heap, (handle.when(), name))

    def _forget(self, index: int) -> None:
        self.names[index] = self.names[-1]
        self.names.pop()

    def fire(self, name: int) -> None:
        if name not in self.live:
            self.wrong.append(f"{name} fired after it had been cancelled, or twice")
            return
        when, _ = self.live.pop(name)
        del self.handles[name]
        self.fired.append(name)
        # Of those set before this pass began, none may be left that is due earlier.
        later = []
        while self.heap:
            due, other = heapq.heappop(self.heap)
            set_as = self.live.get(other)
            if due >= when:
                heapq.heappush(self.heap, (due, other))
                break
            if set_as is not None and set_as[0] == due:
                if set_as[1] < self.passes:
                    self.wrong.append(f"{name}, due {when}, fired before {other}, due {due}")
                later.append((due, other))
        for entry in later:
            heapq.heappush(self.heap, entry)


def test_random_operations_then_all_fire_in_order(loop):
    timers = Timers(loop, seed=1)
    for _ in range(OPERATIONS):
        timers.operate(-1, 0.25)
    expected = sorted(timers.live, key=lambda name: timers.live[name][0])
    last = max(when for when, _ in timers.live.values())
    timers.passes = 1
    loop.call_at(math.nextafter(last, math.inf), loop.stop)
    loop.run_forever()
    assert timers.fired == expected
    assert timers.wrong == []
    assert list(loop._scheduled) == []


@pytest.mark.parametrize("seed", [2, 3])
def test_random_operations_while_they_fire(loop, seed):
    """Timers are added, cancelled and moved by callbacks that run in the same pass as those they concern."""
    timers = Timers(loop, seed)
    done = 0

    def drive():
        # The first callback of its turn, so that the timers due in this one come after it.
        nonlocal done
        timers.passes += 1
        for _ in range(timers.random.randrange(100)):
            timers.operate(-0.001, 0.002)
            done += 1
        if done < OPERATIONS:
            loop.call_soon(drive)
        else:
            loop.call_at(
                max([loop.time(), *(when for when, _ in timers.live.values())]) + 0.001, loop.stop
            )

    fire = timers.fire

    def fire_and_operate(name):
        fire(name)
        if done < OPERATIONS:
            timers.operate(-0.001, 0.002)

    timers.fire = fire_and_operate
    loop.call_soon(drive)
    loop.run_forever()
    timers.passes += 1
    assert timers.wrong == []
    assert timers.live == {}
    assert len(timers.fired) > OPERATIONS // 10


def test_none_fires_before_its_time(loop):
    """Up to the clock's own resolution, which is asyncio's allowance too."""
    early = []
    left = 2000
    resolution = loop._clock_resolution

    def fire(handle_of):
        nonlocal left
        when = handle_of.pop().when()
        if loop.time() + resolution < when:
            early.append((loop.time(), when))
        left -= 1
        if not left:
            loop.stop()

    delays = random.Random(4)
    for _ in range(left):
        box = []
        box.append(loop.call_later(delays.uniform(0, 0.2), fire, box))
    loop.run_forever()
    assert early == []


def test_cancelled_timers_leave_the_heap(loop):
    """Others kept hundreds of megabytes of them: a timeout is set and cancelled for every request."""
    dropped = []
    for _ in range(100):
        for _ in range(1000):
            argument = Marker()
            dropped.append(weakref.ref(argument))
            loop.call_later(3600, int, argument).cancel()
            del argument
        turn(loop)
    assert len(loop._scheduled) <= 100
    assert [ref for ref in dropped if ref() is not None] == []


def test_cancelled_timers_among_live_ones(loop):
    """They go when they are the greater part, and those that are left stay in order."""
    handles = [loop.call_later(3600 + n, int) for n in range(10_000)]
    for n, handle in enumerate(handles):
        if n % 10:
            handle.cancel()
    turn(loop)
    live = [handle for handle in loop._scheduled if not handle.cancelled()]
    assert sorted(live, key=lambda handle: handle.when()) == handles[::10]
    assert len(loop._scheduled) < 2 * len(live) + 100


class Marker:
    """Something that can be referenced weakly."""


def test_callback_and_arguments_go_when_it_has_fired(loop):
    argument = Marker()
    ref = weakref.ref(argument)
    handle = loop.call_at(loop.time() - 1, id, argument)
    del argument, handle
    turn(loop, 2)
    assert ref() is None


def test_due_in_the_past_keeps_the_order_of_deadlines(loop):
    """-2 comes before -1: a deadline that has passed is not moved to now before it is ordered."""
    seen = []
    delays = [-(n % 1000) - 1 for n in random.Random(5).sample(range(1000), 1000)]
    for delay in delays:
        loop.call_later(delay, seen.append, delay)
    turn(loop, 2)
    assert seen == sorted(delays)


@pytest.mark.parametrize("delay", [math.inf, 2.0**54, 1e300])
def test_very_late(loop, delay):
    handle = loop.call_later(delay, int)
    loop.call_later(0, loop.stop)
    loop.run_forever()
    assert not handle.cancelled()
    handle.cancel()
    turn(loop)


def test_equal_deadlines_fire_in_the_order_they_were_set(our_loop):
    """asyncio leaves it open; Twisted's callLater promises it."""
    seen = []
    when = our_loop.time() - 1
    for n in range(1000):
        our_loop.call_at(when, seen.append, n)
    turn(our_loop, 2)
    assert seen == list(range(1000))


class TestReschedule:
    """`_reschedule`, ours alone: Twisted's DelayedCall.reset and delay move the timer that there is."""

    @pytest.fixture
    def loop(self, our_loop):
        return our_loop

    def test_earlier_and_later(self, loop):
        seen = []
        now = loop.time()
        one = loop.call_at(now + 3600, seen.append, "one")
        two = loop.call_at(now - 3, seen.append, "two")
        loop.call_at(now - 2, seen.append, "three")
        one._reschedule(now - 4)
        two._reschedule(now - 1)
        assert (one.when(), two.when()) == (now - 4, now - 1)
        turn(loop, 2)
        assert seen == ["one", "three", "two"]

    def test_not_once_it_is_due(self, loop):
        """Both are due: when the first runs, the second waits in the ready queue. It says so, and can be cancelled there."""
        seen = []
        now = loop.time()

        def first():
            seen.append(
                (second._scheduled, second._reschedule(now + 3600), second.when() == now - 1)
            )
            third.cancel()

        loop.call_at(now - 2, first)
        second = loop.call_at(now - 1, seen.append, "second")
        third = loop.call_at(now - 0.5, seen.append, "third")
        turn(loop, 2)
        assert seen == [(False, False, True), "second"]
        assert list(loop._scheduled) == []

    def test_not_once_it_ran_or_was_cancelled(self, loop):
        ran = loop.call_at(loop.time() - 1, int)
        turn(loop, 2)
        cancelled = loop.call_later(3600, int)
        cancelled.cancel()
        for handle in (ran, cancelled):
            assert not handle._reschedule(loop.time() - 1)
            assert not handle._scheduled
        assert list(loop._scheduled) == []

    def test_by_its_own_callback(self, loop):
        """It is running: that is no longer waiting."""
        answers = []
        handle = loop.call_at(
            loop.time() - 1, lambda: answers.append(handle._reschedule(loop.time() + 1))
        )
        turn(loop, 2)
        assert answers == [False]
        assert list(loop._scheduled) == []

    def test_many_times(self, loop):
        """A moved timer leaves nothing behind at its old place."""
        handle = loop.call_later(3600, int)
        for n in range(100_000):
            handle._reschedule(loop.time() + 3600 + n % 7)
        assert list(loop._scheduled) == [handle]
        handle.cancel()
