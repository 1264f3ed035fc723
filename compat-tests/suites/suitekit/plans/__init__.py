"""One module per suite: what is run, on what, and how its own entry is called.

Of a plan, the supervisor uses ``NAME``, ``BASE``, ``OURS``, ``STALL`` (seconds without any test's start or end after
which the running test counts as hung), ``MODULE_LIMIT`` (seconds), ``PLACED`` (whether each test that makes a loop
must make the contestant's, see ``placing``), ``prepare()`` (ends the run, and says why, unless all is there; before any
worker), ``modules()``, ``batches(modules)`` (what one process runs),
``canonical(test, contestant)``, the name under which two contestants' tests are the same, and its inverse ``own_name``;
the worker uses ``run(job, journal)``. A plan imports its suite only within ``run``.
"""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

NAMES = ("twisted", "tornado", "cpython", "anyio", "aiohttp")


def load(name: str) -> ModuleType:
    return importlib.import_module(f"suitekit.plans.on_{name}")


def require(package: str, hint: str) -> None:
    """End the run unless ``package`` can be imported."""
    try:
        found = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise SystemExit(f"{package} is not installed beside this interpreter: {hint}")
