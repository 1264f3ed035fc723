"""run_in_executor and back: CPU time of the process, its thread included."""

from __future__ import annotations

from harness.kinds import TimedProgram
from harness.model import Suite, Target

from suites._asyncio import loops

SUITE = Suite(
    name="executor",
    title="A call in the default executor: CPU time of the process per call (own core)",
    contestants=loops("micro/asyncio_micro.py"),
    cases=tuple(
        TimedProgram(name, targets=(Target("interloop", issue=3, ratio=1.0),))
        for name in ("executor", "executor_100")
    ),
    by_default=False,
)
