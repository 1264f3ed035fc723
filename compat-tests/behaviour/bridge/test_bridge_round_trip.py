"""There and back again: what crosses the bridge twice is what it was."""

from __future__ import annotations

import asyncio

import pytest
from bridge_support import Told, fail, functions_in, turns
from twisted.internet import defer
from twisted.internet.defer import Deferred, inlineCallbacks

from interloop.bridge import as_deferred, as_future


def test_deferred_to_future_to_deferred(run):
    """A result, a failure with its traceback, and Twisted's CancelledError with its message."""
    seen = []

    async def main():
        def cancel(deferred):
            deferred.errback(defer.CancelledError("by its canceller"))

        firsts = Deferred(), Deferred().addCallback(fail), Deferred(cancel)
        lasts = [as_deferred(as_future(first)).addBoth(seen.append) for first in firsts]
        firsts[0].callback("a result")
        firsts[1].callback("told")
        firsts[2].cancel()
        await turns()
        assert all(last.called for last in lasts)

    run(main)
    assert seen[0] == "a result"
    assert seen[1].check(Told)
    assert functions_in(seen[1].value)[-1] == "fail"
    assert seen[2].check(defer.CancelledError)
    assert str(seen[2].value) == "by its canceller"


def test_coroutine_to_deferred_to_future(run):
    async def answer():
        await asyncio.sleep(0)
        return "a result"

    async def failing():
        await asyncio.sleep(0)
        fail("told")

    async def main():
        assert await as_future(as_deferred(answer())) == "a result"
        with pytest.raises(Told, match="told") as caught:
            await as_future(as_deferred(failing()))
        assert functions_in(caught.value) == ["main", "failing", "fail"]

    run(main)


def test_cancel_goes_all_the_way_and_back(run):
    """Task, Deferred, Twisted coroutine, Task, Deferred: each cleans up, innermost first, and each sees its own error."""
    happened = []

    async def inner_task(deferred):
        try:
            await as_future(deferred)
        except asyncio.CancelledError:
            happened.append("inner task")
            raise

    @inlineCallbacks
    def twisted_in_between(deferred):
        try:
            yield as_deferred(inner_task(deferred))
        except defer.CancelledError:
            happened.append("generator")
            raise

    async def outer_task(deferred):
        try:
            await as_future(twisted_in_between(deferred))
        except asyncio.CancelledError:
            happened.append("outer task")
            raise

    async def main():
        cleaned = Deferred()
        innermost = Deferred(lambda _: happened.append("canceller"))
        innermost.addErrback(lambda failure: cleaned.addCallback(lambda _: failure))
        task = asyncio.create_task(outer_task(innermost))
        await turns()
        task.cancel()
        await turns(20)
        assert happened == ["canceller"]
        assert not task.done()
        happened.append("clean-up")
        cleaned.callback(None)
        await asyncio.wait([task])
        assert task.cancelled()

    run(main)
    assert happened == ["canceller", "clean-up", "inner task", "generator", "outer task"]


def test_timeouts_of_both_sides(run):
    """asyncio.timeout() around a Deferred made of a task that listens; TimeoutError, and the task is gone."""
    happened = []

    async def work():
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            happened.append("work ends")

    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await as_future(as_deferred(work()))
        # The timeout may be over before the work has begun: then there was none.
        assert happened in ([], ["work ends"])
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not others

    run(main)


def test_many_at_once(run):
    """A thousand crossings in both directions, each with its own result."""

    async def crossing(number):
        deferred = Deferred()
        asyncio.get_running_loop().call_soon(deferred.callback, number)
        return await as_future(deferred.addCallback(lambda result: as_deferred(double(result))))

    async def double(number):
        await asyncio.sleep(0)
        return number * 2

    async def main():
        assert await asyncio.gather(*map(crossing, range(1000))) == list(range(0, 2000, 2))

    run(main)


def test_long_chain_does_not_recurse(run):
    """A Deferred whose callbacks return thousands of bridged ones, and a coroutine that awaits as many fired ones."""

    async def one():
        return 1

    async def main():
        deferred = Deferred()
        for _ in range(3000):
            deferred.addCallback(lambda total: as_deferred(one()).addCallback(total.__add__))
        deferred.callback(0)
        assert await as_future(deferred) == 3000
        for _ in range(3000):
            assert await as_future(defer.succeed(1)) == 1

    run(main)
