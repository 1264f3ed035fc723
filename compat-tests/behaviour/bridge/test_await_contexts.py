"""Context variables on both sides: a coroutine has its own, a Deferred's callbacks have those of who fires it."""

from __future__ import annotations

import asyncio
import contextvars

import pytest
from twisted.internet.defer import Deferred, ensureDeferred, inlineCallbacks

pytestmark = pytest.mark.usefixtures("awaiting")

variable = contextvars.ContextVar("variable", default="unset")


def with_value(value, function, *args):
    def call():
        variable.set(value)
        return function(*args)

    return contextvars.copy_context().run(call)


async def fired_by(value, deferred):
    asyncio.get_running_loop().call_soon(with_value, value, deferred.callback, None)
    return await deferred


def test_a_task_keeps_its_own(run):
    async def main():
        variable.set("task")
        await fired_by("firer", Deferred())
        assert variable.get() == "task"

    run(main)


def test_a_coroutine_keeps_its_own(run):
    async def twisted(seen):
        seen.append(variable.get())
        variable.set("coroutine")
        await fired_by("firer", Deferred())
        seen.append(variable.get())
        await asyncio.sleep(0)
        seen.append(variable.get())
        assert asyncio.current_task().get_context()[variable] == "coroutine"

    async def main():
        seen = []
        await with_value("caller", ensureDeferred, twisted(seen))
        assert seen == ["caller", "coroutine", "coroutine"]
        assert variable.get() == "unset"

    run(main)


def test_a_generator_keeps_its_own(run):
    @inlineCallbacks
    def generator(seen):
        variable.set("generator")
        yield asyncio.sleep(0)
        seen.append(variable.get())
        deferred = Deferred()
        asyncio.get_running_loop().call_soon(with_value, "firer", deferred.callback, None)
        yield deferred
        seen.append(variable.get())

    async def main():
        seen = []
        await generator(seen)
        assert seen == ["generator", "generator"]
        assert variable.get() == "unset"

    run(main)


@pytest.mark.parametrize("count", [1, 2])
def test_callbacks_have_the_firers(run, count):
    """Also beside an await, with which the Deferred takes another path."""

    async def main():
        seen = []
        deferred = Deferred()
        for _ in range(count):
            deferred.addCallback(lambda _: seen.append(variable.get()))
        await fired_by("firer", deferred)
        assert seen == ["firer"] * count

    run(main)


def test_callbacks_of_a_coroutines_deferred(run):
    """The coroutine's own changes do not reach them."""

    async def twisted():
        variable.set("coroutine")
        await asyncio.sleep(0)

    async def main():
        seen = []
        deferred = with_value("starter", ensureDeferred, twisted())
        deferred.addCallback(lambda _: seen.append(variable.get()))
        await deferred
        assert seen == ["starter"]

    run(main)
