"""callLater, IDelayedCall and the reactor's clock."""

from __future__ import annotations

import contextvars
import gc
import threading
import time
import weakref

import pytest
from tw_support import run, turns
from twisted.internet import task
from twisted.internet.base import DelayedCall
from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import formatEvent

import interloop
from interloop.twisted import Reactor


def test_calls_are_made_by_time_and_then_by_insertion(reactor):
    made = []
    # Far enough apart for no pause between two lines to change the order.
    reactor.callLater(0.3, made.append, "later")
    reactor.callLater(0.01, made.append, "soon")
    for number in range(5):
        reactor.callLater(0, made.append, number)
    reactor.callLater(0.3, made.append, "later too")
    reactor.callLater(0.3, reactor.stop)
    run(reactor)
    assert made == [0, 1, 2, 3, 4, "soon", "later", "later too"]


def test_arguments_are_passed_on(reactor):
    made = []
    reactor.callLater(0, lambda *args, **kw: made.append((args, kw)), 1, two=2, three=3)
    turns(reactor)
    assert made == [((1,), {"two": 2, "three": 3})]


def test_a_negative_delay_is_refused(reactor):
    with pytest.raises(AssertionError, match="not greater than or equal to 0"):
        reactor.callLater(-1, lambda: None)


def test_it_is_a_delayed_call(reactor):
    call = reactor.callLater(60, print, "x", end="y")
    assert IDelayedCall.providedBy(call)
    assert isinstance(call, DelayedCall)
    assert "called=0 cancelled=0 print('x', end='y')" in repr(call)
    call.cancel()


def test_a_call_that_was_made_cannot_be_made_again(reactor):
    inside = []

    def made():
        inside.append(call.active())
        for method in (call.cancel, lambda: call.reset(1), lambda: call.delay(1)):
            with pytest.raises(AlreadyCalled):
                method()

    call = reactor.callLater(0, made)
    assert call.active()
    turns(reactor)
    assert inside == [False]
    for method in (call.cancel, lambda: call.reset(1), lambda: call.delay(1)):
        with pytest.raises(AlreadyCalled):
            method()


def test_a_cancelled_call_is_not_made(reactor):
    call = reactor.callLater(0, pytest.fail, "it was made")
    call.cancel()
    assert not call.active()
    for method in (call.cancel, lambda: call.reset(1), lambda: call.delay(1)):
        with pytest.raises(AlreadyCancelled):
            method()
    turns(reactor)


def test_reset_to_earlier_and_to_later(reactor):
    made = []
    far = reactor.callLater(3600, made.append, "far")
    near = reactor.callLater(0, made.append, "near")
    far.reset(0.01)
    near.reset(0.02)
    reactor.callLater(0.03, reactor.stop)
    run(reactor)
    assert made == ["far", "near"]


def test_delay_both_ways(reactor):
    made = []
    far = reactor.callLater(3600.01, made.append, "far")
    near = reactor.callLater(0, made.append, "near")
    far.delay(-3600)
    near.delay(0.02)
    reactor.callLater(0.03, reactor.stop)
    run(reactor)
    assert made == ["far", "near"]


def test_delay_of_a_call_that_is_due_already(reactor):
    """Counts from the time it was due at, not from now."""
    made = []

    def first():
        while reactor.seconds() < second.getTime() + 0.02:
            pass
        second.delay(0.01)
        reactor.callLater(0.005, third)

    def third():
        made.append("third")
        reactor.stop()

    reactor.callLater(0, first)
    second = reactor.callLater(0, made.append, "second")
    run(reactor)
    assert made == ["second", "third"]


def test_many_resets_leave_one_call(reactor):
    made = []
    call = reactor.callLater(3600, made.append, "once")
    for seconds in range(1000):
        call.reset(seconds)
    call.reset(0)
    turns(reactor)
    assert made == ["once"]
    assert reactor.getDelayedCalls() == []


@pytest.mark.parametrize("change", ["cancel", "reset", "delay"])
def test_a_call_that_is_due_can_still_be_changed_by_one_before_it(reactor, change):
    made = []

    def first():
        made.append("first")
        {
            "cancel": second.cancel,
            "reset": lambda: second.reset(3600),
            "delay": lambda: second.delay(3600),
        }[change]()

    reactor.callLater(0, first)
    second = reactor.callLater(0, made.append, "second")
    turns(reactor)
    assert made == ["first"]
    assert second.active() == (change != "cancel")
    assert reactor.getDelayedCalls() == ([second] if change != "cancel" else [])


