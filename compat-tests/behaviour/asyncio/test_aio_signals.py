"""Points 2 and 38: add_signal_handler and remove_signal_handler."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import sys
import threading

import pytest
from aio_support import Contexts, polls


@pytest.fixture(autouse=True)
def signals_put_back():
    """Every test leaves the handlers and the wakeup descriptor as it found them; its end puts them back."""
    watched = (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in watched}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    assert signal.set_wakeup_fd(-1) == -1


def test_handler_is_called(run):
    """With the arguments given, in the loop's thread, by the loop and not in the signal's own frame."""

    async def main():
        loop = asyncio.get_running_loop()
        got = loop.create_future()
        loop.add_signal_handler(signal.SIGUSR1, lambda *args: got.set_result(args), 1, "two")
        signal.raise_signal(signal.SIGUSR1)
        assert not got.done()
        assert await got == (1, "two")
        assert loop.remove_signal_handler(signal.SIGUSR1) is True

    run(main)


def test_signal_between_two_runs(new_loop):
    """Point 2: one that arrives while the loop does not run is delivered in the next run."""
    loop = new_loop()
    seen = []
    loop.add_signal_handler(signal.SIGUSR1, seen.append, 1)
    signal.raise_signal(signal.SIGUSR1)
    assert seen == []
    loop.run_until_complete(polls())
    assert seen == [1]
    signal.raise_signal(signal.SIGUSR1)
    loop.run_until_complete(polls())
    assert seen == [1, 1]
    loop.remove_signal_handler(signal.SIGUSR1)


def test_signal_wakes_a_sleeping_loop(new_loop):
    """Sent by another thread while the loop sleeps in the poll."""
    loop = new_loop()
    loop.add_signal_handler(signal.SIGUSR1, loop.stop)
    thread = threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGUSR1))
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()
    assert loop.remove_signal_handler(signal.SIGUSR1)


def test_signal_raised_many_times(run):
    """Each comes at least once after it was sent, two kinds do not disturb each other."""

    async def main():
        loop = asyncio.get_running_loop()
        seen = []
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            loop.add_signal_handler(number, seen.append, number)
        for _ in range(20):
            for number in (signal.SIGUSR1, signal.SIGUSR2):
                seen.clear()
                signal.raise_signal(number)
                while not seen:
                    await asyncio.sleep(0)
                assert seen == [number]
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            assert loop.remove_signal_handler(number)

    run(main)


def test_second_handler_replaces_the_first(run):
    """One handler a signal."""

    async def main():
        loop = asyncio.get_running_loop()
        seen = []
        loop.add_signal_handler(signal.SIGUSR1, seen.append, "first")
        loop.add_signal_handler(signal.SIGUSR1, seen.append, "second")
        signal.raise_signal(signal.SIGUSR1)
        await polls()
        assert seen == ["second"]
        assert loop.remove_signal_handler(signal.SIGUSR1) is True
        assert loop.remove_signal_handler(signal.SIGUSR1) is False

    run(main)


def test_removal_puts_defaults_back(new_loop):
    """Point 38: SIGINT to default_int_handler, others to SIG_DFL, whatever was there before."""
    loop = new_loop()
    signal.signal(signal.SIGUSR1, lambda *args: None)
    for number, default in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGUSR1, signal.SIG_DFL),
    ):
        loop.add_signal_handler(number, print)
        assert signal.getsignal(number) is not default
        assert loop.remove_signal_handler(number) is True
        assert signal.getsignal(number) is default
        assert loop.remove_signal_handler(number) is False


def test_close_removes_all(new_loop):
    """Point 38: a closed loop handles nothing any more, and the wakeup descriptor is given back."""
    loop = new_loop()
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop.add_signal_handler(signal.SIGINT, print)
    loop.close()
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.set_wakeup_fd(-1) == -1


def test_removed_handler_is_not_called(run):
    """A signal that came before the removal but was not delivered yet is dropped."""

    async def main():
        loop = asyncio.get_running_loop()
        seen = []
        loop.add_signal_handler(signal.SIGCHLD, seen.append, 1)
        signal.raise_signal(signal.SIGCHLD)
        assert loop.remove_signal_handler(signal.SIGCHLD) is True
        await polls()
        assert seen == []

    run(main)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_uncatchable(new_loop, number):
    """Point 38: RuntimeError "sig {n} cannot be caught", and nothing is left behind."""
    loop = new_loop()
    with pytest.raises(RuntimeError, match=f"sig {int(number)} cannot be caught"):
        loop.add_signal_handler(number, print)
    assert loop.remove_signal_handler(number) is False
    assert signal.set_wakeup_fd(-1) == -1


@pytest.mark.parametrize("method", ["add", "remove"])
def test_wrong_numbers(new_loop, method):
    """Point 38: ValueError out of range, TypeError for what is no int."""
    loop = new_loop()

    def call(number):
        if method == "add":
            return loop.add_signal_handler(number, print)
        return loop.remove_signal_handler(number)

    for number in (0, -1, 1 << 20):
        with pytest.raises(ValueError, match=f"invalid signal number {number}"):
            call(number)
    for number in ("SIGINT", 2.0, None):
        with pytest.raises(TypeError, match="sig must be an int, not "):
            call(number)


def test_coroutines_are_refused(new_loop):
    """Point 38: TypeError, in any mode, for a coroutine and a coroutine function."""
    loop = new_loop()

    async def coroutine_function():
        pass

    coroutine = coroutine_function()
    for wrong in (coroutine_function, coroutine):
        with pytest.raises(
            TypeError, match=r"coroutines cannot be used with add_signal_handler\(\)"
        ):
            loop.add_signal_handler(signal.SIGUSR1, wrong)
    coroutine.close()
    assert loop.remove_signal_handler(signal.SIGUSR1) is False


def test_only_in_the_main_thread(new_loop):
    """RuntimeError elsewhere, as Python itself only handles signals there."""
    loop = new_loop()
    caught = []

    def target():
        try:
            loop.add_signal_handler(signal.SIGUSR1, print)
        except RuntimeError as exc:
            caught.append(exc)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    assert len(caught) == 1
    assert loop._signal_handlers == {}


def test_context(run):
    """A handler runs in a copy of the context it was added in."""
    var = contextvars.ContextVar("var", default="unset")

    async def main():
        loop = asyncio.get_running_loop()
        got = loop.create_future()
        var.set("added")
        loop.add_signal_handler(signal.SIGUSR1, lambda: got.set_result(var.get()))
        var.set("later")
        signal.raise_signal(signal.SIGUSR1)
        assert await got == "added"
        loop.remove_signal_handler(signal.SIGUSR1)

    run(main)


def test_handler_that_raises_is_reported(run):
    """As any callback; it stays the handler."""

    async def main():
        loop = asyncio.get_running_loop()
        contexts = Contexts(loop)

        def handler():
            raise LookupError("in handler")

        loop.add_signal_handler(signal.SIGUSR1, handler)
        for count in (1, 2):
            signal.raise_signal(signal.SIGUSR1)
            await polls()
            assert len(contexts) == count
        assert type(contexts[0]["exception"]) is LookupError
        loop.remove_signal_handler(signal.SIGUSR1)

    run(main)


@pytest.mark.parametrize("how", ["removes itself", "stops", "raises SystemExit"])
def test_handlers_may_do_anything(new_loop, how):
    """Re-entrancy: remove oneself, stop the loop, leave it."""
    loop = new_loop()

    def handler():
        if how == "removes itself":
            assert loop.remove_signal_handler(signal.SIGUSR1) is True
            loop.call_soon(loop.stop)
        elif how == "stops":
            loop.stop()
        else:
            raise SystemExit(7)

    loop.add_signal_handler(signal.SIGUSR1, handler)
    loop.call_soon(signal.raise_signal, signal.SIGUSR1)
    if how == "raises SystemExit":
        with pytest.raises(SystemExit):
            loop.run_forever()
    else:
        loop.run_forever()
    assert loop.remove_signal_handler(signal.SIGUSR1) is (how != "removes itself")


def test_sigchld_is_free(run):
    """Point 37, as far as handlers go: SIGCHLD can be handled like any other."""

    async def main():
        loop = asyncio.get_running_loop()
        got = loop.create_future()
        loop.add_signal_handler(signal.SIGCHLD, lambda: got.done() or got.set_result(1))
        pid = os.posix_spawn("/bin/true", ["true"], os.environ)
        await got
        assert os.waitpid(pid, 0) == (pid, 0)
        assert loop.remove_signal_handler(signal.SIGCHLD)

    run(main)


def test_wakeup_descriptor_of_others_is_left_alone(new_loop):
    """Point 37: without add_signal_handler a run neither takes nor replaces the wakeup descriptor (Twisted's)."""
    loop = new_loop()
    read, write = os.pipe()
    os.set_blocking(write, False)
    os.set_blocking(read, False)
    before = signal.set_wakeup_fd(write)
    signal.signal(signal.SIGUSR1, lambda *args: None)
    try:

        async def main():
            got = loop.create_future()
            loop.add_reader(read, lambda: got.done() or got.set_result(os.read(read, 10)))
            signal.raise_signal(signal.SIGUSR1)
            assert await got == bytes([signal.SIGUSR1])
            loop.remove_reader(read)

        loop.run_until_complete(main())
        loop.close()
        signal.raise_signal(signal.SIGUSR1)
        assert os.read(read, 10) == bytes([signal.SIGUSR1])
    finally:
        assert signal.set_wakeup_fd(before) == write
        os.close(read)
        os.close(write)


def test_ordinary_python_handlers_run_while_the_loop_sleeps(new_loop):
    """A handler set by signal.signal() runs though the loop sleeps in the poll with nothing to do."""
    loop = new_loop()
    seen = []

    def handler(number, frame):
        seen.append(number)
        loop.call_soon_threadsafe(loop.stop)

    signal.signal(signal.SIGUSR2, handler)
    thread = threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGUSR2))
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()
    assert seen == [signal.SIGUSR2]


def test_close_while_the_interpreter_ends(new_loop, monkeypatch):
    """Stock leaves handlers alone then, and says so: the modules it would need are being taken down."""
    loop = new_loop()
    loop.add_signal_handler(signal.SIGUSR1, int)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "is_finalizing", lambda: True)
        with pytest.warns(ResourceWarning, match="skipping signal handlers removal"):
            loop.close()
    assert loop.is_closed()
    assert not loop._signal_handlers
    # As it would be in the next process.
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
