"""Starting children and waiting for them: CPU time of the parent per child. The children's own is not counted."""

from __future__ import annotations

from harness.kinds import TimedProgram
from harness.model import Suite, Target

from suites._asyncio import loops

TARGET = (Target("interloop", issue=3, ratio=2.5),)

SUITE = Suite(
    name="subprocess",
    title="Subprocesses: CPU time of the parent per child (own core)",
    contestants=loops("micro/asyncio_processes.py"),
    cases=(
        TimedProgram("exec_wait", targets=TARGET),
        TimedProgram("exec_pipes", targets=TARGET),
        TimedProgram("exec_many", quick=False),
    ),
    by_default=False,
)
