"""One module per suite: what is run, on what, and how its own entry is called.

Of a plan, the supervisor uses ``NAME``, ``BASE``, ``OURS``, ``STALL`` (seconds without any test's start or end after
which the running test counts as hung), ``MODULE_LIMIT`` (seconds), ``PLACED`` (of what each test that makes
one must make the contestant's, see ``placing``; or None), ``prepare()`` (ends the run, and says why, unless all is there; before any
worker) and ``modules()``; where they are not the usual ones, ``batches(modules)`` (what one process runs: all of them),
``canonical(test, contestant)``, the name under which two contestants' tests are the same (their own), and its inverse
``own_name``. The worker uses ``run(job, journal)``. A plan imports its suite only within ``run``.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

NAMES = (
    "twisted",
    "tornado",
    "cpython",
    "anyio",
    "aiohttp",
    "treq",
    "klein",
    "autobahn",
    "autobahn-asyncio",
    "scrapy",
    "crawl",
    "cluster",
    "jupyter-server",
)


def load(name: str) -> Any:
    """The plan: a module, or the ``PLAN`` in it."""
    module = importlib.import_module(f"suitekit.plans.on_{name.replace('-', '_')}")
    return getattr(module, "PLAN", module)


def require(package: str, hint: str) -> None:
    """End the run unless ``package`` can be imported."""
    try:
        found = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise SystemExit(f"{package} is not installed beside this interpreter: {hint}")


def batches(plan: Any, modules: list[str]) -> list[list[str]]:
    """What one process runs, each."""
    own = getattr(plan, "batches", None)
    return [modules] if own is None else list(own(modules))


def canonical(plan: Any, test: str, contestant: str) -> str:
    """The name under which the contestants' tests are the same."""
    own = getattr(plan, "canonical", None)
    return test if own is None else str(own(test, contestant))


def own_name(plan: Any, test: str, contestant: str) -> str:
    """What the test of that canonical name is called on one of them."""
    own = getattr(plan, "own_name", None)
    return test if own is None else str(own(test, contestant))
