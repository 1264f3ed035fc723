"""run_forever, run_until_complete, stop, close: what starts and ends a run, and what is left after it."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
import threading
import warnings

import pytest

_RUN_FOREVER = inspect.getsource(asyncio.BaseEventLoop.run_forever)
_CHECKS_INSIDE_TRY = "_run_forever_setup" in _RUN_FOREVER.partition("try:")[2]


async def answer(value=None):
    return value


def test_run_until_complete_returns_or_raises(new_loop):
    """The Future's result, or its exception, comes out; futures, tasks and any awaitable are taken."""
    loop = new_loop()

    async def fail():
        raise LookupError("told")

    class Awaitable:
        def __await__(self):
            return answer("awaited").__await__()

    assert loop.run_until_complete(answer(1)) == 1
    assert loop.run_until_complete(loop.create_task(answer(2))) == 2
    assert loop.run_until_complete(Awaitable()) == "awaited"
    with pytest.raises(LookupError, match="told"):
        loop.run_until_complete(fail())
    future = loop.create_future()
    loop.call_soon(future.set_result, 3)
    assert loop.run_until_complete(future) == 3
    assert loop.run_until_complete(future) == 3
    with pytest.raises(TypeError):
        loop.run_until_complete(1)


def test_stop_before_the_run(new_loop):
    """stop() before run_forever() lets one turn run what is ready, and no more."""
    loop = new_loop()
    seen = []
    loop.call_soon(lambda: (seen.append(1), loop.call_soon(seen.append, 2)))
    loop.stop()
    loop.run_forever()
    assert seen == [1]
    loop.stop()
    loop.run_forever()
    assert seen == [1, 2]


def test_stop_leaves_what_is_not_ready(new_loop):
    """Stopped before the Future is done: RuntimeError, and the Future may be completed by another run."""
    loop = new_loop()
    future = loop.create_future()
    loop.call_soon(loop.stop)
    with pytest.raises(RuntimeError, match="Event loop stopped before Future completed"):
        loop.run_until_complete(future)
    loop.call_soon(future.set_result, 1)
    assert loop.run_until_complete(future) == 1


def test_state_while_running_and_after(new_loop):
    """is_running, the running loop and `_thread_id` (point 15) tell of the run and are put back after it."""
    loop = new_loop()

    def look():
        return loop.is_running(), asyncio._get_running_loop(), loop._thread_id

    assert look() == (False, None, None)

    async def main():
        assert asyncio.get_running_loop() is loop
        return look()

    assert loop.run_until_complete(main()) == (True, loop, threading.get_ident())
    assert look() == (False, None, None)


def test_run_in_another_thread(new_loop):
    """A loop may run in any thread, one after the other."""
    loop = new_loop()
    seen = []

    def target():
        seen.append((loop.run_until_complete(answer(5)), loop.is_running()))

    for _ in range(2):
        thread = threading.Thread(target=target)
        thread.start()
        thread.join()
    assert loop.run_until_complete(answer(6)) == 6
    assert seen == [(5, False)] * 2


METHODS = [
    "run_until_complete",
    pytest.param(
        "run_forever",
        marks=pytest.mark.stock_wrong(
            "run_forever() of 3.13.0 checks inside the try whose finally resets the loop's state",
            when=_CHECKS_INSIDE_TRY,
        ),
    ),
]


@pytest.mark.parametrize("method", METHODS)
def test_running_loop_refuses_a_second_run(new_loop, method):
    """Point 3: RuntimeError, and the outer run goes on as if nothing had been tried."""
    loop = new_loop()

    async def main():
        args = (loop.create_future(),) if method == "run_until_complete" else ()
        with pytest.raises(RuntimeError, match="This event loop is already running"):
            getattr(loop, method)(*args)
        assert loop.is_running() and asyncio.get_running_loop() is loop
        assert loop._thread_id == threading.get_ident()
        await asyncio.sleep(0)
        return "went on"

    assert loop.run_until_complete(main()) == "went on"


@pytest.mark.parametrize("method", METHODS)
def test_another_loop_refuses_to_run_inside(new_loop, method):
    """Point 3: another loop may not run in this thread meanwhile, and neither loop's state is touched."""
    outer, inner = new_loop(), new_loop()

    async def main():
        args = (inner.create_future(),) if method == "run_until_complete" else ()
        with pytest.raises(
            RuntimeError, match="Cannot run the event loop while another loop is running"
        ):
            getattr(inner, method)(*args)
        assert not inner.is_running()
        assert outer.is_running() and asyncio.get_running_loop() is outer
        hooks = sys.get_asyncgen_hooks()
        assert hooks.firstiter is not None and hooks.firstiter.__self__ is outer
        return "went on"

    assert outer.run_until_complete(main()) == "went on"
    assert inner.run_until_complete(answer(1)) == 1


