"""Cancelling what `as_future` made: the canceller runs, clean-up is waited for, asyncio sees its own CancelledError."""

from __future__ import annotations

import asyncio
import gc

import pytest
from bridge_support import Told, fail, turns
from twisted.internet import defer
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectingCancelledError
from twisted.python.failure import Failure
from twisted.web.client import ResponseFailed, ResponseNeverReceived

from interloop.bridge import as_future


def test_cancel_runs_the_canceller(run):
    cancelled = []

    async def main():
        deferred = Deferred(cancelled.append)
        future = as_future(deferred)
        assert future.cancel() is True
        assert cancelled == [deferred]
        assert future.cancelled()
        assert future.cancel() is False
        with pytest.raises(asyncio.CancelledError):
            await future
        assert cancelled == [deferred]

    run(main)


def test_cancel_keeps_its_message(run):
    async def main():
        future = as_future(Deferred())
        future.cancel("because")
        with pytest.raises(asyncio.CancelledError, match="because"):
            await future

    run(main)


def test_done_future_cannot_be_cancelled(run):
    async def main():
        future = as_future(defer.succeed(1))
        assert future.cancel() is False
        assert await future == 1

    run(main)


def test_cancelling_the_task_that_waits(run):
    """The task's own cancellation, not an error that looks like one: the task ends cancelled."""
    cancelled = []

    async def wait(deferred):
        await as_future(deferred)

    async def main():
        task = asyncio.create_task(wait(Deferred(cancelled.append)))
        await turns()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    run(main)
    assert len(cancelled) == 1


def test_clean_up_is_waited_for(run):
    """An errback that answers the cancellation with another Deferred holds the task until that has fired."""
    happened = []

    async def wait(deferred):
        try:
            await as_future(deferred)
        finally:
            happened.append("task ends")

    async def main():
        cleaned = Deferred()
        deferred = Deferred(lambda _: happened.append("canceller"))

        def clean_up(failure):
            failure.trap(defer.CancelledError)
            happened.append("clean-up begins")
            return cleaned.addCallback(lambda _: failure)

        deferred.addErrback(clean_up)
        task = asyncio.create_task(wait(deferred))
        await turns()
        task.cancel()
        await turns()
        assert not task.done()
        assert happened == ["canceller", "clean-up begins"]
        happened.append("clean-up ends")
        cleaned.callback(None)
        await asyncio.wait([task])
        assert task.cancelled()

    run(main)
    assert happened == ["canceller", "clean-up begins", "clean-up ends", "task ends"]


def test_second_cancel_reaches_the_clean_up(run):
    """As a second Task.cancel() interrupts the first one's clean-up."""
    happened = []

    async def main():
        cleaned = Deferred(lambda _: happened.append("clean-up cancelled"))
        deferred = Deferred().addErrback(lambda failure: cleaned)
        future = as_future(deferred)
        assert future.cancel() is True
        assert not future.done()
        assert future.cancel() is True
        assert future.cancelled()

    run(main)
    assert happened == ["clean-up cancelled"]


def test_clean_up_that_fails(run):
    """Its error takes the place of the cancellation, as in a task."""

    async def main():
        deferred = Deferred().addErrback(lambda failure: fail("clean-up failed"))
        future = as_future(deferred)
        future.cancel()
        with pytest.raises(Told, match="clean-up failed"):
            await future

    run(main)


OTHER_WORDS = {
    "ConnectingCancelledError": lambda: ConnectingCancelledError(
        IPv4Address("TCP", "127.0.0.1", 1)
    ),
    "FirstError": lambda: defer.FirstError(Failure(defer.CancelledError()), 0),
    "FailureGroup": lambda: defer.FailureGroup(
        [Failure(Told("other")), Failure(defer.CancelledError())]
    ),
    "ResponseNeverReceived": lambda: ResponseNeverReceived([Failure(defer.CancelledError())]),
    "nested": lambda: defer.FirstError(
        Failure(ResponseFailed([Failure(defer.CancelledError())])), 0
    ),
}


@pytest.mark.parametrize("error", OTHER_WORDS)
def test_cancellation_in_other_words(run, error):
    """Libraries answer a cancel() with errors of their own: for the one who cancelled it is a cancellation.

    Else asyncio.timeout() around a treq request would raise ResponseNeverReceived, and no TimeoutError.
    """

    async def main():
        future = as_future(Deferred(lambda deferred: deferred.errback(OTHER_WORDS[error]())))
        future.cancel("because")
        with pytest.raises(asyncio.CancelledError, match="because"):
            await future

    run(main)


