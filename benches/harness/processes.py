"""Child processes: pinned to a core, spoken to in lines, and ended before we go on."""

from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from harness.model import BENCHES, LOAD_BINARY, Contestant, MeasureError, Settings

START_TIMEOUT = 30.0
ANSWER_TIMEOUT = 30.0
STOP_TIMEOUT = 15.0

# glibc returns a freed 256 KiB block to the kernel each time unless told to keep it.
TUNED_MALLOC = {
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
    "MALLOC_TOP_PAD_": str(16 << 20),
    "MALLOC_MMAP_THRESHOLD_": str(64 << 20),
}


def command_of(contestant: Contestant, settings: Settings) -> list[str]:
    return expand(contestant.command, settings)


def expand(words: Sequence[str], settings: Settings) -> list[str]:
    known = {"python": settings.python, "load": str(LOAD_BINARY), "benches": str(BENCHES)}
    return [word.format(**known) for word in words]


def environment_of(contestant: Contestant, settings: Settings) -> dict[str, str]:
    """The server's environment: ours without what would change a figure behind our back."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MALLOC_")
        and name not in ("PYTHONASYNCIODEBUG", "PYTHONDEVMODE", "PYTHONMALLOC", "PYTHONTRACEMALLOC")
    }
    if settings.malloc == "tuned":
        environment.update(TUNED_MALLOC)
    environment.update(contestant.environment)
    return environment


def placed(core: int | None, realtime: bool) -> Callable[[], None]:
    """For preexec_fn: the child and all its threads stay on `core`, ahead of ordinary processes
    if `realtime` (niceness would do nothing against those of other sessions: autogroups)."""

    def place() -> None:
        if core is not None:
            os.sched_setaffinity(0, {core})
        if realtime:
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))

    return place


class Child:
    """A process that writes lines to stdout, and must write nothing to stderr."""

    def __init__(
        self,
        command: Sequence[str],
        core: int | None,
        realtime: bool,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.command = list(command)
        self._errors = tempfile.TemporaryFile()
        self._pending = b""
        try:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=environment,
                preexec_fn=placed(core, realtime),
                bufsize=0,
            )
        except OSError as error:
            self._errors.close()
            raise MeasureError(f"{self.command[0]}: {error}") from error

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Whatever happened, it is gone afterwards. Whether it ended well, `finish` asks."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self._errors.close()

    @property
    def pid(self) -> int:
        return self.process.pid

    def line(self, timeout: float) -> str:
        """The next line of its output. MeasureError if it ends or takes longer."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + timeout
        while b"\n" not in self._pending:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise self.failure(f"no answer within {timeout:g} s")
            chunk = os.read(self.process.stdout.fileno(), 65536)
            if not chunk:
                self.process.wait()
                raise self.failure(f"ended with status {self.process.returncode}")
            self._pending += chunk
        line, _, self._pending = self._pending.partition(b"\n")
        return line.decode()

    def json_line(self, timeout: float) -> dict[str, Any]:
        text = self.line(timeout)
        try:
            answer = json.loads(text)
        except ValueError as error:
            raise self.failure(f"answered {text!r}, which is not JSON") from error
        if not isinstance(answer, dict):
            raise self.failure(f"answered {text!r}, which is not an object")
        return answer

    def ask(self, question: str = "?") -> dict[str, Any]:
        """A line to its stdin, answered with a line (for servers: see servers/_control.py)."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(question.encode() + b"\n")
        except BrokenPipeError as error:
            self.process.wait()
            raise self.failure(f"ended with status {self.process.returncode}") from error
        return self.json_line(ANSWER_TIMEOUT)

    def close_stdin(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def finish(self) -> None:
        """Close its stdin and wait for its end. MeasureError if that is not a clean one."""
        self.close_stdin()
        try:
            self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired as error:
            raise self.failure(f"did not end within {STOP_TIMEOUT:g} s") from error
        if self.process.returncode != 0:
            raise self.failure(f"ended with status {self.process.returncode}")
        if self._stderr():
            raise self.failure("wrote to stderr")

    def failure(self, what: str) -> MeasureError:
        text = self._stderr()
        return MeasureError(f"{' '.join(self.command)}: {what}" + (f"\n{text}" if text else ""))

    def _stderr(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace").strip()
