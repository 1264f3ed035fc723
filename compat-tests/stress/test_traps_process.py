"""Traps of signals and of fork that other loops fell into, one test each named after the trap."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading

import pytest
from stress_support import run_script, threads

# -- "EINTR is not 'stop'; recompute the timeout, run the signal handlers"


@pytest.fixture
def storm_of_signals():
    """storm(handler): while the block runs, signals come at the main thread as fast as it takes them; `handler` is called."""

    @contextlib.contextmanager
    def storm(handler):
        over = threading.Event()
        taken = threading.Semaphore(0)

        def on_signal(signum, frame):
            handler()
            taken.release()

        def send():
            main = threading.main_thread().ident
            while not over.is_set():
                signal.pthread_kill(main, signal.SIGUSR1)
                # One that comes just before the poll cannot interrupt it: the next one does.
                taken.acquire(timeout=0.001)

        old = signal.signal(signal.SIGUSR1, on_signal)
        try:
            with threads(send):
                try:
                    yield
                finally:
                    over.set()
        finally:
            signal.signal(signal.SIGUSR1, old)

    return storm


def test_eintr_is_not_stop_and_runs_the_signal_handlers(loop, storm_of_signals):
    """Nothing else wakes the loop: the handlers run while it sleeps, and what they ask for happens."""
    count = 0

    def handler():
        nonlocal count
        count += 1
        if count == 2000:
            loop.call_soon_threadsafe(loop.stop)

    with storm_of_signals(handler):
        loop.run_forever()
    assert count >= 2000


def test_eintr_does_not_begin_the_wait_anew(loop, storm_of_signals):
    """A timeout that began again with each signal would never be over: they come more often."""
    fired = []
    for n in range(20):
        loop.call_later(n / 100, fired.append, n)
    loop.call_later(0.2, loop.stop)
    with storm_of_signals(lambda: None):
        loop.run_forever()
    assert fired == list(range(20))


def test_eintr_loses_no_event(loop, pair, storm_of_signals):
    one, other = pair
    left = 2000

    def reader():
        nonlocal left
        other.recv(1)
        left -= 1
        if left:
            one.send(b"x")
        else:
            loop.stop()

    loop.add_reader(other, reader)
    one.send(b"x")
    with storm_of_signals(lambda: None):
        loop.run_forever()
    loop.remove_reader(other)
    assert left == 0


def test_exception_of_a_signal_handler_leaves_the_loop_usable(loop):
    """KeyboardInterrupt while the loop sleeps: out of run_forever at once, a hundred times."""
    interrupted = threading.Event()

    def on_signal(signum, frame):
        # Once a round: the sender repeats itself, and a late repetition must not hit the test.
        if not interrupted.is_set():
            interrupted.set()
            raise KeyboardInterrupt

    def interrupt():
        while not interrupted.is_set():
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            interrupted.wait(0.001)

    old = signal.signal(signal.SIGINT, on_signal)
    try:
        for _ in range(100):
            interrupted.clear()
            sender = threading.Thread(target=interrupt)
            loop.call_soon(sender.start)
            with pytest.raises(KeyboardInterrupt):
                loop.run_forever()
            sender.join()
            assert not loop.is_running()
            assert loop.run_until_complete(asyncio.sleep(0, 7)) == 7
    finally:
        signal.signal(signal.SIGINT, old)


# -- "after `fork`, the child must not touch the parent's epoll"

FORK = """
import os, socket, gc
def wait_for(child):
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, status
one, other = socket.socketpair()
for sock in (one, other):
    sock.setblocking(False)
loop = new_loop()
received = []
def reader():
    received.append(one.recv(10))
    loop.stop()
loop.add_reader(one, reader)
timer = loop.call_later(3600, print, "not due")
def check(what):
    other.send(what)
    loop.run_forever()
    assert received.pop() == what
    loop.call_soon_threadsafe(loop.stop)  # the parent's waker too
    loop.run_forever()
def in_child(function):
    child = os.fork()
    if not child:
        try:
            function()
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    wait_for(child)
check(b"before")
"""
END = """
timer.cancel()
loop.remove_reader(one)
loop.close()
one.close()
other.close()
"""


def test_fork_child_with_a_loop_of_its_own_leaves_the_parents_alone(loop_kind):
    script = """
def child():
    own = new_loop()
    assert own.run_until_complete(asyncio.sleep(0.001, 7)) == 7
    own.close()
for n in range(3):
    in_child(child)
    check(b"after %d" % n)
# From within a callback too: the child is inside the parent's run_forever.
loop.call_soon(in_child, child)
check(b"inside")
"""
    run_script(FORK + script + END, loop_kind)


@pytest.mark.parametrize("what", ["remove_reader", "add_writer", "close", "drop", "run"])
def test_fork_child_that_uses_the_parents_loop(what):
    """Ours alone: after a fork stock's child edits the parent's epoll."""
    script = f"""
def child():
    global loop
    loop._after_fork()
    {
        {
            "remove_reader": "assert loop.remove_reader(one)",
            "add_writer": "loop.add_writer(one, loop.stop); loop.run_forever(); loop.remove_writer(one)",
            "close": "loop.close()",
            "drop": "loop.remove_reader(one); timer.cancel(); loop.close(); del loop; gc.collect()",
            "run": "other.send(b'mine'); loop.run_forever(); assert received == [b'mine'], received; "
            "loop.call_later(0, loop.stop); loop.run_forever()",
        }[what]
    }
for n in range(3):
    in_child(child)
    check(b"after %d" % n)
"""
    run_script(FORK + script + END, "interloop")


def test_fork_child_that_never_calls_after_fork():
    """It only lets the parent's loop go, as a child does that execs or exits: the parent notices nothing."""
    script = """
def child():
    global loop
    loop.close()
for n in range(3):
    in_child(child)
    check(b"after %d" % n)
"""
    run_script(FORK + script + END, "interloop")