def test_a_call_moved_while_it_is_due_is_made_once(reactor):
    made = []

    def make():
        made.append("moved")
        # If it were made again, it would be in one of the next turns.
        reactor.callLater(0, reactor.callLater, 0, reactor.stop)

    reactor.callLater(0, lambda: moved.reset(0.01))
    moved = reactor.callLater(0, make)
    run(reactor)
    assert made == ["moved"]


def test_get_delayed_calls_knows_those_that_wait_and_no_others(reactor):
    waiting = reactor.callLater(60, lambda: None)
    cancelled = reactor.callLater(60, lambda: None)
    assert set(reactor.getDelayedCalls()) == {waiting, cancelled}
    cancelled.cancel()
    assert reactor.getDelayedCalls() == [waiting]


def test_get_delayed_calls_knows_those_that_are_due_in_this_turn(reactor):
    seen = []
    reactor.callLater(0, lambda: seen.extend(reactor.getDelayedCalls()))
    second = reactor.callLater(0, lambda: seen.append(reactor.getDelayedCalls()))
    turns(reactor)
    assert seen == [second, []]


def test_delayed_calls_are_the_reactors_own(new_reactor):
    one, other = new_reactor(), new_reactor()
    call = one.callLater(60, lambda: None)
    assert other.getDelayedCalls() == []
    assert one.getDelayedCalls() == [call]


def test_timeout_is_the_time_to_the_next_call(reactor):
    assert reactor.timeout() is None
    reactor.callLater(2**60, lambda: None)
    assert reactor.timeout() == 2147483
    reactor.callLater(0, lambda: None)
    assert reactor.timeout() == 0
    turns(reactor)


def test_get_time_is_told_by_the_reactors_own_seconds(reactor):
    reactor.seconds = lambda: 100
    call = reactor.callLater(5, lambda: None)
    assert call.getTime() == 105
    assert call.seconds() == 100
    call.reset(3)
    assert call.getTime() == 103
    call.reset(7)
    assert call.getTime() == 107
    call.delay(2)
    assert call.getTime() == 109
    call.delay(-4)
    assert call.getTime() == 105


def test_seconds_is_epoch_time(reactor):
    before = time.time()
    told = reactor.seconds()
    assert before <= told <= time.time()


def test_a_call_does_not_come_before_its_time_by_the_reactors_clock(reactor):
    # The clocks drift apart; LoopingCall counts an interval twice when it is called early by its own.
    start, epoch = time.monotonic(), time.time()
    reactor.seconds = lambda: epoch + (time.monotonic() - start) * 0.9
    seen = []

    def made():
        seen.append(reactor.seconds() - call.getTime())
        reactor.stop()

    call = reactor.callLater(0.02, made)
    run(reactor)
    assert len(seen) == 1
    assert seen[0] >= 0


def test_a_wall_clock_set_back_delays_nothing(ours):
    set_back = 0
    ours.seconds = lambda: time.time() - set_back
    made = []
    ours.callLater(0.01, made.append, "called later")
    ours.callLater(3600, made.append, "reset").reset(0.01)
    ours.callLater(0, made.append, "delayed").delay(0.01)
    ours.callLater(0.02, ours.stop)
    set_back = 3600
    run(ours)
    assert sorted(made) == ["called later", "delayed", "reset"]


def test_a_call_that_raises_is_logged_and_stops_nothing(reactor, twisted_log):
    made = []

    def fail(error):
        raise error

    reactor.callLater(0, fail, ZeroDivisionError("one"))
    reactor.callLater(0, fail, SystemExit("two"))
    reactor.callLater(0, made.append, "next")
    turns(reactor)
    assert made == ["next"]
    assert formatEvent(twisted_log.take(ZeroDivisionError)) == "while handling timed call"
    twisted_log.take(SystemExit)


def test_debug_tells_where_the_call_was_made(reactor, twisted_log, monkeypatch):
    monkeypatch.setattr(DelayedCall, "debug", True)

    def scheduled_here():
        return reactor.callLater(0, lambda: 1 / 0)

    call = scheduled_here()
    assert "scheduled_here" in call.creator[-1]
    assert "traceback at creation" in repr(call)
    turns(reactor)
    text = formatEvent(twisted_log.take(ZeroDivisionError))
    assert "C: from a DelayedCall created here:" in text
    assert "scheduled_here" in text


