"""Point 36: subprocess_exec and subprocess_shell, their transports and pipes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest
from aio_processes import KEEPS_GOING, PIPE, WAIT, Recorder, spawn
from aio_support import turns


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


@pytest.mark.skipif(sys.version_info < (3, 12), reason="stock's thread may be faster")
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