def test_refused_coroutine_is_left_unawaited(new_loop):
    """Point 3: the check comes before a task is made, so the coroutine itself warns."""
    loop, other = new_loop(), new_loop()

    async def main(which):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with pytest.raises(RuntimeError):
                which.run_until_complete(answer())
            gc.collect()
        return [(w.category, str(w.message)) for w in caught], asyncio.all_tasks(which)

    for which in (loop, other):
        caught, tasks = loop.run_until_complete(main(which))
        assert [category for category, _ in caught] == [RuntimeWarning]
        assert "was never awaited" in caught[0][1]
        assert len(tasks) == (which is loop)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("source", ["call_soon", "call_later", "threadsafe", "task"])
def test_base_exception_leaves_the_run(new_loop, error, source):
    """Point 4: SystemExit and KeyboardInterrupt from a callback or a task leave run_forever, which can be run again."""
    loop = new_loop()
    seen = []

    def callback():
        raise error("out")

    async def coroutine():
        raise error("out")

    if source == "call_soon":
        loop.call_soon(callback)
    elif source == "call_later":
        loop.call_later(0, callback)
    elif source == "threadsafe":
        loop.call_soon_threadsafe(callback)
    else:
        task = loop.create_task(coroutine())
    loop.call_later(0.001, seen.append, "later")
    with pytest.raises(error, match="out"):
        loop.run_forever()
    assert not loop.is_running() and asyncio._get_running_loop() is None
    assert sys.get_asyncgen_hooks() == (None, None)
    if source == "task":
        with pytest.raises(error):
            task.result()
    loop.call_later(0.002, loop.stop)
    loop.run_forever()
    assert seen == ["later"]


def test_what_was_ready_beside_a_base_exception_runs_in_the_next_run(new_loop):
    """Point 4: callbacks of the same batch that had not run yet are not lost."""
    loop = new_loop()
    seen = []

    def callback():
        raise SystemExit

    loop.call_soon(seen.append, 1)
    loop.call_soon(callback)
    loop.call_soon(seen.append, 2)
    with pytest.raises(SystemExit):
        loop.run_forever()
    assert seen == [1]
    loop.run_until_complete(answer())
    assert seen == [1, 2]


def test_done_callback_is_removed_after_a_base_exception(new_loop):
    """Point 4: the Future that run_until_complete waited for must not stop a later run."""
    loop = new_loop()
    future = loop.create_future()

    def callback():
        raise KeyboardInterrupt

    loop.call_soon(callback)
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(future)
    future.set_result(None)

    async def main():
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return "not stopped"

    assert loop.run_until_complete(main()) == "not stopped"


def test_task_raising_system_exit_leaves_run_until_complete(new_loop):
    """Point 4: the exception is that of the task, is raised once, and is not logged as never retrieved."""
    loop = new_loop()

    async def main():
        sys.exit(3)

    with pytest.raises(SystemExit) as caught:
        loop.run_until_complete(main())
    assert caught.value.code == 3
    gc.collect()
    assert loop.run_until_complete(answer(1)) == 1


def test_close(new_loop):
    """Point 11: closed, `_closed` says so; a second close() is fine."""
    loop = new_loop()
    assert loop._closed is False and not loop.is_closed()
    loop.run_until_complete(answer())
    loop.close()
    loop.close()
    assert loop._closed is True and loop.is_closed()
    assert "closed=True" in repr(loop) and "running=False" in repr(loop)


def test_close_while_running(new_loop):
    """Point 11: RuntimeError, and the loop goes on."""
    loop = new_loop()

    async def main():
        with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
            loop.close()
        await asyncio.sleep(0)
        return loop.is_closed()

    assert loop.run_until_complete(main()) is False


