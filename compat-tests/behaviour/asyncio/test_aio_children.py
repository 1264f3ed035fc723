"""Points 36 and 37: how the end of a child is noticed, and what is left alone for it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading

import pytest
from aio_processes import KEEPS_GOING, PIPE, WAIT, spawn
from aio_support import resource_warnings, turns


def test_reaped_by_somebody_else(run, asyncio_log):
    """Nobody knows its exit code any more."""

    async def main():
        transport, protocol = await spawn(*WAIT, stdin=PIPE)
        transport.kill()
        with contextlib.suppress(ChildProcessError):
            # On 3.11 stock has a thread that may be faster.
            os.waitpid(transport.get_pid(), 0)
            await protocol.lost
            assert transport.get_returncode() == 255
            asyncio_log.take("will report returncode 255")
        await protocol.lost
        transport.close()

    run(main)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="stock's thread may be faster")
@pytest.mark.stock_wrong("asks for a pidfd that cannot be had any more", raises=ProcessLookupError)
def test_reaped_at_once(run, asyncio_log, monkeypatch):
    """By a SIGCHLD handler that takes whatever there is, before the child can be watched."""

    class Popen(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            os.waitpid(self.pid, 0)

    monkeypatch.setattr("asyncio.unix_events.subprocess.Popen", Popen)

    async def main():
        transport, protocol = await spawn("/bin/true")
        await protocol.lost
        assert transport.get_returncode() == 255
        asyncio_log.take("will report returncode 255")
        transport.close()

    with resource_warnings():
        run(main)


def test_nothing_is_taken_for_it(run, loop_kind):
    """Point 37: no signal handler, no wakeup fd, no thread."""
    if loop_kind == "stock" and sys.version_info < (3, 12):
        pytest.skip(
            "stock has a thread for each child: that there is none is a promise of ours alone"
        )

    async def main():
        threads = threading.active_count()
        before = signal.getsignal(signal.SIGCHLD)
        child = await asyncio.create_subprocess_exec(*WAIT, stdin=PIPE)
        assert threading.active_count() == threads
        assert signal.getsignal(signal.SIGCHLD) == before
        wakeup = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(wakeup)
        assert wakeup == -1
        child.stdin.close()
        assert await child.wait() == 0

    run(main)


def test_sigchld_is_ours_to_handle(run):
    async def main():
        loop = asyncio.get_running_loop()
        told = loop.create_future()
        loop.add_signal_handler(signal.SIGCHLD, lambda: told.done() or told.set_result(None))
        child = await asyncio.create_subprocess_exec("/bin/true")
        assert await child.wait() == 0
        await told
        assert loop.remove_signal_handler(signal.SIGCHLD)

    run(main)


def test_many_short_children(run):
    async def main():
        async def one(number):
            child = await asyncio.create_subprocess_exec("/bin/sh", "-c", f"exit {number % 200}")
            return await child.wait()

        count = 300
        limit = asyncio.Semaphore(50)

        async def limited(number):
            async with limit:
                return await one(number)

        codes = await asyncio.gather(*(limited(number) for number in range(count)))
        assert codes == [number % 200 for number in range(count)]

    run(main)


def test_loops_in_threads(loop_factory):
    """Each has children of its own, also beside each other and without one in the main thread."""
    if sys.version_info < (3, 12):
        # Stock's policy makes its watcher in whatever thread is first.
        asyncio.get_child_watcher()
    found = []

    def in_thread(number):
        async def main():
            for _ in range(5):
                child = await asyncio.create_subprocess_exec(*WAIT, stdin=PIPE, stdout=PIPE)
                out, _ = await child.communicate(b"%d" % number)
                found.append((number, out, child.returncode))

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(main())

    threads = [threading.Thread(target=in_thread, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [(number, b"%d" % number, 0) for number in range(4) for _ in range(5)]


def test_cancelled_start(run):
    """The child that was started meanwhile is killed."""

    async def main():
        loop = asyncio.get_running_loop()
        started = []
        popen = subprocess.Popen

        class Popen(popen):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                started.append(self)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("asyncio.unix_events.subprocess.Popen", Popen)
            task = loop.create_task(spawn(*KEEPS_GOING, stdin=PIPE, stdout=PIPE))
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (child,) = started
        assert child.returncode == -9

    run(main)


def test_connect_pipe_replaced_on_the_loop(run):
    async def main():
        loop = asyncio.get_running_loop()
        called = []
        connect = loop.connect_read_pipe

        async def connect_read_pipe(factory, pipe):
            called.append(pipe)
            return await connect(factory, pipe)

        loop.connect_read_pipe = connect_read_pipe
        child = await asyncio.create_subprocess_exec(*WAIT, stdin=PIPE, stdout=PIPE)
        assert await child.communicate(b"x") == (b"x", None)
        assert len(called) == 1

    run(main)


@pytest.mark.parametrize("failing", [1, 2])
def test_connect_pipe_fails(run, loop_kind, failing):
    """The child is killed, and nothing of what was connected until then is left behind."""
    if loop_kind == "stock" and sys.version_info < (3, 13, 4):
        pytest.skip("stock before 3.13.4 never ends when a pipe cannot be connected")

    async def main():
        loop = asyncio.get_running_loop()
        connect, called = loop.connect_read_pipe, []

        async def connect_read_pipe(factory, pipe):
            called.append(pipe)
            if len(called) == failing:
                raise ZeroDivisionError
            return await connect(factory, pipe)

        loop.connect_read_pipe = connect_read_pipe
        with pytest.raises(ZeroDivisionError):
            await spawn(*KEEPS_GOING, stdout=PIPE, stderr=PIPE if failing == 2 else None)
        for pipe in called:
            pipe.close()
        await turns()

    run(main)


@pytest.mark.parametrize("pipes", [None, PIPE], ids=["without", "with"])
def test_loop_closed_with_a_child(new_loop, loop_kind, pipes):
    """It outlives the loop. Its transport complains when it is collected, and kills it."""
    if loop_kind == "stock":
        pytest.skip("leaves the pidfd open; with pipes its __del__ fails on the closed loop")
    loop = new_loop()

    async def start():
        return await loop.subprocess_exec(
            asyncio.SubprocessProtocol, *KEEPS_GOING, stdin=pipes, stdout=pipes, stderr=None
        )

    transport, protocol = loop.run_until_complete(start())
    popen = transport.get_extra_info("subprocess")
    with resource_warnings() as texts:
        loop.close()
    assert texts == []
    assert popen.poll() is None
    with resource_warnings() as texts:
        del transport, protocol
    (text,) = texts
    assert text.startswith(f"unclosed transport <SubprocessTransport pid={popen.pid} running")
    assert popen.wait() == -9
    assert all(pipe.closed for pipe in (popen.stdin, popen.stdout) if pipe is not None)


def test_run_twice(new_loop):
    """A child that ends between two runs is told of in the next."""
    loop = new_loop()

    async def start():
        return await spawn(*WAIT, stdin=PIPE)

    transport, _ = loop.run_until_complete(start())
    transport.get_pipe_transport(0).close()
    pid = transport.get_pid()
    loop.run_until_complete(turns())
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert loop.run_until_complete(transport._wait()) == 0
    transport.close()


def test_without_a_pidfd(new_loop, loop_kind):
    """Out of descriptors, or on a kernel that has none: a thread waits."""
    if loop_kind == "stock":
        pytest.skip(
            "which watcher stock chooses is no contract: the descriptors taken away here are ours"
        )
    loop = new_loop()

    def refuse(pid, callback):
        raise OSError(errno.ENOSYS, "not on this kernel")

    loop._watch_child = refuse

    async def main():
        child = await asyncio.create_subprocess_exec(*WAIT, stdin=PIPE, stdout=PIPE)
        assert await child.communicate(b"x") == (b"x", None)
        assert child.returncode == 0

    loop.run_until_complete(main())


def test_debug(run, caplog):
    async def main():
        with caplog.at_level("DEBUG", "asyncio"):
            child = await asyncio.create_subprocess_exec(*WAIT, stdin=PIPE, stdout=PIPE)
            await child.communicate(b"x")
        text = caplog.text
        assert f"process '/bin/cat' created: pid {child.pid}" in text
        assert "Write pipe" in text
        assert "exited with return code 0" in text

    run(main, debug=True)


if sys.version_info < (3, 14):

    @pytest.fixture
    def choose_watcher():
        """Makes a child watcher the policy's, as programs do before 3.14, but unasked whether it is one."""
        policy = asyncio.get_event_loop_policy()
        before = policy._watcher
        yield lambda watcher: setattr(policy, "_watcher", watcher)
        policy._watcher = before

    def test_chosen_watcher_is_asked(run, choose_watcher):
        told = []

        class Watcher:
            def __enter__(self):
                told.append("enter")
                return self

            def __exit__(self, *exc):
                told.append("exit")

            def is_active(self):
                return True

            def add_child_handler(self, pid, callback, *args):
                told.append("add")
                asyncio.get_running_loop().call_soon(callback, pid, 42, *args)

        async def main():
            transport, protocol = await spawn("/bin/true")
            await protocol.lost
            assert transport.get_returncode() == 42
            transport.close()
            os.waitpid(transport.get_pid(), 0)

        choose_watcher(Watcher())
        run(main)
        assert told == ["enter", "add", "exit"]

    def test_inactive_watcher(run, choose_watcher):
        class Watcher:
            def __enter__(self):
                return self

            def __exit__(self, *exc):
                pass

            def is_active(self):
                return False

        async def main():
            with pytest.raises(RuntimeError, match="not activated"):
                await spawn("/bin/true")

        choose_watcher(Watcher())
        run(main)
