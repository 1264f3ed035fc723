"""aiohttp's own suite, with the contestant's loop in the place of asyncio's."""

from __future__ import annotations

import importlib.util
from typing import Any

from suitekit import placing, sdists
from suitekit.jobs import Job
from suitekit.journal import Journal

NAME = "aiohttp"
BASE = "stock"
OURS = "interloop"
PLACED = placing.LOOPS
# Their own limit for a test is 120 seconds.
STALL = 150.0
MODULE_LIMIT = 400.0

# Their own pytest.ini: without these. `internal` are checks of the project itself, `dev_mode` needs another interpreter,
# `autobahn` docker.
MARKS = "not dev_mode and not autobahn and not internal"


def prepare() -> None:
    sdists.unpacked("aiohttp")


def modules() -> list[str]:
    """All but the benchmarks, which measure and test nothing."""
    return [
        name
        for name in sdists.test_files("aiohttp")
        if "/test_benchmarks_" not in name and "/autobahn/" not in name
    ]


def doubts(contestant: str, info: dict[str, Any]) -> list[str]:
    from suitekit.plans.on_cpython import doubts as of_paths

    found = of_paths(contestant, info)
    if "site-packages" not in info["package"]:
        found.append(f"aiohttp is taken from {info['package']}")
    return found


def run(job: Job, journal: Journal) -> None:
    from suitekit import contestants, on_pytest

    contestants.place_everywhere(job.contestant)
    loops = contestants.proof()
    # Not imported: pytest rewrites the plugin's assertions first.
    spec = importlib.util.find_spec("aiohttp")
    journal.write("info", loops=loops, package="" if spec is None else str(spec.origin))
    folder = sdists.unpacked("aiohttp")
    # Their own options ask for coverage, a process per core, and doctests.
    options = ["-c", str(folder / "pytest.ini"), "-o", "addopts=", "-ra", "-m", MARKS]
    on_pytest.run(job, journal, folder, contestants.LOOPS_MADE, options)
