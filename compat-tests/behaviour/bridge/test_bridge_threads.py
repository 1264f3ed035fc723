"""Which loop, which thread: what is refused with a clear error, and what is delivered all the same."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest
from bridge_support import Told, fail, functions_in, in_thread, turns
from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from interloop.bridge import as_deferred, as_future


async def answer(value=None):
    await asyncio.sleep(0)
    return value


def test_no_running_loop():
    """Neither guesses a loop."""
    with pytest.raises(RuntimeError, match=r"as_future\(\) found no running event loop"):
        as_future(Deferred())
    coroutine = answer()
    with pytest.raises(RuntimeError, match=r"as_deferred\(\) found no running event loop"):
        as_deferred(coroutine)
    coroutine.close()


def test_loop_given_before_it_runs(new_loop):
    loop = new_loop()
    deferred = as_deferred(answer(42), loop=loop)
    assert loop.run_until_complete(as_future(deferred, loop=loop)) == 42


def test_future_brings_its_loop(new_loop):
    """So as_deferred() needs none for it, before the run and in it."""
    loop = new_loop()
    seen = []
    future = loop.create_future()
    as_deferred(future).addCallback(seen.append)
    as_deferred(future, loop=loop).addCallback(seen.append)
    future.set_result("done")
    loop.run_until_complete(turns())
    assert seen == ["done", "done"]


def test_closed_loop(new_loop):
    loop = new_loop()
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        as_future(Deferred(), loop=loop)
    coroutine = answer()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        as_deferred(coroutine, loop=loop)
    coroutine.close()


def test_other_loop(run, new_loop):
    """A loop that is not the one running here, given or brought by a Future."""
    other = new_loop()

    async def main():
        coroutine = answer()
        future = other.create_future()
        with pytest.raises(RuntimeError, match="different loop"):
            as_future(Deferred(), loop=other)
        with pytest.raises(RuntimeError, match="different loop"):
            as_deferred(coroutine, loop=other)
        with pytest.raises(RuntimeError, match="different loop"):
            as_deferred(future)
        with pytest.raises(RuntimeError, match="different loop"):
            as_deferred(future, loop=other)
        with pytest.raises(RuntimeError, match="different loop"):
            as_deferred(future, loop=asyncio.get_running_loop())
        coroutine.close()

    run(main)


def test_loop_of_another_thread(run):
    """Nothing of a loop that runs is to be made in another thread."""

    async def main():
        loop = asyncio.get_running_loop()
        coroutine = answer()
        with pytest.raises(RuntimeError, match="call_soon_threadsafe"):
            in_thread(lambda: as_future(Deferred(), loop=loop))
        with pytest.raises(RuntimeError, match="call_soon_threadsafe"):
            in_thread(lambda: as_deferred(coroutine, loop=loop))
        with pytest.raises(RuntimeError, match="call_soon_threadsafe"):
            in_thread(lambda: as_deferred(loop.create_future()))
        coroutine.close()

    run(main)


def test_cancel_in_another_thread(run):
    """Refused on both sides, before anything is done: both can still be cancelled, or end, as they would have."""

    async def main():
        cancelled = []
        future = as_future(Deferred(cancelled.append))
        task = asyncio.create_task(answer(42))
        deferred = as_deferred(task)
        with pytest.raises(RuntimeError, match="call_soon_threadsafe"):
            in_thread(future.cancel)
        with pytest.raises(RuntimeError, match="call_soon_threadsafe"):
            in_thread(deferred.cancel)
        assert not future.done()
        assert not cancelled
        assert not deferred.called
        future.cancel()
        assert len(cancelled) == 1
        assert await as_future(deferred) == 42

    run(main)


@pytest.mark.parametrize("outcome", ["result", "failure", "cancellation"])
def test_deferred_fired_in_another_thread(run, outcome):
    """Delivered in the loop's thread, and the loop, asleep in its poll with nothing else to do, wakes up for it."""

    async def main():
        loop = asyncio.get_running_loop()
        deferred = Deferred()
        deferred.addCallback(lambda told: fail("told") if outcome == "failure" else told)
        future = as_future(deferred)
        threads = []
        future.add_done_callback(lambda _: threads.append(threading.get_ident()))
        if outcome == "cancellation":
            fire = deferred.cancel
        else:
            fire = lambda: deferred.callback("a result")  # noqa: E731
        thread = threading.Thread(target=fire)
        loop.call_soon(thread.start)
        await asyncio.wait([future])
        thread.join()
        assert threads == [threading.get_ident()]
        if outcome == "result":
            assert future.result() == "a result"
        elif outcome == "failure":
            with pytest.raises(Told, match="told") as caught:
                future.result()
            assert functions_in(caught.value)[-1] == "fail"
        else:
            assert future.cancelled()

    run(main)


def test_late_in_another_thread(run, asyncio_log):
    """A failure from another thread that finds its Future cancelled is reported, since the Deferred has given it up."""

    async def main():
        for outcome in Told("too late"), defer.CancelledError(), None:
            deferred = Deferred()
            future = as_future(deferred)
            deferred.pause()
            deferred.callback(Failure(outcome) if outcome else "a result")
            future.cancel()
            assert future.cancelled()
            in_thread(deferred.unpause)
            await turns()

    run(main)
    record = asyncio_log.take("A Deferred failed after the Future waiting for it was done")
    assert str(record.exc_info[1]) == "too late"


@pytest.mark.parametrize("outcome", ["result", "failure"])
def test_loop_closed_while_another_thread_delivers(new_loop, monkeypatch, twisted_log, outcome):
    """The loop ran when the thread looked, and is closed when it delivers: Twisted's log has the failure, or says so."""
    loop = new_loop()
    deferred = Deferred()
    future = as_future(deferred, loop=loop)
    loop.close()
    monkeypatch.setattr(loop, "is_running", lambda: True)
    if outcome == "result":
        deferred.callback("a result")
    else:
        deferred.errback(Told("an error"))
    monkeypatch.undo()
    assert not future.done()
    del deferred
    gc.collect()
    if outcome == "result":
        assert "closed" in str(twisted_log.take(RuntimeError).value)
    else:
        assert str(twisted_log.take(Told).value) == "an error"


def test_in_debug_mode(run):
    """asyncio's own checks of threads and callbacks find nothing to object to."""

    async def main():
        assert asyncio.get_running_loop().get_debug()
        deferred = Deferred()
        future = as_future(deferred)
        thread = threading.Thread(target=deferred.callback, args=("a result",))
        thread.start()
        assert await future == "a result"
        thread.join()
        assert await as_future(as_deferred(answer(42))) == 42
        never = as_deferred(asyncio.get_running_loop().create_future())
        never.cancel()
        with pytest.raises(asyncio.CancelledError):
            await as_future(never)

    run(main, debug=True)
