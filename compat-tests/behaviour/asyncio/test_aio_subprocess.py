"""Points 36 and 37: subprocess_exec and subprocess_shell."""

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
from aio_support import resource_warnings, turns

PIPE = asyncio.subprocess.PIPE

# A child that runs until it is told to end, by the end of its standard input or a signal.
WAIT = ("/bin/cat",)

KEEPS_GOING = [sys.executable, "-c", "import time; time.sleep(3600)"]


class Recorder(asyncio.SubprocessProtocol):
    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.events: list[str] = []
        self.data = {1: b"", 2: b""}
        self.pipe_reasons: dict[int, BaseException | None] = {}
        self.lost = loop.create_future()
        self.exited = loop.create_future()

    def connection_made(self, transport):
        self.transport = transport
        self.events.append("made")

    def pipe_data_received(self, fd, data):
        assert data
        self.data[fd] += data
        if self.events[-1] != f"data {fd}":
            self.events.append(f"data {fd}")

    def pipe_connection_lost(self, fd, exc):
        self.events.append(f"pipe lost {fd}")
        self.pipe_reasons[fd] = exc

    def process_exited(self):
        self.events.append("exited")
        self.exited.set_result(None)

    def connection_lost(self, exc):
        self.events.append("lost")
        self.lost.set_result(exc)


async def spawn(*program, **kwargs):
    loop = asyncio.get_running_loop()
    kwargs = {"stdin": None, "stdout": None, "stderr": None} | kwargs
    return await loop.subprocess_exec(Recorder, *program, **kwargs)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("exit 0", 0),
        ("exit 7", 7),
        ("exit 255", 255),
        ("kill -KILL $$", -9),
        ("kill -TERM $$", -15),
    ],
)
def test_return_code(run, command, code):
    async def main():
        transport, protocol = await spawn("/bin/sh", "-c", command)
        assert await protocol.lost is None
        assert transport.get_returncode() == code
        assert protocol.events == ["made", "exited", "lost"]
        transport.close()

        child = await asyncio.create_subprocess_shell(command)
        assert await child.wait() == code
        assert child.returncode == code

    run(main)


def test_protocol(run):
    async def main():
        script = "read line; echo out $line; echo err >&2; exit 3"
        transport, protocol = await spawn(
            "/bin/sh", "-c", script, stdin=PIPE, stdout=PIPE, stderr=PIPE
        )
        assert isinstance(transport, asyncio.SubprocessTransport)
        assert transport.get_returncode() is None
        assert isinstance(transport.get_pid(), int)
        assert "running" in repr(transport)
        assert transport.get_protocol() is protocol
        stdin = transport.get_pipe_transport(0)
        assert isinstance(stdin, asyncio.WriteTransport)
        assert isinstance(transport.get_pipe_transport(1), asyncio.ReadTransport)
        assert transport.get_pipe_transport(3) is None
        stdin.write(b"hello\n")
        assert await protocol.lost is None
        assert protocol.data == {1: b"out hello\n", 2: b"err\n"}
        assert protocol.pipe_reasons == {0: None, 1: None, 2: None}
        assert protocol.events[0] == "made"
        assert protocol.events[-1] == "lost"
        assert protocol.events.count("exited") == 1
        assert protocol.events.index("data 1") < protocol.events.index("pipe lost 1")
        assert transport.get_returncode() == 3
        assert "returncode=3" in repr(transport)
        transport.close()

    run(main)


def test_large_input_and_output(run):
    async def main():
        data = os.urandom(2 * 1024 * 1024)
        child = await asyncio.create_subprocess_exec(*WAIT, stdin=PIPE, stdout=PIPE)
        out, err = await child.communicate(data)
        assert out == data
        assert err is None
        assert child.returncode == 0

    run(main)


