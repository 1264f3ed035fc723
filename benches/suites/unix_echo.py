"""asyncio Protocol echo over Unix sockets."""

from __future__ import annotations

from harness.kinds import ServerLoad
from harness.model import Suite, Target

from suites._asyncio import SERVERS

SUITE = Suite(
    name="unix",
    title="Unix socket echo, asyncio Protocol: server CPU time per request",
    contestants=SERVERS,
    cases=tuple(
        ServerLoad(
            f"{size}KiB-10",
            size=size * 1024,
            unix=True,
            quick=size == 1,
            targets=(Target("interloop", issue=3, ratio=1.0),),
        )
        for size in (1, 100)
    ),
    by_default=False,
)
