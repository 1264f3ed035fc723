"""Point 8: debug mode. What it checks, what it logs, how it is switched on, and that it leaves nothing behind."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import os
import subprocess
import sys
import threading

import pytest
from aio_support import Contexts, turns


def noop(*args):
    pass


async def coroutine_function():
    pass


METHODS = {
    "call_soon": lambda loop, callback: loop.call_soon(callback),
    "call_later": lambda loop, callback: loop.call_later(1, callback),
    "call_at": lambda loop, callback: loop.call_at(1, callback),
    "call_soon_threadsafe": lambda loop, callback: loop.call_soon_threadsafe(callback),
    "run_in_executor": lambda loop, callback: loop.run_in_executor(None, callback),
}
# Stock's call_later checks by way of call_at, and names that.
NAMES = {**{name: [name] for name in METHODS}, "call_later": ["call_later", "call_at"]}


def in_thread(function):
    """Calls `function` in another thread; what it raised, or None."""
    caught = []

    def target():
        try:
            function()
        except BaseException as exc:  # given back
            caught.append(exc)
        else:
            caught.append(None)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    return caught[0]


@pytest.mark.parametrize("method", ["call_soon", "call_later", "call_at"])
def test_wrong_thread(run, method):
    """Scheduling from a thread that is not the loop's raises there, and schedules nothing."""

    async def main():
        loop = asyncio.get_running_loop()
        ran = []
        exc = in_thread(lambda: METHODS[method](loop, lambda: ran.append(1)))
        assert type(exc) is RuntimeError
        assert str(exc) == (
            "Non-thread-safe operation invoked on an event loop other than the current one"
        )
        assert in_thread(lambda: loop.call_soon_threadsafe(noop)) is None
        await turns()
        assert ran == [] and len(loop._scheduled) == 0

    run(main, debug=True)


def test_wrong_thread_is_not_checked_while_the_loop_does_not_run(new_loop):
    """A loop that does not run belongs to no thread: it may be set up in one and run in another."""
    loop = new_loop()
    loop.set_debug(True)
    seen = []
    assert in_thread(lambda: loop.call_soon(seen.append, 1)) is None
    loop.run_until_complete(asyncio.sleep(0))
    assert seen == [1]


def test_future_callbacks_from_the_wrong_thread(run):
    """A Future completed from another thread schedules by call_soon, which tells in debug mode."""

    async def main():
        future = asyncio.get_running_loop().create_future()
        future.add_done_callback(noop)
        assert isinstance(in_thread(lambda: future.set_result(1)), RuntimeError)

    run(main, debug=True)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("wrong", [None, 1, "text", object()], ids=["None", "int", "str", "object"])
def test_not_callable(run, method, wrong):
    """TypeError with the method's name and the object."""

    async def main():
        with pytest.raises(TypeError) as caught:
            METHODS[method](asyncio.get_running_loop(), wrong)
        assert str(caught.value) in [
            f"a callable object was expected by {name}(), got {wrong!r}" for name in NAMES[method]
        ]

    run(main, debug=True)


@pytest.mark.parametrize("method", METHODS)
def test_coroutines_are_refused(run, method):
    """TypeError for coroutine functions and for coroutines, which people pass by mistake."""

    async def main():
        loop = asyncio.get_running_loop()
        message = rf"^coroutines cannot be used with ({'|'.join(NAMES[method])})\(\)$"
        with pytest.raises(TypeError, match=message):
            METHODS[method](loop, coroutine_function)
        coroutine = coroutine_function()
        with pytest.raises(TypeError, match=message):
            METHODS[method](loop, coroutine)
        coroutine.close()

    run(main, debug=True)


def test_without_debug_mode_nothing_is_checked(run):
    """The checks cost time: they are off by default. What is not callable then fails when it is called."""

    async def main():
        loop = asyncio.get_running_loop()
        contexts = []
        loop.set_exception_handler(lambda loop, context: contexts.append(context))
        loop.call_soon(1)
        assert in_thread(lambda: loop.call_soon(noop)) is None
        await turns()
        assert [type(context["exception"]) for context in contexts] == [TypeError]

    run(main, debug=False)