CALLS = {
    "call_soon": lambda loop: loop.call_soon(print),
    "call_soon_threadsafe": lambda loop: loop.call_soon_threadsafe(print),
    "call_later": lambda loop: loop.call_later(1, print),
    "call_at": lambda loop: loop.call_at(1, print),
    "add_reader": lambda loop: loop.add_reader(0, print),
    "add_writer": lambda loop: loop.add_writer(1, print),
    "run_in_executor": lambda loop: loop.run_in_executor(None, print),
    "run_forever": lambda loop: loop.run_forever(),
    "run_until_complete": lambda loop: loop.run_until_complete(None),
    "add_signal_handler": lambda loop: loop.add_signal_handler(10, print),
}


@pytest.mark.parametrize("name", CALLS)
def test_closed_loop_refuses_calls(new_loop, name):
    """Point 11: "Event loop is closed" from everything that would schedule something."""
    loop = new_loop()
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        CALLS[name](loop)


def test_closed_loop_refuses_tasks(new_loop):
    """Point 11: create_task too, and the coroutine stays the caller's."""
    loop = new_loop()
    loop.close()
    coroutine = answer()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.create_task(coroutine)
    coroutine.close()


def test_close_drops_what_was_scheduled(new_loop):
    """Point 11: handles still waiting are dropped, with what they hold; cancelling them afterwards is fine."""
    import weakref

    loop = new_loop()

    class Held:
        pass

    held = Held()
    alive = weakref.ref(held)
    loop.call_soon(print, held)
    loop.call_soon_threadsafe(print, held)
    loop.call_later(5, print, held)
    kept = [loop.call_soon(print), loop.call_later(5, print)]
    del held
    loop.close()
    gc.collect()
    assert alive() is None
    for handle in kept:
        handle.cancel()


def test_unclosed_loop_warns(loop_factory):
    """Point 11: a loop never closed gives a ResourceWarning that names it, and is closed then."""
    loop = loop_factory()
    text = repr(loop)
    with pytest.warns(ResourceWarning) as caught:
        del loop
        gc.collect()
    assert [str(w.message) for w in caught] == [f"unclosed event loop {text}"]


def test_closed_loop_leaves_nothing_that_warns(loop_factory):
    """Point 11: neither fds nor warnings are left by loops that ran and were closed (the fixtures count)."""
    for _ in range(20):
        loop = loop_factory()
        loop.call_soon_threadsafe(print)
        loop.call_later(100, print)
        loop.run_until_complete(answer())
        loop.close()
        del loop
    gc.collect()


def test_loop_is_collected_after_close(loop_factory):
    """Point 11: nothing global holds a closed loop, and handles that refer back to it are no obstacle."""
    import weakref

    loop = loop_factory()
    alive = weakref.ref(loop)
    loop.itself = loop
    loop.call_later(100, loop.stop)
    loop.run_until_complete(answer())
    loop.close()
    del loop
    gc.collect()
    assert alive() is None


def test_repr(new_loop):
    """repr names class and state."""
    loop = new_loop()
    text = repr(loop)
    assert text.startswith(f"<{type(loop).__name__} ")
    assert "running=False" in text and "closed=False" in text and "debug=False" in text


def test_coroutine_can_be_run_many_times(new_loop):
    """A loop is as good in its thousandth run as in its first."""
    loop = new_loop()
    for n in range(1000):
        assert loop.run_until_complete(answer(n)) == n


@pytest.mark.skipif(not hasattr(asyncio.BaseEventLoop, "_run_forever_setup"), reason="from 3.13 on")
def test_run_by_hand(new_loop):
    """What a toolkit with a loop of its own does: asyncio's turns between its own."""
    loop = new_loop()
    seen = []
    loop.call_soon(seen.append, "soon")
    loop._run_forever_setup()
    try:
        assert asyncio.get_running_loop() is loop and loop.is_running()
        loop._run_once()
        assert seen == ["soon"]
        task = loop.create_task(answer("task"))
        while not task.done():
            loop._run_once()
    finally:
        loop._run_forever_cleanup()
    assert task.result() == "task"
    assert not loop.is_running()
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    assert loop.run_until_complete(answer("after")) == "after"


def test_handle_given_to_the_loop_by_hand(new_loop):
    """`_add_callback`, by which stock's own poll hands over what is ready: some loops derived from it call it, too."""
    loop = new_loop()
    seen = []
    handle = asyncio.Handle(seen.append, ("run",), loop)
    cancelled = asyncio.Handle(seen.append, ("cancelled",), loop)
    cancelled.cancel()
    loop._add_callback(handle)
    loop._add_callback(cancelled)
    loop.run_until_complete(answer())
    loop.run_until_complete(answer())
    assert seen == ["run"]
