"""What the stress tests share."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import threading

LOOPS = {
    "stock": "asyncio.SelectorEventLoop",
    "interloop": "interloop.new_event_loop",
    "uvloop": "uvloop.new_event_loop",
}


def socket_pair() -> tuple[socket.socket, socket.socket]:
    one, other = socket.socketpair()
    one.setblocking(False)
    other.setblocking(False)
    return one, other


def turn(loop: asyncio.AbstractEventLoop, times: int = 1) -> None:
    """Turns of the loop that do not wait: what is ready when they poll has been called on return."""
    for _ in range(times):
        loop.call_soon(loop.stop)
        loop.run_forever()


@contextlib.contextmanager
def threads(*targets):
    """Runs the targets in threads of their own for the length of the block; their exceptions come out at its end."""
    errors: list[BaseException] = []

    def run(target):
        try:
            target()
        except BaseException as exc:  # re-raised below, in the test's own thread
            errors.append(exc)

    running = [threading.Thread(target=run, args=(target,), daemon=True) for target in targets]
    for thread in running:
        thread.start()
    yield
    for thread in running:
        thread.join()
    if errors:
        raise errors[0]


def run_script(script: str, loop_kind: str, **kwargs) -> str:
    """Runs a program in a fresh interpreter, in which `new_loop` makes a loop of that kind; what it printed."""
    module, _, _ = LOOPS[loop_kind].partition(".")
    head = f"import asyncio, {module}\nnew_loop = {LOOPS[loop_kind]}\n"
    result = subprocess.run(
        [sys.executable, "-W", "error", "-X", "faulthandler", "-c", head + script],
        capture_output=True,
        text=True,
        timeout=60,
        **kwargs,
    )
    assert (result.returncode, result.stderr) == (0, ""), result.stderr + result.stdout
    return result.stdout


def open_fd_count() -> int:
    return len(os.listdir("/proc/self/fd"))


REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