@pytest.mark.parametrize("source", ["call_soon", "call_later", "task", "reader"])
def test_slow_callbacks_are_logged(run, source, asyncio_log):
    """Exactly this format, which anyio filters on, with what was slow and how slow it was."""
    import socket

    async def slow_coroutine():
        pass

    async def main():
        loop = asyncio.get_running_loop()
        loop.slow_callback_duration = 0.0  # all are slow now
        done = loop.create_future()
        one, other = socket.socketpair()

        def slow_callback():
            if not done.done():
                done.set_result(None)

        with one, other:
            if source == "call_soon":
                loop.call_soon(slow_callback)
            elif source == "call_later":
                loop.call_later(0, slow_callback)
            elif source == "reader":
                other.send(b"x")
                loop.add_reader(one, slow_callback)
            else:
                await loop.create_task(slow_coroutine(), name="slow one")
                done.set_result(None)
            await done
            loop.slow_callback_duration = 1000.0
            await turns(2)
            loop.remove_reader(one)

    run(main, debug=True)
    name = "slow one" if source == "task" else "slow_callback"
    records = [record for record in asyncio_log.records if name in record.getMessage()]
    assert records
    for record in records:
        assert record.msg == "Executing %s took %.3f seconds"
        assert record.levelno == logging.WARNING
        assert record.name == "asyncio"
        what, seconds = record.args
        assert isinstance(what, str) and seconds >= 0.0
    assert any(
        record.args[0].startswith("<Task finished" if source == "task" else "<")
        for record in records
    )
    assert {record.msg for record in asyncio_log.records} == {"Executing %s took %.3f seconds"}
    asyncio_log.records.clear()


def test_default_slow_callback_duration(new_loop):
    """A tenth of a second, in seconds, and settable."""
    loop = new_loop()
    assert loop.slow_callback_duration == 0.1
    loop.slow_callback_duration = 0.5
    assert loop.slow_callback_duration == 0.5


def test_quick_callbacks_are_not_logged(run, asyncio_log):
    """With a duration nothing reaches, nothing is logged."""

    async def main():
        asyncio.get_running_loop().slow_callback_duration = 1e9
        await turns(2)
        asyncio_log.records.clear()  # of the step that made the loop, and set this
        await turns()
        assert asyncio_log.texts() == []

    run(main, debug=True)


def test_cancelled_slow_handle_keeps_its_name(run, asyncio_log):
    """A callback that cancels its own handle is still named in the log: debug mode keeps the repr."""

    async def main():
        loop = asyncio.get_running_loop()
        loop.slow_callback_duration = 0.0

        def cancels_itself():
            handle.cancel()

        handle = loop.call_soon(cancels_itself)
        await turns(2)
        loop.slow_callback_duration = 1e9

    run(main, debug=True)
    asyncio_log.take("cancels_itself")
    asyncio_log.records.clear()


def test_source_tracebacks(run):
    """Handles and tasks end in the frame of the user's call, futures have it too."""

    async def main():
        loop = asyncio.get_running_loop()
        made = {
            "call_soon": loop.call_soon(noop),
            "call_soon_threadsafe": loop.call_soon_threadsafe(noop),
            "call_later": loop.call_later(1, noop),
            "call_at": loop.call_at(1, noop),
            "create_task": loop.create_task(turns()),
        }
        await made["create_task"]
        frames = loop.create_future()._source_traceback
        assert (
            "create_future" in [frame.line for frame in frames if "test_aio" in frame.filename][-1]
        )
        return {name: thing._source_traceback[-1] for name, thing in made.items()}

    for name, frame in run(main, debug=True).items():
        assert os.path.basename(frame.filename) == "test_aio_debug.py", (name, frame)
        assert name in frame.line


def test_without_debug_mode_no_tracebacks(run):
    """They are expensive: none without debug mode."""

    async def main():
        loop = asyncio.get_running_loop()
        task = loop.create_task(turns())
        await task
        for thing in (loop.call_soon(noop), loop.call_later(0, noop), loop.create_future(), task):
            assert not thing._source_traceback

    run(main, debug=False)


def test_origin_tracking(new_loop):
    """Coroutines tell where they were created while a debug loop runs; the depth is put back after the run."""
    loop = new_loop()
    before = sys.get_coroutine_origin_tracking_depth()
    assert before == 0

    async def main():
        coroutine = coroutine_function()
        await coroutine
        return sys.get_coroutine_origin_tracking_depth(), coroutine.cr_origin

    loop.set_debug(True)
    assert sys.get_coroutine_origin_tracking_depth() == before
    depth, origin = loop.run_until_complete(main())
    assert depth > 0 and origin
    assert sys.get_coroutine_origin_tracking_depth() == before
    loop.set_debug(False)
    assert loop.run_until_complete(main()) == (before, None)


