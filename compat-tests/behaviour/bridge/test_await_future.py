"""asyncio in the coroutines and generators that Twisted drives, without a wrapper."""

from __future__ import annotations

import asyncio
import gc
import io
import weakref

import pytest
from bridge_support import Told, fail, functions_in, turns
from twisted.internet import defer
from twisted.internet.defer import Deferred, ensureDeferred, inlineCallbacks

pytestmark = pytest.mark.usefixtures("awaiting")


def soon(call, *args):
    asyncio.get_running_loop().call_soon(call, *args)


def driven(run, coroutine_function):
    """Runs a coroutine that Twisted drives, inside a loop; its result."""

    async def main():
        return await ensureDeferred(coroutine_function())

    return run(main)


def test_a_future(run):
    async def twisted():
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        soon(future.set_result, (1, 2))
        assert await future == (1, 2)
        future = loop.create_future()
        future.set_result(3)
        assert await future == 3
        future = loop.create_future()
        soon(future.set_exception, Told("future"))
        with pytest.raises(Told, match="future"):
            await future
        return "end"

    assert driven(run, twisted) == "end"


def test_what_asyncio_has(run):
    async def twisted():
        loop = asyncio.get_running_loop()
        assert await asyncio.sleep(0, "slept") == "slept"
        assert await loop.run_in_executor(None, lambda: "thread") == "thread"
        assert await asyncio.to_thread(lambda: "thread") == "thread"
        assert await asyncio.create_task(asyncio.sleep(0, "task")) == "task"
        assert await asyncio.gather(asyncio.sleep(0, 1), defer.succeed(2)) == [1, 2]
        assert await asyncio.wait_for(asyncio.sleep(0, 3), 10) == 3
        event, queue, lock = asyncio.Event(), asyncio.Queue(), asyncio.Lock()
        soon(event.set)
        await event.wait()
        soon(queue.put_nowait, "item")
        assert await queue.get() == "item"
        await lock.acquire()
        soon(lock.release)
        async with lock:
            assert lock.locked()

    driven(run, twisted)


def test_sleep_0_lets_the_loop_turn(run):
    async def twisted():
        turned = []
        soon(turned.append, True)
        await asyncio.sleep(0)
        assert turned

    driven(run, twisted)


def test_inline_callbacks(run):
    async def coroutine(value):
        await asyncio.sleep(0)
        return value

    @inlineCallbacks
    def generator():
        future = asyncio.get_running_loop().create_future()
        soon(future.set_result, 1)
        results = [
            (yield future),
            (yield coroutine(2)),
            (yield defer.succeed(3)),
            (yield 4),
            (yield None),
        ]
        future = asyncio.get_running_loop().create_future()
        soon(future.set_exception, Told("future"))
        with pytest.raises(Told):
            yield future
        task = asyncio.ensure_future(coroutine(5))
        results.append((yield task))
        results.append((yield task))
        return results

    assert run(as_coroutine(generator)) == [1, 2, 3, 4, None, 5, 5]


async def as_coroutine(function):
    return await function()


def test_a_deferred_resumes_on_the_spot(run):
    order = []

    async def twisted(deferred):
        await asyncio.sleep(0)
        await deferred
        order.append("coroutine")

    async def main():
        deferred = Deferred()
        result = ensureDeferred(twisted(deferred))
        await turns()
        deferred.callback(None)
        order.append("firer")
        await result
        assert order == ["coroutine", "firer"]

    run(main)


def test_a_failure_with_its_traceback(run):
    async def deep():
        await asyncio.sleep(0)
        fail("deep")

    async def twisted():
        await deep()

    async def main():
        failures = []
        await ensureDeferred(twisted()).addErrback(failures.append)
        (failure,) = failures
        assert failure.check(Told)
        assert functions_in(failure.value)[-3:] == ["twisted", "deep", "fail"]
        assert "deep" in failure.getTraceback()

    run(main)


# Who is the current task.


