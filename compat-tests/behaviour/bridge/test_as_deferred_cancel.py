"""Cancelling what `as_deferred` made: the task is cancelled and waited for, Twisted sees its own CancelledError."""

from __future__ import annotations

import asyncio
import gc

import pytest
from bridge_support import Told, fail, functions_in, turns
from twisted.internet import defer, task
from twisted.internet.defer import Deferred, ensureDeferred, inlineCallbacks

from interloop.bridge import as_deferred


class Job:
    """A coroutine that waits, tells what happens to it, and may clean up until it is told to stop."""

    def __init__(self, *, cleans_up=False, then=None) -> None:
        self.happened = []
        self.cleans_up = cleans_up
        self.then = then
        self.cleaned = asyncio.get_running_loop().create_future()

    async def run(self):
        self.happened.append("started")
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError as exc:
            self.happened.append("cancelled")
            if self.cleans_up:
                await self.cleaned
                self.happened.append("cleaned up")
            if self.then is None:
                raise
            return self.then(exc)


def test_cancel_stops_the_task(run):
    """Twisted's CancelledError for Twisted, asyncio's as its cause, and where the task was stopped in the traceback."""

    async def main():
        job, seen = Job(), []
        deferred = as_deferred(job.run())
        deferred.addErrback(seen.append)
        await turns()
        deferred.cancel()
        assert seen == []
        await turns()
        (failure,) = seen
        assert failure.check(defer.CancelledError)
        assert isinstance(failure.value.__cause__, asyncio.CancelledError)
        assert functions_in(failure.value) == ["run"]
        assert "in run\n" in failure.getTraceback()
        assert job.happened == ["started", "cancelled"]

    run(main)


def test_clean_up_is_waited_for(run):
    """As Twisted demands the Deferred counts as called after cancel(); its callbacks wait for the end of the task."""

    async def main():
        job, seen = Job(cleans_up=True), []
        deferred = as_deferred(job.run())
        deferred.addErrback(seen.append)
        await turns()
        deferred.cancel()
        assert deferred.called
        await turns()
        assert job.happened == ["started", "cancelled"]
        assert seen == []
        job.cleaned.set_result(None)
        await turns()
        assert job.happened == ["started", "cancelled", "cleaned up"]
        assert seen[0].check(defer.CancelledError)

    run(main)


def test_second_cancel_interrupts_the_clean_up(run):
    """As a second Task.cancel() does; any number of times."""

    async def main():
        cancellations, seen = [], []

        async def stubborn():
            while len(cancellations) < 3:
                try:
                    await asyncio.get_running_loop().create_future()
                except asyncio.CancelledError as exc:
                    cancellations.append(exc)
            return "gave up"

        deferred = as_deferred(stubborn())
        deferred.addBoth(seen.append)
        for _ in range(3):
            await turns()
            assert seen == []
            deferred.cancel()
        await turns()
        assert seen == ["gave up"]
        assert len(cancellations) == 3

    run(main)


def test_swallowed_cancellation(run):
    """A task that makes a result of its cancellation delivers the result."""

    async def main():
        seen = []
        deferred = as_deferred(Job(then=lambda exc: "a result").run())
        deferred.addBoth(seen.append)
        await turns()
        deferred.cancel()
        await turns()
        assert seen == ["a result"]

    run(main)


def test_clean_up_that_fails(run):
    async def main():
        seen = []
        deferred = as_deferred(Job(then=lambda exc: fail("clean-up failed")).run())
        deferred.addBoth(seen.append)
        await turns()
        deferred.cancel()
        await turns()
        assert seen[0].check(Told)
        assert isinstance(seen[0].value.__context__, asyncio.CancelledError)

    run(main)


def test_cancel_before_the_start(run):
    """The coroutine never runs and nobody complains; stock fromFuture() reports an unhandled error (Twisted #12470)."""

    async def main():
        job, seen = Job(), []
        deferred = as_deferred(job.run())
        deferred.cancel()
        deferred.addErrback(seen.append)
        await turns()
        assert seen[0].check(defer.CancelledError)
        assert job.happened == []

    run(main)


@pytest.mark.parametrize("started", [False, True])
def test_cancelled_and_dropped(run, started):
    """A cancellation that nobody listens to is no error, for Twisted's log as for asyncio's."""

    async def main():
        deferred = as_deferred(Job().run())
        if started:
            await turns()
        deferred.cancel()
        del deferred
        await turns()
        kept = as_deferred(Job().run())
        kept.cancel()
        await turns()
        # It is there all the same, for who asks later.
        seen = []
        kept.addErrback(seen.append)
        assert seen[0].check(defer.CancelledError)

    run(main)


def test_cancellation_handled_badly_is_reported(run, twisted_log):
    """What an errback makes of a cancellation is an error like any other."""

    async def main():
        deferred = as_deferred(Job().run())
        deferred.addErrback(lambda failure: fail("in the errback"))
        deferred.cancel()
        await turns()
        del deferred

    run(main)
    gc.collect()
    assert str(twisted_log.take(Told).value) == "in the errback"


