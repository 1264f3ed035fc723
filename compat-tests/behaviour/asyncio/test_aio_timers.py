"""call_later and call_at: order by due time, cancellation, odd delays, and who is told of errors."""

from __future__ import annotations

import asyncio
import gc
import math
import sys
import weakref

import pytest


def test_past_due_times_keep_their_order(new_loop):
    """Point 1: a due time in the past is not clamped to now before it is ordered."""
    loop = new_loop()
    seen = []
    loop.call_later(-1, seen.append, "a")
    loop.call_later(-2, seen.append, "b")
    loop.call_at(loop.time() - 3, seen.append, "c")
    loop.call_later(0, loop.stop)
    loop.run_forever()
    assert seen == ["c", "b", "a"]


def test_order_is_by_due_time_not_by_call(new_loop):
    """Timers run in the order of their due times, whatever the order of the calls."""
    loop = new_loop()
    seen = []
    start = loop.time()
    for n in (7, 3, 9, 1, 5, 0, 8, 2, 6, 4):
        loop.call_at(start - 10 + n, seen.append, n)
    loop.call_at(start + 0.01, loop.stop)
    loop.run_forever()
    assert seen == list(range(10))


def test_a_timer_is_not_early(new_loop):
    """When it runs, loop.time() has reached its due time (less the clock's resolution)."""
    loop = new_loop()
    seen = []

    def due(handle_of):
        seen.append(loop.time() - handle_of[0].when())
        loop.stop()

    box = []
    box.append(loop.call_later(0.02, due, box))
    loop.run_forever()
    assert seen[0] >= -1e-6


def test_timers_come_after_what_was_ready(new_loop):
    """Point: one order of the turn. Ready callbacks come first, then the due timers, in one batch."""
    loop = new_loop()
    seen = []
    loop.call_later(-1, seen.append, "timer")
    loop.call_soon(seen.append, "soon")
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == ["soon", "timer"]


def test_a_timer_set_by_a_timer_runs_in_a_later_turn(new_loop):
    """Zero delays do not starve the loop: each rerun is a turn, and call_soon gets its share."""
    loop = new_loop()
    seen = []

    def again(n):
        seen.append(n)
        if n < 4:
            loop.call_later(0, again, n + 1)
            loop.call_soon(seen.append, "soon")
        else:
            loop.stop()

    loop.call_later(0, again, 0)
    loop.run_forever()
    assert [item for item in seen if item != "soon"] == [0, 1, 2, 3, 4]
    assert seen.count("soon") == 4
    assert seen.index(1) > seen.index("soon")


def test_cancel_before_due(new_loop):
    """A cancelled timer does not run; cancelling twice, or after it ran, is nothing."""
    loop = new_loop()
    seen = []
    cancelled = loop.call_later(0, seen.append, "cancelled")
    ran = loop.call_later(0, seen.append, "ran")
    cancelled.cancel()
    cancelled.cancel()
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    ran.cancel()
    assert seen == ["ran"]
    assert cancelled.cancelled() and ran.cancelled()


def test_a_due_timer_can_be_cancelled_by_the_one_before_it(new_loop):
    """Two timers due in the same turn: the first may cancel the second."""
    loop = new_loop()
    seen = []
    when = loop.time() - 1
    second = loop.call_at(when, seen.append, "second")
    loop.call_at(when - 1, second.cancel)
    loop.call_later(0, loop.stop)
    loop.run_forever()
    assert seen == []


def test_cancelled_timers_leave_the_heap(new_loop):
    """Timers cancelled long before they are due do not pile up, and let go of what they held."""
    loop = new_loop()

    class Held:
        pass

    held = Held()
    alive = weakref.ref(held)
    handle = loop.call_later(10_000, print, held)
    del held
    handle.cancel()
    gc.collect()
    assert alive() is None
    for _ in range(2_000):
        loop.call_later(10_000, print).cancel()
    loop.run_until_complete(asyncio.sleep(0))
    assert len(loop._scheduled) < 200


@pytest.mark.parametrize("delay", [float("inf"), sys.maxsize, 2**54, 1e300], ids=str)
def test_far_future(new_loop, delay):
    """Point 12: a delay that never ends is accepted, and nothing overflows while the loop waits for other things."""
    loop = new_loop()
    handle = loop.call_later(delay, pytest.fail, "ran")
    assert handle.when() >= delay
    other = loop.call_later(0.001, loop.stop)
    loop.run_forever()
    assert not handle.cancelled() and not other.cancelled()
    handle.cancel()


