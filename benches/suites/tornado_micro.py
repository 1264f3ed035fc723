"""Callbacks and handlers of Tornado's IOLoop: CPU time per operation."""

from __future__ import annotations

from harness.kinds import TimedProgram
from harness.model import Suite, Target

from suites._tornado import loops

DEMANDS = {
    "add_callback": 2.0,
    "add_callback_other": 6.0,
    "add_handler": 2.4,
    "add_handler_sockets": None,
}

SUITE = Suite(
    name="tornado-micro",
    title="Operations of Tornado's IOLoop: CPU time of the process per operation (own core)",
    contestants=loops("micro/tornado_micro.py"),
    base="stock",
    cases=tuple(
        TimedProgram(
            name, targets=() if ratio is None else (Target("interloop", issue=5, ratio=ratio),)
        )
        for name, ratio in DEMANDS.items()
    ),
    by_default=False,
)
