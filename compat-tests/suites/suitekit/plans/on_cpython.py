"""CPython's own ``test.test_asyncio``, as installed beside the interpreter, with another loop in place of stock's."""

from __future__ import annotations

import importlib.util
import unittest
from pathlib import Path
from typing import Any

from suitekit.jobs import Job
from suitekit.journal import Journal, Recorder, UnittestResults, flatten, keep_only
from suitekit.outcomes import SKIPPED

NAME = "cpython"
BASE = "stock"
OURS = "interloop"
# test.support.SHORT_TIMEOUT, which many tests wait for at most, is 30 seconds.
STALL = 45.0
MODULE_LIMIT = 300.0

PACKAGE = "test.test_asyncio"


def modules() -> list[str]:
    try:
        spec = importlib.util.find_spec(PACKAGE)
    except ModuleNotFoundError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(
            f"{PACKAGE} is not installed beside this interpreter (Debian: package libpython3-testsuite)"
        )
    folder = Path(spec.submodule_search_locations[0])
    return [f"{PACKAGE}.{path.stem}" for path in sorted(folder.glob("test_*.py"))]


def batches(selected: list[str]) -> list[list[str]]:
    """A process per module, as regrtest runs a split package."""
    return [[module] for module in selected]


def canonical(test: str, contestant: str) -> str:
    return test


def own_name(test: str, contestant: str) -> str:
    return test


def doubts(contestant: str, info: dict[str, Any]) -> list[str]:
    wanted = "asyncio" if contestant in ("stock", "placed-stock") else contestant
    return [] if info["loop"].partition(".")[0] == wanted else [f"the loop is {info['loop']}"]


def run(job: Job, journal: Journal) -> None:
    """Put the loop in place, then ``python -m unittest``. Ends by SystemExit, as that does."""
    from suitekit import contestants

    contestants.place_everywhere(job.contestant)
    import asyncio

    made = asyncio.new_event_loop()
    made.close()
    kind = type(made)
    journal.write("info", loop=f"{kind.__module__}.{kind.__qualname__}")
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
        pass

    Results.recorder = recorder

    class Runner(unittest.TextTestRunner):
        resultclass = Results  # type: ignore[assignment]

        def run(self, test: Any) -> Any:
            keep_only(test, job.wanted)
            recorder.plan(flatten(test))
            return super().run(test)

    if present:
        unittest.main(module=None, argv=["python -m unittest", *present], testRunner=Runner)
