"""Resident memory per idle connection of a Tornado TCPServer whose streams wait for bytes."""

from __future__ import annotations

from harness.kinds import IdleMemory
from harness.model import Suite, Target

from suites._tornado import loops

# At most 60 % of stock's.
TARGETS = (Target("interloop", issue=5, ratio=1 / 0.6),)

SUITE = Suite(
    name="tornado-memory",
    title="Idle connections of Tornado's streams: resident memory of the server per connection",
    contestants=loops("servers/tornado_echo.py"),
    base="stock",
    cases=(
        IdleMemory("idle-5000", connections=5000, quick=False, targets=TARGETS),
        IdleMemory(
            "used-5000", connections=5000, quick_connections=100, touch=True, targets=TARGETS
        ),
        IdleMemory(
            "tls-1000",
            connections=1000,
            touch=True,
            quick=False,
            server_arguments=("--tls",),
            load_arguments=("--tls",),
        ),
    ),
    by_default=False,
    rounds_factor=1 / 3,
)
