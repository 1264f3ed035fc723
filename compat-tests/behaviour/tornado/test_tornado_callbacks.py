"""add_callback from everywhere, run_sync, futures, executors, and where exceptions go."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import threading

import pytest
from tornado import gen
from tornado.ioloop import IOLoop

THREADS = 4
CALLS = 2000


def test_order_and_arguments(io_loop):
    seen = []
    io_loop.add_callback(seen.append, 1)
    io_loop.add_callback(lambda *args, **kwargs: seen.append((args, kwargs)), 2, key="three")
    io_loop.spawn_callback(seen.append, 4)
    io_loop.add_callback(io_loop.stop)
    io_loop.start()
    assert seen == [1, ((2,), {"key": "three"}), 4]


def test_callback_added_by_a_callback_runs_in_the_next_turn(io_loop):
    seen = []

    def first():
        io_loop.add_callback(seen.append, "third")
        seen.append("first")

    io_loop.add_callback(first)
    io_loop.add_callback(seen.append, "second")
    io_loop.asyncio_loop.call_soon(io_loop.stop)
    io_loop.start()
    assert seen == ["first", "second"]
    io_loop.asyncio_loop.call_soon(io_loop.stop)
    io_loop.start()
    assert seen == ["first", "second", "third"]


def test_from_threads_none_lost_order_kept(io_loop):
    seen: dict[int, list[int]] = {number: [] for number in range(THREADS)}
    done = []

    def finished():
        done.append(1)
        if len(done) == THREADS:
            io_loop.stop()

    def target(number):
        for call in range(CALLS):
            io_loop.add_callback(seen[number].append, call)
        io_loop.add_callback(finished)

    threads = [threading.Thread(target=target, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        io_loop.add_callback(thread.start)
    io_loop.start()
    for thread in threads:
        thread.join()
    assert seen == {number: list(range(CALLS)) for number in range(THREADS)}


def test_from_a_thread_wakes_a_sleeping_loop(io_loop):
    """Each call comes after the one before was answered, so that the loop has nothing to do but to sleep for it."""
    answered = threading.Semaphore(0)

    def target():
        for _ in range(500):
            io_loop.add_callback(answered.release)
            answered.acquire()
        io_loop.add_callback(io_loop.stop)

    thread = threading.Thread(target=target)
    thread.start()
    io_loop.start()
    thread.join()


def test_from_another_loops_callback(new_io_loop):
    """The running loop is not the one called: the call has to wake the other."""
    here, there = new_io_loop(), new_io_loop()
    thread = threading.Thread(target=there.start)
    thread.start()
    seen = []

    def in_there():
        seen.append(IOLoop.current())
        here.add_callback(in_here)

    def in_here():
        seen.append(IOLoop.current())
        there.add_callback(there.stop)
        here.stop()

    here.add_callback(there.add_callback, in_there)
    here.start()
    thread.join()
    assert seen == [there, here]


def test_after_close_is_silent(io_loop):
    io_loop.close()
    io_loop.add_callback(lambda: None)
    io_loop.spawn_callback(lambda: None)
    with pytest.deprecated_call(match="add_callback_from_signal is deprecated"):
        io_loop.add_callback_from_signal(lambda: None)
    thread = threading.Thread(target=io_loop.add_callback, args=(lambda: None,))
    thread.start()
    thread.join()


def test_racing_with_close_is_silent(new_io_loop):
    for _ in range(20):
        io_loop = new_io_loop()
        stopped = threading.Event()
        errors = []

        def target(io_loop=io_loop, stopped=stopped, errors=errors):
            try:
                while not stopped.is_set():
                    io_loop.add_callback(lambda: None)
            except BaseException as exc:  # handed to the test below
                errors.append(exc)

        io_loop.add_callback(io_loop.stop)
        thread = threading.Thread(target=target)
        thread.start()
        io_loop.start()
        io_loop.close()
        stopped.set()
        thread.join()
        assert errors == []


def test_from_signal(io_loop):
    def target():
        with pytest.deprecated_call(match="add_callback_from_signal is deprecated"):
            io_loop.add_callback_from_signal(lambda *, end: end(), end=io_loop.stop)

    io_loop.add_callback(target)
    io_loop.start()


def test_context_of_the_caller(io_loop):
    var = contextvars.ContextVar("var", default="nobody's")
    seen = []

    def add():
        var.set("the caller's")
        io_loop.add_callback(lambda: seen.append(var.get()))
        io_loop.call_later(0, lambda: seen.append(var.get()))
        io_loop.call_later(0, io_loop.stop)

    contextvars.copy_context().run(add)
    io_loop.start()
    assert seen == ["the caller's"] * 2


def raise_error(error):
    raise error


async def raise_error_later(error):
    await asyncio.sleep(0)
    raise error


@gen.coroutine
def raise_error_in_generator(error):
    yield gen.moment
    raise error


@pytest.mark.parametrize("function", [raise_error, raise_error_later, raise_error_in_generator])
@pytest.mark.parametrize("how", ["add_callback", "call_later", "thread"])
def test_exceptions_are_logged_by_the_application_logger(io_loop, app_log, function, how):
    error = ZeroDivisionError("from a callback")
    if how == "add_callback":
        io_loop.add_callback(function, error)
    elif how == "call_later":
        io_loop.call_later(0, function, error)
    else:
        thread = threading.Thread(target=io_loop.add_callback, args=(function, error))
        thread.start()
        thread.join()
    # A timer's callback stops the loop only after the coroutine that one of the same pass started had its turns.
    io_loop.call_later(0, lambda: io_loop.add_callback(stop_after, io_loop, 5))
    io_loop.start()
    record = app_log.take("Exception in callback ")
    assert record.levelname == "ERROR"
    assert record.exc_info[1] is error
    assert record.getMessage().startswith("Exception in callback functools.partial(")


def stop_after(io_loop, turns):
    if turns:
        io_loop.add_callback(stop_after, io_loop, turns - 1)
    else:
        io_loop.stop()


def test_cancelled_is_not_logged(io_loop):
    io_loop.add_callback(raise_error, asyncio.CancelledError())
    io_loop.add_callback(io_loop.stop)
    io_loop.start()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("how", ["add_callback", "call_later"])
def test_exit_leaves_start_and_the_rest_runs_next_time(io_loop, error, how):
    seen = []
    add = io_loop.add_callback if how == "add_callback" else lambda *args: io_loop.call_at(0, *args)
    add(raise_error, error("out"))
    io_loop.add_callback(seen.append, "the rest")
    with pytest.raises(error, match="out"):
        io_loop.start()
    io_loop.add_callback(io_loop.stop)
    io_loop.start()
    assert seen == ["the rest"]


@pytest.mark.parametrize("result", [{}, [], 7, "text", object()])
def test_other_results_are_ignored(io_loop, result):
    io_loop.add_callback(lambda: result)
    io_loop.add_callback(stop_after, io_loop, 3)
    io_loop.start()


def test_start_in_a_callback(io_loop):
    errors = []

    def callback():
        try:
            io_loop.start()
        except RuntimeError as exc:
            errors.append(str(exc))
        io_loop.stop()

    io_loop.add_callback(callback)
    io_loop.start()
    assert errors == ["This event loop is already running"]


def test_stop_before_start(io_loop):
    seen = []
    io_loop.add_callback(seen.append, 1)
    io_loop.stop()
    io_loop.start()
    assert seen == [1]


def test_add_future(io_loop):
    seen = []
    here = asyncio.Future(loop=io_loop.asyncio_loop)
    elsewhere: concurrent.futures.Future[int] = concurrent.futures.Future()

    def callback(future):
        seen.append((future, threading.current_thread(), future.result()))
        if len(seen) == 2:
            io_loop.stop()

    io_loop.add_future(here, callback)
    io_loop.add_future(elsewhere, callback)
    here.set_result(1)
    thread = threading.Thread(target=elsewhere.set_result, args=(2,))
    thread.start()
    io_loop.start()
    thread.join()
    main = threading.current_thread()
    assert sorted(seen, key=lambda one: one[2]) == [(here, main, 1), (elsewhere, main, 2)]


class TestRunSync:
    def test_result(self, io_loop):
        async def main():
            await asyncio.sleep(0)
            assert IOLoop.current() is io_loop
            return 42

        assert io_loop.run_sync(main) == 42
        assert io_loop.run_sync(main) == 42
        assert io_loop.run_sync(lambda: None) is None

    def test_exception(self, io_loop):
        for function in raise_error, raise_error_later, raise_error_in_generator:
            with pytest.raises(ZeroDivisionError, match="out"):
                io_loop.run_sync(lambda function=function: function(ZeroDivisionError("out")))

    def test_result_that_cannot_be_awaited(self, io_loop):
        with pytest.raises(gen.BadYieldError):
            io_loop.run_sync(lambda: 42)

    def test_timeout_cancels(self, io_loop):
        seen = []

        async def main():
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise

        with pytest.raises(TimeoutError, match=r"Operation timed out after 0\.001 seconds"):
            io_loop.run_sync(main, timeout=0.001)
        assert seen == ["cancelled"]
        assert io_loop.run_sync(lambda: gen.maybe_future(7)) == 7

    def test_timeout_not_reached(self, io_loop):
        async def main():
            return 1

        assert io_loop.run_sync(main, timeout=3600) == 1

    def test_stopped_before_the_end(self, io_loop):
        task = None

        async def main():
            nonlocal task
            task = asyncio.current_task()
            io_loop.stop()
            await asyncio.Event().wait()

        with pytest.raises(RuntimeError, match="Event loop stopped before Future completed"):
            io_loop.run_sync(main)

        task.cancel()
        io_loop.start()  # the task's end, which run_sync() waited for, stops it
        assert task.cancelled()


class TestExecutors:
    def test_default(self, io_loop):
        async def main():
            return await io_loop.run_in_executor(None, threading.current_thread)

        assert io_loop.run_sync(main) is not threading.current_thread()

    def test_exception(self, io_loop):
        async def main():
            await io_loop.run_in_executor(None, raise_error, ZeroDivisionError("out"))

        with pytest.raises(ZeroDivisionError, match="out"):
            io_loop.run_sync(main)

    def test_two_at_once(self, io_loop):
        one, other = threading.Event(), threading.Event()

        def meet(mine, theirs):
            mine.set()
            theirs.wait()

        async def main():
            await asyncio.gather(
                io_loop.run_in_executor(None, meet, one, other),
                io_loop.run_in_executor(None, meet, other, one),
            )

        io_loop.run_sync(main)

    def test_set_default(self, io_loop):
        async def main():
            return await io_loop.run_in_executor(None, threading.current_thread)

        with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="mine") as executor:
            io_loop.set_default_executor(executor)
            assert io_loop.run_sync(main).name.startswith("mine")


def test_asyncio_and_tornado_callbacks_share_one_queue(io_loop):
    seen = []
    io_loop.add_callback(seen.append, 1)
    io_loop.asyncio_loop.call_soon(seen.append, 2)
    io_loop.add_callback(seen.append, 3)
    io_loop.asyncio_loop.call_soon_threadsafe(seen.append, 4)
    io_loop.add_callback(io_loop.stop)
    io_loop.start()
    assert [one for one in seen if one in (1, 3, 4)] == [1, 3, 4]
    assert sorted(seen) == [1, 2, 3, 4]
