"""call_soon and call_soon_threadsafe: order, the batch, arguments, contexts, wake-ups from other threads."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest


def test_order_and_arguments(new_loop):
    """Callbacks run in the order they were registered, with the arguments given."""
    loop = new_loop()
    seen = []
    loop.call_soon(seen.append, 1)
    loop.call_soon(lambda *args: seen.append(args), 2, "two", None)
    loop.call_soon(lambda: seen.append(3))
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == [1, (2, "two", None), 3]


def test_many_arguments_and_callables(new_loop):
    """Anything callable will do: bound and built-in methods, classes, partials, objects with __call__."""
    loop = new_loop()
    seen = []

    class Callable:
        def __call__(self, *args):
            seen.append(args)

        def method(self, *args):
            seen.append(args)

    loop.call_soon(Callable(), *range(20))
    loop.call_soon(Callable().method, "m")
    loop.call_soon(dict, ())
    loop.call_soon(seen.clear.__self__.append, "builtin")
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == [tuple(range(20)), ("m",), "builtin"]


def test_keyword_only_context(new_loop):
    """`context` is keyword-only, and other keywords are refused."""
    loop = new_loop()
    with pytest.raises(TypeError):
        loop.call_soon(print, context=contextvars.copy_context(), nothing=1)
    with pytest.raises(TypeError):
        loop.call_soon()


def test_callbacks_registered_while_running_wait_for_the_next_turn(new_loop):
    """One turn runs exactly what was ready when its batch began: I/O due meanwhile comes before what a callback adds."""
    loop = new_loop()
    seen = []

    def again(n):
        seen.append(n)
        if n < 3:
            loop.call_soon(again, n + 1)
        else:
            loop.stop()
            loop.call_soon(seen.append, "after stop: not in this run")

    loop.call_soon(again, 0)
    loop.call_soon(seen.append, "beside")
    loop.run_forever()
    assert seen == [0, "beside", 1, 2, 3]
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen[-1] == "after stop: not in this run"


def test_callbacks_registered_before_the_run(new_loop):
    """call_soon works on a loop that does not run yet, and between two runs."""
    loop = new_loop()
    seen = []
    loop.call_soon(seen.append, "before")
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.call_soon(seen.append, "between")
    loop.run_until_complete(asyncio.sleep(0))
    assert seen == ["before", "between"]


def test_threadsafe_keeps_order_with_call_soon_in_the_loops_thread(new_loop):
    """From the loop's own thread call_soon_threadsafe is ordered with call_soon as if it were call_soon."""
    loop = new_loop()
    seen = []

    def main():
        loop.call_soon(seen.append, 1)
        loop.call_soon_threadsafe(seen.append, 2)
        loop.call_soon(seen.append, 3)
        loop.call_soon_threadsafe(seen.append, 4)
        loop.call_soon_threadsafe(loop.stop)
        loop.call_soon(seen.append, 5)

    loop.call_soon(main)
    loop.run_forever()
    assert seen == [1, 2, 3, 4, 5]


def test_threadsafe_before_the_run_keeps_order(new_loop):
    """The same holds before the loop runs: no thread owns it yet, and the order is that of the calls."""
    loop = new_loop()
    seen = []
    loop.call_soon_threadsafe(seen.append, 1)
    loop.call_soon(seen.append, 2)
    loop.call_soon_threadsafe(seen.append, 3)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == [1, 2, 3]


def test_threadsafe_wakes_a_sleeping_loop(new_loop):
    """A loop with nothing to do sleeps in the poll; a call from another thread wakes it, every time."""
    loop = new_loop()
    rounds = 200
    asleep = threading.Semaphore(0)
    seen = []

    def caller():
        for n in range(rounds):
            asleep.acquire()
            loop.call_soon_threadsafe(ran, n)
        asleep.acquire()
        loop.call_soon_threadsafe(loop.stop)

    def ran(n):
        seen.append((n, threading.get_ident()))
        asleep.release()

    thread = threading.Thread(target=caller)
    loop.call_soon(asleep.release)
    thread.start()
    loop.run_forever()
    thread.join()
    assert seen == [(n, threading.get_ident()) for n in range(rounds)]


