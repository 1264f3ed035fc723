"""`await deferred` in asyncio's tasks, without a wrapper."""

from __future__ import annotations

import asyncio
import sys

import pytest
from bridge_support import Told, fail, functions_in, turns
from twisted.internet import defer
from twisted.internet.defer import Deferred, DeferredList

pytestmark = pytest.mark.usefixtures("awaiting")


def soon(call, *args):
    asyncio.get_running_loop().call_soon(call, *args)


@pytest.mark.parametrize("value", [None, 0, (1, 2), [3], ValueError("a value, not an error")])
def test_a_result(run, value):
    async def main():
        deferred = Deferred()
        soon(deferred.callback, value)
        assert await deferred is value
        assert await defer.succeed(value) is value

    run(main)


def test_the_loop_turns_before_the_task_goes_on(run):
    """As with a Future: whoever fires the Deferred is not interrupted by the task."""
    order = []

    async def wait(deferred):
        order.append(await deferred)

    async def main():
        deferred = Deferred()
        task = asyncio.ensure_future(wait(deferred))
        await asyncio.sleep(0)
        deferred.callback("task")
        order.append("firer")
        await task
        assert order == ["firer", "task"]

    run(main)


def test_a_failure_with_its_traceback(run):
    async def main():
        deferred = Deferred()
        deferred.addCallback(fail)
        soon(deferred.callback, "why")
        with pytest.raises(Told, match="why") as caught:
            await deferred
        assert functions_in(caught.value)[-1] == "fail"
        with pytest.raises(Told, match="early") as caught:
            await defer.execute(fail, "early")
        assert functions_in(caught.value)[-1] == "fail"

    run(main)


def test_a_stop_iteration_is_an_error(run):
    async def main():
        deferred = Deferred()
        soon(deferred.errback, StopIteration(3))
        with pytest.raises(RuntimeError) as caught:
            await deferred
        assert isinstance(caught.value.__cause__, StopIteration)

    run(main)


def test_a_failure_is_logged_once_by_who_owns_it(run, asyncio_log, twisted_log):
    async def wait(deferred):
        return await deferred

    async def main():
        deferred = Deferred()
        task = asyncio.ensure_future(wait(deferred))
        await asyncio.sleep(0)
        deferred.errback(Told("lost"))
        await asyncio.wait([task])
        del task, deferred

    run(main)
    asyncio_log.take("Task exception was never retrieved")


@pytest.mark.parametrize(
    "wrap", [asyncio.ensure_future, asyncio.shield, lambda d: asyncio.wait_for(d, 10)]
)
def test_what_takes_awaitables_takes_deferreds(run, wrap):
    async def main():
        deferred = Deferred()
        soon(deferred.callback, 5)
        assert await wrap(deferred) == 5

    run(main)


def test_gather_and_wait(run):
    async def main():
        first, second = Deferred(), Deferred()
        soon(first.callback, 1)
        soon(second.errback, Told("two"))
        assert await asyncio.gather(first, defer.succeed(3)) == [1, 3]
        (result,) = await asyncio.gather(second, return_exceptions=True)
        assert isinstance(result, Told)
        third = Deferred()
        soon(third.callback, 3)
        tasks = [asyncio.ensure_future(third), asyncio.ensure_future(Deferred())]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        assert done == {tasks[0]} and pending == {tasks[1]}
        tasks[1].cancel()
        await asyncio.wait(pending)

    run(main)


def test_subclasses_and_chains(run):
    async def main():
        inner = Deferred()
        outer = defer.succeed(None).addCallback(lambda _: inner)
        soon(inner.callback, "inner")
        assert await outer == "inner"
        one, two = Deferred(), Deferred()
        soon(one.callback, 1)
        soon(two.callback, 2)
        assert await DeferredList([one, two]) == [(True, 1), (True, 2)]
        paused = defer.succeed(4)
        paused.pause()
        soon(paused.unpause)
        assert await paused == 4

    run(main)


def test_two_await_one_and_the_result_stays(run):
    async def wait(deferred):
        return await deferred

    async def main():
        deferred = Deferred()
        tasks = [asyncio.ensure_future(wait(deferred)) for _ in range(2)]
        await asyncio.sleep(0)
        deferred.callback("both")
        assert await asyncio.gather(*tasks) == ["both", "both"]
        later = []
        deferred.addCallback(later.append)
        assert later == ["both"]

    run(main)


def test_two_await_one_that_fails(run):
    async def wait(deferred):
        return await deferred

    async def main():
        deferred = Deferred()
        tasks = [asyncio.ensure_future(wait(deferred)) for _ in range(2)]
        await asyncio.sleep(0)
        deferred.errback(Told("both"))
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(result, Told)

    run(main)


