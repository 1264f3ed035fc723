"""A test of our own that needs Scrapy: it crawls a thousand pages. Here, since its requirements are those of the suites."""

from __future__ import annotations

import os
import sys
import unittest
from pathlib import Path
from typing import Any

from suitekit import sdists
from suitekit.jobs import Job
from suitekit.journal import Journal, Recorder, UnittestResults, flatten, keep_only

NAME = "crawl"
BASE = "asyncio"
OURS = "interloop"
# The tests look themselves.
PLACED = None
STALL = 240.0
MODULE_LIMIT = 600.0

FOLDER = Path(__file__).parent.parent.parent / "crawl"


def prepare() -> None:
    sdists.installed("scrapy", sdists.required("scrapy"))


def modules() -> list[str]:
    return ["thousand_pages"]


def doubts(contestant: str, info: dict[str, Any]) -> list[str]:
    return [] if info["contestant"] == contestant else ["the wrong contestant was run"]


def run(job: Job, journal: Journal) -> None:
    os.environ["CRAWL_ON"] = job.contestant
    sys.path.insert(0, str(FOLDER))
    journal.write("info", contestant=job.contestant)
    recorder = Recorder(journal, job.modules, {})

    class Results(UnittestResults, unittest.TextTestResult):
        pass

    Results.recorder = recorder

    class Runner(unittest.TextTestRunner):
        resultclass = Results  # type: ignore[assignment]

        def run(self, test: Any) -> Any:
            keep_only(test, job.wanted)
            recorder.plan(flatten(test))
            return super().run(test)

    unittest.main(module=None, argv=["crawl", *job.modules], testRunner=Runner)