def test_far_future_alone_sleeps_until_something_else_happens(new_loop):
    """Point 12: with nothing but such a timer the loop sleeps; a thread's call wakes it."""
    import threading

    loop = new_loop()
    loop.call_later(float("inf"), pytest.fail, "ran")
    thread = threading.Thread(target=loop.call_soon_threadsafe, args=(loop.stop,))
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()


def test_wait_for_without_end(run):
    """Point 12: wait_for(timeout=inf) too."""

    async def main():
        return await asyncio.wait_for(asyncio.sleep(0, "value"), timeout=float("inf"))

    assert run(main) == "value"


def test_call_at_is_exact(new_loop):
    """when() is the very number call_at was given, and call_later's is time() plus the delay."""
    loop = new_loop()
    when = loop.time() + 1234.56789
    assert loop.call_at(when, print).when() == when
    # Programs that round a time up to a whole second find an int there.
    for whole in (math.ceil(when), 0, -3):
        handle = loop.call_at(whole, print)
        assert [type(handle.when()), type(handle._when)] == [int, int]
        assert handle.when() == whole
    assert type(loop.call_at(float(whole), print).when()) is float
    assert type(loop.call_later(5, print).when()) is float
    before = loop.time()
    later = loop.call_later(5, print).when()
    assert before + 5 <= later <= loop.time() + 5


def test_integers_and_other_numbers(new_loop):
    """int, float, bool and Fraction-like delays are numbers alike."""
    from fractions import Fraction

    loop = new_loop()
    seen = []
    for delay in (0, 0.0, False, Fraction(0), -5):
        loop.call_later(delay, seen.append, delay)
    loop.call_at(0, seen.append, "at")
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    assert len(seen) == 6


@pytest.mark.parametrize("method", ["call_later", "call_at"])
@pytest.mark.parametrize("when", [None, "soon", object()], ids=["None", "str", "object"])
def test_not_a_number(new_loop, method, when):
    """What is no number is a TypeError at the call or, for call_at of other objects, at the latest when ordered."""
    loop = new_loop()
    loop.call_later(100, print)
    with pytest.raises(TypeError):
        getattr(loop, method)(when, print)


def test_time_is_monotonic_seconds(new_loop):
    """loop.time() is a float of seconds, the clock of time.monotonic()."""
    import time

    loop = new_loop()
    before = time.monotonic()
    now = loop.time()
    assert isinstance(now, float)
    # uvloop caches the time per turn; asyncio's documentation promises the monotonic clock.
    assert before - 1 <= now <= time.monotonic()


def test_a_failing_timer_is_reported_and_the_others_run(new_loop, asyncio_log):
    """An exception goes to the exception handler with the TimerHandle, the timers behind it still run."""
    loop = new_loop()
    seen = []
    failing = loop.call_later(-2, lambda: 1 / 0)
    loop.call_later(-1, seen.append, "next")
    loop.call_later(0, loop.stop)
    loop.run_forever()
    assert seen == ["next"]
    record = asyncio_log.take("Exception in callback")
    assert record.exc_info[0] is ZeroDivisionError
    assert f"when={failing.when()}" in record.getMessage()


def test_stop_from_a_timer_lets_the_batch_end(new_loop):
    """stop() ends the run after the current turn: timers due in the same turn still run."""
    loop = new_loop()
    seen = []
    when = loop.time() - 1
    loop.call_at(when - 1, loop.stop)
    loop.call_at(when, seen.append, "same turn")
    loop.run_forever()
    assert seen == ["same turn"]


def test_timers_survive_the_run(new_loop):
    """A timer not due when the run ended runs in a later one."""
    loop = new_loop()
    seen = []
    loop.call_later(0.005, seen.append, 1)
    loop.run_until_complete(asyncio.sleep(0))
    loop.call_later(0.006, loop.stop)
    loop.run_forever()
    assert seen == [1]


def test_many_timers(new_loop):
    """Ten thousand timers, every third cancelled, come in order."""
    loop = new_loop()
    seen = []
    base = loop.time() - 20_000
    keys = [(n * 7919) % 10_007 for n in range(10_000)]  # all different, in no order
    handles = [loop.call_at(base + key, seen.append, key) for key in keys]
    for handle in handles[::3]:
        handle.cancel()
    loop.call_later(0, loop.stop)
    loop.run_forever()
    assert seen == sorted(key for n, key in enumerate(keys) if n % 3)