def test_a_deferred_fired_in_another_thread(run):
    """Twisted does not allow it and cannot notice; the task wakes up nevertheless."""

    async def main():
        deferred = Deferred()
        await asyncio.gather(deferred, asyncio.to_thread(lambda: deferred.callback(1)))
        assert deferred.result == 1

    run(main)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in Python 3.12")
def test_eager_tasks(run):
    async def wait(deferred):
        return await deferred

    async def main():
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        done = asyncio.create_task(wait(defer.succeed(1)))
        assert done.done() and done.result() == 1
        deferred = Deferred()
        task = asyncio.create_task(wait(deferred))
        soon(deferred.callback, 2)
        assert await task == 2

    run(main)


# Cancelling.


def test_cancelling_the_task_cancels_the_deferred_and_waits_for_its_clean_up(run):
    order = []

    async def wait(deferred):
        try:
            await deferred
        finally:
            order.append("task")

    async def main():
        cleaned = Deferred()
        deferred = Deferred(lambda _: order.append("canceller"))
        deferred.addErrback(lambda failure: cleaned.addCallback(lambda _: failure))
        task = asyncio.ensure_future(wait(deferred))
        await asyncio.sleep(0)
        task.cancel("because")
        assert order == ["canceller"]
        await turns()
        assert not task.done()
        order.append("clean")
        cleaned.callback(None)
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert task.cancelled() and caught.value.args in [("because",), ()]
        assert order == ["canceller", "clean", "task"]

    run(main)


def test_a_task_cancelled_before_it_begins(run):
    async def wait(deferred):
        await deferred

    async def main():
        deferred = Deferred()
        task = asyncio.ensure_future(wait(deferred))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not deferred.called
        deferred.callback(None)

    run(main)


def test_a_task_cancelled_when_the_deferred_has_fired(run):
    async def wait(deferred):
        await deferred

    async def main():
        deferred = Deferred()
        task = asyncio.ensure_future(wait(deferred))
        await asyncio.sleep(0)
        deferred.callback("too late")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)


def test_cancelling_the_deferred_cancels_the_task(run):
    async def wait(deferred):
        await deferred

    async def main():
        deferred = Deferred()
        task = asyncio.ensure_future(wait(deferred))
        await asyncio.sleep(0)
        deferred.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert task.cancelled()
        cause = caught.value.__cause__ or caught.value.__context__
        assert cause is None or isinstance(cause, defer.CancelledError | asyncio.CancelledError)
        # One that was cancelled before anybody awaited it.
        cancelled = Deferred()
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled

    run(main)


def test_a_canceller_that_has_a_result_after_all(run):
    async def wait(deferred):
        return await deferred

    async def main():
        task = asyncio.ensure_future(wait(Deferred(lambda d: d.callback("saved"))))
        await asyncio.sleep(0)
        task.cancel()
        assert await task == "saved"

    run(main)


def test_a_deferred_that_cannot_be_cancelled_is_left(run):
    async def wait(deferred):
        return await deferred

    async def main():
        paused = defer.succeed(1)
        paused.pause()
        task = asyncio.ensure_future(wait(paused))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        paused.unpause()

    run(main)


def test_a_canceller_that_raises(run, asyncio_log):
    async def wait(deferred):
        await deferred

    async def main():
        task = asyncio.ensure_future(wait(Deferred(lambda _: fail("canceller"))))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)
    asyncio_log.take("The canceller of a Deferred raised an exception")


def test_time_limits(run):
    cancelled = []

    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await Deferred(cancelled.append)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(Deferred(cancelled.append), 0.001)
        assert len(cancelled) == 2
        assert asyncio.current_task().cancelling() == 0

    run(main)


def test_task_groups(run):
    async def wait(deferred):
        return await deferred

    async def main():
        deferred, endless = Deferred(), Deferred()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(wait(deferred))
            soon(deferred.callback, 1)
        assert task.result() == 1
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                group.create_task(wait(endless))
                group.create_task(wait(defer.fail(Told("group"))))
        assert [type(error) for error in caught.value.exceptions] == [Told]
        assert endless.called

    run(main)


def test_a_coroutine_closed_while_it_awaits(run):
    async def wait(deferred):
        await deferred

    async def main():
        deferred = Deferred()
        coroutine = wait(deferred)
        coroutine.send(None)
        coroutine.close()
        deferred.callback(1)
        assert deferred.result == 1

    run(main)


def test_the_pure_python_task_waits_as_well(run):
    async def wait(deferred):
        return await deferred

    async def main():
        loop = asyncio.get_running_loop()
        deferred = Deferred()
        task = asyncio.tasks._PyTask(wait(deferred), loop=loop)
        soon(deferred.callback, 1)
        assert await task == 1
        task = asyncio.tasks._PyTask(wait(Deferred()), loop=loop)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)


def test_debug_mode(run):
    async def main():
        deferred = Deferred()
        soon(deferred.callback, 1)
        assert await deferred == 1

    run(main, debug=True)
