"""asyncio Protocol echo over TCP: 1, 10 and 100 KiB on 1, 10 and 1,000 connections."""

from __future__ import annotations

from harness.kinds import ServerLoad
from harness.model import Suite, Target

from suites._asyncio import SERVERS

TARGETS = (Target("interloop", issue=2, ratio=1.08),)

QUICK = {(1, 10), (100, 1), (1, 1000)}

SUITE = Suite(
    name="tcp",
    title="TCP echo, asyncio Protocol: server CPU time per request",
    contestants=SERVERS,
    cases=tuple(
        ServerLoad(
            f"{size}KiB-{connections}",
            connections=connections,
            size=size * 1024,
            quick=(size, connections) in QUICK,
            targets=TARGETS,
        )
        for size in (1, 10, 100)
        for connections in (1, 10, 1000)
    ),
)
