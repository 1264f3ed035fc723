"""An asyncio awaitable as Twisted code sees it: results, failures and their tracebacks, contexts, what is kept alive."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import gc
import types
import weakref

import pytest
from bridge_support import Told, fail, functions_in, turns
from twisted.internet import defer
from twisted.internet.defer import Deferred, ensureDeferred, inlineCallbacks
from twisted.python.failure import Failure

from interloop.bridge import as_deferred


class Thing:
    """A result that can be watched: it can be weakly referred to."""


class Awaitable:
    def __init__(self, coroutine) -> None:
        self.coroutine = coroutine

    def __await__(self):
        return self.coroutine.__await__()


@types.coroutine
def old_style(coroutine):
    return (yield from coroutine)


async def answer(value=None):
    await asyncio.sleep(0)
    return value


async def wait_until_called(deferred: Deferred) -> object:
    """Waits for a Deferred by its own means: what it was called back with, failures included."""
    called = asyncio.get_running_loop().create_future()
    deferred.addBoth(called.set_result)
    return await called


KINDS = {
    "coroutine": lambda coroutine: coroutine,
    "task": asyncio.ensure_future,
    "future": lambda coroutine: asyncio.gather(coroutine),
    "awaitable": Awaitable,
    "generator": old_style,
}


@pytest.mark.parametrize("kind", KINDS)
def test_result_arrives(run, kind):
    """From anything that asyncio code can await: the very object."""
    thing = Thing()

    async def main():
        deferred = as_deferred(KINDS[kind](answer(thing)))
        assert isinstance(deferred, Deferred)
        assert not deferred.called
        result = await wait_until_called(deferred)
        assert result is thing or result == [thing]

    run(main)


@pytest.mark.parametrize("value", [None, 0, False, (), ("a", "b"), {}], ids=repr)
def test_any_result_arrives(run, value):
    async def main():
        assert await wait_until_called(as_deferred(answer(value))) is value

    run(main)


def test_done_future_gives_a_fired_deferred(run):
    """Without a turn of the loop; with its result, its exception, its cancellation."""
    seen = []

    async def main():
        futures = [asyncio.get_running_loop().create_future() for _ in range(3)]
        futures[0].set_result("here")
        futures[1].set_exception(Told("there"))
        futures[2].cancel("nowhere")
        for future in futures:
            as_deferred(future).addBoth(seen.append)
        assert seen[0] == "here"
        assert str(seen[1].value) == "there"
        assert isinstance(seen[2].value, defer.CancelledError)
        assert str(seen[2].value) == "nowhere"

    run(main)


def test_deferred_is_returned_as_it_is(run):
    async def main():
        deferred = Deferred()
        assert as_deferred(deferred) is deferred

    run(main)


def test_coroutine_that_returns_a_deferred(run):
    """It is waited for, as one that a callback returns."""

    async def main():
        inner = Deferred()
        deferred = as_deferred(answer(inner))
        await turns()
        seen = []
        deferred.addCallback(seen.append)
        assert seen == []
        inner.callback("inner result")
        assert seen == ["inner result"]

    run(main)


def test_failure_arrives_with_its_traceback(run):
    """The exception itself, and in the Failure every function from the coroutine to the one that raised."""

    async def failing():
        await answer()
        fail("told")

    async def main():
        failure = await wait_until_called(as_deferred(failing()))
        assert isinstance(failure, Failure)
        assert failure.check(Told)
        assert functions_in(failure.value) == ["failing", "fail"]
        assert [frame[0] for frame in failure.frames] == ["failing", "fail"]
        assert "in fail\n" in failure.getTraceback()

    run(main)


def test_a_failure_nobody_handles_is_reported_by_twisted(run, twisted_log):
    """It is the Deferred's now, so Twisted reports it, with its traceback, and asyncio does not."""

    async def failing():
        fail("unseen")

    async def main():
        deferred = as_deferred(failing())
        deferred.addCallback(lambda _: pytest.fail("called with a failure"))
        await turns()

    run(main)
    gc.collect()
    failure = twisted_log.take(Told)
    assert str(failure.value) == "unseen"
    assert "in failing\n" in failure.getTraceback()


def test_task_that_others_await_too(run):
    """The Deferred takes nothing away from them."""

    async def failing():
        await answer()
        fail("told")

    async def main():
        task = asyncio.create_task(failing())
        deferred = as_deferred(task)
        with pytest.raises(Told):
            await task
        failure = await wait_until_called(deferred)
        assert failure.value is task.exception()

    run(main)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_base_exceptions_go_on(new_loop, kind):
    """They leave the run, as from any task; the Deferred gets them in the next one."""
    seen = []

    async def ending():
        raise kind("the end")

    async def start():
        as_deferred(ending()).addErrback(seen.append)
        await asyncio.get_running_loop().create_future()

    loop = new_loop()
    task = loop.create_task(start())
    with pytest.raises(kind, match="the end"):
        loop.run_until_complete(task)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    assert [type(failure.value) for failure in seen] == [kind]