def test_origin_tracking_is_put_back_after_an_error(new_loop):
    """Also when the run ends by an exception."""
    loop = new_loop()
    loop.set_debug(True)
    loop.call_soon(sys.exit)
    with pytest.raises(SystemExit):
        loop.run_forever()
    assert sys.get_coroutine_origin_tracking_depth() == 0


def test_origin_tracking_depth_of_others_is_put_back(new_loop):
    """A depth set by somebody else comes back as it was, not as 0."""
    loop = new_loop()
    loop.set_debug(True)
    sys.set_coroutine_origin_tracking_depth(3)
    try:
        loop.run_until_complete(asyncio.sleep(0))
        assert sys.get_coroutine_origin_tracking_depth() == 3
    finally:
        sys.set_coroutine_origin_tracking_depth(0)


def test_set_debug_while_running_takes_effect(run):
    """Switched on during a run: checks at once, origin tracking in the next turn; and off again."""

    async def main():
        loop = asyncio.get_running_loop()
        assert loop.get_debug() is False
        loop.set_debug(True)
        assert loop.get_debug() is True
        with pytest.raises(TypeError):
            loop.call_soon(1)
        await turns(2)
        assert sys.get_coroutine_origin_tracking_depth() > 0
        assert loop.call_soon(noop)._source_traceback
        loop.set_debug(False)
        await turns(2)
        assert sys.get_coroutine_origin_tracking_depth() == 0
        assert not loop.call_soon(noop)._source_traceback

    run(main, debug=False)


@pytest.mark.parametrize("how", ["nothing", "variable", "-X dev", "-E"])
def test_how_it_is_switched_on(loop_kind, how):
    """PYTHONASYNCIODEBUG and -X dev set it for every loop made; -E ignores the variable."""
    make = {
        "stock": "import asyncio as m; loop = m.SelectorEventLoop()",
        "interloop": "import interloop as m; loop = m.new_event_loop()",
        "uvloop": "import uvloop as m; loop = m.new_event_loop()",
    }[loop_kind]
    env = {key: value for key, value in os.environ.items() if key != "PYTHONASYNCIODEBUG"}
    if how in ("variable", "-E"):
        env["PYTHONASYNCIODEBUG"] = "1"
    flags = {"-X dev": ["-X", "dev"], "-E": ["-E"]}.get(how, [])
    code = f"{make}; print(loop.get_debug()); loop.set_debug(not loop.get_debug()); loop.close()"
    done = subprocess.run(
        [sys.executable, *flags, "-c", code], env=env, capture_output=True, text=True, timeout=50
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == str(how in ("variable", "-X dev"))


def test_check_callback_accepts_all_that_is_callable(run):
    """Partials, methods, classes and objects with __call__ pass the check."""

    class Callable:
        def __call__(self):
            pass

    async def main():
        loop = asyncio.get_running_loop()
        for callback in (
            functools.partial(noop, 1),
            Callable(),
            Callable().__call__,
            dict,
            [].clear,
        ):
            loop.call_soon(callback)
        await turns(2)

    run(main, debug=True)


def test_internal_checks_can_be_replaced(new_loop):
    """test_asyncio mocks `_check_thread` and `_check_callback` on the instance: the calls go through it."""
    loop = new_loop()
    loop.set_debug(True)
    seen = []
    loop._check_callback = lambda callback, method: seen.append(method)
    loop._check_thread = lambda: seen.append("thread")
    loop.call_soon(noop)
    assert seen == ["thread", "call_soon"]
    del loop._check_callback, loop._check_thread


async def fail():
    raise LookupError("nobody asks")


async def wait_for_ever():
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (fail, "Task exception was never retrieved"),
        (wait_for_ever, "Task was destroyed but it is pending!"),
    ],
)
def test_what_was_lost_tells_where_it_was_made(run, made, message):
    """Reports of tasks that nobody keeps have the stack of their making."""

    async def main():
        contexts = Contexts(asyncio.get_running_loop())
        task = asyncio.create_task(made())
        await turns()
        del task
        gc.collect()
        (context,) = contexts
        assert context["message"] == message
        assert "main" in [frame.name for frame in context["source_traceback"]]

    run(main, debug=True)


def test_a_coroutine_that_was_never_awaited_tells_where_it_was_made(run):
    """RuntimeWarning with the stack, since origins are tracked in debug mode."""

    async def main():
        with pytest.warns(RuntimeWarning, match="was never awaited") as caught:
            fail()
            gc.collect()
        assert "Coroutine created at" in str(caught[0].message)
        assert "in main" in str(caught[0].message)

    run(main, debug=True)
