"""CPython's own ``test.test_asyncio``, as installed beside the interpreter, with another loop in place of stock's."""

from __future__ import annotations

import importlib.util
import signal
import unittest
from pathlib import Path
from typing import Any

from suitekit import placing, plans
from suitekit.jobs import Job
from suitekit.journal import Journal, Recorder, UnittestResults, flatten, keep_only
from suitekit.outcomes import SKIPPED

NAME = "cpython"
BASE = "stock"
OURS = "interloop"
PLACED = placing.LOOPS
# test.support.SHORT_TIMEOUT, which many tests wait for at most, is 30 seconds.
STALL = 45.0
MODULE_LIMIT = 300.0

PACKAGE = "test.test_asyncio"

# They put a timer into the list that is stock's heap, or count on a mock for a selector, and would have ours sleep for
# ever. They fail, which is in expected/cpython.txt: let them do it soon.
ASLEEP = (
    f"{PACKAGE}.test_base_events.BaseEventLoopTests.test__run_once",
    f"{PACKAGE}.test_base_events.BaseEventLoopTests.test__run_once_schedule_handle",
    f"{PACKAGE}.test_base_events.BaseEventLoopTests.test_custom_run_forever_integration",
)
# Seconds.
NAP = 3


def prepare() -> None:
    plans.require(PACKAGE, "some distributions package it apart (Debian: libpython3-testsuite)")


def modules() -> list[str]:
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None and spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0])
    return [f"{PACKAGE}.{path.stem}" for path in sorted(folder.glob("test_*.py"))]


def batches(selected: list[str]) -> list[list[str]]:
    """A process per module, as regrtest runs a split package."""
    return [[module] for module in selected]


def doubts(contestant: str, info: dict[str, Any]) -> list[str]:
    wanted = "asyncio" if contestant in ("stock", "placed-stock") else contestant
    return [
        f"{path} leads to {kind}"
        for path, kind in info["loops"].items()
        if kind.partition(".")[0] != wanted
    ]


def wake(number: int, frame: Any) -> None:
    raise AssertionError(f"asleep for {NAP} seconds")


def run(job: Job, journal: Journal) -> None:
    """Put the loop in place, then ``python -m unittest``. Ends by SystemExit, as that does."""
    from asyncio import events

    from suitekit import children, contestants

    contestants.place_everywhere(job.contestant)
    loops = contestants.proof()
    if job.contestant != contestants.STOCK:
        children.place_in_scripts(job.contestant)
        children.place_in_multiprocessing(job.contestant)
        if f"{PACKAGE}.test_events" in job.modules:
            # Once in a run: they take their time.
            loops["python -c"] = children.loop_in_a_script()
            loops["multiprocessing"] = children.loop_in_a_child()
    journal.write("info", loops=loops)
    recorder = Recorder(journal, job.modules, contestants.LOOPS_MADE)

    present = []
    for name in job.modules:
        # Those for Windows raise SkipTest on import, which unittest's loader does not expect of a name.
        try:
            importlib.import_module(name)
        except unittest.SkipTest as reason:
            journal.write(
                "finish",
                test=name,
                module=name,
                outcome=SKIPPED,
                detail=str(reason),
                seconds=0.0,
                loops={},
            )
        else:
            present.append(name)

    class Results(UnittestResults, unittest.TextTestResult):
        def startTest(self, test: Any) -> None:
            if test.id() in ASLEEP:
                signal.signal(signal.SIGALRM, wake)
                signal.alarm(NAP)
            super().startTest(test)

        def stopTest(self, test: Any) -> None:
            if test.id() in ASLEEP:
                signal.alarm(0)
                # One of them begins a run by hand, and does not come to its end.
                events._set_running_loop(None)
            super().stopTest(test)

    Results.recorder = recorder

    class Runner(unittest.TextTestRunner):
        resultclass = Results  # type: ignore[assignment]

        def run(self, test: Any) -> Any:
            keep_only(test, job.wanted)
            recorder.plan(flatten(test))
            return super().run(test)

    if present:
        unittest.main(module=None, argv=["python -m unittest", *present], testRunner=Runner)