@pytest.mark.parametrize("error", OTHER_WORDS)
def test_other_words_unasked(run, error):
    """Where the Future was not cancelled these are errors: a time limit in the library, say."""

    async def main():
        exception = OTHER_WORDS[error]()
        with pytest.raises(type(exception)):
            await as_future(defer.fail(exception))

    run(main)


def test_no_other_words(run):
    """Errors with reasons that are none of a cancellation, or that are no Failures at all, stay what they are."""

    class Odd(Exception):
        reasons = "because"
        failures = (defer.CancelledError(),)
        subFailure = None

    async def main():
        for error in ResponseNeverReceived([Failure(Told("other"))]), Odd():
            future = as_future(Deferred(lambda deferred, error=error: deferred.errback(error)))
            future.cancel()
            with pytest.raises(type(error)):
                await future

    run(main)


@pytest.mark.parametrize("who", ["canceller", "errback"])
def test_swallowed_cancellation(run, who):
    """A Deferred that makes a result of its cancellation delivers the result, as a task that does so."""

    async def main():
        if who == "canceller":
            deferred = Deferred(lambda deferred: deferred.callback("a result"))
        else:
            deferred = Deferred().addErrback(lambda failure: "a result")
        future = as_future(deferred)
        assert future.cancel() is True
        assert not future.cancelled()
        assert await future == "a result"

    run(main)


def test_chained_deferred(run):
    """The Deferred that is waited on is cancelled, through any number of links."""
    cancelled = []

    async def main():
        innermost = Deferred(cancelled.append)
        middle = defer.succeed(None).addCallback(lambda _: innermost)
        outer = defer.succeed(None).addCallback(lambda _: middle)
        future = as_future(outer)
        assert future.cancel() is True
        assert cancelled == [innermost]
        assert future.cancelled()

    run(main)


def test_paused_and_not_fired(run):
    """It is cancelled; the Future waits for whoever paused it, until it is cancelled again."""

    async def main():
        for again in False, True:
            deferred = Deferred()
            future = as_future(deferred)
            deferred.pause()
            assert future.cancel() is True
            assert not future.done()
            if again:
                assert future.cancel() is True
                assert future.cancelled()
            deferred.unpause()
            assert future.cancelled()

    run(main)


@pytest.mark.parametrize("linked", [False, True], ids=["itself", "the one it waits for"])
def test_paused_and_fired(run, twisted_log, linked):
    """There is nothing to cancel any more, so the Future is cancelled at once. What was held stays with the Deferred."""
    kept = []

    async def main():
        for outcome in "a result", Told("an error"), defer.CancelledError():
            paused = Deferred()
            paused.pause()
            if isinstance(outcome, str):
                paused.callback(outcome)
            else:
                paused.errback(outcome)
            deferred = (
                defer.succeed(None).addCallback(lambda _, paused=paused: paused)
                if linked
                else paused
            )
            future = as_future(deferred)
            assert future.cancel() is True
            assert future.cancelled()
            paused.unpause()
            deferred.addCallback(kept.append)

    run(main)
    assert kept == ["a result", None]
    assert str(twisted_log.take(Told).value) == "an error"


def test_cancelled_by_one_of_its_own_callbacks(run):
    """While the Deferred runs its callbacks it has fired: the Future is cancelled, the result stays."""
    kept = []

    async def main():
        deferred = Deferred()
        deferred.addCallback(lambda result: (future.cancel(), result)[1])
        future = as_future(deferred)
        deferred.addCallback(kept.append)
        deferred.callback("a result")
        assert future.cancelled()

    run(main)
    assert kept == ["a result"]


def test_somebody_else_cancels_the_deferred(run):
    """asyncio's CancelledError, not Twisted's: `except asyncio.CancelledError` and Task.cancelled() tell the truth."""

    async def wait(future):
        await future

    async def main():
        deferred = Deferred(lambda deferred: deferred.errback(defer.CancelledError("by the owner")))
        future = as_future(deferred)
        task = asyncio.create_task(wait(future))
        await turns()
        deferred.cancel()
        assert future.cancelled()
        with pytest.raises(asyncio.CancelledError, match="by the owner"):
            await future
        await asyncio.wait([task])
        assert task.cancelled()

    run(main)