def test_lines(run):
    async def main():
        child = await asyncio.create_subprocess_exec(*WAIT, stdin=PIPE, stdout=PIPE)
        for line in (b"one\n", b"two\n"):
            child.stdin.write(line)
            await child.stdin.drain()
            assert await child.stdout.readline() == line
        child.stdin.close()
        await child.stdin.wait_closed()
        assert await child.stdout.read() == b""
        assert await child.wait() == 0

    run(main)


def test_stdin_can_be_opened_by_name(run):
    """Point 36: it is a pipe, not a socket, which open() refuses."""

    async def main():
        child = await asyncio.create_subprocess_exec(
            "/bin/cat", "/dev/stdin", stdin=PIPE, stdout=PIPE
        )
        out, _ = await child.communicate(b"through its name")
        assert (out, child.returncode) == (b"through its name", 0)

    run(main)


def test_stderr_into_stdout(run):
    async def main():
        child = await asyncio.create_subprocess_shell(
            "echo out; echo err >&2", stdout=PIPE, stderr=asyncio.subprocess.STDOUT
        )
        assert await child.communicate() == (b"out\nerr\n", None)

    run(main)


def test_devnull_and_files(run, tmp_path):
    async def main():
        path = tmp_path / "out"
        with path.open("wb") as file:
            child = await asyncio.create_subprocess_exec(
                *WAIT, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.DEVNULL
            )
            assert await child.wait() == 0
        assert path.read_bytes() == b""

    run(main)


def test_grandchild_keeps_the_pipe(run):
    """The child's end is one thing, the end of its pipes another: connection_lost waits for both."""

    async def main():
        reader, writer = os.pipe()
        script = f"cat /dev/fd/{reader} & exit 0"
        transport, protocol = await spawn("/bin/sh", "-c", script, stdout=PIPE, pass_fds=(reader,))
        os.close(reader)
        await protocol.exited
        await turns()
        assert protocol.events == ["made", "exited"]
        os.write(writer, b"still here")
        os.close(writer)
        await protocol.lost
        assert protocol.events == ["made", "exited", "data 1", "pipe lost 1", "lost"]
        assert protocol.data[1] == b"still here"
        transport.close()

    run(main)