def test_the_current_task(run):
    async def twisted():
        task = asyncio.current_task()
        assert isinstance(task, asyncio.Task) and asyncio.isfuture(task)
        assert task.get_coro().__name__ == "twisted"
        assert task.get_loop() is asyncio.get_running_loop()
        assert not task.done() and not task.cancelled() and task.cancelling() == 0
        assert task.get_name() == task.get_name()
        task.set_name("name")
        assert task.get_name() == "name" and "name" in repr(task)
        with pytest.raises(asyncio.InvalidStateError):
            task.result()
        with pytest.raises(RuntimeError):
            task.set_result(None)
        assert task.get_stack()[-1].f_code.co_name == "twisted"
        file = io.StringIO()
        task.print_stack(file=file)
        assert "in twisted" in file.getvalue()
        await asyncio.sleep(0)
        assert asyncio.current_task() is task
        inner = []

        async def other():
            inner.append(asyncio.current_task())

        await ensureDeferred(other())
        assert inner[0] is not task and asyncio.current_task() is task
        return task

    async def main():
        outer = asyncio.current_task()
        deferred = ensureDeferred(twisted())
        assert asyncio.current_task() is outer
        task = await deferred
        assert asyncio.current_task() is outer
        assert task is not outer and task.done() and task.result() is task
        assert await task is task
        assert task.exception() is None

    run(main)


def test_no_task_in_a_callback(run):
    async def main():
        seen = []
        fired = Deferred()
        fired.addCallback(lambda _: seen.append(asyncio.current_task()))
        future = asyncio.get_running_loop().create_future()
        soon(lambda: (fired.callback(None), future.set_result(None)))
        await future
        assert seen == [None]

    run(main)


def test_sniffio(run):
    sniffio = pytest.importorskip("sniffio")

    async def twisted():
        await asyncio.sleep(0)
        return sniffio.current_async_library()

    assert driven(run, twisted) == "asyncio"


def test_others_wait_for_the_current_task(run):
    async def twisted(tasks):
        tasks.append(asyncio.current_task())
        await asyncio.sleep(0)
        return "done"

    async def main():
        tasks, told = [], []
        result = ensureDeferred(twisted(tasks))
        (task,) = tasks
        task.add_done_callback(told.append)
        task.add_done_callback(fail)
        assert task.remove_done_callback(fail) == 1
        assert await asyncio.wait_for(asyncio.shield(task), 10) == "done"
        await turns()
        assert told == [task]
        assert await result == "done"

    run(main)


def test_nothing_is_kept(run, no_gc):
    async def twisted(tasks):
        tasks.append(weakref.ref(asyncio.current_task()))
        await asyncio.sleep(0)
        future = asyncio.get_running_loop().create_future()
        soon(future.set_result, None)
        await future
        deferred = Deferred()
        soon(deferred.callback, None)
        await deferred

    async def main():
        tasks = []
        await ensureDeferred(twisted(tasks))
        await turns()
        assert tasks[0]() is None

    run(main)


def test_a_coroutine_nobody_can_resume_is_collected(run):
    async def twisted(tasks):
        tasks.append(weakref.ref(asyncio.current_task()))
        mine = asyncio.current_task()
        await asyncio.get_running_loop().create_future()
        return mine

    async def main():
        tasks = []
        ensureDeferred(twisted(tasks))
        gc.collect()
        assert tasks[0]() is None

    run(main)


# Cancelling.


def test_time_limits(run):
    cancelled = []

    async def twisted():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.get_running_loop().create_future()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await Deferred(cancelled.append)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(Deferred(cancelled.append), 0.001)
        assert len(cancelled) == 2
        assert asyncio.current_task().cancelling() == 0
        async with asyncio.timeout(10):
            await asyncio.sleep(0)

    driven(run, twisted)


def test_a_time_limit_waits_for_the_clean_up(run):
    order = []

    async def twisted(cleaned):
        deferred = Deferred()
        deferred.addErrback(lambda failure: cleaned.addCallback(lambda _: failure))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await deferred
        order.append("timeout")

    async def main():
        cleaned = Deferred()
        result = ensureDeferred(twisted(cleaned))
        await turns(10)
        order.append("clean")
        cleaned.callback(None)
        await result
        assert order == ["clean", "timeout"]

    run(main)


def test_task_groups(run):
    async def child(value):
        await asyncio.sleep(0)
        if value is None:
            fail("child")
        return value

    async def twisted():
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(child(value)) for value in (1, 2)]
            await defer.succeed(None)
        assert [task.result() for task in tasks] == [1, 2]
        for endless in Deferred(), asyncio.get_running_loop().create_future():
            with pytest.raises(ExceptionGroup) as caught:
                async with asyncio.TaskGroup() as group:
                    group.create_task(child(None))
                    await endless
            assert [type(error) for error in caught.value.exceptions] == [Told]
        assert asyncio.current_task().cancelling() == 0

    driven(run, twisted)