@pytest.mark.parametrize("ending", ["made", "cancelled", "reset"])
def test_no_cycle_is_left_behind(reactor, ending):
    class Argument:
        pass

    gc.disable()
    try:
        argument = Argument()
        gone = [weakref.ref(argument)]
        call = reactor.callLater(0 if ending == "made" else 60, lambda argument: None, argument)
        gone.append(weakref.ref(call))
        if ending == "reset":
            call.reset(0)
        if ending == "cancelled":
            call.cancel()
        del argument, call
        turns(reactor)
        # Twisted's own reactors keep a cancelled call, but not its arguments, until it is due.
        kept = 1 if ending == "cancelled" and not isinstance(reactor, Reactor) else 2
        assert [reference() for reference in gone[:kept]] == [None] * kept
    finally:
        gc.enable()


def test_a_call_in_the_extreme_future_is_no_obstacle(reactor):
    call = reactor.callLater(2**128 + 1, lambda: None)
    reactor.callLater(0, reactor.stop)
    run(reactor)
    assert call.active()
    assert call in reactor.getDelayedCalls()


def test_iterate_with_no_delay_does_not_wait(reactor):
    # asyncioreactor's waits 10 ms at least: these would take longer than any test may.
    reactor.callLater(3600, lambda: None)
    turns(reactor, 10_000)


def test_iterate_waits_no_longer_than_for_the_next_call(ours):
    # epollreactor's waits for as long as it was told.
    made = []
    ours.callLater(0.01, made.append, "made")
    while not made:
        ours.iterate(3600)


def test_looping_call(reactor):
    counts = []
    loop = task.LoopingCall.withCount(
        lambda count: (counts.append(count), len(counts) == 4 and loop.stop())
    )
    loop.clock = reactor
    run(reactor, until=loop.start(0.01))
    assert len(counts) == 4
    assert 0 not in counts


def test_beside_those_of_a_clock(reactor):
    """Code under test that is given a `task.Clock` for a reactor, next to code that has the reactor itself."""
    clock = task.Clock()
    made = []
    clocks = clock.callLater(10, made.append, "clock")
    far = reactor.callLater(60, made.append, "reactor")
    assert sorted([far, clocks]) == [clocks, far]
    assert clocks < far
    assert not far < clocks
    loop = task.LoopingCall(lambda: made.append("looped"))
    loop.clock = clock
    loop.start(5)
    clock.pump([5, 5])
    loop.stop()
    assert made == ["looped", "looped", "clock", "looped"]
    assert (far.active(), clock.getDelayedCalls()) == (True, [])


def test_a_call_runs_in_the_context_it_was_scheduled_in(ours):
    variable = contextvars.ContextVar("variable", default="none")
    seen = []

    def schedule(value):
        variable.set(value)
        return ours.callLater(0.01, lambda: seen.append(variable.get()))

    call = contextvars.copy_context().run(schedule, "first")
    contextvars.copy_context().run(schedule, "second")
    call.reset(0.02)
    ours.callLater(0.03, ours.stop)
    run(ours)
    assert seen == ["second", "first"]
    assert variable.get() == "none"


def test_the_loops_heap_is_the_only_one(ours):
    # One order for both hosts' timers, whoever asked for them first.
    loop = ours._asyncioEventloop
    made = []
    call = ours.callLater(0.01, made.append, "twisted")
    loop.call_at(call._due() + 1e-6, made.append, "asyncio, later")
    loop.call_at(call._due(), made.append, "asyncio, at the same time")
    loop.call_at(call._due() - 1e-6, made.append, "asyncio, sooner")
    assert not ours._pendingTimedCalls
    assert not ours._newTimedCalls
    assert ours.getDelayedCalls() == [call]
    # Asyncio's list of its handles has no others in it.
    assert len(loop._scheduled) == 3
    loop.call_at(call._due() + 0.01, ours.stop)
    run(ours)
    assert made == ["asyncio, sooner", "twisted", "asyncio, at the same time", "asyncio, later"]


def test_deadlines_are_the_loops_own(ours):
    loop = ours._asyncioEventloop
    ours.seconds = lambda: 0.0
    before = loop.time()
    call = ours.callLater(30, lambda: None)
    assert before + 30 <= call._due() <= loop.time() + 30
    assert call.getTime() == 30.0