def test_threadsafe_from_many_threads_keeps_each_threads_order(new_loop):
    """Nothing is lost, and what one thread submits runs in its order."""
    loop = new_loop()
    threads, calls = 8, 500
    seen = [[] for _ in range(threads)]
    left = threads

    def done():
        nonlocal left
        left -= 1
        if not left:
            loop.stop()

    def caller(number):
        for n in range(calls):
            loop.call_soon_threadsafe(seen[number].append, n)
        loop.call_soon_threadsafe(done)

    callers = [threading.Thread(target=caller, args=(number,)) for number in range(threads)]
    for thread in callers:
        thread.start()
    loop.run_forever()
    for thread in callers:
        thread.join()
    assert seen == [list(range(calls))] * threads


def test_threadsafe_handle_can_be_cancelled(new_loop):
    """call_soon_threadsafe answers a Handle; cancelled before it ran, it does not run."""
    loop = new_loop()
    seen = []
    handle = loop.call_soon_threadsafe(seen.append, 1)
    loop.call_soon_threadsafe(seen.append, 2)
    handle.cancel()
    assert isinstance(handle, asyncio.Handle)
    loop.call_soon_threadsafe(loop.stop)
    loop.run_forever()
    assert seen == [2]


def test_threadsafe_after_close_raises(new_loop):
    """A thread that calls into a closed loop is told so."""
    loop = new_loop()
    loop.close()
    caught = []

    def caller():
        try:
            loop.call_soon_threadsafe(print)
        except RuntimeError as exc:
            caught.append(str(exc))

    thread = threading.Thread(target=caller)
    thread.start()
    thread.join()
    assert caught == ["Event loop is closed"]


def test_context_is_copied_when_registered(new_loop):
    """A callback sees the variables as they were at call_soon, and its changes stay its own."""
    loop = new_loop()
    var = contextvars.ContextVar("var", default="unset")
    seen = []

    def callback():
        seen.append(var.get())
        var.set("changed in callback")

    var.set("first")
    loop.call_soon(callback)
    loop.call_soon_threadsafe(callback)
    var.set("second")
    loop.call_soon(callback)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == ["first", "first", "second"]
    assert var.get() == "second"


def test_context_given_is_used_and_not_copied(new_loop):
    """With context=, the callback runs in that very context: what it sets stays set there."""
    loop = new_loop()
    var = contextvars.ContextVar("var", default="unset")
    context = contextvars.copy_context()
    seen = []

    def callback():
        seen.append(var.get())
        var.set("set by callback")

    loop.call_soon(callback, context=context)
    loop.call_soon_threadsafe(callback, context=context)
    loop.call_later(0, callback, context=context)
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.run_until_complete(asyncio.sleep(0))
    assert seen[:2] == ["unset", "set by callback"]
    assert context[var] == "set by callback"
    assert var.get() == "unset"


def test_a_failing_callback_does_not_stop_the_batch(new_loop, asyncio_log):
    """An Exception is reported, the callbacks behind it run in the same turn."""
    loop = new_loop()
    seen = []
    loop.call_soon(seen.append, 1)
    loop.call_soon(lambda: 1 / 0)
    loop.call_soon(seen.append, 2)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == [1, 2]
    record = asyncio_log.take("Exception in callback")
    assert record.exc_info[0] is ZeroDivisionError


def test_garbage_collection_may_call_in(new_loop):
    """An object dropped by a callback may use the loop in its __del__: nothing is locked or borrowed at that moment."""
    loop = new_loop()
    seen = []

    class Dropped:
        def __del__(self):
            loop.call_soon(seen.append, "call_soon")
            loop.call_soon_threadsafe(seen.append, "threadsafe")
            loop.call_later(0, loop.stop)

    loop.call_soon(lambda dropped: None, Dropped())
    loop.run_forever()
    assert seen == ["call_soon", "threadsafe"]


def test_dropping_a_cancelled_handles_argument_may_call_in(new_loop):
    """The same when cancel() drops the last reference to a callback's argument."""
    loop = new_loop()
    seen = []

    class Dropped:
        def __del__(self):
            loop.call_soon(seen.append, "dropped")

    handles = [
        loop.call_soon(print, Dropped()),
        loop.call_soon_threadsafe(print, Dropped()),
        loop.call_later(99, print, Dropped()),
    ]
    for handle in handles:
        handle.cancel()
    assert seen == []
    loop.run_until_complete(asyncio.sleep(0))
    assert seen == ["dropped"] * 3
