"""Timers and thread calls of Twisted's reactors: CPU time per operation."""

from __future__ import annotations

from harness.kinds import TimedProgram
from harness.model import Suite, Target

from suites._twisted import reactors

# What is demanded of a case, by its name.
DEMANDS = {"callLater_cancel": 2.5, "callFromThread": 3.0}

NAMES = (
    "callLater_cancel",
    "callLater_cancel_held",
    "callLater_reset",
    "callLater_fire",
    "callFromThread_own",
    "callFromThread",
)

SUITE = Suite(
    name="twisted-micro",
    title="Operations of a Twisted reactor: CPU time of the process per operation (own core)",
    contestants=reactors("micro/twisted_micro.py"),
    base="epoll",
    cases=tuple(
        TimedProgram(
            name,
            targets=(Target("interloop", issue=4, ratio=DEMANDS[name]),) if name in DEMANDS else (),
        )
        for name in NAMES
    ),
    by_default=False,
)