def test_attributes(reactor):
    def function():
        pass

    call = reactor.callLater(60, function, 1, 2, three=3)
    assert (call.func, call.args, call.kw) == (function, (1, 2), {"three": 3})
    assert (call.called, call.cancelled, call.delayed_time) == (0, 0, 0.0)
    assert (call.debug, call.creator) == (False, None)
    assert call.time == call.getTime()
    assert reactor.callLater(60, function).kw == {}
    call.note = "the program's own"
    assert vars(call)["note"] == call.note
    assert weakref.ref(call)() is call
    call.cancel()
    assert (call.called, call.cancelled) == (0, 1)
    for name in "func", "args", "kw":
        assert not hasattr(call, name)
    assert "cancelled=1" in repr(call)
    assert "function" not in repr(call)


def test_what_was_changed_is_what_is_called(reactor):
    made = []
    call = reactor.callLater(0, made.append)
    call.func = lambda *args, **kw: made.append((args, kw))
    call.args, call.kw = (1,), {"two": 2}
    turns(reactor)
    assert made == [((1,), {"two": 2})]
    assert (call.called, call.func is None) == (1, False)


def test_comparison_is_by_time_without_the_delay(reactor):
    one, other = reactor.callLater(60, print), reactor.callLater(120, print)
    assert one < other
    assert one <= other
    assert not other < one
    assert not other <= one
    one.reset(180)
    assert one < other
    assert one != other
    assert len({one, other, one}) == 2
    with pytest.raises((TypeError, AttributeError)):
        _ = one < 1


def test_names_of_parameters(reactor):
    made = []
    reactor.callLater(delay=0, callable=lambda: made.append("by name"))
    reactor.callLater(0, lambda **kw: made.append(kw), reactor=1, seconds=2)
    call = reactor.callLater(60, made.append, 3)
    call.reset(secondsFromNow=3600)
    call.delay(secondsLater=-3600)
    turns(reactor)
    assert made == ["by name", {"reactor": 1, "seconds": 2}, 3]


@pytest.mark.parametrize("delay", ["1", None, float("nan")])
def test_a_delay_must_be_a_number(reactor, delay):
    with pytest.raises((TypeError, AssertionError)):
        reactor.callLater(delay, print)
    assert reactor.getDelayedCalls() == []


def test_debug_keeps_what_a_cancelled_call_was(reactor, monkeypatch):
    monkeypatch.setattr(DelayedCall, "debug", True)
    call = reactor.callLater(60, print, "argument")
    call.cancel()
    assert "print('argument')" in repr(call)
    assert "traceback at creation" in repr(call)


def test_a_call_taken_over_while_it_is_ready_is_made_once(ours):
    made = []
    calls = [ours.callLater(0, made.append, number) for number in range(3)]
    calls[1].reset(0)
    old, new = ours._asyncioEventloop, interloop.new_event_loop()
    ours._asyncioEventloop = new
    ours._take_timers(old)
    assert ours.getDelayedCalls() == [calls[0], calls[2], calls[1]]
    for loop in old, new:
        loop._turn(0)
    assert made == [0, 2, 1]
    ours._asyncioEventloop = old
    new.close()


def test_a_clock_that_fails_is_logged_and_the_call_is_made(ours, twisted_log):
    made = []
    clock = ours.seconds
    ours.seconds = lambda: clock() if not broken else 1 / 0
    broken = False
    ours.callLater(0, made.append, 1)
    broken = True
    turns(ours)
    assert made == [1]
    twisted_log.take(ZeroDivisionError)


def test_a_thread_is_told_in_debug_mode(ours):
    ours._asyncioEventloop.set_debug(True)
    refused = []

    def work():
        with pytest.raises(RuntimeError, match="Non-thread-safe operation"):
            ours.callLater(0, print)
        refused.append(True)
        ours.callFromThread(ours.stop)

    thread = threading.Thread(target=work)
    ours.callWhenRunning(thread.start)
    run(ours)
    thread.join()
    assert refused == [True]


def test_a_closed_loop_takes_no_calls():
    loop = interloop.new_event_loop()
    reactor = Reactor(loop)
    call = reactor.callLater(60, print)
    # Nobody takes it over.
    life = vars(reactor).pop("_life")
    loop.close()
    vars(reactor)["_life"] = life
    for change in call.reset, call.delay:
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            change(1)
    call.cancel()
    assert not call.active()
    reactor._asyncioEventloop = loop
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        reactor.callLater(1, print)
    del reactor._asyncioEventloop
    reactor._life.leave()
