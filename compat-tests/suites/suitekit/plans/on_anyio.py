"""anyio's own suite, with the contestant's loop as the asyncio backend's ``loop_factory``."""

from __future__ import annotations

import importlib.util
from typing import Any

from suitekit import placing, sdists
from suitekit.jobs import Job
from suitekit.journal import Journal

NAME = "anyio"
BASE = "stock"
OURS = "interloop"
PLACED = placing.LOOPS
# Their own limit for a test is 20 seconds.
STALL = 60.0
MODULE_LIMIT = 300.0


def prepare() -> None:
    sdists.unpacked("anyio")


def modules() -> list[str]:
    return sdists.test_files("anyio")


def doubts(contestant: str, info: dict[str, Any]) -> list[str]:
    from suitekit.plans.on_cpython import doubts as of_paths

    found = of_paths(contestant, info)
    if "site-packages" not in info["package"]:
        found.append(f"anyio is taken from {info['package']}")
    return found


class Factory:
    """Gives the asyncio backend its ``loop_factory``, where their conftest lists what every test runs on.

    "asyncio+eager" makes its loop by ``asyncio.new_event_loop``, which is the contestant's too.
    """

    def __init__(self, factory: Any) -> None:
        self._factory = factory
        self.given = False

    def pytest_plugin_registered(self, plugin: Any) -> None:
        for param in getattr(plugin, "asyncio_params", ()):
            if param.id == "asyncio":
                _, options = param.values[0]
                options["loop_factory"] = self._factory
                self.given = True

    def pytest_collection_finish(self) -> None:
        assert self.given, "anyio's conftest has no asyncio_params with the id 'asyncio' any more"


def of_asyncio(item: Any) -> bool:
    """Not on trio or uvloop: these have nothing to do with the contestant."""
    callspec = getattr(item, "callspec", None)
    return callspec is None or not {"trio", "asyncio+uvloop"} & set(callspec.id.split("-"))


def run(job: Job, journal: Journal) -> None:
    from suitekit import contestants, on_pytest

    contestants.place_everywhere(job.contestant)
    loops = contestants.proof()
    # Not imported: pytest rewrites the plugin's assertions first.
    spec = importlib.util.find_spec("anyio")
    journal.write("info", loops=loops, package="" if spec is None else str(spec.origin))
    folder = sdists.unpacked("anyio")
    on_pytest.run(
        job,
        journal,
        folder,
        contestants.LOOPS_MADE,
        ["-c", str(folder / "pyproject.toml"), "-m", "not network"],
        Factory(contestants.loop_class(job.contestant)),
        wanted=of_asyncio,
    )
