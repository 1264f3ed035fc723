"""Point 38: Ctrl-C ends a run that has no handler for it, also one that sleeps."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

import pytest
from aio_support import interrupter, turns


@pytest.fixture(autouse=True)
def python_handles_sigint():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def killer():
    with interrupter() as kill:
        yield kill


def test_sleeping_run_forever(new_loop, killer):
    """The loop has nothing to do and sleeps without end; so does everything else in the process."""
    loop = new_loop()
    loop.call_soon(killer)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    assert not loop.is_running()
    assert loop.run_until_complete(asyncio.sleep(0, "again")) == "again"


def test_sleeping_with_a_timer(new_loop, killer):
    """The same with a timer far away: the poll has a timeout."""
    loop = new_loop()
    loop.call_later(10_000, pytest.fail, "ran")
    loop.call_soon(killer)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()


def test_sleeping_run_until_complete(new_loop, killer):
    """run_until_complete is left as well; the task stays pending and may be finished."""
    loop = new_loop()
    future = loop.create_future()

    async def main():
        return await future

    task = loop.create_task(main())
    loop.call_soon(killer)
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(task)
    assert not task.done()
    future.set_result("finished")
    assert loop.run_until_complete(task) == "finished"


def test_thread_sends_it(new_loop):
    """Sent from a thread of the process: it is still the main thread's loop that is left."""
    loop = new_loop()
    thread = threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT))
    loop.call_soon(thread.start)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    thread.join()


def test_in_a_busy_loop(new_loop):
    """A loop that never sleeps is left too."""
    loop = new_loop()

    def again():
        loop.call_soon(again)

    again()
    thread = threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT))
    loop.call_soon(thread.start)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    thread.join()


def test_raised_in_a_callback_and_a_task(new_loop):
    """A signal that comes while Python code runs is raised there and leaves the run."""
    loop = new_loop()
    loop.call_soon(signal.raise_signal, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()

    async def main():
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(main())


def test_loop_in_another_thread_is_not_disturbed(new_loop, killer):
    """Only the main thread is interrupted: a loop in another one goes on."""
    loop = new_loop()
    started = threading.Event()
    loop.call_soon(started.set)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    started.wait()
    with pytest.raises(KeyboardInterrupt):
        killer()
        threading.Event().wait()
    done = asyncio.run_coroutine_threadsafe(turns(), loop)
    assert done.result() is None
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


def test_runner_cancels_main(loop_factory, killer):
    """asyncio.Runner: the main task is cancelled, may clean up, and run() raises KeyboardInterrupt."""
    seen = []

    async def main():
        killer()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            seen.append("cleaned up")
            raise

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        with pytest.raises(KeyboardInterrupt):
            runner.run(main())
        assert seen == ["cleaned up"]
        assert runner.run(asyncio.sleep(0, "again")) == "again"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_handler_of_the_loop_takes_it(new_loop, killer):
    """With add_signal_handler(SIGINT) there is no KeyboardInterrupt."""
    loop = new_loop()
    loop.add_signal_handler(signal.SIGINT, loop.stop)
    loop.call_soon(killer)
    loop.run_forever()
    assert loop.remove_signal_handler(signal.SIGINT) is True
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ignored_sigint(new_loop, killer):
    """SIG_IGN is respected: the loop sleeps on."""
    loop = new_loop()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    seen = []
    loop.call_soon(killer)
    loop.call_soon(killer.no_more)
    # The child's end, seen by its pidfd, comes after the signal it sent.
    pidfd = os.pidfd_open(killer.pid)
    loop.add_reader(pidfd, lambda: (seen.append("child ended"), loop.stop()))
    loop.run_forever()
    loop.remove_reader(pidfd)
    os.close(pidfd)
    assert seen == ["child ended"]
