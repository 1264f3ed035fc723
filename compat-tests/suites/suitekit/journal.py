"""The worker's side of the results: one JSON line per event, written before anything else can go wrong.

The supervisor reads the file while the suite runs; a test that hangs or takes the process down is the one whose start
is written and whose end is not.
"""

from __future__ import annotations

import json
import os
import time
import traceback
import unittest
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from suitekit.outcomes import (
    ERRORED,
    EXPECTED_FAILURE,
    FAILED,
    ORDER,
    PASSED,
    SKIPPED,
    UNEXPECTED_SUCCESS,
    shorten,
)


class Journal:
    """Appends events to ``path``.

    The file is opened for each line: suites count open descriptors, and close those they do not know. A forked child
    that runs on into the test runner writes nothing.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._pid = os.getpid()

    def write(self, event: str, **fields: Any) -> None:
        if os.getpid() != self._pid:
            return
        line = json.dumps({"event": event, **fields}) + "\n"
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(fd, line.encode())
        finally:
            os.close(fd)


class Recorder:
    """Turns a test runner's calls (start, any number of notes, stop) into one journal entry per test."""

    def __init__(self, journal: Journal, modules: Iterable[str], loops: dict[str, int]) -> None:
        self._journal = journal
        self._modules = sorted(modules, key=len, reverse=True)
        self._loops = loops
        self._current: str | None = None
        self._started = 0.0
        self._loops_before: dict[str, int] = {}
        self._notes: list[tuple[str, str]] = []

    def module_of(self, test: Any) -> str:
        """The selected module a test belongs to: that of its class, or for a place-holder, of its name."""
        if hasattr(test, "suite_module"):
            return str(test.suite_module)
        own = type(test).__module__
        if any(own == module or own.startswith(module + ".") for module in self._modules):
            return own
        name = str(test.id())
        # unittest names what failed in a set-up "setUpClass (module.Class)".
        if name.endswith(")"):
            name = name[name.find("(") + 1 : -1]
        for module in self._modules:
            if name == module or name.startswith(module + "."):
                return module
        return own

    def plan(self, tests: Iterable[Any]) -> None:
        self._journal.write("plan", tests=[[test.id(), self.module_of(test)] for test in tests])

    def start(self, test: Any) -> None:
        self._current = str(test.id())
        self._started = time.monotonic()
        self._loops_before = dict(self._loops)
        self._notes = []
        self._journal.write("start", test=self._current, module=self.module_of(test))

    def note(self, test: Any, outcome: str, detail: str = "") -> None:
        """A result. Those that belong to no started test (a class's or module's set-up) are written at once."""
        # A sub-test's own id has its parameters behind the test's.
        name = str(getattr(test, "test_case", test).id())
        if name == self._current:
            self._notes.append((outcome, detail))
        else:
            self._journal.write(
                "finish",
                test=name,
                module=self.module_of(test),
                outcome=outcome,
                detail=shorten(detail),
                seconds=0.0,
                loops={},
            )

    def stop(self, test: Any) -> None:
        if self._current is None:
            # unittest of 3.12.1 stops tests that it skips without having started them. Their result is written.
            return
        # No note at all: unittest reports a test whose sub-tests failed by these alone, and their success by none.
        outcome, detail = max(self._notes or [(PASSED, "")], key=lambda note: ORDER.index(note[0]))
        self._journal.write(
            "finish",
            test=self._current,
            module=self.module_of(test),
            outcome=outcome,
            detail=shorten(detail),
            seconds=round(time.monotonic() - self._started, 4),
            loops={
                kind: count - self._loops_before.get(kind, 0)
                for kind, count in self._loops.items()
                if count != self._loops_before.get(kind, 0)
            },
        )
        self._current = None


def text_of(error: Any) -> str:
    """The traceback of what unittest (a triple) or trial (a Failure) passes as error."""
    if isinstance(error, tuple):
        return "".join(traceback.format_exception(*error))
    return str(error.getTraceback())


class UnittestResults:
    """Mixin before a ``unittest.TestResult`` class: everything it is told, the recorder is told too."""

    recorder: Recorder

    def startTest(self, test: Any) -> None:
        self.recorder.start(test)
        super().startTest(test)  # type: ignore[misc]

    def stopTest(self, test: Any) -> None:
        super().stopTest(test)  # type: ignore[misc]
        self.recorder.stop(test)

    def addSuccess(self, test: Any) -> None:
        self.recorder.note(test, PASSED)
        super().addSuccess(test)  # type: ignore[misc]

    def addError(self, test: Any, err: Any) -> None:
        self.recorder.note(test, ERRORED, text_of(err))
        super().addError(test, err)  # type: ignore[misc]

    def addFailure(self, test: Any, err: Any) -> None:
        self.recorder.note(test, FAILED, text_of(err))
        super().addFailure(test, err)  # type: ignore[misc]

    def addSkip(self, test: Any, reason: str) -> None:
        self.recorder.note(test, SKIPPED, reason)
        super().addSkip(test, reason)  # type: ignore[misc]

    def addExpectedFailure(self, test: Any, err: Any) -> None:
        self.recorder.note(test, EXPECTED_FAILURE, text_of(err))
        super().addExpectedFailure(test, err)  # type: ignore[misc]

    def addUnexpectedSuccess(self, test: Any) -> None:
        self.recorder.note(test, UNEXPECTED_SUCCESS)
        super().addUnexpectedSuccess(test)  # type: ignore[misc]

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        if err is not None:
            failed = issubclass(err[0], test.failureException)
            where = f"{subtest.id()}\n"
            self.recorder.note(test, FAILED if failed else ERRORED, where + text_of(err))
        super().addSubTest(test, subtest, err)  # type: ignore[misc]


def flatten(suite: Any) -> Iterator[Any]:
    """The tests of a (nested) unittest or trial suite, in the order in which they will run."""
    try:
        parts = iter(suite)
    except TypeError:
        yield suite
        return
    for part in parts:
        yield from flatten(part)


def keep_only(suite: Any, wanted: Callable[[str], bool]) -> None:
    """Take out of ``suite``, in place, the tests whose id is not wanted."""
    if not isinstance(suite, unittest.TestSuite):
        return
    kept: list[Any] = []
    for part in suite:
        if isinstance(part, unittest.TestSuite):
            keep_only(part, wanted)
            kept.append(part)
        elif wanted(str(part.id())):
            kept.append(part)
    suite._tests = kept
