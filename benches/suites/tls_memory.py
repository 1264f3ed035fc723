"""Resident memory per idle TLS connection with a __slots__ Protocol."""

from __future__ import annotations

from harness.kinds import IdleMemory
from harness.model import Suite, Target

from suites._tls import SERVERS

# 35 KB, read the strict way. OpenSSL alone takes 29.
TARGETS = (Target("interloop", issue=3, at_most=35_000.0),)

SUITE = Suite(
    name="tls-memory",
    title="Idle TLS connections: resident memory of the server per connection",
    contestants=SERVERS,
    base="aiofastnet",
    cases=(
        IdleMemory("idle-1000", connections=1000, load_arguments=("--tls",), targets=TARGETS),
        IdleMemory(
            "used-1000",
            connections=1000,
            quick_connections=100,
            touch=True,
            load_arguments=("--tls",),
            targets=TARGETS,
        ),
    ),
    rounds_factor=1 / 3,
)
