"""A Deferred as asyncio code sees it: results, failures and their tracebacks, contexts, what is kept alive."""

from __future__ import annotations

import asyncio
import contextvars
import traceback
import weakref

import pytest
from bridge_support import Told, fail, functions_in
from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from interloop.bridge import as_future


class Thing:
    """A result that can be watched: it can be weakly referred to."""


def test_result_arrives(run):
    """The very object the Deferred is fired with."""
    thing = Thing()

    async def main():
        deferred = Deferred()
        future = as_future(deferred)
        assert isinstance(future, asyncio.Future)
        assert future.get_loop() is asyncio.get_running_loop()
        assert not future.done()
        asyncio.get_running_loop().call_soon(deferred.callback, thing)
        assert await future is thing

    run(main)


@pytest.mark.parametrize("value", [None, 0, False, (), ("a", "b"), {}], ids=repr)
def test_any_result_arrives(run, value):
    """Also what is false, and what looks like arguments."""

    async def main():
        assert await as_future(defer.succeed(value)) is value

    run(main)


def test_fired_deferred_gives_a_done_future(run):
    """No turn of the loop is needed."""

    async def main():
        future = as_future(defer.succeed("here"))
        assert future.done()
        assert future.result() == "here"
        failed = as_future(defer.fail(Told("there")))
        assert failed.done()
        assert str(failed.exception()) == "there"

    run(main)


def test_callbacks_added_before_come_first(run):
    """The Future completes with what the chain makes of the result, waiting where the chain waits."""

    async def main():
        deferred, inner = Deferred(), Deferred()
        deferred.addCallback(lambda number: number + 1)
        deferred.addCallback(lambda number: inner.addCallback(lambda more: number + more))
        future = as_future(deferred)
        deferred.callback(1)
        assert not future.done()
        inner.callback(40)
        assert await future == 42

    run(main)


def test_paused_deferred_completes_when_it_goes_on(run):
    async def main():
        deferred = Deferred()
        deferred.pause()
        deferred.callback("late")
        future = as_future(deferred)
        assert not future.done()
        deferred.unpause()
        assert future.result() == "late"

    run(main)


def test_deferred_is_taken_over(run):
    """Callbacks added afterwards see None: the result, or the failure, has gone to the Future."""
    seen = []

    async def main():
        for deferred in defer.succeed("a"), defer.fail(Told("b")), Deferred(), Deferred():
            future = as_future(deferred)
            deferred.addBoth(seen.append)
            if not deferred.called:
                deferred.callback("c") if len(seen) == 2 else deferred.errback(Told("d"))
            await asyncio.wait([future])
            future.exception()

    run(main)
    assert seen == [None] * 4


def test_failure_arrives_with_its_traceback(run):
    """The exception itself is raised in the coroutine; the traceback goes on to the function that raised it."""

    async def main():
        deferred = Deferred().addCallback(fail)
        future = as_future(deferred)
        deferred.callback("told")
        with pytest.raises(Told, match="told") as caught:
            await future
        assert functions_in(caught.value)[0] == "main"
        assert functions_in(caught.value)[-1] == "fail"

    run(main)


def test_traceback_is_the_failures(run):
    """Where the exception itself has lost its traceback, the Failure's is used, as raiseException() does."""

    async def main():
        try:
            fail("told")
        except Told:
            failure = Failure()
        failure.value.__traceback__ = None
        with pytest.raises(Told) as caught:
            await as_future(defer.fail(failure))
        assert functions_in(caught.value)[-1] == "fail"

    run(main)


def test_cleaned_failure_keeps_its_frames_as_text(run):
    """cleanFailure() leaves only names and lines. They come along as a note, once however often it crosses."""

    async def main():
        try:
            fail("told")
        except Told:
            failure = Failure()
        failure.cleanFailure()
        for _ in range(2):
            with pytest.raises(Told) as caught:
                await as_future(defer.fail(failure))
        text = "".join(traceback.format_exception(caught.value))
        assert text.count("in fail\n") == 1, text

    run(main)


def test_failure_without_traceback(run):
    """errback(exception) of an exception never raised: there is no traceback, and none is made up."""

    async def main():
        with pytest.raises(Told) as caught:
            await as_future(defer.fail(Told("never raised")))
        assert functions_in(caught.value)[0] == "main"
        assert not hasattr(caught.value, "__notes__")

    run(main)


def test_failure_that_is_no_exception(run):
    """Twisted takes any object as a failure."""

    async def main():
        with pytest.raises(RuntimeError, match=r"'just text'.*not an exception"):
            await as_future(defer.fail(Failure("just text")))

    run(main)


def test_stop_iteration_does_not_end_the_coroutine(run):
    """No Future may raise StopIteration; on 3.11 stock asFuture() never completes here."""

    async def main():
        deferred = Deferred().addCallback(lambda _: next(iter(())))
        future = as_future(deferred)
        deferred.callback(None)
        with pytest.raises(RuntimeError, match="StopIteration") as caught:
            await future
        assert isinstance(caught.value.__cause__, StopIteration)
        assert "<lambda>" in functions_in(caught.value.__cause__)

    run(main)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_base_exceptions_are_kept(run, kind):
    async def main():
        exception = kind("deep")
        assert as_future(defer.fail(exception)).exception() is exception

    run(main)


