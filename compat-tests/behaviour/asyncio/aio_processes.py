"""What the tests of subprocesses share."""

from __future__ import annotations

import asyncio
import sys

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
