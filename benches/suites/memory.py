"""Resident memory per idle TCP connection with a __slots__ Protocol."""

from __future__ import annotations

from harness.kinds import IdleMemory
from harness.model import Suite, Target

from suites._asyncio import loops

# 1.0 KB, read the strict way.
TARGETS = (Target("interloop", issue=2, at_most=1000.0),)

SUITE = Suite(
    name="memory",
    title="Idle TCP connections: resident memory of the server per connection",
    contestants=loops("servers/asyncio_echo.py"),
    cases=(
        IdleMemory("idle-1000", connections=1000, targets=TARGETS),
        IdleMemory("idle-5000", connections=5000, quick=False, targets=TARGETS),
        IdleMemory(
            "used-5000", connections=5000, quick_connections=100, touch=True, targets=TARGETS
        ),
    ),
    rounds_factor=1 / 3,
)
