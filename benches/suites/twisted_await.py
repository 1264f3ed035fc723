"""Awaiting across the hosts, compared with awaiting what is the driver's own."""

from __future__ import annotations

from harness.kinds import TimedProgram
from harness.model import Contestant, Suite, Target

PROGRAM = ("{python}", "{benches}/micro/twisted_await.py", "--awaits")

SUITE = Suite(
    name="twisted-await",
    title="A Deferred in a task, a Future in a Twisted coroutine: CPU time of the process per await (own core)",
    contestants=tuple(
        Contestant(name, (*PROGRAM, name), "import interloop.twisted") for name in ("other", "own")
    ),
    base="own",
    cases=tuple(
        TimedProgram(name, targets=(Target("other", issue=4, above=1000.0),))
        for name in ("in_task", "in_twisted")
    ),
    by_default=False,
)
