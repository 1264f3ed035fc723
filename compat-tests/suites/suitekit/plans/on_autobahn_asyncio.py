"""The half of autobahn's own suite that is for asyncio, with the contestant's loop in the place of asyncio's."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

from suitekit import placing, sdists
from suitekit.jobs import Job
from suitekit.journal import Journal

NAME = "autobahn-asyncio"
BASE = "stock"
OURS = "interloop"
PLACED = placing.LOOPS
STALL = 60.0
MODULE_LIMIT = 300.0


def prepare() -> None:
    sdists.installed("autobahn", sdists.required("autobahn"))


def folder() -> Path:
    """Where the package is installed; it is not imported, since it chooses a framework then."""
    spec = importlib.util.find_spec("autobahn")
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


def modules() -> list[str]:
    """All but those for Twisted, as their justfile has it."""
    top = folder()
    return sorted(
        str(path.relative_to(top.parent))
        for path in top.glob("**/test_*.py")
        if "twisted" not in path.relative_to(top).parts
    )


def doubts(contestant: str, info: dict[str, Any]) -> list[str]:
    from suitekit.plans.on_cpython import doubts as of_paths

    return of_paths(contestant, info)


def run(job: Job, journal: Journal) -> None:
    os.environ["USE_ASYNCIO"] = "1"
    from suitekit import contestants, on_pytest

    contestants.place_everywhere(job.contestant)
    journal.write("info", loops=contestants.proof())
    # No settings: the installed package has none, and its own say nothing that a worker needs.
    options = ["-c", os.devnull]
    on_pytest.run(
        job, journal, folder().parent, contestants.LOOPS_MADE, options, needs=("asyncio",)
    )
