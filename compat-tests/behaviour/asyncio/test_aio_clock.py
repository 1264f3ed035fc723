"""`loop.time` replaced, on the instance or in a subclass: the timers go by it, as a program with a clock of its own wants."""

from __future__ import annotations

import pytest


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(params=["instance", "subclass"])
def clocked(request, new_loop):
    """A loop, and the clock it goes by."""
    clock = Clock()
    first = new_loop()
    if request.param == "instance":
        first.time = clock
        yield first, clock
    else:
        own = type("Own", (type(first),), {"time": lambda self: clock()})
        loop = own()
        yield loop, clock
        loop.close()


def test_due_times_are_its_times(clocked):
    loop, clock = clocked
    assert loop.time() == 1000.0
    assert loop.call_later(5, print).when() == 1005.0
    clock.advance(1)
    assert loop.call_later(5, print).when() == 1006.0


def test_timers_run_when_it_says_so(clocked):
    loop, clock = clocked
    seen = []
    loop.call_later(3600, seen.append, "an hour")
    loop.call_later(60, seen.append, "a minute")

    def turn():
        loop.call_soon(loop.stop)
        loop.run_forever()

    turn()
    assert seen == []
    clock.advance(60)
    turn()
    assert seen == ["a minute"]
    clock.advance(3540)
    turn()
    assert seen == ["a minute", "an hour"]


def test_it_is_asked_anew_in_every_turn(clocked):
    """The clock jumps while the loop runs: nothing sleeps for the old rest."""
    loop, clock = clocked
    loop.call_later(3600, loop.stop)
    loop.call_soon(clock.advance, 3600)
    loop.run_forever()
    assert clock.now == 4600.0


def test_one_that_fails_ends_the_run(new_loop):
    loop = new_loop()
    handle = loop.call_later(3600, print)

    def broken():
        raise ZeroDivisionError

    loop.time = broken
    with pytest.raises(ZeroDivisionError):
        loop.run_forever()
    assert not loop.is_running()
    del loop.time
    handle.cancel()
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_taken_away_again(new_loop):
    loop = new_loop()
    loop.time = Clock()
    del loop.time
    assert loop.call_later(0, print).when() != 1000.0
    with pytest.raises(AttributeError):
        del loop.time
