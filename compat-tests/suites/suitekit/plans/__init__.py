"""One module per suite: what is run, on what, and how its own entry is called.

Of a plan, the supervisor uses ``NAME``, ``BASE``, ``OURS``, ``STALL`` (seconds without any test's start or end after
which the running test counts as hung), ``MODULE_LIMIT`` (seconds), ``PLACED`` (of what each test that makes
one must make the contestant's, see ``placing``; or None), ``prepare()`` (ends the run, and says why, unless all is there; before any
worker), ``modules()``, ``batches(modules)`` (what one process runs),
``canonical(test, contestant)``, the name under which two contestants' tests are the same, and its inverse ``own_name``;
the worker uses ``run(job, journal)``. A plan imports its suite only within ``run``.
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
