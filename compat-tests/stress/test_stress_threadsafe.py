"""call_soon_threadsafe from many threads: nothing lost, each thread's order kept, no wake-up missed."""

from __future__ import annotations

import asyncio
import random
import threading

import pytest
from stress_support import threads, turn

THREADS = 8
# Stock is there to show that the test is right; the load is for ours.
TOTAL = {"interloop": 1_000_000}
TOTAL_ELSEWHERE = 100_000
# How many calls a thread makes before it waits until the loop has run them: the loop is asleep, busy or about to fall asleep.
BURSTS = (1, 1, 1, 1, 2, 3, 10, 300)


class Ledger:
    """Counts what the loop runs for each thread, and notices what comes twice, out of order or not at all."""

    def __init__(self, loop: asyncio.AbstractEventLoop, each: int) -> None:
        self.loop = loop
        self.each = each
        self.next = [0] * THREADS
        self.unexpected: list[tuple[int, int, int]] = []
        self.ended = 0

    def take(self, thread: int, call: int) -> None:
        if self.next[thread] != call:
            self.unexpected.append((thread, self.next[thread], call))
        self.next[thread] = call + 1

    def end(self) -> None:
        self.ended += 1
        if self.ended == THREADS:
            self.loop.stop()

    def check(self) -> None:
        assert self.unexpected == []
        assert self.next == [self.each] * THREADS
        assert self.ended == THREADS