def test_failure_raised_in_a_coroutine(run):
    """A Twisted Failure is an exception too: it is not wrapped in another one."""

    async def failing():
        raise Failure(Told("inside"))

    async def main():
        failure = await wait_until_called(as_deferred(failing()))
        assert failure.check(Told)
        assert str(failure.value) == "inside"

    run(main)


def test_in_twisted_coroutines(run):
    """inlineCallbacks and ensureDeferred wait for it, and see its exceptions where they wait."""

    async def failing():
        await answer()
        fail("told")

    @inlineCallbacks
    def generator():
        first = yield as_deferred(answer(1))
        second = yield as_deferred(answer(2))
        try:
            yield as_deferred(failing())
        except Told as exc:
            return first, second, functions_in(exc)[-1]

    async def coroutine():
        first = await as_deferred(answer(1))
        second = await as_deferred(answer(2))
        try:
            await as_deferred(failing())
        except Told as exc:
            return first, second, functions_in(exc)[-1]

    async def main():
        assert await wait_until_called(generator()) == (1, 2, "fail")
        assert await wait_until_called(ensureDeferred(coroutine())) == (1, 2, "fail")

    run(main)


def test_deferred_list(run):
    async def failing():
        fail("told")

    async def main():
        both = defer.DeferredList(
            [as_deferred(answer(1)), as_deferred(failing())], consumeErrors=True
        )
        (ok, value), (not_ok, failure) = await wait_until_called(both)
        assert (ok, value, not_ok) == (True, 1, False)
        assert failure.check(Told)

    run(main)


def test_contexts(run):
    """The coroutine runs in a copy of the caller's context; what it sets there stays there."""
    var = contextvars.ContextVar("var", default="unset")
    seen = {}

    async def coroutine():
        seen["coroutine"] = var.get()
        var.set("the coroutine's")
        await asyncio.sleep(0)
        seen["later"] = var.get()

    async def main():
        var.set("the caller's")
        deferred = as_deferred(coroutine())
        deferred.addCallback(lambda _: seen.__setitem__("callback", var.get()))
        var.set("set afterwards")
        await wait_until_called(deferred)

    run(main)
    assert seen == {
        "coroutine": "the caller's",
        "later": "the coroutine's",
        "callback": "the caller's",
    }


def test_dropped_deferred_does_not_end_its_task(run):
    """The loop knows its tasks by weak reference only, so a fire-and-forget task would be collected."""
    happened = []

    async def main():
        loop = asyncio.get_running_loop()

        async def background():
            # Nobody but this frame knows the Future, and nobody but the Future knows this task.
            future = loop.create_future()
            background.future = weakref.ref(future)
            happened.append(await future)

        as_deferred(background())
        await turns()
        gc.collect()
        background.future().set_result("still there")
        await turns()

    run(main)
    assert happened == ["still there"]


def test_loop_closed_before_the_task_ended(loop_factory, asyncio_log):
    """Then the task is not kept alive by a bridge that waits for ever: asyncio tells that it was pending."""
    loop = loop_factory()
    gone = weakref.ref(loop)

    async def never():
        await asyncio.get_running_loop().create_future()

    async def start():
        as_deferred(never())

    loop.run_until_complete(start())
    loop.close()
    del loop
    gc.collect()
    asyncio_log.take("Task was destroyed but it is pending!")
    assert gone() is None


def test_nothing_is_kept_for_a_task_that_ended(run, no_gc):
    async def main():
        thing = Thing()
        gone = weakref.ref(thing)
        deferred = as_deferred(answer(thing))
        assert await wait_until_called(deferred) is thing
        del thing
        await turns()  # the handle that woke this task up has the Future with the result
        assert gone() is None  # the Deferred's result went on, and nobody else has it

        coroutine = answer()
        gone = weakref.ref(coroutine)
        deferred = as_deferred(coroutine)
        del coroutine
        await wait_until_called(deferred)
        await turns()
        assert gone() is None  # though the Deferred is still here

    run(main)


def test_nothing_holds_the_failure(run, no_gc):
    async def failing():
        fail("told")

    async def main():
        seen = []
        as_deferred(failing()).addErrback(lambda failure: seen.append(weakref.ref(failure.value)))
        await turns()
        assert seen[0]() is None

    run(main)


def test_nothing_is_held_after_a_cancellation(run, no_gc):
    async def waiting(thing):
        await asyncio.get_running_loop().create_future()

    async def main():
        thing = Thing()
        gone = weakref.ref(thing)
        deferred = as_deferred(waiting(thing))
        await turns()
        deferred.cancel()
        failure = await wait_until_called(deferred)
        assert failure.check(defer.CancelledError)
        del thing, failure
        await turns()
        assert gone() is None  # though the Deferred is still here

    run(main)


def test_refused(run):
    """What cannot be awaited, with a word on what to do instead."""

    async def main():
        for wrong in None, 1, "text", answer:
            with pytest.raises(TypeError, match="takes an awaitable, not"):
                as_deferred(wrong)
        with pytest.raises(TypeError, match=r"not 'Future'; asyncio\.wrap_future\(\)"):
            as_deferred(concurrent.futures.Future())

    run(main)
