"""A small suite that passes on the contestant "good" and does everything wrong on "bad": for the kit's own tests."""

from __future__ import annotations

import os
import sys
import unittest
from pathlib import Path
from typing import Any

from suitekit.jobs import Job
from suitekit.journal import Journal, Recorder, UnittestResults, flatten, keep_only

NAME = "selftest"
BASE = "good"
OURS = "bad"
PLACED = None
STALL = 15.0
MODULE_LIMIT = 60.0

FOLDER = Path(__file__).parent.parent.parent / "selftest"


def prepare() -> None:
    """It is beside us."""


def modules() -> list[str]:
    return ["steady_suite", "deadly_suite"]


def doubts(contestant: str, info: dict[str, Any]) -> list[str]:
    return [] if info["contestant"] == contestant else ["the wrong contestant was run"]


def run(job: Job, journal: Journal) -> None:
    os.environ["SELFTEST"] = job.contestant
    journal.write("info", contestant=job.contestant)
    recorder = Recorder(journal, job.modules, {})
    sys.path.insert(0, str(FOLDER))

    class Results(UnittestResults, unittest.TextTestResult):
        pass

    Results.recorder = recorder

    class Runner(unittest.TextTestRunner):
        resultclass = Results  # type: ignore[assignment]

        def run(self, test: Any) -> Any:
            keep_only(test, job.wanted)
            recorder.plan(flatten(test))
            return super().run(test)

    unittest.main(module=None, argv=["selftest", *job.modules], testRunner=Runner)
