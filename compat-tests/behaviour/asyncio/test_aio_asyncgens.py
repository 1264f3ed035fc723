"""Point 12: asynchronous generators. The hooks of a run, finalization by the loop, shutdown."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading

import pytest
from aio_support import Contexts, turns


async def numbers(closed=None):
    try:
        for n in range(1000):
            yield n
    finally:
        # An await shows that it is the loop that closes the generator.
        await asyncio.sleep(0)
        if closed is not None:
            closed.append(threading.get_ident())


def test_hooks_are_set_for_the_run_and_put_back(new_loop):
    """Whatever hooks there were come back after the run, also after one that failed."""
    loop = new_loop()

    def mine(agen):
        pass

    async def look():
        return sys.get_asyncgen_hooks()

    sys.set_asyncgen_hooks(firstiter=mine, finalizer=mine)
    try:
        inside = loop.run_until_complete(look())
        assert inside.firstiter is not mine and inside.finalizer is not mine
        assert callable(inside.firstiter) and callable(inside.finalizer)
        assert sys.get_asyncgen_hooks() == (mine, mine)
        loop.call_soon(sys.exit)
        with pytest.raises(SystemExit):
            loop.run_forever()
        assert sys.get_asyncgen_hooks() == (mine, mine)
    finally:
        sys.set_asyncgen_hooks(None, None)


def test_dropped_generator_is_closed_by_the_loop(run):
    """One that is collected half way gets its aclose() as a task."""
    closed = []

    async def main():
        async for n in numbers(closed):
            if n == 3:
                break
        gc.collect()
        await turns()

    run(main)
    assert closed == [threading.get_ident()]


def test_dropped_in_another_thread(run):
    """The finalizer may run in any thread: it goes through call_soon_threadsafe and wakes the loop."""
    closed = []

    async def main():
        generators = [numbers(closed)]
        await anext(generators[0])
        done = threading.Thread(target=generators.clear)
        done.start()
        done.join()
        while not closed:
            await asyncio.sleep(0)

    run(main)
    assert closed == [threading.get_ident()]


def test_finalizer_uses_call_soon_threadsafe(new_loop):
    """By name and on the instance, as tests replace it."""
    loop = new_loop()
    seen = []
    original = loop.call_soon_threadsafe
    loop.call_soon_threadsafe = lambda *a, **kw: (seen.append(a[0]), original(*a, **kw))[1]

    async def main():
        generator = numbers()
        await anext(generator)
        seen.clear()
        del generator
        gc.collect()
        await turns()

    loop.run_until_complete(main())
    assert len(seen) == 1
    del loop.call_soon_threadsafe


def test_shutdown_closes_all_that_are_left(new_loop):
    """shutdown_asyncgens() closes every generator begun under this loop and not finished."""
    loop = new_loop()
    closed = []
    kept = []

    async def main():
        for _ in range(3):
            generator = numbers(closed)
            await anext(generator)
            kept.append(generator)
        finished = numbers()
        async for _ in finished:
            pass
        kept.append(finished)

    loop.run_until_complete(main())
    assert closed == []
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert len(closed) == 3
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert len(closed) == 3


def test_errors_in_shutdown_are_reported(new_loop):
    """Point 12: with the generator under `asyncgen`, and the others are closed all the same."""
    loop = new_loop()
    contexts = Contexts(loop)
    closed = []

    async def failing():
        try:
            yield
        finally:
            raise LookupError("while closing")

    kept = [failing(), numbers(closed)]

    async def main():
        for generator in kept:
            await anext(generator)

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_asyncgens())
    (context,) = contexts
    assert context["asyncgen"] is kept[0]
    assert type(context["exception"]) is LookupError
    assert context["message"].startswith(
        "an error occurred during closing of asynchronous generator"
    )
    assert len(closed) == 1


def test_generator_begun_after_shutdown_warns(new_loop):
    """ResourceWarning: nobody would close it."""
    loop = new_loop()

    async def main():
        await loop.shutdown_asyncgens()
        generator = numbers()
        with pytest.warns(
            ResourceWarning, match=r"was scheduled after loop.shutdown_asyncgens\(\)"
        ):
            await anext(generator)
        await generator.aclose()

    loop.run_until_complete(main())


def test_generator_dropped_after_close(new_loop):
    """A closed loop closes nothing any more, and says nothing."""
    loop = new_loop()
    generators = []

    async def main():
        generators.append(numbers())
        await anext(generators[0])

    loop.run_until_complete(main())
    loop.close()
    generators.clear()
    gc.collect()


def test_runner_shuts_generators_down(run):
    """asyncio.Runner closes what main() left."""
    closed = []
    kept = []

    async def main():
        kept.append(numbers(closed))
        await anext(kept[0])

    run(main)
    assert len(closed) == 1