def test_popen_arguments(run, tmp_path):
    async def main():
        async def output(*program, **kwargs):
            child = await asyncio.create_subprocess_exec(*program, stdout=PIPE, **kwargs)
            out, _ = await child.communicate()
            assert child.returncode == 0
            return out.decode().strip()

        assert await output("/bin/pwd", cwd=tmp_path) == str(tmp_path)
        assert await output("/usr/bin/env", env={"ONLY": "this"}) == "ONLY=this"
        assert await output("renamed", "-c", "echo $0", executable="/bin/sh") == "renamed"
        assert await output("/bin/sh", "-c", "umask", umask=0o27) == "0027"
        session = await output(
            "/bin/sh", "-c", "ps -o sid= -p $$ || echo $$", start_new_session=True
        )
        assert session != str(os.getsid(0))
        group = await output(
            sys.executable, "-c", "import os; print(os.getpgid(0))", process_group=os.getpgid(0)
        )
        assert group == str(os.getpgid(0))
        reader, writer = os.pipe()
        os.write(writer, b"given")
        os.close(writer)
        assert await output("/bin/sh", "-c", f"cat /dev/fd/{reader}", pass_fds=(reader,)) == "given"
        os.close(reader)
        assert (
            await output(
                "/bin/sh", "-c", "echo $MARK", preexec_fn=lambda: os.chdir("/"), env={"MARK": "1"}
            )
            == "1"
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MARK", raising=False)
        run(main)


@pytest.mark.parametrize(
    "refused",
    [
        {"universal_newlines": True},
        {"text": True},
        {"encoding": "utf-8"},
        {"errors": "strict"},
        {"bufsize": 1},
        {"shell": True},
    ],
)
def test_refusals(run, refused):
    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(ValueError):
            await loop.subprocess_exec(Recorder, "/bin/true", **refused)
        for_shell = {"shell": False} if "shell" in refused else refused
        with pytest.raises(ValueError):
            await loop.subprocess_shell(Recorder, "true", **for_shell)

    run(main)


def test_wrong_commands(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(ValueError, match="cmd must be a string"):
            await loop.subprocess_shell(Recorder, 123)
        with pytest.raises(TypeError):
            await loop.subprocess_exec(Recorder, 123)
        with pytest.raises(FileNotFoundError) as caught:
            await asyncio.create_subprocess_exec("/no/such/program", stdin=PIPE, stdout=PIPE)
        assert caught.value.filename == "/no/such/program"
        with pytest.raises(PermissionError):
            await asyncio.create_subprocess_exec("/etc/passwd")
        with pytest.raises(subprocess.SubprocessError):
            await asyncio.create_subprocess_exec("/bin/true", preexec_fn=lambda: 1 / 0)

    run(main)


def test_popen_is_looked_up_in_asyncio(run, monkeypatch):
    made = []

    class Popen(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            made.append(kwargs)
            super().__init__(*args, **kwargs)

    monkeypatch.setattr("asyncio.unix_events.subprocess.Popen", Popen)

    async def main():
        transport, protocol = await spawn("/bin/true")
        assert isinstance(transport.get_extra_info("subprocess"), Popen)
        await protocol.lost
        transport.close()

    run(main)
    assert len(made) == 1
    assert made[0]["universal_newlines"] is False


@pytest.mark.parametrize(
    ("how", "code"), [("kill", -9), ("terminate", -15), ("send_signal", -signal.SIGUSR1)]
)
def test_signals(run, how, code):
    async def main():
        transport, protocol = await spawn(*WAIT, stdin=PIPE)
        if how == "send_signal":
            transport.send_signal(signal.SIGUSR1)
        else:
            getattr(transport, how)()
        await protocol.lost
        assert transport.get_returncode() == code
        for call in (transport.kill, transport.terminate, lambda: transport.send_signal(1)):
            with pytest.raises(ProcessLookupError):
                call()
        transport.close()

    run(main)


def test_close_kills_by_popen(run):
    """Point 36: `get_extra_info('subprocess').kill()` is what close() calls, once."""

    async def main():
        transport, protocol = await spawn(*KEEPS_GOING, stdin=PIPE, stdout=PIPE)
        popen = transport.get_extra_info("subprocess")
        assert isinstance(popen, subprocess.Popen)
        assert popen.pid == transport.get_pid()
        kill, called = popen.kill, []
        popen.kill = lambda: called.append(kill())
        transport.close()
        transport.close()
        assert called == [None]
        assert transport.is_closing()
        await protocol.lost
        assert transport.get_returncode() == -9
        assert popen.returncode == -9
        assert popen.stdin.closed
        assert popen.stdout.closed

    run(main)


def test_close_does_not_kill_a_finished_child(run):
    async def main():
        transport, protocol = await spawn("/bin/true")
        popen = transport.get_extra_info("subprocess")
        popen.kill = lambda: pytest.fail("killed")
        assert await transport._wait() == 0
        transport.close()
        await protocol.lost

    run(main)


@pytest.mark.stock_wrong("forgets what Popen.poll() has found out", raises=AssertionError)
def test_close_of_a_child_that_has_just_finished(run, asyncio_log):
    """close() asks Popen.poll(), which reaps it: that is its return code then."""

    async def main():
        transport, protocol = await spawn(*WAIT, stdin=PIPE)
        popen = transport.get_extra_info("subprocess")
        popen.kill = lambda: pytest.fail("killed")
        os.kill(popen.pid, signal.SIGTERM)
        os.waitid(os.P_PID, popen.pid, os.WEXITED | os.WNOWAIT)
        transport.close()
        await protocol.lost
        asyncio_log.records.clear()
        assert transport.get_returncode() == -signal.SIGTERM

    run(main)


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
        pytest.skip("stock has a thread for each child")

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
        pytest.skip("waits for ever")

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
        pytest.skip("how stock watches is its own")
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
