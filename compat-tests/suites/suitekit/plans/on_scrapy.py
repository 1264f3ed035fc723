"""Scrapy's own suite, with the contestant's reactor in the place of asyncio's, in the programs that it starts as well."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from suitekit import placing, reactors, sdists
from suitekit.jobs import Job
from suitekit.journal import Journal

NAME = "scrapy"
BASE = "asyncio"
OURS = "interloop"
PLACED = placing.CONNECTIONS
STALL = 120.0
MODULE_LIMIT = 400.0


def prepare() -> None:
    sdists.unpacked("scrapy")


def modules() -> list[str]:
    """Their settings' python_files, but for the benchmarks."""
    folder = sdists.unpacked("scrapy")
    packages = (folder / "tests").glob("test_*/__init__.py")
    return sorted(
        [
            *(str(path.relative_to(folder)) for path in packages),
            *(name for name in sdists.test_files("scrapy") if "/benchmarks/" not in name),
        ]
    )


def doubts(contestant: str, info: dict[str, Any]) -> list[str]:
    found = reactors.doubts(contestant, info["reactor"])
    return found + [f"in a child: {doubt}" for doubt in reactors.doubts(contestant, info["child"])]


class Proof:
    """Looks at the reactor that pytest-twisted has installed, by then."""

    def __init__(self, journal: Journal, child: dict[str, str]) -> None:
        self._journal = journal
        self._child = child

    def pytest_configure(self, config: Any) -> None:
        # Their conftest names it; what it asks for is pytest-rerunfailures' business, which would hide what fails.
        config.addinivalue_line("markers", "flaky: may fail by chance")

    def pytest_collection_finish(self) -> None:
        self._journal.write("info", reactor=reactors.installed(), child=self._child)


def run(job: Job, journal: Journal) -> None:
    # They make certificates in their own folder, and look for what they start there.
    folder = Path("scrapy").resolve()
    shutil.copytree(sdists.unpacked("scrapy"), folder)
    # Seconds that they give a command; the machine may be a loaded one.
    cmdline = folder / "tests" / "utils" / "cmdline.py"
    cmdline.write_text(cmdline.read_text().replace("timeout=15,", "timeout=60,"))
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    child = reactors.place_in_children(job.contestant)
    reactors.place(job.contestant)
    reactors.count_connections(job.contestant)
    from suitekit import on_pytest

    on_pytest.run(
        job,
        journal,
        folder,
        reactors.CONNECTIONS_MADE,
        [
            *("-c", str(folder / "pyproject.toml"), "-m", "not requires_internet"),
            "--continue-on-collection-errors",
            # Scrapy's settings make errors of warnings, and these are newer than its tests.
            *("-W", "ignore:fixture 'dh' is wrapped by @staticmethod:pytest.PytestWarning"),
            *("-W", "ignore::pytest.PytestRemovedIn10Warning"),
        ],
        Proof(journal, child),
        needs=("twisted",),
    )