def test_failure_with_asyncios_cancelled_error(run):
    async def main():
        future = as_future(defer.fail(asyncio.CancelledError("from a task")))
        assert future.cancelled()
        with pytest.raises(asyncio.CancelledError, match="from a task"):
            await future

    run(main)


def test_deferred_without_canceller_may_fire_later(run):
    """Twisted lets it, once, and drops what it gets."""

    async def main():
        deferred = Deferred()
        future = as_future(deferred)
        future.cancel()
        deferred.callback("too late")
        with pytest.raises(defer.AlreadyCalledError):
            deferred.callback("once too often")

    run(main)


def test_canceller_that_raises(run, twisted_log):
    """Twisted leaves such a Deferred unfired. The error is reported, the Future cancelled; what comes late is not lost."""
    reported = []
    kept = []

    def report(loop, context):
        # Not the exception itself: its traceback refers to the Deferred, whose end is to be seen.
        reported.append(
            (context["message"], str(context["exception"]), context["future"].cancelled())
        )

    async def main():
        asyncio.get_running_loop().set_exception_handler(report)

        def canceller(deferred):
            fail("in the canceller")

        deferred, other = Deferred(canceller), Deferred(canceller)
        future, another = as_future(deferred), as_future(other)
        assert future.cancel() is True
        assert another.cancel() is True
        assert future.cancelled()
        assert another.cancelled()
        deferred.callback("late")
        deferred.addCallback(kept.append)
        other.errback(Told("late"))

    run(main)
    gc.collect()
    assert (
        reported
        == [("The canceller of a Deferred raised an exception", "in the canceller", False)] * 2
    )
    assert kept == ["late"]
    assert str(twisted_log.take(Told).value) == "late"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_canceller_that_wants_to_end_the_program(new_loop, kind):
    """Not an error of the canceller: it goes through."""

    def canceller(deferred):
        raise kind

    loop = new_loop()
    future = as_future(Deferred(canceller), loop=loop)
    with pytest.raises(kind):
        future.cancel()
    assert not future.done()


def test_timeout(run):
    """asyncio.timeout() and wait_for() cancel the Deferred, and raise TimeoutError only after its clean-up."""

    async def main():
        loop = asyncio.get_running_loop()
        for in_time in False, True:
            happened = []
            cleaned = Deferred()
            deferred = Deferred(lambda _, happened=happened: happened.append("canceller"))
            deferred.addErrback(
                lambda failure, cleaned=cleaned: cleaned.addCallback(lambda _: failure)
            )

            def finish(happened=happened, cleaned=cleaned):
                if "canceller" not in happened:
                    loop.call_soon(finish)
                    return
                happened.append("clean-up")
                cleaned.callback(None)

            loop.call_soon(finish)
            with pytest.raises(TimeoutError):
                if in_time:
                    async with asyncio.timeout(0):
                        await as_future(deferred)
                else:
                    # Not 0, for which wait_for() does not even begin to wait.
                    await asyncio.wait_for(as_future(deferred), 1e-9)
            assert happened == ["canceller", "clean-up"]

    run(main)


def test_task_group(run):
    """A task that fails cancels the Deferred another one waits for, and the group waits for its clean-up."""
    happened = []

    async def wait(deferred):
        try:
            await as_future(deferred)
        finally:
            happened.append("waiter ends")

    async def main():
        deferred = Deferred(lambda _: happened.append("canceller"))
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                group.create_task(wait(deferred))
                await turns()
                fail("in the group")
        assert [str(exc) for exc in caught.value.exceptions] == ["in the group"]

    run(main)
    assert happened == ["canceller", "waiter ends"]


def test_gather_and_shield(run):
    """gather() passes a cancel on, shield() does not."""
    cancelled = []

    async def main():
        one, other = Deferred(cancelled.append), Deferred(cancelled.append)
        gathering = asyncio.gather(as_future(one), asyncio.shield(as_future(other)))
        await turns()
        gathering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gathering
        assert cancelled == [one]
        other.callback(None)

    run(main)


def test_end_of_the_run_cancels(run):
    """asyncio.run() cancels the tasks that are left; their Deferreds are cancelled, and nothing is reported."""
    cancelled = []

    async def wait():
        await as_future(Deferred(cancelled.append))

    async def main():
        main.task = asyncio.create_task(wait())
        await turns()

    run(main)
    assert len(cancelled) == 1
    assert main.task.cancelled()
