"""Connect, echo 1 KiB, close."""

from __future__ import annotations

from harness.kinds import ServerLoad
from harness.model import Suite, Target

from suites._asyncio import SERVERS

SUITE = Suite(
    name="churn",
    title="TCP connect / echo / close: server CPU time per connection",
    contestants=SERVERS,
    cases=(
        ServerLoad(
            "churn-10",
            mode="churn",
            connections=10,
            quick=True,
            targets=(Target("interloop", issue=3, ratio=1.1),),
        ),
    ),
    by_default=False,
)