def test_cancelling_the_deferred_cancels_what_is_awaited(run):
    order = []

    async def inner():
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            order.append("clean")
            raise

    async def twisted(awaitable):
        await awaitable

    async def main():
        for awaitable in inner(), asyncio.ensure_future(inner()):
            deferred = ensureDeferred(twisted(awaitable))
            await turns()
            failures = []
            deferred.addErrback(failures.append)
            deferred.addBoth(lambda _: order.append("told"))
            deferred.cancel()
            assert not failures
            await deferred
            assert failures[0].check(defer.CancelledError)
            assert isinstance(failures[0].value.__cause__, asyncio.CancelledError)
            assert order == ["clean", "told"]
            order.clear()

    run(main)


def test_cancelling_the_deferred_while_it_waits_for_its_turn(run):
    async def twisted():
        while True:
            await asyncio.sleep(0)

    async def main():
        deferred = ensureDeferred(twisted())
        deferred.cancel()
        failures = []
        await deferred.addErrback(failures.append)
        assert failures[0].check(defer.CancelledError)

    run(main)


def test_cancelling_the_deferred_keeps_twisteds_rule_for_deferreds(run):
    async def twisted(inner):
        with pytest.raises(defer.CancelledError):
            await inner
        await asyncio.sleep(0)
        return "swallowed"

    async def main():
        deferred = ensureDeferred(twisted(Deferred()))
        deferred.cancel()
        assert await deferred == "swallowed"

    run(main)


def test_a_future_that_somebody_else_cancels(run):
    async def twisted(future):
        await future

    async def main():
        future = asyncio.get_running_loop().create_future()
        deferred = ensureDeferred(twisted(future))
        soon(future.cancel)
        failures = []
        await deferred.addErrback(failures.append)
        assert failures[0].check(defer.CancelledError)

    run(main)


def test_cancelling_the_current_task(run):
    async def twisted(ready):
        asyncio.current_task().cancel("myself")
        with pytest.raises(asyncio.CancelledError, match="myself"):
            await ready
        assert asyncio.current_task().uncancel() == 0
        asyncio.current_task().cancel()
        with pytest.raises(asyncio.CancelledError):
            await Deferred()
        asyncio.current_task().uncancel()
        return "end"

    async def main():
        future = asyncio.get_running_loop().create_future()
        assert await ensureDeferred(twisted(future)) == "end"

    run(main)


def test_twisteds_own_time_limit(run):
    """addTimeout() cancels, and knows the failure as Twisted's."""
    from twisted.internet.task import Clock

    async def twisted():
        await asyncio.get_running_loop().create_future()

    async def main():
        clock = Clock()
        deferred = ensureDeferred(twisted()).addTimeout(1, clock)
        soon(clock.advance, 1)
        with pytest.raises(defer.TimeoutError):
            await deferred

    run(main)


def test_a_future_of_another_loop(run):
    async def twisted(future):
        with pytest.raises(RuntimeError, match="attached to a different loop"):
            await future
        return "told"

    async def main():
        other = asyncio.SelectorEventLoop()
        try:
            assert await ensureDeferred(twisted(other.create_future())) == "told"
        finally:
            other.close()

    run(main)


# Outside of any loop, and under other drivers.


def test_without_a_loop_it_is_plain_twisted():
    async def twisted(deferred):
        await asyncio.sleep(0)
        return await deferred

    deferred = Deferred()
    result = ensureDeferred(twisted(deferred))
    deferred.callback(1)
    seen = []
    result.addCallback(seen.append)
    assert seen == [1]


def test_a_coroutine_begun_before_the_loop(run, new_loop):
    loop = new_loop()
    future = loop.create_future()
    seen = []

    async def twisted():
        seen.append(await future)
        seen.append(asyncio.current_task().get_loop())

    result = ensureDeferred(twisted())
    loop.call_soon(future.set_result, 1)
    result.addCallback(lambda _: loop.stop())
    loop.run_forever()
    assert seen == [1, loop]


def test_return_value(run):
    """returnValue() is deprecated, and works as ever."""

    @inlineCallbacks
    def generator():
        yield asyncio.sleep(0)
        with pytest.warns(DeprecationWarning, match="returnValue"):
            defer.returnValue("returned")

    assert run(as_coroutine(generator)) == "returned"
