"""Starts workers, reads their journals while they run, and names the test that hangs or takes the process down."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from suitekit.jobs import Job
from suitekit.ordinary_user import User
from suitekit.outcomes import CRASHED, HUNG, NOT_RUN, Record, add, shorten

WORKER = Path(__file__).parent.parent / "worker.py"

# linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36

OVER = "the run's time is over"

# Seconds between two looks at a journal.
LOOK = 0.2
# Seconds an aborted worker has to write its stacks.
ABORT_GRACE = 5.0
# A batch whose workers keep dying is given up: every test left is then recorded as not run.
MOST_RESTARTS = 25


@dataclass(frozen=True)
class Limits:
    """In seconds: without any event; for one module; for the whole run (the clock of time.monotonic)."""

    stall: float
    module: float
    deadline: float


@dataclass
class Outcome:
    """What became of one batch on one contestant."""

    records: dict[str, Record] = field(default_factory=dict)
    infos: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    # The exit codes of the workers that ended by themselves.
    codes: list[int] = field(default_factory=list)
    # What went wrong outside of any test.
    troubles: list[str] = field(default_factory=list)


def environment(folder: Path) -> dict[str, str]:
    """A worker's whole environment: nothing of the caller's but where programs are."""
    return {
        # Suites call the programs that they belong to.
        "PATH": os.pathsep.join(
            (os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath))
        ),
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONUNBUFFERED": "1",
        # Tornado's tests that need the outside world look for it.
        "NO_NETWORK": "1",
        # Seconds; 5 are too few on a loaded machine, and Tornado's own CI sets the same.
        "ASYNC_TEST_TIMEOUT": "25",
    }


class Follower:
    """Reads the lines that were added to a journal since the last look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def events(self) -> Iterator[dict[str, Any]]:
        try:
            with self._path.open("rb") as journal:
                journal.seek(self._offset)
                new = journal.read()
        except FileNotFoundError:
            return
        whole = new[: new.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            yield json.loads(line)


class Watch:
    """One worker's life, from its start to its end, by itself or not."""

    def __init__(self, job: Job, folder: Path, user: User, outcome: Outcome) -> None:
        self.job = job
        self.folder = folder
        self.outcome = outcome
        self.planned: dict[str, str] = {}
        self.finished: set[str] = set()
        self.running: str | None = None
        self.module: str | None = None
        self.ended = False
        self._module_since = self._event_at = time.monotonic()
        self._follower = Follower(Path(job.journal))
        path = folder / "job.json"
        job.save(path)
        user.own(path)
        self._output = (folder / "output").open("wb")
        self.process = subprocess.Popen(
            [*user.prefix, sys.executable, str(WORKER), str(path)],
            cwd=folder / "work",
            env=environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            # A process group of its own, to end it with all its children.
            start_new_session=True,
        )

    def read(self) -> None:
        for event in self._follower.events():
            self._event_at = time.monotonic()
            kind = event.pop("event")
            if kind == "plan":
                self.planned.update(event["tests"])
            elif kind == "start":
                self.running = event["test"]
                if event["module"] != self.module:
                    self.module = event["module"]
                    self._module_since = self._event_at
            elif kind == "finish":
                name = event.pop("test")
                self.finished.add(name)
                add(self.outcome.records, name, Record(**event))
                if name == self.running:
                    self.running = None
            elif kind == "end":
                self.ended = True
            elif kind == "info":
                self.outcome.infos.append(event)

    def overdue(self, limits: Limits) -> str | None:
        now = time.monotonic()
        if self.module is not None and now - self._module_since >= limits.module:
            return f"{self.module} took over {limits.module:.0f} seconds"
        if now - self._event_at >= limits.stall:
            return f"nothing happened for {limits.stall:.0f} seconds"
        return None

    def abort(self) -> None:
        """faulthandler answers SIGABRT with the stacks of all threads."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGABRT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(ABORT_GRACE)

    def close(self) -> None:
        """End what is left of the process group, and take in the last lines."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._output.close()
        self.read()

    def stacks(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return Path(self.job.stacks).read_text(errors="replace")
        return ""

    def said(self) -> str:
        """The last of what the worker and its suite printed."""
        return (self.folder / "output").read_text(errors="replace")[-3000:]


class Supervisor:
    """Runs batches of one suite, each in workers of its own."""

    def __init__(self, scratch: Path, user: User, limits: Limits, options: dict[str, str]) -> None:
        self._scratch = scratch
        self._user = user
        self._limits = limits
        self._options = options
        self._count = 0
        self._lock = threading.Lock()
        self._interrupted = threading.Event()

    def in_parallel(self, jobs: int, calls: list[Callable[[], Outcome]]) -> list[Outcome]:
        """The calls' results, in their order. If this is interrupted, the workers are ended first."""
        with ThreadPoolExecutor(jobs) as pool:
            try:
                return list(pool.map(lambda call: call(), calls))
            except BaseException:
                self._interrupted.set()
                raise

    def _over(self) -> bool:
        return self._interrupted.is_set() or time.monotonic() >= self._limits.deadline

    def _folder(self) -> Path:
        with self._lock:
            self._count += 1
            folder = self._scratch / f"w{self._count}"
        folder.mkdir()
        self._user.own(folder)
        for part in ("home", "tmp", "work"):
            (folder / part).mkdir()
            self._user.own(folder / part)
        return folder

    def run(
        self, suite: str, contestant: str, modules: list[str], only: list[str] | None = None
    ) -> Outcome:
        """All tests of ``modules`` (or those of ``only``) on one contestant; a worker that hangs or dies is followed by
        another for the tests that are left."""
        outcome = Outcome()
        began = time.monotonic()
        if self._over():
            outcome.troubles.append(f"{OVER}, before {', '.join(modules)}")
            return outcome
        skip: set[str] = set()
        for _ in range(MOST_RESTARTS):
            folder = self._folder()
            job = Job(
                suite,
                contestant,
                modules,
                journal=str(folder / "journal"),
                stacks=str(folder / "stacks"),
                skip=sorted(skip),
                only=only or [],
                options=self._options,
            )
            watch = Watch(job, folder, self._user, outcome)
            try:
                why = self._follow(watch)
            finally:
                watch.close()
            left = self._settle(watch, why, outcome)
            if not left or self._over():
                break
            skip |= watch.finished | {name for name in watch.planned if name not in left}
        else:
            outcome.troubles.append(f"given up after {MOST_RESTARTS} workers")
        if not outcome.codes:
            # The last worker did not end by itself. (After one that did, a planned test without a record is one whose
            # class or module set-up skipped or failed, which has a record of its own.)
            for name, module in watch.planned.items():
                if name not in outcome.records and name not in skip:
                    add(
                        outcome.records,
                        name,
                        Record(NOT_RUN, "its worker was ended", module=module),
                    )
        outcome.seconds = time.monotonic() - began
        return outcome

    def _follow(self, watch: Watch) -> str | None:
        """Wait for the worker's end; the reason if it had to be aborted."""
        while True:
            try:
                watch.process.wait(LOOK)
            except subprocess.TimeoutExpired:
                pass
            else:
                return None
            watch.read()
            why = OVER if self._over() else watch.overdue(self._limits)
            if why is not None:
                watch.abort()
                return why

    def _settle(self, watch: Watch, why: str | None, outcome: Outcome) -> set[str]:
        """Record what the worker's end means; the planned tests that another worker has to take up."""
        code = watch.process.returncode
        if watch.ended and why is None:
            outcome.codes.append(code)
            return set()
        left = {name for name in watch.planned if name not in watch.finished}
        if why is None:
            ending = f"the process ended with {code}" if code >= 0 else f"killed by signal {-code}"
            verdict = CRASHED
        else:
            ending, verdict = why, HUNG
        if watch.running is None:
            # Between two tests, or outside of all: nothing tells what to leave out of another attempt.
            where = f"in {watch.job.modules}" if watch.module is None else f"after {watch.module}"
            outcome.troubles.append(f"{where}: {ending}\n{watch.stacks()}\n{watch.said()}")
            return set()
        add(
            outcome.records,
            watch.running,
            Record(
                verdict,
                shorten(
                    f"{watch.stacks()}\n{watch.said() if verdict == CRASHED else ''}\n{ending}"
                ),
                module=watch.module or "",
            ),
        )
        left.discard(watch.running)
        if why is not None and watch.module is not None and "took over" in why:
            for name in [name for name in left if watch.planned[name] == watch.module]:
                add(outcome.records, name, Record(NOT_RUN, ending, module=watch.module))
                left.discard(name)
        return left


def adopt_orphans() -> None:
    """Make what a suite's processes leave behind, in sessions of their own too, children of this process. Linux only."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def children() -> dict[int, str]:
    """This process's children that still run, with their command lines."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        # A process may end between any two of these reads.
        with contextlib.suppress(OSError):
            status = dict(
                line.split(":\t", 1)
                for line in (folder / "status").read_text().splitlines()
                if "\t" in line
            )
            if int(status["PPid"]) == os.getpid() and not status["State"].startswith("Z"):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                found[int(folder.name)] = command.decode(errors="replace").strip()
    return found


@contextlib.contextmanager
def orphans_ended() -> Iterator[dict[int, str]]:
    """On leaving, when no worker runs any more, end what suites left running, and what that left in turn."""
    ended: dict[int, str] = {}
    try:
        yield ended
    finally:
        end_orphans(ended)


def end_orphans(ended: dict[int, str]) -> None:
    while left := children():
        ended.update(left)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in left:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def writable_again(function: Callable[[str], Any], path: str, _: Any) -> None:
    """Suites leave folders without modes behind."""
    parent = os.path.dirname(path)
    for each in (parent, path):
        with contextlib.suppress(OSError):
            os.chmod(each, stat.S_IRWXU)
    function(path)


@contextlib.contextmanager
def scratch_folder(keep: bool) -> Iterator[Path]:
    """A folder for everything the suites write. Its path is short: a Unix socket's has 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="suites-"))
    try:
        yield folder
    finally:
        if keep:
            print(f"kept: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, onerror=writable_again)