def test_calls_from_threads(loop, loop_kind):
    ledger = Ledger(loop, TOTAL.get(loop_kind, TOTAL_ELSEWHERE) // THREADS)

    def caller(thread):
        bursts = random.Random(thread)
        answered = threading.Lock()
        answered.acquire()
        call = 0
        while call < ledger.each:
            end = min(call + bursts.choice(BURSTS), ledger.each)
            for number in range(call, end):
                loop.call_soon_threadsafe(ledger.take, thread, number)
            call = end
            loop.call_soon_threadsafe(answered.release)
            answered.acquire()
        loop.call_soon_threadsafe(ledger.end)

    with threads(*(lambda thread=thread: caller(thread) for thread in range(THREADS))):
        loop.run_forever()
    ledger.check()


def test_calls_while_the_loop_stops_and_starts(loop):
    """What comes between two runs, or while one ends, is run by the next."""
    ledger = Ledger(loop, 20_000)

    def caller(thread):
        for number in range(ledger.each):
            loop.call_soon_threadsafe(ledger.take, thread, number)
        loop.call_soon_threadsafe(ledger.end)

    with threads(*(lambda thread=thread: caller(thread) for thread in range(THREADS))):
        while ledger.ended < THREADS:
            turn(loop)
    ledger.check()


@pytest.mark.parametrize("callers", [1, 4])
@pytest.mark.parametrize("sleep", ["forever", "until a timer"])
def test_every_call_wakes_the_loop(loop, callers, sleep):
    """A caller calls only once its last call was answered: with one of them, every call finds the loop with nothing to do."""
    rounds = 20_000 // callers
    ended = []

    def end():
        ended.append(1)
        if len(ended) == callers:
            loop.stop()

    def caller():
        answered = threading.Lock()
        answered.acquire()
        for _ in range(rounds):
            loop.call_soon_threadsafe(answered.release)
            answered.acquire()
        loop.call_soon_threadsafe(end)

    if sleep == "until a timer":
        timer = loop.call_later(3600, loop.stop)
    with threads(*[caller] * callers):
        loop.run_forever()
    if sleep == "until a timer":
        timer.cancel()
    assert len(ended) == callers


def test_own_thread_keeps_its_order_with_call_soon(loop):
    seen = []

    def callback():
        for number in range(0, 10_000, 2):
            loop.call_soon(seen.append, number)
            loop.call_soon_threadsafe(seen.append, number + 1)
        loop.call_soon_threadsafe(loop.stop)

    loop.call_soon(callback)
    loop.run_forever()
    assert seen == list(range(10_000))


def test_a_call_from_a_thread_stays_before_one_that_knows_of_it(loop):
    """There is one queue: a callback that a thread asked for comes before one that was asked for after that."""
    seen = []

    def callback():
        with threads(lambda: loop.call_soon_threadsafe(seen.append, "thread's")):
            pass
        loop.call_soon(seen.append, "loop's")

    loop.call_soon(callback)
    turn(loop, 2)
    assert seen == ["thread's", "loop's"]

    seen.clear()
    with threads(lambda: loop.call_soon_threadsafe(seen.append, "thread's")):
        pass
    loop.call_soon(seen.append, "own")
    turn(loop)
    assert seen == ["thread's", "own"]


def test_loop_that_is_never_idle_runs_them_too(loop):
    """Calls from outside get their turn although the ready queue never empties."""
    answers = []

    def spin():
        if len(answers) < 1000:
            loop.call_soon(spin)
        else:
            loop.stop()

    def caller():
        answered = threading.Lock()
        answered.acquire()
        for number in range(1000):
            loop.call_soon_threadsafe(
                lambda number=number: (answers.append(number), answered.release())
            )
            answered.acquire()

    loop.call_soon(spin)
    with threads(caller):
        loop.run_forever()
    assert answers == list(range(1000))


def test_timers_and_readers_get_their_turn_under_a_flood(loop, pair):
    """A caller that never pauses starves neither: it stops only when both have had a hundred turns."""
    one, other = pair
    one.send(bytes(100))
    left = {"timer": 100, "reader": 100}
    enough = threading.Event()

    def done(what):
        left[what] -= 1
        if not any(left.values()):
            enough.set()

    def timer():
        done("timer")
        if left["timer"]:
            loop.call_later(0, timer)

    def reader():
        other.recv(1)
        done("reader")
        if not left["reader"]:
            loop.remove_reader(other)

    def caller():
        while not enough.is_set():
            loop.call_soon_threadsafe(int)
        loop.call_soon_threadsafe(loop.stop)

    loop.add_reader(other, reader)
    loop.call_soon(timer)
    with threads(caller):
        loop.run_forever()
    assert left == {"timer": 0, "reader": 0}


def test_cancelled_by_the_caller_before_the_loop_runs(loop):
    seen = []
    handles = []

    def caller():
        handles.extend(loop.call_soon_threadsafe(seen.append, number) for number in range(10_000))

    with threads(caller):
        pass
    for handle in handles[::2]:
        handle.cancel()
    turn(loop)
    assert seen == list(range(1, 10_000, 2))


def test_racing_with_close(new_loop):
    """Every call either counts as made or raises "Event loop is closed"; nothing else, and no crash."""
    for _ in range(100):
        loop = new_loop()
        go = threading.Barrier(5)

        def caller(loop=loop, go=go):
            go.wait()
            with pytest.raises(RuntimeError, match="Event loop is closed"):
                while True:
                    loop.call_soon_threadsafe(int)

        with threads(*[caller] * 4):
            go.wait()
            turn(loop)
            loop.close()


def test_futures_completed_by_threads(loop):
    """run_in_executor and wrap_future come through the same door: ten thousand of them."""

    async def main():
        for _ in range(100):
            results = await asyncio.gather(
                *(loop.run_in_executor(None, int, n) for n in range(100))
            )
            assert results == list(range(100))
        await loop.shutdown_default_executor()

    loop.run_until_complete(main())


def test_loops_in_threads_call_each_other(new_loop):
    """Four loops, and a hundred tokens that go round between them: no loop is left asleep with one waiting for it."""
    loops = [new_loop() for _ in range(4)]
    tokens, hops = 100, 200
    arrived = []

    def pass_on(at, left):
        if left:
            following = (at + 1) % len(loops)
            loops[following].call_soon_threadsafe(pass_on, following, left - 1)
            return
        arrived.append(at)  # appended by one loop only: the hops are a multiple of the loops
        if len(arrived) == tokens:
            for loop in loops:
                loop.call_soon_threadsafe(loop.stop)

    for _ in range(tokens):
        loops[0].call_soon_threadsafe(pass_on, 0, hops)
    with threads(*(loop.run_forever for loop in loops)):
        pass
    assert arrived == [0] * tokens