def test_a_failure_nobody_looks_at_is_reported_by_asyncio(run, asyncio_log):
    """It is the Future's now, so asyncio reports it, and Twisted does not."""

    async def main():
        deferred = Deferred()
        as_future(deferred)
        deferred.errback(Told("unseen"))

    run(main)
    assert str(asyncio_log.take("exception was never retrieved").exc_info[1]) == "unseen"


def test_future_completed_by_somebody_else(run, twisted_log):
    """Then the Deferred keeps its result, and its failure is not lost."""
    seen = []

    async def main():
        for _ in range(2):
            deferred = Deferred()
            future = as_future(deferred)
            future.set_result("from outside")
            deferred.addCallback(seen.append)
            if not seen:
                deferred.callback("from inside")
            else:
                deferred.errback(Told("from inside"))
            assert await future == "from outside"

    run(main)
    assert seen == ["from inside"]
    assert str(twisted_log.take(Told).value) == "from inside"


def test_works_where_futures_work(run):
    """gather, wait, wait_for, shield, as_completed, TaskGroup, run_until_complete."""

    async def main():
        loop = asyncio.get_running_loop()

        def soon(value):
            deferred = Deferred()
            loop.call_soon(deferred.callback, value)
            return as_future(deferred)

        assert await asyncio.gather(soon(1), soon(2)) == [1, 2]
        done, pending = await asyncio.wait([soon(3)])
        assert [future.result() for future in done] == [3]
        assert not pending
        assert await asyncio.wait_for(soon(4), None) == 4
        assert await asyncio.wait_for(soon(5), 3600) == 5
        assert await asyncio.shield(soon(6)) == 6
        assert [await next_one for next_one in asyncio.as_completed([soon(7)])] == [7]

        async def wait_for_it(value):
            return await soon(value)

        async with asyncio.TaskGroup() as group:
            task = group.create_task(wait_for_it(8))
        assert task.result() == 8

    run(main)


def test_contexts(run):
    """The Deferred's callbacks run in the firer's context, the Future's in that of who added them, the task in its own."""
    var = contextvars.ContextVar("var", default="unset")
    seen = {}

    async def waiter(future):
        var.set("the task's")
        await future
        seen["task"] = var.get()

    async def main():
        var.set("the caller's")
        deferred = Deferred()
        deferred.addCallback(lambda _: seen.__setitem__("before", var.get()))
        future = as_future(deferred)
        deferred.addCallback(lambda _: seen.__setitem__("after", var.get()))
        future.add_done_callback(lambda _: seen.__setitem__("done", var.get()))
        task = asyncio.create_task(waiter(future))
        firing = contextvars.copy_context()
        firing.run(var.set, "the firer's")
        asyncio.get_running_loop().call_soon(deferred.callback, None, context=firing)
        await task

    run(main)
    assert seen == {
        "before": "the firer's",
        "after": "the firer's",
        "done": "the caller's",
        "task": "the task's",
    }


def test_nothing_holds_the_result(run, no_gc):
    """The Deferred does not keep the result for the Future, nor the Future the Deferred: no cycles, either."""

    async def main():
        deferred, thing = Deferred(), Thing()
        future, gone = as_future(deferred), weakref.ref(thing)
        deferred.callback(thing)
        assert await future is thing
        del future, thing
        assert gone() is None  # though the Deferred is still here

        deferred = Deferred()
        future, gone = as_future(deferred), weakref.ref(deferred)
        deferred.callback(None)
        await future
        del deferred
        assert gone() is None  # though the Future is still here

    run(main)


def test_nothing_holds_the_failure(run, no_gc):
    async def main():
        deferred = Deferred().addCallback(fail)
        future = as_future(deferred)
        deferred.callback("told")
        try:
            await future
        except Told as exc:
            gone = weakref.ref(exc)
        del future
        assert gone() is None

    run(main)


def test_nothing_is_held_after_a_cancellation(run, no_gc):
    async def main():
        deferred, thing = Deferred(lambda deferred: None), Thing()
        deferred.thing, gone = thing, weakref.ref(thing)
        future = as_future(deferred)
        future.cancel()
        assert future.cancelled()
        del deferred, thing
        assert gone() is None

    run(main)


def test_refused(run):
    """What is not a Deferred, with a word on what to do instead."""

    async def answer():
        return 42

    async def main():
        coroutine = answer()
        with pytest.raises(
            TypeError, match=r"takes a Deferred, not 'coroutine'; use as_deferred\(\)"
        ):
            as_future(coroutine)
        assert await coroutine == 42
        for wrong in None, 1, "text", Deferred:
            with pytest.raises(TypeError, match="takes a Deferred, not"):
                as_future(wrong)

    run(main)
