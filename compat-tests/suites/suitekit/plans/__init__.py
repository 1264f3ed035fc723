"""One module per suite: what is run, on what, and how its own entry is called.

Of a plan, the supervisor uses ``NAME``, ``BASE``, ``OURS``, ``STALL`` (seconds without any test's start or end after
which the running test counts as hung), ``MODULE_LIMIT`` (seconds), ``PLACED`` (whether the journal must prove that the
contestant's loops were used), ``modules()``, ``batches(modules)`` (what one process runs), ``canonical(test,
contestant)``, the name under which two contestants' tests are the same, and its inverse ``own_name``; the worker uses ``run(job, journal)``. A plan
imports its suite only within ``run``.
"""

from __future__ import annotations

import importlib
from types import ModuleType

NAMES = ("twisted", "tornado", "cpython")


def load(name: str) -> ModuleType:
    return importlib.import_module(f"suitekit.plans.on_{name}")
