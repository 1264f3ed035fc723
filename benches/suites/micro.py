"""Callbacks, timers, wake-ups and tasks of an asyncio loop: CPU time per operation."""

from __future__ import annotations

from harness.kinds import TimedProgram
from harness.model import Suite, Target

from suites._asyncio import loops

DEMANDS = {
    "call_soon": 1.5,
    "call_later_cancel": 2.2,
    "threadsafe_own": 1.6,
    "threadsafe_other": 1.6,
    "future_wakeup": 1.8,
}

NAMES = (
    "call_soon",
    "call_soon_chain",
    "call_later_cancel",
    "call_later_cancel_held",
    "call_later_fire",
    "threadsafe_own",
    "threadsafe_other",
    "threadsafe_ping",
    "task_switch",
    "future_wakeup",
    "future_wakeup_100",
)

SUITE = Suite(
    name="micro",
    title="Operations of the loop: CPU time of the process per operation (own core)",
    contestants=loops("micro/asyncio_micro.py"),
    cases=tuple(
        TimedProgram(
            name,
            targets=(Target("interloop", issue=2, ratio=DEMANDS[name]),) if name in DEMANDS else (),
        )
        for name in NAMES
    ),
)
