"""asyncio Protocol echo over TCP: 1, 10 and 100 KiB on 1, 10 and 1,000 connections."""

from __future__ import annotations

from harness.kinds import ServerLoad
from harness.model import Suite, Target

from suites._asyncio import SERVERS

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
        )
        for size in (1, 10, 100)
        for connections in (1, 10, 1000)
    ),
    # Of all cases together: where most of the time is the kernel's (one connection: sleeping and waking; 100 KiB:
    # copying), the floor itself is hardly above it, or below.
    overall=(Target("interloop", issue=2, ratio=1.08),),
)
