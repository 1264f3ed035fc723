"""Point 10: run_in_executor, the default executor, its shutdown."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import inspect
import re
import sys
import threading

import pytest
from aio_support import turns


def test_runs_in_another_thread(run):
    """The function runs elsewhere, its result or exception comes back here."""

    async def main():
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(None, threading.get_ident) != threading.get_ident()
        assert await loop.run_in_executor(None, max, 3, 5) == 5
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(None, lambda: 1 / 0)
        future = loop.run_in_executor(None, max, 1, 2)
        assert isinstance(future, asyncio.Future)
        assert await future == 2

    run(main)


def test_thread_names(run):
    """Threads of the default executor are named asyncio_N."""

    async def main():
        name = await asyncio.to_thread(lambda: threading.current_thread().name)
        assert re.fullmatch(r"asyncio_\d+", name)

    run(main)


@pytest.mark.parametrize("watched", [False, True])
def test_threads_get_in_beside_a_loop_that_is_never_idle(run, pair, watched):
    """Between two turns other threads may run, without waiting for the interpreter to make the loop's thread yield."""

    async def main():
        loop = asyncio.get_running_loop()
        busy = True

        def again():
            if busy:
                loop.call_soon(again)

        again()
        if watched:
            loop.add_reader(pair[0], print)
        await loop.run_in_executor(None, int)
        interval = sys.getswitchinterval()
        sys.setswitchinterval(3600)
        try:
            for _ in range(20):
                assert await loop.run_in_executor(None, max, 1, 2) == 2
        finally:
            sys.setswitchinterval(interval)
            busy = False
            loop.remove_reader(pair[0])

    run(main)


def test_to_thread_carries_the_context(run):
    """asyncio.to_thread runs in a copy of the caller's context."""
    var = contextvars.ContextVar("var")

    async def main():
        var.set("carried")
        assert await asyncio.to_thread(var.get) == "carried"

    run(main)


def test_wakes_a_sleeping_loop(run):
    """A result that comes while the loop sleeps in the poll wakes it, many times in a row."""

    async def main():
        loop = asyncio.get_running_loop()
        for n in range(200):
            assert await loop.run_in_executor(None, int, n) == n

    run(main)


def test_executor_given(new_loop):
    """Any executor may be given, also one that is no thread pool; None is the default one."""
    loop = new_loop()

    class Inline(concurrent.futures.Executor):
        def submit(self, function, *args):
            future = concurrent.futures.Future()
            future.set_result(function(*args))
            return future

    here = threading.get_ident()
    assert loop.run_until_complete(loop.run_in_executor(Inline(), threading.get_ident)) == here
    assert loop._default_executor is None


def test_default_executor_is_made_late_and_can_be_read(new_loop):
    """Point 10: `_default_executor` is None until needed, then a ThreadPoolExecutor; it may be reset."""
    loop = new_loop()
    assert loop._default_executor is None
    loop.run_until_complete(loop.run_in_executor(None, int))
    executor = loop._default_executor
    assert isinstance(executor, concurrent.futures.ThreadPoolExecutor)
    loop._default_executor = None
    loop.run_until_complete(loop.run_in_executor(None, int))
    assert loop._default_executor is not executor
    executor.shutdown()


def test_default_executor_must_be_a_thread_pool(new_loop):
    """Point 10: TypeError for any other, and the one there was stays."""
    loop = new_loop()

    class Other(concurrent.futures.Executor):
        pass

    for wrong in (None, 1, Other()):
        with pytest.raises(TypeError, match="executor must be ThreadPoolExecutor instance"):
            loop.set_default_executor(wrong)
    assert loop._default_executor is None
    with concurrent.futures.ThreadPoolExecutor(1, "mine") as executor:
        loop.set_default_executor(executor)
        assert loop._default_executor is executor
        name = loop.run_until_complete(
            loop.run_in_executor(None, lambda: threading.current_thread().name)
        )
        assert name.startswith("mine")


def test_shutdown(new_loop):
    """Point 10: shutdown_default_executor waits for the threads; afterwards run_in_executor(None) raises."""
    loop = new_loop()
    release = threading.Event()

    async def main():
        future = loop.run_in_executor(None, release.wait)
        loop.call_soon(release.set)
        await loop.shutdown_default_executor()
        assert future.done() or await future
        with pytest.raises(RuntimeError, match="Executor shutdown has been called"):
            loop.run_in_executor(None, int)
        with concurrent.futures.ThreadPoolExecutor(1) as executor:
            assert await loop.run_in_executor(executor, int) == 0

    loop.run_until_complete(main())
    assert not [t for t in threading.enumerate() if t.name.startswith("asyncio_")]


def test_shutdown_without_an_executor(new_loop):
    """Nothing to do, and afterwards none is made."""
    loop = new_loop()
    loop.run_until_complete(loop.shutdown_default_executor())
    assert loop._default_executor is None
    with pytest.raises(RuntimeError, match="Executor shutdown has been called"):
        loop.run_in_executor(None, int)


# 3.11 has no timeout, and 3.12's first releases wait without one before they look at it.
_SHUTDOWN = inspect.getsource(asyncio.BaseEventLoop.shutdown_default_executor)


@pytest.mark.skipif("timeouts.timeout(" not in _SHUTDOWN, reason="this version knows no timeout")
def test_shutdown_timeout_warns(new_loop):
    """Point 10: threads that do not end in time are left behind with a RuntimeWarning."""
    loop = new_loop()
    release = threading.Event()

    async def main():
        future = loop.run_in_executor(None, release.wait)
        with pytest.warns(RuntimeWarning) as caught:
            await loop.shutdown_default_executor(timeout=0.01)
        assert not future.done()
        release.set()
        await future
        return [str(w.message) for w in caught]

    assert loop.run_until_complete(main()) == [
        "The executor did not finishing joining its threads within 0.01 seconds."
    ]


def test_close_shuts_the_executor_down(new_loop):
    """close() ends the default executor without waiting, and forgets it."""
    loop = new_loop()
    loop.run_until_complete(loop.run_in_executor(None, int))
    executor = loop._default_executor
    loop.close()
    assert loop._default_executor is None
    with pytest.raises(RuntimeError):
        executor.submit(int)
    executor.shutdown()


def test_result_after_close_is_dropped(new_loop):
    """A thread that finishes after the loop was closed harms nobody."""
    loop = new_loop()
    started, release = threading.Event(), threading.Event()

    def work():
        started.set()
        release.wait()

    loop.run_in_executor(None, work)
    executor = loop._default_executor
    started.wait()
    loop.close()
    release.set()
    executor.shutdown()


def test_cancelled_future(run):
    """Cancelling what has not started yet takes it out of the executor."""

    async def main():
        loop = asyncio.get_running_loop()
        release = threading.Event()
        ran = []
        with concurrent.futures.ThreadPoolExecutor(1) as executor:
            first = loop.run_in_executor(executor, release.wait)
            second = loop.run_in_executor(executor, ran.append, 1)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            await turns(2)  # the executor's own future is cancelled by a callback
            release.set()
            await first
        assert ran == []

    run(main)