def test_cancel_of_a_future(run):
    """A Future given is cancelled itself, and with it whoever waits for it."""

    async def main():
        future = asyncio.get_running_loop().create_future()
        seen = []
        deferred = as_deferred(future)
        deferred.addErrback(seen.append)
        deferred.cancel()
        assert future.cancelled()
        await turns()
        assert seen[0].check(defer.CancelledError)

    run(main)


def test_cancel_after_the_end(run):
    """The outcome is on its way: it is delivered, and not lost for a cancellation that came too late."""

    async def main():
        for outcome in "a result", Told("an error"):
            future = asyncio.get_running_loop().create_future()
            seen = []
            deferred = as_deferred(future)
            deferred.addBoth(seen.append)
            if isinstance(outcome, str):
                future.set_result(outcome)
            else:
                future.set_exception(outcome)
            deferred.cancel()
            await turns()
            assert seen[0] == outcome or seen[0].value is outcome
            deferred.cancel()
            assert len(seen) == 1

    run(main)


def test_somebody_else_cancels_the_task(run):
    """The Deferred fails with Twisted's CancelledError, and the message is kept."""

    async def main():
        task = asyncio.create_task(Job().run())
        seen = []
        as_deferred(task).addErrback(seen.append)
        await turns()
        task.cancel("by its owner")
        await turns()
        assert seen[0].check(defer.CancelledError)
        assert str(seen[0].value) == "by its owner"

    run(main)


def test_end_of_the_run_cancels(run):
    """asyncio.run() cancels what is left. Fire-and-forget work is not reported, who listens is told."""
    seen = []

    async def main():
        as_deferred(Job().run())
        as_deferred(Job().run()).addErrback(seen.append)
        await turns()

    run(main)
    assert [type(failure.value) for failure in seen] == [defer.CancelledError]


def test_add_timeout(run):
    """addTimeout() recognises the cancellation; with stock fromFuture() it lets asyncio's CancelledError through (#9679)."""

    async def main():
        clock, job, seen = task.Clock(), Job(cleans_up=True), []
        deferred = as_deferred(job.run()).addTimeout(5, clock)
        deferred.addErrback(seen.append)
        await turns()
        clock.advance(5)
        await turns()
        assert job.happened == ["started", "cancelled"]
        assert seen == []
        job.cleaned.set_result(None)
        await turns()
        assert seen[0].check(defer.TimeoutError)

    run(main)


@pytest.mark.parametrize("kind", ["inlineCallbacks", "ensureDeferred"])
def test_cancelling_a_twisted_coroutine(run, kind):
    """The cancellation goes down to the task, and comes back up when the task has cleaned up."""
    happened = []

    @inlineCallbacks
    def generator(job):
        try:
            yield as_deferred(job.run())
        except defer.CancelledError:
            happened.append("told")
            raise

    async def coroutine(job):
        try:
            await as_deferred(job.run())
        except defer.CancelledError:
            happened.append("told")
            raise

    async def main():
        job = Job(cleans_up=True)
        deferred = generator(job) if kind == "inlineCallbacks" else ensureDeferred(coroutine(job))
        deferred.addErrback(lambda failure: happened.append(failure.type))
        await turns()
        deferred.cancel()
        await turns()
        assert happened == []
        job.cleaned.set_result(None)
        await turns()
        assert happened == ["told", defer.CancelledError]

    run(main)


def test_cancel_through_a_chain_and_a_list(run):
    """From an outer Deferred that waits for it, and from a DeferredList."""

    async def main():
        jobs, seen = [Job(), Job(), Job()], []
        outer = defer.succeed(None).addCallback(lambda _: as_deferred(jobs[0].run()))
        outer.addErrback(lambda failure: seen.append(failure.type))
        several = defer.gatherResults(
            [as_deferred(job.run()) for job in jobs[1:]], consumeErrors=True
        )
        several.addErrback(lambda failure: seen.append(failure.value.subFailure.type))
        await turns()
        outer.cancel()
        several.cancel()
        await turns()
        assert seen == [defer.CancelledError] * 2
        assert [job.happened for job in jobs] == [["started", "cancelled"]] * 3

    run(main)


def test_cancel_while_paused(run):
    async def main():
        job, seen = Job(), []
        deferred = as_deferred(job.run())
        deferred.addErrback(seen.append)
        await turns()
        deferred.pause()
        deferred.cancel()
        await turns()
        assert job.happened == ["started", "cancelled"]
        assert seen == []
        deferred.unpause()
        assert seen[0].check(defer.CancelledError)

    run(main)


def test_somebody_else_fired_the_deferred(run, asyncio_log):
    """A mistake of the caller's, which is told rather than swallowed."""

    async def main():
        future = asyncio.get_running_loop().create_future()
        deferred = as_deferred(future)
        deferred.callback("from outside")
        future.set_result("from inside")
        await turns()
        seen = []
        deferred.addCallback(seen.append)
        assert seen == ["from outside"]

    run(main)
    assert isinstance(
        asyncio_log.take("Exception in callback").exc_info[1], defer.AlreadyCalledError
    )


def test_deferred_that_never_ends_may_be_dropped(run):
    """Deferred, Future and what is between them are garbage like any other."""

    async def main():
        deferred = as_deferred(asyncio.get_running_loop().create_future())
        deferred.addCallback(Deferred)

    run(main)
